"""The smallest model that learns something, its data, and a trainer that says little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

ROWS, BATCH, CLASSES = 32, 8, 3
BATCHES = ROWS // BATCH

NET = """
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(pl.LightningModule):
    def __init__(self, lr=0.05, width=8):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 3))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        x, y = batch
        loss = torch.nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val_loss", torch.nn.functional.cross_entropy(self(x), y), sync_dist=True)

    def test_step(self, batch, index):
        x, y = batch
        self.log("test_loss", torch.nn.functional.cross_entropy(self(x), y), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def data(rows=32):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 4, generator=random)
    return DataLoader(TensorDataset(x, x.argmax(1).clamp(max=2)), batch_size=8)


QUIET = dict(accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1)
"""
"""The same as a text, for scripts; `pl` is imported before it."""


class Net(pl.LightningModule):
    """A classifier of four numbers."""

    def __init__(self, lr: float = 0.05, width: int = 8) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, CLASSES))

    def forward(self, x: Any) -> Any:
        return self.net(x)

    def training_step(self, batch: Any, index: int) -> Any:
        loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> Any:
        self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Any, index: int) -> Any:
        self.log("test_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


def data(rows: int = ROWS, **options: Any) -> DataLoader[Any]:
    """Four numbers and which of them is the largest; the fourth counts as the third."""
    x = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x.argmax(1).clamp(max=CLASSES - 1)), batch_size=BATCH, **options)


def trainer(folder: Path, logger: Any = "tracker", **options: Any) -> pl.Trainer:
    """A Trainer for the CPU that logs each step."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1, "max_epochs": 2}
    return pl.Trainer(logger=logger, default_root_dir=folder, accelerator="cpu", **{**quiet, **options})


def curve(run: Any, key: str = "loss") -> list[tuple[Any, Any]]:
    """Read a metric back: steps and values."""
    return [(row["_step"], row[key]) for row in run.scan_history(keys=[key])]
