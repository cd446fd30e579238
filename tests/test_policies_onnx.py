"""Models as ONNX files: against other implementations, and as policies of real tasks."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import counterfolio as cf
import gymnasium as gym
import numpy as np
import onnx
import pytest
from counterfolio.policies import (
    Deterministic,
    DeterministicAction,
    EpsilonGreedy,
    Gaussian,
    Onnx,
    Softmax,
    SquashedGaussian,
    TruncatedGaussian,
)
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

FOLDER = Path(__file__).parents[1] / "data" / "policies"
CARTPOLE, PENDULUM = FOLDER / "CartPole-v1", FOLDER / "InvertedPendulum-v5"
MODELS = [path for folder in (CARTPOLE, PENDULUM) for path in sorted(folder.glob("*.onnx"))]
STATES = np.random.default_rng(0).normal(size=(50, 4))
POLICY, ARGUMENT = cf.InvalidPolicyError, cf.InvalidArgumentError


def model(*outputs, width=2, kind=TensorProto.FLOAT, rank=2, inputs=("x",), rows="n"):
    """A model that multiplies its input by 1, 2, .. for each output."""
    dtype = helper.tensor_dtype_to_np_dtype(kind).type
    shape = [rows, width][:rank]
    nodes = [helper.make_node("Mul", [inputs[0], f"by_{o}"], [o]) for o in outputs]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(x, kind, shape) for x in inputs],
        [helper.make_tensor_value_info(o, kind, shape) for o in outputs],
        [numpy_helper.from_array(dtype(i), f"by_{o}") for i, o in enumerate(outputs, 1)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 10
    onnx.checker.check_model(made)
    return made.SerializeToString()


def test_there_are_models():
    assert len(MODELS) == 7


@pytest.mark.parametrize("path", MODELS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_another_implementation_agrees(path):
    (wanted,) = ReferenceEvaluator(str(path)).run(None, {"observation": np.float32(STATES)})
    found = Onnx(path)(STATES)
    assert found.dtype == np.float64
    assert found.shape == wanted.shape
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_a_forward_pass_by_hand():
    path = CARTPOLE / "behavior.onnx"
    loaded = onnx.load(path)
    w = {x.name: numpy_helper.to_array(x).astype(float) for x in loaded.graph.initializer}
    (constant,) = (n for n in loaded.graph.node if n.op_type == "Constant")
    scale = float(numpy_helper.to_array(constant.attribute[0].t))
    hidden = "q.0._encoder._layers.0"
    out = np.maximum(STATES @ w[f"{hidden}.weight"].T + w[f"{hidden}.bias"], 0)
    out = (out @ w["q.0._fc.weight"].T + w["q.0._fc.bias"]) / scale
    assert Onnx(str(path))(STATES) == pytest.approx(out, rel=1e-4, abs=1e-4)


def test_batches_bytes_and_outputs():
    path = CARTPOLE / "cql_1.onnx"
    whole = Onnx(path)(STATES)
    assert Onnx(path.read_bytes(), batch=7)(STATES) == pytest.approx(whole, rel=1e-5)
    assert Onnx(path)(STATES[:0]).shape == (0, 2)
    made = model("first", "second")
    states = STATES[:, :2]
    once = Onnx(made)(states)
    assert np.array_equal(once, np.float32(states))
    assert np.array_equal(Onnx(made, output="second")(states), 2 * once)
    assert np.array_equal(Onnx(model("x2", kind=TensorProto.DOUBLE))(states), states)
    # Whole numbers are numbers, too.
    assert np.array_equal(Onnx(made)(np.eye(2, dtype=int)), np.eye(2))
    assert repr(Onnx(path)) == f"Onnx({str(path)!r})"
    assert repr(Onnx(made)) == f"Onnx({len(made):,} bytes)"


@pytest.mark.parametrize("rows", [1, 8, 64])
def test_exported_for_a_number_of_rows(rows):
    """As tracing does, where nothing is said of the first dimension."""
    base = Onnx(model("y", rows=rows))
    for n in (0, 1, 8, 50):
        assert np.array_equal(base(STATES[:n, :2]), np.float32(STATES[:n, :2]))


def test_outputs_of_networks_reach_their_heads():
    """Q, logits, probabilities, actions; means and deviations, before squashing or not."""
    made = model("one", "two")  # the states, and twice the states
    states = np.abs(STATES[:, :2]) + 0.1
    single = np.float64(np.float32(states))
    one, two = Onnx(made, output="one"), Onnx(made, output="two")
    best = single.argmax(axis=1)
    assert np.array_equal(Deterministic(one).sample(states, None), best)
    assert np.array_equal(EpsilonGreedy(one, 0.0).prob(states, best), np.ones(len(states)))
    powers = np.exp(2 * single)
    probs = powers / powers.sum(axis=1, keepdims=True)
    assert Softmax(two).action_probs(states) == pytest.approx(probs, abs=1e-6)
    normal = Gaussian(one, two)
    z = (0.5 - single) / (2 * single)
    wanted = (np.exp(-z * z / 2) / (2 * single * np.sqrt(2 * np.pi))).prod(axis=1)
    actions = np.full_like(states, 0.5)
    assert normal.density(states, actions) == pytest.approx(wanted, rel=1e-5)
    squashed = SquashedGaussian(one, two, -1.0, 1.0)
    slope = (1 - np.tanh(0.5) ** 2) ** 2
    found = squashed.density(states, np.tanh(actions))
    assert found == pytest.approx(wanted / slope, rel=1e-5)


def test_the_same_after_a_pickle_and_without_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes((CARTPOLE / "cql_1.onnx").read_bytes())
    policy = EpsilonGreedy(Onnx(path), 0.1)
    dumped = pickle.dumps(policy)
    path.unlink()
    wanted = policy.action_probs(STATES)
    assert np.array_equal(pickle.loads(dumped).action_probs(STATES), wanted)


def ask(base, states, answers):
    answers.put(base(states))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_in_a_forked_child():
    base = Onnx(CARTPOLE / "cql_1.onnx")
    wanted = base(STATES)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=ask, args=(base, STATES, answers))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert np.array_equal(answers.get(), wanted)


def test_from_several_threads():
    base = Onnx(CARTPOLE / "cql_1.onnx")
    wanted = base(STATES)
    found = [None] * 8

    def run(i):
        found[i] = base(STATES)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(x, wanted) for x in found)


def test_what_is_refused(tmp_path):
    missing = tmp_path / "none.onnx"
    for make, text in (
        (lambda: Onnx(missing), r'the ONNX model ".*none\.onnx" cannot be read: No such file'),
        (lambda: Onnx(tmp_path), "cannot be read"),
        (lambda: Onnx(b"abc"), "the ONNX model cannot be opened: "),
        (lambda: Onnx(3), "takes a path or the bytes of a model, not 3"),
        (lambda: Onnx(MODELS[0], batch=0), "batch must be a whole number of 1 or more, not 0"),
        (lambda: Onnx(MODELS[0], output="q_value"), 'no output "q_value"; did you mean "q_values"'),
        (lambda: Onnx(model("y", kind=TensorProto.INT64)), r"takes x: tensor\(int64\) of shape"),
        (lambda: Onnx(model("y", rank=1)), "export a model with one input, states of shape"),
        (lambda: Onnx(model("y", inputs=("x", "z"))), r"takes x: .*, z: .*; export"),
    ):
        with pytest.raises(ARGUMENT, match=text):
            make()
    base = Onnx(MODELS[0])
    for states, text in (
        (STATES[:, :3], r'bcq_1\.onnx" takes 4 numbers a state, but states have 3; name the state'),
        (STATES[:, 0], r"takes numbers of shape \(n, d\), but states are float64 of shape \(50,\)"),
        (STATES.astype(str), "name state columns that hold numbers"),
    ):
        with pytest.raises(POLICY, match=text):
            base(states)


def test_without_the_extra(tmp_path):
    """And nothing is imported before it is used."""
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no')")
    code = (
        "import sys, counterfolio as cf\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "try:\n    cf.policies.Onnx(sys.argv[1])\n"
        "except cf.MissingExtraError as error:\n    print(error)"
    )
    command = [sys.executable, "-c", code, str(MODELS[0])]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    wanted = 'policies from ONNX files need onnxruntime; pip install "counterfolio[onnx]"\n'
    assert done.stdout == wanted, done.stderr


def rolled_out(environment, policy, episodes, cut_off):
    """A log of a policy's own decisions, with its own probabilities."""
    env = gym.make(environment, max_episode_steps=cut_off)
    rng = np.random.default_rng(1)
    rows = {name: [] for name in ("episode", "state", "action", "reward", "propensity")}
    for episode in range(episodes):
        state, _ = env.reset(seed=episode)
        over = False
        while not over:
            asked = state[None].astype(np.float64)
            action = policy.sample(asked, rng)
            rows["episode"].append(episode)
            rows["state"].append(asked[0])
            rows["action"].append(action[0])
            rows["propensity"].append(policy.prob(asked, action)[0])
            state, reward, terminated, truncated, _ = env.step(action[0])
            rows["reward"].append(float(reward))
            over = terminated or truncated
    env.close()
    return {name: np.array(values) for name, values in rows.items()}


