"""`evaluate`: every policy by every estimator, and what follows from the result."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from counterfolio import _core, estimators as registry
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.files import METADATA_KEY, write_parquet
from counterfolio.policies import BEHAVIOR, PolicyColumns, check_policies, describe, resolve
from counterfolio.portfolio import Portfolio, portfolio, ranking
from counterfolio.text import Column, html_table, number, plural, suggest, text_table, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

INTERVALS = ("normal", "t")
ALTERNATIVES = ("two-sided", "greater", "less")
#: Estimator of the behavior policy's row.
ON_POLICY = "on_policy"
#: Rows of a printed table.
SHOWN = 40


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

    All policies and estimators share one pass over the rows for values and one for standard errors.
    The result is the same to the last bit for any number of threads and any chunking of the columns.

    Parameters
    ----------
    log
        Made by `LoggedData.from_frame` or `read_parquet`.
    policies
        Name -> policy: the name of a column or a one-dimensional array of pi(a_t|s_t); a
        two-dimensional array of pi(.|s_t); a `PolicyColumns`; or an object with
        `prob(states, actions)`.
    estimators
        Names or aliases. Default: tis, pdis, sntis, snpdis, and dm, dr, sndr when every policy comes
        with q and v.
    gamma
        Discount factor in (0, 1]; gamma^t counts positions in the episode, 1 at the first.
    interval
        "normal", or "t" with n_episodes - 1 degrees of freedom.
    confidence_level
        Of the intervals, in (0, 1).
    alternative
        "greater" gives a lower bound only, "less" an upper bound only.
    num_threads
        Default: the environment variable COUNTERFOLIO_NUM_THREADS, or the cores this process may use.

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
    inputs = [resolve(name, policy, log, needs) for name, policy in described.items()]
    report = _Progress() if sys.stderr is not None and sys.stderr.isatty() else None
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
    if report is not None:
        report.close()
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
        covariance=found["covariance"].reshape(len(names), size, size),
    )


class _Progress:
    """A line on a terminal's standard error for what takes longer than two seconds."""

    def __init__(self) -> None:
        self._shown = False

    def __call__(self, share: float) -> None:
        self._shown = True
        sys.stderr.write(f"\rcounterfolio: evaluating {100 * share:3.0f} %")
        sys.stderr.flush()

    def close(self) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")


def _check_arguments(
    gamma: object, interval: object, confidence_level: object, alternative: object
) -> None:
    def is_number(x: object) -> bool:
        return isinstance(x, int | float | np.number) and not isinstance(x, bool)

    if not is_number(gamma) or not 0 < gamma <= 1:  # type: ignore[operator]
        text = f"gamma must be in (0, 1], not {gamma!r}"
        raise InvalidArgumentError(text)
    if not is_number(confidence_level) or not 0 < confidence_level < 1:  # type: ignore[operator]
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
    whole = isinstance(num_threads, int | np.integer) and not isinstance(num_threads, bool)
    if not whole or int(num_threads) < 1:  # type: ignore[call-overload]
        text = f"{source} must be a whole number of 1 or more, not {num_threads!r}"
        raise InvalidArgumentError(text)
    return int(num_threads)  # type: ignore[call-overload, no-any-return]


