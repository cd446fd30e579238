"""SCOPE-RL 0.2.1's formulas as its code has them, restated in plain numpy.

Written from a reading of the package, whose files each docstring names; nothing here is its code.
Logs are matrices of shape (n, T): it knows episodes of one length alone. `benches/comparison.py`
puts them beside ours.
"""

from __future__ import annotations

import numpy as np
from scipy import stats


def masked(reward: np.ndarray) -> np.ndarray:
    """Rewards with that of the last step taken away (ope/ope.py, `disable_reward_after_done`).

    The mask (1 - done) is multiplied up over the steps, so that the reward *at* the end goes too;
    its datasets call the last step of every episode done.
    """
    done = np.zeros_like(reward)
    done[:, -1] = 1
    return reward * np.cumprod(1 - done, axis=1)


def cumulative(prob: np.ndarray, propensity: np.ndarray) -> np.ndarray:
    """w_t as a quotient of two products (ope/estimators_base.py)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.cumprod(prob, axis=1) / np.cumprod(propensity, axis=1)


def basic(
    name: str, w: np.ndarray, reward: np.ndarray, q: np.ndarray, v: np.ndarray, gamma: float
) -> float:
    """The seven basic estimators (ope/discrete/basic_estimators.py)."""
    power = gamma ** np.arange(w.shape[1])
    if name.startswith("sn") and name != "sntis":
        w = w / (w.mean(axis=0) + 1e-10)
    last = w[:, -1:]
    if name == "sntis":
        last = last / (last.mean() + 1e-10)
    before = np.roll(w, 1, axis=1)
    before[:, 0] = 1
    terms = {
        "dm": v[:, 0],
        "tis": (last * reward) @ power,
        "sntis": (last * reward) @ power,
        "pdis": (w * reward) @ power,
        "snpdis": (w * reward) @ power,
        "dr": (w * (reward - q) + before * v) @ power,
        "sndr": (w * (reward - q) + before * v) @ power,
    }
    return float(terms[name].mean())


def marginal_weight(rho: np.ndarray, mu: np.ndarray, k: int) -> np.ndarray:
    """mu k steps back times the last k ratios, for states as for states and actions.

    ope/estimators_base.py: the form for states lacks the ratio of the step it looks back to.
    """
    back = np.roll(mu, k, axis=1)
    back[:, :k] = 1
    window = np.ones_like(rho)
    for t in range(rho.shape[1]):
        window[:, t] = rho[:, max(t - k + 1, 0) : t + 1].prod(axis=1)
    return back * window


def marginal(
    name: str, w: np.ndarray, reward: np.ndarray, q: np.ndarray, v: np.ndarray, gamma: float
) -> float:
    """State-marginal and state-action-marginal estimators, for discrete actions.

    ope/discrete/marginal_estimators.py: the zero that ends V(s') is inserted before the last
    element, and `sm_sndr` adds the shifted values of the second step for those of the first.
    """
    power = gamma ** np.arange(w.shape[1])
    after = np.insert(v, -1, 0, axis=1)[:, 1:]
    if "sn" in name:
        w = w / (w.mean(axis=0) + 1e-10)
    if name.endswith("is"):
        return float(((w * reward) @ power).mean())
    first = after[:, 0] if name == "sm_sndr" else v[:, 0]
    return float((first + (w * (reward + gamma * after - q)) @ power).mean())


def drl(mu: np.ndarray, reward: np.ndarray, q: np.ndarray, v: np.ndarray) -> float:
    """Double reinforcement learning: no discount anywhere (same file)."""
    before = np.roll(mu, 1, axis=1)
    before[:, 0] = 1
    return float((mu * (reward - q) + before * v).sum(axis=1).mean())


def distribution(
    w: np.ndarray, reward: np.ndarray, gamma: float, *, normalised: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Grid and F of the importance sampling forms.

    ope/discrete/cumulative_distribution_estimators.py: returns are discounted from gamma^1; the
    grid is the undiscounted returns that were seen; bins are open to the right and their mass
    stands at their right edge.
    """
    steps = reward.shape[1]
    returns = reward @ gamma ** np.arange(1, steps + 1)
    grid = np.unique(reward.sum(axis=1))
    returns = np.clip(returns, grid[0], grid[-1])
    order = np.argsort(returns)
    total = w[:, -1].sum() if normalised else len(w)
    mass = np.clip(np.cumsum(w[order, -1]) / total, 0, 1)
    counts = np.cumsum(np.histogram(returns, bins=grid)[0])
    f = np.concatenate([[0.0], mass[np.maximum(counts - 1, 0)]])
    return grid, f


def mean_of(grid: np.ndarray, f: np.ndarray) -> float:
    """Mean of a distribution: mass at right edges (same file)."""
    return float(np.diff(f) @ grid[1:])


def kernel_weight(
    action: np.ndarray, target: np.ndarray, propensity: np.ndarray, bandwidth: float
) -> np.ndarray:
    """Gaussian kernel of the distance, normalised for one dimension (ope/utils.py)."""
    distance = ((action - target) ** 2).sum(axis=1)
    kernel = np.exp(-distance / (2 * bandwidth**2)) / np.sqrt(2 * np.pi * bandwidth**2)
    return kernel / propensity


def hoeffding(x: np.ndarray, alpha: float = 0.05) -> tuple[float, float]:
    """Hoeffding's interval: sqrt(log(2 / alpha) / 2 * n) (ope/utils.py)."""
    half = x.max() * np.sqrt(np.log(2 / alpha) / 2 * len(x))
    return float(x.mean() - half), float(x.mean() + half)


def t_interval(x: np.ndarray, alpha: float = 0.05) -> tuple[float, float]:
    """Interval by t, at the quantile 1 - alpha to either side (ope/utils.py)."""
    half = stats.t(len(x) - 1).ppf(1 - alpha) * x.std(ddof=1) / np.sqrt(len(x))
    return float(x.mean() - half), float(x.mean() + half)
