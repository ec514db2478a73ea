"""Keras: the `fit` calls that are going on, and the functions of Keras that ours stand around.

Keras tells callbacks neither that a training has failed nor what `fit` was given, and a callback does not see the ones
beside it. So ours stand around `fit`, around the list of callbacks that each training makes, and around the saving of
`ModelCheckpoint`. They change nothing of what these do.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import tracker

from . import patching
from .base import Session

FRAMEWORK = "keras"
_DATA = ("x", "y", "sample_weight", "class_weight", "callbacks", "validation_data")
_SCALARS = (str, int, float, bool, type(None))


class Fit:
    """One call of `fit`, while it goes on.

    Args:
        model: What is trained.
        arguments: Of the call, by name.
    """

    def __init__(self, model: Any, arguments: dict[str, Any]) -> None:
        self.model = model
        self.arguments = arguments
        self.sessions: list[Session] = []  # that log it
        self.has_list = False  # of callbacks
        self.keep: Callable[..., Any] | None = None  # takes what a ModelCheckpoint of Keras' own has saved

    def settings(self) -> dict[str, Any]:
        """Answer the plain ones of the arguments: those that tell how it is trained, not with what."""
        return {
            name: value for name, value in self.arguments.items() if name not in _DATA and isinstance(value, _SCALARS)
        }


class Trained(NamedTuple):
    """What is remembered of a model that was trained, for evaluations of it later on."""

    session: Session
    reached: Callable[[Any], int]  # by the model


_here = threading.local()  # `fits`: those of the thread, the innermost last
_trained: weakref.WeakKeyDictionary[Any, Trained] = weakref.WeakKeyDictionary()


def of(model: Any) -> Fit | None:
    """Answer the `fit` of a model that goes on in this thread."""
    fits: list[Fit] = getattr(_here, "fits", [])
    return next((fit for fit in reversed(fits) if fit.model is model), None)


def remember(model: Any, session: Session, reached: Callable[[Any], int]) -> None:
    """Let later evaluations of a model log where its training did."""
    _trained[model] = Trained(session, reached)


def is_legacy(model: Any) -> bool:
    """Answer whether a model is one of `tf_keras`, the Keras before 3."""
    return any(kind.__module__.partition(".")[0] == "tf_keras" for kind in type(model).__mro__)


def patch(models: ModuleType, make: Callable[[], Any]) -> None:
    """Put ours around Keras' functions.

    Args:
        models: The module that defines `Model`, of Keras or of `tf_keras`.
        make: Makes the callback that autologging adds to trainings.
    """
    root = models.__name__.partition(".")[0]
    trainer = next(kind for kind in models.Model.__mro__ if "fit" in vars(kind))
    callbacks = __import__(f"{root}.src.callbacks", fromlist=["CallbackList"])
    wrap = functools.partial(patching.wrap, framework=FRAMEWORK, always=True)
    wrap(trainer, "fit", _fit)
    wrap(callbacks.CallbackList, "__init__", functools.partial(_list, make))
    wrap(callbacks.ModelCheckpoint, "_save_model", _save)


# --- around `fit` --------------------------------------------------------------------------------


def _fit(original: Callable[..., Any], model: Any, *args: Any, **kwargs: Any) -> Any:
    fit = _entered(original, model, args, kwargs)
    try:
        return original(model, *args, **kwargs)
    except BaseException as error:
        _failed(fit, error)
        raise
    finally:
        if fit is not None:
            _here.fits.remove(fit)


@tracker.guarded
def _entered(original: Callable[..., Any], model: Any, args: Any, kwargs: Any) -> Fit | None:
    try:
        bound = inspect.signature(original).bind(model, *args, **kwargs)
    except TypeError:  # Keras says it better
        return None
    bound.apply_defaults()
    fit = Fit(model, dict(list(bound.arguments.items())[1:]))
    if not hasattr(_here, "fits"):
        _here.fits = []
    _here.fits.append(fit)
    return fit


@tracker.guarded
def _failed(fit: Fit | None, error: BaseException) -> None:
    for session in reversed(fit.sessions if fit is not None else []):
        session.fail(error)


# --- around the list of callbacks ----------------------------------------------------------------


def _list(make: Callable[[], Any], original: Callable[..., Any], there: Any, *args: Any, **kwargs: Any) -> None:
    original(there, *args, **kwargs)
    _join(make, original, there, args, kwargs)


@tracker.guarded
def _join(make: Callable[[], Any], original: Callable[..., Any], there: Any, args: Any, kwargs: Any) -> None:
    """Add ours to a list of callbacks: to a training's where that is wished for, to an evaluation's after one of ours.

    Keras has decided by then whether it calls hooks from other threads, and decides as it would without us.
    """
    given = inspect.signature(original).bind(there, *args, **kwargs).arguments
    model, fit = given.get("model"), of(given.get("model"))
    is_of_fit = given.get("add_history", False) and (not is_legacy(model) if fit is None else not fit.has_list)
    if is_of_fit and fit is not None:
        fit.has_list = True  # `tf_keras` asks for a history in `evaluate` as well, also within a `fit`
    ours = [one for one in there.callbacks if getattr(one, "_is_trackers", False)]
    if not ours and model is not None:
        added = None
        if is_of_fit:
            added = make() if patching.is_autologging(FRAMEWORK) else None
        elif model in _trained:
            added = Evaluations(model)
        if added is not None:
            added.set_model(model)
            added.set_params(getattr(there, "params", None) or {})
            there.callbacks.append(added)
            ours.append(added)
    for one in ours:
        one._beside = [other for other in there.callbacks if other is not one]


class Evaluations:
    """Logs what `evaluate` finds of a model whose training was logged; it has the hooks of a callback."""

    _is_trackers = True
    _supports_tf_logs = True
    async_safe = True

    def __init__(self, model: Any) -> None:
        self._model = model

    def on_test_end(self, logs: Any = None) -> None:
        """Log the metrics."""
        found = _trained[self._model]
        log_evaluation(found.session, logs, found.reached(self._model))

    def _is_unused(self) -> bool:
        return False

    _implements_train_batch_hooks = _implements_test_batch_hooks = _implements_predict_batch_hooks = _is_unused

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_") or name in ("set_model", "set_params"):
            return _nothing
        raise AttributeError(name)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Stand for the hooks that are not needed."""


