"""Tables from paths: Parquet, CSV and Arrow IPC; a file, a folder or a glob."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import polars as pl

from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.formats import FORMATS, TITLES, format_of, read_file, type_name
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from counterfolio.formats import Choose

#: What Hive writes for a partition of missing values.
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
NUMBER_PATTERNS = {pl.Int64: r"[+-]?\d{1,18}", pl.Float64: r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"}


@dataclass(frozen=True)
class Source:
    """The files that a path names, found but not read.

    Attributes
    ----------
    given : str
        The path, folder or glob as it was given.
    root : pathlib.Path
        Folder below which "key=value" folders are Hive partitions.
    files : tuple of pathlib.Path
        In the order of their names.
    format : str
        One of `FORMATS`.
    """

    given: str
    root: Path
    files: tuple[Path, ...]
    format: str

    def read(self, choose: Choose | None = None) -> pl.DataFrame:
        """Read all files into one frame; the folders of Hive partitions become columns.

        Integers and floats may be of different width in different files; the wider type is taken.

        Parameters
        ----------
        choose
            Takes the names of all columns, returns those to read. Default: all.

        Raises
        ------
        InvalidLogError
            If a file cannot be read, or its columns differ from those of the first.
        """
        partitions = self._partitions()
        frames: list[pl.DataFrame] = []
        for i, path in enumerate(self.files):
            labels = {name: values[i : i + 1] for name, values in partitions.items()}
            frames.append(read_file(path, self.format, labels, choose))
            if i == 0 and choose is not None:
                # The same of the others; what one of them lacks is said below, by name.
                choose = _always(frames[0].columns)
        if len(frames) == 1:
            return frames[0]
        return pl.concat(self._aligned(frames), how="vertical_relaxed", rechunk=False)

    def _partitions(self) -> dict[str, pl.Series]:
        """Values of the "key=value" folders, one to a file."""
        found = [_labels(path, self.root) for path in self.files]
        for path, labels in zip(self.files, found, strict=True):
            if differing := set(found[0]) ^ set(labels):
                text = (
                    f'of "{self.files[0]}" and "{path}" only one lies in a folder '
                    f'"{min(differing)}=..."; read them apart'
                )
                raise InvalidLogError(text)
        return {key: _typed(key, [labels[key] for labels in found]) for key in found[0]}

    def _aligned(self, frames: list[pl.DataFrame]) -> list[pl.DataFrame]:
        """Bring the frames to the columns of the first, in its order."""
        first = frames[0]
        is_text = self.format in ("csv", "tsv")
        aligned = [first]
        for path, frame in zip(self.files[1:], frames[1:], strict=True):
            for name in [*first.columns, *frame.columns]:
                if name not in first.columns or name not in frame.columns:
                    have, lack = self.files[0], path
                    if name not in first.columns:
                        have, lack = lack, have
                    text = (
                        f'column "{name}" is in "{have}" but not in "{lack}"; give all files '
                        "the same columns, or read them apart"
                    )
                    raise InvalidLogError(text)
            for name in first.columns:
                one, other = first[name], frame[name]
                if one.dtype == other.dtype or _widens(one.dtype, other.dtype):
                    continue
                # An empty column of a CSV file has no type of its own.
                if is_text and other.null_count() == len(other):
                    frame = frame.with_columns(other.cast(one.dtype))
                elif is_text and one.null_count() == len(one):
                    first = first.with_columns(one.cast(other.dtype))
                    aligned = [f.with_columns(f[name].cast(other.dtype)) for f in aligned]
                else:
                    text = (
                        f'column "{name}" holds {type_name(one.dtype)} in "{self.files[0]}" but '
                        f'{type_name(other.dtype)} in "{path}"; give it one type in all files'
                    )
                    raise InvalidLogError(text)
            aligned.append(frame.select(first.columns))
        return aligned


def _always(names: list[str]) -> Choose:
    return lambda _: names


def find(source: str | os.PathLike[str], input_format: str | None = None) -> Source:
    """Find the files that a path names.

    Parameters
    ----------
    source
        A file, a folder or a glob. Of a folder every file of its format is taken, however deep;
        names that begin with "." or "_" are passed over.
    input_format
        "parquet", "csv", "tsv" or "arrow". Default: by the ending of the names.

    Raises
    ------
    InvalidLogError
        If nothing is there, or the format cannot be told.
    InvalidArgumentError
        If there is no such format.
    """
    if input_format is not None and input_format not in FORMATS:
        text = f'unknown input format "{input_format}"; {suggest(input_format, FORMATS)}'
        raise InvalidArgumentError(text)
    given = os.fspath(source)
    path = Path(given)
    if path.is_dir():
        files, root = _inside(path, input_format), path
    elif path.exists():
        files, root = [path], path.parent
    elif glob.has_magic(given):
        files, root = _matching(given, input_format), _fixed_part(path)
    else:
        text = f'no such file: "{given}"; {_near(path)}'
        raise InvalidLogError(text)
    return Source(given, root, tuple(files), input_format or _one_format(given, files))


def read_table(source: str | os.PathLike[str], input_format: str | None = None) -> pl.DataFrame:
    """Read a table from a file, a folder or a glob: `find`, then `Source.read`."""
    return find(source, input_format).read()


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _inside(folder: Path, input_format: str | None) -> list[Path]:
    """List the files of a folder that are tables, however deep."""

    def refuse(error: OSError) -> None:
        text = f'the folder "{error.filename}" cannot be read: {error.strerror}'
        raise InvalidLogError(text) from error

    walked = os.walk(folder, onerror=refuse, followlinks=True)
    found = (Path(place) / name for place, _, names in walked for name in names)
    inside = [p for p in found if p.is_file() and not _is_hidden(p, folder)]
    files = sorted(p for p in inside if (format_of(p) == input_format) or not input_format)
    if input_format is None:
        files = [p for p in files if format_of(p) is not None]
    # Names without an ending are taken at their word when the format was named.
    files = files or sorted(p for p in inside if input_format and not p.suffix)
    if not files:
        wanted = f"{TITLES[input_format]} file" if input_format else "table"
        endings = FORMATS[input_format] if input_format else [e[0] for e in FORMATS.values()]
        text = f'no {wanted} in the folder "{folder}"; it should hold {", ".join(endings)}'
        raise InvalidLogError(text)
    return files


def _matching(pattern: str, input_format: str | None) -> list[Path]:
    """List the files that a glob matches; a folder stands for its files."""
    folder = _fixed_part(Path(pattern))
    found: set[Path] = set()
    try:
        matches = list(folder.glob(str(Path(pattern).relative_to(folder))))
    except ValueError as error:
        text = f'"{pattern}" is no glob: {error}'
        raise InvalidLogError(text) from error
    for path in matches:
        if not _is_hidden(path, folder):
            found.update(_inside(path, input_format) if path.is_dir() else [path])
    if not found:
        there = "" if folder.is_dir() else f'; there is no folder "{folder}"'
        text = f'nothing matches "{pattern}"{there}'
        raise InvalidLogError(text)
    return sorted(found)


def _fixed_part(pattern: Path) -> Path:
    """Take the folders of a glob up to the first wildcard."""
    parts = pattern.parts
    fixed = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:fixed])


def _one_format(given: str, files: Sequence[Path]) -> str:
    """Tell the format that all the files have."""
    seen: dict[str, Path] = {}
    for path in files:
        kind = format_of(path)
        if kind is None:
            text = (
                f'the format of "{path}" cannot be told from its name; name the input format: '
                + ", ".join(FORMATS)
            )
            raise InvalidLogError(text)
        seen.setdefault(kind, path)
    if len(seen) > 1:
        kinds = " and ".join(f'{kind} ("{path.name}")' for kind, path in seen.items())
        text = f'"{given}" holds {kinds}; name the input format to choose one'
        raise InvalidLogError(text)
    return next(iter(seen))


def _near(path: Path) -> str:
    """Say what is there instead of a file that is not."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        path, folder = folder, folder.parent
    try:
        names = sorted(
            p.name
            for p in folder.iterdir()
            if not p.name.startswith(".") and (p.is_dir() or format_of(p) is not None)
        )
    except OSError:
        names = []
    where = "this folder" if str(folder) == "." else f'"{folder}"'
    said = suggest(path.name, names)
    if said.startswith("did you mean"):
        return said
    return f"{where} has " + (said.removeprefix("there is ") if names else "no tables")


