"""The trash of a folder of runs: `<root>/.trash/<when>/<entity>/<project>/<run>`. Moving there and back is one rename."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import StorageError, UsageError
from ..core.paths import RunPath, find_runs

TRASH = ".trash"


def trash_folder(root: Path, path: RunPath) -> Path:
    """Move a run's folder to the trash; answer where it is now.

    Raises:
        UsageError: The run has no folder.
        StorageError: It cannot be moved.
    """
    folder = path.folder(root)
    target = path.folder(root / TRASH / f"{time.time_ns() // 1_000_000:012x}")
    if not folder.is_dir():
        raise UsageError(f"the run {path} has no folder in {root}.")
    _move(folder, target)
    return target


def restore_folder(root: Path, path: RunPath) -> Path:
    """Move a run's folder back out of the trash, the one thrown away last; answer where it is now.

    Raises:
        UsageError: It is not in the trash, or another run has its place by now.
        StorageError: It cannot be moved.
    """
    folder = path.folder(root)
    found = [there for trashed, there in trashed_folders(root) if trashed == path]
    if not found:
        raise UsageError(f"the run {path} is not in the trash.")
    if folder.exists():
        raise UsageError(f"there is another run {path} by now; move that one away first.")
    source = max(found)
    _move(source, folder)
    for parent in list(source.parents)[:3]:  # the project's, the entity's and the day's folder, where now empty
        try:
            parent.rmdir()
        except OSError:
            break
    return folder


def trashed_folders(root: Path) -> Iterator[tuple[RunPath, Path]]:
    """Walk the runs in the trash and their folders."""
    try:
        times = sorted(os.listdir(root / TRASH))
    except OSError:
        return
    for when in times:
        yield from find_runs(root / TRASH / when)


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
    except OSError as error:
        raise StorageError(f"the folder {source.name} cannot be moved ({error.strerror}).") from error
