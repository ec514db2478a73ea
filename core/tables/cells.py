"""Media in the cells of a table: as they were when they were made, and stored once for each place."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from ..media.base import digests_in
from ..values import Unstorable, is_media

if TYPE_CHECKING:
    from ..media.base import Blobs
    from ..media.held import Held

_encoder = msgspec.json.Encoder()
_decode = msgspec.json.decode


class MediaCell:
    """An image, a sound, or a list of such, in a cell.

    Args:
        media: What the user put there.
    """

    __slots__ = ("_lock", "_stored", "media")

    def __init__(self, media: Any) -> None:
        self.media = media
        self._stored: tuple[Any, str | None] | None = None
        self._lock = threading.Lock()

    def store(self, blobs: Blobs) -> str | None:
        """Answer the reference as JSON; the bytes are encoded and kept the first time it is asked for.

        Raises:
            Unstorable: The media is broken; the text says why.
        """
        with self._lock:
            if self._stored is None or self._stored[0] is not blobs:
                if isinstance(self.media, list):
                    text = _encoder.encode([_reference(item, blobs) for item in self.media]).decode()
                else:
                    text = _encoder.encode(_reference(self.media, blobs)).decode()
                self._stored = (blobs, text)
            return self._stored[1]

    def digests(self) -> Iterable[str]:
        """Answer the blobs that hold it, once it is stored."""
        if self._stored is None or self._stored[1] is None:
            return ()
        return digests_in(_decode(self._stored[1]))

    def held(self) -> Iterable[Held]:
        """Answer what the media keeps in memory, so that it can wait on disk."""
        if self._stored is not None:
            return
        for item in self.media if isinstance(self.media, list) else [self.media]:
            try:
                taken = item.snapshot()
            except Unstorable:  # said when it is stored
                continue
            if hasattr(taken, "held"):
                yield from taken.held()


def cell_of(value: Any) -> MediaCell | None:
    """Answer the cell for media, or for a list of media; None where it is something else."""
    if _fits(value):
        return MediaCell(_as_media(value))
    if isinstance(value, (list, tuple)) and value and all(map(_fits, value)):
        return MediaCell([_as_media(item) for item in value])
    return None


def _fits(value: Any) -> bool:
    return is_media(value) and not getattr(value, "_is_table", False)


def _as_media(value: Any) -> Any:
    if getattr(value, "_is_media", False):
        return value
    from ..media.split import as_media  # an image or a figure of another library

    return as_media(value)


def _reference(media: Any, blobs: Blobs) -> Any:
    taken = media.snapshot()
    return dict(taken.encode(blobs) if hasattr(taken, "encode") else taken)
