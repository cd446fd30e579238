"""A log as models see it: transitions (s, a, r, s'), and which of them count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from counterfolio.arguments import check_gamma, one_of
from counterfolio.episodes import first_rows
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.models.features import Design
from counterfolio.models.folds import deal
from counterfolio.sources import column_label, column_values
from counterfolio.states import States

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

    Horizon: TypeAlias = Literal["logged", "continue"]

HORIZONS = ("logged", "continue")
#: Steps that a feature each is given; beyond them the share of the longest episode and its square.
MOST_STEPS = 50


def check_horizon(horizon: object, gamma: object) -> None:
    """Raise unless both are known and go together."""
    one_of("horizon", horizon, HORIZONS)
    check_gamma(gamma)
    if horizon == "continue" and gamma == 1:
        text = (
            'horizon="continue" needs gamma below 1: a return that goes on for ever has no finite '
            'value without discounting; use horizon="logged" for the return over the logged steps'
        )
        raise InvalidArgumentError(text)


@dataclass(frozen=True, eq=False)
class Transitions:
    """The rows of a log as transitions.

    Attributes
    ----------
    log
    gamma
        Discount factor.
    horizon
        "logged": the return over the logged steps; nothing follows an episode's last row.
        "continue": what an episode that was cut off would have gone on to earn counts as well; its
        last row, whose next state is unknown, is left out.
    step_joins
        Whether the step is a part of the state: where episodes are cut off, what is still to come
        depends on it.
    fold
        (n_rows,) fold of each row.
    n_folds
        1: no cross-fitting; every row is learned from, and spoken about.
    """

    log: LoggedData
    gamma: float
    horizon: Horizon
    step_joins: bool
    fold: NDArray[np.int64]
    n_folds: int

    @classmethod
    def of(
        cls, log: LoggedData, gamma: float, horizon: Horizon = "logged", *, step: bool | None = None
    ) -> Transitions:
        """Take a log's transitions, without cross-fitting.

        Parameters
        ----------
        step
            Whether the step joins the features. Default: where some episode is cut off; if no
            column says how episodes end, wherever one has several steps.
        """
        check_horizon(horizon, gamma)
        if type(step) not in (bool, type(None)):
            text = f"step must be True, False or None, not {step!r}"
            raise InvalidArgumentError(text)
        found = cls(log, float(gamma), horizon, False, np.zeros(log.n_rows, dtype=np.int64), 1)
        joins = found._cut_off_somewhere if step is None else step
        return replace(found, step_joins=joins and found.longest > 1)

    def dealt(self, n_folds: int, seed: int, repeat: int) -> Transitions:
        """Return the same with episodes dealt into folds."""
        fold = np.repeat(deal(self.log, n_folds, seed, repeat), self.lengths)
        return replace(self, fold=fold, n_folds=n_folds)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Number of steps of each episode."""
        return self.log._episodes.lengths()

    @property
    def longest(self) -> int:
        """Steps of the longest episode."""
        return int(self.lengths.max())

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """First row of each episode."""
        return first_rows(self.log._episodes)

    @cached_property
    def episode(self) -> NDArray[np.int64]:
        """(n_rows,) number of each row's episode."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def step(self) -> NDArray[np.int64]:
        """(n_rows,) position in the episode, from 0."""
        return np.arange(self.log.n_rows) - np.repeat(self.first, self.lengths)

    @cached_property
    def discount(self) -> NDArray[np.float64]:
        """(n_rows,) gamma^t."""
        out: NDArray[np.float64] = self.gamma ** self.step.astype(np.float64)
        return out

    @cached_property
    def last(self) -> NDArray[np.bool_]:
        """(n_rows,) whether the row is its episode's last."""
        out = np.zeros(self.log.n_rows, dtype=bool)
        out[self.first + self.lengths - 1] = True
        return out

    @cached_property
    def cut_off(self) -> NDArray[np.bool_]:
        """(n_rows,) last rows of episodes that did not end by themselves."""
        truncated, terminated = (self._flag(name) for name in ("truncated", "terminated"))
        if truncated is not None:
            return (
                self.last & truncated if terminated is None else self.last & truncated & ~terminated
            )
        if terminated is not None:
            return self.last & ~terminated
        return np.zeros(self.log.n_rows, dtype=bool)

    def _flag(self, part: str) -> NDArray[np.bool_] | None:
        name = self.log.roles[part]
        return None if name is None else column_values(self.log._table.column(name)).astype(bool)

    @property
    def _cut_off_somewhere(self) -> bool:
        if self.horizon == "continue":
            return False
        marked = self.log.roles["terminated"] is not None or self.log.roles["truncated"] is not None
        return bool(self.cut_off.any()) if marked else True

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        """(n_rows,) rows that stand in the equations and in sums."""
        if self.horizon == "continue":
            return ~self.cut_off
        return np.ones(self.log.n_rows, dtype=bool)

    def training(self, fold: int) -> NDArray[np.bool_]:
        """(n_rows,) rows that a fold's model learns from: those of the others that are used."""
        out: NDArray[np.bool_] = self.used & ((self.fold != fold) | (self.n_folds == 1))
        return out

    @cached_property
    def action(self) -> NDArray[np.int64]:
        """(n_rows,) number of each row's discrete action."""
        return self.log.action_codes.codes.astype(np.int64)

    @cached_property
    def reward(self) -> NDArray[np.float64]:
        """(n_rows,) rewards."""
        column = self.log._table.column(self.log.roles["reward"])
        out: NDArray[np.float64] = column_values(column).astype(np.float64, copy=False)
        return out

    @cached_property
    def design(self) -> Design:
        """The states as numbers."""
        return Design(self.log.states)

    @property
    def discrete(self) -> bool:
        """Whether actions are labels."""
        return bool(self.log.roles["action_type"] == "discrete")

    def step_features(self, rows: slice) -> NDArray[np.float64]:
        """Features of the step, of shape (n, width); without any where it does not join."""
        step = self.step[rows]
        if not self.step_joins:
            return np.zeros((len(step), 0))
        if self.longest <= MOST_STEPS:
            # Without the first, which the constant stands for.
            each: NDArray[np.float64] = (step[:, None] == np.arange(1, self.longest)).astype(float)
            return each
        share = step / self.longest
        return np.column_stack([share, share**2])

    @property
    def by_step(self) -> bool:
        """Whether each step has a feature of its own."""
        return self.step_joins and self.longest <= MOST_STEPS


def logged_actions(log: LoggedData, rows: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Take logged actions of a continuum, of shape (n, d).

    Raises
    ------
    InvalidLogError
        If they are no numbers.
    """
    name = log.roles["action"]
    column = States([log.column(name)])
    if not column.numeric:
        text = f"{column_label(name)} holds {log.column(name).dtype}, where numbers are wanted"
        raise InvalidLogError(text)
    out: NDArray[np.float64] = column.take(rows)
    return out
