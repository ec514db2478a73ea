"""Having the disk keep many new files at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..journal.storage import sync_file, sync_names
from ..limits import SYNC_ONE_BY_ONE


def sync_files(folder: Path, files: list[Path]) -> None:
    """Return when the disk has the files, and their names.

    Args:
        folder: What they lie in, one level deep.
        files: Which; one that was removed meanwhile is passed over.

    Raises:
        OSError: The disk does not confirm.
    """
    if len(files) > SYNC_ONE_BY_ONE and _sync_file_system(folder):
        return
    for file in files:
        try:
            fd = os.open(file, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            sync_file(fd)
        finally:
            os.close(fd)
    for place in {file.parent for file in files}:
        sync_names(place, 1)
    sync_names(folder, 2)


def _sync_file_system(folder: Path) -> bool:
    """Ask the file system for all it holds: one journal commit instead of one for each file (Linux)."""
    if sys.platform != "linux":
        return False
    import ctypes  # Python has no name for syncfs

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return False
    fd = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(fd)
    return True
