"""How the bytes of one file are held as they are: by a clone, by a link that is looked at again, or by a copy."""

from __future__ import annotations

import errno
import os
import stat
import struct
import sys
import threading
from collections import OrderedDict
from typing import NamedTuple

from ..errors import UsageError
from ..limits import MAX_REMEMBERED_PATHS

_FICLONE = 0x40049409  # linux/fs.h; where the number is another one it is refused, and files are linked
_GETVERSION = 0x80087601  # the same
_PIECE_BYTES = 1 << 20
_ATTEMPTS = 5  # to copy a file that is being written
READING = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_MAKING = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class Mark(NamedTuple):
    """By which a write to a file is noticed."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def mark_of(found: os.stat_result) -> Mark:
    """Answer the mark of a file by what `stat` says of it."""
    return Mark(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """Open a file for reading.

    Raises:
        UsageError: It is a folder, a pipe, a device.
        OSError: It cannot be opened.
    """
    if sys.platform == "win32" and os.path.isdir(path):  # pragma: no cover - opening one is refused there, as no access
        raise UsageError(f"{path} is a folder; use add_dir.")
    fd = os.open(path, READING)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            what = "a folder; use add_dir" if stat.S_ISDIR(found.st_mode) else "no regular file; leave it out"
            raise UsageError(f"{path} is {what}.")
    except BaseException:
        os.close(fd)
        raise
    return fd, found


def read_steadily(fd: int, mark: Mark) -> bytes | None:
    """Answer a small file's bytes; None where it was written at every attempt."""
    for _ in range(_ATTEMPTS):
        data = os.pread(fd, mark.size + 1, 0) if hasattr(os, "pread") else _read(fd, mark.size + 1)
        after = mark_of(os.fstat(fd))
        if after == mark and len(data) == mark.size:
            return data
        mark = after
    return None


def copy_steadily(fd: int, mark: Mark, target: str) -> Mark | None:
    """Copy a file; answer the mark of what was copied, or None where it was written at every attempt.

    Raises:
        OSError: It cannot be read, or the target not be written.
    """
    for _ in range(_ATTEMPTS):
        copied = _copy(fd, target)
        after = mark_of(os.fstat(fd))
        if after == mark and copied == mark.size:
            return mark
        mark = after
    os.unlink(target)
    return None


class Clones:
    """Clones of files, where file systems make them: remembered by device, so that it is tried once."""

    def __init__(self) -> None:
        self._refused: set[tuple[int, int]] = set()

    def can(self, device: int, target_device: int) -> bool:
        """Answer whether it is worth trying."""
        return sys.platform == "linux" and (device, target_device) not in self._refused

    def make(self, fd: int, target: str) -> bool:
        """Clone a file; False where that cannot be done here.

        It is made at one moment: no write shows in half of it. What was written to the file and is not on disk yet is
        waited for, so this takes no time for a file that has been there for a while, and some for a large new one.

        Raises:
            OSError: The disk is full.
        """
        import fcntl

        made = os.open(target, _MAKING, 0o600)
        try:
            fcntl.ioctl(made, _FICLONE, fd)
        except OSError as error:
            os.unlink(target)
            if error.errno in _FULL:
                raise
            self._refused.add((os.fstat(fd).st_dev, os.fstat(made).st_dev))
            return False
        finally:
            os.close(made)
        return True


class Written:
    """Which paths are written in place, as far as this process has seen: the same file, with other bytes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: OrderedDict[str, tuple[Mark, int]] = OrderedDict()
        self._in_place: OrderedDict[str, None] = OrderedDict()

    def saw(self, path: str, fd: int, mark: Mark) -> bool:
        """Note a file as it is now; answer whether this path is known to be written in place."""
        generation = _generation(fd)
        path = os.path.abspath(path)
        with self._lock:
            before = self._marks.pop(path, None)
            self._marks[path] = mark, generation
            if len(self._marks) > MAX_REMEMBERED_PATHS:
                self._marks.popitem(last=False)
            # The number of an inode is given again, together with its generation it is not.
            is_same = before is not None and generation and (*before[0][:2], before[1]) == (*mark[:2], generation)
            if is_same and before is not None and before[0] != mark:
                self._note(path)
            return path in self._in_place

    def changed(self, path: str) -> None:
        """Note that a path was written while its link was read."""
        with self._lock:
            self._note(os.path.abspath(path))

    def _note(self, path: str) -> None:
        self._in_place[path] = None
        if len(self._in_place) > MAX_REMEMBERED_PATHS:
            self._in_place.popitem(last=False)


# Of the whole process: the second artifact learns from the first.
CLONES = Clones()
WRITTEN = Written()


def _generation(fd: int) -> int:
    """Which of the files that had this inode number it is; 0 where the file system does not say."""
    if sys.platform != "linux":
        return 0
    import fcntl

    try:
        answer = fcntl.ioctl(fd, _GETVERSION, b"\0" * 8)
    except OSError:
        return 0
    return int(struct.unpack("=Q", answer)[0])


def _copy(fd: int, target: str) -> int:
    made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | (_MAKING & ~(os.O_EXCL | os.O_RDWR)), 0o600)
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        total = 0
        if hasattr(os, "copy_file_range"):
            try:
                while count := os.copy_file_range(fd, made, 1 << 30):
                    total += count
            except OSError as error:
                if error.errno in _FULL:
                    raise
                os.lseek(fd, total, os.SEEK_SET)
        while piece := os.read(fd, _PIECE_BYTES):
            view = memoryview(piece)
            while view:
                view = view[os.write(made, view) :]
            total += len(piece)
        return total
    finally:
        os.close(made)


def _read(fd: int, size: int) -> bytes:  # pragma: no cover - Windows has no pread
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, size)
