"""Mean return over time and by segment, and whether it differs by more than chance."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.episodes import first_rows
from counterfolio.exceptions import InvalidLogError
from counterfolio.findings import Finding
from counterfolio.sources import column_label
from counterfolio.text import cut, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

OVER_TIME = {
    "slice": pl.Int64,
    "first": pl.String,
    "last": pl.String,
    "n_episodes": pl.Int64,
    "mean_return": pl.Float64,
    "standard_error": pl.Float64,
}
BY_SEGMENT = {
    "column": pl.String,
    "value": pl.String,
    "n_episodes": pl.Int64,
    "mean_return": pl.Float64,
    "standard_error": pl.Float64,
}
#: Slices of the log, and the fewest episodes in one.
SLICES = 10
FEWEST_EPISODES = 20
#: Columns taken as segments when none are named: so many, with so few values.
MOST_COLUMNS = 5
MOST_VALUES = 20
#: Means within this share of each other differ by rounding.
ROUNDING = 1e-9
#: Standard normal deviate from which groups differ by more than chance.
TELLING = 4.0


class Returns:
    """The undiscounted return of each episode, and the rows at which episodes begin."""

    def __init__(self, log: LoggedData) -> None:
        reward = log.column(log.roles["reward"]).cast(pl.Float64).to_numpy()
        self.starts = first_rows(log._episodes)
        self.values = np.add.reduceat(reward, self.starts)


def _groups(values: NDArray[np.float64], groups: NDArray[np.int64]) -> tuple[list[Any], float]:
    """Count, mean and standard error of each group, and how surely their means differ.

    The last is the standard normal deviate of the analysis of variance's chi-square (Wilson &
    Hilferty 1931); infinite where they differ and nothing varies within the groups.
    """
    n = np.bincount(groups)
    mean = np.bincount(groups, weights=values) / n
    within = np.bincount(groups, weights=(values - mean[groups]) ** 2)
    rows = [
        (int(k), float(m), math.sqrt(w / (k * (k - 1))) if k > 1 else None)
        for k, m, w in zip(n, mean, within, strict=True)
    ]
    degrees = len(n) - 1
    spare = len(values) - len(n)
    same = mean.max() - mean.min() <= ROUNDING * np.abs(mean).max()
    if degrees < 1 or spare < 1 or same:
        return rows, 0.0
    variance = within.sum() / spare
    if variance <= 0:
        return rows, math.inf
    square = float((n * (mean - values.mean()) ** 2).sum() / variance)
    scale = 2 / (9 * degrees)
    return rows, ((square / degrees) ** (1 / 3) - (1 - scale)) / math.sqrt(scale)


def over_time(
    log: LoggedData, returns: Returns, time: str | None
) -> tuple[pl.DataFrame, list[Finding]]:
    """Cut the log into slices of as many episodes each, in the order of `time`."""
    n = len(returns.values)
    slices = min(SLICES, n // FEWEST_EPISODES)
    if slices < 2:
        return pl.DataFrame(schema=OVER_TIME), []
    moments = _named(log, time) if time is not None else _find_time(log)
    order, what = np.arange(n), "row order"
    if moments is not None:
        time, moments = moments.name, moments.gather(returns.starts)
        order = np.argsort(moments.to_physical().to_numpy(), kind="stable")
        what = f'the order of "{time}"'
    groups = np.empty(n, dtype=np.int64)
    groups[order] = np.arange(n) * slices // n
    rows, deviate = _groups(returns.values, groups)
    table = []
    for i, row in enumerate(rows):
        ends = order[groups[order] == i][[0, -1]]
        table.append((i + 1, *(_moment(moments, returns, int(j)) for j in ends), *row))
    frame = pl.DataFrame(table, schema=OVER_TIME, orient="row")
    if deviate <= TELLING:
        return frame, []
    low, high = (f(row[1] for row in rows) for f in (min, max))
    return frame, [
        Finding(
            "warning",
            f"the mean return changes over {what}, from {number(low, 3)} to {number(high, 3)} "
            f"between {slices} slices of the log",
            "the world or the logging policy changed while it was logged: an estimate is an "
            "average over that time; evaluate the latest part alone and compare",
        )
    ]


def _moment(moments: pl.Series | None, returns: Returns, episode: int) -> str:
    """Say when an episode began."""
    if moments is None:
        return f"row {returns.starts[episode]}"
    moment = moments[episode]
    return moment.strftime("%Y-%m-%d %H:%M") if isinstance(moment, datetime) else str(moment)


def _named(log: LoggedData, name: str) -> pl.Series:
    """Take a column by whose values a log is cut; raise where it cannot be."""
    column, label = log.plain_column(name), column_label(name)
    if column is None:
        text = f"{label} has no single value for each of {log.n_rows:,} rows to cut the log by"
        raise InvalidLogError(text)
    if column.null_count():
        _core.check_present(log._table.column(name), label)
    return column


def _find_time(log: LoggedData) -> pl.Series | None:
    """Take the first column of dates or times that has no other part and no gap."""
    for name in log._table.names:
        column = None if name in log.used else log.plain_column(name)
        if column is None or column.dtype not in (pl.Date, pl.Datetime):
            continue
        if column.null_count() == 0:
            return column
    return None


def by_segment(
    log: LoggedData, returns: Returns, segments: Sequence[str] | None
) -> tuple[pl.DataFrame, list[Finding]]:
    """Mean return by the value that each column has in an episode's first row."""
    table: list[Any] = []
    found = []
    for name in _find_segments(log) if segments is None else segments:
        column = log.plain_column(name)
        if column is None:
            column = _named(log, name)
        column = column.gather(returns.starts)
        hashes = column.hash().to_numpy()
        _, first, groups = np.unique(hashes, return_index=True, return_inverse=True)
        rows, deviate = _groups(returns.values, groups)
        values = [_label(column[int(i)]) for i in first]
        order = sorted(range(len(values)), key=lambda i: -rows[i][0])
        table += [(name, values[i], *rows[i]) for i in order[:MOST_VALUES]]
        if deviate > TELLING:
            low, high = (f(rows, key=lambda row: row[1]) for f in (min, max))
            at = [cut(values[rows.index(row)], 24) for row in (low, high)]
            found.append(
                Finding(
                    "info",
                    f'the mean return differs by "{name}": {number(low[1], 3)} for "{at[0]}", '
                    f'{number(high[1], 3)} for "{at[1]}"',
                    "a policy may be better in one segment and worse in another: evaluate the "
                    "segments that matter on their own",
                )
            )
    return pl.DataFrame(table, schema=BY_SEGMENT, orient="row"), found


def _label(value: object) -> str:
    return "null" if value is None else str(value)


def _find_segments(log: LoggedData) -> list[str]:
    """Name columns of few words, but those that have another part."""
    states = log.roles["state"] or []
    found: list[str] = []
    for name in log._table.names:
        if len(found) == MOST_COLUMNS or (name in log.used and name not in states):
            continue
        column = log.plain_column(name)
        if column is None or column.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Boolean):
            continue
        if 2 <= len(np.unique(column.hash().to_numpy())) <= MOST_VALUES:
            found.append(name)
    return found
