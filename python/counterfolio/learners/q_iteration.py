"""Q iteration: regress r + gamma max_a' Q(s', a') on (s, a), and again, until nothing changes.

A *space* says what a regression is: a mean in each cell of a table, least squares in features of
the state crossed with the action, or a regressor of scikit-learn's kind. It offers

    regress(value)   the regression of r + gamma V(s'), V given at its points
    values(fit)      V at its points: the states that follow some row
    swept(..)        the regression after many more, with the same best actions
    learned(fit)     Q as a function of any states

Pessimism is a part of the space: beta times the width sqrt(phi^T Lambda^-1 phi) is taken off Q, and
V is no lower than the least that a state can be worth. In a table the width is 1 / sqrt(n(s, a)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from counterfolio.learners.functions import (
    RegressorFunction,
    TableFunction,
    below,
)
from counterfolio.models.linear import block_slices
from counterfolio.models.tabular import Counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from counterfolio.learners.decisions import Decisions
    from counterfolio.learners.reading import StateNumbers, StateTable
    from counterfolio.models.features import StateCodes

    Floats = NDArray[np.float64]

#: Share of a bound that is rounding.
ROUNDING = 1e-9
#: Sweeps that keep the best actions between two iterations, and the iterations that have them.
SWEEPS = 100
MOST_SWEPT = 50


@dataclass(frozen=True)
class Pessimism:
    """How much is taken off: beta times the width; no state is worth less than `floor`."""

    beta: float
    floor: float


class Space(Protocol):
    """What a regression is."""

    @property
    def start(self) -> Floats:
        """V before the first iteration."""

    @property
    def floor(self) -> float:
        """What no state is worth less than; -inf without pessimism."""

    def regress(self, value: Floats) -> Any:
        """Regress r + gamma V(s') on state and action."""

    def values(self, fit: Any) -> Floats:
        """Take the value of the best action at every point."""

    def swept(self, fit: Any, bounds: Bounds) -> Any | None:
        """Regress `SWEEPS` times more, keeping the best actions and what is at a bound; or None."""

    def learned(self, fit: Any) -> Callable[[Any], Floats]:
        """Make Q a function of states."""


@dataclass(frozen=True)
class Bounds:
    """What rewards can add up to, over the steps that were counted so far.

    V is kept between them (truncation: Munos & Szepesvari 2008, JMLR 9). Means of what was seen lie
    there anyway; least squares that extrapolate need not, and would diverge.
    """

    low: float
    high: float

    def further(self, d: Decisions, steps: int = 1) -> Bounds:
        """Count more steps; an episode may end at each."""
        least, most = float(d.t.reward[d.used].min()), float(d.t.reward[d.used].max())
        low, high = self.low, self.high
        for _ in range(steps):
            low = least + d.t.gamma * min(low, 0.0)
            high = most + d.t.gamma * max(high, 0.0)
        return Bounds(low, high)

    def keep(self, value: Floats) -> Floats:
        """Bring values within."""
        return np.clip(value, self.low, self.high)

    def hold(self, value: Floats) -> bool:
        """Whether all values are within, but for rounding."""
        off = float(np.abs(value - self.keep(value)).max(initial=0.0))
        return off <= ROUNDING * max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Iterated:
    """Where iterations ended.

    Attributes
    ----------
    fit
        The last regression.
    n_iterations
    change
        By how much V changed at most in the last one, as a share of its largest value.
    kept
        Share of the points whose value had to be brought within what rewards can add up to.
    """

    fit: Any
    n_iterations: int
    change: float
    kept: float


def iterate(
    space: Space,
    d: Decisions,
    most: int,
    tolerance: float,
    report: Callable[[float], None] | None,
    *,
    sweep: bool = False,
) -> Iterated:
    """Iterate at most so often, or until V changes by no more than a share of itself.

    Parameters
    ----------
    sweep
        Whether to get there by sweeps that keep the best actions (modified policy iteration,
        Puterman & Shin 1978), as long as these stay within bounds: fewer passes over the log.
    """
    floor = space.floor if np.isfinite(space.floor) else 0.0
    value, bounds = space.start, Bounds(min(floor, 0.0), max(floor, 0.0))
    fit, change, kept, i = None, 0.0, 0.0, 0
    for i in range(1, most + 1):
        fit = space.regress(value)
        if not len(value):
            break  # Single decisions: nothing follows.
        bounds = bounds.further(d)
        raw = space.values(fit)
        new = np.maximum(bounds.keep(raw), space.floor)
        size = float(np.abs(new).max())
        change = float(np.abs(new - value).max()) / size if size else 0.0
        kept = float((np.abs(new - raw) > ROUNDING * size).mean())
        value = new
        if report is not None:
            report(i / most)
        if change <= tolerance:
            break
        further = space.swept(fit, bounds) if sweep and i <= MOST_SWEPT else None
        if further is None:
            continue
        wider = bounds.further(d, SWEEPS)
        swept = space.values(further)
        # Best actions that are kept for too long may drive values up without end.
        sweep = wider.hold(swept[swept > space.floor])
        if sweep:
            value, bounds = swept, wider
    return Iterated(fit, i, change, kept)


@dataclass(frozen=True, eq=False)
class TableSpace:
    """The mean in each cell of a table; its points are the states."""

    table: StateTable
    counts: Counts
    gamma: float
    pessimism: Pessimism | None
    start: Floats

    @classmethod
    def of(
        cls, d: Decisions, table: StateTable, codes: StateCodes, pessimism: Pessimism | None
    ) -> TableSpace:
        """Count what was seen."""
        counts = Counts.of(d.t, codes, len(d.actions), d.used.astype(np.float64)).without(0)
        start = np.full(codes.n_states, 0.0 if pessimism is None else pessimism.floor)
        return cls(table, counts, d.t.gamma, pessimism, start)

    @property
    def floor(self) -> float:
        """What no state is worth less than."""
        return -np.inf if self.pessimism is None else self.pessimism.floor

    @property
    def _n(self) -> Floats:
        return self.counts.n.reshape(-1, self.counts.n_actions)

    def regress(self, value: Floats) -> Floats:
        """Take the mean of each cell, -inf where nothing was seen."""
        c = self.counts
        following = np.bincount(c.pair, c.moves * value[c.after], len(c.n))
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (c.reward + self.gamma * following) / c.n
            if self.pessimism is not None:
                mean = mean - self.pessimism.beta / np.sqrt(c.n)
        return np.where(c.n > 0, mean, -np.inf).reshape(self._n.shape)

    def _elsewhere(self, q: Floats) -> Floats:
        """Say what Q is in a state of which nothing is known: the mean of each action."""
        n = self._n
        total = n.sum(axis=0)
        mean = (n * np.where(n > 0, q, 0.0)).sum(axis=0) / np.maximum(total, 1.0)
        found = np.where(total > 0, mean, -np.inf)
        if self.pessimism is None:
            return found
        return found - max(0.0, float(found.max()) - self.pessimism.floor)

    def values(self, fit: Floats) -> Floats:
        """Take the best action that was seen in each state."""
        best: Floats = fit.max(axis=1)
        if self.pessimism is not None:
            return np.maximum(best, self.pessimism.floor)
        # States whose own rows were all left out are known as ends of other rows alone.
        out: Floats = np.where(np.isfinite(best), best, self._elsewhere(fit).max())
        return out

    def swept(self, fit: Any, bounds: Bounds) -> None:
        """Save nothing: an iteration of a table is a sweep."""

    def learned(self, fit: Floats) -> TableFunction:
        """Make Q a function of states; below all of it where an action was never seen."""
        elsewhere = self._elsewhere(fit)
        whole = np.concatenate([fit, elsewhere[None]])
        whole[~np.isfinite(whole).any(axis=1)] = elsewhere
        least = below(whole[np.isfinite(whole)].min())
        return TableFunction(self.table, np.where(np.isfinite(whole), whole, least))


@dataclass(frozen=True, eq=False)
class RegressorSpace:
    """A regressor of state and action (one-hot); its points are the rows that follow others."""

    d: Decisions
    numbers: StateNumbers
    x: Floats
    fresh: Callable[[], Any]
    predict: Callable[[Any, Floats], Floats]
    start: Floats
    floor: float = -np.inf

    @classmethod
    def of(
        cls,
        d: Decisions,
        numbers: StateNumbers,
        fresh: Callable[[], Any],
        predict: Callable[[Any, Floats], Floats],
    ) -> RegressorSpace:
        """Make the inputs of every row."""
        start = np.zeros(int(d.goes_on.sum()))
        return cls(d, numbers, numbers.of_log(d.t.log), fresh, predict, start)

    def regress(self, value: Floats) -> Any:
        """Fit a clone."""
        d = self.d
        target = d.t.reward.copy()
        target[d.goes_on] += d.t.gamma * value
        action = np.eye(len(d.actions))[d.t.action[d.used]]
        x = np.concatenate([self.x[d.used], action], axis=1)
        return self.fresh().fit(x, target[d.used])

    def values(self, fit: Any) -> Floats:
        """Take the best action that the log has."""
        following = self.d.following
        out = np.empty(len(following))
        for rows in block_slices(len(following), len(self.d.actions)):
            q = self.learned(fit).of_features(self.x[following[rows]])
            out[rows] = q.max(axis=1)
        return out

    def swept(self, fit: Any, bounds: Bounds) -> None:
        """Save nothing: every iteration fits anew."""

    def learned(self, fit: Any) -> RegressorFunction:
        """Make Q a function of states."""
        taken = np.bincount(self.d.t.action[self.d.used], minlength=len(self.d.actions)) > 0
        return RegressorFunction(self.numbers, fit, self.predict, taken)
