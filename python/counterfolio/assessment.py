"""`assess`: judging estimators by true values, and how far that judgement hangs on the log."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.arguments import check_k, is_number
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.policies import BEHAVIOR
from counterfolio.ranking import replicated, scores_of
from counterfolio.selection import check_ranking, check_safety
from counterfolio.text import Column, html_table, number, suggest, text_table, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from counterfolio.evaluation import Evaluation

SCHEMA = {
    "estimator": pl.String,
    "k": pl.Int64,
    "metric": pl.String,
    "value": pl.Float64,
    "resampling_median": pl.Float64,
    "resampling_low": pl.Float64,
    "resampling_high": pl.Float64,
}
#: Metrics that need a criterion of safety, and those that need roll-outs.
SAFETY = ("false_alarm_rate", "missed_unsafe_rate", "safety_violation_rate")
DEBIASED = ("mse_debiased", "std_debiased")
#: Episodes whose differences are taken at a time, so that those of all policies stay in the cache.
EPISODES = 2048
#: Metrics that a printed table shows.
SHOWN = ("mse", "rank_correlation", "regret", "best", "worst", "std", "sharpe_ratio")


@dataclass(frozen=True, repr=False, eq=False)
class Assessment:
    """How well estimators rank policies, by true values.

    Attributes
    ----------
    table : polars.DataFrame
        Tidy: estimator, k (null for metrics of the ranking as a whole), metric, value (the log's
        own number), resampling_median, resampling_low, resampling_high (null without replicates).
        The last three say how far the metric moves when the log is resampled, at the confidence
        level of the evaluation. They are no confidence interval: metrics of a ranking are step
        functions of the estimates.
    k : int
        Size of the shortlist that the printed table is about.
    """

    table: pl.DataFrame
    k: int

    def _columns(self) -> list[Column]:
        rows = [
            r
            for r in self.table.rows(named=True)
            if r["metric"] in SHOWN and r["k"] in (None, self.k)
        ]
        names = list(dict.fromkeys(r["estimator"] for r in rows))
        found = {(r["estimator"], r["metric"]): r["value"] for r in rows}
        return [
            Column("estimator", names, left=True),
            *(
                Column(metric, [number(found[name, metric], 3) for name in names])
                for metric in SHOWN
            ),
        ]

    def _line(self) -> str:
        replicates = self.table["resampling_low"].is_not_null().any()
        return (
            f"Beyond the rank correlation: of the top {self.k}. Every k and metric is in .table"
            + (", with the spread over resampled logs." if replicates else ".")
        )

    def __repr__(self) -> str:
        return "\n".join([text_table(self._columns()), wrap(self._line())])

    def _repr_html_(self) -> str:
        return html_table(self._columns(), "Estimators by true values", [self._line()])


def assess(
    evaluation: Evaluation,
    truth: Mapping[str, Any],
    *,
    behavior_value: float | None = None,
    k: int | None = None,
    safety_threshold: float | None = None,
    relative_safety: float | None = None,
    ddof: Literal[0, 1] = 0,
    ties: Literal["first", "last", "average"] = "first",
    score: Literal["value", "lower"] = "value",
) -> Assessment:
    """Judge every estimator of an evaluation by true values.

    Parameters
    ----------
    evaluation
        From `evaluate`; with `n_resamples` the metrics' spread over resampled logs comes too.
    truth
        Policy -> true value, or array of returns from roll-outs, whose mean (or whatever statistic
        the evaluation is of) is the value and whose noise is then taken off `mse` and `std`
        (`mse_debiased`, `std_debiased`). It names every policy evaluated, and no other but
        "behavior". An `on_policy_value` is one.
    behavior_value
        The behavior policy's true value. Default: `truth["behavior"]`, else its logged mean return.
    k
        Size of the shortlist that is printed; `.table` has all. Default: 3 or fewer.
    safety_threshold
        Policies below this true value are unsafe.
    relative_safety
        c instead: those below J_b - (1 - c) |J_b|.
    ddof, ties
        As in `top_k`.
    score
        What policies are ranked and judged safe by, as in `Evaluation.ranking`: "lower" judges
        pessimistic selection. Errors are of the estimates either way.

    Returns
    -------
    Assessment
        Metrics of the ranking: mse, mse_debiased, nmse (mse / mean J^2), rank_correlation
        (Spearman's), kendall_tau (b), false_alarm_rate (type I: safe but judged unsafe, of the
        safe), missed_unsafe_rate (type II: unsafe but judged safe, of the unsafe). Of the top k:
        best, worst, mean, kth, std, std_debiased, safety_violation_rate, sharpe_ratio, regret (max
        J - best@k), nregret (regret / |max J|). NaN where there is nothing to divide by. Undefined
        estimates rank last and count as judged unsafe; mse and correlations are then NaN.

    Raises
    ------
    InvalidArgumentError
        If `truth` lacks a policy, names another, or holds a value that is not finite, or an
        argument is out of its range.

    Notes
    -----
    The noise of k true values puts on std^2 the mean of their squared standard errors, times
    (k - 1) / (k - ddof), if their errors are independent. Under common random numbers they are not:
    policies err together, and differ by less noise than that. Where the truth says so by an
    attribute `common_random_numbers`, as an `on_policy_value` does, what is taken off is the sum
    of the squared standard errors of all differences of two, over k (k - ddof): of differences
    episode by episode for means, of influence values for other statistics. A `dict` of the same
    returns does not say so, and too much would be taken off (`truth.select` keeps some policies).
    Nothing changes for `mse_debiased`, on which the noise of each policy counts by itself.
    """
    _check_evaluation(evaluation)
    check_ranking(ddof, ties)
    safety_threshold, relative_safety = check_safety(safety_threshold, relative_safety)
    policies = evaluation.policies
    k = check_k(min(3, len(policies)) if k is None else k, len(policies))
    values, squared_errors = check_truth(policies, truth, statistic_of(evaluation))
    differences = errors_of_differences(policies, truth, statistic_of(evaluation))
    if behavior_value is None:
        behavior_value = true_behavior(evaluation, truth)
    if not is_number(behavior_value) or not math.isfinite(behavior_value):
        text = f"behavior_value must be a finite number, not {behavior_value!r}"
        raise InvalidArgumentError(text)
    level = evaluation.settings["confidence_level"]
    p = [(1 - level) / 2, 0.5, (1 + level) / 2]
    left_out = set(() if safety_threshold is not None or relative_safety is not None else SAFETY)
    left_out |= set() if squared_errors.any() else set(DEBIASED)
    metrics = _metrics(len(policies))
    wanted = [i for i, (name, _) in enumerate(metrics) if name not in left_out]

    def measure(
        estimates: NDArray[np.float64],
        scores: NDArray[np.float64],
        quantiles: tuple[Sequence[int], Sequence[float]] | None,
    ) -> NDArray[np.float64]:
        return _core.assess(
            np.ascontiguousarray(estimates, dtype=np.float64).ravel(),
            np.ascontiguousarray(scores, dtype=np.float64).ravel(),
            values,
            squared_errors,
            float(behavior_value),
            ddof=ddof,
            ties=ties,
            safety_threshold=safety_threshold,
            relative_safety=relative_safety,
            quantiles=quantiles,
            num_threads=evaluation.settings["num_threads"],
            difference_errors=None if differences is None else differences.ravel(),
        )

    rows: list[tuple[Any, ...]] = []
    for e, label in enumerate(evaluation.estimators):
        estimated = evaluation.rows(label)
        scores = scores_of(estimated, score, evaluation.settings["alternative"])
        own = measure(estimated["value"].to_numpy(), scores.to_numpy(), None)[wanted]
        spread = np.full((len(wanted), len(p)), None)
        if evaluation.replicates is not None:
            drawn = evaluation.replicates[:, :, e]
            found = measure(drawn, replicated(estimated, scores, drawn), (wanted, p))
            spread = found.reshape(spread.shape)
        for i, value, (low, median, high) in zip(wanted, own, spread, strict=True):
            name, at = metrics[i]
            rows.append((label, at, name, float(value), median, low, high))
    return Assessment(pl.DataFrame(rows, schema=SCHEMA, orient="row"), k)


def _check_evaluation(evaluation: object) -> None:
    if not hasattr(evaluation, "estimates"):
        text = f"assess takes an Evaluation, not a {type(evaluation).__name__}; see cf.evaluate"
        raise InvalidArgumentError(text)


def _metrics(policies: int) -> list[tuple[str, int | None]]:
    """Name every metric and its k, in the order of the core."""
    single, by_k = _core.metrics()
    return [
        *((name, None) for name in single),
        *((name, k) for k in range(1, policies + 1) for name in by_k),
    ]


def statistic_of(evaluation: Evaluation) -> tuple[str, float]:
    """Name what the values of an evaluation are, and at what level."""
    s = evaluation.settings
    return s.get("statistic") or "mean", s.get("alpha") or 0.0


def check_truth(
    policies: Sequence[str], truth: object, statistic: tuple[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take every policy's true value and its squared standard error, in the order of `policies`.

    Raises
    ------
    InvalidArgumentError
        If a policy is missing or unknown, or a value is not finite.
    """
    if not isinstance(truth, Mapping):
        text = f"truth must map policies to true values, not {truth!r}"
        raise InvalidArgumentError(text)
    known = [name for name in truth if name != BEHAVIOR]
    missing = [p for p in policies if p not in known]
    if missing or len(known) > len(policies):
        unknown = [p for p in known if p not in policies]
        text = (
            f'truth lacks policy "{missing[0]}"'
            if missing
            else f'truth names policy "{unknown[0]}"'
        )
        text += "; it must name every policy evaluated, and no other"
        if unknown:
            named = suggest(missing[0], unknown) if missing else suggest(unknown[0], policies)
            text += f": {named}"
        raise InvalidArgumentError(text)
    found = [_true(p, truth[p], statistic) for p in policies]
    return np.array([v for v, _ in found]), np.array([e for _, e in found])


