"""Following one run's folder: which of its streams have grown, and what is new in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path

from ...core.journal import StreamReader
from ...core.paths import RunPath, streams
from ..records import records
from .taking import Applies, Taken, batches, take

Signature = tuple[tuple[str, int, int, int], ...]


class FollowedStream:
    """One stream of a run that is being read.

    Args:
        folder: The stream's folder.
        after: What the index has of it.
    """

    def __init__(self, folder: Path, after: int) -> None:
        self.reader = StreamReader(folder, after)
        self.is_read_from_start = after == 0
        self.has_ended = False
        self.is_of_run = False  # written by whoever trains; an edit made afterwards is not

    def go_back(self, seq: int) -> None:
        """Read again from behind `seq`: what came after it was not stored."""
        self.reader = StreamReader(self.reader.folder, seq)


class FollowedRun:
    """A run that is being read: a live one, or one that the index does not have yet.

    Args:
        path: Which run.
        folder: Where.
        cursor: Answers what the index has of a stream.
    """

    def __init__(self, path: RunPath, folder: Path, cursor: Callable[[RunPath, str], int]) -> None:
        self.path = path
        self.folder = folder
        self.streams: dict[str, FollowedStream] = {}
        self._cursor = cursor

    def read(self, ingest: Applies, *, is_final: bool = False) -> Generator[Taken, None, None]:
        """Take in what is new, a batch at a time; whoever walks this decides when to go on.

        Args:
            ingest: Takes the records.
            is_final: No stream of the run is being written: search also behind what looks like the end.

        Raises:
            StoreTroubleError: The store does not serve now.
            StorageError: A stream is of a newer format.
            OSError: A file cannot be read.
        """
        for folder in streams(self.folder):
            stream = self.streams.get(folder.name)
            if stream is None:
                stream = FollowedStream(folder, self._cursor(self.path, folder.name))
                self.streams[folder.name] = stream
            yield from self._read_stream(folder.name, stream, ingest, is_final or stream.has_ended)

    def _read_stream(
        self, name: str, stream: FollowedStream, ingest: Applies, is_final: bool
    ) -> Generator[Taken, None, None]:
        stored = stream.reader.cursor
        is_done = False
        try:
            for batch in batches(records(stream.reader.frames(is_final=is_final), stored)):
                taken = take(ingest, self.path, name, batch)
                stored = taken.acked
                stream.has_ended |= taken.has_ended
                stream.is_of_run |= taken.is_sign_of_life
                yield taken
            is_done = True
        finally:
            # The reader runs ahead of the store by what a batch holds; after a fault it goes back.
            if not is_done or stream.reader.cursor > stored:
                stream.go_back(stored)

    @property
    def has_ended(self) -> bool | None:
        """Whether all its processes said goodbye; None where the streams read so far cannot tell."""
        of_run = [stream for stream in self.streams.values() if stream.is_of_run]
        if of_run and all(stream.has_ended for stream in of_run):
            unread = [stream for stream in self.streams.values() if not stream.is_read_from_start]
            return True if not unread else None
        return None

    @property
    def cursors(self) -> dict[str, int]:
        """What was read, by stream."""
        return {name: stream.reader.cursor for name, stream in self.streams.items()}


def signature(folder: Path) -> Signature:
    """Answer what changes when any stream of a run grows: names, sizes and times of the newest segments."""
    found = []
    for stream in streams(folder):
        try:
            with os.scandir(stream) as entries:
                segments = [entry for entry in entries if entry.name.endswith((".seg", ".blk"))]
            if segments:
                newest = max(segments, key=lambda entry: entry.name)
                stat = newest.stat()
                found.append((f"{stream.name}/{newest.name}", len(segments), stat.st_size, stat.st_mtime_ns))
        except OSError:
            continue
    return tuple(found)
