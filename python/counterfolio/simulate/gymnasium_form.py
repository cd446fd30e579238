"""Our environments as gymnasium knows them: one episode at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

if TYPE_CHECKING:
    from counterfolio.simulate.environment import Environment, Episodes


class GymnasiumForm(gym.Env[Any, Any]):
    """One episode after the other of an `Environment`.

    `reset(seed=s)` plays the episode of seed s, the same as `Environment.start([s])`; `reset()`
    draws the next seed from the generator that the last one left.

    Parameters
    ----------
    environment
        What is played.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.observation_space = environment.observation_space
        self.action_space = environment.action_space
        self._episode: Episodes | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        if seed is None:
            seed = int(self.np_random.integers(2**32))
        self._episode = self.environment.start([seed])
        return self._seen(), self._known()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take an action."""
        if self._episode is None:
            text = "reset the environment before its first step"
            raise gym.error.ResetNeeded(text)
        actions = np.asarray(action)[None, ...]
        reward, terminated, truncated = self._episode.step(actions)
        ended = bool(terminated[0]), bool(truncated[0])
        seen, known = self._seen(), self._known()
        if any(ended):
            self._episode = None
        return seen, float(reward[0]), *ended, known

    def _seen(self) -> Any:
        assert self._episode is not None
        return self._episode.observations[0]

    def _known(self) -> dict[str, Any]:
        assert self._episode is not None
        return {name: column[0] for name, column in self._episode.info.items()}
