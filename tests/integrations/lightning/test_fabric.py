"""Fabric: loops of the user's own, with a TrackerLogger."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric import Fabric

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations.lightning import make_logger

from .net import curve

OnlyRun = Callable[[], ReadRun]
Read = Callable[[], list[ReadRun]]
Script = Callable[..., subprocess.CompletedProcess[str]]

LOOP = """
import torch
fabric = Fabric({arguments})
model = torch.nn.Linear(2, 1)
model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.1))
for step in range(5):
    loss = model(torch.ones(4, 2)).mean()
    fabric.backward(loss)
    optimizer.step()
    fabric.log("loss", loss, step=step)
"""


def logger(**arguments: Any) -> Any:
    """Answer a logger for Fabric alone."""
    return make_logger("lightning.fabric")(**arguments)


def test_what_is_logged_is_in_the_run(only_run: OnlyRun) -> None:
    ours = logger(project="p", config={"lr": 0.1})
    fabric = Fabric(accelerator="cpu", loggers=[ours])
    assert tracker.run is None
    for step in (0, 1, 2):
        fabric.log("loss", torch.tensor(float(step)), step=step)
    fabric.log_dict({"a": 1, "b": 2.0})
    ours.log_hyperparams({"width": 8})
    ours.finalize("success")
    run = only_run()

    assert curve(run) == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert curve(run, "a") == [(3, 1)]
    assert (run.project, run.config["lr"], run.config["width"]) == ("p", 0.1, 8)


def test_a_model_is_watched_as_by_wandb_logger(only_run: OnlyRun) -> None:
    ours = logger()
    fabric = Fabric(accelerator="cpu", loggers=ours)
    line = torch.nn.Linear(2, 1)
    model, optimizer = fabric.setup(line, torch.optim.SGD(line.parameters(), lr=0.1))
    ours.watch(line, log="all", log_freq=2)
    for step in range(4):
        fabric.backward(model(torch.ones(4, 2)).mean())
        optimizer.step()
        fabric.log("loss", 0.0, step=step)
    ours.log_graph(line)

    assert len(curve(only_run(), "grad_norm/total")) == 2


def test_its_experiment_is_the_run() -> None:
    ours = logger(name="mine")

    assert isinstance(ours.experiment, tracker.Run)
    assert ours.experiment is tracker.run
    assert ours.experiment.name == "mine"


def test_a_script_is_logged_by_itself(script: Script, only_run: OnlyRun) -> None:
    script("from lightning.fabric import Fabric\n" + LOOP.format(arguments="accelerator='cpu'"), TRACKER_AUTOLOG="1")

    assert len(curve(only_run())) == 5
    assert only_run().state == "finished"


def test_it_is_not_where_that_was_not_asked_for(script: Script, read: Read) -> None:
    script("from lightning_fabric import Fabric\n" + LOOP.format(arguments="accelerator='cpu'"))

    assert read() == []


def test_a_logger_of_ones_own_is_not_doubled(script: Script, only_run: OnlyRun) -> None:
    code = "from lightning_fabric import Fabric\nfrom tracker.integrations.lightning import TrackerLogger\n"
    code += LOOP.format(arguments="accelerator='cpu', loggers=[TrackerLogger(project='mine')]")
    code += "import sys\nassert len(fabric.loggers) == 1 and 'pytorch_lightning' not in sys.modules"
    script(code, TRACKER_AUTOLOG="1")

    assert (len(curve(only_run())), only_run().project) == (5, "mine")


def test_two_ranks_are_one_run(script: Script, only_run: OnlyRun) -> None:
    """8.1 #9."""
    code = "from lightning.fabric import Fabric\nfrom tracker.integrations.lightning import TrackerLogger\n"
    loop = LOOP.replace("\nmodel = ", "\nfabric.launch()\nmodel = ")
    code += loop.format(arguments="accelerator='cpu', devices=2, strategy='ddp', loggers=TrackerLogger()")
    script(code)

    assert len(curve(only_run())) == 5
