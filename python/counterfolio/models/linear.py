"""Linear models in closed form: LSTD-Q (which linear FQE converges to) and marginal ratios (MWL).

    Q:      [ sum phi (phi - gamma phibar')^T + lambda I ] theta = sum phi r
    ratio:  [ sum gamma^t phi (phi - gamma phibar')^T + lambda I ]^T beta = sum_i phibar(s_i0)

with phibar' = sum_a pi(a|s') phi(s', a), the policy as it is and not its greedy shadow; 0 after an
episode's last row. Features of a discrete action are x(s) crossed with the action. Then the
equations are sums of x x'^T pi(a'|s') by action, which the core adds up for all policies and folds
in one pass (rust/core/src/gram.rs); sums of folds merge by addition.

Sources: Lagoudakis & Parr 2003 (LSTD-Q); Duan & Wang 2020 (its equality with linear FQE); Uehara,
Huang & Jiang 2020 (MWL, MQL); Liu et al. 2018 (the state's ratio).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.dense import BLOCK_ROWS
from counterfolio.models.equation import Equation
from counterfolio.models.features import FeatureMap
from counterfolio.models.transitions import logged_actions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from counterfolio.models.candidates import Candidate
    from counterfolio.models.transitions import Transitions

    Floats = NDArray[np.float64]

#: Numbers of a block that may stand in memory for each policy and action.
BLOCK_NUMBERS = 8_000_000


def block_slices(rows: int, width: int) -> Iterator[slice]:
    """Cut rows into blocks, smaller where a row needs many numbers."""
    size = max(1_024, min(BLOCK_ROWS, BLOCK_NUMBERS // max(1, width)))
    return (slice(i, min(i + size, rows)) for i in range(0, rows, size))


@dataclass(eq=False)
class Basis:
    """Features of a log's rows, fitted.

    Attributes
    ----------
    width : int
        Number of features of a state (of a state and action where actions are a continuum).
    """

    t: Transitions
    map: FeatureMap
    seed: int
    _kept: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, t: Transitions, features: Any, seed: int, *, joint: bool) -> Basis:
        """Fit features of the state, or jointly of state and action."""
        rows = t.design.sample()
        sample = t.design.take(rows)
        if joint:
            sample = np.concatenate([sample, logged_actions(t.log, rows)], axis=1)
        return cls(t, FeatureMap.fit(features, sample, seed), seed)

    @property
    def width(self) -> int:
        """Number of features, those of the step included."""
        return self.map.width + int(self.t.step_features(slice(0, 1)).shape[1])

    def x(self, rows: slice) -> Floats:
        """Features of the states of some rows, of shape (n, width); the last answer is kept."""
        key = (rows.start, rows.stop)
        if self._kept.get("key") != key:
            made = self.map.transform(self.t.design.take(rows))
            self._kept = {"key": key, "x": self._with_step(made, rows)}
        found: Floats = self._kept["x"]
        return found

    def phi(self, rows: slice, actions: Floats) -> Floats:
        """Joint features of the states of some rows and of actions there."""
        both = np.concatenate([self.t.design.take(rows), actions], axis=1)
        return self._with_step(self.map.transform(both), rows)

    def phibar(self, rows: slice, candidate: Candidate) -> Floats:
        """Joint features averaged over a policy's actions."""
        drawn = candidate.draws(rows, self.seed)
        out: Floats = np.mean([self.phi(rows, a) for a in drawn], axis=0)
        return out

    def _with_step(self, made: Floats, rows: slice) -> Floats:
        step = self.t.step_features(rows)
        return np.ascontiguousarray(np.concatenate([made, step], axis=1)) if step.size else made


