"""`Assessments`: estimators judged by true values, across several logs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.arguments import check_k
from counterfolio.assessment import SCHEMA as ONE_LOG
from counterfolio.evaluation_files import DATASET
from counterfolio.intervals import FEWEST_UNITS
from counterfolio.resampling import resample_weights
from counterfolio.text import Column, html_table, number, plural, text_table, wrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

SCHEMA = {
    "estimator": pl.String,
    "k": pl.Int64,
    "metric": pl.String,
    "value": pl.Float64,
    "std": pl.Float64,
    "ci_low": pl.Float64,
    "ci_high": pl.Float64,
    "n_logs": pl.Int64,
    "n_undefined": pl.Int64,
    "n_infinite": pl.Int64,
}
BEST: dict[str, Any] = {
    DATASET: pl.String,
    "metric": pl.String,
    "k": pl.Int64,
    "value": pl.Float64,
    "estimators": pl.List(pl.String),
}
AGREEMENT = {
    "metric": pl.String,
    "other_metric": pl.String,
    "k": pl.Int64,
    "n_logs": pl.Int64,
    "n_agree": pl.Float64,
    "n_same": pl.Int64,
    "n_common": pl.Int64,
    "n_undefined": pl.Int64,
}
#: Metrics that choose an estimator: whether of the top k, and whether more is better.
CHOOSING = {
    "sharpe_ratio": (True, True),
    "regret": (True, False),
    "rank_correlation": (False, True),
    "nmse": (False, False),
}
#: Metrics that a printed table shows.
SHOWN = ("nmse", "rank_correlation", "regret", "sharpe_ratio")
#: Values of a metric that differ by less than this share are equal but for rounding.
ROUNDING = 1e-12
#: Columns whose replicates are held at once.
BLOCK = 128


@dataclass(frozen=True, repr=False, eq=False)
class Assessments:
    """How well estimators rank policies, by true values, across logs.

    Attributes
    ----------
    table : polars.DataFrame
        A row to each estimator, k (null for metrics of the ranking as a whole) and metric: value,
        the mean over the logs; std, the standard deviation between them (ddof 1); ci_low and
        ci_high, a percentile bootstrap interval of the mean, over logs; n_logs, how many logs have
        such a value; n_undefined and n_infinite, in how many of them it is NaN or infinite, as
        SharpeRatio@k is where nothing spreads. These are left out of mean, std and interval. Null
        where no log, or for std and interval fewer than two, are left.
    by_dataset : polars.DataFrame
        `Assessment.table` of every log, with a leading column `dataset`.
    k : int
        Size of the shortlist that the printed table is about.
    settings : dict
        confidence_level, n_resamples and seed of the intervals.
    """

    table: pl.DataFrame
    by_dataset: pl.DataFrame
    k: int
    settings: dict[str, Any] = field(default_factory=dict)

    def best_estimators(self, k: int | None = None) -> pl.DataFrame:
        """Find which estimator is the best on each log, by each metric that can choose one.

        Parameters
        ----------
        k
            Size of the shortlist. Default: that of the printed table.

        Returns
        -------
        polars.DataFrame
            dataset, metric (sharpe_ratio and regret of the top k, rank_correlation, nmse), k, value
            (the best one), estimators: a list of all that have it, but for rounding. Undefined
            values are never the best; where all are, value is null and the list empty.
        """
        k = self._check_k(k)
        values: dict[tuple[str, str], dict[str, float]] = {}
        columns = (DATASET, "metric", "k", "estimator", "value")
        for name, metric, of, estimator, value in zip(
            *(self.by_dataset[column] for column in columns), strict=True
        ):
            if metric in CHOOSING and of == (k if CHOOSING[metric][0] else None):
                values.setdefault((name, metric), {})[estimator] = value
        names = dict.fromkeys(self.by_dataset[DATASET])
        rows: list[tuple[Any, ...]] = []
        for name, (metric, (of_top, more)) in itertools.product(names, CHOOSING.items()):
            best, chosen = _best(values.get((name, metric), {}), more=more)
            rows.append((name, metric, k if of_top else None, best, chosen))
        return pl.DataFrame(rows, schema=BEST, orient="row")

    def agreement(self, k: int | None = None) -> pl.DataFrame:
        """Count the logs on which two metrics call the same estimator the best.

        Parameters
        ----------
        k
            As in `best_estimators`.

        Returns
        -------
        polars.DataFrame
            A row to a pair of metrics: metric, other_metric, k; n_logs on which both choose;
            n_agree, on how many of these they choose the same; n_undefined, on how many one of them
            cannot choose. Where estimators tie a log counts with the share of those that both
            choose among those that either does, so n_agree lies between n_same, where both choose
            the same estimator or the same ones, and n_common, where they have one in common. All
            three are one number where nothing ties.
        """
        k = self._check_k(k)
        found = self.best_estimators(k)
        chosen: dict[str, list[set[str]]] = {metric: [] for metric in CHOOSING}
        for metric, names in zip(found["metric"], found["estimators"].to_list(), strict=True):
            chosen[metric].append(set(names))
        rows: list[tuple[Any, ...]] = []
        for one, other in itertools.combinations(CHOOSING, 2):
            pairs = list(zip(chosen[one], chosen[other], strict=True))
            known = [(a, b) for a, b in pairs if a and b]
            shares = [len(a & b) / len(a | b) for a, b in known]
            counts = (sum(a == b for a, b in known), sum(bool(a & b) for a, b in known))
            rows.append((one, other, k, len(known), sum(shares), *counts, len(pairs) - len(known)))
        return pl.DataFrame(rows, schema=AGREEMENT, orient="row")

    def _n_policies(self) -> int:
        return int(self.by_dataset["k"].drop_nulls().max())  # type: ignore[arg-type]

    def _check_k(self, k: int | None) -> int:
        return self.k if k is None else check_k(k, self._n_policies())

    def _layout(self) -> tuple[list[Column], list[str]]:
        rows = [
            row
            for row in self.table.rows(named=True)
            if row["metric"] in SHOWN and row["k"] in (None, self.k)
        ]
        found = {(row["estimator"], row["metric"]): row for row in rows}
        names = list(dict.fromkeys(row["estimator"] for row in rows))
        columns = [Column("estimator", names, left=True)]
        left_out = []
        for metric in SHOWN:
            own = [found[name, metric] for name in names if (name, metric) in found]
            cells = [_cell(found.get((name, metric))) for name in names]
            columns.append(Column(metric, cells))
            counts = [sum(row[what] for row in own) for what in ("n_undefined", "n_infinite")]
            if any(counts):
                left_out.append(
                    f"{metric}: {counts[0]:,} undefined and {counts[1]:,} infinite values of "
                    f"{sum(row['n_logs'] for row in own):,} are in no mean."
                )
        n_logs = len(dict.fromkeys(self.by_dataset[DATASET]))
        line = (
            f"Mean ± standard deviation over {plural(n_logs, 'log')}; regret and sharpe_ratio: of "
            f"the top {self.k}. Every k and metric is in .table, with intervals; each log in "
            ".by_dataset."
        )
        return columns, [*left_out, line]

    def __repr__(self) -> str:
        columns, lines = self._layout()
        return "\n".join([text_table(columns), *(wrap(line) for line in lines)])

    def _repr_html_(self) -> str:
        columns, lines = self._layout()
        return html_table(columns, "Estimators by true values, across logs", lines)


def stack(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Put the tables of all logs below each other."""
    names = [name for name, table in tables.items() for _ in range(len(table))]
    columns = {column: pl.concat([t[column] for t in tables.values()]) for column in ONE_LOG}
    return pl.DataFrame({DATASET: pl.Series(names, dtype=pl.String), **columns})


