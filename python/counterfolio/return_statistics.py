"""Statistics of returns: which there are, at what levels, and of returns of equal weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from counterfolio import _core
from counterfolio.arguments import is_number, one_of
from counterfolio.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

#: Statistics, and whether each has a level.
STATISTICS = {
    "mean": False,
    "variance": False,
    "quantile": True,
    "cvar": True,
    "interquantile_range": True,
}
DEFAULT_ALPHA = (0.05, 0.1, 0.25)


def check_statistic(statistic: object, alpha: object) -> tuple[str, float]:
    """Take a statistic and its level; 0 where it has none.

    Raises
    ------
    InvalidArgumentError
        If there is none such, or the level is missing, needless or out of its range.
    """
    name = one_of("statistic", statistic, STATISTICS)
    if not STATISTICS[name]:
        if alpha is not None:
            text = f'statistic "{name}" has no alpha; drop it'
            raise InvalidArgumentError(text)
        return name, 0.0
    least_open = 0.5 if name == "interquantile_range" else 1.0
    if not is_number(alpha) or not 0 < alpha <= least_open:
        text = f'statistic "{name}" needs alpha in (0, {least_open:g}], not {alpha!r}'
        raise InvalidArgumentError(text)
    return name, float(alpha)


def return_statistic(
    returns: Any,
    statistic: Literal["mean", "variance", "quantile", "cvar", "interquantile_range"],
    alpha: float | None = None,
) -> float:
    """Take a statistic of returns of equal weight, as those of roll-outs.

    Parameters
    ----------
    returns
        One-dimensional.
    statistic
        "mean"; "variance" (ddof 0); "quantile" at alpha, inf { x : F(x) >= alpha }; "cvar", the
        mean of the worst share alpha, an atom that straddles it counted with its fraction;
        "interquantile_range", between the quantiles at alpha and 1 - alpha.
    alpha
        Level in (0, 1]; of an interquantile range in (0, 0.5].

    Returns
    -------
    float

    Raises
    ------
    InvalidArgumentError
        If there is no such statistic, or returns are none.
    """
    asked = check_statistic(statistic, alpha)
    return _core.return_statistic(check_returns("returns", returns), asked)[0]


def check_returns(what: str, returns: Any) -> NDArray[np.float64]:
    """Take an array of one or more finite numbers.

    Raises
    ------
    InvalidArgumentError
        If it is none.
    """
    found = np.asarray(returns)
    if found.ndim != 1 or found.dtype.kind not in "fiu" or not len(found):
        text = f"{what} must be a one-dimensional array of numbers, not {returns!r}"
        raise InvalidArgumentError(text)
    if not np.isfinite(found).all():
        bad = ~np.isfinite(found)
        text = f"{what}: {int(bad.sum())} of {len(found)} are not finite, first at {bad.argmax()}"
        raise InvalidArgumentError(text)
    return np.ascontiguousarray(found, dtype=np.float64)


def at_levels(alpha: Sequence[float], names: Iterable[str]) -> list[tuple[str, float]]:
    """Take statistics by name, those that have levels at each of them."""
    if isinstance(alpha, int | float):
        alpha = [alpha]
    levels = [check_statistic("quantile", a)[1] for a in alpha]
    asked: list[tuple[str, float]] = []
    for name in names:
        if not STATISTICS[one_of("statistic", name, STATISTICS)]:
            asked.append((name, 0.0))
            continue
        asked += [(name, a) for a in levels if a < 0.5 or name != "interquantile_range"]
    return asked
