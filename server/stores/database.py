"""One SQLite file: one connection that writes, others that read beside it (WAL), and errors that say what to do."""

from __future__ import annotations

import sqlite3
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ...core.errors import StorageError

if sys.version_info >= (3, 14):  # pragma: no cover - one of the two, by version
    from compression import zstd
else:
    from backports import zstd

BUSY_SECONDS = 120.0  # how long another process may write before we give up
_BUSY_STEP_SECONDS = 10.0


class DamagedError(StorageError):
    """A file that is no database any more, or one of a newer version: of no use as it is."""


class Database:
    """A SQLite file with a version.

    Args:
        path: The file; made where it is missing.
        version: Of the tables. A file of a newer one is refused.
        schema: Statements that make the tables; each must do no harm when they are there.

    Raises:
        StorageError: The file is of a newer version, damaged, or cannot be opened.
    """

    def __init__(self, path: Path, version: int, schema: Sequence[str]) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._idle: deque[sqlite3.Connection] = deque()
        self._is_closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the folder {path.parent} cannot be made: {error}.") from error
        with self.guard():
            self._writer = self._connect()
            try:
                self._prepare(version, schema)
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn SQLite's errors into ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise explained(self.path, error) from error
        except (zstd.ZstdError, msgspec.DecodeError, struct.error) as error:  # SQLite does not check what it holds
            raise explained(self.path, error) from error

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Lend the writing connection inside a transaction: committed at the end, rolled back on an error."""
        with self._lock, self.guard():
            if self._is_closed:
                raise StorageError(f"the file {self.path} was closed.")
            self._begin()
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a reading connection that sees one state of the file throughout."""
        with self.guard():
            try:
                connection = self._idle.popleft()
            except IndexError:
                connection = self._connect()
                connection.execute("PRAGMA query_only = 1")
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if self._is_closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._is_closed = True
            self._writer.close()
            while self._idle:
                self._idle.popleft().close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_STEP_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = NORMAL")  # WAL: never damaged by a power cut; the journals have it all
        connection.execute("PRAGMA cache_size = -16384")
        return connection

    def _begin(self) -> None:
        limit = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > limit:
                    raise

    def _prepare(self, version: int, schema: Sequence[str]) -> None:
        found = int(self._writer.execute("PRAGMA user_version").fetchone()[0])
        if found > version:
            raise newer(self.path, found, version)
        limit = time.monotonic() + BUSY_SECONDS
        while True:  # changing to WAL needs the file alone for a moment, and does not wait by itself
            try:
                self._writer.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > limit:
                    raise
                time.sleep(0.02)
        if found == version:
            return
        self._begin()
        for statement in schema:
            self._writer.execute(statement)
        self._writer.execute(f"PRAGMA user_version = {version}")
        self._writer.execute("COMMIT")


def newer(path: Path, found: int, known: int) -> StorageError:
    """Answer the error for a file of a newer version."""
    return DamagedError(
        f"{path} was made by a newer tracker (version {found} of its tables, this one knows {known}). "
        "Update tracker, or choose another folder; the file was left as it is."
    )


def is_busy(error: BaseException) -> bool:
    """Answer whether another process only has to be waited for."""
    return "locked" in str(error) or "busy" in str(error)


def explained(path: Path, error: BaseException) -> StorageError:
    """Answer our error for one of SQLite's."""
    text = str(error)
    is_ours = isinstance(error, (zstd.ZstdError, msgspec.DecodeError, struct.error))
    if is_ours or "malformed" in text or "not a database" in text or "disk image" in text:
        return DamagedError(
            f"the file {path} is damaged ({text}). If it is the index of the local folder, it can be made anew from "
            "the journals: remove it and start again. On a server, restore it from a backup."
        )
    if isinstance(error, sqlite3.Error) and is_busy(error):
        return StorageError(
            f"another process has been writing to {path} for {BUSY_SECONDS:.0f} s; end it, or wait and try again."
        )
    if "full" in text:
        return StorageError(f"there is no room for {path} ({text}). Free some space; nothing acknowledged is lost.")
    if "readonly" in text or "unable to open" in text:
        return StorageError(f"the file {path} cannot be written ({text}). Mend its rights, or choose another folder.")
    return StorageError(f"the file {path} does not serve ({text}).")
