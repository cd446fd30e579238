"""What the tests of the command line share: a log, and ways to call."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from counterfolio.cli.app import main

if TYPE_CHECKING:
    from pathlib import Path

N = 600


def log_frame() -> pl.DataFrame:
    """A bandit log with columns of every kind, under their usual names."""
    rng = np.random.default_rng(7)
    action = rng.integers(3, size=N)
    reward = (rng.random(N) < np.array([0.3, 0.4, 0.6])[action]).astype(float)
    return pl.DataFrame(
        {
            "action": action,
            "reward": reward,
            "propensity": np.full(N, 1 / 3),
            "p_new": np.where(action == 2, 0.6, 0.2),
            "p_old": np.where(action == 0, 0.5, 0.25),
            "q_new": np.array([0.3, 0.4, 0.6])[action],
            "v_new": np.full(N, 0.5),
            "device": rng.choice(["phone", "desk"], N),
            "day": np.sort(rng.integers(7, size=N)),
            "age": action % 2 + rng.integers(2, size=N),
            "a_new": np.full(N, 2),
        }
    )


def make_files(folder: Path) -> None:
    """Write the files that the examples of --help name."""
    frame = log_frame()
    frame.write_parquet(folder / "log.parquet")
    renamed = {"action": "item", "reward": "clicked", "propensity": "p"}
    frame.rename(renamed).write_csv(folder / "log.csv")


#: The environment of a user at a terminal with colours, wherever the tests run.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("FORCE_COLOR", "NO_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "COLUMNS")
} | {"TERM": "xterm-256color"}
COMMAND = [sys.executable, "-m", "counterfolio"]


def spawn(*args, cwd, env=ENVIRONMENT, **options):
    """Run the command line as a process of its own."""
    command = [*COMMAND, *map(str, args)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, check=False, timeout=60, env=env, **options
    )


@pytest.fixture
def call(tmp_path, monkeypatch, capsysbinary):
    """Call the command line in a folder with a log: (exit code, stdout, stderr)."""
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    # CI services ask for colours, which are tested on a terminal.
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr("typer.rich_utils.FORCE_TERMINAL", None)

    def run(*args):
        capsysbinary.readouterr()
        code = main([str(arg) for arg in args])
        out, err = capsysbinary.readouterr()
        return code, out if out[:4] == b"PAR1" else out.decode(), err.decode()

    return run


def wrong(result, *says, code=2):
    """One clear line on standard error, nothing on standard output."""
    found, out, err = result
    assert (found, out) == (code, ""), result
    assert err.startswith("counterfolio: error: "), err
    assert err.count("\n") == 1, err
    assert [said for said in says if said not in err] == [], err
    assert "Traceback" not in err
