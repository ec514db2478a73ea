"""Whose run a training logs to, and who ends it; by `Session` alone, without a framework."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import _models, base
from tracker.integrations.base import Session

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]


def losses(run: ReadRun) -> list[Any]:
    """Read the losses back."""
    return [row["loss"] for row in run.scan_history(keys=["loss"])]


def test_a_training_opens_a_run_and_evaluations_go_into_it(only_run: OnlyRun) -> None:
    session = Session("some", project="p")
    assert session.begin({"args": {"lr": 0.1}}) is not None
    session.log({"loss": 1.0, "nothing": None}, step=1)
    session.pause()
    session.log({"loss": 0.5}, step=2)
    session.end()
    run = only_run()

    assert (run.project, run.state, run.config["args"], losses(run)) == ("p", "finished", {"lr": 0.1}, [1.0, 0.5])


def test_the_users_own_run_is_joined_and_left_open(only_run: OnlyRun) -> None:
    with tracker.init() as run:
        session = Session("some")
        assert session.begin() is run
        session.log({"loss": 1.0})
        session.pause()
        session.end()
        session.fail(ValueError("caught by the user"))
        assert run.state == "running"

    assert (only_run().state, losses(only_run())) == ("finished", [1.0])


def test_the_next_training_ends_the_run_of_the_one_before(read: Read) -> None:
    """8.1 #20, #27: trainings in a loop are runs of their own."""
    for loss in (1.0, 2.0, 3.0):
        session = Session("some")
        session.begin()
        session.log({"loss": loss})
        session.pause()
    assert tracker.run is not None
    tracker.run.finish()

    assert [losses(run) for run in read()] == [[1.0], [2.0], [3.0]]


def test_the_users_init_ends_it_too(read: Read) -> None:
    session = Session("some")
    session.begin()
    session.pause()
    with tracker.init() as run:
        run.log({"loss": 1.0})

    assert [(losses(run), run.state) for run in read()] == [([], "finished"), ([1.0], "finished")]


def test_a_training_inside_another_is_part_of_its_run(only_run: OnlyRun) -> None:
    outer, inner, silent = Session("hf"), Session("sklearn"), Session("sklearn")
    outer.begin()
    assert inner.begin() is outer.run
    assert silent.begin(nested=False) is None
    assert not inner.is_owner
    inner.log({"loss": 1.0})
    inner.end()
    assert outer.run is not None
    outer.end()

    assert losses(only_run()) == [1.0]


