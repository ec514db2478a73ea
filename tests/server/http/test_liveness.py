"""When a run is told to be dead, and to be back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker.core.paths import RunPath
from tracker.core.record import Control, Kind
from tracker.server.index import Index
from tracker.server.stores import open_stores
from tracker.server.watching.liveness import HOST, Liveness

PATH = RunPath("local", "demo", "one")
STREAM = "018bcfe56800-7-abcd"
BEGUN = 1_700_000_000 * 10**9


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    stores = open_stores(tmp_path)
    yield Index(stores)
    stores.close()


def begin(index: Index, host: str, pid: int) -> None:
    body = {"id": PATH.id, "name": "n", "host": host, "pid": pid}
    index.apply(PATH, STREAM, [Control(Kind.RUN, 1, BEGUN, body)], arrived_ns=BEGUN)


def test_silence_is_told_once_and_so_is_the_return(index: Index) -> None:
    told: list[set[str]] = []
    now = [BEGUN]
    liveness = Liveness(
        index.metadata, lambda path, parts, is_project=False: told.append(parts), is_local=False, now_ns=lambda: now[0]
    )
    begin(index, "elsewhere", 1)
    for seconds in (0, 20, 44, 46, 50, 60):
        now[0] = BEGUN + seconds * 10**9
        liveness.sweep()
    silent = list(told)
    index.apply(PATH, STREAM, [Control(Kind.HEARTBEAT, 2, BEGUN, {})], arrived_ns=now[0])
    liveness.sweep()
    liveness.sweep()

    assert silent == [{"state"}]
    assert told == [{"state"}, {"state"}]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_dead_process_of_this_machine_is_found_at_once(index: Index) -> None:
    told: list[RunPath] = []
    liveness = Liveness(
        index.metadata, lambda path, parts, is_project=False: told.append(path), is_local=True, now_ns=lambda: BEGUN
    )
    begin(index, HOST, dead_pid())
    liveness.sweep()
    detail = index.metadata.run(PATH, now_ns=BEGUN)

    assert told == [PATH]
    assert detail is not None
    assert detail.run.state == "crashed"


@pytest.mark.parametrize(("host", "is_local"), [("elsewhere", True), (HOST, False)])
def test_what_cannot_be_seen_from_here_is_not_judged(index: Index, host: str, is_local: bool) -> None:
    liveness = Liveness(index.metadata, lambda *_, **__: None, is_local=is_local, now_ns=lambda: BEGUN)
    begin(index, host, dead_pid())
    liveness.sweep()
    detail = index.metadata.run(PATH, now_ns=BEGUN)

    assert detail is not None
    assert detail.run.state == "running"


def test_a_pid_that_says_nothing_here_is_not_asked_again(index: Index) -> None:
    """A container has this machine's name and its own processes: it is heard after it was found dead."""
    liveness = Liveness(index.metadata, lambda *_, **__: None, is_local=True, now_ns=lambda: BEGUN)
    begin(index, HOST, dead_pid())
    liveness.sweep()
    index.apply(PATH, STREAM, [Control(Kind.HEARTBEAT, 2, BEGUN + 1, {})], arrived_ns=BEGUN + 1)
    for _ in range(3):
        liveness.sweep()
    detail = index.metadata.run(PATH, now_ns=BEGUN + 2)

    assert detail is not None
    assert detail.run.state == "running"


def test_this_process_is_alive(index: Index) -> None:
    liveness = Liveness(index.metadata, lambda *_, **__: None, is_local=True, now_ns=lambda: BEGUN)
    begin(index, HOST, os.getpid())
    liveness.sweep()
    detail = index.metadata.run(PATH, now_ns=BEGUN)

    assert detail is not None
    assert detail.run.state == "running"
