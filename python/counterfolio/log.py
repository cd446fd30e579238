"""`LoggedData`: what a behavior policy did and earned, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from counterfolio.arguments import one_of
from counterfolio.dense import ActionCodes, check_labels
from counterfolio.episodes import ids_of, number_clusters
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError, MissingExtraError
from counterfolio.files import write_parquet
from counterfolio.propensity_columns import with_action_probs, with_estimated, with_mixture
from counterfolio.roles import ACTION_TYPES, check_columns, state_names
from counterfolio.sources import Frame, Table, open_table
from counterfolio.states import States
from counterfolio.text import plural
from counterfolio.validation import LogReport, report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from counterfolio import _core

    PropensitySource: TypeAlias = Literal["logged", "estimated", "balanced"] | None


@dataclass(frozen=True, repr=False, eq=False)
class LoggedData:
    """A log of decisions: one row to a step, episodes contiguous, checked and ready to evaluate.

    Made by `LoggedData.from_frame` or `counterfolio.read_parquet`. The source's buffers are kept by
    reference and never copied.

    Attributes
    ----------
    n_rows, n_episodes : int
        Size of the log.
    report : LogReport
        What was checked, what the log holds and what looks wrong.
    roles : dict
        Which column plays which part.
    propensity_source : {"logged", "estimated", "balanced", None}
        Where the propensities come from; "balanced" by `balanced`, None for a log without them.
    propensity_model : dict or None
        How propensities were estimated and how well they are calibrated, the summary of
        `models.Propensities`; None where they were logged, or came as an array.
    """

    _table: Table
    _episodes: _core.Episodes
    _propensity: _core.Column | None
    roles: dict[str, Any]
    propensity_source: PropensitySource
    #: What the checks found on the way, for the report.
    _facts: dict[str, int]
    propensity_model: dict[str, Any] | None = None

    @classmethod
    def from_frame(
        cls,
        frame: Frame,
        *,
        action: str = "action",
        reward: str = "reward",
        propensity: str | None = "propensity",
        episode_id: str | None = None,
        timestep: str | None = None,
        state: str | Sequence[str] | None = None,
        terminated: str | None = None,
        truncated: str | None = None,
        cluster: str | None = None,
        logger: str | None = None,
        logger_propensities: Mapping[Any, str] | None = None,
        actions: Sequence[Any] | None = None,
        action_type: Literal["discrete", "continuous"] = "discrete",
        action_probs: str | NDArray[np.floating[Any]] | None = None,
    ) -> LoggedData:
        """Take a log from a table, one row to a decision.

        Parameters
        ----------
        frame
            A polars, pandas or pyarrow table, a DuckDB relation, a dict of numpy arrays, or any
            object with `__arrow_c_stream__` or `__arrow_c_array__`.
        action, reward
            Columns of the action taken (numbers, text or categories; continuous ones may be arrays
            or lists of d numbers, or a two-dimensional numpy array) and of what it earned.
        propensity
            Column of b(a|s), the probability with which the behavior policy took the logged action
            (for continuous actions, the joint density). None: a log without propensities, for the
            direct method alone, unless `action_probs` is given.
        episode_id
            Column of integers, text or categories; equal ids must stand together. None: each row is
            an episode, unless `terminated` or `truncated` mark the ends.
        timestep
            Column that must increase within each episode. Rewards are discounted by position, not
            by this column; gaps are reported.
        state
            Column or columns handed to policies, of any type; a two-dimensional numpy array too.
        terminated, truncated
            Boolean columns, true on the last row of an episode only.
        cluster
            Column of integers, text or categories, the same on all rows of an episode, such as a
            user: episodes of one cluster hang together. Standard errors, intervals and resampling
            then go by cluster; estimates do not change.
        logger
            Column of integers, text or categories: which of several behavior policies made the
            episode. Each row's propensity is that of its own logger.
        logger_propensities
            Logger -> column of b(a|s) of every logged action under it, 0 where it could not have
            done that. For `balanced`; gives the propensities where no column does.
        actions
            Labels of the actions in the column order of dense arrays. Default: 0 to K - 1 for
            integers, else sorted.
        action_type
            "continuous" admits densities above 1.
        action_probs
            The *behavior* policy's probabilities of all actions: a column of arrays, or an array of
            shape (n_rows, n_actions). Gives the propensities where no column does.

        Raises
        ------
        InvalidLogError
            If a column is missing, of the wrong type, or holds a value it may not hold; the message
            names the column, the count and the first row.
        InvalidArgumentError
            If an argument names nothing.
        """
        one_of("action_type", action_type, ACTION_TYPES)
        labels = check_labels(actions)
        states = state_names(state)
        vectors = [*states, action] if action_type == "continuous" else states
        table = open_table(frame).with_vectors(vectors)
        if action_probs is not None and not isinstance(action_probs, str):
            table = table.with_column("action_probs", action_probs)
            action_probs = "action_probs"
        if logger_propensities is not None and propensity not in table.names:
            propensity = None if propensity == "propensity" else propensity
        roles = {
            "action": action,
            "reward": reward,
            "propensity": propensity,
            "episode_id": episode_id,
            "timestep": timestep,
            "state": states or None,
            "terminated": terminated,
            "truncated": truncated,
            "cluster": cluster,
            "logger": logger,
            "logger_propensities": logger_propensities,
            "actions": labels,
            "action_type": action_type,
            "action_probs": action_probs,
        }
        episodes, propensities, facts = check_columns(table, roles)
        log = cls(
            _table=table,
            _episodes=episodes,
            _propensity=propensities,
            roles=roles,
            propensity_source=None if propensities is None else "logged",
            _facts=facts,
        )
        return log if action_probs is None else with_action_probs(log, action_probs)

    @property
    def n_rows(self) -> int:
        """Number of rows, one to a decision."""
        return self._episodes.n_rows

    @property
    def n_episodes(self) -> int:
        """Number of episodes."""
        return self._episodes.n_episodes

    @property
    def for_core(self) -> tuple[_core.Episodes, _core.Column, _core.Column | None, bool]:
        """What the core reads of the log: episodes, reward, propensity, whether it is a density."""
        reward = self._table.column(self.roles["reward"])
        return self._episodes, reward, self._propensity, self.roles["action_type"] == "continuous"

    @cached_property
    def clusters(self) -> tuple[NDArray[np.uint32], int] | None:
        """The number of each episode's cluster and how many there are; None without clusters."""
        name = self.roles["cluster"]
        return None if name is None else number_clusters(self._table.series(name), self._episodes)

    @cached_property
    def draw_ids(self) -> _core.Column | NDArray[np.uint64] | None:
        """What names episodes, or their clusters, in random draws; None for their first rows."""
        name = self.roles["cluster"] or self.roles["episode_id"]
        return None if name is None else ids_of(self._table, name, self._episodes)

    @cached_property
    def report(self) -> LogReport:
        """What was checked, what the log holds and what looks wrong."""
        return self.inspect()

    def inspect(
        self,
        policies: Mapping[str, object] | None = None,
        *,
        segments: Sequence[str] | None = None,
        time: str | None = None,
    ) -> LogReport:
        """Look at the log, and at what candidates do with it, before anything is evaluated.

        Parameters
        ----------
        policies
            Name -> column name or array of pi(a_t|s_t), or array of pi(.|s_t) of shape (n_rows,
            n_actions). Default: none; `Evaluation.log_report` knows those that were evaluated.
        segments
            Columns by whose values (on an episode's first row) returns are compared. Default: up to
            five text, category or flag columns of 2 to 20 values.
        time
            Column by which the log is put in order of time. Default: the first column of dates or
            times that has no other part, else the order of the rows.

        Raises
        ------
        InvalidLogError
            If there is no such column.
        InvalidPolicyError
            If a policy is none of these, or has another number of rows.
        """
        for name in (*(segments or ()), *(() if time is None else (time,))):
            self._table.check(name)
        return report(self, policies or {}, segments, time)

    @property
    def used(self) -> set[str]:
        """Names of the columns that have a part in the log."""
        parts = {v for k, v in self.roles.items() if isinstance(v, str) and k != "action_type"}
        loggers = (self.roles["logger_propensities"] or {}).values()
        return {*parts, *(self.roles["state"] or ()), *loggers}

    @cached_property
    def states(self) -> States:
        """The state columns, for policies and models.

        Raises
        ------
        InvalidLogError
            If the log names none.
        """
        names = self.roles["state"]
        if names is None:
            text = "the log names no state column; pass state=... to LoggedData.from_frame"
            raise InvalidLogError(text)
        return States([self._table.series(name) for name in names])

    @cached_property
    def action_codes(self) -> ActionCodes:
        """Position of each logged action in the column order of dense arrays.

        Raises
        ------
        InvalidLogError
            If a logged action is not among the labels.
        """
        actions = self._table.series(self.roles["action"])
        return ActionCodes.encode(actions, self.roles["actions"])

    def column(self, name: str) -> pl.Series:
        """Take a column of the log's source, of the same buffers.

        Raises
        ------
        InvalidLogError
            If there is no such column.
        """
        return self._table.series(name)

    def plain_column(self, name: str) -> pl.Series | None:
        """Take a column of single values, one to a row; None if it is no such column.

        Nothing else of a column that no part uses has been checked.
        """
        try:
            column = self._table.series(name)
        except (InvalidLogError, MissingExtraError):
            return None
        nested = column.dtype.is_nested() or column.dtype == pl.Object
        return None if nested or len(column) != self.n_rows else column

    def with_propensity(self, propensity: object) -> LoggedData:
        """Return the same log with other propensities, marked as estimated in every result.

        Parameters
        ----------
        propensity
            One probability (or density) of the logged action for each row; or what
            `models.PropensityModel.fit` returned for this log, whose summary the log then keeps in
            `propensity_model`, evaluations in `settings["propensity_model"]`.

        Raises
        ------
        InvalidLogError
            If a value is missing, 0, negative or above 1, or the length differs.
        """
        return with_estimated(self, propensity)

    def balanced(self) -> LoggedData:
        """Return the same log with the propensities of all its loggers together.

        The loggers are mixed by their shares of the episodes; within an episode, by how likely each
        is to have made it so far. Weights vary less than those of each row's own logger, which are
        large where that logger seldom did what it did.

        Raises
        ------
        InvalidLogError
            If `logger_propensities` were not given, or contradict what was logged.

        Notes
        -----
        It takes for granted that any logger could have met any episode: that who made it depends on
        nothing that moves the rewards.
        """
        return with_mixture(self)

    def to_parquet(self, path: str | Path) -> None:
        """Write every column of the log's source, and the roles, which `read_parquet` then knows.

        The file appears whole or not at all.

        Raises
        ------
        InvalidArgumentError
            If the action labels are neither text nor numbers, which the file could not keep.
        """
        for label in self.roles["actions"] or ():
            if not isinstance(label, str | int | float):
                text = f"a file keeps action labels that are text or numbers, not {label!r}"
                raise InvalidArgumentError(text)
        roles = {
            **self.roles,
            "propensity_source": self.propensity_source,
            "propensity_model": self.propensity_model,
        }
        write_parquet(self._table.frame(self.n_rows), path, roles)

    def __reduce__(self) -> tuple[Any, ...]:
        # Buffers held by reference do not travel: another process takes the columns again.
        return rebuild, (
            self._table.frame(self.n_rows),
            self.roles,
            self.propensity_source,
            self.propensity_model,
        )

    def __repr__(self) -> str:
        size = f"{plural(self.n_rows, 'row')} in {plural(self.n_episodes, 'episode')}"
        return f"<LoggedData: {size}, {self.propensity_source or 'no'} propensities; see .report>"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def rebuild(
    frame: pl.DataFrame,
    roles: dict[str, Any],
    propensity_source: PropensitySource,
    propensity_model: dict[str, Any] | None,
) -> LoggedData:
    """Take a log again from the columns and roles of one that was checked before."""
    log = LoggedData.from_frame(frame, **roles)
    return replace(log, propensity_source=propensity_source, propensity_model=propensity_model)


def check_log(log: object, caller: str) -> None:
    """Raise `InvalidArgumentError` unless it is a `LoggedData`."""
    if not isinstance(log, LoggedData):
        text = (
            f"{caller} takes a LoggedData, not a {type(log).__name__}; make one with "
            "cf.LoggedData.from_frame or cf.read_parquet"
        )
        raise InvalidArgumentError(text)