def errors_of_differences(
    policies: Sequence[str], truth: Mapping[str, Any], statistic: tuple[str, float]
) -> NDArray[np.float64] | None:
    """Take the squared standard errors of the differences of true values, of each two policies.

    Parameters
    ----------
    truth
        As `check_truth` found it to be right.

    Returns
    -------
    numpy.ndarray of shape (n_policies, n_policies)
        None where the truth does not say that its episodes have common random numbers.

    Raises
    ------
    InvalidArgumentError
        If it says so, and policies do not have the same number of them.
    """
    if not getattr(truth, "common_random_numbers", False):
        return None
    returns = [np.asarray(truth[p], dtype=np.float64) for p in policies]
    other = next(
        (p for p, x in zip(policies, returns, strict=True) if x.shape != returns[0].shape), None
    )
    if other is not None or returns[0].ndim == 0:
        text = (
            f'truth of policy "{other or policies[0]}" has other episodes than that of '
            f'"{policies[0]}", but it says that they have common random numbers; pass a dict'
        )
        raise InvalidArgumentError(text)
    moved = np.array(
        [
            x - x.mean() if statistic[0] == "mean" else _core.return_influence(x, statistic)
            for x in returns
        ]
    )
    n = moved.shape[1]
    found = np.zeros((len(moved), len(moved)))
    for first in range(0, n, EPISODES):
        part = np.ascontiguousarray(moved[:, first : first + EPISODES])
        for i, own in enumerate(part):
            # Squared as such: of nearly equal policies var a + var b - 2 cov leaves no digits.
            apart = part[i + 1 :] - own
            found[i, i + 1 :] += np.einsum("pe,pe->p", apart, apart)
    both: NDArray[np.float64] = (found + found.T) / (n * (n - 1))
    return both


