"""Policies over numbers: densities, means, draws, and what they refuse."""

from __future__ import annotations

import itertools
import pickle
import warnings

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.policies import (
    ContinuousPolicy,
    DeterministicAction,
    DiscretePolicy,
    Gaussian,
    Mixture,
    TruncatedGaussian,
    Uniform,
)
from counterfolio.policies.normal import Truncated, mills
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

N = 60
STATES = np.random.default_rng(5).normal(size=(N, 2))
POLICY, ARGUMENT = cf.InvalidPolicyError, cf.InvalidArgumentError


def line(states):
    return states @ np.array([1.0, -0.5])


def plane(states):
    return states @ np.array([[1.0, -0.5], [0.25, 2.0]])


def spread(states):
    return 0.5 + np.abs(states)


def one_dimension():
    yield Gaussian(line, 0.7)
    yield TruncatedGaussian(line, 0.7, -1.0, 1.5)
    yield Mixture([Gaussian(line, 0.3), TruncatedGaussian(line, 2.0, -1.0, 1.0)], [0.3, 0.7])


def two_dimensions():
    yield Gaussian(plane, spread)
    yield Gaussian(plane, [0.5, 1.5])
    yield TruncatedGaussian(plane, spread, [-1.0, -2.0], [1.0, 0.5])


def ids(policies):
    return [f"{i}-{type(p).__name__}" for i, p in enumerate(policies)]


ONE, TWO = list(one_dimension()), list(two_dimensions())
one = pytest.mark.parametrize("policy", ONE, ids=ids(ONE))
two = pytest.mark.parametrize("policy", TWO, ids=ids(TWO))
both = pytest.mark.parametrize("policy", ONE + TWO, ids=ids(ONE + TWO))


def grid(policy, low, high, panels):
    """Nodes and weights between bounds; a step at a policy's own bounds stands between panels."""
    ends = set(np.linspace(low, high, panels + 1).tolist())
    for part in getattr(policy, "policies", [policy]):
        if isinstance(part, TruncatedGaussian):
            ends |= set(np.ravel([part.low, part.high]).tolist())
    x, w = np.polynomial.legendre.leggauss(16)
    pairs = list(itertools.pairwise(sorted(ends)))
    nodes = np.concatenate([(a + b) / 2 + (b - a) / 2 * x for a, b in pairs])
    return nodes, np.concatenate([(b - a) / 2 * w for a, b in pairs])


@one
def test_density_integrates_to_one_and_gives_the_mean(policy):
    for state in STATES[:5]:
        x, w = grid(policy, -15.0, 15.0, 60)
        density = policy.density(np.tile(state, (len(x), 1)), x)
        assert (density * w).sum() == pytest.approx(1, abs=1e-10)
        assert (density * w * x).sum() == pytest.approx(policy.mean(state[None])[0, 0], abs=1e-10)
        assert np.array_equal(density, policy.prob(np.tile(state, (len(x), 1)), x[:, None]))


@two
def test_joint_density_integrates_to_one(policy):
    for state in STATES[:3]:
        x, w = grid(policy, -20.0, 20.0, 24)
        a, b = (m.ravel() for m in np.meshgrid(x, x))
        actions = np.column_stack([a, b])
        density = policy.density(np.tile(state, (len(a), 1)), actions)
        mass = density * np.outer(w, w).ravel()
        assert mass.sum() == pytest.approx(1, abs=1e-8)
        assert mass @ actions == pytest.approx(policy.mean(state[None])[0], abs=1e-7)


@both
def test_draws_follow_the_density(policy):
    rng = np.random.default_rng(2)
    assert isinstance(policy, ContinuousPolicy)
    assert not isinstance(policy, DiscretePolicy)
    for state in STATES[:3]:
        drawn = policy.sample(np.tile(state, (4000, 1)), rng)
        mean = policy.mean(state[None])[0]
        assert drawn.shape == (4000, len(mean))
        for k in range(len(mean)):
            x = np.linspace(-20, 20, 20001)
            if len(mean) == 1:
                density = policy.density(np.tile(state, (len(x), 1)), x)
            else:  # dimensions are independent: a section is proportional to the margin
                actions = np.tile(mean, (len(x), 1))
                actions[:, k] = x
                density = policy.density(np.tile(state, (len(x), 1)), actions)
            cdf = integrate.cumulative_trapezoid(density, x, initial=0)
            found = stats.kstest(drawn[:, k], lambda v, x=x, c=cdf: np.interp(v, x, c / c[-1]))
            assert found.pvalue > 1e-4


