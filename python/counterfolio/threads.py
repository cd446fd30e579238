"""How many threads a call may use."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from counterfolio.arguments import is_whole
from counterfolio.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: More threads than this help nobody.
MOST_THREADS = 1024
#: What is left for a call that says nothing, where several calls share the cores.
_SHARE: ContextVar[int | None] = ContextVar("share", default=None)


@contextmanager
def sharing(num_threads: int) -> Iterator[None]:
    """Let calls on this thread that name no number of threads take so many."""
    token = _SHARE.set(num_threads)
    try:
        yield
    finally:
        _SHARE.reset(token)


def check_threads(num_threads: object) -> int:
    """Take the number of threads; None asks COUNTERFOLIO_NUM_THREADS, then the cores.

    Raises
    ------
    InvalidArgumentError
        If it is no whole number of 1 or more.
    """
    source = "num_threads"
    if num_threads is None and (share := _SHARE.get()) is not None:
        return share
    if num_threads is None:
        source, num_threads = (
            "COUNTERFOLIO_NUM_THREADS",
            os.environ.get("COUNTERFOLIO_NUM_THREADS"),
        )
        if num_threads is None:
            available = getattr(os, "sched_getaffinity", None)
            return len(available(0)) if available else os.cpu_count() or 1
        num_threads = int(num_threads) if str(num_threads).isdecimal() else num_threads
    if not is_whole(num_threads) or num_threads < 1:
        text = f"{source} must be a whole number of 1 or more, not {num_threads!r}"
        raise InvalidArgumentError(text)
    return min(int(num_threads), MOST_THREADS)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let matrices be multiplied on one thread: there is a log to each core already.

    Without threadpoolctl, which comes with scikit-learn, they are multiplied on as many as ever.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(limits=1, user_api="blas"):
        yield
