"""What the boosting libraries share: the names a training's values go by, and what is kept of its end.

Values of a round are `<data set>/<metric>` at the round's number. A run that has several trainings, because the user
has opened it around them, tells them apart: the names of the second begin with `fit2/`, and so on; a training that goes
on with a model goes on with its names, behind its rounds.
"""

from __future__ import annotations

import copy
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

import tracker

from . import base, patching
from ._boosting_tables import Predictions
from .patching import wrap

CHART_FEATURES = 30
"""Bars of the chart of importances: the most important ones."""
IMPORTANCE_ROWS = 1000
"""Rows of the table of importances."""
NAMED_FEATURES = 100
"""Names of features in the config."""
_MAXIMIZED = ("auc", "aucpr", "pre", "map", "ndcg", "accuracy", "f1", "precision", "recall", "r2", "mcc", "kappa")
_FITTING_MANY = ("_fit_and_score", "_fit_and_predict", "_incremental_fit_estimator")
_ENSEMBLES = (
    *("sklearn.ensemble.", "sklearn.multiclass", "sklearn.multioutput", "sklearn.calibration"),
    *("sklearn.feature_selection.", "sklearn.semi_supervised."),
)
# Frameworks that train others' models for them: what is trained inside of theirs is part of it.
_TRAINERS_OF_OTHERS = ("sklearn", "optuna", "ray")

_fits: weakref.WeakKeyDictionary[Any, list[str]] = weakref.WeakKeyDictionary()  # run -> prefixes of its trainings


@dataclass(frozen=True)
class Options:
    """What the users of a callback may choose.

    Args:
        prefix: Before every name, in place of `fit2/` and the like.
        log_model: Whether the model is kept: True, False, or as `TRACKER_LOG_MODEL` says.
        log_feature_importance: Whether importances are.
        log_predictions: Whether a table of predictions is.
    """

    prefix: str | None = None
    log_model: bool | str | None = None
    log_feature_importance: bool = True
    log_predictions: bool = True


class Copied:
    """A callback that frameworks copy for each model they train: a copy is in no training, and has a session of its own."""

    _session: base.Session
    _training: Any
    _has_travelled = False  # it was pickled: in another process, it may be

    def __getstate__(self) -> dict[str, Any]:
        session = copy.deepcopy(self._session)  # which knows, when it arrives, the run that is open here
        return {**self.__dict__, "_session": session, "_training": None, "_has_travelled": True}

    def __deepcopy__(self, memo: Any) -> Any:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__, _session=copy.deepcopy(self._session), _training=None)
        return twin


