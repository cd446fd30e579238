"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from counterfolio.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Key of our entry in the metadata of Parquet files.
METADATA_KEY = "counterfolio"


def check_path(path: object) -> Path:
    """Raise unless `path` is one."""
    if not isinstance(path, str | Path):
        text = f"a path is wanted, not {path!r}"
        raise InvalidArgumentError(text)
    return Path(path)


def check_folder(path: Path) -> None:
    """Raise unless a file can be made there, or what is there can be written to."""
    if not path.parent.is_dir():
        text = f'the folder "{path.parent}" does not exist; make it first'
        raise InvalidArgumentError(text)
    if path.is_dir():
        text = f'"{path}" is a folder; name a file in it'
        raise InvalidArgumentError(text)
    target = path if _is_special(path) else path.resolve().parent
    if not os.access(target, os.W_OK):
        text = f'"{target}" may not be written to; choose another place for "{path.name}"'
        raise InvalidArgumentError(text)


def _is_special(path: Path) -> bool:
    """Whether it is there and no file: a device or a pipe, to be written to as it is."""
    return path.exists() and not path.is_file()


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it.

    A link stays one: the file that it names is replaced. A device or a pipe is written to.
    """
    given = check_path(path)
    check_folder(given)
    if _is_special(given):
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "part"
            write(part)
            given.write_bytes(part.read_bytes())
        return
    target = given.resolve()
    part = target.parent / f".counterfolio.{secrets.token_hex(8)}.part"
    part.open("xb").close()  # with the rights that a new file has here
    mode = stat.S_IMODE((target if target.exists() else part).stat().st_mode)
    try:
        write(part)
        part.chmod(mode)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_parquet(
    frame: pl.DataFrame | pl.LazyFrame, path: str | Path, metadata: dict[str, Any]
) -> None:
    """Write a frame with our metadata; a lazy one as it comes, in little memory."""
    written = {METADATA_KEY: json.dumps(metadata)}

    def write(part: Path) -> None:
        if isinstance(frame, pl.LazyFrame):
            frame.sink_parquet(part, metadata=written)
        else:
            frame.write_parquet(part, metadata=written)

    write_whole(path, write)


def write_text(text: str, path: str | Path) -> None:
    """Write a text as UTF-8."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
