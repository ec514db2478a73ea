"""How rows with media are taken apart, and how what waits is bounded."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.blobs import FolderBlobs
from tracker.core.media import worker
from tracker.core.media.base import digests_in
from tracker.core.media.held import Held, Spill
from tracker.testing import read_runs

from .conftest import Logged
from .gate import Gate

Log = Callable[..., Logged]


def test_numbers_of_the_same_call_wait_for_nothing(tmp_path: Path) -> None:
    """They can be read while their medium still waits; its row has the same step and the same time."""
    is_open = threading.Event()
    run = tracker.init(project="media", dir=tmp_path)
    run.log({"loss": 0.5, "sample": Gate(b"abc", is_open)}, step=7)
    (before,) = read_runs(tmp_path)
    is_open.set()
    run.finish()
    (after,) = read_runs(tmp_path)

    ((first,), (last,)) = before["history"], after["history"]
    assert (first["_step"], first["loss"]) == (7, 0.5)
    assert "sample" not in first
    assert last == {**first, "sample": last["sample"]}
    assert last["sample"]["size"] == 3


def test_media_are_found_wherever_a_row_holds_them(log: Log) -> None:
    """In nested dicts, whose names are dotted, and in lists, which are one value."""
    logged = log(
        {
            "loss": 1.0,
            "val": {"acc": 0.5, "sample": tracker.Text("a"), "deep": {"pair": [tracker.Text("b"), tracker.Text("c")]}},
            "triple": (tracker.Text("d"),),
        }
    )

    (row,) = logged.rows
    assert {key: row[key] for key in ("_step", "loss", "val.acc")} == {"_step": 0, "loss": 1.0, "val.acc": 0.5}
    assert row["val.sample"]["text"] == "a"
    assert [item["text"] for item in row["val.deep.pair"]] == ["b", "c"]
    assert [item["text"] for item in row["triple"]] == ["d"]


@dataclasses.dataclass
class Pair:
    """A medium where nobody looks for one."""

    name: str
    sample: tracker.Text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (tracker.Histogram([]), "'bad' is empty: its shape is (0,)."),
        (Gate(b"x", fault="is broken late"), "'bad' at step 0 is broken late."),
        ([tracker.Text("kept"), 3], "'bad' has a int in its list of media (item 1)"),
        ([Gate(b"x", fault="is broken late")], "'bad' at step 0 has an item 0 that is broken late."),
        (Pair("a", tracker.Text("b")), "'bad' is a medium inside of something else."),
        ([{"sample": tracker.Text("b")}], "'bad' has a dict in its list of media (item 0)"),
    ],
    ids=["at once", "late", "mixed list", "item", "dataclass", "dict in list"],
)  # fmt: skip
def test_what_is_broken_harms_only_itself(log: Log, caplog: pytest.LogCaptureFixture, value: Any, said: str) -> None:
    """It is named with the reason; the rest of the row is kept, the next rows too."""
    logged = log({"loss": 1.0, "bad": value, "good": tracker.Text("fine")}, {"loss": 2.0})

    assert said in caplog.text
    first, second = logged.rows
    assert (first["loss"], first["good"]["text"], second["loss"]) == (1.0, "fine", 2.0)


def test_strictness_raises_where_the_medium_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the key."""
    monkeypatch.setenv("TRACKER_STRICT", "1")
    with tracker.init(project="media", dir=tmp_path) as run:
        with pytest.raises(tracker.UsageError, match="'weights' is empty"):
            run.log({"loss": 1.0, "weights": tracker.Histogram([])})

    assert read_runs(tmp_path)[0]["history"][0]["loss"] == 1.0


