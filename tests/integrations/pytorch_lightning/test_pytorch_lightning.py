"""pytorch_lightning, beside or without `lightning`: the same code under another name, and classes of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from tracker.core.query import Run as ReadRun

OnlyRun = Callable[[], ReadRun]
Script = Callable[..., subprocess.CompletedProcess[str]]

NET = """
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(pl.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(4, 3)

    def training_step(self, batch, index):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


loader = DataLoader(TensorDataset(torch.randn(32, 4), torch.arange(32) % 3), batch_size=8)
quiet = dict(accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1, max_epochs=1)
"""


def check(run: ReadRun) -> None:
    """Assert that all of it is there."""
    assert len(list(run.scan_history(keys=["loss"]))) == 4
    assert run.config["lr"] == 0.1
    assert {"val_loss", "lr-SGD", "grad_norm/total"} <= set(run.summary)
    assert len(run.table("validate/predictions").rows()) == 32
    assert len(run.logged_artifacts()) == 1
    assert run.state == "finished"


def test_its_trainer_knows_tracker_without_any_import(script: Script, only_run: OnlyRun) -> None:
    script(
        "import pytorch_lightning as pl\n" + NET + 'pl.Trainer(logger="tracker", **quiet).fit(Net(), loader, loader)'
    )

    check(only_run())


def test_its_trainers_are_logged_by_themselves(script: Script, only_run: OnlyRun) -> None:
    script(
        "import pytorch_lightning as pl\n" + NET + "pl.Trainer(**quiet).fit(Net(), loader, loader)",
        TRACKER_AUTOLOG="pytorch_lightning",
    )

    check(only_run())


def test_its_logger_is_its_own_where_both_are_loaded(script: Script, only_run: OnlyRun) -> None:
    code = """
        import lightning
        import pytorch_lightning as pl
        import tracker.integrations.lightning as one
        import tracker.integrations.pytorch_lightning as other
        import pickle
        assert issubclass(other.TrackerLogger, pl.loggers.Logger)
        assert not issubclass(one.TrackerLogger, pl.loggers.Logger)
        assert issubclass(other.TrackerCallback, pl.Callback)
        assert pickle.loads(pickle.dumps(other.TrackerLogger)) is other.TrackerLogger
        assert type(pickle.loads(pickle.dumps(other.TrackerLogger()))) is other.TrackerLogger
    """
    import textwrap

    script(
        textwrap.dedent(code)
        + NET
        + "logger = other.TrackerLogger()\ntrainer = pl.Trainer(logger=logger, **quiet)\ntrainer.fit(Net(), loader, loader)\n"
        + "assert type(trainer.callbacks[-2]) is other.TrackerCallback, trainer.callbacks"
    )

    check(only_run())


def test_without_the_other_package_the_one_that_is_there_is_taken(script: Script) -> None:
    script("""
        import sys
        import pytorch_lightning
        from tracker.integrations.lightning import TrackerLogger
        assert issubclass(TrackerLogger, pytorch_lightning.loggers.Logger)
        assert "lightning.pytorch" not in sys.modules
    """)
