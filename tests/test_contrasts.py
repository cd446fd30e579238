"""Paired differences of policies, one by one and together, and the contenders for the best."""

from __future__ import annotations

import itertools
import math

import counterfolio as cf
import mdp
import numpy as np
import oracle
import polars as pl
import pytest
import selection_oracle
from counterfolio.contrasts import needed_episodes
from test_against_oracle import columns_of, random_log

GAMMA = 0.9
POLICIES = ("near", "far", "zeros", "other")
EVERYONE = (*POLICIES, "behavior")
PAIRS = list(itertools.permutations(EVERYONE, 2))
#: Draws behind a critical value, each with its mirror image; what chance leaves of a probability.
DRAWS = 20_000
CHANCE = 4 * math.sqrt(0.05 * 0.95 / DRAWS)


def four_policies(seed: int, n: int) -> mdp.Log:
    """Episodes of several lengths, in clusters of several sizes that lie scattered."""
    process = mdp.random_mdp(seed)
    log = random_log(seed, n, GAMMA, ids="integer")
    log = mdp.add_policy(log, process, "other", mdp.random_policy(7 * seed, process), GAMMA)
    clusters = (np.arange(n) ** 2 % 97 % 41).repeat(log.lengths)
    return log.with_columns(cluster=clusters)


LOG = four_policies(3, 400)
CLUSTERS = LOG.columns["cluster"][LOG.offsets[:-1]]


def logged(log: mdp.Log, **options: object) -> cf.LoggedData:
    return cf.LoggedData.from_frame(pl.DataFrame(log.columns), episode_id="episode_id", **options)


def evaluate(clusters: bool = False, names: tuple = POLICIES, **options: object) -> cf.Evaluation:
    log = logged(LOG, cluster="cluster" if clusters else None)
    options = {"estimators": oracle.NAMES, "gamma": GAMMA, **options}
    return cf.evaluate(log, {name: columns_of(name) for name in names}, **options)


def influences(estimator: str) -> dict[str, oracle.Estimate]:
    fixed = [LOG.columns[role] for role in ("episode_id", "reward", "propensity")]
    logs = {
        name: oracle.dense(*fixed, *(LOG.columns[f"{role}_{name}"] for role in "pqv"))
        for name in POLICIES
    }
    found = {name: oracle.estimate(log, estimator, GAMMA) for name, log in logs.items()}
    return found | {"behavior": oracle.behavior(logs["near"], GAMMA)}


INFLUENCES = {estimator: influences(estimator) for estimator in oracle.NAMES}


def correlations(estimator: str, pairs: list[tuple[str, str]]) -> np.ndarray:
    psi = INFLUENCES[estimator]
    return selection_oracle.correlation(np.array([psi[a].psi - psi[b].psi for a, b in pairs]))


def row(evaluation: cf.Evaluation, *args: str, **options: object) -> dict:
    return evaluation.compare(*args, **options).row(0, named=True)


# One by one.


@pytest.mark.parametrize("clusters", [False, True], ids=["episodes", "clusters"])
@pytest.mark.parametrize("kind", ["normal", "t"])
def test_a_difference_has_the_error_of_the_difference_of_influences(clusters, kind):
    evaluation = evaluate(clusters, interval=kind)
    units = len(np.unique(CLUSTERS)) if clusters else LOG.n_episodes
    for estimator in oracle.NAMES:
        influence = INFLUENCES[estimator]
        for first, second in PAIRS:
            wanted = oracle.contrast(influence[first], influence[second])
            error, slack = wanted.standard_error, 1e-9 * wanted.error_scale
            if clusters:
                difference = influence[first].psi - influence[second].psi
                error = selection_oracle.clustered_error(difference, CLUSTERS)
                slack *= math.sqrt(LOG.n_episodes / units)
            low, high = oracle.interval(wanted.difference, error, units, kind)
            found = row(evaluation, first, second, estimator)
            assert found["difference"] == pytest.approx(wanted.difference, abs=1e-9 * wanted.scale)
            assert found["standard_error"] == pytest.approx(error, abs=slack)
            assert found["ci_low"] == pytest.approx(low, abs=1e-9 * wanted.scale + 3 * slack)
            assert found["ci_high"] == pytest.approx(high, abs=1e-9 * wanted.scale + 3 * slack)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"confidence_level": 0.5},
        *({"interval": "bootstrap", "method": m} for m in ("percentile", "basic", "bca")),
    ],
)
def test_antisymmetric(options):
    evaluation = evaluate(**options, seed=5)
    opposite = {"better": "worse", "worse": "better", "not told apart": "not told apart"}
    for (first, second), estimator in itertools.product(PAIRS, ("tis", "sndr")):
        one, other = (row(evaluation, *p, estimator) for p in ((first, second), (second, first)))
        assert (one["policy"], one["baseline"]) == (other["baseline"], other["policy"])
        assert one["difference"] == -other["difference"]
        assert one["standard_error"] == other["standard_error"] > 0
        assert one["ci_low"] == pytest.approx(-other["ci_high"], rel=1e-9, abs=1e-12)
        assert one["ci_high"] == pytest.approx(-other["ci_low"], rel=1e-9, abs=1e-12)
        assert one["p_better"] + other["p_better"] == pytest.approx(1, abs=1e-12)
        assert one["conclusion"] == opposite[other["conclusion"]]


