"""LightGBM: the metrics of each round as `<data set>/<metric>`, the model, importances and a sample of predictions.

Works for `train`, `cv`, the estimators of scikit-learn's kind, and on the workers of Dask, of which the first one logs.
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

_NOT_TOLD = (
    "params",
    "train_set",
    "valid_sets",
    "valid_names",
    "callbacks",
    "init_model",
    "keep_training_booster",
    "return_cvbooster",
)

_estimators = boosting.Remembered()


def __getattr__(name: str) -> Any:
    if name == "TrackerCallback":
        _install()  # before `lightgbm.train` is looked up in `lightgbm.train(..., callbacks=[TrackerCallback()])`
        return _Callback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Callback(boosting.Copied):
    """Log a training of LightGBM: parameters, metrics of each round, the best round, importances, predictions, model.

    Pass it in `callbacks=[...]` of `train`, `cv` or an estimator's `fit`. One can be used for several trainings.

    Args:
        run: The run to log to; it stays open. Without one it is the run that is open, or else one is opened for each
            training.
        prefix: Before every name: `TrackerCallback(prefix="fold1")`.
        log_model: Whether the model is kept: True, False, or (None) as `TRACKER_LOG_MODEL` says.
        log_feature_importance: Whether importances are kept.
        log_predictions: Whether a table of predictions for the last validation set is kept.
        arguments: Of `tracker.init`, for runs that have to be opened: project, name, group, config, ...

    Example:
        lightgbm.train(params, data, valid_sets=[validation], callbacks=[TrackerCallback()])
    """

    before_iteration = False

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
        self.order = -1_000_000  # before any callback that may stop the training
        self._session = base.Session("lightgbm", run, **arguments)
        self._options = boosting.Options(prefix, log_model, log_feature_importance, log_predictions)
        self._training: _Training | None = None
        self._is_asked_for = True

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        _install()

    def __call__(self, env: Any) -> None:
        """Log the metrics of a round."""
        training = self._training
        if training is None or (env.iteration == env.begin_iteration and training.rounds):
            training = self._training = _Training(self, None)  # called by a function that is not ours to look into
        training.log_round(env)


_Callback.__name__ = _Callback.__qualname__ = "TrackerCallback"
if TYPE_CHECKING:
    TrackerCallback = _Callback


class _Training:
    """One training, as a callback sees it.

    Args:
        callback: Whose.
        call: What was said to `train` or `cv`; None where that is not known.
    """

    def __init__(self, callback: Any, call: Mapping[str, Any] | None) -> None:
        self.callback = callback
        self.fit = boosting.Fit(
            copy.deepcopy(callback._session), callback._options, is_asked_for=callback._is_asked_for
        )
        self.call = call or {}
        self.rounds = 0
        self._names: dict[tuple[str, str], str] = {}
        self._sample: _Sample | None = None
        self._is_left_out = False

    @tracker.guarded
    def begin(self, params: Mapping[str, Any], goes_on: bool) -> None:
        """Open the run. Called before the data are made LightGBM's own, and are let go of."""
        if not _is_first(params):
            self._is_left_out = True
            return
        arguments = boosting.told(self.call, (*_NOT_TOLD, "function"))
        estimator = _estimator.get()
        if self.call:
            arguments["function"] = self.call["function"]
        if estimator is not None:
            arguments["estimator"] = type(estimator[0]).__name__
        self._is_left_out = not self.fit.begin(params, arguments, goes_on=goes_on)
        if self._is_left_out:
            return
        sets = self.call.get("valid_sets") or []
        self._sample = _Sample.of(sets if isinstance(sets, (list, tuple)) else [sets], self.call)
        if estimator is not None:
            _estimators[estimator[0]] = self.fit
            self.fit.knows("training", estimator[1].get("X"))
            for number, data in enumerate(_eval_data(estimator[1])):
                self.fit.knows(f"valid_{number}", data)

    @tracker.guarded
    def log_round(self, env: Any) -> None:
        if not self.rounds:
            if not self.fit.is_open and not self._is_left_out:
                self.begin(env.params, env.begin_iteration > 0)
            self._describe(env.model)
        self.rounds += 1
        if not self.fit.is_open:
            return
        row: dict[str, Any] = {}
        # By place: named tuples since 4.7, tuples of four, or (of cv) five, before.
        for data, metric, value, maximize, *rest in env.evaluation_result_list or ():
            name = self._names.get((data, metric)) or self._name(data, metric, bool(maximize))
            row[name] = value
            if rest and rest[0] is not None:
                row[f"{name}.std"] = rest[0]
        self.fit.log(row, env.iteration)

    def _name(self, data: str, metric: str, maximize: bool) -> str:
        parts = metric.split(" ", 1) if data == "cv_agg" else [data, metric]  # so did cv before 4.7
        name = self._names[data, metric] = self.fit.name(*parts)
        self.fit.define(name, maximize)
        return name

    @tracker.guarded
    def _describe(self, model: Any) -> None:
        if not self.fit.is_open:
            return
        folds = getattr(model, "boosters", None) if type(model).__name__ == "CVBooster" else None
        booster = model if folds is None else folds[0]
        sets: dict[str, tuple[int | None, int | None]] = {}
        if folds is None:
            name = getattr(booster, "_train_data_name", "training")
            sets[name] = (booster.train_set.num_data(), booster.num_feature())
            for name, data in zip(booster.name_valid_sets, booster.valid_sets, strict=False):
                sets[name] = (data.num_data(), booster.num_feature())
        else:
            sets["training"] = (self.call["train_set"].num_data() if self.call else None, booster.num_feature())
        self.fit.describe(sets, booster.feature_name())

    @tracker.guarded
    def finish(self, outcome: Any) -> None:
        """Log what the training has come to.

        Args:
            outcome: A Booster, or what `cv` has answered.
        """
        if not self.fit.is_open:
            return
        if hasattr(outcome, "best_iteration"):
            self._finish_booster(outcome)
        elif isinstance(outcome, Mapping):
            lengths = [len(values) for values in outcome.values() if isinstance(values, list)]
            stopped = lengths and lengths[0] < self.rounds
            self.fit.summarize(rounds=self.fit.last_round + 1, best_iteration=lengths[0] - 1 if stopped else None)
        self.fit.finish()

    def _finish_booster(self, booster: Any) -> None:
        # LightGBM counts from one, and says 0 (or -1) where nothing has stopped the training early.
        best = booster.best_iteration - 1 if booster.best_iteration and booster.best_iteration > 0 else None
        self.fit.summarize(rounds=self.fit.last_round + 1, best_iteration=best)
        if best is not None:
            for data, metrics in booster.best_score.items():
                for metric, value in metrics.items():
                    self.fit.summarize(**{f"best_score/{data}/{metric}": value})
        names = booster.feature_name()
        measures = {
            measure: dict(zip(names, booster.feature_importance(measure).tolist(), strict=True))
            for measure in ("gain", "split")
        }
        self.fit.log_importances(measures)
        if self._sample is not None and self.fit.wants_predictions:
            self._predict(booster, self._sample)
        self.fit.log_model("model.txt", booster.save_model, best_iteration=best)

    @tracker.guarded
    def _predict(self, booster: Any, sample: _Sample) -> None:
        objective = str(booster.dump_model(num_iteration=1).get("objective", "")).partition(" ")[0]
        kinds = {"binary": "class", "multiclass": "class", "multiclassova": "class"}
        kind = kinds.get(objective, "score" if objective.startswith(("lambdarank", "rank_xendcg")) else "value")
        estimator = _estimator.get()
        classes = getattr(estimator[0], "_classes", None) if estimator is not None else None
        outputs = booster.predict(sample.data)
        features = tables.features_of(sample.data, range(len(sample.rows)), booster.feature_name())
        predictions = tables.Predictions(sample.rows, sample.labels, outputs, kind, classes, features)
        self.fit.log_predictions(sample.name, predictions)


