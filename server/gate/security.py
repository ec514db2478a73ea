"""The gate before every request: who asks (Host, Origin), what is sent (type, size), and the headers of every answer.

A local server is open to every page the user's browser shows, unless it refuses what those can send. So the Host must
be one of ours (against DNS rebinding), the API answers no other origin (against cross-site requests), and bodies of
the types that forms can send are refused. Nothing is answered with CORS headers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...core.errors import StorageError
from ..limits import (
    BODY_IDLE_SECONDS,
    MAX_FORM_BODY_BYTES,
    MAX_FRAMES_BODY_BYTES,
    MAX_JSON_BODY_BYTES,
    MAX_URL_BYTES,
)
from ..wire import Json

_log = logging.getLogger("tracker.server")
FRAMES = "application/x-tracker-frames"
JSON = "application/json"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
METHODS = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"referrer-policy", b"same-origin"),
]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?")
# A body that comes slower than this, after the first half minute, is let go.
_LEAST_BYTES_PER_SECOND = 4096


class RefusedError(Exception):
    """A request that is not let in."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def parse_host(host: str) -> tuple[str, int | None]:
    """Answer the name (lowercase; an IP address in its usual form) and the port of a Host header.

    Raises:
        RefusedError: It is no host.
    """
    match = _HOST.fullmatch(host)
    if not match:
        raise RefusedError(400, "the Host header is no host name.")
    port = int(match["port"]) if match["port"] else None
    if match["v6"]:
        try:
            return str(ipaddress.IPv6Address(match["v6"])), port
        except ValueError:
            raise RefusedError(400, "the Host header is no IPv6 address.") from None
    return match["name"].lower(), port


class HostList:
    """The host names this server answers to.

    Args:
        bound: The address it listens on. On all addresses ("0.0.0.0", "::") any IP address is answered: what names an
            address outright cannot be bound anew to another one.
        allowed: More names, from `--allow-host`.
    """

    def __init__(self, bound: str = "127.0.0.1", allowed: Iterable[str] = ()) -> None:
        self.any_address = bound in ("", "0.0.0.0", "::")  # noqa: S104 - told apart, not bound
        self.names: Collection[str] = {
            *_LOOPBACK,
            *(parse_host(f"[{name}]" if _is_v6(name) else name)[0] for name in (bound, *allowed) if name),
        }

    def check(self, host: str) -> tuple[str, int | None]:
        """Answer name and port of an allowed Host header; raise `RefusedError` for any other."""
        name, port = parse_host(host)
        if name in self.names or (self.any_address and is_address(name)):
            return name, port
        raise RefusedError(
            421, f"this server does not answer to the name {name!r}. Start it with --allow-host {name} if it should."
        )


