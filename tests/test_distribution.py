"""Distributions of the return: against an oracle, against numpy where pi = b, and truths."""

from __future__ import annotations

import math

import counterfolio as cf
import mdp
import numpy as np
import polars as pl
import pytest
import weights_oracle as wo
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

GAMMA = 0.9
NAMES = ("cd_dm", "cd_tis", "cd_sntis", "cd_tdr", "cd_sntdr")
ALPHAS = (0.05, 0.1, 0.25, 1.0)


def random_log(seed: int, n: int, rounded: bool = False) -> mdp.Log:
    process = mdp.random_mdp(seed, horizon=5)
    log = mdp.simulate(process, mdp.random_policy(seed, process), n, seed=seed)
    for name, shift in (("new", 1), ("old", 2)):
        policy = mdp.random_policy(seed + shift, process, zeros=seed % 2 == 0)
        log = mdp.add_policy(log, process, name, policy, GAMMA, error=1.0)
    return log.with_columns(reward=log.columns["reward"].round()) if rounded else log


def logged(log: mdp.Log, **roles) -> cf.LoggedData:
    return cf.LoggedData.from_frame(pl.DataFrame(log.columns), episode_id="episode_id", **roles)


POLICIES = {p: cf.PolicyColumns(prob=f"p_{p}", v=f"v_{p}") for p in ("new", "old")}


class Oracle:
    """F by comparing every episode with every value."""

    def __init__(self, log: mdp.Log, policy: str, name: str, m=None, gamma: float = GAMMA) -> None:
        columns = {"prob": f"p_{policy}", "q": f"q_{policy}", "v": f"v_{policy}"}
        names = columns | {"state": "reward", "state_action": "reward"}
        steps = wo.steps(log.columns, names)
        self.w = wo.weights(steps, "cumulative")[:, -1]
        self.g = steps.reward @ gamma ** np.arange(steps.reward.shape[1])
        self.v = steps.v[:, 0]
        self.m = np.ones(len(self.g)) if m is None else m
        self.name = name
        seen = name != "cd_dm"
        modelled = name in ("cd_dm", "cd_tdr", "cd_sntdr")
        self.x = np.unique(
            np.concatenate([self.g[: len(self.g) * seen], self.v[: len(self.v) * modelled]])
        )

    def raw(self, x: np.ndarray, name: str | None = None) -> np.ndarray:
        name = name or self.name
        below = (self.g[:, None] <= x) * 1.0
        model = (self.v[:, None] <= x) * 1.0
        n = self.m.sum()
        c = self.w / (self.m @ self.w / n) if name in ("cd_sntis", "cd_sntdr") else self.w
        if name == "cd_dm":
            terms = model
        elif name in ("cd_tis", "cd_sntis"):
            terms = c[:, None] * below
        else:
            terms = c[:, None] * (below - model) + model
        return self.m @ terms / n

    def shown(self) -> np.ndarray:
        return np.maximum.accumulate(np.clip(self.raw(self.x), 0, 1))

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """What statistics are taken of: those of cd_tis are those of cd_sntis."""
        f = self.raw(self.x, "cd_sntis" if self.name == "cd_tis" else None)
        f = np.maximum.accumulate(np.clip(f, 0, 1))
        f[-1] = 1
        return self.x, f

    def statistic(self, name: str, alpha: float) -> float:
        x, f = self.steps()
        mass = np.diff(f, prepend=0)
        mean = x @ mass
        if name == "mean":
            return mean
        if name == "variance":
            return (x - mean) ** 2 @ mass
        if name == "cvar":
            return x @ np.diff(np.minimum(f, alpha), prepend=0) / alpha
        low = x[np.flatnonzero(f >= alpha - 1e-12)[0]]
        if name == "quantile":
            return low
        return x[np.flatnonzero(f >= 1 - alpha - 1e-12)[0]] - low


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_against_the_oracle(seed, rounded):
    log = random_log(seed, 40 + 60 * seed, rounded)
    found = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA)
    statistics = found.statistics(ALPHAS)
    for policy in POLICIES:
        for name in NAMES:
            oracle = Oracle(log, policy, name)
            rows = found.cdf.filter(policy=policy, estimator=name)
            np.testing.assert_allclose(rows["x"], oracle.x, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(rows["probability"], oracle.shown(), atol=1e-12)
            for row in statistics.filter(policy=policy, estimator=name).iter_rows(named=True):
                wanted = oracle.statistic(row["statistic"], row["alpha"])
                assert row["value"] == pytest.approx(wanted, rel=1e-9, abs=1e-11), row


def test_on_a_grid():
    log = random_log(1, 200)
    grid = np.linspace(-10, 10, 41)
    found = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA, grid=grid)
    for name in ("cd_sntis", "cd_dm"):
        rows = found.cdf.filter(policy="new", estimator=name)
        assert rows["x"].to_list() == grid.tolist()
        np.testing.assert_allclose(
            rows["probability"], Oracle(log, "new", name).raw(grid), atol=1e-12
        )
    plain = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA)
    assert plain.statistics().equals(found.statistics())


