"""What bad input gets: the right exception, the column in quotes, how many rows and the first of
them.
"""

from __future__ import annotations

import counterfolio as cf
import numpy as np
import pytest
from error_cases import (
    ANY,
    ARGUMENT,
    LOG_CASES,
    NEW,
    POLICY,
    Calls,
    Case,
    check,
    dense,
    frame,
    object_policy,
    put,
    quoted,
    run,
    two_estimators,
)

POLICY_CASES = [
    Case(
        "probability above 1",
        POLICY,
        [quoted("p_new"), r"\b2 of 10\b", r"row 4\b", '"new"'],
        lambda: run(put("p_new", {4: 1.1, 6: 2.0})),
    ),
    Case(
        "probability negative",
        POLICY,
        [quoted("p_new"), r"\b1 of 10\b", r"row 0\b", '"new"'],
        lambda: run(put("p_new", {0: -1e-9})),
    ),
    Case(
        "probability all null",
        POLICY,
        [quoted("p_new"), r"row 0\b", '"new"'],
        lambda: run(frame(p_new=[None] * 10)),
    ),
    Case(
        "probability text", POLICY, [quoted("p_new"), '"new"'], lambda: run(frame(p_new=["x"] * 10))
    ),
    Case("q text", POLICY, [quoted("q_new"), '"new"'], lambda: run(frame(q_new=["x"] * 10))),
    Case(
        "unknown policy column",
        POLICY,
        [quoted("p_nwe"), '"p_new"', '"new"'],
        lambda: run(policies={"new": "p_nwe"}),
    ),
    Case(
        "unknown q column",
        POLICY,
        [quoted("q_nwe"), '"q_new"', '"new"'],
        lambda: run(policies={"new": cf.PolicyColumns(prob="p_new", q="q_nwe", v="v_new")}),
    ),
    Case(
        "array too short",
        POLICY,
        ['"new"', r"\b9\b", r"\b10\b"],
        lambda: run(policies={"new": np.full(9, 0.5)}),
    ),
    Case(
        "array too long", POLICY, ['"new"', r"\b11\b"], lambda: run(policies={"new": np.ones(11)})
    ),
    Case("array of text", POLICY, ['"new"'], lambda: run(policies={"new": np.array(["a"] * 10)})),
    Case(
        "array of objects",
        POLICY,
        ['"new"'],
        lambda: run(policies={"new": np.array([object()] * 10, dtype=object)}),
    ),
    Case(
        "array of complex", POLICY, ['"new"'], lambda: run(policies={"new": np.full(10, 0.5 + 1j)})
    ),
    Case(
        "array with NaN",
        POLICY,
        ['"new"', r"\b2 of 10\b", r"row 3\b"],
        lambda: run(policies={"new": np.where(np.isin(np.arange(10), (3, 8)), np.nan, 0.5)}),
    ),
    Case(
        "array above 1",
        POLICY,
        ['"new"', r"\b10 of 10\b", r"row 0\b"],
        lambda: run(policies={"new": np.full(10, 1.5)}),
    ),
    Case("array of no dimension", POLICY, ['"new"'], lambda: run(policies={"new": np.array(0.5)})),
    Case(
        "array of 3 dimensions",
        POLICY,
        ['"new"'],
        lambda: run(policies={"new": np.full((10, 3, 1), 1 / 3)}),
    ),
    Case(
        "q array too short",
        POLICY,
        ['"new"', r"\bq\b", r"\b9\b", r"\b10\b"],
        lambda: run(policies={"new": cf.PolicyColumns(prob="p_new", q=np.ones(9), v="v_new")}),
    ),
    Case(
        "v array with infinity",
        POLICY,
        ['"new"', r"\bv\b", r"\b10 of 10\b", r"row 0\b"],
        lambda: run(
            policies={"new": cf.PolicyColumns(prob="p_new", q="q_new", v=np.full(10, np.inf))}
        ),
    ),
    Case(
        "dense rows too few",
        POLICY,
        ['"new"', r"\b9\b", r"\b10\b"],
        lambda: run(policies={"new": dense()[:9]}),
    ),
    Case(
        "dense rows that do not sum to 1",
        POLICY,
        ['"new"', r"\b2 of 10\b", r"row 6\b", "(?i)sum"],
        lambda: run(policies={"new": dense({(6, 0): 0.3, (7, 2): 0.0})}),
    ),
    Case(
        "dense rows off by more than 1e-5",
        POLICY,
        ['"new"', r"\b1 of 10\b", r"row 2\b"],
        lambda: run(policies={"new": dense({(2, 1): 0.40002})}),
    ),
    Case(
        "dense negative",
        POLICY,
        ['"new"', r"row 5\b"],
        lambda: run(policies={"new": dense({(5, 0): -0.2, (5, 1): 0.8})}),
    ),
    Case(
        "dense NaN",
        POLICY,
        ['"new"', r"row 4\b"],
        lambda: run(policies={"new": dense({(4, 2): np.nan})}),
    ),
    Case(
        "dense array of text",
        POLICY,
        ['"new"'],
        lambda: run(policies={"new": dense().astype(str)}),
    ),
    Case(
        "dense column of lists with a null",
        POLICY,
        ['"new"', quoted("all"), r"row 3\b"],
        lambda: run(
            frame(all=[None if row == 3 else [0.2, 0.4, 0.4] for row in range(10)]),
            policies={"new": cf.PolicyColumns(action_probs="all")},
        ),
    ),
    Case(
        "dense column of lists of different lengths",
        POLICY,
        ['"new"', quoted("all"), r"row 3\b"],
        lambda: run(
            frame(all=[[0.5, 0.5] if row == 3 else [0.2, 0.4, 0.4] for row in range(10)]),
            policies={"new": cf.PolicyColumns(action_probs="all")},
        ),
    ),
    Case(
        "dense with actions that are hashes",
        ANY,
        ["actions?"],
        lambda: run(put("action", {3: 10**12}), policies={"new": dense()}),
    ),
    Case(
        "dense with an action too few",
        ANY,
        ['"new"', r"\b2\b"],
        lambda: run(policies={"new": np.full((10, 2), 0.5)}),
    ),
    Case(
        "dense Q of another width",
        POLICY,
        ['"new"', "q_values"],
        lambda: run(
            policies={"new": cf.PolicyColumns(action_probs=dense(), q_values=np.ones((10, 2)))}
        ),
    ),
    Case(
        "dense Q infinite",
        POLICY,
        ['"new"', r"row 1\b"],
        lambda: run(
            policies={
                "new": cf.PolicyColumns(action_probs=dense(), q_values=dense({(1, 1): np.inf}))
            }
        ),
    ),
    Case("nothing in it", ANY, ["prob"], lambda: run(policies={"new": cf.PolicyColumns()})),
    Case(
        "dr without q",
        ANY,
        ['"dr" needs q and v', '"old"'],
        lambda: run(policies={"new": NEW, "old": "p_new"}, estimators=["tis", "dr"]),
    ),
    Case(
        "dm without v",
        ANY,
        ['"dm" needs', r"\bv\b", '"new"'],
        lambda: run(policies={"new": cf.PolicyColumns(prob="p_new")}, estimators=["dm"]),
    ),
    Case(
        "sndr with q only",
        ANY,
        ['"sndr" needs', r"\bv\b", '"new"'],
        lambda: run(
            policies={"new": cf.PolicyColumns(prob="p_new", q="q_new")}, estimators=["sndr"]
        ),
    ),
    Case(
        "nothing but zero weights",
        POLICY,
        ['"new"'],
        lambda: run(frame(p_new=[0.0] * 10), estimators=["sntis", "snpdis", "sndr"]),
    ),
    Case("policy is None", ANY, ['"new"'], lambda: run(policies={"new": None})),
    Case("object without prob", ANY, ['"new"', "prob"], lambda: run(policies={"new": object()})),
    Case("object's answer too short", POLICY, ['"mine"'], object_policy(lambda n: np.ones(n - 1))),
    Case("object's answer 2-D", POLICY, ['"mine"'], object_policy(lambda n: np.ones((n, 3)) / 3)),
    Case("object's answer text", POLICY, ['"mine"'], object_policy(lambda n: ["a"] * n)),
    Case("object's answer None", POLICY, ['"mine"'], object_policy(lambda n: None)),
    Case(
        "object's answer NaN",
        POLICY,
        ['"mine"', r"\b1 of 10\b", r"row 7\b"],
        object_policy(lambda n: np.where(np.arange(n) == 7, np.nan, 0.5)),
    ),
    Case(
        "object's answer above 1",
        POLICY,
        ['"mine"', r"\b3 of 10\b", r"row 7\b"],
        object_policy(lambda n: np.where(np.arange(n) >= 7, 2.0, 0.5)),
    ),
    Case(
        "object, no state", ANY, ['"mine"', "state"], lambda: run(policies={"mine": Calls(np.ones)})
    ),
]

