"""Tables of predictions: the default one, and those of subclasses."""

from __future__ import annotations

import random
import sys
from typing import Any

import keras
import numpy as np
import pytest

import tracker
from tracker.integrations._keras_samples import of_data
from tracker.integrations.keras import TrackerCallback, TrackerEvalCallback

from .models import column, data, fit, model

KEY = "eval/predictions"


def rows(run: Any, key: str = KEY) -> list[dict[str, Any]]:
    """Answer the rows of a table of the run."""
    return list(run.table(key).rows())


def test_validation_rows_are_shown_after_each_epoch(only_run: Any) -> None:
    """8.1 #23: only the last step's table is seen."""
    x, y = data()
    made = model()
    fit(made, TrackerEvalCallback(), validation_data=(x[:5], y[:5]))
    tracker.finish()
    found = rows(only_run())

    assert [row["step"] for row in found] == [3] * 5 + [6] * 5
    assert [row["row"] for row in found] == [*range(5), *range(5)]
    answers = made.predict(x[:5], verbose=0)
    for row, place in zip(found[5:], range(5), strict=True):
        assert row["input"] == pytest.approx(x[place].tolist())
        assert row["label"] == y[place]
        assert row["prediction"] == answers[place].argmax()
        assert row["score"] == pytest.approx(answers[place].max(), rel=1e-5)
        assert row["loss"] == pytest.approx(-np.log(answers[place][y[place]]), rel=1e-4)


def test_a_split_shows_the_rows_that_keras_splits_off(only_run: Any) -> None:
    _, y = data()
    fit(model(), TrackerCallback(), validation_split=0.2, epochs=1)
    tracker.finish()
    found = rows(only_run())

    assert [row["row"] for row in found] == list(range(24, 30))
    assert [row["label"] for row in found] == y[24:].tolist()


def test_of_many_rows_a_hundred_are_shown(only_run: Any) -> None:
    """mlflow#5461: input examples hold the user's data in memory."""
    x, y = data(1000)
    callback = TrackerEvalCallback()
    fit(model(), callback, validation_data=(x, y), epochs=1)
    tracker.finish()
    found = rows(only_run())

    assert [row["row"] for row in found] == list(range(0, 1000, 10))
    assert callback._predictions._sample is None  # let go of


def test_no_validation_is_no_table_and_no_question(only_run: Any) -> None:
    class Asked(keras.Model):
        def predict(self, *args: Any, **kwargs: Any) -> Any:
            raise AssertionError

    inputs = keras.Input((4,))
    made = Asked(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    made.compile("sgd", "sparse_categorical_crossentropy")
    fit(made, TrackerCallback())

    assert KEY not in only_run().summary


def test_seldom_validations_are_seldom_tables(only_run: Any) -> None:
    fit(model(), TrackerEvalCallback(), validation_split=0.2, validation_freq=2, epochs=4)
    tracker.finish()

    assert sorted({row["step"] for row in rows(only_run())}) == [6, 12]


def test_rows_of_ones_own_are_shown(only_run: Any) -> None:
    x, y = data()
    fit(model(), TrackerEvalCallback(validation_data=(x[7:9], y[7:9])))
    tracker.finish()

    assert [row["label"] for row in rows(only_run())] == y[7:9].tolist() * 2


@pytest.mark.parametrize(
    ("loss", "units", "activation", "labels", "columns"),
    [
        ("mse", 1, None, np.linspace(0, 1, 30), {"label", "prediction", "loss"}),
        ("binary_crossentropy", 1, "sigmoid", np.arange(30) % 2, {"label", "prediction", "score", "loss"}),
        (
            "categorical_crossentropy",
            3,
            "softmax",
            np.eye(3)[np.arange(30) % 3],
            {"label", "prediction", "score", "loss"},
        ),
        ("mse", 3, None, np.ones((30, 3)), {"label", "prediction", "loss"}),
    ],
)
def test_what_is_shown_follows_the_task(
    loss: str, units: int, activation: str | None, labels: Any, columns: set[str], only_run: Any
) -> None:
    x, _ = data()
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation=activation)])
    made.compile("sgd", loss)
    made.fit(x, labels, validation_data=(x, labels), verbose=0, callbacks=[TrackerEvalCallback()])
    tracker.finish()
    first = rows(only_run())[1]

    assert set(first) == {"step", "row", "input"} | columns
    if activation:
        assert first["label"] == 1
        assert isinstance(first["prediction"], int)


