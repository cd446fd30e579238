"""`assess`: estimators judged by true values, and how far the judgement hangs on the log."""

from __future__ import annotations

import math

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
import selection_oracle
from hypothesis import given
from hypothesis import strategies as st
from selection_oracle import METRICS, METRICS_AT_K
from test_ranking import evaluate, made

NAN = math.nan
SAFETY = {"false_alarm_rate", "missed_unsafe_rate", "safety_violation_rate"}
DEBIASED = {"mse_debiased", "std_debiased"}
Key = tuple[str, int | None]


def truth_of(values: object) -> dict[str, object]:
    return {f"p{i}": value for i, value in enumerate(values)}


def found(table: pl.DataFrame, column: str = "value", **which: object) -> dict[Key, float]:
    rows = table.filter(**which) if which else table
    return {(m, k): x for m, k, x in rows.select("metric", "k", column).iter_rows()}


def check(actual: dict[Key, float], wanted: dict[Key, float]) -> None:
    """The same metrics, and the same values to rounding."""
    missing = {name for name, _ in wanted} - {name for name, _ in actual}
    assert missing <= SAFETY | DEBIASED
    assert set(actual) == {key for key in wanted if key[0] not in missing}
    for key, value in actual.items():
        assert value == pytest.approx(wanted[key], rel=1e-9, abs=1e-9, nan_ok=True), key


# Every metric.

# None of them is 0, by which some metrics divide.
values = st.integers(-8, 8).map(lambda i: i / 4 + 1 / 8)
scores = st.integers(-3, 3).map(float) | st.just(NAN)


