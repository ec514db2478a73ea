"""`Table`: rows of typed cells, logged as one value of a row of the run."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ..current import complain
from ..errors import MissingFramework, UsageError
from ..media.base import Encodable, Media
from ..values import Reference
from .column import Column
from .frames import fill, is_frame, names_of, rows_of
from .kinds import ColumnTypeError, Kind, kind_of
from .snapshot import TableSnapshot

if TYPE_CHECKING:
    import numpy as np
    import pandas

LogMode = Literal["IMMUTABLE", "MUTABLE", "INCREMENTAL"]
_MODES = ("IMMUTABLE", "MUTABLE", "INCREMENTAL")
_DEFAULT_COLUMNS = ("Input", "Output", "Expected")  # W&B's


class Table(Media):
    """Rows of cells, each column of one type: predictions beside the truth, samples beside their scores.

    Columns are packed in memory, and written as Parquet when the table is logged, on a thread of its own. A row that
    does not fit raises at once, in `add_data`, and leaves the table as it was; logging a table never raises.

    Args:
        columns: Their names; those of W&B ("Input", "Output", "Expected") without any.
        data: A list of rows (lists, or dicts by name), an array of two dimensions, or a data frame.
        rows: The same as `data`, as in older scripts.
        dataframe: A data frame of pandas or polars, an Arrow table, or a data set of Hugging Face.
        dtype: The type of all columns, or a list or dict with one for each: Python's types, numpy's, or a name. Found
            out from the values without it.
        optional: Whether cells may be None; one for all columns, or a list with one for each.
        allow_mixed_types: Let a column hold values of several types.
        log_mode: "IMMUTABLE": logged once. "MUTABLE": each log stores all of it anew. "INCREMENTAL": each log stores
            the rows that are new, and readers see one table that grows.

    Raises:
        UsageError: The arguments make no table.
        ColumnTypeError: A value is of another type than its column (also a TypeError).

    Example:
        table = tracker.Table(columns=["image", "truth", "guess"])
        table.add_data(tracker.Image(pixels), "cat", "truck")
        run.log({"predictions": table})
    """

    _type: ClassVar[str] = "table-file"
    _is_table = True
    # W&B's limits, set by scripts that need more. There are none here.
    MAX_ROWS: ClassVar[int] = 10_000
    MAX_ARTIFACT_ROWS: ClassVar[int] = 200_000

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: bool | Sequence[bool] = True,
        allow_mixed_types: bool = False,
        log_mode: LogMode | None = "IMMUTABLE",
    ) -> None:
        mode = str(log_mode or "IMMUTABLE").upper()
        if mode not in _MODES:
            raise UsageError(f"log_mode is {log_mode!r}. Use one of {', '.join(_MODES)}.")
        self.log_mode: str = mode
        self._is_mixed = bool(allow_mixed_types)
        self._id = uuid.uuid4().hex[:16]
        self._parts = 0  # logged so far, of an INCREMENTAL table
        self._sent = 0  # rows of it that are logged
        self._change = 0  # counts changes
        self._logged_change: int | None = None
        self._last: TableSnapshot | None = None
        frame = dataframe if dataframe is not None else data if is_frame(data) else None
        if frame is not None and not is_frame(frame):
            raise UsageError(
                f"dataframe is a {type(frame).__name__}. Give a data frame of pandas or polars, an Arrow table, or a "
                "data set of Hugging Face; a list of rows is `data`."
            )
        given = rows if data is None and frame is None else data
        if columns is None:
            columns = names_of(frame) if frame is not None else _names_in(given) or _DEFAULT_COLUMNS
        self._columns: dict[Any, Column] = {}
        self._make_columns(_names(columns), dtype, optional)
        if frame is not None:
            self._fill(frame, list(self._columns))
        elif given is not None:
            for row in rows_of(given):
                self._add(self._row_of(row))

    def _make_columns(self, names: list[Any], dtype: Any, optional: bool | Sequence[bool]) -> None:
        for place, name in enumerate(names):
            if name in self._columns:
                raise UsageError(f"there are two columns {name!r}. Give each its own name.")
            chosen = dtype
            if isinstance(dtype, Mapping):
                chosen = dtype.get(name)
            elif isinstance(dtype, (list, tuple)):
                chosen = dtype[place] if place < len(dtype) else None
            may = optional[place] if isinstance(optional, (list, tuple)) and place < len(optional) else bool(optional)
            self._columns[name] = self._column(name, chosen, may)

    def _column(self, name: Any, dtype: Any, is_optional: bool) -> Column:
        if dtype is None:
            return Column(name, is_optional=is_optional, is_mixed=self._is_mixed)
        kind = kind_of(dtype)
        return Column(name, kind, is_fixed=kind != "any", is_optional=is_optional, is_mixed=self._is_mixed)

    def _fill(self, frame: Any, names: list[Any]) -> None:
        there = names_of(frame)
        for name in names:
            place = there.index(name) if name in there else names.index(name) if len(names) == len(there) else None
            if place is None:
                raise UsageError(f"the data frame has no column {name!r}. It has {', '.join(map(repr, there))}.")
            fill(self._columns[name], frame, place, there[place])
        self._change += 1

    # --- adding --------------------------------------------------------------------------

    def add_data(self, *data: Any) -> None:
        """Add a row, one value for each column.

        Values are kept as they are now: changing a list or an image later does not change the table.

        Raises:
            UsageError: There are more values than columns, or fewer.
            ColumnTypeError: A value is of another type than its column; also a TypeError. The row is not added.
        """
        if len(data) != len(self._columns):
            raise UsageError(
                f"the table has {len(self._columns)} columns ({', '.join(map(str, self._columns))}), got {len(data)} "
                "values. Give one for each; None where there is none."
            )
        self._add(data)

    def add_row(self, *row: Any) -> None:
        """Add a row; the same as `add_data`."""
        self.add_data(*row)

    def _add(self, row: Sequence[Any]) -> None:
        columns = self._columns.values()
        try:
            for column, value in zip(columns, row, strict=True):
                column.append(value)
        except BaseException:
            rows = min(map(len, columns))
            for column in columns:
                column.cut_back(rows)
            raise
        self._change += 1

    def _row_of(self, row: Any) -> Sequence[Any]:
        if isinstance(row, Mapping):
            unknown = [key for key in row if key not in self._columns]
            if unknown:
                raise UsageError(f"the row has {unknown[0]!r}, which is no column of the table.")
            return [row.get(name) for name in self._columns]
        if hasattr(row, "tolist"):
            row = row.tolist()
        if not isinstance(row, (list, tuple)) or len(row) != len(self._columns):
            shape = f"{len(row)} values" if isinstance(row, (list, tuple)) else f"a {type(row).__name__}"
            raise UsageError(
                f"row {len(self)} is {shape}; the table has {len(self._columns)} columns "
                f"({', '.join(map(str, self._columns))}). Give a list with one value for each."
            )
        return row

    def add_column(self, name: Any, data: Any, optional: bool = False) -> None:
        """Add a column.

        Args:
            name: Its name.
            data: One value for each row: a list or an array.
            optional: Whether there may be None among them.

        Raises:
            UsageError: The number of values is not that of the rows, or there is such a column.
            ColumnTypeError: The values are of several types.
        """
        self._check_growing("a column")
        if name in self._columns:
            raise UsageError(f"there is a column {name!r} already. Give the new one another name.")
        values = data if hasattr(data, "__len__") else list(data)
        if self._columns and len(values) != len(self):
            raise UsageError(f"the column {name!r} has {len(values)} values, the table has {len(self)} rows.")
        (fresh,) = _names([name])
        column = self._column(fresh, None, bool(optional))
        column.extend(values)
        self._columns[fresh] = column
        self._change += 1

    def add_computed_columns(self, fn: Callable[[int, dict[Any, Any]], Mapping[Any, Any]]) -> None:
        """Add columns that are computed row by row.

        Args:
            fn: Takes the row's number and its values by column, and answers the new values by column.

        Raises:
            UsageError: `fn` answers something else, or not the same columns for all rows.
        """
        made: dict[Any, list[Any]] = {}
        for index, row in self.iterrows():
            found = fn(index, dict(zip(self._columns, row, strict=True)))
            if not isinstance(found, Mapping) or (index and found.keys() != made.keys()):
                raise UsageError(
                    f"the function answers {type(found).__name__} for row {index}; it has to answer a dict with the "
                    "same columns for all rows."
                )
            for name, value in found.items():
                made.setdefault(name, []).append(value)
        for name, values in made.items():
            self.add_column(name, values, optional=True)

    def cast(self, col_name: Any, dtype: Any, optional: bool = False) -> None:
        """Convert a column to a type, which it keeps from then on.

        Raises:
            UsageError: There is no such column, or no such type.
            ColumnTypeError: A value cannot be converted.
        """
        self._check_growing("the type of a column")
        self._named(col_name).cast(kind_of(dtype), is_optional=bool(optional))
        self._change += 1

    def _check_growing(self, what: str) -> None:
        if self.log_mode == "INCREMENTAL" and self._parts:
            raise UsageError(
                f"{what} cannot be changed any more: rows of this INCREMENTAL table are logged. "
                "Do it before the first log, or use log_mode='MUTABLE'."
            )

    # --- reading -------------------------------------------------------------------------

    @property
    def columns(self) -> list[Any]:
        """The columns' names."""
        return list(self._columns)

    @property
    def types(self) -> dict[Any, Kind]:
        """What each column holds: null (nothing yet), bool, int, float, str, datetime, list, dict, media or any."""
        return {name: column.kind for name, column in self._columns.items()}

    @property
    def data(self) -> list[list[Any]]:
        """All rows, as lists. They are made when asked for: changing them does not change the table."""
        return [list(row) for row in self._rows()]

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        return zip(*(column.values() for column in self._columns.values()), strict=True)

    def __len__(self) -> int:
        """Answer the number of rows."""
        return len(next(iter(self._columns.values()))) if self._columns else 0

    def __bool__(self) -> bool:
        return True  # a table without rows is one all the same

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """Walk the rows, each with its number."""
        return ((index, list(row)) for index, row in enumerate(self._rows()))

    def get_index(self) -> list[int]:
        """Answer the numbers of the rows."""
        return list(range(len(self)))

    def index_ref(self, index: int) -> int:
        """Answer the number of a row, for W&B's scripts that keep references to rows."""
        if not 0 <= index < len(self):
            raise UsageError(f"there is no row {index}; the table has {len(self)}.")
        return index

    def get_column(self, name: Any, convert_to: Literal["numpy"] | None = None) -> list[Any] | np.ndarray:
        """Answer a column's values.

        Args:
            name: Which.
            convert_to: "numpy" for an array; a list without it.

        Raises:
            UsageError: There is no such column.
        """
        column = self._named(name)
        values = list(column.values())
        if convert_to is None:
            return values
        if convert_to != "numpy":
            raise UsageError(f"convert_to is {convert_to!r}. Use 'numpy', or nothing for a list.")
        import numpy as np

        if column.kind == "datetime":
            return np.array([None if v is None else v.replace(tzinfo=None) for v in values], "datetime64[us]")
        if column.kind == "float":
            return np.array([float("nan") if value is None else value for value in values])
        return np.array(values)

    def get_dataframe(self) -> pandas.DataFrame:
        """Answer the table as a data frame of pandas.

        Raises:
            MissingFramework: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingFramework("pandas is needed for data frames. Install it with: pip install pandas.") from error
        return pd.DataFrame({name: list(column.values()) for name, column in self._columns.items()})

    def set_pk(self, col_name: Any) -> None:
        """Accept the primary key, as in W&B; joins name their key when they are asked for."""
        self._named(col_name)

    def set_fk(self, col_name: Any, table: Table, table_col: Any) -> None:
        """Accept a foreign key, as in W&B; joins name their key when they are asked for."""
        self._named(col_name)
        table._named(table_col)

    def has_been_logged(self) -> bool:
        """Answer whether it was logged."""
        return self._last is not None

    def _named(self, name: Any) -> Column:
        try:
            return self._columns[name]
        except KeyError:
            raise UsageError(
                f"there is no column {name!r}; the table has {', '.join(map(repr, self.columns))}."
            ) from None

    def __eq__(self, other: object) -> bool:
        """Answer whether another table has the same columns and values."""
        if not isinstance(other, Table):
            return NotImplemented
        return self.columns == other.columns and self.types == other.types and self.data == other.data

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<Table {len(self):,} rows: {', '.join(map(str, self.columns))}>"

    # --- logging -------------------------------------------------------------------------

    def snapshot(self) -> Encodable | Reference:
        """Answer what is to be stored now: all rows, or those that are new in an INCREMENTAL table."""
        if self._last is not None and self.log_mode != "INCREMENTAL" and self._logged_change == self._change:
            return self._last  # the same again: nothing is stored twice
        if self._last is not None and self.log_mode == "IMMUTABLE":
            complain(
                f"immutable {self._id}",
                "an IMMUTABLE table was changed after it was logged. All of it is stored again; "
                "log_mode='INCREMENTAL' stores only the new rows, 'MUTABLE' says that this is meant.",
            )
        start = self._sent if self.log_mode == "INCREMENTAL" else 0
        found = self.frame(start, part=self._parts)
        self._parts += 1
        self._sent = len(self)
        self._logged_change = self._change
        self._last = found
        return found

    def frame(self, start: int = 0, stop: int | None = None, *, part: int = 0) -> TableSnapshot:
        """Answer rows of the table as they are now."""
        end = len(self) if stop is None else stop
        return TableSnapshot(
            table=self._id,
            part=part,
            mode=self.log_mode,
            names=self.columns,
            kinds=[column.kind for column in self._columns.values()],
            pieces=[column.pieces(start, end) for column in self._columns.values()],
            rows=end - start,
            total=end,
        )


def _names(columns: Iterable[Any]) -> list[Any]:
    if isinstance(columns, (str, bytes)) or not isinstance(columns, Iterable):
        raise UsageError(f"columns is a {type(columns).__name__}. Give a list of names: columns=['image', 'label'].")
    names = list(columns)
    for name in names:
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise UsageError(f"a column is named {name!r}, a {type(name).__name__}. Name it with a text or an int.")
    return names


def _names_in(rows: Any) -> list[Any] | None:
    """Answer the names that rows bring themselves, as dicts do; for an array, as many as it has columns."""
    if isinstance(rows, (list, tuple)) and rows and all(isinstance(row, Mapping) for row in rows):
        return list(dict.fromkeys(key for row in rows for key in row))
    shape: tuple[int, ...] = getattr(rows, "shape", ())
    return [str(number) for number in range(shape[1])] if len(shape) == 2 else None


__all__ = ["ColumnTypeError", "Table"]
