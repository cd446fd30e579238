"""A line on a terminal's standard error for what takes longer than two seconds."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Who is told instead of the terminal, where a call is a part of a larger one.
_INSTEAD: ContextVar[Callable[[float], None] | None] = ContextVar("instead", default=None)


@contextmanager
def instead(report: Callable[[float], None]) -> Iterator[None]:
    """Tell `report`, and not the terminal, how far calls on this thread are.

    What it raises ends the call, on threads that no signal reaches too.
    """
    token = _INSTEAD.set(report)
    try:
        yield
    finally:
        _INSTEAD.reset(token)


@contextmanager
def progress(doing: str) -> Iterator[Callable[[float], None] | None]:
    """Give a function that shows how far something is, or None where nobody would see it.

    Parameters
    ----------
    doing
        What is done, as in "evaluating".
    """
    if (report := _INSTEAD.get()) is not None:
        yield report
        return
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    shown = False

    def show(share: float) -> None:
        nonlocal shown
        shown = True
        sys.stderr.write(f"\rcounterfolio: {doing} {100 * share:3.0f} %")
        sys.stderr.flush()

    try:
        yield show
    finally:
        if shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
