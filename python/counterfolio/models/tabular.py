"""Tables: linear models whose features are one-hot, solved by state instead of by state and action.

With a feature to each (s, a) the normal equations of LSTD-Q (linear.py) say for every pair

    (n(s, a) + lambda) Q(s, a) = sum r + gamma sum_s' n(s, a, s') V(s')
    V(s) = sum_a pi(a|s) Q(s, a)

so that only V has to be solved for: the policy's value in the process that the log has counted
(certainty equivalence). The transposed equations give the marginal ratio. Where the step is a part
of the state no state comes back, and as many sweeps as an episode has steps solve either exactly.

Of an action never seen in a state the equations know nothing: with lambda alone Q is 0 there, as if
the episode ended. By default the policy's probability of such actions goes to the actions that were
seen, as the log took them, and their Q is the mean of these. With gamma 1 the same is done in
states that a policy would never leave in what was seen.

The counts do not depend on the policy, so one pass over the log serves all of them, and those of
folds add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.dense import blocks
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.models.equation import Equation
from counterfolio.models.features import MOST_STATES, StateCodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from counterfolio.models.candidates import Candidate
    from counterfolio.models.transitions import Transitions

    Floats = NDArray[np.float64]

#: What is left of a count by rounding.
TINY = 1e-9
#: What Q is said to be of actions never seen in a state: the mean over those seen there, or 0.
UNSEEN = ("state", "zero")
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
        cell = codes.codes * n_actions + t.action
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

    def solver(self, policy: Floats, gamma: float, ridge: float, unseen: str) -> Solver:
        """Put a policy, of shape (n_states, n_actions), into merged counts."""
        shape = (self.n_states, self.n_actions)
        n = self.n.reshape(shape)
        seen = n > 0
        # lambda as of the features that the log has.
        held = n + ridge * n.sum() / max(1, int(seen.sum()))
        logged = n / np.maximum(n.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        followed = np.where(seen, policy, 0.0)
        if unseen == "state":
            followed = followed + (policy - followed).sum(axis=1, keepdims=True) * logged
        stuck = np.zeros(self.n_states, dtype=bool)
        if gamma == 1 and not self.sweeps:
            stuck = self._stuck(followed)
            followed = np.where(stuck[:, None], logged, followed)
        return Solver(self, followed, logged, np.where(seen, held, np.inf), gamma, unseen, stuck)

    def _stuck(self, policy: Floats) -> NDArray[np.bool_]:
        """Find states from which a policy never reaches an end in what was seen."""
        ends = self.n - np.bincount(self.pair, self.moves, len(self.n)) > TINY * self.n
        out = np.asarray((policy * ends.reshape(policy.shape) > 0).any(axis=1))
        goes = policy.ravel()[self.pair] * self.moves > 0
        before, after = self.pair[goes] // self.n_actions, self.after[goes]
        while True:
            more = out.copy()
            more[before[out[after]]] = True
            if (more == out).all():
                stuck: NDArray[np.bool_] = ~out & (policy.sum(axis=1) > 0)
                return stuck
            out = more


@dataclass(frozen=True, eq=False)
class Solver:
    """The equations of one policy.

    Attributes
    ----------
    policy
        (n_states, n_actions) what is followed: the policy where the log can say what comes of it.
    logged
        How often the log took each action in each state.
    held
        n(s, a) + lambda; infinite where nothing was seen.
    stuck
        (n_states,) states that the policy never leaves in what was seen; the log's actions are
        followed there.
    """

    counts: Counts
    policy: Floats
    logged: Floats
    held: Floats
    gamma: float
    unseen: str
    stuck: NDArray[np.bool_]

    def q(self) -> Floats:
        """Q of every state and action, of shape (n_states, n_actions)."""
        c, held = self.counts, self.held.ravel()
        reward = (self.policy.ravel() * c.reward / held).reshape(self.policy.shape).sum(axis=1)
        value = self._solve(reward, transposed=False)
        following = np.bincount(c.pair, c.moves * value[c.after], len(held))
        q = ((c.reward + self.gamma * following) / held).reshape(self.policy.shape)
        if self.unseen == "zero":
            return q
        mean = (self.logged * q).sum(axis=1)
        known = self.logged.sum(axis=1) > 0
        # Of a state that was never seen all that is known is what the others are worth.
        n = c.n.reshape(q.shape).sum(axis=1)
        mean = np.where(known, mean, (n * mean).sum() / max(n.sum(), np.finfo(float).tiny))
        out: Floats = np.where(np.isfinite(self.held), q, mean[:, None])
        return out

    def ratio(self) -> Floats:
        """Visits of every state and action under the policy to those of the log."""
        visits: Floats = self._solve(self.counts.start, transposed=True)[:, None] * self.policy
        return visits / self.held

    def _solve(self, source: Floats, *, transposed: bool) -> Floats:
        """Solve x = source + gamma P x, or gamma P^T x."""
        return self._flow.into(source) if transposed else self._flow.out_of(source)

    @cached_property
    def _flow(self) -> Flow:
        c = self.counts
        parts = self.gamma * (self.policy / self.held).ravel()[c.pair] * c.moves
        return Flow(c.n_states, c.pair // c.n_actions, c.after, parts, c.sweeps)


@dataclass(frozen=True, eq=False)
class Flow:
    """Discounted moves between states, F[s, s'] in parts.

    Attributes
    ----------
    sweeps
        After so many moves nobody is left; 0 where states come back.
    """

    n_states: int
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    parts: Floats
    sweeps: int

    def out_of(self, source: Floats) -> Floats:
        """Solve x = source + F x."""
        if self.sweeps:
            return self._sweep(source, self.before, self.after)
        return self._equations.solve(source)

    def into(self, source: Floats) -> Floats:
        """Solve x = source + F^T x."""
        if self.sweeps:
            return self._sweep(source, self.after, self.before)
        return self._equations.solve(source, transposed=True)

    def _sweep(self, source: Floats, at: NDArray[np.int64], of: NDArray[np.int64]) -> Floats:
        found = source.copy()
        for _ in range(self.sweeps):
            found = source + np.bincount(at, self.parts * found[of], self.n_states)
        return found

    @cached_property
    def _equations(self) -> Equation:
        size = self.n_states
        moves = np.bincount(self.before * size + self.after, self.parts, size * size)
        return Equation.of(np.eye(size) - moves.reshape(size, size))


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
    parts = t.gamma * np.bincount(which, weight[on] * rho[on]) / held[out_of]
    flow = Flow(states, out_of, into, parts, t.longest if t.by_step else 0)
    out: Floats = flow.into(start.astype(np.float64)) / held
    return out


def policy_tables(
    candidates: Sequence[Candidate], codes: StateCodes, n_actions: int, threads: int
) -> tuple[Floats, list[bool]]:
    """Average each policy over the rows of a state.

    Returns
    -------
    (n_policies, n_states, n_actions), and of each policy whether it varies within a state.
    """
    shape = (len(candidates), codes.n_states, n_actions)
    tables, varies = np.empty(shape), [False] * len(candidates)
    n = np.bincount(codes.codes)[:, None]
    for i, candidate in enumerate(candidates):
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
