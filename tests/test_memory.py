"""A log is read where it lies: evaluating it takes less memory than one more column would.

Each case runs in an interpreter of its own, whose peak is then that of the case.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

resource = pytest.importorskip("resource", reason="needs getrusage")

ROWS = 5_000_000
COLUMN = 8 * ROWS
CHUNK = 9_973
SETTLED = 4 << 20


def columns(kind: type, n: int) -> dict[str, np.ndarray]:
    """Uniform numbers, drawn into place."""
    rng = np.random.default_rng(0)
    data = {name: np.empty(n, kind) for name in ("reward", "propensity", "p", "q", "v")}
    for values in data.values():
        rng.random(out=values, dtype=kind)
        np.maximum(values, kind(1e-3), out=values)
    return {**data, "action": np.zeros(n, np.int8)}


def chunked(data: dict[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    n = len(data["action"])
    return {name: [x[i : i + CHUNK] for i in range(0, n, CHUNK)] for name, x in data.items()}


def polars_chunks(data: dict[str, np.ndarray]) -> pl.DataFrame:
    parts = {name: map(pl.Series, x) for name, x in chunked(data).items()}
    return pl.DataFrame([pl.concat(x, rechunk=False).alias(name) for name, x in parts.items()])


def with_ids(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    ids = np.arange(len(data["action"]), dtype=np.int64)
    ids //= 20
    return {**data, "episode_id": ids}


CASES = {
    "numpy": lambda n: columns(np.float64, n),
    "numpy float32": lambda n: columns(np.float32, n),
    "polars": lambda n: pl.DataFrame(columns(np.float64, n)),
    "polars chunks": lambda n: polars_chunks(columns(np.float64, n)),
    "polars chunks float32": lambda n: polars_chunks(columns(np.float32, n)),
    "pyarrow chunks": lambda n: pa.table(
        {name: pa.chunked_array(x) for name, x in chunked(columns(np.float64, n)).items()}
    ),
    "episodes": lambda n: with_ids(columns(np.float64, n)),
}


def use(frame: object, **roles: str) -> None:
    log = cf.LoggedData.from_frame(frame, **roles)
    policies = {"new": cf.PolicyColumns(prob="p", q="q", v="v"), "same": "propensity"}
    cf.evaluate(log, policies, estimators=["tis", "sntis"], num_threads=2)
    del policies["same"]
    estimates = cf.evaluate(log, policies, num_threads=2).estimates
    assert np.isfinite(estimates["value"].to_numpy()).all()


def status(field: str) -> int:
    text = Path("/proc/self/status").read_text("ascii")
    return 1024 * int(text.split(f"{field}:")[1].split()[0])


def peak() -> int:
    return status("VmHWM")  # getrusage would hand on the parent's


def resident() -> int:
    return status("VmRSS")


def measure(case: str) -> None:
    """Print by how much the peak of memory rose above what the table itself takes."""
    roles = {"episode_id": "episode_id"} if case == "episodes" else {}
    use(CASES[case](50_000), **roles)  # code and threads are then there
    frame = CASES[case](ROWS)
    before = peak()
    # A peak that lies in the past would hide one that is to come.
    assert before - resident() < SETTLED, (before, resident())
    use(frame, **roles)
    print(peak() - before)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("case", CASES)
def test_peak_is_less_than_a_column(case):
    command = [sys.executable, "-c", f"import test_memory as t; t.measure({case!r})"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Half of one, so that what was free before cannot hide a copy.
    assert 0 <= int(done.stdout) < COLUMN / 2, f"{int(done.stdout) / COLUMN:.2f} columns"
