"""Dots with intervals, a row to each: what `estimates` and `differences` draw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


def interval_ends(rows: pl.DataFrame, value: str) -> list[tuple[float, float, float]]:
    """Take lower end, value and upper end of each row."""
    return list(zip(rows["ci_low"], rows[value], rows["ci_high"], strict=True))


def limits_of(ends: list[tuple[float, float, float]], reference: float) -> tuple[float, float]:
    """Choose the range of an axis that most of the rows need; a few far ones may leave it."""
    values = np.array([v for _, v, _ in ends if math.isfinite(v)] or [reference])
    halves = [
        abs(end - value) for low, value, high in ends for end in (low, high) if math.isfinite(end)
    ]
    halves = [h for h in halves if math.isfinite(h)]
    half = float(np.median(halves)) if halves else 0.0
    center = float(np.median(values))
    reach = 12 * max(half, float(np.median(np.abs(values - center))))
    near = values[np.abs(values - center) <= reach] if reach > 0 else values
    shown = [*near, reference]
    low, high = min(shown), max(shown)
    slack = 3 * half or 0.5 * (high - low) or 0.5 * abs(center) or 1.0
    finite = [e for row in ends for e in row if math.isfinite(e)] or [reference]
    low, high = max(low - slack, min(*finite, low)), min(high + slack, max(*finite, high))
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - pad, high + pad


def draw_intervals(
    ax: Axes,
    at: NDArray[Any],
    ends: list[tuple[float, float, float]],
    limits: tuple[float, float],
    filled: Sequence[bool],
    style: dict[str, Any],
    label: str,
) -> None:
    """Draw one row to an interval; what leaves the limits ends in an arrowhead."""
    left, right = limits
    edge = 0.01 * (right - left)
    color = style["color"]
    for y, (low, value, high), full in zip(at, ends, filled, strict=True):
        if not math.isfinite(value) or not left <= value <= right:
            side = right - edge if value > right else left + edge
            if math.isnan(value):
                word = "undefined"
            else:
                word = f"{value:.3g} ▸" if value > right else f"◂ {value:.3g}"
            ax.text(
                side,
                y,
                word,
                ha="right" if value > right else "left",
                va="center",
                color=color,
                fontsize="small",
            )
            continue
        if not math.isnan(low) and not math.isnan(high):
            ends_at = (max(low, left + edge), min(high, right - edge))
            ax.plot(ends_at, (y, y), color=color, linewidth=1.5, solid_capstyle="butt")
            for end, shown, head in ((low, ends_at[0], "<"), (high, ends_at[1], ">")):
                if end != shown:
                    ax.plot(shown, y, marker=head, color=color, markersize=5)
        face = color if full else "white"
        ax.plot(value, y, marker=style["marker"], color=color, markerfacecolor=face, markersize=6)
    ax.plot([], [], color=color, marker=style["marker"], linewidth=1.5, label=label)
