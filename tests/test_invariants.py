"""What must hold on any log: properties of the estimators, and the same bits however rows arrive.

Hypothesis draws the shape of a log (lengths of episodes, seed, discount, chunks) and shrinks that;
the numbers in it come from the seed.
"""

from __future__ import annotations

import counterfolio as cf
import mdp
import numpy as np
import oracle
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

LENGTHS = st.lists(st.integers(1, 7), min_size=2, max_size=12)
SEEDS = st.integers(0, 2**32 - 1)
GAMMAS = st.sampled_from([1.0, 0.95, 0.5, 0.01])
CUTS = st.lists(st.integers(0, 10_000), max_size=4)
POLICY = cf.PolicyColumns(prob="p", q="q", v="v")


def table(lengths: list[int] | np.ndarray, seed: int, ids: str = "string") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths)
    n = int(lengths.sum())
    return {
        "episode_id": mdp.row_ids(lengths, ids),
        "timestep": np.concatenate([np.arange(length) for length in lengths]),
        "action": rng.integers(0, 3, n),
        "reward": rng.normal(0.5, 2.0, n),
        "propensity": rng.uniform(0.05, 1.0, n),
        "p": rng.uniform(0.01, 1.0, n),
        "q": rng.normal(size=n),
        "v": rng.normal(size=n),
    }


def evaluate(columns: object, **options) -> pl.DataFrame:
    frame = pl.DataFrame(columns) if isinstance(columns, dict) else columns
    log = cf.LoggedData.from_frame(frame, episode_id="episode_id", timestep="timestep")
    options = {"estimators": oracle.NAMES, **options}
    return cf.evaluate(log, {"new": POLICY}, **options).estimates


def rows(estimates: pl.DataFrame) -> dict[str, dict]:
    return {row["estimator"]: row for row in estimates.iter_rows(named=True)}


def scales(columns: dict[str, np.ndarray], gamma: float) -> dict[str, tuple[float, float]]:
    """The sums of absolute terms that rounding is relative to, of values and of standard errors."""
    roles = ("episode_id", "reward", "propensity", "p", "q", "v")
    log = oracle.dense(*(columns[role] for role in roles))
    found = {name: oracle.estimate(log, name, gamma) for name in oracle.NAMES}
    found["on_policy"] = oracle.behavior(log, gamma)
    return {name: (estimate.scale, estimate.error_scale) for name, estimate in found.items()}


def bits(estimates: pl.DataFrame) -> dict[str, list]:
    """Floats as their bit patterns: 0.0 is not -0.0, and NaN is itself."""
    return {
        name: [None if x is None else x.hex() for x in column]
        if column.dtype == pl.Float64
        else column.to_list()
        for name, column in estimates.to_dict().items()
    }


# Properties of the estimators.


@given(LENGTHS, SEEDS, GAMMAS)
def test_pi_equal_to_b_gives_the_on_policy_mean(lengths, seed, gamma):
    """With q = v, as where the action does not matter; otherwise dr keeps q's noise, rightly."""
    columns = table(lengths, seed)
    columns |= {"p": columns["propensity"], "q": columns["v"]}
    found, scale = rows(evaluate(columns, gamma=gamma)), scales(columns, gamma)
    truth = found["on_policy"]
    for name in oracle.WEIGHTED:
        assert abs(found[name]["value"] - truth["value"]) <= 1e-13 * scale[name][0], name
        error = abs(found[name]["standard_error"] - truth["standard_error"])
        assert error <= 1e-12 * scale[name][1], name
        n = len(lengths)
        assert found[name]["effective_sample_size"] == pytest.approx(n, rel=1e-13), name
        assert found[name]["max_weight_share"] == pytest.approx(1 / n, rel=1e-13), name


