"""Trainings that were not told of us, patches, processes without TensorFlow, examples of trouble at the start."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import keras
import pytest

import tracker
from tracker.integrations import keras as ours
from tracker.integrations import patching
from tracker.integrations.keras import TrackerCallback, TrackerMetricsLogger

from .models import column, data, fit, model

is_inner = pytest.mark.skipif("KERAS_TESTS_INNER" in os.environ, reason="the same on each backend")

TRAIN = """
    import keras, numpy as np
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((30, 4)), np.ones(30)
    model.fit(x, y, validation_data=(x[:5], y[:5]), batch_size=10, epochs=2, verbose=0)
    print(model.evaluate(x, y, verbose=0))
"""


@pytest.fixture
def autologging() -> None:
    """As `tracker.autolog()` leaves Keras."""
    tracker.autolog("keras")
    ours._patch()


@is_inner
def test_an_unmodified_script_is_logged(script: Callable[..., Any], only_run: Any) -> None:
    done = script(TRAIN, TRACKER_AUTOLOG="1")
    run = only_run()

    assert run.state == "finished"
    assert column(run, "epoch/epoch") == {3: 0, 6: 1}
    assert column(run, "eval/loss") == {6: pytest.approx(float(done.stdout))}
    assert run.summary["eval/predictions"]["total"] == 10
    assert [artifact.type for artifact in run.logged_artifacts()] == ["model"]


@is_inner
def test_nothing_is_logged_unless_asked_for(script: Callable[..., Any], read: Any) -> None:
    """8.1 #22: enabled without being asked."""
    script(TRAIN)

    assert read() == []


@is_inner
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_tensorflow_is_not_needed_with_other_backends(backend: str, script: Callable[..., Any], only_run: Any) -> None:
    """8.1 #25, wandb#7186: requires TensorFlow with the torch backend."""
    pytest.importorskip(backend)
    block = """
    import sys

    sys.modules["tensorflow"] = None  # as if they were not installed
    """
    idiom = """
    from tracker.integrations.keras import TrackerCallback
    model.fit(x, y, validation_split=0.2, epochs=1, verbose=0, callbacks=[TrackerCallback(log_freq="batch")])
    assert sys.modules["tensorflow"] is None
    """
    script(block + TRAIN + idiom, KERAS_BACKEND=backend)
    run = only_run()

    assert run.state == "finished"
    assert column(run, "batch/loss")


@is_inner
def test_a_script_that_fails_is_a_run_that_failed(script: Callable[..., Any], only_run: Any) -> None:
    """8.1 #14."""
    failing = "callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)], "
    train = TRAIN.replace("batch_size=10", failing + "batch_size=10")
    done = script(train, TRACKER_AUTOLOG="keras", code_expected=1)
    run = only_run()

    assert "ZeroDivisionError" in done.stderr
    assert run.state == "failed"


@is_inner
def test_what_fails_before_it_trains_has_no_run(script: Callable[..., Any], read: Any) -> None:
    script(TRAIN.replace("np.ones(30)", "np.ones(29)"), TRACKER_AUTOLOG="keras", code_expected=1)
    # Keras looks at the data before it makes its callbacks: there was no training yet.
    assert read() == []


def test_fit_is_logged_once_and_predict_not_at_all(autologging: None, only_run: Any) -> None:
    """mlflow#1757 #2095 #2277: `fit_generator` is logged twice, once for the `fit` in it."""
    made = model()
    fit(made, validation_split=0.2)
    made.predict(data()[0], verbose=0)
    run = only_run()

    assert list(column(run, "epoch/loss")) == [3, 6]
    assert len(list(run.history(pandas=False))) == 2


def test_a_callback_of_ours_is_enough(autologging: None, only_run: Any) -> None:
    fit(model(), TrackerMetricsLogger(log_freq="batch"))

    assert list(column(only_run(), "batch/loss")) == [1, 2, 3, 4, 5, 6]


def test_an_error_is_told_and_the_next_training_has_a_run_of_its_own(autologging: None, read: Any) -> None:
    class Failing(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model(), Failing())
    fit(model())
    tracker.finish()

    states = [run.state for run in read()]
    assert len(states) == 2
    assert states[0] in ("failed", "killed")
    assert states[1] == "finished"


def test_a_training_within_a_run_of_the_users_is_part_of_it(autologging: None, only_run: Any) -> None:
    with tracker.init(project="digits") as run:
        fit(model())
        fit(model(), initial_epoch=2, epochs=3)
        assert run.state == "running"

    assert only_run().project == "digits"


def test_it_can_be_turned_off(autologging: None, read: Any) -> None:
    tracker.autolog("keras", disable=True)
    fit(model())

    assert read() == []
    assert not [patch for patch in patching.patched() if patch.framework == "keras"]


def test_callbacks_work_where_nothing_is_patched(only_run: Any) -> None:
    callback = TrackerCallback(log_freq="batch")
    patching.unwrap("keras")
    fit(model(), callback, validation_split=0.2)

    assert list(column(only_run(), "epoch/val_loss")) == [3, 6]


def test_others_patches_of_fit_are_kept(autologging: None, only_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mlflow puts a function of its own around `Model.fit`, before us or after us."""
    seen = []
    inner = keras.Model.fit

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append("theirs")
        return inner(self, *args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", theirs)
    fit(model())

    assert seen == ["theirs"]
    assert list(column(only_run(), "epoch/loss")) == [3, 6]


def test_async_dispatch_is_what_keras_decides(autologging: None) -> None:
    decided = []

    class Look(keras.callbacks.CallbackList):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            decided.append(self._async_train)

    made = model()
    listed = Look([], add_history=True, model=made, epochs=1, steps=3, verbose=0)

    assert any(type(callback).__name__ == "TrackerCallback" for callback in listed.callbacks)
    assert decided == [keras.backend.backend() != "tensorflow"]
