"""Parts of one version that several processes give, until one of them says that all are there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import StorageError
from ..names import to_folder
from .version import Draft, is_digest

_FOLDER = ".shares"


class Shares:
    """Keeps the manifests of parts, by the name that their processes have agreed upon.

    Args:
        folder: That of the catalogue.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER

    def add(self, draft: Draft, share: str, token: str, manifest: str) -> None:
        """Keep a part; the same token again replaces it.

        Raises:
            StorageError: The folder cannot be written.
        """
        folder = self._place(draft, share)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f".draft-{os.getpid()}-{os.urandom(4).hex()}"
            path.write_text(manifest)
            os.replace(path, folder / to_folder(token))
        except OSError as error:
            raise StorageError(f"a part of {draft.name!r} cannot be kept in {folder}: {error}.") from error

    def parts(self, draft: Draft, share: str) -> list[str]:
        """Answer the manifests of all parts, the oldest first."""
        return _digests(self._place(draft, share))

    def forget(self, draft: Draft, share: str) -> None:
        """Let the parts go."""
        shutil.rmtree(self._place(draft, share), ignore_errors=True)

    def every(self) -> Iterator[tuple[Path, list[str]]]:
        """Walk all shares that no version has come of yet: folder, and manifests."""
        for folder in self._folder.glob("*/*/*/*"):
            yield folder, _digests(folder)

    def _place(self, draft: Draft, share: str) -> Path:
        names = (draft.entity, draft.project, draft.name, share)
        return self._folder.joinpath(*(to_folder(name) for name in names))


def _digests(folder: Path) -> list[str]:
    found = []
    try:
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
        for path in sorted(files, key=lambda each: (each.stat().st_mtime_ns, each.name)):
            digest = path.read_text(errors="replace").strip()
            if len(digest) == 64 and is_digest(digest):
                found.append(digest)
    except OSError:  # none, or let go meanwhile
        return found
    return found
