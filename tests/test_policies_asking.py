"""How a log asks policies: labels, blocks, errors with names, and actions that would be taken."""

from __future__ import annotations

import re

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.policies import (
    Deterministic,
    EpsilonGreedy,
    Mixture,
    Onnx,
    Probabilities,
    Softmax,
    Uniform,
    dense_probs,
)

N = 12
WEIGHTS = np.array([[1.0, -0.5, 0.25], [0.5, 1.5, -1.0]])
STATES = np.random.default_rng(2).normal(size=(N, 2))
TEXT = ["b", "c", "a"]
POLICY = cf.InvalidPolicyError


def scores(states):
    return states @ WEIGHTS


def log_of(logged, states=STATES, **roles):
    n = len(logged)
    data = {"action": logged, "reward": np.arange(n) % 5.0, "propensity": np.full(n, 1 / 3)}
    roles = {"state": "s", **roles}
    columns = {} if states is None else {"s": states}
    return cf.LoggedData.from_frame({**data, **columns}, **roles)


LOGGED = np.arange(N) % 3
NUMBERS = log_of(LOGGED)
WORDS = log_of(np.array(TEXT)[LOGGED])
ROWS = slice(3, 9)


def dense(policy, log=NUMBERS, n_actions=3, rows=ROWS):
    return dense_probs("new", policy, log, rows, n_actions)


def tis(log, policy):
    return cf.evaluate(log, {"new": policy}, estimators=["tis"]).values()["new"]


def test_columns_come_in_the_logs_order():
    policy = Softmax(scores)
    probs = policy.action_probs(STATES)
    assert np.array_equal(dense(policy), probs[ROWS])
    assert WORDS.action_codes.labels == ["a", "b", "c"]
    assert np.array_equal(dense(Softmax(scores, actions=TEXT), WORDS), probs[ROWS][:, [2, 0, 1]])
    # The log's own order, where it has one.
    given = log_of(np.array(TEXT)[LOGGED], actions=["c", "a", "b"])
    assert np.array_equal(dense(Softmax(scores, actions=TEXT), given), probs[ROWS][:, [1, 2, 0]])
    # Labels that are numbers, in another order than 0 to K - 1.
    assert np.array_equal(dense(Softmax(scores, actions=[2, 0, 1])), probs[ROWS][:, [1, 2, 0]])
    assert np.array_equal(
        dense(policy, log_of(LOGGED, actions=[2, 1, 0])), probs[ROWS][:, [2, 1, 0]]
    )


def test_actions_that_a_policy_does_not_know_have_probability_0():
    policy = Uniform(["c", "a"])
    assert np.array_equal(dense(policy, WORDS), np.tile([0.5, 0, 0.5], (6, 1)))
    assert np.array_equal(dense(Uniform(2)), np.tile([0.5, 0.5, 0], (6, 1)))
    unlabelled = Probabilities(lambda s: np.full((len(s), 2), 0.5))
    text = r'policy "new" has 2 actions without labels, 0 to 1, but the log has 2; pass actions='
    with pytest.raises(POLICY, match=text):
        dense(unlabelled)
    with pytest.raises(POLICY, match=r"without labels, 0 to 2, but the log has 'a'; pass actions"):
        dense(Softmax(scores), WORDS)


def test_actions_that_the_log_does_not_know():
    never = Probabilities(lambda s: np.tile([0.5, 0.5, 0.0], (len(s), 1)), ["a", "b", "z"])
    assert np.array_equal(dense(never, WORDS), np.tile([0.5, 0.5, 0], (6, 1)))
    for log, policy, label in (
        (WORDS, Uniform(["a", "b", "z"]), "'z'"),
        (NUMBERS, Uniform(4), "3"),
    ):
        text = rf'policy "new".*: 6 of 6 rows give a probability to {label}, .* pass actions='
        with pytest.raises(POLICY, match=text):
            dense(policy, log)


