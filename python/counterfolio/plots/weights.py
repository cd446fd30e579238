"""Weights: how they are spread over episodes, and how many episodes they leave."""

from __future__ import annotations

import math
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
    short,
)
from counterfolio.text import suggest
from counterfolio.verdict import LIMITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from counterfolio.evaluation import Evaluation

#: Weights this much below the mean stand with those of 0.
NEXT_TO_NOTHING = 1e-6
#: Numbers on a logarithmic axis as people write them.
PLAIN = "{x:g}"
#: Policies up to which lines have a style of their own; above, verdicts have.
FEW = 6
VERDICT_STYLES: dict[str, dict[str, Any]] = {
    "reliable": {"color": "#9ecae1", "linestyle": "-"},
    "with care": {"color": "#4292c6", "linestyle": (0, (5, 1.5))},
    "do not trust": {"color": "#08306b", "linestyle": (0, (1, 1.2))},
}


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
    ax.set_xlabel("weight of an episode / mean weight; (almost) 0 apart; dashed: the mean")
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
    labels = short(names)
    for i, name in enumerate(names):
        verdict = verdicts[name]
        if len(names) <= FEW:
            style, label = series_style(i, len(names)), labels[i]
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
