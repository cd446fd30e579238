"""`FittedQ`, actions over a continuum, and what models of Q refuse."""

from __future__ import annotations

import re

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.models import FittedQ, LinearQ
from counterfolio.policies import DeterministicAction, Gaussian, Softmax
from model_logs import BEHAVIOR, MDP, TARGET, last_rows, sampled, take
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.tree import DecisionTreeRegressor

ARGUMENT, LOG, POLICY = cf.InvalidArgumentError, cf.InvalidLogError, cf.InvalidPolicyError


def tree():
    return DecisionTreeRegressor(min_samples_leaf=10, random_state=0)


def off_by(fit, columns, gamma):
    tables = MDP.q_tables(TARGET, gamma)
    exact = tables[columns["timestep"], columns["state"], columns["action"]]
    return np.sqrt(np.mean((fit.q[0] - exact) ** 2))


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("text", [False, True])
def test_trees_backward_by_step_find_q(gamma, text):
    log, columns, _ = sampled(8000, seed=1)
    policies = {"pi": TARGET[columns["state"]]}
    if text:
        named = {**columns, "state": pl.Series([f"ward {s}" for s in columns["state"]])}
        log = take(named, truncated="truncated")
    fit = FittedQ(tree()).fit(log, policies, gamma=gamma)
    assert len(fit._fits[0].models[0][0]) == MDP.horizon
    assert off_by(fit, columns, gamma) < 0.07
    assert fit.table["value"][0] == pytest.approx(MDP.value(TARGET, gamma), abs=0.05)
    assert fit.table["standard_error"][0] is None
    assert fit.settings["model"] == "FittedQ(DecisionTreeRegressor)"


def test_trees_iterated_find_q():
    _, columns, _ = sampled(8000, seed=1)
    log = take(columns, state=["timestep", "state"], terminated="terminated", truncated="truncated")
    model = FittedQ(tree(), step=False)
    fit = model.fit(log, {"pi": TARGET[columns["state"]]}, gamma=0.9)
    assert len(fit._fits[0].models[0][0]) == 1
    assert off_by(fit, columns, 0.9) < 0.07
    short = FittedQ(tree(), step=False, most_iterations=1)
    once = short.fit(log, {"pi": TARGET[columns["state"]]}, gamma=0.9)
    rewards = MDP.reward[columns["state"], columns["action"]]
    assert np.sqrt(np.mean((once.q[0] - rewards) ** 2)) < 0.07


def test_a_cross_fitted_tree_sees_no_rewards_of_its_own_fold():
    log, columns, _ = sampled(600)
    policies = {"pi": TARGET[columns["state"]]}
    how = {"gamma": 0.9, "cross_fit": 2, "seed": 1}
    before = FittedQ(tree()).fit(log, policies, **how)
    fold = before._t[0].fold
    reward = columns["reward"] + np.where(fold == 0, 50.0, 0.0)
    after = FittedQ(tree()).fit(
        take({**columns, "reward": reward}, truncated="truncated"), policies, **how
    )
    np.testing.assert_array_equal(before.q[0][fold == 0], after.q[0][fold == 0])
    assert (after.q[0] > before.q[0] + 10)[fold == 1].all()


def clicks(n=3000):
    rng = np.random.default_rng(0)
    x, action = rng.normal(size=(n, 1)), rng.integers(0, 3, n)
    chance = 1 / (1 + np.exp(-(x[:, 0] + action - 1)))
    columns = {
        "x": x,
        "action": action,
        "reward": (rng.random(n) < chance).astype(float),
        "propensity": np.full(n, 1 / 3),
    }
    return columns, rng.dirichlet([1, 1, 1], n)


def test_a_classifier_models_clicks():
    columns, probs = clicks()
    log = cf.LoggedData.from_frame(columns, state="x")
    fit = FittedQ(LogisticRegression()).fit(log, {"pi": probs})
    inputs = np.column_stack([columns["x"], np.eye(3)[columns["action"]]])
    model = LogisticRegression().fit(inputs, columns["reward"])
    np.testing.assert_allclose(fit.q[0], model.predict_proba(inputs)[:, 1], atol=1e-9)
    for a in range(3):
        each = np.column_stack([columns["x"], np.broadcast_to(np.eye(3)[a], (len(probs), 3))])
        np.testing.assert_allclose(
            fit.values("pi")[:, a], model.predict_proba(each)[:, 1], atol=1e-9
        )
    np.testing.assert_allclose(fit.v[0], (fit.values("pi") * probs).sum(axis=1), atol=1e-12)


