"""Rows that were noted down elsewhere first, what is to be done at a run's end, and rooms that a setting turns on."""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker.core import capture
from tracker.testing import read_runs


def begin(root: Path, **arguments: Any) -> tracker.Run:
    """Begin a run under a folder."""
    return tracker.init(dir=root, settings={"silent": True}, **arguments)


def test_a_row_has_the_step_and_the_time_it_was_noted_at(tmp_path: Path) -> None:
    """Steps in any order; the rows without one go on as if nothing had been there."""
    with begin(tmp_path) as run:
        run.log({"own": 1})
        run.log_at({"loss": 0.5}, step=700, time=1_700_000_000.25)
        run.log_at({"loss": np.float32(0.25)}, step=np.int64(3))
        run.log({"own": 2})

    history = read_runs(tmp_path)[0]["history"]
    assert [(row["_step"], row.get("own"), row.get("loss")) for row in history] == [
        (0, 1, None), (1, 2, None), (3, None, 0.25), (700, None, 0.5),
    ]  # fmt: skip
    assert history[-1]["_timestamp"] == pytest.approx(1_700_000_000.25, abs=1e-5)
    assert abs(history[2]["_timestamp"] - history[0]["_timestamp"]) < 60


def test_what_cannot_be_kept_of_such_a_row_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One bad value harms only itself, a bad step its row."""
    with tracker.init(dir=tmp_path) as run:
        run.log_at({"good": 1.5, "bad": object()}, step=1)
        run.log_at({"lost": 1}, step=float("nan"))

    (row,) = read_runs(tmp_path)[0]["history"]
    assert (row["_step"], row["good"]) == (1, 1.5)
    said = caplog.text
    assert "'bad' is a object, which is no value that can be stored" in said
    assert "'step' is a float that is no finite number; the row is left out." in said


def test_media_go_with_such_a_row(tmp_path: Path) -> None:
    """They have the row's step, and its time."""
    with begin(tmp_path) as run:
        run.log_at({"picture": tracker.Image(np.zeros((2, 2), np.uint8)), "loss": 1.0}, step=9, time=1_700_000_000.5)

    (row,) = read_runs(tmp_path)[0]["history"]
    assert (row["_step"], row["_timestamp"], row["loss"]) == (9, pytest.approx(1_700_000_000.5, abs=1e-5), 1.0)
    assert row["picture"]["_type"] == "image-file"


def test_the_end_is_told_while_the_run_still_takes_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last one asked for comes first; one that raises harms neither the others nor the end."""
    order = []
    with tracker.init(dir=tmp_path) as run:
        run.on_finish(lambda: order.append("first") or run.log_at({"last": 1}, step=5))  # type: ignore[func-returns-value]

        def broken() -> None:
            order.append("broken")
            raise ValueError("no")

        run.on_finish(broken)

    assert order == ["broken", "first"]
    (kept,) = read_runs(tmp_path)
    assert (kept["status"], kept["history"][-1]["last"]) == ("finished", 1)
    assert "broken did not end as it should (ValueError: no)" in caplog.text


def test_artifacts_can_be_logged_then(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"weights")
    with tracker.init(dir=tmp_path) as run:
        run.on_finish(lambda: run.log_artifact(str(file), name="last", type="model"))

    run.log_artifact(str(file), name="later")  # refused: the run has ended

    with tracker.Api(dir=tmp_path) as api:
        assert [artifact.name for artifact in api.run(run.path).logged_artifacts()] == ["last:v0"]


def test_a_setting_turns_on_another_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called with the run and its settings where the setting is on, for a run that is gone on with as well."""
    called: list[tuple[str, bool, int]] = []

    def start(run: tracker.Run, settings: Any) -> Any:
        called.append((run.id, settings.sync_tensorboard, threading.get_ident()))
        return lambda: called.append((run.id, False, 0))

    monkeypatch.setitem(sys.modules, "a_room", types.ModuleType("a_room"))
    monkeypatch.setattr(sys.modules["a_room"], "start", start, raising=False)
    monkeypatch.setitem(capture.EXTENSIONS, "sync_tensorboard", "a_room:start")
    begin(tmp_path, id="off").finish()
    with begin(tmp_path, id="later") as run:
        assert called == []
        assert begin(tmp_path, sync_tensorboard=True) is run
    with begin(tmp_path, id="older", tensorboard=True):  # W&B's older name
        pass

    here = threading.get_ident()
    assert called == [("later", True, here), ("later", False, 0), ("older", True, here), ("older", False, 0)]
