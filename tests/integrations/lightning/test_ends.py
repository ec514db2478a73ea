"""How a training ends, and how one goes on from its checkpoints."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from packaging.version import Version

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations._lightning_checkpoints import Moment
from tracker.integrations.lightning import TrackerLogger

from .net import BATCHES, Net, curve, data, trainer

OnlyRun = Callable[[], ReadRun]
Read = Callable[[], list[ReadRun]]


class Failing(Net):
    """One whose training ends with an exception at a step."""

    error: BaseException
    at: int

    def training_step(self, batch: Any, index: int) -> Any:
        if self.trainer.global_step == self.at:
            raise self.error
        return super().training_step(batch, index)


def failing(error: BaseException, at: int = 2) -> Failing:
    """Make one."""
    model = Failing()
    model.error, model.at = error, at
    return model


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Lightning ignores SIGINT once it was interrupted."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_exception_marks_the_run_as_failed_at_once(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.3, Lightning#10397, #12291, #12292: the status is not left at "running"."""
    with pytest.raises(ValueError, match="exploded"):
        trainer(tmp_path).fit(failing(ValueError("exploded")), data(), data())
    run = only_run()

    assert run.state == "failed"
    assert "ValueError: exploded" in run.details["exit"]["reason"]
    assert [step for step, _ in curve(run)] == [0, 1]


def test_an_interrupt_is_no_success(tmp_path: Path, only_run: OnlyRun, interrupts: None) -> None:
    """8.3, SwanLab#1261, #1315: Lightning makes of it a `sys.exit(1)`; the run was killed."""
    with pytest.raises(SystemExit):
        trainer(tmp_path).fit(failing(KeyboardInterrupt()), data(), data())

    assert only_run().state == "killed"
    assert len(curve(only_run())) == 2


def test_the_users_run_is_left_to_the_user(tmp_path: Path, only_run: OnlyRun) -> None:
    with tracker.init() as run:
        with pytest.raises(ValueError, match="caught"):
            trainer(tmp_path).fit(failing(ValueError("caught")), data(), data())
        assert run.state == "running"

    assert only_run().state == "finished"


def test_a_failure_while_evaluating_is_one_too(tmp_path: Path, only_run: OnlyRun) -> None:
    class Broken(Net):
        def test_step(self, batch: Any, index: int) -> None:
            raise ValueError("in the test")

    fitting = trainer(tmp_path, max_epochs=1)
    model = Broken()
    fitting.fit(model, data(), data())
    with pytest.raises(ValueError, match="in the test"):
        fitting.test(model, data())

    assert only_run().state == "failed"


