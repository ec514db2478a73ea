"""The other end of the console: a small process that passes on what a program prints, and writes the lines down.

A process of its own, because a thread cannot do it: extension modules print while they hold the interpreter's lock,
and would wait for ever for a thread that needs the lock to empty the pipe. It outlives the program it serves, so the
last words of one that was killed reach the terminal, and the run.

It is run as a script, with its orders in one argument (see `Drain`), and ends when nobody holds the other end of its
pipes any more. Its lines are a stream of its own, named as that of a forked child, so whoever reads, sends or syncs
the run finds it.
"""

from __future__ import annotations

import codecs
import json
import os
import selectors
import signal
import sys
import time
from types import ModuleType
from typing import Any

# What the program writes between its lines to tell us something; it is not passed on.
#   ESC ] 7777;tracker;<level>;<logger> BEL     what follows shows a log record; empty: no more
#   ESC ] 7777;tracker-end BEL                  the run has ended: answer when all before it is written down
MARK = b"\x1b]7777;tracker"
MARK_END = b"\x07"
END_OF_RUN = MARK + b"-end" + MARK_END
_MOST_MARK_BYTES = 512  # one that does not end by then is none
_CALM_SECONDS = 0.02  # a program that prints without a pause is not kept waiting by the looking at lines
_SLICES_PER_FLUSH = 16  # 256 kB each half second; more is a flood, and looked at when it is over
_HOLD_SECONDS = 0.05  # for the rest of what may be a mark
_SIGNALS = "SIGINT SIGTERM SIGHUP SIGQUIT SIGTSTP SIGTTOU SIGTTIN SIGUSR1 SIGUSR2 SIGPIPE".split()


class Splitter:
    """Tells marks from text, wherever the reads have cut them."""

    def __init__(self) -> None:
        self.held = b""  # what may be the beginning of a mark

    def split(self, data: bytes) -> list[tuple[bool, bytes]]:
        """Answer text and marks in order: whether it is a mark, and its bytes."""
        data, self.held = self.held + data, b""
        found: list[tuple[bool, bytes]] = []
        start = 0
        while (at := data.find(MARK, start)) >= 0:
            if at > start:
                found.append((False, data[start:at]))
            end = data.find(MARK_END, at, at + _MOST_MARK_BYTES)
            if end < 0 and len(data) - at < _MOST_MARK_BYTES:
                self.held = data[at:]
                return found
            start = end + 1 if end >= 0 else at + len(MARK)
            found.append((end >= 0, data[at:start]))
        rest = data[start:]
        for length in range(min(len(MARK) - 1, len(rest)), 0, -1):
            if rest.endswith(MARK[:length]):
                self.held = rest[-length:]
                rest = rest[:-length]
                break
        if rest:
            found.append((False, rest))
        return found

    def release(self) -> bytes:
        """Answer what was held: nothing came behind it, so it is no mark."""
        held, self.held = self.held, b""
        return held


class Source:
    """One pipe or terminal that the program writes to.

    Args:
        name: "stdout", "stderr", or "console" for both.
        reads: The descriptor we read from.
        writes: The program's own, where everything goes on to.
    """

    def __init__(self, name: str, reads: int, writes: int) -> None:
        self.name = name
        self.reads = reads
        self.writes = writes
        self.splitter = Splitter()
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.record: tuple[str | None, str | None] = (None, None)  # level and logger
        self.has_ended = False


