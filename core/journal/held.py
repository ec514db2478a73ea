"""Frames the disk has refused: held in memory, bounded, and counted where even that is full."""

from __future__ import annotations

from collections import deque

from ..limits import MAX_HELD_RECORDS_BYTES


class Held:
    """Frames that wait for the disk, oldest first."""

    def __init__(self, limit_bytes: int = MAX_HELD_RECORDS_BYTES) -> None:
        self.frames: deque[bytes] = deque()
        self.bytes = 0
        self.lost = 0  # frames that could not even be held, since this was last taken
        self.is_refused = False  # the user was told that the disk refuses
        self._limit_bytes = limit_bytes

    def __len__(self) -> int:
        """Answer how many wait."""
        return len(self.frames)

    def add(self, frame: bytes) -> bool:
        """Hold a frame; False where there is no room for it."""
        if self.bytes + len(frame) > self._limit_bytes:
            self.lost += 1
            return False
        self.frames.append(frame)
        self.bytes += len(frame)
        return True

    def drop_first(self) -> None:
        """Forget the oldest frame: it is written."""
        self.bytes -= len(self.frames.popleft())

    def give_up(self) -> int:
        """Forget all, and answer how many records are lost with those that could not be held."""
        lost = self.lost + len(self.frames)
        self.frames.clear()
        self.bytes = self.lost = 0
        return lost
