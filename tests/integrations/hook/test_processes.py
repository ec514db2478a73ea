"""Autologging in programs of several processes: one training is one run, wherever its parts are."""

from __future__ import annotations

from pathlib import Path

import pytest

FRAMEWORK = """
def train(work=None, step=0):
    return work() if work else step

def score():
    return 1.0
"""
PATCHES = """
import os
from tracker.integrations import patching
from tracker.integrations.base import Session

sessions = []

def autolog(module):
    def training(original, *args, **kwargs):
        session = Session("somelearn")
        sessions.append(session)
        session.begin(config={"args": {"pid": os.getpid()}})
        try:
            found = original(*args, **kwargs)
        except BaseException as error:
            session.fail(error)
            raise
        session.log({"loss": 0.5, "pid": os.getpid()}, step=kwargs.get("step", 0))
        session.pause()
        return found
    def scoring(original, *args, **kwargs):
        session = sessions[-1] if sessions else Session("somelearn")
        if session.begin(nested=False):
            session.log({"score": 1.0})
            session.pause()
        return original(*args, **kwargs)
    patching.wrap(module, "train", training, "somelearn")
    patching.wrap(module, "score", scoring, "somelearn")
"""
HEAD = """
import _tracker_hook as hook
hook.AUTOLOG["somelearn"] = "patches.somelearn:autolog"
hook.install()
import multiprocessing as mp, os, sys
import somelearn
"""


@pytest.fixture
def train(tmp_path: Path, script):
    """Runs a program that trains with a framework made for the purpose, and no word of tracker in it."""
    (tmp_path / "somelearn.py").write_text(FRAMEWORK)
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "somelearn.py").write_text(PATCHES)

    def train(code: str, *arguments: str, launcher: tuple[str, ...] = (), **variables: str):
        environment = {"TRACKER_AUTOLOG": "1", "TMPDIR": str(tmp_path), "TRACKER_STRICT": "1", **variables}
        return script(HEAD + code, *arguments, launcher=launcher, **environment)

    return train


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_what_trains_in_a_child_logs_to_the_run_above(method: str, train, only_run) -> None:
    train(f"""
def child():
    somelearn.train(step=1)

def both():
    process = mp.get_context({method!r}).Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == 0

if __name__ == "__main__":
    somelearn.train(both)
""")

    run = only_run()
    assert run.state == "finished"
    parent, child = run.scan_history()
    assert (parent["_step"], child["_step"], parent["loss"], child["loss"]) == (0, 1, 0.5, 0.5)
    assert parent["pid"] != child["pid"]


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_workers_of_a_training_log_nothing_of_their_own(method: str, train, only_run) -> None:
    train(f"""
def work(_):
    return somelearn.score()

def search():
    with mp.get_context({method!r}).Pool(2) as pool:
        return pool.map(work, range(4))

if __name__ == "__main__":
    assert somelearn.train(search) == [1.0] * 4
""")

    assert set(only_run().summary) == {"loss", "pid"}


def test_workers_of_joblib_log_nothing_of_their_own(train, only_run) -> None:
    """8.5: spurious runs of a search's inner fits."""
    pytest.importorskip("joblib")
    train(f"""
import joblib

def work():  # these processes do not run the script's first lines
    exec({HEAD!r} + "hook.autolog_loaded()", globals())
    assert hasattr(somelearn.score, "__wrapped__")
    return os.getpid(), somelearn.score()

def search():
    found = joblib.Parallel(n_jobs=2)(joblib.delayed(work)() for _ in range(4))
    assert os.getpid() not in [pid for pid, _ in found]
    return [score for _, score in found]

if __name__ == "__main__":
    assert somelearn.train(search) == [1.0] * 4
""")

    assert set(only_run().summary) == {"loss", "pid"}


def test_children_that_train_after_the_training_have_runs_of_their_own(train, read) -> None:
    train("""
def child():
    somelearn.train()

if __name__ == "__main__":
    somelearn.train()
    process = mp.get_context("spawn").Process(target=child)
    process.start()
    process.join()
""")

    assert [run.state for run in read()] == ["finished"] * 2


def test_nothing_is_opened_where_nothing_trains(train, read) -> None:
    """Loaders of data, helpers, other programs: they run the hook, import the framework, and that is all."""
    train("""
def child():
    import somelearn
    assert "tracker" in sys.modules and sys.modules["tracker"].run is None

if __name__ == "__main__":
    for method in ("spawn", "fork"):
        process = mp.get_context(method).Process(target=child)
        process.start()
        process.join()
        assert process.exitcode == 0
""")

    assert read() == []


def test_a_program_started_by_a_program_has_a_run_of_its_own(train, read) -> None:
    """A script that starts trainings is no part of them."""
    train("""
import subprocess
if len(sys.argv) == 1:
    import tracker
    with tracker.init(project="control"):
        subprocess.run([sys.executable, __file__, "train"], check=True)
else:
    somelearn.train()
""")

    assert [run.project for run in read()] == ["control", "uncategorized"]


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"])
def test_other_ranks_have_no_run(variable: str, train, read) -> None:
    train("somelearn.train()", **{variable: "1"})
    assert read() == []
    train("somelearn.train()", **{variable: "0"})
    assert len(read()) == 1


def test_a_training_that_fails_is_told_of_and_raises_as_ever(train, only_run) -> None:
    train("""
try:
    somelearn.train(lambda: 1 / 0)
except ZeroDivisionError:
    print("as ever")
""")

    assert only_run().state == "failed"


def test_the_environment_decides_and_can_be_overruled(train, read) -> None:
    train("somelearn.train()", TRACKER_AUTOLOG="0")
    train("somelearn.train()", TRACKER_DISABLED="1")
    train("somelearn.train()", TRACKER_MODE="disabled")
    train("import tracker; tracker.autolog(disable=True); somelearn.train()")
    assert read() == []
    train("import tracker; tracker.autolog(); somelearn.train()", TRACKER_AUTOLOG="0")
    assert len(read()) == 1


def test_a_users_own_run_takes_trainings_in_and_is_not_ended(train, only_run) -> None:
    train("""
import tracker
run = tracker.init(project="mine")
somelearn.train()
assert run.state == "running"
run.log({"own": 1})
""")

    run = only_run()
    assert (run.project, run.state) == ("mine", "finished")
    assert set(run.summary) == {"loss", "pid", "own"}
