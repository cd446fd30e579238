"""What episodes are played in: our own environments side by side, or those of gymnasium."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Protocol, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import iterate

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.simulate.environment import Environment, Episodes, check_count
from counterfolio.simulate.gymnasium_form import GymnasiumForm
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    #: Observations, rewards, terminated, truncated of the episodes that were stepped.
    Stepped = tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]

#: Episodes played at a time, in our own environments and in those of gymnasium.
SIDE_BY_SIDE, COPIES = 1024, 32
#: Observations with more numbers than this are one column of arrays.
MOST_COLUMNS = 64


class Player(Protocol):
    """Plays batches of episodes, all begun together and each left alone when it has ended."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    num_envs: int

    def begin(self, seeds: NDArray[np.uint64]) -> NDArray[Any]:
        """Begin an episode to each seed, at most `num_envs`; return what is seen."""

    def step(self, rows: NDArray[np.intp], actions: NDArray[Any]) -> Stepped:
        """Take actions in those that go on, by their position in the batch."""

    def close(self) -> None:
        """Free what was made for playing."""


class SideBySide:
    """Our own environments."""

    def __init__(self, environment: Environment, num_envs: int | None) -> None:
        self.environment = environment
        self.observation_space = environment.observation_space
        self.action_space = environment.action_space
        self.num_envs = num_envs or SIDE_BY_SIDE

    def begin(self, seeds: NDArray[np.uint64]) -> NDArray[Any]:
        """Begin them."""
        self._episodes: Episodes = self.environment.start(seeds)
        self._rows = np.arange(len(seeds))
        return self._episodes.observations

    def step(self, rows: NDArray[np.intp], actions: NDArray[Any]) -> Stepped:
        """Step all that are left, after others have been dropped."""
        if len(rows) < len(self._rows):
            self._episodes.keep(np.searchsorted(self._rows, rows))
            self._rows = rows
        found = self._episodes.step(actions)
        return self._episodes.observations, *found

    def close(self) -> None:
        """There is nothing to free."""


class Copies:
    """Copies of a gymnasium environment, one to each episode that is played.

    Parameters
    ----------
    make
        Makes one, every time another; None where there is but the one.
    first
        The first one.
    num_envs
        How many there may be.
    """

    def __init__(
        self, make: Callable[[], Any] | None, first: gym.Env[Any, Any], num_envs: int
    ) -> None:
        self._make, self.num_envs = make, num_envs
        self._copies = [first]
        self._single = self._copies[0].observation_space
        self.observation_space = flat(self._single)
        self.action_space = self._copies[0].action_space

    def begin(self, seeds: NDArray[np.uint64]) -> NDArray[Any]:
        """Reset a copy with each seed."""
        while len(self._copies) < len(seeds):
            self._copies.append(self._another())
        seen = [c.reset(seed=int(s))[0] for c, s in zip(self._copies, seeds, strict=False)]
        return self._rows(seen)

    def _another(self) -> Any:
        assert self._make is not None
        made, first = self._make(), self._copies[0]
        if made.unwrapped is first.unwrapped:
            text = (
                "the function that makes the environment returned the same one twice; it has to "
                "make another each time (lambda: gymnasium.make(...)), or pass the environment"
            )
            raise InvalidArgumentError(text)
        for what in ("observation_space", "action_space"):
            one, other = getattr(first, what), getattr(made, what)
            if not _alike(one, other):
                text = (
                    f"the function that makes the environment made one with the {what} {one}, then "
                    f"one with {other}; all have to be alike"
                )
                raise InvalidArgumentError(text)
        return made

    def _rows(self, seen: list[Any]) -> NDArray[Any]:
        shape = (len(seen), *(self.observation_space.shape or ()))
        try:
            found = flatten(self._single, seen)
        except (TypeError, ValueError, KeyError, IndexError):
            found = np.empty(0)
        if found.shape != shape or found.dtype.kind not in "fiub":
            wrong = next((x for x in seen if np.shape(x) != self._single.shape), seen[0])
            text = (
                "the environment returned an observation that is not of its observation_space "
                f"{self._single}: {wrong!r}"
            )
            raise InvalidArgumentError(text)
        return found

    def step(self, rows: NDArray[np.intp], actions: NDArray[Any]) -> Stepped:
        """Step the copies that are played."""
        seen, rewards, terminated, truncated = [], [], [], []
        discrete = isinstance(self.action_space, spaces.Discrete)
        for row, action in zip(rows, actions, strict=True):
            taken = int(action) if discrete else action
            after, reward, ended, cut, _ = self._copies[row].step(taken)
            seen.append(after)
            rewards.append(reward)
            terminated.append(ended)
            truncated.append(cut)
        return (
            self._rows(seen),
            _one_each("reward", rewards, np.float64),
            _one_each("terminated", terminated, np.bool_),
            _one_each("truncated", truncated, np.bool_),
        )

    def close(self) -> None:
        """Close the copies, but leave the only one to the caller, whose it is."""
        for copy in self._copies if self._make is not None else ():
            copy.close()