def test_gaussian_is_scipys():
    actions = np.random.default_rng(0).normal(size=(N, 2)) * 3
    for std, scale in ((spread, spread(STATES)), ([0.5, 1.5], [0.5, 1.5]), (2.0, 2.0)):
        wanted = stats.norm(plane(STATES), scale).pdf(actions).prod(axis=1)
        assert Gaussian(plane, std).density(STATES, actions) == pytest.approx(wanted, rel=1e-12)


def test_truncated_gaussian_is_scipys():
    """Also with means far out of the range, and bounds that are close or infinite."""
    rng = np.random.default_rng(1)
    n = 4000
    mean = rng.normal(size=n) * rng.choice([0.1, 1, 10], n)
    std = np.exp(rng.normal(size=n))
    low = rng.normal(size=n) - 1
    high = low + np.exp(rng.normal(size=n))
    low[:300], high[200:500] = -np.inf, np.inf
    actions = rng.uniform(np.maximum(low, -9), np.minimum(high, 9))
    wanted = stats.truncnorm((low - mean) / std, (high - mean) / std, mean, std)
    found = Truncated(mean, std, low, high)
    logs = found.log_density(actions)
    near = np.maximum(found.a, 0) < 40
    assert near.sum() > 3900
    assert logs[near] == pytest.approx(wanted.logpdf(actions)[near], rel=1e-10, abs=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy's own, of higher moments
        some = np.flatnonzero(near)[::40]
        means = [
            stats.truncnorm.mean(
                (low - mean)[i] / std[i], (high - mean)[i] / std[i], mean[i], std[i]
            )
            for i in some
        ]
    assert found.expectation()[some] == pytest.approx(means, rel=1e-9, abs=1e-9)


def test_mills_ratio():
    x = np.concatenate([np.linspace(0, 50, 5001), np.geomspace(50, 1e150, 200)])
    wanted = special.erfcx(x / np.sqrt(2)) * np.sqrt(np.pi / 2)
    assert mills(x) == pytest.approx(wanted, rel=1e-14)


def test_a_mean_far_away():
    """A thousand deviations from the range the density is exponential at the near bound."""
    policy = TruncatedGaussian(lambda s: np.full(len(s), 1000.0), 1.0, -1.0, 1.0)
    x = np.array([1.0, 0.999, 0.99])
    wanted = 999 * np.exp(-999 * (1 - x))
    assert policy.density(np.zeros((3, 1)), x) == pytest.approx(wanted, rel=1e-4)
    assert policy.mean(np.zeros((1, 1)))[0, 0] == pytest.approx(1 - 1 / 999, abs=1e-8)
    drawn = policy.sample(np.zeros((2000, 1)), np.random.default_rng(0))
    assert stats.kstest((1 - drawn[:, 0]) * 999, "expon").pvalue > 1e-4


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e6),
    st.floats(-100, 100),
    st.floats(1e-6, 100),
    st.floats(0, 1),
)
def test_truncated_density_in_all_places(mean, std, low, width, where):
    policy = TruncatedGaussian(lambda s: np.full(len(s), mean), std, low, low + width)
    x = np.clip(low + where * width, low, low + width)
    states = np.zeros((3, 1))
    found = policy.density(states, [x, low - 1e-3, low + width + 1e-3])
    assert np.isfinite(found).all()
    assert np.array_equal(found[1:], [0, 0])
    drawn = policy.sample(states, np.random.default_rng(0))
    for value in (*drawn[:, 0], policy.mean(states)[0, 0]):
        assert low <= value <= low + width
    mirrored = TruncatedGaussian(lambda s: np.full(len(s), -mean), std, -low - width, -low)
    assert mirrored.density(states[:1], [-x]) == pytest.approx(found[:1], rel=1e-9)
    assert mirrored.mean(states[:1]) == pytest.approx(-policy.mean(states[:1]), abs=1e-9)


