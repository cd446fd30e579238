"""Row numbers count from the start of the log, whatever its chunks; and what must not be
refused.
"""

from __future__ import annotations

from itertools import pairwise

import counterfolio as cf
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from error_cases import (
    BASE,
    KEYS,
    LOG,
    POLICY,
    Calls,
    Case,
    check,
    dense,
    frame,
    put,
    quoted,
    run,
)

CUTS = ((3, 6), (1, 2, 7), (), (5,))


def chunked_polars(data: pl.DataFrame) -> pl.DataFrame:
    """Every column cut at rows of its own."""
    columns = []
    for index, column in enumerate(data.iter_columns()):
        edges = [0, *CUTS[index % len(CUTS)], len(column)]
        parts = [column[low:high] for low, high in pairwise(edges)]
        columns.append(pl.concat(parts, rechunk=False))
    return pl.DataFrame(columns)


def chunked_arrow(data: pl.DataFrame) -> pa.Table:
    return pa.table(
        {
            column.name: pa.chunked_array([chunk.to_arrow() for chunk in column.get_chunks()])
            for column in chunked_polars(data).iter_columns()
        }
    )


def stream(data: pl.DataFrame) -> pa.RecordBatchReader:
    table = data.to_arrow()
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=4))


FAULTS = {
    "reward": (LOG, {7: None, 9: None}, (2, 7)),
    "propensity": (LOG, {8: 0.0}, (1, 8)),
    "p_new": (POLICY, {6: 1.5, 7: -1.0, 9: 2.0}, (3, 6)),
    "q_new": (POLICY, {9: np.inf}, (1, 9)),
    "v_new": (POLICY, {4: np.nan, 5: None}, (2, 4)),
    "action": (LOG, {8: None}, (1, 8)),
    "episode_id": (LOG, {7: "a"}, (None, 7)),
    "timestep": (LOG, {8: 1}, (None, 8)),
}


@pytest.mark.parametrize("build", [chunked_polars, chunked_arrow, stream])
@pytest.mark.parametrize("column", FAULTS)
def test_rows_are_counted_from_the_start_of_the_log(column, build):
    raises, changes, (count, row) = FAULTS[column]
    data = put(column, changes)
    counted = [rf"\b{count} of 10\b"] if count else []
    says = [quoted(column), *counted, rf"row {row}\b"]
    check(Case(column, raises, says, lambda: run(build(data))))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("column", ["reward", "propensity", "p_new", "q_new", "v_new"])
