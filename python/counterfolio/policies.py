"""Evaluation policies: columns, arrays, dense probabilities, or objects with `prob`.

Whatever form a policy comes in, the core needs three numbers a row: prob = pi(a_t|s_t),
q = Q(s_t, a_t) and v = sum_a pi(a|s_t) Q(s_t, a). Dense arrays over all actions are reduced to
these here, block by block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import polars as pl

from counterfolio.exceptions import CounterfolioError, InvalidPolicyError
from counterfolio.sources import as_column
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from counterfolio import _core
    from counterfolio.log import LoggedData

#: Rows handed to a policy, or reduced from a dense array, at a time.
BLOCK_ROWS = 65_536
#: Dense probabilities of a row must sum to 1 within this; they are never rescaled.
SUM_TOLERANCE = 1e-5
#: Name of the logged policy in every result.
BEHAVIOR = "behavior"


@runtime_checkable
class Policy(Protocol):
    """A policy that can be asked for the probability of actions."""

    def prob(self, states: Any, actions: Any) -> Any:
        """Return pi(a|s) for each row.

        Parameters
        ----------
        states
            float64 array of shape (n, d) if all state columns are numbers, else a polars frame.
        actions
            Array of n actions as they stand in the log.

        Returns
        -------
        array of n probabilities (densities for continuous actions).
        """


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
    """

    prob: Any = None
    q: Any = None
    v: Any = None
    action_probs: Any = None
    q_values: Any = None


def blocks(rows: int) -> Iterator[slice]:
    """Slices of at most `BLOCK_ROWS` rows."""
    return (slice(i, min(i + BLOCK_ROWS, rows)) for i in range(0, rows, BLOCK_ROWS))


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
    states = pl.DataFrame([log._table.series(column) for column in names])
    numeric = all(dtype.is_numeric() or dtype == pl.Boolean for dtype in states.dtypes)
    actions = log._table.series(log.roles["action"])
    out = np.empty(log.n_rows)
    for rows in blocks(log.n_rows):
        state = states[rows]
        asked = state.to_numpy().astype(np.float64, copy=False) if numeric else state
        found = np.asarray(policy.prob(asked, actions[rows].to_numpy()))
        expected = (rows.stop - rows.start,)
        if found.shape != expected or found.dtype.kind not in "fiub":
            text = (
                f'policy "{name}": prob(states, actions) returned {found.dtype} of shape '
                f"{found.shape} for {expected[0]} rows; it must return one number for each"
            )
            raise InvalidPolicyError(text)
        out[rows] = found
    return out


def _dense_rows(label: str, dense: Any, rows: slice) -> NDArray[np.float64]:
    """Rows of a dense array, from numpy or from a polars column of arrays or lists."""
    if isinstance(dense, pl.Series):
        piece = dense[rows]
        if isinstance(piece.dtype, pl.List):
            widths = piece.list.len().unique()
            if len(widths) != 1:
                text = f"{label} holds lists of different lengths; pass one value for each action"
                raise InvalidPolicyError(text)
            piece = piece.list.to_array(widths[0])
        return np.asarray(piece.to_numpy(), dtype=np.float64)
    return np.asarray(dense[rows], dtype=np.float64)


