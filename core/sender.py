"""The thread that follows a run's journal and brings it to a server. Only there where a server is configured.

The training thread never waits for it: the sender reads what the journal holds, as any reader does, and what it does
not manage while the run goes on is sent by `finish()`, by the next start, or by `tracker sync`.
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from .backoff import Backoff
from .errors import FormatError, TransportError
from .journal import Journal
from .limits import BACKOFF_FINISHING_SECONDS, FINISH_STALL_SECONDS, SEND_INTERVAL_SECONDS, UNREADABLE_RETRY_SECONDS
from .paths import RunPath, data_root
from .progress import Progress
from .shipping import Shipper, last_seq
from .sync import Leftover, leftovers
from .transport import Transport

_LAST_WAIT_SECONDS = 0.2  # for the thread to let its connection go
_POLL_SECONDS = 0.1


class Left(NamedTuple):
    """What is still on this machine only.

    Args:
        points: Rows and other records.
        command: What sends them.
    """

    points: int
    command: str


class Sender:
    """Sends the streams of one process.

    Args:
        stream_folders: Answers the folders of the streams to send; asked again and again, for more may come.
        path: The run.
        transport: Where to; closed by `finish`.
        say: Takes a sentence for the user. Each trouble is said once a minute at most, and once more when it is over.
        clock: Answers seconds that only go forward.
        interval_seconds: Between looks at the journal.
        command: What a user types to send the rest.
        others: Walks the streams that earlier runs have left, as long as what it is given answers True; asked once, and
            sent when the own streams are up to date.
        after_others: Called once when there is nothing more of those, with what answers whether it is still wanted.
        is_silent: Draw no progress bar.

    Example:
        sender = Sender.for_journal(journal, path, HttpTransport(url, key), root=root, say=print)
        sender.start()
        ...
        left = sender.finish()
    """

    def __init__(
        self,
        stream_folders: Callable[[], Iterable[Path]],
        path: RunPath,
        transport: Transport,
        *,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        interval_seconds: float = SEND_INTERVAL_SECONDS,
        command: str = "tracker sync",
        others: Callable[[Callable[[], bool]], Iterable[Leftover]] = lambda _is_wanted: (),
        after_others: Callable[[Callable[[], bool]], object] = lambda _is_wanted: None,
        is_silent: bool = False,
    ) -> None:
        self._stream_folders = stream_folders
        self._path = path
        self._transport = transport
        self._say = say
        self._clock = clock
        self._interval = interval_seconds
        self._command = command
        self._others = others
        self._after_others: Callable[[Callable[[], bool]], object] | None = after_others
        self._is_silent = is_silent
        self._pid = os.getpid()
        self._own: dict[Path, Shipper] = {}
        self._left_over: Iterator[Leftover] | None = None
        self._other: Shipper | None = None
        self._resting: dict[Path, float] = {}  # streams that cannot be read, and until when they are let be
        self._backoff = Backoff(say, clock)
        self._not_before = 0.0
        self._is_told_to_wait = False  # by a Retry-After
        self._progress_at = clock()
        self._is_finishing = False
        self._is_stopping = False
        self._wake = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tracker-sender", daemon=True)

    @classmethod
    def for_journal(
        cls,
        journal: Journal,
        path: RunPath,
        transport: Transport,
        *,
        root: Path,
        say: Callable[[str], object],
        after_others: Callable[[Callable[[], bool]], object] = lambda _is_wanted: None,
        is_silent: bool = False,
    ) -> Sender:
        """Make the sender of a process: its own stream, and those of the children it forks.

        Args:
            journal: The open journal.
            path: The run.
            transport: Where to.
            root: The folder of all runs; what earlier runs have left there is sent as well.
            say: Takes a sentence for the user.
            after_others: See the class.
            is_silent: Draw no progress bar.
        """
        own, streams = journal.id, journal.streams
        home = streams.parents[3]  # not always `root`: a folder that cannot be written is stood in for

        def stream_folders() -> list[Path]:
            try:
                names = sorted(os.listdir(streams))
            except OSError:  # removed under us
                return []
            return [streams / name for name in names if name == own or name.startswith(f"{own}.")]

        command = "tracker sync" if home == data_root() else f"tracker sync {shlex.quote(str(home))}"
        return cls(
            stream_folders,
            path,
            transport,
            say=say,
            command=command,
            others=lambda is_wanted: leftovers(root, transport.address, is_wanted),
            after_others=after_others,
            is_silent=is_silent,
        )

    def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: There can be no thread any more: the interpreter shuts down.
        """
        self._thread.start()

    def wake(self) -> None:
        """Look at the journal now. While the server does not serve, the pause it needs is kept all the same."""
        if os.getpid() == self._pid:
            self._wake.set()

    def finish(self, stall_seconds: float = FINISH_STALL_SECONDS, timeout: float | None = None) -> Left:
        """Send the rest, and end. Never raises for the server's sake, and never hangs.

        Args:
            stall_seconds: Return when the server has acknowledged nothing for so long.
            timeout: Seconds after which to return in any case; None for no such limit.

        Returns:
            What could not be sent; the journal has it.
        """
        if os.getpid() != self._pid:  # a forked child: the thread is its parent's
            return Left(0, self._command)
        began = self._progress_at = self._clock()
        self._is_finishing = True
        self._wake.set()
        self._wait(began, stall_seconds, timeout)
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_LAST_WAIT_SECONDS)
        set_aside = sum(shipper.set_aside for shipper in list(self._own.values()))
        if set_aside > 1:  # one was told when it happened
            self._say(f"the server has refused {set_aside:,} records of this run; they are in the journal only.")
        return Left(0 if self._done.is_set() else self._left(), self._command)

    def _wait(self, began: float, stall_seconds: float, timeout: float | None) -> None:
        start = sum(shipper.acked for shipper in list(self._own.values()))
        total = -1
        with Progress("sending", "records", is_silent=self._is_silent, clock=self._clock) as bar:
            while self._thread.is_alive() and not self._done.is_set():
                now = self._clock()
                rest = stall_seconds - (now - self._progress_at)
                if timeout is not None:
                    rest = min(rest, timeout - (now - began))
                if rest <= 0:
                    return
                if now - began > _POLL_SECONDS:
                    if total < 0:
                        total = self._left()
                    bar.total = total
                    bar.update(sum(shipper.acked for shipper in list(self._own.values())) - start)
                self._done.wait(min(_POLL_SECONDS, rest))

    def _left(self) -> int:
        count = 0
        for folder in self._stream_folders():
            shipper = self._own.get(folder)
            count += max(0, last_seq(folder) - (shipper.acked if shipper else 0))
        return count

    # --- the thread ----------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._is_stopping:
                wait = self._round()
                if wait > 0 and not self._is_stopping:
                    self._wake.wait(wait)
                self._wake.clear()
        finally:
            self._transport.close()

    def _round(self) -> float:
        """Send what there is, one batch a stream; answer the seconds until there is something to do again."""
        now = self._clock()
        is_finishing = self._is_finishing  # before looking: what comes later is met by the next round
        if is_finishing and not self._is_told_to_wait:
            self._not_before = min(self._not_before, now + BACKOFF_FINISHING_SECONDS)
        if now < self._not_before:
            return self._not_before - now
        began = now
        try:
            has_sent = False
            for folder in self._stream_folders():
                if folder not in self._own:
                    self._own[folder] = self._shipper(folder, self._path)
                began = self._clock()
                has_sent |= self._step(self._own[folder])
            has_more = has_sent and (is_finishing or any(shipper.has_more for shipper in self._own.values()))
            if not has_more and not is_finishing:
                began = self._clock()
                has_more = self._step_of_others()
        except TransportError as error:
            wait = self._backoff.failed(error, began, is_finishing=is_finishing)
            self._not_before = self._clock() + wait
            self._is_told_to_wait = error.retry_after is not None
            return wait
        except Exception as error:  # the thread must live as long as the run
            self._say(f"an unexpected fault in the sender: {type(error).__name__}: {error}")
            self._not_before = self._clock() + UNREADABLE_RETRY_SECONDS
            return UNREADABLE_RETRY_SECONDS
        if has_more:
            return 0.0
        if is_finishing and not any(shipper.has_hole for shipper in self._own.values()):
            if not self._resting:
                self._done.set()
            self._is_stopping = True
        return self._interval

    def _step(self, shipper: Shipper, *, is_final: bool = False) -> bool:
        if self._clock() < self._resting.get(shipper.folder, 0.0):
            return False
        before = shipper.acked
        try:
            has_sent = shipper.step(is_final=is_final)
        except (OSError, FormatError) as error:
            if isinstance(error, TransportError):
                raise
            self._say(f"{shipper.folder} cannot be read to be sent ({error}); it is tried again.")
            self._resting[shipper.folder] = self._clock() + UNREADABLE_RETRY_SECONDS
            return False
        self._resting.pop(shipper.folder, None)
        if has_sent:
            self._backoff.succeeded(self._transport.address)
        if shipper.acked > before:
            self._progress_at = self._clock()
        return has_sent

    def _step_of_others(self) -> bool:
        if self._left_over is None:
            self._left_over = iter(self._others(lambda: not self._is_finishing))
        while True:
            if self._other is None:
                left = next(self._left_over, None)
                if left is None:
                    after, self._after_others = self._after_others, None
                    if after is not None:
                        after(lambda: not self._is_finishing)
                    return False
                self._other = self._shipper(left.folder, left.path)
            if self._step(self._other, is_final=True):
                return True
            self._resting.pop(self._other.folder, None)
            self._other = None

    def _shipper(self, folder: Path, path: RunPath) -> Shipper:
        return Shipper(folder, path, self._transport, say=self._say, breathe=self._breathe, clock=self._clock)

    def _breathe(self, seconds: float) -> None:
        if not self._is_finishing:
            time.sleep(seconds)
