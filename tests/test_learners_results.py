"""What learners return, how they settle, and what they refuse."""

from __future__ import annotations

import pickle

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.learners import FittedQIteration, PessimisticQ
from counterfolio.policies import Deterministic, EpsilonGreedy, Softmax
from learner_logs import (
    GAMMA,
    MDP,
    corridor,
    numbered,
    sampled,
    take,
    value_iteration,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeRegressor

EXACT = value_iteration(MDP, GAMMA)


def tree():
    return DecisionTreeRegressor(min_samples_leaf=20)


def test_a_learned_q_travels_and_says_how_it_was_made():
    columns = sampled(300)
    for learner in (FittedQIteration(), FittedQIteration(features="fourier"), PessimisticQ()):
        q = learner.fit(take(columns), gamma=GAMMA, seed=3)
        again = pickle.loads(pickle.dumps(q))
        np.testing.assert_array_equal(again(numbered(4)), q(numbered(4)))
        assert q.settings["seed"] == 3
        assert type(learner).__name__ in repr(q)
        # The log does not travel with it.
        assert len(pickle.dumps(q)) < 50_000


def test_a_seed_is_honoured():
    log = take(sampled(300))
    drawn = DecisionTreeRegressor(splitter="random", max_depth=2)
    for learner in (FittedQIteration(drawn), FittedQIteration(features="fourier")):
        first, same, other = (learner.fit(log, gamma=0.5, seed=s)(numbered(4)) for s in (1, 1, 2))
        np.testing.assert_array_equal(first, same)
        assert (first != other).any()


def test_iterations_may_be_few():
    log = take(sampled(500))
    q = FittedQIteration(n_iterations=1).fit(log, gamma=GAMMA)
    assert np.abs(q(numbered(4)) - MDP.reward).max() < 0.2
    assert (q.settings["n_iterations"], q.notes) == (1, [])


def test_sweeps_end_where_plain_iterations_do():
    """They keep the best actions for a while; with pessimism, and where its floor matters, too."""
    columns = sampled(300)
    columns["other"] = np.sin(np.arange(len(columns["state"])))
    log = take(columns, state=["state", "other"])
    states = np.column_stack([np.arange(4.0), np.linspace(-1, 1, 4)])
    for learner, how in (
        (FittedQIteration, {}),
        (PessimisticQ, {"beta": 1.0}),
        (PessimisticQ, {"beta": 6.0, "value_range": (2.2, 9.0)}),
    ):
        sooner = learner(features="polynomial", **how).fit(log, gamma=0.97)
        plain = learner(features="polynomial", n_iterations=1_500, **how).fit(log, gamma=0.97)
        np.testing.assert_allclose(sooner(states), plain(states), atol=1e-3)
        assert 1 < sooner.settings["n_iterations"] < 20
        assert plain.settings["n_iterations"] > sooner.settings["n_iterations"]
        if low := how.get("value_range", (None,))[0]:
            floored = (plain(log.states.take(slice(0, log.n_rows))).max(axis=1) < low).mean()
            assert 0.1 < floored < 0.9


@pytest.mark.parametrize(
    ("features", "most"), [("one_hot", 10_000), (lambda s: s, 1_000)], ids=["table", "linear"]
)
def test_what_pays_for_ever_does_not_settle(features, most):
    """Action 0 stays in the state that pays; action 1 ends."""
    columns = corridor(truncated="last")
    columns["action"][[2, 5, 8]] = 1
    columns["truncated"] = np.zeros(9, dtype=bool)
    q = FittedQIteration(features=features).fit(take(columns))
    assert "with gamma 1 a policy may go on for ever" in q.notes[0]
    assert q.settings["n_iterations"] == most
    assert q(numbered(2))[1].argmax() == 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("own", [None, LinearRegression(fit_intercept=False)])
def test_least_squares_do_not_grow_without_end(own, sign):
    """Only the first of two states is learned from, and what is learned there is doubled in the
    second, which follows (after Tsitsiklis & Van Roy 1996)."""
    columns = {
        "episode_id": np.repeat(np.arange(50), 2),
        "state": np.tile([1.0, 2.0], 50),
        "action": np.zeros(100, dtype=int),
        "reward": np.full(100, 1.0 * sign),
        "truncated": np.tile([False, True], 50),
    }
    # theta is along (1, 1), and V(2) = (1, 3) theta; the regressor's along (1, 1), V(2) = (2, 1).
    features = "auto" if own else lambda s: 2 * s - 1
    for n_iterations in (None, 2_000):
        learner = FittedQIteration(own, n_iterations, features, ridge=1e-6)
        q = learner.fit(take(columns), gamma=0.9)
        # 1 + 0.9 * 10, as much as rewards can add up to.
        assert q(np.array([[1.0]]))[0, 0] == pytest.approx(10 * sign, abs=0.1)
        assert "100% of the values are beyond what rewards can add up to" in q.notes[0]


@pytest.mark.parametrize("learner", [FittedQIteration, PessimisticQ])
def test_wrong_arguments(learner):
    log = take(sampled(50))
    for how, says in (
        ({"features": "one-hot"}, 'did you mean "one_hot"'),
        ({"ridge": -1}, "ridge must be"),
        ({"horizon": "for ever"}, "unknown horizon"),
        ({"n_iterations": 0}, "n_iterations must be"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=says):
            learner(**how)
    for how, says in (
        ({"gamma": 0}, "gamma must be in"),
        ({"gamma": "1"}, "gamma must be in"),
        ({"seed": -1}, "seed must be"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=says):
            learner().fit(log, **how)
    with pytest.raises(cf.InvalidArgumentError, match='horizon="continue" needs gamma below 1'):
        learner(horizon="continue").fit(log)
    with pytest.raises(cf.InvalidArgumentError, match="takes a LoggedData, not a dict"):
        learner().fit({})
    with pytest.raises(cf.InvalidLogError, match="names no state column"):
        learner().fit(take(sampled(50), state=None), gamma=GAMMA)
    doses = take(
        {"state": np.ones(3), "action": np.ones(3), "reward": np.ones(3)}, action_type="continuous"
    )
    with pytest.raises(cf.InvalidLogError, match="but the log's are continuous"):
        learner().fit(doses)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"beta": -1}, "beta must be"),
        ({"beta": np.inf}, "beta must be"),
        ({"delta": 1}, "delta must be"),
        ({"value_range": (1, 0)}, "value_range must be"),
        ({"value_range": 3}, "value_range must be"),
    ],
)
def test_wrong_pessimism(how, says):
    with pytest.raises(cf.InvalidArgumentError, match=says):
        PessimisticQ(**how)