@given(arrays(np.float64, st.integers(1, 60), elements=st.integers(-5, 5).map(float)))
def test_equal_policies_have_numpy_s_statistics(returns):
    """Exactly: values of the sample, their shares, and sums of few of them."""
    n = len(returns)
    frame = pl.DataFrame(
        {"action": [0] * n, "reward": returns, "propensity": [0.5] * n, "v": returns}
    )
    log = cf.LoggedData.from_frame(frame)
    policies = {"same": cf.PolicyColumns(prob="propensity", v="v")}
    found = cf.evaluate_distribution(log, policies, NAMES)
    table = found.statistics((0.1, 0.3, 0.5, 1.0))
    for row in table.iter_rows(named=True):
        a = row["alpha"]
        if row["statistic"] == "mean":
            wanted = returns.mean()
        elif row["statistic"] == "variance":
            wanted = returns.var()
        elif row["statistic"] == "quantile":
            assert row["value"] == np.quantile(returns, a, method="inverted_cdf")
            continue
        elif row["statistic"] == "cvar":
            share = np.clip(a * n - np.arange(n), 0, 1)
            wanted = np.sort(returns) @ share / (a * n)
        else:
            ends = np.quantile(returns, [a, 1 - a], method="inverted_cdf")
            assert row["value"] == ends[1] - ends[0]
            continue
        assert row["value"] == pytest.approx(wanted, rel=1e-12, abs=1e-12), row
    x, f = np.unique(returns, return_counts=True)
    rows = found.cdf.filter(estimator="cd_sntis")
    assert rows["x"].to_list() == x.tolist()
    assert rows["probability"].to_list() == (f.cumsum() / n).tolist()


def test_the_mean_is_that_of_sntis():
    log = random_log(3, 500)
    found = cf.evaluate_distribution(logged(log), POLICIES, ["cd_sntis", "cd_tis"], gamma=GAMMA)
    means = found.evaluation("mean")
    plain = cf.evaluate(logged(log), POLICIES, ["sntis"], gamma=GAMMA)
    for policy in POLICIES:
        for name in ("cd_sntis", "cd_tis"):
            row = means.rows(name).filter(policy=policy).row(0, named=True)
            wanted = plain.rows().filter(policy=policy).row(0, named=True)
            assert row["value"] == pytest.approx(wanted["value"], rel=1e-12)
            assert row["standard_error"] == pytest.approx(wanted["standard_error"], rel=1e-10)
    difference = means.compare("new", "old", "cd_sntis").row(0, named=True)
    wanted = plain.compare("new", "old").row(0, named=True)
    for key in ("difference", "standard_error", "ci_low", "p_better"):
        assert difference[key] == pytest.approx(wanted[key], rel=1e-9)
    assert means.behavior_value == pytest.approx(plain.behavior_value)


def test_the_mass_of_tis_is_told():
    log = random_log(4, 80)
    found = cf.evaluate_distribution(logged(log), POLICIES, ["cd_tis", "cd_dm"], gamma=GAMMA)
    oracle = Oracle(log, "new", "cd_tis")
    notes = found.statistics()["note"]
    assert notes[0].startswith(
        f"total mass {oracle.w.mean():.4g}; statistics are of F divided by it"
    )
    assert any("between initial states only" in (note or "") for note in notes)


# Uncertainty.


