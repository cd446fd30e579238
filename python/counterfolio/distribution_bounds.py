"""Bounds of statistics by the band of F, and the range of returns that some of them need."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.episodes import first_rows
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.return_statistics import STATISTICS, at_levels
from counterfolio.text import plural
from counterfolio.uncertainty import check_range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from counterfolio.distribution import Distribution


def bounds(
    distribution: Distribution, alpha: Sequence[float], value_range: tuple[float, float] | None
) -> pl.DataFrame:
    """Bound statistics by the band; see `Distribution.bounds`."""
    s = distribution.settings
    if s["pointwise"] or not s["n_resamples"]:
        text = (
            "bounds need a band that holds for all x together: evaluate with n_resamples=1000 "
            "and without pointwise"
        )
        raise InvalidArgumentError(text)
    limits = s["value_range"]
    if value_range is not None:
        limits = check_limits(distribution, check_range("value_range", value_range))
    low, high = limits or (-math.inf, math.inf)
    asked = at_levels(alpha, [name for name in STATISTICS if name != "variance"])
    ends: tuple[list[float], list[float]] = ([], [])
    for i, half in enumerate(distribution._half_widths):
        x, f = distribution._core.curve(i)
        found: Any = (np.full(len(asked), np.nan),) * 2
        if not np.isnan(half) and not np.isnan(f).any():
            floor, ceiling = distribution._band(i, f)
            left = min(float(half), 1.0)
            found = _core.band_bounds(x, floor, ceiling, left, (low, high), asked)
        for end, own in zip(ends, found, strict=True):
            end.extend(own.tolist())
    columns = {**distribution._labels(asked), "low": ends[0], "high": ends[1]}
    return pl.DataFrame(columns, schema_overrides={"alpha": pl.Float64})


def check_limits(distribution: Distribution, limits: tuple[float, float]) -> tuple[float, float]:
    """Take a range of returns.

    Raises
    ------
    InvalidArgumentError
        If a return, or a model's value of a first state, lies outside.
    """
    low, high = limits
    returned = distribution._core.returned()
    outside = (returned < low) | (returned > high)
    if outside.any():
        episode = int(outside.argmax())
        row = int(first_rows(distribution._task.log._episodes)[episode])
        text = (
            f"value_range: returns outside [{low:g}, {high:g}]: {int(outside.sum()):,} of "
            f"{plural(len(returned), 'episode')}, first the one that begins at row {row} "
            f"({returned[episode]:.6g}); a bound has to hold for every return that could occur"
        )
        raise InvalidArgumentError(text)
    for i, (policy, _) in enumerate(distribution.curves):
        x, _ = distribution._core.curve(i)
        if x[0] < low or x[-1] > high:
            text = (
                f'value_range: policy "{policy}": v of first states goes from {x[0]:.6g} to '
                f"{x[-1]:.6g}, outside [{low:g}, {high:g}]; cut v to what a return can be, or "
                "use cd_sntis, which does not read it"
            )
            raise InvalidArgumentError(text)
    return limits