def true_behavior(evaluation: Evaluation, truth: Mapping[str, Any]) -> float:
    """Take the behavior policy's true value: where it is not given, its own mean return."""
    own = truth.get(BEHAVIOR)
    if own is None:
        return evaluation.behavior_value
    return _true(BEHAVIOR, own, statistic_of(evaluation))[0]


def _true(policy: str, value: Any, statistic: tuple[str, float]) -> tuple[float, float]:
    """Take a true value and its squared standard error: 0 for a number, else by the returns."""
    wanted = f'truth of policy "{policy}" must be a finite number or an array of returns'
    if is_number(value):
        if not math.isfinite(value):
            text = f"{wanted}, not {value!r}"
            raise InvalidArgumentError(text)
        return float(value), 0.0
    returns = np.asarray(value)
    if returns.ndim != 1 or returns.dtype.kind not in "fiu" or len(returns) < 2:
        text = f"{wanted} of two or more, not {value!r}"
        raise InvalidArgumentError(text)
    if not np.isfinite(returns).all():
        text = f"{wanted}: {int((~np.isfinite(returns)).sum())} of {len(returns)} are not"
        raise InvalidArgumentError(text)
    if statistic[0] == "mean":
        return float(returns.mean()), float(returns.var(ddof=1) / len(returns))
    found, error = _core.return_statistic(returns.astype(np.float64), statistic)
    return found, error**2
