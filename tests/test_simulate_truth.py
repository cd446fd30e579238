"""`on_policy_value`: what policies return, and how sure that is."""

from __future__ import annotations

from dataclasses import replace

import counterfolio as cf
import gymnasium as gym
import numpy as np
import pytest
from counterfolio import policies as pi
from counterfolio.simulate import Basic
from scipy import stats
from simulate_truths import CARTPOLE, WORLD, rolled_out, tables

# Returns.


@pytest.mark.parametrize("gamma", [1.0, 0.7])
@pytest.mark.parametrize(
    ("env", "policy"),
    [
        (WORLD, tables()["p0"]),
        (replace(WORLD, horizon=3), tables()["p0"]),
        ("CartPole-v1", CARTPOLE["left"]),
        (Basic(action_type="continuous", horizon=4), pi.Gaussian(lambda s: s[:, :3], 0.5)),
    ],
)
def test_returns_are_those_of_the_episodes_that_collect_logs(env, policy, gamma):
    """The first reward counts whole, the last one too."""
    truth = cf.on_policy_value(env, policy, 30, 5, gamma=gamma)
    log = cf.collect(env, policy, 30, 5)
    step, reward = (log.column(name).to_numpy() for name in ("step", "reward"))
    episode = log.column("episode").to_numpy()
    assert list(truth) == ["behavior"]
    wanted = np.bincount(episode, gamma**step * reward)
    np.testing.assert_allclose(truth["behavior"], wanted, rtol=1e-12)
    np.testing.assert_array_equal(truth.lengths["behavior"], np.bincount(episode))


def test_a_step_limit_cuts_returns_off():
    whole, cut = (
        cf.on_policy_value("CartPole-v1", CARTPOLE, 20, 1, max_episode_steps=most)
        for most in (None, 15)
    )
    for name in CARTPOLE:
        # A reward of 1 for each step.
        np.testing.assert_array_equal(whole[name], whole.lengths[name])
        np.testing.assert_array_equal(cut[name], np.minimum(whole[name], 15))
    assert (whole["left"] > 15).any()


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize(("env", "policies"), [(WORLD, tables()), ("CartPole-v1", CARTPOLE)])
def test_returns_do_not_depend_on_how_many_are_played_at_a_time(env, policies, common):
    one, *others = (
        cf.on_policy_value(env, policies, 20, 3, num_envs=n, common_random_numbers=common)
        for n in (1, 7, 20, None)
    )
    for other in others:
        for name in policies:
            np.testing.assert_array_equal(one[name], other[name])
            np.testing.assert_array_equal(one.lengths[name], other.lengths[name])


def test_common_random_numbers_are_the_same_seeds():
    """Whoever else is rolled out, and however many episodes follow."""
    policies = tables()
    truth = rolled_out()
    alone = cf.on_policy_value(WORLD, {"p2": policies["p2"]}, 60, 1)
    np.testing.assert_array_equal(alone["p2"][:40], truth["p2"])
    twice = cf.on_policy_value(WORLD, {"a": policies["p2"], "b": policies["p2"]}, 40, 1)
    np.testing.assert_array_equal(twice["a"], twice["b"])
    assert twice.compare("a", "b")["standard_error"][0] == 0
    other = cf.on_policy_value(
        WORLD, {"a": policies["p2"], "b": policies["p2"]}, 2000, 1, common_random_numbers=False
    )
    assert len(np.intersect1d(other["a"], other["b"])) == 0
    assert abs(np.corrcoef(other["a"], other["b"])[0, 1]) < 4 / np.sqrt(2000)
    assert not np.array_equal(rolled_out(seed=2)["p0"], truth["p0"])


# Means, statistics, differences.


def test_the_table_by_numpy():
    truth = rolled_out(gamma=0.9, confidence_level=0.8)
    assert truth.table["policy"].to_list() == ["p0", "p1", "p2", "p3"]
    for row in truth.table.iter_rows(named=True):
        x = truth[row["policy"]]
        value, error = x.mean(), x.std(ddof=1) / np.sqrt(40)
        low, high = stats.t.interval(0.8, 39, value, error)
        assert list(row.values())[1:] == pytest.approx(
            [value, error, low, high, x.std(ddof=1), 40, truth.lengths[row["policy"]].mean()]
        )
        assert truth.value(row["policy"]) == value


def test_statistics_by_their_definitions():
    truth = rolled_out(n_episodes=101)
    table = truth.statistics([0.1, 0.25, 0.5, 1.0])
    names = {(name, alpha) for _, name, alpha, *_ in table.iter_rows()}
    assert len(table) == 4 * len(names)
    assert ("interquantile_range", 0.25) in names
    for policy, name, alpha, value, error in table.iter_rows():
        x = np.sort(truth[policy])
        assert value == cf.return_statistic(x, name, alpha)
        if name == "mean":
            assert (value, error) == pytest.approx((x.mean(), x.std(ddof=1) / np.sqrt(101)))
        elif name == "variance":
            squares = (x - x.mean()) ** 2
            wanted = x.var(), squares.std(ddof=1) / np.sqrt(101)
            assert (value, error) == pytest.approx(wanted)
        elif name == "quantile":
            assert value == np.quantile(x, alpha, method="inverted_cdf")
        elif name == "cvar":
            # Whole episodes and the fraction of one.
            worst = int(alpha * 101)
            below = x[:worst].sum() + (alpha * 101 - worst) * x[min(worst, 100)]
            assert value == pytest.approx(below / (alpha * 101))


