"""What a column of a table can hold, and what a value becomes in it."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from ..errors import UsageError
from ..values import plain
from .cells import MediaCell, cell_of

# "null" is a column in which there are only Nones so far; "any" holds values of several types, each as JSON.
Kind = Literal["null", "bool", "int", "float", "str", "datetime", "list", "dict", "media", "any"]
KINDS: tuple[Kind, ...] = ("null", "bool", "int", "float", "str", "datetime", "list", "dict", "media", "any")
TEXTUAL: frozenset[str] = frozenset(("list", "dict", "any"))  # kept as JSON text

_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_encoder = msgspec.json.Encoder()
_decode = msgspec.json.decode
MIN_INT, MAX_INT = -(2**63), 2**63 - 1
_MAX_DECIMAL = 10**38  # what a Parquet decimal holds


class ColumnTypeError(UsageError, TypeError):
    """A value that its column of a table cannot hold."""


def kind_of(dtype: Any) -> Kind:
    """Answer the kind that a `dtype` means: a Python type, a numpy one, or one of our own names.

    Raises:
        UsageError: It means none.
    """
    if dtype is None or dtype is object or dtype is Any or dtype in ("any", "object", "mixed"):
        return "any"
    if isinstance(dtype, str) and dtype in KINDS:
        return dtype
    known: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "str", list: "list", dict: "dict"}
    known |= {tuple: "list", datetime.datetime: "datetime", datetime.date: "datetime"}
    if isinstance(dtype, type) and dtype in known:
        return known[dtype]
    name = str(getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or dtype).lower()
    for start, kind in _NUMPY_NAMES:
        if name.startswith(start):
            return kind
    if isinstance(dtype, type) and hasattr(dtype, "snapshot"):
        return "media"
    raise UsageError(f"{dtype!r} is no type of a column. Use one of {', '.join(KINDS[1:])}, or a Python type.")


_NUMPY_NAMES: tuple[tuple[str, Kind], ...] = (
    ("bool", "bool"),
    ("int", "int"),
    ("uint", "int"),
    ("float", "float"),
    ("double", "float"),
    ("number", "float"),
    ("str", "str"),
    ("large_string", "str"),
    ("unicode", "str"),
    ("datetime", "datetime"),
    ("timestamp", "datetime"),
    ("date", "datetime"),
)


def classify(value: Any) -> tuple[Kind, Any]:
    """Answer the kind of a value, and the value as a column keeps it.

    Lists and dicts become JSON text, times microseconds since the epoch, media a snapshot: what is changed later does
    not change the table.

    Raises:
        ColumnTypeError: No column can hold it.
    """
    if value is None or value is _missing("pandas", "NA") or value is _missing("pandas", "NaT"):
        return "null", None
    if isinstance(value, enum.Enum):
        return classify(value.value)
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, int):
        if abs(value) >= _MAX_DECIMAL:
            raise ColumnTypeError(
                f"has {len(str(abs(value)))} digits, at most 38 are kept. Give it as a text: str(...)"
            )
        return "int", int(value)
    if isinstance(value, float):
        return "float", float(value)
    if isinstance(value, str):
        return "str", str(value)
    if isinstance(value, MediaCell):
        return "media", value
    if isinstance(value, datetime.datetime):
        return "datetime", microseconds(value)
    if isinstance(value, datetime.date):
        return "datetime", microseconds(datetime.datetime(value.year, value.month, value.day))
    if isinstance(value, datetime.timedelta):
        return "float", value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return "float", float(value)
    cell = cell_of(value)
    if cell is not None:
        return "media", cell
    if isinstance(value, Mapping):
        return "dict", to_text(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return "list", to_text(value)
    return _foreign(value)


def _foreign(value: Any) -> tuple[Kind, Any]:
    """Do the same for numpy, torch, JAX and their like, none of which is imported here."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise ColumnTypeError("is made of bytes, which have no meaning in a cell. Wrap them: tracker.Image(...), say")
    if isinstance(value, complex):
        raise ColumnTypeError("is a complex number. Give its real and imaginary parts as two columns")
    dtype = str(getattr(value, "dtype", ""))
    if dtype.startswith(("datetime64", "timedelta64")) and not getattr(value, "shape", ()):
        return _numpy_time(value, dtype)
    if hasattr(value, "detach"):  # torch: not the graph, and not on a device
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # numpy has no such type
            value = value.float()
    shape = getattr(value, "shape", None)
    if shape is not None and tuple(shape) == () and callable(getattr(value, "item", None)):
        return classify(value.item())
    if callable(getattr(value, "tolist", None)):
        found = value.tolist()
        return ("list", to_text(found)) if isinstance(found, list) else classify(found)
    if callable(getattr(value, "numpy", None)):  # a TensorFlow tensor
        return classify(value.numpy())
    if hasattr(value, "__fspath__") or type(value).__name__ == "UUID":
        return "str", str(value)
    raise ColumnTypeError(f"is a {type(value).__name__}, which no column can hold. Give a number, a text, or media")


def _numpy_time(value: Any, dtype: str) -> tuple[Kind, Any]:
    if value != value:  # NaT
        return "null", None
    if dtype.startswith("timedelta64"):
        return "float", float(value.astype("timedelta64[ns]").astype("int64")) / 1e9
    return "datetime", int(value.astype("datetime64[us]").astype("int64"))


def _missing(module: str, name: str) -> Any:
    import sys

    return getattr(sys.modules.get(module), name, _NOTHING)


_NOTHING = object()


def microseconds(moment: datetime.datetime) -> int:
    """Answer the microseconds since the epoch; a time without a zone is taken for UTC."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return (moment - _EPOCH) // _MICROSECOND


def moment(micros: int) -> datetime.datetime:
    """Answer the time of so many microseconds since the epoch, in UTC."""
    return _EPOCH.replace(tzinfo=datetime.timezone.utc) + datetime.timedelta(microseconds=micros)


def to_text(value: Any) -> str:
    """Answer a value as JSON; what JSON has no form for becomes text, NaN and infinities objects as on the wire."""
    return _encoder.encode(_finite(plain(value))).decode()


def from_text(text: str) -> Any:
    """Answer the value of such a text."""
    found = _decode(text)
    return _numbers(found) if '"$float"' in text else found


def _finite(value: Any) -> Any:
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if type(value) is list:
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _numbers(value: Any) -> Any:
    if type(value) is list:
        return [_numbers(item) for item in value]
    if type(value) is dict:
        if len(value) == 1 and "$float" in value:
            return float(value["$float"])
        return {key: _numbers(item) for key, item in value.items()}
    return value


def any_text(kind: Kind, kept: Any) -> str:
    """Answer a kept value of another kind as a cell of an "any" column."""
    if kind in TEXTUAL:
        return str(kept)
    return to_text(moment(kept).isoformat() if kind == "datetime" else kept)


def reader(kind: Kind) -> Callable[[Any], Any] | None:
    """Answer what turns a kept value into what the user gave; None where it is that already."""
    if kind in TEXTUAL:
        return from_text
    if kind == "datetime":
        return moment
    if kind == "bool":
        return bool
    return (lambda cell: cell.media) if kind == "media" else None
