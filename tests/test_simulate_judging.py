"""Estimators judged by roll-outs, whose noise is taken off."""

from __future__ import annotations

import functools
from dataclasses import replace

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
import selection_oracle
from counterfolio import policies as pi
from counterfolio.simulate import OnPolicyValue
from hypothesis import given
from hypothesis import strategies as st
from simulate_truths import WORLD, rolled_out, tables
from test_ranking import evaluate, made


@functools.cache
def many(n_policies=4, episodes=40_000, **options):
    return cf.on_policy_value(WORLD, tables(n_policies), episodes, 11, **options)


def parts(truth, size):
    """The same roll-outs as many small ones, each a truth of its own."""
    for first in range(0, truth.settings["n_episodes"], size):
        yield OnPolicyValue(
            {name: x[first : first + size] for name, x in truth.returns.items()},
            {name: x[first : first + size] for name, x in truth.lengths.items()},
            {**truth.settings, "n_episodes": size},
        )


def metric(evaluation, truth, name, k=None, **options):
    table = cf.assess(evaluation, truth, behavior_value=0.0, **options).table
    return table.filter(pl.col("metric") == name, pl.col("k").eq_missing(k))["value"][0]


def oracle(returns, scores, k, ddof, ties):
    """std_debiased@k by the covariances of the means: tr(C)/k - 1'C1/k^2 is taken off."""
    x = np.array(list(returns.values()))
    means, c = x.mean(axis=1), np.atleast_2d(np.cov(x)) / x.shape[1]
    found = []
    for chosen in selection_oracle.shortlists(scores, ties, k):
        own = c[np.ix_(chosen, chosen)]
        noise = np.trace(own) / k - own.sum() / k**2
        squared = np.var(means[chosen]) - noise
        found.append(np.sqrt(max(squared, 0) * k / (k - ddof)))
    return np.mean(found)


@given(
    seed=st.integers(0, 2**32 - 1),
    scores=st.lists(st.integers(0, 3).map(float), min_size=2, max_size=7),
    correlation=st.floats(0, 1),
    ddof=st.sampled_from([0, 1]),
    ties=st.sampled_from(["first", "last", "average"]),
)
def test_noise_in_common_is_not_taken_off(seed, scores, correlation, ddof, ties):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=12)
    returns = {
        f"p{i}": i / 2 + correlation * common + (1 - correlation) * rng.normal(size=12)
        for i in range(len(scores))
    }
    truth = replace(rolled_out(), returns=returns)
    evaluation = made(scores)
    for k in range(2, len(scores) + 1):
        found = metric(evaluation, truth, "std_debiased", k, ddof=ddof, ties=ties)
        wanted = oracle(returns, np.array(scores), k, ddof, ties)
        # Where it is near 0, the root of what rounding leaves.
        assert found == pytest.approx(wanted, abs=1e-7)


def test_every_episode_counts_however_many_there_are():
    truth = many(episodes=5000)
    scores = np.array([2.0, 4.0, 1.0, 3.0])
    for k in (2, 3, 4):
        wanted = oracle(truth.returns, scores, k, 0, "first")
        assert metric(made(scores), truth, "std_debiased", k) == pytest.approx(wanted, rel=1e-9)


def test_by_the_statistic_that_the_evaluation_is_of():
    policies = tables(share=0.8)
    log = cf.collect(WORLD, pi.Uniform(3), 300, 1)
    truth = cf.on_policy_value(WORLD, policies | {"behavior": pi.Uniform(3)}, 4000, 2)
    distribution = cf.evaluate_distribution(log, policies, ["cd_sntis"])
    for name, alpha in (("mean", None), ("cvar", 0.2), ("quantile", 0.5)):
        by = distribution.evaluation(name, alpha)
        spreads = [
            cf.assess(by, said).table.filter(pl.col("k") == 4, metric=m)["value"][0]
            for said, m in ((dict(truth), "std_debiased"), (truth, "std_debiased"), (truth, "std"))
        ]
        assert spreads[0] < spreads[1] < spreads[2]
        true = [cf.return_statistic(truth[p], name, alpha) for p in policies]
        assert spreads[2] == pytest.approx(np.std(true))


def test_debiased_spreads_are_right_on_average():
    """Over many small truths, for every k; by the formula for independent errors they are not."""
    policies = tables(share=0.8)
    exact = np.array([WORLD.exact_value(policy) for policy in policies.values()])
    order = np.array([1, 3, 0, 2])
    evaluation = made(-np.argsort(order).astype(float))
    squares: dict[str, list[list[float]]] = {"own": [], "independent": []}
    for truth in parts(cf.on_policy_value(WORLD, policies, 60_000, 11), 240):
        for name, said in (("own", truth), ("independent", dict(truth))):
            table = cf.assess(evaluation, said, behavior_value=0.0).table
            rows = table.filter(pl.col("metric") == "std_debiased", pl.col("k") > 1)["value"]
            squares[name].append((rows.to_numpy() ** 2).tolist())
    wanted = np.array([np.var(exact[order[:k]]) for k in (2, 3, 4)])
    z = {}
    for name, own in squares.items():
        drawn = np.array(own)
        z[name] = (drawn.mean(axis=0) - wanted) / (drawn.std(axis=0) / np.sqrt(len(drawn)))
    assert (np.abs(z["own"]) < 4).all(), z
    assert (z["independent"] < -5).all(), z


