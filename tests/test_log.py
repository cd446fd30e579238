"""`LoggedData`: its report, its files, its propensities, its actions."""

from __future__ import annotations

import datetime
import os
import pickle
import re
import threading
from typing import TYPE_CHECKING

import counterfolio as cf
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from test_invariants import bits as bits_of

if TYPE_CHECKING:
    from pathlib import Path

EPISODES, STEPS = 60, 3
N = EPISODES * STEPS
KEYS = {"episode_id": "id", "timestep": "t", "terminated": "end", "truncated": "cut"}
LABELS = ["left", "right", "stay"]


def columns(**changes: object) -> dict[str, object]:
    """A log in which nothing looks wrong."""
    rng = np.random.default_rng(0)
    step = np.tile(np.arange(STEPS), EPISODES)
    return {
        "id": np.repeat(np.arange(EPISODES), STEPS),
        "t": step,
        "action": rng.integers(0, 3, N),
        "reward": rng.normal(1.0, 2.0, N),
        "propensity": rng.uniform(0.1, 0.9, N),
        "p": rng.uniform(0.1, 0.9, N),
        "end": (step == STEPS - 1) & (np.arange(N) % 2 == 0),
        "cut": (step == STEPS - 1) & (np.arange(N) % 2 == 1),
        **changes,
    }


def log_of(roles: dict | None = None, **changes: object) -> cf.LoggedData:
    return cf.LoggedData.from_frame(columns(**changes), **(KEYS if roles is None else roles))


def put(name: str, changes: dict[int, object]) -> np.ndarray:
    values = columns()[name].copy()
    for row, value in changes.items():
        values[row] = value
    return values


def dense(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), N)


def bits(log: cf.LoggedData, policy: object = "p") -> dict:
    return bits_of(cf.evaluate(log, {"new": policy}, gamma=0.9).estimates)


# The report.


def test_report_says_what_the_log_holds():
    lengths = [1, 4, 2, 2, 6] * 20
    n, data = sum(lengths), np.random.default_rng(2)
    reward, propensity = data.normal(size=n), data.uniform(0.2, 1.0, n)
    reward[:5], reward[5:7] = 0.0, 1.0
    frame = {"id": np.repeat(np.arange(100), lengths), "action": [0] * n, "reward": reward}
    report = cf.LoggedData.from_frame(frame | {"propensity": propensity}, episode_id="id").report
    assert isinstance(report, cf.LogReport)
    assert (report.n_rows, report.n_episodes) == (n, 100)
    assert report.lengths == {"min": 1, "median": 2, "mean": 3, "max": 6}
    assert [x.name for x in report.summaries] == ["reward", "propensity"]
    for summary, values in zip(report.summaries, (reward, propensity), strict=True):
        assert (summary.min, summary.max) == (values.min(), values.max())
        assert summary.mean == pytest.approx(values.mean(), rel=1e-12)
        assert summary.std == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert (report.summaries[0].zeros, report.summaries[0].ones) == (5, 2)


def test_report_says_what_was_checked():
    checked = "\n".join(log_of().report.checks)
    bandit = "\n".join(log_of({}).report.checks)
    for text in ("action", "reward", "propensity"):
        assert text in checked
        assert text in bandit
    for text in ("episode id", "timesteps increase", "goes on after its end"):
        assert text in checked
        assert text not in bandit
    roles = {"action_type": "continuous"}
    assert "above 0" in "\n".join(log_of(roles, propensity=np.full(N, 3.0)).report.checks)
    assert "propensity" not in "\n".join(log_of({"propensity": None}).report.checks)


def without(*names: str, **more: object) -> dict[str, object]:
    return {key: value for key, value in KEYS.items() if key not in names} | more


