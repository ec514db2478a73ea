"""A sample of rows beside what a model of trees makes of them: the table of predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TABLE_FEATURES = 20
"""Features beside each prediction; where there are more, there are none."""
FULL_PREDICTION_ROWS = 1_000_000
"""Data that cannot be cut into pieces is predicted whole, up to so many rows."""


@dataclass(frozen=True)
class Predictions:
    """A sample of rows, and what a model makes of them.

    Args:
        rows: Which ones of the data set.
        labels: The truth, (rows,); None where it is not known.
        outputs: The model's, (rows,) or (rows, classes).
        kind: "class": outputs are probabilities; "label": outputs are classes; "value"; "score": of a ranking.
        classes: The labels' names, in the order of their numbers.
        features: By name, (rows,) each.
    """

    rows: Sequence[int]
    labels: Any
    outputs: Any
    kind: str
    classes: Sequence[Any] | None = None
    features: Mapping[str, Sequence[Any]] | None = None

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Answer columns and rows: label, prediction, how sure or how far off, and the features."""
        labels = [None] * len(self.rows) if self.labels is None else _plain(self.labels)
        named: dict[str, list[Any]] = {"row": list(self.rows)}
        if self.kind == "class":
            self._classes(named, labels, _plain(self.outputs))
        else:
            outputs = _plain(self.outputs)
            named["label"] = [self._name(label) for label in labels] if self.kind == "label" else labels
            if self.kind == "score":
                named["score"] = outputs
            else:
                named["prediction"] = [self._name(one) for one in outputs] if self.kind == "label" else outputs
            if self.kind == "value" and all(isinstance(one, (int, float)) for one in [*labels, *outputs]):
                named["error"] = [guess - label for guess, label in zip(outputs, labels, strict=True)]
        for name, values in (self.features or {}).items():
            named[f"feature {name}" if name in named or name == "step" else name] = _plain(values)
        return list(named), [list(row) for row in zip(*named.values(), strict=True)]

    def _classes(self, named: dict[str, list[Any]], labels: list[Any], outputs: list[Any]) -> None:
        shares = [one if isinstance(one, list) else [1 - one, one] for one in outputs]
        guesses = [max(range(len(share)), key=share.__getitem__) for share in shares]
        named["label"] = [self._name(label) for label in labels]
        named["prediction"] = [self._name(guess) for guess in guesses]
        named["probability"] = [share[guess] for share, guess in zip(shares, guesses, strict=True)]
        named["loss"] = [_log_loss(share, label) for share, label in zip(shares, labels, strict=True)]

    def _name(self, number: Any) -> Any:
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if self.classes is not None and isinstance(number, int) and 0 <= number < len(self.classes):
            return _plain(self.classes)[number]
        return number


def features_of(data: Any, rows: Sequence[int], names: Sequence[str] | None = None) -> dict[str, list[Any]] | None:
    """Answer the features of some rows, by name; None where there are too many, or they cannot be told."""
    shape = getattr(data, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] > TABLE_FEATURES:
        return None
    part = pick(data, rows)
    if hasattr(part, "columns"):
        return {str(name): part[name].tolist() for name in part.columns}
    if hasattr(part, "toarray"):
        part = part.toarray()
    return {(names[place] if names else f"f{place}"): part[:, place].tolist() for place in range(shape[1])}


def pick(data: Any, rows: Sequence[int]) -> Any:
    """Answer some rows of an array, a sparse matrix or a data frame."""
    return data.iloc[list(rows)] if hasattr(data, "iloc") else data[list(rows)]


def _plain(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _log_loss(share: Sequence[float], label: Any) -> float | None:
    if not isinstance(label, (int, float)) or label != label or not 0 <= int(label) < len(share):
        return None
    return -math.log(max(share[int(label)], 1e-15))
