"""The smallest trainings there are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

ROWS = 30
BATCH = 10  # three batches an epoch


def data(rows: int = ROWS, classes: int = 3) -> tuple[Any, Any]:
    """Answer inputs and labels."""
    dice = np.random.default_rng(0)
    return dice.random((rows, 4), dtype="float32"), dice.integers(0, classes, rows)


def model(**compiled: Any) -> Any:
    """Answer a compiled classifier of three classes."""
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    made.compile(**{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **compiled})
    return made


def fit(made: Any, *callbacks: Any, **arguments: Any) -> Any:
    """Train."""
    x, y = data()
    given = {"batch_size": BATCH, "epochs": 2, "verbose": 0, "callbacks": list(callbacks), **arguments}
    if "x" in given:
        return made.fit(**given)
    return made.fit(x, y, **given)


def column(run: Any, key: str) -> dict[int, Any]:
    """Answer a metric by step."""
    return {row["_step"]: row[key] for row in run.history(pandas=False) if row.get(key) is not None}
