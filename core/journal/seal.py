"""Sealing: a closed segment's rows are packed in columns, some six times smaller and much quicker to read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..limits import SEAL_SLICE_ROWS
from ..record import Kind
from .block import Block, Packer
from .frame import Frame, encode_frame, scan, segment_start
from .reader import SEALED_SUFFIX

_BREATH_SECONDS = 0.0005


def seal(segment: Path, breathe: Callable[[float], object] = time.sleep) -> Path:
    """Replace a closed segment by its sealed form, with the same records under the same numbers.

    The sealed form is whole and on disk before it gets its name, and the segment goes only then: a reader finds one or
    the other at any moment. Frames of unknown kinds are carried over as they are; damaged stretches are not.

    Args:
        segment: The closed segment.
        breathe: Called with seconds to wait between slices of work, so that the training thread gets its turn.

    Returns:
        The sealed file.

    Raises:
        OSError: It cannot be written; the segment stays as it is.
        FormatError: The segment is of a newer format.
    """
    data = segment.read_bytes()
    start = segment_start(data)
    target = segment.with_suffix(SEALED_SUFFIX)
    draft = target.with_suffix(".tmp")
    try:
        with open(draft, "wb") as file:
            file.write(data[:start])
            for frame in _packed(_slowly(scan(data, start), breathe)):
                file.write(frame)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    segment.unlink(missing_ok=True)
    return target


def _packed(frames: Iterable[Frame]) -> Iterator[bytes]:
    packer = Packer(0)
    for frame in frames:
        is_row = frame.kind == Kind.ROW and frame.records == 1
        if not (is_row and frame.seq == packer.next_seq and packer.takes(frame.payload)):
            yield from _written(packer)
            packer = Packer(frame.seq)
        if is_row:
            packer.add(frame.payload)
        else:
            yield encode_frame(frame.kind, frame.seq, frame.payload, frame.flags, frame.records)
    yield from _written(packer)


def _written(packer: Packer) -> Iterator[bytes]:
    for block in packer.blocks():
        if isinstance(block, Block):
            yield block.to_frame()
        else:  # no row of ours, but not ours to throw away either
            seq, payload = block
            yield encode_frame(Kind.ROW, seq, payload)


def _slowly(frames: Iterable[Frame], breathe: Callable[[float], object]) -> Iterator[Frame]:
    for count, frame in enumerate(frames, 1):
        yield frame
        if count % SEAL_SLICE_ROWS == 0:
            breathe(_BREATH_SECONDS)
