"""The first rows of a log of every environment, as they were when they were first published.

Made by `python tests/test_simulate_golden.py`. If a dependency draws in another way (a newer
rand_distr, another order of the streams), logs of a seed become others: that is for a release to
announce, in CHANGELOG.md, before this file is made anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import policies as pi
from counterfolio import simulate

PLACE = Path(__file__).parent / "goldens" / "simulate.json"
SEED, N_EPISODES, ROWS = 20240229, 3, 14
#: Probabilities without a transcendental function, whose last bits are the machine's.
STEPS = np.arange(1, 11) / 55


def tilted(k):
    """Prefer actions by the sign of the state's first number."""
    ahead = STEPS[:k] / STEPS[:k].sum()
    return pi.Probabilities(lambda s: np.where(s[:, :1] > 0, ahead, ahead[::-1]))


CASES = {
    "Basic": (simulate.Basic(reward_std=0.5, obs_std=0.1), tilted(10)),
    "Basic, binary": (simulate.Basic(reward_type="binary"), tilted(10)),
    "Basic, continuous": (
        simulate.Basic(action_type="continuous"),
        pi.Gaussian(lambda s: s[:, :3] / 2, 0.5),
    ),
    "Recommender": (simulate.Recommender(reward_std=0.5), tilted(5)),
    "RealTimeBidding": (simulate.RealTimeBidding(), tilted(10)),
    "RealTimeBidding, continuous": (
        simulate.RealTimeBidding(
            action_type="continuous", objective="click", cost_indicator="impression"
        ),
        pi.TruncatedGaussian(lambda s: 0 * s[:, :1], 0.5, -1, 1),
    ),
    "Tabular": (simulate.Tabular.random(6, 3, end=0.1, reward_std=0.1), pi.Uniform(3)),
}


def rows(name):
    env, policy = CASES[name]
    log = cf.collect(env, policy, N_EPISODES, SEED)
    names = [*log._table.names]
    return pl.DataFrame([log.column(n) for n in names]).head(ROWS).to_dict(as_series=False)


@pytest.mark.parametrize("name", CASES)
def test_a_seed_still_makes_the_log_that_it_made(name):
    wanted = json.loads(PLACE.read_text("utf-8"))["logs"][name]
    found = rows(name)
    assert found.keys() == wanted.keys()
    for column, values in wanted.items():
        # Within what another machine's logarithm may round otherwise.
        np.testing.assert_allclose(
            np.array(found[column], dtype=float),
            np.array(values, dtype=float),
            rtol=1e-9,
            atol=1e-12,
            err_msg=f"{name}, {column}",
        )


def test_a_seed_still_makes_its_episodes():
    wanted = json.loads(PLACE.read_text("utf-8"))["episode_seeds"]
    assert simulate.episode_seeds(SEED, len(wanted)).tolist() == wanted


if __name__ == "__main__":
    made = {
        "about": "first rows of cf.collect(env, policy, 3, 20240229); see test_simulate_golden.py",
        "episode_seeds": simulate.episode_seeds(SEED, 5).tolist(),
        "logs": {name: rows(name) for name in CASES},
    }
    text = json.dumps(made).replace('], "', '],\n"').replace('}, "', '},\n"')
    PLACE.write_text(text + "\n", "utf-8")
