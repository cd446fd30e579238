"""`evaluate_many`: as if each log were evaluated alone, whatever works on them."""

from __future__ import annotations

import copy
import inspect
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio import _core
from counterfolio.many import Options
from counterfolio.progress import progress
from counterfolio.threads import check_threads
from many_logs import COLUMNS, GAMMA, POLICIES, bits, columns, logs, make, same, table
from polars.testing import assert_frame_equal

OPTIONS = {"gamma": GAMMA, "n_resamples": 30, "seed": 5}
NAMES = ["seed 0", "a/b", "ü x", "..", "", "a\n\0b", "A", "a", "x" * 500, "日本", 'q"u\\o']


def many(**options: object) -> cf.Evaluations:
    return cf.evaluate_many(logs(), COLUMNS, **OPTIONS | options)


# As if each log were evaluated alone.


@pytest.mark.parametrize("interval", ["normal", "bootstrap"])
def test_each_is_what_evaluate_finds(interval):
    found = many(interval=interval, method="bca", confidence_level=0.9)
    assert list(found) == list(logs())
    for name, log in logs().items():
        seed = found[name].settings["seed"]
        options = OPTIONS | {"interval": interval, "method": "bca", "confidence_level": 0.9}
        alone = cf.evaluate(log, COLUMNS, **options | {"seed": seed})
        assert bits(found[name]) == bits(alone)
        assert found[name].settings == alone.settings
        assert found[name].diagnostics.table.equals(alone.diagnostics.table)
        assert found[name].compare("a", "b", "dr").equals(alone.compare("a", "b", "dr"))


@pytest.mark.parametrize("keep", ["logs", "diagnostics", "estimates", None])
def test_any_number_of_jobs_and_threads(keep):
    wanted = many(n_jobs=1, num_threads=3)
    for n_jobs in (1, 2, 4, 50):
        found = many(n_jobs=n_jobs, num_threads=3, keep=keep)
        assert same(found, wanted)