def is_address(name: str) -> bool:
    """Answer whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Answer whether only this machine can reach a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_v6(name: str) -> bool:
    return is_address(name) and ":" in name


class Gate:
    """ASGI middleware: lets a request in or refuses it, reads its body within limits, and dresses every answer.

    Args:
        app: The application behind.
        hosts: The names answered to.
        authorise: Raises `RefusedError` where the request may not see what it asks for; see `auth.py`.
    """

    def __init__(self, app: ASGIApp, hosts: HostList, authorise: Callable[[Scope, dict[str, str]], None]) -> None:
        self.app = app
        self.hosts = hosts
        self.authorise = authorise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_api = scope["path"].startswith("/api")

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *_HEADERS]
                if is_api and not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        try:
            headers = self._check(scope, is_api)
            self._authorise(scope, headers)
            if scope["method"] not in SAFE_METHODS:
                receive = await _whole_body(scope, headers, receive)
        except RefusedError as refused:
            # The body was not read: the connection is of no more use.
            more = {"connection": "close"}
            if refused.status == 401:
                more["www-authenticate"] = "Bearer"
            elif refused.status == 303:
                more = {"location": refused.detail}
            await Json({"detail": refused.detail}, refused.status, more)(scope, receive, dressed)
            return
        await self.app(scope, receive, dressed)

    def _authorise(self, scope: Scope, headers: dict[str, str]) -> None:
        try:
            self.authorise(scope, headers)
        except StorageError as error:  # nobody is let in while the keys cannot be read
            _log.warning("%s", error)
            raise RefusedError(503, "the server's keys cannot be read; its log says why.") from None

    def _check(self, scope: Scope, is_api: bool) -> dict[str, str]:
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name = raw_name.decode("latin-1").lower()
            if name in headers and name in ("host", "origin", "content-length", "content-type", "authorization"):
                raise RefusedError(400, f"the request has two {name} headers.")
            headers[name] = raw_value.decode("latin-1")
        if "transfer-encoding" in headers and "content-length" in headers:
            raise RefusedError(400, "the request tells its length twice (Content-Length and Transfer-Encoding).")
        if headers.get("content-encoding", "identity") != "identity":
            raise RefusedError(415, "compressed bodies are not taken; frames are compressed in themselves.")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL_BYTES:
            raise RefusedError(414, f"the address is longer than {MAX_URL_BYTES} bytes.")
        host = self.hosts.check(headers.get("host", ""))
        method = scope["method"]
        if method not in METHODS:
            raise RefusedError(405, f"the method {method[:20]} is not known here.")
        if is_api or method not in SAFE_METHODS:
            _check_origin(headers, host)
        if method not in SAFE_METHODS:
            _check_type(scope["path"], headers)
        return headers


def _check_origin(headers: dict[str, str], host: tuple[str, int | None]) -> None:
    site = headers.get("sec-fetch-site", "same-origin").lower()
    if site not in ("same-origin", "none"):
        raise RefusedError(403, "another site's page may not ask this server.")
    origin = headers.get("origin")
    if origin is None:
        return
    try:
        parts = urlsplit(origin)
        theirs = (parse_host(parts.netloc)[0], parts.port)
    except (ValueError, RefusedError):
        raise RefusedError(403, "another site's page may not ask this server.") from None
    default = {"http": 80, "https": 443}.get(parts.scheme)
    # Behind a proxy that speaks TLS the Host bears no port and the scheme here is http: both defaults will do.
    ours = {host[1]} if host[1] else {None, default}
    if default is None or theirs[0] != host[0] or not {theirs[1], theirs[1] or default} & ours:
        raise RefusedError(403, "another site's page may not ask this server.")


def _check_type(path: str, headers: dict[str, str]) -> None:
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = FRAMES if path.startswith("/api/v1/streams/") else JSON
    if given != wanted and (given or has_body):
        raise RefusedError(415, f"the body's Content-Type is {given[:80]!r}; send {wanted}.")


def body_limit(path: str) -> int:
    """Answer how many bytes a request's body may have."""
    if path.startswith("/api/v1/streams/"):
        return MAX_FRAMES_BODY_BYTES
    if path.startswith("/api/"):
        return MAX_JSON_BODY_BYTES
    return MAX_FORM_BODY_BYTES


async def _whole_body(scope: Scope, headers: dict[str, str], receive: Receive) -> Receive:
    """Read the body, bounded in size and time; answer a `receive` that gives it at once."""
    limit = body_limit(scope["path"])
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 20:
        raise RefusedError(400, "the Content-Length is no number.")
    if int(length) > limit:
        raise RefusedError(413, f"the body has {int(length):,} bytes; at most {limit:,} are taken here.")
    pieces: list[bytes] = []
    size = 0
    begun = time.monotonic()
    more = True
    while more:
        try:
            message = await asyncio.wait_for(receive(), BODY_IDLE_SECONDS)
        except asyncio.TimeoutError:
            raise RefusedError(408, f"the body did not come within {BODY_IDLE_SECONDS:.0f} seconds.") from None
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the body ended too soon.")
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise RefusedError(413, f"the body has more than {limit:,} bytes.")
        if time.monotonic() - begun > BODY_IDLE_SECONDS + size / _LEAST_BYTES_PER_SECOND:
            raise RefusedError(408, "the body comes too slowly.")
        if piece:
            pieces.append(piece)
        more = message.get("more_body", False)
    whole: list[Message] = [{"type": "http.request", "body": b"".join(pieces), "more_body": False}]
    del pieces

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay
