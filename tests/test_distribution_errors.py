"""Standard errors, replicates, bands and intervals of distributions of the return."""

from __future__ import annotations

import math

import counterfolio as cf
import mdp
import numpy as np
import pytest
from distribution_oracle import GAMMA, NAMES, POLICIES, Oracle, logged, random_log


def test_replicates_are_those_of_repeated_episodes():
    """Everything redone from the one sort: normalisation, order, cutting, statistics."""
    log = random_log(5, 40, rounded=True)
    options = {"n_resamples": 10, "seed": 4, "resampling": "poisson"}
    found = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA, **options)
    drawn = cf.resample_weights(logged(log).column("episode_id").unique(maintain_order=True), 10, 4)
    for statistic, alpha in (("cvar", 0.25), ("quantile", 0.5), ("variance", None)):
        evaluation = found.evaluation(statistic, alpha)
        for replicate, m in enumerate(drawn):
            for p, policy in enumerate(POLICIES):
                for e, name in enumerate(NAMES):
                    oracle = Oracle(log, policy, name, m=m.astype(float))
                    wanted = oracle.statistic(statistic, alpha or 0.0)
                    value = evaluation.replicates[replicate, p, e]
                    assert value == pytest.approx(wanted, rel=1e-9, abs=1e-11), (statistic, name)
    shown = Oracle(log, "new", "cd_tdr").shown()
    again = [Oracle(log, "new", "cd_tdr", m=m.astype(float)).shown() for m in drawn]
    distances = [np.abs(f - shown).max() for f in again]
    rows = found.cdf.filter(policy="new", estimator="cd_tdr")
    half = np.sort(distances)[math.ceil(0.95 * 10) - 1]
    np.testing.assert_allclose(rows["high"], np.clip(rows["probability"] + half, 0, 1), atol=1e-12)


def test_the_draws_are_those_of_evaluate():
    log = random_log(6, 200)
    options = {"n_resamples": 30, "seed": 9, "gamma": GAMMA}
    found = cf.evaluate_distribution(logged(log), POLICIES, ["cd_sntis"], **options)
    plain = cf.evaluate(logged(log), POLICIES, ["sntis"], **options)
    np.testing.assert_allclose(found.evaluation("mean").replicates, plain.replicates, rtol=1e-10)
    for threads in (1, 2):
        again = cf.evaluate_distribution(
            logged(log), POLICIES, ["cd_sntis"], num_threads=threads, **options
        )
        assert np.array_equal(
            again.evaluation("cvar", 0.1).replicates, found.evaluation("cvar", 0.1).replicates
        )


def test_pointwise_errors_against_numpy():
    log = random_log(7, 150, rounded=True)
    found = cf.evaluate_distribution(logged(log), POLICIES, NAMES, gamma=GAMMA, pointwise=True)
    for name in NAMES:
        oracle = Oracle(log, "new", name)
        n, x = len(oracle.g), oracle.x
        below = (oracle.g[:, None] <= x) * 1.0
        model = (oracle.v[:, None] <= x) * 1.0
        c = (oracle.w / oracle.w.mean() if "sn" in name else oracle.w)[:, None]
        if name == "cd_dm":
            psi = model - model.mean(axis=0)
        elif name == "cd_tis":
            psi = c * below - oracle.raw(x)
        elif name == "cd_sntis":
            psi = c * (below - oracle.raw(x))
        else:
            d = below - model
            m = (c * d).mean(axis=0) if name == "cd_sntdr" else 0.0
            psi = c * (d - m) + model
            psi -= psi.mean(axis=0)
        error = np.sqrt((psi**2).sum(axis=0) / (n * (n - 1)))
        rows = found.cdf.filter(policy="new", estimator=name)
        high = np.clip(oracle.shown() + 1.959963984540054 * error, 0, 1)
        np.testing.assert_allclose(rows["high"], high, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("statistic", "alpha"), [("mean", None), ("cvar", 0.25), ("variance", None)]
)
@pytest.mark.parametrize("name", ["cd_sntis", "cd_sntdr", "cd_tdr"])
def test_standard_errors_against_the_spread_over_logs(name, statistic, alpha):
    process = mdp.random_mdp(1, horizon=4)
    behavior = mdp.random_policy(1, process, spread=0.4)
    target = 0.5 * behavior + 0.5 * mdp.random_policy(2, process, spread=0.4)
    values, errors = [], []
    for seed in range(120):
        log = mdp.simulate(process, behavior, 400, seed=seed, ids="integer")
        log = mdp.add_policy(log, process, "new", target, GAMMA)
        found = cf.evaluate_distribution(
            logged(log), {"new": POLICIES["new"]}, [name], gamma=GAMMA
        ).evaluation(statistic, alpha)
        values.append(found.estimates["value"][0])
        errors.append(found.estimates["standard_error"][0])
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.2)


