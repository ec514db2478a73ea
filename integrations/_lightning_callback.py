"""What a Lightning logger cannot see: the beginning and the end of a training, batches, optimizers, checkpoints."""

from __future__ import annotations

from typing import Any

import tracker

from . import _lightning_facts as facts
from ._lightning_checkpoints import KEY, Moment
from ._lightning_logger import RunLogger
from ._lightning_predictions import Predictions


class RunCallback:
    """Log what a Trainer's logger cannot see: learning rates, predictions, gradients, what ended the training.

    It comes by itself with `TrackerLogger`. Given by hand it adds a `TrackerLogger` behind the trainer's loggers.

    Args:
        is_automatic: It is here because of autologging.
    """

    package = ""  # set by `make_callback`

    def __init__(self, is_automatic: bool = False) -> None:
        super().__init__()
        self.is_automatic = is_automatic
        self.checkpoint_path: Any = None  # what the trainer is going to restore
        self._logger: RunLogger | None = None
        self._has_begun = False
        self._with_rates = False
        self._rates: list[tuple[str, dict[str, Any]]] = []
        self._predictions: Predictions | None = None

    # --- setting up --------------------------------------------------------------------------

    @tracker.guarded
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Find the trainer's TrackerLogger, or add one; decide which run it will be."""
        self._logger, self._has_begun = None, False
        ours = [one for one in trainer.callbacks if isinstance(one, RunCallback)]
        if ours[-1] is not self:  # a list of callbacks that another trainer has had before
            trainer.callbacks = [one for one in trainer.callbacks if one is not self]
            return
        logger = next((one for one in trainer.loggers if isinstance(one, RunLogger)), None)
        if logger is None:
            kinds = [type(one).__name__ for one in trainer.loggers]
            if not kinds or "DummyLogger" in kinds:  # logger=False, barebones, fast_dev_run, a tuner
                return
            from .lightning import make_logger

            logger = make_logger(self.package)()
            trainer.loggers = [*trainer.loggers, logger]  # behind: checkpoint folders follow the first one
        self._logger = logger
        logger.attach(trainer)
        path, self.checkpoint_path = self.checkpoint_path, None
        if stage == "fit" and path and (moment := Moment.of_file(path)) is not None:
            logger.resume(moment)
        logger.settle(trainer.strategy.broadcast)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, unless the checkpoint is only read later (FSDP, DeepSpeed)."""
        if not getattr(trainer.strategy, "restore_checkpoint_after_setup", False):
            self._begin(trainer, pl_module)

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, at the latest."""
        self._begin(trainer, pl_module)

    @tracker.guarded
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, at the latest; the optimizers are there."""
        self._begin(trainer, pl_module)
        logger = self._logger
        if logger is None or logger.session.run is None:
            return
        logger.session.configure("lightning", {"optimizers": facts.of_optimizers(trainer)})
        self._with_rates = not any(type(one).__name__ == "LearningRateMonitor" for one in trainer.callbacks)
        self._rates = list(facts.learning_rates(trainer))

    @tracker.guarded
    def _begin(self, trainer: Any, pl_module: Any) -> None:
        logger = self._logger
        if logger is None or self._has_begun:
            return
        self._has_begun = True
        run = logger.open()
        if run is not None:
            known: dict[str, Any] = {"trainer": facts.of_trainer(trainer), "model": facts.of_model(pl_module)}
            if trainer.datamodule is not None:
                known["datamodule"] = {"class": type(trainer.datamodule).__qualname__}
            logger.session.configure("lightning", known)
        if trainer.state.fn == "fit":
            logger.session.watch(pl_module, logger.watched, logger.log_freq)
            if logger.with_graph and run is not None:
                run.watch(pl_module, log=None, log_graph=True)

    # --- training ----------------------------------------------------------------------------

    @tracker.guarded
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Log the learning rates that the step is going to be taken with, where a row is due."""
        if not self._with_rates or self._logger is None or not trainer._logger_connector.should_update_logs:
            return
        run = self._logger.session.run
        if run is not None:
            rates = {name: group["lr"] for name, group in self._rates}
            run.log(rates, step=trainer.fit_loop.epoch_loop._batches_that_stepped)

    @tracker.guarded
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Remember what has ended the training; the run is ended once the last checkpoint is saved."""
        if self._logger is not None:
            self._logger.error = exception

    @tracker.guarded
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Watch the model no longer."""
        self._rates, self._with_rates = [], False
        if self._logger is not None and stage == "fit":
            self._logger.session.unwatch(pl_module)

    # --- checkpoints -------------------------------------------------------------------------

    @tracker.guarded
    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Write into the checkpoint whose it is."""
        moment = None if self._logger is None else self._logger.moment
        if moment is not None:
            checkpoint[KEY] = str(moment)

    @tracker.guarded
    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Go on with the run of the checkpoint."""
        moment, logger = Moment.parse(checkpoint.get(KEY)), self._logger
        if logger is not None and moment is not None and trainer.state.fn == "fit" and logger.version != moment.run_id:
            logger.resume(moment)

    # --- evaluations -------------------------------------------------------------------------

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to collect rows."""
        self._begin_evaluation(trainer, pl_module, trainer.num_val_batches)

    def on_validation_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Look at the batch, if rows of it are wanted."""
        self._begin_batch(batch_idx, dataloader_idx)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Take its rows."""
        self._end_batch(outputs, batch, batch_idx, dataloader_idx)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the table."""
        self._end_evaluation(trainer, "validate")

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to collect rows."""
        self._begin_evaluation(trainer, pl_module, trainer.num_test_batches)

    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Look at the batch, if rows of it are wanted."""
        self._begin_batch(batch_idx, dataloader_idx)

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Take its rows."""
        self._end_batch(outputs, batch, batch_idx, dataloader_idx)

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the table."""
        self._end_evaluation(trainer, "test")

    @tracker.guarded
    def _begin_evaluation(self, trainer: Any, pl_module: Any, batches: Any) -> None:
        self._predictions = None
        if trainer.sanity_checking or self._logger is None:
            return
        self._begin(trainer, pl_module)
        if self._logger.session.run is not None and self._logger.table_rows > 0:
            counts = [batches] if isinstance(batches, (int, float)) else list(batches)
            self._predictions = Predictions(self._logger.table_rows, counts, pl_module)

    @tracker.guarded
    def _begin_batch(self, batch_idx: int, dataloader_idx: int) -> None:
        if self._predictions is not None and self._predictions.wants(batch_idx, dataloader_idx):
            self._predictions.begin()

    @tracker.guarded
    def _end_batch(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        if self._predictions is not None and self._predictions.wants(batch_idx, dataloader_idx):
            self._predictions.end(outputs, batch, batch_idx, dataloader_idx)

    @tracker.guarded
    def _end_evaluation(self, trainer: Any, stage: str) -> None:
        predictions, self._predictions = self._predictions, None
        run = None if self._logger is None else self._logger.session.run
        if predictions is not None and self._logger is not None and run is not None:
            step = self._logger.step_of(trainer, run)
            predictions.write(self._logger.session, f"{stage}/predictions", step)

    # --- copies ------------------------------------------------------------------------------

    def __reduce__(self) -> Any:
        return _restored, (self.package, self.is_automatic, self.checkpoint_path)


def _restored(package: str, is_automatic: bool, checkpoint_path: Any) -> Any:
    from .lightning import make_callback

    callback = make_callback(package)(is_automatic)
    callback.checkpoint_path = checkpoint_path
    return callback
