"""The demo's third act: its world is gymnasium's, its propensities and its words are right."""

from __future__ import annotations

import importlib
from pathlib import Path

import counterfolio as cf
import gymnasium as gym
import numpy as np
import polars as pl
import pytest
from scipy import stats

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def act():
    return example("cartpole")


@pytest.fixture(scope="module")
def world(act):
    return act.world


@pytest.fixture(scope="module")
def played(world):
    return world.roll_out(world.BEHAVIOR, 400, seed=3)


@pytest.fixture(scope="module")
def evaluation(act):
    return act.evaluate(0)


def test_the_same_seed_gives_the_same_log(world, played):
    again = world.roll_out(world.BEHAVIOR, 400, seed=3)
    other = world.roll_out(world.BEHAVIOR, 400, seed=4)
    for name, column in vars(played).items():
        assert np.array_equal(column, getattr(again, name))
    assert not np.array_equal(played.state[:100], other.state[:100])


def test_episodes_are_those_of_gymnasium(played):
    """Each episode's actions, played again in the plain environment from its first state."""
    plain = gym.make("CartPole-v1", max_episode_steps=60)
    for episode in range(0, 400, 20):
        rows = np.flatnonzero(played.episode == episode)
        plain.reset(seed=0)
        plain.unwrapped.state = played.state[rows[0]].copy()
        for row in rows:
            after, reward, terminated, truncated, _ = plain.step(int(played.action[row]))
            np.testing.assert_allclose(after, played.after[row], atol=1e-5)
            assert reward == played.reward[row] == 1
            # Single precision may tip an angle over the edge a step sooner or later.
            assert terminated == played.terminated[row]
            assert (truncated and not terminated) == played.truncated[row]
        assert played.terminated[rows[-1]] or played.truncated[rows[-1]]


def test_nothing_is_lost_at_either_end(played):
    ends = played.terminated | played.truncated
    lengths = np.bincount(played.episode)
    assert len(lengths) == 400
    assert ends.sum() == 400
    assert not (played.terminated & played.truncated).any()
    assert (lengths[played.episode[played.truncated]] == 60).all()
    assert np.array_equal(np.bincount(played.episode, weights=played.reward), lengths)
    assert np.array_equal(played.step, np.concatenate([np.arange(k) for k in lengths]))
    assert 0.2 < (lengths < 60).mean() < 0.8
    inside = ~ends
    np.testing.assert_array_equal(played.after[inside], played.state[1:][inside[:-1]])


def test_propensities_are_those_of_the_executed_actions(world, played):
    right = np.where(played.action == 1, played.propensity, 1 - played.propensity)
    np.testing.assert_allclose(right, world.BEHAVIOR.right(played.state))
    bins = np.minimum((right * 10).astype(int), 9)
    expected = np.bincount(bins, weights=right, minlength=10)
    spread = np.bincount(bins, weights=right * (1 - right), minlength=10)
    taken = np.bincount(bins, weights=played.action, minlength=10)
    used = spread > 5
    square = ((taken - expected)[used] ** 2 / spread[used]).sum()
    assert stats.chi2.sf(square, used.sum()) > 1e-3


def test_true_values_of_two_seeds_agree(world):
    for policy in (world.BEHAVIOR, world.CANDIDATES["hasty"]):
        a, b = (world.value(policy, 4000, seed) for seed in (5, 6))
        assert abs(a[0] - b[0]) < 4 * np.hypot(a[1], b[1])


def test_near_candidates_are_estimated_within_their_errors(act, evaluation):
    truth, _, _ = act.truths()
    near = ["firmer", "softer", "centred", "distracted"]
    rows = evaluation.estimates.filter(
        pl.col("policy").is_in(near) & pl.col("estimator").is_in(["pdis", "snpdis", "sndr"])
    )
    for row in rows.rows(named=True):
        assert abs(row["value"] - truth[row["policy"]]) < 4 * row["standard_error"]


def test_the_log_is_sound_and_the_verdicts_bite(act, evaluation):
    truth, _, _ = act.truths()
    assert [f for f in evaluation.log_report.findings if f.severity != "info"] == []
    verdicts = dict(evaluation.diagnostics.table.select("policy", "verdict").iter_rows())
    for name in ("chaser", "hasty", "contrary"):
        assert verdicts[name] == "do not trust"
    for name in ("firmer", "centred", "distracted"):
        assert verdicts[name] != "do not trust"
    assert max(truth, key=truth.get) == "chaser"
    # The model's favourite is the worst of all.
    assert evaluation.ranking("dm")["policy"][0] == min(truth, key=truth.get) == "contrary"


def test_predictions_stand_beside_the_true_ratios(act):
    truth, behavior, _ = act.truths()
    evaluation = act.evaluate(0, 200)
    true = {
        e: cf.sharpe_ratio_at_k(evaluation.values(e), truth, behavior, act.K)
        for e in ("sndr", "dm")
    }
    table = act.predict(evaluation, dict.fromkeys(evaluation.estimators, 0.0) | true)
    for row in table.rows(named=True):
        found = evaluation.portfolio(act.K, row["estimator"]).predictive_sharpe_ratio
        assert (row["predicted_5%"], row["95%"]) == (found.low, found.high)
        ratio = row[f"true_SR@{act.K}"]
        assert row["within"] == (found.low <= ratio <= found.high)
    # No log shows how wrong a model is.
    assert not table.row(by_predicate=pl.col("estimator") == "dm", named=True)["within"]


def test_the_scores_are_those_of_the_package(act, evaluation):
    truth, behavior, _ = act.truths()
    table = act.scores(evaluation)
    for row in table.rows(named=True):
        values = evaluation.values(row["estimator"])
        ratio = cf.sharpe_ratio_at_k(values, truth, behavior, act.K)
        assert row[f"SR@{act.K}"] == pytest.approx(ratio)
        top = sorted(values, key=values.__getitem__, reverse=True)[: act.K]
        assert row[f"best@{act.K}"] == max(truth[p] for p in top)
        assert row[f"regret@{act.K}"] == pytest.approx(
            max(truth.values()) - max(truth[p] for p in top)
        )
