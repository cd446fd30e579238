"""Kernels about the actions of deterministic policies: densities, weights of mean 1, estimates."""

from __future__ import annotations

import math
from itertools import pairwise

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.bandwidth import GRID, rule_of_thumb
from counterfolio.policies import DeterministicAction, Kernel
from scipy import integrate, stats

NAMES = ("gaussian", "triangular", "epanechnikov", "cosine", "uniform")
SHAPES = {
    "gaussian": lambda u: np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi),
    "triangular": lambda u: np.maximum(1 - np.abs(u), 0),
    "epanechnikov": lambda u: 0.75 * np.maximum(1 - u**2, 0),
    "cosine": lambda u: np.where(np.abs(u) <= 1, np.pi / 4 * np.cos(np.pi * u / 2), 0),
    "uniform": lambda u: np.where(np.abs(u) <= 1, 0.5, 0),
}


def by_hand(name: str, a: np.ndarray, c: np.ndarray, h: np.ndarray) -> np.ndarray:
    return np.prod(SHAPES[name]((a - c) / h) / h, axis=1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_against_numpy(name, d):
    rng = np.random.default_rng(d)
    a, c = rng.normal(size=(2, 200, d))
    h = np.array([0.3, 1.1, 2.0])[:d]
    found = Kernel(name, h.tolist()).density(a, c)
    np.testing.assert_allclose(found, by_hand(name, a, c, h), rtol=1e-12, atol=1e-300)
    # A scale of the action is a scale of the bandwidth, and of the unit of a density.
    scaled = Kernel(name, (10 * h).tolist()).density(10 * a, 10 * c)
    np.testing.assert_allclose(scaled, found / 10**d, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("centre", [0.0, 0.3, 1.0])
def test_bounds_in_two_dimensions(name, centre):
    """No mass is lost beyond the bounds, wherever the policy's action is."""
    kernel = Kernel(name, [0.5, 0.2], ((0.0, -1.0), (1.0, 1.0)))

    def one(x: float, axis: int) -> float:
        point, middle = np.full((1, 2), 0.1), np.full((1, 2), 0.1)
        point[0, axis], middle[0, axis] = x, centre
        return float(kernel.density(point, middle)[0])

    for axis, (low, high) in ((0, (0.0, 1.0)), (1, (-1.0, 1.0))):
        h = (0.5, 0.2)[axis]
        corners = [x for x in (centre - h, centre, centre + h) if low < x < high]
        area, _ = integrate.quad(one, low, high, (axis,), points=corners or None)
        other = one(0.1, axis) if centre == 0.1 else None
        at_rest = kernel.density(np.full((1, 2), 0.1), np.full((1, 2), 0.1))[0]
        # Of the other dimension alone.
        own = one_dimension(name, 0.1, 0.1, (0.5, 0.2)[1 - axis], [(0, 1), (-1, 1)][1 - axis])
        assert area == pytest.approx(own, rel=1e-6)
        assert other is None
        assert at_rest > 0


def panels(low: float, high: float, corners: list[float], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights between bounds, cut where a kernel has corners."""
    x, w = np.polynomial.legendre.leggauss(n)
    ends = [low, *sorted(c for c in corners if low < c < high), high]
    pairs = list(pairwise(ends))
    return (
        np.concatenate([(a + b) / 2 + (b - a) / 2 * x for a, b in pairs]),
        np.concatenate([(b - a) / 2 * w for a, b in pairs]),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("bounded", [False, True])
def test_the_joint_density_integrates_to_1(name, d, bounded):
    h, centre = np.array([0.4, 0.15, 0.7])[:d], np.array([0.9, -0.3, 1.0])[:d]
    low, high = np.array([0.5, -0.4, -1.0])[:d], np.array([1.0, 0.2, 1.0])[:d]
    bounds = (low.tolist(), high.tolist()) if bounded else None
    if not bounded:
        low, high = centre - 9 * h, centre + 9 * h
    axes = [
        panels(a, b, [c - k, c, c + k], 24) for a, b, c, k in zip(low, high, centre, h, strict=True)
    ]
    grid = np.meshgrid(*(x for x, _ in axes), indexing="ij")
    points = np.column_stack([x.ravel() for x in grid])
    weight = np.prod(np.meshgrid(*(w for _, w in axes), indexing="ij"), axis=0).ravel()
    kernel = Kernel(name, h.tolist(), bounds)
    density = kernel.density(points, np.broadcast_to(centre, points.shape))
    assert density @ weight == pytest.approx(1, abs=1e-9)


def one_dimension(name: str, a: float, c: float, h: float, bounds: tuple[float, float]) -> float:
    mass, _ = integrate.quad(lambda x: SHAPES[name](np.array((x - c) / h)) / h, *bounds, limit=200)
    return float(SHAPES[name](np.array((a - c) / h)) / h / mass)


def test_the_edge():
    at = {name: Kernel(name, 2.0).density([[2.0]], [[0.0]])[0] for name in NAMES}
    assert at["uniform"] == 0.25
    assert at["triangular"] == at["epanechnikov"] == 0
    assert at["cosine"] == pytest.approx(0, abs=1e-16)


def continuous(seed: int, n: int, d: int, steps: int = 1) -> tuple[pl.DataFrame, np.ndarray]:
    """Actions drawn about a state from a normal density; rewards peak at twice the state."""
    rng = np.random.default_rng([seed, d])
    state = rng.uniform(-0.5, 0.5, size=(n * steps, d))
    action = state + rng.normal(size=(n * steps, d))
    density = stats.norm.pdf(action - state).prod(axis=1)
    target = 2 * state
    reward = np.exp(-((action - target) ** 2).sum(axis=1) / 2) + 0.1 * rng.normal(size=n * steps)
    frame = pl.DataFrame(
        {
            "id": np.repeat(np.arange(n), steps),
            **{f"s{j}": state[:, j] for j in range(d)},
            "a": action,
            "reward": reward,
            "propensity": density,
            "q": reward * 0.5,
            "v": np.full(n * steps, 0.7),
        }
    )
    return frame, target


def logged(frame: pl.DataFrame, d: int) -> cf.LoggedData:
    return cf.LoggedData.from_frame(
        frame,
        action="a",
        action_type="continuous",
        episode_id="id",
        state=[f"s{j}" for j in range(d)],
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_weights_have_mean_1(name, d):
    """In every number of dimensions, and with a bandwidth to each."""
    frame, target = continuous(1, 40_000, d)
    log = logged(frame.with_columns(reward=pl.lit(1.0)), d)
    kernel = Kernel(name, [0.8, 0.5, 1.0][:d])
    policies = {"new": cf.PolicyColumns(action=target, kernel=kernel)}
    row = cf.evaluate(log, policies, ["tis"]).estimates.row(0, named=True)
    assert abs(row["value"] - 1) < 4 * row["standard_error"]
    assert row["standard_error"] < 0.05


@pytest.mark.parametrize("steps", [1, 3])
def test_estimators_against_numpy(steps):
    gamma = 0.9
    frame, target = continuous(2, 500, 2, steps)
    log = logged(frame, 2)
    kernel = Kernel("epanechnikov", 2.0)
    policies = {"new": cf.PolicyColumns(action=target, kernel=kernel, q="q", v="v")}
    names = ["tis", "sntis", "pdis", "dr"]
    found = dict(
        zip(names, cf.evaluate(log, policies, names, gamma=gamma).estimates["value"], strict=False)
    )
    action, reward, v, q = (frame[c].to_numpy() for c in ("a", "reward", "v", "q"))
    rho = by_hand("epanechnikov", action, target, np.array([2.0, 2.0]))
    rho, reward, q, v = (
        x.reshape(-1, steps) for x in (rho / frame["propensity"].to_numpy(), reward, q, v)
    )
    w, power = np.cumprod(rho, axis=1), gamma ** np.arange(steps)
    returns = reward @ power
    after = np.hstack([v[:, 1:], np.zeros((len(v), 1))])
    wanted = {
        "tis": (w[:, -1] * returns).mean(),
        "sntis": w[:, -1] @ returns / w[:, -1].sum(),
        "pdis": ((w * reward) @ power).mean(),
        "dr": (v[:, 0] + (w * (reward + gamma * after - q)) @ power).mean(),
    }
    assert found == pytest.approx(wanted, rel=1e-9)


def test_forms_of_a_policy():
    """A column, columns, an array and an object say the same."""
    frame, target = continuous(3, 300, 2)
    frame = frame.with_columns(t=target, t0=target[:, 0], t1=target[:, 1])
    log, kernel = logged(frame, 2), Kernel(bandwidth=0.7)
    forms = {
        "array": cf.PolicyColumns(action=target, kernel=kernel),
        "column": cf.PolicyColumns(action="t", kernel=kernel),
        "columns": cf.PolicyColumns(action=["t0", "t1"], kernel=kernel),
        "object": DeterministicAction(lambda states: 2 * states, kernel),
    }
    evaluation = cf.evaluate(log, forms, ["sntis"])
    assert len(set(evaluation.estimates["value"][:4].round(14))) == 1
    assert len(evaluation.diagnostics.table) == 4
    assert "array" in repr(evaluation)


def test_bias_falls_and_variance_rises_with_the_bandwidth():
    truth = 1.0
    errors, values = [], []
    for h in (2.0, 0.6, 0.1):
        frame, target = continuous(4, 30_000, 1)
        policies = {"new": cf.PolicyColumns(action=target, kernel=Kernel(bandwidth=h))}
        rows = cf.evaluate(logged(frame, 1), policies, ["sntis", "tis"]).estimates
        values.append(abs(rows["value"][0] - truth))
        errors.append(rows["standard_error"][1])
    assert values[0] > 10 * values[2]
    assert errors[0] < errors[1] < errors[2]
    # About h^2 / 2 times the curvature.
    assert values[1] == pytest.approx(1 - 1 / math.sqrt(1 + 0.6**2), abs=0.03)


def test_slope_chooses_a_bandwidth():
    frame, target = continuous(5, 20_000, 1)
    log = logged(frame, 1)
    policies = {
        "new": cf.PolicyColumns(action=target, kernel=Kernel(bandwidth="slope")),
        "other": DeterministicAction(lambda states: states - 1, Kernel("triangular")),
    }
    evaluation = cf.evaluate(log, policies, ["sntis", "tis"])
    new, other = evaluation.settings["bandwidths"]
    assert (new["policy"], other["policy"]) == ("new", "other")
    grid = np.array(new["grid"])[:, 0]
    rule = rule_of_thumb(frame["a"].to_numpy())
    np.testing.assert_allclose(grid, rule * np.array(GRID))
    (h,) = new["bandwidth"]
    assert h in grid
    again = {"new": cf.PolicyColumns(action=target, kernel=Kernel(bandwidth=h))}
    again = cf.evaluate(log, again, ["sntis"]).estimates["value"][0]
    row = evaluation.estimates.row(0, named=True)
    assert row["value"] == pytest.approx(again, rel=1e-12)
    assert row["value"] == pytest.approx(new["value"][list(grid).index(h)], rel=1e-12)
    # Near the truth, within what the bandwidths differ by.
    assert abs(row["value"] - 1) < 0.1


def test_what_slope_chooses_is_near_the_best_of_the_grid():
    """Within a few times its root mean squared error, over logs; the widest is far from it."""
    own, grid = [], []
    for seed in range(20):
        frame, target = continuous(100 + seed, 1000, 1)
        policies = {"new": cf.PolicyColumns(action=target, kernel=Kernel())}
        evaluation = cf.evaluate(logged(frame, 1), policies, ["sntis"])
        own.append(evaluation.estimates["value"][0] - 1)
        grid.append(np.array(evaluation.settings["bandwidths"][0]["value"]) - 1)
    error, errors = np.sqrt(np.mean(np.square(own))), np.sqrt(np.mean(np.square(grid), axis=0))
    assert error < 4 * errors.min()
    assert error < 0.3 * errors[-1]


def test_q_and_v_are_fitted_for_columns_of_actions():
    """As for the object that takes the same actions."""
    frame, target = continuous(10, 400, 1, steps=2)
    log, kernel = logged(frame, 1), Kernel("epanechnikov", 1.5)
    policies = {
        "array": cf.PolicyColumns(action=target, kernel=kernel),
        "object": DeterministicAction(lambda states: 2 * states, kernel),
    }
    prepared = cf.prepare(log, policies, ["sntis", "dr", "sm_is"], gamma=0.9)
    for key in ("q", "v", "state_ratio"):
        one, other = (getattr(prepared[name], key) for name in policies)
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    values = cf.evaluate(log, prepared, gamma=0.9).estimates["value"]
    np.testing.assert_allclose(values[:3], values[3:6], rtol=1e-9)
    policies = {"new": cf.PolicyColumns(action=target, kernel=Kernel())}
    with pytest.raises(cf.InvalidPolicyError, match="bandwidth must be a number here"):
        cf.prepare(log, policies, ["sm_is"])
    policies = {"new": cf.PolicyColumns(action=target[:-1], kernel=kernel)}
    with pytest.raises(cf.InvalidPolicyError, match="pass one action for each row"):
        cf.prepare(log, policies, ["dm"])


def test_actions_at_a_bound_are_told():
    frame, target = continuous(6, 2000, 1)
    clipped = frame.with_columns(a=np.clip(frame["a"].to_numpy(), -1.5, 1.5))
    kernel = Kernel(bandwidth=0.5, action_bounds=(-1.5, 1.5))
    policies = {"new": cf.PolicyColumns(action=target, kernel=kernel, v="v")}
    rows = cf.evaluate(logged(clipped, 1), policies, ["sntis", "dm"]).estimates
    assert "of logged actions are exactly at a bound" in rows["note"][0]
    assert "bound" not in (rows["note"][1] or "")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": "box"}, "unknown kernel 'box'"),
        ({"bandwidth": 0}, "bandwidth must be finite and above 0"),
        ({"bandwidth": "silverman"}, "unknown bandwidth 'silverman'"),
        ({"bandwidth": [1.0, math.nan]}, "bandwidth must be a number"),
        ({"bandwidth": 1, "action_bounds": (1, 0)}, "finite with low < high"),
        ({"bandwidth": 1, "action_bounds": 3}, r"action_bounds must be \(low, high\)"),
    ],
)
def test_kernels_that_make_no_sense(options, match):
    with pytest.raises(cf.InvalidArgumentError, match=match):
        Kernel(**options)


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"action": np.zeros(50)}, "no density; pass kernel=cf.policies.Kernel"),
        ({"action": np.zeros(50), "kernel": "gaussian"}, "Kernel.*, not 'gaussian'"),
        ({"action": np.zeros(49), "kernel": Kernel(bandwidth=1)}, r"shape \(49, 1\)"),
        ({"action": np.zeros((50, 2)), "kernel": Kernel(bandwidth=1)}, r"shape \(50, 2\)"),
        ({"action": np.full(50, np.nan), "kernel": Kernel(bandwidth=1)}, "50 of 50 values are not"),
        ({"action": ["x"] * 50, "kernel": Kernel(bandwidth=1)}, 'no column "x"'),
        ({"action": np.zeros(50), "kernel": Kernel(bandwidth=[1, 2])}, "bandwidth has 2 numbers"),
        (
            {"action": np.zeros(50), "kernel": Kernel(bandwidth=1, action_bounds=(-0.1, 0.1))},
            "logged actions lie outside action_bounds, first at row",
        ),
    ],
)
def test_policies_that_make_no_sense(columns, match):
    frame, _ = continuous(7, 50, 1)
    with pytest.raises(cf.InvalidPolicyError, match=match) as error:
        cf.evaluate(logged(frame, 1), {"new": cf.PolicyColumns(**columns)}, ["tis"])
    assert str(error.value).count('policy "new"') == 1


def test_without_a_kernel_there_is_no_density():
    frame, _ = continuous(8, 50, 1)
    with pytest.raises(cf.InvalidPolicyError, match="pass kernel="):
        cf.evaluate(logged(frame, 1), {"new": DeterministicAction(lambda s: s)}, ["tis"])


def test_the_report_says_what_was_chosen(tmp_path):
    frame, target = continuous(9, 2000, 1)
    policies = {"new": cf.PolicyColumns(action=target, kernel=Kernel()), "b": "propensity"}
    evaluation = cf.evaluate(logged(frame, 1), policies, ["sntis"])
    evaluation.to_parquet(tmp_path / "saved.parquet")
    again = cf.Evaluation.from_parquet(tmp_path / "saved.parquet")
    assert again.settings["bandwidths"] == evaluation.settings["bandwidths"]
    evaluation.to_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "(SLOPE, from 11)" in text
    assert "no interval knows its bias" in text


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("bounds", [None, (-5.0, 5.0)])
def test_densities_have_the_same_bits_for_any_number_of_threads(d, bounds):
    """Rows are cut into blocks, the last of which is not full."""
    rng = np.random.default_rng(d)
    actions, chosen = rng.uniform(-5, 5, (2, 60_001, d))
    kernel = Kernel(bandwidth=0.7, action_bounds=bounds)
    few = [slice(i, i + 1_000) for i in range(0, len(actions), 1_000)]
    wanted = np.concatenate([kernel.density(actions[rows], chosen[rows]) for rows in few])
    assert len(np.unique(wanted)) > 59_000
    for threads in (1, 2, 3, 8):
        found = kernel.density(actions, chosen, threads)
        assert found.tobytes() == wanted.tobytes(), threads


def test_bandwidths_and_estimates_have_the_same_bits_for_any_number_of_threads():
    frame, _ = continuous(9, 60_000, 1)
    policies = {"new": cf.PolicyColumns(action=np.zeros(60_000), kernel=Kernel())}
    one, many = (
        cf.evaluate(logged(frame, 1), policies, ["sntis"], num_threads=threads)
        for threads in (1, 4)
    )
    assert one.settings["bandwidths"] == many.settings["bandwidths"]
    assert one.estimates.equals(many.estimates)
