"""SLOPE: how far to trade variance for bias, along an ordered family of estimates.

Estimates are ordered from the least biased, most variable one to the most biased, least variable
one. Intervals of two half-widths about each are intersected one after the other; where they have no
point in common any more, bias has become visible, and the last estimate before it is chosen. Its
error is within a constant factor of the best of the family's (Su, Srinath & Krishnamurthy 2020,
"Adaptive estimator selection for off-policy evaluation", algorithm 1 and theorem 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Slope:
    """What SLOPE chose, and why.

    Attributes
    ----------
    index : int
        Place of the chosen estimate; -1 where none is defined.
    widths : (n,) array
        Half-widths made monotone: each at least as large as all later ones.
    low, high : (n,) array
        What the intervals up to each have in common; empty, with low above high, after the last
        that agrees with all before.
    """

    index: int
    widths: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def slope(values: ArrayLike, half_widths: ArrayLike) -> Slope:
    """Choose from estimates that are ordered from the least biased to the least variable.

    Parameters
    ----------
    values
        The estimates.
    half_widths
        Of intervals about each estimate's own mean. Those that are undefined (NaN) are passed over.

    Returns
    -------
    Slope

    Notes
    -----
    It fails where the order is wrong, and where the first estimates are themselves biased: bias is
    only seen against them.
    """
    theta = np.asarray(values, dtype=np.float64)
    widths = np.asarray(half_widths, dtype=np.float64)
    known = np.isfinite(theta) & np.isfinite(widths)
    widths = np.where(known, widths, 0.0)
    # The family's widths fall; where they do not, the larger one bounds both.
    widths = np.maximum.accumulate(widths[::-1])[::-1]
    low = np.maximum.accumulate(np.where(known, theta - 2 * widths, -np.inf))
    high = np.minimum.accumulate(np.where(known, theta + 2 * widths, np.inf))
    agreeing = np.flatnonzero(known & np.logical_and.accumulate(low <= high))
    index = int(agreeing[-1]) if len(agreeing) else -1
    return Slope(index, np.where(known, widths, np.nan), low, high)
