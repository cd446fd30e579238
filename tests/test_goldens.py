"""The oracle and the package against numbers that neither of them computed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import counterfolio as cf
import mdp
import numpy as np
import oracle
import polars as pl
import pytest

TOLERANCE = 1e-10
ROLES = ("episode_id", "reward", "propensity", "prob", "q", "v")
NEW_ROLES = ("episode_id", "reward", "propensity", "p_new", "q_new", "v_new")


@cache
def golden(name: str) -> dict:
    return json.loads((Path(__file__).parent / "goldens" / f"{name}.json").read_text())


def basic(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row["estimator"] in oracle.NAMES]


def fixed_length() -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """The log's columns; for each policy its dense arrays and what they are on logged actions."""
    data = golden("fixed_length_discrete")
    n_episodes, n_steps = data["n_episodes"], data["n_steps"]
    columns = {name: np.array(data[name]) for name in ("action", "reward", "propensity")}
    columns["episode_id"] = np.repeat(np.arange(n_episodes), n_steps)
    columns["timestep"] = np.tile(np.arange(n_steps), n_episodes)
    policies = {}
    rows = np.arange(n_episodes * n_steps)
    for name, given in data["policies"].items():
        probs, values = np.array(given["action_probabilities"]), np.array(given["q_values"])
        policies[name] = {
            "action_probs": probs,
            "q_values": values,
            "prob": probs[rows, columns["action"]],
            "q": values[rows, columns["action"]],
            "v": (probs * values).sum(axis=1),
        }
    return columns, policies


def variable_length() -> dict[str, np.ndarray]:
    return {name: np.array(values) for name, values in golden("variable_length")["columns"].items()}


def evaluated(columns: dict, policies: dict, gamma: float) -> dict[tuple[str, str], dict]:
    frame = pl.DataFrame(columns)
    log = cf.LoggedData.from_frame(frame, episode_id="episode_id", timestep="timestep")
    evaluation = cf.evaluate(log, policies, estimators=oracle.NAMES, gamma=gamma)
    rows = evaluation.estimates.iter_rows(named=True)
    return {(row["policy"], row["estimator"]): row for row in rows}


# The oracle.


@pytest.mark.parametrize("expected", basic(golden("fixed_length_discrete")["expected"]), ids=str)
def test_oracle_fixed_length(expected):
    columns, policies = fixed_length()
    policy = policies[expected["policy"]]
    rows = [columns[name] for name in ("episode_id", "reward", "propensity")]
    log = oracle.dense(*rows, policy["prob"], policy["q"], policy["v"])
    found = oracle.estimate(log, expected["estimator"], expected["gamma"])
    assert found.value == pytest.approx(expected["value"], rel=0, abs=TOLERANCE)


@pytest.mark.parametrize("expected", basic(golden("variable_length")["expected"]), ids=str)
def test_oracle_variable_length(expected):
    columns = variable_length()
    log = oracle.dense(*(columns[name] for name in ROLES))
    found = oracle.estimate(log, expected["estimator"], expected["gamma"])
    assert found.value == pytest.approx(expected["value"], rel=0, abs=TOLERANCE)


@pytest.mark.parametrize("expected", basic(golden("variable_length")["standard_errors"]), ids=str)
def test_oracle_standard_errors(expected):
    columns = variable_length()
    log = oracle.dense(*(columns[name] for name in ROLES))
    found = oracle.estimate(log, expected["estimator"], expected["gamma"])
    for field in ("standard_error", "effective_sample_size", "max_weight_share"):
        if field in expected:
            assert getattr(found, field) == pytest.approx(expected[field], rel=1e-11), field


