"""Intervals that hold for any number of episodes, against an oracle, by hand and as printed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import bounds_oracle
import counterfolio as cf
import mdp
import numpy as np
import oracle
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

KINDS = (
    "hoeffding",
    "empirical_bernstein",
    "hcope",
    "log_smoothing",
    "cressie_read",
    "confidence_sequence",
)
ALTERNATIVES = ("two-sided", "greater", "less")
LEVELS = (0.8, 0.95, 0.99)
PER_DECISION = ("hoeffding", "empirical_bernstein", "hcope")
GOLDEN = Path(__file__).parent / "goldens" / "resample_weights.json"


def bandit_log(weight: object, reward: object, ids: object = None) -> mdp.Log:
    """One row an episode; a policy "new" whose weights are those given."""
    weight, reward = np.asarray(weight, dtype=float), np.asarray(reward, dtype=float)
    propensity = np.full(len(weight), 2.0 ** -math.ceil(math.log2(max(weight.max(), 1.0)) + 1))
    columns = {
        "episode_id": np.arange(len(weight)) if ids is None else np.asarray(ids),
        "timestep": np.zeros(len(weight), dtype=int),
        "action": np.zeros(len(weight), dtype=int),
        "reward": reward,
        "propensity": propensity,
        "p_new": weight * propensity,
    }
    return mdp.Log(np.ones(len(weight), dtype=int), columns)


def random_bandit(seed: int, n: int, spread: float = 0.6) -> mdp.Log:
    rng = np.random.default_rng([seed, 9])
    weight = np.exp(spread * rng.normal(size=n) - spread**2 / 2)
    weight[rng.random(n) < 0.2] = 0.0
    return bandit_log(weight, rng.uniform(size=n), ids=rng.permutation(n) * 13 - 40)


def random_episodes(seed: int, n: int, gamma: float, lowest: float = 0.0) -> mdp.Log:
    """Episodes of unequal length with rewards of at least `lowest`."""
    process = mdp.random_mdp(seed, horizon=6)
    log = mdp.simulate(process, mdp.random_policy(seed, process), n, seed=seed, ids="integer")
    log = mdp.add_policy(log, process, "new", mdp.random_policy(seed + 1, process, 0.4), gamma)
    return log.with_columns(reward=np.maximum(log.columns["reward"], lowest))


def logged(log: mdp.Log) -> cf.LoggedData:
    frame = pl.DataFrame(log.columns)
    return cf.LoggedData.from_frame(frame, episode_id="episode_id", timestep="timestep")


def evaluate(log: mdp.Log, kind: str, estimators=("tis",), **options) -> pl.DataFrame:
    if kind == "hcope":
        options.setdefault("alternative", "greater")
    options.setdefault("seed", 3)
    return cf.evaluate(
        logged(log), {"new": "p_new"}, estimators, interval=kind, **options
    ).estimates


def ends(estimates: pl.DataFrame, row: int = 0) -> tuple[float, float]:
    return estimates.select("ci_low", "ci_high").row(row)


def seen_by(log: mdp.Log, estimator: str, gamma: float = 1.0) -> bounds_oracle.Episodes:
    roles = ("episode_id", "reward", "propensity", "p_new")
    return bounds_oracle.episodes(
        oracle.dense(*(log.columns[role] for role in roles)), estimator, gamma
    )


def ranges_of(log: mdp.Log, kind: str, gamma: float = 1.0) -> dict[str, tuple[float, float]]:
    """Ranges that hold every value of the log, with room, as a user's would."""
    seen = [seen_by(log, name, gamma) for name in ("tis", "pdis", "on_policy")]
    low = min(min(s.term.min(), s.returns.min()) for s in seen)
    high = max(max(s.term.max(), s.returns.max()) for s in seen)
    returns = (seen[0].returns.min() - 0.25, seen[0].returns.max() + 0.5)
    known = {
        "value_range": (low - 0.5, high + 1.0),
        "return_range": returns,
        "weight_range": (0.0, 1.5 * max(s.weight.max() for s in seen) + 1.0),
    }
    wanted = {
        "hoeffding": ("value_range",),
        "empirical_bernstein": ("value_range",),
        "cressie_read": ("return_range", "weight_range"),
        "log_smoothing": ("return_range",),
        "confidence_sequence": ("return_range",),
        "hcope": (),
    }
    return {name: known[name] for name in wanted[kind]}


