"""The page beside SCOPE-RL: each claim holds, and the page is what the script writes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHES = Path(__file__).resolve().parents[1] / "benches"
if not BENCHES.exists():
    pytest.skip("not a checkout", allow_module_level=True)
sys.path.insert(0, str(BENCHES))
import comparison  # noqa: E402
import scope_rl_formulas as scope  # noqa: E402


@pytest.fixture(scope="module")
def tables():
    return comparison.tables()


def test_the_basic_family_agrees_where_nothing_is_masked():
    log = comparison.Log(2000)
    m = log.m
    names = ["dm", "tis", "pdis", "dr", "sntis", "snpdis", "sndr"]
    ours, w = log.ours(names), scope.cumulative(m["prob"], m["propensity"])
    for name in names:
        theirs = scope.basic(name, w, m["reward"], m["q"], m["v"], comparison.GAMMA)
        # Theirs adds 1e-10 to mean weights.
        assert theirs == pytest.approx(ours[name], rel=1e-8), name


def test_ours_are_near_the_truth_and_theirs_are_not(tables):
    for title, rows in tables.items():
        for label, truth, ours, theirs, why in rows:
            if label == "dm":
                continue
            near = abs(ours - truth) <= 0.03 * max(1, abs(truth))
            assert near, (title, label)
            if (
                why.endswith(("the same numbers", "agree", "agree within chance"))
                and "default" not in why
            ):
                assert theirs == pytest.approx(ours, rel=1e-6), (title, label)
            elif title != "Intervals":
                off = abs(theirs - ours)
                assert np.isnan(theirs) or off > 0.01, (title, label)


def test_the_page_is_what_the_script_writes():
    assert comparison.PAGE.read_text("utf-8") == comparison.page()
