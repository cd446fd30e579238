"""Estimators across many logs: each metric with its spread, SharpeRatio@k, and who agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.arguments import check_k, one_of
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from counterfolio.assessments import Assessments

#: What stands on an axis for a metric.
TITLES = {
    "sharpe_ratio": "SharpeRatio@{k} (more is better)",
    "regret": "regret@{k} (less is better)",
    "rank_correlation": "rank correlation (more is better)",
    "nmse": "nMSE (less is better)",
}
#: Metrics whose values may lie far apart: on a logarithmic axis.
ERRORS = ("mse", "nmse")
#: Most logs whose own values are drawn.
MOST_POINTS = 100


def metric(
    assessed: Assessments,
    name: str = "sharpe_ratio",
    *,
    k: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric of every estimator: a point to a log, and the mean with its interval.

    Parameters
    ----------
    assessed
        From `counterfolio.assess` of several logs.
    name
        "sharpe_ratio", "regret", "rank_correlation", "nmse", or another metric of the table.
    k
        Size of the shortlist, for a metric of the top k. Default: that of `assessed`.
    ax
        Draws here. Default: a figure of its own.

    Raises
    ------
    InvalidArgumentError
        If there is no such metric, or k.

    Notes
    -----
    Undefined and infinite values are not drawn; the table counts them. Squared errors stand on a
    logarithmic axis.
    """
    k = assessed._check_k(k)
    rows = _rows(assessed, name, k)
    ax = new_axes(ax, 7, 1.2 + 0.42 * len(rows))
    spots = np.random.default_rng(0)  # so that points on one place are told apart
    for y, row in enumerate(rows.iter_rows(named=True)):
        own = _own(assessed, row)
        values = own.filter(own.is_finite()).to_numpy()[:MOST_POINTS]
        ax.scatter(
            values,
            y + spots.uniform(-0.2, 0.2, len(values)),
            s=14,
            color=GREY,
            alpha=0.5,
            linewidth=0,
        )
        if row["value"] is None:
            continue
        if row["ci_low"] is not None:
            ax.plot((row["ci_low"], row["ci_high"]), (y, y), color=INK, linewidth=2.2)
        ax.plot(row["value"], y, "o", color=INK, markersize=7, markeredgecolor="white")
    name_rows(ax, rows["estimator"].to_list())
    if name in ERRORS:
        ax.set_xscale("log")
    ax.set_xlabel(TITLES.get(name, name).format(k=k))
    grid(ax, "x")
    return ax


def sharpe_ratio_across(
    assessed: Assessments,
    *,
    least_k: int | None = None,
    most_k: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean SharpeRatio@k over the logs against k, with its interval.

    Parameters
    ----------
    assessed
        From `counterfolio.assess` of several logs.
    least_k, most_k
        Smallest and largest k. Default: 3, since two policies may be nearly alike by chance, whose
        ratio then dwarfs all others (2 where there are no more); and the number of policies.
    ax
        Draws here. Default: a figure of its own.

    Notes
    -----
    Means are of the logs on which the ratio is finite; where it is on none, nothing is drawn.
    """
    n_policies = assessed._n_policies()
    least_k = min(3, n_policies) if least_k is None else check_k(least_k, n_policies)
    most_k = n_policies if most_k is None else check_k(most_k, n_policies)
    table = assessed.table.filter(
        (pl.col("metric") == "sharpe_ratio")
        & pl.col("k").is_between(max(2, least_k), most_k)
        & pl.col("value").is_not_null()
    )
    ax = new_axes(ax, 8, 4)
    names = list(dict.fromkeys(table["estimator"]))
    for i, name in enumerate(names):
        rows = table.filter(pl.col("estimator") == name).sort("k")
        style = series_style(i, len(names))
        k = rows["k"].to_numpy() + (i - (len(names) - 1) / 2) * 0.04
        ax.plot(k, rows["value"], linewidth=1.6, markersize=5, label=plain(name), **style)
        known = rows["ci_low"].is_not_null().to_numpy()
        ends = rows.select(pl.col("ci_low", "ci_high").cast(pl.Float64)).to_numpy()
        ax.vlines(k[known], ends[known, 0], ends[known, 1], color=style["color"], linewidth=1.2)
    ks = table["k"].unique().sort().to_list()
    ax.set_xticks(ks[:: max(1, -(-len(ks) // 15))])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("k, the size of the shortlist")
    ax.set_ylabel("SharpeRatio@k, mean over logs")
    grid(ax, "y")
    if names:
        legend(ax)
    return ax


def agreement(assessed: Assessments, *, k: int | None = None, ax: Axes | None = None) -> Axes:
    """Draw on what share of the logs two metrics call the same estimator the best.

    Parameters
    ----------
    assessed
        From `counterfolio.assess` of several logs.
    k
        Size of the shortlist. Default: that of `assessed`.
    ax
        Draws here. Default: a figure of its own.
    """
    k = assessed._check_k(k)
    table = assessed.agreement(k)
    names = list(dict.fromkeys([*table["metric"], *table["other_metric"]]))
    share, texts = np.full((len(names),) * 2, np.nan), {}
    for row in table.iter_rows(named=True):
        i, j = names.index(row["metric"]), names.index(row["other_metric"])
        if row["n_logs"]:
            share[i, j] = share[j, i] = row["n_agree"] / row["n_logs"]
        texts[i, j] = texts[j, i] = f"{row['n_agree']:.3g} of {row['n_logs']}"
    ax = new_axes(ax, 6.4, 3.4)
    # As shapes, not as an image, so that a page can hold it.
    shade: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "vmax": 1.25, "edgecolors": "white"}
    at = np.arange(len(names) + 1) - 0.5
    ax.pcolormesh(at, at, np.where(np.isnan(share), 0, share), **shade)
    ax.invert_yaxis()
    for (i, j), text in texts.items():
        dark = share[i, j] > 0.6
        ax.annotate(text, (j, i), ha="center", va="center", color="white" if dark else INK)
    labels = _labels(names, k)
    ax.set_xticks(range(len(names)), labels)
    ax.set_yticks(range(len(names)), labels)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


def _labels(names: Sequence[str], k: int) -> list[str]:
    return [TITLES[name].format(k=k).split(" (")[0] for name in names]


def _rows(assessed: Assessments, name: str, k: int) -> pl.DataFrame:
    """Rows of a metric, a row to each estimator."""
    one_of("metric", name, list(dict.fromkeys(assessed.table["metric"])))
    own = pl.col("k").is_null() | (pl.col("k") == k)
    return assessed.table.filter((pl.col("metric") == name) & own)


def _own(assessed: Assessments, row: dict[str, Any]) -> pl.Series:
    """Values of a metric on each log."""
    found = assessed.by_dataset.filter(
        (pl.col("metric") == row["metric"]) & (pl.col("estimator") == row["estimator"])
    )
    if row["k"] is not None:
        found = found.filter(pl.col("k") == row["k"])
    return found["value"]
