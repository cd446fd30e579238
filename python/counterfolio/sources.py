"""Named columns from any table: polars, pyarrow, pandas, DuckDB, anything that exports Arrow."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.exceptions import InvalidLogError, MissingExtraError
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from numpy.typing import NDArray


class ArrowStreamExportable(Protocol):
    """An object that exports a stream of Arrow arrays or record batches."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a PyCapsule of an ArrowArrayStream."""


class ArrowArrayExportable(Protocol):
    """An object that exports one Arrow array or record batch."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """Return PyCapsules of an ArrowSchema and an ArrowArray."""


#: What `LoggedData.from_frame` takes.
Frame: TypeAlias = "ArrowStreamExportable | ArrowArrayExportable | Mapping[str, Any] | pl.LazyFrame"


def is_pandas(value: object, kind: str) -> bool:
    """Whether `value` is a pandas object of the class `kind`, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, getattr(pandas, kind))


def column_label(name: str) -> str:
    """Name a column in a message."""
    return f'column "{name}"'


def as_column(name: str, value: Any) -> _core.Column:
    """Take one column from an array, a series or an Arrow array, without a copy where possible.

    Parameters
    ----------
    name
        What messages call it.
    value
        A polars or pandas Series, a one-dimensional numpy array, a sequence, or any object with
        `__arrow_c_stream__` or `__arrow_c_array__`.

    Raises
    ------
    InvalidLogError
        If it is none of these, has two dimensions, or holds what Arrow cannot.
    """
    if is_pandas(value, "Series") and isinstance(value.dtype, np.dtype) and value.dtype.kind != "O":
        value = value.to_numpy()  # the same buffer; pandas' own Arrow export needs pyarrow
    elif is_pandas(value, "Series") and value.dtype == object:
        _refuse_mixture(name, value.tolist())
    if isinstance(value, list | tuple):
        value = _series(name, value)
    if isinstance(value, np.ndarray):
        if value.ndim != 1:
            text = f'column "{name}" has shape {value.shape}; pass a one-dimensional array'
            raise InvalidLogError(text)
        value = _series(name, value)
    try:
        return _core.read_column(name, value)
    except ImportError as error:
        text = f'column "{name}": {error}; pip install pyarrow, or pass a numpy array'
        raise MissingExtraError(text) from error
    except (TypeError, NotImplementedError) as error:
        text = f'column "{name}" cannot be exported as Arrow data: {error}'
        raise InvalidLogError(text) from error


def column_values(column: _core.Column) -> NDArray[Any]:
    """Take a column that the core reads as a numpy array, of the same buffers where it can be."""
    return pl.DataFrame(column).to_series().to_numpy()


def take(rows: pl.DataFrame, which: NDArray[np.integer[Any]]) -> pl.DataFrame:
    """Take rows by number, column by column.

    After a fork polars' own way would wait for threads that no longer exist.
    """
    return pl.DataFrame({name: rows[name].gather(which) for name in rows.columns})


def _refuse_mixture(name: str, values: Sequence[Any]) -> None:
    """Raise where numbers, text and flags stand in one column, and name the first odd row."""
    # pandas writes NaN for missing text.
    kinds = [None if value != value else _KINDS.get(type(value)) for value in values]
    counts = {kind: kinds.count(kind) for kind in _KINDS.values()}
    found = [kind for kind, count in counts.items() if count]
    if len(found) < 2:
        return
    odd = min(found, key=lambda kind: counts[kind])
    row = kinds.index(odd)
    rest = " and ".join(kind for kind in found if kind != odd)
    text = (
        f'column "{name}": {counts[odd]:,} of {len(values):,} values are {odd} among {rest}, first '
        f"at row {row} ({values[row]!r}); give all of them one type"
    )
    raise InvalidLogError(text)


#: What the values of a Python list are, in words.
_KINDS = {int: "numbers", float: "numbers", bool: "flags", str: "text"}


def _series(name: str, values: Any) -> pl.Series:
    if isinstance(values, list | tuple):
        _refuse_mixture(name, values)
        if {type(value) for value in values} - {type(None)} == {int, float}:
            values = np.array(values, dtype=np.float64)  # None becomes NaN
    try:
        series = pl.Series(name, values)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        text = f'column "{name}" cannot be read as one column of values: {error}'
        raise InvalidLogError(text) from error
    if series.dtype == pl.Object:
        text = f'column "{name}" holds Python objects; cast it first, as in array.astype(float)'
        raise InvalidLogError(text)
    return series


