"""Plots of results: each takes an `ax` or makes a figure of its own, and returns the Axes.

They need matplotlib, the extra `counterfolio[report]`. `ax.figure.savefig("plot.png")` writes one.
"""

from counterfolio.plots.distributions import cdf, cvar, quantiles
from counterfolio.plots.estimates import differences, estimates
from counterfolio.plots.experiments import agreement, metric, sharpe_ratio_across
from counterfolio.plots.propensities import reliability
from counterfolio.plots.returns import returns
from counterfolio.plots.shortlists import predictive_sharpe_ratio, ranks, sharpe_ratio, top_k
from counterfolio.plots.weights import effective_sample_size, weights

__all__ = [
    "agreement",
    "cdf",
    "cvar",
    "differences",
    "effective_sample_size",
    "estimates",
    "metric",
    "predictive_sharpe_ratio",
    "quantiles",
    "ranks",
    "reliability",
    "returns",
    "sharpe_ratio",
    "sharpe_ratio_across",
    "top_k",
    "weights",
]
