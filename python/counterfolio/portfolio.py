"""Shortlists of evaluated policies: what they may win, what they risk, how that will turn out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.arguments import is_whole
from counterfolio.contrasts import is_rounding
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.ranking import scores_of
from counterfolio.sources import take
from counterfolio.text import (
    Column,
    aligned,
    chance,
    html_table,
    number,
    percent,
    plural,
    quoted,
    text_table,
    wrap,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Standard errors from which a difference is more than chance.
TELLING = 1.96
#: Columns of `Evaluation.estimates` that a shortlist shows.
SHOWN = ("value", "standard_error", "ci_low", "ci_high", "verdict", "note")


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
        )

    def __repr__(self) -> str:
        return wrap(self.sentence())


@dataclass(frozen=True, repr=False, eq=False)
class Portfolio:
    """A shortlist for an online test, with the return and the risk that the estimates give it.

    These are plug-in numbers: estimates stand where `sharpe_ratio_at_k` has true values. The best
    of several estimates is too high on average and their spread contains their noise, so read
    `reason` before the ratio.

    Attributes
    ----------
    policies : list of str
        The top k, best first.
    table : polars.DataFrame
        policy, rank, value, standard_error, ci_low, ci_high, verdict (of `Diagnostics`), note, of
        the shortlist.
    estimator, score : str
        What they were ranked by.
    behavior_value : float
        The behavior policy's own mean return: the risk-free alternative.
    best, mean, worst, std : float
        Of the k estimates; `std` has ddof 0.
    excess_return : float
        max(best, behavior_value) - behavior_value: what the test may win.
    sharpe_ratio : float
        excess_return / std, SharpeRatio@k with estimates for true values; NaN for k = 1.
    predictive_sharpe_ratio : PredictiveSharpeRatio or None
        What the ratio will turn out to be, where there are replicates (`n_resamples`).
    reason : str
        In words: what was chosen, what it may win, and how much of the spread is noise.
    """

    policies: list[str]
    table: pl.DataFrame
    estimator: str
    score: str
    behavior_value: float
    best: float
    mean: float
    worst: float
    std: float
    excess_return: float
    sharpe_ratio: float
    predictive_sharpe_ratio: PredictiveSharpeRatio | None
    reason: str
    _interval: str

    def _columns(self) -> list[Column]:
        errors = self.table["standard_error"].to_list()
        show = aligned(self.table["value"], errors)
        bounds = zip(self.table["ci_low"], self.table["ci_high"], strict=True)
        return [
            Column("rank", [str(r) for r in self.table["rank"]]),
            Column("policy", self.table["policy"].to_list(), left=True),
            Column("value", [show(x) for x in self.table["value"]]),
            Column("std. error", [show(x) for x in errors]),
            Column(self._interval, [f"{show(a)} to {show(b)}" for a, b in bounds]),
            Column("verdict", [verdict or "" for verdict in self.table["verdict"]]),
        ]

    def _caption(self) -> str:
        return f"Shortlist of {len(self.policies)} by {self.estimator}"

    def __repr__(self) -> str:
        return "\n".join([self._caption(), text_table(self._columns()), wrap(self.reason)])

    def _repr_html_(self) -> str:
        return html_table(self._columns(), self._caption(), [self.reason])


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


def portfolio(
    rows: pl.DataFrame,
    behavior_value: float,
    variances: NDArray[np.float64],
    replicates: Replicates | None,
    k: object,
    score: str,
    alternative: str,
    interval: str,
) -> Portfolio:
    """Take the top k policies of one estimator; see `Evaluation.portfolio`.

    Raises
    ------
    InvalidArgumentError
        If k is outside 1..P, or one of the top k is undefined.
    """
    count = len(rows)
    if not is_whole(k) or not 1 <= k <= count:
        text = f"k must be a whole number from 1 to {count}, the number of policies, not {k!r}"
        raise InvalidArgumentError(text)
    k = int(k)
    scores = scores_of(rows, score, alternative)
    order = _core.rank(scores.to_numpy(), "first")
    values = rows["value"].gather(order)
    table = take(rows, order[:k])
    if unusable := [
        f'"{policy}" ({"undefined" if math.isnan(value) else value})'
        for policy, value in zip(table["policy"], table["value"], strict=True)
        if not math.isfinite(value)
    ]:
        text = (
            f"the top {k} {'holds' if k == 1 else 'hold'} estimates that are not finite: "
            f"{', '.join(unusable)}; name the others with among=, choose a smaller k, or an "
            "estimator that is defined for all"
        )
        raise InvalidArgumentError(text)
    if lacking := int(scores.gather(order[:k]).is_nan().sum()):
        verb = "has" if lacking == 1 else "have"
        text = (
            f"{lacking} of the top {k} {verb} no interval, and so no lower end to be ranked by: "
            'choose a smaller k, or score="value"'
        )
        raise InvalidArgumentError(text)
    estimates = np.nan_to_num(values.to_numpy(), nan=0.0, posinf=0.0, neginf=0.0)
    top = _core.top_k(
        -np.arange(count, dtype=np.float64), estimates, behavior_value, ddof=0, ties="first"
    )
    table = pl.DataFrame(
        {
            "policy": table["policy"],
            "rank": np.arange(1, k + 1),
            **{name: table[name] for name in SHOWN},
        }
    )
    best, std = float(top["best"][k - 1]), float(top["std"][k - 1])
    predicted = None if replicates is None else _predict(rows, replicates, order[:k])
    reason = _reason(table, behavior_value, std, variances, order[:k], int(values.is_nan().sum()))
    if predicted is not None:
        reason += f" {predicted.sentence()}"
    elif replicates is not None:
        reason += " Nothing is predicted: no replicate says something of every estimate."
    return Portfolio(
        policies=table["policy"].to_list(),
        table=table,
        estimator=rows["estimator"][0],
        score=score,
        behavior_value=behavior_value,
        best=best,
        mean=float(top["mean"][k - 1]),
        worst=float(top["worst"][k - 1]),
        std=std,
        excess_return=max(best, behavior_value) - behavior_value,
        sharpe_ratio=float(top["sharpe_ratio"][k - 1]),
        predictive_sharpe_ratio=predicted,
        reason=reason,
        _interval=interval,
    )


def _predict(
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
    )


def _reason(
    table: pl.DataFrame,
    behavior_value: float,
    std: float,
    variances: NDArray[np.float64],
    chosen: NDArray[np.int64],
    undefined: int,
) -> str:
    """Say in words what was chosen, what it may win, and how much of the spread is noise."""
    values = table["value"].to_numpy()
    leader = int(values.argmax())
    gain = values[leader] - behavior_value
    # Of the difference on the same episodes, in which what both share cancels.
    error = math.sqrt(variances[chosen[leader], -1])
    best = f"The best of them, {quoted(table['policy'][leader])}, is estimated"
    words = [
        f"Top {len(table)}: {', '.join(map(quoted, table['policy']))}.",
        f"{best} as the behavior policy itself, {number(behavior_value)}."
        if is_rounding(values[leader], behavior_value, error)
        else f"{best} {number(abs(gain), 3)} {'above' if gain >= 0 else 'below'} the behavior "
        f"policy's {number(behavior_value)}, " + _confidence(abs(gain), error),
    ]
    if len(table) > 1 and not math.isnan(error):
        # E of the estimates' variance if all true values were equal: half the mean variance of
        # differences, over all ordered pairs.
        block = variances[np.ix_(chosen, chosen)]
        noise = math.sqrt((block.sum() - np.trace(block)) / 2) / len(table)
        words.append(
            "Their estimates are the same on this log."
            if std == noise == 0
            else f"Their estimates spread by {number(std, 3)} (standard deviation), where noise "
            f"alone would make about {number(noise, 3)}: "
            + (
                "their order is not established."
                if std <= TELLING * noise
                else "they differ in more than noise."
            )
        )
    words.append(
        "These are plug-in figures: the best of several estimates is too high on average"
        + (", and their spread contains their noise." if len(table) > 1 else ".")
    )
    doubtful = [
        quoted(policy)
        for policy, verdict in zip(table["policy"], table["verdict"], strict=True)
        if verdict == "do not trust"
    ]
    if doubtful:
        # First, so that no figure is read before it.
        words.insert(
            1,
            f"Do not test {' or '.join(doubtful)} on this evidence: the diagnostics say not to "
            f"trust {'it' if len(doubtful) == 1 else 'them'}.",
        )
    if undefined:
        words.append(f"{plural(undefined, 'policy')} without a defined estimate ranked last.")
    return " ".join(words)


def _share(signal: float) -> str:
    """Say how much is signal: never all of it."""
    return ">99 %" if signal > 0.995 else percent(signal, 0)


def _confidence(gain: float, error: float) -> str:
    """Say whether a difference is more than chance."""
    if math.isnan(error):
        return "and how sure that is cannot be said."
    sure = gain > TELLING * error
    verdict = "more than chance would make" if sure else "this log cannot tell the two apart"
    return f"with a standard error of {number(error, 2)}: {verdict}."
