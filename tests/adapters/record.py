"""Train small models of d3rlpy and stable-baselines3, and write down what they are and answer.

Run it in an environment of its own, outside the repository: torch is no part of this project.

    python -m venv SOMEWHERE
    SOMEWHERE/bin/pip install d3rlpy==2.8.1 stable-baselines3==2.9.2
    SOMEWHERE/bin/python tests/adapters/record.py

Each file beside this one then holds a model as a tree: attributes (also which of those that are
looked for it lacks), signatures, and the answers to calls with the recorded states; and, for
comparison, what the library itself says of probabilities. `replay.py` makes objects of it. Nothing
of counterfolio is imported, so that what is recorded is not what its adapters happen to ask.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import d3rlpy
import gymnasium as gym
import numpy as np
import stable_baselines3 as sb3
import structlog
import torch
from d3rlpy.dataset import MDPDataset
from recording import Tree, calls, node, signature, thing
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

FOLDER = Path(__file__).parent
N_STATES = 8
SPACE = ("n", "shape", "low", "high", "dtype", "start")
POLICY = ("predict", "obs_to_tensor", "set_training_mode", "get_distribution", "q_net", "actor")
POLICY += ("observation_space", "action_space", "use_sde")
MODEL = ("policy", "get_vec_normalize_env", "predict_value")
POLICY += MODEL
ALGO = ("predict", "predict_value", "get_action_type", "action_size", "observation_shape", "policy")


def save(name, recorded):
    text = json.dumps(recorded, separators=(",", ":"))
    (FOLDER / f"{name}.json").write_text(text + "\n", "utf-8")
    print(name, len(text))


def header(library, trained):
    versions = {x: version(x) for x in (library, "torch", "gymnasium", "numpy")}
    return {
        "versions": {**versions, "python": sys.version.split()[0]},
        "licence": f"{library} is under the MIT licence",
        "trained": trained,
    }


class Drift(gym.Env):
    """A point that two unlike controls push: bounds that are neither symmetric nor the same."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gym.spaces.Box(np.float32([-1, 0]), np.float32([3, 0.5]))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = np.float32(self.np_random.normal(size=3)), 0
        return self.state, {}

    def step(self, action):
        push = np.float32([action[0] - 1, 4 * action[1] - 1, 0.1])
        self.state, self.steps = np.float32(0.9 * self.state + 0.2 * push), self.steps + 1
        return self.state, -float(np.abs(self.state).sum()), False, self.steps == 60, {}


