"""What a stranger hands over by mistake, and what has to work at the first try."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import counterfolio as cf
import gymnasium as gym
import numpy as np
import polars as pl
import pytest
from counterfolio import policies as pi
from counterfolio import simulate
from counterfolio.simulate import (
    Advance,
    Basic,
    Environment,
    RealTimeBidding,
    Recommender,
    Tabular,
)
from gymnasium.utils.env_checker import check_env


def frame(log):
    return pl.DataFrame([log.column(name) for name in log._table.names])


def still(states):
    return np.zeros((len(states), 3))


CONTINUOUS = Basic(action_type="continuous", horizon=4)
NOISY = pi.Gaussian(still, 0.5)


def test_what_an_environment_is_fits_on_a_line():
    assert repr(Basic()) == "Basic()"
    assert repr(Basic(action_type="continuous", reward_std=0.5)) == (
        "Basic(action_type='continuous', reward_std=0.5)"
    )
    assert repr(RealTimeBidding(search_volume_std=0)) == "RealTimeBidding(search_volume_std=<7>)"
    assert repr(RealTimeBidding()) == "RealTimeBidding()"
    assert repr(Recommender()) == "Recommender(item_features=<5 x 5>, user_features=<100 x 5>)"
    assert repr(Tabular.random(4, 2, end=0.1)) == (
        "Tabular(transition=<5 x 2 x 5>, reward=<5 x 2>, initial=<5>, terminal=(4,))"
    )


class Queue(Environment):
    """Customers wait, and an action serves some of them."""

    horizon = 20
    observation_space = gym.spaces.Box(0, 15, (1,), np.float64)
    action_space = gym.spaces.Discrete(4)
    state_names = ("waiting",)

    def begin(self, streams):
        return {"waiting": streams("initial").integers(10, size=len(streams.seeds))}, {}

    def observe(self, state, streams):
        return state["waiting"][:, None].astype(np.float64)

    def advance(self, state, actions, streams):
        arrived = streams("arrival").integers(4, size=len(actions))
        waiting = np.maximum(state["waiting"] - actions, 0) + arrived
        return Advance({"waiting": waiting}, -0.1 * waiting - 0.2 * actions, waiting > 12, {})


def test_an_environment_of_ones_own_is_as_good():
    assert repr(Queue()) == "Queue()"
    logs = [frame(cf.collect(Queue(), pi.Uniform(4), 30, seed=2, num_envs=n)) for n in (1, 7, 30)]
    assert logs[0].equals(logs[1])
    assert logs[0].equals(logs[2])
    ends = logs[0].group_by("episode").agg(pl.len(), pl.col("terminated", "truncated").sum())
    assert (ends["truncated"] == (ends["len"] == 20) & (ends["terminated"] == 0)).all()
    assert 0 < ends["terminated"].sum() < 30
    check_env(Queue().to_gymnasium(), skip_render_check=True)


def test_a_class_or_a_function_makes_our_environments_too():
    logs = [
        frame(cf.collect(env, pi.Uniform(10), 20, seed=0))
        for env in (Basic(), Basic, lambda: Basic(), "counterfolio/Basic-v0")
    ]
    assert all(log.equals(logs[0]) for log in logs[1:])


def test_names_that_are_looked_up_late_are_listed():
    program = (
        "import sys, counterfolio as cf; assert 'gymnasium' not in sys.modules; "
        "print({'collect', 'on_policy_value', 'simulate'} <= set(dir(cf)), "
        "'gymnasium' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "True False\n", done.stderr


def test_a_policy_without_a_density_is_rolled_out_and_does_not_log():
    exact = pi.DeterministicAction(still)
    value = cf.on_policy_value(CONTINUOUS, {"exact": exact}, 500, seed=1)
    # The action 0 adds nothing to theta_s . s / d: by hand, for the first of four steps.
    first = cf.on_policy_value(
        CONTINUOUS, {"exact": exact}, 500, seed=1, max_episode_steps=1
    ).returns["exact"]
    seeds = cf.simulate.episode_seeds(1, 500)
    states = CONTINUOUS.start(seeds).observations
    np.testing.assert_allclose(first, CONTINUOUS.mean_reward(states, still(states)))
    assert value.lengths["exact"].tolist() == [4] * 500
    kernel = pi.DeterministicAction(still, pi.Kernel(bandwidth=0.5))
    same = cf.on_policy_value(CONTINUOUS, kernel, 500, seed=1)
    assert np.array_equal(same.returns["behavior"], value.returns["exact"])
    for policy in (exact, kernel, pi.Mixture([NOISY, kernel])):
        with pytest.raises(cf.InvalidPolicyError, match=r'"old": .*no density.*Gaussian'):
            cf.collect(CONTINUOUS, {"old": policy}, 5, seed=1)


def test_roll_outs_do_the_same_as_a_log():
    """The log asks for propensities, the roll-out does not; both draw alike."""
    for env, policy in ((CONTINUOUS, NOISY), (RealTimeBidding(), pi.Uniform(10))):
        log = frame(cf.collect(env, policy, 30, seed=3))
        returns = log.group_by("episode", maintain_order=True).agg(pl.col("reward").sum())
        rolled = cf.on_policy_value(env, policy, 30, seed=3).returns["behavior"]
        np.testing.assert_allclose(returns["reward"], rolled, rtol=1e-12)


def test_batches_that_lack_a_logger_are_written_too(tmp_path):
    named = {"a": pi.Uniform(10), "b": pi.EpsilonGreedy(lambda s: s @ np.eye(5, 10), 0.5)}
    direct = cf.collect(Basic(), named, 9, seed=1)
    written = cf.collect(Basic(), named, 9, seed=1, num_envs=1, path=tmp_path / "log.parquet")
    assert written.roles == direct.roles
    as_text = pl.col("logger").cast(pl.String)
    assert frame(written).with_columns(as_text).equals(frame(direct).with_columns(as_text))
    assert written.balanced().n_episodes == 9


def test_a_fixed_number_of_steps_is_nothing_to_warn_of():
    (finding,) = cf.collect(Basic(), pi.Uniform(10), 500, 1).report.findings
    assert (finding.severity, finding.message) == ("info", 'column "terminated" is never true')
    assert "cuts every episode off" in finding.advice


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: cf.collect("Basic", pi.Uniform(10), 5, 1),
            cf.InvalidArgumentError,
            'no environment "Basic"; .*"counterfolio/Basic-v0"',
        ),
        (
            lambda: cf.collect("Tabular-v0", pi.Uniform(10), 5, 1),
            cf.InvalidArgumentError,
            'no environment "Tabular-v0"; .*"counterfolio/Tabular-v0"',
        ),
        (
            lambda: cf.collect(Basic(), [pi.Uniform(10)], 5, 1),
            cf.InvalidArgumentError,
            'by name .*"name": policy.*not a list',
        ),
        (
            lambda: cf.collect(Basic(), {0: pi.Uniform(10)}, 5, 1),
            cf.InvalidArgumentError,
            "0 is no name",
        ),
        (
            lambda: cf.collect(Basic(), {"a": pi.Uniform(10), "b": pi.Uniform(10)}, 1, 1),
            cf.InvalidArgumentError,
            "n_episodes must be 2 or more, one to each policy, not 1",
        ),
        (
            lambda: cf.collect(Tabular.random(3, 2), pi.Uniform(2), 5, 1),
            cf.InvalidArgumentError,
            "may never end: .* or pass max_episode_steps",
        ),
        (
            lambda: cf.on_policy_value(Tabular.random(3, 2), pi.Uniform(2), 5, 1),
            cf.InvalidArgumentError,
            "may never end: .* or pass max_episode_steps",
        ),
        (lambda: Basic().start([-1]), cf.InvalidArgumentError, "seeds must be whole numbers"),
        (lambda: Basic().start([1.5]), cf.InvalidArgumentError, "seeds must be whole numbers"),
        (lambda: Basic().start([[1]]), cf.InvalidArgumentError, "seeds must be whole numbers"),
        (
            lambda: Tabular.random(3, 2, end=0.1).exact_value(np.full((4, 2), 0.5)),
            cf.InvalidPolicyError,
            r"not ndarray; a table .* policies.Tabular\(table\)",
        ),
    ],
)
def test_what_is_wrong_is_said(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_episodes_without_an_end_are_cut_off_on_demand():
    env = Tabular.random(3, 2)
    log = cf.collect(env, pi.Uniform(2), 5, 1, max_episode_steps=4)
    assert (log.n_rows, log.n_episodes) == (20, 5)
    assert gym.make("counterfolio/Basic-v0").unwrapped.environment.horizon == 10


class Still(Environment):
    """Nothing happens; what `advance` and `observe` return may be wrong."""

    horizon = 3
    observation_space = gym.spaces.Box(0, 1, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    state_names = ("x",)

    def __init__(self, rewards=np.ones, terminated=np.zeros, seen=lambda n: np.zeros((n, 1))):
        self.answers = (rewards, terminated, seen)

    def begin(self, streams):
        return {"x": np.zeros(len(streams.seeds))}, {}

    def observe(self, state, streams):
        return self.answers[2](len(state["x"])) if streams.step else state["x"][:, None]

    def advance(self, state, actions, streams):
        n = len(actions)
        return Advance(state, self.answers[0](n), self.answers[1](n), {})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rewards": lambda n: np.ones(n + 1)}, r"advance returned rewards of shape \(5,\)"),
        ({"rewards": lambda n: np.ones((n, 1))}, r"advance returned rewards of shape \(4, 1\)"),
        ({"rewards": lambda n: 1.0}, r"advance returned rewards of shape \(\)"),
        ({"terminated": lambda n: False}, r"advance returned terminated of shape \(\)"),
        ({"terminated": lambda n: [None] * n}, r"advance returned terminated of shape .*object"),
        ({"seen": lambda n: np.zeros((n, 2))}, r"observe returned shape \(4, 2\) for 4 episodes"),
        ({"seen": np.zeros}, r"observe returned shape \(4,\) for 4 episodes"),
    ],
)
def test_what_an_environment_of_ones_own_forgets_is_said(wrong, message):
    for call in (cf.collect, cf.on_policy_value):
        with pytest.raises(cf.InvalidArgumentError, match=f"^Still.{message}"):
            call(Still(**wrong), pi.Uniform(2), 4, 0)


def test_ends_may_be_numbers():
    """Of ~0, which is -1 and no mask, episodes came back for ever."""
    for ended, length in ((0, 3), (1, 1)):
        env = Still(lambda n: [1] * n, lambda n, ended=ended: np.full(n, ended))
        assert len(frame(cf.collect(env, pi.Uniform(2), 4, 0))) == 4 * length


class Odd(gym.Env):
    """Three steps, of which something may be odd."""

    observation_space = gym.spaces.Box(0, 1, (2,), np.float64)

    def __init__(self, seen=(0.0, 1.0), reward=1.0, ended=False, width=2, n_actions=3):
        self.answer = (seen, reward, ended)
        self.observation_space = gym.spaces.Box(0, 1, (width,), np.float64)
        self.action_space = gym.spaces.Discrete(n_actions)
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(self.observation_space.shape), {}

    def step(self, action):
        self.steps += 1
        seen, reward, ended = self.answer
        return seen, reward, ended, self.steps == 3, {}

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ({"seen": np.zeros(3)}, r"not of its observation_space .*: array\(\[0., 0., 0.\]\)"),
        ({"seen": None}, "not of its observation_space .*: None"),
        ({"seen": ["a", "b"]}, "not of its observation_space"),
        ({"reward": np.array([1.0])}, r"returned array\(\[1.\]\) as reward, where one value"),
        ({"reward": "high"}, "returned 'high' as reward"),
        ({"ended": np.array([False])}, "as terminated, where one value"),
    ],
)
@pytest.mark.parametrize("n_episodes", [2, 40])
def test_what_an_odd_environment_returns_is_said(odd, message, n_episodes):
    for call in (cf.collect, cf.on_policy_value):
        with pytest.raises(cf.InvalidArgumentError, match=message):
            call(lambda: Odd(**odd), pi.Uniform(3), n_episodes, 0)


@pytest.mark.parametrize("reward", [1, np.float32(1), np.bool_(1), np.array(1.0)])
def test_rewards_of_any_kind_are_numbers(reward):
    log = cf.collect(lambda: Odd(reward=reward, ended=np.bool_(0)), pi.Uniform(3), 5, 0)
    assert log.column("reward").to_list() == [1.0] * 15


def test_a_function_has_to_make_another_of_the_same_kind_each_time():
    one = Odd()
    for same in (lambda: one, lambda: gym.wrappers.TimeLimit(one, 2)):
        with pytest.raises(cf.InvalidArgumentError, match="returned the same one twice"):
            cf.collect(same, pi.Uniform(3), 5, 0)
    for widths, what in (({"width": 3}, "observation_space"), ({"n_actions": 4}, "action_space")):
        made = [Odd(**widths), Odd()]
        with pytest.raises(cf.InvalidArgumentError, match=f"the {what} .*; all have to be alike"):
            cf.collect(made.pop, pi.Uniform(3), 2, 0)


def test_the_environment_of_the_caller_is_left_open():
    mine, made = Odd(), []
    cf.collect(mine, pi.Uniform(3), 3, 0)
    cf.on_policy_value(mine, pi.Uniform(3), 3, 0)
    assert not mine.closed
    cf.collect(lambda: made.append(Odd()) or made[-1], pi.Uniform(3), 3, 0)
    assert [copy.closed for copy in made] == [True] * 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("counterfolio/Tabular-v0", "missing 2 required .*pass a function"),
        ("Wants/More-v0", r'cannot make "Wants/More-v0": no license; if it needs arguments'),
    ],
)
def test_names_that_are_not_enough_are_said(monkeypatch, name, message):
    def entry_point():
        raise ImportError("no license\nbuy one")

    spec = gym.envs.registration.EnvSpec("Wants/More-v0", entry_point=entry_point)
    monkeypatch.setitem(gym.registry, "Wants/More-v0", spec)
    with pytest.raises(cf.InvalidArgumentError, match=message):
        cf.collect(name, pi.Uniform(2), 2, 0)


class Labelled:
    """One probability to each of three columns, whatever they are called."""

    def __init__(self, actions):
        self.actions = actions

    def action_probs(self, states):
        return np.full((len(states), 3), 1 / 3)

    def prob(self, states, actions):
        return np.full(len(states), 1 / 3)

    def sample(self, states, rng):
        return rng.integers(3, size=len(states))


@pytest.mark.parametrize("actions", [[0, 1], [0, 0, 1], [0, 1, 2, 2]])
def test_labels_that_are_not_one_to_a_column_are_refused(actions):
    with pytest.raises(cf.InvalidPolicyError, match="3 columns for the actions"):
        cf.collect(Basic(n_actions=3), Labelled(actions), 5, 0)


def test_without_gymnasium_there_is_one_clear_line():
    code = """
        import sys
        sys.modules["gymnasium"] = None
        from counterfolio import *
        import counterfolio as cf, inspect
        assert "evaluate" in globals() and "collect" not in globals()
        inspect.getmembers(cf)
        for name in ("simulate", "collect", "on_policy_value", "experiments", "experiment"):
            try:
                getattr(cf, name)
            except cf.MissingExtraError as error:
                print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    said = 'counterfolio.simulate needs gymnasium; pip install "counterfolio[gym]"'
    assert run.stdout.splitlines() == [said] * 5


