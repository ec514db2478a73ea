"""The files of an artifact, as its user sees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec import structs

from ..errors import UsageError
from .manifest import Entry, check_path

if TYPE_CHECKING:
    from .artifact import Artifact


class ArtifactFile:
    """One file of an artifact.

    Args:
        artifact: Whose.
        entry: What is known of it.
    """

    def __init__(self, artifact: Artifact, entry: Entry) -> None:
        self._artifact = artifact
        self.entry = entry

    @property
    def path(self) -> str:
        """The path within the artifact."""
        return self.entry.path

    @property
    def name(self) -> str:
        """The same as `path`."""
        return self.entry.path

    @property
    def size(self) -> int:
        """Bytes."""
        return self.entry.size

    @property
    def digest(self) -> str:
        """BLAKE3 of the bytes, in hex; empty where they are not ours to know, or not hashed yet."""
        return self.entry.digest

    @property
    def ref(self) -> str | None:
        """The address that a reference stands for; None for a file that is kept."""
        return None if self.entry.reference is None else self.entry.reference.uri

    def ref_target(self) -> str:
        """Answer the address that a reference stands for.

        Raises:
            UsageError: It is no reference.
        """
        if self.ref is None:
            raise UsageError(f"{self.path!r} is kept in the artifact; it refers to nothing.")
        return self.ref

    def ref_url(self) -> str:
        """Answer what `ref_target` answers, as in W&B."""
        return self.ref_target()

    def open(self) -> BinaryIO:
        """Open the file for reading, without writing it anywhere."""
        from .restoring import open_file

        return open_file(self._artifact.manifest, self._artifact._of_place().blobs, self.path)

    def download(self, root: str | Path | None = None, skip_cache: bool | None = None) -> str:
        """Write the file below `root`, or below the artifact's own folder; answer its path."""
        folder = self._artifact.download(root, path_prefix=self.path)
        return str(Path(folder) / self.path)

    def artifact_entry(self, name: str | None = None) -> Entry:
        """Answer the entry by which another artifact has the same file, its bytes kept once.

        Raises:
            UsageError: The artifact it is of is not logged yet: its bytes are nowhere.
        """
        if self._artifact.is_draft():
            raise UsageError(f"{self.path!r} is of an artifact that is not logged yet; log that one first.")
        entry = self._artifact.manifest.entries[self.path]
        return structs.replace(entry, path=check_path(name or self.path))

    def __repr__(self) -> str:
        return f"<ArtifactFile {self.path} {self.size:,} bytes>"
