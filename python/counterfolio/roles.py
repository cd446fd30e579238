"""Which column of a table plays which part in a log, and what each has to hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from counterfolio import _core
from counterfolio.episodes import check_cluster, find_episodes
from counterfolio.exceptions import InvalidLogError
from counterfolio.loggers import check_loggers
from counterfolio.sources import column_label
from counterfolio.states import States

if TYPE_CHECKING:
    import polars as pl

    from counterfolio.sources import Table

ACTION_TYPES = ("discrete", "continuous")
#: Parts that one column plays, but for `action_probs`, a column of arrays.
SINGLE = (
    *("action", "reward", "propensity", "episode_id"),
    *("timestep", "terminated", "truncated", "cluster", "logger"),
)


class Roles(TypedDict, total=False):
    """Which column plays which part: the keywords of `LoggedData.from_frame`."""

    action: str
    reward: str
    propensity: str | None
    episode_id: str | None
    timestep: str | None
    state: str | Sequence[str] | None
    terminated: str | None
    truncated: str | None
    cluster: str | None
    logger: str | None
    logger_propensities: Mapping[Any, str] | None
    actions: Sequence[Any] | None
    action_type: Literal["discrete", "continuous"]
    action_probs: str | None


def state_names(state: object) -> list[Any]:
    """List the state columns that were named."""
    if state is None or isinstance(state, str):
        return [] if state is None else [state]
    if not isinstance(state, Sequence):
        text = f"state must be the name of a column or a list of names, not {state!r}"
        raise InvalidLogError(text)
    return list(state)


def check_propensity(column: _core.Column, label: str, action_type: str) -> None:
    """Raise unless all are probabilities above 0, or densities where actions are continuous."""
    rule = "propensity" if action_type == "discrete" else "propensity density"
    _core.check_column(column, rule, label)


def check_columns(
    table: Table, roles: Mapping[str, Any]
) -> tuple[_core.Episodes, _core.Column | None, dict[str, int]]:
    """Check every column that has a part.

    Returns
    -------
    The episodes, the propensities if there are any, and what the checks found on the way.

    Raises
    ------
    InvalidLogError
        As `LoggedData.from_frame`.
    """
    action, reward, propensity, *_ = single = [roles[part] for part in SINGLE]
    states = roles["state"] or []
    used = [name for name in (*single, roles["action_probs"]) if name is not None]
    for name in (*used, *states):
        table.check(name)
    others = [name for name in (action, *single[2:], *states) if name is not None]
    _check_lengths(table, [reward, *others])
    rewards = table.column(reward)
    if len(rewards) == 0:
        text = f"the log is empty: {column_label(reward)} has no rows"
        raise InvalidLogError(text)
    _core.check_column(rewards, "amount", column_label(reward))
    _core.check_present(table.column(action), column_label(action))
    if "List(" in table.column(action).dtype:
        _check_vectors(table.series(action), roles["action_type"])
    propensities = None
    if propensity is not None:
        propensities = table.column(propensity)
        check_propensity(propensities, column_label(propensity), roles["action_type"])
    flags = [roles[part] for part in ("terminated", "truncated") if roles[part] is not None]
    for name in flags:
        _core.check_column(table.column(name), "flag", column_label(name))
    episodes = find_episodes(table, len(rewards), roles["episode_id"], flags)
    facts = {name: episodes.check_ends(table.column(name), column_label(name)) for name in flags}
    if (timestep := roles["timestep"]) is not None:
        facts["gaps"] = episodes.check_timesteps(table.column(timestep), column_label(timestep))
    if roles["cluster"] is not None:
        check_cluster(table, roles["cluster"], episodes)
    own = check_loggers(table, roles, episodes)
    return episodes, own if propensities is None else propensities, facts


def _check_vectors(actions: pl.Series, action_type: str) -> None:
    """Raise where actions that are lists are not vectors of as many numbers each."""
    if action_type == "discrete":
        text = (
            f"{column_label(actions.name)} holds {actions.dtype}, which is no label; "
            'action_type="continuous" admits vectors'
        )
        raise InvalidLogError(text)
    vectors = States([actions])
    if not vectors.numeric:
        text = (
            f"{column_label(actions.name)} holds {actions.dtype}; give every action the same "
            "number of numbers"
        )
        raise InvalidLogError(text)
    vectors.check()


def _check_lengths(table: Table, names: list[str]) -> None:
    """Raise unless all used columns have the length of the first."""
    first, expected = column_label(names[0]), len(table.column(names[0]))
    for name in names[1:]:
        if (length := len(table.column(name))) != expected:
            text = (
                f"{column_label(name)} has {length} rows, but {first} has {expected}; pass columns "
                "of one length"
            )
            raise InvalidLogError(text)
