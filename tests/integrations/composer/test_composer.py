"""MosaicML Composer: the smallest training, and what came out of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composer import Trainer
from composer.models import ComposerClassifier

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations.composer import TrackerLogger

OnlyRun = Callable[[], ReadRun]


def trainer(*loggers: Any, **arguments: Any) -> Trainer:
    """Answer a trainer of a linear model on 16 rows in batches of 4."""
    x = torch.randn(16, 3)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long()), batch_size=4)
    model = ComposerClassifier(torch.nn.Linear(3, 2), num_classes=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(
        model=model, train_dataloader=data, eval_dataloader=data, optimizers=optimizer, device="cpu",
        max_duration="2ep", loggers=list(loggers), progress_bar=False, log_to_console=False, **arguments,
    )  # fmt: skip


def rows(run: ReadRun, key: str) -> dict[Any, Any]:
    """Read a metric back, by step."""
    return {row["_step"]: row[key] for row in run.scan_history(keys=[key])}


def test_a_training_is_logged_batch_by_batch(only_run: OnlyRun, tmp_path: Path) -> None:
    fit = trainer(
        TrackerLogger(project="composed"), run_name="first", save_folder=str(tmp_path / "kept"), save_interval="1ep"
    )
    fit.fit()
    fit.close()
    tracker.finish()
    run = only_run()

    assert (run.project, run.name, run.state) == ("composed", "first", "finished")
    assert len(rows(run, "loss/train/total")) == 8
    assert len(rows(run, "metrics/eval/MulticlassAccuracy")) == 2
    assert run.config["model"] == {"class": "ComposerClassifier", "parameters": 8}
    assert "rank_zero_seed" in run.config["args"]
    assert {version.metadata["step"] for version in run.logged_artifacts()} == {4, 8}


def test_tables_and_images_are_kept(only_run: OnlyRun) -> None:
    logger = TrackerLogger()
    fit = trainer(logger)
    fit.logger.log_table(["a", "b"], [[1, "x"]], name="notes", step=1)
    fit.logger.log_table(["a", "b"], [[2, "y"]], name="notes", step=2)
    fit.logger.log_images(np.zeros((2, 3, 4, 6), np.uint8), name="pictures", step=2)
    fit.close()
    tracker.finish()
    run = only_run()

    assert list(run.table("notes").to_pandas()["b"]) == ["x", "y"]
    assert len(list(run.media("pictures"))) == 2


def test_the_users_own_run_stays_open(only_run: OnlyRun) -> None:
    with tracker.init() as run:
        fit = trainer(TrackerLogger())
        fit.fit()
        fit.close()
        assert run.state == "running"

    assert len(rows(only_run(), "loss/train/total")) == 8


def test_there_is_nothing_to_resume_from() -> None:
    with pytest.raises(FileNotFoundError):
        TrackerLogger().download_file("latest.pt", "here")
