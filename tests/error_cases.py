"""What the tables of mistakes share, and the mistakes in the log itself.

One case is one mistake. `says` are regular expressions that must all be found in the message; whole
sentences are not pinned down, so they can still be improved. Where the design leaves the class
open, `ANY` of the three will do.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import counterfolio as cf
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

LOG, POLICY, ARGUMENT = cf.InvalidLogError, cf.InvalidPolicyError, cf.InvalidArgumentError
ANY = (LOG, POLICY, ARGUMENT)
KEYS = {"episode_id": "episode_id", "timestep": "timestep"}
NEW = cf.PolicyColumns(prob="p_new", q="q_new", v="v_new")
BASE = {
    "episode_id": ["a", "a", "a", "b", "b", "c", "c", "c", "c", "d"],
    "timestep": [0, 1, 2, 0, 1, 0, 1, 2, 3, 0],
    "state": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "action": [0, 1, 2, 0, 1, 2, 0, 1, 2, 0],
    "reward": [1.0, 0.0, 2.0, 1.0, 0.5, 0.0, 0.0, 3.0, 1.0, -1.0],
    "propensity": [0.5, 0.25, 0.25, 0.5, 0.25, 0.25, 0.5, 0.25, 0.25, 0.5],
    "p_new": [0.2, 0.4, 0.4, 0.2, 0.4, 0.4, 0.2, 0.4, 0.4, 0.2],
    "q_new": [1.0, 0.5, 0.2, 1.0, 0.5, 0.2, 1.0, 0.5, 0.2, 1.0],
    "v_new": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
    "over": [False, False, True, False, True, False, False, False, True, True],
}


def frame(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({**BASE, **columns}, strict=False)


def put(column: str, changes: dict[int, object]) -> pl.DataFrame:
    """The good frame with some values of one column replaced."""
    values = list(BASE[column])
    for row, value in changes.items():
        values[row] = value
    return frame(**{column: values})


def run(
    data: object = None, policies: object = None, keys: dict | None = None, **options
) -> object:
    data = frame() if data is None else data
    log = cf.LoggedData.from_frame(data, **(KEYS if keys is None else keys))
    policies = {"new": NEW} if policies is None else policies
    return cf.evaluate(log, policies, **options)


def dense(changes: dict[tuple[int, int], float] | None = None) -> np.ndarray:
    probs = np.tile([0.2, 0.4, 0.4], (10, 1))
    for cell, value in (changes or {}).items():
        probs[cell] = value
    return probs


class Calls:
    """A policy object that answers with whatever it was told to."""

    def __init__(self, answer: Callable[[int], object]) -> None:
        self.answer = answer

    def prob(self, states: object, actions: object) -> object:
        return self.answer(len(actions))


def object_policy(answer: Callable[[int], object]) -> Callable[[], object]:
    return lambda: run(policies={"mine": Calls(answer)}, keys={**KEYS, "state": "state"})


def two_estimators() -> cf.Evaluation:
    return run(policies={"new": NEW, "old": NEW}, estimators=["tis", "sntis"])


@dataclass(frozen=True)
class Case:
    name: str
    raises: type[Exception] | tuple[type[Exception], ...]
    says: list[str]
    call: Callable[[], object]


def quoted(column: str) -> str:
    return f'column "{column}"'


def missing_values() -> list[Case]:
    """null, NaN and infinity in every used column, counted, and the first row named."""
    cases = []
    bad = {
        "null": ({4: None, 7: None, 8: None}, [r"\b3 of 10\b", r"row 4\b", "null"]),
        "NaN": ({2: np.nan}, [r"\b1 of 10\b", r"row 2\b", "NaN"]),
        "both": ({9: np.nan, 6: None}, [r"\b2 of 10\b", r"row 6\b", "null or NaN"]),
        "inf": ({5: np.inf, 9: -np.inf}, [r"\b2 of 10\b", r"row 5\b", "infinit"]),
    }
    for column in ("reward", "propensity", "p_new", "q_new", "v_new"):
        policy = column.endswith("_new")
        for kind, (changes, says) in bad.items():
            data = put(column, changes)
            who = ['"new"'] if policy else []
            error = POLICY if policy else LOG
            call = lambda data=data: run(data)  # noqa: E731 - a table of calls
            cases.append(Case(f"{column} {kind}", error, [quoted(column), *says, *who], call))
    for column in ("episode_id", "timestep", "action"):
        data = put(column, {4: None, 7: None, 8: None})
        says = [quoted(column), r"\b3 of 10\b", r"row 4\b", "null"]
        cases.append(Case(f"{column} null", LOG, says, lambda data=data: run(data)))
    return cases


LOG_CASES = [
    *missing_values(),
    Case(
        "action NaN",
        LOG,
        [quoted("action"), r"\b1 of 10\b", r"row 3\b"],
        lambda: run(frame(action=[0.0, 1.0, 2.0, np.nan, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0])),
    ),
    Case(
        "terminated null",
        LOG,
        [quoted("over"), r"\b1 of 10\b", r"row 2\b"],
        lambda: run(put("over", {2: None}), keys={"terminated": "over"}),
    ),
    Case(
        "truncated null",
        LOG,
        [quoted("over"), r"\b1 of 10\b", r"row 8\b"],
        lambda: run(put("over", {8: None}), keys={"truncated": "over"}),
    ),
    Case(
        "terminated text",
        LOG,
        [quoted("over")],
        lambda: run(frame(over=["no"] * 9 + ["yes"]), keys={"terminated": "over"}),
    ),
    Case(
        "propensity 0",
        LOG,
        [quoted("propensity"), r"\b2 of 10\b", r"row 3\b"],
        lambda: run(put("propensity", {3: 0.0, 8: 0.0})),
    ),
    Case(
        "propensity negative",
        LOG,
        [quoted("propensity"), r"\b1 of 10\b", r"row 9\b"],
        lambda: run(put("propensity", {9: -0.5})),
    ),
    Case(
        "propensity above 1",
        LOG,
        [quoted("propensity"), r"\b1 of 10\b", r"row 1\b"],
        lambda: run(put("propensity", {1: 1.5})),
    ),
    Case(
        "continuous propensity 0",
        LOG,
        [quoted("propensity"), r"\b1 of 10\b", r"row 1\b"],
        lambda: run(put("propensity", {1: 0.0}), keys={**KEYS, "action_type": "continuous"}),
    ),
    Case("reward text", LOG, [quoted("reward")], lambda: run(frame(reward=["good"] * 10))),
    Case("reward numbers as text", LOG, [quoted("reward")], lambda: run(frame(reward=["1"] * 10))),
    Case(
        "reward dates",
        LOG,
        [quoted("reward")],
        lambda: run(frame(reward=[datetime.date(2026, 1, 1)] * 10)),
    ),
    Case("reward lists", LOG, [quoted("reward")], lambda: run(frame(reward=[[1.0, 2.0]] * 10))),
    Case(
        "reward all null",
        LOG,
        [quoted("reward"), r"row 0\b"],
        lambda: run(frame(reward=[None] * 10)),
    ),
    Case(
        "propensity text", LOG, [quoted("propensity")], lambda: run(frame(propensity=["half"] * 10))
    ),
    Case("timestep text", LOG, [quoted("timestep")], lambda: run(frame(timestep=["first"] * 10))),
    Case(
        "episode comes back",
        LOG,
        [quoted("episode_id"), r"row 9\b"],
        lambda: run(put("episode_id", {9: "a"})),
    ),
    Case(
        "integer episode comes back",
        LOG,
        [quoted("episode_id"), r"row 5\b"],
        lambda: run(frame(episode_id=[-7, -7, -7, 2, 2, -7, -7, -7, -7, 4])),
    ),
    Case(
        "timestep repeats",
        LOG,
        [quoted("timestep"), r"row 7\b"],
        lambda: run(put("timestep", {7: 1})),
    ),
    Case(
        "timestep runs backwards",
        LOG,
        [quoted("timestep"), r"row 2\b"],
        lambda: run(put("timestep", {2: -1})),
    ),
    Case("no rows", LOG, ["(?i)empty|no rows|0 rows"], lambda: run(frame().clear())),
    Case(
        "no batches",
        LOG,
        ["(?i)empty|no rows|0 rows"],
        lambda: run(pa.RecordBatchReader.from_batches(frame().to_arrow().schema, [])),
    ),
    Case(
        "unknown reward column",
        ANY,
        [quoted("rewrad"), '"reward"'],
        lambda: run(keys={**KEYS, "reward": "rewrad"}),
    ),
    Case(
        "unknown episode column",
        ANY,
        [quoted("episode"), '"episode_id"'],
        lambda: run(keys={"episode_id": "episode"}),
    ),
    Case(
        "unknown state column",
        ANY,
        [quoted("sate"), '"state"'],
        lambda: run(keys={**KEYS, "state": ["sate"]}),
    ),
    Case(
        "default column missing",
        ANY,
        [quoted("propensity"), '"propensities"'],
        lambda: run(frame().rename({"propensity": "propensities"})),
    ),
    Case(
        "column twice",
        LOG,
        [r'"reward"'],
        lambda: run(frame().to_arrow().append_column("reward", pa.array([9.0] * 10))),
    ),
    Case(
        "column twice in pandas",
        LOG,
        [r'"reward"'],
        lambda: run(pd.concat([frame().to_pandas(), frame().to_pandas()[["reward"]]], axis=1)),
    ),
    Case("log is a number", ANY, [], lambda: run(42)),
    Case("log is a list of records", ANY, [], lambda: run(frame().to_dicts())),
    Case(
        "arrays of different lengths",
        LOG,
        [quoted("reward"), r"\b9\b", r"\b10\b"],
        lambda: run(
            {name: np.array(v)[: 9 if name == "reward" else 10] for name, v in BASE.items()}
        ),
    ),
    Case(
        "unknown action type",
        ARGUMENT,
        ["action_type", '"discrete"'],
        lambda: run(keys={**KEYS, "action_type": "dscrete"}),
    ),
    Case(
        "logged action that is no label",
        LOG,
        [quoted("action"), r"\b3 of 10\b", r"row 2\b"],
        lambda: run(keys={**KEYS, "actions": [0, 1]}, policies={"new": np.full((10, 2), 0.5)}),
    ),
    Case(
        "labels twice",
        ANY,
        ["actions"],
        lambda: run(
            keys={**KEYS, "actions": [0, 1, 2, 1]}, policies={"new": np.full((10, 4), 0.25)}
        ),
    ),
    Case(
        "behavior probabilities that do not sum to 1",
        LOG,
        [r"\b1 of 10\b", r"row 6\b"],
        lambda: run(
            keys={**KEYS, "propensity": None, "action_probs": dense({(6, 0): 0.3})},
            estimators=["tis"],
        ),
    ),
    Case(
        "no propensities at all",
        ANY,
        ['"tis"', "propensity"],
        lambda: run(keys={**KEYS, "propensity": None}, estimators=["tis"]),
    ),
]


def check(case: Case) -> None:
    try:
        case.call()
    except cf.CounterfolioError as caught:
        error = caught
    else:
        raise AssertionError("nothing was raised")
    assert isinstance(error, case.raises), f"{type(error).__name__}: {error}"
    assert isinstance(error, ValueError)
    message = str(error)
    for pattern in case.says:
        assert re.search(pattern, message), f"{pattern!r} is not in: {message}"
    if any(pattern.startswith("row ") for pattern in case.says):
        # After the finding comes what to do about it.
        assert "; " in message, message