class Answers:
    """A policy of somebody else's, with the methods alone."""

    def __init__(self, answer, actions=None):
        self.answer = answer
        self.actions = actions

    def action_probs(self, states):
        return self.answer

    def prob(self, states, actions):
        return np.full(len(actions), 0.5)

    def sample(self, states, rng):
        raise AssertionError


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (np.full((6, 3), 0.5), r'^policy "new".*6 of 6 rows .* do not sum to 1 .*\(sum 1.5\)'),
        (np.full((5, 3), 1 / 3), r"action_probs\(states\) returned float64 of shape \(5, 3\)"),
        (np.full(6, 1.0), r"must return numbers of shape \(6, 3\)"),
        ([[1.0], [0.5, 0.5]], r"action_probs\(states\) returned no array of numbers"),
        (np.full((6, 3), "a"), r"returned <U1 of shape"),
        (np.tile([np.nan, 0.5, 0.5], (6, 1)), "6 of 6 rows hold a negative number"),
    ],
)
def test_answers_that_are_no_probabilities(answer, text):
    with pytest.raises(POLICY, match=text):
        dense(Answers(answer))


def test_other_forms_of_policies():
    probs = Softmax(scores).action_probs(STATES)
    forms = (
        probs,
        cf.PolicyColumns(action_probs=probs),
        cf.PolicyColumns(prob=Softmax(scores)),
        pl.Series(probs),
        pl.Series(probs.tolist()),
    )
    for form in forms:
        assert np.array_equal(dense(form), probs[ROWS])
    named = cf.LoggedData.from_frame(
        pl.DataFrame({"action": LOGGED, "reward": LOGGED, "propensity": 1.0, "pi": probs})
    )
    assert np.array_equal(dense(cf.PolicyColumns(action_probs="pi"), named), probs[ROWS])
    for form in ("propensity", np.ones(N), cf.PolicyColumns(q=np.ones(N))):
        with pytest.raises(POLICY, match="says nothing of actions that were not logged"):
            dense(form)
    with pytest.raises(POLICY, match="has 3 columns, but there are 4 actions"):
        dense(probs, n_actions=4)
    with pytest.raises(POLICY, match=r'column "action_probs": 6 of 6 .* do not sum'):
        dense(probs * 2)
    with pytest.raises(POLICY, match="for discrete actions alone"):
        dense(probs, log_of(LOGGED * 1.0, action_type="continuous"))


# Errors name the policy.


def test_errors_name_the_policy_and_the_row():
    short = log_of(np.array(["a", "b", "z"] * 4))
    text = r'^policy "new": 4 of 12 logged actions are not among .*, first at row 2 \(\'z\'\); pass'
    with pytest.raises(POLICY, match=text):
        tis(short, Softmax(scores, actions=TEXT))
    with pytest.raises(
        POLICY, match=r'^policy "new": Softmax: 12 of 12 actions are not among whole'
    ):
        tis(short, Softmax(scores))
    n = 70_000
    states = np.zeros((n, 2))
    states[69_000:] = np.nan
    many = log_of(np.zeros(n, dtype=int), states)
    text = r'^policy "new", rows counted from 65,536: EpsilonGreedy: 1,000 of 4,464 .* row 3464 '
    with pytest.raises(POLICY, match=text):
        tis(many, EpsilonGreedy(scores, 0.1))


def test_errors_keep_their_kind():
    def missing(states):
        raise cf.MissingExtraError("no torch")

    def foreign(states):
        raise KeyError("mine")

    with pytest.raises(cf.MissingExtraError, match=r'^policy "new": no torch$'):
        tis(NUMBERS, Softmax(missing))
    with pytest.raises(KeyError, match=r"^'mine'$"):
        tis(NUMBERS, Softmax(foreign))


def test_what_is_no_policy_object():
    with pytest.raises(POLICY, match='policy "new" is the class Uniform; pass an object of it'):
        tis(NUMBERS, Uniform)
    with pytest.raises(POLICY, match='"new" is a function; pass the name of a column, an array'):
        tis(NUMBERS, scores)
    with pytest.raises(POLICY, match=r"names no state column; pass state=\.\.\."):
        tis(log_of(LOGGED, None, state=None), Uniform(3))


def test_policies_of_frames():
    """States that are not all numbers come as a frame."""
    frame = pl.DataFrame({"age": STATES[:, 0], "city": TEXT * 4, "action": TEXT * 4})
    frame = frame.with_columns(reward=pl.lit(1.0), propensity=pl.lit(0.5))
    log = cf.LoggedData.from_frame(frame, state=["age", "city"])
    same = Deterministic(lambda s: s["city"].to_numpy(), TEXT)
    assert tis(log, same) == 2.0
    assert tis(log, Mixture([same, Uniform(TEXT)], [0.25, 0.75])) == pytest.approx(1.0)


# The action that a deterministic policy would take.


