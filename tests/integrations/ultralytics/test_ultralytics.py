"""Ultralytics: the smallest trainings of a model that is built from its description, and what came out of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics import YOLO
from ultralytics.utils import callbacks

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import patching
from tracker.integrations import ultralytics as ours
from tracker.integrations.ultralytics import add_tracker_callback

Read = Callable[[], list[ReadRun]]
OnlyRun = Callable[[], ReadRun]

MODEL = """
nc: 1
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[2], 1, Detect, [nc]]
"""

pytestmark = pytest.mark.usefixtures("torchvision")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Describe eight pictures with a square in each."""
    monkeypatch.setenv("TRACKER_WATCH", "false")
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for number in range(8):
        picture = generator.integers(0, 90, (32, 32, 3), dtype=np.uint8)
        picture[8:20, 8:20] = 255
        Image.fromarray(picture).save(tmp_path / "images" / f"{number}.png")
        (tmp_path / "labels" / f"{number}.txt").write_text("0 0.43 0.43 0.37 0.37")
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "data.yaml").write_text(f"path: {tmp_path}\ntrain: images\nval: images\nnames:\n  0: square\n")
    return tmp_path / "data.yaml"


def model(data: Path) -> Any:
    return YOLO(str(data.parent / "model.yaml"), task="detect")


def train(model: Any, data: Path, **arguments: Any) -> Any:
    """Train for two epochs, without plots."""
    given = {"epochs": 2, "imgsz": 32, "batch": 4, "device": "cpu", "workers": 0, "plots": False, "verbose": False}
    return model.train(data=str(data), project=str(data.parent / "runs"), **{**given, **arguments})


def rows(run: ReadRun, key: str) -> dict[Any, Any]:
    """Read a metric back, by step."""
    return {row["_step"]: row[key] for row in run.scan_history(keys=[key])}


def test_epochs_are_logged_as_the_framework_writes_them(data: Path, only_run: OnlyRun) -> None:
    yolo = add_tracker_callback(model(data), project="squares", tags=["tiny"])
    train(yolo, data, name="first")
    tracker.finish()
    run = only_run()
    with (Path(yolo.trainer.save_dir) / "results.csv").open() as file:
        written = {int(row["epoch"]): row for row in csv.DictReader(file)}

    assert (run.project, run.name, run.tags, run.state) == ("squares", "first", ["tiny"], "finished")
    for key in ("train/box_loss", "train/cls_loss", "val/box_loss", "metrics/mAP50(B)", "lr/pg0"):
        found = rows(run, key)
        assert {step: found[step] for step in written} == pytest.approx(
            {step: float(row[key]) for step, row in written.items()}, rel=1e-4
        )
    assert list(rows(run, "metrics/mAP50(B)")) == [1, 2, 3]  # the last is of the best weights
    assert (run.config["args"]["imgsz"], run.config["args"]["epochs"]) == (32, 2)
    assert (run.config["model"]["class"], run.config["data"]["nc"]) == ("DetectionModel", 1)


def test_a_detector_of_its_own_size_has_a_bounded_number_of_gradient_metrics(
    data: Path, only_run: OnlyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its blocks: a thousand metrics, three of each tensor, is what nobody has asked for."""
    monkeypatch.delenv("TRACKER_WATCH")
    yolo = YOLO("yolo11n.yaml")
    train(add_tracker_callback(yolo), data, epochs=1)
    tracker.finish()
    norms = {key.partition("/")[2] for key in only_run().summary if key.startswith("grad_norm/")}
    trained = [name for name, one in yolo.trainer.model.named_parameters() if one.requires_grad]

    assert len(trained) > 200
    assert 20 < len(norms - {"total"}) <= 64
    assert all(any(name.startswith(f"{module}.") for module in norms) for name in trained)
    assert not any(key.startswith("gradients/") for key in only_run().summary)


def test_plots_and_curves_are_logged(data: Path, only_run: OnlyRun) -> None:
    train(add_tracker_callback(model(data)), data, plots=True, epochs=1)
    tracker.finish()
    summary = only_run().summary

    assert {"plots/labels", "plots/train_batch0", "plots/results", "plots/confusion_matrix"} <= set(summary)
    assert summary["plots/labels"]["_type"] == "image-file"
    assert [key for key in summary if key.startswith("curves/Precision")]


def test_the_best_weights_are_versions(data: Path, only_run: OnlyRun) -> None:
    """8.1 #17: `best.pt` is written over; what was logged is what was there."""
    yolo = add_tracker_callback(model(data))
    train(yolo, data)
    tracker.finish()
    versions = list(only_run().logged_artifacts())
    (best,) = (version for version in versions if "best" in version.aliases)
    (file,) = Path(best.download()).iterdir()

    assert file.read_bytes() == Path(yolo.trainer.best).read_bytes()
    assert YOLO(file).model is not None
    assert best.metadata["epoch"] == 2


def test_no_weights_are_kept_where_that_is_not_wanted(data: Path, only_run: OnlyRun) -> None:
    train(add_tracker_callback(model(data), log_model=False), data, epochs=1)
    tracker.finish()

    assert list(only_run().logged_artifacts()) == []


def test_a_training_that_fails_is_resumed_in_its_run(data: Path, only_run: OnlyRun) -> None:
    """8.1 #10, #14: failed first, then finished; one curve, and no epoch twice."""

    def breaks(trainer: Any) -> None:
        if trainer.epoch == 2:
            raise ValueError("the pictures are on fire")

    yolo = add_tracker_callback(model(data))
    yolo.add_callback("on_train_epoch_end", breaks)
    with pytest.raises(ValueError, match="on fire"):
        train(yolo, data, epochs=4)
    failed = only_run()
    told, before = (failed.state, failed.details["exit"]["reason"]), list(rows(failed, "train/box_loss"))
    resumed = add_tracker_callback(YOLO(yolo.trainer.last))
    resumed.train(resume=True)
    tracker.finish()
    run = only_run()

    assert told == ("failed", "ValueError: the pictures are on fire")
    assert before == [1, 2, 3]
    assert (run.id, run.state) == (failed.id, "finished")
    assert list(rows(run, "train/box_loss")) == [1, 2, 3, 4]
    assert list(rows(run, "metrics/mAP50(B)")) == [1, 2, 3, 4, 5]


def test_the_users_own_run_stays_open(data: Path, only_run: OnlyRun) -> None:
    with tracker.init() as run:
        train(add_tracker_callback(model(data)), data, epochs=1)
        assert run.state == "running"

    assert only_run().summary["epoch"] == 2


def test_a_fault_of_ours_does_not_end_the_training(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7."""
    monkeypatch.setenv("TRACKER_STRICT", "0")
    monkeypatch.setattr(ours, "_data", lambda trainer: {}["nothing"])
    yolo = add_tracker_callback(model(data))
    train(yolo, data, epochs=1)

    assert yolo.trainer.epoch == 0
    assert "begin failed" in caplog.text


def test_autologging_needs_no_callback_and_adds_no_second(data: Path, read: Read) -> None:
    """8.1 #20, #22: only where it is asked for; each training is a run."""
    ours._autolog(callbacks)
    train(model(data), data, epochs=1)
    assert read() == []
    patching.ask(["ultralytics"], True)
    yolo = model(data)
    train(yolo, data, epochs=1)
    train(add_tracker_callback(model(data), project="mine"), data, epochs=1)
    tracker.finish()

    assert [(run.project, list(rows(run, "train/box_loss"))) for run in read()] == [
        ("uncategorized", [1]),
        ("mine", [1]),
    ]
    assert "YOLO_CONFIG_DIR" in os.environ
