"""Quantiles against scipy, and what an interval says of what is undefined."""

import math

import pytest
from counterfolio import _core
from scipy import stats

DEGREES = [1, 2, 3, 10, 29, 100, 817, 1999, 2001, 2477, 10**5, 10**7, 10**9]
LEVELS = [0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.999999]


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("level", LEVELS)
def test_quantiles(degrees, level):
    for alternative, p in (("two-sided", 0.5 + level / 2), ("greater", level)):
        for interval, exact in (("normal", stats.norm.ppf(p)), ("t", stats.t.ppf(p, degrees))):
            (low,), _ = _core.intervals([0.0], [1.0], interval, degrees, level, alternative)
            assert -low == pytest.approx(exact, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_undefined_values(alternative):
    values, errors = [math.nan, math.inf, 1.0], [1.0, math.inf, math.nan]
    low, high = _core.intervals(values, errors, "t", 9, 0.95, alternative)
    assert math.isnan(low[0])
    assert math.isnan(high[0])
    assert (low[1], high[1]) == (-math.inf, math.inf)
    assert math.isnan(low[2]) == (alternative != "less")
    assert math.isnan(high[2]) == (alternative != "greater")
