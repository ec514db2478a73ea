"""Bytes on their way out: whole or a range, packed as they are stored, and of a type that cannot harm the dashboard.

What users log is not trusted. A type is answered only where the one who asks names it, and only from the lists below:
what shows and plays is shown inline; HTML and SVG get an origin of their own, from which nothing of ours can be
reached; everything else is a file to be saved.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import BinaryIO
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .gate.security import BYTES, ZSTD
from .limits import BLOB_PIECE_BYTES, BLOB_STALL_SECONDS
from .stores.base import BlobStore

_log = logging.getLogger("tracker.server")
_TEXT = "text/plain; charset=utf-8"
# Types that a browser shows or plays, and runs nothing of; `nosniff` holds it to them.
SHOWN: Mapping[str, str] = {
    "apng": "image/apng",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
    "mov": "video/quicktime",
    "mp4": "video/mp4",
    "ogv": "video/ogg",
    "webm": "video/webm",
    "json": "application/json",
    **dict.fromkeys(
        ("cfg", "csv", "diff", "ini", "log", "md", "patch", "py", "sh", "toml", "tsv", "txt", "yaml", "yml"), _TEXT
    ),
}
# Types that may hold scripts, each with the policy it is answered with. `sandbox` makes the page's origin one that is
# nobody's: it has no cookies, and the gate answers it nothing. Nothing is loaded from anywhere either.
_WALLS = "default-src 'none'; img-src data: blob:; media-src data: blob:; font-src data:; style-src 'unsafe-inline'; "
_CLOSED = "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
SANDBOXED: Mapping[str, tuple[str, str]] = {
    "html": (
        "text/html; charset=utf-8",
        f"sandbox allow-scripts; {_WALLS}script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; {_CLOSED}",
    ),
    "svg": ("image/svg+xml", f"sandbox; {_WALLS}{_CLOSED}"),
}
SAVED_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"
_FOREVER = "private, max-age=31536000, immutable"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def blob_response(
    request: Request, blobs: BlobStore, digest: str, format: str | None = None, name: str | None = None
) -> Response:
    """Answer the bytes of a blob.

    Args:
        request: Who asks; `Range`, `Accept-Encoding`, `If-None-Match` and `If-Range` are looked at.
        blobs: Where it is.
        digest: Which.
        format: What it is, as file names end: "png".
        name: The file that it is of, whose address may name other bytes tomorrow; saved under the last part of it.

    Raises:
        FileNotFoundError: There is none.
    """
    path, is_packed = blobs.stored(digest)
    if is_packed and "range" not in request.headers and ZSTD in _encodings(request.headers.get("accept-encoding", "")):
        headers = {**_headers(f"{digest}-{ZSTD}", format, name), "content-encoding": ZSTD}
        if _is_known(request, headers):
            return _unchanged(headers)
        length = path.stat().st_size
        return Outgoing(_pieces_of_file(lambda: open(path, "rb"), 0, length), length, headers, 200)

    def pieces(start: int, end: int) -> Iterator[bytes]:
        return _pieces_of_file(partial(blobs.open, digest), start, end - start)

    return ranged(request, digest, blobs.size(digest), pieces, format, name)


def ranged(
    request: Request,
    digest: str,
    size: int,
    pieces: Callable[[int, int], Iterator[bytes]],
    format: str | None = None,
    name: str | None = None,
) -> Response:
    """Answer bytes, or the range of them that was asked for.

    Args:
        request: Who asks.
        digest: Of all of them.
        size: How many they are.
        pieces: Walks those from a start to an end.
        format: See `blob_response`.
        name: The same.
    """
    headers = {**_headers(digest, format, name), "accept-ranges": "bytes"}
    if _is_known(request, headers):
        return _unchanged(headers)
    given = _range(request.headers.get("range"), size)
    if given is not None and request.headers.get("if-range", headers["etag"]) != headers["etag"]:
        given = None
    if given == ():
        return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
    start, end = given or (0, size)
    if given:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    return Outgoing(pieces(start, end), end - start, headers, 206 if given else 200)


def _headers(tag: str, format: str | None, name: str | None) -> dict[str, str]:
    return {
        **type_headers(format, name),
        "etag": f'"{tag}"',
        "cache-control": _FOREVER if name is None else "private, no-cache",
        "vary": "accept-encoding",
    }


def _is_known(request: Request, headers: Mapping[str, str]) -> bool:
    known = request.headers.get("if-none-match", "").split(",")
    return headers["etag"] in (part.strip().removeprefix("W/") for part in known)


def _unchanged(headers: Mapping[str, str]) -> Response:
    return Response(status_code=304, headers={name: headers[name] for name in ("etag", "cache-control", "vary")})


def type_headers(format: str | None, name: str | None = None) -> dict[str, str]:
    """Answer what a browser is told of bytes of a format, and how it is kept from more than showing them."""
    ending = (format or "").lower()
    if kind := SHOWN.get(ending):
        found = {"content-type": kind, "content-disposition": "inline", "content-security-policy": SAVED_POLICY}
    elif ending in SANDBOXED:
        kind, policy = SANDBOXED[ending]
        # Browsers that know `frame-ancestors` pass the older header over; one that does not must not be stricter.
        return {"content-type": kind, "content-security-policy": policy, "x-frame-options": "SAMEORIGIN"}
    else:
        found = {"content-type": BYTES, "content-disposition": "attachment", "content-security-policy": SAVED_POLICY}
    if name:
        found["content-disposition"] += f"; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}"
    return found


def _range(header: str | None, size: int) -> tuple[int, int] | tuple[()] | None:
    """Answer the part asked for as start and end; empty where there is none such, None where all is meant."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match[1] == match[2] == "":  # none, several, or nonsense: all is a right answer to each
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
        if match[2] and int(match[2]) < start:
            return None
    return (start, end) if start < end else ()


