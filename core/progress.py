"""A line that tells how far long work has come; drawn on a terminal only, and only when it takes a while."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

_FIRST_SECONDS = 0.5  # what is over by then needs no bar
_EVERY_SECONDS = 0.1
_WIDTH = 24


class Progress:
    """A progress bar on stderr. Never raises: a broken terminal is no reason to fail.

    Args:
        what: What is going on: "sending".
        unit: What is counted: "records".
        total: How many there are; it may be set later and may grow.
        out: Where to draw; stderr by default. Nothing is drawn where that is no terminal.
        is_silent: Draw nothing in any case.
        clock: Answers seconds that only go forward.

    Example:
        with Progress("sending", "records", total=100) as bar:
            bar.update(40)
    """

    def __init__(
        self,
        what: str,
        unit: str,
        total: int = 0,
        *,
        out: TextIO | None = None,
        is_silent: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self._what = what
        self._unit = unit
        self._out = sys.stderr if out is None else out
        self._clock = clock
        self._next = clock() + _FIRST_SECONDS
        self._is_drawn = False
        try:
            self._draws = not is_silent and self._out.isatty()
        except (AttributeError, ValueError, OSError):  # none at all (pythonw), or closed
            self._draws = False

    def __enter__(self) -> Progress:
        """Answer itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Wipe the line."""
        if self._is_drawn:
            self._write("\r\x1b[2K")

    def update(self, done: int, note: str = "") -> None:
        """Draw the state of things, unless that was done a moment ago.

        Args:
            done: How many of `total` are done.
            note: A few words behind the bar.
        """
        if not self._draws or self._clock() < self._next:
            return
        self._next = self._clock() + _EVERY_SECONDS
        total = max(self.total, done, 1)
        filled = _WIDTH * done // total
        bar = "━" * filled + "─" * (_WIDTH - filled)
        line = f"tracker: {self._what} {bar} {done:,} of {total:,} {self._unit}{f' · {note}' if note else ''}"
        self._is_drawn = True
        self._write(f"\r\x1b[2K{line}")

    def _write(self, text: str) -> None:
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):  # closed meanwhile, or an encoding without these signs
            self._draws = False
