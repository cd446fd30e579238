"""SCOPE-RL 0.2.1's estimators as its code computes them, restated in plain numpy.

Nothing of its code is here: each function states the formula that the named file evaluates, on
arrays of shape (n, T), since all its episodes have T rows. `mended=True` undoes the errors that the
function's text lists and nothing else, so that a difference can be put down to them.

Every estimate of a value is a vector of one number an episode, whose mean is the estimate and from
which its intervals are made. Files are below `scope_rl/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

VERSION = "0.2.1"
#: Their guard against dividing by 0 where weights are normalised.
TINY = 1e-10


@dataclass(frozen=True)
class Rows:
    """What the estimators read, each of shape (n, T)."""

    reward: Floats
    done: Floats  # 1 from an episode's last step on
    pscore: Floats  # b(a|s) of the logged action
    prob: Floats  # pi(a|s) of the logged action
    q: Floats  # Q(s, a) of the logged action
    v: Floats  # sum_a pi(a|s) Q(s, a)
    state_ratio: Floats | None = None
    state_action_ratio: Floats | None = None


def discounts(gamma: float, n_steps: int) -> Floats:
    """gamma^t, t from 0."""
    return gamma ** np.arange(n_steps)


def logged_reward(rows: Rows, disable_reward_after_done: bool) -> Floats:
    """Rewards as `OffPolicyEvaluation` hands them on (ope/ope.py:318).

    The product of 1 - done is 0 at the step that is done, not after it: the last reward goes too.
    """
    if not disable_reward_after_done:
        return rows.reward
    return rows.reward * (1 - rows.done).cumprod(axis=1)


def cumulative_weight(rows: Rows) -> Floats:
    """w_{0:t}, numerator and denominator multiplied apart (ope/estimators_base.py:147, 243)."""
    with np.errstate(invalid="ignore"):
        return rows.prob.cumprod(axis=1) / rows.pscore.cumprod(axis=1)


def previous(weight: Floats) -> Floats:
    """The weight of the step before, 1 at the first."""
    return np.hstack([np.ones((len(weight), 1)), weight[:, :-1]])


def basic(name: str, rows: Rows, gamma: float, *, disable_reward_after_done: bool = True) -> Floats:
    """The basic family (ope/discrete/basic_estimators.py), by our names."""
    reward = logged_reward(rows, disable_reward_after_done)
    weight = cumulative_weight(rows)
    if name.endswith("tis"):
        weight = np.repeat(weight[:, -1:], weight.shape[1], axis=1)
    if name.startswith("sn"):
        weight = weight / (weight.mean(axis=0) + TINY)
    gammas = discounts(gamma, weight.shape[1])
    if name == "dm":
        return rows.v[:, 0]
    if name.endswith("dr"):
        return (weight * (reward - rows.q) + previous(weight) * rows.v) @ gammas
    return (weight * reward) @ gammas


def marginal_weight(name: str, rows: Rows, n_step: int, mended: bool) -> Floats:
    """W_t (ope/estimators_base.py:364, 597, 677): the ratio k steps back times k ratios.

    The ratio of states needs k + 1 of them: that of the step k back is missing. Mended: it is not.
    """
    by_state = name.startswith("sm_")
    far = rows.state_ratio if by_state else rows.state_action_ratio
    n, n_steps = rows.reward.shape
    missing = 1 if by_state and mended else 0
    rho = rows.prob / rows.pscore
    weight = np.ones((n, n_steps))
    for t in range(n_steps):
        weight[:, t] = rho[:, max(t - n_step + 1 - missing, 0) : t + 1].prod(axis=1)
        if t >= n_step:
            weight[:, t] *= far[:, t - n_step]
    return weight


def marginal(
    name: str, rows: Rows, gamma: float, n_step: int = 0, *, mended: bool = False
) -> Floats:
    """The marginal family (ope/discrete/marginal_estimators.py), rewards whole.

    Mended: `drl` discounts; V(s_{t+1}) stands at t, and the 0 at the last step, not one before it
    (:1152, :1823, :2418, :3080); `sm_sndr` begins with V(s_0), not V(s_1) (:1825); `sm_*` have
    their k + 1 ratios.
    """
    gammas = discounts(gamma, rows.reward.shape[1])
    if name == "drl":
        weight = rows.state_action_ratio
        terms = weight * (rows.reward - rows.q) + previous(weight) * rows.v
        return terms @ (gammas if mended else np.ones_like(gammas))
    weight = marginal_weight(name, rows, n_step, mended)
    if "_sn" in name:
        weight = weight / (weight.mean(axis=0) + TINY)
    if name.endswith("is"):
        return (weight * rows.reward) @ gammas
    after = np.insert(rows.v, rows.v.shape[1] if mended else -1, 0.0, axis=1)[:, 1:]
    baseline = after[:, 0] if name == "sm_sndr" and not mended else rows.v[:, 0]
    return baseline + (weight * (rows.reward + gamma * after - rows.q)) @ gammas


def returns_and_weights(rows: Rows, gamma: float, mended: bool) -> tuple[Floats, Floats]:
    """What an episode returns and its weight (ope/estimators_base.py:864).

    Discounts begin with gamma^1. Mended: with gamma^0.
    """
    gammas = discounts(gamma, rows.reward.shape[1]) * (1.0 if mended else gamma)
    return rows.reward @ gammas, cumulative_weight(rows)[:, -1]


def cdf(name: str, rows: Rows, gamma: float, grid: Floats, *, mended: bool = False) -> Floats:
    """F on a grid (ope/discrete/cumulative_distribution_estimators.py:174, :600, :1085).

    Bins hold their left edge, yet their mass is booked at the right one: P(G < x) instead of
    P(G <= x), and 0 at the first point. Mended: P(G <= x), and returns are discounted from gamma^0.
    """
    returns, weight = returns_and_weights(rows, gamma, mended)
    returns, v = (np.clip(x, grid[0], grid[-1]) for x in (returns, rows.v[:, 0]))
    total = weight.sum() if name.startswith("cd_sn") else len(weight)

    def below(values: Floats) -> NDArray[np.int64]:
        """How many values belong to each point of the grid."""
        if mended:
            return np.array([(values <= x).sum() for x in grid])
        return np.concatenate([[0], np.histogram(values, bins=grid)[0].cumsum()])

    if name == "cd_dm":
        return below(v) / len(v)
    if name.endswith("dr"):
        gain = (returns <= grid[:, None]).astype(float) - (v <= grid[:, None])
        found = gain @ weight / total + below(v) / len(v)
        return np.clip(np.maximum.accumulate(found), 0.0, 1.0)
    mass = np.clip(weight[returns.argsort()].cumsum() / total, 0.0, 1.0)
    found = mass[np.maximum(below(returns) - 1, 0)]
    return found if mended else np.concatenate([[0.0], found[1:]])


def _atoms(probability: Floats, grid: Floats, mended: bool) -> tuple[Floats, Floats]:
    """Points and their mass; that of the first point is left out, unless mended."""
    if mended:
        return grid, np.diff(probability, prepend=0.0)
    return grid[1:], np.diff(probability)


def mean(probability: Floats, grid: Floats, *, mended: bool = False) -> float:
    """The mean from F (cumulative_distribution_estimators.py:671)."""
    points, mass = _atoms(probability, grid, mended)
    return float(mass @ points)


def cvar(probability: Floats, grid: Floats, alpha: float, *, mended: bool = False) -> float:
    """The mean of the worst share alpha (cumulative_distribution_estimators.py:344).

    The point at which F passes alpha counts whole. Mended: with the part below alpha.
    """
    points, mass = _atoms(probability, grid, mended)
    reached = mass.cumsum()
    if mended:
        part = np.minimum(reached, alpha) - np.minimum(reached - mass, alpha)
        return float(part @ points / alpha)
    past = np.flatnonzero(reached > alpha)
    if len(past) == 0:
        return float(mass @ points / reached[-1])
    last = past[0] + 1
    return float(mass[:last] @ points[:last] / reached[last - 1]) if past[0] else float(points[0])


def kernel(name: str, x: Floats, y: Floats, bandwidth: float) -> Floats:
    """K of the distance of rows of two (n, d) arrays (utils.py:312): normalised for d = 1."""
    u = np.linalg.norm(x - y, axis=1) / bandwidth
    inside = u < 1
    return {
        "gaussian": np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi),
        "triangular": (1 - u) * inside,
        "epanechnikov": 0.75 * (1 - u**2) * inside,
        "cosine": np.pi / 4 * np.cos(np.pi * u / 2) * inside,
        "uniform": 0.5 * inside,
    }[name] / bandwidth


def kernel_weight(
    name: str,
    action: Floats,
    chosen: Floats,
    pscore: Floats,
    bandwidth: float,
    scaled: tuple[float, float] | None = None,
) -> Floats:
    """The weight of one step (ope/estimators_base.py:251): K over the product of pscore's columns.

    `action`, `chosen` and `pscore` are (n, d). `scaled` are the limits that a min-max scaler takes
    to -1 and 1: actions are scaled, the density is not.
    """
    if scaled is not None:
        low, high = scaled
        action, chosen = (2 * (x - low) / (high - low) - 1 for x in (action, chosen))
    return kernel(name, action, chosen, bandwidth) / pscore.prod(axis=1)


def cast_action(action: Floats) -> Floats:
    """Continuous actions as the wrappers hand them on (ope/ope.py:345, :2863): as integers."""
    return action.astype(int).astype(float)


def hoeffding(x: Floats, alpha: float) -> float:
    """Half the width (utils.py:538): n stands in the numerator, and the sample's maximum."""
    return float(x.max() * np.sqrt(np.log(2 / alpha) / 2 * len(x)))


def bernstein(x: Floats, alpha: float) -> float:
    """Half the width (utils.py:581): ln(2 / alpha) on both sides, and the sample's maximum."""
    n = len(x)
    slack = np.log(2 / alpha)
    return float(7 * x.max() * slack / (3 * (n - 1)) + np.sqrt(2 * slack * x.var() / (n - 1)))


def t_test(x: Floats, alpha: float) -> float:
    """Half the width (utils.py:624): the quantile of 1 - alpha on both sides."""
    n = len(x)
    return float(stats.t.ppf(1 - alpha, n - 1) * x.std(ddof=1) / np.sqrt(n))


def bootstrap(x: Floats, alpha: float, n_resamples: int, seed: int) -> tuple[float, float]:
    """Ends (utils.py:493): normalised terms are drawn, and not normalised again."""
    rng = np.random.RandomState(seed)
    means = [rng.choice(x, size=len(x)).mean() for _ in range(n_resamples)]
    low, high = np.percentile(means, [100 * alpha / 2, 100 * (1 - alpha / 2)])
    return float(low), float(high)
