"""A classifier of points is trained with Keras: metrics, checkpoints, predictions and an evaluation, by one callback."""

import os
import tempfile
from importlib.util import find_spec

os.environ.setdefault("KERAS_BACKEND", next(name for name in ("jax", "torch", "tensorflow") if find_spec(name)))

import keras
import numpy as np

from tracker.integrations.keras import TrackerCallback


def points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Answer points in a plane, (count, 2), and in which of three rings each lies."""
    x = np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype("float32")
    return x, np.digitize(np.hypot(x[:, 0], x[:, 1]), [0.5, 0.9])


def main() -> None:
    """Train, and evaluate; both go into one run."""
    x, y = points(2000, seed=0)
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, decay_steps=250)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as folder:
        best = keras.callbacks.ModelCheckpoint(os.path.join(folder, "best.keras"), save_best_only=True)
        model.fit(
            x,
            y,
            validation_split=0.2,
            batch_size=64,
            epochs=10,
            verbose=0,
            callbacks=[best, TrackerCallback(project="rings", log_freq=5)],
        )
    model.evaluate(*points(500, seed=1), verbose=0)


if __name__ == "__main__":
    main()
