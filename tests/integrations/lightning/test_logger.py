"""`TrackerLogger` by itself: what Lightning's Logger promises, copies, media, and other ranks."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from packaging.version import Version

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations.lightning import TrackerLogger, make_logger

from .net import BATCHES, Net, curve, data, trainer

OnlyRun = Callable[[], ReadRun]
Read = Callable[[], list[ReadRun]]


def test_it_is_a_logger_of_the_package_that_is_loaded() -> None:
    assert issubclass(TrackerLogger, Logger)
    assert TrackerLogger is make_logger("lightning.pytorch")


def test_names_cost_nothing_and_open_nothing(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_PROJECT", "of-the-environment")
    before = set(threading.enumerate())
    logger = TrackerLogger(save_dir="logs")
    names = (logger.name, logger.version, logger.save_dir, logger.root_dir, logger.log_dir)

    assert names == ("of-the-environment", None, "logs", os.path.join("logs", "of-the-environment"), None)
    assert (read(), tracker.run, set(threading.enumerate())) == ([], None, before)
    assert TrackerLogger(version="mine").version == TrackerLogger(id="mine").version == "mine"
    assert TrackerLogger(project="p").name == "p"
    assert TrackerLogger().save_dir is None


def test_it_logs_by_itself_in_any_order_of_steps(only_run: OnlyRun) -> None:
    """8.1 #1, #2; wandb#1507, wandb#1626: no step is dropped, given or not."""
    logger = TrackerLogger(project="p", name="n", tags=["t"])
    for step in (5, 3, 4):
        logger.log_metrics({"loss": float(step)}, step=step)
        logger.save()
    logger.log_metrics(metrics={"loss": 6.0})
    logger.log_hyperparams({"lr": 0.1})
    logger.log_hyperparams({"lr": 0.2, "more": [1]})
    logger.finalize("success")
    run = only_run()

    assert (run.project, run.name, run.tags) == ("p", "n", ["t"])
    assert curve(run) == [(3, 3.0), (4, 4.0), (5, 5.0), (6, 6.0)]
    assert {"lr": 0.2, "more": [1]}.items() <= run.config.items()


def test_it_goes_on_after_finalize(only_run: OnlyRun) -> None:
    logger = TrackerLogger()
    for step in range(3):
        logger.log_metrics({"loss": 0.0}, step=step)
        logger.finalize("success")

    assert len(curve(only_run())) == 3
    assert only_run().state == "running"


def test_a_prefix_goes_before_names(only_run: OnlyRun) -> None:
    TrackerLogger(prefix="a").log_metrics({"loss": 1.0}, step=0)

    assert "a-loss" in only_run().summary


@pytest.mark.parametrize("begun", [False, True])
def test_a_pickled_one_goes_on_with_the_same_run(begun: bool, only_run: OnlyRun) -> None:
    """As Lightning's own `test_loggers_pickle_all` asks."""
    logger = TrackerLogger(project="p", save_dir="here")
    if begun:
        assert logger.experiment.name
        logger.log_metrics({"a": 1.0})
    again = pickle.loads(pickle.dumps(logger))
    again.log_metrics({"acc": 1.0})
    logger.log_metrics({"b": 1.0})

    assert type(again) is type(logger)
    assert (again.name, again.save_dir, again.version) == (logger.name, logger.save_dir, logger.version)
    assert {"acc", "b"} <= set(only_run().summary)


def test_a_copy_is_a_logger_of_its_own(read: Read) -> None:
    logger = TrackerLogger(project="p")
    logger.log_metrics({"loss": 1.0})
    again = copy.deepcopy(logger)
    logger.session.end()
    again.log_metrics({"loss": 2.0})
    first, second = read()

    assert (first.summary["loss"], second.summary["loss"], second.project) == (1.0, 2.0, "p")


