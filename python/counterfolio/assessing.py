"""`assess`: estimators judged by true values, on one log or across several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from counterfolio.arguments import check_k, is_number, is_whole
from counterfolio.assessment import Assessment, assess_one
from counterfolio.assessments import Assessments, across, stack
from counterfolio.evaluations import Evaluations
from counterfolio.evaluations_files import naming
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import suggest

if TYPE_CHECKING:
    import polars as pl

    from counterfolio.evaluation import Evaluation

CONFIDENCE_LEVEL, N_RESAMPLES, SEED = 0.95, 10_000, 0


@overload
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
) -> Assessment: ...


@overload
def assess(
    evaluation: Mapping[str, Evaluation],
    truth: Mapping[str, Any],
    *,
    behavior_value: float | None = None,
    k: int | None = None,
    safety_threshold: float | None = None,
    relative_safety: float | None = None,
    ddof: Literal[0, 1] = 0,
    ties: Literal["first", "last", "average"] = "first",
    score: Literal["value", "lower"] = "value",
    confidence_level: float | None = None,
    n_resamples: int | None = None,
    seed: int | None = None,
) -> Assessments: ...


def assess(
    evaluation: Evaluation | Mapping[str, Evaluation],
    truth: Mapping[str, Any],
    *,
    behavior_value: float | None = None,
    k: int | None = None,
    safety_threshold: float | None = None,
    relative_safety: float | None = None,
    ddof: Literal[0, 1] = 0,
    ties: Literal["first", "last", "average"] = "first",
    score: Literal["value", "lower"] = "value",
    confidence_level: float | None = None,
    n_resamples: int | None = None,
    seed: int | None = None,
) -> Assessment | Assessments:
    """Judge every estimator by true values, on one log or across several.

    Parameters
    ----------
    evaluation
        From `evaluate`; with `n_resamples` the metrics' spread over resampled logs comes too. Or
        `Evaluations` from `evaluate_many`: every log is judged, and each metric summed up over
        them.
    truth
        Policy -> true value, or array of returns from roll-outs, whose mean (or whatever statistic
        the evaluation is of) is the value and whose noise is then taken off `mse` and `std`
        (`mse_debiased`, `std_debiased`). It names every policy evaluated, and no other but
        "behavior". An `on_policy_value` is one. Of several logs one for all, or dataset -> such a
        mapping.
    behavior_value
        The behavior policy's true value. Default: `truth["behavior"]`, else its logged mean return,
        each log's own.
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
    confidence_level
        Of the interval of a mean over logs, in (0, 1). Default: 0.95.
    n_resamples
        Replicates behind that interval. Default: 10,000.
    seed
        Of these replicates, which draw logs with replacement by `resample_weights`. Default: 0.

    Returns
    -------
    Assessment or Assessments
        Metrics of the ranking: mse, mse_debiased, nmse (mse / mean J^2), rank_correlation
        (Spearman's), kendall_tau (b), false_alarm_rate (type I: safe but judged unsafe, of the
        safe), missed_unsafe_rate (type II: unsafe but judged safe, of the unsafe). Of the top k:
        best, worst, mean, kth, std, std_debiased, safety_violation_rate, sharpe_ratio, regret (max
        J - best@k), nregret (regret / |max J|). NaN where there is nothing to divide by. Undefined
        estimates rank last and count as judged unsafe; mse and correlations are then NaN.

    Raises
    ------
    InvalidArgumentError
        If `truth` lacks a policy or a dataset, names another policy, or holds a value that is not
        finite, or an argument is out of its range or has no meaning for one log.

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
    bootstrap = {"confidence_level": confidence_level, "n_resamples": n_resamples, "seed": seed}
    options: dict[str, Any] = {
        "behavior_value": behavior_value,
        "safety_threshold": safety_threshold,
        "relative_safety": relative_safety,
        "ddof": ddof,
        "ties": ties,
        "score": score,
    }
    if not isinstance(evaluation, Mapping):
        if given := [name for name, x in bootstrap.items() if x is not None]:
            text = f"{given[0]} is of the interval of a mean over logs; with one log drop it"
            raise InvalidArgumentError(text)
        return assess_one(evaluation, truth, k=k, **options)
    evaluations = evaluation if isinstance(evaluation, Evaluations) else Evaluations(evaluation)
    settings = _check_bootstrap(**bootstrap)
    smallest = min(len(one.policies) for one in evaluations.values())
    k = check_k(min(3, smallest) if k is None else k, smallest)
    tables = {
        name: _assess(name, one, _truth_of(name, truth), k, options)
        for name, one in evaluations.items()
    }
    by_dataset = stack(tables)
    return Assessments(across(tables, settings), by_dataset, k, settings)


def _check_bootstrap(confidence_level: object, n_resamples: object, seed: object) -> dict[str, Any]:
    level = CONFIDENCE_LEVEL if confidence_level is None else confidence_level
    if not is_number(level) or not 0 < level < 1:
        text = f"confidence_level must be in (0, 1), as in 0.95, not {level!r}"
        raise InvalidArgumentError(text)
    count = N_RESAMPLES if n_resamples is None else n_resamples
    if not is_whole(count) or count < 1:
        text = f"n_resamples must be a whole number of 1 or more, not {count!r}"
        raise InvalidArgumentError(text)
    return {
        "confidence_level": float(level),
        "n_resamples": int(count),
        "seed": SEED if seed is None else seed,
    }


def _truth_of(dataset: str, truth: object) -> Any:
    """Take the truth of a dataset: the one of all, or its own."""
    if not isinstance(truth, Mapping):
        return truth  # for `assess_one` to refuse
    by_dataset = [isinstance(x, Mapping) for x in truth.values()]
    if not by_dataset or not all(by_dataset):
        return truth
    if dataset not in truth:
        text = f'truth lacks dataset "{dataset}"; {suggest(dataset, truth)}'
        raise InvalidArgumentError(text)
    return truth[dataset]


def _assess(
    name: str, evaluation: Evaluation, truth: Any, k: int, options: dict[str, Any]
) -> pl.DataFrame:
    with naming(name):
        return assess_one(evaluation, truth, k=k, **options).table
