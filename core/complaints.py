"""Saying things to the user: each once, and never too often."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from .limits import COMPLAINT_INTERVAL_SECONDS

# logging's numbers; the module itself is only used where the user has loaded it
INFO, WARNING = 20, 30
_MAX_REMEMBERED = 1000


def is_strict() -> bool:
    """Answer whether faults of ours should raise (`TRACKER_STRICT=1`), as in tests and CI."""
    return os.environ.get("TRACKER_STRICT", "").lower() not in ("", "0", "false", "no")


class Complaints:
    """What one run has to say to its user: through the `tracker` logger where it has handlers, else on stderr.

    Args:
        is_silent: Nothing goes to stderr; the logger is told all the same.
        record: Takes each sentence into the run.
    """

    def __init__(self, is_silent: bool = False, record: Callable[[str], None] | None = None) -> None:
        self.is_silent = is_silent
        self.record = record
        self._said: dict[str, float] = {}

    def say(self, sentence: str, *, level: int = WARNING) -> None:
        """Say a sentence, unless the same one was said within the last minute."""
        now = time.monotonic()
        if now - self._said.get(sentence, -1e9) < COMPLAINT_INTERVAL_SECONDS:
            return
        if len(self._said) > _MAX_REMEMBERED:
            self._said.clear()
        self._said[sentence] = now
        tell(sentence, is_silent=self.is_silent, level=level)
        if self.record is not None:
            self.record(sentence)

    def once(self, key: str, sentence: str) -> None:
        """Say a sentence unless something was said under this key before."""
        if key not in self._said:
            self._said[key] = 1e18  # for good
            self.say(sentence)


def tell(sentence: str, *, is_silent: bool = False, level: int = INFO) -> None:
    """Say a sentence through the `tracker` logger where it has handlers, else on stderr."""
    # Another thread may be loading it at this very moment: then it is half there.
    get_logger = getattr(sys.modules.get("logging"), "getLogger", None)
    if get_logger is not None:
        logger = get_logger("tracker")
        if logger.hasHandlers() and logger.isEnabledFor(level):
            logger.log(level, "%s", sentence)
            return
    if not is_silent:
        try:
            print(f"tracker: {sentence}", file=sys.stderr, flush=True)
        except (OSError, ValueError, AttributeError):  # closed, or none at all (pythonw)
            return
