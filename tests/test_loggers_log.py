"""Several loggers in one log: what is kept, counted and refused."""

from __future__ import annotations

import pickle

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from test_loggers import BOTH, KEYS, propensity


def small() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "episode_id": [0, 0, 1, 2, 2, 2],
            "timestep": [0, 1, 0, 0, 1, 2],
            "action": [0, 1, 0, 1, 0, 1],
            "reward": [1.0, 0.0, 2.0, 0.0, 1.0, 0.5],
            "logger": ["A", "A", "B", "A", "A", "A"],
            "p_A": [0.5, 0.4, 0.0, 0.2, 0.9, 0.5],
            "p_B": [0.1, 0.0, 0.8, 0.3, 0.3, 0.3],
        }
    )


def test_propensities_may_be_left_out():
    log = cf.LoggedData.from_frame(small(), **KEYS, **BOTH)
    np.testing.assert_array_equal(propensity(log), [0.5, 0.4, 0.8, 0.2, 0.9, 0.5])
    assert log.roles["propensity"] is None
    assert {"logger", "p_A", "p_B"} <= log.used
    given = small().with_columns(b=pl.Series(propensity(log)))
    again = cf.LoggedData.from_frame(given, propensity="b", **KEYS, **BOTH)
    np.testing.assert_array_equal(propensity(again), propensity(log))


def test_naive_weights_need_no_other_column():
    frame = small().with_columns(propensity=pl.lit(0.5))
    log = cf.LoggedData.from_frame(frame, logger="logger", **KEYS)
    plain = cf.LoggedData.from_frame(frame, **KEYS)
    found, again = (cf.evaluate(x, {"new": "p_B"}, ["tis"]).values() for x in (log, plain))
    assert found == again
    with pytest.raises(cf.InvalidLogError, match="balanced weights need what every logger"):
        log.balanced()


def test_the_report_counts_by_logger():
    report = cf.LoggedData.from_frame(small(), **KEYS, **BOTH).report
    assert report.loggers is not None
    assert report.loggers.rows() == [("A", 5, 2, 2 / 3, 1.25), ("B", 1, 1, 1 / 3, 2.0)]
    assert "every episode has one logger" in report.checks
    assert "2 loggers" in repr(report)
    assert cf.LogReport.from_dict(report.to_dict()) == report
    without = cf.LoggedData.from_frame(small().with_columns(propensity=pl.lit(0.5)), **KEYS).report
    assert without.loggers is None
    assert "loggers" not in repr(without)


@pytest.mark.parametrize("labels", [{"A": "A", "B": "B"}, {"A": 7, "B": -1}])
def test_files_and_pickles_keep_the_loggers(tmp_path, labels):
    frame = small().with_columns(logger=pl.Series([labels[x] for x in small()["logger"]]))
    given = {labels["A"]: "p_A", labels["B"]: "p_B"}
    log = cf.LoggedData.from_frame(frame, logger="logger", logger_propensities=given, **KEYS)
    for known in (log, log.balanced()):
        known.to_parquet(tmp_path / "log.parquet")
        read, copied = cf.read_parquet(tmp_path / "log.parquet"), pickle.loads(pickle.dumps(known))
        for again in (read, copied):
            np.testing.assert_array_equal(propensity(again), propensity(known))
            assert again.propensity_source == known.propensity_source
            assert again.report.loggers.equals(known.report.loggers)
    assert np.array_equal(
        propensity(pickle.loads(pickle.dumps(log)).balanced()), propensity(log.balanced())
    )
    frame.write_parquet(tmp_path / "plain.parquet")
    roles = {"logger": "logger", "logger_propensities": given, **KEYS}
    read = cf.read_parquet(tmp_path / "plain.parquet", **roles)
    np.testing.assert_array_equal(propensity(read.balanced()), propensity(log.balanced()))


