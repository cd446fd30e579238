"""Distributions of the return by comparing every episode with every value, and logs for them."""

from __future__ import annotations

import counterfolio as cf
import mdp
import numpy as np
import polars as pl
import weights_oracle as wo

GAMMA = 0.9
NAMES = ("cd_dm", "cd_tis", "cd_sntis", "cd_tdr", "cd_sntdr")
ALPHAS = (0.05, 0.1, 0.25, 1.0)


def random_log(seed: int, n: int, rounded: bool = False) -> mdp.Log:
    process = mdp.random_mdp(seed, horizon=5)
    log = mdp.simulate(process, mdp.random_policy(seed, process), n, seed=seed)
    for name, shift in (("new", 1), ("old", 2)):
        policy = mdp.random_policy(seed + shift, process, zeros=seed % 2 == 0)
        log = mdp.add_policy(log, process, name, policy, GAMMA, error=1.0)
    return log.with_columns(reward=log.columns["reward"].round()) if rounded else log


def logged(log: mdp.Log, **roles) -> cf.LoggedData:
    return cf.LoggedData.from_frame(pl.DataFrame(log.columns), episode_id="episode_id", **roles)


POLICIES = {p: cf.PolicyColumns(prob=f"p_{p}", v=f"v_{p}") for p in ("new", "old")}


class Oracle:
    """F by comparing every episode with every value."""

    def __init__(self, log: mdp.Log, policy: str, name: str, m=None, gamma: float = GAMMA) -> None:
        columns = {"prob": f"p_{policy}", "q": f"q_{policy}", "v": f"v_{policy}"}
        names = columns | {"state": "reward", "state_action": "reward"}
        steps = wo.steps(log.columns, names)
        self.w = wo.weights(steps, "cumulative")[:, -1]
        self.g = steps.reward @ gamma ** np.arange(steps.reward.shape[1])
        self.v = steps.v[:, 0]
        self.m = np.ones(len(self.g)) if m is None else m
        self.name = name
        seen = name != "cd_dm"
        modelled = name in ("cd_dm", "cd_tdr", "cd_sntdr")
        self.x = np.unique(
            np.concatenate([self.g[: len(self.g) * seen], self.v[: len(self.v) * modelled]])
        )

    def raw(self, x: np.ndarray, name: str | None = None) -> np.ndarray:
        name = name or self.name
        below = (self.g[:, None] <= x) * 1.0
        model = (self.v[:, None] <= x) * 1.0
        n = self.m.sum()
        c = self.w / (self.m @ self.w / n) if name in ("cd_sntis", "cd_sntdr") else self.w
        if name == "cd_dm":
            terms = model
        elif name in ("cd_tis", "cd_sntis"):
            terms = c[:, None] * below
        else:
            terms = c[:, None] * (below - model) + model
        return self.m @ terms / n

    def shown(self) -> np.ndarray:
        return np.maximum.accumulate(np.clip(self.raw(self.x), 0, 1))

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """What statistics are taken of: those of cd_tis are those of cd_sntis."""
        f = self.raw(self.x, "cd_sntis" if self.name == "cd_tis" else None)
        f = np.maximum.accumulate(np.clip(f, 0, 1))
        f[-1] = 1
        return self.x, f

    def statistic(self, name: str, alpha: float) -> float:
        x, f = self.steps()
        mass = np.diff(f, prepend=0)
        mean = x @ mass
        if name == "mean":
            return mean
        if name == "variance":
            return (x - mean) ** 2 @ mass
        if name == "cvar":
            return x @ np.diff(np.minimum(f, alpha), prepend=0) / alpha
        low = x[np.flatnonzero(f >= alpha - 1e-12)[0]]
        if name == "quantile":
            return low
        return x[np.flatnonzero(f >= 1 - alpha - 1e-12)[0]] - low
