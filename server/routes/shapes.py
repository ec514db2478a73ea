"""Rows of the stores as the contract has them in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.files import NamedFile
from ..paths import encode_path
from ..stores.base import RunDetail, RunRow
from ..wire import jsonable


def run_shape(row: RunRow) -> dict[str, Any]:
    """Answer a run as lists show it."""
    until = row.ended_ns or row.updated_ns
    return {
        "path": encode_path(row.path),
        "id": row.path.id,
        "entity": row.path.entity,
        "project": row.path.project,
        "name": row.name,
        "state": row.state,
        "created_ns": row.created_ns,
        "updated_ns": row.updated_ns,
        "ended_ns": row.ended_ns,
        "duration_s": max(0, until - row.created_ns) / 1e9 if until and row.created_ns else None,
        "group": _text(row.group),
        "job_type": _text(row.job_type),
        "tags": [str(tag) for tag in row.tags],
        "notes": _text(row.notes),
        "host": _text(row.host),
        "config": jsonable(row.config),
        "summary": jsonable(row.summary),
        "last_step": row.last_step if row.last_step is None or _is_finite(row.last_step) else None,
        "points": row.points,
        "color": _text(row.fields.get("color")),
    }


def detail_shape(detail: RunDetail) -> dict[str, Any]:
    """Answer a run with what its own page shows."""
    return {
        **run_shape(detail.run),
        "streams": [
            {"id": s.id, "acked": s.cursor, "updated_ns": s.heard_ns, "host": _text(s.host), "pid": s.pid}
            for s in detail.streams
        ],
        "alerts": [
            {
                "time_ns": _number(alert.get("time_ns")) or 0,
                "title": _text(alert.get("title")) or "",
                "text": _text(alert.get("text")) or "",
                "level": _text(alert.get("level")) or "INFO",
            }
            for alert in detail.alerts
        ],
        "metrics": [_definition(body) for body in detail.metrics],
        "exit": None if detail.exit is None else _exit(detail.exit),
        "fields": jsonable(detail.run.fields),
        "lost": detail.lost,
        "trashed": detail.trashed,
        "system_metrics": jsonable(detail.samples),
        "environment": jsonable(detail.environment),
    }


def file_shape(file: NamedFile) -> dict[str, Any]:
    """Answer a named file."""
    return {
        "name": file.name,
        "digest": file.digest,
        "size": file.size,
        "kind": file.kind,
        "time_ns": file.time_ns,
        "more": jsonable(file.more),
    }


def _definition(body: Mapping[str, Any]) -> dict[str, Any]:
    summary = body.get("summary")
    return {
        "name": _text(body.get("name")) or "",
        "step_metric": _text(body.get("step_metric")),
        "step_sync": _flag(body.get("step_sync")),
        "hidden": _flag(body.get("hidden")),
        "summary": [str(item) for item in summary] if isinstance(summary, (list, tuple)) else None,
        "goal": _text(body.get("goal")),
    }


def _exit(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "time_ns": _number(body.get("time_ns")),
        "state": _text(body.get("state")),
        "exit_code": _number(body.get("exit_code")),
        "reason": _text(body.get("reason")),
        "traceback": _text(body.get("traceback")),
        "signal": _text(body.get("signal")),
    }


# Records come from other programs and versions too: what has another type than the contract's becomes text or nothing.


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _flag(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_finite(value: float) -> bool:
    return value - value == 0
