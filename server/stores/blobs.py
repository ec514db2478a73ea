"""The blob store in a folder: each blob in a file named by the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import BinaryIO

from ...core.errors import StorageError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE_BYTES = 1 << 20


class FolderBlobs:
    """Blobs in a folder; a file that has its name is whole.

    Args:
        folder: Where; made at the first `put`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, source: BinaryIO, digest: str | None = None) -> str:
        """Keep the bytes; answer their digest (sha256, hex).

        Raises:
            StorageError: The folder cannot be written, or the bytes have another digest than the one announced.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, prefix=".draft-")
        except OSError as error:
            raise StorageError(f"the folder {self.folder} cannot be written: {error}.") from error
        try:
            with os.fdopen(handle, "wb") as file:
                found = _copied(source, file)
                if digest is not None and digest != found:
                    raise StorageError(f"the bytes have the digest {found}, announced was {digest}; send them again.")
                target = self._path(found)
                if target.exists():
                    os.unlink(name)
                    return found
                file.flush()
                os.fsync(file.fileno())
            target.parent.mkdir(exist_ok=True)
            os.replace(name, target)
        except OSError as error:
            Path(name).unlink(missing_ok=True)
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"a blob cannot be kept in {self.folder}: {error}.") from error
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return found

    def open(self, digest: str) -> BinaryIO:
        """Open the bytes; FileNotFoundError where there are none."""
        return open(self._path(digest), "rb")

    def has(self, digest: str) -> bool:
        """Answer whether the bytes are kept."""
        return bool(_DIGEST.fullmatch(digest)) and self._path(digest).is_file()

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):  # it comes from outside and becomes a path
            raise FileNotFoundError(f"{digest[:80]!r} is no SHA-256 digest in hex.")
        return self.folder / digest[:2] / digest


def _copied(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := source.read(_PIECE_BYTES):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()
