"""`Kernel`: what stands for the density of a policy that takes one action for sure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from counterfolio import _core
from counterfolio.arguments import one_of
from counterfolio.dense import blocks
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.policies.continuous import parameter
from counterfolio.policies.objects import logged_actions, named
from counterfolio.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from counterfolio.log import LoggedData

KERNELS = tuple(_core.kernels())
SLOPE = "slope"
#: Share of logged actions at a bound from which they are no density's.
MOST_AT_A_BOUND = 0.01


@dataclass(frozen=True, eq=False)
class Kernel:
    """A product kernel about the action of a deterministic policy.

    A policy that does one thing for sure has no density, and almost never does what was logged.
    pi(a|s) is replaced by K_h(a - pi(s)) = prod_j K((a_j - pi_j(s)) / h_j) / h_j: what was logged
    counts the more, the nearer it is to what the policy would have done.

    Parameters
    ----------
    name
        "gaussian"; or, of finite reach, "triangular", "epanechnikov", "cosine", "uniform".
    bandwidth
        h, in units of the action: a number, or one for each dimension. "slope" lets the log choose
        one for each policy, by SLOPE over a grid about the rule of thumb.
    action_bounds
        (low, high) between which all actions lie, each a number or one for each dimension: K_h is
        divided by its integral over them, so that no mass is lost beyond.

    Raises
    ------
    InvalidArgumentError
        If there is no such kernel, or a number is out of its range.

    Notes
    -----
    Biased, by about h^2 times the curvature of the reward in the action; variable, as 1 / (n h^d).
    With several dimensions it needs very many rows; over a horizon kernels multiply. Kallus & Zhou
    2018, "Policy evaluation and optimization with continuous treatments".
    """

    name: Literal["gaussian", "triangular", "epanechnikov", "cosine", "uniform"] = "gaussian"
    bandwidth: float | Sequence[float] | Literal["slope"] = "slope"
    action_bounds: tuple[Any, Any] | None = None

    def __post_init__(self) -> None:
        one_of("kernel", self.name, KERNELS)
        if isinstance(self.bandwidth, str):
            one_of("bandwidth", self.bandwidth, (SLOPE,))
        else:
            h = parameter("bandwidth", self.bandwidth)
            if not ((h > 0) & np.isfinite(h)).all():
                text = f"bandwidth must be finite and above 0, not {self.bandwidth!r}"
                raise InvalidArgumentError(text)
        if self.action_bounds is None:
            return
        given: Any = self.action_bounds
        if not isinstance(given, tuple | list) or len(given) != 2:
            text = f"action_bounds must be (low, high), not {self.action_bounds!r}"
            raise InvalidArgumentError(text)
        low, high = (parameter("action_bounds", x) for x in self.action_bounds)
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            text = f"action_bounds must be finite with low < high, not {self.action_bounds!r}"
            raise InvalidArgumentError(text)

    def with_bandwidth(self, bandwidth: NDArray[np.float64]) -> Kernel:
        """Return the same kernel with another bandwidth."""
        return replace(self, bandwidth=bandwidth.tolist())

    def density(self, actions: Any, centres: Any, num_threads: int = 1) -> NDArray[np.float64]:
        """Return K_h(a - c) of each row.

        Parameters
        ----------
        actions, centres
            float64 arrays of shape (n, d).
        num_threads
            How many threads the rows are spread over; the result is the same. Default: 1.

        Raises
        ------
        InvalidPolicyError
            If one lies outside the bounds, or parameters are of another dimension.
        """
        assert not isinstance(self.bandwidth, str)
        actions, centres = (np.ascontiguousarray(x, dtype=np.float64) for x in (actions, centres))
        d = actions.shape[1]
        h = self._each("bandwidth", self.bandwidth, d)
        bounds = None
        if self.action_bounds is not None:
            low, high = (self._each("action_bounds", x, d) for x in self.action_bounds)
            self._inside("logged actions", actions, low, high)
            self._inside("actions of the policy", centres, low, high)
            bounds = list(zip(low.tolist(), high.tolist(), strict=True))
        return _core.kernel_density(self.name, actions, centres, h.tolist(), bounds, num_threads)

    def _each(self, what: str, value: Any, d: int) -> NDArray[np.float64]:
        """Give every dimension its number."""
        given = parameter(what, value)
        if given.ndim and len(given) not in (1, d):
            text = (
                f"kernel: {what} has {plural(len(given), 'number')}, but actions have {d}; pass "
                "one number, or one for each dimension"
            )
            raise InvalidPolicyError(text)
        return np.broadcast_to(given, (d,)).astype(np.float64)

    def _inside(
        self,
        what: str,
        values: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
    ) -> None:
        bad = np.asarray(((values < low) | (values > high)).any(axis=1))
        if bad.any():
            row = int(bad.argmax())
            text = (
                f"{int(bad.sum())} of {len(bad)} {what} lie outside action_bounds, first at row "
                f"{row} ({values[row].tolist()}); widen action_bounds"
            )
            raise InvalidPolicyError(text)

    def at_a_bound(self, actions: NDArray[np.float64]) -> str | None:
        """Say where so many logged actions are exactly at a bound that they have no density."""
        if self.action_bounds is None:
            return None
        d = actions.shape[1]
        low, high = (self._each("action_bounds", x, d) for x in self.action_bounds)
        share = float(((actions == low) | (actions == high)).any(axis=1).mean())
        if share <= MOST_AT_A_BOUND:
            return None
        return (
            f"{100 * share:.1f} % of logged actions are exactly at a bound, as of a density that "
            "was cut off there: no density is their propensity"
        )


def vectors_of(log: LoggedData) -> NDArray[np.float64]:
    """Take the logged actions of a continuous log as an array of shape (n, d)."""
    take = logged_actions(log)
    found = np.concatenate([np.asarray(take(rows)) for rows in blocks(log.n_rows)])
    return found[:, None] if found.ndim == 1 else found


def density_of(
    name: str,
    centres: NDArray[np.float64],
    kernel: Kernel,
    log: LoggedData,
    threads: int,
) -> NDArray[np.float64]:
    """Put a kernel about what a policy would have done, at what was logged.

    Raises
    ------
    InvalidPolicyError
        If shapes differ, a value is not finite or outside the bounds.
    """
    actions = vectors_of(log)
    if centres.shape != actions.shape:
        text = (
            f'policy "{name}": its actions have shape {centres.shape}, but the logged ones '
            f"{actions.shape}; pass one action for each row"
        )
        raise InvalidPolicyError(text)
    bad = np.asarray(~np.isfinite(centres).all(axis=1))
    if bad.any():
        text = (
            f'policy "{name}": column "action": {int(bad.sum())} of {len(bad)} values are not '
            f"finite, first at row {int(bad.argmax())}; fill them in"
        )
        raise InvalidPolicyError(text)
    with named(f'policy "{name}"', InvalidPolicyError):
        return kernel.density(actions, centres, threads)
