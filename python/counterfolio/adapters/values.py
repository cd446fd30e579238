"""Values that a trained model gives to actions, whichever library it is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counterfolio.adapters.d3rlpy import Values
from counterfolio.adapters.models import kind_of
from counterfolio.adapters.stable_baselines3 import NetworkValues
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray


def q_values(
    model: Any, *, transform: Callable[[Any], Any] | None = None
) -> Callable[[Any], NDArray[np.float64]]:
    """Take the Q-function of a model over discrete actions, as the base of a policy.

    Such as `Softmax(q_values(model), temperature=0.1)` or `EpsilonGreedy(q_values(model), 0.05)`.
    Where a model acts by something else than the highest Q, as d3rlpy's DiscreteBCQ and DiscreteSAC
    do, `Deterministic(q_values(model))` is another policy than the model's.

    Parameters
    ----------
    model
        Of d3rlpy, with `predict_value`; or of stable-baselines3, whose policy has a `q_net`.
    transform
        As for `from_stable_baselines3`; d3rlpy has its scalers within.

    Returns
    -------
    callable
        states -> Q(s, .), float64 of shape (n, K).

    Raises
    ------
    InvalidPolicyError
        If a model has no values of discrete actions, or as `from_stable_baselines3`.
    InvalidArgumentError
        If `transform` is given for a model of d3rlpy.
    """
    if hasattr(model, "predict_value"):
        if transform is not None:
            text = f"transform is for stable-baselines3; {kind_of(model)} has its scalers within"
            raise InvalidArgumentError(text)
        return Values(model)
    policy = getattr(model, "policy", model)
    if hasattr(policy, "q_net"):
        return NetworkValues(model, transform)
    text = (
        f"{kind_of(model)} has no values of discrete actions that are known; looked for: "
        "predict_value (d3rlpy), policy.q_net (stable-baselines3)"
    )
    raise InvalidPolicyError(text)
