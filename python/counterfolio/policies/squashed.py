"""A normal distribution squashed into a range by tanh, as actors of soft actor-critic are.

An action is a = low + (high - low) (1 + tanh z) / 2 with z normal. In terms of the distances to
both bounds, which lose no digits near either, z = ln((a - low) / (high - a)) / 2, and
dz/da = (high - low) / (2 (a - low) (high - a)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.policies.continuous import (
    ContinuousHead,
    actions_like,
    check_range,
    check_std,
    spread,
    stds,
    vectors,
)
from counterfolio.policies.head import check_base

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

#: Half the range, times this: the last number below a bound that a network in float32 can give.
SINGLE = 2.0**-23
#: Beyond as many deviations nothing of a normal distribution is left that float64 would show.
REACH = 9.0
#: Widest step of the sum that gives the mean; and its product with a standard deviation, at which
#: the poles of tanh leave an error of exp(-28).
STEP, STEP_STD = 0.5, math.pi**2 / 28


@dataclass(frozen=True, eq=False)
class SquashedGaussian(ContinuousHead):
    """A normal distribution, independent in each dimension, squashed into a range by tanh.

    The action is low + (high - low) (1 + tanh z) / 2, with z normal about what the base returns.
    Its density is that of z, times dz/da. At the bounds themselves it is 0. But networks compute in
    float32, which rounds actions near a bound to it: an action at a bound is taken as the last
    number of float32 within. There the density is no longer exact; a log in which many actions
    stand at a bound is better evaluated by the actions before squashing (a `Gaussian`).

    Parameters
    ----------
    base
        states -> means before squashing, of shape (n, d) or (n,).
    std
        Standard deviation before squashing: a number, one for each dimension, or a callable
        states -> (n, d).
    low, high
        The range: a number, or one for each dimension. Default: -1 to 1.

    Raises
    ------
    InvalidArgumentError
        If a standard deviation is not above 0, low is not below high, one is infinite, or an
        argument is of the wrong kind.

    References
    ----------
    Haarnoja, Zhou, Abbeel, Levine (2018), Soft Actor-Critic, appendix C (arXiv 1801.01290).
    """

    base: Callable[[Any], Any]
    std: Any
    low: Any = -1.0
    high: Any = 1.0

    def __post_init__(self) -> None:
        check_base(self, self.base)
        low, high = check_range(self.low, self.high)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            text = f"low and high must be finite, not {self.low!r} and {self.high!r}"
            raise InvalidArgumentError(text)
        for name, value in (("std", check_std(self.std)), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    def _normal(self, states: Any) -> tuple[NDArray[np.float64], ...]:
        """Ask for mean, standard deviation and bounds, each of shape (n, d)."""
        mean = vectors(self, self.base, states)
        std = stds(self, self.std, states, mean.shape)
        low, high = (spread(self, x, getattr(self, x), mean.shape) for x in ("low", "high"))
        return mean, std, low, high

    def density(self, states: Any, actions: Any) -> NDArray[np.float64]:
        """Return the joint density of each row's action, of shape (n,); 0 out of the range."""
        mean, std, low, high = self._normal(states)
        given = actions_like(self, actions, mean)
        width = high - low
        # What scaling in float32 may add to a bound is no step out of the range.
        slack = SINGLE * np.maximum(width, np.maximum(np.abs(low), np.abs(high)))
        inside = ((given >= low - slack) & (given <= high + slack)).all(axis=1)
        below, above = given - low, high - given
        # At a bound, or beyond by no more than rounding.
        below = np.log(np.where(below > 0, below, SINGLE * width / 2))
        above = np.log(np.where(above > 0, above, SINGLE * width / 2))
        z = ((below - above) / 2 - mean) / std
        logs = -z * z / 2 - np.log(std) - math.log(2 * math.pi) / 2
        logs += np.log(width / 2) - below - above
        density: NDArray[np.float64] = np.where(inside, np.exp(logs.sum(axis=1)), 0.0)
        return density

    def mean(self, states: Any) -> NDArray[np.float64]:
        """Return the mean action in each row's state, of shape (n, d).

        The mean of tanh z, summed by the trapezoidal rule, which converges exponentially here. It
        is not tanh of the mean, which is what models of such policies call their best action.
        """
        mean, std, low, high = self._normal(states)
        widest = float(std.max(initial=0.0))
        step = min(STEP, STEP_STD / widest) if widest > 0 else STEP
        most = math.ceil(REACH / step)
        total, weights = np.zeros_like(mean), 0.0
        for i in range(-most, most + 1):
            x = i * step
            weight = math.exp(-x * x / 2)
            total += weight * np.tanh(mean + std * x)
            weights += weight
        return np.clip(low + (high - low) * (1 + total / weights) / 2, low, high)

    def sample(self, states: Any, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw an action for each row, of shape (n, d), always within the range."""
        mean, std, low, high = self._normal(states)
        z = mean + std * rng.standard_normal(mean.shape)
        # The distance to the nearer bound, so that none is lost beside the bound.
        tail = np.exp(-2 * np.abs(z))
        distance = (high - low) * (tail / (1 + tail))
        drawn = np.where(z > 0, high - distance, low + distance)
        within: NDArray[np.float64] = np.clip(
            drawn, np.nextafter(low, high), np.nextafter(high, low)
        )
        return within
