"""Estimated propensities: they recover the true ones, and no row rates itself."""

from __future__ import annotations

import pickle
import subprocess
import sys

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.models import PropensityModel
from counterfolio.models.folds import deal
from made_logs import draw, softmax
from mdp import add_policy, random_mdp, random_policy, simulate
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import PolynomialFeatures

MDP = random_mdp(3)
BEHAVIOR = random_policy(3, MDP)
ROLES = {"episode_id": "episode_id", "state": "state", "propensity": None}


def table_log(n=2000, seed=0, **roles):
    """A log of a decision process of four states, and its columns."""
    columns = simulate(MDP, BEHAVIOR, n, seed).columns
    return cf.LoggedData.from_frame(columns, **{**ROLES, **roles}), columns


def logit(n=4000, seed=0, spread=1.0):
    """Columns of a bandit log whose logger is a multinomial logit, and its probabilities."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    probs = softmax(spread * x @ np.array([[1.0, -0.5, 0.2], [0.3, 0.8, -1.0]]) + [0.0, 0.3, -0.3])
    action = draw(rng, probs)
    return {"x": x[:, 0], "y": x[:, 1], "action": action, "reward": action + x[:, 0]}, probs


def logit_log(frame, **roles):
    return cf.LoggedData.from_frame(frame, **{"state": ["x", "y"], "propensity": None, **roles})


COVARIANCE = np.array([[1.0, 0.6], [0.6, 0.5]])


def gaussian(n=3000, seed=0):
    """A continuous log: vectors around a linear mean."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    action = x @ np.array([[1.0, 0.0], [-0.5, 2.0]]) + 0.3
    action += rng.multivariate_normal([0, 0], COVARIANCE, n)
    return {"x": x[:, 0], "y": x[:, 1], "reward": action[:, 0]}, x, action


def gaussian_log(frame, action, **roles):
    if action.ndim == 2:
        action = pl.Series("action", action, dtype=pl.Array(pl.Float64, action.shape[1]))
    roles = {"state": ["x", "y"], "propensity": None, "action_type": "continuous", **roles}
    return cf.LoggedData.from_frame(pl.DataFrame({**frame, "action": action}), **roles)


def folds_of(log, n_folds=5, seed=0, repeat=0):
    return np.repeat(deal(log, n_folds, seed, repeat), log._episodes.lengths())


def frequencies(state, action, fold, k=3):
    """Frequencies by state in the other folds, with one row of the overall frequencies."""
    out = np.empty((len(state), k))
    for i in range(len(state)):
        others = fold != fold[i]
        here = others & (state == state[i])
        overall = np.array([(action[others] == a).mean() for a in range(k)])
        counts = np.array([(action[here] == a).sum() for a in range(k)])
        out[i] = (counts + overall) / (here.sum() + 1)
    return out


def sparse_log(rows=3_000, states=200, actions=10, seed=0, **roles):
    """A log of many states and actions, 1.5 rows to a pair of them, and its columns."""
    rng = np.random.default_rng(seed)
    state = rng.integers(states, size=rows)
    probs = rng.dirichlet(np.full(actions, 0.5), size=states)
    action = draw(rng, probs[state])
    columns = {"state": state, "action": action, "reward": rng.normal(size=rows) + (action == 3)}
    how = {"state": "state", "propensity": None, **roles}
    return cf.LoggedData.from_frame(columns, **how), columns, probs


# What they recover.


def test_a_table_recovers_the_true_propensities():
    log, columns = table_log(n=5000)
    found = PropensityModel().fit(log)
    assert found.features == "one_hot"
    true = columns["propensity"]
    rows = np.bincount(columns["state"])[columns["state"]] * 0.8
    z = (found.propensity - true) / np.sqrt(true * (1 - true) / rows)
    assert np.abs(z).max() < 5
    assert np.allclose(found.action_probs.sum(axis=1), 1)
    assert (found.action_probs[np.arange(len(true)), columns["action"]] == found.propensity).all()


def test_a_table_holds_the_frequencies_of_the_other_folds():
    log, columns = table_log(n=40)
    found = PropensityModel(features="one_hot").fit(log, cross_fit=5, seed=7)
    wanted = frequencies(columns["state"], columns["action"], folds_of(log, seed=7))
    np.testing.assert_allclose(found.action_probs, wanted, rtol=1e-12)


