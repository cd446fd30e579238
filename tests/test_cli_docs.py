"""What docs/command-line.md shows is what happens."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_log import ENVIRONMENT

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def shell(tmp_path):
    """A POSIX shell in an empty folder in which `counterfolio` is this one."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script = tools / "counterfolio"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m counterfolio "$@"\n')
    script.chmod(0o755)
    folder = tmp_path / "folder"
    folder.mkdir()
    env = ENVIRONMENT | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}

    def run(*command):
        return subprocess.run(
            command,
            cwd=folder,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    return run


@pytest.mark.skipif(os.name != "posix", reason="no POSIX shell")
def test_every_block_of_the_page(shell):
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    assert {kind for kind, _ in blocks} == {"bash", "python", "sh", "text"}
    for i, (kind, block) in enumerate(blocks):
        if kind == "python":
            assert shell(sys.executable, "-c", block).returncode == 0
        if kind != "sh":
            continue
        done = shell("sh", "-e", "-c", block)
        wanted = blocks[i + 1]
        assert wanted[0] == "text", block
        assert done.stdout.rstrip() == wanted[1].rstrip(), block
        assert done.returncode == (2 if "counterfolio: error" in done.stdout else 0), block
