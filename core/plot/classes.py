"""Charts of classifiers, from the truth and what was predicted. The arithmetic is numpy's alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..tables import Table
from ..values import Unstorable
from . import specs
from .chart import Chart, Drawing

if TYPE_CHECKING:
    import numpy as np

MAX_CURVE_POINTS = 1000  # of one class: no screen has more
MAX_FULL_CLASSES = 100  # beyond, a matrix has only the cells that count something


def confusion_matrix(
    probs: Sequence[Sequence[float]] | None = None,
    y_true: Sequence[Any] | None = None,
    preds: Sequence[Any] | None = None,
    class_names: Sequence[str] | None = None,
    title: str = "Confusion Matrix Curve",
    split_table: bool = False,
) -> Chart:
    """Answer how often each class was taken for each.

    Args:
        probs: What was predicted, (samples, classes): the class with the highest value counts. Or give `preds`.
        y_true: The truth, (samples,): numbers of classes, or their names.
        preds: What was predicted, (samples,).
        class_names: Names by number.
        title: Above it.
        split_table: Accepted as in W&B; `Api.run(...).table(key)` answers the data.

    Example:
        run.log({"confusion": tracker.plot.confusion_matrix(y_true=[0, 1, 1], preds=[0, 1, 0], class_names=["a", "b"])})
    """

    def draw() -> Drawing:
        import numpy as np

        if y_true is None or (probs is None) == (preds is None):
            raise Unstorable("is a confusion matrix that needs y_true, and one of probs and preds")
        truth = _flat(y_true, "y_true")
        names = None if class_names is None else [str(name) for name in class_names]
        if probs is not None:
            guessed = np.argmax(_matrix(probs, len(truth), "probs"), axis=1)
            wide = np.shape(_array(probs))[1]
        else:
            guessed = _flat(preds, "preds")
            wide = 0
        if len(guessed) != len(truth):
            raise Unstorable(f"has {len(guessed)} predictions for {len(truth)} true classes")
        names, (actual, predicted) = _numbered(names, wide, truth, guessed)
        count = len(names)
        counts = np.zeros((count, count), np.int64) if count <= MAX_FULL_CLASSES else None
        table = Table(columns=["Actual", "Predicted", "nPredictions"], dtype=[str, str, int])
        if counts is not None:
            np.add.at(counts, (actual, predicted), 1)
            for row in range(count):
                for column in range(count):
                    table.add_data(names[row], names[column], int(counts[row, column]))
        else:
            cells, times = np.unique(actual.astype(np.int64) * count + predicted, return_counts=True)
            for cell, n in zip(cells.tolist(), times.tolist(), strict=True):
                table.add_data(names[cell // count], names[cell % count], n)
        spec = specs.confusion(
            title, specs.field("Actual"), specs.field("Predicted"), specs.field("nPredictions", "int", title="count")
        )
        fields = {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"}
        return Drawing("confusion_matrix", table, spec, title, fields)

    return Chart(draw)


def roc_curve(
    y_true: Sequence[Any] | None = None,
    y_probas: Sequence[Sequence[float]] | None = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    title: str = "ROC Curve",
    split_table: bool = False,
) -> Chart:
    """Answer the receiver operating characteristic of each class against all others.

    Args:
        y_true: The truth, (samples,).
        y_probas: Scores, (samples, classes), in the order of the sorted classes; or (samples,) for the second one of
            two classes.
        labels: Names of the classes, in that order.
        classes_to_plot: Only these, as they are in `y_true`.
        title: Above it.
        split_table: Accepted as in W&B.

    Example:
        run.log({"roc": tracker.plot.roc_curve(y_true, model.predict_proba(x), labels=["cat", "dog"])})
    """

    def draw() -> Drawing:
        table = Table(columns=["class", "fpr", "tpr", "point"], dtype=[str, float, float, int])
        for name, is_it, scores in _one_against_all(y_true, y_probas, labels, classes_to_plot):
            false_rate, true_rate = roc_points(is_it, scores)
            for point, (x, y) in enumerate(zip(_thin(false_rate), _thin(true_rate), strict=True)):
                table.add_data(name, x, y, point)
        axes = (
            specs.field("fpr", "float", title="false positive rate"),
            specs.field("tpr", "float", title="true positive rate"),
        )
        spec = specs.curve(title, *axes, specs.field("class"), diagonal=True)
        return Drawing("roc_curve", table, spec, title, {"x": "fpr", "y": "tpr", "class": "class"})

    return Chart(draw)


def pr_curve(
    y_true: Sequence[Any] | None = None,
    y_probas: Sequence[Sequence[float]] | None = None,
    labels: Sequence[str] | None = None,
    classes_to_plot: Sequence[Any] | None = None,
    interp_size: int = 21,
    title: str = "Precision-Recall Curve",
    split_table: bool = False,
) -> Chart:
    """Answer the precision at each recall, of each class against all others.

    Args:
        y_true: The truth, (samples,).
        y_probas: Scores; see `roc_curve`.
        labels: Names of the classes.
        classes_to_plot: Only these.
        interp_size: At how many recalls, evenly spaced from 0 to 1.
        title: Above it.
        split_table: Accepted as in W&B.

    Example:
        run.log({"pr": tracker.plot.pr_curve(y_true, model.predict_proba(x), labels=["cat", "dog"])})
    """

    def draw() -> Drawing:
        import numpy as np

        if interp_size < 2:
            raise Unstorable(f"is a curve of {interp_size} points; it needs two at least")
        grid = np.linspace(0, 1, interp_size)
        table = Table(columns=["class", "recall", "precision", "point"], dtype=[str, float, float, int])
        for name, is_it, scores in _one_against_all(y_true, y_probas, labels, classes_to_plot):
            precision, recall = pr_points(is_it, scores)
            there = np.interp(grid, recall[::-1], precision[::-1])
            for point, (x, y) in enumerate(zip(grid.tolist(), there.tolist(), strict=True)):
                table.add_data(name, x, y, point)
        axes = specs.field("recall", "float"), specs.field("precision", "float")
        spec = specs.curve(title, *axes, specs.field("class"), diagonal=False)
        return Drawing("pr_curve", table, spec, title, {"x": "recall", "y": "precision", "class": "class"})

    return Chart(draw)


# --- arithmetic --------------------------------------------------------------------------


def roc_points(is_it: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answer false and true positive rates at falling thresholds, from (0, 0) to (1, 1); corners only.

    Args:
        is_it: Whether each sample is of the class, (samples,); some are, and some are not.
        scores: Finite, (samples,).
    """
    import numpy as np

    hits, misses = _at_thresholds(is_it, scores)
    if len(hits) > 2:  # a point on the way straight on says nothing
        is_corner = np.concatenate([[True], (np.diff(hits, 2) != 0) | (np.diff(misses, 2) != 0), [True]])
        hits, misses = hits[is_corner], misses[is_corner]
    hits, misses = np.concatenate([[0], hits]), np.concatenate([[0], misses])
    return misses / misses[-1], hits / hits[-1]