def across(tables: Mapping[str, pl.DataFrame], settings: dict[str, Any]) -> pl.DataFrame:
    """Sum up each estimator, k and metric over the logs."""
    found: dict[tuple[str, int | None, str], dict[int, float]] = {}
    for i, table in enumerate(tables.values()):
        parts = (table[name] for name in ("estimator", "k", "metric", "value"))
        for estimator, k, metric, value in zip(*parts, strict=True):
            found.setdefault((estimator, k, metric), {})[i] = value
    # Logs may differ in their estimators: those of the first come first.
    estimators = {name: i for i, name in enumerate(dict.fromkeys(key[0] for key in found))}
    keys = sorted(found, key=lambda key: estimators[key[0]])
    present = np.array([[i in found[key] for key in keys] for i in range(len(tables))])
    values = np.array([[found[key].get(i, math.nan) for key in keys] for i in range(len(tables))])
    finite = np.isfinite(values)
    n_finite = finite.sum(axis=0)
    some, several = n_finite > 0, n_finite >= FEWEST_UNITS
    kept = np.where(finite, values, 0.0)
    mean = kept.sum(axis=0) / np.maximum(n_finite, 1)
    differences = np.where(finite, kept - mean, 0.0)
    std = np.sqrt((differences**2).sum(axis=0) / np.maximum(n_finite - 1, 1))
    low, high = _intervals(kept, finite, settings)
    columns: dict[str, Any] = {
        "estimator": [key[0] for key in keys],
        "k": [key[1] for key in keys],
        "metric": [key[2] for key in keys],
        "value": _where(some, mean),
        "std": _where(several, std),
        "ci_low": _where(several, low),
        "ci_high": _where(several, high),
        "n_logs": present.sum(axis=0),
        "n_undefined": (present & np.isnan(values)).sum(axis=0),
        "n_infinite": np.isinf(values).sum(axis=0),
    }
    return pl.DataFrame(columns, schema=SCHEMA)


