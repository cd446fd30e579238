"""Run the README's first example against a built wheel, in an empty environment.

``python tests/check_wheel.py WHEEL`` makes a virtual environment in a temporary folder outside the
repository, installs the wheel there with nothing but what it declares, and runs the first
``python`` block of ``README.md`` exactly as written. It needs the standard library only.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def first_example(readme: Path) -> str:
    """Return the text of the first fenced ``python`` block."""
    text = readme.read_text("utf-8")
    block = re.search(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    if block is None:
        sys.exit(f"check-wheel: {readme.name} has no ```python block to run")
    return block[1]


def check(wheel: Path, example: str, folder: Path) -> None:
    """Install the wheel into a new environment in the folder and run the example there."""
    venv.create(folder / "venv", with_pip=True)
    # -I: neither PYTHONPATH nor the folder's own files can stand in for the installed package.
    python = (folder / "venv" / "bin" / "python", "-I")
    pip = (*python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    (folder / "example.py").write_text(example, "utf-8")

    def run(*command: str | Path) -> None:
        subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL)

    run(*pip, "install", wheel)
    print(f"{wheel.name} brings:", flush=True)
    run(*pip, "freeze", "--exclude", "counterfolio")
    run(*pip, "check")
    print("\nThe README's first example prints:", flush=True)
    run(*python, "example.py")


def main() -> None:
    """Read the command line, keep the folder outside the repository, report what failed."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/check_wheel.py WHEEL")
    wheel = Path(sys.argv[1]).resolve(strict=True)
    example = first_example(REPOSITORY / "README.md")
    with tempfile.TemporaryDirectory(prefix="check-wheel-") as name:
        folder = Path(name).resolve()
        if folder.is_relative_to(REPOSITORY):
            sys.exit(f"check-wheel: {folder} lies in the repository; set TMPDIR to another place")
        try:
            check(wheel, example, folder)
        except subprocess.CalledProcessError as error:
            command = " ".join(map(str, error.cmd))
            sys.exit(f"check-wheel: status {error.returncode} from {command}")


if __name__ == "__main__":
    main()
