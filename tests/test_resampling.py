"""How often an episode counts in a replicate: the recipe, golden numbers, and the distribution."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import counterfolio as cf
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import resampling_oracle as oracle
from counterfolio import _core
from scipy import stats

GOLDEN = json.loads((Path(__file__).parent / "goldens/resample_weights.json").read_text("utf-8"))
EXTREMES = [0, 1, -1, 2**31, -(2**31), 2**63 - 1, -(2**63), 123_456_789_012_345]
TEXTS = ["", "a", "ep-17", "user 9", "naïve", "エピソード-1", "🙂" * 40, "x" * 3_000]
SEEDS = [0, 7, 2**32, 2**63, 2**64 - 1]


def weights(ids: object, n_resamples: int = 40, seed: int = 7, **options) -> np.ndarray:
    return cf.resample_weights(ids, n_resamples, seed, **options)


# The recipe.


def test_golden_numbers():
    """Of the package, by kinds of id, and of the oracle."""
    ids, seed, wanted = GOLDEN["ids"], GOLDEN["seed"], np.array(GOLDEN["multiplicities"])
    assert oracle.poisson(ids, len(wanted), seed).tolist() == wanted.tolist()
    assert oracle.thresholds() == GOLDEN["thresholds"]
    assert list(map(str, map(oracle.hash_id, ids))) == GOLDEN["hashes"]
    for kind in (int, str):
        places = [i for i, x in enumerate(ids) if isinstance(x, kind)]
        found = weights([ids[i] for i in places], len(wanted), seed)
        assert found.tolist() == wanted[:, places].tolist()


def test_hashes_of_text():
    """Every length that the algorithm treats in its own way, and both sides of each border."""
    lengths = [*range(20), 31, 32, 33, 64, 65, 96, 97, 127, 128, 129, 144, 160, 239, 240, 241]
    lengths += [255, 256, 257, 1_023, 1_024, 1_025, 1_088, 1_089, 2_048, 2_049, 5_000]
    rng = np.random.default_rng(0)
    texts = ["".join(map(chr, rng.integers(32, 127, n))) for n in lengths] + TEXTS
    assert _core.hash_text(texts).tolist() == [oracle.hash_text(x) for x in texts]
    assert oracle.hash_text("") == 0x2D06800538D394C2  # as published


IDS = {
    "int64": np.array(EXTREMES),
    "int8": np.array([-128, -1, 0, 127], dtype=np.int8),
    "uint32": np.array([0, 2**32 - 1], dtype=np.uint32),
    "uint64": np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64),
    "list": EXTREMES,
    "polars": pl.Series(EXTREMES),
    "pandas": pd.Series(EXTREMES, index=range(5, 13)),
    "pyarrow chunks": pa.chunked_array([EXTREMES[:3], [], EXTREMES[3:]], type=pa.int64()),
    "text": TEXTS,
    "objects": np.array(TEXTS, dtype=object),
    "fixed width": np.array(["a", "bc", "é"]),
    "polars text": pl.Series(TEXTS),
    "pandas text": pd.Series(TEXTS),
    "large text": pa.array(TEXTS, type=pa.large_string()),
    "text chunks": pa.chunked_array([TEXTS[5:], TEXTS[:5]]),
    "flags": pl.Series([True, False]),
    "days": pl.Series([0, 1, 20_000, -9]).cast(pl.Date),
    "categories": pl.Series(TEXTS, dtype=pl.Categorical),
    "enum": pl.Series(TEXTS[::-1], dtype=pl.Enum(TEXTS)),
    "pandas categories": pd.Series(TEXTS, dtype="category"),
    "dictionary": pa.array(TEXTS).dictionary_encode(),
    "categories of integers": pd.Series([5, -7, 5, 900], dtype="category"),
    "dictionary of integers": pa.array([5, -7, 5, 900]).dictionary_encode(),
    "more than a block": [f"user-{i}" for i in range(1_100)],
}


def plain(ids: object) -> list[int | str]:
    if isinstance(ids, pl.Series) and ids.dtype == pl.Date:
        return ids.to_physical().to_list()
    values = ids.to_pylist() if isinstance(ids, pa.Array | pa.ChunkedArray) else list(ids)
    return [x if isinstance(x, str) else int(x) for x in values]


@pytest.mark.parametrize("kind", IDS)
def test_poisson_draws_follow_the_recipe(kind):
    found = weights(IDS[kind])
    assert found.dtype == np.int32
    assert found.tolist() == oracle.poisson(plain(IDS[kind]), 40, 7).tolist()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_resamples", [1, 7, 8, 9, 33])
def test_seeds_and_numbers_of_replicates(seed, n_resamples):
    """Eight replicates come of one block of random bits, also where fewer are asked for."""
    found = weights(EXTREMES, n_resamples, seed)
    assert found.shape == (n_resamples, len(EXTREMES))
    assert found.tolist() == oracle.poisson(EXTREMES, n_resamples, seed).tolist()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("n", "n_resamples"), [(1, 3), (2, 8), (3, 1), (50, 9), (1_025, 17)])
def test_multinomial_draws_follow_the_recipe(n, n_resamples, seed):
    found = weights(n, n_resamples, seed, resampling="multinomial")
    assert found.dtype == np.int32
    assert found.tolist() == oracle.multinomial(n, n_resamples, seed).tolist()
    assert (found.sum(axis=1) == n).all()


def test_a_number_stands_for_episodes_without_ids():
    for n in (1, 8, np.int64(77)):
        for resampling in ("poisson", "multinomial"):
            wanted = weights(np.arange(n), resampling=resampling)
            assert weights(n, resampling=resampling).tolist() == wanted.tolist()


# What draws do not depend on.


@pytest.mark.parametrize("resampling", ["poisson", "multinomial"])
def test_more_replicates_extend_the_earlier_ones(resampling):
    ids = np.arange(300) * 31
    long = weights(ids, 1_000, resampling=resampling)
    for n_resamples in (1, 3, 500, 999):
        found = weights(ids, n_resamples, resampling=resampling)
        assert np.array_equal(found, long[:n_resamples]), n_resamples


def test_the_order_of_ids_changes_no_poisson_draw():
    ids = [f"user-{i}" for i in range(700)]
    order = np.random.default_rng(3).permutation(700)
    shuffled = [ids[i] for i in order]
    assert np.array_equal(weights(shuffled), weights(ids)[:, order])
    assert np.array_equal(weights(ids[100:200]), weights(ids)[:, 100:200])


def test_multinomial_draws_depend_on_place_alone():
    one, two = (weights(ids, resampling="multinomial") for ids in (["a", "b", "c"], [9, 5, 7]))
    assert np.array_equal(one, two)


# The distribution.

N, REPLICATES = 1_000, 1_000
#: A test fails by chance once in so many seeds, and the seeds are fixed.
UNLIKELY = 1e-4


def sample(resampling: str, seed: int) -> np.ndarray:
    return weights(N, REPLICATES, seed, resampling=resampling)


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_poisson_counts(seed):
    """The mean, the variance and every probability of Poisson(1), of a million draws."""
    drawn = sample("poisson", seed).ravel()
    total = drawn.size
    assert abs(drawn.mean() - 1) < 4 / math.sqrt(total)
    # The fourth central moment of Poisson(1) is 4, so that of the variance is 3 / total.
    assert abs(drawn.var() - 1) < 4 * math.sqrt(3 / total)
    law = stats.poisson(1)
    wanted = np.append(law.pmf(range(7)), law.sf(6)) * total
    counts = np.bincount(np.minimum(drawn, 7), minlength=8)
    assert stats.chisquare(counts, wanted).pvalue > UNLIKELY


@pytest.mark.parametrize(
    ("resampling", "axis"), [("poisson", 0), ("poisson", 1), ("multinomial", 0)]
)
def test_totals_scatter_as_they_should(resampling, axis):
    """Sums over replicates by episode, and over episodes by replicate: neither one nor the other
    may be steadier or wilder than chance."""
    totals = sample(resampling, 4).sum(axis=axis)
    spread = ((totals - N) ** 2).sum() / N
    # A grand total that is fixed takes one degree of freedom.
    tail = stats.chi2(N - (resampling == "multinomial"))
    assert UNLIKELY < tail.cdf(spread) < 1 - UNLIKELY


@pytest.mark.parametrize("resampling", ["poisson", "multinomial"])
@pytest.mark.parametrize("transposed", [False, True], ids=["replicates", "episodes"])
def test_draws_are_uncorrelated(resampling, transposed):
    """No pair of replicates, and no pair of episodes (whose ids are neighbors), goes together."""
    drawn = sample(resampling, 5)
    rows = drawn.T if transposed else drawn
    found = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    if resampling == "multinomial" and transposed:
        found = found + 1 / (N - 1)
    scores = found * math.sqrt(rows.shape[1])
    # Of half a million standard normal scores.
    assert abs(scores.mean()) < 5 / math.sqrt(len(scores))
    assert abs(scores.std() - 1) < 0.01
    assert np.abs(scores).max() < 6


@pytest.mark.parametrize("distance", [1, 2, 3, 4, 7, 8, 16])
def test_replicates_near_each_other_are_independent(distance):
    """Not their correlation only: whole tables of how often one count meets another."""
    drawn = np.minimum(sample("poisson", 6), 3)
    for one, two in ((drawn[:-distance], drawn[distance:]), (drawn[:, :-1], drawn[:, 1:])):
        table = np.bincount((4 * one + two).ravel(), minlength=16).reshape(4, 4)
        assert stats.chi2_contingency(table).pvalue > UNLIKELY


@pytest.mark.parametrize("resampling", ["poisson", "multinomial"])
def test_other_seeds_draw_otherwise(resampling):
    """Two independent draws agree with the probability that two Poisson counts do."""
    drawn = [sample(resampling, seed) for seed in (0, 1, 2**32, 2**63, 2**64 - 1)]
    same = float(np.exp(-2) * np.i0(2))
    for one, two in pairwise([*drawn, drawn[0]]):
        assert (one == two).mean() == pytest.approx(same, abs=0.005)


# Refusals.


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("n_resamples", [0, -1, 1.5, 2.0, True, None, "10", math.nan], "whole number of 1 or more"),
        ("seed", [-1, 2**64, 0.5, 1.0, True, None, "0"], "whole number from 0 to 2.64 - 1"),
        ("resampling", ["possion", "Poisson", "", None, 1, ["poisson"]], '"poisson"'),
    ],
)
def test_wrong_arguments(name, wrong, message):
    for value in wrong:
        arguments = {"episode_ids": 3, "n_resamples": 1, "seed": 0, name: value}
        with pytest.raises(cf.InvalidArgumentError, match=message):
            cf.resample_weights(**arguments)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", None], "1 of 2 values are null"),
        (pl.Series([1, None, None]), "2 of 3 values are null"),
        (pd.Series([1.0, math.nan]), "null"),
        ([1, "a"], "give all of them one type"),
        ([1.0, 2.0], "integers or text"),
        (np.array([1.5]), "integers or text"),
        ([b"a"], "integers or text"),
        ([[1], [2]], "integers or text"),
        (1.5, "episode_ids"),
        ("abc", "episode_ids"),
    ],
)
def test_what_cannot_name_episodes(ids, message):
    with pytest.raises(cf.InvalidLogError, match=message) as error:
        cf.resample_weights(ids, 2, 0)
    assert '"episode_ids"' in str(error.value)


@pytest.mark.parametrize("n", [-1, -(10**6)])
def test_fewer_episodes_than_none(n):
    with pytest.raises((cf.InvalidArgumentError, cf.InvalidLogError), match="episode_ids"):
        cf.resample_weights(n, 2, 0)


def call(function: str) -> subprocess.Popen:
    """Start a function of this module in a new interpreter."""
    command = [sys.executable, "-c", f"import test_resampling as t; t.{function}"]
    pipe, folder = subprocess.PIPE, Path(__file__).parent
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def too_many(n_resamples: int) -> None:
    try:
        cf.resample_weights(1_024, n_resamples, 0)
    except (MemoryError, OverflowError, cf.InvalidArgumentError):
        print("refused")


@pytest.mark.parametrize("n_resamples", [2**45, 2**62])
def test_more_draws_than_any_memory_holds(n_resamples):
    """Said as an error: neither does the interpreter die, nor is the number taken for another."""
    with call(f"too_many({n_resamples})") as process:
        out, err = process.communicate(timeout=60)
    assert out == "refused\n", err[:2_000]


# In an evaluation.


def logged(n: int, **columns: object) -> cf.LoggedData:
    rng = np.random.default_rng(0)
    arrays = {name: rng.uniform(0.2, 1, n) for name in ("reward", "propensity", "p")}
    roles = {name: name for name in columns}
    return cf.LoggedData.from_frame({"action": np.zeros(n, np.int8), **arrays, **columns}, **roles)


def test_few_units_are_drawn_with_replacement():
    users = np.arange(100) % 49
    for log, wanted in (
        (logged(49), "multinomial"),
        (logged(50), "poisson"),
        (logged(100, cluster=users), "multinomial"),
        (logged(100, cluster=users + (users == 48) * np.arange(100)), "poisson"),
    ):
        for given in (None, "poisson", "multinomial"):
            found = cf.evaluate(log, {"p": "p"}, n_resamples=5, resampling=given)
            assert found.settings["resampling"] == (given or wanted)


def test_settings_hold_what_was_used():
    log = logged(60)
    plain = cf.evaluate(log, {"p": "p"})
    assert plain.replicates is plain.behavior_replicates is None
    assert {plain.settings[k] for k in ("seed", "resampling", "method")} == {None}
    assert plain.settings["n_resamples"] == 0
    first = cf.evaluate(log, {"p": "p"}, interval="bootstrap")
    assert first.settings["n_resamples"] == len(first.replicates) == 1_000
    assert first.settings["method"] == "percentile"
    other = cf.evaluate(log, {"p": "p"}, interval="bootstrap")
    assert first.settings["seed"] != other.settings["seed"]
    assert not np.array_equal(first.replicates, other.replicates)
    again = cf.evaluate(log, {"p": "p"}, interval="bootstrap", seed=first.settings["seed"])
    assert again.estimates.equals(first.estimates)
    assert np.array_equal(again.replicates, first.replicates)


def test_counts_of_an_evaluation_are_those_of_resample_weights():
    for seed in SEEDS:
        log = logged(60, episode_id=[f"e{i}" for i in range(60)])
        found = cf.evaluate(log, {"p": "p"}, n_resamples=20, seed=seed).behavior_replicates
        counts = weights([f"e{i}" for i in range(60)], 20, seed)
        returns = log.column("reward").to_numpy()
        assert found == pytest.approx(counts @ returns / counts.sum(axis=1), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_resamples": 0, "interval": "bootstrap"}, "n_resamples must be 1 or more"),
        ({"n_resamples": -1}, "n_resamples must be a whole number from 0 to 10,000,000, not -1"),
        ({"seed": 2**64}, "seed must be a whole number from 0"),
        ({"method": "BCa"}, "unknown method"),
        ({"resampling": "bayesian"}, "unknown resampling"),
    ],
)
def test_refused_by_evaluate(options, message):
    with pytest.raises(cf.InvalidArgumentError, match=message):
        cf.evaluate(logged(3), {"p": "p"}, **options)


def interrupted(num_threads: int) -> None:
    log = logged(200_000)
    print("ready", flush=True)
    try:
        cf.evaluate(log, {"p": "p"}, n_resamples=10**7, seed=0, num_threads=num_threads)
    except KeyboardInterrupt:
        print("interrupted", flush=True)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("num_threads", [1, 2])
def test_ctrl_c(num_threads):
    """The work would take an hour: whoever returns before has been interrupted."""
    with call(f"interrupted({num_threads})") as process:
        try:
            assert process.stdout.readline() == "ready\n"
            threading.Event().wait(0.5)  # well inside
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert out == "interrupted\n", err


def status(field: str) -> int:
    text = Path("/proc/self/status").read_text("ascii")
    return 1024 * int(text.split(f"{field}:")[1].split()[0])


def measure(n: int) -> None:
    """Print by how much the peak of memory rises, beside the replicates."""
    log = logged(n)
    cf.evaluate(log, {"p": "p"}, n_resamples=100, seed=0, num_threads=2)
    before = status("VmHWM")
    found = cf.evaluate(log, {"p": "p"}, ["tis", "sntis"], n_resamples=n, seed=0, num_threads=2)
    print(status("VmHWM") - before - found.replicates.nbytes)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_matrix_of_counts_never_exists_whole():
    """It would take 1.6 GB."""
    with call("measure(20_000)") as process:
        out, err = process.communicate(timeout=60)
    assert int(out or 10**9) < 32 << 20, err
