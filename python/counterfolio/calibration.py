"""Whether propensities agree with how often actions were taken: the logging policy's calibration.

For right propensities and an action that was always available, 1{A_i = a} / b_i has mean 1, given
everything before row i. So its mean over all rows is 1 but for noise, whose variance adds up over
rows, also over those of one episode (martingale differences). A mean above 1 can only come from
propensities that are too small; one below 1 from propensities that are too large, or from rows in
which the action could not be taken. Where the behavior policy's probabilities of all actions are
known, the frequency of each action is compared with their sum, in both directions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio.dense import blocks, check_dense, number_actions, read_block
from counterfolio.exceptions import InvalidLogError
from counterfolio.findings import Finding
from counterfolio.sources import column_label, column_values
from counterfolio.text import cut, number, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

SCHEMA = {
    "action": pl.String,
    "n_rows": pl.Int64,
    "share": pl.Float64,
    "mean_propensity": pl.Float64,
    "inverse_mean": pl.Float64,
    "z": pl.Float64,
}
#: Standard errors from 1 that are more than chance, also for hundreds of actions.
TELLING = 5.0
#: Less than this from 1 is rounding of the propensities, however many rows show it.
NEGLIGIBLE = 0.01
#: Effective rows below which a mean, and variance below which a count, is far from normal.
FEWEST_ROWS = 30
FEWEST_VARIANCE = 25
#: From here on an action's propensities are put to the gambler's test, with these stakes; evidence
#: in powers of ten.
SUSPECT = 2.0
STAKES = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 0.97)
EVIDENCE = 4.0
#: Share of the rows beyond which so many different actions are none.
OWN_ACTION = 0.95
#: Names of actions or policies listed in one finding, and how long each may be.
LISTED = 5
NAME_WIDTH = 24


class Actions:
    """The logged actions, numbered, with how each one looks.

    Attributes
    ----------
    labels : list of str
    codes : numpy.ndarray
        (n_rows,) position of each row's action among the labels.
    """

    def __init__(self, logged: pl.Series) -> None:
        first, self.codes = number_actions(logged)
        self.labels = [str(logged[int(i)]) for i in first]

    @classmethod
    def of(cls, log: LoggedData) -> Actions | None:
        """Take a log's actions; None where they are continuous or no single values."""
        if log.roles["action_type"] != "discrete":
            return None
        logged = log.column(log.roles["action"])
        return None if logged.dtype.is_nested() or logged.dtype == pl.Object else cls(logged)

    def total(self, weights: Any = None) -> NDArray[Any]:
        """Sum of the weights over the rows of each action; their number without weights."""
        return np.bincount(self.codes, weights=weights, minlength=len(self.labels))


def listed(names: Sequence[str]) -> str:
    """List some names for a sentence."""
    shown = ", ".join(f'"{cut(name, NAME_WIDTH)}"' for name in names[:LISTED])
    return shown + (f" and {len(names) - LISTED:,} more" if len(names) > LISTED else "")


def action_table(actions: Actions, propensity: NDArray[np.float64] | None) -> pl.DataFrame:
    """Count each action, the commonest first, and say what its propensities imply."""
    rows, n = actions.total(), len(actions.codes)
    columns: dict[str, Any] = {"action": actions.labels, "n_rows": rows, "share": rows / n}
    if propensity is not None:
        with np.errstate(over="ignore"):
            inverse = 1 / propensity
            mean, square, cube = (actions.total(inverse**i) / n for i in (1, 2, 3))
        columns |= {
            "mean_propensity": actions.total(propensity) / rows,
            "inverse_mean": mean,
            "z": _deviate(mean, square, cube, n),
        }
    order = np.argsort(-rows, kind="stable")
    known = {name: pl.Series(name, values)[order] for name, values in columns.items()}
    empty = [None] * len(rows)
    return pl.DataFrame({n: known.get(n, empty) for n in SCHEMA}, schema_overrides=SCHEMA)


