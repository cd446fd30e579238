"""From a run to a checked log, and to its evaluation."""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

import counterfolio as cf
from counterfolio import estimators as registry
from counterfolio.cli import output
from counterfolio.cli.candidates import as_columns, columns_of, escape, knows_every_action
from counterfolio.cli.config import COLUMNS, RANGES, is_given
from counterfolio.cli.failure import wrong
from counterfolio.dense import check_dense
from counterfolio.exceptions import CounterfolioError, InvalidLogError, InvalidPolicyError
from counterfolio.files import METADATA_KEY
from counterfolio.reading import Source, find
from counterfolio.text import plural, suggest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractContextManager

    from counterfolio.cli.config import Run

#: Columns that a log has unless an option names others.
USUAL = ("action", "reward", "propensity")
#: Options that name one column of the log.
NAMING = (
    *USUAL,
    "action_probs",
    "episode_id",
    "timestep",
    "terminated",
    "truncated",
    "cluster",
)
#: Options that `evaluate` takes as arguments; those used are settings of the evaluation.
UNCERTAINTY = (
    "interval",
    "confidence_level",
    "alternative",
    "n_resamples",
    "method",
    "resampling",
    "seed",
    *RANGES,
    "return_min",
)
#: Bytes from which reading is announced on a terminal.
LARGE = 50_000_000
#: Columns that a message lists.
LISTED = 20
#: Folds of episodes that models are cross-fitted by.
DEFAULT_FOLDS = 5


def find_log(run: Run) -> Source:
    """Find the files of the run's log.

    Raises
    ------
    InvalidArgumentError
        If there is none.
    """
    if run.log is None:
        raise wrong("no log; name a file, a folder or a glob, as in log.parquet")
    if run.log == "-" and run.input_format is None:
        raise wrong("standard input has no name to tell its format from; add --input-format csv")
    path = "/dev/stdin" if run.log == "-" else run.log
    try:
        return find(path, run.input_format)
    except InvalidLogError as error:
        raise wrong(str(error)) from error


def files_read(run: Run) -> list[Path]:
    """List the files that a run reads, as far as they are there; reading says what is missing."""
    if run.log in (None, "-"):
        found = []
    else:
        try:
            found = list(find_log(run).files)
        except CounterfolioError:
            found = []
    return [*found, Path(run.truth)] if isinstance(run.truth, str) else found


def saved_with(source: Source) -> dict[str, Any]:
    """Take what `to_parquet` wrote of a log or an evaluation into its one file; else nothing."""
    if source.format != "parquet" or len(source.files) > 1 or not source.files[0].is_file():
        return {}
    try:
        with source.files[0].open("rb") as opened:
            metadata = pl.read_parquet_metadata(opened)
    except (OSError, pl.exceptions.PolarsError):
        return {}  # reading it says what is wrong
    try:
        written = json.loads(metadata.get(METADATA_KEY, "{}"))
    except ValueError:
        return {}  # somebody else's
    return written if isinstance(written, dict) else {}


def is_evaluation(source: Source) -> bool:
    """Whether `Evaluation.to_parquet` wrote it."""
    return "variances" in saved_with(source)


def open_log(run: Run, *, every_column: bool) -> tuple[cf.LoggedData, Run]:
    """Read and check the log.

    Parameters
    ----------
    every_column
        Read also the columns that no option names.

    Returns
    -------
    The log, and the run with the columns that were used.

    Raises
    ------
    InvalidArgumentError
        If there is no such file or column.
    InvalidLogError
        If the log holds what it may not hold.
    """
    source = find_log(run)
    written = saved_with(source)
    if "variances" in written:
        raise wrong(
            f'"{run.log}" is an evaluation that --save wrote, not a log; rank and report take it'
        )
    if "propensity_source" in written and not any(is_given(getattr(run, n)) for n in COLUMNS):
        with _reading(source):
            log = cf.read_parquet(source.files[0])
        names = log._table.names
        _check_columns(run, names, [])
        return log, run
    run = _filled(run)
    frame = _read(run, source, every_column=every_column)
    if run.fit and run.propensity == "propensity" and "propensity" not in frame.columns:
        run = replace(run, propensity=None, no_propensity=True)
    roles: dict[str, Any] = {name: getattr(run, name) for name in NAMING}
    roles["state"] = run.state or None
    roles["actions"] = _action_labels(run, frame)
    roles["action_type"] = run.action_type or "discrete"
    return cf.LoggedData.from_frame(frame, **roles), run


