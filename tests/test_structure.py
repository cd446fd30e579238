"""What is where: imports go one way, and each door is in one file."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "counterfolio"
DOOR_IN, DOOR_OUT = "arrow", "enter.rs"

#: Each row may import from the rows before it, and from no other.
ORDER = [
    {"_core"},
    {"exceptions", "text", "progress"},
    {"arguments", "slope"},
    {"sources", "dense", "files", "estimators", "formats", "threads"},
    {"reading", "episodes", "states"},
    {"loggers"},
    {"roles", "findings"},
    {"calibration", "segments", "propensity_columns"},
    {"rows"},
    {"validation"},
    {"log"},
    {"loading", "policies"},
    {"adapters"},
    {"models", "estimator_inputs"},
    {"preparation", "learners"},
    {"uncertainty", "return_statistics"},
    {"simulate"},
    {"intervals", "selection", "display", "verdict", "ranking"},
    {"bandwidth"},
    {"task"},
    {"contrasts", "resampling", "prediction"},
    {"portfolio", "delta"},
    {"diagnostics"},
    {"plots"},
    {"summary", "assumptions"},
    {"assessment"},
    {"report"},
    {"evaluated", "evaluation_files", "estimator_part"},
    {"evaluation"},
    {"evaluations_files"},
    {"evaluations"},
    {"assessments"},
    {"assessing"},
    {"distribution_values", "distribution_bounds"},
    {"distribution"},
    {"estimation", "distribution_estimation"},
    {"estimator_selection", "many"},
    {"experiments"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
ROW = {name: i for i, row in enumerate(ORDER) for name in row}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from (other, *statements(other))
        else:
            yield from (child, *statements(child))


def imports(source: str) -> set[str]:
    """Modules of the package that a source imports; what no module is comes from __init__."""
    found = set()
    for node in statements(ast.parse(source)):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{name}" for name in names] if module == "counterfolio" else [module]
            names = [f"counterfolio.{name}" for name in names] if node.level else names
        for name in names:
            package, _, module = name.partition(".")
            if package == "counterfolio":
                module = module.split(".")[0]
                found.add(module if module in ROW else "__init__")
    return found


def test_how_imports_are_found():
    for source, wanted in (
        ("import counterfolio.log", {"log"}),
        ("import counterfolio as cf", {"__init__"}),
        ("from counterfolio import _core, evaluate", {"_core", "__init__"}),
        ("from counterfolio.log import LoggedData", {"log"}),
        ("from .log import LoggedData", {"log"}),
        ("def f():\n    from counterfolio import policies", {"policies"}),
        (
            "if TYPE_CHECKING:\n    import counterfolio.log\nelse:\n    import counterfolio.text",
            {"text"},
        ),
        ("import polars.counterfolio", set()),
    ):
        assert imports(source) == wanted, source


def files(module: str) -> list[Path]:
    """The files of a module: one, or those of a folder."""
    folder = PACKAGE / module
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{module}.py"]


def test_every_module_has_its_row():
    parts = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    assert {Path(part).stem for part in parts} | {"_core"} == set(ROW)


@pytest.mark.parametrize("module", [name for name in ROW if name != "_core"])
def test_imports_go_one_way(module):
    used = set().union(*(imports(path.read_text("utf-8")) for path in files(module)))
    wrong = {name for name in used - {module} if ROW[name] >= ROW[module]}
    assert not wrong
    assert module not in used or len(files(module)) > 1


# Rust.


def rust(crate: str) -> dict[str, str]:
    folder = ROOT / "rust" / crate / "src"
    found = {p.relative_to(folder).as_posix(): p.read_text("utf-8") for p in folder.rglob("*.rs")}
    assert len(found) > 5
    # Comments may name what code may not.
    return {name: re.sub(r"//.*", "", text) for name, text in found.items()}


def test_the_core_knows_neither_python_nor_arrow():
    """Not even through what it depends on."""
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text("utf-8"))["package"]
    depends = {p["name"]: [d.split()[0] for d in p.get("dependencies", [])] for p in packages}
    reached, ahead = set(), ["counterfolio-core"]
    while ahead:
        name = ahead.pop()
        ahead += [d for d in depends[name] if d not in reached]
        reached.add(name)
    foreign = re.compile(r"^(pyo3|arrow|numpy|ndarray|polars)")
    assert not list(filter(foreign.match, reached))
    manifest = tomllib.loads((ROOT / "rust" / "core" / "Cargo.toml").read_text("utf-8"))
    for table in ("dependencies", "dev-dependencies", "build-dependencies"):
        assert not list(filter(foreign.match, manifest.get(table, {})))
    for name, text in rust("core").items():
        assert not re.search(r"\b(pyo3|arrow_\w+|numpy|ndarray)::", text), name


def test_classes_are_frozen():
    """Python's threads may share them without a lock."""
    classes = [
        x for text in rust("py").values() for x in re.findall(r"#\[pyclass\b.*?\]", text, re.S)
    ]
    assert len(classes) >= 2
    assert all(re.search(r"\bfrozen\b", attribute) for attribute in classes), classes


def test_one_door_out_of_the_gil():
    found = {
        name for name, text in rust("py").items() if re.search(r"\b(detach|allow_threads)\(", text)
    }
    assert found == {DOOR_OUT}


def test_one_door_in():
    used = {name for name, text in rust("py").items() if re.search(r"\barrow_[a-z]+\b", text)}
    assert used
    assert all(Path(name).parts[0] in (DOOR_IN, f"{DOOR_IN}.rs") for name in used), used


# What is said of it.


HEAVY = (
    *("pandas", "pyarrow", "matplotlib", "jinja2", "typer", "rich"),
    *("sklearn", "gymnasium", "scipy", "duckdb", "torch", "onnxruntime"),
)
USE = """
import sys
import numpy as np
import counterfolio as cf
heavy = set(sys.argv[1].split(","))
print(sorted(heavy & set(sys.modules)))
data = {"action": np.zeros(9), "reward": np.arange(9.0), "propensity": np.full(9, 0.5)}
evaluation = cf.evaluate(cf.LoggedData.from_frame(data), {"new": np.full(9, 0.25)})
repr(evaluation), evaluation._repr_html_()
evaluation.ranking("tis"), evaluation.portfolio(1, "tis")
print(sorted(heavy & set(sys.modules)))
"""


def test_nothing_heavy_is_imported():
    """Neither by the import nor by an evaluation."""
    command = [sys.executable, "-c", USE, ",".join(HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n[]\n", done.stdout + done.stderr


def test_no_file_names_a_place_on_somebodys_machine():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    command = [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    place = re.compile(rb"(?<![\w.])/(?:root|work|tmp|home)\b")
    found = []
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            lines = enumerate(content.splitlines(), 1)
            found += [f"{name}:{i}" for i, line in lines if place.search(line)]
    assert found == []


def test_the_page_on_architecture_names_every_file():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    core = ROOT / "rust" / "core" / "src"
    files = [*core.glob("*.rs"), *core.glob("terms/*.rs"), *PACKAGE.glob("*.py")]
    names = {str(path.relative_to(core if path.suffix == ".rs" else PACKAGE)) for path in files}
    unnamed = {"lib.rs", "error.rs", "terms/mod.rs", "__init__.py", "__main__.py", "exceptions.py"}
    assert [name for name in sorted(names - unnamed) if name not in page] == []
