"""The joint bootstrap beside the incumbent's way, and one replicate of it beside the oracle.

`python benches/test_bootstrap.py` prints the lines of the README.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import time
from pathlib import Path

import counterfolio as cf
import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import oracle

pytestmark = pytest.mark.benchmark

ESTIMATORS = ("dm", "tis", "pdis", "dr", "sntis", "snpdis", "sndr")
GAMMA, SEED = 0.95, 1


class Resampled:
    """A log of equal episodes, and policies that differ."""

    def __init__(self, episodes: int, steps: int, policies: int, n_resamples: int) -> None:
        rng = np.random.default_rng(0)
        self.episodes, self.steps, self.n_resamples = episodes, steps, n_resamples
        rows = episodes * steps
        self.reward = rng.normal(size=rows)
        self.propensity = rng.uniform(0.4, 0.6, size=rows)
        self.ids = np.repeat(np.arange(episodes), steps)
        frame = {
            "action": np.zeros(rows, dtype=np.int8),
            "reward": self.reward,
            "propensity": self.propensity,
            "episode_id": self.ids,
        }
        self.log = cf.LoggedData.from_frame(frame, episode_id="episode_id")
        self.policies = {
            f"policy {i}": cf.PolicyColumns(
                prob=rng.uniform(0.4, 0.6, size=rows),
                q=rng.normal(size=rows),
                v=rng.normal(size=rows),
            )
            for i in range(policies)
        }

    def counterfolio(self) -> cf.Evaluation:
        """Every estimate, standard error and replicate, self-normalisation redone in each."""
        return cf.evaluate(
            self.log,
            self.policies,
            ESTIMATORS,
            gamma=GAMMA,
            n_resamples=self.n_resamples,
            seed=SEED,
        )

    def incumbent(self, replicates: int) -> float:
        """SCOPE-RL's way: numbers that were normalised once, one choice and mean to each pair."""
        random = np.random.RandomState(SEED)
        numbers = [
            random.normal(size=self.episodes) for _ in range(len(self.policies) * len(ESTIMATORS))
        ]
        start = time.perf_counter()
        for values in numbers:
            for _ in range(replicates):
                random.choice(values, size=self.episodes, replace=True).mean()
        return time.perf_counter() - start

    def check(self, evaluation: cf.Evaluation, replicate: int, policy: str) -> None:
        """One replicate of one policy equals the oracle's under the same multiplicities."""
        drawn = cf.resample_weights(self.episodes, replicate + 1, SEED)[replicate]
        one = self.policies[policy]
        dense = oracle.dense(
            self.ids, self.reward, self.propensity, one.prob, one.q, one.v, multiplicity=drawn
        )
        found = evaluation.replicates[replicate, evaluation.policies.index(policy)]
        for name, value in zip(ESTIMATORS, found, strict=True):
            wanted = oracle.estimate(dense, name, GAMMA)
            assert abs(value - wanted.value) <= 1e-10 * wanted.scale, (name, value, wanted.value)


def test_a_replicate_is_the_oracles():
    case = Resampled(2_000, 20, 2, 100)
    found = case.counterfolio()
    for replicate in (0, 99):
        case.check(found, replicate, "policy 1")


@pytest.mark.parametrize("n_resamples", [100, 1_000])
def test_replicates(benchmark, n_resamples):
    case = Resampled(100_000, 20, 2, n_resamples)
    benchmark.group = "2 policies, 7 estimators, 100,000 episodes of 20 steps"
    benchmark.pedantic(case.counterfolio, rounds=3, warmup_rounds=1)


def assessed(rankings: int, policies: int) -> tuple[cf.Evaluation, dict[str, float]]:
    """An evaluation of many policies with many replicates, and true values."""
    rng = np.random.default_rng(0)
    n = 200
    frame = {
        "action": np.zeros(n, dtype=np.int8),
        "reward": rng.normal(size=n),
        "propensity": np.full(n, 0.5),
    }
    probs = {f"policy {i}": rng.uniform(0.3, 0.7, size=n) for i in range(policies)}
    log = cf.LoggedData.from_frame(frame)
    found = cf.evaluate(log, probs, ["tis"], n_resamples=rankings, seed=SEED)
    return found, dict(zip(probs, rng.normal(size=policies), strict=True))


def test_rankings(benchmark):
    found, truth = assessed(10_000, 100)
    benchmark.group = "10,000 rankings of 100 policies"
    benchmark.pedantic(cf.assess, args=(found, truth), rounds=5, warmup_rounds=1)


def best(job, rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--incumbent-replicates",
        type=int,
        default=20,
        help="of 1,000 that are timed; the time is scaled up (default: 20)",
    )
    timed = parser.parse_args().incumbent_replicates
    case = Resampled(100_000, 20, 10, 1_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = case.counterfolio()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    case.check(found, 777, "policy 3")
    ours = best(case.counterfolio)
    theirs = case.incumbent(timed) * 1_000 / timed
    cores = len(os.sched_getaffinity(0))
    model = platform.processor() or platform.machine()
    print(f"On {cores} cores ({model}, numpy {np.__version__}), in one run:\n")
    print("| joint bootstrap of 100,000 episodes of 20 steps | time |")
    print("|---|---|")
    print(f"| counterfolio: 10 policies, 7 estimators, 1,000 replicates | {ours:.2f} s |")
    print(
        f"| numpy's choice and mean of 70,000 x 100,000 numbers ({timed} of each 1,000 timed) | "
        f"{theirs:.0f} s |"
    )
    print(f"| ratio | {theirs / ours:.0f} |")
    result = found.replicates.nbytes + found.behavior_replicates.nbytes
    print(
        f"\nReplicate 777 of policy 3 equals the oracle's. Peak memory grew by {peak / 2**20:.0f} "
        f"MiB, of which {result / 2**20:.0f} MiB are the result.\n"
    )
    evaluation, truth = assessed(10_000, 100)
    rows = np.ascontiguousarray(evaluation.replicates[:, :, 0])
    values = np.array(list(truth.values()))
    one = best(lambda: [cf.top_k(row, values, 0.0) for row in rows[:100]]) / 100
    every = best(lambda: cf.assess(evaluation, truth))
    print(
        f"10,000 rankings of 100 policies, every metric of every top k with its spread: "
        f"{1e3 * every:.0f} ms; one table of cf.top_k: {1e6 * one:.0f} µs."
    )


if __name__ == "__main__":
    main()
