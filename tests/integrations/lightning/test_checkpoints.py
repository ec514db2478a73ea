"""What ModelCheckpoint saves is kept with the run, as it saves it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations.lightning import TrackerLogger

from .net import BATCHES, Net, data, trainer

OnlyRun = Callable[[], ReadRun]


def kept(run: ReadRun) -> dict[str, list[Any]]:
    """Answer the versions that a run has made, by their collection, once they are stored."""
    tracker.finish()
    found: dict[str, list[Any]] = {}
    for artifact in run.logged_artifacts():
        found.setdefault(artifact.name.partition(":")[0], []).append(artifact)
    return found


def test_each_one_is_kept_though_its_file_is_deleted(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.1 #17, #18: it is taken when it is saved, not at the end, and what `save_top_k` deletes is there all the same."""
    saving = ModelCheckpoint(tmp_path / "kept", monitor="val_loss", save_top_k=1)
    fitting = trainer(tmp_path, max_epochs=4, callbacks=[saving])
    fitting.fit(Net(lr=0.05), data(), data())
    run = only_run()
    ((name, versions),) = kept(run).items()

    assert name == f"model-{run.id}"
    assert [version.metadata["step"] for version in versions] == [4, 8, 12, 16]
    assert len(os.listdir(tmp_path / "kept")) == 1
    assert [("best" in version.aliases, "latest" in version.aliases) for version in versions] == [
        (False, False)
    ] * 3 + [(True, True)]
    assert versions[-1].metadata["score"] == pytest.approx(float(saving.best_model_score))
    assert versions[-1].metadata["monitor"] == "val_loss"
    first = torch.load(
        Path(versions[0].download(str(tmp_path / "there"))) / versions[0].files()[0].path, weights_only=True
    )
    assert first["global_step"] == 4


def test_best_is_the_best_one_not_the_last(tmp_path: Path, only_run: OnlyRun) -> None:
    class Worse(Net):
        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", float([0.5, 0.1, 0.9][self.current_epoch]))

    saving = ModelCheckpoint(tmp_path / "kept", monitor="val_loss", save_top_k=-1)
    trainer(tmp_path, max_epochs=3, callbacks=[saving]).fit(Worse(), data(), data())
    (versions,) = kept(only_run()).values()

    assert [("best" in version.aliases, version.metadata["score"]) for version in versions] == [
        (False, 0.5),
        (True, pytest.approx(0.1)),
        (False, pytest.approx(0.9)),
    ]


def test_every_model_checkpoint_is_heard(tmp_path: Path, only_run: OnlyRun) -> None:
    """8.3, Lightning#1116, #11156: not the last one alone; each has a collection of its own."""
    savings = [
        ModelCheckpoint(tmp_path / "a", monitor="val_loss"),
        ModelCheckpoint(tmp_path / "b", monitor="loss", every_n_train_steps=2),
        ModelCheckpoint(tmp_path / "c", filename="c"),
    ]
    trainer(tmp_path, max_epochs=1, callbacks=savings).fit(Net(), data(), data())
    run = only_run()

    assert {name: len(versions) for name, versions in kept(run).items()} == {
        f"model-{run.id}": 2,
        f"model-{run.id}-val_loss": 1,
        f"model-{run.id}-3": 1,
    }


def test_one_that_is_saved_twice_at_a_step_is_kept_once(tmp_path: Path, only_run: OnlyRun) -> None:
    saving = ModelCheckpoint(tmp_path / "kept", save_last=True)
    trainer(tmp_path, max_epochs=2, callbacks=[saving]).fit(Net(), data(), data())
    (versions,) = kept(only_run()).values()

    assert [version.metadata["step"] for version in versions] == [4, 8]
    assert sorted(os.listdir(tmp_path / "kept")) == ["epoch=1-step=8.ckpt", "last.ckpt"]


@pytest.mark.parametrize("said", ["argument", "environment"])
def test_none_is_kept_where_none_is_wanted(
    said: str, tmp_path: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8.3, Lightning#5867: `log_model=False` saves nothing."""
    if said == "environment":
        monkeypatch.setenv("TRACKER_LOG_MODEL", "false")
    logger = TrackerLogger(log_model=False) if said == "argument" else TrackerLogger()
    fitting = trainer(tmp_path, logger, max_epochs=1)
    fitting.fit(Net(), data(), data())

    assert Path(fitting.checkpoint_callback.best_model_path).is_file()
    assert kept(only_run()) == {}


def test_only_the_end_is_kept_where_that_is_wanted(tmp_path: Path, only_run: OnlyRun) -> None:
    fitting = trainer(tmp_path, TrackerLogger(log_model="end", checkpoint_name="mine"), max_epochs=3)
    fitting.fit(Net(), data(), data())
    ((name, versions),) = kept(only_run()).items()

    assert (name, [version.metadata["step"] for version in versions]) == ("mine", [3 * BATCHES])


def test_a_folder_is_kept_whole(tmp_path: Path, only_run: OnlyRun) -> None:
    """As FSDP and DeepSpeed write: a folder with a file for each rank."""

    class Folders(pl.plugins.io.TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            Path(path).mkdir(parents=True)
            torch.save(checkpoint, Path(path) / "meta.pt")
            (Path(path) / "rank0").write_bytes(b"part")

        def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return super().load_checkpoint(Path(path) / "meta.pt")

    fitting = trainer(tmp_path, max_epochs=1, plugins=[Folders()])
    fitting.fit(Net(), data(), data())
    run = only_run()
    (versions,) = kept(run).values()
    trainer(tmp_path, max_epochs=2, plugins=[Folders()]).fit(
        Net(), data(), data(), ckpt_path=fitting.checkpoint_callback.best_model_path
    )

    assert sorted(file.path for file in versions[0].files()) == ["meta.pt", "rank0"]
    assert only_run().id == run.id


def test_one_that_is_written_behind_our_back_is_kept_once_it_is_there(tmp_path: Path, only_run: OnlyRun) -> None:
    class Later(pl.plugins.io.TorchCheckpointIO):
        """Writes at the end, as AsyncCheckpointIO may."""

        waiting: dict[Any, Any] = {}

        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            self.waiting[path] = checkpoint

        def teardown(self) -> None:
            for path, checkpoint in self.waiting.items():
                super().save_checkpoint(checkpoint, path)

    trainer(tmp_path, max_epochs=1, plugins=[Later()]).fit(Net(), data(), data())
    (versions,) = kept(only_run()).values()

    assert [version.metadata["step"] for version in versions] == [BATCHES]
