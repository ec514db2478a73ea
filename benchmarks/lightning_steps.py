"""A Lightning `Trainer` that logs at each step, beside one without a logger, and beside a logger that does nothing.

The time is that of the training proper, setting up and runs' ends left out. What Lightning itself does to log a row is in
each logger's figure; the second row shows what is left without it. A run's first moments, in which machine, packages and
code are captured beside the training, are a figure of their own: they come once, however long the training is.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .harness import Bench, Figure, Skipped, median

TOOLS = ("tracker", "wandb", "mlflow", "tensorboardX", "csv")
WIDTH, BATCH, STEPS, FIRST_STEPS = 256, 64, 400, 200


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    values = bench.each(
        list(TOOLS),
        bench.pick(5, 1),
        lambda tool: bench.call(tool, "lightning_steps", "measure", tool=tool, blocks=bench.pick(8, 2)),
    )

    def figure(name: str, key: str, target: float | None = None) -> Figure:
        found = {tool: median([one[key] for one in many]) for tool, many in values.items()}
        plain = (
            f"a step is {median([one['step_ms'] for one in values['tracker']]):.1f} ms" if "tracker" in found else ""
        )
        return Figure(name, found.pop("tracker", None), found, target, note=plain)

    return [
        figure("Lightning, `log_every_n_steps=1`: slowdown against `logger=False`, %", "slower", 2.0),
        figure("the same against a logger that does nothing, %", "slower_than_idle"),
        figure(f"the same, the first {FIRST_STEPS} steps: ms in all", "first_ms"),
    ]


def measure(tool: str, blocks: int) -> dict[str, float]:
    """Train with the tool, without a logger and with an idle one, in turn; in the tool's interpreter."""
    try:
        import lightning.pytorch as pl
    except ImportError as error:
        raise Skipped(str(error)) from None
    import torch

    torch.set_num_threads(1)
    names = ["none", "idle", tool]
    found: dict[str, list[float]] = {name: [] for name in names}
    first: dict[str, list[float]] = {name: [] for name in names}
    for block in range(blocks + 1):
        for name in names if block % 2 else names[::-1]:
            begin, go_on = _train(pl, name)
            if block:  # in the first, things are imported
                first[name].append(begin)
                found[name].append(go_on)
    none, idle, ours = (median(found[name]) for name in names)
    return {
        "slower": 100 * (ours / none - 1),
        "slower_than_idle": 100 * (ours / idle - 1),
        "first_ms": 1e3 * (median(first[tool]) - median(first["none"])),
        "step_ms": 1e3 * none / (STEPS - FIRST_STEPS),
    }


def _train(pl: Any, name: str) -> tuple[float, float]:
    """Train, and answer the seconds of the first steps, and of the others."""
    import torch

    class Net(pl.LightningModule):
        """Four layers."""

        def __init__(self) -> None:
            super().__init__()
            layers = [part for _ in range(4) for part in (torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU())]
            self.net = torch.nn.Sequential(*layers, torch.nn.Linear(WIDTH, 1))

        def training_step(self, batch: Any, index: int) -> Any:
            """Answer the loss."""
            loss = self.net(batch).square().mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            """Answer Adam."""
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    class Clock(pl.Callback):
        """Takes the time."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def on_train_start(self, *_: Any) -> None:
            self.times.append(time.perf_counter())

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            if index == FIRST_STEPS:
                self.times.append(time.perf_counter())

        def on_train_end(self, *_: Any) -> None:
            self.times.append(time.perf_counter())

    clock, logger = Clock(), _logger(name)
    trainer = pl.Trainer(
        logger=logger, callbacks=[clock], max_steps=STEPS, log_every_n_steps=1, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    batches: Any = [torch.randn(BATCH, WIDTH)] * STEPS
    trainer.fit(Net(), torch.utils.data.DataLoader(batches, batch_size=None))
    if name == "tracker":
        import tracker

        tracker.finish()
    elif name == "wandb":
        import wandb

        wandb.finish()
    begin, between, end = clock.times
    return between - begin, end - between


def _logger(name: str) -> Any:
    from lightning.pytorch import loggers

    if name == "tracker":
        from tracker.integrations.lightning import TrackerLogger

        return TrackerLogger()
    if name == "wandb":
        return loggers.WandbLogger(offline=True)
    if name == "mlflow":
        return loggers.MLFlowLogger(tracking_uri=f"sqlite:///{Path.cwd()}/mlflow.db")
    if name == "tensorboardX":
        return loggers.TensorBoardLogger(Path.cwd())
    if name == "csv":
        return loggers.CSVLogger(Path.cwd())
    return False if name == "none" else _idle()


def _idle() -> Any:
    from lightning.pytorch.loggers.logger import DummyLogger

    return DummyLogger()
