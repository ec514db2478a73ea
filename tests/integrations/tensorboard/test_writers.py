"""Writers of torch and tensorboardX: what they write is in the run, under its tag, at its step and time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker

torch = pytest.importorskip("torch")
torch_writer = pytest.importorskip("torch.utils.tensorboard").SummaryWriter
x_writer = pytest.importorskip("tensorboardX").SummaryWriter

both = pytest.mark.parametrize("make", [torch_writer, x_writer], ids=["torch", "tensorboardX"])


def rows(run: Any) -> list[dict[str, Any]]:
    """Answer the history without the run's own columns, `_step` apart."""
    return [
        {key: value for key, value in row.items() if key not in ("_timestamp", "_runtime") and value is not None}
        for row in run.history(pandas=False)
    ]


@both
def test_scalars_have_their_steps_and_times(make: Any, tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """8.1 #24 (wandb#613, #1782): nothing is lost, shifted or rounded on the way."""
    with tracker.init(sync_tensorboard=True):
        writer = make(str(tmp_path / "logs"))
        for step in range(100):
            writer.add_scalar("train/loss", 0.1 * step, step, walltime=1_700_000_000 + step)
        writer.add_scalar("train/loss", float("nan"), 100)
        writer.close()

    run = only_run()
    kept = [row for row in run.history(pandas=False) if row["_step"] < 100]
    assert [row["_step"] for row in kept] == list(range(100))
    assert [row["train/loss"] for row in kept] == pytest.approx([0.1 * step for step in range(100)], rel=1e-6)
    assert kept[1]["train/loss"] == 0.1  # not 0.10000000149, which is how a file of 32 bits has it
    assert [row["_timestamp"] for row in kept] == pytest.approx([1_700_000_000 + step for step in range(100)], abs=1e-3)
    assert len(rows(run)) == 101


@both
def test_steps_may_be_late_and_go_backwards(make: Any, tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """8.1 #1, #24 (wandb#3229): with a step that goes back nothing was logged at all."""
    with tracker.init(sync_tensorboard=True) as run:
        writer = make(str(tmp_path))
        run.log({"own": 1})
        for step in (500, 400, 3, 3, 1000):
            writer.add_scalar("loss", step, step)
        writer.add_scalar("unset", 7)
        run.log({"own": 2})
        writer.close()

    assert rows(only_run()) == [
        {"_step": 0, "own": 1, "unset": 7.0},
        {"_step": 1, "own": 2},
        {"_step": 3, "loss": 3.0},
        {"_step": 400, "loss": 400.0},
        {"_step": 500, "loss": 500.0},
        {"_step": 1000, "loss": 1000.0},
    ]


@both
def test_scalars_of_one_chart_are_told_apart(make: Any, tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """8.1 #24 (wandb#3397): add_scalars writes to folders of its own, one for each line."""
    with tracker.init(sync_tensorboard=True):
        writer = make(str(tmp_path / "logs"))
        writer.add_scalars("run/loss", {"train": 1.0, "val": 2.0}, 5)
        writer.add_scalar("lr", 0.5, 5)
        writer.close()

    assert rows(only_run()) == [{"_step": 5, "run/loss/train": 1.0, "run/loss/val": 2.0, "lr": 0.5}]


def test_lines_of_a_chart_are_told_apart_where_the_run_came_later(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    writer = torch_writer(str(tmp_path / "logs"))
    writer.add_scalars("loss", {"train": 1.0, "val": 2.0}, 0)
    with tracker.init(sync_tensorboard=True):
        writer.add_scalars("loss", {"train": 3.0, "val": 4.0}, 1)
        writer.close()

    assert rows(only_run()) == [{"_step": 1, "loss/train": 3.0, "loss/val": 4.0}]


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("logs/train", "logs/validation"), ("train/loss", "validation/loss")),
        (("logs", "logs/eval"), ("loss", "eval/loss")),
        (("logs/a", "logs/b"), ("loss", "b/loss")),
        (("logs/a/b", "other/c"), ("loss", "other/c/loss")),
    ],
)
def test_several_writers_have_names_of_their_own(
    folders: tuple[str, str], expected: tuple[str, str], tmp_path: Path, only_run: Callable[[], Any]
) -> None:
    """8.1 #24 (wandb#2369, #1605): each with a count of steps of its own."""
    with tracker.init(sync_tensorboard=True):
        one, other = (torch_writer(str(tmp_path / folder)) for folder in folders)
        for step in range(3):
            one.add_scalar("loss", step, step * 100)
            other.add_scalar("loss", -step, step)
        one.close()
        other.close()

    kept = rows(only_run())
    assert [(row["_step"], row[expected[0]]) for row in kept if expected[0] in row] == [(0, 0), (100, 1), (200, 2)]
    assert [(row["_step"], row[expected[1]]) for row in kept if expected[1] in row] == [(0, 0), (1, -1), (2, -2)]


def test_the_root_can_be_said(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """W&B's way: patched before the run is begun."""
    tracker.tensorboard.patch(root_logdir=str(tmp_path))
    with tracker.init():
        for name in ("generator", "discriminator"):
            writer = torch_writer(str(tmp_path / "gan" / name))
            writer.add_scalar("loss", 1.0, 0)
            writer.close()

    assert rows(only_run()) == [{"_step": 0, "gan/generator/loss": 1.0, "gan/discriminator/loss": 1.0}]


@both
def test_media_come_as_what_they_are(make: Any, tmp_path: Path, only_run: Callable[[], Any]) -> None:
    values = np.random.default_rng(0).normal(size=1000)
    picture = np.zeros((3, 8, 6), np.uint8)
    picture[0] = 255
    with tracker.init(sync_tensorboard=True):
        writer = make(str(tmp_path))
        writer.add_image("picture", picture, 1)
        writer.add_histogram("weights", values, 1)
        writer.add_text("note", "some **bold** words", 1)
        if make is torch_writer or find_spec("soundfile"):
            writer.add_audio("sound", np.sin(np.arange(800) / 10).astype(np.float32)[None], 1, sample_rate=8000)
        else:
            torch_writer(str(tmp_path)).add_audio("sound", torch.sin(torch.arange(800) / 10)[None], 1, sample_rate=8000)
        writer.add_pr_curve("quality", np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.8, 0.4]), 1)
        writer.close()

    (row,) = rows(only_run())
    assert {key: value["_type"] for key, value in row.items() if key not in ("_step", "note", "quality")} == {
        "picture": "image-file",
        "weights": "histogram",
        "sound": "audio-file",
    }
    assert (row["picture"]["width"], row["picture"]["height"]) == (6, 8)
    assert sum(row["weights"]["values"]) == 1000
    assert row["weights"]["bins"][0] <= values.min() < row["weights"]["bins"][1]
    assert row["weights"]["bins"][-2] < values.max() <= row["weights"]["bins"][-1] + 1e-9
    assert (row["note"]["_type"], row["note"]["text"]) == ("text", "some **bold** words")
    assert (row["sound"]["sample_rate"], row["sound"]["duration"]) == (8000, pytest.approx(0.1))
    assert row["quality"]["_type"] == "plot"


