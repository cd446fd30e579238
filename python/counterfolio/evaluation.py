"""`Evaluation`: the result, and what follows from it: comparisons, rankings, shortlists, files."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio import estimators as registry
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.files import METADATA_KEY, check_path, write_parquet
from counterfolio.policies import BEHAVIOR
from counterfolio.portfolio import Portfolio, portfolio, ranking, take
from counterfolio.text import (
    Column,
    aligned,
    count,
    html_table,
    plural,
    suggest,
    text_table,
    wrap,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Rows of a printed table.
SHOWN = 40
#: Estimator of the behavior policy's row.
ON_POLICY = "on_policy"


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """What each policy would have earned, by each estimator, and how sure that is.

    Attributes
    ----------
    estimates : polars.DataFrame
        One row to a policy and estimator: policy, estimator, value, standard_error, ci_low,
        ci_high, effective_sample_size, max_weight_share, n_episodes, note (null when nothing is to
        be said); last the behavior policy's own mean return.
    settings : dict
        Every argument as used, the version, and where the propensities came from.
    variances : numpy.ndarray
        (n_estimators, n_policies + 1, n_policies + 1), the behavior policy last: the variance of
        each estimate on the diagonal, of the difference of two policies' estimates off it.
    """

    estimates: pl.DataFrame
    settings: dict[str, Any]
    variances: NDArray[np.float64]

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
                text = (
                    f"several estimators were evaluated; name one: {suggest('', self.estimators)}"
                )
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
        first, step = self.estimators.index(self._estimator(estimator)), len(self.estimators)
        return take(self.estimates, np.arange(first, len(self.estimates) - 1, step))

    @property
    def behavior_value(self) -> float:
        """The behavior policy's own mean return."""
        return float(self.estimates["value"][-1])

    def values(self, estimator: str | None = None) -> dict[str, float]:
        """Policy -> estimate, as `top_k` and `sharpe_ratio_at_k` take it.

        Parameters
        ----------
        estimator
            May be None when one estimator was evaluated.
        """
        rows = self.rows(estimator)
        return dict(zip(rows["policy"], rows["value"], strict=True))

    def compare(
        self,
        policy: str | None = None,
        baseline: str = BEHAVIOR,
        estimator: str | None = None,
    ) -> pl.DataFrame:
        """Compare policies on the same episodes.

        Parameters
        ----------
        policy
            Name of a policy; None compares every other one with the baseline.
        baseline
            Name of a policy; "behavior" is the logged one.
        estimator
            May be None when one estimator was evaluated.

        Returns
        -------
        polars.DataFrame
            A row to a comparison: policy, baseline, estimator, difference (of the first less the
            second), standard_error, ci_low, ci_high, p_better, note. The standard error comes from
            the difference of the influence values, so that what both share cancels; p_better is
            the normal approximation of the probability that the first is better.

        Raises
        ------
        InvalidArgumentError
            If a policy or estimator was not evaluated.
        """
        label = self._estimator(estimator)
        known = [*self.policies, BEHAVIOR]
        for name in (baseline, *(() if policy is None else (policy,))):
            if name not in known:
                text = f"policy {name!r} was not evaluated; {suggest(name, known)}"
                raise InvalidArgumentError(text)
        first = [policy] if policy is not None else [p for p in self.policies if p != baseline]
        values = [*self.rows(label)["value"], self.behavior_value]
        notes = [*self.rows(label)["note"], self.estimates["note"][-1]]
        matrix = self.variances[self.estimators.index(label)]
        b = known.index(baseline)
        differences, errors, said = [], [], []
        for a in map(known.index, first):
            variance = 0.0 if a == b else float(matrix[a, b])
            usable = math.isfinite(values[a]) and math.isfinite(values[b])
            differences.append(values[a] - values[b] if usable else math.nan)
            errors.append(math.sqrt(variance) if usable else math.nan)
            said.append("; ".join(f"{known[i]}: {notes[i]}" for i in (a, b) if notes[i]) or None)
        settings = self.settings
        low, high = _core.intervals(
            differences,
            errors,
            settings["interval"],
            settings["n_episodes"] - 1,
            settings["confidence_level"],
            settings["alternative"],
        )
        return pl.DataFrame(
            {
                "policy": first,
                "baseline": [baseline] * len(first),
                "estimator": [label] * len(first),
                "difference": differences,
                "standard_error": errors,
                "ci_low": low,
                "ci_high": high,
                "p_better": [
                    _core.normal_cdf(d / e) if e != 0 else 0.5 * (1 + float(np.sign(d)))
                    for d, e in zip(differences, errors, strict=True)
                ],
                "note": said,
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
            "value" ranks by the estimate, "lower" by the lower end of its interval: a policy that
            is merely uncertain then stands behind one that is surely good.

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
        label = self._estimator(estimator)
        variances = self.variances[self.estimators.index(label)]
        return portfolio(self.rows(label), self.behavior_value, variances, k, score, self._interval)

    def to_parquet(self, path: str | Path) -> None:
        """Write estimates, settings and variances; the file appears whole or not at all."""
        metadata = {"settings": self.settings, "variances": self.variances.tolist()}
        write_parquet(self.estimates, path, metadata)

    @classmethod
    def from_parquet(cls, path: str | Path) -> Evaluation:
        """Read what `to_parquet` wrote.

        Raises
        ------
        InvalidArgumentError
            If the file is not one that `to_parquet` wrote.
        """
        path = check_path(path)
        try:
            frame = pl.read_parquet(path)
            metadata = json.loads(pl.read_parquet_metadata(path).get(METADATA_KEY, "{}"))
        except (OSError, pl.exceptions.PolarsError) as error:
            text = f'"{path}" cannot be read as Parquet: {error}'
            raise InvalidArgumentError(text) from error
        if "variances" not in metadata:
            text = f'"{path}" does not hold an Evaluation; pass a file that to_parquet wrote'
            raise InvalidArgumentError(text)
        return cls(
            estimates=frame,
            settings=metadata["settings"],
            variances=np.array(metadata["variances"], dtype=np.float64),
        )

    def _columns(self, rows: pl.DataFrame, marks: list[str]) -> list[Column]:
        errors = rows["standard_error"].to_list()
        show = aligned(rows["value"], errors)
        bounds = zip(rows["ci_low"], rows["ci_high"], strict=True)
        columns = [
            Column("policy", rows["policy"].to_list(), left=True),
            Column("estimator", rows["estimator"].to_list(), left=True),
            Column("value", [show(x) for x in rows["value"]]),
            Column("std. error", [show(x) for x in errors]),
            Column(self._interval, [f"{show(a)} to {show(b)}" for a, b in bounds]),
            Column("ESS", [count(x) for x in rows["effective_sample_size"]]),
        ]
        return [*columns, Column("note", marks)] if any(marks) else columns

    def _wide(self) -> list[Column]:
        """Values alone, an estimator to a column: for tables that would be too long."""
        own = self.estimates[:-1]
        show = aligned(own["value"], own["standard_error"])
        names = [*self.policies[:SHOWN], BEHAVIOR]
        blank = [""] * (len(names) - 1)
        return [
            Column("policy", names, left=True),
            *(
                Column(e, [*(show(x) for x in self.rows(e)["value"][:SHOWN]), ""])
                for e in self.estimators
            ),
            Column(ON_POLICY, [*blank, show(self.behavior_value)]),
        ]

    @property
    def _interval(self) -> str:
        return f"{100 * self.settings['confidence_level']:g} % interval"

    def _caption(self) -> str:
        s = self.settings
        return (
            f"{plural(len(s['policies']), 'policy')}, "
            f"{plural(len(s['estimators']), 'estimator')}, {plural(s['n_episodes'], 'episode')}, "
            f"gamma {s['gamma']:g}"
            + (", estimated propensities" if s["propensity_source"] == "estimated" else "")
        )

    def _table(self) -> tuple[list[Column], list[str]]:
        if len(self.estimates) > SHOWN:
            lines = ["Values alone; .estimates has their errors, intervals and notes."]
            if hidden := len(self.policies) - SHOWN:
                lines += [f"{hidden} more policies there."] if hidden > 0 else []
            if noted := int(self.estimates["note"].is_not_null().sum()):
                lines.append(f"{plural(noted, 'row')} there with a note: read it before the value.")
            return self._wide(), lines
        notes = list(dict.fromkeys(self.estimates["note"].drop_nulls()))
        marks = [
            f"[{notes.index(note) + 1}]" if note is not None else ""
            for note in self.estimates["note"]
        ]
        lines = [f"[{i}] {note}" for i, note in enumerate(notes, 1)]
        return self._columns(self.estimates, marks), lines

    def __repr__(self) -> str:
        columns, lines = self._table()
        return "\n".join([self._caption(), text_table(columns), *(wrap(line) for line in lines)])

    def _repr_html_(self) -> str:
        columns, lines = self._table()
        return html_table(columns, self._caption(), lines)
