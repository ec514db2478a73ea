"""Scripts that say nothing of tracker, and others that name it: as users start them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.core.query import Run as ReadRun

from .net import BATCHES, NET, curve

OnlyRun = Callable[[], ReadRun]
Read = Callable[[], list[ReadRun]]
Script = Callable[..., subprocess.CompletedProcess[str]]

TRAIN = f"import lightning.pytorch as pl\n{NET}\n"
FIT = "pl.Trainer(max_epochs=1, **QUIET).fit(Net(), data(), data())"


def check(run: ReadRun) -> None:
    """Assert that all of it is there."""
    assert len(curve(run)) == BATCHES
    assert run.config["lr"] == 0.05
    assert {"val_loss", "lr-Adam", "grad_norm/total"} <= set(run.summary)
    assert len(run.table("validate/predictions").rows()) == 32
    assert len(run.logged_artifacts()) == 1
    assert run.state == "finished"


def test_an_untouched_script_is_logged(script: Script, only_run: OnlyRun, tmp_path: Path) -> None:
    """Behind the loggers it has: checkpoints stay where they would be."""
    script(TRAIN + FIT, TRACKER_AUTOLOG="1")

    check(only_run())
    assert list(tmp_path.glob("lightning_logs/version_0/checkpoints/*.ckpt"))


def test_nothing_is_logged_that_was_not_asked_for(script: Script, read: Read) -> None:
    """8.1 #22, also where tracker is installed and another framework is asked for."""
    script(TRAIN + FIT, TRACKER_AUTOLOG="xgboost")

    assert read() == []


def test_one_line_in_the_script_does_it_too_and_undoes_it(script: Script, read: Read) -> None:
    script(
        "import tracker\ntracker.autolog('lightning', log_models=False)\n"
        + TRAIN
        + FIT
        + "\ntracker.autolog(disable=True)\n"
        + FIT
    )
    (run,) = read()

    assert len(curve(run)) == BATCHES
    assert run.logged_artifacts() == []


def test_without_entry_points_it_is_the_start_up_hook(script: Script, only_run: OnlyRun) -> None:
    """Where the package's metadata is missing."""
    hidden = "import lightning.fabric.utilities.registry as r\nr.entry_points = lambda group: []\n"
    script(hidden + TRAIN + FIT, TRACKER_AUTOLOG="lightning")

    check(only_run())


def test_the_entry_points_are_enough(script: Script, only_run: OnlyRun) -> None:
    """Where the start-up hook is not there."""
    code = "import sys\nsys.meta_path[:] = [one for one in sys.meta_path if getattr(one, '__name__', '') != 'Finder']\n"
    script(code + TRAIN + FIT, TRACKER_AUTOLOG="lightning")

    check(only_run())


def test_the_name_is_known_where_tracker_is_imported_last(script: Script, only_run: OnlyRun) -> None:
    """Where the start-up hook is not read (`python -S`, another environment's folder on the path)."""
    code = "import sys\nsys.meta_path[:] = [one for one in sys.meta_path if getattr(one, '__name__', '') != 'Finder']\n"
    script(code + TRAIN + "import tracker\n" + FIT.replace("Trainer(", 'Trainer(logger="tracker", '))

    check(only_run())


def test_what_was_said_of_a_run_holds(script: Script, only_run: OnlyRun) -> None:
    script(TRAIN + FIT, TRACKER_AUTOLOG="1", TRACKER_PROJECT="digits", TRACKER_NAME="first", TRACKER_RUN_ID="abc")

    check(only_run())
    assert (only_run().project, only_run().name, only_run().id) == ("digits", "first", "abc")


def test_no_environment_variable_is_left_for_children(script: Script) -> None:
    script(
        "import os\nbefore = dict(os.environ)\n"
        + TRAIN
        + FIT
        + "\nleft = {k for k in os.environ if os.environ[k] != before.get(k)}\nassert not {k for k in left if 'TRACKER' in k}, left",
        TRACKER_AUTOLOG="1",
    )


def test_lightning_cli_takes_the_logger_by_its_path(script: Script, only_run: OnlyRun) -> None:
    pytest.importorskip("jsonargparse")
    code = f"""
import lightning.pytorch as pl
from lightning.pytorch.cli import LightningCLI
{NET}

class Digits(pl.LightningDataModule):
    def train_dataloader(self):
        return data()

    def val_dataloader(self):
        return data()


LightningCLI(Net, Digits, save_config_callback=None)
"""
    script(
        code,
        "fit",
        "--trainer.logger=tracker.integrations.lightning.TrackerLogger",
        "--trainer.logger.project=by-cli",
        "--trainer.logger.dict_kwargs.tags=[one,two]",
        "--trainer.max_epochs=1",
        "--trainer.log_every_n_steps=1",
        "--trainer.accelerator=cpu",
        "--model.lr=0.05",
    )

    check(only_run())
    assert (only_run().project, only_run().tags) == ("by-cli", ["one", "two"])


def test_importing_ours_loads_neither_lightning_nor_torch() -> None:
    code = "import sys, tracker.integrations.lightning, tracker.integrations.pytorch_lightning as p; print(p.__all__);"
    code += "assert not {'torch', 'lightning', 'numpy', 'pytorch_lightning'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
