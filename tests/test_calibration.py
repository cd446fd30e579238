"""`log.report` on propensities: whether they agree with how often actions were taken."""

from __future__ import annotations

import counterfolio as cf
import numpy as np
import pytest
from made_logs import draw, found, report_of, spoilt, world
from scipy import stats


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
