"""Tables from paths: what is found, what it holds, and what is said of what cannot be read."""

from __future__ import annotations

import gzip
import os
import re
import threading
from datetime import date
from typing import TYPE_CHECKING

import counterfolio as cf
import polars as pl
import pytest
from counterfolio.reading import find, read_table

if TYPE_CHECKING:
    from pathlib import Path

TABLE = {"a": [1, 2, 3], "p": [0.25, 0.5, 1.0], "t": ["x", "y", "z"]}
FRAME = pl.DataFrame(TABLE)


def write(path: Path, frame: pl.DataFrame = FRAME) -> Path:
    """Write a frame as its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if name.endswith(".gz"):
        separator = "\t" if ".tsv" in name else ","
        path.write_bytes(gzip.compress(frame.write_csv(separator=separator).encode()))
    elif name.endswith((".csv", ".tsv")):
        frame.write_csv(path, separator="," if name.endswith(".csv") else "\t")
    elif name.endswith((".parquet", ".pq")):
        frame.write_parquet(path)
    elif "stream" in name:
        frame.write_ipc_stream(path)
    else:
        frame.write_ipc(path)
    return path


def text(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(source: Path | str, *says: str, input_format: str | None = None) -> str:
    """The message with which a source is refused: one line that says all of `says`."""
    with pytest.raises(cf.InvalidLogError) as found:
        read_table(source, input_format)
    message = str(found.value)
    assert [said for said in says if said not in message] == [], message
    assert "\n" not in message
    return message


ENDINGS = [
    "log.parquet",
    "log.pq",
    "log.csv",
    "log.csv.gz",
    "log.tsv",
    "log.tsv.gz",
    "log.arrow",
    "log.feather",
    "log.ipc",
    "stream.arrow",
    "LOG.PARQUET",
]


@pytest.mark.parametrize("name", ENDINGS)
def test_the_ending_tells_the_format(name, tmp_path):
    path = write(tmp_path / name.lower())
    path = path.rename(tmp_path / name)
    assert read_table(path).equals(FRAME)
    assert read_table(str(path)).equals(FRAME)


@pytest.mark.parametrize("name", ["log.parquet", "log.csv", "log.tsv", "log.arrow"])
def test_the_format_outranks_the_ending(name, tmp_path):
    path = write(tmp_path / name).rename(tmp_path / "log.dat")
    refused(path, "log.dat", "the format", "parquet, csv, tsv, arrow")
    assert read_table(path, name.partition(".")[2]).equals(FRAME)


def test_an_unknown_format_suggests_the_nearest(tmp_path):
    with pytest.raises(cf.InvalidArgumentError, match='"parqet"; did you mean "parquet"'):
        find(write(tmp_path / "log.parquet"), "parqet")


@pytest.mark.parametrize("ending", ["parquet", "csv", "arrow"])
def test_files_come_in_the_order_of_their_names(ending, tmp_path):
    for i in (2, 0, 1):
        write(tmp_path / f"part-{i}.{ending}", FRAME[i : i + 1])
    (tmp_path / "_SUCCESS").touch()
    text(tmp_path / ".hidden.csv", "junk")
    text(tmp_path / "_temporary" / "a.csv", "junk")
    for source in ("", "*", f"*.{ending}", "part-?.*", "**/*"):
        assert read_table(tmp_path / source).equals(FRAME), source


def test_names_with_wildcards_are_names(tmp_path):
    folder = tmp_path / "[1] x=9 *"
    write(folder / "a[0].parquet", FRAME[:1])
    write(folder / "b?.csv", FRAME[1:])
    assert read_table(folder / "a[0].parquet").equals(FRAME[:1])
    assert read_table(folder / "b?.csv").equals(FRAME[1:])


@pytest.mark.parametrize("ending", ["parquet", "csv", "arrow"])
def test_partitions_become_columns(ending, tmp_path):
    """Typed by what they hold; those of a folder above the one named are none."""
    root = tmp_path / "run=1"
    rows = [
        ("day=2024-01-01/n=2/x=0.5/t=a%20b/z=1/q=__HIVE_DEFAULT_PARTITION__", [1, 2]),
        ("day=2024-01-02/n=-3/x=1/t=7/z=__HIVE_DEFAULT_PARTITION__/q=x", [3]),
    ]
    for folder, values in rows:
        write(root / folder / f"a.{ending}", pl.DataFrame({"a": values}))
    wanted = pl.DataFrame(
        {
            "a": [1, 2, 3],
            "day": [date(2024, 1, 1)] * 2 + [date(2024, 1, 2)],
            "n": [2, 2, -3],
            "x": [0.5, 0.5, 1.0],
            "t": ["a b", "a b", "7"],
            "z": [1, 1, None],
            "q": [None, None, "x"],
        }
    )
    assert read_table(root).equals(wanted)
    assert read_table(root / "day=*" / "**" / f"*.{ending}").equals(wanted)
    assert read_table(root).schema == wanted.schema


def test_a_files_own_column_outranks_its_partition(tmp_path):
    write(tmp_path / "a=7" / "x.parquet")
    assert read_table(tmp_path).equals(FRAME)


def test_partitions_that_only_some_files_have_are_refused(tmp_path):
    write(tmp_path / "a.parquet")
    write(tmp_path / "day=1" / "b.parquet")
    refused(tmp_path, '"day=..."', "a.parquet", "b.parquet")


def test_only_the_chosen_columns_are_read(tmp_path):
    """What was not chosen may even differ from file to file."""
    write(tmp_path / "k=1" / "a.parquet", pl.DataFrame({"a": [1], "b": ["x"], "c": [1.0]}))
    write(tmp_path / "k=2" / "a.parquet", pl.DataFrame({"c": [2.0], "b": [3]}))
    seen = []

    def choose(names):
        seen.append(names)
        return {"k", "c"}

    assert find(tmp_path).read(choose).to_dict(as_series=False) == {"c": [1.0, 2.0], "k": [1, 2]}
    assert seen[0] == ["a", "b", "c", "k"]
    for name in ("log.csv", "log.arrow", "log.parquet"):
        path = write(tmp_path / "one" / name)
        assert find(path).read(lambda names: ["t", "a"]).columns == ["a", "t"]
    # A column of partitions alone still has every row.
    assert find(tmp_path / "k=*").read(lambda names: ["k"])["k"].to_list() == [1, 2]


@pytest.mark.parametrize("ending", ["parquet", "csv", "arrow"])
def test_differing_columns_are_named(ending, tmp_path):
    first = write(tmp_path / f"a.{ending}", pl.DataFrame({"a": [1], "p": [0.5]}))
    second = write(tmp_path / f"b.{ending}", pl.DataFrame({"a": [1]}))
    refused(tmp_path, f'column "p" is in "{first}" but not in "{second}"')
    write(second, pl.DataFrame({"p": [1.0], "a": [1], "q": [2]}))
    refused(tmp_path, f'column "q" is in "{second}" but not in "{first}"')
    write(second, pl.DataFrame({"p": ["x"], "a": [1]}))
    refused(tmp_path, f'column "p" holds numbers (Float64) in "{first}" but text in "{second}"')
    write(second, pl.DataFrame({"p": [2], "a": [7]}))  # integers beside floats, in another order
    assert read_table(tmp_path).to_dict(as_series=False) == {"a": [1, 7], "p": [0.5, 2.0]}


def test_integers_never_become_floats_for_want_of_a_common_type(tmp_path):
    for name, dtype in (("a", pl.Int64), ("b", pl.UInt64)):
        write(tmp_path / f"{name}.parquet", pl.DataFrame({"id": pl.Series([1], dtype=dtype)}))
    refused(tmp_path, 'column "id" holds numbers (Int64)', "numbers (UInt64)")
    write(tmp_path / "b.parquet", pl.DataFrame({"id": pl.Series([2], dtype=pl.Int8)}))
    assert read_table(tmp_path)["id"].to_list() == [1, 2]
    assert read_table(tmp_path)["id"].dtype == pl.Int64


def test_an_empty_column_of_one_csv_file_takes_the_type_of_the_others(tmp_path):
    text(tmp_path / "a.csv", "a,b\n1,\n2,\n")
    text(tmp_path / "b.csv", "a,b\n,0.5\n,\n")
    text(tmp_path / "c.csv", "a,b\n3,1\n")
    found = read_table(tmp_path)
    assert found["a"].to_list() == [1, 2, None, None, 3]
    assert found["b"].to_list() == [None, None, 0.5, None, 1.0]


# CSV.


def test_types_are_those_of_all_rows(tmp_path):
    """Also where the first half in an integer's clothes comes after many integers."""
    path = text(tmp_path / "log.csv", "a,b\n" + "1,2\n" * 10_050 + "0.5,x\n")
    frame = read_table(path)
    assert frame["a"].to_list() == [1.0] * 10_050 + [0.5]
    assert frame["b"][-1] == "x"


