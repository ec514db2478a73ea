"""Where runs, points and files are kept: three seams, and the stores embedded by default."""

from __future__ import annotations

from pathlib import Path

from ...core.artifacts.catalogue import FolderCatalogue
from ...core.blobs import FolderBlobs
from .base import GapError, RunDetail, RunPage, RunRow, Series, Stores, StreamRow
from .database import DamagedError
from .metadata import SqliteMetadata
from .metrics import SqliteMetrics
from .runblobs import FolderRunBlobs

_INDEX_FILES = ("metadata.db", "metrics.db")


def open_stores(folder: Path, *, is_index: bool = False) -> Stores:
    """Open the stores in a folder; they are made where they are missing.

    Args:
        folder: Where.
        is_index: The folder is an index of journals that are at hand: what is damaged, or of another version, is
            removed and begun anew (the caller then reads the journals again, from the cursors on).

    Raises:
        StorageError: A file is damaged, of a newer version, or cannot be opened.
    """
    try:
        return _open(folder)
    except DamagedError:
        if not is_index:
            raise
    remove_index(folder)
    return _open(folder)


def remove_index(folder: Path) -> None:
    """Remove the index in a folder, so that it is made anew from the journals; blobs stay."""
    for name in _INDEX_FILES:
        for suffix in ("", "-wal", "-shm"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)


def _open(folder: Path) -> Stores:
    metrics = SqliteMetrics(folder / "metrics.db")
    try:
        metadata = SqliteMetadata(folder / "metadata.db", metrics)
    except BaseException:
        metrics.close()
        raise
    return Stores(
        metadata,
        metrics,
        FolderBlobs(folder / "blobs"),
        FolderRunBlobs(folder / "runblobs"),
        FolderCatalogue(folder / "artifacts"),
        folder,
    )


__all__ = [
    "GapError",
    "RunDetail",
    "RunPage",
    "RunRow",
    "Series",
    "Stores",
    "StreamRow",
    "open_stores",
    "remove_index",
]
