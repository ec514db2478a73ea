"""Where a server has bytes and versions: in the folder of runs that `tracker ui` shows, or in stores of its own."""

from __future__ import annotations

from pathlib import Path

from ..core.artifacts.catalogue import Catalogue, FolderCatalogue
from ..core.blobs import FolderBlobs
from ..core.paths import RunPath, artifacts_folder, blobs_folder, run_blobs
from .claiming import Manifests
from .stores.base import BlobStore, Stores
from .trash import trashed_folders


class Places:
    """Bytes shared by all runs, each run's own, and the versions of artifacts.

    Args:
        stores: The server's own.
        root: The folder of all runs, where the server shows one; the bytes are there then.
    """

    def __init__(self, stores: Stores, root: Path | None = None) -> None:
        self._stores = stores
        self._root = root
        self.blobs: BlobStore = FolderBlobs(blobs_folder(root)) if root is not None else stores.blobs
        self.catalogue: Catalogue = FolderCatalogue(artifacts_folder(root)) if root is not None else stores.catalogue
        self.manifests = Manifests(self.blobs)

    def run_blobs(self, path: RunPath) -> BlobStore:
        """Answer a run's own blobs, also of one in the trash; there need be none, nor such a run."""
        if self._root is None:
            return self._stores.run_blobs.of(path)
        folder = path.folder(self._root)
        if not folder.is_dir():
            folder = max((there for trashed, there in trashed_folders(self._root) if trashed == path), default=folder)
        return FolderBlobs(run_blobs(folder))
