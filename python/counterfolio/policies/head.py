"""What policy objects share: asking a base, checking its answer, labels of actions, drawing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.dense import SUM_TOLERANCE
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


class Head(ABC):
    """A policy over finitely many actions, made from its `action_probs`."""

    #: Labels in column order; None means 0 to K - 1.
    actions: Any

    @abstractmethod
    def action_probs(self, states: Any) -> NDArray[np.float64]:
        """Return pi(.|s) for each row.

        Parameters
        ----------
        states
            float64 array of shape (n, d), or a polars frame of n rows.

        Returns
        -------
        numpy.ndarray of shape (n, n_actions)

        Raises
        ------
        InvalidPolicyError
            If what the policy is made from answers with anything but one number for each action.
        """

    def prob(self, states: Any, actions: Any) -> NDArray[np.float64]:
        """Return pi(a|s) of each row's action.

        Parameters
        ----------
        states
            float64 array of shape (n, d), or a polars frame of n rows.
        actions
            Array of n action labels.

        Returns
        -------
        numpy.ndarray of shape (n,)

        Raises
        ------
        InvalidPolicyError
            As `action_probs`, or if an action is none of the policy's.
        """
        probs = self.action_probs(states)
        codes = codes_of(name_of(self), actions, self.actions, *probs.shape)
        picked: NDArray[np.float64] = probs[np.arange(len(probs)), codes]
        return picked

    def sample(self, states: Any, rng: np.random.Generator) -> NDArray[Any]:
        """Draw an action for each row.

        Parameters
        ----------
        states
            float64 array of shape (n, d), or a polars frame of n rows.
        rng
            Draws one uniform number for each row.

        Returns
        -------
        numpy.ndarray of n action labels

        Raises
        ------
        InvalidPolicyError
            As `action_probs`.
        """
        return labelled(draw(self.action_probs(states), rng), self.actions)


def name_of(policy: object) -> str:
    """Name a policy object in a message: by its class."""
    return type(policy).__name__


def check_base(policy: object, base: object, what: str = "base") -> None:
    """Raise unless `base` can be called."""
    if not callable(base):
        text = f"{name_of(policy)}: {what} must be a callable that takes states, not {base!r}"
        raise InvalidArgumentError(text)


def row_error(
    who: str, what: str, bad: NDArray[np.bool_], value: object, advice: str
) -> InvalidPolicyError:
    """Describe wrong rows: how many, the first, its value, and what to do."""
    row = int(bad.argmax())
    text = f"{who}: {int(bad.sum()):,} of {len(bad):,} {what}, first at row {row} ({value}); "
    return InvalidPolicyError(text + advice)


def ask(who: str, base: Callable[[Any], Any], states: Any, wanted: str) -> NDArray[Any]:
    """Call a base and take its answer as an array with one row to a state.

    Parameters
    ----------
    wanted
        What the answer has to be, for messages.

    Raises
    ------
    InvalidPolicyError
        If it is no array, or has another number of rows.
    """
    answer = base(states)
    try:
        found = np.asarray(answer)
    except ValueError as error:
        text = f"{who}: its base returned no array: {error}; it must return {wanted}"
        raise InvalidPolicyError(text) from error
    if found.ndim == 0 or len(found) != len(states):
        raise shape_error(who, found, len(states), wanted)
    return found


def shape_error(who: str, found: NDArray[Any], n_rows: int, wanted: str) -> InvalidPolicyError:
    """Say that a base returned another shape or type than it must."""
    text = (
        f"{who}: its base returned {found.dtype} of shape {found.shape} for "
        f"{plural(n_rows, 'state')}; it must return {wanted}"
    )
    return InvalidPolicyError(text)


def finite(who: str, found: NDArray[Any], what: str = "its base returned") -> NDArray[np.float64]:
    """Take numbers of shape (n, k) as float64.

    Raises
    ------
    InvalidPolicyError
        If one is NaN or infinite.
    """
    values = found.astype(np.float64, copy=False)
    bad = np.logical_not(np.isfinite(values).all(axis=1))
    if bad.any():
        row = values[int(bad.argmax())]
        text = f"rows for which {what} a value that is NaN or infinite"
        value = f"{row[~np.isfinite(row)][0]}"
        raise row_error(who, text, bad, value, "mend the model, or the states it is given")
    return values


def scores_of(
    who: str, base: Callable[[Any], Any], states: Any, labels: Sequence[Any] | None
) -> NDArray[np.float64]:
    """Ask a base for one finite number for each action, of shape (n, n_actions)."""
    k = "n_actions" if labels is None else str(len(labels))
    wanted = f"one number for each action, of shape (n, {k})"
    found = ask(who, base, states, wanted)
    if found.dtype.kind not in "fiub" or found.ndim != 2 or found.shape[1] == 0:
        raise shape_error(who, found, len(states), wanted)
    check_width(who, found.shape[1], labels)
    return finite(who, found)


def check_width(who: str, width: int, labels: Sequence[Any] | None) -> None:
    """Raise unless there is one column for each label."""
    if labels is not None and width != len(labels):
        text = (
            f"{who}: {plural(width, 'column')} for {plural(len(labels), 'action label')}; "
            "pass actions=[...], every label in column order"
        )
        raise InvalidPolicyError(text)


def check_probs(who: str, probs: NDArray[np.float64], rows: str = "rows") -> NDArray[np.float64]:
    """Take rows of probabilities as they are.

    Raises
    ------
    InvalidPolicyError
        If a row holds a negative number or NaN, or does not sum to 1.
    """
    sums = probs.sum(axis=1)
    bad = ~((probs >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE))
    if bad.any():
        what = f"{rows} hold a negative number or do not sum to 1 within {SUM_TOLERANCE:g}"
        advice = "they are never rescaled: mend the policy that made them"
        raise row_error(who, what, bad, f"sum {sums[int(bad.argmax())]:g}", advice)
    # One probability may exceed 1 by the rounding that the sum is allowed.
    return np.minimum(probs, 1.0)


def plain(actions: NDArray[Any]) -> list[Any]:
    """List actions as Python's own values, which are what labels are."""
    # numpy would make plain numbers of times that are finer than Python's.
    return pl.Series(actions).to_list() if actions.dtype.kind in "mM" else actions.tolist()


