"""`on_policy_value`: what policies return, how sure that is, and estimators judged by it."""

from __future__ import annotations

import functools
import pickle
from dataclasses import replace

import counterfolio as cf
import gymnasium as gym
import numpy as np
import polars as pl
import pytest
import selection_oracle
from counterfolio import plots
from counterfolio import policies as pi
from counterfolio.simulate import Basic, OnPolicyValue, Tabular
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from test_plots import HOSTILE, picture
from test_ranking import evaluate, made

WORLD = Tabular.random(5, 3, world_seed=3, end=0.25, reward_std=0.4)
CARTPOLE = {
    "left": pi.Softmax(lambda s: np.stack([s[:, 2], -s[:, 2]], axis=1), 0.2),
    "coin": pi.Uniform(2),
}


def tables(n=4, share=0.2):
    """Policies of WORLD that agree for the most part."""
    rng = np.random.default_rng(8)
    base = rng.dirichlet(np.ones(3), 6)
    others = rng.dirichlet(np.full(3, 0.3), (n, 6))
    return {f"p{i}": pi.Tabular((1 - share) * base + share * own) for i, own in enumerate(others)}


def rolled_out(n_episodes=40, seed=1, **options):
    return cf.on_policy_value(WORLD, tables(), n_episodes, seed, **options)


# Returns.


@pytest.mark.parametrize("gamma", [1.0, 0.7])
@pytest.mark.parametrize(
    ("env", "policy"),
    [
        (WORLD, tables()["p0"]),
        (replace(WORLD, horizon=3), tables()["p0"]),
        ("CartPole-v1", CARTPOLE["left"]),
        (Basic(action_type="continuous", horizon=4), pi.Gaussian(lambda s: s[:, :3], 0.5)),
    ],
)
def test_returns_are_those_of_the_episodes_that_collect_logs(env, policy, gamma):
    """The first reward counts whole, the last one too."""
    truth = cf.on_policy_value(env, policy, 30, 5, gamma=gamma)
    log = cf.collect(env, policy, 30, 5)
    step, reward = (log.column(name).to_numpy() for name in ("step", "reward"))
    episode = log.column("episode").to_numpy()
    assert list(truth) == ["behavior"]
    wanted = np.bincount(episode, gamma**step * reward)
    np.testing.assert_allclose(truth["behavior"], wanted, rtol=1e-12)
    np.testing.assert_array_equal(truth.lengths["behavior"], np.bincount(episode))


def test_a_step_limit_cuts_returns_off():
    whole, cut = (
        cf.on_policy_value("CartPole-v1", CARTPOLE, 20, 1, max_episode_steps=most)
        for most in (None, 15)
    )
    for name in CARTPOLE:
        # A reward of 1 for each step.
        np.testing.assert_array_equal(whole[name], whole.lengths[name])
        np.testing.assert_array_equal(cut[name], np.minimum(whole[name], 15))
    assert (whole["left"] > 15).any()


@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize(("env", "policies"), [(WORLD, tables()), ("CartPole-v1", CARTPOLE)])
def test_returns_do_not_depend_on_how_many_are_played_at_a_time(env, policies, common):
    one, *others = (
        cf.on_policy_value(env, policies, 20, 3, num_envs=n, common_random_numbers=common)
        for n in (1, 7, 20, None)
    )
    for other in others:
        for name in policies:
            np.testing.assert_array_equal(one[name], other[name])
            np.testing.assert_array_equal(one.lengths[name], other.lengths[name])


def test_common_random_numbers_are_the_same_seeds():
    """Whoever else is rolled out, and however many episodes follow."""
    policies = tables()
    truth = rolled_out()
    alone = cf.on_policy_value(WORLD, {"p2": policies["p2"]}, 60, 1)
    np.testing.assert_array_equal(alone["p2"][:40], truth["p2"])
    twice = cf.on_policy_value(WORLD, {"a": policies["p2"], "b": policies["p2"]}, 40, 1)
    np.testing.assert_array_equal(twice["a"], twice["b"])
    assert twice.compare("a", "b")["standard_error"][0] == 0
    other = cf.on_policy_value(
        WORLD, {"a": policies["p2"], "b": policies["p2"]}, 2000, 1, common_random_numbers=False
    )
    assert len(np.intersect1d(other["a"], other["b"])) == 0
    assert abs(np.corrcoef(other["a"], other["b"])[0, 1]) < 4 / np.sqrt(2000)
    assert not np.array_equal(rolled_out(seed=2)["p0"], truth["p0"])


