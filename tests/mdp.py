"""A small tabular decision process whose policy values are known exactly, and logs drawn from it.

Episodes end by chance, and the chance depends on the state *and the action*, so a policy changes
how long its own episodes are: the case in which averaging over the surviving episodes only would be
wrong. A hard horizon ends the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class MDP:
    start: np.ndarray  # (S,) where an episode begins
    move: np.ndarray  # (S, A, S) where it goes, given that it does not end
    end: np.ndarray  # (S, A) the chance that this step is the last
    reward: np.ndarray  # (S, A) the mean reward
    noise: float  # standard deviation of the reward around it
    horizon: int

    def q_tables(self, policy: np.ndarray, gamma: float) -> np.ndarray:
        """Q of every step, state and action, by backward recursion: (horizon, S, A)."""
        tables = np.zeros((self.horizon, *self.reward.shape))
        next_value = np.zeros(len(self.start))
        for step in reversed(range(self.horizon)):
            going_on = 0.0 if step == self.horizon - 1 else 1.0 - self.end
            tables[step] = self.reward + gamma * going_on * (self.move @ next_value)
            next_value = (policy * tables[step]).sum(axis=1)
        return tables

    def value(self, policy: np.ndarray, gamma: float) -> float:
        first = self.q_tables(policy, gamma)[0]
        return float(self.start @ (policy * first).sum(axis=1))

    def visits(self, policy: np.ndarray) -> np.ndarray:
        """P(S_t = s, still going) under a policy: (horizon, S)."""
        found = np.zeros((self.horizon, len(self.start)))
        found[0] = self.start
        for step in range(1, self.horizon):
            going_on = found[step - 1][:, None] * policy * (1.0 - self.end)
            found[step] = np.einsum("sa,sat->t", going_on, self.move)
        return found


@dataclass(frozen=True)
class Log:
    """Rows in episode order; `columns` is what a user's table would hold."""

    lengths: np.ndarray
    columns: dict[str, np.ndarray]

    @property
    def n_episodes(self) -> int:
        return len(self.lengths)

    @property
    def offsets(self) -> np.ndarray:
        return np.concatenate([[0], np.cumsum(self.lengths)])

    def take(self, episodes: np.ndarray) -> Log:
        """The same episodes in another order, or some of them; ids and all go along."""
        offsets = self.offsets
        rows = [np.arange(offsets[i], offsets[i + 1]) for i in episodes]
        index = np.concatenate(rows) if rows else np.zeros(0, dtype=int)
        columns = {name: values[index] for name, values in self.columns.items()}
        return Log(self.lengths[np.asarray(episodes, dtype=int)], columns)

    def with_columns(self, **columns: np.ndarray) -> Log:
        return Log(self.lengths, {**self.columns, **columns})


def row_ids(lengths: np.ndarray, kind: str = "string") -> np.ndarray:
    """Ids for the rows; integers are scattered and partly negative, so that nothing leans on 0,
    1, 2.
    """
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    if kind == "string":
        return np.array([f"user-{number:05d}/session" for number in numbers], dtype=object)
    return (numbers * 7_919 - 50_000) * (1 - 2 * (numbers % 2))


def random_mdp(seed: int, n_states: int = 4, n_actions: int = 3, horizon: int = 8) -> MDP:
    rng = np.random.default_rng([seed, 1])
    return MDP(
        start=rng.dirichlet(np.ones(n_states)),
        move=rng.dirichlet(np.ones(n_states), size=(n_states, n_actions)),
        end=rng.uniform(0.05, 0.5, size=(n_states, n_actions)),
        reward=rng.normal(0.3, 1.0, size=(n_states, n_actions)),
        noise=0.5,
        horizon=horizon,
    )


def random_policy(seed: int, mdp: MDP, spread: float = 0.7, zeros: bool = False) -> np.ndarray:
    """Softmax of random scores; with `zeros`, one action of every state is never taken."""
    rng = np.random.default_rng([seed, 2])
    scores = np.exp(rng.normal(0.0, spread, size=mdp.reward.shape))
    if zeros:
        never = rng.integers(scores.shape[1], size=len(scores))
        scores[np.arange(len(scores)), never] = 0.0
    return scores / scores.sum(axis=1, keepdims=True)


def simulate(mdp: MDP, behavior: np.ndarray, n: int, seed: int, ids: str = "string") -> Log:
    """`n` episodes under `behavior`, all of them a step at a time."""
    rng = np.random.default_rng([seed, 3])
    cumulative_actions = behavior.cumsum(axis=1)
    cumulative_moves = mdp.move.cumsum(axis=2)
    episode = np.arange(n)
    state = np.searchsorted(mdp.start.cumsum(), rng.random(n) * mdp.start.sum())
    parts = []
    for step in range(mdp.horizon):
        draw = rng.random(len(episode))[:, None]
        # The last cumulative probability may be 1 - 1e-16: clip rather than fall off the table.
        action = np.minimum((cumulative_actions[state] < draw).sum(axis=1), behavior.shape[1] - 1)
        reward = mdp.reward[state, action] + mdp.noise * rng.normal(size=len(episode))
        parts.append((episode, np.full(len(episode), step), state, action, reward))
        alive = rng.random(len(episode)) >= mdp.end[state, action]
        draw = rng.random(len(episode))[:, None]
        arrived = (cumulative_moves[state, action] < draw).sum(axis=1)
        state = np.minimum(arrived, len(mdp.start) - 1)[alive]
        episode = episode[alive]
        if len(episode) == 0:
            break
    episode, step, state, action, reward = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    order = np.lexsort((step, episode))
    lengths = np.bincount(episode, minlength=n)
    columns = {
        "episode_id": row_ids(lengths, ids),
        "timestep": step[order],
        "state": state[order],
        "action": action[order],
        "reward": reward[order],
        "propensity": behavior[state, action][order],
    }
    return Log(lengths, columns)