FEW = slice(10 * STEPS)
ENDS = columns()["end"] | columns()["cut"]
NONE = np.zeros(N, bool)
TWO_ONES, TINY = put("propensity", {3: 1.0, 9: 1.0}), put("propensity", {7: 2.5e-6})
ONCE, TWICE = put("cut", {5: False}), put("end", {2: False, 8: False})
WARNINGS = {
    "every reward is 2.5": lambda: log_of(reward=np.full(N, 2.5)),
    "the log has no propensities": lambda: log_of(without(propensity=None)),
    "every propensity is 1": lambda: log_of(propensity=np.ones(N)),
    "the smallest propensity is 2.5e-06": lambda: log_of(propensity=TINY),
    "only 10 episodes": lambda: log_of(**{name: x[FEW] for name, x in columns().items()}),
    'column "t" skips steps at 3 rows': lambda: log_of(t=put("t", {2: 5, 5: 3, 8: 4})),
    'column "end" is never true': lambda: log_of(without("truncated"), end=NONE),
}
SERIOUS = dict.fromkeys(["every reward is 2.5", "every propensity is 1"], "serious")
NOTES = {
    f"2 of {N} propensities are exactly 1": lambda: log_of(propensity=TWO_ONES),
    f'{EPISODES // 2} episodes end without "end"': lambda: log_of(without("truncated")),
    '3 episodes end without "end" or "cut"': lambda: log_of(end=TWICE, cut=ONCE),
    "each row is an episode": lambda: log_of({}),
}


@pytest.mark.parametrize("text", [*WARNINGS, *NOTES])
def test_finding(text):
    """Each finding fires on a log made for it, alone and with advice."""
    report = (WARNINGS | NOTES)[text]().report
    (finding,) = report.findings
    assert text in finding.message
    assert finding.severity == SERIOUS.get(text, "warning" if text in WARNINGS else "info")
    line = f"{finding.severity}: {finding.message}; {finding.advice}."
    assert line in " ".join(repr(report).split())


QUIET = {
    "a good log": log_of,
    "truncated only": lambda: log_of(without("terminated"), cut=ENDS),
    "never truncated": lambda: log_of(end=ENDS, cut=NONE),
    "ids alone": lambda: log_of(without("terminated", "truncated", "timestep")),
    "flags alone": lambda: log_of(without("episode_id", "timestep")),
    "timesteps from 7": lambda: log_of(t=columns()["t"] + 7),
    "timesteps as floats": lambda: log_of(t=columns()["t"] / 4),
    "densities": lambda: log_of(
        without(action_type="continuous"), propensity=put("propensity", {0: 1.0, 1: 9.0, 2: 1e-9})
    ),
    "instants": lambda: log_of(t=columns()["t"].astype("M8[s]").astype("M8[us]")),
}


@pytest.mark.parametrize("name", QUIET)
def test_nothing_looks_wrong(name):
    report = QUIET[name]().report
    assert report.findings == []
    assert "Nothing looks wrong" in repr(report)


NAMES = ["r" * 300, "a name of several words, " * 9, "报酬" * 60, "<b>&\"'</b>" * 20]


@pytest.mark.parametrize("name", NAMES)
def test_report_fits_a_terminal(name):
    data = columns()
    renamed = {f"{key} {name}": value for key, value in data.items()}
    roles = {role: f"{column} {name}" for role, column in KEYS.items()}
    roles |= {role: f"{role} {name}" for role in ("action", "reward", "propensity")}
    renamed[roles["timestep"]] = data["t"] * 3
    renamed[roles["terminated"]] = np.zeros(N, bool)
    log = cf.LoggedData.from_frame(renamed, **roles)
    assert len(log.report.findings) >= 2
    assert max(map(len, repr(log.report).splitlines())) <= 80


def test_report_escapes_markup():
    name = "<script>alert('&')</script>"
    data = {**columns(), name: np.full(N, 2.0)}
    log = cf.LoggedData.from_frame(data, reward=name, **KEYS)
    page = log.report._repr_html_()
    assert log._repr_html_() == page
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;") == 2


# Files.


def write(folder: Path, name: str, rows: slice = slice(None), drop: tuple[str, ...] = ()) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns())[rows].drop(drop).write_parquet(path)


