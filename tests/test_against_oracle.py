"""The package against the oracle on random logs, and against exact values of the process itself."""

from __future__ import annotations

import math

import counterfolio as cf
import mdp
import numpy as np
import oracle
import polars as pl
import pytest
from scipy import stats

GAMMAS = (1.0, 0.95, 0.5)
POLICIES = ("near", "far", "zeros")


def random_log(seed: int, n: int, gamma: float, ids: str = "string", horizon: int = 8) -> mdp.Log:
    """One log with the columns of three policies; "zeros" never takes one action of each state."""
    process = mdp.random_mdp(seed, horizon=horizon)
    log = mdp.simulate(process, mdp.random_policy(seed, process), n, seed=seed, ids=ids)
    for index, name in enumerate(POLICIES):
        spread = 1.5 if name == "far" else 0.5
        policy = mdp.random_policy(100 * index + seed + 1, process, spread, zeros=name == "zeros")
        log = mdp.add_policy(log, process, name, policy, gamma, seed=index)
    return log


def logged(log: mdp.Log) -> cf.LoggedData:
    frame = pl.DataFrame(log.columns)
    return cf.LoggedData.from_frame(frame, episode_id="episode_id", timestep="timestep")


def columns_of(name: str) -> cf.PolicyColumns:
    return cf.PolicyColumns(prob=f"p_{name}", q=f"q_{name}", v=f"v_{name}")


def evaluate(log: mdp.Log, names: tuple[str, ...] = POLICIES, **options) -> cf.Evaluation:
    options = {"estimators": oracle.NAMES, **options}
    return cf.evaluate(logged(log), {name: columns_of(name) for name in names}, **options)


def matrices(log: mdp.Log, name: str) -> oracle.DenseLog:
    roles = ("episode_id", "reward", "propensity", f"p_{name}", f"q_{name}", f"v_{name}")
    return oracle.dense(*(log.columns[role] for role in roles))


def check(evaluation: cf.Evaluation, log: mdp.Log, gamma: float, names=POLICIES) -> None:
    wanted = {
        (name, estimator): oracle.estimate(matrices(log, name), estimator, gamma)
        for name in names
        for estimator in oracle.NAMES
    }
    wanted["behavior", "on_policy"] = oracle.behavior(matrices(log, names[0]), gamma)
    rows = list(evaluation.estimates.iter_rows(named=True))
    assert {(row["policy"], row["estimator"]) for row in rows} == set(wanted)
    assert len(rows) == len(wanted)
    wrong = [
        text
        for row in rows
        for text in oracle.disagreements(row, wanted[row["policy"], row["estimator"]])
    ]
    assert not wrong, "\n".join(wrong)
    for row in rows:
        # Never a NaN that was not announced.
        if math.isnan(row["value"]) or math.isnan(row["standard_error"]):
            assert row["note"], row


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("seed", range(12))
def test_random_logs(seed, gamma):
    ids = "string" if seed % 2 else "integer"
    log = random_log(seed, n=30 + 17 * seed, gamma=gamma, ids=ids)
    check(evaluate(log, gamma=gamma), log, gamma)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_many_episodes(gamma):
    """More than one block of 1,024 episodes, and more rows than one thread keeps to itself."""
    log = random_log(50, n=25_000, gamma=gamma, ids="integer")
    assert len(log.columns["reward"]) > 50_000
    check(evaluate(log, gamma=gamma), log, gamma)


@pytest.mark.parametrize("gamma", [1.0, 0.5])
@pytest.mark.parametrize("n", [1, 2, 3, 1023, 1024, 1025])
def test_numbers_of_episodes(n, gamma):
    """One episode has a value and no standard error; 1,024 episodes are one block of sums."""
    log = random_log(n, n=n, gamma=gamma)
    evaluation = evaluate(log, gamma=gamma)
    check(evaluation, log, gamma)
    if n == 1:
        ends = evaluation.estimates.select("standard_error", "ci_low", "ci_high").to_numpy()
        assert np.isnan(ends).all()


@pytest.mark.parametrize("mark", ["id", "no id"])
def test_one_step_episodes(mark):
    """A bandit log is n episodes of one row, with ids or without."""
    log = random_log(3, n=200, gamma=1.0, horizon=1)
    assert (log.lengths == 1).all()
    policies = {name: columns_of(name) for name in POLICIES}
    keys = {"episode_id": "episode_id"} if mark == "id" else {}
    bandit = cf.LoggedData.from_frame(pl.DataFrame(log.columns), **keys)
    assert bandit.n_rows == bandit.n_episodes == 200
    check(cf.evaluate(bandit, policies, estimators=oracle.NAMES), log, 1.0)