def test_a_classifier_is_refused_where_rewards_are_no_clicks():
    columns, probs = clicks(100)
    graded = cf.LoggedData.from_frame({**columns, "reward": columns["reward"] + 0.5}, state="x")
    log, of_log, _ = sampled(50)
    for own, policy in ((graded, probs), (log, TARGET[of_log["state"]])):
        with pytest.raises(ARGUMENT, match="LogisticRegression is a classifier"):
            FittedQ(LogisticRegression()).fit(own, {"pi": policy})


# Actions over a continuum.

K, C, SPREAD = 0.4, 0.3, 0.5


def toward(states):
    return K * states[:, 0] + C


def bandit(n=4000, seed=0):
    """r = 1 + s a - a^2 / 2 + noise; the logger draws a from N(s / 2, 1)."""
    rng = np.random.default_rng(seed)
    s = rng.normal(size=n)
    a = 0.5 * s + rng.normal(size=n)
    reward = 1 + s * a - a**2 / 2 + 0.3 * rng.normal(size=n)
    density = np.exp(-((a - 0.5 * s) ** 2) / 2) / np.sqrt(2 * np.pi)
    columns = {"s": s, "action": a, "reward": reward, "propensity": density}
    return cf.LoggedData.from_frame(columns, state="s", action_type="continuous"), columns


def walk(n=1500, seed=0):
    """Three steps of s' = (s + a) / 2 + noise with r = s + a + noise: Q_t is linear."""
    rng = np.random.default_rng(seed)
    s, parts = 1 + rng.normal(size=n), []
    for t in range(3):
        a = 0.2 * s + rng.normal(size=n)
        density = np.exp(-((a - 0.2 * s) ** 2) / 2) / np.sqrt(2 * np.pi)
        reward = s + a + 0.1 * rng.normal(size=n)
        parts.append((np.arange(n), np.full(n, t), s, a, reward, density))
        s = 0.5 * (s + a) + 0.3 * rng.normal(size=n)
    names = ("episode_id", "t", "s", "action", "reward", "propensity")
    by_name = zip(names, zip(*parts, strict=True), strict=True)
    stacked = {name: np.stack(each, axis=1).ravel() for name, each in by_name}
    t = stacked["t"]
    return {
        **stacked,
        "second": (t == 1) * 1.0,
        "third": (t == 2) * 1.0,
        "end": last_rows(np.full(n, 3)),
    }


def walk_q(columns, gamma):
    """Q_t = slope_t (s + a) + level_t by backward recursion, and the value from s_0 ~ N(1, 1)."""
    slope, level = np.zeros(4), np.zeros(4)
    for t in (2, 1, 0):
        slope[t] = 1 + gamma * slope[t + 1] * (1 + K) / 2
        level[t] = gamma * (slope[t + 1] * C + level[t + 1])
    t = columns["t"]
    q = slope[t] * (columns["s"] + columns["action"]) + level[t]
    return q, slope[0] * (1 + K + C) + level[0]


