"""Learners of Q beside exact and independent solutions: fitted Q iteration, and the pessimistic."""

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


def corridor(**ends):
    """Two states; the second pays on and on. Episodes of 1 to 3 rows."""
    lengths = [1, 2, 3, 3]
    state = [0, 0, 1, 0, 1, 1, 0, 1, 1]
    last = np.zeros(9, dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    columns = {
        "episode_id": np.repeat(np.arange(4), lengths),
        "state": np.array(state),
        "action": np.zeros(9, dtype=int),
        "reward": np.array(state, dtype=float),
    }
    return columns | {name: last & (value == "last") for name, value in ends.items()}


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


# Pessimism.


@pytest.mark.parametrize(("beta", "low"), [(0.5, -2.0), (3.0, 2.5), (30.0, -1.0)])
def test_a_table_is_vi_lcb(beta, low):
    columns = sampled(300)
    q = PessimisticQ(beta=beta, value_range=(low, 5.0)).fit(take(columns), gamma=GAMMA)
    wanted, n = empirical(columns, GAMMA, beta, low)
    assert (n > 0).all()
    np.testing.assert_allclose(q(numbered(4)), wanted, atol=1e-8)
    # Of a state that nobody saw nothing good can be said; what is less bad elsewhere is so there.
    other = q(np.array([[9.0]]))[0]
    assert other.max() <= low + 1e-12
    assert other.argmax() == ((n * wanted).sum(axis=0) / n.sum(axis=0)).argmax()
    # The floor matters in the latter two.
    assert (wanted.max(axis=1) < low).any() == (beta > 1)


def test_features_are_the_linear_form():
    """One-hot features give the table; others beside an independent PEVI."""
    columns = sampled(300)
    log = take(columns)
    table = PessimisticQ(beta=1.0).fit(log, gamma=GAMMA)
    cells = PessimisticQ(beta=1.0, features=Cells(), ridge=0).fit(log, gamma=GAMMA)
    np.testing.assert_allclose(cells(numbered(4)), table(numbered(4)), atol=1e-4)

    q = PessimisticQ(beta=1.0, features=lambda s: np.sin(s), ridge=0).fit(log, gamma=GAMMA)
    s, a, r = (columns[k] for k in ("state", "action", "reward"))
    phi = np.column_stack([np.ones(len(s)), np.sin(s)])
    used = ~columns["truncated"]
    goes = np.flatnonzero(used & ~columns["terminated"])
    low = q.settings["value_range"][0]
    value = np.full(len(s), low)
    at = np.column_stack([np.ones(4), np.sin(np.arange(4))])
    for _ in range(300):
        y = r.copy()
        y[goes] += GAMMA * value[goes + 1]
        rows = [used & (a == k) for k in range(3)]
        gram = [phi[k].T @ phi[k] for k in rows]
        theta = [np.linalg.lstsq(phi[k], y[k], rcond=None)[0] for k in rows]

        def bound(x, theta=theta, gram=gram):
            width = [np.sqrt(np.einsum("ij,jk,ik->i", x, np.linalg.inv(g), x)) for g in gram]
            return np.column_stack([x @ t - w for t, w in zip(theta, width, strict=True)])

        value = np.maximum(bound(phi).max(axis=1), low)
    np.testing.assert_allclose(q(numbered(4)), bound(at), atol=1e-4)


class Cells:
    """One-hot, with a column that is 1 in every row of one state: no constant is added."""

    def transform(self, x):
        cells = np.eye(4)[x[:, 0].astype(int)]
        return np.column_stack([np.ones(len(x)), cells[:, 1:]])


def test_luck_is_believed_by_one_and_not_by_the_other():
    """Action 1 was tried once, and won; action 0 wins half of the time."""
    rng = np.random.default_rng(1)
    action = np.zeros(400, dtype=int)
    action[7] = 1
    reward = np.where(action == 1, 1.0, (rng.random(400) < 0.5) * 1.0)
    log = take({"state": np.zeros(400, dtype=int), "action": action, "reward": reward})
    bold, careful = FittedQIteration().fit(log), PessimisticQ().fit(log)
    assert bold(numbered(1)).argmax() == 1
    assert careful(numbered(1)).argmax() == 0
    # Hoeffding's bound for both cells together.
    beta = np.sqrt(np.log(2 * 2 / 0.1) / 2)
    assert careful.settings["beta"] == pytest.approx(beta)
    wanted = [reward[action == 0].mean() - beta / np.sqrt(399), 1 - beta]
    np.testing.assert_allclose(careful(numbered(1))[0], wanted)


def test_bounds_hold_as_often_as_they_say():
    """Single decisions, where delta is a probability: no bound fails in far more than 1 - delta."""
    rng = np.random.default_rng(0)
    chance = np.array([[0.2, 0.5], [0.7, 0.4]])
    failed = 0
    for _ in range(200):
        state, action = rng.integers(0, 2, (2, 60))
        reward = (rng.random(60) < chance[state, action]) * 1.0
        q = PessimisticQ(features="one_hot", value_range=(0, 1), delta=0.2).fit(
            take({"state": state, "action": action, "reward": reward})
        )
        failed += bool((q(numbered(2)) > chance).any())
    assert failed <= 0.2 * 200


def test_over_several_steps_beta_is_by_the_noise():
    """Of targets about Q in what the log has counted, row by row."""
    columns = sampled(300)
    q = PessimisticQ(delta=0.2).fit(take(columns), gamma=GAMMA)
    table, _ = empirical(columns, GAMMA)
    off = []
    for i, (s, a, r) in enumerate(
        zip(columns["state"], columns["action"], columns["reward"], strict=True)
    ):
        if not columns["truncated"][i]:
            ends = columns["terminated"][i]
            value = 0.0 if ends else table[columns["state"][i + 1]].max()
            off.append(r + GAMMA * value - table[s, a])
    noise = np.sqrt(np.sum(np.square(off)) / (len(off) - 12))
    assert q.settings["beta"] == pytest.approx(noise * np.sqrt(2 * np.log(12 / 0.2)))
    # One row to a cell tells nothing of noise: the range of returns does.
    short = corridor(terminated="last")
    short["state"] = np.arange(9)
    found = PessimisticQ(features="one_hot").fit(take(short), gamma=0.5).settings
    low, high = found["value_range"]
    assert found["beta"] == pytest.approx((high - low) * np.sqrt(np.log(2 * 9 / 0.1) / 2))


def test_a_large_beta_is_told():
    q = PessimisticQ(beta=1e4).fit(take(sampled(300)), gamma=GAMMA)
    assert "100% of the states are worth no more than the least return" in q.notes[0]
    assert q.settings["delta"] is None
    assert "beta 1e+04" in repr(q)


def test_the_range_is_that_of_returns_from_any_row_on():
    columns = sampled(300)
    found = PessimisticQ().fit(take(columns), gamma=GAMMA).settings["value_range"]
    to_go, following = [], 0.0
    ids = columns["episode_id"]
    for i in reversed(range(len(ids))):
        on = i + 1 < len(ids) and ids[i + 1] == ids[i]
        following = columns["reward"][i] + (GAMMA * following if on else 0.0)
        to_go.append(following)
    assert found == pytest.approx((min(to_go), max(to_go)))


# The result, and what is refused.


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
