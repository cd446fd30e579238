"""Distributions of the return: F with its band, CVaR and quantiles over their levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import estimators as registry
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.plots.style import GREY, grid, legend, new_axes, plain, series_style
from counterfolio.policies import BEHAVIOR
from counterfolio.sources import take
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from matplotlib.axes import Axes

    from counterfolio.distribution import Distribution

#: Levels of the curves, where the lowest is not too far out to be estimated.
LEVELS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())
#: Shares of the worst episodes; the last is all of them.
SHARES = (*LEVELS, 1.0)
#: Policies up to which bands are filled; more of them cover each other.
MOST_BANDS = 3
#: Points of a curve that a page has room to tell apart.
MOST_POINTS = 2000
#: Policies of one plot, unless they are named.
MOST_POLICIES = 8


def cdf(
    distribution: Distribution,
    *,
    estimator: str | None = None,
    among: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the share of episodes that return no more than x, a line to each policy.

    Parameters
    ----------
    distribution
        From `counterfolio.evaluate_distribution`; with `n_resamples` or `pointwise` bands are drawn
        too, of up to three policies.
    estimator
        One of those evaluated. Default: `distribution.headline`.
    among
        Names of the policies. Default: the first eight.
    ax
        Draws here. Default: a figure of its own.

    Notes
    -----
    The behavior policy's own returns are grey. A line that lies below and to the right of another
    belongs to the policy that more often returns much.
    """
    table, ax = distribution.cdf, new_axes(ax, 8, 4.2)
    chosen = _chosen(distribution, estimator, among)
    rows = {policy: _rows(table, policy, name) for policy, name in chosen}
    everywhere = np.concatenate([own["x"].to_numpy() for own in rows.values()])
    left, right = float(everywhere.min()), float(everywhere.max())
    pad = 0.03 * (right - left) or 0.5
    for i, (policy, own) in enumerate(rows.items()):
        style = _style(policy, i, len(rows))
        x, f, low, high = (own[c].to_numpy() for c in ("x", "probability", "low", "high"))
        if own["probability"].is_nan().any():
            ax.plot([], [], label=f"{plain(policy)} (undefined)", **style)
            continue
        at = _thinned(len(x))
        # F is 0 to the left of what it steps at, and 1 to the right.
        line = np.concatenate([[left - pad], x[at], [right + pad]])
        heights = [0.0, *f[at], f[-1]]
        ax.plot(line, heights, drawstyle="steps-post", label=plain(policy), **style)
        banded = len(rows) <= MOST_BANDS + 1 and policy != BEHAVIOR
        if banded and own["low"].is_finite().all() and own["low"].null_count() == 0:
            together = (
                "each x by itself" if distribution.settings["pointwise"] else "all x together"
            )
            _say(ax, distribution, f"bands hold for {together}")
            ax.fill_between(x[at], low[at], high[at], step="post", alpha=0.2, **_fill(style))
    ax.set_xlim(left - pad, right + pad)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("return of an episode, x")
    ax.set_ylabel("share of episodes up to x")
    grid(ax, "both")
    legend(ax)
    return ax


def cvar(
    distribution: Distribution,
    *,
    estimator: str | None = None,
    among: Sequence[str] | None = None,
    levels: Sequence[float] = SHARES,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean of the worst share of episodes over that share, a line to each policy.

    Parameters
    ----------
    distribution, estimator, among, ax
        As in `cdf`; the bands are intervals at each share by itself.
    levels
        Shares in (0, 1].
    """
    ax = _over_levels(distribution, "cvar", estimator, among, levels, ax)
    ax.set_xlabel("share of the worst episodes")
    ax.set_ylabel("their mean return (CVaR)")
    return ax


def quantiles(
    distribution: Distribution,
    *,
    estimator: str | None = None,
    among: Sequence[str] | None = None,
    levels: Sequence[float] = LEVELS,
    ax: Axes | None = None,
) -> Axes:
    """Draw the quantiles of the return over their levels, a line to each policy.

    Parameters
    ----------
    distribution, estimator, among, ax
        As in `cdf`; the bands are intervals at each level by itself.
    levels
        In (0, 1].
    """
    ax = _over_levels(distribution, "quantile", estimator, among, levels, ax)
    ax.set_xlabel("share of episodes")
    ax.set_ylabel("return that they do not exceed")
    return ax


def _over_levels(
    distribution: Distribution,
    statistic: str,
    estimator: str | None,
    among: Sequence[str] | None,
    levels: Sequence[float],
    ax: Axes | None,
) -> Axes:
    """Draw a statistic over its levels."""
    chosen = _chosen(distribution, estimator, among)
    table, ax = distribution.statistics(levels, only=statistic), new_axes(ax, 8, 4.2)
    for i, (policy, name) in enumerate(chosen):
        rows = _rows(table, policy, name)
        style = _style(policy, i, len(chosen))
        if rows["value"].is_nan().any():
            ax.plot([], [], label=f"{plain(policy)} (undefined)", **style)
            continue
        ax.plot(rows["alpha"], rows["value"], label=plain(policy), **style)
        banded = len(chosen) <= MOST_BANDS + 1 and policy != BEHAVIOR
        if banded and rows["ci_low"].is_finite().all() and rows["ci_high"].is_finite().all():
            _say(ax, distribution, "bands are intervals, each share by itself")
            ends = rows["alpha"].to_numpy(), rows["ci_low"].to_numpy(), rows["ci_high"].to_numpy()
            ax.fill_between(*ends, alpha=0.2, **_fill(style))
    ax.set_xlim(0, 1)
    grid(ax, "both")
    legend(ax)
    return ax


def _chosen(
    distribution: Distribution, estimator: str | None, among: Sequence[str] | None
) -> list[tuple[str, str]]:
    """Take policies with their estimator, and last the behavior policy with its own."""
    known = distribution.policies
    names = known[:MOST_POLICIES] if among is None else list(among)
    if unknown := [name for name in names if name not in known]:
        text = f"among: policy {unknown[0]!r} was not evaluated; {suggest(unknown[0], known)}"
        raise InvalidArgumentError(text)
    label = distribution.headline
    if estimator is not None:
        label = registry.evaluated(estimator, distribution.estimators)
    return [*((name, label) for name in names), distribution.curves[-1]]


def _rows(table: pl.DataFrame, policy: str, estimator: str) -> pl.DataFrame:
    """Take the rows of one curve."""
    wanted = (table["policy"] == policy) & (table["estimator"] == estimator)
    return take(table, np.flatnonzero(wanted.to_numpy()))


def _thinned(n: int) -> Any:
    """Take places that a plot can tell apart, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int))


def _style(policy: str, i: int, n: int) -> dict[str, Any]:
    """Look of a line without markers; the behavior policy's is thin and grey."""
    if policy == BEHAVIOR:
        return {"color": GREY, "linewidth": 1.0}
    found = {key: x for key, x in series_style(i, n - 1).items() if key != "marker"}
    return found | {"linewidth": 1.6}


def _say(ax: Axes, distribution: Distribution, text: str) -> None:
    """Say above the axes what the bands are."""
    level = 100 * distribution.settings["confidence_level"]
    ax.set_title(f"{text}, at {level:g} %", loc="left", fontsize="medium")


def _fill(style: dict[str, Any]) -> dict[str, Any]:
    """Look of a band."""
    return {"color": style["color"], "linewidth": 0}
