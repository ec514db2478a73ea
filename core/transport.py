"""From the sender to a server: one batch of frames at a time, answered by the server's cursor.

A transport answers where the server stands, whatever the way there: after a batch, after a repeated one, and after
one that begins too far on. Everything else is a `TransportError` whose `status` tells what kind; nothing is final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from .connection import Connection
from .errors import TransportError
from .limits import CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS
from .paths import RunPath

FRAMES = "application/x-tracker-frames"


@dataclass(frozen=True)
class Batch:
    """Frames of one stream, in order.

    Args:
        path: The run.
        stream: The stream's id.
        after: The last sequence number the server is believed to have.
        last_seq: The sequence number of the last record in `body`.
        body: The frames.
        rows: How many of the records are rows.
    """

    path: RunPath
    stream: str
    after: int
    last_seq: int
    body: bytes
    rows: int


class Transport(Protocol):
    """Takes batches to wherever runs are kept. Used from one thread at a time."""

    @property
    def address(self) -> str:
        """Where to, as people read it; never holds a secret."""
        ...

    def send(self, batch: Batch) -> int:
        """Deliver a batch.

        Returns:
            The server's cursor: the highest sequence number up to which it has everything. It may be lower than
            `batch.after` (the server lost something, or is another one) or higher than `batch.last_seq`.

        Raises:
            TransportError: It was not taken. `status` 413: too large; 400 or 422: something in it is refused; anything
                else: it may be taken later.
        """
        ...

    def close(self) -> None:
        """Let connections go."""
        ...


class HttpTransport:
    """Posts batches to a tracker server.

    Args:
        base_url: The server, `http://...` or `https://...`.
        api_key: The key, or what answers it; None where the server wants none. See `Connection`.
        connect_seconds: Limit for the connection.
        read_seconds: Limit for the whole answer, from the last byte of the request on.

    Raises:
        UsageError: The address is none.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | Callable[[], str | None] | None = None,
        *,
        connect_seconds: float = CONNECT_TIMEOUT_SECONDS,
        read_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        self.connection = Connection(base_url, api_key, connect_seconds=connect_seconds, read_seconds=read_seconds)

    @property
    def address(self) -> str:
        """The server's address, without user and password."""
        return self.connection.address

    def __repr__(self) -> str:
        return f"HttpTransport({self.address!r})"

    def send(self, batch: Batch) -> int:
        """Post a batch; see `Transport.send`."""
        names = "/".join(quote(name, safe="") for name in (*batch.path, batch.stream))
        answer = self.connection.ask(
            "POST", f"/streams/{names}?after={batch.after}", batch.body, {"Content-Type": FRAMES}
        )
        if answer.status in (200, 409):
            acked = (answer.json() or {}).get("acked")
            if type(acked) is int and acked >= 0:
                self.connection.accept()
                return acked
        raise self.connection.refusal(answer)

    def close(self) -> None:
        """Let connections go."""
        self.connection.close()


class MemoryTransport:
    """Keeps what was sent in memory, as a server would: for tests.

    Args:
        faults: One per call of `send`, in order: None (all is well), an exception to raise, an int (the HTTP status to
            refuse with), or "lost answer" (taken, and then the connection breaks). Once used up, all is well.

    Example:
        >>> transport = MemoryTransport(faults=[503, "lost answer"])
    """

    address = "memory"

    def __init__(self, faults: Iterable[Exception | int | str | None] = ()) -> None:
        self.batches: list[Batch] = []
        self.cursors: dict[tuple[RunPath, str], int] = {}
        self.is_closed = False
        self._faults = iter(faults)
        self._entries: dict[tuple[RunPath, str], list[Any]] = {}

    def send(self, batch: Batch) -> int:
        """Take a batch in, or do what the next fault says."""
        from .journal import Block, entries, scan

        fault = next(self._faults, None)
        if isinstance(fault, int):
            raise TransportError(f"memory answers {fault}", status=fault)
        if isinstance(fault, Exception):
            raise fault
        self.batches.append(batch)
        stream = (batch.path, batch.stream)
        cursor = self.cursors.get(stream, 0)
        if batch.after > cursor:
            return cursor
        kept = self._entries.setdefault(stream, [])
        for entry in entries(scan(batch.body), cursor):
            kept.append(entry)
            cursor = entry.last_seq if isinstance(entry, Block) else entry.seq
        self.cursors[stream] = cursor
        if fault is not None:
            raise TransportError("memory: the connection broke after the batch was taken")
        return cursor

    def close(self) -> None:
        """Remember that it was called."""
        self.is_closed = True

    def entries(self, path: RunPath | None = None) -> list[Any]:
        """Answer what was taken in, `Block` and `Control`, by stream, in order."""
        return [
            entry for (of, _), kept in sorted(self._entries.items()) if path is None or of == path for entry in kept
        ]

    def rows(self, path: RunPath | None = None) -> list[dict[str, Any]]:
        """Answer the rows that were taken in, each with its `_step` and `_time_ns`."""
        from .journal import Block

        return [
            {"_step": step, "_time_ns": time_ns, **values}
            for entry in self.entries(path)
            if isinstance(entry, Block)
            for step, time_ns, values in entry.rows()
        ]


__all__ = ["Batch", "HttpTransport", "MemoryTransport", "Transport"]
