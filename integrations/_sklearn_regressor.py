"""Charts of regressors, with W&B's names and arguments."""

from __future__ import annotations

from typing import Any

import tracker

from . import _sklearn_curves as curves
from ._sklearn_curves import Part, plotting


@plotting
def plot_regressor(
    model: Any,
    X_train: Any,
    X_test: Any,
    y_train: Any,
    y_test: Any,
    model_name: str = "Regressor",
) -> Any:
    """Log what there is to see of a fitted regressor: `summary_metrics`, `residuals`, `outlier_candidates`.

    Args:
        model: Fitted.
        X_train: Training data, (samples, features).
        X_test: Held-out data.
        y_train: The truth of the training data, (samples,).
        y_test: That of the held-out data.
        model_name: Put into the config.
    """
    run = tracker.run
    if run is not None:
        run.config.update({"model_name": model_name}, allow_val_change=True)
    charts: dict[str, Any] = {}
    parts: list[Part] = [
        ("summary_metrics", lambda: curves.summary_metrics(model, X_test, y_test)),
        ("residuals", lambda: residuals(model, {"train": (X_train, y_train), "test": (X_test, y_test)})),
        ("outlier_candidates", lambda: outlier_candidates(model, X_train, y_train)),
        ("feature_importances", lambda: curves.feature_importances(model, None, is_needed=False)),
    ]
    for name, part in parts:
        with tracker.guard(f"the chart {name} of plot_regressor"):  # one harms no other
            charts.update(part())
    return charts


@plotting
def plot_residuals(regressor: Any = None, X: Any = None, y: Any = None) -> Any:
    """Log by how much a fitted regressor is wrong, against what it predicts, as `residuals`.

    Args:
        regressor: Fitted. It is not fitted again to a part of the data, as W&B does.
        X: Data.
        y: Their truth.
    """
    return residuals(regressor, {"data": (X, y)})


def residuals(model: Any, sets: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Answer the chart of one or more sets of data."""
    import numpy as np

    table = tracker.Table(columns=["predicted", "residual", "set"], dtype=[float, float, str])
    for name, (x, y) in sets.items():
        predicted = np.asarray(model.predict(x), dtype=float).reshape(-1)
        wrong_by = np.asarray(y, dtype=float).reshape(-1) - predicted
        for row in curves.chosen_rows(len(predicted)):
            table.add_data(float(predicted[row]), float(wrong_by[row]), name)
    return {"residuals": curves.points(table, "predicted", "residual", "set", "Residuals")}


@plotting
def plot_outlier_candidates(regressor: Any = None, X: Any = None, y: Any = None) -> Any:
    """Log Cook's distance of each sample, by which it moves a linear model, as `outlier_candidates`.

    Args:
        regressor: Fitted.
        X: The data it was fitted to, (samples, features).
        y: Their truth.
    """
    return outlier_candidates(regressor, X, y)


def outlier_candidates(model: Any, x: Any, y: Any) -> dict[str, Any]:
    """Answer the chart; what lies beyond 4 / samples is named influential.

    Source: R. D. Cook, "Detection of Influential Observation in Linear Regression", Technometrics 19 (1977).
    """
    import numpy as np

    data = np.asarray(x, dtype=float)
    wrong_by = np.asarray(y, dtype=float).reshape(-1) - np.asarray(model.predict(x), dtype=float).reshape(-1)
    leverage = np.einsum("ij,ji->i", data, np.linalg.pinv(data))  # the diagonal of the hat matrix
    count, width = data.shape
    variance = (wrong_by @ wrong_by) / max(count - width, 1)
    distance = wrong_by**2 / max(width * variance, 1e-300) * leverage / np.maximum(1 - leverage, 1e-12) ** 2
    threshold = 4 / count
    table = tracker.Table(columns=["sample", "distance", "kind"], dtype=[int, float, str])
    largest = np.argsort(-distance, kind="stable")[: curves.MAX_POINTS]
    for row in np.sort(largest).tolist():
        table.add_data(row, float(distance[row]), "influential" if distance[row] > threshold else "usual")
    share = float((distance > threshold).mean())
    chart = curves.points(table, "sample", "distance", "kind", f"Cook's distance: {share:.1%} influential")
    return {"outlier_candidates": chart}