class _Sample:
    """Rows of a validation set, taken before LightGBM lets go of the data.

    Args:
        name: Of the set.
        rows: Which ones.
        data: Their features.
        labels: Their truth.
    """

    def __init__(self, name: str, rows: Sequence[int], data: Any, labels: Any) -> None:
        self.name = name
        self.rows = rows
        self.data = data
        self.labels = labels

    @staticmethod
    def of(sets: Sequence[Any], call: Mapping[str, Any]) -> _Sample | None:
        """Answer some rows of the last set that is not the training's; None where there are none to be had."""
        names = call.get("valid_names") or []
        names = [names] if isinstance(names, str) else names
        for place in reversed(range(len(sets))):
            one = sets[place]
            shape = getattr(getattr(one, "data", None), "shape", None)
            if one is call.get("train_set") or shape is None or len(shape) != 2:
                continue
            if not hasattr(one.data, "iloc") and not hasattr(one.data, "tocsr") and not hasattr(one.data, "tolist"):
                continue
            data = one.data.tocsr() if hasattr(one.data, "tocsr") else one.data
            rows = base.sample_rows(shape[0])
            labels = None if one.label is None else tables.pick(_array(one.label), rows)
            name = names[place] if place < len(names) else f"valid_{place}"
            return _Sample(str(name), rows, tables.pick(data, rows), labels)
        return None