def _deviate(
    mean: NDArray[np.float64], square: NDArray[np.float64], cube: NDArray[np.float64], n: int
) -> NDArray[np.float64]:
    """Say how many standard errors means of n values are from 1, by their first three moments.

    With Hall's (1992) correction for skewness: without it a mean of rare large values, such as
    inverse propensities, looks too low far too often. It never says more than the plain deviate,
    nor the opposite.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = np.maximum(square - mean**2, 0)
        z = (mean - 1) / np.sqrt(variance / n)
        skewness = (cube - 3 * mean * square + 2 * mean**3) / variance**1.5 / math.sqrt(n)
        corrected = ((1 + skewness * z / 3) ** 3 - 1) / skewness + skewness / 6
    plain = np.where((variance > 1e-12 * square) & np.isfinite(z), z, 0.0)
    sign = np.sign(plain)
    # How far it is on the side of the plain one.
    corrected = np.where(np.isfinite(corrected), corrected, plain) * sign
    out: NDArray[np.float64] = sign * np.clip(corrected, 0, np.abs(plain))
    return out


def calibration_findings(log: LoggedData, actions: Actions, table: pl.DataFrame) -> list[Finding]:
    """Find propensities that disagree with how often actions were taken."""
    if len(actions.labels) == 1:
        return [
            Finding(
                "serious",
                f"only one action was ever logged, {listed(actions.labels)}",
                f'the log says nothing about any other: check column "{log.roles["action"]}"',
            )
        ]
    if len(actions.labels) > OWN_ACTION * log.n_rows and log.n_rows >= FEWEST_ROWS:
        return [
            Finding(
                "serious",
                f"{len(actions.labels):,} different actions in {log.n_rows:,} rows: nearly every "
                "row has one of its own",
                f'column "{log.roles["action"]}" looks like an id or a measurement; name the one '
                'that holds what was done, or say action_type="continuous"',
            )
        ]
    if log._propensity is None or (table["mean_propensity"] == 1).all():
        return []  # both are findings of their own
    propensity = column_values(log._propensity).astype(np.float64, copy=False)
    found = _too_small(log, actions, propensity, table)
    if log.roles["action_probs"] is not None:
        return found + _against_dense(log)
    return found or _too_large(actions, propensity)


def _too_small(
    log: LoggedData, actions: Actions, propensity: NDArray[np.float64], table: pl.DataFrame
) -> list[Finding]:
    """Find actions whose inverse propensities sum to more than the rows, by more than chance.

    By the capital of one who bets on it, which exceeds x on a sound log with a chance of at most
    1 / x, however many rows there are (see
    rust/core/src/diagnostics/wager.rs).
    """
    off = table["inverse_mean"].to_numpy()
    if not ((table["z"].to_numpy() > SUSPECT) & (off > 1 + NEGLIGIBLE)).any():
        return []
    n = log.n_rows
    logs = np.array(
        [
            n * math.log1p(-stake) + actions.total(np.log1p(stake / (1 - stake) / propensity))
            for stake in STAKES
        ]
    )
    top = logs.max(axis=0)
    capital = (top + np.log(np.exp(logs - top).mean(axis=0))) / math.log(10)
    inverse = actions.total(1 / propensity) / n
    which = np.flatnonzero(
        (capital > EVIDENCE + math.log10(len(capital))) & (inverse > 1 + NEGLIGIBLE)
    )
    if not len(which):
        return []
    order = which[np.argsort(-capital[which], kind="stable")]
    worst = int(order[0])
    names = [actions.labels[i] for i in order]
    return [
        Finding(
            "serious",
            f"propensities of {plural(len(names), 'action')} look too small: {listed(names)}; the "
            f'inverse propensities of "{cut(actions.labels[worst], NAME_WIDTH)}" sum to '
            f"{number(inverse[worst], 3)} times the rows, where 1 is expected at most",
            "this cannot be chance: check that each row has the propensity of the action it "
            "logged, from the policy that ran, and that no rows were filtered out or joined twice",
        )
    ]


def _too_large(actions: Actions, propensity: NDArray[np.float64]) -> list[Finding]:
    """Find that inverse propensities fall short of the number of actions, over all rows.

    Of one action they may: it may be rare in most contexts, and the rows that would say so, of
    tiny propensity, are few. Over all actions such rows are many.
    """
    inverse = 1 / propensity[propensity < 1]  # where it is 1 nothing else could be taken
    n, count = len(inverse), len(actions.labels)
    if n < FEWEST_ROWS:
        return []
    mean, square, cube = (np.array([(inverse**i).mean()]) for i in (1, 2, 3))
    effective = n * mean[0] ** 2 / square[0]
    z = _deviate(mean / count, square / count**2, cube / count**3, n)[0]
    sure = z < -TELLING or inverse.min() == inverse.max()
    if not sure or mean[0] >= (1 - NEGLIGIBLE) * count or effective < FEWEST_ROWS:
        return []
    return [
        Finding(
            "warning",
            f"propensities look too large: their inverses average {number(mean[0], 3)}, where "
            f"{count} actions would make {count}",
            "right if no more than so many actions could be taken at a time; otherwise they are "
            "not the probabilities of the logged actions, or rows are missing",
        )
    ]


def _against_dense(log: LoggedData) -> list[Finding]:
    """Compare how often each action was taken with the behavior policy's own probabilities."""
    name = log.roles["action_probs"]
    label = column_label(name)
    dense = check_dense(label, log.column(name), log.n_rows, InvalidLogError)
    codes = log.action_codes.codes
    width = read_block(dense, slice(0, 1)).shape[1]
    taken = np.bincount(codes, minlength=width)
    expected, variance = np.zeros(width), np.zeros(width)
    for block in blocks(log.n_rows):
        probs = read_block(dense, block)
        expected += probs.sum(axis=0)
        variance += (probs * (1 - probs)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(variance > 0, (taken - expected) / np.sqrt(variance), 0.0)
    enough = variance >= FEWEST_VARIANCE
    far = np.abs(taken - expected) > NEGLIGIBLE * expected
    which = np.flatnonzero((np.abs(z) > TELLING) & enough & far)
    if not len(which):
        return []
    worst = int(which[np.abs(z[which]).argmax()])
    labels = log.action_codes.labels or range(width)
    return [
        Finding(
            "serious",
            f"{label} does not fit how often actions were taken, for {len(which)} of {width}: "
            f'"{cut(str(labels[worst]), NAME_WIDTH)}" was taken {taken[worst]:,} times, where '
            f"{expected[worst]:,.0f} are expected (z {z[worst]:.3g})",
            "check that the probabilities are those of the policy that ran, and that their columns "
            "are in the order of the actions",
        )
    ]


def candidate_findings(
    log: LoggedData, actions: Actions, probs: Mapping[str, NDArray[Any]]
) -> list[Finding]:
    """Find logged actions that a candidate never tries, and candidates that are the logger."""
    rows = actions.total()
    found = []
    for policy, prob in probs.items():
        name = cut(policy, 2 * NAME_WIDTH)
        never = actions.total(prob > 0) == 0
        if never.any():
            share = rows[never].sum() / log.n_rows
            names = [actions.labels[i] for i in np.flatnonzero(never)]
            found.append(
                Finding(
                    "info",
                    f'policy "{name}" never takes {len(names)} of {len(rows)} logged actions '
                    f"({100 * share:.3g} % of rows): {listed(names)}",
                    "rows with them say nothing about it; right for a policy that avoids them, "
                    "wrong if its column was joined by another key",
                )
            )
        if log._propensity is not None and np.array_equal(prob, column_values(log._propensity)):
            found.append(
                Finding(
                    "info",
                    f'policy "{name}" has the propensities themselves as probabilities',
                    "its estimates are the behavior policy's mean: good as a check, no candidate",
                )
            )
    return found
