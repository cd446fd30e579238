"""What `collect` plays in, and what policies may do there."""

from __future__ import annotations

import counterfolio as cf
import gymnasium as gym
import numpy as np
import polars as pl
import pytest
from counterfolio import policies as pi
from counterfolio.simulate import Basic
from scipy import stats
from simulate_worlds import CARTPOLE, ENVIRONMENTS, frame, softmax

# Environments of every kind.


def test_vector_environments_of_gymnasium():
    direct = frame(cf.collect("CartPole-v1", CARTPOLE, 11, seed=2))
    for mode in gym.vector.AutoresetMode:
        vector = gym.make_vec(
            "CartPole-v1",
            num_envs=4,
            vectorization_mode="sync",
            vector_kwargs={"autoreset_mode": mode},
        )
        assert frame(cf.collect(vector, CARTPOLE, 11, seed=2)).equals(direct), mode
        vector.close()
    with pytest.raises(cf.InvalidArgumentError, match="has num_envs 4, not 3"):
        cf.collect(vector, CARTPOLE, 11, seed=2, num_envs=3)
    # Buffers that are filled again with each step are read before.
    kept = gym.make_vec(
        "CartPole-v1", num_envs=4, vectorization_mode="sync", vector_kwargs={"copy": False}
    )
    assert frame(cf.collect(kept, CARTPOLE, 11, seed=2)).equals(direct)
    frozen = gym.make_vec("FrozenLake-v1", num_envs=3, vectorization_mode="async")
    log = frame(cf.collect(frozen, pi.Uniform(4), 5, seed=2))
    assert log.equals(frame(cf.collect("FrozenLake-v1", pi.Uniform(4), 5, seed=2)))
    frozen.close()


def test_a_vector_environment_with_one_stream_for_all():
    vector = gym.make_vec("CartPole-v1", num_envs=8, vectorization_mode="vector_entry_point")
    logs = [frame(cf.collect(vector, CARTPOLE, 20, seed=2)) for _ in range(2)]
    assert logs[0].equals(logs[1])
    ends = logs[0].group_by("episode").agg(pl.col("terminated", "truncated").sum(), pl.len())
    assert len(ends) == 20
    assert (ends["terminated"] + ends["truncated"] == 1).all()


def test_our_own_vector_form_gives_the_same_log():
    env, policy = ENVIRONMENTS["Tabular"]
    direct = frame(cf.collect(env, policy, 11, seed=2))
    assert frame(cf.collect(env.to_vector(4), policy, 11, seed=2)).equals(direct)
    assert frame(cf.collect(env.to_gymnasium(), policy, 11, seed=2)).equals(direct)


def test_our_environments_by_name_are_played_side_by_side():
    by_name = cf.collect("counterfolio/Basic-v0", softmax(5, 10), 50, seed=2)
    assert frame(by_name).equals(frame(cf.collect(Basic(), softmax(5, 10), 50, seed=2)))
    made = cf.collect(lambda: gym.make("counterfolio/Basic-v0"), softmax(5, 10), 50, seed=2)
    assert frame(made).equals(frame(by_name))

    def wrapped():
        plain = gym.make("counterfolio/Basic-v0")
        return gym.wrappers.TransformReward(plain, lambda r: 2 * r)

    twice = frame(cf.collect(wrapped, softmax(5, 10), 50, seed=2))
    assert (twice["reward"] == 2 * frame(by_name)["reward"]).all()


