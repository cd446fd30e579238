"""`evaluate`: every policy by every estimator."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.display import ON_POLICY
from counterfolio.estimators import Estimator
from counterfolio.evaluated import Evaluated
from counterfolio.evaluation import Evaluation
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.intervals import Bounds, Ends, from_errors, from_replicates
from counterfolio.policies import BEHAVIOR, only_prob
from counterfolio.progress import progress
from counterfolio.task import Task, check_task
from counterfolio.uncertainty import KINDS, Uncertainty, check_uncertainty

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

    Interval: TypeAlias = Literal[
        "normal",
        "t",
        "bootstrap",
        "hoeffding",
        "empirical_bernstein",
        "hcope",
        "log_smoothing",
        "cressie_read",
        "confidence_sequence",
    ]


def evaluate(
    log: LoggedData,
    policies: Mapping[str, object],
    estimators: Sequence[str | Estimator] | None = None,
    *,
    gamma: float = 1.0,
    interval: Interval = "normal",
    confidence_level: float = 0.95,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
    n_resamples: int | None = None,
    method: Literal["percentile", "basic", "bca"] = "percentile",
    resampling: Literal["poisson", "multinomial"] | None = None,
    value_range: tuple[float, float] | None = None,
    return_range: tuple[float, float] | None = None,
    weight_range: tuple[float, float] | None = None,
    return_min: float | None = None,
    seed: int | None = None,
    num_threads: int | None = None,
) -> Evaluation:
    """Estimate what each policy would have earned, from the log alone.

    All policies and estimators share one pass over the rows for values and one for standard
    errors. The result is the same to the last bit for any number of threads and any chunking.

    Parameters
    ----------
    log
        Made by `LoggedData.from_frame` or `read_parquet`.
    policies
        Name -> policy: the name of a column or a one-dimensional array of pi(a_t|s_t); a
        two-dimensional array of pi(.|s_t); a `PolicyColumns`; or an object with `prob(states,
        actions)`. Or what `prepare` returned: its log's estimated propensities are then taken
        along.
    estimators
        Names, aliases or labels, or `Estimator` where one has options. Default: those that were
        prepared; else tis, pdis, sntis, snpdis, and dm, dr, sndr when every policy comes with q
        and v.
    gamma
        Discount factor in (0, 1]; gamma^t counts positions in the episode, 1 at the first.
    interval
        "normal"; "t" with one degree of freedom less than there are episodes (or clusters);
        "bootstrap". They go with every estimator and hold for many episodes. For any number of
        episodes, given what you vouch for: "hoeffding" and "empirical_bernstein" (of tis and pdis;
        need `value_range`), "log_smoothing" (of tis; needs `return_range`), "hcope" (of tis and
        pdis; a lower bound that needs rewards of 0 or more, or `return_min`),
        "confidence_sequence" (of tis on single decisions in the order of arrival, with
        `return_range`; holds at all times at once). "cressie_read" (of tis; needs `return_range`
        and `weight_range`) is empirical likelihood, for many episodes.
    confidence_level
        Of the intervals, in (0, 1).
    alternative
        "greater" gives a lower bound only, "less" an upper bound only.
    n_resamples
        Replicates of the joint bootstrap, in which every policy and estimator is evaluated under
        the same resampled episodes (or clusters). Default: 1,000 for `interval="bootstrap"`, else
        0. More of them extend the earlier ones.
    method
        Of bootstrap intervals: "percentile", "basic", "bca" (bias-corrected and accelerated).
    resampling
        "poisson" draws each episode independently, by seed and id alone; "multinomial" draws with
        replacement, which depends on the episodes' number and order. Default: poisson, below 50
        episodes multinomial.
    value_range
        (low, high) of one episode's term, w G for tis.
    return_range
        (low, high) of an episode's return G.
    weight_range
        (low, high) of an episode's weight.
    return_min
        Least return of an episode, for "hcope". Default: rewards are never negative.
    seed
        0 to 2^64 - 1. Default: drawn, where anything is random; `settings` holds it.
    num_threads
        Default: the environment variable COUNTERFOLIO_NUM_THREADS, or the cores that this process
        may use.

    Returns
    -------
    Evaluation

    Raises
    ------
    InvalidPolicyError
        If an input is missing, holds a value it may not hold, or every weighted estimate of a
        policy is undefined.
    InvalidLogError
        If an estimator needs propensities and the log has none.
    InvalidArgumentError
        If an argument is out of its range, an interval is not valid for an estimator, or a value
        lies outside the range that was vouched for.

    Notes
    -----
    Formulas, standard errors and when each estimator fails: docs/estimators.md; intervals and what
    they cover: docs/uncertainty.md. An interval conditions on q and v as given: it does not know
    how wrong they are.
    """
    task = check_task("evaluate", log, policies, estimators, gamma=gamma, num_threads=num_threads)
    log, names = task.log, task.labels
    options = check_uncertainty(
        log,
        task.estimators,
        interval=interval,
        confidence_level=confidence_level,
        alternative=alternative,
        n_resamples=n_resamples,
        method=method,
        resampling=resampling,
        value_range=value_range,
        return_range=return_range,
        weight_range=weight_range,
        return_min=return_min,
        seed=seed,
    )
    with progress("evaluating") as report:
        found = _core.evaluate(
            log.for_core,
            task.inputs,
            [estimator.for_core for estimator in task.estimators],
            gamma,
            log.clusters,
            options.n_resamples > 0 and method == "bca",
            KINDS[options.interval].asymptotic,
            task.threads,
            report,
        )
    replicates = behavior = None
    if options.n_resamples:
        assert options.seed is not None
        assert options.resampling is not None
        replicates, behavior = task.resample(options.n_resamples, options.seed, options.resampling)
    named = list(task.policies)
    shape = (len(names), len(named) + 1, len(named) + 1)
    evaluation = Evaluation(
        estimates=pl.DataFrame(),
        settings={
            **task.settings(),
            **options.settings(),
        },
        variances=_known(found["variances"].reshape(shape), found["value"]),
        replicates=replicates,
        behavior_replicates=behavior,
        accelerations=found["accelerations"].reshape(shape),
        _source=Evaluated(log, task.policies, task.probs),
    )
    for p, name in enumerate(named):
        for e, estimator in enumerate(task.estimators):
            row = p * len(names) + e
            said = [found["note"][row], _doubt(task, name, estimator, found["standard_error"][row])]
            found["note"][row] = "; ".join(filter(None, said)) or None
    ends = _ends(evaluation, found, task, options)
    estimates = _table(evaluation, found, ends)
    _refuse_undefined(estimates, named, task.weighted)
    return replace(evaluation, estimates=estimates)


def _doubt(task: Task, policy: str, estimator: Estimator, error: float) -> str | None:
    """Say what the core does not know of a row."""
    if estimator.row["form"] == "direct":
        return None if task.prepared is None else task.prepared.doubt(policy, error)
    return task.notes.get(policy)


def _known(variances: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variances of differences, NaN where their squares are too small for float64 to hold."""
    own = values[:-1].reshape(-1, len(variances)).T
    everyone = np.column_stack([own, np.full(len(own), values[-1])])
    with np.errstate(all="ignore"):
        differences = everyone[:, :, None] - everyone[:, None, :]
        lost = (variances == 0) & (differences != 0) & (differences**2 == 0)
    return np.where(lost, np.nan, variances)


