"""Normal distributions squashed by tanh: against quadrature, far out and beside the bounds."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
import pytest
from counterfolio.policies import ContinuousPolicy, DiscretePolicy, Gaussian, SquashedGaussian
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

ARGUMENT, POLICY = cf.InvalidArgumentError, cf.InvalidPolicyError
LOW, HIGH = np.array([-1.0, 10.0]), np.array([3.0, 10.5])


def constant(*means):
    return lambda states: np.tile(np.array(means), (len(states), 1))


def one(mean, std, low=-1.0, high=1.0):
    return SquashedGaussian(constant(mean), std, low, high)


def place(z, low, high):
    """The action of a number before squashing."""
    return low + (high - low) * special.expit(2 * np.asarray(z))


@pytest.mark.parametrize("mean", [0.0, -0.8, 2.0])
@pytest.mark.parametrize("std", [0.05, 0.7, 3.0])
@pytest.mark.parametrize(("low", "high"), [(-1, 1), (-2, 2), (0.25, 7)])
def test_density_is_the_change_of_variables(mean, std, low, high):
    policy = one(mean, std, low, high)
    z = np.linspace(max(mean - 6 * std, -12), min(mean + 6 * std, 12), 4001)
    actions = place(z, low, high)
    density = policy.density(np.zeros((len(z), 1)), actions)
    slope = (high - low) * special.expit(2 * z) * special.expit(-2 * z) * 2
    within = np.abs(z) < 6
    wanted = stats.norm.pdf(z, mean, std) / slope
    assert density[within] == pytest.approx(wanted[within], rel=1e-8)
    # Integrated over z, where nothing is steep: all that lies between the ends.
    total = integrate.simpson(density * slope, x=z)
    share = np.diff(stats.norm.cdf(z[[0, -1]], mean, std))[0]
    assert total == pytest.approx(share, abs=1e-7)


@given(
    mean=st.floats(-12, 12),
    std=st.floats(0.01, np.exp(2.0)),  # the widest that soft actor-critic allows
)
def test_mean_is_the_integral(mean, std):
    nodes, weights = np.polynomial.legendre.leggauss(20)
    edges = np.unique(np.concatenate([np.linspace(-9, 9, 400), [-mean / std]]))
    edges = edges[(edges >= -9) & (edges <= 9)]
    half = np.diff(edges)[:, None] / 2
    x = (edges[:-1] + edges[1:])[:, None] / 2 + half * nodes
    wanted = (half * weights * np.tanh(mean + std * x) * stats.norm.pdf(x)).sum()
    assert one(mean, std).mean(np.zeros((1, 1)))[0, 0] == pytest.approx(wanted, abs=1e-10)
    assert one(mean, std, 1, 5).mean(np.zeros((2, 1)))[1, 0] == pytest.approx(
        3 + 2 * wanted, abs=1e-9
    )


def test_draws_and_mean_agree_and_follow_the_density():
    policy = SquashedGaussian(constant(0.4, -1.0), constant(0.8, 0.3), LOW, HIGH)
    assert isinstance(policy, ContinuousPolicy)
    assert not isinstance(policy, DiscretePolicy)
    drawn = policy.sample(np.zeros((20_000, 3)), np.random.default_rng(0))
    assert drawn.shape == (20_000, 2)
    for k, (mean, std) in enumerate([(0.4, 0.8), (-1.0, 0.3)]):
        z = special.logit((drawn[:, k] - LOW[k]) / (HIGH[k] - LOW[k])) / 2
        assert stats.kstest(z, "norm", (mean, std)).pvalue > 1e-3
    error = drawn.std(axis=0) / np.sqrt(len(drawn))
    expected = policy.mean(np.zeros((1, 3)))[0]
    assert (np.abs(drawn.mean(axis=0) - expected) < 4 * error).all()


def test_dimensions_are_independent():
    policy = SquashedGaussian(constant(0.4, -1.0), [0.8, 0.3], LOW, HIGH)
    actions = np.array([[0.0, 10.1], [2.5, 10.4]])
    parts = [
        one(m, s, LOW[k], HIGH[k]).density(np.zeros((2, 1)), actions[:, k])
        for k, (m, s) in enumerate([(0.4, 0.8), (-1.0, 0.3)])
    ]
    joint = policy.density(np.zeros((2, 1)), actions)
    assert joint == pytest.approx(parts[0] * parts[1], rel=1e-12)
    assert np.array_equal(joint, policy.prob(np.zeros((2, 1)), actions))


def test_weights_are_those_before_squashing():
    """What squashing adds is the same for two policies, and cancels in their ratio."""
    z = np.random.default_rng(0).normal(size=(50, 1))
    states = np.zeros((50, 1))
    ratio = one(0.3, 0.7, -2, 2).density(states, place(z, -2, 2))
    ratio = ratio / one(-0.2, 1.1, -2, 2).density(states, place(z, -2, 2))
    before = Gaussian(constant(0.3), 0.7).density(states, z)
    before = before / Gaussian(constant(-0.2), 1.1).density(states, z)
    assert ratio == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize("mean", [-400.0, -25.0, 15.0, 25.0, 400.0])
def test_far_out_draws_stay_within_and_have_a_density(mean):
    for low, high in ((-1.0, 1.0), (-2.0, 0.0), (0.0, 3.0)):
        policy = one(mean, 0.5, low, high)
        states = np.zeros((1000, 1))
        drawn = policy.sample(states, np.random.default_rng(1))
        assert ((drawn > low) & (drawn < high)).all()
        assert np.isfinite(policy.density(states, drawn)).all()
        assert low <= policy.mean(states)[0, 0] <= high
        assert policy.mean(states)[0, 0] == pytest.approx(high if mean > 0 else low, abs=1e-9)


@pytest.mark.parametrize("mean", [6.0, -6.0])
def test_beside_a_bound_no_digit_is_lost(mean):
    """At the bound that is 0, whose neighbourhood floating point resolves."""
    low, high = (-3.0, 0.0) if mean > 0 else (0.0, 3.0)
    z = np.sign(mean) * np.linspace(5, 60, 12)
    near = 3 * special.expit(-2 * np.abs(z))
    density = one(mean, 20.0, low, high).density(np.zeros((12, 1)), -near if mean > 0 else near)
    slope = 3 * special.expit(2 * z) * special.expit(-2 * z) * 2
    assert density == pytest.approx(stats.norm.pdf(z, mean, 20.0) / slope, rel=1e-12)


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (-0.4, 0.4), (10.0, 10.5), (-3.0, 0.0)])
def test_an_action_at_a_bound_is_the_last_within(low, high):
    """Networks round in single precision: what they execute is often the bound itself."""
    policy = one(9.0, 1.0, low, high)
    step = (high - low) / 2 * 2.0**-23
    states = np.zeros((4, 1))
    inside, outside = high - step, high + 0.01 * (high - low)
    single = np.float64(np.float32(high))
    found = policy.density(states, [high, single, outside, low - (high - low)])
    assert found[0] > 0
    assert found[0] == pytest.approx(policy.density(states[:1], [inside])[0], rel=1e-4)
    assert found[1] > 0
    assert found[2:].tolist() == [0, 0]
    mirrored = one(-9.0, 1.0, low, high).density(states[:1], [low])
    assert mirrored == pytest.approx(found[:1], rel=1e-9)


def test_out_of_the_range_in_one_dimension_is_out():
    policy = SquashedGaussian(constant(0.0, 0.0), 1.0, LOW, HIGH)
    actions = [[0.0, 10.2], [0.0, 9.0], [4.0, 10.2]]
    found = policy.density(np.zeros((3, 1)), actions)
    assert found[0] > 0
    assert found[1:].tolist() == [0, 0]


def test_no_rows():
    policy = one(0.0, lambda s: np.ones((len(s), 1)))
    assert policy.mean(np.zeros((0, 1))).shape == (0, 1)
    assert policy.sample(np.zeros((0, 1)), np.random.default_rng(0)).shape == (0, 1)


def test_what_is_refused():
    base = constant(0.0)
    for arguments, message in (
        ((1, 0.5), "base must be a callable"),
        ((base, 0.0), "std must be finite and above 0"),
        ((base, 0.5, 1.0, 1.0), "low must be below high in each dimension, not 1.0 and 1.0"),
        ((base, 0.5, [0.0, 0.0], [1.0, 1.0, 1.0]), "low must be below high in each dimension"),
        ((base, 0.5, -np.inf, 1.0), "low and high must be finite, not -inf and 1.0"),
    ):
        with pytest.raises(ARGUMENT, match=message):
            SquashedGaussian(*arguments)
    with pytest.raises(POLICY, match="SquashedGaussian: low has 2 numbers, but actions have 1"):
        SquashedGaussian(base, 0.5, [0.0, 0.0], 1.0).mean(np.zeros((1, 1)))
    with pytest.raises(POLICY, match="SquashedGaussian: actions are float64 of shape"):
        one(0.0, 0.5).density(np.zeros((1, 1)), [[0.0, 0.0]])
    with pytest.raises(POLICY, match=r"std\(states\): 1 of 1 rows are not above 0"):
        one(0.0, lambda s: -np.ones((len(s), 1))).mean(np.zeros((1, 1)))
