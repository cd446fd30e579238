"""Playing episodes: asking policies, drawing actions, and what each step brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from gymnasium import spaces

from counterfolio.exceptions import InvalidArgumentError, InvalidPolicyError
from counterfolio.policies import ContinuousPolicy, DiscretePolicy
from counterfolio.policies.head import check_probs, draw, reorder
from counterfolio.policies.objects import named
from counterfolio.simulate.streams import EpisodeRandom, NotByRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from counterfolio.simulate.players import Player

    Floats = NDArray[np.float64]
    Seeds = NDArray[np.uint64]

#: Policies are asked about so many states at a time, no fewer and no more, and an episode's state
#: always stands in the same row of them. The last bits of a product of matrices depend on its
#: number of rows, and in large ones on the row: other code runs at the end of a block.
STATES_ASKED = 256


@dataclass(frozen=True, eq=False)
class Step:
    """What n episodes of a batch did at one step.

    Attributes
    ----------
    rows
        Their positions in the batch.
    seen, actions, rewards, terminated, truncated
        With a row to each.
    propensities
        b(a|s) of what was done under each policy, of shape (n_policies, n).
    probs
        b(.|s) of the policy that acted, of shape (n, n_actions); None for continuous actions.
    """

    rows: NDArray[np.intp]
    seen: NDArray[Any]
    actions: NDArray[Any]
    rewards: Floats
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    propensities: Floats
    probs: Floats | None


def play(
    player: Player,
    policies: Mapping[str, Any],
    of: NDArray[np.intp],
    seeds: Seeds,
    max_episode_steps: int | None,
    visit: Callable[[int, Step], None],
    *,
    first: int,
    weigh: bool = True,
) -> None:
    """Play one batch of episodes to their ends.

    Parameters
    ----------
    policies
        By name.
    of
        Which of them plays each episode.
    seeds
        One to each episode, at most `player.num_envs`.
    max_episode_steps
        Steps after which an episode is cut off, beside the environment's own limit.
    visit
        Called with the number of the step, from 0, and what it brought.
    first
        Number of the batch's first episode among all.
    weigh
        Whether policies are asked for propensities; those of a step are empty otherwise.
    """
    actors = [Actor(name, policy, player.action_space) for name, policy in policies.items()]
    rows = np.arange(len(seeds))
    seen = player.begin(seeds)
    _check_returned("observations", seen, seeds, 0)
    number = 0
    while len(rows):
        slots = _slots(first + rows)
        actions, propensities, probs = _act(
            actors, of[rows], seen, seeds[rows], slots, number, weigh=weigh
        )
        after, rewards, terminated, truncated = player.step(
            rows, executed(player.action_space, actions)
        )
        if max_episode_steps is not None and number + 1 >= max_episode_steps:
            truncated = np.ones(len(rows), dtype=np.bool_)
        # An episode that ends as it is cut off has ended.
        truncated = truncated & ~terminated
        _check_returned("rewards", rewards, seeds[rows], number)
        step = Step(rows, seen, actions, rewards, terminated, truncated, propensities, probs)
        visit(number, step)
        on = ~(terminated | truncated)
        rows, seen = rows[on], after[on]
        _check_returned("observations", seen, seeds[rows], number)
        number += 1


def _check_returned(what: str, found: NDArray[Any], seeds: Seeds, step: int) -> None:
    """Raise where an environment returned NaN, or a reward that is infinite."""
    if found.dtype.kind != "f" or not len(found):
        return
    wrong = np.isnan(found) if what == "observations" else ~np.isfinite(found)
    bad = wrong.reshape(len(found), -1).any(axis=1)
    if bad.any():
        text = (
            f"the environment returned {int(bad.sum())} of {len(bad)} {what} that are NaN"
            f"{'' if what == 'observations' else ' or infinite'}, first with seed "
            f"{seeds[bad.argmax()]} at step {step}"
        )
        raise InvalidArgumentError(text)


def executed(space: spaces.Space[Any], actions: NDArray[Any]) -> NDArray[Any]:
    """Bring actions to their space: what is beyond its bounds is executed at the bound."""
    if not isinstance(space, spaces.Box):
        return actions
    shaped = np.clip(actions.reshape(len(actions), *space.shape), space.low, space.high)
    found: NDArray[Any] = shaped.astype(space.dtype)
    return found


def states_of(seen: NDArray[Any]) -> Floats:
    """Give what policies are asked with, as `evaluate` asks them: float64 of shape (n, d)."""
    return np.asarray(seen, dtype=np.float64).reshape(len(seen), -1)


def _act(
    actors: Sequence[Actor],
    of: NDArray[np.intp],
    seen: NDArray[Any],
    seeds: Seeds,
    slots: NDArray[np.intp],
    step: int,
    *,
    weigh: bool,
) -> tuple[NDArray[Any], Floats, Floats | None]:
    """Draw every episode's action from its own policy; ask all policies about it."""
    n = len(seen)
    # Where there is no episode, the first one's state is asked about, and the answer dropped.
    padded = np.zeros((slots.max() // STATES_ASKED + 1) * STATES_ASKED, dtype=np.intp)
    padded[slots] = np.arange(n)
    states, streams = states_of(seen)[padded], seeds[padded]
    answers = [actor.answer(states, streams, step) for actor in actors]
    if len(actors) == 1:
        actions = answers[0].actions[slots]
    else:
        actions = np.stack([answer.actions[slots] for answer in answers])[of, np.arange(n)]
    if not weigh:
        return actions, np.empty((0, n)), None
    propensities = np.stack(
        [
            actor.propensities(answer, states, actions[padded])[slots]
            for actor, answer in zip(actors, answers, strict=True)
        ]
    )
    dense = [answer.probs for answer in answers if answer.probs is not None]
    probs = np.stack(dense)[:, slots][of, np.arange(n)] if dense else None
    own = propensities[of, np.arange(n)]
    bad = ~((own > 0) & np.isfinite(own))
    if bad.any():
        at = int(bad.argmax())
        text = (
            f'policy "{actors[of[at]].name}" drew an action to which it gives the propensity '
            f"{own[at]:g}; its sample and its prob must agree"
        )
        raise InvalidPolicyError(text)
    return actions, propensities, probs


def _slots(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Say where states stand in as few blocks as there may be, each in its episode's own row."""
    own = numbers % STATES_ASKED
    order = np.argsort(own, kind="stable")
    counts = np.bincount(own, minlength=STATES_ASKED)
    blocks = np.empty(len(own), dtype=np.intp)
    blocks[order] = np.arange(len(own)) - np.repeat(counts.cumsum() - counts, counts)
    return blocks * STATES_ASKED + own


@dataclass(frozen=True, eq=False)
class Answer:
    """What a policy said of some states."""

    actions: NDArray[Any]
    #: Of every action, for discrete ones.
    probs: Floats | None


class Actor:
    """A policy in an environment."""

    def __init__(self, name: str, policy: Any, space: spaces.Space[Any]) -> None:
        self.name, self.policy = name, policy
        self._who = f'policy "{name}"'
        self._discrete = isinstance(space, spaces.Discrete)
        if isinstance(space, spaces.Discrete):
            self._first, self._width = int(space.start), int(space.n)
        elif isinstance(space, spaces.Box) and len(space.shape) == 1:
            self._first, self._width = 0, int(space.shape[0])
        else:
            text = f"actions of {space} are not offered; there are Discrete and one-dimensional Box"
            raise InvalidArgumentError(text)
        wanted = DiscretePolicy if self._discrete else ContinuousPolicy
        if not isinstance(policy, wanted):
            methods = "actions, action_probs, sample" if self._discrete else "density, mean, sample"
            text = (
                f"{self._who} ({type(policy).__name__}) cannot act in {space}: it needs prob, "
                f"{methods}; see counterfolio.policies"
            )
            raise InvalidPolicyError(text)

    def answer(self, states: Floats, seeds: Seeds, step: int) -> Answer:
        """Draw an action in each state."""
        if not self._discrete:
            return Answer(self._sampled(states, seeds, step), None)
        probs, rng = self._probs(states), EpisodeRandom(seeds, step, "policy")
        return Answer(draw(probs, cast("Any", rng)) + self._first, probs)

    def propensities(self, answer: Answer, states: Floats, actions: NDArray[Any]) -> Floats:
        """Give the probability, or density, of actions that this or another policy drew."""
        if answer.probs is not None:
            found: Floats = answer.probs[np.arange(len(states)), actions - self._first]
            return found
        density = self._asked(self.policy.density, states, actions)
        if density.shape != (len(states),):
            text = f"{self._who}: density(states, actions) returned shape {density.shape}"
            raise InvalidPolicyError(text)
        return density

    def _asked(self, method: Callable[..., Any], *arrays: NDArray[Any]) -> Floats:
        """Ask about one block of rows after the other."""
        parts = []
        for rows in _blocks(len(arrays[0])):
            with named(self._who):
                part = np.asarray(method(*(x[rows] for x in arrays)), dtype=np.float64)
            if part.shape[:1] != (STATES_ASKED,):
                return part  # whose shape is wrong, as the caller will say
            parts.append(part)
        return np.concatenate(parts)

    def _probs(self, states: Floats) -> Floats:
        found = self._asked(self.policy.action_probs, states)
        if found.ndim != 2 or len(found) != len(states):
            text = f"{self._who}: action_probs(states) returned shape {found.shape}"
            raise InvalidPolicyError(text)
        found = check_probs(self._who, found)
        labels = self.policy.actions
        labels = range(found.shape[1]) if labels is None else list(labels)
        if len(labels) != found.shape[1] or len(set(labels)) < len(labels):
            text = (
                f"{self._who}: action_probs(states) returned {found.shape[1]} columns for the "
                f"actions {labels!r}; there has to be one to each, and no action twice"
            )
            raise InvalidPolicyError(text)
        wanted = range(self._first, self._first + self._width)
        if list(labels) == list(wanted):
            return found
        advice = f"the environment's actions are {wanted.start} to {wanted.stop - 1}"
        # An action of the environment that the policy does not know has probability 0.
        return check_probs(self._who, reorder(self._who, found, labels, wanted, advice))

    def _sampled(self, states: Floats, seeds: Seeds, step: int) -> Floats:
        parts = [self._sample(states[rows], seeds[rows], step) for rows in _blocks(len(states))]
        actions = np.concatenate(parts)
        if actions.shape[1] != self._width:
            text = (
                f"{self._who}: sample(states, rng) returned actions of {actions.shape[1]} numbers; "
                f"the environment's have {self._width}"
            )
            raise InvalidPolicyError(text)
        return actions

    def _sample(self, states: Floats, seeds: Seeds, step: int) -> Floats:
        with named(self._who):
            try:
                found = self.policy.sample(states, EpisodeRandom(seeds, step, "policy"))
            except (NotByRow, TypeError, ValueError):
                # It draws in a way that has no rows, or hands on what has to be numpy's own: each
                # episode is asked by itself. What was wrong for another reason is wrong again.
                drawn: dict[int, Any] = {}
                for i, seed in enumerate(seeds.tolist()):
                    if seed not in drawn:
                        own = np.random.Generator(np.random.Philox([seed, step]))
                        drawn[seed] = np.asarray(self.policy.sample(states[i : i + 1], own))[0]
                found = [drawn[seed] for seed in seeds.tolist()]
        return np.asarray(found, dtype=np.float64).reshape(len(states), -1)


def _blocks(n: int) -> list[slice]:
    """Cut n rows, a multiple of what is asked at a time, into blocks."""
    return [slice(first, first + STATES_ASKED) for first in range(0, n, STATES_ASKED)]