def test_ends_marked_by_terminated_and_truncated():
    log = random_log(8, n=40, gamma=0.95)
    last = np.zeros(len(log.columns["reward"]), dtype=bool)
    last[log.offsets[1:] - 1] = True
    odd = np.repeat(np.arange(40) % 2 == 1, log.lengths)
    frame = pl.DataFrame(log.columns).drop("episode_id", "timestep")
    frame = frame.with_columns(over=pl.Series(last & odd), cut=pl.Series(last & ~odd))
    marked = cf.LoggedData.from_frame(frame, terminated="over", truncated="cut")
    assert marked.n_episodes == 40
    policies = {name: columns_of(name) for name in POLICIES}
    check(cf.evaluate(marked, policies, estimators=oracle.NAMES, gamma=0.95), log, 0.95)


def test_every_weight_of_a_step_is_zero():
    """A self-normalised value without weights is NaN and says at which step; the others are 0."""
    log = random_log(4, n=30, gamma=1.0)
    prob = np.where(log.columns["timestep"] == 2, 0.0, log.columns["p_near"])
    short = np.repeat(log.lengths <= 2, log.lengths)
    log = log.take(np.flatnonzero(~(log.lengths <= 2)))
    log = log.with_columns(p_near=prob[~short])
    evaluation = evaluate(log, ("near",))
    check(evaluation, log, 1.0, ("near",))
    rows = {row["estimator"]: row for row in evaluation.estimates.iter_rows(named=True)}
    for name in oracle.SELF_NORMALISED:
        assert math.isnan(rows[name]["value"]), name
    for name in ("snpdis", "sndr"):
        assert "step 2" in rows[name]["note"]
    assert rows["tis"]["value"] == 0.0


def test_all_policies_at_once_or_one_at_a_time():
    log = random_log(9, n=300, gamma=0.95)
    together = evaluate(log, gamma=0.95).estimates
    for name in POLICIES:
        alone = evaluate(log, (name,), gamma=0.95).estimates
        pick = pl.col("policy").is_in([name, "behavior"])
        assert together.filter(pick).equals(alone), name


def test_estimators_together_or_one_at_a_time():
    log = random_log(10, n=300, gamma=0.95)
    together = evaluate(log, gamma=0.95).estimates
    for name in oracle.NAMES:
        alone = evaluate(log, gamma=0.95, estimators=[name]).estimates
        pick = pl.col("estimator").is_in([name, "on_policy"])
        assert together.filter(pick).equals(alone), name


def test_aliases():
    log = random_log(11, n=50, gamma=1.0)
    plain = evaluate(log).estimates
    for alias, name in oracle.ALIASES.items():
        found = evaluate(log, estimators=[alias]).estimates
        assert set(found["estimator"]) == {name, "on_policy"}
        pick = pl.col("estimator").is_in([name, "on_policy"])
        assert plain.filter(pick).equals(found), alias


def test_defaults_and_order():
    """Policies and estimators stand as given, the behavior policy last; dm, dr and sndr come by
    themselves where every policy has q and v."""
    log = random_log(18, n=20, gamma=1.0)
    rows = evaluate(log, ("zeros", "near"), estimators=None).estimates
    names = ["tis", "pdis", "sntis", "snpdis", "dm", "dr", "sndr"]
    wanted = [(policy, name) for policy in ("zeros", "near") for name in names]
    assert rows.select("policy", "estimator").rows() == [*wanted, ("behavior", "on_policy")]
    policies = {"near": columns_of("near"), "far": "p_far"}
    rows = cf.evaluate(logged(log), policies).estimates
    wanted = [(policy, name) for policy in policies for name in names[:4]]
    assert rows.select("policy", "estimator").rows() == [*wanted, ("behavior", "on_policy")]
    rows = evaluate(log, ("far",), estimators=["sndr", "wis", "dm"]).estimates
    assert rows["estimator"].to_list() == ["sndr", "sntis", "dm", "on_policy"]


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("kind", ["normal", "t"])
def test_intervals(kind, level, alternative):
    log = random_log(12, n=25, gamma=0.95)
    options = {"interval": kind, "confidence_level": level, "alternative": alternative}
    for row in evaluate(log, gamma=0.95, **options).estimates.iter_rows(named=True):
        asked = (row["value"], row["standard_error"], row["n_episodes"], *options.values())
        wanted = oracle.interval(*asked)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(wanted, rel=1e-9), row


