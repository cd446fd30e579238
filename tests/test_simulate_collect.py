"""`collect`: the log is what happened, whole, with the propensities of what was done."""

from __future__ import annotations

from itertools import pairwise

import counterfolio as cf
import gymnasium as gym
import numpy as np
import polars as pl
import pytest
from counterfolio import policies as pi
from counterfolio import simulate
from counterfolio.simulate import Basic, Recommender, Tabular, episode_seeds
from counterfolio.simulate.playing import STATES_ASKED, _slots
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from simulate_worlds import ENVIRONMENTS, frame, softmax


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_log_does_not_depend_on_how_many_are_played_at_a_time(name):
    env, policy = ENVIRONMENTS[name]
    logs = [frame(cf.collect(env, policy, 25, seed=4, num_envs=n)) for n in (1, 3, 25, None)]
    assert all(log.equals(logs[0]) for log in logs[1:])
    # And more episodes begin with the same ones.
    more = frame(cf.collect(env, policy, 40, seed=4)).filter(pl.col("episode") < 25)
    assert more.equals(logs[0])
    assert not frame(cf.collect(env, policy, 25, seed=5)).equals(logs[0])


@pytest.mark.parametrize("hidden", [100, 257, 512])
@pytest.mark.parametrize("action_type", ["discrete", "continuous"])
def test_the_log_of_a_wide_network_does_not_depend_on_it_either(hidden, action_type):
    """Products of its matrices are rounded otherwise with one row, 64 or a thousand."""
    rng = np.random.default_rng(0)
    first, last = rng.normal(size=(5, hidden)) / 2, rng.normal(size=(hidden, 10)) / 10

    def scores(states):
        return np.tanh(states @ first) @ last

    env = Basic(action_type=action_type, horizon=2)
    policy = pi.Softmax(scores)
    if action_type == "continuous":
        policy = pi.Gaussian(lambda s: scores(s)[:, :3], 0.5)
    logs = [frame(cf.collect(env, policy, 700, seed=4, num_envs=n)) for n in (1, 70, 300, 700)]
    assert all(log.equals(logs[0]) for log in logs[1:])


def test_rows_of_products_that_are_shared_by_threads_do_not_matter():
    """With two threads of BLAS some rows of such a product are rounded in another way."""
    rng = np.random.default_rng(0)
    sizes = (5, 333, 333, 10)
    matrices = [rng.normal(size=pair) / pair[0] ** 0.5 for pair in pairwise(sizes)]

    def scores(states):
        for matrix in matrices:
            states = np.tanh(states @ matrix)
        return states

    policies = {"network": pi.Softmax(scores), "coin": pi.Uniform(10)}
    env = Recommender(n_items=10, horizon=2, obs_std=0.3)
    logs = [
        frame(cf.collect(env, policies, 300, seed=4, num_envs=n, action_probs=True))
        for n in (10, 70, 300)
    ]
    assert all(log.equals(logs[0]) for log in logs[1:])


@pytest.mark.parametrize(("start", "n"), [(0, 256), (250, 700), (3, 1), (1000, 1024)])
def test_states_stand_in_rows_of_their_own(start, n):
    rng = np.random.default_rng(n)
    numbers = start + np.flatnonzero(rng.random(n) < 0.6) if n > 1 else np.array([start])
    slots = _slots(numbers)
    assert (slots % STATES_ASKED == numbers % STATES_ASKED).all()
    assert len(set(slots.tolist())) == len(numbers)
    # In no more blocks than the fullest row takes.
    assert slots.max() // STATES_ASKED + 1 == np.bincount(numbers % STATES_ASKED).max()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_episode_can_be_played_again(name):
    """Step by step in gymnasium's form: nothing is lost at either end, nothing logged past it."""
    env, policy = ENVIRONMENTS[name]
    log = frame(cf.collect(env, policy, 10, seed=1))
    if isinstance(env, simulate.Environment):
        single = env.to_gymnasium()
    else:
        single = gym.make(env) if isinstance(env, str) else env()
    names = [
        c
        for c in log.columns
        if c.startswith(("state", "taste")) or c in simulate.real_time_bidding.SEEN
    ]
    for i, seed in enumerate(episode_seeds(1, 10)):
        rows = log.filter(pl.col("episode") == i)
        seen, _ = single.reset(seed=int(seed))
        for number, row in enumerate(rows.iter_rows(named=True)):
            assert row["step"] == number
            assert np.array_equal(np.atleast_1d(seen), [row[n] for n in names])
            action = (
                np.atleast_1d(row["action"])
                if "float" in str(rows["action"].to_numpy().dtype)
                else row["action"]
            )
            if isinstance(single.action_space, gym.spaces.Box):
                action = np.clip(action, single.action_space.low, single.action_space.high)
                action = action.astype(single.action_space.dtype)
            seen, reward, terminated, truncated, _ = single.step(action)
            assert row["reward"] == reward
            assert (row["terminated"], row["truncated"]) == (
                terminated,
                truncated and not terminated,
            )
            assert (number == len(rows) - 1) == (terminated or truncated)


