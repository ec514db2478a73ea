"""scikit-learn: parameters, scores, searches, curves and the model of each `fit` that is a training of its own.

Three ways lead here: autologging (`TRACKER_AUTOLOG=sklearn`, or `tracker.autolog("sklearn")`), which needs no change to a
script; `TrackerCallback`, for estimators with scikit-learn's callback API; and the functions named as W&B's, which log
what they are asked for: `plot_classifier(...)`, `plot_roc(...)`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import tracker

from . import _sklearn_autolog as autolog
from . import _sklearn_fit as fits
from .base import Session

if TYPE_CHECKING:
    from ._sklearn_classifier import plot_calibration_curve as plot_calibration_curve
    from ._sklearn_classifier import plot_class_proportions as plot_class_proportions
    from ._sklearn_classifier import plot_classifier as plot_classifier
    from ._sklearn_classifier import plot_confusion_matrix as plot_confusion_matrix
    from ._sklearn_classifier import plot_precision_recall as plot_precision_recall
    from ._sklearn_classifier import plot_roc as plot_roc
    from ._sklearn_clusterer import plot_clusterer as plot_clusterer
    from ._sklearn_clusterer import plot_elbow_curve as plot_elbow_curve
    from ._sklearn_clusterer import plot_silhouette as plot_silhouette
    from ._sklearn_curves import plot_feature_importances as plot_feature_importances
    from ._sklearn_curves import plot_learning_curve as plot_learning_curve
    from ._sklearn_curves import plot_summary_metrics as plot_summary_metrics
    from ._sklearn_regressor import plot_outlier_candidates as plot_outlier_candidates
    from ._sklearn_regressor import plot_regressor as plot_regressor
    from ._sklearn_regressor import plot_residuals as plot_residuals

_PLOTS = {
    "plot_classifier": "classifier",
    "plot_confusion_matrix": "classifier",
    "plot_roc": "classifier",
    "plot_precision_recall": "classifier",
    "plot_calibration_curve": "classifier",
    "plot_class_proportions": "classifier",
    "plot_regressor": "regressor",
    "plot_residuals": "regressor",
    "plot_outlier_candidates": "regressor",
    "plot_clusterer": "clusterer",
    "plot_elbow_curve": "clusterer",
    "plot_silhouette": "clusterer",
    "plot_feature_importances": "curves",
    "plot_learning_curve": "curves",
    "plot_summary_metrics": "curves",
}

# What lies between a pipeline's fit and its steps', and between a fit and its callbacks.
_PASSING_ON = ("sklearn.pipeline", "sklearn.callback")

__all__ = ["TrackerCallback", *_PLOTS]


def __getattr__(name: str) -> Any:
    if name not in _PLOTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"tracker.integrations._sklearn_{_PLOTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def patch_base(base: ModuleType) -> None:
    """Watch the `fit` of every estimator; called with `sklearn.base` once it is loaded, where autologging is asked for."""
    autolog.patch_base(base)


def patch_metrics(metrics: ModuleType) -> None:
    """Watch the functions of `sklearn.metrics`; called with it once it is loaded, where autologging is asked for."""
    autolog.patch_metrics(metrics)


class TrackerCallback:
    """Log what an estimator's `fit` does, through scikit-learn's callback API (`set_callbacks`, from 1.9 on).

    With `scoring`, the score on the training data is logged at each iteration of estimators that tell of theirs.
    Below a search or cross-validation nothing is logged for each candidate: set it on the search itself.

    Args:
        run: The run to log to; it stays open. Without one the current run is taken, or one is opened.
        scoring: Ask for this score at each iteration: a name of scikit-learn's, or a callable `(model, x, y)`. It costs a
            pass over the training data each time.
        child_runs: So many of a search's candidates become runs of their own.
        training_score: Log the model's score on its training data when it is fitted; one more pass over them.
        log_model: Keep the fitted model: True, False, or as `TRACKER_LOG_MODEL`, which decides without it.
        arguments: Of `tracker.init`, where a run has to be opened.

    Example:
        model = LogisticRegression().set_callbacks(TrackerCallback(project="digits"))
        model.fit(x, y)
    """

    _is_trackers = True  # by which autologging knows that it is not needed

    def __new__(cls, *args: Any, scoring: Any = None, **kwargs: Any) -> TrackerCallback:
        """Answer one that asks for a score, where there is one to ask for."""
        # What a hook names in its signature scikit-learn computes, so who wants no score has hooks of their own.
        return super().__new__(_ScoringCallback if cls is TrackerCallback and scoring is not None else cls)

    def __init__(
        self,
        run: tracker.Run | None = None,
        *,
        scoring: Any = None,
        child_runs: int = fits.CHILD_RUNS,
        training_score: bool = False,
        log_model: bool | str | None = None,
        **arguments: Any,
    ) -> None:
        self._given = run
        self._arguments = arguments
        self._scoring = scoring
        self._options = fits.Options(child_runs, training_score, log_model)
        self._fits: dict[Any, fits.Fit] = {}  # by the id of the root context
        self._handled: dict[Any, BaseException | None] = {}  # what was being handled when a fit began
        self._pid = os.getpid()

    @tracker.guarded
    def setup(self, estimator: Any, context: Any) -> None:
        """Remember that a fit begins; its data come with `on_fit_task_begin`."""
        self._handled[id(context)] = sys.exc_info()[1]

    @tracker.guarded
    def on_fit_task_begin(self, estimator: Any, context: Any, *, X: Any = None, y: Any = None) -> None:
        """Find or open the run when the fit itself begins; its tasks are not told apart."""
        if id(context) not in self._handled or id(context) in self._fits or not self._is_logging(estimator):
            return
        session = Session(autolog.FRAMEWORK, self._given, **{**fits.arguments_for(estimator), **self._arguments})
        fit = fits.Fit(estimator, session, self._options)
        if fit.begin(X, y):
            self._fits[id(context)] = fit
            autolog.remember(fit, estimator)

    @tracker.guarded(returns=False)
    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        """Go on."""
        return False

    @tracker.guarded
    def teardown(self, estimator: Any, context: Any) -> None:
        """Log what the fit has come to; scikit-learn calls this also when it has failed."""
        before = self._handled.pop(id(context), None)
        fit = self._fits.pop(id(context), None)
        if fit is None:
            return
        error = sys.exc_info()[1]
        if error is not None and error is not before:
            fit.fail(error)
            return
        with autolog.within():
            fit.end()
        autolog.follow(fit, estimator)

    def _is_logging(self, estimator: Any) -> bool:
        if os.getpid() != self._pid or autolog.is_worker():
            return False
        return not autolog.is_inner(estimator, sys._getframe(), apart_from=_PASSING_ON)

    def __getstate__(self) -> dict[str, Any]:
        # To a worker it goes without the run; a copy in an estimator that is saved has none either.
        return {**self.__dict__, "_given": None, "_fits": {}, "_handled": {}}

    def __deepcopy__(self, memo: Any) -> TrackerCallback:
        """Answer the callback itself: a cloned estimator logs to the same run."""
        return self


class _ScoringCallback(TrackerCallback):
    """The same, with a score at each iteration."""

    @tracker.guarded(returns=False)
    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,
        y: Any = None,
        fitted_estimator: Any = None,
    ) -> bool:
        """Log the score of the model as it would be if the fit stopped here."""
        if id(context) in self._fits:  # the fit itself, and no iteration of it
            return False
        fit, above = None, context
        while fit is None and above is not None:
            fit, above = self._fits.get(id(above)), above.parent
        if fit is None or fitted_estimator is None or X is None:
            return False
        from sklearn.metrics import check_scoring  # the user's own scikit-learn, at work

        name = self._scoring if isinstance(self._scoring, str) else "score"
        with autolog.within():
            value = float(check_scoring(fitted_estimator, self._scoring)(fitted_estimator, X, y))
        fit.log({"iteration": context.task_id, f"train/{name}": value})
        return False
