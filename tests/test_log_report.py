"""`log.report`: each finding fires where it must, and sound logs are left alone."""

from __future__ import annotations

import json
import pickle
from datetime import datetime, timedelta
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from scipy import stats

MEN = Path(__file__).parents[1] / "data" / "open_bandit" / "random_men.parquet"


def softmax(scores):
    out = np.exp(scores - scores.max(axis=1, keepdims=True))
    return out / out.sum(axis=1, keepdims=True)


def draw(rng, probs):
    return (
        (probs.cumsum(axis=1) < rng.random((len(probs), 1)))
        .sum(axis=1)
        .clip(max=probs.shape[1] - 1)
    )


def world(seed, n=6000, actions=5):
    """A contextual bandit's table and its logger."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    probs = softmax(x @ rng.normal(size=(2, actions)))
    action = draw(rng, probs)
    frame = {
        "x": x[:, 0],
        "action": action,
        "reward": (rng.random(n) < 0.1 + 0.05 * action).astype(float),
        "propensity": probs[np.arange(n), action],
    }
    return frame, probs


def report_of(frame, **roles):
    return cf.LoggedData.from_frame(frame, **roles).report


def found(report, text):
    """Findings whose message holds the text."""
    return [f for f in report.findings if text in f.message]


# Sound logs.


def uniform(seed):
    rng = np.random.default_rng(seed)
    n, actions = 4000, 7
    return report_of(
        {
            "action": rng.integers(actions, size=n),
            "reward": rng.normal(size=n),
            "propensity": np.full(n, 1 / actions),
        }
    )


def contextual(seed):
    return report_of(world(seed)[0])


def episodes(seed):
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(500), rng.integers(1, 12, 500))
    probs = softmax(rng.normal(size=(len(ids), 3)))
    action = draw(rng, probs)
    frame = {
        "id": ids,
        "action": np.array(["left", "right", "stay"])[action],
        "reward": rng.exponential(size=len(ids)),
        "propensity": probs[np.arange(len(ids)), action],
        "group": rng.choice(["a", "b"], len(ids)),
    }
    return report_of(frame, episode_id="id")


def rare_actions(seed):
    """Hundreds of actions of which most are rare."""
    rng = np.random.default_rng(seed)
    p = 1 / np.arange(1, 301)
    p /= p.sum()
    action = rng.choice(300, 20_000, p=p)
    return report_of({"action": action, "reward": rng.random(20_000), "propensity": p[action]})


def dense(seed):
    frame, probs = world(seed)
    del frame["propensity"]
    log = cf.LoggedData.from_frame(frame, propensity=None, action_probs=probs)
    return log.report


def few_columns(seed):
    """Rows that repeat because there is little in them."""
    rng = np.random.default_rng(seed)
    return report_of(
        {
            "action": rng.integers(2, size=3000),
            "reward": rng.integers(2, size=3000),
            "propensity": np.full(3000, 0.5),
        }
    )


def greedy(seed):
    """Epsilon-greedy with a small epsilon: propensities of two sizes."""
    rng = np.random.default_rng(seed)
    best = rng.integers(4, size=8000)
    probs = np.full((8000, 4), 0.02 / 4)
    probs[np.arange(8000), best] += 0.98
    action = draw(rng, probs)
    return report_of(
        {
            "action": action,
            "reward": rng.random(8000),
            "propensity": probs[np.arange(8000), action],
        }
    )


def skewed(seed):
    """Propensities whose inverses have a mean that the log hardly shows."""
    rng = np.random.default_rng(seed)
    probs = softmax(4 * rng.normal(size=(20_000, 10)))
    action = draw(rng, probs)
    frame = {"action": action, "reward": rng.random(20_000)}
    return report_of({**frame, "propensity": probs[np.arange(20_000), action]})


def hardly_exploring(seed):
    """Epsilon-greedy among many actions in contexts: most are explored a few times."""
    rng = np.random.default_rng(seed)
    n, actions, epsilon = 1500, 30, 0.02
    best = rng.integers(actions, size=n)
    action = np.where(rng.random(n) < epsilon, rng.integers(actions, size=n), best)
    propensity = np.where(action == best, 1 - epsilon, 0) + epsilon / actions
    frame = {"id": np.arange(n), "action": action, "reward": rng.random(n) < 0.01}
    return report_of({**frame, "propensity": propensity})


def hardly_exploring_dense(seed):
    rng = np.random.default_rng(seed)
    n, actions, epsilon = 1500, 30, 0.002
    probs = np.full((n, actions), epsilon / actions)
    probs[np.arange(n), rng.integers(actions, size=n)] += 1 - epsilon
    frame = {"id": np.arange(n), "action": draw(rng, probs), "reward": rng.random(n)}
    return cf.LoggedData.from_frame(frame, propensity=None, action_probs=probs).report


def seconds(seed):
    """Events of a busy day, to the second and without ids: some fall together by chance."""
    rng = np.random.default_rng(seed)
    n = 10_000
    at = np.sort(rng.integers(86_400, size=n))
    frame = {"at": at.astype("datetime64[s]"), "action": rng.integers(3, size=n)}
    frame |= {"reward": (rng.random(n) < 0.02) * 1.0, "propensity": np.full(n, 1 / 3)}
    return report_of(frame)


def forced(seed):
    """Some rows were decided by a rule, with propensity 1 and one action."""
    rng = np.random.default_rng(seed)
    n = 3000
    rule = rng.random(n) < 0.05
    p = np.where(rule, 1.0, rng.uniform(0.2, 0.8, n))
    action = np.where(rule | (rng.random(n) < p), 0, 1)
    frame = {"action": action, "reward": (rng.random(n) < 0.1) * 1.0}
    return report_of({**frame, "propensity": np.where(action == 0, p, 1 - p)})


def clock(seed):
    """A timestep in seconds, which skips nearly always."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(300), 5)
    at = np.cumsum(rng.integers(1, 90, len(ids)))
    frame = {"id": ids, "at": at, "action": rng.integers(2, size=len(ids))}
    frame |= {"reward": rng.random(len(ids)), "propensity": np.full(len(ids), 0.5)}
    return report_of(frame, episode_id="id", timestep="at")


