"""Distributions of the return: against an oracle, against numpy where pi = b, and truths."""

from __future__ import annotations

import math

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from distribution_oracle import ALPHAS, GAMMA, NAMES, POLICIES, Oracle, logged, random_log
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_against_the_oracle(seed, rounded):
    log = random_log(seed, 40 + 60 * seed, rounded)
    found = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA)
    statistics = found.statistics(ALPHAS)
    for policy in POLICIES:
        for name in NAMES:
            oracle = Oracle(log, policy, name)
            rows = found.cdf.filter(policy=policy, estimator=name)
            np.testing.assert_allclose(rows["x"], oracle.x, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(rows["probability"], oracle.shown(), atol=1e-12)
            for row in statistics.filter(policy=policy, estimator=name).iter_rows(named=True):
                wanted = oracle.statistic(row["statistic"], row["alpha"])
                assert row["value"] == pytest.approx(wanted, rel=1e-9, abs=1e-11), row


def test_on_a_grid():
    log = random_log(1, 200)
    grid = np.linspace(-10, 10, 41)
    found = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA, grid=grid)
    for name in ("cd_sntis", "cd_dm"):
        rows = found.cdf.filter(policy="new", estimator=name)
        assert rows["x"].to_list() == grid.tolist()
        np.testing.assert_allclose(
            rows["probability"], Oracle(log, "new", name).raw(grid), atol=1e-12
        )
    plain = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA)
    assert plain.statistics().equals(found.statistics())


@given(arrays(np.float64, st.integers(1, 60), elements=st.integers(-5, 5).map(float)))
def test_equal_policies_have_numpy_s_statistics(returns):
    """Exactly: values of the sample, their shares, and sums of few of them."""
    n = len(returns)
    frame = pl.DataFrame(
        {"action": [0] * n, "reward": returns, "propensity": [0.5] * n, "v": returns}
    )
    log = cf.LoggedData.from_frame(frame)
    policies = {"same": cf.PolicyColumns(prob="propensity", v="v")}
    found = cf.evaluate_distribution(log, policies, NAMES)
    table = found.statistics((0.1, 0.3, 0.5, 1.0))
    for row in table.iter_rows(named=True):
        a = row["alpha"]
        if row["statistic"] == "mean":
            wanted = returns.mean()
        elif row["statistic"] == "variance":
            wanted = returns.var()
        elif row["statistic"] == "quantile":
            assert row["value"] == np.quantile(returns, a, method="inverted_cdf")
            continue
        elif row["statistic"] == "cvar":
            share = np.clip(a * n - np.arange(n), 0, 1)
            wanted = np.sort(returns) @ share / (a * n)
        else:
            ends = np.quantile(returns, [a, 1 - a], method="inverted_cdf")
            assert row["value"] == ends[1] - ends[0]
            continue
        assert row["value"] == pytest.approx(wanted, rel=1e-12, abs=1e-12), row
    x, f = np.unique(returns, return_counts=True)
    rows = found.cdf.filter(estimator="cd_sntis")
    assert rows["x"].to_list() == x.tolist()
    assert rows["probability"].to_list() == (f.cumsum() / n).tolist()


def test_the_mean_is_that_of_sntis():
    log = random_log(3, 500)
    found = cf.evaluate_distribution(logged(log), POLICIES, ["cd_sntis", "cd_tis"], gamma=GAMMA)
    means = found.evaluation("mean")
    plain = cf.evaluate(logged(log), POLICIES, ["sntis"], gamma=GAMMA)
    for policy in POLICIES:
        for name in ("cd_sntis", "cd_tis"):
            row = means.rows(name).filter(policy=policy).row(0, named=True)
            wanted = plain.rows().filter(policy=policy).row(0, named=True)
            assert row["value"] == pytest.approx(wanted["value"], rel=1e-12)
            assert row["standard_error"] == pytest.approx(wanted["standard_error"], rel=1e-10)
    difference = means.compare("new", "old", "cd_sntis").row(0, named=True)
    wanted = plain.compare("new", "old").row(0, named=True)
    for key in ("difference", "standard_error", "ci_low", "p_better"):
        assert difference[key] == pytest.approx(wanted[key], rel=1e-9)
    assert means.behavior_value == pytest.approx(plain.behavior_value)


def test_the_mass_of_tis_is_told():
    log = random_log(4, 80)
    found = cf.evaluate_distribution(logged(log), POLICIES, ["cd_tis", "cd_dm"], gamma=GAMMA)
    oracle = Oracle(log, "new", "cd_tis")
    notes = found.statistics()["note"]
    assert notes[0].startswith(
        f"total mass {oracle.w.mean():.4g}; statistics are of F divided by it"
    )
    assert any("between initial states only" in (note or "") for note in notes)


# Ranking and judging by risk.


