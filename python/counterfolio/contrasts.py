"""Differences between policies on the same episodes, one by one and together, and contenders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from counterfolio import _core
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.intervals import Ends, from_errors, from_replicates, units_of
from counterfolio.text import suggest
from counterfolio.uncertainty import ANY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: A difference within this share of the values is rounding, of single-precision inputs too.
ROUNDING = 1e-6
#: Draws behind a critical value of several contrasts together; the same ones each time.
DRAWS = 20_000
#: Normal quantile of 80 % power.
Z_POWER = 0.8416


def is_rounding(a: float, b: float, error: float) -> bool:
    """Whether the difference of two values is only rounding, for all that its error says."""
    return not math.isnan(error) and max(abs(a - b), error) <= ROUNDING * max(abs(a), abs(b))


def needed_episodes(difference: float, error: float, settings: Mapping[str, Any]) -> int | None:
    """Say how many episodes logged alike tell a difference from 0, two-sided, with 80 % power."""
    n, level = settings["n_episodes"], settings["confidence_level"]
    _, (z_test,) = _core.intervals([0.0], [1.0], "normal", n - 1, level, "two-sided")
    if difference == 0 or not math.isfinite(difference) or not math.isfinite(error):
        return None
    size = n * ((z_test + Z_POWER) * error / difference) ** 2
    return int(float(f"{max(size, 1):.2g}")) if size < 1e15 else None


class Contrasts:
    """What one estimator says of the differences between policies, the behavior policy last.

    Parameters
    ----------
    estimator
        Its label.
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
        estimator: str,
        names: Sequence[str],
        values: Sequence[float],
        notes: Sequence[str | None],
        variances: NDArray[np.float64],
        accelerations: NDArray[np.float64] | None,
        replicates: NDArray[np.float64] | None,
        settings: Mapping[str, Any],
    ) -> None:
        self.estimator = estimator
        self.names, self.values, self.notes = list(names), list(values), list(notes)
        # Of a difference with itself nothing is left.
        self.variances = np.where(np.eye(len(self.values)), 0.0, variances)
        self.accelerations, self.replicates = accelerations, replicates
        self.settings = settings

    def _reference(self) -> tuple[str, float]:
        """Name the distribution of a standardised difference, with its degrees of freedom."""
        kind = "t" if self.settings["interval"] == "t" else "normal"
        return kind, units_of(self.settings) - 1

    def compare(self, policy: str | None, baseline: str, *, simultaneous: bool) -> pl.DataFrame:
        """Compare policies with a baseline; see `Evaluation.compare`."""
        for name in (baseline, *(() if policy is None else (policy,))):
            if name not in self.names:
                text = f"policy {name!r} was not evaluated; {suggest(name, self.names)}"
                raise InvalidArgumentError(text)
        others = [name for name in self.names[:-1] if name != baseline]
        first = others if policy is None else [policy]
        return self._table([(name, baseline) for name in first], simultaneous=simultaneous)

    def pair(self, first: str, second: str) -> pl.DataFrame:
        """Compare one policy with another."""
        return self._table([(first, second)], simultaneous=False)

    def _table(self, pairs: Sequence[tuple[str, str]], *, simultaneous: bool) -> pl.DataFrame:
        """Compare the first with the second of each pair."""
        at = [(self.names.index(a), self.names.index(b)) for a, b in pairs]
        differences, errors, same = [], [], []
        said: list[str | None] = []
        for a, b in at:
            x, y = self.values[a], self.values[b]
            usable = math.isfinite(x) and math.isfinite(y)
            differences.append(x - y if usable else math.nan)
            errors.append(math.sqrt(self.variances[a, b]) if usable else math.nan)
            same.append(usable and is_rounding(x, y, errors[-1]))
            noted = [i for i in dict.fromkeys((a, b)) if self.notes[i]]
            notes = [f"{self.names[i]}: {self.notes[i]}" for i in noted]
            if not same[-1] and (skewed := self._skewed(a, b)):
                notes.append(skewed)
            said.append("; ".join(notes) or None)
        if (kind := self.settings["interval"]) not in ANY:
            approximate = f"the interval is a normal one, not {kind}: that bounds no difference"
            said = ["; ".join(filter(None, (x, approximate))) for x in said]
        sides = (self.settings["alternative"], "two-sided")
        found = {
            side: self._ends(at, differences, errors, side, simultaneous=simultaneous)
            for side in dict.fromkeys(sides)
        }
        ends, two = (found[side] for side in sides)
        return pl.DataFrame(
            {
                "policy": [a for a, _ in pairs],
                "baseline": [b for _, b in pairs],
                "estimator": [self.estimator] * len(pairs),
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
            schema=COMPARISON,
        )

    def _skewed(self, a: int, b: int) -> str | None:
        """Say where there are too few episodes for differences so skewed."""
        found = math.nan if self.accelerations is None else float(self.accelerations[a, b])
        if not abs(found) > _core.TRUSTED_ACCELERATION:
            return None
        return (
            "do not lean on the interval: too few episodes for differences so skewed "
            f"(acceleration {found:.2f})"
        )

    def _ends(
        self,
        at: Sequence[tuple[int, int]],
        differences: Sequence[float],
        errors: Sequence[float],
        side: str,
        *,
        simultaneous: bool,
    ) -> Ends:
        if simultaneous:
            d, e = np.array(differences), np.array(errors)
            half = np.where(e == 0, 0.0, self.critical_value(at, side) * e)
            low = np.full(len(d), -math.inf) if side == "less" else d - half
            high = np.full(len(d), math.inf) if side == "greater" else d + half
            return Ends(low.tolist(), high.tolist(), [None] * len(d))
        if self.settings["interval"] == "bootstrap" and self.replicates is not None and at:
            first, second = ([pair[i] for pair in at] for i in (0, 1))
            drawn = self.replicates[:, first] - self.replicates[:, second]
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
                found.append(_core.cdf(d / e, *self._reference()))
            else:
                found.append(0.5 * (1 + float(np.sign(d))))
        return found

    def _moves(self, a: int, b: int) -> bool:
        """Whether a difference is more than rounding, for all that its error says."""
        error = math.sqrt(self.variances[a, b])
        return 0 < error < math.inf and not is_rounding(self.values[a], self.values[b], error)

    def critical_value(self, at: Sequence[tuple[int, int]], side: str) -> float:
        """Quantile of the largest of several standardised differences (max-t)."""
        moving = [pair for pair in dict.fromkeys(at) if self._moves(*pair)]
        level = self.settings["confidence_level"]
        if len(moving) <= 1:
            _, (found,) = _core.intervals(
                [0.0], [1.0], *self._reference(), level, "less" if side != "two-sided" else side
            )
            return max(found, 0.0)
        a, b = (np.array([pair[i] for pair in moving]) for i in (0, 1))
        v = self.variances
        # cov(a - b, c - d) from the variances of differences alone.
        covariance = (v[np.ix_(a, b)] + v[np.ix_(b, a)] - v[np.ix_(a, a)] - v[np.ix_(b, b)]) / 2
        drawn = self._draws(covariance) / np.sqrt(v[a, b])
        largest = np.abs(drawn).max(axis=1) if side == "two-sided" else drawn.max(axis=1)
        return max(float(np.quantile(largest, level)), 0.0)

    def _draws(self, covariance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Draw deviates of this covariance, the same draws each time."""
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        generator = np.random.Generator(np.random.Philox(0))
        half = generator.normal(size=(DRAWS // 2, len(values))) @ root.T
        kind, degrees = self._reference()
        if kind == "t":
            half /= np.sqrt(generator.chisquare(degrees, size=(len(half), 1)) / degrees)
        # With its mirror image, so that no side is favoured.
        return np.concatenate([half, -half])

    def contenders(self) -> pl.DataFrame:
        """Find the policies that may be the best; see `Evaluation.contenders`."""
        count = len(self.names) - 1  # without the behavior policy
        usable = [i for i in range(count) if math.isfinite(self.values[i])]
        v = self.variances[np.ix_(usable, usable)]
        # Of the estimates less their mean, whose differences are theirs.
        centred = np.eye(len(usable)) - 1 / max(len(usable), 1)
        known = len(usable) > 1 and bool(np.isfinite(v).all())
        # In a unit of its own, so that no square is out of range.
        unit = float(v.max()) if known and v.any() else 1.0
        drawn = None
        if known:
            drawn = self._draws(-centred @ (v / unit) @ centred / 2).astype(np.float32)
        leader = max(usable, key=lambda i: self.values[i], default=None)
        rows: list[tuple[Any, ...]] = []
        for p in range(count):
            row = (self.names[p], self.estimator, float(self.values[p]))
            if leader is None or p not in usable:
                rows.append((*row, math.nan, math.nan, math.nan, None))
                continue
            behind = float(self.values[leader] - self.values[p])
            error = math.sqrt(self.variances[leader, p])
            critical, beaten = math.nan, None
            if drawn is not None:
                critical = self._critical_against(p, usable, drawn, unit)
                beaten = any(self._beats(q, p, critical) for q in usable if q != p)
            elif len(usable) == 1:
                beaten = False
            rows.append((*row, behind, error, critical, None if beaten is None else not beaten))
        rows.sort(key=lambda row: math.inf if math.isnan(row[3]) else row[3])
        return pl.DataFrame(rows, schema=CONTENDERS, orient="row")

    def _critical_against(
        self, p: int, usable: Sequence[int], drawn: NDArray[np.float32], unit: float
    ) -> float:
        """Quantile of the largest standardised lead of another policy over p."""
        moving = [i for i, q in enumerate(usable) if q != p and self._moves(q, p)]
        if not moving:
            return math.nan
        others = [usable[i] for i in moving]
        scale = np.sqrt(self.variances[others, p] / unit).astype(np.float32)
        leads = (drawn[:, moving] - drawn[:, [usable.index(p)]]) / scale
        return max(float(np.quantile(leads.max(axis=1), self.settings["confidence_level"])), 0.0)

    def _beats(self, q: int, p: int, critical: float) -> bool:
        """Whether q is better than p by more than chance."""
        x, y = self.values[q], self.values[p]
        error = math.sqrt(self.variances[q, p])
        if is_rounding(x, y, error):
            return False
        return x - y > (critical * error if error > 0 else 0.0)


COMPARISON = {
    "policy": pl.String,
    "baseline": pl.String,
    "estimator": pl.String,
    "difference": pl.Float64,
    "standard_error": pl.Float64,
    "ci_low": pl.Float64,
    "ci_high": pl.Float64,
    "p_better": pl.Float64,
    "conclusion": pl.String,
    "note": pl.String,
}
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
