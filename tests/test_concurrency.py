"""Forks, process pools, threads and Ctrl-C.

What forks or is interrupted runs in an interpreter of its own, which calls back into this module.
Nothing here measures time; time limits only keep a hang from lasting forever.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest

PATIENCE = 60
N = 60_000  # rows that, times the policies, are shared among threads


def columns(seed: int = 0, n: int = N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "episode_id": np.arange(n) // 4,
        "action": rng.integers(0, 3, n),
        "state": rng.normal(size=n),
        "reward": rng.normal(size=n),
        "propensity": rng.uniform(0.2, 1.0, n),
        "p": rng.uniform(0.2, 1.0, n),
    }


def frame() -> pl.DataFrame:
    """Ids and actions as text, in chunks."""
    text = [pl.format("{}-{}", pl.lit(name), name).alias(name) for name in ("episode_id", "action")]
    whole = pl.DataFrame(columns()).with_columns(text)
    return pl.concat([whole[:1_003], whole[1_003:40_001], whole[40_001:]], rechunk=False)


FRAME = frame()


class Policy:
    """Sure of nothing."""

    def prob(self, states: object, actions: np.ndarray) -> np.ndarray:
        return np.full(len(actions), 1 / 3)


def numeric_log() -> cf.LoggedData:
    return cf.LoggedData.from_frame(columns(), episode_id="episode_id", state=["state", "reward"])


def text_log() -> cf.LoggedData:
    return cf.LoggedData.from_frame(FRAME, episode_id="episode_id", state=["state", "action"])


def evaluate(
    log: cf.LoggedData, *, num_threads: int | None = 3, **policies: object
) -> cf.Evaluation:
    policies = {"new": "p", "same": "propensity", **policies}
    return cf.evaluate(log, policies, num_threads=num_threads)


def bits(evaluation: cf.Evaluation) -> list:
    """Column by column, without a query of polars."""
    table = evaluation.estimates.get_columns()
    return [c.to_numpy().tobytes() if c.dtype.is_numeric() else c.to_list() for c in table]


def call(function: str, *, stderr: int = subprocess.PIPE, **environment: str) -> subprocess.Popen:
    """Start a function of this module in a new interpreter."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import test_concurrency as t; t.{function}"],
        cwd=Path(__file__).parent,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[str, str]:
    with process:
        try:
            return process.communicate(timeout=PATIENCE)
        finally:
            process.kill()


def several(log: cf.LoggedData) -> cf.Evaluations:
    """On threads that the parent had, and the child has to make anew."""
    policies = {"new": "p", "same": "propensity"}
    return cf.evaluate_many({"one": log, "two": log}, policies, n_jobs=2)


# Forks.

DENSE = np.full((N, 3), 1 / 3)
STEPS = {
    "evaluate": lambda log: bits(evaluate(log)),
    "text ids": lambda log: bits(evaluate(text_log())),
    "integer ids": lambda log: bits(evaluate(numeric_log())),
    "dense, integer actions": lambda log: bits(evaluate(numeric_log(), new=DENSE)),
    "dense, text actions": lambda log: bits(evaluate(text_log(), new=DENSE)),
    "object, numeric states": lambda log: bits(evaluate(numeric_log(), new=Policy())),
    "object, mixed states": lambda log: bits(evaluate(text_log(), new=Policy())),
    "report": lambda log: repr(text_log().report),
    "repr": lambda log: repr(evaluate(log)),
    "compare": lambda log: evaluate(log).compare("new", "same", "tis").rows(),
    "ranking": lambda log: evaluate(log).ranking("tis").rows(),
    "portfolio": lambda log: repr(evaluate(log).portfolio(2, "tis")),
    "several logs": lambda log: several(log).estimates.rows(),
    "across logs": lambda log: cf.assess(several(log), {"new": 1.0, "same": 0.5}).table.rows(),
    "summary": lambda log: (several(log).summary.rows(), several(log).diagnostics.rows()),
}


def forked(step: str) -> None:
    """Print the exit code of a child that repeats what its parent did."""
    log = text_log()
    log.action_codes  # noqa: B018 - found once, as by an earlier evaluation
    expected = STEPS[step](log)
    FRAME.group_by("action").agg(pl.col("reward").mean())  # polars' own threads are running too
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE // 3)
        try:
            os._exit(int(STEPS[step](log) != expected))
        except BaseException:  # noqa: BLE001 - whatever it is, it must not run on as a parent
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(2)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("step", STEPS)
def test_a_forked_child_finds_the_same(step):
    out, err = finish(call(f"forked({step!r})"))
    assert out == "0\n", f"{out}{err}" + ("the child hung" if f"{-signal.SIGALRM}" in out else "")


