"""How uncertainty is expressed: which intervals there are, what each needs, what was asked for."""

from __future__ import annotations

import math
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import check_seed, is_number, is_whole, one_of
from counterfolio.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from counterfolio.estimators import Estimator
    from counterfolio.log import LoggedData

ALTERNATIVES = ("two-sided", "greater", "less")
METHODS = ("percentile", "basic", "bca")
RESAMPLINGS = ("poisson", "multinomial")
#: Replicates of `interval="bootstrap"` unless given.
DEFAULT_RESAMPLES = 1000
MOST_RESAMPLES = 10**7
#: Fewer units (episodes or clusters) than this are resampled with replacement unless told
#: otherwise: Poisson draws differ too much in how many they are.
FEW_UNITS = 50
#: numpy's seeds and ours go up to here.


@dataclass(frozen=True)
class Kind:
    """An interval: what it bounds and what it needs.

    Attributes
    ----------
    bounds
        Forms of estimators that it is valid for; None for all.
    needs
        Ranges that the user has to vouch for.
    may
        What else it may be told.
    bandit
        Whether it needs a log of single decisions.
    plain
        Whether weights have to have mean 1, as transformed ones have not.
    lower
        Whether it is a lower bound and nothing else.
    asymptotic
        Whether it holds for many episodes alone.
    says
        What it takes for granted, in words.
    """

    bounds: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    bandit: bool = False
    plain: bool = False
    lower: bool = False
    asymptotic: bool = False
    says: str = ""


#: The one table of intervals; the first three are asymptotic and go with every estimator.
_MANY = "they hold for many episodes and weights that are not too uneven, which the verdicts check"
_VOUCHED = "which was vouched for and cannot be checked beyond this log"
KINDS: dict[str, Kind] = {
    "normal": Kind(says=f"normal intervals; {_MANY}", asymptotic=True),
    "t": Kind(says=f"t intervals; {_MANY}", asymptotic=True),
    "bootstrap": Kind(
        says="{method} intervals over {n_resamples:,} logs resampled from this one (seed {seed}); "
        + _MANY,
        asymptotic=True,
    ),
    "hoeffding": Kind(
        ("return", "reward"),
        ("value_range",),
        says="Hoeffding's; they hold for any number of episodes if no episode's term can lie "
        f"outside {{value_range}}, {_VOUCHED}",
    ),
    "empirical_bernstein": Kind(
        ("return", "reward"),
        ("value_range",),
        says="empirical Bernstein bounds; they hold for any number of episodes if no episode's "
        f"term can lie outside {{value_range}}, {_VOUCHED}",
    ),
    "hcope": Kind(
        ("return", "reward"),
        (),
        ("return_min",),
        lower=True,
        says="lower bounds of terms cut off at a value that a twentieth of the episodes chose "
        "(HCOPE; seed {seed}); they hold for any number of episodes if no {least}",
    ),
    "log_smoothing": Kind(
        ("return",),
        ("return_range",),
        plain=True,
        says="logarithmic smoothing's; they hold for any number of episodes and any weights if no "
        f"return can lie outside {{return_range}}, {_VOUCHED}",
    ),
    "cressie_read": Kind(
        ("return",),
        ("return_range", "weight_range"),
        plain=True,
        asymptotic=True,
        says="empirical likelihood's (Cressie-Read); they hold for many episodes if no return can "
        f"lie outside {{return_range}} and no weight outside {{weight_range}}, {_VOUCHED}",
    ),
    "confidence_sequence": Kind(
        ("return",),
        ("return_range",),
        plain=True,
        bandit=True,
        says="a confidence sequence's; they hold at all times at once, however often one looks, if "
        f"no return can lie outside {{return_range}}, {_VOUCHED}",
    ),
}
#: Those that go with every estimator.
ANY = tuple(name for name, kind in KINDS.items() if kind.bounds is None)
#: The simplest estimator of a form.
SIMPLEST = {"return": "tis", "reward": "pdis"}
#: Why intervals for a mean of one term to an episode are not valid for a form.
WHY = {
    "direct": "its terms are the Q-model's, so that bounds on them say nothing of the truth",
    "residual": "the range of its terms hangs on the Q-model",
    "reward": "it weighs every step by itself, and the interval is for one weight times one return",
    "centred": "its terms hang on a control variate that the same log chose",
}
CHANGED = "its weights are transformed or marginal, and the interval takes weights of mean 1"
QUOTIENT = "it is a quotient of means, and the interval is for the mean of one term to an episode"
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
    return_min: float | None
    seed: int | None

    def settings(self) -> dict[str, Any]:
        """Every argument as used."""
        used = asdict(self)
        if self.n_resamples == 0:
            used |= {"method": None, "resampling": None}
        return {name: list(x) if isinstance(x, tuple) else x for name, x in used.items()}


