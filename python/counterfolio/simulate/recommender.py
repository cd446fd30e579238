"""`Recommender`: users whose taste moves towards what they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gymnasium import spaces

from counterfolio.simulate.environment import (
    Advance,
    Environment,
    answered,
    check_count,
    check_function,
    check_rewards,
    check_spread,
    draw_rewards,
    numbers,
    row_sum,
    see,
    unit,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from counterfolio.simulate.environment import State
    from counterfolio.simulate.streams import Streams

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Recommender(Environment):
    """A user's taste s and an item's features v, both of length 1.

        mean reward  = s . v
        next state   = u / ||u||,  u = s + drift (s . v) v

    Taste moves towards items that are liked and away from those that are not (Dean & Morgenstern
    2022). Episodes begin with one of the users, drawn uniformly, and are cut off at the horizon.

    Parameters
    ----------
    horizon
        Steps of an episode.
    n_items, n_users
        How many there are; an action is an item's number.
    feature_dim
        Dimensions of tastes and items.
    item_features, user_features
        Of shape (n_items, feature_dim) and (n_users, feature_dim), scaled to length 1. Default:
        uniform in the box from -1 to 1, then scaled.
    drift
        How far an item moves the taste.
    reward_type
        "continuous"; or "binary": 1 with the probability of the mean's logistic function, else 0.
    reward_std
        Standard deviation of a continuous reward.
    obs_std
        Standard deviation of the noise in what is seen of the taste, cut to the box from -1 to 1.
    reward
        (states, items) -> mean rewards of shape (n,), in place of the above; items are features of
        shape (n, feature_dim).
    transition
        (states, items, rng) -> next states of shape (n, feature_dim), in place of the above. `rng`
        is an `EpisodeRandom`: its sizes begin with n.
    world_seed
        Of the features.

    Notes
    -----
    The dynamics are those of SCOPE-RL's RecGym (Apache-2.0), with its faults mended: each user and
    item has length 1 (there all features together are divided by one number, which makes first
    rewards tiny); binary rewards exist; noise follows the seed; the user in the information is the
    episode's own, also at its end.
    """

    horizon: int = 10
    n_items: int = 5
    n_users: int = 100
    feature_dim: int = 5
    item_features: Any = None
    user_features: Any = None
    drift: float = 1.0
    reward_type: Literal["continuous", "binary"] = "continuous"
    reward_std: float = 0.0
    obs_std: float = 0.0
    reward: Callable[[Floats, Floats], Any] | None = None
    transition: Callable[[Floats, Floats, Any], Any] | None = None
    world_seed: int = 12345

    def __post_init__(self) -> None:
        for what in ("horizon", "n_items", "n_users", "feature_dim"):
            check_count(what, getattr(self, what))
        check_count("world_seed", self.world_seed, 0)
        check_rewards(self.reward_type, self.reward_std)
        check_spread("obs_std", self.obs_std)
        check_spread("drift", self.drift)
        check_function("reward", self.reward)
        check_function("transition", self.transition)
        for i, (what, many) in enumerate(
            (("item_features", self.n_items), ("user_features", self.n_users))
        ):
            given, shape = getattr(self, what), (many, self.feature_dim)
            if given is None:
                given = np.random.default_rng([self.world_seed, i]).uniform(-1, 1, shape)
            object.__setattr__(self, what, unit(numbers(f"{what} are", given, shape)))

    @cached_property
    def observation_space(self) -> spaces.Box:
        """A box from -1 to 1; without bounds where the transition is the user's."""
        bound = 1.0 if self.transition is None else np.inf
        return spaces.Box(-bound, bound, (self.feature_dim,), np.float64)

    @cached_property
    def action_space(self) -> spaces.Discrete:
        """The items' numbers."""
        return spaces.Discrete(self.n_items)

    @property
    def state_names(self) -> list[str]:
        """taste_0, taste_1, ..."""
        return [f"taste_{i}" for i in range(self.feature_dim)]

    def begin(self, streams: Streams) -> tuple[State, dict[str, NDArray[Any]]]:
        """Begin with one of the users."""
        users = streams("initial").integers(self.n_users, size=len(streams.seeds))
        return {"state": self.user_features[users], "user": users}, {"user": users}

    def observe(self, state: State, streams: Streams) -> Floats:
        """See the taste, with noise."""
        return see(state["state"], self.obs_std, self.observation_space, streams)

    def advance(self, state: State, actions: NDArray[Any], streams: Streams) -> Advance:
        """Earn what the item is liked, and let the taste move."""
        now, user = state["state"], state["user"]
        items: Floats = self.item_features[actions.reshape(len(now))]
        liked = row_sum(now * items)
        if self.reward is None:
            mean = liked
        else:
            mean = answered("reward(states, items)", self.reward(now, items), (len(now),))
        if self.transition is None:
            after = unit(now + (self.drift * liked)[:, None] * items)
        else:
            found = self.transition(now, items, streams("transition"))
            after = answered("transition(states, items, rng)", found, now.shape)
        return Advance(
            {"state": after, "user": user},
            draw_rewards(mean, self.reward_type, self.reward_std, streams),
            np.zeros(len(now), dtype=np.bool_),
            {"user": user},
        )
