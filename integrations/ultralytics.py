"""Ultralytics: losses, rates, metrics, plots, curves and models of a training, epoch by epoch."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import tracker

from .base import Session, model_choice
from .patching import wrap

_NAME = "ultralytics"
_HELD = "tracker_training"  # of a trainer, which is saved nowhere
_RUN_FILE = "tracker_run.json"  # beside the weights: checkpoints take no values but the framework's own
_CURVE_POINTS = 100
_CURVE_CLASSES = 10


class TrackerCallback:
    """What a trainer calls; `add_tracker_callback` and autologging make them.

    Args:
        run: The run to log to; it stays open afterwards. Without one it is the current run, and where there is none,
            one is begun.
        log_model: Which weights become versions of an artifact: "checkpoint" those of every epoch, otherwise those
            that were the best; `TRACKER_LOG_MODEL` without it.
        arguments: Of `tracker.init`, for a run that has to be begun.
    """

    def __init__(
        self, run: tracker.Run | None = None, *, log_model: bool | str | None = None, **arguments: Any
    ) -> None:
        self._given = run
        self._log_model = log_model
        self._arguments = arguments

    @property
    def events(self) -> dict[str, Callable[[Any], None]]:
        """What to call, by the framework's names."""
        return {
            "on_pretrain_routine_end": self.begin,
            "on_train_epoch_end": self.log_epoch,
            "on_fit_epoch_end": self.log_validation,
            "on_model_save": self.keep_weights,
            "on_train_end": self.log_end,
            "teardown": self.end,
        }

    @tracker.guarded
    def begin(self, trainer: Any) -> None:
        """Begin with the trainer's arguments, model and data; a resumed training goes on with its run."""
        file = Path(trainer.save_dir) / _RUN_FILE
        args = dict(vars(trainer.args))
        name = self._arguments.get("name") or (str(args["name"]) if args.get("name") else None)
        session = Session(_NAME, self._given, **{**self._arguments, "name": name})
        resume = None
        if args.get("resume") and file.is_file():
            resume = (str(json.loads(file.read_text())["run"]), int(trainer.start_epoch))
        if session.begin({"args": args, "model": _model(trainer), "data": _data(trainer)}, resume=resume) is None:
            return
        setattr(trainer, _HELD, _Training(session, sys.exc_info()[1]))
        if session.run is not None:
            file.write_text(json.dumps({"run": session.run.id}))
        session.watch(getattr(trainer.model, "module", trainer.model))

    @tracker.guarded
    def log_epoch(self, trainer: Any) -> None:
        """Log losses and learning rates."""
        training = _of(trainer)
        if training is not None:
            losses = trainer.label_loss_items(trainer.tloss, prefix="train")
            training.session.log({**losses, **trainer.lr, "epoch": trainer.epoch + 1}, step=trainer.epoch + 1)

    @tracker.guarded
    def log_validation(self, trainer: Any) -> None:
        """Log what the validation of an epoch has found; behind the last one comes that of the best weights."""
        training = _of(trainer)
        if training is not None:
            training.session.log({"epoch": trainer.epoch + 1, **(trainer.metrics or {})}, step=trainer.epoch + 1)
            training.log_plots(trainer)

    @tracker.guarded
    def keep_weights(self, trainer: Any) -> None:
        """Keep weights that were just saved, if they are the best so far, or all are wanted."""
        training = _of(trainer)
        if training is None:
            return
        is_best = trainer.best_fitness == trainer.fitness and Path(trainer.best).exists()
        if is_best or model_choice(self._log_model) == "checkpoint":
            self._keep(training, trainer, trainer.best if is_best else trainer.last, is_best)

    @tracker.guarded
    def log_end(self, trainer: Any) -> None:
        """Log the last plots, the curves of the best weights, and these as they are to be used."""
        training = _of(trainer)
        if training is None:
            return
        training.log_plots(trainer)
        with tracker.guard("the curves of a validation"):
            training.session.log(_curves(trainer), step=trainer.epoch + 1)
        if Path(trainer.best).exists():
            self._keep(training, trainer, trainer.best, True, is_last=True)
        training.session.pause()
        training.is_over = True

    @tracker.guarded
    def end(self, trainer: Any) -> None:
        """End a training that came to no end of its own; the framework calls this while its exception passes."""
        training = _of(trainer)
        if training is None or training.is_over:
            return
        training.is_over = True
        error = sys.exc_info()[1]
        if error is None or error is training.earlier:
            training.session.pause()
        else:
            training.session.fail(error)

    def _keep(self, training: _Training, trainer: Any, path: Any, is_best: bool, is_last: bool = False) -> None:
        training.session.checkpoint(
            path,
            step=trainer.epoch + 1,
            aliases=["best"] if is_best else [],
            metadata={"epoch": trainer.epoch + 1, "fitness": _number(trainer.fitness)},
            is_last=is_last,
            log_model=self._log_model,
        )


