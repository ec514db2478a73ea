"""The errors tracker raises, one tree.

    TrackerError
    ├── UsageError        a call that cannot work as written (also a ValueError)
    ├── MissingFramework  an optional package is not installed (also an ImportError)
    ├── StorageError      the folder, the disk or a file in it does not serve (also an OSError)
    │   └── FormatError   bytes that are no journal, or of a newer format
    └── TransportError    the server cannot be reached or refuses

After `init()` has returned none of them reaches the training loop, unless `TRACKER_STRICT=1`.
"""

from __future__ import annotations


class TrackerError(Exception):
    """The base of all errors raised by tracker."""


class UsageError(TrackerError, ValueError):
    """A call that cannot work as written; the message says what to write instead."""


class MissingFramework(TrackerError, ImportError):
    """An optional package is needed and not installed; the message names the command."""


class StorageError(TrackerError, OSError):
    """The folder, the disk or a file in it does not serve."""


class FormatError(StorageError):
    """Bytes that are no journal of ours, or one of a newer format."""


class TransportError(TrackerError):
    """The server cannot be reached, or refuses.

    Args:
        message: What happened, in one sentence.
        retry_after: Seconds the server asked to wait, if it did.
        status: The HTTP status, if there was an answer.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status
