"""Policies over numbers or vectors of numbers.

A *base* is any callable that takes states, an array of shape (n, d) or a polars frame, and returns
actions of shape (n, d) or (n,): a function, an `Onnx` model, the `predict` of a fitted regressor.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.policies.head import ask, check_base, finite, name_of, row_error, shape_error
from counterfolio.policies.normal import Truncated
from counterfolio.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class ContinuousHead(ABC):
    """A policy over vectors of numbers, made from its `density`."""

    @abstractmethod
    def density(self, states: Any, actions: Any) -> NDArray[np.float64]:
        """Return the joint density pi(a|s) of each row's action.

        Parameters
        ----------
        states
            float64 array of shape (n, d), or a polars frame of n rows.
        actions
            Array of shape (n, d), or of shape (n,) where d is 1.

        Returns
        -------
        numpy.ndarray of shape (n,)

        Raises
        ------
        InvalidPolicyError
            If actions or what the base returns have another shape, or a value is not finite.
        """

    def prob(self, states: Any, actions: Any) -> NDArray[np.float64]:
        """Return the joint density of each row's action, which is what a log of them needs."""
        return self.density(states, actions)


def vectors(policy: object, base: Callable[[Any], Any], states: Any) -> NDArray[np.float64]:
    """Ask a base for one finite vector for each state, of shape (n, d)."""
    who = name_of(policy)
    wanted = "one action for each, of shape (n, d) or (n,)"
    found = ask(who, base, states, wanted)
    if found.dtype.kind not in "fiub" or found.ndim > 2 or 0 in found.shape[1:]:
        raise shape_error(who, found, len(states), wanted)
    return finite(who, found.reshape(len(found), -1) if found.ndim == 1 else found)


