"""What a band says of statistics, what speaks against weights, and what is refused."""

from __future__ import annotations

import functools
import math

import counterfolio as cf
import mdp
import numpy as np
import polars as pl
import pytest
from distribution_oracle import GAMMA, NAMES, POLICIES, logged, random_log
from hypothesis import given
from hypothesis import strategies as st

LEVELS = (0.05, 0.25, 0.6)
RANGE = (-40.0, 40.0)


@functools.cache
def distribution(seed=3, n=120, estimators=("cd_sntis", "cd_sntdr"), **options):
    given = {"gamma": GAMMA, "n_resamples": 60, "seed": 1, "value_range": RANGE, **options}
    return cf.evaluate_distribution(logged(random_log(seed, n)), POLICIES, estimators, **given)


def by_hand(x: np.ndarray, f: np.ndarray, statistic: str, alpha: float | None) -> float:
    """A statistic of steps: F at x, of which the last is 1."""
    mass = np.diff(f, prepend=0)
    if statistic == "mean":
        return x[mass > 0] @ mass[mass > 0]
    if statistic == "cvar":
        mass = np.diff(np.minimum(f, alpha), prepend=0)
        return x[mass > 0] @ mass[mass > 0] / alpha
    return x[np.flatnonzero(f >= alpha - 1e-12)[0]]


@pytest.mark.parametrize("limits", [RANGE, (-math.inf, math.inf)])
@pytest.mark.parametrize("name", ["cd_sntis", "cd_sntdr"])
def test_bounds_are_statistics_of_the_edges_of_the_band(name, limits):
    """Of its upper edge with what is left of the first step at the least return, and of its lower
    edge with what is missing at the largest.
    """
    found = distribution(value_range=None if math.isinf(limits[1]) else limits)
    table = found.bounds(LEVELS)
    for policy in POLICIES:
        rows = found.cdf.filter(policy=policy, estimator=name)
        x, f = rows["x"].to_numpy(), rows["probability"].to_numpy()
        half = np.max(rows["high"].to_numpy() - f)
        up = np.maximum.accumulate(np.concatenate([[half], rows["high"]]))
        down = np.maximum.accumulate(np.concatenate([rows["low"], [1.0]]))
        up[-1] = 1.0
        edges = {"low": (np.append(limits[0], x), up), "high": (np.append(x, limits[1]), down)}
        for row in table.filter(policy=policy, estimator=name).iter_rows(named=True):
            statistic, alpha = row["statistic"], row["alpha"]
            if statistic == "interquantile_range":
                ends = {
                    end: [by_hand(*edge, "quantile", a) for a in (alpha, 1 - alpha)]
                    for end, edge in edges.items()
                }
                wanted = {
                    "low": max(ends["low"][1] - ends["high"][0], 0.0),
                    "high": ends["high"][1] - ends["low"][0],
                }
            else:
                wanted = {end: by_hand(*edge, statistic, alpha) for end, edge in edges.items()}
            for end, value in wanted.items():
                assert row[end] == pytest.approx(value, rel=1e-9, abs=1e-9), (row, end)


@given(st.integers(0, 2**32 - 1))
def test_whatever_lies_within_the_band_lies_within_the_bounds(seed):
    rng = np.random.default_rng(seed)
    found = distribution()
    rows = found.cdf.filter(policy="new", estimator="cd_sntis")
    low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
    f = np.maximum.accumulate(low + (high - low) * rng.beta(0.3, 0.3, size=len(low)))
    half = np.max(high - rows["probability"].to_numpy())
    before = min(rng.random() * half, f[0])
    x = np.concatenate([[RANGE[0]], rows["x"], [RANGE[1]]])
    f = np.concatenate([[before], f, [1.0]])
    table = found.bounds(LEVELS).filter(policy="new", estimator="cd_sntis")
    for row in table.iter_rows(named=True):
        if row["statistic"] != "interquantile_range":
            value = by_hand(x, f, row["statistic"], row["alpha"])
            assert row["low"] - 1e-9 <= value <= row["high"] + 1e-9, row