class _Training:
    """One training of a trainer."""

    def __init__(self, session: Session, earlier: BaseException | None) -> None:
        self.session = session
        self.earlier = earlier  # an exception that is being handled around the whole training
        self.is_over = False
        self._plots: dict[Any, float] = {}

    def log_plots(self, trainer: Any) -> None:
        for plots in (trainer.plots, getattr(trainer.validator, "plots", None) or {}):
            for path, facts in dict(plots).items():  # threads of the framework's add to it
                if self._plots.get(path) != facts["timestamp"] and Path(path).is_file():
                    self._plots[path] = facts["timestamp"]
                    self.session.log({f"plots/{Path(path).stem}": tracker.Image(str(path))}, step=trainer.epoch + 1)


def add_tracker_callback(
    model: Any, run: tracker.Run | None = None, *, log_model: bool | str | None = None, **arguments: Any
) -> Any:
    """Have each training of a model logged, and answer the model.

    Args:
        model: A `YOLO`, or another of the framework's models.
        run: The run to log to; it stays open afterwards.
        log_model: Which weights become versions of an artifact.
        arguments: Of `tracker.init`, for a run that has to be begun.

    Example:
        add_tracker_callback(YOLO("yolo11n.yaml"), project="boats").train(data="boats.yaml", epochs=10)
    """
    for event, call in TrackerCallback(run, log_model=log_model, **arguments).events.items():
        model.add_callback(event, call)
    return model


def _autolog(module: ModuleType) -> None:
    """`ultralytics.utils.callbacks` was imported: each trainer gets our callbacks, as it does those of others."""
    wrap(module, "add_integration_callbacks", _with_ours, _NAME)


def _with_ours(original: Callable[[Any], None], instance: Any) -> None:
    original(instance)
    with tracker.guard("logging of this training"):
        known = [call for calls in instance.callbacks.values() for call in calls]
        is_ours = any(isinstance(getattr(call, "__self__", None), TrackerCallback) for call in known)
        if "Trainer" in type(instance).__name__ and not is_ours:
            for event, call in TrackerCallback().events.items():
                instance.callbacks[event].append(call)


def _of(trainer: Any) -> _Training | None:
    return getattr(trainer, _HELD, None)


def _model(trainer: Any) -> dict[str, Any]:
    model = getattr(trainer.model, "module", trainer.model)
    parameters = list(model.parameters())
    return {
        "class": type(model).__name__,
        "parameters": sum(one.numel() for one in parameters),
        "trainable": sum(one.numel() for one in parameters if one.requires_grad),
    }


def _data(trainer: Any) -> dict[str, Any]:
    data = trainer.data if isinstance(trainer.data, Mapping) else {}
    found = {name: data.get(name) for name in ("nc", "names", "train", "val", "path")}
    return {
        name: str(value) if hasattr(value, "__fspath__") else value
        for name, value in found.items()
        if value is not None
    }  # fmt: skip


def _curves(trainer: Any) -> dict[str, Any]:
    """Answer the curves of precision, recall and the like: their mean, and those of the first classes."""
    import numpy as np

    metrics = getattr(trainer.validator, "metrics", None)
    if metrics is None or not trainer.args.plots or not hasattr(metrics, "curves_results"):
        return {}
    found = {}
    names = [str(name) for name in dict(metrics.names).values()]
    for title, (x, y, x_name, _) in zip(metrics.curves, metrics.curves_results, strict=False):
        if len(y) == 0:
            continue
        points = np.linspace(x[0], x[-1], _CURVE_POINTS)
        lines = [np.interp(points, x, line) for line in (np.mean(y, axis=0), *y[:_CURVE_CLASSES])]
        found[f"curves/{title}"] = tracker.plot.line_series(
            xs=points.tolist(),
            ys=[line.tolist() for line in lines],
            keys=["mean", *names][: len(lines)],
            title=title,
            xname=x_name,
        )
    return found


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
