"""A run's history as columns: what DataFrames, Arrow tables, Parquet files and lists of rows are made of.

Everything is done per column on arrays, so that a long run costs milliseconds; `core.history.join` does the same row
by row, in flat memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingFramework
from ..history import RUNTIME, STEP, TIMESTAMP
from ..journal import Block

if TYPE_CHECKING:
    import pandas
    import pyarrow

_OWN = (STEP, TIMESTAMP, RUNTIME)


class Values:
    """The values of one key: an array (float64, int64 or objects) and the rows they stand in, ascending."""

    __slots__ = ("rows", "values")

    def __init__(self, rows: np.ndarray, values: np.ndarray) -> None:
        self.rows = rows
        self.values = values

    def take(self, mask: np.ndarray) -> Values:
        """Answer those chosen by a mask or by indices into them."""
        return Values(self.rows[mask], self.values[mask])


class Table:
    """Rows by step, in columns; rows of equal step are one.

    Args:
        steps: One per row, int64 or float64, ascending.
        times: Nanoseconds since the epoch, int64: for a joined row, of its last part.
        columns: By key, in order of first appearance.
        start_ns: When the run began.
    """

    def __init__(self, steps: np.ndarray, times: np.ndarray, columns: dict[str, Values], start_ns: int) -> None:
        self.steps = steps
        self.times = times
        self.columns = columns
        self.start_ns = start_ns

    def __len__(self) -> int:
        return len(self.steps)

    @classmethod
    def from_blocks(
        cls, blocks: Iterable[Block], start_ns: int, keys: Sequence[str] | None = None, *, is_joined: bool = True
    ) -> Table:
        """Join blocks as the stores and the server give them: ordered by step, equal steps in order of writing.

        Args:
            blocks: The rows.
            start_ns: When the run began.
            keys: Only these, and only rows that have any of them.
            is_joined: Make one of rows of equal step.
        """
        found = list(blocks)
        wanted = None if keys is None else set(keys)
        parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {key: [] for key in keys or ()}
        base = 0
        for block in found:
            for key, column in block.columns.items():
                if wanted is not None and key not in wanted:
                    continue
                if column.present is None:
                    rows = np.arange(base, base + len(block))
                else:
                    rows = np.flatnonzero(np.frombuffer(column.present, np.uint8)) + base
                parts.setdefault(key, []).append((rows, _array(column.values, column.kind)))
            base += len(block)
        columns = {
            key: Values(np.concatenate([rows for rows, _ in pieces]), _concatenate([values for _, values in pieces]))
            for key, pieces in parts.items()
            if pieces
        }
        steps = _concatenate([np.array(block.steps) for block in found])
        times = _concatenate([np.array(block.times) for block in found])
        table = cls(steps, times, columns, start_ns)
        if keys is not None:
            table = table.select(_any_row(columns.values(), len(steps)))
        return table._joined() if is_joined else table

    def _joined(self) -> Table:
        """Answer the table with rows of equal step made one: for each key the last value counts."""
        if len(self) < 2:
            return self
        is_new = self.steps[1:] != self.steps[:-1]
        if is_new.all():
            return self
        group = np.concatenate([[0], np.cumsum(is_new)])
        last = np.append(np.flatnonzero(is_new), len(self) - 1)
        columns = {}
        for key, column in self.columns.items():
            rows = group[column.rows]
            is_last = np.append(rows[1:] != rows[:-1], True)
            columns[key] = Values(rows[is_last], column.values[is_last])
        return Table(self.steps[last], self.times[last], columns, self.start_ns)

    def select(self, rows: np.ndarray) -> Table:
        """Answer some of the rows, by a mask."""
        if rows.all():
            return self
        place = np.cumsum(rows) - 1
        columns = {}
        for key, column in self.columns.items():
            kept = column.take(rows[column.rows])
            kept.rows = place[kept.rows]
            if len(kept.rows):
                columns[key] = kept
        return Table(self.steps[rows], self.times[rows], columns, self.start_ns)

    def sampled(self, samples: int) -> Table:
        """Answer at most `samples` rows, evenly spaced, the first and the last among them; the same ones each time."""
        if samples >= len(self):
            return self
        mask = np.zeros(len(self), bool)
        mask[np.linspace(0, len(self) - 1, max(samples, 1)).round().astype(np.int64)] = True
        return self.select(mask)

    def ordered_by(self, key: str) -> Table:
        """Answer the rows that have a number under `key`, in its order (equal ones by step)."""
        if key in _OWN:
            if key == STEP:
                return self
            order = np.argsort(self.times, kind="stable")
        else:
            column = self.columns.get(key)
            if column is None:
                return self.select(np.zeros(len(self), bool))
            numbers = np.array(
                [value if isinstance(value, (int, float)) else np.nan for value in column.values.tolist()]
            )
            is_number = ~np.isnan(numbers)
            mask = np.zeros(len(self), bool)
            mask[column.rows[is_number]] = True
            table = self.select(mask)
            return table._permuted(np.argsort(numbers[is_number], kind="stable"))
        return self._permuted(order)

    def _permuted(self, order: np.ndarray) -> Table:
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        columns = {}
        for key, column in self.columns.items():
            rows = place[column.rows]
            by_row = np.argsort(rows)
            columns[key] = Values(rows[by_row], column.values[by_row])
        return Table(self.steps[order], self.times[order], columns, self.start_ns)

    # --- what users get ------------------------------------------------------------------

    def timestamps(self) -> np.ndarray:
        """Answer seconds since the epoch, float64."""
        return self.times / 1e9

    def runtimes(self) -> np.ndarray:
        """Answer seconds since the run began, float64."""
        return (self.times - self.start_ns) / 1e9

    def rows(self) -> list[dict[str, Any]]:
        """Answer one dict a row; a key stands only where it was logged."""
        count = len(self)
        own = [self.steps.tolist(), self.timestamps().tolist(), self.runtimes().tolist()]
        full = {key: column.values.tolist() for key, column in self.columns.items() if len(column.rows) == count}
        if len(full) == 1 == len(self.columns):  # one series: dict displays are twice as fast as dict(zip())
            ((key, values),) = full.items()
            first, second, third = _OWN  # local names: a fifth of the time
            return [
                {first: step, second: at, third: seconds, key: value}
                for step, at, seconds, value in zip(*own, values, strict=True)
            ]
        names = (*_OWN, *full)
        result = [dict(zip(names, row, strict=True)) for row in zip(*own, *full.values(), strict=True)]
        for key, column in self.columns.items():
            if key not in full:
                for index, value in zip(column.rows.tolist(), column.values.tolist(), strict=True):
                    result[index][key] = value
        return result

    def dense(self) -> dict[str, np.ndarray]:
        """Answer arrays of full length: NaN (or None, among objects) where a row has no value."""
        result = {STEP: self.steps, TIMESTAMP: self.timestamps(), RUNTIME: self.runtimes()}
        for key, column in self.columns.items():
            if len(column.rows) == len(self):
                result[key] = column.values
                continue
            whole = np.full(len(self), None, object) if column.values.dtype == object else np.full(len(self), np.nan)
            whole[column.rows] = column.values
            result[key] = whole
        return result

    def to_pandas(self) -> pandas.DataFrame:
        """Answer a DataFrame: one column a key, NaN where a row has no value.

        Raises:
            MissingFramework: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingFramework(
                "pandas is needed for a DataFrame. Install it with: pip install pandas. "
                "Or ask for a list of dicts: history(pandas=False)."
            ) from error
        return pandas.DataFrame(self.dense())

    def to_arrow(self) -> pyarrow.Table:
        """Answer a pyarrow table: one column a key, null where a row has no value.

        Raises:
            MissingFramework: pyarrow is not installed.
        """
        pyarrow = pyarrow_or_raise()
        count = len(self)
        columns = {STEP: pyarrow.array(self.steps), TIMESTAMP: pyarrow.array(self.timestamps())}
        columns[RUNTIME] = pyarrow.array(self.runtimes())
        for key, column in self.columns.items():
            if column.values.dtype == object:
                columns[key] = arrow_column(list(column_values(column, count)))
                continue
            is_missing = np.ones(count, bool)
            is_missing[column.rows] = False
            whole = np.zeros(count, column.values.dtype)
            whole[column.rows] = column.values
            columns[key] = pyarrow.array(whole, mask=is_missing if is_missing.any() else None)
        return pyarrow.table(columns)