ARGUMENT_CASES = [
    Case("no policies", ANY, ["polic"], lambda: run(policies={})),
    Case("policies in a list", ANY, ["polic"], lambda: run(policies=["p_new"])),
    Case("policy names that are no text", ANY, [r"\b1\b"], lambda: run(policies={1: "p_new"})),
    Case('policy called "behavior"', ANY, ['"behavior"'], lambda: run(policies={"behavior": NEW})),
    Case("a frame for a log", ARGUMENT, ["LoggedData"], lambda: cf.evaluate(frame(), {"new": NEW})),
    Case("no estimators", ARGUMENT, ["estimator"], lambda: run(estimators=[])),
    Case("unknown estimator", ARGUMENT, ["pdsi", '"pdis"'], lambda: run(estimators=["pdsi"])),
    Case("estimator that is no text", ARGUMENT, ["3"], lambda: run(estimators=[3])),
    Case("estimator twice", ARGUMENT, ['"tis"'], lambda: run(estimators=["tis", "pdis", "tis"])),
    Case("alias and name", ARGUMENT, ['"tis"'], lambda: run(estimators=["ips", "tis"])),
    Case("two aliases", ARGUMENT, ['"sntis"'], lambda: run(estimators=["snips", "wis"])),
    *(
        Case(f"gamma {value!r}", ARGUMENT, ["gamma"], lambda value=value: run(gamma=value))
        for value in (0.0, 0, -0.5, 1.0001, 2, np.nan, np.inf, "0.9", None)
    ),
    *(
        Case(
            f"confidence_level {value!r}",
            ARGUMENT,
            ["confidence_level"],
            lambda value=value: run(confidence_level=value),
        )
        for value in (0.0, 1.0, 95, -0.1, np.nan, "95%")
    ),
    *(
        Case(
            f"num_threads {value!r}",
            ARGUMENT,
            ["num_threads"],
            lambda value=value: run(num_threads=value),
        )
        for value in (0, -1, 1.5, "two")
    ),
    Case("unknown interval", ARGUMENT, ["interval", '"normal"'], lambda: run(interval="norml")),
    Case("interval in a list", ARGUMENT, ["unknown interval"], lambda: run(interval=["t"])),
    Case(
        "unknown alternative",
        ARGUMENT,
        ["alternative", '"two-sided"'],
        lambda: run(alternative="two-side"),
    ),
    Case(
        "compare an unknown policy",
        ARGUMENT,
        ["nwe", '"new"'],
        lambda: two_estimators().compare("nwe", "behavior", estimator="tis"),
    ),
    Case(
        "compare by an unknown estimator",
        ARGUMENT,
        ["tsi", '"tis"'],
        lambda: two_estimators().compare("new", "behavior", estimator="tsi"),
    ),
    Case(
        "compare by one that was not evaluated",
        ARGUMENT,
        ['"dr"', '"tis"', '"sntis"'],
        lambda: two_estimators().compare("new", "behavior", estimator="dr"),
    ),
    Case(
        "compare by none of two",
        ARGUMENT,
        ["estimator", '"tis"', '"sntis"'],
        lambda: two_estimators().compare("new", "behavior"),
    ),
    Case("rank by none of two", ARGUMENT, ['"tis"', '"sntis"'], lambda: two_estimators().ranking()),
    Case(
        "rank by an unknown score",
        ARGUMENT,
        ["score", '"value"'],
        lambda: two_estimators().ranking(estimator="tis", score="valeu"),
    ),
    *(
        Case(
            f"portfolio of {k!r}",
            ARGUMENT,
            [r"\bk\b"],
            lambda k=k: two_estimators().portfolio(k, estimator="tis"),
        )
        for k in (0, 3, -1, 1.5)
    ),
]
CASES = [*LOG_CASES, *POLICY_CASES, *ARGUMENT_CASES]


def test_there_are_enough_cases_and_no_two_share_a_name():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) > 70


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case):
    check(case)
