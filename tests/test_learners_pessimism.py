"""`PessimisticQ`: lower bounds of Q, by table and by features."""

from __future__ import annotations

import numpy as np
import pytest
from counterfolio.learners import FittedQIteration, PessimisticQ
from learner_logs import (
    GAMMA,
    MDP,
    corridor,
    empirical,
    numbered,
    sampled,
    take,
    value_iteration,
)
from sklearn.tree import DecisionTreeRegressor

EXACT = value_iteration(MDP, GAMMA)


def tree():
    return DecisionTreeRegressor(min_samples_leaf=20)


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
