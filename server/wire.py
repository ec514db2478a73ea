"""JSON as the contract has it: NaN, infinities and big integers travel as objects."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from ..core.errors import UsageError
from .limits import MAX_JSON_DEPTH

MAX_SAFE_INT = 2**53
_encoder = msgspec.json.Encoder()


def jsonable(value: Any) -> Any:
    """Answer `value` in JSON's types: non-finite floats as `{"$float": ...}`, big integers as `{"$int": ...}`."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else {"$float": _name(value)}
    if kind is str or value is None or kind is bool:
        return value
    if kind is int:
        return value if -MAX_SAFE_INT <= value <= MAX_SAFE_INT else {"$int": str(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        return jsonable(value.item())
    return str(value)


def _name(value: float) -> str:
    return "nan" if value != value else "inf" if value > 0 else "-inf"


def from_json(value: Any, depth: int = MAX_JSON_DEPTH) -> Any:
    """Answer what a client sent with the objects of `jsonable` turned back.

    Raises:
        UsageError: It is nested too deep, or holds text that is no Unicode.
    """
    if isinstance(value, str):
        if not _is_text(value):
            raise UsageError("a text holds half a character (a lone surrogate); send valid Unicode.")
        return value
    if isinstance(value, (list, dict)):
        if not depth:
            raise UsageError(f"the value is nested more than {MAX_JSON_DEPTH} levels deep; flatten it.")
        if isinstance(value, list):
            return [from_json(item, depth - 1) for item in value]
        if len(value) == 1:
            (key, item), *_ = value.items()
            if key == "$float" and item in ("nan", "inf", "-inf"):
                return float(item)
            if key == "$int" and isinstance(item, str) and len(item) < 1000 and item.lstrip("-").isdecimal():
                return int(item)
        return {from_json(key): from_json(item, depth - 1) for key, item in value.items()}
    return value


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Json(Response):
    """A JSON answer, encoded at once; its content must be `jsonable` already."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the content."""
        return _encoder.encode(content)
