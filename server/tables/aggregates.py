"""Groups: rows made one, and what is computed of each group."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...core.errors import UsageError
from .filters import Column, Columns
from .models import Aggregate, Group
from .relations import ORDER

_NUMBERS = ("int", "float")
_ORDERED = ("int", "float", "str", "datetime", "bool")


class Grouped(NamedTuple):
    """A grouping as SQL.

    Args:
        items: Of its SELECT.
        keys: Of its GROUP BY.
        columns: Of its answer.
        parameters: Of the items.
    """

    items: list[str]
    keys: list[str]
    columns: list[Column]
    parameters: list[Any]


def grouped(group: Group, columns: Columns) -> Grouped:
    """Answer a grouping as SQL.

    Raises:
        UsageError: It names no column, or asks for what a column's type does not have.
    """
    found = Grouped([], [], [], [])
    for place, name in enumerate(group.by):
        column = columns[name]
        found.items.append(f"{column.sql} AS g{place}")
        found.keys.append(column.sql)
        found.columns.append(Column(column.name, column.kind, f"g{place}"))
    for place, aggregate in enumerate(group.aggregates or [Aggregate(function="count", column=None, name=None, q=0.5)]):
        sql, kind = _computed(aggregate, columns, found.parameters)
        found.items.append(f"{sql} AS a{place}")
        found.columns.append(Column(_name(aggregate, found.columns), kind, f"a{place}"))
    return found


def _name(aggregate: Aggregate, taken: list[Column]) -> str:
    name = aggregate.name or (
        aggregate.function if aggregate.column is None else f"{aggregate.function}({aggregate.column})"
    )
    if aggregate.name is None and aggregate.function == "quantile":
        name = f"quantile({aggregate.column}, {aggregate.q:g})"
    if any(column.name == name for column in taken):
        raise UsageError(f"two columns of the answer are named {name!r}; give the aggregate another name.")
    return name


def _computed(aggregate: Aggregate, columns: Columns, parameters: list[Any]) -> tuple[str, str]:
    function = aggregate.function
    if aggregate.column is None:
        if function != "count":
            raise UsageError(f"{function} needs a column.")
        return "count(*)", "int"
    column = columns[aggregate.column]
    sql, kind = column.sql, column.kind
    if function == "count":
        return f"count({sql})", "int"
    if function == "count_distinct":
        return f"count(DISTINCT {sql})", "int"
    if function in ("first", "last"):
        return f"{'arg_min' if function == 'first' else 'arg_max'}({sql}, {ORDER})", kind
    if function in ("min", "max"):
        if kind not in _ORDERED:
            raise UsageError(f"{function} needs values that have an order; {column.name!r} holds {kind}.")
        return f"{function}({sql}){_finite(column)}", kind
    if kind == "bool" and function in ("sum", "mean"):  # how many, and what share of them, are true
        sql = f"CAST({sql} AS INTEGER)"
        return (f"sum({sql})", "int") if function == "sum" else (f"avg({sql})", "float")
    if kind not in _NUMBERS:
        raise UsageError(f"{function} needs numbers; {column.name!r} holds {kind}.")
    if function == "sum":
        return f"sum({sql}){_finite(column)}", kind
    if function == "mean":
        return f"avg({sql}){_finite(column)}", "float"
    if function == "std":
        # Squares of larger numbers overflow, for which DuckDB has an error and no value.
        return f"stddev_samp(CAST({sql} AS DOUBLE)) FILTER (WHERE abs({sql}) < 1e150)", "float"
    parameters.append(0.5 if function == "median" else aggregate.q)
    return f"quantile_cont(CAST({sql} AS DOUBLE), CAST(? AS DOUBLE)){_finite(column)}", "float"


def _finite(column: Column) -> str:
    """Answer what leaves NaN and infinities out, as charts do: one of them would hide all the others."""
    return f" FILTER (WHERE isfinite({column.sql}))" if column.kind == "float" else ""
