"""Closed-form fits: a table or coefficients for every policy and fold, read row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.models.equation import Equation
from counterfolio.models.features import MOST_STATES, StateCodes, choose
from counterfolio.models.linear import (
    Basis,
    Crossed,
    Joint,
    OfState,
    accumulate,
    block_slices,
)
from counterfolio.models.tabular import (
    Counts,
    Solver,
    policy_tables,
    state_codes,
    state_ratios,
)
from counterfolio.models.transitions import logged_actions
from counterfolio.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from counterfolio.models.candidates import Candidate
    from counterfolio.models.linear import Equations
    from counterfolio.models.transitions import Transitions

    Floats = NDArray[np.float64]
    Report = Callable[[float], None]


#: Share of a policy's probability on actions never seen in their state from which it is told.
MUCH_UNSEEN = 0.01


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
        codes, chosen = None, features
        if isinstance(features, str) and features == "auto":
            if t.discrete:
                codes = StateCodes.at_most(t.log.states, MOST_STATES)
            if codes is not None and t.by_step:
                codes = codes.crossed(t.step)
            chosen = choose(codes, n_actions, t.design) if t.discrete else "polynomial"
        if isinstance(chosen, str) and chosen == "one_hot":
            if not t.discrete:
                text = (
                    'features="one_hot" is a table of states and actions, and actions are a '
                    'continuum here; pass features="polynomial", "linear", "fourier" or a '
                    "transformer"
                )
                raise InvalidArgumentError(text)
            return cls(t, "one_hot", n_actions, codes or state_codes(t), None)
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
            return self.at(policy, rows, logged_actions(t.log, rows))
        values = self.values(policy, rows)
        found: Floats = values[np.arange(len(values)), t.action[rows]]
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
        phi^T beta, with beta = M^{-T} sum phibar(s_0).
    unseen
        Share of each policy's probability, over rows, on actions never seen in the state; None
        where features are shared between states.
    notes
        What is to be known of the policies.
    weights
        (n_policies, n_rows) of rows in the equations; None where all count alike.
    """

    q: Read
    multiplier: Read
    unseen: list[float | None]
    notes: list[str]
    weights: Floats | None = None

    def moves(self, policy: int, rows: slice) -> Floats:
        """By how much a temporal difference in each row moves the policy's value."""
        found = self.multiplier.logged(policy, rows)
        return found if self.weights is None else self.weights[policy, rows] * found


@dataclass(frozen=True)
class How:
    """How equations are solved.

    Attributes
    ----------
    ridge
        lambda in parts of the mean diagonal.
    unseen
        One of `tabular.UNSEEN`.
    threads
        How many may be used.
    """

    ridge: float
    unseen: str
    threads: int


def fit_q(
    space: Space,
    candidates: Sequence[Candidate],
    how: How,
    report: Report | None,
    weights: Floats | None = None,
) -> ClosedForm:
    """Fit Q of every policy by LSTD-Q, from one pass over the log; one to a policy with weights.

    Parameters
    ----------
    weights
        (n_policies, n_rows) of rows in the equations. Default: all count alike.
    """
    if weights is None:
        return _fit_q(space, candidates, how, report, np.ones(space.t.log.n_rows))
    each = [_fit_q(space, [c], how, None, w) for c, w in zip(candidates, weights, strict=True)]
    q, multiplier = (
        Read(space, np.concatenate([getattr(own, name).by for own in each]))
        for name in ("q", "multiplier")
    )
    unseen = [share for own in each for share in own.unseen]
    return ClosedForm(q, multiplier, unseen, [note for own in each for note in own.notes], weights)


def _fit_q(
    space: Space,
    candidates: Sequence[Candidate],
    how: How,
    report: Report | None,
    weight: Floats,
) -> ClosedForm:
    if space.codes is not None:
        tables = _Tables(space, candidates, weight, how)
        q, multiplier = tables.each(lambda s: s.q()), tables.each(lambda s: s.ratio())
        return ClosedForm(
            Read(space, q), Read(space, multiplier), list(tables.unseen), tables.notes()
        )
    sums = accumulate(space.source(candidates), weight, how.threads, report)
    theta, beta = _coefficients(space, sums, len(candidates), how.ridge)
    return ClosedForm(Read(space, theta), Read(space, beta), [None] * len(candidates), [])


def fit_state_action_ratio(
    space: Space, candidates: Sequence[Candidate], how: How, report: Report | None
) -> tuple[Read, list[str]]:
    """Fit d_pi(s, a) / d_b(s, a) of every policy by MWL; with notes."""
    discount = space.t.discount
    if space.codes is not None:
        tables = _Tables(space, candidates, discount, how)
        return Read(space, tables.each(lambda s: s.ratio())), tables.notes()
    sums = accumulate(space.source(candidates), discount, how.threads, report)
    _, beta = _coefficients(space, sums, len(candidates), how.ridge)
    return Read(space, beta), []


