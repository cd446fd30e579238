"""The seven basic estimators once more, in plain numpy, for tests only.

Written from the formulas (docs/estimators.md) and nothing else: it shares no
code with the package. An episode is one row of an (n, T_max) matrix. Past its end it sits in the
absorbing state: reward, q and v are 0 and the weight is held. That costs n x T_max and makes every
formula one line. Weights are kept as logarithms until a step's largest has been taken out, so
self-normalised estimates neither over- nor underflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

NAMES = ("dm", "tis", "pdis", "dr", "sntis", "snpdis", "sndr")
WEIGHTED = NAMES[1:]
SELF_NORMALISED = ("sntis", "snpdis", "sndr")
ALIASES = {"ips": "tis", "snips": "sntis", "wis": "sntis", "wdr": "sndr"}


@dataclass(frozen=True)
class DenseLog:
    log_weight: np.ndarray  # log w_t, held past the end; -inf where pi would not have gone
    reward: np.ndarray
    q: np.ndarray
    v: np.ndarray
    multiplicity: np.ndarray  # how often each episode counts: all means are sum m x / sum m

    @property
    def previous_log_weight(self) -> np.ndarray:
        """log w_{t-1}, with w_{-1} = 1."""
        return np.hstack([np.zeros((len(self.reward), 1)), self.log_weight[:, :-1]])

    def mean(self, x: np.ndarray) -> np.ndarray:
        return self.multiplicity @ x / self.multiplicity.sum()

    def normalised(self, log_weight: np.ndarray) -> np.ndarray:
        """w / mean w, a column at a time; NaN where all weights are 0: the estimate is
        undefined.
        """
        with np.errstate(invalid="ignore"):
            weight = np.exp(log_weight - log_weight.max(axis=0))
            return weight / self.mean(weight)


@dataclass(frozen=True)
class Estimate:
    value: float
    standard_error: float
    psi: np.ndarray  # influence values, one an episode; they sum to 0
    effective_sample_size: float | None
    max_weight_share: float | None
    scale: float  # the value with every term made positive: what rounding is relative to
    error_scale: float  # the same for the standard error

    @property
    def n(self) -> int:
        return len(self.psi)


def dense(
    episode_id: np.ndarray,
    reward: np.ndarray,
    propensity: np.ndarray,
    prob: np.ndarray,
    q: np.ndarray | None = None,
    v: np.ndarray | None = None,
    multiplicity: np.ndarray | None = None,
) -> DenseLog:
    """Rows of one episode are consecutive and in order."""
    ids = np.asarray(episode_id)
    n_rows = len(ids)
    first = np.concatenate([[True], ids[1:] != ids[:-1]])
    episode = np.cumsum(first) - 1
    start = np.flatnonzero(first)
    step = np.arange(n_rows) - start[episode]
    shape = (len(start), int(step.max()) + 1)

    def spread(values: np.ndarray | None) -> np.ndarray:
        matrix = np.zeros(shape)
        if values is not None:
            matrix[episode, step] = values
        return matrix

    # math.log, because numpy's vector version need not be good on subnormal propensities.
    ratio = [_log(p) - _log(b) for p, b in zip(prob, propensity, strict=True)]
    count = np.ones(shape[0]) if multiplicity is None else np.asarray(multiplicity, dtype=float)
    weight = np.cumsum(spread(np.array(ratio)), axis=1)
    return DenseLog(weight, spread(reward), spread(q), spread(v), count)


def _log(x: float) -> float:
    return math.log(x) if x > 0.0 else -math.inf


def estimate(log: DenseLog, name: str, gamma: float = 1.0) -> Estimate:
    discount = gamma ** np.arange(log.reward.shape[1])
    returns = log.reward @ discount
    magnitude = np.abs(log.reward) @ discount  # the return's terms without their signs
    residual = log.reward - log.q
    rough = np.abs(log.reward) + np.abs(log.q)
    last, previous = log.log_weight[:, -1:], log.previous_log_weight

    if name in ("dm", "tis", "pdis", "dr"):
        with np.errstate(over="ignore"):
            weight, before = np.exp(log.log_weight), np.exp(previous)
        if name == "dm":
            x, size = log.v[:, 0], np.abs(log.v[:, 0])
        elif name == "tis":
            x, size = weight[:, -1] * returns, weight[:, -1] * magnitude
        elif name == "pdis":
            x, size = (weight * log.reward) @ discount, (weight * np.abs(log.reward)) @ discount
        else:
            x = (weight * residual + before * log.v) @ discount
            size = (weight * rough + before * np.abs(log.v)) @ discount
        value = log.mean(x)
        psi, spread = x - value, size + log.mean(size)
    elif name == "sntis":
        share = log.normalised(last)[:, 0]
        value = log.mean(share * returns)
        psi = share * (returns - value)
        size = share * magnitude
        spread = size + share * abs(value)
    elif name == "snpdis":
        share = log.normalised(log.log_weight)
        step_mean = log.mean(share * log.reward)
        value = step_mean @ discount
        psi = (share * (log.reward - step_mean)) @ discount
        size = (share * np.abs(log.reward)) @ discount
        spread = size + (share * np.abs(step_mean)) @ discount
    elif name == "sndr":
        share, before = log.normalised(log.log_weight), log.normalised(previous)
        step_mean, step_v = log.mean(share * residual), log.mean(before * log.v)
        value = (step_mean + step_v) @ discount
        psi = (share * (residual - step_mean) + before * (log.v - step_v)) @ discount
        size = (share * rough + before * np.abs(log.v)) @ discount
        spread = size + (share * np.abs(step_mean) + before * np.abs(step_v)) @ discount
    else:
        raise ValueError(name)

    ess, largest = (None, None) if name == "dm" else concentration(log, name, gamma)
    scale, error_scale = float(log.mean(size)), standard_error(spread)
    return Estimate(float(value), standard_error(psi), psi, ess, largest, scale, error_scale)


def standard_error(psi: np.ndarray) -> float:
    n, largest = len(psi), np.abs(psi).max()
    if n == 1:
        return math.nan
    if not 0.0 < largest < math.inf:
        return float(largest)
    # Squares of 1e-200 would be 0.
    return float(largest * np.sqrt(((psi / largest) ** 2).sum() / (n * (n - 1))))


def concentration(log: DenseLog, name: str, gamma: float) -> tuple[float, float]:
    """Effective sample size and largest share: of final weights, or of the mean held weight."""
    if name in ("tis", "sntis"):
        terms = log.log_weight[:, -1:]
    else:
        terms = log.log_weight + math.log(gamma) * np.arange(log.reward.shape[1])
    with np.errstate(invalid="ignore"):
        # Common factors of all episodes cancel, sum_t gamma^t among them.
        c = np.exp(terms - terms.max()).sum(axis=1)
    return float(c.sum() ** 2 / (c**2).sum()), float(c.max() / c.sum())


def behavior(log: DenseLog, gamma: float = 1.0) -> Estimate:
    """The logged policy's own mean return."""
    n, horizon = log.reward.shape
    discount = gamma ** np.arange(horizon)
    returns, size = log.reward @ discount, np.abs(log.reward) @ discount
    value = log.mean(returns)
    psi = returns - value
    spread = size + log.mean(size)
    scale, error_scale = float(log.mean(size)), standard_error(spread)
    return Estimate(float(value), standard_error(psi), psi, float(n), 1 / n, scale, error_scale)


