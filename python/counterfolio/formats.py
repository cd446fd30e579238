"""One file as a frame: Parquet, CSV or Arrow IPC."""

from __future__ import annotations

import io
import re
import select
from typing import TYPE_CHECKING

import polars as pl

from counterfolio.exceptions import InvalidLogError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    #: Chooses among the names of all columns those to read.
    Choose = Callable[[list[str]], Collection[str]]

#: Format -> the endings of names that stand for it.
FORMATS = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".csv.gz", ".csv.zst"),
    "tsv": (".tsv", ".tsv.gz", ".tsv.zst"),
    "arrow": (".arrow", ".feather", ".ipc"),
}
#: Format -> what a message calls it.
TITLES = {"parquet": "Parquet", "csv": "CSV", "tsv": "TSV", "arrow": "Arrow IPC"}
#: Rows of a CSV file from which the types of its columns are taken, before all of them are asked.
TYPED_BY = 10_000


def format_of(path: Path) -> str | None:
    """Tell the format from the ending of a name."""
    name = path.name.lower()
    return next((f for f, endings in FORMATS.items() if name.endswith(endings)), None)


def type_name(dtype: pl.DataType) -> str:
    """Say what a type is called in a message."""
    if dtype == pl.String:
        return "text"
    return f"numbers ({dtype})" if dtype.is_numeric() else str(dtype)


def read_file(
    path: Path, kind: str, labels: Mapping[str, pl.Series], choose: Choose | None = None
) -> pl.DataFrame:
    """Read one file.

    Parameters
    ----------
    path
        A file, or a pipe.
    kind
        One of `FORMATS`.
    labels
        Values of the Hive partitions that it lies in, one to a series; they become columns unless
        the file has columns of these names.
    choose
        Takes the names of all columns, returns those to read. Default: all.

    Raises
    ------
    InvalidLogError
        If it cannot be read, or names a column twice.
    """

    def chosen(names: list[str]) -> list[str]:
        names = [*names, *(key for key in labels if key not in names)]
        wanted = names if choose is None else set(choose(names))
        return [name for name in names if name in wanted]

    try:
        # What is no file, a pipe, cannot be mapped into memory or read twice.
        source = path if path.is_file() else io.BytesIO(_drain(path))
        if kind == "parquet":
            frame = _parquet(source, chosen)
        elif kind == "arrow":
            frame = _arrow(source)
        else:
            frame = _text(source, "," if kind == "csv" else "\t")
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InvalidLogError(_why(path, kind, error)) from error
    if kind in ("csv", "tsv"):
        _check_header(path, kind, frame.columns)
    missing = {key: label for key, label in labels.items() if key not in frame.columns}
    frame = frame.with_columns(
        pl.lit(label[0], dtype=label.dtype).alias(key) for key, label in missing.items()
    )
    return frame.select(chosen(frame.columns)) if choose is not None else frame


def _drain(path: Path) -> bytes:
    """Read a pipe to its end."""
    parts = []
    with path.open("rb", buffering=0) as pipe:
        # Where polars is loaded a signal does not end a read; it does end a wait.
        while select.select([pipe], [], []) and (part := pipe.read(1 << 20)):
            parts.append(part)
    return b"".join(parts)


def _parquet(source: Path | io.BytesIO, chosen: Callable[[list[str]], list[str]]) -> pl.DataFrame:
    scan = pl.scan_parquet(source, glob=False, hive_partitioning=False)
    names = scan.collect_schema().names()
    wanted = chosen(names)
    # At least one, which knows the number of rows.
    return scan.select([name for name in names if name in wanted] or names[:1]).collect()


def _arrow(source: Path | io.BytesIO) -> pl.DataFrame:
    with (
        io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else source.open("rb") as f
    ):
        is_file = f.read(6) == b"ARROW1"
    return pl.read_ipc(source) if is_file else pl.read_ipc_stream(source)


def _text(source: Path | io.BytesIO, separator: str) -> pl.DataFrame:
    def read(rows: int | None) -> pl.DataFrame:
        if isinstance(source, io.BytesIO):
            source.seek(0)
        return pl.read_csv(
            source,
            separator=separator,
            infer_schema_length=rows,
            try_parse_dates=True,
            glob=False,
        )

    try:
        return read(TYPED_BY)
    except pl.exceptions.ComputeError as error:
        if "could not parse" not in str(error):
            raise
    return read(None)


def _why(path: Path, kind: str, error: BaseException) -> str:
    """Say why a file cannot be read, and what to do."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
    if isinstance(error, pl.exceptions.NoDataError):
        return f'"{path}" is empty; it should begin with a line of column names'
    if isinstance(error, PermissionError):
        return f'"{path}" cannot be read: permission denied'
    if kind in ("csv", "tsv"):
        if "utf-8" in said.lower():
            return f'"{path}" is not UTF-8 text; save it as UTF-8, or name its format'
        if "found more fields" in said:
            said = "a row has more fields than the header"
    return f'"{path}" cannot be read as {TITLES[kind]}: {said}'


def _check_header(path: Path, kind: str, names: list[str]) -> None:
    """Raise where the first line cannot be one of column names, separated as the format says."""
    if any("\0" in name for name in names):
        text = f'"{path}" is not UTF-8 text; save it as UTF-8, or name its format'
        raise InvalidLogError(text)
    for name in names:
        # What polars makes of a name that stands there twice.
        again = re.fullmatch(r"(.*)_duplicated_\d+", name, re.DOTALL)
        if again and again[1] in names:
            text = f'column "{again[1]}" stands in the header of "{path}" twice; rename one'
            raise InvalidLogError(text)
    if len(names) == 1:
        for other in {"csv": ";\t|", "tsv": ";,|"}[kind]:
            if other in names[0]:
                shown = {"\t": "tabs", ",": "commas"}.get(other, f'"{other}"')
                wanted = "commas" if kind == "csv" else "tabs"
                text = f'"{path}" has its columns separated by {shown}, not by {wanted}; '
                text += {"\t": "read it as tsv", ",": "read it as csv"}.get(
                    other, f"save it with {wanted}"
                )
                raise InvalidLogError(text)
