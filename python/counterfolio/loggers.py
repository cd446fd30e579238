"""Several loggers in one log: who made each episode, and what all of them together would have done.

Naive weights divide by the propensity of the logger that acted. Balanced ones divide by that of the
mixture of all loggers, so that no action is rare that any logger often takes: Agarwal et al. 2017,
"Effective evaluation using logged bandit feedback from multiple loggers"; Kallus, Saito & Uehara
2021, "Optimal off-policy evaluation from multiple logging policies".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.episodes import check_cluster, first_rows, number_clusters
from counterfolio.exceptions import InvalidArgumentError, InvalidLogError
from counterfolio.sources import as_column, column_label, column_values
from counterfolio.text import suggest
from counterfolio.threads import check_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from counterfolio.sources import Table

#: Name of the column that holds the mixture's propensities.
BALANCED = "balanced_propensity"
#: By how much, relatively, a logger's propensity may differ from the row's own.
TOLERANCE = 1e-5
SCHEMA = {
    "logger": pl.String,
    "n_rows": pl.Int64,
    "n_episodes": pl.Int64,
    "share": pl.Float64,
    "mean_return": pl.Float64,
}


@dataclass(frozen=True, eq=False)
class Loggers:
    """Who made each episode.

    Attributes
    ----------
    labels : list of str
        Names of the loggers, in the order in which they first appear.
    of : (n_episodes,) array
        The place of each episode's logger among them.
    """

    labels: list[str]
    of: NDArray[np.uint32]

    @classmethod
    def find(cls, table: Table, name: str, episodes: _core.Episodes) -> Loggers:
        """Take them from a column that was checked to name one to an episode."""
        column = table.series(name)
        of, _ = number_clusters(column, episodes)
        _, first = np.unique(of, return_index=True)
        named = column.gather(first_rows(episodes)[first])
        return cls([str(label) for label in named], of)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of the episodes that each logger made."""
        return np.bincount(self.of) / len(self.of)

    def table(self, episodes: _core.Episodes, returns: NDArray[np.float64]) -> pl.DataFrame:
        """Count rows and episodes by logger, and average their undiscounted returns."""
        n_episodes = np.bincount(self.of)
        columns = {
            "logger": self.labels,
            "n_rows": np.bincount(self.of, weights=episodes.lengths()).astype(np.int64),
            "n_episodes": n_episodes,
            "share": self.shares,
            "mean_return": np.bincount(self.of, weights=returns) / n_episodes,
        }
        return pl.DataFrame(columns, schema=SCHEMA)


def check_loggers(
    table: Table, roles: Mapping[str, Any], episodes: _core.Episodes
) -> _core.Column | None:
    """Raise unless each episode has one logger, whose propensities, if any are given, fit its rows.

    Returns
    -------
    The propensity of each row's own logger; None where loggers have no columns of propensities.

    Raises
    ------
    InvalidLogError
        If a column is missing or holds what it may not hold, a logger has no column of
        propensities, or its column is 0 in its own rows.
    InvalidArgumentError
        If propensities are given without `logger`, or to a logger that made no episode.
    """
    name = roles["logger"]
    if name is not None:
        check_cluster(table, name, episodes, "logger")
    if roles["logger_propensities"] is None:
        return None
    if name is None:
        text = "logger_propensities needs logger=..., the column that says who made each episode"
        raise InvalidArgumentError(text)
    loggers = Loggers.find(table, name, episodes)
    of = np.repeat(loggers.of, episodes.lengths())
    own = np.empty(len(of))
    for i, (label, column) in enumerate(_named(table, roles, loggers, len(of)).items()):
        rows = np.flatnonzero(of == i)
        own[rows] = values = column_values(table.column(column))[rows]
        impossible = values == 0
        if impossible.any():
            text = (
                f"{column_label(column)}: {int(impossible.sum()):,} of {len(rows):,} rows that "
                f'logger "{label}" made have its propensity 0, first at row '
                f"{int(rows[impossible.argmax()])}; what it did it did with a probability above 0: "
                f"mend the join, or {column_label(name)}"
            )
            raise InvalidLogError(text)
    if (logged := roles["propensity"]) is not None:
        _compare(own, column_values(table.column(logged)), logged, name)
    return as_column("propensity", own)


