"""`tf_keras`, the Keras before 3, in a process of its own: with and without Keras 3 beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from .models import column

pytestmark = [
    pytest.mark.skipif(find_spec("tf_keras") is None, reason="tf_keras is not installed"),
    pytest.mark.skipif("KERAS_TESTS_INNER" in os.environ, reason="the same on each backend"),
]

MODEL = """
    import tf_keras, numpy as np
    rate = tf_keras.optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.3, 0.2, 0.1])
    model = tf_keras.Sequential([tf_keras.layers.Dense(2, activation="softmax", input_shape=(4,))])
    model.compile(tf_keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = np.random.rand(30, 4), np.arange(30) % 2
"""


@pytest.mark.parametrize("before", ["", "import keras\n    from tracker.integrations.keras import TrackerCallback"])
def test_each_callback_works_with_a_model_of_the_old_kind(
    before: str, script: Callable[..., Any], only_run: Any
) -> None:
    """8.1 #25, wandb#8525 #7135: a callback of Keras 3 fails with a model of `tf_keras`."""
    code = f"""
    {before}
    {MODEL}
    from tracker.integrations.keras import TrackerEvalCallback, TrackerMetricsLogger, TrackerModelCheckpoint

    callbacks = [
        TrackerMetricsLogger(log_freq="batch"),
        TrackerModelCheckpoint("{{epoch}}.keras", monitor="val_accuracy"),
        TrackerModelCheckpoint("weights", monitor="val_accuracy", save_weights_only=True),
        TrackerEvalCallback(),
    ]
    model.fit(x, y, validation_data=(x[:5], y[:5]), batch_size=10, epochs=2, verbose=0, callbacks=callbacks)
    model.evaluate(x, y, verbose=0)
    assert isinstance(callbacks[1], tf_keras.callbacks.ModelCheckpoint)
    """
    script(code)
    run = only_run()

    assert run.state == "finished"
    assert list(column(run, "batch/loss")) == [1, 2, 3, 4, 5, 6]
    assert column(run, "batch/learning_rate") == pytest.approx({1: 0.3, 2: 0.3, 3: 0.2, 4: 0.2, 5: 0.1, 6: 0.1})
    assert column(run, "epoch/epoch") == {3: 0, 6: 1}
    assert list(column(run, "eval/loss")) == [6]
    assert run.summary["eval/predictions"]["total"] == 10
    assert run.config["optimizer"]["class"] == "SGD"
    assert run.config["model"]["parameters"] == 10
    kept = sorted(artifact.metadata["file"] for artifact in run.logged_artifacts())
    assert kept == ["1.keras", "2.keras", "weights.index", "weights.index"]


def test_autologging_finds_it(script: Callable[..., Any], only_run: Any) -> None:
    train = "model.fit(x, y, validation_split=0.2, batch_size=8, epochs=2, verbose=0); model.evaluate(x, y, verbose=0)"
    script(f"{MODEL}\n    {train}", TRACKER_AUTOLOG="keras")
    run = only_run()

    assert list(column(run, "epoch/val_loss")) == [3, 6]
    assert list(column(run, "eval/loss")) == [6]


def test_steps_per_execution(script: Callable[..., Any], only_run: Any) -> None:
    code = f"""
    {MODEL}
    from tracker.integrations.keras import TrackerMetricsLogger

    model.compile("sgd", "sparse_categorical_crossentropy", steps_per_execution=2)
    model.fit(x, y, batch_size=5, epochs=2, verbose=0, callbacks=[TrackerMetricsLogger(log_freq=2)])
    """
    script(code)

    assert list(column(only_run(), "batch/loss")) == [2, 4, 6, 8, 10, 12]


def test_two_workers_of_a_cluster_are_one_run(script: Callable[..., Any], read: Any) -> None:
    """8.1 #9: N runs on N workers. TensorFlow tells each in TF_CONFIG which one it is."""
    code = """
    import json, os, socket, subprocess, sys

    if "TF_CONFIG" not in os.environ:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0)), other.bind(("127.0.0.1", 0))
            places = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
        workers = []
        for index in range(2):
            config = json.dumps({"cluster": {"worker": places}, "task": {"type": "worker", "index": index}})
            workers.append(subprocess.Popen([sys.executable, __file__], env={**os.environ, "TF_CONFIG": config}))
        sys.exit(max(worker.wait() for worker in workers))

    import numpy as np
    import tensorflow as tf
    import tf_keras

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(4,))])
        model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((np.random.rand(32, 4), np.random.rand(32))).batch(8)
    model.fit(data, epochs=2, verbose=0)  # saving the model at its end would wait for all workers
    model.fit(data, epochs=4, initial_epoch=2, verbose=0, callbacks=[tf_keras.callbacks.ModelCheckpoint("{epoch}.keras")])
    """
    done = script(code, TRACKER_AUTOLOG="keras", TF_CPP_MIN_LOG_LEVEL="3", TRACKER_STRICT="", TRACKER_SILENT="")
    first, second = read()

    assert (first.state, list(column(first, "epoch/loss")), list(first.logged_artifacts())) == ("finished", [4, 8], [])
    assert (second.state, len(column(second, "epoch/loss"))) == ("finished", 2)
    assert sorted(kept.metadata["file"] for kept in second.logged_artifacts()) == ["3.keras", "4.keras"]
    assert done.stderr.count("can only be saved by all of them together") == 1
