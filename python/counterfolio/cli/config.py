"""A run: every option by its name, from the command line and from a TOML file."""

from __future__ import annotations

import glob
import json
import math
import os
import re
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterfolio.arguments import is_number, is_whole
from counterfolio.cli.candidates import INPUTS, check_inputs, parse_policies, parse_truth
from counterfolio.cli.failure import wrong
from counterfolio.files import write_text
from counterfolio.policies import BEHAVIOR
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from counterfolio.cli.candidates import Policies


@dataclass(frozen=True)
class Run:
    """What the options say; None, an empty list or table where they say nothing."""

    log: str | None = None
    input_format: str | None = None
    # The columns of the log.
    action: str | None = None
    reward: str | None = None
    propensity: str | None = None
    no_propensity: bool = False
    action_probs: str | None = None
    actions: list[str | int] = field(default_factory=list)
    action_type: str | None = None
    episode_id: str | None = None
    timestep: str | None = None
    terminated: str | None = None
    truncated: str | None = None
    cluster: str | None = None
    state: list[str] = field(default_factory=list)
    # The candidates: name -> prob, q, v -> column.
    policies: Policies = field(default_factory=dict)
    # Models of what the log and the candidates lack.
    fit: bool = False
    features: str | None = None
    cross_fit: int | None = None
    segment: list[str] = field(default_factory=list)
    time: str | None = None
    gamma: float | None = None
    estimators: list[str] = field(default_factory=list)
    interval: str | None = None
    confidence_level: float | None = None
    alternative: str | None = None
    n_resamples: int | None = None
    method: str | None = None
    resampling: str | None = None
    seed: int | None = None
    value_range: list[float] = field(default_factory=list)
    return_range: list[float] = field(default_factory=list)
    weight_range: list[float] = field(default_factory=list)
    return_min: float | None = None
    num_threads: int | None = None
    estimator: str | None = None
    score: str | None = None
    k: int | None = None
    report: str | None = None
    title: str | None = None
    truth: dict[str, float] | str = field(default_factory=dict)
    save: str | None = None
    format: str | None = None
    output: str | None = None


COLUMNS = (
    "action",
    "reward",
    "propensity",
    "no_propensity",
    "action_probs",
    "actions",
    "action_type",
    "episode_id",
    "timestep",
    "terminated",
    "truncated",
    "cluster",
    "state",
)
PATHS = ("log", "report", "save", "output")
LISTS = ("actions", "state", "segment", "estimators")
WHOLE = ("num_threads", "k", "n_resamples", "seed", "cross_fit")
FLAGS = ("no_propensity", "fit")
NUMBERS = ("gamma", "confidence_level", "return_min")
RANGES = ("value_range", "return_range", "weight_range")
NAMES = [f.name for f in fields(Run)]
#: Tables of the file beside `policies` and `truth`.
COLUMNS_TABLE = "columns"


def is_given(value: object) -> bool:
    """Whether an option says anything; 0 does."""
    return value is not None and value is not False and value not in ([], {})


def parse_estimators(given: list[str]) -> list[str]:
    """Take the names of lists with commas.

    Raises
    ------
    InvalidArgumentError
        If there is none.
    """
    # Commas between brackets part the options of one estimator.
    names = re.split(r",(?![^\[]*\])", ",".join(given))
    found = [name.strip() for name in names if name.strip()]
    if not found:
        raise wrong("--estimators is empty; name some, as in --estimators sntis,dr")
    return found


def gather(given: Mapping[str, Any], config: str | None) -> Run:
    """Make a run of what was given on the command line, over what a file says.

    Parameters
    ----------
    given
        Name of an option -> its value; what was not given is None, False or empty.
    config
        Path of the file.

    Raises
    ------
    InvalidArgumentError
        If an option has no meaning, or the file cannot be read or has an unknown key.
    """
    used = {name: value for name, value in given.items() if is_given(value)}
    for name, value in used.items():
        if value == "":
            raise wrong(f"{'the log' if name == 'log' else _option(name)} is empty; name one")
    if "policy" in used:
        used["policies"] = parse_policies(used.pop("policy"))
    if "truth" in used:
        used["truth"] = parse_truth(used["truth"])
    if "estimators" in used:
        used["estimators"] = parse_estimators(used["estimators"])
    for name in RANGES:
        if name in used:
            used[name] = _range(_option(name), used[name])
    if "propensity" in used and "no_propensity" in used:
        raise wrong("--propensity and --no-propensity contradict each other; drop one")
    run = Run() if config is None else load(config)
    if "propensity" in used:
        run = replace(run, no_propensity=False)
    if "no_propensity" in used:
        run = replace(run, propensity=None)
    run = replace(run, **used)
    if BEHAVIOR in run.policies:
        raise wrong(
            f'a policy cannot be called "{BEHAVIOR}": that row is the logged policy\'s own; '
            "give it another name"
        )
    return run


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _range(option: str, text: str) -> list[float]:
    """Take two numbers from `LOW,HIGH`."""
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise wrong(f"{option} must be LOW,HIGH, as in {option} 0,1, not {text!r}") from None
    return [low, high]


def load(config: str) -> Run:
    """Read a run from a file; paths in it are relative to its folder."""
    path = Path(config)
    try:
        written = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise wrong(f'"{config}" cannot be read: {error.strerror or error}') from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise wrong(f'"{config}" is not TOML: {error}') from error
    flat = _flat(config, written)
    found = {name: _checked(config, name, value) for name, value in flat.items()}
    for name in PATHS:
        if name in found and not (name == "log" and found[name] == "-"):
            found[name] = _beside(path.parent, found[name])
    if isinstance(found.get("truth"), str):
        found["truth"] = _beside(path.parent, found["truth"])
    for inputs in found.get("policies", {}).values():
        if "onnx" in inputs:
            inputs["onnx"] = _beside(path.parent, inputs["onnx"])
    run = Run(**found)
    if run.no_propensity and run.propensity is not None:
        raise wrong(f'"{config}": "propensity" and "no-propensity" contradict each other; drop one')
    return run