def test_what_csv_files_hold(tmp_path):
    path = text(
        tmp_path / "log.csv",
        '\ufeffa,b,"c,d",day,flag,e\r\n1,,"x ""y""",2024-01-01,True,"0.5"\r\n2,NaN,"two\nlines",,'
        "false,1\r\n",
    )
    frame = read_table(path)
    assert frame.columns == ["a", "b", "c,d", "day", "flag", "e"]
    assert frame["c,d"].to_list() == ['x "y"', "two\nlines"]
    assert frame["day"].to_list() == [date(2024, 1, 1), None]
    assert frame["flag"].to_list() == [True, False]
    assert frame["e"].to_list() == [0.5, 1.0]
    assert frame["b"][0] is None


CSV = {
    "empty": ("", "is empty", "a line of column names"),
    "latin1": ("name,p\né,1\n".encode("latin1"), "is not UTF-8 text; save it as UTF-8"),
    "utf16": ("a,b\n1,2\n".encode("utf-16"), "is not UTF-8 text"),
    "ragged": ("a,b\n1,2,3\n", "cannot be read as CSV", "more fields than the header"),
    "twice": ("a,b,a\n1,2,3\n", 'column "a" stands in the header', "twice; rename one"),
    "semicolons": ("a;b\n1;2\n", 'separated by ";", not by commas; save it with commas'),
    "tabs": ("a\tb\n1\t2\n", "separated by tabs, not by commas; read it as tsv"),
    "binary": (b"PAR1\0\1\2", "is not UTF-8 text"),
}


