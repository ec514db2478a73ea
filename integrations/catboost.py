"""CatBoost: the metrics of each round as `<data set>/<metric>`, the model, importances and a sample of predictions.

On a GPU CatBoost takes no callbacks: there the metrics are logged when the training is over. So are those of `cv`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from inspect import signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

import tracker

from . import _boosting as boosting
from . import _boosting_tables as tables
from . import base
from .patching import is_autologging, wrap

_CLASS_LOSSES = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")
_RANK_LOSSES = (
    *("YetiRank", "YetiRankPairwise", "PairLogit", "PairLogitPairwise", "LambdaMart", "StochasticRank"),
    *("StochasticFilter", "QueryRMSE", "QuerySoftMax", "QueryCrossEntropy"),
)

_estimators = boosting.Remembered()
# What `fit` was told that goes on, our callbacks apart: CatBoost refuses any on a GPU.
_fit_call: ContextVar[tuple[Mapping[str, Any], list[Any]] | None] = ContextVar("tracker_catboost_fit", default=None)


def __getattr__(name: str) -> Any:
    if name == "TrackerCallback":
        _install()
        return _Callback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Callback(boosting.Copied):
    """Log a training of CatBoost: parameters, metrics of each round, the best round, importances, predictions, model.

    Pass it in `fit(..., callbacks=[...])`. One can be used for several trainings.

    Args:
        run: The run to log to; it stays open. Without one it is the run that is open, or else one is opened for each
            training.
        prefix: Before every name: `TrackerCallback(prefix="fold1")`.
        log_model: Whether the model is kept: True, False, or (None) as `TRACKER_LOG_MODEL` says.
        log_feature_importance: Whether importances are kept.
        log_predictions: Whether a table of predictions for the last evaluation set is kept.
        arguments: Of `tracker.init`, for runs that have to be opened: project, name, group, config, ...

    Example:
        CatBoostClassifier(iterations=100).fit(x, y, eval_set=(x_test, y_test), callbacks=[TrackerCallback()])
    """

    def __init__(
        self,
        run: tracker.Run | None = None,
        *,
        prefix: str | None = None,
        log_model: bool | str | None = None,
        log_feature_importance: bool = True,
        log_predictions: bool = True,
        **arguments: Any,
    ) -> None:
        _install()
        self._session = base.Session("catboost", run, **arguments)
        self._options = boosting.Options(prefix, log_model, log_feature_importance, log_predictions)
        self._training: _Training | None = None
        self._is_asked_for = True

    def after_iteration(self, info: Any) -> bool:
        """Log the metrics of a round; answers True, which to CatBoost means that the training goes on."""
        if self._training is None:  # `fit` is not ours to look into
            self._training = _Training(self)
            self._training.begin(None, {}, 0)
        self._training.log_round(info)
        return True


_Callback.__name__ = _Callback.__qualname__ = "TrackerCallback"
if TYPE_CHECKING:
    TrackerCallback = _Callback


class _Training:
    """One training, as a callback sees it."""

    def __init__(self, callback: Any) -> None:
        self.callback = callback
        self.fit = boosting.Fit(
            copy.deepcopy(callback._session), callback._options, is_asked_for=callback._is_asked_for
        )
        self._offset = 0
        self._logged: dict[tuple[str, str], int] = {}  # values, by data set and metric

    def begin(self, params: Mapping[str, Any] | None, arguments: Mapping[str, Any], offset: int) -> None:
        """Open the run; `offset` rounds were trained before."""
        self._offset = offset
        self.fit.begin(params, arguments, goes_on=offset > 0)

    @tracker.guarded
    def describe(self, estimator: Any, train: Any, evals: Sequence[Any]) -> None:
        """Take note of the data, before CatBoost lets go of them."""
        if not self.fit.is_open:
            return
        named = {"learn": train, **dict(zip(_eval_names(evals), evals, strict=True))}
        sizes = {name: (pool.num_row(), pool.num_col()) for name, pool in named.items()}
        self.fit.describe(sizes, _feature_names(train))
        _estimators[estimator] = self.fit
        told, _ours = _fit_call.get() or ({}, [])
        self.fit.knows("learn", told.get("X"))
        sets = told.get("eval_set")
        for name, one in zip(_eval_names(evals), sets if isinstance(sets, list) else [sets], strict=False):
            self.fit.knows(name, one[0] if isinstance(one, tuple) else one)

    @tracker.guarded
    def log_round(self, info: Any) -> None:
        if self.fit.is_open:
            self._log(info.metrics, self._offset + info.iteration - 1)

    def log_all(self, history: Mapping[str, Mapping[str, Sequence[float]]], period: int, rounds: int) -> None:
        """Log the metrics of all rounds, of a training that could not be followed.

        Args:
            history: Values by data set and metric.
            period: Rounds from one value to the next; the last round has one as well.
            rounds: How many there were.
        """
        count = max((len(values) for metrics in history.values() for values in metrics.values()), default=0)
        for number in range(count):
            at = min(number * period, rounds - 1)
            part = {data: {name: values[: number + 1] for name, values in m.items()} for data, m in history.items()}
            self._log(part, self._offset + at)

    def _log(self, history: Mapping[str, Mapping[str, Sequence[float]]], at: int) -> None:
        row = {}
        for data, metrics in history.items():
            for metric, values in metrics.items():
                # With a metric_period there is nothing new in most rounds.
                if len(values) > self._logged.get((data, metric), 0):
                    self._logged[data, metric] = len(values)
                    name = self.fit.name(data, metric)
                    self.fit.define(name, boosting.is_maximized(metric))
                    row[name] = values[-1]
        self.fit.log(row, at)

    @tracker.guarded
    def finish(self, model: Any, evals: Sequence[Any]) -> None:
        if not self.fit.is_open:
            return
        self.fit.last_round = max(self.fit.last_round, self._offset)
        best = model.get_best_iteration()
        self.fit.summarize(rounds=self.fit.last_round + 1, best_iteration=best)
        for data, metrics in (model.get_best_score() or {}).items():
            self.fit.summarize(**{f"best_score/{data}/{metric}": value for metric, value in metrics.items()})
        self.fit.configure("effective", model.get_all_params())
        self._importances(model)
        if evals and self.fit.wants_predictions:
            self._predictions(model, evals[-1], _eval_names(evals)[-1])
        self.fit.log_model("model.cbm", model.save_model, best_iteration=best)
        self.fit.finish()

    @tracker.guarded
    def _importances(self, model: Any) -> None:
        try:
            values = model.get_feature_importance(type="PredictionValuesChange")
        except base.require("catboost").CatBoostError:  # it wants the data, or cannot be had for such features
            return
        names = dict(zip(model.feature_names_, map(float, values), strict=False))
        self.fit.log_importances({"PredictionValuesChange": names})

    @tracker.guarded
    def _predictions(self, model: Any, pool: Any, name: str) -> None:
        rows = base.sample_rows(pool.num_row())
        loss = str(model.get_all_params().get("loss_function", "")).partition(":")[0]
        kind = "class" if loss in _CLASS_LOSSES else "score" if loss in _RANK_LOSSES else "value"
        form = "Probability" if kind == "class" else "RawFormulaVal"
        predict = base.require("catboost").CatBoost.predict  # estimators have other words for it
        features = None
        try:
            part = pool.slice(rows)
        except base.require("catboost").CatBoostError:  # it has groups, or is quantized: it cannot be cut
            if pool.num_row() > tables.FULL_PREDICTION_ROWS:
                return
            outputs = predict(model, pool, prediction_type=form)[rows]
        else:
            outputs = predict(model, part, prediction_type=form)
            features = _features(part)
        labels = tables.pick(_array(pool.get_label()), rows).tolist() if pool.has_label() else None
        classes = list(getattr(model, "classes_", ())) or None
        if kind == "class" and classes is not None and labels is not None:
            numbers = {_class_name(one): number for number, one in enumerate(classes)}
            labels = [numbers.get(_class_name(label)) for label in labels]
        self.fit.log_predictions(name, tables.Predictions(rows, labels, outputs, kind, classes, features))


def _array(values: Any) -> Any:
    import numpy  # CatBoost has it

    return numpy.asarray(values)


def _features(part: Any) -> dict[str, list[Any]] | None:
    """Answer the features of a few rows; None where there are too many, or some that are no numbers."""
    special = (part.get_cat_feature_indices, part.get_text_feature_indices, part.get_embedding_feature_indices)
    if part.num_col() > tables.TABLE_FEATURES or any(indices() for indices in special):
        return None
    return dict(zip(_feature_names(part), part.get_features().T.tolist(), strict=False))


def _feature_names(pool: Any) -> list[str]:
    """Answer the names of a pool's features; CatBoost calls those without one by their number."""
    return [name or str(place) for place, name in enumerate(pool.get_feature_names())]