class Odd(gym.Env):
    """Observations of several parts, actions that begin at 3."""

    observation_space = gym.spaces.Dict(
        {"grid": gym.spaces.Box(0, 1, (2, 2)), "kind": gym.spaces.Discrete(3)}
    )
    action_space = gym.spaces.Discrete(2, start=3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert isinstance(action, int)
        seen = {"grid": np.full((2, 2), action / 4, dtype=np.float32), "kind": 1}
        return seen, float(action), bool(self.np_random.random() < 0.3), False, {}


def test_observations_of_parts_become_columns_and_actions_keep_their_numbers():
    env = Odd()
    env.observation_space.seed(0)
    log = cf.collect(env, pi.Uniform([3, 4]), 30, seed=1, action_probs=True)
    rows = frame(log)
    assert sorted(set(rows["action"])) == [3, 4]
    assert (rows["reward"] == rows["action"]).all()
    after = rows.filter(pl.col("step") > 0)
    before = rows.filter(pl.col("step").shift(-1) > 0)["action"]
    assert (after["state_0"] * 4 == before).all()
    assert after.select("state_4", "state_5", "state_6").rows()[0] == (0, 1, 0)
    with pytest.raises(cf.InvalidPolicyError, match=r"environment's actions are 3 to 4"):
        cf.collect(env, pi.Uniform(5), 3, seed=1)


def test_names_of_states():
    log = cf.collect("CartPole-v1", CARTPOLE, 2, seed=0, state_names=["x", "v", "angle", "spin"])
    assert log.roles["state"] == ["x", "v", "angle", "spin"]
    one = cf.collect("CartPole-v1", CARTPOLE, 2, seed=0, state_names="seen")
    assert one.column("seen").dtype == pl.Array(pl.Float32, 4)
    value = cf.evaluate(one, {"same": CARTPOLE}, ["pdis"]).estimates["value"]
    assert value[0] == pytest.approx(value[1])
    for wrong in (["x"] * 4, ["a", "b"], ["step", "v", "angle", "spin"], 4):
        with pytest.raises(cf.InvalidArgumentError, match="state_names"):
            cf.collect("CartPole-v1", CARTPOLE, 2, seed=0, state_names=wrong)


# Policies of ones own.


class Exponential:
    """Draws as no rows of a generator can be drawn."""

    def prob(self, states, actions):
        return self.density(states, actions)

    def density(self, states, actions):
        return np.exp(-np.asarray(actions).reshape(len(states)))

    def mean(self, states):
        return np.ones((len(states), 1))

    def sample(self, states, rng):
        return rng.standard_exponential((len(states), 1))


def test_a_policy_that_draws_in_its_own_way_has_the_same_log_too():
    env = Basic(action_type="continuous", action_dim=1)
    logs = [frame(cf.collect(env, Exponential(), 30, seed=1, num_envs=n)) for n in (1, 7, 30)]
    assert logs[0].equals(logs[1])
    assert logs[0].equals(logs[2])
    assert stats.kstest(logs[0]["action"], "expon").pvalue > 1e-3


@pytest.mark.parametrize(
    "draw",
    [
        lambda n, rng: stats.expon.rvs(size=(n, 1), random_state=rng),
        lambda n, rng: -np.log1p(-rng.random((n, 1), dtype=np.float32)),
        lambda n, rng: -np.log(rng.integers(1, 2**40, size=(n, 1), endpoint=True) / 2**40),
    ],
)
def test_a_policy_may_use_all_that_generators_of_numpy_take(monkeypatch, draw):
    monkeypatch.setattr(Exponential, "sample", lambda self, states, rng: draw(len(states), rng))
    env = Basic(action_type="continuous", action_dim=1)
    logs = [frame(cf.collect(env, Exponential(), 30, seed=1, num_envs=n)) for n in (7, 30)]
    assert logs[0].equals(logs[1])
    assert stats.kstest(logs[0]["action"], "expon").pvalue > 1e-3


def test_what_is_wrong_in_drawing_is_raised_as_it_is(monkeypatch):
    def draw(self, states, rng):
        raise ValueError("out of luck")

    monkeypatch.setattr(Exponential, "sample", draw)
    with pytest.raises(ValueError, match=r"^out of luck$"):
        cf.collect(Basic(action_type="continuous", action_dim=1), Exponential(), 3, seed=1)


def test_actions_beyond_the_bounds_are_executed_at_them_and_logged_as_drawn():
    wide = pi.Gaussian(lambda s: 0 * s[:, 0], 5.0)
    log = frame(cf.collect(lambda: gym.make("Pendulum-v1"), wide, 3, seed=1))
    assert (log["action"].abs() > 2).mean() > 0.5
    np.testing.assert_allclose(log["propensity"], stats.norm.pdf(log["action"], 0, 5))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cf.collect(Basic(), softmax(5, 10), 0, 1), cf.InvalidArgumentError, "n_episodes"),
        (lambda: cf.collect(Basic(), softmax(5, 10), 5, -1), cf.InvalidArgumentError, "seed"),
        (
            lambda: cf.collect(Basic(), softmax(5, 10), 5, 1, num_envs=0),
            cf.InvalidArgumentError,
            "num_envs",
        ),
        (lambda: cf.collect(Basic(), {}, 5, 1), cf.InvalidArgumentError, "policies must be one"),
        (lambda: cf.collect(Basic(), softmax(6, 10), 5, 1), ValueError, "matmul"),
        (
            lambda: cf.collect(Basic(n_actions=3), softmax(5, 4), 5, 1),
            cf.InvalidPolicyError,
            "actions are 0 to 2",
        ),
        (
            lambda: cf.collect(Basic(), Exponential(), 5, 1),
            cf.InvalidPolicyError,
            r'policy "behavior" \(Exponential\) cannot act in Discrete\(10\)',
        ),
        (
            lambda: cf.collect(Basic(action_type="continuous"), pi.Uniform(3), 5, 1),
            cf.InvalidPolicyError,
            "density, mean, sample",
        ),
        (
            lambda: cf.collect(Basic(action_type="continuous"), Exponential(), 5, 1),
            cf.InvalidPolicyError,
            "actions of 1 numbers; the environment's have 3",
        ),
        (
            lambda: cf.collect(
                Basic(action_type="continuous"), Exponential(), 5, 1, action_probs=True
            ),
            cf.InvalidArgumentError,
            "drop it",
        ),
        (
            lambda: cf.collect("CartPole-v7", softmax(4, 2), 5, 1),
            cf.InvalidArgumentError,
            'did you mean "CartPole-v',
        ),
        (lambda: cf.collect(3, softmax(4, 2), 5, 1), cf.InvalidArgumentError, "env must be"),
        (
            lambda: cf.collect(lambda: 3, softmax(4, 2), 5, 1),
            cf.InvalidArgumentError,
            "env must be",
        ),
        (
            lambda: cf.collect(Basic(), softmax(5, 10), 5, 1, path="no/such/folder/x.parquet"),
            cf.InvalidArgumentError,
            "does not exist",
        ),
        (
            lambda: cf.collect(gym.make("CartPole-v1"), CARTPOLE, 5, 1, num_envs=2),
            cf.InvalidArgumentError,
            "one episode at a time",
        ),
    ],
)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_action_that_the_policy_does_not_know_is_not_taken():
    log = frame(cf.collect(Basic(), softmax(5, 9), 50, 1, action_probs=True))
    assert log["action"].max() == 8
    assert (log["action_probs"].to_numpy()[:, 9] == 0).all()