@given(LENGTHS, SEEDS, GAMMAS, st.sampled_from([-3.0, 1e-9, 0.1, 1e12]))
def test_scaling_rewards_scales_values_and_errors(lengths, seed, gamma, factor):
    columns = table(lengths, seed)
    scale = scales(columns, gamma)
    scaled = columns | {role: factor * columns[role] for role in ("reward", "q", "v")}
    before, after = rows(evaluate(columns, gamma=gamma)), rows(evaluate(scaled, gamma=gamma))
    for name, (size, error_size) in scale.items():
        old, new = before[name], after[name]
        assert abs(new["value"] - factor * old["value"]) <= 1e-11 * abs(factor) * size
        error = abs(new["standard_error"] - abs(factor) * old["standard_error"])
        assert error <= 1e-11 * abs(factor) * error_size
        for field in ("effective_sample_size", "max_weight_share"):
            assert new[field] == old[field], (name, field)


@given(st.integers(1, 7), st.integers(2, 12), SEEDS, GAMMAS, st.sampled_from([-5.0, 0.25, 100.0]))
def test_constant_added_to_rewards_of_fixed_length_logs(length, n, seed, gamma, constant):
    columns = table([length] * n, seed)
    shifted = columns | {"reward": columns["reward"] + constant}
    before, after = rows(evaluate(columns, gamma=gamma)), rows(evaluate(shifted, gamma=gamma))
    added = constant * (gamma ** np.arange(length)).sum()
    scale = scales(shifted, gamma)
    for name in (*oracle.SELF_NORMALISED, "on_policy"):
        change = after[name]["value"] - before[name]["value"]
        assert abs(change - added) <= 1e-11 * (scale[name][0] + abs(added)), name


@given(LENGTHS, SEEDS, GAMMAS)
def test_duplicating_every_episode_leaves_values(lengths, seed, gamma):
    """The same influence values twice: sums of squares double, n (n - 1) becomes 2 n (2 n - 1)."""
    columns, n = table(lengths, seed), len(lengths)
    twice = {name: np.concatenate([column, column]) for name, column in columns.items()}
    twice["episode_id"] = mdp.row_ids(np.array([*lengths, *lengths]))
    before, after = rows(evaluate(columns, gamma=gamma)), rows(evaluate(twice, gamma=gamma))
    for name, (size, error_size) in scales(columns, gamma).items():
        old, new = before[name], after[name]
        assert abs(new["value"] - old["value"]) <= 1e-12 * size, name
        error = old["standard_error"] * np.sqrt((n - 1) / (2 * n - 1))
        assert abs(new["standard_error"] - error) <= 1e-11 * error_size, name
        if name != "dm":
            doubled = 2 * old["effective_sample_size"]
            assert new["effective_sample_size"] == pytest.approx(doubled, rel=1e-12), name
            halved = old["max_weight_share"] / 2
            assert new["max_weight_share"] == pytest.approx(halved, rel=1e-12), name


@given(LENGTHS, SEEDS, GAMMAS, st.randoms(use_true_random=False))
def test_order_of_episodes_changes_rounding_only(lengths, seed, gamma, random):
    columns = table(lengths, seed)
    order = list(range(len(lengths)))
    random.shuffle(order)
    shuffled = mdp.Log(np.array(lengths), columns).take(np.array(order)).columns
    before, after = rows(evaluate(columns, gamma=gamma)), rows(evaluate(shuffled, gamma=gamma))
    for name, (size, error_size) in scales(columns, gamma).items():
        old, new = before[name], after[name]
        assert abs(new["value"] - old["value"]) <= 1e-12 * size, name
        error = abs(new["standard_error"] - old["standard_error"])
        assert error <= 1e-12 * error_size, name


@given(LENGTHS, SEEDS, st.integers(1, 1000), st.randoms(use_true_random=False))
def test_what_does_not_matter_does_not_matter(lengths, seed, gap, random):
    """The order of columns, the values of ids, and where timesteps begin or how far they jump."""
    columns = table(lengths, seed)
    before = evaluate(columns, gamma=0.9).drop("note")
    names = list(columns)
    random.shuffle(names)
    other = {name: columns[name] for name in names} | {"unused": columns["q"] * np.nan}
    other["episode_id"] = mdp.row_ids(np.array(lengths), "integer")
    other["timestep"] = columns["timestep"] * gap - 5
    # A gap in the timesteps may be noted; it discounts nothing.
    assert bits(evaluate(other, gamma=0.9).drop("note")) == bits(before)