def test_files_folders_and_globs(tmp_path):
    write(tmp_path, "one.parquet")
    for i, rows in enumerate((slice(0, 6), slice(6, 90), slice(90, N))):
        write(tmp_path, f"many/part-{i}.parquet", rows)
        write(tmp_path, f"deep/{i}/a.parquet", rows)
    (tmp_path / "many" / "_SUCCESS").touch()
    sources = ["one.parquet", "many", "many/*.parquet", "many/part-?.parquet", "deep"]
    for source in sources:
        assert bits(cf.read_parquet(tmp_path / source, **KEYS)) == bits(log_of()), source
        assert bits(cf.read_parquet(str(tmp_path / source), **KEYS)) == bits(log_of()), source


def test_partitions_become_columns(tmp_path):
    """Those of a policy and of the episodes; the folders are read in the order of their names."""
    for i in range(EPISODES):
        rows = slice(STEPS * i, STEPS * (i + 1))
        write(tmp_path, f"p={0.25 + i / 128}/id=user-{i:02}/a.parquet", rows, drop=("id", "p"))
    found = cf.read_parquet(tmp_path, **KEYS)
    policy = np.repeat(0.25 + np.arange(EPISODES) / 128, STEPS)
    assert found.n_episodes == EPISODES
    assert bits(found) == bits(log_of(p=policy))
    assert found.column("id").to_list() == [f"user-{i:02}" for i in columns()["id"]]


def test_missing_and_broken_files_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no Parquet")
    for source in ("none.parquet", "none*.parquet", "empty", "text.parquet", "empty/none"):
        with pytest.raises(cf.InvalidLogError, match=re.escape(str(tmp_path / source))):
            cf.read_parquet(tmp_path / source)
    write(tmp_path, "plain.parquet")
    with pytest.raises(cf.InvalidLogError, match='no column "Reward"'):
        cf.read_parquet(tmp_path / "plain.parquet", reward="Reward")
    assert cf.read_parquet(tmp_path / "plain.parquet").n_episodes == N


TEXT = [LABELS[i] for i in columns()["action"]]
LOGS = {
    "plain": lambda: log_of(),
    "bandit": lambda: log_of({}),
    "state": lambda: log_of({**KEYS, "state": ["t", "p"]}),
    "text actions": lambda: log_of({**KEYS, "actions": LABELS[::-1]}, action=TEXT),
    "categories": lambda: log_of(action=pl.Series(TEXT, dtype=pl.Enum(LABELS))),
    "integer labels": lambda: log_of({**KEYS, "actions": [2, 0, 1]}),
    "labels in an array": lambda: log_of({**KEYS, "actions": np.array([2, 0, 1])}),
    "no propensities": lambda: log_of(without(propensity=None)),
    "estimated": lambda: log_of().with_propensity(columns()["p"]),
    "densities": lambda: log_of({"action_type": "continuous"}, propensity=np.full(N, 3.0)),
    "action_probs": lambda: log_of({**KEYS, "propensity": None, "action_probs": dense(3)}),
    "chunks": lambda: cf.LoggedData.from_frame(
        pa.concat_tables([pa.table(columns())[:7], pa.table(columns())[7:]]), **KEYS
    ),
}


def check_same(found: cf.LoggedData, log: cf.LoggedData) -> None:
    assert found.roles == log.roles
    assert found.propensity_source == log.propensity_source
    assert repr(found.report) == repr(log.report)
    if log.propensity_source is None:
        policy = cf.PolicyColumns(v="p")
    else:
        policy = "p" if log.roles["action_type"] == "continuous" else dense()
    assert bits(found, policy) == bits(log, policy)


@pytest.mark.parametrize("name", LOGS)
def test_a_log_survives_its_file(name, tmp_path):
    """Without a keyword: the file knows the roles."""
    log = LOGS[name]()
    log.to_parquet(tmp_path / "log.parquet")
    check_same(cf.read_parquet(tmp_path / "log.parquet"), log)
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


