r"""Policies and true values as the command line writes them: NAME=COLUMN,q=COLUMN,v=COLUMN.

A policy that is an ONNX model is NAME=onnx=FILE,head=HEAD,parameter=NUMBER.

A backslash takes the sign after it literally: ``\=``, ``\,`` and ``\\`` stand for signs of a name.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from counterfolio.cli.failure import wrong
from counterfolio.exceptions import CounterfolioError
from counterfolio.policies import (
    Deterministic,
    EpsilonGreedy,
    Gaussian,
    Onnx,
    PolicyColumns,
    Softmax,
)
from counterfolio.reading import find
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Name -> input of `PolicyColumns` -> column.
Policies: TypeAlias = dict[str, dict[str, str]]
#: What a policy may be made of.
COLUMN_INPUTS = (
    *("prob", "q", "v", "action_probs", "q_values", "action"),
    *("state_ratio", "state_action_ratio"),
)
INPUTS = (*COLUMN_INPUTS, "ratio_kind", "onnx", "head", "parameter")
#: What turns a model's scores, or its mean action, into a policy; and whether it has a parameter.
HEADS: dict[str, tuple[Any, bool]] = {
    "epsilon_greedy": (EpsilonGreedy, True),
    "softmax": (Softmax, True),
    "deterministic": (Deterministic, False),
    "gaussian": (Gaussian, True),
}
#: How a policy is written, for messages.
FORM = "write NAME=COLUMN, as in --policy new=p_new"


def split(text: str, sign: str, most: int = 0) -> list[str]:
    """Split at a sign that no backslash stands before; backslashes stay."""
    parts: list[str] = []
    part = ""
    for piece in re.findall(r"\\.|[^\\]|\\$", text, re.DOTALL):
        if piece == sign and (not most or len(parts) < most):
            parts.append(part)
            part = ""
        else:
            part += piece
    return [*parts, part]


def literal(text: str) -> str:
    """Take away the backslashes before `=`, `,` and backslashes."""
    return re.sub(r"\\([=,\\])", r"\1", text)


def escape(text: str) -> str:
    """Put a backslash before `=`, `,` and backslashes: what `literal` takes away."""
    return re.sub(r"([=,\\])", r"\\\1", text)


def parse_policies(given: Sequence[str]) -> Policies:
    """Take policies from ``NAME=COLUMN`` or ``NAME=COLUMN,q=COLUMN,v=COLUMN``.

    Raises
    ------
    InvalidArgumentError
        If one is written otherwise, or two have one name.
    """
    found: Policies = {}
    for text in given:
        name, *rest = split(text, "=", most=1)
        name = literal(name)
        if not rest or not name or not rest[0]:
            raise wrong(f'--policy "{text}" names no {"column" if name else "policy"}; {FORM}')
        if name in found:
            raise wrong(f'two policies are called "{name}"; give each its own name')
        found[name] = _inputs(name, rest[0])
    return found


def _inputs(name: str, text: str) -> dict[str, str]:
    inputs: dict[str, str] = {}
    for i, part in enumerate(split(text, ",")):
        key, *column = split(part, "=", most=1)
        if not column and i == 0:
            key, column = "prob", [key]
        if not column:
            raise wrong(
                f'policy "{name}": "{part}" is no input; write q=COLUMN or v=COLUMN, or "\\," for '
                "a comma within a column's name"
            )
        if key not in INPUTS:
            raise wrong(
                f'policy "{name}": unknown input "{key}"; {suggest(key, INPUTS)} ("\\=" stands '
                'for "=" within a column\'s name)'
            )
        if key in inputs:
            raise wrong(f'policy "{name}" has {key} twice; drop one')
        if not column[0]:
            raise wrong(f'policy "{name}": {key} names no column; {FORM}')
        inputs[key] = literal(column[0])
    check_inputs(name, inputs)
    return inputs


def check_inputs(name: str, inputs: dict[str, str]) -> None:
    """Raise where a model lacks its head, or a head its model or its parameter."""
    if "onnx" not in inputs:
        if odd := [key for key in ("head", "parameter") if key in inputs]:
            raise wrong(f'policy "{name}": {odd[0]} is for a model; name it with onnx=FILE')
        return
    if known := [key for key in ("prob", "action_probs", "action") if key in inputs]:
        raise wrong(f'policy "{name}" has both onnx and {known[0]}; drop one')
    if "head" not in inputs:
        raise wrong(f'policy "{name}": onnx needs head=HEAD; {suggest("", HEADS)}')
    if inputs["head"] not in HEADS:
        raise wrong(f'policy "{name}": unknown head; {suggest(inputs["head"], HEADS)}')
    takes = HEADS[inputs["head"]][1]
    if takes != ("parameter" in inputs):
        what = "needs parameter=NUMBER" if takes else "takes no parameter"
        raise wrong(f'policy "{name}": head {inputs["head"]} {what}')
    try:
        float(inputs.get("parameter", 0))
    except ValueError:
        raise wrong(f'policy "{name}": parameter={inputs["parameter"]} is no number') from None


def columns_of(inputs: dict[str, str]) -> dict[str, str]:
    """Take the inputs that are columns of the log."""
    return {key: value for key, value in inputs.items() if key in COLUMN_INPUTS}


def knows_every_action(inputs: dict[str, str]) -> bool:
    """Whether a policy can say what it does with every action, so that models can be fitted."""
    return any(key in inputs for key in ("action_probs", "action", "onnx"))


def as_columns(inputs: dict[str, str]) -> PolicyColumns:
    """Make the policy that the inputs name."""
    columns: dict[str, Any] = columns_of(inputs)
    if "ratio_kind" in inputs:
        columns["ratio_kind"] = inputs["ratio_kind"]
    if "onnx" in inputs:
        head, takes = HEADS[inputs["head"]]
        parameters = [float(inputs["parameter"])] if takes else []
        columns["prob"] = head(Onnx(inputs["onnx"]), *parameters)
    return PolicyColumns(**columns)


def parse_truth(given: Sequence[str]) -> dict[str, float] | str:
    """Take true values from ``NAME=VALUE``, or the path of a table that holds them."""
    if len(given) == 1 and (Path(given[0]).exists() or len(split(given[0], "=")) == 1):
        return given[0]
    found: dict[str, float] = {}
    for text in given:
        name, *value = split(text, "=", most=1)
        try:
            number = float(value[0]) if value and name else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise wrong(f'--truth "{text}" is no true value; write NAME=VALUE, as in new=0.12')
        if literal(name) in found:
            raise wrong(f'--truth gives "{literal(name)}" twice; drop one')
        found[literal(name)] = number
    return found


def read_truth(truth: dict[str, float] | str) -> dict[str, float] | None:
    """Take the true values, from their table if they are in one; None where there are none."""
    if not isinstance(truth, str):
        return truth or None
    try:
        frame = find(truth).read()
    except CounterfolioError as error:
        raise wrong(f"--truth: {error}") from error
    for name in ("policy", "value"):
        if name not in frame.columns:
            raise wrong(
                f'--truth: "{truth}" has no column "{name}"; it needs the columns "policy" and '
                '"value"'
            )
    values = frame["value"]
    if not values.dtype.is_numeric() or values.null_count() or not values.is_finite().all():
        raise wrong(f'--truth: column "value" of "{truth}" must hold finite numbers alone')
    if frame["policy"].null_count():
        raise wrong(f'--truth: column "policy" of "{truth}" has a row without a name; name it')
    names = [str(name) for name in frame["policy"]]
    if len(set(names)) < len(names):
        raise wrong(f'--truth: column "policy" of "{truth}" names a policy twice; drop one')
    return dict(zip(names, map(float, values), strict=True))
