"""`Tabular`: exact values, by enumeration, by equations, by limits; and random worlds."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import counterfolio as cf
import numpy as np
import pytest
from counterfolio import policies as pi
from counterfolio.simulate import Tabular
from hypothesis import assume, given
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)


def distributions(rng, *shape, zeros=0.3):
    """Random ones, some of their entries 0."""
    found = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    found[rng.random(found.shape) < zeros] = 0
    found[..., 0] += found.sum(axis=-1) == 0
    return found / found.sum(axis=-1, keepdims=True)


def tiny(seed, horizon, by_next, ends=True):
    """Three states, two actions; the last state may end an episode."""
    rng = np.random.default_rng(seed)
    terminal = [2] if ends else []
    initial = distributions(rng, 3 - len(terminal))
    return Tabular(
        transition=distributions(rng, 3, 2, 3),
        reward=rng.normal(size=(3, 2, 3) if by_next else (3, 2)),
        initial=np.append(initial, np.zeros(len(terminal))),
        terminal=terminal,
        horizon=horizon,
    ), distributions(rng, 3, 2)


# Exact values.


def walked(env, table, gamma):
    """Every trajectory, with its probability and its return."""

    def ahead(state, step):
        if state in env.terminal or step == env.horizon:
            return 0.0
        total = 0.0
        for a, taken in enumerate(table[state]):
            for after, moved in enumerate(env.transition[state, a]):
                if taken * moved > 0:
                    paid = (
                        env.reward[state, a]
                        if env.reward.ndim == 2
                        else env.reward[state, a, after]
                    )
                    total += taken * moved * (paid + gamma * ahead(after, step + 1))
        return total

    return [ahead(state, 0) for state in range(env.n_states)]


@given(SEEDS, st.integers(1, 4), st.booleans(), st.booleans(), st.sampled_from([0.5, 0.9, 1.0]))
def test_with_a_horizon_it_is_the_sum_over_all_trajectories(seed, horizon, by_next, ends, gamma):
    env, table = tiny(seed, horizon, by_next, ends)
    values = walked(env, table, gamma)
    np.testing.assert_allclose(env.state_values(pi.Tabular(table), gamma), values, atol=1e-12)
    exact = env.exact_value(pi.Tabular(table), gamma)
    assert exact == pytest.approx(env.initial @ values, abs=1e-12)


@given(SEEDS, st.booleans(), st.booleans(), st.sampled_from([0.5, 0.9]))
def test_without_a_horizon_it_is_the_limit(seed, by_next, ends, gamma):
    env, table = tiny(seed, None, by_next, ends)
    far, _ = tiny(seed, 400, by_next, ends)
    policy = pi.Tabular(table)
    np.testing.assert_allclose(
        env.state_values(policy, gamma), far.state_values(policy, gamma), rtol=1e-9, atol=1e-9
    )


@given(SEEDS, st.booleans())
def test_undiscounted_it_is_the_limit_where_there_is_one(seed, by_next):
    env, table = tiny(seed, None, by_next)
    far, _ = tiny(seed, 20_000, by_next)
    policy = pi.Tabular(table)
    values, limit = env.state_values(policy), far.state_values(policy)
    longer, _ = tiny(seed, 20_001, by_next)
    ends = ~np.isnan(values)
    # Slow ends are left to those that have the time.
    assume(np.abs(longer.state_values(policy) - limit)[ends].max(initial=0) < 1e-13)
    np.testing.assert_allclose(values[ends], limit[ends], rtol=1e-8, atol=1e-8)
    assert not np.isnan(limit).any()
    begins = env.initial > 0
    if ends[begins].all():
        assert env.exact_value(policy) == pytest.approx(env.initial[begins] @ values[begins])
    else:
        with pytest.raises(cf.InvalidArgumentError, match="may never end"):
            env.exact_value(policy)


COIN = pi.Uniform(2)


def test_by_hand():
    """A coin that pays 1 each time until it falls; and 5 on the fall."""
    falls = {"transition": [[[0.5, 0.5]] * 2, [[0, 1]] * 2], "terminal": [1]}
    steady = Tabular(**falls, reward=np.ones((2, 2)))
    assert steady.exact_value(COIN) == pytest.approx(2)
    assert steady.exact_value(COIN, 0.9) == pytest.approx(1 / (1 - 0.45))
    # The reward of the step that ends it counts, discounted by the steps before and no more.
    pays = np.array([[[1.0, 5.0]] * 2, [[7.0, 7.0]] * 2])
    by_next = Tabular(**falls, reward=pays)
    assert by_next.exact_value(COIN) == pytest.approx(1 + 5)
    assert by_next.exact_value(COIN, 0.5) == pytest.approx(3 / (1 - 0.25))
    once = Tabular(**falls, reward=pays, horizon=1)
    assert once.exact_value(COIN, 0.5) == pytest.approx(3)
    np.testing.assert_array_equal(by_next.mean_reward, [[3.0, 3.0], [7.0, 7.0]])
    # What a terminal state would pay is never paid.
    assert by_next.state_values(COIN)[1] == 0


@given(SEEDS, st.sampled_from([0.9, 1.0]))
def test_by_a_linear_equation(seed, gamma):
    """Of visits, not of values: d = initial + gamma P' d, and the value is d . r."""
    env = Tabular.random(6, 3, world_seed=seed, end=0.2)
    table = np.random.default_rng(seed).dirichlet(np.ones(3), 7)
    onwards = np.einsum("sa,sat->st", table[:6], env.transition[:6, :, :6])
    visits = np.linalg.solve(np.eye(6) - gamma * onwards.T, env.initial[:6])
    wanted = visits @ (table[:6] * env.reward[:6]).sum(axis=1)
    assert env.exact_value(pi.Tabular(table), gamma) == pytest.approx(wanted)


