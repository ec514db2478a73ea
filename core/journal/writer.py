"""Writing a stream: `append` is what runs on the training thread, everything else may take its time.

Three things can go wrong under `append`, and none may reach the caller: the disk refuses (records are held in memory,
bounded, and written when it takes them again), the process forks (the child writes a stream of its own), and a signal
handler or a finaliser appends while an append is under way (its record follows right behind).
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

from ..clock import Clock
from ..limits import FIRST_SEGMENT_BYTES, MAX_HELD_RECORDS_BYTES
from ..names import stream_id
from ..record import Kind, encode_control
from .frame import HEADER, MAGIC, SEGMENT, TRAILER, encode_frame, scan, segment_first_seq, seq_of
from .held import Held
from .segments import NO_SEGMENT, Segments
from .storage import MappedSegment, Segment, can_map, is_full

_pack = HEADER.pack
_trail = TRAILER.pack
_crc32 = zlib.crc32
_SAY = -1  # in place of a kind: a sentence for the user
_FORKED = -2  # in place of a kind: this is a forked child
_RETRY_NS = 1_000_000_000
_CHILD_SEGMENT_BYTES = 64 << 10  # forked workers log little, and there may be hundreds of them
_DRAIN_SLICE_BYTES = 2 << 20  # written under the lock at a time, so that the training thread gets its turn
_CLOSE_SECONDS = 5.0
_TAIL_BYTES = 64 << 10
_BROKEN = (OSError, ValueError, IndexError)  # refused; the map is closed; the map has moved on under our feet


def _say_nothing(_message: str) -> None:
    return


def _child_of(stream: str) -> str:
    """Make the id of a stream beside another one's; a child's child is named after the first process as well."""
    return f"{stream.partition('.')[0]}.{os.getpid()}-{os.urandom(2).hex()}"


class Journal:
    """Appends records to a stream of its own.

    Args:
        streams: The run's `streams` folder; the stream's folder is made in it.
        clock: Gives the time for segment headers and LOST records.
        say: Takes a sentence for the user when the disk refuses, and when it takes records again.
        on_roll: Called when a new segment was begun: there is one to seal, and a spare one to make.
        is_mapped: Map the segments; by default where the file system allows it.
        parent: The id of the stream beside which this one is written, by a process that looks after another one.

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
        parent: str | None = None,
    ) -> None:
        self.streams = streams
        self.clock = clock
        self._say = say
        self._on_roll = on_roll
        # Re-entrant: a signal handler that logs runs on the thread that may hold it.
        self._lock = threading.RLock()
        self._segment: Segment
        self._stalled: Segment
        self._files = Segments(clock, self._notice)
        if parent is None:
            self._begin(stream_id(clock.now_ns()), FIRST_SEGMENT_BYTES)
        else:
            self._begin(_child_of(parent), _CHILD_SEGMENT_BYTES)
        self.folder.mkdir(parents=True)
        self._files.maps = can_map(self.folder) if is_mapped is None else is_mapped
        self._segment = self._files.open(1, 0)
        _open_journals.add(self)

    def _begin(self, name: str, first_bytes: int) -> None:
        self.id = name
        self.seq = 0
        self._segment = NO_SEGMENT
        self._stalled = NO_SEGMENT  # the open segment while the disk is full
        self._held = Held()
        self._retry_ns = 0
        self._busy = False
        self._inherited = False
        self._behind: deque[tuple[int, bytes | str]] = deque()  # what came up while an append was under way
        self._files.begin(self.streams / name, first_bytes)

    @property
    def folder(self) -> Path:
        """The stream's folder, wherever it was moved to."""
        return self._files.folder

    @property
    def closed_segments(self) -> deque[Path]:
        """Segments to be sealed."""
        return self._files.closed

    @property
    def is_mapped(self) -> bool:
        """Whether records are stored into mapped memory (else: one `write(2)` each)."""
        return isinstance(self._segment, MappedSegment)

    @property
    def held_bytes(self) -> int:
        """Bytes of records that the disk has refused so far, and that wait in memory."""
        return self._held.bytes

    @property
    def lost(self) -> int:
        """Records that could not even be held, and are in no LOST record yet."""
        return self._held.lost

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
            if self._busy:
                return self._append_aside(kind, payload)
            self._busy = True
            try:
                seq = self.seq = self.seq + 1
                header = _pack(MAGIC, kind, 0, 1, len(payload), seq)
                frame = header + payload + _trail(_crc32(header, crc))
                try:
                    if not self._segment.put(frame):  # once in thousands of calls
                        self._put_anew(frame)
                except _BROKEN as error:
                    self._refused(seq, frame, error)
            except BaseException:  # Ctrl-C, or a signal handler that raises, in the middle of it
                self._number_again()
                raise
            finally:
                self._busy = False
        if self._behind:
            self._append_behind()
        return seq

    def recent(self, most_bytes: int) -> bytes:
        """Answer the end of what was appended, at most so many bytes, cut anywhere; nothing where it cannot be read.

        No lock is taken: what is being written, or was just closed, may be torn, and `scan` passes over that.
        """
        segment = self._segment
        try:
            size = segment.size
            wanted = min(most_bytes, size)
            return os.pread(segment.fd, wanted, size - wanted) if segment.fd >= 0 else b""
        except (OSError, AttributeError, OverflowError):  # closed meanwhile; Windows has no pread
            return b""

    def append_last(self, kind: int, payload: bytes) -> None:
        """Append a record from within an append that may never go on: the process is being ended by a signal.

        The record under way is written first, and those that wait behind it. Should the interrupted append go on all
        the same, it writes its record a second time, under the same number: readers take the first.
        """
        with self._lock:
            under_way = self._interrupted(sys._getframe(1))
            if under_way is not None and "seq" in under_way.f_locals:
                names = under_way.f_locals
                self._put_last(encode_frame(names["kind"], names["seq"], names["payload"]))
            waiting = [(number, data) for number, data in self._behind if isinstance(data, bytes) and number >= 0]
            self._behind = deque(item for item in self._behind if item[0] < 0)
            for number, data in (*waiting, (kind, payload)):
                self.seq += 1
                self._put_last(encode_frame(number, self.seq, data))

    def sync(self) -> None:
        """Have the disk keep what was appended until now, whatever happens to the machine.

        Raises:
            OSError: The disk refuses, or some records are still held in memory.
        """
        try:
            fault = self._files.sync(self._lock, self._open_segment)
        except OSError:
            # The file system has died: the next store into its map could be the last thing this process does.
            self._exclusively(self._abandon)
            self._append_behind()
            raise
        if fault is not None:
            raise fault
        if self._held:
            raise OSError(f"{len(self._held)} records could not be written yet")

    def prepare(self) -> None:
        """Have the next segment ready before it is needed, and write what was held back. Called by the keeper.

        Raises:
            OSError: The file system refuses; records are held, or the segment is made when it is needed.
        """
        try:
            self._exclusively(self._follow)
            self._retry()
            self._files.make_spare(self._lock, self._segment)
        finally:
            self._append_behind()

    def close(self) -> None:
        """Write what is held, cut the last segment to its length, and let the files go.

        What is appended afterwards opens a new segment.
        """
        if self._inherited:
            return
        try:
            self._exclusively(self._follow)
        except OSError:  # said by `_follow`
            pass
        self._retry()
        self._exclusively(self._let_go)
        self._files.close_retired(_CLOSE_SECONDS)
        self._append_behind()
        if self._busy:  # the process is being ended in mid-append; records are written by `append_last` already
            for _, sentence in [item for item in self._behind if item[0] == _SAY]:
                self._say(str(sentence))

    # --- the disk refuses ----------------------------------------------------------------

    def _put_anew(self, frame: bytes) -> None:
        """Put a frame where the open segment takes no more, or where there is none."""
        if self._inherited:  # a fork in the middle of an append: the parent writes this record
            return
        if self._held or self._held.lost:
            self._hold(frame)
            if self.clock.now_ns() >= self._retry_ns:
                self._drain()
            return
        self._follow()
        full = self._segment
        self._segment = self._files.next(seq_of(frame), len(frame))
        self._files.retire(full)
        self._on_roll()
        if not self._segment.put(frame):  # longer than the one made ready
            short, self._segment = self._segment, self._files.open(seq_of(frame), len(frame))
            self._files.retire(short)
            self._segment.put(frame)

    def _refused(self, seq: int, frame: bytes, error: Exception) -> None:
        if self.seq != seq:  # `append_last` came in between, and has written this one as well
            return
        segment, self._segment = self._segment, NO_SEGMENT
        self._hold(frame)
        if is_full(error):
            self._stalled = segment
        elif segment is not NO_SEGMENT:  # too long, gone stale, damaged: another file may do
            self._files.retire(segment)
            self._drain()
        if self._held:
            self._retry_ns = self.clock.now_ns() + _RETRY_NS
            self._complain(error)

    def _hold(self, frame: bytes) -> None:
        is_first = not self._held.lost
        if self._held.add(frame):
            return
        self.seq -= 1  # no gap: readers would take it for damage; LOST says how many
        if is_first:
            self._notice(f"the journal in {self.folder} still cannot be written: points are lost from here on.")

    def _complain(self, error: Exception) -> None:
        if self._held.is_refused:
            return
        self._held.is_refused = True
        self._notice(
            f"the journal in {self.folder} cannot be written ({error}). Training goes on and points are held in memory "
            f"(up to {MAX_HELD_RECORDS_BYTES >> 20} MiB); free some space or mend the folder, and they are written."
        )

    def _retry(self) -> None:
        """Write what is held, slice by slice, as long as the disk takes it."""
        waiting = -1
        while self._held and len(self._held) != waiting:
            waiting = len(self._held)
            self._exclusively(self._drain)

    def _drain(self) -> None:
        """Write held frames, oldest first, up to a slice."""
        segment, self._stalled = self._stalled, NO_SEGMENT
        held = self._held
        room = _DRAIN_SLICE_BYTES
        try:
            while held and room > 0:
                frame = held.frames[0]
                if not segment.put(frame):
                    fresh = self._files.open(seq_of(frame), len(frame))
                    self._files.retire(segment)
                    segment = fresh
                    segment.put(frame)
                held.drop_first()
                room -= len(frame)
        except _BROKEN as error:
            self._retry_ns = self.clock.now_ns() + _RETRY_NS
            if not is_full(error):
                self._files.retire(segment)
                segment = NO_SEGMENT
        if held:
            self._stalled = segment
            return
        self._segment = segment
        lost = held.give_up()
        if held.is_refused:
            held.is_refused = False
            self._notice(
                f"the journal in {self.folder} is written again; what was held is safe, "
                + (f"{lost} points were lost." if lost else "nothing was lost.")
            )
        if lost:
            body = {"count": lost, "reason": "the disk refused, and the memory for held records was full"}
            self._behind.append((Kind.LOST, encode_control(self.clock.now_ns(), body)))

    def _open_segment(self) -> Segment:
        return self._segment if self._stalled is NO_SEGMENT else self._stalled

    def _follow(self) -> None:
        if self._stalled is NO_SEGMENT:
            self._segment = self._files.follow(self._segment)
        else:
            self._stalled = self._files.follow(self._stalled)

    def _abandon(self) -> None:
        segment, self._segment = self._segment, NO_SEGMENT
        self._files.retire(segment)

    def _let_go(self) -> None:
        self._files.retire(self._open_segment())
        self._segment = self._stalled = NO_SEGMENT
        if lost := self._held.give_up():
            self._notice(f"{lost} points could not be written to {self.folder} and are lost.")

    # --- one inside the other ------------------------------------------------------------

    def _notice(self, sentence: str) -> None:
        # Not said under the lock: a logging handler of the user's may hold a lock of its own, and log to us under it.
        self._behind.append((_SAY, sentence))

    def _exclusively(self, action: Callable[[], object]) -> None:
        """Do something under the lock; what is appended from within it (by a finaliser, say) follows behind."""
        with self._lock:
            was_busy, self._busy = self._busy, True
            try:
                action()
            finally:
                self._busy = was_busy

    def _append_aside(self, kind: int, payload: bytes) -> int:
        if self._inherited:  # in a forked child, where the parent's files are not ours to write
            self._begin(_child_of(self.id), _CHILD_SEGMENT_BYTES)
            self._on_roll = lambda: None  # the keeper lives in the parent
            return self.append(kind, payload)
        asked = sys._getframe(1)  # our own `append`
        if self._interrupted(asked.f_back) is None:  # an exception hit the one line that should have ended it
            self._busy = False
            return self.append(kind, payload)
        self._behind.append((kind, payload))
        return 0

    def _append_behind(self) -> None:
        while self._behind and not self._busy:
            try:
                kind, data = self._behind.popleft()
            except IndexError:  # another thread was quicker
                return
            if kind == _FORKED:
                self._busy = self._inherited
            elif isinstance(data, str):
                self._say(data)
            else:
                self.append(kind, data)

    def _interrupted(self, frame: FrameType | None) -> FrameType | None:
        """Answer the call below `frame` on this thread's stack in whose middle we are, if any."""
        while frame is not None:
            if frame.f_code in _EXCLUSIVE and frame.f_locals.get("self") is self:
                return frame
            frame = frame.f_back
        return None

    def _number_again(self) -> None:
        # The number was given, the record may not have been written: a gap would look like damage.
        if self._held:
            self.seq = seq_of(self._held.frames[-1])
            return
        try:
            data = self._segment.read()
        except _BROKEN:
            return
        tail = max(len(data) - _TAIL_BYTES, SEGMENT.size)
        # All of it only where the last record is a long one.
        last = _last_seq(data, tail) or _last_seq(data, SEGMENT.size) or segment_first_seq(data) - 1
        if last >= 0:
            self.seq = last

    def _put_last(self, frame: bytes) -> None:
        try:
            if not self._segment.put(frame):
                self._put_anew(frame)
        except _BROKEN as error:
            self._refused(self.seq, frame, error)

    def _forked(self) -> None:
        # In the child: the lock may be held by a thread that does not exist here, and the map is the parent's.
        self._lock = threading.RLock()
        self._files.syncing = threading.RLock()
        self._files.closed = deque()
        self._files.begin(self.folder, _CHILD_SEGMENT_BYTES)
        self._segment = self._stalled = NO_SEGMENT
        self._held = Held()
        self._busy = self._inherited = True
        self._behind = deque([(_FORKED, "")])  # should the fork have come in mid-append, which ends by `_busy = False`


def _last_seq(data: bytes, start: int) -> int:
    return max((frame.last_seq for frame in scan(data, start)), default=0)


_EXCLUSIVE: set[CodeType] = {Journal.append.__code__, Journal._exclusively.__code__}
_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for journal in list(_open_journals):
        journal._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

__all__ = ["Journal"]