def _labels(path: Path, root: Path) -> dict[str, str | None]:
    """Keys and values of the "key=value" folders between the root and a file."""
    pairs = (part.partition("=") for part in path.relative_to(root).parts[:-1] if "=" in part)
    return {
        unquote(key): None if value == HIVE_NULL else unquote(value)
        for key, _, value in pairs
        if key
    }


def _typed(name: str, labels: list[str | None]) -> pl.Series:
    """Partition values as integers, numbers, dates or text: the first that all of them are."""
    series = pl.Series(name, labels, dtype=pl.String)
    known = [label for label in labels if label is not None]
    for dtype, pattern in NUMBER_PATTERNS.items():
        if known and all(re.fullmatch(pattern, label) for label in known):
            return series.cast(dtype)
    if known and all(re.fullmatch(r"\d{4}-\d\d-\d\d", label) for label in known):
        dates = series.str.to_date(strict=False)
        return dates if dates.null_count() == series.null_count() else series
    return series


def _widens(one: pl.DataType, other: pl.DataType) -> bool:
    """Whether two types are numbers that have a common type without loss of integers."""
    if not (one.is_numeric() and other.is_numeric()) or one.is_decimal() or other.is_decimal():
        return False
    empty = [pl.DataFrame({"x": pl.Series([], dtype=dtype)}) for dtype in (one, other)]
    common = pl.concat(empty, how="vertical_relaxed").schema["x"]
    if one.is_integer() and other.is_integer():
        return common.is_integer() and common not in (pl.Int128, pl.UInt128)
    return common.is_float()
