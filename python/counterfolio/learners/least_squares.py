"""Q iteration by least squares in features of the state, crossed with the action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.learners.functions import LinearFunction, filled, penalty
from counterfolio.learners.q_iteration import SWEEPS
from counterfolio.models.equation import Equation
from counterfolio.models.linear import block_slices
from counterfolio.threads import check_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.learners.decisions import Decisions
    from counterfolio.learners.q_iteration import Bounds, Pessimism
    from counterfolio.learners.reading import StateNumbers

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearSpace:
    """Least squares, an action at a time; its points are the rows that follow others."""

    d: Decisions
    numbers: StateNumbers
    x: Floats
    #: Of each action that was taken.
    equations: dict[int, Equation]
    beta: float
    floor: float
    #: (n_points, n_actions) what pessimism takes off.
    taken_off: Floats
    num_threads: int

    @classmethod
    def of(
        cls, d: Decisions, numbers: StateNumbers, ridge: float, pessimism: Pessimism | None
    ) -> LinearSpace:
        """Make the features of every row."""
        x = numbers.of_log(d.t.log)
        k, n_actions = x.shape[1], len(d.actions)
        threads = check_threads(None)
        gram = _sums(d, x, x, threads).reshape(n_actions, k, k)
        held = np.eye(k) * ridge * float(np.trace(gram, axis1=1, axis2=2).sum()) / (k * n_actions)
        taken = np.unique(d.t.action[d.used]).tolist()
        equations = {a: Equation.of(gram[a] + held) for a in taken}
        beta, floor = (0.0, -np.inf) if pessimism is None else (pessimism.beta, pessimism.floor)
        inverses = {a: e.inverse for a, e in equations.items()} if beta else {}
        off = penalty(x[d.following], beta, inverses, n_actions)
        return cls(d, numbers, x, equations, beta, floor, off, threads)

    @property
    def start(self) -> Floats:
        """V before the first iteration."""
        return np.full(len(self.taken_off), self.floor if np.isfinite(self.floor) else 0.0)

    @property
    def _known(self) -> NDArray[np.bool_]:
        return np.isin(np.arange(len(self.d.actions)), list(self.equations))

    def regress(self, value: Floats) -> Floats:
        """Take the coefficients of each action, of shape (n_actions, k)."""
        return self._solve(self._right(value))

    def _right(self, value: Floats) -> Floats:
        target = self.d.t.reward.copy()
        target[self.d.goes_on] += self.d.t.gamma * value
        found = _sums(self.d, self.x, target[:, None], self.num_threads)
        return found.reshape(-1, self.x.shape[1])

    def _solve(self, right: Floats) -> Floats:
        out = np.zeros_like(right)
        for a, equation in self.equations.items():
            out[a] = equation.solve(right[a])
        return out

    def _q(self, fit: Floats) -> Floats:
        q: Floats = self.x[self.d.following] @ fit.T - self.taken_off
        return filled(q, self._known)

    def values(self, fit: Floats) -> Floats:
        """Take the best action that the log has."""
        best: Floats = self._q(fit).max(axis=1)
        return np.maximum(best, self.floor)

    def swept(self, fit: Floats, bounds: Bounds) -> Floats:
        """Sweep in the space of coefficients, where the log is a matrix."""
        d, k, n_actions = self.d, self.x.shape[1], len(fit)
        q, rows = self._q(fit), np.arange(len(self.taken_off))
        best = q.argmax(axis=1)
        value = np.maximum(bounds.keep(q[rows, best]), self.floor)
        free = value == q[rows, best]
        # V = x' theta_best - penalty, or a bound that is kept.
        right = self._right(np.where(free, -self.taken_off[rows, best], value))
        weight, after = np.zeros(d.t.log.n_rows), np.zeros(d.t.log.n_rows, dtype=np.int64)
        weight[d.goes_on], after[d.goes_on] = d.t.gamma * free, best
        cross: Any = 0.0
        for block in block_slices(len(self.x) - 1, k):
            one_on = slice(block.start + 1, block.stop + 1)
            group = d.t.action[block] * n_actions + after[block]
            cross = cross + _core.product_sums(
                self.x[block],
                self.x[one_on],
                weight[block, None],
                group.astype(np.uint32),
                n_actions * n_actions,
                self.num_threads,
            )
        cross = cross.reshape(n_actions, n_actions, k, k)
        found: Floats = fit
        for _ in range(SWEEPS):
            found = self._solve(right + np.einsum("abij,bj->ai", cross, found))
        return found

    def learned(self, fit: Floats) -> LinearFunction:
        """Make Q a function of states."""
        inverses = {a: e.inverse for a, e in self.equations.items()} if self.beta else {}
        return LinearFunction(self.numbers, fit, self._known, self.beta, inverses)


def _sums(d: Decisions, x: Floats, y: Floats, threads: int) -> Floats:
    """Add up x y^T over the rows that are used, by action; the same for any number of threads."""
    total: Any = 0.0
    for rows in block_slices(len(x), x.shape[1]):
        weight = d.used[rows].astype(np.float64)[:, None]
        codes = d.t.action[rows].astype(np.uint32)
        left, right = (np.ascontiguousarray(part[rows]) for part in (x, y))
        total = total + _core.product_sums(left, right, weight, codes, len(d.actions), threads)
    found: Floats = total
    return found
