"""Writing the files of a version into a folder: what we keep, and what it refers to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..complaints import tell
from ..errors import StorageError, TrackerError, UsageError
from ..limits import REFERENCE_THREADS
from . import references
from .manifest import Entry, Manifest
from .restoring import Blobs, restore


def download(
    manifest: Manifest, blobs: Blobs, folder: Path, prefix: str | None = None, allow_missing: bool = False
) -> None:
    """Write the files into a folder.

    Args:
        manifest: What there is.
        blobs: Where the bytes are.
        folder: Where to; made where it is missing.
        prefix: Only this file, or what is below this folder.
        allow_missing: Leave out references that are gone or have changed, and say so.

    Raises:
        UsageError: There is nothing at `prefix`.
        StorageError, TransportError: Something cannot be had or written.
    """
    paths = None if prefix is None or not prefix.strip("/") else [prefix]
    folder.mkdir(parents=True, exist_ok=True)
    restore(manifest, blobs, folder, paths)
    referred = [entry for entry in manifest.below(paths) if entry.reference is not None]
    if referred:
        _fetch_all(referred, folder, allow_missing)


def _fetch_all(entries: Iterable[Entry], folder: Path, allow_missing: bool) -> None:
    root = folder.resolve()

    def fetch(entry: Entry) -> TrackerError | None:
        target = folder / entry.path
        try:
            if not target.parent.resolve().is_relative_to(root):
                raise UsageError(f"{entry.path!r} would be written outside of {folder}, by way of a link in it.")
            references.fetch(entry, target)
        except (StorageError, TrackerError) as error:
            return error
        return None

    with ThreadPoolExecutor(REFERENCE_THREADS) as threads:
        faults = [fault for fault in threads.map(fetch, entries) if fault is not None]
    for fault in faults:
        if not allow_missing or not isinstance(fault, references.ChangedReference):
            raise fault
    for fault in faults[:5]:
        tell(f"left out: {fault}", level=30)
    if len(faults) > 5:
        tell(f"left out: {len(faults) - 5:,} more references.", level=30)


def checkout(manifest: Manifest, blobs: Blobs, folder: Path) -> None:
    """Make a folder hold exactly what a version holds: other files in it are removed.

    Raises:
        StorageError, TransportError: Something cannot be had, written or removed.
    """
    download(manifest, blobs, folder)  # first: what cannot be had costs nothing then
    wanted = set(manifest.entries)
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in [*files, *(each for each in folders if os.path.islink(os.path.join(parent, each)))]:
            path = Path(parent, name)
            if path.relative_to(folder).as_posix() not in wanted:
                path.unlink()
        for name in folders:
            path = Path(parent, name)
            if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
                path.rmdir()
