"""Models of d3rlpy and stable-baselines3, as they were recorded, become policies.

What is compared is what the library itself said of actions (tests/adapters/record.py).
"""

from __future__ import annotations

import ast
from pathlib import Path

import counterfolio as cf
import numpy as np
import pytest
from counterfolio import adapters
from counterfolio.policies import (
    ContinuousPolicy,
    Deterministic,
    DeterministicAction,
    DiscretePolicy,
    EpsilonGreedy,
    Gaussian,
    Kernel,
    Probabilities,
    Softmax,
    SquashedGaussian,
    TruncatedGaussian,
)
from replay import NAMES, Recording, Tensor, made

POLICY, ARGUMENT = cf.InvalidPolicyError, cf.InvalidArgumentError
SB3 = [name for name in NAMES if name.startswith("sb3_")]
D3RLPY = [name for name in NAMES if name.startswith("d3rlpy_") and name != "d3rlpy_not_built"]
DISCRETE_ACTORS = ["sb3_ppo_discrete", "sb3_a2c_discrete"]
RNG = np.random.default_rng(0)


def one_hot(actions):
    return np.eye(int(actions.max()) + 1)[actions]


# The recordings.


def test_the_recordings_are_of_the_real_libraries():
    assert len(SB3) == 12
    assert len(D3RLPY) == 8
    for name in NAMES:
        tree = Recording(name).tree
        module = "stable_baselines3." if name.startswith("sb3_") else "d3rlpy."
        assert tree["object"]["bases"][0].startswith(module), name
        assert tree["versions"]["torch"]
        assert "MIT" in tree["licence"]


def test_what_was_not_recorded_is_not_answered():
    recording = Recording("sb3_dqn")
    with pytest.raises(AssertionError, match="was not recorded"):
        recording.model.learn  # noqa: B018
    with pytest.raises(AttributeError):
        recording.model.policy.actor  # noqa: B018
    with pytest.raises(AssertionError, match="no such call was recorded"):
        recording.model.policy.predict(recording.states, deterministic=True)  # float64


# Discrete actions of stable-baselines3.


@pytest.mark.parametrize("name", DISCRETE_ACTORS)
def test_an_actor_over_discrete_actions_has_its_own_probabilities(name):
    recording = Recording(name)
    policy = made(recording)
    assert type(policy) is Probabilities
    assert isinstance(policy, DiscretePolicy)
    assert policy.actions == [0, 1]
    for draw in recording.draws():
        found = np.log(policy.prob(recording.states, draw["action"]))
        assert found == pytest.approx(draw["log_prob"], abs=1e-5)


def test_values_of_dqn_are_a_base():
    recording = Recording("sb3_dqn")
    q = adapters.q_values(recording.model)
    wanted = recording.expected("q_values")
    assert q(recording.states).dtype == np.float64
    assert np.array_equal(q(recording.states), wanted)
    exponentials = np.exp(np.float64(wanted) / 2)
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert Softmax(q, 2.0).action_probs(recording.states) == pytest.approx(softmax, abs=1e-12)
    policy = made(recording)
    assert type(policy) is Deterministic
    assert np.array_equal(policy.action_probs(recording.states), one_hot(recording.greedy()))


def test_numbered_states_are_handed_over_as_whole_numbers():
    recording = Recording("sb3_dqn_numbered")
    assert recording.states.shape[1] == 1
    assert np.array_equal(made(recording).sample(recording.states, RNG), recording.greedy())
    q = adapters.q_values(recording.model)(recording.states)
    assert np.array_equal(q, recording.expected("q_values"))


