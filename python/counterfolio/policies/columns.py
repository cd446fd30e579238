"""Evaluation policies: columns, arrays, dense probabilities, or objects with `prob`.

Whatever form a policy comes in, the core needs three numbers a row: prob = pi(a_t|s_t),
q = Q(s_t, a_t) and v = sum_a pi(a|s_t) Q(s_t, a).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import polars as pl

from counterfolio.dense import blocks, check_dense, gather, gather_values
from counterfolio.exceptions import CounterfolioError, InvalidPolicyError
from counterfolio.policies.protocol import Policy
from counterfolio.sources import as_column
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from counterfolio import _core
    from counterfolio.log import LoggedData

T = TypeVar("T")

#: Name of the logged policy in every result.
BEHAVIOR = "behavior"


@dataclass(frozen=True, eq=False)
class PolicyColumns:
    """A candidate policy as columns of the log, by name, or as arrays with one value to a row.

    Parameters
    ----------
    prob
        pi(a_t|s_t), the probability of the logged action.
    q, v
        Q(s_t, a_t) and V(s_t) = sum_a pi(a|s_t) Q(s_t, a), for `dm` (v), `dr` and `sndr` (both).
    action_probs, q_values
        pi(.|s_t) and Q(s_t, .) for all actions, of shape (n_rows, n_actions); they give prob, q
        and v where those are not given.
    state_ratio, state_action_ratio
        Marginal ratios d_pi(s_t) / d_b(s_t) and d_pi(s_t, a_t) / d_b(s_t, a_t).
    ratio_kind
        "step": of the probabilities of being there at that very step, of mean 1 at each;
        "occupancy": of discounted visits over all steps, which is what `counterfolio.models` fits.
    """

    prob: Any = None
    q: Any = None
    v: Any = None
    action_probs: Any = None
    q_values: Any = None
    state_ratio: Any = None
    state_action_ratio: Any = None
    ratio_kind: Literal["step", "occupancy"] = "step"


def check_policies(policies: object) -> dict[str, Any]:
    """Raise unless `policies` maps names to something; return it as a dict."""
    if not isinstance(policies, Mapping):
        text = f"policies must map names to policies, as in {{'new': 'p_new'}}, not {policies!r}"
        raise InvalidPolicyError(text)
    if not policies:
        text = "no policies; pass at least one, as in {'new': 'p_new'}"
        raise InvalidPolicyError(text)
    for name in policies:
        if not isinstance(name, str) or not name:
            text = f"a policy is named by a string, not by {name!r}"
            raise InvalidPolicyError(text)
        if name == BEHAVIOR:
            text = f'a policy cannot be called "{BEHAVIOR}": that row is the logged policy\'s own'
            raise InvalidPolicyError(text)
    return dict(policies)


def describe(name: str, policy: object, log: LoggedData) -> PolicyColumns:
    """Bring any form of policy to `PolicyColumns`.

    Raises
    ------
    InvalidPolicyError
        If it is none of the forms.
    """
    if isinstance(policy, PolicyColumns):
        if policy.prob is not None and policy.action_probs is not None:
            text = f'policy "{name}" has both prob and action_probs; pass one of them'
            raise InvalidPolicyError(text)
        return policy
    if isinstance(policy, str):
        return PolicyColumns(prob=policy)
    if isinstance(policy, np.ndarray) and policy.ndim == 2:
        return PolicyColumns(action_probs=policy)
    if isinstance(policy, pl.Series) and isinstance(policy.dtype, pl.Array | pl.List):
        return PolicyColumns(action_probs=policy)
    if isinstance(policy, Policy):
        return PolicyColumns(prob=_ask(name, policy, log))
    is_array = isinstance(policy, np.ndarray | pl.Series | Sequence)
    if is_array or hasattr(policy, "__arrow_c_stream__") or hasattr(policy, "__arrow_c_array__"):
        return PolicyColumns(prob=policy)
    text = (
        f'policy "{name}" is a {type(policy).__name__}; pass the name of a column, an array, a '
        "cf.PolicyColumns, or an object with prob(states, actions)"
    )
    raise InvalidPolicyError(text)


def _ask(name: str, policy: Policy, log: LoggedData) -> NDArray[np.float64]:
    """Call the policy on blocks of states and logged actions."""
    names = log.roles["state"]
    if names is None:
        text = (
            f'policy "{name}" is an object with prob(states, actions), but the log names no state '
            "column; pass state=... to LoggedData.from_frame"
        )
        raise InvalidPolicyError(text)
    states = log.states
    actions = log.column(log.roles["action"])
    out = np.empty(log.n_rows)
    for rows in blocks(log.n_rows):
        answer = policy.prob(states.take(rows), actions[rows].to_numpy())
        try:
            found = np.asarray(answer)
        except ValueError as error:
            text = f'policy "{name}": prob(states, actions) returned no array of numbers: {error}'
            raise InvalidPolicyError(text) from error
        expected = (rows.stop - rows.start,)
        if found.shape != expected or found.dtype.kind not in "fiub":
            text = (
                f'policy "{name}": prob(states, actions) returned {found.dtype} of shape '
                f"{found.shape} for {expected[0]} rows; it must return one number for each"
            )
            raise InvalidPolicyError(text)
        out[rows] = found
    return out


def resolve(
    name: str, columns: PolicyColumns, log: LoggedData, needs: Mapping[str, Sequence[str]]
) -> tuple[str, _core.Column | None, _core.Column | None, _core.Column | None]:
    """Bring a policy to the columns that the core reads.

    Parameters
    ----------
    needs
        For each estimator asked for, the columns that it reads.

    Raises
    ------
    InvalidPolicyError
        If an input is missing, unknown or of the wrong shape.
    """
    given = {key: getattr(columns, key) for key in ("prob", "q", "v")}
    wanted = {key for keys in needs.values() for key in keys}
    if columns.action_probs is not None:
        given = _reduce(name, columns, log, given)
    elif columns.q_values is not None:
        text = f'policy "{name}" has q_values without action_probs, which v = sum pi Q needs'
        raise InvalidPolicyError(text)
    for estimator, keys in needs.items():
        if missing := [key for key in keys if given[key] is None]:
            text = (
                f'"{estimator}" needs {" and ".join(missing)} for policy "{name}"; pass '
                f"cf.PolicyColumns({', '.join(f'{key}=...' for key in keys)})"
            )
            raise InvalidPolicyError(text)
    used = {key: value if key in wanted else None for key, value in given.items()}
    taken = {key: _take(name, key, value, log) for key, value in used.items()}
    return name, taken["prob"], taken["q"], taken["v"]


def _reduce(
    name: str, columns: PolicyColumns, log: LoggedData, given: dict[str, Any]
) -> dict[str, Any]:
    """Fill in prob, q and v from dense arrays where they are not given."""
    if log.roles["action_type"] != "discrete":
        text = f'policy "{name}": dense arrays need action_type="discrete"; pass prob instead'
        raise InvalidPolicyError(text)

    def take(key: str, value: object) -> tuple[str, Any]:
        column = value if isinstance(value, str) else key
        label = f'policy "{name}": column "{column}"'
        if isinstance(value, str):
            value = _named(name, value, log, log._table.series)
        return label, check_dense(label, value, log.n_rows, InvalidPolicyError)

    label, probs = take("action_probs", columns.action_probs)
    found = {"prob": gather(log.action_codes, probs, label, InvalidPolicyError)}
    if columns.q_values is not None:
        label, q_values = take("q_values", columns.q_values)
        found["q"], found["v"] = gather_values(
            log.action_codes, probs, q_values, label, InvalidPolicyError
        )
    return {key: found.get(key) if value is None else value for key, value in given.items()}


def _named(name: str, column: str, log: LoggedData, get: Callable[[str], T]) -> T:
    """Take a column of the log for a policy."""
    if column not in log._table.names:
        text = f'policy "{name}": no column "{column}" in the log; '
        raise InvalidPolicyError(text + suggest(column, log._table.names))
    try:
        return get(column)
    except CounterfolioError as error:
        text = f'policy "{name}": {error}'
        raise InvalidPolicyError(text) from error


def _take(name: str, key: str, value: Any, log: LoggedData) -> _core.Column | None:
    """Take one of prob, q and v as the core reads it."""
    if value is None:
        return None
    if isinstance(value, str):
        return _named(name, value, log, log._table.column)
    try:
        return as_column(key, value)
    except CounterfolioError as error:
        text = f'policy "{name}": {error}'
        raise InvalidPolicyError(text) from error