def test_t_interval_of_two_episodes():
    """One degree of freedom: 12.7 standard errors, not 1.96."""
    log = random_log(2, n=2, gamma=1.0)
    for row in evaluate(log, interval="t").estimates.iter_rows(named=True):
        half = row["standard_error"] * stats.t(1).ppf(0.975)
        assert row["ci_high"] - row["value"] == pytest.approx(half, rel=1e-9)


def test_notes_warn_of_few_effective_episodes():
    log = random_log(13, n=400, gamma=1.0)
    rows = evaluate(log).estimates.filter(~pl.col("estimator").is_in(["dm", "on_policy"]))
    lean = (rows["effective_sample_size"] < 50) | (rows["max_weight_share"] > 0.1)
    assert lean.any()
    assert not lean.all()
    assert rows.filter(lean)["note"].is_not_null().all()


def test_bias_of_self_normalisation_is_flagged():
    """By Cauchy-Schwarz it is at most 1 / sqrt(ESS) standard errors: a flag above a quarter always
    comes with an effective sample size below 16, and must not be lost behind that warning."""
    flagged = 0
    for seed in range(40):
        log = random_log(seed, n=12, gamma=1.0)
        found = oracle.estimate(matrices(log, "far"), "sntis")
        bias = oracle.sntis_bias(matrices(log, "far")) / found.standard_error
        assert abs(bias) <= 1 / math.sqrt(found.effective_sample_size)
        row = evaluate(log, ("far",), estimators=["sntis"]).estimates.row(0, named=True)
        if abs(bias) > 0.26:
            flagged += 1
            assert "bias" in row["note"], (bias, row)
            assert f"{bias:.1f}" in row["note"], (bias, row)
        elif abs(bias) < 0.24:
            assert "bias" not in (row["note"] or ""), (bias, row)
    assert flagged


# Contrasts.


def row_of(table: object) -> dict:
    assert isinstance(table, pl.DataFrame)
    assert table.height == 1
    return table.row(0, named=True)


@pytest.mark.parametrize("name", oracle.NAMES)
@pytest.mark.parametrize("pair", [("near", "far"), ("far", "behavior"), ("behavior", "zeros")])
def test_contrasts(pair, name):
    log = random_log(14, n=150, gamma=0.95)
    evaluation = evaluate(log, gamma=0.95, interval="t", confidence_level=0.9)

    def estimate(policy: str) -> oracle.Estimate:
        if policy == "behavior":
            return oracle.behavior(matrices(log, "near"), 0.95)
        return oracle.estimate(matrices(log, policy), name, 0.95)

    found = row_of(evaluation.compare(*pair, estimator=name))
    wanted = oracle.contrast(*map(estimate, pair))
    assert abs(found["difference"] - wanted.difference) <= 1e-9 * wanted.scale
    assert abs(found["standard_error"] - wanted.standard_error) <= 1e-9 * wanted.error_scale
    ends = oracle.interval(wanted.difference, wanted.standard_error, 150, "t", 0.9)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(ends, rel=1e-8, abs=1e-9)
    better = stats.t.cdf(wanted.difference / wanted.standard_error, 149)
    assert found["p_better"] == pytest.approx(better, abs=1e-7)


def test_contrast_without_estimator_takes_the_only_one():
    log = random_log(15, n=60, gamma=1.0)
    evaluation = evaluate(log, estimators=["pdis"])
    named = evaluation.compare("near", "far", estimator="pdis")
    assert evaluation.compare("near", "far").equals(named)
    aliased = evaluate(log, estimators=["ips"])
    assert aliased.compare("near", "far", estimator="ips").equals(aliased.compare("near", "far"))


def test_contrast_is_antisymmetric():
    evaluation = evaluate(random_log(16, n=60, gamma=1.0))
    there = row_of(evaluation.compare("near", "far", estimator="dr"))
    back = row_of(evaluation.compare("far", "near", estimator="dr"))
    assert there["difference"] == -back["difference"]
    assert there["standard_error"] == back["standard_error"]
    assert there["p_better"] + back["p_better"] == pytest.approx(1.0, abs=1e-12)


