"""All basic and marginal estimators of 10 policies in one call, and what each further one costs.

`python benches/test_estimators.py` prints the table of the README: times of calls with the first so
many estimators, and numpy doing the same values (no standard errors) with whole matrices.
"""

import os
import platform
import time

import counterfolio as cf
import numpy as np
import pytest

pytestmark = pytest.mark.benchmark

GAMMA = 0.95
#: In an order in which each adds the least: what shares weights stands together.
NAMES = (
    *("pdis", "snpdis", "tis", "sntis", "dm", "sm_dm", "dr", "sndr"),
    *("sm_is", "sm_snis", "sm_dr", "sm_sndr"),
    *("sam_is", "sam_snis", "sam_dr", "sam_sndr", "drl"),
)


class Case:
    """Episodes of one length, so that numpy needs no padding."""

    def __init__(self, rows: int, steps: int, policies: int = 10, n_step: int = 2) -> None:
        rng = np.random.default_rng(0)
        self.steps, self.n_step = steps, n_step
        self.reward, self.propensity = rng.normal(size=rows), rng.uniform(0.2, 0.8, rows)
        frame = {
            "id": np.repeat(np.arange(rows // steps), steps),
            "action": np.zeros(rows, dtype=np.int8),
            "reward": self.reward,
            "propensity": self.propensity,
        }
        self.log = cf.LoggedData.from_frame(frame, episode_id="id")
        self.policies = {
            f"policy {p}": cf.PolicyColumns(
                prob=self.propensity * rng.uniform(0.8, 1.2, rows),
                q=rng.normal(size=rows),
                v=rng.normal(size=rows),
                state_ratio=rng.uniform(0.5, 1.5, rows),
                state_action_ratio=rng.uniform(0.5, 1.5, rows),
            )
            for p in range(policies)
        }

    def estimators(self, count: int = len(NAMES)) -> list[cf.Estimator]:
        def of(name: str) -> cf.Estimator:
            marginal = name.startswith(("sm_", "sam_")) and name != "sm_dm"
            return cf.Estimator(name, n_step=self.n_step if marginal else 0)

        return [of(name) for name in NAMES[:count]]

    def evaluate(self, count: int = len(NAMES)) -> cf.Evaluation:
        return cf.evaluate(self.log, self.policies, self.estimators(count), gamma=GAMMA)

    def numpy_values(self) -> dict[str, dict[str, float]]:
        """The values alone, with whole matrices."""
        shape = (-1, self.steps)
        power = GAMMA ** np.arange(self.steps)
        reward = self.reward.reshape(shape)
        returns = reward @ power
        found = {}
        for name, p in self.policies.items():
            q, v = (x.reshape(shape) for x in (p.q, p.v))
            delta = reward - q
            delta[:, :-1] += GAMMA * v[:, 1:]
            v0 = v[:, 0].mean()
            rho = (p.prob / self.propensity).reshape(shape)
            w = np.cumprod(rho, axis=1)
            values = {"dm": v0, "sm_dm": v0}
            values["tis"] = (w[:, -1] * returns).mean()
            values["sntis"] = values["tis"] / w[:, -1].mean()
            k = self.n_step
            state, both = w.copy(), w.copy()
            window = w[:, k:].copy()
            window[:, 1:] /= w[:, : -k - 1]
            state[:, k:] = p.state_ratio.reshape(shape)[:, : self.steps - k] * window
            window = w[:, k:] / w[:, : self.steps - k]
            both[:, k:] = p.state_action_ratio.reshape(shape)[:, : self.steps - k] * window
            drl = p.state_action_ratio.reshape(shape)
            for family, weight in (("", w), ("sm_", state), ("sam_", both), ("drl", drl)):
                corrected = v0 + (weight * delta).mean(axis=0) @ power
                if family == "drl":
                    values["drl"] = corrected
                    continue
                mean = weight.mean(axis=0)
                plain = (weight * reward).mean(axis=0)
                values[f"{family}is" if family else "pdis"] = plain @ power
                values[f"{family}snis" if family else "snpdis"] = plain / mean @ power
                values[f"{family}dr"] = corrected
                values[f"{family}sndr"] = v0 + (weight * delta).mean(axis=0) / mean @ power
            found[name] = values
        return found


@pytest.mark.parametrize("way", ["evaluate", "numpy_values"])
def test_all_of_them(benchmark, way):
    case = Case(2_000_000, 20)
    benchmark.group = "17 estimators, 10 policies, 2,000,000 rows"
    benchmark.pedantic(getattr(case, way), rounds=3, warmup_rounds=1)


def test_both_ways_agree():
    case = Case(4000, 20)
    ours = case.evaluate()
    labels = {e.name: e.label for e in case.estimators()}
    for policy, values in case.numpy_values().items():
        for name, value in values.items():
            assert ours.values(labels[name])[policy] == pytest.approx(value, rel=1e-9), name


def best(job, rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        job()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    case = Case(2_000_000, 20)
    model = platform.processor() or platform.machine()
    print(
        f"2,000,000 rows, 10 policies, {os.cpu_count()} cores ({model}, numpy {np.__version__}).\n"
    )
    print("| with | one call | this one adds |\n|---|---|---|")
    before = 0.0
    for i, estimator in enumerate(case.estimators(), 1):
        taken = best(lambda count=i: case.evaluate(count))
        print(f"| {estimator.label} | {taken:.2f} s | {taken - before:+.2f} s |")
        before = taken
    print(
        f"\nnumpy, the same 17 values without standard errors: {best(case.numpy_values, 2):.2f} s."
    )


if __name__ == "__main__":
    main()