def test_without_a_range_the_outside_is_open():
    table = distribution(value_range=None).bounds((0.25,)).filter(policy="new")
    ends = {r["statistic"]: (r["low"], r["high"]) for r in table.iter_rows(named=True)}
    assert ends["mean"] == (-math.inf, math.inf)
    assert ends["cvar"][0] == -math.inf
    assert math.isfinite(ends["cvar"][1])
    assert all(map(math.isfinite, ends["quantile"]))
    assert distribution(value_range=None).bounds(value_range=RANGE).equals(distribution().bounds())


def test_bounds_hold_together():
    """All statistics at once, and more often than the level says."""
    process = mdp.random_mdp(2, horizon=3)
    behavior = mdp.random_policy(2, process, spread=0.4)
    target = 0.5 * behavior + 0.5 * mdp.random_policy(3, process, spread=0.4)
    big = mdp.simulate(process, target, 100_000, seed=99, ids="integer")
    discounted = big.columns["reward"] * GAMMA ** big.columns["timestep"]
    returns = np.add.reduceat(discounted, big.offsets[:-1])
    held = 0
    for seed in range(60):
        log = mdp.simulate(process, behavior, 300, seed=seed, ids="integer")
        log = mdp.add_policy(log, process, "new", target, GAMMA)
        found = cf.evaluate_distribution(
            logged(log), {"new": "p_new"}, gamma=GAMMA, n_resamples=200, seed=seed
        )
        table = found.bounds(LEVELS, value_range=RANGE).filter(policy="new")
        truth = [
            cf.return_statistic(returns, r["statistic"], r["alpha"])
            for r in table.iter_rows(named=True)
        ]
        held += bool(((table["low"] <= truth) & (truth <= table["high"])).all())
    assert held >= 54


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_resamples": 0}, "bounds need a band that holds for all x"),
        ({"pointwise": True}, "without pointwise"),
    ],
)
def test_bounds_need_a_band(options, match):
    with pytest.raises(cf.InvalidArgumentError, match=match):
        distribution(**options).bounds()


def test_a_range_is_checked():
    with pytest.raises(cf.InvalidArgumentError, match=r"returns outside \[-1, 0\].* begins at row"):
        distribution(value_range=(-1, 0))
    with pytest.raises(cf.InvalidArgumentError, match="two finite numbers"):
        distribution(value_range=(1, 0))
    with pytest.raises(cf.InvalidArgumentError, match="two finite numbers"):
        distribution().bounds(value_range=(0, math.inf))
    frame = {"action": [0] * 3, "reward": [1.0, 2.0, 3.0], "propensity": [0.5] * 3}
    policies = {"new": cf.PolicyColumns(prob=[0.5] * 3, v=[0.0, 9.0, 1.0])}
    log = cf.LoggedData.from_frame(frame)
    with pytest.raises(
        cf.InvalidArgumentError, match='policy "new": v of first states goes from 0'
    ):
        cf.evaluate_distribution(log, policies, ["cd_tdr"], value_range=(0, 5))


# Weights.


def test_weights_are_told_as_those_of_values():
    log = logged(random_log(4, 30))
    found = cf.evaluate_distribution(log, POLICIES, ["cd_sntis", "cd_dm"], gamma=GAMMA)
    plain = cf.evaluate(log, POLICIES, ["sntis"], gamma=GAMMA)
    values = found.evaluation("cvar", 0.1)
    for policy in POLICIES:
        row = values.rows("cd_sntis").filter(policy=policy).row(0, named=True)
        wanted = plain.rows().filter(policy=policy).row(0, named=True)
        for key in ("effective_sample_size", "max_weight_share"):
            assert row[key] == pytest.approx(wanted[key], rel=1e-12)
    assert values.rows("cd_dm")["effective_sample_size"].null_count() == 2
    said = found.statistics()["note"]
    assert "effective sample size" in said[0]
    assert "is below 50" in said[0]


