"""Autologging of scikit-learn: the outermost `fit` in a thread is a training, and what it answers later belongs to it.

Every public `fit` of scikit-learn bears the decorator `_fit_context`; ours goes around that one. Scores, predictions
and metrics are watched only for classes of which a model was fitted.
"""

from __future__ import annotations

import functools
import inspect
import multiprocessing
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

import tracker

from . import _sklearn_facts as facts
from . import _sklearn_fit as fits
from . import _sklearn_search as search
from . import patching
from .base import Session, training

FRAMEWORK = "sklearn"
MAX_PREDICTIONS = 64  # remembered, the latest ones
MAX_CURVE_POINTS = 1000
_FITS = ("fit", "fit_predict", "fit_transform", "partial_fit")
_PREDICTIONS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
_METRIC_ENDS = ("_score", "_error", "_loss", "_deviance", "_coefficient", "matthews_corrcoef")
# What answers curves: the names of the first two parts, which of them lie along x and y, and a title.
_CURVES = {
    "roc_curve": (("fpr", "tpr"), ("fpr", "tpr"), "ROC curve"),
    "det_curve": (("fpr", "fnr"), ("fpr", "fnr"), "Detection error tradeoff"),
    "precision_recall_curve": (("precision", "recall"), ("recall", "precision"), "Precision and recall"),
}
_NO_METRICS = ("permutation_test_score",)
_NOBODY: Any = object()


class _Inside(threading.local):
    """Whether this thread is within a call that is watched: what it calls in turn is not."""

    yes = False


_inside = _Inside()
_known: dict[int, fits.Fit] = {}  # by the id of the model, while it lives
_predictions: dict[int, tuple[weakref.ref[Any], fits.Fit, str]] = {}  # by the id of the array


# --- putting ours around theirs ----------------------------------------------------------


def patch_base(base: ModuleType) -> None:
    """Watch every `fit` of scikit-learn: those that are there, and those that are defined from now on.

    Args:
        base: `sklearn.base`.
    """
    patching.wrap(base, "_fit_context", _around_fit_context, FRAMEWORK)
    for kind in list(_subclasses(getattr(base, "BaseEstimator", None))):
        for name, attribute in list(vars(kind).items()):
            if name in _FITS and _is_fit_context(_function_in(attribute), base):
                _wrap(kind, name, around_fit, anywhere=True)


def patch_metrics(metrics: ModuleType) -> None:
    """Watch the functions of `sklearn.metrics` that answer one number, the confusion matrix, and curves.

    Ours take the name that they are imported by, `sklearn.metrics.accuracy_score`, so that both they and the
    originals, which have another, can be pickled to workers. What the script itself has imported by name before is
    replaced there.
    """
    pairs: dict[int, Any] = {}  # by the id of the original
    for name in getattr(metrics, "__all__", ()):
        is_number = name.endswith(_METRIC_ENDS) and name not in _NO_METRICS
        if is_number or name in _CURVES or name == "confusion_matrix":
            patching.wrap(metrics, name, functools.partial(_around_metric, name), FRAMEWORK)
            ours = getattr(metrics, name)
            if getattr(ours, "__tracker_framework__", None) == FRAMEWORK:
                ours.__module__ = metrics.__name__
                pairs[id(ours.__wrapped__)] = ours
    script = sys.modules.get("__main__")
    if script is not None and pairs:
        patching.add(FRAMEWORK, "metrics that the script had imported", lambda: _bind(script, pairs))


def _bind(module: ModuleType, pairs: dict[int, Any]) -> Callable[[], object]:
    """Let names of a module that stand for originals stand for ours, and answer what takes that back."""
    names = {name: (value, pairs[id(value)]) for name, value in vars(module).items() if id(value) in pairs}
    for name, (_, ours) in names.items():
        setattr(module, name, ours)

    def undo() -> None:
        for name, (original, ours) in names.items():
            if vars(module).get(name) is ours:
                setattr(module, name, original)

    return undo


def _subclasses(kind: Any) -> Iterator[type]:
    seen: set[type] = set()
    found = [kind] if isinstance(kind, type) else []
    while found:
        one = found.pop()
        if one not in seen:
            seen.add(one)
            yield one
            found.extend(one.__subclasses__())


def _function_in(attribute: Any) -> Any:
    return getattr(attribute, "fn", attribute)  # `available_if` holds it there


def _is_fit_context(function: Any, base: ModuleType) -> bool:
    """Answer whether a method bears the decorator, beneath what others (mlflow) have put around it."""
    while function is not None:
        code = getattr(function, "__code__", None)
        if code is not None and code.co_name == "wrapper" and code.co_filename == base.__file__:
            return True
        function = getattr(function, "__wrapped__", None)
    return False


