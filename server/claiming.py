"""What makes a version whole: its manifest and every blob that it names are here, and it is what it says it is."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ..core.artifacts.manifest import Manifest
from ..core.artifacts.version import Draft
from ..core.errors import DamagedBlob, FormatError, UsageError
from ..core.limits import MAX_BLOB_BYTES
from .limits import KEPT_MANIFESTS
from .stores.base import BlobStore


class MissingError(Exception):
    """Blobs that a version needs are not here."""

    def __init__(self, digests: list[str]) -> None:
        super().__init__(f"{len(digests):,} blobs of the version are missing; send them, then claim it again.")
        self.digests = digests


class Manifests:
    """Reads manifests; the last few stay read.

    Args:
        blobs: Where they are.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Manifest] = OrderedDict()

    def load(self, digest: str) -> Manifest:
        """Answer a manifest.

        Raises:
            FileNotFoundError: It is not here.
            DamagedBlob: It is not what it was.
            FormatError: It is none, or one of a newer format.
            UsageError: It is larger than what is read here.
        """
        with self._lock:
            if found := self._kept.get(digest):
                self._kept.move_to_end(digest)
                return found
        if (size := self._blobs.size(digest)) > MAX_BLOB_BYTES:
            raise UsageError(f"the manifest has {size:,} bytes; at most {MAX_BLOB_BYTES:,} are read.")
        found = Manifest.load(self._blobs.read(digest))
        with self._lock:
            self._kept[digest] = found
            while len(self._kept) > KEPT_MANIFESTS:
                self._kept.popitem(last=False)
        return found


def check_whole(draft: Draft, blobs: BlobStore, manifests: Manifests) -> None:
    """Return where a draft is whole and on disk, and may become a version.

    Raises:
        MissingError: Blobs are not here.
        UsageError: It is not what it says.
        StorageError: The disk does not confirm.
    """
    try:
        manifest = manifests.load(draft.manifest)
    except (FileNotFoundError, DamagedBlob):
        raise MissingError([draft.manifest]) from None
    except FormatError as error:
        raise UsageError(str(error)) from error
    said = (draft.digest, draft.size, draft.files)
    if said != (manifest.digest, manifest.size, manifest.files):
        raise UsageError(
            f"the manifest {draft.manifest} lists {manifest.files:,} files of {manifest.size:,} bytes with the digest "
            f"{manifest.digest}; announced were {draft.files:,}, {draft.size:,} and {draft.digest}."
        )
    needed = manifest.blobs()
    if missing := blobs.missing(sorted(needed)):
        raise MissingError(missing)
    blobs.touch([draft.manifest, *needed])
    blobs.sync()
