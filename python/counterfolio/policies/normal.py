"""The normal distribution between two bounds, however far from its mean they are.

In units of standard deviations from the mean the bounds are a < b, mirrored where that makes
a + b >= 0, so that `a` is where the density is highest or the mean lies between them. With
phi(z) = exp(-z^2 / 2) / sqrt(2 pi), the probability between them is Z, and nothing here forms the
difference of two nearly equal numbers:

- *near*: where phi varies little, Z / phi(a) is a Gauss-Legendre sum;
- *tail*: a > 0; Z / phi(a) = M(a) - exp(-(b - a)(b + a) / 2) M(b), with Mills' ratio M;
- *wide*: a <= 0; Z is the sum of two error functions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

#: Where phi varies by less than exp(-NEAR) over at most NEAR deviations, its integral is summed.
NEAR = 2.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
#: Below, Mills' ratio comes from erfc; above, from its continued fraction, cut off at DEPTH terms.
SPLIT, DEPTH = 4.0, 60
ROOT_2PI = math.sqrt(2 * math.pi)


def _elementwise(function: Callable[[float], float]) -> Callable[[Floats], Floats]:
    called = np.frompyfunc(function, 1, 1)
    return lambda x: np.asarray(called(x), dtype=np.float64)


_erf, _erfc = _elementwise(math.erf), _elementwise(math.erfc)


def mills(x: Floats) -> Floats:
    """Compute (1 - Phi(x)) / phi(x) for x >= 0."""
    out = np.zeros_like(x)
    small = x < SPLIT
    y = x[small]
    out[small] = math.sqrt(math.pi / 2) * np.exp(y * y / 2) * _erfc(y / math.sqrt(2))
    y = x[~small]
    tail = y
    for k in range(DEPTH, 0, -1):
        tail = y + k / tail
    out[~small] = 1 / tail
    return out


class Truncated:
    """Normal distributions between bounds, one to each element of arrays of one shape.

    Parameters
    ----------
    mean, std
        Of the distribution before truncation.
    low, high
        Bounds, which may be infinite.
    """

    def __init__(self, mean: Floats, std: Floats, low: Floats, high: Floats) -> None:
        self.mean, self.std, self.low, self.high = mean, std, low, high
        below, above = low - mean, high - mean
        with np.errstate(invalid="ignore"):  # the sum of two infinite bounds
            self.mirrored = below + above < 0
        self.a = np.where(self.mirrored, -above, below) / std
        self.b = np.where(self.mirrored, -below, above) / std
        self.width = (high - low) / std
        with np.errstate(invalid="ignore", over="ignore"):
            drop = self.width * ((self.a + self.b) / 2)
        #: phi(b) = exp(-drop) phi(a).
        self.drop = np.where(np.isnan(drop), np.inf, drop)
        self.near = (self.width <= NEAR) & (self.drop <= NEAR)
        self.tail = ~self.near & (self.a > 0)
        self.wide = ~self.near & ~self.tail
        self._mass()

    def _mass(self) -> None:
        """Compute Z / phi(a), or Z where it is wide, and the mean distance from bound or mean."""
        mass, distance = np.empty_like(self.a), np.empty_like(self.a)
        near, tail, wide = self.near, self.tail, self.wide
        t = self.width[near, None] * (1 + _NODES) / 2
        share = np.exp(-t * (t / 2 + self.a[near, None])) * _WEIGHTS
        mass[near] = share.sum(axis=1) * self.width[near] / 2
        distance[near] = (share * t).sum(axis=1) / share.sum(axis=1)
        a, b, left = self.a[tail], self.b[tail], np.exp(-self.drop[tail])
        mass[tail] = mills(a) - left * mills(b)
        distance[tail] = (1 - left) / mass[tail] - a
        a, b = self.a[wide], self.b[wide]
        mass[wide] = (_erf(b / math.sqrt(2)) - _erf(a / math.sqrt(2))) / 2
        distance[wide] = (np.exp(-a * a / 2) - np.exp(-b * b / 2)) / (ROOT_2PI * mass[wide])
        self.mass, self.distance = mass, distance

    def _place(self, distance: Floats) -> Floats:
        """Find what lies so many deviations inwards of the near bound, or from the mean."""
        bound = np.where(self.mirrored, self.high, self.low)
        origin = np.where(self.wide, self.mean, bound)
        inwards = np.where(self.mirrored, -self.std, self.std)
        return np.clip(origin + inwards * distance, self.low, self.high)

    def expectation(self) -> Floats:
        """Compute the mean between the bounds."""
        return self._place(self.distance)

    def log_density(self, x: Floats) -> Floats:
        """Compute the logarithm of the density; -inf outside the bounds."""
        z = (x - self.mean) / self.std
        t = np.where(self.mirrored, self.high - x, x - self.low) / self.std
        with np.errstate(invalid="ignore", over="ignore"):  # where the other of both is meant
            exponent = np.where(self.wide, -z * z / 2 - math.log(ROOT_2PI), -t * (t / 2 + self.a))
        inside = (x >= self.low) & (x <= self.high)
        return np.where(inside, exponent - np.log(self.mass) - np.log(self.std), -np.inf)

    def sample(self, rng: np.random.Generator) -> Floats:
        """Draw one number for each element, by rejection.

        Proposals are uniform where phi varies little, exponential in a tail (Robert 1995,
        Simulation of truncated normal variables) and normal else; of each, more than one in ten is
        kept.
        """
        distance = np.empty(self.a.size)
        a, b, width = self.a.ravel(), self.b.ravel(), self.width.ravel()

        def near(i: NDArray[np.intp], rng: Any) -> tuple[Floats, Floats]:
            t = width[i] * rng.random(len(i))
            top = np.minimum(a[i], 0.0) ** 2 / 2
            return t, np.exp(-t * (t / 2 + a[i]) - top)

        def tail(i: NDArray[np.intp], rng: Any) -> tuple[Floats, Floats]:
            rate = (a[i] + np.sqrt(a[i] ** 2 + 4)) / 2
            t = -np.log1p(rng.random(len(i)) * np.expm1(-rate * width[i])) / rate
            return t, np.exp(-((t - 1 / rate) ** 2) / 2)

        def wide(i: NDArray[np.intp], rng: Any) -> tuple[Floats, Floats]:
            z = rng.standard_normal(len(i))
            return z, ((z >= a[i]) & (z <= b[i])).astype(np.float64)

        for where, propose in ((self.near, near), (self.tail, tail), (self.wide, wide)):
            left = np.flatnonzero(where)
            while len(left):
                # Where rows have streams of their own, those that are kept draw no more.
                own = rng.at(left, self.a[0].size) if hasattr(rng, "at") else rng
                value, chance = propose(left, own)
                kept = own.random(len(left)) < chance
                distance[left[kept]] = value[kept]
                left = left[~kept]
        return self._place(distance.reshape(self.a.shape))
