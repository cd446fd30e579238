"""`evaluate_many`: several logs, side by side on the cores there are."""

from __future__ import annotations

import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from counterfolio import _core
from counterfolio import estimators as registry
from counterfolio.arguments import check_seed, is_whole, one_of
from counterfolio.estimation import evaluate
from counterfolio.evaluation import Evaluation
from counterfolio.evaluation_files import COMPUTED
from counterfolio.evaluations import Evaluations
from counterfolio.evaluations_files import (
    SHARED,
    check_asked,
    check_name,
    held_in,
    naming,
    open_folder,
    write_dataset,
)
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.loading import read_parquet
from counterfolio.log import LoggedData, check_log
from counterfolio.progress import instead, progress
from counterfolio.threads import MOST_THREADS, check_threads, sharing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias, Unpack

    from counterfolio.estimation import Interval
    from counterfolio.estimators import Estimator

    Log: TypeAlias = LoggedData | Callable[[], LoggedData] | str | Path
    Policies: TypeAlias = Mapping[str, object] | Callable[[LoggedData], Mapping[str, object]]

KEPT = ("logs", "diagnostics", "estimates")
#: Seconds between two looks for a signal.
WAKE = 0.1
#: Progress is shown for what takes longer than so many seconds.
PATIENCE = 2.0


class Options(TypedDict, total=False):
    """What `evaluate_many` hands on to `evaluate`."""

    gamma: float
    interval: Interval
    confidence_level: float
    alternative: Literal["two-sided", "greater", "less"]
    n_resamples: int | None
    method: Literal["percentile", "basic", "bca"]
    resampling: Literal["poisson", "multinomial"] | None
    value_range: tuple[float, float] | None
    return_range: tuple[float, float] | None
    weight_range: tuple[float, float] | None
    return_min: float | None


DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(evaluate).parameters.items()
    if name in Options.__optional_keys__
}


