"""Capturing at the file descriptors: what is put in their place, and how everything is put back."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .drain import END_OF_RUN, Splitter
from .levels import Levels

if TYPE_CHECKING:
    from ..run import Run

_PIPE_BYTES = 1 << 20
_NUMBERS = {"stdout": 1, "stderr": 2}


class _Taken(NamedTuple):
    """One descriptor, or both, led through us.

    Args:
        name: "stdout", "stderr" or "console".
        numbers: The descriptors that lead into it.
        reads: The end that the drain reads from; held here too, so that printing never fails for want of a reader.
        writes: The end that the numbers are copies of.
        true: A copy of what was there before.
    """

    name: str
    numbers: tuple[int, ...]
    reads: int
    writes: int
    true: int


class Redirected:
    """Descriptors led through the drain.

    Args:
        run: The run.
        names: "stdout", "stderr".
        rank: Of this process, in a job of several.

    Raises:
        OSError: It cannot be done; nothing has changed.
    """

    def __init__(self, run: Run, names: list[str], rank: int | None) -> None:
        self._run = run
        self._pid = os.getpid()
        _flush()
        self._taken: list[_Taken] = []
        self._control = self._theirs = -1
        try:
            for name, numbers in _groups(names):
                self._taken.append(_taken(name, numbers))
            self._control, self._theirs = os.pipe()
            self._spawn(rank)
            for taken in self._taken:
                for number in taken.numbers:
                    os.dup2(taken.writes, number)
        except BaseException:
            self._put_back()
            self._close()
            raise
        os.close(self._theirs)
        self._theirs = -1
        self._levels = Levels(self._captures)
        run._keeper.add_chore(self._look)

    def end(self, seconds: float) -> int:
        """Put everything back, and wait until all that was printed is written down.

        Args:
            seconds: To wait at most.

        Returns:
            How many lines were left out.
        """
        if os.getpid() != self._pid:
            return 0
        self._run._keeper.remove_chore(self._look)
        self._levels.end()
        _flush()
        answer: dict[str, Any] | None = {}
        if self._taken:
            for taken in self._taken:
                _tell(taken.writes)
            answer = self._answer(seconds)
        self._put_back()
        if answer is None:
            for taken in self._taken:
                _rescue(taken)
        self._close()
        if answer and answer.get("missed"):
            self._run._complaints.say(
                f"{answer['missed']:,} lines of what was printed could not be kept ({answer.get('fault')})."
            )
        return int(answer.get("left_out", 0)) if answer else 0

    # --- beginning -----------------------------------------------------------------------

    def _spawn(self, rank: int | None) -> None:
        import tracker

        folder = str(Path(tracker.__file__).parent)
        orders = {
            "path": _paths(),
            "packages": {"tracker": folder},
            "streams": str(self._run._journal.streams),
            "parent": self._run._journal.id,
            "rank": rank,
            "redact": getattr(self._run.settings, "redact", None) is not False,
            "sources": [[taken.name, taken.reads, taken.true] for taken in self._taken],
            "control": self._theirs,
        }
        script = os.path.join(os.path.dirname(__file__), "drain.py")
        command = [sys.executable, "-I", "-S", script, json.dumps(orders)]
        inherited = [self._theirs, *(end for taken in self._taken for end in (taken.reads, taken.true))]
        actions = [(os.POSIX_SPAWN_DUP2, end, end) for end in inherited]  # a copy onto itself is inherited
        # By way of a shell that leaves at once, so that it is no child of ours: a program that waits for its own
        # children must not meet one that it does not know.
        shell = ["/bin/sh", "-c", '"$@" </dev/null & exit 0', "sh", *command]
        with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored nobody need wait
            os.waitpid(os.posix_spawn("/bin/sh", shell, os.environ, file_actions=actions), 0)

    # --- while it goes on ----------------------------------------------------------------

    def _captures(self, number: int) -> bool:
        """Answer whether what is written to a descriptor still comes through us."""
        try:
            here = os.fstat(number)
            return any(os.path.samestat(here, os.fstat(taken.writes)) for taken in self._taken)
        except OSError:
            return False

    def _look(self) -> None:
        """See that the drain is still there; without it printing would come to a halt when the pipe is full."""
        self._levels.look()
        ready, _, _ = select.select([self._control], [], [], 0)
        if ready and not os.read(self._control, 4096):
            self._levels.end()
            self._put_back()
            for taken in self._taken:
                _rescue(taken)
            self._close()
            self._run._keeper.remove_chore(self._look)
            self._run._complaints.say(
                "the process that writes down what is printed has gone; the console is not captured any more."
            )

    # --- the end -------------------------------------------------------------------------

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        """Answer what the drain says to the end of the run: nothing where it takes too long, None where it has gone."""
        limit = time.monotonic() + seconds
        data = b""
        while not data.endswith(b"\n"):
            ready, _, _ = select.select([self._control], [], [], max(0.0, limit - time.monotonic()))
            if not ready:
                return {}
            piece = os.read(self._control, 4096)
            if not piece:
                return None
            data += piece
        found = json.loads(data)
        return found if isinstance(found, dict) else {}

    def _put_back(self) -> None:
        for taken in self._taken:
            for number in taken.numbers:
                if self._captures(number):  # else somebody has put something of his own there since
                    os.dup2(taken.true, number)

    def _close(self) -> None:
        ends = [self._control, self._theirs]
        for taken in self._taken:
            ends += (taken.reads, taken.writes, taken.true)
        self._taken = []
        self._control = self._theirs = -1
        for end in ends:
            if end >= 0:
                os.close(end)


def _groups(names: list[str]) -> list[tuple[str, tuple[int, ...]]]:
    """Answer what to lead through one pipe: two pipes would not keep the order of what goes to one place."""
    numbers = [_NUMBERS[name] for name in names]
    if len(numbers) == 2 and os.path.samestat(os.fstat(1), os.fstat(2)):
        return [("console", (1, 2))]
    return [(name, (_NUMBERS[name],)) for name in names]


def _taken(name: str, numbers: tuple[int, ...]) -> _Taken:
    true = os.dup(numbers[0])
    try:
        reads, writes = _terminal() if os.isatty(true) else _pipe()
    except BaseException:
        os.close(true)
        raise
    return _Taken(name, numbers, reads, writes, true)


def _pipe() -> tuple[int, int]:
    reads, writes = os.pipe()
    try:
        import fcntl

        fcntl.fcntl(writes, getattr(fcntl, "F_SETPIPE_SZ", 1031), _PIPE_BYTES)
    except OSError:  # not Linux, or the user's share is used up
        pass
    return reads, writes


def _terminal() -> tuple[int, int]:
    """Make a terminal, so that what asks for one still finds one; it changes nothing of what goes through."""
    import tty

    reads, writes = os.openpty()
    tty.setraw(writes)
    return reads, writes


def _paths() -> list[str]:
    """Answer the folders that hold what the drain imports."""
    folders = [Path(msgspec.__file__).parents[1]]
    zstd = sys.modules.get("backports.zstd")
    if zstd is not None and zstd.__file__:
        folders.append(Path(zstd.__file__).parents[2])
    return list(dict.fromkeys(map(str, folders)))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # none, or closed
            continue


def _tell(end: int) -> None:
    """Mark the end of the run, unless nobody is there to take it."""
    _, ready, _ = select.select([], [end], [], 1.0)
    if ready:
        os.write(end, END_OF_RUN)


def _rescue(taken: _Taken) -> None:
    """Pass on what is still in a pipe that nobody reads any more."""
    splitter = Splitter()
    while select.select([taken.reads], [], [], 0)[0]:
        data = os.read(taken.reads, _PIPE_BYTES)
        if not data:
            break
        for is_mark, part in splitter.split(data):
            if not is_mark:
                _write(taken.true, part)
    _write(taken.true, splitter.release())


def _write(end: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(end, view) :]