@dataclass(frozen=True, eq=False)
class Equations:
    """Sums over the rows of each fold, of which every policy's normal equations are made.

    Attributes
    ----------
    gram
        (n_folds, n_actions, k, k) sum w x x^T by the action taken.
    right
        (n_folds, n_actions, k) sum w x r.
    cross
        (n_folds, n_policies, d, d) sum w phi gamma phibar'^T, with d = n_actions k.
    start
        (n_folds, n_policies, d) sum over episodes of phibar(s_0).
    """

    gram: Floats
    right: Floats
    cross: Floats
    start: Floats

    def without(self, fold: int) -> Equations:
        """Merge the folds but one; all of them where there is one only."""
        keep = [f for f in range(len(self.gram)) if f != fold] or [0]
        return Equations(
            *(getattr(self, k)[keep].sum(axis=0) for k in ("gram", "right", "cross", "start"))
        )

    def matrix(self, policy: int, ridge: float) -> Floats:
        """sum w phi (phi - gamma phibar')^T + lambda I, of merged sums."""  # noqa: D403
        n_actions, k, _ = self.gram.shape
        d = n_actions * k
        matrix: Floats = -self.cross[policy]
        for a in range(n_actions):
            matrix[a * k : (a + 1) * k, a * k : (a + 1) * k] += self.gram[a]
        trace = float(np.trace(self.gram, axis1=1, axis2=2).sum())
        matrix[np.arange(d), np.arange(d)] += ridge * trace / d
        return matrix

    def coefficients(self, policy: int, ridge: float) -> tuple[Floats, Floats]:
        """Coefficients of Q and of the ratio, of shape (n_actions, k) each."""
        equation = Equation.of(self.matrix(policy, ridge))
        theta = equation.solve(self.right.ravel())
        beta = equation.solve(self.start[policy], transposed=True)
        return theta.reshape(self.right.shape), beta.reshape(self.right.shape)


@dataclass(frozen=True, eq=False)
class Part:
    """What some rows add to the equations, beside rewards and weights."""

    #: (n, k) features of each row.
    x: Floats
    #: (n + 1, ..) features of the state there, the row after the last included.
    y: Floats
    #: (n, ..) what policies make of the next row's y, and of the first row's.
    following: Floats
    start: Floats


@dataclass(frozen=True, eq=False)
class Crossed:
    """Features of the state crossed with a discrete action: phibar = y x pi(.|s)."""

    basis: Basis
    candidates: Sequence[Candidate]
    n_actions: int

    @property
    def n_policies(self) -> int:
        """Number of policies."""
        return len(self.candidates)

    def group(self, rows: slice) -> NDArray[np.int64]:
        """Take the action that each row's features belong to."""
        return self.basis.t.action[rows]

    def part(self, rows: slice, wide: slice) -> Part:
        """Take some rows; `wide` has the row after them too, where there is one."""
        y = self.basis.x(wide)
        pi = np.concatenate([c.probs(wide) for c in self.candidates], axis=1)
        n = rows.stop - rows.start
        return Part(y[:n], y, padded(pi, n)[1:], pi[:n])

    def arrange(self, cross: Floats, start: Floats, n_folds: int) -> tuple[Floats, Floats]:
        """Put sums into the order of `Equations`."""
        n, k = self.n_actions, self.basis.width
        # [fold, a, j, l, policy, a'] -> [fold, policy, (a, j), (a', l)]
        shape = (n_folds, n, k, k, self.n_policies, n)
        started = start.reshape(n_folds, k, self.n_policies, n).transpose(0, 2, 3, 1)
        return cross.reshape(shape).transpose(0, 4, 1, 2, 5, 3), started


@dataclass(frozen=True, eq=False)
class Joint:
    """Features of state and action together: phibar is their mean over drawn actions."""

    basis: Basis
    candidates: Sequence[Candidate]
    n_actions: int = 1

    @property
    def n_policies(self) -> int:
        """Number of policies."""
        return len(self.candidates)

    def group(self, rows: slice) -> NDArray[np.int64]:
        """Put all rows into one group."""
        return np.zeros(rows.stop - rows.start, dtype=np.int64)

    def part(self, rows: slice, wide: slice) -> Part:
        """Take some rows; `wide` has the row after them too, where there is one."""
        y = np.concatenate([self.basis.phibar(wide, c) for c in self.candidates], axis=1)
        one = np.ones((rows.stop - rows.start, 1))
        return Part(self.basis.phi(rows, logged_actions(self.basis.t.log, rows)), y, one, one)

    def arrange(self, cross: Floats, start: Floats, n_folds: int) -> tuple[Floats, Floats]:
        """Put sums into the order of `Equations`."""
        k = self.basis.width
        return cross.reshape(n_folds, k, self.n_policies, k).transpose(0, 2, 1, 3), start


