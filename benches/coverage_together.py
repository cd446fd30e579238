"""How often statements about several policies hold together, where the true values are known."""

from __future__ import annotations

import multiprocessing
import os

import counterfolio as cf
import numpy as np
import polars as pl
from coverage_cells import AT_A_TIME, LEVEL, cases, mdp

#: Of coverage_cells.py: their processes, behavior policies and discounts.
NAMES = ("one step, near", "short, near", "long, near")
SIZES = (200, 1_000)
ESTIMATORS = ("sntis", "sndr")
POLICIES = 8


def policies(name: str) -> dict[str, np.ndarray]:
    """Candidates that lean from the behavior policy to one side or the other."""
    case = cases()[name]
    lean = {"one step, near": 0.6, "short, near": 0.3, "long, near": 0.15}[name]
    return {
        f"policy_{i}": (1 - lean) * case.behavior
        + lean * mdp.random_policy(100 + i, case.process, spread=2.0)
        for i in range(POLICIES)
    }


def one_log(name: str, n: int, seed: int) -> list[tuple]:
    """What holds on one log, by estimator."""
    case, given = cases()[name], policies(name)
    log, columns = case.log(n, seed, given)
    found = cf.evaluate(
        log, columns, ESTIMATORS, gamma=case.gamma, confidence_level=LEVEL, num_threads=1
    )
    values = {label: case.process.value(policy, case.gamma) for label, policy in given.items()}
    truth = np.array(list(values.values())) - case.process.value(case.behavior, case.gamma)
    best = max(values, key=values.__getitem__)
    rows = []
    for estimator in ESTIMATORS:
        held = []
        for together in (False, True):
            ends = found.compare(estimator=estimator, simultaneous=together)
            low, high = ends["ci_low"].to_numpy(), ends["ci_high"].to_numpy()
            held.append(bool(((low <= truth) & (truth <= high)).all()))
        contenders = found.contenders(estimator).filter("contender")["policy"]
        rows.append((name, n, estimator, *held, best in contenders, len(contenders)))
    return rows


def many_logs(job: tuple[str, int, range]) -> list[tuple]:
    """The same on several logs."""
    name, n, seeds = job
    return [row for seed in seeds for row in one_log(name, n, seed)]


def run(seeds: int) -> pl.DataFrame:
    """One row to case, n and estimator."""
    jobs = [
        (name, n, range(first, min(first + AT_A_TIME, seeds)))
        for name in NAMES
        for n in SIZES
        for first in range(0, seeds, AT_A_TIME)
    ]
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(os.sched_getaffinity(0))) as pool:
        rows = [row for part in pool.imap(many_logs, jobs) for row in part]
    schema = ["case", "n", "estimator", "apart", "together", "best", "contenders"]
    found = pl.DataFrame(rows, schema=schema, orient="row")
    return found.group_by("case", "n", "estimator", maintain_order=True).agg(pl.all().mean())


def table(seeds: int) -> str:
    """Write the section of docs/coverage.md."""
    lines = [
        "## Several policies at once\n",
        f"{POLICIES} candidates, {seeds:,} logs to a row: in how many of 100 logs all normal "
        f"intervals of the difference from the behavior policy, at {100 * LEVEL:g} %, held at "
        "once, each by itself and with `simultaneous=True`; in how many the truly best was among "
        "`contenders()`; and how many these were on average. All logs count, also those in which "
        "notes say not to lean on an interval.\n",
        "| case | n | estimator | each by itself | simultaneous | best among contenders "
        "| contenders |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {case} | {n:,} | `{estimator}` | {100 * apart:.1f} | {100 * together:.1f} | "
        f"{100 * best:.1f} | {count:.1f} |"
        for case, n, estimator, apart, together, best, count in run(seeds).iter_rows()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(100))
