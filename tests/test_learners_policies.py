"""Learners of policies, cloned and classified, and the whole way from a log to an evaluation."""

from __future__ import annotations

import pickle
import subprocess
import sys

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.learners import (
    BehaviorCloning,
    FittedQIteration,
    PessimisticQ,
    WeightedClassification,
)
from counterfolio.policies import (
    Deterministic,
    DiscretePolicy,
    EpsilonGreedy,
    Gaussian,
    Softmax,
    TruncatedGaussian,
)
from learner_logs import BEHAVIOR, GAMMA, MDP, numbered, sampled, take, value_iteration
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

# Cloning.


def test_a_table_clones_frequencies():
    columns = sampled(400)
    clone = BehaviorCloning().fit(take(columns))
    counts = np.zeros((4, 3))
    np.add.at(counts, (columns["state"], columns["action"]), 1)
    np.testing.assert_allclose(
        clone.action_probs(numbered(4)), counts / counts.sum(axis=1, keepdims=True)
    )
    # A state that the log does not have: what was done overall.
    overall = counts.sum(axis=0) / counts.sum()
    np.testing.assert_allclose(clone.action_probs(np.array([[7.0]])), overall[None])
    assert isinstance(clone, DiscretePolicy)


def logits(x):
    return np.column_stack([0 * x[:, 0], x[:, 0], -x[:, 1]])


@pytest.mark.parametrize("own", [None, LogisticRegression(max_iter=1_000)])
def test_a_softmax_policy_is_cloned(own):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 2))
    names = ["stay", "left", "right"]
    behavior = Softmax(logits, 1.0, actions=names)
    columns = {"state": x, "action": behavior.sample(x, rng), "reward": np.zeros(len(x))}
    log = take(columns, actions=["never", "right", "stay", "left"])
    features = "auto" if own else "linear"
    clone = BehaviorCloning(own, features=features).fit(log)
    assert clone.actions == ["never", "right", "stay", "left"]
    found, wanted = clone.action_probs(x), behavior.action_probs(x)
    np.testing.assert_allclose(found[:, [2, 3, 1]], wanted, atol=0.04)
    assert (found[:, 0] == 0).all()
    again = pickle.loads(pickle.dumps(clone))
    np.testing.assert_array_equal(again.action_probs(x), found)
    assert clone.action_probs(x[:0]).shape == (0, 4)


def test_a_log_of_one_action_is_cloned_too():
    columns = sampled(50)
    columns["action"] = np.ones(len(columns["action"]), dtype=int)
    clone = BehaviorCloning(features="linear").fit(take(columns))
    np.testing.assert_array_equal(clone.action_probs(numbered(2)), [[0, 1], [0, 1]])


def doses(n=5_000, low=-np.inf, high=np.inf, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    mean = np.column_stack([x[:, 0] - 0.5 * x[:, 1] + 1, 0.3 * x[:, 1] ** 2])
    std = np.array([0.5, 0.1])
    behavior = TruncatedGaussian(lambda _: mean, std, low, high)
    action = behavior.sample(x, rng)
    columns = {"state": x, "action": action, "reward": x[:, 0]}
    return take(columns, action_type="continuous"), x, mean, std


@pytest.mark.parametrize("own", [None, DecisionTreeRegressor(min_samples_leaf=10)])
def test_continuous_actions_are_cloned(own):
    log, x, mean, std = doses()
    clone = BehaviorCloning(regressor=own).fit(log)
    assert isinstance(clone, Gaussian)
    assert np.sqrt(np.mean((clone.mean(x) - mean) ** 2)) < (0.03 if own is None else 0.3)
    # The spread is that about rows which were not learned from; a tree's own have less.
    fresh, there, _, _ = doses(seed=1)
    action = fresh.column("action").to_numpy()
    np.testing.assert_allclose(
        clone.std, np.sqrt(np.mean((action - clone.mean(there)) ** 2, axis=0)), rtol=0.15
    )
    np.testing.assert_allclose(clone.std, std, rtol=0.03 if own is None else 1.0)
    again = pickle.loads(pickle.dumps(clone))
    np.testing.assert_array_equal(again.mean(x), clone.mean(x))


def test_the_spread_of_few_rows_knows_the_features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 8))
    action = x @ np.arange(8) + rng.normal(size=30)
    columns = {"state": x, "action": action, "reward": action}
    clone = BehaviorCloning(features="linear").fit(take(columns, action_type="continuous"))
    design = np.column_stack([np.ones(30), x])
    _, rss, *_ = np.linalg.lstsq(design, action, rcond=None)
    np.testing.assert_allclose(clone.std, np.sqrt(rss / (30 - 9)))
    with pytest.raises(cf.InvalidLogError, match="30 rows cannot tell 30 features and a spread"):
        BehaviorCloning().fit(take(columns, action_type="continuous"))


