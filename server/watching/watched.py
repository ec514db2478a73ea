"""What the watcher has read completely, kept over a restart, so that a thousand finished runs are not read again."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ...core.paths import RunPath
from .following import Signature

_SAVE_SECONDS = 30.0


class _Entry(msgspec.Struct, array_like=True):
    signature: Signature
    cursors: dict[str, int]


class WatchedMemory:
    """Signatures and cursors of runs read to their end; in a file beside the index, and as disposable.

    Args:
        path: The file; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries: dict[str, _Entry] = {}
        self._is_changed = False
        self._saved_at = time.monotonic()
        if path is not None:
            try:
                self._entries = msgspec.msgpack.decode(path.read_bytes(), type=dict[str, _Entry])
            except (OSError, msgspec.DecodeError):  # the first start, or damaged: everything is read again
                self._entries = {}

    def has(self, path: RunPath, mark: Signature, cursor: Callable[[RunPath, str], int]) -> bool:
        """Answer whether a run was read to its end, has not changed since, and the index still has it."""
        entry = self._entries.get("\n".join(path))
        return (
            entry is not None
            and bool(mark)
            and entry.signature == mark
            and all(cursor(path, stream) == seq for stream, seq in entry.cursors.items())
        )

    def put(self, path: RunPath, mark: Signature, cursors: Mapping[str, int]) -> None:
        """Remember that a run was read to its end."""
        self._entries["\n".join(path)] = _Entry(mark, dict(cursors))
        self._is_changed = True

    def forget(self, path: RunPath) -> None:
        """Forget a run."""
        self._is_changed |= self._entries.pop("\n".join(path), None) is not None

    def save_if_due(self) -> None:
        """Write the file, if there is something new and the last time was a while ago."""
        if time.monotonic() - self._saved_at > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file. It only saves time, so a disk that refuses is no matter."""
        if not self._is_changed or self._path is None:
            return
        self._saved_at = time.monotonic()
        try:
            fd, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".watched-")
            with os.fdopen(fd, "wb") as file:
                file.write(msgspec.msgpack.encode(self._entries))
            os.replace(temporary, self._path)
            self._is_changed = False
        except OSError:
            return
