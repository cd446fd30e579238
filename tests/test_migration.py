"""What docs/migration.md says: every name of ours exists, and estimators are those of the peer."""

from __future__ import annotations

import importlib
import re
from operator import attrgetter
from pathlib import Path

import counterfolio as cf
import gymnasium
import numpy as np
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "migration.md").read_text("utf-8")
SIDES = [line.strip("| \n").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
TABLES = [row for row in SIDES if row[1] != "here"]


def test_every_name_of_ours_exists():
    """Those of the package, and methods of what it returns."""
    importlib.import_module("counterfolio.plots")
    owners = {
        "cf": cf,
        "log": cf.LoggedData,
        "evaluation": cf.Evaluation,
        "distribution": cf.Distribution,
    }
    names = set(re.findall(r"\b(cf|log|evaluation|distribution)\.([A-Za-z_.]*[A-Za-z_])", PAGE))
    assert {owner for owner, _ in names} == set(owners)
    for owner, name in names:
        attrgetter(name)(owners[owner])
    heads = [row[1] for row in TABLES if "EpsilonGreedyHead" in row[0]]
    (policies,) = (re.findall(r"`([A-Z]\w+)`", text) for text in heads)
    assert len(policies) == 5
    assert all(hasattr(cf.policies, name) for name in policies)


def test_every_environment_named_is_registered():
    importlib.import_module("counterfolio.simulate")
    names = set(re.findall(r"`(counterfolio/\w+-v\d)`", PAGE))
    assert len(names) == 3
    assert names <= set(gymnasium.registry)


def test_every_estimator_named_exists():
    known = {
        "drl", "dm", "tis", "pdis", "dr", "sntis", "snpdis", "sndr", "ips", "snips", "mrdr", "drps",
        *(f"sm_{x}" for x in ("dm", "is", "dr", "snis", "sndr")),
        *(f"sam_{x}" for x in ("is", "dr", "snis", "sndr")),
    }  # fmt: skip
    start = PAGE.index("| estimator of SCOPE-RL")
    named = {
        name
        for line in PAGE[start : PAGE.index("In `scope_rl.ope.discrete`")].splitlines()[2:]
        for name in re.findall(r"`([a-z_]+)`", line.split(" | ")[-1])
    }
    distributions = {name for name in named if name.startswith("cd_")}
    assert distributions == {f"cd_{x}" for x in ("dm", "tis", "tdr", "sntis", "sntdr")}
    assert named - distributions <= known
    for name in named:
        cf.Estimator(name)


@pytest.fixture(scope="module")
def bandit():
    rng = np.random.default_rng(3)
    n, n_actions = 400, 3
    b = rng.dirichlet(np.ones(n_actions) * 3, size=n)
    action = np.array([rng.choice(n_actions, p=p) for p in b])
    return {
        "action": action,
        "reward": rng.normal(size=n) + action,
        "pscore": b[np.arange(n), action],
        "action_dist": rng.dirichlet(np.ones(n_actions), size=n),
        "q": rng.normal(size=(n, n_actions)),
    }


def test_estimators_of_open_bandit_pipeline(bandit):
    """Its formulas in numpy, by the names of its classes and their lambda_."""
    at = np.arange(len(bandit["action"])), bandit["action"]
    w = bandit["action_dist"][at] / bandit["pscore"]
    r, q, v = bandit["reward"], bandit["q"][at], (bandit["action_dist"] * bandit["q"]).sum(axis=1)
    log = cf.LoggedData.from_frame(
        {k: bandit[k] for k in ("action", "reward", "pscore")}, propensity="pscore"
    )
    new = cf.PolicyColumns(action_probs=bandit["action_dist"], q_values=bandit["q"])
    theirs = {
        "ips": (w * r).mean(),
        cf.Estimator("ips", clip=1.5): (np.minimum(w, 1.5) * r).mean(),
        "snips": (w * r).sum() / w.sum(),
        "dm": v.mean(),
        "dr": (v + w * (r - q)).mean(),
        cf.Estimator("drps", clip=1.5): (v + np.minimum(w, 1.5) * (r - q)).mean(),
        "sndr": (v + w * (r - q) / w.mean()).mean(),
        cf.Estimator("switch_dr", switch=1.5): (v + w * (w <= 1.5) * (r - q)).mean(),
        cf.Estimator("dros", shrinkage=2.0): (v + 2 * w / (w**2 + 2) * (r - q)).mean(),
        cf.Estimator("ips", harmonic=0.3): (w / (0.7 + 0.3 * w) * r).mean(),
        cf.Estimator("dr", harmonic=0.3): (v + w / (0.7 + 0.3 * w) * (r - q)).mean(),
    }
    found = cf.evaluate(log, {"new": new}, list(theirs)).estimates.filter(policy="new")
    np.testing.assert_allclose(found["value"], list(theirs.values()), rtol=1e-12)
    family = [cf.Estimator("dros", shrinkage=x) for x in (1.0, 10.0, 100.0)]
    chosen = cf.select_estimator(log, {"new": new}, family).estimator
    assert chosen in [f"dros[shrinkage={x}]" for x in (1, 10, 100)]


def test_the_replay_method():
    """snips of a deterministic policy where every action was equally likely."""
    rng = np.random.default_rng(4)
    action, chosen = rng.integers(3, size=(2, 300))
    reward = rng.normal(size=300)
    table = {"action": action, "reward": reward, "propensity": np.full(300, 1 / 3)}
    log = cf.LoggedData.from_frame(table)
    found = cf.evaluate(log, {"new": cf.PolicyColumns(action=chosen)}, ["snips"])
    value = found.estimates.filter(policy="new")["value"][0]
    assert value == pytest.approx(reward[action == chosen].mean(), rel=1e-12)
