"""Bytes on their way out: whole or a range, packed as they are stored, and of a type that cannot harm the dashboard.

What users log is not trusted. A type is answered only where the one who asks names it, and only from the lists below:
what shows and plays is shown inline; HTML and SVG get an origin of their own, from which nothing of ours can be
reached; everything else is a file to be saved.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import BinaryIO
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .gate.security import BYTES, ZSTD
from .limits import BLOB_PIECE_BYTES, BLOB_STALL_SECONDS
from .stores.base import BlobStore

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
    size = blobs.size(digest)
    asked = request.headers
    given = _range(asked.get("range"), size)
    if given is not None and asked.get("if-range", f'"{digest}"') != f'"{digest}"':
        given = None
    sends_packed = is_packed and given is None and ZSTD in _encodings(asked.get("accept-encoding", ""))
    etag = f'"{digest}-{ZSTD}"' if sends_packed else f'"{digest}"'
    headers = {
        **type_headers(format, name),
        "etag": etag,
        "cache-control": _FOREVER if name is None else "private, no-cache",
        "vary": "accept-encoding",
        "accept-ranges": "bytes",
    }
    if etag in (part.strip().removeprefix("W/") for part in asked.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers={name: headers[name] for name in ("etag", "cache-control", "vary")})
    if given == ():
        return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
    if sends_packed:
        return Outgoing(open(path, "rb"), 0, path.stat().st_size, {**headers, "content-encoding": ZSTD}, 200)
    start, end = given or (0, size)
    status = 200
    if given:
        headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        status = 206
    return Outgoing(blobs.open(digest), start, end - start, headers, status)


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


class Outgoing(Response):
    """A part of a file, read while it is sent; the file is closed in the end.

    Args:
        file: Open; it need not be seekable.
        start: Where the part begins.
        length: How many bytes.
        headers: Those of the answer.
        status: Its status.
    """

    def __init__(self, file: BinaryIO, start: int, length: int, headers: Mapping[str, str], status: int) -> None:
        super().__init__(None, status, {**headers, "content-length": str(length)})
        self._file = file
        self._start = start
        self._length = length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            left = 0 if scope["method"] == "HEAD" else self._length
            if left and self._start:
                await run_in_threadpool(self._file.seek, self._start)  # a packed one is read up to there
            while left and not gone.done():
                piece = await run_in_threadpool(self._file.read, min(left, BLOB_PIECE_BYTES))
                if not piece:  # the file was cut under us: the answer stays short, and the client sees it
                    return
                left -= len(piece)
                message = {"type": "http.response.body", "body": piece, "more_body": True}
                await asyncio.wait_for(send(message), BLOB_STALL_SECONDS)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.TimeoutError:
            return  # a client that takes nothing is dropped
        finally:
            gone.cancel()
            self._file.close()


async def _gone(receive: Receive) -> None:
    """Return when the client is not there any more."""
    while (await receive())["type"] != "http.disconnect":
        pass