def test_replicates_are_those_of_repeated_episodes():
    """Everything redone from the one sort: normalisation, order, cutting, statistics."""
    log = random_log(5, 40, rounded=True)
    options = {"n_resamples": 10, "seed": 4, "resampling": "poisson"}
    found = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA, **options)
    drawn = cf.resample_weights(logged(log).column("episode_id").unique(maintain_order=True), 10, 4)
    for statistic, alpha in (("cvar", 0.25), ("quantile", 0.5), ("variance", None)):
        evaluation = found.evaluation(statistic, alpha)
        for replicate, m in enumerate(drawn):
            for p, policy in enumerate(POLICIES):
                for e, name in enumerate(NAMES):
                    oracle = Oracle(log, policy, name, m=m.astype(float))
                    wanted = oracle.statistic(statistic, alpha or 0.0)
                    value = evaluation.replicates[replicate, p, e]
                    assert value == pytest.approx(wanted, rel=1e-9, abs=1e-11), (statistic, name)
    shown = Oracle(log, "new", "cd_tdr").shown()
    again = [Oracle(log, "new", "cd_tdr", m=m.astype(float)).shown() for m in drawn]
    distances = [np.abs(f - shown).max() for f in again]
    rows = found.cdf.filter(policy="new", estimator="cd_tdr")
    half = np.sort(distances)[math.ceil(0.95 * 10) - 1]
    np.testing.assert_allclose(rows["high"], np.clip(rows["probability"] + half, 0, 1), atol=1e-12)


def test_the_draws_are_those_of_evaluate():
    log = random_log(6, 200)
    options = {"n_resamples": 30, "seed": 9, "gamma": GAMMA}
    found = cf.evaluate_distribution(logged(log), POLICIES, ["cd_sntis"], **options)
    plain = cf.evaluate(logged(log), POLICIES, ["sntis"], **options)
    np.testing.assert_allclose(found.evaluation("mean").replicates, plain.replicates, rtol=1e-10)
    for threads in (1, 2):
        again = cf.evaluate_distribution(
            logged(log), POLICIES, ["cd_sntis"], num_threads=threads, **options
        )
        assert np.array_equal(
            again.evaluation("cvar", 0.1).replicates, found.evaluation("cvar", 0.1).replicates
        )


def test_pointwise_errors_against_numpy():
    log = random_log(7, 150, rounded=True)
    found = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA, pointwise=True)
    for name in NAMES:
        oracle = Oracle(log, "new", name)
        n, x = len(oracle.g), oracle.x
        below = (oracle.g[:, None] <= x) * 1.0
        model = (oracle.v[:, None] <= x) * 1.0
        c = (oracle.w / oracle.w.mean() if "sn" in name else oracle.w)[:, None]
        if name == "cd_dm":
            psi = model - model.mean(axis=0)
        elif name == "cd_tis":
            psi = c * below - oracle.raw(x)
        elif name == "cd_sntis":
            psi = c * (below - oracle.raw(x))
        else:
            d = below - model
            m = (c * d).mean(axis=0) if name == "cd_sntdr" else 0.0
            psi = c * (d - m) + model
            psi -= psi.mean(axis=0)
        error = np.sqrt((psi**2).sum(axis=0) / (n * (n - 1)))
        rows = found.cdf.filter(policy="new", estimator=name)
        high = np.clip(oracle.shown() + 1.959963984540054 * error, 0, 1)
        np.testing.assert_allclose(rows["high"], high, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("statistic", "alpha"), [("mean", None), ("cvar", 0.25), ("variance", None)]
)
@pytest.mark.parametrize("name", ["cd_sntis", "cd_sntdr", "cd_tdr"])
def test_standard_errors_against_the_spread_over_logs(name, statistic, alpha):
    process = mdp.random_mdp(1, horizon=4)
    behavior = mdp.random_policy(1, process, spread=0.4)
    target = 0.5 * behavior + 0.5 * mdp.random_policy(2, process, spread=0.4)
    values, errors = [], []
    for seed in range(120):
        log = mdp.simulate(process, behavior, 400, seed=seed, ids="integer")
        log = mdp.add_policy(log, process, "new", target, GAMMA)
        found = cf.evaluate_distribution(
            logged(log), {"new": POLICIES["new"]}, [name], gamma=GAMMA
        ).evaluation(statistic, alpha)
        values.append(found.estimates["value"][0])
        errors.append(found.estimates["standard_error"][0])
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.2)


