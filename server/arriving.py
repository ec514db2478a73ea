"""Bytes on their way in: written to disk while they come, so that what came before a cut need not come again."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, NamedTuple, TypeVar

from starlette.requests import ClientDisconnect, Request

from ..core.errors import OffsetError, StorageError, UsageError
from ..core.limits import MAX_BLOB_BYTES
from .gate.security import ZSTD, RefusedError
from .limits import ARRIVAL_SLICE_BYTES, ARRIVALS_AT_ONCE, MAX_ARRIVALS
from .stores.base import BlobStore
from .trouble import StoreTroubleError

T = TypeVar("T")
# Threads of their own: while bytes are written, requests that only read go on.
_pool = ThreadPoolExecutor(ARRIVALS_AT_ONCE, thread_name_prefix="tracker-blobs")
_under_way = 0


class Arrival(NamedTuple):
    """How far a blob has come.

    Args:
        held: How many of its bytes are here.
        is_complete: Whether it is whole, checked and kept.
        is_expected: Whether what was sent began where the last piece had ended.
    """

    held: int
    is_complete: bool
    is_expected: bool = True


async def arrive(blobs: BlobStore, digest: str, request: Request, offset: int, size: int, *, syncs: bool) -> Arrival:
    """Take the body of a request in as the next piece of a blob.

    Args:
        blobs: Where to.
        digest: Of the whole blob.
        request: Its body holds the piece; with Content-Encoding zstd, all of the blob in one frame.
        offset: Where the piece begins.
        size: How many bytes the whole blob has.
        syncs: Have the disk keep a complete blob before it is answered for.

    Raises:
        UsageError: The bytes are not those of the digest, or more than announced.
        StorageError: They cannot be written now.
    """
    global _under_way
    if size > MAX_BLOB_BYTES:
        await _drain(request)
        raise UsageError(f"the blob has {size:,} bytes; at most {MAX_BLOB_BYTES:,} are taken. Cut it into several.")
    if _under_way >= MAX_ARRIVALS:
        await _drain(request)
        raise StoreTroubleError(503, "the server is busy taking bytes in.")
    _under_way += 1
    try:
        found = await _arrive(blobs, digest, request, offset, size)
        if found.is_complete and syncs:
            await _away(blobs.sync)
        return found
    finally:
        _under_way -= 1
        await _drain(request)  # a client that is still sending would not see the answer


async def _arrive(blobs: BlobStore, digest: str, request: Request, offset: int, size: int) -> Arrival:
    before = await _away(partial(_standing, blobs, digest, size))
    if before.is_complete or before.held != offset:
        return before._replace(is_expected=before.is_complete)
    if request.headers.get("content-encoding") == ZSTD:
        if offset:
            raise UsageError("a packed blob is sent whole; send what is missing as it is.")
        await _take_packed(blobs, digest, request, size)
        return Arrival(size, True)
    try:
        held = await _take(blobs, digest, request, offset, size)
    except OffsetError as error:  # somebody else sends the same blob
        return Arrival(error.held, False, False)
    if held < size:
        return Arrival(held, False)
    await _away(partial(_complete, blobs, digest))
    return Arrival(size, True)


def _standing(blobs: BlobStore, digest: str, size: int) -> Arrival:
    if blobs.has(digest):
        blobs.complete(digest)  # what has arrived of it besides is let go
        return Arrival(size, True)
    held = blobs.held(digest)
    if held < size or not held:
        return Arrival(held, False)
    try:
        blobs.complete(digest)  # all was there when the server ended
    except StorageError:
        return Arrival(blobs.held(digest), False)
    return Arrival(size, True)


async def _take(blobs: BlobStore, digest: str, request: Request, offset: int, size: int) -> int:
    """Write the body slice by slice; answer how many bytes are there. What came before a cut is kept."""
    at = offset
    waiting = bytearray()
    broken: Exception | None = None
    try:
        async for piece in request.stream():
            waiting += piece
            if at + len(waiting) > size:
                raise UsageError(f"more bytes were sent than the {size:,} that were announced.")
            if len(waiting) >= ARRIVAL_SLICE_BYTES:
                at = await _away(partial(blobs.arrive, digest, at, bytes(waiting)))
                waiting.clear()
    except (ClientDisconnect, RefusedError) as error:
        broken = error
    if waiting or at == 0:
        at = await _away(partial(blobs.arrive, digest, at, bytes(waiting)))
    if broken is not None:
        raise broken
    return at


async def _take_packed(blobs: BlobStore, digest: str, request: Request, size: int) -> None:
    with tempfile.SpooledTemporaryFile(ARRIVAL_SLICE_BYTES) as spool:
        async for piece in request.stream():
            await _away(partial(spool.write, piece))
        spool.seek(0)
        await _away(partial(_complete_packed, blobs, digest, spool, size))


def _complete(blobs: BlobStore, digest: str) -> None:
    try:
        blobs.complete(digest)
    except StorageError as error:
        if blobs.has(digest):  # somebody else was a moment quicker
            return
        if error.errno is not None:
            raise
        raise UsageError(f"the bytes are not those of {digest}; they are gone, send them again.") from error


def _complete_packed(blobs: BlobStore, digest: str, source: IO[bytes], size: int) -> None:
    try:
        blobs.put_packed(source, digest, size)  # type: ignore[arg-type]
    except StorageError as error:
        if error.errno is not None:
            raise
        raise UsageError(f"the packed bytes are not those of {digest}; send them again.") from error


async def _drain(request: Request) -> None:
    try:
        async for _ in request.stream():
            pass
    except Exception:
        return  # nobody is there any more


async def _away(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(_pool, work)
