"""Returns of roll-outs: how they are spread, and how well their means are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.plots.style import GREY, INK, LIGHT, grid, name_rows, new_axes
from counterfolio.policies import BEHAVIOR
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from counterfolio.simulate import OnPolicyValue


def returns(
    truth: OnPolicyValue, *, among: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw what episodes returned under each policy, the highest mean on top.

    Parameters
    ----------
    truth
        From `counterfolio.on_policy_value`.
    among
        Names of the policies. Default: all.
    ax
        Draws here. Default: a figure of its own, which grows with the number of policies.

    Notes
    -----
    The dot is the mean, with its interval; the band holds the middle half of the episodes and the
    line the middle 90 %; the tick is the median. Where "behavior" was rolled out too, its
    mean is the dashed line.
    """
    names = list(truth) if among is None else list(among)
    if unknown := [name for name in names if name not in truth]:
        text = f"among: policy {unknown[0]!r} was not rolled out; {suggest(unknown[0], truth)}"
        raise InvalidArgumentError(text)
    rows = {row["policy"]: row for row in truth.table.iter_rows(named=True)}
    names = sorted(names, key=lambda name: -rows[name]["value"])
    ax = new_axes(ax, 8, 1.3 + 0.36 * len(names))
    for y, name in enumerate(names):
        quantiles = np.quantile(truth[name], (0.05, 0.25, 0.5, 0.75, 0.95), method="inverted_cdf")
        low, lower, median, upper, high = quantiles.tolist()
        ax.plot((low, high), (y, y), color=GREY, linewidth=1.2, zorder=1)
        ax.barh(y, upper - lower, left=lower, height=0.55, color=LIGHT, zorder=2)
        ax.plot((median, median), (y - 0.27, y + 0.27), color=GREY, linewidth=2, zorder=3)
        own = rows[name]
        ends = (own["ci_low"], own["ci_high"])
        ax.plot(ends, (y, y), color=INK, linewidth=2.5, solid_capstyle="butt", zorder=4)
        ax.plot(own["value"], y, marker="o", color=INK, markersize=5, zorder=5)
    if BEHAVIOR in rows:
        value = rows[BEHAVIOR]["value"]
        ax.axvline(value, color=GREY, linestyle=(0, (4, 2)), linewidth=1.2, zorder=0)
    name_rows(ax, names)
    grid(ax, "x")
    # A bar would else end where the axes do.
    ax.use_sticky_edges = False
    ax.autoscale_view()
    level = f"{100 * truth.settings['confidence_level']:g} %"
    dashed = f"; dashed: behavior policy, {rows[BEHAVIOR]['value']:.4g}" if BEHAVIOR in rows else ""
    ax.set_xlabel(f"return of an episode{dashed}")
    ax.set_title(
        f"mean with {level} interval; band: middle 50 % of episodes, line: middle 90 %",
        loc="left",
        fontsize="medium",
    )
    return ax
