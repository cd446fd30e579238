"""`evaluate`: every policy by every estimator."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Literal

import polars as pl

from counterfolio import _core
from counterfolio import estimators as registry
from counterfolio.arguments import is_number, is_whole
from counterfolio.display import ON_POLICY
from counterfolio.evaluation import Evaluation, Source
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError, InvalidPolicyError
from counterfolio.log import LoggedData
from counterfolio.policies import BEHAVIOR, PolicyColumns, check_policies, describe, resolve
from counterfolio.progress import progress
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INTERVALS = ("normal", "t")
ALTERNATIVES = ("two-sided", "greater", "less")
#: More threads than this help nobody.
MOST_THREADS = 1024


def evaluate(
    log: LoggedData,
    policies: Mapping[str, object],
    estimators: Sequence[str] | None = None,
    *,
    gamma: float = 1.0,
    interval: Literal["normal", "t"] = "normal",
    confidence_level: float = 0.95,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
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
        two-dimensional array of pi(.|s_t); a `PolicyColumns`; or an object with
        `prob(states, actions)`.
    estimators
        Names or aliases. Default: tis, pdis, sntis, snpdis, and dm, dr, sndr when every policy
        comes with q and v.
    gamma
        Discount factor in (0, 1]; gamma^t counts positions in the episode, 1 at the first.
    interval
        "normal", or "t" with n_episodes - 1 degrees of freedom.
    confidence_level
        Of the intervals, in (0, 1).
    alternative
        "greater" gives a lower bound only, "less" an upper bound only.
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
        If an argument is out of its range.

    Notes
    -----
    Formulas, standard errors and when each estimator fails: docs/estimators.md. An interval
    conditions on q and v as given: it does not know how wrong they are.
    """
    _check_log(log)
    _check_arguments(gamma, interval, confidence_level, alternative)
    threads = _threads(num_threads)
    named = check_policies(policies)
    described = {name: describe(name, policy, log) for name, policy in named.items()}
    names = _choose(estimators, log, described)
    needs = {name: registry.REGISTRY[name]["needs"] for name in names}
    if log._propensity is None and (weighted := [n for n in names if "prob" in needs[n]]):
        text = (
            f'"{weighted[0]}" needs propensities, and the log has none; name their column with '
            "propensity=..., or use the direct method (dm), which needs v alone"
        )
        raise InvalidLogError(text)
    inputs = [resolve(name, columns, log, needs) for name, columns in described.items()]
    with progress("evaluating") as report:
        found = _core.evaluate(
            log._episodes,
            log._table.column(log.roles["reward"]),
            log._propensity,
            log.roles["action_type"] == "continuous",
            inputs,
            names,
            gamma,
            threads,
            report,
        )
    low, high = _core.intervals(
        found["value"],
        found["standard_error"],
        interval,
        log.n_episodes - 1,
        confidence_level,
        alternative,
    )
    estimates = pl.DataFrame(
        {
            "policy": [name for name in named for _ in names] + [BEHAVIOR],
            "estimator": names * len(named) + [ON_POLICY],
            "value": found["value"],
            "standard_error": found["standard_error"],
            "ci_low": low,
            "ci_high": high,
            "effective_sample_size": found["effective_sample_size"],
            "max_weight_share": found["max_weight_share"],
            "n_episodes": [log.n_episodes] * (len(named) * len(names) + 1),
            "note": found["note"],
        },
        schema_overrides={
            "effective_sample_size": pl.Float64,
            "max_weight_share": pl.Float64,
            "note": pl.String,
        },
    )
    _refuse_undefined(estimates, list(named), [n for n in names if "prob" in needs[n]])
    size = len(named) + 1
    return Evaluation(
        estimates=estimates,
        settings={
            "version": _core.__version__,
            "policies": list(named),
            "estimators": names,
            "action": log.roles["action"],
            "reward": log.roles["reward"],
            "propensity": log.roles["propensity"],
            "episode_id": log.roles["episode_id"],
            "gamma": float(gamma),
            "interval": interval,
            "confidence_level": float(confidence_level),
            "alternative": alternative,
            "num_threads": threads,
            "n_rows": log.n_rows,
            "n_episodes": log.n_episodes,
            "action_type": log.roles["action_type"],
            "propensity_source": log.propensity_source,
            "conditions_on": "q and v as given" if any("v" in k for k in needs.values()) else None,
        },
        variances=found["variances"].reshape(len(names), size, size),
        _source=Source(log, described, {name: prob for name, prob, _, _ in inputs}),
    )


def _check_log(log: object) -> None:
    if not isinstance(log, LoggedData):
        text = (
            f"evaluate takes a LoggedData, not a {type(log).__name__}; make one with "
            "cf.LoggedData.from_frame or cf.read_parquet"
        )
        raise InvalidArgumentError(text)


def _check_arguments(
    gamma: object, interval: object, confidence_level: object, alternative: object
) -> None:
    if not is_number(gamma) or not 0 < gamma <= 1:
        text = f"gamma must be in (0, 1], not {gamma!r}"
        raise InvalidArgumentError(text)
    if not is_number(confidence_level) or not 0 < confidence_level < 1:
        text = f"confidence_level must be in (0, 1), as in 0.95, not {confidence_level!r}"
        raise InvalidArgumentError(text)
    for what, value, known in (
        ("interval", interval, INTERVALS),
        ("alternative", alternative, ALTERNATIVES),
    ):
        if value not in known:
            text = f"unknown {what} {value!r}; {suggest(value, known)}"
            raise InvalidArgumentError(text)


def _threads(num_threads: object) -> int:
    source = "num_threads"
    if num_threads is None:
        source, num_threads = (
            "COUNTERFOLIO_NUM_THREADS",
            os.environ.get("COUNTERFOLIO_NUM_THREADS"),
        )
        if num_threads is None:
            available = getattr(os, "sched_getaffinity", None)
            return len(available(0)) if available else os.cpu_count() or 1
        num_threads = int(num_threads) if str(num_threads).isdecimal() else num_threads
    if not is_whole(num_threads) or num_threads < 1:
        text = f"{source} must be a whole number of 1 or more, not {num_threads!r}"
        raise InvalidArgumentError(text)
    return min(int(num_threads), MOST_THREADS)


def _choose(
    estimators: Sequence[str] | None, log: LoggedData, policies: Mapping[str, PolicyColumns]
) -> list[str]:
    """Name the estimators asked for, or those that the inputs allow."""
    if estimators is not None:
        return registry.resolve(estimators)
    weighted = registry.WEIGHTED_DEFAULT if log._propensity is not None else ()

    def have(*keys: str) -> bool:
        return all(
            p.q_values is not None or all(getattr(p, key) is not None for key in keys)
            for p in policies.values()
        )

    if weighted and have("q", "v"):
        return [*weighted, *registry.MODEL_DEFAULT]
    if not weighted and have("v"):
        return ["dm"]
    return list(registry.WEIGHTED_DEFAULT)


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