def test_a_polynomial_finds_the_value_of_a_gaussian_bandit():
    log, columns = bandit()
    policies = {"pi": Gaussian(toward, SPREAD), "mean": DeterministicAction(toward)}
    fit = LinearQ("polynomial").fit(log, policies)
    s, a = columns["s"], columns["action"]
    np.testing.assert_allclose(fit.q[0], 1 + s * a - a**2 / 2, atol=0.1)
    # E[s a] = K; E[a^2] = K^2 + C^2, and the variance of the draw.
    at_mean = 1 + K - (K**2 + C**2) / 2
    for i, truth in enumerate((at_mean - SPREAD**2 / 2, at_mean)):
        row = fit.table.row(i, named=True)
        assert abs(row["value"] - truth) < 3 * row["standard_error"]
    mean = K * s + C
    np.testing.assert_allclose(fit.v[1], 1 + s * mean - mean**2 / 2, atol=0.1)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_a_polynomial_finds_the_q_of_three_steps(gamma):
    columns = walk()
    log = take(columns, state=["s", "second", "third"], terminated="end", action_type="continuous")
    fit = LinearQ("polynomial").fit(log, {"pi": Gaussian(toward, SPREAD)}, gamma=gamma)
    q, value = walk_q(columns, gamma)
    assert np.sqrt(np.mean((fit.q[0] - q) ** 2)) < 0.05
    row = fit.table.row(0, named=True)
    assert abs(row["value"] - value) < 3 * row["standard_error"]


def test_a_regression_to_each_step_finds_the_q_of_three_steps():
    columns = walk()
    log = take(columns, state="s", truncated="end", action_type="continuous")
    model = FittedQ(Ridge(alpha=1e-6))
    fit = model.fit(log, {"pi": Gaussian(toward, SPREAD)}, gamma=0.9)
    q, value = walk_q(columns, 0.9)
    assert np.sqrt(np.mean((fit.q[0] - q) ** 2)) < 0.05
    assert fit.table["value"][0] == pytest.approx(value, abs=0.1)


# What is refused.

