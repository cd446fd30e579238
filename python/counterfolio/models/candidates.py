"""What candidates do in each state of a log, for models: probabilities, or actions with weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.dense import blocks, check_dense, read_block
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.models.transitions import logged_actions
from counterfolio.policies import ContinuousPolicy, DeterministicAction, DiscretePolicy
from counterfolio.policies.asking import dense_probs
from counterfolio.policies.columns import (
    centres,
    dense_column,
    describe_columns,
    numeric_kernel,
)
from counterfolio.policies.head import check_probs
from counterfolio.sources import column_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

#: Actions drawn in each state for a policy over a continuum.
N_DRAWS = 16
#: Keeps the draws apart from those of a log that was made with the same seed: default_rng(0) and
#: default_rng([0, 0]) are one stream.
OWN_STREAM = 0x706F6C69


@dataclass(frozen=True, eq=False)
class Candidate:
    """A policy that can say what it does in every row's state.

    Attributes
    ----------
    name : str
    n_actions
        None where actions are a continuum.
    """

    name: str
    n_actions: int | None
    _policy: Any
    _log: LoggedData
    #: Probabilities of all actions, where they are an array or a column.
    _dense: Any = None
    #: The one action of a continuum that it takes in each row, of shape (n_rows, d).
    _chosen: Any = None

    def probs(self, rows: slice) -> NDArray[np.float64]:
        """Take pi(.|s) of some rows, of shape (n, n_actions), checked."""
        if self._dense is None:
            assert self.n_actions is not None
            return dense_probs(self.name, self._policy, self._log, rows, self.n_actions)
        label = f'policy "{self.name}": action_probs'
        if rows.start:
            label += f", rows counted from {rows.start:,}"
        return check_probs(label, read_block(self._dense, rows))

    def logged(self, rows: slice) -> NDArray[np.float64]:
        """Take pi(a_t|s_t), or the density, of the logged actions of some rows."""
        if self.n_actions is not None:
            probs = self.probs(rows)
            codes = self._log.action_codes.codes[rows]
            found: NDArray[np.float64] = probs[np.arange(len(probs)), codes]
            return found
        if self._chosen is not None:
            return numeric_kernel(self.name, self._policy).density(
                logged_actions(self._log, rows), self._chosen[rows]
            )
        states, actions = self._log.states.take(rows), logged_actions(self._log, rows)
        return np.asarray(self._policy.prob(states, actions), dtype=np.float64).reshape(
            len(actions)
        )

    def draws(self, rows: slice, seed: int) -> list[NDArray[np.float64]]:
        """Take actions of equal weight that stand for pi(.|s), each of shape (n, d)."""
        if self._chosen is not None:
            return [self._chosen[rows]]
        states, n = self._log.states.take(rows), rows.stop - rows.start
        if isinstance(self._policy, DeterministicAction):
            return [np.asarray(self._policy.mean(states), dtype=np.float64).reshape(n, -1)]
        keys = ([seed, rows.start, i, OWN_STREAM] for i in range(N_DRAWS))
        generators = map(np.random.default_rng, keys)
        drawn = (self._policy.sample(states, rng) for rng in generators)
        return [np.asarray(a, dtype=np.float64).reshape(n, -1) for a in drawn]


def take(policies: Mapping[str, Any], log: LoggedData) -> list[Candidate]:
    """Take policies that can say what they do in every state.

    Raises
    ------
    InvalidPolicyError
        If one knows the probability of logged actions alone, or policies do not agree on how many
        actions there are.
    """
    if log.roles["action_type"] == "continuous":
        return [_over_a_continuum(name, policy, log) for name, policy in policies.items()]
    found = [_over_labels(name, policy, log) for name, policy in policies.items()]
    labels = log.action_codes.labels
    n = log.action_codes.largest + 1 if labels is None else len(labels)
    n = max(n, *(c.n_actions or 0 for c in found)) if labels is None else n
    for candidate in found:
        if candidate._dense is not None and candidate.n_actions != n:
            text = (
                f'policy "{candidate.name}" gives probabilities to {candidate.n_actions} actions, '
                f"but there are {n}; pass a column for each action"
            )
            raise InvalidPolicyError(text)
    return [replace(candidate, n_actions=n) for candidate in found]


def _over_labels(name: str, policy: Any, log: LoggedData) -> Candidate:
    columns = describe_columns(name, policy)
    if columns.action_probs is not None:
        label, value = dense_column(name, "action_probs", columns.action_probs, log)
        dense = check_dense(label, value, log.n_rows, InvalidPolicyError)
        width = read_block(dense, slice(0, 1)).shape[1]
        log.action_codes.check_width(label, width, InvalidPolicyError)
        return Candidate(name, width, policy, log, dense)
    if columns.action is not None:
        return Candidate(name, 0, policy, log)
    if isinstance(columns.prob, DiscretePolicy):
        if columns.prob.actions is not None:
            return Candidate(name, 0, policy, log)
        first = np.asarray(columns.prob.action_probs(log.states.take(slice(0, 1))))
        return Candidate(name, first.shape[-1] if first.ndim == 2 else 0, policy, log)
    raise InvalidPolicyError(
        _wanted(
            name,
            "an array of shape (n_rows, n_actions), PolicyColumns(action=...), or an "
            "object with action_probs(states)",
        )
    )


def _over_a_continuum(name: str, policy: Any, log: LoggedData) -> Candidate:
    columns = describe_columns(name, policy)
    if columns.action is not None:
        return Candidate(name, None, columns, log, _chosen=centres(name, columns.action, log))
    if isinstance(columns.prob, ContinuousPolicy):
        return Candidate(name, None, columns.prob, log)
    raise InvalidPolicyError(
        _wanted(
            name,
            "PolicyColumns(action=...), or an object with mean(states) and sample(states, rng)",
        )
    )


def _wanted(name: str, what: str) -> str:
    return (
        f'policy "{name}": a model has to know what it does with every action, not only with the '
        f"one that was logged; pass {what}"
    )


def importance_ratios(candidate: Candidate, log: LoggedData) -> NDArray[np.float64]:
    """Take rho = pi(a_t|s_t) / b(a_t|s_t) of each row."""
    assert log._propensity is not None
    propensity = column_values(log._propensity).astype(np.float64, copy=False)
    prob = np.empty(log.n_rows)
    for rows in blocks(log.n_rows):
        prob[rows] = candidate.logged(rows)
    return prob / propensity
