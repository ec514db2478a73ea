"""Sealing: a closed segment's rows are packed in columns, some six times smaller and much quicker to read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from ..limits import BLOCK_ROWS, SEAL_SLICE_ROWS
from ..record import Kind
from .block import Block
from .frame import SEGMENT, encode_frame, scan, segment_start
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
    rows: list[bytes] = []
    first = 0
    try:
        with open(draft, "wb") as file:
            file.write(data[: SEGMENT.size] if start else b"")
            for count, frame in enumerate(scan(data, start)):
                if rows and (frame.kind != Kind.ROW or frame.seq != first + len(rows) or len(rows) == BLOCK_ROWS):
                    file.write(Block.from_rows(first, rows).to_frame())
                    rows = []
                if frame.kind == Kind.ROW:
                    first = frame.seq - len(rows)
                    rows.append(frame.payload)
                else:
                    file.write(encode_frame(frame.kind, frame.seq, frame.payload, frame.flags, frame.records))
                if count % SEAL_SLICE_ROWS == SEAL_SLICE_ROWS - 1:
                    breathe(_BREATH_SECONDS)
            if rows:
                file.write(Block.from_rows(first, rows).to_frame())
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    segment.unlink(missing_ok=True)
    return target
