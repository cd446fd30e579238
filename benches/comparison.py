"""Writes docs/comparison.md: our numbers beside SCOPE-RL's formulas, on the same logs.

`python benches/comparison.py` takes seconds. True values are computed exactly.
"""

from __future__ import annotations

from pathlib import Path

import counterfolio as cf
import numpy as np
import scope_rl_formulas as scope
from scipy import stats

GAMMA = 0.9
STEPS = 5
PAGE = Path(__file__).resolve().parents[1] / "docs" / "comparison.md"


class Process:
    """Three states, two actions, five steps; Q, visits and values of a policy are exact."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.move = rng.dirichlet(np.ones(3), size=(3, 2))
        self.reward = rng.normal(0.5, 1.0, size=(3, 2))
        self.start = np.array([0.5, 0.3, 0.2])

    def q(self, policy: np.ndarray) -> np.ndarray:
        found, after = np.zeros((STEPS, 3, 2)), np.zeros(3)
        for t in reversed(range(STEPS)):
            found[t] = self.reward + GAMMA * (self.move @ after)
            after = (policy * found[t]).sum(axis=1)
        return found

    def visits(self, policy: np.ndarray) -> np.ndarray:
        found = np.zeros((STEPS, 3))
        found[0] = self.start
        for t in range(1, STEPS):
            found[t] = np.einsum("s,sa,sat->t", found[t - 1], policy, self.move)
        return found

    def value(self, policy: np.ndarray) -> float:
        return float(self.start @ (policy * self.q(policy)[0]).sum(axis=1))


class Log:
    """A log of the process as matrices, with what every estimator needs; Q is off by a little."""

    def __init__(self, n: int = 20_000) -> None:
        rng = np.random.default_rng(2)
        world = Process()
        behavior = np.array([[0.6, 0.4], [0.5, 0.5], [0.3, 0.7]])
        target = np.array([[0.3, 0.7], [0.7, 0.3], [0.5, 0.5]])
        state = rng.choice(3, n, p=world.start)
        columns: dict[str, list[np.ndarray]] = {}
        tables = world.q(target) + rng.normal(0, 0.2, size=(STEPS, 3, 2))
        ratio = world.visits(target) / world.visits(behavior)
        for t in range(STEPS):
            action = (rng.random(n) < behavior[state, 1]).astype(int)
            rho = target[state, action] / behavior[state, action]
            step = {
                "reward": world.reward[state, action] + 0.3 * rng.normal(size=n),
                "propensity": behavior[state, action],
                "prob": target[state, action],
                "q": tables[t][state, action],
                "v": (target * tables[t]).sum(axis=1)[state],
                "mu": ratio[t][state],
                "mu_sa": ratio[t][state] * rho,
            }
            for key, x in step.items():
                columns.setdefault(key, []).append(x)
            draw = rng.random(n)[:, None]
            cut = world.move[state, action].cumsum(axis=1)
            state = np.minimum((cut < draw).sum(axis=1), 2)
        self.m = {key: np.column_stack(x) for key, x in columns.items()}
        self.truth = world.value(target)
        frame = {key: x.ravel() for key, x in self.m.items()}
        frame |= {"action": np.zeros(n * STEPS, int), "id": np.repeat(np.arange(n), STEPS)}
        self.log = cf.LoggedData.from_frame(frame, episode_id="id")
        self.policy = cf.PolicyColumns(
            prob="prob", q="q", v="v", state_ratio="mu", state_action_ratio="mu_sa"
        )

    def ours(self, estimators: list) -> dict[str, float]:
        found = cf.evaluate(self.log, {"new": self.policy}, estimators, gamma=GAMMA)
        return dict(zip(found.estimates["estimator"], found.estimates["value"], strict=True))


#: What, the truth, ours, theirs, and why they differ.
Row = tuple[str, float, float, float, str]


def basic_rows(log: Log) -> list[Row]:
    m = log.m
    names = ["dm", "tis", "pdis", "dr", "sntis", "snpdis", "sndr"]
    ours, w = log.ours(names), scope.cumulative(m["prob"], m["propensity"])
    rows: list[Row] = []
    for name in names:
        plain = scope.basic(name, w, m["reward"], m["q"], m["v"], GAMMA)
        cut = scope.basic(name, w, scope.masked(m["reward"]), m["q"], m["v"], GAMMA)
        same = "the same numbers" if abs(plain - ours[name]) < 1e-6 else "differs"
        why = f"by default its last reward is gone; with `disable_reward_after_done=False` {same}"
        rows.append((name, log.truth, ours[name], cut, "no rewards read" if name == "dm" else why))
    return rows


def marginal_rows(log: Log) -> list[Row]:
    m = log.m
    rho = m["prob"] / m["propensity"]
    rows: list[Row] = []
    ratio = "one ratio short: the state's weight without the action's"
    after = "V(s') is shifted wrongly at the end of each episode"
    why = {
        "sm_is": ratio,
        "sm_dr": f"{ratio}; {after}",
        "sm_snis": ratio,
        "sm_sndr": f"{ratio}; {after}; V(s_1) stands for V(s_0)",
        "sam_is": "the same numbers",
        "sam_dr": after,
        "sam_snis": "the same numbers",
        "sam_sndr": after,
    }
    for name, said in why.items():
        for k in (0, 2):
            asked = cf.Estimator(name, n_step=k)
            mu = m["mu"] if name.startswith("sm_") else m["mu_sa"]
            w = scope.marginal_weight(rho, mu, k)
            theirs = scope.marginal(name, w, m["reward"], m["q"], m["v"], GAMMA)
            rows.append((asked.label, log.truth, log.ours([asked])[asked.label], theirs, said))
    theirs = scope.drl(m["mu_sa"], m["reward"], m["q"], m["v"])
    rows.append(("drl", log.truth, log.ours(["drl"])["drl"], theirs, "no discount anywhere"))
    return rows


def distribution_rows() -> list[Row]:
    """Integer returns of the logged policy itself, so that the truth is the sample's."""
    rng = np.random.default_rng(3)
    reward = rng.integers(0, 2, size=(5000, 3)).astype(float)
    frame = {
        "id": np.repeat(np.arange(5000), 3),
        "action": np.zeros(15_000, int),
        "reward": reward.ravel(),
        "propensity": np.full(15_000, 0.5),
    }
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    rows: list[Row] = []
    for gamma in (1.0, GAMMA):
        found = cf.evaluate_distribution(log, {"same": "propensity"}, ["cd_sntis"], gamma=gamma)
        ours = found.statistics((0.25,)).filter(policy="same")["value"]
        grid, f = scope.distribution(np.ones((5000, 3)), reward, gamma, normalised=True)
        returns = reward @ gamma ** np.arange(3)
        why = "mass of a bin at its right edge"
        why += "" if gamma == 1 else "; discounted from gamma^1, on a grid of undiscounted returns"
        label = f"mean of cd_sntis, gamma {gamma:g}"
        rows.append((label, float(returns.mean()), ours[0], scope.mean_of(grid, f), why))
        if gamma == 1:
            below = float((returns <= 1).mean())
            own = found.cdf.filter(policy="same", x=1.0)["probability"][0]
            theirs = float(f[np.flatnonzero(grid == 1)[0]])
            rows.append(("F(1), gamma 1", below, own, theirs, "F(x) is P(G < x)"))
    return rows


