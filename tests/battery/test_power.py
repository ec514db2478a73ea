"""Power that fails, and file systems that die: ext4 on a loop device, dropped or broken at once by its shutdown call."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .helpers import LIMIT_SECONDS, environment, lost, numbers, program, rows, run_program
from .test_kill import Board, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a Linux file system is made to fail")
both = pytest.mark.parametrize("more", [{}, {"BATTERY_WRITTEN": "1"}], ids=["mapped", "written"])

SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): EXT4_IOC_SHUTDOWN
GO_DOWN_SYNCED, GO_DOWN_UNSYNCED = 0, 2  # flush the log first; drop all that is not on disk


class Disk:
    """A small ext4 of our own."""

    def __init__(self, image: Path, mount) -> None:
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("there is no mkfs.ext4")
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
        self.image, self._mount = image, mount
        self.place = mount("-o", "loop", str(image))

    def fail(self, how: int) -> None:
        """Break it: from here on all is refused, and what was not on disk may be gone."""
        fd = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("<I", how))
        except OSError as error:
            pytest.skip(f"the file system cannot be shut down here: {error}")
        finally:
            os.close(fd)

    def mount_again(self) -> Path:
        """Have the power back: what the disk had is there."""
        for _ in range(500):  # what the killed program has left running needs a moment to end
            if subprocess.run(["umount", str(self.place)], check=False, capture_output=True).returncode == 0:
                break
            time.sleep(0.02)
        else:
            raise AssertionError(f"{self.place} is still in use")
        self.place = self._mount("-o", "loop", str(self.image))
        return self.place


@pytest.fixture
def disk(tmp_path, mount) -> Disk:
    return Disk(tmp_path / "image", mount)


FLUSHER = """
    import mmap, struct
    board = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 16)
    text = "y" * int(sys.argv[3])
    run = begin()
    number = 0
    while True:
        run.log({"n": number, "time": time.monotonic(), "text": text})
        number += 1
        board[8:16] = struct.pack("<q", number)
        if number % 500 == 0 and sys.argv[4] == "flush":
            run.flush()
            board[0:8] = struct.pack("<q", number)
        time.sleep(0.0005)
"""


def cut_power(disk: Disk, tmp_path: Path, name: str, size: int, mode: str, seconds: float, more) -> Board:
    board = Board(tmp_path / name)
    process = subprocess.Popen(
        [*program(FLUSHER), str(disk.place), str(board.path), str(size), mode], env=environment(**more)
    )
    try:
        wait_for(lambda: (board.acknowledged if mode == "flush" else board.mark) > 0, process)
        time.sleep(seconds)
        disk.fail(GO_DOWN_UNSYNCED)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_SECONDS)
    return board


@both
@pytest.mark.parametrize("size", [0, 5000], ids=["short", "long"])
def test_nothing_behind_flush_is_lost_in_a_power_cut(disk, tmp_path, is_long, more, size):
    """What `flush` returned for is on disk, in however many segments, and what is read is right."""
    for cut in range(10 if is_long else 1):
        board = cut_power(disk, tmp_path, f"board-{cut}", size, "flush", 0.1 + cut / 20, more)
        place = disk.mount_again()
        found = numbers(place)

        assert found[: board.acknowledged] == list(range(board.acknowledged))
        assert found == list(range(len(found)))
        shutil.rmtree(place / "local")


@both
def test_a_power_cut_costs_a_second_at_most(disk, tmp_path, more):
    """Without `flush`, all is there but what was logged since the last sync, by the program's own clock."""
    board = cut_power(disk, tmp_path, "board", 100, "log", 3.0, more)
    found = sorted(rows(disk.mount_again()), key=lambda row: row["n"])

    assert [row["n"] for row in found] == list(range(len(found)))
    # At least what was logged in the first second and a half of more than three; the bound itself is a matter of
    # timing, which decides no test.
    assert board.mark > 0
    assert found[-1]["time"] - found[0]["time"] > 1.0


DYING = """
    run = begin()
    for number in range(200):
        run.log({"n": number})
    run.flush()
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(200, 30_000):
        run.log({"n": number, "text": "y" * 200})
        if number % 1000 == 0:
            time.sleep(0.2)
    run.finish()
    sys.exit(5)
"""


@both
def test_a_file_system_that_dies_does_not_take_the_training_with_it(disk, more):
    """Every write is refused from some moment on: the program runs to its end, and what went wrong is said."""
    process = subprocess.Popen(
        [*program(DYING), str(disk.place)],
        env=environment(**more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    disk.fail(GO_DOWN_SYNCED)
    _, said = process.communicate("go\n", timeout=LIMIT_SECONDS)

    assert process.returncode == 5, said
    assert "cannot be written" in said or "does not confirm" in said
    found = numbers(disk.mount_again())
    assert found[:200] == list(range(200))
    assert found == list(range(len(found)))


@both
def test_a_full_disk_that_is_real(disk, more):
    """On ext4 as on tmpfs: held while it is full, written when it is not."""
    from .test_disk import BALLAST, FILLER

    done = run_program(BALLAST + FILLER, disk.place, **more)

    assert (done.returncode, done.stderr.count("cannot be written")) == (0, 1), done.stderr
    assert numbers(disk.place) == list(range(2000))
    assert lost(disk.place) == 0
