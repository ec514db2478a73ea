"""The one thread of a run on a single machine: it keeps what the journal promises.

Every second it has the disk confirm what was appended (that bounds what a power cut can take), makes the next segment
ready, seals closed ones, completes rows that waited for a device, and now and then says that the process is alive.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from .clock import Clock
from .deferred import Waiting
from .errors import FormatError
from .journal import Journal
from .journal.seal import seal
from .limits import HEARTBEAT_INTERVAL_SECONDS, MAX_DEFERRED_ROWS, SYNC_INTERVAL_SECONDS
from .record import Kind, encode_control

_DEFERRED_POLL_SECONDS = 0.01


class Keeper:
    """Looks after a journal in the background.

    Args:
        journal: The journal to keep.
        clock: Tells the time of heartbeats.
        complete: Takes a deferred row whose values have arrived; it must not raise.
        say: Takes a sentence for the user.
    """

    def __init__(
        self, journal: Journal, clock: Clock, complete: Callable[[Waiting], None], say: Callable[[str], None]
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._complete = complete
        self._say = say
        self._deferred: deque[Waiting] = deque()
        # A bell rather than an Event: a signal handler may ring it while it is being rung.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._is_stopping = False
        self._chores: list[Callable[[], object]] = []
        self._synced_seq = -1
        self._beaten_seq = 0
        self._thread = threading.Thread(target=self._work, name="tracker-keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def add_chore(self, chore: Callable[[], object]) -> None:
        """Have something short done about every second."""
        self._chores.append(chore)

    def remove_chore(self, chore: Callable[[], object]) -> None:
        """Have it done no longer."""
        if chore in self._chores:
            self._chores.remove(chore)

    def wake(self) -> None:
        """Look after the journal now rather than at the next second; costs well under a microsecond."""
        self._bell.put(None)

    def defer(self, row: Waiting) -> bool:
        """Take a row that waits for a device; False when too many wait already, or there is no thread to complete it."""
        if len(self._deferred) >= MAX_DEFERRED_ROWS or self._is_stopping or not self._thread.is_alive():
            return False  # no thread: in a forked child
        self._deferred.append(row)
        self._bell.put(None)
        return True

    def flush(self, timeout: float) -> bool:
        """Wait until no deferred row is left; answer whether that was so within `timeout` seconds."""
        limit = time.monotonic() + timeout
        while self._deferred and self._thread.is_alive() and time.monotonic() < limit:
            self._bell.put(None)
            time.sleep(0.001)
        return not self._deferred

    def stop(self, timeout: float) -> bool:
        """Complete what is deferred, have all of it on disk, and end.

        Args:
            timeout: Seconds to wait for that at most.

        Returns:
            Whether it came to its end: False where the disk, or a device, does not answer.
        """
        self._is_stopping = True
        self._bell.put(None)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        if self._deferred:
            self._say(f"{len(self._deferred)} rows still waited for the device and are lost.")
        return not self._thread.is_alive()

    def seal_closed(self, budget_seconds: float, breathe: Callable[[float], object]) -> None:
        """Seal closed segments, until there are none or the time is used up.

        Args:
            budget_seconds: What is not begun by then is left for later.
            breathe: See `seal`.
        """
        limit = time.monotonic() + budget_seconds
        closed = self._journal.closed_segments
        while closed and time.monotonic() < limit:
            path = closed.popleft()
            try:
                seal(path, breathe)
            except (OSError, FormatError):  # full disk, removed folder: the open form is just as readable
                continue

    def _work(self) -> None:
        next_sync = 0.0
        next_beat = time.monotonic() + HEARTBEAT_INTERVAL_SECONDS
        while True:
            now = time.monotonic()
            wait = next_sync - now
            if self._deferred:
                wait = min(wait, _DEFERRED_POLL_SECONDS)
            if wait > 0 and not self._is_stopping:
                self._listen(wait)
            self._quieten()
            is_last = self._is_stopping
            try:
                self._finish_deferred(wait_for_all=is_last)
                self._prepare()
                if is_last or time.monotonic() >= next_sync:
                    next_sync = time.monotonic() + SYNC_INTERVAL_SECONDS
                    for chore in list(self._chores):
                        chore()
                    self._sync()
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + HEARTBEAT_INTERVAL_SECONDS
                    self._beat()
            except Exception as error:  # the thread must live as long as the run
                self._say(f"an unexpected fault in the keeper: {type(error).__name__}: {error}")
            if is_last:
                return
            self.seal_closed(SYNC_INTERVAL_SECONDS / 2, self._breathe)

    def _breathe(self, seconds: float) -> None:
        time.sleep(seconds)
        if not self._bell.empty():  # a new segment was begun: have the next one ready before sealing on
            self._quieten()
            self._prepare()

    def _listen(self, seconds: float) -> None:
        try:
            self._bell.get(timeout=seconds)
        except Empty:
            return

    def _quieten(self) -> None:
        while not self._bell.empty():
            self._bell.get()

    def _finish_deferred(self, wait_for_all: bool) -> None:
        while self._deferred and (wait_for_all or self._deferred[0].is_ready):
            self._complete(self._deferred[0])
            self._deferred.popleft()

    def _prepare(self) -> None:
        try:
            self._journal.prepare()
        except OSError:  # met again, and said, where a record cannot be written
            return

    def _sync(self) -> None:
        seq = self._journal.seq
        if seq == self._synced_seq:
            return
        try:
            self._journal.sync()
        except OSError as error:
            self._say(
                f"the disk under {self._journal.folder} does not confirm what was written ({error}); "
                "a power cut would lose it."
            )
        else:
            self._synced_seq = seq

    def _beat(self) -> None:
        # Rows tell that the process is alive as well; a heartbeat is for when there are none.
        if self._journal.seq == self._beaten_seq:
            self._journal.append(Kind.HEARTBEAT, encode_control(self._clock.now_ns(), {}))
        self._beaten_seq = self._journal.seq
