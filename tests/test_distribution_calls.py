"""Distributions in a forked child, and interrupted: what runs is in an interpreter of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

PATIENCE = 60
BEGIN = """
import os, signal
import counterfolio as cf
import numpy as np
import polars as pl

rng = np.random.default_rng(0)

def log(n):
    frame = {"action": np.zeros(n, int), "reward": rng.normal(size=n)}
    frame |= {"propensity": np.full(n, 0.5), "p": rng.uniform(0.25, 0.75, size=n)}
    return cf.LoggedData.from_frame(frame)
"""
FORKED = """
from counterfolio import plots
given = log(30_000)

def all_of_it():
    found = cf.evaluate_distribution(given, {"a": "p"}, n_resamples=16, seed=1, num_threads=2)
    drawn = plots.cdf(found).get_lines()[0].get_xydata().tobytes()
    table = found.cdf["probability"].to_numpy().tobytes()
    worst = found.evaluation("cvar", 0.1)
    return drawn, table, found.statistics().rows(), worst.ranking().rows(), repr(found)

expected = all_of_it()
pl.DataFrame({"a": [1, 2]}).group_by("a").agg(pl.len())  # polars' own threads are running too
child = os.fork()
if child == 0:
    signal.alarm(20)
    os._exit(int(all_of_it() != expected))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
INTERRUPTED = """
found = cf.evaluate_distribution(log(400_000), {"a": "p"}, n_resamples=100_000, seed=1)
print("ready", flush=True)
try:
    found.statistics()
except KeyboardInterrupt:
    again = cf.evaluate_distribution(log(1_000), {"a": "p"}, n_resamples=9, seed=1)
    assert again.cdf["low"].is_finite().all()
    print("interrupted", flush=True)
    raise
"""


def start(code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + code],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_finds_the_same():
    with start(FORKED) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert out == "0\n", f"{out}{err}"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c():
    with start(INTERRUPTED) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            threading.Event().wait(1)  # well inside
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert out == "interrupted\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
