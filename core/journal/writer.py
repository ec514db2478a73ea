"""Writing a stream: `append` is what runs on the training thread, everything else may take its time.

Three things can go wrong under `append`, and none may reach the caller: the disk refuses (records are held in memory,
bounded, and written when it takes them again), the process forks (the child writes a stream of its own), and a signal
handler or a finaliser appends while an append is under way (its record follows right behind).
"""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..clock import Clock
from ..limits import MAX_HELD_RECORDS_BYTES
from ..names import stream_id
from ..record import Kind, encode_control
from .frame import HEADER, MAGIC, SEGMENT, TRAILER, encode_frame, encode_segment_header
from .reader import OPEN_SUFFIX
from .storage import MappedSegment, Segment, can_map, open_segment

_pack = HEADER.pack
_trail = TRAILER.pack
_crc32 = zlib.crc32
_RETRY_SECONDS = 1.0


def _say_nothing(_message: str) -> None:
    return


class Journal:
    """Appends records to a stream of its own.

    Args:
        streams: The run's `streams` folder; the stream's folder is made in it.
        clock: Gives the time for segment headers and LOST records.
        say: Takes a sentence for the user when the disk refuses, and when it takes records again.
        on_roll: Called when a new segment was begun: there is one to seal, and a spare one to make.
        is_mapped: Map the segments; by default where the file system allows it.

    Raises:
        OSError: The first segment cannot be made.
    """

    def __init__(
        self,
        streams: Path,
        clock: Clock,
        *,
        say: Callable[[str], None] = _say_nothing,
        on_roll: Callable[[], object] = lambda: None,
        is_mapped: bool | None = None,
    ) -> None:
        self.streams = streams
        self.clock = clock
        self.closed_segments: deque[Path] = deque()  # for the keeper to seal
        self.held_bytes = 0  # of records the disk has refused so far
        self.lost = 0  # records that could not even be held
        self._say = say
        self._on_roll = on_roll
        self._is_mapped = is_mapped
        self._begin(stream_id(clock.now_ns()))
        _open_journals.add(self)

    def _begin(self, name: str) -> None:
        self.id = name
        self.folder = self.streams / name
        self.folder.mkdir(parents=True)
        if self._is_mapped is None:
            self._is_mapped = can_map(self.folder)
        # Re-entrant: a signal handler that logs runs on the thread that may hold it.
        self._lock = threading.RLock()
        self._busy = False
        self._behind: deque[tuple[int, bytes]] = deque()  # appended while an append was under way
        self._held: deque[bytes] = deque()  # frames the disk has refused
        self._retry_ns = 0
        self._number = 0
        self._spare: Segment | None = None
        self._full: deque[Segment] = deque()  # to be closed behind the caller's back
        self._inherited = False
        self.seq = 0
        self._segment: Segment | None = self._open(0)

    @property
    def is_mapped(self) -> bool:
        """Whether records are stored into mapped memory (else: one `write(2)` each)."""
        return isinstance(self._segment, MappedSegment)

    def append(self, kind: int, payload: bytes) -> int:
        """Append a record; when this returns, it survives the death of the process.

        Args:
            kind: See `record.Kind`.
            payload: At most `MAX_PAYLOAD_BYTES`.

        Returns:
            The record's sequence number; 0 when it was appended from within another append.
        """
        crc = _crc32(payload)
        with self._lock:
            if self._busy or self._inherited:
                return self._append_aside(kind, payload)
            self._busy = True
            try:
                seq = self.seq = self.seq + 1
                header = _pack(MAGIC, kind, 0, 1, len(payload), seq)
                frame = header + payload + _trail(_crc32(header, crc))
                try:
                    # A segment is missing (None) or full at most once in thousands of calls.
                    if self._held or not self._segment.put(frame):  # type: ignore[union-attr]
                        self._put_anew(frame)
                except (OSError, AttributeError, ValueError) as error:
                    self._hold(frame, error)
            finally:
                self._busy = False
        if self._behind:
            self._append_behind()
        return seq

    def append_last(self, kind: int, payload: bytes) -> None:
        """Append a record from within an append that will never go on: the process is being ended by a signal.

        The record under way was not acknowledged to anybody; this one takes its place.
        """
        with self._lock:
            self._behind.clear()
            self.seq += 1
            frame = encode_frame(kind, self.seq, payload)
            try:
                if self._segment is None or not self._segment.put(frame):
                    self._put_anew(frame)
            except (OSError, ValueError) as error:
                self._hold(frame, error)

    def sync(self) -> None:
        """Have the disk keep what was appended until now, whatever happens to the machine.

        Raises:
            OSError: The disk refuses, or some records are still held in memory.
        """
        self._retire()
        with self._lock:
            segment = self._segment
            fd = -1 if segment is None else os.dup(segment.fd)  # the segment may be closed meanwhile
        try:
            if fd >= 0:
                _fdatasync(fd)
        finally:
            if fd >= 0:
                os.close(fd)
        if self._held:
            raise OSError(f"{len(self._held)} records could not be written yet")

    def prepare(self) -> None:
        """Have the next segment ready before it is needed, and write what was held back. Called by the keeper.

        Raises:
            OSError: The file system refuses; records are held, or the segment is made when it is needed.
        """
        if self._held:
            with self._lock:
                self._retry_ns = 0
                self._drain()
            self._append_behind()
        self._retire()
        if self._is_gone():
            self._restore()
        segment = self._segment
        if not isinstance(segment, MappedSegment):
            return
        if self._number == 1 and segment.size < 4096:
            segment.warm()
        if self._spare is None and (self._number > 1 or segment.size * 2 > segment.room):
            # Outside the lock: allocating takes milliseconds. Its header tells a first seq of 0, unknown.
            spare = self._make(self._number + 1, 0, 0)
            if isinstance(spare, MappedSegment):
                spare.warm()
            with self._lock:
                if self._spare is None and spare.path == self._path(self._number + 1):
                    self._spare = spare
                    return
            spare.close()
            spare.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Write what is held, cut the last segment to its length, and let the files go.

        What is appended afterwards opens a new segment.
        """
        with self._lock:
            if self._inherited:
                return
            if self._held:
                self._retry_ns = 0
                self._drain()
            segment, self._segment = self._segment, None
            spare, self._spare = self._spare, None
            if segment is not None:
                self._full.append(segment)
            self._retire()
            if spare is not None:
                spare.close()
                spare.path.unlink(missing_ok=True)

    # --- off the beaten track ------------------------------------------------------------

    def _put_anew(self, frame: bytes) -> None:
        # The segment is full, closed, or records wait in memory that must go first.
        if self._held:
            self._held.append(frame)
            self.held_bytes += len(frame)
            self._drain()
            return
        if self._segment is not None:
            self._full.append(self._segment)  # closing it takes milliseconds: the keeper's work
            self._segment = None
        spare, self._spare = self._spare, None
        self._segment = spare or self._open(len(frame))
        self._on_roll()
        if spare is not None:
            self._number += 1
        if not self._segment.put(frame):  # longer than the spare one
            self._full.append(self._segment)
            self._segment = self._open(len(frame))
            self._segment.put(frame)

    def _open(self, least: int) -> Segment:
        segment = self._make(self._number + 1, self.seq, least)
        self._number += 1
        return segment

    def _make(self, number: int, seq: int, least: int) -> Segment:
        header = encode_segment_header(seq, self.clock.now_ns())
        path = self._path(number)
        while True:
            try:
                return open_segment(
                    path, header, is_mapped=bool(self._is_mapped), is_first=number == 1, least=least
                )
            except FileExistsError:  # left by an attempt that failed half-way
                number += 1
                self._number += 1
                path = self._path(number)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}{OPEN_SUFFIX}"

    def _retire(self) -> None:
        """Have full segments on disk, cut them to their length, and hand them on to be sealed."""
        while self._full:
            try:
                segment = self._full.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                _fdatasync(segment.fd)
            finally:
                self._finish_segment(segment)

    def _finish_segment(self, segment: Segment) -> None:
        try:
            segment.close()
        except OSError:  # it could not be cut; the zeros behind the last frame do no harm
            pass
        self.closed_segments.append(segment.path)

    def _hold(self, frame: bytes, error: Exception) -> None:
        if not self._held and not self.lost:
            self._say(
                f"the journal in {self.folder} cannot be written ({error}). Training goes on and points are held in "
                f"memory (up to {MAX_HELD_RECORDS_BYTES >> 20} MiB); free some space or mend the folder, and they are "
                "written."
            )
        if self.held_bytes + len(frame) > MAX_HELD_RECORDS_BYTES:
            if not self.lost:
                self._say(f"the journal in {self.folder} still cannot be written: points are lost from here on.")
            self.lost += 1
            self.seq -= 1  # no gap: readers would take it for damage; LOST says how many
            return
        self._held.append(frame)
        self.held_bytes += len(frame)
        self._retry_ns = self.clock.now_ns() + int(_RETRY_SECONDS * 1e9)

    def _drain(self) -> None:
        """Write the held frames, oldest first, unless that was tried within the last second."""
        if self.clock.now_ns() < self._retry_ns:
            return
        self._retry_ns = self.clock.now_ns() + int(_RETRY_SECONDS * 1e9)
        count = len(self._held)
        try:
            while self._held:
                frame = self._held[0]
                if self._segment is None or not self._segment.put(frame):
                    if self._segment is not None:
                        self._full.append(self._segment)
                        self._segment = None
                    self._segment = self._open(len(frame))
                    self._segment.put(frame)
                self._held.popleft()
                self.held_bytes -= len(frame)
        except (OSError, ValueError):
            return
        lost, self.lost = self.lost, 0
        self._say(
            f"the journal in {self.folder} is written again: {count} held records are safe"
            + (f", {lost} were lost." if lost else ", none was lost.")
        )
        if lost:
            body = {"count": lost, "reason": "the disk refused and memory for held records was full"}
            self._behind.append((Kind.LOST, encode_control(self.clock.now_ns(), body)))

    def _append_aside(self, kind: int, payload: bytes) -> int:
        if self._inherited:  # in a forked child, where the parent's files are not ours to write
            self._begin(f"{self.id}.{os.getpid()}-{os.urandom(2).hex()}")
            return self.append(kind, payload)
        self._behind.append((kind, payload))
        return 0

    def _append_behind(self) -> None:
        while self._behind:
            try:
                kind, payload = self._behind.popleft()
            except IndexError:  # another thread was quicker
                return
            self.append(kind, payload)

    def _is_gone(self) -> bool:
        segment = self._segment
        try:
            return segment is not None and os.fstat(segment.fd).st_nlink == 0
        except OSError:
            return False

    def _restore(self) -> None:
        """The folder was removed under us: write what the open segment holds into a new one."""
        with self._lock:
            segment = self._segment
            if segment is None:
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            copy = self._make(self._number + 1, self.seq, segment.size)
            self._number += 1
            # Read through the descriptor: the file has no name any more, its bytes are still there.
            data = os.pread(segment.fd, segment.size, 0)
            if data[SEGMENT.size :]:
                copy.put(data[SEGMENT.size :])
            self._segment = copy
            self._spare = None
            segment.close()
            self._say(f"the folder {self.folder} was removed while the run was writing to it; it was made anew.")

    def _forked(self) -> None:
        # In the child: the lock may be held by a thread that does not exist here, and the map is the parent's.
        self._lock = threading.RLock()
        self._busy = False
        self._inherited = True
        self._held = deque()
        self._behind = deque()
        self._segment = self._spare = None
        self._full = deque()
        self.closed_segments = deque()


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for journal in list(_open_journals):
        journal._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

_fdatasync = getattr(os, "fdatasync", os.fsync)

__all__ = ["Journal"]
