"""Frames: how one record lies in a file, and how records are found again in damaged bytes.

    magic 4 | kind 1 | flags 1 | records 2 | length 4 | seq 8 | payload | crc 4        (little-endian)

The CRC (CRC-32 of ISO 3309, as in zlib, PNG and Ethernet) is taken over the payload and then the header, and is
written last: a frame without it is no frame. A reader that meets anything else searches the next magic.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import FormatError
from ..limits import MAX_PAYLOAD_BYTES

MAGIC = b"\xf5TKJ"  # 0xF5 stands in no UTF-8 text
HEADER = struct.Struct("<4sBBHIQ")
TRAILER = struct.Struct("<I")
OVERHEAD_BYTES = HEADER.size + TRAILER.size

ZSTD = 1  # flag: the payload is zstd-compressed

# A segment begins with 32 bytes: what it is, its format's version, where its frames begin, the CRC of the header (taken
# with zeros in its own place), its first seq or 0, when. These are the same in every version of the format.
SEGMENT_MAGIC = b"\x89TKJ\r\n\x1a\n"  # as PNG's: shows up a transfer that changes line ends or strips a bit
SEGMENT = struct.Struct("<8sHHIQq")
VERSION = 1

# A block may be larger than a row: it holds thousands.
_LONGEST_BYTES = max(MAX_PAYLOAD_BYTES, 64 << 20)
_SEQ_LIMIT = 2**63 - 2**16  # with the records of one frame it stays within 64 bits, signed
_PATIENCE = 64


class Frame(NamedTuple):
    """One record as it lies on disk.

    Args:
        kind: See `record.Kind`.
        flags: `ZSTD`, or 0.
        records: How many records it holds: 1, or the rows of a block.
        seq: The record's number in its stream; for a block, that of its first row.
        payload: The bytes between header and CRC.
        end: Offset just behind the frame in the buffer it was read from.
    """

    kind: int
    flags: int
    records: int
    seq: int
    payload: bytes
    end: int

    @property
    def last_seq(self) -> int:
        """The sequence number of the last record in the frame."""
        return self.seq + self.records - 1


def encode_frame(kind: int, seq: int, payload: bytes, flags: int = 0, records: int = 1) -> bytes:
    """Answer the bytes of one frame."""
    header = HEADER.pack(MAGIC, kind, flags, records, len(payload), seq)
    return b"".join((header, payload, TRAILER.pack(zlib.crc32(header, zlib.crc32(payload)))))


def encode_segment_header(first_seq: int, time_ns: int) -> bytes:
    """Answer the 32 bytes a segment begins with."""
    crc = zlib.crc32(SEGMENT.pack(SEGMENT_MAGIC, VERSION, SEGMENT.size, 0, first_seq, time_ns))
    return SEGMENT.pack(SEGMENT_MAGIC, VERSION, SEGMENT.size, crc, first_seq, time_ns)


def seq_of(frame: bytes) -> int:
    """Answer the sequence number of the frame that `frame` begins with."""
    return int(HEADER.unpack_from(frame)[5])


def segment_start(data: bytes | memoryview) -> int:
    """Answer the offset of the first frame of a segment.

    A damaged header is no reason to lose the segment: the frames are found by their own magic.

    Raises:
        FormatError: The segment was written in a newer format.
    """
    if len(data) < SEGMENT.size:
        return 0
    magic, version, start, crc, first_seq, time_ns = SEGMENT.unpack_from(data)
    if magic != SEGMENT_MAGIC or crc != zlib.crc32(SEGMENT.pack(magic, version, start, 0, first_seq, time_ns)):
        return 0
    if version > VERSION:
        raise FormatError(
            f"the journal is of format {version}, this tracker reads up to {VERSION}. "
            "Update tracker to read it; the file was left as it is."
        )
    return int(start)


def segment_first_seq(data: bytes) -> int:
    """Answer the number of the first record as the segment's header tells it; 0 where it does not."""
    return int(SEGMENT.unpack_from(data)[4]) if len(data) >= SEGMENT.size else 0


def scan(data: bytes | memoryview, start: int = 0) -> Iterator[Frame]:
    """Walk the whole frames in `data`, passing over whatever is none.

    Args:
        data: A segment, or the body of a request.
        start: Offset to begin at.

    Yields:
        Each frame whose CRC holds, in the order of the bytes.
    """
    data = bytes(data)  # a memoryview cannot search
    view = memoryview(data)
    size = len(data)
    at = start
    # Bytes made of nothing but false beginnings would take hours: each may announce megabytes for its CRC. Real damage
    # never comes near this.
    patience = _PATIENCE * size
    while 0 <= at <= size - OVERHEAD_BYTES and patience >= 0:
        frame = _frame_at(view, at, size)
        if frame is None:
            if data.startswith(MAGIC, at):
                length = HEADER.unpack_from(data, at)[4]
                patience -= length if at + OVERHEAD_BYTES + length <= size else 0
            at = data.find(MAGIC, at + 1)
        else:
            yield frame
            at = frame.end


def _frame_at(view: memoryview, at: int, size: int) -> Frame | None:
    magic, kind, flags, records, length, seq = HEADER.unpack_from(view, at)
    if magic != MAGIC or length > _LONGEST_BYTES or not records or not 0 < seq < _SEQ_LIMIT:
        return None
    body = at + HEADER.size
    end = body + length
    if end + TRAILER.size > size:
        return None
    payload = view[body:end]
    crc = zlib.crc32(view[at:body], zlib.crc32(payload))
    if crc != TRAILER.unpack_from(view, end)[0]:
        return None
    return Frame(kind, flags, records, seq, bytes(payload), end + TRAILER.size)