def pr_points(is_it: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answer precision and recall at rising thresholds; the last one is (1, 0).

    Args:
        is_it: Whether each sample is of the class, (samples,); some are.
        scores: Finite, (samples,).
    """
    import numpy as np

    hits, misses = _at_thresholds(is_it, scores)
    precision, recall = hits / (hits + misses), hits / hits[-1]
    return np.concatenate([precision[::-1], [1.0]]), np.concatenate([recall[::-1], [0.0]])


def _at_thresholds(is_it: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answer, at each different score from the highest on, how many hits and misses are not below it."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    scores, is_it = scores[order], is_it[order]
    last = np.concatenate([np.flatnonzero(np.diff(scores)), [len(scores) - 1]])
    hits = np.cumsum(is_it)[last]
    return hits, last + 1 - hits


def _thin(values: np.ndarray) -> list[float]:
    import numpy as np

    if len(values) > MAX_CURVE_POINTS:
        values = values[np.linspace(0, len(values) - 1, MAX_CURVE_POINTS).round().astype(np.int64)]
    return values.tolist()  # type: ignore[no-any-return]


def _one_against_all(
    y_true: Any, y_probas: Any, labels: Sequence[str] | None, chosen: Sequence[Any] | None
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Answer, for each class: its name, which samples are of it, and their scores for it.

    Classes that no sample, or every one, is of have no curve.
    """
    import numpy as np

    if y_true is None or y_probas is None:
        raise Unstorable("is a curve that needs y_true and y_probas")
    truth = _flat(y_true, "y_true")
    scores = _array(y_probas)
    classes = np.unique(truth)
    wanted = set(
        classes.tolist() if chosen is None else [getattr(one, "item", lambda one=one: one)() for one in chosen]
    )
    if scores.ndim == 1:  # of the second of two classes
        if len(classes) > 2:
            raise Unstorable(f"has scores for one class, and {len(classes)} classes in y_true")
        scores = np.stack([1 - scores, scores], axis=1)
        if len(classes) == 2 and chosen is None:
            wanted = {classes[1].item()}
    scores = _matrix(scores, len(truth), "y_probas")
    if scores.shape[1] > len(classes) and classes.dtype.kind in "iu" and int(classes[-1]) < scores.shape[1]:
        classes = np.arange(scores.shape[1])  # a class without samples has a column all the same
    if scores.shape[1] != len(classes):
        raise Unstorable(f"has scores for {scores.shape[1]} classes, and {len(classes)} classes in y_true")
    found: list[tuple[str, np.ndarray, np.ndarray]] = []
    for place, one in enumerate(classes.tolist()):
        if one in wanted and 0 < (truth == one).sum() < len(truth):
            name = str(labels[place]) if labels is not None and place < len(labels) else str(one)
            found.append((name, truth == one, scores[:, place]))
    if not found:
        raise Unstorable("has no class to plot that some samples are of, and others are not")
    return found


def _numbered(
    names: list[str] | None, wide: int, truth: np.ndarray, guessed: np.ndarray
) -> tuple[list[str], list[Any]]:
    """Answer the classes' names, and both columns as numbers of them."""
    import numpy as np

    both = [truth, guessed]
    if all(column.dtype.kind in "iub" for column in both):
        numbers = [column.astype(np.int64) for column in both]
        low, high = min(int(n.min()) for n in numbers), max(int(n.max()) for n in numbers)
        if low < 0:
            raise Unstorable(f"has a class {low}; classes are numbered from 0")
        count = max(high + 1, wide)
        if names is not None and len(names) < count:
            raise Unstorable(f"has {len(names)} class names, and a class number {count - 1}")
        if count > 1_000_000:
            raise Unstorable(f"has a class number {count - 1}; that is none")
        return names or [f"Class_{number}" for number in range(1, count + 1)], numbers
    texts = [column.astype(str) for column in both]
    known = names or np.unique(np.concatenate(texts)).tolist()
    place = {name: number for number, name in enumerate(known)}
    for column in texts:
        for name in np.unique(column).tolist():
            if name not in place:
                raise Unstorable(f"has a class {name!r} that is none of the class names")
    return list(known), [np.array([place[name] for name in column.tolist()], np.int64) for column in texts]


def _array(values: Any) -> np.ndarray:
    import numpy as np

    if hasattr(values, "detach"):  # torch: not the graph, and not on a device
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise Unstorable(f"has rows of different lengths ({error})") from None


def _flat(values: Any, name: str) -> np.ndarray:
    found = _array(values)
    if found.ndim == 2 and 1 in found.shape:
        found = found.reshape(-1)
    if found.ndim != 1 or not len(found):
        raise Unstorable(f"has {name} of shape {found.shape}; it wants one value for each sample")
    if found.dtype.kind == "f":
        if not (found == found.round()).all():
            raise Unstorable(f"has {name} that are no classes: {found[found != found.round()][0]}")
        found = found.astype("int64")
    return found


def _matrix(values: Any, samples: int, name: str) -> np.ndarray:
    import numpy as np

    found = _array(values)
    if found.ndim != 2 or len(found) != samples or not found.shape[1]:
        raise Unstorable(f"has {name} of shape {found.shape} for {samples} samples; it wants (samples, classes)")
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        raise Unstorable(f"has NaN or infinite numbers among {name}")
    return found
