"""Frames: what is written comes back, and damage costs only what it hit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.core.errors import FormatError
from tracker.core.journal.frame import (
    MAGIC,
    OVERHEAD_BYTES,
    SEGMENT,
    SEGMENT_MAGIC,
    VERSION,
    Frame,
    encode_frame,
    encode_segment_header,
    scan,
    segment_start,
    seq_of,
)

payloads = st.binary(max_size=80)
streams = st.lists(st.tuples(st.integers(0, 255), payloads), min_size=1, max_size=12)


def written(records: list[tuple[int, bytes]]) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    frames = [(kind, seq, payload) for seq, (kind, payload) in enumerate(records, 1)]
    return b"".join(encode_frame(*frame) for frame in frames), frames


def read(data: bytes, start: int = 0) -> list[tuple[int, int, bytes]]:
    return [(frame.kind, frame.seq, frame.payload) for frame in scan(data, start)]


@given(streams)
def test_frames_come_back_as_they_were_written(records):
    """Whatever the kinds and payloads, the same frames are read in the same order."""
    data, frames = written(records)

    assert read(data) == frames
    assert read(memoryview(data)) == frames


@given(
    kind=st.integers(0, 255),
    flags=st.integers(0, 255),
    records=st.integers(1, 65535),
    seq=st.integers(1, 2**62),
    payload=payloads,
)
def test_every_field_comes_back(kind, flags, records, seq, payload):
    """Kind, flags, number of records, sequence number and payload are all kept."""
    data = encode_frame(kind, seq, payload, flags, records)

    assert list(scan(data)) == [Frame(kind, flags, records, seq, payload, len(data))]
    assert seq_of(data) == seq
    assert len(data) == OVERHEAD_BYTES + len(payload)


@settings(max_examples=25)
@given(streams)
def test_a_stream_cut_anywhere_keeps_its_whole_frames(records):
    """Truncated at each byte, all whole frames before the cut are read and nothing is invented."""
    data, frames = written(records)
    ends = [frame.end for frame in scan(data)]
    for cut in range(len(data) + 1):
        whole = sum(end <= cut for end in ends)
        assert read(data[:cut]) == frames[:whole]


@given(records=streams, data=st.data())
def test_damage_costs_only_the_frames_it_hits(records, data):
    """Flipped bits, zeroed holes, inserted and removed bytes: every untouched frame is read, and no wrong one."""
    whole, frames = written(records)
    ends = [frame.end for frame in scan(whole)]
    begins = [0, *ends[:-1]]
    at = data.draw(st.integers(0, len(whole) - 1), "at")
    length = data.draw(st.integers(1, 60), "length")
    how = data.draw(st.sampled_from(["flip", "zero", "insert", "remove"]), "how")
    end = min(at + length, len(whole))
    if how == "flip":
        bad = bytearray(whole)
        bad[at] ^= 1 << data.draw(st.integers(0, 7), "bit")
        damaged, end = bytes(bad), at + 1
    elif how == "zero":
        damaged = whole[:at] + bytes(end - at) + whole[end:]
    elif how == "insert":
        damaged, end = whole[:at] + data.draw(st.binary(min_size=1, max_size=60), "piece") + whole[at:], at
    else:
        damaged = whole[:at] + whole[end:]
    untouched = [
        frame for frame, low, high in zip(frames, begins, ends, strict=True) if high <= at or low >= max(end, at)
    ]

    got = read(damaged)

    assert all(frame in frames for frame in got)
    assert [frame for frame in got if frame in untouched] == untouched


@given(st.binary(max_size=400))
def test_garbage_holds_no_frames(data):
    """Random bytes, even with our magic among them, are passed over."""
    assert read(data) == []
    assert read(MAGIC + data + MAGIC) == []


def test_kinds_of_the_future_are_kept():
    """A kind that nobody knows yet is read like any other, with its flags."""
    data = encode_frame(250, 1, b"tomorrow", flags=0x80) + encode_frame(1, 2, b"today")

    assert [(frame.kind, frame.flags) for frame in scan(data)] == [(250, 0x80), (1, 0)]


@pytest.mark.parametrize(("records", "seq"), [(0, 1), (1, 0), (1, 2**63), (1, 2**64 - 1)])
def test_impossible_numbers_are_no_frame(records, seq):
    """A frame without records, or with a number no stream reaches, is damage even where its CRC holds."""
    data = encode_frame(1, seq, b"x", records=records) + encode_frame(1, 7, b"good")

    assert read(data) == [(1, 7, b"good")]


def test_false_beginnings_cannot_take_hours():
    """A megabyte of headers that each announce a long payload ends soon: patience is bounded by the size."""
    header = encode_frame(1, 1, b"")[:8] + (900_000).to_bytes(4, "little") + bytes(12)
    data = header * (1_000_000 // len(header))

    assert read(data) == []


def test_a_header_is_read_back():
    """Frames begin right behind the header."""
    header = encode_segment_header(41, 1_700_000_000_000_000_000)

    assert header.startswith(SEGMENT_MAGIC)
    assert segment_start(header) == SEGMENT.size == len(header) == 32


@given(st.binary(max_size=31))
def test_a_short_header_is_searched_from_its_beginning(data):
    """What is too short to be a header is looked through for frames."""
    assert segment_start(data) == 0


@given(place=st.integers(0, 31), bit=st.integers(0, 7))
def test_a_damaged_header_is_never_taken_for_a_newer_one(place, bit):
    """One flipped bit in the header costs no record: its CRC tells damage from a newer version."""
    data = bytearray(encode_segment_header(1, 2) + encode_frame(1, 1, b"row"))
    data[place] ^= 1 << bit

    assert read(bytes(data), segment_start(bytes(data))) == [(1, 1, b"row")]


def test_a_newer_format_is_refused():
    """A whole header of a higher version says so, and names both versions."""
    with pytest.raises(FormatError, match=f"format {VERSION + 1}.*up to {VERSION}"):
        segment_start(newer_header())


def newer_header() -> bytes:
    import zlib

    fields = (SEGMENT_MAGIC, VERSION + 1, SEGMENT.size, 0, 1, 2)
    crc = zlib.crc32(SEGMENT.pack(*fields))
    return SEGMENT.pack(*fields[:3], crc, *fields[4:])