def _filled(run: Run) -> Run:
    """Name the usual columns where no option names one."""
    used: dict[str, Any] = {
        name: name if getattr(run, name) is None else getattr(run, name) for name in USUAL
    }
    if run.no_propensity or (run.action_probs is not None and run.propensity is None):
        used["propensity"] = None
    return replace(run, **used)


def _read(run: Run, source: Source, *, every_column: bool) -> pl.DataFrame:
    named = [(name, getattr(run, name)) for name in NAMING if getattr(run, name) is not None]
    named += [("state", name) for name in run.state]

    def choose(names: list[str]) -> Collection[str]:
        if run.fit and "propensity" not in names:  # it is estimated
            named[:] = [x for x in named if x != ("propensity", "propensity")]
        _check_columns(run, names, named)
        used = {column for _, column in named}
        for inputs in run.policies.values():
            used.update(columns_of(inputs).values())
        return names if every_column else used

    with _reading(source):
        frame = source.read(choose)
    if source.format in ("csv", "tsv"):
        numeric = [
            (f"--{name}", column) for name, column in named if name in ("reward", "propensity")
        ]
        for policy, inputs in run.policies.items():
            columns = [column for key, column in inputs.items() if key in ("prob", "q", "v")]
            numeric += [(f'policy "{policy}"', column) for column in columns]
        for where, column in numeric:
            frame = frame.with_columns(_numbers(frame[column], where))
    return frame


def _check_columns(run: Run, names: list[str], named: list[tuple[str, str]]) -> None:
    """Raise unless the log has every column that an option, or nobody, named."""
    shown = ", ".join(f'"{name}"' for name in names[:LISTED])
    shown += f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    usual = [name for name, column in named if name in USUAL and name == column]
    if missing := [name for name in usual if name not in names]:
        columns = ", ".join(f'"{name}"' for name in missing)
        text = (
            f"no {'column' if len(missing) == 1 else 'columns'} {columns} in the log; name "
            f"{'the one that holds it' if len(missing) == 1 else 'the right ones'} with "
            + ", ".join(f"--{name}" for name in missing)
        )
        if "propensity" in missing:
            text += " (or pass --no-propensity)"
        near = [(n, suggest(n, names)) for n in missing]
        hints = [said for _, said in near if said.startswith("did you mean")]
        raise wrong(f"{text}; {' '.join(hints) or f'the log has {shown}'}")
    asked = [(f"--{name.replace('_', '-')}", column) for name, column in named]
    for policy, inputs in run.policies.items():
        asked += [(f'policy "{policy}"', column) for column in columns_of(inputs).values()]
    asked += [("--segment", name) for name in run.segment]
    asked += [] if run.time is None else [("--time", run.time)]
    for where, column in asked:
        if column not in names:
            said = suggest(column, names)
            said = said if said.startswith("did you mean") else f"the log has {shown}"
            raise wrong(f'{where}: no column "{column}" in the log; {said}')


def _numbers(column: pl.Series, where: str) -> pl.Series:
    """Take the numbers of a column of a CSV file; raise where some are none."""
    if column.dtype != pl.String:
        return column
    numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
    bad = numbers.is_null() & column.is_not_null()
    if not (count := int(bad.sum())):
        return numbers
    row = bad.arg_max() or 0
    text = (
        f'{where}: column "{column.name}": {plural(count, "value")} of {len(column):,} '
        f"{'is' if count == 1 else 'are'} text, where numbers are wanted, first at row {row} "
        f"({column[row]!r}); mend the file (no units, a point before decimals)"
    )
    raise InvalidLogError(text)


def _action_labels(run: Run, frame: pl.DataFrame) -> list[str | int] | None:
    """Take the labels as numbers where the actions are numbers."""
    if not run.actions or not frame[str(run.action)].dtype.is_integer():
        return run.actions or None
    try:
        return [int(label) for label in run.actions]
    except ValueError as error:
        raise wrong(f'--actions: column "{run.action}" holds integers; {error}') from error


def _reading(source: Source) -> AbstractContextManager[object]:
    """Show on a terminal that something large is read."""
    size = sum(path.stat().st_size for path in source.files if path.is_file())
    if size < LARGE or sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    from counterfolio.cli.failure import one_line

    name = one_line(os.fspath(Path(source.given).name))
    return Console(stderr=True, markup=False).status(f"counterfolio: reading {name}")


