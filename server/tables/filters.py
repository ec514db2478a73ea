"""Filters over the columns of a table: a JSON object, as for runs, made into SQL with parameters."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...core.errors import UsageError
from ...core.tables.kinds import to_text
from ..limits import MAX_TABLE_CONDITIONS, MAX_TABLE_FILTER_DEPTH, MAX_TABLE_LIST, MAX_TABLE_PATTERN_CHARS


class Column(NamedTuple):
    """A column of a query: its name for people, what it holds, and how it is written in SQL."""

    name: str | int
    kind: str
    sql: str


class Columns:
    """The columns that a query can name.

    Args:
        columns: All of them.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.all = list(columns)
        self._by_name: dict[str | int, Column] = {column.name: column for column in columns}
        self._by_text = {str(column.name): column for column in reversed(columns)}

    def __getitem__(self, name: Any) -> Column:
        """Answer a column; one whose name is a number is found by its text as well.

        Raises:
            UsageError: There is none.
        """
        found = self._by_name.get(name) if isinstance(name, (str, int)) else None
        found = found or self._by_text.get(str(name))
        if found is None:
            known = ", ".join(repr(column.name) for column in self.all[:20])
            raise UsageError(f"there is no column {str(name)[:100]!r}; the table has {known}.")
        return found


_COMPARED = {"$eq": "=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_TEXTS = {"$contains": "contains", "$startswith": "starts_with", "$endswith": "ends_with"}
_LOGIC = {"$and": " AND ", "$or": " OR ", "$nor": " OR "}
_TEXT_KINDS = ("str", "list", "dict", "media", "any", "null")
_NUMBERS = ("int", "float")
# A comparison with a missing value is no match, never "unknown": $not and $ne then mean what they say.
_FALSE, _TRUE = "FALSE", "TRUE"


def where(filter: Mapping[str, Any] | None, columns: Columns, parameters: list[Any]) -> str:
    """Answer a condition in SQL.

    Args:
        filter: `{"score": {"$gt": 0.5}, "$or": [...]}`; several conditions in one object must all hold.
        columns: Those it may name.
        parameters: Takes the values, in the order of their marks.

    Raises:
        UsageError: The filter cannot be understood; the text says where.
    """
    return _Writer(columns, parameters).condition(filter, MAX_TABLE_FILTER_DEPTH) if filter else _TRUE


class _Writer:
    def __init__(self, columns: Columns, parameters: list[Any]) -> None:
        self.columns = columns
        self.parameters = parameters
        self.count = 0

    def condition(self, filter: Any, depth: int) -> str:
        if not isinstance(filter, Mapping):
            raise UsageError('a filter is an object such as {"score": {"$gt": 0.5}}.')
        if not depth:
            raise UsageError(f"the filter is nested more than {MAX_TABLE_FILTER_DEPTH} levels deep; make it simpler.")
        if "$column" in filter:  # a column whose name begins with a dollar
            rest = {key: value for key, value in filter.items() if key != "$column"}
            return self.predicate(self.columns[filter["$column"]], rest, depth)
        parts: list[str] = []
        for key, value in filter.items():
            if key in _LOGIC:
                if not isinstance(value, list) or not value:
                    raise UsageError(f"{key} takes a list of filters.")
                text = "(" + _LOGIC[key].join(self.condition(item, depth - 1) for item in value) + ")"
                parts.append(f"(NOT {text})" if key == "$nor" else text)
            elif key == "$not":
                parts.append(f"(NOT {self.condition(value, depth - 1)})")
            elif key.startswith("$") and key not in {str(column.name) for column in self.columns.all}:
                raise UsageError(f"{key[:100]} is no operator of a filter.")
            else:
                parts.append(self.predicate(self.columns[key], value, depth - 1))
        return "(" + " AND ".join(parts) + ")" if parts else _TRUE

    def predicate(self, column: Column, value: Any, depth: int) -> str:
        is_operators = isinstance(value, Mapping) and value and all(str(key).startswith("$") for key in value)
        if not is_operators or (isinstance(value, Mapping) and "$column" in value):
            return self.compared(column, "$eq", value)
        if depth < 0:
            raise UsageError(f"the filter is nested more than {MAX_TABLE_FILTER_DEPTH} levels deep; make it simpler.")
        parts: list[str] = []
        for operator, operand in value.items():
            if operator == "$options":
                continue
            if operator == "$not":
                parts.append(f"(NOT {self.predicate(column, operand, depth - 1)})")
            elif operator == "$regex":
                parts.append(self.pattern(column, operand, value.get("$options", "")))
            else:
                parts.append(self.compared(column, str(operator), operand))
        return "(" + " AND ".join(parts) + ")" if parts else _TRUE

    def compared(self, column: Column, operator: str, value: Any) -> str:
        self.count += 1
        if self.count > MAX_TABLE_CONDITIONS:
            raise UsageError(f"the filter has more than {MAX_TABLE_CONDITIONS} conditions; make it simpler.")
        if operator == "$exists":
            return f"({column.sql} IS {'NOT ' if value else ''}NULL)"
        if operator == "$ne":
            return f"(NOT {self.compared(column, '$eq', value)})"
        if operator in ("$in", "$nin"):
            return self.among(column, operator, value)
        if operator in _TEXTS:
            return self.text(column, operator, value)
        if operator not in _COMPARED:
            raise UsageError(f"{operator[:100]} is no operator of a filter.")
        if value is None:
            if operator != "$eq":
                raise UsageError(f"{operator} cannot compare with null; ask for $exists.")
            return f"({column.sql} IS NULL)"
        if isinstance(value, Mapping) and set(value) == {"$column"}:
            return self.two_columns(column, operator, self.columns[value["$column"]])
        left, right = self.operands(column, operator, value)
        return f"coalesce({left} {_COMPARED[operator]} {right}, FALSE)"

    def two_columns(self, left: Column, operator: str, right: Column) -> str:
        a, b = left.sql, right.sql
        if left.kind != right.kind and not (left.kind in _NUMBERS and right.kind in _NUMBERS):
            if operator != "$eq":
                raise UsageError(
                    f"{left.name!r} holds {left.kind} and {right.name!r} {right.kind}: they have no order."
                )
            a, b = as_json(left), as_json(right)
        if operator == "$eq":
            return f"({a} IS NOT DISTINCT FROM {b})"
        return f"coalesce({a} {_COMPARED[operator]} {b}, FALSE)"

    def operands(self, column: Column, operator: str, value: Any) -> tuple[str, str]:
        """Answer both sides of a comparison; the value is a parameter by then."""
        kind = column.kind
        if kind in _NUMBERS:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise _mismatch(column, value)
            return column.sql, self.number(value)
        if kind == "bool":
            if not isinstance(value, bool):
                raise _mismatch(column, value)
            return column.sql, self.mark(value)
        if kind == "datetime":
            return column.sql, self.mark(_moment(column, value))
        if kind in ("str", "null"):
            if not isinstance(value, str):
                raise _mismatch(column, value)
            return column.sql, self.mark(value)
        if kind == "any" and operator != "$eq":
            if isinstance(value, str):
                return f"CASE WHEN starts_with({column.sql}, '\"') THEN {plain_text(column)} END", self.mark(value)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return f"TRY_CAST({column.sql} AS DOUBLE)", self.number(value)
            raise _mismatch(column, value)
        if kind == "any" and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return f"TRY_CAST({column.sql} AS DOUBLE)", self.number(value)
        if operator != "$eq":
            raise UsageError(
                f"the values of {column.name!r} ({kind}) have no order; compare them with $eq or $contains."
            )
        return column.sql, self.mark(to_text(value))

    def among(self, column: Column, operator: str, values: Any) -> str:
        if not isinstance(values, list) or len(values) > MAX_TABLE_LIST:
            raise UsageError(f"{operator} takes a list of at most {MAX_TABLE_LIST:,} values.")
        parts: list[str] = []
        if None in values:
            parts.append(f"{column.sql} IS NULL")
        marks: dict[str, list[str]] = {}
        for value in values:
            if value is not None:
                left, right = self.operands(column, "$eq", value)
                marks.setdefault(left, []).append(right)
        # The marks of several left sides would come in another order than their values.
        if len(marks) > 1:
            raise UsageError(f"{operator} takes values of one type.")
        parts += [f"coalesce({left} IN ({', '.join(rights)}), FALSE)" for left, rights in marks.items()]
        text = "(" + " OR ".join(parts or [_FALSE]) + ")"
        return f"(NOT {text})" if operator == "$nin" else text

    def text(self, column: Column, operator: str, value: Any) -> str:
        if column.kind not in _TEXT_KINDS:
            raise UsageError(f"{operator} looks into texts, and {column.name!r} holds {column.kind}.")
        if not isinstance(value, str):
            raise UsageError(f"{operator} takes a text.")
        return f"coalesce({_TEXTS[operator]}({plain_text(column)}, {self.mark(value)}), FALSE)"

    def pattern(self, column: Column, pattern: Any, options: Any) -> str:
        self.count += 1
        if column.kind not in _TEXT_KINDS:
            raise UsageError(f"$regex looks into texts, and {column.name!r} holds {column.kind}.")
        if not isinstance(pattern, str) or len(pattern) > MAX_TABLE_PATTERN_CHARS or self.count > MAX_TABLE_CONDITIONS:
            raise UsageError(f"$regex takes a text of at most {MAX_TABLE_PATTERN_CHARS} characters.")
        if options not in ("", "i"):
            raise UsageError("$options takes 'i': upper and lower case are the same.")
        # RE2: its time grows with the text alone, whatever the pattern.
        mark = self.mark(pattern)
        return f"coalesce(regexp_matches({plain_text(column)}, {mark}, '{options or 'c'}'), FALSE)"

    def number(self, value: float) -> str:
        if isinstance(value, int) and abs(value) >= 10**38:
            value = float(value) if abs(value) < 10**300 else math.copysign(math.inf, value)
        if isinstance(value, float) and not math.isfinite(value):  # a parameter that is NaN would be null
            return f"CAST('{'nan' if value != value else 'inf' if value > 0 else '-inf'}' AS DOUBLE)"
        return self.mark(value)

    def mark(self, value: Any) -> str:
        self.parameters.append(value)
        return "?"


def plain_text(column: Column) -> str:
    """Answer SQL for a column's text; of an "any" column the texts without their quotation marks."""
    if column.kind == "any":
        return f"coalesce(json_extract_string({column.sql}, '$'), {column.sql})"
    return column.sql


def as_json(column: Column) -> str:
    """Answer SQL for a column's values as JSON, so that columns of two types can be compared."""
    if column.kind in ("list", "dict", "any", "media", "null"):
        return column.sql
    return f"CAST(to_json({column.sql}) AS VARCHAR)"


def _mismatch(column: Column, value: Any) -> UsageError:
    return UsageError(f"{column.name!r} holds {column.kind}, and is compared with {str(value)[:100]!r}.")


def _moment(column: Column, value: Any) -> datetime.datetime:
    try:
        if isinstance(value, str):
            found = datetime.datetime.fromisoformat(value[:-1] + "+00:00" if value.endswith("Z") else value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found = datetime.datetime.fromtimestamp(value, datetime.timezone.utc)
        else:
            raise _mismatch(column, value)
        return found.astimezone(datetime.timezone.utc).replace(tzinfo=None) if found.tzinfo else found
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{column.name!r} holds times; compare with one such as '2026-01-31T12:00:00Z', not {str(value)[:100]!r}."
        ) from None
