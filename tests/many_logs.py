"""Logs made by a function of the seed, and what is evaluated on them."""

from __future__ import annotations

import counterfolio as cf
import mdp
import numpy as np
import polars as pl

GAMMA = 0.9
PROCESS = mdp.random_mdp(3)
POLICIES = {name: mdp.random_policy(i, PROCESS) for i, name in enumerate("abc")}
BEHAVIOR = mdp.random_policy(9, PROCESS)
TRUTH = {name: PROCESS.value(policy, GAMMA) for name, policy in POLICIES.items()}
COLUMNS = {
    name: cf.PolicyColumns(prob=f"p_{name}", q=f"q_{name}", v=f"v_{name}") for name in POLICIES
}
ROLES = {"episode_id": "episode_id", "state": "state"}


def columns(seed: int, n: int = 120) -> dict[str, np.ndarray]:
    """What a table of the log holds, the policies' columns among it."""
    log = mdp.simulate(PROCESS, BEHAVIOR, n, seed)
    for name, policy in POLICIES.items():
        log = mdp.add_policy(log, PROCESS, name, policy, GAMMA)
    return log.columns


def make(seed: int, n: int = 120) -> cf.LoggedData:
    return cf.LoggedData.from_frame(columns(seed, n), **ROLES)


def logs(count: int = 5) -> dict[str, cf.LoggedData]:
    return {f"seed {i}": make(i) for i in range(count)}


def bits(evaluation: cf.Evaluation) -> list[object]:
    """Everything that was computed, to the last bit; all NaN are one."""

    def whole(x: np.ndarray) -> bytes:
        return (np.where(np.isnan(x), np.nan, x) if x.dtype.kind == "f" else x).tobytes()

    arrays = (
        evaluation.variances,
        evaluation.replicates,
        evaluation.behavior_replicates,
        evaluation.accelerations,
    )
    table = [
        whole(column.to_numpy()) if column.dtype.is_numeric() else column.to_list()
        for column in evaluation.estimates
    ]
    return [table, [None if x is None else (x.shape, whole(x)) for x in arrays]]


def same(one: dict[str, cf.Evaluation], other: dict[str, cf.Evaluation]) -> bool:
    """Whether all numbers and settings are."""
    assert list(one) == list(other)
    return all(
        bits(one[name]) == bits(other[name]) and one[name].settings == other[name].settings
        for name in one
    )


def table(evaluations: cf.Evaluations) -> pl.DataFrame:
    """The estimates of each log, put below each other the other way."""
    return pl.concat(
        [
            evaluation.estimates.select(pl.lit(name).alias("dataset"), pl.all())
            for name, evaluation in evaluations.items()
        ]
    )
