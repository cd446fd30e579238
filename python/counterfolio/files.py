"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterfolio.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

#: Key of our entry in the metadata of Parquet files.
METADATA_KEY = "counterfolio"


def check_path(path: object) -> Path:
    """Raise unless `path` is one."""
    if not isinstance(path, str | Path):
        text = f"a path is wanted, not {path!r}"
        raise InvalidArgumentError(text)
    return Path(path)


def check_folder(path: Path) -> None:
    """Raise unless the folder of `path` exists."""
    if not path.parent.is_dir():
        text = f'the folder "{path.parent}" does not exist; make it first'
        raise InvalidArgumentError(text)


def write_whole(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it."""
    target = check_path(path)
    check_folder(target)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        part.chmod(0o644)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_parquet(frame: pl.DataFrame, path: str | Path, metadata: dict[str, Any]) -> None:
    """Write a frame with our metadata."""
    written = {METADATA_KEY: json.dumps(metadata)}
    write_whole(path, lambda part: frame.write_parquet(part, metadata=written))


def write_text(text: str, path: str | Path) -> None:
    """Write a text as UTF-8."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