def actions_like(policy: object, actions: Any, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take actions in the shape of the means.

    Raises
    ------
    InvalidPolicyError
        If they have another shape, or one is not finite.
    """
    who = name_of(policy)
    given = np.asarray(actions)
    shaped = given[:, None] if given.ndim == 1 else given
    if given.dtype.kind not in "fiub" or shaped.shape != mean.shape:
        text = (
            f"{who}: actions are {given.dtype} of shape {given.shape}, but the policy's are of "
            f"shape {mean.shape}; log every action with {plural(mean.shape[1], 'number')}"
        )
        raise InvalidPolicyError(text)
    return finite(who, shaped, "the log holds")


def parameter(what: str, value: Any) -> NDArray[np.float64]:
    """Take a number, or one for each dimension.

    Raises
    ------
    InvalidArgumentError
        If it is neither.
    """
    given = np.asarray(value)
    if given.dtype.kind not in "fiu" or given.ndim > 1 or given.size == 0 or np.isnan(given).any():
        text = f"{what} must be a number, or one for each dimension of an action, not {value!r}"
        raise InvalidArgumentError(text)
    return given.astype(np.float64)


def check_std(std: Any) -> Any:
    """Return a standard deviation as numbers above 0, or the callable that it is."""
    if callable(std):
        return std
    given = parameter("std", std)
    if not ((given > 0) & np.isfinite(given)).all():
        text = f"std must be finite and above 0, not {std!r}"
        raise InvalidArgumentError(text)
    return given


def check_range(low: Any, high: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take the bounds of actions: numbers, or one for each dimension.

    Raises
    ------
    InvalidArgumentError
        If they are neither, or low is not below high.
    """
    lower, upper = parameter("low", low), parameter("high", high)
    agree = lower.ndim == 0 or upper.ndim == 0 or lower.shape == upper.shape
    if not agree or not (lower < upper).all():
        text = f"low must be below high in each dimension, not {low!r} and {high!r}"
        raise InvalidArgumentError(text)
    return lower, upper


def spread(policy: object, what: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Give every action of an array of shape (n, d) its parameter."""
    if value.ndim == 1 and len(value) not in (1, shape[1]):
        text = (
            f"{name_of(policy)}: {what} has {plural(len(value), 'number')}, but actions have "
            f"{shape[1]}; pass one number, or one for each dimension"
        )
        raise InvalidPolicyError(text)
    return np.broadcast_to(value, shape)


def stds(policy: object, std: Any, states: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Take standard deviations of shape (n, d)."""
    if not callable(std):
        return spread(policy, "std", std, shape)
    found = vectors(policy, std, states)
    who = f"{name_of(policy)}: std(states)"
    if found.shape[1] not in (1, shape[1]):
        text = f"{who} returned shape {found.shape} for means of shape {shape}; return one for each"
        raise InvalidPolicyError(text)
    bad = np.logical_not((found > 0).all(axis=1))
    if bad.any():
        value = f"{found[int(bad.argmax())].min():g}"
        raise row_error(who, "rows are not above 0", bad, value, "return standard deviations")
    return np.broadcast_to(found, shape)


@dataclass(frozen=True, eq=False)
class Gaussian(ContinuousHead):
    """A normal distribution about the actions of a base, independent in each dimension.

    Where the environment clips actions to a range, the executed action has a probability of its own
    at each bound and no density there: use a `TruncatedGaussian`, or log actions unclipped.

    Parameters
    ----------
    base
        states -> means of shape (n, d) or (n,).
    std
        Standard deviation: a number, one for each dimension, or a callable states -> (n, d).

    Raises
    ------
    InvalidArgumentError
        If a standard deviation is not above 0, or an argument is of the wrong kind.
    """

    base: Callable[[Any], Any]
    std: Any

    def __post_init__(self) -> None:
        check_base(self, self.base)
        object.__setattr__(self, "std", check_std(self.std))

    def density(self, states: Any, actions: Any) -> NDArray[np.float64]:
        """Return the joint density of each row's action, of shape (n,)."""
        mean = vectors(self, self.base, states)
        std = stds(self, self.std, states, mean.shape)
        z = (actions_like(self, actions, mean) - mean) / std
        logs = -z * z / 2 - np.log(std) - math.log(2 * math.pi) / 2
        density: NDArray[np.float64] = np.exp(logs.sum(axis=1))
        return density

    def mean(self, states: Any) -> NDArray[np.float64]:
        """Return the mean action in each row's state, of shape (n, d)."""
        return vectors(self, self.base, states)

    def sample(self, states: Any, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw an action for each row, of shape (n, d)."""
        mean = vectors(self, self.base, states)
        std = stds(self, self.std, states, mean.shape)
        return mean + std * rng.standard_normal(mean.shape)


@dataclass(frozen=True, eq=False)
class TruncatedGaussian(ContinuousHead):
    """A normal distribution about the actions of a base, truncated to a range in each dimension.

    Its density integrates to 1 over the range and is 0 outside.

    Parameters
    ----------
    base
        states -> means before truncation, of shape (n, d) or (n,); they may lie out of the range.
    std
        Standard deviation before truncation: a number, one for each dimension, or a callable
        states -> (n, d).
    low, high
        The range: a number, or one for each dimension. May be infinite.

    Raises
    ------
    InvalidArgumentError
        If a standard deviation is not above 0, low is not below high, or an argument is of the
        wrong kind.
    """

    base: Callable[[Any], Any]
    std: Any
    low: Any
    high: Any

    def __post_init__(self) -> None:
        check_base(self, self.base)
        low, high = check_range(self.low, self.high)
        for name, value in (("std", check_std(self.std)), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    def _truncated(self, states: Any) -> Truncated:
        mean = vectors(self, self.base, states)
        std = stds(self, self.std, states, mean.shape)
        low, high = (spread(self, x, getattr(self, x), mean.shape) for x in ("low", "high"))
        return Truncated(mean, std, low, high)

    def density(self, states: Any, actions: Any) -> NDArray[np.float64]:
        """Return the joint density of each row's action, of shape (n,); 0 out of the range."""
        found = self._truncated(states)
        logs = found.log_density(actions_like(self, actions, found.mean))
        density: NDArray[np.float64] = np.exp(logs.sum(axis=1))
        return density

    def mean(self, states: Any) -> NDArray[np.float64]:
        """Return the mean action after truncation in each row's state, of shape (n, d)."""
        return self._truncated(states).expectation()

    def sample(self, states: Any, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw an action for each row, of shape (n, d)."""
        return self._truncated(states).sample(rng)


@dataclass(frozen=True, eq=False)
class DeterministicAction(ContinuousHead):
    """The action of a base, without noise.

    It has no density: weights need a policy that could have done what was logged, or a kernel that
    counts what was nearly it. Models need its `mean` alone.

    Parameters
    ----------
    base
        states -> actions of shape (n, d) or (n,).
    kernel
        `policies.Kernel`, for importance weights. Default: none.

    Raises
    ------
    InvalidArgumentError
        If the base cannot be called.
    """

    base: Callable[[Any], Any]
    kernel: Any = None

    def __post_init__(self) -> None:
        check_base(self, self.base)

    def density(self, states: Any, actions: Any) -> NDArray[np.float64]:
        """Return the kernel's density about the action of the base.

        Raises
        ------
        InvalidPolicyError
            If there is no kernel, or its bandwidth is for the log to choose.
        """
        if self.kernel is None or isinstance(self.kernel.bandwidth, str):
            text = (
                "DeterministicAction has no density, and without one there are no importance "
                "weights; pass kernel=policies.Kernel(bandwidth=...), add noise with Gaussian or "
                "TruncatedGaussian, or use the direct method (dm) with v"
            )
            raise InvalidPolicyError(text)
        mean = self.mean(states)
        found: NDArray[np.float64] = self.kernel.density(actions_like(self, actions, mean), mean)
        return found

    def mean(self, states: Any) -> NDArray[np.float64]:
        """Return the action in each row's state, of shape (n, d)."""
        return vectors(self, self.base, states)

    def sample(self, states: Any, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the action in each row's state, of shape (n, d); nothing is drawn."""
        return vectors(self, self.base, states)
