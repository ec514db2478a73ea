"""Keras: metrics of epochs as `epoch/...`, of batches as `batch/...`, of evaluations as `eval/...`."""

from __future__ import annotations

from typing import Any

import tracker

from ._keras_hooks import Hooks, compiled, describe
from ._keras_steps import LearningRate

_DOWN = ("loss", "error", "perplexity", "divergence", "crossentropy", "mae", "mse", "mape", "msle")
_THEIRS = ("keras", "tf_keras", "tracker")
_UP = ("acc", "auc", "precision", "recall", "f1", "fbeta", "iou", "r2", "similarity", "score")


class Metrics(Hooks):
    """Log the metrics of a training, its learning rate, and what the model was compiled with.

    Args:
        log_freq: "epoch": at the end of each epoch. "batch" or 1: of each batch as well. A number N: of the first batch,
            and from there of every N-th.
        initial_global_step: The step at which training begins. Where the optimizer was restored it knows that itself.
        run: Log to this run; otherwise to the one that is open, or to one that is begun when training does.
        init: Arguments of `tracker.init`, for a run that is begun.

    Example:
        model.fit(x, y, callbacks=[TrackerMetricsLogger(log_freq="batch")])
    """

    def __init__(
        self, log_freq: str | int = "epoch", initial_global_step: int = 0, *, run: Any = None, **init: Any
    ) -> None:
        super().__init__()
        self._set_up(run, initial_global_step, init)
        self._set_up_metrics(log_freq)

    def _set_up_metrics(self, log_freq: str | int) -> None:
        if log_freq not in ("epoch", "batch") and (not isinstance(log_freq, int) or log_freq < 1):
            raise tracker.UsageError(f"log_freq is {log_freq!r}. Use 'epoch', 'batch', or a number of batches.")
        self.log_freq = log_freq
        self._every = 0 if log_freq == "epoch" else 1 if log_freq == "batch" else int(log_freq)
        self._rate = LearningRate()
        self._defined: set[str] = set()

    @property
    def async_safe(self) -> bool:
        """Whether Keras may call the hooks of batches from other threads; not where a subclass has its own."""
        return not self._has_own_hook()

    def _has_own_hook(self) -> bool:
        kind: Any = type(self)
        if kind.on_train_batch_end is not Metrics.on_train_batch_end:
            return True
        return any(
            "on_batch_end" in vars(one) for one in kind.__mro__ if one.__module__.partition(".")[0] not in _THEIRS
        )

    def _wants_batches(self) -> bool:
        return bool(self._every) or self._has_own_hook()

    # --- hooks -----------------------------------------------------------------------------------

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Log the batch; called from several threads, in any order."""
        super().on_train_batch_end(batch, logs)  # type: ignore[misc] # Callback's
        self._log_batch(batch, logs)

    @tracker.guarded
    def _log_batch(self, batch: int, logs: Any) -> None:
        self._steps.see(batch)
        before, step = self._steps.in_epoch(batch)
        every = self._every
        if not every or (step - 1) // every == (before - 1) // every or not logs:
            return
        row = {f"batch/{name}": value for name, value in logs.items()}
        row["batch/batch_step"] = step
        # Not `self.model`: on JAX that would wait for the device, and bring back all variables.
        row.setdefault("batch/learning_rate", self._rate.at(self._model, self._steps.by_optimizer(step)))
        self._session.log(row, step=step)

    def on_test_begin(self, logs: Any = None) -> None:
        """See whether an evaluation is part of `fit`."""
        super().on_test_begin(logs)  # type: ignore[misc]
        self._begin_visit()

    def on_test_end(self, logs: Any = None) -> None:
        """Log an evaluation that is not part of `fit`."""
        super().on_test_end(logs)  # type: ignore[misc]
        self._end_visit(logs)

    def _began(self, fit: Any) -> None:
        run = self._session.run
        if run is None:
            return
        run.define_metric("epoch/*", step_metric="epoch/epoch")
        if self._every:
            run.define_metric("batch/*", step_metric="batch/batch_step")
        with tracker.guard("what the model was compiled with"):
            optimizer, settings = compiled(self.model)
            self._session.configure("model", describe(self.model))
            self._session.configure("optimizer", optimizer)
            self._session.configure("compile", settings)

    def _ended_epoch(self, epoch: int, logs: dict[str, Any], step: int) -> None:
        run = self._session.run
        if run is None:
            return
        self._define(run, logs)
        if "parameters" not in (run.config.get("model") or {}):  # built by its first batch
            self._session.configure("model", describe(self.model))
        row = {f"epoch/{name}": value for name, value in logs.items()}
        row["epoch/epoch"] = epoch
        row.setdefault("epoch/learning_rate", self._rate.at(self.model, self._steps.by_optimizer(step)))
        self._session.log(row, step=step)

    def _define(self, run: Any, logs: dict[str, Any]) -> None:
        """Have the summary say the best value beside the last one, where it is known which way is better."""
        new = [name for name in logs if name not in self._defined]
        for name in new:
            self._defined.add(name)
            goal = _goal(self.model, name)
            if goal is not None:
                run.define_metric(f"epoch/{name}", summary="best,last", goal=goal)


def _goal(model: Any, name: str) -> str | None:
    """Answer which way a metric is better: as it says itself, or as its name does."""
    bare = name.removeprefix("val_")
    if bare == "learning_rate":
        return None
    for metric in _metrics_of(model):
        if getattr(metric, "name", None) == bare:
            direction = getattr(metric, "_direction", None)
            if direction in ("up", "down"):
                return "maximize" if direction == "up" else "minimize"
    low = bare.lower()
    if any(word in low for word in _DOWN):
        return "minimize"
    return "maximize" if any(word in low for word in _UP) else None


def _metrics_of(model: Any) -> list[Any]:
    found: list[Any] = []
    for metric in getattr(model, "metrics", None) or ():
        found += [metric, *(getattr(metric, "metrics", None) or ())]  # Keras 3 has those of `compile` in one
    return found
