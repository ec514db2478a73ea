"""One server for one store: whoever has the lock writes beside it where it runs, so that the second can say so."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from ..core.errors import StorageError


class InUseError(StorageError):
    """Another server has the store.

    Args:
        message: Says so, and where it runs.
        url: Its address, where it has told it.
    """

    def __init__(self, message: str, url: str | None) -> None:
        super().__init__(message)
        self.url = url


class StoreLock:
    """Holds a folder for this process; the system lets it go when the process ends, however it ends.

    Args:
        folder: The store's folder; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "server.lock"
        self._note = folder / "server.json"
        self._file: IO[bytes] | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            InUseError: Another server has it.
            StorageError: The folder cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = open(self._path, "ab")  # noqa: SIM115 - held until `release`
        except OSError as error:
            raise StorageError(f"the folder {self._path.parent} cannot be written: {error}.") from error
        try:
            _lock(file)
        except OSError:
            file.close()
            note = self._read()
            where = f" at {note['url']}" if note.get("url") else ""
            who = f" (process {note['pid']})" if note.get("pid") else ""
            raise InUseError(
                f"a tracker server is running on {self._path.parent} already{where}{who}. "
                "Use that one, end it first, or choose another folder.",
                note.get("url"),
            ) from None
        self._file = file

    def tell(self, url: str) -> None:
        """Write down where this server runs."""
        try:
            self._note.write_text(json.dumps({"pid": os.getpid(), "url": url}))
        except OSError:  # only a kindness to the second one
            return

    def release(self) -> None:
        """Let the lock go."""
        if self._file is not None:
            try:
                self._note.unlink(missing_ok=True)
            finally:
                self._file.close()
                self._file = None

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


if sys.platform == "win32":  # pragma: no cover - one of the two, by system

    def _lock(file: IO[bytes]) -> None:
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:

    def _lock(file: IO[bytes]) -> None:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
