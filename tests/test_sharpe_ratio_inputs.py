"""SharpeRatio@k and the top-k table: what they take and return, and what they refuse."""

from __future__ import annotations

import math
from decimal import Decimal

import counterfolio as cf
import numpy as np
import pandas as pd
import polars as pl
import pytest

NAN, INF = math.nan, math.inf
NAMES = ["k", "best", "worst", "mean", "std", "kth", "safety_violation_rate", "sharpe_ratio"]


# What is taken.


@pytest.mark.parametrize(
    "kind",
    [
        list,
        tuple,
        np.array,
        pl.Series,
        pd.Series,
        lambda x: np.array(x, dtype=np.float32),
        lambda x: np.repeat(x, 2)[::2],
        lambda x: np.array(x, dtype=object),
        lambda x: [Decimal(value) for value in x],
        lambda x: [np.int64(value) for value in x],
        lambda x: dict(zip("abcd", x, strict=True)),
        lambda x: pd.Series(x, index=list("abcd")),
    ],
)
def test_kinds_of_input(kind):
    estimated, true = kind([1, 2, 3, 4]), kind([1, 2, 3, 6])
    assert cf.sharpe_ratio_at_k(estimated, true, 0, 2) == 4.0
    assert cf.top_k(estimated, true, np.float32(0.0))["best"].to_list() == [6.0] * 4


def test_labels_say_what_belongs_together():
    estimated = {"a": 3.0, "b": 2.0, "c": 2.0, "d": None}
    true = {"d": 0.0, "c": 1.0, "b": 5.0, "a": 7.0}
    assert cf.top_k(estimated, true, 0)["kth"].to_list() == [7, 5, 1, 0]
    series = [pd.Series(x) for x in (estimated, true)]
    assert cf.top_k(*series, 0)["kth"].to_list() == [7, 5, 1, 0]


def test_missing_estimates_rank_last():
    for estimated in ([None, 1.0, NAN], pl.Series([None, 1.0, NAN]), [None, INF, NAN]):
        assert cf.top_k(estimated, [1, 2, 3], 0)["kth"].to_list() == [2, 1, 3]


def test_columns():
    table = cf.top_k([2, 1], [1, 2], 0, relative_safety=1)
    assert table.columns == NAMES
    assert table.dtypes == [pl.Int64] + [pl.Float64] * 7
    ratios = cf.sharpe_ratio_at_k([2, 1], [1, 2], 0)
    assert (ratios.dtype, ratios.shape) == (np.float64, (2,))


# What is refused.

