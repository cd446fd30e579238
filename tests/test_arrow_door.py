"""The one door in: whoever exports the table, the same bits come out, and no buffer is copied."""

from __future__ import annotations

import gc
from decimal import Decimal
from types import SimpleNamespace

import arro3.core
import counterfolio as cf
import duckdb
import nanoarrow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from counterfolio import _core, sources
from test_invariants import arrow_table, polars_frame
from test_invariants import bits as bits_of

LENGTHS = np.random.default_rng(0).integers(1, 12, 100)
N = int(LENGTHS.sum())
KEYS = {"episode_id": "episode_id", "timestep": "timestep", "terminated": "over"}
POLICY = cf.PolicyColumns(prob="p", q="q", v="v")
NUMBERS = ("reward", "propensity", "p", "q", "v", "timestep")
CUTS = [[], [1, 2, 3], [N // 2], [7, 7, 100, 101], [N - 1], list(range(9, N, 64))]


def columns(**changes: object) -> dict[str, object]:
    """100 episodes; rewards are 0 and 1, which every type can hold."""
    rng = np.random.default_rng(1)
    ids = np.repeat(np.arange(100), LENGTHS)
    return {
        "episode_id": ids,
        "timestep": np.concatenate([np.arange(length) for length in LENGTHS]),
        "action": rng.integers(0, 3, N),
        "reward": rng.integers(0, 2, N).astype(float),
        "propensity": rng.uniform(0.1, 1.0, N),
        "p": rng.uniform(0.1, 1.0, N),
        "q": rng.normal(size=N),
        "v": rng.normal(size=N),
        "over": np.append(np.diff(ids) != 0, [True]),
        **changes,
    }


def table(**changes: object) -> pa.Table:
    return pa.table(columns(**changes))


def batch() -> pa.RecordBatch:
    return table().to_batches()[0]


def bits(frame: object, policy: object = POLICY, keys: dict | None = None) -> dict:
    log = cf.LoggedData.from_frame(frame, **(keys or KEYS))
    return bits_of(cf.evaluate(log, {"new": policy}, gamma=0.9).estimates)


EXPECTED = bits(columns())


def padded() -> pa.Table:
    """The log as a slice of a longer table, at an offset that is no multiple of 8."""
    around = table().slice(0, 11)
    return pa.concat_tables([around, table(), around]).combine_chunks().slice(11, N)


def with_empty_batches() -> pa.Table:
    whole, empty = batch(), batch().slice(0, 0)
    batches = [empty, whole.slice(0, 13), empty, empty, whole.slice(13), empty]
    return pa.Table.from_batches(batches)


def once(data: object, method: str = "__arrow_c_stream__") -> SimpleNamespace:
    """An object of no library, which exports its data a single time."""
    capsule = getattr(data, method)()
    return SimpleNamespace(**{method: lambda: capsule})


def every_library() -> dict[str, object]:
    c = columns()
    halves = pa.chunked_array([c["v"][:50], c["v"][50:]])
    wrapped = {"reward": pl.Series(c["reward"]), "p": pd.Series(c["p"]), "q": pa.array(c["q"])}
    lists = {"action": c["action"].tolist(), "timestep": tuple(c["timestep"].tolist())}
    return {**c, **wrapped, **lists, "v": halves}


def each(change: object) -> dict[str, np.ndarray]:
    return {name: change(values) for name, values in columns().items()}


EXPORTERS = {
    "polars": lambda: pl.DataFrame(columns()),
    "polars chunks": lambda: polars_frame(columns(), [[3, 130]]),
    "polars misaligned": lambda: polars_frame(columns(), CUTS),
    "polars lazy": lambda: polars_frame(columns(), CUTS).lazy().filter(pl.col("p") >= 0),
    "pyarrow": table,
    "pyarrow misaligned": lambda: arrow_table(columns(), CUTS),
    "pyarrow slice": padded,
    "pyarrow batch": batch,
    "pyarrow batch slice": lambda: padded().to_batches()[0],
    "pyarrow reader": lambda: table().to_reader(max_chunksize=37),
    "pyarrow empty batches": with_empty_batches,
    "pyarrow reader, empty batches": lambda: with_empty_batches().to_reader(),
    "pyarrow struct slice": lambda: pa.concat_arrays([batch().to_struct_array()] * 2).slice(N),
    "pandas": lambda: pd.DataFrame(columns()),
    "pandas text index": lambda: pd.DataFrame(columns(), index=[f"r{i % 7}" for i in range(N)]),
    "pandas nullable": lambda: pd.DataFrame(columns()).convert_dtypes(),
    "pandas pyarrow": lambda: table().to_pandas(types_mapper=pd.ArrowDtype),
    "pandas strided": lambda: pd.DataFrame(columns()).loc[np.repeat(range(N), 2)].iloc[::2],
    "nanoarrow array": lambda: nanoarrow.Array(batch()),
    "nanoarrow stream": lambda: nanoarrow.ArrayStream(arrow_table(columns(), CUTS)),
    "arro3": lambda: arro3.core.Table.from_arrow(arrow_table(columns(), CUTS)),
    "arro3 reader": lambda: arro3.core.RecordBatchReader.from_stream(table()),
    "stream capsule": lambda: once(arrow_table(columns(), CUTS)),
    "array capsule": lambda: once(padded().to_batches()[0], "__arrow_c_array__"),
    "dict of every library": every_library,
    "dict, strided": lambda: each(lambda x: np.repeat(x, 2)[::2]),
    "dict, backwards": lambda: each(lambda x: x[::-1].copy()[::-1]),
    "dict, read-only": lambda: each(lambda x: np.frombuffer(x.tobytes(), x.dtype)),
    "dict, big-endian": lambda: columns(reward=columns()["reward"].astype(">f8")),
    "dict, odd": lambda: each(lambda x: np.frombuffer(b"." + x.tobytes(), x.dtype, offset=1)),
}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_same_bits_from_every_exporter(exporter):
    log = cf.LoggedData.from_frame(EXPORTERS[exporter](), **KEYS)
    gc.collect()  # the table is gone: what the log keeps must stay alive
    assert bits_of(cf.evaluate(log, {"new": POLICY}, gamma=0.9).estimates) == EXPECTED


def test_duckdb():
    """Also where DuckDB uses several vectors and threads; the connection works on."""
    data = {name: np.tile(values, 300) for name, values in columns().items()}
    data["episode_id"] = np.arange(300).repeat(N) * 1000 + data["episode_id"]
    expected = bits(data)
    with duckdb.connect() as connection:
        connection.register("source", pa.table(data))
        relation = connection.sql("select * from source")
        assert bits(relation) == bits(relation) == expected
        connection.sql("create table stored as select * from source")
        log = cf.LoggedData.from_frame(connection.table("stored"), **KEYS)
        assert connection.sql("select count(*) from stored").fetchall() == [(300 * N,)]
    # The connection is closed, but the log holds its own references.
    assert bits_of(cf.evaluate(log, {"new": POLICY}, gamma=0.9).estimates) == expected


# Nothing is copied. Chunks without rows may come or not, at any address.


def of_arrow(column: pa.ChunkedArray) -> set[int]:
    width = column.type.bit_width // 8
    return {c.buffers()[1].address + width * c.offset for c in column.chunks if len(c)}


def of_polars(column: pl.Series) -> list[int]:
    return [c.to_numpy(allow_copy=False).ctypes.data for c in column.get_chunks()]


@pytest.mark.parametrize("cuts", [[[]], [[3, 130]], CUTS], ids=["one", "many", "misaligned"])
def test_polars_is_neither_copied_nor_rechunked(cuts):
    frame = polars_frame(columns(), cuts)
    chunks, addresses = frame.n_chunks("all"), {name: of_polars(frame[name]) for name in NUMBERS}
    log = cf.LoggedData.from_frame(frame, state=list(NUMBERS), **KEYS)
    cf.evaluate(log, {"new": POLICY})
    for name, where in addresses.items():
        assert _core.read_column(name, frame[name]).addresses == where
        assert log._table.column(name).addresses == where
        assert of_polars(frame[name]) == where
    assert frame.n_chunks("all") == chunks


@pytest.mark.parametrize("wrap", [None, arro3.core.Table.from_arrow, nanoarrow.ArrayStream, once])
@pytest.mark.parametrize("cuts", [[[]], [[3, 130]], CUTS], ids=["one", "many", "misaligned"])
def test_arrow_is_not_copied(wrap, cuts):
    data = arrow_table(columns(), cuts)
    log = cf.LoggedData.from_frame(data if wrap is None else wrap(data), **KEYS)
    for name in NUMBERS:
        where = set().union(*(of_arrow(pa.table(b)[name]) for b in data.to_batches()))
        assert where <= set(log._table.column(name).addresses)
        # What policies are handed are the same buffers again.
        assert where <= set(_core.read_column(name, log._table.series(name)).addresses)


def test_numpy_and_pandas_are_not_copied():
    data = columns(p=columns()["p"].astype(np.float32))
    frame = pd.DataFrame(data)
    backed = pd.DataFrame({n: pd.arrays.ArrowExtensionArray(pa.array(data[n])) for n in NUMBERS})
    for name in NUMBERS:
        where = [frame[name].to_numpy().ctypes.data]
        assert sources.open_table(frame).column(name).addresses == where
        assert sources.open_table(data).column(name).addresses == [data[name].ctypes.data]
        where = of_arrow(pa.chunked_array(backed[name]))
        assert set(sources.open_table(backed).column(name).addresses) == where


@pytest.mark.parametrize("offset", range(18))
def test_flags_at_any_bit(offset):
    """Misread flags would make other episodes, or be refused beside the ids."""
    around = np.ones(offset, bool)
    flags = pa.array(np.concatenate([around, columns()["over"], ~around]))
    middle = flags.slice(offset, N)
    pieces = pa.chunked_array([middle.slice(0, 5), middle.slice(5, 12), middle.slice(17)])
    for found in (middle, pieces, pl.Series(flags)[offset : offset + N], pl.Series(pieces)):
        assert bits(columns(over=found), keys={"terminated": "over"}) == EXPECTED
        assert bits(columns(over=found)) == EXPECTED


@pytest.mark.parametrize("offset", [1, 7, 8, 9])
def test_nulls_outside_the_slice_do_not_count(offset):
    around = pa.nulls(offset, pa.float64())
    whole = pa.concat_arrays([around, pa.array(columns()["reward"]), around])
    assert bits(columns(reward=whole.slice(offset, N))) == EXPECTED
    with pytest.raises(cf.InvalidLogError, match=rf'column "reward": 1 of {N} .* row {N - 1};'):
        bits(columns(reward=whole.slice(offset + 1, N)))


def names(codes: np.ndarray) -> dict[str, object]:
    """The same names in every type that can hold names; as text they sort as the numbers do."""
    labels = [f"name-{code:03}, too long to be held in a view" for code in range(codes.max() + 1)]
    text = pa.array([labels[code] for code in codes])
    found = {kind: text.cast(kind) for kind in ("string", "large_string", "string_view")}
    for width in (8, 16, 32, 64):
        for kind in (f"int{width}", f"uint{width}"):
            found[kind] = numbers = pa.array(codes, kind)
            found[f"{kind} codes"] = pa.DictionaryArray.from_arrays(numbers, labels)
    chunks = [text.slice(0, 50), text.slice(50, 1), text.slice(51)]
    series = pl.Series(text)
    return found | {
        "codes by chunk": pa.chunked_array([c.dictionary_encode() for c in chunks]),
        "Categorical": series.cast(pl.Categorical),
        "Enum": series.cast(pl.Enum(labels)),
        "pandas string": pd.Series(text.to_pylist(), dtype="string"),
        "pandas categorical": pd.Series(text.to_pylist(), dtype="category"),
        "pandas categorical integers": pd.Series(codes, dtype="category"),
        "numpy text": np.array(text.to_pylist()),
        "numpy objects": np.array(text.to_pylist(), dtype=object),
    }


IDS, ACTIONS = names(columns()["episode_id"]), names(columns()["action"])
DENSE = np.random.default_rng(2).dirichlet(np.ones(3), N)


@pytest.mark.parametrize("kind", IDS)
def test_ids_and_actions_of_every_type(kind):
    policy = cf.PolicyColumns(action_probs=DENSE, q="q", v="v")
    assert bits(columns(action=ACTIONS[kind]), policy) == bits(columns(), policy)
    assert bits(columns(episode_id=IDS[kind])) == EXPECTED
    if isinstance(IDS[kind], pa.Array | pa.ChunkedArray):
        assert bits(table(episode_id=IDS[kind], action=ACTIONS[kind])) == EXPECTED


@pytest.mark.parametrize("kind", [*"bBhHiIlLfd?"])
def test_numbers_of_every_width(kind):
    small = columns()["reward"].astype(kind)
    for reward in (small, pa.array(small), pl.Series(small)):
        assert bits(columns(reward=reward, over=columns()["over"].astype(kind))) == EXPECTED
    ends = columns()["episode_id"].astype("L") + np.array(2**64 - 100, "L")
    assert bits(columns(episode_id=ends)) == EXPECTED


def test_single_precision_is_widened_value_by_value():
    single = {name: columns()[name].astype("f") for name in ("propensity", "p", "q", "v")}
    wide = {name: values.astype(float) for name, values in single.items()}
    assert bits(columns(**single)) == bits(columns(**wide))


def of(values: list, kind: pa.DataType) -> pa.Array:
    return pa.array(values * N, kind)


INTEGERS = pa.array(range(N), pa.int32())
EXOTIC = {
    "decimal": [of([Decimal(1)], t(3, 1)) for t in (pa.decimal128, pa.decimal256)],
    "small decimal": [of([Decimal(1)], t(3, 1)) for t in (pa.decimal32, pa.decimal64)],
    "float16": [pa.array(np.ones(N, np.float16))],
    "list": [of([[1.0]], t(pa.float64())) for t in (pa.list_, pa.large_list)],
    "array": [of([[1.0] * k], pa.list_(pa.float64(), k)) for k in (1, 2)],
    "empty array": [of([[]], pa.list_(pa.float64(), 0))],
    "list view": [of([[1.0]], t(pa.float64())) for t in (pa.list_view, pa.large_list_view)],
    "run-end": [pa.RunEndEncodedArray.from_arrays([N - 1, N], ["a", "b"])],
    "struct": [of([{"a": 1.0}], None), of([{"a": None}], None)],
    "map": [of([[("k", 1)]], pa.map_(pa.string(), pa.int64()))],
    "null": [pa.nulls(N)],
    "union": [pa.UnionArray.from_sparse(of([0], pa.int8()), [INTEGERS])],
    "dense union": [pa.UnionArray.from_dense(of([0], pa.int8()), INTEGERS, [INTEGERS])],
    "interval": [of([(1, 2, 3)], pa.month_day_nano_interval())],
    "binary": [of([b"x" * 20], t) for t in (pa.binary(), pa.binary_view(), pa.binary(20))],
    "uuid": [pa.ExtensionArray.from_storage(pa.uuid(), of([b"0" * 16], pa.binary(16)))],
    "time of day": [of([1], pa.time32("s")), of([1], pa.time64("ns"))],
}


@pytest.mark.parametrize("kind", EXOTIC)
def test_exotic_types_disturb_only_where_they_are_used(kind):
    for values in EXOTIC[kind]:
        whole = table(x=values)
        assert bits(whole) == bits(pa.concat_tables([whole[:9], whole[9:]])) == EXPECTED
        for role, error in (("reward", cf.InvalidLogError), ("p", cf.InvalidPolicyError)):
            with pytest.raises(error, match=f'column "{role}"') as caught:
                bits(table(**{role: values}))
            if kind in ("decimal", "small decimal", "float16"):
                assert "cast" in str(caught.value)


@pytest.mark.parametrize("kind", EXOTIC)
def test_exotic_types_name_no_episodes(kind):
    for values in EXOTIC[kind]:
        with pytest.raises(cf.InvalidLogError, match='column "episode_id"'):
            bits(table(episode_id=values))


TIMES = {str(t): t for t in map(pa.timestamp, ("s", "ms", "us", "ns"))}
TIMES |= {"tz": pa.timestamp("ns", "Asia/Tokyo"), "duration": pa.duration("ns")}


@pytest.mark.parametrize("kind", [*TIMES, "date32", "date64"])
def test_times_as_timesteps(kind):
    """Nanoseconds since 1970 are told from their neighbours, which float64 cannot."""
    step = columns()["timestep"]
    days = pa.array(step.astype("M8[D]"))
    values = pa.array(step + 2**60).cast(TIMES[kind]) if kind in TIMES else days.cast(kind)
    assert bits(columns(timestep=values)) == bits(table(timestep=values)) == EXPECTED
    row = int(np.flatnonzero(columns()["timestep"] == 1)[4])
    again = values.take(pa.array([i - (i == row) for i in range(N)]))
    with pytest.raises(cf.InvalidLogError, match=rf'"timestep": 1 of {N} timesteps .* row {row};'):
        bits(table(timestep=again))


def shifted(array: pa.Array, shift: int) -> pa.Array:
    """The same array with every buffer at an odd address."""
    copies = [b and pa.py_buffer(bytes(shift) + b.to_pybytes()) for b in array.buffers()]
    return pa.Array.from_buffers(array.type, len(array), [b and b[shift:] for b in copies])


@pytest.mark.parametrize("shift", range(1, 8))
def test_misaligned_buffers_are_refused_by_name_or_read_rightly(shift):
    """Numbers are read in place; bits need no alignment, and text goes through a library."""
    text = pa.array([f"e{i}" for i in columns()["episode_id"]])
    harmless = {"over": columns()["over"], "action": columns()["action"], "episode_id": text}
    for name, values in harmless.items():
        moved = shifted(pa.array(values), shift)
        assert moved.buffers()[1].address % 8 == shift
        assert bits(table(**{name: moved})) == bits(columns(**{name: moved})) == EXPECTED
        assert bits(table(x=moved)) == bits(once(table(x=moved))) == EXPECTED
    for name in (*NUMBERS, "episode_id"):
        moved = shifted(pa.array(columns()[name]), shift)
        assert bits(table(x=moved)) == EXPECTED
        for frame in (table(**{name: moved}), columns(**{name: moved})):
            with pytest.raises(cf.CounterfolioError, match=f'column "{name}".*copy the column'):
                bits(frame)


# What is no table, or none any more.


@pytest.mark.parametrize("kind", ["pyarrow reader", "stream capsule", "array capsule"])
def test_what_was_consumed_says_so(kind):
    reader = EXPORTERS[kind]()
    assert bits(reader) == EXPECTED
    with pytest.raises(cf.InvalidLogError, match=r"empty|consumed"):
        bits(reader)


def test_empty_tables_say_so():
    none, schema = batch().slice(0, 0), batch().schema
    tables = [pa.Table.from_batches([none] * k, schema) for k in (0, 1, 2)]
    readers = [pa.RecordBatchReader.from_batches(schema, [none] * k) for k in (0, 1, 2)]
    others = [none.to_pandas(), none.to_pydict(), pl.DataFrame(none), arro3.core.Table(none)]
    for frame in (none, *tables, *readers, *others):
        with pytest.raises(cf.InvalidLogError, match="the log is empty"):
            bits(frame)


def test_what_is_no_table_is_refused():
    structured = np.zeros(3, [("a", float)])
    for value in (None, "log.parquet", b"", object(), {1.0}, np.ones((3, 3)), structured, range(3)):
        with pytest.raises(cf.InvalidLogError, match=rf"{type(value).__name__} does not export"):
            bits(value)
    for value in (pl.Series([1.0]), pd.Series([1.0]), pa.array([1.0])):
        with pytest.raises(cf.InvalidLogError, match=r"a table is wanted.*one column of Float64"):
            bits(value)


def test_exporters_that_misbehave():
    def batches() -> object:
        yield batch()
        raise OSError("the disk is full")

    with pytest.raises(cf.InvalidLogError, match="the disk is full"):
        bits(pa.RecordBatchReader.from_batches(table().schema, batches()))
    wrong = table().schema.__arrow_c_schema__
    for answer, error in ((int, TypeError), (wrong, ValueError), (lambda: 1 // 0, ArithmeticError)):
        with pytest.raises(error, match=r"PyCapsule|by zero"):
            bits(SimpleNamespace(__arrow_c_stream__=answer))
