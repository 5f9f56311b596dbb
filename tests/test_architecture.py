"""The import arrows of docs/architecture.md, walked on the syntax tree."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "pgpis"

LEAVES = {
    *(
        "aliases",
        "batch",
        "caches",
        "cluster",
        "devices",
        "errors",
        "files",
        "interrupts",
        "jobs",
        "lazy",
        "pictures",
        "refusals",
        "unpickle",
    ),
    "weight_files",
}
ALLOWED = {
    **dict.fromkeys(LEAVES, LEAVES),
    "models": LEAVES,
    "metrics": LEAVES,
    "data": LEAVES,
    "synth": LEAVES | {"data"},
    "predictions": LEAVES,
    "preprocess": LEAVES | {"data", "models"},
    "denoiser": LEAVES | {"models"},
    "pipelines": LEAVES | {"denoiser", "models"},
    "convert": LEAVES | {"denoiser", "models"},
    "tasks": LEAVES | {"denoiser", "models", "pipelines", "metrics", "predictions"},
    "methods": LEAVES | {"convert", "denoiser", "models", "pipelines", "metrics", "tasks"},
    "speed": LEAVES | {"data", "denoiser", "tasks"},
    "studio": LEAVES | {"data", "pipelines", "predictions", "preprocess", "tasks"},
    "app": LEAVES | {"predictions", "preprocess", "studio", "synth"},
    "service": LEAVES | {"predictions", "preprocess", "studio"},
    "evaluate": LEAVES | {"data", "metrics", "preprocess", "synth"},
    "cli": LEAVES
    | {
        "app",
        "convert",
        "data",
        "evaluate",
        "methods",
        "metrics",
        "models",
        "pipelines",
        "predictions",
        "preprocess",
        "service",
        "speed",
        "studio",
        "synth",
        "tasks",
    },
    "__main__": {"cli"},
    "__init__": {"aliases"},
}


def room(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module and node.module.startswith("pgpis"):
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names} - {"__version__"}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pgpis.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return rooms


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    own = room(path)
    assert own in ALLOWED, f"{own} is not a room of docs/architecture.md"
    upward = imported_rooms(path) - ALLOWED[own] - {own}
    assert not upward, f"{path.name} ({own}) may not import {sorted(upward)}"


SYNTH = SOURCE / "synth"
SYNTH_ROOMS = {"figure": set(), "scene": {"figure"}, "files": {"figure", "scene"}}


@pytest.mark.parametrize("path", sorted(SYNTH.glob("*/*.py")), ids=lambda path: str(path.relative_to(SYNTH)))
def test_imports_point_down_within_synth(path):
    own = path.parent.name
    modules = [node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    rooms = {module.split(".")[2] for module in modules if module.startswith("pgpis.synth.")}
    upward = rooms - SYNTH_ROOMS[own] - {own}
    assert not upward, f"{path.name} ({own}) may not import {sorted(upward)}"


LIGHT = (
    (["pgpis.cli"], "jsonargparse"),
    (
        [
            "pgpis.cli",
            "pgpis.cli.recipes",
            "pgpis.preprocess.settings",
            "pgpis.pipelines.shipped",
            "pgpis.data.names",
            "pgpis.synth.files.dataset",
            "pgpis.synth.files.triples",
        ],
        "torch",
    ),
    (["pgpis.preprocess.stages"], "torchvision"),
    (["pgpis.models", "pgpis.pipelines", "pgpis.metrics", "pgpis.cli.prepare"], "lightning"),
)
"""Modules and what they may not load, in the order in which one process can import them all."""


@pytest.mark.slow
def test_imports_stay_light():
    """Each worker would pay for a library with seconds and memory, and each ``--help`` with seconds."""
    code = (
        f"import importlib, sys\nfor modules, unwanted in {LIGHT}:\n    for name in modules:\n"
        "        importlib.import_module(name)\n"
        "        if unwanted in sys.modules: sys.exit(f'{name} loads {unwanted}')"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_test_files_have_names_of_their_own():
    """Without packages pytest imports a test file by its bare name: of two with one name the second is an error."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py")

    assert [name for name, count in names.items() if count > 1] == []