def test_conclusions_are_what_two_sided_intervals_say():
    seen = set()
    for alternative, level in itertools.product(("two-sided", "greater", "less"), (0.3, 0.95)):
        options = {"confidence_level": level, "estimators": ["sndr"]}
        two = evaluate(**options)
        one = evaluate(**options, alternative=alternative)
        for first, second in PAIRS:
            found, both = row(one, first, second), row(two, first, second)
            assert found["conclusion"] == both["conclusion"]
            side = both["ci_low"] > 0, both["ci_high"] < 0
            wanted = {(True, False): "better", (False, True): "worse"}.get(side, "not told apart")
            assert found["conclusion"] == wanted
            assert math.isinf(found["ci_low"]) == (alternative == "less")
            assert math.isinf(found["ci_high"]) == (alternative == "greater")
            seen.add(wanted)
    assert seen == {"better", "worse", "not told apart"}


def test_what_policies_share_cancels():
    process = mdp.random_mdp(11)
    base = mdp.random_policy(12, process, 1.5)
    nearly = 0.95 * base + 0.05 * mdp.random_policy(13, process)
    log = mdp.simulate(process, mdp.random_policy(11, process), 500, seed=1)
    for name, policy in (("base", base), ("nearly", nearly)):
        log = mdp.add_policy(log, process, name, policy, GAMMA)
    policies = {name: columns_of(name) for name in ("base", "nearly")}
    evaluation = cf.evaluate(logged(log), policies, oracle.NAMES, gamma=GAMMA)
    for estimator in oracle.NAMES:
        unpaired = np.hypot(*evaluation.rows(estimator)["standard_error"])
        assert row(evaluation, "base", "nearly", estimator)["standard_error"] < 0.15 * unpaired


def test_the_probability_of_being_better():
    normal = evaluate(estimators=["pdis"])
    drawn = evaluate(estimators=["pdis"], interval="bootstrap", n_resamples=500, seed=1)
    for first, second in PAIRS:
        found = row(normal, first, second)
        z = found["difference"] / found["standard_error"]
        wanted = 0.5 * (1 + math.erf(z / math.sqrt(2)))
        assert found["p_better"] == pytest.approx(wanted, rel=1e-9, abs=1e-12)
        a, b = (replicates(drawn, name) for name in (first, second))
        assert row(drawn, first, second)["p_better"] == pytest.approx((a > b).mean(), abs=1e-12)


# By replicates.


def replicates(evaluation: cf.Evaluation, name: str, estimator: int = 0) -> np.ndarray:
    if name == "behavior":
        return evaluation.behavior_replicates
    return evaluation.replicates[:, evaluation.policies.index(name), estimator]


