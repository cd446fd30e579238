"""Classifiers of scikit-learn's kind: copied, fitted with weights, and asked about any states."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.exceptions import InvalidArgumentError, MissingExtraError
from counterfolio.models.behavior import MOST_ITERATIONS, seeded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.learners.reading import StateNumbers

    Floats = NDArray[np.float64]


def model_copy(model: Any, seed: int) -> Any:
    """Copy a model: scikit-learn's way where it is there, else whole."""
    try:
        from sklearn.base import clone
    except ImportError:
        return copy.deepcopy(model)
    return seeded(clone(model, safe=False), seed)


def classifier_copy(classifier: Any, who: str, seed: int) -> Any:
    """Copy a classifier; without one, make a multinomial logistic regression.

    Raises
    ------
    MissingExtraError
        If that needs scikit-learn and it is absent.
    """
    if classifier is not None:
        return model_copy(classifier, seed)
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        text = (
            f"{who} needs scikit-learn for its default classifier; pip install "
            '"counterfolio[models]", pass a classifier, or take features="one_hot", a table that '
            "needs nothing"
        )
        raise MissingExtraError(text) from error
    return LogisticRegression(max_iter=MOST_ITERATIONS)


@dataclass(frozen=True, eq=False, repr=False)
class ClassFunction:
    """Probabilities of all actions by a fitted classifier, 0 of those that it was not shown."""

    numbers: StateNumbers
    #: None where it was shown one action only.
    model: Any
    #: Column of each class.
    classes: NDArray[np.intp]
    width: int

    def __repr__(self) -> str:
        model = "one action" if self.model is None else type(self.model).__name__
        return f"<{model}, features {self.numbers.name}>"

    def __call__(self, states: Any) -> Floats:
        """Return a number for every action, of shape (n, n_actions)."""
        x = self.numbers.of_states(states)
        out = np.zeros((len(x), self.width))
        if self.model is None:
            out[:, self.classes[0]] = 1.0
        elif len(x):  # scikit-learn refuses to be asked for nothing.
            found = np.asarray(self.model.predict_proba(x), dtype=np.float64)
            if found.shape != (len(x), len(self.classes)):
                text = (
                    f"{type(self.model).__name__}: predict_proba returned shape {found.shape} for "
                    f"{len(x)} rows and {len(self.classes)} classes; it must give every class a "
                    "column"
                )
                raise InvalidArgumentError(text)
            out[:, self.classes] = found
        return out


def probabilities(
    model: Any,
    numbers: StateNumbers,
    x: Floats,
    codes: NDArray[np.integer[Any]],
    width: int,
    weight: Floats | None,
) -> ClassFunction:
    """Fit a classifier of the codes, and say which of the `width` columns its classes are.

    Raises
    ------
    InvalidArgumentError
        If there are weights and its fit takes none.
    """
    # Numbered without gaps: some classifiers want that.
    present, of = np.unique(codes, return_inverse=True)
    if len(present) == 1:
        return ClassFunction(numbers, None, present.astype(np.intp), width)
    if weight is None:
        model.fit(x, of)
    else:
        try:
            model.fit(x, of, sample_weight=weight)
        except (TypeError, ValueError) as error:
            if "sample_weight" not in str(error):
                raise
            text = (
                f"{type(model).__name__} takes no sample_weight in its fit, which scores are; pass "
                "a classifier that does"
            )
            raise InvalidArgumentError(text) from error
    which = np.asarray(getattr(model, "classes_", np.arange(len(present))))
    return ClassFunction(numbers, model, present[which].astype(np.intp), width)
