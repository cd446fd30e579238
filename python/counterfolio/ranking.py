"""Rankings of evaluated policies, and how sure each rank is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.arguments import one_of
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: Column of `Evaluation.estimates` that each score ranks by.
SCORES = {"value": "value", "lower": "ci_low"}
RANKS = ("rank_low", "rank_high")


def places_of(among: Sequence[str] | None, policies: Sequence[str]) -> NDArray[np.int64]:
    """Find the places of the policies to choose from, in the order given to `evaluate`.

    Raises
    ------
    InvalidArgumentError
        If `among` is no list of names, or names a policy that was not evaluated.
    """
    names = policies if among is None else among
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        text = f"among must be names of policies, not {among!r}"
        raise InvalidArgumentError(text)
    for name in names:
        if name not in policies:
            text = f"among: policy {name!r} was not evaluated; {suggest(name, policies)}"
            raise InvalidArgumentError(text)
    return np.array([i for i, p in enumerate(policies) if p in names], dtype=np.int64)


def scores_of(rows: pl.DataFrame, score: str, alternative: str) -> pl.Series:
    """Take what policies are ranked by.

    Raises
    ------
    InvalidArgumentError
        If there is no such score, or intervals have no lower end.
    """
    column = SCORES[one_of("score", score, SCORES)]
    if score == "lower" and alternative == "less":
        text = (
            'score="lower" ranks by the lower end of the intervals, which alternative="less" '
            'leaves open; evaluate with "two-sided" or "greater"'
        )
        raise InvalidArgumentError(text)
    return rows[column]


def replicated(
    rows: pl.DataFrame, scores: pl.Series, replicates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Score the replicates of some rows; the distance of a lower end from the value stays."""
    if scores.name == SCORES["value"]:
        return replicates
    distances: NDArray[np.float64] = (rows["value"] - scores).to_numpy()
    return replicates - distances


def ranking(
    rows: pl.DataFrame,
    score: str,
    replicates: NDArray[np.float64] | None,
    settings: Mapping[str, Any],
) -> pl.DataFrame:
    """Rank the policies of one estimator; see `Evaluation.ranking`.

    Parameters
    ----------
    rows
        Of the estimator, in the order of the policies.
    replicates
        (n_resamples, n_policies) or None.
    """
    scores = scores_of(rows, score, settings["alternative"])
    order = _core.rank(scores.to_numpy(), "first")
    columns: dict[str, Any] = {
        "policy": rows["policy"].gather(order),
        "rank": np.arange(1, len(order) + 1),
        "score": scores.gather(order),
    }
    if replicates is not None:
        drawn = replicated(rows, scores, replicates)
        columns |= _under_replicates(drawn, order, settings["confidence_level"])
    types = {name: pl.Int64 if name in RANKS else pl.Float64 for name in list(columns)[2:]}
    return pl.DataFrame(columns, schema_overrides=types)


def _under_replicates(
    scores: NDArray[np.float64], order: NDArray[np.int64], level: float
) -> dict[str, Any]:
    """How often each policy is where, over replicates, in the order of the ranking.

    Equals share their ranks; replicates in which all are undefined are left out.
    """
    policies = scores.shape[1]
    tops = [f"p_top_{k}" for k in range(1, policies + 1)]
    names = ["p_best", "rank_low", "rank_high", *tops]
    counts, used = _core.rank_counts(np.ascontiguousarray(scores).ravel(), policies)
    if used == 0:
        return dict.fromkeys(names)
    below = counts.reshape(policies, policies).cumsum(axis=1)[order] / used
    below = np.minimum(below, 1.0)  # shares of ties add up to it but for rounding
    tail = (1 - level) / 2
    # The smallest ranks that are reached with these probabilities.
    low, high = ((below < p - 1e-12).sum(axis=1) + 1 for p in (tail, 1 - tail))
    return dict(zip(names, [below[:, 0], low, high, *below.T], strict=True))