def test_tails_of_few_episodes_are_doubted():
    """By the skewness of the influence values, as for values; a quantile has none of its own."""
    rng = np.random.default_rng(1)
    n = 100
    reward = -rng.lognormal(size=n)
    frame = {"action": [0] * n, "reward": reward, "propensity": [0.5] * n}
    log = cf.LoggedData.from_frame(frame)
    table = cf.evaluate_distribution(log, {"same": "propensity"}).statistics((0.05,))
    said = {r["statistic"]: r["note"] for r in table.filter(policy="same").iter_rows(named=True)}
    q = np.quantile(reward, 0.05, method="inverted_cdf")
    psi = np.minimum(reward - q, 0)
    psi -= psi.mean()
    skewness = (psi**3).sum() / (6 * (psi**2).sum() ** 1.5)
    assert said["cvar"] == (
        "do not lean on the interval: too few episodes for terms so skewed "
        f"(acceleration {skewness:.2f})"
    )
    assert said["quantile"] is None
    assert said["variance"] is not None
    even = {**frame, "reward": rng.uniform(size=n)}
    table = cf.evaluate_distribution(
        cf.LoggedData.from_frame(even), {"same": "propensity"}
    ).statistics((0.5,))
    assert table["note"].null_count() == len(table)


def test_no_weight_leaves_the_model():
    """Where the policy never acts as logged, cd_tdr is cd_dm and the others are undefined."""
    rng = np.random.default_rng(0)
    frame = {"action": [0] * 60, "reward": rng.normal(size=60), "propensity": [0.5] * 60}
    policies = {"never": cf.PolicyColumns(prob=np.zeros(60), v=rng.normal(size=60))}
    found = cf.evaluate_distribution(cf.LoggedData.from_frame(frame), policies, NAMES)
    table = found.statistics((0.1,)).filter(policy="never")
    values = {name: table.filter(estimator=name)["value"].to_numpy() for name in NAMES}
    np.testing.assert_allclose(values["cd_tdr"], values["cd_dm"], rtol=1e-12)
    for name in ("cd_tis", "cd_sntis", "cd_sntdr"):
        assert np.isnan(values[name]).all()
        notes = table.filter(estimator=name)["note"]
        assert set(notes) == {"undefined: every importance weight is 0"}
    (note,) = set(table.filter(estimator="cd_tdr")["note"])
    assert note == "every importance weight is 0: the policy never takes a logged action"


def test_equal_returns():
    frame = {"action": [0] * 80, "reward": [-2.5] * 80, "propensity": [0.5] * 80}
    log = cf.LoggedData.from_frame(frame)
    weights = np.random.default_rng(0).uniform(0.3, 0.7, size=80)
    found = cf.evaluate_distribution(log, {"new": weights}, n_resamples=50, seed=0)
    assert found.cdf["x"].to_list() == [-2.5, -2.5]
    assert found.cdf["probability"].to_list() == [1.0, 1.0]
    for row in found.statistics().iter_rows(named=True):
        spread = row["statistic"] in ("variance", "interquantile_range")
        wanted = 0.0 if spread else -2.5
        assert (row["value"], row["ci_low"], row["ci_high"]) == pytest.approx((wanted,) * 3)
        assert row["standard_error"] == pytest.approx(0, abs=1e-12)


def test_replicates_are_drawn_once_for_the_same_statistics():
    found = distribution()
    first = found._replicates([("cvar", 0.1)])
    assert found._replicates([("cvar", 0.1)]) is first
    only = found.statistics((0.1, 0.5), only="cvar")
    assert only["statistic"].unique().to_list() == ["cvar"]
    every = found.statistics((0.1, 0.5)).filter(pl.col("statistic") == "cvar")
    assert only.equals(every)
