"""Environments and policies that tests of simulation share."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import polars as pl
from counterfolio import policies as pi
from counterfolio.simulate import Basic, RealTimeBidding, Recommender, Tabular

WEIGHTS = np.random.default_rng(0).normal(size=(7, 10))


def softmax(d, k, temperature=1.0):
    return pi.Softmax(lambda s: np.clip(s, -3, 3) @ WEIGHTS[:d, :k], temperature)


def frame(log):
    return pl.DataFrame([log.column(name) for name in log._table.names])


CARTPOLE = softmax(4, 2)
ENVIRONMENTS = {
    "Basic": (Basic(reward_std=0.3), softmax(5, 10)),
    "Basic-continuous": (
        Basic(action_type="continuous", obs_std=0.1),
        pi.Gaussian(lambda s: s[:, :3] * 0.5, [0.3, 0.5, 0.7]),
    ),
    "Recommender": (Recommender(), softmax(5, 5)),
    "RealTimeBidding": (RealTimeBidding(), softmax(7, 10, 5.0)),
    "Basic-mixture": (
        Basic(action_type="continuous"),
        pi.Mixture(
            [
                pi.TruncatedGaussian(lambda s: s[:, :3], [0.2, 0.9, 5.0], -1, [1, 0.1, 0.2]),
                pi.Gaussian(lambda s: s[:, :3], 0.5),
            ]
        ),
    ),
    "RealTimeBidding-continuous": (
        RealTimeBidding(action_type="continuous"),
        pi.TruncatedGaussian(lambda s: np.zeros(len(s)), 0.5, -1, 1),
    ),
    "Tabular": (Tabular.random(6, 3, end=0.2), pi.Tabular(np.full((7, 3), 1 / 3))),
    "CartPole-v1": ("CartPole-v1", CARTPOLE),
    "FrozenLake-v1": ("FrozenLake-v1", pi.Uniform(4)),
    "Pendulum-v1": (
        lambda: gym.make("Pendulum-v1", max_episode_steps=7),
        pi.Gaussian(lambda s: -s[:, 1], 1.5),
    ),
}
