"""The errors tracker raises, one tree.

    TrackerError
    ├── UsageError        a call that cannot work as written (also a ValueError)
    │   ├── NoRun         there is no run, and what is asked for belongs to one (also an AttributeError)
    │   └── RunInUse      another process is writing the run that is to be gone on with
    ├── MissingFramework  an optional package is not installed (also an ImportError)
    ├── StorageError      the folder, the disk or a file in it does not serve (also an OSError)
    │   ├── FormatError   bytes that are no journal or manifest, or of a newer format
    │   ├── DamagedBlob   bytes that are no longer what their digest says
    │   ├── ChangedError  files were written while their bytes were being kept
    │   └── OffsetError   a piece of a blob that does not begin where the last one ended
    └── TransportError    the server cannot be reached or refuses

After `init()` has returned none of them reaches the training loop, unless `TRACKER_STRICT=1`.
"""

from __future__ import annotations


class TrackerError(Exception):
    """The base of all errors raised by tracker."""


class UsageError(TrackerError, ValueError):
    """A call that cannot work as written; the message says what to write instead."""


class NoRun(UsageError, AttributeError):
    """There is no run, and what is asked for belongs to one; an AttributeError, so that `hasattr` and `inspect` work."""


class RunInUse(UsageError):
    """Another process is writing the run that is to be taken back to an earlier step."""


class MissingFramework(TrackerError, ImportError):
    """An optional package is needed and not installed; the message names the command."""


class StorageError(TrackerError, OSError):
    """The folder, the disk or a file in it does not serve."""


class FormatError(StorageError):
    """Bytes that are no journal or manifest of ours, or one of a newer format."""


class DamagedBlob(StorageError):
    """Bytes on disk are no longer what their digest says; the file was set aside, so the blob is missing now.

    Args:
        message: What happened, in one sentence.
        digest: Of the blob.
    """

    def __init__(self, message: str, digest: str) -> None:
        super().__init__(message)
        self.digest = digest


class ChangedError(StorageError):
    """Files were written, in place, between the moment they were logged and the moment their bytes were kept.

    Args:
        message: What happened, in one sentence.
        paths: Of the files, on disk.
    """

    def __init__(self, message: str, paths: list[str]) -> None:
        super().__init__(message)
        self.paths = paths


class OffsetError(StorageError):
    """A piece of a blob does not begin where the last one ended.

    Args:
        message: What happened, in one sentence.
        held: How many bytes are there: where the next piece begins.
    """

    def __init__(self, message: str, held: int) -> None:
        super().__init__(message)
        self.held = held


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