def continuous_rows() -> list[Row]:
    """Rewards of 1, so that every estimate is the mean weight, which is 1 for a density."""
    rng = np.random.default_rng(4)
    rows: list[Row] = []
    for d, bandwidth in ((1, 0.5), (2, 0.5), (3, 0.5), (2, 0.1)):
        action = rng.normal(size=(200_000, d))
        density = stats.norm.pdf(action).prod(axis=1)
        frame = {"a": action, "reward": np.ones(len(action)), "propensity": density}
        log = cf.LoggedData.from_frame(frame, action="a", action_type="continuous")
        target = np.zeros_like(action)
        kernel = cf.policies.Kernel("gaussian", bandwidth)
        policy = cf.PolicyColumns(action=target, kernel=kernel)
        ours = cf.evaluate(log, {"zero": policy}, ["tis"]).estimates["value"][0]
        theirs = float(scope.kernel_weight(action, target, density, bandwidth).mean())
        why = "agree within chance" if d == 1 else f"normalised for 1 of {d} dimensions"
        rows.append((f"tis, d = {d}, h = {bandwidth}", 1.0, ours, theirs, why))
    return rows


def interval_rows() -> list[Row]:
    """Intervals of a mean of uniform returns: half-width of ours and theirs, and coverage of t."""
    rng = np.random.default_rng(5)
    rows: list[Row] = []
    for n in (100, 10_000):
        x = rng.random(n)
        frame = {"action": np.zeros(n, int), "reward": x, "propensity": np.ones(n)}
        log = cf.LoggedData.from_frame(frame)
        options = {"interval": "hoeffding", "value_range": (0.0, 1.0)}
        found = cf.evaluate(log, {"same": "propensity"}, ["tis"], **options)
        row = found.estimates.row(0, named=True)
        low, high = scope.hoeffding(x)
        right = float(np.sqrt(np.log(2 / 0.05) / (2 * n)))
        ours = (row["ci_high"] - row["ci_low"]) / 2
        why = "n multiplies within the root where it divides; the sample's maximum for the range"
        rows.append((f"half-width, Hoeffding, n = {n:,}", right, ours, (high - low) / 2, why))
    inside = [0, 0]
    for seed in range(2000):
        x = np.random.default_rng([6, seed]).random(20)
        frame = {"action": np.zeros(20, int), "reward": x, "propensity": np.ones(20)}
        log = cf.LoggedData.from_frame(frame)
        found = cf.evaluate(log, {"same": "propensity"}, ["tis"], interval="t").estimates
        inside[0] += found["ci_low"][0] <= 0.5 <= found["ci_high"][0]
        low, high = scope.t_interval(x)
        inside[1] += low <= 0.5 <= high
    why = "a one-sided quantile to both sides (90 % for 95 %)"
    rows.append(("coverage of t at 95 %, n = 20", 0.95, inside[0] / 2000, inside[1] / 2000, why))
    return rows