def test_contrast_of_equal_policies_is_zero():
    """Two names for one policy: no difference, and no error either, however noisy each value is."""
    log = random_log(17, n=60, gamma=1.0)
    same = {"one": columns_of("far"), "two": columns_of("far")}
    evaluation = cf.evaluate(logged(log), same, estimators=oracle.NAMES)
    for name in oracle.NAMES:
        found = row_of(evaluation.compare("one", "two", estimator=name))
        assert found["difference"] == found["standard_error"] == 0.0


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9])
def test_contrast_of_nearly_equal_policies(distance):
    """Two versions of one policy, as after rounding to float32. Both values are as uncertain as
    ever, their difference is not; and an error of 0 would make a certainty of it."""
    log = random_log(19, n=200, gamma=1.0)
    shrink = 1 - distance * np.random.default_rng(0).random(len(log.columns["reward"]))
    log = log.with_columns(
        p_twin=log.columns["p_near"] * shrink,
        q_twin=log.columns["q_near"],
        v_twin=log.columns["v_near"],
    )
    evaluation = evaluate(log, ("near", "twin"))
    for name in oracle.WEIGHTED:
        pair = (oracle.estimate(matrices(log, policy), name) for policy in ("near", "twin"))
        found = row_of(evaluation.compare("near", "twin", estimator=name))
        wanted = oracle.contrast(*pair).standard_error
        assert found["standard_error"] == pytest.approx(wanted, rel=0.01), name


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_one_sided_contrast(alternative):
    log = random_log(20, n=50, gamma=1.0)
    evaluation = evaluate(log, estimators=["pdis"], alternative=alternative)
    found = row_of(evaluation.compare("far", "near"))
    asked = (found["difference"], found["standard_error"], 50, "normal", 0.95, alternative)
    assert (found["ci_low"], found["ci_high"]) == pytest.approx(oracle.interval(*asked), rel=1e-9)


# Exact values.


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_population(gamma):
    """On a log that is its own population every weighted estimator equals the true value, also
    the self-normalised ones, though the evaluation policy's episodes are longer than the logged
    ones.
    """
    process, behavior = mdp.dyadic_mdp()
    target = np.array([[0.9, 0.1], [0.75, 0.25]])
    log = mdp.population(process, behavior)
    log = mdp.add_policy(log, process, "new", target, gamma, error=0.5)
    rows = {
        row["estimator"]: row
        for row in evaluate(log, ("new",), gamma=gamma).estimates.iter_rows(named=True)
    }
    for name in oracle.WEIGHTED:
        assert rows[name]["value"] == pytest.approx(process.value(target, gamma), abs=1e-11), name
    on_policy = process.value(behavior, gamma)
    assert rows["on_policy"]["value"] == pytest.approx(on_policy, abs=1e-11)
    assert abs(process.value(target, gamma) - on_policy) > 0.1


def test_unbiased_and_standard_errors_honest():
    """Over 200 logs (value - truth) / standard error has mean 0 and variance 1, at gamma < 1."""
    gamma, n_logs = 0.9, 200
    process = mdp.random_mdp(1, horizon=5)
    behavior = mdp.random_policy(1, process, spread=0.4)
    # Close to the behavior policy: with far weights z is skewed by itself, and its mean not 0.
    target = 0.5 * behavior + 0.5 * mdp.random_policy(2, process, spread=0.4)
    truth = process.value(target, gamma)
    z = {name: [] for name in ("tis", "pdis", "dr", "on_policy")}
    for seed in range(n_logs):
        log = mdp.simulate(process, behavior, 800, seed=1000 + seed, ids="integer")
        log = mdp.add_policy(log, process, "new", target, gamma)
        evaluation = evaluate(log, ("new",), estimators=["tis", "pdis", "dr"], gamma=gamma)
        for row in evaluation.estimates.iter_rows(named=True):
            true = truth if row["policy"] == "new" else process.value(behavior, gamma)
            z[row["estimator"]].append((row["value"] - true) / row["standard_error"])
    for name, scores in z.items():
        assert len(scores) == n_logs
        assert abs(np.mean(scores)) < 3 / math.sqrt(n_logs), name
        assert 0.75 < np.var(scores, ddof=1) < 1.3, name
