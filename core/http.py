"""Bounded requests with `requests`; imported by the first `send`, never at `import tracker`."""

from __future__ import annotations

import base64
import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import requests
import requests.adapters
import requests.auth
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_SEND_BYTES_PER_SECOND = 8 << 10  # slower than that is no connection
_SEND_SECONDS = 30.0
_SEND_PIECE_BYTES = 64 << 10


class Unanswered(Exception):
    """There was no whole answer; the message says why in a few words and holds no address and no key."""


class Authorization(requests.auth.AuthBase):
    """Sets the key. As an `auth`, not a header: `requests` would let a password from ~/.netrc replace a header."""

    def __init__(self, key: str | None, userinfo: tuple[str, str] | None) -> None:
        self._value = None
        if key:
            self._value = f"Bearer {key}"
        elif userinfo:
            self._value = "Basic " + base64.b64encode(":".join(userinfo).encode()).decode()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header."""
        if self._value:
            request.headers["Authorization"] = self._value
        return request


def open_session(is_local: bool) -> requests.Session:
    """Make a session.

    Args:
        is_local: The server is on this machine: a proxy of the environment does not reach it and is passed by.
    """
    session = requests.Session()
    if is_local:
        session.trust_env = False
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
    session.headers["User-Agent"] = "tracker"
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session


class Body(Protocol):
    """What is sent: bytes of a known number, read piece by piece."""

    def __len__(self) -> int: ...

    def read(self, size: int = -1, /) -> bytes:
        """Answer at most so many bytes; none at the end."""
        ...


def ask(
    session: requests.Session,
    method: str,
    url: str,
    body: bytes | Body | None,
    headers: dict[str, str],
    auth: Authorization,
    timeout: tuple[float, float],
    most_bytes: int,
) -> tuple[int, Any, bytes]:
    """Ask, and read the answer.

    Args:
        session: See `open_session`.
        method: GET, POST, ...
        url: Where to.
        body: What; a body that is no bytes is never in memory as a whole.
        headers: Beside the usual ones.
        auth: Sets the key.
        timeout: Seconds for the connection, and for the whole answer from the end of the request on.
        most_bytes: How much of the answer to read.

    Returns:
        Status, headers, and the answer's first `most_bytes`.

    Raises:
        Unanswered: For whatever reason.
    """
    with (
        _translated(),
        session.request(
            method,
            url,
            data=_Limited(body, timeout[0]) if body else None,  # an empty one would be sent as a chunk of none
            headers=headers,
            auth=auth,
            timeout=timeout,
            allow_redirects=False,
            stream=True,
        ) as answer,
    ):
        kept = b""
        if method == "HEAD":
            answer.raw.read()  # nothing, but it gives the connection back
        elif int(answer.headers.get("Content-Length") or 0) <= most_bytes:
            while len(kept) < most_bytes and (piece := answer.raw.read(most_bytes - len(kept))):
                kept += piece
            if answer.raw.read(1):  # longer than anything of ours: not read on, and the connection goes
                answer.raw.close()
        else:
            answer.raw.close()
        return answer.status_code, answer.headers, kept


@contextmanager
def opened(
    session: requests.Session, url: str, headers: dict[str, str], auth: Authorization, timeout: tuple[float, float]
) -> Iterator[tuple[int, Any, Callable[[int], bytes]]]:
    """Ask for something long, which is read as it comes.

    Yields:
        Status, headers, and what reads at most so many bytes, undecoded; b"" at the end. An answer that ends before
        its Content-Length is `Unanswered`.

    Raises:
        Unanswered: For whatever reason.
    """
    with _translated():
        answer = session.get(url, headers=headers, auth=auth, timeout=timeout, allow_redirects=False, stream=True)

    def read(size: int) -> bytes:
        with _translated():
            return bytes(answer.raw.read(size))

    with answer:  # what is left unread goes with the connection
        yield answer.status_code, answer.headers, read


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
        raise Unanswered(_reason(error)) from None  # its text may hold a proxy's password
    except (OSError, ValueError) as error:
        raise Unanswered(_reason(error)) from None


class _Limited:
    """A body that is sent in pieces: each has the socket's time limit, all together this one."""

    def __init__(self, body: bytes | Body, seconds: float) -> None:
        self._body: Any = io.BytesIO(body) if isinstance(body, bytes) else body
        self._length = len(body)
        self._limit = time.monotonic() + seconds + _SEND_SECONDS + self._length / _SEND_BYTES_PER_SECOND

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read(_SEND_PIECE_BYTES):
            yield piece

    def read(self, size: int = -1, /) -> bytes:
        if time.monotonic() > self._limit:
            raise TimeoutError("sending takes too long")
        piece: bytes = self._body.read(size)
        return piece


class _Trickle(io.RawIOBase):
    """What a socket gives, until a moment: a server that sends a byte now and then does not hold the thread."""

    def __init__(self, raw: Any, sock: socket.socket, seconds: float) -> None:
        self._raw = raw
        self._sock = sock
        self._limit = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._limit - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._raw.close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        seconds = sock.gettimeout()
        if seconds is not None and isinstance(self.fp, io.BufferedReader):
            self.fp = io.BufferedReader(_Trickle(self.fp.detach(), sock, seconds))


class _PlainConnection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _PlainPool, "https": _SecurePool}


class _Adapter(requests.adapters.HTTPAdapter):
    """The usual adapter with bounded answers; one connection is all a sender has."""

    def __init__(self) -> None:
        super().__init__(pool_connections=2, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _reason(error: BaseException) -> str:
    """Say in a few words why there was no answer, from the innermost cause that tells."""
    seen: list[BaseException] = []
    queue = [error]
    while queue and len(seen) < 20:
        current = queue.pop(0)
        if any(current is known for known in seen):
            continue
        seen.append(current)
        inner = [current.__cause__, current.__context__, getattr(current, "reason", None), *current.args]
        queue.extend(item for item in inner if isinstance(item, BaseException))
    for cause in seen:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS connection ({cause.reason or 'broken off'})"
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, ConnectionResetError | BrokenPipeError):
            return "connection reset"
    for cause in seen:
        if isinstance(cause, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError):
            return "timed out"
        if isinstance(cause, requests.exceptions.ProxyError):
            return "the proxy does not serve"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return f"the connection broke ({type(seen[-1]).__name__})"
