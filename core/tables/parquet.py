"""Tables as Parquet: written by DuckDB from the packed columns, in files of bounded size."""

from __future__ import annotations

import ctypes
import json
import os
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import exits
from ..current import complain
from ..limits import TABLE_FILE_BYTES
from ..values import Unstorable
from .column import Piece

if TYPE_CHECKING:
    import duckdb

    from ..media.base import Blobs
    from .kinds import Kind
    from .snapshot import TableSnapshot

METADATA_KEY = "tracker"
_NUMBER = {"int": "int64", "float": "float64", "bool": "bool", "datetime": "int64"}
_SQL_TYPES: dict[str, str] = {"null": "VARCHAR", "bool": "BOOLEAN", "int": "BIGINT", "float": "DOUBLE"}
_CELL_BYTES = {"null": 1, "bool": 1, "int": 8, "float": 8, "datetime": 8, "media": 300}
_SAMPLE = 256  # values looked at to guess how long texts are


def write_blobs(snapshot: TableSnapshot, blobs: Blobs) -> list[tuple[str, int]]:
    """Write a snapshot into blobs; answer digest and size of each file, in the order of the rows."""
    if not snapshot.rows and snapshot.part:
        return []
    stored: list[tuple[str, int]] = []
    for path in write_files(snapshot, blobs.draft, blobs):
        size = path.stat().st_size
        stored.append((blobs.put_file(path, move=True), size))
    return stored


def write_files(snapshot: TableSnapshot, target: Callable[[], Path], blobs: Blobs) -> Iterator[Path]:
    """Write a snapshot into files of bounded size, one after the other.

    Args:
        snapshot: What to write.
        target: Answers a path for each file.
        blobs: Takes the bytes of the media in its cells.
    """
    step = max(1, int(TABLE_FILE_BYTES / max(_row_bytes(snapshot), 1)))
    for start in range(0, max(snapshot.rows, 1), step):
        path = target()
        write_rows(_writing(), snapshot, path, blobs, start, min(start + step, snapshot.rows))
        yield path


_kept = threading.local()


def _writing() -> duckdb.DuckDBPyConnection:
    """Answer this thread's DuckDB: opening one takes longer than writing some rows. A forked child has its own."""
    if getattr(_kept, "pid", None) != os.getpid():
        _kept.connection, _kept.pid = connection(), os.getpid()
        # A child that is forked later must not tear it down: its destructor would wait for threads that are not there.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept.connection))
    found: duckdb.DuckDBPyConnection = _kept.connection
    return found


def write_rows(
    writing: duckdb.DuckDBPyConnection, snapshot: TableSnapshot, path: Path, blobs: Blobs, start: int, stop: int
) -> None:
    """Write some of the rows into one file."""
    arrays: dict[str, np.ndarray] = {}
    selected: list[str] = []
    described: list[dict[str, Any]] = []
    fields = field_names(snapshot.names)
    for place, (name, kind, field) in enumerate(zip(snapshot.names, snapshot.kinds, fields, strict=True)):
        pieces = _cut(snapshot.pieces[place], start, stop)
        if kind == "media":
            pieces = [Piece(_stored(piece, name, blobs)) for piece in pieces]
        values, gaps = _joined(pieces, kind, stop - start)
        arrays[f"v{place}"] = values
        source = f"v{place}"
        if kind == "float" and (is_nan := np.isnan(values)).any():  # DuckDB would take it for a missing value
            arrays[f"n{place}"] = is_nan
            source = f"CASE WHEN n{place} THEN CAST('nan' AS DOUBLE) ELSE v{place} END"
        if gaps is not None:
            arrays[f"g{place}"] = gaps
            source = f"CASE WHEN g{place} THEN NULL ELSE {source} END"
        selected.append(f"{_typed(source, kind, values)} AS {quoted(field)}")
        described.append({"name": name, "type": kind, "field": field})
    is_empty = stop == start or not arrays  # DuckDB takes no table without rows or columns
    rows = _without_rows(snapshot.kinds, fields) if is_empty else f"SELECT {', '.join(selected)} FROM given"  # noqa: S608 - names are quoted
    note = literal(json.dumps({"version": 1, "columns": described}))
    if not is_empty:
        writing.register("given", arrays)
    try:
        writing.execute(
            f"COPY ({rows}) TO {literal(str(path))} "
            f"(FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{METADATA_KEY}: {note}}})"
        )
    finally:
        if not is_empty:
            writing.unregister("given")


def _without_rows(kinds: Sequence[Kind], fields: Sequence[str]) -> str:
    columns = [
        f"CAST(NULL AS {'TIMESTAMP' if kind == 'datetime' else _SQL_TYPES.get(kind, 'VARCHAR')}) AS {quoted(field)}"
        for kind, field in zip(kinds, fields, strict=True)
    ]
    return f"SELECT {', '.join(columns) or 'NULL AS nothing'} LIMIT 0"


