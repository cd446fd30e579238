"""Run the blocks of a Markdown page: read them as JSON, write what each said as JSON.

The python blocks of a page share their names, as cells of a notebook do; sh blocks run in a shell.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import traceback
import warnings


def run_python(code: str, names: dict[str, object]) -> tuple[str, int]:
    """Run a block: what it prints, with the traceback if it raises, and a status."""
    out = io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out):
        try:
            exec(compile(code, "<page>", "exec"), names)
        except ValueError:  # ours; a page shows no other, and any other ends the run
            status = 1
            out.write(traceback.format_exc())
    return out.getvalue(), status


def run_shell(code: str) -> tuple[str, int]:
    """Run a block; both streams as one."""
    done = subprocess.run(
        ["sh", "-e", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.stdout, done.returncode


def main() -> None:
    """Answer with a list of [output, status], one to a block."""
    warnings.simplefilter("error")
    names: dict[str, object] = {"__name__": "__main__"}
    said = [
        run_python(code, names) if kind == "python" else run_shell(code)
        for kind, code in json.load(sys.stdin)
    ]
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