def test_ranking_by_cvar_and_judging_it():
    log = random_log(8, 300)
    found = cf.evaluate_distribution(
        logged(log), POLICIES, ["cd_sntis", "cd_sntdr"], gamma=GAMMA, n_resamples=50, seed=1
    )
    evaluation = found.evaluation("cvar", 0.1)
    ranking = evaluation.ranking("cd_sntis")
    values = evaluation.values("cd_sntis")
    assert ranking["policy"].to_list() == sorted(values, key=values.get, reverse=True)
    assert ranking["p_best"].is_not_null().all()
    assert evaluation.contenders("cd_sntis").height == 2
    rng = np.random.default_rng(0)
    truth = {p: rng.normal(size=500) for p in POLICIES} | {"behavior": rng.normal(size=400)}
    judged = cf.assess(evaluation, truth, k=2).table
    numbers = {p: cf.return_statistic(x, "cvar", 0.1) for p, x in truth.items()}
    own = cf.assess(evaluation, numbers, k=2).table
    for metric in ("mse", "regret", "sharpe_ratio", "best"):
        a, b = (t.filter(metric=metric, estimator="cd_sntis")["value"] for t in (judged, own))
        assert a.to_list() == pytest.approx(b.to_list(), rel=1e-9, nan_ok=True)
    by_hand = cf.top_k(
        evaluation.values("cd_sntis"), {p: numbers[p] for p in POLICIES}, numbers["behavior"]
    )
    ratio = judged.filter(metric="sharpe_ratio", estimator="cd_sntis", k=2)["value"][0]
    assert ratio == pytest.approx(by_hand["sharpe_ratio"][1])
    evaluation.portfolio(2, "cd_sntis")


# Extremes, and what is refused.


def test_weights_beyond_float64():
    n, steps = 50, 400
    rng = np.random.default_rng(1)
    up = np.repeat(rng.random(n) < 0.5, steps)
    frame = pl.DataFrame(
        {
            "id": np.repeat(np.arange(n), steps),
            "action": 0,
            "reward": rng.normal(size=n * steps),
            "propensity": 0.001,
            "p": np.where(up, 0.9, 0.8),
        }
    )
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    found = cf.evaluate_distribution(log, {"new": "p"}, ["cd_sntis"])
    assert found.cdf["probability"].is_finite().all()
    assert found.statistics()["value"].is_finite().all()
    plain = cf.evaluate(log, {"new": "p"}, ["sntis"])
    assert found.evaluation("mean").values()["new"] == pytest.approx(
        plain.values()["new"], rel=1e-9
    )


def test_no_weight_at_all():
    frame = pl.DataFrame({"action": [0, 1], "reward": [1.0, 2.0], "propensity": [0.5, 0.5]})
    log = cf.LoggedData.from_frame(frame)
    found = cf.evaluate_distribution(log, {"never": np.zeros(2)}, ["cd_sntis"])
    row = found.statistics().row(0, named=True)
    assert math.isnan(row["value"])
    assert row["note"] == "undefined: every importance weight is 0"


def test_one_episode():
    frame = pl.DataFrame({"action": [0], "reward": [2.0], "propensity": [0.5]})
    found = cf.evaluate_distribution(cf.LoggedData.from_frame(frame), {"a": [0.25]})
    table = found.statistics()
    assert table.filter(statistic="quantile")["value"].to_list() == [2.0] * 6
    assert table["standard_error"].is_nan().all()
    assert found.cdf["probability"].to_list() == [1.0, 1.0]


def test_clusters_widen_errors():
    log = random_log(9, 300)
    user = np.repeat(np.arange(300) // 10, log.lengths)
    frame = pl.DataFrame(log.columns).with_columns(user=user)
    clustered = cf.LoggedData.from_frame(frame, episode_id="episode_id", cluster="user")
    found = cf.evaluate_distribution(clustered, POLICIES, ["cd_sntis"], gamma=GAMMA)
    plain = cf.evaluate(clustered, POLICIES, ["sntis"], gamma=GAMMA)
    mine = found.evaluation("mean").rows()["standard_error"].to_list()
    assert mine == pytest.approx(plain.rows()["standard_error"].to_list(), rel=1e-10)
    with pytest.raises(cf.InvalidArgumentError, match="this log has clusters"):
        cf.evaluate_distribution(clustered, POLICIES, gamma=GAMMA, pointwise=True)


def test_defaults():
    log = random_log(10, 30)
    found = cf.evaluate_distribution(logged(log), POLICIES)
    assert found.estimators == ["cd_sntis", "cd_sntdr"]
    assert cf.evaluate_distribution(logged(log), {"new": "p_new"}).estimators == ["cd_sntis"]
    assert "on_policy" in repr(found)
    assert "CVaR" in found._repr_html_()
    assert max(map(len, repr(found).splitlines())) <= 100


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda log: cf.evaluate(log, POLICIES, ["cd_sntis"]), "use cf.evaluate_distribution"),
        (
            lambda log: cf.evaluate_distribution(log, POLICIES, ["sntis"]),
            '"sntis" is no estimator of a distribution; .*cd_dm',
        ),
        (lambda log: cf.evaluate_distribution(log, POLICIES, grid=[0, math.nan]), "grid: 1 of 2"),
        (lambda log: cf.evaluate_distribution(log, POLICIES).statistics((0.0,)), "alpha in"),
        (lambda log: cf.evaluate_distribution(log, POLICIES).evaluation("cvar"), "needs alpha"),
        (
            lambda log: cf.evaluate_distribution(log, POLICIES).evaluation("mean", 0.1),
            "has no alpha",
        ),
        (
            lambda log: cf.evaluate_distribution(log, POLICIES).evaluation("median"),
            "unknown statistic 'median'",
        ),
        (lambda log: cf.evaluate_distribution(log, POLICIES, pointwise=3), "pointwise must be"),
        (lambda _: cf.return_statistic([], "mean"), "returns must be a one-dimensional"),
    ],
)
def test_what_is_refused(call, match):
    with pytest.raises(cf.InvalidArgumentError, match=match):
        call(logged(random_log(1, 10)))