@pytest.mark.parametrize("gamma", [1.0, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_oracle_is_exact_on_all_trajectories(seed, gamma):
    """Every trajectory with its probability for a multiplicity: E_b of each weighted term is the
    true value, and the self-normalised estimators reach it too, because a held weight has mean 1
    at every step.
    """
    process = mdp.random_mdp(seed, n_states=2, n_actions=2, horizon=4)
    behavior = mdp.random_policy(seed, process)
    target = mdp.random_policy(seed + 100, process, spread=1.5)
    log, probability = mdp.every_trajectory(process, behavior)
    assert probability.sum() == pytest.approx(1.0, abs=1e-12)
    log = mdp.add_policy(log, process, "new", target, gamma)
    columns = [log.columns[name] for name in NEW_ROLES]
    matrices = oracle.dense(*columns, multiplicity=probability)
    for name in oracle.WEIGHTED:
        found = oracle.estimate(matrices, name, gamma).value
        assert found == pytest.approx(process.value(target, gamma), abs=1e-12), name
    found = oracle.behavior(matrices, gamma).value
    assert found == pytest.approx(process.value(behavior, gamma), abs=1e-12)


@pytest.mark.parametrize("name", oracle.NAMES)
def test_oracle_influence_values_are_derivatives(name):
    """psi_i is how the value moves with extra weight on episode i: by central differences."""
    process = mdp.random_mdp(5)
    log = mdp.simulate(process, mdp.random_policy(5, process), 12, seed=5)
    log = mdp.add_policy(log, process, "new", mdp.random_policy(6, process), 0.9)
    columns = [log.columns[name] for name in NEW_ROLES]
    psi = oracle.estimate(oracle.dense(*columns), name, 0.9).psi
    assert psi.sum() == pytest.approx(0.0, abs=1e-12)
    nudge = 1e-5
    for i in range(12):
        count = np.ones(12)
        count[i] += nudge
        up = oracle.estimate(oracle.dense(*columns, multiplicity=count), name, 0.9).value
        count[i] -= 2 * nudge
        down = oracle.estimate(oracle.dense(*columns, multiplicity=count), name, 0.9).value
        assert (up - down) / (2 * nudge) * 12 == pytest.approx(psi[i], abs=1e-7)


# The package.


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("path", ["dense", "columns", "arrays"])
def test_fixed_length(path, gamma):
    columns, policies = fixed_length()
    given = {}
    for name, policy in policies.items():
        if path == "dense":
            dense = {role: policy[role] for role in ("action_probs", "q_values")}
            given[name] = cf.PolicyColumns(**dense)
        elif path == "arrays":
            given[name] = cf.PolicyColumns(prob=policy["prob"], q=policy["q"], v=policy["v"])
        else:
            columns |= {f"{role}_{name}": policy[role] for role in ("prob", "q", "v")}
            given[name] = cf.PolicyColumns(prob=f"prob_{name}", q=f"q_{name}", v=f"v_{name}")
    rows = evaluated(columns, given, gamma)
    checked = 0
    for expected in basic(golden("fixed_length_discrete")["expected"]):
        if expected["gamma"] == gamma:
            row = rows[expected["policy"], expected["estimator"]]
            assert row["value"] == pytest.approx(expected["value"], rel=0, abs=TOLERANCE), expected
            checked += 1
    assert checked == 14


@pytest.mark.parametrize("gamma", [1.0, 0.95])
def test_variable_length(gamma):
    policies = {"new": cf.PolicyColumns(prob="prob", q="q", v="v")}
    rows = evaluated(variable_length(), policies, gamma)
    data = golden("variable_length")
    wanted = basic([*data["expected"], *data["standard_errors"]])
    wanted = [row for row in wanted if row["gamma"] == gamma]
    assert len(wanted) == (14 if gamma == 0.95 else 7)
    for expected in wanted:
        row = rows["new", expected["estimator"]]
        for field in ("value", "standard_error"):
            if field in expected:
                assert row[field] == pytest.approx(expected[field], rel=0, abs=TOLERANCE), expected
        for field in ("effective_sample_size", "max_weight_share"):
            if field in expected:
                assert row[field] == pytest.approx(expected[field], rel=TOLERANCE), expected


def test_long_horizon():
    data = golden("long_horizon")
    n_rows = data["n_episodes"] * data["n_steps"]
    columns = {
        "episode_id": np.repeat(np.arange(data["n_episodes"]), data["n_steps"]),
        "timestep": np.tile(np.arange(data["n_steps"]), data["n_episodes"]),
        "action": np.zeros(n_rows, dtype=np.int64),
        "zero": np.zeros(n_rows),
    }
    columns |= {name: np.full(n_rows, data[name]) for name in ("propensity", "prob", "reward")}
    rows = evaluated(columns, {"same": cf.PolicyColumns(prob="prob", q="zero", v="zero")}, 1.0)
    for name in oracle.WEIGHTED:
        assert rows["same", name]["value"] == data["value"], name
        assert rows["same", name]["effective_sample_size"] == data["n_episodes"], name
    assert rows["behavior", "on_policy"]["value"] == data["value"]
