"""What a program has printed and nobody has looked at yet: bounded, however much it prints.

Putting something here costs next to nothing; turning it into lines is done slice by slice, when there is time. The
beginning of what a program prints is kept in full; once that is used up only the newest part is held, some of it is
let through now and then, and the very end always.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..limits import (
    CONSOLE_AGAIN_SECONDS,
    CONSOLE_BETWEEN_BYTES,
    CONSOLE_BETWEEN_SECONDS,
    CONSOLE_HEAD_BYTES,
    CONSOLE_LINE_CHARS,
    CONSOLE_MOST_BYTES,
    CONSOLE_ROWS,
    CONSOLE_SLICE_CHARS,
    CONSOLE_TAIL_BYTES,
)
from ..redaction import Redactor
from .lines import Counter, Line, Screen


class Piece(NamedTuple):
    """Something printed.

    Args:
        source: "stdout", "stderr" or "console".
        text: What.
        time_ns: When, nanoseconds since the epoch.
        level: Of the log record it belongs to.
        logger: Of that record.
    """

    source: str
    text: str
    time_ns: int
    level: str | None = None
    logger: str | None = None


class Gap(NamedTuple):
    """Something printed that is left out.

    Args:
        source: As above.
        newlines: How many lines end in it.
    """

    source: str
    newlines: int


class Backlog:
    """Takes what a program prints, and answers lines.

    Args:
        head_bytes: Characters kept in full, from the beginning on.
        tail_bytes: Characters held, and kept at the end, once the head is full.
        between_bytes: Of these, let through each time `between_seconds` have passed.
        between_seconds: Seconds.
        most_bytes: Characters kept in all, but for the tail.
        is_redacted: Mask secrets in the lines.
    """

    def __init__(
        self,
        *,
        head_bytes: int = CONSOLE_HEAD_BYTES,
        tail_bytes: int = CONSOLE_TAIL_BYTES,
        between_bytes: int = CONSOLE_BETWEEN_BYTES,
        between_seconds: float = CONSOLE_BETWEEN_SECONDS,
        most_bytes: int = CONSOLE_MOST_BYTES,
        is_redacted: bool = True,
    ) -> None:
        self._head_left = head_bytes
        self._most_left = most_bytes - head_bytes
        self._tail_bytes = tail_bytes
        self._between_bytes = between_bytes
        self._between_ns = int(between_seconds * 1e9)
        self._through_ns = 0
        self._kept: deque[Piece | Gap] = deque()
        self._tail: deque[Piece] = deque()
        self._tail_size = 0
        self._gaps: dict[str, int] = {}  # newlines dropped since something was let through, by source
        self._torn: set[str] = set()  # sources whose tail begins in the middle of a dropped line
        self._counter = Counter()
        self._screens: dict[str, Screen] = {}
        self._has_changes = False
        self._redactors: dict[str, Redactor] | None = {} if is_redacted else None  # by source
        self.left_out = 0  # lines, for good

    @property
    def lines(self) -> int:
        """How many lines there were, those left out among them."""
        return self._counter.next

    @property
    def has_more(self) -> bool:
        """Whether there is something to be turned into lines now."""
        return bool(self._kept)

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to be told before more is printed, or the end comes."""
        return not (self._kept or self._has_changes or (self._tail and self._most_left > 0))

    def put(self, piece: Piece) -> None:
        """Take what was printed."""
        size = len(piece.text)
        if self._head_left > 0:
            self._head_left -= size
            self._kept.append(piece)
            return
        self._tail.append(piece)
        self._tail_size += size
        while self._tail_size > self._tail_bytes and len(self._tail) > 1:
            self._drop()

    def digest(self, now_ns: int) -> list[Line]:
        """Turn one slice into lines; answer those that are new, or changed, and due."""
        if not self._kept and self._tail and now_ns - self._through_ns >= self._between_ns and self._most_left > 0:
            self._through_ns = now_ns
            self._let_through(self._between_bytes)
        if self._kept:
            self._show(self._slice())
        return self._take(now_ns, is_last=False)

    def end(self, now_ns: int) -> list[Line]:
        """Turn all that is held into lines, and answer all that were not told yet."""
        self._let_through(self._tail_bytes)
        while self._kept:
            self._show(self._kept.popleft())
        return self._take(now_ns, is_last=True)

    def _slice(self) -> Piece | Gap:
        """Take the first piece, or as much of it as costs a few milliseconds: what comes meanwhile waits in a pipe."""
        piece = self._kept.popleft()
        if isinstance(piece, Gap) or len(piece.text) <= CONSOLE_SLICE_CHARS:
            return piece
        at = piece.text.rfind("\n", 0, CONSOLE_SLICE_CHARS) + 1 or CONSOLE_SLICE_CHARS
        self._kept.appendleft(piece._replace(text=piece.text[at:]))
        return piece._replace(text=piece.text[:at])

    def _show(self, piece: Piece | Gap) -> None:
        screen = self._screens.get(piece.source)
        if isinstance(piece, Gap):
            # A line that was begun before the gap has its number; the first newline in the gap is its end.
            is_cut = screen is not None and screen.cut()
            count = max(0, piece.newlines - 1) if is_cut else piece.newlines
            self._counter.take(count)
            self.left_out += count
            return
        if screen is None:
            screen = self._screens[piece.source] = Screen(
                piece.source,
                self._counter,
                rows=CONSOLE_ROWS,
                longest=CONSOLE_LINE_CHARS,
                again_ns=int(CONSOLE_AGAIN_SECONDS * 1e9),
            )
        screen.level, screen.logger = piece.level, piece.logger
        screen.write(piece.text, piece.time_ns)

    def _take(self, now_ns: int, *, is_last: bool) -> list[Line]:
        found = [line for screen in self._screens.values() for line in screen.take(now_ns, is_last=is_last)]
        self._has_changes = any(screen.has_changes for screen in self._screens.values())
        found.sort()
        return found if self._redactors is None else self._masked(found, self._redactors)

    def _masked(self, lines: list[Line], redactors: dict[str, Redactor]) -> list[Line]:
        for source in {line.source for line in lines}:
            places = [at for at, line in enumerate(lines) if line.source == source]
            redactor = redactors.setdefault(source, Redactor())
            for at, text in zip(places, redactor.lines([lines[at].text for at in places]), strict=True):
                if text != lines[at].text:
                    lines[at] = lines[at]._replace(text=text)
        return lines

    def _let_through(self, most_bytes: int) -> None:
        while len(self._tail) > 1 and self._tail_size > most_bytes:
            self._drop()
        self._most_left -= self._tail_size
        whole = []
        for piece in self._tail:
            if piece.source in self._torn:  # up to the end of its first line, which has lost its beginning
                _, newline, rest = piece.text.partition("\n")
                if newline:
                    self._torn.discard(piece.source)
                    self._gaps[piece.source] = self._gaps.get(piece.source, 0) + 1
                piece = piece._replace(text=rest)
            if piece.text:
                whole.append(piece)
        self._kept.extend(Gap(*gap) for gap in self._gaps.items())
        self._kept.extend(whole)
        self._gaps.clear()
        self._tail.clear()
        self._tail_size = 0

    def _drop(self) -> None:
        piece = self._tail.popleft()
        self._tail_size -= len(piece.text)
        self._gaps[piece.source] = self._gaps.get(piece.source, 0) + piece.text.count("\n")
        if piece.text.endswith("\n"):
            self._torn.discard(piece.source)
        else:
            self._torn.add(piece.source)
