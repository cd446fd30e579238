"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

#: Key of our entry in the metadata of Parquet files.
METADATA_KEY = "counterfolio"


def write_parquet(frame: pl.DataFrame, path: str | Path, metadata: dict[str, Any]) -> None:
    """Write a frame and our metadata to a temporary file beside `path`, then rename it."""
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    try:
        frame.write_parquet(name, metadata={METADATA_KEY: json.dumps(metadata)})
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
