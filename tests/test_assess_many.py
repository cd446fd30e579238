"""`assess` across logs: means, spreads and intervals of metrics, and who is best on each log."""

from __future__ import annotations

import collections
import itertools
import math
import pickle
from functools import cache

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
import scipy.stats
from many_logs import COLUMNS, GAMMA, TRUTH, logs
from test_ranking import made

NAN = math.nan
ESTIMATORS = ["dm", "sntis", "snpdis", "sndr"]


@cache
def evaluations(count: int = 12, n_resamples: int = 0) -> cf.Evaluations:
    options = {"gamma": GAMMA, "n_resamples": n_resamples, "seed": 1}
    return cf.evaluate_many(logs(count), COLUMNS, ESTIMATORS, **options)


def several(*estimates: list[float], **settings: object) -> cf.Evaluations:
    """One log to each list of what an only estimator found."""
    return cf.Evaluations({f"log {i}": made(x, **settings) for i, x in enumerate(estimates)})


def truth_of(*values: object) -> dict[str, object]:
    return {f"p{i}": value for i, value in enumerate(values)}


def values(table: pl.DataFrame, *keys: str) -> dict[tuple[object, ...], list[float]]:
    found: dict[tuple[object, ...], list[float]] = {}
    for *key, value in table.select(*keys, "value").iter_rows():
        found.setdefault(tuple(key), []).append(value)
    return found


KEYS = ("estimator", "k", "metric")


@pytest.mark.parametrize("n_resamples", [0, 20])
def test_every_log_is_assessed_as_if_alone(n_resamples):
    several = evaluations(4, n_resamples)
    options = {"safety_threshold": 0.1, "ddof": 1, "ties": "average", "score": "lower"}
    found = cf.assess(several, TRUTH, **options, k=2)
    wanted = pl.concat(
        [
            cf.assess(one, TRUTH, **options).table.select(pl.lit(name).alias("dataset"), pl.all())
            for name, one in several.items()
        ]
    )
    assert found.by_dataset.equals(wanted)
    assert found.k == 2
    assert isinstance(found, cf.Assessments)


def test_means_and_spreads_are_numpys():
    found = cf.assess(evaluations(), TRUTH)
    by_log = values(found.by_dataset, *KEYS)
    assert found.table.select(KEYS).rows() == list(by_log)
    assert len({len(x) for x in by_log.values()}) == 1
    for row in found.table.iter_rows(named=True):
        own = np.array(by_log[tuple(row[key] for key in KEYS)])
        assert row["n_logs"] == 12
        assert row["n_undefined"] == np.isnan(own).sum()
        assert row["n_infinite"] == np.isinf(own).sum()
        own = own[np.isfinite(own)]
        if len(own) == 0:
            assert row["value"] is row["std"] is row["ci_low"] is row["ci_high"] is None
            continue
        assert row["value"] == pytest.approx(own.mean(), rel=1e-12)
        if len(own) > 1:
            assert row["std"] == pytest.approx(own.std(ddof=1), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_intervals_are_quantiles_of_resampled_means(level):
    found = cf.assess(evaluations(), TRUTH, confidence_level=level, n_resamples=300, seed=8)
    drawn = cf.resample_weights(12, 300, 8, resampling="multinomial")
    by_log = values(found.by_dataset, *KEYS)
    checked = 0
    for row in found.table.iter_rows(named=True):
        own = np.array(by_log[tuple(row[key] for key in KEYS)])
        if np.isfinite(own).sum() < 2:
            continue
        means = []
        for counts in drawn:
            sample = np.repeat(own, counts)
            sample = sample[np.isfinite(sample)]
            if len(sample):
                means.append(sample.mean())
        tail = (1 - level) / 2
        wanted = np.quantile(means, [tail, 1 - tail])
        assert [row["ci_low"], row["ci_high"]] == pytest.approx(wanted, rel=1e-9, abs=1e-12)
        checked += 1
    assert checked > 60
    assert found.settings == {"confidence_level": level, "n_resamples": 300, "seed": 8}


@pytest.mark.parametrize("seed", [0, 1])
def test_intervals_are_scipys(seed):
    """But for the draws, of which there are enough."""
    found = cf.assess(evaluations(), TRUTH, n_resamples=50_000, seed=seed)
    by_log = values(found.by_dataset, *KEYS)
    checked = 0
    for row in found.table.iter_rows(named=True):
        own = np.array(by_log[tuple(row[key] for key in KEYS)])
        if not np.isfinite(own).all() or own.std() < 1e-9:
            continue
        rng = np.random.default_rng(3)
        interval = scipy.stats.bootstrap(
            (own,), np.mean, n_resamples=20_000, method="percentile", rng=rng
        ).confidence_interval
        within = 0.05 * own.std() / math.sqrt(len(own))
        # Means of few different values stand on a grid, and may fall on either side of a step.
        if len(set(own)) > 6:
            assert [row["ci_low"], row["ci_high"]] == pytest.approx(list(interval), abs=within)
            checked += 1
    assert checked >= 5


def test_the_same_table_every_time():
    tables = [
        cf.assess(evaluations(), TRUTH, **o).table for o in ({}, {}, {"seed": 0}, {"seed": 1})
    ]
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])
    assert not tables[0].equals(tables[3])


