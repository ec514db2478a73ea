"""Bytes of the runs' own on a server: a folder of blobs for each run, which goes when the run goes."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...core.blobs import FolderBlobs
from ...core.errors import StorageError
from ...core.paths import RunPath


class FolderRunBlobs:
    """A folder with a folder of blobs for each run.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, path: RunPath) -> FolderBlobs:
        """Answer the blobs of a run; there need be none."""
        return FolderBlobs(path.folder(self.folder))

    def forget(self, path: RunPath) -> None:
        """Remove all blobs of a run.

        Raises:
            StorageError: They cannot be removed.
        """
        try:
            shutil.rmtree(path.folder(self.folder))
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"the blobs of {path} cannot be removed: {error}.") from error
