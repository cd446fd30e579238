"""`collect`: a log of what behavior policies did in an environment."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from gymnasium import spaces

from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.files import check_folder, check_path, write_parquet
from counterfolio.loading import read_parquet
from counterfolio.log import LoggedData
from counterfolio.policies import DeterministicAction, Mixture
from counterfolio.progress import progress
from counterfolio.simulate.players import MOST_COLUMNS, Player, SideBySide, check_ends, player_of
from counterfolio.simulate.playing import Step, play
from counterfolio.simulate.streams import episode_seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.policies import Policy

#: Name of the policy where one is given without a name.
ALONE = "behavior"


def collect(
    env: Any,
    policies: Policy | Mapping[str, Policy],
    n_episodes: int,
    seed: int,
    *,
    num_envs: int | None = None,
    max_episode_steps: int | None = None,
    state_names: Sequence[str] | None = None,
    action_probs: bool = False,
    path: str | Path | None = None,
) -> LoggedData:
    """Let behavior policies play episodes, and log what they did.

    Parameters
    ----------
    env
        An environment of `counterfolio.simulate`, of which thousands of episodes are played side by
        side; the name of one that gymnasium knows; a function that makes a gymnasium environment;
        a single one; or a vector environment.
    policies
        One policy, or several by name, dealt to the episodes in turn. Actions are drawn from
        `action_probs(states)` of a discrete one, by `sample(states, rng)` of a continuous one,
        states being float64 of shape (n, d).
    n_episodes
        How many in all.
    seed
        One for everything: the environment and the policies. Episode i has the seed
        `counterfolio.simulate.episode_seeds(seed, n_episodes)[i]`, with which it can be played
        again; a log of more episodes begins with that of fewer.
    num_envs
        Episodes played at a time. The log does not depend on it, except in a vector environment
        whose episodes share one stream. Default: 1,024 of our own, 32 of gymnasium's.
    max_episode_steps
        Steps after which an episode is cut off, beside the environment's own limit.
    state_names
        Names of the state's columns. Default: the environment's, else state_0, state_1, ...;
        "state" for a number, or for an array where there are more than 64.
    action_probs
        Whether to log the probabilities of all actions, as the column "action_probs".
    path
        File to write, Parquet, batch by batch: memory then holds one batch while it is made. The
        log that is returned is read from it.

    Returns
    -------
    LoggedData
        Columns: episode, step, the state, action, propensity (density of continuous actions) of
        what was drawn, reward, terminated (the episode came to its own end), truncated (it was cut
        off); with several policies logger (its name) and propensity_<name> of every policy, so that
        `log.balanced()` works.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range, the environment's spaces are not offered, or its
        episodes never end.
    InvalidPolicyError
        If a policy cannot act in the environment, or gives no propensity to what it drew.

    Notes
    -----
    Continuous actions beyond the bounds of the action space are executed at the bound and logged as
    they were drawn, since it is that to which the density belongs. Where an episode ends at the
    very step of a time limit it is logged as terminated. Nothing is logged past the end.
    """
    named = check_behaviors(policies)
    for name, policy in named.items():
        check_density(name, policy)
    seeds = episode_seeds(seed, n_episodes)
    if n_episodes < len(named):
        text = f"n_episodes must be {len(named)} or more, one to each policy, not {n_episodes}"
        raise InvalidArgumentError(text)
    if path is not None:
        check_folder(check_path(path))
    player = player_of(env, num_envs)
    try:
        check_ends(player, max_episode_steps)
        table = Table(player, named, state_names, action_probs=action_probs)
        batches = _batches(player, named, seeds, max_episode_steps, table)
        if path is not None:
            _write(batches, table, path)
            return read_parquet(path)
        return LoggedData.from_frame(pl.concat(batches), **table.roles)
    finally:
        player.close()


def check_behaviors(policies: Any) -> dict[str, Any]:
    """Take policies by name.

    Raises
    ------
    InvalidArgumentError
        If there is none, or a name is no text.
    """
    wanted = 'policies must be one, or several by name ({"name": policy, ...})'
    if isinstance(policies, list | tuple):
        text = f"{wanted}, not a {type(policies).__name__}"
        raise InvalidArgumentError(text)
    if not hasattr(policies, "items"):
        return {ALONE: policies}
    named = dict(policies.items())
    wrong = [name for name in named if not isinstance(name, str) or not name]
    if not named or wrong:
        text = f"{wanted}; {f'{wrong[0]!r} is no name' if wrong else 'there is none'}"
        raise InvalidArgumentError(text)
    return named


def check_density(name: str, policy: Any) -> None:
    """Raise where what a policy does has no density, whatever a kernel makes of it.

    Raises
    ------
    InvalidPolicyError
        If it is a `DeterministicAction`, or a mixture with one.
    """
    if isinstance(policy, Mixture):
        for part in policy.policies:
            check_density(name, part)
    if isinstance(policy, DeterministicAction):
        text = (
            f'policy "{name}": DeterministicAction cannot log: what it does has no density, and '
            "importance weights none to divide by; add noise with Gaussian or TruncatedGaussian"
        )
        raise InvalidPolicyError(text)


def _batches(
    player: Player,
    policies: Mapping[str, Any],
    seeds: NDArray[np.uint64],
    max_episode_steps: int | None,
    table: Table,
) -> Iterator[pl.DataFrame]:
    """Play all episodes, and give the rows of one batch after the other."""
    with progress("collecting") as report:
        for first in range(0, len(seeds), player.num_envs):
            own = seeds[first : first + player.num_envs]
            of = (first + np.arange(len(own))) % len(policies)
            steps: list[tuple[int, Step]] = []

            def visit(number: int, step: Step, to: list[tuple[int, Step]] = steps) -> None:
                to.append((number, step))

            play(player, policies, of, own, max_episode_steps, visit, first=first)
            yield table.rows(steps, first, of)
            if report is not None:
                report((first + len(own)) / len(seeds))


def _write(batches: Iterator[pl.DataFrame], table: Table, path: str | Path) -> None:
    """Write batches as they come, then join them to one file."""
    place = check_path(path).resolve().parent
    with tempfile.TemporaryDirectory(prefix=".counterfolio.", dir=place) as folder:
        parts = []
        roles: dict[str, Any] = {}
        for i, batch in enumerate(batches):
            parts.append(Path(folder) / f"{i:08}.parquet")
            batch.write_parquet(parts[-1])
            # Not every batch need have an episode of every logger.
            own = {**table.roles, "logger_propensities": None}
            roles = roles or LoggedData.from_frame(batch, **own).roles
        roles["logger_propensities"] = table.roles.get("logger_propensities")
        write_parquet(pl.scan_parquet(parts), path, {**roles, "propensity_source": "logged"})


class Table:
    """The columns of a log."""

    def __init__(
        self,
        player: Player,
        policies: Mapping[str, Any],
        state_names: Sequence[str] | None,
        *,
        action_probs: bool,
    ) -> None:
        self._names = list(policies)
        self._dense = action_probs
        self._states = _state_names(player, state_names)
        continuous = isinstance(player.action_space, spaces.Box)
        if continuous and action_probs:
            text = "action_probs are of discrete actions; a continuous one has a density: drop it"
            raise InvalidArgumentError(text)
        self.roles: dict[str, Any] = {
            "episode_id": "episode",
            "timestep": "step",
            "state": self._states,
            "terminated": "terminated",
            "truncated": "truncated",
        }
        if isinstance(player.action_space, spaces.Discrete):
            first = int(player.action_space.start)
            # Also those that nobody takes have their columns in dense arrays.
            self.roles["actions"] = list(range(first, first + int(player.action_space.n)))
        else:
            self.roles["action_type"] = "continuous"
        if action_probs:
            self.roles["action_probs"] = "action_probs"
        if len(policies) > 1:
            self.roles["logger"] = "logger"
            self.roles["logger_propensities"] = {n: f"propensity_{n}" for n in policies}
        own = {"episode", "step", "action", "propensity", "reward", "terminated", "truncated"}
        own |= {"logger", "action_probs", *(f"propensity_{n}" for n in policies)}
        if len({*self._states} - own) < len(self._states):
            wrong = next((n for n in self._states if n in own), self._states[0])
            text = f'state_names: "{wrong}" is the name of another column, or stands there twice'
            raise InvalidArgumentError(text)

    def rows(self, steps: list[tuple[int, Step]], first: int, of: NDArray[np.intp]) -> pl.DataFrame:
        """Make a table of a batch, episode after episode.

        Parameters
        ----------
        first
            Number of the batch's first episode.
        of
            Which policy played each episode.
        """
        row = np.concatenate([step.rows for _, step in steps])
        number = np.concatenate([np.full(len(step.rows), n) for n, step in steps])
        order = np.argsort(row, kind="stable")

        def column(take: Callable[[Step], NDArray[Any]]) -> NDArray[Any]:
            found: NDArray[Any] = np.concatenate([take(step) for _, step in steps])[order]
            return found

        row, number = row[order], number[order]
        propensities = np.concatenate([s.propensities for _, s in steps], axis=1)[:, order]
        seen = column(lambda step: step.seen)
        wide = seen.ndim == 2 and len(self._states) == seen.shape[1]
        states = dict(zip(self._states, seen.T if wide else [seen], strict=True))
        actions = column(lambda step: step.actions)
        columns: dict[str, Any] = {
            "episode": first + row,
            "step": number,
            **{name: np.ascontiguousarray(values) for name, values in states.items()},
            "action": actions[:, 0] if actions.ndim == 2 and actions.shape[1] == 1 else actions,
            "propensity": propensities[of[row], np.arange(len(row))],
            "reward": column(lambda step: step.rewards),
            "terminated": column(lambda step: step.terminated),
            "truncated": column(lambda step: step.truncated),
        }
        if "logger" in self.roles:
            kinds = pl.Enum(self._names)
            columns["logger"] = pl.Series(np.array(self._names)[of[row]], dtype=kinds)
            for name, own in zip(self._names, propensities, strict=True):
                columns[f"propensity_{name}"] = own
        if self._dense:
            columns["action_probs"] = column(_dense)
        return pl.DataFrame(columns)


def _dense(step: Step) -> NDArray[Any]:
    assert step.probs is not None
    return step.probs


def _state_names(player: Player, given: Sequence[str] | None) -> list[str]:
    """Name the state's columns.

    Raises
    ------
    InvalidArgumentError
        If there is not one name to each.
    """
    space = player.observation_space
    width = int(np.prod(space.shape or (1,)))
    one = isinstance(space, spaces.Discrete) or (given is None and width > MOST_COLUMNS)
    if given is None:
        if isinstance(player, SideBySide):
            return list(player.environment.state_names)
        return ["state"] if one else [f"state_{i}" for i in range(width)]
    names = [given] if isinstance(given, str) or not np.iterable(given) else list(given)
    if len(names) not in (width, 1) or not all(isinstance(n, str) and n for n in names):
        text = f"state_names must be {width} names, or one for an array, not {given!r}"
        raise InvalidArgumentError(text)
    return names