# Process pools.


def ready() -> None:
    """A worker that hangs ends by itself."""
    if hasattr(signal, "alarm"):
        signal.alarm(PATIENCE // 2)


def job(seed: int) -> cf.Evaluation:
    log = cf.LoggedData.from_frame(columns(seed), episode_id="episode_id")
    return evaluate(log, new=columns(seed)["p"])


def report(seed: int) -> cf.LogReport:
    return cf.LoggedData.from_frame(columns(seed)).report


def fail(kind: str) -> None:
    log = numeric_log()
    if kind == "InvalidLogError":
        cf.LoggedData.from_frame(columns(), reward="rewrad")
    elif kind == "InvalidPolicyError":
        evaluate(log, new=np.full(N, 1.5))
    else:
        evaluate(log, num_threads=0)


def pool(method: str) -> None:
    expected = [pickle.loads(pickle.dumps(job(seed))) for seed in range(3)]
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context, initializer=ready) as executor:
        found = list(executor.map(job, range(3)))
        reports = list(executor.map(report, range(3)))
        logs = [numeric_log(), text_log()]
        assert list(map(bits, executor.map(evaluate, logs))) == [bits(evaluate(x)) for x in logs]
        for kind in ("InvalidLogError", "InvalidPolicyError", "InvalidArgumentError"):
            error = executor.submit(fail, kind).exception()
            assert type(error) is getattr(cf, kind), error
            assert isinstance(error, ValueError)
            assert "; " in str(error) or "whole number" in str(error)
    for one, other in zip(found, expected, strict=True):
        assert bits(one) == bits(other)
        assert one.settings == other.settings
        assert one.variances.tobytes() == other.variances.tobytes()
        assert repr(one) == repr(other)
        assert one.portfolio(2, "sntis").reason == other.portfolio(2, "sntis").reason
    assert reports == [report(seed) for seed in range(3)]
    print("done")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_pools(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    out, err = finish(call(f"pool({method!r})"))
    assert out == "done\n", err


def test_results_and_errors_pickle():
    evaluation = evaluate(numeric_log())
    again = pickle.loads(pickle.dumps(evaluation))
    assert bits(again) == bits(evaluation)
    assert again.settings == evaluation.settings
    assert again.variances.tobytes() == evaluation.variances.tobytes()
    assert again.compare("new", "same", "tis").equals(evaluation.compare("new", "same", "tis"))
    found = evaluation.portfolio(2, "tis")
    assert repr(pickle.loads(pickle.dumps(found))) == repr(found)
    log_report = numeric_log().report
    assert pickle.loads(pickle.dumps(log_report)) == log_report
    columns_of = pickle.loads(pickle.dumps(cf.PolicyColumns(prob="p", q=np.ones(2))))
    assert (columns_of.prob, columns_of.q.tolist()) == ("p", [1.0, 1.0])
    for name in ("CounterfolioError", "InvalidLogError", "MissingExtraError"):
        error = pickle.loads(pickle.dumps(getattr(cf, name)("what, where; what to do")))
        assert type(error) is getattr(cf, name)
        assert str(error) == "what, where; what to do"


# Threads.


def test_threads_share_a_log():
    log = text_log()
    expected = bits(evaluate(text_log(), dense=DENSE))
    small = cf.LoggedData.from_frame(columns(n=400), episode_id="episode_id")
    expected_small = bits(evaluate(small))

    def one(i: int) -> bool:
        if i % 4 == 3:
            with pytest.raises(cf.InvalidPolicyError, match="row 0"):
                evaluate(log, new=np.full(N, 2.0))
            return bits(evaluate(small)) == expected_small
        return bits(evaluate(log, dense=DENSE, num_threads=1 + i % 3)) == expected

    with ThreadPoolExecutor(6) as executor:
        assert all(executor.map(one, range(24)))


def test_threads_share_a_frame():
    chunks = FRAME.n_chunks("all")
    roles = {"episode_id": "episode_id", "state": ["state", "action"]}
    with ThreadPoolExecutor(6) as executor:
        build = partial(cf.LoggedData.from_frame, **roles)
        logs = list(executor.map(build, [FRAME] * 12))
        found = list(executor.map(lambda log: bits(evaluate(log, new=Policy())), logs))
    assert found == [bits(evaluate(text_log(), new=Policy()))] * 12
    assert FRAME.n_chunks("all") == chunks


# Ctrl-C. The work would take minutes: whoever returns before has been interrupted.


def long_evaluation(num_threads: int) -> None:
    n, several = 4_000_000, 400
    data = {"action": np.zeros(n, np.int8), "reward": np.ones(n), "propensity": np.full(n, 0.5)}
    log = cf.LoggedData.from_frame(data)
    policy = cf.PolicyColumns(prob=data["propensity"], q=data["reward"], v=data["reward"])
    policies = {f"policy {i}": policy for i in range(several)}
    print("ready", flush=True)
    cf.evaluate(log, policies, num_threads=num_threads)


def interrupted(num_threads: int) -> None:
    try:
        long_evaluation(num_threads)
    except KeyboardInterrupt:
        # The process is as good as before.
        log = numeric_log()
        assert bits(evaluate(log)) == bits(evaluate(log, num_threads=1))
        print("interrupted", flush=True)
        raise


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("num_threads", [1, 2])
def test_ctrl_c(num_threads):
    with call(f"interrupted({num_threads})") as process:
        try:
            assert process.stdout.readline() == "ready\n"
            threading.Event().wait(1)  # well inside
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert out == "interrupted\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT


def alarmed() -> None:
    def ring(number: int, stack: object) -> None:
        raise TimeoutError("enough")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(2)
    try:
        long_evaluation(2)
    except TimeoutError as error:
        print(error)


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="needs SIGALRM")
def test_other_handlers_may_raise_too():
    out, err = finish(call("alarmed()"))
    assert out == "ready\nenough\n", err


