"""Intervals of docs/comparison.md: half widths, and how often they hold the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import counterfolio as cf
import numpy as np
import polars as pl
import scope_rl_formulas as scope_rl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ALPHA = 0.05
PROB = np.array([0.8, 0.2])
#: The largest weight: b is 1/2.
LARGEST = 1.6
THEIRS = {
    "hoeffding": scope_rl.hoeffding,
    "empirical_bernstein": scope_rl.bernstein,
    "t": scope_rl.t_test,
}


@dataclass(frozen=True)
class Bandit:
    """Two actions at random; a reward is `size` with the action's chance, else `otherwise`."""

    chance: tuple[float, float]
    size: float = 1.0
    otherwise: float = 0.0

    @property
    def truth(self) -> float:
        """The policy's value."""
        gain = PROB @ np.array(self.chance)
        return float(gain * self.size + (1 - gain) * self.otherwise)

    @property
    def value_range(self) -> tuple[float, float]:
        """Between what w r lies."""
        return LARGEST * min(self.size, self.otherwise, 0.0), LARGEST * max(self.size, 0.0)

    def draw(self, n: int, seed: int) -> tuple[NDArray[np.int64], Floats]:
        """Draw actions and rewards."""
        rng = np.random.default_rng(seed)
        action = rng.integers(2, size=n)
        won = rng.random(n) < np.array(self.chance)[action]
        return action, np.where(won, self.size, self.otherwise)


def both(log: Bandit, kind: str, n: int, seed: int) -> tuple[Floats, Floats]:
    """Ends of our interval and of theirs, for `tis`."""
    action, reward = log.draw(n, seed)
    table = {"action": action, "reward": reward, "propensity": np.full(n, 0.5)}
    found = cf.evaluate(
        cf.LoggedData.from_frame(table),
        {"new": PROB[action]},
        ["tis"],
        interval=kind,
        confidence_level=1 - ALPHA,
        value_range=None if kind == "t" else log.value_range,
    ).estimates.row(0, named=True)
    terms = PROB[action] / 0.5 * reward
    half = THEIRS[kind](terms, ALPHA)
    return np.array([found["ci_low"], found["ci_high"]]), terms.mean() + np.array([-half, half])


WINS = Bandit((0.3, 0.6))
LOSSES = Bandit((0.3, 0.6), size=-1.0, otherwise=-2.0)
RARE = Bandit((0.005, 0.02))


def widths() -> pl.DataFrame:
    """Half the width of intervals at three sizes, and where all rewards are losses."""
    found = []
    for what, log, sizes in (("wins", WINS, (100, 1_000, 10_000)), ("losses", LOSSES, (100,))):
        for kind in THEIRS:
            for n in sizes:
                ours, theirs = both(log, kind, n, seed=n)
                found.append(
                    {
                        "rewards": what,
                        "interval": kind,
                        "n": n,
                        "ours": float(np.diff(ours)[0] / 2),
                        "theirs": float(np.diff(theirs)[0] / 2),
                    }
                )
    return pl.DataFrame(found)


def coverage() -> pl.DataFrame:
    """The share of logs whose interval, meant to hold the truth in 95 %, does."""
    found = []
    for what, log, kind, n, logs in (
        ("wins", WINS, "t", 200, 2_000),
        ("rare wins", RARE, "hoeffding", 100, 400),
        ("rare wins", RARE, "empirical_bernstein", 100, 400),
    ):
        held = np.zeros(2)
        for seed in range(logs):
            ends = both(log, kind, n, seed)
            held += [low <= log.truth <= high for low, high in ends]
        ours, theirs = 100 * held / logs
        found.append(
            {
                "rewards": what,
                "interval": kind,
                "n": n,
                "logs": logs,
                "ours, %": ours,
                "theirs, %": theirs,
            }
        )
    return pl.DataFrame(found)


def resampled() -> pl.DataFrame:
    """The bootstrap of `sntis` where every reward is 1: no weighted mean can be anything else."""
    n = 200
    action = np.random.default_rng(0).integers(2, size=n)
    table = {"action": action, "reward": np.ones(n), "propensity": np.full(n, 0.5)}
    ours = cf.evaluate(
        cf.LoggedData.from_frame(table),
        {"new": PROB[action]},
        ["sntis"],
        interval="bootstrap",
        seed=0,
    ).estimates.row(0, named=True)
    weight = PROB[action]
    theirs = scope_rl.bootstrap(weight / weight.mean(), ALPHA, 1_000, seed=0)
    return pl.DataFrame(
        {
            "end": ["low", "high"],
            "truth": [1.0, 1.0],
            "ours": [ours["ci_low"], ours["ci_high"]],
            "theirs": list(theirs),
        }
    )
