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


def canonical(name: object) -> str:
    """Resolve a name or an alias.

    Raises
    ------
    InvalidArgumentError
        If there is no such estimator.
    """
    return _CANONICAL[one_of("estimator", name, _CANONICAL)]


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
