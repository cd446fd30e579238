"""Intervals: which there are, what each is valid for and needs, and the ends of each."""

from __future__ import annotations

import math
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio import _core
from counterfolio.arguments import is_number, is_whole
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import number, plural, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

ALTERNATIVES = ("two-sided", "greater", "less")
METHODS = ("percentile", "basic", "bca")
RESAMPLINGS = ("poisson", "multinomial")
#: Replicates of `interval="bootstrap"` unless given.
DEFAULT_RESAMPLES = 1000
#: Fewer units (episodes or clusters) than this are resampled with replacement unless told
#: otherwise: Poisson draws differ too much in how many they are.
FEW_UNITS = 50
#: numpy's seeds and ours go up to here.
LARGEST_SEED = 2**64 - 1


@dataclass(frozen=True)
class Kind:
    """An interval: what it bounds and what it needs.

    Attributes
    ----------
    bounds
        Estimators that it is valid for; None for all.
    needs
        Ranges that the user has to vouch for.
    why
        Why it is valid for no other.
    bandit
        Whether it needs a log of single decisions.
    lower
        Whether it is a lower bound and nothing else.
    """

    bounds: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    why: str = ""
    bandit: bool = False
    lower: bool = False


_MEAN = "it bounds a plain mean of one term to an episode; {} is none"
_PRODUCT = "it bounds the mean of one weight times one reward to an episode; {} is none"
#: The one table of intervals; the first three are asymptotic and go with every estimator.
KINDS: dict[str, Kind] = {
    "normal": Kind(),
    "t": Kind(),
    "bootstrap": Kind(),
    "hoeffding": Kind(("tis", "pdis"), ("value_range",), _MEAN),
    "empirical_bernstein": Kind(("tis", "pdis"), ("value_range",), _MEAN),
    "hcope": Kind(("tis", "pdis"), (), _MEAN, lower=True),
    "log_smoothing": Kind(("tis",), ("return_range",), _PRODUCT),
    "cressie_read": Kind(("tis",), ("return_range", "weight_range"), _PRODUCT),
    "confidence_sequence": Kind(("tis",), ("return_range",), _PRODUCT, bandit=True),
}
ASYMPTOTIC = ("normal", "t", "bootstrap")
#: Ranges, and what each is a range of.
RANGES = {
    "value_range": "bounds on one episode's term",
    "return_range": "bounds on an episode's return",
    "weight_range": "bounds on an episode's weight",
}


@dataclass(frozen=True)
class Uncertainty:
    """How uncertainty is to be expressed: the arguments of `evaluate`, checked and resolved."""

    interval: str
    confidence_level: float
    alternative: str
    n_resamples: int
    method: str
    resampling: str | None
    value_range: tuple[float, float] | None
    return_range: tuple[float, float] | None
    weight_range: tuple[float, float] | None
    seed: int | None

    def settings(self) -> dict[str, Any]:
        """Every argument as used."""
        used = asdict(self)
        if self.n_resamples == 0:
            used |= {"method": None, "resampling": None}
        return {name: list(x) if isinstance(x, tuple) else x for name, x in used.items()}


