"""Logs of which the truth is known exactly, as our columns and as SCOPE-RL's arrays.

Discrete logs are *populations*: every trajectory that can happen, as often as is likely. On them an
estimator that is right in expectation equals the truth, and nothing can be put down to chance.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import counterfolio as cf
import numpy as np
from scope_rl_formulas import Rows

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import mdp

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

POLICY = np.array([[0.7, 0.3], [0.2, 0.8]])
#: Standard deviation of what is wrong with the Q-model.
MODEL_ERROR = 0.3
#: What the rows hold that are added to an episode in order to fill it up.
NEUTRAL, CARRIED = "neutral", "carried"


@dataclass(frozen=True)
class Case:
    """A population and what is true of `POLICY`."""

    process: mdp.MDP
    behavior: Floats
    log: mdp.Log
    gamma: float

    @property
    def truth(self) -> float:
        """The policy's value."""
        return self.process.value(POLICY, self.gamma)

    @cached_property
    def _ours(self) -> tuple[cf.LoggedData, dict[str, cf.PolicyColumns]]:
        log = cf.LoggedData.from_frame(dict(self.log.columns), episode_id="episode_id")
        columns = {"prob": "p_new", "q": "q_new", "v": "v_new"}
        ratios = {"state_ratio": "step_new", "state_action_ratio": "step_sa_new"}
        return log, {"new": cf.PolicyColumns(**columns, **ratios, ratio_kind="step")}

    def ours(self, estimators: Sequence[str | cf.Estimator]) -> list[float]:
        """Evaluate with this package, in the order of the estimators."""
        log, policies = self._ours
        found = cf.evaluate(log, policies, estimators, gamma=self.gamma).estimates
        return found.filter(policy="new")["value"].to_list()

    def distribution(self, estimators: Sequence[str]) -> cf.Distribution:
        """Estimate distributions with this package."""
        log, policies = self._ours
        return cf.evaluate_distribution(log, policies, estimators, gamma=self.gamma)

    def theirs(self, padding: str = NEUTRAL) -> Rows:
        """Fill episodes up to the longest, as arrays of shape (n, T).

        The rows added have reward 0 and ratio 1 (and Q = V = 0), or carry the last row on: its
        action, propensity, Q and V.
        """
        shape = (self.log.n_episodes, int(self.log.lengths.max()))
        step = np.arange(shape[1])
        inside = step < self.log.lengths[:, None]
        row = self.log.offsets[:-1, None] + np.minimum(step, self.log.lengths[:, None] - 1)

        def fill(name: str, neutral: float) -> Floats:
            values = self.log.columns[name][row]
            return values if padding == CARRIED else np.where(inside, values, neutral)

        return Rows(
            reward=np.where(inside, self.log.columns["reward"][row], 0.0),
            done=(step >= self.log.lengths[:, None] - 1).astype(float),
            pscore=fill("propensity", 1.0),
            prob=fill("p_new", 1.0),
            q=fill("q_new", 0.0),
            v=fill("v_new", 0.0),
            state_ratio=fill("step_new", 1.0),
            state_action_ratio=fill("step_sa_new", 1.0),
        )

    @cached_property
    def returns(self) -> tuple[Floats, Floats]:
        """Every return that the policy can have, rising, and its probability."""
        log, probability = mdp.every_trajectory(self.process, POLICY)
        step = np.arange(len(log.columns["reward"])) - np.repeat(log.offsets[:-1], log.lengths)
        earned = log.columns["reward"] * self.gamma**step
        total = np.add.reduceat(earned, log.offsets[:-1]).round(12)
        points, at = np.unique(total, return_inverse=True)
        return points, np.bincount(at, weights=probability)


def _case(process: mdp.MDP, behavior: Floats, size: int, gamma: float) -> Case:
    log = mdp.population(process, behavior, size)
    log = mdp.add_policy(log, process, "new", POLICY, gamma, error=MODEL_ERROR)
    log = mdp.add_ratios(log, process, "new", POLICY, behavior, gamma)
    return Case(process, behavior, log, gamma)


def fixed_length(gamma: float) -> Case:
    """Give 4,096 episodes of 4 steps with rewards of 1, 2 and 3, so that returns are 4 to 12."""
    process, behavior = mdp.dyadic_mdp()
    reward = np.array([[2.0, 1.0], [1.0, 3.0]])
    process = replace(process, end=np.zeros((2, 2)), reward=reward, horizon=4)
    return _case(process, behavior, 2**12, gamma)


