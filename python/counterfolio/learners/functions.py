"""What was learned, as functions of states: Q, scores, probabilities. Each can be pickled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.text import number, wrap

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from counterfolio.learners.reading import StateNumbers, StateTable

    Floats = NDArray[np.float64]


def below(value: Any) -> Any:
    """Give the next smaller number: what is worth no more is not chosen."""
    return np.nextafter(value, -np.inf)


def filled(q: Floats, known: NDArray[np.bool_]) -> Floats:
    """Put what nothing is known of just below the rest of its row.

    Parameters
    ----------
    known
        (n, n_actions), or (n_actions,) where it is the same in all rows.
    """
    least = below(np.where(known, q, np.inf).min(axis=1, keepdims=True))
    return np.where(known, q, least)


@dataclass(frozen=True, eq=False, repr=False)
class TableFunction:
    """Rows of a table by state; the last row is for states that the log did not have."""

    table: StateTable
    rows: Floats

    def __repr__(self) -> str:
        return f"<table of {len(self.rows) - 1} states>"

    def __call__(self, states: Any) -> Floats:
        """Return a number for every action, of shape (n, n_actions)."""
        found: Floats = self.rows[self.table.find(states)]
        return found


@dataclass(frozen=True, eq=False)
class LinearFunction:
    """x^T theta_a - beta sqrt(x^T Lambda_a^-1 x) of the actions that were taken."""

    numbers: StateNumbers
    theta: Floats
    #: Actions that were taken.
    known: NDArray[np.bool_]
    beta: float
    #: Lambda_a^-1 of these; none where beta is 0.
    inverses: dict[int, Floats]

    def __call__(self, states: Any) -> Floats:
        """Return a number for every action, of shape (n, n_actions)."""
        return self.of_features(self.numbers.of_states(states))

    def of_features(self, x: Floats) -> Floats:
        """Take Q of some features."""
        q: Floats = x @ self.theta.T - penalty(x, self.beta, self.inverses, len(self.known))
        return q if self.known.all() else filled(q, self.known)


def penalty(x: Floats, beta: float, inverses: dict[int, Floats], n_actions: int) -> Floats:
    """Take beta sqrt(x^T Lambda_a^-1 x) of every action, of shape (n, n_actions)."""
    out = np.zeros((len(x), n_actions))
    for a, inverse in inverses.items():
        out[:, a] = beta * np.sqrt(np.maximum(((x @ inverse) * x).sum(axis=1), 0.0))
    return out


@dataclass(frozen=True, eq=False)
class RegressorFunction:
    """What a fitted regressor predicts of each action that was taken."""

    numbers: StateNumbers
    model: Any
    predict: Callable[[Any, Floats], Floats]
    known: NDArray[np.bool_]

    def __call__(self, states: Any) -> Floats:
        """Return a number for every action, of shape (n, n_actions)."""
        return self.of_features(self.numbers.of_states(states))

    def of_features(self, x: Floats) -> Floats:
        """Take Q of some features."""
        q, eye = np.zeros((len(x), len(self.known))), np.eye(len(self.known))
        for a in np.flatnonzero(self.known) if len(x) else ():
            action = np.broadcast_to(eye[a], (len(x), len(eye)))
            q[:, a] = self.predict(self.model, np.concatenate([x, action], axis=1))
        return q if self.known.all() else filled(q, self.known)


@dataclass(frozen=True, eq=False)
class LearnedQ:
    """Q as it was learned: call it with states.

    A base for `policies.Softmax`, `policies.EpsilonGreedy` and `policies.Deterministic`, which take
    `actions=q.actions` too.

    Attributes
    ----------
    actions : list
        Labels in column order.
    settings : dict
        How it was learned: learner, features, gamma, horizon, n_iterations (made), change (of the
        largest value in the last one, as a share), seed; of `PessimisticQ` also beta, delta,
        value_range.
    notes : list of str
        What is to be known of it.
    """

    actions: list[Any]
    settings: dict[str, Any]
    notes: list[str]
    _function: Callable[[Any], Floats] = field(repr=False)

    def __call__(self, states: Any) -> Floats:
        """Return Q of all actions.

        Parameters
        ----------
        states
            float64 array of shape (n, d), or a polars frame: what policies are handed.

        Returns
        -------
        numpy.ndarray of shape (n, n_actions)

        Raises
        ------
        InvalidPolicyError
            If states have other columns than the log's.
        """
        return self._function(states)

    def __repr__(self) -> str:
        s = self.settings
        beta = "" if "beta" not in s else f", beta {number(s['beta'])}"
        text = (
            f"Q of {len(self.actions)} actions by {s['learner']}, features {s['features']}, gamma "
            f"{s['gamma']:g}, horizon {s['horizon']}{beta}, {s['n_iterations']} iterations"
        )
        return "\n".join(map(wrap, [text, *self.notes]))
