"""The commands: what they print, what they write, what they say of a wrong call."""

from __future__ import annotations

import io
import json
import math
import shlex

import cli_log
import counterfolio as cf
import polars as pl
import pytest
from cli_log import log_frame, wrong
from counterfolio.cli.texts import EXAMPLES

call = cli_log.call
POLICY = ("--policy", "new=p_new")


def evaluation_of(*names, **arguments):
    log = cf.LoggedData.from_frame(log_frame())
    return cf.evaluate(log, {"new": "p_new", "old": "p_old"}, *names, **arguments)


# Help.


def examples(text):
    return [line.strip() for line in text.split("\n") if line.strip().startswith("counterfolio ")]


def test_bare_is_the_help_of_all(call):
    code, out, err = call()
    assert (code, err) == (0, "")
    assert out.strip() == call("--help")[1].strip()
    for command in EXAMPLES:
        assert f"│ {command} " in out
    assert call("--version") == (0, f"counterfolio {cf.__version__}\n", "")


@pytest.mark.parametrize("command", [(), *((name,) for name in EXAMPLES)])
def test_help_fits_80_columns(command, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(*command, "--help")
    assert code == 0
    assert max(map(len, out.split("\n"))) <= 80
    assert "\x1b" not in out
    assert "ForwardRef" not in out


def test_options_stand_in_panels(call):
    for command in ("check", "evaluate", "rank"):
        out = call(command, "--help")[1]
        for panel in ("Columns of the log", "Policies", "Output", "Run"):
            assert f"─ {panel} ─" in out, (command, panel)


def test_the_examples_of_the_help_run(call, monkeypatch, tmp_path):
    """In the order of the commands, as a reader would try them; help shows each on one line."""
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "run.toml").write_text(
        'log = "log.parquet"\npolicies.new = "p_new"\npolicies.old = "p_old"\n'
    )
    columns = 'action = "item"\nreward = "clicked"\npropensity = "p"\n'
    for command, known in EXAMPLES.items():
        lines = examples(call(command, "--help")[1])
        lines = [line for line in lines if "[OPTIONS]" not in line]
        assert lines == list(known)
        for line in lines:
            if "log.csv --config" in line:
                (tmp_path / "csv.toml").write_text(
                    f'[columns]\n{columns}[policies]\nnew = "p_new"\n'
                )
                line = line.replace("run.toml", "csv.toml")
            code, out, err = call(*shlex.split(line)[1:])
            assert code == 0, (line, err)
            assert out or err, line


# check.


def test_check_prints_the_report(call):
    log = cf.LoggedData.from_frame(log_frame())
    assert call("check", "log.parquet") == (0, repr(log.inspect()) + "\n", "")
    options = ("--segment", "device", "--time", "day", *POLICY)
    report = log.inspect(policies={"new": "p_new"}, segments=["device"], time="day")
    assert call("check", "log.parquet", *options) == (0, repr(report) + "\n", "")


def test_check_for_programs(call, tmp_path):
    report = cf.LoggedData.from_frame(log_frame()).inspect()
    code, out, _ = call("check", "log.parquet", "--format", "json")
    found = json.loads(out)
    assert (code, found["n_rows"]) == (0, 600)
    assert len(found["findings"]) == len(report.findings)
    out = call("check", "log.parquet", "--format", "csv")[1]
    assert out.startswith("severity,message,advice\n")
    assert len(pl.read_csv(io.StringIO(out))) == len(report.findings)
    assert call("check", "log.parquet", "--output", "r.json")[:2] == (0, "")
    assert json.loads((tmp_path / "r.json").read_text()) == found


def test_check_fails_where_something_is_serious(call, tmp_path):
    """Propensities far below how often actions were taken."""
    bad = log_frame().with_columns(propensity=pl.lit(0.1))
    bad.write_parquet(tmp_path / "bad.parquet")
    report = cf.LoggedData.from_frame(bad).inspect()
    assert "serious" in {finding.severity for finding in report.findings}
    assert call("check", "bad.parquet") == (1, f"{report!r}\n", "")
    code, out, _ = call("check", "bad.parquet", "--format", "json")
    assert (code, len(json.loads(out)["findings"])) == (1, len(report.findings))
    # The same columns seen the right way are sound.
    assert call("check", "log.parquet", *POLICY)[0] == 0


def test_check_takes_policies_of_every_form(call, tmp_path):
    """Of those with probabilities it says what it sees; a model alone says nothing of a log."""
    dense = log_frame().with_columns(pl.Series("pi", [[0.2, 0.2, 0.6]] * 600))
    dense.write_parquet(tmp_path / "dense.parquet")
    wanted = call("check", "dense.parquet", *POLICY)
    assert call("check", "dense.parquet", "--policy", "new=action_probs=pi") == wanted
    plain = call("check", "dense.parquet")
    assert call("check", "dense.parquet", "--policy", "new=v=v_new") == plain
    assert plain[0] == wanted[0] == 0


