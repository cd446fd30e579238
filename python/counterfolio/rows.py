"""Rows that stand in the log twice, and columns that say nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from counterfolio.calibration import listed
from counterfolio.findings import Finding
from counterfolio.text import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

#: Rows count as distinguishable where one column alone has this share of the different rows.
TELLING_COLUMN = 0.9
#: In episodes of several rows it must have this many times as many values as there are episodes.
BEYOND_EPISODES = 1.5
#: Odd, so that no column's hash is lost when the next one's is added.
MIXER = np.uint64(0x9E3779B97F4A7C15)
#: Groups of more rows that agree in the telling column are no copies of one.
LARGEST_GROUP = 20
#: Minus the logarithm of the chance at which repeats are called copies.
BEYOND_CHANCE = 5.0
#: Fewer different values than this repeat by necessity.
FEWEST_DIFFERENT = 20


def row_findings(log: LoggedData) -> list[Finding]:
    """Find duplicated rows and constant columns; columns of nested values are passed over."""
    found = (log.plain_column(name) for name in log._table.names)
    columns = [column for column in found if column is not None]
    return [*_constant(log, columns), *_duplicated(log, columns)] if log.n_rows > 1 else []


def _constant(log: LoggedData, columns: list[pl.Series]) -> list[Finding]:
    roles = log.roles
    passed = {roles[part] for part in ("action", "reward", "propensity", "terminated", "truncated")}
    empty = [c.name for c in columns if c.null_count() == len(c)]
    constant = [
        c.name for c in columns if c.name not in passed and c.null_count() == 0 and _is_constant(c)
    ]
    states = [name for name in constant if name in (roles["state"] or [])]
    others = [n for n in constant if n not in states and n not in log.used]
    found = []
    if states:
        found.append(
            Finding(
                "warning",
                f"{plural(len(states), 'state column')} with one value: {listed(states)}",
                "a policy or a model learns nothing from it: check how it was logged, or leave it "
                "out",
            )
        )
    if others:
        found.append(
            Finding(
                "info",
                f"{plural(len(others), 'column')} with one value in every row: {listed(others)}",
                "fine for what was the same throughout; if it should vary, it was logged wrongly",
            )
        )
    if empty:
        found.append(
            Finding(
                "info",
                f"{plural(len(empty), 'column')} without any value: {listed(empty)}",
                "not used here; check it before a policy or a model reads it",
            )
        )
    return found


def _is_constant(column: pl.Series) -> bool:
    if column.dtype == pl.Binary:  # cannot be compared with one of its own values
        return len(np.unique(column.hash().to_numpy())) == 1
    return bool((column == column[0]).all())


def _duplicated(log: LoggedData, columns: list[pl.Series]) -> list[Finding]:
    """Find rows that repeat another one more often than chance has it.

    The column with the most values, such as a time, makes groups of rows. If it says nothing of the
    other columns, two rows of a group agree in all of them as often as any two rows of the log do.
    Large groups (a propensity of 1, say) are passed over.
    """
    # Column by column in numpy: after a fork polars' own way would wait for lost threads.
    hashes = [column.hash().to_numpy() for column in columns]
    distinct = [len(np.unique(found)) for found in hashes]
    if not hashes or max(distinct) < FEWEST_DIFFERENT:
        return []
    telling = int(np.argmax(distinct))
    rest = np.zeros(log.n_rows, dtype=np.uint64)
    for i, found in enumerate(hashes):
        if i != telling:
            rest = rest * MIXER + found
    rows = rest * MIXER + hashes[telling]
    _, first, times = np.unique(rows, return_index=True, return_counts=True)
    # What only names the episode does not tell its rows apart.
    least = 0 if log.n_episodes == log.n_rows else BEYOND_EPISODES * log.n_episodes
    if distinct[telling] < max(least, TELLING_COLUMN * len(times)):
        return []
    _, group_of, sizes = np.unique(hashes[telling], return_inverse=True, return_counts=True)
    small = sizes <= LARGEST_GROUP
    n = log.n_rows
    _, agree = np.unique(rest, return_counts=True)
    chance = _pairs(sizes[small]) * _pairs(agree) / (n * (n - 1) / 2)
    seen = _pairs(times[small[group_of[first]]])
    if seen == 0 or not _is_more(seen, 2 * chance):
        return []
    repeated = n - len(times)
    again = np.ones(n, dtype=bool)
    again[first] = False
    row = int(np.flatnonzero(again)[0])
    return [
        Finding(
            "warning",
            f"{plural(repeated, 'row')} of {n:,} repeat another row in every column, first at row "
            f"{row}",
            "a join that matched twice, or an event that was sent twice, counts its reward twice: "
            "remove the copies before loading the log",
        )
    ]


def _pairs(sizes: NDArray[np.int64]) -> float:
    """How many pairs groups of these sizes hold."""
    return float((sizes.astype(np.float64) * (sizes - 1)).sum() / 2)


def _is_more(seen: float, expected: float) -> bool:
    """Whether so many of what is rare (Poisson) are more than chance: Chernoff's bound."""
    if seen <= expected:
        return False
    return seen * math.log(seen / expected) - seen + expected > BEYOND_CHANCE if expected else True
