"""Wrong calls, hostile names, and the formats that a log may come in."""

from __future__ import annotations

import gzip
import json

import cli_log
import polars as pl
import pytest
from cli_log import log_frame, wrong
from counterfolio.cli.candidates import escape, parse_policies
from counterfolio.exceptions import InvalidArgumentError

call = cli_log.call
POLICY = ("--policy", "new=p_new")
LOG = ("log.parquet", *POLICY)

#: Arguments of evaluate, and what is said of them.
WRONG = {
    "no log": ((), "no log; name a file"),
    "no log but a policy": (POLICY, "no log; name a file"),
    "no policies": (("log.parquet",), "no policies; name each with --policy NAME=COLUMN"),
    "no such file": (("lgo.parquet", *POLICY), 'did you mean "log.parquet"?'),
    "no such column": ((*LOG, "--reward", "rewrad"), "--reward: no column", '"reward"'),
    "no such policy column": (("log.parquet", "--policy", "a=x"), 'policy "a": no column "x"'),
    "no such option": ((*LOG, "--estimater", "tis"), "--estimater; did you mean --estimators?"),
    "option twice over": ((*LOG, "--no-propensity", "--propensity", "p"), "contradict"),
    "no value": ((*LOG, "--gamma"), "--gamma", "see counterfolio evaluate --help"),
    "too many arguments": ((*LOG, "other.parquet"), "other.parquet"),
    "gamma no number": ((*LOG, "--gamma", "x"), "--gamma", '"x" is no number'),
    "gamma with a comma": ((*LOG, "--gamma", "0,95"), '"0,95" is no number; write 0.95'),
    "k no number": ((*LOG, "--report", "r.html", "--k", "two"), '"two" is no whole number'),
    "k alone": ((*LOG, "--k", "2"), "--k is for the report"),
    "no estimators": ((*LOG, "--estimators", " ,"), "--estimators is empty"),
    "empty name": ((*LOG, "--action", ""), "--action is empty"),
    "empty log": (("", *POLICY), "the log is empty"),
    "report over log": ((*LOG, "--report", "./log.parquet"), "--report writes .html"),
    "save over log": ((*LOG, "--save", "./log.parquet"), '--save would overwrite "./log.parquet"'),
    "output over log": ((*LOG, "--output", "log.parquet"), "--output would overwrite"),
    "one file twice": ((*LOG, "--output", "a.parquet", "--save", "a.parquet"), "both write"),
    "report ending": ((*LOG, "--report", "r.pdf"), '--report writes .html, not ".pdf"'),
    "save ending": ((*LOG, "--save", "s.csv"), '--save writes .parquet, not ".csv"'),
    "output ending": ((*LOG, "--output", "o.xlsx"), '".xlsx" is no format that can be written'),
    "gamma 0": ((*LOG, "--gamma", "0"), "--gamma must be in (0, 1], not 0.0"),
    "confidence level": ((*LOG, "--confidence-level", "95"), "--confidence-level must be in"),
    "threads": ((*LOG, "--num-threads", "0"), "--num-threads must be"),
    "interval": ((*LOG, "--interval", "nrmal"), "unknown --interval 'nrmal'", '"normal"'),
    "alternative": ((*LOG, "--alternative", "x"), "unknown --alternative 'x'"),
    "action type": ((*LOG, "--action-type", "x"), "unknown --action-type 'x'"),
    "estimator": ((*LOG, "--estimators", "snisp"), "unknown estimator 'snisp'", '"snips"'),
    "estimator twice": ((*LOG, "--estimators", "snips,wis"), "all", '"sntis"', "once"),
    "no model": ((*LOG, "--estimators", "dr"), "needs q and v", "new=COLUMN,q=COLUMN,v=COLUMN"),
    "no propensities": ((*LOG, "--no-propensity"), "--propensity", "--estimators dm"),
    "behavior": (("log.parquet", "--policy", "behavior=p_new"), "another name"),
    "policy twice": ((*LOG, *POLICY), 'two policies are called "new"'),
    "format": ((*LOG, "--format", "jsn"), "--format", '"json"'),
    "input format": ((*LOG, "--input-format", "cvs"), 'did you mean "csv"'),
    "no folder": ((*LOG, "--output", "none/a.csv"), 'the folder "none" does not exist'),
    "a folder": ((*LOG, "--save", "."), "is a folder"),
    "truth alone": ((*LOG, "--truth", "new=1"), "--truth is for the report; add --report"),
    "title alone": ((*LOG, "--title", "x"), "--title is for the report"),
    "truth no number": ((*LOG, "--report", "r.html", "--truth", "new=x"), "NAME=VALUE"),
    "truth twice": ((*LOG, "--report", "r.html", "--truth", "a=1", "--truth", "a=2"), "twice"),
    "truth no file": ((*LOG, "--report", "r.html", "--truth", "x.csv"), "--truth: no such file"),
    "no config": ((*LOG, "--config", "none.toml"), '"none.toml" cannot be read'),
    "standard input": (("-", *POLICY), "add --input-format"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_2_and_one_line(name, call, tmp_path):
    args, *says = WRONG[name]
    before = set(tmp_path.iterdir())
    wrong(call("evaluate", *args), *says)
    assert set(tmp_path.iterdir()) == before


def test_nothing_that_is_read_is_overwritten(call, tmp_path):
    """By whatever path: a link, a folder's file, the table of true values."""
    (tmp_path / "folder").mkdir()
    log_frame().write_csv(tmp_path / "folder" / "part.csv")
    (tmp_path / "link.json").symlink_to("folder/part.csv")
    pl.DataFrame({"policy": ["new"], "value": [0.5]}).write_csv(tmp_path / "truth.csv")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.csv")}
    for output in ("folder/part.csv", "link.json"):
        result = call("evaluate", "folder", *POLICY, "--output", output, "--format", "csv")
        wrong(result, "--output would overwrite")
    args = ("--report", "r.html", "--truth", "truth.csv", "--output", "truth.csv")
    wrong(call("evaluate", "folder", *POLICY, *args), "--output would overwrite")
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*.csv")}
    code, *_ = call("evaluate", *LOG, "--save", "saved.parquet")
    assert code == 0
    kept = (tmp_path / "saved.parquet").read_bytes()
    wrong(call("report", "saved.parquet", "saved.parquet"), "--report writes .html")
    wrong(call("evaluate", "saved.parquet", *POLICY), "is an evaluation that --save wrote")
    wrong(call("evaluate", "saved.parquet"), "is a saved evaluation; rank and report take it")
    assert (tmp_path / "saved.parquet").read_bytes() == kept


def test_a_blank_true_value_is_no_value(call, tmp_path):
    (tmp_path / "truth.csv").write_text("policy,value\nnew,\n")
    args = ("--report", "r.html", "--truth", "truth.csv")
    wrong(call("evaluate", *LOG, *args), "must hold finite numbers alone")
    (tmp_path / "truth.csv").write_text("policy,value\n,1.0\n")
    wrong(call("evaluate", *LOG, *args), "a row without a name")


def test_what_a_candidate_cannot_be_is_refused_by_check_too(call, tmp_path):
    frame = log_frame().with_columns(pl.lit(7.0).alias("p_bad"), pl.lit("a").alias("named"))
    frame.write_parquet(tmp_path / "bad.parquet")
    result = call("check", "bad.parquet", "--policy", "new=p_bad")
    wrong(result, 'policy "new": column "p_bad": 600 of 600 values are outside', code=1)
    result = call("evaluate", "bad.parquet", "--policy", "new=named")
    wrong(result, "how likely the policy was to take the action that was logged", code=1)


def test_a_serious_fault_of_the_log_stands_below_the_estimates(call, tmp_path):
    log_frame().with_columns(propensity=1.0).write_parquet(tmp_path / "ones.parquet")
    code, out, _ = call("evaluate", "ones.parquet", *POLICY)
    assert code == 0
    assert "The log itself is in doubt:\nserious: every propensity is 1" in out


def test_what_must_not_be_trusted_is_not_shortlisted(call, tmp_path):
    frame = log_frame()
    rare = (pl.int_range(600) % 97 == 5) & (pl.col("action") == 2) & (pl.col("reward") == 1)
    frame = frame.with_columns(p_wild=pl.when(rare).then(1.0).otherwise(0.0))
    frame.write_parquet(tmp_path / "wild.parquet")
    args = ("wild.parquet", "--policy", "wild=p_wild", "--policy", "new=p_new")
    args += ("--estimator", "sntis", "--k", "1")
    code, out, _ = call("rank", *args)
    assert code == 0
    assert "Left out, since not to be trusted: wild. Top 1: new." in " ".join(out.split())
    record = json.loads(call("rank", *args, "--format", "json")[1])
    assert record["shortlist"]["policies"] == ["new"]
    assert record["shortlist"]["left_out"] == ["wild"]
    assert [(r["policy"], r["shortlisted"]) for r in record["ranking"]] == [
        ("wild", False),
        ("new", True),
    ]


def test_a_wrong_command_suggests_the_nearest(call):
    wrong(call("evalute", "log.parquet"), "evalute", "evaluate")
    wrong(call("--versoin"), "--versoin", "--version")


def test_a_stranger_is_told_which_options_name_the_columns(call):
    """All that are missing at once, with what there is."""
    result = call("check", "log.csv")
    wrong(result, '"action", "reward", "propensity"', "--action, --reward, --propensity")
    wrong(result, "--no-propensity", '"item", "clicked", "p"')
    args = ("--action", "item", "--reward", "clicked")
    wrong(call("check", "log.csv", *args), 'no column "propensity"', "with --propensity")
    wrong(call("check", "log.csv", *args, "--propensity", "P"), "--propensity: no column")


@pytest.mark.parametrize("option", ["--episode-id", "--timestep", "--terminated", "--state"])
def test_every_column_option_names_itself(option, call):
    wrong(call("check", "log.parquet", option, "devcie"), f"{option}: no column", '"device"')
    for extra in ("--segment", "--time"):
        wrong(call("check", "log.parquet", extra, "devcie"), f"{extra}: no column", '"device"')


def test_messages_name_options_not_arguments_of_python(call, tmp_path):
    frame = log_frame().with_columns(
        pl.lit(1.5).alias("big"), pl.Series("probs", [[0.5, 0.5]] * 600)
    )
    frame.write_parquet(tmp_path / "big.parquet")
    for args, said in (
        (("--policy", "new=big"), "--action-type continuous"),
        (("--policy", "new=action_probs=probs"), "--actions LABEL"),
    ):
        result = call("evaluate", "big.parquet", *args)
        wrong(result, said, code=1)
        assert not any(word in result[2] for word in ("cf.", "_type=", "[...]", "from_frame"))


# Hostile names.

HOSTILE = [
    "a=b",
    "a,b",
    "a\\b",
    "a\\=b\\",
    "q=p",
    "<script>alert(1)</script>",
    "$x$ & [bold]red[/bold] :smile:",
    "two\nlines",
    "\x1b[31mred\x1b[0m",
    "\u202egnp",
    "🦊 العربية 日本",
    "-p",
    " ",
    "x" * 300,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names(name, call, tmp_path):
    """Of columns and of policies; a terminal is never told to do anything."""
    frame = log_frame().rename({"p_new": name, "reward": name + "r", "device": name + "d"})
    frame.write_parquet(tmp_path / "odd.parquet")
    args = ("odd.parquet", "--reward", name + "r", "--policy", f"{escape(name)}={escape(name)}")
    code, out, err = call("evaluate", *args, "--format", "json")
    assert (code, err) == (0, "")
    assert json.loads(out)["settings"]["policies"] == [name]
    for command in ("evaluate", "rank"):
        code, out, err = call(command, *args)
        assert (code, err) == (0, "")
        assert all(c.isprintable() or c == "\n" for c in out)
    result = call("evaluate", "odd.parquet", *args[1:3], "--policy", f"{escape(name)}=none")
    wrong(result, 'no column "none"')
    assert all(c.isprintable() for c in result[2][:-1])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("new=p", {"new": {"prob": "p"}}),
        ("new=prob=p", {"new": {"prob": "p"}}),
        ("new=p,q=a,v=b", {"new": {"prob": "p", "q": "a", "v": "b"}}),
        ("new=v=b", {"new": {"v": "b"}}),
        (r"a\=b=p\,x,q=c\=d", {"a=b": {"prob": "p,x", "q": "c=d"}}),
        (r"a\\=p", {"a\\": {"prob": "p"}}),
        (r"a\b=c\d", {r"a\b": {"prob": r"c\d"}}),
        ("a=b=c", None),
        ("new=p,x", None),
        ("new=p,qq=x", None),
        ("new=q=x,q=y", None),
        ("new=q=", None),
        ("new=,v=b", None),
        ("=p", None),
        ("new=", None),
        ("new", None),
    ],
)
def test_how_a_policy_is_written(text, wanted):
    if wanted is not None:
        assert parse_policies([text]) == wanted
        return
    with pytest.raises(InvalidArgumentError, match='policy "'):
        parse_policies([text])


# Logs of every kind.


def test_the_same_log_in_every_format(call, tmp_path):
    frame = log_frame()
    (tmp_path / "hive").mkdir()
    for day, part in frame.group_by("day", maintain_order=True):
        folder = tmp_path / "hive" / f"day={day[0]}"
        folder.mkdir()
        part.drop("day").write_parquet(folder / "a.parquet")
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    frame.write_csv(tmp_path / "table.csv")
    frame.write_csv(tmp_path / "table.tsv", separator="\t")
    frame.write_ipc(tmp_path / "log.arrow")
    frame.write_ipc_stream(tmp_path / "stream.arrow")
    wanted = call("evaluate", *LOG)
    assert wanted[0] == 0
    names = ("hive", "hive/*/*.parquet", "log.csv.gz", "table.csv", "table.tsv", "*.arrow")
    for name in (*names[:-1], "log.arrow", "stream.arrow"):
        assert call("evaluate", name, *POLICY) == wanted, name
    # A partition is a column like any other.
    with_day = call("evaluate", "hive", *POLICY, "--episode-id", "day")
    assert with_day == call("evaluate", *LOG, "--episode-id", "day")
    assert "7 episodes" in with_day[1]


def csv(path, **columns):
    frame = log_frame().with_columns(**columns)
    frame.write_csv(path)


def test_what_is_said_of_csv_files(call, tmp_path):
    reward = pl.col("reward")
    row = pl.int_range(pl.len())
    csv(tmp_path / "nulls.csv", reward=pl.when(row > 1).then(reward))
    wrong(call("evaluate", "nulls.csv", *POLICY), '"reward"', "2 of 600", "row 0", code=1)
    csv(tmp_path / "na.csv", reward=pl.when(row == 4).then(pl.lit("N/A")).otherwise(reward))
    result = call("evaluate", "na.csv", *POLICY)
    wrong(result, "--reward", "1 value of 600 is text", "row 4 ('N/A')", code=1)
    euro = pl.format("€{}", "reward")
    csv(tmp_path / "euro.csv", p_new=euro)
    wrong(call("evaluate", "euro.csv", *POLICY), 'policy "new"', "600 values", code=1)
    (tmp_path / "empty.csv").write_text("")
    wrong(call("evaluate", "empty.csv", *POLICY), '"empty.csv" is empty', code=1)
    (tmp_path / "header.csv").write_text("action,reward,propensity,p_new\n")
    wrong(call("evaluate", "header.csv", *POLICY), "the log is empty", code=1)
    (tmp_path / "latin.csv").write_bytes("action,reward\né,1\n".encode("latin1"))
    wrong(call("check", "latin.csv"), "not UTF-8", code=1)
    (tmp_path / "semi.csv").write_text("action;reward\n1;2\n")
    wrong(call("check", "semi.csv"), 'separated by ";"', code=1)
    (tmp_path / "tabs.csv").write_text("action\treward\n1\t2\n")
    wrong(call("check", "tabs.csv"), "--input-format tsv", code=1)


def test_folders_that_hold_no_log(call, tmp_path):
    (tmp_path / "none").mkdir()
    wrong(call("check", "none"), 'no table in the folder "none"')
    wrong(call("check", "none/*.csv"), 'nothing matches "none/*.csv"')
    wrong(call("check", "."), "csv", "parquet", "--input-format")
    frame = log_frame()
    frame.write_parquet(tmp_path / "none" / "a.parquet")
    frame.drop("reward").write_parquet(tmp_path / "none" / "b.parquet")
    wrong(call("check", "none"), 'column "reward"', "b.parquet", code=1)


def test_only_the_columns_that_are_named_are_read(call, tmp_path):
    """Of Parquet: a column that only one of two files has is no trouble unless it is used."""
    (tmp_path / "many").mkdir()
    log_frame()[:300].write_parquet(tmp_path / "many" / "a.parquet")
    log_frame()[300:].drop("device").write_parquet(tmp_path / "many" / "b.parquet")
    assert call("evaluate", "many", *POLICY) == call("evaluate", *LOG)
    wrong(call("evaluate", "many", *POLICY, "--state", "device"), '"device"', code=1)


def test_lists_of_probabilities(call, tmp_path):
    """The behavior policy's, and a candidate's with its Q-values; labels in another order."""
    frame = log_frame()
    n = len(frame)
    lists = {
        "b": [[0.2, 0.3, 0.5]] * n,
        "pi": [[0.1, 0.2, 0.7]] * n,
        "Q": [[1.0, 2.0, 4.0]] * n,
    }
    frame.drop("propensity").with_columns(
        **{name: pl.Series(values) for name, values in lists.items()}
    ).write_parquet(tmp_path / "dense.parquet")
    policy = ("--policy", "new=action_probs=pi,q_values=Q", "--format", "json")
    args = ("evaluate", "dense.parquet", "--action-probs", "b", *policy)
    found = json.loads(call(*args)[1])["estimates"]
    dm = {row["estimator"]: row["value"] for row in found}
    assert dm["dm"] == pytest.approx(0.1 + 0.4 + 2.8)
    labels = [part for label in (2, 1, 0) for part in ("--actions", label)]
    again = {r["estimator"]: r["value"] for r in json.loads(call(*args, *labels)[1])["estimates"]}
    assert again["dm"] == dm["dm"]
    assert again["tis"] != dm["tis"]
    wrong(call(*args, "--actions", "x"), "--actions", "holds integers")


def test_estimators_with_options(call):
    """Commas between brackets part options, others estimators."""
    policy = ("--policy", "new=p_new,q=q_new,v=v_new", "--format", "json")
    asked = "pdis[clip=2], dr[clip=1.5,per_step=True],snips"
    found = json.loads(call("evaluate", "log.parquet", *policy, "--estimators", asked)[1])
    names = [row["estimator"] for row in found["estimates"]]
    assert names[:3] == ["pdis[clip=2]", "dr[clip=1.5,per_step=True]", "sntis"]
    wrong(call("evaluate", "log.parquet", *policy, "--estimators", "tis[clap=1]"), "clap", "clip")


def test_marginal_ratios_are_columns(call):
    ratio = "new=p_new,state_ratio=q_new,ratio_kind=occupancy"
    args = ("evaluate", "log.parquet", "--policy", ratio, "--estimators", "sm_is,ips")
    found = json.loads(call(*args, "--format", "json")[1])["estimates"]
    frame = log_frame()
    w, r, mu = (frame[c].to_numpy() for c in ("p_new", "reward", "q_new"))
    assert found[0]["value"] == pytest.approx((3 * w * mu * r).mean())
    assert found[1]["value"] == pytest.approx((3 * w * r).mean())
    refused = call(*args[:2], "--policy", ratio.replace("occupancy", "steps"), *args[4:])
    assert refused[0] != 0
    assert 'ratio_kind must be "step" or "occupancy"' in refused[2]
