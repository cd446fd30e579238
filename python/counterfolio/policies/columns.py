"""Evaluation policies: columns, arrays, dense probabilities, or objects with `prob`.

Whatever form a policy comes in, the core needs a few numbers a row: prob = pi(a_t|s_t),
q = Q(s_t, a_t), v = sum_a pi(a|s_t) Q(s_t, a), and the marginal ratios that some estimators read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.dense import check_dense, gather, gather_values
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.policies.chosen import chosen_prob
from counterfolio.policies.continuous import DeterministicAction
from counterfolio.policies.kernel import Kernel, density_of
from counterfolio.policies.objects import mean_of, named, prob_of
from counterfolio.policies.protocol import Policy
from counterfolio.sources import Table, as_column, column_label
from counterfolio.states import States
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

    Taken: TypeAlias = _core.Column | None
    #: Name, the columns of `INPUTS`, and whether ratios are of visits over all steps.
    CorePolicy: TypeAlias = tuple[str, Taken, Taken, Taken, Taken, Taken, bool]

T = TypeVar("T")

#: Name of the logged policy in every result.
BEHAVIOR = "behavior"
#: Columns that the core reads, in its order.
INPUTS = ("prob", "q", "v", "state_ratio", "state_action_ratio")
RATIO_KINDS = ("step", "occupancy")


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
    action
        The action that a deterministic policy would take. Labelled as the log's discrete actions:
        prob is 1 where it is the logged one, else 0. Of a continuum (a column, a list of columns,
        an array of shape (n_rows,) or (n_rows, d)): prob is what `kernel` gives; q is then
        Q(s, a) of the logged action and v is Q(s, pi(s)).
    kernel
        `policies.Kernel` about continuous actions.
    state_ratio, state_action_ratio
        Marginal ratios d_pi(s_t) / d_b(s_t) and d_pi(s_t, a_t) / d_b(s_t, a_t).
    ratio_kind
        "step": of the probabilities of being there at that very step, of mean 1 at each;
        "occupancy": of discounted visits over all steps, which is what `counterfolio.models` fits.

    Notes
    -----
    One of prob, action_probs and action says what the policy does. prob may be an object with
    `prob(states, actions)`.
    """

    prob: Any = None
    q: Any = None
    v: Any = None
    action_probs: Any = None
    q_values: Any = None
    action: Any = None
    kernel: Any = None
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
    """Bring any form of policy to `PolicyColumns`; objects are asked.

    Raises
    ------
    InvalidPolicyError
        If it is none of the forms, or an object gives no answer to the log's rows.
    """
    columns = describe_columns(name, policy)
    if isinstance(columns.prob, DeterministicAction) and columns.prob.kernel is not None:
        kernel, chosen = columns.prob.kernel, mean_of(name, columns.prob, log)
        return replace(columns, prob=None, action=chosen, kernel=kernel)
    if isinstance(columns.prob, Policy):
        return replace(columns, prob=prob_of(name, columns.prob, log))
    return columns


def describe_columns(name: str, policy: object) -> PolicyColumns:
    """Bring any form of policy to `PolicyColumns`; an object stays one, as prob.

    Raises
    ------
    InvalidPolicyError
        If it is none of the forms.
    """
    if isinstance(policy, PolicyColumns):
        said = [x for x in ("prob", "action_probs", "action") if getattr(policy, x) is not None]
        if len(said) > 1:
            text = f'policy "{name}" has both {said[0]} and {said[1]}; pass one of them'
            raise InvalidPolicyError(text)
        return policy
    if isinstance(policy, str):
        return PolicyColumns(prob=policy)
    if isinstance(policy, np.ndarray) and policy.ndim == 2:
        return PolicyColumns(action_probs=policy)
    if isinstance(policy, pl.Series) and isinstance(policy.dtype, pl.Array | pl.List):
        return PolicyColumns(action_probs=policy)
    if isinstance(policy, type):
        text = f'policy "{name}" is the class {policy.__name__}; pass an object of it'
        raise InvalidPolicyError(text)
    is_array = isinstance(policy, np.ndarray | pl.Series | Sequence)
    exports = hasattr(policy, "__arrow_c_stream__") or hasattr(policy, "__arrow_c_array__")
    if is_array or exports or isinstance(policy, Policy):
        return PolicyColumns(prob=policy)
    text = (
        f'policy "{name}" is a {type(policy).__name__}; pass the name of a column, an array, a '
        "cf.PolicyColumns, or an object with prob(states, actions)"
    )
    raise InvalidPolicyError(text)


def resolve(
    name: str,
    columns: PolicyColumns,
    log: LoggedData,
    needs: Mapping[str, Sequence[str]],
    threads: int,
) -> CorePolicy:
    """Bring a policy to the columns that the core reads.

    Parameters
    ----------
    needs
        For each estimator asked for, the columns that it reads.
    threads
        Over how many a kernel's densities are spread.

    Raises
    ------
    InvalidPolicyError
        If an input is missing, unknown or of the wrong shape.
    """
    given = {key: getattr(columns, key) for key in INPUTS}
    if columns.ratio_kind not in RATIO_KINDS:
        known = " or ".join(f'"{kind}"' for kind in RATIO_KINDS)
        text = f'policy "{name}": ratio_kind must be {known}, not {columns.ratio_kind!r}'
        raise InvalidPolicyError(text)
    wanted = {key for keys in needs.values() for key in keys}
    if columns.action is not None and log.roles["action_type"] == "continuous":
        kernel = _kernel(name, columns)
        given["prob"] = density_of(name, centres(name, columns.action, log), kernel, log, threads)
    elif columns.action is not None:
        given["prob"] = chosen_prob(name, chosen_column(name, columns.action, log), log)
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
    taken = {
        key: None if value is None else _take(name, key, value, log) for key, value in used.items()
    }
    prob, q, v, state, both = (taken[key] for key in INPUTS)
    return name, prob, q, v, state, both, columns.ratio_kind == "occupancy"