def test_estimated_propensities_take_the_place_of_the_loggers():
    log = cf.LoggedData.from_frame(small(), **KEYS, **BOTH).with_propensity(np.full(6, 0.5))
    assert log.propensity_source == "estimated"
    with pytest.raises(cf.InvalidLogError, match="balanced weights need"):
        log.balanced()


def changed(**columns: list) -> pl.DataFrame:
    return small().with_columns(**{name: pl.Series(x) for name, x in columns.items()})


WRONG = {
    'column "logger": 1 of 6 rows have another logger than their episode\'s first row, first at '
    "row 1": (changed(logger=["A", "B", "B", "A", "A", "A"]), BOTH),
    'column "logger" holds floating-point numbers|which cannot name loggers': (
        changed(logger=[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
        {"logger": "logger", "logger_propensities": {"0.0": "p_A", "1.0": "p_B"}},
    ),
    'column "p_A": 1 of 5 rows that logger "A" made have its propensity 0, first at row 3': (
        changed(p_A=[0.5, 0.4, 0.0, 0.0, 0.9, 0.5]),
        BOTH,
    ),
    r'column "p_B": 2 of 6 values are outside \[0, 1\], first at row 0 \(1.5\); wanted is how '
    "likely this logger was": (changed(p_B=[1.5, 0.0, 0.8, 0.3, -1, 0.3]), BOTH),
    'column "p_B": 1 of 6 values are null or NaN, first at row 4': (
        changed(p_B=[0.1, 0.0, 0.8, 0.3, None, 0.3]),
        BOTH,
    ),
    'column "logger": 1 of 3 episodes are by "B", first episode 1, and logger_propensities has '
    "no column for it": (small(), {"logger": "logger", "logger_propensities": {"A": "p_A"}}),
    r'column "propensity": 1 of 6 rows have another propensity than that of their logger, first '
    r"at row 2 \(0.7 and 0.8\)": (changed(propensity=[0.5, 0.4, 0.7, 0.2, 0.9, 0.5]), BOTH),
    'no column "p_C" in the log': (
        small(),
        {"logger": "logger", "logger_propensities": {"A": "p_A", "B": "p_C"}},
    ),
    'no column "who" in the log': (small(), BOTH | {"logger": "who"}),
    'no column "b" in the log': (small(), BOTH | {"propensity": "b"}),
}
MISUSED = {
    "logger_propensities needs logger=": {"logger_propensities": {"A": "p_A"}},
    "must map loggers to columns, not 'p_A'": {"logger": "logger", "logger_propensities": "p_A"},
    r"must map loggers to columns, not \{\}": {"logger": "logger", "logger_propensities": {}},
    'names "C", which made no episode': {
        "logger": "logger",
        "logger_propensities": {"A": "p_A", "B": "p_B", "C": "p_B"},
    },
}


@pytest.mark.parametrize("match", WRONG)
def test_logs_that_are_refused(match):
    frame, roles = WRONG[match]
    with pytest.raises(cf.InvalidLogError, match=match):
        cf.LoggedData.from_frame(frame, **KEYS, **roles)


@pytest.mark.parametrize("match", MISUSED)
def test_arguments_that_are_refused(match):
    with pytest.raises(cf.InvalidArgumentError, match=match):
        cf.LoggedData.from_frame(small(), **KEYS, **MISUSED[match])


def test_loggers_that_contradict_the_log():
    """What B did is 1e600 times likelier under A, until A could not have done it at all."""
    steps = 400
    frame = pl.DataFrame(
        {
            "episode_id": [0] * steps + [1],
            "action": [0] * (steps + 1),
            "reward": [0.0] * (steps + 1),
            "logger": ["B"] * steps + ["A"],
            "p_A": [1.0] * (steps - 1) + [0.0, 1.0],
            "p_B": [0.01] * steps + [1.0],
        }
    )
    log = cf.LoggedData.from_frame(frame, episode_id="episode_id", **BOTH)
    with pytest.raises(cf.InvalidLogError, match=r'"logger": 1 of 401 rows .* first at row 399'):
        log.balanced()
