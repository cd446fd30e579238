"""Algorithms of d3rlpy 2 as policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.adapters.models import (
    as_array,
    check_shape,
    kind_of,
    labels_of,
    observations,
    refuse_option,
    require,
)
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.policies.continuous import DeterministicAction
from counterfolio.policies.discrete import Deterministic
from counterfolio.policies.head import codes_of, one_hot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: What an algorithm is known by.
NAMES = ("predict", "get_action_type", "action_size", "observation_shape")


def from_d3rlpy(
    algo: Any, *, actions: Sequence[Any] | None = None, kernel: Any = None
) -> Deterministic | DeterministicAction:
    """Make a policy of a trained Q-learning or imitation algorithm of d3rlpy 2.

    It takes the action that `algo.predict` takes, always. Scalers of observations and actions are
    within the algorithm: states and actions are in the log's own units. The library offers no
    probabilities of what `sample_action` draws, so a stochastic policy is taken at its best action.
    To add noise, give what it does to another head: `EpsilonGreedy(policy.action_probs, 0.1)`,
    `TruncatedGaussian(policy.mean, 0.2, -1, 1)`, or `Softmax(adapters.q_values(algo))`.

    Parameters
    ----------
    algo
        With `predict`, `get_action_type`, `action_size` and `observation_shape`, and its networks
        built (fitted, or loaded).
    actions
        Labels in the log of the algorithm's actions 0 to K - 1. Default: these numbers.
    kernel
        `policies.Kernel`, for importance weights of continuous actions. Default: none.

    Returns
    -------
    Deterministic or DeterministicAction
        For discrete and for continuous actions.

    Raises
    ------
    InvalidPolicyError
        If it is no such algorithm, its networks are not built, or it observes several arrays.
    InvalidArgumentError
        If an option is for actions of the other kind.
    """
    _, n = _sizes(algo)
    if is_discrete(algo):
        refuse_option(algo, "kernel", kernel, "continuous")
        return Deterministic(Best(algo), labels_of(algo, actions, n))
    refuse_option(algo, "actions", actions, "discrete")
    return DeterministicAction(Best(algo), kernel)


@dataclass(frozen=True, eq=False)
class Best:
    """What an algorithm does: states -> 1 for its action and 0 for others, or its action."""

    algo: Any

    def __call__(self, states: Any) -> NDArray[np.float64]:
        """Return an array of shape (n, K), or (n, d) where actions are continuous."""
        shape, size = _sizes(self.algo)
        found = as_array(self.algo.predict(observations(self.algo, states, shape)))
        if not is_discrete(self.algo):
            return found.astype(np.float64)
        who = f"{kind_of(self.algo)}: predict returned"
        return one_hot(codes_of(who, found, None, len(np.asarray(states)), size), size)


@dataclass(frozen=True, eq=False)
class Values:
    """Q of an algorithm over discrete actions: states -> Q(s, .)."""

    algo: Any

    def __post_init__(self) -> None:
        require(self.algo, ("predict_value", *NAMES), "d3rlpy")
        shape, _ = _sizes(self.algo)
        if not is_discrete(self.algo):
            text = (
                f"{kind_of(self.algo)} has values of continuous actions, one at a time; pass "
                "q=algo.predict_value(states, actions) to PolicyColumns"
            )
            raise InvalidPolicyError(text)
        try:  # algorithms that imitate have the method all the same
            self.algo.predict_value(np.zeros((1, *shape), np.float32), np.zeros(1, np.int64))
        except NotImplementedError as error:
            text = (
                f"{kind_of(self.algo)} has no values ({error}); use from_d3rlpy(algo), which takes "
                "the action of its predict"
            )
            raise InvalidPolicyError(text) from error

    def __call__(self, states: Any) -> NDArray[np.float64]:
        """Return Q(s, a) of every action, of shape (n, K)."""
        shape, size = _sizes(self.algo)
        x = observations(self.algo, states, shape)
        columns = (
            self.algo.predict_value(x, np.full(len(x), action, np.int64)) for action in range(size)
        )
        return np.column_stack([as_array(c).reshape(len(x)) for c in columns]).astype(np.float64)


def is_discrete(algo: Any) -> bool:
    """Say whether an algorithm's actions are numbered.

    Raises
    ------
    InvalidPolicyError
        If that is not known.
    """
    kind = getattr(algo.get_action_type(), "name", None)
    if kind not in ("DISCRETE", "CONTINUOUS"):
        text = (
            f"{kind_of(algo)}: get_action_type() says {kind}, neither DISCRETE nor CONTINUOUS; "
            "give its actions as a function to Deterministic or DeterministicAction"
        )
        raise InvalidPolicyError(text)
    return bool(kind == "DISCRETE")


def _sizes(algo: Any) -> tuple[tuple[int, ...], int]:
    """Take the shape of an observation, and how many actions there are, or dimensions of them."""
    require(algo, NAMES, "d3rlpy")
    if algo.observation_shape is None or algo.action_size is None:
        text = f"{kind_of(algo)} has no networks yet; fit it, or load them with load_learnable"
        raise InvalidPolicyError(text)
    return check_shape(algo, algo.observation_shape), int(algo.action_size)
