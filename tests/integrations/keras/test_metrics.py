"""Metrics, steps, learning rates, config: what a training with our callbacks leaves behind."""

from __future__ import annotations

import pickle
import sys
import threading
from typing import Any

import keras
import numpy as np
import pytest

import tracker
from tracker.integrations.keras import TrackerCallback, TrackerMetricsLogger

from .models import BATCH, ROWS, column, data, fit, model

many_per_call = pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras has no steps_per_execution there")


def test_epochs_stand_at_the_steps_of_the_optimizer(only_run: Any) -> None:
    history = fit(model(), TrackerMetricsLogger(), validation_split=0.2, batch_size=8).history
    run = only_run()

    assert column(run, "epoch/loss") == {3: history["loss"][0], 6: history["loss"][1]}
    assert column(run, "epoch/val_accuracy") == {3: history["val_accuracy"][0], 6: history["val_accuracy"][1]}
    assert column(run, "epoch/epoch") == {3: 0, 6: 1}
    assert not column(run, "batch/loss")


def test_each_batch_is_logged_where_that_is_asked_for(only_run: Any) -> None:
    """wandb#606 #4198: metrics of single batches, beside those of epochs."""
    history = fit(model(), TrackerMetricsLogger(log_freq="batch")).history
    run = only_run()

    losses = column(run, "batch/loss")
    assert list(losses) == [1, 2, 3, 4, 5, 6]
    assert losses[3] == pytest.approx(history["loss"][0])  # Keras' own running mean
    assert column(run, "batch/batch_step") == {step: step for step in range(1, 7)}


@pytest.mark.parametrize(("log_freq", "steps"), [(2, [1, 3, 5]), (4, [1, 5]), (100, [1])])
def test_every_nth_batch_counts_over_epochs(log_freq: int, steps: list[int], only_run: Any) -> None:
    """mlflow#4194: a training shorter than the interval is logged too: its first batch, and its epochs."""
    fit(model(), TrackerMetricsLogger(log_freq=log_freq))
    run = only_run()

    assert list(column(run, "batch/loss")) == steps
    assert list(column(run, "epoch/loss")) == [3, 6]


@many_per_call
@pytest.mark.parametrize(("per_execution", "steps"), [(2, [2, 3, 5, 6]), (3, [3, 6])])
def test_steps_per_execution_neither_drops_nor_miscounts(per_execution: int, steps: list[int], only_run: Any) -> None:
    """Hooks come with the batches 1, 3, 5 then: an even `log_freq` that looked at their remainder logged nothing."""
    fit(model(steps_per_execution=per_execution), TrackerMetricsLogger(log_freq="batch"))

    assert list(column(only_run(), "batch/loss")) == steps


@many_per_call
def test_an_even_log_freq_meets_odd_batches(only_run: Any) -> None:
    x, y = data(80)
    fit(model(steps_per_execution=2), TrackerMetricsLogger(log_freq=4), x=x, y=y)

    assert list(column(only_run(), "batch/loss")) == [2, 6, 10, 14]


def test_a_second_fit_goes_on_counting(only_run: Any) -> None:
    made, callback = model(), TrackerMetricsLogger(log_freq="batch")
    fit(made, callback, epochs=1)
    fit(made, callback, epochs=1)

    assert list(column(only_run(), "batch/loss")) == [1, 2, 3, 4, 5, 6]


def test_a_model_compiled_anew_goes_on_behind_what_is_there(only_run: Any) -> None:
    made, callback = model(), TrackerMetricsLogger()
    fit(made, callback, epochs=1)
    made.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    fit(made, callback, epochs=1)

    assert list(column(only_run(), "epoch/loss")) == [3, 6]


def test_initial_epoch_without_the_optimizers_state_is_counted_in(only_run: Any) -> None:
    fit(model(), TrackerMetricsLogger(log_freq="batch"), initial_epoch=4, epochs=5)
    run = only_run()

    assert list(column(run, "batch/loss")) == [13, 14, 15]
    assert column(run, "epoch/epoch") == {15: 4}


def test_a_restored_optimizer_knows_its_step(tmp_path: Any, only_run: Any) -> None:
    made = model()
    fit(made)
    made.save(tmp_path / "saved.keras")
    fit(keras.models.load_model(tmp_path / "saved.keras"), TrackerMetricsLogger(), initial_epoch=2, epochs=3)

    assert list(column(only_run(), "epoch/loss")) == [9]


def test_initial_global_step_is_believed(only_run: Any) -> None:
    fit(model(), TrackerMetricsLogger(initial_global_step=1000), epochs=1)

    assert list(column(only_run(), "epoch/loss")) == [1003]


def test_gradient_accumulation_does_not_hide_batches(only_run: Any) -> None:
    fit(model(optimizer=keras.optimizers.SGD(gradient_accumulation_steps=3)), TrackerMetricsLogger(log_freq="batch"))

    assert list(column(only_run(), "batch/loss")) == [1, 2, 3, 4, 5, 6]


class Elsewhere(keras.Model):
    """Counts in no optimizer that Keras knows of."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.layers.Dense(3, activation="softmax")

    def call(self, x: Any) -> Any:
        return self.inner(x)


def test_a_model_that_counts_nowhere_is_counted_by_its_batches(only_run: Any) -> None:
    made = Elsewhere()
    made.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    made.build((None, 4))
    made.trainable = False  # nothing for the optimizer to do
    x, y = data()
    made.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[TrackerMetricsLogger()])

    assert list(column(only_run(), "epoch/loss")) == [3, 6]


# --- learning rates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cosine", "piecewise", "own"])
def test_a_schedule_is_asked_at_each_step(kind: str, only_run: Any) -> None:
    schedules = keras.optimizers.schedules

    class Own(schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> Any:
            return 0.5 / (1.0 + keras.ops.cast(step, "float32"))

        def get_config(self) -> dict[str, Any]:
            return {}

    made = {
        "cosine": lambda: schedules.CosineDecay(0.1, 10, warmup_target=0.2, warmup_steps=2),
        "piecewise": lambda: schedules.PiecewiseConstantDecay([2, 4], [0.3, 0.2, 0.1]),
        "own": Own,
    }[kind]()
    fit(model(optimizer=keras.optimizers.SGD(made)), TrackerMetricsLogger(log_freq="batch"))
    run = only_run()

    expected = {step: float(made(step)) for step in range(1, 7)}
    assert column(run, "batch/learning_rate") == pytest.approx(expected)
    assert column(run, "epoch/learning_rate") == pytest.approx({3: expected[3], 6: expected[6]})


def test_rates_that_callbacks_set_are_seen(only_run: Any) -> None:
    decay = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))
    fit(model(), decay, TrackerMetricsLogger())

    assert column(only_run(), "epoch/learning_rate") == pytest.approx({3: 0.1, 6: 0.05})


# --- config and summary -------------------------------------------------------------------------------


def test_config_says_how_it_was_compiled_and_trained(only_run: Any) -> None:
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 10), clipnorm=1.0)
    fit(model(optimizer=optimizer), TrackerMetricsLogger(project="digits", config={"seed": 3}))
    run = only_run()

    assert run.project == "digits"
    assert run.config["seed"] == 3
    assert run.config["args"]["epochs"] == 2
    assert run.config["args"]["batch_size"] == BATCH
    assert not {"x", "y", "callbacks"} & set(run.config["args"])
    assert run.config["model"]["parameters"] == 15
    assert run.config["model"]["layers"] == ["Dense dense"] or run.config["model"]["layers"][0].startswith("Dense")
    assert run.config["optimizer"]["class"] == "Adam"
    assert run.config["optimizer"]["clipnorm"] == 1.0
    assert run.config["optimizer"]["learning_rate"]["class_name"] == "CosineDecay"
    assert run.config["compile"]["loss"] == "sparse_categorical_crossentropy"
    assert run.config["compile"]["metrics"] == ["accuracy"]


def test_other_arguments_at_the_next_fit_are_taken(only_run: Any) -> None:
    """mlflow#7947 #7402: "Changing param values is not allowed"."""
    made, callback = model(), TrackerMetricsLogger()
    fit(made, callback, epochs=1)
    fit(made, callback, epochs=2, batch_size=15)

    assert only_run().config["args"]["batch_size"] == 15


def test_a_model_of_many_layers_is_no_trouble(only_run: Any) -> None:
    """mlflow#3032: a summary of more than 5000 characters."""
    made = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(3) for _ in range(600))])
    made.compile(optimizer="sgd", loss="mse")
    made.optimizer.build(made.trainable_variables)
    callback = TrackerMetricsLogger()
    callback.set_model(made)
    callback.set_params({"epochs": 1})
    callback.on_train_begin()
    callback.on_train_end()
    config = only_run().config["model"]

    assert len(config["layers"]) == 500
    assert config["layers_in_all"] == 600


def test_the_summary_has_the_best_value_beside_the_last(only_run: Any) -> None:
    """8.1 #25, wandb#2756: the summary shows the last value, not the best."""
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 if epoch < 4 else 50.0)
    history = fit(model(), rates, TrackerMetricsLogger(), validation_split=0.4, epochs=6).history
    summary = only_run().summary

    assert summary["epoch/val_loss"] == history["val_loss"][-1]
    assert summary["epoch/val_loss.best"] == min(history["val_loss"])
    assert summary["epoch/val_accuracy.best"] == max(history["val_accuracy"])
    assert min(history["val_loss"]) != history["val_loss"][-1]


# --- async dispatch -----------------------------------------------------------------------------------


def test_keras_still_calls_hooks_from_other_threads() -> None:
    """8.1 #6, wandb#4269: a logger of batches makes training wait for each of them."""
    given = [TrackerMetricsLogger(log_freq="batch"), TrackerCallback(log_freq=1)]

    assert all(callback.async_safe for callback in given)
    assert keras.callbacks.CallbackList(given)._async_train is keras.callbacks.CallbackList([])._async_train


def test_a_subclass_with_its_own_hook_is_called_in_order() -> None:
    class Own(TrackerMetricsLogger):  # type: ignore[misc, valid-type]
        seen: list[int] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_train_batch_end(batch, logs)
            self.seen.append(batch)

    own = Own(log_freq="batch")

    assert own.async_safe is False
    fit(model(), own, epochs=1)
    assert own.seen == [0, 1, 2]


