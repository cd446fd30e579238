"""Whether estimated propensities can be right: calibration, balance, overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Bins of equal count; rows of one predicted probability stay together.
N_BINS = 10
#: Effective rows below which the balance of an action is noise.
FEWEST_ROWS = 30
#: Standard errors beyond which an imbalance is more than chance.
TELLING = 4.0
#: Standardised differences from here on are called unbalanced (Austin 2009).
UNBALANCED = 0.1
#: Rows of the table of balance, the largest differences first.
MOST_LISTED = 50
#: A row has a rare action where the least probable one has less than this.
RARE = 0.01
#: What stands for the constant among the features.
CONSTANT = "(constant)"
#: Nominal coverages of central intervals.
COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)

RELIABILITY = {
    "bin": pl.Int64,
    "n": pl.Int64,
    "predicted": pl.Float64,
    "observed": pl.Float64,
    "standard_error": pl.Float64,
}
BALANCE = {
    "action": pl.String,
    "feature": pl.String,
    "difference": pl.Float64,
    "standard_error": pl.Float64,
    "effective_rows": pl.Float64,
}


@dataclass(frozen=True, eq=False)
class PropensityCalibration:
    """How estimated propensities agree with the log that they are for.

    Attributes
    ----------
    reliability : polars.DataFrame
        bin, n, predicted, observed, standard_error. Pairs of a row and an action, in 10 bins of
        equal count by predicted probability: its mean beside the share of pairs in which the action
        was taken, and the standard error of that share if the predictions are right. For continuous
        actions: the share of actions within central intervals, beside their nominal coverage.
    brier, brier_of_frequencies : float or None
        Mean over rows of sum_a (p(a|s) - 1{a taken})^2 (Brier 1950), and the same if the overall
        frequencies are predicted for every row.
    log_loss : float
        Mean over rows of -log p of the logged action (a density for continuous ones).
    expected_calibration_error, calibration_error_by_chance : float or None
        Mean of |predicted - observed| over the 10 bins of each action, weighted by count, averaged
        over the actions (class-wise; Kull et al. 2019), and what right predictions would show.
    balance : polars.DataFrame
        action, feature, difference, standard_error, effective_rows; at most 50 rows, the largest
        differences first. The difference is the mean of a feature over an action's rows, weighted
        by 1/b, less its mean over all rows, in standard deviations of the feature. Of "(constant)"
        it is sum 1{a taken}/b divided by the rows, less 1. Empty for continuous actions.
    balance_score : float or None
        The largest absolute difference; None where no action has 30 effective rows. Below 0.1 is
        usually called balanced (Austin 2009, Statistics in Medicine 28).
    imbalance : dict or None
        The row of `balance` that says most: the largest difference of 0.1 or more that is more than
        4 standard errors from 0, else the largest.
    overlap : dict
        "min", "q01", "q05", "q50" of the logged actions' propensities; "share_rare", the share of
        rows in which the least probable action has less than 0.01; "effective_rows", (sum 1/b)^2 /
        sum 1/b^2. The last two are None for continuous actions.
    kolmogorov_smirnov : list of float or None
        Of continuous actions, for each dimension: the largest distance between the distribution of
        the standardised residuals and the normal one.
    """

    reliability: pl.DataFrame
    brier: float | None
    brier_of_frequencies: float | None
    log_loss: float
    expected_calibration_error: float | None
    calibration_error_by_chance: float | None
    balance: pl.DataFrame
    balance_score: float | None
    imbalance: dict[str, Any] | None
    overlap: dict[str, float | None]
    kolmogorov_smirnov: list[float] | None


def of_probabilities(
    probs: NDArray[np.float64],
    actions: NDArray[np.integer[Any]],
    labels: Sequence[str],
    numbers: NDArray[np.float64],
    names: Sequence[str],
) -> PropensityCalibration:
    """Judge probabilities of all actions.

    Parameters
    ----------
    probs
        (n_rows, n_actions).
    actions
        (n_rows,) position of each row's action.
    labels, names
        Of the actions and of the features.
    numbers
        (n_rows, n_features) by which balance is judged.
    """
    n, width = probs.shape
    logged = probs[np.arange(n), actions]
    frequencies = np.bincount(actions, minlength=width) / n
    errors = [_of_action(probs[:, a], actions == a) for a in np.flatnonzero(frequencies)]
    off, chance = np.mean(errors, axis=0)
    balance = _balance(logged, actions, labels, numbers, names)
    inverse = logged.min() / logged  # in units of the largest: squares of 1/b may overflow
    return PropensityCalibration(
        reliability=_reliability(probs, actions),
        brier=float(np.mean((probs**2).sum(axis=1) - 2 * logged + 1)),
        brier_of_frequencies=float(1 - (frequencies**2).sum()),
        log_loss=float(-np.log(logged).mean()),
        expected_calibration_error=float(off),
        calibration_error_by_chance=float(chance),
        balance=balance[:MOST_LISTED],
        balance_score=float(balance["difference"].abs()[0]) if len(balance) else None,
        imbalance=_telling(balance),
        overlap={
            **_quantiles(logged),
            # Actions that the log does not know do not count.
            "share_rare": float((probs[:, frequencies > 0].min(axis=1) < RARE).mean()),
            "effective_rows": float(inverse.sum() ** 2 / (inverse**2).sum()),
        },
        kolmogorov_smirnov=None,
    )


def of_densities(
    density: NDArray[np.float64], residuals: NDArray[np.float64]
) -> PropensityCalibration:
    """Judge densities by their (n_rows, d) residuals, standardised, which should be normal."""
    n, dimension = residuals.shape
    erf = np.vectorize(math.erf, otypes=[np.float64])
    levels = erf(np.abs(residuals) / math.sqrt(2)).ravel()
    coverage = np.array(COVERAGES)
    distances = []
    for column in residuals.T:
        below = (1 + erf(np.sort(column) / math.sqrt(2))) / 2
        steps = np.arange(n + 1) / n
        distances.append(float(max((steps[1:] - below).max(), (below - steps[:-1]).max())))
    return PropensityCalibration(
        reliability=_frame(
            np.full(len(coverage), n * dimension),
            coverage,
            (levels[:, None] <= coverage).mean(axis=0),
            # The dimensions of a row may move together.
            np.sqrt(coverage * (1 - coverage) / n),
        ),
        brier=None,
        brier_of_frequencies=None,
        log_loss=float(-np.log(density).mean()),
        expected_calibration_error=None,
        calibration_error_by_chance=None,
        balance=pl.DataFrame(schema=BALANCE),
        balance_score=None,
        imbalance=None,
        overlap={**_quantiles(density), "share_rare": None, "effective_rows": None},
        kolmogorov_smirnov=distances,
    )


def _quantiles(propensity: NDArray[np.float64]) -> dict[str, float | None]:
    found = np.quantile(propensity, (0, 0.01, 0.05, 0.5))
    return dict(zip(("min", "q01", "q05", "q50"), found.tolist(), strict=True))


def _bins(predicted: NDArray[np.float64]) -> NDArray[np.intp]:
    """Give each prediction its bin, of equal counts; equal predictions stay together."""
    n = len(predicted)
    last = np.array([-(-n * k // N_BINS) - 1 for k in range(1, N_BINS)])
    last = last[last >= 0]
    edges = np.unique(np.partition(predicted, last)[last])
    return np.searchsorted(edges, predicted, side="left")


def _of_action(predicted: NDArray[np.float64], taken: NDArray[np.bool_]) -> tuple[float, float]:
    """Calibration error of one action, and its expectation were the predictions right."""
    of = _bins(predicted)
    gap = np.bincount(of, weights=predicted) - np.bincount(of, weights=taken)
    variance = np.bincount(of, weights=predicted * (1 - predicted))
    n = len(predicted)
    chance = math.sqrt(2 / math.pi) * np.sqrt(np.maximum(variance, 0)).sum() / n
    return float(np.abs(gap).sum() / n), float(chance)


def _reliability(probs: NDArray[np.float64], actions: NDArray[np.integer[Any]]) -> pl.DataFrame:
    predicted = probs.ravel()
    of = _bins(predicted)
    n = np.bincount(of)
    at = np.arange(len(actions)) * probs.shape[1] + actions
    taken = np.bincount(of[at], minlength=len(n))
    variance = np.bincount(of, weights=predicted * (1 - predicted))
    kept = n > 0
    n, taken, variance = n[kept], taken[kept], variance[kept]
    mean = np.bincount(of, weights=predicted)[kept] / n
    return _frame(n, mean, taken / n, np.sqrt(np.maximum(variance, 0)) / n)


def _frame(n: Any, predicted: Any, observed: Any, error: Any) -> pl.DataFrame:
    columns = (np.arange(len(n)), n, predicted, observed, error)
    return pl.DataFrame(dict(zip(RELIABILITY, columns, strict=True)), schema=RELIABILITY)


def _balance(
    logged: NDArray[np.float64],
    actions: NDArray[np.integer[Any]],
    labels: Sequence[str],
    numbers: NDArray[np.float64],
    names: Sequence[str],
) -> pl.DataFrame:
    """Tabulate the balance of every action with enough rows, the largest differences first."""
    n = len(actions)
    # Each action's weights 1/b in units of its largest, so that no square overflows.
    least = np.full(len(labels), np.inf)
    np.minimum.at(least, actions, logged)
    weights = least[actions] / logged

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(actions, weights=values, minlength=len(labels)).astype(np.float64)

    once, squared = total(weights), total(weights**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = once**2 / squared
    which = np.flatnonzero(effective >= FEWEST_ROWS)
    once, squared, least = once[which], squared[which], least[which]
    differences = [once / n / least - 1]
    errors = [np.sqrt(np.maximum(squared / n - (once / n) ** 2, 0) / n) / least]
    features = [CONSTANT]
    for name, values in zip(names, numbers.T, strict=True):
        spread = values.std()
        if not spread > 1e-12 * np.abs(values).max():
            continue
        standard = (values - values.mean()) / spread
        mean = total(weights * standard)[which] / once
        # Of a ratio of sums, by its influence values.
        square = total(weights**2 * standard**2)[which]
        cross = total(weights**2 * standard)[which]
        variance = square - 2 * mean * cross + mean**2 * squared
        differences.append(mean)
        errors.append(np.sqrt(np.maximum(variance, 0)) / once)
        features.append(name)
    off = np.ravel(differences)
    order = np.argsort(-np.abs(off), kind="stable")
    columns: dict[str, Any] = {
        "action": [labels[int(a)] for _ in features for a in which],
        "feature": [name for name in features for _ in which],
        "difference": off,
        "standard_error": np.ravel(errors),
        "effective_rows": np.tile(effective[which], len(features)),
    }
    return pl.DataFrame({n: pl.Series(n, c, BALANCE[n])[order] for n, c in columns.items()})


def _telling(balance: pl.DataFrame) -> dict[str, Any] | None:
    if not len(balance):
        return None
    off = balance["difference"].abs().to_numpy()
    telling = (off >= UNBALANCED) & (off > TELLING * balance["standard_error"].to_numpy())
    return balance.row(int(telling.argmax()), named=True)
