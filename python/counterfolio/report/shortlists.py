"""The report's shortlist: sizes, ranks, what is predicted, and the judgement by true values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from counterfolio import selection
from counterfolio.assessment import assess_one
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.policies import BEHAVIOR
from counterfolio.report.tables import shown
from counterfolio.summary import names, trusted, verdict_of
from counterfolio.text import Column, aligned, chance, number, span

if TYPE_CHECKING:
    import polars as pl

    from counterfolio.evaluation import Evaluation
    from counterfolio.portfolio import Portfolio

#: Largest k of the tables over k.
MOST_K = 10


def take(evaluation: Evaluation, estimator: str) -> list[Portfolio]:
    """Take the shortlist of each size from the trusted estimates, as far as they are finite."""
    among = trusted(evaluation)
    lists = []
    for k in range(1, min(len(among), MOST_K) + 1):
        try:
            lists.append(evaluation.portfolio(k, estimator, among=among))
        except InvalidArgumentError:  # an estimate that is not finite has come into the top k
            break
    return lists


def sizes(evaluation: Evaluation, estimator: str, lists: list[Portfolio]) -> list[Column]:
    """Tabulate the estimates of the shortlists."""
    added = [x.policies[-1] for x in lists]
    verdicts = verdict_of(evaluation)
    show = aligned(
        evaluation.rows(estimator)["value"], evaluation.rows(estimator)["standard_error"]
    )
    return [
        Column("k", [str(len(x.policies)) for x in lists]),
        Column("adds", added, left=True),
        Column("its verdict", [verdicts[p] for p in added], left=True),
        Column("best", [show(x.best) for x in lists]),
        Column("mean", [show(x.mean) for x in lists]),
        Column("worst", [show(x.worst) for x in lists]),
        Column("spread", [show(x.std) if len(x.policies) > 1 else "" for x in lists]),
        Column("gain", [show(x.excess_return) for x in lists]),
        Column("gain / spread", [_ratio(x.sharpe_ratio) for x in lists]),
    ]


def predicted(lists: list[Portfolio]) -> list[Column]:
    """Tabulate what is predicted of the shortlists; nothing without replicates."""
    found = [(x, y) for x in lists if (y := x.predictive_sharpe_ratio) is not None]
    return [
        Column("k", [str(len(x.policies)) for x, _ in found]),
        Column("adds", [x.policies[-1] for x, _ in found], left=True),
        Column("P(is best)", [chance(y.p_best[x.policies[-1]], y.n_draws) for x, y in found]),
        Column("P(gain)", [chance(y.p_better, y.n_draws) for _, y in found]),
        Column("gain", [number(y.expected_gain, 3) for _, y in found]),
        Column("SharpeRatio@k", [_ratio(y.median) for _, y in found]),
        Column("5\u00a0% to 95\u00a0%", [span(_ratio(y.low), _ratio(y.high)) for _, y in found]),
        Column("of estimates", [_ratio(x.sharpe_ratio) for x, _ in found]),
    ]


def ranked(evaluation: Evaluation, estimator: str, k: int) -> list[Column]:
    """Tabulate ranks over resampled logs; nothing without replicates."""
    among = trusted(evaluation)
    if evaluation.replicates is None or not among:
        return []
    table = evaluation.ranking(estimator, among=among)
    k, draws = min(k, len(table)), len(evaluation.replicates)
    ends = zip(table["rank_low"], table["rank_high"], strict=True)
    return [
        Column("rank", [str(r) for r in table["rank"]]),
        Column("policy", table["policy"].to_list(), left=True),
        Column("P(best)", [chance(p, draws) for p in table["p_best"]]),
        *(
            [Column(f"P(top {k})", [chance(p, draws) for p in table[f"p_top_{k}"]])]
            if 1 < k < len(table)
            else []
        ),
        Column("ranks", [span(str(a), str(b)) for a, b in ends]),
    ]


def _ratio(x: float) -> str:
    """Three digits of it, no fewer than two of them decimals where it is small."""
    if math.isnan(x):
        return ""
    if math.isinf(x):
        return "∞"
    return f"{x:.3g}" if x >= 1e6 else f"{x:,.{2 if x < 10 else 1 if x < 100 else 0}f}"


def reason(evaluation: Evaluation, estimator: str, k: int) -> tuple[str, str]:
    """Say what the shortlist of k is, and who was left out; apart from it, what is predicted."""
    among = trusted(evaluation)
    left = [p for p in evaluation.policies if p not in among]
    words = (
        f"Left out, since their estimates are not to be trusted: {names(left)}. " if left else ""
    )
    if not among:
        return words + "There is nobody to choose from.", ""
    try:
        chosen = evaluation.portfolio(min(k, len(among)), estimator, among=among)
    except InvalidArgumentError as error:
        return f"{words}No shortlist of {k}: {error}.", ""
    found = chosen.predictive_sharpe_ratio
    said = "" if found is None else found.sentence()
    listed = f"The top {len(chosen.policies)}: {said.removeprefix('Predicted: ')}" if said else ""
    return words + chosen.reason.removesuffix(said).rstrip(), listed


def true_top_k(
    evaluation: Evaluation, truth: dict[str, float], behavior: float
) -> dict[str, pl.DataFrame]:
    """Judge every estimator's ranking by the true values."""
    return {
        name: selection.top_k(evaluation.values(name), truth, behavior)
        for name in evaluation.estimators
    }


