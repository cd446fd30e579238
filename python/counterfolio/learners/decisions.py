"""The rows of a log that something is learned from, and what is known of how episodes end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import is_whole, one_of
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.log import check_log
from counterfolio.models.transitions import HORIZONS, Transitions
from counterfolio.text import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.log import LoggedData
    from counterfolio.models.transitions import Horizon

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decisions:
    """A log of discrete actions, for a learner.

    Attributes
    ----------
    t
        Its transitions; the step is no part of the state, since no policy is asked with it.
    actions
        Labels in column order.
    used
        (n_rows,) rows that are learned from.
    notes
        What is to be known of how episodes end.
    """

    t: Transitions
    actions: list[Any]
    used: NDArray[np.bool_]
    notes: list[str]

    @classmethod
    def of(
        cls, log: LoggedData, who: str, gamma: float = 1.0, horizon: Horizon | None = None
    ) -> Decisions:
        """Take a log.

        Parameters
        ----------
        who
            The learner, for messages.
        horizon
            None: "continue" where gamma is below 1, else "logged".

        Raises
        ------
        InvalidLogError
            If actions are continuous, no state is named, or it is not known what follows the last
            rows.
        """
        check_log(log, f"{who}.fit")
        check_discrete(log, who)
        log.states.check()
        single = log.n_rows == log.n_episodes
        marked = log.roles["terminated"] is not None or log.roles["truncated"] is not None
        discounts = isinstance(gamma, int | float | np.number) and gamma < 1
        if horizon is None and discounts and not single and not marked:
            text = (
                "no column says how episodes end, so that nobody knows whether anything follows "
                "their last rows; name terminated=... or truncated=... in LoggedData.from_frame, "
                'or pass horizon="logged" if all ended by themselves, horizon="continue" if all '
                "were cut off"
            )
            raise InvalidLogError(text)
        chosen: Horizon = horizon or ("continue" if discounts else "logged")
        t = Transitions.of(log, gamma, chosen, step=False)
        used = t.used if marked or single or chosen == "logged" else ~t.last
        notes = []
        if not used.any():
            text = (
                "every episode has one row and was cut off there: nothing is known of what "
                'follows, so there is nothing to learn from; pass horizon="logged" to count them '
                "as ended"
            )
            raise InvalidLogError(text)
        cut = int(t.cut_off.sum())
        if chosen == "logged" and cut and not single:
            why = "as you say" if horizon else "since gamma is 1"
            notes.append(
                f"{plural(cut, 'episode')} of {len(t.lengths):,} cut off, counted as ended there, "
                f'{why}; a gamma below 1 with horizon="continue" leaves these last rows out'
            )
        return cls(t, labels_of(log), used, notes)

    @cached_property
    def goes_on(self) -> NDArray[np.bool_]:
        """(n_rows,) rows whose next state is known, that of the row after."""
        out: NDArray[np.bool_] = self.used & ~self.t.last
        return out

    @cached_property
    def following(self) -> NDArray[np.intp]:
        """Rows after those that go on."""
        return np.flatnonzero(self.goes_on) + 1


def check_discrete(log: LoggedData, who: str) -> None:
    """Raise unless actions are labels."""
    if log.roles["action_type"] != "discrete":
        text = (
            f"{who} learns which of finitely many actions to take, but the log's are continuous; "
            "bin them, or clone the behavior policy with BehaviorCloning"
        )
        raise InvalidLogError(text)


def check_single(log: LoggedData, who: str) -> None:
    """Raise unless every episode is one decision."""
    several = log._episodes.lengths() > 1
    if several.any():
        text = (
            f"{who} learns from single decisions, but {int(several.sum()):,} of {len(several):,} "
            f"episodes have several rows, first episode {int(several.argmax())}; use "
            "FittedQIteration or PessimisticQ"
        )
        raise InvalidLogError(text)


def labels_of(log: LoggedData) -> list[Any]:
    """List the log's actions in the column order of dense arrays."""
    codes = log.action_codes
    return list(range(codes.largest + 1)) if codes.labels is None else list(codes.labels)


def check_iteration(n_iterations: object, horizon: object) -> None:
    """Raise unless both are None or known."""
    if n_iterations is not None and (not is_whole(n_iterations) or n_iterations < 1):
        text = f"n_iterations must be None or a whole number of 1 or more, not {n_iterations!r}"
        raise InvalidArgumentError(text)
    if horizon is not None:
        one_of("horizon", horizon, HORIZONS)


def check_model(what: str, model: object, method: str, features: object) -> None:
    """Raise unless a model of one's own can be fitted and asked.

    Raises
    ------
    InvalidArgumentError
        If it lacks a method, or features ask for a table.
    """
    if model is None:
        return
    if isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, method)):
        text = f"{what} must be an object with fit and {method}, not {model!r}"
        raise InvalidArgumentError(text)
    if isinstance(features, str) and features == "one_hot":
        text = f'features="one_hot" is a table and takes no {what}; leave one of them out'
        raise InvalidArgumentError(text)


def returns_to_go(t: Transitions) -> Floats:
    """Sum up what follows each row, discounted: G_t = r_t + gamma G_{t+1}."""
    out = t.reward.copy()
    order = np.argsort(-t.lengths, kind="stable")
    first, lengths = t.first[order], t.lengths[order]
    for step in range(t.longest - 2, -1, -1):
        # Episodes that have a row after this one.
        rows = first[: np.searchsorted(-lengths, -(step + 2), side="right")] + step
        out[rows] += t.gamma * out[rows + 1]
    return out
