"""What the example says it logs, it logs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tracker.core.query import Run as ReadRun

EXAMPLE = Path(__file__).parents[3] / "examples" / "optuna_study.py"


def test_a_study(script: Callable[..., subprocess.CompletedProcess[str]], read: Callable[[], list[ReadRun]]) -> None:
    done = script(EXAMPLE.read_text(encoding="utf-8"))
    trials = [run for run in read() if run.job_type == "trial"]
    pruned = [run for run in trials if "pruned" in run.tags]

    assert len(trials) == 12
    assert {run.state for run in read()} == {"finished"}
    assert all(run.summary["trial_state"] == "PRUNED" for run in pruned)
    assert f"{len(pruned)} of 12 were pruned" in done.stdout
    assert all(len(list(run.scan_history(keys=["loss"]))) >= 1 for run in trials)