def judged(
    evaluation: Evaluation,
    truth: dict[str, float],
    behavior: float,
    tables: dict[str, pl.DataFrame],
    k: int,
) -> dict[str, list[Column]]:
    """Tabulate the judgement: SharpeRatio@k over k, and the true values of the top k."""
    ranked = {**tables, "truth": selection.top_k(truth, truth, behavior)}
    ks = range(1, min(len(truth), MOST_K) + 1)
    at_k = [table.row(k - 1, named=True) for table in ranked.values()]
    show = shown(aligned(truth.values(), [r["std"] for r in at_k]))
    spread = []
    if evaluation.replicates is not None and k > 1:
        found = assess_one(evaluation, truth, behavior_value=behavior, k=k).table
        rows = found.filter(metric="sharpe_ratio", k=k).rows(named=True)
        said = [span(_ratio(r["resampling_low"]), _ratio(r["resampling_high"])) for r in rows]
        spread = [Column("over resampled logs", [*said, ""])]
    return {
        "over_k": [
            Column("k", [str(i) for i in ks if i > 1]),
            *(
                Column(name, [_ratio(table["sharpe_ratio"][i - 1]) for i in ks if i > 1])
                for name, table in ranked.items()
            ),
        ],
        "at_k": [
            Column("ranked by", list(ranked), left=True),
            *(Column(s, [show(r[s]) for r in at_k]) for s in ("best", "mean", "worst", "std")),
            Column("SharpeRatio@k", [_ratio(r["sharpe_ratio"]) for r in at_k]),
            *spread,
        ],
    }


def true_values(
    evaluation: Evaluation, truth: dict[str, float], behavior: float, estimator: str
) -> list[Column]:
    """Tabulate true values beside the estimates."""
    values = evaluation.values(estimator)
    order = sorted(evaluation.policies, key=lambda p: -truth[p])
    errors = evaluation.rows(estimator)["standard_error"]
    listed, show = [*order, BEHAVIOR], shown(aligned(truth.values(), errors))
    true = [*(truth[p] for p in order), behavior]
    estimated = [*(values[p] for p in order), evaluation.behavior_value]
    return [
        Column("policy", listed, left=True),
        Column("true value", [show(x) for x in true]),
        Column(estimator, [show(x) for x in estimated]),
        Column("error", [show(a - b) for a, b in zip(estimated, true, strict=True)]),
    ]
