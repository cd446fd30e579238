"""What SharpeRatio@k of a shortlist will turn out to be, predicted from replicates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from counterfolio import _core
from counterfolio import estimators as registry
from counterfolio.text import chance, number, percent, wrap

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray


@dataclass(frozen=True, repr=False)
class PredictiveSharpeRatio:
    """What SharpeRatio@k of a shortlist will turn out to be, predicted without true values.

    Replicates of the estimates spread by the log's noise beside the spread of the true values, and
    so overstate what is at stake. Here true values are drawn given the estimates: each is drawn
    towards the mean of all policies as far as the noise asks for (an empirical Bayes rule). The
    shortlist is never ranked again within a draw.

    Attributes
    ----------
    median, low, high : float
        Of SharpeRatio@k over the draws; low and high are its 5 % and 95 % quantiles. NaN for k = 1.
    p_better : float
        Probability that the best of the shortlist is better than the behavior policy.
    expected_gain : float
        Expectation of its gain over the behavior policy, 0 where there is none.
    p_best : dict of str to float
        For each policy on the shortlist the probability that it is the best of all ranked.
    signal : float or None
        Which part of the spread of the estimates is signal; None for fewer than four policies,
        whose draws are the replicates as they are.
    n_draws, n_resamples : int
        Replicates in which every estimate is defined, and all of them.
    taken_as_given : str or None
        That Q is not fitted again in replicates, in words; None where the estimator needs none.

    Notes
    -----
    There is no mean: the ratio's can be infinite. Where noise exceeds the spread of the true values
    and policies are few, `signal` and `expected_gain` are too high; where true values have heavy
    tails, [low, high] is too short (docs/uncertainty.md).
    """

    median: float
    low: float
    high: float
    p_better: float
    expected_gain: float
    p_best: dict[str, float]
    signal: float | None
    n_draws: int
    n_resamples: int
    taken_as_given: str | None = None

    def sentence(self) -> str:
        """Say it in words."""
        if math.isnan(self.median):
            ratio = ""
        elif math.isinf(self.low):
            ratio = (
                "its members are alike, so that its SharpeRatio@k is infinite where they beat the "
                "behavior policy, and "
            )
        else:
            high = "infinity" if math.isinf(self.high) else number(self.high, 3)
            ratio = (
                f"its SharpeRatio@k turns out between {number(self.low, 3)} and {high} in nine "
                f"cases of ten (median {number(self.median, 3)}), and "
            )
        signal = (
            "fewer than four policies are too few to tell signal from noise"
            if self.signal is None
            else f"{_share(self.signal)} of the spread of the estimates is signal"
        )
        best = "it" if len(self.p_best) == 1 else "the best of it"
        return (
            f"Predicted: {ratio}{best} beats the behavior policy with probability "
            f"{chance(self.p_better, self.n_draws)}, by {number(self.expected_gain, 3)} in "
            f"expectation ({signal}"
            + (
                f"; {self.n_draws:,} of {self.n_resamples:,} replicates define every estimate"
                if self.n_draws < self.n_resamples
                else ""
            )
            + ")."
            + (f" {self.taken_as_given}" if self.taken_as_given else "")
        )

    def __repr__(self) -> str:
        return wrap(self.sentence())


@dataclass(frozen=True)
class Replicates:
    """Of one estimator and some policies.

    Attributes
    ----------
    values
        (n_resamples, n_policies).
    behavior
        (n_resamples,).
    seed
        Of the draws.
    """

    values: NDArray[np.float64]
    behavior: NDArray[np.float64]
    seed: int


def taken_as_given(label: str) -> str | None:
    """Say that an estimator's Q is not fitted again, and what corrects it; None without a Q."""
    needs = set(registry.parse(label).needs)
    if not needs & {"q", "v"}:
        return None
    said = "Q is taken as given: neither standard errors nor replicates fit it again"
    if needs <= {"q", "v"}:
        return f"{said}, and no figure here has its error in it."
    return f"{said}; what was logged corrects its error."


def predict(
    rows: pl.DataFrame, replicates: Replicates, chosen: NDArray[np.int64]
) -> PredictiveSharpeRatio | None:
    """Predict from the policies with finite estimates; None where no replicate has them all."""
    values = rows["value"].to_numpy()
    usable = np.flatnonzero(np.isfinite(values))
    found = _core.predict_sharpe_ratio(
        np.ascontiguousarray(values[usable]),
        np.ascontiguousarray(replicates.values[:, usable]).ravel(),
        np.ascontiguousarray(replicates.behavior),
        np.searchsorted(usable, chosen).tolist(),
        replicates.seed,
    )
    if found["draws"] == 0:
        return None
    low, median, high = found["sharpe_ratio"]
    best = dict(zip(usable.tolist(), found["p_best"].tolist(), strict=True))
    return PredictiveSharpeRatio(
        median=median,
        low=low,
        high=high,
        p_better=found["p_better"],
        expected_gain=found["expected_gain"],
        p_best={rows["policy"][int(i)]: best[int(i)] for i in chosen},
        signal=found["signal"],
        n_draws=found["draws"],
        n_resamples=len(replicates.values),
        taken_as_given=taken_as_given(rows["estimator"][0]),
    )


def _share(signal: float) -> str:
    """Say how much is signal: never all of it."""
    return ">99 %" if signal > 0.995 else percent(signal, 0)
