"""Verdicts: each limit fires just beyond it, bad logs are not trusted, and sound ones are."""

from __future__ import annotations

import math

import counterfolio as cf
import numpy as np
import pytest
from counterfolio.verdict import LIMITS, Evidence, judge
from made_logs import draw, softmax
from test_diagnostics import diagnose

GOOD = {
    "n_episodes": 5000,
    "effective_sample_size": 2000.0,
    "step": 0,
    "n_steps": 3,
    "mean_weight": 1.01,
    "z": 1.0,
    "evidence": 99.0,
    "z_step": 0,
    "pareto_k": 0.2,
    "max_weight_share": 0.02,
    "unsupported_mass": 0.0,
    "unsupported_basis": "actions that were never logged",
    "has_model": False,
}


@pytest.mark.parametrize(
    ("changes", "verdict", "word"),
    [
        ({"effective_sample_size": 99.9}, "do not trust", "below 100"),
        ({"effective_sample_size": 100.0}, "with care", "below 1000"),
        ({"effective_sample_size": 999.0}, "with care", "below 1000"),
        ({"effective_sample_size": 1000.0}, "reliable", "ESS 1,000"),
        ({"effective_sample_size": 1000.0, "n_episodes": 100_001}, "do not trust", "below 1 %"),
        ({"effective_sample_size": 1000.0, "n_episodes": 100_000}, "with care", "below 10 %"),
        ({"effective_sample_size": 1000.0, "n_episodes": 10_001}, "with care", "below 10 %"),
        ({"effective_sample_size": 1000.0, "n_episodes": 10_000}, "reliable", "Pareto k 0.20"),
        ({"pareto_k": 0.71}, "do not trust", "Pareto k 0.71 above 0.7"),
        ({"pareto_k": 0.7}, "with care", "Pareto k 0.70 above 0.5"),
        ({"pareto_k": 0.5}, "reliable", "Pareto k"),
        ({"pareto_k": math.nan}, "reliable", "ESS"),
        ({"pareto_k": 1.2, "max_weight_share": 0.01}, "with care", "Pareto k 1.20 above 0.5"),
        ({"pareto_k": 1.2, "max_weight_share": 0.002}, "reliable", "Pareto k 1.20"),
        ({"z": 4.1, "mean_weight": 1.3}, "do not trust", "wrong propensities"),
        ({"z": 4.0, "mean_weight": 1.3}, "reliable", "ESS"),
        ({"z": 99.0, "mean_weight": 1.3, "evidence": 4.0}, "reliable", "ESS"),
        ({"z": 99.0, "mean_weight": 1.009}, "reliable", "ESS"),
        ({"z": -4.1, "mean_weight": 0.8}, "do not trust", "shows too little of"),
        ({"z": -4.0, "mean_weight": 0.8}, "reliable", "ESS"),
        ({"z": -99.0, "mean_weight": 0.995}, "reliable", "ESS"),
        ({"z": math.inf, "mean_weight": 2.0}, "do not trust", "wrong propensities"),
        ({"max_weight_share": 0.051}, "with care", "one episode carries 5 %"),
        ({"max_weight_share": 0.05}, "reliable", "ESS"),
        ({"max_weight_share": 0.51}, "do not trust", "one episode carries 51 %"),
        ({"unsupported_mass": 0.02}, "with care", "2 % of its probability is on actions that"),
        ({"unsupported_mass": 0.01}, "reliable", "ESS"),
        ({"unsupported_mass": None, "unsupported_basis": None}, "reliable", "ESS"),
    ],
)
def test_every_limit_fires_just_beyond_it(changes, verdict, word):
    found, reason, advice = judge(Evidence(**{**GOOD, **changes}))
    assert found == verdict
    assert word in reason
    assert (advice is None) == (verdict == "reliable")


def test_advice_says_how_much_data():
    """Ten times the ESS takes ten times the data; a tail without a mean is not cured by data."""
    few = Evidence(**{**GOOD, "effective_sample_size": 50.0, "n_episodes": 500})
    assert "about 1,000 episodes (2 times as many)" in judge(few)[2]
    thin = Evidence(**{**GOOD, "effective_sample_size": 900.0, "n_episodes": 20_000})
    assert "more data alike would not help: the ESS stays near 4.5 %" in judge(thin)[2]
    heavy = Evidence(
        **{**GOOD, "effective_sample_size": 150.0, "n_episodes": 500, "pareto_k": 1.2}
        | {"max_weight_share": 0.04}
    )
    advice = judge(heavy)[2]
    assert "more data" not in advice
    assert "clip" in advice
    assert "add a Q-model" in advice
    giant = Evidence(**{**GOOD, "max_weight_share": 0.9})
    assert "is their propensity right?" in judge(giant)[2]
    modelled = Evidence(**{**GOOD, "effective_sample_size": 50.0, "has_model": True})
    assert "compare with dr" in judge(modelled)[2]


