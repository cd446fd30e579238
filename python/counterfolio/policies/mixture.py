"""Policies that follow one of several others, drawn anew at each decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import is_number
from counterfolio.dense import SUM_TOLERANCE
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.policies.continuous import ContinuousHead
from counterfolio.policies.head import Head, check_probs, draw, reorder
from counterfolio.policies.protocol import ContinuousPolicy, DiscretePolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Mixture:
    """One of several policies in each row, drawn with fixed weights: pi = sum_i w_i pi_i.

    Of discrete policies it is a discrete one, of continuous policies a continuous one.

    Parameters
    ----------
    policies
        Discrete policies, whose labels may stand in different orders and need not be the same; or
        continuous ones.
    weights
        One for each policy, of 0 or more, which sum to 1. Default: equal ones.

    Attributes
    ----------
    policies : tuple
    weights : numpy.ndarray

    Raises
    ------
    InvalidArgumentError
        If there are no policies, both kinds, or the weights are not as said.
    """

    policies: tuple[Any, ...]
    weights: NDArray[np.float64]

    def __new__(cls, *args: Any, **given: Any) -> Mixture:
        """Make a mixture of the kind of its policies."""
        if cls is not Mixture:
            return super().__new__(cls)
        return super().__new__(_kind(args[0] if args else given.get("policies")))

    def __init__(self, policies: Sequence[Any], weights: Sequence[float] | None = None) -> None:
        self.policies = tuple(policies)
        self.weights = _weights(weights, len(self.policies))

    def __repr__(self) -> str:
        return f"Mixture({list(self.policies)!r}, weights={self.weights.tolist()!r})"


def _kind(policies: Any) -> type[Mixture]:
    """Choose the mixture that holds such policies."""
    listed = list(policies) if isinstance(policies, list | tuple) else []
    if not listed:
        text = f"Mixture: policies must be a list of policy objects, not {policies!r}"
        raise InvalidArgumentError(text)
    if all(isinstance(policy, DiscretePolicy) for policy in listed):
        return DiscreteMixture
    if all(isinstance(policy, ContinuousPolicy) for policy in listed):
        return ContinuousMixture
    kinds = ", ".join(type(policy).__name__ for policy in listed)
    text = f"Mixture: pass discrete policies, or continuous ones, but not {kinds}"
    raise InvalidArgumentError(text)


def _weights(weights: Any, count: int) -> NDArray[np.float64]:
    """Take weights as they are, or equal ones."""
    if weights is None:
        return np.full(count, 1 / count)
    given = list(weights) if hasattr(weights, "__iter__") else []
    numbers = len(given) == count and all(is_number(w) and w >= 0 for w in given)
    if not numbers or abs(sum(given) - 1) > SUM_TOLERANCE:
        text = (
            f"Mixture: weights must be {count} numbers of 0 or more, one for each policy, which "
            f"sum to 1, not {weights!r}"
        )
        raise InvalidArgumentError(text)
    return np.array(given, dtype=np.float64)


class DiscreteMixture(Mixture, Head):
    """A mixture of discrete policies."""

    def __init__(self, policies: Sequence[Any], weights: Sequence[float] | None = None) -> None:
        super().__init__(policies, weights)
        labels = [policy.actions for policy in self.policies]
        unlabelled = [x is None for x in labels]
        if any(unlabelled) and not all(unlabelled):
            text = (
                "Mixture: some of the policies have action labels and some have none; pass "
                "actions=[...] to each"
            )
            raise InvalidArgumentError(text)
        #: Labels in column order: the first policy's, then what others add.
        self.actions: list[Any] | None = None
        if not any(unlabelled):
            self.actions = list(dict.fromkeys(label for x in labels for label in x))

    def action_probs(self, states: Any) -> NDArray[np.float64]:
        """Return pi(.|s) for each row, of shape (n, K)."""
        total: Any = 0.0
        for policy, weight in zip(self.policies, self.weights, strict=True):
            who = f"Mixture: {type(policy).__name__}"
            probs = np.asarray(policy.action_probs(states), dtype=np.float64)
            if self.actions is not None:
                probs = reorder(who, probs, policy.actions, self.actions, "")
            elif np.ndim(total) and probs.shape != total.shape:
                text = (
                    f"{who} has {probs.shape[1]} actions, but the policies before it have "
                    f"{total.shape[1]}; pass actions=[...] to each"
                )
                raise InvalidPolicyError(text)
            total = total + weight * probs
        return check_probs("Mixture", total)


class ContinuousMixture(Mixture, ContinuousHead):
    """A mixture of continuous policies."""

    def density(self, states: Any, actions: Any) -> NDArray[np.float64]:
        """Return the joint density of each row's action, of shape (n,)."""
        parts = [np.asarray(policy.density(states, actions)) for policy in self.policies]
        density: NDArray[np.float64] = self.weights @ np.stack(parts)
        return density

    def mean(self, states: Any) -> NDArray[np.float64]:
        """Return the mean action in each row's state, of shape (n, d)."""
        parts = np.stack([np.asarray(policy.mean(states)) for policy in self.policies])
        mean: NDArray[np.float64] = np.tensordot(self.weights, parts, axes=1)
        return mean

    def sample(self, states: Any, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw a policy and then its action for each row, of shape (n, d)."""
        parts = np.stack([np.asarray(policy.sample(states, rng)) for policy in self.policies])
        chosen = draw(np.tile(self.weights, (len(states), 1)), rng)
        picked: NDArray[np.float64] = parts[chosen, np.arange(len(chosen))]
        return picked
