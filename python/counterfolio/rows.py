"""Rows that stand in the log twice, and columns that say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from counterfolio.calibration import listed
from counterfolio.exceptions import InvalidLogError
from counterfolio.findings import Finding
from counterfolio.text import plural

if TYPE_CHECKING:
    from counterfolio.log import LoggedData

#: Rows count as distinguishable where one column alone has this share of the different rows.
TELLING_COLUMN = 0.9
#: In episodes of several rows it must have this many times as many values as there are episodes.
BEYOND_EPISODES = 1.5
#: Odd, so that no column's hash is lost when the next one's is added.
MIXER = np.uint64(0x9E3779B97F4A7C15)
#: Fewer different rows than this repeat by necessity.
FEWEST_DIFFERENT = 20


def row_findings(log: LoggedData) -> list[Finding]:
    """Find duplicated rows and constant columns; columns of nested values are passed over."""
    columns = []
    for name in log._table.names:
        try:
            column = log.column(name)
        except InvalidLogError:  # of a type that polars cannot take: not a used column
            continue
        if len(column) == log.n_rows and not column.dtype.is_nested() and column.dtype != pl.Object:
            columns.append(column)
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
    """Equal rows are suspicious where a column that hardly repeats, such as a time, does so too."""
    # Column by column in numpy: after a fork polars' own way would wait for lost threads.
    hashes = [column.hash().to_numpy() for column in columns]
    rows = np.zeros(log.n_rows, dtype=np.uint64)
    for found in hashes:
        rows = rows * MIXER + found
    order = np.argsort(rows, kind="stable")
    again = rows[order][1:] == rows[order][:-1]
    repeated = int(again.sum())
    different = log.n_rows - repeated
    if repeated == 0 or different < FEWEST_DIFFERENT:
        return []
    # What only names the episode does not tell its rows apart.
    least = 0 if log.n_episodes == log.n_rows else BEYOND_EPISODES * log.n_episodes
    least = max(least, TELLING_COLUMN * different)
    if not any(len(np.unique(found)) >= least for found in hashes):
        return []
    row = int(order[1:][again].min())
    return [
        Finding(
            "warning",
            f"{plural(repeated, 'row')} of {log.n_rows:,} repeat another row in every column, "
            f"first at row {row}",
            "a join that matched twice, or an event that was sent twice, counts its reward twice: "
            "remove the copies before loading the log",
        )
    ]