def test_a_refused_log_is_1(call, tmp_path):
    log_frame().with_columns(propensity=pl.lit(0.0)).write_parquet(tmp_path / "zero.parquet")
    for command in (("check",), ("evaluate", *POLICY), ("rank", *POLICY)):
        args = (*command[1:], "--format", "json")
        wrong(call(command[0], "zero.parquet", *args), 'column "propensity"', "600", code=1)
    (tmp_path / "broken.parquet").write_text("junk")
    wrong(call("check", "broken.parquet"), "broken.parquet", "cannot be read", code=1)
    wrong(call("evaluate", "log.parquet", "--policy", "new=day"), 'policy "new"', code=1)


# evaluate.


def test_evaluate_prints_estimates_and_verdicts(call):
    evaluation = evaluation_of(["tis", "sntis"], gamma=0.9, interval="t", confidence_level=0.9)
    options = "--gamma 0.9 --estimators tis,snips --interval t --confidence-level 0.9"
    wanted = f"{evaluation!r}\n\n{evaluation.diagnostics!r}\n"
    both = (*POLICY, "--policy", "old=p_old")
    assert call("evaluate", "log.parquet", *both, *options.split()) == (0, wanted, "")
    again = options.replace("tis,snips", "tis --estimators snips")
    assert call("evaluate", "log.parquet", *both, *again.split())[1] == wanted


def test_every_argument_arrives(call):
    args = "--alternative greater --confidence-level 0.8 --num-threads 1 --gamma 0.5 --interval t"
    out = call("evaluate", "log.parquet", *POLICY, *args.split(), "--format", "json")[1]
    settings = json.loads(out)["settings"]
    assert settings["alternative"] == "greater"
    assert (settings["confidence_level"], settings["gamma"]) == (0.8, 0.5)
    assert (settings["num_threads"], settings["interval"]) == (1, "t")


def test_models_and_the_direct_method(call):
    model = "new=p_new,q=q_new,v=v_new"
    out = call("evaluate", "log.parquet", "--policy", model, "--format", "csv")[1]
    assert set(pl.read_csv(io.StringIO(out))["estimator"]) > {"dm", "dr", "sndr", "tis"}
    for extra in ((), ("--no-propensity",)):
        args = ("--policy", "new=v=v_new", *extra, "--format", "csv")
        found = pl.read_csv(io.StringIO(call("evaluate", "log.parquet", *args)[1]))
        assert found["estimator"].to_list() == ["dm", "on_policy"]
        assert found["value"][0] == 0.5


def test_evaluate_for_programs(call, tmp_path):
    evaluation = evaluation_of()
    args = ("evaluate", "log.parquet", *POLICY, "--policy", "old=p_old")
    code, out, err = call(*args, "--format", "csv")
    assert (code, err, out) == (0, "", evaluation.estimates.write_csv())
    found = json.loads(call(*args, "--format", "json")[1])
    assert found["estimates"] == evaluation.estimates.rows(named=True)
    verdicts = evaluation.diagnostics.table["verdict"].to_list()
    assert [row["verdict"] for row in found["diagnostics"]] == verdicts
    piped = call(*args, "--format", "parquet")[1]
    (tmp_path / "piped.parquet").write_bytes(piped)
    code, out, err = call(*args, "--output", "file.parquet")
    assert (code, out, err) == (0, "", "counterfolio: Parquet written to file.parquet\n")
    call(*args, "--save", "saved.parquet")
    for name in ("piped", "file", "saved"):
        again = cf.Evaluation.from_parquet(tmp_path / f"{name}.parquet")
        assert again.estimates.equals(evaluation.estimates), name
        assert repr(again.diagnostics) == repr(evaluation.diagnostics), name


def test_json_is_json(call, tmp_path):
    """What JSON has no number for is null, the open end of an interval too."""
    args = ("--alternative", "greater", "--format", "json")
    out = call("evaluate", "log.parquet", *POLICY, *args)[1]

    def refuse(name):
        raise AssertionError(name)

    found = json.loads(out, parse_constant=refuse)
    assert {row["ci_high"] for row in found["estimates"]} == {None}
    log_frame()[:1].write_parquet(tmp_path / "one.parquet")
    out = call("evaluate", "one.parquet", *POLICY, "--format", "json")[1]
    assert json.loads(out, parse_constant=refuse)["estimates"][0]["standard_error"] is None


