"""Where finite-sample and likelihood intervals end, and what they keep whatever comes."""

from __future__ import annotations

import math

import bounds_oracle
import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from test_bounds import KINDS, bandit_log, ends, evaluate, random_bandit, ranges_of
from test_bounds_refusals import BOTH_SIDES, NEEDS, RETURNS_ONLY

# Few episodes, few weights, constant returns.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2])
def test_very_few_episodes(kind, n):
    log = bandit_log([2.0, 0.5][:n], [0.5, 1.0][:n])
    known = {"value_range": (0, 8), "return_range": (0, 1), "weight_range": (0, 8)}
    options = {name: known[name] for name in NEEDS.get(kind, ())}
    found = evaluate(log, kind, **options)
    undefined = kind == "hcope" or (kind == "empirical_bernstein" and n == 1)
    for index in (0, 1):
        low, high = ends(found, index)
        assert math.isnan(low) == undefined
        assert undefined or low <= high


@pytest.mark.parametrize("n", [1, 2])
def test_hcope_says_why_it_is_undefined(n):
    """With one episode left no variance can be taken: the note must speak of the interval."""
    found = evaluate(bandit_log([2.0, 0.5][:n], [0.5, 1.0][:n]), "hcope")
    assert all("interval" in (note or "") for note in found["note"])


def test_one_episode_proves_nothing():
    """Two points always lie on a line: no residual is left, and the interval has no width."""
    options = {"return_range": (0, 1), "weight_range": (0, 8)}
    low, high = ends(evaluate(bandit_log([2.0], [0.5]), "cressie_read", **options))
    assert math.isnan(low) or high - low > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_all_weights_zero_but_one(kind):
    weight = np.zeros(30)
    weight[17] = 8.0
    log = bandit_log(weight, np.full(30, 0.5))
    options = ranges_of(log, kind)
    found = ends(evaluate(log, kind, **options))
    alternative = "greater" if kind == "hcope" else "two-sided"
    seen = bounds_oracle.Episodes(weight, np.full(30, 0.5), 0.5 * weight)
    numbers = [bounds_oracle.hash_of_integer(i) for i in range(30)]
    chosen = bounds_oracle.held_out(numbers, 3) if kind == "hcope" else None
    wanted = bounds_oracle.interval(kind, seen, 0.95, alternative, chosen=chosen, **options)
    assert found == pytest.approx(wanted, rel=1e-10)


def test_hcope_without_a_held_out_gain_is_the_least_return():
    """Nothing to choose a cut from: what is known is that no term is below 0."""
    weight = np.zeros(30)
    weight[17] = 8.0
    log = bandit_log(weight, np.full(30, 0.5))
    numbers = [bounds_oracle.hash_of_integer(i) for i in range(30)]
    missed = [seed for seed in range(40) if not bounds_oracle.held_out(numbers, seed)[17]]
    assert 30 < len(missed) < 40
    for seed in missed:
        assert ends(evaluate(log, "hcope", seed=seed))[0] == 0.0
        assert ends(evaluate(log, "hcope", seed=seed, return_min=-3.0))[0] == -3.0


@pytest.mark.parametrize("kind", KINDS)
def test_all_weights_zero(kind):
    """Nothing is known but the ranges: the value is somewhere in them."""
    log = bandit_log(np.zeros(30), np.linspace(0, 1, 30))
    known = {"value_range": (0, 8), "return_range": (0, 1), "weight_range": (0, 8)}
    found = evaluate(log, kind, **{name: known[name] for name in NEEDS.get(kind, ())})
    low, high = ends(found)
    assert low <= 0.0
    assert high >= 1.0
    assert "weight is 0" in found["note"][0]


@pytest.mark.parametrize("kind", BOTH_SIDES)
def test_constant_returns_of_the_behavior_policy(kind):
    """No spread is left: what remains is what the range alone costs, symmetric about the mean."""
    log = bandit_log(np.ones(50), np.full(50, 0.25))
    known = {"value_range": (-0.75, 1.25), "return_range": (-0.75, 1.25), "weight_range": (0, 8)}
    options = {name: known[name] for name in NEEDS[kind]}
    for row in (0, 1):
        low, high = ends(evaluate(log, kind, **options), row)
        assert low <= 0.25 <= high
        assert low + high == pytest.approx(0.5, abs=1e-6)
        # Likelihood without spread is certain; the others know of values that did not come.
        assert (high - low > 0.1) == (kind != "cressie_read")


