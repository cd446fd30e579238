"""`Tabular`: finitely many states and actions, and the exact value of every policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from counterfolio.arguments import check_gamma, is_number
from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.policies.head import check_probs, reorder
from counterfolio.simulate.environment import (
    Advance,
    Environment,
    check_count,
    check_spread,
    numbers,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from counterfolio.policies import DiscretePolicy
    from counterfolio.simulate.environment import State
    from counterfolio.simulate.streams import Streams

    Floats = NDArray[np.float64]

#: Rows of a table of probabilities sum to 1 within this.
TOLERANCE = 1e-8


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Tabular(Environment):
    """A Markov decision process given by its tables.

    Parameters
    ----------
    transition
        P(s'|s, a), of shape (n_states, n_actions, n_states); rows sum to 1.
    reward
        Mean reward of a state and action, of shape (n_states, n_actions); or of shape (n_states,
        n_actions, n_states), by the state that follows too.
    initial
        Distribution of the first state, of shape (n_states,). Default: uniform over the states that
        do not end an episode.
    terminal
        States in which an episode ends on arrival (`terminated`).
    horizon
        Steps after which an episode is cut off (`truncated`). None: never; to be rolled out without
        a limit, episodes then have to come to a terminal state.
    reward_std
        Standard deviation of a reward about its mean.

    Raises
    ------
    InvalidArgumentError
        If tables do not fit together, or are no probabilities.
    """

    transition: Any
    reward: Any
    initial: Any = None
    terminal: Sequence[int] = ()
    horizon: int | None = None
    reward_std: float = 0.0

    def __post_init__(self) -> None:
        given = np.asarray(self.transition)
        if given.ndim != 3 or given.shape[0] != given.shape[2] or 0 in given.shape:
            text = (
                "transition must be of shape (n_states, n_actions, n_states), not of shape "
                f"{given.shape}"
            )
            raise InvalidArgumentError(text)
        n_states, n_actions, _ = given.shape
        transition = _probabilities("transition", given, given.shape)
        rewards = np.asarray(self.reward)
        shapes = ((n_states, n_actions), given.shape)
        if rewards.shape not in shapes:
            text = f"reward must be of shape {shapes[0]} or {shapes[1]}, not {rewards.shape}"
            raise InvalidArgumentError(text)
        reward = numbers("reward is", rewards, rewards.shape)
        ends = np.zeros(n_states, dtype=np.bool_)
        for state in self.terminal:
            if check_count("a terminal state", state, 0) >= n_states:
                text = f"terminal names state {state}, but states are 0 to {n_states - 1}"
                raise InvalidArgumentError(text)
            ends[state] = True
        initial = self.initial
        if initial is None and not ends.all():
            initial = ~ends / (~ends).sum()
        initial = _probabilities("initial", initial, (n_states,))
        if (initial[ends] > 0).any():
            text = "initial gives a probability to a terminal state; episodes have one step or more"
            raise InvalidArgumentError(text)
        if self.horizon is not None:
            check_count("horizon", self.horizon)
        check_spread("reward_std", self.reward_std)
        for name, value in (
            ("transition", transition),
            ("reward", reward),
            ("initial", initial),
            ("terminal", tuple(int(s) for s in np.flatnonzero(ends))),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def random(
        cls,
        n_states: int,
        n_actions: int,
        *,
        world_seed: int = 0,
        n_next: int = 3,
        end: float = 0.0,
        horizon: int | None = None,
        reward_std: float = 0.0,
    ) -> Tabular:
        """Draw one (a "Garnet"): each state and action leads to a few others.

        Parameters
        ----------
        n_states, n_actions
            How many there are; a terminal state is added where `end` is above 0.
        world_seed
            Of the tables.
        n_next
            States that may follow a state and action, with uniform weights.
        end
            Probability that a step ends the episode, from half of it to one and a half by the state
            and action. Where it is 0 only a horizon ends one.
        horizon, reward_std
            As in `Tabular`.
        """
        for what, value in (("n_states", n_states), ("n_actions", n_actions), ("n_next", n_next)):
            check_count(what, value)
        if not is_number(end) or not 0 <= end < 1:
            text = f"end must be a probability below 1, not {end!r}"
            raise InvalidArgumentError(text)
        rng = np.random.default_rng(check_count("world_seed", world_seed, 0))
        size = n_states + (end > 0)
        transition = np.zeros((size, n_actions, size))
        for s in range(n_states):
            for a in range(n_actions):
                follow = rng.choice(n_states, min(n_next, n_states), replace=False)
                transition[s, a, follow] = rng.dirichlet(np.ones(len(follow)))
        reward = np.zeros((size, n_actions))
        reward[:n_states] = rng.random((n_states, n_actions))
        terminal = []
        if end > 0:
            # It depends on the action, or episodes would say nothing about policies by their ends.
            ends = end * rng.uniform(0.5, 1.5, (n_states, n_actions))
            ends = np.minimum(ends, 1.0)
            transition[:n_states] *= (1 - ends)[:, :, None]
            transition[:n_states, :, -1] = ends
            transition[-1, :, -1] = 1.0
            terminal = [n_states]
        return cls(
            transition=transition,
            reward=reward,
            terminal=terminal,
            horizon=horizon,
            reward_std=reward_std,
        )

    @property
    def n_states(self) -> int:
        """Number of states, terminal ones included."""
        return len(self.initial)

    @property
    def n_actions(self) -> int:
        """Number of actions."""
        return int(self.transition.shape[1])

    @cached_property
    def observation_space(self) -> spaces.Discrete:
        """The states' numbers."""
        return spaces.Discrete(self.n_states)

    @cached_property
    def action_space(self) -> spaces.Discrete:
        """The actions' numbers."""
        return spaces.Discrete(self.n_actions)

    @property
    def state_names(self) -> list[str]:
        """One column, the number of the state."""
        return ["state"]

    @cached_property
    def _ends(self) -> NDArray[np.bool_]:
        ends = np.zeros(self.n_states, dtype=np.bool_)
        ends[list(self.terminal)] = True
        return ends

    @cached_property
    def can_end(self) -> bool:
        """Whether there is a horizon, or a way from every reached state to a terminal one."""
        if self.horizon is not None:
            return True
        moved = self.transition.sum(axis=1) * ~self._ends[:, None]
        return bool(_reached(self._ends, moved.T)[_reached(self.initial > 0, moved)].all())

    @cached_property
    def _steps(self) -> Floats:
        """Cumulative probabilities of the next state, a row to each state and action."""
        return np.asarray(self.transition.reshape(-1, self.n_states).cumsum(axis=1))

    @property
    def mean_reward(self) -> Floats:
        """Mean reward of each state and action, of shape (n_states, n_actions)."""
        if self.reward.ndim == 2:
            return np.asarray(self.reward)
        return np.asarray((self.transition * self.reward).sum(axis=2))

    def begin(self, streams: Streams) -> tuple[State, dict[str, NDArray[Any]]]:
        """Draw the first state."""
        u = streams("initial").random(len(streams.seeds))
        steps = np.broadcast_to(self.initial.cumsum(), (len(u), self.n_states))
        return {"state": _drawn(steps, u)}, {}

    def observe(self, state: State, streams: Streams) -> NDArray[np.int64]:
        """See the state's number."""
        return state["state"].copy()

    def advance(self, state: State, actions: NDArray[Any], streams: Streams) -> Advance:
        """Draw the next state, and the reward."""
        now, actions = state["state"], actions.reshape(len(state["state"]))
        u = streams("transition").random(len(now))
        after = _drawn(self._steps[now * self.n_actions + actions], u)
        at = (now, actions) if self.reward.ndim == 2 else (now, actions, after)
        rewards: Floats = self.reward[at]
        if self.reward_std > 0:
            noise = streams("reward").standard_normal(len(now))
            rewards = rewards + self.reward_std * noise
        return Advance({"state": after}, rewards, self._ends[after], {})

    def probabilities(self, policy: Any) -> Floats:
        """Ask a policy for pi(a|s) in every state, of shape (n_states, n_actions).

        It is not asked about terminal states, where nothing is done: their rows are 0.

        Raises
        ------
        InvalidPolicyError
            If it is no policy over discrete actions, has others, or answers with anything else.
        """
        acts = np.flatnonzero(~self._ends)
        name = type(policy).__name__
        if not hasattr(policy, "action_probs"):
            text = (
                f"a policy over discrete actions is wanted, not {name}; a table of probabilities "
                "is one as policies.Tabular(table)"
            )
            raise InvalidPolicyError(text)
        found = np.asarray(policy.action_probs(acts[:, None].astype(np.float64)), dtype=np.float64)
        labels = policy.actions
        if found.shape[:1] != acts.shape or found.ndim != 2:
            text = f"{name}: action_probs(states) returned shape {found.shape}"
            raise InvalidPolicyError(text)
        labels = range(found.shape[1]) if labels is None else labels
        advice = "the environment's actions are its tables' columns, from 0"
        probs = np.zeros((self.n_states, self.n_actions))
        own = reorder(name, check_probs(name, found), labels, range(self.n_actions), advice)
        probs[acts] = check_probs(name, own)
        return probs

    def exact_value(self, policy: DiscretePolicy, gamma: float = 1.0) -> float:
        """Return the policy's expected discounted return, without sampling.

        Parameters
        ----------
        policy
            Over the actions 0 to n_actions - 1, asked with states of shape (n, 1).
        gamma
            Discount factor in (0, 1].

        Returns
        -------
        float
            E[sum over t of gamma^t r_t] up to the episode's end, the horizon included.

        Raises
        ------
        InvalidArgumentError
            If gamma is out of its range, or 1 where episodes may never end.
        """
        begins = np.flatnonzero(self.initial)
        values = self.state_values(policy, gamma)[begins]
        if np.isnan(values).any():
            state = int(begins[np.isnan(values).argmax()])
            text = (
                f"begun in state {state} an episode may never end under this policy, so that at "
                "gamma 1 its return has no bound; pass gamma below 1, or give the environment a "
                "horizon"
            )
            raise InvalidArgumentError(text)
        return float(self.initial[begins] @ values)

    def state_values(self, policy: DiscretePolicy, gamma: float = 1.0) -> Floats:
        """Return V(s), the value of an episode that begins in s; see `exact_value`.

        Returns
        -------
        numpy.ndarray of shape (n_states,)
            0 in terminal states; NaN where at gamma 1 and without a horizon the episode may never
            end.
        """
        check_gamma(gamma)
        probs = self.probabilities(policy)
        moved = np.einsum("sa,sat->st", probs, self.transition)
        ending = moved[:, self._ends].sum(axis=1)
        earned = (probs * self.mean_reward).sum(axis=1)
        value = np.zeros(self.n_states)
        if self.horizon is not None:
            discounted = gamma * moved
            for _ in range(self.horizon):
                value = earned + discounted @ value
            return value
        solved = ~self._ends
        if gamma == 1.0:
            # From where an end can be reached it is, unless the way leads where none can.
            stuck = solved & ~_reached(ending > 0, moved.T)
            endless = _reached(stuck, moved.T)
            value[endless] = np.nan
            solved &= ~endless
        inner = np.eye(int(solved.sum())) - gamma * moved[np.ix_(solved, solved)]
        value[solved] = np.linalg.solve(inner, earned[solved])
        return value


def _reached(first: NDArray[np.bool_], moved: Floats) -> NDArray[np.bool_]:
    """States that can be reached from some, and these."""
    reached = first.copy()
    while True:
        more = reached | (moved[reached] > 0).any(axis=0)
        if (more == reached).all():
            return reached
        reached = more


def _drawn(steps: Floats, u: Floats) -> NDArray[np.int64]:
    """Draw a column of each row by its cumulative probabilities."""
    total = steps[:, -1]
    # Below the last step, so that a column of probability 0 is never drawn.
    level = np.minimum(u * total, np.nextafter(total, 0))
    return np.asarray((steps <= level[:, None]).sum(axis=1), dtype=np.int64)


def _probabilities(what: str, given: Any, shape: tuple[int, ...]) -> Floats:
    """Take a table whose rows are distributions."""
    found = numbers(f"{what} is", given, shape)
    bad = (found < 0).any(axis=-1) | (np.abs(found.sum(axis=-1) - 1) > TOLERANCE)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0]) if bad.ndim else ()
        at = f", first at {where}" if where else ""
        text = (
            f"{what}: {int(bad.sum())} of {bad.size} distributions hold a negative number or do "
            f"not sum to 1{at}"
        )
        raise InvalidArgumentError(text)
    return found
