"""Saved runs: every option by its name, and a run that repeats itself."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields

import cli_log
import pytest
from cli_log import log_frame, wrong
from counterfolio.cli.config import COLUMNS, Run, gather, load, save
from test_cli_calls import HOSTILE

call = cli_log.call
POLICY = ("--policy", "new=p_new")

ONNX = {"onnx": "net.onnx", "head": "softmax", "parameter": "0.5"}
FULL = Run(
    log="log.parquet",
    input_format="parquet",
    action="item",
    reward="r",
    propensity="p",
    action_probs="b",
    actions=["a", 2],
    action_type="continuous",
    episode_id="e",
    timestep="t",
    terminated="end",
    truncated="cut",
    cluster="user",
    state=["x", "y"],
    policies={"new": {"prob": "p_new", "q": "q", "v": "v"}, "old": {"v": "w"}, "net": ONNX},
    fit=True,
    features="linear",
    cross_fit=0,
    segment=["s"],
    time="day",
    gamma=0.9,
    estimators=["tis", "dm"],
    interval="t",
    confidence_level=0.9,
    alternative="less",
    n_resamples=200,
    method="bca",
    resampling="poisson",
    seed=2**64 - 1,
    value_range=[0.0, 9.5],
    return_range=[-1.0, 1e-9],
    weight_range=[0.0, 50.0],
    return_min=-2.0,
    num_threads=2,
    estimator="tis",
    score="lower",
    k=2,
    report="out.html",
    title='A "title"',
    truth={"new": 1.0, "old": -2e-9},
    save="saved.parquet",
    format="json",
    output="out.json",
)


def test_every_option_survives_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    left_out = {f.name for f in fields(Run) if getattr(FULL, f.name) == getattr(Run(), f.name)}
    assert left_out == {"no_propensity"}
    for run in (FULL, Run(), Run(no_propensity=True, truth="truth.csv", log="-")):
        save(run, "run.toml")
        assert load("run.toml") == run


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_survive(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run(reward=name, policies={name: {"prob": name}}, truth={name: 0.5}, title=name)
    save(run, "run.toml")
    assert load("run.toml") == run


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    """Wherever it is read from, and wherever it was written from."""
    for name in ("here", "conf"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = Run(log="log/*.parquet", truth="truth.csv", save=str(tmp_path / "s.parquet"))
    save(run, "../conf/run.toml")
    written = tomllib.loads((tmp_path / "conf" / "run.toml").read_text())
    assert written["log"] == "../here/log/*.parquet"
    assert written["save"] == "../s.parquet"
    monkeypatch.chdir(tmp_path)
    found = load("conf/run.toml")
    assert found.log == "conf/../here/log/*.parquet"
    assert found.truth == "conf/../here/truth.csv"


def test_a_run_repeats_itself(call, tmp_path, monkeypatch):
    args = ("--action", "item", "--reward", "clicked", "--propensity", "p", *POLICY)
    first = call("evaluate", "log.csv", *args, "--gamma", "0.5", "--save-config", "run.toml")
    assert first[0] == 0
    assert call("evaluate", "--config", "run.toml")[:2] == first[:2]
    call("evaluate", "--config", "run.toml", "--save-config", "again.toml")
    assert (tmp_path / "again.toml").read_text() == (tmp_path / "run.toml").read_text()
    # What was not said is written as it was used.
    written = load(str(tmp_path / "run.toml"))
    assert (written.interval, written.confidence_level) == ("normal", 0.95)
    assert written.estimators == ["tis", "pdis", "sntis", "snpdis"]
    assert call("check", "--config", "run.toml")[0] == 0
    assert call("rank", "--config", "run.toml")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call("evaluate", "--config", "../run.toml")[:2] == first[:2]


#: What is given -> how often the log is resampled, and what a saved run says of it.
RESAMPLED = {
    (): (0, None),
    ("--report", "r.html"): (1000, 1000),
    ("--report", "r.html", "--n-resamples", "40"): (40, 40),
    ("--report", "r.html", "--n-resamples", "0"): (0, 0),
    ("--n-resamples", "0"): (0, 0),
    ("--n-resamples", "40"): (40, 40),
    ("--interval", "bootstrap"): (1000, 1000),
}


@pytest.mark.parametrize("given", RESAMPLED)
def test_a_report_resamples_unless_told_otherwise(given, call, tmp_path):
    """Whether the command line says so or a file does; nothing is saved that was not used."""
    used, saved = RESAMPLED[given]
    args = ("evaluate", "log.parquet", *POLICY, "--format", "json")
    out = call(*args, *given, "--save-config", "run.toml")[1]
    assert json.loads(out)["settings"]["n_resamples"] == used
    run = load(str(tmp_path / "run.toml"))
    assert run.n_resamples == saved
    again = call("evaluate", "--config", "run.toml", "--format", "json")[1]
    assert again == out
    text = (tmp_path / "run.toml").read_text()
    assert ("seed" in text) == ("method" in text) == (used > 0)


def test_a_file_decides_unless_the_command_line_does(call, tmp_path):
    def resampled(command, *args):
        out = call(command, "log.parquet", *POLICY, "--config", "run.toml", *args)[1]
        return json.loads(out)["settings"]["n_resamples"]

    report = ("--report", "r.html")
    (tmp_path / "run.toml").write_text("format = 'json'\nn-resamples = 0")
    assert resampled("evaluate", *report) == 0
    assert resampled("evaluate", *report, "--n-resamples", "30") == 30
    # A report that only the file names.
    (tmp_path / "run.toml").write_text("format = 'json'\nreport = 'r.html'")
    assert resampled("evaluate") == 1000
    assert resampled("evaluate", "--n-resamples", "0") == 0
    assert resampled("rank") == 0


def test_an_option_that_was_not_used_stays_in_the_file(call, tmp_path):
    args = ("--method", "bca", "--resampling", "multinomial", "--seed", "0")
    call("evaluate", "log.parquet", *POLICY, *args, "--save-config", "run.toml")
    run = load(str(tmp_path / "run.toml"))
    assert (run.method, run.resampling, run.seed) == ("bca", "multinomial", 0)
    assert run.n_resamples is None


def test_the_command_line_overrides_the_file(call, tmp_path):
    (tmp_path / "run.toml").write_text(
        """
        log = "none.parquet"
        gamma = 0.5
        estimators = ["tis"]
        format = "csv"
        [columns]
        reward = "clicked"
        [policies]
        new = "p_nwe"
        """
    )
    args = ("log.parquet", "--reward", "reward", *POLICY, "--format", "table", "--gamma", "0.9")
    assert call("evaluate", "--config", "run.toml", *args) == call(
        "evaluate", "log.parquet", *POLICY, "--gamma", "0.9", "--estimators", "tis"
    )
    for given, file, wanted in (
        ({"no_propensity": True}, 'propensity = "p"', (True, None)),
        ({"propensity": "b"}, "no-propensity = true", (False, "b")),
        ({}, "no_propensity = true", (True, None)),
        ({"k": 0}, "k = 3", (False, None)),
    ):
        (tmp_path / "run.toml").write_text(file)
        run = gather(given, str(tmp_path / "run.toml"))
        assert (run.no_propensity, run.propensity) == wanted
    assert run.k == 0


def test_names_are_taken_as_they_are(call, tmp_path):
    """No backslash is wanted in the file."""
    log_frame().rename({"p_new": "p=a,b\\"}).write_parquet(tmp_path / "odd.parquet")
    (tmp_path / "run.toml").write_text("log = 'odd.parquet'\npolicies.\"a=b\" = 'p=a,b\\'\n")
    code, out, _ = call("evaluate", "--config", "run.toml", "--format", "csv")
    assert code == 0
    assert "\na=b,tis," in out


BROKEN = {
    "no TOML": ("gamma = ", "is not TOML"),
    "unknown key": ("gama = 0.5", 'unknown key "gama"; did you mean "gamma"'),
    "unknown column": ("[columns]\nrewrad = 'r'", 'unknown key [columns] "rewrad"', '"reward"'),
    "not of a column": ("[columns]\ngamma = 1", 'unknown key [columns] "gamma"'),
    "unknown input": ("[policies.new]\npr = 'p'", 'policy "new": unknown key "pr"', '"prob"'),
    "policy": ("[policies]\nnew = 1", 'policy "new" must be the name of a column'),
    "empty policy": ("[policies.new]", 'policy "new" names no column'),
    "policies": ("policies = 'p'", '"policies" must be a table'),
    "behavior": ("[policies]\nbehavior = 'p'", 'cannot be called "behavior"'),
    "number": ("gamma = 'x'", '"gamma" must be a number'),
    "whole number": ("k = 1.5", '"k" must be a whole number'),
    "range": ("value-range = [0]", '"value-range" must be a list of two numbers'),
    "range of text": ("return-range = ['a', 1]", '"return-range" must be a list of two numbers'),
    "text": ("log = 3", '"log" must be text'),
    "list": ("state = [1]", '"state" must be a list of names'),
    "flag": ("no-propensity = 'x'", '"no-propensity" must be true or false'),
    "truth": ("[truth]\nnew = 'x'", '"truth" must be'),
    "columns": ("columns = 1", '"columns" must be a table'),
    "twice": ("reward = 'a'\n[columns]\nreward = 'b'", "there twice"),
    "both": ("propensity = 'a'\nno-propensity = true", "contradict"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_2_and_one_line(name, call, tmp_path):
    content, *says = BROKEN[name]
    (tmp_path / "run.toml").write_text(content)
    wrong(call("evaluate", "log.parquet", *POLICY[:0], "--config", "run.toml"), *says)


def test_every_column_option_may_stand_in_its_table(tmp_path):
    path = tmp_path / "run.toml"
    for name in COLUMNS:
        value = {"no_propensity": "true", "state": "['x']", "actions": "['x']"}.get(name, "'x'")
        path.write_text(f"[columns]\n{name.replace('_', '-')} = {value}")
        assert getattr(load(str(path)), name) in ("x", ["x"], True)
