"""A folder of evaluations: written as they are finished, extended, read again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import counterfolio as cf
import numpy as np
import polars as pl
import pytest
from counterfolio.evaluations_files import file_name, in_order
from many_logs import COLUMNS, GAMMA, bits, logs, make, same
from test_evaluate_many import NAMES

OPTIONS = {"gamma": GAMMA, "n_resamples": 20, "seed": 5}


def many(folder: Path, given: dict[str, object], **options: object) -> cf.Evaluations:
    return cf.evaluate_many(given, COLUMNS, path=folder, **OPTIONS | options)


def forbidden() -> cf.LoggedData:
    raise AssertionError("this log was evaluated before")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_there_and_back(tmp_path):
    wanted = cf.evaluate_many(logs(12), COLUMNS, **OPTIONS)
    for write in (
        wanted.to_parquet,
        lambda folder: many(folder, logs(12)),
        lambda folder: many(folder, {n: (lambda log=log: log) for n, log in logs(12).items()}),
    ):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        write(folder)
        found = cf.Evaluations.from_parquet(folder)
        assert same(found, wanted)
        assert found.estimates.equals(wanted.estimates)
        assert found.diagnostics.equals(wanted.diagnostics)
        assert found["seed 7"].log_report == wanted["seed 7"].log_report
    one, two, three = (files(folder) for folder in sorted(tmp_path.iterdir()))
    assert one.keys() == two.keys() == three.keys()


def test_the_files_are_the_same_for_any_number_of_jobs(tmp_path):
    for n_jobs in (1, 2, 4):
        many(tmp_path / str(n_jobs), logs(), n_jobs=n_jobs)
    assert files(tmp_path / "1") == files(tmp_path / "2") == files(tmp_path / "4")


def test_a_folder_is_one_table(tmp_path):
    folder = tmp_path / "runs"
    found = many(folder, logs())
    whole = pl.read_parquet(folder / "*.parquet")
    assert whole.drop("replicates").sort("dataset", maintain_order=True).equals(found.estimates)
    assert whole["dataset"].dtype == pl.String
    assert pl.read_parquet(folder).shape == whole.shape
    for name, one in found.items():
        own = whole.filter(dataset=name)["replicates"]
        drawn = np.column_stack(own.to_list())
        assert drawn[:, :-1].tobytes() == one.replicates.reshape(len(drawn), -1).tobytes()
    file = next(folder.iterdir())
    alone = cf.Evaluation.from_parquet(file)
    assert bits(alone) == bits(found[pl.read_parquet(file)["dataset"][0]])


def test_any_name_survives(tmp_path):
    given = {name: make(i, 30) for i, name in enumerate(NAMES)}
    found = many(tmp_path / "runs", given)
    again = cf.Evaluations.from_parquet(tmp_path / "runs")
    assert list(again) == in_order(NAMES)
    for name in NAMES:
        assert bits(again[name]) == bits(found[name])
    assert set(pl.read_parquet(tmp_path / "runs" / "*.parquet")["dataset"]) == set(NAMES)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    names = [path.name for path in (tmp_path / "runs").iterdir()]
    assert len({name.lower() for name in names}) == len(NAMES)
    assert all(name.isascii() and len(name) < 110 for name in names)
    assert file_name("seed 0") == "seed_0-76402b01e3505e9b.parquet"


def test_names_are_sorted_as_people_do():
    wanted = ["", "a", "a 1", "a 02", "a 2", "a 10", "b", "b-1"]
    for order in list(permutations(wanted))[::977]:
        assert in_order(order) == wanted


def test_what_is_there_is_not_done_again(tmp_path):
    folder = tmp_path / "runs"
    first = many(folder, logs(3))
    before = files(folder)
    given = dict.fromkeys(logs(3), forbidden) | {"seed 3": make(3), "new": lambda: make(7)}
    found = many(folder, given, n_jobs=2)
    assert list(found) == list(given)
    whole = cf.evaluate_many(logs(4) | {"new": make(7)}, COLUMNS, **OPTIONS)
    assert same(found, whole)
    after = files(folder)
    assert len(after) == 5
    assert before.items() <= after.items()
    # Other datasets may be asked for, in any order.
    other = many(folder, {"seed 9": make(9), "seed 0": forbidden})
    assert list(other) == ["seed 9", "seed 0"]
    assert len(cf.Evaluations.from_parquet(folder)) == 6
    assert bits(first["seed 1"]) == bits(cf.Evaluations.from_parquet(folder)["seed 1"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gamma": 0.5}, "gamma=0.9, not 0.5"),
        ({"n_resamples": 21}, "n_resamples=20, not 21"),
        ({"n_resamples": None}, "n_resamples=20, not 0"),
        ({"interval": "bootstrap", "n_resamples": 20}, "interval='normal', not 'bootstrap'"),
        ({"confidence_level": 0.9}, "confidence_level=0.95, not 0.9"),
        ({"alternative": "less"}, "alternative='two-sided', not 'less'"),
        ({"method": "bca"}, "method='percentile', not 'bca'"),
        ({"resampling": "multinomial"}, "resampling='poisson', not 'multinomial'"),
        ({"seed": 6}, "seed="),
        ({"estimators": ["tis"]}, r"estimators=\['tis', .*\], not \['tis'\]"),
        ({"policies": {"a": "p_a"}}, r"policies=\['a', 'b', 'c'\], not \['a'\]"),
        ({"logs": {"seed 0": make(0, 60)}}, "n_rows="),
    ],
)
def test_other_settings_are_refused(tmp_path, options, text):
    folder = tmp_path / "runs"
    given = {"logs": logs(2), "policies": COLUMNS, "path": folder, **OPTIONS}
    cf.evaluate_many(**given)
    before = files(folder)
    with pytest.raises(cf.InvalidArgumentError, match=f'holds dataset "seed 0" with {text}'):
        cf.evaluate_many(**given | options)
    # Of those too that are not asked for.
    if not {"seed", "policies", "logs"} & options.keys():
        with pytest.raises(cf.InvalidArgumentError, match=f'holds dataset "seed 0" with {text}'):
            cf.evaluate_many(**given | options | {"logs": {"other": forbidden}})
    assert files(folder) == before


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"n_resamples": 0, "n_jobs": 1, "num_threads": 1}),
        ({"n_resamples": 9, "seed": 4}, {"n_resamples": 9, "resampling": "poisson", "seed": 4}),
        ({"n_resamples": 9, "seed": 4}, {"n_resamples": 9}),  # those drawn then will do
        ({"interval": "bootstrap"}, {"interval": "bootstrap", "n_resamples": 1000}),
        ({"estimators": ["wis"]}, {"estimators": ["sntis"]}),
        ({"estimators": "dm", "seed": 3}, {"estimators": ["dm"], "seed": 8}),  # nothing is drawn
        ({"confidence_level": 0.9}, {"confidence_level": np.float64(0.9)}),
        (
            {"interval": "log_smoothing", "estimators": ["tis"], "return_range": (-99, 99)},
            {"interval": "log_smoothing", "estimators": ["ips"], "return_range": [-99.0, 99]},
        ),
    ],
)
def test_the_same_said_otherwise(tmp_path, first, second):
    folder = tmp_path / "runs"
    wanted = cf.evaluate_many(logs(2), COLUMNS, path=folder, **first)
    found = cf.evaluate_many(dict.fromkeys(logs(2), forbidden), COLUMNS, path=folder, **second)
    assert same(found, wanted)


def test_estimators_by_default_are_not_those_that_were_named(tmp_path):
    named = ["tis", "pdis", "sntis", "snpdis", "dm", "dr", "sndr"]
    cf.evaluate_many(logs(1), COLUMNS, named, path=tmp_path / "named")
    with pytest.raises(cf.InvalidArgumentError, match=r"estimators=\[.*\], not None"):
        cf.evaluate_many(logs(1), COLUMNS, path=tmp_path / "named")
    cf.evaluate_many(logs(1), COLUMNS, path=tmp_path / "open")
    found = cf.evaluate_many({"seed 0": forbidden}, COLUMNS, named, path=tmp_path / "open")
    assert found.estimators == named
    # What is written later knows how it was asked for too.
    cf.evaluate_many(logs(1), COLUMNS).to_parquet(tmp_path / "later")
    cf.evaluate_many({"seed 0": forbidden}, lambda log: COLUMNS, path=tmp_path / "later")


def test_a_folder_grows_by_to_parquet(tmp_path):
    folder = tmp_path / "runs"
    whole = cf.evaluate_many(logs(4), COLUMNS, gamma=GAMMA)
    cf.Evaluations({n: whole[n] for n in ("seed 0", "seed 1")}).to_parquet(folder)
    cf.Evaluations({n: whole[n] for n in ("seed 1", "seed 2", "seed 3")}).to_parquet(folder)
    assert same(cf.Evaluations.from_parquet(folder), whole)
    before = files(folder)
    other = cf.evaluate_many({"other": make(0)}, COLUMNS, gamma=0.5)
    with pytest.raises(cf.InvalidArgumentError, match=r'gamma=0.9, not 0.5 of "other"'):
        other.to_parquet(folder)
    assert files(folder) == before


def test_tails_have_a_folder_of_their_own(tmp_path):
    folder = tmp_path / "runs"
    found = cf.evaluate_distribution(make(0), COLUMNS, ["cd_sntis"], gamma=GAMMA)
    worst = cf.Evaluations({"x": found.evaluation("cvar", 0.25)})
    worst.to_parquet(folder)
    again = cf.Evaluations.from_parquet(folder)
    assert same(again, worst)
    truth = {name: np.arange(float(i), 30) for i, name in enumerate(COLUMNS)}
    assert cf.assess(again, truth).table.equals(cf.assess(worst, truth).table)
    means = cf.evaluate_many({"y": make(0)}, COLUMNS, gamma=GAMMA)
    with pytest.raises(cf.InvalidArgumentError, match="statistic='cvar', not None"):
        means.to_parquet(folder)
    with pytest.raises(cf.InvalidArgumentError, match="statistic='cvar', not None"):
        cf.evaluate_many({"y": forbidden}, COLUMNS, gamma=GAMMA, path=folder)


def test_estimates_alone_are_kept_too(tmp_path):
    wanted = many(tmp_path / "runs", logs(2), keep="estimates")
    found = cf.Evaluations.from_parquet(tmp_path / "runs")
    assert same(found, wanted)
    with pytest.raises(
        cf.InvalidArgumentError, match=r'dataset "seed 0": diagnostics needs the log'
    ):
        found.diagnostics  # noqa: B018
    found.to_parquet(tmp_path / "again")
    assert same(cf.Evaluations.from_parquet(tmp_path / "again"), wanted)
    single = found["seed 0"]
    with pytest.raises(cf.InvalidArgumentError, match="diagnostics needs the log"):
        single.to_parquet(tmp_path / "single.parquet")


def test_what_was_finished_before_an_error_stays(tmp_path):
    folder = tmp_path / "runs"

    def fail() -> cf.LoggedData:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        many(folder, logs(2) | {"bad": fail} | {"more": make(8)}, n_jobs=1)
    assert list(cf.Evaluations.from_parquet(folder)) == ["seed 0", "seed 1"]
    found = many(folder, dict.fromkeys(logs(2), forbidden) | {"bad": make(5), "more": make(8)})
    assert len(found) == len(list(folder.iterdir())) == 4


@pytest.mark.parametrize(
    ("prepare", "text"),
    [
        (lambda folder: None, "is no folder; pass one that to_parquet or evaluate_many wrote"),
        (lambda folder: folder.mkdir(), "holds no evaluations"),
        (lambda folder: folder.write_text("x"), "is no folder"),
        (
            lambda folder: (folder.mkdir(), (folder / "a.parquet").write_text("x")),
            "cannot be read as Parquet",
        ),
        (
            lambda folder: (
                folder.mkdir(),
                pl.DataFrame({"a": [1]}).write_parquet(folder / "a.parquet"),
            ),
            "does not hold an Evaluation",
        ),
        (
            lambda folder: (
                folder.mkdir(),
                cf.evaluate(make(0), COLUMNS).to_parquet(folder / "a.parquet"),
            ),
            "holds one evaluation that is not of several",
        ),
        (
            lambda folder: (
                many(folder, logs(1)),
                (folder / "copy.parquet").write_bytes(next(folder.iterdir()).read_bytes()),
            ),
            'both hold dataset "seed 0"',
        ),
    ],
)
def test_what_is_no_folder_of_evaluations(tmp_path, prepare, text):
    folder = tmp_path / "runs"
    prepare(folder)
    with pytest.raises(cf.InvalidArgumentError, match=text):
        cf.Evaluations.from_parquet(folder)


def test_where_no_folder_can_be(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, text in (
        (tmp_path / "file", "is a file; evaluations of several logs take a folder"),
        (tmp_path / "no" / "runs", "does not exist; make it first"),
        (3, "a path is wanted, not 3"),
    ):
        with pytest.raises(cf.InvalidArgumentError, match=text):
            cf.evaluate_many({"x": forbidden}, COLUMNS, path=path)


# A run that is killed.


def endless(folder: str) -> None:
    """Evaluate more logs than anybody waits for."""
    given = {f"seed {i}": (lambda i=i: make(i)) for i in range(100_000)}
    cf.evaluate_many(given, COLUMNS, **OPTIONS, path=folder, n_jobs=2)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_run_leaves_whole_files_and_goes_on(tmp_path, number):
    folder = tmp_path / "runs"
    command = f"import test_evaluate_many_files as t; t.endless({str(folder)!r})"
    with subprocess.Popen(
        [sys.executable, "-c", command], cwd=Path(__file__).parent, stderr=subprocess.PIPE
    ) as process:
        try:
            while len(list(folder.glob("*.parquet"))) < 7:
                assert process.poll() is None, process.stderr.read()
            process.send_signal(number)
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == -number
    left = cf.Evaluations.from_parquet(folder)
    assert len(left) >= 7
    if number == signal.SIGINT:  # what was begun has been finished or removed
        assert {path.suffix for path in folder.iterdir()} == {".parquet"}
    assert pl.read_parquet(folder / "*.parquet")["dataset"].n_unique() == len(left)
    seeds = sorted(int(name.split()[1]) for name in left)
    for i in seeds[:2] + seeds[-2:]:
        alone = cf.evaluate_many({f"seed {i}": make(i)}, COLUMNS, **OPTIONS)
        assert bits(left[f"seed {i}"]) == bits(alone[f"seed {i}"])
    given = {f"seed {i}": forbidden for i in seeds} | {"one more": make(0)}
    assert len(many(folder, given)) == len(seeds) + 1
