"""Policies over finitely many actions, made from their probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import is_whole
from counterfolio.dense import check_labels
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.policies.head import (
    Head,
    check_base,
    check_probs,
    check_width,
    name_of,
    row_error,
    scores_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Uniform(Head):
    """Every action with the same probability.

    Parameters
    ----------
    actions
        Labels, or the number K of actions 0 to K - 1.

    Raises
    ------
    InvalidArgumentError
        If it is neither.
    """

    actions: Any

    def __post_init__(self) -> None:
        given = self.actions
        if given is None or (is_whole(given) and given < 1):
            text = f"Uniform: actions must be a list of labels or how many there are, not {given!r}"
            raise InvalidArgumentError(text)
        labels = check_labels(range(given) if is_whole(given) else given)
        object.__setattr__(self, "actions", labels)

    def action_probs(self, states: Any) -> NDArray[np.float64]:
        """Return pi(.|s) for each row, of shape (n, K)."""
        width = len(self.actions)
        return np.full((len(states), width), 1 / width)


@dataclass(frozen=True, eq=False)
class Tabular(Head):
    """Probabilities from a table with one row to each numbered state.

    Parameters
    ----------
    probs
        pi(a|s), of shape (n_states, K). Rows sum to 1 within 1e-5. The log's only state column
        holds the numbers 0 to n_states - 1.
    actions
        Labels in column order. Default: 0 to K - 1.

    Raises
    ------
    InvalidPolicyError
        If `probs` is no table of probabilities.
    InvalidArgumentError
        If `actions` are no labels.
    """

    probs: Any
    actions: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", check_labels(self.actions))
        given = np.asarray(self.probs)
        if given.dtype.kind not in "fiub" or given.ndim != 2 or 0 in given.shape:
            text = (
                f"Tabular: probs are {given.dtype} of shape {given.shape}; pass numbers of shape "
                "(n_states, n_actions)"
            )
            raise InvalidPolicyError(text)
        check_width("Tabular", given.shape[1], self.actions)
        table = check_probs("Tabular", given.astype(np.float64), "states of the table")
        table.setflags(write=False)
        object.__setattr__(self, "probs", table)

    def action_probs(self, states: Any) -> NDArray[np.float64]:
        """Return pi(.|s) for each row, of shape (n, K)."""
        given = np.asarray(states)
        if given.dtype.kind not in "fiu" or given.size != len(given):
            text = (
                f"Tabular: states are {given.dtype} of shape {given.shape}; name one state column, "
                "which holds the number of each row's state"
            )
            raise InvalidPolicyError(text)
        numbers = given.reshape(-1)
        last = len(self.probs) - 1
        bad = ~((numbers >= 0) & (numbers <= last) & (numbers == np.floor(numbers)))
        if bad.any():
            what = f"states are not whole numbers from 0 to {last}"
            value = f"{numbers[int(bad.argmax())]:g}"
            raise row_error("Tabular", what, bad, value, "number the states as the table's rows")
        found: NDArray[np.float64] = self.probs[numbers.astype(np.intp)]
        return found


@dataclass(frozen=True, eq=False)
class Probabilities(Head):
    """Probabilities that a function returns.

    Parameters
    ----------
    function
        states -> pi(.|s), of shape (n, K). Rows sum to 1 within 1e-5 and are never rescaled.
    actions
        Labels in column order. Default: 0 to K - 1.

    Raises
    ------
    InvalidArgumentError
        If an argument is of the wrong kind.
    """

    function: Callable[[Any], Any]
    actions: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        check_base(self, self.function, "function")
        object.__setattr__(self, "actions", check_labels(self.actions))

    def action_probs(self, states: Any) -> NDArray[np.float64]:
        """Return pi(.|s) for each row, of shape (n, K)."""
        who = name_of(self)
        return check_probs(who, scores_of(who, self.function, states, self.actions))


@dataclass(frozen=True, eq=False)
class Classifier(Head):
    """Actions with the probabilities that a classifier gives them.

    Parameters
    ----------
    classifier
        Fitted, with `predict_proba` and `classes_` as in scikit-learn; its classes are the actions.

    Raises
    ------
    InvalidArgumentError
        If it lacks one of them, as before it is fitted.
    """

    classifier: Any

    def __post_init__(self) -> None:
        missing = [x for x in ("predict_proba", "classes_") if not hasattr(self.classifier, x)]
        if missing:
            kind = type(self.classifier).__name__
            text = f"Classifier: {kind} has no {missing[0]}; pass a classifier that is fitted"
            raise InvalidArgumentError(text)
        check_labels(self.classifier.classes_)

    @property
    def actions(self) -> list[Any] | None:
        """Labels in column order: the classes."""
        return check_labels(self.classifier.classes_)

    def action_probs(self, states: Any) -> NDArray[np.float64]:
        """Return pi(.|s) for each row, of shape (n, K)."""
        who = name_of(self)
        return check_probs(who, scores_of(who, self.classifier.predict_proba, states, self.actions))
