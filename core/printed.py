"""What a run printed, as the stores and `Api` answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ConsoleLine:
    """A line that a program of the run has printed.

    Args:
        text: Without the newline; colours as the program gave them.
        time_ns: When it began, nanoseconds since the epoch.
        source: "stdout", "stderr", or "console" where both went to one place and could not be told apart.
        level: Of the log record it shows, such as "WARNING"; None for what was merely printed.
        logger: Of that record.
        rank: Of the process, in a job of several.
        stream: The process.
        number: Its place among the lines of that process, from 0 on; a gap is what was left out.
    """

    text: str
    time_ns: int
    source: str
    level: str | None
    logger: str | None
    rank: int | None
    stream: str
    number: int


@dataclass(frozen=True)
class ConsolePage:
    """A part of what was printed.

    Args:
        total: Lines that match.
        left_out: Lines of the run that were printed and not kept.
        mark: Give it as `after` to learn what came, or changed, since.
        lines: In order of time.
    """

    total: int
    left_out: int
    mark: int
    lines: Sequence[ConsoleLine]
