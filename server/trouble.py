"""What went wrong in a store, as the status that tells a client when to try again."""

from __future__ import annotations

import errno
import sqlite3

from ..core.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if hasattr(errno, "EDQUOT") else (errno.ENOSPC, errno.EFBIG)


class StoreTroubleError(Exception):
    """A store that does not serve now and may later.

    Args:
        status: 507 where there is no room, 503 where it is locked or broken.
        detail: One sentence for the client.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def store_trouble(error: BaseException) -> StoreTroubleError | None:
    """Answer what an exception says of the store, or None where it says nothing of it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, StoreTroubleError):
            return current
        if isinstance(current, StorageError) and current.errno is None:
            # The store's own words name files of the server; they are for its log.
            return _sqlite(str(current)) or StoreTroubleError(503, "the server's store cannot be read or written now.")
        if isinstance(current, OSError) and current.errno is not None:
            if current.errno in _FULL:
                return StoreTroubleError(507, "the server's disk is full; the run keeps everything and sends it later.")
            return StoreTroubleError(503, "the server's store cannot be read or written now.")
        if isinstance(current, (sqlite3.OperationalError, sqlite3.DatabaseError)):
            return _sqlite(str(current))
        # SQLAlchemy keeps the driver's error in `orig`.
        original = getattr(current, "orig", None)
        current = original if isinstance(original, BaseException) else current.__cause__ or current.__context__
    return None


def _sqlite(text: str) -> StoreTroubleError | None:
    if "full" in text or "no room" in text:
        return StoreTroubleError(507, "the server's disk is full; the run keeps everything and sends it later.")
    if "locked" in text or "busy" in text or "another process" in text:
        return StoreTroubleError(503, "the server's store is locked by another program.")
    if "disk I/O" in text or "readonly" in text or "unable to open" in text or "malformed" in text:
        return StoreTroubleError(503, "the server's store cannot be read or written now.")
    return None  # a fault in a query is a fault of ours