class Fit:
    """One training of trees. Where it is not to be logged, or `begin` was not called, nothing here has an effect.

    Args:
        session: Whose run.
        options: What the user has chosen.
        is_asked_for: The user has passed the callback; else autologging has.
    """

    def __init__(self, session: base.Session, options: Options, *, is_asked_for: bool = True) -> None:
        self.session = session
        self.options = options
        self.is_asked_for = is_asked_for
        self.prefix = ""
        self.last_round = 0
        self.log_row: Callable[..., None] = _log_nothing  # of the run, bound once: a round may take microseconds
        self.known_data: list[tuple[str, Callable[[], Any]]] = []  # name, weak reference
        self._defined: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is a run to log to."""
        return self.session.run is not None

    @tracker.guarded(returns=False)
    def begin(self, params: Mapping[str, Any] | None, arguments: Mapping[str, Any], *, goes_on: bool = False) -> bool:
        """Find or open the run, and say what is trained; answer whether there is one.

        Args:
            params: The library's parameters.
            arguments: What else was said to the function that trains.
            goes_on: With a model that has rounds already.
        """
        if is_one_of_many(also_of_ensembles=not self.is_asked_for):
            return False
        around = base.training(self.session)
        if around is not None and not self.is_asked_for and around.framework not in _TRAINERS_OF_OTHERS:
            return False
        run = self.session.begin()
        if run is None:
            return False
        self.prefix = self._choose_prefix(run, goes_on)
        self.log_row = run.log
        if params:
            self.configure("params", {key: value for key, value in params.items() if value is not None})
        if arguments:
            self.configure("args", arguments)
        return True

    def _choose_prefix(self, run: tracker.Run, goes_on: bool) -> str:
        earlier = _fits.setdefault(run, [])
        if self.options.prefix is not None:
            prefix = self.options.prefix.rstrip("/")
        elif goes_on and earlier:
            prefix = earlier[-1]
        else:
            prefix = f"fit{len(earlier) + 1}" if earlier else ""
        earlier.append(prefix)
        return f"{prefix}/" if prefix else ""

    # --- while it goes on --------------------------------------------------------------------

    def name(self, *parts: str) -> str:
        """Answer the name of a value."""
        return self.prefix + "/".join(parts)

    def log(self, values: Mapping[str, Any], at: int) -> None:
        """Log the values of a round, by their whole names."""
        self.last_round = at
        if values:
            self.log_row(values, at)

    @tracker.guarded
    def define(self, name: str, maximize: bool | None) -> None:
        """Have the summary tell a metric's best value beside its last."""
        run = self.session.run
        if run is not None and name not in self._defined and maximize is not None:
            self._defined.add(name)
            run.define_metric(name, summary="last,best", goal="maximize" if maximize else "minimize")

    @tracker.guarded
    def configure(self, namespace: str, values: Mapping[str, Any]) -> None:
        """Put values into the config, of a second training below its name."""
        if self.prefix:
            self.session.configure(self.prefix.rstrip("/"), {namespace: dict(values)})
        else:
            self.session.configure(namespace, values)

    def describe(
        self, data: Mapping[str, tuple[int | None, int | None]], features: Sequence[Any] | None = None
    ) -> None:
        """Keep the sizes of the data sets, by name: rows and columns."""
        facts: dict[str, Any] = {name: _size(rows, columns) for name, (rows, columns) in data.items()}
        if features:
            facts["features"] = [str(name) for name in features[:NAMED_FEATURES]]
        self.configure("data", facts)

    # --- its end -----------------------------------------------------------------------------

    @tracker.guarded
    def summarize(self, **values: Any) -> None:
        """Set values of the summary; those that are None are left out."""
        run = self.session.run
        if run is not None:
            run.summary.update({self.name(key): value for key, value in values.items() if value is not None})

    @tracker.guarded
    def log_importances(self, importances: Mapping[str, Mapping[str, float]]) -> None:
        """Log how much each feature counts: a table, and a chart of the first measure.

        Args:
            importances: By measure ("gain"), the value of each feature.
        """
        if not self.is_open or not self.options.log_feature_importance:
            return
        measures = [measure for measure, values in importances.items() if values]
        if not measures:
            return
        first = importances[measures[0]]
        features = sorted(first, key=lambda feature: -first[feature])
        table = tracker.Table(columns=["feature", *measures])
        for feature in features[:IMPORTANCE_ROWS]:
            table.add_data(str(feature), *(float(importances[measure].get(feature, 0.0)) for measure in measures))
        bars = tracker.Table(
            columns=["feature", measures[0]],
            data=[[str(feature), float(first[feature])] for feature in features[:CHART_FEATURES]],
        )
        chart = tracker.plot.bar(bars, "feature", measures[0], title=f"importance by {measures[0]}")
        self.log({self.name("importance", measures[0]): chart}, self.last_round)
        if _may_log_tables():
            self.log({self.name("importance", "features"): table}, self.last_round)

    @tracker.guarded
    def log_predictions(self, data: str, predictions: Predictions) -> None:
        """Log what the model makes of a sample of rows, as the table `<data set>/predictions`."""
        if self.wants_predictions:
            columns, rows = predictions.table()
            self.session.table(self.name(data, "predictions"), columns, rows, step=self.last_round)

    @tracker.guarded
    def log_model(self, file_name: str, save: Callable[[str], Any], **facts: Any) -> None:
        """Keep the model as a version of the artifact `model-<run id>`.

        Args:
            file_name: Of its file.
            save: Writes it to a path.
            facts: The artifact's metadata; those that are None are left out.
        """
        run = self.session.run
        if run is None or base.model_choice(self.options.log_model) == "false":
            return  # it need not be written at all
        name = f"model-{run.id}" + (f"-{self.prefix.rstrip('/').replace('/', '-')}" if self.prefix else "")
        with tempfile.TemporaryDirectory(prefix="tracker-") as folder:
            path = os.path.join(folder, file_name)
            save(path)
            self.session.checkpoint(
                path,
                step=self.last_round,
                name=name,
                metadata={key: value for key, value in facts.items() if value is not None},
                is_last=True,
                log_model=self.options.log_model,
            )

    @property
    def wants_predictions(self) -> bool:
        """Whether a table of predictions is to be made."""
        return self.is_open and self.options.log_predictions and _may_log_tables()

    def finish(self) -> None:
        """The training has come to its end; scores that follow still go into its run."""
        self.session.pause(wait=False)

    def fail(self, error: BaseException) -> None:
        """The training was ended by an exception."""
        self.session.fail(error)

    # --- behind its end ----------------------------------------------------------------------

    def knows(self, name: str, data: Any) -> None:
        """Remember a data set, to know it again when the model is scored on it."""
        try:
            self.known_data.append((name, weakref.ref(data)))
        except TypeError:  # a list, say
            return

    @tracker.guarded
    def log_score(self, data: Any, score: Any) -> None:
        """Log what `score()` has answered: `<data set>/score`, `eval/score` of data the training has not seen."""
        names = [name for name, reference in self.known_data if reference() is data]
        self.session.log({self.name(names[0] if names else "eval", "score"): score}, step=self.last_round)


