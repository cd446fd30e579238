"""Every block of code in the documentation runs, and prints what stands below it.

Blocks called python and sh run, page by page and in order, in an empty folder. What a `text` block
right below one of them shows is what it prints; an sh block without one succeeds, unless that text
is an error of the command line. Blocks called bash are installations, which the check of the wheel
does.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_log import ENVIRONMENT

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n*^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, str | None]]:
    """Kind, code and the text below it of each block to run."""
    found = [match.groups() for match in BLOCK.finditer(page.read_text("utf-8"))]
    # make demo, make test: what CI itself is made of.
    return [x for x in found if x[0] in ("python", "sh") and not x[1].startswith("make ")]


@pytest.fixture
def run(tmp_path):
    """Runs blocks in an empty folder in which `counterfolio` is this one."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script = tools / "counterfolio"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m counterfolio "$@"\n')
    script.chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir()
    env = ENVIRONMENT | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}

    def call(code):
        done = subprocess.run(
            [sys.executable, ROOT / "tests" / "docs_run.py"],
            cwd=folder,
            env=env,
            input=json.dumps(code),
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), folder

    return call


def lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines())


@pytest.mark.skipif(os.name != "posix", reason="no POSIX shell")
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.name)
def test_blocks(page, run):
    found = blocks(page)
    said, _ = run([(kind, code) for kind, code, _ in found])
    for (kind, code, below), (out, status) in zip(found, said, strict=True):
        fails = below is not None and below.startswith(("counterfolio: error", "Traceback"))
        assert (status != 0) == fails, f"{code}\n{out}"
        if below is None:
            continue
        if kind == "python" and fails:  # the last line is what a reader looks at
            assert lines(out).splitlines()[-1] == lines(below).splitlines()[-1], code
        else:
            assert lines(out) == lines(below), code


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text("utf-8")
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)]+)\)", text)]
    local = [t for t in targets if t and "://" not in t]
    assert len(local) > 5
    assert [t for t in local if not (ROOT / t).exists()] == []


def test_the_pictures_are_those_that_the_script_draws(tmp_path):
    """By name and text, not by byte: another matplotlib draws the same a little differently."""
    command = [sys.executable, ROOT / "docs" / "pictures.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = {p.name: p.read_text("utf-8") for p in (ROOT / "docs" / "pictures").glob("*.svg")}
    drawn = {p.name: p.read_text("utf-8") for p in tmp_path.glob("*.svg")}
    assert kept.keys() == drawn.keys()
    for name, text in drawn.items():
        words = re.findall(r"<!-- (.*?) -->", text)
        assert words == re.findall(r"<!-- (.*?) -->", kept[name]), name
        assert len(words) > 2
