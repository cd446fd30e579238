"""`Basic`: a synthetic world of few dimensions, smooth in states and actions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gymnasium import spaces

from counterfolio.arguments import one_of
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.simulate.environment import (
    Advance,
    Environment,
    answered,
    check_count,
    check_function,
    check_rewards,
    check_spread,
    draw_rewards,
    numbers,
    product,
    row_sum,
    see,
    unit,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from counterfolio.simulate.environment import State
    from counterfolio.simulate.streams import Streams

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Basic(Environment):
    """States on the unit sphere, moved by actions; rewards bilinear in both.

    With s/d and a/m, the state and the action divided by their numbers of dimensions:

        mean reward  = theta_s . s/d + theta_a . a/m + (s/d)' M (a/m)
        next state   = u / ||u||,  u = A s/d + B a/m + ((s/d)' C (a/m)) 1

    all coefficients standard normal, drawn once from `world_seed`. Episodes begin at a uniform
    point of the sphere and are cut off at the horizon.

    Parameters
    ----------
    horizon
        Steps of an episode.
    state_dim, action_dim
        Numbers d and m of dimensions.
    action_type
        "discrete": n_actions actions, each a point of the action space. "continuous": a box from -1
        to 1 in each dimension; actions beyond it are taken as they are.
    n_actions
        How many discrete actions there are.
    action_context
        Their points, of shape (n_actions, action_dim). Default: standard normal.
    reward_type
        "continuous"; or "binary": 1 with the probability of the mean's logistic function, else 0.
    reward_std
        Standard deviation of a continuous reward.
    obs_std
        Standard deviation of the noise in what is seen of the state, cut to the box from -1 to 1.
    reward
        (states, actions) -> mean rewards of shape (n,), in place of the above; states are of shape
        (n, state_dim), actions points of shape (n, action_dim).
    transition
        (states, actions, rng) -> next states of shape (n, state_dim), in place of the above. `rng`
        is an `EpisodeRandom`: its sizes begin with n.
    world_seed
        Of the coefficients.

    Notes
    -----
    The dynamics are those of SCOPE-RL's BasicGym (Apache-2.0), with its faults mended: rewards and
    dynamics have coefficients of their own, not the same numbers; binary rewards exist; noise
    follows the seed; what is seen stays in the space that is said.
    """

    horizon: int = 10
    state_dim: int = 5
    action_type: Literal["discrete", "continuous"] = "discrete"
    n_actions: int = 10
    action_dim: int = 3
    action_context: Any = None
    reward_type: Literal["continuous", "binary"] = "continuous"
    reward_std: float = 0.0
    obs_std: float = 0.0
    reward: Callable[[Floats, Floats], Any] | None = None
    transition: Callable[[Floats, Floats, Any], Any] | None = None
    world_seed: int = 12345

    def __post_init__(self) -> None:
        for what in ("horizon", "state_dim", "n_actions", "action_dim"):
            check_count(what, getattr(self, what))
        check_count("world_seed", self.world_seed, 0)
        one_of("action_type", self.action_type, ("discrete", "continuous"))
        check_rewards(self.reward_type, self.reward_std)
        check_spread("obs_std", self.obs_std)
        check_function("reward", self.reward)
        check_function("transition", self.transition)
        if self.action_context is not None:
            if self.action_type == "continuous":
                text = "action_context is of discrete actions; continuous ones are points: drop it"
                raise InvalidArgumentError(text)
            shape = (self.n_actions, self.action_dim)
            found = numbers("action_context is", self.action_context, shape)
            object.__setattr__(self, "action_context", found)

    @cached_property
    def observation_space(self) -> spaces.Box:
        """The unit sphere's box; without bounds where the transition is the user's."""
        bound = 1.0 if self.transition is None else np.inf
        return spaces.Box(-bound, bound, (self.state_dim,), np.float64)

    @cached_property
    def action_space(self) -> spaces.Space[Any]:
        """Numbers from 0, or a box."""
        if self.action_type == "discrete":
            return spaces.Discrete(self.n_actions)
        return spaces.Box(-1.0, 1.0, (self.action_dim,), np.float64)

    @property
    def state_names(self) -> list[str]:
        """state_0, state_1, ..."""
        return [f"state_{i}" for i in range(self.state_dim)]

    @cached_property
    def contexts(self) -> Floats:
        """Points of the discrete actions, of shape (n_actions, action_dim)."""
        if self.action_context is not None:
            return np.asarray(self.action_context)
        return self._drawn(0).standard_normal((self.n_actions, self.action_dim))

    def _drawn(self, what: int) -> np.random.Generator:
        """Give contexts, dynamics and rewards streams of their own."""
        return np.random.default_rng([self.world_seed, what])

    @cached_property
    def _dynamics(self) -> tuple[Floats, Floats, Floats]:
        d, m, rng = self.state_dim, self.action_dim, self._drawn(1)
        a, b, c = (rng.standard_normal(shape) for shape in ((d, d), (d, m), (d, m)))
        # Transposed where rows are multiplied from the left.
        return np.ascontiguousarray(a.T), np.ascontiguousarray(b.T), c

    @cached_property
    def _rewards(self) -> tuple[Floats, Floats, Floats]:
        d, m, rng = self.state_dim, self.action_dim, self._drawn(2)
        theta_s, theta_a, bilinear = (rng.standard_normal(shape) for shape in (d, m, (d, m)))
        return theta_s, theta_a, bilinear

    def mean_reward(self, states: Floats, actions: Floats) -> Floats:
        """Return the mean reward (of a binary one: its log-odds) of points of shape (n, d), (n, m).

        Parameters
        ----------
        states
            Of shape (n, state_dim).
        actions
            Points, of shape (n, action_dim).
        """
        if self.reward is not None:
            return answered("reward(states, actions)", self.reward(states, actions), (len(states),))
        theta_s, theta_a, bilinear = self._rewards
        s, a = states / self.state_dim, actions / self.action_dim
        return product(s, theta_s) + product(a, theta_a) + row_sum(product(s, bilinear) * a)

    def next_state(self, states: Floats, actions: Floats, rng: Any = None) -> Floats:
        """Return the states that follow, of shape (n, state_dim)."""
        if self.transition is not None:
            found = self.transition(states, actions, rng)
            return answered("transition(states, actions, rng)", found, states.shape)
        own, moved, bilinear = self._dynamics
        s, a = states / self.state_dim, actions / self.action_dim
        together = row_sum(product(s, bilinear) * a)
        return unit(product(s, own) + product(a, moved) + together[:, None])

    def begin(self, streams: Streams) -> tuple[State, dict[str, NDArray[Any]]]:
        """Begin at a uniform point of the sphere."""
        drawn = streams("initial").standard_normal((len(streams.seeds), self.state_dim))
        return {"state": unit(drawn)}, {}

    def observe(self, state: State, streams: Streams) -> Floats:
        """See the state, with noise."""
        return see(state["state"], self.obs_std, self.observation_space, streams)

    def advance(self, state: State, actions: NDArray[Any], streams: Streams) -> Advance:
        """Earn the reward of this state and action, and move."""
        now = state["state"]
        points = self.contexts[actions] if self.action_type == "discrete" else actions
        points = points.reshape(len(now), self.action_dim)
        mean = self.mean_reward(now, points)
        return Advance(
            {"state": self.next_state(now, points, streams("transition"))},
            draw_rewards(mean, self.reward_type, self.reward_std, streams),
            np.zeros(len(now), dtype=np.bool_),
            {},
        )