@pytest.mark.parametrize("name", [*DISCRETE_ACTORS, "sb3_dqn"])
def test_deterministic_takes_the_action_of_predict(name):
    recording = Recording(name)
    policy = made(recording, deterministic=True, actions=["left", "right"])
    assert type(policy) is Deterministic
    wanted = np.array(["left", "right"])[recording.greedy()]
    assert np.array_equal(policy.sample(recording.states, RNG), wanted)
    noisy = EpsilonGreedy(policy.action_probs, 0.2).action_probs(recording.states)
    assert noisy == pytest.approx(0.8 * one_hot(recording.greedy()) + 0.1)


def test_a_policy_alone_is_enough():
    recording = Recording("sb3_ppo_discrete")
    alone = adapters.from_stable_baselines3(recording.model.policy)
    whole = made(recording).action_probs(recording.states)
    assert np.array_equal(alone.action_probs(recording.states), whole)


def test_normalized_observations_are_said_or_asked_for():
    recording = Recording("sb3_ppo_normalized")
    with pytest.raises(
        POLICY, match=r"PPO was trained on .* a VecNormalize normalized; pass trans"
    ):
        made(recording)
    normalize = recording.model.get_vec_normalize_env().normalize_obs
    policy = made(recording, transform=normalize)
    for draw in recording.draws():
        found = np.log(policy.prob(recording.states, draw["action"]))
        assert found == pytest.approx(draw["log_prob"], abs=1e-5)
    already = made(recording, transform=lambda x: x)
    seen = np.float64(normalize(recording.states))
    raw = policy.action_probs(recording.states)
    assert np.array_equal(already.action_probs(seen), raw)
    with pytest.raises(ARGUMENT, match="transform must be a callable"):
        made(recording, transform="standard")
    with pytest.raises(AssertionError, match="no such call"):  # what the refusal is for
        already.action_probs(recording.states)


# Continuous actions of stable-baselines3.


def test_an_actor_over_vectors_is_gaussian():
    recording = Recording("sb3_ppo_continuous")
    policy = made(recording)
    assert type(policy) is Gaussian
    assert isinstance(policy, ContinuousPolicy)
    for draw in recording.draws():
        assert draw["action"].shape == (len(recording.states), 2)
        found = np.log(policy.density(recording.states, draw["action"]))
        assert found == pytest.approx(draw["log_prob"], abs=1e-5)
    low, high = np.float32([-1, 0]), np.float32([3, 0.5])
    # What the library executes is clipped.
    mean = np.clip(policy.mean(recording.states), low, high)
    assert mean == pytest.approx(recording.greedy(), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("sb3_sac", [-2.0], [2.0]), ("sb3_sac_two_actions", [-1.0, 0.0], [3.0, 0.5])],
)
def test_soft_actor_critic_is_squashed(name, low, high):
    recording = Recording(name)
    policy = made(recording)
    assert type(policy) is SquashedGaussian
    assert isinstance(policy, ContinuousPolicy)
    assert np.array_equal(policy.low, low)
    assert np.array_equal(policy.high, high)
    scale = (np.array(high) - low) / 2
    compared = 0
    for draw in recording.draws():
        found = np.log(policy.density(recording.states, draw["action"]))
        # Actions were scaled in float32: near a bound that moves them against it.
        room = 1 - np.abs(np.float64(draw["squashed"])).max(axis=1)
        assert (np.abs(found - draw["exact_log_density"]) <= 1e-5 + 1e-6 / room).all()
        compared += int((room > 0.1).sum())
        # The library's own number has a guard beside 1 - tanh(z)^2, and no scaling.
        rest = 1 - np.float64(draw["squashed"]) ** 2
        guarded = found + np.log(scale).sum() - np.log1p(1e-6 / rest).sum(axis=1)
        assert (np.abs(guarded - draw["log_prob"]) <= 1e-5 + 1e-6 / room).all()
    assert compared > 6
    tanh = np.tanh(policy.base(recording.states))
    best = low + (np.array(high) - low) * (1 + tanh) / 2
    assert best == pytest.approx(recording.greedy(), abs=1e-5)
    assert np.abs(policy.mean(recording.states) - best).max() > 0.01
    drawn = policy.sample(recording.states, np.random.default_rng(0))
    assert ((drawn > low) & (drawn < high)).all()