# Means, statistics, differences.


def test_the_table_by_numpy():
    truth = rolled_out(gamma=0.9, confidence_level=0.8)
    assert truth.table["policy"].to_list() == ["p0", "p1", "p2", "p3"]
    for row in truth.table.iter_rows(named=True):
        x = truth[row["policy"]]
        value, error = x.mean(), x.std(ddof=1) / np.sqrt(40)
        low, high = stats.t.interval(0.8, 39, value, error)
        assert list(row.values())[1:] == pytest.approx(
            [value, error, low, high, x.std(ddof=1), 40, truth.lengths[row["policy"]].mean()]
        )
        assert truth.value(row["policy"]) == value


def test_statistics_by_their_definitions():
    truth = rolled_out(n_episodes=101)
    table = truth.statistics([0.1, 0.25, 0.5, 1.0])
    names = {(name, alpha) for _, name, alpha, *_ in table.iter_rows()}
    assert len(table) == 4 * len(names)
    assert ("interquantile_range", 0.25) in names
    for policy, name, alpha, value, error in table.iter_rows():
        x = np.sort(truth[policy])
        assert value == cf.return_statistic(x, name, alpha)
        if name == "mean":
            assert (value, error) == pytest.approx((x.mean(), x.std(ddof=1) / np.sqrt(101)))
        elif name == "variance":
            squares = (x - x.mean()) ** 2
            wanted = x.var(), squares.std(ddof=1) / np.sqrt(101)
            assert (value, error) == pytest.approx(wanted)
        elif name == "quantile":
            assert value == np.quantile(x, alpha, method="inverted_cdf")
        elif name == "cvar":
            # Whole episodes and the fraction of one.
            worst = int(alpha * 101)
            below = x[:worst].sum() + (alpha * 101 - worst) * x[min(worst, 100)]
            assert value == pytest.approx(below / (alpha * 101))


def test_differences_by_numpy():
    for common in (True, False):
        truth = rolled_out(common_random_numbers=common)
        a, b = truth["p1"], truth["p3"]
        error = (a - b).std(ddof=1) if common else np.sqrt(a.var(ddof=1) + b.var(ddof=1))
        value, error = a.mean() - b.mean(), error / np.sqrt(40)
        low, high = stats.t.interval(0.95, 39, value, error)
        row = truth.compare("p1", "p3").row(0)
        assert row[:2] == ("p1", "p3")
        assert row[2:] == pytest.approx((value, error, low, high))


def covered(hits, level, tries):
    """Whether so many hits are no more and no fewer than chance makes of the level."""
    low, high = stats.binom.interval(1 - 1e-4, tries, level)
    return low <= hits <= high


@pytest.mark.parametrize(
    ("gamma", "common", "tries"),
    [
        (0.9, True, 150),
        (1.0, False, 150),
        pytest.param(1.0, True, 1500, marks=pytest.mark.slow),
        pytest.param(0.9, False, 1500, marks=pytest.mark.slow),
    ],
)
def test_intervals_hold_the_exact_values(gamma, common, tries):
    """Of values, and of differences: paired ones are right too, and shorter."""
    policies = tables(2, share=0.8)
    exact = {name: WORLD.exact_value(policy, gamma) for name, policy in policies.items()}
    difference = exact["p0"] - exact["p1"]
    hits, errors, found = np.zeros(3), [], []
    options = {"gamma": gamma, "common_random_numbers": common, "confidence_level": 0.9}
    for seed in range(tries):
        truth = cf.on_policy_value(WORLD, policies, 120, seed, **options)
        rows = truth.table.select("ci_low", "ci_high").rows()
        row = truth.compare("p0", "p1").row(0, named=True)
        wanted = [*exact.values(), difference]
        for i, (low, high) in enumerate([*rows, (row["ci_low"], row["ci_high"])]):
            hits[i] += low <= wanted[i] <= high
        errors.append(row["standard_error"])
        found.append(row["difference"])
    for own in hits:
        assert covered(own, 0.9, tries), hits
    # Its standard error is how far the difference strays, no more and no less.
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(found), rel=0.15)
    plain = np.sqrt(np.mean([x.var(ddof=1) for x in truth.returns.values()]) * 2 / 120)
    assert (np.mean(errors) < 0.75 * plain) == common


