"""`Distribution`: how the return is distributed under each policy, and statistics of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.display import ON_POLICY
from counterfolio.distribution_bounds import bounds
from counterfolio.distribution_values import as_evaluation
from counterfolio.intervals import Ends, from_errors, from_replicates
from counterfolio.policies import BEHAVIOR
from counterfolio.progress import progress
from counterfolio.return_statistics import DEFAULT_ALPHA, STATISTICS, at_levels, check_statistic
from counterfolio.text import Column, html_table, number, text_table, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from counterfolio.evaluation import Evaluation
    from counterfolio.task import Task

#: Estimators, those first that plots and the report show rather than others.
HEADLINE = ("cd_sntdr", "cd_sntis", "cd_tdr", "cd_tis", "cd_dm")
_POINT_MASS = "a point mass at v_0 for each episode: the spread between initial states only"
_SCHEMA = {
    "policy": pl.String,
    "estimator": pl.String,
    "statistic": pl.String,
    "alpha": pl.Float64,
    "value": pl.Float64,
    "standard_error": pl.Float64,
    "ci_low": pl.Float64,
    "ci_high": pl.Float64,
    "note": pl.String,
}


@dataclass(frozen=True, repr=False, eq=False)
class Distribution:
    """How the return is distributed under each policy, by each estimator.

    Attributes
    ----------
    policies, estimators : list of str
        In the order given; the behavior policy's own returns come last, as ("behavior",
        "on_policy").
    settings : dict
        Every argument as used.
    """

    settings: dict[str, Any]
    _core: _core.Distribution
    _task: Task
    #: Replicates that were asked for last, and of what.
    _drawn: dict[str, Any] = field(default_factory=dict)

    @property
    def policies(self) -> list[str]:
        """Names of the policies, in the order given."""
        return list(self.settings["policies"])

    @property
    def estimators(self) -> list[str]:
        """Names of the estimators, in the order given."""
        return list(self.settings["estimators"])

    @property
    def headline(self) -> str:
        """The estimator that plots and the report show: corrected by a model where there is one."""
        return min(self.estimators, key=HEADLINE.index)

    @property
    def curves(self) -> list[tuple[str, str]]:
        """Policy and estimator of each curve."""
        pairs = [(p, e) for p in self.policies for e in self.estimators]
        return [*pairs, (BEHAVIOR, ON_POLICY)]

    def _replicates(self, asked: Sequence[tuple[str, float]]) -> NDArray[np.float64]:
        """Distance of F from F as shown, then statistics: (n_resamples, n_curves, 1 + n)."""
        s, log = self.settings, self._task.log
        held = self._drawn.get("last")
        if held is not None and held[0] == list(asked):
            kept: NDArray[np.float64] = held[1]
            return kept
        with progress("resampling") as report:
            found = self._core.replicates(
                log.for_core,
                asked,
                s["n_resamples"],
                s["seed"],
                s["resampling"],
                log.draw_ids,
                log.clusters,
                self._task.threads,
                report,
            )
        drawn = found.reshape(s["n_resamples"], len(self.curves), 1 + len(asked))
        self._drawn["last"] = (list(asked), drawn)
        return drawn

    @cached_property
    def _half_widths(self) -> NDArray[np.float64]:
        """Half-width of the band of each curve: the quantile of the largest distance."""
        distances = self._replicates([])[:, :, 0]
        level = self.settings["confidence_level"]
        with np.errstate(invalid="ignore"):
            return np.array([_quantile(own, level) for own in distances.T])

    @cached_property
    def cdf(self) -> pl.DataFrame:
        """F(x) = P(G <= x) with its band: policy, estimator, x, probability, low, high.

        At every value where it steps, or at the grid given. The band holds for all x together with
        the confidence level (the bootstrap's largest distance), or with `pointwise=True` for each x
        by itself; null without replicates.
        """
        grid = self.settings["grid"]
        names = {name: pl.Series(name, [], pl.String) for name in ("policy", "estimator")}
        columns: dict[str, list[Any]] = {name: [] for name in ("x", "probability", "low", "high")}
        for i, (policy, estimator) in enumerate(self.curves):
            x, f = self._core.curve(i)
            low, high = self._band(i, f)
            if grid is not None:
                x = np.array(grid, dtype=np.float64)
                at = self._core.places(i, x)
                f, low, high = (_at(y, at) for y in (f, low, high))
            for own, name in zip(names, (policy, estimator), strict=True):
                names[own].append(pl.Series([name]).new_from_index(0, len(x)))
            for own, values in zip(columns, (x, f, low, high), strict=True):
                columns[own].append(values)
        # Column by column: after a fork polars' own way would wait for threads that are gone.
        none = pl.Series([None], dtype=pl.Float64).new_from_index(0, len(names["policy"]))
        return pl.DataFrame(
            {
                **names,
                **{
                    c: none if parts[0] is None else np.concatenate(parts)
                    for c, parts in columns.items()
                },
            }
        )

    def _band(self, i: int, f: Any) -> tuple[Any, Any]:
        """Lower and upper ends of the band of a curve."""
        s = self.settings
        half: Any
        if s["pointwise"]:
            errors = self._core.pointwise(i)
            ends = from_errors(np.zeros(len(errors)), errors, s | {"interval": "normal"})
            half = np.array(ends.high)
        elif s["n_resamples"]:
            half = self._half_widths[i]
        else:
            return None, None
        return np.clip(f - half, 0, 1), np.clip(f + half, 0, 1)

    def statistics(
        self, alpha: Sequence[float] = DEFAULT_ALPHA, *, only: str | None = None
    ) -> pl.DataFrame:
        """Statistics of every distribution, all from one sort.

        Parameters
        ----------
        alpha
            Levels of quantiles, of CVaR (the mean of the worst share alpha) and of ranges between
            the quantiles at alpha and 1 - alpha (levels below 1/2).
        only
            The one statistic that is wanted. Default: all of them.

        Returns
        -------
        polars.DataFrame
            policy, estimator, statistic ("mean", "variance", "quantile", "cvar",
            "interquantile_range"), alpha (null where there is none), value, standard_error, ci_low,
            ci_high, note. Intervals are percentiles of the replicates where there are any, else
            normal by influence values; of quantiles by inverting F's error (Woodruff 1952), from
            which their standard error comes too.
        """
        asked = at_levels(alpha, STATISTICS if only is None else [only])
        values, errors, ends = self._estimate(asked)
        more = np.reshape(np.array(ends.notes, dtype=object), values.shape)
        return pl.DataFrame(
            {
                **self._labels(asked),
                "value": values.ravel(),
                "standard_error": errors.ravel(),
                "ci_low": ends.low,
                "ci_high": ends.high,
                "note": [
                    self.note(i, value, said)
                    for i, row in enumerate(values)
                    for value, said in zip(row, more[i], strict=True)
                ],
            },
            schema=_SCHEMA,
        )

    def _labels(self, asked: Sequence[tuple[str, float]]) -> dict[str, list[Any]]:
        """Policy, estimator, statistic and level of each row."""
        return {
            "policy": [p for p, _ in self.curves for _ in asked],
            "estimator": [e for _, e in self.curves for _ in asked],
            "statistic": [name for _ in self.curves for name, _ in asked],
            "alpha": [a if STATISTICS[n] else None for _ in self.curves for n, a in asked],
        }

    def bounds(
        self,
        alpha: Sequence[float] = DEFAULT_ALPHA,
        value_range: tuple[float, float] | None = None,
    ) -> pl.DataFrame:
        """Bound statistics by the band: they hold for all of them together.

        A bound is the least or the largest value of the statistic among all distributions that lie
        within the band. So it is wider than an interval of `statistics`, and one confidence level
        is enough for any number of statistics of a curve.

        Parameters
        ----------
        alpha
            As in `statistics`.
        value_range
            (low, high) of a return, which you vouch for. Default: that of `evaluate_distribution`.
            Without it a band leaves a share of the returns open to either side: means are not
            bounded, CVaR not from below, outer quantiles not to the outside.

        Returns
        -------
        polars.DataFrame
            policy, estimator, statistic ("mean", "quantile", "cvar", "interquantile_range"), alpha,
            low, high; infinite where open, NaN where F is undefined.

        Raises
        ------
        InvalidArgumentError
            If there is no band for all x (`n_resamples`, without `pointwise`), a level is out of
            its range, or a return lies outside `value_range`.
        """
        return bounds(self, alpha, value_range)

    def _estimate(
        self, asked: Sequence[tuple[str, float]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], Ends]:
        """Values and standard errors, (n_curves, n), and flat the intervals with their notes."""
        s, shape = self.settings, (len(self.curves), len(asked))
        *found, skewed = self._core.statistics(asked, self._task.log.clusters)
        values, errors = (x.reshape(shape) for x in found)
        # One doubt is enough.
        skewed = [None if self._doubts[i // len(asked)] else note for i, note in enumerate(skewed)]
        if s["n_resamples"]:
            drawn = self._replicates(asked)[:, :, 1:].reshape(s["n_resamples"], -1)
            ends = from_replicates(values.ravel(), drawn, None, s | {"method": "percentile"})
            notes = [
                "; ".join(filter(None, x)) or None for x in zip(skewed, ends.notes, strict=True)
            ]
            return values, errors, Ends(ends.low, ends.high, notes)
        ends = from_errors(values.ravel(), errors.ravel(), s | {"interval": "normal"})
        low, high = np.array(ends.low), np.array(ends.high)
        _, (z,) = _core.intervals([0.0], [1.0], "normal", 1, s["confidence_level"], "two-sided")
        for i in range(len(self.curves)):
            for j, (name, a) in enumerate(asked):
                if name == "quantile" and np.isfinite(values[i, j]):
                    clusters = self._task.log.clusters
                    at = i * len(asked) + j
                    low[at], high[at] = self._core.quantile_interval(i, a, z, clusters)
        return values, errors, Ends(low.tolist(), high.tolist(), skewed)

    @cached_property
    def _doubts(self) -> list[str | None]:
        """Say of each curve what speaks against its intervals."""
        clusters = self._task.log.clusters
        count = None if clusters is None else clusters[1]
        return [self._core.doubt(i, count) for i in range(len(self.curves))]

    def note(self, curve: int, value: float, more: str | None = None) -> str | None:
        """Say what has to be known of a value of a curve."""
        policy, estimator = self.curves[curve]
        notes = [self._doubts[curve], more]
        if estimator == "cd_dm":
            notes = [_POINT_MASS, *notes]
        else:
            notes.append(self._task.notes.get(policy))
        if estimator == "cd_tis" and not np.isnan(value):
            mass = self._core.mass(curve)
            notes = [f"total mass {mass:.4g}; statistics are of F divided by it", *notes]
        return "; ".join(filter(None, notes)) or None

    def evaluation(
        self,
        statistic: Literal["mean", "variance", "quantile", "cvar", "interquantile_range"] = "cvar",
        alpha: float | None = None,
    ) -> Evaluation:
        """Take one statistic as the value of every policy, to rank, compare and assess by it.

        Everything that an `Evaluation` can do is then done with it: `ranking`, `contenders`,
        `compare` and `portfolio` by CVaR or a quantile, and `assess` against true ones (arrays of
        on-policy returns are brought to the same statistic).

        Parameters
        ----------
        statistic, alpha
            As in `return_statistic`.

        Returns
        -------
        Evaluation

        Raises
        ------
        InvalidArgumentError
            If there is no such statistic, or its level is out of range.
        """
        name, level = check_statistic(statistic, alpha)
        return as_evaluation(self, (name, level if STATISTICS[name] else None))

    def _columns(self) -> list[Column]:
        asked = [("mean", 0.0), ("quantile", 0.1), ("cvar", 0.1)]
        *found, _ = self._core.statistics(asked, self._task.log.clusters)
        values, errors = (x.reshape(len(self.curves), len(asked)) for x in found)
        shown = [[number(x) for x in column] for column in values.T]
        return [
            Column("policy", [p for p, _ in self.curves], left=True),
            Column("estimator", [e for _, e in self.curves], left=True),
            Column("mean", shown[0]),
            Column("s.e.", [number(x) for x in errors[:, 0]]),
            Column("10 % quantile", shown[1]),
            Column("CVaR 10 %", shown[2]),
            Column("s.e.", [number(x) for x in errors[:, 2]]),
        ]

    def _caption(self) -> str:
        s = self.settings
        return (
            f"Distribution of the return: {s['n_episodes']:,} episodes, gamma {s['gamma']:g}. "
            ".cdf has F with its band, .statistics() every statistic with intervals."
        )

    def __repr__(self) -> str:
        return "\n".join([text_table(self._columns()), wrap(self._caption())])

    def _repr_html_(self) -> str:
        return html_table(self._columns(), "Distribution of the return", [self._caption()])


def _at(values: Any, places: NDArray[np.int64]) -> Any:
    """Take values of steps at some places; 0 before the first."""
    return None if values is None else np.where(places < 0, 0.0, values[np.maximum(places, 0)])


def _quantile(values: NDArray[np.float64], level: float) -> float:
    """Quantile of what is defined, the smallest that reaches the level; NaN where too little is."""
    known = np.sort(values[~np.isnan(values)])
    if len(known) < 0.99 * len(values) or not len(known):
        return float("nan")
    return float(known[min(int(np.ceil(level * len(known))), len(known)) - 1])
