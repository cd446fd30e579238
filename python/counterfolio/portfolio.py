"""Shortlists of evaluated policies: what they may win, what they risk, how that will turn out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.arguments import check_k
from counterfolio.contrasts import is_rounding
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.prediction import PredictiveSharpeRatio, predict, taken_as_given
from counterfolio.ranking import scores_of
from counterfolio.sources import take
from counterfolio.text import (
    Column,
    aligned,
    html_table,
    number,
    plural,
    quoted,
    text_table,
    wrap,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.prediction import Replicates

#: Standard errors from which a difference is more than chance.
TELLING = 1.96
#: Columns of `Evaluation.estimates` that a shortlist shows.
SHOWN = ("value", "standard_error", "ci_low", "ci_high", "verdict", "note")


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
    k = check_k(k, count)
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
    predicted = None if replicates is None else predict(rows, replicates, order[:k])
    reason = _reason(table, behavior_value, std, variances, order[:k], int(values.is_nan().sum()))
    if predicted is not None:
        reason += f" {predicted.sentence()}"
    elif given := taken_as_given(rows["estimator"][0]):
        reason += f" {given}"
    if predicted is None and replicates is not None:
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


def _confidence(gain: float, error: float) -> str:
    """Say whether a difference is more than chance."""
    if math.isnan(error):
        return "and how sure that is cannot be said."
    sure = gain > TELLING * error
    verdict = "more than chance would make" if sure else "this log cannot tell the two apart"
    return f"with a standard error of {number(error, 2)}: {verdict}."