def test_common_random_numbers_help_in_gymnasiums_own_too():
    alike = {"a": CARTPOLE["left"], "b": pi.Softmax(CARTPOLE["left"].base, 0.21)}
    errors = [
        cf.on_policy_value("CartPole-v1", alike, 60, 2, common_random_numbers=common).compare(
            "a", "b"
        )["standard_error"][0]
        for common in (True, False)
    ]
    assert errors[0] < 0.9 * errors[1]


# Judging estimators.


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


# As an object.


def test_it_is_a_mapping_and_one_of_its_own():
    truth = rolled_out()
    assert list(truth) == list(truth.keys()) == list(tables())
    assert len(truth) == 4
    assert truth["p1"] is truth.returns["p1"]
    assert "p9" not in truth
    again = pickle.loads(pickle.dumps(truth))
    assert again.table.equals(truth.table)
    assert again != truth
    assert len({truth, again, truth}) == 2


def test_some_policies_are_kept():
    truth = rolled_out()
    some = truth.select(["p3", "p1"])
    assert list(some) == list(some.lengths) == ["p3", "p1"]
    assert some["p1"] is truth["p1"]
    assert some.common_random_numbers
    assert some.compare("p1", "p3").equals(truth.compare("p1", "p3"))
    with pytest.raises(cf.InvalidArgumentError, match='no policy "p9" was rolled out'):
        truth.select(["p1", "p9"])


def test_policies_are_added_as_if_they_had_been_rolled_out_with_the_others():
    policies = tables()
    first, later = (
        cf.on_policy_value(WORLD, {name: policies[name] for name in names}, 40, 1)
        for names in (("p0", "p1"), ("p2", "p3"))
    )
    joined, together = first.join(later), rolled_out()
    assert joined.table.equals(together.table)
    assert joined.settings == together.settings
    assert joined.compare("p0", "p3").equals(together.compare("p0", "p3"))
    for other, message in (
        (together, 'policy "p0" is in both'),
        (rolled_out(seed=2).select(["p2"]), "seed was 1 here and 2 there"),
        (rolled_out(gamma=0.5).select(["p2"]), r"gamma was 1.0 here and 0.5 there"),
        (rolled_out(n_episodes=41).select(["p2"]), "n_episodes was 40 here and 41 there"),
        (
            rolled_out(common_random_numbers=False).select(["p2"]),
            "common_random_numbers was True here and False there",
        ),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=message):
            first.join(other)
    apart = rolled_out(common_random_numbers=False)
    with pytest.raises(cf.InvalidArgumentError, match="in one call"):
        apart.select(["p0"]).join(apart.select(["p1"]))


def test_as_text():
    text = repr(rolled_out(gamma=0.9))
    assert "40 roll-outs each, gamma 0.9, common random numbers" in text
    assert "95 % interval" in text
    assert "common random numbers" not in repr(rolled_out(common_random_numbers=False))
    page = cf.on_policy_value(WORLD, {"<b>": pi.Uniform(3)}, 5, 1)._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


def test_written_and_read_it_is_the_same(tmp_path):
    truth = rolled_out(gamma=0.9, common_random_numbers=False, max_episode_steps=6)
    truth.to_parquet(tmp_path / "truth.parquet")
    again = OnPolicyValue.from_parquet(str(tmp_path / "truth.parquet"))
    assert list(again) == list(truth)
    assert again.settings == truth.settings
    assert again.table.equals(truth.table)
    for name in truth:
        np.testing.assert_array_equal(again[name], truth[name])
        np.testing.assert_array_equal(again.lengths[name], truth.lengths[name])
    assert again.compare("p0", "p1").equals(truth.compare("p0", "p1"))
    # Anyone can read it.
    plain = pl.read_parquet(tmp_path / "truth.parquet")
    assert plain.columns == ["policy", "episode", "return", "length"]
    assert plain.filter(policy="p2")["return"].to_list() == truth["p2"].tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["truth.parquet"]


