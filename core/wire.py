"""JSON as the HTTP API has it: NaN, infinities and big integers travel as objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAX_SAFE_INT = 2**53


def to_json(value: Any) -> Any:
    """Answer `value` with what JSON has no number for as an object."""
    if isinstance(value, float) and value - value != 0:
        return {"$float": "nan" if value != value else "inf" if value > 0 else "-inf"}
    if type(value) is int and not -_MAX_SAFE_INT <= value <= _MAX_SAFE_INT:
        return {"$int": str(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    """Turn what `to_json` made back."""
    if type(value) is dict:
        if len(value) == 1:
            ((key, item),) = value.items()
            if key == "$float":
                return float(item)
            if key == "$int":
                return int(item)
        return {key: from_json(item) for key, item in value.items()}
    if type(value) is list:
        return [from_json(item) for item in value]
    return value
