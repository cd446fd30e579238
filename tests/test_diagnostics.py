"""`evaluation.diagnostics`: equal to plain numpy, and what it says of actions without support."""

from __future__ import annotations

import math
import pickle

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from made_logs import draw, softmax
from polars.testing import assert_frame_equal


def make_log(rng, n=400, longest=6, actions=4, spread=1.0):
    """Episodes of unequal length under a logger whose propensities vary."""
    lengths = rng.integers(1, longest + 1, n)
    ids = np.repeat(np.arange(n), lengths)
    probs = softmax(rng.normal(size=(len(ids), actions)) * spread)
    action = draw(rng, probs)
    rows = np.arange(len(ids))
    reward = rng.normal(size=len(ids)) + action
    frame = {"id": ids, "action": action, "reward": reward, "propensity": probs[rows, action]}
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    return log, frame, probs


def tilted(probs, strength, rng):
    """A policy that leans away from the logger's."""
    return softmax(np.log(probs) + strength * rng.normal(size=probs.shape[1]))


def held_weights(frame, prob):
    """(n, T_max) weights, held past the end, and rewards of the same shape."""
    ids, rho = frame["id"], prob / frame["propensity"]
    lengths = np.bincount(ids)
    w = np.empty((len(lengths), lengths.max()))
    r = np.zeros_like(w)
    start = 0
    for i, length in enumerate(lengths):
        rows = slice(start, start + length)
        w[i, :length] = np.cumprod(rho[rows])
        w[i, length:] = w[i, length - 1]
        r[i, :length] = frame["reward"][rows]
        start += length
    return w, r, lengths


@pytest.mark.parametrize("gamma", [1.0, 0.8])
def test_steps_equal_plain_numpy(gamma):
    rng = np.random.default_rng(5)
    log, frame, probs = make_log(rng)
    rows = np.arange(log.n_rows)
    prob = tilted(probs, 1.0, rng)[rows, frame["action"]]
    prob[rng.random(log.n_rows) < 0.02] = 0.0
    found = cf.evaluate(log, {"new": prob}, ["pdis"], gamma=gamma).diagnostics
    w, r, lengths = held_weights(frame, prob)
    n, horizon = w.shape
    m = (w * r).sum(axis=0) / w.sum(axis=0)
    psi = gamma ** np.arange(horizon) * w * (r - m) / w.mean(axis=0)
    parts = np.abs(psi).sum(axis=0)
    wanted = {
        "n_episodes": [(lengths > t).sum() for t in range(horizon)],
        "effective_sample_size": w.sum(axis=0) ** 2 / (w**2).sum(axis=0),
        "mean_weight": w.mean(axis=0),
        "z": (w.mean(axis=0) - 1) / (w.std(axis=0, ddof=1) / math.sqrt(n)),
        "influence_share": parts / parts.sum(),
    }
    assert found.steps["step"].to_list() == list(range(horizon))
    for name, values in wanted.items():
        np.testing.assert_allclose(found.steps[name], values, rtol=1e-9, err_msg=name)
    final = w[:, -1]
    order = np.argsort(-final, kind="stable")[:5]
    assert found.largest["episode"].to_list() == order.tolist()
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    assert found.largest["first_row"].to_list() == starts[order].tolist()
    np.testing.assert_allclose(found.largest["share"], final[order] / final.sum(), rtol=1e-12)
    row = found.table.row(0, named=True)
    worst = np.abs(wanted["z"]).argmax()
    assert row["z_step"] == worst
    assert row["z"] == pytest.approx(wanted["z"][worst], rel=1e-9)
    smallest = wanted["effective_sample_size"].min()
    assert row["effective_sample_size"] == pytest.approx(smallest, rel=1e-9)
    assert row["max_weight_share"] == pytest.approx((final / final.sum()).max(), rel=1e-12)


