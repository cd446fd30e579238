"""A world and policies that tests of roll-outs share."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
from counterfolio import policies as pi
from counterfolio.simulate import Tabular

WORLD = Tabular.random(5, 3, world_seed=3, end=0.25, reward_std=0.4)
CARTPOLE = {
    "left": pi.Softmax(lambda s: np.stack([s[:, 2], -s[:, 2]], axis=1), 0.2),
    "coin": pi.Uniform(2),
}


def tables(n=4, share=0.2):
    """Policies of WORLD that agree for the most part."""
    rng = np.random.default_rng(8)
    base = rng.dirichlet(np.ones(3), 6)
    others = rng.dirichlet(np.full(3, 0.3), (n, 6))
    return {f"p{i}": pi.Tabular((1 - share) * base + share * own) for i, own in enumerate(others)}


def rolled_out(n_episodes=40, seed=1, **options):
    return cf.on_policy_value(WORLD, tables(), n_episodes, seed, **options)
