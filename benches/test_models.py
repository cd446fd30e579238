"""Closed-form Q-functions and marginal ratios of many policies, beside numpy doing the same.

`python benches/test_models.py` prints the lines of the README.
"""

from __future__ import annotations

import argparse
import os
import platform
import time

import counterfolio as cf
import numpy as np
import pytest

pytestmark = pytest.mark.benchmark

GAMMA, STEPS, N_ACTIONS = 0.95, 20, 5
RIDGE = 1e-8


class Transitions:
    """A log of equal episodes with states of numbers, and policies that differ."""

    def __init__(self, rows: int, features: int, policies: int) -> None:
        rng = np.random.default_rng(0)
        self.rows, self.width = rows, features // N_ACTIONS
        # A constant is the first feature.
        self.states = rng.normal(size=(rows, self.width - 1))
        self.action = rng.integers(N_ACTIONS, size=rows)
        self.reward = rng.normal(size=rows)
        self.last = np.arange(rows) % STEPS == STEPS - 1
        self.policies = {f"policy {i}": self._policy(rng) for i in range(policies)}
        names = [f"x{i}" for i in range(self.width - 1)]
        frame = {
            **dict(zip(names, self.states.T, strict=True)),
            "action": self.action,
            "reward": self.reward,
            "episode": np.arange(rows) // STEPS,
            "end": self.last,
        }
        self.log = cf.LoggedData.from_frame(
            frame, propensity=None, episode_id="episode", state=names, terminated="end"
        )

    def _policy(self, rng: np.random.Generator) -> np.ndarray:
        scores = np.exp(self.states[:, :1] * rng.normal(size=N_ACTIONS))
        return scores / scores.sum(axis=1, keepdims=True)

    def counterfolio(self) -> cf.models.QFunctions:
        """Q in every row, with the value's standard error."""
        return cf.models.LinearQ("linear", ridge=RIDGE).fit(self.log, self.policies, gamma=GAMMA)

    def ratios(self) -> cf.models.MarginalRatios:
        """Ratios in every row."""
        return cf.models.LinearRatio("linear").fit(self.log, self.policies, gamma=GAMMA)

    def features(self, rows: slice) -> np.ndarray:
        """The state's features: a constant and standardised numbers."""
        standard = (self.states[rows] - self.states.mean(axis=0)) / self.states.std(axis=0)
        return np.column_stack([np.ones(len(standard)), standard])

    def vectorised(self, policy: str) -> np.ndarray:
        """One policy by products of whole matrices of crossed features; q in every row."""
        x = self.features(slice(None))
        phi = np.zeros((self.rows, N_ACTIONS, self.width))
        phi[np.arange(self.rows), self.action] = x
        ahead = np.zeros_like(phi)
        pi = self.policies[policy]
        ahead[:-1] = pi[1:, :, None] * x[1:, None, :]
        ahead[self.last] = 0.0
        phi, ahead = (a.reshape(self.rows, -1) for a in (phi, ahead))
        gram = phi.T @ phi
        ridge = RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        theta = np.linalg.solve(gram - GAMMA * phi.T @ ahead + ridge, phi.T @ self.reward)
        return phi @ theta

    def loop(self, policy: str, rows: int) -> float:
        """Seconds for the equations of some rows of one policy, row by row."""
        x, pi = self.features(slice(0, rows + 1)), self.policies[policy]
        start = time.perf_counter()
        matrix, right = 0.0, 0.0
        for i in range(rows):
            phi = np.zeros((N_ACTIONS, self.width))
            phi[self.action[i]] = x[i]
            ahead = 0.0 if self.last[i] else pi[i + 1][:, None] * x[i + 1]
            phi, ahead = phi.ravel(), np.ravel(ahead)
            matrix = matrix + np.outer(phi, phi - GAMMA * ahead)
            right = right + phi * self.reward[i]
        return time.perf_counter() - start


def test_fit(benchmark):
    """A tenth of the README's log."""
    case = Transitions(100_000, 50, 10)
    found = benchmark.pedantic(case.counterfolio, rounds=3)
    np.testing.assert_allclose(found.q[3], case.vectorised("policy 3"), atol=1e-7)


def main() -> None:
    """Print the lines of the README."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--policies", type=int, default=10)
    given = parser.parse_args()
    case = Transitions(given.rows, given.features, given.policies)
    start = time.perf_counter()
    found = case.counterfolio()
    own = time.perf_counter() - start
    start = time.perf_counter()
    wanted = case.vectorised("policy 0")
    one = time.perf_counter() - start
    assert np.allclose(found.q[0], wanted, atol=1e-7)
    start = time.perf_counter()
    case.ratios()
    ratios = time.perf_counter() - start
    sampled = min(given.rows, 5_000)
    loop = case.loop("policy 0", sampled) * given.rows / sampled * given.policies
    size = f"{given.rows:,} transitions, {given.features} features, {given.policies} policies"
    print(f"{os.cpu_count()} cores, {platform.machine()}, numpy {np.__version__}; {size}")
    print(f"counterfolio, Q in every row with errors: {own:.1f} s")
    print(f"counterfolio, ratios in every row: {ratios:.1f} s")
    print(f"numpy, whole matrices, {given.policies} x one policy: {one * given.policies:.1f} s")
    print(f"a loop over rows ({sampled:,} timed): {loop:.0f} s, {loop / own:.0f} times as long")


if __name__ == "__main__":
    main()