# Properties.


@pytest.mark.parametrize("kind", KINDS)
def test_higher_confidence_is_wider(kind):
    log = random_bandit(5, n=80)
    options = ranges_of(log, kind)
    found = [evaluate(log, kind, confidence_level=x, **options) for x in (0.6, 0.8, 0.95, 0.999)]
    for row in (0, 1):
        low, high = np.array([ends(estimates, row) for estimates in found]).T
        assert (np.diff(low) < 0).all()
        assert kind == "hcope" or (np.diff(high) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_more_of_the_same_is_narrower(kind):
    log = random_bandit(6, n=100, spread=0.3)
    weight, reward = log.columns["p_new"] / log.columns["propensity"], log.columns["reward"]
    options = ranges_of(log, kind)
    found = []
    for times in (1, 4, 16):
        more = bandit_log(np.tile(weight, times), np.tile(reward, times))
        found.append(evaluate(more, kind, **options))
    for row in (0, 1):
        low, high = np.array([ends(estimates, row) for estimates in found]).T
        assert (np.diff(low) > 0).all()
        assert kind == "hcope" or (np.diff(high) < 0).all()


@pytest.mark.parametrize("kind", BOTH_SIDES)
def test_two_sides_share_the_error(kind):
    log = random_bandit(7, n=80)
    options = ranges_of(log, kind)
    both = evaluate(log, kind, confidence_level=0.9, **options)
    for row in (0, 1):
        lower, upper = (
            ends(evaluate(log, kind, confidence_level=0.95, alternative=side, **options), row)
            for side in ("greater", "less")
        )
        assert ends(both, row) == pytest.approx((lower[0], upper[1]), rel=1e-12)


@pytest.mark.parametrize("kind", BOTH_SIDES)
def test_mirrored_returns_swap_the_bounds(kind):
    """r -> u + l - r. Where weights are not 1 the bound must know that their mean is."""
    log = random_bandit(8, n=80)
    known = {"value_range": (-0.5, 9.0), "return_range": (-0.5, 2.0), "weight_range": (0, 9)}
    options = {name: known[name] for name in NEEDS[kind]}
    low, high = known[NEEDS[kind][0]]
    turned = log.with_columns(reward=low + high - log.columns["reward"])
    if kind not in RETURNS_ONLY:
        turned = turned.with_columns(p_new=turned.columns["propensity"])
    here, there = (evaluate(table, kind, **options) for table in (log, turned))
    for row in (0, 1) if kind in RETURNS_ONLY else (1,):
        (a, b), (c, d) = ends(here, row), ends(there, row)
        assert (low + high - b, low + high - a) == pytest.approx((c, d), rel=1e-9)


@pytest.mark.parametrize(
    ("kind", "shift"),
    [(kind, 10.0) for kind in BOTH_SIDES]
    + [(kind, 1e6) for kind in BOTH_SIDES if kind != "cressie_read"]
    + [("cressie_read", 1e6)],
)
def test_other_units_of_return(kind, shift):
    """r -> shift + 3 r, and what bounds it likewise."""
    log = random_bandit(9, n=80)
    known = {"value_range": (-0.5, 9.0), "return_range": (-0.5, 2.0), "weight_range": (0, 9)}
    options = {name: known[name] for name in NEEDS[kind]}
    moved = {**options, NEEDS[kind][0]: tuple(shift + 3 * end for end in known[NEEDS[kind][0]])}
    there = log.with_columns(reward=shift + 3 * log.columns["reward"])
    if kind not in RETURNS_ONLY:
        there = there.with_columns(p_new=there.columns["propensity"])
    found, wanted = evaluate(there, kind, **moved), evaluate(log, kind, **options)
    for row in (0, 1) if kind in RETURNS_ONLY else (1,):
        back = (np.array(ends(found, row)) - shift) / 3
        assert back == pytest.approx(np.array(ends(wanted, row)), abs=1e-14 * max(shift, 1e3))


@pytest.mark.parametrize(
    "kind",
    [
        "cressie_read",
        "log_smoothing",
        "confidence_sequence",
    ],
)
def test_returns_bound_the_value(kind):
    """Also where the weights, against what is known of them, do not average to 1."""
    spread = np.random.default_rng(0).uniform(size=40)
    ranges = {"return_range": (0, 1), "weight_range": (0, 8)}
    options = {name: ranges[name] for name in NEEDS[kind]}
    for returns in (spread, np.zeros(40), np.ones(40)):
        for weight in (np.zeros(40), np.full(40, 0.2), np.full(40, 7.0), np.arange(40) % 2 * 2.0):
            low, high = ends(evaluate(bandit_log(weight, returns), kind, **options))
            assert 0 <= low <= 1
            assert 0 <= high <= 1


@pytest.mark.parametrize("largest", [1e6, 1e9, 1e12])
def test_large_weights_that_could_occur(largest):
    """Long episodes have such bounds; the unseen point must not take the digits of the rest."""
    rng = np.random.default_rng(1)
    weight, reward = rng.exponential(size=200), rng.uniform(0.5, 1.0, size=200)
    weight *= 0.97 / weight.mean()
    ranges = {"return_range": (0.5, 1.0), "weight_range": (0.0, largest)}
    seen = bounds_oracle.Episodes(weight, reward, weight * reward)
    wanted = bounds_oracle.interval("cressie_read", seen, 0.95, **ranges)
    found = ends(evaluate(bandit_log(weight, reward), "cressie_read", **ranges))
    assert found == pytest.approx(wanted, rel=1e-9)


def test_a_confidence_sequence_never_takes_back_what_it_had_shown():
    """Sixty rewards of 1, then sixty of 0: the bound of the first sixty stands."""
    reward = np.repeat([1.0, 0.0], 60)
    options = {"return_range": (0, 1), "alternative": "greater"}
    low = [
        ends(evaluate(bandit_log(np.ones(n), reward[:n]), "confidence_sequence", **options))[0]
        for n in range(1, 121)
    ]
    assert low[0] == 0.0
    assert (np.diff(low) >= 0).all()
    assert low[119] == low[59] > 0.8
    options["alternative"] = "less"
    high = [
        ends(evaluate(bandit_log(np.ones(n), 1 - reward[:n]), "confidence_sequence", **options))[1]
        for n in range(1, 121)
    ]
    assert high == pytest.approx(1 - np.array(low), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_order_of_arrival(kind):
    """It is all that a confidence sequence knows of time; the others see a set of episodes."""
    log = random_bandit(11, n=80)
    options = ranges_of(log, kind)
    found = evaluate(log.take(np.argsort(log.columns["reward"])), kind, **options)
    same = ends(found) == pytest.approx(ends(evaluate(log, kind, **options)), rel=1e-11)
    assert same == (kind != "confidence_sequence")


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_for_any_number_of_threads_and_any_chunks(kind):
    log = random_bandit(12, n=3000)
    options = {"interval": kind, "alternative": "greater", "seed": 5, **ranges_of(log, kind)}
    whole = pl.DataFrame(log.columns)
    pieces = pl.concat([whole[:7], whole[7:1500], whole[1500:]], rechunk=False)
    found = [
        cf.evaluate(
            cf.LoggedData.from_frame(frame, episode_id="episode_id"),
            {"new": "p_new"},
            ["tis"],
            num_threads=threads,
            **options,
        ).estimates
        for frame in (whole, pieces)
        for threads in (1, 2, 5)
    ]
    assert all(estimates.equals(found[0]) for estimates in found)


@pytest.mark.parametrize("kind", KINDS)
def test_coverage(kind):
    """On 200 small logs of one bandit, at 80 %, the true value is missed by chance at most."""
    target, behavior = np.array([0.75, 0.25]), np.array([0.4, 0.6])
    pays, n, logs = np.array([0.7, 0.2]), 60, 200
    truth = float(target @ pays)
    weight = target / behavior
    known = {"value_range": (0, weight[0]), "return_range": (0, 1), "weight_range": (0, weight[0])}
    options = {name: known[name] for name in NEEDS.get(kind, ())}
    rng = np.random.default_rng(1)
    missed, widths = 0, []
    for _ in range(logs):
        action = (rng.random(n) < behavior[1]).astype(int)
        reward = (rng.random(n) < pays[action]).astype(float)
        log = bandit_log(weight[action], reward)
        low, high = ends(evaluate(log, kind, confidence_level=0.8, **options))
        missed += not low <= truth <= high
        widths.append(high - low)
    assert missed <= 0.2 * logs + 3 * math.sqrt(0.2 * 0.8 * logs)
    # The likelihood interval is to be exact, not safe.
    assert kind != "cressie_read" or missed >= 0.2 * logs - 4 * math.sqrt(0.2 * 0.8 * logs)
