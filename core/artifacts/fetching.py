"""Bytes of a server, kept in a folder here: what is there already is not fetched again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from ..backoff import Backoff
from ..blobs import FolderBlobs
from ..blobs.remote import RemoteBlobs
from ..complaints import tell
from ..connection import Connection
from ..errors import DamagedBlob, StorageError, TransportError
from ..limits import FETCH_THREADS, SYNC_STALL_SECONDS


class FetchedBlobs:
    """Where the bytes of versions come from, online. See `restoring.Blobs`.

    Args:
        local: The folder; what is fetched stays there, until it is cleaned up.
        connection: The server.
        stall_seconds: Give up when nothing has come for so long.
        threads: How many blobs are fetched at a time.
        clock: Answers seconds that only go forward.
        sleep: Waits.
    """

    def __init__(
        self,
        local: FolderBlobs,
        connection: Connection,
        *,
        stall_seconds: float = SYNC_STALL_SECONDS,
        threads: int = FETCH_THREADS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._local = local
        self._connection = connection
        self._stall = stall_seconds
        self._count = threads
        self._clock = clock
        self._sleep = sleep
        self._own = threading.local()
        self._came_at = clock()
        self._backoff = Backoff(lambda sentence: tell(sentence, level=30), clock, comfort="It is tried again.")
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    def read(self, digest: str) -> bytes:
        """Answer the plain bytes, checked; what is missing or damaged here is fetched.

        Raises:
            StorageError, TransportError: They cannot be had.
        """
        try:
            return self._local.read(digest)
        except (FileNotFoundError, DamagedBlob):
            self.fetch([digest])
            return self._local.read(digest)

    def fetch(self, digests: Iterable[str]) -> None:
        """Have these at hand, several at a time.

        Raises:
            StorageError: Some are nowhere, or damaged on the server; it names them. Or the disk here does not serve.
            TransportError: The server does not answer.
        """
        wanted = list(dict.fromkeys(digests))
        missing = self._local.missing(wanted)
        self._local.touch(set(wanted).difference(missing))
        if not missing:
            return
        self._came_at = self._clock()
        at_once = self._threads().map if len(missing) > 1 else map
        faults = list(at_once(self._fetch, missing))
        lost = [digest for digest, fault in zip(missing, faults, strict=True) if fault is not None]
        first = next((fault for fault in faults if fault is not None), None)
        if isinstance(first, (FileNotFoundError, DamagedBlob)):
            raise StorageError(
                f"{len(lost):,} blobs cannot be had from {self._connection.address}: {', '.join(lost[:3])} ({first}). "
                "Send them again from where they were logged: tracker sync."
            ) from first
        if first is not None:
            raise first

    def _fetch(self, digest: str) -> OSError | TransportError | None:
        """Fetch one; answer why it cannot be had."""
        while True:
            began = self._clock()
            try:
                self._remote().fetch(self._local, digest)
            except TransportError as error:
                if error.status in (401, 403):
                    return error
                with self._lock:
                    wait = self._backoff.failed(error, began, is_finishing=True)
                    is_over = self._clock() + wait - self._came_at > self._stall
                if is_over:
                    return error
                self._sleep(wait)
            except OSError as error:
                return error
            else:
                with self._lock:
                    self._came_at = self._clock()
                    self._backoff.succeeded(self._connection.address)
                return None

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._pid != os.getpid():  # a forked child has none of its parent's threads
                self._pool = ThreadPoolExecutor(self._count, "tracker-fetch")
                self._pid = os.getpid()
            return self._pool

    def _remote(self) -> RemoteBlobs:
        """Answer this thread's own way to the server."""
        found: RemoteBlobs | None = getattr(self._own, "remote", None)
        if found is None or self._own.pid != os.getpid():
            found = self._own.remote = RemoteBlobs(self._connection.twin())
            self._own.pid = os.getpid()
        return found
