"""The one way into the stores: exactly once, whatever happens in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracker.core.journal import Entry, entries, scan
from tracker.core.journal.frame import encode_frame
from tracker.core.record import Kind, encode_control
from tracker.server import ingest
from tracker.server.ingest import Ingest
from tracker.server.stores import GapError, Stores, open_stores

from .reference import RUN, START_NS, assert_series, block_of, control, entries_of, numbers, rows_of

FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def a_run(count: int) -> list[Entry]:
    """A run from its first record to its last."""
    rows = rows_of(range(count), [{"a": float(index % 5)} for index in range(count)], first_seq=3)
    return [
        control(Kind.RUN, 1, {"id": "r1", "pid": 1, "name": "quiet"}),
        control(Kind.ALERT, 2, {"title": "t"}),
        *entries_of(rows, 10),
        control(Kind.LOST, count + 3, {"count": 2}),
        control(Kind.EXIT, count + 4, {"state": "finished"}),
    ]


def assert_whole(stores: Stores, count: int) -> None:
    """Assert that all of `a_run` is there, once."""
    detail = stores.metadata.run(RUN)
    assert detail is not None
    assert (detail.run.name, detail.run.state, detail.run.points, detail.lost) == ("quiet", "finished", count, 2)
    assert len(detail.alerts) == 1
    assert Ingest(stores).cursor(RUN, "s") == count + 4
    rows = rows_of(range(count), [{"a": float(index % 5)} for index in range(count)], first_seq=3)
    assert_series(stores.metrics.series(RUN, "a", buckets=7), numbers(rows, "a"))


class Killed(BaseException):
    """The process is gone."""


@FEW
@given(count=st.integers(1, 60), kill_at=st.integers(0, 10), after_metrics=st.booleans())
def test_a_kill_between_the_stores_heals(
    new_stores: Callable[[], Stores], count: int, kill_at: int, after_metrics: bool
) -> None:
    """One store may be ahead of the other; sending again from the answered cursor makes both whole."""
    stores = new_stores()
    records = a_run(count)
    taker = Ingest(stores)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "_GROUP_ENTRIES", 2)
        victim = stores.metadata if after_metrics else stores.metrics
        name = "apply" if after_metrics else "append"
        real, calls = getattr(victim, name), [0]

        def dies(*args: object, **options: object) -> object:
            calls[0] += 1
            if calls[0] > kill_at:
                raise Killed
            return real(*args, **options)

        patch.setattr(victim, name, dies)
        try:
            taker.apply(RUN, "s", records)
        except Killed:
            pass
    cursor = taker.cursor(RUN, "s")
    last = [entry.last_seq if hasattr(entry, "last_seq") else entry.seq for entry in records]
    rest = [entry for entry, seq in zip(records, last, strict=True) if seq > cursor]
    assert taker.apply(RUN, "s", rest) == count + 4

    assert_whole(stores, count)


def test_a_killed_process_leaves_stores_that_go_on(tmp_path: Path) -> None:
    """SIGKILL in the midst of taking records in loses nothing that was acknowledged and doubles nothing."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tracker.core.journal import entries, scan\n"
        "from tracker.core.paths import RunPath\n"
        "from tracker.server.ingest import Ingest\n"
        "from tracker.server.stores import open_stores\n"
        "ingest = Ingest(open_stores(Path(sys.argv[1])))\n"
        "body = Path(sys.argv[2]).read_bytes()\n"
        "for entry in entries(scan(body)):\n"
        "    acked = ingest.apply(RunPath('local', 'digits', 'r1'), 's', [entry])\n"
        "    print(acked, flush=True)\n"
    )
    rows = rows_of(range(20_000), [{"a": float(index % 5)} for index in range(20_000)], first_seq=3)
    frames = [encode_frame(Kind.RUN, 1, encode_control(START_NS, {"id": "r1", "pid": 1, "name": "quiet"}))]
    frames.append(encode_frame(Kind.ALERT, 2, encode_control(START_NS, {"title": "t"})))
    frames += [block_of(rows[low : low + 7]).to_frame() for low in range(0, len(rows), 7)]
    frames.append(encode_frame(Kind.LOST, 20_003, encode_control(START_NS, {"count": 2})))
    frames.append(encode_frame(Kind.EXIT, 20_004, encode_control(START_NS, {"state": "finished"})))
    body = tmp_path / "body"
    body.write_bytes(b"".join(frames))
    acked = 0
    for lines in (3, 40, 200):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "stores"), str(body)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(lines):
            acked = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    stores = open_stores(tmp_path / "stores")
    assert Ingest(stores).cursor(RUN, "s") >= acked
    Ingest(stores).apply(RUN, "s", entries(scan(body.read_bytes())))

    assert_whole(stores, 20_000)
    stores.close()


def test_what_does_not_follow_is_refused_with_the_cursor(stores: Stores) -> None:
    """A gap is told with the number to go on from."""
    records = a_run(30)
    taker = Ingest(stores)
    taker.apply(RUN, "s", records[:3])
    with pytest.raises(GapError) as caught:
        taker.apply(RUN, "s", records[4:])

    assert caught.value.cursor == taker.cursor(RUN, "s") == 12


def test_many_threads_and_readers(stores: Stores) -> None:
    """Runs taken in side by side, read meanwhile, are whole; nobody hears of a locked file."""
    faults: list[BaseException] = []
    taker = Ingest(stores)

    def write(number: int) -> None:
        try:
            path = RUN._replace(id=f"r{number}")
            for entry in a_run(200):
                taker.apply(path, "s", [entry])
                stores.metrics.series(path, "a")
                stores.metadata.runs(filter={"summary.a": {"$gte": 0}})
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert faults == []
    assert [run.points for run in stores.metadata.runs().runs] == [200] * 4