@pytest.mark.parametrize(
    ("statistic", "alpha", "within"),
    [
        ("mean", None, 0.1),
        ("variance", None, 0.15),
        ("cvar", 0.3, 0.15),
        ("quantile", 0.5, 0.3),
        ("interquantile_range", 0.25, 0.3),
    ],
)
def test_what_is_taken_off_is_the_noise_of_any_statistic(statistic, alpha, within):
    """The variance of k statistics, over small truths, beside the mean of what is taken off."""
    scores = [3.0, 2.0, 1.0, 0.0]
    settings = {} if statistic == "mean" else {"statistic": statistic, "alpha": alpha}
    evaluation = made(scores, **settings)
    drawn, off, plain = [], [], []
    for truth in parts(many(), 100):
        drawn.append([cf.return_statistic(x, statistic, alpha) for x in truth.values()])
        # Without roots and limits: what the debiased spread of widely different policies lacks.
        wide = replace(truth, returns={p: x + 50 * i for i, (p, x) in enumerate(truth.items())})
        if statistic in ("variance", "interquantile_range"):
            wide = replace(truth, returns={p: x * 3**i for i, (p, x) in enumerate(truth.items())})
            drawn[-1] = [cf.return_statistic(x, statistic, alpha) for x in wide.values()]
        for held, said in ((off, wide), (plain, dict(wide)))[: 1 + (len(off) % 5 == 0)]:
            table = cf.assess(evaluation, said, behavior_value=0.0).table.filter(k=4)
            std, debiased = (
                table.filter(metric=name)["value"][0] for name in ("std", "std_debiased")
            )
            held.append(std**2 - debiased**2)
    c = np.cov(np.array(drawn).T)
    noise = np.trace(c) / 4 - c.sum() / 16
    assert np.mean(off) == pytest.approx(noise, rel=within)
    if statistic in ("mean", "cvar", "quantile"):
        assert np.mean(plain) > 1.5 * noise


def test_assess_takes_it_as_it_is():
    policies = tables(share=0.8)
    truth = cf.on_policy_value(WORLD, policies | {"behavior": pi.Uniform(3)}, 250, 1)
    evaluation = evaluate(4, n_resamples=30)
    found = cf.assess(evaluation, truth).table
    returns = dict(truth)
    independent = cf.assess(evaluation, returns).table
    by_hand = cf.assess(evaluation, {n: x.mean() for n, x in returns.items()}).table
    debiased = pl.col("metric") == "std_debiased"
    # The behavior policy's own roll-outs are what candidates are measured against.
    assert found.filter(~debiased).equals(independent.filter(~debiased))
    assert by_hand.equals(found.filter(~pl.col("metric").str.ends_with("debiased")))
    rows = [t.filter(debiased, pl.col("k") > 1)["value"].to_numpy() for t in (found, independent)]
    assert (rows[0] >= rows[1]).all()
    assert (rows[0] > rows[1]).any()
    # Replicates are debiased in the same way.
    spread = found.filter(debiased, pl.col("k") == 4).select("value", "resampling_low")
    # (The order in which policies are added is another.)
    assert spread["value"].to_list() == pytest.approx(spread["resampling_low"].to_list())
    apart = cf.on_policy_value(WORLD, policies, 50, 1, common_random_numbers=False)
    assert cf.assess(evaluation, apart).table.equals(cf.assess(evaluation, dict(apart)).table)


def test_policies_that_are_the_same_have_no_spread():
    same = tables()["p1"]
    truth = cf.on_policy_value(WORLD, {f"p{i}": same for i in range(3)}, 30, 1)
    for ties in ("first", "average"):
        assert metric(made([1.0, 1.0, 1.0]), truth, "std_debiased", 3, ties=ties) == 0


def test_common_random_numbers_of_other_episodes_are_refused():
    truth = rolled_out()
    odd = replace(truth, returns={**truth.returns, "p2": truth["p2"][1:]})
    with pytest.raises(cf.InvalidArgumentError, match=r'"p2" has other episodes .* pass a dict'):
        cf.assess(made([1.0, 2.0, 3.0, 4.0]), odd)
    single = replace(truth, returns={**truth.returns, "p0": 3.0})
    with pytest.raises(cf.InvalidArgumentError, match=r'"p1" has other episodes'):
        cf.assess(made([1.0, 2.0, 3.0, 4.0]), single)
    assert cf.assess(made([1.0, 2.0, 3.0, 4.0]), dict(odd)).k == 3
