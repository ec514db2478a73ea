"""`Trainer(logger="tracker")`, in this process: what the run holds afterwards."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import torch._dynamo as dynamo
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from torch._dynamo.utils import counters

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations.lightning import TrackerLogger

from .net import BATCHES, ROWS, Net, curve, data, trainer

OnlyRun = Callable[[], ReadRun]
Read = Callable[[], list[ReadRun]]


def test_each_step_each_epoch_and_the_test_are_in_one_run(tmp_path: Path, only_run: OnlyRun) -> None:
    """Evaluate after train goes into the same run; 8.1 #1: no step is dropped, whatever their order."""
    fitting = trainer(tmp_path)
    model = Net()
    fitting.fit(model, data(), data())
    fitting.validate(model, data())
    fitting.test(model, data())
    run = only_run()

    assert [step for step, _ in curve(run)] == list(range(2 * BATCHES))
    # At the end of each epoch, and once more by `validate`.
    assert [step for step, _ in curve(run, "val_loss")] == [BATCHES - 1, 2 * BATCHES - 1, 2 * BATCHES]
    assert curve(run, "val_loss")[-1][1] == curve(run, "val_loss")[-2][1]
    assert [step for step, _ in curve(run, "test_loss")] == [2 * BATCHES]


def test_rows_say_their_epoch_and_stage(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer(tmp_path).fit(Net(), data(), data())
    rows = list(only_run().scan_history(keys=["epoch", "stage"]))

    assert [row["epoch"] for row in rows] == [0] * BATCHES + [1] * BATCHES
    assert [row["stage"] for row in rows] == (["train"] * (BATCHES - 1) + ["validate"]) * 2


def test_the_config_has_hyperparameters_as_given_and_the_trainers(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer(tmp_path, gradient_clip_val=0.5, max_epochs=1).fit(Net(lr=0.02), data(), data())
    config = only_run().config

    assert (config["lr"], config["width"]) == (0.02, 8)
    assert config["lightning"]["trainer"]["gradient_clip_val"] == 0.5
    assert config["lightning"]["trainer"]["max_epochs"] == 1
    assert config["lightning"]["model"]["trainable_parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    assert config["lightning"]["optimizers"][0]["class"] == "Adam"
    assert config["lightning"]["optimizers"][0]["lr"] == 0.02


class Scheduled(Net):
    """One with two optimizers' worth of rates: two groups, and a schedule."""

    def configure_optimizers(self) -> Any:
        groups = [{"params": self.net[0].parameters(), "lr": 0.4}, {"params": self.net[2].parameters(), "lr": 0.2}]
        optimizer = torch.optim.SGD(groups)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def test_learning_rates_are_those_the_step_was_taken_with(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer(tmp_path, max_epochs=1).fit(Scheduled(), data(), data())

    assert curve(only_run(), "lr-SGD/pg1") == [(step, 0.4 * 0.5**step) for step in range(BATCHES)]
    assert curve(only_run(), "lr-SGD/pg2") == [(step, 0.2 * 0.5**step) for step in range(BATCHES)]


def test_they_are_named_as_by_learning_rate_monitor(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer(tmp_path, max_epochs=1, callbacks=[LearningRateMonitor()]).fit(Scheduled(), data(), data())
    theirs = {key for key in only_run().summary if key.startswith("lr-")}

    assert theirs == {"lr-SGD/pg1", "lr-SGD/pg2"}
    assert [step for step, _ in curve(only_run(), "lr-SGD/pg1")] == list(range(BATCHES))  # once, by theirs


def test_gradients_are_recorded_at_the_first_step(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer(tmp_path, max_epochs=1).fit(Net(), data(), data())
    run = only_run()

    assert [step for step, _ in curve(run, "grad_norm/total")] == [0]
    assert {f"gradients/net.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")} <= set(run.summary)


@pytest.mark.parametrize(("log_freq", "steps"), [(1, [0, 1, 2, 3]), (3, [0, 3])])
def test_as_often_as_asked_for(log_freq: int, steps: list[int], tmp_path: Path, only_run: OnlyRun) -> None:
    trainer(tmp_path, TrackerLogger(watch="all", log_freq=log_freq), max_epochs=1).fit(Net(), data(), data())

    assert [step for step, _ in curve(only_run(), "grad_norm/total")] == steps
    assert [step for step, _ in curve(only_run(), "param_norm/total")] == steps


def test_or_not_at_all(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer(tmp_path, TrackerLogger(watch=False), max_epochs=1).fit(Net(), data(), data())

    assert not [key for key in only_run().summary if key.startswith(("grad", "param"))]


def test_nothing_is_left_on_the_model(tmp_path: Path) -> None:
    """Hooks are taken away: the same model trains without a logger afterwards as if we had never been there."""
    model = Net()
    fitting = trainer(tmp_path, max_epochs=1)
    fitting.fit(model, data(), data())
    from torch.optim import optimizer

    assert not [module for module in model.modules() if module._forward_hooks or module._forward_pre_hooks]
    assert not optimizer._global_optimizer_pre_hooks
    assert not optimizer._global_optimizer_post_hooks


def test_predictions_of_each_evaluation_are_one_growing_table(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #23, #30: rows of all evaluations stay visible, of the same samples, and say input, target, prediction."""
    fitting = trainer(tmp_path)
    model = Net()
    fitting.fit(model, data(), data())
    fitting.test(model, data())
    run = only_run()
    table = run.table("validate/predictions")
    rows = table.rows()

    assert table.columns == ["step", "batch", "row", "input", "target", "prediction", "confidence", "loss"]
    assert [row["step"] for row in rows] == [BATCHES - 1] * ROWS + [2 * BATCHES - 1] * ROWS
    assert (
        [row["target"] for row in rows[:ROWS]]
        == [row["target"] for row in rows[ROWS:]]
        == data().dataset.tensors[1].tolist()
    )
    losses = [row["loss"] for row in rows[ROWS:]]
    assert sum(losses) / ROWS == pytest.approx(curve(run, "val_loss")[-1][1], rel=1e-4)
    with torch.no_grad():
        predicted = model(data().dataset.tensors[0]).argmax(1).tolist()
    assert (
        [row["prediction"] for row in rows[ROWS:]]
        == predicted
        == [row["prediction"] for row in run.table("test/predictions").rows()]
    )


def test_metrics_of_single_validation_batches_have_an_axis_of_their_own(tmp_path: Path, only_run: OnlyRun) -> None:
    """Lightning#4980, #4137: batches of evaluations are counted by themselves, and do not disturb the training's steps."""

    class Chatty(Net):
        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val", float(index), on_step=True, on_epoch=True)

    trainer(tmp_path, num_sanity_val_steps=0).fit(Chatty(), data(), data())
    run = only_run()

    assert [value for _, value in curve(run, "val_step")] == [float(index) for index in range(BATCHES)] * 2
    assert [step for step, _ in curve(run, "validate/batch")] == list(range(2 * BATCHES))
    assert [step for step, _ in curve(run)] == list(range(2 * BATCHES))
    assert next(row["stage"] for row in run.scan_history(keys=["stage", "loss"])) == "train"


def test_the_users_own_step_is_taken(tmp_path: Path, only_run: OnlyRun) -> None:
    """A metric called "step" is Lightning's way to choose the axis; it may go backwards (Lightning#5547, wandb#1507)."""

    class Backwards(Net):
        def training_step(self, batch: Any, index: int) -> Any:
            self.log("step", float(100 - self.global_step))
            return super().training_step(batch, index)

    trainer(tmp_path, max_epochs=1).fit(Backwards(), data(), None)

    assert sorted(step for step, _ in curve(only_run())) == [97, 98, 99, 100]


def test_two_optimizers_count_steps_by_batches(tmp_path: Path, only_run: OnlyRun) -> None:
    """Lightning#16207, #13163: `global_step` counts every optimizer's steps; the axis does not."""

    class Two(Net):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, index: int) -> None:
            for optimizer in self.optimizers():
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
                self.manual_backward(loss)
                optimizer.step()
            self.log("loss", loss)

        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.net[0], self.net[2])]

    trainer(tmp_path, max_epochs=1).fit(Two(), data(), data())
    run = only_run()

    assert [step for step, _ in curve(run)] == list(range(BATCHES))
    assert {"lr-SGD", "lr-SGD-1"} <= set(run.summary)


def test_accumulated_batches_are_one_step(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer(tmp_path, max_epochs=1, accumulate_grad_batches=2).fit(Net(), data(), None)

    assert [step for step, _ in curve(only_run())] == list(range(BATCHES // 2))


def test_other_loggers_stay_and_stay_first(tmp_path: Path, only_run: OnlyRun) -> None:
    """`trainer.logger`, `log_dir` and checkpoint folders follow the first logger; `"tracker"` may stand in a list."""
    theirs = CSVLogger(tmp_path)
    fitting = trainer(tmp_path, [theirs, "tracker"], max_epochs=1)
    fitting.fit(Net(), data(), data())

    assert fitting.logger is theirs
    assert (Path(theirs.log_dir) / "metrics.csv").is_file()
    assert Path(theirs.log_dir) in Path(fitting.checkpoint_callback.best_model_path).parents
    assert len(curve(only_run())) == BATCHES


def test_checkpoints_lie_in_a_folder_named_after_project_and_run(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.3, Lightning#3002: the folder is that of this run."""
    fitting = trainer(tmp_path, TrackerLogger(project="digits", save_dir=tmp_path / "kept"), max_epochs=1)
    fitting.fit(Net(), data(), data())
    folder = Path(fitting.checkpoint_callback.best_model_path).parent

    assert folder == tmp_path / "kept" / "digits" / only_run().id / "checkpoints"
    assert fitting.logger.log_dir == str(tmp_path / "kept" / "digits" / only_run().id)


def test_several_trainings_in_one_script_are_several_runs(tmp_path: Path, read: Read) -> None:
    """8.3, Lightning#5212; 8.1 #20, #27: the next training does not go on with the run of the one before."""
    for lr in (0.1, 0.2):
        trainer(tmp_path, TrackerLogger(name=f"lr={lr}"), max_epochs=1).fit(Net(lr=lr), data(), data())
    first, second = read()

    assert [(run.name, run.config["lr"], len(curve(run))) for run in (first, second)] == [
        ("lr=0.1", 0.1, BATCHES),
        ("lr=0.2", 0.2, BATCHES),
    ]
    assert first.state == "finished"


def test_an_older_trainer_goes_on_with_its_own_run(tmp_path: Path, read: Read) -> None:
    older, newer = trainer(tmp_path, max_epochs=1), trainer(tmp_path, max_epochs=1)
    model = Net()
    older.fit(model, data(), data())
    newer.fit(Net(), data(), data())
    older.test(model, data())
    first, second = read()

    assert ("test_loss" in first.summary, "test_loss" in second.summary) == (True, False)


def test_the_users_run_is_joined_and_stays_open(tmp_path: Path, only_run: OnlyRun) -> None:
    with tracker.init(project="mine", config={"seed": 1}) as run:
        trainer(tmp_path, max_epochs=1).fit(Net(), data(), data())
        assert run.state == "running"
        run.log({"after": 1})

    assert (only_run().config["seed"], only_run().config["lr"], len(curve(only_run()))) == (1, 0.05, BATCHES)
    assert "after" in only_run().summary


def test_a_run_that_is_given_is_used(tmp_path: Path, read: Read) -> None:
    run = tracker.init(id="given")
    other = tracker.init(id="other", reinit="create_new")
    trainer(tmp_path, TrackerLogger(experiment=run), max_epochs=1).fit(Net(), data(), data())
    for one in (run, other):
        one.finish()

    assert {one.id: len(curve(one)) for one in read()} == {"given": BATCHES, "other": 0}


def test_hyperparameters_of_any_kind_are_kept(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.3, Lightning#5892; 8.1 #19: long, nested, and of types that are no JSON."""

    class Odd(Net):
        def __init__(self, **more: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    odd = {
        "text": "x" * 100_000,
        "kinds": {torch.nn.ReLU, torch.nn.GELU},
        "space": Namespace(a=1),
        "rate": torch.tensor(0.5),
    }
    trainer(tmp_path, max_epochs=1).fit(Odd(deep={"er": {"est": [1, 2]}}, act=torch.nn.ReLU, **odd), data(), data())
    config = only_run().config

    assert config["deep"] == {"er": {"est": [1, 2]}}
    assert config["text"].startswith("xxx")
    assert "ReLU" in str(config["act"])
    assert "ReLU" in str(config["kinds"])
    assert config["space"] == {"a": 1}
    assert config["rate"] == 0.5
    assert len(curve(only_run())) == BATCHES


class Compiled(Net):
    """One whose layers are compiled, as one graph."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.compile(self.net, backend="eager", fullgraph=True)


def test_a_compiled_model_is_watched_and_not_compiled_again(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #15: what we hook is the optimizer; a graph stays whole, and there are no more of them than without us."""

    def graphs(logger: Any) -> int:
        dynamo.reset()
        counters.clear()
        trainer(tmp_path, logger, max_epochs=1).fit(Compiled(), data(), data())
        return counters["stats"]["unique_graphs"]

    assert graphs(CSVLogger(tmp_path)) == graphs(TrackerLogger(watch="all", log_freq=2)) > 0
    assert [step for step, _ in curve(only_run(), "grad_norm/total")] == [0, 2]
    assert len(only_run().table("validate/predictions").rows()) == ROWS


def test_workers_of_a_data_loader_neither_hang_nor_log(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #8: they are forked while the run's threads are at work."""
    loader = data(num_workers=2, multiprocessing_context="fork")
    fitting = trainer(tmp_path)
    fitting.fit(Net(), loader, loader)
    fitting.test(fitting.lightning_module, loader)

    assert len(curve(only_run())) == 2 * BATCHES


def test_a_graph_of_the_modules_is_kept_where_asked_for(tmp_path: Path, only_run: OnlyRun) -> None:
    trainer(tmp_path, TrackerLogger(log_graph=True, watch=False), max_epochs=1).fit(Net(), data(), data())

    assert json.loads(only_run().file("graph/model.json").read())["trainable"] == 67


def test_the_callback_by_hand_brings_the_logger(tmp_path: Path, only_run: OnlyRun) -> None:
    from tracker.integrations.lightning import TrackerCallback

    trainer(tmp_path, CSVLogger(tmp_path), max_epochs=1, callbacks=[TrackerCallback()]).fit(Net(), data(), data())

    assert len(curve(only_run())) == BATCHES


def test_a_logger_set_on_the_trainer_afterwards_finds_its_trainer(tmp_path: Path, only_run: OnlyRun) -> None:
    fitting = trainer(tmp_path, True, max_epochs=1)
    fitting.logger = TrackerLogger()
    fitting.fit(Net(), data(), data())

    assert len(curve(only_run())) == BATCHES
    assert only_run().table("validate/predictions").rows()
    assert "lr-Adam" in only_run().summary


def test_a_list_of_callbacks_may_serve_several_trainers(tmp_path: Path, read: Read) -> None:
    callbacks: list[pl.Callback] = [pl.callbacks.Timer()]
    for _ in range(2):
        trainer(tmp_path, max_epochs=1, callbacks=callbacks).fit(Net(), data(), data())

    assert [len(curve(run)) for run in read()] == [BATCHES, BATCHES]
    assert next(type(one).__name__ for one in callbacks) == "Timer"
