"""From the sender to a server: one batch of frames at a time, answered by the server's cursor.

A transport answers where the server stands, whatever the way there: after a batch, after a repeated one, and after
one that begins too far on. Everything else is a `TransportError` whose `status` tells what kind; nothing is final.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from .errors import TransportError, UsageError
from .limits import CONNECT_TIMEOUT_SECONDS, MAX_ANSWER_BYTES, READ_TIMEOUT_SECONDS, RETRY_AFTER_LIMIT_SECONDS
from .paths import RunPath

if TYPE_CHECKING:
    import requests

FRAMES = "application/x-tracker-frames"
_LOOPBACK = ("localhost", "::1")


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
    """Posts batches to a tracker server with `requests`, which is imported at the first `send`.

    TLS is always verified, redirects are not followed (the key would travel along), and the key stands in the
    `Authorization` header and nowhere else. A request is bounded as a whole, however slowly the server trickles.

    Args:
        base_url: The server, `http://...` or `https://...`.
        api_key: The key, or what answers it; None where the server wants none. Once a key was refused, the settings
            (environment, user's file) are read again before each try, so a new key works at once.
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
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"the server's address is {base_url!r}; it is written http://host:port or https://host.")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._origin = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
        self._base = self._origin + parts.path.rstrip("/")
        self._userinfo = (parts.username, parts.password or "") if parts.username else None
        self._is_local = parts.hostname in _LOOPBACK or parts.hostname.startswith("127.")
        self._key = api_key
        self._refused: set[str | None] = set()
        self._timeout = (connect_seconds, read_seconds)
        self._session: requests.Session | None = None
        self._pid = 0

    @property
    def address(self) -> str:
        """The server's address, without user and password."""
        return self._base

    def __repr__(self) -> str:
        return f"HttpTransport({self._base!r})"

    def send(self, batch: Batch) -> int:
        """Post a batch; see `Transport.send`."""
        from .http import Unanswered

        names = "/".join(quote(name, safe="") for name in (*batch.path, batch.stream))
        url = f"{self._base}/api/v1/streams/{names}?after={batch.after}"
        key = self._current_key()
        try:
            status, headers, body = self._post(url, batch.body, key)
        except Unanswered as error:
            raise TransportError(f"{self._base} does not answer: {error}") from error
        if status in (200, 409):
            acked = _acked(body)
            if acked is not None:
                self._refused.clear()
                return acked
        raise self._refusal(status, headers, body, key)

    def close(self) -> None:
        """Let connections go."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _post(self, url: str, body: bytes, key: str | None) -> tuple[int, Any, bytes]:
        from .http import Authorization, open_session, post

        if self._session is None or self._pid != os.getpid():  # a forked child must not write to its parent's sockets
            self._session = open_session(self._is_local)
            self._pid = os.getpid()
        headers = {"Content-Type": FRAMES}
        authorization = Authorization(key, self._userinfo)
        return post(self._session, url, body, headers, authorization, self._timeout, MAX_ANSWER_BYTES)

    def _current_key(self) -> str | None:
        given = self._key() if callable(self._key) else self._key
        if given not in self._refused:
            return given
        for key in _known_keys(self._base):
            if key not in self._refused:
                return key
        self._refused.clear()  # all were refused: the server may know the first one again
        return given

    def _refusal(self, status: int, headers: Any, body: bytes, key: str | None) -> TransportError:
        where = self._base
        if status in (401, 403):
            self._refused.add(key)
            what = "refuses the API key" if key else "wants an API key"
            return TransportError(
                f"{where} {what} ({status}{_detail(body)}). Everything is kept on this machine. Put a valid key into "
                "TRACKER_API_KEY before the start, or as api_key into the settings file: a run under way reads it there.",
                status=status,
            )
        if 300 <= status < 400:
            target = urlsplit(headers.get("Location", ""))
            there = f"{target.scheme}://{target.hostname}" if target.hostname else "another place"
            return TransportError(
                f"{where} redirects to {there}, which is not followed. Set TRACKER_BASE_URL to the server itself.",
                status=status,
            )
        if status in (200, 409):
            text = f"{where} answers, but not as a tracker server does (a proxy's or a log-in page?)"
            return TransportError(text, status=status)
        if status in (404, 405):
            text = f"{where} has no place for runs ({status}); is TRACKER_BASE_URL a tracker server's address?"
            return TransportError(text, status=status)
        wait = _seconds(headers.get("Retry-After"))
        return TransportError(f"{where} answers {status}{_detail(body)}", status=status, retry_after=wait)


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


def _acked(body: bytes) -> int | None:
    """Answer the cursor in an answer. A captive portal says 200 as well, and HTML; that is no acknowledgement."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    acked = answer.get("acked") if isinstance(answer, dict) else None
    return acked if type(acked) is int and acked >= 0 else None


def _detail(body: bytes) -> str:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    detail = answer.get("detail") if isinstance(answer, dict) else None
    return f": {detail[:200]}" if isinstance(detail, str) else ""


def _seconds(retry_after: str | None) -> float | None:
    """Answer the seconds of a Retry-After header, which holds a number or a date."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT_SECONDS) if seconds == seconds else None


def _known_keys(base_url: str) -> list[str]:
    """Answer the keys that the settings hold now for this server, the strongest source first."""
    from .settings import _from_file, resolve, user_file

    try:
        chosen = resolve()
        if chosen.base_url and chosen.base_url != base_url:  # keys for somebody else
            return []
        file = user_file()
        # The file's own as well: an environment variable of the start would hide a key written there since.
        keys = [chosen.api_key, _from_file(file, False).get("api_key") if file else None]
    except (UsageError, OSError):  # a file that is being edited
        return []
    return list(dict.fromkeys(key for key in keys if isinstance(key, str) and key))


__all__ = ["Batch", "HttpTransport", "MemoryTransport", "Transport"]
