"""Logs of small decision processes for the tests of Q-functions and ratios."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
from mdp import dyadic_mdp, population, random_mdp, random_policy, simulate
from models_oracle import Rows

MDP = random_mdp(5, n_states=3, n_actions=2, horizon=4)
BEHAVIOR = random_policy(5, MDP)
TARGET = random_policy(6, MDP, spread=1.5)


def last_rows(lengths):
    out = np.zeros(lengths.sum(), dtype=bool)
    out[np.cumsum(lengths) - 1] = True
    return out


def ended(sample, horizon):
    """The columns, with what cut episodes off (the horizon) or did not."""
    last = last_rows(sample.lengths)
    cut = last & (sample.columns["timestep"] == horizon - 1)
    return {**sample.columns, "truncated": cut, "terminated": last & ~cut}


def take(columns, **roles):
    how = {"episode_id": "episode_id", "state": "state", **roles}
    return cf.LoggedData.from_frame(columns, **how)


def sampled(n=400, seed=0, mdp=MDP, behavior=BEHAVIOR, **roles):
    """A sampled log with marks of its ends, its columns, and the lengths of its episodes."""
    sample = simulate(mdp, behavior, n, seed)
    columns = ended(sample, mdp.horizon)
    return take(columns, **{"truncated": "truncated", **roles}), columns, sample.lengths


def exact_log(**roles):
    """A log that is the population, so that its means are expectations."""
    mdp, behavior = dyadic_mdp()
    whole = population(mdp, behavior)
    columns = ended(whole, mdp.horizon)
    return take(columns, **{"truncated": "truncated", **roles}), columns, whole.lengths


#: An evaluation policy for `exact_log`.
EXACT_TARGET = np.array([[0.6, 0.4], [0.125, 0.875]])


def features(n=300, seed=0):
    """Columns of a log with two numbers to a state and three actions, of unequal lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 6, n)
    rows = lengths.sum()
    x = rng.normal([1.0, -2.0], 1.0, size=(rows, 2))
    action = rng.integers(0, 3, rows)
    columns = {
        "episode_id": np.repeat(np.arange(n), lengths),
        "x": x[:, 0],
        "y": x[:, 1],
        "action": action,
        "reward": x @ [0.5, 1.0] * (action - 1) + rng.normal(size=rows),
        "propensity": np.full(rows, 1 / 3),
        "terminated": last_rows(lengths),
    }
    scores = np.exp(x @ rng.normal(size=(2, 3)))
    return columns, x, scores / scores.sum(axis=1, keepdims=True), lengths


def rows_of(phi, phibar, columns, lengths, gamma, left_out=None):
    return Rows(phi, phibar, columns["reward"], lengths, gamma, left_out)
