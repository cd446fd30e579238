"""The log's report: what was checked, what the log holds, and what looks wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from counterfolio import _core
from counterfolio.text import Column, html_table, number, plural, text_table, wrap

if TYPE_CHECKING:
    from counterfolio.log import LoggedData

#: Below this many episodes no interval is worth much.
FEW_EPISODES = 50
#: Propensities below this give single rows enormous weights.
SMALL_PROPENSITY = 1e-4


@dataclass(frozen=True)
class Finding:
    """Something in the log that a careful reader would ask about.

    Attributes
    ----------
    severity : {"info", "warning"}
        "warning" where results are probably wrong if the finding is not intended.
    message, advice : str
        What was seen, and what to do.
    """

    severity: Literal["info", "warning"]
    message: str
    advice: str


@dataclass(frozen=True)
class Summary:
    """A column in a few numbers; `std` has ddof 1."""

    name: str
    min: float
    max: float
    mean: float
    std: float
    ones: int
    zeros: int


@dataclass(frozen=True, repr=False)
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
        What looks wrong.
    """

    n_rows: int
    n_episodes: int
    lengths: dict[str, float]
    summaries: list[Summary]
    checks: list[str]
    findings: list[Finding]

    def _caption(self) -> str:
        lengths = self.lengths
        spread = (
            f"{plural(int(lengths['min']), 'step')} each"
            if lengths["min"] == lengths["max"]
            else "{min:g} to {max:g} steps, median {median:g}, mean {mean:.4g}".format(**lengths)
        )
        rows, episodes = plural(self.n_rows, "row"), plural(self.n_episodes, "episode")
        return f"Log of {rows} in {episodes} ({spread})"

    def _columns(self) -> list[Column]:
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

    def _lines(self) -> list[str]:
        checked = "Checked: " + "; ".join(self.checks) + "."
        found = [f"{f.severity}: {f.message}; {f.advice}." for f in self.findings]
        return [checked, *(found or ["Nothing looks wrong."])]

    def __repr__(self) -> str:
        lines = [wrap(line) for line in self._lines()]
        return "\n".join([wrap(self._caption()), text_table(self._columns()), *lines])

    def _repr_html_(self) -> str:
        return html_table(self._columns(), self._caption(), self._lines())


def report(log: LoggedData) -> LogReport:
    """Summarise a log that has passed its checks."""
    lengths = log._episodes.lengths()
    roles = log.roles
    reward = _summary(log._table.column(roles["reward"]), roles["reward"])
    name = roles["propensity"] or "propensity"
    propensity = None if log._propensity is None else _summary(log._propensity, name)
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
        checks=_checks(log),
        findings=[
            *_reward_findings(reward),
            *_propensity_findings(log, propensity),
            *_episode_findings(log, int(lengths.max())),
        ],
    )


def _summary(column: _core.Column, name: str) -> Summary:
    return Summary(name, *_core.summarise_column(column, f'column "{name}"'))


def _checks(log: LoggedData) -> list[str]:
    roles = log.roles
    checks = ["no action is missing", "every reward is finite"]
    if log._propensity is not None:
        bound = "in (0, 1]" if roles["action_type"] == "discrete" else "above 0"
        checks.append(f"every propensity is {bound}")
    if roles["episode_id"] is not None:
        checks.append("no episode id comes back after its episode closed")
    if roles["timestep"] is not None:
        checks.append("timesteps increase within every episode")
    if roles["terminated"] is not None or roles["truncated"] is not None:
        checks.append("no episode goes on after its end")
    return checks


def _reward_findings(reward: Summary) -> list[Finding]:
    if reward.min == reward.max:
        return [
            Finding(
                "warning",
                f"every reward is {number(reward.min)}",
                "no policy can then be told from another unless episodes differ in length; check "
                f'column "{reward.name}"',
            )
        ]
    return []


def _propensity_findings(log: LoggedData, propensity: Summary | None) -> list[Finding]:
    if propensity is None:
        return [
            Finding(
                "warning",
                "the log has no propensities",
                "only the direct method (dm) can be used; log the probability of each action taken",
            )
        ]
    found = []
    share = propensity.ones / log.n_rows
    if propensity.ones == log.n_rows:
        found.append(
            Finding(
                "warning",
                "every propensity is 1",
                "a policy without randomness says nothing about other actions, and a column of "
                "ones often stands for propensities that were never logged",
            )
        )
    elif share > 0 and log.roles["action_type"] == "discrete":
        found.append(
            Finding(
                "info",
                f"{propensity.ones:,} of {log.n_rows:,} propensities are exactly 1",
                "on those rows the behavior policy explored nothing",
            )
        )
    if propensity.min < SMALL_PROPENSITY and log.roles["action_type"] == "discrete":
        found.append(
            Finding(
                "warning",
                f"the smallest propensity is {number(propensity.min, 2)}",
                "single rows may carry most of the weight; look at the effective sample size",
            )
        )
    return found


def _episode_findings(log: LoggedData, longest: int) -> list[Finding]:
    facts, roles = log._facts, log.roles
    found = []
    if log.n_episodes < FEW_EPISODES:
        found.append(
            Finding(
                "warning",
                f"the log holds only {plural(log.n_episodes, 'episode')}",
                "intervals from so few cannot be leaned on",
            )
        )
    if gaps := facts.get("gaps"):
        found.append(
            Finding(
                "warning",
                f'column "{roles["timestep"]}" skips steps at {plural(gaps, "row")}',
                "missing steps are missing factors of the weights; rewards are discounted by "
                "position, not by this column",
            )
        )
    flags = [name for name in (roles["terminated"], roles["truncated"]) if name is not None]
    if roles["terminated"] is not None and facts[roles["terminated"]] == 0:
        found.append(
            Finding(
                "warning",
                f'column "{roles["terminated"]}" is never true',
                "no episode reached its own end; check the column, or name one that marks time "
                "limits as truncated",
            )
        )
    if flags and roles["episode_id"] is not None:
        ended = sum(facts[name] for name in flags)
        if 0 < ended < log.n_episodes:
            found.append(
                Finding(
                    "info",
                    f"{plural(log.n_episodes - ended, 'episode')} end without "
                    + " or ".join(f'"{name}"' for name in flags),
                    "they count as they are, to their last logged row",
                )
            )
    if roles["episode_id"] is None and not flags and longest == 1:
        found.append(
            Finding(
                "info",
                "each row is an episode of its own",
                "for decisions in sequence name episode_id or terminated",
            )
        )
    return found