def test_logits_become_scores(only_run: Any) -> None:
    made = model(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    made.layers[-1].activation = keras.activations.linear
    fit(made, TrackerEvalCallback(), validation_split=0.2)
    tracker.finish()

    assert all(1 / 3 <= row["score"] <= 1 for row in rows(only_run()))


def test_pictures_are_pictures(only_run: Any) -> None:
    made = keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    made.compile("sgd", "mse")
    x = np.random.default_rng(0).random((4, 9, 9, 1), dtype="float32")
    made.fit(x, np.ones((4, 2)), validation_split=0.5, verbose=0, callbacks=[TrackerEvalCallback()])
    tracker.finish()

    assert all(row["input"].type == "image-file" for row in rows(only_run()))


def test_several_inputs_and_outputs_have_a_column_each(only_run: Any) -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((1,), name="b")
    first = keras.layers.Dense(3, activation="softmax", name="kind")(a)
    second = keras.layers.Dense(1, name="size")(b)
    made = keras.Model({"a": a, "b": b}, {"kind": first, "size": second})
    made.compile("sgd", {"kind": "sparse_categorical_crossentropy", "size": "mse"})
    x, y = data()
    inputs, labels = {"a": x, "b": x[:, :1]}, {"kind": y, "size": x[:, 0]}
    made.fit(inputs, labels, validation_data=(inputs, labels), verbose=0, callbacks=[TrackerEvalCallback()])
    tracker.finish()

    assert {"input/a", "input/b", "label/kind", "prediction/kind", "prediction/size"} <= set(rows(only_run())[0])


def test_data_sets_that_can_be_read_again_are_read(only_run: Any) -> None:
    x, y = data()

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> Any:
            random.random()
            np.random.random()
            return x[index * 10 : index * 10 + 10], y[index * 10 : index * 10 + 10]

    random.seed(1)
    np.random.seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    sample = of_data(Batches(), 15)

    assert sample is not None
    np.testing.assert_array_equal(sample.x, x[:15])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states  # type: ignore[index]
    fit(model(), TrackerEvalCallback(), validation_data=Batches())
    tracker.finish()
    assert [row["label"] for row in rows(only_run())] == y.tolist() * 2


def test_loaders_of_torch_are_read_without_touching_their_order() -> None:
    torch = pytest.importorskip("torch")
    x, y = data()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=10, shuffle=True
    )
    torch.manual_seed(0)
    state = torch.get_rng_state()
    sample = of_data(loader, 10)

    assert sample is not None
    np.testing.assert_array_equal(sample.x, x[::3])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="imports TensorFlow")
def test_data_sets_of_tensorflow_are_read() -> None:
    import tensorflow

    x, y = data()
    sample = of_data(tensorflow.data.Dataset.from_tensor_slices((x, y)).batch(8), 20)

    assert sample is not None
    np.testing.assert_array_equal(sample.x, x[:20])
    np.testing.assert_array_equal(sample.y, y[:20])


def test_texts_are_texts() -> None:
    sample = of_data((np.array([["good"], ["bad"]], dtype=object), np.array([1, 0])), 10)
    from tracker.integrations._keras_samples import cell

    assert sample is not None
    assert [cell(value) for value in sample.x] == ["good", "bad"]


def test_a_subclass_makes_its_own_tables(only_run: Any) -> None:
    class Own(TrackerEvalCallback):  # type: ignore[misc, valid-type]
        def __init__(self, x: Any, y: Any) -> None:
            super().__init__(data_table_columns=["index", "label"], pred_table_columns=["epoch", "label", "guess"])
            self.x, self.y = x, y

        def add_ground_truth(self, logs: Any = None) -> None:
            for index, label in enumerate(self.y):
                self.data_table.add_data(index, int(label))

        def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
            answers = self.model.predict(self.x, verbose=0).argmax(axis=-1)
            for index in self.data_table_ref.get_index():
                self.pred_table.add_data(epoch, self.data_table_ref.data[index][1], int(answers[index]))

    x, y = data()
    made = model()
    fit(made, Own(x[:3], y[:3]))
    tracker.finish()
    run = only_run()

    assert [row["label"] for row in rows(run, "val_data")] == y[:3].tolist()
    answers = made.predict(x[:3], verbose=0).argmax(axis=-1).tolist()
    found = rows(run, "eval_data")
    assert [row["epoch"] for row in found] == [1, 1, 1]
    assert [row["guess"] for row in found] == answers
    assert list(column(run, "eval_data")) == [3, 6]


def test_tables_can_be_left_out(only_run: Any) -> None:
    fit(model(), TrackerCallback(log_tables=False), validation_split=0.2)

    assert KEY not in only_run().summary
    assert "keras" in sys.modules
