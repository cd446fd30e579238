"""Learners of Q beside exact and independent solutions: fitted Q iteration, and the pessimistic."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.learners import FittedQIteration, PessimisticQ
from counterfolio.policies import Deterministic
from learner_logs import (
    GAMMA,
    MDP,
    corridor,
    empirical,
    exhaustive,
    numbered,
    sampled,
    take,
    value_iteration,
)
from mdp import dyadic_mdp
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeRegressor

EXACT = value_iteration(MDP, GAMMA)


def tree():
    return DecisionTreeRegressor(min_samples_leaf=20)


# Right, where the truth is known.


@pytest.mark.parametrize("gamma", [0.9, 0.5])
def test_a_log_of_every_transition_gives_value_iteration(gamma):
    mdp, _ = dyadic_mdp()
    # The rows that were cut off would be worth 1,000 if they counted.
    q = FittedQIteration().fit(take(exhaustive(mdp, 16)), gamma=gamma)
    assert (q.settings["features"], q.settings["horizon"]) == ("one_hot", "continue")
    np.testing.assert_allclose(q(numbered(2)), value_iteration(mdp, gamma), atol=1e-8, rtol=0)


def without_cut_off(columns):
    """Nothing follows, and what was cut off is worth nothing."""
    return {**columns, "reward": np.where(columns["truncated"], 0.0, columns["reward"])}


def test_with_gamma_1_what_was_cut_off_counts_as_ended():
    mdp, _ = dyadic_mdp()
    columns = without_cut_off(exhaustive(mdp, 16))
    q = FittedQIteration().fit(take(columns))
    assert q.settings["horizon"] == "logged"
    assert "counted as ended there, since gamma is 1" in q.notes[0]
    # Row by row, as if all had ended.
    ended = {**columns, "truncated": np.zeros(len(columns["state"]), dtype=bool)}
    last = np.append(np.diff(columns["episode_id"]) > 0, True)
    wanted, _ = empirical({**ended, "terminated": last}, 1.0)
    np.testing.assert_allclose(q(numbered(2)), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("learner", "off"),
    [
        (FittedQIteration(), 0.08),
        (FittedQIteration(features=lambda s: np.eye(4)[s[:, 0].astype(int)]), 0.08),
        (FittedQIteration(tree()), 0.12),
        (PessimisticQ(beta=0.0), 0.08),
    ],
    ids=["table", "linear", "tree", "no_pessimism"],
)
def test_plenty_of_rows_find_the_best_policy(learner, off):
    q = learner.fit(take(sampled(20_000)), gamma=GAMMA)
    found = q(numbered(4))
    assert (found.argmax(axis=1) == EXACT.argmax(axis=1)).all()
    assert np.abs(found - EXACT).max() < off
    assert q.notes == []


def test_every_form_of_a_table_gives_the_same_q():
    columns = sampled(500)
    table = FittedQIteration(features="one_hot").fit(take(columns), gamma=GAMMA)
    wanted = table(numbered(4))
    np.testing.assert_allclose(wanted, empirical(columns, GAMMA)[0], atol=1e-8)
    # A constant and three columns say the same as four cells.
    crossed = FittedQIteration(features=lambda s: np.eye(4)[s[:, 0].astype(int), 1:], ridge=0)
    np.testing.assert_allclose(
        crossed.fit(take(columns), gamma=GAMMA)(numbered(4)), wanted, atol=1e-4
    )


def test_least_squares_are_those_of_a_regressor():
    """Linear in state and action apart: without next states, ordinary least squares."""
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=(400, 2)), rng.integers(0, 3, 400)
    columns = {"state": x, "action": action, "reward": x[:, 0] * action + rng.normal(size=400)}
    log = take(columns, state="state")
    q = FittedQIteration(features="linear", ridge=0).fit(log)(x)
    for a in range(3):
        fit = LinearRegression().fit(x[action == a], columns["reward"][action == a])
        np.testing.assert_allclose(q[:, a], fit.predict(x), atol=1e-10)
    own = FittedQIteration(LinearRegression()).fit(log)(x)
    joint = LinearRegression().fit(np.column_stack([x, np.eye(3)[action]]), columns["reward"])
    for a in range(3):
        inputs = np.column_stack([x, np.tile(np.eye(3)[a], (400, 1))])
        np.testing.assert_allclose(own[:, a], joint.predict(inputs), atol=1e-10)


def test_polynomial_features_need_no_scikit_learn(monkeypatch):
    columns = {**sampled(200), "other": np.linspace(0, 1, len(sampled(200)["state"]))}
    log = take(columns, state=["state", "other"])
    before = FittedQIteration(features="polynomial").fit(log, gamma=GAMMA)
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    after = FittedQIteration(features="polynomial").fit(log, gamma=GAMMA)
    states = np.column_stack([np.arange(4.0), np.full(4, 0.5)])
    np.testing.assert_array_equal(before(states), after(states))


def test_a_classifier_models_clicks_of_single_decisions():
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=(4000, 1)), rng.integers(0, 2, 4000)
    chance = 1 / (1 + np.exp(-(x[:, 0] + 2 * action - 1)))
    columns = {"state": x, "action": action, "reward": (rng.random(4000) < chance) * 1.0}
    log = take(columns)
    q = FittedQIteration(LogisticRegression()).fit(log)(np.zeros((1, 1)))
    np.testing.assert_allclose(q[0], 1 / (1 + np.exp([1, -1])), atol=0.05)


# Ends of episodes.


def q_of(columns, horizon=None, gamma=0.5, **roles):
    learner = FittedQIteration(features="one_hot", horizon=horizon)
    return learner.fit(take(columns, **roles), gamma=gamma)


def test_what_follows_a_row_that_was_cut_off_is_not_nothing():
    cut = corridor(truncated="last", terminated="none")
    # Rows that go on: 0 -> 1 three times, 1 -> 1 twice. V(1) = 1 + V(1) / 2 = 2, V(0) = 1.
    np.testing.assert_allclose(q_of(cut)(numbered(2))[:, 0], [1.0, 2.0], atol=1e-9)
    # The same by one of the two marks, or by word.
    for marks in ("truncated", "terminated"):
        one = {k: v for k, v in cut.items() if k not in {"truncated", "terminated"} - {marks}}
        np.testing.assert_allclose(q_of(one)(numbered(2))[:, 0], [1.0, 2.0], atol=1e-9)
    assert q_of(corridor(), "continue")(numbered(2))[1, 0] == pytest.approx(2)


def test_what_ended_is_worth_its_reward_alone():
    over = corridor(terminated="last")
    # V(1) = 1 + 2/5 V(1) / 2 = 5/4; V(0) = 3/4 V(1) / 2.
    wanted = [0.75 * 1.25 / 2, 1.25]
    np.testing.assert_allclose(q_of(over)(numbered(2))[:, 0], wanted, atol=1e-9)
    assert q_of(over).notes == []
    # Where all cost something, it is better to end: nothing is as bad as going on.
    costly = {**over, "reward": over["reward"] - 3, "truncated": np.zeros(9, dtype=bool)}
    costly["action"] = over["terminated"] * 1
    np.testing.assert_allclose(q_of(costly)(numbered(2)), empirical(costly, 0.5)[0], atol=1e-9)
    cut = corridor(truncated="last")
    counted = q_of(cut, "logged")
    np.testing.assert_allclose(counted(numbered(2))[:, 0], wanted, atol=1e-9)
    assert "4 episodes of 4 cut off, counted as ended there, as you say" in counted.notes[0]
    np.testing.assert_allclose(q_of(corridor(), "logged")(numbered(2))[:, 0], wanted, atol=1e-9)


def test_episodes_without_marks_are_no_guess():
    with pytest.raises(cf.InvalidLogError, match="no column says how episodes end"):
        q_of(corridor())
    # Without discounting there is one way to count.
    assert FittedQIteration().fit(take(corridor())).settings["horizon"] == "logged"
    single = {k: v for k, v in corridor().items() if k != "episode_id"}
    np.testing.assert_array_equal(q_of(single)(numbered(2))[:, 0], [0.0, 1.0])


def test_single_decisions_that_were_cut_off_teach_nothing():
    columns = {k: v for k, v in corridor().items() if k != "episode_id"}
    columns["truncated"] = np.ones(9, dtype=bool)
    with pytest.raises(cf.InvalidLogError, match="every episode has one row and was cut off"):
        q_of(columns)


# Actions and states.


def test_labels_keep_their_order():
    columns = sampled(500)
    names = np.array(["run", "mend", "wait"])
    wanted = FittedQIteration().fit(take(columns), gamma=GAMMA)
    assert wanted.actions == [0, 1, 2]
    named = {**columns, "action": names[columns["action"]]}
    for actions, order in ((None, [1, 0, 2]), (["wait", "run", "mend"], [2, 0, 1])):
        q = FittedQIteration().fit(take(named, actions=actions), gamma=GAMMA)
        assert q.actions == [names[i] for i in order]
        np.testing.assert_allclose(q(numbered(4)), wanted(numbered(4))[:, order], atol=1e-12)
        best = Deterministic(q, actions=q.actions).sample(numbered(4), None)
        assert best.tolist() == names[wanted(numbered(4)).argmax(axis=1)].tolist()


@pytest.mark.parametrize("features", ["one_hot", "linear"])
def test_text_and_numbers_stand_together(features):
    columns = sampled(500)
    ward = np.array(["a", "b"])[columns["state"] // 2]
    both = {**columns, "ward": ward, "bed": columns["state"] % 2}
    log = take(both, state=["ward", "bed"])
    q = FittedQIteration(features=features).fit(log, gamma=GAMMA)
    states = pl.DataFrame({"ward": ["a", "a", "b", "b"], "bed": [0, 1, 0, 1]})
    if features == "one_hot":
        wanted = FittedQIteration().fit(take(columns), gamma=GAMMA)(numbered(4))
        np.testing.assert_allclose(q(states), wanted, atol=1e-12)
        np.testing.assert_array_equal(q(states.select("bed", "ward")[::-1]), q(states)[::-1])
    # A ward, or a bed, that the log does not have is none of its own.
    other = q(pl.DataFrame({"ward": ["c", "a", "b", "b"], "bed": [0, 7, 7, -1]}))
    assert np.isfinite(other).all()
    if features == "one_hot":
        assert (other == other[0]).all()
        assert (other[0] != q(states)).any(axis=1).all()
    with pytest.raises(cf.InvalidPolicyError, match="frames with the columns ward, bed"):
        q(numbered(4))


def test_a_table_reads_lists_beside_text():
    columns = sampled(500)
    lists = pl.Series([[s % 2, 5] for s in columns["state"]])
    log = take(
        {**columns, "ward": np.array(["a", "b"])[columns["state"] // 2], "beds": lists},
        state=["ward", "beds"],
    )
    q = FittedQIteration(features="one_hot").fit(log, gamma=GAMMA)
    wanted = FittedQIteration().fit(take(columns), gamma=GAMMA)(numbered(4))
    states = pl.DataFrame({"ward": ["a", "a", "b", "b"], "beds": [[0, 5], [1, 5], [0, 5], [1, 5]]})
    np.testing.assert_allclose(q(states), wanted, atol=1e-12)


def test_what_was_never_tried_is_not_chosen():
    """Action 1 only in state 0, where it is bad; state 2 is in no row that is learned from."""
    columns = {
        "episode_id": np.array([0, 0, 1, 2]),
        "state": np.array([0, 2, 0, 1]),
        "action": np.array([0, 0, 1, 0]),
        "reward": np.array([-1.0, 50.0, -2.0, -5.0]),
        "terminated": np.array([False, False, True, True]),
    }
    q = FittedQIteration(features="one_hot").fit(take(columns, actions=[0, 1, 2]), gamma=0.5)
    found = q(numbered(4))
    # State 2 gets the mean Q of each action, weighted by rows; so does state 3, which nobody saw.
    first = -1 + 0.5 * -2.0
    np.testing.assert_allclose(found[0, :2], [first, -2.0])
    np.testing.assert_allclose(found[2, :2], [(first - 5) / 2, -2.0])
    np.testing.assert_array_equal(found[2], found[3])
    assert found[1].argmax() == 0
    assert (found[:, 2] < -5).all()
    assert found[1, 1] < found[1, 0] == -5


def test_an_action_of_no_row_is_not_chosen_by_features():
    columns = sampled(300)
    columns["reward"] -= 5  # Or 0, what nothing says of it, would not be tempting.
    without, log = take(columns), take(columns, actions=[0, 1, 2, 3])
    for learner in (
        FittedQIteration(features="linear", ridge=0),
        PessimisticQ(features="linear", ridge=0, beta=1.0),
        FittedQIteration(LinearRegression()),
    ):
        found = learner.fit(log, gamma=GAMMA)(numbered(4))
        assert (found[:, 3] < found[:, :3].min(axis=1)).all()
        wanted = learner.fit(without, gamma=GAMMA)(numbered(4))
        np.testing.assert_allclose(found[:, :3], wanted, atol=1e-4)