def _flat(config: str, written: dict[str, Any]) -> dict[str, Any]:
    """Bring all keys to the names of options; [columns] holds those of the log's columns."""
    table = written.pop(COLUMNS_TABLE, {})
    if not isinstance(table, dict):
        raise wrong(f'"{config}": "{COLUMNS_TABLE}" must be a table: [{COLUMNS_TABLE}]')
    flat: dict[str, Any] = {}
    places: list[tuple[dict[str, Any], str, list[str]]] = [
        (written, "", NAMES),
        (table, f"[{COLUMNS_TABLE}] ", list(COLUMNS)),
    ]
    for keys, where, known in places:
        for key, value in keys.items():
            name = key.replace("-", "_")
            if name not in known:
                shown = [n.replace("_", "-") for n in known]
                shown += [] if where else [COLUMNS_TABLE]
                raise wrong(f'"{config}": unknown key {where}"{key}"; {suggest(key, shown)}')
            if name in flat:
                raise wrong(f'"{config}": "{key}" is there twice; drop one')
            flat[name] = value
    return flat


def _checked(config: str, name: str, value: Any) -> Any:
    """Take a value of the file if it is of the right type."""

    def refuse(wanted: str, key: str = name, found: object = value) -> Exception:
        shown = key.replace("_", "-")
        return wrong(f'"{config}": "{shown}" must be {wanted}, not {found!r}')

    if name == "policies":
        return _policies(config, value)
    if name == "truth":
        if isinstance(value, str):
            return value
        if not isinstance(value, dict) or not all(map(is_number, value.values())):
            raise refuse("the path of a table, or a table of numbers: [truth]")
        return {key: float(number) for key, number in value.items()}
    if name in LISTS:
        values = [value] if isinstance(value, str) else value
        types = str | int if name == "actions" else str
        if not isinstance(values, list) or not all(isinstance(v, types) for v in values):
            raise refuse("a list of names")
        return values
    if name in RANGES:
        if not isinstance(value, list) or len(value) != 2 or not all(map(is_number, value)):
            raise refuse("a list of two numbers, as in [0, 1]")
        return [float(end) for end in value]
    if name in NUMBERS:
        if not is_number(value):
            raise refuse("a number")
        return float(value)
    if name in WHOLE:
        if not is_whole(value):
            raise refuse("a whole number")
        return value
    if name in FLAGS:
        if not isinstance(value, bool):
            raise refuse("true or false")
        return value
    if not isinstance(value, str):
        raise refuse("text")
    return value


def _policies(config: str, value: object) -> Policies:
    if not isinstance(value, dict):
        raise wrong(f'"{config}": "policies" must be a table, as in [policies] new = "p_new"')
    found: Policies = {}
    for name, given in value.items():
        inputs = {"prob": given} if isinstance(given, str) else given
        if not isinstance(inputs, dict) or not all(isinstance(c, str) for c in inputs.values()):
            raise wrong(
                f'"{config}": policy "{name}" must be the name of a column, or a table of names: '
                f"{', '.join(INPUTS)}"
            )
        for key in inputs:
            if key not in INPUTS:
                raise wrong(
                    f'"{config}": policy "{name}": unknown key "{key}"; {suggest(key, INPUTS)}'
                )
        if not inputs:
            raise wrong(f'"{config}": policy "{name}" names no column')
        check_inputs(name, inputs)
        found[name] = dict(inputs)
    return found


def _beside(folder: Path, written: str) -> str:
    """Take a path of the file from the file's folder."""
    path = str(folder / written)
    is_glob = glob.has_magic(written) and not Path(path).exists()
    return str(Path(glob.escape(str(folder))) / written) if is_glob else path


# Writing one.


def save(run: Run, config: str) -> None:
    """Write a run that `load` reads; the file appears whole or not at all."""
    path = Path(config)
    lines: list[str] = []
    tables = [f"\n[{COLUMNS_TABLE}]"]
    for name in NAMES:
        value = getattr(run, name)
        if not is_given(value) or name in ("policies", "truth"):
            continue
        if name in PATHS and value != "-":
            value = _from(path.parent, value)
        (tables if name in COLUMNS else lines).append(f"{name.replace('_', '-')} = {_toml(value)}")
    if isinstance(run.truth, str):
        lines.append(f"truth = {_toml(_from(path.parent, run.truth))}")
    tables = tables if len(tables) > 1 else []
    for name, inputs in run.policies.items():
        tables.append(f"\n[policies.{_key(name)}]")
        for key, written in inputs.items():
            value = _from(path.parent, written) if key == "onnx" else written
            tables.append(f"{key} = {_toml(value)}")
    if run.truth and not isinstance(run.truth, str):
        tables.append("\n[truth]")
        tables += [f"{_key(name)} = {_toml(value)}" for name, value in run.truth.items()]
    try:
        write_text("\n".join([*lines, *tables]).strip() + "\n", path)
    except UnicodeEncodeError as error:
        raise wrong(f"a name that is not Unicode cannot be saved in a config: {error}") from error


def _from(folder: Path, path: str) -> str:
    """Write a path as seen from a folder."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # on another drive
        return os.path.abspath(path)  # noqa: PTH100


def _key(name: str) -> str:
    """Write a key, in quotes where TOML wants them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: object) -> str:
    """Write a value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
