"""Rankings and shortlists of evaluated policies, from their estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import Column, html_table, number, suggest, text_table, wrap

#: Column of `Evaluation.estimates` that each score ranks by.
SCORES = {"value": "value", "lower": "ci_low"}


def _scores(rows: pl.DataFrame, score: str) -> pl.Series:
    if score not in SCORES:
        text = f"unknown score {score!r}; {suggest(score, SCORES)}"
        raise InvalidArgumentError(text)
    scores = rows[SCORES[score]]
    if score == "lower" and (scores == -math.inf).all():
        text = (
            'score="lower" ranks by the lower end of the intervals, which alternative="less" '
            'leaves open; evaluate with "two-sided" or "greater"'
        )
        raise InvalidArgumentError(text)
    return scores


def ranking(rows: pl.DataFrame, score: str) -> pl.DataFrame:
    """Rank the policies of one estimator; see `Evaluation.ranking`."""
    scores = _scores(rows, score)
    order = _core.rank(scores.to_numpy(), "first")
    return pl.DataFrame(
        {
            "policy": rows["policy"].gather(order),
            "rank": np.arange(1, len(order) + 1),
            "score": scores.gather(order),
        }
    )


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
        policy, rank, value, standard_error, ci_low, ci_high, note, of the shortlist.
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
    reason: str

    def _columns(self) -> list[Column]:
        bounds = zip(self.table["ci_low"], self.table["ci_high"], strict=True)
        return [
            Column("rank", [str(r) for r in self.table["rank"]]),
            Column("policy", self.table["policy"].to_list(), left=True),
            Column("value", [number(x) for x in self.table["value"]]),
            Column("std. error", [number(x, 2) for x in self.table["standard_error"]]),
            Column("interval", [f"{number(a)} to {number(b)}" for a, b in bounds]),
        ]

    def _caption(self) -> str:
        return f"Shortlist of {len(self.policies)} by {self.estimator}"

    def __repr__(self) -> str:
        return "\n".join([self._caption(), text_table(self._columns()), wrap(self.reason)])

    def _repr_html_(self) -> str:
        return html_table(self._columns(), self._caption(), [self.reason])


def portfolio(rows: pl.DataFrame, behavior_value: float, k: object, score: str) -> Portfolio:
    """Take the top k policies of one estimator; see `Evaluation.portfolio`.

    Raises
    ------
    InvalidArgumentError
        If k is outside 1..P, or one of the top k is undefined.
    """
    count = len(rows)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= count:
        text = f"k must be a whole number from 1 to {count}, the number of policies, not {k!r}"
        raise InvalidArgumentError(text)
    k = int(k)
    order = ranking(rows, score)
    values = rows["value"].gather(_core.rank(_scores(rows, score).to_numpy(), "first"))
    usable = int(values.is_finite().sum())
    if usable < k:
        text = f"only {usable} of {count} estimates are finite; a shortlist of {k} needs {k}"
        raise InvalidArgumentError(text)
    estimates = np.nan_to_num(values.to_numpy(), nan=0.0, posinf=0.0, neginf=0.0)
    top = _core.top_k(
        -np.arange(count, dtype=np.float64), estimates, behavior_value, ddof=0, ties="first"
    )
    table = (
        order.head(k)
        .select("policy", "rank")
        .join(rows, on="policy", how="left", maintain_order="left")
        .select("policy", "rank", "value", "standard_error", "ci_low", "ci_high", "note")
    )
    best, std = float(top["best"][k - 1]), float(top["std"][k - 1])
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
        reason=_reason(table, behavior_value, best, std, int(values.is_nan().sum())),
    )


def _reason(
    table: pl.DataFrame, behavior_value: float, best: float, std: float, undefined: int
) -> str:
    names = ", ".join(table["policy"])
    gain = best - behavior_value
    words = [
        f"Test {names}.",
        f"The best of them is estimated at {number(best)}, {number(abs(gain), 3)} "
        f"{'above' if gain > 0 else 'below'} the behavior policy's {number(behavior_value)}."
        if gain != 0
        else f"The best of them is estimated to equal the behavior policy's {number(best)}.",
    ]
    noise = math.sqrt(float((table["standard_error"] ** 2).mean()))  # type: ignore[arg-type]
    if len(table) > 1 and not math.isnan(noise):
        verdict = (
            "no more than noise would make: their order is not established"
            if std <= noise
            else "more than noise alone would make"
        )
        words.append(
            f"Their estimates spread by {number(std, 3)} (standard deviation) with standard errors "
            f"of about {number(noise, 3)}: {verdict}."
        )
    words.append(
        "These are plug-in figures: the best of several estimates is too high on average, and "
        "their spread contains their noise."
    )
    if undefined:
        words.append(f"{undefined} undefined estimates rank last.")
    return " ".join(words)
