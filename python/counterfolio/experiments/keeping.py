"""The folder of an experiment: it keeps what was asked beside the answers."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from counterfolio.exceptions import InvalidArgumentError
from counterfolio.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: File in the folder.
FILE = "experiment.json"
#: True values by the same roll-outs that differ by less than this share are equal but for rounding.
ROUNDING = 1e-9


def keep_asked(folder: Path, asked: Mapping[str, Any], values: Mapping[str, float]) -> None:
    """Write what an experiment asks into its folder, or check that the folder is of the same.

    Evaluations alone do not tell: the same names of logs and policies come with any seed.

    Parameters
    ----------
    folder
        Which is there.
    asked
        Settings of which evaluations and true values are functions.
    values
        True values, by policy; they are compared where they come from as many roll-outs, since
        environments and policies that are objects do not say otherwise what they are.

    Raises
    ------
    InvalidArgumentError
        If the folder holds another experiment, or evaluations of none.
    """
    file = folder / FILE
    if not file.exists():
        if any(folder.glob("*.parquet")):
            text = f'the folder "{folder}" holds evaluations of no experiment; name another folder'
            raise InvalidArgumentError(text)
        write_text(json.dumps({**asked, "values": values}, indent=1), file)
        return
    there = _read(file)
    known = {key: x for key, x in asked.items() if key != "n_roll_outs"}
    for key, value in json.loads(json.dumps(known)).items():
        if there.get(key) != value:
            raise _mismatch(folder, f"{key}={there.get(key)!r}, not {value!r}")
    held = there.get("values", {})
    if list(held) != list(values):
        raise _mismatch(folder, f"the policies {', '.join(held)}, not {', '.join(values)}")
    if there.get("n_roll_outs") != asked["n_roll_outs"]:
        return
    for name, value in values.items():
        if not math.isclose(held[name], value, rel_tol=ROUNDING):
            text = (
                f'policies or an environment of other behavior: "{name}" was worth {held[name]:g} '
                f"in the same roll-outs, not {value:g}"
            )
            raise _mismatch(folder, text)


def described(model: Any) -> str:
    """Describe a model: by its settings, unless all it says is where it lies in memory."""
    text = repr(model)
    return type(model).__name__ if " at 0x" in text else text


def _read(file: Path) -> dict[str, Any]:
    try:
        there = json.loads(file.read_text("utf-8"))
    except ValueError:
        there = None
    if not isinstance(there, dict):
        text = f'"{file}" does not say what experiment its folder holds; name another folder'
        raise InvalidArgumentError(text)
    return there


def _mismatch(folder: Path, what: str) -> InvalidArgumentError:
    text = (
        f'the folder "{folder}" holds an experiment with {what}; name another folder, or ask for '
        "the same"
    )
    return InvalidArgumentError(text)
