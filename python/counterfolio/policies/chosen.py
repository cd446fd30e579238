"""Deterministic candidates, as a column of the actions that they would take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.dense import number_actions
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.policies.head import one_hot
from counterfolio.sources import column_label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.log import LoggedData


def chosen_prob(name: str, chosen: pl.Series, log: LoggedData) -> NDArray[np.float64]:
    """Give 1 for each row in which the logged action is the one that was chosen, else 0.

    Raises
    ------
    InvalidPolicyError
        As `chosen_codes`.
    """
    codes = chosen_codes(name, chosen, log, slice(0, log.n_rows))
    same: NDArray[np.float64] = (codes == log.action_codes.codes).astype(np.float64)
    return same


def chosen_probs(
    name: str, chosen: pl.Series, log: LoggedData, rows: slice, n_actions: int
) -> NDArray[np.float64]:
    """Give a 1 in the column of each row's chosen action, of shape (m, n_actions).

    Raises
    ------
    InvalidPolicyError
        As `chosen_codes`, or if an action has no column.
    """
    codes = chosen_codes(name, chosen, log, rows)
    _refuse(name, chosen, rows, (codes < 0) | (codes >= n_actions), "actions of the log")
    return one_hot(codes, n_actions)


def chosen_codes(
    name: str, chosen: pl.Series, log: LoggedData, rows: slice
) -> NDArray[np.integer[Any]]:
    """Find the position of each row's chosen action in the order of the log's actions.

    Returns
    -------
    numpy.ndarray of shape (m,)
        An action that was never logged is -1, or its own number where actions have no labels.

    Raises
    ------
    InvalidPolicyError
        If actions are of another type than the logged ones, or none of the labels that the log was
        given.
    """
    labels, logged = log.action_codes.labels, log.column(log.roles["action"]).dtype
    integers = labels is None and not chosen.dtype.is_integer()
    if integers or _kind(chosen.dtype) != _kind(logged):
        text = (
            f'policy "{name}": {column_label(chosen.name)} holds {chosen.dtype}, but the logged '
            f"actions are {logged}; name actions as the log does"
        )
        raise InvalidPolicyError(text)
    piece = chosen[rows]
    if labels is None:
        return piece.to_numpy()
    first, of = number_actions(piece)
    position = {label: i for i, label in enumerate(labels)}
    codes = np.array([position.get(piece[int(i)], -1) for i in first], dtype=np.intp)[of]
    if log.roles["actions"] is not None:
        _refuse(name, chosen, rows, codes < 0, "action labels")
    return codes


def _refuse(name: str, chosen: pl.Series, rows: slice, bad: NDArray[np.bool_], known: str) -> None:
    """Raise where a chosen action has no place among those that are known."""
    if bad.any():
        who = f'policy "{name}": {column_label(chosen.name)}'
        row = rows.start + int(bad.argmax())
        text = (
            f"{who}: {int(bad.sum()):,} of {len(bad):,} values are not among the {known}, first at "
            f"row {row} ({chosen[row]!r}); pass actions=[...] to LoggedData.from_frame, every label"
        )
        raise InvalidPolicyError(text)


def _kind(dtype: pl.DataType) -> str:
    """Say what values may be equal to each other."""
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "text"
    return "numbers" if dtype.is_numeric() or dtype == pl.Boolean else str(dtype)
