"""What docs/comparison.md claims: where SCOPE-RL's formulas agree, and what each difference is."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benches"))

import comparison  # noqa: E402
import comparison_intervals as intervals  # noqa: E402
import comparison_tables  # noqa: E402
import scope_rl_formulas as scope_rl  # noqa: E402
from comparison_logs import far_policy, fixed_length  # noqa: E402

#: Their 1e-10 in every mean weight changes some 1e-10 of a value.
SAME = 1e-9
GOLDEN = ROOT / "tests" / "goldens" / "fixed_length_discrete.json"


@cache
def table(name: str) -> pl.DataFrame:
    return comparison.TABLES[name]()


def near(found: pl.DataFrame, one: str, other: str) -> list[bool]:
    return np.isclose(found[one], found[other], rtol=SAME, atol=SAME).tolist()


def rows_of_the_golden(policy: dict, golden: dict) -> scope_rl.Rows:
    shape = (golden["n_episodes"], golden["n_steps"])
    probs, values = (np.array(policy[k]) for k in ("action_probabilities", "q_values"))
    logged = np.arange(len(probs)), golden["action"]
    done = np.zeros(shape)
    done[:, -1] = 1
    found = [golden["reward"], done, golden["propensity"], probs[logged], values[logged]]
    found += [(probs * values).sum(axis=1), policy["state_ratio"], policy["state_action_ratio"]]
    return scope_rl.Rows(*(np.reshape(x, shape) for x in found))


def test_the_restated_formulas_are_those_of_the_package():
    """The golden says of each number whether SCOPE-RL 0.2.1 returns it too."""
    golden = json.loads(GOLDEN.read_text("utf-8"))
    rows = {name: rows_of_the_golden(p, golden) for name, p in golden["policies"].items()}
    agreed = []
    for expected in golden["expected"]:
        name, gamma = expected["estimator"], expected["gamma"]
        log = rows[expected["policy"]]
        if name == "drl" or "_" in name:
            k = expected.get("n_step") or 0
            theirs = scope_rl.marginal(name, log, gamma, k)
            mended = scope_rl.marginal(name, log, gamma, k, mended=True)
        else:
            theirs = mended = scope_rl.basic(name, log, gamma, disable_reward_after_done=False)
        agrees = bool(abs(theirs.mean() - expected["value"]) < 1e-8)
        assert agrees == expected["agrees_with_incumbent"], expected
        assert mended.mean() == pytest.approx(expected["value"], abs=1e-8), expected
        agreed.append(agrees)
    assert 0 < sum(agreed) < len(agreed) == 128


@pytest.mark.parametrize("name", ["basic", "marginal", "statistics", "distribution", "unequal"])
def test_ours_are_the_truth_on_populations(name):
    found = table(name)
    if "estimator" in found.columns:
        found = found.filter(~pl.col("estimator").is_in(["dm", "sm_dm"]))
    assert len(found) > 5
    assert all(near(found, "ours", "truth"))


@pytest.mark.parametrize("name", ["basic", "unequal"])
def test_the_last_reward_is_dropped_and_otherwise_the_basic_family_agrees(name):
    found = table(name)
    assert all(near(found, "theirs, last reward kept", "ours"))
    weighted = found.filter(pl.col("estimator") != "dm")
    assert (weighted["theirs"] < 0.8 * weighted["ours"]).all()
    assert all(near(found.filter(estimator="dm"), "theirs", "ours"))


def test_what_is_missing_is_the_last_reward():
    case = fixed_length(0.9)
    rows = case.theirs()
    dropped = [scope_rl.basic("tis", rows, 0.9, disable_reward_after_done=x) for x in (True, False)]
    weight = scope_rl.cumulative_weight(rows)[:, -1]
    last = weight * 0.9**3 * rows.reward[:, -1]
    np.testing.assert_allclose(dropped[1] - dropped[0], last, atol=1e-12)


def test_rows_carried_on_spare_only_dm_and_pdis():
    found = table("unequal")
    agree = near(found, "theirs, last row carried on", "ours")
    assert found.filter(pl.Series(agree))["estimator"].to_list() == ["dm", "pdis"]


def test_long_horizons_end_in_nan_or_0():
    found = table("long_horizons")
    assert (found["ours"] - 1).abs().max() < SAME
    equal = found.filter(pl.col("log").str.starts_with("π = b"))
    late = equal["steps"].is_in([330, 170])
    assert equal.filter(late)["theirs"].is_nan().all()
    assert (equal.filter(~late)["theirs"] - 1).abs().max() < SAME
    far = found.filter(~pl.col("log").str.starts_with("π = b"))
    assert (far.filter(pl.col("steps") > 20)["theirs"] < 0.7).all()
    assert (far.filter(estimator="sntis", steps=100)["theirs"] < 1e-20).all()


def test_far_policies_come_with_a_note():
    assert all(far_policy(steps).noted(["sntis", "snpdis"]) for steps in (50, 100))


def test_marginal_differences_are_those_named():
    found = table("marginal")
    assert all(near(found, "theirs, mended", "ours"))
    agree = found.with_columns(agree=pl.Series(near(found, "theirs", "ours")))
    always = agree.filter(pl.col("estimator").is_in(["sm_dm", "sam_is", "sam_snis"]))
    assert always["agree"].all()
    never = agree.filter(pl.col("estimator").is_in(["sm_is", "sm_dr", "sm_snis", "sm_sndr"]))
    assert not never["agree"].any()
    at_one = agree.filter(pl.col("estimator").is_in(["drl", "sam_dr", "sam_sndr"]))
    assert (at_one["agree"] == (at_one["gamma"] == 1.0)).all()
    # drl at gamma 0.9 is drl at gamma 1.
    drl = found.filter(estimator="drl")["theirs"]
    assert drl[0] == pytest.approx(drl[1], abs=SAME)


def test_without_ratios_of_actions_the_behavior_policy_acts():
    """sm_is at k = 0: the policy's states, the behavior policy's actions."""
    case = fixed_length(0.9)
    visits = case.process.visits(np.array([[0.7, 0.3], [0.2, 0.8]]))
    earns = (case.behavior * case.process.reward).sum(axis=1)
    value = 0.9 ** np.arange(4) @ visits @ earns
    theirs = table("marginal").filter(estimator="sm_is", n_step=0, gamma=0.9)["theirs"][0]
    assert theirs == pytest.approx(value, abs=SAME)


def test_v_of_the_next_state_is_misplaced():
    """At exact weights the error of sam_dr is gamma^(T-1) (gamma - 1) E[v at the last step]."""
    case = fixed_length(0.9)
    rows = case.theirs()
    last = (scope_rl.previous(rows.state_action_ratio) * rows.v)[:, -1].mean()
    found = table("marginal").filter(estimator="sam_dr", n_step=0, gamma=0.9)
    error = found["theirs"][0] - found["truth"][0]
    assert error == pytest.approx(0.9**3 * (0.9 - 1) * last, abs=SAME)


def test_sm_sndr_begins_with_v_of_the_second_state():
    """With all weights 1 nothing else tells it from sm_dr."""
    rows = fixed_length(0.9).theirs()
    rows = replace(rows, prob=rows.pscore, state_ratio=np.ones_like(rows.prob))
    sndr, dr = (scope_rl.marginal(name, rows, 0.9).mean() for name in ("sm_sndr", "sm_dr"))
    second, first = rows.v[:, 1].mean(), rows.v[:, 0].mean()
    assert abs(second - first) > 0.1
    assert sndr - dr == pytest.approx(second - first, abs=SAME)


def test_the_distribution_is_a_row_down():
    found = table("distribution")
    assert all(near(found, "theirs, mended", "ours"))
    assert found["theirs"][0] == 0.0
    np.testing.assert_allclose(found["theirs"][1:-1], found["truth"][:-2], atol=SAME)


def test_statistics_differ_by_what_is_named():
    found = table("statistics")
    assert all(near(found, "theirs, mended", "ours"))
    assert not any(near(found, "theirs", "ours"))
    mean = found.filter(estimator="cd_tdr", statistic="mean", gamma=1.0)
    lowest = table("distribution").row(0, named=True)
    assert mean["truth"][0] - mean["theirs"][0] == pytest.approx(lowest["truth"] * lowest["x"])
    assert lowest["truth"] * lowest["x"] == pytest.approx(0.0144)


def test_a_tenth_of_every_return_is_missing_from_the_distribution():
    """At gamma 0.9 the first reward counts 0.9 times, and the grid is of undiscounted returns."""
    case = fixed_length(0.9)
    points, probability = case.returns
    grid = comparison_tables.default_grid(case)
    found = scope_rl.cdf("cd_tis", case.theirs(), 0.9, grid)
    below = np.array([probability[0.9 * points < x].sum() for x in grid])
    np.testing.assert_allclose(found[1:], below[1:], atol=SAME)
    right = np.array([probability[points < x].sum() for x in grid])
    assert abs(found - right).max() > 0.1


def test_cvar_takes_the_whole_point_at_which_f_passes():
    """On their own F, so that nothing else is wrong with it than that."""
    x, f = (table("distribution")[key].to_numpy() for key in ("x", "theirs"))
    last = int((f > 0.1).argmax())
    mass = np.diff(f)[:last]
    whole = mass @ x[1 : last + 1] / f[last]
    # Of the last point only what is missing to 10 %.
    part = (mass[:-1] @ x[1:last] + (0.1 - f[last - 1]) * x[last]) / 0.1
    assert whole - part > 0.1
    for name in ("cd_tis", "cd_sntis"):
        found = table("statistics").filter(estimator=name, statistic="cvar", gamma=1.0)
        assert found["theirs"][0] == pytest.approx(whole, abs=SAME)


def test_kernels():
    found = table("kernels")
    one = found.filter(pl.col("log") == "the class called by itself")
    assert len(one) == 5
    assert all(near(one, "theirs", "ours"))
    others = found.filter(pl.col("log") != "the class called by itself")
    assert not any(near(others, "theirs", "ours"))
    mended = others.drop_nulls()
    assert len(mended) == 4
    assert all(near(mended, "theirs, mended", "ours"))
    # A sum of a kernel with a kink over a lattice of 400 points is an integral to 1e-3.
    np.testing.assert_allclose(found["ours"], found["truth"], rtol=1e-3)


def test_widths():
    found = table("widths")
    half = {k: found.filter(rewards="wins", interval=k) for k in found["interval"].unique()}
    ratio = half["hoeffding"]["theirs"] / half["hoeffding"]["ours"]
    np.testing.assert_allclose(ratio, half["hoeffding"]["n"], rtol=SAME)
    assert (half["t"]["theirs"] < 0.85 * half["t"]["ours"]).all()
    assert (half["empirical_bernstein"]["theirs"] < half["empirical_bernstein"]["ours"]).all()
    assert found.filter(rewards="losses", interval="hoeffding")["theirs"][0] < 0
    # The sample's maximum for the range: what is added to every reward widens the interval.
    rewards = np.array([0.0, 0.0, 1.0, 1.0])
    narrow, wide = (scope_rl.bernstein(rewards + x, 0.05) for x in (0.0, 1.0))
    assert wide > 1.5 * narrow


def test_theirs_are_the_widths_of_lower_confidence():
    """At 90 % ours are as wide as theirs at 95 %: t is one-sided, and so is ln(2 / alpha)."""
    n = 100
    action, reward = intervals.WINS.draw(n, seed=n)
    log = cf.LoggedData.from_frame(
        {"action": action, "reward": reward, "propensity": np.full(n, 0.5)}
    )
    for kind, options in (("t", {}), ("empirical_bernstein", {"value_range": (0.0, 1.6)})):
        found = cf.evaluate(
            log,
            {"new": intervals.PROB[action]},
            ["tis"],
            interval=kind,
            confidence_level=0.9,
            **options,
        ).estimates.row(0, named=True)
        theirs = table("widths").filter(rewards="wins", interval=kind, n=n)["theirs"][0]
        # Bounds may be cut off at the range of values.
        upper = found["ci_high"] - found["value"]
        assert theirs == pytest.approx(upper, rel=SAME), kind


def test_coverage():
    found = table("coverage")
    t = found.filter(interval="t").row(0, named=True)
    # Three standard errors about 95 % and 90 %.
    assert abs(t["ours, %"] - 95) < 1.5
    assert abs(t["theirs, %"] - 90) < 2
    bounds = found.filter(pl.col("interval") != "t")
    assert (bounds["ours, %"] >= 95).all()
    assert (bounds["theirs, %"] < 80).all()


def test_the_bootstrap_normalises_in_every_replicate():
    found = table("resampled")
    np.testing.assert_allclose(found["ours"], 1.0, atol=1e-12)
    # That of the mean weight in 200 episodes, whatever the seed.
    weight = intervals.PROB[np.random.default_rng(0).integers(2, size=200)]
    width = 2 * 1.96 * weight.std() / weight.mean() / np.sqrt(200)
    assert found["theirs"][1] - found["theirs"][0] == pytest.approx(width, rel=0.08)


def test_the_page_is_what_the_script_writes(monkeypatch):
    monkeypatch.setattr(comparison, "TABLES", {n: lambda n=n: table(n) for n in comparison.TABLES})
    kept = (ROOT / "docs" / "comparison.md").read_text("utf-8")
    assert comparison.page() == kept
    assert len(re.findall(r"^\|---", kept, re.MULTILINE)) == len(comparison.TABLES)


def test_the_script_writes_where_it_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "page", lambda: "text")
    monkeypatch.setattr(sys, "argv", ["comparison.py", "--output", str(tmp_path / "page.md")])
    comparison.main()
    assert (tmp_path / "page.md").read_text("utf-8") == "text"
    assert "page.md" in capsys.readouterr().out
