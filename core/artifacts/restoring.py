"""Bringing the files of a version back: checked against their digests, and never outside of the target folder."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Protocol

from ..blobs import FolderBlobs, new_digest
from ..errors import StorageError, UsageError
from .manifest import Manifest


class Blobs(Protocol):
    """Where the bytes come from."""

    def read(self, digest: str) -> bytes:
        """Answer the plain bytes, checked; FileNotFoundError or DamagedBlob where they are not at hand."""
        ...

    def fetch(self, digests: Iterable[str]) -> None:
        """Have these at hand, in parallel where that helps; what is at hand already is passed over.

        Raises:
            StorageError, TransportError: Some cannot be had; it names them.
        """
        ...


class LocalBlobs:
    """Bytes that are all in one folder, or nowhere.

    Args:
        blobs: The folder.
    """

    def __init__(self, blobs: FolderBlobs) -> None:
        self._blobs = blobs

    def read(self, digest: str) -> bytes:
        """Answer the plain bytes, checked."""
        return self._blobs.read(digest)

    def fetch(self, digests: Iterable[str]) -> None:
        """Do nothing, where all are there.

        Raises:
            StorageError: Some are not.
        """
        missing = self._blobs.missing(digests)
        if missing:
            raise StorageError(f"{len(missing)} blobs are missing in {self._blobs.folder}: {', '.join(missing[:3])}.")


def restore(manifest: Manifest, blobs: Blobs, target: Path, paths: Iterable[str] | None = None) -> None:
    """Write the files of a version into a folder; those that are there and the same are not written again.

    Args:
        manifest: What to restore.
        blobs: Where the bytes are.
        target: The folder; made where it is missing.
        paths: Which files, and folders of them; None: all.

    Raises:
        UsageError: There is nothing at one of the paths.
        StorageError: The folder cannot be written, or bytes cannot be had.
    """
    for entry in manifest.below(paths):
        if entry.reference is not None:
            continue
        place = target / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.link is not None:
            place.unlink(missing_ok=True)
            place.symlink_to(entry.link)
            continue
        blobs.fetch({part.blob for part in entry.parts})
        draft = place.with_name(f".{place.name}.part")
        with open(draft, "wb") as file:
            for part in entry.parts:
                file.write(blobs.read(part.blob)[part.offset : part.offset + part.length])
        os.replace(draft, place)
        if entry.is_executable:
            place.chmod(place.stat().st_mode | 0o100)


def verify(manifest: Manifest, target: Path) -> None:
    """Look whether a folder holds exactly what a version holds.

    Raises:
        StorageError: It does not; the message names the differences.
    """
    wrong = []
    for path, entry in manifest.entries.items():
        place = target / path
        if entry.link is not None:
            if not place.is_symlink() or os.readlink(place) != entry.link:
                wrong.append(f"{path} is no link to {entry.link}")
        elif entry.digest and (not place.is_file() or _digest(place) != entry.digest):
            wrong.append(f"{path} is missing or other")
    if wrong:
        raise StorageError(f"{target} differs: {'; '.join(wrong[:10])}.")


def open_file(manifest: Manifest, blobs: Blobs, path: str) -> BinaryIO:
    """Open one file of a version for reading, without writing it anywhere.

    Raises:
        UsageError: There is no such file, or it is a link or a reference.
    """
    entry = manifest.entries.get(path)
    if entry is None or entry.link is not None or entry.reference is not None:
        raise UsageError(f"the artifact has no file {path!r} whose bytes are kept.")
    blobs.fetch({part.blob for part in entry.parts})
    return io.BytesIO(b"".join(blobs.read(part.blob)[part.offset : part.offset + part.length] for part in entry.parts))


def _digest(path: Path) -> str:
    digest = new_digest()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