def large(seed: int, n: int = 60_000) -> cf.LoggedData:
    """So many rows that the core shares them among threads."""
    rng = np.random.default_rng(seed)
    data = {"episode_id": np.arange(n) // 4, "action": rng.integers(0, 3, n)}
    data |= {"reward": rng.normal(size=n), "propensity": rng.uniform(0.2, 1.0, n)}
    return cf.LoggedData.from_frame(data | {"p": rng.uniform(0.2, 1.0, n)}, episode_id="episode_id")


def test_logs_whose_rows_are_shared_among_threads():
    given = {str(i): large(i) for i in range(3)}
    policies = {"new": "p", "same": "propensity"}
    options = {"n_resamples": 9, "seed": 2}
    found = [
        cf.evaluate_many(given, policies, n_jobs=n_jobs, num_threads=4, **options)
        for n_jobs in (1, 2, 4)
    ]
    assert same(found[0], found[1])
    assert same(found[0], found[2])
    for name, log in given.items():
        seed = found[0][name].settings["seed"]
        alone = cf.evaluate(log, policies, num_threads=1, n_resamples=9, seed=seed)
        assert bits(found[0][name]) == bits(alone)


def test_seeds_are_of_the_dataset_alone():
    found = many()
    seeds = {name: one.settings["seed"] for name, one in found.items()}
    assert len(set(seeds.values())) == len(seeds)
    alone = cf.evaluate_many({"seed 3": make(3)}, COLUMNS, **OPTIONS)
    assert bits(alone["seed 3"]) == bits(found["seed 3"])
    other = cf.evaluate_many({"seed 3": make(3)}, COLUMNS, **OPTIONS | {"seed": 6})
    assert other["seed 3"].settings["seed"] != seeds["seed 3"]
    assert seeds["seed 3"] == int(_core.hash_text(["5/seed 3"])[0])
    drawn = cf.evaluate_many({"x": make(3), "y": make(3)}, COLUMNS, n_resamples=5)
    assert len({one.settings["seed"] for one in drawn.values()}) == 2
    bare = cf.evaluate_many({"x": make(3)}, COLUMNS)
    assert bare["x"].settings["seed"] is None


def test_functions_and_files_are_logs_too(tmp_path):
    wanted = many()
    made = {f"seed {i}": lambda i=i: make(i) for i in range(5)}
    for i in (1, 4):
        make(i).to_parquet(tmp_path / f"{i}.parquet")
    made["seed 1"], made["seed 4"] = tmp_path / "1.parquet", str(tmp_path / "4.parquet")
    for n_jobs in (1, 2):
        found = cf.evaluate_many(made, COLUMNS, **OPTIONS, n_jobs=n_jobs)
        for name in made:
            assert bits(found[name]) == bits(wanted[name])
        assert found.diagnostics.equals(wanted.diagnostics)
        one, other = found["seed 2"].log_report, wanted["seed 2"].log_report
        assert one == other


def test_policies_may_be_a_function_of_the_log():
    candidates = {
        name: cf.policies.Probabilities(
            lambda s, p=p: p[np.asarray(s, dtype=int).ravel()], range(3)
        )
        for name, p in POLICIES.items()
    }

    def prepared(log: cf.LoggedData) -> cf.Prepared:
        return cf.prepare(log, candidates, ["dm", "sndr"], gamma=GAMMA)

    given = logs(3)
    found = cf.evaluate_many(given, prepared, gamma=GAMMA, n_jobs=2)
    for name, log in given.items():
        alone = cf.evaluate(log, prepared(log), gamma=GAMMA)
        assert found[name].estimators == ["dm", "sndr"]
        assert bits(found[name]) == bits(alone)
        assert found[name]._source is None


def test_logs_are_let_go():
    """No more of them are there than are worked on."""
    alive: set[int] = set()
    most = 0
    lock = threading.Lock()

    def maker(seed: int) -> cf.LoggedData:
        nonlocal most
        log = make(seed, 40)
        with lock:
            alive.add(seed)
            most = max(most, len(alive))
        weakref.finalize(log, alive.discard, seed)
        return log

    given = {str(i): (lambda i=i: maker(i)) for i in range(12)}
    for n_jobs in (1, 3):
        most = 0
        found = cf.evaluate_many(given, COLUMNS, n_jobs=n_jobs)
        assert 1 <= most <= n_jobs
        assert not alive
        assert len(found.diagnostics) == 36
    found = cf.evaluate_many(given, COLUMNS, keep="logs")
    assert len(alive) == 12
    del found


def test_what_is_kept():
    given = {"x": make(0)}
    kept = cf.evaluate_many(given, COLUMNS)["x"]
    assert kept._source is not None
    assert "diagnostics" not in vars(kept)
    let_go = cf.evaluate_many(given, COLUMNS, keep="diagnostics")
    assert let_go["x"]._source is None
    assert let_go["x"].diagnostics.table.equals(kept.diagnostics.table)
    assert let_go["x"].log_report == kept.log_report
    bare = cf.evaluate_many(given, COLUMNS, keep="estimates")
    assert bits(bare["x"]) == bits(kept)
    with pytest.raises(cf.InvalidArgumentError, match=r'dataset "x": diagnostics needs the log'):
        bare.diagnostics  # noqa: B018
    assert bare["x"].portfolio(1, "dr").policies


def test_options_are_those_of_evaluate():
    known = inspect.signature(cf.evaluate).parameters
    own = inspect.signature(cf.evaluate_many).parameters
    handed_on = {name for name in known if name not in own} - {"log"}
    assert Options.__optional_keys__ == handed_on
    with pytest.raises(TypeError, match="unexpected keyword argument 'gama'"):
        cf.evaluate_many(logs(1), COLUMNS, gama=1.0)


def test_cores_are_shared_out(monkeypatch):
    seen = []

    def policies(log: cf.LoggedData) -> dict[str, object]:
        seen.append(check_threads(None))
        assert check_threads(7) == 7
        return COLUMNS

    for n_jobs, num_threads, share in ((2, 8, 4), (3, 8, 2), (4, 3, 1), (1, 8, 8), (None, 3, 1)):
        seen.clear()
        found = cf.evaluate_many(logs(5), policies, n_jobs=n_jobs, num_threads=num_threads)
        assert seen == [share] * 5
        assert found["seed 0"].settings["num_threads"] == num_threads
    seen.clear()
    cf.evaluate_many(logs(1), policies, num_threads=6)  # one log has them all
    assert seen == [6]
    monkeypatch.setenv("COUNTERFOLIO_NUM_THREADS", "11")
    assert check_threads(None) == 11  # nothing is left of it


# What comes back.


def test_one_frame():
    found = many()
    assert found.estimates.equals(table(found))
    assert found.estimates.columns == ["dataset", *found["seed 0"].estimates.columns]
    assert found.estimates.schema["note"] == pl.String
    wanted = pl.concat(
        [
            one.diagnostics.table.select(pl.lit(name).alias("dataset"), pl.all())
            for name, one in found.items()
        ]
    )
    assert found.diagnostics.equals(wanted)
    assert found.policies == list(COLUMNS)
    assert found.estimators == found["seed 1"].estimators


def test_summary_against_polars():
    found = many()
    value, error = pl.col("value"), pl.col("standard_error")
    wanted = found.estimates.group_by("policy", "estimator", maintain_order=True).agg(
        value.mean().alias("mean"),
        value.std().alias("std"),
        value.min().alias("min"),
        value.max().alias("max"),
        error.mean().alias("mean_standard_error"),
        pl.len().cast(pl.Int64).alias("n_logs"),
        value.is_finite().sum().cast(pl.Int64).alias("n_finite"),
        pl.col("note").is_not_null().sum().cast(pl.Int64).alias("n_noted"),
    )
    assert_frame_equal(found.summary, wanted, rel_tol=1e-12)
    assert found.summary["policy"][-1] == "behavior"
    assert found.summary["n_noted"].sum() > 0


def test_summary_leaves_out_what_is_not_finite_and_says_so():
    evaluations = dict(many().items())
    spoilt = evaluations["seed 1"].estimates.with_columns(
        value=pl.when(pl.col("policy") == "a").then(math.nan).otherwise(pl.col("value"))
    )
    first = evaluations["seed 0"]
    evaluations["seed 1"] = cf.Evaluation(spoilt, first.settings, first.variances)
    found = cf.Evaluations(evaluations)
    rows = found.summary.filter(policy="a")
    assert set(rows["n_logs"]) == {5}
    assert set(rows["n_finite"]) == {4}
    kept = found.estimates.filter(pl.col("value").is_finite(), policy="a", estimator="dr")
    assert rows.filter(estimator="dr")["mean"][0] == pytest.approx(kept["value"].mean())
    assert "not finite" in repr(found)
    one = cf.Evaluations({"only": spoilt_alone(first)}).summary.filter(policy="a")
    assert one["mean"].null_count() == one["std"].null_count() == len(one)
    assert set(one["n_finite"]) == {0}


def spoilt_alone(evaluation: cf.Evaluation) -> cf.Evaluation:
    table = evaluation.estimates.with_columns(value=pl.lit(math.inf))
    return cf.Evaluation(table, evaluation.settings, evaluation.variances)


def test_logs_may_differ_in_policies_and_estimators():
    def policies(log: cf.LoggedData) -> dict[str, object]:
        return COLUMNS if log.n_episodes == 120 else {"b": "p_b", "d": "p_c"}

    given = {"large": make(0), "small": make(1, 100)}
    found = cf.evaluate_many(given, policies)
    assert found.policies == ["a", "b", "c", "d"]
    assert len(found.estimators) == 7
    counts = {(p, e): n for p, e, n in found.summary.select("policy", "estimator", "n_logs").rows()}
    assert counts["b", "tis"] == 2
    assert counts["b", "dr"] == counts["d", "tis"] == 1
    assert ("d", "dr") not in counts
    assert counts["behavior", "on_policy"] == 2
    assert "d" in repr(found)


def test_a_mapping_that_is_frozen():
    found = many()
    assert len(found) == 5
    assert "seed 9" not in found
    assert dict(found)["seed 1"] is found["seed 1"]
    with pytest.raises(KeyError, match='no dataset "seed 9"; did you mean'):
        found["seed 9"]
    with pytest.raises(AttributeError):
        found.evaluations = {}
    with pytest.raises(TypeError):
        found.evaluations["seed 9"] = found["seed 1"]
    for again in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
        assert again.estimates.equals(found.estimates)
        assert again.summary.equals(found.summary)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("policies", [1, 60])
def test_it_prints_within_a_terminal(count, policies):
    chosen = {f"candidate {'n' * 30} {i}": "p_a" for i in range(policies)}
    found = cf.evaluate_many(logs(count), chosen)
    lines = repr(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 50
    assert f"{count} log" in lines[0]
    assert ("more rows in .summary" in repr(found)) == (policies == 60)
    assert "<table" in found._repr_html_()


@pytest.mark.parametrize("name", NAMES)
def test_any_name(name):
    found = cf.evaluate_many({name: make(0)}, COLUMNS)
    assert found.estimates["dataset"].unique().to_list() == [name]
    repr(found)


# What is refused.


def fails(seed: int) -> cf.LoggedData:
    table = columns(seed)
    table["reward"] = np.where(np.arange(len(table["reward"])) == 3, np.nan, table["reward"])
    return cf.LoggedData.from_frame(table, episode_id="episode_id")


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_an_error_names_its_dataset(n_jobs, tmp_path):
    given = logs(3)
    cases = [
        (given | {"bad one": lambda: fails(1)}, COLUMNS, {}, cf.InvalidLogError, "reward"),
        (given | {"bad one": tmp_path / "no.parquet"}, COLUMNS, {}, cf.InvalidLogError, "no.parq"),
        (
            given | {"bad one": lambda: 3},
            COLUMNS,
            {},
            cf.InvalidArgumentError,
            "evaluate_many takes a LoggedData, not a int",
        ),
        (
            {"bad one": make(0)},
            {"new": "p_nwe"},
            {},
            cf.InvalidPolicyError,
            'no column "p_nwe"',
        ),
        ({"bad one": make(0)}, COLUMNS, {"gamma": 2}, cf.InvalidArgumentError, "gamma must be"),
        ({"bad one": make(0)}, lambda log: {}, {}, cf.InvalidPolicyError, "polic"),
    ]
    for several, policies, options, kind, text in cases:
        with pytest.raises(kind, match=f'^dataset "bad one": .*{text}') as caught:
            cf.evaluate_many(several, policies, n_jobs=n_jobs, **options)
        assert type(caught.value.__cause__) is kind


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_errors_of_others_are_noted_and_the_first_is_raised(n_jobs):
    def fail(name: str, wait: threading.Event | None, done: threading.Event | None) -> None:
        if wait is not None and n_jobs > 1:
            assert wait.wait(30)
        if done is not None:
            done.set()
        raise ZeroDivisionError(name)

    later = threading.Event()
    begun = []
    given = {
        "fine": make(0),
        "first": lambda: fail("first", later, None),  # fails after the second
        "second": lambda: fail("second", None, later),
        **{f"more {i}": (lambda i=i: begun.append(i) or make(i)) for i in range(40)},
    }
    with pytest.raises(ZeroDivisionError, match="first") as caught:
        cf.evaluate_many(given, COLUMNS, n_jobs=n_jobs)
    assert caught.value.__notes__ == ['in dataset "first" of evaluate_many']
    assert len(begun) < 40


@pytest.mark.parametrize(
    ("logs", "options", "text"),
    [
        ({}, {}, "logs must map names of datasets to logs"),
        ([1], {}, "logs must map names of datasets to logs"),
        ({1: "x"}, {}, "a dataset is named by text, not by 1"),
        ({"\ud800": "x"}, {}, "letters that UTF-8 cannot hold"),
        ({"x": 3}, {}, 'dataset "x" must be a LoggedData, a function that makes one, or the path'),
        ({"x": {"reward": [1.0]}}, {}, "not dict"),
        ({"x": "y"}, {"policies": ["a"]}, "policies must map names to policies, or be a function"),
        ({"x": "y"}, {"n_jobs": 0}, "n_jobs must be a whole number of 1 or more, not 0"),
        ({"x": "y"}, {"n_jobs": 1.5}, "n_jobs must be"),
        ({"x": "y"}, {"num_threads": 0}, "num_threads must be"),
        ({"x": "y"}, {"seed": -1}, "seed must be"),
        ({"x": "y"}, {"keep": "log"}, "unknown keep 'log'; did you mean \"logs\""),
    ],
)
def test_refusals(logs, options, text):
    with pytest.raises(cf.InvalidArgumentError, match=re.escape(text)):
        cf.evaluate_many(logs, **{"policies": COLUMNS} | options)


@pytest.mark.parametrize("given", [{}, [], {"x": 3}, {1: None}])
def test_evaluations_are_of_evaluations(given):
    with pytest.raises(cf.InvalidArgumentError, match=r"evaluations must map|dataset"):
        cf.Evaluations(given)


# Ctrl-C and progress.


def long_ones(n_jobs: int) -> None:
    """Two logs, each of which would take minutes."""
    n = 4_000_000
    data = {"action": np.zeros(n, np.int8), "reward": np.ones(n), "propensity": np.full(n, 0.5)}
    log = cf.LoggedData.from_frame(data)
    policy = cf.PolicyColumns(prob=data["propensity"], q=data["reward"], v=data["reward"])
    policies = {f"policy {i}": policy for i in range(400)}
    print("ready", flush=True)
    try:
        cf.evaluate_many({"one": log, "two": log}, policies, n_jobs=n_jobs)
    except KeyboardInterrupt:
        assert threading.active_count() == 1
        found = cf.evaluate_many({"x": make(0), "y": make(1)}, COLUMNS, n_jobs=n_jobs)
        assert bits(found["x"]) == bits(cf.evaluate(make(0), COLUMNS))
        print("interrupted", flush=True)
        raise


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_ctrl_c(n_jobs):
    command = [sys.executable, "-c", f"import test_evaluate_many as t; t.long_ones({n_jobs})"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parent, **pipes) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            threading.Event().wait(1)  # well inside
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert out == "interrupted\n", err
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode == -signal.SIGINT


class Terminal:
    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_terminal_sees_one_line(n_jobs, monkeypatch):
    """Of all logs together, whatever each of them would say."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("counterfolio.many.PATIENCE", 0.0)

    def policies(log: cf.LoggedData) -> dict[str, object]:
        with progress("something else") as report:
            assert report is not None
            report(0.5)
        return COLUMNS

    cf.evaluate_many(logs(8), policies, n_jobs=n_jobs)
    monkeypatch.undo()
    assert re.fullmatch(r"(\rcounterfolio: evaluating logs +\d+ %)+\r\x1b\[K", terminal.text)
    shares = [int(x) for x in re.findall(r"\d+(?= %)", terminal.text)]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    with progress("again") as report:
        assert report is None
