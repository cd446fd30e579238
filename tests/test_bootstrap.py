"""The joint bootstrap: every replicate against the oracle, the same bits always, intervals."""

from __future__ import annotations

import functools
import math
import pickle
from dataclasses import replace

import counterfolio as cf
import mdp
import numpy as np
import oracle
import polars as pl
import pyarrow as pa
import pytest
import resampling_oracle as ro
from counterfolio import _core
from scipy import stats

COUNT = 20


# Against the oracle.


LOGS = {
    "process": functools.partial(ro.simulated_log, 1, 60, 8),
    "process past 32 steps": functools.partial(ro.simulated_log, 2, 40, 50, 0.15),
    "process past 64 steps": functools.partial(ro.simulated_log, 3, 25, 130, 0.05),
    "one step": functools.partial(ro.random_log, np.ones(70, dtype=int), 4),
    "one episode": functools.partial(ro.random_log, [5], 5),
    "two episodes": functools.partial(ro.random_log, [3, 1], 6),
    "31, 32, 33, 63, 64, 65": functools.partial(ro.random_log, [31, 32, 33, 63, 64, 65, 1, 2], 7),
    "one very long": functools.partial(ro.random_log, [*ro.lengths(30, 3), 700, 2, 1], 8),
    "long ones first": functools.partial(ro.random_log, [300, 90, *[1] * 40], 9),
    "fixed length": functools.partial(ro.random_log, [40] * 33, 10),
    "more than a block": functools.partial(ro.random_log, ro.lengths(1_100, 4), 11),
}


@pytest.mark.parametrize("resampling", ["poisson", "multinomial"])
@pytest.mark.parametrize("kind", LOGS)
def test_replicates(kind, resampling):
    log = LOGS[kind]()
    count = 9 if log.n_episodes > 1_000 else COUNT
    counts = cf.resample_weights(ro.ids(log), count, 3, resampling=resampling)
    names = ro.POLICIES[:2] if log.n_episodes < 3 else ro.POLICIES
    ro.check(
        ro.evaluate(log, names, resampling=resampling, n_resamples=count, gamma=0.9), log, counts
    )


@pytest.mark.parametrize("gamma", [1.0, 0.99, 0.3])
@pytest.mark.parametrize("count", [1, 8, 31, 33, 70])
def test_numbers_of_replicates(count, gamma):
    log = ro.random_log([1, 7, 3, 2, 2, 9, 4, 1, 1], 12)
    counts = cf.resample_weights(ro.ids(log), count, 3)
    evaluation = ro.evaluate(log, gamma=gamma, n_resamples=count, resampling="poisson")
    ro.check(evaluation, log, counts)
    if count == 70:
        undefined = np.isnan(evaluation.replicates[:, 2]).mean(axis=0)
        for name in oracle.SELF_NORMALISED:
            assert 0 < undefined[oracle.NAMES.index(name)] < 1, name


def test_a_replicate_without_any_episode_is_undefined():
    log = ro.random_log([2, 1], 13)
    counts = cf.resample_weights(ro.ids(log), 60, 3)
    assert (counts.sum(axis=1) == 0).any()
    ro.check(ro.evaluate(log, ro.POLICIES[:2], n_resamples=60, resampling="poisson"), log, counts)


@pytest.mark.parametrize("mark", ["each row", "ends", "integers"])
def test_without_ids_the_first_row_is_the_id(mark):
    log = ro.random_log(np.ones(60, dtype=int) if mark == "each row" else [1, 4, 2, 3] * 15, 14)
    last = np.zeros(log.lengths.sum(), dtype=bool)
    last[log.offsets[1:] - 1] = True
    names = log.offsets[:-1] if mark == "ends" else np.arange(60) - 30
    log = log.with_columns(over=last, number=np.repeat(names, log.lengths))
    roles = {"each row": {}, "ends": {"terminated": "over"}, "integers": {"episode_id": "number"}}
    counts = cf.resample_weights(60 if mark == "each row" else names, COUNT, 3)
    ro.check(ro.evaluate(log, roles=roles[mark], gamma=0.9), log, counts)