MODELS = {
    "no state": (LinearQ(), {"log": {"state": None}}, LOG, "the log names no state column"),
    "no log": (LinearQ(), {"whole": 3}, ARGUMENT, "fit takes a LoggedData, not a int"),
    "gamma": (LinearQ(), {"gamma": 0}, ARGUMENT, "gamma must be in (0, 1], not 0"),
    "no end": (
        LinearQ(horizon="continue"),
        {"gamma": 1.0},
        ARGUMENT,
        'horizon="continue" needs gamma below 1',
    ),
    "horizon": (LinearQ(horizon="ever"), {}, ARGUMENT, "unknown horizon 'ever'"),
    "folds": (
        LinearQ(),
        {"cross_fit": 51},
        ARGUMENT,
        "cross_fit must be None or a whole number from 2 to 50, the number of episodes, not 51",
    ),
    "one fold": (LinearQ(), {"cross_fit": 1}, ARGUMENT, "cross_fit must be None or"),
    "repeats": (LinearQ(), {"n_repeats": 0}, ARGUMENT, "n_repeats must be a whole number"),
    "seed": (LinearQ(), {"seed": -1}, ARGUMENT, "seed must be a whole number from 0"),
    "ridge": (LinearQ(ridge=-1), {}, ARGUMENT, "ridge must be a number of 0 or more, not -1"),
    "features": (LinearQ("onehot"), {}, ARGUMENT, 'did you mean "one_hot"'),
    "no features": (LinearQ(3), {}, ARGUMENT, "features must be one of auto, one_hot"),
    "unseen": (LinearQ(unseen="no"), {}, ARGUMENT, "unknown unseen 'no'"),
    "step": (LinearQ(step=2), {}, ARGUMENT, "step must be True, False or None, not 2"),
    "threads": (LinearQ(), {"num_threads": 0}, ARGUMENT, "num_threads must be a whole number"),
    "prob": (LinearQ(), {"pi": "propensity"}, POLICY, 'policy "pi": a model has to know'),
    "ill": (
        LinearQ(lambda x: np.column_stack([x, x]), ridge=0.0),
        {},
        ARGUMENT,
        "the normal equations have a condition number of",
    ),
    "short": (LinearQ(lambda x: x[:2]), {}, ARGUMENT, "a row of numbers is wanted for each"),
    "NaN": (LinearQ(lambda x: x * np.nan), {}, ARGUMENT, "NaN or infinite for some rows"),
    "regressor": (FittedQ(3), {}, ARGUMENT, "regressor must have fit and predict"),
    "iterations": (
        FittedQ(LinearRegression(), most_iterations=0),
        {},
        ARGUMENT,
        "most_iterations must be a whole number of 1 or more, not 0",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_refused(name):
    model, given, error, text = MODELS[name]
    given = dict(given)
    _, columns, _ = sampled(50)
    log = given.pop("whole", None) or take(
        columns, **{"truncated": "truncated", **given.pop("log", {})}
    )
    policies = {"pi": given.pop("pi", TARGET[columns["state"]])}
    with pytest.raises(error, match=re.escape(text)):
        model.fit(log, policies, **given)


def test_states_that_models_cannot_read():
    _, columns, _ = sampled(50)
    policies = {"pi": TARGET[columns["state"]]}
    whole = columns["state"].astype(float)
    whole[7] = np.inf
    with pytest.raises(LOG, match="a state holds an infinite number, first at row 7"):
        LinearQ("linear").fit(take({**columns, "state": whole}), policies)
    missing = pl.Series([None if i == 7 else int(s) for i, s in enumerate(columns["state"])])
    for kind in ("one_hot", "linear"):
        with pytest.raises(LOG, match=r'column "state": 1 of .* first at row 7'):
            LinearQ(kind).fit(take({**columns, "state": missing}), policies)
    days = take({**columns, "state": pl.Series(columns["state"]).cast(pl.Int32).cast(pl.Date)})
    with pytest.raises(LOG, match='column "state" holds Date, of which models know no features'):
        LinearQ("linear").fit(days, policies)


def test_a_table_holds_so_many_states():
    n = 6000
    columns = {"state": np.arange(n), "action": np.arange(n) % 2, "reward": np.ones(n)}
    log = take({**columns, "propensity": np.full(n, 0.5)}, episode_id=None)
    with pytest.raises(ARGUMENT, match="6,000 different states, more than the 5,000"):
        LinearQ("one_hot").fit(log, {"pi": np.full((n, 2), 0.5)})


def test_actions_over_a_continuum_have_no_table():
    log, _ = bandit(100)
    policies = {"pi": Gaussian(toward, SPREAD)}
    with pytest.raises(ARGUMENT, match=r'features="one_hot" is a table of .* a continuum here'):
        LinearQ("one_hot").fit(log, policies)
    with pytest.raises(ARGUMENT, match="actions are a continuum: there is no Q of all"):
        LinearQ().fit(log, policies).values("pi")
    with pytest.raises(POLICY, match=r"or an object with mean\(states\) and sample"):
        LinearQ().fit(log, {"pi": np.full(100, 0.5)})


def test_what_a_fit_cannot_say():
    log, columns, _ = sampled(50)
    policies = {"pi": TARGET[columns["state"]]}
    table = LinearQ("one_hot").fit(log, policies)
    with pytest.raises(ARGUMENT, match='no policy "po" here; there are pi'):
        table.values("po")
    folds = LinearQ("linear").fit(log, policies, cross_fit=2)
    for fit in (table, folds, FittedQ(tree()).fit(log, policies)):
        with pytest.raises(ARGUMENT, match="coefficients have a covariance where one linear"):
            fit.covariance("pi")


def test_policies_as_objects_and_as_columns_of_actions():
    _, columns, _ = sampled(300)
    log = take({**columns, "new": 1 - columns["action"]}, truncated="truncated")
    scores = np.log(TARGET)
    policies = {
        "object": Softmax(lambda states: scores[states[:, 0].astype(int)]),
        "array": TARGET[columns["state"]],
        "column": cf.PolicyColumns(action="new"),
        "eye": np.eye(2)[1 - columns["action"]],
    }
    fit = LinearQ("linear").fit(log, policies, gamma=0.9)
    np.testing.assert_allclose(fit.q[0], fit.q[1], atol=1e-9)
    np.testing.assert_allclose(fit.q[2], fit.q[3], atol=1e-9)


def test_a_policy_that_looks_at_more_than_the_state_is_told():
    log, columns, _ = sampled(300)
    probs = np.random.default_rng(0).dirichlet([1, 1], log.n_rows)
    policies = {"b": BEHAVIOR[columns["state"]], "more": probs}
    (note,) = LinearQ("one_hot").fit(log, policies).notes
    assert note.startswith('policy "more" differs between rows of the same state')
