"""What an argument of a call may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Collection


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a number; True and False are none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_k(k: object, n_policies: int) -> int:
    """Take the size of a shortlist.

    Raises
    ------
    InvalidArgumentError
        If it is no whole number from 1 to the number of policies.
    """
    if not is_whole(k) or not 1 <= k <= n_policies:
        text = f"k must be a whole number from 1 to {n_policies}, the number of policies, not {k!r}"
        raise InvalidArgumentError(text)
    return int(k)


def one_of(what: str, value: object, known: Collection[str]) -> str:
    """Take one of some names.

    Raises
    ------
    InvalidArgumentError
        If it is none of them.
    """
    if not isinstance(value, str) or value not in known:
        text = f"unknown {what} {value!r}; {suggest(value, known)}"
        raise InvalidArgumentError(text)
    return value


def check_gamma(gamma: object) -> float:
    """Take a discount factor.

    Raises
    ------
    InvalidArgumentError
        If it is not in (0, 1].
    """
    if not is_number(gamma) or not 0 < gamma <= 1:
        text = f"gamma must be in (0, 1], not {gamma!r}"
        raise InvalidArgumentError(text)
    return float(gamma)


def check_seed(seed: object) -> int:
    """Take a seed.

    Raises
    ------
    InvalidArgumentError
        If it is no whole number, or out of range.
    """
    if not is_whole(seed) or not 0 <= seed < 2**64:
        text = f"seed must be a whole number from 0 to 2^64 - 1, not {seed!r}"
        raise InvalidArgumentError(text)
    return int(seed)