def codes_of(
    who: str, actions: Any, labels: Sequence[Any] | None, n_rows: int, width: int | None
) -> NDArray[np.integer[Any]]:
    """Find the column of each row's action.

    Parameters
    ----------
    width
        Number of columns; None where it is not known, for actions without labels.

    Raises
    ------
    InvalidPolicyError
        If there is not one action to a row, or one has no column.
    """
    given = np.asarray(actions)
    if given.shape != (n_rows,):
        count = plural(n_rows, "state")
        text = f"{who}: actions have shape {given.shape} for {count}; pass one action to each"
        raise InvalidPolicyError(text)
    if labels is not None:
        known = "its labels"
        position = {label: i for i, label in enumerate(labels)}
        codes = np.array([position.get(action, -1) for action in plain(given)], dtype=np.intp)
        bad = codes < 0
    elif given.dtype.kind in "fiub":
        known = "whole numbers from 0" + ("" if width is None else f" to {width - 1}")
        most = np.iinfo(np.intp).max if width is None else width
        bad = np.logical_not((given >= 0) & (given < most) & (given == np.floor(given)))
        codes = np.where(bad, 0, given).astype(np.intp)
    else:
        known = "whole numbers, as those of a policy without labels are"
        codes, bad = np.zeros(n_rows, dtype=np.intp), np.ones(n_rows, dtype=np.bool_)
    if bad.any():
        advice = "pass actions=[...], every label in column order"
        value = repr(plain(given)[int(bad.argmax())])
        raise row_error(who, f"actions are not among {known}", bad, value, advice)
    return codes


def draw(probs: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw a column for each row, by the inverse of its cumulative probabilities."""
    steps = probs.cumsum(axis=1)
    total = steps[:, -1]
    # Below the last step, so that a column of probability 0 is never drawn.
    level = np.minimum(rng.random(len(probs)) * total, np.nextafter(total, 0))
    codes: NDArray[np.intp] = (steps <= level[:, None]).sum(axis=1)
    return codes


def labelled(codes: NDArray[np.integer[Any]], labels: Sequence[Any] | None) -> NDArray[Any]:
    """Give codes their labels, if there are any."""
    if labels is None:
        return codes
    # Of one type, or numpy would make text of numbers that stand among text.
    one = len({type(label) for label in labels}) == 1
    picked: NDArray[Any] = np.array(labels, dtype=None if one else object)[codes]
    return picked


def one_hot(codes: NDArray[np.integer[Any]], width: int) -> NDArray[np.float64]:
    """Rows of zeros with a 1 in the column of each code."""
    out = np.zeros((len(codes), width))
    out[np.arange(len(codes)), codes] = 1.0
    return out


def reorder(
    who: str,
    probs: NDArray[np.float64],
    labels: Sequence[Any],
    wanted: Sequence[Any],
    advice: str,
) -> NDArray[np.float64]:
    """Bring columns to the order of other labels; a label that is not there has probability 0.

    Raises
    ------
    InvalidPolicyError
        If a label that is not wanted has a probability above 0.
    """
    position = {label: i for i, label in enumerate(wanted)}
    out = np.zeros((len(probs), len(wanted)))
    for column, label in zip(probs.T, labels, strict=True):
        if label in position:
            out[:, position[label]] = column
        elif (bad := column > 0).any():
            what = f"rows give a probability to {label!r}, which is no action of the log"
            raise row_error(who, what, bad, column[int(bad.argmax())], advice)
    return out
