"""Blobs on a server: which it lacks, how they get there, and how they come back. Knows no thread and no waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import quote

import msgspec

from ..connection import Answer, Connection
from ..errors import DamagedBlob, OffsetError, StorageError, TransportError
from ..limits import (
    ASK_FIRST_BYTES,
    FETCH_BYTES_PER_SECOND,
    FETCH_SECONDS,
    FIRST_PIECE_BYTES,
    MAX_BLOB_BYTES,
    MAX_DIGESTS_ANSWER_BYTES,
    MAX_PIECE_BYTES,
    MIN_PIECE_BYTES,
    QUICK_PIECE_SECONDS,
    SLOW_BATCH_SECONDS,
)
from ..paths import RunPath
from .folder import FolderBlobs

_BYTES = {"Content-Type": "application/octet-stream"}
_HELD = "Tracker-Held"
_READ_BYTES = 1 << 20
_CONFLICTS = 50  # in a row: somebody else sends the same blob, or the server is none of ours


class RemoteBlobs:
    """The blobs of a server: those that all runs share, or a run's own. For one thread at a time.

    Args:
        connection: The server.
        path: The run; None for those that all share.
        clock: Answers seconds that only go forward.
    """

    def __init__(
        self, connection: Connection, path: RunPath | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._piece = FIRST_PIECE_BYTES
        names = "".join(f"/{quote(name, safe='')}" for name in path or ())
        self._route = f"/runs{names}/blobs" if path else "/blobs"

    # --- there ---------------------------------------------------------------------------

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Answer those that the server lacks.

        Args:
            digests: `MAX_DIGESTS` at most.

        Raises:
            TransportError: The server does not say.
        """
        body = msgspec.json.encode({"digests": list(digests)})
        answer = self._connection.ask(
            "POST",
            f"{self._route}/missing",
            body,
            {"Content-Type": "application/json"},
            most_bytes=MAX_DIGESTS_ANSWER_BYTES,
        )
        found = (answer.json() or {}).get("missing") if answer.status == 200 else None
        if not isinstance(found, list) or not set(found) <= set(digests):
            raise self._connection.refusal(answer)
        self._connection.accept()
        return found

    def send(
        self,
        local: FolderBlobs,
        digest: str,
        *,
        is_again: bool = False,
        told: Callable[[int], object] = lambda _count: None,
    ) -> int:
        """Send a blob, piece by piece; answer how many bytes went over the wire for it.

        Args:
            local: Where it is.
            digest: Which.
            is_again: It was begun before: the server is asked how far it came.
            told: Is told how many bytes the server has taken, after each piece.

        Raises:
            TransportError: Not now; what the server has of it, it keeps. Status 422: it got other bytes.
            FileNotFoundError: It is not there.
            FormatError: It is damaged.
        """
        path, is_packed = local.stored(digest)
        size = local.size(digest)
        if is_packed and not is_again and path.stat().st_size <= self._piece:
            sent = path.stat().st_size
            with open(path, "rb") as file:
                answer = self._put(digest, file, sent, 0, size, {"Content-Encoding": "zstd"})
            if answer.status != 413:
                held, is_complete = self._held(answer)
                told(sent)
                if is_complete:
                    return sent
                return sent + self._send_from(local, digest, size, held, told)
            self._smaller(answer)
        offset = self._ask_held(digest, size) if is_again or size > ASK_FIRST_BYTES else 0
        return 0 if offset is None else self._send_from(local, digest, size, offset, told)

    def _send_from(self, local: FolderBlobs, digest: str, size: int, offset: int, told: Callable[[int], object]) -> int:
        sent = conflicts = 0
        while True:
            length = min(self._piece, max(0, size - offset))
            began = self._clock()
            with local.open(digest) as file:
                if offset:
                    file.seek(offset)
                answer = self._put(digest, file, length, offset, size)
            if answer.status == 413:
                self._smaller(answer)
                continue
            held, is_complete = self._held(answer)
            sent += length
            told(length)
            if is_complete:
                return sent
            if answer.status == 409:
                conflicts += 1
                if conflicts > _CONFLICTS:
                    raise TransportError(f"{self._connection.address} does not go on with the bytes of {digest}.")
            elif held <= offset:
                raise self._connection.refusal(answer)
            offset = held
            self._adapt(length, self._clock() - began)

    def _put(
        self, digest: str, file: BinaryIO, length: int, offset: int, size: int, more: dict[str, str] | None = None
    ) -> Answer:
        query = f"?size={size}&offset={offset}"
        body = _Slice(file, length)
        return self._connection.ask("PUT", f"{self._route}/{digest}{query}", body, {**_BYTES, **(more or {})})

    def _held(self, answer: Answer) -> tuple[int, bool]:
        """Answer how far the server says it is, or raise where it does not say."""
        found = answer.json() or {} if answer.status in (200, 409) else {}
        held, is_complete = found.get("held"), found.get("complete")
        if type(held) is not int or held < 0 or type(is_complete) is not bool:
            raise self._connection.refusal(answer)
        self._connection.accept()
        return held, is_complete

    def _ask_held(self, digest: str, size: int) -> int | None:
        """Ask how far an earlier try came; None where the server has it all."""
        answer = self._connection.ask("HEAD", f"{self._route}/{digest}")
        held = answer.headers.get(_HELD, "")
        if answer.status == 404 and held.isascii() and held.isdigit():
            return min(int(held), size)
        if answer.status == 200 and answer.headers.get("ETag", "").strip('"').partition("-")[0] == digest:
            return None
        raise self._connection.refusal(answer)

    def _smaller(self, answer: Answer) -> None:
        if self._piece <= MIN_PIECE_BYTES:
            raise self._connection.refusal(answer)
        self._piece = max(self._piece // 2, MIN_PIECE_BYTES)

    def _adapt(self, length: int, seconds: float) -> None:
        """On a slow line pieces shrink, so that each is acknowledged within seconds."""
        if seconds > SLOW_BATCH_SECONDS:
            self._piece = max(length // 2, MIN_PIECE_BYTES)
        elif seconds < QUICK_PIECE_SECONDS and length >= self._piece:
            self._piece = min(self._piece * 2, MAX_PIECE_BYTES)

    # --- and back ------------------------------------------------------------------------

    def fetch(self, local: FolderBlobs, digest: str) -> None:
        """Bring a blob here; one that broke off goes on where it did.

        Args:
            local: Where to.
            digest: Which.

        Raises:
            TransportError: Not now.
            DamagedBlob: The server's bytes are others; it has set them aside.
            FileNotFoundError: The server has none.
            StorageError: It cannot be written here.
        """
        if local.has(digest):
            return
        if self._fetched(local, digest, ""):
            return
        # What came has another digest. Either the line is to blame, or the server's disk: it looks itself.
        if not self._fetched(local, digest, "?check=true"):
            raise DamagedBlob(f"the bytes that {self._connection.address} sends for {digest} are others.", digest)

    def _fetched(self, local: FolderBlobs, digest: str, query: str) -> bool:
        """Answer whether the bytes that came were the right ones."""
        held = local.held(digest)
        if held and not query:
            headers = {"Accept-Encoding": "identity", "Range": f"bytes={held}-"}
        else:
            headers = {"Accept-Encoding": "zstd"}
            held = 0
        seconds = FETCH_SECONDS + MAX_BLOB_BYTES / FETCH_BYTES_PER_SECOND
        with self._opened(f"{self._route}/{digest}{query}", headers, seconds) as (answer, read):
            if answer.status == 416:  # all of it was here, and was not looked at yet
                return self._completed(local, digest)
            try:
                if answer.headers.get("Content-Encoding") == "zstd":
                    local.put_packed(_Reader(read), digest, MAX_BLOB_BYTES)  # type: ignore[arg-type]
                    return True
                return self._arrived(local, digest, held if answer.status == 206 else 0, answer, read)
            except OffsetError:  # another process fetches it too
                return local.has(digest)
            except StorageError as error:
                if error.errno is not None:  # the disk, not the bytes
                    raise
                return False

    def _arrived(self, local: FolderBlobs, digest: str, at: int, answer: Answer, read: Callable[[int], bytes]) -> bool:
        if not at and int(answer.headers.get("Content-Length") or 0) <= _READ_BYTES:
            data = b"".join(iter(lambda: read(_READ_BYTES), b""))
            local.put(data, digest, compress=False)  # the server has found that it does not pay
            return True
        skip = local.held(digest) - at  # a server without ranges begins anew
        while piece := read(_READ_BYTES):
            if skip >= len(piece):
                skip -= len(piece)
                at += len(piece)
                continue
            piece, at, skip = piece[skip:], at + skip, 0
            at = local.arrive(digest, at, piece)
        return self._completed(local, digest)

    @staticmethod
    def _completed(local: FolderBlobs, digest: str) -> bool:
        try:
            local.complete(digest)
        except StorageError as error:
            if error.errno is not None:
                raise
            return False
        return True

    @contextmanager
    def _opened(
        self, route: str, headers: dict[str, str], seconds: float
    ) -> Iterator[tuple[Answer, Callable[[int], bytes]]]:
        with self._connection.opened(route, headers, seconds=seconds) as (answer, read):
            if answer.status == 404 and _HELD in answer.headers:
                raise FileNotFoundError(f"{self._connection.address} has no such bytes")
            tag = answer.headers.get("ETag", "").strip('"').partition("-")[0]
            if answer.status != 416 and (answer.status not in (200, 206) or tag not in route):
                raise self._connection.refusal(answer)
            if answer.status in (200, 206) and not tag:
                raise self._connection.refusal(answer)
            self._connection.accept()
            yield answer, read


class _Slice:
    """So many bytes of an open file, read as they are sent."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file = file
        self._length = length
        self._left = length

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1, /) -> bytes:
        count = self._left if size < 0 else min(size, self._left)
        piece = self._file.read(count) if count else b""
        self._left -= len(piece)
        return piece


class _Reader:
    """What is read from a connection, as a file."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def read(self, size: int = -1, /) -> Any:
        return self._read(size if size > 0 else _READ_BYTES)
