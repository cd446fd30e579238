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
from counterfolio.files import METADATA_KEY, write_parquet
from counterfolio.policies import BEHAVIOR
from counterfolio.portfolio import Portfolio, portfolio, ranking
from counterfolio.text import Column, html_table, number, plural, suggest, text_table, wrap

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Rows of a printed table.
SHOWN = 40


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
        matrix = self.variances[self.estimators.index(label)]
        variance = 0.0 if a == b else float(matrix[a, b])
        difference, error = math.nan, math.nan
        notes = [*self.rows(label)["note"], self.estimates["note"][-1]]
        note = "; ".join(f"{known[i]}: {notes[i]}" for i in (a, b) if notes[i]) or None
        if math.isfinite(values[a]) and math.isfinite(values[b]) and not math.isnan(variance):
            difference, error = values[a] - values[b], math.sqrt(variance)
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
        return portfolio(self.rows(estimator), self.behavior_value, k, score)

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
