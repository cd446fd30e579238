"""Asking policy objects about the rows of a log, block by block."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.dense import blocks, number_actions
from counterfolio.exceptions import CounterfolioError, InvalidPolicyError
from counterfolio.policies.head import check_probs, reorder, row_error
from counterfolio.policies.protocol import ContinuousPolicy, DiscretePolicy
from counterfolio.states import States
from counterfolio.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData
    from counterfolio.policies.protocol import Policy


@contextmanager
def named(who: str, kind: type[CounterfolioError] | None = None) -> Iterator[None]:
    """Name the policy in an error of ours; others pass untouched.

    Parameters
    ----------
    kind
        What it is raised as. Default: as it is.
    """
    try:
        yield
    except CounterfolioError as error:
        text = f"{who}: {error}"
        raise (kind or type(error))(text) from error


def _who(name: str, rows: slice) -> str:
    """Name a policy; after the first block, say from where its rows are counted."""
    return f'policy "{name}"' + (f", rows counted from {rows.start:,}" if rows.start else "")


def prob_of(name: str, policy: Policy, log: LoggedData) -> NDArray[np.float64]:
    """Ask a policy for the probability, or density, of each row's logged action.

    Raises
    ------
    InvalidPolicyError
        If the log names no state, its actions are of the other kind or none of the policy's, or the
        answer is not one number for each row.
    """
    _check_state(name, "prob(states, actions)", log)
    _check_kind(name, policy, log)
    _check_known(name, policy, log)
    states, actions = log.states, logged_actions(log)
    out = np.empty(log.n_rows)
    for rows in blocks(log.n_rows):
        with named(_who(name, rows)):
            answer = policy.prob(states.take(rows), actions(rows))
        found = _array(f'policy "{name}": prob(states, actions)', answer)
        expected = (rows.stop - rows.start,)
        if found.shape != expected or found.dtype.kind not in "fiub":
            text = (
                f'policy "{name}": prob(states, actions) returned {found.dtype} of shape '
                f"{found.shape} for {expected[0]} rows; it must return one number for each"
            )
            raise InvalidPolicyError(text)
        out[rows] = found
    return out


def mean_of(name: str, policy: ContinuousPolicy, log: LoggedData) -> NDArray[np.float64]:
    """Ask a policy over a continuum for its action in each row's state, of shape (n_rows, d).

    Raises
    ------
    InvalidPolicyError
        If the log names no state, or its actions are of the other kind.
    """
    _check_state(name, "mean(states)", log)
    _check_kind(name, policy, log)
    found = []
    for rows in blocks(log.n_rows):
        with named(_who(name, rows)):
            found.append(np.asarray(policy.mean(log.states.take(rows)), dtype=np.float64))
    return np.concatenate(found)


def _check_state(name: str, method: str, log: LoggedData) -> None:
    """Raise where a policy is to be asked about states that the log does not name."""
    if log.roles["state"] is None:
        text = (
            f'policy "{name}" is an object with {method}, but the log names no state '
            "column; pass state=... to LoggedData.from_frame"
        )
        raise InvalidPolicyError(text)


def probs_of(
    name: str, policy: DiscretePolicy, log: LoggedData, rows: slice, n_actions: int
) -> NDArray[np.float64]:
    """Ask a policy for the probabilities of all actions, in the order of the log's.

    Returns
    -------
    numpy.ndarray of shape (m, n_actions)

    Raises
    ------
    InvalidPolicyError
        If it answers with no probabilities, or its actions are not the log's.
    """
    _check_kind(name, policy, log)
    who = _who(name, rows)
    with named(who):
        answer = policy.action_probs(log.states.take(rows))
    found = _array(f'policy "{name}": action_probs(states)', answer)
    labels, logged = policy.actions, log.action_codes.labels
    height, width = rows.stop - rows.start, None if labels is None else len(labels)
    fits = found.ndim == 2 and len(found) == height and width in (None, found.shape[1])
    if not fits or found.dtype.kind not in "fiub":
        text = (
            f'policy "{name}": action_probs(states) returned {found.dtype} of shape {found.shape}; '
            f"it must return numbers of shape ({height}, {width or n_actions})"
        )
        raise InvalidPolicyError(text)
    probs = check_probs(who, found.astype(np.float64))
    wanted = range(n_actions) if logged is None else logged
    if labels is None:
        labels = range(found.shape[1])
        if missing := [label for label in wanted if label not in labels]:
            text = (
                f'policy "{name}" has {plural(len(labels), "action")} without labels, 0 to '
                f"{len(labels) - 1}, but the log has {missing[0]!r}; pass actions=[...] to the "
                "policy, every label in column order"
            )
            raise InvalidPolicyError(text)
    advice = "pass actions=[...] to LoggedData.from_frame, every label in column order"
    return reorder(who, probs, labels, wanted, advice)


def _array(what: str, answer: object) -> NDArray[Any]:
    try:
        return np.asarray(answer)
    except ValueError as error:
        text = f"{what} returned no array of numbers: {error}"
        raise InvalidPolicyError(text) from error


def _check_kind(name: str, policy: object, log: LoggedData) -> None:
    """Raise where a policy of one kind meets a log of the other."""
    kinds = {
        "discrete": isinstance(policy, DiscretePolicy),
        "continuous": isinstance(policy, ContinuousPolicy),
    }
    logged = log.roles["action_type"]
    if any(kinds.values()) and not kinds[logged]:
        other = "continuous" if logged == "discrete" else "discrete"
        text = (
            f'policy "{name}" ({type(policy).__name__}) is {other}, but the log\'s actions are '
            f"{logged}; pass a {logged} policy, or "
            f'action_type="{other}" to LoggedData.from_frame'
        )
        raise InvalidPolicyError(text)


def _check_known(name: str, policy: object, log: LoggedData) -> None:
    """Raise where a logged action is none of the labels of a discrete policy."""
    if not isinstance(policy, DiscretePolicy) or policy.actions is None:
        return
    actions = log.column(log.roles["action"])
    first, of = number_actions(actions)
    labels = set(policy.actions)
    bad = np.array([actions[int(i)] not in labels for i in first])[of]
    if bad.any():
        value = repr(actions[int(bad.argmax())])
        what = "logged actions are not among the policy's labels"
        advice = "pass actions=[...] to the policy, every label in column order"
        raise row_error(f'policy "{name}"', what, bad, value, advice)


def logged_actions(log: LoggedData) -> Callable[[slice], NDArray[Any]]:
    """Make what takes the logged actions of some rows.

    Discrete ones are handed over as they stand; continuous ones as float64, of shape (m, d) where
    the column is nested.
    """
    column = log.column(log.roles["action"])
    vectors = States([column])
    if log.roles["action_type"] == "discrete" or not vectors.numeric:
        return lambda rows: column[rows].to_numpy()
    if column.dtype.is_nested():
        return lambda rows: np.asarray(vectors.take(rows))
    return lambda rows: np.asarray(vectors.take(rows))[:, 0]