def test_wrong_regressors():
    with pytest.raises(cf.InvalidArgumentError, match="regressor must be an object with fit"):
        FittedQIteration(LinearRegression)
    with pytest.raises(cf.InvalidArgumentError, match='"one_hot" is a table and takes no'):
        FittedQIteration(tree(), features="one_hot")
    with pytest.raises(cf.InvalidArgumentError, match="is a classifier, which models rewards"):
        FittedQIteration(LogisticRegression()).fit(take(sampled(50)), gamma=GAMMA)


def test_states_of_another_form():
    q = FittedQIteration().fit(take(sampled(100)), gamma=GAMMA)
    np.testing.assert_array_equal(q(np.arange(4.0)), q(numbered(4)))
    for states in (np.ones((3, 2)), np.array([["a"]]), pl.DataFrame({"x": ["a"]})):
        with pytest.raises(cf.InvalidPolicyError, match="states that are arrays of shape"):
            q(states)
    features = FittedQIteration(features="linear").fit(take(sampled(100)), gamma=GAMMA)
    with pytest.raises(cf.InvalidPolicyError, match="1 of 2 states hold NaN or an infinite"):
        features(np.array([[1.0], [np.nan]]))


def test_every_head_takes_it():
    columns = sampled(200)
    log = take(columns)
    q = FittedQIteration().fit(log, gamma=GAMMA)
    policies = {
        "soft": Softmax(q, 1.0, actions=q.actions),
        "mostly": EpsilonGreedy(q, 0.1, actions=q.actions),
        "best": Deterministic(q, actions=q.actions),
    }
    for policy in policies.values():
        probs = policy.action_probs(numbered(5))
        np.testing.assert_allclose(probs.sum(axis=1), 1)
        assert probs.shape == (5, 3)
        assert np.isfinite(policy.prob(numbered(4), np.zeros(4, dtype=int))).all()
