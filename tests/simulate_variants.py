"""Variants of the environments, and actions for them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from counterfolio import simulate
from counterfolio.simulate import EpisodeRandom

TABLES = {
    "transition": np.array(
        [[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]], [[0.2, 0.7, 0.1]] * 2, [[0, 0, 1]] * 2]
    ),
    "reward": np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 0.0]]),
    "terminal": [2],
}
VARIANTS = [
    ("Basic", {}),
    ("Basic", {"action_type": "continuous", "reward_std": 0.5, "obs_std": 0.2}),
    ("Basic", {"reward_type": "binary", "horizon": 3, "state_dim": 1, "action_dim": 1}),
    ("Recommender", {}),
    ("Recommender", {"reward_type": "binary", "obs_std": 0.4, "n_items": 20}),
    ("Recommender", {"reward_std": 1.0, "drift": 0.3}),
    ("RealTimeBidding", {}),
    (
        "RealTimeBidding",
        {"action_type": "continuous", "objective": "click", "cost_indicator": "impression"},
    ),
    ("RealTimeBidding", {"initial_budget": 300, "cost_indicator": "conversion", "n_actions": 4}),
    ("Tabular", TABLES),
    ("Tabular", {**TABLES, "horizon": 4, "reward_std": 0.3}),
]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(VARIANTS)]


def made(name, arguments):
    return getattr(simulate, name)(**arguments)


def actions_of(environment, seeds, step):
    """Some action for each seed, the same whichever others are asked for."""
    rng = EpisodeRandom(np.asarray(seeds), step, "test")
    if isinstance(environment.action_space, gym.spaces.Discrete):
        return rng.integers(environment.action_space.n, size=len(seeds))
    return rng.uniform(-1, 1, (len(seeds), *environment.action_space.shape))