def gather_dense(
    log: LoggedData,
    label: str,
    action_probs: Any,
    q_values: Any,
) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64]] | None]:
    """Reduce dense arrays to prob, and to q and v where Q-values are given.

    Parameters
    ----------
    label
        What messages call the policy.
    action_probs, q_values
        Arrays of shape (n_rows, n_actions), or polars columns of arrays.

    Raises
    ------
    InvalidPolicyError
        If the shape is wrong, or a row holds a number outside [0, 1] or does not sum to 1.
    """
    rows = log.n_rows
    for what, dense in (("action_probs", action_probs), ("q_values", q_values)):
        if dense is None:
            continue
        if len(dense) != rows or (isinstance(dense, np.ndarray) and dense.ndim != 2):
            shape = getattr(dense, "shape", None)
            text = f'{label}: "{what}" has shape {shape}, where ({rows}, n_actions) is wanted'
            raise InvalidPolicyError(text)
    codes = log.codes
    prob = np.empty(rows)
    q, v = (np.empty(rows), np.empty(rows)) if q_values is not None else (None, None)
    offences: list[tuple[int, int, float]] = []
    for block in blocks(rows):
        dense = _dense_rows(label, action_probs, block)
        code = codes[block].astype(np.intp, copy=False)
        _check_width(label, "action_probs", dense.shape[1], log, code)
        sums = dense.sum(axis=1)
        good = (dense >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE)
        if not good.all():
            first = int((~good).argmax())
            offences.append((int((~good).sum()), block.start + first, float(sums[first])))
            continue
        # A probability may exceed 1 by the rounding that the sum is allowed.
        prob[block] = np.minimum(np.take_along_axis(dense, code[:, None], axis=1)[:, 0], 1.0)
        if q is not None and v is not None:
            values = _dense_rows(label, q_values, block)
            if values.shape != dense.shape:
                text = (
                    f'{label}: "q_values" has {values.shape[1]} actions, but "action_probs" has '
                    f"{dense.shape[1]}"
                )
                raise InvalidPolicyError(text)
            q[block] = np.take_along_axis(values, code[:, None], axis=1)[:, 0]
            v[block] = np.einsum("ij,ij->i", dense, values)
    if offences:
        count = sum(n for n, _, _ in offences)
        text = (
            f'{label}: column "action_probs": {count} of {rows} rows hold a negative number or do '
            f"not sum to 1 within {SUM_TOLERANCE:g}, first at row {offences[0][1]} (sum "
            f"{offences[0][2]:g}); they are never rescaled: mend the policy that made them"
        )
        raise InvalidPolicyError(text)
    return prob, None if q is None or v is None else (q, v)


def _check_width(
    label: str, what: str, width: int, log: LoggedData, code: NDArray[np.intp]
) -> None:
    by_number = log.roles["actions"] is None and log.labels == list(range(len(log.labels)))
    if by_number and width >= len(log.labels):
        return  # actions that were never logged have columns too
    if width != len(log.labels) or code.max() >= width:
        text = (
            f'{label}: "{what}" has {width} columns, but there are {len(log.labels)} action '
            "labels; pass actions=[...] to LoggedData.from_frame, every label in column order"
        )
        raise InvalidPolicyError(text)


def resolve(
    name: str, policy: object, log: LoggedData, needs: Mapping[str, Sequence[str]]
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
    columns = describe(name, policy, log)
    given = {key: getattr(columns, key) for key in ("prob", "q", "v")}
    wanted = {key for keys in needs.values() for key in keys}
    q_values, dense = columns.q_values, columns.action_probs
    if q_values is not None and dense is None:
        text = f'policy "{name}" has q_values without action_probs, which v = sum pi Q needs'
        raise InvalidPolicyError(text)
    if dense is not None:
        label = f'policy "{name}"'
        dense, q_values = (_lookup(label, x, log) for x in (dense, q_values))
        prob, model = gather_dense(log, label, dense, q_values)
        found = {"prob": prob} if model is None else {"prob": prob, "q": model[0], "v": model[1]}
        given = {key: found.get(key) if x is None else x for key, x in given.items()}
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


def _lookup(label: str, value: Any, log: LoggedData) -> Any:
    """Take a dense array, from the log where it is named."""
    if isinstance(value, str):
        if value not in log._table.names:
            text = f'{label}: no column "{value}" in the log; {suggest(value, log._table.names)}'
            raise InvalidPolicyError(text)
        value = log._table.series(value)
    if isinstance(value, pl.Series) and not isinstance(value.dtype, pl.Array | pl.List):
        text = f'{label}: column "{value.name}" holds {value.dtype}, where arrays are wanted'
        raise InvalidPolicyError(text)
    return value if value is None or isinstance(value, pl.Series) else np.asarray(value)


def _take(
    name: str,
    key: str,
    value: Any,
    log: LoggedData,
) -> _core.Column | None:
    if value is None:
        return None
    if isinstance(value, str):
        if value not in log._table.names:
            text = (
                f'policy "{name}": no column "{value}" in the log; '
                f"{suggest(value, log._table.names)}"
            )
            raise InvalidPolicyError(text)
        return log._table.column(value)
    try:
        return as_column(key, value)
    except CounterfolioError as error:
        text = f'policy "{name}": {error}'
        raise InvalidPolicyError(text) from error
