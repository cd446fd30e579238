"""Each formula of the environments by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from counterfolio.simulate import Basic, EpisodeRandom, RealTimeBidding, Recommender
from simulate_variants import actions_of

# Basic.


def test_basic_by_its_formula():
    environment = Basic(state_dim=4, action_dim=2, n_actions=3, action_type="discrete")
    episodes = environment.start(np.arange(6))
    own, moved, c = environment._dynamics
    a_matrix, b_matrix = own.T, moved.T
    theta_s, theta_a, bilinear = environment._rewards
    for step in range(5):
        s = episodes.observations
        np.testing.assert_allclose(np.linalg.norm(s, axis=1), 1)
        actions = actions_of(environment, episodes.seeds, step)
        x = environment.contexts[actions]
        rewards, *_ = episodes.step(actions)
        for i in range(6):
            si, ai = s[i] / 4, x[i] / 2
            q = theta_s @ si + theta_a @ ai + si @ bilinear @ ai
            assert rewards[i] == pytest.approx(q, abs=1e-12)
            u = a_matrix @ si + b_matrix @ ai + si @ c @ ai
            np.testing.assert_allclose(episodes.observations[i], u / np.linalg.norm(u), atol=1e-12)


def test_coefficients_of_rewards_dynamics_and_contexts_are_not_the_same_numbers():
    environment = Basic(state_dim=5, action_dim=3)
    own, moved, c = environment._dynamics
    theta_s, theta_a, bilinear = environment._rewards
    parts = [environment.contexts, own, moved, c, theta_s, theta_a, bilinear]
    numbers = np.concatenate([part.ravel() for part in parts])
    assert len(np.unique(numbers)) == len(numbers)
    other = Basic(state_dim=5, action_dim=3, world_seed=1)
    assert not np.array_equal(other._rewards[0], theta_s)


@pytest.mark.parametrize("kind", [Basic, Recommender])
def test_binary_rewards_have_the_logistic_probability(kind):
    environment = kind(reward_type="binary", horizon=1)
    plain = kind(horizon=1)
    n = 40_000
    episodes, means = environment.start(np.arange(n)), plain.start(np.arange(n))
    actions = np.arange(n) % 5
    rewards, mean = episodes.step(actions)[0], means.step(actions)[0]
    assert set(np.unique(rewards)) == {0.0, 1.0}
    p = 1 / (1 + np.exp(-mean))
    for group in np.array_split(np.argsort(p), 8):
        error = np.sqrt((p[group] * (1 - p[group])).sum()) / len(group)
        assert abs(rewards[group].mean() - p[group].mean()) < 4 * error


@pytest.mark.parametrize("kind", [Basic, Recommender])
def test_noise_has_its_size_and_is_not_that_of_rewards(kind):
    quiet, loud = kind(), kind(reward_std=0.5)
    a, b = quiet.start(np.arange(20_000)), loud.start(np.arange(20_000))
    actions = np.zeros(20_000, dtype=int)
    noise = b.step(actions)[0] - a.step(actions)[0]
    assert noise.std() == pytest.approx(0.5, rel=0.03)
    assert abs(noise.mean()) < 4 * 0.5 / np.sqrt(20_000)
    # The dynamics do not see it.
    assert np.array_equal(a.observations, b.observations)
    assert abs(np.corrcoef(noise, a.observations[:, 0])[0, 1]) < 4 / np.sqrt(20_000)


def test_basic_with_functions_of_ones_own():
    environment = Basic(
        action_type="continuous",
        reward=lambda s, a: s[:, 0] * a[:, 1],
        transition=lambda s, a, rng: s + rng.normal(0, 0.1, s.shape),
    )
    episodes = environment.start(np.arange(1000))
    before = episodes.observations
    actions = actions_of(environment, episodes.seeds, 0)
    rewards, *_ = episodes.step(actions)
    np.testing.assert_array_equal(rewards, before[:, 0] * actions[:, 1])
    moved = episodes.observations - before
    assert moved.std() == pytest.approx(0.1, rel=0.05)
    single = environment.to_gymnasium()
    single.reset(seed=7)
    assert np.array_equal(single.step(actions[7])[0], episodes.observations[7])


# Recommender.


def test_recommender_by_its_formula():
    environment = Recommender(drift=0.7, n_items=6)
    np.testing.assert_allclose(np.linalg.norm(environment.user_features, axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(environment.item_features, axis=1), 1)
    episodes = environment.start(np.arange(8))
    users = episodes.info["user"]
    assert np.array_equal(episodes.observations, environment.user_features[users])
    for step in range(4):
        s, actions = episodes.observations, actions_of(environment, episodes.seeds, step)
        rewards, *_ = episodes.step(actions)
        for i in range(8):
            v = environment.item_features[actions[i]]
            assert rewards[i] == pytest.approx(s[i] @ v, abs=1e-12)
            u = s[i] + 0.7 * (s[i] @ v) * v
            np.testing.assert_allclose(episodes.observations[i], u / np.linalg.norm(u), atol=1e-12)
        # Also at the end the user is the episode's own.
        assert np.array_equal(episodes.info["user"], users)
    assert len(np.unique(environment.start(np.arange(3000)).info["user"])) == 100


def test_recommender_with_features_and_functions_of_ones_own():
    environment = Recommender(
        n_items=2,
        feature_dim=2,
        n_users=1,
        item_features=[[1, 0], [0, 2]],
        user_features=[[3, 4]],
        reward=lambda s, v: 10 * s[:, 0] * v[:, 0],
        transition=lambda s, v, rng: v,
    )
    episodes = environment.start([1, 2])
    np.testing.assert_allclose(episodes.observations, [[0.6, 0.8]] * 2)
    rewards, *_ = episodes.step([0, 1])
    np.testing.assert_allclose(rewards, [6, 0])
    np.testing.assert_allclose(episodes.observations, [[1, 0], [0, 1]])


# Real-time bidding.


def test_bidding_with_all_functions_replaced_by_the_same_is_the_same():
    """What the core looks up is what numpy computes."""
    plain = RealTimeBidding(n_ads=7, n_users=9)
    replaced = RealTimeBidding(
        n_ads=7,
        n_users=9,
        click_through=lambda a: a.market.click_through(a),
        conversion=lambda a: a.market.conversion(a),
        winning_price=lambda a, rng: a.market.winning_price(a, rng),
        bidder=lambda a, rates: a.value * (rates * plain._scale)[:, None],
    )
    assert replaced.mean_value == plain.mean_value
    one, other = plain.start(np.arange(40)), replaced.start(np.arange(40))
    for step in range(7):
        actions = actions_of(plain, one.seeds, step)
        assert np.array_equal(one.step(actions)[0], other.step(actions)[0])
        assert np.array_equal(one.observations, other.observations)
        assert all(np.array_equal(one.info[k], other.info[k]) for k in one.info)


@pytest.mark.parametrize("objective", ["conversion", "click"])
@pytest.mark.parametrize(
    ("charged", "budget"), [("impression", 2000), ("click", 400), ("conversion", 100)]
)
def test_a_day_of_bidding_by_hand(objective, charged, budget):
    """Auction by auction in Python, from the same random numbers."""
    environment = RealTimeBidding(
        horizon=3,
        initial_budget=budget,
        objective=objective,
        cost_indicator=charged,
        n_ads=70,
        n_users=30,
    )
    market, n, ran_out = environment.market, 30, 0
    episodes = environment.start(np.arange(n))
    for step in range(3):
        before = episodes.observations
        actions = actions_of(environment, episodes.seeds, step)
        rates = environment.adjust_rates[actions]
        rewards, terminated, _ = episodes.step(actions)
        volumes = episodes.info["search_volume"]
        width = volumes.max()
        seeds = episodes.seeds
        pairs = EpisodeRandom(seeds, step, "auction").integers(70 * 30, size=(n, width))
        gammas = EpisodeRandom(seeds, step, "price").standard_gamma(market.price_shape[pairs // 30])
        u_click, u_conversion = (
            EpisodeRandom(seeds, step, what).random((n, width)) for what in ("click", "conversion")
        )
        for i in range(n):
            budget, won, clicks, conversions, bids = before[i, 1], 0, 0, 0, 0.0
            over = False
            for j in range(volumes[i]):
                pair = pairs[i, j]
                click = market.click_through.chance[pair] * market.click_through.trend[step]
                conversion = market.conversion.chance[pair] * market.conversion.trend[step]
                value = click * conversion if objective == "conversion" else click
                bid = int(value * rates[i] * 50 / environment.mean_value)
                bids += bid
                price = max(gammas[i, j] * market.price_scale[pair // 30], 1.0)
                if price >= bid or over:
                    continue
                clicked = u_click[i, j] < click
                converted = clicked and u_conversion[i, j] < conversion
                due = {"impression": True, "click": clicked, "conversion": converted}[charged]
                cost = int(price) * due
                if before[i, 1] - budget + cost >= before[i, 1]:
                    over = True
                    continue
                budget -= cost
                won += 1
                clicks += clicked
                conversions += converted
            ran_out += over
            earned = conversions if objective == "conversion" else clicks
            assert rewards[i] == earned
            assert conversions == episodes.info["conversion"][i]
            assert (won, clicks) == (episodes.info["impression"][i], episodes.info["click"][i])
            assert episodes.info["average_bid_price"][i] == pytest.approx(bids / volumes[i])
            spent = before[i, 1] - budget
            wanted = [step + 1, budget, spent / before[i, 1], 1000 * spent / max(won, 1)]
            wanted += [won / volumes[i], earned, rates[i]]
            np.testing.assert_allclose(episodes.observations[i], wanted, rtol=1e-12)
        assert terminated.all() == (step == 2)
    assert (episodes.observations[:, 1] > 0).all()
    assert 0 < ran_out < 3 * n


def test_market_by_its_formulas():
    environment = RealTimeBidding()
    market = environment.market
    for response, beta_mean in ((market.click_through, 0.2), (market.conversion, 0.4)):
        assert response.chance.shape == (10_000,)
        assert ((response.chance > 0.2) & (response.chance < 0.8)).all()
        assert response.trend.shape == (7,)
        assert response.trend.mean() == pytest.approx(beta_mean, abs=0.15)
    mean_price = market.price_shape * market.price_scale
    assert mean_price.mean() == pytest.approx(50, rel=0.1)
    # Bids at a rate of 1 are the standard price on average, before the fraction is cut off.
    everything = [market.everything(t) for t in range(7)]
    values = [market.click_through(a) * market.conversion(a) for a in everything]
    assert environment.mean_value == pytest.approx(np.mean(values), rel=1e-12)
    ads, users = everything[0].ad, everything[0].user
    assert len(np.unique(ads * 100 + users)) == 10_000
    # A pair's chance is logistic in its features.
    logits = np.log(market.click_through.chance / (1 - market.click_through.chance))
    x = np.concatenate([everything[0].ad_features[0], everything[0].user_features[0]], axis=1)
    c, residual, *_ = np.linalg.lstsq(x, logits, rcond=None)
    assert residual < 1e-20
    assert np.abs(c).max() < 0.25


def test_the_search_volume_is_that_of_the_step():
    """There it was that of the step before."""
    volume = [50.0, 500.0, 100.0]
    environment = RealTimeBidding(horizon=3, search_volume_mean=volume, search_volume_std=0)
    episodes = environment.start(np.arange(4))
    for step in range(3):
        episodes.step([5] * 4)
        assert (episodes.info["search_volume"] == volume[step]).all()
    few = RealTimeBidding(search_volume_mean=3, search_volume_std=1).start([1])
    few.step([0])
    assert few.info["search_volume"] == [10]


def test_bolder_bids_win_more_and_spend_more():
    environment = RealTimeBidding(initial_budget=1e9)
    found = []
    for action in range(10):
        episodes = environment.start(np.arange(300))
        episodes.step([action] * 300)
        found.append((episodes.info["impression"].mean(), 1e9 - episodes.observations[:, 1].mean()))
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(found))
    assert found[-1][0] > 10 * (found[0][0] + 1)


def test_continuous_bidding_is_the_logarithm_of_the_rate():
    discrete = RealTimeBidding(n_actions=3).start(np.arange(20))
    continuous = RealTimeBidding(action_type="continuous").start(np.arange(20))
    discrete.step([2] * 20)
    continuous.step(np.full((20, 1), 1.0))
    names = discrete.info
    assert all(np.array_equal(discrete.info[k], continuous.info[k]) for k in names)