@dataclass(frozen=True, eq=False)
class OfState:
    """Features of the state alone, rho = pi(a|s) / b(a|s) of each policy in place of its actions.

    [ sum gamma^t x (x - gamma rho x')^T + lambda I ]^T beta = sum_i x(s_i0)   (Liu et al. 2018)
    """

    basis: Basis
    rho: Sequence[Floats]
    n_actions: int = 1

    @property
    def n_policies(self) -> int:
        """Number of policies."""
        return len(self.rho)

    def group(self, rows: slice) -> NDArray[np.int64]:
        """Put all rows into one group."""
        return np.zeros(rows.stop - rows.start, dtype=np.int64)

    def part(self, rows: slice, wide: slice) -> Part:
        """Take some rows; `wide` has the row after them too, where there is one."""
        y = self.basis.x(wide)
        rho = np.column_stack([r[rows] for r in self.rho])
        return Part(y[: len(rho)], y, rho, np.ones_like(rho))

    def arrange(self, cross: Floats, start: Floats, n_folds: int) -> tuple[Floats, Floats]:
        """Put sums into the order of `Equations`."""
        k, n = self.basis.width, self.n_policies
        started = start.reshape(n_folds, k, n).transpose(0, 2, 1)
        return cross.reshape(n_folds, k, k, n).transpose(0, 3, 1, 2), started


def padded(values: Floats, n: int) -> Floats:
    """Add a row of zeros where the log has none after the n-th, which is an episode's last."""
    if len(values) > n:
        return values
    return np.concatenate([values, np.zeros_like(values[:1])])


def accumulate(
    source: Crossed | Joint | OfState,
    weight: Floats,
    threads: int,
    report: Callable[[float], None] | None = None,
) -> Equations:
    """Add up the equations of all policies and folds in one pass.

    Parameters
    ----------
    weight
        (n_rows,) weight of each row: 1 for Q, gamma^t for ratios.
    report
        Told how far it is.
    """
    t, k, n_rows = source.basis.t, source.basis.width, source.basis.t.log.n_rows
    groups = t.n_folds * source.n_actions
    first = np.zeros(n_rows, dtype=bool)
    first[t.first] = True
    total: dict[str, Any] = dict.fromkeys(("gram", "right", "cross", "start"), 0.0)

    def add(name: str, x: Floats, y: Floats, p: Floats, at: NDArray[Any], n: int) -> None:
        x, y, p = (np.ascontiguousarray(a) for a in (x, y, p))
        total[name] = total[name] + _core.product_sums(x, y, p, at.astype(np.uint32), n, threads)

    for rows in block_slices(n_rows, source.n_policies * max(source.n_actions, k)):
        part = source.part(rows, slice(rows.start, min(rows.stop + 1, n_rows)))
        n = rows.stop - rows.start
        fold = t.fold[rows]
        group = fold * source.n_actions + source.group(rows)
        w = np.where(t.used[rows], weight[rows], 0.0)[:, None]
        goes_on = np.where(t.last[rows], 0.0, t.gamma)[:, None] * w
        begins = first[rows]
        add("gram", part.x, part.x, w, group, groups)
        add("right", part.x, t.reward[rows][:, None], w, group, groups)
        add("cross", part.x, padded(part.y, n)[1:], part.following * goes_on, group, groups)
        one = np.ones((int(begins.sum()), 1))
        add("start", one, part.y[:n][begins], part.start[begins], fold[begins], t.n_folds)
        if report is not None:
            report(rows.stop / n_rows)
    d = source.n_actions * k
    cross, start = source.arrange(total["cross"], total["start"], t.n_folds)
    return Equations(
        gram=total["gram"].reshape(t.n_folds, source.n_actions, k, k),
        right=total["right"].reshape(t.n_folds, source.n_actions, k),
        cross=np.ascontiguousarray(cross).reshape(t.n_folds, source.n_policies, d, d),
        start=np.ascontiguousarray(start).reshape(t.n_folds, source.n_policies, d),
    )
