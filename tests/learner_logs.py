"""Logs and oracles for the tests of learners: decision processes that are solved exactly."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
from mdp import random_mdp, random_policy, simulate
from model_logs import ended

GAMMA = 0.9
#: Long enough that cutting off is rare.
MDP = random_mdp(3, n_states=4, n_actions=3, horizon=40)
BEHAVIOR = random_policy(3, MDP)


def numbered(n):
    """The states 0 to n - 1, as policies are handed them."""
    return np.arange(float(n))[:, None]


def value_iteration(mdp, gamma, sweeps=2_000):
    """Q* of the process without its horizon."""
    value = np.zeros(len(mdp.start))
    for _ in range(sweeps):
        q = mdp.reward + gamma * (1 - mdp.end) * (mdp.move @ value)
        value = q.max(axis=1)
    return q


def sampled(n, seed=0, mdp=MDP, behavior=BEHAVIOR):
    """The columns of a sampled log, with marks of its ends."""
    return ended(simulate(mdp, behavior, n, seed), mdp.horizon)


def take(columns, **roles):
    how = {"state": "state", "propensity": None, **roles}
    for part in ("episode_id", "terminated", "truncated"):
        if part in columns:
            how.setdefault(part, part)
    return cf.LoggedData.from_frame(columns, **how)


def exhaustive(mdp, copies):
    """Every transition of a process as often as it is likely, times `copies` for each action.

    What goes on stands in episodes of two rows, of which the second was cut off, so that only its
    state is known; what ends, in episodes of one.
    """
    n_states, n_actions, _ = mdp.move.shape
    rows = []
    for s in range(n_states):
        for a in range(n_actions):
            for after in range(n_states):
                chance = (1 - mdp.end[s, a]) * mdp.move[s, a, after]
                rows += [(s, a, mdp.reward[s, a], after)] * whole(chance * copies)
            rows += [(s, a, mdp.reward[s, a], None)] * whole(mdp.end[s, a] * copies)
    table = []
    for i, (s, a, r, after) in enumerate(rows):
        table.append((i, s, a, r, after is None, False))
        if after is not None:
            table.append((i, after, 0, 1e3, False, True))
    names = ("episode_id", "state", "action", "reward", "terminated", "truncated")
    return {
        name: np.array(values) for name, values in zip(names, zip(*table, strict=True), strict=True)
    }


def whole(x):
    if x != round(x):
        raise ValueError(f"{x} is no whole number of copies")
    return int(x)


def empirical(columns, gamma, penalty=0.0, floor=-np.inf):
    """Value iteration in what a log has counted, row by row; VI-LCB with a penalty and a floor.

    Returns Q and n, of shape (n_states, n_actions); Q is -inf where nothing was seen.
    """
    s, a, r = (columns[name] for name in ("state", "action", "reward"))
    n_states, n_actions = int(s.max()) + 1, int(a.max()) + 1
    n, total = np.zeros((n_states, n_actions)), np.zeros((n_states, n_actions))
    moves = np.zeros((n_states, n_actions, n_states))
    for i in range(len(s)):
        if columns["truncated"][i]:
            continue
        n[s[i], a[i]] += 1
        total[s[i], a[i]] += r[i]
        if not columns["terminated"][i]:
            moves[s[i], a[i], s[i + 1]] += 1
    count = np.maximum(n, 1)
    bonus = penalty / np.sqrt(count)
    value = np.full(n_states, floor if np.isfinite(floor) else 0.0)
    for _ in range(5_000):
        q = (total + gamma * moves @ value) / count - bonus
        q[n == 0] = -np.inf
        value = np.maximum(q.max(axis=1), floor)
    return q, n


def corridor(**ends):
    """Two states; the second pays on and on. Episodes of 1 to 3 rows."""
    lengths = [1, 2, 3, 3]
    state = [0, 0, 1, 0, 1, 1, 0, 1, 1]
    last = np.zeros(9, dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    columns = {
        "episode_id": np.repeat(np.arange(4), lengths),
        "state": np.array(state),
        "action": np.zeros(9, dtype=int),
        "reward": np.array(state, dtype=float),
    }
    return columns | {name: last & (value == "last") for name, value in ends.items()}
