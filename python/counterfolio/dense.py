"""Dense arrays over all actions, reduced block by block to one number for each logged row."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

#: Rows reduced, or handed to a policy, at a time.
BLOCK_ROWS = 65_536
#: Probabilities of a row must sum to 1 within this; they are never rescaled.
SUM_TOLERANCE = 1e-5


def blocks(rows: int) -> Iterator[slice]:
    """Slices of at most `BLOCK_ROWS` rows."""
    return (slice(i, min(i + BLOCK_ROWS, rows)) for i in range(0, rows, BLOCK_ROWS))


def number_actions(logged: pl.Series) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Give numbers to the different actions: the first row of each, and each row's number.

    Text goes through its integer codes; numpy does the rest, since after a fork polars' own
    parallel expressions would wait for threads that no longer exist.
    """
    is_text = logged.dtype in (pl.String, pl.Categorical, pl.Enum)
    numbers = logged.cast(pl.Categorical).to_physical() if is_text else logged
    _, first, of = np.unique(numbers.to_numpy(), return_index=True, return_inverse=True)
    return first, of


@dataclass(frozen=True)
class ActionCodes:
    """Position of each logged action in the column order of dense arrays.

    Attributes
    ----------
    codes
        One position to a row.
    labels
        Label of each position; None where actions are numbered from 0.
    """

    codes: NDArray[np.integer[Any]]
    labels: list[Any] | None

    @classmethod
    def encode(cls, actions: pl.Series, labels: Sequence[Any] | None) -> ActionCodes:
        """Encode the column of logged actions.

        Raises
        ------
        InvalidLogError
            If a logged action is negative, or not among the labels.
        """
        if labels is None and actions.dtype.is_integer():
            codes, known = actions.to_numpy(), None
        else:
            first, of = number_actions(actions)
            logged = [actions[int(i)] for i in first]
            known = sorted(logged) if labels is None else list(labels)
            position = {label: i for i, label in enumerate(known)}
            codes = np.array([position.get(label, -1) for label in logged])[of]
        bad = codes < 0
        if bad.any():
            row = int(bad.argmax())
            text = (
                f'column "{actions.name}": {int(bad.sum())} of {len(codes)} values are not among '
                f"the action labels, first at row {row} ({actions[row]!r}); pass actions=[...], "
                "every label in the column order of the dense arrays"
            )
            raise InvalidLogError(text)
        return cls(codes, known)

    @cached_property
    def largest(self) -> int:
        """Largest position that was logged."""
        return int(self.codes.max())

    def check_width(self, label: str, width: int, error: type[Exception]) -> None:
        """Raise unless an array of `width` columns has one for each action."""
        if self.labels is None:
            # Actions that were never logged have columns too.
            if self.largest < width:
                return
            text = (
                f"{label} has {plural(width, 'column')}, but action {self.largest} is logged; "
                "pass a column for each action from 0 on, or actions=[...] to "
                "LoggedData.from_frame, every label in column order"
            )
        else:
            if width == len(self.labels):
                return
            text = (
                f"{label} has {plural(width, 'column')}, but there are "
                f"{plural(len(self.labels), 'action label')}; pass actions=[...] to "
                "LoggedData.from_frame, every label in column order"
            )
        raise error(text)


def check_labels(actions: object) -> list[Any] | None:
    """Raise unless `actions` is None or a list of different labels."""
    if actions is None:
        return None
    if isinstance(actions, str) or not hasattr(actions, "__iter__"):
        text = f"actions must be a list of labels in column order, not {actions!r}"
        raise InvalidArgumentError(text)
    listed = actions.tolist() if hasattr(actions, "tolist") else list(actions)
    labels = [x.item() if isinstance(x, np.generic) else x for x in listed]
    if strange := [x for x in labels if not isinstance(x, Hashable)]:
        text = f"actions lists {strange[0]!r}; pass labels that are text, numbers or dates"
        raise InvalidArgumentError(text)
    twice = [x for i, x in enumerate(labels) if x in labels[:i]]
    if not labels or twice:
        what = f"lists {twice[0]!r} twice" if twice else "is empty"
        text = f"actions {what}; list every label once, in the column order of dense arrays"
        raise InvalidArgumentError(text)
    return labels


def check_dense(label: str, dense: object, rows: int, error: type[Exception]) -> Any:
    """Return `dense` as a numpy array or a polars column of arrays with one row for each logged."""
    if isinstance(dense, pl.Series):
        if not isinstance(dense.dtype, pl.Array | pl.List):
            text = f"{label} holds {dense.dtype}; pass a column of arrays, one number per action"
            raise error(text)
        if dense.len() != rows:
            text = f"{label} has {dense.len()} rows, but the log has {rows}"
            raise error(text)
        return _even(label, dense, error)
    array = np.asarray(dense)
    if array.dtype.kind not in "fiub":
        text = f"{label} holds {array.dtype}, where numbers are wanted; pass an array of floats"
        raise error(text)
    if array.ndim != 2 or len(array) != rows:
        text = f"{label} has shape {array.shape}; pass an array of shape ({rows}, n_actions)"
        raise error(text)
    return array


