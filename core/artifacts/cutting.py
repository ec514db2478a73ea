"""Cutting large files where their content says so, and handing the pieces to threads that hash and write them.

A piece ends where the bytes before it have a certain pattern, so an insertion moves one cut and not all that follow:
a file that changed a little has most of its pieces in common with what it was.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import NamedTuple

from ..blobs import FolderBlobs, new_digest
from ..limits import (
    CHUNKS_PER_FILE,
    MAX_CHUNK_BYTES,
    MIN_CHUNK_BYTES,
    READ_BUFFER_BYTES,
    READ_BUFFERS,
    STORE_THREADS,
)
from .manifest import Part
from .workers import Workers

_SPREAD = 4  # between the shortest, the average and the longest piece


class Cut(NamedTuple):
    """A file in pieces; some may be under way until `Cutting.finish` has returned."""

    digests: list[str]
    lengths: list[int]
    whole: list[str]  # the digest of all bytes

    def parts(self) -> tuple[Part, ...]:
        """Answer where the bytes lie."""
        return tuple(Part(digest, 0, length) for digest, length in zip(self.digests, self.lengths, strict=True))


class Cutting:
    """Reads files on the calling thread, hashes and writes their pieces on others, in bounded memory.

    Args:
        blobs: Where the pieces go.
        read: Is told how many bytes were read; may raise, to end all.
    """

    def __init__(self, blobs: FolderBlobs, read: Callable[[int], None]) -> None:
        self._blobs = blobs
        self._read = read
        self._threads = Workers(min(STORE_THREADS, os.cpu_count() or 1), "tracker-pieces")
        self._buffers: queue.SimpleQueue[_Buffer] = queue.SimpleQueue()
        self._made = 0
        self._room = threading.Semaphore(READ_BUFFERS)  # for what is put as it is
        self._error: BaseException | None = None

    def cut(self, fd: int, size: int) -> Cut:
        """Cut a file that is open at its beginning.

        Args:
            fd: The file.
            size: How long it should be; what else it is, is read as well.

        Raises:
            OSError: It cannot be read, or a piece not be kept.
        """
        from pyfastcdc import FastCDC  # only where large files are kept

        average = average_bytes(size)
        longest = average * _SPREAD
        cutter = FastCDC(average, min_size=average // _SPREAD, max_size=longest)
        found = Cut([], [], [])
        whole = None
        buffer = self._buffer()
        filled, is_end = self._fill(fd, buffer, 0)
        while True:
            view = memoryview(buffer.bytes)[:filled]
            at = 0
            for chunk in cutter.cut_buf(view) if filled else ():
                if not is_end and filled - chunk.offset < longest:  # with more bytes it might end elsewhere
                    break
                at = chunk.offset + chunk.length
                self._keep(buffer, view[chunk.offset : at], found)
            if whole is None and not (is_end and len(found.digests) == 1):
                whole = new_digest()
            if whole is not None:
                # Here and not in another thread: in order, and the others are busy with the pieces.
                whole.update(view[buffer.hashed : filled])
            if is_end:
                buffer.release()
                break
            following = self._buffer()
            rest = filled - at
            memoryview(following.bytes)[:rest] = view[at:]
            following.hashed = rest
            buffer.release()
            buffer = following
            filled, is_end = self._fill(fd, buffer, rest)
        if whole is not None:
            found.whole.append(whole.hexdigest())
        return found

    def put(self, data: bytes | bytearray, found: list[str]) -> None:
        """Keep bytes as they are; their digest is appended to `found`, in time for `finish`."""
        self._room.acquire()
        self._raise()
        self._threads.submit(self._put, None, memoryview(data), found, self._slot(found))

    def finish(self) -> None:
        """Return when all is written.

        Raises:
            OSError: Something could not be.
        """
        self._threads.finish()
        self._raise()

    def give_up(self) -> None:
        """Return when no thread is at work any more; what is waiting is dropped."""
        self._error = self._error or InterruptedError("given up.")
        self._threads.finish()  # what is waiting finds the error, and does nothing

    def _keep(self, buffer: _Buffer, piece: memoryview, found: Cut) -> None:
        found.lengths.append(len(piece))
        buffer.hold()
        self._threads.submit(self._put, buffer, piece, found.digests, self._slot(found.digests))

    @staticmethod
    def _slot(digests: list[str]) -> int:
        digests.append("")
        return len(digests) - 1

    def _put(self, buffer: _Buffer | None, piece: memoryview, digests: list[str], slot: int) -> None:
        try:
            if self._error is None:
                digests[slot] = self._blobs.put(piece)
        except BaseException as error:  # it is raised where somebody waits
            self._error = error
        finally:
            if buffer is None:
                self._room.release()
            else:
                buffer.release()

    def _fill(self, fd: int, buffer: _Buffer, at: int) -> tuple[int, bool]:
        """Read until the buffer is full or the file at its end; answer how far it is filled, and which of both."""
        view = memoryview(buffer.bytes)
        while at < len(view):
            count = os.readv(fd, [view[at:]]) if hasattr(os, "readv") else _readinto(fd, view[at:])
            if count == 0:
                return at, True
            at += count
            self._read(count)
        return at, False

    def _buffer(self) -> _Buffer:
        self._raise()
        if self._buffers.empty() and self._made < READ_BUFFERS:
            self._made += 1
            buffer = _Buffer(self._buffers)
        else:
            buffer = self._buffers.get()
        self._raise()
        buffer.begin()
        return buffer

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


class _Buffer:
    """Bytes that several threads read; free again when the last one is done."""

    def __init__(self, home: queue.SimpleQueue[_Buffer]) -> None:
        self.bytes = bytearray(READ_BUFFER_BYTES)
        self.hashed = 0  # of them were hashed with the buffer before
        self._home = home
        self._lock = threading.Lock()
        self._holders = 0

    def begin(self) -> None:
        self.hashed = 0
        self._holders = 1

    def hold(self) -> None:
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            is_free = self._holders == 0
        if is_free:
            self._home.put(self)


def average_bytes(size: int) -> int:
    """Answer how long the pieces of a file should be on average; the same for files of about the same size."""
    average = MIN_CHUNK_BYTES
    while average < MAX_CHUNK_BYTES and size > average * CHUNKS_PER_FILE:
        average *= 2
    return average


def _readinto(fd: int, view: memoryview) -> int:  # pragma: no cover - Windows has no readv
    data = os.read(fd, len(view))
    view[: len(data)] = data
    return len(data)