def test_cartpole_on_its_own_policy():
    zoo = json.loads((CARTPOLE / "zoo.json").read_text("utf-8"))
    assert zoo["behavior"] == {"base": "behavior", "head": "softmax", "parameter": 1.0}
    behavior = Softmax(Onnx(CARTPOLE / "behavior.onnx"), zoo["behavior"]["parameter"])
    data = rolled_out(zoo["env"], behavior, 8, zoo["max_episode_steps"])
    log = cf.LoggedData.from_frame(data, episode_id="episode", state="state")
    candidates = {
        f"{base}_{epsilon}": EpsilonGreedy(Onnx(CARTPOLE / f"{base}.onnx"), epsilon)
        for base in ("cql_1", "cql_2", "bcq_1")
        for epsilon in (0.1, 0.7)
    }
    evaluation = cf.evaluate(log, {"itself": behavior, **candidates})
    for estimator in evaluation.estimators:
        value = evaluation.values(estimator)["itself"]
        # A batch of one and a block of many may differ in float32's last digit.
        assert value == pytest.approx(evaluation.behavior_value, rel=1e-3)
    # Asked for the whole log at a time, exactly.
    asked = behavior.prob(data["state"], data["action"])
    assert asked == pytest.approx(data["propensity"], rel=1e-4)
    log = cf.LoggedData.from_frame(
        {**data, "propensity": asked}, episode_id="episode", state="state"
    )
    same = cf.evaluate(log, {"itself": behavior})
    for estimator in same.estimators:
        assert same.values(estimator)["itself"] == same.behavior_value
    assert evaluation.estimates["value"].is_finite().all()


