"""`log.report`: each finding fires where it must; what it shows, and what it keeps."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timedelta

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from made_logs import found, report_of, softmax, spoilt, world
from test_sound_logs import contextual, episodes, uniform

# Candidates.


@pytest.mark.parametrize(
    ("value", "says"),
    [(1.7, "outside"), (-0.1, "outside"), (np.nan, "null or NaN"), (np.inf, "infinite")],
)
def test_a_candidate_that_cannot_be(value, says):
    frame, _ = world(11)
    p = np.full(6000, 0.2)
    p[40] = value
    log = cf.LoggedData.from_frame({**frame, "p": p})
    for policy in ("p", p):
        with pytest.raises(cf.InvalidPolicyError, match=rf'policy "new".*{says}.*row 40'):
            log.inspect({"new": policy})
    sound = log.inspect({"new": np.full(6000, 0.2)})
    assert "every probability of 1 policy is in [0, 1]" in sound.checks


def test_actions_that_a_candidate_never_tries():
    frame, _ = world(10)
    log = cf.LoggedData.from_frame({**frame, "only_1": (frame["action"] == 1) * 1.0})
    some = np.where(frame["action"] == 0, 0.0, 0.25)
    report = log.inspect({"one": "only_1", "most": some, "all": np.full(6000, 0.2)})
    one, most = found(report, "never takes")
    assert one.message.startswith('policy "one" never takes 4 of 5 logged actions')
    assert (one.severity, most.severity) == ("info", "info")
    assert '"0"' in most.message
    assert not found(report, '"all"')


def test_dense_candidates_and_the_logger_itself():
    frame, probs = world(11)
    log = cf.LoggedData.from_frame(frame)
    tilted = softmax(np.log(probs) + np.arange(5))
    report = log.inspect({"same": "propensity", "dense": probs, "other": tilted})
    named = [f.message.split('"')[1] for f in found(report, "the propensities themselves")]
    assert named == ["same", "dense"]


def test_an_evaluation_reports_on_its_candidates():
    frame, _ = world(12)
    log = cf.LoggedData.from_frame(frame)
    evaluation = cf.evaluate(log, {"one": (frame["action"] == 1) * 1.0}, ["tis"])
    assert found(evaluation.log_report, 'policy "one" never takes')
    assert not found(log.report, "never takes")


def test_policies_that_are_none():
    frame, _ = world(13)
    log = cf.LoggedData.from_frame(frame)
    with pytest.raises(cf.InvalidPolicyError, match='policy "x" holds float64 of shape'):
        log.inspect({"x": np.ones(5)})
    with pytest.raises(cf.InvalidLogError, match='no column "xx"'):
        log.inspect({"x": "xx"})


# Time and segments.


def test_drift_is_found_and_in_which_order():
    rng = np.random.default_rng(14)
    n = 5000
    frame = {
        "action": rng.integers(2, size=n),
        "reward": rng.normal(size=n) + np.linspace(0, 0.6, n),
        "propensity": np.full(n, 0.5),
    }
    report = report_of(frame)
    (finding,) = found(report, "changes over row order")
    assert finding.severity == "warning"
    assert report.over_time["n_episodes"].to_list() == [500] * 10
    means = frame["reward"].reshape(10, 500)
    np.testing.assert_allclose(report.over_time["mean_return"], means.mean(axis=1))
    np.testing.assert_allclose(
        report.over_time["standard_error"], means.std(axis=1, ddof=1) / np.sqrt(500)
    )
    order = rng.permutation(n)
    shuffled = {name: column[order] for name, column in frame.items()}
    assert not found(report_of(shuffled), "changes over")
    day = datetime(2026, 1, 1)
    shuffled["at"] = [day + timedelta(hours=int(i)) for i in order]
    assert found(report_of(shuffled), 'changes over the order of "at"')
    shuffled["at"] = order
    log = cf.LoggedData.from_frame(shuffled)
    assert not found(log.report, "changes over")
    assert found(log.inspect(time="at"), 'changes over the order of "at"')
    assert log.inspect(time="at").over_time["first"][0] == "0"


def test_returns_are_those_of_episodes():
    rng = np.random.default_rng(15)
    ids = np.repeat(np.arange(100), rng.integers(1, 5, 100))
    reward = rng.normal(size=len(ids))
    group = np.array(["u", "v", None], dtype=object)[ids % 3]
    frame = {
        "id": ids,
        "action": rng.integers(2, size=len(ids)),
        "reward": reward,
        "propensity": np.full(len(ids), 0.5),
        "group": group.tolist(),
    }
    report = report_of(frame, episode_id="id")
    returns = np.bincount(ids, weights=reward)
    assert report.over_time["n_episodes"].to_list() == [20] * 5
    np.testing.assert_allclose(report.over_time["mean_return"][0], returns[:20].mean())
    rows = {row["value"]: row for row in report.by_segment.rows(named=True)}
    for i, value in enumerate(["u", "v", "null"]):
        np.testing.assert_allclose(rows[value]["mean_return"], returns[i::3].mean())
        assert rows[value]["n_episodes"] == len(returns[i::3])


def test_segments():
    frame, _ = world(16)
    n = len(frame["x"])
    rng = np.random.default_rng(16)
    device = rng.choice(["phone", "desktop"], n)
    reward = frame["reward"] + (device == "phone")
    table = {
        **frame,
        "reward": reward,
        "device": device,
        "even": np.arange(n) % 2 == 0,
        "name": [str(i) for i in range(n)],
        "code": np.arange(n) % 4,
    }
    log = cf.LoggedData.from_frame(table)
    assert log.report.by_segment["column"].unique(maintain_order=True).to_list() == [
        "device",
        "even",
    ]
    (finding,) = found(log.report, "differs by")
    assert finding.severity == "info"
    assert '"desktop"' in finding.message
    named = log.inspect(segments=["code"]).by_segment
    assert named["value"].sort().to_list() == ["0", "1", "2", "3"]
    with pytest.raises(cf.InvalidLogError, match="did you mean"):
        log.inspect(segments=["devise"])


# Rows and columns.


def test_duplicated_rows():
    frame, _ = world(17)
    twice = {name: np.concatenate([column, column[100:140]]) for name, column in frame.items()}
    (finding,) = found(report_of(twice), "repeat another row")
    assert finding.severity == "warning"
    assert "40 rows of 6,040" in finding.message
    assert "first at row 6000" in finding.message


def test_a_join_that_matched_twice():
    frame, _ = world(18)
    everything = {name: np.repeat(column, 2) for name, column in frame.items()}
    assert "6,000 rows of 12,000" in found(report_of(everything), "repeat another row")[0].message


def test_steps_that_are_alike_are_no_copies():
    """Where only the id tells rows apart, an episode may do the same twice."""
    frame = {
        "id": np.repeat(np.arange(300), 4),
        "action": np.tile([0, 1, 1, 0], 300),
        "reward": np.tile([0.0, 1.0, 1.0, 2.0], 300),
        "propensity": np.full(1200, 0.5),
    }
    assert not found(report_of(frame, episode_id="id"), "repeat another row")


def test_constant_and_empty_columns():
    frame, _ = world(19)
    n = len(frame["x"])
    table = {**frame, "s": np.ones(n), "version": ["v1"] * n, "gone": pl.Series([None] * n)}
    report = report_of(table, state=["x", "s"])
    assert found(report, "1 state column with one value")[0].severity == "warning"
    assert '"version"' in found(report, "1 column with one value")[0].message
    assert '"gone"' in found(report, "without any value")[0].message
    assert not found(report_of(frame, state=["x"]), "with one value")


def test_a_reward_that_counts_steps_is_no_fault():
    ids = np.repeat(np.arange(60), np.arange(60) % 5 + 1)
    frame = {
        "id": ids,
        "action": np.arange(len(ids)) % 2,
        "reward": np.ones(len(ids)),
        "propensity": np.full(len(ids), 0.5),
    }
    (finding,) = found(report_of(frame, episode_id="id"), "every reward is 1")
    assert finding.severity == "info"


# How it is shown and kept.


def test_the_gravest_come_first():
    frame, _ = world(20)
    report = spoilt(frame, propensity=0.5 * frame["propensity"], x=np.ones(6000))
    order = [f.severity for f in report.findings]
    assert order == sorted(order, key=["serious", "warning", "info"].index)
    assert order[0] == "serious"
    assert all(f.advice and not f.advice.endswith(".") for f in report.findings)


HOSTILE = ["<script>alert(1)</script>", "a&b", "x" * 200, "漢字 🙂", "line\nbreak"]


def test_it_fits_a_terminal_and_escapes_what_it_holds():
    frame, _ = world(21)
    n = len(frame["x"])
    table = {
        **frame,
        "action": [HOSTILE[a] for a in frame["action"]],
        "<b>group</b>": [HOSTILE[i % 5] for i in range(n)],
    }
    report = cf.LoggedData.from_frame(table).inspect({"<i>": (frame["action"] == 1) * 1.0})
    lines = repr(report).splitlines()
    assert max(map(len, lines)) <= 80
    html = report._repr_html_()
    for tag in ("<script", "<b>", "<i>"):
        assert tag not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("make", [contextual, episodes, uniform])
def test_it_survives_json_and_pickle(make):
    report = make(0)
    again = cf.LogReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again == report
    assert repr(again) == repr(report)
    assert pickle.loads(pickle.dumps(report)) == report
    assert report != make(1)


def test_unused_columns_of_any_type_are_passed_over():
    frame, _ = world(22)
    n = len(frame["x"])
    table = pl.DataFrame(frame).with_columns(
        pl.Series("list", [[1, 2]] * n),
        pl.Series("struct", [{"a": 1}] * n),
        pl.Series("bytes", [b"x"] * n),
        pl.Series("decimal", ["1.5"] * n).cast(pl.Decimal(10, 2)),
        pl.Series("null", [None] * n),
        pl.Series("category", ["u", "v"] * (n // 2)).cast(pl.Categorical),
        pl.Series("date", [datetime(2026, 1, 1)] * n),
    )
    report = cf.LoggedData.from_frame(table).report
    assert [f for f in report.findings if f.severity != "info"] == []


def test_a_tiny_log():
    report = report_of({"action": [0], "reward": [1.0], "propensity": [0.5]})
    assert len(report.over_time) == 0
    assert "nan" not in repr(report).lower()
    assert cf.LogReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_a_perfect_change_is_a_change():
    """Also where nothing varies within the slices or segments."""
    n = 1000
    reward = (np.arange(n) >= n / 2) * 1.0
    frame = {"action": np.arange(n) % 2, "reward": reward, "propensity": np.full(n, 0.5)}
    frame["group"] = np.where(reward > 0, "late", "early")
    report = report_of(frame)
    assert found(report, "mean return changes over row order, from 0 to 1")
    assert found(report, 'mean return differs by "group"')
    same = report_of({**frame, "reward": np.full(n, 0.1)})
    assert not found(same, "mean return")


def test_columns_that_cannot_cut_the_log():
    frame, _ = world(12, n=200)
    frame |= {
        "short": np.arange(3),
        "gap": [None, *(i % 9 for i in range(199))],
        "list": [[1]] * 200,
    }
    log = cf.LoggedData.from_frame(frame)
    for options in ({"segments": ["short"]}, {"time": "short"}, {"time": "list"}):
        with pytest.raises(cf.InvalidLogError, match="no single value for each of 200 rows"):
            log.inspect(**options)
    with pytest.raises(cf.InvalidLogError, match='"gap": 1 of 200 values are null'):
        log.inspect(time="gap")
    assert "null" in log.inspect(segments=["gap"]).by_segment["value"].to_list()


def test_an_episode_with_both_marks_ended_once():
    ids = np.repeat(np.arange(100), 2)
    end = (np.arange(200) % 2 == 1) & (ids < 60)
    frame = {"id": ids, "action": ids % 2, "reward": np.arange(200.0), "over": end, "cut": end}
    frame["propensity"] = np.full(200, 0.5)
    report = report_of(frame, episode_id="id", terminated="over", truncated="cut")
    assert found(report, "40 episodes end without")


def test_episodes_that_lack_their_first_steps():
    ids = np.repeat(np.arange(100), 3)
    step = np.tile([0, 1, 2], 100)
    kept = ~((step == 0) & (ids % 2 == 1))
    frame = {"id": ids, "step": step, "action": ids % 2, "reward": np.arange(300.0)}
    frame["propensity"] = np.full(300, 0.5)
    some = {name: column[kept] for name, column in frame.items()}
    (finding,) = found(report_of(some, episode_id="id", timestep="step"), "begin later")
    assert finding.message.startswith('50 episodes of 100 begin later than at "step" = 0, first at')
    assert "row 3" in finding.message
    assert not found(report_of(frame, episode_id="id", timestep="step"), "begin later")
