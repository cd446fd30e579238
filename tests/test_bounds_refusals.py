"""What finite-sample and likelihood intervals refuse, and the words in which they do."""

from __future__ import annotations

import math
import re

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import InvalidArgumentError
from test_bounds import KINDS, bandit_log, ends, evaluate, logged, random_bandit, random_episodes

BOTH_SIDES = [kind for kind in KINDS if kind != "hcope"]
RETURNS_ONLY = ("log_smoothing", "cressie_read", "confidence_sequence")
NEEDS = {
    "hoeffding": ("value_range",),
    "empirical_bernstein": ("value_range",),
    "log_smoothing": ("return_range",),
    "confidence_sequence": ("return_range",),
    "cressie_read": ("return_range", "weight_range"),
}
VOUCHED = {"value_range": (-50.0, 50.0), "return_range": (-9.0, 9.0), "weight_range": (0.0, 50.0)}


def given_to(kind: str) -> dict[str, tuple[float, float]]:
    return {name: VOUCHED[name] for name in NEEDS.get(kind, ())}


def refused(log, kind: str, *words: str, estimators=("tis",), **options) -> None:
    """Such a call raises, and says each of the words."""
    with pytest.raises(InvalidArgumentError) as caught:
        evaluate(log, kind, estimators, **options)
    for word in words:
        assert re.search(word, str(caught.value)), (word, str(caught.value))


@pytest.mark.parametrize("name", ["dm", "dr", "sntis", "snpdis", "sndr"])
@pytest.mark.parametrize("kind", KINDS)
def test_estimators_that_no_bound_is_valid_for(kind, name):
    log = random_bandit(0, n=40)
    zeros = np.zeros(40)
    columns = cf.PolicyColumns(prob="p_new", q=zeros, v=zeros)
    options = {"alternative": "greater", "interval": kind, **given_to(kind)}
    with pytest.raises(InvalidArgumentError, match=rf'"{kind}" is not valid for "{name}"'):
        cf.evaluate(logged(log), {"new": columns}, [name], **options)
    with pytest.raises(InvalidArgumentError, match=rf'not valid for "{name}".*tis'):
        cf.evaluate(logged(log), {"new": columns}, ["tis", name], **options)


