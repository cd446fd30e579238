"""How often intervals hold the true value: a small part of what benches/coverage.py measures."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benches"))

from coverage_cells import (  # noqa: E402
    ALLOWED,
    ASYMPTOTIC,
    LEVEL,
    OTHERS,
    RANGED,
    SIZES,
    cases,
    many_logs,
    run,
    summarise,
)
from coverage_page import TITLES, described  # noqa: E402

LOGS = 600
#: Three standard errors of a coverage.
CHANCE = 3 * (LEVEL * (1 - LEVEL) / LOGS) ** 0.5


@pytest.mark.slow
def test_intervals_hold_what_they_promise():
    found = run(LOGS, (200, 1_000), ("one step, near", "short, near", "short, far"))
    kinds = pl.col("interval")
    bounds = found.filter(kinds.is_in(RANGED))
    assert len(bounds) == 38
    assert bounds["coverage"].min() >= LEVEL - CHANCE
    promised = found.filter("promised", ~kinds.is_in(RANGED), kinds != "cressie_read")
    assert set(promised["interval"]) == set(ASYMPTOTIC)
    assert (promised["coverage"] - LEVEL).abs().max() <= ALLOWED + CHANCE
    above = found.filter("promised", kinds == "cressie_read")
    assert above["coverage"].min() >= LEVEL - ALLOWED - CHANCE
    # Where weights are heavy and intervals miss, the result says not to lean on them.
    far = found.filter(pl.col("case") == "short, far", kinds.is_in(ASYMPTOTIC))
    assert far.filter(pl.col("estimator") == "tis")["coverage"].max() < LEVEL - 2 * ALLOWED
    assert not far["promised"].any()


def test_intervals_that_are_too_short_are_found_out():
    logs = many_logs(("one step, near", 1_000, range(100)))
    assert not summarise(logs).filter(pl.col("interval") == "empirical_bernstein")["fails"].any()
    middle = (pl.col("low") + pl.col("high")) / 2
    tenth = logs.with_columns(low=middle + (pl.col("low") - middle) / 10)
    tenth = tenth.with_columns(high=2 * middle - pl.col("low"))
    found = summarise(tenth).filter("promised", ~pl.col("interval").is_in(RANGED))
    assert len(found) > 20
    assert found["fails"].all()


def test_the_page_is_of_these_cases():
    page = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    assert all(row in page for row in described())
    assert all(f"### `{title}`" in page for title in TITLES.values())
    assert all(f"| {name} | {n:,} |" in page for name in cases() for n in SIZES)
    assert all(f"`{kind}`" in page for kind in OTHERS)
