"""Names in filters and orders: W&B's, which people have in their fingers, in ours."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

_NAMES = {
    "display_name": "name",
    "displayName": "name",
    "jobType": "job_type",
    "createdAt": "created_ns",
    "created_at": "created_ns",
    "updatedAt": "updated_ns",
    "updated_at": "updated_ns",
    "heartbeatAt": "updated_ns",
    "heartbeat_at": "updated_ns",
}


def field(name: str) -> str:
    """Answer our name for a field: `summary_metrics.loss` is `summary.loss`, `config.lr.value` is `config.lr`."""
    if name.startswith("summary_metrics."):
        return f"summary.{name.removeprefix('summary_metrics.')}"
    if name.startswith("config.") and name.endswith(".value"):
        return name.removesuffix(".value")
    return _NAMES.get(name, name)


def translate(filters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Answer a filter with our names in it; dates become nanoseconds where a time is asked for."""
    if not filters:
        return None
    result: dict[str, Any] = {}
    for key, value in filters.items():
        if key in ("$and", "$or", "$nor"):
            result[key] = [translate(part) for part in value]
        elif key.startswith("$"):
            result[key] = translate(value) if isinstance(value, Mapping) else value
        else:
            name = field(key)
            result[name] = _times(value) if name.endswith("_ns") else value
    return result


def order(text: str | None) -> str | None:
    """Answer an order with our names in it: `-created_at` is `-created_ns`."""
    if not text:
        return None
    sign = "-" if text.startswith("-") else ""
    return sign + field(text.lstrip("+-"))


def _times(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _times(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_times(item) for item in value]
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        return int(moment.timestamp() * 1e9)
    return value