def test_first_bad_row_of_a_long_log(column, threads):
    """Several threads and blocks look at once: it is still the first row that is named."""
    n = 120_000
    columns = {name: np.resize(np.array(values), n) for name, values in BASE.items()}
    columns |= {"episode_id": np.arange(n) // 4, "timestep": np.arange(n) % 4}
    columns[column] = columns[column].copy()
    columns[column][[99_999, 70_001, 119_998]] = np.nan
    raises = POLICY if column.endswith("_new") else LOG
    says = [quoted(column), r"\b3 of 120,?000\b", r"row 70,?001\b"]
    check(Case(column, raises, says, lambda: run(pl.DataFrame(columns), num_threads=threads)))


def test_first_bad_row_of_a_policy_called_in_blocks():
    """Policies see at most 65,536 rows at a time; the row is the log's, not the block's."""
    n = 150_000
    columns = {name: np.resize(np.array(values), n) for name, values in BASE.items()}
    columns |= {"episode_id": np.arange(n) // 4, "timestep": np.arange(n) % 4}
    columns["state"] = np.arange(n).astype(float)

    class Policy:
        def prob(self, states, actions):
            assert len(actions) <= 65_536
            return np.where(np.asarray(states)[:, 0] >= 149_998, np.nan, 0.5)

    def call() -> object:
        return run(
            pl.DataFrame(columns), policies={"mine": Policy()}, keys={**KEYS, "state": "state"}
        )

    check(Case("blocks", POLICY, ['"mine"', r"\b2 of 150,?000\b", r"row 149,?998\b"], call))


def test_parquet_is_checked_like_a_frame(tmp_path):
    put("reward", {6: None}).write_parquet(tmp_path / "log.parquet", row_group_size=4)
    says = [quoted("reward"), r"\b1 of 10\b", r"row 6\b"]
    check(Case("parquet", LOG, says, lambda: cf.read_parquet(tmp_path / "log.parquet", **KEYS)))


# What must not be refused.


def test_the_good_frame_is_good():
    evaluation = run()
    assert evaluation.estimates.height > 1


def test_unused_columns_may_hold_anything():
    data = put("over", {3: None}).with_columns(
        junk=pl.lit(None), text=pl.lit("x"), wild=pl.lit(float("inf"))
    )
    assert run(data).estimates.equals(run().estimates)


def test_dense_rows_may_be_off_by_rounding_and_are_not_rescaled():
    probs = dense({(2, 1): 0.400009})
    assert run(policies={"new": probs}).estimates.height > 1


def test_probabilities_at_their_limits():
    data = frame(p_new=[0.0, 1.0] * 5, propensity=[1.0, 5e-324] * 5)
    assert run(data, estimators=["tis"]).estimates.height == 2


def test_densities_may_exceed_1():
    data = frame(action=BASE["reward"], propensity=[3.5] * 10, p_new=[7.0] * 10)
    keys = {**KEYS, "action_type": "continuous"}
    rows = run(data, keys=keys, estimators=["tis", "sntis"]).estimates
    assert rows.filter(pl.col("estimator") == "sntis")["value"].is_not_nan().all()


def test_log_without_propensities_can_use_dm():
    rows = run(keys={**KEYS, "propensity": None}, estimators=["dm"]).estimates
    assert rows.filter(pl.col("estimator") == "dm")["value"].item() == 0.5


def test_names_of_every_type():
    """Text, categorical and boolean actions and ids are labels, not numbers."""
    data = frame(action=["x", "y", "z", "x", "y", "z", "x", "y", "z", "x"])
    text = run(data).estimates
    coded = data.with_columns(pl.col("action", "episode_id").cast(pl.Categorical))
    assert run(coded).estimates.equals(text)
    assert run(data, policies={"new": dense()}, estimators=["tis"]).estimates.height == 2


def test_a_policys_own_error_comes_through():
    """Its author wants their own traceback, not a translation."""
    policy = Calls(lambda n: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run(policies={"mine": policy}, keys={**KEYS, "state": "state"})


def test_gamma_may_be_an_integer():
    assert run(gamma=1).estimates.equals(run(gamma=1.0).estimates)
    assert run(gamma=np.float32(0.5)).estimates.equals(run(gamma=0.5).estimates)


def test_missing_extra_is_an_import_error():
    assert issubclass(cf.MissingExtraError, cf.CounterfolioError)
    assert issubclass(cf.MissingExtraError, ImportError)


def test_a_stream_that_another_reader_moved_is_refused():
    # The reader leaves the stream's callbacks in place and marks it by its release alone.
    table = pa.table({"action": [0, 1], "reward": [1.0, 2.0], "propensity": [0.5, 0.5]})
    capsule = table.__arrow_c_stream__()
    pa.RecordBatchReader._import_from_c_capsule(capsule)

    class Moved:
        def __arrow_c_stream__(self, requested_schema=None):
            return capsule

    with pytest.raises(cf.InvalidLogError, match="consumed before"):
        cf.LoggedData.from_frame(Moved())


def test_a_missing_q_value_is_reported_under_its_own_name():
    table = {"action": [0, 1], "reward": [1.0, 2.0], "propensity": [0.5, 0.5]}
    q_values = np.array([[0.0, 1.0], [np.nan, 1.0]])  # of an action that was not logged
    policy = cf.PolicyColumns(action_probs=np.full((2, 2), 0.5), q_values=q_values)
    log = cf.LoggedData.from_frame(table)
    with pytest.raises(cf.InvalidPolicyError, match=r'column "q_values": 1 of 2 rows .* row 1;'):
        cf.evaluate(log, {"new": policy}, ["dr"])
