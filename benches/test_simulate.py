"""Logs from simulation, beside a plain loop over gymnasium with the same policy.

`python benches/test_simulate.py` prints the table of the README. The plain loop asks the same
policy object about one state at a time and draws with `Generator.choice`, as one would write it by
hand. Times of the processor stand beside those of the clock, which other work on the machine makes
longer.
"""

import argparse
import os
import platform
import time

import counterfolio as cf
import gymnasium as gym
import numpy as np
import pytest
from counterfolio import policies as pi
from counterfolio import simulate

pytestmark = pytest.mark.benchmark

#: Name, episodes of the log, episodes of the plain loop.
CASES = {
    "counterfolio/Basic-v0": (20_000, 200),
    "counterfolio/Recommender-v0": (20_000, 200),
    "counterfolio/RealTimeBidding-v0": (10_000, 200),
    "CartPole-v1": (1_000, 300),
}


class Case:
    """An environment, and a softmax policy over scores that are linear in the state."""

    def __init__(self, name: str) -> None:
        self.name = name
        env = gym.make(name)
        d, k = env.observation_space.shape[0], int(env.action_space.n)
        weights = np.random.default_rng(0).normal(size=(d, k))
        self.policy = pi.Softmax(lambda s: np.clip(s, -3, 3) @ weights, temperature=3.0)

    def collect(self, n_episodes: int) -> int:
        """Make a log; return its number of rows."""
        return cf.collect(self.name, self.policy, n_episodes, seed=0).n_rows

    def loop(self, n_episodes: int) -> int:
        """Do the same by hand; return the number of rows."""
        env, rng = gym.make(self.name), np.random.default_rng(0)
        rows = []
        for seed in simulate.episode_seeds(0, n_episodes).tolist():
            state, _ = env.reset(seed=seed)
            ended = False
            while not ended:
                probs = self.policy.action_probs(np.asarray(state, dtype=np.float64)[None])[0]
                action = rng.choice(len(probs), p=probs)
                after, reward, terminated, truncated, _ = env.step(action)
                rows.append((state, action, probs[action], reward, terminated, truncated))
                state, ended = after, terminated or truncated
        return len(rows)


@pytest.mark.parametrize("way", ["collect", "loop"])
@pytest.mark.parametrize("name", CASES)
def test_collection(benchmark, name, way):
    """Seconds for a tenth of the table's episodes; the number of rows stands beside them."""
    case = Case(name)
    benchmark.group = f"{CASES[name][1] // 10} episodes of {name}"
    rows = benchmark.pedantic(getattr(case, way), (CASES[name][1] // 10,), rounds=3)
    benchmark.extra_info["rows"] = rows


def test_both_ways_make_as_many_rows():
    case = Case("counterfolio/Basic-v0")
    assert case.loop(50) == case.collect(50) == 500


def rates(job, n_episodes: int) -> tuple[float, float]:
    """Rows a second of the clock and of the processor."""
    start, own = time.perf_counter(), time.process_time()
    rows = job(n_episodes)
    return rows / (time.perf_counter() - start), rows / (time.process_time() - own)


def main() -> None:
    """Print the table of the README."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(
        f"{os.cpu_count()} cores ({platform.processor() or platform.machine()}), "
        f"numpy {np.__version__}, gymnasium {gym.__version__}; best of {given.rounds}\n"
    )
    print("| steps a second | `collect` | plain loop | ratio | ratio of processor time |")
    print("|---|---|---|---|---|")
    for name, (many, few) in CASES.items():
        case = Case(name)
        case.collect(10)
        # Turn by turn, so that both meet the same other work.
        pairs = [(rates(case.collect, many), rates(case.loop, few)) for _ in range(given.rounds)]
        ours, loop = (np.max([pair[i] for pair in pairs], axis=0) for i in (0, 1))
        (clock, processor), (loop_clock, loop_processor) = ours, loop
        print(
            f"| {name} | {clock:,.0f} | {loop_clock:,.0f} | {clock / loop_clock:.3g} "
            f"| {processor / loop_processor:.3g} |"
        )


if __name__ == "__main__":
    main()
