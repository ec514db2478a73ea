"""Work that is done again and again on a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger("tracker.server")


class Repeat:
    """Calls `work` every so often; a fault is logged and does not end it.

    Args:
        name: Of the thread.
        seconds: Between two calls.
        work: What to do.
    """

    def __init__(self, name: str, seconds: float, work: Callable[[], object]) -> None:
        self._seconds = seconds
        self._work = work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """End, after the call under way."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._work()
            except Exception as error:  # the next call tries again
                _log.warning("%s: %s", self._thread.name, error, exc_info=error)
