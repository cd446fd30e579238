"""Policies over finitely many actions: probabilities, draws, labels, and what they refuse."""

from __future__ import annotations

import pickle
import re

import counterfolio as cf
import numpy as np
import pytest
from counterfolio.policies import (
    Classifier,
    Deterministic,
    DiscretePolicy,
    EpsilonGreedy,
    Gaussian,
    Mixture,
    Probabilities,
    Softmax,
    Tabular,
    Uniform,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

LABELS = ["low", "mid", "high"]
WEIGHTS = np.array([[1.0, -0.5, 0.25], [0.5, 1.5, -1.0]])
RNG = np.random.default_rng(7)
STATES = RNG.normal(size=(40, 2))


def scores(states):
    return states @ WEIGHTS


def soft(states):
    return special.softmax(scores(states), axis=1)


def choice(states):
    return np.array(LABELS)[(states[:, 0] > 0).astype(int) + (states[:, 1] > 0)]


def table_of(n_states=4):
    return np.random.default_rng(1).dirichlet(np.ones(3), n_states)


def classifier():
    return LogisticRegression().fit(STATES, choice(STATES))


def heads(labels=None):
    """Every head, and states for it."""
    numbered = np.arange(40.0).reshape(-1, 1) % 4
    yield EpsilonGreedy(scores, 0.3, labels), STATES
    yield Softmax(scores, 0.5, labels), STATES
    yield Uniform(labels or 3), STATES
    yield Deterministic(scores, labels), STATES
    yield Tabular(table_of(), labels), numbered
    yield Probabilities(soft, labels), STATES
    parts = [EpsilonGreedy(scores, 0.1, labels), Softmax(scores, 2.0, labels)]
    yield Mixture(parts, [0.25, 0.75]), STATES
    if labels:
        yield Deterministic(choice, labels), STATES
        yield Classifier(classifier()), STATES


ALL = [(p, s) for labels in (None, LABELS) for p, s in heads(labels)]
NAMES = [f"{type(p).__name__}-{'numbers' if p.actions is None else 'text'}" for p, _ in ALL]
every_head = pytest.mark.parametrize(("policy", "states"), ALL, ids=NAMES)


def numbers(policy):
    return list(range(3)) if policy.actions is None else policy.actions


@every_head
def test_probabilities(policy, states):
    assert isinstance(policy, DiscretePolicy)
    probs = policy.action_probs(states)
    assert probs.shape == (40, 3)
    assert probs.dtype == np.float64
    assert (probs >= 0).all()
    assert np.allclose(probs.sum(axis=1), 1, atol=1e-12)
    for i, label in enumerate(numbers(policy)):
        assert np.array_equal(policy.prob(states, np.full(40, label)), probs[:, i])


@every_head
def test_draws_have_these_probabilities(policy, states):
    n = 6000
    rng = np.random.default_rng(0)
    for state in (states[0], states[1], states[5]):
        many = np.tile(state, (n, 1))
        drawn = policy.sample(many, rng)
        expected = n * policy.action_probs(many)[0]
        counts = np.array([(drawn == label).sum() for label in numbers(policy)])
        assert counts.sum() == n
        assert (counts[expected == 0] == 0).all()
        some = expected > 0
        if some.sum() > 1:
            assert stats.chisquare(counts[some], expected[some]).pvalue > 1e-4
    if not isinstance(policy, Classifier):  # scikit-learn refuses to be asked for nothing
        assert policy.sample(states[:0], rng).shape == (0,)


@every_head
def test_the_same_after_a_pickle(policy, states):
    again = pickle.loads(pickle.dumps(policy))
    assert type(again) is type(policy)
    assert again.actions == policy.actions
    assert np.array_equal(again.action_probs(states), policy.action_probs(states))


@every_head
def test_evaluate_asks_it(policy, states):
    """What it says as an object is what it says as arrays."""
    rng = np.random.default_rng(3)
    index = rng.integers(0, 3, 40)
    logged = np.array(numbers(policy))[index]
    data = {"s": states, "action": logged, "reward": rng.normal(size=40)}
    log = cf.LoggedData.from_frame(
        {**data, "propensity": np.full(40, 1 / 3)}, state="s", actions=policy.actions
    )
    probs = policy.action_probs(states)
    given = {"object": policy, "prob": probs[np.arange(40), index], "dense": probs}
    values = cf.evaluate(log, given, estimators=["tis"]).values()
    assert values["object"] == values["prob"] == values["dense"]
    with_model = cf.PolicyColumns(prob=policy, q=np.zeros(40), v=np.zeros(40))
    dr = cf.evaluate(log, {"new": with_model}, estimators=["dr"]).values()["new"]
    assert dr == pytest.approx(values["object"], rel=1e-12)


def test_formulas():
    probs = EpsilonGreedy(scores, 0.3).action_probs(STATES)
    greedy = scores(STATES).argmax(axis=1)
    assert np.allclose(probs[np.arange(40), greedy], 0.8)
    assert np.allclose(np.sort(probs, axis=1)[:, :2], 0.1)
    expected = special.softmax(scores(STATES) / 0.5, axis=1)
    assert np.allclose(Softmax(scores, 0.5).action_probs(STATES), expected, rtol=1e-13)
    classes = classifier()
    expected = classes.predict_proba(STATES)
    assert np.array_equal(Classifier(classes).action_probs(STATES), expected)
    numbered = np.array([[2.0], [0.0]])
    assert np.array_equal(Tabular(table_of()).action_probs(numbered), table_of()[[2, 0]])


def test_ties_go_to_the_first():
    def same(states):
        return np.zeros((len(states), 3))

    for policy in (EpsilonGreedy(same, 0.0), Deterministic(same)):
        assert np.array_equal(policy.action_probs(STATES[:2]), [[1, 0, 0], [1, 0, 0]])


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=5), st.floats(1e-300, 1e300))
def test_softmax_is_stable(row, temperature):
    (probs,) = Softmax(lambda s: np.array([row]), temperature).action_probs(np.zeros((1, 1)))
    assert np.isfinite(probs).all()
    assert probs.sum() == pytest.approx(1)
    assert probs[int(np.argmax(row))] == probs.max()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any), st.integers(0, 2**32))