@pytest.mark.parametrize("kind", KINDS)
def test_clusters_are_not_independent_episodes(kind):
    log = random_bandit(0, n=40)
    frame = pl.DataFrame(log.columns).with_columns(user=np.arange(40) // 2)
    clustered = cf.LoggedData.from_frame(frame, episode_id="episode_id", cluster="user")
    options = {"alternative": "greater", "interval": kind, **given_to(kind)}
    with pytest.raises(InvalidArgumentError, match=rf'"{kind}".*independent.*clusters'):
        cf.evaluate(clustered, {"new": "p_new"}, ["tis"], **options)


@pytest.mark.parametrize(("kind", "names"), NEEDS.items())
def test_missing_ranges(kind, names):
    for name in names:
        others = {other: VOUCHED[other] for other in names if other != name}
        refused(random_bandit(0, n=40), kind, kind, rf"needs {name}=\(low, high\)", **others)


@pytest.mark.parametrize(
    "bad",
    [
        (0.0, math.inf),
        (-math.inf, 9.0),
        (math.nan, 9.0),
        (0.0, math.nan),
        (2.0, 0.0),
        (2.0, 2.0),
        (0.0, 1.0, 2.0),
        (0.0,),
        5.0,
        ("0", "9"),
        (False, True),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("hoeffding", "value_range"),
        ("log_smoothing", "return_range"),
        ("cressie_read", "weight_range"),
    ],
)
def test_ranges_that_are_none(kind, name, bad):
    options = {**given_to(kind), name: bad}
    refused(random_bandit(0, n=40), kind, name, "two finite numbers", "low < high", **options)


@pytest.mark.parametrize("bad", [(1.5, 9.0), (0.0, 0.9), (-0.1, 9.0)])
def test_weights_have_mean_one_and_are_not_negative(bad):
    options = {"return_range": (0, 1), "weight_range": bad}
    refused(random_bandit(0, n=40), "cressie_read", "weight_range", "hold 1", **options)


def test_values_outside_of_what_was_vouched_for():
    """The message counts episodes and names the first by its first row."""
    log = random_episodes(3, n=30, gamma=1.0)
    first, last = log.offsets, log.offsets[1:] - 1
    ratio, reward = np.ones(first[-1]), np.zeros(first[-1])
    ratio[last[[7, 20, 21]]] = 3.0
    reward[last] = 1.0
    reward[last[[4, 11]]] = -2.0
    propensity = 0.1 * log.columns["propensity"]
    log = log.with_columns(propensity=propensity, p_new=propensity * ratio, reward=reward)
    episode = ['"new"', '"tis"', rf"3 of 30 episodes.*row {first[7]} \(3\)"]
    refused(log, "hoeffding", "value_range", "terms", *episode, value_range=(-2.5, 2.0))
    refused(log, "empirical_bernstein", "value_range", *episode, value_range=(-2.5, 2.0))
    options = {"return_range": (-2.5, 1.5), "weight_range": (0, 2)}
    refused(log, "cressie_read", "weight_range", "weights", *episode, **options)
    episode = ['"new"', rf"2 of 30 episodes.*row {first[4]} \(-2\)"]
    options = {"return_range": (-1.0, 1.5), "weight_range": (0, 4)}
    refused(log, "cressie_read", "return_range", "returns", *episode, **options)
    refused(log, "log_smoothing", "return_range", *episode, return_range=(-1.0, 1.5))
    refused(log, "hcope", "below 0", "return_min has to hold", *episode[:1], return_min=-1.0)
    refused(log, "hcope", "below 0", "name the least return", *episode)
    refused(log, "hcope", "below 0", *episode, estimators=("pdis",))


@pytest.mark.parametrize("kind", BOTH_SIDES)
def test_the_ends_of_a_range_belong_to_it(kind):
    log = bandit_log([0.0, 2.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.5])
    known = {"value_range": (0, 2), "return_range": (0, 1), "weight_range": (0, 2)}
    found = evaluate(log, kind, **{name: known[name] for name in NEEDS[kind]})
    assert np.isfinite(found.select("ci_low", "ci_high").to_numpy()).all()


def test_the_behavior_policy_outside_of_the_range_has_no_interval():
    """The range was given for the candidates; their intervals stand."""
    log = bandit_log([0.5] * 10, [1.0] * 10)
    found = evaluate(log, "hoeffding", value_range=(0, 0.75))
    assert np.isfinite(ends(found)).all()
    assert np.isnan(ends(found, 1)).all()
    assert re.search("no interval: value_range.*10 of 10.*row 0", found["note"][1])


@pytest.mark.parametrize("alternative", ["two-sided", "less"])
def test_hcope_is_a_lower_bound(alternative):
    log = random_bandit(0, n=40)
    refused(log, "hcope", "lower bound", 'alternative="greater"', alternative=alternative)


@pytest.mark.parametrize("kind", RETURNS_ONLY)
def test_one_weight_and_one_return(kind):
    """pdis has several of each in an episode, a confidence sequence knows single decisions only."""
    log = random_episodes(3, n=30, gamma=1.0)
    ranges = {**given_to(kind), "return_range": (-99.0, 99.0)}
    refused(log, kind, 'not valid for "pdis"', "tis", estimators=("pdis",), **ranges)
    if kind == "confidence_sequence":
        refused(log, kind, "single decisions", "several steps", **ranges)


def test_hcope_of_pdis_where_returns_may_be_negative():
    """That none was logged does not bound the terms: a rare loss would never be seen in time."""
    log = random_episodes(3, n=60, gamma=1.0)
    assert (log.columns["reward"] >= 0).all()
    refused(log, "hcope", '"pdis"', "return_min", estimators=("pdis",), return_min=-99.0)


def test_hcope_of_pdis_on_single_decisions_is_that_of_tis():
    log = random_bandit(1, n=60)
    log = log.with_columns(reward=log.columns["reward"] - 0.5)
    found = evaluate(log, "hcope", ("tis", "pdis"), return_min=-0.5)
    assert ends(found, 0) == ends(found, 1)


@pytest.mark.parametrize("kind", ["hoeffding", "cressie_read"])
def test_rounding_leaves_a_value_in_its_range(kind):
    """.07 / .01 is 7.000000000000001: whoever vouches for 7 has not said anything wrong."""
    frame = {
        "action": np.zeros(4, dtype=int),
        "reward": np.array([1.0, 0.0, 1.0, 0.0]),
        "propensity": np.array([0.01, 0.9, 0.01, 0.9]),
        "p_new": np.array([0.07, 0.1, 0.07, 0.1]),
    }
    known = {"value_range": (0, 7), "return_range": (0, 1), "weight_range": (0, 7)}
    options = {name: known[name] for name in NEEDS[kind]}
    log = cf.LoggedData.from_frame(frame)
    found = cf.evaluate(log, {"new": "p_new"}, ["tis"], interval=kind, **options)
    assert np.isfinite(ends(found.estimates)).all()


def test_no_return_outweighs_nothing():
    """A weight that float64 cannot hold, times a return of 0, is 0, as it is in the estimate."""
    episode = np.r_[np.zeros(250, dtype=int), np.arange(1, 30)]
    first = episode == 0
    frame = {
        "episode_id": episode,
        "action": np.zeros(len(episode), dtype=int),
        "reward": np.where(first, 0.0, 1.0),
        "propensity": np.where(first, 0.01, 0.5),
        "p_new": np.where(first, 1.0, 0.5),
    }
    log = cf.LoggedData.from_frame(frame, episode_id="episode_id")
    options = {"interval": "hoeffding", "value_range": (0, 9)}
    found = cf.evaluate(log, {"new": "p_new"}, ["tis"], **options).estimates
    assert found["value"][0] == pytest.approx(29 / 30)
    assert np.mean(ends(found)) == pytest.approx(29 / 30)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "0", (0, 1), True])
