"""A line on a terminal's standard error for what takes longer than two seconds."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress(doing: str) -> Iterator[Callable[[float], None] | None]:
    """Give a function that shows how far something is, or None where nobody would see it.

    Parameters
    ----------
    doing
        What is done, as in "evaluating".
    """
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
