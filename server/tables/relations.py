"""Files as one table of SQL: parts with different columns brought together, two tables joined."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ...core.errors import UsageError
from ...core.tables.parquet import literal, quoted
from .files import Facts, Field
from .filters import Column, as_json

# The order of a table's rows, as one number: the group of files, the file in it, the row in that.
_ORDER = "(CAST({group} AS BIGINT) << 52) + (CAST(file_index AS BIGINT) << 36) + file_row_number"
ORDER = "ord"
_MAX_GROUPS = 256  # each is a part of the SQL, and 8 bits of the order
_TYPES = {"bool": "BOOLEAN", "float": "DOUBLE", "datetime": "TIMESTAMP"}
_NUMBERS = ("int", "float")
_JSON = ("list", "dict", "any")


class Relation(NamedTuple):
    """A table of SQL.

    Args:
        sql: A SELECT that answers the columns `c0`, `c1`, ... and `ord`, the order of the rows.
        columns: Them.
        rows: How many, where that is known without asking.
        starts: For each value of `ord >> 36`, the number of rows before that file.
    """

    sql: str
    columns: list[Column]
    rows: int
    starts: dict[int, int]


def table(paths: Sequence[Path], facts: Sequence[Facts]) -> Relation:
    """Answer the table that some files make together, in their order."""
    names: dict[str | int, str] = {}
    for fact in facts:
        for field in fact.fields:
            kind = field.kind.partition(":")[0]
            names[field.name] = _united(names.get(field.name), kind)
    columns = [Column(name, kind, f"c{place}") for place, (name, kind) in enumerate(names.items())]
    selects: list[str] = []
    starts: dict[int, int] = {}
    before = 0
    pairs = list(zip(paths, facts, strict=True))
    groups = groupby(pairs, key=lambda pair: pair[1].fields)
    for group, (fields, members) in enumerate(groups):
        if group == _MAX_GROUPS:
            raise UsageError(f"the columns of the table change their types more than {_MAX_GROUPS} times.")
        files = list(members)
        for number, (_, fact) in enumerate(files):
            starts[(group << 16) + number] = before
            before += fact.rows
        there = {field.name: field for field in fields}
        items = [f"{_read(there.get(column.name), column.kind)} AS {column.sql}" for column in columns]
        listed = ", ".join(literal(str(path)) for path, _ in files)
        selects.append(
            f"SELECT {', '.join([*items, f'{_ORDER.format(group=group)} AS ord'])} "  # noqa: S608 - names are quoted
            f"FROM read_parquet([{listed}], file_row_number = true, union_by_name = true)"
        )
    return Relation(" UNION ALL ".join(selects), columns, before, starts)


def _united(first: str | None, second: str) -> str:
    """Answer what holds the values of two kinds."""
    if first is None or first == second or second == "null":
        return first or second
    if first == "null":
        return second
    return "float" if first in _NUMBERS and second in _NUMBERS else "any"


def _read(field: Field | None, kind: str) -> str:
    """Answer SQL for a column of a file, as one of a kind."""
    if field is None:
        return f"CAST(NULL AS {_TYPES.get(kind, 'BIGINT' if kind == 'int' else 'VARCHAR')})"
    own, _, mark = field.kind.partition(":")
    source = quoted(field.field)
    if mark == "foreign":
        return f"CAST(to_json({source}) AS VARCHAR)"
    if own == kind:
        # Other programs' files have other types: smaller numbers, dates, enums.
        return source if kind == "int" else f"CAST({source} AS {_TYPES.get(kind, 'VARCHAR')})"
    if own == "null":
        return f"CAST(NULL AS {_TYPES.get(kind, 'BIGINT' if kind == 'int' else 'VARCHAR')})"
    if kind == "float":
        return f"CAST({source} AS DOUBLE)"
    return as_json(Column(field.name, own, source))


def joined(
    left: Relation, right: Relation, on: Sequence[tuple[str | int, str | int]], how: str, labels: tuple[str, str]
) -> Relation:
    """Answer two tables side by side.

    The keys come first, then `_diff`, then the columns of the left and of the right one with a label before each.
    `_diff` is "same" or "changed" (by the columns that both have), "added" (only right) or "removed" (only left).

    Raises:
        UsageError: A key is no column, or holds values that cannot be compared.
    """
    left_by, right_by = {c.name: c for c in left.columns}, {c.name: c for c in right.columns}
    matched: list[str] = []
    items: list[str] = []
    columns: list[Column] = []
    for place, (left_name, right_name) in enumerate(on):
        a, b = left_by.get(left_name), right_by.get(right_name)
        if a is None or b is None:
            side, name = ("left", left_name) if a is None else ("right", right_name)
            raise UsageError(f"the {side} table has no column {str(name)[:100]!r} to join on.")
        kind = _united(a.kind, b.kind)
        first, second = f"l.{a.sql}", f"r.{b.sql}"
        if a.kind != b.kind and kind == "any":
            first, second = as_json(a._replace(sql=first)), as_json(b._replace(sql=second))
        matched.append(f"{first} = {second}")
        items.append(f"coalesce({first}, {second}) AS k{place}")
        columns.append(Column(left_name, kind, f"k{place}"))
    keys_left, keys_right = {a for a, _ in on}, {b for _, b in on}
    changes: list[str] = []
    for column in left.columns:
        other = right_by.get(column.name)
        if column.name in keys_left or other is None or column.name in keys_right:
            continue
        a, b = column._replace(sql=f"l.{column.sql}"), other._replace(sql=f"r.{other.sql}")
        is_plain = a.kind == b.kind or {a.kind, b.kind} <= set(_NUMBERS)
        changes.append(
            f"{a.sql} IS DISTINCT FROM {b.sql}" if is_plain else f"{as_json(a)} IS DISTINCT FROM {as_json(b)}"
        )
    is_changed = f"WHEN {' OR '.join(changes)} THEN 'changed' " if changes else ""
    items.append(
        f"CASE WHEN l.ord IS NULL THEN 'added' WHEN r.ord IS NULL THEN 'removed' {is_changed}ELSE 'same' END AS diff"
    )
    columns.append(Column("_diff", "str", "diff"))
    for side, label, relation, keys in (("l", labels[0], left, keys_left), ("r", labels[1], right, keys_right)):
        for column in relation.columns:
            if column.name not in keys:
                sql = f"{side}{column.sql}"
                items.append(f"{side}.{column.sql} AS {sql}")
                columns.append(Column(f"{label}.{column.name}", column.kind, sql))
    items += ["l.ord AS lord", "r.ord AS rord", f"coalesce(l.ord, r.ord + {1 << 61}) AS {ORDER}"]
    kind_of_join = {"inner": "INNER", "left": "LEFT", "outer": "FULL OUTER"}[how]
    sql = (
        f"SELECT {', '.join(items)} FROM ({left.sql}) l "  # noqa: S608 - made of quoted names
        f"{kind_of_join} JOIN ({right.sql}) r ON {' AND '.join(matched)}"
    )
    return Relation(sql, columns, left.rows, left.starts)


def row_number(starts: dict[int, int], order: int | None) -> int | None:
    """Answer a row's number in its table, from its place in the order."""
    if order is None:
        return None
    return starts[order >> 36] + (order & ((1 << 36) - 1))