def odd_columns(seed):
    """Columns that polars cannot take, or of another length, which no part uses."""
    rng = np.random.default_rng(seed)
    n = 600
    frame = {"action": rng.integers(2, size=n), "reward": rng.random(n)}
    frame |= {"propensity": np.full(n, 0.5), "at": np.arange(n).astype("datetime64[m]")}
    frame |= {"complex": np.ones(n) * 1j, "objects": [object()] * n}
    return report_of({**frame, "short": pl.Series(["2020-01-01"] * 3).str.to_date()})


@pytest.mark.parametrize(
    "make",
    [
        *(uniform, contextual, episodes, rare_actions, dense, few_columns, greedy, skewed, clock),
        *(hardly_exploring, hardly_exploring_dense, seconds, forced, odd_columns),
    ],
)
def test_sound_logs_are_left_alone(make):
    for seed in range(40):
        # That propensities are small is so, and worth saying.
        loud = [
            f
            for f in make(seed).findings
            if f.severity != "info" and "the smallest propensity" not in f.message
        ]
        assert loud == [], seed


# Propensities against frequencies.


def test_the_action_table_equals_plain_numpy():
    frame, _ = world(3)
    table = report_of(frame).actions
    n = len(frame["action"])
    assert table["n_rows"].to_list() == sorted(np.bincount(frame["action"]), reverse=True)
    for row in table.rows(named=True):
        x = np.where(frame["action"] == int(row["action"]), 1 / frame["propensity"], 0.0)
        assert row["inverse_mean"] == pytest.approx(x.mean(), rel=1e-12)
        z = (x.mean() - 1) / (x.std() / np.sqrt(n))
        skew = stats.skew(x) / np.sqrt(n)
        hall = z + skew * z**2 / 3 + skew**2 * z**3 / 27 + skew / 6
        assert row["z"] == pytest.approx(np.sign(z) * np.clip(hall * np.sign(z), 0, abs(z)))
        assert row["share"] == (x > 0).mean()


def spoilt(frame, **columns):
    return report_of({**frame, **columns})


def test_propensities_that_are_too_small():
    frame, _ = world(0)
    (finding,) = found(spoilt(frame, propensity=0.8 * frame["propensity"]), "too small")
    assert finding.severity == "serious"
    assert "propensity of the action it logged" in finding.advice


def test_one_action_with_wrong_propensities():
    frame, _ = world(1)
    wrong = np.where(frame["action"] == 2, frame["propensity"] / 2, frame["propensity"])
    (finding,) = found(spoilt(frame, propensity=wrong), "too small")
    assert "1 action look" in finding.message or '"2"' in finding.message


def test_propensities_joined_to_the_wrong_rows():
    frame, _ = world(2)
    assert found(spoilt(frame, propensity=np.roll(frame["propensity"], 1)), "too small")


