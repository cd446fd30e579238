"""An evaluation as a Parquet file: the estimates, with all else in the metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.diagnostics import Diagnostics
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.files import METADATA_KEY, check_path, write_parquet
from counterfolio.validation import LogReport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from counterfolio.evaluation import Evaluation

#: Column that holds the replicates, a list to a row.
REPLICATES = "replicates"
#: Column and entry that name the log, where it is one of several.
DATASET = "dataset"
#: What is computed from the log when it is asked for.
COMPUTED = ("diagnostics", "log_report")


def write_evaluation(
    evaluation: Evaluation, path: str | Path, among: Mapping[str, Any] | None = None
) -> None:
    """Write an evaluation; see `Evaluation.to_parquet`.

    Parameters
    ----------
    among
        Further entries of the metadata where it is one of several, "dataset" among them. It may
        then be one without diagnostics and log.
    """
    accelerations = evaluation.accelerations
    computed: tuple[str, ...] = COMPUTED
    if among is not None and evaluation._source is None:
        computed = tuple(what for what in COMPUTED if what in vars(evaluation))
    metadata: dict[str, Any] = {
        "settings": evaluation.settings,
        "variances": evaluation.variances.tolist(),
        "accelerations": None if accelerations is None else accelerations.tolist(),
        **dict.fromkeys(COMPUTED),
        **{what: getattr(evaluation, what).to_dict() for what in computed},
    }
    frame, drawn = evaluation.estimates, evaluation.replicates
    if drawn is not None and evaluation.behavior_replicates is not None:
        rows = [*drawn.reshape(len(drawn), -1).T, evaluation.behavior_replicates]
        frame = frame.with_columns(pl.Series(REPLICATES, rows, pl.List(pl.Float64)))
    if among is not None:
        names = pl.Series(DATASET, [among[DATASET]] * len(frame), pl.String)
        frame = frame.clone().insert_column(0, names)
        metadata |= among
    write_parquet(frame, path, metadata)


def read_metadata(path: Path) -> dict[str, Any]:
    """Read our entry of a Parquet file's metadata, and nothing else.

    Raises
    ------
    InvalidArgumentError
        If it does not hold an evaluation.
    """
    try:
        metadata: dict[str, Any] = json.loads(
            pl.read_parquet_metadata(path).get(METADATA_KEY, "{}")
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        text = f'"{path}" cannot be read as Parquet: {error}'
        raise InvalidArgumentError(text) from error
    if "log_report" not in metadata:
        text = f'"{path}" does not hold an Evaluation; pass a file that to_parquet wrote'
        raise InvalidArgumentError(text)
    return metadata


def read_evaluation(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `write_evaluation` wrote.

    Returns
    -------
    What an `Evaluation` holds, by name, and what was computed for the file.

    Raises
    ------
    InvalidArgumentError
        If the file is not one of these.
    """
    path = check_path(path)
    metadata = read_metadata(path)
    try:
        frame = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        text = f'"{path}" cannot be read as Parquet: {error}'
        raise InvalidArgumentError(text) from error
    if DATASET in metadata:
        frame = frame.drop(DATASET)
    settings, accelerations = metadata["settings"], metadata["accelerations"]
    replicates = behavior = None
    if REPLICATES in frame.columns:
        replicates, behavior = _replicates(frame[REPLICATES], settings)
        frame = frame.drop(REPLICATES)
    held = {
        "estimates": frame,
        "settings": settings,
        "variances": np.array(metadata["variances"], dtype=np.float64),
        "replicates": replicates,
        "behavior_replicates": behavior,
        "accelerations": None
        if accelerations is None
        else np.array(accelerations, dtype=np.float64),
    }
    kinds: dict[str, Any] = dict(zip(COMPUTED, (Diagnostics, LogReport), strict=True))
    computed = {
        what: kind.from_dict(metadata[what])
        for what, kind in kinds.items()
        if metadata[what] is not None
    }
    return held, computed


def _replicates(
    written: pl.Series, settings: dict[str, Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take the replicates of the policies and of the behavior policy, whose row is the last."""
    drawn = written.explode().to_numpy().reshape(len(written), -1).T
    shape = (len(settings["policies"]), len(settings["estimators"]))
    return drawn[:, :-1].reshape(len(drawn), *shape), drawn[:, -1].copy()
