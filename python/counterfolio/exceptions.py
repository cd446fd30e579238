"""The errors that counterfolio raises; each is also the built-in one that callers may catch."""

from counterfolio._core import (
    CounterfolioError,
    InvalidArgumentError,
    InvalidLogError,
    InvalidPolicyError,
    MissingExtraError,
)

__all__ = [
    "CounterfolioError",
    "InvalidArgumentError",
    "InvalidLogError",
    "InvalidPolicyError",
    "MissingExtraError",
]
