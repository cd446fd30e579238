"""`Evaluations`: the results of several logs, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.display import SHOWN
from counterfolio.evaluation import Evaluation
from counterfolio.evaluation_files import DATASET
from counterfolio.evaluations_files import (
    DEFAULT_ESTIMATORS,
    check_name,
    check_shared,
    held_in,
    naming,
    open_folder,
    write_dataset,
)
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.files import check_path
from counterfolio.text import Column, aligned, html_table, plural, suggest, text_table, wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SUMMARY = {
    "policy": pl.String,
    "estimator": pl.String,
    "mean": pl.Float64,
    "std": pl.Float64,
    "min": pl.Float64,
    "max": pl.Float64,
    "mean_standard_error": pl.Float64,
    "n_logs": pl.Int64,
    "n_finite": pl.Int64,
    "n_noted": pl.Int64,
}


@dataclass(frozen=True, repr=False, eq=False)
class Evaluations(Mapping[str, Evaluation]):
    """What policies would have earned, by several logs: a mapping from dataset to `Evaluation`.

    `evaluate_many` returns it; it can also be made of evaluations that are there already, as
    `Evaluations({"monday": first, "tuesday": second})`.

    Attributes
    ----------
    evaluations : mapping of str to Evaluation
        In the order of the logs.
    """

    evaluations: Mapping[str, Evaluation]
    _default_estimators: bool = False

    def __post_init__(self) -> None:
        given: Any = self.evaluations
        if not isinstance(given, Mapping) or not given:
            text = f"evaluations must map names of datasets to evaluations, not {given!r}"
            raise InvalidArgumentError(text)
        for name, evaluation in given.items():
            check_name(name)
            if not isinstance(evaluation, Evaluation):
                text = f'dataset "{name}" must be an Evaluation, not {type(evaluation).__name__}'
                raise InvalidArgumentError(text)
        object.__setattr__(self, "evaluations", MappingProxyType(dict(given)))

    def __getitem__(self, dataset: str) -> Evaluation:
        try:
            return self.evaluations[dataset]
        except KeyError:
            text = f'no dataset "{dataset}"; {suggest(dataset, self.evaluations)}'
            raise KeyError(text) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.evaluations)

    def __len__(self) -> int:
        return len(self.evaluations)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "evaluations": dict(self.evaluations)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"evaluations": MappingProxyType(state["evaluations"])})

    @property
    def policies(self) -> list[str]:
        """Names of the policies, in the order in which logs have them."""
        return list(dict.fromkeys(p for one in self.values() for p in one.policies))

    @property
    def estimators(self) -> list[str]:
        """Labels of the estimators, in the order in which logs have them."""
        return list(dict.fromkeys(e for one in self.values() for e in one.estimators))

    @cached_property
    def estimates(self) -> pl.DataFrame:
        """`Evaluation.estimates` of all logs in one frame, with a leading column `dataset`."""
        return self._stack(lambda evaluation: evaluation.estimates)

    @cached_property
    def diagnostics(self) -> pl.DataFrame:
        """`Diagnostics.table` of all logs in one frame, with a leading column `dataset`.

        What was not computed yet is computed. `evaluations[dataset].diagnostics` has the rest.

        Raises
        ------
        InvalidArgumentError
            If the log is gone and none were computed before, as with `evaluate_many(..,
            keep="estimates")`.
        """
        return self._stack(lambda evaluation: evaluation.diagnostics.table)

    def _stack(self, table_of: Callable[[Evaluation], pl.DataFrame]) -> pl.DataFrame:
        tables = {}
        for name, evaluation in self.items():
            with naming(name):
                tables[name] = table_of(evaluation)
        names = [name for name, table in tables.items() for _ in range(len(table))]
        first = next(iter(tables.values()))
        # Column by column: after a fork polars' own threads no longer exist.
        columns = {
            column: pl.concat([table[column] for table in tables.values()])
            for column in first.columns
        }
        return pl.DataFrame({DATASET: pl.Series(names, dtype=pl.String), **columns})

    @cached_property
    def summary(self) -> pl.DataFrame:
        """Each policy and estimator over the logs.

        A row to each: policy, estimator, mean, std (ddof 1; null for one log), min and max of the
        estimates; mean_standard_error, the mean of their own standard errors, which the spread of
        logs of one kind is about; n_logs that have it; n_finite, how many of these are finite
        numbers, of which alone the row speaks; n_noted, how many have a note. Last the behavior
        policy's own mean return.
        """
        columns = ("policy", "estimator", "value", "standard_error", "note")
        groups: dict[tuple[str, str], list[tuple[float, float, str | None]]] = {
            (policy, estimator): [] for policy in self.policies for estimator in self.estimators
        }
        for one in self.values():
            rows = zip(*(one.estimates[name] for name in columns), strict=True)
            for policy, estimator, *rest in rows:
                groups.setdefault((policy, estimator), []).append(tuple(rest))
        return pl.DataFrame(
            [(*names, *_over_logs(found)) for names, found in groups.items() if found],
            schema=SUMMARY,
            orient="row",
        )

    def to_parquet(self, folder: str | Path) -> None:
        """Write a folder with one Parquet file to a dataset.

        The folder is made where it is not there. Files appear whole or not at all, those of the
        same datasets are replaced, others stay: so a folder grows. `pl.read_parquet` reads them
        together as one table, `estimates` with `dataset`.

        Raises
        ------
        InvalidArgumentError
            If what is there or written differs in gamma, the kind of interval or another setting
            that all evaluations of a folder share.
        """
        target = open_folder(folder)
        there = {name: metadata["settings"] for name, (_, metadata) in held_in(target).items()}
        check_shared(target, there | {name: one.settings for name, one in self.items()})
        for name, evaluation in self.items():
            write_dataset(target, name, evaluation, default_estimators=self._default_estimators)

    @classmethod
    def from_parquet(cls, folder: str | Path) -> Evaluations:
        """Read what `to_parquet` or `evaluate_many(path=..)` wrote, sorted by name.

        Raises
        ------
        InvalidArgumentError
            If there is no such folder, or it holds something else.
        """
        source = check_path(folder)
        if not source.is_dir():
            text = f'"{source}" is no folder; pass one that to_parquet or evaluate_many wrote'
            raise InvalidArgumentError(text)
        held = held_in(source)
        if not held:
            text = f'the folder "{source}" holds no evaluations'
            raise InvalidArgumentError(text)
        return cls(
            {name: Evaluation.from_parquet(path) for name, (path, _) in held.items()},
            all(metadata[DEFAULT_ESTIMATORS] for _, metadata in held.values()),
        )

    def _caption(self) -> str:
        gammas = {one.settings["gamma"] for one in self.values()}
        return (
            f"{plural(len(self), 'log')}, {plural(len(self.policies), 'policy')}, "
            f"{plural(len(self.estimators), 'estimator')}"
            + (f", gamma {gammas.pop():g}" if len(gammas) == 1 else "")
        )

    def _layout(self) -> tuple[list[Column], list[str]]:
        rows = self.summary[:SHOWN]
        show = aligned(rows["mean"].drop_nulls(), rows["std"].drop_nulls())

        def cells(name: str) -> list[str]:
            return ["" if x is None else show(x) for x in rows[name]]

        columns = [
            Column("policy", rows["policy"].to_list(), left=True),
            Column("estimator", rows["estimator"].to_list(), left=True),
            Column("mean", cells("mean")),
            Column("std. dev.", cells("std")),
            Column("std. error", cells("mean_standard_error")),
        ]
        for title, counts in (
            ("logs", rows["n_logs"].to_numpy()),
            ("not finite", rows["n_logs"].to_numpy() - rows["n_finite"].to_numpy()),
            ("with a note", rows["n_noted"].to_numpy()),
        ):
            if title == "logs" or counts.sum():
                columns.append(Column(title, [f"{x:,}" for x in counts]))
        lines = [
            "Over the logs: std. dev. is their spread, std. error the mean of what each says of "
            "its own. More in .summary; each log's rows in .estimates."
        ]
        if (hidden := len(self.summary) - len(rows)) > 0:
            lines.append(f"{plural(hidden, 'more row')} in .summary.")
        return columns, lines

    def __repr__(self) -> str:
        columns, lines = self._layout()
        return "\n".join([self._caption(), text_table(columns), *(wrap(line) for line in lines)])

    def _repr_html_(self) -> str:
        columns, lines = self._layout()
        return html_table(columns, self._caption(), lines)


def _over_logs(found: list[tuple[float, float, str | None]]) -> tuple[Any, ...]:
    """Summarise value, standard error and note of one policy and estimator over logs."""
    values, errors = (np.array([row[i] for row in found], dtype=np.float64) for i in (0, 1))
    finite = np.isfinite(values)
    values, errors = values[finite], errors[np.isfinite(errors)]
    some = len(values) > 0
    return (
        float(values.mean()) if some else None,
        float(values.std(ddof=1)) if len(values) > 1 else None,
        float(values.min()) if some else None,
        float(values.max()) if some else None,
        float(errors.mean()) if len(errors) else None,
        len(found),
        int(finite.sum()),
        sum(row[2] is not None for row in found),
    )
