"""The seven basic estimators with standard errors, beside numpy on the same columns.

`python benches/test_basic.py` prints the table of the README.
"""

import os
import platform
import time

import numpy as np
import pytest
from conftest import Case

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("rows", [10**4, 10**5, 10**6, 10**7])
@pytest.mark.parametrize("way", ["evaluate", "numpy_values", "sum_columns"])
def test_rows(benchmark, rows, way):
    case = Case(rows, steps=20)
    benchmark.group = f"seven estimators, {rows:,} rows in episodes of 20 steps"
    benchmark.pedantic(getattr(case, way), rounds=9, warmup_rounds=1)


@pytest.mark.parametrize("way", ["evaluate", "numpy_values", "sum_columns"])
def test_lengths(benchmark, steps, way):
    case = Case(2_000_000, steps)
    benchmark.group = f"seven estimators, 2,000,000 rows in episodes of {steps} steps"
    benchmark.pedantic(getattr(case, way), rounds=9, warmup_rounds=1)


def test_call(benchmark):
    case = Case(2_000, steps=20, policies=10)
    benchmark.group = "one call: 100 episodes, 10 policies, seven estimators"
    benchmark(case.evaluate)


def test_both_ways_agree():
    for steps in (1, 20):
        case = Case(20_000, steps)
        ours = case.evaluate()
        for name, value in case.numpy_values().items():
            assert ours.values(name)["policy 0"] == pytest.approx(value, rel=1e-9, abs=1e-9)


def best_of_nine(job) -> float:
    times = []
    for _ in range(9):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    model = platform.processor() or platform.machine()
    print(f"Best of nine on {os.cpu_count()} cores ({model}, numpy {np.__version__}):\n")
    print("| 2,000,000 rows | counterfolio | numpy | numpy sum of the columns | ratio to the sum |")
    print("|---|---|---|---|---|")
    for steps in (1, 5, 20, 100):
        case = Case(2_000_000, steps)
        ours, theirs, floor = map(
            best_of_nine, (case.evaluate, case.numpy_values, case.sum_columns)
        )
        print(
            f"| episodes of {steps} | {1e3 * ours:.1f} ms | {1e3 * theirs:.1f} ms | "
            f"{1e3 * floor:.1f} ms | {ours / floor:.1f} |"
        )
    call = best_of_nine(Case(2_000, steps=20, policies=10).evaluate)
    print(f"\n100 episodes of 20 steps, 10 policies: {1e3 * call:.2f} ms a call.")


if __name__ == "__main__":
    main()
