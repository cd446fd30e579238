"""What candidates do in each state of a log, for models: probabilities, or actions with weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.dense import SUM_TOLERANCE, blocks, check_dense, read_block
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.policies import ContinuousPolicy, DiscretePolicy, PolicyColumns
from counterfolio.sources import column_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

#: Actions drawn in each state for a policy over a continuum.
N_DRAWS = 16


@dataclass(frozen=True, eq=False)
class Candidate:
    """A policy that can say what it does in every row's state.

    Attributes
    ----------
    name : str
    """

    name: str
    _policy: Any
    _log: LoggedData
    _dense: Any = None

    @property
    def sees_states_only(self) -> bool:
        """Whether it is a function of the state, and not a table of rows."""
        return self._dense is None

    def probs(self, rows: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Take pi(.|s) of some rows, of shape (n, n_actions), checked."""
        if self._dense is not None:
            found = read_block(self._dense, rows)
        else:
            found = np.asarray(self._policy.action_probs(self._log.states.take(rows)), dtype=float)
        sums = found.sum(axis=1)
        bad = ~((found >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE))
        if bad.any():
            at = int(bad.argmax())
            row = rows.start + at if isinstance(rows, slice) else int(rows[at])
            text = (
                f'policy "{self.name}": {int(bad.sum())} rows of probabilities hold a negative '
                f"number or do not sum to 1 within {SUM_TOLERANCE:g}, first at row {row} (sum "
                f"{sums[at]:g}); mend the policy that made them"
            )
            raise InvalidPolicyError(text)
        return found

    def logged(self, rows: slice) -> NDArray[np.float64]:
        """Take pi(a_t|s_t), or the density, of the logged actions of some rows."""
        if self._log.roles["action_type"] == "discrete":
            probs = self.probs(rows)
            found: NDArray[np.float64] = probs[
                np.arange(len(probs)), self._log.action_codes.codes[rows]
            ]
            return found
        actions = self._log.column(self._log.roles["action"])[rows].to_numpy()
        states = self._log.states.take(rows)
        return np.asarray(self._policy.prob(states, actions), dtype=np.float64)

    def draws(self, rows: slice, seed: int) -> list[NDArray[np.float64]]:
        """Take actions of equal weight that stand for pi(.|s), each of shape (n, d)."""
        states = self._log.states.take(rows)
        n = rows.stop - rows.start
        if not hasattr(self._policy, "sample") or getattr(self._policy, "deterministic", False):
            return [np.asarray(self._policy.mean(states), dtype=float).reshape(n, -1)]
        rng = np.random.default_rng([seed, rows.start])
        drawn = (self._policy.sample(states, rng) for _ in range(N_DRAWS))
        return [np.asarray(a, dtype=float).reshape(n, -1) for a in drawn]


def take(policies: Mapping[str, Any], log: LoggedData) -> list[Candidate]:
    """Take policies that can say what they do in every state.

    Raises
    ------
    InvalidPolicyError
        If one knows the probability of logged actions alone.
    """
    return [_take(name, policy, log) for name, policy in policies.items()]


def _take(name: str, policy: Any, log: LoggedData) -> Candidate:
    discrete = log.roles["action_type"] == "discrete"
    dense = policy.action_probs if isinstance(policy, PolicyColumns) else policy
    if isinstance(dense, str) and isinstance(policy, PolicyColumns):
        dense = log.column(dense)
    is_dense = isinstance(dense, np.ndarray) and dense.ndim == 2
    is_dense |= isinstance(dense, pl.Series) and isinstance(dense.dtype, pl.Array | pl.List)
    if discrete and is_dense:
        label = f'policy "{name}": action_probs'
        return Candidate(name, None, log, check_dense(label, dense, log.n_rows, InvalidPolicyError))
    if isinstance(policy, DiscretePolicy if discrete else ContinuousPolicy):
        return Candidate(name, policy, log)
    wanted = (
        "an array of shape (n_rows, n_actions), or an object with action_probs(states)"
        if discrete
        else "an object with mean(states) and sample(states, rng)"
    )
    text = (
        f'policy "{name}": a model has to know what it does with every action, not only with the '
        f"one that was logged; pass {wanted}"
    )
    raise InvalidPolicyError(text)


def action_count(candidates: Sequence[Candidate], log: LoggedData) -> int | None:
    """Count the actions, on which all policies agree; None where they are a continuum.

    Raises
    ------
    InvalidPolicyError
        If two policies know different numbers of actions, or one lacks an action that was logged.
    """
    if log.roles["action_type"] == "continuous":
        return None
    widths = [c.probs(slice(0, 1)).shape[1] for c in candidates]
    for candidate, width in zip(candidates, widths, strict=True):
        label = f'policy "{candidate.name}"'
        log.action_codes.check_width(label, width, InvalidPolicyError)
        if width != widths[0]:
            text = (
                f'policy "{candidate.name}" gives probabilities to {width} actions, but policy '
                f'"{candidates[0].name}" to {widths[0]}; pass a column for each action to all'
            )
            raise InvalidPolicyError(text)
    return int(widths[0])


def importance_ratios(candidate: Candidate, log: LoggedData) -> NDArray[np.float64]:
    """Take rho = pi(a_t|s_t) / b(a_t|s_t) of each row."""
    assert log._propensity is not None
    propensity = column_values(log._propensity).astype(np.float64, copy=False)
    prob = np.empty(log.n_rows)
    for rows in blocks(log.n_rows):
        prob[rows] = candidate.logged(rows)
    return prob / propensity
