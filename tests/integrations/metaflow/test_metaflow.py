"""Metaflow: a real flow, run by its own command, each task in a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.core.query import Run as ReadRun

Script = Callable[..., subprocess.CompletedProcess[str]]
FLOW = """
from metaflow import FlowSpec, Parameter, retry, step

import tracker
from tracker.integrations.metaflow import tracker_log


class Training(FlowSpec):
    rate = Parameter("rate", default=0.5)
    tries = Parameter("tries", default=0)

    @tracker_log(project="flows", tags=["t"])
    @step
    def start(self):
        for number in range(3):
            tracker.log({"loss": self.rate / (number + 1)})
        self.score = 7
        self.notes = ["a", "b"]
        self.thing = object
        self.next(self.fit)

    @retry(times=1, minutes_between_retries=0)
    @tracker_log(project="flows")
    @step
    def fit(self):
        from metaflow import current

        tracker.log({"tried": current.retry_count}, step=current.retry_count)
        if current.retry_count < self.tries:
            raise ValueError("the step is on fire")
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    Training()
"""


def flow(script: Script, tmp_path: Path, *arguments: str, code_expected: int | None = 0) -> None:
    """Run the flow with all that Metaflow keeps in a folder of the test's."""
    script(
        FLOW,
        "run",
        *arguments,
        code_expected=code_expected,
        METAFLOW_DATASTORE_SYSROOT_LOCAL=str(tmp_path / "store"),
        METAFLOW_USER="tester",
        USERNAME="tester",
    )


def test_tasks_are_runs_of_one_group(script: Script, tmp_path: Path, read: Callable[[], list[ReadRun]]) -> None:
    flow(script, tmp_path, "--rate", "0.8")
    start, fit = read()

    assert (start.project, start.state, start.job_type, start.tags) == ("flows", "finished", "start", ["t"])
    assert start.group == fit.group
    assert start.name.startswith("Training/")
    assert [row["loss"] for row in start.scan_history(keys=["loss"])] == pytest.approx([0.8, 0.4, 0.8 / 3])
    assert (start.config["rate"], start.config["metaflow"]["step"]) == (0.8, "start")
    assert (start.summary["score"], start.summary["notes"]) == (7, ["a", "b"])
    assert "thing" not in start.summary


def test_a_task_that_is_tried_again_goes_on_with_its_run(
    script: Script, tmp_path: Path, read: Callable[[], list[ReadRun]]
) -> None:
    """8.1 #10, #14."""
    flow(script, tmp_path, "--tries", "1")
    (fit,) = (run for run in read() if run.job_type == "fit")

    assert fit.state == "finished"
    assert [row["tried"] for row in fit.scan_history(keys=["tried"])] == [0, 1]


def test_a_task_that_fails_is_a_failed_run(script: Script, tmp_path: Path, read: Callable[[], list[ReadRun]]) -> None:
    flow(script, tmp_path, "--tries", "5", code_expected=1)
    (fit,) = (run for run in read() if run.job_type == "fit")

    assert fit.state == "failed"
    assert "the step is on fire" in fit.details["exit"]["reason"]
