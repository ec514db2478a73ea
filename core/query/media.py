"""Media of a run, read back: what their rows say of them, and their bytes."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import MissingFramework, StorageError, UsageError
from ..names import to_folder
from ..paths import RunPath
from ..values import Reference

if TYPE_CHECKING:
    from .source import Source


class MediaFile:
    """One medium of a run, as `run.media(key)` answers it.

    Args:
        source: Where it comes from.
        path: The run.
        reference: What the row says of it.
        key: The name it was logged under.
        step: Where it was logged.
        index: Its place in the list that was logged; None where it was logged by itself.
    """

    def __init__(
        self,
        source: Source,
        path: RunPath,
        reference: Mapping[str, Any],
        key: str | None = None,
        step: int | float | None = None,
        index: int | None = None,
    ) -> None:
        self._source = source
        self._path = path
        self.reference = Reference(reference)
        self.key = key
        self.step = step
        self.index = index

    @property
    def type(self) -> str:
        """As in W&B: "image-file", "audio-file", "histogram", ..."""
        return str(self.reference["_type"])

    @property
    def format(self) -> str | None:
        """As file names end: "png", "wav", ..."""
        return self.reference.get("format")

    @property
    def caption(self) -> str | None:
        """The words under it."""
        return self.reference.get("caption")

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.reference.get("size", 0))

    @property
    def name(self) -> str:
        """What `download` calls it: its key, step and place."""
        parts = [to_folder(self.key or self.type)]
        parts += [str(part) for part in (self.step, self.index) if part is not None]
        return f"{'_'.join(parts)}.{_ending(self.format)}"

    def read(self) -> bytes:
        """Answer its bytes, checked against their digest.

        Raises:
            UsageError: It has none: all there is stands in its `reference`, as with a histogram.
            StorageError: They are not there, or are others.
        """
        return b"".join(self._pieces())

    def open(self) -> BinaryIO:
        """Answer its bytes as an open file; see `read`."""
        return io.BytesIO(self.read())

    def download(self, root: str | os.PathLike[str] = ".", replace: bool = False) -> Path:
        """Write it into a folder, under its `name`; it appears there whole, or not at all.

        Args:
            root: The folder.
            replace: Write over a file that is there.

        Raises:
            UsageError: A file is there, and is to stay; or it has no bytes.
            StorageError: The bytes are not there, or are others.
        """
        place = Path(root) / self.name
        if os.path.lexists(place) and not replace:
            raise UsageError(f"{place} is there already. Pass replace=True to write over it.")
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=place.parent, prefix=".tracker-")
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in self._pieces():
                    file.write(piece)
            os.replace(draft, place)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        return place

    def to_pil(self) -> Any:
        """Answer an image as one of Pillow's.

        Raises:
            MissingFramework: Pillow is not installed.
        """
        try:
            from PIL import Image
        except ImportError as error:
            raise MissingFramework("Pillow is needed for this. Install it: pip install pillow") from error
        return Image.open(self.open())

    @property
    def thumbnail(self) -> MediaFile | None:
        """The small picture of a large image, or of a video's first frame; None where there is none."""
        return self._part(self.reference.get("thumb"))

    @property
    def masks(self) -> dict[str, MediaFile]:
        """The masks over an image: grey PNGs, whose values are the numbers of classes."""
        found = {name: self._part(mask) for name, mask in self.reference.get("masks", {}).items()}
        return {name: mask for name, mask in found.items() if mask is not None}

    @property
    def boxes(self) -> dict[str, list[dict[str, Any]]]:
        """The boxes over an image, by group, in W&B's structure."""
        return {name: self._items(group, "box_data") for name, group in self.reference.get("boxes", {}).items()}

    def _items(self, group: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        if name in group:
            return list(group[name])
        import json

        part = self._part(group)
        return [] if part is None else list(json.loads(part.read()))

    def _part(self, reference: Mapping[str, Any] | None) -> MediaFile | None:
        if reference is None:
            return None
        known = {"_type": "image-file", **reference}
        return MediaFile(self._source, self._path, known, self.key, self.step, self.index)

    def _pieces(self) -> Iterator[bytes]:
        from ..blobs import new_digest

        if self.type == "text" and "text" in self.reference:
            yield str(self.reference["text"]).encode()
            return
        if "digest" not in self.reference:
            raise UsageError(f"a {self.type} has no bytes; all there is of it stands in its reference.")
        digest = new_digest()
        for part in self.reference.get("parts") or [[self.reference["digest"]]]:
            for piece in self._source.blob(self._path, part[0]):
                digest.update(piece)
                yield piece
        if digest.hexdigest() != self.reference["digest"]:
            raise StorageError(
                f"the bytes of {self.key or self.type!r} of run {self._path} are others than were kept: they are "
                "damaged, or not all of them have arrived. Try again, or see `tracker doctor`."
            )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Answer what a notebook shows: the picture itself, where it is one."""
        kinds = {"png": "image/png", "jpg": "image/jpeg", "gif": "image/gif"}
        kind = kinds.get(self.format or "")
        return {kind: self.read()} if kind else {"text/plain": repr(self)}

    def __repr__(self) -> str:
        at = "" if self.key is None else f" {self.key!r} at step {self.step}"
        size = f"{self.reference['width']}×{self.reference['height']} " if "width" in self.reference else ""
        return f"<{self.type}{at}: {size}{self.format or ''} {self.size:,} bytes>"


def walk(
    source: Source, path: RunPath, rows: Iterator[dict[str, Any]], key: str, step_name: str
) -> Iterator[MediaFile]:
    """Walk the media under a key, step by step, lists item by item; other values are passed over."""
    for row in rows:
        value = row.get(key)
        several = isinstance(value, list)
        for index, one in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(one, Mapping) and "_type" in one:
                yield MediaFile(source, path, one, key, row[step_name], index if several else None)


def _ending(format: str | None) -> str:
    """Answer a format as a file name may end, whatever a server says it is."""
    known = {"text": "txt", "markdown": "md"}.get(format or "", format or "bin")
    return known if known.replace(".", "").isalnum() else "bin"