@given(
    pairs=st.lists(st.tuples(scores, values), min_size=1, max_size=7),
    behavior=values,
    threshold=values,
    ddof=st.sampled_from([0, 1]),
    ties=st.sampled_from(["first", "last", "average"]),
)
def test_every_metric_is_its_definition(pairs, behavior, threshold, ddof, ties):
    estimates, true = map(np.array, zip(*pairs, strict=True))
    assessment = cf.assess(
        made(estimates),
        truth_of(true),
        behavior_value=behavior,
        safety_threshold=threshold,
        ddof=ddof,
        ties=ties,
    )
    nothing = np.zeros(len(true))
    wanted = selection_oracle.assessment(
        estimates, true, nothing, behavior, threshold, ddof=ddof, ties=ties
    )
    check(found(assessment.table), wanted)
    ratios = cf.sharpe_ratio_at_k(estimates, true, behavior, ddof=ddof, ties=ties)
    own = assessment.table.filter(metric="sharpe_ratio")["value"].to_list()
    assert own == pytest.approx(ratios.tolist(), rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize("criterion", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("behavior", [-1.0, 0.0, 2.0])
def test_relative_safety_is_a_threshold(behavior, criterion):
    rng = np.random.default_rng(1)
    estimates, true = behavior + 0.5 * rng.normal(size=(2, 8))
    evaluation = made(estimates, estimates + rng.normal(size=(30, 8)))
    threshold = selection_oracle.relative_threshold(behavior, criterion)
    tables = [
        cf.assess(evaluation, truth_of(true), behavior_value=behavior, **options).table
        for options in ({"relative_safety": criterion}, {"safety_threshold": threshold})
    ]
    assert tables[0].equals(tables[1])
    wanted = selection_oracle.assessment(estimates, true, np.zeros(8), behavior, threshold)
    check(found(tables[0]), wanted)


def test_safety_by_hand():
    """Type I is safe but judged unsafe; equal to the threshold is safe."""
    true = [1.0, 2.0, 3.0, 0.5, 0.9]
    estimates = [0.5, 1.0, 2.0, 1.0, 0.0]
    table = found(cf.assess(made(estimates), truth_of(true), safety_threshold=1.0).table)
    assert table["false_alarm_rate", None] == pytest.approx(1 / 3)
    assert table["missed_unsafe_rate", None] == pytest.approx(1 / 2)
    assert [table["safety_violation_rate", k] for k in (1, 2, 3)] == pytest.approx([0, 0, 1 / 3])
    for threshold, undefined in ((9.0, "false_alarm_rate"), (-9.0, "missed_unsafe_rate")):
        table = found(cf.assess(made(estimates), truth_of(true), safety_threshold=threshold).table)
        assert [name for (name, k), x in table.items() if k is None and math.isnan(x)] == [
            undefined
        ]


def test_regret_and_rank_correlation_by_hand():
    estimates, true = [3.0, 2.0, 1.0, 0.0], [-2.0, -1.0, -4.0, -3.0]
    table = found(cf.assess(made(estimates), truth_of(true), behavior_value=-3.5).table)
    assert [table["regret", k] for k in (1, 2, 3, 4)] == [1, 0, 0, 0]
    assert [table["nregret", k] for k in (1, 2, 3, 4)] == [1, 0, 0, 0]
    assert table["mse", None] == (25 + 9 + 25 + 9) / 4
    assert table["nmse", None] == pytest.approx(17 / 7.5)
    assert table["rank_correlation", None] == pytest.approx(0.6)
    assert table["kendall_tau", None] == pytest.approx(1 / 3)
    assert table["sharpe_ratio", 2] == pytest.approx(2.5 / 0.5)


def test_a_policy_without_an_estimate_ranks_last_and_is_judged_unsafe():
    estimates, true = [NAN, 1.0, 2.0], [5.0, 1.0, 3.0]
    options = {"behavior_value": 0.0, "safety_threshold": 2.0}
    table = found(cf.assess(made(estimates), truth_of(true), **options).table)
    for name in ("mse", "nmse", "rank_correlation", "kendall_tau"):
        assert math.isnan(table[name, None])
    assert (table["false_alarm_rate", None], table["missed_unsafe_rate", None]) == (0.5, 0.0)
    assert [table["kth", k] for k in (1, 2, 3)] == [3, 1, 5]
    assert [table["regret", k] for k in (1, 2, 3)] == [2, 2, 0]


def test_nothing_to_divide_by():
    table = found(cf.assess(made([1.0, 2.0]), truth_of([0.0, -1.0])).table)
    assert table["regret", 1] == 1
    assert math.isnan(table["nregret", 1])
    table = found(cf.assess(made([1.0, 2.0]), truth_of([0.0, 0.0])).table)
    assert math.isnan(table["nmse", None])


# Truth from roll-outs.


@pytest.mark.parametrize("ddof", [0, 1])
def test_roll_outs_take_their_noise_off(ddof):
    rng = np.random.default_rng(2)
    returns = [rng.normal(i / 2, 3, size=5 + i) for i in range(6)]
    true = np.array([x.mean() for x in returns])
    squared_errors = np.array([mean_error(x) for x in returns])
    estimates = true + rng.normal(size=6)
    evaluation = made(estimates, estimates + rng.normal(size=(50, 6)))
    truth = truth_of([*returns[:5], returns[5].tolist()])
    options = {"behavior_value": 0.0, "safety_threshold": 1.0, "ddof": ddof}
    table = cf.assess(evaluation, truth, **options).table
    wanted = selection_oracle.assessment(estimates, true, squared_errors, 0.0, 1.0, ddof=ddof)
    check(found(table), wanted)
    assert any(x == 0 for (name, k), x in found(table).items() if name == "std_debiased" and k > 1)
    # Known values among them have no noise.
    mixed = truth | {"p1": 7.0}
    squared_errors[1], true[1] = 0.0, 7.0
    wanted = selection_oracle.assessment(estimates, true, squared_errors, 0.0, 1.0, ddof=ddof)
    check(found(cf.assess(evaluation, mixed, **options).table), wanted)


def test_what_is_taken_off_is_the_noise():
    """Over many roll-outs the debiased figures are about those of the true values."""
    rng = np.random.default_rng(3)
    true, estimates = np.array([4.0, 2.0, 0.0, -2.0]), np.array([4.0, 3.0, 2.0, 1.0])
    sums = np.zeros(4)
    repeats = 400
    for _ in range(repeats):
        truth = truth_of(rng.normal(x, 3, size=9) for x in true)
        table = found(cf.assess(made(estimates), truth, behavior_value=0.0).table)
        keys = (("mse", None), ("mse_debiased", None), ("std", 4), ("std_debiased", 4))
        row = [table[key] for key in keys]
        sums += [row[0], row[1], row[2] ** 2, row[3] ** 2]
    mse, mse_debiased, variance, variance_debiased = sums / repeats
    exact = np.mean((true - estimates) ** 2), np.var(true)
    assert [mse_debiased, variance_debiased] == pytest.approx(exact, abs=0.35)
    assert [mse, variance] == pytest.approx([exact[0] + 1, exact[1] + 0.75], abs=0.35)


def test_tied_shortlists_are_debiased_one_by_one():
    rng = np.random.default_rng(5)
    returns = [rng.normal(m, s, 6) for m, s in ((0, 0.1), (5, 3), (9, 0.1), (3, 1))]
    for order in ([0, 1, 2, 3], [0, 2, 1, 3]):
        drawn = [returns[i] for i in order]
        true, errors = (np.array(x) for x in ([*map(np.mean, drawn)], [*map(mean_error, drawn)]))
        estimates = np.array([2.0, 1.0, 1.0, 1.0])
        options = {"behavior_value": 0.0, "ties": "average"}
        table = found(cf.assess(made(estimates), truth_of(drawn), **options).table)
        wanted = selection_oracle.assessment(estimates, true, errors, 0.0, 0.0, ties="average")
        check(table, wanted)


def mean_error(returns: np.ndarray) -> float:
    return returns.var(ddof=1) / len(returns)


# Under replicates.


@pytest.mark.parametrize("ties", ["first", "last", "average"])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_resampled_metrics_are_quantiles_over_the_replicates(level, ties):
    evaluation = evaluate(5, n_resamples=157, confidence_level=level, same=ties == "average")
    rng = np.random.default_rng(4)
    returns = [rng.normal(i % 3, 1, size=8) for i in range(5)]
    true = np.array([x.mean() for x in returns])
    errors = np.array([mean_error(x) for x in returns])
    if ties == "average":
        returns, errors = true, np.zeros(5)
    options = {"behavior_value": 0.1, "safety_threshold": 0.9, "ties": ties}
    table = cf.assess(evaluation, truth_of(returns), **options).table
    for e, name in enumerate(evaluation.estimators):
        drawn = [
            selection_oracle.assessment(x, true, errors, 0.1, 0.9, ties=ties)
            for x in evaluation.replicates[:, :, e]
        ]
        for column, p in (
            ("resampling_median", 0.5),
            ("resampling_low", (1 - level) / 2),
            ("resampling_high", (1 + level) / 2),
        ):
            wanted = {key: quantile([row[key] for row in drawn], p) for key in drawn[0]}
            check(found(table, column, estimator=name), wanted)
        estimates = evaluation.rows(name)["value"].to_numpy()
        own = selection_oracle.assessment(estimates, true, errors, 0.1, 0.9, ties=ties)
        check(found(table, estimator=name), own)


def test_pessimistic_selection_is_judged_by_what_it_chose():
    rng = np.random.default_rng(9)
    true, values = rng.normal(size=(2, 6))
    lower = values - rng.uniform(0.1, 2, size=6)
    replicates = values + rng.normal(size=(101, 6))
    evaluation = made(values, replicates, lower=lower)
    options = {"behavior_value": 0.1, "safety_threshold": 0.2}
    table = cf.assess(evaluation, truth_of(true), score="lower", **options).table

    def wanted(estimates: np.ndarray, scores: np.ndarray) -> dict[Key, float]:
        by_score = selection_oracle.assessment(scores, true, np.zeros(6), 0.1, 0.2)
        errors = selection_oracle.assessment(estimates, true, np.zeros(6), 0.1, 0.2)
        return by_score | {key: x for key, x in errors.items() if "mse" in key[0]}

    own = wanted(values, lower)
    assert own != wanted(values, values)
    check(found(table), own)
    drawn = [wanted(x, x - (values - lower)) for x in replicates]
    check(
        found(table, "resampling_high"),
        {key: quantile([row[key] for row in drawn], 0.975) for key in own},
    )
    ranked = evaluation.ranking(score="lower")["policy"].to_list()
    best = true[[int(name[1:]) for name in ranked]]
    assert found(table)["worst", 2] == best[:2].min()


def quantile(drawn: list[float], p: float) -> float:
    defined = [x for x in drawn if not math.isnan(x)]
    return float(np.quantile(defined, p)) if defined else NAN


def test_undefined_replicates_rank_last_and_have_no_error():
    rng = np.random.default_rng(6)
    true = np.array([3.0, 2.0, 1.0])
    replicates = true + rng.normal(size=(200, 3))
    replicates[:30, 0] = NAN
    table = cf.assess(made(true, replicates), truth_of(true), behavior_value=0.0).table
    drawn = [selection_oracle.assessment(x, true, np.zeros(3), 0.0, 0.0) for x in replicates]
    for column, p in (("resampling_low", 0.025), ("resampling_high", 0.975)):
        wanted = {key: quantile([row[key] for row in drawn], p) for key in drawn[0]}
        check(found(table, column), wanted)


def test_without_replicates_there_is_no_spread():
    table = cf.assess(made([1.0, 2.0]), truth_of([1.0, 3.0])).table
    for name in ("resampling_median", "resampling_low", "resampling_high"):
        assert table[name].null_count() == len(table)


# What it returns.


def test_schema_and_order():
    evaluation = evaluate(3, n_resamples=10)
    truth = truth_of(([1.0, 2.0], [2.0, 4.0], [0.0, 5.0]))
    table = cf.assess(evaluation, truth, safety_threshold=0.0).table
    assert dict(table.schema) == {
        "estimator": pl.String,
        "k": pl.Int64,
        "metric": pl.String,
        "value": pl.Float64,
        "resampling_median": pl.Float64,
        "resampling_low": pl.Float64,
        "resampling_high": pl.Float64,
    }
    one = [(None, m) for m in METRICS] + [(k, m) for k in (1, 2, 3) for m in METRICS_AT_K]
    wanted = [(name, *row) for name in ("sntis", "tis") for row in one]
    assert table.select("estimator", "k", "metric").rows() == wanted
    bare = cf.assess(evaluation, truth_of([1.0, 2.0, 3.0])).table
    kept = [row for row in wanted if row[2] not in SAFETY | DEBIASED]
    assert bare.select("estimator", "k", "metric").rows() == kept


def test_the_behavior_policys_value():
    evaluation, true = made([1.0, 2.0, 3.0], behavior_value=0.75), truth_of([1.0, 2.5, 2.0])
    returns = [0.0, 1.0, 0.2]
    for truth, options, behavior in (
        (true, {}, 0.75),
        (true | {"behavior": -1.0}, {}, -1.0),
        (true | {"behavior": returns}, {}, 0.4),
        (true | {"behavior": -1.0}, {"behavior_value": 2.25}, 2.25),
    ):
        table = found(cf.assess(evaluation, truth, **options).table)
        wanted = max(2.5, behavior) - behavior
        assert table["sharpe_ratio", 2] == pytest.approx(wanted / 0.25)


def test_the_order_of_the_truth_does_not_matter():
    evaluation = evaluate(4, n_resamples=20)
    truth = truth_of([0.3, 0.1, 0.7, 0.5])
    tables = [
        cf.assess(evaluation, dict(order)).table
        for order in (truth.items(), reversed(truth.items()))
    ]
    assert tables[0].equals(tables[1])


def test_a_printed_table_is_about_one_k():
    evaluation = evaluate(4)
    truth = truth_of([0.25, 0.5, 0.75, 1.0])
    for k, wanted in ((None, 3), (2, 2), (4, 4)):
        text = repr(cf.assess(evaluation, truth, k=k))
        assert f"of the top {wanted}" in text
        assert "sntis" in text
        assert "over resampled logs" not in text
    assert cf.assess(evaluation, truth).k == 3
    assert cf.assess(made([1.0]), {"p0": 2.0}).k == 1
    replicated = cf.assess(evaluate(4, n_resamples=10), truth)
    assert "over resampled logs" in repr(replicated)
    assert "<table" in replicated._repr_html_()


# What is refused.

TRUE = truth_of([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("truth", "options", "message"),
    [
        ({"p0": 1.0, "p1": 2.0}, {}, 'truth lacks policy "p2"'),
        (TRUE | {"p9": 1.0}, {}, 'truth names policy "p9"'),
        ([1.0, 2.0, 3.0], {}, "truth must map policies to true values"),
        (TRUE | {"p1": NAN}, {}, 'policy "p1" must be a finite number'),
        (TRUE | {"p1": [1.0, math.inf]}, {}, "1 of 2 are not"),
        (TRUE | {"p1": [1.0]}, {}, "of two or more"),
        (TRUE | {"p1": [[1.0, 2.0]]}, {}, "of two or more"),
        (TRUE | {"p1": "high"}, {}, 'policy "p1" must be a finite number'),
        (TRUE | {"p1": None}, {}, 'policy "p1" must be a finite number'),
        (TRUE | {"behavior": NAN}, {}, 'policy "behavior" must be a finite number'),
        (TRUE, {"behavior_value": math.inf}, "behavior_value must be a finite number"),
        (TRUE, {"behavior_value": "high"}, "behavior_value must be a finite number"),
        (TRUE, {"k": 0}, "k must be a whole number from 1 to 3, the number of policies, not"),
        (TRUE, {"k": 4}, "k must be a whole number from 1 to 3, the number of policies, not"),
        (TRUE, {"k": 1.5}, "k must be a whole number from 1 to 3, the number of policies, not"),
        (TRUE, {"safety_threshold": 0.0, "relative_safety": 1.0}, "give one of them"),
        (TRUE, {"ties": "random"}, "ties"),
        (TRUE, {"score": "lowest"}, "unknown score 'lowest'; did you mean \"lower\""),
        (TRUE, {"ddof": 2}, "ddof must be 0"),
        (TRUE, {"safety_threshold": NAN}, "safety_threshold"),
        (TRUE, {"relative_safety": NAN}, "relative_safety"),
    ],
)
def test_refusals(truth, options, message):
    with pytest.raises(cf.InvalidArgumentError, match=message):
        cf.assess(made([1.0, 2.0, 3.0]), truth, **options)


@pytest.mark.parametrize(
    "options", [{"ties": None}, {"ddof": 1.5}, {"ddof": -1}, {"safety_threshold": "high"}]
)
def test_wrong_types_are_refused_in_words(options):
    with pytest.raises(cf.InvalidArgumentError, match=next(iter(options))):
        cf.assess(made([1.0, 2.0, 3.0]), TRUE, **options)


def test_only_an_evaluation_is_assessed():
    with pytest.raises(cf.InvalidArgumentError, match="assess takes an Evaluation"):
        cf.assess(made([1.0, 2.0]).estimates, TRUE)
