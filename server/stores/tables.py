"""The tables of the metadata store, and its connection to SQLite."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from ...core.errors import StorageError
from .database import BUSY_SECONDS, explained, is_busy, newer

VERSION = 2  # 1 had no named files, and no console
_BUSY_STEP_SECONDS = 10.0

schema = sa.MetaData()

runs = sa.Table(
    "runs",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("created_ns", sa.BigInteger, nullable=False),
    sa.Column("has_begun", sa.Boolean, nullable=False, server_default=sa.false()),  # a RUN record told `created_ns`
    sa.Column("trashed_ns", sa.BigInteger),
    sa.Column("lost", sa.Integer, nullable=False, server_default="0"),
    sa.Column("version", sa.Integer, nullable=False, server_default="0"),  # grows whenever `registers` changes
    sa.Column("registers", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("entity", "project", "run"),
    sqlite_autoincrement=True,
)

streams = sa.Table(
    "streams",
    schema,
    sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Column("started_ns", sa.BigInteger, nullable=False),
    sa.Column("heard_ns", sa.BigInteger, nullable=False),  # when its last record was written
    sa.Column("arrived_ns", sa.BigInteger, nullable=False, server_default="0"),  # when one last came over the network
    sa.Column("pid", sa.BigInteger),
    sa.Column("host", sa.Text),
    sa.Column("is_writer", sa.Boolean, nullable=False),
    sa.Column("exit", sa.LargeBinary),
    sa.Column("gone_ns", sa.BigInteger),
)

alerts = sa.Table(
    "alerts",
    schema,
    sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

files = sa.Table(
    "files",
    schema,
    sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),  # also of one that was taken away: an older record may follow
)

# What a run tells of its machine, its packages and its code, by name: not in `registers`, which lists unpack.
facts = sa.Table(
    "facts",
    schema,
    sa.Column("run", sa.Integer, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("time_ns", sa.BigInteger, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("value", sa.LargeBinary, nullable=False),
)


class Tables:
    """A SQLite file with these tables: one transaction writes at a time, others read beside it.

    Args:
        path: The file; made where it is missing.

    Raises:
        StorageError: The file is of a newer version, damaged, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the folder {path.parent} cannot be made: {error}.") from error
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)),
            poolclass=sa.pool.QueuePool,
            pool_size=8,
            max_overflow=64,
            connect_args={"timeout": _BUSY_STEP_SECONDS, "check_same_thread": False},
        )
        event.listen(self._engine, "connect", _set_up)
        event.listen(self._engine, "begin", _begin)
        try:
            self._prepare()
        except BaseException:
            self._engine.dispose()
            raise

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Lend a connection inside a transaction: committed at the end, rolled back on an error."""
        with self._lock, self._guard(), self._engine.connect() as connection:
            connection = connection.execution_options(is_writer=True)
            limit = time.monotonic() + BUSY_SECONDS
            while True:
                try:
                    transaction = connection.begin()
                    break
                except sa.exc.OperationalError as error:
                    if not is_busy(error.orig or error) or time.monotonic() > limit:
                        raise
            with transaction:
                yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Lend a connection that sees one state of the file throughout."""
        with self._guard(), self._engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Let the file go."""
        self._engine.dispose()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise explained(self.path, error.orig or error) from error

    def _prepare(self) -> None:
        with self._guard(), self._engine.connect() as connection:
            connection = connection.execution_options(is_writer=True)
            found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            connection.rollback()
            if found > VERSION:
                raise newer(self.path, found, VERSION)
        if found != VERSION:
            with self.write() as connection:
                schema.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def _set_up(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin transactions by itself, and the wrong ones
    limit = time.monotonic() + BUSY_SECONDS
    while True:  # changing to WAL needs the file alone for a moment, and does not wait by itself
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except Exception as error:
            if not is_busy(error) or time.monotonic() > limit:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin(connection: sa.Connection) -> None:
    is_writer = connection.get_execution_options().get("is_writer")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")
