"""Features of a state: numbers that models are linear in, or codes that a table is read by."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.dense import number_actions
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError, MissingExtraError
from counterfolio.sources import column_label
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from counterfolio.states import States

#: Sets of features by name; "one_hot" is a table, and "auto" chooses.
NAMED = ("auto", "one_hot", "linear", "polynomial", "fourier")
#: Different values of a text column beyond which it cannot stand in columns of its own.
MOST_LEVELS = 200
#: Random Fourier features.
N_FOURIER = 100
#: Rows that a transformer is fitted on, evenly taken.
FITTED_ROWS = 100_000
#: "auto" takes a table where there are at most so many states, and this many rows to a state and
#: action, or to a state where the state is one label; a polynomial up to so many numbers.
MOST_STATES = 5_000
ROWS_PER_CELL = 20
MOST_SQUARED = 10


def check_features(features: object) -> Any:
    """Take a name, or a transformer: an object with `transform`, or a callable.

    Raises
    ------
    InvalidArgumentError
        If it is neither.
    """
    known = isinstance(features, str) and features in NAMED
    if known or (not isinstance(features, str) and _as_function(features) is not None):
        return features
    if isinstance(features, str):
        text = f"unknown features {features!r}; {suggest(features, NAMED)}"
    else:
        text = (
            f"features must be one of {', '.join(NAMED)}, an object with transform(X), or a "
            f"callable, not {features!r}"
        )
    raise InvalidArgumentError(text)


def _as_function(transformer: object) -> Callable[[Any], Any] | None:
    if hasattr(transformer, "transform"):
        return transformer.transform  # type: ignore[no-any-return]
    return transformer if callable(transformer) else None


def name_of(features: object) -> str:
    """Name features for tables and settings."""
    if isinstance(features, str):
        return features
    return getattr(features, "__name__", type(features).__name__)


def choose(codes: StateCodes | None, n_actions: int | None, design: Design) -> str:
    """Say which features "auto" means for a log."""
    if codes is not None and n_actions is not None and codes.n_states <= MOST_STATES:
        rows = len(codes.codes)
        named = design.is_one_label and rows >= ROWS_PER_CELL * codes.n_states
        if named or rows >= ROWS_PER_CELL * codes.n_states * n_actions:
            return "one_hot"
    return "polynomial" if design.width <= MOST_SQUARED else "linear"


@dataclass(frozen=True)
class Encoding:
    """How states become numbers: numeric columns as they are, text and categories one-hot.

    It holds nothing of the log that it was made for, so that what was learned can be asked about
    other states.

    Attributes
    ----------
    names : list of str
        What each number is.
    """

    names: list[str]
    #: By column of text or categories; empty where all states are numbers.
    _levels: dict[str, list[str]]

    @classmethod
    def of(cls, states: States) -> Encoding:
        """Look at a log's states.

        Raises
        ------
        InvalidLogError
            If a column holds what no model can read, or too many different texts.
        """
        if states.numeric:
            names = [f"x{i}" for i in range(states.take(slice(0, 1)).shape[1])]
            return cls(states.names if len(names) == len(states.columns) else names, {})
        levels = {c.name: _levels(c) for c in states.columns if not _is_number(c)}
        names = []
        for column in states.columns:
            own = [f"{column.name}={level}" for level in levels.get(column.name, ())]
            names += own if column.name in levels else [column.name]
        return cls(names, levels)

    def numbers(self, block: Any) -> NDArray[np.float64]:
        """Encode some states, an array or a frame; text that the log did not have is all 0."""
        if isinstance(block, pl.DataFrame):
            return np.concatenate([self._encode(c) for c in block.get_columns()], axis=1)
        out: NDArray[np.float64] = block
        return out

    def _encode(self, column: pl.Series) -> NDArray[np.float64]:
        levels = self._levels.get(column.name)
        if levels is None:
            return column.to_numpy().astype(np.float64)[:, None]
        place = {level: i for i, level in enumerate(levels)}
        first, of = number_actions(column)
        which = np.array([place.get(str(column[int(i)]), len(levels)) for i in first])[of]
        out: NDArray[np.float64] = np.eye(len(levels) + 1)[which, :-1]
        return out


def _is_number(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or column.dtype == pl.Boolean


def _levels(column: pl.Series) -> list[str]:
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        text = (
            f"{column_label(column.name)} holds {column.dtype}, of which models know no "
            "features; name other state columns, or pass a transformer"
        )
        raise InvalidLogError(text)
    first, _ = number_actions(column)
    levels = sorted(str(column[int(i)]) for i in first)
    if len(levels) > MOST_LEVELS:
        text = (
            f"{column_label(column.name)} has {len(levels):,} different values, too many for a "
            'feature each; leave it out, or use features="one_hot" for a table of states'
        )
        raise InvalidLogError(text)
    return levels


class Design:
    """A log's states as numbers.

    Attributes
    ----------
    encoding : Encoding
    """

    def __init__(self, states: States) -> None:
        states.check()
        self._states = states
        self.encoding = Encoding.of(states)

    @property
    def names(self) -> list[str]:
        """What each number is."""
        return self.encoding.names

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.names)

    @property
    def is_one_label(self) -> bool:
        """Whether the state is a single integer, text or category, and so likely a name."""
        dtype = self._states.columns[0].dtype
        label = dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean)
        return len(self._states.columns) == 1 and label

    def __len__(self) -> int:
        return len(self._states)

    def take(self, rows: slice | NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Take some rows, of shape (n, width).

        Raises
        ------
        InvalidLogError
            If a number is infinite.
        """
        block = self.encoding.numbers(self._states.take(rows))
        if not np.isfinite(block).all():
            row = int((~np.isfinite(block)).any(axis=1).argmax())
            at = rows.start + row if isinstance(rows, slice) else int(rows[row])
            text = f"a state holds an infinite number, first at row {at}; mend or drop the row"
            raise InvalidLogError(text)
        return block

    def sample(self) -> NDArray[np.intp]:
        """Choose at most `FITTED_ROWS` rows, evenly spaced, for transformers to be fitted on."""
        count = min(len(self), FITTED_ROWS)
        return np.unique(np.linspace(0, len(self) - 1, count).astype(np.intp))


