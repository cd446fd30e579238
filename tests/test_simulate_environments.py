"""The environments: gymnasium's checks, one form against the other, and each formula by hand."""

from __future__ import annotations

import warnings
from itertools import pairwise

import counterfolio as cf
import gymnasium as gym
import numpy as np
import pytest
from counterfolio import simulate
from counterfolio.simulate import Basic, EpisodeRandom, RealTimeBidding, Recommender, Tabular
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import VectorEnv
from hypothesis import given
from hypothesis import strategies as st

TABLES = {
    "transition": np.array(
        [[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]], [[0.2, 0.7, 0.1]] * 2, [[0, 0, 1]] * 2]
    ),
    "reward": np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 0.0]]),
    "terminal": [2],
}
VARIANTS = [
    ("Basic", {}),
    ("Basic", {"action_type": "continuous", "reward_std": 0.5, "obs_std": 0.2}),
    ("Basic", {"reward_type": "binary", "horizon": 3, "state_dim": 1, "action_dim": 1}),
    ("Recommender", {}),
    ("Recommender", {"reward_type": "binary", "obs_std": 0.4, "n_items": 20}),
    ("Recommender", {"reward_std": 1.0, "drift": 0.3}),
    ("RealTimeBidding", {}),
    (
        "RealTimeBidding",
        {"action_type": "continuous", "objective": "click", "cost_indicator": "impression"},
    ),
    ("RealTimeBidding", {"initial_budget": 300, "cost_indicator": "conversion", "n_actions": 4}),
    ("Tabular", TABLES),
    ("Tabular", {**TABLES, "horizon": 4, "reward_std": 0.3}),
]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(VARIANTS)]


def made(name, arguments):
    return getattr(simulate, name)(**arguments)


def actions_of(environment, seeds, step):
    """Some action for each seed, the same whichever others are asked for."""
    rng = EpisodeRandom(np.asarray(seeds), step, "test")
    if isinstance(environment.action_space, gym.spaces.Discrete):
        return rng.integers(environment.action_space.n, size=len(seeds))
    return rng.uniform(-1, 1, (len(seeds), *environment.action_space.shape))


@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
def test_gymnasium_finds_nothing_wrong(name, arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(f"counterfolio/{name}-v0", **arguments)
        check_env(env.unwrapped)
        # And with the wrappers that gymnasium adds.
        env.reset(seed=0)
        env.step(env.action_space.sample())
    assert env.unwrapped.environment.action_space == env.action_space


def test_a_specification_can_be_kept_and_made_again():
    env = gym.make("counterfolio/Basic-v0", horizon=4)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.environment.horizon == 4


@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
def test_side_by_side_equals_one_at_a_time(name, arguments):
    """Bit by bit, step by step, also after others have been dropped."""
    environment = made(name, arguments)
    single = gym.make(f"counterfolio/{name}-v0", **arguments)
    seeds = np.array([5, 0, 2**32 - 1, 77, 6, 11])
    together = environment.start(seeds)
    alive = list(seeds)
    trails = {int(seed): [together.observations[i].tobytes()] for i, seed in enumerate(seeds)}
    for step in range(12):
        outcome = together.step(actions_of(environment, alive, step))
        ended = outcome[1] | outcome[2]
        for i, seed in enumerate(alive):
            info = {k: v[i] for k, v in together.info.items()}
            trails[int(seed)].append(
                (together.observations[i].tobytes(), *(x[i] for x in outcome), info)
            )
        alive = [s for s, end in zip(alive, ended, strict=True) if not end]
        if not alive:
            break
        together.keep(~ended)
    for seed, trail in trails.items():
        seen, _ = single.reset(seed=seed)
        assert np.asarray(seen).tobytes() == trail[0]
        for step, (state, reward, terminated, truncated, info) in enumerate(trail[1:]):
            action = actions_of(environment, [seed], step)[0]
            found = single.step(action)
            assert np.asarray(found[0]).tobytes() == state
            assert found[1:4] == (reward, terminated, truncated)
            assert found[4] == info
        if not alive:
            assert found[2] or found[3]


@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
def test_what_is_seen_and_earned_is_what_spaces_say(name, arguments):
    environment = made(name, arguments)
    episodes = environment.start(np.arange(50))
    for step in range(environment.horizon or 30):
        assert all(seen in environment.observation_space for seen in episodes.observations)
        rewards, terminated, truncated = episodes.step(
            actions_of(environment, episodes.seeds, step)
        )
        assert rewards.dtype == np.float64
        assert rewards.shape == terminated.shape == truncated.shape == (len(episodes),)
        assert not (terminated & truncated).any()
        if (terminated | truncated).all():
            break
        episodes.keep(~(terminated | truncated))
    assert all(seen in environment.observation_space for seen in episodes.observations)


@pytest.mark.parametrize(("name", "arguments"), VARIANTS, ids=IDS)
def test_resets_follow_the_seed(name, arguments):
    env = gym.make(f"counterfolio/{name}-v0", **arguments)

    def play(seed):
        found = []
        for again in range(3):
            seen, _ = env.reset(seed=seed if again == 0 else None)
            found.append(np.asarray(seen).tobytes())
            for step in range(2):
                action = actions_of(env.unwrapped.environment, [again], step)[0]
                after, reward, *ends, _ = env.step(action)
                found += [np.asarray(after).tobytes(), reward, *ends]
                if any(ends):
                    break
        return found

    assert play(3) == play(3)
    assert play(3) != play(4)


def test_an_episode_has_to_be_begun():
    env = simulate.Basic(horizon=1).to_gymnasium()
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    env.reset(seed=1)
    assert env.step(0)[3]
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)


