"""Reading a stream back: whole, from a sequence number on, or followed while it is written.

A reader never writes and never locks. It keeps one cursor, the last sequence number it has seen; where in the files
that was is only a hint, since a closed segment may be replaced by its sealed form at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..errors import FormatError
from ..limits import BLOCK_ROWS
from ..record import Control, Kind, decode_control
from .block import Block
from .frame import HEADER, MAGIC, SEGMENT, Frame, scan, segment_start

OPEN_SUFFIX = ".seg"
SEALED_SUFFIX = ".blk"
_WINDOW_BYTES = 1 << 20

Entry = Block | Control


class SegmentFile(NamedTuple):
    """One segment on disk, in whichever form."""

    number: int
    path: Path

    @property
    def is_sealed(self) -> bool:
        """Whether its rows are packed in columns."""
        return self.path.suffix == SEALED_SUFFIX


def segment_files(folder: Path) -> list[SegmentFile]:
    """Answer the segments of a stream in order, each once; sealed where both forms are there."""
    found: dict[int, SegmentFile] = {}
    try:
        names = os.listdir(folder)
    except OSError:  # removed under us
        return []
    for name in sorted(names):  # .blk before .seg
        stem, dot, suffix = name.partition(".")
        if stem.isdigit() and dot + suffix in (OPEN_SUFFIX, SEALED_SUFFIX):
            found.setdefault(int(stem), SegmentFile(int(stem), folder / name))
    return [found[number] for number in sorted(found)]


class StreamReader:
    """Reads one stream, and goes on where it stopped.

    Args:
        folder: The stream's folder.
        after: The last sequence number already known.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        self.folder = folder
        self.cursor = after
        self._hint: tuple[Path, int] | None = None  # an open segment, and the offset behind the last frame seen in it

    def frames(self, *, is_final: bool = True) -> Iterator[Frame]:
        """Walk the frames behind the cursor, and move it.

        Args:
            is_final: Search also behind a stretch of zeros in the newest segment. False while following a live
                stream: there zeros are what is not written yet.

        Raises:
            FormatError: A segment is of a newer format.
        """
        files = segment_files(self.folder)
        start = 0
        if self._hint:
            start = next((index for index, file in enumerate(files) if file.path == self._hint[0]), -1)
            if start < 0:  # sealed meanwhile: find the place by sequence numbers, from the segment's sealed form on
                number = int(self._hint[0].stem)
                start = next((index for index, file in enumerate(files) if file.number >= number), len(files))
                self._hint = None
        for index in range(start, len(files)):
            path = files[index].path
            offset = self._hint[1] if self._hint and self._hint[0] == path else 0
            is_last = index == len(files) - 1
            try:
                for frame, end in _frames_of(path, offset, is_final or not is_last):
                    self._hint = (path, end)
                    if frame.last_seq > self.cursor:
                        self.cursor = frame.last_seq
                        yield frame
            except FileNotFoundError:  # sealed or removed between the listing and the opening; the next call finds it
                self._hint = None
                return

    def entries(self, *, is_final: bool = True) -> Iterator[Entry]:
        """Walk what is behind the cursor as blocks of rows and control records; see `entries`."""
        after = self.cursor
        return entries(self.frames(is_final=is_final), after)

    def tail(self) -> Iterator[Entry]:
        """Walk what a live stream has gained since the last call."""
        return self.entries(is_final=False)


def entries(frames: Iterable[Frame], after: int = 0) -> Iterator[Entry]:
    """Turn frames into blocks of rows and control records, contiguous from `after` on.

    What is already known is left out, and a gap in the sequence becomes a LOST record that spans it, so that a
    cursor that follows the entries' last numbers never skips silently.

    Raises:
        FormatError: A block cannot be unpacked.
    """
    seq = after
    rows: list[bytes] = []  # payloads of the ROW frames up to and with `seq`
    for frame in frames:
        if frame.last_seq <= seq:
            continue
        if frame.seq > seq + 1:
            if rows:
                yield from _pack(seq - len(rows) + 1, rows)
                rows = []
            yield _lost(seq + 1, frame.seq - 1, frame)
        if frame.kind == Kind.ROW:
            rows.append(frame.payload)
            seq = frame.last_seq
            if len(rows) == BLOCK_ROWS:
                yield from _pack(seq - len(rows) + 1, rows)
                rows = []
            continue
        if rows:
            yield from _pack(seq - len(rows) + 1, rows)
            rows = []
        if frame.kind == Kind.BLOCK:
            yield Block.from_frame(frame).after(seq)
        else:
            yield decode_control(frame.kind, frame.seq, frame.payload) or Control(frame.kind, frame.seq, 0, {})
        seq = frame.last_seq
    if rows:
        yield from _pack(seq - len(rows) + 1, rows)


def _pack(first_seq: int, rows: list[bytes]) -> Iterator[Entry]:
    try:
        yield Block.from_rows(first_seq, rows)
    except (msgspec.DecodeError, OverflowError, RecursionError):  # one row holds what no row should: only it is lost
        for seq, row in enumerate(rows, first_seq):
            try:
                yield Block.from_rows(seq, [row])
            except (msgspec.DecodeError, OverflowError, RecursionError) as error:
                yield Control(Kind.LOST, seq, 0, {"count": 1, "reason": f"unreadable row: {error}"})


def _lost(first: int, last: int, before: Frame) -> Control:
    body = {"count": last - first + 1, "reason": "damaged on disk", "first_seq": first, "last_seq": last}
    return Control(Kind.LOST, last, 0, body)


def _frames_of(path: Path, offset: int, is_final: bool) -> Iterator[tuple[Frame, int]]:
    with open(path, "rb", buffering=0) as file:
        if offset == 0:
            offset = segment_start(file.read(SEGMENT.size))
        window = _WINDOW_BYTES
        while True:
            file.seek(offset)
            if not is_final and file.read(len(MAGIC)) in (b"", bytes(len(MAGIC))):
                return  # nothing more yet; the usual answer when a live stream is asked again
            file.seek(offset)
            data = file.read(window)
            end = 0
            for frame in scan(data):
                end = frame.end
                yield frame, offset + end
            if end:
                offset += end
                window = _WINDOW_BYTES
            elif len(data) == window:  # a frame longer than the window, or a damaged stretch
                window *= 4
            else:
                return
            if len(data) < HEADER.size:
                return


def read_entries(run_stream: Path) -> Iterator[Entry]:
    """Read a whole stream once.

    Raises:
        FormatError: A segment is of a newer format.
    """
    return StreamReader(run_stream).entries()


__all__ = ["Entry", "FormatError", "SegmentFile", "StreamReader", "entries", "read_entries", "segment_files"]
