"""`RealTimeBidding`: spending an advertiser's budget over the days of a campaign."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from gymnasium import spaces

from counterfolio import _core
from counterfolio.arguments import is_number, one_of
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.simulate.auctions import Auctions, Market
from counterfolio.simulate.environment import (
    Advance,
    Environment,
    answered,
    check_count,
    check_function,
    check_spread,
    numbers,
)
from counterfolio.simulate.streams import purpose_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from counterfolio.simulate.environment import State
    from counterfolio.simulate.streams import Streams

    Floats = NDArray[np.float64]

#: What has a stream of its own, in the order of the core.
DRAWN = ("auction", "price", "click", "conversion")
#: The least and the largest adjust rate.
RATES = (0.1, 10.0)
#: Columns of an observation.
SEEN = (
    "day",
    "remaining_budget",
    "budget_consumption_rate",
    "cost_per_mille",
    "winning_rate",
    "last_reward",
    "last_adjust_rate",
)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RealTimeBidding(Environment):
    """Every step some hundred auctions are held; the action says how boldly to bid in them.

    A bid is the whole part of (adjust rate) x (value of the impression) x (standard bid price),
    values scaled to a mean of 1. It wins above the highest price of the others, which is then
    charged where the cost indicator says so, in whole numbers. What would use up the budget of the
    campaign, and all that comes after it in the step, does not happen. The reward is the number of
    conversions (or clicks).

    Parameters
    ----------
    horizon
        Steps of a campaign, at whose end it is over (`terminated`).
    action_type
        "discrete": n_actions adjust rates, evenly spaced in the logarithm from 0.1 to 10.
        "continuous": the rate's common logarithm, from -1 to 1.
    n_actions
        How many discrete actions there are, 2 or more.
    objective
        "conversion" or "click": what is counted.
    cost_indicator
        "impression", "click" or "conversion": what is charged.
    initial_budget
        Of a campaign.
    n_ads, n_users, feature_dim
        Sizes of the market.
    search_volume_mean, search_volume_std
        Of the number of auctions in a step, normal and at least 10: a number, or one to each step.
    standard_bid_price
        Mean of the market's prices, near enough.
    click_through, conversion
        auctions -> probabilities of shape (n, m), in place of the market's; see `Auctions`.
    winning_price
        (auctions, rng) -> highest prices of the others, of shape (n, m). `rng` is an
        `EpisodeRandom`: its sizes begin with n.
    bidder
        (auctions, adjust rates of shape (n,)) -> bids of shape (n, m), in place of the above; the
        whole part of a bid counts. `auctions.value` is the probability of a reward, which a model
        of one's own may replace.
    world_seed
        Of the market.

    Notes
    -----
    The dynamics are those of SCOPE-RL's RTBGym (Apache-2.0), with its faults mended: the search
    volume is that of the step (there of the step before), what a campaign begins with is drawn from
    the episode's own stream, values are scaled by their exact mean over all ads, users and steps
    (there by a fit on import), and auctions, clicks, conversions and prices have streams of their
    own. A continuous action is the logarithm of the rate, so that its space is symmetric. At the
    first step the rates, the last reward and the last adjust rate are random, as there: nothing has
    happened yet.
    """

    horizon: int = 7
    action_type: Literal["discrete", "continuous"] = "discrete"
    n_actions: int = 10
    objective: Literal["conversion", "click"] = "conversion"
    cost_indicator: Literal["impression", "click", "conversion"] = "click"
    initial_budget: float = 3000.0
    n_ads: int = 100
    n_users: int = 100
    feature_dim: int = 5
    search_volume_mean: Any = 200.0
    search_volume_std: Any = 20.0
    standard_bid_price: float = 50.0
    click_through: Callable[[Auctions], Any] | None = None
    conversion: Callable[[Auctions], Any] | None = None
    winning_price: Callable[[Auctions, Any], Any] | None = None
    bidder: Callable[[Auctions, Floats], Any] | None = None
    world_seed: int = 12345

    def __post_init__(self) -> None:
        for what in ("horizon", "n_ads", "n_users", "feature_dim"):
            check_count(what, getattr(self, what))
        check_count("n_actions", self.n_actions, 2)
        check_count("world_seed", self.world_seed, 0)
        one_of("action_type", self.action_type, ("discrete", "continuous"))
        one_of("objective", self.objective, ("conversion", "click"))
        one_of("cost_indicator", self.cost_indicator, ("impression", "click", "conversion"))
        for what in ("initial_budget", "standard_bid_price"):
            value = getattr(self, what)
            if not is_number(value) or not 0 < value < np.inf:
                text = f"{what} must be a finite number above 0, not {value!r}"
                raise InvalidArgumentError(text)
        for what in ("click_through", "conversion", "winning_price", "bidder"):
            check_function(what, getattr(self, what))
        for what in ("search_volume_mean", "search_volume_std"):
            given = getattr(self, what)
            if is_number(given):
                given = np.full(self.horizon, check_spread(what, given))
            found = numbers(f"{what} is", given, (self.horizon,))
            if (found < 0).any():
                text = f"{what} must not be below 0, not {given!r}"
                raise InvalidArgumentError(text)
            object.__setattr__(self, what, found)

    @cached_property
    def observation_space(self) -> spaces.Box:
        """Numbers of 0 or more, and what they cannot exceed."""
        # No normal number is drawn as far out as this.
        most = max(10.0, float((self.search_volume_mean + 40 * self.search_volume_std).max()))
        budget = float(self.initial_budget)
        high = np.array([self.horizon, budget, 1.0, max(1.0, 1000 * budget), 1.0, most, RATES[1]])
        return spaces.Box(np.zeros(len(SEEN)), high, dtype=np.float64)

    @cached_property
    def action_space(self) -> spaces.Space[Any]:
        """Numbers of the adjust rates, or the logarithm of the rate."""
        if self.action_type == "discrete":
            return spaces.Discrete(self.n_actions)
        return spaces.Box(-1.0, 1.0, (1,), np.float64)

    @property
    def state_names(self) -> list[str]:
        """What is seen of a campaign."""
        return list(SEEN)

    @cached_property
    def adjust_rates(self) -> Floats:
        """Adjust rate of each discrete action."""
        return np.geomspace(*RATES, self.n_actions)

    @cached_property
    def market(self) -> Market:
        """Ads, users, prices and how users respond."""
        sizes = (self.n_ads, self.n_users, self.feature_dim)
        return Market.drawn(self.world_seed, sizes, self.horizon, self.standard_bid_price)

    @cached_property
    def mean_value(self) -> float:
        """Mean value of an impression over all ads, users and steps, by which bids are scaled."""
        everything = (self.market.everything(t) for t in range(self.horizon))
        return float(np.mean([self._value(auctions).mean() for auctions in everything]))

    @cached_property
    def _scale(self) -> float:
        """What the adjust rate and the value are multiplied with to make a bid."""
        return self.standard_bid_price / self.mean_value if self.mean_value > 0 else 0.0

    def _rate(self, what: str, auctions: Auctions) -> Floats:
        """Probability of a click, or a conversion, in each auction."""
        own = getattr(self, what)
        if own is None:
            found: Floats = getattr(self.market, what)(auctions)
            return found
        found = answered(f"{what}(auctions)", own(auctions), auctions.shape)
        if ((found < 0) | (found > 1)).any():
            text = f"{what}(auctions) returned a value below 0 or above 1; return probabilities"
            raise InvalidArgumentError(text)
        return found

    def _value(self, auctions: Auctions) -> Floats:
        click = self._rate("click_through", auctions)
        return click if self.objective == "click" else click * self._rate("conversion", auctions)

    def begin(self, streams: Streams) -> tuple[State, dict[str, NDArray[Any]]]:
        """Begin with the whole budget."""
        n = len(streams.seeds)
        rng = streams("initial")
        seen = np.empty((n, len(SEEN)))
        seen[:, 0], seen[:, 1] = 0.0, self.initial_budget
        seen[:, 2:5] = rng.random((n, 3))
        seen[:, 5] = rng.integers(3, size=n)
        if self.action_type == "discrete":
            seen[:, 6] = self.adjust_rates[rng.integers(self.n_actions, size=n)]
        else:
            seen[:, 6] = 10 ** rng.uniform(-1, 1, size=n)
        return {"seen": seen}, {}

    def observe(self, state: State, streams: Streams) -> Floats:
        """See the campaign; nothing is hidden but the market."""
        return state["seen"].copy()

    def advance(self, state: State, actions: NDArray[Any], streams: Streams) -> Advance:
        """Hold the auctions of a step."""
        before = state["seen"]
        n, step = len(before), streams.step
        actions = actions.reshape(n)
        if self.action_type == "discrete":
            rates = self.adjust_rates[actions]
        else:
            rates = 10 ** actions.astype(np.float64)
        spread = self.search_volume_std[step] * streams("volume").standard_normal(n)
        volume = np.maximum(self.search_volume_mean[step] + spread, 10.0).astype(np.int64)
        remaining = np.ascontiguousarray(before[:, 1])
        click, conversion, prices, bids = self._inputs(streams, rates, int(volume.max()))
        impressions, clicks, conversions, spent, bid = _core.hold_auctions(
            streams.seeds,
            volume,
            remaining,
            step,
            [purpose_hash(what) for what in DRAWN],
            int(volume.max()),
            (self.n_ads, self.n_users),
            click,
            conversion,
            prices,
            bids,
            self.objective,
            self.cost_indicator,
        )
        rewards = clicks if self.objective == "click" else conversions
        after = np.empty_like(before)
        after[:, 0], after[:, 1] = step + 1, remaining - spent
        after[:, 2] = spent / remaining  # which is above 0: a budget is never used up
        after[:, 3] = 1000 * spent / np.maximum(impressions, 1)
        after[:, 4] = impressions / volume
        after[:, 5], after[:, 6] = rewards, rates
        info = {
            "search_volume": volume,
            "impression": impressions,
            "click": clicks,
            "conversion": conversions,
            "average_bid_price": bid / volume,
        }
        return Advance({"seen": after}, rewards, np.full(n, step + 1 >= self.horizon), info)

    def _inputs(self, streams: Streams, rates: Floats, width: int) -> list[Any]:
        """Give clicks, conversions, prices and bids: tables, or what the user's callables say."""
        step, market = streams.step, self.market
        own = (self.click_through, self.conversion, self.winning_price, self.bidder)
        click, conversion = (
            (response.chance, float(response.trend[step]))
            for response in (market.click_through, market.conversion)
        )
        prices = (market.price_shape, market.price_scale)
        inputs: list[Any] = [click, conversion, prices, (False, rates * self._scale)]
        if all(function is None for function in own):
            return inputs
        size = (len(rates), width)
        pairs = streams("auction").integers(self.n_ads * self.n_users, size=size)
        auctions = Auctions(pairs, step, market)
        if self.click_through is not None:
            inputs[0] = self._rate("click_through", auctions).ravel()
        if self.conversion is not None:
            inputs[1] = self._rate("conversion", auctions).ravel()
        if self.winning_price is not None:
            found = self.winning_price(auctions, streams("price"))
            inputs[2] = answered("winning_price(auctions, rng)", found, size).ravel()
        if self.bidder is not None:
            auctions = replace(auctions, value=self._value(auctions))
            found = self.bidder(auctions, rates)
            inputs[3] = (True, answered("bidder(auctions, adjust_rates)", found, size).ravel())
        return inputs
