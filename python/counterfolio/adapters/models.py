"""What adapters share: what a model has, states as it takes them, its answers as arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.dense import check_labels
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.policies.head import check_width
from counterfolio.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def kind_of(model: object) -> str:
    """Name a model in a message: by its class."""
    return type(model).__name__


def require(model: object, names: Sequence[str], library: str) -> None:
    """Raise unless a model has attributes of these names.

    Raises
    ------
    InvalidPolicyError
        If it lacks one.
    """
    missing = [name for name in names if not hasattr(model, name)]
    if missing:
        text = (
            f"{kind_of(model)} is no model of {library} that is known: of {', '.join(names)} it "
            f"lacks {', '.join(missing)}; pass the trained model, or give its probabilities or "
            "actions as a function to Probabilities, Deterministic or Gaussian"
        )
        raise InvalidPolicyError(text)


def check_shape(model: object, shape: object) -> tuple[int, ...]:
    """Take the shape of a model's observations.

    Raises
    ------
    InvalidPolicyError
        If a model observes several arrays.
    """
    sizes = (shape,) if isinstance(shape, int) else shape
    if not isinstance(sizes, list | tuple) or not all(isinstance(n, int) for n in sizes):
        text = (
            f"{kind_of(model)} observes several arrays (their shape is {shape!r}), but a log's "
            "states are one; give its probabilities or actions as a function"
        )
        raise InvalidPolicyError(text)
    return tuple(sizes)


def observations(
    model: object, states: Any, shape: tuple[int, ...], dtype: Any = np.float32
) -> NDArray[Any]:
    """Bring states to the shape and type that a model was trained on.

    Raises
    ------
    InvalidPolicyError
        If they are not numbers of shape (n, d), or d is not what the model takes.
    """
    given = np.asarray(states)
    if given.dtype.kind not in "fiub" or given.ndim != 2:
        text = (
            f"{kind_of(model)} takes numbers of shape (n, d), but states are {given.dtype} of "
            f"shape {given.shape}; name state columns that hold numbers"
        )
        raise InvalidPolicyError(text)
    width = math.prod(shape)
    if given.shape[1] != width:
        text = (
            f"{kind_of(model)} takes {plural(width, 'number')} a state, but states have "
            f"{given.shape[1]}; name the state columns that it was trained on, in their order"
        )
        raise InvalidPolicyError(text)
    return np.ascontiguousarray(given, dtype=dtype).reshape(len(given), *shape)


def as_array(answer: Any) -> NDArray[Any]:
    """Take an answer as numpy array, whether it is one or a tensor."""
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu().numpy()
    return np.asarray(answer)


def labels_of(model: object, actions: object, n_actions: int) -> list[Any]:
    """Give each of a model's actions, which are numbers to it, its label in the log.

    Raises
    ------
    InvalidPolicyError
        If there is not one label to an action.
    InvalidArgumentError
        If `actions` are no labels.
    """
    labels = check_labels(range(n_actions) if actions is None else actions)
    check_width(kind_of(model), n_actions, labels)
    return labels or []


def refuse_option(model: object, name: str, value: object, is_for: str) -> None:
    """Raise if an option was given that says nothing about such a model.

    Raises
    ------
    InvalidArgumentError
        If it is not None.
    """
    if value is not None:
        text = f"{name} is for models of {is_for} actions; {kind_of(model)} has others"
        raise InvalidArgumentError(text)
