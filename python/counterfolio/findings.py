"""`Finding`: something in a log that a careful reader would ask about; and the plainest of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from counterfolio import _core
from counterfolio.episodes import first_rows
from counterfolio.sources import column_label, column_values
from counterfolio.text import number, plural

if TYPE_CHECKING:
    from counterfolio.log import LoggedData

#: Below this many episodes no interval is worth much.
FEW_EPISODES = 50
#: Propensities below this give single rows enormous weights.
SMALL_PROPENSITY = 1e-4
#: Share of transitions that skip a step from which a column of timesteps is a clock.
CLOCK = 0.5
#: Share of the episodes that begin at the usual step.
COMMON_START = 0.1
#: The gravest first, as reports list them.
SEVERITIES = ("serious", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """Something in the log that a careful reader would ask about.

    Attributes
    ----------
    severity : {"serious", "warning", "info"}
        "serious" where results are wrong or mean nothing unless it is explained, "warning" where
        they may be, "info" where it is good to know.
    message, advice : str
        What was seen, and what to do.
    """

    severity: Literal["serious", "warning", "info"]
    message: str
    advice: str


@dataclass(frozen=True)
class Summary:
    """A column in a few numbers; `std` has ddof 1."""

    name: str
    min: float
    max: float
    mean: float
    std: float | None
    ones: int
    zeros: int


def summarise(column: _core.Column, name: str) -> Summary:
    """Summarise a column of finite numbers; a single row has no standard deviation."""
    low, high, mean, std, ones, zeros = _core.summarise_column(column, column_label(name))
    return Summary(name, low, high, mean, None if std != std else std, ones, zeros)


def basic_findings(
    log: LoggedData, reward: Summary, propensity: Summary | None, longest: int
) -> list[Finding]:
    """Find what the summaries and the episodes show."""
    return [
        *_reward_findings(log, reward),
        *_propensity_findings(log, propensity),
        *_episode_findings(log, longest),
    ]


def _reward_findings(log: LoggedData, reward: Summary) -> list[Finding]:
    if reward.min != reward.max:
        return []
    lengths = log._episodes.lengths()
    if reward.min != 0 and lengths.min() < lengths.max():
        return [
            Finding(
                "info",
                f"every reward is {number(reward.min)}",
                "the return of an episode then only counts its steps, which is right for a task "
                "of lasting long",
            )
        ]
    return [
        Finding(
            "serious",
            f"every reward is {number(reward.min)}",
            "no policy can be told from another by it: check that column "
            f'"{reward.name}" is the reward',
        )
    ]


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
                "serious",
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
    gaps = facts.get("gaps", 0)
    # A column that skips at most steps counts seconds, say, and not steps.
    if 0 < gaps < CLOCK * (log.n_rows - log.n_episodes):
        found.append(
            Finding(
                "warning",
                f'column "{roles["timestep"]}" skips steps at {plural(gaps, "row")}',
                "missing steps are missing factors of the weights; rewards are discounted by "
                "position, not by this column",
            )
        )
    found += _start_findings(log, gaps)
    flags = [name for name in (roles["terminated"], roles["truncated"]) if name is not None]
    if roles["terminated"] is not None and facts[roles["terminated"]] == 0:
        # Where there is a fixed number of steps, all are cut off, and that is as it should be.
        cut = roles["truncated"] is not None and facts[roles["truncated"]] == log.n_episodes
        found.append(
            Finding(
                "info" if cut else "warning",
                f'column "{roles["terminated"]}" is never true',
                f'"{roles["truncated"]}" cuts every episode off; returns are those up to there'
                if cut
                else "no episode reached its own end: check the column"
                + (
                    ""
                    if roles["truncated"]
                    else ", or name one that marks time limits as truncated"
                ),
            )
        )
    if flags and roles["episode_id"] is not None:
        last = np.cumsum(log._episodes.lengths()) - 1
        marked = [column_values(log._table.column(name))[last] != 0 for name in flags]
        ended = int(np.logical_or.reduce(marked).sum())
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


def _start_findings(log: LoggedData, gaps: int) -> list[Finding]:
    """Find episodes that begin later than most do: their first steps may be missing."""
    name = log.roles["timestep"]
    if name is None or gaps >= CLOCK * max(1, log.n_rows - log.n_episodes):
        return []
    column = log.plain_column(name)
    if column is None or not column.dtype.is_numeric():
        return []
    rows = first_rows(log._episodes)
    starts = column.to_numpy()[rows]
    values, counts = np.unique(starts, return_counts=True)
    usual = values[0]
    late = int(counts[1:].sum())
    if late == 0 or counts[0] < COMMON_START * len(starts):
        return []
    return [
        Finding(
            "warning",
            f'{plural(late, "episode")} of {len(starts):,} begin later than at "{name}" = '
            f"{usual:g}, first at row {int(rows[starts != usual][0])}",
            "if their first steps are missing, so are factors of their weights, and rewards are "
            "discounted too little: log whole episodes, or leave these out",
        )
    ]
