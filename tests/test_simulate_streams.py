"""Seeds of episodes, and the random numbers that belong to them."""

from __future__ import annotations

from itertools import pairwise

import counterfolio as cf
import numpy as np
import pytest
from counterfolio import simulate
from counterfolio.simulate import EpisodeRandom
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 2**64 - 1), st.integers(1, 3000))
def test_seeds_differ_and_begin_alike(seed, n):
    seeds = simulate.episode_seeds(seed, n)
    assert len(np.unique(seeds)) == n
    assert seeds.max() < 2**32
    assert np.array_equal(simulate.episode_seeds(seed, n + 10)[:n], seeds)


def test_seeds_of_other_seeds_are_others():
    seeds = [set(simulate.episode_seeds(seed, 20_000).tolist()) for seed in range(3)]
    # As many in common as chance makes of 2^32.
    assert all(len(a & b) < 10 for a, b in pairwise(seeds))
    assert len(seeds[0]) == 20_000


def test_numbers_are_distributed_as_they_say():
    from scipy import stats

    rng = EpisodeRandom(np.arange(400), 2, "test")
    n = 400 * 50
    for found, wanted in (
        (rng.random((400, 50)), stats.uniform()),
        (rng.uniform(-1, 3, (400, 50)), stats.uniform(-1, 4)),
        (rng.standard_normal((400, 50)), stats.norm()),
        (rng.normal(2, 3, (400, 50)), stats.norm(2, 3)),
        (rng.exponential(2, (400, 50)), stats.expon(scale=2)),
        (rng.standard_gamma(0.7, (400, 50)), stats.gamma(0.7)),
        (rng.gamma(np.full((400, 50), 40.0), 0.5), stats.gamma(40, scale=0.5)),
    ):
        assert found.shape == (400, 50)
        assert stats.kstest(found.ravel(), wanted.cdf).pvalue > 1e-3
    counts = np.bincount(rng.integers(3, 9, (400, 50)).ravel())
    assert counts[:3].sum() == 0
    assert stats.chisquare(counts[3:]).pvalue > 1e-3
    assert counts.sum() == n


def test_neighbouring_streams_are_independent():
    """Of seeds, steps, purposes and calls that are next to each other."""
    base = EpisodeRandom(np.arange(3000), 0, "a").random(3000)
    others = {
        "seed": EpisodeRandom(np.arange(1, 3001), 0, "a").random(3000),
        "step": EpisodeRandom(np.arange(3000), 1, "a").random(3000),
        "purpose": EpisodeRandom(np.arange(3000), 0, "b").random(3000),
    }
    rng = EpisodeRandom(np.arange(3000), 0, "a")
    rng.random(3000)
    others["call"] = rng.random(3000)
    for name, other in others.items():
        assert abs(np.corrcoef(base, other)[0, 1]) < 4 / np.sqrt(3000), name


def test_sizes_that_have_no_rows_are_refused():
    rng = EpisodeRandom(np.arange(3), 0, "a")
    for call in (
        rng.random,
        lambda: rng.random(4),
        lambda: rng.normal(0, 1),
        lambda: rng.choice(3),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=r"episodes"):
            call()
