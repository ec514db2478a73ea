"""How the values of a column are spread, for the header above it."""

from __future__ import annotations

import datetime
from typing import Any

from .filters import Column

_EPOCH = datetime.datetime(1970, 1, 1)


def histogram(
    connection: Any, base: str, condition: str, parameters: list[Any], column: Column, bins: int
) -> dict[str, Any]:
    """Answer the histogram of a column over the rows that meet a condition, in the shape of `models.Histogram`.

    Args:
        connection: A DuckDB.
        base: The table, as SQL.
        condition: Which rows, with its parameters.
        parameters: Of the condition.
        column: Which.
        bins: How many; of what has no numbers, how many values.
    """
    found: dict[str, Any] = {"column": column.name, "type": column.kind}
    rows = f"SELECT {column.sql} AS v FROM {base} WHERE {condition}"  # noqa: S608 - made of our own names
    if column.kind in ("int", "float", "datetime"):
        return {**found, **_of_numbers(connection, rows, parameters, column.kind, bins)}
    ((missing, distinct),) = connection.execute(
        f"SELECT count(*) - count(v), count(DISTINCT v) FROM ({rows})",  # noqa: S608
        parameters,
    ).fetchall()
    frequent = connection.execute(
        f"SELECT left(CAST(v AS VARCHAR), 200) AS t, count(*) AS n FROM ({rows}) WHERE v IS NOT NULL "  # noqa: S608
        f"GROUP BY v ORDER BY n DESC, v LIMIT {bins}",
        parameters,
    ).fetchall()
    return {
        **found,
        "values": [value for value, _ in frequent],
        "counts": [count for _, count in frequent],
        "distinct": distinct,
        "missing": missing,
    }


def _of_numbers(connection: Any, rows: str, parameters: list[Any], kind: str, bins: int) -> dict[str, Any]:
    number = "CAST(epoch_us(v) AS DOUBLE)" if kind == "datetime" else "CAST(v AS DOUBLE)"
    numbers = f"SELECT {number} AS x FROM ({rows})"  # noqa: S608
    ((low, high, count, missing, nan, posinf, neginf),) = connection.execute(
        "SELECT min(x) FILTER (WHERE isfinite(x)), max(x) FILTER (WHERE isfinite(x)), "  # noqa: S608
        "count(x) FILTER (WHERE isfinite(x)), count(*) - count(x), count(x) FILTER (WHERE isnan(x)), "
        f"count(x) FILTER (WHERE isinf(x) AND x > 0), count(x) FILTER (WHERE isinf(x) AND x < 0) FROM ({numbers})",
        parameters,
    ).fetchall()
    odd = {"missing": missing, "nan": nan, "posinf": posinf, "neginf": neginf}
    if not count:
        return {"edges": [], "counts": [], **odd}
    half = high / 2 - low / 2  # the whole range of two huge numbers is infinite
    width = half / bins * 2
    if width == 0 or low + width == low:
        return {"edges": [_edge(low, kind), _edge(high, kind)], "counts": [count], **odd}
    counts = [0] * bins
    for place, n in connection.execute(
        "SELECT CAST(least(greatest(floor((x / 2 - ? / 2) / ? * ?), 0), ?) AS BIGINT) AS b, count(*) "  # noqa: S608
        f"FROM ({numbers}) WHERE isfinite(x) GROUP BY b",
        [low, half, bins, bins - 1, *parameters],
    ).fetchall():
        counts[place] = n
    edges = [_edge(low + half * place / bins * 2, kind) for place in range(bins)]
    return {"edges": [*edges, _edge(high, kind)], "counts": counts, **odd}


def _edge(value: float, kind: str) -> Any:
    if kind != "datetime":
        return value
    return f"{(_EPOCH + datetime.timedelta(microseconds=value)).isoformat()}Z"