def _class_name(value: Any) -> str:
    number = value.item() if hasattr(value, "item") else value
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def _eval_names(evals: Sequence[Any]) -> list[str]:
    """Answer the names that CatBoost gives to evaluation sets."""
    return ["validation"] if len(evals) == 1 else [f"validation_{number}" for number in range(len(evals))]


# --- around the framework's functions ----------------------------------------------------------


def autolog(module: ModuleType) -> None:
    """Have trainings logged by themselves: called with `catboost.core` when it is loaded."""
    _install(module)


def _install(module: ModuleType | None = None) -> None:
    """Put our functions around CatBoost's, once; they act where autologging is on or a TrackerCallback takes part."""
    core = module or base.require("catboost.core")
    wrap(core.CatBoost, "_fit", _around_fit, "catboost", always=True)
    wrap(core._CatBoostBase, "_train", _around_train, "catboost", always=True)
    for name in ("CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker"):
        wrap(getattr(core, name, None) or core.CatBoost, "score", _around_score, "catboost", always=True)
    boosting.wrap_everywhere(core, "cv", _around_cv, "catboost")


def _around_fit(original: Any, estimator: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        bound = signature(original).bind(estimator, *args, **kwargs)
    except TypeError:
        return original(estimator, *args, **kwargs)
    callbacks = bound.arguments.get("callbacks") or []
    ours = [callback for callback in callbacks if isinstance(callback, _Callback)]
    if ours:  # they come back in `_prepare`, where that is allowed
        rest = [callback for callback in callbacks if callback not in ours]
        bound.arguments["callbacks"] = rest or None
    token = _fit_call.set((bound.arguments, ours))
    try:
        return original(*bound.args, **bound.kwargs)
    finally:
        _fit_call.reset(token)


def _around_train(
    original: Any,
    estimator: Any,
    train: Any,
    evals: Any,
    params: dict[str, Any],
    clear: Any,
    before: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    prepared = _prepare(estimator, train, evals, params, before)
    if prepared is None:
        return original(estimator, train, evals, params, clear, before, *args, **kwargs)
    trainings, params = prepared
    try:
        outcome = original(estimator, train, evals, params, clear, before, *args, **kwargs)
    except BaseException as error:
        for training in trainings:
            training.callback._training = None
            training.fit.fail(error)
        raise
    for training in trainings:
        _end(training, estimator, evals, params)
    return outcome


@tracker.guarded
def _prepare(
    estimator: Any, train: Any, evals: Any, params: dict[str, Any], before: Any
) -> tuple[list[_Training], dict[str, Any]] | None:
    """Answer the trainings of our callbacks, and the parameters with one of ours in them; None where we have no part."""
    callbacks = list(getattr(params.get("callbacks"), "_callbacks", None) or [])
    _told, ours = _fit_call.get() or ({}, [])
    if not ours:
        if not is_autologging("catboost") or any(isinstance(callback, _Callback) for callback in callbacks):
            return None
        ours = [_Callback()]
        ours[0]._is_asked_for = False
    trainings = []
    told = {key: value for key, value in params.items() if key != "callbacks"}
    for callback in ours:
        training = callback._training = _Training(callback)
        arguments = {"function": "fit", "estimator": type(estimator).__name__}
        training.begin(told, arguments, int(before.tree_count_) if before is not None else 0)
        training.describe(estimator, train, evals)
        trainings.append(training)
    if not _is_on_gpu(params):
        callbacks = [*ours, *callbacks]  # before any that may stop the training
    passed = dict(params)
    passed.pop("callbacks", None)
    if callbacks:
        passed["callbacks"] = base.require("catboost.core")._TrainCallbacksWrapper(callbacks)
    return trainings, passed


def _is_on_gpu(params: Mapping[str, Any]) -> bool:
    return str(params.get("task_type", "")).upper() == "GPU"


@tracker.guarded
def _end(training: _Training, estimator: Any, evals: Any, params: Mapping[str, Any]) -> None:
    training.callback._training = None
    if training.fit.is_open and _is_on_gpu(params):
        history = estimator.get_evals_result()
        rounds = int(estimator.get_all_params().get("iterations", 0)) or int(estimator.tree_count_)
        training.log_all(history, int(params.get("metric_period") or 1), rounds)
    training.finish(estimator, evals)


def _around_score(original: Any, estimator: Any, *args: Any, **kwargs: Any) -> Any:
    score = original(estimator, *args, **kwargs)
    fit = _estimators.get(estimator)
    if fit is not None:
        fit.log_score(args[0] if args else kwargs.get("X"), score)
    return score


def _around_cv(original: Any, *args: Any, **kwargs: Any) -> Any:
    if not is_autologging("catboost"):
        return original(*args, **kwargs)
    fit = _begin_cv(original, args, kwargs)
    try:
        outcome = original(*args, **kwargs)
    except BaseException as error:
        if fit is not None:
            fit.fail(error)
        raise
    if fit is not None:
        _end_cv(fit, outcome)
    return outcome


@tracker.guarded
def _begin_cv(original: Any, args: Any, kwargs: Any) -> boosting.Fit | None:
    try:
        bound = dict(signature(original).bind(*args, **kwargs).arguments)
    except TypeError:  # CatBoost will say so
        return None
    fit = boosting.Fit(base.Session("catboost"), boosting.Options(), is_asked_for=False)
    arguments = boosting.told(bound, ("pool", "dtrain", "params", "log_cout", "log_cerr"))
    params = dict(bound.get("params") or {})
    if not fit.begin(params, {**arguments, "function": "cv"}):
        return None
    pool = bound.get("pool") or bound.get("dtrain")
    with tracker.guard("the size of the data"):
        if pool is not None:
            fit.describe({"train": (pool.num_row(), pool.num_col())}, _feature_names(pool))
    return fit


@tracker.guarded
def _end_cv(fit: boosting.Fit, outcome: Any) -> None:
    results = outcome[0] if isinstance(outcome, tuple) else outcome  # beside it the models
    columns = {name: list(results[name]) for name in results}
    rounds = columns.pop("iterations", range(max(map(len, columns.values()), default=0)))
    for place, at in enumerate(rounds):
        row = {}
        for name, values in columns.items():
            data, _, rest = name.partition("-")
            metric, _, part = rest.rpartition("-")
            row[fit.name(data, metric) + (".std" if part == "std" else "")] = float(values[place])
            if part == "mean":
                fit.define(fit.name(data, metric), boosting.is_maximized(metric))
        fit.log(row, int(at))
    fit.summarize(rounds=fit.last_round + 1)
    fit.finish()
