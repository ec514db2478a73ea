"""All that a run sends: numbers by the sender, bytes and versions by the uploads. Both end together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sender import Sender
    from .uploads import Uploads


class Delivery:
    """The sender of a run, and its uploads, which begin when there are bytes to send.

    Args:
        sender: Sends the numbers.
        make_uploads: Makes the uploads.
    """

    def __init__(self, sender: Sender, make_uploads: Callable[[], Uploads]) -> None:
        self.sender = sender
        self._make_uploads = make_uploads
        self._uploads: Uploads | None = None
        self._lock = threading.Lock()

    @property
    def uploads(self) -> Uploads:
        """What sends bytes and versions."""
        with self._lock:
            if self._uploads is None:
                self._uploads = self._make_uploads()
            return self._uploads

    def take_leftovers(self, root: Path, is_wanted: Callable[[], bool]) -> None:
        """Send bytes and versions that earlier runs have left.

        Args:
            root: The folder of all runs.
            is_wanted: Asked before each run that is looked at; False ends it.
        """
        from .uploads import has_left

        if has_left(root, is_wanted):
            self.uploads.take_leftovers(is_wanted)

    def finish(self, stall_seconds: float, timeout: float | None = None) -> str | None:
        """Send the rest, and end: this long after the server last took anything, of the one or the other.

        Args:
            stall_seconds: Return when the server has taken nothing for so long.
            timeout: Seconds after which to return in any case; None for no such limit.

        Returns:
            What is on this machine only, and what sends it; None where that is nothing.
        """
        began = time.monotonic()
        uploads = self._uploads
        if uploads is not None:
            uploads.hurry()
        left = self.sender.finish(stall_seconds, timeout)
        kept = [f"{left.points:,} records"] if left.points else []
        if uploads is not None:
            rest = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
            unsent = uploads.finish(stall_seconds, rest)
            if unsent.blobs:
                kept.append(f"{unsent.blobs:,} files of {unsent.size / 1e6:,.1f} MB")
            if unsent.versions:
                kept.append(f"{unsent.versions:,} versions of artifacts")
        if not kept:
            return None
        return f"{' and '.join(kept)} are still on this machine only. Send them with: {left.command}"
