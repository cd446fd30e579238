"""The environments: gymnasium's checks, and one form against the other."""

from __future__ import annotations

import warnings

import counterfolio as cf
import gymnasium as gym
import numpy as np
import pytest
from counterfolio import simulate
from counterfolio.simulate import Basic, RealTimeBidding, Recommender, Tabular
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import VectorEnv
from simulate_variants import IDS, TABLES, VARIANTS, actions_of, made


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