def test_bands_cover_the_truth():
    """Whole curves inside, 95 times of 100 or nearly, and single points by the pointwise band."""
    process = mdp.random_mdp(2, horizon=3)
    behavior = mdp.random_policy(2, process, spread=0.4)
    target = 0.5 * behavior + 0.5 * mdp.random_policy(3, process, spread=0.4)
    big = mdp.simulate(process, target, 200_000, seed=99, ids="integer")
    offsets = big.offsets[:-1]
    returns = np.add.reduceat(big.columns["reward"] * GAMMA ** big.columns["timestep"], offsets)
    grid = np.quantile(returns, np.linspace(0.02, 0.98, 25))
    truth = (returns[:, None] <= grid).mean(axis=0)
    whole = points = 0
    for seed in range(100):
        log = mdp.simulate(process, behavior, 300, seed=seed, ids="integer")
        log = mdp.add_policy(log, process, "new", target, GAMMA)
        policies = {"new": POLICIES["new"]}
        options = {"gamma": GAMMA, "grid": grid}
        found = cf.evaluate_distribution(
            logged(log), policies, ["cd_sntis"], n_resamples=200, seed=seed, **options
        ).cdf.filter(policy="new")
        inside = (found["low"].to_numpy() <= truth) & (truth <= found["high"].to_numpy())
        whole += inside.all()
        single = cf.evaluate_distribution(
            logged(log), policies, ["cd_sntis"], pointwise=True, **options
        ).cdf.filter(policy="new")
        inside = (single["low"].to_numpy() <= truth) & (truth <= single["high"].to_numpy())
        points += inside.mean()
    assert 88 <= whole <= 100
    assert 92 <= points <= 98


def test_quantile_intervals_cover():
    process = mdp.random_mdp(3, horizon=3)
    behavior = mdp.random_policy(3, process, spread=0.4)
    target = 0.5 * behavior + 0.5 * mdp.random_policy(4, process, spread=0.4)
    big = mdp.simulate(process, target, 200_000, seed=98, ids="integer")
    returns = np.add.reduceat(
        big.columns["reward"] * GAMMA ** big.columns["timestep"], big.offsets[:-1]
    )
    truths = {
        "quantile": cf.return_statistic(returns, "quantile", 0.25),
        "cvar": cf.return_statistic(returns, "cvar", 0.25),
    }
    covered = dict.fromkeys(truths, 0)
    for seed in range(150):
        log = mdp.simulate(process, behavior, 400, seed=1000 + seed, ids="integer")
        log = mdp.add_policy(log, process, "new", target, GAMMA)
        table = cf.evaluate_distribution(
            logged(log), {"new": POLICIES["new"]}, ["cd_sntis"], gamma=GAMMA
        ).statistics((0.25,))
        for row in table.filter(policy="new").iter_rows(named=True):
            if row["statistic"] in truths:
                inside = row["ci_low"] <= truths[row["statistic"]] <= row["ci_high"]
                covered[row["statistic"]] += inside
    for name, count in covered.items():
        assert 0.9 <= count / 150 <= 0.99, name


# Ranking and judging by risk.


def test_ranking_by_cvar_and_judging_it():
    log = random_log(8, 300)
    found = cf.evaluate_distribution(
        logged(log), POLICIES, ["cd_sntis", "cd_sntdr"], gamma=GAMMA, n_resamples=50, seed=1
    )
    evaluation = found.evaluation("cvar", 0.1)
    ranking = evaluation.ranking("cd_sntis")
    values = evaluation.values("cd_sntis")
    assert ranking["policy"].to_list() == sorted(values, key=values.get, reverse=True)
    assert ranking["p_best"].is_not_null().all()
    assert evaluation.contenders("cd_sntis").height == 2
    rng = np.random.default_rng(0)
    truth = {p: rng.normal(size=500) for p in POLICIES} | {"behavior": rng.normal(size=400)}
    judged = cf.assess(evaluation, truth, k=2).table
    numbers = {p: cf.return_statistic(x, "cvar", 0.1) for p, x in truth.items()}
    own = cf.assess(evaluation, numbers, k=2).table
    for metric in ("mse", "regret", "sharpe_ratio", "best"):
        a, b = (t.filter(metric=metric, estimator="cd_sntis")["value"] for t in (judged, own))
        assert a.to_list() == pytest.approx(b.to_list(), rel=1e-9, nan_ok=True)
    by_hand = cf.top_k(
        evaluation.values("cd_sntis"), {p: numbers[p] for p in POLICIES}, numbers["behavior"]
    )
    ratio = judged.filter(metric="sharpe_ratio", estimator="cd_sntis", k=2)["value"][0]
    assert ratio == pytest.approx(by_hand["sharpe_ratio"][1])
    evaluation.portfolio(2, "cd_sntis")


# Extremes, and what is refused.