@pytest.mark.parametrize("name", CSV)
def test_what_is_said_of_a_csv_file_that_is_none(name, tmp_path):
    content, *says = CSV[name]
    path = text(tmp_path / f"{name}.csv", content)
    refused(path, f'"{path}"', *says)


def test_a_table_of_tabs_with_commas(tmp_path):
    path = text(tmp_path / "log.tsv", "a,b\n1,2\n")
    refused(path, "separated by commas, not by tabs; read it as csv")


def test_one_column_is_a_table(tmp_path):
    assert read_table(text(tmp_path / "log.csv", "a\n1\n")).to_dict(as_series=False) == {"a": [1]}
    assert read_table(text(tmp_path / "log.csv", "a,b\n")).height == 0


def test_a_truncated_archive_is_refused(tmp_path):
    whole = gzip.compress(b"a,b\n" + os.urandom(9_000).hex().encode())
    refused(text(tmp_path / "log.csv.gz", whole[:-50]), "log.csv.gz", "cannot be read as CSV")


# What is not there, and what is not what it is called.


@pytest.mark.parametrize("name", ["log.parquet", "log.arrow"])
@pytest.mark.parametrize("content", [b"", b"no table", b"ARROW1\0\0", b"PAR1 nothing PAR1", None])
def test_broken_files_are_named(name, content, tmp_path):
    path = write(tmp_path / name)
    text(path, path.read_bytes()[:-20] if content is None else content)
    refused(path, f'"{path}" cannot be read as', "Parquet" if "parquet" in name else "Arrow IPC")


def test_a_broken_file_among_many_is_named(tmp_path):
    write(tmp_path / "a.parquet")
    refused(tmp_path, str(text(tmp_path / "b.parquet", "no table")))


def test_a_missing_file_suggests_the_nearest(tmp_path, monkeypatch):
    write(tmp_path / "log.parquet")
    text(tmp_path / "readme.md", "")
    path = tmp_path / "lgo.parquet"
    refused(path, f'no such file: "{path}"; did you mean "log.parquet"?')
    assert "readme" not in refused(tmp_path / "zzz", 'has "log.parquet"')
    refused(tmp_path / "none" / "log.parquet", f'"{tmp_path}" has "log.parquet"')
    (tmp_path / "data").mkdir()
    refused(tmp_path / "dtaa" / "log.parquet", 'did you mean "data"?')
    monkeypatch.chdir(tmp_path / "data")
    refused("log.csv", 'no such file: "log.csv"; this folder has no tables')


def test_folders_and_globs_without_tables(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", f'no table in the folder "{tmp_path / "empty"}"', ".parquet, .csv")
    refused(tmp_path / "empty", "no Parquet file", input_format="parquet")
    refused(tmp_path / "*.csv", f'nothing matches "{tmp_path / "*.csv"}"')
    refused(tmp_path / "no" / "*.csv", f'there is no folder "{tmp_path / "no"}"')
    refused(tmp_path / "a**b", "is no glob")


def test_a_folder_of_two_formats_wants_a_word(tmp_path):
    write(tmp_path / "a.csv", FRAME)
    write(tmp_path / "b.parquet", FRAME[:1])
    refused(tmp_path, 'holds csv ("a.csv") and parquet ("b.parquet")', "name the input format")
    assert read_table(tmp_path, "csv").equals(FRAME)
    assert read_table(tmp_path, "parquet").equals(FRAME[:1])


def test_files_without_an_ending_are_read_when_the_format_is_named(tmp_path):
    for i in (0, 1):
        write(tmp_path / "x" / f"{i}.parquet", FRAME[i : i + 1]).rename(tmp_path / f"part-{i}")
    (tmp_path / "x").rmdir()
    assert read_table(tmp_path, "parquet").equals(FRAME[:2])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.arrow"])
def test_a_pipe_is_read_to_its_end(name, tmp_path):
    content = write(tmp_path / name).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    writer.start()
    assert read_table(pipe, re.sub(r".*\.", "", name)).equals(FRAME)
    writer.join(10)
