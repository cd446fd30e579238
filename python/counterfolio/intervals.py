"""Ends of intervals: from standard errors, from replicates, from every episode's term."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.episodes import first_rows
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import number, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.estimators import Estimator
    from counterfolio.log import LoggedData
    from counterfolio.uncertainty import Uncertainty


@dataclass(frozen=True)
class Ends:
    """Ends of the intervals of some rows, and what has to be known of each."""

    low: Sequence[float]
    high: Sequence[float]
    notes: Sequence[str | None]


def units_of(settings: Mapping[str, Any]) -> int:
    """Count what is independent: clusters where there are any, else episodes."""
    return int(settings["n_clusters"] or settings["n_episodes"])


def from_errors(
    values: Sequence[float] | NDArray[np.float64],
    errors: Sequence[float] | NDArray[np.float64],
    settings: Mapping[str, Any],
    alternative: str | None = None,
) -> Ends:
    """Intervals from standard errors: normal, or t with the degrees of freedom of the log."""
    units = units_of(settings)
    low, high = _core.intervals(
        values,
        errors,
        "t" if settings["interval"] == "t" else "normal",
        units - 1,
        settings["confidence_level"],
        alternative or settings["alternative"],
    )
    return Ends(low, high, [None] * len(low))


def from_replicates(
    values: NDArray[np.float64],
    replicates: NDArray[np.float64],
    accelerations: NDArray[np.float64] | None,
    settings: Mapping[str, Any],
    alternative: str | None = None,
) -> Ends:
    """Bootstrap intervals of some values from their replicates, a column to a value."""
    side = alternative or settings["alternative"]
    none = np.full(len(values), math.nan)
    if units_of(settings) < FEWEST_UNITS:
        unit = "episode" if settings["n_clusters"] is None else "cluster"
        note = f"no interval: one {unit} cannot be resampled"
        return Ends(none.tolist(), none.tolist(), [note] * len(none))
    low, high, notes = _core.bootstrap_intervals(
        np.ascontiguousarray(values, dtype=np.float64),
        replicates,
        np.ascontiguousarray(none if accelerations is None else accelerations),
        settings["method"],
        settings["confidence_level"],
        side,
    )
    tail = (1 - settings["confidence_level"]) / (2 if side == "two-sided" else 1)
    if len(replicates) * tail < 1:
        verb = "is" if len(replicates) == 1 else "are"
        few = f"{plural(len(replicates), 'replicate')} {verb} too few for the level of the interval"
        notes = ["; ".join(filter(None, (note, few))) for note in notes]
    return Ends(low, high, notes)


#: Fewer episodes or clusters cannot be resampled.
FEWEST_UNITS = 2
#: Share of a range by which rounding may carry a value out of it.
ROUNDING = 1e-9
CROSSED = (
    "the bounds exclude each other: weights do not average to 1, as with wrong propensities or "
    "lost support"
)


def _product(weight: NDArray[np.float64], returned: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights times returns, 0 where the return is 0 and the weight too large for float64."""
    with np.errstate(invalid="ignore"):
        return np.where(returned == 0, 0.0, weight * returned)


