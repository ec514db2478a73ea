"""What can be asked of a Booster of XGBoost, and of a few rows of its data."""

from __future__ import annotations

import json
from typing import Any

from . import _boosting_tables as tables


def kind(model: Any) -> str:
    """Answer what its predictions are, in the words of `Predictions`."""
    objective = json.loads(model.save_config())["learner"]["objective"]["name"]
    if objective in ("binary:logistic", "multi:softprob"):
        return "class"
    if objective in ("multi:softmax", "binary:hinge"):
        return "label"
    return "score" if objective.startswith("rank:") else "value"


def features(part: Any) -> dict[str, list[Any]] | None:
    """Answer the features of a few rows; zeros of sparse data that are not there are missing ones to XGBoost."""
    if part.num_col() > tables.TABLE_FEATURES:
        return None
    names = part.feature_names or [f"f{place}" for place in range(part.num_col())]
    columns: dict[str, list[Any]] = {name: [None] * part.num_row() for name in names}
    cells = part.get_data().tocoo()
    for row, column, value in zip(cells.row.tolist(), cells.col.tolist(), cells.data.tolist(), strict=True):
        columns[names[column]][row] = value
    return columns


def effective(model: Any) -> dict[str, Any]:
    """Answer the parameters that are in force, defaults included, as XGBoost groups them."""
    model = model.cvfolds[0].bst if hasattr(model, "cvfolds") else model
    learner = json.loads(model.save_config())["learner"]
    kept = {key: learner[key] for key in ("learner_train_param", "objective", "gradient_booster") if key in learner}
    numbers: dict[str, Any] = _numbers(kept)
    return numbers


def _numbers(value: Any) -> Any:
    """Answer the same with numbers for texts that are some: XGBoost writes all of them as texts."""
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value
        return int(value) if value.lstrip("-").isdigit() else number
    return value