@pytest.mark.skipif(Version(pl.__version__) < Version("2.5.3"), reason="`save_on_exception` came with Lightning 2.5.3")
def test_a_checkpoint_saved_on_failure_is_kept(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.3, Lightning#3002, #2805: the last checkpoint comes while the training fails."""
    saving = pl.callbacks.ModelCheckpoint(tmp_path / "kept", save_on_exception=True)
    with pytest.raises(ValueError, match="exploded"):
        trainer(tmp_path, callbacks=[saving]).fit(failing(ValueError("exploded")), data(), data())
    (artifact,) = only_run().logged_artifacts()

    assert only_run().state == "failed"
    assert artifact.metadata["step"] == 2


def test_a_new_trainer_goes_on_from_a_checkpoint_in_the_same_run(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #10: the run's id is in the checkpoint; nothing has to be said. The folder for new ones is the same."""
    first = trainer(tmp_path, TrackerLogger(project="p"), max_epochs=1)
    first.fit(Net(), data(), data())
    path = Path(first.checkpoint_callback.best_model_path)
    tracker.finish()
    second = trainer(tmp_path, TrackerLogger(project="p"), max_epochs=3)
    second.fit(Net(), data(), data(), ckpt_path=path)
    run = only_run()

    assert Moment.of_file(path) == Moment("local", "p", run.id, BATCHES)
    assert [step for step, _ in curve(run)] == list(range(3 * BATCHES))
    assert Path(second.checkpoint_callback.best_model_path).parent == path.parent


def test_what_came_behind_the_checkpoint_is_hidden(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.3, Lightning#2102, #14892; mistral#27: no step is there twice."""
    saving = pl.callbacks.ModelCheckpoint(tmp_path / "kept", every_n_train_steps=2, save_top_k=-1)
    with pytest.raises(ValueError, match="exploded"):
        trainer(tmp_path, callbacks=[saving]).fit(failing(ValueError("exploded"), at=7), data(), data())
    values = dict(curve(only_run()))
    path = next((tmp_path / "kept").glob("*step=4.ckpt"))
    trainer(tmp_path, max_epochs=2).fit(Net(), data(), data(), ckpt_path=path)
    run = only_run()

    assert [step for step, _ in curve(run)] == list(range(2 * BATCHES))
    assert {step: dict(curve(run))[step] for step in range(4)} == {step: values[step] for step in range(4)}
    assert run.state == "running"


def test_the_same_trainer_goes_back_to_a_checkpoint(tmp_path: Path, only_run: OnlyRun) -> None:
    saving = pl.callbacks.ModelCheckpoint(tmp_path / "kept", save_top_k=-1)
    fitting = trainer(tmp_path, callbacks=[saving])
    model = Net()
    fitting.fit(model, data(), None)
    first = min((tmp_path / "kept").glob("*.ckpt"))
    fitting.fit(model, data(), None, ckpt_path=first)

    assert [step for step, _ in curve(only_run())] == list(range(2 * BATCHES))


def test_the_run_is_known_late_where_the_checkpoint_does_not_show_it(
    tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint on a remote store, or of an old format, is only read by Lightning."""
    first = trainer(tmp_path, max_epochs=1)
    first.fit(Net(), data(), data())
    tracker.finish()
    monkeypatch.setattr(Moment, "of_file", classmethod(lambda *_: None))
    trainer(tmp_path, max_epochs=2).fit(Net(), data(), data(), ckpt_path=first.checkpoint_callback.best_model_path)

    assert [step for step, _ in curve(only_run())] == list(range(2 * BATCHES))


def test_a_run_that_was_begun_before_is_gone_on_with(
    tmp_path: Path, read: Read, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trainer(tmp_path, max_epochs=1)
    first.fit(Net(), data(), data())
    tracker.finish()
    monkeypatch.delenv("TRACKER_SILENT")
    logger = TrackerLogger()
    assert logger.experiment.name
    trainer(tmp_path, logger, max_epochs=2).fit(
        Net(), data(), data(), ckpt_path=first.checkpoint_callback.best_model_path
    )
    old, new = read()

    assert (len(curve(old)), len(curve(new))) == (BATCHES, BATCHES)
    assert f"the checkpoint belongs to the run {old.id}" in caplog.text


@pytest.mark.parametrize("arguments", [{"project": "other"}, {"resume": "never"}, {"id": "another"}])
def test_another_run_can_be_asked_for(arguments: dict[str, Any], tmp_path: Path, read: Read) -> None:
    first = trainer(tmp_path, max_epochs=1)
    first.fit(Net(), data(), data())
    tracker.finish()
    trainer(tmp_path, TrackerLogger(**arguments), max_epochs=2).fit(
        Net(), data(), data(), ckpt_path=first.checkpoint_callback.best_model_path
    )

    assert [[step for step, _ in curve(run)] for run in read()] == [
        list(range(BATCHES)),
        list(range(BATCHES, 2 * BATCHES)),
    ]


def test_the_users_resumed_run_shows_no_step_twice(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #11: resuming by hand, without a server, as in W&B."""
    with tracker.init(id="mine"):
        first = trainer(tmp_path, max_epochs=2)
        first.fit(Net(), data(), data())
    with tracker.init(id="mine", resume="must"):
        trainer(tmp_path, max_epochs=3).fit(Net(), data(), data(), ckpt_path=first.checkpoint_callback.best_model_path)

    assert [step for step, _ in curve(only_run())] == list(range(3 * BATCHES))


def test_a_test_of_a_checkpoint_in_a_new_process_is_a_run_of_its_own(tmp_path: Path, read: Read) -> None:
    first = trainer(tmp_path, max_epochs=1)
    first.fit(Net(), data(), data())
    path = first.checkpoint_callback.best_model_path
    tracker.finish()
    trainer(tmp_path, max_epochs=1).test(Net(), data(), ckpt_path=path)
    fitted, tested = read()

    assert ("test_loss" in fitted.summary, "test_loss" in tested.summary) == (False, True)
    assert tested.config["lightning"]["trainer"]["ckpt_path"] == path


def test_a_checkpoint_without_us_loads_and_one_of_ours_loads_without_us(tmp_path: Path, only_run: OnlyRun) -> None:
    plain = trainer(tmp_path, False, max_epochs=1)
    plain.fit(Net(), data(), data())
    ours = trainer(tmp_path, max_epochs=2)
    ours.fit(Net(), data(), data(), ckpt_path=plain.checkpoint_callback.best_model_path)
    path = ours.checkpoint_callback.best_model_path
    with pytest.warns() as said:
        trainer(tmp_path, False, max_epochs=3).fit(Net(), data(), data(), ckpt_path=path)

    assert not [one for one in said if "TrackerCallback" in str(one.message)]
    assert torch.load(path, weights_only=True)["tracker"].startswith("tracker-run:local/")
    assert [step for step, _ in curve(only_run())] == list(range(BATCHES, 2 * BATCHES))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"tracker-run:local/p/x?_step=1;"])
def test_any_file_may_be_asked_whose_it_is(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.ckpt").write_bytes(content)

    assert Moment.of_file(tmp_path / "file.ckpt") is None
    assert Moment.of_file(tmp_path) is None
    assert Moment.of_file(tmp_path / "none") is None
    assert Moment.of_file(None) is None


@pytest.mark.parametrize("text", [None, 3, "", "tracker-run:a/b?_step=1;", "tracker-run:a/b/c?_step=x;", "x"])
def test_other_texts_name_no_run(text: Any) -> None:
    assert Moment.parse(text) is None


def test_names_of_any_letters_are_read_back(tmp_path: Path) -> None:
    moment = Moment("local", "ein Projekt äöü", "run-1", 12)
    torch.save({"tracker": str(moment), "more": "x" * 1000}, tmp_path / "file.ckpt")

    assert Moment.of_file(tmp_path / "file.ckpt") == moment == Moment.parse(str(moment))
