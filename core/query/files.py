"""A file of a run, read back: what is known of it, and its bytes."""

from __future__ import annotations

import datetime
import mimetypes
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import StorageError, UsageError
from ..files import NamedFile, place_of
from ..paths import RunPath

if TYPE_CHECKING:
    from .source import Source


class File:
    """A named file of a run, as `run.files()` answers it.

    Args:
        source: Where it comes from.
        path: The run.
        known: What is known of it.
    """

    def __init__(self, source: Source, path: RunPath, known: NamedFile) -> None:
        self._source = source
        self._path = path
        self._known = known

    @property
    def name(self) -> str:
        """With `/` between folders: "code/diff.patch"."""
        return self._known.name

    @property
    def size(self) -> int:
        """Bytes."""
        return self._known.size

    @property
    def digest(self) -> str:
        """BLAKE3 of the bytes, hex."""
        return self._known.digest

    @property
    def kind(self) -> str:
        """What it is for: "code", "environment", ..."""
        return self._known.kind

    @property
    def details(self) -> dict[str, Any]:
        """What else is known of it: "mode" as git writes it, "redacted" (secrets masked in it)."""
        return dict(self._known.more)

    @property
    def mimetype(self) -> str:
        """What its name says it is."""
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    @property
    def updated_at(self) -> str:
        """When it was kept: ISO 8601, UTC."""
        moment = datetime.datetime.fromtimestamp(self._known.time_ns / 1e9, datetime.timezone.utc)
        return moment.isoformat().replace("+00:00", "Z")

    @property
    def url(self) -> str | None:
        """Where the server has it, if there is one."""
        return self._source.file_url(self._path, self.name)

    def read(self) -> bytes:
        """Answer its bytes, checked against the digest.

        Raises:
            StorageError: They are not there, or are others.
        """
        return b"".join(self._pieces())

    def download(
        self, root: str | os.PathLike[str] = ".", replace: bool = False, exist_ok: bool = False, api: Any = None
    ) -> BinaryIO:
        """Write it into a folder, under its name; it appears there whole, or not at all.

        Args:
            root: The folder.
            replace: Write over a file that is there.
            exist_ok: Leave a file that is there as it is, and open it.
            api: Accepted as in W&B.

        Returns:
            The file, opened for reading bytes.

        Raises:
            UsageError: A file is there, and neither `replace` nor `exist_ok` was given.
            StorageError: The bytes are not there, or are others.
        """
        place = place_of(Path(root), self.name)
        if os.path.lexists(place) and not replace:
            if not exist_ok:
                raise UsageError(f"{place} is there already. Pass replace=True, or exist_ok=True to keep it.")
            return open(place, "rb")
        handle, draft = tempfile.mkstemp(dir=place.parent, prefix=".tracker-")
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in self._pieces():
                    file.write(piece)
            os.replace(draft, place)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        return open(place, "rb")

    def _pieces(self) -> Iterator[bytes]:
        from ..blobs import new_digest

        digest = new_digest()
        for piece in self._source.file(self._path, self._known):
            digest.update(piece)
            yield piece
        if digest.hexdigest() != self.digest:
            raise StorageError(
                f"the bytes of {self.name!r} of run {self._path} are others than were kept: they are damaged, or not "
                "all of them have arrived. Try again, or see `tracker doctor`."
            )

    def __repr__(self) -> str:
        return f"<File {self.name} {self.size:,} bytes>"