def only_prob(name: str, prob: _core.Column | None) -> CorePolicy:
    """Bring the probabilities of logged actions alone to what the core reads."""
    return name, prob, None, None, None, None, False


def _reduce(
    name: str, columns: PolicyColumns, log: LoggedData, given: dict[str, Any]
) -> dict[str, Any]:
    """Fill in prob, q and v from dense arrays where they are not given."""
    if log.roles["action_type"] != "discrete":
        text = f'policy "{name}": dense arrays need action_type="discrete"; pass prob instead'
        raise InvalidPolicyError(text)

    def take(key: str, value: object) -> tuple[str, Any]:
        label, dense = dense_column(name, key, value, log)
        return label, check_dense(label, dense, log.n_rows, InvalidPolicyError)

    label, probs = take("action_probs", columns.action_probs)
    found = {"prob": gather(log.action_codes, probs, label, InvalidPolicyError)}
    if columns.q_values is not None:
        label, q_values = take("q_values", columns.q_values)
        found["q"], found["v"] = gather_values(
            log.action_codes, probs, q_values, label, InvalidPolicyError
        )
    return {key: found.get(key) if value is None else value for key, value in given.items()}


def dense_column(name: str, key: str, value: object, log: LoggedData) -> tuple[str, Any]:
    """Take probabilities or values of all actions, and say what messages call them."""
    label = f'policy "{name}": column "{value if isinstance(value, str) else key}"'
    if isinstance(value, str):
        return label, _named(name, value, log, log._table.series)
    return label, value


def _kernel(name: str, columns: PolicyColumns) -> Kernel:
    """Take the kernel about continuous actions."""
    if not isinstance(columns.kernel, Kernel):
        given = "" if columns.kernel is None else f", not {columns.kernel!r}"
        text = (
            f'policy "{name}": one action of a continuum has no density; pass '
            f"kernel=cf.policies.Kernel(bandwidth=...) with it{given}"
        )
        raise InvalidPolicyError(text)
    return columns.kernel


def numeric_kernel(name: str, columns: PolicyColumns) -> Kernel:
    """Take a kernel whose bandwidth is known.

    Raises
    ------
    InvalidPolicyError
        If there is no kernel, or its bandwidth is for `evaluate` to choose.
    """
    kernel = _kernel(name, columns)
    if isinstance(kernel.bandwidth, str):
        text = (
            f'policy "{name}": ratios are fitted with weights of a kernel, whose bandwidth must be '
            "a number here; take the one that evaluate chose, evaluation.settings"
            '["bandwidths"]'
        )
        raise InvalidPolicyError(text)
    return kernel


def centres(name: str, value: Any, log: LoggedData) -> NDArray[np.float64]:
    """Take the actions of a deterministic policy on a continuous log, of shape (n_rows, d).

    Raises
    ------
    InvalidPolicyError
        If they are no numbers, or a column is unknown.
    """
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and value and all(isinstance(x, str) for x in value):
        columns = [_named(name, x, log, log._table.series) for x in value]
        found = np.asarray(States(columns).take(slice(0, log.n_rows)))
    else:
        found = np.asarray(value)
    if found.dtype.kind not in "fiu" or found.ndim not in (1, 2):
        text = (
            f'policy "{name}": action must be numbers of shape (n_rows,) or (n_rows, d), not '
            f"{found.dtype} of shape {found.shape}"
        )
        raise InvalidPolicyError(text)
    wide = found[:, None] if found.ndim == 1 else found
    if len(wide) != log.n_rows:
        text = (
            f'policy "{name}": its actions have shape {wide.shape}, but the log has {log.n_rows} '
            "rows; pass one action for each row"
        )
        raise InvalidPolicyError(text)
    return wide.astype(np.float64, copy=False)


def chosen_column(name: str, value: Any, log: LoggedData) -> pl.Series:
    """Take the actions that a policy would take, one to a row.

    Raises
    ------
    InvalidPolicyError
        If actions are continuous, one is missing, or there is not one to a row.
    """
    if log.roles["action_type"] != "discrete":
        text = f'policy "{name}": action needs action_type="discrete"; pass prob instead'
        raise InvalidPolicyError(text)
    key = value if isinstance(value, str) else "action"
    column = _take(name, key, value, log)
    label = column_label(key)
    with named(f'policy "{name}"', InvalidPolicyError):
        if len(column) != log.n_rows:
            text = f"{label} has {len(column)} rows, but the log has {log.n_rows}"
            raise InvalidPolicyError(text)
        _core.check_present(column, label)
        return Table({key: lambda: column}).series(key)


def _named(name: str, column: str, log: LoggedData, get: Callable[[str], T]) -> T:
    """Take a column of the log for a policy."""
    if column not in log._table.names:
        text = f'policy "{name}": no column "{column}" in the log; '
        raise InvalidPolicyError(text + suggest(column, log._table.names))
    with named(f'policy "{name}"', InvalidPolicyError):
        return get(column)


def _take(name: str, key: str, value: Any, log: LoggedData) -> _core.Column:
    """Take a column with one value to a row, as the core reads it."""
    if isinstance(value, str):
        return _named(name, value, log, log._table.column)
    with named(f'policy "{name}"', InvalidPolicyError):
        return as_column(key, value)