def test_bands_cover_the_truth():
    """Whole curves inside, 95 times of 100 or nearly, and single points by the pointwise band."""
    process = mdp.random_mdp(2, horizon=3)
    behavior = mdp.random_policy(2, process, spread=0.4)
    target = 0.5 * behavior + 0.5 * mdp.random_policy(3, process, spread=0.4)
    big = mdp.simulate(process, target, 200_000, seed=99, ids="integer")
    offsets = big.offsets[:-1]
    returns = np.add.reduceat(big.columns["reward"] * GAMMA ** big.columns["timestep"], offsets)
    grid = np.quantile(returns, np.linspace(0.02, 0.98, 25))
    truth = (returns[:, None] <= grid).mean(axis=0)
    whole = points = 0
    for seed in range(100):
        log = mdp.simulate(process, behavior, 300, seed=seed, ids="integer")
        log = mdp.add_policy(log, process, "new", target, GAMMA)
        policies = {"new": POLICIES["new"]}
        options = {"gamma": GAMMA, "grid": grid}
        found = cf.evaluate_distribution(
            logged(log), policies, ["cd_sntis"], n_resamples=200, seed=seed, **options
        ).cdf.filter(policy="new")
        inside = (found["low"].to_numpy() <= truth) & (truth <= found["high"].to_numpy())
        whole += inside.all()
        single = cf.evaluate_distribution(
            logged(log), policies, ["cd_sntis"], pointwise=True, **options
        ).cdf.filter(policy="new")
        inside = (single["low"].to_numpy() <= truth) & (truth <= single["high"].to_numpy())
        points += inside.mean()
    assert 88 <= whole <= 100
    assert 92 <= points <= 98


def test_quantile_intervals_cover():
    process = mdp.random_mdp(3, horizon=3)
    behavior = mdp.random_policy(3, process, spread=0.4)
    target = 0.5 * behavior + 0.5 * mdp.random_policy(4, process, spread=0.4)
    big = mdp.simulate(process, target, 200_000, seed=98, ids="integer")
    returns = np.add.reduceat(
        big.columns["reward"] * GAMMA ** big.columns["timestep"], big.offsets[:-1]
    )
    truths = {
        "quantile": cf.return_statistic(returns, "quantile", 0.25),
        "cvar": cf.return_statistic(returns, "cvar", 0.25),
    }
    covered = dict.fromkeys(truths, 0)
    for seed in range(150):
        log = mdp.simulate(process, behavior, 400, seed=1000 + seed, ids="integer")
        log = mdp.add_policy(log, process, "new", target, GAMMA)
        table = cf.evaluate_distribution(
            logged(log), {"new": POLICIES["new"]}, ["cd_sntis"], gamma=GAMMA
        ).statistics((0.25,))
        for row in table.filter(policy="new").iter_rows(named=True):
            if row["statistic"] in truths:
                inside = row["ci_low"] <= truths[row["statistic"]] <= row["ci_high"]
                covered[row["statistic"]] += inside
    for name, count in covered.items():
        assert 0.9 <= count / 150 <= 0.99, name
