"""`BehaviorCloning`: a policy that does what the log did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import check_seed
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.learners.classifiers import classifier_copy, model_copy, probabilities
from counterfolio.learners.decisions import check_model, labels_of
from counterfolio.learners.functions import TableFunction
from counterfolio.learners.reading import StateNumbers, read_states
from counterfolio.log import check_log
from counterfolio.models.features import check_features
from counterfolio.models.folds import deal
from counterfolio.models.transitions import logged_actions
from counterfolio.policies import Gaussian, Probabilities, TruncatedGaussian
from counterfolio.sources import column_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

    Floats = NDArray[np.float64]

#: A standard deviation this small beside the actions themselves is rounding.
NO_SPREAD = 1e-10


@dataclass(frozen=True)
class BehaviorCloning:
    """Learn what the behavior policy does, as a policy of its own.

    Parameters
    ----------
    classifier
        Of discrete actions: an object with `fit` and `predict_proba`; copied. Default: with a table
        each action's frequency in each state, else multinomial logistic regression (scikit-learn).
    regressor
        Of continuous actions: an object with `fit` and `predict`, of the mean action; copied.
        Default: least squares.
    features
        As in `models.LinearQ`, and "auto", which also means the numbers as they are for a model of
        your own. Where actions are continuous "auto" is "polynomial" up to 10 numbers, else
        "linear".
    action_bounds
        (low, high) of continuous actions, each a number or one for each dimension: the clone is
        then a `TruncatedGaussian`. Default: none, a `Gaussian`.

    Raises
    ------
    InvalidArgumentError
        If a model lacks a method, features are unknown, or bounds are no bounds.

    Notes
    -----
    When it fails: it cannot be better than what it copies; what the behavior policy looked at must
    be among the state columns; and a policy that is a little off soon meets states that the log
    does not have. In these a table does what the log did most often overall.

    Of continuous actions the spread is that of residuals, the same in all states and independent in
    each dimension: of rows that least squares learned from, with the degrees of freedom that are
    left; of a regressor of one's own on rows that it did not learn from, one half of the episodes
    about the other. With `action_bounds` mean and spread are taken as those before truncation,
    which is wrong where much of the mass is cut off.
    """

    classifier: Any = None
    regressor: Any = None
    features: Any = "auto"
    action_bounds: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        check_features(self.features)
        check_model("classifier", self.classifier, "predict_proba", self.features)
        check_model("regressor", self.regressor, "predict", self.features)
        bounds: Any = self.action_bounds
        if bounds is None:
            return
        if not isinstance(bounds, tuple | list) or len(bounds) != 2:
            text = f"action_bounds must be (low, high), not {bounds!r}"
            raise InvalidArgumentError(text)
        TruncatedGaussian(len, 1.0, *bounds)  # Checks them.

    def fit(
        self, log: LoggedData, *, seed: int = 0
    ) -> Probabilities | Gaussian | TruncatedGaussian:
        """Learn from a log.

        Parameters
        ----------
        log
            With `state`. Neither rewards nor propensities are looked at.
        seed
            Of random features, models that draw, and halves of the log.

        Returns
        -------
        A policy: `policies.Probabilities`; for continuous actions `policies.Gaussian` or
        `policies.TruncatedGaussian`.

        Raises
        ------
        InvalidLogError
            If no state is named, or continuous actions have no spread.
        InvalidArgumentError
            If a model or bounds do not go with the type of the actions.
        MissingExtraError
            If scikit-learn is needed and absent.
        """
        check_log(log, "BehaviorCloning.fit")
        check_seed(seed)
        log.states.check()
        discrete = log.roles["action_type"] == "discrete"
        wrong = ("regressor", "action_bounds") if discrete else ("classifier",)
        for name in wrong:
            if getattr(self, name) is not None:
                kind = log.roles["action_type"]
                text = f"{name} does not go with {kind} actions; leave it out"
                raise InvalidArgumentError(text)
        return self._discrete(log, seed) if discrete else self._continuous(log, seed)

    def _features(self, own: Any, default: Any) -> Any:
        auto = isinstance(self.features, str) and self.features == "auto"
        if not auto:
            return self.features
        return default if own is None else None

    def _discrete(self, log: LoggedData, seed: int) -> Probabilities:
        actions, codes = labels_of(log), log.action_codes.codes
        chosen = self._features(self.classifier, "auto")
        read = read_states(log, chosen, len(actions), seed, constant=False)
        if isinstance(read, tuple):
            table, of = read
            cells = of.codes * len(actions) + codes
            counts = np.bincount(cells, minlength=table.n_states * len(actions))
            counts = counts.reshape(table.n_states, len(actions))
            counts = np.concatenate([counts, counts.sum(axis=0, keepdims=True)])
            rows = counts / counts.sum(axis=1, keepdims=True)
            return Probabilities(TableFunction(table, rows), actions)
        model = classifier_copy(self.classifier, "BehaviorCloning", seed)
        function = probabilities(model, read, read.of_log(log), codes, len(actions), None)
        return Probabilities(function, actions)

    def _continuous(self, log: LoggedData, seed: int) -> Gaussian | TruncatedGaussian:
        if isinstance(self.features, str) and self.features == "one_hot":
            text = (
                'features="one_hot" is a table of states and discrete actions; for continuous ones '
                'pass "linear", "polynomial", "fourier" or a transformer'
            )
            raise InvalidArgumentError(text)
        actions = logged_actions(log, slice(0, log.n_rows))
        least_squares = self.regressor is None
        chosen = self._features(self.regressor, "auto")
        numbers = _numbers(log, chosen, seed, constant=least_squares)
        x = numbers.of_log(log)
        if least_squares:
            theta, _, rank, _ = np.linalg.lstsq(x, actions, rcond=None)
            base: Callable[[Any], Any] = _LeastSquares(numbers, np.asarray(theta, np.float64))
            free = len(x) - int(rank)
            if free < 1:
                text = (
                    f"{len(x):,} rows cannot tell {int(rank):,} features and a spread; ask for "
                    'features="linear", fewer state columns, or log more'
                )
                raise InvalidLogError(text)
            spread = np.sqrt(((actions - x @ theta) ** 2).sum(axis=0) / free)
        else:
            base, spread = self._own(log, numbers, x, actions, seed)
        flat = ~(spread > NO_SPREAD * np.abs(actions).max(axis=0))
        if flat.any():
            text = (
                f"{column_label(log.roles['action'])}: {int(flat.sum())} of {len(flat)} dimensions "
                "of the actions have no spread that the state leaves open, so that they have no "
                "density; such a policy is a policies.DeterministicAction"
            )
            raise InvalidLogError(text)
        if self.action_bounds is None:
            return Gaussian(base, spread)
        return TruncatedGaussian(base, spread, *self.action_bounds)

    def _own(
        self, log: LoggedData, numbers: StateNumbers, x: Floats, actions: Floats, seed: int
    ) -> tuple[_Predicted, Floats]:
        """Fit a regressor of one's own: its mean, and the spread on rows it did not learn from."""
        if log.n_episodes < 2:
            text = (
                "a regressor of one's own learns from one half of the episodes about the other, "
                "and there is one episode; leave it out, or log more"
            )
            raise InvalidLogError(text)
        target = actions[:, 0] if actions.shape[1] == 1 else actions
        half = np.repeat(deal(log, 2, seed, 0), log._episodes.lengths()) == 0
        off = np.empty_like(actions)
        for about in (half, ~half):
            model = model_copy(self.regressor, seed)
            found = np.asarray(model.fit(x[~about], target[~about]).predict(x[about]))
            off[about] = actions[about] - found.reshape(-1, actions.shape[1])
        model = model_copy(self.regressor, seed).fit(x, target)
        return _Predicted(numbers, model), np.sqrt((off**2).mean(axis=0))


def _numbers(log: LoggedData, features: Any, seed: int, *, constant: bool) -> StateNumbers:
    """Make features for continuous actions, where there is no table."""
    if isinstance(features, str) and features == "auto":
        read = read_states(log, features, None, seed, constant=constant)
        assert isinstance(read, StateNumbers)
        return read
    return StateNumbers.of(log, features, seed, constant=constant)


@dataclass(frozen=True, eq=False)
class _LeastSquares:
    numbers: StateNumbers
    theta: Floats

    def __call__(self, states: Any) -> Floats:
        found: Floats = self.numbers.of_states(states) @ self.theta
        return found


@dataclass(frozen=True, eq=False)
class _Predicted:
    numbers: StateNumbers
    model: Any

    def __call__(self, states: Any) -> Any:
        return self.model.predict(self.numbers.of_states(states))