def held_out(log: mdp.Log, seed: int) -> np.ndarray:
    ids = log.columns["episode_id"][log.offsets[:-1]]
    return bounds_oracle.held_out([bounds_oracle.hash_of_integer(int(i)) for i in ids], seed)


def check(log: mdp.Log, kind: str, estimators: tuple[str, ...], gamma: float, **options) -> None:
    """Every row of the estimates, the behavior policy's too, equals the oracle's."""
    found = evaluate(log, kind, estimators, gamma=gamma, **options)
    asked = {name: value for name, value in options.items() if name != "seed"}
    level = asked.pop("confidence_level")
    if kind == "hcope":
        asked["alternative"] = "greater"
        asked["chosen"] = held_out(log, options.get("seed", 3))
    assert found["estimator"].to_list() == [*estimators, "on_policy"]
    for index, estimator in enumerate(found["estimator"]):
        seen = seen_by(log, estimator, gamma)
        wanted = bounds_oracle.interval(kind, seen, level, **asked)
        scale = 1e-13 * max(np.abs(seen.returns).max(), np.abs(seen.term).max())
        assert ends(found, index) == pytest.approx(wanted, rel=1e-10, abs=scale), estimator
        finite = [math.isfinite(end) for end in ends(found, index)]
        expected = {"two-sided": [True, True], "greater": [True, False], "less": [False, True]}
        assert finite == expected[asked.get("alternative", "two-sided")]


# Against the oracle.


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hcope"])
def test_bandits(kind, level, alternative):
    log = random_bandit(int(100 * level), n=90)
    options = {"confidence_level": level, "alternative": alternative, **ranges_of(log, kind)}
    check(log, kind, ("tis", "pdis"), 1.0, **options)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["hoeffding", "empirical_bernstein", "cressie_read"])
@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_episodes_of_unequal_length(kind, level, alternative, gamma):
    log = random_episodes(int(100 * level), n=70, gamma=gamma, lowest=-9.0)
    assert len(set(log.lengths)) > 2
    options = {"confidence_level": level, "alternative": alternative}
    options |= ranges_of(log, kind, gamma)
    check(log, kind, ("tis", "pdis") if kind in PER_DECISION else ("tis",), gamma, **options)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_log_smoothing_of_episodes(gamma, alternative):
    log = random_episodes(5, n=70, gamma=gamma, lowest=-9.0)
    options = {"confidence_level": 0.9, "alternative": alternative}
    check(log, "log_smoothing", ("tis",), gamma, **options, **ranges_of(log, "log_smoothing"))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [3, 19, 20, 21, 130])
def test_hcope(n, level):
    """20 episodes hold out one, 21 hold out two."""
    for seed in (0, 7, 2**64 - 1):
        log = random_bandit(n, n)
        check(log, "hcope", ("tis", "pdis"), 1.0, confidence_level=level, seed=seed)
    log = random_episodes(n, n, gamma=0.7)
    check(log, "hcope", ("tis", "pdis"), 0.7, confidence_level=level, seed=1)


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_hcope_of_negative_returns(gamma):
    log = random_episodes(4, n=60, gamma=gamma, lowest=-9.0)
    assert (log.columns["reward"] < 0).any()
    least = float(seen_by(log, "tis", gamma).returns.min()) - 0.5
    check(log, "hcope", ("tis",), gamma, confidence_level=0.9, return_min=least)


@pytest.mark.parametrize("kind", KINDS)
def test_many_episodes(kind):
    log = random_bandit(21, n=4000, spread=1.0)
    check(log, kind, ("tis",), 1.0, confidence_level=0.9, **ranges_of(log, kind))


@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 60),
    kind=st.sampled_from([kind for kind in KINDS if kind != "hcope"]),
    level=st.floats(0.6, 0.999),
    alternative=st.sampled_from(ALTERNATIVES),
    spread=st.floats(0.1, 2.5),
)
def test_any_bandit(seed, n, kind, level, alternative, spread):
    log = random_bandit(seed, n, spread)
    # Two points lie on a line: the residual variance is 0, and its root the root of rounding.
    if np.count_nonzero(log.columns["p_new"]) > (2 if kind == "cressie_read" else 0):
        options = {"confidence_level": level, "alternative": alternative, **ranges_of(log, kind)}
        check(log, kind, ("tis",), 1.0, **options)


