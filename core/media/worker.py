"""The thread that encodes what was logged, in the order in which it was logged."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ..limits import MAX_MEDIA_MEMORY_BYTES, MAX_VALUE_BYTES, SYNC_INTERVAL_SECONDS
from ..paths import run_blobs
from ..progress import Progress
from ..record import Kind, encode_control
from ..values import Reference, Unstorable, encodable, encode
from .base import Encodable, digests_in
from .held import Spill
from .split import Taken

if TYPE_CHECKING:
    from ..blobs import FolderBlobs
    from ..run import Run

_POLL_SECONDS = 0.1
_NO_NUMBERS = str.maketrans("", "", "0123456789.,+-")


class _Item:
    """A value of a row, or of the summary, that waits for its encoding."""

    def __init__(self, step: int | float | None, time_ns: int, key: str, taken: Taken | list[Taken]) -> None:
        self.step = step
        self.time_ns = time_ns
        self.key = key
        self.taken = taken
        several = taken if isinstance(taken, list) else [taken]
        self.encodables = [one for one in several if isinstance(one, Encodable)]
        self.in_memory = sum(held.in_memory for one in self.encodables for held in one.held())
        self.is_done = False

    def spill(self, spill: Spill) -> None:
        for one in self.encodables:
            for held in one.held():
                held.spill(spill)


class MediaWorker:
    """Encodes the media of a run, keeps their bytes, and appends their rows.

    What waits is bounded: beyond `MAX_MEDIA_MEMORY_BYTES` the oldest wait on disk.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self.pid = os.getpid()
        self._spill = Spill(self._spill_folder)
        # An event asks for what was encoded to be on disk; None for the end.
        self._queue: SimpleQueue[_Item | threading.Event | None] = SimpleQueue()
        self._resident: deque[_Item] = deque()  # in memory, the oldest first
        self._in_memory = 0  # bytes
        # Re-entrant: a signal handler that logs runs on the thread that may hold it.
        self._lock = threading.RLock()
        self._taken = 0
        self._done = 0
        self._lost = 0
        self._is_synced = True
        self._next_sync = 0.0
        self._is_over = False
        self._thread: threading.Thread | None = None

    def take(self, step: int | float | None, time_ns: int, media: dict[str, Taken | list[Taken]]) -> None:
        """Take what was logged; never raises, and waits for nothing but a full memory.

        Args:
            step: Of the row; None: they go into the summary.
            time_ns: When that was, in nanoseconds since the epoch.
            media: Snapshots by name.
        """
        for key, taken in media.items():
            item = _Item(step, time_ns, key, taken)
            if not item.encodables or not self._has_thread():
                self._finish_one(item)
                continue
            with self._lock:
                self._taken += 1
                self._in_memory += item.in_memory
                self._resident.append(item)
            self._queue.put(item)
        if self._in_memory > MAX_MEDIA_MEMORY_BYTES:
            self._make_room()

    def flush(self, stall_seconds: float) -> bool:
        """Wait until what was logged is encoded, and on disk.

        Args:
            stall_seconds: Give up when nothing was done for so long.

        Returns:
            Whether all is done.
        """
        if self._thread is None or self.pid != os.getpid():
            return True
        is_synced = threading.Event()
        self._queue.put(is_synced)
        first = before = self._done
        limit = time.monotonic() + stall_seconds
        with Progress("encoding", "media", is_silent=self._run._complaints.is_silent) as bar:
            while not is_synced.wait(_POLL_SECONDS):
                if self._done != before:
                    before, limit = self._done, time.monotonic() + stall_seconds
                if not self._thread.is_alive() or time.monotonic() > limit:
                    return False
                bar.total = self._taken - first
                bar.update(self._done - first)
        return True

    def finish(self, stall_seconds: float) -> None:
        """Wait as `flush` does, then end; what is left by then is lost, and that is said.

        Args:
            stall_seconds: Give up when nothing was done for so long.
        """
        is_done = self.flush(stall_seconds)
        self._is_over = True
        self._queue.put(None)
        if not is_done:
            self._run._complaints.say(
                f"{self._taken - self._done:,} of the media that were logged are not kept: none was encoded for {stall_seconds:g} s."
            )
        if self._lost:
            self._run._complaints.say(
                f"{self._lost:,} of the media that were logged are lost: they found room neither in memory nor on disk."
            )

    # --- the queue -----------------------------------------------------------------------

    def _has_thread(self) -> bool:
        """Answer whether there is a thread to encode, begun where need be: none in a forked child, nor at the end."""
        if self.pid != self._run._pid or self._is_over:
            return False
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="tracker-media", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending, or there are too many threads
                return False
            self._thread = thread
        return self._thread.is_alive()

    def _make_room(self) -> None:
        while self._in_memory > MAX_MEDIA_MEMORY_BYTES:
            with self._lock:
                if not self._resident:
                    return
                item = self._resident.popleft()
            if item.is_done:
                continue
            try:
                item.spill(self._spill)
            except OSError as error:
                self._lose(item, error)
            self._forget_bytes_of(item)

    def _lose(self, item: _Item, error: OSError) -> None:
        item.is_done = True  # where it is being encoded this very moment, it is kept all the same
        self._lost += 1
        self._run._complaints.once(
            "media lost", f"{item.key!r} {_place(item)} is lost: too many media wait, and {error}."
        )

    def _forget_bytes_of(self, item: _Item) -> None:
        with self._lock:
            self._in_memory -= item.in_memory
            item.in_memory = 0

    def _spill_folder(self) -> Path:
        folder = run_blobs(self._run.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @cached_property
    def _blobs(self) -> FolderBlobs:
        from ..blobs import FolderBlobs  # slow to load: that is for the thread; forks wait meanwhile (`forks.py`)

        return FolderBlobs(run_blobs(self._run.folder))

    # --- the thread ----------------------------------------------------------------------

    def _work(self) -> None:
        _ = self._blobs
        while (item := self._next()) is not None and not self._is_over:
            if isinstance(item, threading.Event):
                self._sync()
                item.set()
                continue
            if not item.is_done:
                self._finish_one(item)
            item.is_done = True
            self._forget_bytes_of(item)
            with self._lock:
                while self._resident and self._resident[0].is_done:
                    self._resident.popleft()
                self._done += 1
            self._is_synced = False
            if time.monotonic() >= self._next_sync:
                self._sync()
            del item  # its bytes: nobody needs them while we wait for the next one

    def _next(self) -> _Item | threading.Event | None:
        if not self._is_synced:
            try:
                return self._queue.get(timeout=max(0.0, self._next_sync - time.monotonic()))
            except Empty:
                self._sync()
        return self._queue.get()

    def _sync(self) -> None:
        """Have the disk keep what was encoded, whatever happens to the machine."""
        self._next_sync = time.monotonic() + SYNC_INTERVAL_SECONDS
        self._is_synced = True
        try:
            self._blobs.sync()
        except OSError as error:
            self._run._complaints.say(f"{error} A power cut could take media that were logged.")

    def _finish_one(self, item: _Item) -> None:
        """Encode an item and append its row; whatever is wrong is said."""
        try:
            self._write(item, self._encoded(item))
        except Unstorable as error:
            self._complain(item, str(error))
        except Exception as error:  # training must go on, and so must the thread
            self._complain(item, f"could not be encoded ({type(error).__name__}: {error})")

    def _encoded(self, item: _Item) -> Any:
        if not isinstance(item.taken, list):
            return self._one(item, item.taken)
        kept = []
        for number, one in enumerate(item.taken):
            try:
                kept.append(self._one(item, one))
            except Unstorable as error:
                self._complain(item, f"has an item {number} that {error}")
        if not kept:
            raise Unstorable("has no item that can be kept")
        return kept

    def _one(self, item: _Item, taken: Taken) -> Reference:
        if isinstance(taken, Reference):
            return taken
        reference = taken.encode(self._blobs)
        for note in taken.notes:
            self._complain(item, note)
        return reference

    def _write(self, item: _Item, value: Any) -> None:
        if item.step is None:
            kind, payload = Kind.SUMMARY, encode_control(item.time_ns, {"set": {item.key: value}, "remove": []})
        else:
            kind, payload = Kind.ROW, encode((item.step, item.time_ns, {item.key: encodable(value)}))
        if len(payload) > MAX_VALUE_BYTES:
            raise Unstorable(f"takes {len(payload):,} bytes in its row, at most {MAX_VALUE_BYTES:,} are kept")
        if self._is_over and self._thread is threading.current_thread():  # the run has ended without us
            return
        self._run._journal.append(kind, payload)
        uploads = self._run._uploads
        if uploads is not None:
            beside = (digest for one in item.encodables for digest in one.digests())
            uploads.blobs("run", list(dict.fromkeys([*digests_in(value), *beside])))

    def _complain(self, item: _Item, why: str) -> None:
        # Numbers differ from step to step; that is no reason to say it again.
        gist = why.translate(_NO_NUMBERS)[:80]
        self._run._complaints.once(f"{item.key}: {gist}", f"{item.key!r} {_place(item)} {why}.")


def _place(item: _Item) -> str:
    return "in the summary" if item.step is None else f"at step {item.step}"