@pytest.mark.parametrize("gamma", [0.9, 1.0])
@pytest.mark.parametrize("horizon", [None, 4])
@pytest.mark.parametrize("by_next", [True, False])
def test_roll_outs_agree(gamma, horizon, by_next):
    env, table = tiny(32, horizon, by_next)
    policy = pi.Tabular(table)
    rolled = cf.on_policy_value(env, policy, 20_000, 4, gamma=gamma).table.row(0, named=True)
    assert abs(rolled["value"] - env.exact_value(policy, gamma)) < 4 * rolled["standard_error"]
    assert rolled["standard_error"] > 0


def test_rewards_of_arrival_are_those_of_the_state_that_follows():
    env, table = tiny(3, 6, by_next=True, ends=False)
    log = cf.collect(env, pi.Tabular(table), 400, 7)
    state, action, reward, step = (
        log.column(name).to_numpy() for name in ("state", "action", "reward", "step")
    )
    goes_on = step[:-1] < 5
    paid = env.reward[state[:-1], action[:-1], state[1:]]
    np.testing.assert_array_equal(reward[:-1][goes_on], paid[goes_on])


def ring():
    """The first action leads around, the second to the end; state 2 leads nowhere."""
    transition = np.zeros((4, 2, 4))
    transition[0, 0, 1] = transition[1, 0, 0] = transition[2, :, 2] = 1
    transition[:2, 1, 3] = transition[3, :, 3] = 1
    return {"transition": transition, "reward": np.ones((4, 2)), "terminal": [3]}


def test_policies_that_never_end_are_refused_at_gamma_1_alone():
    env = Tabular(**ring(), initial=[1, 0, 0, 0])
    around = pi.Deterministic(lambda s: np.zeros(len(s), dtype=int), [0, 1])
    with pytest.raises(cf.InvalidArgumentError, match="begun in state 0 an episode may never end"):
        env.exact_value(around)
    assert env.exact_value(around, 0.75) == pytest.approx(4)
    assert Tabular(**ring(), initial=[1, 0, 0, 0], horizon=7).exact_value(around) == 7
    # With any chance of an end it ends; where nobody comes, nothing has to.
    assert env.exact_value(COIN) == pytest.approx(2)
    lazy = pi.Tabular([[1 - 1e-9, 1e-9]] * 4)
    assert env.exact_value(lazy) == pytest.approx(1e9, rel=1e-6)
    np.testing.assert_array_equal(env.state_values(around), [np.nan, np.nan, np.nan, 0])
    np.testing.assert_allclose(env.state_values(COIN), [2, 2, np.nan, 0])
    with pytest.raises(cf.InvalidArgumentError, match="begun in state 2"):
        Tabular(**ring()).exact_value(COIN)