@pytest.mark.parametrize("name", ["Basic", "Tabular"])
def test_the_vector_form_is_the_same_with_autoreset(name):
    arguments = {"Basic": {"horizon": 3}, "Tabular": TABLES}[name]
    vector = gym.make_vec(
        f"counterfolio/{name}-v0",
        num_envs=5,
        vectorization_mode="vector_entry_point",
        **arguments,
    )
    assert isinstance(vector, VectorEnv)
    environment = made(name, arguments)
    seen, _ = vector.reset(seed=20)
    assert seen in vector.observation_space
    episodes = environment.start(np.arange(20, 25))
    assert np.array_equal(seen, episodes.observations)
    ended = np.zeros(5, dtype=bool)
    number = 0
    alive = np.arange(5)
    for _ in range(9):
        actions = np.arange(5) % environment.action_space.n
        seen, rewards, terminated, truncated, _ = vector.step(actions)
        assert (rewards[ended] == 0).all()
        assert not (terminated | truncated)[ended].any()
        if len(alive):
            own, *ends = episodes.step(actions[alive])
            assert np.array_equal(rewards[alive], own)
            assert np.array_equal(seen[alive], episodes.observations)
            assert np.array_equal(np.stack([terminated, truncated])[:, alive], ends)
            on = ~(ends[0] | ends[1])
            episodes.keep(on)
            alive = alive[on]
        ended = terminated | truncated
        number += ended.sum()
    assert number > 5


def test_where_an_episode_has_ended_the_next_begins():
    environment = Basic(horizon=3)
    vector = environment.to_vector(5)
    vector.reset(seed=20)
    actions = np.arange(5)
    for _ in range(3):
        vector.step(actions)
    # The generator goes on from the seed of the reset.
    seeds = gym.utils.seeding.np_random(20)[0].integers(2**32, size=5)
    episodes = environment.start(seeds)
    seen = vector.step(actions)[0]
    assert np.array_equal(seen, episodes.observations)
    for _ in range(3):
        seen, rewards, *_ = vector.step(actions)
        assert np.array_equal(rewards, episodes.step(actions)[0])
        assert np.array_equal(seen, episodes.observations)


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


