"""What learners read of a state: of the log's, and of any that a policy is asked about later.

Nothing here holds the log, so that a learned policy can be pickled by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.dense import number_actions
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.models.features import MOST_STATES, Design, FeatureMap, StateCodes, choose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData
    from counterfolio.models.features import Encoding
    from counterfolio.states import States

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Form:
    """What states look like: an array of so many numbers a row, or a frame of these columns."""

    width: int
    columns: list[str] | None

    @classmethod
    def of(cls, states: States) -> Form:
        """Look at a log's states."""
        block = states.take(slice(0, 1))
        names = list(block.columns) if isinstance(block, pl.DataFrame) else None
        return cls(block.shape[1], names)

    def check(self, states: Any) -> Any:
        """Take states of this form.

        Raises
        ------
        InvalidPolicyError
            If they are of another.
        """
        if self.columns is not None:
            if isinstance(states, pl.DataFrame) and set(self.columns) <= set(states.columns):
                return states.select(self.columns)
            raise self._error(states)
        given = np.asarray(states)
        given = given[:, None] if given.ndim == 1 and self.width == 1 else given
        if given.dtype.kind not in "fiub" or given.ndim != 2 or given.shape[1] != self.width:
            raise self._error(states)
        return given.astype(np.float64, copy=False)

    def _error(self, states: Any) -> InvalidPolicyError:
        wanted = (
            f"arrays of shape (n, {self.width})"
            if self.columns is None
            else f"frames with the columns {', '.join(self.columns)}"
        )
        shape = getattr(states, "shape", None)
        given = type(states).__name__ + ("" if shape is None else f" of shape {shape}")
        return InvalidPolicyError(
            f"learned from states that are {wanted}, but asked about a {given}; name the same "
            "state columns as in the log that it was learned from"
        )


@dataclass(frozen=True)
class StateTable:
    """The different states of a log, numbered, and a way to find others among them.

    Attributes
    ----------
    n_states : int
    """

    form: Form
    n_states: int
    #: Of each column: the number of each value, and the numbers of values and rows so far that
    #: stood together.
    _stages: list[tuple[dict[Any, int], Codes]]

    @classmethod
    def of(cls, states: States) -> tuple[StateTable, StateCodes]:
        """Give numbers to a log's states."""
        codes = np.zeros(len(states), dtype=np.int64)
        stages = []
        for labels, of in _columns(states.take(slice(0, len(states)))):
            joined, codes = np.unique(codes * len(labels) + of, return_inverse=True)
            stages.append(({label: i for i, label in enumerate(labels)}, joined))
        n_states = int(codes.max()) + 1
        return cls(Form.of(states), n_states, stages), StateCodes(codes.astype(np.int64), n_states)

    def find(self, states: Any) -> Codes:
        """Give each state its number, -1 to one that the log did not have."""
        block = self.form.check(states)
        found = np.zeros(len(block), dtype=np.int64)
        known = np.ones(len(block), dtype=bool)
        for (place, joined), (labels, of) in zip(self._stages, _columns(block), strict=True):
            which = np.array([place.get(label, -1) for label in labels], dtype=np.int64)[of]
            key = found * len(place) + which
            found = np.minimum(np.searchsorted(joined, key), len(joined) - 1)
            known &= (which >= 0) & (joined[found] == key)
        return np.where(known, found, -1)


def _columns(block: Any) -> Iterator[tuple[list[Any], Codes]]:
    """Go through columns: their different values, and which of them each row has."""
    if isinstance(block, pl.DataFrame):
        for column in block.get_columns():
            if column.dtype.is_nested():
                place: dict[Any, int] = {}
                of = [place.setdefault(tuple(row), len(place)) for row in column.to_list()]
                yield list(place), np.array(of, dtype=np.int64)
                continue
            first, which = number_actions(column)
            yield [column[int(i)] for i in first], which.astype(np.int64)
        return
    for numbers in block.T:
        values, which = np.unique(numbers, return_inverse=True)
        yield values.tolist(), which.astype(np.int64)


@dataclass(frozen=True)
class StateNumbers:
    """States as numbers, or as features of them.

    Attributes
    ----------
    name : str
        Of the features, for settings.
    constant : bool
        Whether the first feature is a constant, for models without an intercept of their own.
    """

    form: Form
    name: str
    constant: bool
    _encoding: Encoding
    #: None: the numbers as they are.
    _map: FeatureMap | None

    @classmethod
    def of(cls, log: LoggedData, features: Any, seed: int, *, constant: bool) -> StateNumbers:
        """Fit features on a log's states; None for numbers as they are."""
        design = Design(log.states)
        found = None
        if features is not None:
            found = FeatureMap.fit(features, design.take(design.sample()), seed)
        else:
            design.take(slice(0, len(design)))  # Checks them.
        name = "numbers" if found is None else found.name
        return cls(Form.of(log.states), name, constant, design.encoding, found)

    @property
    def width(self) -> int:
        """Number of features."""
        if self._map is None:
            return len(self._encoding.names)
        return self._map.width - (not self.constant)

    def of_log(self, log: LoggedData) -> Floats:
        """Make the features of every row of the log that they were fitted on."""
        return self.of_states(log.states.take(slice(0, log.n_rows)))

    def of_states(self, states: Any) -> Floats:
        """Make features, of shape (n, width).

        Raises
        ------
        InvalidPolicyError
            If states have another form than the log's, or hold a number that is not finite.
        """
        x = self._encoding.numbers(self.form.check(states))
        bad = np.logical_not(np.isfinite(x).all(axis=1))
        if bad.any():
            text = (
                f"{int(bad.sum()):,} of {len(bad):,} states hold NaN or an infinite number, first "
                f"at row {int(bad.argmax())}; mend the states"
            )
            raise InvalidPolicyError(text)
        if self._map is None:
            return x
        return self._map.transform(x) if self.constant else self._map.without_constant(x)


def read_states(
    log: LoggedData, features: Any, n_actions: int | None, seed: int, *, constant: bool
) -> tuple[StateTable, StateCodes] | StateNumbers:
    """Read a log's states as a table or as features, "auto" by what they are.

    Parameters
    ----------
    n_actions
        None where actions are a continuum, which has no table.

    Returns
    -------
    A table with the number of each row's state; or features.

    Raises
    ------
    InvalidLogError
        If the log has no state, or a state holds what cannot be read.
    """
    log.states.check()
    chosen = features
    if isinstance(features, str) and features == "auto":
        codes = StateCodes.at_most(log.states, MOST_STATES)
        chosen = choose(codes, n_actions, Design(log.states))
    if isinstance(chosen, str) and chosen == "one_hot":
        return StateTable.of(log.states)
    return StateNumbers.of(log, chosen, seed, constant=constant)
