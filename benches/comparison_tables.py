"""The tables of docs/comparison.md: the truth, our numbers and SCOPE-RL's formulas on one log."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
import polars as pl
import scope_rl_formulas as scope_rl
from comparison_logs import (
    CARRIED,
    Case,
    Lattice,
    equal_policies,
    far_policy,
    fixed_length,
    unequal_length,
)

BASIC = ("dm", "tis", "pdis", "dr", "sntis", "snpdis", "sndr")
MARGINAL = ("is", "dr", "snis", "sndr")
GAMMAS = (1.0, 0.9)
TAIL = 0.1
#: Of the lattices: kernels of finite reach end between two points.
BANDWIDTH = 0.155


def _scope_rl_basic(name: str, rows: scope_rl.Rows, gamma: float, whole: bool = False) -> float:
    return float(scope_rl.basic(name, rows, gamma, disable_reward_after_done=not whole).mean())


def basic() -> pl.DataFrame:
    """Fixed lengths: as their wrapper calls it, and with its switch for the last reward off."""
    found = []
    for gamma in GAMMAS:
        case = fixed_length(gamma)
        rows = case.theirs()
        found += [
            {
                "estimator": name,
                "gamma": gamma,
                "truth": case.truth,
                "ours": ours,
                "theirs": _scope_rl_basic(name, rows, gamma),
                "theirs, last reward kept": _scope_rl_basic(name, rows, gamma, whole=True),
            }
            for name, ours in zip(BASIC, case.ours(BASIC), strict=True)
        ]
    return pl.DataFrame(found)


def unequal() -> pl.DataFrame:
    """Unequal lengths, filled up in two ways."""
    case = unequal_length(0.9)
    neutral, carried = case.theirs(), case.theirs(CARRIED)
    return pl.DataFrame(
        [
            {
                "estimator": name,
                "gamma": case.gamma,
                "truth": case.truth,
                "ours": ours,
                "theirs": _scope_rl_basic(name, neutral, case.gamma),
                "theirs, last reward kept": _scope_rl_basic(name, neutral, case.gamma, whole=True),
                "theirs, last row carried on": _scope_rl_basic(
                    name, carried, case.gamma, whole=True
                ),
            }
            for name, ours in zip(BASIC, case.ours(BASIC), strict=True)
        ]
    )


def long_horizons() -> pl.DataFrame:
    """All episodes return 1, so the truth is 1 whatever the policy."""
    logs = {
        f"π = b, {actions} actions": (actions, (20, 320, 330) if actions == 10 else (160, 170))
        for actions in (10, 100)
    }
    found = []
    for what, (actions, horizons) in logs.items():
        found += [
            (what, n_steps, name, equal_policies(n_steps, actions))
            for n_steps in horizons
            for name in ("pdis", "sntis")
        ]
    found += [
        ("π = 0.99, b = 0.5", n_steps, name, far_policy(n_steps))
        for n_steps in (20, 50, 100)
        for name in ("sntis", "snpdis")
    ]
    return pl.DataFrame(
        [
            {
                "log": what,
                "steps": n_steps,
                "estimator": name,
                "truth": 1.0,
                "ours": log.ours([name])[0],
                "theirs": _scope_rl_basic(name, log.theirs(), 1.0),
            }
            for what, n_steps, name, log in found
        ]
    )


def marginal() -> pl.DataFrame:
    """Exact ratios of visits by step, n_step of 0 and 1."""
    found = []
    for gamma in GAMMAS:
        case = fixed_length(gamma)
        rows = case.theirs()
        asked = [("sm_dm", 0), ("drl", 0)]
        asked += [(f"{by}_{form}", k) for by in ("sm", "sam") for form in MARGINAL for k in (0, 1)]
        ours = case.ours([cf.Estimator(n, n_step=k) if k else n for n, k in asked])
        for (name, k), value in zip(asked, ours, strict=True):
            both = (
                [rows.v[:, 0]] * 2
                if name == "sm_dm"
                else [scope_rl.marginal(name, rows, gamma, k, mended=m) for m in (False, True)]
            )
            found.append(
                {
                    "estimator": name,
                    "n_step": k,
                    "gamma": gamma,
                    "truth": case.truth,
                    "ours": value,
                    "theirs": float(both[0].mean()),
                    "theirs, mended": float(both[1].mean()),
                }
            )
    return pl.DataFrame(found)


def default_grid(case: Case) -> np.ndarray:
    """Their `reward_scale`: what episodes returned, undiscounted whatever gamma is."""
    return np.unique(case.theirs().reward.sum(axis=1))


def distribution() -> pl.DataFrame:
    """F at every return there is, gamma 1."""
    case = fixed_length(1.0)
    points, probability = case.returns
    ours = case.distribution(["cd_tis"]).cdf.filter(policy="new", estimator="cd_tis")
    rows, grid = case.theirs(), default_grid(case)
    assert np.array_equal(points, ours["x"])
    assert np.array_equal(points, grid)
    return pl.DataFrame(
        {
            "x": points,
            "truth": probability.cumsum(),
            "ours": ours["probability"],
            "theirs": scope_rl.cdf("cd_tis", rows, 1.0, grid),
            "theirs, mended": scope_rl.cdf("cd_tis", rows, 1.0, grid, mended=True),
        }
    )


def statistics() -> pl.DataFrame:
    """Mean and CVaR from F; mended, they are taken on a grid of discounted returns."""
    found = []
    for gamma in GAMMAS:
        case = fixed_length(gamma)
        points, probability = case.returns
        below = probability.cumsum()
        truths = {
            "mean": scope_rl.mean(below, points, mended=True),
            "cvar": scope_rl.cvar(below, points, TAIL, mended=True),
        }
        rows, grid = case.theirs(), default_grid(case)
        own = np.unique(scope_rl.returns_and_weights(rows, gamma, mended=True)[0])
        names = ("cd_tis", "cd_sntis", "cd_tdr", "cd_sntdr")
        table = case.distribution(names).statistics(alpha=[TAIL]).filter(policy="new")
        for name in names:
            theirs = scope_rl.cdf(name, rows, gamma, grid)
            mended = scope_rl.cdf(name, rows, gamma, own, mended=True)
            values = {
                "mean": (
                    scope_rl.mean(theirs, grid),
                    scope_rl.mean(mended, own, mended=True),
                ),
                "cvar": (
                    scope_rl.cvar(theirs, grid, TAIL),
                    scope_rl.cvar(mended, own, TAIL, mended=True),
                ),
            }
            found += [
                {
                    "estimator": name,
                    "statistic": statistic,
                    "gamma": gamma,
                    "truth": truths[statistic],
                    "ours": table.filter(estimator=name, statistic=statistic)["value"][0],
                    "theirs": values[statistic][0],
                    "theirs, mended": values[statistic][1],
                }
                for statistic in ("mean", "cvar")
            ]
    return pl.DataFrame(found)


def kernels() -> pl.DataFrame:
    """One step, whose actions are vectors; what undoes each error is a factor in closed form."""
    found = []

    def add(
        what: str, log: Lattice, name: str, theirs: np.ndarray, factor: float | None, h: float
    ) -> None:
        value = float((theirs * log.reward).mean())
        found.append(
            {
                "log": what,
                "d": log.d,
                "kernel": name,
                "truth": log.truth,
                "ours": log.ours(name, h),
                "theirs": value,
                "theirs, mended": None if factor is None else value / factor,
            }
        )

    line, plane, room = Lattice(1, 2.0, 400), Lattice(2, 2.0, 100), Lattice(3, 2.0, 40)
    h = BANDWIDTH

    def weight(log: Lattice, name: str = "gaussian", joint: bool = False) -> np.ndarray:
        return scope_rl.kernel_weight(name, log.action, log.chosen, log.pscore(joint), h)

    for name in ("gaussian", "triangular", "epanechnikov", "cosine", "uniform"):
        add("the class called by itself", line, name, weight(line, name), 1.0, h)
    cast = scope_rl.cast_action(line.action)
    through = scope_rl.kernel_weight("gaussian", cast, line.chosen, line.pscore(joint=False), h)
    add("through the wrapper", line, "gaussian", through, None, h)
    mass = np.sqrt(2 * np.pi) * h
    for log in (plane, room):
        what = f"{log.d} dimensions"
        add(what, log, "gaussian", weight(log), mass ** (log.d - 1), h)
    twice = mass * plane.width ** (plane.d * (plane.d - 1))
    add("the joint density in every column", plane, "gaussian", weight(plane, joint=True), twice, h)
    wide = Lattice(1, 10.0, 400)
    slope = 2 / wide.width
    scaled = scope_rl.kernel_weight(
        "gaussian", wide.action, wide.chosen, wide.pscore(joint=False), h, (0.0, wide.width)
    )
    add("actions scaled to -1 to 1", wide, "gaussian", scaled, 1 / slope, h / slope)
    return pl.DataFrame(found)
