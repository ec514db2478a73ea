"""Autologging of everything: a framework that writes for TensorBoard, and steps an optimizer, is logged once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tracker.integrations import INTEGRATIONS


def keys(run: Any) -> set[str]:
    """Answer all names in the history."""
    return {key for row in run.history(pandas=False) for key, value in row.items() if value is not None}


def test_transformers(script: Any, only_run: Callable[[], Any]) -> None:
    """One run, the Trainer's own: nothing of its optimizer or of its writer beside it."""
    pytest.importorskip("transformers")
    script(
        """
        import torch
        from torch import nn
        from transformers import Trainer, TrainingArguments

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(4, 1)
            def forward(self, x, labels):
                out = self.layer(x)
                return {"loss": (out - labels).pow(2).mean(), "logits": out}

        data = [{"x": torch.randn(4), "labels": torch.randn(1)} for _ in range(16)]
        arguments = TrainingArguments("out", report_to=["tensorboard"], logging_steps=1, max_steps=4, use_cpu=True,
                                      save_strategy="no", disable_tqdm=True)
        Trainer(model=Net(), args=arguments, train_dataset=data).train()
        """,
        TRACKER_AUTOLOG="1",
    )

    run = only_run()
    assert run.state == "finished"
    assert "train/loss" in keys(run)
    assert not [key for key in keys(run) if key.startswith(("optimizer", "args", "model_config"))]


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning(package: str, script: Any, only_run: Callable[[], Any]) -> None:
    """One run: what the Trainer logs comes once, though TensorBoard's logger writes it too."""
    pytest.importorskip(package)
    script(
        f"""
        import torch
        import {package} as pl
        from {package}.loggers import TensorBoardLogger

        class Net(pl.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(4, 1)
            def training_step(self, batch, index):
                loss = self.layer(batch).pow(2).mean()
                self.log("loss", loss)
                return loss
            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)

        data = torch.utils.data.DataLoader(torch.randn(16, 4), batch_size=4)
        pl.Trainer(max_epochs=1, logger=TensorBoardLogger("logs"), log_every_n_steps=1, accelerator="cpu",
                   enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False).fit(Net(), data)
        """,
        TRACKER_AUTOLOG="1",
    )

    run = only_run()
    assert run.state == "finished"
    assert "loss" in keys(run)
    assert not [key for key in keys(run) if key.startswith("optimizer")]
    assert len([row for row in run.history(pandas=False) if row.get("loss") is not None]) == 4


@pytest.mark.skipif("keras" not in [one.name for one in INTEGRATIONS], reason="Keras is not logged by itself")
def test_keras(script: Any, only_run: Callable[[], Any]) -> None:
    """One run, Keras' own: its TensorBoard callback writes to folders of its own, which are not followed."""
    pytest.importorskip("tensorflow")
    script(
        """
        import numpy as np
        import keras

        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.zeros((16, 4)), np.zeros((16, 1)), epochs=2, verbose=0,
                  callbacks=[keras.callbacks.TensorBoard("logs")])
        """,
        TRACKER_AUTOLOG="1",
        TF_CPP_MIN_LOG_LEVEL="3",
    )

    run = only_run()
    assert run.state == "finished"
    assert not [key for key in keys(run) if "epoch_loss" in key]


def test_keras_when_it_is_asked_for(script: Any, only_run: Callable[[], Any]) -> None:
    """`sync_tensorboard` takes what the callback writes, with the names of its folders."""
    pytest.importorskip("tensorflow")
    script(
        """
        import numpy as np
        import keras
        import tracker

        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        with tracker.init(sync_tensorboard=True):
            x, y = np.zeros((16, 4)), np.zeros((16, 1))
            model.fit(x, y, epochs=2, verbose=0, validation_data=(x, y), callbacks=[keras.callbacks.TensorBoard("logs")])
        """,
        TF_CPP_MIN_LOG_LEVEL="3",
    )

    run = only_run()
    assert run.state == "finished"
    assert {"train/epoch_loss", "validation/epoch_loss"} <= keys(run)
    assert [row["_step"] for row in run.history(pandas=False) if row.get("train/epoch_loss") is not None] == [0, 1]