def test_the_oldest_wait_on_disk_when_memory_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them are kept, nothing of the waiting room is left on disk."""
    monkeypatch.setattr(worker, "MAX_MEDIA_MEMORY_BYTES", 3000)
    is_open = threading.Event()
    samples = [Gate(bytes([number]) * 1000, is_open) for number in range(10)]
    run = tracker.init(project="media", dir=tmp_path, id="a")
    for number, sample in enumerate(samples):
        run.log({"sample": sample, "number": number})
    in_memory = [held.in_memory for sample in samples for held in sample.snapshot().held()]  # type: ignore[union-attr]
    is_open.set()
    run.finish()

    assert in_memory[-3:] == [1000] * 3
    assert sum(in_memory) <= 4000  # the one that is being encoded has its bytes in hand
    logged = Logged(tmp_path)
    assert [logged.bytes_of(row["sample"]) for row in logged.rows] == [bytes([n]) * 1000 for n in range(10)]
    assert not caplog.text.count("lost")
    assert {path.parent.name for path in (logged.folder / "blobs").rglob("*") if path.is_file()} == {
        row["sample"]["digest"][:2] for row in logged.rows
    }


def test_a_full_disk_costs_media_and_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What finds room nowhere is counted, and said."""
    monkeypatch.setattr(worker, "MAX_MEDIA_MEMORY_BYTES", 3000)
    monkeypatch.setattr("tracker.core.media.held.MAX_SPILL_BYTES", 2000)
    is_open = threading.Event()
    run = tracker.init(project="media", dir=tmp_path, id="a")
    for number in range(10):
        run.log({"sample": Gate(bytes([number]) * 1000, is_open), "number": number})
    is_open.set()
    run.finish()

    rows = Logged(tmp_path).rows
    kept = [row for row in rows if "sample" in row]
    assert [row["number"] for row in rows] == list(range(10))
    assert 5 <= len(kept) <= 6
    assert f"{10 - len(kept)} of the media that were logged are lost" in caplog.text


def test_spilled_bytes_come_back_and_give_their_room_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file goes with the last of what is in it."""
    monkeypatch.setattr("tracker.core.media.held.SPILL_FILE_BYTES", 10)
    monkeypatch.setattr("tracker.core.media.held.MAX_SPILL_BYTES", 30)
    spill = Spill(lambda: tmp_path)
    held = [Held(bytes([number]) * 10) for number in range(3)]
    for one in held:
        one.spill(spill)
    assert [bytes(one.read()) for one in held] == [bytes([number]) * 10 for number in range(3)]
    assert not any(one.in_memory for one in held)
    with pytest.raises(OSError, match="wait on disk already"):
        Held(b"more").spill(spill)
    del held[0], one
    gc.collect()
    Held(b"more").spill(spill)


def test_a_forked_child_logs_media_too(tmp_path: Path) -> None:
    """It has no thread of ours, and encodes where it logs."""
    code = f"""
import os, tracker
run = tracker.init(project="media", dir={str(tmp_path)!r})
run.log({{"parent": tracker.Text("x" * 9000)}})
child = os.fork()
if child == 0:
    run.log({{"child": tracker.Text("y" * 9000)}})
    os._exit(0)
os.waitpid(child, 0)
run.finish()
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)

    logged = Logged(tmp_path)
    assert logged.bytes_of(logged.value("parent")) == b"x" * 9000
    assert logged.bytes_of(logged.value("child")) == b"y" * 9000


def test_uploads_are_told_what_was_encoded(tmp_path: Path) -> None:
    """Every blob of a reference, once."""
    told: list[tuple[str, list[str]]] = []

    class Delivery:
        @property
        def uploads(self) -> Any:
            return self

        def blobs(self, scope: str, digests: list[str]) -> None:
            told.append((scope, digests))

        def finish(self, *_: Any) -> None:
            return

    with tracker.init(project="media", dir=tmp_path) as run:
        run._delivery = Delivery()  # type: ignore[assignment] # all that is asked of it
        run.log({"sample": [Gate(b"a"), Gate(b"b"), Gate(b"a")]})

    value = Logged(tmp_path).value("sample")
    assert told == [("run", [value[0]["digest"], value[1]["digest"]])]


def test_digests_are_found_wherever_they_are() -> None:
    """Of thumbnails and masks as well; the whole of several parts is no blob."""
    reference = {
        "digest": "a", "thumb": {"digest": "b"}, "masks": {"x": {"digest": "c"}},
        "video": {"digest": "whole", "parts": [["d", 1], ["e", 2]]}, "items": [{"digest": "f"}],
    }  # fmt: skip

    assert list(digests_in(reference)) == ["a", "b", "c", "d", "e", "f"]