def add_policy(
    log: Log,
    mdp: MDP,
    name: str,
    policy: np.ndarray,
    gamma: float,
    error: float = 0.3,
    seed: int = 0,
) -> Log:
    """Columns p_NAME, q_NAME, v_NAME. The Q-table carries errors drawn once, not per row: like a
    fitted model's they do not depend on the log, so the doubly robust estimators stay unbiased.
    """
    rng = np.random.default_rng([seed, 4])
    tables = mdp.q_tables(policy, gamma)
    tables = tables + error * rng.normal(size=tables.shape)
    step, state, action = (log.columns[key] for key in ("timestep", "state", "action"))
    values = (policy[None] * tables).sum(axis=2)
    return log.with_columns(
        **{
            f"p_{name}": policy[state, action],
            f"q_{name}": tables[step, state, action],
            f"v_{name}": values[step, state],
        }
    )


def add_ratios(
    log: Log, mdp: MDP, name: str, policy: np.ndarray, behavior: np.ndarray, gamma: float
) -> Log:
    """Exact marginal ratios of states, `step_NAME` of each step and `occupancy_NAME` of discounted
    visits over all steps; of states and actions with `sa_` before the name."""
    own, logged = mdp.visits(policy), mdp.visits(behavior)
    discount = gamma ** np.arange(mdp.horizon)
    step, state, action = (log.columns[key] for key in ("timestep", "state", "action"))
    rho = policy[state, action] / behavior[state, action]
    by_step = own[step, state] / logged[step, state]
    occupancy = (discount @ own)[state] / (discount @ logged)[state]
    return log.with_columns(
        **{
            f"step_{name}": by_step,
            f"occupancy_{name}": occupancy,
            f"step_sa_{name}": by_step * rho,
            f"occupancy_sa_{name}": occupancy * rho,
        }
    )


def every_trajectory(mdp: MDP, behavior: np.ndarray) -> tuple[Log, np.ndarray]:
    """All trajectories of a small process without reward noise, and the probability of each
    under `behavior`.
    """
    found: list[tuple[float, list[tuple[int, int]]]] = []

    def walk(probability: float, state: int, path: list[tuple[int, int]]) -> None:
        for action, chance in enumerate(behavior[state]):
            if chance == 0.0:
                continue
            here, longer = probability * chance, [*path, (state, action)]
            end = 1.0 if len(longer) == mdp.horizon else mdp.end[state, action]
            if end > 0.0:
                found.append((here * end, longer))
            if end < 1.0:
                for after, moved in enumerate(mdp.move[state, action]):
                    if moved > 0.0:
                        walk(here * (1.0 - end) * moved, after, longer)

    for state, chance in enumerate(mdp.start):
        if chance > 0.0:
            walk(float(chance), state, [])
    lengths = np.array([len(path) for _, path in found])
    state, action = np.array([pair for _, path in found for pair in path]).T
    columns = {
        "episode_id": row_ids(lengths),
        "timestep": np.concatenate([np.arange(length) for length in lengths]),
        "state": state,
        "action": action,
        "reward": mdp.reward[state, action],
        "propensity": behavior[state, action],
    }
    return Log(lengths, columns), np.array([probability for probability, _ in found])


def dyadic_mdp() -> tuple[MDP, np.ndarray]:
    """A process and a behavior policy whose every trajectory has a probability that is a
    multiple of 2^-13: repeat each so often and the log *is* the population, on which every
    weighted estimator equals the true value.
    """
    mdp = MDP(
        start=np.array([0.5, 0.5]),
        move=np.array([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]]),
        end=np.array([[0.25, 0.5], [0.0, 0.75]]),
        reward=np.array([[1.0, -0.5], [0.3, 2.0]]),
        noise=0.0,
        horizon=3,
    )
    return mdp, np.array([[0.25, 0.75], [0.5, 0.5]])


def population(mdp: MDP, behavior: np.ndarray, size: int = 2**13) -> Log:
    log, probability = every_trajectory(mdp, behavior)
    copies = np.rint(probability * size).astype(int)
    if not np.array_equal(copies, probability * size):
        raise ValueError("a trajectory's probability is no multiple of 1 / size")
    whole = log.take(np.repeat(np.arange(log.n_episodes), copies))
    return whole.with_columns(episode_id=row_ids(whole.lengths))


def chunk_bounds(n_rows: int, cuts: list[int]) -> list[tuple[int, int]]:
    """Half-open row ranges that the cuts leave; cuts may repeat, which gives empty chunks."""
    edges = sorted([0, n_rows, *(cut % (n_rows + 1) for cut in cuts)])
    return list(pairwise(edges))
