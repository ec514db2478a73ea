"""A plain `Trainer` with `report_to="tracker"`: what the run holds afterwards, and whose run it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import base

from . import tiny

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]


def points(run: ReadRun, key: str) -> dict[float, Any]:
    """Read the values of a metric back, by step."""
    return {row["_step"]: row[key] for row in run.scan_history(keys=[key, "_step"])}


def test_what_the_trainer_reports_stands_at_its_global_step(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #1, #2: steps are the trainer's own, and none is dropped."""
    trainer = tiny.trainer(tmp_path, gradient_accumulation_steps=2, logging_steps=2, max_steps=6)
    trainer.train()
    tracker.finish()
    run = only_run()
    reported = {row["step"]: row for row in trainer.state.log_history if "loss" in row}

    assert points(run, "train/loss") == {step: row["loss"] for step, row in reported.items()}
    assert points(run, "train/learning_rate") == {step: row["learning_rate"] for step, row in reported.items()}
    assert points(run, "train/grad_norm") == {step: row["grad_norm"] for step, row in reported.items()}
    assert sorted(points(run, "train/epoch")) == [2, 4, 6]
    assert run.summary["train_loss"] == trainer.state.log_history[-1]["train_loss"]
    assert run.state == "finished"


def test_what_it_was_made_of_is_in_the_config_each_under_its_name(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.2: a flat merge lets one config hide another's values."""
    data = tiny.labelled()
    trainer = tiny.trainer(tmp_path, train_dataset=data, eval_dataset={"one": tiny.labelled(8, 1)}, max_steps=1)
    trainer.train()
    tracker.finish()
    config = only_run().config

    assert (config["args"]["learning_rate"], config["args"]["max_steps"]) == (1e-3, 1)
    assert config["model"]["hidden_size"] == 16
    assert config["model"]["id2label"] == {"0": "NEGATIVE", "1": "POSITIVE"}
    assert config["model"]["num_parameters"] == sum(one.numel() for one in trainer.model.parameters())
    assert config["tokenizer"]["vocab_size"] == trainer.processing_class.vocab_size
    assert config["data"]["train"]["fingerprint"] == data._fingerprint
    assert config["data"]["train"]["rows"] == 32
    assert config["data"]["train"]["columns"]["text"] == "string"
    assert config["data"]["eval"]["one"]["rows"] == 8
    assert config["training"]["total_batch_size"] == 8


def test_a_parameter_of_any_length_is_no_fault(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #19; 8.2, 8849, 9210, 11342: a parameter that was too long ended the training."""
    model = tiny.classifier()
    model.config.id2label = {number: f"label {number} " + "x" * 100 for number in range(3000)}
    model.config.odd = {"inner": ["y" * 5000]}
    tiny.trainer(tmp_path, model=model, max_steps=1).train()
    tracker.finish()
    config = only_run().config["model"]

    assert config["id2label"]["2999"].startswith("label 2999 ")
    assert config["odd"]["inner"] == ["y" * 5000]


def test_gradients_stand_at_the_step_they_belong_to(
    tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_WATCH", "all")
    monkeypatch.setattr("tracker.integrations._transformers_callback._WATCH_STEPS_ASKED", 3)
    tiny.trainer(tmp_path, logging_steps=2).train()
    tracker.finish()
    run = only_run()

    assert sorted(points(run, "grad_norm/total")) == [1, 4, 7]
    assert sorted(points(run, "gradients/classifier.weight")) == [1, 4, 7]
    assert sorted(points(run, "parameters/classifier.weight")) == [1, 4, 7]


@pytest.mark.parametrize(("wish", "steps"), [(None, [1]), ("false", [])])
def test_gradients_are_recorded_unless_they_are_not_wanted(
    wish: str | None, steps: list[int], tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wish is not None:
        monkeypatch.setenv("TRACKER_WATCH", wish)
    tiny.trainer(tmp_path, max_steps=3).train()
    tracker.finish()

    assert sorted(points(only_run(), "gradients/classifier.weight")) == steps


def test_on_xla_no_gradients_are_recorded(tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """4814, 4926: recording them would have XLA compile each step anew."""
    monkeypatch.setitem(sys.modules, "torch_xla", ModuleType("torch_xla"))
    monkeypatch.setenv("TRACKER_WATCH", "all")
    tiny.trainer(tmp_path, max_steps=3).train()
    tracker.finish()

    assert sorted(points(only_run(), "train/loss")) == [1, 2, 3]
    assert not any(key.startswith(("gradients/", "grad_norm/", "parameters/")) for key in only_run().summary)


def test_evaluations_go_into_the_run_of_the_training(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.2, 35074: evaluate() after train() must not begin another run."""
    trainer = tiny.trainer(
        tmp_path, eval_dataset=tiny.labelled(16, 1), eval_strategy="steps", eval_steps=4, compute_metrics=tiny.accuracy
    )
    trainer.train()
    within = dict(trainer.state.log_history[-2])
    after = trainer.evaluate()
    other = trainer.evaluate(tiny.labelled(8, 2), metric_key_prefix="val")
    last = trainer.predict(tiny.labelled(8, 3)).metrics
    tracker.finish()
    run = only_run()

    assert sorted(points(run, "eval/loss")) == [4, 8]
    assert points(run, "eval/loss")[8] == after["eval_loss"] == within["eval_loss"]
    assert points(run, "eval/accuracy")[8] == after["eval_accuracy"]
    assert points(run, "val/accuracy") == {8: other["val_accuracy"]}
    assert points(run, "test/loss") == {8: last["test_loss"]}
    assert run.state == "finished"


def test_an_evaluation_alone_has_a_run(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer = tiny.trainer(tmp_path, eval_dataset=tiny.labelled(16, 1))
    found = trainer.evaluate()
    tracker.finish()

    assert points(only_run(), "eval/loss") == {0: found["eval_loss"]}
    assert only_run().config["model"]["hidden_size"] == 16


def test_an_evaluation_alone_is_no_training_that_goes_on(tmp_path: Path, read: Read) -> None:
    trainer = tiny.trainer(tmp_path, eval_dataset={"one": tiny.labelled(4), "two": tiny.labelled(4)})
    trainer.evaluate()
    assert tracker.run is not None and tracker.run.released
    assert base.training() is None
    with tracker.init(name="next"):
        assert base.training() is None

    assert [sorted(points(run, "eval/two_loss")) for run in read()] == [[0], []]


def test_an_evaluation_before_the_training_moves_no_step(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer = tiny.trainer(tmp_path, eval_dataset=tiny.labelled(16, 1), max_steps=3)
    trainer.evaluate()
    trainer.train()
    tracker.finish()

    assert sorted(points(only_run(), "train/loss")) == [1, 2, 3]


def test_the_users_run_is_joined_and_stays_open(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.2, 15663, 11115, 16131, 17130: a run that is active already is no fault."""
    with tracker.init(project="mine", config={"seed": 7}) as run:
        tiny.trainer(tmp_path, max_steps=2).train()
        assert run.state == "running"
        run.log({"mine": 1.0})
    found = only_run()

    assert (found.project, found.config["seed"], found.config["args"]["max_steps"]) == ("mine", 7, 2)
    assert sorted(points(found, "train/loss")) == [1, 2]
    assert found.state == "finished"


def test_a_second_training_in_the_users_run_writes_nothing_over(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #1: nothing is dropped, whatever the steps."""
    with tracker.init() as run:
        first = tiny.trainer(tmp_path, max_steps=3)
        first.train()
        second = tiny.trainer(tmp_path, max_steps=3, model=tiny.classifier(1))
        second.train()
        assert run.state == "running"
    losses = points(only_run(), "train/loss")
    expected = [row["loss"] for each in (first, second) for row in each.state.log_history if "loss" in row]

    assert list(losses.values()) == expected
    assert list(points(only_run(), "train/global_step").values()) == [1, 2, 3, 1, 2, 3]


def test_trainings_from_the_start_are_runs_of_their_own(tmp_path: Path, read: Read) -> None:
    """8.1 #20, #27: the second one in a notebook or a loop does not go into the first one's run."""
    trainer = tiny.trainer(tmp_path, max_steps=2)
    trainer.train()
    trainer.train()
    tiny.trainer(tmp_path, max_steps=2).train()
    tracker.finish()

    assert [sorted(points(run, "train/loss")) for run in read()] == [[1, 2]] * 3
    assert [run.state for run in read()] == ["finished"] * 3


def test_a_run_that_is_given_is_the_one_that_is_used(tmp_path: Path, read: Read) -> None:
    from tracker.integrations.transformers import TrackerCallback

    given = tracker.init(name="given", reinit="create_new")
    other = tracker.init(name="other", reinit="create_new")
    tiny.trainer(tmp_path, max_steps=2, report_to="none", callbacks=[TrackerCallback(run=given)]).train()
    assert (given.state, other.state) == ("running", "running")
    given.finish()
    other.finish()
    found = {run.name: run for run in read()}

    assert sorted(points(found["given"], "train/loss")) == [1, 2]
    assert points(found["other"], "train/loss") == {}


def test_two_callbacks_log_each_value_once(tmp_path: Path, only_run: OnlyRun) -> None:
    """The trainer only warns about a second one, and keeps both."""
    from tracker.integrations.transformers import TrackerCallback

    callbacks = [TrackerCallback(project="mine")]
    trainer = tiny.trainer(
        tmp_path, max_steps=2, save_strategy="steps", save_steps=1, callbacks=callbacks, eval_dataset=tiny.labelled(8)
    )
    trainer.train()
    trainer.evaluate()
    tracker.finish()
    run = only_run()

    assert run.project == "mine"
    assert len(list(run.scan_history(keys=["train/loss"]))) == 2
    assert len(run.logged_artifacts()) == 2
    assert len(run.table("eval/predictions")) == 8


def test_a_training_that_fails_is_a_run_that_has_failed(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #14, 8.2: callbacks are not told of exceptions."""

    class Broken(tiny.Trainer):
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == 3:
                raise RuntimeError("the loss has gone")
            return super().training_step(*args, **kwargs)

    trainer = tiny.trainer(tmp_path, kind=Broken)
    with pytest.raises(RuntimeError, match="the loss has gone"):
        trainer.train()
    run = only_run()

    assert run.state == "failed"
    assert "the loss has gone" in run.details["exit"]["traceback"]
    assert sorted(points(run, "train/loss")) == [1, 2, 3]


def test_a_training_that_is_interrupted_is_a_run_that_was_killed(tmp_path: Path, only_run: OnlyRun) -> None:
    class Interrupted(tiny.Trainer):
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == 2:
                raise KeyboardInterrupt
            return super().training_step(*args, **kwargs)

    trainer = tiny.trainer(tmp_path, kind=Interrupted, eval_dataset=tiny.labelled(8))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert only_run().state == "killed"
    trainer.evaluate()  # the user has caught it and goes on: in the same run
    tracker.finish()

    assert sorted(points(only_run(), "eval/loss")) == [2]
    assert only_run().state == "finished"


def test_values_that_are_none_are_left_out(tmp_path: Path, only_run: OnlyRun) -> None:
    """TRL reports None where no reward function has answered."""

    class Silent(tiny.Trainer):
        def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            super().log({**logs, "reward": None, "note": "text"}, *args, **kwargs)

    tiny.trainer(tmp_path, kind=Silent, max_steps=2).train()
    tracker.finish()
    run = only_run()

    assert points(run, "train/note") == {1: "text", 2: "text"}
    assert points(run, "train/reward") == {}


def test_a_fault_of_ours_does_not_reach_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7; 8.2, LlamaFactory#10704: a callback that raised ended the training on all ranks."""
    monkeypatch.delenv("TRACKER_STRICT")

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr("tracker.integrations._transformers_callback.configs", broken)
    monkeypatch.setattr("tracker.integrations._transformers_callback.Callback._place", broken)
    monkeypatch.setattr("tracker.integrations._transformers_callback.Samples.rows", broken)
    monkeypatch.setattr("tracker.integrations._transformers_callback.folder_of", broken)
    trainer = tiny.trainer(
        tmp_path, max_steps=2, save_strategy="steps", save_steps=1, eval_dataset=tiny.labelled(8), eval_strategy="epoch"
    )
    assert trainer.train().global_step == 2
    assert trainer.evaluate()["eval_loss"] > 0
    assert "Training goes on" in caplog.text


def test_a_run_without_a_name_is_not_called_as_its_folder(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.2, 29125: run_name defaulted to output_dir."""
    tiny.trainer(tmp_path, max_steps=1, run_name=str(tmp_path / "out")).train()
    tracker.finish()

    assert str(tmp_path) not in only_run().name


def test_names_that_the_arguments_give_are_the_runs(tmp_path: Path, only_run: OnlyRun) -> None:
    tiny.trainer(tmp_path, max_steps=1, run_name="first try", project="films").train()
    tracker.finish()

    assert (only_run().name, only_run().project) == ("first try", "films")


def test_a_disabled_run_costs_nothing_and_keeps_nothing(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_MODE", "disabled")
    trainer = tiny.trainer(tmp_path, max_steps=2, eval_dataset=tiny.labelled(8))
    trainer.train()
    trainer.evaluate()

    assert read() == []


def test_a_trainer_that_is_only_made_begins_no_run(tmp_path: Path, read: Read) -> None:
    """8.2: some callbacks make a second trainer, to save a model."""
    tiny.trainer(tmp_path)

    assert (read(), tracker.run) == ([], None)


def test_a_batch_too_large_for_the_memory_is_tried_again_in_the_same_run(tmp_path: Path, only_run: OnlyRun) -> None:
    class Greedy(tiny.Trainer):
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if len(inputs["labels"]) > 4 and self.state.global_step == 2:
                raise RuntimeError("CUDA out of memory.")
            return super().training_step(model, inputs, *args, **kwargs)

    trainer = tiny.trainer(tmp_path, kind=Greedy, auto_find_batch_size=True, max_steps=4)
    trainer.train()
    tracker.finish()

    assert sorted(points(only_run(), "train/loss")) == [1, 2, 3, 4]
    assert only_run().config["training"]["total_batch_size"] < 8
