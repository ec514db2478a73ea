"""What can be told of a scikit-learn estimator without a pass over any data: all of it lies in the estimator already."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tracker

MAX_PARAM_CHARS = 500
MAX_PARAMS = 500
MAX_NAMES = 100  # of features, as a fact of the data
MAX_ITEMS = 50  # of a list among the parameters
MAX_CURVE_ROWS = 10_000
MAX_IMPORTANCES = 50
MAX_WEIGHTS = 10_000_000  # beyond, finding the largest ones takes longer than it is worth
MAX_NAMED_FEATURES = 100_000  # that the steps of a pipeline are asked to name

# Attribute of a fitted estimator -> name of a value for each iteration.
_CURVES = {
    "loss_curve_": "train/loss",
    "validation_scores_": "validation/score",
    "oob_scores_": "oob/loss",
    "validation_score_": "validation/score",
    "estimator_errors_": "train/estimator_error",
}
# Attributes that are one number, or may be; several are told by their mean (n_iter_: by the largest).
_OUTCOMES = (
    "n_iter_",
    "n_estimators_",
    "oob_score_",
    "inertia_",
    "lower_bound_",
    "loss_",
    "best_loss_",
    "best_validation_score_",
    "reconstruction_err_",
    "kl_divergence_",
    "alpha_",
    "noise_variance_",
    "n_clusters_",
    "best_score_",
    "refit_time_",
)


def class_name(value: Any) -> str:
    """Answer the class of an estimator, with its public module: `sklearn.svm.SVC`."""
    kind = type(value)
    parts = [part for part in kind.__module__.split(".") if not part.startswith("_")]
    return ".".join([*parts, kind.__qualname__])


def last_step(estimator: Any) -> Any:
    """Answer the model inside: the best one of a search, the last step of a pipeline; else the estimator itself."""
    for _ in range(8):  # a search over a pipeline with a search in it: as deep as anybody goes
        best = getattr(estimator, "best_estimator_", None)
        steps = getattr(estimator, "steps", None)
        if best is not None:
            estimator = best
        elif isinstance(steps, list) and steps and hasattr(estimator, "named_steps"):
            estimator = steps[-1][1]
        else:
            break
    return estimator


# --- before the fit ----------------------------------------------------------------------


def parameters(estimator: Any) -> dict[str, Any]:
    """Answer all parameters, those of inner estimators as scikit-learn names them: `clf__C`.

    One that cannot be told harms only itself.
    """
    try:
        values = estimator.get_params(deep=True)
    except Exception:  # of somebody's own class
        try:
            values = estimator.get_params(deep=False)
        except Exception:
            return {}
    kept = [(name, value) for name, value in values.items() if not _is_steps(value)]
    return {str(name): plain(value) for name, value in kept[:MAX_PARAMS]}


def _is_steps(value: Any) -> bool:
    """Answer whether a parameter is a list of named estimators, whose own parameters are there as well."""
    is_list = isinstance(value, (list, tuple)) and len(value) > 0
    return is_list and all(isinstance(one, (list, tuple)) and len(one) > 1 and isinstance(one[0], str) for one in value)


def plain(value: Any) -> Any:
    """Answer a parameter as a short plain value; estimators are their class, arrays their shape."""
    try:
        return _plain(value, 3)
    except Exception as error:  # a value's own methods may raise anything
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if len(value) <= MAX_PARAM_CHARS else f"{value[:MAX_PARAM_CHARS]}… ({len(value):,} characters)"
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "get_params"):
        return class_name(value)
    shape = getattr(value, "shape", None)
    if shape == () and hasattr(value, "item"):
        return value.item()
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if depth and isinstance(value, Mapping):
        return {str(key): _plain(item, depth - 1) for key, item in list(value.items())[:MAX_ITEMS]}
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else list(value)
        if len(items) > MAX_ITEMS:
            return f"{type(value).__name__} of {len(items):,} items"
        return [_plain(item, depth - 1) for item in items]
    return _plain(f"{value!r}", depth)


def structure(estimator: Any) -> dict[str, Any]:
    """Answer what the model is made of: its class, the steps of a pipeline, what a search is over."""
    found: dict[str, Any] = {"class": class_name(estimator)}
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list) and hasattr(estimator, "named_steps"):
        found["steps"] = {str(step[0]): class_name(step[1]) for step in steps}
    inner = getattr(estimator, "estimator", None)
    if hasattr(inner, "get_params"):
        found["estimator"] = structure(inner)
    return found


def of_data(x: Any, y: Any, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Answer what is known of the training data by looking at its shape alone.

    Args:
        x: What the model is fitted to.
        y: The truth, or None.
        arguments: Names of what else was given to `fit`.
    """
    found: dict[str, Any] = {"type": _type_name(x)}
    shape = getattr(x, "shape", None)
    if isinstance(shape, tuple) and shape and all(isinstance(size, int) for size in shape):
        found["samples"] = shape[0]
        if len(shape) > 1:
            found["features"] = shape[1]
    elif hasattr(x, "__len__"):
        found["samples"] = len(x)
        first = x[0] if isinstance(x, (list, tuple)) and x else None
        if isinstance(first, (list, tuple)):
            found["features"] = len(first)
    dtype = getattr(x, "dtype", None)
    if dtype is not None:
        found["dtype"] = str(dtype)
    if hasattr(x, "nnz"):
        found["nonzero"] = int(x.nnz)
    if y is not None:
        found["target"] = _type_name(y)
        for name in ("dtype", "shape"):
            value = getattr(y, name, None)
            if value is not None:
                found[f"target_{name}"] = str(value) if name == "dtype" else [int(size) for size in value]
        if getattr(y, "name", None) is not None:
            found["target_name"] = plain(y.name)
    if arguments:
        found["fit_arguments"] = sorted(arguments)
    return found