@given(seed=st.integers(0, 2**64 - 1), n=st.integers(3, 60), level=st.floats(0.6, 0.999))
def test_any_hcope(seed, n, level):
    log = random_bandit(seed % 1000, n, spread=1.5)
    if log.columns["p_new"].any():
        check(log, "hcope", ("tis",), 1.0, confidence_level=level, seed=seed)


# Which episodes choose hcope's cut.


def test_held_out_episodes_go_by_id_not_by_place():
    log = random_bandit(1, n=100)
    order = np.random.default_rng(0).permutation(100)
    moved = ends(evaluate(log.take(order), "hcope"))
    assert moved == pytest.approx(ends(evaluate(log, "hcope")), rel=1e-12)
    renamed = log.with_columns(episode_id=log.columns["episode_id"][order])
    assert ends(evaluate(renamed, "hcope"))[0] != pytest.approx(moved[0], rel=1e-6)


def test_held_out_episodes_by_text_ids_and_by_rows():
    """Published hashes of texts; without ids the number of an episode's first row."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    hashes = [int(number) for number, name in zip(golden["hashes"], golden["ids"], strict=True)][5:]
    log = bandit_log([1.0, 0.5, 2.0], [0.4, 0.9, 0.7], ids=golden["ids"][5:])
    term = np.array([0.4, 0.45, 1.4])
    held = set()
    for seed in range(6):
        chosen = bounds_oracle.held_out(hashes, seed)
        held.add(int(chosen.argmax()))
        wanted = bounds_oracle.hcope(term, chosen, 0.05)
        assert ends(evaluate(log, "hcope", seed=seed))[0] == pytest.approx(wanted, rel=1e-12)
    assert len(held) > 1

    lengths = random_episodes(2, n=50, gamma=1.0)
    last = np.zeros(len(lengths.columns["reward"]), dtype=bool)
    last[lengths.offsets[1:] - 1] = True
    frame = pl.DataFrame(lengths.columns).drop("episode_id", "timestep").with_columns(over=last)
    nameless = cf.LoggedData.from_frame(frame, terminated="over")
    rows = [bounds_oracle.hash_of_integer(int(row)) for row in lengths.offsets[:-1]]
    wanted = bounds_oracle.hcope(
        seen_by(lengths, "tis").term, bounds_oracle.held_out(rows, 8), 0.05
    )
    found = cf.evaluate(
        nameless, {"new": "p_new"}, ["tis"], interval="hcope", alternative="greater", seed=8
    )
    assert ends(found.estimates)[0] == pytest.approx(wanted, rel=1e-12)


def test_drawn_seed_is_told():
    log = logged(random_bandit(2, n=100))
    options = {"interval": "hcope", "alternative": "greater"}
    drawn = cf.evaluate(log, {"new": "p_new"}, ["tis"], **options)
    seed = drawn.settings["seed"]
    again = cf.evaluate(log, {"new": "p_new"}, ["tis"], seed=seed, **options)
    assert drawn.estimates.equals(again.estimates)


# By hand, and as printed elsewhere.


def test_hoeffding_by_hand():
    """Four returns 0, 0, 1, 1 in [0, 1]: 1/2 and sqrt(ln 40 / 8) to each side."""
    log = bandit_log([1, 1, 1, 1], [0, 0, 1, 1])
    half = math.sqrt(math.log(40) / 8)
    found = ends(evaluate(log, "hoeffding", value_range=(0, 1)))
    assert found == pytest.approx((0.5 - half, 0.5 + half), rel=1e-14)
    half = math.sqrt(math.log(20) / 8)
    found = ends(evaluate(log, "hoeffding", value_range=(0, 1), alternative="greater"))
    assert found[0] == pytest.approx(0.5 - half, rel=1e-14)


def test_empirical_bernstein_by_hand():
    """The variance of 0, 0, 1, 1 is 1/3 with divisor n - 1; that of four zeros is 0."""
    log = bandit_log([1, 1, 1, 1], [0, 0, 1, 1])
    half = math.sqrt(math.log(400) / 6) + 7 * math.log(400) / 9
    options = {"value_range": (0, 1), "confidence_level": 0.99}
    found = ends(evaluate(log, "empirical_bernstein", **options))
    assert found == pytest.approx((0.5 - half, 0.5 + half), rel=1e-14)
    log = bandit_log([1, 1, 1, 1], [0, 0, 0, 0])
    found = ends(evaluate(log, "empirical_bernstein", value_range=(0, 1)))
    assert found == pytest.approx((-7 * math.log(80) / 9, 7 * math.log(80) / 9), rel=1e-14)


def test_cressie_read_as_in_vowpal_wabbit():
    """Ten weights and rewards with both bounds after each, from distributionally_robust_test.cc of
    VowpalWabbit/vowpal_wabbit. There weights have no upper bound, the quantile is that of chi
    squared, and older rows count .999 of newer ones, hence a tolerance of 2e-3.
    """
    rows = [
        (0.4692680899768591, 0.08779271803562538, 0.0, 1.0),
        (3.010121430917521, 0.1488852932982503, 0.09662899139580064, 0.28128352388284217),
        (1.3167456935454493, 0.5579699034039329, 0.04094541671274077, 0.5056614942571485),
        (0.9129425537759532, 0.6202896863254631, 0.12209962713632538, 0.6220782066057806),
        (0.16962487046234628, 0.7284609393916186, 0.1418901366388003, 0.75416164144364),
        (0.16959629191460518, 0.10028857734263497, 0.14012602622199424, 0.8175722577850846),
        (0.059838768608680676, 0.5165390922355259, 0.10155119256007322, 0.944281011930322),
        (2.0112308644799395, 0.4596272470443479, 0.1846416198342555, 0.7625855039970183),
        (0.9190821536272645, 0.4352012556681023, 0.20562281337616062, 0.7386659400005198),
        (1.2312500617045903, 0.40365563207132593, 0.23301703596172654, 0.69289830401895),
    ]
    weight, reward, low, high = np.array(rows).T
    for n in range(2, 11):
        level = stats.f.cdf(stats.chi2.ppf(0.95, 1), 1, n)
        options = {"return_range": (0, 1), "weight_range": (0, 1e6), "confidence_level": level}
        found = ends(evaluate(bandit_log(weight[:n], reward[:n]), "cressie_read", **options))
        assert found == pytest.approx((low[n - 1], high[n - 1]), abs=2e-3), n


def test_cressie_read_as_in_estimators():
    """The tests of VowpalWabbit/estimators: 10,000 rows, half of them paid, with weights 1.6 and
    .4; the interval lies within (.75, .85), times the reward.
    """
    weight = np.tile([1.6, 0.4], 5000)
    for pay in (1.0, 10.0):
        log = bandit_log(weight, np.tile([pay, 0.0], 5000))
        options = {"return_range": (0, pay), "weight_range": (0, 1e6)}
        low, high = ends(evaluate(log, "cressie_read", **options))
        assert 0.75 * pay <= low < high <= 0.85 * pay


# Clusters.


@pytest.mark.parametrize("kind", ["normal", "t"])
@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_clusters(kind, alternative):
    """Influence values are summed within a cluster; t has one degree less than clusters."""
    log = random_episodes(6, n=80, gamma=0.9, lowest=-9.0)
    users = np.arange(80) ** 2 % 23
    log = log.with_columns(user=np.repeat(users, log.lengths))
    frame = pl.DataFrame(log.columns)
    keys = {"episode_id": "episode_id", "timestep": "timestep", "cluster": "user"}
    asked = {"interval": kind, "confidence_level": 0.9, "alternative": alternative}
    policy = {"new": cf.PolicyColumns(prob="p_new", q="q_new", v="v_new")}
    found = cf.evaluate(
        cf.LoggedData.from_frame(frame, **keys), policy, oracle.NAMES, gamma=0.9, **asked
    ).estimates
    plain = cf.evaluate(logged(log), policy, oracle.NAMES, gamma=0.9).estimates
    assert found["value"].equals(plain["value"])
    roles = ("episode_id", "reward", "propensity", "p_new", "q_new", "v_new")
    dense = oracle.dense(*(log.columns[role] for role in roles))
    count = len(np.unique(users))
    for row in found.iter_rows(named=True):
        name = row["estimator"]
        own = oracle.behavior(dense, 0.9) if name == "on_policy" else None
        psi = (own or oracle.estimate(dense, name, 0.9)).psi
        error = math.sqrt(count / (count - 1) * (np.bincount(users, psi) ** 2).sum()) / 80
        assert row["standard_error"] == pytest.approx(error, rel=1e-9), name
        law = (count, *asked.values())
        wanted = oracle.interval(row["value"], error, *law)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(wanted, rel=1e-9), name