def test_chosen_actions():
    chosen = np.where(STATES[:, 0] > 0, LOGGED, (LOGGED + 1) % 3)
    wanted = tis(NUMBERS, (chosen == LOGGED).astype(float))
    words = np.array(TEXT)
    frame = pl.DataFrame({"would": chosen, "action": LOGGED, "reward": np.arange(N) % 5.0})
    named = cf.LoggedData.from_frame(frame.with_columns(propensity=pl.lit(1 / 3)))
    cases = [
        (NUMBERS, chosen),
        (NUMBERS, pl.Series(chosen, dtype=pl.UInt8)),
        (NUMBERS, chosen.tolist()),
        (WORDS, words[chosen]),
        (WORDS, pl.Series(words[chosen], dtype=pl.Categorical)),
        (log_of(np.array(TEXT)[LOGGED], actions=TEXT), words[chosen].tolist()),
        (log_of(LOGGED * 1.0), chosen),
        (named, "would"),
    ]
    for log, form in cases:
        assert tis(log, cf.PolicyColumns(action=form)) == wanted
    one = dense(cf.PolicyColumns(action=chosen), n_actions=4)
    assert np.array_equal(one, np.eye(4)[chosen[ROWS]])
    one = dense(cf.PolicyColumns(action=words[chosen]), WORDS)
    assert np.array_equal(one, np.eye(3)[[1, 2, 0]][chosen[ROWS]])
    q, v = np.arange(N) / N, np.ones(N)
    for given in ({"prob": (chosen == LOGGED) * 1.0}, {"action": chosen}):
        policies = {"new": cf.PolicyColumns(q=q, v=v, **given)}
        found = cf.evaluate(NUMBERS, policies)
        assert "dr" in found.estimators
        wanted = wanted if "prob" not in given else found.values("dr")["new"]
    assert found.values("dr")["new"] == wanted


def test_chosen_actions_that_were_never_logged():
    never = np.array(["a", "zz"] * 6)
    value = tis(WORDS, cf.PolicyColumns(action=never))
    assert value == tis(WORDS, ((never == np.array(TEXT)[LOGGED]) * 1.0))
    assert tis(NUMBERS, cf.PolicyColumns(action=LOGGED + 7 * (STATES[:, 0] > 0))) > 0
    strict = log_of(np.array(TEXT)[LOGGED], actions=TEXT)
    for ask in (
        lambda: tis(strict, cf.PolicyColumns(action=never)),
        lambda: dense(cf.PolicyColumns(action=never), WORDS, rows=slice(0, N)),
        lambda: dense(cf.PolicyColumns(action=np.arange(N) % 2 * 3), rows=slice(0, N)),
    ):
        text = r'policy "new": column "action": 6 of 12 .*, first at row 1 \(.*\); pass actions='
        with pytest.raises(POLICY, match=text):
            ask()


@pytest.mark.parametrize(
    ("log", "given", "text"),
    [
        (NUMBERS, {"action": LOGGED, "prob": LOGGED}, "has both prob and action; pass one of them"),
        (NUMBERS, {"action": LOGGED, "action_probs": 1}, "has both action_probs and action"),
        (NUMBERS, {"action": LOGGED[:5]}, '"new": column "action" has 5 rows, but the log has 12'),
        (
            NUMBERS,
            {"action": LOGGED * 1.0},
            "holds Float64, but the logged actions are Int64; name",
        ),
        (WORDS, {"action": LOGGED}, "holds Int64, but the logged actions are String"),
        (NUMBERS, {"action": ["a"] * N}, "holds String, but the logged actions are Int64"),
        (NUMBERS, {"action": [0, None] * 6}, r'"new": column "action": 6 of 12 .* null .* row 1'),
        (NUMBERS, {"action": np.eye(N)}, r'policy "new": column "action" has shape \(12, 12\)'),
        (NUMBERS, {"action": "actio"}, 'no column "actio" in the log; did you mean "action"'),
        (
            log_of(LOGGED * 1.0, action_type="continuous"),
            {"action": LOGGED},
            "one action of a continuum has no density; pass kernel=",
        ),
    ],
    ids=range(10),
)
def test_chosen_actions_that_are_wrong(log, given, text):
    with pytest.raises(POLICY, match=text):
        tis(log, cf.PolicyColumns(**given))


def test_everything_is_exported():
    for name in cf.policies.__all__:
        assert hasattr(cf.policies, name)
    assert re.search("counterfolio", Onnx.__doc__)