@pytest.mark.parametrize("clusters", [False, True], ids=["episodes", "clusters"])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("method", ["percentile", "basic", "bca"])
def test_a_bootstrap_interval_is_that_of_the_replicates_differences(method, alternative, clusters):
    evaluation = evaluate(
        clusters,
        interval="bootstrap",
        method=method,
        alternative=alternative,
        confidence_level=0.9,
        n_resamples=333,
        seed=4,
    )
    which = CLUSTERS if clusters else None
    for (e, estimator), (first, second) in itertools.product(enumerate(oracle.NAMES), PAIRS):
        psi = [INFLUENCES[estimator][name] for name in (first, second)]
        drawn = replicates(evaluation, first, e) - replicates(evaluation, second, e)
        a = selection_oracle.acceleration(psi[0].psi - psi[1].psi, which)
        found = row(evaluation, first, second, estimator)
        wanted = selection_oracle.bootstrap_interval(
            found["difference"], drawn, method, 0.9, alternative, a
        )
        assert [found["ci_low"], found["ci_high"]] == pytest.approx(wanted, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize(("defined", "usable"), [(995, True), (985, False)])
def test_undefined_replicates_are_left_out_or_too_many(defined, usable):
    evaluation = evaluate(estimators=["sntis"], interval="bootstrap", seed=2)
    evaluation.replicates[defined:, POLICIES.index("far")] = math.nan
    drawn = replicates(evaluation, "far") - replicates(evaluation, "near")
    found = row(evaluation, "far", "near")
    assert found["p_better"] == pytest.approx((drawn[:defined] > 0).mean(), abs=1e-12)
    if usable:
        wanted = np.nanquantile(drawn, [0.025, 0.975]).tolist()
        assert [found["ci_low"], found["ci_high"]] == pytest.approx(wanted, rel=1e-12)
    else:
        assert math.isnan(found["ci_low"])
        assert found["conclusion"] is None
        assert "undefined" in found["note"]
    assert row(evaluation, "near", "zeros")["conclusion"] is not None


# Together.


def critical_values(table: pl.DataFrame) -> np.ndarray:
    return ((table["ci_high"] - table["difference"]) / table["standard_error"]).to_numpy()


@pytest.mark.parametrize("baseline", EVERYONE)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_critical_value_covers_all_together(baseline, level):
    evaluation = evaluate(confidence_level=level)
    pairs = [(name, baseline) for name in POLICIES if name != baseline]
    single = selection_oracle.single_critical_value(level)
    sidak = selection_oracle.single_critical_value(level, len(pairs))
    for estimator in oracle.NAMES:
        table = evaluation.compare(None, baseline, estimator, simultaneous=True)
        values, among = critical_values(table), correlations(estimator, pairs)
        assert values == pytest.approx(values[0], rel=1e-9)
        exact = selection_oracle.share_within(values[0], among, "two-sided")
        assert exact == pytest.approx(level, abs=2 * CHANCE)
        assert single < values[0] < sidak + 0.05
        low = (table["difference"] - table["ci_low"]) / table["standard_error"]
        assert low.to_list() == pytest.approx(values.tolist(), rel=1e-9)


@pytest.mark.parametrize(
    ("alternative", "end", "sign"), [("greater", "low", -1), ("less", "high", 1)]
)
def test_one_sided_together(alternative, end, sign):
    table = evaluate(alternative=alternative, estimators=["sndr"]).compare(simultaneous=True)
    open_ = "ci_high" if end == "low" else "ci_low"
    assert table[open_].to_list() == [-sign * math.inf] * 4
    width = sign * (table[f"ci_{end}"] - table["difference"])
    critical = (width / table["standard_error"]).to_list()
    assert critical == pytest.approx([critical[0]] * 4, rel=1e-9)
    among = correlations("sndr", [(name, "behavior") for name in POLICIES])
    exact = selection_oracle.share_within(critical[0], among, "greater")
    assert exact == pytest.approx(0.95, abs=2 * CHANCE)


def test_one_pair_alone_is_the_single_comparison():
    evaluation = evaluate()
    for (first, second), estimator in itertools.product(PAIRS[:6], ("tis", "snpdis")):
        alone = row(evaluation, first, second, estimator, simultaneous=True)
        single = row(evaluation, first, second, estimator)
        width = alone["ci_high"] - alone["ci_low"]
        assert width == pytest.approx(single["ci_high"] - single["ci_low"], rel=0.02)
        kept = ("difference", "standard_error", "p_better")
        assert [alone[name] for name in kept] == [single[name] for name in kept]


def test_copies_of_a_policy_do_not_widen():
    policies = {name: columns_of(name) for name in POLICIES}
    copies = {f"far {i}": columns_of("far") for i in range(30)}
    log = logged(LOG)
    few, many = (cf.evaluate(log, p, "sndr") for p in (policies, policies | copies))
    tables = [evaluation.compare(simultaneous=True) for evaluation in (few, many)]
    values = [critical_values(table)[0] for table in tables]
    assert values[1] == pytest.approx(values[0], abs=0.05)
    assert values[1] < selection_oracle.single_critical_value(0.95, 34) - 0.3
    same = row(many, "far", "far 3", simultaneous=True)
    assert (same["difference"], same["standard_error"], same["p_better"]) == (0, 0, 0.5)


def test_copies_up_to_rounding_do_not_widen_either():
    copies = {}
    for i in range(3):
        p = LOG.columns["p_far"]
        copies[f"far {i}"] = p * (1 + 1e-15 * np.random.default_rng(i).normal(size=len(p)))
    policies = {name: LOG.columns[f"p_{name}"] for name in POLICIES}
    tables = [
        cf.evaluate(logged(LOG), p, "snpdis").compare(baseline="far", simultaneous=True)
        for p in (policies, policies | copies)
    ]
    few, many = (critical_values(table)[0] for table in tables)
    assert many == pytest.approx(few, abs=0.05)


def test_a_copy_alone_is_not_told_apart():
    evaluation = evaluate(names=("far",), estimators=["tis"])
    for simultaneous in (False, True):
        found = row(evaluation, "far", "far", simultaneous=simultaneous)
        assert (found["ci_low"], found["ci_high"]) == (0, 0)
        assert found["conclusion"] == "not told apart"


def test_nothing_to_compare_with():
    evaluation = evaluate(names=("far",), estimators=["tis"])
    for simultaneous in (False, True):
        table = evaluation.compare(baseline="far", simultaneous=simultaneous)
        assert len(table) == 0
        assert table.schema == evaluation.compare().schema


def test_few_clusters_widen_all_together_too():
    few = LOG.with_columns(cluster=(np.arange(LOG.n_episodes) % 4).repeat(LOG.lengths))
    policies = {name: columns_of(name) for name in POLICIES}
    evaluation = cf.evaluate(logged(few, cluster="cluster"), policies, "sndr", interval="t")
    single, together = (evaluation.compare(simultaneous=s) for s in (False, True))
    assert (together["ci_high"] > single["ci_high"]).all()


# Contenders.


def test_contenders_are_those_that_no_other_beats():
    for level, estimator in itertools.product((0.5, 0.8, 0.95), oracle.NAMES):
        evaluation = evaluate(confidence_level=level, estimators=[estimator])
        influence, table = INFLUENCES[estimator], evaluation.contenders()
        values = {name: influence[name].value for name in POLICIES}
        assert table["policy"].to_list() == sorted(POLICIES, key=values.get, reverse=True)
        leader = table["policy"][0]
        for found in table.iter_rows(named=True):
            rivals = [(q, found["policy"]) for q in POLICIES if q != found["policy"]]
            critical, among = found["critical_value"], correlations(estimator, rivals)
            exact = selection_oracle.share_within(critical, among, "greater")
            chance = 4 * math.sqrt(level * (1 - level) / DRAWS)
            assert exact == pytest.approx(level, abs=2 * chance)
            contrasts = [oracle.contrast(influence[a], influence[b]) for a, b in rivals]
            beaten = any(c.difference > critical * c.standard_error for c in contrasts)
            assert found["contender"] == (not beaten)
            if found["policy"] != leader:
                behind = oracle.contrast(influence[leader], influence[found["policy"]])
                wanted = pytest.approx([behind.difference, behind.standard_error], rel=1e-9)
                assert [found["behind_leader"], found["standard_error"]] == wanted
        assert table.row(0, named=True)["contender"] is True
        assert table["behind_leader"][0] == 0


def test_a_copy_of_the_leader_stays_and_a_poor_policy_goes():
    rng = np.random.default_rng(5)
    good = rng.random(3_000) < 0.5
    data = {"action": good, "reward": good + rng.normal(0, 0.3, 3_000)}
    log = cf.LoggedData.from_frame(data | {"propensity": np.full(3_000, 0.5)})
    best, poor, never = (np.where(good, p, q) for p, q in ((0.9, 0.1), (0.2, 0.8), (0, 0)))
    policies = {"never": never, "poor": poor, "best": best, "copy": best.copy()}
    table = cf.evaluate(log, policies, ["sntis", "tis"]).contenders("sntis")
    assert table["policy"].to_list() == ["best", "copy", "poor", "never"]
    assert table["contender"].to_list() == [True, True, False, None]
    assert table["value"].is_nan().to_list() == [False] * 3 + [True]
    alone = cf.evaluate(log, {"poor": poor}, "tis").contenders()
    assert alone["contender"].to_list() == [True]


def test_one_episode_sends_nobody_away():
    data = {"action": [0], "reward": [1.0], "propensity": [0.5]}
    policies = {"a": [0.3], "b": [0.5]}
    table = cf.evaluate(cf.LoggedData.from_frame(data), policies, "tis").contenders()
    assert False not in table["contender"].to_list()


def test_the_leader_stays_at_any_level():
    rng = np.random.default_rng(0)
    data = {"action": np.zeros(50), "reward": rng.normal(1, 1, 50), "p": np.full(50, 0.5)}
    policies = {name: rng.uniform(0.3, 0.5, 50) for name in "ab"}
    log = cf.LoggedData.from_frame(data, propensity="p")
    table = cf.evaluate(log, policies, "tis", confidence_level=0.05).contenders()
    assert table["contender"][0] is True


def test_needed_episodes():
    settings = {"n_episodes": 1000, "confidence_level": 0.95}
    # 1000 (2.8016 / 2)^2, two digits
    assert needed_episodes(1.0, 0.5, settings) == 2000
    assert needed_episodes(-1.0, 0.5, settings) == 2000
    assert needed_episodes(0.0, 0.5, settings) is None
    assert needed_episodes(1.0, float("nan"), settings) is None
    assert needed_episodes(1.0, 0.5, {**settings, "confidence_level": 0.99}) == 2900