def connection() -> duckdb.DuckDBPyConnection:
    """Answer a DuckDB that asks nobody else and takes one thread: the others are for training."""
    import duckdb

    exits.come_first()  # it closes itself down at exit, and what was logged last is written then
    settings: dict[str, Any] = {"threads": 1, "autoinstall_known_extensions": False}
    return duckdb.connect(":memory:", config={**settings, "autoload_known_extensions": False})


def _typed(source: str, kind: Kind, values: np.ndarray) -> str:
    if kind == "datetime":
        return f"make_timestamp({source})"
    if kind == "int" and values.dtype == object:  # beyond 64 bits
        return f"CAST({source} AS DECIMAL(38, 0))"
    return f"CAST({source} AS {_SQL_TYPES.get(kind, 'VARCHAR')})"


def _cut(pieces: Sequence[Piece], start: int, stop: int) -> list[Piece]:
    found: list[Piece] = []
    first = 0
    for piece in pieces:
        end = first + len(piece.values)
        if end > start and first < stop:
            found.append(piece.cut(max(start - first, 0), min(stop, end) - first))
        first = end
    return found


def _joined(pieces: Sequence[Piece], kind: Kind, rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Answer a column as one array, and where it has no values (None: it has them everywhere)."""
    dtype = _NUMBER.get(kind)
    if dtype is None or not all(isinstance(piece.values, array) for piece in pieces):
        whole = np.empty(rows, object)
        first = 0
        for piece in pieces:
            values = list(piece.values)
            for gap in piece.gaps:
                values[gap] = None
            whole[first : first + len(values)] = _texts(values) if kind != "int" else values
            first += len(values)
        return whole, None
    packed = [np.frombuffer(piece.values, _view(dtype)) for piece in pieces if isinstance(piece.values, array)]
    whole = np.concatenate(packed or [np.empty(0, dtype)])
    if not any(piece.gaps for piece in pieces):
        return whole.astype(dtype, copy=False), None
    gaps = np.zeros(rows, bool)
    first = 0
    for piece in pieces:
        gaps[np.asarray(piece.gaps, np.int64) + first] = True
        first += len(piece.values)
    return whole.astype(dtype, copy=False), gaps


def _view(dtype: str) -> str:
    return "int8" if dtype == "bool" else dtype


def _texts(values: list[Any]) -> list[Any]:
    """Answer texts that can be written: half characters (lone surrogates) as their codes."""
    try:
        "".join(value for value in values if value is not None).encode()
    except UnicodeEncodeError:
        return [None if value is None else value.encode(errors="backslashreplace").decode() for value in values]
    return values


def _stored(piece: Piece, name: Any, blobs: Blobs) -> list[str | None]:
    texts: list[str | None] = []
    for cell in piece.values:
        try:
            texts.append(None if cell is None else cell.store(blobs))
        except Unstorable as error:
            texts.append(None)
            complain(
                f"cell {name} {str(error)[:60]}",
                f"a cell in the column {name!r} of a table {error}. It is left empty, and so are others like it.",
            )
    return texts


def _row_bytes(snapshot: TableSnapshot) -> float:
    """Guess how many bytes a row has before compression."""
    total = 0.0
    for kind, pieces in zip(snapshot.kinds, snapshot.pieces, strict=True):
        if kind in _CELL_BYTES:
            total += _CELL_BYTES[kind]
            continue
        longest = 8.0
        for piece in pieces:
            step = max(1, len(piece.values) // _SAMPLE)
            found = [len(value) for value in piece.values[::step] if isinstance(value, str)]
            longest = max(longest, sum(found) / max(len(found), 1))
        total += longest
    return total


def field_names(names: Sequence[Any]) -> list[str]:
    """Answer names for a file: texts, none empty, different also where case counts for nothing."""
    found: list[str] = []
    taken: set[str] = set()
    for place, name in enumerate(names):
        base = str(name).encode(errors="backslashreplace").decode().replace("\0", "") or f"column_{place}"
        field, number = base, 1
        while field.lower() in taken or field.lower() in _HIDDEN:
            field = f"{base}_{number}"
            number += 1
        taken.add(field.lower())
        found.append(field)
    return found


_HIDDEN = ("filename", "file_row_number", "file_index")  # what DuckDB adds to a file's own columns


def quoted(name: str) -> str:
    """Answer a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Answer a text for SQL."""
    return "'" + text.replace("'", "''") + "'"


__all__ = [
    "METADATA_KEY",
    "connection",
    "field_names",
    "literal",
    "quoted",
    "write_blobs",
    "write_files",
    "write_rows",
]
