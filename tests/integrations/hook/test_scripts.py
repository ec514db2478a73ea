"""Scripts as they are, with a real framework."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .test_processes import train  # noqa: F401 - the fixture

pytest.importorskip("sklearn")

FIT = """
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
x, y = load_iris(return_X_y=True)
model = LogisticRegression(C=0.5, max_iter=300)
"""


def test_tracker_run_logs_a_script_that_knows_nothing_of_it(tmp_path: Path, only_run) -> None:
    (tmp_path / "train.py").write_text(
        FIT + "import sys\nprint(model.fit(x, y).score(x, y) > 0.9, sys.argv[1:])\nsys.exit(5)"
    )
    command = [sys.executable, "-m", "tracker.core.cli", "run", "-p", "iris", "-t", "a,b", "--autolog", "sklearn"]
    done = subprocess.run(
        [*command, "train.py", "--lr", "1"], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )

    run = only_run()
    assert (done.stdout, done.returncode) == ("True ['--lr', '1']\n", 5)
    assert (run.project, sorted(run.tags)) == ("iris", ["a", "b"])
    assert "'C': 0.5" in str(run.config)


def test_a_framework_inside_another_is_part_of_its_run(train, only_run) -> None:  # noqa: F811
    train(FIT + "somelearn.train(lambda: model.fit(x, y).predict(x))")

    assert only_run().summary["loss"] == 0.5


def test_a_users_own_tracker_py_beside_the_script_is_the_scripts(tmp_path: Path, script, read) -> None:
    (tmp_path / "tracker.py").write_text("def follow(x): return len(x)\n")
    done = script(FIT + "import tracker\nprint(tracker.follow(model.fit(x, y).predict(x)))", TRACKER_AUTOLOG="sklearn")

    assert (done.stdout, read()) == ("150\n", [])
    assert "which is not this package" in done.stderr
