"""The results of the commands in every form."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl

from counterfolio.cli.output import Result
from counterfolio.display import difference_interval_name, draws_of_differences, interval_name
from counterfolio.summary import DOUBTED, names
from counterfolio.text import Column, aligned, chance, number, span, text_table, wrap

if TYPE_CHECKING:
    import counterfolio as cf
    from counterfolio.cli.config import Run

#: Policies on a shortlist of no stated size, and rows of a printed ranking.
SHORTLIST, SHOWN = 3, 40
#: Intervals that hang on a seed, which is told so that the same can be drawn again.
DRAWN = ("bootstrap", "hcope")


def of_report(report: cf.LogReport) -> Result:
    """Lay out the report of a log."""

    def frame() -> pl.DataFrame:
        keys = ("severity", "message", "advice")
        return pl.DataFrame(
            {key: [getattr(finding, key) for finding in report.findings] for key in keys},
            schema=dict.fromkeys(keys, pl.String),
        )

    return Result(text=lambda: [repr(report)], record=report.to_dict, frame=frame)


def of_evaluation(evaluation: cf.Evaluation) -> Result:
    """Lay out the estimates, and a verdict on each policy."""

    def record() -> dict[str, Any]:
        return {
            "estimates": evaluation.estimates.rows(named=True),
            "diagnostics": evaluation.diagnostics.table.rows(named=True),
            "settings": evaluation.settings,
        }

    def text() -> list[str]:
        estimates, s = repr(evaluation), evaluation.settings
        if s["interval"] in DRAWN:
            estimates += f"\nIntervals drawn with seed {s['seed']}."
        blocks = [estimates, repr(evaluation.diagnostics)]
        found = [f for f in evaluation.log_report.findings if f.severity == "serious"]
        if found:
            lines = [wrap(f"serious: {f.message}; {f.advice}.") for f in found]
            blocks.append("\n".join(["The log itself is in doubt:", *lines]))
        return blocks

    return Result(
        text=text,
        record=record,
        frame=lambda: evaluation.estimates,
        write_parquet=evaluation.to_parquet,
    )


def of_ranking(evaluation: cf.Evaluation, run: Run) -> Result:
    """Lay out the ranking, the comparison with the behavior policy and the shortlist.

    Raises
    ------
    InvalidArgumentError
        If the estimator was not evaluated, or the score or k is out of range.
    """
    estimator = evaluation._estimator(run.estimator or evaluation._headline())
    score: Any = run.score or "value"
    ranked = evaluation.ranking(estimator, score)
    compared = evaluation.compare(estimator=estimator)
    rows = evaluation.rows(estimator)
    verdicts = evaluation.diagnostics.table.select("policy", "verdict")
    doubted = verdicts.filter(pl.col("verdict") == DOUBTED)["policy"].to_list()
    among = [p for p in evaluation.policies if p not in doubted]
    finite = sum(
        math.isfinite(v) for p, v in zip(rows["policy"], rows["value"], strict=True) if p in among
    )
    k = min(SHORTLIST, finite) if run.k is None else run.k
    if run.k is not None and not 1 <= run.k <= len(evaluation.policies):
        evaluation.portfolio(run.k, estimator, score)  # says what k may be
    k = min(k, len(among))
    shortlist = evaluation.portfolio(k, estimator, score, among) if k else None
    listed = [] if shortlist is None else shortlist.policies
    table = (
        ranked.join(rows.drop("estimator", "n_episodes"), on="policy", maintain_order="left")
        .join(verdicts, on="policy", maintain_order="left")
        .join(
            compared.select(
                "policy",
                "difference",
                "p_better",
                *(
                    pl.col(name).alias(f"difference_{name}")
                    for name in ("standard_error", "ci_low", "ci_high")
                ),
            ),
            on="policy",
            maintain_order="left",
        )
        .with_columns(shortlisted=pl.col("policy").is_in(listed))
    )
    interval = interval_name(evaluation.settings)
    predicted = None if shortlist is None else shortlist.predictive_sharpe_ratio

    def text() -> list[str]:
        shown, s = table[:SHOWN], evaluation.settings
        by = "" if score == "value" else f", by the lower end of the {interval}"
        caption = f"Ranking by {estimator}{by}"
        more = f"\n{len(table) - SHOWN:,} more" if len(table) > SHOWN else ""
        blocks = [
            f"{caption}\n{text_table(_ranked(shown, interval))}{more}",
            f"Compared with the behavior policy's {number(evaluation.behavior_value)}, on the same "
            f"episodes\n"
            f"{text_table(_compared(shown, s))}{more}",
        ]
        if "p_best" in shown.columns and len(table) > 1:
            caption = f"Ranks over {s['n_resamples']:,} resampled logs (seed {s['seed']})"
            columns = _resampled(shown, k if k < len(table) else 1, s["n_resamples"])
            blocks.append(f"{caption}\n{text_table(columns)}{more}")
        elif s["n_resamples"] or s["interval"] in DRAWN:
            blocks.append(f"Drawn with seed {s['seed']}.")
        noted: dict[str, list[str]] = {}
        for policy, said in zip(shown["policy"], shown["note"], strict=True):
            if said is not None:
                noted.setdefault(said, []).append(policy)
        if noted:
            blocks.append("\n".join(wrap(f"{names(p)}: {said}") for said, p in noted.items()))
        left = f"Left out, since not to be trusted: {names(doubted)}. " if doubted else ""
        if shortlist is None:
            blocks.append(wrap(f"{left}No shortlist: no policy has an estimate to rely on."))
        else:
            blocks.append(f"Shortlist of {k}\n{wrap(left + shortlist.reason)}")
        return blocks

    def record() -> dict[str, Any]:
        fields = ("policies", "best", "mean", "worst", "std", "excess_return", "sharpe_ratio")
        return {
            "estimator": estimator,
            "score": score,
            "behavior_value": evaluation.behavior_value,
            "ranking": table.rows(named=True),
            "shortlist": None
            if shortlist is None
            else {
                "k": k,
                "left_out": doubted,
                **{name: getattr(shortlist, name) for name in fields},
                "predictive_sharpe_ratio": None if predicted is None else asdict(predicted),
                "reason": shortlist.reason,
            },
            "settings": evaluation.settings,
        }

    return Result(text=text, record=record, frame=lambda: table)


def _ranked(rows: pl.DataFrame, interval: str) -> list[Column]:
    show = aligned(rows["value"], rows["standard_error"])
    bounds = zip(rows["ci_low"], rows["ci_high"], strict=True)
    return [
        Column("rank", [str(rank) for rank in rows["rank"]]),
        Column("policy", rows["policy"].to_list(), left=True),
        Column("value", [show(x) for x in rows["value"]]),
        Column("std. error", [show(x) for x in rows["standard_error"]]),
        Column(interval, [f"{show(a)} to {show(b)}" for a, b in bounds]),
        Column("verdict", rows["verdict"].to_list()),
    ]


def _resampled(rows: pl.DataFrame, k: int, draws: int) -> list[Column]:
    ends = zip(rows["rank_low"], rows["rank_high"], strict=True)
    columns = [
        Column("rank", [str(rank) for rank in rows["rank"]]),
        Column("policy", rows["policy"].to_list(), left=True),
        Column("P(best)", [chance(p, draws) for p in rows["p_best"]]),
    ]
    if k > 1:
        columns.append(Column(f"P(top {k})", [chance(p, draws) for p in rows[f"p_top_{k}"]]))
    return [*columns, Column("ranks", [span(str(a), str(b)) for a, b in ends])]


def _compared(rows: pl.DataFrame, settings: dict[str, Any]) -> list[Column]:
    draws = draws_of_differences(settings)
    errors = rows["difference_standard_error"]
    show = aligned(rows["difference"], errors)
    bounds = zip(rows["difference_ci_low"], rows["difference_ci_high"], strict=True)
    return [
        Column("policy", rows["policy"].to_list(), left=True),
        Column("difference", [show(x) for x in rows["difference"]]),
        Column("std. error", [show(x) for x in errors]),
        Column(difference_interval_name(settings), [f"{show(a)} to {show(b)}" for a, b in bounds]),
        Column("P(better)", [chance(p, draws) for p in rows["p_better"]]),
    ]
