"""What an environment is here: a rule by which many episodes advance side by side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import is_number, is_whole, one_of
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.simulate.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gymnasium import Env, Space
    from gymnasium.vector import VectorEnv
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]
    #: What an episode is in, by name; arrays with a row to an episode.
    State = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Advance:
    """What a step of n episodes brought.

    Attributes
    ----------
    state
        What they are in now.
    rewards
        Of shape (n,).
    terminated
        Whether an episode has come to an end of its own, of shape (n,).
    info
        What else is known of the step; arrays with a row to an episode.
    """

    state: State
    rewards: Floats
    terminated: Bools
    info: Mapping[str, NDArray[Any]]


class Environment(ABC):
    """An environment of which thousands of episodes are played side by side, in numpy.

    Nothing in it changes: episodes are begun with `start`, and live in what that returns. The same
    seed makes the same episode whichever others are played beside it, and in the form for gymnasium
    (`to_gymnasium`, or `gymnasium.make`).

    Attributes
    ----------
    observation_space, action_space : gymnasium.Space
        Of one episode.
    state_names : list of str
        Names of the columns of an observation.
    horizon : int or None
        Steps after which an episode is cut off (`truncated`); None where it never is.
    """

    horizon: int | None

    def __repr__(self) -> str:
        # Arrays by their shape, and nothing that is as it would be by default.
        own = []
        arguments: tuple[Any, ...] = fields(self) if is_dataclass(self) else ()
        for field in arguments:
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                if is_number(field.default) and (value == field.default).all():
                    continue
                own.append(f"{field.name}=<{' x '.join(map(str, value.shape))}>")
            elif value != field.default:
                own.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(own)})"

    @property
    @abstractmethod
    def observation_space(self) -> Space[Any]:
        """Space of one observation."""

    @property
    @abstractmethod
    def action_space(self) -> Space[Any]:
        """Space of one action."""

    @property
    @abstractmethod
    def state_names(self) -> Sequence[str]:
        """Names of an observation's columns."""

    @property
    def can_end(self) -> bool:
        """Whether an episode can come to an end from wherever it may get."""
        return True

    @abstractmethod
    def begin(self, streams: Streams) -> tuple[State, Mapping[str, NDArray[Any]]]:
        """Draw what episodes begin in, and give what else is known of them."""

    @abstractmethod
    def observe(self, state: State, streams: Streams) -> NDArray[Any]:
        """Give what a policy sees, with a row to an episode."""

    @abstractmethod
    def advance(self, state: State, actions: NDArray[Any], streams: Streams) -> Advance:
        """Let every episode take its action; `streams.step` steps were taken before."""

    def start(self, seeds: Any) -> Episodes:
        """Begin episodes, one to each seed.

        Parameters
        ----------
        seeds
            Whole numbers of 0 or more, of shape (n,).

        Raises
        ------
        InvalidArgumentError
            If they are none.
        """
        return Episodes(self, seeds)

    def to_gymnasium(self) -> Env[Any, Any]:
        """Give the form of one episode at a time that gymnasium knows."""
        from counterfolio.simulate.gymnasium_form import GymnasiumForm

        return GymnasiumForm(self)

    def to_vector(self, num_envs: int) -> VectorEnv[Any, Any, Any]:
        """Give gymnasium's form of many episodes side by side."""
        from counterfolio.simulate.vector_form import VectorForm

        return VectorForm(self, num_envs)


