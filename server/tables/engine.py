"""Answers queries: DuckDB, shut in with the very files that are asked for, for a bounded time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ...core.errors import StorageError, UsageError
from ...core.tables.parquet import literal
from ..limits import (
    MAX_TABLE_ANSWER_BYTES,
    MAX_TABLE_QUERIES,
    MAX_TABLE_WAITING,
    TABLE_MEMORY_BYTES,
    TABLE_QUERY_SECONDS,
    TABLE_THREADS,
    TABLE_WAIT_SECONDS,
)
from ..trouble import StoreTroubleError
from .aggregates import grouped
from .files import Found, TableFiles
from .filters import Column, Columns, where
from .histograms import histogram
from .models import ArtifactTable, Query, RunTable
from .relations import ORDER, joined, row_number, table

if TYPE_CHECKING:
    import duckdb

_log = logging.getLogger("tracker.server")
_TEXTUAL = frozenset(("list", "dict", "any", "media"))
_decode = msgspec.json.decode
_BUSY = "too many questions over tables are being answered; ask again in a moment."


class _Asked(NamedTuple):
    """A query as SQL: what is selected, of what, and in which order."""

    select: str
    parameters: list[Any]
    order: str
    columns: list[Column]
    counting: str
    count_parameters: list[Any]


class Engine:
    """Answers queries, a few at a time.

    Args:
        files: Finds the files of tables.
    """

    def __init__(self, files: TableFiles) -> None:
        self.files = files
        self._turns = threading.BoundedSemaphore(MAX_TABLE_QUERIES)
        # Who waits holds one of the server's threads, which others need.
        self._places = threading.BoundedSemaphore(MAX_TABLE_QUERIES + MAX_TABLE_WAITING)

    def answer(self, query: Query) -> dict[str, Any]:
        """Answer a query, in the shape of `models.Answer`; times are ISO texts, numbers are Python's.

        Raises:
            UsageError: It makes no sense, takes too long, or too much memory.
            MissingTableError: There is no such table.
            StoreTroubleError: Too many are asked at once.
            StorageError: A file cannot be read.
        """
        with self._turn():
            left, right = self._sources(query)
            with _duckdb([*left.paths, *(right.paths if right else ())]) as connection:
                return self._answer(query, left, right, connection)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise StoreTroubleError(503, _BUSY)
        try:
            if not self._turns.acquire(timeout=TABLE_WAIT_SECONDS):
                raise StoreTroubleError(503, _BUSY)
            try:
                yield
            finally:
                self._turns.release()
        finally:
            self._places.release()

    def _sources(self, query: Query) -> tuple[Found, Found | None]:
        if (query.source is None) == (query.join is None):
            raise UsageError("a query has either a `source` or a `join`.")
        if query.join is not None:
            return self.files.find(query.join.left), self.files.find(query.join.right)
        source = query.source
        assert isinstance(source, (RunTable, ArtifactTable))
        return self.files.find(source), None

    def _answer(
        self, query: Query, left: Found, right: Found | None, connection: duckdb.DuckDBPyConnection
    ) -> dict[str, Any]:
        relation = table(left.paths, self.files.facts(connection, left.paths))
        right_starts: dict[int, int] = {}
        if right is not None and query.join is not None:
            other = table(right.paths, self.files.facts(connection, right.paths))
            right_starts = other.starts
            on = [name if isinstance(name, tuple) else (name, name) for name in query.join.on]
            relation = joined(relation, other, on, query.join.how, query.join.labels)
        columns = Columns(relation.columns)
        parameters: list[Any] = []
        condition = where(query.filter, columns, parameters)
        base = f"({relation.sql})"
        asked = _asked(query, base, condition, parameters, columns, is_join=right is not None)
        total: int | None = None
        if query.total:
            is_whole = query.filter is None and query.group is None and right is None
            total = relation.rows if is_whole else _count(connection, asked)
        rows, orders, has_more = _page(connection, asked, query.offset, query.limit)
        ids: list[Any] | None = None
        if query.group is None and right is None:
            ids = [row_number(relation.starts, order[0]) for order in orders]
        elif query.group is None:
            ids = [[row_number(relation.starts, a), row_number(right_starts, b)] for a, b in orders]
        return {
            "columns": [{"name": column.name, "type": column.kind} for column in asked.columns],
            "rows": rows,
            "row_ids": ids,
            "offset": query.offset,
            "total": total,
            "more": has_more,
            "histograms": [
                histogram(connection, base, condition, parameters, columns[wanted.column], wanted.bins)
                for wanted in query.histograms
            ],
            "all_columns": [{"name": column.name, "type": column.kind} for column in relation.columns],
            "all_rows": relation.rows,
            "step": left.step,
            "mode": left.mode,
        }


def _asked(
    query: Query, base: str, condition: str, parameters: list[Any], columns: Columns, *, is_join: bool
) -> _Asked:
    if query.group is not None:
        group = grouped(query.group, columns)
        select = f"SELECT {', '.join(group.items)} FROM {base} WHERE {condition}"  # noqa: S608 - made of our own names
        if group.keys:
            select += f" GROUP BY {', '.join(group.keys)}"
        known = Columns(group.columns)
        shown = known.all if query.columns is None else [known[name] for name in query.columns]
        order = _order(query, known, [f"{column.sql} ASC NULLS LAST" for column in known.all[: len(group.keys)]])
        names = ", ".join(column.sql for column in shown) or "1"
        used = [*group.parameters, *parameters]
        return _Asked(
            f"SELECT {names} FROM ({select})",  # noqa: S608
            used,
            order,
            shown,
            f"SELECT count(*) FROM ({select})",  # noqa: S608
            used,
        )
    shown = columns.all if query.columns is None else [columns[name] for name in query.columns]
    places = ["lord", "rord"] if is_join else [ORDER]
    names = ", ".join([*(column.sql for column in shown), *places])
    # Without an order of their own rows come as they lie in the files; those of a join have no such order.
    order = _order(query, columns, [ORDER]) if query.sort or is_join else ""
    return _Asked(
        f"SELECT {names} FROM {base} WHERE {condition}",  # noqa: S608
        parameters,
        order,
        shown,
        f"SELECT count(*) FROM {base} WHERE {condition}",  # noqa: S608
        parameters,
    )


def _order(query: Query, columns: Columns, last: Sequence[str]) -> str:
    items = [f"{columns[sort.column].sql} {'DESC' if sort.descending else 'ASC'} NULLS LAST" for sort in query.sort]
    items += last
    return f" ORDER BY {', '.join(items)}" if items else ""


def _count(connection: duckdb.DuckDBPyConnection, asked: _Asked) -> int:
    found = connection.execute(asked.counting, asked.count_parameters).fetchone()
    return int(found[0]) if found else 0


def _page(
    connection: duckdb.DuckDBPyConnection, asked: _Asked, offset: int, limit: int
) -> tuple[list[list[Any]], list[tuple[Any, ...]], bool]:
    """Answer rows, what follows their columns, and whether there are more; as many as the answer may hold."""
    width = len(asked.columns)
    rows: list[list[Any]] = []
    orders: list[tuple[Any, ...]] = []
    if not limit:
        return rows, orders, False
    # One more than asked for: it says whether there are others.
    connection.execute(f"{asked.select}{asked.order} LIMIT {limit + 1} OFFSET {offset}", asked.parameters)
    size, piece = 0, 16
    while fetched := connection.fetchmany(piece):
        for row in fetched:
            if len(rows) == limit:
                return rows, orders, True
            size += _size(row)
            if size > MAX_TABLE_ANSWER_BYTES:
                if not rows:
                    raise UsageError(
                        f"row {offset} alone takes {size:,} bytes, at most {MAX_TABLE_ANSWER_BYTES:,} are answered at "
                        "once. Ask for fewer columns."
                    )
                return rows, orders, True
            rows.append([_value(value, column.kind) for value, column in zip(row, asked.columns, strict=False)])
            orders.append(row[width:])
        piece = max(1, min(2048, (1 << 20) * len(rows) // max(size, 1)))  # about a megabyte at a time
    return rows, orders, False


def _size(row: Sequence[Any]) -> int:
    return sum(len(value) if isinstance(value, str) else 8 for value in row) + 8


def _value(value: Any, kind: str) -> Any:
    """Answer a cell as the answer has it."""
    if value is None:
        return None
    if kind == "datetime":
        return f"{value.isoformat()}Z"
    if kind in _TEXTUAL and isinstance(value, str):
        try:
            return _decode(value)
        except msgspec.DecodeError:  # a file of another program's
            return value
    if isinstance(value, Decimal):
        return int(value) if kind == "int" else float(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    return value


@contextmanager
def _duckdb(paths: Sequence[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB that can read these files and nothing else, and that is stopped in time."""
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": TABLE_THREADS,
            "memory_limit": f"{TABLE_MEMORY_BYTES >> 20}MiB",
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
        },
    )
    timer = threading.Timer(TABLE_QUERY_SECONDS, connection.interrupt)
    timer.daemon = True
    try:
        listed = ", ".join(literal(str(path)) for path in dict.fromkeys(paths))
        connection.execute(f"SET allowed_paths = [{listed}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        timer.start()
        yield connection
    except duckdb.InterruptException:
        raise UsageError(
            f"the answer takes longer than {TABLE_QUERY_SECONDS:g} seconds. Ask for fewer rows, or a simpler question."
        ) from None
    except duckdb.OutOfMemoryException:
        raise UsageError(
            f"the answer takes more than {TABLE_MEMORY_BYTES >> 20} MiB of memory. "
            "Filter first, or sort and group by fewer columns."
        ) from None
    except (duckdb.IOException, duckdb.PermissionException) as error:
        raise StorageError(f"a file of the table cannot be read: {_first_line(error)}") from error
    except duckdb.Error as error:
        _log.warning("a query over a table failed: %s", error)
        raise UsageError(f"the query cannot be answered: {_first_line(error)}") from error
    finally:
        timer.cancel()
        connection.close()


def _first_line(error: Exception) -> str:
    """Answer what DuckDB says, without its sight of our SQL."""
    return str(error).partition("\n")[0][:300]
