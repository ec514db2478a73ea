"""The tools, each behind the same three calls; imported in the tool's own interpreter."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

Row = dict[str, float]


class Tool(Protocol):
    """Begin a run with its defaults, log to it, end it."""

    def open(self, folder: Path) -> Callable[[Row], object]:
        """Begin a run; answer what logs one row."""
        ...

    def close(self) -> None:
        """End the run, and return when all is written."""
        ...


class Raw:
    """The unit: one line of JSON into a buffered file, which a killed process loses."""

    def open(self, folder: Path) -> Callable[[Row], object]:
        """Begin."""
        self.file = (folder / "raw.jsonl").open("w")
        write, dumps = self.file.write, json.dumps
        return lambda row: write(dumps(row) + "\n")

    def close(self) -> None:
        """End."""
        self.file.close()


class Tracker:
    """tracker, offline."""

    mode = "offline"

    def open(self, folder: Path) -> Callable[[Row], object]:
        """Begin."""
        import tracker

        self.run = tracker.init(project="bench", dir=folder / "runs", mode=self.mode, settings={"silent": True})
        return self.run.log

    def close(self) -> None:
        """End."""
        self.run.finish()


class TrackerWriting(Tracker):
    """tracker where it may not map files (a network file system): one `write(2)` a row."""

    def open(self, folder: Path) -> Callable[[Row], object]:
        """Begin."""
        from tracker.core.journal import writer

        # There is no setting for this: the journal looks at the file system, and has to be deceived.
        assert hasattr(writer, "can_map")
        writer.can_map = lambda folder: False
        return super().open(folder)


class Wandb:
    """wandb, offline."""

    def open(self, folder: Path) -> Callable[[Row], object]:
        """Begin."""
        import wandb

        self.run = wandb.init(project="bench", dir=str(folder), mode="offline", settings=wandb.Settings(silent=True))
        return self.run.log

    def close(self) -> None:
        """End."""
        self.run.finish()


class Mlflow:
    """MLflow into its default SQLite store, synchronously, as by default."""

    def open(self, folder: Path) -> Callable[[Row], object]:
        """Begin."""
        import mlflow

        self.mlflow = mlflow
        mlflow.set_experiment("bench")
        mlflow.start_run()
        self.step = 0
        return self._log

    def _log(self, row: Row) -> None:
        self.mlflow.log_metrics(row, step=self.step)
        self.step += 1

    def close(self) -> None:
        """End."""
        self.mlflow.end_run()


class Trackio:
    """trackio, local."""

    def open(self, folder: Path) -> Callable[[Row], object]:
        """Begin."""
        import trackio

        self.trackio = trackio
        trackio.init(project="bench", embed=False, auto_log_gpu=False, auto_log_cpu=False)
        return trackio.log

    def close(self) -> None:
        """End."""
        self.trackio.finish()


class TensorboardX:
    """tensorboardX: one event for each metric."""

    def open(self, folder: Path) -> Callable[[Row], object]:
        """Begin."""
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(str(folder / "events"))
        self.step = 0
        return self._log

    def _log(self, row: Row) -> None:
        add, step = self.writer.add_scalar, self.step
        for key, value in row.items():
            add(key, value, step)
        self.step += 1

    def close(self) -> None:
        """End."""
        self.writer.close()


TOOLS: dict[str, Callable[[], Tool]] = {
    "raw": Raw,
    "tracker": Tracker,
    "tracker write(2)": TrackerWriting,
    "wandb": Wandb,
    "mlflow": Mlflow,
    "trackio": Trackio,
    "tensorboardX": TensorboardX,
}


# Names as people give them; their length is most of what a row costs before it is packed.
NAMES = (
    "loss",
    "accuracy",
    "lr",
    "epoch",
    "grad_norm",
    "train/loss",
    "val/loss",
    "val/accuracy",
    "samples_per_s",
    "loss_scale",
)


def rows(count: int, metrics: int, seed: int = 0) -> list[Row]:
    """Answer rows as a training loop logs them: curves with noise, of float32 precision, as frameworks give them."""
    noise = random.Random(seed)
    names = [*NAMES[:metrics], *(f"layer.{number}/grad_norm" for number in range(metrics - len(NAMES)))]
    found = []
    for step in range(count):
        level = math.exp(-step / max(count / 3, 1))
        found.append({name: _float32(level * (1 + number) + noise.gauss(0, 0.05)) for number, name in enumerate(names)})
    return found


def _float32(value: float) -> float:
    answer: Any = struct.unpack("f", struct.pack("f", value))[0]
    return float(answer)
