"""Models of what the behavior policy does, fitted on some rows and asked about others.

Each is asked for probabilities, or a density, of the rows `test` after it has seen the rows `train`
and no others: what it standardises by, too, is learnt from `train`.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.dense import SUM_TOLERANCE, blocks
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError, MissingExtraError
from counterfolio.models.features import FITTED_ROWS, FeatureMap
from counterfolio.text import cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from counterfolio.models.features import StateCodes

    Rows = NDArray[np.intp]

#: Rows of the action's overall frequency that every state has beside its own.
PSEUDO_ROWS = 1.0
#: Iterations of the default classifier.
MOST_ITERATIONS = 2_000
#: Residuals whose correlation matrix has a smaller eigenvalue have no density.
SINGULAR = 1e-10
#: A standard deviation this small beside the actions themselves is rounding.
NO_SPREAD = 1e-10
#: Letters of a model's warning that a note repeats.
WARNING_WIDTH = 160


@dataclass(frozen=True)
class Frequencies:
    """How often each action was taken in each state, drawn a little towards how often overall."""

    states: StateCodes
    actions: NDArray[np.integer[Any]]
    n_actions: int
    name: str = "frequencies by state"

    def probs(self, train: Rows, test: Rows, seed: int) -> NDArray[np.float64]:
        """Give the probabilities of all actions for the rows `test`; nothing is drawn by `seed`."""
        n_states, width = self.states.n_states, self.n_actions
        actions, states = self.actions[train], self.states.codes[train]
        overall = np.bincount(actions, minlength=width) / len(train)
        cells = states * width + actions
        counts = np.bincount(cells, minlength=n_states * width).reshape(n_states, width)
        rows = counts.sum(axis=1, keepdims=True)
        table = (counts + PSEUDO_ROWS * overall) / (rows + PSEUDO_ROWS)
        out: NDArray[np.float64] = table[self.states.codes[test]]
        return out

    def lacks(self, train: Rows, test: Rows) -> NDArray[np.bool_]:
        """Say which of the rows `test` took an action that `train` does not have in their state."""
        cells = self.states.codes * self.n_actions + self.actions
        return ~np.isin(cells[test], cells[train])


@dataclass(frozen=True)
class Classified:
    """Probabilities by a classifier on features of the state.

    Attributes
    ----------
    numbers
        (n_rows, width) of the states.
    warned
        What fits warned of, for notes.
    """

    model: Any
    features: Any
    numbers: NDArray[np.float64]
    actions: NDArray[np.integer[Any]]
    n_actions: int
    name: str
    warned: list[str] = field(default_factory=list)

    def probs(self, train: Rows, test: Rows, seed: int) -> NDArray[np.float64]:
        """Give the probabilities of all actions for the rows `test`; 0 of one not in `train`."""
        out = np.zeros((len(test), self.n_actions))
        # Numbered without gaps: some classifiers want that.
        present, of = np.unique(self.actions[train], return_inverse=True)
        if len(present) == 1:
            out[:, present[0]] = 1.0
            return out
        make, model = _fit(self, train, of, seed)
        classes = present[np.asarray(getattr(model, "classes_", np.arange(len(present))))]
        for block in blocks(len(test)):
            found = np.asarray(model.predict_proba(make(test[block])), dtype=np.float64)
            self._check(found, len(out[block]), len(classes))
            # A probability may exceed 1 by the rounding that the sum is allowed.
            out[block, classes] = np.minimum(found, 1.0)
        return out

    def _check(self, found: NDArray[np.float64], rows: int, classes: int) -> None:
        if found.shape != (rows, classes):
            text = (
                f"{self.name}: predict_proba returned shape {found.shape} for {rows} rows and "
                f"{classes} classes; it must give every class a column"
            )
            raise InvalidArgumentError(text)
        bad = ~((found >= 0).all(axis=1) & (np.abs(found.sum(axis=1) - 1) <= SUM_TOLERANCE))
        if bad.any():
            text = (
                f"{self.name}: predict_proba returned a negative number, NaN or probabilities that "
                f"do not sum to 1 within {SUM_TOLERANCE:g} for {int(bad.sum())} of {rows} rows"
            )
            raise InvalidArgumentError(text)


@dataclass(frozen=True)
class Gaussian:
    """A normal density around the mean that a regressor predicts, the same spread everywhere.

    The covariance is that of residuals. Those of a linear model are taken on the rows it learnt
    from, divided by their number less that of its features; those of any other regressor, which may
    remember its rows, on rows that it did not learn from: one half of the episodes learns about the
    other.
    """

    model: Any
    features: Any
    numbers: NDArray[np.float64]
    actions: NDArray[np.float64]
    linear: bool
    name: str
    action_name: str
    warned: list[str] = field(default_factory=list)

    def standardise(
        self, train: Rows, test: Rows, halves: NDArray[np.bool_], seed: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Say where the actions of the rows `test` lie in their densities.

        Parameters
        ----------
        halves
            (n_rows,) which half of the episodes a row belongs to.

        Returns
        -------
        Logarithm of the density, the same at its peak, and (n_test, d) residuals of each dimension
        in standard deviations.
        """
        predict, width = self._mean(train, seed)
        if self.linear:
            free = len(train) - width
            if free < 1:
                text = (
                    f"{self.name}: {len(train):,} rows cannot tell {width:,} features and a "
                    'spread; ask for features="linear", fewer state columns, or log more'
                )
                raise InvalidLogError(text)
            residuals = self.actions[train] - predict(train)
            covariance = residuals.T @ residuals / free
        else:
            parts = train[~halves[train]], train[halves[train]]
            if not all(map(len, parts)):
                text = (
                    "a regressor of one's own learns from one half of the episodes about the "
                    "other, and one half of a fold is empty; ask for fewer folds (cross_fit=...)"
                )
                raise InvalidArgumentError(text)
            residuals = np.concatenate(
                [
                    self.actions[about] - self._mean(learnt, seed)[0](about)
                    for learnt, about in (parts, parts[::-1])
                ]
            )
            covariance = residuals.T @ residuals / len(residuals)
        spread = np.sqrt(np.diag(covariance))
        self._check_spread(covariance, spread)
        root = np.linalg.cholesky(covariance)
        away = self.actions[test] - predict(test)
        white = np.linalg.solve(root, away.T)
        dimension = len(spread)
        peak = -np.log(np.diag(root)).sum() - dimension / 2 * math.log(2 * math.pi)
        return peak - (white**2).sum(axis=0) / 2, np.full(len(test), peak), away / spread

    def _mean(self, train: Rows, seed: int) -> tuple[Callable[[Rows], NDArray[np.float64]], int]:
        """Learn the mean: what predicts it, and its number of features, a constant among them."""
        learnt = self.actions[train]
        dimension = learnt.shape[1]
        make, model = _fit(self, train, learnt[:, 0] if dimension == 1 else learnt, seed)

        def predict(rows: Rows) -> NDArray[np.float64]:
            found = np.asarray(model.predict(make(rows)), dtype=np.float64)
            if found.size != len(rows) * dimension or not np.isfinite(found).all():
                text = (
                    f"{self.name}: predict returned NaN, an infinite number, or shape "
                    f"{found.shape} for {len(rows)} rows of {dimension} numbers"
                )
                raise InvalidArgumentError(text)
            return found.reshape(len(rows), dimension)

        return predict, make(train[:1]).shape[1] + 1

    def _check_spread(self, covariance: NDArray[np.float64], spread: NDArray[np.float64]) -> None:
        size = np.abs(self.actions).max(axis=0)
        flat = ~(spread > NO_SPREAD * size)
        singular = flat.any()
        if not singular:
            singular = np.linalg.eigvalsh(covariance / np.outer(spread, spread)).min() < SINGULAR
        if singular:
            text = (
                f'column "{self.action_name}": the actions have no spread that the state leaves '
                "open, or one of their numbers follows from the others, so they have no density; "
                "a deterministic behavior policy cannot be evaluated against"
            )
            raise InvalidLogError(text)