def test_an_end_that_is_not_sure_is_none():
    """One time in two it comes where there is no way out."""
    transition = np.zeros((3, 1, 3))
    transition[0, 0] = [0, 0.5, 0.5]
    transition[1, 0, 1] = transition[2, 0, 2] = 1
    env = Tabular(transition=transition, reward=np.ones((3, 1)), initial=[1, 0, 0], terminal=[2])
    with pytest.raises(cf.InvalidArgumentError, match="state 0 an episode may never end"):
        env.exact_value(pi.Uniform(1))
    assert env.exact_value(pi.Uniform(1), 0.5) == pytest.approx(1 + 0.25 / 0.5)


@given(SEEDS, st.booleans(), st.sampled_from([0.9, 1.0]))
def test_values_of_states_where_nobody_comes_are_theirs_too(seed, limited, gamma):
    """As if episodes began there: what other policies do is judged by them."""
    env = Tabular.random(5, 2, world_seed=seed, end=0.2, horizon=6 if limited else None)
    policy = pi.Tabular(np.random.default_rng(seed).dirichlet(np.ones(2), 6))
    one = Tabular(
        transition=env.transition,
        reward=env.reward,
        initial=np.eye(6)[0],
        terminal=env.terminal,
        horizon=env.horizon,
    )
    values = one.state_values(policy, gamma)
    np.testing.assert_array_equal(values, env.state_values(policy, gamma))
    for state in range(5):
        begun = Tabular(
            transition=env.transition,
            reward=env.reward,
            initial=np.eye(6)[state],
            terminal=env.terminal,
            horizon=env.horizon,
        )
        assert begun.exact_value(policy, gamma) == pytest.approx(values[state])


def test_actions_go_by_their_labels():
    env = Tabular.random(4, 3, end=0.3)
    table = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    exact = env.exact_value(pi.Tabular(table))
    turned = pi.Tabular(table[:, [2, 0, 1]], actions=[2, 0, 1])
    assert env.exact_value(turned) == pytest.approx(exact, rel=1e-14)
    np.testing.assert_array_equal(env.probabilities(turned)[:4], table[:4])
    some = table[:, :2] / table[:, :2].sum(axis=1, keepdims=True)
    padded = np.concatenate([some, np.zeros((5, 1))], axis=1)
    for policy in (pi.Tabular(some), pi.Tabular(some, actions=[0, 1])):
        assert env.exact_value(policy) == env.exact_value(pi.Tabular(padded))
    wide = np.concatenate([table, np.zeros((5, 1))], axis=1)
    assert env.exact_value(pi.Tabular(wide)) == exact
    with pytest.raises(cf.InvalidPolicyError, match=r"tables' columns"):
        env.exact_value(pi.Uniform(4))
    with pytest.raises(cf.InvalidPolicyError, match="to 'a', which is no action"):
        env.exact_value(pi.Tabular(table, actions=["a", "b", "c"]))


def test_policies_are_not_asked_about_terminal_states():
    env = Tabular.random(4, 3, end=0.3)
    table = np.random.default_rng(0).dirichlet(np.ones(3), 4)
    whole = np.concatenate([table, [[1.0, 0.0, 0.0]]])
    assert env.exact_value(pi.Tabular(table)) == env.exact_value(pi.Tabular(whole))
    assert (env.probabilities(pi.Tabular(table))[4] == 0).all()


class Odd:
    """Answers with anything."""

    actions = None

    def __init__(self, answer):
        self.answer = answer

    def action_probs(self, states):
        return self.answer


@pytest.mark.parametrize(
    ("policy", "gamma", "message"),
    [
        (COIN, 0, r"gamma must be in \(0, 1\], not 0"),
        (COIN, 1.5, "gamma must be"),
        (COIN, "1", "gamma must be"),
        (Odd(np.ones(3)), 1.0, r"Odd: action_probs\(states\) returned shape \(3,\)"),
        (Odd(np.ones((2, 2)) / 2), 1.0, r"returned shape \(2, 2\)"),
        (Odd(np.ones((3, 2))), 1.0, "do not sum to 1"),
        (Odd(np.full((3, 2), np.nan)), 1.0, "do not sum to 1"),
    ],
)
def test_what_is_wrong_is_said(policy, gamma, message):
    env = Tabular(**ring())
    with pytest.raises(ValueError, match=message):
        env.exact_value(policy, gamma)