def test_without_folds_one_model_sees_all_rows():
    log, columns = table_log(n=40)
    found = PropensityModel(features="one_hot").fit(log, cross_fit=None)
    state, action = columns["state"], columns["action"]
    wanted = frequencies(np.tile(state, 2), np.tile(action, 2), np.repeat([0, 1], len(state)))
    np.testing.assert_allclose(found.action_probs, wanted[: len(state)], rtol=1e-12)
    assert found.cross_fit is None
    assert "fitted on all rows" in repr(found)


def test_the_default_recovers_a_multinomial_logit():
    errors = []
    for n in (2000, 32_000):
        frame, probs = logit(n)
        found = PropensityModel().fit(logit_log(frame))
        assert found.model == "multinomial logistic regression"
        errors.append(np.sqrt(((found.action_probs - probs) ** 2).mean()))
    # Sampling error: a quarter for sixteen times the rows.
    assert errors[0] < 0.04
    assert errors[1] < 0.4 * errors[0]


def test_text_and_action_labels():
    frame, probs = logit(6000)
    frame["action"] = np.array(["b", "a", "c"])[frame["action"]]
    frame["kind"] = np.array(["u", "v", "w"])[np.arange(6000) % 3]
    roles = {"state": ["x", "y", "kind"], "actions": ["b", "a", "c", "never"]}
    found = PropensityModel(features="linear").fit(logit_log(frame, **roles))
    assert np.abs(found.action_probs[:, :3] - probs).mean() < 0.02
    assert (found.action_probs[:, 3] == 0).all()
    assert found.summary()["n_actions"] == 3
    plain = PropensityModel(features="linear").fit(logit_log(frame, state=["x", "y", "kind"]))
    np.testing.assert_allclose(plain.propensity, found.propensity, rtol=1e-3)


@pytest.mark.parametrize("kind", ["uint8", "uint64", "float64"])
def test_numbers_of_any_type_name_actions(kind):
    _, columns = table_log(n=300)
    other = {**columns, "action": columns["action"].astype(kind)}
    for features in ("one_hot", "linear"):
        first, second = (
            PropensityModel(features=features).fit(cf.LoggedData.from_frame(x, **ROLES))
            for x in (columns, other)
        )
        assert (first.propensity == second.propensity).all()


def test_a_classifier_of_ones_own():
    frame, probs = logit(6000)
    model = RandomForestClassifier(n_estimators=30, min_samples_leaf=50)
    found = PropensityModel(model).fit(logit_log(frame))
    assert (found.model, found.features) == ("RandomForestClassifier", "linear")
    assert np.abs(found.action_probs - probs).mean() < 0.06
    assert not hasattr(model, "classes_")  # copies are fitted
    squares = PropensityModel(
        LogisticRegression(max_iter=500), features=PolynomialFeatures(2, include_bias=True)
    ).fit(logit_log(frame))
    assert squares.features == "PolynomialFeatures"
    assert np.abs(squares.action_probs - probs).mean() < 0.02


def test_a_classifier_without_names_for_its_classes():
    class Plain:
        def fit(self, x, y):
            self.share = np.bincount(y) / len(y)

        def predict_proba(self, x):
            return np.tile(self.share, (len(x), 1))

    frame, _ = logit(300)
    found = PropensityModel(Plain()).fit(logit_log(frame))
    fold = folds_of(logit_log(frame))
    share = (frame["action"][fold != fold[0]] == frame["action"][0]).mean()
    assert np.isclose(found.propensity[0], share)


@pytest.mark.parametrize("model", [PropensityModel(), PropensityModel(features="one_hot")])
def test_by_default_a_table_has_no_folds(model):
    log, _ = table_log(n=300)
    found, none = model.fit(log, n_repeats=3), model.fit(log, cross_fit=None)
    assert found.model == "frequencies by state"
    assert (found.cross_fit, found.n_repeats, found.guessed) == (None, 1, 0)
    assert (found.propensity == none.propensity).all()
    assert model.fit(log, cross_fit=4).cross_fit == 4
    few, _ = table_log(n=3)  # fewer episodes than the folds that other models have
    assert PropensityModel(features="one_hot").fit(few).cross_fit is None


def test_by_default_other_models_have_five():
    log = logit_log(logit(300)[0])
    found, five = PropensityModel().fit(log), PropensityModel().fit(log, cross_fit=5)
    assert found.cross_fit == 5
    assert (found.propensity == five.propensity).all()


