"""What all media have in common: a snapshot when they are made, an encoding later, a reference in the row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from .. import exits
from ..values import Reference, Unstorable
from .held import Held


class Blobs(Protocol):
    """Where encoded bytes go; `core.blobs.FolderBlobs` is one."""

    def put(
        self, source: BinaryIO | bytes | memoryview, digest: str | None = None, *, compress: bool | None = None
    ) -> str:
        """Keep bytes; answer their digest."""

    def put_file(self, path: Path, digest: str | None = None, *, move: bool = False) -> str:
        """Keep a file's bytes; answer their digest."""

    def draft(self) -> Path:
        """Answer an empty file, for `put_file(..., move=True)`."""


class Encodable(ABC):
    """A snapshot: whatever its user does to his own objects does not change it any more.

    `encode` runs on a thread of ours, once or several times, and may take its time.
    """

    # What is to be said of it though it is kept, as "has 3 values that are NaN", known when it has been encoded.
    notes: Sequence[str] = ()

    def held(self) -> Iterable[Held]:
        """Answer the bytes that it keeps in memory, so that they can wait on disk instead."""
        return ()

    def digests(self) -> Iterable[str]:
        """Answer the blobs it has put besides those that its reference names: the media in the cells of a table."""
        return ()

    @abstractmethod
    def encode(self, blobs: Blobs) -> Reference:
        """Put the bytes where they are kept; answer what stands for them in the row.

        Raises:
            Unstorable: The input turns out to be broken; the text says why, to be read behind the key.
        """


class Media(ABC):
    """A value of a row that is more than a number.

    Making one takes the snapshot, and never raises: what is wrong with the input is said when it is logged, because
    only then its name is known.
    """

    _is_media = True  # what the encoder's hook looks for
    _type: ClassVar[str]  # as in the row, and as in W&B: "image-file"

    _taken: Encodable | Reference | None = None
    _fault: str | None = None

    def _take(self, take: Callable[[], Encodable | Reference]) -> None:
        """Take the snapshot, or note what is in its way."""
        try:
            self._taken = take()
        except Unstorable as error:
            self._fault = str(error)
        except Exception as error:  # whatever a value's own methods may raise
            if exits.is_from_handler(error):
                raise
            self._fault = f"could not be read ({type(error).__name__}: {error})"

    def snapshot(self) -> Encodable | Reference:
        """Answer it as it is now, to be encoded later; a `Reference` where there is nothing to encode.

        Raises:
            Unstorable: The input is broken; the text says why, to be read behind the key.
        """
        if self._fault is not None:
            raise Unstorable(self._fault)
        if self._taken is None:
            raise Unstorable(f"is a {type(self).__name__} without content")
        return self._taken

    def __repr__(self) -> str:
        state = f" broken: {self._fault}" if self._fault else ""
        return f"<{type(self).__name__}{state}>"


def digests_in(value: Any) -> Iterator[str]:
    """Walk the digests of all blobs that a value refers to: `digest`, or `parts` where the bytes are in several."""
    if isinstance(value, dict):
        parts = value.get("parts")
        if isinstance(parts, Sequence):
            yield from (part[0] for part in parts)
        elif isinstance(value.get("digest"), str):
            yield value["digest"]
        for item in value.values():
            if isinstance(item, (dict, list)):
                yield from digests_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from digests_in(item)