def probabilities(run: Run, log: cf.LoggedData) -> dict[str, object]:
    """Take what the report of a log wants of each policy that has probabilities."""
    found: dict[str, object] = {}
    for name, columns in run.policies.items():
        if "prob" in columns:
            found[name] = columns["prob"]
        elif "action_probs" in columns:
            column = columns["action_probs"]
            label = f'policy "{name}": column "{column}"'
            found[name] = check_dense(label, log.column(column), log.n_rows, InvalidPolicyError)
    return found


def estimate(run: Run, *, every_column: bool) -> tuple[cf.Evaluation, Run]:
    """Evaluate the run's policies on its log.

    Returns
    -------
    The evaluation, and the run with every argument that was used.

    Raises
    ------
    InvalidArgumentError
        If the call is wrong.
    InvalidLogError, InvalidPolicyError
        If the data are refused.
    """
    if not run.policies:
        if is_evaluation(find_log(run)):
            raise wrong(
                f'"{run.log}" is a saved evaluation; rank and report take it, or name a log'
            )
        raise wrong("no policies; name each with --policy NAME=COLUMN, as in --policy new=p_new")
    names = _estimators(run)
    log, run = open_log(run, every_column=every_column)
    arguments: dict[str, Any] = {
        name: getattr(run, name)
        for name in ("gamma", *UNCERTAINTY, "num_threads")
        if is_given(getattr(run, name))
    }
    policies: Mapping[str, cf.PolicyColumns]
    policies = {name: as_columns(inputs) for name, inputs in run.policies.items()}
    if run.fit:
        policies = _prepare(run, log, policies, names)
    evaluation = cf.evaluate(log, policies, names, **arguments)
    used = {name: evaluation.settings[name] for name in ("gamma", *UNCERTAINTY)}
    # What was not used stays as it was given, and what nobody named is left unsaid.
    used = {name: value for name, value in used.items() if value}
    return evaluation, replace(run, estimators=evaluation.estimators, **used)


def _prepare(
    run: Run,
    log: cf.LoggedData,
    policies: Mapping[str, cf.PolicyColumns],
    names: list[str] | None,
) -> cf.Prepared:
    """Fit what the estimators need and the log and policies lack, and say what was fitted."""
    features = run.features or "auto"
    prepared = cf.prepare(
        log,
        policies,
        names,
        gamma=1.0 if run.gamma is None else run.gamma,
        cross_fit=DEFAULT_FOLDS if run.cross_fit is None else run.cross_fit or None,
        seed=run.seed or 0,
        q_model=cf.models.LinearQ(features=features),
        propensity_model=cf.models.PropensityModel(features=features),
        num_threads=run.num_threads,
    )
    output.note(repr(prepared))
    return prepared


def _estimators(run: Run) -> list[str] | None:
    """Name the estimators, and raise where an input of theirs is missing."""

    def lack(inputs: dict[str, str], needs: Collection[str]) -> list[str]:
        has = set(inputs)
        has |= {"prob"} if knows_every_action(inputs) else set()
        has |= {"q", "v"} if "q_values" in has else set()
        if run.fit and knows_every_action(inputs):
            has |= {"q", "v", "state_ratio", "state_action_ratio"}
        return [key for key in needs if key not in has]

    bare = not any(lack(i, ["v"]) for i in run.policies.values())
    weightless = any(lack(i, ["prob"]) for i in run.policies.values())
    asked = registry.resolve(run.estimators) if run.estimators else None
    names = None if asked is None else [estimator.label for estimator in asked]
    for name in ("features", "cross_fit"):
        if getattr(run, name) is not None and not run.fit:
            raise wrong(f"--{name.replace('_', '-')} is for models; add --fit")
    if run.fit:
        if not run.state:
            raise wrong("--fit needs the state; name its columns with --state")
        if names is None:
            modelled = all(not lack(i, ["q", "v"]) for i in run.policies.values())
            names = [*registry.WEIGHTED_DEFAULT, *(registry.MODEL_DEFAULT if modelled else ())]
    if names is None and bare and (run.no_propensity or weightless):
        return ["dm"]
    for name in names or registry.WEIGHTED_DEFAULT:
        needs = registry.parse(name).needs
        if run.no_propensity and "prob" in needs and not run.fit:
            raise wrong(
                f'"{name}" needs propensities; name their column with --propensity, estimate them '
                "with --fit, or use the direct method: --estimators dm, with v for each policy"
            )
        for policy, inputs in run.policies.items():
            if missing := lack(inputs, needs):
                form = ",".join("COLUMN" if key == "prob" else f"{key}=COLUMN" for key in needs)
                raise wrong(
                    f'"{name}" needs {" and ".join(missing)} for policy "{policy}"; write '
                    f"--policy {escape(policy)}={form}"
                )
    return names
