"""fastai: losses and hyperparameters of each batch, metrics of each epoch, predictions as one growing table, models."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import tracker

from ._fastai_tables import Sample
from .base import EVAL_ROWS, Session, require
from .patching import wrap

_NAME = "fastai"
_PREDICTIONS = "valid/predictions"
_NOT_SHOWN = ("epoch", "time", "train_loss")  # the first is ours, the last comes with each batch


def __getattr__(name: str) -> Any:
    if name != "TrackerCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _callback()


@functools.cache
def _callback() -> Any:
    require(_NAME)
    from fastai.callback.core import Callback
    from fastai.learner import Learner, Recorder

    class TrackerCallback(Callback):
        """Log what a `Learner` learns: `learn.fit_one_cycle(3, cbs=TrackerCallback())`, or `Learner(..., cbs=...)`.

        fastai has a class of this name too, in `fastai.callback.tracker`, and `from fastai.vision.all import *` brings
        it: import this one behind that.

        Args:
            run: The run to log to; it stays open afterwards. Without one it is the current run, and where there is
                none, one is begun.
            log: What is recorded of the model: "gradients", "parameters", "all" or False; `TRACKER_WATCH` without it.
            log_freq: At every so many steps of the optimizer.
            log_preds: Whether rows of the validation set are kept with their predictions, at each epoch.
            n_preds: How many rows at most.
            log_model: Whether saved models become versions of an artifact; `TRACKER_LOG_MODEL` without it.
            arguments: Of `tracker.init`, for a run that has to be begun.

        Example:
            tabular_learner(dls, metrics=accuracy).fit_one_cycle(3, cbs=TrackerCallback(project="adults"))
        """

        order = Recorder.order + 1
        remove_on_fetch = True
        name = "tracker_log"  # the learner's attribute; "tracker" is that of fastai's own class

        def __init__(
            self,
            run: tracker.Run | None = None,
            *,
            log: bool | str | None = None,
            log_freq: int = 1000,
            log_preds: bool = True,
            n_preds: int = EVAL_ROWS,
            log_model: bool | str | None = None,
            **arguments: Any,
        ) -> None:
            self._settings: tuple[Any, dict[str, Any]] = (
                run,
                {"log": log, "log_freq": log_freq, "log_preds": log_preds, "n_preds": n_preds},
            )
            self._log, self._log_freq, self._log_preds, self._n_preds = log, log_freq, log_preds, n_preds
            self._log_model = log_model
            self._arguments = arguments
            self._session = Session(_NAME, run, **arguments)
            self._is_fitting = False
            self._at = 0  # batches, over all fits of the run
            self._epochs = 0.0
            self._sample: Sample | None = None
            _patch(Learner)

        @tracker.guarded
        def before_fit(self) -> None:
            learn = self.learn
            # Evaluations call the events of a fit as well; they hold the lock. A search for a rate is no training.
            is_searching = hasattr(learn, "lr_finder") or hasattr(learn, "gather_preds")
            if is_searching or _is_validating(learn):
                return
            run = self._session.begin({"args": _arguments(learn), "data": _data(learn), "model": _model(learn)})
            self._is_fitting = run is not None
            if run is None:
                return
            if run.step > self._at:  # a run that has rows already
                self._at = int(run.step) + 1
            self._session.watch(learn.model, self._log, self._log_freq)

        @tracker.guarded
        def before_batch(self) -> None:
            self._began = time.perf_counter()

        @tracker.guarded
        def after_batch(self) -> None:
            if not self._is_fitting:
                return
            learn = self.learn
            if not learn.training:
                if self._sample is not None:
                    self._sample.take(learn.xb, learn.yb, learn.pred)
                return
            self._epochs += 1 / learn.n_iter
            hypers = {
                f"{key}_{group}": value
                for group, values in enumerate(learn.opt.hypers)
                for key, value in values.items()
            }
            data = {
                "epoch": self._epochs,
                "train_loss": getattr(learn, "smooth_loss", None),
                "raw_loss": learn.loss.detach() if hasattr(learn.loss, "detach") else learn.loss,
                **{key: value for key, value in hypers.items() if isinstance(value, (int, float))},
            }
            if learn.xb and hasattr(learn.xb[0], "__len__"):
                data["train_samples_per_sec"] = len(learn.xb[0]) / max(time.perf_counter() - self._began, 1e-9)
            self._session.log(data, step=self._at)
            self._at += 1

        @tracker.guarded
        def before_validate(self) -> None:
            if self._is_fitting and self._log_preds:
                self._sample = Sample(self.learn.dl, self._n_preds)

        @tracker.guarded
        def after_validate(self) -> None:
            learn = self.learn
            if self._is_fitting:
                self._log_predictions()
            elif _is_validating(learn) and not hasattr(learn, "gather_preds") and hasattr(learn, "recorder"):
                metrics = [learn.recorder.loss, *learn.metrics]
                found = {f"validate/{metric.name}": _number(metric.value) for metric in metrics}
                self._session.log(found, step=max(self._at - 1, 0))

        @tracker.guarded
        def after_epoch(self) -> None:
            if not self._is_fitting:
                return
            self._epochs = round(self._epochs)
            recorder = self.learn.recorder
            found = {
                name: _number(value)
                for name, value in zip(recorder.metric_names, recorder.log, strict=False)
                if name not in _NOT_SHOWN
            }  # fmt: skip
            self._session.log({"epoch": self._epochs, **found}, step=max(self._at - 1, 0))

        @tracker.guarded
        def after_fit(self) -> None:
            if self._is_fitting:
                self._is_fitting = False
                self._session.pause()

        def _log_predictions(self) -> None:
            sample, self._sample = self._sample, None
            if sample is None or not sample.predictions:
                return
            try:
                columns, rows = sample.table(self.learn)
            except Exception as error:  # any kind of data may come; one that cannot be shown costs the table alone
                self._log_preds = False
                tracker.termwarn(f"predictions of this learner are not shown ({type(error).__name__}: {error}).")
                return
            self._session.table(_PREDICTIONS, columns, rows, step=max(self._at - 1, 0))

        def _fail(self, error: BaseException) -> None:
            self._is_fitting = False
            self._session.fail(error)

        def _keep(self, path: Any) -> None:
            self._session.checkpoint(
                path,
                step=max(self._at - 1, 0),
                metadata={"epoch": round(self._epochs)},
                is_last=not self._is_fitting,
                log_model=self._log_model,
            )

        def __deepcopy__(self, memo: Any) -> Any:
            run, settings = self._settings
            return type(self)(run, log_model=self._log_model, **settings, **self._arguments)

        def __reduce__(self) -> Any:
            """Answer a callback that does nothing: a learner that was exported is loaded where there is no tracker."""
            return Callback, ()

    TrackerCallback.__module__, TrackerCallback.__qualname__ = __name__, "TrackerCallback"
    return TrackerCallback


# --- what others call ------------------------------------------------------------------------------


def _autolog(module: ModuleType) -> None:
    """`fastai.learner` was imported: each learner that is fitted gets our callback."""
    wrap(module.Learner, "fit", _with_ours, _NAME)


def _with_ours(original: Callable[..., Any], learn: Any, *args: Any, **kwargs: Any) -> Any:
    with tracker.guard("logging of this training"):
        names = list(inspect.signature(original).parameters)[1:]
        given = kwargs.get("cbs", dict(zip(names, args, strict=False)).get("cbs"))
        several: Any = given if isinstance(given, (list, tuple)) or hasattr(given, "map") else [given]
        if not any(one is _callback() or isinstance(one, _callback()) for one in (*learn.cbs, *several)):
            learn.add_cb(_callback()())
    return original(learn, *args, **kwargs)


def _patch(learner: type) -> None:
    wrap(learner, "_do_fit", _failing, _NAME, always=True)
    wrap(learner, "save", _keeping, _NAME, always=True)


def _failing(original: Callable[..., Any], learn: Any) -> Any:
    """A fit has no event for its failure; exceptions that cancel one are its usual course."""
    try:
        return original(learn)
    except BaseException as error:
        if not type(error).__name__.startswith("Cancel"):
            for callback in _ours(learn):
                callback._fail(error)
        raise


def _keeping(original: Callable[..., Any], learn: Any, *args: Any, **kwargs: Any) -> Any:
    path = original(learn, *args, **kwargs)
    with tracker.guard("a saved model"):
        for callback in _ours(learn):
            callback._keep(path)
    return path


def _ours(learn: Any) -> Iterator[Any]:
    return (callback for callback in learn.cbs if isinstance(callback, _callback()))


def _is_validating(learn: Any) -> bool:
    lock = getattr(learn, "lock", None)
    return bool(lock.locked()) if lock is not None else not learn.create_mbar


# --- what is told ----------------------------------------------------------------------------------


def _arguments(learn: Any) -> dict[str, Any]:
    """Answer what the learner was made of and is asked to do."""
    found = {name: _plain(getattr(learn, name)) for name in _stored(learn) if name not in ("dls", "model", "cbs")}
    found["metrics"] = [metric.name for metric in learn.metrics]
    found["n_epoch"] = getattr(learn, "n_epoch", None)
    found["callbacks"] = {
        str(callback.name): {name: _plain(getattr(callback, name)) for name in _stored(callback)}
        for callback in learn.cbs
        if not isinstance(callback, _callback())
    }
    return found


def _stored(thing: Any) -> list[str]:
    parameters = inspect.signature(type(thing).__init__).parameters
    return [name for name in parameters if name in vars(thing) and not name.startswith("_")]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str, dict, list, tuple)):
        return value
    if isinstance(value, functools.partial):
        return {"function": value.func.__name__, **value.keywords}
    if isinstance(value, slice):
        return [value.start, value.stop]
    return getattr(value, "__name__", None) or (str(value) if hasattr(value, "__fspath__") else type(value).__name__)


def _data(learn: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    facts: dict[str, Callable[[], Any]] = {
        "batch_size": lambda: learn.dls.bs,
        "batches": lambda: len(learn.dls.train),
        "train": lambda: len(learn.dls.train_ds),
        "valid": lambda: len(learn.dls.valid_ds),
        "classes": lambda: [str(name) for name in learn.dls.vocab][:100],
        "after_item": lambda: str(learn.dls.after_item),
        "after_batch": lambda: str(learn.dls.after_batch),
    }
    for name, ask in facts.items():
        try:
            found[name] = ask()
        except Exception:  # noqa: S112 - loaders of other kinds have less to tell
            continue
    return found


def _model(learn: Any) -> dict[str, Any]:
    parameters = list(learn.model.parameters())
    return {
        "class": type(learn.model).__name__,
        "parameters": sum(one.numel() for one in parameters),
        "trainable": sum(one.numel() for one in parameters if one.requires_grad),
        "frozen_groups": getattr(learn.opt, "frozen_idx", 0),
    }


def _number(value: Any) -> Any:
    return value.item() if getattr(value, "numel", lambda: 0)() == 1 else value
