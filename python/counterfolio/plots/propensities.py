"""Estimated propensities: whether what was predicted happened as often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.models import Propensities
from counterfolio.plots.style import GREY, grid, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from counterfolio.evaluation import Evaluation

COLOR = "#3b528b"
#: Standard errors that a bar is long, to either side.
BAR = 2.0


def reliability(evaluation: Evaluation | Propensities, *, ax: Axes | None = None) -> Axes:
    """Draw how often actions were taken, over how likely they were said to be.

    Parameters
    ----------
    evaluation
        From `counterfolio.evaluate`, of a log whose propensities a `PropensityModel` estimated; or
        the `Propensities` themselves.
    ax
        Draws here. Default: a figure of its own.

    Raises
    ------
    InvalidArgumentError
        If the propensities were logged, or came as an array.

    Notes
    -----
    One dot to a bin of the predictions, over all pairs of a row and an action; of continuous
    actions one to a central interval. The bars are two standard errors to either side, if the
    predictions are right.
    """
    summary: Any
    if isinstance(evaluation, Propensities):
        summary = evaluation.summary()
    elif (summary := evaluation.settings.get("propensity_model")) is None:
        text = (
            "there is no reliability to draw: propensities were not estimated by a PropensityModel "
            "that log.with_propensity was given"
        )
        raise InvalidArgumentError(text)
    predicted, observed, n = np.array(summary["reliability"], dtype=np.float64).T
    continuous = summary["kolmogorov_smirnov"] is not None
    if continuous:
        n = np.full(len(n), summary["n_rows"])
    error = BAR * np.sqrt(predicted * (1 - predicted) / n)
    top = min(1.0, 1.08 * max(predicted.max(), (observed + error).max()))
    ax = new_axes(ax, 4.8, 4.2)
    ax.plot((0, top), (0, top), color=GREY, linestyle=(0, (4, 2)), linewidth=1)
    ax.errorbar(
        predicted,
        observed,
        yerr=error,
        fmt="o",
        color=COLOR,
        markersize=6,
        elinewidth=1.4,
        clip_on=False,
        zorder=3,
    )
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)
    ax.set_aspect("equal")
    if continuous:
        ax.set_xlabel("nominal coverage of a central interval")
        ax.set_ylabel("share of actions within")
    else:
        ax.set_xlabel("predicted probability of an action")
        ax.set_ylabel("how often it was taken")
    high, low = ("more within", "fewer within") if continuous else ("more often", "less often")
    for x, y, side, said in ((0.03, 0.97, "left", high), (0.97, 0.03, "right", low)):
        ax.text(
            x,
            y,
            f"{said} than predicted",
            transform=ax.transAxes,
            ha=side,
            va="top" if y > 0.5 else "bottom",
            color=GREY,
            fontsize="small",
        )
    ax.set_title("on the dashed line: calibrated", loc="left", fontsize="medium")
    grid(ax, "both")
    return ax
