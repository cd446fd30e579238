"""Shortlists of candidate policies, judged against the candidates' true values."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
import polars as pl

from counterfolio import _core
from counterfolio.arguments import check_k
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import suggest

FloatArray: TypeAlias = npt.NDArray[np.float64]
PolicyValues: TypeAlias = Sequence[float] | npt.NDArray[Any] | pl.Series | Mapping[Any, float]
Ties: TypeAlias = Literal["first", "last", "average"]


@overload
def sharpe_ratio_at_k(
    estimated: PolicyValues,
    true: PolicyValues,
    behavior_value: float,
    k: int,
    *,
    ddof: int = 0,
    ties: Ties = "first",
    clip: float | None = None,
    compat: Literal["scope_rl"] | None = None,
) -> float: ...


@overload
def sharpe_ratio_at_k(
    estimated: PolicyValues,
    true: PolicyValues,
    behavior_value: float,
    k: None = None,
    *,
    ddof: int = 0,
    ties: Ties = "first",
    clip: float | None = None,
    compat: Literal["scope_rl"] | None = None,
) -> FloatArray: ...


def sharpe_ratio_at_k(
    estimated: PolicyValues,
    true: PolicyValues,
    behavior_value: float,
    k: int | None = None,
    *,
    ddof: int = 0,
    ties: Ties = "first",
    clip: float | None = None,
    compat: Literal["scope_rl"] | None = None,
) -> float | FloatArray:
    r"""
    Return per unit of risk of the k policies that are estimated best.

    .. math:: \text{SharpeRatio@}k = \frac{\max(\text{best@}k, J_b) - J_b}{\text{std@}k}

    with best@k the largest and std@k the standard deviation of the true values of the k policies
    that `estimated` ranks highest, and :math:`J_b` the behavior policy's value. The behavior policy
    is the risk-free asset: after the A/B test it can always be kept. It is not itself part of the
    shortlist unless it is given as a candidate.

    Parameters
    ----------
    estimated, true : array_like, shape (P,), or mapping of policy to value
        What an estimator says of each of P policies, and what each returns on-policy. Either two
        sequences, arrays or Series in the same order, or two mappings with the same keys, in any
        order; ties are then in the order of `estimated`. NaN (or null) estimates rank last, in the
        order given; true values must all be finite.
    behavior_value : float
        The behavior policy's true value, :math:`J_b`.
    k : int, optional
        Size of the shortlist, 1 to P. By default every size.
    ddof : {0, 1}, default 0
        std@k divides by k - `ddof`. 0 is the paper's formula; its figures were drawn with 1.
    ties : {"first", "last", "average"}, default "first"
        Which of the policies with exactly equal estimates come first: the first given, the last
        given, or the average of the ratio over all ways to complete the top k (over 1,000 fixed
        random ones where there are more than 10,000).
    clip : float, optional
        Ratios above it, +inf included, become `clip`. It applies to the average, not within it.
    compat : {"scope_rl"}, optional
        SCOPE-RL's conventions, under which its published figures are reproduced: ``ddof=1``,
        ``ties="last"``, ``clip=100``, and 0 in place of NaN for k >= 2.

    Returns
    -------
    float or numpy.ndarray of float64, shape (P,)
        The ratio for `k`; without `k` one for every size, entry i for k = i + 1. NaN for k = 1.
        Where the k true values are all equal: NaN if they do not exceed `behavior_value`, else
        +inf.

    Raises
    ------
    InvalidArgumentError
        For no policies, lengths or keys that differ, values that are not numbers, true values or a
        behavior value that are not finite, `k` outside 1..P, an unknown or impossible option, and
        options that contradict `compat`.

    Notes
    -----
    Where it misleads:

    - It rewards agreement among the chosen as much as a good best one. Nearly equal true values
      make it arbitrarily large, and a shortlist of one excellent and one poor policy scores below
      one of two mediocre policies: look at `top_k` as well.
    - It is 0 for every shortlist that does not beat the behavior policy, however bad it is.
    - Values at different k, or at different `ddof`, are not comparable (for k = 2 the two `ddof`
      differ by a factor of 1.41), and one number from one log has a spread of its own.

    References
    ----------
    Kiyohara, Kishimoto, Kawakami, Kobayashi, Nakata & Saito (2024), "Towards Assessing and
    Benchmarking Risk-Return Tradeoff of Off-Policy Evaluation", ICLR, arXiv:2311.18207, the
    definition of SharpeRatio@k.

    Examples
    --------
    >>> import counterfolio as cf
    >>> cf.sharpe_ratio_at_k([1.0, 3.0, 2.0], [1.0, 5.0, 3.0], behavior_value=2.0, k=2)
    3.0
    """
    check_ranking(ddof, ties)
    if compat is not None:
        _check_name("compat", compat, ("scope_rl",))
    estimates, truth = _paired(estimated, true)
    ratios: FloatArray = _core.top_k(
        estimates,
        truth,
        _number(behavior_value, "behavior_value"),
        ddof=ddof,
        ties=ties,
        clip=_optional_number(clip, "clip"),
        scope_rl=compat is not None,
    )["sharpe_ratio"]
    return ratios if k is None else float(ratios[check_k(k, len(ratios)) - 1])


def top_k(
    estimated: PolicyValues,
    true: PolicyValues,
    behavior_value: float,
    *,
    safety_threshold: float | None = None,
    relative_safety: float | None = None,
    ddof: int = 0,
    ties: Ties = "first",
) -> pl.DataFrame:
    """
    Measure what the k policies that are estimated best really return, for every k.

    Parameters
    ----------
    estimated, true, behavior_value, ddof
        As for `sharpe_ratio_at_k`.
    safety_threshold : float, optional
        A policy whose true value lies below it is unsafe.
    relative_safety : float, optional
        The same relative to the behavior policy: c means a threshold of
        ``behavior_value - (1 - c) * abs(behavior_value)``. At most one of the two.
    ties : {"first", "last", "average"}, default "first"
        As for `sharpe_ratio_at_k`; under "average" every column is averaged, and ``kth`` is the
        mean of the policies tied at rank k.

    Returns
    -------
    polars.DataFrame, P rows
        k
            Size of the shortlist, 1 to P.
        best, worst, mean, std
            Of the true values of the top k; std is NaN for k = 1 and ``ddof=1``.
        kth
            True value of the policy ranked k-th.
        safety_violation_rate
            Share of unsafe policies among the top k; null without a criterion.
        sharpe_ratio
            As `sharpe_ratio_at_k`, neither clipped nor filled.

    Raises
    ------
    InvalidArgumentError
        As for `sharpe_ratio_at_k`, and for two safety criteria or one that is not finite.

    Notes
    -----
    best only rises and worst only falls with k, whatever the estimator: compare estimators at the
    same k. The rows are numbers of one log; they carry no error of their own.

    References
    ----------
    As for `sharpe_ratio_at_k`.

    Examples
    --------
    >>> import counterfolio as cf
    >>> cf.top_k([1.0, 3.0, 2.0], [1.0, 5.0, 3.0], behavior_value=2.0)["mean"].to_list()
    [5.0, 4.0, 3.0]
    """
    check_ranking(ddof, ties)
    safety_threshold, relative_safety = check_safety(safety_threshold, relative_safety)
    estimates, truth = _paired(estimated, true)
    columns = _core.top_k(
        estimates,
        truth,
        _number(behavior_value, "behavior_value"),
        ddof=ddof,
        ties=ties,
        safety_threshold=safety_threshold,
        relative_safety=relative_safety,
    )
    return pl.DataFrame(
        {"k": np.arange(1, len(truth) + 1), **columns},
        schema_overrides={"safety_violation_rate": pl.Float64},
    )


def check_ranking(ddof: int, ties: str) -> None:
    """Raise for a divisor or an order of ties that there is not."""
    if _integer(ddof, "ddof") not in (0, 1):
        message = f"ddof must be 0 (the paper's formula) or 1 (its published figures), got {ddof}"
        raise InvalidArgumentError(message)
    _check_name("ties", ties, ("first", "last", "average"))


def check_safety(threshold: Any, relative: Any) -> tuple[float | None, float | None]:
    """Take at most one criterion of safety."""
    if threshold is not None and relative is not None:
        message = "safety_threshold and relative_safety are two criteria: give one of them"
        raise InvalidArgumentError(message)
    return (
        _optional_number(threshold, "safety_threshold"),
        _optional_number(relative, "relative_safety"),
    )


def _paired(estimated: PolicyValues, true: PolicyValues) -> tuple[FloatArray, FloatArray]:
    """Both as arrays in the same order of policies."""
    # A pandas Series has items too: its labels say which values belong together.
    if not (hasattr(estimated, "items") and hasattr(true, "items")):
        if isinstance(estimated, Mapping) or isinstance(true, Mapping):
            message = "estimated and true must both be mappings of policy to value, or neither"
            raise InvalidArgumentError(message)
        return _array(estimated, "estimated"), _array(true, "true")
    estimates, truth = _by_policy(estimated, "estimated"), _by_policy(true, "true")
    for name, one, other in (("true", truth, estimates), ("estimated", estimates, truth)):
        if missing := [f'"{policy}"' for policy in other if policy not in one]:
            message = (
                f"{name} has no value for {len(missing)} of {len(other)} policies, first for "
                f"{missing[0]}: both must name the same policies"
            )
            raise InvalidArgumentError(message)
    return (
        np.array(list(estimates.values()), dtype=np.float64),
        np.array([truth[policy] for policy in estimates], dtype=np.float64),
    )


def _by_policy(values: Any, name: str) -> dict[Any, float]:
    by_policy = {
        policy: math.nan if value is None else _number(value, f'{name}, policy "{policy}",')
        for policy, value in values.items()
    }
    if len(by_policy) < len(values):
        message = f"{name} has more than one value for some policy: labels must not repeat"
        raise InvalidArgumentError(message)
    if name == "true":
        # The same refusal as in the core, which does not know the policies' names.
        unknown = [policy for policy, value in by_policy.items() if not math.isfinite(value)]
        if unknown:
            message = (
                f"true: {len(unknown)} of {len(by_policy)} values are null, NaN or infinite, first "
                f'for policy "{unknown[0]}"; leave these policies out or measure them'
            )
            raise InvalidArgumentError(message)
    return by_policy


def _array(values: Any, name: str) -> FloatArray:
    """`values` as a contiguous array of float64; None becomes NaN."""
    is_series = isinstance(values, Sequence) and not isinstance(values, str | bytes)
    if not (is_series or hasattr(values, "__array__")):
        message = f"{name} must be a sequence of numbers, an array or a Series, got {values!r}"
        raise InvalidArgumentError(message)
    try:
        array = np.asarray(values)
    except ValueError:  # rows of several lengths: the first of them is named below
        array = np.empty(len(values), dtype=object)
    if array.ndim != 1:
        message = f"{name} must be one-dimensional, got shape {array.shape}"
        raise InvalidArgumentError(message)
    if array.dtype.kind not in "iuf":
        array = np.array(
            [
                math.nan if value is None else _number(value, f"{name}: the value at position {i}")
                for i, value in enumerate(values)
            ]
        )
    return np.ascontiguousarray(array, dtype=np.float64)


def _number(value: Any, name: str) -> float:
    is_number = isinstance(value, numbers.Real | Decimal)
    # Python and numpy count these among the integers.
    if is_number and not isinstance(value, bool | np.timedelta64):
        try:
            return float(value)
        except OverflowError:  # an integer or a fraction beyond 1.8e308
            pass
    message = f"{name} must be a number, got {_shown(value)}"
    raise InvalidArgumentError(message)


def _optional_number(value: Any, name: str) -> float | None:
    """Take a number, or None."""
    return None if value is None else _number(value, name)


def _integer(value: Any, name: str) -> int:
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    message = f"{name} must be an integer, got {_shown(value)}"
    raise InvalidArgumentError(message)


def _check_name(option: str, name: object, known: Sequence[str]) -> None:
    if not isinstance(name, str) or name not in known:
        message = f"unknown {option} {_shown(name)}; {suggest(name, known)}"
        raise InvalidArgumentError(message)


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