def test_deterministic_action():
    policy = DeterministicAction(plane)
    assert isinstance(policy, ContinuousPolicy)
    assert np.array_equal(policy.mean(STATES), plane(STATES))
    assert np.array_equal(policy.sample(STATES, None), plane(STATES))
    assert DeterministicAction(line).mean(STATES).shape == (N, 1)
    for ask in (policy.density, policy.prob):
        with pytest.raises(POLICY, match=r"has no density, .* add noise with Gaussian"):
            ask(STATES, plane(STATES))


@both
def test_the_same_after_a_pickle(policy):
    again = pickle.loads(pickle.dumps(policy))
    actions = policy.mean(STATES) * 0.9
    assert np.array_equal(again.density(STATES, actions), policy.density(STATES, actions))


@both
def test_evaluate_asks_it(policy):
    """As arrays of two dimensions, of lists or of arrays, and as single numbers."""
    rng = np.random.default_rng(0)
    actions = policy.sample(STATES, rng)
    reward, propensity = rng.normal(size=N), rng.uniform(0.5, 2, N)
    density = policy.density(STATES, actions)
    forms = {
        "numpy": {"action": actions, "state": STATES},
        "arrays": {"action": pl.Series(actions), "state": pl.Series(STATES)},
        "lists": {"action": pl.Series(actions.tolist()), "state": pl.Series(STATES.tolist())},
        "pieces": {"action": np.asfortranarray(actions), "state": STATES[:, ::-1][:, ::-1]},
    }
    if actions.shape[1] == 1:
        forms["single"] = {"action": actions[:, 0], "state": STATES}
    for form, columns in forms.items():
        data = {**columns, "reward": reward, "propensity": propensity}
        source = data if form in ("numpy", "pieces", "single") else pl.DataFrame(data)
        log = cf.LoggedData.from_frame(source, state="state", action_type="continuous")
        values = cf.evaluate(log, {"object": policy, "prob": density}, estimators=["tis"]).values()
        assert values["object"] == values["prob"]
        assert log.report.actions is None
        again = pickle.loads(pickle.dumps(log))
        assert cf.evaluate(again, {"object": policy}, estimators=["tis"]).values()[
            "object"
        ] == pytest.approx(values["object"], rel=1e-12)


def test_whole_numbers_are_handed_over_as_floats():
    asked = []

    class Policy:
        def prob(self, states, actions):
            asked.append(actions)
            return np.ones(len(actions))

    data = {"reward": np.zeros(3), "propensity": np.ones(3), "state": np.eye(3)}
    for actions, shape in ((np.arange(3), (3,)), (np.arange(6).reshape(3, 2), (3, 2))):
        log = cf.LoggedData.from_frame(
            {**data, "action": actions}, state="state", action_type="continuous"
        )
        cf.evaluate(log, {"new": Policy()})
        assert asked[-1].dtype == np.float64
        assert asked[-1].shape == shape


def test_arrays_of_other_types():
    """Flags, halves and other byte orders are the same numbers."""
    data = {"action": np.eye(3), "reward": np.arange(3.0), "propensity": np.ones(3)}
    for kind in (bool, np.float16, ">f8", np.uint8):
        given = {**data, "state": np.eye(3).astype(kind)}
        log = cf.LoggedData.from_frame(given, state="state", action_type="continuous")
        assert np.array_equal(log.states.take(slice(0, 3)), np.eye(3))
    empty = {**data, "state": np.ones((3, 0))}
    with pytest.raises(cf.InvalidLogError, match=r'column "state" has shape \(3, 0\)'):
        cf.LoggedData.from_frame(empty, state="state", action_type="continuous")


def test_files_keep_vectors(tmp_path):
    policy = Gaussian(plane, 1.0)
    actions = policy.sample(STATES, np.random.default_rng(0))
    data = {"action": actions, "state": STATES, "reward": np.arange(N) / N}
    data["propensity"] = policy.density(STATES, actions)
    log = cf.LoggedData.from_frame(data, state="state", action_type="continuous")
    log.to_parquet(tmp_path / "log.parquet")
    again = cf.read_parquet(tmp_path / "log.parquet")
    for each in (log, again):
        evaluation = cf.evaluate(each, {"itself": policy}, estimators=["tis"])
        assert evaluation.values()["itself"] == evaluation.behavior_value