class Table:
    """The columns of a source by name, each taken when first asked for."""

    def __init__(self, columns: Mapping[str, Callable[[], Any]]) -> None:
        self._open = dict(columns)
        self._taken: dict[str, _core.Column] = {}

    @property
    def names(self) -> list[str]:
        """Names of all columns, in the order of the source."""
        return list(self._open)

    def check(self, name: object) -> None:
        """Raise unless `name` is a column of the table."""
        if not isinstance(name, str):
            text = f"a column is named by a string, not by {name!r}"
            raise InvalidLogError(text)
        if name not in self._open:
            text = f'no column "{name}" in the log; {suggest(name, self._open)}'
            raise InvalidLogError(text)

    def column(self, name: str) -> _core.Column:
        """Take the column as the core reads it."""
        self.check(name)
        if name not in self._taken:
            value = self._open[name]()
            is_taken = isinstance(value, _core.Column)
            self._taken[name] = value if is_taken else as_column(name, value)
        return self._taken[name]

    def series(self, name: str) -> pl.Series:
        """Take the column as a polars Series, of the same buffers."""
        self.check(name)
        value = self._open[name]()
        if isinstance(value, np.ndarray | list | tuple):
            return _series(name, value)
        if isinstance(value, pl.Series):
            return value.alias(name)
        column = self.column(name)
        try:
            return pl.DataFrame(column).to_series()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError) as error:
            text = f'column "{name}" holds {column.dtype}, which polars cannot take: {error}'
            raise InvalidLogError(text) from error

    def frame(self, n_rows: int) -> pl.DataFrame:
        """Take all columns as a polars frame; raise where one has not the rows of the log."""
        columns = [self.series(name) for name in self.names]
        for column in columns:
            if len(column) != n_rows:
                text = (
                    f"{column_label(column.name)} has {len(column)} rows, but the log has "
                    f"{n_rows}; leave it out of the table that the log is made from"
                )
                raise InvalidLogError(text)
        return pl.DataFrame(columns)

    def with_vectors(self, names: Iterable[Any]) -> Table:
        """Return a table in which two-dimensional arrays of numbers are columns of arrays."""
        table = self
        for name in names:
            known = isinstance(name, str) and name in self._open
            value: Any = self._open[name]() if known else None
            is_matrix = isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] > 0
            if is_matrix and value.dtype.kind in "fiub":
                dtype = np.uint8 if value.dtype.kind == "b" else None
                numbers = np.ascontiguousarray(value, dtype=dtype)
                table = table.with_column(name, pl.Series(name, numbers))
        return table

    def with_column(self, name: str, value: object) -> Table:
        """Return a table with a further column, or one replaced."""
        return Table({**self._open, name: lambda: value})


def open_table(frame: Any) -> Table:
    """Take the columns of a table by name.

    A polars frame is taken column by column and left as it is (its own stream would merge its
    chunks in place). A one-shot reader is read to its end here.

    Raises
    ------
    InvalidLogError
        If `frame` is no table.
    """
    if isinstance(frame, pl.LazyFrame):
        try:
            frame = frame.collect()
        except pl.exceptions.PolarsError as error:
            text = f"the lazy frame cannot be collected: {error}"
            raise InvalidLogError(text) from error
    if isinstance(frame, pl.DataFrame):
        return Table({name: _getter(frame.get_column, name) for name in frame.columns})
    if is_pandas(frame, "DataFrame"):
        if not frame.columns.is_unique:
            twice = frame.columns[frame.columns.duplicated()][0]
            text = f'column "{twice}" stands in the table twice; rename one'
            raise InvalidLogError(text)
        return Table({str(name): _getter(frame.__getitem__, name) for name in frame.columns})
    if isinstance(frame, Mapping):
        return Table({str(name): _getter(frame.__getitem__, name) for name in frame})
    columns = _core.read_table(frame)
    return Table({column.name: _getter(lambda c: c, column) for column in columns})


def _getter(get: Callable[[Any], Any], key: Any) -> Callable[[], Any]:
    return lambda: get(key)
