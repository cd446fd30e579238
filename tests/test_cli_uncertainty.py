"""The command line's options of uncertainty: what arrives, what is refused, what is told."""

from __future__ import annotations

import json
import re

import cli_log
import counterfolio as cf
import polars as pl
import pytest
from cli_log import log_frame, wrong
from counterfolio.cli.failure import message
from counterfolio.exceptions import InvalidArgumentError
from counterfolio.text import chance, span
from counterfolio.uncertainty import KINDS

call = cli_log.call
BOTH = ("--policy", "new=p_new", "--policy", "old=p_old")
LOG = ("log.parquet", *BOTH)
SAMPLED = ("--n-resamples", "200", "--seed", "3")

#: Kind of interval -> options that it needs, and the same as arguments.
INTERVALS = {
    "normal": ("", {}),
    "t": ("", {}),
    "bootstrap": (
        "--n-resamples 60 --seed 5 --method basic --resampling multinomial",
        {"n_resamples": 60, "seed": 5, "method": "basic", "resampling": "multinomial"},
    ),
    "hoeffding": ("--value-range 0,1.8", {"value_range": (0, 1.8)}),
    "empirical_bernstein": ("--value-range 0,1.8", {"value_range": (0, 1.8)}),
    "hcope": ("--alternative greater --seed 5", {"alternative": "greater", "seed": 5}),
    "log_smoothing": ("--return-range 0,1", {"return_range": (0, 1)}),
    "cressie_read": (
        "--return-range 0,1 --weight-range 0,2",
        {"return_range": (0, 1), "weight_range": (0, 2)},
    ),
    "confidence_sequence": ("--return-range 0,1", {"return_range": (0, 1)}),
}
EXACT = [kind for kind in KINDS if KINDS[kind].bounds]


def evaluation_of(**arguments):
    log = cf.LoggedData.from_frame(log_frame())
    return cf.evaluate(log, {"new": "p_new", "old": "p_old"}, **arguments)


def record(result):
    code, out, err = result
    assert (code, err) == (0, ""), result
    return json.loads(out)


@pytest.mark.parametrize("kind", INTERVALS)
def test_every_interval_is_that_of_the_library(kind, call):
    options, arguments = INTERVALS[kind]
    args = ("--interval", kind, *options.split())
    evaluation = evaluation_of(estimators=["tis"], interval=kind, **arguments)
    told = (*LOG, "--estimators", "tis", *args, "--num-threads", "1")
    found = record(call("evaluate", *told, "--format", "json"))
    for row, wanted in zip(found["estimates"], evaluation.estimates.rows(named=True), strict=True):
        open_above = arguments.get("alternative") == "greater"
        assert row == wanted | ({"ci_high": None} if open_above else {})
    for name, value in arguments.items():
        shown = found["settings"][name]
        assert (tuple(shown) if isinstance(shown, list) else shown) == value
    code, out, err = call("rank", *LOG, "--estimator", "tis", *args)
    assert (code, err) == (0, "")
    # Of a difference these bounds say nothing: normal intervals are called so.
    assert ("normal 95 % interval" in out) == (kind in EXACT)


def test_all_intervals_are_there():
    assert INTERVALS.keys() == KINDS.keys()


