"""The examples run as they stand, and leave runs behind."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tracker.testing import read_runs

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
WANTS = {"torch_watch": "torch"}  # a framework that is not there everywhere


def _runnable(example: Path) -> object:
    wanted = WANTS.get(example.stem)
    is_missing = wanted is not None and find_spec(wanted) is None
    mark = pytest.mark.skipif(is_missing, reason=f"{wanted} is not installed")
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