def _fit(
    learner: Classified | Gaussian, train: Rows, target: NDArray[Any], seed: int
) -> tuple[Callable[[Rows], NDArray[np.float64]], Any]:
    """Fit a copy of the model on some rows: what makes features of rows, and the fitted copy."""
    base = sklearn_base()
    numbers = learner.numbers
    few = np.unique(np.linspace(0, len(train) - 1, min(len(train), FITTED_ROWS)).astype(np.intp))
    features = FeatureMap.fit(learner.features, numbers[train[few]], seed)

    def make(rows: Rows) -> NDArray[np.float64]:
        return features.without_constant(numbers[rows])

    model = seeded(base.clone(learner.model, safe=False), seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(make(train), target)
    for said in dict.fromkeys(str(warning.message) for warning in caught):
        learner.warned.append(cut(" ".join(said.split()), WARNING_WIDTH))
    return make, model


def seeded(model: Any, seed: int) -> Any:
    """Give a model that draws at random, and names no seed of its own, this one."""
    if hasattr(model, "get_params"):
        free = {
            name: seed % 2**32
            for name, value in model.get_params().items()
            if value is None and name.split("__")[-1] == "random_state"
        }
        if free:
            model.set_params(**free)
    return model


def sklearn_base() -> Any:
    """Import scikit-learn.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import sklearn.base
    except ImportError as error:
        text = (
            'estimated propensities need scikit-learn; pip install "counterfolio[models]", or take '
            'features="one_hot", a table of frequencies that needs nothing'
        )
        raise MissingExtraError(text) from error
    return sklearn.base


def default_classifier() -> Any:
    """Make a multinomial logistic regression with a weak ridge, which keeps it finite."""
    sklearn_base()
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=MOST_ITERATIONS)


def default_regressor() -> Any:
    """Make a linear regression."""
    sklearn_base()
    from sklearn.linear_model import LinearRegression

    return LinearRegression()
