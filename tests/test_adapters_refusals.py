"""Models that are not known, and what they are not made for: refused, with what was looked for."""

from __future__ import annotations

from types import SimpleNamespace

import counterfolio as cf
import numpy as np
import pytest
from counterfolio import adapters
from counterfolio.policies import Kernel
from replay import Recording, made

POLICY, ARGUMENT = cf.InvalidPolicyError, cf.InvalidArgumentError


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: adapters.from_d3rlpy(SimpleNamespace(predict=len)),
            POLICY,
            "SimpleNamespace is no model of d3rlpy that is known: of predict, get_action_type, "
            "action_size, observation_shape it lacks get_action_type, action_size, observation_",
        ),
        (
            lambda: adapters.from_stable_baselines3(SimpleNamespace(predict=len)),
            POLICY,
            "no model of stable-baselines3 that is known: of predict, obs_to_tensor, .* lacks obs_",
        ),
        (
            lambda: adapters.q_values(SimpleNamespace(predict=len)),
            POLICY,
            "SimpleNamespace has no values of discrete actions that are known; looked for: predict",
        ),
        (
            lambda: made(Recording("d3rlpy_cql"), actions=["a"]),
            ARGUMENT,
            "actions is for models of discrete actions; CQL has others",
        ),
        (
            lambda: made(Recording("d3rlpy_discrete_cql"), kernel=Kernel(bandwidth=0.1)),
            ARGUMENT,
            "kernel is for models of continuous actions; DiscreteCQL has others",
        ),
        (
            lambda: made(Recording("sb3_sac"), actions=["a"]),
            ARGUMENT,
            "actions is for models of discrete actions; SAC has others",
        ),
        (
            lambda: made(Recording("sb3_sac"), kernel=Kernel(bandwidth=0.1)),
            ARGUMENT,
            "kernel is for models of deterministic actions; SAC has others",
        ),
        (
            lambda: made(Recording("sb3_dqn"), kernel=Kernel(bandwidth=0.1)),
            ARGUMENT,
            "kernel is for models of continuous actions; DQN has others",
        ),
        (
            lambda: made(Recording("sb3_dqn"), actions=["a", "b", "c"]),
            POLICY,
            "DQN: 2 columns for 3 action labels",
        ),
        (
            lambda: adapters.q_values(Recording("d3rlpy_discrete_cql").model, transform=len),
            ARGUMENT,
            "transform is for stable-baselines3; DiscreteCQL has its scalers within",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", ["d3rlpy_discrete_cql", "d3rlpy_cql", "sb3_dqn", "sb3_sac"])
def test_states_of_another_kind(name):
    recording = Recording(name)
    base = made(recording).base
    d = recording.states.shape[1]
    for states, message in (
        (recording.states[:, 1:], f"takes {d} numbers a state, but states have {d - 1}; name the"),
        (recording.states[0], r"takes numbers of shape \(n, d\), but states are float64 of shape"),
        (recording.states.astype(str), "name state columns that hold numbers"),
    ):
        with pytest.raises(POLICY, match=message):
            base(states)


def changed(name, path, **attributes):
    """A recorded model, of which a part is another."""
    recording = Recording(name)
    part = recording.model
    for step in path:
        part = getattr(part, step)
    for key, value in attributes.items():
        setattr(part, key, value)
    return recording.model


def without(name, *names):
    recording = Recording(name)
    for attribute in names:
        delattr(recording.model.policy, attribute)
        recording.model.policy._lacks.append(attribute)
    return recording.model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: without("sb3_dqn", "q_net"),
            "DQNPolicy is no policy of stable-baselines3 that is known; looked for: "
            "get_distribution, q_net; deterministic=True takes the action of predict",
        ),
        (
            lambda: without("sb3_sac", "actor"),
            "SACPolicy is no policy of .* looked for: get_distribution, actor.get_action_dist_par",
        ),
        (
            lambda: changed(
                "sb3_ppo_discrete",
                ["policy"],
                get_distribution=lambda obs, lstm_states, episode_starts: None,
            ),
            "ActorCriticPolicy: get_distribution takes obs, lstm_states, episode_starts, but a log",
        ),
        (
            lambda: changed(
                "sb3_ppo_discrete", ["policy"], get_distribution=lambda obs, action_masks=None: None
            ),
            "get_distribution takes obs, action_masks, but a log has states alone",
        ),
        (
            lambda: changed(
                "sb3_ppo_discrete",
                ["policy"],
                action_space=SimpleNamespace(nvec=np.array([2, 3]), shape=(2,)),
            ),
            "acts in .*: each action is several choices; number the combinations",
        ),
        (
            lambda: changed(
                "sb3_ppo_discrete", ["policy"], action_space=SimpleNamespace(n=3, shape=(3,))
            ),
            "each action is several choices",
        ),
    ],
)
def test_policies_that_are_not_known(model, message):
    with pytest.raises(POLICY, match=message):
        adapters.from_stable_baselines3(model())


def test_what_is_not_known_may_still_predict():
    recording = Recording("sb3_dqn")
    model = without("sb3_dqn", "q_net")
    policy = adapters.from_stable_baselines3(model, deterministic=True)
    assert np.array_equal(policy.sample(recording.states, None), recording.greedy())


def test_several_arrays_are_no_state():
    model = changed("sb3_ppo_discrete", ["policy", "observation_space"], shape=None)
    with pytest.raises(POLICY, match=r"observes several arrays \(their shape is None\)"):
        adapters.from_stable_baselines3(model)
    algo = changed("d3rlpy_discrete_cql", [], observation_shape=((3,), (84, 84)))
    with pytest.raises(POLICY, match=r"observes several arrays \(their shape is \(\(3,\), "):
        adapters.from_d3rlpy(algo)


def test_an_action_type_of_its_own():
    algo = changed("d3rlpy_discrete_cql", [], get_action_type=lambda: SimpleNamespace(name="BOTH"))
    with pytest.raises(POLICY, match=r"get_action_type\(\) says BOTH, neither DISCRETE nor CONT"):
        adapters.from_d3rlpy(algo)


def test_an_action_that_there_is_not():
    algo = changed("d3rlpy_discrete_cql", [], predict=lambda x: np.full(len(x), 2))
    with pytest.raises(POLICY, match="predict returned: 3 of 3 actions are not among whole n"):
        adapters.from_d3rlpy(algo).action_probs(np.zeros((3, 4)))