def test_images_tables_texts_and_sounds_are_logged_as_by_wandb_logger(only_run: OnlyRun) -> None:
    logger = TrackerLogger()
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    logger.log_image(key="images", images=[picture, picture], caption=["one", "two"], step=1)
    logger.log_image("more", [picture])
    logger.log_table(key="table", columns=["a", "b"], data=[[1, "x"], [2, "y"]], step=1)
    logger.log_text(key="text", columns=["said"], data=[["hello"]])
    logger.log_audio("sound", [np.zeros(800, dtype=np.float32)], sample_rate=[8000])
    tracker.flush()
    run = only_run()
    (row,) = run.scan_history(keys=["images"])

    assert row["_step"] == 1
    assert [image["caption"] for image in row["images"]] == ["one", "two"]
    assert run.table("table").rows() == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert run.table("text").rows() == [{"said": "hello"}]
    assert {"more", "sound"} <= set(run.summary)
    with pytest.raises(TypeError, match="list"):
        logger.log_image("images", picture)
    with pytest.raises(ValueError, match="caption has 1 items"):
        logger.log_image("images", [picture, picture], caption=["one"])


def test_artifacts_are_used_and_downloaded(tmp_path: Path, read: Read) -> None:
    (tmp_path / "weights").write_text("w")
    logger = TrackerLogger(project="p")
    logger.experiment.log_artifact(str(tmp_path / "weights"), name="weights", type="model").wait()
    used = logger.use_artifact("weights:latest", "model")
    folder = TrackerLogger.download_artifact("weights:latest", save_dir=tmp_path / "there")

    assert used.version == "v0"
    assert (Path(folder) / "weights").read_text() == "w"


