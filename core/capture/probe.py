"""What every probe is, and the thread that a probe is asked in where its calls may hang."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..limits import PROBE_HUNG_SECONDS

Values = dict[str, float]
_SLICE_SECONDS = 0.05  # of a wait that the end of the run cuts short


class Place(NamedTuple):
    """Where a probe looks; tests look elsewhere.

    Args:
        root: What stands before `/proc` and `/sys`: empty on a real machine.
        environ: The environment variables.
        pid: The process whose share is told.
        folder: The folder that keeps the runs; its disk is watched.
        say: Takes a sentence for the user.
    """

    root: str
    environ: Mapping[str, str]
    pid: int
    folder: str
    say: Callable[[str], None]


class Probe(Protocol):
    """Asked now and then, it answers numbers by name: `cpu.percent`, `gpu.0.power_watts`."""

    def sample(self, now: float) -> Values:
        """Answer what can be told now.

        Args:
            now: Seconds of a clock that only goes forward.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """Answer what does not change: names, sizes, versions."""
        ...

    def close(self) -> None:
        """Let go of files and libraries."""
        ...


@runtime_checkable
class Metering(Protocol):
    """A probe that knows what the run's devices have used, by counters that are dear to ask: seldom, and at the end."""

    @property
    def energy_kwh(self) -> float | None:
        """The energy of the run's devices since the probe was opened, as well as it is known."""
        ...

    def sample_last(self, now: float) -> Values:
        """Answer what `sample` does, with the energy counted; nothing that takes long is asked.

        Args:
            now: Seconds of a clock that only goes forward.
        """
        ...


class Rates:
    """Turns totals that only grow into rates."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, float]] = {}

    def of(self, key: str, total: float, now: float) -> float | None:
        """Answer by how much a total has grown in a second; None for the first time, and where it began anew."""
        before = self._known.get(key)
        self._known[key] = (total, now)
        if before is None or total < before[0] or now <= before[1]:
            return None
        return (total - before[0]) / (now - before[1])

    def forget(self, key: str) -> None:
        """Forget a total."""
        self._known.pop(key, None)


class Due:
    """Tells what need not be asked each time.

    Args:
        seconds: How far apart.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = float("-inf")

    def __call__(self, now: float) -> bool:
        """Answer whether it is time, and if so count from now on."""
        if now < self._next:
            return False
        self._next = now + self._seconds - 0.001  # a sample that comes a moment early is the one
        return True


class File:
    """A small file that is read again and again: kept open where the system allows it.

    Args:
        path: The file; one that cannot be read is not tried again.
        most_bytes: Read at most.
        is_kept: Keep it open between reads: three times as fast, at the price of one of the process's open files.
    """

    def __init__(self, path: str, most_bytes: int = 1 << 16, *, is_kept: bool = True) -> None:
        self.path = path
        self._most = most_bytes
        self._is_kept = is_kept
        self._fd: int | None = None
        self.is_there = True

    def read(self) -> bytes:
        """Answer what it holds now; nothing where it cannot be read."""
        if not self.is_there:
            return b""
        try:
            if self._fd is None:
                self._fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            data = os.pread(self._fd, self._most, 0)
            if not self._is_kept:
                self.close()
            return data
        except OSError:
            self.close()
            self.is_there = False
            return b""

    def number(self) -> float | None:
        """Answer the one number it holds; None where there is none."""
        try:
            return float(self.read())
        except ValueError:
            return None

    def close(self) -> None:
        """Close it."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Answer(NamedTuple):
    """What a probe told, and when, in nanoseconds since the epoch; and the energy used, where it knows it."""

    time_ns: int
    values: Values
    facts: dict[str, Any]
    energy_kwh: float | None = None


class Guard:
    """Asks a probe in a thread of its own: a call into a driver may take long, or never return.

    Args:
        name: What is probed, for messages.
        make: Opens the probe, in that thread; None where there is nothing to probe.
        now_ns: Tells the time of an answer.
        say: Takes a sentence for the user.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Probe | None],
        now_ns: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self.name = name
        self._make = make
        self._now_ns = now_ns
        self._say = say
        self._asked: SimpleQueue[tuple[float, bool] | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer | None] = SimpleQueue()
        self._since: float | None = None  # when what is not answered yet was asked
        self._is_hung = False
        self.is_over = False  # nothing to probe, or broken for good
        self._thread = threading.Thread(target=self._work, name=f"tracker-{name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ask(self, now: float, *, is_last: bool = False) -> None:
        """Ask for a sample, unless the last question is still open.

        Args:
            now: Seconds of a clock that only goes forward.
            is_last: The run is ending.
        """
        if self._since is None and not self.is_over:
            self._since = now
            self._asked.put((now, is_last))
        elif self._since is not None and not self._is_hung and now - self._since > PROBE_HUNG_SECONDS:
            self._is_hung = True
            self._say(
                f"{self.name} has not answered for {now - self._since:.0f} s and is not sampled until it does; all "
                "else goes on. A driver that hangs often shows in the system's log (dmesg)."
            )

    def answer(self, patience: float, is_late: Callable[[], bool] = lambda: False) -> Answer | None:
        """Answer what was told since the last call.

        Args:
            patience: Seconds to wait for it at most; what is known to hang is not waited for.
            is_late: Answers whether somebody waits for us, so that we do not.
        """
        if self._since is None:
            return None
        until = time.monotonic() + (0.0 if self._is_hung else patience)
        while True:
            left = until - time.monotonic()
            try:
                if left <= 0:
                    found = self._answers.get_nowait()
                else:
                    found = self._answers.get(timeout=min(left, _SLICE_SECONDS))
                break
            except Empty:
                if left <= 0 or is_late():
                    return None
        self._since, self._is_hung = None, False
        if found is None:
            self.is_over = True
        return found

    def close(self) -> None:
        """Have the probe closed, and do not wait for it."""
        self._asked.put(None)

    def _work(self) -> None:
        probe: Probe | None = None
        try:
            while (asked := self._asked.get()) is not None:
                now, is_last = asked
                facts: dict[str, Any] = {}
                if probe is None:
                    probe = self._make()
                    if probe is None:
                        self._answers.put(None)
                        return
                    facts = probe.facts()
                if isinstance(probe, Metering):
                    values = probe.sample_last(now) if is_last else probe.sample(now)
                    self._answers.put(Answer(self._now_ns(), values, facts, probe.energy_kwh))
                else:
                    self._answers.put(Answer(self._now_ns(), probe.sample(now), facts))
            if probe is not None:
                probe.close()
        except Exception as error:  # whatever a driver has in store; the others go on
            self._say(f"{self.name} is not sampled any more ({type(error).__name__}: {error}).")
            self._answers.put(None)


def steady() -> float:
    """Answer seconds of a clock that only goes forward."""
    return time.monotonic()
