"""Closed-form fits: a table or coefficients for every policy and fold, read row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.models.features import StateCodes, choose
from counterfolio.models.linear import (
    Basis,
    Crossed,
    Joint,
    OfState,
    accumulate,
    block_slices,
    logged_actions,
)
from counterfolio.models.tabular import Counts, policy_tables, solve, state_codes, state_ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from counterfolio.models.candidates import Candidate
    from counterfolio.models.transitions import Transitions

    Floats = NDArray[np.float64]
    Report = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Space:
    """What the rows of a log are told apart by: codes of a table, or features.

    Attributes
    ----------
    features : str
        The name of the features, as chosen.
    n_actions
        None where actions are a continuum.
    """

    t: Transitions
    features: str
    n_actions: int | None
    codes: StateCodes | None
    basis: Basis | None

    @classmethod
    def of(cls, t: Transitions, features: Any, n_actions: int | None, seed: int) -> Space:
        """Choose and fit the features of a log."""
        codes = StateCodes.of(t.log.states) if features == "auto" and t.discrete else None
        if codes is not None and t.by_step:
            codes = codes.crossed(t.step)
        chosen = "polynomial" if features == "auto" and not t.discrete else features
        if chosen == "auto":
            chosen = choose(features, codes, n_actions, t.design)
        if isinstance(chosen, str) and chosen == "one_hot":
            return cls(t, "one_hot", n_actions, state_codes(t), None)
        basis = Basis.fit(t, chosen, seed, joint=not t.discrete)
        return cls(t, basis.map.name, n_actions, None, basis)

    @classmethod
    def of_states(cls, t: Transitions, features: Any, n_actions: int | None, seed: int) -> Space:
        """Choose and fit features of the state alone, whatever the actions are."""
        if t.discrete:
            return cls.of(t, features, n_actions, seed)
        chosen = "polynomial" if features == "auto" else features
        basis = Basis.fit(t, chosen, seed, joint=False)
        return cls(t, basis.map.name, None, None, basis)

    def source(self, candidates: Sequence[Candidate]) -> Crossed | Joint:
        """Say what the equations are made of, where features are shared between states."""
        assert self.basis is not None
        if self.n_actions is None:
            return Joint(self.basis, candidates)
        return Crossed(self.basis, candidates, self.n_actions)


@dataclass(frozen=True, eq=False)
class Read:
    """Numbers that every row looks up: by its state's code, or as a product with its features.

    Attributes
    ----------
    by
        (n_policies, n_folds, n_states, n_actions) for a table, else (n_policies, n_folds,
        n_actions, width).
    """

    space: Space
    by: Floats

    def values(self, policy: int, rows: slice) -> Floats:
        """Take the numbers of all actions, of shape (n, n_actions), each row by its fold's."""
        space, fold = self.space, self.space.t.fold[rows]
        if space.codes is not None:
            found: Floats = self.by[policy, fold, space.codes.codes[rows]]
            return found
        assert space.basis is not None
        return _by_fold(space.basis.x(rows), self.by[policy], fold)

    def at(self, policy: int, rows: slice, actions: Floats) -> Floats:
        """Take the number of one action of a continuum in each row."""
        space = self.space
        assert space.basis is not None
        phi = space.basis.phi(rows, actions)
        return _by_fold(phi, self.by[policy], space.t.fold[rows])[:, 0]

    def logged(self, policy: int, rows: slice) -> Floats:
        """Take the number of each row's logged action."""
        t = self.space.t
        if self.space.n_actions is None:
            return self.at(policy, rows, logged_actions(t, rows))
        values = self.values(policy, rows)
        found: Floats = values[np.arange(len(values)), t.log.action_codes.codes[rows]]
        return found


def _by_fold(x: Floats, coefficients: Floats, fold: NDArray[np.int64]) -> Floats:
    if len(coefficients) == 1:
        out: Floats = x @ coefficients[0].T
        return out
    out = np.empty((len(x), coefficients.shape[1]))
    for f, own in enumerate(coefficients):
        here = fold == f
        out[here] = x[here] @ own.T
    return out


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """Q of every policy, with what its standard errors need.

    Attributes
    ----------
    q
        Q itself.
    multiplier
        phi^T beta, with beta = M^{-T} sum phibar(s_0): by how much a temporal difference in a row
        moves the policy's value.
    unseen
        Share of each policy's probability, over rows, on actions never seen in the state; None
        where features are shared between states.
    varies
        Of each policy whether it differs between rows of one state.
    """

    q: Read
    multiplier: Read
    unseen: list[float | None]
    varies: list[bool]


def fit_q(
    space: Space, candidates: Sequence[Candidate], ridge: float, threads: int, report: Report | None
) -> ClosedForm:
    """Fit Q of every policy by LSTD-Q, from one pass over the log."""
    ones = np.ones(space.t.log.n_rows)
    tables = _Tables(space, candidates, ones, threads) if space.codes is not None else None
    if tables is not None:
        q = tables.each(lambda solver: solver.q(), ridge)
        multiplier = tables.each(lambda solver: solver.ratio(), ridge)
        return ClosedForm(Read(space, q), Read(space, multiplier), tables.unseen(), tables.varies)
    assert space.basis is not None
    sums = accumulate(space.source(candidates), ones, threads, report)
    theta, beta = [], []
    for p in range(len(candidates)):
        for fold in range(space.t.n_folds):
            own = sums.without(fold)
            theta.append(own.theta(p, ridge))
            beta.append(own.beta(p, ridge))
    shape = (len(candidates), space.t.n_folds, *theta[0].shape)
    found = (np.reshape(theta, shape), np.reshape(beta, shape))
    none: list[float | None] = [None] * len(candidates)
    varies = [False] * len(candidates)
    return ClosedForm(Read(space, found[0]), Read(space, found[1]), none, varies)


