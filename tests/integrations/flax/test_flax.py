"""A training with Flax and optax, written by `TrackerWriter`; and the writer among clu's."""

from __future__ import annotations

import socket
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import tracker
from tracker.integrations.flax import TrackerWriter


def column(run: Any, key: str) -> dict[int, Any]:
    """Answer a metric by step."""
    return {row["_step"]: row[key] for row in run.history(pandas=False) if row.get(key) is not None}


def test_a_training_is_written(only_run: Any) -> None:
    model, x = linen.Dense(1), jnp.ones((8, 3))
    parameters = model.init(jax.random.key(0), x)
    optimizer = optax.sgd(0.1)
    state = optimizer.init(parameters)

    @jax.jit
    def step(parameters: Any, state: Any) -> Any:
        loss, gradients = jax.value_and_grad(lambda p: jnp.mean((model.apply(p, x) - 1) ** 2))(parameters)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(parameters, updates), state, loss, optax.global_norm(gradients)

    expected = {}
    with TrackerWriter(project="ones") as writer:
        writer.write_hparams({"learning_rate": 0.1, "width": np.int64(3)})
        for number in range(1, 6):
            parameters, state, loss, norm = step(parameters, state)
            writer.write_scalars(number, {"train/loss": loss, "train/gradient_norm": norm})
            expected[number] = loss
        writer.write_histograms(5, {"weights": parameters["params"]["kernel"]}, {"weights": 4})
    run = only_run()

    assert run.state == "finished"
    assert run.project == "ones"
    assert run.config["args"] == {"learning_rate": 0.1, "width": 3}
    assert column(run, "train/loss") == {number: float(loss) for number, loss in expected.items()}
    assert sum(column(run, "weights")[5]["values"]) == 3
    assert len(column(run, "weights")[5]["values"]) == 4


def test_media_have_clus_shapes(only_run: Any) -> None:
    with TrackerWriter() as writer:
        writer.write_images(1, {"one": jnp.ones((9, 8, 3)), "many": np.zeros((2, 9, 8, 1))})
        writer.write_videos(1, {"film": jnp.zeros((4, 16, 12, 3), dtype=jnp.uint8)})
        writer.write_audios(1, {"sound": np.zeros((2, 800, 1), dtype="float32")}, sample_rate=8000)
        writer.write_texts(1, {"text": "some words"})
        writer.write_summaries(1, {"number": jnp.float32(2), "array": jnp.arange(6)})
        writer.flush()
    (row,) = only_run().history(pandas=False)

    assert (row["one"]["width"], row["one"]["height"]) == (8, 9)
    assert len(row["many"]) == 2
    assert (row["film"]["width"], row["film"]["height"]) == (12, 16)
    assert [sound["duration"] for sound in row["sound"]] == [0.1, 0.1]
    assert row["text"]["_type"] == "text"
    assert row["number"] == 2
    assert sum(row["array"]["values"]) == 6


def test_values_are_not_waited_for(only_run: Any) -> None:
    """8.1 #6, wandb#3690: logging each batch halved the speed, since each value was waited for."""

    class Late:
        """An array of JAX's that is being computed, as far as we ask it."""

        shape = ()
        device = "TFRT_CPU_0"
        is_done = False

        def copy_to_host_async(self) -> None:
            pass

        def is_ready(self) -> bool:
            return self.is_done

        def item(self) -> float:
            assert self.is_done, "waited for"
            return 4.0

    late = Late()
    writer = TrackerWriter()
    writer.write_scalars(1, {"loss": late})
    late.is_done = True
    writer.close()

    assert column(only_run(), "loss") == {1: 4.0}


def test_a_run_of_the_users_stays_open() -> None:
    with tracker.init() as run:
        writer = TrackerWriter()
        writer.write_scalars(1, {"loss": 1.0})
        writer.close()

        assert run.state == "running"


def test_an_exception_is_a_run_that_failed(only_run: Any) -> None:
    with pytest.raises(ValueError, match="nan"), TrackerWriter() as writer:
        writer.write_scalars(1, {"loss": 1.0})
        raise ValueError("nan")

    assert only_run().state == "failed"


def test_other_processes_write_nothing(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with TrackerWriter() as writer:
        writer.write_scalars(1, {"loss": 1.0})

    assert read() == []


def test_it_stands_among_clus_writers(only_run: Any) -> None:
    metric_writers = pytest.importorskip("clu.metric_writers")
    ours = TrackerWriter()
    writer = metric_writers.MultiWriter([metric_writers.AsyncWriter(ours)])
    for step in range(3):
        writer.write_scalars(step, {"loss": float(step)})
    writer.close()

    assert isinstance(ours, metric_writers.MetricWriter)
    assert not metric_writers.MetricWriter.__abstractmethods__ - set(dir(ours))
    assert column(only_run(), "loss") == {0: 0.0, 1: 1.0, 2: 2.0}
    assert "clu" in sys.modules


def test_the_rank_is_the_one_that_jax_knows(script: Any) -> None:
    """Of any version: the public question whether it knows one came late."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        port = listener.getsockname()[1]
    done = script(
        f"""
        import jax, tracker

        before = tracker.rank()
        jax.distributed.initialize("localhost:{port}", num_processes=1, process_id=0)
        print(before, tracker.rank())
        """,
        RANK="3",
    )

    assert done.stdout.split() == ["3", "0"]
