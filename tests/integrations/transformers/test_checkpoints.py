"""Checkpoints as versions of the run's model, and trainings that go on from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.query import Run as ReadRun

from . import tiny
from .test_training import points

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]


def saved(tmp_path: Path, **given: Any) -> Any:
    """Answer a trainer that saves at each other step."""
    return tiny.trainer(tmp_path, **{"save_strategy": "steps", "save_steps": 2, "max_steps": 6, **given})


def versions(run: ReadRun) -> list[Any]:
    """Answer what the run has made, oldest first."""
    return sorted(run.logged_artifacts(), key=lambda version: int(version.version[1:]))


def test_each_checkpoint_is_a_version_whatever_is_rotated_away(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #17: deleted while it waits; 8.2: the whole folder was copied in the training's time."""
    saved(tmp_path, save_total_limit=1).train()
    tracker.finish()
    kept = versions(only_run())

    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-6"]
    assert [sorted(version.aliases) for version in kept] == [
        ["checkpoint-2"],
        ["checkpoint-4"],
        ["checkpoint-6", "latest"],
    ]
    assert [version.metadata["step"] for version in kept] == [2, 4, 6]
    for version in kept:
        folder = Path(version.download(str(tmp_path / version.version)))
        state = json.loads((folder / "trainer_state.json").read_text())
        assert state["global_step"] == version.metadata["step"]
        assert (folder / "model.safetensors").stat().st_size > 1000
        assert (folder / "optimizer.pt").exists()


def test_the_best_one_is_called_so(tmp_path: Path, only_run: OnlyRun) -> None:
    losses = iter([0.5, 0.2, 0.9])

    class Scored(tiny.Trainer):
        def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
            answer = super().evaluation_loop(*args, **kwargs)
            answer.metrics["eval_loss"] = next(losses)
            return answer

    trainer = saved(
        tmp_path, kind=Scored, eval_dataset=tiny.labelled(8), eval_strategy="steps", eval_steps=2,
        load_best_model_at_end=True, save_total_limit=1,
    )  # fmt: skip
    trainer.train()
    tracker.finish()
    kept = versions(only_run())

    assert [sorted(version.aliases) for version in kept] == [
        ["checkpoint-2"],
        ["best", "checkpoint-4"],
        ["checkpoint-6", "latest"],
    ]
    assert [version.metadata["eval/loss"] for version in kept] == [0.5, 0.2, 0.9]
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-4")


