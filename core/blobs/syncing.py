"""Having the disk keep many new files at once, and knowing after a power cut which ones it may not have kept.

A blob has its name before the disk has its bytes. Should the power fail in between, a file may be there that has the
name and not the bytes, and what has the same digest would not be written again. So while there are such blobs, a mark
lies beside them, named by machine and start of the machine; file systems keep the order of names, so it is there when
they are. A mark of an earlier start has the blobs since then read and checked, once.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..journal.storage import sync_file, sync_names
from ..limits import FOREIGN_MARK_SECONDS, SYNC_ONE_BY_ONE
from ..processes import is_alive, started, whereabouts

_FOLDER = ".unsynced"
_NAME = re.compile(r"(?P<host>[^~]*)~(?P<boot>[0-9a-z-]+)~(?P<pid>\d+)~(?P<started>\d+)~[0-9a-f]+")
_SLACK_SECONDS = 10.0  # the clock of a file system may be another than ours


def sync_files(folder: Path, files: list[str] | None) -> None:
    """Return when the disk has the files, and their names.

    Args:
        folder: What they lie in, one level deep.
        files: Which; one that was removed meanwhile is passed over. None: too many to say.

    Raises:
        OSError: The disk does not confirm.
    """
    if (files is None or len(files) > SYNC_ONE_BY_ONE) and sync_file_system(folder):
        return
    if files is None:
        if hasattr(os, "sync"):  # pragma: no branch
            os.sync()
        return
    for file in files:
        try:
            fd = os.open(file, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            sync_file(fd)
        finally:
            os.close(fd)
    for place in {os.path.dirname(file) for file in files}:
        sync_names(Path(place), 1)
    sync_names(folder, 2)


def sync_file_system(folder: Path) -> bool:
    """Ask the file system for all it holds: one journal commit instead of one for each file.

    Returns:
        False where the system has no such call (it is Linux's).

    Raises:
        OSError: The disk does not confirm.
    """
    if sys.platform != "linux":
        return False
    import ctypes  # Python has no name for syncfs

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return False
    fd = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)
    return True


class Unsynced:
    """The mark that lies in a folder while it may have blobs that the disk has not.

    Args:
        folder: That of the blobs.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs = folder
        self._folder = folder / _FOLDER
        self._mark: Path | None = None

    def begin(self) -> None:
        """Lay the mark, if it is not there: before the first blob is given its name."""
        if self._mark is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            me = f"{whereabouts()}~{_boot()}~{os.getpid()}~{started(os.getpid())}~{os.urandom(3).hex()}"
            mark = self._folder / me
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT, 0o644))
            self._mark = mark

    def end(self) -> None:
        """Take the mark away: the disk has all."""
        mark, self._mark = self._mark, None
        if mark is not None and f"~{os.getpid()}~" in mark.name:  # not that of the process we were forked from
            mark.unlink(missing_ok=True)

    def forget(self) -> None:
        """Leave the mark to whose it is: this is a forked child."""
        self._mark = None

    def suspect_since(self) -> tuple[float | None, list[Path]]:
        """Answer since when blobs may be damaged (seconds since the epoch; None: none are), and the marks that say so.

        Marks of processes that died while the machine lived on are taken away, when the disk has all.
        """
        since: float | None = None
        old: list[Path] = []
        idle: list[Path] = []
        for mark, match, age in self._marks():
            if match["boot"] == _boot():
                if match["host"] == whereabouts() and not _lives(int(match["pid"]), match["started"]):
                    idle.append(mark)
            elif match["host"] == whereabouts() or age > FOREIGN_MARK_SECONDS:
                old.append(mark)
                begun = time.time() - age - _SLACK_SECONDS
                since = begun if since is None else min(since, begun)
        with contextlib.suppress(OSError):
            if idle and sync_file_system(self._blobs):
                for mark in idle:
                    mark.unlink(missing_ok=True)
        return since, old

    def _marks(self) -> Iterator[tuple[Path, re.Match[str], float]]:
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                match = _NAME.fullmatch(name)
                if match is not None:
                    with contextlib.suppress(OSError):
                        mark = self._folder / name
                        yield mark, match, time.time() - mark.stat().st_mtime


def _lives(pid: int, begun: str) -> bool:
    return is_alive(pid) and started(pid) == begun


def _boot() -> str:
    """Which start of the machine this is; "0" where the system does not say, so that none seems to be another."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return "0"
