"""Which lines are log records: `logging`'s stream handlers mark what they write, where it comes through the console."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .drain import MARK, MARK_END

_START, _STOP = MARK.decode(), MARK_END.decode()
_UNSAFE = str.maketrans("", "", "\x07\x1b\n\r;")


class Levels:
    """Has `logging.StreamHandler` mark its records from now on; `end` takes that back.

    Handlers of other kinds print as ever; their lines have no level.

    Args:
        captures: Answers whether what is written to a file descriptor comes through the console.
    """

    def __init__(self, captures: Callable[[int], bool]) -> None:
        self._captures = captures
        self._handler: Any = None
        self.look()

    def look(self) -> None:
        """Begin with it, if the program has loaded `logging` by now; it is not loaded for our sake."""
        logging = sys.modules.get("logging")
        if self._handler is None and hasattr(logging, "StreamHandler"):
            self._handler = logging.StreamHandler  # type: ignore[union-attr]
            self._original = self._handler.emit
            self._ours = self._handler.emit = self._marking(self._original)

    def end(self) -> None:
        """Take it back; where somebody has put something on top, it stays, and marks nothing any more by itself."""
        if self._handler is not None and self._handler.emit is self._ours:
            self._handler.emit = self._original

    def _marking(self, original: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        captures = self._captures

        def emit(self: Any, record: Any) -> None:
            stream = getattr(self, "stream", None)
            is_marked = False
            try:
                if captures(stream.fileno()):  # type: ignore[union-attr]
                    name = str(record.name).translate(_UNSAFE)[:200]
                    stream.write(f"{_START};{record.levelname};{name}{_STOP}")  # type: ignore[union-attr]
                    is_marked = True
            except Exception:  # whatever a stream of the user's does: his record goes first
                is_marked = False
            try:
                original(self, record)
            finally:
                if is_marked:
                    try:
                        stream.write(_START + _STOP)  # type: ignore[union-attr]
                        stream.flush()  # type: ignore[union-attr]
                    except Exception:
                        is_marked = False

        return emit