@pytest.mark.parametrize("seed", range(4))
def test_extreme_weights(seed):
    log = ro.extreme_log(300, seed=seed)
    final = ro.matrices(log, "near").log_weight[:, -1]
    assert np.ptp(final) > 400
    counts = cf.resample_weights(ro.ids(log), 40, 3)
    evaluation = ro.evaluate(log, n_resamples=40, resampling="poisson", gamma=0.99)
    ro.check(evaluation, log, counts, tolerance=1e-11)


def test_an_episode_that_is_not_drawn_has_no_say():
    """However far its weight lies above all others': one of 10^869 is not in most replicates."""
    log = ro.extreme_log(2_000)
    options = {"estimators": oracle.SELF_NORMALISED, "n_resamples": 40, "resampling": "poisson"}
    counts = cf.resample_weights(ro.ids(log), 40, 3)
    ro.check(ro.evaluate(log, ("near",), gamma=0.99, **options), log, counts, tolerance=1e-9)


@pytest.mark.parametrize("column", ["reward", "p_near"])
def test_tiny_weights_after_many_zeros(column):
    """All weights are about 10^-650, but the first 400 episodes earn nothing, or have no weight."""
    log = ro.random_log(np.full(700, 20), 30)
    rng = np.random.default_rng(0)
    log = log.with_columns(propensity=np.ones(14_000), p_near=np.exp(rng.normal(-75, 0.1, 14_000)))
    log = log.with_columns(**{column: log.columns[column] * (np.arange(14_000) >= 8_000)})
    counts = cf.resample_weights(ro.ids(log), 9, 3)
    found = ro.evaluate(log, ("near",), estimators=oracle.SELF_NORMALISED, n_resamples=9)
    ro.check(found, log, counts, tolerance=1e-11)


def test_a_log_without_propensities():
    log = ro.random_log(ro.lengths(60, 4), 29)
    frame, rows = pl.DataFrame(log.columns), cf.PolicyColumns(v="v_far")
    logged = cf.LoggedData.from_frame(frame, propensity=None, episode_id="episode_id")
    found = cf.evaluate(logged, {"far": rows}, n_resamples=COUNT, seed=3)
    ro.check(found, log, cf.resample_weights(ro.ids(log), COUNT, 3))


# The same bits.


def same(one: cf.Evaluation, other: cf.Evaluation) -> bool:
    pairs = [(x.replicates.tobytes(), x.behavior_replicates.tobytes()) for x in (one, other)]
    return pairs[0] == pairs[1]


@pytest.fixture(scope="module")
def large() -> mdp.Log:
    """Enough of everything for several threads and many blocks."""
    return ro.random_log([150, *ro.lengths(3_000, 11)], 20)


@pytest.fixture(scope="module")
def whole(large) -> cf.Evaluation:
    return ro.evaluate(large, n_resamples=300, num_threads=1)


@pytest.mark.parametrize("num_threads", [2, 3, 8])
def test_any_number_of_threads(large, whole, num_threads):
    assert same(ro.evaluate(large, n_resamples=300, num_threads=num_threads), whole)


@pytest.mark.parametrize("cuts", [[9_000], [1, 4_321, 12_000], list(range(0, 20_000, 97))])
@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_any_chunking(large, whole, cuts, library):
    """Ids that are text, and ids that are numbers."""
    frame = pl.DataFrame(large.columns)
    bounds = mdp.chunk_bounds(frame.height, cuts)
    chunked = pl.concat([frame[low:high] for low, high in bounds], rechunk=False)
    if library == "pyarrow":
        frame = frame.with_columns(episode_id=mdp.row_ids(large.lengths, "integer"))
        whole, table = ro.evaluate(frame, n_resamples=300), frame.to_arrow()
        chunked = pa.concat_tables([table.slice(low, high - low) for low, high in bounds])
    assert same(ro.evaluate(chunked, n_resamples=300, num_threads=2), whole)