def _encodings(header: str) -> set[str]:
    """Answer the encodings that somebody takes."""
    found = set()
    for part in header.lower().split(","):
        name, _, parameters = part.strip().partition(";")
        if parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            found.add(name.strip())
    return found


def _pieces_of_file(opened: Callable[[], BinaryIO], start: int, length: int) -> Iterator[bytes]:
    with opened() as file:
        if start:
            file.seek(start)  # a packed one is read up to there
        while length and (piece := file.read(min(length, BLOB_PIECE_BYTES))):
            length -= len(piece)
            yield piece


class Outgoing(Response):
    """Bytes that are read while they are sent.

    Args:
        pieces: Walks them; closed in the end.
        length: How many they are.
        headers: Those of the answer.
        status: Its status.
    """

    def __init__(self, pieces: Iterator[bytes], length: int, headers: Mapping[str, str], status: int) -> None:
        super().__init__(None, status, {**headers, "content-length": str(length)})
        self._pieces = pieces
        self._length = length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        gone = asyncio.ensure_future(_gone(receive))
        left = 0 if scope["method"] == "HEAD" else self._length
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while left and not gone.done():
                piece = await run_in_threadpool(next, self._pieces, b"")
                if not piece:  # cut under us: the answer stays short, and the client sees it
                    return
                left -= len(piece)
                message = {"type": "http.response.body", "body": piece, "more_body": True}
                await asyncio.wait_for(send(message), BLOB_STALL_SECONDS)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.TimeoutError:
            return  # a client that takes nothing is dropped
        except (OSError, ValueError) as error:
            _log.warning("bytes on their way out cannot be read (%s)", error)
        finally:
            gone.cancel()
            if isinstance(self._pieces, Generator):
                self._pieces.close()


async def _gone(receive: Receive) -> None:
    """Return when the client is not there any more."""
    while (await receive())["type"] != "http.disconnect":
        pass