# Estimates with them.


def test_estimates_with_them_are_unbiased():
    """The doubly robust one with Q off by a constant, and self-normalised weights."""
    policy = random_policy(8, MDP)
    truth = MDP.value(policy, 0.9)
    z, snips = [], []
    for seed in range(50):
        made = add_policy(simulate(MDP, BEHAVIOR, 600, seed), MDP, "new", policy, 0.9, error=0)
        columns = {**made.columns}
        columns["q_new"], columns["v_new"] = columns["q_new"] + 0.5, columns["v_new"] + 0.5
        log = cf.LoggedData.from_frame(columns, **ROLES)
        log = log.with_propensity(PropensityModel().fit(log))
        named = {"new": cf.PolicyColumns(prob="p_new", q="q_new", v="v_new")}
        found = cf.evaluate(log, named, ["dr", "sntis"], gamma=0.9)
        row = found.rows("dr").row(0, named=True)
        z.append((row["value"] - truth) / row["standard_error"])
        row = found.rows("sntis").row(0, named=True)
        snips.append((row["value"] - truth) / row["standard_error"])
    assert abs(np.mean(z)) < 3 / np.sqrt(50)
    assert abs(np.mean(snips)) < 0.6
    assert max(map(abs, z + snips)) < 4.5


# Cross-fitting.


@pytest.mark.parametrize(
    "model",
    [
        PropensityModel(features="one_hot"),
        PropensityModel(),
        PropensityModel(GaussianNB()),
    ],
    ids=["table", "logit", "own"],
)
def test_no_row_rates_itself(model):
    frame, _ = logit(500)
    if model.features == "one_hot":
        frame["x"], frame["y"] = (frame[n].round() for n in "xy")
    log = logit_log(frame)
    own = folds_of(log) == 2
    other = {**frame, "action": np.where(own, (frame["action"] + 1) % 3, frame["action"])}
    before, after = (model.fit(x, cross_fit=5).action_probs for x in (log, logit_log(other)))
    assert (before[own] == after[own]).all()
    assert (before[~own] != after[~own]).any(axis=1).all()


@pytest.mark.parametrize("regressor", [None, Ridge()])
def test_no_row_rates_itself_where_actions_are_continuous(regressor):
    """A row's density changes with its own action alone, not with others of its fold."""
    frame, _, action = gaussian(400)
    log = gaussian_log(frame, action)
    own = np.flatnonzero(folds_of(log) == 2)
    other = action.copy()
    other[own[1:]] += 3
    model = PropensityModel(regressor=regressor)
    before, after = (model.fit(x).propensity for x in (log, gaussian_log(frame, other)))
    assert before[own[0]] == after[own[0]]
    rest = np.setdiff1d(np.arange(400), own)
    assert (before[rest] != after[rest]).all()


def test_the_order_of_episodes_does_not_matter():
    made = simulate(MDP, BEHAVIOR, 300, 0)
    order = np.random.default_rng(0).permutation(300)
    rows = np.concatenate([np.arange(made.offsets[i], made.offsets[i + 1]) for i in order])
    first, second = (
        PropensityModel(features="one_hot").fit(cf.LoggedData.from_frame(x.columns, **ROLES))
        for x in (made, made.take(order))
    )
    np.testing.assert_allclose(first.propensity[rows], second.propensity, rtol=1e-12)


def test_clusters_stay_together():
    frame, _ = logit(600)
    frame["user"] = np.arange(600) // 6
    log = logit_log(frame, cluster="user")
    own = frame["user"] == 17
    other = {**frame, "action": np.where(own, (frame["action"] + 1) % 3, frame["action"])}
    model = PropensityModel(features="linear")
    before = model.fit(log).action_probs
    after = model.fit(logit_log(other, cluster="user")).action_probs
    assert (before[own] == after[own]).all()
    assert (before != after).any()


def test_the_median_over_repeats():
    log, columns = table_log(n=30)
    found = PropensityModel(features="one_hot").fit(log, cross_fit=3, n_repeats=4, seed=5)
    each = [
        frequencies(columns["state"], columns["action"], folds_of(log, 3, 5, repeat))
        for repeat in range(4)
    ]
    middle = np.median(each, axis=0)
    np.testing.assert_allclose(
        found.action_probs, middle / middle.sum(axis=1, keepdims=True), rtol=1e-12
    )
    assert "median of 4 repeats" in " ".join(repr(found).split())