def test_episodes_that_would_never_end_are_not_begun():
    """By default a random world has neither ends nor a horizon."""
    env = Tabular.random(4, 2)
    for call in (cf.collect, cf.on_policy_value):
        for world in (env, env.to_gymnasium(), env.to_gymnasium):
            with pytest.raises(cf.InvalidArgumentError, match="or pass max_episode_steps"):
                call(world, COIN, 5, 1)
    assert cf.collect(env, COIN, 5, 1, max_episode_steps=7).n_rows == 35
    assert Tabular.random(4, 2, horizon=3).can_end
    assert Tabular.random(4, 2, end=0.1).can_end
    # What nobody comes to has no need of an end.
    assert Tabular(**ring(), initial=[1, 0, 0, 0]).can_end
    assert not Tabular(**ring()).can_end


# ICU-Sepsis: 713 states of patients, 25 treatments; solved by its authors.


@functools.cache
def icu():
    """The process as published, read from the package's folder: importing it would import gym."""
    (folder,) = importlib.util.find_spec("icu_sepsis").submodule_search_locations
    with np.load(Path(folder) / "envs" / "assets" / "dynamics.npz") as found:
        survives = np.zeros(found["tx_mat"].shape)
        survives[:713, :, 714] = 1.0
        env = Tabular(
            transition=found["tx_mat"],
            reward=survives,
            initial=found["d_0"],
            terminal=[713, 714, 715],
        )
        return env, pi.Tabular(found["expert_policy"][:713])


@pytest.mark.parametrize(
    ("gamma", "random", "expert"),
    [(1.0, 0.7800709046, 0.7818448903), (0.99, 0.7190950524, 0.7221580395)],
)
def test_the_published_values_of_icu_sepsis(gamma, random, expert):
    env, experts = icu()
    assert env.exact_value(pi.Uniform(25), gamma) == pytest.approx(random, abs=1e-9)
    assert env.exact_value(experts, gamma) == pytest.approx(expert, abs=1e-9)


def test_patients_survive_as_often_as_they_should():
    env, experts = icu()
    truth = cf.on_policy_value(env, {"expert": experts, "random": pi.Uniform(25)}, 3000, 1)
    for name, policy in (("expert", experts), ("random", pi.Uniform(25))):
        assert set(truth[name]) == {0.0, 1.0}
        error = truth.table.filter(policy=name)["standard_error"][0]
        assert abs(truth.value(name) - env.exact_value(policy)) < 4 * error


# Random ones.


@given(
    seed=SEEDS,
    n_states=st.integers(1, 8),
    n_actions=st.integers(1, 5),
    n_next=st.integers(1, 6),
    end=st.sampled_from([0.0, 0.2, 0.9]),
)
def test_random_ones_are_what_is_said(seed, n_states, n_actions, n_next, end):
    sizes = {"n_states": n_states, "n_actions": n_actions, "n_next": n_next, "end": end}
    env = Tabular.random(**sizes, world_seed=seed)
    states = slice(0, n_states)
    assert (env.n_states, env.n_actions) == (n_states + (end > 0), n_actions)
    np.testing.assert_allclose(env.transition.sum(axis=2), 1)
    inner = env.transition[states, :, :n_states]
    assert ((inner > 0).sum(axis=2) <= min(n_next, n_states)).all()
    assert ((env.reward >= 0) & (env.reward < 1)).all()
    np.testing.assert_allclose(env.initial[states], 1 / n_states)
    if end > 0:
        ends = env.transition[states, :, -1]
        assert ((ends >= end / 2) & (ends <= min(1.5 * end, 1))).all()
        assert env.terminal == (n_states,)
        assert env.reward[-1].sum() == 0
        # Half of a step's reward at least, and no more than all of them.
        bounds = env.reward[states].min(), 1 / (end / 2)
        assert bounds[0] <= env.exact_value(pi.Uniform(n_actions)) <= bounds[1]
    else:
        assert ((inner > 0).sum(axis=2) == min(n_next, n_states)).all()
        assert env.terminal == ()
    again, other = (Tabular.random(**sizes, world_seed=s) for s in (seed, seed + 1))
    assert np.array_equal(again.transition, env.transition)
    assert np.array_equal(again.reward, env.reward)
    assert not np.array_equal(other.reward, env.reward)


@pytest.mark.parametrize(
    "arguments", [{"n_states": 0}, {"n_actions": 0}, {"n_next": 0}, {"end": 1.0}, {"end": -0.1}]
)
def test_random_ones_of_no_size_are_refused(arguments):
    with pytest.raises(cf.InvalidArgumentError, match=f"{next(iter(arguments))} must be"):
        Tabular.random(**{"n_states": 3, "n_actions": 2, **arguments})
