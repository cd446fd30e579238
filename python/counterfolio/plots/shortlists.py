"""Shortlists over k: statistics of the top k, SharpeRatio@k, what is predicted of it, and ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.plots.style import (
    GREY,
    INK,
    LIGHT,
    grid,
    legend,
    name_rows,
    new_axes,
    plain,
    series_style,
)
from counterfolio.text import chance, number, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl
    from matplotlib.axes import Axes

    from counterfolio.evaluation import Evaluation

#: Horizontal distance between the lines of two rankings.
DODGE = 0.03
STATISTICS = ("best", "worst", "mean", "std", "kth", "safety_violation_rate", "sharpe_ratio")


def top_k(
    tables: Mapping[str, pl.DataFrame],
    statistic: str = "best",
    *,
    behavior_value: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a statistic of the top k over k, a line to each ranking.

    Parameters
    ----------
    tables
        Label of a ranking, such as an estimator -> what `counterfolio.top_k` returned for it.
    statistic
        A column of these: best, worst, mean, std, kth, safety_violation_rate, sharpe_ratio.
    behavior_value
        Draws the behavior policy's value as a line.
    ax
        Draws here. Default: a figure of its own.

    Notes
    -----
    Undefined values leave a gap; infinite ones stand at the upper edge, marked with their sign.
    """
    if not tables:
        text = "tables is empty; pass label -> cf.top_k(...)"
        raise InvalidArgumentError(text)
    if statistic not in STATISTICS:
        text = f"unknown statistic {statistic!r}; {suggest(statistic, STATISTICS)}"
        raise InvalidArgumentError(text)
    ax = new_axes(ax, 8, 4)
    curves = {
        label: (table["k"].to_numpy(), table[statistic].cast(float).to_numpy())
        for label, table in tables.items()
    }
    finite = np.concatenate([y[np.isfinite(y)] for _, y in curves.values()])
    reference = [] if behavior_value is None else [behavior_value]
    values = [*finite, *reference] or [0.0]
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    for i, (label, (k, y)) in enumerate(curves.items()):
        style = series_style(i, len(curves))
        shown = np.where(np.isfinite(y), y, np.nan)
        k = k + (i - (len(curves) - 1) / 2) * DODGE  # equal lines stay visible
        ax.plot(k, shown, linewidth=1.6, markersize=6, label=plain(label), **style)
        for at in k[np.isinf(y)]:
            ax.plot(at, high + pad, color=style["color"], marker=style["marker"], markersize=6)
            ax.annotate("∞", (at, high + pad), (0, 5), textcoords="offset points", ha="center")
    if behavior_value is not None:
        ax.axhline(behavior_value, color=GREY, linestyle=(0, (4, 2)), linewidth=1.2)
        note = f"behavior policy, {number(behavior_value)}"
        ax.annotate(note, (1, behavior_value), (0, 3), textcoords="offset points", color=GREY)
    ax.set_ylim(low - pad, high + 2 * pad)
    largest = max(int(k[-1]) for k, _ in curves.values())
    ax.set_xticks(np.arange(1, largest + 1, max(1, -(-largest // 15))))
    ax.set_xlabel("k, the size of the shortlist")
    ax.set_ylabel("SharpeRatio@k" if statistic == "sharpe_ratio" else f"{statistic}@k")
    grid(ax, "y")
    legend(ax)
    return ax


def sharpe_ratio(tables: Mapping[str, pl.DataFrame], *, ax: Axes | None = None) -> Axes:
    """Draw SharpeRatio@k over k, a line to each ranking; see `top_k`."""
    return top_k(tables, "sharpe_ratio", ax=ax)


def ranks(
    evaluation: Evaluation,
    *,
    estimator: str | None = None,
    among: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw where each policy ranks over resampled logs, the leader on top.

    Parameters
    ----------
    evaluation
        From `counterfolio.evaluate` with `n_resamples`.
    estimator
        One of those evaluated. Default: the one that leads the report.
    among
        Names of the policies to rank. Default: all.
    ax
        Draws here. Default: a figure of its own.

    Notes
    -----
    A square is the darker, the more of the resampled logs give the policy that rank; the line below
    spans the interval of its rank at the confidence level. To the right stands the probability of
    being the best.
    """
    label = evaluation._estimator(estimator or evaluation._headline())
    table = evaluation.ranking(label, among=among)
    if "p_best" not in table.columns:
        text = "ranks need replicates; evaluate with n_resamples=1000"
        raise InvalidArgumentError(text)
    count = len(table)
    below = table.select(f"p_top_{k}" for k in range(1, count + 1)).to_numpy()
    at = np.diff(below, axis=1, prepend=0.0)
    draws = evaluation.settings["n_resamples"]
    ax = new_axes(ax, 8, 1.4 + 0.27 * count)
    small: dict[str, Any] = {"fontsize": "small", "color": INK, "annotation_clip": False}
    for y, row in enumerate(at):
        shown = np.flatnonzero(row > 0)
        shades = [str(0.92 - 0.79 * row[i] ** 0.6) for i in shown]
        ax.broken_barh([(i + 0.5, 1.0) for i in shown], (y - 0.42, 0.64), facecolors=shades)
        low, high = table["rank_low"][y], table["rank_high"][y]
        ax.plot((low - 0.4, high + 0.4), (y + 0.36, y + 0.36), color=INK, linewidth=1.6)
        best = chance(table["p_best"][y], draws)
        beside = (count + 0.5, y)
        ax.annotate(best, beside, (8, 0), textcoords="offset points", va="center", **small)
    corner: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points"}
    ax.annotate("P(best)", (1, 1), (8, 6), **corner, **small)
    name_rows(ax, table["policy"].to_list())
    ax.set_xlim(0.5, count + 0.5)
    ax.set_xticks(np.arange(1, count + 1, max(1, -(-count // 15))))
    level = f"{100 * evaluation.settings['confidence_level']:g} %"
    ax.set_xlabel(f"rank over {draws:,} resampled logs; line: {level} interval")
    ax.set_title(f"{label}; darker: more of the logs", loc="left", fontsize="medium")
    return ax


def predictive_sharpe_ratio(
    evaluation: Evaluation,
    *,
    estimator: str | None = None,
    among: Sequence[str] | None = None,
    table: pl.DataFrame | None = None,
    most_k: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw what SharpeRatio@k will turn out to be, over k, beside the ratio of the estimates.

    Parameters
    ----------
    evaluation
        From `counterfolio.evaluate` with `n_resamples`.
    estimator
        One of those evaluated. Default: the one that leads the report.
    among
        Names of the policies to choose from. Default: all.
    table
        What `counterfolio.top_k` returned for the same ranking, where true values are known.
    most_k
        Largest k drawn. Default: the number of policies.
    ax
        Draws here. Default: a figure of its own.

    Notes
    -----
    The band holds nine of ten draws of `PredictiveSharpeRatio`. What is infinite is cut off.
    """
    label = evaluation._estimator(estimator or evaluation._headline())
    count = len(evaluation.ranking(label, among=among))
    count = count if most_k is None else min(count, most_k)
    lists = [evaluation.portfolio(k, label, among=among) for k in range(2, count + 1)]
    found = [x.predictive_sharpe_ratio for x in lists]
    predicted = [x for x in found if x is not None]
    if not predicted or len(predicted) < len(found):
        text = (
            "there is nothing to predict: it takes two policies, and replicates in which all are "
            "defined (evaluate with n_resamples=1000)"
        )
        raise InvalidArgumentError(text)
    k = np.arange(2, count + 1)
    lines: list[tuple[str, list[float]]] = [
        ("of the estimates", [x.sharpe_ratio for x in lists]),
        ("predicted (median)", [x.median for x in predicted]),
    ]
    if table is not None:
        lines.append(("true", table["sharpe_ratio"].to_list()[1:count]))
    low, high = [x.low for x in predicted], [x.high for x in predicted]
    values = np.array([*low, *high, *(x for _, line in lines for x in line)])
    top = 1.15 * float(values[np.isfinite(values)].max(initial=0.0)) or 1.0
    ax = new_axes(ax, 8, 3.6)
    # One k alone would have a band without width.
    at, below, above = (k, low, high) if len(k) > 1 else ([1.95, 2.05], low * 2, high * 2)
    band: dict[str, Any] = {"color": LIGHT, "linewidth": 0, "label": "predicted (5 % to 95 %)"}
    ax.fill_between(at, np.minimum(below, top), np.minimum(above, top), **band)
    for i, (name, line) in enumerate(lines):
        style = series_style(i, len(lines))
        # Larger and hollow below, small and full above: equal lines stay visible.
        style |= {"markersize": 8, "markerfacecolor": "white"} if i == 0 else {"markersize": 4}
        style["markevery"] = max(1, -(-len(k) // 20))
        ax.plot(k, np.minimum(line, top), linewidth=1.6, label=name, **style)
    ax.set_ylim(0, top)
    beside = max(0.4, 0.02 * count) if len(k) > 1 else 1.0
    ax.set_xlim(2 - beside, count + beside)
    ax.set_xticks(k[:: max(1, -(-len(k) // 15))])
    ax.set_xlabel("k, the size of the shortlist")
    ax.set_ylabel("SharpeRatio@k")
    ax.set_title(label, loc="left", fontsize="medium")
    grid(ax, "y")
    legend(ax)
    return ax