def test_weights_in_several_files_are_one_version(
    tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sharded(tiny.Trainer):
        def _save(self, output_dir: Any = None, state_dict: Any = None) -> None:
            self.model.save_pretrained(output_dir, max_shard_size="10KB")

    saved(tmp_path, kind=Sharded, max_steps=2).train()
    tracker.finish()
    (version,) = versions(only_run())
    names = {file.path for file in version.files()}

    assert {"model.safetensors.index.json"} < names
    assert len([name for name in names if name.startswith("model-0000")]) > 1


@pytest.mark.parametrize(
    ("choice", "steps"), [("checkpoint", [2, 4, 6]), ("false", []), ("end", [6]), (None, [2, 4, 6])]
)
def test_what_is_kept_is_the_users_to_say(
    tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch, choice: str | None, steps: list[int]
) -> None:
    if choice is not None:
        monkeypatch.setenv("TRACKER_LOG_MODEL", choice)
    saved(tmp_path).train()
    tracker.finish()
    kept = versions(only_run())

    assert [version.metadata["step"] for version in kept] == steps
    if choice == "end":
        assert sorted(kept[0].aliases) == ["final_model", "latest"]
        assert "model.safetensors" in {file.path for file in kept[0].files()}
        assert not list((tmp_path / "out").glob(".tracker*"))


@pytest.mark.parametrize("restores", [False, True])
def test_a_training_that_goes_on_from_a_checkpoint_goes_on_with_its_run(
    tmp_path: Path, only_run: OnlyRun, restores: bool
) -> None:
    """8.1 #10, mistral#27: one run, one continuous curve, no step twice."""
    first = saved(tmp_path, max_steps=7, save_steps=4)  # it has reported steps 5 to 7 when it is gone
    first.train()
    tracker.finish()
    assert sorted(points(only_run(), "train/loss")) == [1, 2, 3, 4, 5, 6, 7]

    again = saved(
        tmp_path, max_steps=6, save_steps=4, eval_dataset=tiny.labelled(4),
        restore_callback_states_from_checkpoint=restores,
    )  # fmt: skip
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    again.evaluate()
    tracker.finish()
    run = only_run()
    found = points(run, "train/loss")

    reported = {row["step"]: row["loss"] for row in again.state.log_history if "loss" in row}

    assert found == reported  # the trainer remembers the first four steps, too; the seventh is not shown any more
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    assert len(list(run.scan_history(keys=["train/loss"]))) == 6
    assert sorted(points(run, "eval/loss")) == [6]
    assert run.config["args"]["max_steps"] == 6
    assert run.state == "finished"
    assert {"checkpoint-4"} <= {alias for used in run.used_artifacts() for alias in used.aliases}


def test_the_last_checkpoint_of_the_folder_is_found_too(tmp_path: Path, only_run: OnlyRun) -> None:
    saved(tmp_path, max_steps=4).train()
    saved(tmp_path, max_steps=6).train(resume_from_checkpoint=True)
    tracker.finish()

    assert sorted(points(only_run(), "train/loss")) == [1, 2, 3, 4, 5, 6]


def test_an_evaluation_before_it_goes_on_takes_nothing_from_the_run(tmp_path: Path, read: Read) -> None:
    saved(tmp_path, max_steps=4).train()
    trainer = saved(tmp_path, max_steps=6, eval_dataset=tiny.labelled(4))
    trainer.evaluate()
    trainer.train(resume_from_checkpoint=True)
    tracker.finish()
    first, evaluated = read()

    assert sorted(points(first, "train/loss")) == [1, 2, 3, 4, 5, 6]
    assert sorted(points(evaluated, "eval/loss")) == [0]


def test_the_project_is_that_of_the_checkpoint(tmp_path: Path, only_run: OnlyRun) -> None:
    from tracker.integrations.transformers import TrackerCallback

    saved(tmp_path, max_steps=4, callbacks=[TrackerCallback(project="films", tags=["a"])], report_to="none").train()
    saved(tmp_path, max_steps=6).train(resume_from_checkpoint=True)
    tracker.finish()

    assert only_run().project == "films"
    assert sorted(points(only_run(), "train/loss")) == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_made_without_us_can_be_gone_on_from_with_us(tmp_path: Path, only_run: OnlyRun) -> None:
    """The trainer asks the checkpoint's state for each callback that has one, and fails where it is not there."""
    saved(tmp_path, max_steps=4, report_to="none").train()
    saved(tmp_path, max_steps=6).train(resume_from_checkpoint=True)
    tracker.finish()

    assert sorted(points(only_run(), "train/loss")) == [5, 6]
    assert len(versions(only_run())) == 1


def test_a_checkpoint_from_another_machine_keeps_its_runs_id(
    tmp_path: Path, read: Read, runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #10, #11: without a network, where the run's rows are not."""
    saved(tmp_path, max_steps=4).train()
    tracker.finish()
    (before,) = read()
    shutil.rmtree(runs)
    shutil.rmtree(runs.parent / "cache")
    saved(tmp_path, max_steps=6).train(resume_from_checkpoint=True)
    tracker.finish()
    (after,) = read()

    assert (after.id, sorted(points(after, "train/loss"))) == (before.id, [5, 6])
    assert "is not here" in caplog.text


@pytest.mark.parametrize("variable", ["TRACKER_RUN_ID", "TRACKER_RESUME"])
def test_the_user_may_want_another_run(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    saved(tmp_path, max_steps=4).train()
    tracker.finish()
    monkeypatch.setenv(variable, {"TRACKER_RUN_ID": "another", "TRACKER_RESUME": "never"}[variable])
    saved(tmp_path, max_steps=6).train(resume_from_checkpoint=True)
    tracker.finish()
    first, second = read()

    assert sorted(points(first, "train/loss")) == [1, 2, 3, 4]
    assert sorted(points(second, "train/loss")) == [5, 6]
    assert [used.name.partition(":")[0] for used in second.used_artifacts()] == [f"model-{first.id}"]


def test_an_interrupted_training_goes_on_in_the_same_process(tmp_path: Path, only_run: OnlyRun) -> None:
    class Interrupted(tiny.Trainer):
        is_first = True

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == 5 and self.is_first:
                self.is_first = False
                raise KeyboardInterrupt
            return super().training_step(*args, **kwargs)

    trainer = saved(tmp_path, kind=Interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train(resume_from_checkpoint=True)
    tracker.finish()
    run = only_run()

    assert sorted(points(run, "train/loss")) == [1, 2, 3, 4, 5, 6]
    assert run.state == "finished"


def test_the_model_card_leads_to_the_run_and_only_that_one(tmp_path: Path, read: Read) -> None:
    """8.2: the text was appended to a variable of the module, and leaked into the next card of the process."""
    cards = []
    for name in ("one", "two"):
        trainer = tiny.trainer(tmp_path / name, max_steps=1)
        trainer.train()
        trainer.create_model_card()
        trainer.create_model_card()
        cards.append((tmp_path / name / "out" / "README.md").read_text())
    tracker.finish()
    ids = [run.id for run in read()]

    assert [[card.count(one) for one in ids] for card in cards] == [[1, 0], [0, 1]]
    assert all("Tracked with tracker" in card for card in cards)
