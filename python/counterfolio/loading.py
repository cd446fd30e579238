"""`read_parquet`: a log from files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Unpack

import polars as pl

from counterfolio.files import METADATA_KEY, check_path
from counterfolio.log import LoggedData, rebuild
from counterfolio.reading import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from counterfolio.roles import Roles


def read_parquet(source: str | Path, **roles: Unpack[Roles]) -> LoggedData:
    """Read a log from Parquet into memory.

    Parameters
    ----------
    source
        A file, a folder (Hive partitions become columns) or a glob; files are read in the order of
        their names. Every column is read, so that policies can be named afterwards.
    **roles
        As in `LoggedData.from_frame`. A file that `LoggedData.to_parquet` wrote needs none.

    Raises
    ------
    InvalidLogError
        If there is no such file, if it is no Parquet, if files differ in their columns, or as
        `LoggedData.from_frame` does.
    """
    path = check_path(source)
    frame = read_table(path, "parquet")
    if roles or not path.is_file():
        return LoggedData.from_frame(frame, **roles)
    written = json.loads(pl.read_parquet_metadata(path).get(METADATA_KEY, "{}"))
    if "propensity_source" not in written:
        return LoggedData.from_frame(frame)
    estimated = written.pop("propensity_model", None)
    return rebuild(frame, written, written.pop("propensity_source"), estimated)
