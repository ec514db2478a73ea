"""Charts of classifiers, with W&B's names and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tracker

from . import _sklearn_curves as curves
from ._sklearn_curves import Part, plotting

CALIBRATION_BINS = 10


@plotting
def plot_classifier(
    model: Any,
    X_train: Any,
    X_test: Any,
    y_train: Any,
    y_test: Any,
    y_pred: Any,
    y_probas: Any,
    labels: Sequence[Any] | None = None,
    is_binary: bool = False,
    model_name: str = "Classifier",
    feature_names: Sequence[Any] | None = None,
    log_learning_curve: bool = False,
) -> Any:
    """Log what there is to see of a fitted classifier: each chart under the name that its own function gives it.

    Args:
        model: Fitted.
        X_train: Training data, (samples, features).
        X_test: Held-out data.
        y_train: The truth of the training data, (samples,).
        y_test: That of the held-out data.
        y_pred: The classes predicted for the held-out data, (samples,).
        y_probas: Their probabilities, (samples, classes); None leaves the curves out.
        labels: Names of the classes, in their order.
        is_binary: Accepted as in W&B; what `y_probas` holds is seen from its shape.
        model_name: Put into the config.
        feature_names: The model's own without them.
        log_learning_curve: Also `plot_learning_curve`, which fits the model many times.
    """
    run = tracker.run
    if run is not None:
        run.config.update({"model_name": model_name}, allow_val_change=True)
    charts: dict[str, Any] = {}
    parts: list[Part] = [
        ("feature_importances", lambda: curves.feature_importances(model, feature_names, is_needed=False)),
        ("confusion_matrix", lambda: confusion_matrix(y_test, y_pred, labels)),
        ("summary_metrics", lambda: curves.summary_metrics(model, X_test, y_test, y_pred)),
        ("class_proportions", lambda: class_proportions(y_train, y_test, labels)),
    ]
    if y_probas is not None:
        parts.append(("roc", lambda: {"roc": tracker.plot.roc_curve(y_test, y_probas, labels)}))
        parts.append(("pr", lambda: {"precision_recall": tracker.plot.pr_curve(y_test, y_probas, labels)}))
        parts.append(("calibration_curve", lambda: calibration_curve(y_test, y_probas, model_name, labels)))
    if log_learning_curve:
        parts.append(("learning_curve", lambda: curves.learning_curve(model, X_train, y_train)))
    for name, part in parts:
        with tracker.guard(f"the chart {name} of plot_classifier"):  # one harms no other
            charts.update(part())
    return charts


@plotting
def plot_roc(y_true: Any = None, y_probas: Any = None, labels: Sequence[Any] | None = None, **others: Any) -> Any:
    """Log the receiver operating characteristic of each class, as `roc`.

    Args:
        y_true: The truth, (samples,).
        y_probas: Probabilities, (samples, classes).
        labels: Names of the classes, in their order.
        others: `classes_to_plot` and `title`, as for `tracker.plot.roc_curve`.
    """
    return {"roc": tracker.plot.roc_curve(y_true, y_probas, labels, **_known(others, "classes_to_plot", "title"))}


@plotting
def plot_precision_recall(
    y_true: Any = None, y_probas: Any = None, labels: Sequence[Any] | None = None, **others: Any
) -> Any:
    """Log precision at each recall, of each class, as `precision_recall`.

    Args:
        y_true: The truth, (samples,).
        y_probas: Probabilities, (samples, classes).
        labels: Names of the classes, in their order.
        others: `classes_to_plot` and `title`, as for `tracker.plot.pr_curve`.
    """
    chart = tracker.plot.pr_curve(y_true, y_probas, labels, **_known(others, "classes_to_plot", "title"))
    return {"precision_recall": chart}


@plotting
def plot_confusion_matrix(
    y_true: Any = None,
    y_pred: Any = None,
    labels: Sequence[Any] | None = None,
    true_labels: Sequence[Any] | None = None,
    pred_labels: Sequence[Any] | None = None,
    normalize: bool = False,
) -> Any:
    """Log how often each class was taken for each, as `confusion_matrix`.

    Args:
        y_true: The truth, (samples,).
        y_pred: What was predicted, (samples,).
        labels: Names of the classes, in their order.
        true_labels: Only samples of these classes.
        pred_labels: Only samples that were taken for these.
        normalize: Accepted as in W&B; counts are kept.
    """
    return confusion_matrix(y_true, y_pred, labels, true_labels, pred_labels)


def confusion_matrix(
    truth: Any,
    predicted: Any,
    labels: Sequence[Any] | None = None,
    true_labels: Sequence[Any] | None = None,
    pred_labels: Sequence[Any] | None = None,
) -> dict[str, Any]:
    """Answer the chart."""
    import numpy as np

    truth, predicted = np.asarray(truth), np.asarray(predicted)
    chosen = np.ones(len(truth), bool)
    if true_labels is not None:
        chosen &= np.isin(truth, np.asarray(true_labels))
    if pred_labels is not None:
        chosen &= np.isin(predicted, np.asarray(pred_labels))
    truth, predicted = truth[chosen], predicted[chosen]
    if labels is not None:  # the classes may be anything that can be ordered; names go by that order
        classes = np.unique(np.concatenate([truth, predicted]))
        if len(classes) <= len(labels) and not (classes.dtype.kind in "iu" and classes.max() < len(labels)):
            truth, predicted = np.searchsorted(classes, truth), np.searchsorted(classes, predicted)
    elif truth.dtype.kind != "U":
        truth, predicted = truth.astype(str), predicted.astype(str)
    names = None if labels is None else [str(label) for label in labels]
    chart = tracker.plot.confusion_matrix(y_true=truth, preds=predicted, class_names=names, title="Confusion matrix")
    return {"confusion_matrix": chart}


@plotting
def plot_calibration_curve(
    clf: Any = None,
    X: Any = None,
    y: Any = None,
    clf_name: str = "Classifier",
) -> Any:
    """Log how often a class was right for each probability that a fitted classifier gave it, as `calibration_curve`.

    Args:
        clf: Fitted, with `predict_proba`. It is not fitted again, as W&B does.
        X: Data it was not fitted to.
        y: Their truth.
        clf_name: In the title.
    """
    return calibration_curve(y, clf.predict_proba(X), clf_name, [str(one) for one in clf.classes_])


def calibration_curve(truth: Any, probabilities: Any, name: str, labels: Sequence[Any] | None = None) -> dict[str, Any]:
    """Answer the chart: of two classes the second, of more each against the others."""
    import numpy as np
    from sklearn.calibration import calibration_curve

    truth, probabilities = np.asarray(truth), np.asarray(probabilities)
    classes = np.unique(truth)
    if probabilities.ndim == 1:
        probabilities = np.stack([1 - probabilities, probabilities], axis=1)
    columns = ["class", "mean_predicted_probability", "fraction_of_positives"]
    table = tracker.Table(columns=columns, dtype=[str, float, float])
    for place in range(1 if len(classes) == 2 else 0, min(len(classes), probabilities.shape[1])):
        of_class = str(labels[place]) if labels is not None and place < len(labels) else str(classes[place])
        fractions, means = calibration_curve(
            truth == classes[place], np.clip(probabilities[:, place], 0, 1), n_bins=CALIBRATION_BINS
        )
        for fraction, mean in zip(fractions.tolist(), means.tolist(), strict=True):
            table.add_data(of_class, mean, fraction)
    title = f"Calibration of {name}"
    return {"calibration_curve": tracker.plot.line(table, columns[1], columns[2], "class", title=title)}


@plotting
def plot_class_proportions(y_train: Any = None, y_test: Any = None, labels: Sequence[Any] | None = None) -> Any:
    """Log how often each class comes in the training and the held-out data, as `class_proportions`.

    Args:
        y_train: The truth of the training data, (samples,).
        y_test: That of the held-out data.
        labels: Names of the classes, in their order.
    """
    return class_proportions(y_train, y_test, labels)


def class_proportions(train: Any, test: Any, labels: Sequence[Any] | None) -> dict[str, Any]:
    """Answer the chart."""
    import numpy as np

    sets = {name: np.asarray(values) for name, values in (("train", train), ("test", test)) if values is not None}
    classes = np.unique(np.concatenate(list(sets.values())))
    table = tracker.Table(columns=["class", "set", "count"], dtype=[str, str, int])
    for name, values in sets.items():
        for place, one in enumerate(classes.tolist()):
            shown = str(labels[place]) if labels is not None and place < len(labels) else str(one)
            table.add_data(shown, name, int((values == one).sum()))
    spec = {
        "title": "Class proportions",
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "x": {"field": "${field:class}", "type": "nominal", "sort": None},
            "y": {"field": "${field:count}", "type": "quantitative"},
            "xOffset": {"field": "${field:set}", "type": "nominal"},
            "color": {"field": "${field:set}", "type": "nominal"},
        },
    }
    fields = {"class": "class", "count": "count", "set": "set"}
    return {"class_proportions": tracker.plot.plot_table(spec, table, fields, {"title": "Class proportions"})}


def _known(others: dict[str, Any], *names: str) -> dict[str, Any]:
    """Answer the arguments that mean something here; W&B's older ones, for its own drawing, are passed over."""
    return {name: others[name] for name in names if others.get(name) is not None}
