"""`Tabular`: exact values, what is collected there, and estimators beside what they estimate."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import policies as pi
from counterfolio.simulate import Basic, RealTimeBidding, Recommender, Tabular
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

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


# What is collected.


WORLD = Tabular.random(4, 3, world_seed=5, end=0.25, horizon=5, reward_std=0.3)


def leaning(seed, share=0.5):
    """A policy of WORLD that does everything at times."""
    own = np.random.default_rng(seed).dirichlet(np.ones(3), 5)
    return (1 - share) / 3 + share * own


#: The candidate looks at what pays at once.
BEHAVIOR, CANDIDATE = leaning(1), np.exp(2 * WORLD.reward)
CANDIDATE /= CANDIDATE.sum(axis=1, keepdims=True)


def visits(env, table):
    """P(S_t = s, still going), by step: of shape (horizon, n_states)."""
    found = np.zeros((env.horizon, env.n_states))
    found[0] = env.initial
    for step in range(1, env.horizon):
        found[step] = np.einsum("s,sa,sat->t", found[step - 1], table, env.transition)
        found[step][list(env.terminal)] = 0
    return found


def fits(counts, probabilities, level=1e-3):
    """A chi-square test, what never happens apart."""
    probabilities = np.asarray(probabilities)
    assert counts[probabilities == 0].sum() == 0
    expected = probabilities / probabilities.sum() * counts.sum()
    # Rare ones together, as the test needs some of each.
    rare = expected < 5
    counts, expected = (
        np.append(x[~rare], x[rare].sum() if rare.any() else []) for x in (counts, expected)
    )
    kept = expected > 0
    return kept.sum() < 2 or stats.chisquare(counts[kept], expected[kept]).pvalue > level


def test_states_are_visited_and_left_as_the_tables_say():
    n = 20_000
    log = cf.collect(WORLD, pi.Tabular(BEHAVIOR), n, 7)
    names = ("episode", "step", "state", "action", "reward", "terminated", "truncated")
    rows = pl.DataFrame({name: log.column(name) for name in names})
    exact = visits(WORLD, BEHAVIOR)
    for step in range(5):
        now = rows.filter(pl.col("step") == step)["state"].to_numpy()
        counts = np.bincount(now, minlength=5)
        # Those that have ended are counted too: how many go on is what ends decide.
        assert fits(np.append(counts, n - len(now)), np.append(exact[step], 1 - exact[step].sum()))
    after = rows["state"].shift(-1, fill_value=0).to_numpy().copy()
    after[rows["terminated"].to_numpy()] = 4
    known = ~rows["truncated"].to_numpy()
    state, action = rows["state"].to_numpy(), rows["action"].to_numpy()
    for s in range(4):
        taken = np.bincount(action[state == s], minlength=3)
        assert fits(taken, BEHAVIOR[s])
        for a in range(3):
            here = known & (state == s) & (action == a)
            # The last step of the horizon shows its end alone.
            early = here & (rows["step"].to_numpy() < 4)
            assert fits(np.bincount(after[early], minlength=5), WORLD.transition[s, a])
    last = rows.filter(pl.col("step") == 4)
    ended = WORLD.transition[last["state"], last["action"], 4]
    z = (last["terminated"] - ended).sum() / np.sqrt((ended * (1 - ended)).sum())
    assert abs(z) < 4
    assert (last["terminated"] | last["truncated"]).all()
    assert not rows.filter(pl.col("step") < 4)["truncated"].any()
    noise = rows["reward"].to_numpy() - WORLD.reward[state, action]
    assert stats.kstest(noise / 0.3, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 4 / np.sqrt(len(noise))


def test_rewards_of_arrival_are_those_of_the_state_that_follows():
    env, table = tiny(3, 6, by_next=True, ends=False)
    log = cf.collect(env, pi.Tabular(table), 400, 7)
    state, action, reward, step = (
        log.column(name).to_numpy() for name in ("state", "action", "reward", "step")
    )
    goes_on = step[:-1] < 5
    paid = env.reward[state[:-1], action[:-1], state[1:]]
    np.testing.assert_array_equal(reward[:-1][goes_on], paid[goes_on])


# Estimators beside the exact value.

GAMMA = 0.9
UNBIASED = ["dm", "tis", "pdis", "dr", "sm_is", "sm_dr", "sam_is", "sam_dr", "drl"]
NORMALISED = ["sntis", "snpdis", "sndr", "sm_snis", "sm_sndr", "sam_snis", "sam_sndr"]
STEPS_BACK = [cf.Estimator(name, n_step=1) for name in ("sm_is", "sam_dr", "sm_snis")]
TRUTH = WORLD.exact_value(pi.Tabular(CANDIDATE), GAMMA)


@functools.cache
def by_step(error):
    """Q and V of CANDIDATE at each step, Q wrong by some error that no log decides."""
    q, v = np.zeros((5, 5, 3)), np.zeros((6, 5))
    for step in reversed(range(5)):
        q[step] = WORLD.reward + GAMMA * WORLD.transition @ v[step + 1]
        q[step, 4] = 0
        v[step] = (CANDIDATE * q[step]).sum(axis=1)
    q += error * np.random.default_rng(6).normal(size=q.shape)
    return q, np.einsum("sa,tsa->ts", CANDIDATE, q)


def columns(log, error=0.3, logged=BEHAVIOR):
    """All that estimators ask of CANDIDATE; dm has nothing but Q, so it needs the right one."""
    state, action, step = (log.column(name).to_numpy() for name in ("state", "action", "step"))
    q, v = by_step(error)
    ratio = visits(WORLD, CANDIDATE) / np.where((own := visits(WORLD, logged)) > 0, own, 1)
    mu, pi_a = ratio[step, state], CANDIDATE[state, action]
    return cf.PolicyColumns(
        prob=pi_a,
        q=q[step, state, action],
        v=v[step, state],
        state_ratio=mu,
        state_action_ratio=mu * pi_a / logged[state, action],
        ratio_kind="step",
    )


def evaluated(log, policies, estimators):
    table = cf.evaluate(log, policies, estimators, gamma=GAMMA).estimates
    return table.filter(pl.col("policy") != "behavior")


def unbiased(values, truth=TRUTH):
    values = np.asarray(values)
    z = (values.mean(axis=0) - truth) / (values.std(axis=0, ddof=1) / np.sqrt(len(values)))
    return np.abs(z) < 4


def over_logs(n_logs, n_episodes, policies, estimators, given, prepare=lambda log: log):
    """Values over many logs of their own seeds, and standard errors beside them."""
    values, errors = [], []
    for seed in range(n_logs):
        log = prepare(cf.collect(WORLD, policies, n_episodes, 1000 + seed))
        rows = evaluated(log, given(log), estimators)
        values.append(rows["value"].to_numpy())
        errors.append(rows["standard_error"].to_numpy())
    return np.array(values), np.array(errors)


def test_what_the_log_is_like():
    """Unequal lengths, ends that depend on the action, episodes cut off: what is hard is there."""
    log = cf.collect(WORLD, pi.Tabular(BEHAVIOR), 2000, 1)
    lengths = np.bincount(log.column("episode").to_numpy())
    assert set(lengths) == {1, 2, 3, 4, 5}
    assert 0.1 < log.column("truncated").sum() / 2000 < 0.9
    assert np.ptp(WORLD.transition[:4, :, 4], axis=1).max() > 0.1
    # The candidate is worth something else than what ran.
    assert abs(WORLD.exact_value(pi.Tabular(BEHAVIOR), GAMMA) - TRUTH) > 0.1


LOGS = [pytest.param(120, 150), pytest.param(1000, 300, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("n_logs", "n_episodes"), LOGS)
def test_estimators_are_unbiased_over_logs(n_logs, n_episodes):
    estimators = [*UNBIASED[1:], *STEPS_BACK[:2]]
    values, errors = over_logs(
        n_logs,
        n_episodes,
        pi.Tabular(BEHAVIOR),
        ["dm", *estimators],
        lambda log: {"right": columns(log, error=0.0), "wrong": columns(log)},
    )
    right, wrong = values[:, : len(estimators) + 1], values[:, len(estimators) + 1 :]
    assert unbiased(right).all(), right.mean(axis=0) - TRUTH
    assert unbiased(wrong[:, 1:]).all(), wrong.mean(axis=0) - TRUTH
    # The test finds what is wrong: dm rests on Q alone.
    assert not unbiased(wrong[:, 0])
    # Their standard errors are how far they stray.
    spread = values.std(axis=0, ddof=1)
    np.testing.assert_allclose(errors.mean(axis=0), spread, rtol=0.25 if n_logs < 500 else 0.1)


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_estimators_find_the_exact_value_in_a_large_log(error):
    """Normalised ones too, whose bias is beyond sight with so many episodes."""
    log = cf.collect(WORLD, pi.Tabular(BEHAVIOR), 30_000, 3)
    names = [*UNBIASED[1:], *NORMALISED, *STEPS_BACK]
    rows = evaluated(log, {"new": columns(log, error)}, names)
    for label, value, se in rows.select("estimator", "value", "standard_error").iter_rows():
        assert abs(value - TRUTH) < 4 * se, label
        assert 0 < se < 0.05, label


def test_the_bias_of_normalised_estimators_vanishes():
    """It falls as 1 / n: that of few episodes is seen over many logs, that of more is not."""
    values, errors = over_logs(
        120, 150, pi.Tabular(BEHAVIOR), NORMALISED, lambda log: {"new": columns(log)}
    )
    bias = np.abs(values.mean(axis=0) - TRUTH)
    allowed = 4 * values.std(axis=0) / np.sqrt(120) + values.std(axis=0) / np.sqrt(150)
    assert (bias < allowed).all()
    np.testing.assert_allclose(errors.mean(axis=0), values.std(axis=0), rtol=0.25)


def test_ratios_of_another_log_are_found_out():
    """The marginal estimators rest on them: those of the wrong behavior policy do not pass."""
    log = cf.collect(WORLD, pi.Tabular(BEHAVIOR), 30_000, 3)
    rows = evaluated(log, {"new": columns(log, logged=leaning(3, 0.9))}, ["sam_is"])
    assert abs(rows["value"][0] - TRUTH) > 6 * rows["standard_error"][0]


LOGGERS = {"a": leaning(3, 0.6), "b": leaning(4, 0.6), "c": np.full((5, 3), 1 / 3)}


@pytest.mark.parametrize("balanced", [False, True])
def test_several_loggers(balanced):
    """Naive weights are those of who acted, balanced ones those of all; both are right."""
    names = ["tis", "pdis", "dr", "sntis", "snpdis", "sndr"]
    policies = {name: pi.Tabular(table) for name, table in LOGGERS.items()}
    values, errors = over_logs(
        100,
        150,
        policies,
        names,
        lambda log: {"new": columns(log)},
        lambda log: log.balanced() if balanced else log,
    )
    assert unbiased(values[:, :3]).all()
    spread = values.std(axis=0, ddof=1)
    assert (np.abs(values.mean(axis=0) - TRUTH) < spread * (4 / 10 + 1 / np.sqrt(150))).all()
    np.testing.assert_allclose(errors.mean(axis=0), spread, rtol=0.3)
    log = cf.collect(WORLD, policies, 30_000, 3)
    log = log.balanced() if balanced else log
    rows = evaluated(log, {"new": columns(log)}, names)
    assert (abs(rows["value"] - TRUTH) < 4 * rows["standard_error"]).all()


def test_balanced_weights_vary_less():
    policies = {name: pi.Tabular(table) for name, table in LOGGERS.items()}
    log = cf.collect(WORLD, policies, 30_000, 3)
    naive, balanced = (
        evaluated(own, {"new": columns(own)}, ["tis"])["standard_error"][0]
        for own in (log, log.balanced())
    )
    assert balanced < naive


# Elsewhere, beside roll-outs.

WEIGHTS = np.random.default_rng(0).normal(size=(7, 10))


def softmax(d, k, temperature):
    return pi.Softmax(lambda s: np.clip(s, -3, 3) @ WEIGHTS[:d, :k], temperature)


def paying(temperature):
    """A policy of `Basic` that looks at what actions pay."""
    env = Basic()
    points = [np.repeat(env.contexts[a : a + 1], 2**16, axis=0) for a in range(10)]
    return pi.Softmax(
        lambda s: np.stack([env.mean_reward(s, p[: len(s)]) for p in points], axis=1), temperature
    )


@pytest.mark.parametrize(
    ("env", "behavior", "candidate"),
    [
        (Basic(horizon=4, reward_std=0.5), pi.Uniform(10), paying(1.0)),
        (
            Basic(horizon=3, reward_type="binary", obs_std=0.1),
            pi.Uniform(10),
            paying(0.7),
        ),
        (
            Basic(horizon=3, action_type="continuous"),
            pi.Gaussian(lambda s: s[:, :3] * 0.3, 0.5),
            pi.Gaussian(lambda s: s[:, :3] * 0.5, 0.4),
        ),
        (Recommender(horizon=4), softmax(5, 5, 2.0), softmax(5, 5, 1.0)),
        (
            RealTimeBidding(horizon=4, search_volume_mean=50, search_volume_std=5),
            softmax(7, 10, 40.0),
            softmax(7, 10, 20.0),
        ),
        (
            RealTimeBidding(
                horizon=3, search_volume_mean=50, search_volume_std=5, action_type="continuous"
            ),
            pi.TruncatedGaussian(lambda s: np.zeros(len(s)), 0.5, -1, 1),
            pi.TruncatedGaussian(lambda s: np.full(len(s), 0.2), 0.4, -1, 1),
        ),
    ],
    ids=["Basic", "Basic-binary", "Basic-continuous", "Recommender", "bidding", "bidding-box"],
)
def test_estimates_are_within_error_of_roll_outs(env, behavior, candidate):
    log = cf.collect(env, behavior, 6000, 1)
    names = ["tis", "pdis", "sntis", "snpdis"]
    rows = evaluated(log, {"new": candidate}, names)
    truth = cf.on_policy_value(env, {"new": candidate, "old": behavior}, 6000, 2, gamma=GAMMA)
    own = truth.table["standard_error"][0]
    for label, value, se in rows.select("estimator", "value", "standard_error").iter_rows():
        assert abs(value - truth.value("new")) < 4 * np.hypot(se, own), label
    # There is a difference to be found.
    gap = truth.compare("new", "old").row(0, named=True)
    assert abs(gap["difference"]) > 4 * gap["standard_error"]