def test_what_is_not_finite_is_counted():
    """SharpeRatio@2 of equal policies is infinite, or undefined where none is better."""
    found = cf.assess(
        several([3, 2, 1], [3, 1, 2], [1, 3, 2]), truth_of(2.0, 2.0, 1.0), behavior_value=1.5
    )
    rows = {(r["k"], r["metric"]): r for r in found.table.iter_rows(named=True)}
    row = rows[2, "sharpe_ratio"]
    ratio = (2.0 - 1.5) / 0.5
    # The first log's top two spread nothing.
    assert (row["value"], row["n_logs"]) == (pytest.approx(ratio), 3)
    assert (row["n_infinite"], row["n_undefined"]) == (1, 0)
    assert row["std"] == pytest.approx(0, abs=1e-12)
    row = rows[1, "sharpe_ratio"]
    assert (row["value"], row["std"], row["ci_low"]) == (None, None, None)
    assert (row["n_undefined"], row["n_infinite"], row["n_logs"]) == (3, 0, 3)
    text = repr(cf.assess(several([3, 2, 1], [3, 1, 2]), truth_of(2.0, 2.0, 1.0), k=2))
    assert "sharpe_ratio: 0 undefined and 1 infinite values of 2 are in no mean." in text
    assert "in no mean" not in repr(cf.assess(several([3, 2, 1]), truth_of(3.0, 2.0, 1.0), k=2))


def test_few_finite_values_have_no_interval_but_resamples_without_any_are_left_out():
    undefined = [NAN, 1.0]
    found = cf.assess(several(undefined, undefined, [2.0, 1.0]), truth_of(1.0, 2.0)).table
    (row,) = found.filter(metric="mse").iter_rows(named=True)
    assert (row["value"], row["std"], row["ci_low"]) == (1.0, None, None)
    assert (row["n_undefined"], row["n_logs"]) == (2, 3)
    found = cf.assess(several(undefined, [1.0, 1.0], [2.0, 1.0]), truth_of(1.0, 2.0)).table
    (row,) = found.filter(metric="mse").iter_rows(named=True)
    assert (row["value"], row["ci_low"], row["ci_high"]) == (0.75, 0.5, 1.0)
    (row,) = (
        cf.assess(several([2.0, 1.0]), truth_of(1.0, 2.0))
        .table.filter(metric="mse")
        .rows(named=True)
    )
    assert (row["value"], row["std"], row["ci_low"], row["n_logs"]) == (1.0, None, None, 1)


# Truth and the behavior policy.