@given(LENGTHS, LENGTHS, SEEDS, GAMMAS)
def test_whole_log_is_the_weighted_mean_of_its_parts(first, second, seed, gamma):
    whole = mdp.Log(np.array([*first, *second]), table([*first, *second], seed))
    head = whole.take(np.arange(len(first)))
    tail = whole.take(np.arange(len(first), len(first) + len(second)))
    all_of, one, two = (rows(evaluate(log.columns, gamma=gamma)) for log in (whole, head, tail))
    scale = scales(whole.columns, gamma)
    for name in ("dm", "tis", "pdis", "dr", "on_policy"):
        sums = len(first) * one[name]["value"] + len(second) * two[name]["value"]
        value = sums / (len(first) + len(second))
        assert abs(all_of[name]["value"] - value) <= 1e-12 * scale[name][0], name


@given(LENGTHS, SEEDS, GAMMAS)
def test_dense_arrays_come_down_to_prob_q_and_v(lengths, seed, gamma):
    columns = table(lengths, seed)
    rng = np.random.default_rng(seed)
    n = len(columns["action"])
    probs = rng.dirichlet(np.ones(3), n)
    values = rng.normal(size=(n, 3))
    logged = (np.arange(n), columns["action"])
    columns |= {"p": probs[logged], "q": values[logged], "v": (probs * values).sum(axis=1)}
    log = cf.LoggedData.from_frame(
        pl.DataFrame(columns), episode_id="episode_id", timestep="timestep"
    )
    policies = {"new": POLICY, "dense": cf.PolicyColumns(action_probs=probs, q_values=values)}
    estimates = cf.evaluate(log, policies, estimators=oracle.NAMES, gamma=gamma).estimates
    flat, dense = (rows(estimates.filter(pl.col("policy") == name)) for name in policies)
    for name, (size, error_size) in scales(columns, gamma).items():
        if name != "on_policy":
            assert abs(flat[name]["value"] - dense[name]["value"]) <= 1e-13 * size, name
            error = abs(flat[name]["standard_error"] - dense[name]["standard_error"])
            assert error <= 1e-13 * error_size, name


# The same bits for any chunking and any number of threads.


def polars_frame(columns: dict[str, np.ndarray], cuts: list[list[int]]) -> pl.DataFrame:
    """Each column in its own chunks."""
    series = []
    for index, (name, values) in enumerate(columns.items()):
        whole = pl.Series(name, values)
        bounds = mdp.chunk_bounds(len(whole), cuts[index % len(cuts)])
        parts = [whole[low:high] for low, high in bounds]
        series.append(pl.concat(parts, rechunk=False))
    return pl.DataFrame(series)


def arrow_table(columns: dict[str, np.ndarray], cuts: list[list[int]]) -> pa.Table:
    """The same with pyarrow: slices with an offset, and empty chunks are kept."""
    arrays = {}
    for index, (name, values) in enumerate(columns.items()):
        whole = pa.array(values)
        bounds = mdp.chunk_bounds(len(whole), cuts[index % len(cuts)])
        chunks = [whole.slice(low, high - low) for low, high in bounds]
        arrays[name] = pa.chunked_array(chunks, type=whole.type)
    return pa.table(arrays)


@given(LENGTHS, SEEDS, st.lists(CUTS, min_size=1, max_size=8), st.sampled_from(["polars", "arrow"]))
@example([1, 2], 0, [[], [1], [1, 1, 2]], "arrow")
def test_any_chunking_gives_the_same_bits(lengths, seed, cuts, library):
    columns = table(lengths, seed)
    build = polars_frame if library == "polars" else arrow_table
    chunked = build(columns, cuts)
    before = chunked.n_chunks("all") if library == "polars" else None
    assert bits(evaluate(chunked, gamma=0.9)) == bits(evaluate(columns, gamma=0.9))
    if before is not None:
        assert chunked.n_chunks("all") == before, "the user's frame was rechunked"