def test_what_has_no_probability_is_never_drawn(weights, seed):
    row = np.array(weights) / sum(weights)
    policy = Probabilities(lambda s: np.tile(row, (len(s), 1)))
    drawn = policy.sample(np.zeros((200, 1)), np.random.default_rng(seed))
    assert (row[drawn] > 0).all()


def test_labels_of_many_types():
    dates = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], dtype="datetime64[D]")
    for labels in ([10, 20, 30], [True, False, 2], ["a", 1, 2.5], dates.tolist()):
        policy = Softmax(scores, actions=labels)
        drawn = policy.sample(STATES, np.random.default_rng(0))
        probs = policy.action_probs(STATES)
        index = [labels.index(x) for x in drawn.tolist()]
        assert np.array_equal(policy.prob(STATES, drawn), probs[np.arange(40), index])
    asked = Softmax(scores, actions=dates.tolist()).prob(STATES, np.tile(dates[1], 40))
    assert np.array_equal(asked, probs[:, 1])
    # Whole numbers that stand as floats are the numbers.
    floats = Softmax(scores).prob(STATES, np.ones(40))
    assert np.array_equal(floats, probs[:, 1])


def test_a_base_that_returns_actions():
    policy = Deterministic(lambda s: (s[:, 0] > 0).astype(int))
    wanted = (STATES[:, 0] > 0).astype(int)
    assert np.array_equal(policy.sample(STATES, None), wanted)
    assert np.array_equal(policy.prob(STATES, np.ones(40, dtype=int)), wanted)
    assert np.array_equal(policy.prob(STATES, np.full(40, 7)), np.zeros(40))
    with pytest.raises(cf.InvalidPolicyError, match=r"how many actions there are .* pass actions="):
        policy.action_probs(STATES)
    bad = Deterministic(lambda s: np.where(s[:, 0] > 0, 1.0, 0.5))
    with pytest.raises(
        cf.InvalidPolicyError, match="are not among whole numbers from 0, first at row"
    ):
        bad.prob(STATES, np.ones(40))
    assert np.array_equal(policy.prob(STATES, np.ones(40)), wanted)
    with pytest.raises(cf.InvalidPolicyError, match=r"40 of 40 actions .* row 0 \(0.5\); pass act"):
        policy.prob(STATES, np.full(40, 0.5))
    cube = Deterministic(lambda s: np.zeros((len(s), 2, 2)))
    with pytest.raises(cf.InvalidPolicyError, match=r"\(40, 2, 2\).*or n action labels"):
        cube.prob(STATES, np.ones(40))


def test_mixtures():
    one = Probabilities(lambda s: np.tile([0.2, 0.8], (len(s), 1)), ["a", "b"])
    two = Probabilities(lambda s: np.tile([0.5, 0.5], (len(s), 1)), ["c", "a"])
    policy = Mixture([one, two], [0.6, 0.4])
    assert policy.actions == ["a", "b", "c"]
    assert np.allclose(policy.action_probs(STATES[:1]), [[0.32, 0.48, 0.2]])
    assert np.allclose(Mixture([one, two]).weights, 0.5)
    assert re.fullmatch(r"Mixture\(\[Prob.*\], weights=\[0\.6, 0\.4\]\)", repr(policy))


def spoilt(row, value):
    def base(states):
        out = scores(states)
        out[row:, 1] = value
        return out

    return base


def rows_of(value):
    return lambda states: np.tile(value, (len(states), 1))