def fit_state_action_ratio(
    space: Space, candidates: Sequence[Candidate], ridge: float, threads: int, report: Report | None
) -> tuple[Read, list[bool]]:
    """Fit d_pi(s, a) / d_b(s, a) of every policy by MWL; and say which vary within a state."""
    t = space.t
    if space.codes is not None:
        tables = _Tables(space, candidates, t.discount, threads)
        return Read(space, tables.each(lambda solver: solver.ratio(), ridge)), tables.varies
    assert space.basis is not None
    sums = accumulate(space.source(candidates), t.discount, threads, report)
    each = [
        sums.without(fold).beta(p, ridge)
        for p in range(len(candidates))
        for fold in range(t.n_folds)
    ]
    shape = (len(candidates), t.n_folds, *each[0].shape)
    return Read(space, np.reshape(each, shape)), [False] * len(candidates)


def fit_state_ratio(space: Space, rho: Sequence[Floats], ridge: float, threads: int) -> Read:
    """Fit d_pi(s) / d_b(s) of every policy, with rho = pi / b of the logged actions."""
    t = space.t
    if space.codes is not None:
        each = [
            state_ratios(t, space.codes, own, fold, ridge)
            for own in rho
            for fold in range(t.n_folds)
        ]
        return Read(space, np.reshape(each, (len(rho), t.n_folds, space.codes.n_states, 1)))
    assert space.basis is not None
    sums = accumulate(OfState(space.basis, rho), t.discount, threads)
    each = [sums.without(f).beta(p, ridge) for p in range(len(rho)) for f in range(t.n_folds)]
    return Read(space, np.reshape(each, (len(rho), t.n_folds, 1, space.basis.width)))


class _Tables:
    """Counts of a log and the tables of policies."""

    def __init__(
        self, space: Space, candidates: Sequence[Candidate], weight: Floats, threads: int
    ) -> None:
        assert space.codes is not None
        assert space.n_actions is not None
        self._t, self._codes = space.t, space.codes
        self._counts = Counts.of(space.t, space.codes, space.n_actions, weight)
        found = policy_tables(candidates, space.codes, space.n_actions, threads)
        self._policies, self.varies = found

    def each(self, take: Callable[[Any], Floats], ridge: float) -> Floats:
        """Solve for every policy and fold: (n_policies, n_folds, n_states, n_actions)."""
        folds = [self._counts.without(fold) for fold in range(self._t.n_folds)]
        return np.array(
            [
                [take(own.solver(policy, self._t.gamma, ridge)) for own in folds]
                for policy in self._policies
            ]
        )

    def unseen(self) -> list[float | None]:
        """Share of each policy's probability, over rows, on actions never seen in the state."""
        n = self._counts.n.sum(axis=0).reshape(self._policies[0].shape)
        rows = np.bincount(self._codes.codes, minlength=len(n))
        return [float((rows[:, None] * p * (n == 0)).sum() / rows.sum()) for p in self._policies]


def covariance(
    space: Space, candidate: Candidate, ridge: float, differences: Floats, threads: int
) -> Floats:
    """Sandwich M^{-1} (sum_i u_i u_i^T) M^{-T} around the episodes' sums u_i = sum phi delta."""
    t, n = space.t, space.n_actions
    assert space.basis is not None
    sums = accumulate(space.source([candidate]), np.ones(t.log.n_rows), threads)
    matrix = sums.without(0).matrix(0, ridge)
    d, k = len(matrix), space.basis.width
    inner, carried = np.zeros(d * d), np.zeros((1, d))
    for rows in block_slices(t.log.n_rows, d):
        if n is None:
            phi = space.basis.phi(rows, logged_actions(t, rows))
        else:
            phi = np.zeros((rows.stop - rows.start, n, k))
            codes = t.log.action_codes.codes[rows]
            phi[np.arange(len(phi)), codes] = space.basis.x(rows)
            phi = phi.reshape(len(phi), d)
        scores = phi * differences[rows][:, None]
        begins = np.flatnonzero(np.diff(t.episode[rows], prepend=-1))
        own = np.add.reduceat(scores, begins)
        # An episode may have begun in the block before, and may go on in the next one.
        goes_back = rows.start > 0 and not t.last[rows.start - 1]
        own[0] += carried[0] if goes_back else 0.0
        whole = len(own) if t.last[rows.stop - 1] else len(own) - 1
        carried = own[whole:] if whole < len(own) else np.zeros((1, d))
        u = np.ascontiguousarray(own[:whole])
        inner += _core.product_sums(
            u, u, np.ones((whole, 1)), np.zeros(whole, dtype=np.uint32), 1, threads
        )
    left = solve(matrix, inner.reshape(d, d))
    return solve(matrix, left.T)