def test_a_run_without_media_has_no_thread_for_them(tmp_path: Path) -> None:
    """Nor does it load the room."""
    code = f"""
import sys, threading, tracker
run = tracker.init(project="media", dir={str(tmp_path)!r})
run.log({{"loss": 1.0, "name": "a"}})
assert not any("media" in thread.name for thread in threading.enumerate()), threading.enumerate()
loaded = [name for name in sys.modules if name.startswith(("tracker.core.media", "tracker.core.blobs", "numpy"))]
assert not loaded, loaded
run.finish()
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_a_killed_process_loses_no_numbers(tmp_path: Path) -> None:
    """Nor media that were encoded; what waited on disk leaves nothing behind."""
    code = f"""
import os, signal, threading
import tracker
from tracker.core.media import worker
from gate import Gate
worker.MAX_MEDIA_MEMORY_BYTES = 2000
alone = {{"disable_code": True, "disable_git": True, "disable_meta": True}}  # whose files would be there, too
run = tracker.init(project="media", dir={str(tmp_path / "runs")!r}, settings=alone)
run.log({{"first": Gate(b"abc"), "loss": 0.0}})
run.flush()
never = threading.Event()
for step in range(10):
    run.log({{"sample": Gate(bytes([step]) * 1000, never), "loss": float(step)}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False)

    assert done.returncode == -signal.SIGKILL
    logged = Logged(tmp_path / "runs")
    assert [row["loss"] for row in logged.rows] == [0.0, *map(float, range(10))]
    assert logged.bytes_of(logged.value("first")) == b"abc"
    files = [path.name for path in (logged.folder / "blobs").rglob("*") if path.is_file()]
    assert files == [logged.value("first")["digest"]]


def test_the_end_waits_as_long_as_something_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And gives up, saying so, when nothing is."""
    monkeypatch.setattr("tracker.core.ending.FINISH_MEDIA_SECONDS", 0.2)
    never = threading.Event()
    run = tracker.init(project="media", dir=tmp_path)
    run.log({"good": Gate(b"abc"), "loss": 1.0})
    run.log({"stuck": Gate(b"abc", never), "loss": 2.0})
    run.log({"behind": Gate(b"abc"), "loss": 3.0})
    run.finish()

    assert "2 of the media that were logged are not kept: none was encoded for 0.2 s." in caplog.text
    logged = Logged(tmp_path)
    assert [row["loss"] for row in logged.rows] == [1.0, 2.0, 3.0]
    assert logged.run["status"] == "finished"
    assert logged.bytes_of(logged.value("good")) == b"abc"
    never.set()  # what comes too late is not written behind the end
    assert not [row for row in Logged(tmp_path).rows if "stuck" in row or "behind" in row]


def test_a_power_cut_takes_nothing_that_was_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`flush` returns when the disk has the blobs as well as the rows."""
    synced: list[set[str]] = []
    real = FolderBlobs.sync

    def sync(self: FolderBlobs) -> None:
        synced.append({stored.digest for stored in self.walk()})
        real(self)

    monkeypatch.setattr(FolderBlobs, "sync", sync)
    run = tracker.init(project="media", dir=tmp_path)
    run.log({"sample": Gate(b"abc")})
    run.flush()
    assert Logged(tmp_path).value("sample")["digest"] in synced[-1]
    run.finish()


def test_a_process_that_is_terminated_does_not_wait_for_ever(tmp_path: Path) -> None:
    """What was encoded is kept, the end is written, and what was not is said."""
    code = f"""
import os, signal, threading
import tracker
from tracker.core import ending
from gate import Gate
ending.DYING_MEDIA_SECONDS = 0.2
run = tracker.init(project="media", dir={str(tmp_path / "runs")!r})
run.log({{"first": Gate(b"abc"), "loss": 0.0}})
run.log({{"second": Gate(b"abc", threading.Event()), "loss": 1.0}})
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip

    assert done.returncode == -signal.SIGTERM
    assert "1 of the media that were logged are not kept: none was encoded for 0.2 s." in done.stderr
    logged = Logged(tmp_path / "runs")
    assert logged.run["status"] == "killed"
    assert [row["loss"] for row in logged.rows] == [0.0, 1.0]
    assert logged.bytes_of(logged.value("first")) == b"abc"
