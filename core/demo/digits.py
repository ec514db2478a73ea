"""Small neural networks learn to read the digits that scikit-learn ships, each run with other hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import MissingFramework

PROJECT = "digits"
BATCH_SIZE = 32
_TRIALS = (
    {"hidden": [64], "lr": 0.003, "alpha": 1e-4, "schedule": "cosine"},
    {"hidden": [64], "lr": 0.03, "alpha": 1e-4, "schedule": "cosine"},
    {"hidden": [128, 64], "lr": 0.003, "alpha": 1e-3, "schedule": "cosine"},
    {"hidden": [16], "lr": 0.003, "alpha": 1e-4, "schedule": "constant"},
    {"hidden": [128, 64], "lr": 0.001, "alpha": 1e-4, "schedule": "constant"},
)


class Epoch(NamedTuple):
    """What is told after an epoch of training.

    Args:
        number: From 1 on.
        val_accuracy: Share of the images held out that are read rightly, 0 to 1.
    """

    number: int
    val_accuracy: float


def trials(count: int) -> list[dict[str, Any]]:
    """Answer the hyperparameters of `count` runs; beyond the first few, with other seeds and smaller rates."""
    return [
        {**_TRIALS[n % len(_TRIALS)], "lr": _TRIALS[n % len(_TRIALS)]["lr"] * 0.5 ** (n // len(_TRIALS)), "seed": n}  # type: ignore[operator]
        for n in range(count)
    ]


def require_sklearn() -> None:
    """Raise where scikit-learn is missing.

    Raises:
        MissingFramework: It is not installed.
    """
    try:
        import sklearn  # noqa: F401 - asked for only
    except ImportError as error:
        raise MissingFramework(
            "scikit-learn is needed for the demo. Install it with: pip install scikit-learn."
        ) from error


def train(trial: dict[str, Any], epochs: int, folder: Path | None = None) -> Iterator[Epoch]:
    """Train one network, and log every step and every epoch of it.

    Args:
        trial: One of `trials`.
        epochs: How often it sees all images.
        folder: The folder that keeps the runs.

    Yields:
        How far it is, after each epoch.

    Raises:
        MissingFramework: scikit-learn is not installed.
    """
    require_sklearn()
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    from ..init import init

    images, labels = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(images / 16.0, labels, test_size=0.25, random_state=0, stratify=labels)
    classes = np.unique(labels)
    order = np.random.default_rng(trial["seed"])
    model = MLPClassifier(
        trial["hidden"], learning_rate_init=trial["lr"], alpha=trial["alpha"], random_state=trial["seed"]
    )
    config = {**trial, "epochs": epochs, "batch_size": BATCH_SIZE, "optimizer": "adam", "model": "MLPClassifier"}
    steps = math.ceil(len(x) / BATCH_SIZE) * epochs
    rate = _schedule(trial, steps)
    with init(
        project=PROJECT, dir=folder, config=config, job_type="train", tags=["demo"], mode="offline",
        reinit="create_new", settings={"silent": True},
    ) as run:  # fmt: skip
        run.define_metric("epoch", hidden=True)
        for part in ("train", "val"):
            run.define_metric(f"{part}/loss", step_metric="epoch", summary="min,last")
            run.define_metric(f"{part}/accuracy", step_metric="epoch", summary="max,last")
        step = 0
        for epoch in range(1, epochs + 1):
            for batch in np.array_split(order.permutation(len(x)), math.ceil(len(x) / BATCH_SIZE)):
                _set_rate(model, rate(step))
                model.partial_fit(x[batch], y[batch], classes=classes)
                run.log({"batch/loss": model.loss_, "batch/learning_rate": rate(step)}, step=step)
                step += 1
            seen, held_out = model.predict_proba(x), model.predict_proba(x_val)
            accuracy = float((held_out.argmax(axis=1) == y_val).mean())
            run.log(
                {
                    "epoch": epoch,
                    "train/loss": log_loss(y, seen, labels=classes),
                    "train/accuracy": (seen.argmax(axis=1) == y).mean(),
                    "val/loss": log_loss(y_val, held_out, labels=classes),
                    "val/accuracy": accuracy,
                    "weights/norm": math.sqrt(sum(float((weights**2).sum()) for weights in model.coefs_)),
                },
                step=step - 1,
            )
            yield Epoch(epoch, accuracy)


def _schedule(trial: dict[str, Any], steps: int) -> Callable[[int], float]:
    lr = float(trial["lr"])
    if trial["schedule"] == "constant":
        return lambda _step: lr
    return lambda step: lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _set_rate(model: Any, rate: float) -> None:
    # scikit-learn has no public way to change the rate between steps; the optimizer has had this name since 0.18.
    optimizer: Any = getattr(model, "_optimizer", None)
    if hasattr(optimizer, "learning_rate_init"):
        optimizer.learning_rate_init = rate