def test_files_are_named_on_stderr_and_appear_whole(call, tmp_path):
    args = ("evaluate", "log.parquet", *POLICY, "--save", "s.parquet", "--output", "e.csv")
    code, out, err = call(*args, "--save-config", "r.toml")
    assert (code, out) == (0, "")
    assert [line.split()[-1] for line in err.splitlines()] == ["s.parquet", "e.csv", "r.toml"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"log.parquet", "log.csv", "s.parquet", "e.csv", "r.toml"}
    assert pl.read_csv(tmp_path / "e.csv").equals(
        evaluation_one().estimates.cast({"note": pl.String})
    )


def evaluation_one():
    log = cf.LoggedData.from_frame(log_frame())
    return cf.evaluate(log, {"new": "p_new"})


def test_the_report_is_written(call, tmp_path):
    args = ("--report", "out.html", "--title", "A <b> title", "--truth", "new=0.5", "--k", "1")
    code, out, err = call("evaluate", "log.parquet", *POLICY, *args)
    assert (code, err) == (0, "counterfolio: report written to out.html\n")
    assert "A &lt;b&gt; title" in (tmp_path / "out.html").read_text("utf-8")
    assert "verdict" in out
    call("evaluate", "log.parquet", *POLICY, "--save", "saved.parquet")
    pl.DataFrame({"policy": ["new"], "value": [0.5]}).write_csv(tmp_path / "truth.csv")
    args = ("--title", "Again", "--truth", "truth.csv", "--estimator", "tis")
    assert call("report", "saved.parquet", "again.html", *args)[0] == 0
    assert "Again" in (tmp_path / "again.html").read_text("utf-8")


# rank.


def test_rank_says_the_order_the_comparison_and_the_shortlist(call):
    evaluation = evaluation_of(["sntis"])
    both = (*POLICY, "--policy", "old=p_old", "--estimator", "sntis")
    code, out, err = call("rank", "log.parquet", *both, "--k", "1")
    assert (code, err) == (0, "")
    reason = evaluation.portfolio(1).reason
    assert " ".join(reason.split()) in " ".join(out.split())
    assert out.index("Ranking by sntis") < out.index("Compared with") < out.index("Shortlist of 1")
    code, out, _ = call("rank", "log.parquet", *both, "--format", "json", "--score", "lower")
    found = json.loads(out)
    assert [row["policy"] for row in found["ranking"]] == ["new", "old"]
    compared = evaluation.compare("new")
    first = found["ranking"][0]
    assert first["difference"] == compared["difference"][0]
    assert first["difference_standard_error"] == compared["standard_error"][0]
    assert first["score"] == first["ci_low"] == evaluation.rows()["ci_low"][0]
    assert found["shortlist"]["policies"] == ["new", "old"]


def test_rank_takes_a_saved_evaluation(call):
    both = (*POLICY, "--policy", "old=p_old")
    call("evaluate", "log.parquet", *both, "--save", "saved.parquet")
    assert call("rank", "saved.parquet") == call("rank", "log.parquet", *both)
    wrong(call("rank", "saved.parquet", *POLICY), "--policy has no meaning", "saved evaluation")
    wrong(call("rank", "saved.parquet", "--estimator", "dm"), 'estimator "dm" was not evaluated')
    wrong(call("rank", "saved.parquet", "--k", "0"), "--k must be a whole number from 1 to 2")
    for command in (("check",), ("evaluate", *POLICY)):
        wrong(call(command[0], "saved.parquet", *command[1:]), "not a log")
    wrong(call("report", "log.parquet", "out.html"), "is no saved evaluation")


def test_undefined_policies_rank_last_and_off_the_shortlist(call, tmp_path):
    frame = log_frame().with_columns(
        p_never=pl.when(pl.col("action") == 9).then(1.0).otherwise(0.0)
    )
    frame.write_parquet(tmp_path / "log.parquet")
    args = ("--policy", "never=p_never", *POLICY, "--estimator", "tis")
    code, out, _ = call("rank", "log.parquet", *args, "--format", "csv")
    assert code == 0
    found = pl.read_csv(io.StringIO(out))
    assert found["policy"].to_list() == ["new", "never"]
    assert math.isfinite(found["value"][1])


def test_a_log_that_knows_its_columns_needs_no_options(call, tmp_path):
    frame = log_frame().rename({"reward": "clicked", "propensity": "b"})
    log = cf.LoggedData.from_frame(frame, reward="clicked", propensity="b")
    log.to_parquet(tmp_path / "known.parquet")
    wanted = call("evaluate", "log.parquet", *POLICY)
    assert call("evaluate", "known.parquet", *POLICY) == wanted
    wrong(call("evaluate", "known.parquet", "--policy", "n=p_nwe"), 'did you mean "p_new"')
    # An option of a column: then all of them count.
    wrong(call("evaluate", "known.parquet", *POLICY, "--reward", "clicked"), "--propensity")
