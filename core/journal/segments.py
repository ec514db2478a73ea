"""The segment files of one stream: begun, made ready ahead, brought to disk, closed, and followed when they are moved."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ..clock import Clock
from ..limits import SEGMENT_BYTES
from .frame import SEGMENT, encode_segment_header, seq_of
from .reader import OPEN_SUFFIX
from .storage import MappedSegment, NoSegment, Segment, open_segment, place_of, sync_file, sync_names

NO_SEGMENT = NoSegment()
_MAX_RETIRED = 16
_FIRST_WARM_BYTES = 256 << 10
_SPARE_WARM_BYTES = 1 << 20
_NEW_FOLDERS = 6  # that a first segment may have made: of stream, streams, run, project, entity, and all runs


class Segments:
    """What a journal knows of its files. The journal holds its lock wherever this changes the open segment.

    Args:
        clock: Gives the time for segment headers.
        notice: Takes a sentence for the user, to be said when no lock is held.
    """

    def __init__(self, clock: Clock, notice: Callable[[str], None]) -> None:
        self.clock = clock
        self.maps = False  # whether segments are mapped
        self.closed: deque[Path] = deque()  # to be sealed
        # Held while the disk is waited for, never by `append`; re-entrant, since a signal handler may flush.
        self.syncing = threading.RLock()
        self._notice = notice

    def begin(self, folder: Path, first_bytes: int) -> None:
        """Start at the first segment of a stream; its file is made by `open`."""
        self.folder = folder
        self.number = 0
        self._next_bytes = first_bytes
        self._spare: Segment | None = None
        self._retired: deque[Segment] = deque()  # full, and not yet on disk
        self._unsynced: deque[Path] = deque()  # closed before they were on disk
        self._new_folders = _NEW_FOLDERS  # whose names are not on disk yet
        self._synced_bytes = 0  # of the open segment
        self._growth_bytes = 0  # between the last two syncs
        self._is_lost = False  # the user was told that the folder is gone for good

    def open(self, first_seq: int, least: int) -> Segment:
        """Begin the next segment, with room for a frame of `least` bytes.

        Raises:
            OSError: No room, no right.
        """
        for _ in range(1000):
            try:
                segment = self._make(self.number + 1, first_seq, least)
            except FileExistsError:  # the spare one is being made, or is left of an attempt that failed half-way
                self.number += 1
                continue
            except FileNotFoundError:  # the first one, or the folder was removed
                self.folder.mkdir(parents=True, exist_ok=True)
                segment = self._make(self.number + 1, first_seq, least)
            self.number += 1
            self._next_bytes = min(self._next_bytes * 8, SEGMENT_BYTES)
            self._new_folders = max(self._new_folders, 1)
            return segment
        raise FileExistsError(f"no number is free in {self.folder}")

    def next(self, first_seq: int, least: int) -> Segment:
        """Take the segment made ready, or begin one.

        Raises:
            OSError: No room, no right.
        """
        spare, self._spare = self._spare, None
        if spare is None:
            return self.open(first_seq, least)
        self.number += 1
        return spare

    def make_spare(self, lock: threading.RLock, segment: Segment) -> None:
        """Have the segment that follows `segment` ready before it is needed.

        Raises:
            OSError: No room, no right: it is then made when it is needed.
        """
        is_soon = self.number > 1 or segment.size * 2 > getattr(segment, "room", 0)
        if self._spare is not None or not isinstance(segment, MappedSegment) or not is_soon:
            return
        number = self.number + 1
        try:
            spare = self._make(number, 0, 0)  # outside the lock: allocating takes milliseconds
        except FileExistsError:
            return
        if isinstance(spare, MappedSegment):
            spare.warm(max(_SPARE_WARM_BYTES, 2 * self._growth_bytes))
        with lock:
            if self._spare is None and number == self.number + 1 and isinstance(spare, MappedSegment):
                self._spare = spare
                self._new_folders = max(self._new_folders, 1)
                return
        _discard(spare)

    def retire(self, segment: Segment) -> None:
        """Take a segment that nothing more is written to; `sync` brings it to disk and closes it."""
        if segment is NO_SEGMENT:
            return
        self._retired.append(segment)
        # Closing takes a millisecond. It is done here only where nobody syncs: in a forked child.
        if len(self._retired) > _MAX_RETIRED and self.syncing.acquire(blocking=False):
            try:
                oldest = self._retired.popleft()
                self._close(oldest)
                self._unsynced.append(oldest.path)
            finally:
                self.syncing.release()

    def close_retired(self, timeout: float) -> None:
        """Close what was retired, and the spare one. A sync that hangs on a dead disk is waited for so long only."""
        spare, self._spare = self._spare, None
        if spare is not None:
            _discard(spare)
        if not self.syncing.acquire(timeout=timeout):
            return
        try:
            while self._retired:
                self._close(self._retired.popleft())
        finally:
            self.syncing.release()

    def sync(self, lock: threading.RLock, current: Callable[[], Segment]) -> OSError | None:
        """Have the disk keep the retired segments and the open one, and close the retired ones.

        Args:
            lock: The journal's.
            current: Answers the open segment; called under the lock.

        Returns:
            The last fault, if there was one.
        """
        fault: OSError | None = None
        with self.syncing:
            with lock:
                segment = current()
                size = segment.size
                retired = [self._retired.popleft() for _ in range(len(self._retired))]
            try:
                # Nobody else closes a segment while we hold `syncing`.
                for other in (*retired, segment):
                    fault = _sync(other.fd) or fault
            finally:
                for other in retired:
                    self._close(other)
            while self._unsynced:
                fault = _sync_path(self._unsynced.popleft()) or fault
            if self._new_folders:
                levels, self._new_folders = self._new_folders, 0
                sync_names(self.folder, levels)
            grown = size - self._synced_bytes
            self._growth_bytes = grown if grown >= 0 else size
            is_first = not self._synced_bytes
            self._synced_bytes = size
            if isinstance(segment, MappedSegment):
                # The disk has the pages; the next store into each would be a page fault, or worse.
                segment.warm(_FIRST_WARM_BYTES if is_first else 2 * self._growth_bytes + 8192)
        return fault

    def follow(self, segment: Segment) -> Segment:
        """Go with the folder where it was renamed under us; make it anew where it was removed.

        Returns:
            The open segment: `segment`, or its copy in the new folder.

        Raises:
            OSError: The folder was removed, and cannot be made again.
        """
        if segment is NO_SEGMENT:
            return segment
        place = place_of(segment)
        if place is None:
            return self._restore(segment)
        if place != segment.path:
            old, self.folder = self.folder, place.parent
            segment.path = place
            if self._spare is not None:
                self._spare.path = self.folder / self._spare.path.name
            self._notice(f"the folder {old} is now {self.folder}; the run goes on there.")
        return segment

    def _restore(self, segment: Segment) -> Segment:
        frames = segment.read()[SEGMENT.size :]  # the file has no name any more, its bytes are still there
        self._spare = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            copy = self.open(seq_of(frames) if frames else 0, len(frames))
            if frames:
                copy.put(frames)
        except OSError as error:
            if not self._is_lost:
                self._is_lost = True
                self._notice(
                    f"the folder {self.folder} was removed while the run was writing to it, and cannot be made anew "
                    f"({error}). Make it again before the run ends, or what was logged is lost."
                )
            raise
        self._is_lost = False
        segment.close()
        self._notice(f"the folder {self.folder} was removed while the run was writing to it; it was made anew.")
        return copy

    def _make(self, number: int, first_seq: int, least: int) -> Segment:
        header = encode_segment_header(first_seq, self.clock.now_ns())
        path = self.folder / f"{number:08d}{OPEN_SUFFIX}"
        return open_segment(path, header, is_mapped=self.maps, wanted=self._next_bytes, least=least)

    def _close(self, segment: Segment) -> None:
        try:
            segment.close()
        except OSError:  # it could not be cut; the zeros behind the last frame do no harm
            pass
        self.closed.append(segment.path)


def _discard(spare: Segment) -> None:
    try:
        spare.close()
        spare.path.unlink(missing_ok=True)
    except OSError:  # an empty segment more; readers do not mind
        return


def _sync(fd: int) -> OSError | None:
    try:
        if fd >= 0:
            sync_file(fd)
    except OSError as error:
        return error
    return None


def _sync_path(path: Path) -> OSError | None:
    try:
        fd = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # sealed, and thereby on disk
        return None
    except OSError as error:
        return error
    try:
        return _sync(fd)
    finally:
        os.close(fd)
