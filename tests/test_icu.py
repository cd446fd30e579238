"""ICU-Sepsis (MIT, package icu-sepsis): 713 states, 25 actions, solved exactly."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import counterfolio as cf
import numpy as np
import pytest
from mdp import MDP, simulate

STATES, SURVIVAL = 713, 714


@pytest.fixture(scope="module")
def icu():
    """The process as published, read from the package's folder: importing it would import gym."""
    (folder,) = importlib.util.find_spec("icu_sepsis").submodule_search_locations
    with np.load(Path(folder) / "envs" / "assets" / "dynamics.npz") as found:
        return {name: found[name] for name in ("tx_mat", "d_0", "expert_policy")}


def solved(icu, policy, gamma):
    """Q, V, and discounted visits of each state, exactly."""
    moves = icu["tx_mat"][:STATES]
    flow = gamma * np.einsum("sa,sax->sx", policy, moves[:, :, :STATES])
    reward = moves[:, :, SURVIVAL]
    v = np.linalg.solve(np.eye(STATES) - flow, (policy * reward).sum(axis=1))
    visits = np.linalg.solve(np.eye(STATES) - flow.T, icu["d_0"][:STATES])
    return reward + gamma * moves[:, :, :STATES] @ v, v, visits


def greedy(icu):
    q = np.zeros((STATES, 25))
    for _ in range(200):
        policy = np.eye(25)[q.argmax(axis=1)]
        new, _, _ = solved(icu, policy, 1 - 1e-9)
        if np.abs(new - q).max() < 1e-12:
            return policy
        q = new
    raise AssertionError("policy iteration has not ended")


@pytest.mark.parametrize(
    ("gamma", "random", "expert"),
    [(1.0, 0.7800709046, 0.7818448903), (0.99, 0.7190950524, 0.7221580395)],
)
def test_the_published_values(icu, gamma, random, expert):
    start = icu["d_0"][:STATES]
    uniform = np.full((STATES, 25), 1 / 25)
    assert start @ solved(icu, uniform, gamma)[1] == pytest.approx(random, abs=1e-9)
    expert_policy = icu["expert_policy"][:STATES]
    assert start @ solved(icu, expert_policy, gamma)[1] == pytest.approx(expert, abs=1e-9)


def test_a_table_recovers_q_values_and_visits(icu):
    """From 20,000 patients treated at random, at gamma .99."""
    gamma = 0.99
    moves = icu["tx_mat"][:STATES]
    end = moves[:, :, STATES:].sum(axis=2)
    onwards = moves[:, :, :STATES]
    total = onwards.sum(axis=2, keepdims=True)
    onwards = np.where(total > 0, onwards / np.where(total > 0, total, 1), 1 / STATES)
    survival = np.divide(moves[:, :, SURVIVAL], end, out=np.zeros_like(end), where=end > 0)
    # Rewards are paid as their mean: who died is not told from who lived.
    process = MDP(icu["d_0"][:STATES], onwards, end, end * survival, 0.0, 1_000)
    uniform = np.full((STATES, 25), 1 / 25)
    sample = simulate(process, uniform, 20_000, 0, ids="integer")
    last = np.zeros(len(sample.columns["state"]), dtype=bool)
    last[sample.offsets[1:] - 1] = True
    log = cf.LoggedData.from_frame(
        {**sample.columns, "ended": last},
        episode_id="episode_id",
        state="state",
        terminated="ended",
    )
    expert = icu["expert_policy"][:STATES]
    policies = {"expert": expert, "leaning": 0.5 * expert + 0.5 * greedy(icu), "random": uniform}
    objects = {name: cf.policies.Tabular(table) for name, table in policies.items()}
    fit = cf.models.LinearQ("one_hot").fit(log, objects, gamma=gamma)
    ratios = cf.models.LinearRatio("one_hot").fit(log, objects, gamma=gamma)
    state, action = sample.columns["state"], sample.columns["action"]
    _, _, logged = solved(icu, uniform, gamma)
    for i, (name, policy) in enumerate(policies.items()):
        q, v, visits = solved(icu, policy, gamma)
        row = fit.table.row(i, named=True)
        truth = icu["d_0"][:STATES] @ v
        # What is unseen is worth between 0 and 1.
        assert abs(row["value"] - truth) < 4 * row["standard_error"] + row["unseen"], name
        assert ratios.table["mass"][i] == pytest.approx(visits.sum(), rel=0.05), name
        exact = (visits[:, None] * policy / (logged[:, None] * uniform))[state, action]
        assert ratios.state_action[i].mean() == pytest.approx(exact.mean(), rel=0.05), name
        if name != "random":
            assert np.corrcoef(ratios.state_action[i], exact)[0, 1] > 0.5, name
            continue
        # Ten rows to a cell: single cells are noise but where the policy averages over them.
        assert np.corrcoef(fit.q[i], q[state, action])[0, 1] > 0.6
        assert np.sqrt(np.mean((fit.v[i] - v[state]) ** 2)) < 0.04
