"""Charts of clusterers, with W&B's names and arguments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import tracker

from . import _sklearn_curves as curves
from ._sklearn_curves import Part, plotting


@plotting
def plot_clusterer(
    model: Any,
    X_train: Any,
    cluster_labels: Any,
    labels: Sequence[Any] | None = None,
    model_name: str = "Clusterer",
) -> Any:
    """Log what there is to see of a clusterer: `elbow_curve` where it has `n_clusters`, and `silhouette_plot`.

    Args:
        model: It is cloned, and fitted anew for each number of clusters.
        X_train: Data, (samples, features).
        cluster_labels: The cluster of each, (samples,).
        labels: Names of the clusters.
        model_name: Put into the config.
    """
    run = tracker.run
    if run is not None:
        run.config.update({"model_name": model_name}, allow_val_change=True)
    charts: dict[str, Any] = {}
    parts: list[Part] = [("silhouette_plot", lambda: silhouette(X_train, cluster_labels, labels))]
    if "n_clusters" in model.get_params(deep=False):
        parts.append(("elbow_curve", lambda: elbow_curve(model, X_train)))
    for name, part in parts:
        with tracker.guard(f"the chart {name} of plot_clusterer"):  # one harms no other
            charts.update(part())
    return charts


@plotting
def plot_elbow_curve(
    clusterer: Any = None,
    X: Any = None,
    cluster_ranges: Sequence[int] | None = None,
    n_jobs: int = 1,
    show_cluster_time: bool = True,
) -> Any:
    """Log how well the data fall into more and more clusters, as `elbow_curve`.

    Args:
        clusterer: With `n_clusters` and `score`; it is cloned, and fitted for each number.
        X: Data.
        cluster_ranges: Numbers of clusters; 1, 3, ... 9 without them.
        n_jobs: Accepted as in W&B.
        show_cluster_time: Accepted as in W&B; the table has the seconds of each fit.
    """
    return elbow_curve(clusterer, X, cluster_ranges)


def elbow_curve(model: Any, x: Any, cluster_ranges: Sequence[int] | None = None) -> dict[str, Any]:
    """Answer the chart."""
    from sklearn.base import clone

    table = tracker.Table(columns=["clusters", "error", "seconds"], dtype=[int, float, float])
    for count in sorted(range(1, 10, 2) if cluster_ranges is None else cluster_ranges):
        started = time.perf_counter()
        fitted = clone(model).set_params(n_clusters=int(count)).fit(x)
        seconds = time.perf_counter() - started
        error = fitted.inertia_ if hasattr(fitted, "inertia_") else abs(fitted.score(x))
        table.add_data(int(count), float(error), seconds)
    return {"elbow_curve": tracker.plot.line(table, "clusters", "error", title="Elbow curve")}


@plotting
def plot_silhouette(
    clusterer: Any = None,
    X: Any = None,
    cluster_labels: Any = None,
    labels: Sequence[Any] | None = None,
    metric: str = "euclidean",
    kmeans: bool = True,
) -> Any:
    """Log how close each sample is to its own cluster, compared with the next one, as `silhouette_plot`.

    Args:
        clusterer: Asked for the clusters where they are not given.
        X: Data.
        cluster_labels: The cluster of each sample, (samples,).
        labels: Names of the clusters.
        metric: How distances are measured.
        kmeans: Accepted as in W&B.
    """
    clusters = clusterer.predict(X) if cluster_labels is None else cluster_labels
    return silhouette(X, clusters, labels, metric)


def silhouette(x: Any, clusters: Any, labels: Sequence[Any] | None, metric: str = "euclidean") -> dict[str, Any]:
    """Answer the chart, and the mean as `silhouette_score`."""
    import numpy as np
    from sklearn.metrics import silhouette_samples

    clusters = np.asarray(clusters)
    values = silhouette_samples(x, clusters, metric=metric)
    order = np.lexsort((-values, clusters))
    table = tracker.Table(columns=["place", "silhouette", "cluster"], dtype=[int, float, str])
    for place in curves.chosen_rows(len(order)):
        row = int(order[place])
        number = int(clusters[row])
        name = str(labels[number]) if labels is not None and 0 <= number < len(labels) else str(number)
        table.add_data(place, float(values[row]), name)
    spec = {
        "title": "Silhouette",
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "y": {"field": "${field:place}", "type": "ordinal", "axis": None},
            "x": {"field": "${field:silhouette}", "type": "quantitative"},
            "color": {"field": "${field:cluster}", "type": "nominal"},
        },
    }
    fields = {"place": "place", "silhouette": "silhouette", "cluster": "cluster"}
    chart = tracker.plot.plot_table(spec, table, fields, {"title": "Silhouette"})
    return {"silhouette_plot": chart, "silhouette_score": float(values.mean())}
