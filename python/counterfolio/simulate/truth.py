"""`on_policy_value`: what policies really return, by roll-outs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.arguments import check_gamma, is_number
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.progress import progress
from counterfolio.simulate.collection import check_behaviors
from counterfolio.simulate.environment import check_count
from counterfolio.simulate.players import check_ends, player_of
from counterfolio.simulate.playing import Step, play
from counterfolio.simulate.returns import OnPolicyValue
from counterfolio.simulate.streams import episode_seeds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from counterfolio.policies import Policy

    Floats = NDArray[np.float64]


def on_policy_value(
    env: Any,
    policies: Policy | Mapping[str, Policy],
    n_episodes: int,
    seed: int,
    *,
    gamma: float = 1.0,
    confidence_level: float = 0.95,
    common_random_numbers: bool = True,
    num_envs: int | None = None,
    max_episode_steps: int | None = None,
) -> OnPolicyValue:
    """Roll policies out, and give what they return.

    Parameters
    ----------
    env, num_envs, max_episode_steps
        As for `collect`.
    policies
        One policy (called "behavior"), or several by name.
    n_episodes
        Of each policy; 2 or more.
    seed
        One for everything. To be independent of a log, it has to be another than the log's.
    gamma
        Discount factor in (0, 1]: a return is the sum over t of gamma^t r_t, t from 0.
    confidence_level
        Of the t intervals.
    common_random_numbers
        Whether episode i of every policy has the same seed. In `counterfolio.simulate` the streams
        of environment and policy then agree step by step, elsewhere as far as the environment lets
        them. Values do not change in distribution; differences between policies are known better.

    Returns
    -------
    OnPolicyValue
        A mapping from policy to returns, which `assess` takes as the truth.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range, the environment's spaces are not offered, or its
        episodes never end.
    InvalidPolicyError
        If a policy cannot act in the environment.
    """
    named = check_behaviors(policies)
    check_count("n_episodes", n_episodes, 2)
    check_gamma(gamma)
    if not is_number(confidence_level) or not 0 < confidence_level < 1:
        text = f"confidence_level must be in (0, 1), not {confidence_level!r}"
        raise InvalidArgumentError(text)
    seeds = episode_seeds(seed, n_episodes * (1 if common_random_numbers else len(named)))
    player = player_of(env, num_envs)
    returns = {name: np.zeros(n_episodes) for name in named}
    lengths = {name: np.zeros(n_episodes, dtype=np.int64) for name in named}
    try:
        check_ends(player, max_episode_steps)
        with progress("rolling out") as report:
            for p, (name, policy) in enumerate(named.items()):
                own = seeds if common_random_numbers else seeds[p * n_episodes :][:n_episodes]
                for first in range(0, n_episodes, player.num_envs):
                    part = slice(first, min(first + player.num_envs, n_episodes))
                    earned, steps = returns[name][part], lengths[name][part]

                    def visit(
                        t: int,
                        step: Step,
                        earned: Floats = earned,
                        steps: NDArray[np.int64] = steps,
                    ) -> None:
                        earned[step.rows] += gamma**t * step.rewards
                        steps[step.rows] = t + 1

                    of = np.zeros(len(earned), dtype=np.intp)
                    play(
                        player,
                        {name: policy},
                        of,
                        own[part],
                        max_episode_steps,
                        visit,
                        first=first,
                        weigh=False,
                    )
                    if report is not None:
                        report((p + part.stop / n_episodes) / len(named))
    finally:
        player.close()
    settings = {
        "gamma": float(gamma),
        "seed": int(seed),
        "n_episodes": int(n_episodes),
        "max_episode_steps": max_episode_steps,
        "confidence_level": float(confidence_level),
        "common_random_numbers": bool(common_random_numbers),
    }
    return OnPolicyValue(returns, lengths, settings)