def test_advice_is_right_about_how_much_data():
    """With the data that it asks for the ESS is what it promised."""
    rng = np.random.default_rng(8)

    def size(n):
        return diagnose(rng.lognormal(sigma=1.0, size=n) / math.exp(0.5)).table

    small = size(800)
    before = small["effective_sample_size"].item()
    needed = int(800 * LIMITS["with care"].effective_sample_size / before)
    assert f"about {float(f'{needed:.2g}'):,.0f}"[:9] in small["advice"].item()
    after = size(needed)["effective_sample_size"].item()
    assert 0.7 * 1000 < after < 1.3 * 1000


# Logs built to be bad, and good ones.


def contextual(rng, n=20_000, actions=5):
    """A bandit with a context, its logger and a candidate near to it."""
    x = rng.normal(size=(n, 3))
    behavior = softmax(x @ rng.normal(size=(3, actions)) * 0.5)
    candidate = softmax(np.log(behavior) + rng.normal(size=actions) * 0.4)
    action = draw(rng, behavior)
    reward = (rng.random(n) < 0.2 + 0.1 * action / actions).astype(float)
    return behavior, candidate, action, reward


def verdict(action, reward, propensity, candidate):
    frame = {"action": action, "reward": reward, "propensity": propensity}
    log = cf.LoggedData.from_frame(frame)
    prob = candidate[np.arange(len(action)), action]
    table = cf.evaluate(log, {"new": prob}, ["tis", "sntis"]).diagnostics.table
    return table["verdict"].item(), table["reason"].item()


@pytest.mark.parametrize("seed", range(20))
def test_a_sound_log_is_reliable(seed):
    behavior, candidate, action, reward = contextual(np.random.default_rng(seed))
    propensity = behavior[np.arange(len(action)), action]
    assert verdict(action, reward, propensity, candidate)[0] == "reliable"
    assert verdict(action, reward, propensity, behavior)[0] == "reliable"


@pytest.mark.parametrize("seed", range(5))
def test_bad_logs_are_not_trusted(seed):
    rng = np.random.default_rng(seed)
    behavior, candidate, action, reward = contextual(rng)
    rows = np.arange(len(action))
    propensity = behavior[rows, action]

    wrong = verdict(action, reward, np.minimum(propensity, 0.8) * 0.9, candidate)
    assert wrong[0] == "do not trust"
    assert "wrong propensities" in wrong[1]

    shifted = verdict(action, reward, np.roll(propensity, 1), candidate)
    assert shifted[0] == "do not trust"

    lost = np.zeros_like(candidate)
    lost[:, 0] = 0.9
    lost[:, 1] = 0.1
    shown = action != 0  # rows of action 0 were never kept
    found = verdict(action[shown], reward[shown], propensity[shown], lost[shown])
    assert found[0] == "do not trust"
    assert "shows too little of" in found[1]

    tiny = propensity.copy()
    tiny[17] = 1e-7
    giant = verdict(action, reward, tiny, candidate)
    assert giant[0] == "do not trust"
    assert "ESS" in giant[1]


def avoids_the_rare(n, share, seed):
    """A candidate that avoids a rarely logged action: all weights alike but for rare zeros."""
    rng = np.random.default_rng([n, seed])
    action = (rng.random(n) < share).astype(int)
    frame = {"action": action, "propensity": np.where(action, share, 1 - share)}
    log = cf.LoggedData.from_frame({**frame, "reward": rng.random(n)})
    return cf.evaluate(log, {"never": (action == 0) * 1.0}, ["tis"])


def test_nearly_constant_weights_do_not_accuse_a_sound_log():
    """There z is far from normal: above 4 on one log of fifty, and infinite without any zero."""
    alarms, notes, large = 0, 0, 0
    for n, share in ((60, 0.02), (200, 0.02), (1000, 0.01)):
        for seed in range(150):
            evaluation = avoids_the_rare(n, share, seed)
            row = evaluation.diagnostics.table.row(0, named=True)
            large += row["z"] > 4
            alarms += "wrong propensities" in row["reason"]
            notes += "mean weight" in (evaluation.estimates["note"][0] or "")
    assert large > 20
    assert (alarms, notes) == (0, 0)


