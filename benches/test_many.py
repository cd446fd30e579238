"""Evaluations a second: `evaluate_many` beside a loop of `evaluate`, and a loop of numpy.

`python benches/test_many.py` prints the table of the README. An evaluation is one log, with 10
policies by 7 estimators. numpy computes the same values, without errors, intervals or notes.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import counterfolio as cf
import numpy as np
import pytest
from conftest import Case

pytestmark = pytest.mark.benchmark

POLICIES, STEPS, GAMMA = 10, 10, 0.95
#: Rows of a log -> how many logs.
SIZES = {1_000: 200, 20_000: 60, 200_000: 16}


class Many:
    """Logs of equal size in memory."""

    def __init__(self, rows: int, count: int) -> None:
        cases = [Case(rows, STEPS, POLICIES) for _ in range(count)]
        self.cases = dict(zip(map(str, range(count)), cases, strict=True))
        self.logs = {name: case.log for name, case in self.cases.items()}
        rng = np.random.default_rng(1)
        self.policies = {
            f"policy {i}": cf.PolicyColumns(
                prob=rng.uniform(0.3, 0.7, rows), q=rng.normal(size=rows), v=rng.normal(size=rows)
            )
            for i in range(POLICIES)
        }

    def many(self, **options: object) -> cf.Evaluations:
        return cf.evaluate_many(self.logs, self.policies, gamma=GAMMA, **options)

    def loop(self) -> dict[str, cf.Evaluation]:
        return {
            name: cf.evaluate(log, self.policies, gamma=GAMMA) for name, log in self.logs.items()
        }

    def numpy(self) -> list[list[dict[str, float]]]:
        found = []
        for case in self.cases.values():
            found.append([])
            for p in self.policies.values():
                case.columns |= {"prob": p.prob, "q": p.q, "v": p.v}
                found[-1].append(case.numpy_values())
        return found

    def written(self) -> None:
        """Into a folder, with diagnostics and the report of each log."""
        with tempfile.TemporaryDirectory() as folder:
            self.many(path=Path(folder) / "runs")


@pytest.mark.parametrize("way", ["many", "loop", "numpy"])
@pytest.mark.parametrize("rows", [1_000, 20_000])
def test_logs(benchmark, rows, way):
    case = Many(rows, 20)
    benchmark.group = f"20 logs of {rows:,} rows, 10 policies, 7 estimators"
    benchmark.pedantic(getattr(case, way), rounds=3, warmup_rounds=1)


def test_all_ways_agree():
    case = Many(1_000, 3)
    ours, loop, numpy = case.many(n_jobs=2), case.loop(), case.numpy()
    for (name, one), per_policy in zip(ours.items(), numpy, strict=True):
        assert one.estimates.equals(loop[name].estimates)
        for policy, values in zip(one.policies, per_policy, strict=True):
            for estimator, value in values.items():
                assert one.values(estimator)[policy] == pytest.approx(value, rel=1e-9)


WAYS = {
    "`evaluate_many`": Many.many,
    "one log at a time": lambda case: case.many(n_jobs=1),
    "a loop of `evaluate`": Many.loop,
    "a loop of numpy, values alone": Many.numpy,
}


def best(case: Many, rounds: int) -> list[float]:
    """Least seconds of each way; they take turns, since other work comes and goes."""
    times = []
    for _ in range(rounds):
        times.append([])
        for way in WAYS.values():
            start = time.perf_counter()
            way(case)
            times[-1].append(time.perf_counter() - start)
    return np.min(times, axis=0).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="the best of them counts (5)")
    rounds = parser.parse_args().rounds
    model = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores ({model}, numpy {np.__version__}), evaluations a second:\n")
    print("| a log of | " + " | ".join(WAYS) + " |")
    print("|---" * (1 + len(WAYS)) + "|")
    for rows, count in SIZES.items():
        case = Many(rows, count)
        many, loop = case.many(), case.loop()
        assert all(many[name].estimates.equals(loop[name].estimates) for name in case.logs)
        del many, loop
        rates = [f"{count / seconds:,.0f}" for seconds in best(case, rounds)]
        print(f"| {rows:,} rows | {' | '.join(rates)} |")
    case = Many(1_000, 100)
    start = time.perf_counter()
    case.written()
    seconds = time.perf_counter() - start
    print(f"\nOf 1,000 rows, with diagnostics and reports into a folder: {100 / seconds:,.0f}.")


if __name__ == "__main__":
    main()
