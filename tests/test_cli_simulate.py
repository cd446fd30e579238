"""`counterfolio simulate`: the experiment, printed and written."""

from __future__ import annotations

import inspect
import io
import json

import cli_log
import counterfolio as cf
import polars as pl
import pytest
from cli_log import wrong

call = cli_log.call
SMALL = ("--logs", "2", "--episodes", "60", "--training", "200", "--roll-outs", "300")
ORIGINAL = cf.experiment
AS = {"n_logs": 2, "n_episodes": 60, "n_training": 200, "n_roll_outs": 300}


@pytest.fixture(scope="module")
def experiment():
    return cf.experiment("counterfolio/Basic-v0", **AS, gamma=0.9, k=3)


def test_it_prints_and_writes_the_experiment(call, experiment, tmp_path):
    options = ("--gamma", "0.9", "--k", "3", "--report", "page.html", "--log", "log.parquet")
    code, out, err = call("simulate", "basic", *SMALL, *options, "--folder", "kept")
    assert code == 0
    assert out == repr(experiment) + "\n"
    assert err.splitlines() == [
        "counterfolio: report written to page.html",
        "counterfolio: log written to log.parquet",
    ]
    assert "<svg" in (tmp_path / "page.html").read_text("utf-8")
    kept = cf.Evaluations.from_parquet(tmp_path / "kept")
    assert kept.estimates.equals(experiment.evaluations.estimates)
    # The log that was written is one to go on with.
    policy = next(iter(experiment.candidates))
    code, out, _ = call("rank", "log.parquet", "--policy", f"{policy}=p_{policy}", "--gamma", "0.9")
    assert code == 0
    assert policy in out


def test_for_programs(call, experiment):
    given = ("simulate", "Basic", *SMALL, "--gamma", "0.9", "--k", "3")
    code, out, _ = call(*given, "--format", "json")
    found = json.loads(out)
    assert code == 0
    assert {row["policy"] for row in found["truth"]} == {*experiment.candidates, "behavior"}
    assert len(found["metrics"]) == 4 * 5
    assert found["settings"]["k"] == 3
    out = call(*given, "--format", "csv", "--estimators", "dm, snpdis")[1]
    table = pl.read_csv(io.StringIO(out))
    assert table.columns == experiment.assessed.by_dataset.columns
    assert sorted(table["estimator"].unique()) == ["dm", "snpdis"]
    assert sorted(table["dataset"].unique()) == ["log_0", "log_1"]


def test_wrong_calls(call):
    wrong(call("simulate", "Basics"), 'there is "counterfolio/Basic-v0"')
    wrong(call("simulate", "Basic", "--title", "x"), "--title is for the page; add --report FILE")
    wrong(call("simulate", "Basic", "--report", "x.txt"), "--report writes .html")
    wrong(call("simulate", "Basic", "--report", "no/x.html"), "does not exist")
    wrong(call("simulate", "Basic", "--logs", "1"), "n_logs must be a whole number of 2 or more")
    wrong(call("simulate", "Basic", "--logs", "two"), "is no whole number")
    wrong(call("simulate", "Basic", *SMALL, "--estimators", "snpdiss"), "did you mean")
    wrong(call("simulate", "Pendulum-v1", *SMALL), "discrete actions alone")
    wrong(call("simulate", "Basic", *SMALL, "--estimators", ","), "--estimators is empty")


def test_every_option_reaches_the_experiment(call, monkeypatch, tmp_path):
    given = []

    def experiment(env, **options):
        given.append((env, options))
        raise cf.InvalidArgumentError("enough")

    monkeypatch.setattr(cf, "experiment", experiment)
    options = {
        "--logs": 3,
        "--episodes": 40,
        "--training": 50,
        "--roll-outs": 60,
        "--gamma": 0.5,
        "--k": 2,
        "--seed": 7,
        "--num-threads": 1,
        "--folder": "kept",
    }
    words = [str(word) for pair in options.items() for word in pair]
    names = ("--estimators", "snpdis[clip=10,n_step=2], dm", "--estimators", "tis")
    call("simulate", "recommender", *words, *names)
    assert given == [
        (
            "counterfolio/Recommender-v0",
            {
                "n_logs": 3,
                "n_episodes": 40,
                "n_training": 50,
                "n_roll_outs": 60,
                "gamma": 0.5,
                "k": 2,
                "seed": 7,
                "num_threads": 1,
                "path": "kept",
                "estimators": ["snpdis[clip=10,n_step=2]", "dm", "tis"],
            },
        )
    ]
    # What is not given is as the experiment itself would have it.
    call("simulate")
    defaults = inspect.signature(ORIGINAL).parameters
    env, options = given[1]
    assert env == defaults["env"].default
    assert options == {name: defaults[name].default for name in options}
    # Ours need no namespace; others are found by their own names.
    for name in ("CartPole-v1", "Tabular"):
        call("simulate", name)
        assert given[-1][0] == name


def test_the_page_has_its_title_and_the_log_is_the_first(call, experiment, tmp_path):
    given = ("simulate", "Basic", *SMALL, "--gamma", "0.9", "--k", "3")
    call(*given, "--report", "titled.html", "--title", "Mine & yours", "--log", "first.parquet")
    assert "<h1>Mine &amp; yours</h1>" in (tmp_path / "titled.html").read_text("utf-8")
    log = cf.read_parquet(tmp_path / "first.parquet")
    assert log.column("reward").equals(experiment.log("log_0").column("reward"))
    wrong(call("simulate", "--log", "no/x.parquet"), "does not exist")
