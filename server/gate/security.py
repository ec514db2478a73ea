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
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...core.errors import StorageError
from ..limits import (
    BODY_IDLE_SECONDS,
    MAX_BLOB_PIECE_BYTES,
    MAX_CLAIM_BODY_BYTES,
    MAX_FORM_BODY_BYTES,
    MAX_FRAMES_BODY_BYTES,
    MAX_JSON_BODY_BYTES,
    MAX_URL_BYTES,
)
from ..wire import Json

_log = logging.getLogger("tracker.server")
FRAMES = "application/x-tracker-frames"
BYTES = "application/octet-stream"
JSON = "application/json"
ZSTD = "zstd"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
METHODS = SAFE_METHODS | {"POST", "PUT", "PATCH", "DELETE"}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "media-src 'self'; frame-src 'self'; "
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

    def answer(self) -> Json:
        """Answer what the client is told."""
        # The body was not read: the connection is of no more use.
        more = {"connection": "close"}
        if self.status == 401:
            more["www-authenticate"] = "Bearer"
        elif self.status == 303:
            more = {"location": self.detail}
        return Json({"detail": self.detail}, self.status, more)


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
                message = {**message, "headers": _dressed(message.get("headers", ()), is_api)}
            await send(message)

        try:
            headers = self._check(scope, is_api)
            self._authorise(scope, headers)
            if scope["method"] not in SAFE_METHODS:
                rule = body_rule(scope["method"], scope["path"])
                receive = _bounded(rule, headers, receive)
                if not rule.is_streamed:
                    receive = await _whole_body(receive)
        except RefusedError as refused:
            await refused.answer()(scope, receive, dressed)
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
        rule = body_rule(scope["method"], scope["path"])
        _check_encoding(rule, headers)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL_BYTES:
            raise RefusedError(414, f"the address is longer than {MAX_URL_BYTES} bytes.")
        host = self.hosts.check(headers.get("host", ""))
        method = scope["method"]
        if method not in METHODS:
            raise RefusedError(405, f"the method {method[:20]} is not known here.")
        if is_api or method not in SAFE_METHODS:
            _check_origin(headers, host)
        if method not in SAFE_METHODS:
            _check_type(rule, headers)
        return headers


def _dressed(given: Iterable[tuple[bytes, bytes]], is_api: bool) -> list[tuple[bytes, bytes]]:
    """Answer the headers of an answer with ours; what a route says itself stands (logged HTML has a policy of its own)."""
    headers = list(given)
    said = {name for name, _ in headers}
    headers += [(name, value) for name, value in _HEADERS if name not in said]
    if is_api and b"cache-control" not in said:
        headers.append((b"cache-control", b"no-store"))
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


@dataclass(frozen=True)
class BodyRule:
    """What a request may bring along.

    Args:
        type: Its Content-Type; none of those that a form can send.
        limit_bytes: How much.
        is_streamed: The route reads it as it comes; all others get it at once.
        encodings: Other Content-Encodings than none.
    """

    type: str
    limit_bytes: int
    is_streamed: bool = False
    encodings: frozenset[str] = frozenset()


_BLOB = re.compile(r"/api/v1/(?:blobs|runs/[^/]+/[^/]+/[^/]+/blobs)/[^/]+")
_BLOB_RULE = BodyRule(BYTES, MAX_BLOB_PIECE_BYTES, is_streamed=True, encodings=frozenset((ZSTD,)))
_FRAMES_RULE = BodyRule(FRAMES, MAX_FRAMES_BODY_BYTES)
_CLAIM_RULE = BodyRule(JSON, MAX_CLAIM_BODY_BYTES)
_JSON_RULE = BodyRule(JSON, MAX_JSON_BODY_BYTES)
_FORM_RULE = BodyRule(JSON, MAX_FORM_BODY_BYTES)


def body_rule(method: str, path: str) -> BodyRule:
    """Answer what a request to a path may bring along."""
    if path.startswith("/api/v1/streams/"):
        return _FRAMES_RULE
    if method == "PUT" and _BLOB.fullmatch(path):
        return _BLOB_RULE
    if path.startswith("/api/v1/artifacts/"):
        return _CLAIM_RULE
    return _JSON_RULE if path.startswith("/api/") else _FORM_RULE


def _check_type(rule: BodyRule, headers: dict[str, str]) -> None:
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != rule.type and (given or has_body):
        raise RefusedError(415, f"the body's Content-Type is {given[:80]!r}; send {rule.type}.")


def _check_encoding(rule: BodyRule, headers: dict[str, str]) -> None:
    encoding = headers.get("content-encoding", "identity")
    if encoding != "identity" and encoding not in rule.encodings:
        raise RefusedError(415, "compressed bodies are not taken here; what is sent is compressed in itself.")


def _bounded(rule: BodyRule, headers: dict[str, str], receive: Receive) -> Receive:
    """Answer a `receive` that is bounded in size and time; it raises `RefusedError`."""
    limit = rule.limit_bytes
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or len(length) > 20:
        raise RefusedError(400, "the Content-Length is no number.")
    if int(length) > limit:
        raise RefusedError(413, f"the body has {int(length):,} bytes; at most {limit:,} are taken here.")
    size = 0
    waited = 0.0
    is_over = False

    async def bounded() -> Message:
        nonlocal size, waited, is_over
        if is_over:
            return await receive()
        begun = time.monotonic()
        try:
            message = await asyncio.wait_for(receive(), BODY_IDLE_SECONDS)
        except asyncio.TimeoutError:
            raise RefusedError(408, f"the body did not come within {BODY_IDLE_SECONDS:.0f} seconds.") from None
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the body ended too soon.")
        waited += time.monotonic() - begun  # for the client alone, not for our disk
        size += len(message.get("body", b""))
        is_over = not message.get("more_body", False)
        if size > limit:
            raise RefusedError(413, f"the body has more than {limit:,} bytes.")
        if waited > BODY_IDLE_SECONDS + size / _LEAST_BYTES_PER_SECOND:
            raise RefusedError(408, "the body comes too slowly.")
        return message

    return bounded


async def _whole_body(receive: Receive) -> Receive:
    """Read the body; answer a `receive` that gives it at once."""
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if piece := message.get("body", b""):
            pieces.append(piece)
        more = message.get("more_body", False)
    whole: list[Message] = [{"type": "http.request", "body": b"".join(pieces), "more_body": False}]
    del pieces

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay
