"""SIGKILL at a random moment: nothing that was acknowledged is lost, doubled or changed."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from .helpers import LIMIT_SECONDS, environment, lost, numbers, program, rows, rows_of, state, stream_folders

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

# Acknowledges each returned log() in a shared map, which outlives the process as the journal does.
LOGGER = """
    import mmap, struct
    board = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 16)
    pace = float(sys.argv[3])
    text = "y" * int(sys.argv[4])
    run = begin()
    number = 0
    while True:
        run.log({"n": number, "half": number / 2, "text": text})
        number += 1
        board[0:8] = struct.pack("<q", number)  # one store: pack_into would write zeros first
        if pace:
            time.sleep(pace)
"""


class Board:
    """The shared map in which a program acknowledges."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(16))
        self.path = path
        self._map = mmap.mmap(os.open(path, os.O_RDWR), 16)

    @property
    def acknowledged(self) -> int:
        return int(struct.unpack_from("<q", self._map, 0)[0])

    @property
    def mark(self) -> int:
        return int(struct.unpack_from("<q", self._map, 8)[0])


def wait_for(condition, process: subprocess.Popen) -> None:
    limit = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.001)


def kill_after(seconds: float, code: str, folder: Path, *arguments: str, **more: str) -> int:
    folder.mkdir()
    board = Board(folder.parent / f"{folder.name}.board")
    process = subprocess.Popen(
        [*program(code), str(folder), str(board.path), *arguments],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: board.acknowledged > 0, process)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    assert process.wait(LIMIT_SECONDS) == -signal.SIGKILL
    return board.acknowledged


@pytest.mark.parametrize("path", ["mapped", "written"])
@pytest.mark.parametrize(("pace", "size"), [("0", "0"), ("0.001", "2000")], ids=["flat-out", "paced"])
def test_an_acknowledged_point_survives_sigkill(tmp_path, is_long, path, pace, size):
    """Eight kills, two hundred in the long form: lost 0, doubled 0, wrong 0, and every journal is readable."""
    more = {"BATTERY_WRITTEN": "1"} if path == "written" else {}
    for kill in range(50 if is_long else 2):
        chance = random.Random(f"{path} {pace} {kill}")
        folder = tmp_path / f"kill-{kill}"
        seconds = chance.random() ** 2 * (1.5 if is_long or float(pace) else 0.15)
        acknowledged = kill_after(seconds, LOGGER, folder, pace, size, **more)
        found = rows(folder)
        counts = Counter(row["n"] for row in found)

        assert [n for n in range(acknowledged) if n not in counts] == []
        assert [n for n, count in counts.items() if count > 1] == []
        assert len(counts) <= acknowledged + 1
        assert [
            row for row in found if (row["half"], row["_step"], len(row["text"])) != (row["n"] / 2, row["n"], int(size))
        ] == []
        assert lost(folder) == 0
        assert state(folder) == "crashed"


FINISHER = """
    import mmap, struct
    board = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 16)
    run = begin()
    for number in range(8000):
        run.log({"n": number, "text": "y" * 400})
    board[0:8] = struct.pack("<q", 8000)
    run.finish()
    board[8:16] = struct.pack("<q", 1)
    time.sleep(60)
"""


def test_sigkill_within_finish_loses_nothing(tmp_path, is_long):
    """Killed while segments are closed, synced and sealed: every record is there once."""
    for kill in range(40 if is_long else 3):
        folder = tmp_path / f"kill-{kill}"
        folder.mkdir()
        board = Board(tmp_path / f"board-{kill}")
        process = subprocess.Popen([*program(FINISHER), str(folder), str(board.path)], env=environment())
        wait_for(lambda board=board: board.acknowledged == 8000, process)
        time.sleep(random.Random(kill).random() * 0.1)
        process.kill()
        process.wait(LIMIT_SECONDS)

        assert numbers(folder) == list(range(8000))
        assert lost(folder) == 0
        assert state(folder) == "finished" if board.mark else state(folder) in ("finished", "crashed")


WORKERS = """
    import mmap, struct
    board = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 64)
    run = begin()
    run.log({"n": 0})
    for worker in range(1, 5):
        if os.fork() == 0:
            number = 0
            while True:
                run.log({"n": worker * 10**6 + number})
                number += 1
                board[8 * worker : 8 * worker + 8] = struct.pack("<q", number)
    board[0:8] = struct.pack("<q", os.getpid())
    time.sleep(60)
"""


def test_killing_the_whole_family_loses_nothing(tmp_path):
    """A process and its four forked workers, all logging, all killed at once: each one's points are there."""
    board_path = tmp_path / "board"
    board_path.write_bytes(bytes(64))
    board = mmap.mmap(os.open(board_path, os.O_RDWR), 64)
    folder = tmp_path / "runs"
    process = subprocess.Popen(
        [*program(WORKERS), str(folder), str(board_path)], env=environment(), start_new_session=True
    )
    wait_for(lambda: all(struct.unpack_from("<5q", board)), process)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(LIMIT_SECONDS)
    found = set(numbers(folder))
    _, *acknowledged = struct.unpack_from("<5q", board)

    # What looks after the console writes a stream of its own, where something was printed.
    assert sum(bool(rows_of(stream)) for _, stream in stream_folders(folder)) == 5
    for worker, count in enumerate(acknowledged, 1):
        assert {worker * 10**6 + number for number in range(count)} <= found
    assert len(found) == len(numbers(folder))
