"""The registry's face: `Estimator`, a name with options, by the core's one table."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from counterfolio import _core
from counterfolio.arguments import is_number, is_whole, one_of
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Collection

#: Canonical name -> row of the core's table.
REGISTRY = {row["name"]: row for row in _core.registry()}
_CANONICAL = {name: name for name in REGISTRY} | {
    alias: name for name, row in REGISTRY.items() for alias in row["aliases"]
}
#: Evaluated when nothing else is asked for.
WEIGHTED_DEFAULT = ("tis", "pdis", "sntis", "snpdis")
#: Evaluated as well when every policy comes with q and v.
MODEL_DEFAULT = ("dm", "dr", "sndr")
#: Leads a report when none is named: a model where there is one, then the smaller spread.
HEADLINE = (
    "normalised residual",
    "normalised reward",
    "normalised return",
    "residual",
    "centred",
    "reward",
    "return",
    "direct",
)
#: Where estimators are to be had whose result is no value of a policy, by family.
ELSEWHERE = {
    "bandit": 'evaluation.compare("new", "old", estimator="delta")',
    "distribution": "cf.evaluate_distribution",
}
#: Evaluated by `evaluate_distribution` when nothing else is asked for: without and with v.
DISTRIBUTION_DEFAULT = (("cd_sntis",), ("cd_sntis", "cd_sntdr"))
_LABEL = re.compile(r"([^\[\]]+)(?:\[(.*)\])?")


@dataclass(frozen=True)
class _Range:
    """What an option may be."""

    low: float
    high: float
    closed: tuple[bool, bool]
    words: str

    def holds(self, x: object) -> bool:
        """Whether a value lies in it."""
        if not is_number(x) or not math.isfinite(x):
            return False
        above = x >= self.low if self.closed[0] else x > self.low
        return above and (x <= self.high if self.closed[1] else x < self.high)


_POSITIVE = _Range(0.0, math.inf, (False, False), "a number above 0")
#: Transforms of weights, in the order of labels, and what each may be.
TRANSFORMS = {
    "clip": _POSITIVE,
    "exponent": _Range(0.0, 1.0, (True, True), "a number from 0 to 1"),
    "shrinkage": _POSITIVE,
    "harmonic": _Range(0.0, 1.0, (True, False), "a number from 0 to below 1"),
    "switch": _POSITIVE,
    "exploration": _POSITIVE,
    "smoothing": _POSITIVE,
}
_OPTIONS = ("n_step", *TRANSFORMS, "per_step")


@dataclass(frozen=True)
class Estimator:
    """An estimator with options.

    Without options its name alone does, wherever an estimator is asked for; so does its label, as
    in "pdis[clip=10]".

    Parameters
    ----------
    name
        Name or alias; docs/estimators.md lists them.
    n_step
        k of marginal estimators, 0 or more: weights are products of the last k ratios beside the
        marginal ratio k steps back. 0 is the marginal ratio alone, the horizon or more the product
        of all ratios. Yuan et al. 2021 (SOPE). Default: 0.
    clip
        min(w, clip), for clip > 0. Ionides 2008.
    exponent
        w^exponent, from 0 to 1. Korba & Portier 2022. At 0 every weight is 1, and estimators that
        weigh rewards give the logged policy's own mean return; doubly robust ones add to it what Q
        expects of the change of policies, the sum of gamma^t (v - q).
    shrinkage
        l w / (w^2 + l), for l > 0. Su et al. 2020 (DRos).
    harmonic
        w / (1 - l + l w), for l in [0, 1). Metelli et al. 2021.
    switch
        w where w <= switch, else 0. Wang et al. 2017.
    exploration
        pi / (b + g) instead of pi / b, for g > 0; of "ix" alone. Neu 2015.
    smoothing
        ln(1 + l w r) / l instead of w r, for l > 0 and rewards of 0 or more; of "ls" alone.
        Sakhi et al. 2024.
    per_step
        Transform the ratio of each step instead of the weight that is their product. Marginal
        weights and those estimators that must have an option do not take it.

    Raises
    ------
    InvalidArgumentError
        If there is no such estimator, it does not take an option, or a value is out of its range.

    Notes
    -----
    A transform makes weights smaller or more even, and the estimate biased: it pays where the
    spread of the weights is the larger error. One at a time. docs/estimators-bandit.md says which
    estimator takes which.
    """

    name: str
    _: KW_ONLY
    n_step: int = 0
    clip: float | None = None
    exponent: float | None = None
    shrinkage: float | None = None
    harmonic: float | None = None
    switch: float | None = None
    exploration: float | None = None
    smoothing: float | None = None
    per_step: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _CANONICAL[one_of("estimator", self.name, _CANONICAL)])
        _check(self)

    @property
    def row(self) -> Any:
        """What the core's table says of it."""
        return REGISTRY[self.name]

    @property
    def options(self) -> dict[str, float | bool]:
        """The options that are not as they are without being given, in the order of labels."""
        given = {name: getattr(self, name) for name in _OPTIONS}
        absent = {"n_step": 0, "per_step": False}
        return {name: x for name, x in given.items() if x != absent.get(name)}

    @property
    def label(self) -> str:
        """Name and options, as results carry it: "sm_dr[n_step=3,clip=10]"."""
        shown = ",".join(f"{name}={_short(x)}" for name, x in self.options.items())
        return f"{self.name}[{shown}]" if shown else self.name

    @property
    def needs(self) -> list[str]:
        """Columns that it needs of each policy."""
        needs: list[str] = list(self.row["needs"])
        return needs if "prob" in needs or not self.n_step else ["prob", *needs]

    @property
    def transform(self) -> tuple[str, float] | None:
        """What is made of the weights, by name and parameter."""
        found = [(name, x) for name in TRANSFORMS if (x := getattr(self, name)) is not None]
        return (found[0][0], float(found[0][1])) if found else None

    @property
    def for_core(self) -> tuple[str, int, tuple[str, float] | None, bool]:
        """As the core reads it."""
        return self.name, self.n_step, self.transform, self.per_step

    def __str__(self) -> str:
        return self.label