def _even(label: str, dense: pl.Series, error: type[Exception]) -> pl.Series:
    """Return a column of lists as one of arrays."""
    empty = dense.is_null()
    if isinstance(dense.dtype, pl.List):
        lengths = dense.list.len()
        ragged = lengths != lengths.drop_nulls().first()
    else:
        ragged = empty
    for wrong, what in ((empty, "null"), (ragged.fill_null(value=False), "of another length")):
        if wrong.any():
            text = (
                f"{label}: {wrong.sum()} of {len(dense)} rows are {what}, first at row "
                f"{wrong.arg_max()}; give every row one number per action"
            )
            raise error(text)
    if isinstance(dense.dtype, pl.List):
        return dense.list.to_array(int(lengths[0]))
    return dense


def read_block(dense: Any, rows: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Take some rows of what `check_dense` returned."""
    piece = dense[rows]
    values = piece.to_numpy() if isinstance(piece, pl.Series) else piece
    return np.asarray(values, dtype=np.float64)


def gather(
    actions: ActionCodes, probs: Any, label: str, error: type[Exception]
) -> NDArray[np.float64]:
    """Take the probability of each row's logged action.

    Parameters
    ----------
    probs
        As `check_dense` returns it.
    label, error
        What messages call it, and what they are raised as.

    Raises
    ------
    error
        If a row holds a negative number or does not sum to 1.
    """
    rows = len(actions.codes)
    out = np.empty(rows)
    count, first, total = 0, 0, 0.0
    for block in blocks(rows):
        dense = read_block(probs, block)
        actions.check_width(label, dense.shape[1], error)
        sums = dense.sum(axis=1)
        bad = ~((dense >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE))
        if bad.any():
            if count == 0:
                first, total = block.start + int(bad.argmax()), float(sums[bad.argmax()])
            count += int(bad.sum())
        # A probability may exceed 1 by the rounding that the sum is allowed.
        out[block] = np.minimum(_logged(dense, actions.codes[block]), 1.0)
    if count:
        text = (
            f"{label}: {count} of {rows} rows hold a negative number or do not sum to 1 within "
            f"{SUM_TOLERANCE:g}, first at row {first} (sum {total:g}); they are never rescaled: "
            "mend the policy that made them"
        )
        raise error(text)
    return out


def gather_values(
    actions: ActionCodes, probs: Any, q_values: Any, label: str, error: type[Exception]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take q = Q(s_t, a_t) and v = sum_a pi(a|s_t) Q(s_t, a) of each row.

    Raises
    ------
    error
        If a row holds a value that is not finite, of whichever action.
    """
    rows = len(actions.codes)
    q, v = np.empty(rows), np.empty(rows)
    count, first = 0, 0
    for block in blocks(rows):
        dense, values = read_block(probs, block), read_block(q_values, block)
        if values.shape != dense.shape:
            text = f"{label} has {values.shape[1]} columns, but action_probs has {dense.shape[1]}"
            raise error(text)
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            first = first if count else block.start + int(bad.argmax())
            count += int(bad.sum())
        q[block] = _logged(values, actions.codes[block])
        v[block] = np.einsum("ij,ij->i", dense, values)
    if count:
        text = (
            f"{label}: {count} of {rows} rows hold a value that is NaN or infinite, first at row "
            f"{first}; mend the model that made them"
        )
        raise error(text)
    return q, v


def unsupported_mass(actions: ActionCodes, probs: Any, behavior: Any) -> float:
    """Mean over rows of the probability that a policy gives to actions the log cannot show.

    Parameters
    ----------
    probs, behavior
        As `check_dense` returns them. Where the behavior policy's probabilities are None, what was
        never logged counts as what it never takes.
    """
    logged = None
    if behavior is None:
        width = read_block(probs, slice(0, 1)).shape[1]
        logged = np.bincount(actions.codes, minlength=width) > 0
    total = 0.0
    for block in blocks(len(actions.codes)):
        shown = read_block(behavior, block) > 0 if logged is None else logged
        total += float(np.where(shown, 0.0, read_block(probs, block)).sum())
    return total / len(actions.codes)


def _logged(dense: NDArray[np.float64], codes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    picked: NDArray[np.float64] = dense[np.arange(len(dense)), codes]
    return picked
