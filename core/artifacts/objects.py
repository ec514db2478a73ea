"""Media and tables in an artifact: their bytes as files, and beside them a small JSON that says what they are."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..blobs import FolderBlobs
from ..errors import FormatError, MissingFramework, UsageError
from ..media.base import Blobs, Encodable, Media, digests_in
from ..names import to_folder
from ..values import Reference, Unstorable
from .manifest import Entry, Part, check_path
from .restoring import open_file

if TYPE_CHECKING:
    from ..tables import Table
    from .artifact import Artifact

_FOLDER = "media"
_ENDING = ".tracker.json"
_MAX_BYTES = 64 << 20


def store_object(thing: Any, name: str, store: FolderBlobs) -> tuple[bytes, list[Entry]]:
    """Keep the bytes of a medium or a table.

    Args:
        thing: A `Media`.
        name: The path it goes under.
        store: Where.

    Returns:
        What is written beside it, and an entry for each file.

    Raises:
        UsageError: It is neither, or broken; the message says why.
        StorageError: The disk is full.
    """
    check_path(name)
    if not isinstance(thing, Media):
        raise UsageError(f"add() takes media and tables, got a {type(thing).__name__}; files go in by add_file.")
    try:
        taken = thing.frame() if hasattr(thing, "frame") else thing.snapshot()  # all rows of a table
        reference = taken.encode(store) if isinstance(taken, Encodable) else taken
    except Unstorable as error:
        raise UsageError(f"{name!r} cannot be kept: it {error}.") from error
    digests = dict.fromkeys(digests_in(reference))
    if isinstance(taken, Encodable):
        digests.update(dict.fromkeys(taken.digests()))
    ending = str(reference.get("format") or "bin")
    entries = []
    for digest in digests:
        size = store.size(digest)
        parts = (Part(digest, 0, size),) if size else ()
        entries.append(Entry(f"{_FOLDER}/{digest[:24]}.{to_folder(ending)}", size, digest, parts))
    return json.dumps({"version": 1, "object": dict(reference)}, allow_nan=True).encode(), entries


def described_by(name: str) -> str:
    """Answer the path of what is written beside an object."""
    return f"{name}{_ENDING}"


def read_object(artifact: Artifact, name: str) -> Any:
    """Answer the medium or the table that was added under a name; None where there is none.

    Raises:
        FormatError: What stands beside it is not of ours.
    """
    manifest, blobs = artifact.manifest, artifact._of_place().blobs
    entry = manifest.entries.get(described_by(name)) or manifest.entries.get(name)
    if entry is None or not entry.path.endswith(_ENDING) or entry.size > _MAX_BYTES:
        return None
    try:
        body = json.loads(open_file(manifest, blobs, entry.path).read())
        reference = Reference(body["object"])
        kind = reference["_type"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{entry.path!r} says nothing of a medium or a table: {error}.") from error

    def read(digest: str) -> bytes:
        blobs.fetch([digest])
        return blobs.read(digest)

    return _table(reference, read) if kind == "table-file" else StoredMedia(reference, read)


class StoredMedia(Media):
    """A medium of an artifact. It can be logged, or put into a table, as any other.

    Args:
        reference: What is known of it: `_type`, `format`, `size`, `caption`, ...
        read: Answers the bytes of a digest.
    """

    def __init__(self, reference: Reference, read: Callable[[str], bytes]) -> None:
        self.reference = reference
        self._read = read
        self._take(lambda: _Copy(reference, read))

    @property
    def type(self) -> str:
        """As in W&B: "image-file", "audio-file", ..."""
        return str(self.reference["_type"])

    @property
    def format(self) -> str | None:
        """As file names end: "png", "wav", ..."""
        return self.reference.get("format")

    @property
    def caption(self) -> str | None:
        """The words under it."""
        return self.reference.get("caption")

    def read(self) -> bytes:
        """Answer its bytes.

        Raises:
            UsageError: It has none: all there is of it stands in its `reference`.
        """
        parts = [part[0] for part in self.reference.get("parts") or ()] or [self.reference.get("digest")]
        if parts[0] is None:
            raise UsageError(f"a {self.type} has no bytes; all there is of it stands in its reference.")
        return b"".join(self._read(str(digest)) for digest in parts)

    def to_pil(self) -> Any:
        """Answer an image as one of Pillow's.

        Raises:
            MissingFramework: Pillow is not installed.
        """
        try:
            from PIL import Image
        except ImportError as error:
            raise MissingFramework("Pillow is needed for this. Install it: pip install pillow") from error
        import io

        return Image.open(io.BytesIO(self.read()))

    def __repr__(self) -> str:
        return f"<{self.type} {self.format or ''} {int(self.reference.get('size', 0)):,} bytes>"


class _Copy(Encodable):
    """A medium whose bytes go from an artifact into a run."""

    def __init__(self, reference: Reference, read: Callable[[str], bytes]) -> None:
        self._reference = reference
        self._read = read

    def digests(self) -> Iterable[str]:
        """Answer the blobs it has."""
        return digests_in(self._reference)

    def encode(self, blobs: Blobs) -> Reference:
        """Put the bytes there; what stands for them stays the same."""
        for digest in digests_in(self._reference):
            blobs.put(self._read(digest), digest)
        return Reference(self._reference)


def _table(reference: Reference, read: Callable[[str], bytes]) -> Table:
    from ..tables.reading import read_table

    digests = [part[0] for part in reference.get("parts") or ()] or [reference.get("digest")]
    with tempfile.TemporaryDirectory(prefix="tracker-table-") as folder:
        paths = [Path(folder) / f"{number}.parquet" for number in range(len(digests))]
        for path, digest in zip(paths, digests, strict=True):
            path.write_bytes(read(str(digest)))
        return read_table(paths, lambda cell: StoredMedia(Reference(cell), read))
