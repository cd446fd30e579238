"""The policies that an experiment learns by itself, made again by hand."""

from __future__ import annotations

import importlib.util

import counterfolio as cf
import gymnasium as gym
import numpy as np
import polars as pl
import pytest
from counterfolio import policies as pi
from counterfolio import simulate
from counterfolio.experiments import learned_behavior, learned_candidates
from counterfolio.learners import BehaviorCloning, FittedQIteration, PessimisticQ

ENV = simulate.Basic(horizon=3, state_dim=2, n_actions=4)


@pytest.mark.parametrize(("gamma", "learned_with"), [(0.6, 0.6), (0.95, 0.95), (1.0, 0.95)])
def test_the_behavior_policy_is_softmax_of_q(gamma, learned_with):
    log = cf.collect(ENV, pi.Uniform(4), 200, seed=3)
    states = log.states.take(slice(0, log.n_rows))
    q = FittedQIteration().fit(log, gamma=learned_with)(states)
    spread = np.mean([row.std() for row in q])
    weights = np.exp((q - q.max(axis=1, keepdims=True)) / spread)
    found = learned_behavior(ENV, 200, 3, gamma=gamma)
    np.testing.assert_allclose(
        found.action_probs(states), weights / weights.sum(axis=1, keepdims=True), rtol=1e-9
    )


@pytest.mark.parametrize(("gamma", "learned_with"), [(0.6, 0.6), (1.0, 0.95)])
def test_candidates_are_four_learners_with_three_shares_of_tosses(gamma, learned_with):
    log = cf.collect(ENV, pi.Uniform(4), 300, seed=4)
    states = log.states.take(slice(0, log.n_rows))
    returns = (
        pl.DataFrame({"episode": log.column("episode"), "reward": log.column("reward")})
        .group_by("episode")
        .agg(pl.col("reward").sum())["reward"]
    )
    doubt = 0.05 * (returns.max() - returns.min())
    bases = {
        "fqi": FittedQIteration().fit(log, gamma=learned_with),
        "fqi_linear": FittedQIteration(features="linear").fit(log, gamma=learned_with),
        "pessimistic": PessimisticQ(beta=doubt).fit(log, gamma=learned_with),
        "clone": BehaviorCloning().fit(log).action_probs,
    }
    found = learned_candidates(log, gamma=gamma)
    assert list(found) == [f"{base}_{e}" for base in bases for e in (0.1, 0.3, 0.5)]
    best = {}
    for base, function in bases.items():
        best[base] = np.asarray(function(states)).argmax(axis=1)
        for e in (0.1, 0.3, 0.5):
            wanted = np.full((len(states), 4), e / 4)
            wanted[np.arange(len(states)), best[base]] += 1 - e
            np.testing.assert_allclose(found[f"{base}_{e}"].action_probs(states), wanted)
    # Four learners, not one by four names.
    names = list(best)
    for i, name in enumerate(names):
        for other in names[:i]:
            assert (best[name] != best[other]).any(), (name, other)


class Counted(gym.Env):
    """Actions from 1 on; the second earns."""

    def __init__(self):
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float64)
        self.action_space = gym.spaces.Discrete(3, start=1)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 2), {}

    def step(self, action):
        assert 1 <= action <= 3
        return self.np_random.uniform(-1, 1, 2), float(action == 2), True, False, {}


def test_actions_may_begin_at_one():
    behavior = learned_behavior(Counted, 100, 0)
    assert list(behavior.actions) == [1, 2, 3]
    log = cf.collect(Counted, behavior, 200, seed=1)
    assert log.column("action").unique().sort().to_list() == [1, 2, 3]
    found = learned_candidates(log)
    probs = found["fqi_0.1"].action_probs(np.zeros((1, 2)))[0]
    assert list(found["fqi_0.1"].actions) == [1, 2, 3]
    np.testing.assert_allclose(probs, [0.1 / 3, 0.9 + 0.1 / 3, 0.1 / 3])


def test_without_scikit_learn_it_says_so_before_it_plays(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "sklearn" else found(name, *a)
    )
    with pytest.raises(cf.MissingExtraError, match=r"counterfolio\[models\].*or pass candidates"):
        cf.experiment("counterfolio/Basic-v0")


def test_candidates_are_learned_from_logs_of_any_make():
    """Episodes go by their ends or by text, rewards are flags: the same policies come out."""
    log = cf.collect(simulate.Basic(horizon=3, reward_type="binary"), pi.Uniform(10), 150, 1)
    roles = {key: log.roles[key] for key in ("state", "terminated", "truncated", "actions")}
    frame = pl.DataFrame([log.column(name) for name in log._table.names])
    flags = frame.with_columns(pl.col("reward") > 0)
    named = frame.with_columns(pl.format("of {}", pl.col("episode")).alias("episode"))
    states = log.states.take(slice(0, 50))
    wanted = learned_candidates(log)
    for other in (
        cf.LoggedData.from_frame(flags, **roles),
        cf.LoggedData.from_frame(named, episode_id="episode", **roles),
    ):
        found = learned_candidates(other)
        for name, policy in wanted.items():
            np.testing.assert_allclose(
                found[name].action_probs(states), policy.action_probs(states)
            )
