"""Logs that are written as they are collected."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import counterfolio as cf
import polars as pl
import pytest
from counterfolio import policies as pi
from counterfolio.simulate import Basic
from simulate_worlds import ENVIRONMENTS, frame, softmax


def test_written_batch_by_batch_it_is_the_same_log(tmp_path):
    env, policy = ENVIRONMENTS["Basic"]
    direct = cf.collect(env, policy, 50, seed=1)
    written = cf.collect(env, policy, 50, seed=1, num_envs=8, path=tmp_path / "log.parquet")
    again = cf.read_parquet(tmp_path / "log.parquet")
    for log in (written, again):
        assert frame(log).equals(frame(direct))
        assert log.roles == direct.roles
        assert log.propensity_source == "logged"
    assert [p.name for p in tmp_path.iterdir()] == ["log.parquet"]
    several = {"a": policy, "b": softmax(5, 10, 2.0)}
    direct = cf.collect(env, several, 20, seed=1)
    written = cf.collect(env, several, 20, seed=1, num_envs=8, path=tmp_path / "two.parquet")
    assert (
        frame(written)
        .with_columns(pl.col("logger").cast(pl.String))
        .equals(frame(direct).with_columns(pl.col("logger").cast(pl.String)))
    )
    assert written.balanced().n_episodes == 20


def test_a_run_that_is_stopped_leaves_no_file(tmp_path):
    calls = []

    class Stops(pi.Uniform):
        def action_probs(self, states):
            calls.append(1)
            if len(calls) > 30:
                raise KeyboardInterrupt
            return super().action_probs(states)

    with pytest.raises(KeyboardInterrupt):
        cf.collect(Basic(), Stops(10), 50, seed=1, num_envs=8, path=tmp_path / "log.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_holds_one_batch(tmp_path):
    """Peak memory of the writing does not grow with the number of episodes."""
    program = textwrap.dedent(
        """
        import resource, sys
        import counterfolio as cf
        from counterfolio.simulate import collection
        collection.read_parquet = lambda path: None  # what is returned is not what is measured
        n = int(sys.argv[1])
        cf.collect(cf.simulate.Basic(), cf.policies.Uniform(10), n, 1, path=sys.argv[2])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """
    )
    peaks = []
    for n in (20_000, 320_000):
        done = subprocess.run(
            [sys.executable, "-c", program, str(n), str(tmp_path / f"{n}.parquet")],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout) / 1024)
    rows = pl.scan_parquet(tmp_path / "320000.parquet").select(pl.len()).collect().item()
    assert rows == 3_200_000
    # The larger log has 270 MB of columns more.
    assert peaks[1] - peaks[0] < 130, peaks
