"""The registry's face: names, aliases and inputs of estimators, read from the core's one table."""

from __future__ import annotations

from collections.abc import Sequence

from counterfolio import _core
from counterfolio.arguments import one_of
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import suggest

#: Canonical name -> row of the core's table (`name aliases title family needs source`).
REGISTRY = {row["name"]: row for row in _core.registry()}
_CANONICAL = {name: name for name in REGISTRY} | {
    alias: name for name, row in REGISTRY.items() for alias in row["aliases"]
}
#: Evaluated when nothing else is asked for.
WEIGHTED_DEFAULT = ("tis", "pdis", "sntis", "snpdis")
#: Evaluated as well when every policy comes with q and v.
MODEL_DEFAULT = ("dm", "dr", "sndr")
#: Leads a report when none is named: a model where there is one, then the smaller spread.
HEADLINE = ("sndr", "snpdis", "sntis", "dr", "pdis", "tis", "dm")


def canonical(name: object) -> str:
    """Resolve a name or an alias.

    Raises
    ------
    InvalidArgumentError
        If there is no such estimator.
    """
    return _CANONICAL[one_of("estimator", name, _CANONICAL)]


def is_known(name: str) -> bool:
    """Whether there is an estimator of this name or alias."""
    return name in _CANONICAL


def resolve(estimators: object) -> list[str]:
    """Resolve a list of names, in the order given.

    Raises
    ------
    InvalidArgumentError
        If it is empty, no list of names, or names one estimator twice.
    """
    if isinstance(estimators, str):
        estimators = (estimators,)
    if not isinstance(estimators, Sequence):
        text = f"estimators must be a list of names, not {estimators!r}"
        raise InvalidArgumentError(text)
    if not estimators:
        text = f"no estimators; {suggest('', REGISTRY)}"
        raise InvalidArgumentError(text)
    names = [canonical(name) for name in estimators]
    for i, name in enumerate(names):
        if name in names[:i]:
            given = [e for e, n in zip(estimators, names, strict=True) if n == name]
            text = f'estimators {given} are all "{name}"; name it once'
            raise InvalidArgumentError(text)
    return names


def evaluated(estimator: object, evaluated: Sequence[str]) -> str:
    """Resolve the name of one of those that were evaluated; None where it is the only one.

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
    name = canonical(estimator)
    if name not in evaluated:
        text = f'estimator "{name}" was not evaluated; {suggest(name, evaluated)}'
        raise InvalidArgumentError(text)
    return name
