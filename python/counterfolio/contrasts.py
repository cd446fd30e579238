"""Differences between policies on the same episodes, one by one and together, and contenders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.intervals import Ends, from_errors, from_replicates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: A difference within this share of the values is rounding, of single-precision inputs too.
ROUNDING = 1e-6
#: Draws behind a critical value of several contrasts together; the same ones each time.
DRAWS = 40_000


def is_rounding(a: float, b: float, error: float) -> bool:
    """Whether the difference of two values is only rounding, for all that its error says."""
    return max(abs(a - b), error) <= ROUNDING * max(abs(a), abs(b))


class Contrasts:
    """What one estimator says of the differences between policies, the behavior policy last.

    Parameters
    ----------
    names
        Of the policies, and of the behavior policy.
    values, notes
        Of each.
    variances
        (P + 1, P + 1): variances on the diagonal, of differences off it.
    accelerations
        The same places; of row less column.
    replicates
        (n_resamples, P + 1) or None.
    settings
        Of the evaluation.
    """

    def __init__(
        self,
        names: Sequence[str],
        values: Sequence[float],
        notes: Sequence[str | None],
        variances: NDArray[np.float64],
        accelerations: NDArray[np.float64] | None,
        replicates: NDArray[np.float64] | None,
        settings: Mapping[str, Any],
    ) -> None:
        self.names, self.values, self.notes = list(names), list(values), list(notes)
        # Of a difference with itself nothing is left.
        self.variances = np.where(np.eye(len(self.values)), 0.0, variances)
        self.accelerations, self.replicates = accelerations, replicates
        self.settings = settings

    def table(
        self, pairs: Sequence[tuple[str, str]], label: str, *, simultaneous: bool
    ) -> pl.DataFrame:
        """Compare the first with the second of each pair; see `Evaluation.compare`."""
        at = [(self.names.index(a), self.names.index(b)) for a, b in pairs]
        differences, errors, same = [], [], []
        said: list[str | None] = []
        for a, b in at:
            x, y = self.values[a], self.values[b]
            usable = math.isfinite(x) and math.isfinite(y)
            differences.append(x - y if usable else math.nan)
            errors.append(math.sqrt(self.variances[a, b]) if usable else math.nan)
            same.append(usable and is_rounding(x, y, errors[-1]))
            notes = [f"{self.names[i]}: {self.notes[i]}" for i in (a, b) if self.notes[i]]
            said.append("; ".join(notes) or None)
        ends = self._ends(at, differences, errors, None, simultaneous=simultaneous)
        two = self._ends(at, differences, errors, "two-sided", simultaneous=simultaneous)
        return pl.DataFrame(
            {
                "policy": [a for a, _ in pairs],
                "baseline": [b for _, b in pairs],
                "estimator": [label] * len(pairs),
                "difference": differences,
                "standard_error": errors,
                "ci_low": ends.low,
                "ci_high": ends.high,
                "p_better": self._better(at, differences, errors, same),
                "conclusion": [
                    _conclude(*row) for row in zip(two.low, two.high, same, strict=True)
                ],
                "note": [
                    "; ".join(filter(None, pair)) or None
                    for pair in zip(said, ends.notes, strict=True)
                ],
            },
            schema_overrides={"conclusion": pl.String, "note": pl.String},
        )

    def _ends(
        self,
        at: Sequence[tuple[int, int]],
        differences: Sequence[float],
        errors: Sequence[float],
        alternative: str | None,
        *,
        simultaneous: bool,
    ) -> Ends:
        side = alternative or self.settings["alternative"]
        if simultaneous:
            critical = self.critical_value(at, side)
            d, e = np.array(differences), np.array(errors)
            open_ = np.full(len(d), math.inf)
            low = -open_ if side == "less" else d - critical * e
            high = open_ if side == "greater" else d + critical * e
            return Ends(low.tolist(), high.tolist(), [None] * len(d))
        if self.settings["interval"] == "bootstrap" and self.replicates is not None:
            drawn = np.stack([self.replicates[:, a] - self.replicates[:, b] for a, b in at])
            a = self.accelerations
            chosen = None if a is None else np.array([a[pair] for pair in at])
            return from_replicates(np.array(differences), drawn, chosen, self.settings, side)
        return from_errors(differences, errors, self.settings, side)

    def _better(
        self,
        at: Sequence[tuple[int, int]],
        differences: Sequence[float],
        errors: Sequence[float],
        same: Sequence[bool],
    ) -> list[float]:
        """Say how probably the first of each pair is better."""
        found = []
        for (a, b), d, e, rounding in zip(at, differences, errors, same, strict=True):
            if rounding:
                found.append(0.5)
            elif self.settings["interval"] == "bootstrap" and self.replicates is not None:
                drawn = self.replicates[:, a] - self.replicates[:, b]
                drawn = drawn[~np.isnan(drawn)]
                above = (drawn > 0).mean() + (drawn == 0).mean() / 2 if len(drawn) else math.nan
                found.append(float(above) if math.isfinite(d) else math.nan)
            elif e != 0:
                found.append(_core.normal_cdf(d / e))
            else:
                found.append(0.5 * (1 + float(np.sign(d))))
        return found

    def correlations(self, at: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
        """Correlations of some differences, from the variances of differences alone.

        cov(a - b, c - d) = (v_ad + v_bc - v_ac - v_bd) / 2 with v the variances of differences.
        """
        a, b = (np.array([pair[i] for pair in at]) for i in (0, 1))
        v = self.variances
        covariance = (v[np.ix_(a, b)] + v[np.ix_(b, a)] - v[np.ix_(a, a)] - v[np.ix_(b, b)]) / 2
        scale = np.sqrt(np.diag(covariance))
        with np.errstate(divide="ignore", invalid="ignore"):
            found: NDArray[np.float64] = covariance / np.outer(scale, scale)
        return found

    def critical_value(self, at: Sequence[tuple[int, int]], alternative: str) -> float:
        """Quantile of the largest of several normal deviates (max-t); one that moves is enough."""
        level = self.settings["confidence_level"]
        correlations = self.correlations(at)
        moving = np.isfinite(np.diag(correlations))
        if not moving.any():
            return math.nan
        drawn = _normal_draws(correlations[np.ix_(moving, moving)])
        largest = np.abs(drawn).max(axis=1) if alternative == "two-sided" else drawn.max(axis=1)
        return float(np.quantile(largest, level))

    def contenders(self, label: str) -> pl.DataFrame:
        """Find the policies that may be the best; see `Evaluation.contenders`."""
        count = len(self.names) - 1  # without the behavior policy
        values = np.array(self.values[:count])
        usable = [i for i in range(count) if math.isfinite(values[i])]
        leader = max(usable, key=lambda i: values[i], default=None)
        rows: list[tuple[Any, ...]] = []
        for p in range(count):
            row = (self.names[p], label, float(values[p]))
            if leader is None or p not in usable:
                rows.append((*row, math.nan, math.nan, math.nan, None))
                continue
            rivals = [(q, p) for q in usable if q != p]
            behind = float(values[leader] - values[p])
            error = math.sqrt(self.variances[leader, p])
            critical = self.critical_value(rivals, "greater") if rivals else math.nan
            beaten = [q for q, _ in rivals if self._beats(q, p, critical)]
            rows.append((*row, behind, error, critical, not beaten))
        rows.sort(key=lambda row: math.inf if math.isnan(row[3]) else row[3])
        return pl.DataFrame(rows, schema=CONTENDERS, orient="row")

    def _beats(self, q: int, p: int, critical: float) -> bool:
        """Whether q is better than p by more than chance."""
        x, y = self.values[q], self.values[p]
        error = math.sqrt(self.variances[q, p])
        if is_rounding(x, y, error):
            return False
        return x - y > (critical * error if math.isfinite(critical) else 0.0)


CONTENDERS = {
    "policy": pl.String,
    "estimator": pl.String,
    "value": pl.Float64,
    "behind_leader": pl.Float64,
    "standard_error": pl.Float64,
    "critical_value": pl.Float64,
    "contender": pl.Boolean,
}


def _conclude(low: float, high: float, same: bool) -> str | None:  # noqa: FBT001
    """Say of a difference what its two-sided interval says of it."""
    if math.isnan(low) or math.isnan(high):
        return None
    if same or low <= 0 <= high:
        return "not told apart"
    return "better" if low > 0 else "worse"


def _normal_draws(correlations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Draw from a normal distribution of these correlations, the same draws each time."""
    values, vectors = np.linalg.eigh(correlations)
    root = vectors * np.sqrt(np.maximum(values, 0))
    half = np.random.Generator(np.random.Philox(0)).normal(size=(DRAWS // 2, len(values))) @ root.T
    # With its mirror image, so that no side is favoured.
    return np.concatenate([half, -half])
