"""Evaluations of several logs as a folder of Parquet files, one to a log."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from counterfolio import _core
from counterfolio.evaluation_files import DATASET, read_metadata, write_evaluation
from counterfolio.exceptions import CounterfolioError, InvalidArgumentError
from counterfolio.files import check_path
from counterfolio.intervals import units_of
from counterfolio.uncertainty import default_resamples, default_resampling

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from counterfolio.evaluation import Evaluation

#: Settings that all evaluations of a folder have in common.
SHARED = (
    *("version", "gamma", "interval", "confidence_level", "alternative", "n_resamples", "method"),
    *("value_range", "return_range", "weight_range", "return_min", "statistic", "alpha"),
)
#: Entry of the metadata: whether the estimators were those that the inputs allow.
DEFAULT_ESTIMATORS = "default_estimators"
#: Letters of a name that its file's name shows.
SHOWN = 80


def check_name(name: object) -> str:
    """Take the name of a dataset.

    Raises
    ------
    InvalidArgumentError
        If it is no text, or no UTF-8 can be made of it.
    """
    if not isinstance(name, str):
        text = f"a dataset is named by text, not by {name!r}"
        raise InvalidArgumentError(text)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        text = f"dataset {name!r} has letters that UTF-8 cannot hold; name it otherwise"
        raise InvalidArgumentError(text) from error
    return name


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the dataset in whatever is raised."""
    try:
        yield
    except CounterfolioError as error:
        text = f'dataset "{name}": {error}'
        raise type(error)(text) from error
    except Exception as error:
        error.add_note(f'in dataset "{name}" of evaluate_many')
        raise


def file_name(name: str) -> str:
    """Name the file of a dataset.

    What is left of the name is for people; the hash tells datasets apart, also where a file system
    takes "A" and "a" for one. The name itself is in the file.
    """
    shown = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:SHOWN]
    return f"{shown}-{int(_core.hash_text([name])[0]):016x}.parquet"


def in_order(names: Iterable[str]) -> list[str]:
    """Sort names as people do: seed 2 before seed 10."""

    def key(name: str) -> tuple[list[tuple[int, str]], str]:
        parts = re.split(r"([0-9]+)", name)
        return [(int(x) if i % 2 else -1, x) for i, x in enumerate(parts)], name

    return sorted(names, key=key)


def open_folder(path: str | Path) -> Path:
    """Take the folder, and make it where it is not there.

    Raises
    ------
    InvalidArgumentError
        If the folder that it is to be in does not exist, or it is a file.
    """
    folder = check_path(path)
    if folder.exists() and not folder.is_dir():
        text = f'"{folder}" is a file; evaluations of several logs take a folder'
        raise InvalidArgumentError(text)
    if not folder.absolute().parent.is_dir():
        text = f'the folder "{folder.parent}" does not exist; make it first'
        raise InvalidArgumentError(text)
    folder.mkdir(exist_ok=True)
    return folder


def held_in(folder: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Look up which datasets a folder holds: name -> file, its metadata.

    Raises
    ------
    InvalidArgumentError
        If a Parquet file there is none of ours, or two hold the same dataset.
    """
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.parquet")):
        metadata = read_metadata(path)
        if DATASET not in metadata:
            text = (
                f'"{path}" holds one evaluation that is not of several; move it out of the folder, '
                "or read it with cf.Evaluation.from_parquet"
            )
            raise InvalidArgumentError(text)
        name = metadata[DATASET]
        if name in found:
            text = f'"{path}" and "{found[name][0]}" both hold dataset "{name}"; remove one of them'
            raise InvalidArgumentError(text)
        found[name] = (path, metadata)
    return {name: found[name] for name in in_order(found)}


def write_dataset(
    folder: Path, name: str, evaluation: Evaluation, *, default_estimators: bool
) -> None:
    """Write the evaluation of a dataset, whole or not at all."""
    among = {DATASET: name, DEFAULT_ESTIMATORS: default_estimators}
    write_evaluation(evaluation, folder / file_name(name), among)


def check_shared(folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise unless all have the settings in common that a folder's evaluations share."""
    names = list(settings)
    for name in names[1:]:
        one, other = settings[names[0]], settings[name]
        for key in SHARED:
            if _plain(one.get(key)) != _plain(other.get(key)):
                raise _mismatch(
                    folder, names[0], key, one.get(key), other.get(key), f' of "{name}"'
                )


def check_asked(
    folder: Path,
    name: str,
    metadata: Mapping[str, Any],
    asked: Mapping[str, Any],
) -> None:
    """Raise unless an evaluation that is there has the settings that are asked for.

    Parameters
    ----------
    asked
        As far as they are known before a log is read: arguments of `evaluate`, estimators by label,
        other settings by name.
    """
    settings, wanted = metadata["settings"], dict(asked)
    if metadata[DEFAULT_ESTIMATORS] and wanted["estimators"] is None:
        del wanted["estimators"]  # those that the inputs allowed, then as now
    if wanted["n_resamples"] is None:
        wanted["n_resamples"] = default_resamples(wanted["interval"])
    if wanted["n_resamples"] == 0:
        wanted |= {"method": None, "resampling": None}
    elif wanted["resampling"] is None:
        wanted["resampling"] = default_resampling(units_of(settings))
    if wanted["n_resamples"] == 0 and wanted["interval"] != "hcope":
        wanted.pop("seed", None)  # nothing is drawn
    for key, value in wanted.items():
        if _plain(value) != settings.get(key):
            raise _mismatch(folder, name, key, settings.get(key), value)


def _plain(value: Any) -> Any:
    """Bring a value to what it is in the file."""
    return json.loads(json.dumps(value, default=lambda x: getattr(x, "tolist", x.__repr__)()))


def _mismatch(
    folder: Path, name: str, key: str, there: Any, asked: Any, whose: str = ""
) -> InvalidArgumentError:
    return InvalidArgumentError(
        f'the folder "{folder}" holds dataset "{name}" with {key}={there!r}, not {asked!r}{whose}; '
        "evaluations in a folder share their settings: name another folder, or ask for the same"
    )