def test_propensities_are_those_of_executed_actions():
    """A chi-square test in each of some states, and over all rows."""
    env = Tabular.random(4, 5, horizon=6)
    table = np.random.default_rng(1).dirichlet(np.ones(5), 4)
    log = frame(cf.collect(env, pi.Tabular(table), 4000, seed=2, action_probs=True))
    np.testing.assert_array_equal(log["propensity"], table[log["state"], log["action"]])
    np.testing.assert_array_equal(log["action_probs"].to_numpy(), table[log["state"]])
    for state in range(4):
        taken = log.filter(pl.col("state") == state)["action"]
        counts = np.bincount(taken, minlength=5)
        assert stats.chisquare(counts, table[state] * counts.sum()).pvalue > 1e-3
    # Neither the step nor the action before says what is drawn.
    pairs = log.filter(pl.col("step") > 0)
    before = log.filter(pl.col("step") < 5)["action"]
    u = np.histogram2d(before, pairs["action"], bins=5)[0]
    by_state = log.filter(pl.col("step") < 5)["state"]
    assert u.sum() == len(by_state)


@given(st.integers(0, 2**32), st.floats(0.1, 3))
@settings(max_examples=10)
def test_drawn_actions_have_their_probabilities(seed, temperature):
    """An action is drawn as often as its probabilities add up to, whatever they are."""
    env = Basic(n_actions=4)
    log = frame(cf.collect(env, softmax(5, 4, temperature), 400, seed, action_probs=True))
    b = log["action_probs"].to_numpy()
    drawn = np.eye(4)[log["action"]]
    np.testing.assert_array_equal(log["propensity"], b[drawn == 1])
    variance = (b * (1 - b)).sum(axis=0)
    # Rare ones come by ones, which no normal distribution does.
    assert (np.abs((drawn - b).sum(axis=0)) < 5 * np.sqrt(variance) + 5).all()


@pytest.mark.parametrize(
    "policy",
    [
        pi.Gaussian(lambda s: s[:, :1], 0.6),
        pi.TruncatedGaussian(lambda s: s[:, :1], 0.6, -1, 1),
        pi.Mixture([pi.Gaussian(lambda s: s[:, :1], 0.2), pi.Gaussian(lambda s: -s[:, :1], 0.5)]),
    ],
    ids=["Gaussian", "TruncatedGaussian", "Mixture"],
)
def test_densities_are_those_of_executed_actions(policy):
    """The density's distribution function, at what was drawn, is uniform (Kolmogorov-Smirnov)."""
    env = Basic(action_type="continuous", action_dim=1, horizon=3)
    log = frame(cf.collect(env, policy, 400, seed=8))
    states = log.select(env.state_names).to_numpy()
    actions = log["action"].to_numpy()
    grid = np.linspace(-4, 4, 4001)
    u = np.empty(len(log))
    for i in range(len(log)):
        density = policy.density(np.repeat(states[i : i + 1], len(grid), axis=0), grid[:, None])
        steps = (density[1:] + density[:-1]) / 2 * np.diff(grid)
        u[i] = np.interp(actions[i], grid[1:], steps.cumsum())
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    np.testing.assert_allclose(log["propensity"], policy.density(states, actions[:, None]))
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4 / np.sqrt(len(u))


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_weights_of_the_policy_itself_give_its_own_mean(name):
    env, policy = ENVIRONMENTS[name]
    log = cf.collect(env, policy, 60, seed=3)
    table = cf.evaluate(log, {"same": policy}, gamma=0.9).estimates
    value = table.filter(pl.col("estimator") == "on_policy")["value"][0]
    discounted = (
        frame(log).select((pl.col("reward") * 0.9 ** pl.col("step").cast(pl.Float64)).sum()).item()
    )
    assert value == pytest.approx(discounted / 60)
    same = table.filter(pl.col("policy") == "same")["value"]
    np.testing.assert_allclose(same, value, rtol=1e-9)


# Ends.


