"""Finite-sample and likelihood intervals once more, in plain numpy and scipy, for tests only."""

# Written from the papers (docs/uncertainty.md names them) and nothing else. Each bound is a
# function of one side's error probability; `interval` puts the two sides together. An episode is
# its weight w, its return G and its term X (w G, or the per-decision sum).

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    import oracle

Pair = tuple[float, float]
WORD = 2**64


@dataclass(frozen=True)
class Episodes:
    weight: np.ndarray
    returns: np.ndarray
    term: np.ndarray

    @property
    def n(self) -> int:
        return len(self.weight)


def episodes(log: oracle.DenseLog, estimator: str, gamma: float) -> Episodes:
    """What the bounds see of a policy; `on_policy` is the behavior policy, whose weights are 1."""
    discount = gamma ** np.arange(log.reward.shape[1])
    returns = log.reward @ discount
    weights = np.exp(log.log_weight)
    if estimator == "on_policy":
        return Episodes(np.ones(len(returns)), returns, returns)
    term = (weights * log.reward) @ discount if estimator == "pdis" else weights[:, -1] * returns
    return Episodes(weights[:, -1], returns, term)


# Intervals for a mean of bounded terms.


def hoeffding(term: np.ndarray, value_range: Pair, error: float, side: int) -> float:
    """Hoeffding 1963, one side."""
    low, high = value_range
    half = (high - low) * math.sqrt(math.log(1 / error) / (2 * len(term)))
    return float(term.mean() + side * half)


def empirical_bernstein(term: np.ndarray, value_range: Pair, error: float, side: int) -> float:
    """Maurer and Pontil 2009, theorem 4, one side."""
    return float(term.mean() + side * bernstein_width(term, np.ptp(value_range), error, len(term)))


def bernstein_width(term: np.ndarray, width: float, error: float, n: int) -> float:
    half = math.sqrt(2 * term.var(ddof=1) * math.log(2 / error) / n)
    return half + 7 * width * math.log(2 / error) / (3 * (n - 1))


# Thomas, Theocharous and Ghavamzadeh 2015: cut the terms off where held-out episodes say.


def hash_of_integer(number: int) -> int:
    """splitmix64's finaliser of a sign-extended integer."""
    z = (number + 0x9E3779B97F4A7C15) % WORD
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB % WORD
    return z ^ z >> 31


def philox(seed: int, counter: tuple[int, int, int, int]) -> np.ndarray:
    """The four words of one counter of Philox4x64-10; numpy counts up before it draws."""
    number = sum(word << 64 * place for place, word in enumerate(counter))
    before = (number - 1) % 2**256
    words = [before >> 64 * place & (WORD - 1) for place in range(4)]
    generator = np.random.Philox(
        key=np.array([seed, 0], dtype=np.uint64), counter=np.array(words, dtype=np.uint64)
    )
    return generator.random_raw(4)


def held_out(hashes: list[int], seed: int, purpose: int = 3) -> np.ndarray:
    """Which episodes choose the cut: a twentieth of them, those with the smallest draws."""
    draws = np.array([philox(seed, (number, 0, purpose, 0))[0] for number in hashes])
    chosen = np.zeros(len(hashes), dtype=bool)
    chosen[np.argsort(draws, kind="stable")[: math.ceil(len(hashes) / 20)]] = True
    return chosen


def hcope(term: np.ndarray, chosen: np.ndarray, error: float) -> float:
    held, kept = term[chosen], term[~chosen]
    m = len(kept)
    if m < 2:
        return math.nan

    def lower(values: np.ndarray, cut: float) -> float:
        capped = np.minimum(values, cut)
        variance = capped.var(ddof=1) if len(values) > 1 else 0.0
        half = math.sqrt(2 * variance * math.log(2 / error) / m)
        return capped.mean() - half - 7 * cut * math.log(2 / error) / (3 * (m - 1))

    cuts = np.unique(held[held > 0])
    if len(cuts) == 0:
        return 0.0
    best = max(cuts, key=lambda cut: lower(held, cut))
    return float(lower(kept, best))


# Logarithmic smoothing: Sakhi, Aouali, Alquier and Chopin 2024.


def log_smoothing(
    weight: np.ndarray, gain: np.ndarray, error: float, lam: float | None = None
) -> float:
    """Lower bound of the mean of w g, for gains in [0, 1]."""
    n = len(weight)
    if lam is None:
        lam = math.sqrt(2 * math.log(1 / error) / n)
    smooth = np.log1p(lam * weight * gain).mean()
    return float(np.expm1(smooth - math.log(1 / error) / n) / lam)