def check_uncertainty(
    log: LoggedData,
    estimators: Sequence[str],
    *,
    interval: object,
    confidence_level: object,
    alternative: object,
    n_resamples: object,
    method: object,
    resampling: object,
    value_range: object,
    return_range: object,
    weight_range: object,
    seed: object,
) -> Uncertainty:
    """Check the arguments against each other, the log and the estimators, and fill in defaults.

    Raises
    ------
    InvalidArgumentError
        If one is unknown, out of range, missing or not valid for an estimator.
    """
    for what, value, known in (
        ("interval", interval, KINDS),
        ("alternative", alternative, ALTERNATIVES),
        ("method", method, METHODS),
        ("resampling", resampling, (None, *RESAMPLINGS)),
    ):
        if value not in known:
            text = f"unknown {what} {value!r}; {suggest(value, [k for k in known if k])}"
            raise InvalidArgumentError(text)
    if not is_number(confidence_level) or not 0 < confidence_level < 1:
        text = f"confidence_level must be in (0, 1), as in 0.95, not {confidence_level!r}"
        raise InvalidArgumentError(text)
    if n_resamples is not None and (not is_whole(n_resamples) or n_resamples < 0):
        text = f"n_resamples must be a whole number of 0 or more, not {n_resamples!r}"
        raise InvalidArgumentError(text)
    if seed is not None and (not is_whole(seed) or not 0 <= seed <= LARGEST_SEED):
        text = f"seed must be a whole number from 0 to 2^64 - 1, not {seed!r}"
        raise InvalidArgumentError(text)
    kind = KINDS[str(interval)]
    _check_kind(str(interval), kind, log, estimators, str(alternative))
    ranges = {"value_range": value_range, "return_range": return_range}
    checked = {
        name: None if value is None else _range(name, value)
        for name, value in {**ranges, "weight_range": weight_range}.items()
    }
    for name in kind.needs:
        if checked[name] is None:
            text = (
                f'interval="{interval}" needs {name}=(low, high): {RANGES[name]} that you vouch '
                "for, not the sample's own"
            )
            raise InvalidArgumentError(text)
    bootstrap = interval == "bootstrap"
    count = (DEFAULT_RESAMPLES if bootstrap else 0) if n_resamples is None else int(n_resamples)
    if bootstrap and count == 0:
        text = 'interval="bootstrap" needs replicates: n_resamples must be 1 or more'
        raise InvalidArgumentError(text)
    units = log.n_episodes if log.clusters is None else log.clusters[1]
    default = "multinomial" if units < FEW_UNITS else "poisson"
    if seed is None and (count or interval == "hcope"):
        seed = secrets.randbits(63)
    return Uncertainty(
        interval=str(interval),
        confidence_level=float(confidence_level),
        alternative=str(alternative),
        n_resamples=count,
        method=str(method),
        resampling=default if resampling is None else str(resampling),
        **checked,
        seed=None if seed is None else int(seed),
    )


def _check_kind(
    interval: str, kind: Kind, log: LoggedData, estimators: Sequence[str], alternative: str
) -> None:
    """Raise where an interval is not valid."""
    if kind.bounds is None:
        return
    one_step = log.n_rows == log.n_episodes
    # With one decision to an episode pdis is tis.
    valid = {*kind.bounds, *(("pdis",) if one_step else ())}
    if wrong := [name for name in estimators if name not in valid]:
        text = (
            f'interval="{interval}" is not valid for "{wrong[0]}": {kind.why.format(wrong[0])}; '
            f"use estimators={sorted(valid)}, or one of {', '.join(ASYMPTOTIC)}"
        )
        raise InvalidArgumentError(text)
    if kind.bandit and not one_step:
        text = (
            f'interval="{interval}" takes single decisions in the order of arrival, and this log '
            "has episodes of several steps"
        )
        raise InvalidArgumentError(text)
    if kind.lower and alternative != "greater":
        text = f'interval="{interval}" is a lower bound: pass alternative="greater"'
        raise InvalidArgumentError(text)
    if log.clusters is not None:
        text = (
            f'interval="{interval}" takes episodes as independent, and this log has clusters; use '
            f"one of {', '.join(ASYMPTOTIC)}"
        )
        raise InvalidArgumentError(text)


def _range(name: str, value: object) -> tuple[float, float]:
    ends = list(value) if isinstance(value, tuple | list | np.ndarray) else []
    if len(ends) != 2 or not all(is_number(x) and math.isfinite(x) for x in ends):
        ends = [0, 0]
    low, high = float(ends[0]), float(ends[1])
    if not low < high:
        text = f"{name} must be two numbers (low, high) with low < high, not {value!r}"
        raise InvalidArgumentError(text)
    if name == "weight_range" and not 0 <= low <= 1 <= high:
        text = f"weight_range must begin at 0 or more and hold 1, the mean weight, not {value!r}"
        raise InvalidArgumentError(text)
    return low, high


@dataclass(frozen=True)
class Ends:
    """Ends of the intervals of some rows, and what has to be known of each."""

    low: Sequence[float]
    high: Sequence[float]
    notes: Sequence[str | None]