def test_falls_and_time_limits_of_cartpole_are_told_apart():
    """500 steps are the limit; a policy that balances reaches it, a coin falls."""
    balances = pi.Deterministic(
        lambda s: np.stack([-(s @ [0.1, 0.5, 1, 1]), s @ [0.1, 0.5, 1, 1]], 1)
    )
    log = frame(cf.collect("CartPole-v1", balances, 5, seed=0))
    ends = log.group_by("episode").agg(pl.len(), pl.col("terminated", "truncated").sum())
    assert ends["len"].to_list() == [500] * 5
    assert ends["truncated"].to_list() == [1] * 5
    assert ends["terminated"].sum() == 0
    falls = frame(cf.collect("CartPole-v1", pi.Uniform(2), 40, seed=0))
    ends = falls.group_by("episode").agg(
        pl.len(), pl.col("terminated", "truncated", "reward").sum()
    )
    assert ends["terminated"].to_list() == [1] * 40
    assert ends["truncated"].sum() == 0
    # The step on which it falls is rewarded too.
    assert ends["reward"].to_list() == ends["len"].to_list()
    cut = frame(cf.collect("CartPole-v1", pi.Uniform(2), 40, seed=0, max_episode_steps=12))
    longer = falls.group_by("episode").len().filter(pl.col("len") > 12)["episode"]
    assert set(cut.filter("truncated")["episode"]) == set(longer)
    # The same episodes, up to there; and a fall on the very step is a fall.
    same = falls.filter(pl.col("step") < 12).drop("truncated")
    assert cut.drop("truncated").equals(same)
    exact = falls.group_by("episode").len().filter(pl.col("len") == 12)["episode"]
    assert set(exact) <= set(cut.filter("terminated")["episode"])


def test_goals_and_time_limits_of_mountain_car_are_told_apart():
    # Pushing where it moves reaches the goal; a coin does not in 200 steps.
    pushes = pi.Deterministic(lambda s: np.stack([-s[:, 1], 0 * s[:, 1] - 1, s[:, 1]], axis=1))
    log = frame(cf.collect("MountainCar-v0", pushes, 6, seed=0))
    ends = log.group_by("episode").agg(pl.len(), pl.col("terminated", "truncated", "reward").sum())
    assert ends["terminated"].to_list() == [1] * 6
    assert (ends["len"] < 200).all()
    assert (ends["reward"] == -ends["len"].cast(pl.Float64)).all()
    lost = frame(cf.collect("MountainCar-v0", pi.Uniform(3), 6, seed=0))
    ends = lost.group_by("episode").agg(pl.len(), pl.col("terminated", "truncated", "reward").sum())
    assert ends.drop("episode").rows() == [(200, 0, 1, -200.0)] * 6


def test_an_episode_of_one_step():
    log = cf.collect(Tabular.random(3, 2, horizon=1), pi.Uniform(2), 50, seed=0)
    assert (log.n_rows, log.n_episodes) == (50, 50)


# Several policies.


def test_several_loggers_take_turns_and_know_each_other():
    env = Basic(n_actions=4)
    named = {"old": softmax(5, 4), "new": softmax(5, 4, 0.3), "coin": pi.Uniform(4)}
    log = cf.collect(env, named, 300, seed=1, action_probs=True)
    rows = frame(log)
    assert rows["logger"].to_list()[::10][:6] == ["old", "new", "coin"] * 2
    states, actions = rows.select(env.state_names).to_numpy(), rows["action"].to_numpy()
    for name, policy in named.items():
        np.testing.assert_allclose(rows[f"propensity_{name}"], policy.prob(states, actions))
        own = rows.filter(pl.col("logger") == name)
        assert own["propensity"].equals(own[f"propensity_{name}"], check_names=False)
        dense = own["action_probs"].to_numpy()
        np.testing.assert_allclose(
            dense, policy.action_probs(own.select(env.state_names).to_numpy())
        )
    assert log.balanced().propensity_source == "balanced"
    # A policy's episodes are the same whoever else plays: its turn comes on the same seeds.
    alone = frame(cf.collect(env, named["old"], 300, seed=1))
    mine = rows.filter(pl.col("logger") == "old")
    assert mine["reward"].equals(alone.filter(pl.col("episode") % 3 == 0)["reward"])
    # Turns go on from one batch to the next.
    assert frame(cf.collect(env, named, 300, seed=1, num_envs=7, action_probs=True)).equals(rows)


def test_loggers_may_never_do_what_others_do():
    env = Tabular.random(3, 2, horizon=4, world_seed=1)
    named = {f"only_{a}": pi.Tabular(np.tile(np.eye(2)[a], (3, 1))) for a in range(2)}
    rows = frame(cf.collect(env, named, 10, seed=0))
    assert rows["action"].to_list() == ([0] * 4 + [1] * 4) * 5
    assert (rows["propensity"] == 1).all()
    assert rows["propensity_only_0"].equals((rows["action"] == 0).cast(float), check_names=False)


def test_several_continuous_loggers():
    env = Basic(action_type="continuous")
    named = {"a": pi.Gaussian(lambda s: s[:, :3], 0.5), "b": pi.Gaussian(lambda s: -s[:, :3], 0.9)}
    log = cf.collect(env, named, 40, seed=1)
    rows = frame(log)
    states, actions = rows.select(env.state_names).to_numpy(), rows["action"].to_numpy()
    for name, policy in named.items():
        np.testing.assert_allclose(rows[f"propensity_{name}"], policy.density(states, actions))
    assert log.balanced().n_episodes == 40