def test_pendulum_policies_evaluate():
    """A log of vectors of one number, drawn as the environment's range allows."""
    zoo = json.loads((PENDULUM / "zoo.json").read_text("utf-8"))
    std = zoo["behavior"]["parameter"]
    behavior = TruncatedGaussian(Onnx(PENDULUM / "behavior.onnx"), std, -3.0, 3.0)
    rng = np.random.default_rng(0)
    states = rng.normal(size=(400, 4)) * 0.1
    actions = behavior.sample(states, rng)
    assert actions.shape == (400, 1)
    assert (np.abs(actions) <= 3).all()
    data = {
        "action": actions,
        "state": states,
        "reward": -np.abs(actions[:, 0]),
        "propensity": behavior.density(states, actions),
    }
    log = cf.LoggedData.from_frame(data, state="state", action_type="continuous")
    candidates = {
        name: TruncatedGaussian(Onnx(PENDULUM / f"{name}.onnx"), 1.75, -3.0, 3.0)
        for name in ("cql_3", "iql_1")
    }
    evaluation = cf.evaluate(log, {"itself": behavior, **candidates}, estimators=["tis", "sntis"])
    assert evaluation.values("tis")["itself"] == pytest.approx(evaluation.behavior_value, rel=1e-4)
    means = Onnx(PENDULUM / "cql_3.onnx")(states)
    assert (np.abs(means) <= 3).all()
    assert np.array_equal(DeterministicAction(Onnx(PENDULUM / "cql_3.onnx")).mean(states), means)
    assert np.array_equal(Gaussian(Onnx(PENDULUM / "cql_3.onnx"), 1.0).mean(states), means)
    # Weights average to 1, as those of densities over the same range do.
    for policy in candidates.values():
        weights = policy.density(states, actions) / data["propensity"]
        error = weights.std() / np.sqrt(len(weights))
        assert abs(weights.mean() - 1) < 4 * error