@pytest.mark.parametrize("name", ["sb3_td3", "sb3_ddpg"])
def test_actors_without_noise_take_one_action(name):
    recording = Recording(name)
    policy = made(recording)
    assert type(policy) is DeterministicAction
    assert np.array_equal(policy.mean(recording.states), recording.greedy())
    with pytest.raises(POLICY, match="has no density"):
        policy.density(recording.states, recording.greedy())
    near = made(recording, kernel=Kernel(bandwidth=0.5))
    assert (near.density(recording.states, recording.greedy()) > 0).all()
    noisy = TruncatedGaussian(policy.mean, 0.3, -2, 3)
    assert (noisy.density(recording.states, recording.greedy()) > 0).all()


def test_actions_that_are_matrices_are_laid_out_in_a_row():
    """As logs hold them."""
    recording = Recording("sb3_td3")
    n = len(recording.states)
    actions = np.arange(4 * n, dtype=np.float32).reshape(n, 2, 2)
    recording.model.policy.predict = lambda states, deterministic: (actions, None)
    assert np.array_equal(made(recording).mean(recording.states), actions.reshape(n, 4))


@pytest.mark.parametrize("name", ["sb3_ppo_sde", "sb3_sac_sde"])
def test_noise_of_several_steps_has_no_density(name):
    recording = Recording(name)
    with pytest.raises(POLICY, match=r"explores by gSDE.*deterministic=True"):
        made(recording)
    policy = made(recording, deterministic=True)
    assert np.array_equal(policy.mean(recording.states), recording.greedy())


# d3rlpy.


@pytest.mark.parametrize("name", D3RLPY)
def test_an_algorithm_takes_the_action_of_predict(name):
    recording = Recording(name)
    policy = made(recording)
    greedy = recording.expected("greedy")
    if "discrete" in name:
        assert type(policy) is Deterministic
        assert policy.actions == [0, 1]
        assert np.array_equal(policy.sample(recording.states, RNG), greedy)
        probs = policy.action_probs(recording.states)
        assert np.array_equal(probs, np.eye(2)[greedy])
        named = made(recording, actions=["left", "right"])
        wanted = np.array(["left", "right"])[greedy]
        assert np.array_equal(named.prob(recording.states, wanted), np.ones(len(recording.states)))
    else:
        assert type(policy) is DeterministicAction
        assert np.array_equal(policy.mean(recording.states), greedy)
        near = made(recording, kernel=Kernel(bandwidth=0.5))
        assert (near.density(recording.states, greedy) > 0).all()
        noisy = Gaussian(policy.mean, 0.2)
        wanted = np.full(len(greedy), (0.2 * np.sqrt(2 * np.pi)) ** -greedy.shape[1])
        assert noisy.density(recording.states, greedy) == pytest.approx(wanted)


@pytest.mark.parametrize("name", [n for n in D3RLPY if "discrete" in n and n[-2:] != "bc"])
def test_values_of_an_algorithm_are_a_base(name):
    recording = Recording(name)
    q = adapters.q_values(recording.model)(recording.states)
    calls = recording.tree["object"]["attributes"]["predict_value"]["calls"]
    for action in (0, 1):
        (wanted,) = [
            c["answer"]["array"]
            for c in calls
            if c["args"][1]["array"] == [action] * len(recording.states)
        ]
        assert np.array_equal(q[:, action], np.float32(wanted))
    if name == "d3rlpy_discrete_cql":
        assert np.array_equal(q.argmax(axis=1), recording.expected("greedy"))
    probs = Softmax(adapters.q_values(recording.model), 0.5).action_probs(recording.states)
    assert probs.sum(axis=1) == pytest.approx(np.ones(len(recording.states)))


