"""A server and the key for it: what every room that talks to a server asks through."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .errors import TransportError, UsageError
from .limits import CONNECT_TIMEOUT_SECONDS, MAX_ANSWER_BYTES, READ_TIMEOUT_SECONDS, RETRY_AFTER_LIMIT_SECONDS

if TYPE_CHECKING:
    import requests

    from .http import Authorization, Body

_LOOPBACK = ("localhost", "::1")


@dataclass(frozen=True)
class Answer:
    """What a server said.

    Args:
        status: The HTTP status.
        headers: By name, in whatever case.
        body: Its first bytes, as many as were asked for.
        key: The key that was sent along.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    key: str | None

    def json(self) -> dict[str, Any] | None:
        """Answer the object in the body; None where it is none: a captive portal says 200 as well, and HTML."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def detail(self) -> str:
        """The server's sentence behind a colon, or nothing."""
        detail = (self.json() or {}).get("detail")
        return f": {detail[:200]}" if isinstance(detail, str) else ""


class Connection:
    """Asks a tracker server with `requests`, which is imported at the first question. For one thread at a time.

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
        self._given = base_url
        self._base = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "") + parts.path.rstrip("/")
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
        return f"{type(self).__name__}({self._base!r})"

    def twin(self) -> Connection:
        """Answer another connection to the same server, for another thread."""
        connect, read = self._timeout
        return Connection(self._given, self._key, connect_seconds=connect, read_seconds=read)

    def ask(
        self,
        method: str,
        route: str,
        body: bytes | Body | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        most_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        """Ask; whatever the answer is, it is answered.

        Args:
            method: GET, POST, ...
            route: Behind `/api/v1`, escaped.
            body: What to send.
            headers: Beside the usual ones.
            most_bytes: How much of the answer to read.

        Raises:
            TransportError: There is no answer.
        """
        from .http import Unanswered, ask

        key = self._current_key()
        url = f"{self._base}/api/v1{route}"
        try:
            status, answered, kept = ask(
                self._open(), method, url, body, dict(headers or {}), self._auth(key), self._timeout, most_bytes
            )
        except Unanswered as error:
            raise TransportError(f"{self._base} does not answer: {error}") from error
        return Answer(status, answered, kept, key)

    @contextmanager
    def opened(
        self, route: str, headers: Mapping[str, str] | None = None, *, seconds: float
    ) -> Iterator[tuple[Answer, Callable[[int], bytes]]]:
        """Ask for something long.

        Args:
            route: Behind `/api/v1`, escaped.
            headers: Beside the usual ones.
            seconds: Limit for the whole answer.

        Yields:
            The answer without its body, and what reads at most so many bytes of that, as they were sent.

        Raises:
            TransportError: There is no answer, or it broke off while it was read.
        """
        from .http import Unanswered, opened

        key = self._current_key()
        url = f"{self._base}/api/v1{route}"
        timeout = (self._timeout[0], seconds)
        try:
            with opened(self._open(), url, dict(headers or {}), self._auth(key), timeout) as (status, answered, read):
                yield Answer(status, answered, b"", key), read
        except Unanswered as error:
            raise TransportError(f"{self._base} does not answer: {error}") from error

    def accept(self) -> None:
        """Take note that the server took what was sent: the key is good."""
        self._refused.clear()

    def refusal(self, answer: Answer) -> TransportError:
        """Answer the error for an answer that is none of those hoped for."""
        where, status = self._base, answer.status
        if status in (401, 403):
            self._refused.add(answer.key)
            what = "refuses the API key" if answer.key else "wants an API key"
            return TransportError(
                f"{where} {what} ({status}{answer.detail}). Everything is kept on this machine. Put a valid key into "
                "TRACKER_API_KEY before the start, or as api_key into the settings file: a run under way reads it there.",
                status=status,
            )
        if 300 <= status < 400:
            target = urlsplit(answer.headers.get("Location", ""))
            there = f"{target.scheme}://{target.hostname}" if target.hostname else "another place"
            return TransportError(
                f"{where} redirects to {there}, which is not followed. Set TRACKER_BASE_URL to the server itself.",
                status=status,
            )
        if status in (200, 206, 409):
            text = f"{where} answers, but not as a tracker server does (a proxy's or a log-in page?)"
            return TransportError(text, status=status)
        if status in (404, 405):
            text = f"{where} has no place for runs ({status}); is TRACKER_BASE_URL a tracker server's address?"
            return TransportError(text, status=status)
        wait = _seconds(answer.headers.get("Retry-After"))
        return TransportError(f"{where} answers {status}{answer.detail}", status=status, retry_after=wait)

    def close(self) -> None:
        """Let the connection go."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _open(self) -> requests.Session:
        from .http import open_session

        if self._session is None or self._pid != os.getpid():  # a forked child must not write to its parent's sockets
            self._session = open_session(self._is_local)
            self._pid = os.getpid()
        return self._session

    def _auth(self, key: str | None) -> Authorization:
        from .http import Authorization

        return Authorization(key, self._userinfo)

    def _current_key(self) -> str | None:
        given = self._key() if callable(self._key) else self._key
        if given not in self._refused:
            return given
        for key in _known_keys(self._base):
            if key not in self._refused:
                return key
        self._refused.clear()  # all were refused: the server may know the first one again
        return given


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
