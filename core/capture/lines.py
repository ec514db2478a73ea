"""From what a program writes to the lines it shows: carriage returns and moves of the cursor are followed, colours kept.

A progress bar that redraws itself a thousand times is one line. A line has a number, the order of its first
appearance; when it changes later it is told again under the same number, and the last telling rules. A gap in the
numbers is what was left out.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

# What moves the cursor, or erases: everything else that begins with an escape is colour, and stays in the text.
_MOVES = re.compile(r"(\r\n|\n|\r|\x08|\x1b\[\d*[ABGK])")
_ESCAPE = "\x1b"


class Line(NamedTuple):
    """A line of the console.

    Args:
        number: Its place, from 0 on.
        time_ns: When it began, nanoseconds since the epoch.
        source: "stdout", "stderr", or "console" where both go to one place and cannot be told apart.
        text: Without the newline.
        level: Of the `logging` record it shows, such as "WARNING".
        logger: Of that record.
    """

    number: int
    time_ns: int
    source: str
    text: str
    level: str | None = None
    logger: str | None = None


class _Row:
    """A line that may still change."""

    __slots__ = ("cut", "is_dirty", "level", "logger", "number", "text", "time_ns", "told_ns")

    def __init__(self, number: int, time_ns: int, level: str | None, logger: str | None) -> None:
        self.number = number
        self.time_ns = time_ns
        self.level = level
        self.logger = logger
        self.text = ""
        self.cut = 0  # characters beyond the longest line
        self.is_dirty = False
        self.told_ns: int | None = None


class Counter:
    """Numbers lines; shared by the screens of one process."""

    def __init__(self) -> None:
        self.next = 0

    def take(self, count: int = 1) -> int:
        """Answer the next number, and pass over so many."""
        number = self.next
        self.next = number + count
        return number


class Screen:
    """The last lines of one source, as a terminal would show them.

    Args:
        source: See `Line`.
        counter: Numbers the lines.
        rows: How far up a cursor can go.
        longest: Characters of a line that are kept.
        again_ns: Nanoseconds until a line that goes on changing is told again.
    """

    def __init__(self, source: str, counter: Counter, *, rows: int, longest: int, again_ns: int) -> None:
        self.source = source
        self.level: str | None = None  # of what is written from now on
        self.logger: str | None = None
        self._counter = counter
        self._most_rows = rows
        self._longest = longest
        self._again_ns = again_ns
        self._rows: deque[_Row] = deque()
        self._at = 0  # index of the cursor's row; len(_rows) where it is not begun yet
        self._column = 0
        self._done: list[Line] = []

    def write(self, text: str, time_ns: int) -> None:
        """Take what a program writes."""
        if "\r" not in text and "\x08" not in text and _ESCAPE not in text and self._at >= len(self._rows) - 1:
            self._write_plain(text, time_ns)
            return
        for part in _MOVES.split(text):
            if part:
                self._write_part(part, time_ns)

    @property
    def has_changes(self) -> bool:
        """Whether a line has changed and was not told anew yet."""
        return any(row.is_dirty for row in self._rows)

    def cut(self) -> bool:
        """End the line being written, whose rest is left out; answer whether there was one."""
        is_open = self._at < len(self._rows) and bool(self._rows[self._at].text)
        if is_open:
            self._rows[self._at].text += "…"
            self._rows[self._at].is_dirty = True
        self._at = len(self._rows)
        self._column = 0
        return is_open

    def take(self, now_ns: int, *, is_last: bool = False) -> list[Line]:
        """Answer the lines that are new, or changed, since the last call; lines still being written among them."""
        done, self._done = self._done, []
        for row in self._rows:
            if row.is_dirty and (is_last or row.told_ns is None or now_ns - row.told_ns >= self._again_ns):
                row.is_dirty = False
                row.told_ns = now_ns
                done.append(self._line(row))
        return done

    def _write_plain(self, text: str, time_ns: int) -> None:
        first, *rest = text.split("\n")
        if first:
            self._put(first, time_ns)
        if not rest:
            return
        self._newline(time_ns)
        *whole, last = rest
        if len(whole) > self._most_rows:  # too far up for any cursor
            many = whole[: -self._most_rows]
            whole = whole[-self._most_rows :]
            self._settle(len(self._rows))
            number = self._counter.take(len(many))
            fixed = (self.level, self.logger)
            for index, line in enumerate(many, number):
                self._done.append(Line(index, time_ns, self.source, self._bounded(line, 0), *fixed))
        for line in whole:
            if line:
                self._put(line, time_ns)
            self._newline(time_ns)
        if last:
            self._put(last, time_ns)

    def _write_part(self, part: str, time_ns: int) -> None:
        if part in ("\n", "\r\n"):
            self._newline(time_ns)
        elif part == "\r":
            self._column = 0
        elif part == "\x08":
            self._column = max(0, self._column - 1)
        elif part.startswith("\x1b[") and part[-1] in "ABGK" and (len(part) == 3 or part[2:-1].isdecimal()):
            self._move(part[-1], int(part[2:-1]) if len(part) > 3 else None)
        else:
            self._put(part, time_ns)

    def _move(self, what: str, count: int | None) -> None:
        if what == "A":
            self._at = max(0, self._at - (count or 1))
        elif what == "B":
            self._at = min(len(self._rows), self._at + (count or 1))
        elif what == "G":
            self._column = max(0, (count or 1) - 1)
        elif self._at < len(self._rows):  # K: erase
            row = self._rows[self._at]
            row.text = row.text[: self._column] if not count else "" if count == 2 else row.text
            row.cut = 0
            row.is_dirty = True

    def _put(self, text: str, time_ns: int) -> None:
        row = self._row(time_ns)
        old = row.text
        if self._column >= len(old):
            new = old + " " * min(self._column - len(old), self._longest) + text
        elif _ESCAPE in old or _ESCAPE in text:  # columns are not characters there; what redraws, redraws all
            new = old[: self._column] + text
        else:
            new = old[: self._column] + text + old[self._column + len(text) :]
        if not old or (self._column == 0 and self.level is not None):
            row.level, row.logger = self.level, self.logger
        self._column += len(text)
        if len(new) > self._longest:
            row.cut += len(new) - self._longest
            new = new[: self._longest]
            self._column = self._longest
        row.text = new
        row.is_dirty = True

    def _row(self, time_ns: int) -> _Row:
        while self._at >= len(self._rows):
            self._rows.append(_Row(self._counter.take(), time_ns, self.level, self.logger))
            if len(self._rows) > self._most_rows:
                self._settle(1)
        return self._rows[self._at]

    def _newline(self, time_ns: int) -> None:
        row = self._row(time_ns)
        if not row.text:
            row.is_dirty = True  # an empty line is one too
        self._at += 1
        self._column = 0

    def _settle(self, count: int) -> None:
        """Let the oldest rows go: they do not change any more."""
        for _ in range(count):
            row = self._rows.popleft()
            if row.is_dirty:
                self._done.append(self._line(row))
        self._at = max(0, self._at - count)

    def _line(self, row: _Row) -> Line:
        return Line(row.number, row.time_ns, self.source, self._bounded(row.text, row.cut), row.level, row.logger)

    def _bounded(self, text: str, cut: int) -> str:
        if len(text) > self._longest:
            cut += len(text) - self._longest
            text = text[: self._longest]
        return f"{text}… ({cut:,} more characters)" if cut else text


def cost(line: Line) -> int:
    """Answer about how many bytes a line takes in a record."""
    return len(line.text) + 24


def bodies(lines: Iterable[Line], rank: int | None, *, most_bytes: int) -> Iterator[dict[str, Any]]:
    """Pack lines into the bodies of CONSOLE records.

    A body is `{"lines": [[number, time_ns, source, text, level, logger], ...], "rank": n}`; level and logger are left
    out where there are none, rank where there is one process only.

    Args:
        lines: In any order.
        rank: Of the process, in a job of several.
        most_bytes: Of the lines of one record, about.
    """
    rest = iter(lines)
    extra = {} if rank is None else {"rank": rank}
    while True:
        packed: list[list[Any]] = []
        size = 0
        while size < most_bytes and (line := next(rest, None)) is not None:
            packed.append(list(line if line.level else islice(line, 4)))
            size += cost(line)
        if not packed:
            return
        yield {"lines": packed, **extra}
