"""Coverage and width of every interval for every estimator, where the true values are known.

Logs are simulated from tabular decision processes that are solved exactly and whose episodes end by
chances that depend on the action; it is counted how often each interval holds the true value.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import counterfolio as cf
import numpy as np
import polars as pl
from counterfolio.intervals import from_errors, from_replicates

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
import mdp  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

LEVEL = 0.95
SIZES = (50, 200, 1_000, 5_000)
N_RESAMPLES = 1_000
ESTIMATORS = ("dm", "tis", "pdis", "dr", "sntis", "snpdis", "sndr")
#: Those of every estimator, and those that hold for any number of episodes or need ranges.
ASYMPTOTIC = ("normal", "t", "percentile", "basic", "bca")
RANGED = ("hoeffding", "empirical_bernstein", "hcope", "log_smoothing", "confidence_sequence")
OTHERS = (*RANGED, "cressie_read")
#: Points of coverage that are promised to be kept.
ALLOWED = 0.02
#: Share of logs with a note from which on nothing is promised of a cell.
NOTED = 0.05
#: Logs that a process simulates before it reports.
AT_A_TIME = 20


@dataclass(frozen=True)
class Case:
    """A process, its behavior policy and the policy to be evaluated."""

    name: str
    process: mdp.MDP
    behavior: NDArray[np.float64]
    policy: NDArray[np.float64]
    gamma: float
    #: Standard deviation of the logarithm of skewed noise in the rewards; 0 for none.
    skew: float = 0.0

    @property
    def truth(self) -> float:
        """The policy's value."""
        return self.process.value(self.policy, self.gamma)

    @property
    def largest_weight(self) -> float:
        """What no weight can exceed."""
        ratio = float((self.policy / self.behavior).max())
        return max(ratio, 1.0) ** self.process.horizon

    @property
    def largest_return(self) -> float:
        """What no return can exceed: rewards are in [0, 1]."""
        return float((self.gamma ** np.arange(self.process.horizon)).sum())

    def log(
        self, n: int, seed: int, candidates: dict[str, NDArray[np.float64]]
    ) -> tuple[cf.LoggedData, dict[str, cf.PolicyColumns]]:
        """Log `n` episodes of the behavior policy, with the columns of some candidates."""
        found = mdp.simulate(self.process, self.behavior, n, seed, ids="integer")
        for i, (name, policy) in enumerate(candidates.items()):
            found = mdp.add_policy(found, self.process, name, policy, self.gamma, error=0.1, seed=i)
        reward = found.columns["reward"]
        if self.skew:
            drawn = np.random.default_rng([seed, 5]).normal(size=len(reward))
            noise = np.exp(self.skew * drawn - self.skew**2 / 2)  # of mean 1
            reward = reward * noise
        else:
            # Wins and losses of the same mean, so that returns stay within known bounds.
            reward = (np.random.default_rng([seed, 5]).random(len(reward)) < reward).astype(float)
        frame = pl.DataFrame({**found.columns, "reward": reward})
        log = cf.LoggedData.from_frame(frame, episode_id="episode_id", timestep="timestep")
        return log, {
            name: cf.PolicyColumns(prob=f"p_{name}", q=f"q_{name}", v=f"v_{name}")
            for name in candidates
        }


def process(seed: int, horizon: int, end: tuple[float, float]) -> mdp.MDP:
    """A process with mean rewards in [0, 1] and no noise; the action decides how soon it ends."""
    found = mdp.random_mdp(seed, horizon=horizon)
    rng = np.random.default_rng([seed, 6])
    return replace(
        found,
        reward=rng.uniform(0.1, 0.9, size=found.reward.shape),
        end=rng.uniform(*end, size=found.end.shape),
        noise=0.0,
    )


