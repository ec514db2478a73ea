"""Sync: everything under a folder arrives, whoever else sends or writes it at the same time."""

from __future__ import annotations

import io
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracker
from tracker.core.clock import Clock
from tracker.core.errors import TransportError, UsageError
from tracker.core.journal import Block, Journal
from tracker.core.journal.frame import SEGMENT, SEGMENT_MAGIC
from tracker.core.paths import RunPath, find_runs, streams
from tracker.core.progress import Progress
from tracker.core.record import Kind, encode_control
from tracker.core.sync import leftovers, ship_leftovers, sync
from tracker.core.transport import Batch, MemoryTransport
from tracker.core.values import encode

GONE = f"0123-{2**22 + 1}-abcd"  # a stream of a process that is no more


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Three offline runs of 10, 20 and 30 rows."""
    for count in (10, 20, 30):
        with tracker.init(project="p", id=f"r{count}", dir=tmp_path, mode="offline", settings={"silent": True}) as run:
            for step in range(count):
                run.log({"loss": step / 2})
    yield tmp_path


class Locked(MemoryTransport):
    """A memory transport that many threads may use, as a server is."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def send(self, batch: Batch) -> int:
        with self._lock:
            return super().send(batch)


def counts(transport: MemoryTransport) -> dict[str, int]:
    return {path.id: len(transport.rows(path)) for path in sorted({path for path, _ in transport.cursors})}


def test_every_run_arrives_and_twice_is_once(root: Path) -> None:
    """The second time nothing is sent."""
    transport = MemoryTransport()
    first = sync(root, lambda: transport)
    sent = len(transport.batches)
    second = sync(root, lambda: transport)

    assert counts(transport) == {"r10": 10, "r20": 20, "r30": 30}
    assert (first.runs, first.streams, first.sent_rows, first.left, first.live) == (3, 3, 60, 0, 0)
    assert first.is_complete
    assert second.is_complete
    assert second.sent_rows == second.sent_bytes == 0
    assert all(not batch.body for batch in transport.batches[sent:])
    assert json.loads(json.dumps(first.as_dict()))["sent_rows"] == 60


@pytest.mark.parametrize("under", ["local", "local/p", "local/p/r20"])
def test_any_folder_will_do(root: Path, under: str) -> None:
    """Of an entity, of a project, of one run; the names are the same."""
    transport = MemoryTransport()
    sync([root / under], lambda: transport)

    assert counts(transport) == ({"r20": 20} if under.endswith("r20") else {"r10": 10, "r20": 20, "r30": 30})
    assert {path.project for path, _ in transport.cursors} == {"p"}


def test_no_folder_is_said(tmp_path: Path) -> None:
    """Rather than found to hold nothing."""
    with pytest.raises(UsageError, match="is no folder"):
        sync(tmp_path / "nowhere", MemoryTransport)


def test_a_server_that_lost_everything_is_filled_again(root: Path) -> None:
    """Though our own notes say that it has it."""
    transports = [MemoryTransport(), MemoryTransport()]
    for transport in transports:
        sync(root, lambda transport=transport: transport)  # type: ignore[misc]

    assert counts(transports[1]) == {"r10": 10, "r20": 20, "r30": 30}


def test_many_at_once_are_harmless(root: Path) -> None:
    """Each row arrives once."""
    transport = Locked()
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(sync(root, lambda: transport))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert counts(transport) == {"r10": 10, "r20": 20, "r30": 30}
    assert len(reports) == 6
    assert all(report.is_complete for report in reports)


def test_one_run_that_cannot_be_read_stops_no_other(root: Path) -> None:
    """It is told, with its reason."""
    (folder,) = streams(RunPath("local", "p", "r20").folder(root))
    for path in folder.iterdir():
        if path.suffix in (".seg", ".blk"):
            data = path.read_bytes()
            crc = zlib.crc32(SEGMENT.pack(SEGMENT_MAGIC, 99, SEGMENT.size, 0, 0, 0))
            path.write_bytes(SEGMENT.pack(SEGMENT_MAGIC, 99, SEGMENT.size, crc, 0, 0) + data[SEGMENT.size :])
    said: list[str] = []
    transport = MemoryTransport()
    report = sync(root, lambda: transport, say=said.append)

    assert counts(transport) == {"r10": 10, "r30": 30}
    assert [run for run, _ in report.failed] == ["local/p/r20"]
    assert "format 99" in report.failed[0][1]
    assert not report.is_complete
    assert len(said) == 1


