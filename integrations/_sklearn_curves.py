"""What the functions with W&B's names have in common, and those that go for any kind of model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import tracker

from . import _sklearn_autolog as autolog
from . import _sklearn_facts as facts
from .base import require, sample_rows

MAX_POINTS = 1000  # of a chart that has one for each sample
_Plot = TypeVar("_Plot", bound=Callable[..., Any])
Part = tuple[str, Callable[[], dict[str, Any]]]
"""A chart of several, by its name; it is only drawn when it is called."""


def plotting(function: _Plot) -> _Plot:
    """Log the charts that a function answers to the current run.

    What is wrong with the data is said and passed over; that there is no run is raised, as by `tracker.log`.
    """
    draw = tracker.guarded(function)

    @functools.wraps(function)
    def plot(*args: Any, **kwargs: Any) -> None:
        run = tracker.run
        if run is None:
            raise tracker.UsageError(
                f"{function.__name__} needs a run, and none is open. Begin one first: run = tracker.init(project='…')"
            )
        require("sklearn")
        with autolog.within():  # what it asks of the model is nobody's training, and no score to be logged
            charts = draw(*args, **kwargs)
        if charts:
            run.log(charts)

    return cast("_Plot", plot)


@plotting
def plot_summary_metrics(
    model: Any = None,
    X: Any = None,
    y: Any = None,
    X_test: Any = None,
    y_test: Any = None,
) -> Any:
    """Log what a fitted model scores on held-out data, as `summary_metrics`.

    Args:
        model: Fitted.
        X: Training data; taken where there are no others.
        y: Their truth.
        X_test: Held-out data.
        y_test: Their truth.
    """
    return summary_metrics(model, X if X_test is None else X_test, y if y_test is None else y_test)


def summary_metrics(model: Any, x: Any, y: Any, predicted: Any = None) -> dict[str, Any]:
    """Answer accuracy and its like for classifiers, errors for regressors: as a chart, and one by one."""
    from sklearn import metrics

    guessed = model.predict(x) if predicted is None else predicted
    if is_classifier(model):
        average: dict[str, Any] = {"average": "weighted", "zero_division": 0}
        found = {
            "accuracy_score": metrics.accuracy_score(y, guessed),
            "precision": metrics.precision_score(y, guessed, **average),
            "recall": metrics.recall_score(y, guessed, **average),
            "f1_score": metrics.f1_score(y, guessed, **average),
        }
    else:
        squared = float(metrics.mean_squared_error(y, guessed))
        found = {
            "mae": metrics.mean_absolute_error(y, guessed),
            "mse": squared,
            "rmse": squared**0.5,
            "r2_score": metrics.r2_score(y, guessed),
        }
    table = tracker.Table(columns=["metric_name", "metric_value"], dtype=[str, float])
    for name, value in found.items():
        table.add_data(name, float(value))
    chart = tracker.plot.bar(table, "metric_name", "metric_value", title="Summary metrics")
    return {"summary_metrics": chart, **{f"summary/{name}": float(value) for name, value in found.items()}}


@plotting
def plot_feature_importances(
    model: Any = None,
    feature_names: Sequence[Any] | None = None,
    title: str = "Feature Importance",
    max_num_features: int = facts.MAX_IMPORTANCES,
) -> Any:
    """Log how much each feature means to a fitted model, as `feature_importances`.

    Args:
        model: Fitted, with `feature_importances_` or `coef_`; the last step of a pipeline counts.
        feature_names: The model's own without them.
        title: Above it.
        max_num_features: Only the most important ones.
    """
    return feature_importances(model, feature_names, title, max_num_features)


def feature_importances(
    model: Any,
    names: Sequence[Any] | None,
    title: str = "Feature Importance",
    limit: int = facts.MAX_IMPORTANCES,
    is_needed: bool = True,
) -> dict[str, Any]:
    """Answer the chart; nothing where the model has no such numbers."""
    found = facts.importances(model, names, limit)
    if found is None:
        if is_needed:
            tracker.termwarn(
                f"plot_feature_importances has nothing to show: {facts.class_name(model)} has neither "
                "feature_importances_ nor coef_. Is it fitted?"
            )
        return {}
    return {"feature_importances": facts.importance_chart(found[1], title)}


@plotting
def plot_learning_curve(
    model: Any = None,
    X: Any = None,
    y: Any = None,
    cv: Any = None,
    shuffle: bool = False,
    random_state: Any = None,
    train_sizes: Any = None,
    n_jobs: int = 1,
    scoring: Any = None,
) -> Any:
    """Log scores on training and held-out data against the number of training samples, as `learning_curve`.

    The model is fitted anew for each size and split. The arguments are those of scikit-learn's `learning_curve`.

    Args:
        model: It is cloned, and need not be fitted.
        X: Training data.
        y: Their truth.
        cv: How they are split.
        shuffle: Whether they are shuffled first.
        random_state: For that.
        train_sizes: Numbers or shares of samples.
        n_jobs: So many processes.
        scoring: The score; the model's own without it.
    """
    return learning_curve(model, X, y, cv, shuffle, random_state, train_sizes, n_jobs, scoring)


def learning_curve(
    model: Any,
    x: Any,
    y: Any,
    cv: Any = None,
    shuffle: bool = False,
    random_state: Any = None,
    train_sizes: Any = None,
    n_jobs: int = 1,
    scoring: Any = None,
) -> dict[str, Any]:
    """Answer the chart."""
    import numpy as np
    from sklearn import model_selection

    sizes = np.linspace(0.1, 1.0, 5) if train_sizes is None else train_sizes
    counts, train, test = model_selection.learning_curve(
        model,
        x,
        y,
        cv=cv,
        n_jobs=n_jobs,
        train_sizes=sizes,
        scoring=scoring,
        shuffle=shuffle,
        random_state=random_state,
    )[:3]
    table = tracker.Table(columns=["samples", "score", "set", "std"], dtype=[int, float, str, float])
    for name, scores in (("train", train), ("test", test)):
        for count, values in zip(counts.tolist(), scores, strict=True):
            table.add_data(count, float(values.mean()), name, float(values.std()))
    return {"learning_curve": tracker.plot.line(table, "samples", "score", "set", title="Learning curve")}


# --- shapes of charts ------------------------------------------------------------------------


def is_classifier(model: Any) -> bool:
    """Answer whether a model tells classes apart."""
    from sklearn.base import is_classifier

    return bool(is_classifier(model))


def chosen_rows(count: int) -> list[int]:
    """Answer which samples a chart of all of them shows."""
    return sample_rows(count, MAX_POINTS)


def points(table: tracker.Table, x: str, y: str, colour: str, title: str, **encoding: Mapping[str, Any]) -> Any:
    """Answer a point for each row, coloured by a column."""
    spec = {
        "title": title,
        "mark": {"type": "point", "filled": True, "opacity": 0.6, "tooltip": True},
        "encoding": {
            "x": {"field": "${field:x}", "type": "quantitative"},
            "y": {"field": "${field:y}", "type": "quantitative"},
            "color": {"field": "${field:colour}", "type": "nominal"},
            **encoding,
        },
    }
    return tracker.plot.plot_table(spec, table, {"x": x, "y": y, "colour": colour}, {"title": title})
