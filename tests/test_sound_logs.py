"""`log.report` leaves sound logs alone, of many kinds."""

from __future__ import annotations

from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from made_logs import draw, report_of, softmax, world

MEN = Path(__file__).parents[1] / "data" / "open_bandit" / "random_men.parquet"


def uniform(seed):
    rng = np.random.default_rng(seed)
    n, actions = 4000, 7
    return report_of(
        {
            "action": rng.integers(actions, size=n),
            "reward": rng.normal(size=n),
            "propensity": np.full(n, 1 / actions),
        }
    )


def contextual(seed):
    return report_of(world(seed)[0])


def episodes(seed):
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(500), rng.integers(1, 12, 500))
    probs = softmax(rng.normal(size=(len(ids), 3)))
    action = draw(rng, probs)
    frame = {
        "id": ids,
        "action": np.array(["left", "right", "stay"])[action],
        "reward": rng.exponential(size=len(ids)),
        "propensity": probs[np.arange(len(ids)), action],
        "group": rng.choice(["a", "b"], len(ids)),
    }
    return report_of(frame, episode_id="id")


def rare_actions(seed):
    """Hundreds of actions of which most are rare."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, 301)
    p /= p.sum()
    action = rng.choice(300, 20_000, p=p)
    return report_of({"action": action, "reward": rng.random(20_000), "propensity": p[action]})


def dense(seed):
    frame, probs = world(seed)
    del frame["propensity"]
    log = cf.LoggedData.from_frame(frame, propensity=None, action_probs=probs)
    return log.report


def few_columns(seed):
    """Rows that repeat because there is little in them."""
    rng = np.random.default_rng(seed)
    return report_of(
        {
            "action": rng.integers(2, size=3000),
            "reward": rng.integers(2, size=3000),
            "propensity": np.full(3000, 0.5),
        }
    )


def greedy(seed):
    """Epsilon-greedy with a small epsilon: propensities of two sizes."""
    rng = np.random.default_rng(seed)
    best = rng.integers(4, size=8000)
    probs = np.full((8000, 4), 0.02 / 4)
    probs[np.arange(8000), best] += 0.98
    action = draw(rng, probs)
    return report_of(
        {
            "action": action,
            "reward": rng.random(8000),
            "propensity": probs[np.arange(8000), action],
        }
    )


def skewed(seed):
    """Propensities whose inverses have a mean that the log hardly shows."""
    rng = np.random.default_rng(seed)
    probs = softmax(4 * rng.normal(size=(20_000, 10)))
    action = draw(rng, probs)
    frame = {"action": action, "reward": rng.random(20_000)}
    return report_of({**frame, "propensity": probs[np.arange(20_000), action]})


def hardly_exploring(seed):
    """Epsilon-greedy among many actions in contexts: most are explored a few times."""
    rng = np.random.default_rng(seed)
    n, actions, epsilon = 1500, 30, 0.02
    best = rng.integers(actions, size=n)
    action = np.where(rng.random(n) < epsilon, rng.integers(actions, size=n), best)
    propensity = np.where(action == best, 1 - epsilon, 0) + epsilon / actions
    frame = {"id": np.arange(n), "action": action, "reward": rng.random(n) < 0.01}
    return report_of({**frame, "propensity": propensity})


def hardly_exploring_dense(seed):
    rng = np.random.default_rng(seed)
    n, actions, epsilon = 1500, 30, 0.002
    probs = np.full((n, actions), epsilon / actions)
    probs[np.arange(n), rng.integers(actions, size=n)] += 1 - epsilon
    frame = {"id": np.arange(n), "action": draw(rng, probs), "reward": rng.random(n)}
    return cf.LoggedData.from_frame(frame, propensity=None, action_probs=probs).report


def seconds(seed):
    """Events of a busy day, to the second and without ids: some fall together by chance."""
    rng = np.random.default_rng(seed)
    n = 10_000
    at = np.sort(rng.integers(86_400, size=n))
    frame = {"at": at.astype("datetime64[s]"), "action": rng.integers(3, size=n)}
    frame |= {"reward": (rng.random(n) < 0.02) * 1.0, "propensity": np.full(n, 1 / 3)}
    return report_of(frame)


def forced(seed):
    """Some rows were decided by a rule, with propensity 1 and one action."""
    rng = np.random.default_rng(seed)
    n = 3000
    rule = rng.random(n) < 0.05
    p = np.where(rule, 1.0, rng.uniform(0.2, 0.8, n))
    action = np.where(rule | (rng.random(n) < p), 0, 1)
    frame = {"action": action, "reward": (rng.random(n) < 0.1) * 1.0}
    return report_of({**frame, "propensity": np.where(action == 0, p, 1 - p)})


def clock(seed):
    """A timestep in seconds, which skips nearly always."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(300), 5)
    at = np.cumsum(rng.integers(1, 90, len(ids)))
    frame = {"id": ids, "at": at, "action": rng.integers(2, size=len(ids))}
    frame |= {"reward": rng.random(len(ids)), "propensity": np.full(len(ids), 0.5)}
    return report_of(frame, episode_id="id", timestep="at")


def odd_columns(seed):
    """Columns that polars cannot take, or of another length, which no part uses."""
    rng = np.random.default_rng(seed)
    n = 600
    frame = {"action": rng.integers(2, size=n), "reward": rng.random(n)}
    frame |= {"propensity": np.full(n, 0.5), "at": np.arange(n).astype("datetime64[m]")}
    frame |= {"complex": np.ones(n) * 1j, "objects": [object()] * n}
    return report_of({**frame, "short": pl.Series(["2020-01-01"] * 3).str.to_date()})


@pytest.mark.parametrize(
    "make",
    [
        *(uniform, contextual, episodes, rare_actions, dense, few_columns, greedy, skewed, clock),
        *(hardly_exploring, hardly_exploring_dense, seconds, forced, odd_columns),
    ],
)
def test_sound_logs_are_left_alone(make):
    for seed in range(40):
        # That propensities are small is so, and worth saying.
        loud = [
            f
            for f in make(seed).findings
            if f.severity != "info" and "the smallest propensity" not in f.message
        ]
        assert loud == [], seed


def test_the_real_log_is_sound():
    roles = {"action": "item_id", "reward": "click", "propensity": "propensity_score"}
    log = cf.read_parquet(MEN, **roles)
    assert [f for f in log.report.findings if f.severity != "info"] == []
    assert len(log.report.actions) == 34
    assert log.report.over_time["first"][0].startswith("2019-11-24")