@dataclass(frozen=True)
class FeatureMap:
    """Features of numbers, fitted: a constant, and what a transformer makes of them.

    Attributes
    ----------
    name : str
    width : int
        Number of features, the constant included.
    """

    name: str
    width: int
    _center: NDArray[np.float64]
    _scale: NDArray[np.float64]
    _function: Callable[[Any], Any] | None
    #: Whether the transformer brings a constant of its own.
    _has_constant: bool = False

    @classmethod
    def fit(cls, features: Any, sample: NDArray[np.float64], seed: int) -> FeatureMap:
        """Fit features on some rows.

        Named features see numbers of mean 0 and standard deviation 1; a transformer of one's own
        sees them as they are, is cloned and fitted where it can be.

        Raises
        ------
        MissingExtraError
            If scikit-learn is needed and absent.
        InvalidArgumentError
            If a transformer returns no finite numbers, a row to a row.
        """
        width = sample.shape[1]
        if isinstance(features, str):
            center, scale = sample.mean(axis=0), sample.std(axis=0)
            # A constant column says nothing; rounding must not make much of it.
            scale = np.where(scale > 1e-12 * (1 + np.abs(center)), scale, np.inf)
            function = _named(features, (sample - center) / scale, seed)
        else:
            center, scale = np.zeros(width), np.ones(width)
            function = _fitted(features, sample)
        found = cls(name_of(features), 0, center, scale, function)
        made = found._apply(sample)
        constant = not isinstance(features, str) and bool((made == 1).all(axis=0).any())
        n = made.shape[1] + (not constant)
        return cls(name_of(features), n, center, scale, function, constant)

    def _apply(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        standard = (x - self._center) / self._scale
        if self._function is None:
            return standard
        made = self._function(standard)
        made = np.asarray(made.toarray() if hasattr(made, "toarray") else made)
        if made.ndim != 2 or len(made) != len(x) or made.dtype.kind not in "fiub":
            text = (
                f"features {self.name}: returned {made.dtype} of shape {made.shape} for {len(x)} "
                "rows; a row of numbers is wanted for each"
            )
            raise InvalidArgumentError(text)
        made = made.astype(np.float64, copy=False)
        if not np.isfinite(made).all():
            text = f"features {self.name}: NaN or infinite for some rows; mend the transformer"
            raise InvalidArgumentError(text)
        return made

    def without_constant(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Make the features of some rows for a model that has an intercept of its own."""
        return self._apply(x)

    def transform(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Make the features of some rows, of shape (n, width)."""
        made = self._apply(x)
        if self._has_constant:
            return np.ascontiguousarray(made)
        return np.concatenate([np.ones((len(x), 1)), made], axis=1)


def _named(name: str, sample: NDArray[np.float64], seed: int) -> Callable[[Any], Any] | None:
    if name == "linear":
        return None
    if name == "polynomial":
        return _with_products
    try:
        from sklearn.kernel_approximation import RBFSampler
    except ImportError as error:
        text = f'features "{name}" need scikit-learn; pip install "counterfolio[models]"'
        raise MissingExtraError(text) from error
    # The median distance between standardised rows is about the root of twice their number.
    width = max(1, sample.shape[1])
    fourier = RBFSampler(gamma=1 / (2 * width), n_components=N_FOURIER, random_state=seed % 2**32)
    return _Waves(fourier.fit(sample))


def _with_products(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add the squares, and the product of each two."""
    products = [x[:, i:] * x[:, i : i + 1] for i in range(x.shape[1])]
    return np.concatenate([x, *products], axis=1)


@dataclass(frozen=True)
class _Waves:
    """Random Fourier features; a class, so that what was learned with them can be pickled."""

    sampler: Any

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([x, self.sampler.transform(x)], axis=1)


def _fitted(transformer: Any, sample: NDArray[np.float64]) -> Callable[[Any], Any]:
    if hasattr(transformer, "fit"):
        transformer = copy.deepcopy(transformer)
        transformer.fit(sample)
    function = _as_function(transformer)
    assert function is not None
    return function


@dataclass(frozen=True)
class StateCodes:
    """The different states of a log, numbered.

    Attributes
    ----------
    codes
        (n_rows,) number of each row's state.
    n_states
        How many there are.
    """

    codes: NDArray[np.int64]
    n_states: int

    @classmethod
    def of(cls, states: States) -> StateCodes:
        """Give a number to each different row of the state columns."""
        found = cls.at_most(states, len(states))
        assert found is not None
        return found

    @classmethod
    def at_most(cls, states: States, most: int) -> StateCodes | None:
        """Give numbers to the states; None as soon as there are more than `most`."""
        states.check()
        codes = np.zeros(len(states), dtype=np.int64)
        for column in states.columns:
            if column.dtype.is_nested():
                width = column.dtype.shape[0] if isinstance(column.dtype, pl.Array) else None
                lists = column if width else column.list.to_array(len(column[0]))
                parts = list(lists.to_numpy().T)
            else:
                parts = [number_actions(column)[1]]
            for part in parts:
                _, of = np.unique(part, return_inverse=True)
                _, codes = np.unique(codes * (int(of.max()) + 1) + of, return_inverse=True)
                if int(codes.max()) >= most:
                    return None
        return cls(codes.astype(np.int64), int(codes.max()) + 1)

    def crossed(self, step: NDArray[np.int64]) -> StateCodes:
        """Tell the same state at different steps apart."""
        _, codes = np.unique(step * self.n_states + self.codes, return_inverse=True)
        return StateCodes(codes.astype(np.int64), int(codes.max()) + 1)