def _short(x: float) -> str:
    return str(x) if isinstance(x, bool) or not float(x).is_integer() else str(int(x))


def _check(estimator: Estimator) -> None:
    """Raise unless every option is one that the estimator takes, and in its range."""
    name, row = estimator.name, estimator.row
    if not is_whole(estimator.n_step) or estimator.n_step < 0:
        text = f"n_step must be a whole number of 0 or more, not {estimator.n_step!r}"
        raise InvalidArgumentError(text)
    if estimator.per_step not in (True, False):
        text = f"per_step must be True or False, not {estimator.per_step!r}"
        raise InvalidArgumentError(text)
    transforms = [t for t in TRANSFORMS if getattr(estimator, t) is not None]
    for transform in transforms:
        value, allowed = getattr(estimator, transform), TRANSFORMS[transform]
        if not allowed.holds(value):
            text = f"{transform} must be {allowed.words}, not {value!r}"
            raise InvalidArgumentError(text)
    for option in estimator.options:
        if option not in row["options"]:
            takes = ", ".join(row["options"]) or "none"
            text = f'"{name}" does not take {option}; its options: {takes}'
            raise InvalidArgumentError(text)
    if len(transforms) > 1:
        text = f"{' and '.join(transforms)} both transform the weights; choose one"
        raise InvalidArgumentError(text)
    if estimator.per_step and not transforms:
        text = "per_step says how a transform is applied, and none is given; add one, as in clip=10"
        raise InvalidArgumentError(text)
    if row["required"] and getattr(estimator, row["required"]) is None:
        text = (
            f'"{name}" needs {row["required"]}, as in '
            f'cf.Estimator("{name}", {row["required"]}=...) or "{name}[{row["required"]}=...]"; '
            "cf.select_estimator chooses among several"
        )
        raise InvalidArgumentError(text)