class Episodes:
    """Episodes of one environment, side by side and at the same step.

    Attributes
    ----------
    seeds : numpy.ndarray of shape (n,)
        One to each episode.
    step_number : int
        Steps taken so far.
    observations : numpy.ndarray
        What a policy sees now, with a row to an episode.
    info : dict
        What else is known, by name; arrays with a row to an episode.
    """

    def __init__(self, environment: Environment, seeds: Any) -> None:
        self._environment = environment
        given = np.atleast_1d(np.asarray(seeds))
        if given.ndim != 1 or given.dtype.kind not in "iu" or (given < 0).any():
            text = f"seeds must be whole numbers of 0 or more, one to each episode, not {seeds!r}"
            raise InvalidArgumentError(text)
        self.seeds = given.astype(np.uint64)
        self.step_number = 0
        streams = Streams(self.seeds, 0)
        self._state, self.info = environment.begin(streams)
        self.observations = environment.observe(self._state, streams)

    def __len__(self) -> int:
        return len(self.seeds)

    def step(self, actions: Any) -> tuple[Floats, Bools, Bools]:
        """Let every episode take an action.

        Parameters
        ----------
        actions
            Of shape (n,), or (n, d) where an action has d numbers.

        Returns
        -------
        rewards, terminated, truncated : numpy.ndarray of shape (n,)
            What was earned; whether the episode came to its own end; whether it was cut off at the
            horizon. What is seen then is in `observations`.

        Raises
        ------
        InvalidArgumentError
            If there is not one action to each episode, or one is none of the environment's; if the
            horizon is past; or if the environment has not given each a reward, an observation, and
            whether it has ended.
        """
        horizon = self._environment.horizon
        if horizon is not None and self.step_number >= horizon:
            text = f"these episodes were cut off after {horizon} steps; start others"
            raise InvalidArgumentError(text)
        streams = Streams(self.seeds, self.step_number)
        taken = check_actions(actions, self._environment.action_space, len(self))
        done = self._environment.advance(self._state, taken, streams)
        self.step_number += 1
        self._state, self.info = done.state, done.info
        self.observations = self._environment.observe(
            self._state, Streams(self.seeds, self.step_number)
        )
        seen = np.asarray(self.observations).shape
        if seen != (len(self), *(self._environment.observation_space.shape or ())):
            text = (
                f"{type(self._environment).__name__}.observe returned shape {seen} for {len(self)} "
                "episodes; a row of its observation space to each is wanted"
            )
            raise InvalidArgumentError(text)
        rewards, terminated = self._each("rewards", done.rewards), done.terminated
        terminated = self._each("terminated", terminated).astype(np.bool_)
        cut = horizon is not None and self.step_number >= horizon
        return rewards.astype(np.float64), terminated, np.logical_and(cut, ~terminated)

    def _each(self, what: str, given: Any) -> NDArray[Any]:
        found = np.asarray(given)
        if found.shape != (len(self),) or found.dtype.kind not in "fiub":
            text = (
                f"{type(self._environment).__name__}.advance returned {what} of shape "
                f"{found.shape} ({found.dtype}) for {len(self)} episodes; one to each is wanted"
            )
            raise InvalidArgumentError(text)
        return found

    def keep(self, rows: Any) -> None:
        """Go on with some of the episodes only.

        Parameters
        ----------
        rows
            Which, as an array of positions or of booleans.
        """
        self.seeds = self.seeds[rows]
        self.observations = self.observations[rows]
        self._state = {name: column[rows] for name, column in self._state.items()}
        self.info = {name: column[rows] for name, column in self.info.items()}


# What the environments share.


def check_count(what: str, value: object, least: int = 1) -> int:
    """Take a whole number.

    Raises
    ------
    InvalidArgumentError
        If it is none, or too small.
    """
    if not is_whole(value) or value < least:
        text = f"{what} must be a whole number of {least} or more, not {value!r}"
        raise InvalidArgumentError(text)
    return int(value)


def check_spread(what: str, value: object) -> float:
    """Take a standard deviation.

    Raises
    ------
    InvalidArgumentError
        If it is not finite, or below 0.
    """
    if not is_number(value) or not 0 <= value < np.inf:
        text = f"{what} must be a finite number of 0 or more, not {value!r}"
        raise InvalidArgumentError(text)
    return float(value)


def check_function(what: str, value: object) -> None:
    """Raise unless it can be called, or is None."""
    if value is not None and not callable(value):
        text = f"{what} must be a callable, or None for the environment's own, not {value!r}"
        raise InvalidArgumentError(text)


