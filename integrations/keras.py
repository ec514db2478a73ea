"""Keras 3 (on TensorFlow, JAX and PyTorch) and `tf_keras`: metrics, checkpoints, tables of predictions.

    model.fit(x, y, validation_data=(x_val, y_val), callbacks=[TrackerCallback()])

`TrackerCallback` does all of it; `TrackerMetricsLogger`, `TrackerModelCheckpoint` and `TrackerEvalCallback` each do a
part. Neither Keras nor a backend is imported before one of them is asked for.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import tracker

from ._keras_checkpoints import Checkpoint, keep, keep_last
from ._keras_fits import Fit, Saving, of, patch
from ._keras_metrics import Metrics
from ._keras_tables import Evaluation, Predictions
from .base import require


class Everything(Metrics):
    """Log all that a training has to say: config, metrics, predictions, checkpoints, evaluations that follow.

    Args:
        run: Log to this run; otherwise to the one that is open, or to one that is begun when training does.
        log_freq: "epoch", "batch", or a number of batches: see `TrackerMetricsLogger`.
        initial_global_step: The step at which training begins, where the optimizer does not know it.
        log_model: What is kept of the `ModelCheckpoint`s that train beside this, and of the trained model where there
            are none: "checkpoint", "end", "auto" or False, in place of `TRACKER_LOG_MODEL`.
        log_tables: Whether to show predictions for rows of the validation data.
        validation_data: Rows to show, in place of those of `fit`.
        init: Arguments of `tracker.init`, for a run that is begun.

    Example:
        model.fit(x, y, validation_data=(x_val, y_val), callbacks=[TrackerCallback(project="digits")])
    """

    def __init__(
        self,
        run: Any = None,
        *,
        log_freq: str | int = "epoch",
        initial_global_step: int = 0,
        log_model: bool | str | None = None,
        log_tables: bool = True,
        validation_data: Any = None,
        **init: Any,
    ) -> None:
        super().__init__(log_freq, initial_global_step, run=run, **init)
        self._log_model = log_model
        self._predictions = Predictions(validation_data) if log_tables else None
        self._best: dict[int, float | None] = {}  # by ModelCheckpoint
        self._has_kept = False

    def _began(self, fit: Fit | None) -> None:
        super()._began(fit)
        self._has_kept = False
        if fit is not None:
            fit.keep = self._keep_theirs
        if self._predictions is not None:
            self._predictions.begin(fit)

    def _ended_epoch(self, epoch: int, logs: dict[str, Any], step: int) -> None:
        super()._ended_epoch(epoch, logs, step)
        if self._predictions is not None:
            self._predictions.log(self._session, of(self._model), self.model, logs, step)

    def _keep_theirs(self, saving: Saving) -> None:
        which = id(saving.checkpoint)
        self._best[which], is_kept = keep(saving, self._session, self._steps, self._best.get(which), self._log_model)
        self._has_kept = self._has_kept or is_kept

    def _ended(self) -> None:
        if self._predictions is not None:
            self._predictions.end()
        if not self._has_kept and not any(isinstance(one, Checkpoint) for one in self._beside):
            keep_last(self.model, self._session, self._steps.reached, self._log_model)


# name -> ours, and the class of Keras' that it is based on
_CLASSES: dict[str, tuple[type, str]] = {
    "TrackerCallback": (Everything, "Callback"),
    "TrackerMetricsLogger": (Metrics, "Callback"),
    "TrackerModelCheckpoint": (Checkpoint, "ModelCheckpoint"),
    "TrackerEvalCallback": (Evaluation, "Callback"),
}
_LEGACY = "Legacy"  # before a name: based on `tf_keras`, where both are there

if TYPE_CHECKING:
    TrackerCallback = Everything
    TrackerMetricsLogger = Metrics
    TrackerModelCheckpoint = Checkpoint
    TrackerEvalCallback = Evaluation


def __getattr__(name: str) -> Any:
    if name.removeprefix(_LEGACY) not in _CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()[name] = _make(name, name.startswith(_LEGACY) or not _has_keras_3())
    return made


def _make(name: str, is_legacy: bool) -> type:
    ours, base = _CLASSES[name.removeprefix(_LEGACY)]
    framework = require("tf_keras" if is_legacy else "keras")
    _patch()  # `model.fit` is looked up before what stands in its parentheses
    about = {"__module__": __name__, "__qualname__": name, "__doc__": ours.__doc__, "_patch": staticmethod(_patch)}
    return type(name, (ours, getattr(framework.callbacks, base)), about)


def _has_keras_3() -> bool:
    """Answer which Keras is used, where both may be there: the one that was imported first.

    TensorFlow imports Keras 3 by itself, so that its being there says nothing.
    """
    there = [name for name in list(sys.modules) if name in ("keras", "tf_keras") and sys.modules.get(name)]
    if there[:1] == ["tf_keras"]:
        return False
    try:
        return int(require("keras").__version__.partition(".")[0]) >= 3
    except tracker.MissingFramework:
        if "tf_keras" not in there:
            raise
        return False


def twin(kind: type, is_legacy: bool) -> type:
    """Answer the same class for the other Keras, if it is one of these; a user's own subclass is what it is."""
    bare = kind.__name__.removeprefix(_LEGACY)
    if kind.__module__ != __name__ or bare not in _CLASSES:
        return kind
    root = "tf_keras" if is_legacy else "keras"
    if root not in sys.modules or any(one.__module__.partition(".")[0] == root for one in kind.__mro__):
        return kind
    name = _LEGACY + bare if is_legacy else bare
    found = globals().get(name) or __getattr__(name)
    assert isinstance(found, type)
    return found


def _patch() -> None:
    """Put ours around the functions of what is loaded; where that is done already, nothing happens."""
    for models in ("keras.src.models.model", "tf_keras.src.engine.training"):
        if models in sys.modules:
            patch(sys.modules[models], _callback)


def _autolog(models: ModuleType) -> None:
    """Log each `fit` from now on: of Keras' models, once the module that defines them has been imported."""
    patch(models, _callback)


def _callback() -> Any:
    """Make what autologging adds to a training."""
    made = globals().get("TrackerCallback") or __getattr__("TrackerCallback")
    return made()
