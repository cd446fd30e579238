"""A behavior policy and candidates for an environment with discrete actions, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from counterfolio.episodes import first_rows
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.learners import BehaviorCloning, FittedQIteration, PessimisticQ
from counterfolio.policies import EpsilonGreedy, Softmax, Uniform
from counterfolio.simulate import collect
from counterfolio.simulate.players import player_of

if TYPE_CHECKING:
    from counterfolio.log import LoggedData

#: Shares of coin tosses in the candidates.
EPSILONS = (0.1, 0.3, 0.5)
#: Doubt of one row, as a share of the range of returns.
DOUBT = 0.05
#: Q is learned with no more than this, whatever is evaluated: without discounting, least squares
#: with a maximum need not settle.
MOST_GAMMA = 0.95


def learned_behavior(
    env: Any,
    n_episodes: int,
    seed: int,
    *,
    gamma: float = 1.0,
    max_episode_steps: int | None = None,
) -> Softmax:
    """Learn a policy from episodes of a coin, and let it explore.

    Parameters
    ----------
    env
        As for `collect`, with discrete actions.
    n_episodes, seed
        Of the coin's log.
    gamma
        Discount factor; 0.95 at most is learned with.
    max_episode_steps
        As for `collect`.

    Returns
    -------
    Softmax
        Of Q by fitted Q iteration, with the temperature at which a difference as large as the
        standard deviation of Q between actions makes e times the probability.
    """
    coin = Uniform(actions_of(env))
    log = collect(env, coin, n_episodes, seed, max_episode_steps=max_episode_steps)
    q = FittedQIteration().fit(log, gamma=min(gamma, MOST_GAMMA))
    spread = float(np.mean(np.std(q(log.states.take(slice(0, log.n_rows))), axis=1)))
    return Softmax(q, spread or 1.0, actions=q.actions)


def learned_candidates(log: LoggedData, *, gamma: float = 1.0) -> dict[str, EpsilonGreedy]:
    """Learn twelve candidates from a log: four learners, each with three shares of coin tosses.

    Parameters
    ----------
    log
        With discrete actions.
    gamma
        Discount factor; 0.95 at most is learned with.

    Returns
    -------
    dict
        Name, such as "fqi_0.1" -> policy. "fqi": fitted Q iteration; "fqi_linear": linear in the
        state; "pessimistic": a lower bound of Q; "clone": the action that the log took most often.
    """
    returns = _returns(log)
    doubt = DOUBT * float(returns.max() - returns.min()) or 1.0
    gamma = min(gamma, MOST_GAMMA)
    q = FittedQIteration().fit(log, gamma=gamma)
    clone: Any = BehaviorCloning().fit(log)
    bases = {
        "fqi": q,
        "fqi_linear": FittedQIteration(features="linear").fit(log, gamma=gamma),
        "pessimistic": PessimisticQ(beta=doubt).fit(log, gamma=gamma),
        "clone": clone.action_probs,
    }
    return {
        f"{name}_{epsilon:g}": EpsilonGreedy(base, epsilon, actions=q.actions)
        for name, base in bases.items()
        for epsilon in EPSILONS
    }


def actions_of(env: Any) -> list[int]:
    """List the actions of an environment.

    Raises
    ------
    InvalidArgumentError
        If they are not finitely many.
    """
    player = player_of(env, None)
    space = player.action_space
    player.close()
    if not isinstance(space, spaces.Discrete):
        text = f"policies are learned for discrete actions alone, not for {space}; pass your own"
        raise InvalidArgumentError(text)
    return list(range(int(space.start), int(space.start + space.n)))


def _returns(log: LoggedData) -> Any:
    rewards = log.column(log.roles["reward"]).to_numpy().astype(np.float64)
    return np.add.reduceat(rewards, first_rows(log._episodes))
