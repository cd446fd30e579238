"""Linear equations that are solved only where their solution means something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from counterfolio.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Beyond this condition number (in the 1-norm) a solution means nothing.
WORST_CONDITION = 1e12


@dataclass(frozen=True, eq=False)
class Equation:
    """A matrix that can be inverted, for several right-hand sides and its transpose."""

    matrix: Floats
    inverse: Floats

    @classmethod
    def of(cls, matrix: Floats) -> Equation:
        """Take a matrix.

        Raises
        ------
        InvalidArgumentError
            If its condition number is above 1e12.
        """
        try:
            inverse = np.linalg.inv(matrix)
            condition = float(np.linalg.norm(matrix, 1) * np.linalg.norm(inverse, 1))
        except np.linalg.LinAlgError:
            inverse, condition = matrix, np.inf
        if not condition <= WORST_CONDITION:
            text = (
                f"the normal equations have a condition number of {condition:.1e}, above "
                f"{WORST_CONDITION:.0e}: features that (nearly) repeat each other, or with gamma "
                "near 1 states from which no episode ends; use fewer features, a larger ridge, or "
                "a smaller gamma"
            )
            raise InvalidArgumentError(text)
        return cls(matrix, np.asarray(inverse, dtype=np.float64))

    def solve(self, right: Floats, *, transposed: bool = False) -> Floats:
        """Solve for a right-hand side, with two steps of refinement."""
        matrix, inverse = (m.T if transposed else m for m in (self.matrix, self.inverse))
        found: Floats = inverse @ right
        for _ in range(2):
            found = found + inverse @ (right - matrix @ found)
        return found