def check_uncertainty(
    log: LoggedData,
    estimators: Sequence[Estimator],
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
    return_min: object,
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
    ):
        one_of(what, value, known)
    if resampling is not None:
        one_of("resampling", resampling, RESAMPLINGS)
    if not is_number(confidence_level) or not 0 < confidence_level < 1:
        text = f"confidence_level must be in (0, 1), as in 0.95, not {confidence_level!r}"
        raise InvalidArgumentError(text)
    if n_resamples is not None and (
        not is_whole(n_resamples) or not 0 <= n_resamples <= MOST_RESAMPLES
    ):
        text = (
            f"n_resamples must be a whole number from 0 to {MOST_RESAMPLES:,}, not {n_resamples!r}"
        )
        raise InvalidArgumentError(text)
    seed = None if seed is None else check_seed(seed)
    kind = KINDS[str(interval)]
    _check_kind(str(interval), kind, log, estimators, str(alternative))
    ranges = {
        "value_range": value_range,
        "return_range": return_range,
        "weight_range": weight_range,
    }
    _check_needs(str(interval), kind, {**ranges, "return_min": return_min})
    if interval == "cressie_read" and alternative != "two-sided" and confidence_level < 0.5:
        text = (
            'interval="cressie_read" with one side needs a confidence_level of 0.5 or more, not '
            f"{confidence_level!r}"
        )
        raise InvalidArgumentError(text)
    least = _return_min(return_min, log, estimators)
    bootstrap = interval == "bootstrap"
    count = default_resamples(str(interval)) if n_resamples is None else int(n_resamples)
    if bootstrap and count == 0:
        text = 'interval="bootstrap" needs replicates: n_resamples must be 1 or more'
        raise InvalidArgumentError(text)
    units = log.n_episodes if log.clusters is None else log.clusters[1]
    if seed is None and (count or interval == "hcope"):
        seed = secrets.randbits(63)
    return Uncertainty(
        interval=str(interval),
        confidence_level=float(confidence_level),
        alternative=str(alternative),
        n_resamples=count,
        method=str(method),
        resampling=default_resampling(units) if resampling is None else str(resampling),
        **{name: None if x is None else check_range(name, x) for name, x in ranges.items()},
        return_min=least,
        seed=seed,
    )


def default_resamples(interval: str) -> int:
    """How many replicates there are unless told otherwise."""
    return DEFAULT_RESAMPLES if interval == "bootstrap" else 0


def default_resampling(units: int) -> str:
    """How episodes or clusters are drawn unless told otherwise."""
    return "multinomial" if units < FEW_UNITS else "poisson"


def _check_kind(
    interval: str, kind: Kind, log: LoggedData, estimators: Sequence[Estimator], alternative: str
) -> None:
    """Raise where an interval is not valid."""
    if kind.bounds is None:
        return
    one_step = log.n_rows == log.n_episodes
    # With one decision to an episode pdis is tis.
    valid = {*kind.bounds, *(("reward",) if one_step else ())}
    for estimator in estimators:
        form = estimator.row["form"]
        plain = estimator.row["ratio"] == "cumulative" and estimator.transform is None
        if form in valid and (plain or not kind.plain):
            continue
        why = CHANGED if form in valid else WHY.get(form, QUOTIENT)
        text = (
            f'interval="{interval}" is not valid for "{estimator.label}": {why}; '
            f"use estimators={sorted(SIMPLEST[form] for form in valid)}, or one of {', '.join(ANY)}"
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
            f"one of {', '.join(ANY)}"
        )
        raise InvalidArgumentError(text)


def _check_needs(interval: str, kind: Kind, given: Mapping[str, object]) -> None:
    """Raise where a range is missing, or one is given that the interval does not look at."""
    for name in kind.needs:
        if given[name] is None:
            text = (
                f'interval="{interval}" needs {name}=(low, high): {RANGES[name]} that you vouch '
                "for, not the sample's own"
            )
            raise InvalidArgumentError(text)
    for name, value in given.items():
        if value is not None and name not in (*kind.needs, *kind.may):
            users = [k for k, other in KINDS.items() if name in (*other.needs, *other.may)]
            text = (
                f'{name} has no meaning for interval="{interval}"; drop it, or use '
                f"{' or '.join(users)}"
            )
            raise InvalidArgumentError(text)


def _return_min(value: object, log: LoggedData, estimators: Sequence[Estimator]) -> float | None:
    """Take the least return, which terms that weigh by step cannot be measured from."""
    if value is None:
        return None
    if not is_number(value) or not math.isfinite(value):
        text = f"return_min must be a finite number, not {value!r}"
        raise InvalidArgumentError(text)
    by_step = any(estimator.row["form"] == "reward" for estimator in estimators)
    if by_step and value != 0 and log.n_rows > log.n_episodes:
        text = (
            'return_min: the terms of "pdis" weigh every step by itself and can only be bounded '
            'from 0, where no reward is negative; use estimators=["tis"]'
        )
        raise InvalidArgumentError(text)
    return float(value)


def check_range(name: str, value: object) -> tuple[float, float]:
    """Take two finite numbers in ascending order.

    Raises
    ------
    InvalidArgumentError
        If they are none.
    """
    ends = list(value) if isinstance(value, tuple | list | np.ndarray) else []
    if len(ends) != 2 or not all(is_number(x) and math.isfinite(x) for x in ends):
        ends = [0, 0]
    low, high = float(ends[0]), float(ends[1])
    if not low < high:
        text = f"{name} must be two finite numbers (low, high) with low < high, not {value!r}"
        raise InvalidArgumentError(text)
    if name == "weight_range" and not 0 <= low < 1 < high:
        text = (
            "weight_range must begin at 0 or more and hold 1, the mean weight, between its ends, "
            f"not {value!r}"
        )
        raise InvalidArgumentError(text)
    return low, high


def in_words(settings: Mapping[str, Any]) -> str:
    """Say what the intervals of an evaluation are and take for granted."""

    def limits(name: str) -> str:
        low, high = settings[name] or (math.nan, math.nan)
        return f"[{low:g}, {high:g}]"

    least = (
        "reward can be negative"
        if settings["return_min"] is None
        else f"return can be below {settings['return_min']:g}"
    )
    ranges = {name: limits(name) for name in RANGES}
    said = KINDS[settings["interval"]].says.format(**{**settings, **ranges, "least": least})
    side = {
        "two-sided": "",
        "greater": ", bounds from below alone",
        "less": ", bounds from above alone",
    }[settings["alternative"]]
    return f"intervals at {100 * settings['confidence_level']:g} %, each by itself{side}: {said}"