def test_a_server_that_stays_away_is_given_up(root: Path) -> None:
    """With what is left, and why."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    transport = MemoryTransport(faults=[None, *[503] * 1000])
    report = sync(root, lambda: transport, stall_seconds=30, clock=lambda: now[0], sleep=sleep)

    assert report.left > 40
    assert "503" in report.failed[0][1]
    assert 20 < now[0] <= 30
    assert transport.is_closed


def test_a_damaged_tail_is_sent_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    """Behind a stretch of zeros too, where nobody writes any more."""
    journal = Journal(RunPath("local", "p", "r").folder(tmp_path) / "streams", Clock())
    for step in range(30):
        journal.append(Kind.ROW, encode((step, step, {"a": 1})))
    journal.close()
    path = journal.folder / "00000001.seg"
    data = bytearray(path.read_bytes())
    frame = (len(data) - SEGMENT.size) // 30
    data[SEGMENT.size + 10 * frame : SEGMENT.size + 12 * frame] = bytes(2 * frame)
    path.write_bytes(data)
    journal.folder.rename(journal.folder.with_name(GONE))
    transport = MemoryTransport()
    report = sync(tmp_path, lambda: transport)
    lost = [entry for entry in transport.entries() if not isinstance(entry, Block)]

    assert [row["_step"] for row in transport.rows()] == [*range(10), *range(12, 30)]
    assert [entry.body["count"] for entry in lost] == [2]
    assert report.is_complete


def test_following_goes_on_until_all_runs_have_ended(tmp_path: Path) -> None:
    """A run that begins or grows meanwhile is taken along."""
    journal = Journal(RunPath("local", "p", "live").folder(tmp_path) / "streams", Clock())
    transport = Locked()
    reports = []
    thread = threading.Thread(
        target=lambda: reports.append(
            sync(tmp_path, lambda: transport, follow=True, sleep=lambda _seconds: time.sleep(0.01))
        )
    )
    journal.append(Kind.ROW, encode((0, 0, {"a": 1})))
    thread.start()
    for step in range(1, 50):
        journal.append(Kind.ROW, encode((step, step, {"a": 1})))
        time.sleep(0.002)
    assert thread.is_alive()
    journal.append(Kind.EXIT, encode_control(1, {"state": "finished"}))
    thread.join(10)

    assert not thread.is_alive()
    assert [row["_step"] for row in transport.rows()] == list(range(50))
    assert reports[0].live == 0
    journal.close()


def test_a_run_still_being_written_is_told(tmp_path: Path) -> None:
    """Without `--follow` what there is goes, and the rest is announced."""
    journal = Journal(RunPath("local", "p", "live").folder(tmp_path) / "streams", Clock())
    journal.append(Kind.ROW, encode((0, 0, {"a": 1})))
    transport = MemoryTransport()
    report = sync(tmp_path, lambda: transport)

    assert (report.live, report.sent_rows, report.is_complete) == (1, 1, True)
    journal.close()


def test_leftovers_are_what_was_meant_for_the_server_and_has_not_arrived(root: Path) -> None:
    """They go with one call, and are none afterwards."""
    transport = MemoryTransport()
    folders = {path.id: streams(folder)[0] for path, folder in find_runs(root)}
    for name in ("r10", "r20"):
        folders[name] = folders[name].rename(folders[name].with_name(GONE))
        (folders[name] / "acked").write_text("0 memory")
    (folders["r30"] / "acked").write_text("0 memory")  # its process is this one: it has its own sender

    assert {left.path.id for left in leftovers(root)} == {"r10", "r20"}
    assert list(leftovers(root, "http://other")) == []
    sent = ship_leftovers(root, transport)
    assert sent >= 30
    assert counts(transport) == {"r10": 10, "r20": 20}
    assert list(leftovers(root)) == []
    with pytest.raises(TransportError):
        (folders["r10"] / "acked").write_text("0 memory")
        ship_leftovers(root, MemoryTransport(faults=[503]))


def test_the_bar_is_drawn_on_a_terminal_only() -> None:
    """And only for what takes a while; it is wiped at the end."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now = [0.0]
    drawn = {}
    for name, out, is_silent in (
        ("terminal", Terminal(), False),
        ("file", io.StringIO(), False),
        ("silent", Terminal(), True),
    ):
        now[0] = 0.0
        with Progress("sending", "records", 10, out=out, is_silent=is_silent, clock=lambda: now[0]) as bar:
            bar.update(1)
            now[0] = 5.0
            bar.update(4, "p/r")
        drawn[name] = out.getvalue()

    assert "4 of 10 records · p/r" in drawn["terminal"]
    assert "1 of 10" not in drawn["terminal"]
    assert drawn["terminal"].endswith("\r\x1b[2K")
    assert drawn["file"] == drawn["silent"] == ""
    with open(os.devnull, "w") as closed:
        pass
    with Progress("x", "y", out=closed) as bar:
        bar.update(1)