def test_weights_beyond_float64():
    n, steps = 50, 400
    rng = np.random.default_rng(1)
    up = np.repeat(rng.random(n) < 0.5, steps)
    frame = pl.DataFrame(
        {
            "id": np.repeat(np.arange(n), steps),
            "action": 0,
            "reward": rng.normal(size=n * steps),
            "propensity": 0.001,
            "p": np.where(up, 0.9, 0.8),
        }
    )
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    found = cf.evaluate_distribution(log, {"new": "p"}, ["cd_sntis"])
    assert found.cdf["probability"].is_finite().all()
    assert found.statistics()["value"].is_finite().all()
    plain = cf.evaluate(log, {"new": "p"}, ["sntis"])
    assert found.evaluation("mean").values()["new"] == pytest.approx(
        plain.values()["new"], rel=1e-9
    )


def test_no_weight_at_all():
    frame = pl.DataFrame({"action": [0, 1], "reward": [1.0, 2.0], "propensity": [0.5, 0.5]})
    log = cf.LoggedData.from_frame(frame)
    found = cf.evaluate_distribution(log, {"never": np.zeros(2)}, ["cd_sntis"])
    row = found.statistics().row(0, named=True)
    assert math.isnan(row["value"])
    assert row["note"] == "undefined: every importance weight is 0"


def test_one_episode():
    frame = pl.DataFrame({"action": [0], "reward": [2.0], "propensity": [0.5]})
    found = cf.evaluate_distribution(cf.LoggedData.from_frame(frame), {"a": [0.25]})
    table = found.statistics()
    assert table.filter(statistic="quantile")["value"].to_list() == [2.0] * 6
    assert table["standard_error"].is_nan().all()
    assert found.cdf["probability"].to_list() == [1.0, 1.0]


def test_clusters_widen_errors():
    log = random_log(9, 300)
    user = np.repeat(np.arange(300) // 10, log.lengths)
    frame = pl.DataFrame(log.columns).with_columns(user=user)
    clustered = cf.LoggedData.from_frame(frame, episode_id="episode_id", cluster="user")
    found = cf.evaluate_distribution(clustered, POLICIES, ["cd_sntis"], gamma=GAMMA)
    plain = cf.evaluate(clustered, POLICIES, ["sntis"], gamma=GAMMA)
    mine = found.evaluation("mean").rows()["standard_error"].to_list()
    assert mine == pytest.approx(plain.rows()["standard_error"].to_list(), rel=1e-10)
    with pytest.raises(cf.InvalidArgumentError, match="this log has clusters"):
        cf.evaluate_distribution(clustered, POLICIES, gamma=GAMMA, pointwise=True)


def test_defaults():
    log = random_log(10, 30)
    found = cf.evaluate_distribution(logged(log), POLICIES)
    assert found.estimators == ["cd_sntis", "cd_sntdr"]
    assert cf.evaluate_distribution(logged(log), {"new": "p_new"}).estimators == ["cd_sntis"]
    assert "on_policy" in repr(found)
    assert "CVaR" in found._repr_html_()
    assert max(map(len, repr(found).splitlines())) <= 100


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda log: cf.evaluate(log, POLICIES, ["cd_sntis"]), "use cf.evaluate_distribution"),
        (
            lambda log: cf.evaluate_distribution(log, POLICIES, ["sntis"]),
            '"sntis" is no estimator of a distribution; .*cd_dm',
        ),
        (lambda log: cf.evaluate_distribution(log, POLICIES, grid=[0, math.nan]), "grid: 1 of 2"),
        (lambda log: cf.evaluate_distribution(log, POLICIES).statistics((0.0,)), "alpha in"),
        (lambda log: cf.evaluate_distribution(log, POLICIES).evaluation("cvar"), "needs alpha"),
        (
            lambda log: cf.evaluate_distribution(log, POLICIES).evaluation("mean", 0.1),
            "has no alpha",
        ),
        (
            lambda log: cf.evaluate_distribution(log, POLICIES).evaluation("median"),
            "unknown statistic 'median'",
        ),
        (lambda log: cf.evaluate_distribution(log, POLICIES, pointwise=3), "pointwise must be"),
        (lambda _: cf.return_statistic([], "mean"), "returns must be a one-dimensional"),
    ],
)
def test_what_is_refused(call, match):
    with pytest.raises(cf.InvalidArgumentError, match=match):
        call(logged(random_log(1, 10)))
