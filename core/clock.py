"""One clock per process: wall-clock nanoseconds that never jump back.

The wall clock is read once; from there on time is counted by a clock that also runs while the machine sleeps and
that nobody can set. Durations are therefore right even when the administrator, or NTP, moves the date in mid-run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

# CLOCK_BOOTTIME counts a laptop's sleep as well; where it is missing the monotonic clock serves.
_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


# Answers nanoseconds of a clock that only goes forward; its zero means nothing. A partial, not a function: `log`
# calls it.
steady_ns: Callable[[], int] = time.monotonic_ns if _BOOTTIME is None else partial(time.clock_gettime_ns, _BOOTTIME)


class Clock:
    """Nanoseconds since the epoch, steady from the moment of making on."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = steady_ns) -> None:
        self._steady = steady
        self._offset = wall() - steady()

    def now_ns(self) -> int:
        """Answer the time now, in nanoseconds since the epoch."""
        return self._steady() + self._offset


def steady_reader(clock: Clock) -> tuple[Callable[[], int], int]:
    """Answer the parts of `clock.now_ns()`: a reader and what to add to it, for the one caller to whom a call counts."""
    return clock._steady, clock._offset