class Rollouts(collections.abc.Mapping):
    """A mapping that is no dict."""

    def __init__(self, returns: dict[str, object]) -> None:
        self.returns = returns

    def __getitem__(self, name: str) -> object:
        return self.returns[name]

    def __iter__(self):
        return iter(self.returns)

    def __len__(self) -> int:
        return len(self.returns)


def test_truth_of_all_or_of_each():
    rng = np.random.default_rng(0)
    estimates = several([3, 2, 1], [1, 2, 3])
    true = truth_of(*rng.normal(size=(3, 9)))
    one = cf.assess(estimates, true, behavior_value=0.0)
    assert "mse_debiased" in set(one.table["metric"])
    for same in (
        Rollouts(true),
        {"log 0": true, "log 1": true, "another": {}},
        Rollouts({"log 1": Rollouts(true), "log 0": true}),
    ):
        again = cf.assess(estimates, same, behavior_value=0.0)
        assert again.table.equals(one.table)
        assert again.by_dataset.equals(one.by_dataset)
    own = {"log 0": truth_of(1.0, 2.0, 3.0), "log 1": truth_of(1.0, 2.0, 3.0)}
    table = cf.assess(estimates, own).by_dataset.filter(metric="rank_correlation")
    assert table["value"].to_list() == pytest.approx([-1, 1])


def test_each_logs_own_behavior_value():
    estimates = cf.Evaluations(
        {"x": made([2.0, 1.0], behavior_value=0.5), "y": made([2.0, 1.0], behavior_value=1.5)}
    )
    true = truth_of(3.0, 2.0)
    for truth, options, wanted in (
        (true, {}, [5.0, 3.0]),
        (true | {"behavior": 1.0}, {}, [4.0, 4.0]),
        ({"x": true | {"behavior": 1.0}, "y": true}, {}, [4.0, 3.0]),
        (true, {"behavior_value": 2.0}, [2.0, 2.0]),
    ):
        found = cf.assess(estimates, truth, **options)
        ratios = found.by_dataset.filter(metric="sharpe_ratio", k=2)["value"].to_list()
        assert ratios == pytest.approx(wanted)
        assert found.table.filter(metric="sharpe_ratio", k=2)["value"][0] == pytest.approx(
            np.mean(wanted)
        )


def test_logs_may_differ_in_policies_and_estimators():
    given = cf.Evaluations({"x": made([3.0, 2.0, 1.0]), "y": made([1.0, 2.0])})
    truth = {"x": truth_of(1.0, 2.0, 3.0), "y": truth_of(1.0, 2.0)}
    found = cf.assess(given, truth)
    assert found.k == 2
    counts = {
        (k, n) for k, m, n in found.table.select("k", "metric", "n_logs").rows() if m == "kth"
    }
    assert counts == {(1, 2), (2, 2), (3, 1)}
    assert found.table.filter(k=3, metric="kth").select("value", "std").row(0) == (3.0, None)
    agreement = found.agreement(3).filter(metric="sharpe_ratio", other_metric="regret")
    assert agreement.select("n_logs", "n_undefined").row(0) == (1, 1)
    with pytest.raises(cf.InvalidArgumentError, match="k must be a whole number from 1 to 2"):
        cf.assess(given, truth, k=3)


# Which estimator is best.


def by_hand() -> cf.Assessments:
    """Three estimators on four logs, with ties and without anything to choose by."""
    found = {
        ("sharpe_ratio", 2): [(1.0, 3.0, 2.0), (2.0, 2.0, 1.0), (NAN, 5.0, math.inf), (NAN,) * 3],
        ("regret", 2): [(0.5, 0.0, 1.0), (0.0, 0.0, 0.0), (0.2, 0.1, 0.3), (0.0, 1.0, 1.0)],
        ("rank_correlation", None): [
            (0.1, 0.9, 0.3),
            (0.7, 0.9, 0.7),
            (-1.0, -0.5, -0.2),
            (1, 0, NAN),
        ],
        ("nmse", None): [(0.3, 0.1, 0.2), (0.1 + 0.2, 0.4, 0.3), (9.0, 8.0, 7.0), (3.0, 2.0, 1.0)],
    }
    rows = [
        {"dataset": f"log {i}", "estimator": e, "k": k, "metric": metric, "value": float(value)}
        for (metric, k), logs_of in found.items()
        for i, per_estimator in enumerate(logs_of)
        for e, value in zip("abc", per_estimator, strict=True)
    ]
    # Of another k, which must not be looked at.
    rows += [{**row, "k": 1, "value": -row["value"]} for row in rows if row["k"] == 2]
    by_dataset = pl.DataFrame(rows, schema_overrides={"k": pl.Int64})
    return cf.Assessments(pl.DataFrame(), by_dataset, 2)


