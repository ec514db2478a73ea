"""Calls of language models and tools, as rows of one growing table: who was asked what, what came, how long it took."""

from __future__ import annotations

import json
import threading
from typing import Any

import tracker

from .base import MAX_CELL_CHARS, Session

COLUMNS = (
    "time",
    "kind",
    "name",
    "input",
    "output",
    "error",
    "seconds",
    "input_tokens",
    "output_tokens",
    "id",
    "parent",
)
_ROWS_AT_ONCE = 64  # written together: a table's part for each call would cost more than the call's row


class Calls:
    """Takes calls as they end, from any thread, and writes them some at a time.

    Args:
        session: Whose run they go to; it begins with the first of them.
        key: The table's name.
    """

    def __init__(self, session: Session, key: str) -> None:
        self.session = session
        self._key = key
        self._rows: list[list[Any]] = []
        self._lock = threading.RLock()  # a run may end within `begin`, and call `flush`
        self._run: tracker.Run | None = None  # which calls us at its end
        self._table: Any = None

    @tracker.guarded
    def add(self, **call: Any) -> None:
        """Add a call, by the names of `COLUMNS`."""
        row = [_cell(call.get(name)) for name in COLUMNS]
        with self._lock:
            run = self.session.begin() if self.session.run is None else self.session.run
            if run is None:
                return
            if self._run is not run:
                self._run, self._rows = run, []
                self._table = tracker.Table(columns=list(COLUMNS), log_mode="INCREMENTAL", allow_mixed_types=True)
                run.on_finish(self.flush)
            self._rows.append(row)
            is_full = len(self._rows) >= _ROWS_AT_ONCE
        if is_full:
            self.flush()

    @tracker.guarded
    def flush(self) -> None:
        """Write what has come."""
        with self._lock:
            rows, self._rows = self._rows, []
            if rows and self._run is not None:
                for row in rows:
                    self._table.add_data(*row)
                self._run.log({self._key: self._table})


def plain(value: Any) -> Any:
    """Answer a message, a response, or whatever else is passed about, as plain data."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return {key: plain(item) for key, item in dump().items() if item not in (None, [], {})}
    return str(value)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float)) or type(value).__name__ == "datetime":
        return value
    text = json.dumps(plain(value), ensure_ascii=False, default=str)
    return text if len(text) <= MAX_CELL_CHARS else text[:MAX_CELL_CHARS] + "…"