WRONG = {
    "NaN": (Gaussian(lambda s: line(s) / 0, 1.0), r"^Gaussian: 60 of 60 rows .* NaN or infinite"),
    "rows": (Gaussian(lambda s: line(s)[:3], 1.0), r"shape \(3,\) for 60 states; .*\(n, d\) or"),
    "cube": (Gaussian(lambda s: s[:, :, None], 1.0), r"shape \(60, 2, 1\) for 60 states"),
    "width": (Gaussian(line, 1.0), r"actions are float64 of shape \(60, 2\).*\(60, 1\); log every"),
    "std": (Gaussian(plane, [1.0, 1.0, 1.0]), "Gaussian: std has 3 numbers, but actions have 2"),
    "std 0": (Gaussian(plane, lambda s: s), r"std\(states\): \d+ of 60 rows are not above"),
    "std 3": (Gaussian(plane, lambda s: np.ones((60, 3))), r"returned shape \(60, 3\)"),
    "bounds": (TruncatedGaussian(plane, 1.0, [0, 0, 0], 1), "low has 3 numbers, but .* have 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers(case):
    policy, text = WRONG[case]
    with np.errstate(all="ignore"), pytest.raises(POLICY, match=text):
        policy.density(STATES, STATES)


MADE_WRONG = {
    "base": (lambda: Gaussian(1.0, 1.0), "Gaussian: base must be a callable"),
    "std": (lambda: Gaussian(line, 0.0), "std must be finite and above 0, not 0.0"),
    "text": (lambda: Gaussian(line, "1"), "std must be a number, or one for each .* not '1'"),
    "matrix": (lambda: Gaussian(line, np.ones((2, 2))), "std must be a number"),
    "bounds": (lambda: TruncatedGaussian(line, 1, 1, 1), "low must be below high .* not 1 and 1"),
    "lengths": (lambda: TruncatedGaussian(line, 1, [0, 0], [1] * 3), "low must be below high"),
    "NaN": (lambda: TruncatedGaussian(line, 1, np.nan, 1), "low must be a number"),
}


@pytest.mark.parametrize("case", MADE_WRONG)
def test_wrong_arguments(case):
    make, text = MADE_WRONG[case]
    with pytest.raises(ARGUMENT, match=text):
        make()


def vector_log(action, **roles):
    data = {"action": action, "reward": np.zeros(3), "propensity": np.ones(3), "s": np.eye(3)}
    return cf.LoggedData.from_frame(data, **{"state": "s", "action_type": "continuous", **roles})


def test_vectors_that_are_none():
    for action, roles, text in (
        (pl.Series([[1.0], [1.0, 2.0], [1.0]]), {}, r'"action" holds List.* the same number of'),
        (pl.Series([[1.0], [None], [np.nan]]), {}, 'column "action": lists hold null or NaN'),
        (pl.Series([["a"], ["b"], ["c"]]), {}, "give every action the same number of numbers"),
        (pl.Series([[1.0]] * 3), {"action_type": "discrete"}, "is no label; action_type="),
        (np.eye(3), {"action_type": "discrete"}, r'"action" has shape \(3, 3\)'),
        (np.eye(3), {"reward": "s"}, r'column "s"'),
    ):
        with pytest.raises(cf.InvalidLogError, match=text):
            vector_log(action, **roles)


def test_kinds_that_do_not_go_together():
    log = vector_log(np.arange(3.0))
    with pytest.raises(POLICY, match=r'"new" \(Uniform\) is discrete, but the log\'s actions'):
        cf.evaluate(log, {"new": Uniform(3)})
    discrete = vector_log(np.arange(3), action_type="discrete")
    with pytest.raises(
        POLICY, match=r'"new" \(Gaussian\) is continuous, but .* are discrete; pass'
    ):
        cf.evaluate(discrete, {"new": Gaussian(line, 1.0)})
    with pytest.raises(POLICY, match=r'^policy "new": DeterministicAction has no density'):
        cf.evaluate(log, {"new": DeterministicAction(lambda s: s[:, 0])})