RANGED = ("--interval", "hoeffding", "--estimators", "tis")
LIKELIHOOD = ("--interval", "cressie_read", "--estimators", "tis", "--return-range", "0,1")
HCOPE = ("--interval", "hcope", "--estimators", "tis")
SEQUENCE = ("--interval", "confidence_sequence", "--estimators", "tis")
PAIRS = ("--episode-id", "pair")
GREATER = ("--alternative", "greater")
#: Options, and what is said of them.
WRONG = {
    "no range": (RANGED, "--interval hoeffding needs --value-range LOW,HIGH"),
    "no range of weights": (LIKELIHOOD, "needs --weight-range LOW,HIGH"),
    "a range too many": (
        (*LIKELIHOOD, "--weight-range", "0,3", "--value-range", "0,1"),
        "--value-range has no meaning for --interval cressie_read",
    ),
    "a range for nothing": (
        ("--return-min", "0"),
        "--return-min has no meaning for --interval normal; drop it, or use hcope",
    ),
    "range upside down": (
        (*RANGED, "--value-range", "1,0"),
        "--value-range must be LOW,HIGH with LOW below HIGH, both finite, not 1.0,0.0",
    ),
    "half a range": ((*RANGED, "--value-range", "1"), "must be LOW,HIGH, as in --value-range 0,1"),
    "no range at all": ((*RANGED, "--value-range", "a,b"), "must be LOW,HIGH, as in --value-range"),
    "weights without 1": (
        (*LIKELIHOOD, "--weight-range", "2,3"),
        "--weight-range must begin at 0 or more",
        "not 2.0,3.0",
    ),
    "terms outside": (
        (*RANGED, "--value-range", "0,1"),
        '--value-range: policy "new", "tis": terms outside [0, 1]: 134 of 600 episodes, first',
    ),
    "returns outside": (
        ("--interval", "log_smoothing", "--estimators", "tis", "--return-range", "0.5,1"),
        '--return-range: policy "new", "tis": returns outside [0.5, 1]',
    ),
    "weights outside": (
        (*LIKELIHOOD, "--weight-range", "0,1.5"),
        '--weight-range: policy "new", "tis": weights outside [0, 1.5]',
    ),
    "a lower bound": (HCOPE, "--interval hcope is a lower bound: add --alternative greater"),
    "one side": (
        (*LIKELIHOOD, "--weight-range", "0,3", *GREATER, "--confidence-level", "0.3"),
        "needs a --confidence-level of 0.5 or more, not 0.3",
    ),
    "no bootstrap": (
        ("--interval", "bootstrap", "--n-resamples", "0"),
        "--interval bootstrap needs replicates: --n-resamples must be 1 or more",
    ),
    "fewer than none": (("--n-resamples", "-1"), "--n-resamples must be a whole number from 0"),
    "no number": (("--n-resamples", "1e3"), '"1e3" is no whole number'),
    "method": (("--method", "bac"), "unknown --method 'bac'; did you mean", '"bca"'),
    "resampling": (("--resampling", "jackknife"), "unknown --resampling 'jackknife'", '"poisson"'),
    "seed": (("--seed", "-1"), "--seed must be a whole number from 0 to 2^64 - 1, not -1"),
    "seed of text": (("--seed", "x"), '"x" is no whole number'),
    "clusters": (
        (*RANGED, "--value-range", "0,2", "--cluster", "user"),
        "--interval hoeffding takes episodes as independent, and this log has clusters",
    ),
    "episodes of several steps": (
        (*SEQUENCE, "--return-range", "0,2", *PAIRS),
        "--interval confidence_sequence takes single decisions",
    ),
    "negative rewards": (
        (*HCOPE, *GREATER, "--reward", "loss"),
        "name the least return that can occur with --return-min NUMBER",
    ),
    "a least return too high": (
        (*HCOPE, *GREATER, "--reward", "loss", "--return-min", "0"),
        "--return-min has to hold for every return",
    ),
    "a least return by step": (
        (
            *HCOPE,
            "--estimators",
            "pdis",
            *GREATER,
            "--reward",
            "loss",
            *PAIRS,
            "--return-min",
            "-1",
        ),
        '--return-min: the terms of "pdis"',
        "use --estimators tis",
    ),
}


@pytest.fixture
def wide(call, tmp_path):
    """The log with users, pairs of rows as episodes, and rewards below 0."""
    row = pl.int_range(pl.len())
    log_frame().with_columns(user=row // 3, pair=row // 2, loss=pl.col("reward") - 1).write_parquet(
        tmp_path / "log.parquet"
    )
    return call


@pytest.mark.parametrize("name", WRONG)
def test_a_refusal_is_2_and_names_the_option(name, wide):
    args, *says = WRONG[name]
    result = wide("evaluate", *LOG, *args)
    wrong(result, *says)
    assert not re.search(
        r"(?<!-)\b\w+=[\[(\"']|\b(?<!_)\w+_(range|min|level|resamples)\b", result[2]
    )


