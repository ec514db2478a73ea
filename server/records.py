"""Frames into records, whatever the frames hold: one that cannot be unpacked is counted as lost, the rest goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

from ..core.errors import FormatError
from ..core.journal import Block, Entry, Frame, entries
from ..core.journal.frame import ZSTD
from ..core.record import Control, Kind
from .limits import MAX_UNFOLDED_BYTES

if sys.version_info >= (3, 14):  # pragma: no cover - one of the two, by version
    from compression import zstd
else:
    from backports import zstd

_FOREIGN = (FormatError, ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError, MemoryError)


def records(frames: Iterable[Frame], after: int, *, most_bytes: int = MAX_UNFOLDED_BYTES) -> Iterator[Entry]:
    """Turn frames into blocks of rows and control records, contiguous from `after` on. Raises for no content.

    Args:
        frames: In order; what is known already is passed over, a gap becomes a LOST record.
        after: The last sequence number known.
        most_bytes: What all blocks together may unfold to; those beyond count as lost.
    """
    seq = after
    plain: list[Frame] = []  # rows and control records since the last block
    for frame in frames:
        if frame.kind != Kind.BLOCK:
            plain.append(frame)
            if len(plain) == 4096:
                for entry in _entries(plain, seq):
                    yield entry
                    seq = last_seq(entry)
                plain = []
            continue
        for entry in _entries(plain, seq):
            yield entry
            seq = last_seq(entry)
        plain = []
        if frame.last_seq <= seq:
            continue
        if frame.seq > seq + 1:
            yield lost(seq + 1, frame.seq - 1, "damaged on disk")
            seq = frame.seq - 1
        most_bytes -= _unfolds_to(frame)
        if most_bytes < 0:
            yield lost(seq + 1, frame.last_seq, "the blocks of one request unfold to too many bytes")
        else:
            try:
                yield Block.from_frame(frame).after(seq)
            except _FOREIGN as error:
                yield lost(seq + 1, frame.last_seq, f"a block cannot be unpacked ({type(error).__name__})")
        seq = frame.last_seq
    yield from _entries(plain, seq)


def last_seq(entry: Entry) -> int:
    """Answer the number of the last record in an entry."""
    return entry.last_seq if isinstance(entry, Block) else entry.seq


def lost(first: int, last: int, reason: str) -> Control:
    """Make the record of what cannot be had."""
    body = {"count": last - first + 1, "reason": reason, "first_seq": first, "last_seq": last}
    return Control(Kind.LOST, last, time.time_ns(), body)


def _entries(frames: list[Frame], after: int) -> Iterator[Entry]:
    seq = after
    try:
        for entry in entries(frames, after):
            if isinstance(entry, Control) and not 0 <= entry.time_ns < 2**63:
                yield lost(entry.seq, entry.seq, "a record's time is none that can be stored")
            else:
                yield entry
            seq = last_seq(entry)
        return
    except _FOREIGN:
        pass
    for frame in frames:  # one of them holds what none should: only that one is lost
        if frame.last_seq <= seq:
            continue
        try:
            found = list(entries([frame], seq))
        except _FOREIGN as error:
            found = [lost(seq + 1, frame.last_seq, f"a record cannot be read ({type(error).__name__})")]
        yield from found
        seq = frame.last_seq


def _unfolds_to(frame: Frame) -> int:
    if not frame.flags & ZSTD:
        return len(frame.payload)
    try:
        return zstd.get_frame_info(frame.payload).decompressed_size or 0
    except (zstd.ZstdError, ValueError):
        return 0  # no zstd at all: unpacking says so
