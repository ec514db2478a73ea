"""What the examples say they log, they log."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tracker.core.query import Run as ReadRun

EXAMPLES = Path(__file__).parents[3] / "examples"
Read = Callable[[], list[ReadRun]]
Script = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_fit(script: Script, read: Read) -> None:
    done = script((EXAMPLES / "sklearn_fit.py").read_text(encoding="utf-8"))
    (run,) = read()

    assert f"accuracy {run.summary['test/score']}" in done.stdout
    assert f"f1 {run.summary['test/f1_score_macro']}" in done.stdout
    assert {"test/confusion_matrix", "roc", "feature_importance", "train/n_iter"} <= set(run.summary)
    assert len(run.logged_artifacts()) == 1


def test_a_search(script: Script, read: Read) -> None:
    done = script((EXAMPLES / "sklearn_search.py").read_text(encoding="utf-8"))

    assert sorted(str(run.job_type) for run in read()) == ["candidate"] * 3 + ["search"]
    assert done.stdout.count("candidate") == 3
