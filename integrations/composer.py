"""MosaicML Composer: metrics at their batch, hyperparameters, tables, images and checkpoints, by `TrackerLogger`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import tracker

from .base import Session, require


def __getattr__(name: str) -> Any:
    if name != "TrackerLogger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _logger()


@functools.cache
def _logger() -> Any:
    require("composer")
    from composer.loggers import LoggerDestination

    class TrackerLogger(LoggerDestination):
        """Log a training of Composer: `Trainer(..., loggers=[TrackerLogger(project="digits")])`.

        Args:
            run: The run to log to; it stays open afterwards.
            log_model: Whether checkpoints become versions of an artifact; `TRACKER_LOG_MODEL` without it.
            arguments: Of `tracker.init`, for a run that has to be begun.
        """

        def __init__(
            self, run: tracker.Run | None = None, *, log_model: bool | str | None = None, **arguments: Any
        ) -> None:
            self._given = run
            self._log_model = log_model
            self._arguments = arguments
            self._session: Session | None = None
            self._early: dict[str, Any] = {}

        @tracker.guarded
        def init(self, state: Any, logger: Any) -> None:
            """Begin the run, named as the training is."""
            arguments = {"name": state.run_name, **self._arguments}
            self._session = Session("composer", self._given, **arguments)
            self._session.begin({"args": self._early})
            # Models of its own have a `module` as well.
            is_wrapped = type(state.model).__name__ == "DistributedDataParallel"
            model = state.model.module if is_wrapped else state.model
            self._session.configure(
                "model",
                {"class": type(model).__name__, "parameters": sum(one.numel() for one in model.parameters())},
            )
            self._session.watch(model)

        @tracker.guarded
        def log_hyperparameters(self, hyperparameters: dict[str, Any]) -> None:
            """Keep hyperparameters; some come before the run."""
            self._early.update(hyperparameters)
            if self._session is not None:
                self._session.configure("args", hyperparameters)

        @tracker.guarded
        def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
            """Log metrics at their batch."""
            if self._session is not None:
                self._session.log(metrics, step=step)

        @tracker.guarded
        def log_table(
            self, columns: list[str], rows: list[list[Any]], name: str = "Table", step: int | None = None
        ) -> None:
            """Add rows to a table that grows."""
            if self._session is not None:
                self._session.table(name, columns, rows, step=step)

        @tracker.guarded
        def log_images(
            self,
            images: Any,
            name: str = "Images",
            channels_last: bool = False,
            step: int | None = None,
            masks: Any = None,
            mask_class_labels: Any = None,
            use_table: bool = True,
        ) -> None:
            """Log images; masks are left out."""
            if self._session is not None:
                several = images if isinstance(images, (list, tuple)) or images.ndim == 4 else [images]
                shown = [tracker.Image(one if channels_last else _channels_last(one)) for one in several]
                self._session.log({name: shown}, step=step)

        @tracker.guarded
        def upload_file(self, state: Any, remote_file_name: str, file_path: Path, *, overwrite: bool) -> None:
            """Keep a checkpoint."""
            if self._session is not None and Path(file_path).suffix == ".pt":
                self._session.checkpoint(
                    file_path,
                    step=int(state.timestamp.batch),
                    metadata={"name": remote_file_name, "epoch": int(state.timestamp.epoch)},
                    log_model=self._log_model,
                )

        def can_upload_files(self) -> bool:
            """Answer that checkpoints are to be given to `upload_file`."""
            return True

        def download_file(
            self, remote_file_name: str, destination: str, overwrite: bool = False, progress_bar: bool = True
        ) -> None:
            """Say that there is nothing to be resumed from here: `run.use_artifact` has the checkpoints."""
            raise FileNotFoundError(remote_file_name)

        @tracker.guarded
        def post_close(self) -> None:
            """End the training; the run ends with the next one, or the program."""
            if self._session is not None:
                self._session.pause()

    TrackerLogger.__module__, TrackerLogger.__qualname__ = __name__, "TrackerLogger"
    return TrackerLogger


def _channels_last(image: Any) -> Any:
    if image.ndim != 3:
        return image
    return image.permute(1, 2, 0) if hasattr(image, "permute") else image.transpose(1, 2, 0)
