"""`Propensities`: what was estimated, and how far it can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from counterfolio.models.propensity_words import caption, columns, sentences
from counterfolio.text import html_table, plural, text_table, wrap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from counterfolio.models.propensity_calibration import PropensityCalibration


@dataclass(frozen=True, eq=False, repr=False)
class Propensities:
    """Estimated propensities of a log, and how far they can be believed.

    Made by `PropensityModel.fit`; `LoggedData.with_propensity` takes it.

    Attributes
    ----------
    propensity : numpy.ndarray
        (n_rows,) probability, or density, of each row's logged action.
    action_probs : numpy.ndarray or None
        (n_rows, n_actions) probabilities of all actions; None for continuous ones.
    calibration : PropensityCalibration
        Calibration, balance and overlap, with all figures and tables.
    model, features : str
        What was fitted, and on which features of the state.
    cross_fit : int or None
    n_repeats, seed : int
        As they were used.
    guessed : int
        Rows of a cross-fitted table whose action the other folds do not have in that state.
    seconds : float
        How long it took.
    notes : list of str
        What should be read before the propensities are used.
    """

    propensity: NDArray[np.float64]
    action_probs: NDArray[np.float64] | None
    calibration: PropensityCalibration
    model: str
    features: str
    cross_fit: int | None
    n_repeats: int
    seed: int
    guessed: int
    seconds: float
    notes: list[str]

    def summary(self) -> dict[str, Any]:
        """Return everything but the arrays, as JSON takes it; evaluations keep it.

        Returns
        -------
        dict
            model, features, cross_fit, n_repeats, seed, guessed, n_rows, n_actions, notes, the
            figures of `PropensityCalibration`, and reliability as a list of [predicted, observed,
            n].
        """
        c = self.calibration
        actions = None
        if self.action_probs is not None:
            actions = int((self.action_probs > 0).any(axis=0).sum())
        return {
            "model": self.model,
            "features": self.features,
            "cross_fit": self.cross_fit,
            "n_repeats": self.n_repeats,
            "seed": self.seed,
            "guessed": self.guessed,
            "n_rows": len(self.propensity),
            "n_actions": actions,
            "brier": c.brier,
            "brier_of_frequencies": c.brier_of_frequencies,
            "log_loss": c.log_loss,
            "expected_calibration_error": c.expected_calibration_error,
            "calibration_error_by_chance": c.calibration_error_by_chance,
            "balance_score": c.balance_score,
            "imbalance": c.imbalance,
            "overlap": dict(c.overlap),
            "kolmogorov_smirnov": c.kolmogorov_smirnov,
            "reliability": [
                list(row) for row in c.reliability.select("predicted", "observed", "n").rows()
            ],
            "notes": list(self.notes),
        }

    def _lines(self) -> list[str]:
        return [*sentences(self.summary()), *(f"Note: {note}." for note in self.notes)]

    def _caption(self) -> str:
        return f"Propensities of {plural(len(self.propensity), 'row')}: {caption(self.summary())}"

    def __repr__(self) -> str:
        table = text_table(columns(self.summary()))
        return "\n".join([wrap(self._caption()), table, *map(wrap, self._lines())])

    def _repr_html_(self) -> str:
        return html_table(columns(self.summary()), self._caption(), self._lines())
