"""Rankings under replicates, and how often intervals and contenders are right."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import counterfolio as cf
import mdp
import numpy as np
import polars as pl
import pytest
import selection_oracle
from hypothesis import given
from hypothesis import strategies as st
from test_against_oracle import columns_of

NAN = math.nan
EPISODES = 60


def decisions(policies: int) -> tuple[cf.LoggedData, dict[str, np.ndarray]]:
    """A log of single decisions, and some policies."""
    rng = np.random.default_rng(policies)
    action = rng.integers(0, 2, EPISODES)
    data = {"action": action, "reward": rng.normal(0.5, 1, EPISODES) + action}
    log = cf.LoggedData.from_frame(data | {"propensity": np.full(EPISODES, 0.5)})
    return log, {f"p{i}": rng.uniform(0.3, 0.7, EPISODES) for i in range(policies)}


def evaluate(policies: int = 4, *, same: bool = False, **options: object) -> cf.Evaluation:
    """With `same`, all policies but the first are copies of the second."""
    log, probs = decisions(policies)
    if same:
        probs |= dict.fromkeys(list(probs)[1:], probs["p1"])
    return cf.evaluate(log, probs, **{"estimators": ["sntis", "tis"], "seed": 3, **options})


def made(
    estimates: list[float] | np.ndarray,
    replicates: np.ndarray | None = None,
    behavior_replicates: np.ndarray | None = None,
    behavior_value: float = 0.0,
    lower: list[float] | None = None,
    **settings: object,
) -> cf.Evaluation:
    """An evaluation by one estimator that found just this."""
    base = evaluate(len(estimates), estimators=["sntis"])
    low = estimates if lower is None else lower
    table = base.estimates.with_columns(
        value=pl.Series([*estimates, behavior_value], dtype=pl.Float64),
        ci_low=pl.Series([*low, behavior_value], dtype=pl.Float64),
    )
    if replicates is not None:
        replicates = np.asarray(replicates, dtype=float)[:, :, None]
        if behavior_replicates is None:
            behavior_replicates = np.full(len(replicates), behavior_value)
    return replace(
        base,
        estimates=table,
        replicates=replicates,
        behavior_replicates=behavior_replicates,
        settings=base.settings | settings,
    )


def check(found: pl.DataFrame, scores: np.ndarray, replicates: np.ndarray, level: float) -> None:
    """The whole table, from the scores and their replicates."""
    policies = len(scores)
    order = selection_oracle.order(scores)
    known = not np.isnan(replicates).all()
    below = selection_oracle.rank_shares(replicates)[order].cumsum(axis=1)
    assert found["policy"].to_list() == [f"p{i}" for i in order]
    assert found["rank"].to_list() == list(range(1, policies + 1))
    assert found["score"].to_list() == pytest.approx(scores[order].tolist(), nan_ok=True)
    if not known:
        assert found.select(found.columns[3:]).null_count().sum_horizontal()[0] == policies * (
            policies + 3
        )
        return
    assert found["p_best"].to_list() == pytest.approx(below[:, 0].tolist(), abs=1e-12)
    for k in range(1, policies + 1):
        wanted = below[:, k - 1].tolist()
        assert found[f"p_top_{k}"].to_list() == pytest.approx(wanted, abs=1e-12)
        # k places are given away.
        assert found[f"p_top_{k}"].sum() == pytest.approx(k, abs=1e-12)
    intervals = [selection_oracle.rank_interval(row, level) for row in below]
    assert list(zip(found["rank_low"], found["rank_high"], strict=True)) == intervals


# What the replicates of an evaluation say.


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("n_resamples", [1, 39, 1000])
def test_ranks_are_those_of_the_replicates(n_resamples, level):
    evaluation = evaluate(6, n_resamples=n_resamples, confidence_level=level)
    for e, estimator in enumerate(evaluation.estimators):
        scores = evaluation.rows(estimator)["value"].to_numpy()
        found = evaluation.ranking(estimator)
        check(found, scores, evaluation.replicates[:, :, e], level)
        assert found["p_top_6"].to_list() == pytest.approx([1.0] * 6)
        assert found["p_top_1"].equals(found["p_best"].alias("p_top_1"))


def test_a_lower_end_moves_with_the_estimate():
    evaluation = evaluate(6, n_resamples=400)
    rows = evaluation.rows("sntis")
    value, low = (rows[name].to_numpy() for name in ("value", "ci_low"))
    replicates = evaluation.replicates[:, :, 0] - (value - low)
    check(evaluation.ranking("sntis", "lower"), low, replicates, 0.95)


def test_a_lower_end_by_hand():
    """The second is better in both replicates, and too uncertain in one of them."""
    replicates = np.array([[1.0, 1.5], [0.5, 3.0]])
    found = made([1.0, 2.0], replicates, lower=[0.9, 1.0]).ranking(score="lower")
    assert found["policy"].to_list() == ["p1", "p0"]
    assert found["p_best"].to_list() == [0.5, 0.5]
    by_value = made([1.0, 2.0], replicates, lower=[0.9, 1.0]).ranking()
    assert by_value["p_best"].to_list() == [1.0, 0.0]


def test_copies_share_their_chances():
    found = evaluate(4, same=True, n_resamples=200).ranking("sntis")
    copies = found.filter(pl.col("policy") != "p0")
    assert copies["policy"].to_list() == ["p1", "p2", "p3"]
    assert copies["score"].n_unique() == 1
    p0 = found.filter(policy="p0")["p_best"][0]
    assert copies["p_best"].to_list() == pytest.approx([(1 - p0) / 3] * 3)


def test_without_replicates_there_are_no_chances():
    evaluation = evaluate(3)
    assert evaluation.replicates is None
    assert evaluation.ranking("tis").columns == ["policy", "rank", "score"]
    assert evaluation.portfolio(2, "tis").predictive_sharpe_ratio is None


def test_schema():
    found = evaluate(3, n_resamples=20).ranking("tis")
    assert dict(found.schema) == {
        "policy": pl.String,
        "rank": pl.Int64,
        "score": pl.Float64,
        "p_best": pl.Float64,
        "rank_low": pl.Int64,
        "rank_high": pl.Int64,
        "p_top_1": pl.Float64,
        "p_top_2": pl.Float64,
        "p_top_3": pl.Float64,
    }


def test_a_saved_evaluation_ranks_alike(tmp_path):
    evaluation = evaluate(4, n_resamples=100)
    evaluation.to_parquet(tmp_path / "evaluation.parquet")
    found = cf.Evaluation.from_parquet(tmp_path / "evaluation.parquet")
    for score in ("value", "lower"):
        assert found.ranking("tis", score).equals(evaluation.ranking("tis", score))


def test_a_choice_among_some_is_made_as_if_there_were_no_others():
    some, options = ["p4", "p1", "p2"], {"n_resamples": 100, "seed": 8}
    everyone = evaluate(6, **options)
    log, probs = decisions(6)
    alone = cf.evaluate(log, {p: probs[p] for p in sorted(some)}, ["sntis", "tis"], **options)
    for score in ("value", "lower"):
        assert everyone.ranking("sntis", score, among=some).equals(alone.ranking("sntis", score))
    found, wanted = everyone.contenders("tis", among=some), alone.contenders("tis")
    exact = ("policy", "value", "behind_leader", "contender")
    assert found.select(exact).equals(wanted.select(exact))
    assert found["critical_value"].to_list() == pytest.approx(wanted["critical_value"].to_list())
    refused = ((["p9"], "policy 'p9' was not evaluated"), ([], "must be names of policies"))
    for among, message in refused:
        for act in (everyone.ranking, everyone.contenders):
            with pytest.raises(cf.InvalidArgumentError, match=message):
                act("tis", among=among)


# Ties and undefined replicates, at will.

few_values = st.sampled_from([NAN, -1.0, 0.0, -0.0, 0.5, 2.0, math.inf, -math.inf])


@given(
    rows=st.integers(1, 6).flatmap(
        lambda p: st.lists(st.lists(few_values, min_size=p, max_size=p), min_size=2, max_size=30)
    ),
    level=st.sampled_from([0.5, 0.8, 0.95]),
)
def test_ties_share_ranks_and_undefined_ones_come_last(rows, level):
    scores, replicates = np.array(rows[0]), np.array(rows[1:])
    found = made(scores, replicates, confidence_level=level).ranking()
    check(found, scores, replicates, level)


def test_an_interval_of_the_rank_by_hand():
    # Of 20 replicates p0 is first in 10, second in 9, third in 1.
    first, second, third = [3.0, 2.0, 1.0], [2.0, 3.0, 1.0], [1.0, 3.0, 2.0]
    replicates = np.array([first] * 10 + [second] * 9 + [third])
    wanted = {0.5: (1, 2), 0.89: (1, 2), 0.9: (1, 2), 0.91: (1, 3), 0.99: (1, 3)}
    for level, interval in wanted.items():
        found = made(first, replicates, confidence_level=level).ranking().row(0, named=True)
        assert (found["policy"], found["rank_low"], found["rank_high"]) == ("p0", *interval)
        assert (found["p_best"], found["p_top_2"]) == (0.5, 0.95)


def test_the_interval_narrows_as_the_log_decides():
    """Noise below the distance of two policies leaves no doubt, and much of it leaves all."""
    rng = np.random.default_rng(0)
    truth = np.arange(5.0)[::-1]
    for noise, widths in ((0.05, [0] * 5), (100.0, [4] * 5)):
        replicates = truth + noise * rng.normal(size=(2_000, 5))
        found = made(truth, replicates).ranking()
        assert (found["rank_high"] - found["rank_low"]).to_list() == widths
        assert found["p_best"].max() > (0.99 if noise < 1 else 0.15)


# What is refused.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "value"}, "several estimators were evaluated; name one"),
        ({"estimator": "dr"}, 'estimator "dr" was not evaluated'),
        ({"estimator": "tsi"}, "tis"),
        ({"estimator": "tis", "score": "upper"}, "unknown score 'upper'"),
        ({"estimator": "tis", "score": None}, "unknown score None"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(cf.InvalidArgumentError, match=message):
        evaluate(3, n_resamples=10).ranking(**arguments)


def test_no_lower_end_no_ranking_by_it():
    evaluation = evaluate(3, alternative="less", n_resamples=10)
    with pytest.raises(cf.InvalidArgumentError, match="leaves open"):
        evaluation.ranking("tis", "lower")
    assert evaluation.ranking("tis")["p_best"].sum() == 1


# Coverage on logs whose true values are known.

LEVEL, LOGS, LENGTH, GAMMA = 0.9, 300, 250, 0.9


@pytest.fixture(scope="module")
def many_logs() -> tuple[dict[str, float], list[cf.Evaluation]]:
    process = mdp.random_mdp(21, horizon=4)
    behavior = mdp.random_policy(21, process, 0.4)
    policies = {f"p{i}": mdp.random_policy(30 + i, process, 0.4) for i in range(4)}
    # All but the same in what they do and in what they earn: the hard case.
    policies["p4"] = 0.9 * policies["p0"] + 0.1 * policies["p1"]
    truth = {name: process.value(policy, GAMMA) for name, policy in policies.items()}
    log = mdp.simulate(process, behavior, LOGS * LENGTH, seed=2, ids="integer")
    for name, policy in policies.items():
        log = mdp.add_policy(log, process, name, policy, GAMMA)
    frame, offsets = pl.DataFrame(log.columns), log.offsets
    named = {name: columns_of(name) for name in policies}
    found = []
    for i in range(0, LOGS * LENGTH, LENGTH):
        part = cf.LoggedData.from_frame(
            frame[offsets[i] : offsets[i + LENGTH]], episode_id="episode_id"
        )
        options = {"gamma": GAMMA, "confidence_level": LEVEL}
        found.append(cf.evaluate(part, named, ["snpdis", "sndr"], **options))
    return truth | {"behavior": process.value(behavior, GAMMA)}, found


@pytest.mark.parametrize("estimator", ["snpdis", "sndr"])
def test_intervals_together_cover_together(many_logs, estimator):
    truth, evaluations = many_logs
    covered = {True: 0, False: 0}
    for evaluation, simultaneous in itertools.product(evaluations, covered):
        table = evaluation.compare(None, "behavior", estimator, simultaneous=simultaneous)
        true = np.array([truth[p] - truth["behavior"] for p in table["policy"]])
        low, high = (table[end].to_numpy() for end in ("ci_low", "ci_high"))
        covered[simultaneous] += ((low <= true) & (true <= high)).all()
    chance = math.sqrt(LEVEL * (1 - LEVEL) / LOGS)
    assert abs(covered[True] / LOGS - LEVEL) < 3 * chance + 0.01
    assert covered[False] / LOGS < LEVEL - 3 * chance


def test_the_best_is_among_the_contenders(many_logs):
    truth, evaluations = many_logs
    best = max((p for p in truth if p != "behavior"), key=truth.get)
    kept = []
    for evaluation in evaluations[:150]:
        table = evaluation.contenders("sndr")
        kept.append(table.filter(pl.col("contender"))["policy"].to_list())
    stayed = sum(best in names for names in kept) / len(kept)
    assert stayed > LEVEL - 3 * math.sqrt(LEVEL * (1 - LEVEL) / len(kept))
    # And some are told to go.
    assert sum(map(len, kept)) / len(kept) < 3.5
