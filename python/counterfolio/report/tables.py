"""The report's tables of estimates, differences, weights and settings."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from counterfolio.contrasts import is_rounding
from counterfolio.display import (
    ON_POLICY,
    difference_interval_name,
    draws_of_differences,
    interval_name,
)
from counterfolio.models.propensity_words import caption
from counterfolio.policies import BEHAVIOR
from counterfolio.summary import interval, verdict_of
from counterfolio.text import Column, aligned, chance, count, number, percent, span

if TYPE_CHECKING:
    from collections.abc import Callable

    from counterfolio.evaluation import Evaluation


#: A number in a note.
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def shown(show: Callable[[float], str]) -> Callable[[float], str]:
    """Say in words what is no number."""

    def say(x: float) -> str:
        if math.isnan(x):
            return "undefined"
        return show(x) if math.isfinite(x) else "infinite" if x > 0 else "-infinite"

    return say


def estimates(evaluation: Evaluation, estimator: str) -> list[Column]:
    """Give each policy a row, the best first, each estimator a column, the leading one in full."""
    lead = evaluation.rows(estimator)
    order = {p: i for i, p in enumerate(evaluation.ranking(estimator)["policy"])}
    rows = sorted(lead.rows(named=True), key=lambda r: order[r["policy"]])
    errors = lead["standard_error"].to_list()
    show = shown(aligned(lead["value"], errors))
    own = evaluation.estimates.row(len(evaluation.estimates) - 1, named=True)
    verdicts = verdict_of(evaluation)
    columns = [
        Column("policy", [*(r["policy"] for r in rows), f"{BEHAVIOR} ({ON_POLICY})"], left=True),
        Column("verdict", [*(verdicts[r["policy"]] for r in rows), ""], left=True),
        Column(estimator, [show(r["value"]) for r in (*rows, own)]),
        Column("std. error", [show(r["standard_error"]) for r in (*rows, own)]),
        Column(
            interval_name(evaluation.settings),
            [interval(show, r["ci_low"], r["ci_high"]) for r in (*rows, own)],
        ),
        Column("ESS", [count(r["effective_sample_size"]) for r in (*rows, own)]),
    ]
    for other in evaluation.estimators:
        if other != estimator:
            values = evaluation.values(other)
            columns.append(Column(other, [*(show(values[r["policy"]]) for r in rows), ""]))
    return columns


def notes(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Each note once, numbers as a range where they alone differ, with the rows it is about."""
    found: dict[str, list[str]] = {}
    rows: dict[str, dict[str, list[str]]] = {}
    for row in evaluation.estimates.rows(named=True):
        if row["note"] is None:
            continue
        alike = NUMBER.sub("0", row["note"])
        found.setdefault(alike, []).append(row["note"])
        rows.setdefault(alike, {}).setdefault(row["policy"], []).append(row["estimator"])
    return [
        (
            _together(said),
            "; ".join(f"{policy} ({', '.join(names)})" for policy, names in rows[alike].items()),
        )
        for alike, said in found.items()
    ]


def _together(notes: list[str]) -> str:
    """Make one of notes that differ in their numbers alone."""
    ranges = iter(
        span(min(column, key=_value), max(column, key=_value))
        for column in zip(*map(NUMBER.findall, notes), strict=True)
    )
    return NUMBER.sub(lambda _: next(ranges), notes[0])


def _value(text: str) -> float:
    return float(text.replace(",", ""))


def comparison(evaluation: Evaluation, estimator: str) -> list[Column]:
    """Tabulate the differences from the behavior policy, the best first."""
    rows = evaluation.compare(None, estimator=estimator).rows(named=True)
    draws = draws_of_differences(evaluation.settings)
    rows.sort(key=lambda r: -r["difference"] if not math.isnan(r["difference"]) else math.inf)
    values = evaluation.values(estimator)
    for row in rows:
        if is_rounding(values[row["policy"]], evaluation.behavior_value, row["standard_error"]):
            row |= dict.fromkeys(("difference", "standard_error", "ci_low", "ci_high"), 0.0)
    show = shown(aligned([r["difference"] for r in rows], [r["standard_error"] for r in rows]))

    return [
        Column("policy", [r["policy"] for r in rows], left=True),
        Column("difference", [show(r["difference"]) for r in rows]),
        Column("std. error", [show(r["standard_error"]) for r in rows]),
        Column(
            difference_interval_name(evaluation.settings),
            [interval(show, r["ci_low"], r["ci_high"]) for r in rows],
        ),
        Column("P(better)", [chance(r["p_better"], draws) for r in rows]),
        Column("", [r["conclusion"] or "unknown" for r in rows], left=True),
    ]


def verdicts(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Rows of the diagnostics, formatted."""

    def z(x: float | None) -> str:
        return "" if x is None else f"{round(x, 1) + 0.0:.1f}"  # no minus before a zero

    return [
        {
            **row,
            # What is reliable has no other reason than the figures of its row.
            "said": row["verdict"] != "reliable",
            "ess": count(row["effective_sample_size"]),
            "mean": number(row["mean_weight"]),
            "z_shown": z(row["z"]),
            "k_shown": "" if row["pareto_k"] is None else f"{row['pareto_k']:.2f}",
            "share": percent(row["max_weight_share"]),
        }
        for row in evaluation.diagnostics.table.rows(named=True)
    ]


def settings(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Say every argument as it was used."""

    def said(value: object) -> str:
        if isinstance(value, list):
            return ", ".join(map(said, value)) or "none"
        if isinstance(value, dict) and "step_joins" in value:  # of a fitted model
            parts = (f"{key} {said(x)}" for key, x in value.items() if key != "model")
            return f"{value['model']} ({', '.join(parts)})"
        if isinstance(value, dict) and "bandwidth" in value:  # that the log chose
            h = ", ".join(number(x) for x in value["bandwidth"])
            return f"{value['policy']} {h} (SLOPE, from {len(value['grid'])})"
        if isinstance(value, dict):  # of the estimated propensities, which have a section
            return caption(value)
        return "none" if value is None else str(value)

    return [(name.replace("_", " "), said(value)) for name, value in evaluation.settings.items()]