def test_other_ranks_have_something_that_takes_every_call(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    logger = TrackerLogger(project="p")
    experiment = logger.experiment
    experiment.log({"a": 1})
    experiment.config.update({"a": 1})
    experiment.config["a"] = experiment["b"][0].c
    experiment.name = "x"
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_hyperparams({"a": 1})
    logger.log_image("i", [np.zeros((8, 8))])
    logger.watch(Net())
    logger.log_graph(Net())
    logger.finalize("success")

    assert not experiment
    assert logger.name == "p"
    assert (read(), tracker.run) == ([], None)


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"])
def test_a_rank_is_known_whatever_has_launched_it(variable: str, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """8.3, Lightning#11380: Lightning takes every rank for the first one where MPI has launched it."""
    monkeypatch.setenv(variable, "2")
    TrackerLogger().log_metrics({"a": 1.0})

    assert read() == []


def test_children_that_lightning_has_started_itself_are_known(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a LOCAL_RANK alone until they join the others; Lightning knows."""
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = TrackerLogger()
    logger.log_metrics({"a": 1.0})

    assert (read(), bool(logger.experiment)) == ([], False)


def test_the_experiment_is_the_run_once_it_is_used(tmp_path: Path, only_run: OnlyRun) -> None:
    logger = TrackerLogger()
    fitting = trainer(tmp_path, logger, max_epochs=1)
    early = logger.experiment

    assert isinstance(early, tracker.Run)
    assert tracker.run is None
    early.notes = "noted early"
    early.config["early"] = 1
    fitting.fit(Net(), data(), data())

    assert early.id == logger.experiment.id == only_run().id == logger.version
    assert (only_run().notes, only_run().config["early"], len(curve(only_run()))) == ("noted early", 1, BATCHES)


def test_the_module_reaches_the_run_in_every_hook(tmp_path: Path, only_run: OnlyRun) -> None:
    class Reaching(Net):
        def setup(self, stage: str) -> None:
            self.logger.experiment.config["from_setup"] = stage

        def on_train_epoch_end(self) -> None:
            self.logger.experiment.log({"own": 1})

    trainer(tmp_path, max_epochs=1).fit(Reaching(), data(), data())

    assert (only_run().config["from_setup"], only_run().summary["own"]) == ("fit", 1)


def test_a_disabled_run_is_no_trouble(tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_MODE", "disabled")
    fitting = trainer(tmp_path, max_epochs=1)
    fitting.fit(Net(), data(), data())
    fitting.logger.experiment.log({"a": 1})

    assert read() == []


def test_a_server_that_is_not_there_does_not_disturb(
    tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8.1 #7; 8.3, Lightning#6641, #12833, #12834: training neither fails nor waits where tracking does."""
    monkeypatch.setenv("TRACKER_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TRACKER_API_KEY", "tk_" + "0" * 40)
    settings = {"finish_stall_seconds": 0.2}
    trainer(tmp_path, TrackerLogger(settings=settings), max_epochs=1).fit(Net(), data(), data())
    tracker.finish()

    assert len(curve(only_run())) == BATCHES


def test_a_fault_of_ours_does_not_reach_the_training(
    tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7: verl#4904."""
    from tracker.integrations import _lightning_callback as ours

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("ours")

    monkeypatch.delenv("TRACKER_STRICT")
    monkeypatch.delenv("TRACKER_SILENT")
    for name in ("of_trainer", "learning_rates"):
        monkeypatch.setattr(ours.facts, name, broken)
    monkeypatch.setattr(ours.Predictions, "end", broken)
    trainer(tmp_path, max_epochs=1).fit(Net(), data(), data())

    assert len(curve(only_run())) == BATCHES
    assert "ZeroDivisionError: ours" in caplog.text


def test_nothing_is_left_behind_but_daemons(tmp_path: Path) -> None:
    """Lightning's own tests fail where a thread that is no daemon, or an environment variable, is left."""
    threads, variables = set(threading.enumerate()), dict(os.environ)
    fitting = trainer(tmp_path, max_epochs=1)
    fitting.fit(Net(), data(), data())
    after_fit = [thread for thread in set(threading.enumerate()) - threads if not thread.daemon]
    tracker.finish()

    assert after_fit == []
    assert [thread.name for thread in set(threading.enumerate()) - threads if thread.name.startswith("tracker")] == []
    assert {key: value for key, value in os.environ.items() if variables.get(key) != value} == {}


def test_fast_dev_run_barebones_and_no_logger_are_respected(tmp_path: Path, read: Read) -> None:
    """8.1 #22: nothing is logged that was not asked for."""
    trainer(tmp_path, fast_dev_run=True).fit(Net(), data(), data())
    trainer(tmp_path, False, max_epochs=1).fit(Net(), data(), data())
    pl.Trainer(barebones=True, accelerator="cpu", max_epochs=1, default_root_dir=tmp_path).fit(Net(), data(), data())
    trainer(tmp_path, True, max_epochs=1).fit(Net(), data(), data())

    assert (read(), tracker.run) == ([], None)


def test_a_tuner_leaves_nothing(tmp_path: Path, read: Read) -> None:
    fitting = trainer(tmp_path, max_epochs=1)
    model = Net()
    tuner = pl.tuner.Tuner(fitting)
    tuner.lr_find(model, data(), data(), num_training=3, attr_name="lr")
    tuner.scale_batch_size(_Sized(), max_trials=1)

    assert (read(), tracker.run) == ([], None)
    fitting.fit(model, data(), data())
    (run,) = read()
    assert [step for step, _ in curve(run)] == list(range(BATCHES))


@pytest.mark.skipif(
    Version(pl.__version__) < Version("2.5.3"), reason="until then Lightning's finder left one batch to train with"
)
def test_a_learning_rate_finder_among_the_callbacks_leaves_nothing_either(tmp_path: Path, only_run: OnlyRun) -> None:
    finder = pl.callbacks.LearningRateFinder(num_training_steps=3)
    trainer(tmp_path, max_epochs=1, callbacks=[finder]).fit(Net(), data(), data())

    assert [step for step, _ in curve(only_run())] == list(range(BATCHES))


class _Sized(Net):
    batch_size = 8

    def train_dataloader(self) -> Any:
        return data()

    def val_dataloader(self) -> Any:
        return data()