def test_best_estimators_by_hand():
    found = by_hand().best_estimators()
    assert dict(found.schema) == {
        "dataset": pl.String,
        "metric": pl.String,
        "k": pl.Int64,
        "value": pl.Float64,
        "estimators": pl.List(pl.String),
    }
    best = {
        (d, m): "".join(names)
        for d, m, names in found.select("dataset", "metric", "estimators").rows()
    }
    for metric, wanted in (
        ("sharpe_ratio", ["b", "ab", "c", ""]),
        ("regret", ["b", "abc", "b", "a"]),
        ("rank_correlation", ["b", "b", "c", "a"]),
        ("nmse", ["b", "ac", "c", "c"]),  # 0.1 + 0.2 is 0.3 but for rounding
    ):
        assert [best[f"log {i}", metric] for i in range(4)] == wanted, metric
    of_k = found.filter(metric="regret")
    assert of_k["k"].to_list() == [2] * 4
    assert of_k["value"].to_list() == [0.0, 0.0, 0.1, 0.0]
    assert found.filter(metric="nmse")["k"].null_count() == 4
    assert found.filter(metric="sharpe_ratio")["value"].to_list() == [3.0, 2.0, math.inf, None]
    other = by_hand().best_estimators(1).filter(metric="regret")["estimators"].to_list()
    assert other == [["c"], ["a", "b", "c"], ["c"], ["b", "c"]]


def test_agreement_by_hand():
    found = by_hand().agreement()
    rows = {(a, b): rest for a, b, *rest in found.drop("k").rows()}
    # n_logs, n_agree, n_same, n_common, n_undefined
    assert rows == {
        ("sharpe_ratio", "regret"): [3, pytest.approx(1 + 2 / 3 + 0), 1, 2, 1],
        ("sharpe_ratio", "rank_correlation"): [3, pytest.approx(1 + 1 / 2 + 1), 2, 3, 1],
        ("sharpe_ratio", "nmse"): [3, pytest.approx(1 + 1 / 3 + 1), 2, 3, 1],
        ("regret", "rank_correlation"): [4, pytest.approx(1 + 1 / 3 + 0 + 1), 2, 3, 0],
        ("regret", "nmse"): [4, pytest.approx(1 + 2 / 3 + 0 + 0), 1, 2, 0],
        ("rank_correlation", "nmse"): [4, pytest.approx(1 + 0 + 1 + 0), 2, 2, 0],
    }
    assert set(found["k"]) == {2}


