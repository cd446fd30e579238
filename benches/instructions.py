"""Count the instructions of small jobs in the core, and compare with benches/instructions.json.

`python benches/instructions.py` builds `rust/core/benches/instructions.rs`, runs its jobs under
callgrind (of valgrind) and fails where one takes more instructions than is recorded, by more than
3 %. A count, unlike a time, is the same on a busy machine. `--update` records what was counted: do
so with a change that is meant to cost, or that saves, and say why in its message.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_suffix(".json")
JOBS = {
    "decisions": "evaluate 100,000 decisions, 7 estimators with errors",
    "episodes": "evaluate 5,000 episodes of 20 steps, 7 estimators with errors",
    "bootstrap": "1,000 replicates of 1,000 episodes of 20 steps, 7 estimators",
    "rankings": "200 rankings of 100 policies, every metric of every top k with its quantiles",
}
ALLOWED = 0.03


def build() -> Path:
    """Compile the jobs as releases are compiled."""
    command = "cargo bench --quiet --package counterfolio-core --bench instructions --no-run"
    printed = subprocess.run(
        [*command.split(), "--message-format=json"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    made = [json.loads(line).get("executable") for line in printed.splitlines()]
    return Path(next(path for path in made if path))


def count(program: Path, job: str) -> int:
    """Instructions that a job takes."""
    ran = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, job],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(re.search(r"Collected : (\d+)", ran.stderr)[1])


def compiler() -> str:
    """What rustc says of itself."""
    return subprocess.run(
        ["rustc", "--version"], check=True, capture_output=True, text=True
    ).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--update", action="store_true", help="record what was counted")
    update = parser.parse_args().update
    for tool in ("valgrind", "cargo"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: install it, then run this again (valgrind: apt)")
    program = build()
    counted = {job: count(program, job) for job in JOBS}
    if update:
        record = {"compiler": compiler(), "instructions": counted}
        RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    slower = False
    for job, described in JOBS.items():
        change = counted[job] / recorded["instructions"][job] - 1
        slower |= change > ALLOWED
        print(f"{counted[job] / 1e6:6.1f} million ({change:+.1%}): {described}")
    if not slower:
        return
    if recorded["compiler"] != compiler():
        print(f"recorded with {recorded['compiler']}, counted with {compiler()}: not compared")
        return
    sys.exit(f"more than {ALLOWED:.0%} above benches/instructions.json: see the docstring")


if __name__ == "__main__":
    main()
