"""XGBoost: the metrics of each round as `<data set>/<metric>`, the model, importances and a sample of predictions.

Works for `train`, `cv`, the estimators of scikit-learn's kind, and on the workers of Dask and Spark, of which the one of
rank 0 logs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from inspect import signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

import tracker

from . import _boosting as boosting
from . import _boosting_tables as tables
from . import _xgboost_booster as booster
from . import base
from .patching import is_autologging, wrap

if TYPE_CHECKING:
    from xgboost.callback import TrainingCallback

    TrackerCallback: type[TrainingCallback]

_MEASURES = ("gain", "weight", "cover", "total_gain", "total_cover")
_NOT_TOLD = ("params", "dtrain", "evals", "evals_result", "callbacks", "verbose_eval", "xgb_model", "as_pandas")

_estimators = boosting.Remembered()


def __getattr__(name: str) -> Any:
    if name == "TrackerCallback":  # derives from a class of the framework, which is loaded for those who use it
        _install()  # before `xgboost.train` is looked up in `xgboost.train(..., callbacks=[TrackerCallback()])`
        return _callback_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _callback_class() -> type:
    framework_class: Any = base.require("xgboost.callback").TrainingCallback

    class TrackerCallback(boosting.Copied, framework_class):
        """Log a training of XGBoost: parameters, metrics of each round, the best round, importances, predictions, model.

        It holds nothing of a training beyond its end, so one can be used for several, copied (as GridSearchCV does) and
        sent to other processes (as Dask and Spark do).

        Args:
            run: The run to log to; it stays open. Without one it is the run that is open, or else one is opened for
                each training.
            prefix: Before every name: `TrackerCallback(prefix="fold1")`.
            log_model: Whether the model is kept: True, False, or (None) as `TRACKER_LOG_MODEL` says.
            log_feature_importance: Whether importances are kept.
            importance_type: What the chart of importances shows: "gain", "weight", "cover", "total_gain" or
                "total_cover".
            log_predictions: Whether a table of predictions for the last evaluation set is kept.
            model_format: "ubj" (XGBoost's own, packed) or "json".
            arguments: Of `tracker.init`, for runs that have to be opened: project, name, group, config, ...

        Example:
            xgboost.train(params, data, evals=[(validation, "validation")], callbacks=[TrackerCallback()])
        """

        def __init__(
            self,
            run: tracker.Run | None = None,
            *,
            prefix: str | None = None,
            log_model: bool | str | None = None,
            log_feature_importance: bool = True,
            importance_type: str = "gain",
            log_predictions: bool = True,
            model_format: str = "ubj",
            **arguments: Any,
        ) -> None:
            super().__init__()
            if importance_type not in _MEASURES:
                raise tracker.UsageError(f"importance_type is {importance_type!r}. Use one of {', '.join(_MEASURES)}.")
            if model_format not in ("ubj", "json"):
                raise tracker.UsageError(f"model_format is {model_format!r}. Use 'ubj' or 'json'.")
            self._session = base.Session("xgboost", run, **arguments)
            self._options = boosting.Options(prefix, log_model, log_feature_importance, log_predictions)
            self._importance_type = importance_type
            self._model_format = model_format
            self._training: _Training | None = None
            self._is_asked_for = True
            _install()

        def __setstate__(self, state: Mapping[str, Any]) -> None:
            self.__dict__.update(state)
            _install()

        def _begin(self, container: Any = None) -> _Training:
            is_worker = self._has_travelled and _is_worker()
            session = self._session if is_worker else copy.deepcopy(self._session)
            self._training = _Training(self, session, container)
            return self._training

        def before_training(self, model: Any) -> Any:
            """Open the run."""
            training = self._training
            if training is None or training.is_begun:  # the container is not ours to look into
                training = self._begin()
            training.begin(model)
            return model

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            """Log the metrics of a round; never stops the training."""
            training = self._training
            if training is not None and training.is_logged:
                try:
                    training.log_round(evals_log)
                except Exception as error:  # caught here, without one more call in each round
                    training.fail_round(error)
            return False

        def after_training(self, model: Any) -> Any:
            """Log what the training has come to."""
            training = self._training
            if training is not None and training.container is None:
                self._training = None
                training.finish(model)
            return model

    TrackerCallback.__module__ = __name__
    TrackerCallback.__qualname__ = "TrackerCallback"
    return TrackerCallback


class _Call:
    """A call of `train`, `cv` or `fit` that goes on: what was said to it, and the training it has led to."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.training: _Training | None = None

    def bound(self) -> dict[str, Any]:
        """Answer the arguments by name."""
        try:
            return dict(signature(self.function).bind(*self.args, **self.kwargs).arguments)
        except (TypeError, ValueError):  # older ways to call it, which the framework translates
            return dict(self.kwargs)


_call: ContextVar[_Call | None] = ContextVar("tracker_xgboost_call", default=None)
_fit_call: ContextVar[_Call | None] = ContextVar("tracker_xgboost_fit_call", default=None)


class _Training:
    """One training, as a callback sees it."""

    def __init__(self, callback: Any, session: base.Session, container: Any) -> None:
        self.callback = callback
        self.container = container
        self.fit = boosting.Fit(session, callback._options, is_asked_for=callback._is_asked_for)
        self.is_begun = False
        self.evals: Sequence[tuple[Any, str]] = ()
        self._offset = 0
        self._rounds = 0  # that were logged
        self._columns: list[tuple[str, str, Sequence[Any]]] = []  # name, that of the deviation, values
        self._is_distributed = False
        self.is_logged = False

    @tracker.guarded
    def begin(self, model: Any) -> None:
        self.is_begun = True
        collective = base.require("xgboost.collective")
        self._is_distributed = bool(collective.is_distributed())
        if collective.get_rank() != 0:
            return
        call = _call.get()
        bound = call.bound() if call is not None else {}
        folds = getattr(model, "cvfolds", None)
        self._offset = 0 if folds is not None else int(model.num_boosted_rounds())
        params = bound.get("params")
        arguments = boosting.told(bound, _NOT_TOLD)
        if call is not None:
            arguments["function"] = call.function.__name__
        fit_call = _fit_call.get()
        if fit_call is not None:
            arguments["estimator"] = type(fit_call.args[0]).__name__
        if not self.fit.begin(dict(params or {}), arguments, goes_on=self._offset > 0):
            return
        self.is_logged = True
        if call is not None:
            call.training = self
        if fit_call is not None:
            fit_call.training = self
            self._know(fit_call)

    def _know(self, fit_call: _Call) -> None:
        bound = fit_call.bound()
        _estimators[bound["self"]] = self.fit
        self.fit.knows("train", bound.get("X"))
        for number, (data, *_) in enumerate(bound.get("eval_set") or ()):
            self.fit.knows(f"validation_{number}", data)

    @tracker.guarded
    def describe(self, data: Any, evals: Sequence[tuple[Any, str]] | None) -> None:
        """Take note of the data, before the first round."""
        self.evals = list(evals or ())
        if self.fit.is_open:
            sets = {name: (one.num_row(), one.num_col()) for one, name in self.evals}
            self.fit.describe({"train": (data.num_row(), data.num_col()), **sets}, data.feature_names)

    @tracker.guarded
    def fail_round(self, error: Exception) -> None:
        raise error

    def log_round(self, history: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        if len(self._columns) != sum(map(len, history.values())):
            # XGBoost adds to the same lists in every round.
            columns = ((self._name(data, name), data, name) for data in history for name in history[data])
            self._columns = [(name, f"{name}.std", history[data][metric]) for name, data, metric in columns]
        row: dict[str, Any] = {}
        for name, deviation, values in self._columns:
            value = values[-1]
            if type(value) is tuple:  # of cv: mean and standard deviation
                row[name], row[deviation] = value
            else:
                row[name] = value
        self.fit.log(row, self._offset + self._rounds)
        self._rounds += 1

    def _name(self, data: str, metric: str) -> str:
        name = self.fit.name(data, metric)
        self.fit.define(name, boosting.is_maximized(metric))
        return name

    @tracker.guarded
    def finish(self, model: Any) -> None:
        if not self.fit.is_open:
            return
        if self.container is not None:
            self._catch_up(self.container.history)
        folds = getattr(model, "cvfolds", None)
        whole = model if folds is None else folds[0].bst
        round_text, score_text = whole.attr("best_iteration"), whole.attr("best_score")
        best_round = None if round_text is None else int(round_text)
        # Of cv, before 2.1, with the deviation beside it: "(0.5, 0.1)".
        best_score = None if score_text is None else float(score_text.strip("()").partition(",")[0])
        self.fit.summarize(rounds=self._offset + self._rounds, best_iteration=best_round, best_score=best_score)
        if folds is None:
            self.fit.configure("effective", booster.effective(model))
            self._importances(model)
            self._predictions(model, best_round)
            self.fit.log_model(
                f"model.{self.callback._model_format}",
                model.save_model,
                best_iteration=best_round,
                best_score=best_score,
            )
        if self._is_distributed:
            self.fit.session.end()  # the worker goes on living, and has nothing more to say
        else:
            self.fit.finish()

    def _catch_up(self, history: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        """Log the last round where a callback before ours has stopped the training, and we were not called."""
        lengths = [len(values) for metrics in history.values() for values in metrics.values()]
        if lengths and max(lengths) > self._rounds:
            self.log_round(history)

    @tracker.guarded
    def _importances(self, model: Any) -> None:
        measures = [
            self.callback._importance_type,
            *(one for one in _MEASURES if one != self.callback._importance_type),
        ]
        found: dict[str, dict[str, float]] = {}
        for measure in measures:
            try:
                scores = model.get_score(importance_type=measure)
            except ValueError:  # linear boosters only have weights
                continue
            found[measure] = {
                feature: max(map(abs, value)) if isinstance(value, list) else value for feature, value in scores.items()
            }
        self.fit.log_importances(found)

    @tracker.guarded
    def _predictions(self, model: Any, best_round: int | None) -> None:
        # Where several workers train, predicting may want all of them.
        if not self.evals or self._is_distributed or not self.fit.wants_predictions:
            return
        data, name = self.evals[-1]
        rows = base.sample_rows(data.num_row())
        rounds = (0, 0) if best_round is None or model.num_boosted_rounds() <= best_round else (0, best_round + 1)
        errors = base.require("xgboost.core").XGBoostError
        try:
            part = data.slice(rows, allow_groups=True)
            outputs = model.predict(part, iteration_range=rounds)
            features = booster.features(part)
        except errors:  # quantized: it cannot be cut
            if data.num_row() > tables.FULL_PREDICTION_ROWS:
                return
            outputs = model.predict(data, iteration_range=rounds)[rows]
            features = None
        classes = None
        fit_call = _fit_call.get()
        if fit_call is not None:
            estimator, sets = fit_call.args[0], fit_call.bound().get("eval_set") or ()
            classes = getattr(estimator, "classes_", None)
            if features is None and sets:
                features = tables.features_of(sets[-1][0], rows, data.feature_names)
        labels = data.get_label()
        labels = labels.reshape(data.num_row(), -1)[rows] if labels.size else None
        if labels is not None and labels.shape[1] == 1:
            labels = labels[:, 0]
        self.fit.log_predictions(
            name, tables.Predictions(rows, labels, outputs, booster.kind(model), classes, features)
        )


def _is_worker() -> bool:
    """Answer whether this process works for another one: of Dask, Spark, or multiprocessing."""
    return tracker.is_worker() or bool(base.require("xgboost.collective").is_distributed())


# --- around the framework's functions ----------------------------------------------------------


def autolog(module: ModuleType) -> None:
    """Have trainings logged by themselves: called with `xgboost.training` or `xgboost.sklearn` when they are loaded."""
    _install(module)


def _install(*loaded: ModuleType) -> None:
    """Put our functions around XGBoost's, once; they act where autologging is on or a TrackerCallback takes part."""
    modules = {module.__name__: module for module in loaded}
    for name in ("xgboost.training", "xgboost.callback", "xgboost.sklearn"):
        if name not in modules and loaded == ():
            try:
                modules[name] = base.require(name)
            except tracker.MissingFramework:  # without scikit-learn there are no estimators
                continue
    training, estimators = modules.get("xgboost.training"), modules.get("xgboost.sklearn")
    if training is not None:
        container = training.CallbackContainer
        wrap(container, "__init__", _around_container, "xgboost", always=True)
        wrap(container, "after_training", _around_after_training, "xgboost", always=True)
        for function in ("train", "cv"):
            boosting.wrap_everywhere(training, function, _around_train, "xgboost")
    if estimators is not None and hasattr(estimators, "XGBModel"):
        for name in ("XGBModel", "XGBClassifier", "XGBRanker"):
            wrap(getattr(estimators, name), "fit", _around_fit, "xgboost", always=True)
        for name in ("XGBClassifier", "XGBRegressor", "XGBRanker"):
            wrap(getattr(estimators, name), "score", _around_score, "xgboost", always=True)


@contextmanager
def _going_on(variable: ContextVar[_Call | None], call: _Call) -> Iterator[None]:
    token = variable.set(call)
    try:
        yield
    except BaseException as error:
        if call.training is not None:
            call.training.fit.fail(error)
        raise
    finally:
        variable.reset(token)


def _around_train(original: Any, *args: Any, **kwargs: Any) -> Any:
    with _going_on(_call, _Call(original, args, kwargs)):
        return original(*args, **kwargs)


def _around_fit(original: Any, *args: Any, **kwargs: Any) -> Any:
    if _fit_call.get() is not None and _fit_call.get().args[0] is args[0]:  # type: ignore[union-attr] # of a subclass
        return original(*args, **kwargs)
    with _going_on(_fit_call, _Call(original, args, kwargs)):
        return original(*args, **kwargs)


def _around_score(original: Any, estimator: Any, *args: Any, **kwargs: Any) -> Any:
    score = original(estimator, *args, **kwargs)
    fit = _estimators.get(estimator)
    if fit is not None:
        fit.log_score(args[0] if args else kwargs.get("X"), score)
    return score


def _around_container(original: Any, container: Any, callbacks: Any, *args: Any, **kwargs: Any) -> None:
    original(container, _with_ours(callbacks), *args, **kwargs)
    _take_part(container)


def _with_ours(callbacks: Any) -> Any:
    """Answer the callbacks with one of ours among them, where autologging wants it."""
    with tracker.guard("autologging of xgboost"):
        kind = _callback_class()
        if is_autologging("xgboost") and not any(isinstance(callback, kind) for callback in callbacks):
            callback: Any = kind()
            callback._is_asked_for = False
            return [callback, *callbacks]  # before any that may stop the training
    return callbacks


@tracker.guarded
def _take_part(container: Any) -> None:
    for callback in container.callbacks:
        if isinstance(callback, _callback_class()):
            callback._begin(container)  # type: ignore[attr-defined]
    trainings = _trainings(container)
    if not trainings:
        return
    before_iteration = container.before_iteration

    def first(model: Any, epoch: int, dtrain: Any, evals: Any) -> Any:
        del container.before_iteration  # the class's is there again: rounds cost nothing
        for training in trainings:
            training.describe(dtrain, evals)
        return before_iteration(model, epoch, dtrain, evals)

    container.before_iteration = first


def _trainings(container: Any) -> list[_Training]:
    found = (getattr(callback, "_training", None) for callback in container.callbacks)
    return [training for training in found if isinstance(training, _Training) and training.container is container]


def _around_after_training(original: Any, container: Any, model: Any) -> Any:
    model = original(container, model)
    for training in _trainings(container):  # behind all callbacks: early stopping may have cut the model
        training.callback._training = None
        training.finish(model)
    return model
