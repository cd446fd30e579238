"""The command line as a process: pipes, terminals, signals, and a package that is not there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading

import counterfolio as cf
import polars as pl
import pytest
from cli_log import COMMAND, ENVIRONMENT, log_frame, make_files, spawn

pty = pytest.importorskip("pty", reason="no terminals here")
POLICY = ("--policy", "new=p_new")
EVALUATE = ("evaluate", "log.parquet", *POLICY)


@pytest.fixture
def folder(tmp_path):
    make_files(tmp_path)
    return tmp_path


def on_terminal(*args, cwd, env=ENVIRONMENT, stderr=None):
    """Run at a terminal: (exit code, what the terminal showed)."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *args], cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=stderr or theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    return process.wait(60), shown.decode().replace("\r\n", "\n")


def plain(text):
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)


def test_a_pipe_gets_the_table_without_colours(folder):
    done = spawn(*EVALUATE, cwd=folder)
    assert (done.returncode, done.stderr) == (0, b"")
    evaluation = cf.evaluate(cf.LoggedData.from_frame(log_frame()), {"new": "p_new"})
    assert done.stdout.decode() == f"{evaluation!r}\n\n{evaluation.diagnostics!r}\n"


def test_a_terminal_gets_colours_unless_it_wants_none(folder):
    piped = spawn(*EVALUATE, cwd=folder).stdout.decode()
    code, shown = on_terminal(*EVALUATE, cwd=folder)
    assert code == 0
    assert "\x1b[33mwith care\x1b[0m" in shown
    assert plain(shown) == piped
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert on_terminal(*EVALUATE, cwd=folder, env=ENVIRONMENT | env) == (0, piped)


def test_errors_are_plain_text_on_a_terminal_too(folder):
    code, shown = on_terminal("check", "lgo.parquet", cwd=folder)
    assert code == 2
    assert (
        shown == 'counterfolio: error: no such file: "lgo.parquet"; did you mean "log.parquet"?\n'
    )


def test_parquet_is_not_written_to_a_terminal(folder):
    code, shown = on_terminal(*EVALUATE, "--format", "parquet", cwd=folder)
    assert code == 2
    assert shown.startswith("counterfolio: error: Parquet is not for a terminal")
    done = spawn(*EVALUATE, "--format", "parquet", cwd=folder)
    (folder / "piped.parquet").write_bytes(done.stdout)
    assert cf.Evaluation.from_parquet(folder / "piped.parquet").policies == ["new"]


def test_notes_leave_standard_output_clean(folder):
    done = spawn(*EVALUATE, "--format", "json", "--save", "saved.parquet", cwd=folder)
    assert done.returncode == 0
    assert json.loads(done.stdout)["settings"]["policies"] == ["new"]
    assert done.stderr == b"counterfolio: evaluation saved to saved.parquet\n"


def test_a_log_may_come_through_a_pipe(folder):
    content = log_frame().write_csv().encode()
    done = spawn("evaluate", "-", "--input-format", "csv", *POLICY, cwd=folder, input=content)
    assert done.stderr == b""
    assert done.stdout == spawn(*EVALUATE, cwd=folder).stdout


def test_text_survives_a_locale_without_it(folder):
    log_frame().rename({"p_new": "π→🦊"}).write_parquet(folder / "odd.parquet")
    env = ENVIRONMENT | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    args = ("evaluate", "odd.parquet", "--policy", "π=π→🦊")
    done = spawn(*args, cwd=folder, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u03c0" in done.stdout
    done = spawn(*args, "--format", "json", cwd=folder, env=env)
    assert json.loads(done.stdout)["settings"]["policies"] == ["π"]
    done = spawn("check", "odd.parquet", "--reward", "π", cwd=folder, env=env)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("args", [EVALUATE, (*EVALUATE, "--format", "csv"), ("--help",)])
def test_a_reader_that_leaves_is_no_error(args, folder):
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        [*COMMAND, *args], cwd=folder, env=ENVIRONMENT, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (141, b"")


#: What runs in the background of a shell ignores the signal unless it says otherwise.
LISTENING = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("counterfolio", run_name="__main__")
"""


def test_ctrl_c_is_quiet(folder):
    os.mkfifo(folder / "log.pipe")
    command = [sys.executable, "-c", LISTENING, "check", "log.pipe", "--input-format", "csv"]
    process = subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # Opens once the process waits for the log.
    with (folder / "log.pipe").open("wb"):
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said) == (130, b"", b"")


def test_a_closed_standard_output_is_named(folder):
    command = ["sh", "-c", f'"$0" -m counterfolio {" ".join(EVALUATE)} >&-', sys.executable]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"standard output is closed; name a file with --output" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do all")
def test_what_may_not_be_read_or_written_is_named(folder):
    (folder / "log.parquet").chmod(0)
    done = spawn(*EVALUATE, cwd=folder)
    assert done.returncode == 1
    assert b"permission denied" in done.stderr


def test_a_full_disk_is_named(folder):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full")
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        process = subprocess.run(
            [*COMMAND, *EVALUATE], cwd=folder, env=ENVIRONMENT, stdout=full, stderr=-1, check=False
        )
    assert process.returncode == 2
    assert process.stderr == b"counterfolio: error: No space left on device\n"


BLOCKED = """
import runpy, sys
sys.modules[sys.argv.pop(1)] = None
runpy.run_module("counterfolio", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(module, folder):
    command = [sys.executable, "-c", BLOCKED, module, "--version"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False)
    wanted = 'the command line needs typer and rich; pip install "counterfolio[cli]"'
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"counterfolio: {wanted}\n"


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_without_the_report_extra_nothing_is_begun(module, folder):
    command = [sys.executable, "-c", BLOCKED, module, *EVALUATE, "--report", "out.html"]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert f'{module}; pip install "counterfolio[report]"' in done.stderr.decode()
    assert sorted(p.name for p in folder.iterdir()) == ["log.csv", "log.parquet"]


def test_reading_what_is_large_is_announced_on_a_terminal(folder):
    frame = log_frame()
    blown_up = frame.with_columns(pl.Series("junk", [os.urandom(5).hex()] * len(frame)))
    blown_up.write_csv(folder / "table.csv")
    script = (
        "import sys; from counterfolio.cli import inputs, app\n"
        "inputs.LARGE = 1000\nsys.exit(app.main(sys.argv[1:]))"
    )
    args = ("evaluate", "table.csv", *POLICY)
    command = [sys.executable, "-c", script, *args]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    ours, theirs = pty.openpty()
    shown = []

    def listen():
        while True:
            try:
                shown.append(os.read(ours, 4096))
            except OSError:
                return

    reader = threading.Thread(target=listen, daemon=True)
    reader.start()
    again = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=theirs, check=False
    )
    os.close(theirs)
    reader.join(10)
    os.close(ours)
    assert again.stdout == done.stdout
    assert b"counterfolio: reading table.csv" in b"".join(shown)
