"""What an experiment asks of its parts, and the folder that it keeps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import counterfolio as cf
import gymnasium as gym
import numpy as np
import polars as pl
import pytest
from counterfolio import policies as pi
from counterfolio import simulate
from counterfolio.experiments import candidates, running

SMALL = {"n_logs": 3, "n_episodes": 40, "n_training": 80, "n_roll_outs": 60}
ENV = simulate.Tabular.random(5, 3, horizon=4, world_seed=2)


def tables(n, first=0):
    """A behavior policy and n candidates of that environment."""
    drawn = np.random.default_rng(first).dirichlet(np.ones(3), (n + 1, 5))
    behavior, *others = (pi.Tabular(table) for table in drawn)
    return behavior, {f"p{i}": policy for i, policy in enumerate(others)}


def values(found):
    return found.evaluations.estimates["value"].to_numpy()


def test_no_two_parts_share_a_seed(monkeypatch):
    """Learning, training, truth and every log have episodes of their own."""
    seeds = []

    def recorded(function):
        def called(env, policies, n_episodes, seed, **options):
            seeds.append(seed)
            return function(env, policies, n_episodes, seed, **options)

        return called

    monkeypatch.setattr(candidates, "collect", recorded(cf.collect))
    monkeypatch.setattr(running, "collect", recorded(cf.collect))
    monkeypatch.setattr(running, "on_policy_value", recorded(cf.on_policy_value))
    cf.experiment(ENV, **SMALL, estimators=["snpdis"], num_threads=1)
    assert len(seeds) == len(set(seeds)) == 3 + 3
    few = list(seeds)
    seeds.clear()
    cf.experiment(ENV, **{**SMALL, "n_logs": 4}, estimators=["snpdis"], num_threads=1)
    assert seeds[:-1] == few


def test_arguments_reach_the_parts(monkeypatch):
    gammas, prepared = [], []

    class Recorded(candidates.FittedQIteration):
        def fit(self, log, *, gamma):
            gammas.append(gamma)
            return super().fit(log, gamma=gamma)

    def prepare(log, policies, needs, **options):
        prepared.append(options)
        return cf.prepare(log, policies, needs, **options)

    monkeypatch.setattr(candidates, "FittedQIteration", Recorded)
    monkeypatch.setattr(running, "prepare", prepare)
    model, ratio = cf.models.LinearQ(ridge=1e-3), cf.models.LinearRatio(ridge=1e-2)
    found = cf.experiment(
        ENV,
        **SMALL,
        gamma=0.7,
        estimators=["dm", "sm_dr"],
        cross_fit=3,
        q_model=model,
        ratio_model=ratio,
        num_threads=1,
    )
    # The behavior policy, and two learners of candidates.
    assert gammas == [0.7] * 3
    wanted = {"gamma": 0.7, "cross_fit": 3, "q_model": model, "ratio_model": ratio}
    assert prepared == [wanted] * 3
    assert found.k == found.assessed.k == 4
    assert found.settings["q_model"] == repr(model)
    assert {e.settings["num_threads"] for e in found.evaluations.values()} == {1}
    gammas.clear()
    cf.experiment(ENV, **SMALL, estimators="snpdis")
    assert gammas == [0.95] * 3


def test_true_values_are_discounted_as_estimates_are():
    behavior, named = tables(2)
    found = cf.experiment(ENV, behavior, named, **SMALL, gamma=0.6, estimators=["snpdis"])
    assert found.truth.settings["gamma"] == found.settings["gamma"] == 0.6
    assert {e.settings["gamma"] for e in found.evaluations.values()} == {0.6}


def test_what_is_below_the_behavior_policy_is_unsafe():
    behavior, named = tables(6)
    found = cf.experiment(ENV, behavior, named, **SMALL, estimators=["snpdis"], k=2)
    log = found.evaluations["log_1"]
    by_hand = cf.assess(
        log, found.truth, safety_threshold=found.truth.value("behavior"), k=2
    ).table.filter(metric="safety_violation_rate")
    own = found.assessed.by_dataset.filter(dataset="log_1", metric="safety_violation_rate")
    assert own["value"].to_list() == by_hand["value"].to_list()
    assert 0 < own["value"].max() < 1


@pytest.mark.parametrize("vector", [False, True])
def test_one_environment_plays_one_log_at_a_time(vector):
    """A single environment would be stepped by several threads at once otherwise."""
    behavior = pi.Uniform(2)
    named = {
        f"e{epsilon}": pi.EpsilonGreedy(lambda s: np.stack([-s[:, 2], s[:, 2]], 1), epsilon)
        for epsilon in (0.5, 0.8)
    }
    found = []
    for threads in (1, 4):
        env = gym.make_vec("CartPole-v1", num_envs=2) if vector else gym.make("CartPole-v1")
        options = {"n_logs": 6, "n_episodes": 20, "n_training": 2, "n_roll_outs": 2}
        found.append(
            cf.experiment(
                env, behavior, named, **options, estimators=["snpdis"], num_threads=threads
            )
        )
        env.close()
    np.testing.assert_array_equal(values(found[0]), values(found[1]))


def test_a_folder_is_of_one_experiment(tmp_path):
    behavior, named = tables(3)
    options = {**SMALL, "estimators": ["snpdis", "dm"], "path": tmp_path / "kept"}
    first = cf.experiment(ENV, behavior, named, **options)
    asked = json.loads((tmp_path / "kept" / "experiment.json").read_text("utf-8"))
    assert asked["seed"] == 0
    assert list(asked["values"]) == ["p0", "p1", "p2", "behavior"]
    # More logs, another shortlist and more roll-outs are asked of the same evaluations.
    more = cf.experiment(ENV, behavior, named, **{**options, "n_logs": 11, "n_roll_outs": 200}, k=2)
    assert np.array_equal(values(first), values(more)[: len(values(first))])
    assert list(cf.Evaluations.from_parquet(tmp_path / "kept")) == [f"log_{i}" for i in range(11)]
    for changed, message in (
        ({"seed": 1}, "holds an experiment with seed=0, not 1; name another folder"),
        ({"n_episodes": 50}, "n_episodes=40, not 50"),
        ({"n_training": 90}, "n_training=80, not 90"),
        ({"cross_fit": 3}, "cross_fit=2, not 3"),
        ({"gamma": 0.9}, "gamma=1.0, not 0.9"),
        ({"q_model": cf.models.LinearQ()}, "ridge=0.01, .*, not .*ridge=1e-08"),
        ({"estimators": ["dm"]}, "estimators="),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=message):
            cf.experiment(ENV, behavior, named, **{**options, **changed})
    with pytest.raises(cf.InvalidArgumentError, match="the policies p0, p1, p2, behavior, not p0"):
        cf.experiment(ENV, behavior, {"p0": named["p0"]}, **options)
    other = simulate.Tabular.random(5, 3, horizon=4, world_seed=3)
    for env, (acting, ranked) in (
        (other, (behavior, named)),
        (ENV, (behavior, {**named, "p1": named["p2"]})),
        (ENV, (named["p0"], named)),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=r"was worth .* in the same roll-outs"):
            cf.experiment(env, acting, ranked, **options)


def test_other_folders_are_refused(tmp_path):
    behavior, named = tables(2)
    options = {**SMALL, "estimators": ["snpdis"]}
    log = cf.collect(ENV, behavior, 30, seed=0)
    cf.evaluate_many({"a": log}, named, ["snpdis"], path=tmp_path / "many")
    with pytest.raises(cf.InvalidArgumentError, match="holds evaluations of no experiment"):
        cf.experiment(ENV, behavior, named, **options, path=tmp_path / "many")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "experiment.json").write_text("{", encoding="utf-8")
    with pytest.raises(cf.InvalidArgumentError, match="does not say what experiment"):
        cf.experiment(ENV, behavior, named, **options, path=tmp_path / "broken")


def test_what_is_wrong_is_said_before_anything_is_played(tmp_path):
    """Learning and roll-outs may take hours."""

    def never():
        raise AssertionError

    for arguments, message in (
        ({"path": tmp_path / "no" / "kept"}, "does not exist; make it first"),
        ({"estimators": ["snpdiss"]}, "did you mean"),
        ({"gamma": 1.5}, r"gamma must be in \(0, 1\], not 1.5"),
        ({"gamma": "1"}, r"gamma must be in \(0, 1\], not '1'"),
        ({"num_threads": 0}, "num_threads must be"),
        ({"seed": 1.5}, "seed must be a whole number from 0"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=message):
            cf.experiment(never, **{**SMALL, **arguments})


def test_columns_of_candidates_do_not_replace_others():
    behavior, named = tables(2)
    found = cf.experiment(ENV, behavior, named, **SMALL, estimators=["snpdis"])
    log = found.log("log_0")
    logged = found.logs["log_0"]()
    assert log.propensity_source == logged.propensity_source
    assert log.column("reward").equals(logged.column("reward"))
    for name, policy in named.items():
        wanted = policy.probs[log.column("state").to_numpy(), log.column("action").to_numpy()]
        np.testing.assert_array_equal(log.column(f"p_{name}").to_numpy(), wanted)

    class Odd(simulate.Basic):
        @property
        def state_names(self):
            return ["p_x", "y"]

    env = Odd(horizon=2, n_actions=3, state_dim=2)
    found = cf.experiment(
        env, pi.Uniform(3), {"x": pi.Uniform(3), "z": pi.Uniform(3)}, **SMALL, estimators=["snpdis"]
    )
    with pytest.raises(cf.InvalidArgumentError, match='has a column "p_x" already; call that'):
        found.log("log_0")


def run(folder):
    """Run in a process of its own, which is killed on its way."""
    behavior, named = tables(4)
    options = {**SMALL, "n_logs": 400, "n_episodes": 2000}
    cf.experiment(ENV, behavior, named, **options, path=folder, num_threads=1)


def test_a_killed_run_goes_on(tmp_path):
    folder = tmp_path / "kept"
    command = f"import test_experiment_folder as t; t.run({str(folder)!r})"
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, "-c", command], cwd=here, env={**os.environ, "PYTHONPATH": str(here)}
    )
    try:
        deadline = time.monotonic() + 300
        while len(list(folder.glob("*.parquet"))) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    behavior, named = tables(4)
    options = {**SMALL, "n_logs": 5, "n_episodes": 2000}
    times = {p: p.stat().st_mtime_ns for p in folder.glob("*.parquet")}
    found = cf.experiment(ENV, behavior, named, **options, path=folder)
    alone = cf.experiment(ENV, behavior, named, **options)
    np.testing.assert_allclose(values(found), values(alone), rtol=1e-9)
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert found.assessed.table.filter(pl.col("n_logs") != 5).is_empty()