def _alike(one: spaces.Space[Any], other: spaces.Space[Any]) -> bool:
    """Whether rows of both have as many numbers; bounds of observations may differ."""
    if isinstance(one, spaces.Discrete):
        return one == other
    return type(one) is type(other) and flat(one).shape == flat(other).shape


def _one_each(what: str, given: list[Any], kind: Any) -> NDArray[Any]:
    """Take what each of several environments returned.

    Raises
    ------
    InvalidArgumentError
        If one is no number.
    """
    try:
        found = np.array(given, dtype=kind)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (len(given),):
        wrong = next((x for x in given if np.ndim(x) or isinstance(x, str)), given[0])
        text = f"the environment returned {wrong!r} as {what}, where one value is wanted"
        raise InvalidArgumentError(text)
    return found


class Vector:
    """A vector environment of gymnasium, reset as a whole before each batch.

    What its sub-environments do after their episodes have ended is not looked at.
    """

    def __init__(self, vector: VectorEnv[Any, Any, Any]) -> None:
        self._vector, self.num_envs = vector, vector.num_envs
        self._single = vector.single_observation_space
        self.observation_space = flat(self._single)
        self.action_space = vector.single_action_space
        self._waits = vector.metadata.get("autoreset_mode") == AutoresetMode.DISABLED

    def begin(self, seeds: NDArray[np.uint64]) -> NDArray[Any]:
        """Reset it, each sub-environment with its seed where it takes one."""
        n = len(seeds)
        # Those without an episode of ours play one that nobody looks at.
        padded = [int(s) for s in seeds] + [int(seeds[0])] * (self.num_envs - n)
        try:
            # What gymnasium's own take, whatever the type of the base class says.
            seen, _ = self._vector.reset(seed=cast("Any", padded))
        except (TypeError, ValueError, gym.error.Error):
            # One stream serves all its sub-environments.
            seen, _ = self._vector.reset(seed=padded[0])
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        self._actions: NDArray[Any] | None = None
        return self._seen(seen)[:n]

    def step(self, rows: NDArray[np.intp], actions: NDArray[Any]) -> Stepped:
        """Step all, and look at those that are played."""
        if self._waits and self._ended.any():
            self._vector.reset(options={"reset_mask": self._ended})
        if self._actions is None:
            self._actions = np.repeat(actions[:1], self.num_envs, axis=0)
        self._actions[rows] = actions
        seen, rewards, terminated, truncated, _ = self._vector.step(self._actions)
        self._ended = np.asarray(terminated) | np.asarray(truncated)
        return (
            self._seen(seen)[rows],
            np.asarray(rewards, dtype=np.float64)[rows],
            np.asarray(terminated, dtype=np.bool_)[rows],
            np.asarray(truncated, dtype=np.bool_)[rows],
        )

    def _seen(self, seen: Any) -> NDArray[Any]:
        if isinstance(self._single, spaces.Discrete | spaces.Box):
            # Buffers are used again for the next step.
            return np.array(seen).reshape(self.num_envs, *(self.observation_space.shape or ()))
        return flatten(self._single, list(iterate(self._vector.observation_space, seen)))

    def close(self) -> None:
        """Leave it to the caller, whose it is."""