def test_the_same_bits_twice_and_others_for_another_seed():
    frame, _ = logit(900)
    log = logit_log(frame)
    forest = RandomForestClassifier(n_estimators=5, min_samples_leaf=30)
    for model in (PropensityModel(), PropensityModel(forest), PropensityModel(features="fourier")):
        first, again, other = (model.fit(log, seed=seed) for seed in (1, 1, 2))
        assert (first.action_probs == again.action_probs).all()
        assert first.summary() == again.summary()
        assert (first.action_probs != other.action_probs).any()
    kept = pickle.loads(pickle.dumps(first))
    assert (kept.propensity == first.propensity).all()
    assert kept.summary() == first.summary()


# Continuous actions.


def normal(action, mean, covariance):
    away = action - mean
    inside = np.einsum("ij,jk,ik->i", away, np.linalg.inv(covariance), away)
    return np.exp(-inside / 2) / np.sqrt(np.linalg.det(2 * np.pi * covariance))


def test_a_linear_gaussian_policy_is_recovered():
    frame, x, action = gaussian(20_000)
    found = PropensityModel().fit(gaussian_log(frame, action))
    assert found.action_probs is None
    mean = x @ np.array([[1.0, 0.0], [-0.5, 2.0]]) + 0.3
    true = normal(action, mean, COVARIANCE)
    assert np.abs(np.log(found.propensity / true)).mean() < 0.02
    lists = gaussian_log(frame, action[:, 0])
    one = PropensityModel().fit(lists)
    true = normal(action[:, :1], mean[:, :1], COVARIANCE[:1, :1])
    assert np.abs(np.log(one.propensity / true)).mean() < 0.02


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_density_integrates_to_one(dimensions):
    """Of probes in one state and one cluster, hence one fold, whose actions are a grid."""
    frame, _, action = gaussian(2000)
    axis, step = np.linspace(-7, 7, 57, retstep=True)
    grid = np.stack(np.meshgrid(*[axis] * dimensions), axis=-1).reshape(-1, dimensions)
    whole = {n: np.append(v, np.full(len(grid), 0.2)) for n, v in frame.items()}
    whole["user"] = np.append(np.arange(2000), np.full(len(grid), 2000))
    actions = np.concatenate([action[:, :dimensions], grid])
    actions = actions if dimensions == 2 else actions[:, 0]
    for regressor in (None, RandomForestRegressor(n_estimators=5, min_samples_leaf=20)):
        log = gaussian_log(whole, actions, cluster="user")
        found = PropensityModel(regressor=regressor).fit(log, cross_fit=4)
        assert abs(found.propensity[2000:].sum() * step**dimensions - 1) < 1e-3


def test_a_regressor_that_remembers_its_rows_is_not_too_sure():
    frame, _, action = gaussian(3000)
    log = gaussian_log(frame, action)
    found = PropensityModel(regressor=RandomForestRegressor(n_estimators=20)).fit(log)
    within = found.calibration.reliability.filter(pl.col("predicted") == 0.9)["observed"][0]
    assert abs(within - 0.9) < 0.02
    assert found.model == "normal density around RandomForestRegressor"


# Without scikit-learn.

ABSENT = """
import sys
for name in ("sklearn", "sklearn.base"):
    sys.modules[name] = None
import counterfolio as cf
import numpy as np
frame = {"s": 1.5 * (np.arange(90) % 30), "action": np.arange(90) // 3 % 2, "reward": np.ones(90)}
log = cf.LoggedData.from_frame(frame, state="s", propensity=None)
print(cf.models.PropensityModel(features="one_hot").fit(log).model)
for model in (cf.models.PropensityModel(features="linear"), cf.models.PropensityModel()):
    try:
        print(model.fit(log).model)
    except cf.MissingExtraError as error:
        print(error)
"""


def test_a_table_needs_no_scikit_learn():
    done = subprocess.run(
        [sys.executable, "-c", ABSENT], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    table, linear, by_default = done.stdout.splitlines()
    assert table == "frequencies by state"
    assert 'need scikit-learn; pip install "counterfolio[models]"' in linear
    assert 'features="one_hot"' in linear
    assert by_default == linear
