"""What an object has to offer to count as a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Wherever a method takes `states`: a float64 array of shape (n, d) if all state columns are
#: numbers, else a polars frame of n rows.


@runtime_checkable
class Policy(Protocol):
    """A policy that can be asked for the probability of actions: all that `evaluate` needs."""

    def prob(self, states: Any, actions: Any) -> Any:
        """Return pi(a|s) for each row.

        Parameters
        ----------
        states
            float64 array of shape (n, d) if all state columns are numbers, else a polars frame.
        actions
            Array of n actions as they stand in the log, of shape (n, d) where they have d numbers.

        Returns
        -------
        array of n probabilities (densities for continuous actions).
        """


@runtime_checkable
class DiscretePolicy(Policy, Protocol):
    """A policy over finitely many actions, of which it can list all probabilities."""

    @property
    def actions(self) -> Sequence[Any] | None:
        """Labels of the actions in the order of columns; None means 0 to K - 1."""

    def action_probs(self, states: Any) -> Any:
        """Return pi(.|s) for each row, an array of shape (n, n_actions)."""

    def sample(self, states: Any, rng: Any) -> Any:
        """Draw an action for each row, with a `numpy.random.Generator`."""


@runtime_checkable
class ContinuousPolicy(Policy, Protocol):
    """A policy over numbers or vectors of numbers, whose `prob` is its density."""

    def density(self, states: Any, actions: Any) -> Any:
        """Return the joint density pi(a|s) of each row's action, in the log's own units."""

    def mean(self, states: Any) -> Any:
        """Return the mean action in each row's state, of shape (n, d)."""

    def sample(self, states: Any, rng: Any) -> Any:
        """Draw an action for each row, of shape (n, d), with a `numpy.random.Generator`."""
