"""A Keras `fit` that logs each batch, beside one without a logger: what it costs, and whether dispatch stays async.

On JAX, where Keras calls the hooks of batches from other threads unless a callback forbids it. mlflow's callback reads
the optimizer within the epoch, which Keras on JAX may refuse; it is left out then. keras, jax and, for wandb's callback,
TensorFlow have to be in both environments.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from .harness import Bench, Figure, Skipped, median

TOOLS = ("tracker", "wandb", "mlflow")
WIDTH, BATCH, STEPS = 512, 128, 300


def figures(bench: Bench) -> list[Figure]:
    """Measure."""
    blocks = bench.pick(8, 2)
    values = bench.each(
        list(TOOLS),
        bench.pick(5, 1),
        lambda tool: bench.call(tool, "keras_batches", "measure", tool=tool, blocks=blocks),
    )

    def figure(name: str, key: str, target: float, is_more_better: bool = False) -> Figure:
        found = {tool: median([one[key] for one in many]) for tool, many in values.items()}
        plain = f"a batch is {median([one['step_ms'] for one in values['tracker']]):.1f} ms" if found else ""
        return Figure(name, found.pop("tracker", None), found, target, is_more_better, note=plain)

    return [
        figure("Keras on JAX, each batch logged: slowdown against no callback, %", "slower", 5.0),
        figure("Keras on JAX, each batch logged: async dispatch is on (1) or off (0)", "is_async", 1.0, True),
    ]


def measure(tool: str, blocks: int) -> dict[str, float]:
    """Train with the tool and without it, in turn; in the tool's interpreter."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        import keras
        import numpy as np
    except ImportError as error:
        raise Skipped(str(error)) from None
    dice = np.random.default_rng(0)
    x, y = dice.random((BATCH * STEPS, WIDTH), dtype="float32"), dice.random((BATCH * STEPS, 1), dtype="float32")
    layers = [keras.layers.Dense(WIDTH, "relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((WIDTH,)), *layers, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    callback = _callback(tool)
    found: dict[str, list[float]] = {"none": [], tool: []}
    for block in range(blocks + 1):
        for name in ("none", tool) if block % 2 else (tool, "none"):
            start = time.perf_counter()
            model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[callback] if name == tool else [])
            if block:  # in the first, things are compiled
                found[name].append(time.perf_counter() - start)
    none, ours = median(found["none"]), median(found[tool])
    is_async = float(keras.callbacks.CallbackList([callback])._async_train)
    return {"slower": 100 * (ours / none - 1), "step_ms": 1e3 * none / STEPS, "is_async": is_async}


def _callback(tool: str) -> Any:
    if tool == "tracker":
        from tracker.integrations.keras import TrackerMetricsLogger

        return TrackerMetricsLogger(log_freq="batch")
    if tool == "wandb":
        import wandb
        from wandb.integration.keras import WandbMetricsLogger

        wandb.init(project="bench", dir=Path.cwd())
        return WandbMetricsLogger(log_freq="batch")
    import mlflow

    return mlflow.keras.MlflowCallback(log_every_epoch=False, log_every_n_steps=1)