@pytest.mark.parametrize("name", LOGS)
def test_a_log_pickles(name):
    check_same(pickle.loads(pickle.dumps(LOGS[name]())), LOGS[name]())


def test_keywords_outrank_what_the_file_knows(tmp_path):
    log_of().to_parquet(tmp_path / "log.parquet")
    found = cf.read_parquet(tmp_path / "log.parquet", reward="p")
    assert (found.roles["reward"], found.n_episodes) == ("p", N)


def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    junk = pl.Series("junk", [object()] * N, dtype=pl.Object)  # Parquet cannot hold it
    bad = cf.LoggedData.from_frame(pl.DataFrame(columns()).with_columns(junk), **KEYS)
    path = tmp_path / "log.parquet"
    with pytest.raises(pl.exceptions.PolarsError):
        bad.to_parquet(path)
    assert list(tmp_path.iterdir()) == []
    log_of().to_parquet(path)
    before = path.read_bytes()
    with pytest.raises(pl.exceptions.PolarsError):
        bad.to_parquet(path)
    assert path.read_bytes() == before
    (tmp_path / "folder").mkdir()
    with pytest.raises(cf.InvalidArgumentError, match="folder"):
        log_of().to_parquet(tmp_path / "folder")
    with pytest.raises(cf.InvalidArgumentError, match="does not exist"):
        log_of().to_parquet(tmp_path / "none" / "log.parquet")
    monkeypatch.chdir(tmp_path)
    log_of({}).to_parquet("log.parquet")
    assert cf.read_parquet("log.parquet").n_episodes == N
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "log.parquet"]


