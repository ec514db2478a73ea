"""The examples run as they stand, and leave runs behind."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tracker.testing import read_runs

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def _imported(example: Path) -> set[str]:
    """Answer what it imports, at the top of it or further in."""
    names = set()
    for node in ast.walk(ast.parse(example.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@functools.cache
def _is_usable(name: str) -> bool:
    """Ultralytics needs torchvision, whose wheels load only beside the torch that they were built for."""
    if find_spec(name) is None:
        return False
    return (
        name != "ultralytics"
        or not subprocess.run([sys.executable, "-c", "import torchvision"], stderr=subprocess.DEVNULL).returncode
    )


def _runnable(example: Path) -> object:
    missing = sorted(name for name in _imported(example) if not _is_usable(name))
    mark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")
    return pytest.param(example, id=example.stem, marks=mark)


@pytest.mark.parametrize("example", [_runnable(example) for example in EXAMPLES])
def test_an_example_runs_and_leaves_finished_runs(example: Path, home: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr

    runs = read_runs(home / "runs")
    assert runs
    assert {run["status"] for run in runs} == {"finished"}
    assert all(run["history"] for run in runs)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(example: Path) -> None:
    lines = example.read_text(encoding="utf-8").splitlines()

    assert len(lines) <= (30 if example.stem == "quickstart" else 60)