def _ends(evaluation: Evaluation, found: Any, task: Task, options: Uncertainty) -> Ends:
    """Find the ends of the intervals of all rows, the behavior policy's last."""
    settings = evaluation.settings
    if options.interval in ("normal", "t"):
        return from_errors(found["value"], found["standard_error"], settings)
    if options.interval == "bootstrap":
        assert evaluation.replicates is not None
        assert evaluation.behavior_replicates is not None
        assert evaluation.accelerations is not None
        value = found["value"]
        # By estimator and policy.
        diagonal = np.diagonal(evaluation.accelerations, axis1=1, axis2=2)
        own, behavior = diagonal[:, :-1].T.ravel(), diagonal[:1, -1]
        drawn = evaluation.replicates.reshape(options.n_resamples, -1)
        of = from_replicates(value[:-1], drawn, own, settings)
        drawn = evaluation.behavior_replicates[:, None]
        last = from_replicates(value[-1:], drawn, behavior, settings)
        return Ends([*of.low, *last.low], [*of.high, *last.high], [*of.notes, *last.notes])
    log, threads = task.log, task.threads
    bounds = Bounds(log, options, task.gamma)
    found_ends = [bounds.of(policy, task.estimators, threads) for policy in task.inputs]
    # With equal policies the weights are 1: the behavior policy's own returns.
    same = only_prob(BEHAVIOR, log._propensity)
    _, returned, _ = _core.episode_terms(
        log.for_core, same, Estimator("tis").for_core, task.gamma, threads
    )
    found_ends.append(bounds.behavior(returned))
    return Ends(
        [x for ends in found_ends for x in ends.low],
        [x for ends in found_ends for x in ends.high],
        [x for ends in found_ends for x in ends.notes],
    )


def _table(evaluation: Evaluation, found: Any, ends: Ends) -> pl.DataFrame:
    policies, names = evaluation.policies, evaluation.estimators
    notes = [
        "; ".join(filter(None, pair)) or None
        for pair in zip(found["note"], ends.notes, strict=True)
    ]
    return pl.DataFrame(
        {
            "policy": [name for name in policies for _ in names] + [BEHAVIOR],
            "estimator": names * len(policies) + [ON_POLICY],
            "value": found["value"],
            "standard_error": found["standard_error"],
            "ci_low": ends.low,
            "ci_high": ends.high,
            "effective_sample_size": found["effective_sample_size"],
            "max_weight_share": found["max_weight_share"],
            "n_episodes": [evaluation.settings["n_episodes"]] * len(notes),
            "note": notes,
        },
        schema_overrides={
            "effective_sample_size": pl.Float64,
            "max_weight_share": pl.Float64,
            "note": pl.String,
        },
    )


def _refuse_undefined(estimates: pl.DataFrame, policies: list[str], weighted: list[str]) -> None:
    """Raise where every weighted estimate of a policy is undefined."""
    undefined = {
        (policy, estimator): note
        for policy, estimator, value, note in zip(
            *(estimates[name] for name in ("policy", "estimator", "value", "note")), strict=True
        )
        if math.isnan(value)
    }
    for policy in policies:
        if weighted and all((policy, estimator) in undefined for estimator in weighted):
            text = (
                f'policy "{policy}": every estimate is {undefined[policy, weighted[0]]}; it never '
                "takes the logged actions, so this log cannot say what it earns"
            )
            raise InvalidPolicyError(text)