def test_what_else_is_evaluated_does_not_matter(large, whole):
    for p, e in ((0, 0), (1, 6), (2, 4)):
        options = {"estimators": [oracle.NAMES[e]], "n_resamples": 300}
        alone = ro.evaluate(large, ro.POLICIES[p : p + 1], **options)
        assert np.array_equal(alone.replicates[:, 0, 0], whole.replicates[:, p, e]), (p, e)
        assert np.array_equal(alone.behavior_replicates, whole.behavior_replicates)
    other = ro.evaluate(large, ro.POLICIES[::-1], estimators=oracle.NAMES[::-1], n_resamples=300)
    turned = np.ascontiguousarray(other.replicates[:, ::-1, ::-1])
    assert np.array_equal(turned, whole.replicates)


def test_more_replicates_extend_the_earlier_ones(large, whole):
    assert np.array_equal(ro.evaluate(large, n_resamples=77).replicates, whole.replicates[:77])


def test_the_order_of_episodes_changes_rounding_only(large, whole):
    order = np.random.default_rng(5).permutation(large.n_episodes)
    shuffled = ro.evaluate(large.take(order), n_resamples=300)
    off = np.abs(shuffled.replicates - whole.replicates).max(axis=0)
    for p, policy in enumerate(ro.POLICIES[:2]):
        for e, estimator in enumerate(oracle.NAMES):
            # Of the log itself: that of a replicate is near it.
            scale = oracle.estimate(ro.matrices(large, policy), estimator).scale
            assert off[p, e] <= 1e-12 * scale, (policy, estimator)
    assert shuffled.behavior_replicates == pytest.approx(whole.behavior_replicates, rel=1e-11)


# What must hold on any log.


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_pi_equal_to_b_gives_the_behavior_policys_replicates(gamma):
    log = ro.random_log(ro.lengths(80, 50), 21)
    log = log.with_columns(p_near=log.columns["propensity"], q_near=log.columns["v_near"])
    found = ro.evaluate(log, ("near",), estimators=oracle.WEIGHTED, gamma=gamma)
    scale = np.abs(found.behavior_replicates).mean() + 10
    assert np.abs(found.replicates[:, 0] - found.behavior_replicates[:, None]).max() < 1e-12 * scale


@pytest.mark.parametrize("method", ["percentile", "basic"])
@pytest.mark.parametrize("name", ["sntis", "snpdis"])
def test_a_constant_return_has_no_spread(name, method):
    log = ro.random_log([6] * 60, 22).with_columns(reward=np.tile([0.0, 0, 2, 0, 0, 1], 60))
    options = {"estimators": [name], "interval": "bootstrap", "method": method}
    found = ro.evaluate(log, ro.POLICIES[:2], **options)
    assert np.abs(found.replicates - 3).max() < 1e-14
    assert np.abs(found.estimates.select("ci_low", "ci_high").to_numpy() - 3).max() < 1e-14


# Intervals.


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize(("method", "level"), [("percentile", 0.9), ("basic", 0.8), ("bca", 0.95)])
def test_ends_of_intervals(method, level, alternative):
    """Quantiles are numpy's default, linear between replicates."""
    log = ro.random_log(ro.lengths(90, 5), 23)
    options = {"method": method, "confidence_level": level, "alternative": alternative}
    found = ro.evaluate(log, ro.POLICIES[:2], interval="bootstrap", n_resamples=397, **options)
    for row in found.estimates.iter_rows(named=True):
        pair = row["policy"], row["estimator"]
        psi = ro.psi_of(log, *pair)
        ends = ro.ends(row["value"], ro.drawn(found, *pair), psi, **options)
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(ends, rel=1e-8, abs=1e-9), row