def test_propensities_of_another_action():
    """The greedy action's probability instead of the logged one's: too large."""
    frame, probs = world(4)
    report = spoilt(frame, propensity=probs.max(axis=1))
    (finding,) = found(report, "too large")
    assert finding.severity == "warning"
    assert "no more than so many actions could be taken" in finding.advice


def test_uniform_propensities_of_a_logger_that_was_not():
    frame, _ = world(5)
    report = spoilt(frame, propensity=np.full(len(frame["x"]), 0.2))
    assert found(report, "too small")[0].severity == "serious"


def test_rows_of_one_action_were_filtered_out():
    rng = np.random.default_rng(6)
    action = rng.integers(5, size=6000)
    action = action[action > 0]
    n = len(action)
    frame = {"action": action, "reward": rng.random(n), "propensity": np.full(n, 0.2)}
    (finding,) = found(report_of(frame), "too small")
    assert "4 actions" in finding.message
    assert "filtered" in finding.advice


def test_an_action_that_was_not_always_available_is_no_grave_fault():
    rng = np.random.default_rng(7)
    n = 8000
    there = rng.random(n) < 0.5
    probs = np.where(there[:, None], [0.4, 0.3, 0.3], [0.6, 0.4, 0.0])
    action = draw(rng, probs)
    report = report_of(
        {
            "action": action,
            "reward": rng.random(n),
            "propensity": probs[np.arange(n), action],
        }
    )
    (finding,) = [f for f in report.findings if f.severity != "info"]
    assert finding.severity == "warning"
    assert "their inverses average 2.5, where 3 actions would make 3" in finding.message


def test_dense_probabilities_in_another_order():
    frame, probs = world(8)
    del frame["propensity"]
    log = cf.LoggedData.from_frame(frame, propensity=None, action_probs=probs[:, ::-1])
    (finding,) = found(log.report, "does not fit how often")
    assert finding.severity == "serious"
    assert "order of the actions" in finding.advice


def test_continuous_actions_have_no_table():
    rng = np.random.default_rng(0)
    a = rng.normal(size=500)
    frame = {"action": a, "reward": a, "propensity": stats.norm.pdf(a)}
    report = report_of(frame, action_type="continuous")
    assert report.actions is None


def test_one_action_alone():
    frame, _ = world(9)
    (finding,) = found(spoilt(frame, action=np.zeros(6000)), "only one action")
    assert finding.severity == "serious"


def test_propensities_that_are_all_too_large():
    """None of 200 actions alone says so: they might be rare in most contexts."""
    rng = np.random.default_rng(1)
    n = 50_000
    frame = {"action": rng.integers(200, size=n), "reward": rng.random(n)}
    report = report_of({**frame, "propensity": np.full(n, 0.02)})
    (finding,) = found(report, "look too large")
    assert finding.severity == "warning"
    assert "their inverses average 50, where 200 actions would make 200" in finding.message
    assert (report.actions["z"] < 0).all()
    assert (report.actions["inverse_mean"] < 1).all()


@pytest.mark.parametrize("logged", [0.06, 0.08, 0.09, 0.2])
def test_the_deviate_never_contradicts_the_mean(logged):
    rng = np.random.default_rng(2)
    n = 20_000
    rare = rng.random(n) < 0.02
    frame = {"action": rare * 1, "reward": rng.random(n)}
    report = report_of({**frame, "propensity": np.where(rare, logged, 1 - logged)})
    for row in report.actions.rows(named=True):
        assert row["z"] * (row["inverse_mean"] - 1) >= 0
    assert report.actions["z"][1] < -5


def test_an_id_in_place_of_the_action():
    n = 2000
    frame = {"action": np.arange(n), "reward": np.ones(n) * 0.5, "propensity": np.full(n, 0.5)}
    (finding,) = found(report_of(frame), "different actions in")
    assert finding.severity == "serious"


def test_dense_probabilities_of_other_rows():
    """Their sums over the log are the same, but not those of the logged actions."""
    frame, probs = world(8)
    del frame["propensity"]
    rolled = np.roll(probs, 1, axis=0)
    log = cf.LoggedData.from_frame(frame, propensity=None, action_probs=rolled)
    assert found(log.report, "look too small")[0].severity == "serious"


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


def test_the_real_log_is_sound():
    roles = {"action": "item_id", "reward": "click", "propensity": "propensity_score"}
    log = cf.read_parquet(MEN, **roles)
    assert [f for f in log.report.findings if f.severity != "info"] == []
    assert len(log.report.actions) == 34
    assert log.report.over_time["first"][0].startswith("2019-11-24")


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
