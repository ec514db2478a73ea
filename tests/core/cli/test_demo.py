"""`tracker demo`: real training, a real dashboard."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracker import Api
from tracker.core.demo.digits import trials
from tracker.testing import read_runs

from .conftest import Tracker

pytest.importorskip("sklearn")


def test_the_demo_trains_really(home: Path, call: Tracker) -> None:
    """Losses fall, digits are read, and each run keeps its hyperparameters."""
    code, out, _ = call("demo", "--no-ui", "--runs", "2", "--epochs", "5")
    runs = read_runs(home / "runs")

    assert code == 0
    assert "2 runs of 5 epochs" in out
    assert [run["status"] for run in runs] == ["finished", "finished"]
    assert len({json.dumps(run["config"]) for run in runs}) == 2
    for run in runs:
        losses = [row["train/loss"] for row in run["history"] if "train/loss" in row]
        assert len(losses) == 5
        assert losses[-1] < losses[0]
        assert run["summary"]["val/accuracy"] > 0.7
        assert sum("batch/loss" in row for row in run["history"]) > 100


def test_a_run_of_the_demo_explains_itself(tmp_path: Path) -> None:
    """What it printed, what the machine did, and what would run it again are there, with nothing done for it."""
    command = [sys.executable, "-m", "tracker.core.cli", "demo", "--no-ui", "--runs", "1", "--dir", str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "TRACKER_X_DISABLE_STATS"}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    with Api(dir=tmp_path) as api:
        (run,) = api.runs()
        printed = [line.text for line in run.console()]

        assert any("epoch  30/30" in line for line in printed)
        assert {"system/cpu.percent", "system/process.memory_bytes"} <= set(run.system_metrics)
        assert run.metadata["command"]
        assert run.metadata["python"]
        assert "environment/requirements.txt" in {file.name for file in run.files()}


def test_the_dashboard_is_up_while_it_trains(tmp_path: Path) -> None:
    """Curves are seen live; Ctrl+C ends it all."""
    options = ["--runs", "2", "--epochs", "25", "--no-browser", "--port", "0", "--dir", str(tmp_path / "runs")]
    process = subprocess.Popen(
        [sys.executable, "-m", "tracker.core.cli", "demo", *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http"))
        seen = set()
        with Api(base_url=url) as api:
            until = time.monotonic() + 60
            while len(states := [run.state for run in api.runs()]) < 2 or states.count("finished") < 2:
                seen.update((run.id, run.points) for run in api.runs() if run.state == "running")
                assert time.monotonic() < until
                time.sleep(0.1)
        assert len(seen) >= 3  # grown before our eyes
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
        rest = process.stdout.read()
        process.stdout.close()

    assert code == 0
    assert "All runs are done" in rest


def test_without_scikit_learn_the_command_is_told(home: Path, call: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    code, out, err = call("demo")

    assert (code, out) == (1, "")
    assert "pip install scikit-learn" in err


def test_trials_differ() -> None:
    assert len({json.dumps(trial) for trial in trials(50)}) == 50