def between(a: NDArray[np.float64], b: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Mix two policies."""
    return (1 - share) * a + share * b


@cache
def cases() -> dict[str, Case]:
    """Light tails and heavy ones, of the weights and of the rewards."""
    one, short, long = (
        process(1, 1, (0.2, 0.9)),
        process(2, 5, (0.1, 0.7)),
        process(3, 20, (0.02, 0.3)),
    )
    flat = np.full(one.reward.shape, 1 / 3)
    sharp = {k: mdp.random_policy(k, one, spread=2.0) for k in (11, 12, 13)}
    found = [
        Case("one step, near", one, flat, between(flat, sharp[11], 0.6), 1.0),
        Case("one step, far", one, between(sharp[11], flat, 0.03), sharp[12], 1.0),
        Case("short, near", short, flat, between(flat, sharp[12], 0.3), 0.95),
        Case("short, far", short, between(sharp[12], flat, 0.2), sharp[13], 0.95),
        Case("long, near", long, flat, between(flat, sharp[13], 0.15), 0.95),
        Case("long, far", long, flat, between(flat, sharp[13], 0.6), 0.95),
        Case("skewed rewards", short, flat, between(flat, sharp[12], 0.3), 0.95, skew=1.5),
    ]
    return {case.name: case for case in found}


def ranges(case: Case, interval: str) -> dict[str, object]:
    """What an interval has to be told; all of it true."""
    returns, weights = (0.0, case.largest_return), (0.0, case.largest_weight * (1 + 1e-9) + 1e-9)
    return {
        "hoeffding": {"value_range": (0.0, returns[1] * weights[1])},
        "empirical_bernstein": {"value_range": (0.0, returns[1] * weights[1])},
        "hcope": {"alternative": "greater"},
        "log_smoothing": {"return_range": returns},
        "cressie_read": {"return_range": returns, "weight_range": weights},
        "confidence_sequence": {"return_range": returns},
    }[interval]


def one_log(case: Case, n: int, seed: int) -> list[tuple]:
    """Every interval of every estimator on one log: the key, its ends, and what was noted."""
    log, columns = case.log(n, seed, {"new": case.policy})
    given = {"gamma": case.gamma, "confidence_level": LEVEL, "num_threads": 1, "seed": seed}
    found = cf.evaluate(
        log,
        columns,
        ESTIMATORS,
        interval="bootstrap",
        method="bca",
        n_resamples=N_RESAMPLES,
        **given,
    )
    table, settings = found.estimates[:-1], found.settings
    notes = table["note"].fill_null("").to_list()
    values, errors = table["value"].to_numpy(), table["standard_error"].to_numpy()
    drawn = found.replicates[:, 0, :]
    own = found.accelerations[:, 0, 0]
    rows = []
    for kind in ASYMPTOTIC:
        if kind in ("normal", "t"):
            ends = from_errors(values, errors, {**settings, "interval": kind})
        else:
            ends = from_replicates(values, drawn, own, {**settings, "method": kind})
        rows += zip([kind] * len(table), ESTIMATORS, ends.low, ends.high, notes, strict=True)
    for kind in OTHERS:
        one_step = case.process.horizon == 1
        if case.skew or (kind == "confidence_sequence" and not one_step):
            continue
        names = ["tis"]
        if kind in ("hoeffding", "empirical_bernstein", "hcope") and not one_step:
            names.append("pdis")
        found = cf.evaluate(log, columns, names, interval=kind, **given, **ranges(case, kind))
        for row in found.estimates[:-1].iter_rows(named=True):
            ends_of = row["ci_low"], row["ci_high"]
            rows.append((kind, row["estimator"], *ends_of, row["note"] or ""))
    return rows


def many_logs(job: tuple[str, int, range]) -> pl.DataFrame:
    """The same on several logs."""
    name, n, seeds = job
    case = cases()[name]
    rows = [(name, n, seed, *row) for seed in seeds for row in one_log(case, n, seed)]
    schema = ["case", "n", "seed", "interval", "estimator", "low", "high", "note"]
    return pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None).with_columns(
        truth=pl.lit(case.truth)
    )


def run(
    seeds: int, sizes: Iterable[int] = SIZES, names: Iterable[str] | None = None
) -> pl.DataFrame:
    """One row to case, n, interval and estimator."""
    jobs = [
        (name, n, range(first, min(first + AT_A_TIME, seeds)))
        for name in names or cases()
        for n in sorted(sizes)
        for first in range(0, seeds, AT_A_TIME)
    ]
    context = multiprocessing.get_context("spawn")
    parts = []
    with context.Pool(len(os.sched_getaffinity(0))) as pool:
        for i, part in enumerate(pool.imap(many_logs, jobs), 1):
            parts.append(part)
            if sys.stderr.isatty():
                print(f"\rsimulating: {i / len(jobs):.0%}", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return summarise(pl.concat(parts))


def summarise(logs: pl.DataFrame) -> pl.DataFrame:
    """Coverage, mean width, and how often the result said not to lean on the interval."""
    low, high, truth = pl.col("low"), pl.col("high"), pl.col("truth")
    # Of a lower bound: how far it stays below the truth.
    width = pl.when(high.is_infinite()).then(truth - low).otherwise(high - low)
    held = (low <= truth) & (truth <= high) & low.is_not_nan() & high.is_not_nan()
    warned = pl.col("note").str.contains("do not lean", literal=True)
    by_weights = warned & pl.col("note").str.contains("effective sample size|Pareto k")
    return (
        logs.with_columns(held=held, width=width, noted=warned, by_weights=by_weights)
        .group_by("case", "n", "interval", "estimator", maintain_order=True)
        .agg(
            coverage=pl.col("held").mean(),
            width=pl.col("width").drop_nans().mean(),
            noted=pl.col("noted").mean(),
            by_weights=pl.col("by_weights").mean(),
            logs=pl.len(),
        )
        .with_columns(
            promised=pl.col("interval").is_in(RANGED) | _seldom("noted"),
            saved=_seldom("by_weights") & ~_seldom("noted") & ~_kept(),
        )
        .with_columns(fails=pl.col("promised") & ~_kept())
    )


def _seldom(warning: str) -> pl.Expr:
    """Whether the result seldom warns; dm, which believes its Q-model, promises nothing."""
    return (pl.col(warning) < NOTED) & (pl.col("estimator") != "dm")


def _kept() -> pl.Expr:
    """Whether coverage is as promised: of bounds at least nominal, else near to it."""
    error, kind = pl.col("coverage") - LEVEL, pl.col("interval")
    return (
        pl.when(kind.is_in(RANGED))
        .then(error >= 0)
        .when(kind == "cressie_read")  # its ends answer for ranges, and may stand too far apart
        .then(error >= -ALLOWED)
        .otherwise(error.abs() <= ALLOWED)
    )