class Drain:
    """Passes on, and writes down.

    Args:
        orders: `streams` (the run's folder of streams), `parent` (the program's stream), `rank` (or null), `redact` (mask secrets), `sources`
            (name, descriptor to read from, descriptor to pass on to), `control` (a descriptor to answer on).
    """

    def __init__(self, orders: dict[str, Any]) -> None:
        from tracker.core.capture.backlog import Backlog
        from tracker.core.clock import Clock
        from tracker.core.limits import CONSOLE_FLUSH_SECONDS, CONSOLE_READ_BYTES

        self._orders = orders
        self._sources = [Source(*source) for source in orders["sources"]]
        self._selector = selectors.DefaultSelector()
        for source in self._sources:
            self._selector.register(source.reads, selectors.EVENT_READ, source)
        self._backlog = Backlog(is_redacted=orders["redact"])
        self._clock = Clock()
        self._journal: Any = None
        self._missed = 0  # lines that could not be written down
        self._fault = ""
        self._is_over = False  # the run has ended: we only pass on
        self._flush_seconds = CONSOLE_FLUSH_SECONDS
        self._read_bytes = CONSOLE_READ_BYTES
        self._flush_at: float | None = None
        self._calm_at = 0.0  # when nothing was printed for a moment

    def work(self) -> None:
        """Go on until nobody holds the other end any more."""
        while self._selector.get_map():
            if self._turn(self._patience()):
                self._calm_at = time.monotonic() + _CALM_SECONDS
            if self._is_over:
                continue
            now = time.monotonic()
            if self._backlog.has_more and now >= self._calm_at:  # nobody waits for us: there is time for lines
                self._write_down(self._backlog.digest(self._clock.now_ns()))
            if self._flush_at is not None and now >= self._flush_at:
                self._flush()
                self._flush_at = None if self._backlog.is_settled else time.monotonic() + self._flush_seconds
        self._end()

    def _flush(self) -> None:
        """Write down what has come, as far as it is not a flood; what is printed meanwhile is passed on."""
        for _ in range(_SLICES_PER_FLUSH):
            self._write_down(self._backlog.digest(self._clock.now_ns()))
            if not self._backlog.has_more:
                break
            self._turn(0.0)
            if self._is_over:
                return
        self._sync()

    def _turn(self, patience: float | None) -> bool:
        """Read what there is; answer whether there was something."""
        ready = self._selector.select(patience)
        for key, _ in ready:
            self._read(key.data)
        if not ready:
            for source in self._sources:
                if source.splitter.held:
                    self._pass_on(source, source.splitter.release())
        return bool(ready)

    def _patience(self) -> float | None:
        if self._backlog.has_more and not self._is_over:
            return max(0.0, self._calm_at - time.monotonic())
        if any(source.splitter.held for source in self._sources):
            return _HOLD_SECONDS
        return None if self._flush_at is None or self._is_over else max(0.0, self._flush_at - time.monotonic())

    def _read(self, source: Source) -> None:
        try:
            data = os.read(source.reads, self._read_bytes)
        except OSError:  # a terminal whose other end was closed
            data = b""
        if not data:
            self._pass_on(source, source.splitter.release())
            self._selector.unregister(source.reads)
            os.close(source.reads)
            source.has_ended = True
            return
        for is_mark, part in source.splitter.split(data):
            if not is_mark:
                self._pass_on(source, part)
            elif part == END_OF_RUN:
                source.has_ended = True
                if all(each.has_ended for each in self._sources):
                    self._end()
            else:
                level, _, logger = part[len(MARK) : -1].strip(b";").decode(errors="replace").partition(";")
                source.record = (level or None, logger or None)

    def _pass_on(self, source: Source, data: bytes) -> None:
        if not data:
            return
        _write(source.writes, data)
        if self._is_over:
            return
        from tracker.core.capture.backlog import Piece

        text = source.decoder.decode(data)
        self._backlog.put(Piece(source.name, text, self._clock.now_ns(), *source.record))
        if self._flush_at is None:
            self._flush_at = time.monotonic() + self._flush_seconds

    def _write_down(self, lines: list[Any]) -> None:
        if not lines:  # what writes is loaded for a program that prints
            return
        from tracker.core.capture.lines import bodies
        from tracker.core.journal import Journal
        from tracker.core.limits import CONSOLE_RECORD_BYTES
        from tracker.core.record import Kind, encode_control

        try:
            for body in bodies(lines, self._orders["rank"], most_bytes=CONSOLE_RECORD_BYTES):
                if self._journal is None:  # a program that prints nothing leaves no stream
                    from pathlib import Path

                    self._journal = Journal(Path(self._orders["streams"]), self._clock, parent=self._orders["parent"])
                self._journal.append(Kind.CONSOLE, encode_control(self._clock.now_ns(), body))
            if self._journal is not None:
                self._journal.prepare()
        except (
            OSError
        ) as error:  # no room for a stream, or for its next segment: what is printed is passed on all the same
            if self._journal is None:
                self._missed += len(lines)
                self._fault = str(error)

    def _sync(self) -> None:
        if self._journal is not None:
            try:
                self._journal.sync()
            except OSError:  # a power cut could take the last lines; there is nobody to tell
                return

    def _end(self) -> None:
        """Write down all that is left, and answer the program."""
        if self._is_over:
            return
        self._is_over = True
        try:
            self._write_down(self._backlog.end(self._clock.now_ns()))
            self._sync()
            if self._journal is not None:
                self._journal.close()
        except OSError:
            return
        finally:
            answer = {"left_out": self._backlog.left_out, "missed": self._missed, "fault": self._fault}
            try:
                os.write(self._orders["control"], json.dumps(answer).encode() + b"\n")
            except OSError:  # the program is gone
                return


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it, however slowly it is taken; where nobody reads any more, end: the program shall notice."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody has made the terminal non-blocking
            import select

            select.select([], [descriptor], [], 1.0)
        except OSError:
            os._exit(1)


def _follow_size(sizes: list[tuple[int, int]]) -> None:
    """Give our terminals the size of the true one, now and whenever it changes."""
    import fcntl
    import termios

    def copy(*_: object) -> None:
        for ours, true in sizes:
            try:
                fcntl.ioctl(ours, termios.TIOCSWINSZ, fcntl.ioctl(true, termios.TIOCGWINSZ, b"\0" * 8))
            except OSError:
                continue

    copy()
    signal.signal(signal.SIGWINCH, copy)


def _let_go(kept: set[int]) -> None:
    """Close what we inherited by accident: a library's socket must not outlive the program in us."""
    try:
        inherited = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        return
    for descriptor in inherited:
        if descriptor > 2 and descriptor not in kept:
            try:
                os.close(descriptor)
            except OSError:
                continue


def main() -> None:
    """Do as ordered."""
    orders = json.loads(sys.argv[1])
    for name in _SIGNALS:  # what ends the program ends its output, and that ends us
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    _let_go({orders["control"], *(descriptor for source in orders["sources"] for descriptor in source[1:])})
    sys.path[:0] = orders["path"]
    # The packages without what their `__init__` loads: a run needs all of it, we do not.
    for name, folder in orders["packages"].items():
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [folder]
    # What describes classes by their annotations loads half of Python's own compiler; none is described here.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    if sizes := [(reads, writes) for _, reads, writes in orders["sources"] if os.isatty(reads)]:
        _follow_size(sizes)
    Drain(orders).work()


if __name__ == "__main__":
    main()
