"""Estimators by the weight of each step, in plain numpy, for tests only.

Written from the formulas of docs/estimators.md. An episode is one row of an (n, T_max) matrix;
past its end the last weight is held and reward, q and v are 0. Marginal weights are products over a
window, taken with a loop. Residual forms are sums of W_t (r_t - q_t) and W_{t-1} v_t, not what the
package does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from oracle import Estimate, standard_error

STATE = ("sm_is", "sm_dr", "sm_snis", "sm_sndr")
STATE_ACTION = ("sam_is", "sam_dr", "sam_snis", "sam_sndr")
MARGINAL = ("drl", "sm_dm", *STATE, *STATE_ACTION)
#: Forms by the last part of a name.
FORMS = {
    "tis": "return",
    "sntis": "normalised return",
    "pdis": "reward",
    "is": "reward",
    "snpdis": "normalised reward",
    "snis": "normalised reward",
    "dr": "residual",
    "sndr": "normalised residual",
}
TRANSFORMS = {
    "clip": lambda w, m: np.minimum(w, m),
    "exponent": lambda w, a: w**a,
    "shrinkage": lambda w, m: m * w / (w**2 + m),
    "harmonic": lambda w, m: w / (1 - m + m * w),
    "switch": lambda w, m: np.where(w <= m, w, 0.0),
}


@dataclass(frozen=True)
class Steps:
    rho: np.ndarray
    reward: np.ndarray
    q: np.ndarray
    v: np.ndarray
    state: np.ndarray
    state_action: np.ndarray
    alive: np.ndarray  # whether the episode reaches the step

    @property
    def lengths(self) -> np.ndarray:
        return self.alive.sum(axis=1)


def steps(columns: dict[str, np.ndarray], names: dict[str, str]) -> Steps:
    """Rows of one episode are consecutive; `names` says which column is what."""
    ids = columns["episode_id"]
    episode = np.cumsum(np.concatenate([[True], ids[1:] != ids[:-1]])) - 1
    start = np.flatnonzero(np.diff(episode, prepend=-1))
    step = np.arange(len(ids)) - start[episode]
    shape = (episode[-1] + 1, step.max() + 1)

    def spread(values: np.ndarray, fill: float = 0.0) -> np.ndarray:
        matrix = np.full(shape, fill)
        matrix[episode, step] = values
        return matrix

    rho = columns[names["prob"]] / columns["propensity"]
    return Steps(
        spread(rho, 1.0),
        spread(columns["reward"]),
        *(spread(columns[names[key]]) for key in ("q", "v", "state", "state_action")),
        spread(np.ones(len(ids))).astype(bool),
    )


def weights(log: Steps, ratio: str, n_step: int = 0) -> np.ndarray:
    """W_t, held past the end."""
    n, horizon = log.rho.shape
    found = np.ones((n, horizon))
    for i in range(n):
        for t in range(log.lengths[i]):
            if ratio == "cumulative" or t < n_step:
                found[i, t] = np.prod(log.rho[i, : t + 1])
            elif ratio == "state":
                found[i, t] = log.state[i, t - n_step] * np.prod(log.rho[i, t - n_step : t + 1])
            else:
                window = log.rho[i, t - n_step + 1 : t + 1]
                found[i, t] = log.state_action[i, t - n_step] * np.prod(window)
        found[i, log.lengths[i] :] = found[i, log.lengths[i] - 1]
    return found


def transformed(log: Steps, name: str, x: float, *, per_step: bool) -> np.ndarray:
    """Cumulative weights under a transform, of themselves or of each ratio."""
    f = TRANSFORMS[name]
    if not per_step:
        return f(weights(log, "cumulative"), x)
    factors = np.where(log.alive, f(log.rho, x), 1.0)
    return np.cumprod(factors, axis=1)


def estimate(
    log: Steps, form: str, w: np.ndarray, gamma: float, *, occupancy: bool = False
) -> Estimate:
    n, horizon = w.shape
    power = gamma ** np.arange(horizon)
    returns = log.reward @ power
    last = w[np.arange(n), log.lengths - 1]
    after = np.hstack([log.v[:, 1:], np.zeros((n, 1))])
    delta = log.reward + gamma * after - log.q
    v0 = log.v[:, 0]
    size = (w * (np.abs(log.reward) + np.abs(log.q) + np.abs(after))) @ power + np.abs(v0)
    if form == "return":
        terms, size = last * returns, last * (np.abs(log.reward) @ power)
    elif form == "reward":
        terms = (w * log.reward) @ power
    elif form == "residual":
        before = np.hstack([np.ones((n, 1)), w[:, :-1]])
        terms = (w * (log.reward - log.q) + before * log.v) @ power
    if form in ("return", "reward", "residual"):
        value = terms.mean()
        psi = terms - value
    elif form == "normalised return":
        value = last @ returns / last.sum()
        psi = last * (returns - value) / last.mean()
        size = last * (np.abs(returns) + abs(value)) / last.mean()
    else:
        x = log.reward if form == "normalised reward" else delta
        first = v0 if form == "normalised residual" else np.zeros(n)
        mean = w.mean(axis=0)
        if occupancy:
            mean = np.full(horizon, (w @ power).sum() / (n * power.sum()))
        share = w / mean
        if occupancy:
            m = np.full(horizon, ((share * x) @ power).mean() / power.sum())
        else:
            m = (share * x).mean(axis=0)
        value = first.mean() + ((share * x) @ power).mean()
        psi = first - first.mean() + (share * (x - m)) @ power
        size = (share * (np.abs(x) + np.abs(m))) @ power + np.abs(first)
    c = last if "return" in form else w @ power
    return Estimate(
        float(value),
        standard_error(psi),
        psi,
        float(c.sum() ** 2 / (c**2).sum()),
        float(c.max() / c.sum()),
        float(size.mean()),
        standard_error(size + size.mean()),
    )


def marginal(log: Steps, name: str, n_step: int, gamma: float, *, occupancy: bool) -> Estimate:
    """A marginal estimator by its name."""
    if name == "sm_dm":
        v0 = log.v[:, 0]
        psi = v0 - v0.mean()
        size = np.abs(v0)
        return Estimate(
            float(v0.mean()),
            standard_error(psi),
            psi,
            None,
            None,
            float(size.mean()),
            float(size.max()),
        )
    ratio = "state" if name.startswith("sm_") else "state_action"
    form = FORMS[name.rpartition("_")[2]] if name != "drl" else "residual"
    w = weights(log, ratio, n_step)
    return estimate(log, form, w, gamma, occupancy=occupancy)