def horizon_rows() -> list[Row]:
    """pi = b: every weight is 1, whatever the horizon."""
    rows: list[Row] = []
    for steps in (300, 400):
        p = np.full((2, steps), 0.1)
        theirs = float(scope.cumulative(p, p)[:, -1].mean())
        frame = {
            "id": np.repeat([0, 1], steps),
            "action": np.zeros(2 * steps, int),
            "reward": np.tile(np.arange(steps) == steps - 1, 2) * 1.0,
            "propensity": p.ravel(),
        }
        log = cf.LoggedData.from_frame(frame, episode_id="id")
        ours = cf.evaluate(log, {"same": "propensity"}, ["tis"]).estimates["value"][0]
        why = "two products, each of which vanishes" if np.isnan(theirs) else "agree"
        rows.append((f"mean weight, {steps} steps of 1/10", 1.0, ours, theirs, why))
    return rows


def tables() -> dict[str, list[Row]]:
    log = Log()
    return {
        "Basic": basic_rows(log),
        "Marginal": marginal_rows(log),
        "Distribution": distribution_rows(),
        "Continuous actions": continuous_rows(),
        "Intervals": interval_rows(),
        "Long horizons": horizon_rows(),
    }


SAID = {
    "Basic": (
        "20,000 episodes of five steps, gamma 0.9. The reward of the last step is a part of the "
        "value; SCOPE-RL masks it unless told not to. What a mask leaves is another estimand, and "
        "its `dr` then takes off a Q that still has that reward."
    ),
    "Marginal": "The same log, exact ratios by step.",
    "Distribution": (
        "5,000 episodes of three coins, evaluated for the logged policy itself: the sample is the "
        "truth."
    ),
    "Continuous actions": (
        "Rewards of 1: the estimate is the mean weight, which is 1 where the kernel is a density."
    ),
    "Intervals": (
        "Returns uniform on [0, 1]. In the first two rows the truth is Hoeffding's formula."
    ),
    "Long horizons": "Equal policies.",
}
HEAD = """# Beside SCOPE-RL

Written by `python benches/comparison.py`. "SCOPE-RL" is what the formulas of its version 0.2.1
give, as its code has them, restated in numpy (`benches/scope_rl_formulas.py` names the file of
each); the package itself was not run. Names and data structures are mapped in
[Coming from elsewhere](migration.md).
"""
COLUMNS = "| | truth | counterfolio | SCOPE-RL | why |\n|---|---|---|---|---|"


def page() -> str:
    """The page as it is to be."""
    parts = [HEAD]
    for title, rows in tables().items():
        parts.append(f"## {title}\n\n{SAID[title]}\n\n{COLUMNS}")
        for label, *numbers, why in rows:
            parts.append(f"| {label} | {' | '.join(map(_number, numbers))} | {why} |")
        parts.append("")
    return "\n".join(parts)


def _number(x: float) -> str:
    return f"{x:.4g}" if np.isfinite(x) else "NaN"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