def fit_state_ratio(space: Space, rho: Sequence[Floats], how: How) -> Read:
    """Fit d_pi(s) / d_b(s) of every policy, with rho = pi / b of the logged actions."""
    t = space.t
    if space.codes is not None:
        each = [
            state_ratios(t, space.codes, own, fold, how.ridge)
            for own in rho
            for fold in range(t.n_folds)
        ]
        return Read(space, np.reshape(each, (len(rho), t.n_folds, space.codes.n_states, 1)))
    assert space.basis is not None
    sums = accumulate(OfState(space.basis, rho), t.discount, how.threads)
    _, beta = _coefficients(space, sums, len(rho), how.ridge)
    return Read(space, beta)


def _coefficients(
    space: Space, sums: Equations, n_policies: int, ridge: float
) -> tuple[Floats, Floats]:
    """Solve for Q and the ratio: (n_policies, n_folds, n_actions, width) each."""
    folds = [sums.without(fold) for fold in range(space.t.n_folds)]
    each = [[own.coefficients(p, ridge) for own in folds] for p in range(n_policies)]
    theta, beta = np.moveaxis(np.array(each), 2, 0)
    return theta, beta


class _Tables:
    """Counts of a log and the tables of policies."""

    def __init__(
        self, space: Space, candidates: Sequence[Candidate], weight: Floats, how: How
    ) -> None:
        assert space.codes is not None
        assert space.n_actions is not None
        self._names, self._how = [c.name for c in candidates], how
        counts = Counts.of(space.t, space.codes, space.n_actions, weight)
        tables, self._varies = policy_tables(candidates, space.codes, space.n_actions, how.threads)
        folds = [counts.without(fold) for fold in range(space.t.n_folds)]
        self._solvers = [
            [own.solver(policy, space.t.gamma, how.ridge, how.unseen) for own in folds]
            for policy in tables
        ]
        # Whatever the rows weigh.
        cells = (space.codes.codes * space.n_actions + space.t.action)[space.t.used]
        never = (np.bincount(cells, minlength=tables[0].size) == 0).reshape(tables[0].shape)
        rows = np.bincount(space.codes.codes, minlength=len(never))
        shares = (rows[:, None] * tables * never).sum(axis=(1, 2)) / rows.sum()
        #: Share of each policy's probability, over rows, on actions never seen in the state.
        self.unseen = [float(share) for share in shares]

    def each(self, take: Callable[[Solver], Floats]) -> Floats:
        """Solve for every policy and fold: (n_policies, n_folds, n_states, n_actions)."""
        return np.array([[take(solver) for solver in folds] for folds in self._solvers])

    def notes(self) -> list[str]:
        """Say where a policy is no function of the state, or the log cannot show it."""
        notes = [
            f'policy "{name}" differs between rows of the same state: its mean there was taken; '
            "name every column that it looks at"
            for name, varies in zip(self._names, self._varies, strict=True)
            if varies
        ]
        instead = {"state": "the mean over what was seen there stands for them", "zero": "Q is 0"}
        if much := [i for i, share in enumerate(self.unseen) if share > MUCH_UNSEEN]:
            worst = max(much, key=lambda i: self.unseen[i])
            notes.append(
                f"actions never seen in their state: {len(much)} of {len(self.unseen)} policies "
                f'take them with a probability above {MUCH_UNSEEN:.0%}, "{self._names[worst]}" '
                f"{self.unseen[worst]:.1%}; {instead[self._how.unseen]}"
            )
        for name, folds in zip(self._names, self._solvers, strict=True):
            if stuck := max(int(solver.stuck.sum()) for solver in folds):
                notes.append(
                    f'policy "{name}" never leaves {plural(stuck, "state")} in what was seen; the '
                    "log's actions are followed there, or with gamma 1 it would stay for ever"
                )
        return notes


def covariance(
    space: Space, candidate: Candidate, how: How, differences: Floats, weight: Floats
) -> Floats:
    """Sandwich M^{-1} (sum_i u_i u_i^T) M^{-T} around the episodes' sums u_i = sum w phi delta."""
    t, n = space.t, space.n_actions
    assert space.basis is not None
    sums = accumulate(space.source([candidate]), weight, how.threads)
    matrix = sums.without(0).matrix(0, how.ridge)
    d, k = len(matrix), space.basis.width
    inner, carried = np.zeros(d * d), np.zeros((1, d))
    for rows in block_slices(t.log.n_rows, d):
        if n is None:
            phi = space.basis.phi(rows, logged_actions(t.log, rows))
        else:
            phi = np.zeros((rows.stop - rows.start, n, k))
            codes = t.action[rows]
            phi[np.arange(len(phi)), codes] = space.basis.x(rows)
            phi = phi.reshape(len(phi), d)
        scores = phi * (weight * differences)[rows][:, None]
        begins = np.flatnonzero(np.diff(t.episode[rows], prepend=-1))
        own = np.add.reduceat(scores, begins)
        # An episode may have begun in the block before, and may go on in the next one.
        goes_back = rows.start > 0 and not t.last[rows.start - 1]
        own[0] += carried[0] if goes_back else 0.0
        whole = len(own) if t.last[rows.stop - 1] else len(own) - 1
        carried = own[whole:] if whole < len(own) else np.zeros((1, d))
        u = np.ascontiguousarray(own[:whole])
        inner += _core.product_sums(
            u, u, np.ones((whole, 1)), np.zeros(whole, dtype=np.uint32), 1, how.threads
        )
    equation = Equation.of(matrix)
    return equation.solve(equation.solve(inner.reshape(d, d)).T)