def answered(what: str, found: Any, shape: tuple[int, ...]) -> Floats:
    """Take what a callable of the user returned.

    Raises
    ------
    InvalidArgumentError
        If it has another shape, or is not finite.
    """
    return numbers(f"{what} returned", found, shape)


def numbers(what: str, found: Any, shape: tuple[int, ...]) -> Floats:
    """Take finite numbers of a shape.

    Parameters
    ----------
    what
        What was found, with its verb, for messages.

    Raises
    ------
    InvalidArgumentError
        If it has another shape, or is not finite.
    """
    array = np.asarray(found)
    if array.dtype.kind not in "fiub" or array.shape != shape:
        text = f"{what} {array.dtype} of shape {array.shape}; numbers of shape {shape} are wanted"
        raise InvalidArgumentError(text)
    values = array.astype(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        first = ", ".join(str(i) for i in np.unravel_index(int(bad.argmax()), shape))
        text = f"{what} {int(bad.sum()):,} of {bad.size:,} values not finite, first at ({first})"
        raise InvalidArgumentError(text)
    return values


def check_actions(actions: Any, space: Any, n: int) -> NDArray[Any]:
    """Take an action for each of n episodes.

    Raises
    ------
    InvalidArgumentError
        If there is not one to each, or one is none of the environment's; numbers beyond the bounds
        of a box are taken as they are.
    """
    given = np.asarray(actions)
    if not space.shape:
        if given.shape != (n,) or given.dtype.kind not in "iu":
            text = (
                f"actions must be whole numbers of shape ({n},), not {given.dtype} of shape "
                f"{given.shape}"
            )
            raise InvalidArgumentError(text)
        bad = (given < 0) | (given >= space.n)
        if bad.any():
            row = int(bad.argmax())
            text = (
                f"{int(bad.sum())} of {n} actions are none of 0 to {space.n - 1}, first at row "
                f"{row} ({given[row]})"
            )
            raise InvalidArgumentError(text)
        return given
    return numbers("actions are", given, (n, *space.shape))


def check_rewards(reward_type: object, reward_std: object) -> None:
    """Raise unless they describe how rewards are drawn."""
    one_of("reward_type", reward_type, ("continuous", "binary"))
    if check_spread("reward_std", reward_std) > 0 and reward_type == "binary":
        text = "reward_std is of continuous rewards; a binary one has none: drop it"
        raise InvalidArgumentError(text)


def draw_rewards(mean: Floats, reward_type: str, reward_std: float, streams: Streams) -> Floats:
    """Draw rewards: normal about the mean, or 1 with the probability of its logistic function."""
    if reward_type == "binary":
        chance = 1 / (1 + np.exp(-mean))
        return (streams("reward").random(len(mean)) < chance).astype(np.float64)
    if reward_std == 0:
        return mean
    return mean + reward_std * streams("reward").standard_normal(len(mean))


def see(states: Floats, obs_std: float, space: Any, streams: Streams) -> Floats:
    """See states with noise, cut to their space."""
    if obs_std == 0:
        return states.copy()
    noise = obs_std * streams("observation").standard_normal(states.shape)
    seen: Floats = np.clip(states + noise, space.low, space.high)
    return seen


# Sums over columns, one after the other: a product of matrices rounds differently with the number
# of rows, and an episode must not depend on those beside it.


def product(x: Floats, w: Floats) -> Floats:
    """Multiply rows of shape (n, d) with a matrix of shape (d, k), or a vector (d,)."""
    x = x[:, :, None] if w.ndim == 2 else x
    total: Floats = x[:, 0] * w[0]
    for j in range(1, len(w)):
        total += x[:, j] * w[j]
    return total


def row_sum(x: Floats) -> Floats:
    """Sum each row of shape (n, d)."""
    total = x[:, 0].copy()
    for j in range(1, x.shape[1]):
        total += x[:, j]
    return total


def unit(x: Floats) -> Floats:
    """Scale each row to length 1."""
    length: Floats = np.sqrt(row_sum(x * x))
    # Within the box, whatever the rounding.
    return np.clip(x / np.where(length > 0, length, 1.0)[:, None], -1.0, 1.0)
