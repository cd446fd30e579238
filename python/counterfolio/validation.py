"""The log's report: what was checked, what the log holds, and what looks wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.calibration import (
    SCHEMA,
    Actions,
    action_table,
    calibration_findings,
    candidate_findings,
)
from counterfolio.dense import check_dense, gather
from counterfolio.exceptions import InvalidPolicyError
from counterfolio.findings import SEVERITIES, Finding, Summary, basic_findings, summarise
from counterfolio.loggers import SCHEMA as BY_LOGGER
from counterfolio.loggers import Loggers
from counterfolio.rows import row_findings
from counterfolio.segments import BY_SEGMENT, OVER_TIME, Returns, by_segment, over_time
from counterfolio.sources import as_column, column_label, column_values, take
from counterfolio.text import Column, html_table, number, percent, plural, text_table, wrap

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

#: Actions, and values of a segment column, that are printed.
SHOWN = 8
VALUES_SHOWN = 3
FEW_VALUES = 6
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, repr=False, eq=False)
class LogReport:
    """What a log holds, what was checked, and what looks wrong.

    Attributes
    ----------
    n_rows, n_episodes : int
        Size of the log.
    lengths : dict
        min, median, mean and max of the episodes' lengths.
    summaries : list of Summary
        Of reward and propensity.
    checks : list of str
        What holds, in words.
    findings : list of Finding
        What looks wrong, the gravest first.
    actions : polars.DataFrame or None
        The logged actions, the commonest first: action, n_rows, share, mean_propensity;
        inverse_mean, the sum of 1 / propensity over its rows divided by all rows, which is 1 where
        propensities are right and the action was always available; z, by how many standard errors
        that differs from 1. None for continuous actions.
    over_time : polars.DataFrame
        Mean undiscounted return in slices of as many episodes each: slice, first, last, n_episodes,
        mean_return, standard_error. Empty for fewer than 40 episodes.
    by_segment : polars.DataFrame
        The same by the values of some columns: column, value, n_episodes, mean_return,
        standard_error.
    loggers : polars.DataFrame or None
        Who made the log: logger, n_rows, n_episodes, share (of the episodes), mean_return. None
        where the log names no loggers.
    """

    n_rows: int
    n_episodes: int
    lengths: dict[str, float]
    summaries: list[Summary]
    checks: list[str]
    findings: list[Finding]
    actions: pl.DataFrame | None
    over_time: pl.DataFrame
    by_segment: pl.DataFrame
    loggers: pl.DataFrame | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give everything as lists, for JSON."""

        def lists(frame: pl.DataFrame | None) -> dict[str, list[Any]] | None:
            return None if frame is None else frame.to_dict(as_series=False)

        return {
            "n_rows": self.n_rows,
            "n_episodes": self.n_episodes,
            "lengths": self.lengths,
            "summaries": [asdict(x) for x in self.summaries],
            "checks": self.checks,
            "findings": [asdict(x) for x in self.findings],
            "actions": lists(self.actions),
            "over_time": lists(self.over_time),
            "by_segment": lists(self.by_segment),
            "loggers": lists(self.loggers),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> LogReport:
        """Make it again from `to_dict`."""
        actions, loggers = fields["actions"], fields.get("loggers")
        return cls(
            **{
                **fields,
                "summaries": [Summary(**x) for x in fields["summaries"]],
                "findings": [Finding(**x) for x in fields["findings"]],
                "actions": None if actions is None else pl.DataFrame(actions, schema=SCHEMA),
                "over_time": pl.DataFrame(fields["over_time"], schema=OVER_TIME),
                "by_segment": pl.DataFrame(fields["by_segment"], schema=BY_SEGMENT),
                "loggers": None if loggers is None else pl.DataFrame(loggers, schema=BY_LOGGER),
            }
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LogReport) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def caption(self) -> str:
        """Say how large the log is."""
        lengths = self.lengths
        spread = (
            f"{plural(int(lengths['min']), 'step')} each"
            if lengths["min"] == lengths["max"]
            else "{min:g} to {max:g} steps, median {median:g}, mean {mean:.4g}".format(**lengths)
        )
        rows, episodes = plural(self.n_rows, "row"), plural(self.n_episodes, "episode")
        return f"Log of {rows} in {episodes} ({spread})"

    def _summary_columns(self) -> list[Column]:
        s = self.summaries
        return [
            Column("column", [x.name for x in s], left=True),
            Column("min", [number(x.min) for x in s]),
            Column("mean", [number(x.mean) for x in s]),
            Column("max", [number(x.max) for x in s]),
            Column("std", [number(x.std) for x in s]),
            Column("zeros", [f"{x.zeros:,}" for x in s]),
            Column("ones", [f"{x.ones:,}" for x in s]),
        ]

    def _tables(self) -> list[tuple[str, list[Column]]]:
        """Captions and tables below the summary."""
        tables = []
        if self.actions is not None and len(self.actions) > 1:
            t = self.actions[:SHOWN]
            rest = f", {SHOWN} commonest" if len(self.actions) > SHOWN else ""
            columns = [
                Column("action", t["action"].to_list(), left=True),
                Column("rows", [f"{x:,}" for x in t["n_rows"]]),
                Column("share", [percent(x, 2) for x in t["share"]]),
                Column("propensity", [number(x, 3) for x in t["mean_propensity"]]),
                Column("sum 1/b : n", [number(x, 4) for x in t["inverse_mean"]]),
                Column("z", [number(None if x is None else round(x, 1), 3) for x in t["z"]]),
            ]
            weighed = " (sum 1/b : n should be 1)" if t["inverse_mean"].is_not_null().any() else ""
            caption = f"{plural(len(self.actions), 'action')}{rest}{weighed}"
            tables.append((caption, [c for c in columns if any(c.cells)]))
        if self.loggers is not None:
            t = self.loggers[:SHOWN]
            rest = f", the first {SHOWN}" if len(self.loggers) > SHOWN else ""
            columns = [
                Column("logger", t["logger"].to_list(), left=True),
                Column("rows", [f"{x:,}" for x in t["n_rows"]]),
                Column("episodes", [f"{x:,}" for x in t["n_episodes"]]),
                Column("share", [percent(x, 2) for x in t["share"]]),
                Column("mean return", [number(x) for x in t["mean_return"]]),
            ]
            tables.append((f"{plural(len(self.loggers), 'logger')}{rest}", columns))
        if len(self.by_segment):
            names = self.by_segment["column"].to_list()
            few = [i for i, n in enumerate(names) if names.count(n) <= FEW_VALUES]
            commonest = [i for i, n in enumerate(names) if i - names.index(n) < VALUES_SHOWN]
            t = take(self.by_segment, np.array(sorted({*few, *commonest})))
            rest = f" ({VALUES_SHOWN} commonest values where there are more than {FEW_VALUES})"
            rest = rest if len(t) < len(self.by_segment) else ""
            columns = [
                Column("column", t["column"].to_list(), left=True),
                Column("value", t["value"].to_list(), left=True),
                Column("episodes", [f"{x:,}" for x in t["n_episodes"]]),
                Column("mean return", [number(x) for x in t["mean_return"]]),
                Column("std. error", [number(x, 2) for x in t["standard_error"]]),
            ]
            tables.append((f"By segment{rest}", columns))
        return tables

    def _lines(self) -> list[str]:
        lines = []
        if len(self.over_time):
            means = self.over_time["mean_return"].to_list()
            low, high = min(means), max(means)
            step = (high - low) / (len(BARS) - 1)
            bars = "".join(BARS[round((m - low) / step) if step > 0 else 0] for m in means)
            first, last = self.over_time["first"][0], self.over_time["last"][-1]
            error = number(max(self.over_time["standard_error"]), 2)
            lines.append(
                f"Mean return from {first} to {last}: {bars} ({number(low, 3)} to "
                f"{number(high, 3)}, standard errors up to {error})"
            )
        lines.append("Checked: " + "; ".join(self.checks) + ".")
        found = [f"{f.severity}: {f.message}; {f.advice}." for f in self.findings]
        return [*lines, *(found or ["Nothing looks wrong."])]

    def __repr__(self) -> str:
        parts = [wrap(self.caption()), text_table(self._summary_columns())]
        for caption, columns in self._tables():
            parts += [wrap(caption), text_table(columns)]
        return "\n".join([*parts, *(wrap(line) for line in self._lines())])

    def _repr_html_(self) -> str:
        *tables, (caption, columns) = [(self.caption(), self._summary_columns()), *self._tables()]
        html = [html_table(columns, caption) for caption, columns in tables]
        return "".join([*html, html_table(columns, caption, self._lines())])


def report(
    log: LoggedData,
    policies: Mapping[str, object],
    segments: Sequence[str] | None,
    time: str | None,
) -> LogReport:
    """Look at a log that has passed its checks; see `LoggedData.inspect`."""
    probs = {name: _probs_of(log, name, policy) for name, policy in policies.items()}
    lengths = log._episodes.lengths()
    roles = log.roles
    reward = summarise(log._table.column(roles["reward"]), roles["reward"])
    name = roles["propensity"] or "propensity"
    propensity = None if log._propensity is None else summarise(log._propensity, name)
    findings = basic_findings(log, reward, propensity, int(lengths.max()))
    actions, table = Actions.of(log), None
    if actions is not None:
        logged = None
        if log._propensity is not None:
            logged = column_values(log._propensity).astype(np.float64, copy=False)
        table = action_table(actions, logged)
        findings += calibration_findings(log, actions, table)
        findings += candidate_findings(log, actions, probs)
    returns = Returns(log)
    slices, drift = over_time(log, returns, time)
    parts, differing = by_segment(log, returns, segments)
    findings += [*drift, *differing, *row_findings(log)]
    return LogReport(
        n_rows=log.n_rows,
        n_episodes=log.n_episodes,
        lengths={
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "mean": float(lengths.mean()),
            "max": int(lengths.max()),
        },
        summaries=[reward] if propensity is None else [reward, propensity],
        checks=_checks(log, probs),
        findings=sorted(findings, key=lambda f: SEVERITIES.index(f.severity)),
        actions=table,
        over_time=slices,
        by_segment=parts,
        loggers=_loggers(log, returns),
    )


def _loggers(log: LoggedData, returns: Returns) -> pl.DataFrame | None:
    """Count what each logger made, where the log names loggers."""
    name = log.roles["logger"]
    if name is None:
        return None
    return Loggers.find(log._table, name, log._episodes).table(log._episodes, returns.values)


def _probs_of(log: LoggedData, name: str, policy: object) -> NDArray[np.float64]:
    """Take pi(a_t|s_t) of a policy that is a column or an array, checked."""
    what = f'policy "{name}"'
    label = what
    if isinstance(policy, str):
        label = f"{what}: {column_label(policy)}"
        policy = log._table.series(policy)
    values = np.asarray(policy)
    if values.ndim == 2 and values.dtype.kind in "fiub":
        dense = check_dense(what, values, log.n_rows, InvalidPolicyError)
        return gather(log.action_codes, dense, what, InvalidPolicyError)
    if values.shape != (log.n_rows,) or values.dtype.kind not in "fiub":
        text = (
            f"{label} holds {values.dtype} of shape {values.shape}; pass one probability for "
            f"each of {log.n_rows} rows, or evaluate it and see evaluation.log_report"
        )
        raise InvalidPolicyError(text)
    discrete = log.roles["action_type"] == "discrete"
    rule = "probability" if discrete else "density"
    column = as_column(name, policy if isinstance(policy, pl.Series) else values)
    _core.check_column(column, rule, label)
    return values.astype(np.float64, copy=False)


def _checks(log: LoggedData, policies: Collection[str]) -> list[str]:
    roles = log.roles
    checks = ["no action is missing", "every reward is finite"]
    if log._propensity is not None:
        bound = "in (0, 1]" if roles["action_type"] == "discrete" else "above 0"
        checks.append(f"every propensity is {bound}")
    if roles["episode_id"] is not None:
        checks.append("no episode id comes back after its episode closed")
    if roles["timestep"] is not None:
        checks.append("timesteps increase within every episode")
    if roles["logger"] is not None:
        checks.append("every episode has one logger")
    if roles["terminated"] is not None or roles["truncated"] is not None:
        checks.append("no episode goes on after its end")
    if policies:
        bound = "in [0, 1]" if roles["action_type"] == "discrete" else "0 or more"
        checks.append(f"every probability of {plural(len(policies), 'policy')} is {bound}")
    return checks