def _choose(
    estimators: Sequence[str] | None, log: LoggedData, policies: Mapping[str, PolicyColumns]
) -> list[str]:
    """The estimators asked for, or those that the inputs allow."""
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
        for policy, estimator, value, note in estimates.select(
            "policy", "estimator", "value", "note"
        ).iter_rows()
        if math.isnan(value)
    }
    for policy in policies:
        if weighted and all((policy, estimator) in undefined for estimator in weighted):
            text = (
                f'policy "{policy}": every estimate is {undefined[policy, weighted[0]]}; it never '
                "takes the logged actions, so this log cannot say what it earns"
            )
            raise InvalidPolicyError(text)


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """What each policy would have earned, by each estimator, and how sure that is.

    Attributes
    ----------
    estimates : polars.DataFrame
        One row to a policy and estimator: policy, estimator, value, standard_error, ci_low, ci_high,
        effective_sample_size, max_weight_share, n_episodes, note (null when nothing is to be said);
        last the behavior policy's own mean return.
    settings : dict
        Every argument as used, the version, and where the propensities came from.
    covariance : numpy.ndarray
        (n_estimators, n_policies + 1, n_policies + 1): covariances of the estimates, from products of
        influence values; the behavior policy is last.
    """

    estimates: pl.DataFrame
    settings: dict[str, Any]
    covariance: NDArray[np.float64]

    @property
    def policies(self) -> list[str]:
        """Names of the policies, in the order given."""
        return list(self.settings["policies"])

    @property
    def estimators(self) -> list[str]:
        """Labels of the estimators, in the order given."""
        return list(self.settings["estimators"])

    def _estimator(self, estimator: str | None) -> str:
        if estimator is None:
            if len(self.estimators) > 1:
                text = f"several estimators were evaluated; name one: {suggest('', self.estimators)}"
                raise InvalidArgumentError(text)
            return self.estimators[0]
        name = registry.canonical(estimator)
        if name not in self.estimators:
            text = f'estimator "{name}" was not evaluated; {suggest(name, self.estimators)}'
            raise InvalidArgumentError(text)
        return name

    def rows(self, estimator: str | None = None) -> pl.DataFrame:
        """Rows of `estimates` for one estimator, in the order of the policies.

        Parameters
        ----------
        estimator
            May be None when one estimator was evaluated.
        """
        return self.estimates.filter(pl.col("estimator") == self._estimator(estimator))

    @property
    def behavior_value(self) -> float:
        """The behavior policy's own mean return."""
        return float(self.estimates["value"][-1])

    def compare(
        self, policy: str, baseline: str = BEHAVIOR, estimator: str | None = None
    ) -> pl.DataFrame:
        """Compare two policies on the same episodes.

        Parameters
        ----------
        policy, baseline
            Names of two policies; "behavior" is the logged one.
        estimator
            May be None when one estimator was evaluated.

        Returns
        -------
        polars.DataFrame
            One row: policy, baseline, estimator, difference (of the first less the second),
            standard_error, ci_low, ci_high, p_better, note. The standard error comes from the
            difference of the influence values, so that what both share cancels; p_better is the
            normal approximation of the probability that the first is better.

        Raises
        ------
        InvalidArgumentError
            If a policy or estimator was not evaluated.
        """
        label = self._estimator(estimator)
        known = [*self.policies, BEHAVIOR]
        for name in (policy, baseline):
            if name not in known:
                text = f"policy {name!r} was not evaluated; {suggest(name, known)}"
                raise InvalidArgumentError(text)
        a, b = known.index(policy), known.index(baseline)
        values = [*self.rows(label)["value"], self.behavior_value]
        difference = values[a] - values[b]
        matrix = self.covariance[self.estimators.index(label)]
        variance = float(matrix[a, a] + matrix[b, b] - 2 * matrix[a, b])
        note = None
        if not math.isfinite(difference) or math.isnan(variance):
            names = sorted({policy, baseline} - {BEHAVIOR})
            note = f"an estimate or its standard error is undefined; see the rows of {names}"
            difference = error = math.nan
        else:
            error = math.sqrt(max(variance, 0.0))
        settings = self.settings
        (low,), (high,) = _core.intervals(
            [difference],
            [error],
            settings["interval"],
            settings["n_episodes"] - 1,
            settings["confidence_level"],
            settings["alternative"],
        )
        sign = float(np.sign(difference))
        better = _core.normal_cdf(difference / error) if error != 0 else 0.5 * (1 + sign)
        return pl.DataFrame(
            {
                "policy": [policy],
                "baseline": [baseline],
                "estimator": [label],
                "difference": [difference],
                "standard_error": [error],
                "ci_low": [low],
                "ci_high": [high],
                "p_better": [better],
                "note": [note],
            },
            schema_overrides={"note": pl.String},
        )

    def ranking(
        self, estimator: str | None = None, score: Literal["value", "lower"] = "value"
    ) -> pl.DataFrame:
        """Rank the policies, highest first; undefined ones last, ties in the order given.

        Parameters
        ----------
        estimator
            May be None when one estimator was evaluated.
        score
            "value" ranks by the estimate, "lower" by the lower end of its interval: a policy that is
            merely uncertain then stands behind one that is surely good.

        Returns
        -------
        polars.DataFrame
            policy, rank (1 is best), score.
        """
        return ranking(self.rows(estimator), score)

    def portfolio(
        self, k: int, estimator: str | None = None, score: Literal["value", "lower"] = "value"
    ) -> Portfolio:
        """Take the top k as the shortlist for an online test, with its risk and return.

        Parameters
        ----------
        k
            How many policies the test has room for, 1 to P.
        estimator, score
            As in `ranking`.
        """
        return portfolio(self.rows(estimator), self.behavior_value, k, score)

    def to_parquet(self, path: str | Path) -> None:
        """Write estimates, settings and covariances; the file appears whole or not at all."""
        metadata = {"settings": self.settings, "covariance": self.covariance.tolist()}
        write_parquet(self.estimates, path, metadata)

    @classmethod
    def from_parquet(cls, path: str | Path) -> Evaluation:
        """Read what `to_parquet` wrote.

        Raises
        ------
        InvalidArgumentError
            If the file is not one that `to_parquet` wrote.
        """
        try:
            frame = pl.read_parquet(path)
            metadata = json.loads(pl.read_parquet_metadata(path).get(METADATA_KEY, "{}"))
        except (OSError, pl.exceptions.PolarsError) as error:
            text = f'"{path}" cannot be read as Parquet: {error}'
            raise InvalidArgumentError(text) from error
        if "covariance" not in metadata:
            text = f'"{path}" does not hold an Evaluation; pass a file that to_parquet wrote'
            raise InvalidArgumentError(text)
        return cls(
            estimates=frame,
            settings=metadata["settings"],
            covariance=np.array(metadata["covariance"], dtype=np.float64),
        )

    def _columns(self, rows: pl.DataFrame, marks: list[str]) -> list[Column]:
        level = f"{100 * self.settings['confidence_level']:g} % interval"
        bounds = zip(rows["ci_low"], rows["ci_high"], strict=True)
        columns = [
            Column("policy", rows["policy"].to_list(), left=True),
            Column("estimator", rows["estimator"].to_list(), left=True),
            Column("value", [number(x) for x in rows["value"]]),
            Column("std. error", [number(x, 2) for x in rows["standard_error"]]),
            Column(level, [f"{number(a)} to {number(b)}" for a, b in bounds]),
            Column("ESS", [number(x, 3) for x in rows["effective_sample_size"]]),
        ]
        return [*columns, Column("note", marks)] if any(marks) else columns

    def _caption(self) -> str:
        s = self.settings
        return (
            f"{plural(len(s['policies']), 'policy').replace('policys', 'policies')}, "
            f"{plural(len(s['estimators']), 'estimator')}, {plural(s['n_episodes'], 'episode')}, "
            f"gamma {s['gamma']:g}"
            + (", estimated propensities" if s["propensity_source"] == "estimated" else "")
        )

    def _table(self) -> tuple[list[Column], list[str]]:
        shown = self.estimates
        if len(shown) > SHOWN:
            shown = pl.concat([shown.head(SHOWN - 1), shown.tail(1)])
        notes = list(dict.fromkeys(note for note in shown["note"] if note is not None))
        marks = [f"[{notes.index(n) + 1}]" if n is not None else "" for n in shown["note"]]
        lines = [f"[{i}] {note}" for i, note in enumerate(notes, 1)]
        if hidden := len(self.estimates) - len(shown):
            lines.append(f"{plural(hidden, 'more row')} in .estimates")
        return self._columns(shown, marks), lines

    def __repr__(self) -> str:
        columns, lines = self._table()
        return "\n".join([self._caption(), text_table(columns), *(wrap(line) for line in lines)])

    def _repr_html_(self) -> str:
        columns, lines = self._table()
        return html_table(columns, self._caption(), lines)
