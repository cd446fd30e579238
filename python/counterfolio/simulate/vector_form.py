"""Our environments as gymnasium's vector environments: many episodes side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from counterfolio.simulate.environment import check_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.simulate.environment import Environment, Episodes


class VectorForm(VectorEnv[Any, Any, Any]):
    """Episodes of an `Environment` side by side, with gymnasium's next-step autoreset.

    `reset(seed=s)` begins the episodes of seeds s, s + 1, ..., as gymnasium's own vector
    environments do; a list has a seed for each. Where an episode has ended, the next step begins
    another, whose reward is 0.

    Parameters
    ----------
    environment
        What is played.
    num_envs
        Episodes side by side.
    """

    def __init__(self, environment: Environment, num_envs: int) -> None:
        self.environment = environment
        self.num_envs = check_count("num_envs", num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.single_observation_space = environment.observation_space
        self.single_action_space = environment.action_space
        self.observation_space = batch_space(environment.observation_space, num_envs)
        self.action_space = batch_space(environment.action_space, num_envs)
        #: Episodes that began together, and where each of them stands.
        self._groups: list[tuple[NDArray[np.intp], Episodes]] = []
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin all episodes."""
        super().reset(seed=seed if seed is None or np.ndim(seed) == 0 else int(seed[0]))
        if seed is None:
            seeds = self.np_random.integers(2**32, size=self.num_envs)
        else:
            seeds = np.asarray(seed)
            seeds = seeds + np.arange(self.num_envs) if seeds.ndim == 0 else seeds
        self._ended[:] = False
        self._groups = []
        self._begin(np.arange(self.num_envs), seeds)
        return self._seen(), {}

    def step(
        self, actions: Any
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Take an action in each, or begin anew where an episode has ended."""
        if not self._groups and not self._ended.any():
            text = "reset the environment before its first step"
            raise gym.error.ResetNeeded(text)
        actions = np.asarray(actions)
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), dtype=np.bool_)
        anew = np.flatnonzero(self._ended)
        for at, episodes in self._groups:
            rewards[at], terminated[at], truncated[at] = episodes.step(actions[at])
        self._ended = terminated | truncated
        seen = self._seen()
        self._groups = [self._going_on(at, episodes) for at, episodes in self._groups]
        self._groups = [group for group in self._groups if len(group[0])]
        if len(anew):
            self._begin(anew, self.np_random.integers(2**32, size=len(anew)))
            at, episodes = self._groups[-1]
            seen[at] = episodes.observations
        return seen, rewards, terminated, truncated, {}

    def _begin(self, at: NDArray[np.intp], seeds: NDArray[Any]) -> None:
        self._groups.append((at, self.environment.start(seeds)))

    def _going_on(
        self, at: NDArray[np.intp], episodes: Episodes
    ) -> tuple[NDArray[np.intp], Episodes]:
        on = ~self._ended[at]
        if not on.all():
            episodes.keep(on)
        return at[on], episodes

    def _seen(self) -> NDArray[Any]:
        """Give what is seen in each; of those that begin anew, nothing yet."""
        space = self.single_observation_space
        shape, dtype = space.shape or (), space.dtype
        seen = np.zeros((self.num_envs, *shape), dtype=dtype)
        for at, episodes in self._groups:
            seen[at] = episodes.observations
        return seen