def sntis_bias(log: DenseLog, gamma: float = 1.0) -> float:
    """-(1 / n^2) sum (w / mean w) psi."""
    share = log.normalised(log.log_weight[:, -1:])[:, 0]
    psi = estimate(log, "sntis", gamma).psi
    return float(-(share @ psi) / len(psi) ** 2)


def interval(
    value: float,
    error: float,
    n: int,
    kind: str = "normal",
    confidence_level: float = 0.95,
    alternative: str = "two-sided",
) -> tuple[float, float]:
    """As scipy: "greater" is a lower bound and an open upper end."""
    law = stats.norm() if kind == "normal" else stats.t(df=n - 1)
    if alternative == "two-sided":
        width = law.ppf(1 - (1 - confidence_level) / 2) * error
        return value - width, value + width
    width = law.ppf(confidence_level) * error
    return (value - width, math.inf) if alternative == "greater" else (-math.inf, value + width)


@dataclass(frozen=True)
class Contrast:
    difference: float
    standard_error: float
    scale: float
    error_scale: float


def contrast(first: Estimate, second: Estimate) -> Contrast:
    """Paired: on the same episodes influence values are subtracted, not variances added."""
    return Contrast(
        first.value - second.value,
        standard_error(first.psi - second.psi),
        first.scale + second.scale,
        first.error_scale + second.error_scale,
    )


def close(actual: float | None, expected: float | None, tolerance: float) -> bool:
    """Equal within an absolute tolerance; None, NaN and the infinities only to themselves."""
    if actual is None or expected is None:
        return actual is None and expected is None
    if math.isnan(expected) or math.isinf(expected):
        return actual == expected or (math.isnan(expected) and math.isnan(actual))
    return abs(actual - expected) <= tolerance


def disagreements(row: dict, expected: Estimate, tolerance: float = 1e-9) -> list[str]:
    """What of one row of `evaluation.estimates` is not what the oracle says."""
    wanted = {
        "value": (expected.value, expected.scale),
        "standard_error": (expected.standard_error, expected.error_scale),
        "effective_sample_size": (expected.effective_sample_size, expected.n),
        "max_weight_share": (expected.max_weight_share, 1.0),
        "n_episodes": (expected.n, 0.0),
    }
    if expected.max_weight_share is not None and math.isnan(expected.max_weight_share):
        # Where no weight is left their concentration is 0 / 0 and has no one right answer.
        del wanted["effective_sample_size"], wanted["max_weight_share"]
    found = []
    for field, (value, scale) in wanted.items():
        # Below the smallest normal number nothing is relative any more.
        allowed = tolerance * (scale if math.isfinite(scale) else 1.0) + 1e-300
        if not close(row[field], value, allowed):
            who = f"{row['policy']}/{row['estimator']}"
            found.append(f"{who}: {field} is {row[field]!r}, not {value!r}")
    return found
