"""The bytes of a medium that comes as a file or as bytes, as they were when it was made.

Small files are read at once. Of a large one an open file is kept: it may be deleted, moved or replaced right after, and
is still the same. What an open file does not survive is being written over in place; that is noticed, and said.
"""

from __future__ import annotations

import os
import stat
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from ..limits import (
    BLOB_PART_BYTES,
    MAX_BLOB_BYTES,
    MAX_FILE_IN_MEMORY_BYTES,
    MAX_MEDIA_FILE_BYTES,
    MAX_OPEN_MEDIA_FILES,
)
from ..values import Reference, Unstorable
from .base import Blobs, Encodable
from .held import Held


class Content:
    """Bytes in memory.

    Args:
        data: The bytes; nobody writes to them any more.
    """

    def __init__(self, data: Any) -> None:
        self._held = Held(data)
        self.size = self._held.size

    def held(self) -> Iterable[Held]:
        """Answer what could wait on disk instead."""
        return (self._held,)

    def head(self, count: int) -> bytes:
        """Answer the first bytes."""
        return bytes(self._held.read()[:count])

    def read(self) -> memoryview:
        """Answer all bytes."""
        return self._held.read()

    def store(self, blobs: Blobs) -> dict[str, Any]:
        """Keep the bytes; answer what a reference says of them."""
        from ..blobs import new_digest

        data = self.read()
        if len(data) <= MAX_BLOB_BYTES:
            return {"digest": blobs.put(data), "size": self.size}
        whole = new_digest()
        parts = []
        for start in range(0, len(data), BLOB_PART_BYTES):
            piece = data[start : start + BLOB_PART_BYTES]
            whole.update(piece)
            parts.append([blobs.put(piece), len(piece)])
        return {"digest": whole.hexdigest(), "size": self.size, "parts": parts}


class OpenFile(Content):
    """Bytes of a large file.

    Args:
        file: Open for reading; it is ours.
        name: For people.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._mark = _mark(file)
        self.size = os.fstat(file.fileno()).st_size
        _open_files.add(self)

    def held(self) -> Iterable[Held]:
        """Answer nothing: it takes no memory."""
        return ()

    def head(self, count: int) -> bytes:
        """Answer the first bytes."""
        self._file.seek(0)
        return self._file.read(count)

    def read(self) -> memoryview:
        """Answer all bytes."""
        self._file.seek(0)
        data = memoryview(self._file.read())
        self._check()
        return data

    def store(self, blobs: Blobs) -> dict[str, Any]:
        """Keep the bytes; answer what a reference says of them.

        Raises:
            Unstorable: The file was written to since the medium was made.
        """
        from ..blobs import new_digest

        if self.size <= MAX_BLOB_BYTES:
            return super().store(blobs)
        self._check()
        self._file.seek(0)
        whole = new_digest()
        parts = []
        while piece := self._file.read(BLOB_PART_BYTES):
            whole.update(piece)
            parts.append([blobs.put(piece), len(piece)])
        self._check()
        return {"digest": whole.hexdigest(), "size": self.size, "parts": parts}

    def _check(self) -> None:
        if _mark(self._file) != self._mark:
            raise Unstorable(
                f"names the file {self._name}, which was written to before it could be stored. "
                "Write each one to a file of its own"
            )

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None:
            file.close()


class Whole(Encodable):
    """A medium that is kept as its bytes are.

    Args:
        content: The bytes.
        facts: What its reference says besides: `_type`, `format`, ...
    """

    def __init__(self, content: Content, **facts: Any) -> None:
        self.content = content
        self.facts = facts

    def held(self) -> Iterable[Held]:
        """Answer what could wait on disk instead."""
        return self.content.held()

    def encode(self, blobs: Blobs) -> Reference:
        """Keep the bytes."""
        return Reference({**self.facts, **self.content.store(blobs)})


_open_files: weakref.WeakSet[OpenFile] = weakref.WeakSet()


def _mark(file: BinaryIO) -> tuple[int, int]:
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


def take_file(path: str | os.PathLike[str], limit: int = MAX_MEDIA_FILE_BYTES) -> Content:
    """Take a file as it is now.

    Args:
        path: The file.
        limit: The most bytes it may have.

    Raises:
        Unstorable: It is not there, cannot be read, is no file, is empty or too large.
    """
    name = os.fspath(path)
    if isinstance(name, str) and "://" in name[:12]:
        raise Unstorable(f"is the address {name[:80]!r}; nothing is fetched. Give a file or bytes")
    try:
        state = os.stat(name)  # before it is opened: opening a pipe would wait for somebody to write
        if not stat.S_ISREG(state.st_mode):
            raise Unstorable(f"names {str(name)[:200]!r}, which is no file")
        _check_size(state.st_size, f"names the file {str(name)[:200]!r}, which", limit)
        file = open(name, "rb")  # noqa: SIM115 - the snapshot keeps it
    except FileNotFoundError:
        raise Unstorable(f"names the file {str(name)[:200]!r}, which is not there") from None
    except (OSError, ValueError) as error:
        raise Unstorable(f"names the file {str(name)[:200]!r}, which cannot be read ({error})") from error
    if state.st_size <= MAX_FILE_IN_MEMORY_BYTES or len(_open_files) >= MAX_OPEN_MEDIA_FILES or os.name == "nt":
        with file:  # Windows: an open file could not be deleted by its owner
            return Content(file.read())
    return OpenFile(file, str(name)[:200])


def take_bytes(data: Any, limit: int = MAX_MEDIA_FILE_BYTES) -> Content:
    """Take bytes, or what can be read from an open file, as they are now.

    Raises:
        Unstorable: There are none, or too many.
    """
    if hasattr(data, "read"):
        if hasattr(data, "getvalue"):  # BytesIO and StringIO: all of it, wherever it was read to
            data = data.getvalue()
        else:
            if hasattr(data, "seekable") and data.seekable():
                data.seek(0)
            data = data.read(limit + 1)
    taken = data.encode() if isinstance(data, str) else bytes(data)
    _check_size(len(taken), "", limit)
    return Content(taken)


def _check_size(size: int, what: str, limit: int) -> None:
    if not size:
        raise Unstorable(f"{what} is empty".strip())
    if size > limit:
        raise Unstorable(f"{what} has {size:,} bytes; at most {limit:,} are kept".strip())


def is_path(value: Any) -> bool:
    """Answer whether a value names a file."""
    return isinstance(value, (str, Path)) or hasattr(value, "__fspath__")
