"""Keras: what our callbacks have in common: a session, the steps, and both kinds of Keras."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tracker

from . import _keras_fits as fits
from ._keras_steps import Steps
from .base import Session

MAX_LAYERS = 500
"""Layers that are listed in the config; larger models are described by their first ones."""
_NOTE = "tracker.json"


class Hooks:
    """A callback's ways with runs and steps, for a class that also has Keras' `Callback` among its bases.

    The hooks of Keras' own class come first, and what they raise passes; ours are guarded.
    """

    _is_trackers = True
    _beside: tuple[Any, ...] | list[Any] = ()  # the other callbacks of the training
    _model: Any
    model: Any  # on JAX, asking for it brings the variables back
    params: Any
    _patch: Any

    def _set_up(self, run: Any, initial_global_step: int = 0, arguments: Mapping[str, Any] | None = None) -> None:
        self._patch()
        self._session = Session(fits.FRAMEWORK, run, **(arguments or {}))
        self._steps = Steps(initial_global_step)
        self._is_in_fit = False
        self._is_visiting = False  # began for an evaluation alone
        self._supports_tf_logs = True  # of `tf_keras`: metrics may come as tensors

    # --- for both kinds of Keras ---------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        """Take the model; Keras calls this."""
        super().set_model(model)  # type: ignore[misc] # Callback's
        self._model = model

    def _implements_train_batch_hooks(self) -> bool:
        return self._wants_batches()

    def _implements_test_batch_hooks(self) -> bool:
        return False

    _implements_predict_batch_hooks = _implements_test_batch_hooks

    def _wants_batches(self) -> bool:
        return False

    # --- the training's course -----------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin, or go on with, the run."""
        super().on_train_begin(logs)  # type: ignore[misc]
        self._begin()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Ask how far the training is."""
        super().on_epoch_begin(epoch, logs)  # type: ignore[misc]
        self._begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log the epoch."""
        super().on_epoch_end(epoch, logs)  # type: ignore[misc]
        self._end_epoch(epoch, logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Let go of the run; it stays open for evaluations."""
        super().on_train_end(logs)  # type: ignore[misc]
        self._end()

    @tracker.guarded
    def _begin(self) -> None:
        self._is_in_fit = True
        self._steps.begin()
        fit = fits.of(self._model)
        run = self._session.begin(resume=None if fit is None else self._backed_up())
        if fit is not None:
            fit.sessions.append(self._session)
        if run is None:
            return
        settings = {} if fit is None else fit.settings()
        known = {name: value for name, value in (self.params or {}).items() if name in ("epochs", "steps")}
        self._session.configure("args", {**settings, **known})
        fits.remember(self._model, self._session, self._steps.now)
        self._began(fit)

    @tracker.guarded
    def _begin_epoch(self, epoch: int) -> None:
        self._steps.begin_epoch(self.model, epoch, (self.params or {}).get("steps"))

    @tracker.guarded
    def _end_epoch(self, epoch: int, logs: Any) -> None:
        step = self._steps.end_epoch(self.model)
        if self._session.run is not None:
            self._ended_epoch(epoch, {name: fits.scalar(value) for name, value in (logs or {}).items()}, step)
            self._note(epoch, step)

    @tracker.guarded
    def _end(self) -> None:
        self._is_in_fit = False
        if self._session.run is not None:
            self._ended()
        self._session.pause()

    def _began(self, fit: fits.Fit | None) -> None:
        """Do what else is to be done when a run is there."""

    def _ended_epoch(self, epoch: int, logs: dict[str, Any], step: int) -> None:
        """Do what is to be done at the end of an epoch."""

    def _ended(self) -> None:
        """Do what is to be done at the end of the training."""

    # --- evaluations by themselves -------------------------------------------------------------

    @tracker.guarded
    def _begin_visit(self) -> None:
        if not self._is_in_fit and self._session.run is None:
            self._session.begin()
            self._is_visiting = True

    @tracker.guarded
    def _end_visit(self, logs: Any) -> None:
        if self._is_in_fit:  # the validation of `fit`: part of the epoch
            return
        fits.log_evaluation(self._session, logs, self._steps.now(self.model))
        if self._is_visiting:
            self._is_visiting = False
            self._session.pause()

    # --- BackupAndRestore: the run's name beside the weights --------------------------------------

    def _backup_folder(self) -> Path | None:
        for other in self._beside:
            if any(kind.__name__ == "BackupAndRestore" for kind in type(other).__mro__):
                folder = str(getattr(other, "backup_dir", "") or "")
                return Path(folder) if folder and "://" not in folder else None
        return None

    def _backed_up(self) -> tuple[str, int | None] | None:
        """Answer the run whose training is restored by what stands beside us, and the step, if the two notes agree."""
        folder = self._backup_folder()
        if folder is None:
            return None
        try:
            note = json.loads((folder / _NOTE).read_text())
            run, steps = str(note["run"]), dict(note["steps"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        try:
            theirs = json.loads((folder / "training_metadata.json").read_text())
            step = None if theirs.get("batch") else steps.get(str(theirs["epoch"]))
        except (OSError, ValueError, KeyError, TypeError):
            step = None
        return run, step if isinstance(step, int) else None

    def _note(self, epoch: int, step: int) -> None:
        folder, run = self._backup_folder(), self._session.run
        if folder is None or run is None:
            return
        # Keras writes after us or before us, and a kill may come between: both epochs are told.
        self._noted = {**dict(list(getattr(self, "_noted", {}).items())[-1:]), str(epoch + 1): step}
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{_NOTE}.{os.getpid()}"
        draft.write_text(json.dumps({"run": run.id, "steps": self._noted}))
        draft.replace(folder / _NOTE)


def describe(model: Any) -> dict[str, Any]:
    """Answer a model's facts for the config."""
    layers = list(getattr(model, "layers", ()))
    facts: dict[str, Any] = {"name": getattr(model, "name", None), "class": type(model).__name__}
    if getattr(model, "built", False):
        facts["parameters"] = int(model.count_params())
        facts["trainable_parameters"] = sum(_size(one.shape) for one in model.trainable_weights)
    facts["layers"] = [f"{type(one).__name__} {getattr(one, 'name', '')}" for one in layers[:MAX_LAYERS]]
    if len(layers) > MAX_LAYERS:
        facts["layers_in_all"] = len(layers)
    policy = getattr(model, "dtype_policy", None)
    facts["dtype"] = getattr(policy, "name", None)
    return facts


def compiled(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Answer what a model was compiled with: the optimizer's own settings, and the rest."""
    settings: dict[str, Any] = {}
    with tracker.guard("the arguments of compile()"):
        settings = dict(model.get_compile_config() or {}) if hasattr(model, "get_compile_config") else {}
    settings.pop("optimizer", None)
    optimizer = getattr(model, "optimizer", None)
    theirs: dict[str, Any] = {}
    if optimizer is not None:
        with tracker.guard("the optimizer's settings"):
            theirs = {"class": type(optimizer).__name__, **optimizer.get_config()}
    return theirs, settings


def _size(shape: Any) -> int:
    size = 1
    for length in shape:
        size *= int(length or 1)
    return size
