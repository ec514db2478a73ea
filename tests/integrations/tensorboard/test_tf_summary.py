"""`tf.summary` writes behind Python's back: what it wrote is in the run all the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf = pytest.importorskip("tensorflow")


def rows(run: Any) -> list[dict[str, Any]]:
    """Answer the history without the run's own columns, `_step` apart."""
    return [
        {key: value for key, value in row.items() if key not in ("_timestamp", "_runtime") and value is not None}
        for row in run.history(pandas=False)
    ]


def test_two_writers_with_steps_of_their_own(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """8.1 #24: eager and compiled code, late steps, nothing flushed by the user; all of it is there at the end."""
    with tracker.init(sync_tensorboard=True):
        train = tf.summary.create_file_writer(str(tmp_path / "train"))
        test = tf.summary.create_file_writer(str(tmp_path / "test"))

        @tf.function
        def step(number: Any) -> None:
            with train.as_default():
                tf.summary.scalar("loss", tf.cast(number, tf.float32) / 10, step=number)

        for number in range(20):
            step(tf.constant(number, tf.int64))
        with test.as_default():
            for number in (500, 3, 200):
                tf.summary.scalar("loss", number, step=number)

    kept = rows(only_run())
    assert {row["_step"]: row["train/loss"] for row in kept if "train/loss" in row} == {
        n: pytest.approx(n / 10) for n in range(20)
    }
    assert {row["_step"]: row["test/loss"] for row in kept if "test/loss" in row} == {3: 3, 200: 200, 500: 500}


def test_times_are_those_of_the_writing(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracker.init(sync_tensorboard=True):
        with tf.summary.create_file_writer(str(tmp_path)).as_default():
            tf.summary.scalar("loss", 1.0, step=7)
    kept = EventAccumulator(str(tmp_path))
    kept.Reload()

    (row,) = only_run().history(pandas=False)
    assert row["_timestamp"] == pytest.approx(kept.Tensors("loss")[0].wall_time, abs=1e-4)


def test_media_come_as_what_they_are(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    with tracker.init(sync_tensorboard=True):
        with tf.summary.create_file_writer(str(tmp_path)).as_default():
            tf.summary.image("pictures", np.zeros((2, 4, 6, 3)), step=1)
            tf.summary.histogram("weights", values, step=1)
            tf.summary.histogram("same", np.ones(10), step=1)
            tf.summary.text("note", "hello", step=1)
            tf.summary.text("grid", [["a", "b"], ["1", "2"]], step=1)
            tf.summary.audio("sound", np.zeros((1, 800, 1), np.float32), 8000, step=1)
            tf.summary.scalar("whole", tf.constant(5, tf.int64), step=1)

    (row,) = rows(only_run())
    assert [one["_type"] for one in row["pictures"]] == ["image-file"] * 2
    assert (row["pictures"][0]["width"], row["pictures"][0]["height"]) == (6, 4)
    assert sum(row["weights"]["values"]) == 1000
    assert (row["weights"]["bins"][0], row["weights"]["bins"][-1]) == pytest.approx((values.min(), values.max()))
    assert (sum(row["same"]["values"]), row["same"]["bins"][0] < 1 < row["same"]["bins"][-1]) == (10, True)
    assert row["note"]["text"] == "hello"
    assert row["grid"]["text"].splitlines() == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
    assert (row["sound"]["_type"], row["sound"]["sample_rate"]) == ("audio-file", 8000)
    assert row["whole"] == 5


def test_what_was_in_the_folder_before_is_not_taken(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """8.1 #24 (wandb#2190): an earlier training's files beside the new ones."""
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        tf.summary.scalar("loss", 1.0, step=1)
    with tracker.init(sync_tensorboard=True):
        with tf.summary.create_file_writer(str(tmp_path)).as_default():
            tf.summary.scalar("loss", 2.0, step=2)

    assert rows(only_run()) == [{"_step": 2, "loss": 2.0}]


def test_it_is_read_while_training_goes_on(tmp_path: Path, runs: Path) -> None:
    """What is on disk is in the run soon: a killed training loses nothing that TensorBoard has."""
    import time

    from tracker.testing import read_runs

    with tracker.init(sync_tensorboard=True):
        writer = tf.summary.create_file_writer(str(tmp_path))
        with writer.as_default():
            tf.summary.scalar("loss", 1.5, step=3)
        writer.flush()
        limit = time.monotonic() + 60
        while not read_runs(runs)[0]["history"] and time.monotonic() < limit:
            time.sleep(0.05)

        assert [row["loss"] for row in read_runs(runs)[0]["history"]] == [1.5]


def test_a_loop_of_tensorflows_needs_nothing_but_the_variable(script: Any, only_run: Callable[[], Any]) -> None:
    """No import of ours; a run, ended as the program does."""
    script(
        """
        import tensorflow as tf

        writer = tf.summary.create_file_writer("logs")
        weight = tf.Variable(1.0)
        with writer.as_default():
            for step in range(5):
                with tf.GradientTape() as tape:
                    loss = weight**2
                weight.assign_sub(0.1 * tape.gradient(loss, weight))
                tf.summary.scalar("loss", loss, step=step)
        """,
        TRACKER_AUTOLOG="1",
    )

    run = only_run()
    assert run.state == "finished"
    assert [row["_step"] for row in rows(run)] == [0, 1, 2, 3, 4]
    assert [row["loss"] for row in rows(run)] == pytest.approx([0.8 ** (2 * step) for step in range(5)], rel=1e-5)
