"""Where episodes begin and end, from ids, end marks, or one to a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.exceptions import InvalidLogError
from counterfolio.sources import as_column, column_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.sources import Table


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


def first_rows(episodes: _core.Episodes) -> NDArray[np.int64]:
    """First row of each episode."""
    lengths = episodes.lengths()
    return np.cumsum(lengths) - lengths


def _codes(values: pl.Series) -> NDArray[np.integer]:
    """Integers that are equal where the values are."""
    codes: NDArray[np.integer] = _encode(values).to_numpy()
    return codes


def check_cluster(table: Table, name: str, episodes: _core.Episodes, what: str = "cluster") -> None:
    """Raise unless a column names one cluster, or whatever it is called, to an episode."""
    label = column_label(name)
    column = table.column(name)
    _core.check_present(column, label)
    if not (column.is_ordinal or column.is_text):
        text = (
            f"{label} holds {column.dtype}, which cannot name {what}s; cast it to integers or text"
        )
        raise InvalidLogError(text)
    codes, lengths = _codes(table.series(name)), episodes.lengths()
    if codes.dtype.kind == "f":
        text = (
            f"{label} holds floating-point numbers, which cannot name {what}s; cast it to integers"
        )
        raise InvalidLogError(text)
    off = codes != np.repeat(codes[first_rows(episodes)], lengths)
    if off.any():
        row = int(off.argmax())
        text = (
            f"{label}: {int(off.sum()):,} of {len(off):,} rows have another {what} than their "
            f"episode's first row, first at row {row}; an episode belongs to one {what}"
        )
        raise InvalidLogError(text)


def number_clusters(cluster: pl.Series, episodes: _core.Episodes) -> tuple[NDArray[np.uint32], int]:
    """Give clusters numbers in the order in which they first appear."""
    _, first, of = np.unique(
        _codes(cluster.gather(first_rows(episodes))), return_index=True, return_inverse=True
    )
    place = np.empty(len(first), dtype=np.uint32)
    place[np.argsort(first)] = np.arange(len(first), dtype=np.uint32)
    return place[of], len(first)


def ids_of(table: Table, name: str, episodes: _core.Episodes) -> _core.Column | NDArray[np.uint64]:
    """Take what names episodes in random draws: the integers themselves, or hashes of text."""
    column = table.column(name)
    if column.is_ordinal:
        return column
    series = table.series(name)
    if series.dtype.is_integer():  # categories of integers
        return as_column(name, series)
    return _hashes(series.gather(first_rows(episodes)))


def draw_hashes(ids: Any) -> tuple[_core.Column | NDArray[np.uint64], int]:
    """Take ids that stand by themselves, one to an episode, and their number."""
    column = as_column("episode_ids", ids)
    _core.check_present(column, column_label("episode_ids"))
    series = pl.DataFrame(column).to_series()
    if series.dtype.is_float() or not (column.is_ordinal or column.is_text):
        text = f"{column_label('episode_ids')} holds {column.dtype}; pass integers or text"
        raise InvalidLogError(text)
    if column.is_ordinal:
        return column, len(column)
    if series.dtype.is_integer():  # categories of integers
        return as_column("episode_ids", series), len(column)
    return _hashes(series), len(column)


def _hashes(labels: pl.Series) -> NDArray[np.uint64]:
    _, first, of = np.unique(_codes(labels), return_index=True, return_inverse=True)
    return _core.hash_text([str(labels[int(i)]) for i in first])[of]
