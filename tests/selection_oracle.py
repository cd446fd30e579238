"""Contrasts, rankings and shortlists once more, in plain numpy and scipy, for tests only.

Written from the formulas (docs/uncertainty.md) and nothing else: it shares no code with the
package, and is slow.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import stats

METRICS = (
    "mse",
    "mse_debiased",
    "nmse",
    "rank_correlation",
    "kendall_tau",
    "false_alarm_rate",
    "missed_unsafe_rate",
)
METRICS_AT_K = (
    "best",
    "worst",
    "mean",
    "kth",
    "std",
    "std_debiased",
    "safety_violation_rate",
    "sharpe_ratio",
    "regret",
    "nregret",
)


# Contrasts.


def clustered_error(psi: np.ndarray, clusters: np.ndarray) -> float:
    """Standard error of a mean of influence values when whole clusters are drawn."""
    _, which = np.unique(clusters, return_inverse=True)
    sums = np.bincount(which, psi)
    return float(np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / len(psi))


def acceleration(psi: np.ndarray, clusters: np.ndarray | None = None) -> float:
    if clusters is not None:
        psi = np.bincount(np.unique(clusters, return_inverse=True)[1], psi)
    return float((psi**3).sum() / (6 * (psi**2).sum() ** 1.5))


def tails(level: float, alternative: str) -> tuple[float, float]:
    """Probabilities below the two ends; 0 and 1 stand for no end."""
    alpha = 1 - level
    ends = {"two-sided": (alpha / 2, 1 - alpha / 2), "greater": (alpha, 1), "less": (0, 1 - alpha)}
    return ends[alternative]


def bootstrap_interval(
    value: float,
    replicates: np.ndarray,
    method: str,
    level: float = 0.95,
    alternative: str = "two-sided",
    a: float = 0.0,
) -> tuple[float, float]:
    low, high = tails(level, alternative)
    drawn = replicates[~np.isnan(replicates)]

    def quantile(p: float) -> float:
        if method == "basic":
            return 2 * value - float(np.quantile(drawn, 1 - p))
        if method == "bca":
            share = ((drawn < value).sum() + (drawn == value).sum() / 2) / len(drawn)
            z0, z = stats.norm.ppf(share), stats.norm.ppf(p)
            p = stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))
        return float(np.quantile(drawn, p))

    return (quantile(low) if low > 0 else -math.inf, quantile(high) if high < 1 else math.inf)


def correlation(psi: np.ndarray) -> np.ndarray:
    """Of the estimates whose influence values, which have mean 0, are the rows."""
    products = psi @ psi.T
    scale = np.sqrt(np.diag(products))
    return products / np.outer(scale, scale)


def share_within(critical: float, correlations: np.ndarray, alternative: str) -> float:
    """Probability that no normal deviate of these correlations is beyond the critical value."""
    ends = np.full(len(correlations), critical)
    low = -ends if alternative == "two-sided" else np.full(len(ends), -math.inf)
    law = stats.multivariate_normal(cov=correlations, allow_singular=True, seed=0)
    return float(law.cdf(ends, lower_limit=low))


def single_critical_value(level: float, count: int = 1) -> float:
    """Of one two-sided interval, or of `count` independent ones together (Sidak)."""
    return float(stats.norm.ppf(0.5 + level ** (1 / count) / 2))


# Rankings.


def order(scores: np.ndarray, ties: str = "first") -> np.ndarray:
    """Highest first, NaN last in the order given."""
    scores = np.asarray(scores, dtype=float)
    if ties == "first":
        return np.argsort(-scores, kind="stable")
    named = np.flatnonzero(~np.isnan(scores))
    backwards = named[np.argsort(scores[named], kind="stable")[::-1]]
    return np.concatenate([backwards, np.flatnonzero(np.isnan(scores))])


def rank_shares(replicates: np.ndarray) -> np.ndarray:
    """How often a policy (row) has a rank (column): equals share theirs, and undefined scores are
    equal and lowest. What says nothing of anybody is left out.
    """
    known = replicates[~np.isnan(replicates).all(axis=1)]
    shares = np.zeros((replicates.shape[1], replicates.shape[1]))
    for scores in known:
        # NaN sorts behind everything.
        row = -np.unique(-scores, return_inverse=True)[1]
        for policy, score in enumerate(row):
            better, equal = (row > score).sum(), (row == score).sum()
            shares[policy, better : better + equal] += 1 / equal
    return shares / max(len(known), 1)


def rank_interval(below: np.ndarray, level: float) -> tuple[int, int]:
    """The smallest ranks that are reached with the probabilities of the two tails."""
    low, high = (int((below < p - 1e-12).sum()) + 1 for p in tails(level, "two-sided"))
    return low, high


# Shortlists.


def shortlists(scores: np.ndarray, ties: str, k: int) -> list[np.ndarray]:
    """The top k, or all sets that may be the top k."""
    scores = np.asarray(scores, dtype=float)
    if ties != "average":
        return [order(scores, ties)[:k]]
    top = order(scores)
    kth = scores[top[k - 1]]
    if math.isnan(kth):
        return [top[:k]]
    above, tied = np.flatnonzero(scores > kth), np.flatnonzero(scores == kth)
    rest = itertools.combinations(tied, k - len(above))
    return [np.concatenate([above, chosen]).astype(int) for chosen in rest]


def sharpe_ratio(true: np.ndarray, behavior: float, ddof: int = 0) -> float:
    best, worst, k = true.max(), true.min(), len(true)
    if k == 1:
        return math.nan
    if best == worst:
        return math.inf if best > behavior else math.nan
    return (max(best, behavior) - behavior) / np.std(true, ddof=ddof)


def metrics_at_k(
    scores: np.ndarray,
    true: np.ndarray,
    squared_errors: np.ndarray,
    behavior: float,
    threshold: float,
    k: int,
    ddof: int = 0,
    ties: str = "first",
) -> dict[str, float]:
    found = []
    for chosen in shortlists(scores, ties, k):
        own = true[chosen]
        std = math.nan if k == ddof else np.std(own, ddof=ddof)
        # Of k equally good policies, noise alone has this variance.
        noise = math.nan if k == ddof else squared_errors[chosen].mean() * (k - 1) / (k - ddof)
        row = {
            "best": own.max(),
            "worst": own.min(),
            "mean": own.mean(),
            "kth": own[-1],
            "std": 0.0 if k > ddof and own.max() == own.min() else std,
            "std_debiased": np.sqrt(np.maximum(std**2 - noise, 0)),
            "safety_violation_rate": np.mean(own < threshold),
            "sharpe_ratio": sharpe_ratio(own, behavior, ddof),
            "regret": true.max() - own.max(),
            "nregret": (true.max() - own.max()) / abs(true.max()) if true.max() else math.nan,
        }
        found.append([row[name] for name in METRICS_AT_K])
    with np.errstate(invalid="ignore"):
        means = dict(zip(METRICS_AT_K, np.mean(found, axis=0).tolist(), strict=True))
    if ties == "average":
        kth = np.asarray(scores, dtype=float)[order(scores)[k - 1]]
        if not math.isnan(kth):
            means["kth"] = float(true[np.asarray(scores) == kth].mean())
    return means


def metrics(
    scores: np.ndarray, true: np.ndarray, squared_errors: np.ndarray, threshold: float
) -> dict[str, float]:
    """Of the ranking as a whole; a policy without an estimate is judged unsafe."""
    mse = np.mean((true - scores) ** 2)
    varied = len(np.unique(true)) > 1 and len(np.unique(scores)) > 1 and not math.isnan(mse)
    safe, judged_safe = true >= threshold, scores >= threshold
    return {
        "mse": float(mse),
        "mse_debiased": float(mse - squared_errors.mean()),
        "nmse": float(mse / np.mean(true**2)) if true.any() else math.nan,
        "rank_correlation": float(stats.spearmanr(true, scores)[0]) if varied else math.nan,
        "kendall_tau": float(stats.kendalltau(true, scores)[0]) if varied else math.nan,
        "false_alarm_rate": float((safe & ~judged_safe).sum() / safe.sum())
        if safe.any()
        else math.nan,
        "missed_unsafe_rate": float((~safe & judged_safe).sum() / (~safe).sum())
        if (~safe).any()
        else math.nan,
    }


def assessment(
    scores: np.ndarray,
    true: np.ndarray,
    squared_errors: np.ndarray,
    behavior: float,
    threshold: float,
    ddof: int = 0,
    ties: str = "first",
) -> dict[tuple[str, int | None], float]:
    """Every metric: (name, k) -> value."""
    whole = metrics(scores, true, squared_errors, threshold)
    found: dict[tuple[str, int | None], float] = {(name, None): x for name, x in whole.items()}
    for k in range(1, len(true) + 1):
        arguments = (scores, true, squared_errors, behavior, threshold, k, ddof, ties)
        found |= {(name, k): x for name, x in metrics_at_k(*arguments).items()}
    return found


def relative_threshold(behavior: float, criterion: float) -> float:
    return behavior - (1 - criterion) * abs(behavior)


# Prediction.


class Prediction:
    """Draws of true values given estimates, with the spread of the true values summed over its
    grid instead of drawn: what is left of chance is in the replicates alone.

    `weights` (60,) are the probabilities of the spreads, `signals` (60,) the shares of the
    estimates' spread that are signal under each, and `values` (60, B, P) the draws.
    """

    def __init__(self, estimates: np.ndarray, replicates: np.ndarray, behavior: np.ndarray) -> None:
        kept = ~np.isnan(replicates).any(axis=1) & ~np.isnan(behavior)
        replicates, self.behavior = replicates[kept], behavior[kept]
        draws, policies = replicates.shape
        self.draws = draws
        if policies < 4:
            self.weights, self.signals, self.values = np.ones(1), None, replicates[None]
            return
        noise = replicates - estimates
        shared = noise.mean(axis=1, keepdims=True)
        noise = noise - shared
        mean = estimates.mean()
        s2 = (noise**2).sum() / (draws * (policies - 1))
        spread = ((estimates - mean) ** 2).sum()
        tau = np.arange(1, 61) / 20 * np.sqrt(spread / (policies - 1))
        total = tau**2 + s2
        likelihood = -(policies - 1) / 2 * np.log(total) - spread / (2 * total)
        self.weights = np.exp(likelihood - likelihood.max())
        self.weights /= self.weights.sum()
        self.signals = tau**2 / total
        h = self.signals[:, None, None]
        self.values = mean + h * (estimates - mean) + np.sqrt(h) * noise + shared

    def expect(self, x: np.ndarray) -> float:
        """Of something that each draw (60, B) says, or each spread (60,)."""
        return float(self.weights @ (x if x.ndim == 1 else x.mean(axis=1)))

    def ratios(self, shortlist: np.ndarray) -> np.ndarray:
        own = self.values[:, :, shortlist]
        return np.maximum(own.max(axis=2) - self.behavior, 0) / own.std(axis=2)

    def gains(self, shortlist: np.ndarray) -> np.ndarray:
        return self.values[:, :, shortlist].max(axis=2) - self.behavior
