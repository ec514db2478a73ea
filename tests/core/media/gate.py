"""A medium whose encoding waits until it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from tracker.core.media.base import Blobs, Encodable, Media
from tracker.core.media.held import Held
from tracker.core.values import Reference, Unstorable


class Gate(Media):
    """A medium whose encoding waits until the gate is opened."""

    _type = "text"

    def __init__(self, data: bytes, is_open: threading.Event | None = None, fault: str | None = None) -> None:
        self._take(lambda: _Gated(data, is_open, fault))


class _Gated(Encodable):
    def __init__(self, data: bytes, is_open: threading.Event | None, fault: str | None) -> None:
        self.data = Held(data)
        self.is_open = is_open
        self.fault = fault

    def held(self) -> Iterable[Held]:
        return (self.data,)

    def encode(self, blobs: Blobs) -> Reference:
        if self.is_open is not None:
            assert self.is_open.wait(60)
        if self.fault:
            raise Unstorable(self.fault)
        return Reference(_type="text", digest=blobs.put(self.data.read()), size=self.data.size)
