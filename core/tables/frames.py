"""Columns from elsewhere: pandas, polars, Arrow, datasets of Hugging Face, arrays of numpy. None is imported here."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import UsageError
from .column import Column


def is_frame(data: Any) -> bool:
    """Answer whether `data` has columns of its own."""
    return _origin(data) in ("pandas", "polars", "pyarrow", "datasets") or (
        _origin(data) == "numpy" and getattr(data.dtype, "names", None) is not None
    )


def _origin(data: Any) -> str:
    return type(data).__module__.partition(".")[0]


def names_of(frame: Any) -> list[Any]:
    """Answer the names of a frame's columns.

    Raises:
        UsageError: It has none: a dict of data sets, a series.
    """
    origin = _origin(frame)
    if origin == "numpy":
        return list(frame.dtype.names)
    names = frame.column_names if origin in ("pyarrow", "datasets") else getattr(frame, "columns", None)
    if names is None or isinstance(names, Mapping) or isinstance(frame, Mapping):
        raise UsageError(
            f"a {type(frame).__module__}.{type(frame).__name__} has no columns to make a table of. Give a data frame, "
            "one split of the data set for example."
        )
    return [name if isinstance(name, (str, int)) else str(name) for name in names]


def fill(column: Column, frame: Any, place: int, name: Any) -> None:
    """Put a column of a frame into a column of ours.

    Args:
        column: Ours, empty.
        frame: Where the values are.
        place: The column's number in it.
        name: Its name there.
    """
    origin = _origin(frame)
    if origin == "pandas":
        _from_pandas(column, frame.iloc[:, place])
    elif origin == "polars":
        _from_polars(column, frame[name])
    elif origin == "pyarrow":
        _from_arrow(column, frame.column(place))
    else:
        column.extend(frame[name] if origin == "numpy" else list(frame[name]))


def _from_pandas(column: Column, series: Any) -> None:
    dtype = series.dtype
    missing = series.isna().to_numpy()
    kind = getattr(dtype, "kind", "O")
    if kind == "M":
        if getattr(dtype, "tz", None) is not None:
            series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        if _add_times(column, series.to_numpy("datetime64[us]"), missing):
            return
    if kind in "biuf" and not hasattr(dtype, "na_value"):  # numpy's own: NaN is a number here
        column.extend(series.to_numpy())
        return
    if kind in "biuf" and not missing.any():  # pandas' own: Int64, boolean
        column.extend(series.to_numpy({"b": "bool", "i": "int64", "u": "uint64", "f": "float64"}[kind]))
        return
    values = series.tolist()
    column.extend([None if is_gone else value for value, is_gone in zip(values, missing.tolist(), strict=True)])


def _add_times(column: Column, moments: Any, missing: Any) -> bool:
    packed = array("q")
    packed.frombytes(moments.astype("int64").tobytes())
    gaps = missing.nonzero()[0].tolist()
    for gap in gaps:
        packed[gap] = 0
    return column.extend_packed("datetime", packed, gaps)


def _from_polars(column: Column, series: Any) -> None:
    if series.null_count() == 0 and series.dtype.is_numeric() and not series.dtype.is_decimal():
        column.extend(series.to_numpy())
    else:
        column.extend(series.to_list())


def _from_arrow(column: Column, values: Any) -> None:
    kind = str(values.type)
    if values.null_count == 0 and kind.startswith(("int", "uint", "float", "double", "halffloat")):
        column.extend(values.to_numpy())
    else:
        column.extend(values.to_pylist())


def rows_of(data: Any) -> Iterator[Sequence[Any] | Mapping[Any, Any]]:
    """Walk rows: of a list, or of an array of two dimensions.

    Raises:
        UsageError: It is neither.
    """
    if _origin(data) == "numpy":
        if data.ndim != 2:
            raise UsageError(f"data is an array of shape {data.shape}. A table wants two dimensions: rows and columns.")
        return iter(data.tolist())
    if isinstance(data, (str, bytes, Mapping)) or not hasattr(data, "__iter__"):
        raise UsageError(f"data is a {type(data).__name__}. Give a list of rows, an array, or a data frame.")
    return iter(data)