def evaluate_many(
    logs: Mapping[str, Log],
    policies: Policies,
    estimators: Sequence[str | Estimator] | None = None,
    *,
    seed: int | None = None,
    num_threads: int | None = None,
    n_jobs: int | None = None,
    path: str | Path | None = None,
    keep: Literal["logs", "diagnostics", "estimates"] | None = None,
    **options: Unpack[Options],
) -> Evaluations:
    """Evaluate policies on several logs: of several behavior policies, seeds, weeks, markets.

    Each log is evaluated by `evaluate`, to the last bit as if alone, for any `n_jobs`. An error
    names the dataset.

    Parameters
    ----------
    logs
        Name of the dataset -> log, or a function of no argument that makes it, or the path of a
        Parquet file that `read_parquet` reads without being told more. With functions and paths
        no more than `n_jobs` logs are in memory at once.
    policies
        As in `evaluate`; or a function of the log that returns them, as in `lambda log:
        cf.prepare(log, candidates, ["dm", "sndr"])`.
    estimators
        As in `evaluate`.
    seed
        0 to 2^64 - 1. Each dataset has a seed of its own, in its `settings`: the XXH3-64 hash of
        "SEED/NAME" in UTF-8, whatever other datasets there are. Default: each is drawn, where
        anything is random.
    num_threads
        Of all logs together. Default: as in `evaluate`.
    n_jobs
        How many logs are worked on at once; each gets its share of `num_threads`, and so does what
        `logs` and `policies` call in counterfolio without naming a number. Default: `num_threads`.
        Functions, and objects among the policies, are called from so many threads at once.
    path
        Of a folder. Each evaluation is written there when it is finished, whole or not at all; what
        the folder holds already is read, not evaluated again, so that a run that was stopped goes
        on and a folder grows. Read it with `Evaluations.from_parquet`.
    keep
        What is kept beside the estimates. "logs": log and policies, from which diagnostics and the
        log's report are computed when asked for, and `compare(estimator="delta")`. "diagnostics":
        these are computed at once, and the log is let go. "estimates": nothing, where it is
        estimates that count; the others can take several times as long. Default: "logs" where log
        and policies are given as they are, and so in memory anyway, else "diagnostics".
    **options
        Of `evaluate`: gamma, interval, confidence_level, alternative, n_resamples, method,
        resampling, value_range, return_range, weight_range, return_min.

    Returns
    -------
    Evaluations
        Of `logs`, in their order; the folder may hold more.

    Raises
    ------
    InvalidArgumentError
        If an argument is out of its range, or the folder holds a dataset evaluated otherwise. What
        is compared: the version, all arguments, names of policies and estimators as far as they are
        known, and the size of logs that are in memory; not what they are made of.
    CounterfolioError
        Whatever `evaluate` raises, with the name of the dataset before it. Logs that are being
        evaluated are finished, and written where there is a folder; the others are not begun.
    """
    sources = _check_logs(logs)
    if unknown := set(options) - Options.__optional_keys__:
        text = f"evaluate_many() got an unexpected keyword argument {min(unknown)!r}"
        raise TypeError(text)
    _check_policies(policies)
    if keep is not None:
        one_of("keep", keep, KEPT)
    threads = check_threads(num_threads)
    seed = None if seed is None else check_seed(seed)
    job = _Job(sources, policies, estimators, {**DEFAULTS, **options}, seed, threads, keep)
    folder = None if path is None else open_folder(path)
    found = {} if folder is None else _held(folder, job)
    left = [name for name in sources if name not in found]
    jobs = min(_check_jobs(n_jobs, threads), max(len(left), 1))

    def one(name: str) -> Evaluation:
        with naming(name), sharing(max(1, threads // jobs)):
            evaluation = job.evaluate(name, complete=folder is not None)
            if folder is not None:
                default = estimators is None
                write_dataset(folder, name, evaluation, default_estimators=default)
        return evaluation

    found |= _alone(left, one) if jobs == 1 else _together(left, one, jobs)
    return Evaluations({name: found[name] for name in sources}, estimators is None)


def seed_of(seed: int, name: str) -> int:
    """Derive the seed of a dataset."""
    return int(_core.hash_text([f"{seed}/{name}"])[0])


@dataclass(frozen=True, eq=False)
class _Job:
    """What is to be done with each log."""

    sources: Mapping[str, Log]
    policies: Policies
    estimators: Sequence[str | Estimator] | None
    options: dict[str, Any]
    seed: int | None
    threads: int
    keep: str | None

    def evaluate(self, name: str, *, complete: bool) -> Evaluation:
        """Evaluate a dataset, with the threads that this thread may use.

        Parameters
        ----------
        complete
            Whether diagnostics are wanted at once even of a log that is kept.
        """
        source = self.sources[name]
        log = _load(source)
        given = isinstance(self.policies, Mapping)
        policies = self.policies if isinstance(self.policies, Mapping) else self.policies(log)
        seed = None if self.seed is None else seed_of(self.seed, name)
        evaluation = evaluate(log, policies, self.estimators, seed=seed, **self.options)
        keep = self.keep or ("logs" if given and log is source else "diagnostics")
        if keep == "diagnostics" or (complete and keep == "logs"):
            evaluation.diagnostics, evaluation.log_report  # noqa: B018 - held from here on
        held = vars(evaluation)
        computed = {what: x for what, x in held.items() if what in COMPUTED}
        # A single call would have had all threads, and what is computed later will have.
        settings = evaluation.settings | {"num_threads": self.threads}
        kept = replace(
            evaluation, settings=settings, _source=evaluation._source if keep == "logs" else None
        )
        vars(kept).update(computed)
        return kept

    def asked(self, name: str) -> dict[str, Any]:
        """Name the settings of a dataset as far as they are known before its log is read."""
        # A statistic is that of evaluations of distributions, which may be in a folder too.
        own = dict.fromkeys(("statistic", "alpha", "estimators"))
        found: dict[str, Any] = {"version": _core.__version__, **own, **self.options}
        if self.estimators is not None:
            found["estimators"] = [e.label for e in registry.resolve(self.estimators)]
        if isinstance(self.policies, Mapping):
            found["policies"] = list(self.policies)
        if self.seed is not None:
            found["seed"] = seed_of(self.seed, name)
        if isinstance(log := self.sources[name], LoggedData):
            found |= {"n_rows": log.n_rows, "n_episodes": log.n_episodes}
        return found


def _check_logs(logs: object) -> dict[str, Log]:
    if not isinstance(logs, Mapping) or not logs:
        text = f"logs must map names of datasets to logs, not {logs!r}"
        raise InvalidArgumentError(text)
    for name, log in logs.items():
        check_name(name)
        if not isinstance(log, LoggedData | str | Path) and not callable(log):
            text = (
                f'dataset "{name}" must be a LoggedData, a function that makes one, or the path of '
                f"a Parquet file, not {type(log).__name__}"
            )
            raise InvalidArgumentError(text)
    return dict(logs)


def _check_policies(policies: object) -> None:
    if not isinstance(policies, Mapping) and not callable(policies):
        text = f"policies must map names to policies, or be a function of the log, not {policies!r}"
        raise InvalidArgumentError(text)


def _check_jobs(n_jobs: object, threads: int) -> int:
    if n_jobs is None:
        return threads
    if not is_whole(n_jobs) or n_jobs < 1:
        text = f"n_jobs must be a whole number of 1 or more, not {n_jobs!r}"
        raise InvalidArgumentError(text)
    return min(int(n_jobs), MOST_THREADS)


def _load(source: Log) -> LoggedData:
    """Take a log, read it, or have it made."""
    if isinstance(source, LoggedData):
        return source
    log = read_parquet(source) if isinstance(source, str | Path) else source()
    check_log(log, "evaluate_many")
    return log


def _held(folder: Path, job: _Job) -> dict[str, Evaluation]:
    """Read the datasets that the folder holds, and check that they are what is asked for."""
    held, others = held_in(folder), {*SHARED, "resampling", "estimators"}
    for name, (_, metadata) in held.items():
        wanted = job.asked(name if name in job.sources else next(iter(job.sources)))
        if name not in job.sources:
            # Nothing is asked for of its own; it has to fit into the same table.
            wanted = {key: x for key, x in wanted.items() if key in others}
        check_asked(folder, name, metadata, wanted)
    return {name: Evaluation.from_parquet(held[name][0]) for name in job.sources if name in held}


def _alone(names: list[str], one: Callable[[str], Evaluation]) -> dict[str, Evaluation]:
    """Work on one log after the other, on the caller's thread."""
    found: dict[str, Evaluation] = {}
    began = time.monotonic()
    with progress("evaluating logs") as show:

        def report(_: float = 0.0) -> None:
            if show is not None and time.monotonic() - began > PATIENCE:
                show(len(found) / len(names))

        with instead(report):
            for name in names:
                found[name] = one(name)
                report()
    return found


def _together(
    names: list[str], one: Callable[[str], Evaluation], jobs: int
) -> dict[str, Evaluation]:
    """Work on some logs at once, on threads of their own."""
    waiting = deque(names)
    finished: SimpleQueue[tuple[str, Evaluation | BaseException] | None] = SimpleQueue()
    stopped = threading.Event()

    def report(_: float) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt  # the core gives up what it does

    def work() -> None:
        with instead(report):
            while waiting:
                try:
                    name = waiting.popleft()
                except IndexError:  # another thread was faster
                    break
                try:
                    finished.put((name, one(name)))
                except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
                    waiting.clear()
                    finished.put((name, error))
        finished.put(None)

    found: dict[str, Evaluation] = {}
    errors: dict[str, BaseException] = {}
    threads = [threading.Thread(target=work) for _ in range(jobs)]
    running, began = 0, time.monotonic()
    with progress("evaluating logs") as show:
        try:
            for thread in threads:
                thread.start()
                running += 1
            while running:
                try:
                    done = finished.get(timeout=WAKE)
                except Empty:
                    continue
                if done is None:
                    running -= 1
                elif isinstance(done[1], BaseException):
                    errors[done[0]] = done[1]
                else:
                    found[done[0]] = done[1]
                if show is not None and time.monotonic() - began > PATIENCE:
                    show(len(found) / len(names))
        except BaseException:
            stopped.set()
            waiting.clear()
            raise
        finally:
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
    # Logs are begun in their order: the first that fails is among these, whichever failed first.
    for name in names:
        if name in errors:
            raise errors[name]
    return found
