"""Reading a stream back: whole, from a sequence number on, or followed while it is written.

A reader never writes and never locks. It keeps one cursor, the last sequence number it has seen; where in the files
that was is only a hint, since a closed segment may be replaced by its sealed form at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

from ..errors import FormatError
from ..record import Control, Kind, decode_control
from .block import Block, Packer
from .frame import HEADER, MAGIC, OVERHEAD_BYTES, SEGMENT, Frame, scan, segment_start, seq_of

OPEN_SUFFIX = ".seg"
SEALED_SUFFIX = ".blk"
_WINDOW_BYTES = 1 << 20
_MAX_LISTINGS = 100
_UNKNOWN_SEQ = 2**63

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
        for _ in range(_MAX_LISTINGS):
            try:
                yield from self._walk(is_final)
            except FileNotFoundError:  # sealed or removed since it was listed: list again
                self._hint = None
            else:
                return

    def _walk(self, is_final: bool) -> Iterator[Frame]:
        files = segment_files(self.folder)
        known = self._hint[0] if self._hint else None
        files = list(dropwhile(lambda file: file.path != known, files)) or files
        # Asked before anything is read: a segment is complete once the one behind it has begun. (That one may be there
        # and empty: made ready, or left over.)
        begun = [_first_seq(file.path) for file in files]
        last = max((index for index, seq in enumerate(begun) if seq), default=-1)
        previous: Path | None = None
        for index in range(_start(begun, self.cursor), len(files) if is_final else last + 1):
            path = files[index].path
            offset = self._hint[1] if self._hint and self._hint[0] == path else 0
            for frame, end in _frames_of(path, offset, is_final or index < last, self.cursor):
                if previous is not None and frame.seq > self.cursor + 1:
                    # The previous segment was the newest when it was listed, and has grown since it was read.
                    yield from self._new(late for late, _ in _frames_of(previous, 0, True))
                previous = None
                self._hint = (path, end)
                yield from self._new((frame,))
            previous = path

    def _new(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if frame.last_seq > self.cursor:
                self.cursor = frame.last_seq
                yield frame

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
    packer = Packer(seq + 1)
    for frame in frames:
        if frame.last_seq <= seq:
            continue
        is_row = frame.kind == Kind.ROW
        if frame.seq > seq + 1 or not (is_row and packer.takes(frame.payload)):
            yield from _packed(packer)
            packer = Packer(frame.seq)
        if frame.seq > seq + 1:
            yield _lost(seq + 1, frame.seq - 1, "damaged on disk")
        if is_row and frame.records == 1:
            packer.add(frame.payload)
        elif is_row:
            yield _lost(max(frame.seq, seq + 1), frame.last_seq, "rows in one frame that is no block")
        elif frame.kind == Kind.BLOCK:
            yield Block.from_frame(frame).after(seq)
        else:
            yield decode_control(frame.kind, frame.last_seq, frame.payload) or Control(
                frame.kind, frame.last_seq, 0, {}
            )
        seq = frame.last_seq
        if not packer.rows:
            packer = Packer(seq + 1)
    yield from _packed(packer)


def _packed(packer: Packer) -> Iterator[Entry]:
    for block in packer.blocks():
        if isinstance(block, Block):
            yield block
        else:  # one row holds what no row should: only it is lost
            yield _lost(block[0], block[0], "unreadable row")


def _lost(first: int, last: int, reason: str) -> Control:
    body = {"count": last - first + 1, "reason": reason, "first_seq": first, "last_seq": last}
    return Control(Kind.LOST, last, 0, body)


def _first_seq(path: Path) -> int:
    """Answer the number that the first frame of a segment tells, 0 where there is no frame."""
    with open(path, "rb", buffering=0) as file:
        data = file.read(SEGMENT.size + HEADER.size)
    try:
        start = segment_start(data)
    except FormatError:  # to be met, and told, where it is read
        return _UNKNOWN_SEQ
    if data[start : start + len(MAGIC)] == MAGIC and len(data) >= start + HEADER.size:
        return seq_of(data[start:])
    return _UNKNOWN_SEQ if any(data[start:]) else 0  # damaged, or half written


def _start(begun: list[int], cursor: int) -> int:
    """Answer the index of the file that holds what comes behind the cursor, or of one before it."""
    start = highest = 0
    for index, seq in enumerate(begun):
        if highest <= seq <= cursor + 1:  # a lower one than before is a damaged one
            start = index
        highest = max(highest, seq)
    return start


def _frames_of(path: Path, offset: int, is_final: bool, last: int = 0) -> Iterator[tuple[Frame, int]]:
    """Walk the frames of a segment behind an offset and a number, each with the offset to go on from afterwards."""
    found = _found_in(path, offset, is_final)
    for frame, end in found:
        if last and frame.seq > last + 1:
            # Damage. A piece of the file may also lie in the wrong place: by their numbers all find theirs.
            rest = sorted([(frame, end), *found], key=lambda pair: pair[0].seq)
            yield from ((other, offset) for other, _ in rest[:-1])
            yield rest[-1][0], max(end for _, end in rest)
            return
        yield frame, end
        last, offset = frame.last_seq, end


def _found_in(path: Path, offset: int, is_final: bool) -> Iterator[tuple[Frame, int]]:
    with open(path, "rb", buffering=0) as file:
        if offset == 0:
            offset = segment_start(file.read(SEGMENT.size))
        window = _WINDOW_BYTES
        doubted = -1
        while True:
            file.seek(offset)
            if not is_final and file.read(len(MAGIC)) in (b"", bytes(len(MAGIC))):
                return  # nothing more yet; the usual answer when a live stream is asked again
            file.seek(offset)
            data = file.read(window)
            whole = 0
            is_sure = True
            for frame in scan(data):
                begin = frame.end - OVERHEAD_BYTES - len(frame.payload)
                if begin != whole and doubted != offset + whole:
                    # Damage; or a frame that was being written while we read, and is whole now that a later one was
                    # there: look once more.
                    doubted = offset + whole
                    is_sure = False
                    break
                whole = frame.end
                yield frame, offset + whole
            if whole:
                offset += whole
                window = _WINDOW_BYTES
            elif is_sure:
                if len(data) < window:
                    return
                window *= 4  # a frame longer than the window, or a damaged stretch


def read_entries(run_stream: Path) -> Iterator[Entry]:
    """Read a whole stream once.

    Raises:
        FormatError: A segment is of a newer format.
    """
    return StreamReader(run_stream).entries()


__all__ = ["Entry", "FormatError", "SegmentFile", "StreamReader", "entries", "read_entries", "segment_files"]