class Bounds:
    """Intervals that look at every episode's term, computed policy by policy."""

    def __init__(self, log: LoggedData, uncertainty: Uncertainty, gamma: float) -> None:
        self.log, self.options, self.gamma = log, uncertainty, gamma

    def of(self, policy: Any, estimators: Sequence[Estimator], num_threads: int) -> Ends:
        """Bound some estimators of one policy, given as the core reads it."""
        one_step = self.log.n_rows == self.log.n_episodes
        found = []
        for estimator in estimators:
            weight, returned, by_step = _core.episode_terms(
                self.log.for_core, policy, estimator.for_core, self.gamma, num_threads
            )
            terms = None if one_step or estimator.row["form"] == "return" else by_step
            what = f'policy "{policy[0]}", "{estimator.label}"'
            found.append(self._one(weight, returned, terms, what))
        return Ends(*zip(*found, strict=True))

    def behavior(self, returned: NDArray[np.float64]) -> Ends:
        """Bound the behavior policy's mean return, whose weights are 1."""
        try:
            low, high, note = self._one(np.ones(len(returned)), returned, None, "behavior")
        except InvalidArgumentError as error:
            low, high = (math.nan if side else end for side, end in self._open())
            note = f"no interval: {error}"
        return Ends([low], [high], [note])

    def _open(self) -> list[tuple[bool, float]]:
        """Say of both ends whether there is to be one, and where it is otherwise."""
        side = self.options.alternative
        return [(side != "less", -math.inf), (side != "greater", math.inf)]

    def _one(
        self,
        weight: NDArray[np.float64],
        returned: NDArray[np.float64],
        terms: NDArray[np.float64] | None,
        what: str,
    ) -> tuple[float, float, str | None]:
        """Bound the mean of terms, or of weights times returns."""
        o = self.options
        if o.interval == "hcope":
            return self._hcope(weight, returned, terms, what)
        if o.interval in ("hoeffding", "empirical_bernstein"):
            assert o.value_range is not None
            terms = _product(weight, returned) if terms is None else terms
            self._inside(terms, o.value_range, f"value_range: {what}: terms")
            low, high = _core.bounded_mean(
                terms, o.interval, o.value_range, o.confidence_level, o.alternative
            )
            short = math.isnan(low) or math.isnan(high)
            return low, high, "no interval: it takes two episodes" if short else None
        assert o.return_range is not None
        self._inside(returned, o.return_range, f"return_range: {what}: returns")
        self._refuse(np.isinf(weight), weight, f"{what}: weights that float64 cannot hold", "")
        if o.weight_range is not None:
            self._inside(weight, o.weight_range, f"weight_range: {what}: weights")
        low, high = _core.weighted_mean(
            weight,
            returned,
            o.interval,
            o.return_range,
            o.weight_range,
            o.confidence_level,
            o.alternative,
        )
        crossed = o.interval != "cressie_read" and low >= high
        return low, high, CROSSED if crossed else None

    def _hcope(
        self,
        weight: NDArray[np.float64],
        returned: NDArray[np.float64],
        terms: NDArray[np.float64] | None,
        what: str,
    ) -> tuple[float, float, str | None]:
        o = self.options
        least = 0.0 if o.return_min is None else o.return_min
        if terms is None:
            terms = _product(weight, returned - least)
        else:
            least = 0.0
        self._refuse(
            terms < 0,
            terms,
            f"{what}: terms below 0, which hcope cannot bound",
            "name the least return that can occur with return_min=..."
            if o.return_min is None
            else "return_min has to hold for every return that could occur",
        )
        assert o.seed is not None
        low = _core.hcope(terms, self.log.for_core, self.log.draw_ids, o.seed, o.confidence_level)
        short = "no interval: it takes three episodes" if math.isnan(low) else None
        return low + least, math.inf, short

    def _inside(self, values: NDArray[np.float64], limits: tuple[float, float], what: str) -> None:
        low, high = limits
        room = ROUNDING * max(abs(low), abs(high))
        self._refuse(
            ~((values >= low - room) & (values <= high + room)),
            values,
            f"{what} outside [{low:g}, {high:g}]",
            "a bound has to hold for every value that could occur, not only for those that did",
        )

    def _refuse(
        self, wrong: NDArray[np.bool_], values: NDArray[np.float64], what: str, advice: str
    ) -> None:
        if not wrong.any():
            return
        episode = int(wrong.argmax())
        row = int(first_rows(self.log._episodes)[episode])
        text = (
            f"{what}: {int(wrong.sum()):,} of {plural(len(wrong), 'episode')}, first the one that "
            f"begins at row {row} ({number(float(values[episode]), 6)})"
        )
        raise InvalidArgumentError(f"{text}; {advice}" if advice else text)