@pytest.fixture(scope="module")
def long_table() -> dict[str, np.ndarray]:
    """Enough rows for several threads, enough episodes for many blocks of 1,024."""
    lengths = np.random.default_rng(0).integers(1, 40, 6_000)
    assert lengths.sum() > 100_000
    return table(lengths, seed=1, ids="integer")


@pytest.mark.parametrize("threads", [1, 2, 3, None])
@pytest.mark.parametrize(
    "cuts",
    [
        [[]],
        [[50_000]],
        [[10, 60_001, 99_999], [77_777], []],
        [list(range(0, 110_000, 997)), list(range(5, 110_000, 1_024)), [1, 2, 3]],
    ],
    ids=["whole", "two", "misaligned", "many"],
)
def test_threads_and_chunks_of_a_long_log(long_table, threads, cuts):
    expected = bits(evaluate(long_table, gamma=0.97, num_threads=1))
    for build in (polars_frame, arrow_table):
        chunked = build(long_table, cuts)
        assert bits(evaluate(chunked, gamma=0.97, num_threads=threads)) == expected, build.__name__


def test_contrasts_do_not_depend_on_threads(long_table):
    found = []
    for threads in (1, 2, 3):
        log = cf.LoggedData.from_frame(
            pl.DataFrame(long_table), episode_id="episode_id", timestep="timestep"
        )
        policies = {"new": POLICY, "plain": cf.PolicyColumns(prob="propensity", q="q", v="v")}
        evaluation = cf.evaluate(
            log, policies, estimators=oracle.NAMES, gamma=0.97, num_threads=threads
        )
        pairs = [evaluation.compare("new", "plain", estimator=name) for name in oracle.NAMES]
        found.append([bits(pair) for pair in pairs])
    assert found[0] == found[1] == found[2]


def test_sources_agree(long_table, tmp_path):
    """polars, pyarrow, a stream of record batches, a dict of arrays and Parquet: one answer."""
    expected = bits(evaluate(long_table))
    frame = pl.DataFrame(long_table)
    batches = frame.to_arrow().to_batches(max_chunksize=7_001)
    frame.write_parquet(tmp_path / "log.parquet", row_group_size=9_000)
    keys = {"episode_id": "episode_id", "timestep": "timestep"}
    logs = {
        "stream": cf.LoggedData.from_frame(
            pa.RecordBatchReader.from_batches(batches[0].schema, batches), **keys
        ),
        "batch": cf.LoggedData.from_frame(frame.rechunk().to_arrow().to_batches()[0], **keys),
        "dict": cf.LoggedData.from_frame(long_table, **keys),
        "pandas": cf.LoggedData.from_frame(frame.to_pandas(), **keys),
        "parquet": cf.read_parquet(tmp_path / "log.parquet", **keys),
    }
    logs["dict"].to_parquet(tmp_path / "again.parquet")
    logs["again"] = cf.read_parquet(tmp_path / "again.parquet", **keys)
    for name, log in logs.items():
        found = cf.evaluate(log, {"new": POLICY}, estimators=oracle.NAMES).estimates
        assert bits(found) == expected, name
        assert (log.n_rows, log.n_episodes) == (frame.height, 6_000), name


@given(LENGTHS, SEEDS)
def test_evaluation_survives_parquet(tmp_path_factory, lengths, seed):
    log = cf.LoggedData.from_frame(
        pl.DataFrame(table(lengths, seed)), episode_id="episode_id", timestep="timestep"
    )
    evaluation = cf.evaluate(log, {"new": POLICY}, estimators=oracle.NAMES, gamma=0.95)
    path = tmp_path_factory.mktemp("evaluation") / "evaluation.parquet"
    evaluation.to_parquet(path)
    read = cf.Evaluation.from_parquet(path)
    assert bits(read.estimates) == bits(evaluation.estimates)
    assert read.settings == evaluation.settings
