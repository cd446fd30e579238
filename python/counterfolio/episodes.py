"""Where episodes begin and end, from ids, end marks, or one to a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from counterfolio import _core
from counterfolio.exceptions import InvalidLogError
from counterfolio.sources import as_column

if TYPE_CHECKING:
    from counterfolio.sources import Table


def column_label(name: str) -> str:
    """Name a column in a message."""
    return f'column "{name}"'


def check_lengths(table: Table, names: list[str]) -> None:
    """Raise unless all used columns have the length of the first."""
    expected = len(table.column(names[0]))
    for name in names[1:]:
        if (length := len(table.column(name))) != expected:
            text = (
                f'{column_label(name)} has {length} rows, but column "{names[0]}" has {expected}; '
                "pass columns of one length"
            )
            raise InvalidLogError(text)


def _encode(ids: pl.Series) -> pl.Series:
    """Encode text or categories as integers; categories of numbers are numbers here already."""
    if ids.dtype == pl.String:
        ids = ids.cast(pl.Categorical)
    return ids.to_physical()


def find_episodes(
    table: Table, rows: int, episode_id: str | None, flags: list[str]
) -> _core.Episodes:
    """Find the episodes: runs of equal ids, else what the flags end, else each row."""
    if episode_id is not None:
        ids = table.column(episode_id)
        _core.check_present(ids, column_label(episode_id))
        if not ids.is_ordinal:
            if not ids.is_text:
                text = (
                    f"{column_label(episode_id)} holds {ids.dtype}, which cannot name episodes; "
                    "cast it to integers or text"
                )
                raise InvalidLogError(text)
            ids = as_column(episode_id, _encode(table.series(episode_id)))
        return _core.Episodes.from_ids(ids, column_label(episode_id))
    if flags:
        return _core.Episodes.from_ends(rows, [(column_label(n), table.column(n)) for n in flags])
    return _core.Episodes.each_row(rows)
