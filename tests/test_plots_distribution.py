"""Plots and the report's section of distributions: what they say is there, and is right."""

from __future__ import annotations

import functools

import counterfolio as cf
import numpy as np
import pytest
from counterfolio import plots
from distribution_oracle import GAMMA, POLICIES, logged, random_log
from test_html_report import HOSTILE as WRITTEN
from test_html_report import page, read
from test_plots import HOSTILE, picture

DRAW = {"cdf": plots.cdf, "cvar": plots.cvar, "quantiles": plots.quantiles}


@functools.cache
def distribution(**options):
    given = {"gamma": GAMMA, "n_resamples": 40, "seed": 1, **options}
    return cf.evaluate_distribution(logged(random_log(3, 200)), POLICIES, **given)


def world(names, n=300):
    rng = np.random.default_rng(0)
    frame = {"action": [0] * n, "reward": rng.normal(size=n), "propensity": [0.5] * n}
    policies = {name: rng.uniform(0.25, 0.75, size=n) for name in names}
    return cf.LoggedData.from_frame(frame), policies


def lines(ax):
    return {line.get_label(): line.get_xydata() for line in ax.get_lines()}


@pytest.mark.parametrize("draw", DRAW)
def test_a_line_to_each_policy_and_the_behavior_policy(draw, tmp_path):
    ax = DRAW[draw](distribution())
    words = picture(ax, tmp_path)
    assert list(lines(ax)) == ["new", "old", "behavior"]
    assert len(ax.collections) == 2  # bands of the policies
    assert "at 95 %" in ax.get_title(loc="left")
    assert words


def test_f_is_drawn_as_it_is():
    found = distribution()
    drawn = lines(plots.cdf(found, estimator="cd_sntis", among=["old"]))
    assert list(drawn) == ["old", "behavior"]
    rows = found.cdf.filter(policy="old", estimator="cd_sntis")
    np.testing.assert_array_equal(drawn["old"][1:-1], rows["x", "probability"].to_numpy())
    assert drawn["old"][0][1] == 0
    assert drawn["old"][-1][1] == 1


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    log, policies = world(["a"], n=5000)
    found = cf.evaluate_distribution(log, policies)
    drawn = lines(plots.cdf(found))["a"][1:-1]
    rows = found.cdf.filter(policy="a")["x", "probability"].to_numpy()
    assert len(drawn) == 2000
    np.testing.assert_array_equal(drawn[[0, -1]], rows[[0, -1]])


@pytest.mark.parametrize(("draw", "statistic"), [("cvar", "cvar"), ("quantiles", "quantile")])
def test_levels_are_drawn_as_they_are(draw, statistic):
    found, levels = distribution(), (0.1, 0.4, 0.8)
    drawn = lines(DRAW[draw](found, levels=levels))
    rows = found.statistics(levels, only=statistic).filter(policy="new", estimator="cd_sntdr")
    np.testing.assert_array_equal(drawn["new"], rows["alpha", "value"].to_numpy())


def test_without_bands_none_is_drawn():
    found = distribution(n_resamples=0)
    ax = plots.cdf(found)
    assert len(ax.collections) == 0
    assert ax.get_title(loc="left") == ""
    pointwise = plots.cdf(distribution(n_resamples=0, pointwise=True))
    assert pointwise.get_title(loc="left") == "bands hold for each x by itself, at 95 %"


@pytest.mark.parametrize("draw", DRAW)
def test_many_policies_hostile_names_and_none_defined(draw, tmp_path):
    log, policies = world([*HOSTILE, "one more"])
    policies["one more"] = np.zeros(300)
    ax = DRAW[draw](cf.evaluate_distribution(log, policies))
    picture(ax, tmp_path)
    assert len(lines(ax)) == 9
    assert "one more (undefined)" in lines(ax)
    assert len(ax.collections) == 0


def test_names_that_are_none():
    with pytest.raises(cf.InvalidArgumentError, match="among: policy 'nwe' was not evaluated"):
        plots.cdf(distribution(), among=["nwe"])
    with pytest.raises(cf.InvalidArgumentError, match='estimator "cd_dm" was not evaluated'):
        plots.cvar(distribution(), estimator="cd_dm")


# The report.


@functools.cache
def evaluation():
    policies = {p: cf.PolicyColumns(prob=f"p_{p}", q=f"q_{p}", v=f"v_{p}") for p in ("new", "old")}
    return cf.evaluate(logged(random_log(3, 200)), policies, ["sntis", "dr"], gamma=GAMMA)


def test_the_report_has_its_section(tmp_path):
    found = distribution()
    text = page(evaluation(), tmp_path, distribution=found)
    reader = read(text)
    said = reader.text("spread")
    best = found.evaluation("cvar", 0.1).ranking("cd_sntdr")["policy"][0]
    assert f"In their worst 10 % of episodes {best} earns most on average" in said
    assert "by cd_sntdr" in said
    assert "40 resampled logs" in said
    assert "stands for the return" in said
    assert "worst 10 % (CVaR)" in said
    without = read(page(evaluation(), tmp_path))
    assert "spread" not in without.ids
    assert reader.tags["svg"] == without.tags["svg"] + 2
    assert [i for i in reader.ids if reader.ids.count(i) > 1] == []


def test_the_report_takes_what_belongs_to_it(tmp_path):
    with pytest.raises(cf.InvalidArgumentError, match=r"must be what cf\.evaluate_distribution"):
        page(evaluation(), tmp_path, distribution=evaluation())
    other = cf.evaluate_distribution(logged(random_log(3, 200)), POLICIES, gamma=1.0)
    with pytest.raises(cf.InvalidArgumentError, match=r"gamma 1.0, but the evaluation's 0.9"):
        page(evaluation(), tmp_path, distribution=other)


def test_hostile_names_in_the_section(tmp_path):
    log, policies = world(WRITTEN)
    found = cf.evaluate_distribution(log, policies)
    text = page(cf.evaluate(log, policies, ["sntis"]), tmp_path, distribution=found)
    assert read(text).tags["script"] == 0