@pytest.mark.parametrize("kind", [simulate.Basic, simulate.Recommender, simulate.RealTimeBidding])
def test_nothing_goes_on_past_the_horizon(kind):
    episodes = kind(horizon=2).start([1, 2])
    for _ in range(2):
        episodes.step([0, 1])
    with pytest.raises(cf.InvalidArgumentError, match="cut off after 2 steps; start others"):
        episodes.step([0, 1])


def test_observations_that_are_no_numbers_are_refused():
    class Blind(gym.Env):
        observation_space = gym.spaces.Box(-1, 1, (2,), np.float64)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.steps = 0
            return np.zeros(2), {}

        def step(self, action):
            self.steps += 1
            return np.array([0.0, np.nan if self.steps == 3 else 0.5]), 1.0, False, False, {}

    with pytest.raises(cf.InvalidArgumentError, match=r"1 of 1 observations that are NaN.* step 2"):
        cf.collect(Blind(), cf.policies.Uniform(2), 3, 1, max_episode_steps=9)
    # What is seen after the end is in no log.
    assert cf.collect(Blind(), cf.policies.Uniform(2), 3, 1, max_episode_steps=3).n_rows == 9

    class Never(Blind):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0] * np.nan, {}

    with pytest.raises(cf.InvalidArgumentError, match=r"1 of 1 observations that are NaN.* step 0"):
        cf.collect(Never(), cf.policies.Uniform(2), 3, 1, max_episode_steps=9)
