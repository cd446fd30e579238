"""CartPole as a source of logs: policies, roll-outs, logs with propensities, a simple Q-model."""

from __future__ import annotations

from dataclasses import dataclass

import counterfolio as cf
import gymnasium as gym
import numpy as np
import numpy.typing as npt
import polars as pl

#: Steps after which an episode is cut off.
HORIZON = 60
GAMMA = 0.99
STATES = ["position", "velocity", "angle", "angular_velocity"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Softmax:
    """Push right with the probability of a logistic function of a weighted sum of the state.

    Attributes
    ----------
    weights
        Of position, velocity, angle and angular velocity.
    epsilon
        With this probability a coin decides instead.
    bias
        Added to the sum.
    """

    weights: tuple[float, float, float, float]
    epsilon: float = 0.0
    bias: float = 0.0

    def right(self, states: Floats) -> Floats:
        """Probability of a push to the right in each state."""
        p: Floats = 1 / (1 + np.exp(-(states @ np.array(self.weights) + self.bias)))
        return (1 - self.epsilon) * p + self.epsilon / 2

    def prob(self, states: Floats, actions: npt.NDArray[np.int64]) -> Floats:
        """Probability of each action; 1 is a push to the right."""
        p = self.right(states)
        return np.where(actions == 1, p, 1 - p)


BEHAVIOR = Softmax((0.0, 0.2, 4.0, 1.0))
#: From nearly the behavior policy to nothing like it.
CANDIDATES = {
    "firmer": Softmax((0.0, 0.26, 5.2, 1.3)),
    "softer": Softmax((0.0, 0.14, 2.8, 0.7)),
    "angle": Softmax((0.0, 0.0, 8.0, 0.5)),
    "spin": Softmax((0.0, 0.0, 1.0, 1.6)),
    "centred": Softmax((0.3, 0.5, 5.0, 1.3)),
    "leaning": Softmax((0.0, 0.2, 4.0, 1.0), bias=0.5),
    "distracted": Softmax((0.0, 0.2, 4.0, 1.0), epsilon=0.2),
    "keen": Softmax((0.0, 0.4, 8.0, 2.0), epsilon=0.2),
    "chaser": Softmax((-4.0, -3.0, 12.0, 3.0)),
    "hasty": Softmax((0.0, 0.0, -10.0, 6.0)),
    "coin": Softmax((0.0, 0.0, 0.0, 0.0)),
    "contrary": Softmax((0.0, -0.1, -2.0, -0.5)),
}


@dataclass(frozen=True)
class Episodes:
    """Roll-outs, one row to a step, episode after episode."""

    episode: npt.NDArray[np.int64]
    step: npt.NDArray[np.int64]
    state: Floats
    action: npt.NDArray[np.int64]
    propensity: Floats
    reward: Floats
    after: Floats
    terminated: npt.NDArray[np.bool_]
    truncated: npt.NDArray[np.bool_]

    def log(self) -> cf.LoggedData:
        """Make it a log, with the states as columns."""
        frame = {
            "episode": self.episode,
            "step": self.step,
            **dict(zip(STATES, self.state.T, strict=True)),
            "action": self.action,
            "propensity": self.propensity,
            "reward": self.reward,
            "terminated": self.terminated,
            "truncated": self.truncated,
        }
        return cf.LoggedData.from_frame(
            pl.DataFrame(frame),
            episode_id="episode",
            timestep="step",
            terminated="terminated",
            truncated="truncated",
            state=STATES,
        )


def roll_out(policy: Softmax, n: int, seed: int) -> Episodes:
    """Let a policy play n episodes side by side.

    A sub-environment whose episode has ended is reset by gymnasium; what it does then is not kept.
    """
    environment = gym.make_vec(
        "CartPole-v1",
        num_envs=n,
        vectorization_mode="vector_entry_point",
        max_episode_steps=HORIZON,
    )
    # A stream of its own: with gymnasium's seed the first actions would follow the first states.
    rng = np.random.default_rng([seed, 1])
    state, _ = environment.reset(seed=seed)
    playing = np.arange(n)
    kept = []
    for step in range(HORIZON):
        now = np.asarray(state, dtype=np.float64)
        right = policy.right(now)
        action = (rng.random(n) < right).astype(np.int64)
        propensity = np.where(action == 1, right, 1 - right)
        state, reward, terminated, truncated, _ = environment.step(action)
        after = np.asarray(state, dtype=np.float64)
        columns = (now, action, propensity, reward, after, terminated, truncated & ~terminated)
        kept.append((playing, np.full(len(playing), step), *(c[playing] for c in columns)))
        playing = playing[~(terminated | truncated)[playing]]
        if len(playing) == 0:
            break
    environment.close()
    together = [np.concatenate(column) for column in zip(*kept, strict=True)]
    order = np.lexsort((together[1], together[0]))
    return Episodes(*(column[order] for column in together))


def value(policy: Softmax, n: int, seed: int) -> tuple[float, float]:
    """Mean discounted return of n roll-outs, and its standard error."""
    played = roll_out(policy, n, seed)
    returns = np.bincount(played.episode, weights=played.reward * GAMMA**played.step)
    return float(returns.mean()), float(returns.std(ddof=1) / np.sqrt(n))


def features(states: Floats) -> Floats:
    """Take the state as it is, and 1: a model this simple is wrong, as models of real logs are."""
    return np.column_stack([np.ones(len(states)), states])


class QModel:
    """Q of one policy: linear in the state, step by step from the last to the first.

    Fitted Q evaluation for a finite horizon. The world is the same at every step, so all rows of
    the log serve every step. Nothing follows a fall; at the horizon nothing follows either.
    """

    def __init__(self, policy: Softmax, log: Episodes) -> None:
        self.policy = policy
        x, ahead = features(log.state), features(log.after)
        right = policy.right(log.after)
        taken = [log.action == a for a in (0, 1)]
        solve = [np.linalg.pinv(x[rows]) for rows in taken]
        self.weights = np.zeros((HORIZON, 2, x.shape[1]))
        following = np.zeros(len(x))
        for step in reversed(range(HORIZON)):
            target = log.reward + GAMMA * np.where(log.terminated, 0.0, following)
            for a in (0, 1):
                self.weights[step, a] = solve[a] @ target[taken[a]]
            q = self._bounded(ahead @ self.weights[step].T, step)
            following = (1 - right) * q[:, 0] + right * q[:, 1]

    @staticmethod
    def _bounded(q: Floats, steps: int | npt.NDArray[np.int64]) -> Floats:
        """Keep Q to what is possible: this step's reward at least, all that are left at most."""
        most = (1 - GAMMA ** (HORIZON - np.asarray(steps))) / (1 - GAMMA)
        return np.clip(q, 1.0, most[..., None])

    def columns(self, log: Episodes) -> cf.PolicyColumns:
        """Give prob, q and v on a log's rows."""
        q = np.einsum("nf,naf->na", features(log.state), self.weights[log.step])
        q = self._bounded(q, log.step)
        right = self.policy.right(log.state)
        return cf.PolicyColumns(
            prob=self.policy.prob(log.state, log.action),
            q=q[np.arange(len(q)), log.action],
            v=(1 - right) * q[:, 0] + right * q[:, 1],
        )