# Empirical likelihood with the Cressie-Read divergence: Karampatziakis, Langford and Mineiro 2020.


def cressie_read(
    weight: np.ndarray,
    returns: np.ndarray,
    return_range: Pair,
    weight_range: Pair,
    alpha: float,
    side: int,
) -> float:
    """One end of the interval with two-sided error alpha; side is -1 for the lower one."""
    n = len(weight)
    # Weights average to 1, so a constant may be taken from all returns and added at the end. With
    # the unseen point's own, that point is (f, 0), and rounding is not in units of f^2.
    unseen_return = return_range[0] if side < 0 else return_range[1]

    def moments(unseen: float) -> tuple[float, float, float]:
        w = np.append(weight, unseen)
        y = np.append(weight * (returns - unseen_return), 0.0)
        mean = w.mean()
        variance = ((w - mean) ** 2).mean()
        covariance = ((w - mean) * (y - y.mean())).mean()
        slope = covariance / variance
        estimate = y.mean() + (1 - mean) * slope
        rest = ((y - y.mean() - slope * (w - mean)) ** 2).mean()
        return estimate, rest, (n + 1) * (mean - 1) ** 2 / variance

    _, _, smallest = moments(weight_range[1] if weight.sum() < n else weight_range[0])
    allowed = stats.f.ppf(1 - alpha, 1, n) + smallest
    ends = []
    for unseen in weight_range:
        estimate, rest, gap = moments(unseen)
        if allowed >= gap:
            ends.append(estimate + side * math.sqrt((allowed - gap) * rest / (n + 1)))
    if not ends:
        return unseen_return
    end = unseen_return + (min(ends) if side < 0 else max(ends))
    return float(np.clip(end, *return_range))


# A lower bound for all times at once: Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro 2024.


def confidence_sequence(x: np.ndarray, error: float) -> np.ndarray:
    """Lower bounds of the mean of x >= 0, one after each row."""
    budget = math.log(1 / error)
    lower, total, squares = [], 0.0, 0.0
    gained = spent = stake = 0.0
    for i, value in enumerate(x, start=1):
        centre = min(1.0, (0.5 + total) / i)
        variance = (0.25 + squares) / i
        lam = min(0.5, math.sqrt(2 * budget / (variance * i * math.log(1 + i))))
        gained += lam * value
        stake += lam
        spent += (-math.log1p(-lam) - lam) * (value - centre) ** 2
        lower.append((gained - budget - spent) / stake)
        total += value
        squares += (value - centre) ** 2
    return np.maximum.accumulate(lower)


def interval(
    kind: str,
    seen: Episodes,
    confidence_level: float,
    alternative: str = "two-sided",
    *,
    value_range: Pair | None = None,
    return_range: Pair | None = None,
    weight_range: Pair | None = None,
    return_min: float | None = None,
    chosen: np.ndarray | None = None,
) -> Pair:
    """As scipy: "greater" is a lower bound and an open upper end."""
    error = (1 - confidence_level) / (2 if alternative == "two-sided" else 1)
    low, high = return_range or (0.0, math.nan)
    width = high - low

    def end(side: int) -> float:
        if kind in ("hoeffding", "empirical_bernstein"):
            function = hoeffding if kind == "hoeffding" else empirical_bernstein
            return function(seen.term, value_range, error, side)
        if kind == "hcope":
            least = return_min or 0.0
            term = seen.term if return_min is None else seen.weight * (seen.returns - least)
            return hcope(term, chosen, error) + least
        if kind == "cressie_read":
            ranges = (return_range, weight_range)
            return cressie_read(seen.weight, seen.returns, *ranges, 2 * error, side)
        # Both remain: a lower bound, and the upper one as the lower bound of what is missing.
        gain = (seen.returns - low if side < 0 else high - seen.returns) / width
        if kind == "log_smoothing":
            bound = log_smoothing(seen.weight, gain, error)
        else:
            # 0 bounds a mean of x >= 0 before the first row has come.
            bound = max(0.0, confidence_sequence(seen.weight * gain, error)[-1])
        # No mean lies beyond the range.
        return float(np.clip(low + width * bound if side < 0 else high - width * bound, low, high))

    return (
        -math.inf if alternative == "less" else end(-1),
        math.inf if alternative == "greater" else end(1),
    )
