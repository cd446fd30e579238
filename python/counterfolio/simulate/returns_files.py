"""Returns of roll-outs as a Parquet file: a row to each episode, settings in the metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.files import METADATA_KEY, check_path, write_parquet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from counterfolio.simulate.returns import OnPolicyValue

#: Key of what is said of the file.
HELD = "on_policy_value"


def write_returns(truth: OnPolicyValue, path: str | Path) -> None:
    """Write returns; see `OnPolicyValue.to_parquet`."""
    policies = list(truth)
    counts = [len(truth[policy]) for policy in policies]
    columns = {
        "policy": pl.Series(np.repeat(np.array(policies, dtype=object), counts), dtype=pl.String),
        "episode": np.concatenate([np.arange(n) for n in counts]),
        "return": np.concatenate([truth.returns[policy] for policy in policies]),
        "length": np.concatenate([truth.lengths[policy] for policy in policies]),
    }
    said = {"policies": policies, "counts": counts, "settings": truth.settings}
    write_parquet(pl.DataFrame(columns), path, {HELD: said})


def read_returns(
    path: str | Path,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.int64]], dict[str, Any]]:
    """Read what `write_returns` wrote: returns, lengths, settings.

    Raises
    ------
    InvalidArgumentError
        If the file is not one of these.
    """
    path = check_path(path)
    try:
        frame = pl.read_parquet(path)
        metadata = json.loads(pl.read_parquet_metadata(path).get(METADATA_KEY, "{}"))
    except (OSError, pl.exceptions.PolarsError) as error:
        text = f'"{path}" cannot be read as Parquet: {error}'
        raise InvalidArgumentError(text) from error
    said = metadata.get(HELD)
    if said is None:
        text = f'"{path}" does not hold an OnPolicyValue; pass a file that to_parquet wrote'
        raise InvalidArgumentError(text)
    ends = np.cumsum(said["counts"])[:-1]
    returns, lengths = (np.split(frame[c].to_numpy(), ends) for c in ("return", "length"))
    return (
        dict(zip(said["policies"], returns, strict=True)),
        dict(zip(said["policies"], lengths, strict=True)),
        said["settings"],
    )
