"""Writing runs and their history to files that other programs read: CSV, JSON, Parquet."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from .history import RUNTIME, STEP, TIMESTAMP
from .journal.block import flatten

if TYPE_CHECKING:
    from .query import Run

# A spreadsheet takes a cell that begins with one of these for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def cell(value: Any) -> Any:
    """Answer a value as a CSV cell that no spreadsheet takes for a formula.

    Texts that could be one get an apostrophe before them; numbers stay numbers, also as text ("-0.5").

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if text.lstrip(" ").startswith(_FORMULA) and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text[:1].isspace() and text[-1:].isdigit()


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], file: IO[str]) -> int:
    """Write rows as CSV; answer how many.

    Args:
        rows: Values by column; what is missing stays empty.
        columns: In order.
        file: Opened with `newline=""`.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([cell(column) for column in columns])
    count = 0
    for row in rows:
        writer.writerow([cell(row.get(column)) for column in columns])
        count += 1
    return count


def write_json(rows: Iterable[Mapping[str, Any]], file: IO[str]) -> int:
    """Write rows as a JSON array, one a line; answer how many. See `jsonable` for NaN and infinities."""
    count = 0
    file.write("[")
    for row in rows:
        file.write(",\n" if count else "\n")
        file.write(json.dumps(jsonable(row), ensure_ascii=False, allow_nan=False))
        count += 1
    file.write("\n]\n" if count else "]\n")
    return count


def jsonable(value: Any) -> Any:
    """Answer `value` in JSON's types. NaN and infinities become the texts "NaN", "Infinity" and "-Infinity".

    Source: the JSON form of protocol buffers, https://protobuf.dev/programming-guides/json/
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)


def run_rows(runs: Iterable[Run]) -> Iterator[dict[str, Any]]:
    """Walk runs as flat rows: who they are, then `config.*` and `summary.*`."""
    for run in runs:
        row: dict[str, Any] = {
            "entity": run.entity,
            "project": run.project,
            "id": run.id,
            "name": run.name,
            "state": run.state,
            "created_at": run.created_at,
            "duration_s": run.duration,
            "group": run.group,
            "job_type": run.job_type,
            "tags": ", ".join(run.tags),
            "notes": run.notes,
            "last_step": run.last_step,
        }
        row.update((f"config.{key}", value) for key, value in flatten(run.config))
        row.update((f"summary.{key}", value) for key, value in run.summary.items())
        yield row


def history_rows(runs: Iterable[Run], keys: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Walk the history of several runs in flat memory, each row with the run's path under `run`."""
    for run in runs:
        for row in run._walk(keys):
            yield {"run": run.path, **row}


def history_columns(runs: Iterable[Run], keys: Sequence[str] | None = None) -> tuple[list[str], int]:
    """Answer the columns of `history_rows`, the run's path left out, and how many rows there are at most.

    A first pass, in flat memory: CSV wants its columns first.
    """
    found = dict.fromkeys((STEP, TIMESTAMP, RUNTIME))
    rows = 0
    for run in runs:
        for block in run._blocks(keys):
            rows += len(block)
            found.update(dict.fromkeys(key for key in block.columns if keys is None or key in keys))
    return list(found), rows


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Answer all columns of rows, in order of first appearance."""
    found: dict[str, None] = {}
    for row in rows:
        found.update(dict.fromkeys(row))
    return list(found)


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Any) -> None:
    """Write rows as Parquet, one type a column: a column of several types is told as text.

    Raises:
        MissingFramework: pyarrow is not installed.
    """
    from .query.table import arrow_column, pyarrow_or_raise  # numpy: only for who asks for it

    pyarrow = pyarrow_or_raise()
    columns = {name: arrow_column([row.get(name) for row in rows]) for name in columns_of(rows)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")