def test_a_least_return_that_is_none(bad):
    refused(random_bandit(0, n=40), "hcope", "return_min must be a finite number", return_min=bad)


@pytest.mark.parametrize("kind", ["normal", "t", "bootstrap", *KINDS])
def test_what_an_interval_does_not_look_at_is_refused(kind):
    """Not taken in silence: who gives a range believes that it is used."""
    looked_at = {*NEEDS.get(kind, ()), *(("return_min",) if kind == "hcope" else ())}
    for name in {*VOUCHED, "return_min"} - looked_at:
        options = {**given_to(kind), name: VOUCHED.get(name, 0.0)}
        refused(
            random_bandit(0, n=40), kind, rf'{name} has no meaning for interval="{kind}"', **options
        )


def test_one_sided_empirical_likelihood_begins_at_a_half():
    options = {**given_to("cressie_read"), "alternative": "greater", "confidence_level": 0.4}
    refused(random_bandit(0, n=40), "cressie_read", "0.5 or more", **options)


@pytest.mark.parametrize("kind", ["log_smoothing", "confidence_sequence"])
def test_bounds_that_exclude_each_other_are_announced(kind):
    """Weights that do not average to 1, against what is known of them."""
    found = evaluate(bandit_log([3.0] * 100, [0.0] * 100), kind, return_range=(0, 1))
    low, high = ends(found)
    assert low >= high
    assert "exclude each other" in found["note"][0]
    assert found["note"][1] is None


def test_differences_have_normal_intervals_and_say_so():
    log = logged(random_bandit(0, n=40))
    options = {"interval": "hoeffding", "value_range": (-50, 50)}
    found = cf.evaluate(log, {"new": "p_new"}, ["tis"], **options).compare()
    assert "normal one, not hoeffding" in found["note"][0]
    assert cf.evaluate(log, {"new": "p_new"}, ["tis"]).compare()["note"][0] != found["note"][0]
