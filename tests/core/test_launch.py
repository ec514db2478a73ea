"""The run that processes share which were launched together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tracker
from tracker.core import launch
from tracker.core.history import read_run

RANKS = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
ELASTIC = {**RANKS, "TORCHELASTIC_RUN_ID": "job-7", "TORCHELASTIC_RESTART_COUNT": "0"}
SETTINGS = {"silent": True, "console": "off"}
TRAIN = """
import os, tracker
run = tracker.init(project="digits", settings={"silent": True, "console": "off"})
run.log({"restarts": int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))})
print(run.id, flush=True)
"""


def _rank(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _as_a_new_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(launch, "_trainings", 0)
    monkeypatch.setattr(launch, "_samples", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.mark.parametrize(("environ", "expected"), [
    ({}, None),
    ({"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "job"}, None),
    ({"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "job", "TORCHELASTIC_RESTART_COUNT": "0"}, "torchelastic job"),
    ({"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "job"}, "torchelastic job"),
    ({"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}, None),
    ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "8", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}, "slurm None 8.0"),
    ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "8", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"}, None),
    ({"SLURM_JOB_ID": "8"}, None),  # the batch script's own programs, one after the other
    ({"PMI_SIZE": "2"}, None),
])  # fmt: skip
def test_what_tells_a_launch_from_all_others(environ: dict[str, str], expected: str | None) -> None:
    assert launch.identity(environ) == expected


@pytest.mark.parametrize(
    "sizes", [("WORLD_SIZE", "LOCAL_WORLD_SIZE"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE")]
)
def test_on_one_machine_it_is_the_process_that_launches(sizes: tuple[str, str]) -> None:
    named = launch.identity(dict.fromkeys(sizes, "2"))

    assert named is not None
    assert named.startswith("agent ")
    assert f" {os.getppid()} " in named


def test_a_rank_that_is_started_again_goes_on_with_its_run(home: Path) -> None:
    """Elastic training, and a job that is requeued: one run, whatever the first process died of."""
    killed = TRAIN + "os.kill(os.getpid(), 9)"
    first = _rank(killed, **ELASTIC)
    again = _rank(TRAIN, **{**ELASTIC, "TORCHELASTIC_RESTART_COUNT": "1"})
    read = read_run(home / "runs/local/digits" / first)

    assert again == first
    assert [row.values["restarts"] for row in read.rows] == [0, 1]
    assert read.state == "finished"


def test_a_launch_of_the_same_name_begins_another_run() -> None:
    """Tutorials have `--rdzv-id=100`, and people run them twice."""
    first, second = _rank(TRAIN, **ELASTIC), _rank(TRAIN, **ELASTIC)
    again = _rank(TRAIN, **{**ELASTIC, "TORCHELASTIC_RESTART_COUNT": "1"})

    assert first != second
    assert again == second


def test_each_training_of_a_process_has_a_run() -> None:
    twice = TRAIN + "run.finish()" + TRAIN
    first = _rank(twice, **ELASTIC).split()
    again = _rank(twice, **{**ELASTIC, "TORCHELASTIC_RESTART_COUNT": "2"}).split()

    assert len(set(first)) == 2
    assert again == first


def test_what_rank_0_starts_is_not_rank_0() -> None:
    """Children have its environment; they do not write its run as if it was theirs."""
    code = TRAIN + "import subprocess, sys\nif not sys.argv[1:]: subprocess.run([sys.executable, '-c', CODE, 'child'])"
    for count in ("0", "1"):
        parent, child = _rank(f"CODE = {TRAIN!r}\n{code}", **{**ELASTIC, "TORCHELASTIC_RESTART_COUNT": count}).split()
        assert parent != child


def test_ranks_agree_before_there_is_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import tracker; print(tracker.launched_id(project='digits'))"
    ids = {_rank(code, **{**ELASTIC, "RANK": rank}) for rank in "0123"}
    first = ids.pop()

    assert ids == set()
    assert _rank(TRAIN, **ELASTIC) == first
    assert _rank(code) == "None"


def test_what_is_said_rules() -> None:
    named = TRAIN.replace('project="digits"', 'project="digits", id="mine"')

    assert _rank(named, **ELASTIC) == "mine"
    assert _rank(TRAIN, **ELASTIC, TRACKER_RUN_ID="yours") == "yours"


SAMPLE = """
import sys, threading, tracker
tracker.sample_node(project="digits")
print([thread.name for thread in threading.enumerate() if thread.name == "tracker-node"], tracker.run, flush=True)
sys.stdin.readline()
"""
NODE_1 = {
    **ELASTIC,
    "RANK": "2",
    "GROUP_RANK": "1",
    "TRACKER_X_DISABLE_STATS": "0",
    "TRACKER_X_STATS_SAMPLING_INTERVAL": "0.1",
}


def test_another_node_adds_its_samples_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process of the other node has no run of its own, and may be there before rank 0 has one."""
    other = subprocess.Popen(
        [sys.executable, "-c", SAMPLE],
        env={**os.environ, **NODE_1},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    said = other.stdout.readline()
    for name, value in ELASTIC.items():
        monkeypatch.setenv(name, value)
    run = tracker.init(project="digits", settings=SETTINGS)
    limit = time.monotonic() + 60
    while not read_run(run.folder).samples and time.monotonic() < limit:
        time.sleep(0.1)
    other.communicate("\n")
    during = read_run(run.folder).state
    run.log({"loss": 1.0})
    run.finish()
    read = read_run(run.folder)

    assert said == "['tracker-node'] None\n"
    assert read.samples
    assert all(key.startswith("system/node1/") for row in read.samples for key in row.values)
    assert [row.values for row in read.rows] == [{"loss": 1.0}]
    assert (during, read.state, read.fields["pid"]) == ("running", "finished", os.getpid())


@pytest.mark.parametrize("changed", [
    {"RANK": "0"}, {"RANK": "1", "LOCAL_RANK": "1"}, {"RANK": "3", "LOCAL_RANK": "1", "GROUP_RANK": "1"},
    {"TRACKER_MODE": "disabled"}, {"TRACKER_X_DISABLE_STATS": "1"}, {"TORCHELASTIC_RUN_ID": "none"},
])  # fmt: skip
def test_nobody_else_does(changed: dict[str, str]) -> None:
    code = SAMPLE.replace("sys.stdin.readline()", "")

    assert _rank(code, **{**NODE_1, **changed}) == "[] None"
