"""Segment files: allocated and mapped where the file system keeps its word, written record by record elsewhere.

A store into a mapped page that the file system cannot back kills the process (SIGBUS). So a mapped segment is really
allocated first, and a full disk is met at that call and nowhere else. Where allocation promises nothing (copy on
write, network, unknown) each record is one `write(2)` instead: the same guarantee against SIGKILL, somewhat dearer.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from pathlib import Path
from typing import Protocol

from ..limits import FIRST_SEGMENT_BYTES, SEGMENT_BYTES

# File systems that overwrite allocated blocks in place. btrfs, zfs and bcachefs copy on write: an allocated page may
# need new space at its second write-back, and then there is none.
_IN_PLACE = {"ext2", "ext3", "ext4", "xfs", "tmpfs", "f2fs", "jfs"}
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, Linux 5.14; Python has no name for it
_SMALLEST_BYTES = 64 << 10
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Segment(Protocol):
    """One open segment."""

    path: Path
    fd: int
    size: int  # bytes written so far

    def put(self, frame: bytes) -> bool:
        """Append a whole frame; False where it does not fit.

        Raises:
            OSError: The file system refuses.
        """
        ...

    def close(self) -> None:
        """Cut the file to what was written and let it go."""
        ...


class MappedSegment:
    """A segment in allocated, mapped memory."""

    def __init__(self, path: Path, header: bytes, wanted: int, least: int) -> None:
        self.path = path
        self.fd = _create(path)
        try:
            self.room = _allocate(self.fd, wanted, max(least + len(header), _SMALLEST_BYTES))
            self.map = mmap.mmap(self.fd, self.room)
        except BaseException:
            os.close(self.fd)
            path.unlink(missing_ok=True)
            raise
        self.map[: len(header)] = header
        self.size = len(header)

    def put(self, frame: bytes) -> bool:
        """Append a whole frame; False where it does not fit."""
        end = self.size + len(frame)
        if end > self.room:
            return False
        self.map[self.size : end] = frame
        self.size = end
        return True

    def warm(self) -> None:
        """Have the pages at hand, so that the training thread meets no page fault."""
        try:
            self.map.madvise(_POPULATE_WRITE)
        except (OSError, ValueError, AttributeError):  # an older kernel: the faults come one by one
            return

    def close(self) -> None:
        """Cut the file to what was written and let it go."""
        self.map.close()
        try:
            os.ftruncate(self.fd, self.size)
        finally:
            os.close(self.fd)


class WrittenSegment:
    """A segment written record by record."""

    def __init__(self, path: Path, header: bytes, wanted: int) -> None:
        self.path = path
        self.room = wanted
        self.fd = _create(path)
        self.size = 0
        try:
            self._write(header)
        except BaseException:
            os.close(self.fd)
            path.unlink(missing_ok=True)
            raise

    def put(self, frame: bytes) -> bool:
        """Append a whole frame; False where the segment is long enough already."""
        if self.size >= self.room:
            return False
        self._write(frame)
        return True

    def close(self) -> None:
        """Let the file go."""
        os.close(self.fd)

    def _write(self, data: bytes) -> None:
        done = os.write(self.fd, data)
        self.size += done
        while done < len(data):  # a full disk takes a part first; the torn frame is passed over by readers
            more = os.write(self.fd, data[done:])
            done += more
            self.size += more


def open_segment(path: Path, header: bytes, *, is_mapped: bool, is_first: bool, least: int) -> Segment:
    """Make a new segment file.

    Args:
        path: Where; it must not exist.
        header: The bytes it begins with.
        is_mapped: Whether to allocate and map it; see `can_map`.
        is_first: The first segment of a stream is small.
        least: Bytes of the frame that must fit.

    Raises:
        OSError: No room, no right, no folder.
    """
    wanted = max(FIRST_SEGMENT_BYTES if is_first else SEGMENT_BYTES, least + len(header))
    if is_mapped:
        return MappedSegment(path, header, wanted, least)
    return WrittenSegment(path, header, wanted)


def can_map(folder: Path) -> bool:
    """Answer whether `folder` is on a file system that backs what it has allocated."""
    if sys.platform != "linux":
        return False
    kind = _file_system(folder)
    if kind == "overlay":
        # A container's root. Which file system is below is not told, but its figures are passed on: the ones that
        # overwrite in place count their inodes and have pages of 4 KiB; btrfs counts none, zfs has larger ones.
        figures = os.statvfs(folder)
        return figures.f_files > 0 and figures.f_bsize == 4096
    return kind in _IN_PLACE


def _file_system(folder: Path) -> str:
    try:
        device = os.stat(folder).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}".encode()
        with open("/proc/self/mountinfo", "rb", buffering=0) as mounts:
            lines = mounts.read(1 << 20).splitlines()
        for line in lines:
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index(b"-") + 1].decode()
    except (OSError, ValueError, IndexError):
        return "unknown"
    return "unknown"


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o644)


def _allocate(fd: int, wanted: int, least: int) -> int:
    """Allocate `wanted` bytes, or as many as there are, but `least`."""
    while True:
        try:
            os.posix_fallocate(fd, 0, wanted)
        except OSError as error:
            if error.errno not in _NO_ROOM or wanted // 4 < least:
                raise
            os.ftruncate(fd, 0)
            wanted //= 4
        else:
            return wanted
