"""A table read back from its Parquet files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import FormatError
from .kinds import from_text, moment
from .table import Table

_ROWS = 10_000  # at a time


def read_table(paths: Sequence[Path], media: Callable[[Any], Any]) -> Table:
    """Answer the table in files that were written here.

    Args:
        paths: The files, in the order of the rows; all have the same columns.
        media: Answers what stands in a cell for a reference.

    Raises:
        FormatError: They are none of ours.
    """
    from .parquet import METADATA_KEY, connection, quoted

    names = [str(path) for path in paths]
    with connection() as reading:
        notes = reading.execute(
            "SELECT value FROM parquet_kv_metadata(?) WHERE key = ?", [names, METADATA_KEY.encode()]
        ).fetchall()
        if not notes:
            raise FormatError("the Parquet file is no table that was written here.")
        columns = json.loads(notes[0][0])["columns"]
        kinds = {column["name"]: column["type"] for column in columns}
        table = Table(columns=list(kinds), dtype={name: kind for name, kind in kinds.items() if kind != "null"})
        if not columns:
            return table
        items = [
            f"epoch_us({quoted(column['field'])})" if column["type"] == "datetime" else quoted(column["field"])
            for column in columns
        ]
        reading.execute(f"SELECT {', '.join(items)} FROM read_parquet(?, union_by_name = true)", [names])  # noqa: S608
        turns = [_turn(kind, media) for kind in kinds.values()]
        while rows := reading.fetchmany(_ROWS):
            for row in rows:
                table.add_data(
                    *(value if value is None else turn(value) for value, turn in zip(row, turns, strict=True))
                )
    return table


def _turn(kind: str, media: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Answer what makes of a value in a file what it was in the table."""
    if kind in ("list", "dict", "any"):
        return from_text
    if kind == "datetime":
        return moment
    if kind == "int":
        return int  # beyond 64 bits they come as decimals
    return _as_it_is if kind != "media" else lambda text: _cell(json.loads(text), media)


def _cell(cell: Any, media: Callable[[Any], Any]) -> Any:
    return [media(item) for item in cell] if isinstance(cell, list) else media(cell)


def _as_it_is(value: Any) -> Any:
    return value
