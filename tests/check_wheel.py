"""Follow the README with a built wheel, in an empty environment.

``python tests/check_wheel.py WHEEL`` makes a virtual environment in a temporary folder outside the
repository, installs the wheel there with nothing but what it declares, and runs the first
``python`` block of ``README.md`` exactly as written; the command line must then say in one line
what it lacks. With the extras it runs every ``python`` block, and every ``sh`` block that calls
``counterfolio``. It needs the standard library only.
"""

import re
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def blocks(readme: Path) -> list[tuple[str, str]]:
    """Return language and text of the fenced blocks to run, in order."""
    text = readme.read_text("utf-8")
    found = re.findall(r"^```(python|sh)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    run = [(kind, b) for kind, b in found if kind == "python" or b.startswith("counterfolio ")]
    if [kind for kind, _ in run[:1]] != ["python"] or "sh" not in [kind for kind, _ in run]:
        sys.exit(f"check-wheel: {readme.name} lacks a ```python or a ```sh block to run")
    return run


def check(wheel: Path, examples: list[tuple[str, str]], folder: Path) -> None:
    """Install the wheel into a new environment in the folder and run the examples there."""
    venv.create(folder / "venv", with_pip=True)
    # -I: neither PYTHONPATH nor the folder's own files can stand in for the installed package.
    python = (folder / "venv" / "bin" / "python", "-I")
    pip = (*python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    command = folder / "venv" / "bin" / "counterfolio"

    def run(*call: str | Path) -> None:
        subprocess.run(call, cwd=folder, check=True, stdin=subprocess.DEVNULL)

    def run_python(*code: str) -> None:
        (folder / "example.py").write_text("\n".join(code), "utf-8")
        run(*python, "example.py")

    run(*pip, "install", wheel)
    print(f"{wheel.name} brings:", flush=True)
    run(*pip, "freeze", "--exclude", "counterfolio")
    run(*pip, "check")
    print("\nThe README's first example prints:", flush=True)
    run_python(examples[0][1])
    print("\nThe command line, without its extra:", flush=True)
    bare = subprocess.run([command, "--version"], cwd=folder, capture_output=True, text=True)
    print(bare.stderr, end="", flush=True)
    if bare.returncode != 2 or bare.stderr.count("\n") != 1 or "[cli]" not in bare.stderr:
        sys.exit("check-wheel: it should have named the extra in one line, with status 2")
    run(*pip, "install", f"{wheel}[cli,report,models]")
    print("\nWith the extras the README's examples print:", flush=True)
    run_python(*(text for kind, text in examples if kind == "python"))
    for line in (line for kind, text in examples if kind == "sh" for line in text.splitlines()):
        print(f"\n$ {line}", flush=True)
        run(command, *shlex.split(line)[1:])
    size = (folder / "report.html").stat().st_size
    print(f"\nreport.html: {size:,} bytes")


def main() -> None:
    """Read the command line, keep the folder outside the repository, report what failed."""
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/check_wheel.py WHEEL")
    wheel = Path(sys.argv[1]).resolve(strict=True)
    examples = blocks(REPOSITORY / "README.md")
    with tempfile.TemporaryDirectory(prefix="check-wheel-") as name:
        folder = Path(name).resolve()
        if folder.is_relative_to(REPOSITORY):
            sys.exit(f"check-wheel: {folder} lies in the repository; set TMPDIR to another place")
        try:
            check(wheel, examples, folder)
        except subprocess.CalledProcessError as error:
            command = " ".join(map(str, error.cmd))
            sys.exit(f"check-wheel: status {error.returncode} from {command}")


if __name__ == "__main__":
    main()