def log_evaluation(session: Session, logs: Any, step: int) -> None:
    """Log the metrics of an evaluation as `eval/...`."""
    session.log({f"eval/{name}": scalar(value) for name, value in (logs or {}).items()}, step=step)


def scalar(value: Any) -> Any:
    """Answer a metric's value as a number: at ends of epochs and evaluations it has been waited for already."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


# --- around the saving of checkpoints ------------------------------------------------------------


def _save(original: Callable[..., Any], checkpoint: Any, epoch: int, batch: Any = None, logs: Any = None) -> Any:
    if getattr(checkpoint, "_is_trackers", False):  # keeps what it saves itself
        return original(checkpoint, epoch, batch, logs)
    with Saving(checkpoint, epoch, batch, logs) as saving:
        answer = original(checkpoint, epoch, batch, logs)
    _keep(saving)
    return answer


@tracker.guarded
def _keep(saving: Saving) -> None:
    checkpoint = saving.checkpoint
    fit = of(getattr(checkpoint, "_model", None) or checkpoint.model)
    if fit is not None and fit.keep is not None:
        fit.keep(saving)


class Saving:
    """One occasion for a `ModelCheckpoint` to save: knows afterwards which files it has written, if any.

    With `save_best_only` it often saves nothing, and with a path of fixed name the file is there all the same.
    """

    def __init__(self, checkpoint: Any, epoch: int, batch: int | None, logs: Any) -> None:
        self.checkpoint = checkpoint
        self.epoch = epoch
        self.batch = batch
        self.logs = {name: scalar(value) for name, value in (logs or {}).items()}
        self._before: dict[str, Any] = {}

    def __enter__(self) -> Saving:
        with tracker.guard("the path of a checkpoint"):
            self._before = dict(self._there())
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing: errors are the user's to see."""

    def written(self) -> list[str]:
        """Answer the files or folders that are new, or not what they were."""
        return [path for path, state in self._there() if self._before.get(path) != state]

    def _there(self) -> Iterator[tuple[str, Any]]:
        try:
            path = str(self.checkpoint._get_file_path(self.epoch, self.batch, self.logs))
        except KeyError:  # a metric that is not there; Keras says so
            return
        # TensorFlow's own format of weights has several files, named after the path.
        for one in (path, f"{path}.index", f"{path}.data-00000-of-00001"):
            try:
                found = os.stat(one)
            except OSError:
                continue
            yield one, (found.st_mtime_ns, found.st_size, found.st_ino)


def is_alone() -> bool:
    """Answer whether this process can ask the model by itself: in a cluster, asking and saving are the work of all."""
    import json

    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        if sum(len(tasks) for job, tasks in cluster.items() if job in ("chief", "worker")) > 1:
            return False
    except (ValueError, AttributeError, TypeError):
        pass
    jax = sys.modules.get("jax._src.distributed")  # the public `is_initialized` came later, and asks this
    return getattr(getattr(jax, "global_state", None), "client", None) is None