def test_differences_by_numpy():
    for common in (True, False):
        truth = rolled_out(common_random_numbers=common)
        a, b = truth["p1"], truth["p3"]
        error = (a - b).std(ddof=1) if common else np.sqrt(a.var(ddof=1) + b.var(ddof=1))
        value, error = a.mean() - b.mean(), error / np.sqrt(40)
        low, high = stats.t.interval(0.95, 39, value, error)
        row = truth.compare("p1", "p3").row(0)
        assert row[:2] == ("p1", "p3")
        assert row[2:] == pytest.approx((value, error, low, high))


def covered(hits, level, tries):
    """Whether so many hits are no more and no fewer than chance makes of the level."""
    low, high = stats.binom.interval(1 - 1e-4, tries, level)
    return low <= hits <= high


@pytest.mark.parametrize(
    ("gamma", "common", "tries"),
    [
        (0.9, True, 150),
        (1.0, False, 150),
        pytest.param(1.0, True, 1500, marks=pytest.mark.slow),
        pytest.param(0.9, False, 1500, marks=pytest.mark.slow),
    ],
)
def test_intervals_hold_the_exact_values(gamma, common, tries):
    """Of values, and of differences: paired ones are right too, and shorter."""
    policies = tables(2, share=0.8)
    exact = {name: WORLD.exact_value(policy, gamma) for name, policy in policies.items()}
    difference = exact["p0"] - exact["p1"]
    hits, errors, found = np.zeros(3), [], []
    options = {"gamma": gamma, "common_random_numbers": common, "confidence_level": 0.9}
    for seed in range(tries):
        truth = cf.on_policy_value(WORLD, policies, 120, seed, **options)
        rows = truth.table.select("ci_low", "ci_high").rows()
        row = truth.compare("p0", "p1").row(0, named=True)
        wanted = [*exact.values(), difference]
        for i, (low, high) in enumerate([*rows, (row["ci_low"], row["ci_high"])]):
            hits[i] += low <= wanted[i] <= high
        errors.append(row["standard_error"])
        found.append(row["difference"])
    for own in hits:
        assert covered(own, 0.9, tries), hits
    # Its standard error is how far the difference strays, no more and no less.
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(found), rel=0.15)
    plain = np.sqrt(np.mean([x.var(ddof=1) for x in truth.returns.values()]) * 2 / 120)
    assert (np.mean(errors) < 0.75 * plain) == common


def test_common_random_numbers_help_in_gymnasiums_own_too():
    alike = {"a": CARTPOLE["left"], "b": pi.Softmax(CARTPOLE["left"].base, 0.21)}
    errors = [
        cf.on_policy_value("CartPole-v1", alike, 60, 2, common_random_numbers=common).compare(
            "a", "b"
        )["standard_error"][0]
        for common in (True, False)
    ]
    assert errors[0] < 0.9 * errors[1]


# What is refused.


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rolled_out(n_episodes=1), cf.InvalidArgumentError, "n_episodes .* 2 or more"),
        (lambda: rolled_out(seed=-1), cf.InvalidArgumentError, "seed"),
        (lambda: rolled_out(gamma=0), cf.InvalidArgumentError, r"gamma must be in \(0, 1\]"),
        (lambda: rolled_out(gamma=1.1), cf.InvalidArgumentError, r"gamma must be in \(0, 1\]"),
        (
            lambda: rolled_out(confidence_level=1),
            cf.InvalidArgumentError,
            r"confidence_level must be in \(0, 1\)",
        ),
        (lambda: rolled_out(max_episode_steps=0), cf.InvalidArgumentError, "max_episode_steps"),
        (lambda: rolled_out(num_envs=0), cf.InvalidArgumentError, "num_envs"),
        (
            lambda: cf.on_policy_value(WORLD, {}, 5, 1),
            cf.InvalidArgumentError,
            "policies must be one",
        ),
        (
            lambda: cf.on_policy_value(WORLD, pi.Uniform(4), 5, 1),
            cf.InvalidPolicyError,
            "environment's actions are 0 to 2",
        ),
        (
            lambda: cf.on_policy_value("CartPole-v1", pi.Gaussian(len, 1.0), 5, 1),
            cf.InvalidPolicyError,
            "cannot act in",
        ),
        (
            lambda: cf.on_policy_value(gym.spaces.Discrete(2), pi.Uniform(4), 5, 1),
            cf.InvalidArgumentError,
            "env must be",
        ),
        (lambda: rolled_out().value("p9"), cf.InvalidArgumentError, 'no policy "p9"'),
        (lambda: rolled_out().compare("p0", "q"), cf.InvalidArgumentError, 'no policy "q"'),
        (lambda: rolled_out().statistics([0.0]), cf.InvalidArgumentError, "needs alpha"),
    ],
)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