E, T = [1.0, 2.0, 3.0], [3.0, 5.0, 4.0]
FINITE = "must be a finite number, got"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((E, T[:2], 0), {}, "estimated has 3 values and true has 2"),
        (([], [], 0), {}, "no policies to rank: estimated and true are empty"),
        (({}, {}, 0), {}, "no policies to rank"),
        ((E, [1, NAN, None], 0), {}, "true: 2 of 3 values are null or NaN, first at position 1"),
        ((E, [1, 2, -INF], 0), {}, "true: 1 of 3 values are infinite or beyond 8.9e307, first at"),
        ((E, [1e308, 2, 3], 0), {}, "true: 1 of 3 values are infinite or beyond 8.9e307, first at"),
        ((["high", 2.0], T, 0), {}, 'estimated: the value at position 0 must be a number, got "h'),
        ((E, np.array(["1", "2", "3"]), 0), {}, "true: the value at position 0 must be a number"),
        ((E, np.array([1, "2", 3], dtype=object), 0), {}, "true: the value at position 1 must be"),
        ((E, pl.Series(["1", "2", "3"]), 0), {}, "true: the value at position 0 must be a number"),
        ((E, [True, False, True], 0), {}, "true: the value at position 0 must be a number, got T"),
        ((E, [1, 2, 10**400], 0), {}, "true: the value at position 2 must be a number, got 1000"),
        (
            (E, np.array([1, 2, 3], "m8[s]"), 0),
            {},
            "true: the value at position 0 must be a number",
        ),
        ((E, [1, [2, 3], 4], 0), {}, "true: the value at position 1 must be a number, got [2, 3]"),
        ((E, np.ones((3, 1)), 0), {}, "true must be one-dimensional, got shape (3, 1)"),
        (("abc", T, 0), {}, "estimated must be a sequence of numbers, an array or a Series, got"),
        (({1.0, 2.0}, T, 0), {}, "estimated must be a sequence of numbers, an array or a Series"),
        (({"a": 1}, [1.0], 0), {}, "estimated and true must both be mappings of policy to value"),
        (
            ({"a": 1}, {"a": 1, "b": 2}, 0),
            {},
            "estimated has no value for 1 of 2 policies, first f",
        ),
        (
            ({"a": 1, "b": 2}, {"a": 1}, 0),
            {},
            'true has no value for 1 of 2 policies, first for "b"',
        ),
        (({"a": "x"}, {"a": 1}, 0), {}, 'estimated, policy "a", must be a number, got "x"'),
        (
            ({"a": 1}, {"a": None}, 0),
            {},
            "true: 1 of 1 values are null, NaN or infinite, first for",
        ),
        (
            (pd.Series([1, 2], index=["a", "a"]), {"a": 1}, 0),
            {},
            "estimated has more than one value",
        ),
        ((E, T, NAN), {}, f"behavior_value {FINITE} NaN"),
        ((E, T, INF), {}, f"behavior_value {FINITE} inf"),
        ((E, T, "8"), {}, 'behavior_value must be a number, got "8"'),
        ((E, T, None), {}, "behavior_value must be a number, got None"),
        ((E, T, True), {}, "behavior_value must be a number, got True"),
        (
            (E, T, 0),
            {"ddof": 2},
            "ddof must be 0 (the paper's formula) or 1 (its published figures)",
        ),
        ((E, T, 0), {"ddof": 1.0}, "ddof must be an integer, got 1.0"),
        ((E, T, 0), {"ddof": True}, "ddof must be an integer, got True"),
        ((E, T, 0), {"ties": "lats"}, 'unknown ties "lats"; did you mean "last"?'),
        ((E, T, 0), {"ties": None}, 'unknown ties None; there is "first", "last", "average"'),
    ],
)
def test_refused_by_both(arguments, options, message):
    for function in (cf.sharpe_ratio_at_k, cf.top_k):
        with pytest.raises(cf.InvalidArgumentError) as caught:
            function(*arguments, **options)
        assert str(caught.value).startswith(message)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a whole number from 1 to 3, the number of policies, not 0"),
        ({"k": 4}, "k must be a whole number from 1 to 3, the number of policies, not 4"),
        ({"k": -1}, "k must be a whole number from 1 to 3, the number of policies, not -1"),
        ({"k": 2.0}, "k must be a whole number from 1 to 3, the number of policies, not 2.0"),
        ({"k": True}, "k must be a whole number from 1 to 3, the number of policies, not True"),
        ({"k": "2"}, "k must be a whole number from 1 to 3, the number of policies, not '2'"),
        ({"clip": NAN}, "clip must be a number of 0 or more, got NaN"),
        ({"clip": -1}, "clip must be a number of 0 or more, got -1.0"),
        ({"clip": True}, "clip must be a number, got True"),
        ({"clip": "100"}, 'clip must be a number, got "100"'),
        ({"compat": "scope-rl"}, 'unknown compat "scope-rl"; did you mean "scope_rl"?'),
        ({"compat": True}, 'unknown compat True; there is "scope_rl"'),
        (
            {"compat": "scope_rl", "ties": "average"},
            'compat="scope_rl" means ddof=1, ties="last", clip=100, which ties="average" contr',
        ),
        (
            {"compat": "scope_rl", "clip": 50},
            'compat="scope_rl" means ddof=1, ties="last", clip=100, which clip=50.0 contradicts',
        ),
    ],
)
def test_refused_by_sharpe_ratio_at_k(options, message):
    with pytest.raises(cf.InvalidArgumentError) as caught:
        cf.sharpe_ratio_at_k(E, T, 0, **options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"safety_threshold": 1, "relative_safety": 0.9},
            "safety_threshold and relative_safety are two criteria: give one of them",
        ),
        ({"safety_threshold": NAN}, f"safety_threshold {FINITE} NaN"),
        ({"safety_threshold": "1"}, 'safety_threshold must be a number, got "1"'),
        ({"relative_safety": INF}, f"relative_safety {FINITE} inf"),
        ({"relative_safety": False}, "relative_safety must be a number, got False"),
    ],
)
def test_refused_by_top_k(options, message):
    with pytest.raises(cf.InvalidArgumentError) as caught:
        cf.top_k(E, T, 0, **options)
    assert str(caught.value).startswith(message)


def test_compat_agrees_with_its_own_options():
    named = cf.sharpe_ratio_at_k(E, T, 0, ddof=1, ties="last", clip=100, compat="scope_rl")
    assert np.array_equal(named, cf.sharpe_ratio_at_k(E, T, 0, compat="scope_rl"), equal_nan=True)