def pyarrow_or_raise() -> Any:
    """Answer pyarrow, its Parquet part imported too.

    Raises:
        MissingFramework: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingFramework(
            "pyarrow is needed for Arrow and Parquet. Install it with: pip install pyarrow."
        ) from error
    return pyarrow


def arrow_column(values: Sequence[Any]) -> Any:
    """Answer an Arrow array: a column of several types, or of lists and dicts, is told as text (JSON)."""
    pyarrow = pyarrow_or_raise()
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {bool} or kinds <= {str} or kinds <= {int, float}:
        try:
            return pyarrow.array(values)
        except (pyarrow.ArrowInvalid, OverflowError):  # integers beyond 64 bits
            pass
    texts = [value if value is None or isinstance(value, str) else json.dumps(value, default=str) for value in values]
    return pyarrow.array(texts, type=pyarrow.string())


def write_parquet(table: Table, path: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write a Parquet file.

    Raises:
        MissingFramework: pyarrow is not installed.
    """
    pyarrow = pyarrow_or_raise()
    arrow = table.to_arrow().replace_schema_metadata(dict(metadata or {}))
    pyarrow.parquet.write_table(arrow, path, compression="zstd")


def _array(values: Any, kind: str) -> np.ndarray:
    if kind == "f":
        return np.asarray(values, np.float64)
    if kind == "i":
        return np.asarray(values, np.int64)
    array = np.empty(len(values), object)
    for index, value in enumerate(values):  # one by one: numpy would take lists for rows of a matrix
        array[index] = value
    return array


def _concatenate(arrays: list[np.ndarray]) -> np.ndarray:
    if not arrays:
        return np.empty(0, np.int64)
    kinds = {array.dtype for array in arrays}
    if len(kinds) == 1:
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    if np.dtype(object) not in kinds and _are_exact(arrays):
        return np.concatenate([array.astype(np.float64) for array in arrays])
    return np.concatenate([array.astype(object) for array in arrays])


def _are_exact(arrays: list[np.ndarray]) -> bool:
    whole = [array for array in arrays if array.dtype == np.int64 and len(array)]
    return all(int(array.min()) >= -(2**53) and int(array.max()) <= 2**53 for array in whole)


def _any_row(columns: Iterable[Values], count: int) -> np.ndarray:
    mask = np.zeros(count, bool)
    for column in columns:
        mask[column.rows] = True
    return mask


def column_values(column: Values, count: int) -> Iterator[Any]:
    """Walk a column over all rows, None where there is no value."""
    if len(column.rows) == count:
        yield from column.values.tolist()
        return
    mask = np.zeros(count, bool)
    mask[column.rows] = True
    values = iter(column.values.tolist())
    for has in mask.tolist():
        yield next(values) if has else None


__all__ = ["Table", "Values", "arrow_column", "column_values", "pyarrow_or_raise", "write_parquet"]
