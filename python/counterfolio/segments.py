"""Mean return over time and by segment, and whether it differs by more than chance."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.findings import Finding
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
#: Standard normal deviate from which groups differ by more than chance.
TELLING = 4.0


class Returns:
    """The undiscounted return of each episode, and the rows at which episodes begin."""

    def __init__(self, log: LoggedData) -> None:
        reward = log.column(log.roles["reward"]).cast(pl.Float64).to_numpy()
        lengths = log._episodes.lengths()
        self.starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self.values = np.add.reduceat(reward, self.starts)


def _groups(values: NDArray[np.float64], groups: NDArray[np.int64]) -> tuple[list[Any], float]:
    """Count, mean and standard error of each group, and how surely their means differ.

    The last is the standard normal deviate of the analysis of variance's chi-square (Wilson &
    Hilferty 1931); 0 where nothing varies.
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
    variance = within.sum() / spare if spare > 0 else 0.0
    if degrees < 1 or variance <= 0:
        return rows, 0.0
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
    time = time or _find_time(log)
    order, what, moments = np.arange(n), "row order", None
    if time is not None:
        moments = log.column(time).gather(returns.starts)
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


def _find_time(log: LoggedData) -> str | None:
    """Name the first column of dates or times that has no other part."""
    for name in log._table.names:
        if name not in log.used and log.column(name).dtype in (pl.Date, pl.Datetime):
            return name
    return None


def by_segment(
    log: LoggedData, returns: Returns, segments: Sequence[str] | None
) -> tuple[pl.DataFrame, list[Finding]]:
    """Mean return by the value that each column has in an episode's first row."""
    table: list[Any] = []
    found = []
    for name in _find_segments(log) if segments is None else segments:
        column = log.column(name).gather(returns.starts)
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
        column = log.column(name)
        if column.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Boolean):
            continue
        values = np.unique(column.hash().to_numpy())
        if len(column) == log.n_rows and 2 <= len(values) <= MOST_VALUES:
            found.append(name)
    return found