# Every environment.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Basic(horizon=0), "horizon must be a whole number of 1 or more, not 0"),
        (lambda: Basic(action_type="x"), "unknown action_type 'x'; there is \"discrete\""),
        (lambda: Basic(reward_std=-1), "reward_std must be a finite number of 0 or more"),
        (lambda: Basic(reward_type="binary", reward_std=1), "a binary one has none"),
        (lambda: Basic(reward=3), "reward must be a callable"),
        (lambda: Basic(action_context=np.zeros((2, 2))), r"action_context is .*\(10, 3\)"),
        (lambda: Basic(action_type="continuous", action_context=np.zeros((10, 3))), "drop it"),
        (
            lambda: Basic(reward=lambda s, a: s).start([1]).step([0]),
            r"reward\(states, actions\) returned",
        ),
        (
            lambda: Basic(reward=lambda s, a: s[:, 0] / 0 * 0).start([1]).step([0]),
            "1 of 1 values not finite",
        ),
        (lambda: Recommender(n_items=2.5), "n_items must be a whole number"),
        (lambda: Recommender(item_features=[[1.0]]), r"item_features .*\(5, 5\)"),
        (lambda: RealTimeBidding(n_actions=1), "n_actions must be a whole number of 2 or more"),
        (
            lambda: RealTimeBidding(initial_budget=0),
            "initial_budget must be a finite number above 0",
        ),
        (lambda: RealTimeBidding(objective="sale"), "unknown objective"),
        (lambda: RealTimeBidding(search_volume_mean=[1, 2]), r"search_volume_mean .*\(7,\)"),
        (
            lambda: RealTimeBidding(click_through=lambda a: np.full(a.shape, 2.0)).mean_value,
            "above 1",
        ),
        (
            lambda: Basic().start([1, 2, 3]).step([9, 10, -1]),
            r"2 of 3 actions .* first at row 1 \(10\)",
        ),
        (lambda: Basic().start([1]).step([0.5]), r"actions must be whole numbers of shape \(1,\)"),
        (lambda: Basic(action_type="continuous").start([1]).step([[0, 1]]), r"shape \(1, 3\)"),
        (lambda: Basic(action_type="continuous").start([1]).step([[0, 1, np.nan]]), "not finite"),
        (lambda: Tabular(**{**TABLES, "reward": [1.0]}), "reward must be of shape"),
        (lambda: Tabular(**{**TABLES, "terminal": [3]}), "terminal names state 3"),
        (lambda: Tabular(**{**TABLES, "initial": [0, 0, 1]}), "probability to a terminal state"),
        (lambda: Tabular(**{**TABLES, "transition": np.ones((2, 1, 2))}), "do not sum to 1"),
        (lambda: Tabular(transition=np.ones((2, 2)), reward=0), "transition must be of shape"),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with np.errstate(all="ignore"), pytest.raises(cf.InvalidArgumentError, match=message):
        make()


# Random numbers.


@given(st.integers(0, 2**64), st.integers(1, 3000))
def test_seeds_differ_and_begin_alike(seed, n):
    seeds = simulate.episode_seeds(seed, n)
    assert len(np.unique(seeds)) == n
    assert seeds.max() < 2**32
    assert np.array_equal(simulate.episode_seeds(seed, n + 10)[:n], seeds)


def test_seeds_of_other_seeds_are_others():
    seeds = [set(simulate.episode_seeds(seed, 20_000).tolist()) for seed in range(3)]
    # As many in common as chance makes of 2^32.
    assert all(len(a & b) < 10 for a, b in pairwise(seeds))
    assert len(seeds[0]) == 20_000


def test_numbers_are_distributed_as_they_say():
    from scipy import stats

    rng = EpisodeRandom(np.arange(400), 2, "test")
    n = 400 * 50
    for found, wanted in (
        (rng.random((400, 50)), stats.uniform()),
        (rng.uniform(-1, 3, (400, 50)), stats.uniform(-1, 4)),
        (rng.standard_normal((400, 50)), stats.norm()),
        (rng.normal(2, 3, (400, 50)), stats.norm(2, 3)),
        (rng.exponential(2, (400, 50)), stats.expon(scale=2)),
        (rng.standard_gamma(0.7, (400, 50)), stats.gamma(0.7)),
        (rng.gamma(np.full((400, 50), 40.0), 0.5), stats.gamma(40, scale=0.5)),
    ):
        assert found.shape == (400, 50)
        assert stats.kstest(found.ravel(), wanted.cdf).pvalue > 1e-3
    counts = np.bincount(rng.integers(3, 9, (400, 50)).ravel())
    assert counts[:3].sum() == 0
    assert stats.chisquare(counts[3:]).pvalue > 1e-3
    assert counts.sum() == n


def test_neighbouring_streams_are_independent():
    """Of seeds, steps, purposes and calls that are next to each other."""
    base = EpisodeRandom(np.arange(3000), 0, "a").random(3000)
    others = {
        "seed": EpisodeRandom(np.arange(1, 3001), 0, "a").random(3000),
        "step": EpisodeRandom(np.arange(3000), 1, "a").random(3000),
        "purpose": EpisodeRandom(np.arange(3000), 0, "b").random(3000),
    }
    rng = EpisodeRandom(np.arange(3000), 0, "a")
    rng.random(3000)
    others["call"] = rng.random(3000)
    for name, other in others.items():
        assert abs(np.corrcoef(base, other)[0, 1]) < 4 / np.sqrt(3000), name


def test_sizes_that_have_no_rows_are_refused():
    rng = EpisodeRandom(np.arange(3), 0, "a")
    for call in (
        rng.random,
        lambda: rng.random(4),
        lambda: rng.normal(0, 1),
        lambda: rng.choice(3),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=r"episodes"):
            call()
