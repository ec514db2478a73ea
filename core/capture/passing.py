"""Capturing in passing: `sys.stdout` and `sys.stderr` are wrapped, and what is written to them is noted on its way.

For notebooks, pytest and Windows, and where somebody has put something of his own there. Writing only drops the text
into a queue that takes it without a lock; the keeper thread turns it into lines every second.
"""

from __future__ import annotations

import os
import sys
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..limits import CONSOLE_RECORD_BYTES, CONSOLE_WAITING_BYTES
from ..record import Kind, encode_control
from .backlog import Backlog, Piece
from .lines import Line, bodies

if TYPE_CHECKING:
    from ..run import Run


class Passing:
    """Takes note of what is written to `sys.stdout` and `sys.stderr`.

    Args:
        run: The run.
        names: "stdout", "stderr".
        rank: Of this process, in a job of several.
    """

    def __init__(self, run: Run, names: list[str], rank: int | None) -> None:
        self._run = run
        self._rank = rank
        self._pid = os.getpid()
        self._queue: SimpleQueue[Piece] = SimpleQueue()
        self._waiting = 0  # characters in the queue, about: threads may race for it, and nothing hangs on it
        self._lost = 0
        self._backlog = Backlog(is_redacted=getattr(run.settings, "redact", None) is not False)
        self._is_open = True
        self._wrapped = []
        for name in names:
            wrapped = Wrapped(getattr(sys, name), name, self)
            setattr(sys, name, wrapped)
            self._wrapped.append(wrapped)
        run._keeper.add_chore(self.look)

    def note(self, source: str, text: str) -> None:
        """Take what was written; called by the writing thread, also from finalisers and signal handlers."""
        if not self._is_open or not text or os.getpid() != self._pid:
            return
        if self._waiting > CONSOLE_WAITING_BYTES:
            self._lost += text.count("\n")
            return
        self._waiting += len(text)
        record = _record_on_its_way()
        self._queue.put(Piece(source, text, self._run._clock.now_ns(), *record))

    def look(self) -> None:
        """Turn what has come into lines."""
        self._fetch()
        now = self._run._clock.now_ns()
        self._write_down(self._backlog.digest(now))
        while self._backlog.has_more:
            self._write_down(self._backlog.digest(now))

    def end(self, seconds: float) -> int:
        """Take no more, and put back what was there, unless somebody has wrapped it again; then it lets all through.

        Args:
            seconds: Nothing is waited for here.

        Returns:
            How many lines were left out.
        """
        self._is_open = False
        if os.getpid() != self._pid:
            return 0
        self._run._keeper.remove_chore(self.look)
        for wrapped in self._wrapped:
            if getattr(sys, wrapped._tracker_name) is wrapped:
                setattr(sys, wrapped._tracker_name, wrapped._tracker_true)
        self._fetch()
        self._write_down(self._backlog.end(self._run._clock.now_ns()))
        return self._backlog.left_out + self._lost

    def _fetch(self) -> None:
        while True:
            try:
                piece = self._queue.get_nowait()
            except Empty:
                return
            self._waiting -= len(piece.text)
            self._backlog.put(piece)

    def _write_down(self, lines: list[Line]) -> None:
        for body in bodies(lines, self._rank, most_bytes=CONSOLE_RECORD_BYTES):
            self._run._journal.append(Kind.CONSOLE, encode_control(self._run._clock.now_ns(), body))


class Wrapped:
    """A text stream as it was, except that what is written to it is noted.

    Args:
        true: The stream.
        name: "stdout" or "stderr".
        passing: Takes note.
    """

    def __init__(self, true: Any, name: str, passing: Passing) -> None:
        self._tracker_true = true
        self._tracker_name = name
        self._tracker_passing = passing

    def write(self, text: str) -> Any:
        """Write to the stream; whatever it answers or raises is as without us."""
        answer = self._tracker_true.write(text)
        if type(text) is str:
            self._tracker_passing.note(self._tracker_name, text)
        return answer

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracker_true, name)

    def __iter__(self) -> Any:
        """Answer what the stream does."""
        return iter(self._tracker_true)

    def __enter__(self) -> Any:
        """Answer this, after the stream's own beginning."""
        self._tracker_true.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._tracker_true.__exit__(*error)

    def __repr__(self) -> str:
        return repr(self._tracker_true)


def _record_on_its_way() -> tuple[str | None, str | None]:
    """Answer level and logger of the log record that is being written by this thread, if it is one.

    Found on the stack: a handler's `emit(self, record)` three frames up, or a few more where a subclass formats.
    """
    if "logging" not in sys.modules:  # as cheap as it gets: most of what is printed is no log record
        return None, None
    frame: FrameType | None = sys._getframe(3)
    for _ in range(4):
        if frame is None:
            return None, None
        if frame.f_code.co_name == "emit":
            record = frame.f_locals.get("record")
            if record is not None and hasattr(record, "levelname"):
                return str(record.levelname), str(record.name)
        frame = frame.f_back
    return None, None