@pytest.mark.parametrize("kind", EXACT)
def test_bounds_refuse_estimators_that_they_are_not_valid_for(kind, call):
    """`rank` takes one estimator and says so."""
    args = ("--interval", kind, *INTERVALS[kind][0].split())
    names = ["pdis", "tis"]  # which are one on a bandit log
    wrong(call("evaluate", *LOG, *args), 'not valid for "sntis"', "--estimators pdis,tis, or")
    result = call("rank", *LOG, *args)
    wrong(result, 'not valid for "sntis"', f"--estimator {' or '.join(names)}, or")
    wrong(call("evaluate", *LOG, *args, "--estimators", "sntis"), "quotient of means")


def test_no_message_of_the_library_survives_as_python():
    for text, said in (
        ("a plot needs n_resamples of 1 or more", "a plot needs --n-resamples of 1 or more"),
        ('column "n_resamples" has no meaning', 'column "n_resamples" has no meaning'),
        ('column "my value_range x": null', 'column "my value_range x": null'),
        ("value_range has no meaning", "--value-range has no meaning"),
        ("--return-min is --return-min", "--return-min is --return-min"),
    ):
        assert message(InvalidArgumentError(text)) == said


# Seeds.


def test_the_same_seed_gives_the_same_output(call):
    for command in ("evaluate", "rank"):
        args = (command, *LOG, "--n-resamples", "200", "--interval", "bootstrap", "--seed")
        told = call(*args, "3")[1]
        assert call(*args, "3")[1] == told
        assert "seed 3" in told
        assert call(*args, "4")[1] != told.replace("seed 3", "seed 4")


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("evaluate", ("--n-resamples", "50", "--interval", "bootstrap")),
        ("rank", ("--n-resamples", "50")),
        ("rank", ("--n-resamples", "50", "--interval", "bootstrap")),
        ("evaluate", ("--estimators", "tis", "--interval", "hcope", *GREATER)),
        ("rank", ("--estimator", "tis", "--interval", "hcope", *GREATER)),
    ],
)
def test_a_seed_that_was_drawn_is_told(command, args, call):
    code, out, err = call(command, *LOG, *args)
    assert (code, err) == (0, "")
    seed = re.search(r"\bseed (\d+)", out)[1]
    assert call(command, *LOG, *args, "--seed", seed)[1] == out
    assert record(call(command, *LOG, *args, "--format", "json"))["settings"]["seed"] >= 0


def test_what_hangs_on_no_seed_names_none(call):
    """So that the same call prints the same; a report and JSON name it all the same."""
    assert "seed" not in call("evaluate", *LOG)[1] + call("rank", *LOG)[1]
    args = ("evaluate", *LOG, "--report", "r.html")
    assert call(*args)[1] == call(*args)[1] == call("evaluate", *LOG)[1]
    settings = record(call("evaluate", *LOG, "--format", "json"))["settings"]
    assert (settings["seed"], settings["n_resamples"]) == (None, 0)


# Clusters, sides, levels.


def test_clusters_are_resampled_whole(wide):
    args = ("--cluster", "user", *SAMPLED, "--interval", "bootstrap", "--format", "json")
    found = record(wide("evaluate", *LOG, *args))
    frame = pl.read_parquet("log.parquet")
    log = cf.LoggedData.from_frame(frame, cluster="user")
    policies = {"new": "p_new", "old": "p_old"}
    wanted = cf.evaluate(log, policies, interval="bootstrap", n_resamples=200, seed=3)
    assert found["estimates"] == wanted.estimates.rows(named=True)
    assert found["settings"]["n_clusters"] == 200


@pytest.mark.parametrize("kind", ["normal", "bootstrap", "hoeffding"])
def test_a_side_leaves_the_other_open(kind, call):
    options = (*INTERVALS[kind][0].split(), "--interval", kind, "--estimators", "tis")
    ends = {}
    for side in ("two-sided", "greater", "less"):
        args = (*options, "--alternative", side, "--format", "json")
        ends[side] = [
            (row["ci_low"], row["ci_high"])
            for row in record(call("evaluate", *LOG, *args))["estimates"]
        ]
    for two, low, high in zip(*ends.values(), strict=True):
        assert low[1] is high[0] is None
        assert two[0] < low[0] < high[1] < two[1]
    wrong(
        call("rank", *LOG, "--score", "lower", "--alternative", "less"),
        "--score lower ranks by the lower end",
        "--alternative less leaves open",
    )