def states_of(env_id, seed=0):
    """States that a random policy sees, of the environment's own type."""
    env = gym.make(env_id)
    env.action_space.seed(seed)
    seen = [env.reset(seed=seed)[0]]
    while len(seen) < 20 * N_STATES:
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        seen.append(env.reset()[0] if terminated or truncated else observation)
    return np.array(seen[:: len(seen) // N_STATES][:N_STATES], env.observation_space.dtype)


# stable-baselines3.


def written_space(space):
    return thing(space, SPACE)


def written_policy(policy, states):
    """Write what is looked for in a policy, with the answers of its networks."""
    policy.set_training_mode(False)
    tensor = policy.obs_to_tensor(states)[0]
    written = {
        "predict": calls(policy.predict, (states,), deterministic=True),
        "obs_to_tensor": calls(policy.obs_to_tensor, (states,)),
        "set_training_mode": calls(policy.set_training_mode, (False,)),
        "observation_space": written_space(policy.observation_space),
        "action_space": written_space(policy.action_space),
    }
    if hasattr(policy, "get_distribution"):

        def get_distribution(obs):
            found = policy.get_distribution(obs)
            inner = thing(found.distribution, ("probs", "mean", "stddev"))
            if inner["class"] == "Categorical":  # where there is a mean, it is not a number
                del inner["attributes"]["mean"], inner["attributes"]["stddev"]
            return thing(found, ("distribution",), distribution=inner)

        recorded = calls(get_distribution, (tensor,))
        recorded["signature"] = signature(policy.get_distribution)
        written["get_distribution"] = recorded
    if hasattr(policy, "q_net"):
        network = calls(policy.q_net.forward, (tensor,))
        written["q_net"] = thing(policy.q_net, (), **{"()": network})
    if hasattr(policy, "actor"):
        actor, names = policy.actor, ("get_action_dist_params", "use_sde")
        asked = {}
        if hasattr(actor, names[0]):
            asked[names[0]] = calls(actor.get_action_dist_params, (tensor,))
        written["actor"] = thing(actor, names, **asked)
    return thing(policy, POLICY, **written)


def written_wrapper(wrapper, states):
    if wrapper is None:
        return node(None)
    names = ("norm_obs", "normalize_obs")
    raw = np.float64(states)
    return thing(wrapper, names, normalize_obs=calls(wrapper.normalize_obs, (raw,)))


def expected_stable_baselines3(model, states, n_draws=3):
    """What the library itself says of actions: values, and logarithms of probabilities."""
    policy = model.policy
    policy.set_training_mode(False)
    tensor = policy.obs_to_tensor(states)[0]
    out = {}
    if hasattr(policy, "q_net"):
        out["q_values"] = node(policy.q_net(tensor))
    with torch.no_grad():
        draws = []
        for _ in range(n_draws):
            if hasattr(policy, "get_distribution"):
                found = policy.get_distribution(tensor)
                taken = found.sample()
                draws.append({"action": node(taken), "log_prob": node(found.log_prob(taken))})
            elif hasattr(getattr(policy, "actor", None), "get_action_dist_params"):
                mean, log_std, options = policy.actor.get_action_dist_params(tensor)
                if options:  # gSDE
                    break
                squashed = policy.actor.action_dist.proba_distribution(mean, log_std)
                taken = squashed.sample()
                # Without the library's guard against the logarithm of 0, which is added to
                # 1 - tanh(z)^2; in float64, and with what scaling to the bounds adds.
                z = squashed.gaussian_actions.double()
                normal = torch.distributions.Normal(mean.double(), log_std.double().exp())
                scale = (policy.action_space.high - policy.action_space.low) / 2
                exact = normal.log_prob(z) - torch.log1p(-(torch.tanh(z) ** 2))
                exact = exact.sum(dim=1) - np.log(np.float64(scale)).sum()
                draws.append(
                    {
                        "action": node(policy.unscale_action(taken.numpy())),
                        "squashed": node(taken),
                        "log_prob": node(squashed.log_prob(taken, squashed.gaussian_actions)),
                        "exact_log_density": node(exact),
                    }
                )
    if draws:
        out["draws"] = draws
    return out


def record_stable_baselines3(name, model, env_id, trained):
    states = states_of(env_id)
    wrapper = model.get_vec_normalize_env()
    seen = states if wrapper is None else wrapper.normalize_obs(np.float64(states))
    got = Tree({"signature": [], "calls": [{"args": [], "kwargs": {}}]})
    got["calls"][0]["answer"] = written_wrapper(wrapper, states)
    written = {"policy": written_policy(model.policy, seen), "get_vec_normalize_env": got}
    save(
        name,
        {
            **header("stable-baselines3", f"{env_id}, {trained}"),
            "states": node(states),
            "object": thing(model, MODEL, **written),
            "expected": expected_stable_baselines3(model, seen),
        },
    )


def stable_baselines3_models():
    small = {"net_arch": [16]}
    # Each gets a copy of its own: some models write into what they are given.
    few = {"learning_starts": 100, "batch_size": 32, "seed": 0, "policy_kwargs": small}
    on = {"n_steps": 128, "batch_size": 64, "n_epochs": 4, "seed": 0, "policy_kwargs": small}

    def train(kind, env_id, steps=600, **options):
        given = options.pop("env", env_id)
        model = kind("MlpPolicy", given, device="cpu", **copy.deepcopy(options)).learn(steps)
        shown = ", ".join(f"{k}={v}" for k, v in options.items())
        return model, env_id, f"{steps} steps; {shown}"

    cart, pendulum, drift = "CartPole-v1", "Pendulum-v1", "Drift-v0"
    table = {
        "sb3_dqn": train(sb3.DQN, cart, **few),
        "sb3_dqn_numbered": train(sb3.DQN, "FrozenLake-v1", **few),
        "sb3_ppo_discrete": train(sb3.PPO, cart, **on),
        "sb3_a2c_discrete": train(sb3.A2C, cart, seed=0, policy_kwargs=small),
        "sb3_ppo_continuous": train(sb3.PPO, drift, **on),
        "sb3_ppo_sde": train(sb3.PPO, pendulum, use_sde=True, **on),
        "sb3_sac": train(sb3.SAC, pendulum, **few),
        "sb3_sac_two_actions": train(sb3.SAC, drift, **few),
        "sb3_sac_sde": train(sb3.SAC, pendulum, use_sde=True, **few),
        "sb3_td3": train(sb3.TD3, drift, **few),
        "sb3_ddpg": train(sb3.DDPG, pendulum, **few),
    }
    normalized = VecNormalize(DummyVecEnv([lambda: gym.make(cart)]))
    table["sb3_ppo_normalized"] = train(sb3.PPO, cart, env=normalized, **on)
    for name, (model, env_id, trained) in table.items():
        record_stable_baselines3(name, model, env_id, trained)


# d3rlpy.


def random_log(env_id, n_episodes, seed=0):
    env = gym.make(env_id, max_episode_steps=60)
    env.action_space.seed(seed)
    columns = [[] for _ in range(5)]
    for episode in range(n_episodes):
        state, over = env.reset(seed=episode)[0], False
        while not over:
            action = env.action_space.sample()
            following, reward, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
            for column, x in zip(
                columns, (state, action, reward, terminated, truncated), strict=True
            ):
                column.append(x)
            state = following
    states, actions, rewards, terminals, timeouts = map(np.array, columns)
    return MDPDataset(
        observations=np.float32(states),
        actions=actions if actions.ndim > 1 else actions[:, None],
        rewards=np.float32(rewards)[:, None],
        terminals=np.float32(terminals),
        timeouts=np.float32(timeouts & ~terminals),
    )


def record_d3rlpy(name, algo, env_id, trained):
    states = states_of(env_id)
    n, discrete = len(states), algo.get_action_type().name == "DISCRETE"
    zeros = np.zeros((1, states.shape[1]), np.float32)
    given = [(zeros, np.zeros(1, np.int64))]
    if discrete:
        given += [(states, np.full(n, a, np.int64)) for a in range(algo.action_size)]
    else:
        given = [(states, algo.predict(states))]
    kind = thing(algo.get_action_type(), ("name",))
    got = Tree({"signature": [], "calls": [{"args": [], "kwargs": {}, "answer": kind}]})
    written = {
        "predict": calls(algo.predict, (states,)),
        "predict_value": calls(algo.predict_value, *given),
        "get_action_type": got,
    }
    expected = {"greedy": node(algo.predict(states))}
    expected["sampled"] = [node(algo.sample_action(states)) for _ in range(2)]
    save(
        name,
        {
            **header("d3rlpy", f"{env_id}, {trained}"),
            "states": node(states),
            "object": thing(algo, ALGO, **written),
            "expected": expected,
        },
    )


def d3rlpy_models():
    algos, pre = d3rlpy.algos, d3rlpy.preprocessing
    encoder = d3rlpy.models.VectorEncoderFactory([16])
    quiet = {
        "logger_adapter": d3rlpy.logging.NoopAdapterFactory(),
        "show_progress": False,
        "n_steps_per_epoch": 300,
    }
    cart, pendulum = "CartPole-v1", "Pendulum-v1"
    drift = "Drift-v0"
    logs = {x: random_log(x, n) for x, n in ((cart, 30), (pendulum, 10), (drift, 10))}

    def scaled():
        """Scalers, which learn from the log of the one algorithm that has them."""
        return {
            "observation_scaler": pre.StandardObservationScaler(),
            "action_scaler": pre.MinMaxActionScaler(),
        }

    both = {"actor_encoder_factory": encoder, "critic_encoder_factory": encoder}
    table = {
        "d3rlpy_discrete_cql": (
            cart,
            algos.DiscreteCQLConfig(
                batch_size=32,
                encoder_factory=encoder,
                observation_scaler=pre.StandardObservationScaler(),
            ),
        ),
        "d3rlpy_discrete_bcq": (
            cart,
            algos.DiscreteBCQConfig(
                batch_size=32, encoder_factory=encoder, action_flexibility=0.99
            ),
        ),
        "d3rlpy_discrete_sac": (cart, algos.DiscreteSACConfig(batch_size=32, **both)),
        "d3rlpy_discrete_bc": (
            cart,
            algos.DiscreteBCConfig(batch_size=32, encoder_factory=encoder),
        ),
        "d3rlpy_cql": (drift, algos.CQLConfig(batch_size=32, **both, **scaled())),
        "d3rlpy_iql": (
            pendulum,
            algos.IQLConfig(batch_size=32, value_encoder_factory=encoder, **both),
        ),
        "d3rlpy_td3_plus_bc": (pendulum, algos.TD3PlusBCConfig(batch_size=32, **both, **scaled())),
        "d3rlpy_bc": (pendulum, algos.BCConfig(batch_size=32, encoder_factory=encoder)),
    }
    for name, (env_id, config) in table.items():
        d3rlpy.seed(0)
        algo = config.create()
        algo.fit(logs[env_id], n_steps=300, **quiet)
        record_d3rlpy(name, algo, env_id, "300 steps on the log of a random policy")
    empty = algos.DiscreteCQLConfig().create()
    got = Tree({"signature": [], "calls": [{"args": [], "kwargs": {}}]})
    got["calls"][0]["answer"] = thing(empty.get_action_type(), ("name",))
    unasked = {
        "predict": Tree({"signature": signature(empty.predict), "calls": []}),
        "predict_value": Tree({"signature": signature(empty.predict_value), "calls": []}),
        "get_action_type": got,
    }
    made = thing(empty, ALGO, **unasked)
    save("d3rlpy_not_built", {**header("d3rlpy", "not at all"), "object": made})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    gym.register("Drift-v0", Drift)
    stable_baselines3_models()
    d3rlpy_models()
