"""Segment files: allocated and mapped where the file system keeps its word, written record by record elsewhere.

A store into a mapped page that the file system cannot back kills the process (SIGBUS). So a mapped segment is really
allocated first, and a full disk is met at that call and nowhere else; and the pages just ahead are asked for again
after each sync (`warm`), by a call that answers with an error where a store would kill. Where allocation promises
nothing (copy on write, network, unknown) each record is one `write(2)` instead: the same guarantee against SIGKILL,
somewhat dearer.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Protocol

# File systems that overwrite allocated blocks in place. btrfs, zfs and bcachefs copy on write: an allocated page may
# need new space at its second write-back, and then there is none.
_IN_PLACE = {"ext2", "ext3", "ext4", "xfs", "tmpfs", "f2fs", "jfs"}
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, Linux 5.14; Python has no name for it
_WARM_SLICE_BYTES = 256 << 10  # `madvise` keeps the GIL: a slice takes some 0.2 ms
_LEAST_MAPPED_BYTES = 64 << 10
_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_ROOM = {*_FULL, errno.EFBIG}
# What a file written record by record would meet as well. Anything else that allocating or mapping may answer (a C
# library without the call, a limit on address space) only means that this segment cannot be mapped.
_HOPELESS = {
    errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE,
}  # fmt: skip


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

    def read(self) -> bytes:
        """Answer what was written so far."""
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
            self.room = _allocate(self.fd, wanted, max(least + len(header), _LEAST_MAPPED_BYTES))
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

    def read(self) -> bytes:
        """Answer what was written so far."""
        return self.map[: self.size]

    def warm(self, ahead: int) -> None:
        """Have the next pages at hand and writable.

        The training thread then meets no page fault in them, and a file system that has died meanwhile says so here,
        as an error, and not there, by SIGBUS.

        Args:
            ahead: Bytes behind what was written so far.

        Raises:
            OSError: The file system does not back its pages any more.
        """
        at = self.size // mmap.PAGESIZE * mmap.PAGESIZE
        end = min(self.size + ahead, self.room)
        while at < end:
            length = min(end - at, _WARM_SLICE_BYTES)
            try:
                self.map.madvise(_POPULATE_WRITE, at, length)
            except ValueError:  # closed meanwhile
                return
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOSYS):  # an older kernel: the faults come one by one
                    return
                raise
            at += length
            time.sleep(0)  # let the training thread have the GIL

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

    def read(self) -> bytes:
        """Answer what was written so far."""
        # An exception may have come between the call and the count of its bytes.
        self.size = os.lseek(self.fd, 0, os.SEEK_CUR)
        if hasattr(os, "pread"):  # by the descriptor: the file may have lost its name
            return os.pread(self.fd, self.size, 0)
        return self.path.read_bytes()

    def close(self) -> None:
        """Let the file go."""
        os.close(self.fd)

    def _write(self, data: bytes) -> None:
        done = os.write(self.fd, data)
        if done < len(data):
            self._write_rest(data, done)
        self.size += len(data)

    def _write_rest(self, data: bytes, done: int) -> None:
        # A full disk takes a part first, and refuses the rest.
        try:
            while done < len(data):
                done += os.write(self.fd, data[done:])
        except OSError:
            try:  # back to the last whole frame; readers would pass over the torn one, but it takes up room
                os.ftruncate(self.fd, self.size)
                os.lseek(self.fd, self.size, os.SEEK_SET)
            except OSError:
                self.size += done
            raise


class NoSegment:
    """Stands where no segment is open: nothing fits."""

    path = Path()
    fd = -1
    size = 0

    def put(self, frame: bytes) -> bool:
        """Answer False."""
        return False

    def read(self) -> bytes:
        """Answer nothing."""
        return b""

    def close(self) -> None:
        """Do nothing."""


def open_segment(path: Path, header: bytes, *, is_mapped: bool, wanted: int, least: int) -> Segment:
    """Make a new segment file.

    Args:
        path: Where; it must not exist.
        header: The bytes it begins with.
        is_mapped: Whether to allocate and map it; see `can_map`.
        wanted: Bytes of room.
        least: Bytes of the frame that must fit.

    Raises:
        OSError: No room, no right, no folder.
    """
    wanted = max(wanted, least + len(header))
    if is_mapped:
        try:
            return MappedSegment(path, header, wanted, least)
        except OSError as error:
            if error.errno in _HOPELESS:
                raise
    return WrittenSegment(path, header, wanted)


def is_full(error: Exception) -> bool:
    """Answer whether the same file will take more once there is room again."""
    return isinstance(error, OSError) and error.errno in _FULL


def place_of(segment: Segment) -> Path | None:
    """Answer where the file of an open segment lies now; None where it has no name any more."""
    mine = os.fstat(segment.fd)
    if mine.st_nlink == 0:
        return None
    try:
        if os.path.samestat(mine, os.stat(segment.path)):
            return segment.path
    except OSError:
        pass
    try:
        place = Path(os.readlink(f"/proc/self/fd/{segment.fd}"))
        if os.path.samestat(mine, os.stat(place)):
            # A network file system keeps a removed file under such a name for as long as it is open.
            return None if place.name.startswith(".nfs") else place
    except OSError:  # not Linux
        pass
    return segment.path


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


def sync_file(fd: int) -> None:
    """Have the disk keep a file's bytes.

    Raises:
        OSError: It does not confirm.
    """
    if sys.platform == "darwin":  # there fsync only hands the bytes to the drive's cache
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_names(folder: Path, levels: int) -> None:
    """Have the disk keep the names in `folder`, and those of the folders above that may be new as well.

    A file system that cannot (Windows, some network ones) keeps names together with the files, or not at all.
    """
    for place in (folder, *folder.parents)[:levels]:
        try:
            fd = os.open(place, os.O_RDONLY)
        except OSError:
            return
        try:
            os.fsync(fd)
        except OSError:
            return
        finally:
            os.close(fd)


def _file_system(folder: Path) -> str:
    try:
        device = os.stat(folder).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}".encode()
        with open("/proc/self/mountinfo", "rb") as mounts:
            lines = mounts.read().splitlines()
        for line in lines:
            fields = line.split()
            if fields[2] == wanted:
                return fields[fields.index(b"-") + 1].decode()
    except (OSError, ValueError, IndexError):
        return "unknown"
    return "unknown"


def _create(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o644)  # Windows would translate line ends


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
