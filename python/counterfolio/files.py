"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterfolio.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    import polars as pl

#: Key of our entry in the metadata of Parquet files.
METADATA_KEY = "counterfolio"


def check_path(path: object) -> Path:
    """Raise unless `path` is one."""
    if not isinstance(path, str | Path):
        text = f"a path is wanted, not {path!r}"
        raise InvalidArgumentError(text)
    return Path(path)


def write_parquet(frame: pl.DataFrame, path: str | Path, metadata: dict[str, Any]) -> None:
    """Write a frame and our metadata to a temporary file beside `path`, then rename it."""
    target = check_path(path)
    if not target.parent.is_dir():
        text = f'the folder "{target.parent}" does not exist; make it first'
        raise InvalidArgumentError(text)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    try:
        frame.write_parquet(name, metadata={METADATA_KEY: json.dumps(metadata)})
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