def numpy_pareto_k(weights):
    """Zhang & Stephens' posterior mean, then drawn towards 1/2, from the formulas."""
    n = len(weights)
    m = min(n // 5, math.ceil(3 * math.sqrt(n)))
    x = np.sort(weights)[::-1]
    excess = np.sort(x[:m] - x[m])
    grid = 30 + math.floor(math.sqrt(m))
    j = np.arange(1, grid + 1)
    quartile = excess[math.floor(m / 4 + 0.5) - 1]
    theta = 1 / excess[-1] + (1 - np.sqrt(grid / (j - 0.5))) / (3 * quartile)
    k = np.log1p(-theta[:, None] * excess).mean(axis=1)
    likelihood = m * (np.log(-theta / k) - k - 1)
    share = 1 / np.exp(likelihood[None, :] - likelihood[:, None]).sum(axis=1)
    k_hat = np.log1p(-(theta * share).sum() * excess).mean()
    return (m * k_hat + 5) / (m + 10)


def bandit(weights, reward=None):
    """A log whose weights are these, and the column of probabilities that makes them so."""
    weights = np.asarray(weights, dtype=float)
    scale = min(1.0, 1 / weights.max()) if weights.max() > 0 else 1.0
    n = len(weights)
    frame = {
        "action": np.arange(n) % 3,
        "reward": np.arange(n) % 7 / 7 if reward is None else reward,
        "propensity": np.full(n, scale),
    }
    return cf.LoggedData.from_frame(frame), weights * scale


def diagnose(weights):
    log, prob = bandit(weights)
    return cf.evaluate(log, {"new": prob}, ["tis"]).diagnostics


@pytest.mark.parametrize("k", [0.1, 0.4, 0.8, 1.3])
@pytest.mark.parametrize("n", [60, 3000])
def test_pareto_k_equals_plain_numpy(k, n):
    rng = np.random.default_rng(int(10 * k) + n)
    weights = (rng.random(n) ** -k - 1) / k
    found = diagnose(weights).table["pareto_k"].item()
    assert found == pytest.approx(numpy_pareto_k(weights), rel=1e-9)


@pytest.mark.parametrize(
    "weights",
    [np.ones(500), np.tile([0.5, 1.0, 1.5, 1.0], 200), np.linspace(0.5, 1.5, 20)],
    ids=["constant", "four different", "too few"],
)
def test_pareto_k_is_null_without_a_tail(weights):
    assert diagnose(weights).table["pareto_k"].item() is None


def test_the_histogram_counts_every_episode():
    rng = np.random.default_rng(0)
    weights = rng.lognormal(sigma=2, size=2000) * (rng.random(2000) > 0.3)
    found = diagnose(weights).weights
    assert found["n_episodes"].sum() == 2000
    assert found.row(0)[1:] == (0.0, 0.0, int((weights == 0).sum()))
    scaled = weights[weights > 0] / weights.mean()
    edges = [*found["low"][1:], found["high"][-1]]
    counted, _ = np.histogram(scaled, edges)
    assert np.abs(counted - found["n_episodes"][1:].to_numpy()).sum() <= 2  # on an edge


def test_weights_beyond_the_range_of_floats():
    """The narrow pass gives up and the wide one takes over; shares and ESS stay finite."""
    n, horizon = 300, 1200
    rng = np.random.default_rng(3)
    ids = np.repeat(np.arange(n), horizon)
    frame = {
        "id": ids,
        "action": np.zeros(len(ids), dtype=int),
        "reward": rng.normal(size=len(ids)),
        "propensity": np.full(len(ids), 0.25),
    }
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    prob = rng.choice([0.9, 0.8], len(ids))
    found = cf.evaluate(log, {"new": prob}, ["snpdis"]).diagnostics
    steps = found.steps
    assert steps["effective_sample_size"].is_finite().all()
    logs = np.log(prob / 0.25).reshape(n, horizon).cumsum(axis=1)
    w = np.exp(logs - logs.max(axis=0))
    np.testing.assert_allclose(
        steps["effective_sample_size"], w.sum(axis=0) ** 2 / (w**2).sum(axis=0), rtol=1e-9
    )
    shares = np.sort(w[:, -1] / w[:, -1].sum())[::-1][:5]
    np.testing.assert_allclose(found.largest["share"], shares, rtol=1e-9)
    assert steps["influence_share"].sum() == pytest.approx(1.0)


def test_threads_and_chunks_change_no_bit():
    rng = np.random.default_rng(7)
    log, frame, probs = make_log(rng, n=30_000)
    prob = tilted(probs, 0.6, rng)[np.arange(log.n_rows), frame["action"]]
    frame = pl.DataFrame({**frame, "prob": prob})
    pieces = pl.concat([frame[:777], frame[777:50_001], frame[50_001:]], rechunk=False)
    tables = []
    for source, threads in ((frame, 1), (frame, 2), (pieces, 3), (frame, 8)):
        again = cf.LoggedData.from_frame(source, episode_id="id")
        found = cf.evaluate(again, {"new": "prob"}, ["pdis"], num_threads=threads).diagnostics
        tables.append(found.to_dict())
    assert all(table == tables[0] for table in tables)


# Unsupported mass.


def test_mass_on_actions_that_were_never_logged():
    rng = np.random.default_rng(1)
    n = 4000
    frame = {
        "action": rng.integers(3, size=n),
        "reward": rng.random(n),
        "propensity": np.full(n, 1 / 3),
    }
    log = cf.LoggedData.from_frame(frame)
    probs = {
        "keeps": np.tile([0.3, 0.3, 0.4, 0.0], (n, 1)),
        "strays": np.tile([0.3, 0.3, 0.15, 0.25], (n, 1)),
    }
    table = cf.evaluate(log, {**probs, "column": np.full(n, 0.3)}, ["tis"]).diagnostics.table
    assert table["unsupported_mass"].to_list() == [0.0, pytest.approx(0.25), None]
    assert table["unsupported_basis"].to_list() == ["actions that were never logged"] * 2 + [None]
    assert table["verdict"].to_list() == ["reliable", "do not trust", "do not trust"]
    assert "25 % of its probability is on actions that were never logged" in table["reason"][1]


def test_mass_where_the_behavior_policy_is_known_is_exact():
    """Action 2 is never taken in half of the states, though it is logged in the others."""
    rng = np.random.default_rng(2)
    n = 20_000
    half = rng.random(n) < 0.5
    behavior = np.where(half[:, None], [0.5, 0.5, 0.0], [0.4, 0.3, 0.3])
    action = (behavior.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    frame = {"action": action, "reward": rng.random(n)}
    log = cf.LoggedData.from_frame(frame, propensity=None, action_probs=behavior)
    little = np.tile([0.49, 0.49, 0.02], (n, 1))
    none = np.where(half[:, None], [0.6, 0.4, 0.0], [0.3, 0.4, 0.3])
    table = cf.evaluate(log, {"little": little, "none": none}, ["tis"]).diagnostics.table
    assert table["unsupported_mass"][0] == pytest.approx(0.02 * half.mean(), rel=1e-12)
    assert table["unsupported_mass"][1] == 0
    assert "behavior policy never takes" in table["unsupported_basis"][0]


def test_actions_that_a_candidate_never_tries():
    n = 3000
    action = np.array(["a", "b", "c"])[np.arange(n) % 3]
    frame = {"action": action, "reward": np.arange(n) % 5, "propensity": np.full(n, 1 / 3)}
    log = cf.LoggedData.from_frame(frame)
    only_a = (action == "a") * 1.0
    table = cf.evaluate(log, {"a": only_a, "all": np.full(n, 1 / 3)}, ["tis"]).diagnostics.table
    assert table["actions_never_tried"].to_list() == [2, 0]


# What surrounds it.


def test_without_weights():
    n = 100
    frame = {"action": np.zeros(n), "reward": np.arange(n)}
    log = cf.LoggedData.from_frame(frame, propensity=None)
    found = cf.evaluate(log, {"m": cf.PolicyColumns(v=np.arange(n))}).diagnostics
    row = found.table.row(0, named=True)
    assert row["verdict"] == "with care"
    assert "direct method alone" in row["reason"]
    assert row["effective_sample_size"] is None
    assert [len(x) for x in (found.steps, found.largest, found.weights)] == [0, 0, 0]


def test_one_episode():
    frame = {"id": [1, 1], "action": [0, 1], "reward": [1.0, 2.0], "propensity": [0.5, 0.5]}
    log = cf.LoggedData.from_frame(frame, episode_id="id")
    found = cf.evaluate(log, {"new": [0.6, 0.6]}, ["pdis"]).diagnostics
    row = found.table.row(0, named=True)
    assert row["z"] is None
    assert row["verdict"] == "do not trust"
    assert "nan" not in repr(found).lower()


def test_a_policy_whose_weights_are_all_zero():
    n = 200
    frame = {"action": np.arange(n) % 2, "reward": np.arange(n), "propensity": np.full(n, 0.5)}
    log = cf.LoggedData.from_frame(frame)
    row = cf.evaluate(log, {"never": np.zeros(n)}, ["tis"]).diagnostics.table.row(0, named=True)
    assert row["verdict"] == "do not trust"
    assert row["effective_sample_size"] == 0
    assert row["max_weight_share"] is None


def test_shown_and_kept(tmp_path):
    rng = np.random.default_rng(9)
    log, frame, probs = make_log(rng)
    prob = tilted(probs, 2.0, rng)[np.arange(log.n_rows), frame["action"]]
    policies = {"new": prob, "<b>": frame["propensity"]}
    evaluation = cf.evaluate(log, policies, ["snpdis"], gamma=0.9)
    assert evaluation.diagnostics is evaluation.diagnostics
    shown = repr(evaluation.diagnostics)
    assert max(map(len, shown.splitlines())) <= 80
    assert "What would help" in shown
    assert "&lt;b&gt;" in evaluation.diagnostics._repr_html_()
    evaluation.to_parquet(tmp_path / "kept.parquet")
    kept = cf.Evaluation.from_parquet(tmp_path / "kept.parquet")
    thawed = pickle.loads(pickle.dumps(evaluation))
    for other in (kept, thawed):
        for name in ("table", "steps", "largest", "weights"):
            there = getattr(other.diagnostics, name)
            assert_frame_equal(there, getattr(evaluation.diagnostics, name), check_exact=True)
    assert kept.log_report == evaluation.log_report
    fresh = pickle.loads(pickle.dumps(cf.evaluate(log, policies, ["snpdis"])))
    with pytest.raises(cf.InvalidArgumentError, match="diagnostics needs the log"):
        _ = fresh.diagnostics