# Ranks and shortlists.


def test_rank_says_how_sure_the_ranks_are(call):
    evaluation = evaluation_of(estimators=["sntis"], n_resamples=200, seed=3)
    args = (*LOG, "--policy", "flat=propensity", "--estimator", "sntis", *SAMPLED)
    log = cf.LoggedData.from_frame(log_frame())
    policies = {"new": "p_new", "old": "p_old", "flat": "propensity"}
    evaluation = cf.evaluate(log, policies, ["sntis"], n_resamples=200, seed=3)
    ranking, shortlist = evaluation.ranking(), evaluation.portfolio(2)
    out = call("rank", *args, "--k", "2")[1]
    blocks = out.split("\n\n")
    block = next(b for b in blocks if b.startswith("Ranks over 200 resampled logs (seed 3)\n"))
    assert blocks.index(block) == 2
    lines = [re.split(r"  +", line.strip()) for line in block.splitlines()[1:]]
    assert lines[0] == ["rank", "policy", "P(best)", "P(top 2)", "ranks"]
    for line, row in zip(lines[1:], ranking.rows(named=True), strict=True):
        chances = [chance(row[name], 200) for name in ("p_best", "p_top_2")]
        ranks = span(str(row["rank_low"]), str(row["rank_high"]))
        assert line == [str(row["rank"]), row["policy"], *chances, ranks]
    # All three are surely among three.
    assert "P(top 3)" not in call("rank", *args, "--k", "3")[1]
    predicted = shortlist.predictive_sharpe_ratio
    assert " ".join(predicted.sentence().split()) in " ".join(out.split())
    found = record(call("rank", *args, "--k", "2", "--format", "json"))
    for row, wanted in zip(found["ranking"], ranking.rows(named=True), strict=True):
        assert {name: row[name] for name in wanted} == wanted
    written = found["shortlist"]["predictive_sharpe_ratio"]
    assert written == {name: getattr(predicted, name) for name in written}
    assert written.keys() == predicted.__dataclass_fields__.keys()
    columns = call("rank", *args, "--format", "csv")[1].split("\n")[0].split(",")
    assert {"p_best", "rank_low", "rank_high", "p_top_1", "p_top_3"} < set(columns)


def test_a_saved_evaluation_keeps_its_replicates(call):
    wanted = call("rank", *LOG, *SAMPLED)
    call("evaluate", *LOG, *SAMPLED, "--save", "saved.parquet")
    assert call("rank", "saved.parquet") == wanted
    result = call("rank", "saved.parquet", "--n-resamples", "9")
    wrong(result, "--n-resamples has no meaning", "saved evaluation")


def test_without_replicates_nothing_is_said_of_ranks(call):
    assert "Ranks over" not in call("rank", *LOG)[1]
    found = record(call("rank", *LOG, "--format", "json"))
    assert found["shortlist"]["predictive_sharpe_ratio"] is None
    assert "p_best" not in found["ranking"][0]


def test_few_replicates_are_not_taken_for_many(call):
    """What happened 20 times of 20 is no 99.9 %; a note on many policies is given once."""
    args = ("--n-resamples", "20", "--interval", "bootstrap", "--estimator", "sntis")
    out = call("rank", *LOG, *args)[1]
    assert ">95 %" in out
    assert "99.9 %" not in out
    assert "\nnew and old: 20 replicates are too few for the level of the interval\n" in out


def test_ranks_of_one_policy_and_of_none_that_is_defined(call, tmp_path):
    frame = log_frame().with_columns(p_never=pl.lit(0.0))
    frame.write_parquet(tmp_path / "log.parquet")
    one = ("log.parquet", "--policy", "new=p_new", *SAMPLED)
    code, out, _ = call("rank", *one)
    assert (code, "Ranks over" in out) == (0, False)
    assert "with seed 3" in out
    args = ("log.parquet", "--policy", "never=p_never", "--policy", "new=p_new", *SAMPLED)
    code, out, _ = call("rank", *args, "--estimator", "tis")
    assert code == 0
    assert "Ranks over 200" in out