@pytest.mark.parametrize("method", ["percentile", "basic", "BCa"])
def test_scipy_agrees(method):
    """Exactly on the same replicates; with its own within what chance leaves."""
    log = ro.random_log(np.ones(80, dtype=int), 24)
    options = {"interval": "bootstrap", "resampling": "multinomial", "method": method.lower()}
    found = ro.evaluate(log, ("far",), estimators=["tis", "sntis"], n_resamples=20_000, **options)
    weight = np.exp(ro.matrices(log, "far").log_weight[:, 0])
    data = (weight * log.columns["reward"], weight)

    def sntis(total: np.ndarray, w: np.ndarray, axis: int = -1) -> np.ndarray:
        return total.sum(axis=axis) / w.sum(axis=axis)

    def tis(total: np.ndarray, w: np.ndarray, axis: int = -1) -> np.ndarray:
        return total.mean(axis=axis)

    for e, statistic in enumerate((tis, sntis)):
        row = found.estimates.row(e, named=True)
        ask = functools.partial(stats.bootstrap, data, statistic, paired=True, method=method)
        theirs = ask(n_resamples=20_000, rng=np.random.default_rng(2))
        own = replace(theirs, bootstrap_distribution=found.replicates[:, 0, e])
        exact = ask(n_resamples=0, bootstrap_result=own).confidence_interval
        # Their acceleration is the jackknife's, which is ours for a plain mean.
        tolerance = 0.02 if method == "BCa" and e == 1 else 1e-9
        for end, same_draws, other_draws in zip(
            (row["ci_low"], row["ci_high"]), exact, theirs.confidence_interval, strict=True
        ):
            assert abs(end - same_draws) <= tolerance * row["standard_error"], row
            assert abs(end - other_draws) <= 0.12 * row["standard_error"], row


def ends(value: float, replicates: np.ndarray, method: str, acceleration: float = 0.0) -> tuple:
    drawn = np.asarray(replicates, dtype=float)[:, None]
    arrays = np.array([value]), drawn, np.array([acceleration])
    (low,), (high,), (note,) = _core.bootstrap_intervals(*arrays, method, 0.9, "two-sided")
    return low, high, note


def test_undefined_replicates_are_counted_and_left_out():
    x = np.random.default_rng(0).normal(size=300)
    for undefined in (0, 1, 3, 4):
        x[:undefined] = math.nan
        for method in ("percentile", "basic", "bca"):
            low, high, note = ends(0.1, x, method, 0.02)
            assert (f"{undefined} of 300" in (note or "")) == (undefined > 0)
            if undefined > 3:  # more than one in a hundred
                assert math.isnan(low)
                assert math.isnan(high)
            elif method != "bca":
                wanted = ro.ends(0.1, x, None, method, 0.9)
                assert (low, high) == pytest.approx(wanted, rel=1e-12)


def test_bca_that_is_not_defined():
    for value, acceleration in ((9.0, 0.0), (-9.0, 0.0), (0.0, math.nan)):
        low, high, note = ends(value, np.linspace(-1, 1, 50), "bca", acceleration)
        assert math.isnan(low)
        assert math.isnan(high)
        assert "bca" in note
    assert ends(2.0, np.full(50, 2.0), "bca") == (2.0, 2.0, None)


# Clusters.


BY_USER = {"episode_id": "episode_id", "cluster": "user"}


def totals(psi: np.ndarray, user: np.ndarray) -> np.ndarray:
    found = np.bincount(user, psi)
    return found[np.bincount(user) > 0]


def test_clusters_change_errors_and_no_value():
    log, user = ro.clustered()
    names = ro.POLICIES[:2]
    found = ro.evaluate(log, names, roles=BY_USER, interval="t", method="bca")
    plain = ro.evaluate(log, names)
    units = len(np.unique(user))
    kept = ["policy", "estimator", "value", "effective_sample_size", "max_weight_share"]
    assert found.estimates.select(kept).equals(plain.estimates.select(kept))
    assert found.settings["n_clusters"] == units < log.n_episodes
    for row in found.estimates.iter_rows(named=True):
        psi = totals(ro.psi_of(log, row["policy"], row["estimator"]), user)
        error = math.sqrt(units / (units - 1) * (psi**2).sum()) / log.n_episodes
        assert row["standard_error"] == pytest.approx(error, rel=1e-9), row
        ends = oracle.interval(row["value"], error, units, "t")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(ends, rel=1e-8), row