def _where(known: NDArray[np.bool_], values: NDArray[np.float64]) -> list[float | None]:
    return [float(x) if k else None for k, x in zip(known, values, strict=True)]


def _intervals(
    kept: NDArray[np.float64], finite: NDArray[np.bool_], settings: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Bootstrap the mean of each column's finite values over the rows: (2, n_columns)."""
    n_logs, n_columns = kept.shape
    ends = np.full((2, n_columns), np.nan)
    if n_logs < FEWEST_UNITS:
        return ends
    tail = (1 - settings["confidence_level"]) / 2
    drawn = resample_weights(
        n_logs, settings["n_resamples"], settings["seed"], resampling="multinomial"
    ).astype(np.float64)
    for first in range(0, n_columns, BLOCK):
        block = slice(first, first + BLOCK)
        counts = drawn @ finite[:, block]
        with np.errstate(invalid="ignore"):
            means = (drawn @ kept[:, block]) / counts  # NaN where no finite value was drawn
        whole = (counts > 0).all(axis=0)
        ends[:, block][:, whole] = np.quantile(means[:, whole], [tail, 1 - tail], axis=0)
        for i in np.flatnonzero(~whole & finite[:, block].any(axis=0)):
            ends[:, first + i] = np.nanquantile(means[:, i], [tail, 1 - tail])
    return ends


def _best(values: Mapping[str, float], *, more: bool) -> tuple[float | None, list[str]]:
    """Find the best value and who has it."""
    known = {name: x for name, x in values.items() if not math.isnan(x)}
    if not known:
        return None, []
    best = (max if more else min)(known.values())
    near = {name for name, x in known.items() if math.isclose(x, best, rel_tol=ROUNDING)}
    return best, [name for name in known if name in near]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return ""
    mean = number(row["value"], 3)
    return mean if row["std"] is None else f"{mean} ± {number(row['std'], 2)}"
