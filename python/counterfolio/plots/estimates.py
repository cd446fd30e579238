"""Estimates and differences, with intervals, a row to each policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from counterfolio.display import difference_interval_name, interval_name
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.plots.forest import draw_intervals, interval_ends, limits_of
from counterfolio.plots.style import (
    GREY,
    INK,
    grid,
    legend,
    name_rows,
    new_axes,
    plain,
    series_style,
)
from counterfolio.sources import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from counterfolio.evaluation import Evaluation


def estimates(
    evaluation: Evaluation, *, estimator: str | Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw what each policy would have earned, with intervals, the highest on top.

    Parameters
    ----------
    evaluation
        From `counterfolio.evaluate`.
    estimator
        One or several of those evaluated; the first sorts. Default: all, the report's own first.
    ax
        Draws here. Default: a figure of its own, which grows with the number of policies.

    Notes
    -----
    Intervals and values that lie far outside the rest are cut with an arrowhead; undefined and
    infinite ones are named. The dashed line is the behavior policy's own mean return.
    """
    given = [estimator] if isinstance(estimator, str) else estimator
    lead = evaluation._headline()
    labels = [evaluation._estimator(e) for e in given or ()] or sorted(
        evaluation.estimators, key=lambda e: e != lead
    )
    first = evaluation.rows(labels[0])["value"].to_numpy()
    order = np.argsort(-np.where(np.isnan(first), -np.inf, first), kind="stable")
    rows = [take(evaluation.rows(label), order) for label in labels]
    ax = new_axes(ax, 8, 1.3 + len(order) * max(0.27, 0.12 * len(labels) + 0.1))
    names = [evaluation.policies[i] for i in order]
    behavior = evaluation.behavior_value
    limits = limits_of([*(x for r in rows for x in interval_ends(r, "value"))], behavior)
    for i, (label, row) in enumerate(zip(labels, rows, strict=True)):
        at = np.arange(len(order)) + (i - (len(labels) - 1) / 2) * 0.75 / len(labels)
        style = series_style(i, len(labels)) if len(labels) > 1 else {"color": INK, "marker": "o"}
        style.pop("linestyle", None)
        draw_intervals(ax, at, interval_ends(row, "value"), limits, [True] * len(at), style, label)
    ax.axvline(behavior, color=GREY, linestyle=(0, (4, 2)), linewidth=1.2, zorder=0)
    ax.set_xlim(limits)
    name_rows(ax, names)
    grid(ax, "x")
    interval = interval_name(evaluation.settings)
    ax.set_xlabel(f"value, with {interval}; dashed: behavior policy, {behavior:.4g}")
    if len(labels) > 1:
        legend(ax)
    else:
        ax.set_title(labels[0], loc="left", fontsize="medium")
    return ax


def differences(
    evaluation: Evaluation,
    baseline: str = "behavior",
    *,
    estimator: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how much better each policy is than a baseline, on the same episodes.

    Parameters
    ----------
    evaluation
        From `counterfolio.evaluate`.
    baseline
        Name of a policy; "behavior" is the logged one.
    estimator
        One of those evaluated. Default: the one that leads the report.
    ax
        Draws here. Default: a figure of its own.

    Notes
    -----
    Filled where the two-sided interval excludes 0, hollow where the two cannot be told apart.
    """
    label = evaluation._estimator(estimator or evaluation._headline())
    rows = evaluation.compare(None, baseline, label)
    if len(rows) == 0:
        text = f'there is no policy but "{baseline}" to compare'
        raise InvalidArgumentError(text)
    value = rows["difference"].to_numpy()
    rows = take(rows, np.argsort(-np.where(np.isnan(value), -np.inf, value), kind="stable"))
    ax = new_axes(ax, 8, 1.3 + 0.27 * len(rows))
    ends = interval_ends(rows, "difference")
    limits = limits_of(ends, 0.0)
    apart = [conclusion in ("better", "worse") for conclusion in rows["conclusion"]]
    style = {"color": INK, "marker": "o"}
    draw_intervals(ax, np.arange(len(rows)), ends, limits, apart, style, label)
    ax.axvline(0.0, color=GREY, linewidth=1.2, zorder=0)
    ax.set_xlim(limits)
    name_rows(ax, rows["policy"].to_list())
    grid(ax, "x")
    ax.set_xlabel(
        f"value less that of {plain(baseline)}, with "
        f"{difference_interval_name(evaluation.settings)}; filled: excludes 0",
        parse_math=False,
    )
    ax.set_title(label, loc="left", fontsize="medium")
    return ax
