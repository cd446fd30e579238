"""How plots look: series that differ in grey too, names taken literally, axes without clutter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.exceptions import MissingExtraError
from counterfolio.text import cut

try:
    from matplotlib import colormaps
    from matplotlib.figure import Figure
except ImportError as error:
    text = 'plots need matplotlib; pip install "counterfolio[report]"'
    raise MissingExtraError(text) from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

INK, GREY, LIGHT = "#222222", "#777777", "#d9d9d9"
#: One to a series, so that they differ without colour.
MARKERS = "osD^vPX"
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
#: Widest name on an axis.
NAME_WIDTH = 28


def series_style(i: int, n: int) -> dict[str, Any]:
    """Colour, marker and dash of series `i` of `n`; the luminance grows with `i`."""
    shade = colormaps["viridis"](0.8 * i / max(n - 1, 1))
    return {
        "color": shade,
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": DASHES[i % len(DASHES)],
    }


def plain(name: str, width: int = NAME_WIDTH) -> str:
    """Shorten a name and take control characters out of it."""
    return cut(" ".join(name.split()) or " ", width)


def short(names: Sequence[str]) -> list[str]:
    """Shorten names that stand together: what all begin and end with gives way to what differs."""
    shown = [plain(name) for name in names]
    if len(set(shown)) == len(shown):
        return shown
    clean = [" ".join(name.split()) for name in names]
    head = _alike(clean)
    tail = _alike([name[head:][::-1] for name in clean])
    middles = [name[head : len(name) - tail] for name in clean]
    room = max(NAME_WIDTH - 2 - max(map(len, middles)), 2)
    first = clean[0][: min(head, room // 2)]
    end = clean[0][len(clean[0]) - min(tail, room - len(first)) :]
    dots = ("…" if head > len(first) else "", "…" if tail > len(end) else "")
    return [plain(f"{first}{dots[0]}{middle}{dots[1]}{end}") for middle in middles]


def _alike(names: Sequence[str]) -> int:
    """Count the signs with which all begin."""
    first, last = min(names), max(names)
    return next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Give `ax`, or the axes of a figure of its own, with lines only where they are read."""
    if ax is None:
        found: Any = Figure(figsize=(width, height), layout="constrained").subplots()
        ax = found
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(color=GREY, labelcolor=INK)
    ax.set_axisbelow(True)
    return ax


def grid(ax: Axes, axis: str) -> None:
    """Draw light lines across the axis on which values are read."""
    ax.grid(axis=axis, color=LIGHT, linewidth=0.7)  # type: ignore[arg-type]


def name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Name the rows of a plot from top to bottom."""
    ax.set_yticks(np.arange(len(names)), short(names), parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def legend(ax: Axes, **options: Any) -> None:
    """List the series beside the axes."""
    beside = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False}
    for entry in ax.legend(**{**beside, **options}).get_texts():
        entry.set_parse_math(False)