def _type_name(value: Any) -> str:
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}".removeprefix("builtins.")


# --- after the fit -----------------------------------------------------------------------


def learned(estimator: Any) -> dict[str, Any]:
    """Answer what the fit has told the estimator of its data: classes, features, and their names."""
    found: dict[str, Any] = {}
    inner = last_step(estimator)
    classes = _attribute(inner, "classes_")
    if classes is not None and hasattr(classes, "tolist") and getattr(classes, "ndim", 0) == 1:
        found["classes"] = [plain(one) for one in classes[:MAX_NAMES].tolist()]
        found["class_count"] = len(classes)
    names = _attribute(estimator, "feature_names_in_")
    if names is not None:
        found["feature_names"] = [str(name) for name in names[:MAX_NAMES]]
    width = _attribute(estimator, "n_features_in_")
    if isinstance(width, int):
        found["features"] = width
    return found


def outcome(estimator: Any) -> dict[str, float]:
    """Answer the numbers that the fit has left in the estimator: iterations, inertia, the out-of-bag score."""
    found: dict[str, float] = {}
    inner = last_step(estimator)
    for owner in (inner, estimator) if inner is not estimator else (inner,):
        for name in _OUTCOMES:
            number = _number(_attribute(owner, name), is_largest=name == "n_iter_")
            if number is not None:
                found[name.rstrip("_")] = number
    return found


def curves(estimator: Any) -> dict[str, list[float]]:
    """Answer the values by iteration that the fit has left: the loss of an MLP, the scores of boosting."""
    inner = last_step(estimator)
    found: dict[str, list[float]] = {}
    for attribute, name in _CURVES.items():
        values = _numbers(_attribute(inner, attribute))
        if values:
            found[name] = values
    values = _numbers(_attribute(inner, "train_score_"))
    if values:  # histogram boosting keeps scores, the older one the loss
        found["train/score" if hasattr(inner, "validation_score_") else "train/loss"] = values
    return {name: thinned(values) for name, values in found.items()}


def thinned(values: list[float], limit: int = MAX_CURVE_ROWS) -> list[float]:
    """Answer a curve of at most so many values, the first and the last among them."""
    count = len(values)
    if count <= limit:
        return values
    return [values[place * (count - 1) // (limit - 1)] for place in range(limit)]


def importances(
    estimator: Any, names: Sequence[Any] | None = None, limit: int = MAX_IMPORTANCES
) -> tuple[str, list[tuple[str, float]]] | None:
    """Answer how much each feature means to the model, the most important first.

    Args:
        estimator: A fitted one.
        names: Of the features; the estimator's own without them.
        limit: At most so many.

    Returns:
        Where the numbers come from ("feature_importances_", or "coef_": mean magnitude over classes), and them by
        feature; None where the model has none.
    """
    import numpy as np  # scikit-learn has loaded it

    inner = last_step(estimator)
    for source in ("feature_importances_", "coef_"):
        values = _attribute(inner, source)
        if values is None or not 0 < getattr(values, "size", 0) <= MAX_WEIGHTS:
            continue
        if hasattr(values, "toarray"):  # sparsified
            values = values.toarray()
        values = np.asarray(values)
        if values.dtype.kind not in "fiu" or values.ndim not in (1, 2):
            continue
        if source == "coef_":
            values = np.abs(values).mean(axis=0) if values.ndim == 2 else np.abs(values)
        if values.ndim != 1 or not np.isfinite(values).all():
            continue
        order = np.argsort(-values, kind="stable")[:limit].tolist()
        known = names if names is not None else _feature_names(estimator, inner, len(values))
        if known is None or len(known) != len(values):
            return source, [(f"feature {place}", float(values[place])) for place in order]
        return source, [(str(known[place]), float(values[place])) for place in order]
    return None


def importance_chart(pairs: Sequence[tuple[str, float]], title: str) -> Any:
    """Answer a bar for each feature."""
    table = tracker.Table(columns=["feature", "importance"], dtype=[str, float])
    for name, value in pairs:
        table.add_data(name, value)
    return tracker.plot.bar(table, "feature", "importance", title=title)


def _feature_names(estimator: Any, inner: Any, count: int) -> Sequence[Any] | None:
    for owner in (inner, estimator):
        names = _attribute(owner, "feature_names_in_")
        if names is not None and len(names) == count:
            return names  # type: ignore[no-any-return]
    best = getattr(estimator, "best_estimator_", estimator)
    if inner is not best and hasattr(best, "steps") and count <= MAX_NAMED_FEATURES:
        try:  # what the steps before make of the names
            return best[:-1].get_feature_names_out()  # type: ignore[no-any-return]
        except Exception:  # some transformers do not know
            return None
    return None


def _attribute(estimator: Any, name: str) -> Any:
    try:
        return getattr(estimator, name, None)
    except Exception:  # a property that is not for this kernel, or not after this fit
        return None


def _number(value: Any, is_largest: bool = False) -> float | None:
    if value is None or isinstance(value, (str, bool)):
        return None
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    try:
        values = numpy.asarray(value)
        if values.dtype.kind not in "fiu" or values.size == 0 or values.size > 10_000:
            return None
        return (values.max() if is_largest else values.mean()).item()  # type: ignore[no-any-return]
    except (TypeError, ValueError):
        return None


def _numbers(values: Any) -> list[float]:
    if values is None or isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        return []
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return []
