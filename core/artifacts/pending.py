"""What a logged artifact waits for: that its bytes are kept and it has a version."""

from __future__ import annotations

import os
import threading

from ..errors import TrackerError, UsageError
from .version import Version


class Pending:
    """A version that is on its way; it comes, or an error does."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._pid = os.getpid()
        self.version: Version | None = None
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self._done.is_set()

    def succeed(self, version: Version | None) -> None:
        """The version is there; None where it was only a part of one."""
        self.version = version
        self._done.set()

    def fail(self, error: BaseException) -> None:
        """There will be no version."""
        self.error = error
        self._done.set()

    def wait(self, timeout: float | None = None) -> Version | None:
        """Wait for the version; None where this is only a part of one, and stored.

        Args:
            timeout: Seconds at most; None for as long as it takes.

        Raises:
            TimeoutError: It is not there yet.
            TrackerError: It will never be.
        """
        if os.getpid() != self._pid and not self.is_done:
            raise UsageError("this artifact is logged by the parent process; wait for it there.")
        if not self._done.wait(timeout):
            raise TimeoutError(f"the artifact is not stored after {timeout} s; it goes on behind your back.")
        if self.error is not None:
            if isinstance(self.error, TrackerError):
                raise self.error
            raise TrackerError(f"the artifact was not kept: {self.error}") from self.error
        return self.version