def test_clusters_are_drawn_as_one():
    for number, resampling in ((110, "poisson"), (30, "multinomial")):
        log, user = ro.clustered(number=number)
        first = np.sort(np.unique(user, return_index=True)[1])
        place = np.argsort(user[first])[np.searchsorted(np.sort(user[first]), user)]
        counts = cf.resample_weights(
            [f"user {i}" for i in user[first]], COUNT, 3, resampling=resampling
        )
        found = ro.evaluate(log, roles=BY_USER, gamma=0.9)
        assert found.settings["resampling"] == resampling
        ro.check(found, log, counts[:, place])


def test_bca_of_clusters():
    log, user = ro.clustered()
    options = {"roles": BY_USER, "interval": "bootstrap", "method": "bca", "n_resamples": 300}
    found = ro.evaluate(log, ro.POLICIES[:2], **options)
    for row in found.estimates.iter_rows(named=True):
        pair = row["policy"], row["estimator"]
        ends = ro.ends(
            row["value"], ro.drawn(found, *pair), totals(ro.psi_of(log, *pair), user), "bca"
        )
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(ends, rel=1e-8, abs=1e-9), row


def test_a_cluster_to_each_episode_is_none():
    log = ro.random_log(ro.lengths(60, 5), 26)
    log = log.with_columns(user=log.columns["episode_id"])
    options = {"interval": "bootstrap", "method": "bca", "n_resamples": 100}
    one, other = ro.evaluate(log, roles=BY_USER, **options), ro.evaluate(log, **options)
    assert same(one, other)
    assert one.estimates.equals(other.estimates)
    assert np.array_equal(one.accelerations, other.accelerations, equal_nan=True)


@pytest.mark.parametrize("interval", ["normal", "t", "bootstrap"])
def test_one_cluster_has_no_error_and_says_so(interval):
    log = ro.random_log(ro.lengths(60, 5), 27)
    log = log.with_columns(user=np.zeros(log.lengths.sum(), dtype=int))
    found = ro.evaluate(log, ("near",), roles=BY_USER, interval=interval).estimates
    assert found["standard_error"].is_nan().all()
    assert found["note"].is_not_null().all()


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([1, 1, 2, 1, 3], "1 of 5 rows have another cluster .* first at row 3"),
        (["a", "a", "b", "c", "d"], "1 of 5 rows have another cluster .* first at row 3"),
        ([1, 1, None, 2, 3], "1 of 5 values are null or NaN, first at row 2"),
        (["a", None, "b", "b", None], "2 of 5 values are null or NaN, first at row 1"),
        ([1.0, 1.0, 2.0, 2.0, 3.0], "cast it to integers"),
        ([[1]] * 5, "cast it to integers or text"),
    ],
)
def test_what_is_no_cluster(users, message):
    frame = {"action": [0] * 5, "reward": [1.0] * 5, "propensity": [0.5] * 5}
    frame = pl.DataFrame(frame | {"episode_id": [1, 1, 2, 2, 3], "user": users})
    with pytest.raises(cf.InvalidLogError, match=message) as error:
        cf.LoggedData.from_frame(frame, **BY_USER)
    assert '"user"' in str(error.value)


# Files.


def test_files_and_pickles_keep_replicates(tmp_path):
    whole = ro.evaluate(ro.random_log(ro.lengths(9, 7), 28), n_resamples=100, resampling="poisson")
    assert np.isnan(whole.replicates).any()
    whole.to_parquet(tmp_path / "evaluation.parquet")
    read = cf.Evaluation.from_parquet(tmp_path / "evaluation.parquet")
    for again in (read, pickle.loads(pickle.dumps(whole))):
        assert same(again, whole)
        assert again.replicates.shape == whole.replicates.shape
        assert again.settings == whole.settings
        pair = [x.compare("near", "far", "sndr") for x in (again, whole)]
        assert pair[0].equals(pair[1])