# Progress, for who watches.


def watched() -> None:
    """Evaluate until it takes longer than an evaluation may without a word."""
    data = {"action": np.zeros(100_000), "reward": np.ones(100_000), "half": np.full(100_000, 0.5)}
    log = cf.LoggedData.from_frame(data, propensity="half")
    several, seconds = 150, 0.0
    while seconds < 3:
        began, several = time.monotonic(), int(1.5 * several)
        cf.evaluate(log, {f"policy {i}": "half" for i in range(several)})
        seconds = time.monotonic() - began


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_sees_progress_and_is_left_clean():
    ours, theirs = os.openpty()
    with call("watched()", stderr=theirs) as process:
        process.communicate(timeout=PATIENCE)
    os.close(theirs)
    seen = os.read(ours, 1 << 16).decode()
    os.close(ours)
    # The last evaluation but one may take long enough to be seen too.
    assert re.fullmatch(r"((\rcounterfolio: evaluating +\d+ %)+\r\x1b\[K){1,2}", seen), seen
    for line in seen.split("\x1b[K")[:-1]:
        shares = [int(x) for x in re.findall(r"\d+(?= %)", line)]
        assert shares == sorted(shares)
        assert shares[-1] <= 100


# How many threads.


def settings(**options: object) -> int:
    return evaluate(numeric_log(), **options).settings["num_threads"]


def test_number_of_threads(monkeypatch):
    monkeypatch.delenv("COUNTERFOLIO_NUM_THREADS", raising=False)
    if hasattr(os, "sched_getaffinity"):
        assert settings(num_threads=None) == len(os.sched_getaffinity(0))
    monkeypatch.setenv("COUNTERFOLIO_NUM_THREADS", "3")
    assert settings(num_threads=None) == 3
    assert settings(num_threads=2) == settings(num_threads=np.int64(2)) == 2
    assert settings(num_threads=10**9) == 1024


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "", " ", "²"])
def test_a_wrong_number_of_threads_in_the_environment(monkeypatch, value):
    monkeypatch.setenv("COUNTERFOLIO_NUM_THREADS", value)
    with pytest.raises(cf.InvalidArgumentError, match="COUNTERFOLIO_NUM_THREADS must be"):
        settings(num_threads=None)
    assert settings(num_threads=2) == 2


def most_threads() -> None:
    """Print how many threads an evaluation has at most, beside those there were before."""
    tasks = Path("/proc/self/task")
    log = numeric_log()
    evaluate(log)
    time.sleep(0.5)  # threads that have ended may still be listed
    before = len(list(tasks.iterdir()))
    policies = {f"policy {i}": "p" for i in range(200)}
    worker = threading.Thread(target=cf.evaluate, args=(log, policies))
    worker.start()
    most = 0
    while worker.is_alive():
        most = max(most, len(list(tasks.iterdir())) - before)
    print(most - 1)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("num_threads", [1, 4])
def test_the_environment_is_honoured(num_threads):
    out, err = finish(call("most_threads()", COUNTERFOLIO_NUM_THREADS=str(num_threads)))
    # One that has just ended may still be listed.
    assert num_threads <= int(out) <= 2 * num_threads, err
