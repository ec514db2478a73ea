"""The console: what the program prints, its extension modules and its subprocesses, as lines of the run.

Where it can, it is captured at the file descriptors: they are replaced by pipes (terminals by terminals), and a small
process at the other end passes everything on to where it went before and writes the lines down (`drain.py` says why a
process). Where `sys.stdout` leads elsewhere (notebooks, pytest), or there are no such descriptors (Windows), what is
written to it is captured in passing (`passing.py`). One run of a process at a time has the console.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..limits import CONSOLE_END_SECONDS
from ..ranks import launched_rank

if TYPE_CHECKING:
    from ..run import Run

_SOURCES = ("stdout", "stderr")
_owner: Run | None = None  # the run that has the console now


def begin(run: Run, settings: Any) -> Callable[[], None] | None:
    """Begin to capture the console for a run.

    Args:
        run: The run.
        settings: Its `console`: "auto", "redirect" (file descriptors), "wrap" (`sys.stdout` and `sys.stderr` only), or
            "off".

    Returns:
        What ends it.
    """
    global _owner
    mode = settings.console or "auto"
    if mode == "off" or (_owner is not None and _owner.state == "running" and _owner._pid == os.getpid()):
        return None
    descriptors = _descriptors(mode)
    passing = [name for name in _SOURCES if name not in descriptors and _leads_elsewhere(name)]
    captures: list[Any] = []
    if descriptors:
        from .redirect import Redirected

        captures.append(Redirected(run, sorted(descriptors, reverse=True), launched_rank()))
    if passing:
        from .passing import Passing

        captures.append(Passing(run, passing, launched_rank()))
    _owner = run

    def end() -> None:
        global _owner
        left_out = sum(capture.end(CONSOLE_END_SECONDS) for capture in reversed(captures))
        if _owner is run:
            _owner = None
        if left_out:
            run._complaints.say(
                f"the run keeps the beginning and the end of what was printed; {left_out:,} lines between are left out."
            )

    return end


def _descriptors(mode: str) -> set[str]:
    """Answer which of stdout and stderr to capture at their file descriptors."""
    has_means = (
        os.name == "posix" and sys.executable and not getattr(sys, "frozen", False) and os.path.exists("/bin/sh")
    )
    if mode == "wrap" or not has_means:
        return set()
    return {
        name
        for number, name in enumerate(_SOURCES, 1)
        if _is_open(number) and (mode == "redirect" or _is_plain(name, number))
    }


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _is_plain(name: str, number: int) -> bool:
    """Answer whether `sys.stdout` ends at its descriptor: whoever has put something else there wants it so."""
    try:
        return bool(getattr(sys, name).fileno() == number)
    except (AttributeError, OSError, ValueError):
        return False


def _leads_elsewhere(name: str) -> bool:
    return callable(getattr(getattr(sys, name), "write", None))