def unequal_length(gamma: float) -> Case:
    """Give 8,192 episodes of 1 to 3 steps, whose end depends on what is done."""
    process, behavior = mdp.dyadic_mdp()
    return _case(process, behavior, 2**13, gamma)


@dataclass(frozen=True)
class Flat:
    """Episodes of equal length that all return 1, with ratios of one step's probabilities."""

    prob: Floats  # (n, T)
    pscore: Floats

    def _estimates(self, estimators: Sequence[str]) -> pl.DataFrame:
        n, n_steps = self.prob.shape
        table = {
            "episode": np.repeat(np.arange(n), n_steps),
            "action": np.zeros(n * n_steps, dtype=int),
            "reward": np.full(n * n_steps, 1.0 / n_steps),
            "propensity": self.pscore.ravel(),
            "prob": self.prob.ravel(),
        }
        log = cf.LoggedData.from_frame(table, episode_id="episode")
        found = cf.evaluate(log, {"new": "prob"}, estimators)
        return found.estimates.filter(policy="new")

    def ours(self, estimators: Sequence[str]) -> list[float]:
        """Evaluate with this package."""
        return self._estimates(estimators)["value"].to_list()

    def noted(self, estimators: Sequence[str]) -> bool:
        """Say whether every estimate comes with a note."""
        return self._estimates(estimators)["note"].null_count() == 0

    def theirs(self) -> Rows:
        """Give the same as arrays."""
        zeros = np.zeros_like(self.prob)
        reward = np.full_like(self.prob, 1.0 / self.prob.shape[1])
        return Rows(reward, zeros, self.pscore, self.prob, zeros, zeros)


def equal_policies(n_steps: int, n_actions: int) -> Flat:
    """Give twenty episodes under the policy to be evaluated, which draws one of n actions."""
    probs = np.full((20, n_steps), 1.0 / n_actions)
    return Flat(probs, probs)


def far_policy(n_steps: int, n: int = 200) -> Flat:
    """Give a policy that takes with 0.99 what was logged half the time: all weights are tiny."""
    agree = np.random.default_rng(0).random((n, n_steps)) < 0.5
    return Flat(np.where(agree, 0.99, 0.01), np.full((n, n_steps), 0.5))


@dataclass(frozen=True)
class Lattice:
    """Actions at the cells' centres of a fine lattice over [0, width]^d, each logged once.

    The behavior policy is uniform. A sum over the lattice is an integral to many digits, so that
    kernels show their mass without noise. The reward is the mean of the action's coordinates, the
    candidate acts in the middle, and the truth is width / 2 for every symmetric kernel.
    """

    d: int
    width: float
    cells: int

    @property
    def truth(self) -> float:
        """The reward of what the candidate does."""
        return self.width / 2

    @cached_property
    def action(self) -> Floats:
        """The logged actions, (n, d)."""
        line = (np.arange(self.cells) + 0.5) * (self.width / self.cells)
        return np.stack(np.meshgrid(*[line] * self.d), axis=-1).reshape(-1, self.d)

    @property
    def chosen(self) -> Floats:
        """What the candidate does, (n, d)."""
        return np.full_like(self.action, self.width / 2)

    @property
    def reward(self) -> Floats:
        """(n,)."""
        return self.action.mean(axis=1)

    def pscore(self, joint: bool) -> Floats:
        """Give (n, d): each column its own density, or in each of them the joint one."""
        return np.full_like(self.action, self.width ** -(float(self.d) if joint else 1.0))

    def ours(self, kernel: str, bandwidth: float) -> float:
        """Evaluate with this package."""
        table = {
            "action": self.action,
            "reward": self.reward,
            "propensity": np.full(len(self.action), self.width**-self.d),
        }
        log = cf.LoggedData.from_frame(table, action_type="continuous")
        about = cf.policies.Kernel(kernel, bandwidth=bandwidth)
        policies = {"new": cf.PolicyColumns(action=self.chosen, kernel=about)}
        found = cf.evaluate(log, policies, ["tis"]).estimates
        return float(found.filter(policy="new")["value"][0])