POLICY, ARGUMENT = cf.InvalidPolicyError, cf.InvalidArgumentError
WRONG = {
    "NaN": (EpsilonGreedy(spoilt(37, np.nan), 0.1), r"^Eps.*: 3 of 40 rows .* NaN or .* row 37"),
    "inf": (Softmax(spoilt(39, np.inf)), r"1 of 40 rows .* row 39 \(inf\); mend the model"),
    "shape": (Softmax(lambda s: s[:, 0]), r"float64 of shape \(40,\) for 40 states.*\(n, n_"),
    "rows": (Softmax(lambda s: scores(s)[:9]), r"shape \(9, 3\) for 40 states"),
    "none": (EpsilonGreedy(lambda s: None, 0.1), r"object of shape \(\)"),
    "ragged": (Softmax(lambda s: [[1], [1, 2]]), r"base returned no array: .*it must return one"),
    "text": (Deterministic(lambda s: s.astype(str)), r"shape \(40, 2\).*must return one number"),
    "labels": (Softmax(scores, actions=["a", "b"]), "3 columns for 2 action labels; pass act"),
    "sum": (Probabilities(rows_of([0.5, 0.4])), r"40 of 40 .*sum to 1 .*row 0 \(sum 0.9\)"),
    "negative": (Probabilities(rows_of([1.5, -0.5])), r"40 of 40 rows hold a negative number"),
    "state": (Tabular(table_of()), r"^Tabular: 40 of 40 states .* from 0 to 3, first at row 0"),
    "chosen": (Deterministic(choice, ["low", "mid"]), r"returned: \d+ of 40 actions .* \('high'\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers(case):
    policy, text = WRONG[case]
    states = STATES[:, :1] if case == "state" else STATES
    with pytest.raises(POLICY, match=text):
        policy.action_probs(states)


def test_a_table_wants_one_column_of_numbers():
    policy = Tabular(table_of())
    for bad in (STATES, np.array([["a"]] * 3)):
        with pytest.raises(POLICY, match="name one state column"):
            policy.action_probs(bad)
    with pytest.raises(POLICY, match=r"2 of 3 states .* row 1 \(0.5\); number the states"):
        policy.action_probs(np.array([0, 0.5, 4]))


def test_unknown_actions():
    with pytest.raises(POLICY, match=r"^Softmax: 2 of 40 .* its labels, first at row 38 \('no'\)"):
        Softmax(scores, actions=LABELS).prob(STATES, np.array(["low"] * 38 + ["no"] * 2))
    with pytest.raises(
        POLICY, match=r"40 of 40 actions are not among whole numbers from 0 to 2, .* \(3\)"
    ):
        Softmax(scores).prob(STATES, np.full(40, 3))
    with pytest.raises(POLICY, match=r"actions have shape \(40, 2\) for 40 states; pass one"):
        Softmax(scores).prob(STATES, STATES)


MADE_WRONG = {
    "epsilon above": (lambda: EpsilonGreedy(scores, 1.5), ARGUMENT, r"epsilon must be in \[0, 1\]"),
    "epsilon NaN": (lambda: EpsilonGreedy(scores, np.nan), ARGUMENT, "epsilon"),
    "epsilon flag": (lambda: EpsilonGreedy(scores, True), ARGUMENT, "epsilon"),
    "temperature": (lambda: Softmax(scores, 0.0), ARGUMENT, "temperature .* above 0, not 0.0"),
    "temperature inf": (lambda: Softmax(scores, np.inf), ARGUMENT, "temperature"),
    "base": (lambda: Softmax("scores"), ARGUMENT, "base must be a callable .* not 'scores'"),
    "function": (lambda: Probabilities(STATES), ARGUMENT, "function must be a callable"),
    "labels twice": (lambda: Softmax(scores, actions=["a", "a"]), ARGUMENT, "lists 'a' twice"),
    "none": (lambda: Uniform(None), ARGUMENT, "Uniform: actions must be"),
    "zero": (lambda: Uniform(0), ARGUMENT, "how many there are, not 0"),
    "table": (lambda: Tabular([0.5, 0.5]), POLICY, r"float64 of shape \(2,\).*\(n_states, n_act"),
    "sum": (lambda: Tabular([[0.5, 0.4]]), POLICY, r"^Tabular: 1 of 1 states of the table .*0.9"),
    "width": (lambda: Tabular([[0.5, 0.5]], ["a"]), POLICY, "2 columns for 1 action label"),
    "unfitted": (lambda: Classifier(LogisticRegression()), ARGUMENT, "no classes_; pass .* fitted"),
    "no policy": (lambda: Mixture([]), ARGUMENT, r"must be a list of policy objects, not \[\]"),
    "kinds": (lambda: Mixture([Uniform(2), Gaussian(scores, 1.0)]), ARGUMENT, "not Uniform, Ga"),
    "weights": (lambda: Mixture([Uniform(2)] * 2, [0.5, 0.4]), ARGUMENT, "2 numbers of 0 or more"),
    "count": (lambda: Mixture([Uniform(2)], [0.5, 0.5]), ARGUMENT, "1 numbers"),
    "some": (lambda: Mixture([Uniform(2), Softmax(scores)]), ARGUMENT, "and some have none; pass"),
}  # fmt: skip


@pytest.mark.parametrize("case", MADE_WRONG)
def test_wrong_arguments(case):
    make, error, text = MADE_WRONG[case]
    with pytest.raises(error, match=text):
        make()


def test_mixed_widths():
    policy = Mixture([Softmax(scores), Softmax(lambda s: s)])
    with pytest.raises(POLICY, match=r"Mixture: Softmax has 2 actions, but .* have 3"):
        policy.action_probs(STATES)