def test_best_and_agreement_against_a_plain_loop():
    assessed = cf.assess(evaluations(), TRUTH)
    for k in (2, 3):
        rows = assessed.by_dataset
        best: dict[str, list[set[str]]] = {}
        for metric, of, sign in (
            ("sharpe_ratio", k, 1),
            ("regret", k, -1),
            ("rank_correlation", None, 1),
            ("nmse", None, -1),
        ):
            for name in evaluations():
                own = rows.filter(
                    (pl.col("dataset") == name)
                    & (pl.col("metric") == metric)
                    & (pl.col("k").is_null() if of is None else pl.col("k") == of)
                )
                top = max((sign * x for x in own["value"] if not math.isnan(x)), default=None)
                best.setdefault(metric, []).append(
                    {
                        e
                        for e, x in own.select("estimator", "value").rows()
                        if top is not None and abs(sign * x - top) < 1e-9
                    }
                )
        found = assessed.agreement(k)
        assert len(found) == 6
        for row, (one, other) in zip(
            found.iter_rows(named=True), itertools.combinations(best, 2), strict=True
        ):
            pairs = [(a, b) for a, b in zip(best[one], best[other], strict=True) if a and b]
            assert (row["metric"], row["other_metric"], row["n_logs"]) == (one, other, len(pairs))
            assert row["n_same"] == sum(a == b for a, b in pairs)
            assert row["n_common"] == sum(bool(a & b) for a, b in pairs)
            assert row["n_same"] <= row["n_agree"] <= row["n_common"]
        assert found["n_common"].sum() > found["n_same"].sum() > 0


# What it prints, and what is refused.


def test_a_printed_table_fits_a_terminal():
    found = cf.assess(evaluations(), TRUTH, k=2)
    text = repr(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "over 12 logs" in text.replace("\n", " ")
    assert "of the top 2" in text.replace("\n", " ")
    mean = found.table.filter(estimator="sndr", metric="nmse").select("value", "std").row(0)
    assert f"{mean[0]:.3g} ± {mean[1]:.2g}" in text
    assert "<table" in found._repr_html_()
    assert "±" not in repr(cf.assess(evaluations(1), TRUTH)).split("Mean")[0]
    assert pickle.loads(pickle.dumps(found)).table.equals(found.table)


def test_a_dict_of_evaluations_will_do():
    found = cf.assess(dict(evaluations()), TRUTH)
    assert found.table.equals(cf.assess(evaluations(), TRUTH).table)


@pytest.mark.parametrize(
    ("truth", "options", "text"),
    [
        (truth_of(1.0), {}, 'dataset "log 0": truth lacks policy "p1"'),
        ({"log 0": truth_of(1.0, 2.0)}, {}, 'truth lacks dataset "log 1"; did you mean "log 0"'),
        (
            {"log 0": truth_of(1.0, 2.0), "log 1": truth_of(1.0)},
            {},
            'dataset "log 1": truth lacks policy "p1"',
        ),
        ({"log 0": truth_of(1.0, 2.0), "log 1": 3.0}, {}, 'truth lacks policy "p0"'),
        ([1.0, 2.0], {}, "truth must map policies to true values"),
        ({}, {}, 'truth lacks policy "p0"'),
        (truth_of(1.0, 2.0), {"k": 3}, "k must be a whole number from 1 to 2"),
        (truth_of(1.0, 2.0), {"ties": "random"}, "ties"),
        (truth_of(1.0, 2.0), {"confidence_level": 1}, "confidence_level must be in"),
        (truth_of(1.0, 2.0), {"n_resamples": 0}, "n_resamples must be a whole number of 1 or more"),
        (truth_of(1.0, 2.0), {"seed": -1}, "seed must be a whole number"),
    ],
)
def test_refusals(truth, options, text):
    with pytest.raises(cf.InvalidArgumentError, match=text):
        cf.assess(several([1.0, 2.0], [2.0, 1.0]), truth, **options)


@pytest.mark.parametrize("options", [{"confidence_level": 0.9}, {"n_resamples": 9}, {"seed": 1}])
def test_one_log_has_no_interval_over_logs(options):
    with pytest.raises(cf.InvalidArgumentError, match=f"{next(iter(options))} is of the interval"):
        cf.assess(made([1.0, 2.0]), truth_of(1.0, 2.0), **options)


@pytest.mark.parametrize("k", [0, 4, "2"])
def test_a_shortlist_that_there_is_not(k):
    found = cf.assess(evaluations(2), TRUTH)
    for method in (found.best_estimators, found.agreement):
        with pytest.raises(cf.InvalidArgumentError, match="k must be a whole number from 1 to 3"):
            method(k)