def test_the_pixels_are_those_that_were_written(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    pytest.importorskip("PIL")
    picture = np.random.default_rng(0).integers(0, 255, (3, 4, 5), np.uint8)
    with tracker.init(sync_tensorboard=True):
        writer = torch_writer(str(tmp_path))
        writer.add_image("picture", picture, 1)
        writer.close()

    from io import BytesIO

    from PIL import Image

    run = only_run()
    (row,) = run.history(pandas=False)
    data = run.media("picture")[0].read()
    assert np.array_equal(np.asarray(Image.open(BytesIO(data)).convert("RGB")), picture.transpose(1, 2, 0))
    assert row["picture"]["format"] == "png"


@both
def test_hyperparameters_are_config(make: Any, tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """And their metrics have no time in their name, though the folder has."""
    with tracker.init(sync_tensorboard=True):
        writer = make(str(tmp_path))
        writer.add_scalar("loss", 1.0, 0)
        writer.add_hparams({"lr": 0.1, "name": "adam", "nesterov": True}, {"hparam/accuracy": 0.75})
        writer.close()

    run = only_run()
    assert run.config["hparams"] == {"lr": 0.1, "name": "adam", "nesterov": True}
    assert run.summary["hparam/accuracy"] == 0.75


def test_new_style_scalars_of_torch(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    with tracker.init(sync_tensorboard=True):
        writer = torch_writer(str(tmp_path))
        writer.add_scalar("single", 0.1, 0, new_style=True)
        writer.add_scalar("double", 0.123456789123, 0, new_style=True, double_precision=True)
        writer.close()

    assert rows(only_run()) == [{"_step": 0, "single": 0.1, "double": 0.123456789123}]


def test_writers_of_several_threads(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """8.1 #28: every value of each is there."""
    with tracker.init(sync_tensorboard=True):
        writer = torch_writer(str(tmp_path))

        def work(name: str) -> None:
            for step in range(200):
                writer.add_scalar(name, step, step)

        threads = [threading.Thread(target=work, args=(f"thread/{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.close()

    kept = rows(only_run())
    assert len(kept) == 200
    assert all(row[f"thread/{number}"] == row["_step"] for row in kept for number in range(4))


def test_only_who_asks_is_synced(tmp_path: Path, read: Callable[[], list[Any]]) -> None:
    """8.1 #22, #20: a run without it has nothing of the writers, before and after one with it."""
    for wish in (None, True, None):
        with tracker.init(sync_tensorboard=wish):
            writer = torch_writer(str(tmp_path))
            writer.add_scalar("loss", 1.0, 0)
            writer.close()

    assert [len(rows(run)) for run in read()] == [0, 1, 0]


def test_the_files_are_as_ever(tmp_path: Path) -> None:
    """TensorBoard itself still has all of it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracker.init(sync_tensorboard=True, mode="offline"):
        writer = torch_writer(str(tmp_path))
        for step in range(5):
            writer.add_scalar("loss", step, step)
        writer.close()
    kept = EventAccumulator(str(tmp_path))
    kept.Reload()

    assert [(event.step, event.value) for event in kept.Scalars("loss")] == [(step, step) for step in range(5)]


def test_a_fault_of_ours_does_not_reach_the_loop(
    tmp_path: Path, only_run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7: it is said, and the file is written."""
    monkeypatch.delenv("TRACKER_STRICT")
    with tracker.init(sync_tensorboard=True) as run:
        writer = torch_writer(str(tmp_path))
        monkeypatch.setattr(type(run), "log_at", None)
        writer.add_scalar("loss", 1.0, 0)
        monkeypatch.undo()
        writer.close()

    assert only_run().state == "finished"
    assert "TypeError" in caplog.text


def test_autologging_takes_the_writers_of_a_loop(tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """One run, with what the optimizer has done."""
    from tracker.integrations import torch as ours

    tracker.autolog("tensorboard, torch")
    try:
        writer = torch_writer(str(tmp_path))
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(1, 4):
            optimizer.zero_grad()
            loss = model(torch.ones(1, 2)).sum()
            loss.backward()
            optimizer.step()
            writer.add_scalar("loss", loss.item(), step)
        writer.close()
        tracker.finish()
    finally:
        tracker.autolog("tensorboard, torch", disable=True)
        ours._all.clear()

    kept = rows(only_run())
    assert [row["optimizer/step"] for row in kept] == [1, 2, 3]
    assert [row["loss"] for row in kept] == pytest.approx([row["optimizer/loss"] for row in kept], rel=1e-6)


def test_a_summary_can_be_logged_by_hand(only_run: Callable[[], Any]) -> None:
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=[Summary.Value(tag="loss", simple_value=0.5)])
    with tracker.init():
        tracker.tensorboard.log(summary, step=3)
        tracker.tensorboard.log(summary.SerializeToString(), step=4, namespace="eval")

    assert rows(only_run()) == [{"_step": 3, "loss": 0.5}, {"_step": 4, "eval/loss": 0.5}]


@both
def test_files_of_earlier_trainings_can_be_loaded(make: Any, tmp_path: Path, only_run: Callable[[], Any]) -> None:
    """Steps, times, folders and hyperparameters as they stand in the files; another run that is open has none of it."""
    writer = make(str(tmp_path / "logs"))
    for step in (5, 3):
        writer.add_scalar("loss", step / 2, step, walltime=1_600_000_000 + step)
    writer.add_scalars("rate", {"slow": 0.1, "quick": 0.5}, 3)
    writer.add_histogram("weights", np.arange(100.0), 5)
    writer.add_hparams({"lr": 0.1}, {"hparam/accuracy": 0.5})
    writer.close()
    with pytest.raises(tracker.UsageError, match="no event file"):
        tracker.tensorboard.load(tmp_path / "nothing")
    tracker.tensorboard.load(tmp_path / "logs", project="old", name="first")

    run = only_run()
    assert (run.project, run.name, run.state, run.config["hparams"]) == ("old", "first", "finished", {"lr": 0.1})
    by_step = {row["_step"]: row for row in rows(run)}
    assert {step: row["loss"] for step, row in by_step.items() if "loss" in row} == {3: 1.5, 5: 2.5}
    assert (by_step[3]["rate/slow"], by_step[3]["rate/quick"]) == (0.1, 0.5)
    assert sum(by_step[5]["weights"]["values"]) == 100
    assert run.summary["hparam/accuracy"] == 0.5


def test_a_killed_program_loses_nothing(script: Any, only_run: Callable[[], Any]) -> None:
    """8.1 #12: TensorBoard's own file lacks what its thread has not written yet; the run has all of it."""
    script(
        """
        import os
        import tracker
        from torch.utils.tensorboard import SummaryWriter

        tracker.init(sync_tensorboard=True)
        writer = SummaryWriter("logs")
        for step in range(1000):
            writer.add_scalar("loss", step, step)
        os.kill(os.getpid(), 9)
        """,
        code_expected=-9,
    )

    kept = rows(only_run())
    assert [row["loss"] for row in kept] == list(range(1000))