def test_the_highest_value_is_not_what_every_algorithm_does():
    """Which is why `from_d3rlpy` asks predict."""
    recording = Recording("d3rlpy_discrete_bcq")
    q = adapters.q_values(recording.model)(recording.states)
    greedy = recording.expected("greedy")
    assert not np.array_equal(q.argmax(axis=1), greedy)
    assert np.array_equal(made(recording).sample(recording.states, RNG), greedy)


def test_an_algorithm_that_imitates_has_no_values():
    with pytest.raises(POLICY, match=r"DiscreteBC has no values \(BC does not support value est"):
        adapters.q_values(Recording("d3rlpy_discrete_bc").model)


def test_values_of_continuous_actions_are_no_base():
    with pytest.raises(POLICY, match="CQL has values of continuous actions, one at a time"):
        adapters.q_values(Recording("d3rlpy_cql").model)
    with pytest.raises(POLICY, match=r"SAC has no values .*predict_value \(d3rlpy\), policy.q_net"):
        adapters.q_values(Recording("sb3_sac").model)


def test_an_algorithm_without_networks():
    with pytest.raises(POLICY, match="DiscreteCQL has no networks yet; fit it, or load"):
        adapters.from_d3rlpy(Recording("d3rlpy_not_built").model)


# In an evaluation.


def test_models_are_candidates():
    recording = Recording("sb3_ppo_discrete")
    other = Recording("sb3_ppo_discrete")
    n = len(recording.states)
    behavior = adapters.from_stable_baselines3(other.model)
    actions = behavior.sample(recording.states, np.random.default_rng(1))
    table = {
        "state": recording.states,
        "action": actions,
        "reward": np.arange(n),
        "propensity": behavior.prob(recording.states, actions),
    }
    log = cf.LoggedData.from_frame(table, state="state")
    candidates = {"same": made(recording), "best": made(recording, deterministic=True)}
    values = cf.evaluate(log, candidates, ["tis"]).values()
    assert values["same"] == pytest.approx(np.arange(n).mean())
    hit = actions == recording.greedy()
    wanted = (hit / table["propensity"] * np.arange(n)).mean()
    assert values["best"] == pytest.approx(wanted)


# How it is written.


def test_a_tensor_on_another_device_is_brought_here():
    steps = []

    class Elsewhere(Tensor):
        def detach(self):
            steps.append("detach")
            return Elsewhere(self.array)

        def cpu(self):
            steps.append("cpu")
            return Tensor(self.array)

        def numpy(self):
            raise RuntimeError("not on this device")

    network = Recording("sb3_dqn").model.policy
    values = np.float32([[1, 2], [3, 4]])
    network.obs_to_tensor = lambda x: (Tensor(x), True)
    type(network.q_net).__call__ = lambda self, x: Elsewhere(values, requires_grad=True)
    assert np.array_equal(adapters.q_values(network)(np.zeros((2, 4))), values)
    assert steps == ["detach", "cpu"]


@pytest.mark.parametrize("name", ["sb3_dqn", "sb3_ppo_discrete", "sb3_ppo_continuous", "sb3_sac"])
def test_networks_are_out_of_the_mode_of_training_when_asked(name):
    """Dropout and batch normalization would answer otherwise, and differently at each call."""
    recording = Recording(name)
    network = recording.model.policy
    modes, ask = [True], network.obs_to_tensor
    network.set_training_mode = modes.append

    def obs_to_tensor(x):
        assert modes[-1] is False
        return ask(x)

    network.obs_to_tensor = obs_to_tensor
    made(recording).sample(recording.states, RNG)
    assert len(modes) > 1


def test_no_library_is_imported():
    folder = Path(adapters.__file__).parent
    files = sorted(folder.glob("*.py"))
    assert len(files) == 5
    for path in files:
        found = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").partition(".")[0])
        assert not found & {"torch", "d3rlpy", "stable_baselines3", "gymnasium"}, path.name