def player_of(env: Any, num_envs: int | None) -> Player:
    """Take whatever episodes can be played in.

    Raises
    ------
    InvalidArgumentError
        If it is none of these.
    """
    if num_envs is not None:
        check_count("num_envs", num_envs)
    if isinstance(env, Environment):
        return SideBySide(env, num_envs)
    if isinstance(env, VectorEnv):
        if num_envs not in (None, env.num_envs):
            text = (
                f"the vector environment has num_envs {env.num_envs}, not {num_envs}: drop num_envs"
            )
            raise InvalidArgumentError(text)
        return Vector(env)
    if isinstance(env, str):
        if env not in gym.registry:
            text = f'gymnasium knows no environment "{env}"; {suggest(env, _near(env))}'
            raise InvalidArgumentError(text)
        return player_of(lambda: _named(env), num_envs)
    if isinstance(env, gym.Env):
        if form := _bare_form(env):
            return SideBySide(form.environment, num_envs)
        if num_envs not in (None, 1):
            text = (
                "one environment plays one episode at a time; pass its name, or a function that "
                "makes one (lambda: gymnasium.make(...)), to play several"
            )
            raise InvalidArgumentError(text)
        return Copies(None, env, 1)
    if callable(env):
        made = env()
        if isinstance(made, Environment):
            return SideBySide(made, num_envs)
        if isinstance(made, gym.Env):
            if form := _bare_form(made):
                return SideBySide(form.environment, num_envs)
            return Copies(env, made, num_envs or COPIES)
        env = made
    text = (
        "env must be an environment of counterfolio.simulate, the name of one that gymnasium "
        f"knows, a gymnasium environment or a function that makes one, not {env!r}"
    )
    raise InvalidArgumentError(text)


def _named(name: str) -> gym.Env[Any, Any]:
    """Make an environment that goes by its name alone.

    Raises
    ------
    InvalidArgumentError
        If it needs arguments, or packages that are not there.
    """
    try:
        return gym.make(name)
    except (gym.error.Error, TypeError, ImportError) as error:
        text = (
            f'gymnasium cannot make "{name}": {str(error).splitlines()[0]}; if it needs arguments, '
            "pass a function (lambda: gymnasium.make(...))"
        )
        raise InvalidArgumentError(text) from error


def _near(name: str) -> list[str]:
    """Find the names to suggest: those that are near without namespace and version, else all."""
    short: dict[str, list[str]] = {}
    for known in gym.registry:
        short.setdefault(known.split("/")[-1].split("-v")[0], []).append(known)
    found = [full for near in difflib.get_close_matches(name, short) for full in short[near]]
    return found or list(gym.registry)


def check_ends(player: Player, max_episode_steps: int | None) -> None:
    """Raise where an episode would be played for ever, or a limit of steps is none.

    Raises
    ------
    InvalidArgumentError
        If it is known of the environment that nothing ends its episodes.
    """
    if max_episode_steps is not None:
        check_count("max_episode_steps", max_episode_steps)
        return
    if not isinstance(player, SideBySide):
        return
    if not player.environment.can_end:
        text = (
            "episodes of this environment may never end: it has no horizon, and leads where no "
            "terminal state can be reached; give it a horizon, or pass max_episode_steps"
        )
        raise InvalidArgumentError(text)


def _bare_form(env: gym.Env[Any, Any]) -> GymnasiumForm | None:
    """Take one of ours out of wrappers that change nothing; None if there are others."""
    while isinstance(env, gym.wrappers.OrderEnforcing | gym.wrappers.PassiveEnvChecker):
        env = env.env
    return env if isinstance(env, GymnasiumForm) else None


def flat(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Give the space of one row: a number, or a vector of numbers."""
    if isinstance(space, spaces.Discrete) or (isinstance(space, spaces.Box) and _is_row(space)):
        return space
    found = spaces.flatten_space(space)
    if not isinstance(found, spaces.Box):
        text = f"observations of {space} cannot be made rows of numbers; wrap the environment"
        raise InvalidArgumentError(text)
    return found


def _is_row(space: spaces.Box) -> bool:
    return len(space.shape) == 1


def flatten(space: spaces.Space[Any], seen: Sequence[Any]) -> NDArray[Any]:
    """Make rows of observations."""
    if isinstance(space, spaces.Discrete) or (isinstance(space, spaces.Box) and _is_row(space)):
        return np.array(seen)
    return np.array([spaces.flatten(space, x) for x in seen])