def test_a_link_stays_one_and_rights_are_kept(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "log.parquet"
    target.write_bytes(b"")
    target.chmod(0o600)
    (tmp_path / "link.parquet").symlink_to(target)
    log_of().to_parquet(tmp_path / "link.parquet")
    assert (tmp_path / "link.parquet").is_symlink()
    assert cf.read_parquet(target).n_rows == N
    assert target.stat().st_mode & 0o777 == 0o600
    before = os.umask(0o077)
    try:
        log_of().to_parquet(tmp_path / "new.parquet")
    finally:
        os.umask(before)
    assert (tmp_path / "new.parquet").stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.parquet", "new.parquet", "real"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_written_to_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    log_of().to_parquet(pipe)
    reader.join()
    assert read[0][:4] == b"PAR1"
    assert pipe.is_fifo()


# Propensities.


def test_estimated_propensities_mark_every_result():
    log, estimated = log_of(), columns()["p"]
    before = bits(log)
    marked = log.with_propensity(estimated)
    assert (log.propensity_source, marked.propensity_source) == ("logged", "estimated")
    assert bits(marked) == bits(log_of(propensity=estimated))
    assert bits(log) == before
    evaluation = cf.evaluate(marked, {"new": "p"})
    assert evaluation.settings["propensity_source"] == "estimated"
    assert "estimated propensities" in repr(evaluation)
    assert "estimated" in repr(marked)
    assert cf.evaluate(log, {"new": "p"}).settings["propensity_source"] == "logged"
    for form in (pl.Series(estimated), pa.array(estimated), estimated.tolist()):
        assert bits(log_of(without(propensity=None)).with_propensity(form)) == bits(marked)
    continuous = log_of({"action_type": "continuous"}).with_propensity(np.full(N, 7.0))
    assert continuous.report.summaries[1].max == 7.0


def test_estimated_propensities_are_checked():
    whole = columns()["p"]
    for bad, text in (
        (whole[:-1], rf"{N - 1} rows, but the log has {N}"),
        (np.where(np.arange(N) == 4, 0.0, whole), r"1 of 180 .* row 4 \(0\)"),
        (whole + 0.5, r"outside \(0, 1\]"),
        (np.where(np.arange(N) >= 9, np.nan, whole), f"171 of {N} values are null or NaN.*row 9"),
        (whole.reshape(-1, 1), "shape"),
    ):
        with pytest.raises(cf.InvalidLogError, match=rf'column "propensity".*{text}'):
            log_of().with_propensity(bad)


def test_behavior_probabilities_give_or_check_propensities():
    probs = dense(3)
    logged = probs[np.arange(N), columns()["action"]]
    expected = bits(log_of(propensity=logged))
    forms = {"list": pl.Series(probs.tolist()), "array": pl.Series(probs)}
    for given in (probs, "list", "array"):
        log = log_of(without(propensity=None, action_probs=given), **forms)
        assert bits(log) == expected
        assert log.propensity_source == "logged"
        # Both: the column is kept, if they agree.
        both = log_of({**KEYS, "action_probs": given}, propensity=logged + 9e-6, **forms)
        assert bits(both) == bits(log_of(propensity=logged + 9e-6))
    wrong = logged + 2e-5 * np.isin(np.arange(N), (5, 8))
    with pytest.raises(cf.InvalidLogError, match=rf'2 of {N} rows disagree .*"propensity".*row 5'):
        log_of({**KEYS, "action_probs": probs}, propensity=wrong)
    never = probs.copy()
    never[6] = np.roll(np.eye(3)[columns()["action"][6]], 1)
    with pytest.raises(cf.InvalidLogError, match=r'"action_probs".*row 6 \(0\)'):
        log_of(without(propensity=None, action_probs=never))
    with pytest.raises(cf.InvalidLogError, match="discrete"):
        log_of({"action_type": "continuous", "action_probs": probs})


# Actions.


@pytest.mark.parametrize("order", [LABELS, LABELS[::-1], ["stay", "left", "right"]])
def test_labels_say_which_column_is_whose(order):
    """Sorted text by default; any order, and labels that were never logged, when they are named."""
    expected = bits(log_of(), dense())
    place = [LABELS.index(label) for label in order]
    shuffled = dense()[:, place]
    for kind in (pl.String, pl.Categorical, pl.Enum(order)):
        action = pl.Series(TEXT, dtype=kind)
        assert bits(log_of(action=action), dense()) == expected
        assert bits(log_of({**KEYS, "actions": order}, action=action), shuffled) == expected
        more = {**KEYS, "actions": ["never", *order]}
        padded = np.column_stack([np.zeros(N), shuffled])
        assert bits(log_of(more, action=action), padded) == expected
    numbers = {**KEYS, "actions": [10 * i for i in place]}
    assert bits(log_of(numbers, action=10 * columns()["action"]), shuffled) == expected


def test_labels_of_other_types():
    expected = bits(log_of(), dense())
    days = [datetime.date(2026, 1, 1 + i) for i in columns()["action"]]
    for action in (days, columns()["action"] / 8, 7 * columns()["action"].astype(np.int8)):
        labels = sorted(set(pl.Series(action)))
        assert bits(log_of({**KEYS, "actions": labels}, action=action), dense()) == expected
    truth = columns()["action"] > 0
    halves = np.column_stack([dense()[:, 0], dense()[:, 1:].sum(axis=1)])
    assert bits(log_of(action=truth), halves) == bits(log_of(action=truth.astype(int)), halves)


def test_plain_lists_of_numbers_may_mix_kinds():
    """Python writes 1 and 0.5 in one list; that is no mistake, but a number among words is."""
    data = {"action": [0, 1, 1], "reward": [1, 0.5, 2], "propensity": [1, 0.5, 0.25]}
    assert cf.evaluate(cf.LoggedData.from_frame(data), {"a": [0, 0.5, 1]}).behavior_value == 3.5 / 3
    for reward, match in (
        ([1, None, 2.5], '"reward": 1 of 3 values are null or NaN, first at row 1'),
        ([1, "2", 3], "1 of 3 values are text among numbers, first at row 1 .'2'"),
        ([True, 0.5, 1.0], "1 of 3 values are flags among numbers, first at row 0"),
    ):
        with pytest.raises(cf.InvalidLogError, match=match):
            cf.LoggedData.from_frame({**data, "reward": reward})
