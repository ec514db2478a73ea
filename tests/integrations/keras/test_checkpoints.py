"""Checkpoints: which are kept, when, and as what; and trainings that go on from one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tracker
from tracker.integrations.keras import TrackerCallback, TrackerMetricsLogger, TrackerModelCheckpoint

from .models import column, fit, model

is_inner = pytest.mark.skipif("KERAS_TESTS_INNER" in os.environ, reason="the same on each backend")


def versions(run: Any) -> list[Any]:
    """Answer the versions of the run's model, oldest first."""
    return sorted(run.logged_artifacts(), key=lambda artifact: int(str(artifact.version).lstrip("v")))


def test_each_epochs_checkpoint_is_a_version(tmp_path: Path, only_run: Any) -> None:
    """8.1 #17: a checkpoint is changed while it waits: here each writes over the one before."""
    made = model()
    weights = []

    class Remember(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            weights.append(self.model.get_weights())

    fit(made, TrackerModelCheckpoint(tmp_path / "last.keras"), Remember(), epochs=3)
    tracker.finish()
    found = versions(only_run())

    assert [artifact.metadata["epoch"] for artifact in found] == [0, 1, 2]
    assert [artifact.metadata["step"] for artifact in found] == [3, 6, 9]
    assert "epoch_2" in found[2].aliases
    for artifact, expected in zip(found, weights, strict=True):
        restored = keras.models.load_model(
            Path(artifact.download(root=str(tmp_path / f"v{artifact.version}"))) / "last.keras"
        )
        np.testing.assert_array_equal(restored.get_weights()[0], expected[0])


def test_all_arguments_are_those_of_keras(tmp_path: Path) -> None:
    ours = TrackerModelCheckpoint(
        tmp_path / "{epoch}.weights.h5",
        "val_accuracy",
        verbose=0,
        save_best_only=True,
        save_weights_only=True,
        mode="max",
        save_freq="epoch",
        initial_value_threshold=0.1,
    )

    assert isinstance(ours, keras.callbacks.ModelCheckpoint)
    assert ours.monitor == "val_accuracy"
    assert ours.async_safe  # it has nothing to do at the end of a batch
    assert not TrackerModelCheckpoint(tmp_path / "a.keras", save_freq=10).async_safe


def test_save_best_only_keeps_what_was_saved_and_nothing_else(tmp_path: Path, only_run: Any) -> None:
    """8.1 #25, wandb#8842: a crash where nothing was saved; and the last file is not kept once more."""
    path = tmp_path / "best.keras"
    checkpoint = TrackerModelCheckpoint(path, monitor="loss", save_best_only=True)
    history = fit(model(optimizer=keras.optimizers.SGD(20.0)), TrackerMetricsLogger(), checkpoint, epochs=6).history[
        "loss"
    ]
    tracker.finish()
    best = [epoch for epoch, loss in enumerate(history) if loss == min(history[: epoch + 1])]
    found = versions(only_run())

    assert len(best) < 6
    assert [artifact.metadata["epoch"] for artifact in found] == best
    assert all(artifact.metadata["loss"] == history[artifact.metadata["epoch"]] for artifact in found)
    assert "best" in found[-1].aliases


def test_nothing_saved_is_nothing_kept(tmp_path: Path, only_run: Any) -> None:
    """8.1 #25, wandb#8842: no epoch is better than the threshold."""
    checkpoint = TrackerModelCheckpoint(
        tmp_path / "best.keras", monitor="loss", save_best_only=True, initial_value_threshold=-1.0
    )
    fit(model(), checkpoint, TrackerMetricsLogger())
    run = only_run()

    assert versions(run) == []
    assert list(column(run, "epoch/loss")) == [3, 6]


def test_the_best_of_all_checkpoints_is_marked(tmp_path: Path, only_run: Any) -> None:
    history = fit(model(), TrackerModelCheckpoint(tmp_path / "{epoch}.keras"), validation_split=0.4, epochs=4).history[
        "val_loss"
    ]
    tracker.finish()

    (best,) = [artifact for artifact in versions(only_run()) if "best" in artifact.aliases]
    assert best.metadata["epoch"] == history.index(min(history))


def test_checkpoints_within_an_epoch_know_their_step(tmp_path: Path, only_run: Any) -> None:
    fit(model(), TrackerModelCheckpoint(tmp_path / "b.weights.h5", save_weights_only=True, save_freq=2))
    tracker.finish()
    found = versions(only_run())

    assert [artifact.metadata["step"] for artifact in found] == [2, 4, 6]
    assert "epoch_0_batch_1" in found[0].aliases


def test_keras_own_checkpoints_are_kept_by_the_callback(tmp_path: Path, only_run: Any) -> None:
    """The user's script saves as it always did."""
    theirs = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras", monitor="loss", save_best_only=True)
    fit(model(), theirs, TrackerCallback())
    tracker.finish()

    assert [artifact.metadata["file"] for artifact in versions(only_run())] == ["1.keras", "2.keras"]


def test_without_a_checkpoint_the_trained_model_is_kept(tmp_path: Path, only_run: Any) -> None:
    made = model()
    fit(made, TrackerCallback())
    tracker.finish()
    (last,) = versions(only_run())

    assert "last" in last.aliases
    restored = keras.models.load_model(Path(last.download(root=str(tmp_path / "got"))) / "model.keras")
    np.testing.assert_array_equal(restored.get_weights()[0], made.get_weights()[0])


@pytest.mark.parametrize(("choice", "kept"), [("false", []), ("end", ["model.keras"]), ("all", ["1.keras", "2.keras"])])
def test_the_environment_says_what_is_kept(
    choice: str, kept: list[str], tmp_path: Path, only_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mlflow#3663: models are logged by default, and slowly."""
    monkeypatch.setenv("TRACKER_LOG_MODEL", choice)
    theirs = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    fit(model(), theirs, TrackerCallback())
    tracker.finish()
    found = versions(only_run())

    assert [artifact.metadata.get("file", "model.keras") for artifact in found] == kept


# --- going on ------------------------------------------------------------------------------------------


def test_backup_and_restore_goes_on_in_the_same_run(tmp_path: Path, only_run: Any) -> None:
    """8.1 #10: a resumed training starts a new run, or its points are there twice."""

    class Failing(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise RuntimeError("power is gone")

    def train(*more: Any) -> Any:
        backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        return fit(model(), backup, TrackerMetricsLogger(log_freq="batch"), *more, epochs=4)

    with pytest.raises(RuntimeError, match="power is gone"):
        train(Failing())
    train()
    tracker.finish()
    run = only_run()

    assert run.state == "finished"
    assert column(run, "epoch/epoch") == {3: 0, 6: 1, 9: 2, 12: 3}
    assert list(column(run, "batch/loss")) == list(range(1, 13))
    assert not (tmp_path / "backup").exists()


@is_inner
@pytest.mark.parametrize("order", ["backup, ours", "ours, backup"])
def test_killed_in_the_middle_and_gone_on_with(order: str, tmp_path: Path, only_run: Any) -> None:
    """SIGKILL in an epoch: one run, each step once, and the epochs go on."""
    program = tmp_path / "train.py"
    program.write_text(
        textwrap.dedent(f"""
            import os, signal, sys
            import keras, numpy as np
            from tracker.integrations.keras import TrackerMetricsLogger

            class Kill(keras.callbacks.Callback):
                def on_train_batch_end(self, batch, logs=None):
                    if "kill" in sys.argv and self.epoch == 2 and batch == 1:
                        os.kill(os.getpid(), signal.SIGKILL)

                def on_epoch_begin(self, epoch, logs=None):
                    self.epoch = epoch

            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            model.compile("sgd", "mse")
            backup = keras.callbacks.BackupAndRestore("backup")
            ours = TrackerMetricsLogger(log_freq="batch")
            model.fit(np.ones((30, 4)), np.ones(30), batch_size=10, epochs=4, verbose=0, callbacks=[{order}, Kill()])
            """)
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, program, "kill"], cwd=tmp_path, env=environment, timeout=200)
    subprocess.run([sys.executable, program], cwd=tmp_path, env=environment, timeout=200, check=True)
    run = only_run()

    assert killed.returncode == -signal.SIGKILL
    assert run.state == "finished"
    steps = [row["_step"] for row in run.history(pandas=False)]
    assert steps == list(range(1, 13))
    assert column(run, "epoch/epoch") == {3: 0, 6: 1, 9: 2, 12: 3}