def test_other_files_are_refused(tmp_path):
    cf.collect(WORLD, pi.Uniform(3), 3, 1, path=tmp_path / "log.parquet")
    with pytest.raises(cf.InvalidArgumentError, match="does not hold an OnPolicyValue"):
        OnPolicyValue.from_parquet(tmp_path / "log.parquet")
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "plain.parquet")
    with pytest.raises(cf.InvalidArgumentError, match="does not hold an OnPolicyValue"):
        OnPolicyValue.from_parquet(tmp_path / "plain.parquet")
    (tmp_path / "text").write_text("no Parquet")
    for name in ("text", "nothing"):
        with pytest.raises(cf.InvalidArgumentError, match="cannot be read as Parquet"):
            OnPolicyValue.from_parquet(tmp_path / name)
    with pytest.raises(cf.InvalidArgumentError, match="does not exist"):
        rolled_out().to_parquet(tmp_path / "no" / "truth.parquet")


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "truth.parquet"
    rolled_out().to_parquet(path)
    before = path.read_bytes()

    def fails(*arguments, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fails)
    with pytest.raises(OSError, match="disk is full"):
        rolled_out(seed=2).to_parquet(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["truth.parquet"]


def test_returns_are_drawn(tmp_path):
    truth = cf.on_policy_value(WORLD, tables() | {"behavior": pi.Uniform(3)}, 200, 1)
    ax = plots.returns(truth)
    picture(ax, tmp_path)
    by_mean = truth.table.sort("value", descending=True)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == by_mean["policy"].to_list()
    dots = [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o"]
    assert dots == by_mean["value"].to_list()
    for bar, name in zip(ax.patches, names, strict=True):
        ends = [cf.return_statistic(truth[name], "quantile", a) for a in (0.25, 0.75)]
        assert [bar.get_x(), bar.get_x() + bar.get_width()] == pytest.approx(ends)
    assert f"behavior policy, {truth.value('behavior'):.4g}" in ax.get_xlabel()
    some = plots.returns(truth, among=["p1", "p0"])
    assert len(some.patches) == 2
    with pytest.raises(cf.InvalidArgumentError, match="policy 'p7' was not rolled out"):
        plots.returns(truth, among=["p7"])


def test_hostile_names_and_equal_returns_are_drawn(tmp_path):
    names = list(HOSTILE)
    truth = OnPolicyValue(
        {name: np.full(3, float(i)) for i, name in enumerate(names)},
        {name: np.ones(3, dtype=np.int64) for name in names},
        rolled_out().settings,
    )
    picture(plots.returns(truth), tmp_path)


# What is refused.


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rolled_out(n_episodes=1), cf.InvalidArgumentError, "n_episodes .* 2 or more"),
        (lambda: rolled_out(seed=-1), cf.InvalidArgumentError, "seed"),
        (lambda: rolled_out(gamma=0), cf.InvalidArgumentError, r"gamma must be in \(0, 1\]"),
        (lambda: rolled_out(gamma=1.1), cf.InvalidArgumentError, r"gamma must be in \(0, 1\]"),
        (
            lambda: rolled_out(confidence_level=1),
            cf.InvalidArgumentError,
            r"confidence_level must be in \(0, 1\)",
        ),
        (lambda: rolled_out(max_episode_steps=0), cf.InvalidArgumentError, "max_episode_steps"),
        (lambda: rolled_out(num_envs=0), cf.InvalidArgumentError, "num_envs"),
        (
            lambda: cf.on_policy_value(WORLD, {}, 5, 1),
            cf.InvalidArgumentError,
            "policies must be one",
        ),
        (
            lambda: cf.on_policy_value(WORLD, pi.Uniform(4), 5, 1),
            cf.InvalidPolicyError,
            "environment's actions are 0 to 2",
        ),
        (
            lambda: cf.on_policy_value("CartPole-v1", pi.Gaussian(len, 1.0), 5, 1),
            cf.InvalidPolicyError,
            "cannot act in",
        ),
        (
            lambda: cf.on_policy_value(gym.spaces.Discrete(2), pi.Uniform(4), 5, 1),
            cf.InvalidArgumentError,
            "env must be",
        ),
        (lambda: rolled_out().value("p9"), cf.InvalidArgumentError, 'no policy "p9"'),
        (lambda: rolled_out().compare("p0", "q"), cf.InvalidArgumentError, 'no policy "q"'),
        (lambda: rolled_out().statistics([0.0]), cf.InvalidArgumentError, "needs alpha"),
    ],
)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()