def _wrap(kind: type, name: str, around: Callable[..., Any], *, anywhere: bool = False) -> None:
    """Put ours around a method where it is defined, if that is within scikit-learn or may be anywhere."""
    for owner in kind.__mro__:
        if name not in vars(owner):
            continue
        attribute = vars(owner)[name]
        if getattr(_function_in(attribute), "__tracker_framework__", None) is None:
            if hasattr(attribute, "fn") and hasattr(attribute, "check"):
                patching.wrap(attribute, "fn", around, FRAMEWORK)
            elif inspect.isfunction(attribute) and (anywhere or owner.__module__.partition(".")[0] == "sklearn"):
                patching.wrap(owner, name, around, FRAMEWORK)
        return


def _around_fit_context(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
    decorator = original(*args, **kwargs)

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        decorated = decorator(method)

        @functools.wraps(decorated)
        def watched(estimator: Any, *args: Any, **kwargs: Any) -> Any:
            if _inside.yes or not patching.is_autologging(FRAMEWORK):
                return decorated(estimator, *args, **kwargs)
            return around_fit(decorated, estimator, *args, **kwargs)

        watched.__tracker_framework__ = FRAMEWORK  # type: ignore[attr-defined]
        return watched

    return decorate


# --- a fit -------------------------------------------------------------------------------


def around_fit(original: Callable[..., Any], estimator: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a `fit`; where it is a training of its own, open a run for it and say there what came out."""
    if _inside.yes:
        return original(estimator, *args, **kwargs)
    method = getattr(original, "__name__", "fit")
    fit = _begin(original, estimator, method, args, kwargs)
    if fit is None:
        with within():
            return original(estimator, *args, **kwargs)
    try:
        with within():
            answer = original(estimator, *args, **kwargs)
    except BaseException as error:
        fit.fail(error)
        raise
    with within():  # the model itself may be asked for something
        fit.end(is_partial=method == "partial_fit")
        follow(fit, estimator)
    return answer


@tracker.guarded
def _begin(
    original: Callable[..., Any], estimator: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> fits.Fit | None:
    if _is_logged_elsewhere(estimator) or is_worker() or is_inner(estimator, sys._getframe()):
        return None
    given = _arguments(original, estimator, args, kwargs)
    x, y = given.pop("X", None), given.pop("y", None)
    if not is_model(estimator):
        _note_transformer(estimator)
        return None
    is_series = method == "partial_fit" or getattr(estimator, "warm_start", False) is True
    fit = _known.get(id(estimator)) if is_series else None
    if fit is None or fit.model is not estimator:
        arguments = fits.arguments_for(estimator)
        fit = fits.Fit(estimator, Session(FRAMEWORK, **arguments), fits.Options.from_environment())
    if not fit.begin(x, y, given, is_series=is_series, is_partial=method == "partial_fit"):
        return None
    remember(fit, estimator)
    return fit


def is_model(estimator: Any) -> bool:
    """Answer whether fitting it is a training: it predicts, or finds clusters, or searches for what does."""
    return search.is_search(estimator) or hasattr(estimator, "predict") or hasattr(estimator, "fit_predict")


def is_worker() -> bool:
    """Answer whether this process works for another one."""
    name = multiprocessing.current_process().name
    return multiprocessing.parent_process() is not None or name.startswith(("LokyProcess", "ForkPoolWorker"))


def is_inner(estimator: Any, frame: FrameType | None, apart_from: tuple[str, ...] = ()) -> bool:
    """Answer whether a call on an estimator comes from within scikit-learn, or from another estimator's `fit`.

    So it is in cross-validation, in the steps of a pipeline, in the threads and processes of a search, and in
    estimators of other libraries that are built on scikit-learn's.

    Args:
        estimator: Whose method is called; its other methods do not count.
        frame: Where to begin.
        apart_from: Modules that do not count, nor the methods of their classes.
    """
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        is_theirs = name == "sklearn" or name.startswith("sklearn.")
        code = frame.f_code
        if (is_theirs or code.co_name in _FITS) and not name.startswith(("tracker.", *apart_from)):
            owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
            is_passed_over = owner is estimator or type(owner).__module__.startswith(apart_from or ("tracker.",))
            if not is_passed_over and (is_theirs or (hasattr(owner, "get_params") and hasattr(owner, "fit"))):
                return True
        frame = frame.f_back
    return False


def _is_logged_elsewhere(estimator: Any) -> bool:
    """Answer whether the estimator bears our callback, which logs by itself."""
    callbacks = getattr(estimator, "_skl_callbacks", None) or ()
    return any(hasattr(callback, "_is_trackers") for callback in callbacks)


def _arguments(
    original: Callable[..., Any], estimator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Answer what was given to `fit` by name; the data are `X` and `y`, whatever the method calls them."""
    try:
        bound = inspect.signature(original).bind(estimator, *args, **kwargs)
    except (TypeError, ValueError):  # the method says it better itself
        return {}
    given = dict(list(bound.arguments.items())[1:])
    for name, other in (("X", "raw_documents"), ("y", "Y")):
        if name not in given and other in given:
            given[name] = given.pop(other)
    given.update(given.pop("params", None) or {})
    given.update(given.pop("fit_params", None) or {})
    return given


def _note_transformer(estimator: Any) -> None:
    """A transformer of its own opens no run; one that is open takes note of it."""
    run = tracker.run
    if run is None or run.released or run.disabled or training() is not None or tracker.rank() != 0:
        return
    known = run.config.get("preprocessing")
    ours = {type(estimator).__name__: facts.parameters(estimator)}
    run.config.update({"preprocessing": {**(known or {}), **ours}}, allow_val_change=True)


# --- what is asked of the model afterwards -----------------------------------------------


def remember(fit: fits.Fit, model: Any) -> None:
    key = id(model)
    _known[key] = fit
    weakref.finalize(model, _known.pop, key, None).atexit = False


@tracker.guarded
def follow(fit: fits.Fit, estimator: Any) -> None:
    for model in (estimator, getattr(estimator, "best_estimator_", None)):
        if model is None:
            continue
        if _known.get(id(model)) is not fit:
            remember(fit, model)
        if not patching.is_autologging(FRAMEWORK):
            continue
        _wrap(type(model), "score", _around_score)
        for name in _PREDICTIONS:
            _wrap(type(model), name, _around_prediction)


def _fit_of(model: Any) -> fits.Fit | None:
    fit = _known.get(id(model))
    if fit is None or _inside.yes or is_inner(model, sys._getframe()):
        return None
    return fit


def _around_score(original: Callable[..., Any], estimator: Any, *args: Any, **kwargs: Any) -> Any:
    fit = _fit_of(estimator)
    if fit is None:
        return original(estimator, *args, **kwargs)
    with within():
        answer = original(estimator, *args, **kwargs)
        if _is_number(answer):
            fit.log({fit.name_for(args[0] if args else kwargs.get("X"), "score"): float(answer)})
    return answer


def _around_prediction(original: Callable[..., Any], estimator: Any, *args: Any, **kwargs: Any) -> Any:
    fit = _fit_of(estimator)
    if fit is None:
        return original(estimator, *args, **kwargs)
    with within():
        answer = original(estimator, *args, **kwargs)
    owner = _owner(answer)
    try:
        _predictions[id(owner)] = (weakref.ref(owner), fit, fit.name_for(args[0] if args else kwargs.get("X"), ""))
    except TypeError:  # a list, of models with several outputs
        return answer
    if len(_predictions) > MAX_PREDICTIONS:
        _predictions.pop(next(iter(_predictions)), None)
    return answer


def _around_metric(name: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if _inside.yes or not _predictions:
        return original(*args, **kwargs)
    with within():
        answer = original(*args, **kwargs)
        with tracker.guard(f"the metric {name}"):
            _log_metric(name, answer, args, kwargs)
    return answer


def _log_metric(name: str, answer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    found = next(filter(None, map(_prediction, (*args, *kwargs.values()))), None)
    if found is None or is_inner(_NOBODY, sys._getframe()):
        return
    fit, where = found
    average = kwargs.get("average")
    if name == "confusion_matrix":
        truth = args[0] if args else kwargs.get("y_true")
        guesses = args[1] if len(args) > 1 else kwargs.get("y_pred")
        fit.log({where + name: tracker.plot.confusion_matrix(y_true=truth, preds=guesses, title="Confusion matrix")})
    elif name in _CURVES:
        fit.log({where + name: _curve(answer, *_CURVES[name])})
    elif _is_number(answer):
        part = f"_{average}" if isinstance(average, str) and average != "binary" else ""
        fit.log({f"{where}{name}{part}": float(answer)})


def _curve(answer: Any, names: tuple[str, str], along: tuple[str, str], title: str) -> Any:
    """Answer a line through the first two of what a function has answered, with at most as many points as screens have."""
    table = tracker.Table(columns=list(names), dtype=[float, float])
    parts = [facts.thinned([float(value) for value in part], MAX_CURVE_POINTS) for part in answer[:2]]
    for row in zip(*parts, strict=True):
        table.add_data(*row)
    return tracker.plot.line(table, *along, title=title)


def _prediction(value: Any) -> tuple[fits.Fit, str] | None:
    """Answer whose prediction a value is, or is a part of."""
    owner = _owner(value)
    known = _predictions.get(id(owner))
    return (known[1], known[2]) if known is not None and known[0]() is owner else None


def _owner(value: Any) -> Any:
    """Answer the array that a view is of: `predict_proba(x)[:, 1]` is of `predict_proba(x)`."""
    base = getattr(value, "base", None)
    return value if base is None else base


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__float__") and getattr(value, "shape", ()) == ()


@contextmanager
def within() -> Iterator[None]:
    before, _inside.yes = _inside.yes, True
    try:
        yield
    finally:
        _inside.yes = before