def from_errors(
    values: Sequence[float] | NDArray[np.float64],
    errors: Sequence[float] | NDArray[np.float64],
    settings: Mapping[str, Any],
    alternative: str | None = None,
) -> Ends:
    """Intervals from standard errors: normal, or t with the degrees of freedom of the log."""
    units = settings["n_clusters"] or settings["n_episodes"]
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
    """Bootstrap intervals of some values from their replicates, a row to a value."""
    none = np.full(len(values), math.nan)
    low, high, notes = _core.bootstrap_intervals(
        np.ascontiguousarray(values, dtype=np.float64),
        np.ascontiguousarray(replicates, dtype=np.float64).ravel(),
        np.ascontiguousarray(none if accelerations is None else accelerations),
        settings["method"],
        settings["confidence_level"],
        alternative or settings["alternative"],
    )
    return Ends(low, high, notes)


class Bounds:
    """Intervals that look at every episode's term, computed policy by policy."""

    def __init__(self, log: LoggedData, uncertainty: Uncertainty, gamma: float) -> None:
        self.log, self.options, self.gamma = log, uncertainty, gamma

    def of(self, policy: Any, estimators: Sequence[str], num_threads: int) -> Ends:
        """Bound some estimators of one policy, given as the core reads it."""
        weight, returned, pdis = _core.episode_terms(
            self.log.for_core, policy, self.gamma, num_threads
        )
        what = f'policy "{policy[0]}"'
        found = [
            self._one(weight, returned, pdis if name == "pdis" else weight * returned, what, name)
            for name in estimators
        ]
        return Ends([low for low, _ in found], [high for _, high in found], [None] * len(found))

    def behavior(self, returned: NDArray[np.float64]) -> Ends:
        """Bound the behavior policy's mean return, whose weights are 1."""
        try:
            low, high = self._one(np.ones(len(returned)), returned, returned, "behavior", "tis")
        except InvalidArgumentError as error:
            return Ends([math.nan], [math.nan], [f"no interval: {error}"])
        return Ends([low], [high], [None])

    def _one(
        self,
        weight: NDArray[np.float64],
        returned: NDArray[np.float64],
        terms: NDArray[np.float64],
        what: str,
        estimator: str,
    ) -> tuple[float, float]:
        o = self.options
        what = f'{what}, "{estimator}"'
        self._refuse(~np.isfinite(terms), terms, f"{what}: terms that float64 cannot hold", "")
        if o.interval in ("hoeffding", "empirical_bernstein"):
            assert o.value_range is not None
            self._inside(terms, o.value_range, f"value_range: {what}: terms")
            return _core.bounded_mean(
                terms, o.interval, o.value_range, o.confidence_level, o.alternative
            )
        if o.interval == "hcope":
            return self._hcope(weight, returned, terms, what, estimator)
        assert o.return_range is not None
        self._inside(returned, o.return_range, f"return_range: {what}: returns")
        if o.weight_range is not None:
            self._inside(weight, o.weight_range, f"weight_range: {what}: weights")
        return _core.weighted_mean(
            weight,
            returned,
            o.interval,
            o.return_range,
            o.weight_range,
            o.confidence_level,
            o.alternative,
        )

    def _hcope(
        self,
        weight: NDArray[np.float64],
        returned: NDArray[np.float64],
        terms: NDArray[np.float64],
        what: str,
        estimator: str,
    ) -> tuple[float, float]:
        o = self.options
        least = 0.0
        if o.return_range is not None and estimator == "tis":
            self._inside(returned, o.return_range, f"return_range: {what}: returns")
            least = o.return_range[0]
            terms = weight * (returned - least)
        self._refuse(
            terms < 0,
            terms,
            f"{what}: terms below 0, which hcope cannot bound",
            'name the least return with return_range=(low, high) and use "tis"',
        )
        assert o.seed is not None
        low = _core.hcope(terms, self.log.for_core, self.log.draw_ids, o.seed, o.confidence_level)
        return low + least, math.inf

    def _inside(self, values: NDArray[np.float64], limits: tuple[float, float], what: str) -> None:
        low, high = limits
        self._refuse(
            (values < low) | (values > high),
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
        row = int(self.log._episodes.lengths()[:episode].sum())
        text = (
            f"{what}: {int(wrong.sum()):,} of {plural(len(wrong), 'episode')}, first the one that "
            f"begins at row {row} ({number(float(values[episode]), 6)})"
        )
        raise InvalidArgumentError(f"{text}; {advice}" if advice else text)