def parse(estimator: object) -> Estimator:
    """Take an estimator, a name, an alias or a label.

    Raises
    ------
    InvalidArgumentError
        If there is none such.
    """
    if isinstance(estimator, Estimator):
        return estimator
    found = _LABEL.fullmatch(estimator) if isinstance(estimator, str) else None
    if found is None or found[2] is None:
        return Estimator(one_of("estimator", estimator, _CANONICAL))
    options: dict[str, Any] = {}
    for part in found[2].split(","):
        option, _, value = (x.strip() for x in part.partition("="))
        if option not in _OPTIONS:
            text = f"estimator {estimator!r}: no option {option!r}; {suggest(option, _OPTIONS)}"
            raise InvalidArgumentError(text)
        options[option] = _value(option, value, str(estimator))
    return Estimator(one_of("estimator", found[1].strip(), _CANONICAL), **options)


def _value(option: str, text: str, label: str) -> float | bool:
    """Read the value of an option."""
    if option == "per_step":
        if text in ("", "True", "true"):
            return True
    else:
        try:
            return int(text) if option == "n_step" else float(text)
        except ValueError:
            pass
    message = f"estimator {label!r}: {option} cannot be {text!r}"
    raise InvalidArgumentError(message)


def row(label: str) -> Any:
    """Look up what the core's table says of an estimator by its label."""
    return REGISTRY[label.partition("[")[0]]


def is_known(name: str) -> bool:
    """Whether there is an estimator of this name or alias, whatever its options."""
    return name.partition("[")[0] in _CANONICAL


def headline(labels: Collection[str]) -> str:
    """Choose the estimator that leads a report."""
    forms = {label: row(label)["form"] for label in labels}
    ranked = [label for label in labels if forms[label] is not None]
    # Distributions have no order of their own.
    return min(ranked, key=lambda label: HEADLINE.index(forms[label]), default=next(iter(labels)))


def resolve(estimators: object, *, distribution: bool = False) -> list[Estimator]:
    """Resolve a list of estimators of values or of distributions, in the order given.

    Raises
    ------
    InvalidArgumentError
        If it is empty, no list of estimators, names one twice, or one of the other kind.
    """
    if isinstance(estimators, str | Estimator):
        estimators = (estimators,)
    if not isinstance(estimators, Sequence):
        text = f"estimators must be a list of names, not {estimators!r}"
        raise InvalidArgumentError(text)
    if not estimators:
        text = f"no estimators; {suggest('', REGISTRY)}"
        raise InvalidArgumentError(text)
    found = [parse(estimator) for estimator in estimators]
    for estimator in found:
        of_distribution = estimator.row["family"] == "distribution"
        if distribution and not of_distribution:
            known = [name for name, row in REGISTRY.items() if row["family"] == "distribution"]
            text = f'"{estimator.name}" is no estimator of a distribution; {suggest("", known)}'
            raise InvalidArgumentError(text)
        if estimator.row["form"] is None and not distribution:
            where = ELSEWHERE[estimator.row["family"]]
            text = f'"{estimator.name}" is no value of a policy; use {where}'
            raise InvalidArgumentError(text)
    labels = [estimator.label for estimator in found]
    for i, label in enumerate(labels):
        if label in labels[:i]:
            given = [str(e) for e, other in zip(estimators, labels, strict=True) if other == label]
            text = f'estimators {given} are all "{label}"; name it once'
            raise InvalidArgumentError(text)
    return found


def evaluated(estimator: object, evaluated: Sequence[str]) -> str:
    """Resolve the label of one of those that were evaluated; None where it is the only one.

    Raises
    ------
    InvalidArgumentError
        If there are several and none is named, or it was not evaluated.
    """
    if estimator is None:
        if len(evaluated) > 1:
            text = f"several estimators were evaluated; name one: {suggest('', evaluated)}"
            raise InvalidArgumentError(text)
        return evaluated[0]
    try:
        label = parse(estimator).label
    except InvalidArgumentError:
        # The bare name of one that must have an option, which it may have here.
        label = str(estimator)
        if not is_known(label):
            raise
    if label not in evaluated:
        text = f'estimator "{label}" was not evaluated; {suggest(label, evaluated)}'
        raise InvalidArgumentError(text)
    return label
