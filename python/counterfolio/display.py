"""How a table of estimates is laid out: in full, or values alone where it would be too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from counterfolio.policies import BEHAVIOR
from counterfolio.text import Column, aligned, count, plural
from counterfolio.uncertainty import ANY

if TYPE_CHECKING:
    import polars as pl

#: Rows of a printed table.
SHOWN = 40
#: Estimator of the behavior policy's row.
ON_POLICY = "on_policy"


def caption(settings: dict[str, Any]) -> str:
    """Say what was evaluated."""
    s, source = settings, settings["propensity_source"]
    return (
        f"{plural(len(s['policies']), 'policy')}, "
        f"{plural(len(s['estimators']), 'estimator')}, {plural(s['n_episodes'], 'episode')}, "
        f"gamma {s['gamma']:g}"
        + (f", {source} propensities" if source in ("estimated", "balanced") else "")
    )


def interval_name(settings: dict[str, Any]) -> str:
    """Name the intervals, as the head of a column."""
    return f"{100 * settings['confidence_level']:g} % interval"


def difference_interval_name(settings: dict[str, Any]) -> str:
    """Name the intervals of differences: normal where bounds on a mean bound no difference."""
    name = interval_name(settings)
    return name if settings["interval"] in ANY else f"normal {name}"


def draws_of_differences(settings: dict[str, Any]) -> int | None:
    """How many replicates a probability of being better rests on; None for an approximation."""
    return settings["n_resamples"] if settings["interval"] == "bootstrap" else None


def layout(estimates: pl.DataFrame, settings: dict[str, Any]) -> tuple[list[Column], list[str]]:
    """Lay out `Evaluation.estimates`: columns, and the lines below them."""
    if len(estimates) > SHOWN:
        lines = ["Values alone; .estimates has their errors, intervals and notes."]
        if (hidden := len(settings["policies"]) - SHOWN) > 0:
            lines.append(f"{plural(hidden, 'more policy')} there.")
        if noted := int(estimates["note"].is_not_null().sum()):
            lines.append(f"{plural(noted, 'row')} there with a note: read it before the value.")
        return _values_alone(estimates, settings), lines
    notes = list(dict.fromkeys(estimates["note"].drop_nulls()))
    marks = [f"[{notes.index(note) + 1}]" if note else "" for note in estimates["note"]]
    lines = [f"[{i}] {note}" for i, note in enumerate(notes, 1)]
    return _in_full(estimates, marks, interval_name(settings)), lines


def _in_full(rows: pl.DataFrame, marks: list[str], interval: str) -> list[Column]:
    errors = rows["standard_error"].to_list()
    show = aligned(rows["value"], errors)
    bounds = zip(rows["ci_low"], rows["ci_high"], strict=True)
    columns = [
        Column("policy", rows["policy"].to_list(), left=True),
        Column("estimator", rows["estimator"].to_list(), left=True),
        Column("value", [show(x) for x in rows["value"]]),
        Column("std. error", [show(x) for x in errors]),
        Column(interval, [f"{show(a)} to {show(b)}" for a, b in bounds]),
        Column("ESS", [count(x) for x in rows["effective_sample_size"]]),
    ]
    return [*columns, Column("note", marks)] if any(marks) else columns


def _values_alone(estimates: pl.DataFrame, settings: dict[str, Any]) -> list[Column]:
    """Give each estimator a column of values."""
    own = estimates[:-1]
    show = aligned(own["value"], own["standard_error"])
    names = [*settings["policies"][:SHOWN], BEHAVIOR]
    blank = [""] * (len(names) - 1)
    size = len(settings["estimators"])
    values = own["value"].to_list()
    return [
        Column("policy", names, left=True),
        *(
            Column(name, [*(show(x) for x in values[i::size][:SHOWN]), ""])
            for i, name in enumerate(settings["estimators"])
        ),
        Column(ON_POLICY, [*blank, show(estimates["value"][-1])]),
    ]