def test_bounds_make_a_truncated_clone():
    log, x, mean, _ = doses(low=-6.0, high=8.0)
    clone = BehaviorCloning(action_bounds=(-6.0, [8.0, 9.0])).fit(log)
    assert isinstance(clone, TruncatedGaussian)
    assert np.sqrt(np.mean((clone.mean(x) - mean) ** 2)) < 0.03
    assert (clone.density(x[:1], [[-7.0, 0.0]]) == 0).all()


def test_what_cloning_refuses():
    log = take(sampled(50))
    continuous, *_ = doses(50)
    for how, says in (
        ({"classifier": LinearRegression()}, "classifier must be an object with fit and pred"),
        ({"regressor": 3}, "regressor must be an object with fit and predict"),
        ({"classifier": GaussianNB(), "features": "one_hot"}, "is a table and takes no classif"),
        ({"action_bounds": 3}, "action_bounds must be"),
        ({"action_bounds": (1, 0)}, "low must be below high"),
        ({"features": 3}, "features must be one of"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=says):
            BehaviorCloning(**how)
    for how, which, says in (
        ({"regressor": LinearRegression()}, log, "regressor does not go with discrete"),
        ({"action_bounds": (0, 1)}, log, "action_bounds does not go with discrete"),
        ({"classifier": GaussianNB()}, continuous, "classifier does not go with continuous"),
        ({"features": "one_hot"}, continuous, "is a table of states and discrete actions"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=says):
            BehaviorCloning(**how).fit(which)
    with pytest.raises(cf.InvalidLogError, match="names no state column"):
        BehaviorCloning().fit(take(sampled(50), state=None))
    sure = {"state": np.arange(9.0), "action": np.arange(9.0) * 2, "reward": np.ones(9)}
    with pytest.raises(
        cf.InvalidLogError, match=r'column "action": 1 of 1 dimensions .* no spread'
    ):
        BehaviorCloning().fit(take(sure, action_type="continuous"))
    one = {**sure, "episode_id": np.zeros(9, dtype=int)}
    with pytest.raises(cf.InvalidLogError, match="and there is one episode"):
        BehaviorCloning(regressor=LinearRegression()).fit(take(one, action_type="continuous"))


# Classification.


def bandit(n=3_000, shift=0.0, seed=0, labels=None):
    """Three states, four actions, rewards of both signs; propensities that depend on the state."""
    rng = np.random.default_rng(seed)
    mean = np.random.default_rng(9).normal(size=(3, 4))
    behavior = np.random.default_rng(8).dirichlet(np.full(4, 3.0), size=3)
    state = rng.integers(0, 3, n)
    action = (behavior[state].cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    columns = {
        "state": state,
        "action": action if labels is None else np.array(labels)[action],
        "reward": mean[state, action] + rng.normal(size=n) + shift,
        "propensity": behavior[state, action],
    }
    return columns, mean, action


def scores_of(columns, action, kind, baseline=0.0):
    """(n, 4), independently, with a Q that is the same everywhere."""
    n, r, b = len(action), columns["reward"], columns["propensity"]
    constant = r.mean() if kind == "dr" else 0.0
    scores = np.full((n, 4), constant)
    scores[np.arange(n), action] += (r - constant - baseline) / b
    return scores


@pytest.mark.parametrize(
    "learner",
    [
        WeightedClassification(scores="ips", features="one_hot", baseline=0.0),
        WeightedClassification(scores="ips", features="one_hot", baseline=-0.7),
        WeightedClassification(features="one_hot", q_model=cf.models.FittedQ(DummyRegressor())),
    ],
    ids=["ips", "baseline", "dr"],
)
@pytest.mark.parametrize("n", [15, 60, 300, 3_000])
def test_a_table_maximises_the_scores(learner, n):
    missing = 0
    for seed in range(5):
        columns, _, action = bandit(n, seed=seed)
        log = take(columns, propensity="propensity", actions=[0, 1, 2, 3])
        policy = learner.fit(log, cross_fit=None)
        found, best = policy.base(numbered(3)), policy.sample(numbered(3), None)
        scores = scores_of(columns, action, learner.scores, learner.baseline or 0.0)
        for s in range(3):
            rows = columns["state"] == s
            mean = scores[rows].mean(axis=0)
            # What was never done there is not chosen.
            taken = np.bincount(action[rows], minlength=4) > 0
            missing += int((~taken).sum())
            assert best[s] == np.where(taken, mean, -np.inf).argmax()
            off = scores[rows].min(axis=1).mean()
            np.testing.assert_allclose(found[s, taken], mean[taken] - off)
        # Of a state that the log does not have, the best overall.
        other = policy.sample(np.array([[9.0]]), None)[0]
        assert other == scores.mean(axis=0).argmax()
    assert (missing > 0) == (n <= 60)


def test_dr_does_not_believe_its_model():
    """Q is wrong and confident; propensities are right."""
    columns, mean, _ = bandit(50_000)

    class Wrong(DummyRegressor):
        def predict(self, x):
            return 3.0 * x[:, 1]  # Of action 0, whatever the state.

    log = take(columns, propensity="propensity")
    policy = WeightedClassification(q_model=cf.models.FittedQ(Wrong())).fit(log)
    assert policy.sample(numbered(3), None).tolist() == mean.argmax(axis=1).tolist()


@pytest.mark.parametrize("kind", ["ips", "dr"])
@pytest.mark.parametrize(
    "classifier", [None, LogisticRegression(max_iter=500), DecisionTreeClassifier(max_depth=6)]
)
def test_every_classifier_finds_the_best_actions(kind, classifier):
    labels = ["d", "a", "c", "b"]
    columns, mean, _ = bandit(20_000, labels=labels)
    log = take(
        {**columns, "state": np.eye(3)[columns["state"]]},
        propensity="propensity",
        actions=["b", "c", "a", "d"],
    )
    features = "auto" if classifier is not None else "linear"
    policy = WeightedClassification(classifier, scores=kind, features=features).fit(log)
    assert isinstance(policy, Deterministic)
    assert policy.actions == ["b", "c", "a", "d"]
    chosen = policy.sample(np.eye(3), None)
    assert chosen.tolist() == [labels[a] for a in mean.argmax(axis=1)]
    again = pickle.loads(pickle.dumps(policy))
    assert again.sample(np.eye(3), None).tolist() == chosen.tolist()


@pytest.mark.parametrize("features", ["one_hot", "linear"])
@pytest.mark.parametrize("kind", ["ips", "dr"])
def test_what_rewards_are_counted_from_does_not_matter(kind, features):
    found = []
    for shift in (0.0, -20.0, 20.0):
        columns, _, _ = bandit(400, shift)
        log = take(columns, propensity="propensity")
        policy = WeightedClassification(scores=kind, features=features).fit(log)
        found.append(policy.base(numbered(3)))
    np.testing.assert_allclose(found[1], found[0], atol=1e-4)
    np.testing.assert_allclose(found[2], found[0], atol=1e-4)


def test_plain_ips_does_what_was_logged_where_all_rewards_are_high():
    """And shuns it where all are low: what the baseline is for."""
    for shift, extreme in ((1e6, np.argmax), (-1e6, np.argmin)):
        columns, _, action = bandit(400, shift)
        log = take(columns, propensity="propensity")
        plain = WeightedClassification(scores="ips", features="one_hot", baseline=0.0)
        by_weight = []
        for s in range(3):
            rows = columns["state"] == s
            weight = np.bincount(action[rows], 1 / columns["propensity"][rows], 4)
            by_weight.append(extreme(weight))
        assert plain.fit(log).sample(numbered(3), None).tolist() == by_weight


def test_a_classifier_that_is_not_linear_in_the_state():
    """XOR: least squares and a logistic regression of the numbers cannot, a tree can."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (4_000, 2)) + 0.1 * rng.normal(size=(4_000, 2))
    best = (x > 0.5).sum(axis=1) % 2
    action = rng.integers(0, 2, 4_000)
    columns = {
        "state": x,
        "action": action,
        "reward": -1.0 * (action != best) + 0.1 * rng.normal(size=4_000),
        "propensity": np.full(4_000, 0.5),
    }
    log = take(columns, propensity="propensity")
    q = cf.models.FittedQ(DecisionTreeRegressor(min_samples_leaf=50))
    policy = WeightedClassification(DecisionTreeClassifier(max_depth=4), q_model=q).fit(log)
    assert (policy.sample(x, None) == best).mean() > 0.99


def test_what_classification_refuses():
    columns, _, _ = bandit(60)
    log = take(columns, propensity="propensity")
    for how, says in (
        ({"scores": "snips"}, "unknown scores"),
        ({"baseline": 1.0}, 'baseline is for scores="ips"'),
        ({"scores": "ips", "q_model": cf.models.LinearQ()}, 'q_model is for scores="dr"'),
        ({"scores": "ips", "baseline": np.nan}, "baseline must be"),
        ({"classifier": DecisionTreeRegressor()}, "classifier must be an object with fit and"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=says):
            WeightedClassification(**how)
    with pytest.raises(cf.InvalidArgumentError, match="takes no sample_weight"):
        WeightedClassification(KNeighborsClassifier()).fit(log)
    for wrong, says in (
        (take(columns), "the log has no propensities, which scores are made of"),
        (
            take(sampled(50), propensity="propensity"),
            r"learns from single decisions, but \d+ of 50",
        ),
        (take(columns, propensity="propensity", state=None), "names no state column"),
        (doses(50)[0], "but the log's are continuous"),
        (take({**columns, "reward": np.ones(60)}, propensity="propensity"), "the same score in"),
    ):
        with pytest.raises(cf.InvalidLogError, match=says):
            WeightedClassification(scores="ips").fit(wrong)


def test_estimated_propensities_do():
    columns, mean, _ = bandit(20_000)
    log = take(columns)
    log = log.with_propensity(cf.models.PropensityModel().fit(log))
    policy = WeightedClassification().fit(log)
    assert policy.sample(numbered(3), None).tolist() == mean.argmax(axis=1).tolist()


# The whole way.


@pytest.mark.parametrize("text", [False, True])
def test_from_a_log_to_an_evaluation(text):
    names = np.array(["run", "mend", "wait"])

    def table(n, seed):
        columns = sampled(n, seed)
        if text:
            states = pl.Series([f"s{s}" for s in columns["state"]])
            columns |= {"state": states, "action": names[columns["action"]]}
        roles = {"actions": names[::-1].tolist()} if text else {}
        return take(columns, propensity="propensity", **roles)

    log, fresh = table(3_000, 1), table(3_000, 2)
    q = FittedQIteration().fit(log, gamma=GAMMA)
    careful = PessimisticQ().fit(log, gamma=GAMMA)
    candidates = {
        "greedy": EpsilonGreedy(q, 0.1, actions=q.actions),
        "careful": Softmax(careful, 0.5, actions=careful.actions),
        "clone": BehaviorCloning().fit(log),
    }
    prepared = cf.prepare(fresh, candidates, ["snpdis", "dm", "dr"], gamma=GAMMA)
    evaluation = cf.evaluate(fresh, prepared, gamma=GAMMA)
    greedy = 0.9 * np.eye(3)[value_iteration(MDP, GAMMA).argmax(axis=1)] + 0.1 / 3
    truth = {"greedy": MDP.value(greedy, GAMMA), "clone": MDP.value(BEHAVIOR, GAMMA)}
    for estimator in ("snpdis", "dm", "dr"):
        rows = evaluation.estimates.filter(pl.col("estimator") == estimator)
        found = dict(zip(rows["policy"], rows["value"], strict=True))
        error = dict(zip(rows["policy"], rows["standard_error"], strict=True))
        for name, value in truth.items():
            assert abs(found[name] - value) < max(4 * error[name], 0.1)
        assert found["greedy"] > found["careful"] > found["clone"]


ABSENT = """
import sys
for name in ("sklearn", "sklearn.base", "sklearn.linear_model"):
    sys.modules[name] = None
import counterfolio as cf
import numpy as np
rng = np.random.default_rng(0)
frame = {"s": np.arange(90) % 3, "x": rng.normal(size=90), "action": rng.integers(0, 2, 90),
         "reward": rng.random(90), "propensity": np.full(90, 0.5)}
table = cf.LoggedData.from_frame(frame, state="s")
numbers = cf.LoggedData.from_frame(frame, state="x")
doses = cf.LoggedData.from_frame({**frame, "action": frame["x"] ** 2}, state="s",
                                 action_type="continuous")
L = cf.learners
for learner, log in ((L.FittedQIteration(), numbers), (L.PessimisticQ(), numbers),
                     (L.BehaviorCloning(), table), (L.BehaviorCloning(), doses),
                     (L.WeightedClassification(), table)):
    learner.fit(log)
print("fitted")
for learner in (L.BehaviorCloning(features="linear"), L.WeightedClassification(features="linear")):
    try:
        learner.fit(numbers)
    except cf.MissingExtraError as error:
        print(error)
"""


def test_defaults_need_no_scikit_learn():
    done = subprocess.run(
        [sys.executable, "-c", ABSENT], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    fitted, *says = done.stdout.splitlines()
    assert fitted == "fitted"
    assert len(says) == 2
    for name, text in zip(("BehaviorCloning", "WeightedClassification"), says, strict=True):
        assert text.startswith(f"{name} needs scikit-learn for its default classifier")


def test_clones_print_on_a_line():
    log = cf.LoggedData.from_frame(
        {"state": [0, 1, 1], "x": [0.5, 1.5, -2.0], "action": [0, 1, 0], "reward": [1, 2, 3]},
        propensity=None,
        state="state",
    )
    assert "<table of 2 states>" in repr(cf.learners.BehaviorCloning(features="one_hot").fit(log))
    rows = {"x": [0.5, 1.5, -2.0], "action": [0, 1, 0], "reward": [1, 2, 3]}
    log = cf.LoggedData.from_frame(rows, propensity=None, state="x")
    clone = cf.learners.BehaviorCloning(features="linear").fit(log)
    assert "<LogisticRegression, features linear>" in repr(clone)
