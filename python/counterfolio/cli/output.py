"""What is printed and written: tables for people, JSON, CSV and Parquet for programs."""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from counterfolio.cli.failure import for_terminal, one_line, wrong
from counterfolio.files import check_folder, write_text, write_whole
from counterfolio.text import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import polars as pl

    from counterfolio.cli.config import Run

FORMATS = ("table", "json", "csv", "parquet")
#: Colours of words on a terminal.
STYLES = {
    r"(?m)(?<=  )reliable\b": "green",
    r"(?m)(?<=  )with care\b|: with care:|^warning:": "yellow",
    r"(?m)(?<=  )do not trust\b|: do not trust:|^serious:": "bold red",
    r"(?m)^info:": "cyan",
}


@dataclass(frozen=True)
class Result:
    """A result in every form.

    Attributes
    ----------
    text : callable
        Gives it for people, in blocks: a blank line stands between them.
    record : callable
        Gives it for JSON.
    frame : callable
        Gives it as one table, for CSV and Parquet.
    write_parquet : callable, optional
        Writes it to a path as Parquet, where that holds more than the table.
    """

    text: Callable[[], list[str]]
    record: Callable[[], Any]
    frame: Callable[[], pl.DataFrame]
    write_parquet: Callable[[Path], object] | None = None


def check(run: Run) -> str:
    """Raise now for what could not be written later; return the format.

    Raises
    ------
    InvalidArgumentError
        If there is no such format, or Parquet would go to a terminal.
    """
    kind = run.format
    if kind is None:
        ending = "" if run.output is None else Path(run.output).suffix[1:].lower()
        kind = ending if ending in FORMATS else "table"
    if kind not in FORMATS:
        raise wrong(f'--format: unknown format "{kind}"; {suggest(kind, FORMATS)}')
    if run.format is None and kind == "table" and run.output is not None:
        ending = Path(run.output).suffix
        if ending and ending != ".txt":
            raise wrong(
                f'--output: "{ending}" is no format that can be written; end it in .txt, .json, '
                ".csv or .parquet, or add --format"
            )
    if run.output is None:
        if sys.stdout is None:
            raise wrong("standard output is closed; name a file with --output")
        if kind == "parquet" and sys.stdout.isatty():
            raise wrong("Parquet is not for a terminal; name a file with --output, or use a pipe")
    return kind


#: Endings that a written file may have, by the option that names it; others would mislead.
ENDINGS = {"report": (".html", ".htm"), "save": (".parquet", ".pq"), "save_config": (".toml",)}


def check_targets(targets: Mapping[str, str | None], inputs: Iterable[Path]) -> None:
    """Raise unless each file can be made, is none that is read, and no two are the same.

    Parameters
    ----------
    targets
        Name of an option -> the path that it gave.
    inputs
        What is read.
    """
    read = {path.resolve() for path in inputs}
    seen: dict[Path, str] = {}
    for name, path in targets.items():
        if path is None:
            continue
        option = f"--{name.replace('_', '-')}"
        found = Path(path)
        check_folder(found)
        if name in ENDINGS and found.suffix and found.suffix.lower() not in ENDINGS[name]:
            raise wrong(f'{option} writes {ENDINGS[name][0]}, not "{found.suffix}"; name it so')
        if found.exists() and not found.is_file():
            continue  # a device or a pipe may be named twice
        place = found.resolve()
        if place in read:
            raise wrong(f'{option} would overwrite "{path}", which is read; name another file')
        if place in seen:
            raise wrong(f'{seen[place]} and {option} both write "{path}"; name two files')
        seen[place] = option


def emit(result: Result, kind: str, path: str | None) -> None:
    """Write a result to a file, or to standard output."""
    if kind == "parquet":
        _emit_parquet(result, path)
        return
    if kind == "table":
        text = "\n\n".join(map(for_terminal, result.text())) + "\n"
    elif kind == "json":
        text = as_json(result.record()) + "\n"
    else:
        text = result.frame().write_csv()
    if path is not None:
        write_text(text, path)
        note(f"{'table' if kind == 'table' else kind.upper()} written to {path}")
    elif kind == "table":
        _print(text)
    else:
        _write(text.encode("utf-8"))


def _emit_parquet(result: Result, path: str | None) -> None:
    def write(target: Path) -> object:
        if result.write_parquet is not None:
            return result.write_parquet(target)
        return result.frame().write_parquet(target)

    if path is not None:
        write_whole(path, write)
        note(f"Parquet written to {path}")
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "result.parquet"
        write(part)
        _write(part.read_bytes())


def _write(data: bytes) -> None:
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        sys.stdout.write(data.decode("utf-8"))
    else:
        sys.stdout.flush()
        stream.write(data)
        stream.flush()


def _print(text: str) -> None:
    """Print a text, in colours on a terminal that has them."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    if not console.is_terminal or console.no_color or console.color_system is None:
        stream.write(text)
    else:
        coloured = Text(text, end="")
        for pattern, style in STYLES.items():
            coloured.highlight_regex(pattern, style)
        console.print(coloured, end="")
    stream.flush()


def emit_line(text: str) -> None:
    """Write one line to standard output."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Say on standard error what was done."""
    if sys.stderr is not None:
        sys.stderr.write(f"counterfolio: {one_line(text)}\n")
        sys.stderr.flush()


def as_json(value: Any) -> str:
    """Write JSON; what JSON has no number for, NaN and the infinities, is null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=2, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
