"""The state columns of a log, handed to policies and models in blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.exceptions import InvalidLogError
from counterfolio.sources import as_column, column_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class States:
    """Some columns of one length."""

    columns: Sequence[pl.Series]

    def __len__(self) -> int:
        return len(self.columns[0])

    @cached_property
    def _widths(self) -> list[int]:
        return [_width(column) for column in self.columns]

    @property
    def numeric(self) -> bool:
        """Whether every column holds numbers, flags, or lists of numbers of one length."""
        return all(self._widths)

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    def take(self, rows: slice | NDArray[np.integer[Any]]) -> Any:
        """Take some rows: a float64 array of shape (n, d) if all are numbers, else a frame.

        Column by column: after a fork polars' own way would wait for threads that are gone.
        """
        block = [c[rows] if isinstance(rows, slice) else c.gather(rows) for c in self.columns]
        if not self.numeric:
            return pl.DataFrame(block)
        parts = []
        for column, width in zip(block, self._widths, strict=True):
            lists = isinstance(column.dtype, pl.List)
            taken = column.list.to_array(width) if lists else column
            values = taken.to_numpy().astype(np.float64, copy=False)
            parts.append(values.reshape(len(values), width))
        return np.concatenate(parts, axis=1)

    def check(self) -> None:
        """Raise `InvalidLogError` where a value is missing: models cannot pass it over."""
        for column in self.columns:
            label = column_label(column.name)
            _core.check_present(as_column(column.name, column), label)
            if not column.dtype.is_nested():
                continue
            # Missing values within lists.
            inner = column.explode()
            missing = inner.null_count()
            if missing or (inner.dtype.is_float() and inner.is_nan().any()):
                text = f"{label}: lists hold null or NaN; fill or drop these rows first"
                raise InvalidLogError(text)


def _width(column: pl.Series) -> int:
    """Count the numbers of a row; 0 where it holds something else."""
    dtype = column.dtype
    if dtype.is_numeric() or dtype == pl.Boolean:
        return 1
    if isinstance(dtype, pl.Array) and len(dtype.shape) == 1 and dtype.inner.is_numeric():
        return dtype.shape[0]
    if isinstance(dtype, pl.List) and dtype.inner.is_numeric():
        lengths = column.list.len()
        same = lengths.null_count() == 0 and len(lengths) and (lengths == lengths[0]).all()
        return int(lengths[0]) if same else 0
    return 0