def _named(table: Table, roles: Mapping[str, Any], loggers: Loggers, n_rows: int) -> dict[str, str]:
    """Take the name of each logger's column, in the order of the loggers, and check the columns."""
    given = roles["logger_propensities"]
    if not isinstance(given, Mapping) or not given:
        text = f"logger_propensities must map loggers to columns, not {given!r}"
        raise InvalidArgumentError(text)
    # By text: a file keeps no other keys.
    by_label = {str(label): column for label, column in given.items()}
    for label in by_label:
        if label not in loggers.labels:
            text = (
                f'logger_propensities names "{label}", which made no episode; '
                f"{suggest(label, loggers.labels)}"
            )
            raise InvalidArgumentError(text)
    for i, label in enumerate(loggers.labels):
        if label not in by_label:
            made = loggers.of == i
            text = (
                f"{column_label(roles['logger'])}: {int(made.sum()):,} of {len(made):,} episodes "
                f'are by "{label}", first episode {int(made.argmax())}, and logger_propensities '
                "has no column for it; name one for every logger"
            )
            raise InvalidLogError(text)
    discrete = roles["action_type"] == "discrete"
    rule = "logger propensity" if discrete else "logger propensity density"
    for column in by_label.values():
        found, label = table.column(column), column_label(column)
        if len(found) != n_rows:
            text = f"{label} has {len(found)} rows, but the log has {n_rows}"
            raise InvalidLogError(text)
        _core.check_column(found, rule, label)
    return {label: by_label[label] for label in loggers.labels}


def _compare(own: NDArray[np.float64], logged: NDArray[Any], name: str, logger: str) -> None:
    """Raise where a row's propensity is another than its logger's."""
    off = np.abs(own - logged) > TOLERANCE * np.maximum(own, logged)
    if off.any():
        row = int(off.argmax())
        text = (
            f"{column_label(name)}: {int(off.sum()):,} of {len(off):,} rows have another "
            f"propensity than that of their logger, first at row {row} ({logged[row]:g} and "
            f"{own[row]:g}); mend the one that is wrong, or {column_label(logger)}; "
            "propensity=None takes the loggers' own"
        )
        raise InvalidLogError(text)


def balanced_propensity(
    table: Table, roles: Mapping[str, Any], episodes: _core.Episodes
) -> _core.Column:
    """Compute each row's propensity under the mixture of all loggers.

    Raises
    ------
    InvalidLogError
        If the log does not have the propensities of every logger, or they contradict what was
        logged.
    """
    if roles["logger_propensities"] is None:
        text = (
            "balanced weights need what every logger would have done in every row; pass "
            "logger=... and logger_propensities={...} to LoggedData.from_frame"
        )
        raise InvalidLogError(text)
    loggers = Loggers.find(table, roles["logger"], episodes)
    names = _named(table, roles, loggers, episodes.n_rows)
    columns = [(column_label(name), table.column(name)) for name in names.values()]
    shares = loggers.shares.tolist()
    found = _core.mixture_propensities(episodes, columns, shares, check_threads(None))
    lost = found < np.finfo(np.float64).tiny
    if lost.any():
        text = (
            f"{column_label(roles['logger'])}: {int(lost.sum()):,} of {len(lost):,} rows are all "
            f"but impossible under all loggers together, first at row {int(lost.argmax())}: until "
            "then another logger explains the episode better by a factor of 1e300; mend the "
            "propensities, or who made it"
        )
        raise InvalidLogError(text)
    return as_column(BALANCED, found)
