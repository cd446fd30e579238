"""Plots of results: each takes an `ax` or makes a figure of its own, and returns the Axes.

They need matplotlib, the extra `counterfolio[report]`. `ax.figure.savefig("plot.png")` writes one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.forest import draw_intervals, interval_ends, limits_of
from counterfolio.sources import take
from counterfolio.style import (
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
from counterfolio.text import number, suggest
from counterfolio.verdict import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl
    from matplotlib.axes import Axes

    from counterfolio.evaluation import Evaluation

#: Weights this much below the mean stand with those of 0.
NEXT_TO_NOTHING = 1e-6
#: Horizontal distance between the lines of two rankings.
DODGE = 0.03
#: Numbers on a logarithmic axis as people write them.
PLAIN = "{x:g}"
#: Policies up to which lines have a style of their own; above, verdicts have.
FEW = 6
VERDICT_STYLES: dict[str, dict[str, Any]] = {
    "reliable": {"color": "#9ecae1", "linestyle": "-"},
    "with care": {"color": "#4292c6", "linestyle": (0, (5, 1.5))},
    "do not trust": {"color": "#08306b", "linestyle": (0, (1, 1.2))},
}
STATISTICS = ("best", "worst", "mean", "std", "kth", "safety_violation_rate", "sharpe_ratio")


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
    ax.set_xlabel(f"value, with {evaluation._interval}; dashed: behavior policy, {behavior:.4g}")
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
        f"value less that of {plain(baseline)}, with {evaluation._interval}; filled: excludes 0",
        parse_math=False,
    )
    ax.set_title(label, loc="left", fontsize="medium")
    return ax


def _weighted(evaluation: Evaluation, policy: str | None) -> list[str]:
    """Name the policies to draw whose weights are known."""
    if policy is not None and policy not in evaluation.policies:
        text = f"policy {policy!r} was not evaluated; {suggest(policy, evaluation.policies)}"
        raise InvalidArgumentError(text)
    known = set(evaluation.diagnostics.steps["policy"])
    names = [p for p in evaluation.policies if p in known and policy in (None, p)]
    if not names:
        text = "there are no weights to draw: the direct method (dm) alone uses none"
        raise InvalidArgumentError(text)
    return names


def weights(evaluation: Evaluation, *, policy: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw how the weight of the log is spread over its episodes.

    Parameters
    ----------
    evaluation
        From `counterfolio.evaluate`.
    policy
        Draws one as a histogram. Default: all, each as a strip whose darkness is the share of the
        episodes.
    ax
        Draws here. Default: a figure of its own.

    Notes
    -----
    Of final weights divided by their mean, on a logarithmic scale; weights of 0 stand apart.
    """
    names = _weighted(evaluation, policy)
    table = evaluation.diagnostics.weights
    n = evaluation.settings["n_episodes"]
    logs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for name, left, right, count in zip(*table.get_columns(), strict=True):
        if name in logs and right > NEXT_TO_NOTHING and count:
            ends = math.log10(max(left, NEXT_TO_NOTHING)), math.log10(right)
            logs[name].append((*ends, count / n))
    low = min([-0.5, *(a for rows in logs.values() for a, _, _ in rows)])
    high = max([0.5, *(b for rows in logs.values() for _, b, _ in rows)])
    apart = low - 0.09 * (high - low)  # where weights of 0, or next to it, stand
    width = 0.05 * (high - low)
    single = len(names) == 1
    ax = new_axes(ax, 8, 3.6 if single else 1.4 + 0.27 * len(names))
    for y, name in enumerate(names):
        rest = 1 - sum(share for _, _, share in logs[name])
        spans = [(apart - width / 2, width, rest)] if rest > 0.5 / n else []
        spans += [(a, b - a, share) for a, b, share in logs[name]]
        left, size, share = (np.array(column) for column in zip(*spans, strict=True))
        if single:
            colors = [GREY if x < low else "#3b528b" for x in left]
            ax.bar(left, share, size, align="edge", color=colors, edgecolor="white")
        else:
            shades = [str(0.9 * (1 - x**0.4)) for x in share]
            ax.broken_barh(list(zip(left, size, strict=True)), (y - 0.4, 0.8), facecolors=shades)
    ax.axvline(0.0, color=INK, linestyle=(0, (4, 2)), linewidth=1)
    ticks = list(range(math.ceil(low), math.floor(high) + 1))
    step = max(1, len(ticks) // 8)
    ticks = [t for t in ticks if t % step == 0]
    tiny = any(
        name in logs and 0 < high <= NEXT_TO_NOTHING
        for name, high in zip(table["policy"], table["high"], strict=True)
    )
    least = f"<{NEXT_TO_NOTHING:g}" if tiny else "0"
    ax.set_xticks([apart, *ticks], [least, *(f"{10.0**t:g}" for t in ticks)])
    ax.set_xlim(apart - width, high + 0.02 * (high - low))
    ax.set_xlabel("weight of an episode / mean weight, those of (almost) 0 apart; dashed: the mean")
    if single:
        ax.set_ylabel("share of episodes")
        ax.set_title(plain(names[0]), loc="left", fontsize="medium", parse_math=False)
        grid(ax, "y")
    else:
        name_rows(ax, names)
        ax.set_title("darker: more of the episodes", loc="left", fontsize="medium")
    return ax


def effective_sample_size(
    evaluation: Evaluation, *, policy: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how much of the log speaks about each policy: its ESS as a share of all episodes.

    Parameters
    ----------
    evaluation
        From `counterfolio.evaluate`.
    policy
        Draws this one alone.
    ax
        Draws here. Default: a figure of its own.

    Notes
    -----
    By step, or as one dot to a policy where every episode has one step. The light lines are the
    shares below which the verdict is "with care" and "do not trust".
    """
    names = _weighted(evaluation, policy)
    found = evaluation.diagnostics
    n = evaluation.settings["n_episodes"]
    verdicts = dict(zip(found.table["policy"], found.table["verdict"], strict=True))
    sizes: dict[str, list[float]] = {name: [] for name in names}
    steps_of = zip(found.steps["policy"], found.steps["effective_sample_size"], strict=True)
    for name, size in steps_of:
        if name in sizes:
            sizes[name].append(size / n)
    shares = {name: np.array(found) for name, found in sizes.items()}
    steps = len(shares[names[0]])
    limits = [limit.effective_share for limit in LIMITS.values()]
    least = min(float(s.min()) for s in shares.values())
    log = least < 0.05
    floor = max(least, 1e-6) / 2
    if steps == 1:
        ax = new_axes(ax, 8, 1.4 + 0.27 * len(names))
        for y, name in enumerate(names):
            color = VERDICT_STYLES[verdicts[name]]["color"]
            at = max(float(shares[name][0]), floor)
            ax.plot((floor if log else 0, at), (y, y), color=LIGHT, linewidth=2)
            ax.plot(at, y, "o", color=color, markeredgecolor=INK, markersize=7)
        for limit in limits:
            ax.axvline(limit, color=GREY, linestyle=(0, (1, 2)), linewidth=1)
        name_rows(ax, names)
        grid(ax, "x")
        ax.set_xlabel(f"effective sample size / {n:,} episodes; dotted: limits of the verdict")
        if log:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(PLAIN)
        ax.set_xlim((floor if log else 0), 1.05)
        return ax
    ax = new_axes(ax, 8, 4)
    drawn: set[str] = set()
    for i, name in enumerate(names):
        verdict = verdicts[name]
        if len(names) <= FEW:
            style, label = series_style(i, len(names)), plain(name)
            style |= {"markevery": max(1, steps // 10), "markersize": 5}
        else:
            style, label = VERDICT_STYLES[verdict], "" if verdict in drawn else verdict
        drawn.add(verdict)
        y = np.maximum(shares[name], floor)
        ax.plot(np.arange(steps), y, linewidth=1.6, label=label or None, **style)
    for limit in limits:
        ax.axhline(limit, color=GREY, linestyle=(0, (1, 2)), linewidth=1)
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(PLAIN)
    ax.set_ylim((floor if log else 0), 1.05)
    ax.set_xlabel("step")
    ax.set_ylabel("effective sample size / episodes")
    grid(ax, "y")
    legend(ax)
    return ax


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
