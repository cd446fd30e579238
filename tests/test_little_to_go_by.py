"""Logs that say little: one unit, equal policies, rewards that do not vary, odd scales."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
import pytest

INTERVALS = [{}, {"interval": "t"}, {"interval": "bootstrap", "method": "bca"}]


def evaluate(
    rows: int = 120, policies: int = 3, reward: object = None, seed: int = 0, **options: object
) -> cf.Evaluation:
    rng = np.random.default_rng(seed)
    given = {
        "action": np.zeros(rows, dtype=int),
        "reward": rng.normal(size=rows) if reward is None else np.full(rows, reward),
        "propensity": np.full(rows, 0.5),
        "user": np.zeros(rows, dtype=int),
    }
    log = cf.LoggedData.from_frame(given, cluster=options.pop("cluster", None))
    probs = {f"p{i}": rng.uniform(0.3, 0.7, size=rows) for i in range(policies)}
    return cf.evaluate(log, probs, ["sntis"], **{"seed": 3} | options)


@pytest.mark.parametrize("options", [{"rows": 1}, {"cluster": "user"}])
def test_one_unit_ranks_and_predicts_nothing(options):
    found = evaluate(n_resamples=50, **options)
    ranks = found.ranking()
    assert ranks["score"].is_not_nan().all()
    assert (
        ranks.select("p_best", "rank_low", "rank_high", "p_top_2").null_count().row(0) == (3,) * 4
    )
    shortlist = found.portfolio(2)
    assert shortlist.predictive_sharpe_ratio is None
    assert "Nothing is predicted" in shortlist.reason


def test_the_error_of_one_episode_is_not_taken_for_rounding():
    found = evaluate(rows=1, reward=2.0).compare()
    assert found["difference"].to_list() == [0.0] * 3
    assert found["p_better"].is_nan().all()
    assert found["conclusion"].is_null().all()


@pytest.mark.parametrize("options", INTERVALS)
@pytest.mark.parametrize("seed", range(10))
def test_a_reward_that_does_not_vary_leaves_no_width(options, seed):
    found = evaluate(reward=0.1, seed=seed, **options)
    rows = found.estimates
    assert (rows["ci_high"] - rows["ci_low"]).abs().max() < 1e-14
    assert rows["note"].is_null().all()
    for together in (False, True):
        ends = found.compare(simultaneous=together)
        assert (ends["ci_high"] - ends["ci_low"]).abs().max() < 1e-14
        assert set(ends["conclusion"]) == {"not told apart"}


@pytest.mark.parametrize("scale", [1e-50, 1e-20, 1e40, 1e100])
def test_contenders_are_the_same_in_any_unit(scale):
    rng = np.random.default_rng(5)
    log = {
        "action": np.zeros(500, dtype=int),
        "reward": rng.normal(1, 1, size=500),
        "propensity": np.full(500, 0.5),
    }
    probs = {f"p{i}": 0.3 + 0.1 * i + 0.05 * rng.random(500) for i in range(4)}

    def contenders(factor: float) -> list[tuple]:
        scaled = cf.LoggedData.from_frame(log | {"reward": factor * log["reward"]})
        found = cf.evaluate(scaled, probs, ["tis"]).contenders()
        return found.select("policy", "contender").rows()

    assert contenders(scale) == contenders(1.0)
    assert {said for _, said in contenders(1.0)} == {True, False}


def test_equal_policies_have_no_signal():
    rng = np.random.default_rng(6)
    reward = rng.normal(1, 1, size=300)
    log = {"action": np.zeros(300, dtype=int), "reward": reward, "propensity": np.full(300, 0.5)}
    same = rng.uniform(0.3, 0.7, size=300)
    found = cf.evaluate(
        cf.LoggedData.from_frame(log),
        {f"p{i}": same for i in range(4)},
        ["sntis"],
        n_resamples=100,
        seed=1,
    )
    shortlist = found.portfolio(2)
    assert shortlist.predictive_sharpe_ratio.signal == 0
    assert "Their estimates are the same on this log." in shortlist.reason
    assert "members are alike" in shortlist.reason
    assert (found.ranking()["p_top_4"] == 1).all()


@pytest.mark.parametrize("options", INTERVALS)
def test_a_skewed_difference_has_a_note_of_its_own(options):
    """Two policies that each look harmless may differ by what a few episodes say."""
    rng = np.random.default_rng(7)
    rows = 400
    reward = rng.normal(0, 5, size=rows)
    prob = np.full(rows, 0.5)
    reward[:8], prob[:8] = 20.0, 1.0
    log = {"action": np.zeros(rows, dtype=int), "reward": reward, "propensity": np.full(rows, 0.5)}
    found = cf.evaluate(cf.LoggedData.from_frame(log), {"new": prob}, ["tis"], seed=1, **options)
    assert found.estimates["note"].is_null().all()
    (note,) = found.compare()["note"]
    assert note.startswith(
        "do not lean on the interval: too few episodes for differences so skewed"
    )


def test_truth_of_other_policies():
    found = evaluate()
    with pytest.raises(cf.InvalidArgumentError, match=r'lacks policy "p2"; .* and no other$'):
        cf.assess(found, {"p0": 1.0, "p1": 2.0})
    with pytest.raises(cf.InvalidArgumentError, match=r'lacks policy "p2"; .* did you mean "p22"'):
        cf.assess(found, {"p0": 1.0, "p1": 2.0, "p22": 3.0})


def test_a_shortlist_by_lower_ends_needs_them():
    log = {
        "action": np.zeros(40, dtype=int),
        "reward": np.arange(40.0),
        "propensity": np.full(40, 0.5),
    }
    rare = np.where(np.arange(40) == 7, 0.5, 0.0)  # of which many replicates have nothing
    probs = {"often": np.full(40, 0.5), "rare": rare}
    given = {"interval": "bootstrap", "n_resamples": 200, "seed": 1}
    found = cf.evaluate(cf.LoggedData.from_frame(log), probs, ["sntis"], **given)
    assert found.portfolio(1, score="lower").policies == ["often"]
    with pytest.raises(cf.InvalidArgumentError, match="1 of the top 2 has no interval"):
        found.portfolio(2, score="lower")


@pytest.mark.parametrize("ids", [None, "", [], {}, 0, np.array([], dtype=int)])
def test_no_ids_to_draw_for(ids):
    with pytest.raises(cf.InvalidArgumentError, match="episode_ids must be ids, one to an episode"):
        cf.resample_weights(ids, 2, 1)


def test_an_error_too_small_to_hold_is_no_certainty():
    rng = np.random.default_rng(8)
    reward = 1e-300 * rng.normal(1, 1, size=200)
    log = {"action": np.zeros(200, dtype=int), "reward": reward, "propensity": np.full(200, 0.5)}
    probs = {f"p{i}": rng.uniform(0.3, 0.7, size=200) for i in range(3)}
    found = cf.evaluate(cf.LoggedData.from_frame(log), probs, ["tis"])
    for together in (False, True):
        table = found.compare(simultaneous=together)
        assert table["conclusion"].is_null().all()
        assert table["note"].str.contains("underflow").all()
    assert found.contenders()["contender"].is_null().all()
    assert "more than chance" not in found.portfolio(2).reason
