"""Policies over finitely many actions, made from scores or from actions.

A *base* is any callable that takes states, an array of shape (n, d) or a polars frame, and returns
an array: a function, an `Onnx` model, the `predict` of a fitted regressor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import is_number
from counterfolio.dense import check_labels
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.policies.head import (
    Head,
    ask,
    check_base,
    codes_of,
    labelled,
    name_of,
    one_hot,
    scores_of,
    shape_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class EpsilonGreedy(Head):
    """The action of the highest score, and with probability epsilon any action.

    pi(a|s) = 1 - epsilon + epsilon / K for the greedy action (of several, the first), else
    epsilon / K.

    Parameters
    ----------
    base
        states -> scores of shape (n, K), such as Q(s, .).
    epsilon
        In [0, 1].
    actions
        Labels in column order. Default: 0 to K - 1.

    Raises
    ------
    InvalidArgumentError
        If epsilon is outside [0, 1], or an argument is of the wrong kind.
    """

    base: Callable[[Any], Any]
    epsilon: float
    actions: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        check_base(self, self.base)
        if not is_number(self.epsilon) or not 0 <= self.epsilon <= 1:
            text = f"epsilon must be in [0, 1], not {self.epsilon!r}"
            raise InvalidArgumentError(text)
        object.__setattr__(self, "actions", check_labels(self.actions))

    def action_probs(self, states: Any) -> NDArray[np.float64]:
        """Return pi(.|s) for each row, of shape (n, K)."""
        scores = scores_of(name_of(self), self.base, states, self.actions)
        width = scores.shape[1]
        greedy = one_hot(scores.argmax(axis=1), width)
        probs: NDArray[np.float64] = (1 - self.epsilon) * greedy + self.epsilon / width
        return probs


@dataclass(frozen=True, eq=False)
class Softmax(Head):
    """Actions with probabilities that rise with their scores: softmax(scores / temperature).

    Parameters
    ----------
    base
        states -> scores of shape (n, K), such as Q(s, .) or logits.
    temperature
        Above 0; towards 0 the policy becomes greedy, with a high one uniform.
    actions
        Labels in column order. Default: 0 to K - 1.

    Raises
    ------
    InvalidArgumentError
        If the temperature is not above 0, or an argument is of the wrong kind.
    """

    base: Callable[[Any], Any]
    temperature: float = 1.0
    actions: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        check_base(self, self.base)
        if not is_number(self.temperature) or not 0 < self.temperature < math.inf:
            text = f"temperature must be a finite number above 0, not {self.temperature!r}"
            raise InvalidArgumentError(text)
        object.__setattr__(self, "actions", check_labels(self.actions))

    def action_probs(self, states: Any) -> NDArray[np.float64]:
        """Return pi(.|s) for each row, of shape (n, K)."""
        scores = scores_of(name_of(self), self.base, states, self.actions)
        # Differences to the largest: no exponential overflows.
        with np.errstate(over="ignore"):
            found = np.exp((scores - scores.max(axis=1, keepdims=True)) / self.temperature)
        probs: NDArray[np.float64] = found / found.sum(axis=1, keepdims=True)
        return probs


@dataclass(frozen=True, eq=False)
class Deterministic(Head):
    """One action in each state.

    Parameters
    ----------
    base
        states -> scores of shape (n, K), of which the first of the highest is taken; or n action
        labels, such as a classifier's `predict`.
    actions
        Labels in column order. Default: 0 to K - 1. A base that returns labels says nothing of how
        many there are: without `actions`, `action_probs` raises.

    Raises
    ------
    InvalidArgumentError
        If an argument is of the wrong kind.
    """

    base: Callable[[Any], Any]
    actions: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        check_base(self, self.base)
        object.__setattr__(self, "actions", check_labels(self.actions))

    def _choose(self, states: Any) -> tuple[NDArray[np.integer[Any]], int | None]:
        """Choose the column of each row's action; say how many there are, if that is known."""
        who = name_of(self)
        wanted = "scores of shape (n, n_actions), or n action labels"
        found = ask(who, self.base, states, wanted)
        if found.ndim == 2:
            scores = scores_of(who, lambda _: found, states, self.actions)
            return scores.argmax(axis=1), scores.shape[1]
        if found.ndim != 1:
            raise shape_error(who, found, len(states), wanted)
        width = None if self.actions is None else len(self.actions)
        return codes_of(f"{who}: its base returned", found, self.actions, len(found), width), width

    def action_probs(self, states: Any) -> NDArray[np.float64]:
        """Return pi(.|s) for each row, of shape (n, K): 1 for one action and 0 for the others."""
        codes, width = self._choose(states)
        if width is None:
            text = (
                "Deterministic: its base returned actions, not scores, and how many actions there "
                "are is not known; pass actions=[...], every label in column order"
            )
            raise InvalidPolicyError(text)
        return one_hot(codes, width)

    def prob(self, states: Any, actions: Any) -> NDArray[np.float64]:
        """Return 1 for each row whose action is the policy's, else 0."""
        codes, width = self._choose(states)
        taken = codes_of(name_of(self), actions, self.actions, len(codes), width)
        same: NDArray[np.float64] = (taken == codes).astype(np.float64)
        return same

    def sample(self, states: Any, rng: np.random.Generator) -> NDArray[Any]:
        """Return the policy's action for each row; nothing is drawn."""
        return labelled(self._choose(states)[0], self.actions)
