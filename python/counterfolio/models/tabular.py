"""Tables: linear models whose features are one-hot, solved by state instead of by state and action.

With a feature to each (s, a) the normal equations of spec-standard LSTD-Q,
[sum phi (phi - gamma phibar')^T + lambda I] theta = sum phi r, say for every pair

    (n(s, a) + lambda) Q(s, a) = sum r + gamma sum_s' n(s, a, s') V(s'),   V(s) = sum_a pi(a|s) Q(s,
    a),

so that only V has to be solved for: the policy's value in the process that the log has counted
(certainty equivalence). The transposed equations give the marginal ratio. Where the step is a part
of the state no state comes back, and as many sweeps as an episode has steps solve either exactly.

The counts do not depend on the policy, so one pass over the log serves all of them, and those of
folds add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.dense import blocks
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.models.features import MOST_STATES, StateCodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from counterfolio.models.candidates import Candidate
    from counterfolio.models.transitions import Transitions

    Floats = NDArray[np.float64]

#: Beyond this condition number a solution means nothing.
WORST_CONDITION = 1e12
#: Probabilities of a policy in one state that differ by more are not a function of the state.
SAME = 1e-9


def state_codes(t: Transitions) -> StateCodes:
    """Give numbers to the states, told apart by step where the step joins and steps are few."""
    codes = StateCodes.of(t.log.states)
    codes = codes.crossed(t.step) if t.by_step else codes
    if codes.n_states > MOST_STATES and not t.by_step:
        text = (
            f'features="one_hot": {codes.n_states:,} different states, more than the '
            f'{MOST_STATES:,} that a table can hold; pass features="linear", "polynomial", '
            '"fourier" or a transformer'
        )
        raise InvalidArgumentError(text)
    return codes


@dataclass(frozen=True, eq=False)
class Counts:
    """What happened after each state and action, by fold; rows weighted.

    Attributes
    ----------
    n, reward
        (n_folds, n_states * n_actions) sums of weights, and of weights times rewards.
    start
        (n_folds, n_states) episodes that began there.
    pair, after
        The (s, a) and s' that were seen one after the other.
    moves
        (n_folds, len(pair)) sums of weights.
    """

    n_states: int
    n_actions: int
    sweeps: int
    n: Floats
    reward: Floats
    start: Floats
    pair: NDArray[np.int64]
    after: NDArray[np.int64]
    moves: Floats

    @classmethod
    def of(cls, t: Transitions, codes: StateCodes, n_actions: int, weight: Floats) -> Counts:
        """Count the rows of a log."""
        states, cells = codes.n_states, codes.n_states * n_actions
        cell = codes.codes * n_actions + t.log.action_codes.codes
        weight = np.where(t.used, weight, 0.0)

        def by_fold(where: Any, values: Any, size: int, rows: Any = slice(None)) -> Floats:
            at = t.fold[rows] * size + where
            found = np.bincount(at, values, t.n_folds * size).astype(np.float64)
            return found.reshape(t.n_folds, size)

        on = np.flatnonzero(~t.last & t.used)
        key, which = np.unique(cell[on] * states + codes.codes[on + 1], return_inverse=True)
        return cls(
            n_states=states,
            n_actions=n_actions,
            sweeps=t.longest if t.by_step else 0,
            n=by_fold(cell, weight, cells),
            reward=by_fold(cell, weight * t.reward, cells),
            start=by_fold(codes.codes[t.first], None, states, t.first).astype(np.float64),
            pair=key // states,
            after=key % states,
            moves=by_fold(which, weight[on], len(key), on),
        )

    def without(self, fold: int) -> Counts:
        """Merge the folds but one; all of them where there is one only."""
        keep = [f for f in range(len(self.n)) if f != fold] or [0]
        parts = {k: getattr(self, k)[keep].sum(axis=0) for k in ("n", "reward", "start", "moves")}
        rest = ("n_states", "n_actions", "sweeps", "pair", "after")
        return Counts(**{k: getattr(self, k) for k in rest}, **parts)

    def solver(self, policy: Floats, gamma: float, ridge: float) -> Solver:
        """Put a policy, of shape (n_states, n_actions), into merged counts."""
        seen = self.n > 0
        # lambda as of the features that the log has.
        held = self.n + ridge * self.n.sum() / max(1, int(seen.sum()))
        held = np.where(held > 0, held, np.inf)
        flat = policy.ravel()
        flow = gamma * flat[self.pair] * self.moves / held[self.pair]
        return Solver(self, flat, held, self.pair // self.n_actions, flow, gamma)


@dataclass(frozen=True, eq=False)
class Solver:
    """The equations of one policy."""

    counts: Counts
    policy: Floats
    held: Floats
    before: NDArray[np.int64]
    #: gamma P_pi(s, s') in parts, one to a pair that was seen.
    flow: Floats
    gamma: float

    def q(self) -> Floats:
        """Q of every state and action, of shape (n_states, n_actions)."""
        c = self.counts
        value = self._solve(self._by_state(self.policy * c.reward / self.held), transposed=False)
        following = np.bincount(c.pair, c.moves * value[c.after], len(self.held))
        return ((c.reward + self.gamma * following) / self.held).reshape(c.n_states, c.n_actions)

    def occupancy(self) -> Floats:
        """Discounted visits of every state under the policy, in all episodes together."""
        return self._solve(self.counts.start, transposed=True)

    def ratio(self) -> Floats:
        """Visits of every state and action under the policy to those of the log."""
        c = self.counts
        visits = np.repeat(self.occupancy(), c.n_actions) * self.policy
        return (visits / self.held).reshape(c.n_states, c.n_actions)

    def _by_state(self, cells: Floats) -> Floats:
        out: Floats = cells.reshape(self.counts.n_states, -1).sum(axis=1)
        return out

    def _solve(self, source: Floats, *, transposed: bool) -> Floats:
        """Solve x = source + gamma P x, or gamma P^T x."""
        c = self.counts
        into, out_of = (c.after, self.before) if transposed else (self.before, c.after)
        return _flow(source, into, out_of, self.flow, c.sweeps)


def _flow(
    source: Floats,
    into: NDArray[np.int64],
    out_of: NDArray[np.int64],
    flow: Floats,
    sweeps: int,
) -> Floats:
    """Solve x = source + F x, F given in parts; by sweeps where no state comes back."""
    states = len(source)
    if sweeps:
        found = source.copy()
        for _ in range(sweeps):
            found = source + np.bincount(into, flow * found[out_of], states)
        return found
    matrix = np.bincount(into * states + out_of, flow, states * states)
    return solve(np.eye(states) - matrix.reshape(states, states), source)


def state_ratios(t: Transitions, codes: StateCodes, rho: Floats, fold: int, ridge: float) -> Floats:
    """Solve for d_pi(s) / d_b(s) with rho = pi / b, from all folds but one.

    n(s') mu(s') + lambda mu(s') = starts(s') + gamma sum over rows into s' of gamma^t rho mu(s).
    """
    states, train = codes.n_states, (t.fold != fold) | (t.n_folds == 1)
    weight = np.where(t.used & train, t.discount, 0.0)
    n = np.bincount(codes.codes, weight, states)
    held = n + ridge * n.sum() / max(1, int((n > 0).sum()))
    held = np.where(held > 0, held, np.inf)
    on = np.flatnonzero(~t.last & t.used & train)
    before, after = codes.codes[on], codes.codes[on + 1]
    start = np.bincount(codes.codes[t.first[train[t.first]]], minlength=states)
    key, which = np.unique(after * states + before, return_inverse=True)
    into, out_of = key // states, key % states
    flow = t.gamma * np.bincount(which, weight[on] * rho[on]) / held[out_of]
    visits = _flow(start.astype(np.float64), into, out_of, flow, t.longest if t.by_step else 0)
    out: Floats = visits / held
    return out


def solve(matrix: Floats, right: Floats) -> Floats:
    """Solve linear equations that are well conditioned.

    Raises
    ------
    InvalidArgumentError
        If their condition number is above 1e12.
    """
    try:
        inverse = np.linalg.inv(matrix)
        condition = float(np.linalg.norm(matrix, 1) * np.linalg.norm(inverse, 1))
    except np.linalg.LinAlgError:
        condition = np.inf
    if not condition <= WORST_CONDITION:
        text = (
            f"the normal equations have a condition number of {condition:.1e}, above "
            f"{WORST_CONDITION:.0e}: features that (nearly) repeat each other, or with gamma "
            "near 1 states from which no episode ends; use fewer features, a larger ridge, or a "
            "smaller gamma"
        )
        raise InvalidArgumentError(text)
    return np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)


def policy_tables(
    candidates: Sequence[Candidate], codes: StateCodes, n_actions: int, threads: int
) -> tuple[Floats, list[bool]]:
    """Average each policy over the rows of a state.

    Returns
    -------
    (n_policies, n_states, n_actions), and of each policy whether it varies within a state.
    """
    len(candidates) * n_actions
    shape = (len(candidates), codes.n_states, n_actions)
    tables, varies = np.empty(shape), [False] * len(candidates)
    _, first = np.unique(codes.codes, return_index=True)
    n = np.bincount(codes.codes)[:, None]
    for i, candidate in enumerate(candidates):
        if candidate.sees_states_only:
            tables[i] = candidate.probs(first)
            continue
        total = np.zeros(codes.n_states * n_actions)
        for rows in blocks(len(codes.codes)):
            probs = np.ascontiguousarray(candidate.probs(rows))
            one, at = np.ones((len(probs), 1)), codes.codes[rows].astype(np.uint32)
            total += _core.product_sums(one, one, probs, at, codes.n_states, threads)
        tables[i] = total.reshape(codes.n_states, n_actions) / n
        varies[i] = any(
            float(np.abs(candidate.probs(rows) - tables[i][codes.codes[rows]]).max()) > SAME
            for rows in blocks(len(codes.codes))
        )
    return tables, varies
