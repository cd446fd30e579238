"""The market of `RealTimeBidding`: ads, users, and what becomes of an impression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterfolio.simulate.environment import product

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Auctions:
    """Auctions of one step of n episodes, m to each.

    Attributes
    ----------
    shape : tuple of int
        (n, m).
    ad, user : numpy.ndarray of shape (n, m)
        Numbers of the ad shown and of the user.
    step : int
        Steps since the episodes began.
    ad_features, user_features : numpy.ndarray of shape (n, m, feature_dim)
        Their features.
    value : numpy.ndarray of shape (n, m)
        Probability that an impression earns a reward: a click, or a click and a conversion.
    """

    #: ad n_users + user: one number to look both up by.
    pair: Numbers
    step: int
    market: Market
    #: What an impression is worth, once it is known.
    value: Floats | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Episodes, and auctions of each."""
        return self.pair.shape

    @property
    def ad(self) -> Numbers:
        """Number of each ad."""
        return self.pair // len(self.market.users)

    @property
    def user(self) -> Numbers:
        """Number of each user."""
        return self.pair % len(self.market.users)

    @property
    def ad_features(self) -> Floats:
        """Features of each ad."""
        return self.market.ads[self.ad]

    @property
    def user_features(self) -> Floats:
        """Features of each user."""
        return self.market.users[self.user]


@dataclass(frozen=True, eq=False)
class Response:
    """A probability that depends on ad, user and time: logistic in features, times a trend.

        P(ad, user, t) = sigmoid(x . c) tau(t),  x = (ad, user),  c ~ N(0, (0.5 / 10)^2)
        tau(t) = f(start + t) / 10
        f(u) = sum over i from 1 to 10 of w_i (cos((u i pi + 2 pi p_i) / T) + 1)

    with w_i ~ Beta, p_i uniform on (0, 1) and start one of 5 to 14.
    """

    #: The logistic function for every ad and user, who are few where auctions are many.
    chance: Floats
    #: tau at every step.
    trend: Floats

    @classmethod
    def drawn(
        cls,
        rng: np.random.Generator,
        ads: Floats,
        users: Floats,
        horizon: int,
        beta: tuple[float, float],
    ) -> Response:
        """Draw one."""
        d = ads.shape[1]
        c = rng.normal(0.0, 0.05, d + users.shape[1])
        weights = rng.beta(*beta, 10)
        phases, start = rng.random(10), int(rng.integers(5, 15))
        u, i = start + np.arange(horizon)[:, None], np.arange(1, 11)
        waves = np.cos((u * i * np.pi + 2 * np.pi * phases) / horizon) + 1
        trend = np.clip((weights * waves).sum(axis=1) / 10, 0.0, 1.0)
        logits = product(ads, c[:d])[:, None] + product(users, c[d:])
        return cls((1 / (1 + np.exp(-logits))).ravel(), trend)

    def __call__(self, auctions: Auctions) -> Floats:
        """Return the probability in each auction."""
        found = self.chance.take(auctions.pair)
        found *= self.trend[auctions.step]
        return found


@dataclass(frozen=True, eq=False)
class Market:
    """Everything about the market that does not change.

    Attributes
    ----------
    ads, users : numpy.ndarray of shape (n_ads, feature_dim), (n_users, feature_dim)
        Their features, standard normal.
    click_through, conversion : Response
        Of an impression, and of a click.
    price_shape, price_scale : numpy.ndarray of shape (n_ads,)
        Of each ad's second price, a gamma distribution.
    """

    ads: Floats
    users: Floats
    click_through: Response
    conversion: Response
    price_shape: Floats
    price_scale: Floats

    @classmethod
    def drawn(
        cls,
        world_seed: int,
        sizes: tuple[int, int, int],
        horizon: int,
        standard_bid_price: float,
    ) -> Market:
        """Draw one; each part has a stream of its own."""
        n_ads, n_users, dim = sizes

        def rng(part: int) -> np.random.Generator:
            return np.random.default_rng([world_seed, part])

        ads, users = (
            rng(part).standard_normal((many, dim)) for part, many in ((0, n_ads), (1, n_users))
        )
        prices = rng(4)
        level = np.maximum(
            prices.normal(standard_bid_price, standard_bid_price / 10, n_ads),
            standard_bid_price / 2,
        )
        shape = np.maximum(prices.normal(standard_bid_price, standard_bid_price / 10, n_ads), 1.0)
        # The mean price of an ad is near its level: shape times scale.
        scale = np.maximum(
            prices.normal(level / standard_bid_price, level / (5 * standard_bid_price)), 1e-3
        )
        return cls(
            ads,
            users,
            Response.drawn(rng(2), ads, users, horizon, (5.0, 20.0)),
            Response.drawn(rng(3), ads, users, horizon, (10.0, 15.0)),
            shape,
            scale,
        )

    def winning_price(self, auctions: Auctions, rng: Any) -> Floats:
        """Draw the highest price that others bid in each auction, 1 or more."""
        drawn: Floats = rng.standard_gamma(self.price_shape[auctions.ad])
        return np.maximum(drawn * self.price_scale[auctions.ad], 1.0)

    def everything(self, step: int) -> Auctions:
        """Give one auction of every ad with every user, of shape (1, n_ads n_users)."""
        return Auctions(np.arange(len(self.ads) * len(self.users))[None, :], step, self)