def test_trainings_in_two_threads_have_a_run_each(read: Read) -> None:
    """8.6 rapidfireai#129: concurrent pipelines are not mixed."""
    both = threading.Barrier(2)

    def train(loss: float) -> None:
        session = Session("some")
        both.wait(20)
        session.begin()
        both.wait(20)
        for _ in range(50):
            session.log({"loss": loss})
        both.wait(20)
        session.end()

    threads = [threading.Thread(target=train, args=(loss,)) for loss in (1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(losses(run) for run in read()) == [[1.0] * 50, [2.0] * 50]


def test_a_run_that_is_just_being_opened_is_nobody_elses(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread's training that begins in that very moment does not take it for the user's."""
    is_open, has_begun = threading.Event(), threading.Event()
    init = tracker.init

    def slow(**arguments: Any) -> Any:
        run = init(**arguments)
        if not is_open.is_set():
            is_open.set()
            has_begun.wait(0.5)  # the other one has all the time to find this run
        return run

    monkeypatch.setattr(tracker, "init", slow)

    def second() -> None:
        is_open.wait(20)
        session = Session("some")
        session.begin()
        has_begun.set()
        session.log({"loss": 2.0})
        session.end()

    thread = threading.Thread(target=second)
    thread.start()
    session = Session("some")
    session.begin()
    session.log({"loss": 1.0})
    thread.join(60)
    session.end()

    assert sorted(losses(run) for run in read()) == [[1.0], [2.0]]


def test_threads_that_work_for_a_training_log_into_its_run(only_run: OnlyRun) -> None:
    outer = Session("optuna", spreads=True)
    outer.begin()

    def trial() -> None:
        inner = Session("xgboost")
        inner.begin()
        inner.log({"loss": 1.0})
        inner.end()

    thread = threading.Thread(target=trial)
    thread.start()
    thread.join(60)
    outer.end()

    assert losses(only_run()) == [1.0]


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"])
def test_other_ranks_have_no_run(variable: str, monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    """8.1 #9: N runs under DDP, N-1 of them empty."""
    monkeypatch.setenv(variable, "1")
    session = Session("some")

    assert session.begin() is None
    session.log({"loss": 1.0})
    session.pause()
    assert read() == []


def test_what_fails_is_a_failed_run(only_run: OnlyRun) -> None:
    session = Session("some")
    session.begin()
    session.fail(ValueError("no such column"))

    assert (only_run().state, tracker.run) == ("failed", None)


def test_copies_in_other_processes_go_on_with_one_run(only_run: OnlyRun) -> None:
    """The way of spawned ranks: one pickles the callback before any run is there."""
    session = Session("some")
    for loss in (1.0, 2.0):
        other = pickle.loads(pickle.dumps(session))
        other.begin()
        other.log({"loss": loss})
        other.end()

    assert losses(only_run()) == [1.0, 2.0]


def test_a_deep_copy_is_a_training_of_its_own(read: Read) -> None:
    """Searches clone estimators with their callbacks."""
    session = Session("some", group="search")
    for loss in (1.0, 2.0):
        other = copy.deepcopy(session)
        other.begin()
        other.log({"loss": loss})
        other.end()

    assert [(losses(run), run.group) for run in read()] == [([1.0], "search"), ([2.0], "search")]


def test_a_training_that_goes_on_from_a_checkpoint_shows_no_step_twice(only_run: OnlyRun) -> None:
    session = Session("some")
    run = session.begin()
    assert run is not None
    for step in range(1, 7):
        session.log({"loss": float(step)}, step=step)
    session.end()
    again = Session("some")
    again.begin(resume=(run.id, 4))
    for step in range(5, 9):
        again.log({"loss": 10.0 + step}, step=step)
    again.end()

    assert losses(only_run()) == [1.0, 2.0, 3.0, 4.0, 15.0, 16.0, 17.0, 18.0]


def test_a_checkpoint_of_a_run_that_is_not_here_goes_on_under_its_id(
    only_run: OnlyRun, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #10: on another machine, where a server makes one run of both."""
    session = Session("some")
    session.begin(resume=("elsewhere", 4))
    session.end()

    assert only_run().id == "elsewhere"
    assert "what that has logged is not here" in caplog.text


def test_a_run_that_another_process_still_writes_is_forked_and_not_taken_back(
    read: Read, caplog: pytest.LogCaptureFixture
) -> None:
    """A script that is started twice goes on from the checkpoints of a training that has not ended."""
    code = (
        "from tracker.integrations.base import Session\n"
        "session = Session('some', project='p', id='first'); session.begin({'args': {'lr': 0.1}})\n"
        "for step in range(1, 7): session.log({'loss': float(step)}, step=step)\n"
        "print('written', flush=True); input()\n"
        "session.log({'loss': 7.0}, step=7); session.end()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True) as first:
        assert first.stdin is not None and first.stdout is not None
        assert first.stdout.readline() == "written\n"
        session = Session("some", project="p")
        session.begin(resume=("first", 4))
        session.log({"loss": 50.0}, step=5)
        session.end()
        first.communicate("\n", timeout=60)
    one, other = read()

    assert losses(one) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert losses(other) == [1.0, 2.0, 3.0, 4.0, 50.0]
    assert (other.metadata["forked_from"], other.config["args"]) == ("first?_step=4", {"lr": 0.1})
    assert "run first, which another process is writing" in caplog.text


def test_a_trial_has_a_run_beside_the_users(read: Read) -> None:
    """8.1 #27: values of trials do not pile up in one run."""
    with tracker.init() as run:
        run.log({"loss": 0.0})
        for loss in (1.0, 2.0):
            trial = Session("some", group="search")
            trial.begin(own=True)
            trial.log({"loss": loss})
            trial.end()
            assert tracker.run is run
        run.log({"loss": 3.0})

    assert [(found.group, losses(found)) for found in read()] == [
        (None, [0.0, 3.0]),
        ("search", [1.0]),
        ("search", [2.0]),
    ]


def test_a_checkpoint_may_be_rotated_away_at_once(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #17: changed or deleted while it waits."""
    session = Session("some")
    session.begin()
    for step in (1, 2):
        file = tmp_path / "last.ckpt"
        file.write_bytes(bytes([step]) * 1000)
        artifact = session.checkpoint(file, step=step, aliases=["best"] if step == 1 else [])
        file.unlink()
        assert artifact is not None
    session.end()
    kept = sorted(only_run().logged_artifacts(), key=lambda version: version.version)

    assert [version.metadata["step"] for version in kept] == [1, 2]
    assert [sorted(version.aliases) for version in kept] == [["best"], ["latest"]]
    assert [
        (Path(version.download(str(tmp_path / version.version))) / "last.ckpt").read_bytes()[:1] for version in kept
    ] == [
        b"\1",
        b"\2",
    ]


@pytest.mark.parametrize(
    ("choice", "kept"), [("false", 0), ("end", 1), ("checkpoint", 3), ("auto", 3), (None, 3), ("nonsense", 3)]
)
def test_which_checkpoints_are_kept(
    choice: str | None, kept: int, tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    if choice is not None:
        monkeypatch.setenv("TRACKER_LOG_MODEL", choice)
    session = Session("some")
    session.begin()
    for step in (1, 2, 3):
        (tmp_path / "last.ckpt").write_bytes(bytes([step]) * 10)
        session.checkpoint(tmp_path / "last.ckpt", step=step, is_last=step == 3)
    session.end()

    assert len(list(only_run().logged_artifacts())) == kept


def test_a_large_checkpoint_is_kept_only_when_asked_for(
    tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_models, "AUTO_CHECKPOINT_BYTES", 100)
    session = Session("some")
    session.begin()
    (tmp_path / "last.ckpt").write_bytes(bytes(200))
    assert session.checkpoint(tmp_path / "last.ckpt") is None
    assert session.checkpoint(tmp_path / "last.ckpt", log_model=True) is not None
    session.end()

    assert len(list(only_run().logged_artifacts())) == 1
    assert caplog.text.count("TRACKER_LOG_MODEL=checkpoint keeps all checkpoints") == 1


def test_a_table_grows_with_each_evaluation(only_run: OnlyRun) -> None:
    """8.1 #23: only the last step visible, each log sends everything again."""
    session = Session("some")
    session.begin()
    session.table("eval/predictions", ["text", "label"], [["a", 0], ["b", "one"]], step=10)
    session.table("eval/predictions", ["text", "label"], [["c" * 20_000, None]], step=20)
    session.end()
    table = only_run().history(keys=["eval/predictions"])

    assert len(table) == 2


def test_faults_of_ours_never_reach_the_training(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, only_run: OnlyRun
) -> None:
    """8.1 #7: training crashes because tracking failed."""
    monkeypatch.delenv("TRACKER_STRICT")
    session = Session("some")
    session.begin()
    session.log({1: object()}, step="first")  # type: ignore[dict-item, arg-type]
    session.configure("args", 5)  # type: ignore[arg-type]
    session.checkpoint("/not/there")
    session.table("t", ["a"], [["x", "one too many"]])
    session.log({"loss": 1.0})
    session.end()

    assert losses(only_run()) == [1.0]
    assert "Training goes on" in caplog.text


def test_what_is_said_of_a_fault_names_the_class_that_people_know(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Classes that derive from a framework's are made in functions, which is nobody's concern."""
    monkeypatch.delenv("TRACKER_STRICT")

    class TrackerCallback:
        @tracker.guarded
        def on_epoch_end(self) -> None:
            raise ZeroDivisionError

    tracker.init()
    TrackerCallback().on_epoch_end()
    tracker.finish()

    assert f"{__name__}.TrackerCallback.on_epoch_end failed (ZeroDivisionError" in caplog.text


def test_a_disabled_run_costs_nothing(monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    monkeypatch.setenv("TRACKER_MODE", "disabled")
    session = Session("some")

    assert session.begin() is None
    session.log({"loss": 1.0})
    session.end()
    assert read() == []


def test_a_run_that_the_user_has_disabled_is_not_passed_by(read: Read) -> None:
    with tracker.init(mode="disabled"):
        session = Session("some")
        assert session.begin() is None
        session.log({"loss": 1.0})
        session.end()

    assert (read(), tracker.run) == ([], None)


def test_a_missing_framework_names_the_command() -> None:
    with pytest.raises(tracker.MissingFramework, match="pip install not_a_framework"):
        base.require("not_a_framework")


def test_rows_of_a_table_are_spread_evenly() -> None:
    assert base.sample_rows(3) == [0, 1, 2]
    assert base.sample_rows(1000, 4) == [0, 250, 500, 750]


def test_an_id_that_is_reserved_has_no_effect_and_is_the_runs(read: Read) -> None:
    session = Session("some", project="p")
    reserved = session.reserve()

    assert (read(), session.run, session.run_id) == ([], None, reserved)
    run = session.begin()
    assert run is not None
    assert (run.id, session.run_id, session.reserve()) == (reserved, reserved, reserved)


def test_a_reserved_id_is_the_users_runs_or_the_one_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with tracker.init() as run:
        assert Session("some").reserve() == run.id
    monkeypatch.setenv("TRACKER_RUN_ID", "of-the-job")

    assert Session("some").reserve() == "of-the-job"
    assert Session("some", id="given").reserve() == "given"


def test_which_run_is_gone_on_with_by_itself_is_not_known_beforehand() -> None:
    assert Session("some", resume="auto").reserve() is None


def test_a_reserved_id_gives_way_to_that_of_a_checkpoint(only_run: OnlyRun) -> None:
    with tracker.init(id="old") as run:
        for step in range(10):
            run.log({"loss": step})
    session = Session("some")
    session.reserve()
    copied = pickle.loads(pickle.dumps(session))
    copied.begin(resume=("old", 4))
    copied.log({"loss": -5}, step=5)
    copied.end()

    assert losses(only_run()) == [0, 1, 2, 3, 4, -5]


def test_a_training_begun_again_from_its_own_checkpoint_hides_what_came_after(only_run: OnlyRun) -> None:
    session = Session("some")
    session.begin()
    for step in range(10):
        session.log({"loss": step}, step=step)
    session.fail(ValueError("out of memory"))
    assert session.run_id is not None
    session.begin(resume=(session.run_id, 6))
    session.log({"loss": -7}, step=7)
    session.end()

    assert (losses(only_run()), only_run().state) == ([0, 1, 2, 3, 4, 5, 6, -7], "finished")


def test_a_run_that_was_forked_is_gone_on_with_not_forked_again(read: Read) -> None:
    with tracker.init(id="old") as run:
        run.log({"loss": 0})
    session = Session("some", fork_from="old?_step=0")
    session.reserve()
    for loss in (1, 2):
        session.begin()
        session.log({"loss": loss})
        session.end()

    assert [losses(run) for run in read()] == [[0], [0, 1, 2]]


def test_a_copy_for_another_process_goes_on_with_the_users_run(only_run: OnlyRun) -> None:
    with tracker.init(id="theirs", project="p"):
        pickled = pickle.dumps(Session("some"))
    session = pickle.loads(pickled)  # as the other process has it: there is no run there
    session.begin()
    session.log({"loss": 1.0})
    session.end()

    assert (only_run().id, losses(only_run())) == ("theirs", [1.0])


def test_a_model_can_be_watched_again(only_run: OnlyRun) -> None:
    torch = pytest.importorskip("torch")
    session, model = Session("some"), torch.nn.Linear(1, 1)
    session.begin()
    for _ in range(2):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        session.watch(model, log_freq=1)
        model(torch.ones(1)).sum().backward()
        optimizer.step()
        session.log({"loss": 1.0})
        session.unwatch(model)
        optimizer.step()
        session.log({"loss": 1.0})
    session.end()

    assert [row["_step"] for row in only_run().scan_history(keys=["grad_norm/total"])] == [0, 2]


@pytest.mark.parametrize("wish", [None, "gradients"])
def test_a_model_of_many_parameters_has_few_metrics_unless_they_are_asked_for(
    wish: str | None, monkeypatch: pytest.MonkeyPatch, only_run: OnlyRun
) -> None:
    """A detector of 300 tensors would make a thousand metrics of its gradients."""
    torch = pytest.importorskip("torch")
    if wish:
        monkeypatch.setenv("TRACKER_WATCH", wish)
    model = torch.nn.Sequential(
        *(torch.nn.Sequential(*(torch.nn.Linear(1, 1) for _ in range(10))) for _ in range(20)), torch.nn.Linear(1, 1)
    )
    session = Session("some")
    session.begin()
    session.watch(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    session.log({"loss": 1.0}, step=1)
    session.end()
    norms = [key for key in only_run().summary if key.startswith("grad_norm/")]

    assert len(norms) == (402 if wish else 21) + 1
    assert "grad_norm/total" in norms


def test_on_other_ranks_there_is_nothing_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setenv("RANK", "1")
    session, model = Session("some"), torch.nn.Linear(1, 1)
    session.begin()
    session.watch(model)
    session.unwatch(model)

    assert session.run is None


def test_runs_that_have_ended_are_not_held(read: Read) -> None:
    """A program that trains thousands of small models does not keep what each has used."""
    ended = []
    for _ in range(3):
        session = Session("some")
        ended.append(weakref.ref(session.begin()))  # type: ignore[arg-type]
        session.pause()
    del session
    tracker.finish()
    gc.collect()

    assert len(read()) == 3
    assert base._owned == {}
    assert [run() for run in ended] == [None, None, None]


def test_a_launcher_around_says_which_run_it_is(monkeypatch: pytest.MonkeyPatch, read: Read) -> None:
    """Ray's trials: whoever reserves an id, or opens a run, in a trial's process gets the trial's."""
    monkeypatch.setattr(base, "_around", lambda: {"id": "trial-7", "group": "search", "resume": "allow"})
    monkeypatch.setattr("tracker.integrations.ray.end_with_worker", lambda run: None)
    first, second = Session("some"), Session("other", name="mine")
    assert first.reserve() == "trial-7"
    first.begin()
    first.log({"loss": 1.0}, step=1)
    first.end()
    second.begin()
    second.log({"loss": 0.5}, step=2)
    second.end()
    (run,) = read()

    assert (run.id, run.group, run.name, losses(run)) == ("trial-7", "search", "mine", [1.0, 0.5])