class Remembered:
    """Fits by estimator: for as long as the estimator is there. Some libraries' estimators have no hash."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[Callable[[], Any], Fit]] = {}

    def __setitem__(self, estimator: Any, fit: Fit) -> None:
        key = id(estimator)
        self._by_id[key] = weakref.ref(estimator, lambda _gone: self._by_id.pop(key, None)), fit

    def get(self, estimator: Any) -> Fit | None:
        """Answer the last fit of an estimator."""
        reference, fit = self._by_id.get(id(estimator), (None, None))
        return fit if reference is not None and reference() is estimator else None


def is_one_of_many(*, also_of_ensembles: bool) -> bool:
    """Answer whether scikit-learn fits one of many models here: a candidate of a search or of a cross-validation.

    It does so in this process or in others; where it does, one of few functions of its is calling us.

    Args:
        also_of_ensembles: Or a member of an ensemble, a class of one-against-the-rest, a step of a selection.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        if module == "sklearn.model_selection._validation" and frame.f_code.co_name in _FITTING_MANY:
            return True
        if also_of_ensembles and module.startswith(_ENSEMBLES):
            return True
        frame = frame.f_back
    return False


def is_maximized(metric: str) -> bool:
    """Answer whether more of a metric is better, by its name."""
    name = metric.lower().partition("@")[0].partition(":")[0].replace("_", "").replace("-", "")
    return name in _MAXIMIZED


def wrap_everywhere(module: ModuleType, name: str, around: Callable[..., Any], framework: str) -> None:
    """Put a function around a framework's, also where the framework's other modules have imported it by name."""
    original = getattr(module, name, None)
    if original is None or hasattr(original, patching.MARK):  # theirs, around ours, have the mark as well
        return
    for key, other in list(sys.modules.items()):
        if other is not None and (key == framework or key.startswith(f"{framework}.")):
            for alias, value in list(vars(other).items()):
                if value is original:
                    wrap(other, alias, around, framework, always=True)


def told(bound: Mapping[str, Any], left_out: Iterable[str]) -> dict[str, Any]:
    """Answer the arguments of a call that say something: without data, and without what is not given."""
    hidden = set(left_out)
    return {key: value for key, value in bound.items() if key not in hidden and value is not None and value != []}


def _log_nothing(_values: Mapping[str, Any], _step: int) -> None:
    return


def _may_log_tables() -> bool:
    return patching.options.get("log_tables") is not False


def _size(rows: int | None, columns: int | None) -> dict[str, int]:
    return {
        name: int(value) for name, value in (("rows", rows), ("columns", columns)) if value is not None and value >= 0
    }