def test_the_evidence_against_a_mean_weight():
    """It is the capital of one who bets on a mean above 1, where z asks for it."""
    rng = np.random.default_rng(5)
    n = 400
    lengths = rng.integers(1, 4, n)
    ids = np.repeat(np.arange(n), lengths)
    prob = rng.choice([0.0, 0.5, 0.9], size=len(ids))
    frame = {"id": ids, "action": ids % 2, "reward": np.ones(len(ids)), "propensity": prob * 0}
    frame["propensity"] += 0.35
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    steps = cf.evaluate(log, {"new": prob}, ["pdis"]).diagnostics.steps
    assert steps["z"].min() > 4
    starts = np.cumsum(lengths) - lengths
    for t in range(3):
        w = np.ones(n)
        for s in range(t + 1):
            reaches = lengths > s
            w[reaches] *= (prob / 0.35)[starts[reaches] + s]
        capital = [np.prod(1 + stake * (w - 1)) for stake in (0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 0.97)]
        assert steps["evidence"][t] == pytest.approx(np.log10(np.mean(capital)), rel=1e-9)


def test_rounded_propensities_are_no_fault():
    n = 30_000
    action = np.arange(n) % 3
    frame = {"action": action, "reward": action * 1.0, "propensity": np.full(n, 0.333)}
    evaluation = cf.evaluate(cf.LoggedData.from_frame(frame), {"same": np.full(n, 1 / 3)}, ["tis"])
    assert evaluation.diagnostics.table["verdict"].item() == "reliable"
    assert evaluation.estimates["note"].to_list() == [None, None]


def test_bounded_weights_have_no_tail_that_matters():
    """No weight can exceed 4.8, yet the fit to the largest ones is steep."""
    rng = np.random.default_rng(1)
    n = 3000
    action = (rng.random(n) < 0.95).astype(int)
    behavior = np.where(action, 0.95, 0.05)
    frame = {"action": action, "reward": rng.random(n), "propensity": behavior}
    candidate = 0.8 * behavior + 0.2 * np.where(action, 0.05, 0.95)
    log = cf.LoggedData.from_frame(frame)
    row = cf.evaluate(log, {"near": candidate}, ["tis"]).diagnostics.table.row(0, named=True)
    assert row["pareto_k"] is None or row["pareto_k"] > 0.7
    assert row["verdict"] == "reliable"


def test_actions_of_any_kind_have_diagnostics():
    """They are counted, not encoded for dense arrays: labels below 0 are none there."""
    n = 300
    action = np.arange(n) % 3 - 1
    frame = {"action": action, "reward": np.ones(n), "propensity": np.full(n, 1 / 3)}
    log = cf.LoggedData.from_frame(frame)
    table = cf.evaluate(log, {"up": (action == 1) * 1.0}, ["tis"]).diagnostics.table
    assert table["actions_never_tried"].item() == 2


def test_wrong_only_late_in_the_episode():
    """The step is named at which the weights go wrong."""
    rng = np.random.default_rng(11)
    n, horizon = 4000, 6
    action = rng.integers(2, size=(n, horizon))
    propensity = np.full((n, horizon), 0.5)
    propensity[:, 4] = 0.4
    frame = {
        "id": np.repeat(np.arange(n), horizon),
        "action": action.ravel(),
        "reward": rng.random(n * horizon),
        "propensity": propensity.ravel(),
    }
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    prob = np.where(action == 1, 0.6, 0.4).ravel()
    found = cf.evaluate(log, {"new": prob}, ["pdis"]).diagnostics
    z = found.steps["z"].to_list()
    assert max(map(abs, z[:4])) < 4 < min(z[4:])
    row = found.table.row(0, named=True)
    assert row["verdict"] == "do not trust"
    assert f"at step {row['z_step']}" in row["reason"]


def test_a_policy_equal_to_the_logger_in_single_precision_is_not_accused():
    rng = np.random.default_rng(4)
    propensity = rng.uniform(0.1, 0.9, 50_000)
    frame = {
        "action": rng.integers(2, size=50_000),
        "reward": rng.random(50_000),
        "propensity": propensity,
    }
    log = cf.LoggedData.from_frame(frame)
    policy = cf.PolicyColumns(prob=propensity.astype(np.float32), q=propensity, v=propensity)
    row = cf.evaluate(log, {"same": policy}, ["tis", "dr"]).diagnostics.table
    assert row["verdict"].item() == "reliable"
    assert abs(row["z"].item()) < 4
