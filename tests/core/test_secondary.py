"""One run written by several processes: the primary one says what it is and how it ends, others add to it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tracker
from tracker.core.history import read_run

SETTINGS = {"silent": True, "console": "off"}
ATTACH = """
import tracker
run = tracker.attach()
print(None if run is None else (run.path, run.name, tracker.attach() is run, tracker.run is run))
if run is not None:
    run.config.update({"child": {"lr": 0.5}})
    run.log({"loss": 0.25}, step=7)
"""


@pytest.fixture(autouse=True)
def _marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def _child(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "TRACKER_CONSOLE": "off", **environment}, capture_output=True,
        text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def _marks_in(folder: Path) -> list[Path]:
    return list(folder.rglob("run~*"))


def test_a_child_knows_where_the_run_stands(tmp_path: Path) -> None:
    """Its own rows, and samples of the machine, do not count."""
    code = "import tracker; run = tracker.attach(); run.log({'loss': 1.0}, step=50); print(run.starting_step, run.step)"
    run = tracker.init(project="digits", dir=tmp_path / "runs", settings=SETTINGS)
    assert _child(code.replace("run.log({'loss': 1.0}, step=50); ", "")) == "0 0"
    run.log({"loss": 0.5}, step=6)
    run.log({"loss": 0.5}, step=2.5)
    assert _child(code) == "7 50"
    assert _child(code.replace("50", "9")) == "51 9"
    run.finish()


def test_a_child_writes_to_the_run_of_the_process_that_started_it(tmp_path: Path) -> None:
    run = tracker.init(project="digits", name="first", dir=tmp_path / "elsewhere", settings=SETTINGS)
    run.log({"loss": 0.5}, step=6)
    said = _child(ATTACH)
    is_open = read_run(run.folder).state
    run.finish()
    read = read_run(run.folder)

    assert said == str((run.path, "first", True, True))
    assert is_open == "running"  # the child's end is not the run's
    assert read.state == "finished"
    assert [(row.step, row.values) for row in read.rows] == [(6, {"loss": 0.5}), (7, {"loss": 0.25})]
    assert read.config["child"] == {"lr": 0.5}
    assert read.fields["pid"] == os.getpid()


def test_a_grandchild_too_and_what_dies_there_ends_nothing(tmp_path: Path) -> None:
    grandchild = "import tracker; tracker.attach().log({'deep': 1}, step=1); raise SystemExit(3)"
    run = tracker.init(project="digits", settings=SETTINGS)
    _child(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])")
    state = read_run(run.folder).state
    run.finish()

    assert state == "running"
    assert [row.values for row in read_run(run.folder).rows] == [{"deep": 1}]


def test_without_a_run_above_there_is_nothing_to_attach_to() -> None:
    assert _child(ATTACH) == "None"
    run = tracker.init(project="digits", settings=SETTINGS)
    run.release()  # its training is over: another one has a run of its own
    released = _child(ATTACH)
    run.hold()
    disabled = _child(ATTACH, TRACKER_MODE="disabled")
    run.finish()

    assert (released, disabled, _child(ATTACH)) == ("None", "None", "None")


WHAT_IT_IS = """(
    __import__("tracker").is_worker(),
    getattr(__import__("tracker").attach(anywhere=False), "id", None),
)"""


def test_a_process_of_multiprocessing_knows_whether_it_works_for_a_training() -> None:
    """A program of its own is none, whoever has started it."""
    context = multiprocessing.get_context("spawn")
    run = tracker.init(project="digits", settings=SETTINGS)
    answers = []
    for change in (lambda: None, run.hold, run.rest):
        change()
        with context.Pool(1) as pool:
            answers.append(pool.apply_async(eval, [WHAT_IT_IS]).get(60))  # by name: no module of ours to be found
    run.hold()
    program = _child("import tracker; print(tracker.is_worker(), tracker.attach(anywhere=False))")
    run.finish()

    assert answers == [(False, run.id), (True, run.id), (False, run.id)]
    assert program == "False None"


def test_marks_come_and_go_with_runs(tmp_path: Path) -> None:
    first = tracker.init(project="digits", settings=SETTINGS)
    second = tracker.init(project="digits", settings=SETTINGS, reinit="create_new")
    assert len(_marks_in(tmp_path)) == 1
    assert _child("import tracker; print(tracker.attach().id)") == second.id
    second.finish()
    assert _child("import tracker; print(tracker.attach().id)") == first.id
    first.finish()
    assert _marks_in(tmp_path) == []


def test_the_mark_of_a_killed_process_means_nothing_and_is_swept(tmp_path: Path) -> None:
    code = "import tracker, os; tracker.init(settings={'silent': True, 'console': 'off'}); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code])
    assert len(_marks_in(tmp_path)) == 1
    tracker.init(settings=SETTINGS).finish()
    assert _marks_in(tmp_path) == []


def test_a_forked_child_has_a_mark_of_its_own(tmp_path: Path) -> None:
    run = tracker.init(project="digits", settings=SETTINGS)
    pid = os.fork()
    if pid == 0:
        try:
            own = tracker.init(project="own", settings=SETTINGS, reinit="create_new")
            is_right = len(_marks_in(tmp_path)) == 2 and _child("import tracker; print(tracker.attach().id)") == own.id
            own.finish()
            os._exit(0 if is_right else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert _child("import tracker; print(tracker.attach().id)") == run.id
    run.finish()


def test_a_folder_that_is_not_ours_is_not_believed(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    run = tracker.init(project="digits", settings=SETTINGS)
    (folder,) = {mark.parent for mark in _marks_in(tmp_path)}
    os.chown(folder, 12345, -1)
    said = _child(ATTACH)
    os.chown(folder, 0, -1)
    run.finish()

    assert said == "None"


SHARED = """
import tracker
run = tracker.init(id="shared", project="digits", settings=tracker.Settings(mode="offline", x_primary=False, x_label="rank1"))
run.log({"other": 2.0}, step=1)
run.finish()
"""


@pytest.mark.parametrize("is_first", [False, True])
def test_w_and_b_s_shared_mode(is_first: bool) -> None:
    """The secondary process may be there before the primary one."""
    if is_first:
        _child(SHARED)
    run = tracker.init(id="shared", project="digits", config={"lr": 1}, settings=SETTINGS)
    run.log({"loss": 1.0}, step=0)
    if not is_first:
        _child(SHARED)
    during = read_run(run.folder).state
    run.finish()
    read = read_run(run.folder)

    assert (during, read.state, read.config["lr"], run.resumed) == ("running", "finished", 1, False)
    assert sorted((row.step, row.values) for row in read.rows) == [(0, {"loss": 1.0}), (1, {"other": 2.0})]


def test_a_secondary_process_wants_to_know_the_run() -> None:
    with pytest.raises(tracker.UsageError, match=r"give its id.*No process above"):
        tracker.init(settings={"x_primary": False, **SETTINGS})