def _eval_data(told: Mapping[str, Any]) -> list[Any]:
    """Answer the features of the validation sets that were given to `fit`, as it takes them now or did before 4.7."""
    data = told.get("eval_X")
    if data is not None:
        return list(data) if isinstance(data, (list, tuple)) else [data]
    sets = told.get("eval_set") or ()
    return [one[0] for one in (sets if isinstance(sets, list) else [sets]) if one]


def _array(label: Any) -> Any:
    import numpy  # LightGBM has it

    return numpy.asarray(label).reshape(-1)


def _is_first(params: Mapping[str, Any]) -> bool:
    """Answer whether this is the first of the machines that train together; true where there is one."""
    machines = str(params.get("machines") or "")
    if "," not in machines:
        return True
    port = str(params.get("local_listen_port") or "")
    host, _, first_port = machines.partition(",")[0].rpartition(":")
    return first_port == port and _is_here(host)


def _is_here(host: str) -> bool:
    from socket import getaddrinfo, gethostname

    try:
        ours = {entry[4][0] for name in ("localhost", gethostname()) for entry in getaddrinfo(name, None)}
        return host in ours or host in ("localhost", gethostname())
    except OSError:
        return False


# --- around the framework's functions ----------------------------------------------------------

_estimator: ContextVar[tuple[Any, Mapping[str, Any]] | None] = ContextVar("tracker_lightgbm_estimator", default=None)


def autolog(module: ModuleType) -> None:
    """Have trainings logged by themselves: called with `lightgbm.engine` or `lightgbm.sklearn` when they are loaded."""
    _install(module)


def _install(*loaded: ModuleType) -> None:
    """Put our functions around LightGBM's, once; they act where autologging is on or a TrackerCallback takes part."""
    modules = {module.__name__: module for module in loaded}
    if not loaded:
        modules = {name: base.require(name) for name in ("lightgbm.engine", "lightgbm.sklearn")}
    engine, estimators = modules.get("lightgbm.engine"), modules.get("lightgbm.sklearn")
    if engine is not None:
        for function in ("train", "cv"):
            boosting.wrap_everywhere(engine, function, _around_train, "lightgbm")
    if estimators is not None:
        wrap(estimators.LGBMModel, "fit", _around_fit, "lightgbm", always=True)
        for name in ("LGBMClassifier", "LGBMRegressor"):
            wrap(getattr(estimators, name), "score", _around_score, "lightgbm", always=True)


def _around_train(original: Any, *args: Any, **kwargs: Any) -> Any:
    prepared = _prepare(original, args, kwargs)
    if prepared is None:
        return original(*args, **kwargs)
    trainings, args, kwargs = prepared
    try:
        outcome = original(*args, **kwargs)
    except BaseException as error:
        for training in trainings:
            training.fit.fail(error)
        raise
    for training in trainings:
        training.finish(outcome)
        training.callback._training = None
    return outcome


@tracker.guarded
def _prepare(original: Any, args: Any, kwargs: Any) -> tuple[list[_Training], tuple[Any, ...], dict[str, Any]] | None:
    """Answer the trainings of our callbacks, and the call with one of ours in it; None where we have no part."""
    try:
        bound = signature(original).bind(*args, **kwargs)
    except TypeError:  # LightGBM will say so
        return None
    callbacks = list(bound.arguments.get("callbacks") or [])
    ours = [callback for callback in callbacks if isinstance(callback, _Callback)]
    if not ours:
        if not is_autologging("lightgbm"):
            return None
        ours = [_Callback()]
        ours[0]._is_asked_for = False
        bound.arguments["callbacks"] = [*callbacks, *ours]
    call = {**bound.arguments, "function": original.__name__}
    params = dict(bound.arguments.get("params") or {})
    trainings = []
    for callback in ours:
        training = callback._training = _Training(callback, call)
        training.begin(params, bound.arguments.get("init_model") is not None)
        trainings.append(training)
    if not any(training.fit.is_open or training.fit.is_asked_for for training in trainings):
        return None
    return trainings, bound.args, bound.kwargs


def _around_fit(original: Any, estimator: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        told = dict(signature(original).bind(estimator, *args, **kwargs).arguments)
    except TypeError:
        told = {}
    token = _estimator.set((estimator, told))
    try:
        return original(estimator, *args, **kwargs)
    finally:
        _estimator.reset(token)


def _around_score(original: Any, estimator: Any, *args: Any, **kwargs: Any) -> Any:
    score = original(estimator, *args, **kwargs)
    fit = _estimators.get(estimator)
    if fit is not None:
        fit.log_score(args[0] if args else kwargs.get("X"), score)
    return score