def test_batches_in_any_order_and_from_many_threads_are_all_kept(only_run: Any) -> None:
    callback = TrackerMetricsLogger(log_freq="batch")
    callback.set_model(model())
    callback.set_params({"epochs": 1, "steps": 400})
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    batches = list(range(400))
    np.random.default_rng(0).shuffle(batches)
    threads = [
        threading.Thread(
            target=lambda mine: [callback.on_train_batch_end(batch, {"loss": float(batch)}) for batch in mine],
            args=(batches[first::8],),
        )
        for first in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    callback.on_epoch_end(0, {"loss": 1.0})
    callback.on_train_end()

    assert column(only_run(), "batch/loss") == {batch + 1: float(batch) for batch in range(400)}


# --- whose run, and what may go wrong -------------------------------------------------------------------


def test_evaluate_after_fit_goes_into_the_same_run(only_run: Any) -> None:
    made = model()
    fit(made, TrackerMetricsLogger(), validation_split=0.2)
    x, y = data()
    found = made.evaluate(x, y, verbose=0, return_dict=True)

    run = only_run()
    assert column(run, "eval/loss") == {6: found["loss"]}  # once: the validations of `fit` are its epochs' own
    assert column(run, "eval/accuracy") == {6: found["accuracy"]}


def test_evaluate_alone_with_the_callback_has_a_run(only_run: Any) -> None:
    x, y = data()
    found = model().evaluate(x, y, verbose=0, callbacks=[TrackerCallback()], return_dict=True)

    assert column(only_run(), "eval/loss") == {0: found["loss"]}


def test_a_run_of_the_users_stays_open() -> None:
    with tracker.init() as run:
        fit(model(), TrackerCallback())
        assert run.state == "running"
        run.log({"mine": 1})


def test_two_trainings_are_two_runs(read: Any) -> None:
    """8.1 #20: a second training in a loop or notebook goes on in the first one's run."""
    for _ in range(2):
        fit(model(), TrackerCallback())
    tracker.finish()
    runs = read()

    assert [run.state for run in runs] == ["finished", "finished"]
    assert [list(column(run, "epoch/loss")) for run in runs] == [[3, 6], [3, 6]]


def test_a_training_that_fails_is_a_run_that_failed(only_run: Any) -> None:
    """8.1 #14: statuses are wrong; Keras tells callbacks nothing of an error."""

    class Failing(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise ValueError("no more data")

    with pytest.raises(ValueError, match="no more data"):
        fit(model(), TrackerCallback(), Failing())

    assert only_run().state == "failed"


def test_faults_of_ours_do_not_reach_the_training(only_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """8.1 #7: training crashes because tracking does."""
    monkeypatch.delenv("TRACKER_STRICT")

    class Odd(keras.optimizers.SGD):
        def get_config(self) -> dict[str, Any]:
            raise RuntimeError("cannot be told")

    history = fit(model(optimizer=Odd(0.01)), TrackerCallback(), validation_split=0.2)

    assert len(history.history["loss"]) == 2
    assert list(column(only_run(), "epoch/loss")) == [3, 6]


def test_other_ranks_train_without_a_run(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """8.1 #9: N runs under DDP."""
    monkeypatch.setenv("RANK", "1")
    fit(model(), TrackerCallback(log_freq="batch"), validation_split=0.2)

    assert read() == []


def test_training_is_the_same_with_and_without_us() -> None:
    def weights(*callbacks: Any) -> list[Any]:
        made = model(optimizer="adam")
        fit(made, *callbacks, validation_split=0.2)
        return list(made.get_weights())

    for ours, theirs in zip(weights(TrackerCallback(log_freq="batch")), weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_generators_are_not_consumed(only_run: Any) -> None:
    """mlflow#5461 #5510 #5652 #7798: examples are taken out of the user's generators, and kept."""

    def batches() -> Any:
        dice = np.random.default_rng(1)  # no two batches are the same
        while True:
            yield dice.random((BATCH, 4), dtype="float32"), dice.integers(0, 3, BATCH)

    def history(*callbacks: Any) -> Any:
        ends = {"steps_per_epoch": 3, "validation_data": batches(), "validation_steps": 2}
        return fit(model(), *callbacks, x=batches(), y=None, batch_size=None, **ends).history

    assert history(TrackerCallback(log_freq="batch")) == history()
    tracker.finish()
    run = only_run()
    assert list(column(run, "batch/loss")) == [1, 2, 3, 4, 5, 6]
    assert list(column(run, "epoch/loss")) == [3, 6]  # mlflow#1757: each once


def test_a_generator_of_unknown_length_is_counted(only_run: Any) -> None:
    x, y = data()

    def batches() -> Any:
        for first in range(0, ROWS, BATCH):
            yield x[first : first + BATCH], y[first : first + BATCH]

    fit(model(), TrackerMetricsLogger(log_freq="batch"), x=batches(), y=None, batch_size=None, epochs=1)
    run = only_run()

    assert list(column(run, "batch/loss")) == [1, 2, 3]
    assert list(column(run, "epoch/loss")) == [3]


def test_callbacks_can_be_pickled() -> None:
    callback = pickle.loads(pickle.dumps(TrackerCallback(log_freq="batch", project="digits")))

    assert type(callback) is TrackerCallback
    fit(model(), callback)
    assert tracker.run is not None
    assert tracker.run.project == "digits"


def test_a_log_freq_that_means_nothing_is_refused() -> None:
    with pytest.raises(tracker.UsageError, match="'epoch', 'batch', or a number"):
        TrackerMetricsLogger(log_freq="step")


def test_keras_is_imported_by_who_uses_it() -> None:
    assert "keras" in sys.modules


def test_an_evaluation_by_a_callback_of_the_users_is_logged_too(only_run: Any) -> None:
    x, y = data()
    found = []

    class Test(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            found.append(self.model.evaluate(x[:5], y[:5], verbose=0, return_dict=True)["loss"])

    fit(model(), Test(), TrackerMetricsLogger(), validation_split=0.2)
    run = only_run()

    assert column(run, "eval/loss") == {3: found[0], 6: found[1]}
    assert list(column(run, "epoch/val_loss")) == [3, 6]
