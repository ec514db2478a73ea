"""Where the bytes of a run's own lie: beside its journal, or in a folder of the server that took it in."""

from __future__ import annotations

from pathlib import Path

from ..core.blobs import FolderBlobs
from ..core.paths import RunPath, run_blobs
from .trash import trashed_folders

_FOLDER = "runblobs"


def blobs_of(path: RunPath, *, root: Path | None, stores: Path) -> FolderBlobs:
    """Answer the blobs of a run; a folder that is not there holds none.

    Args:
        path: The run.
        root: The folder of all runs, where the server shows one.
        stores: The folder of the stores, where it takes runs in.
    """
    if root is None:
        return FolderBlobs(path.folder(stores / _FOLDER))
    folder = path.folder(root)
    if not folder.is_dir():
        folder = max((there for trashed, there in trashed_folders(root) if trashed == path), default=folder)
    return FolderBlobs(run_blobs(folder))
