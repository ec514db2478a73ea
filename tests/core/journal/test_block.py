"""Blocks: rows packed in columns come back as they were, and hostile ones raise nothing but FormatError."""

from __future__ import annotations

import math
import struct
from array import array

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tracker.core.errors import FormatError
from tracker.core.journal.block import BLOCK, Block, Column, Packer, _squeeze, _unsqueeze, decode_row, zstd
from tracker.core.journal.frame import ZSTD, Frame, encode_frame, scan
from tracker.core.limits import BLOCK_BYTES, BLOCK_ROWS
from tracker.core.values import encodable

NOW = 1_700_000_000_000_000_000
floats = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([-0.0, math.inf, -math.inf, 5e-324, 1.7976931348623157e308]),
    st.integers(1, 2**51 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", 0x7FF8 << 48 | bits))[0]),
)
ints = st.one_of(
    st.integers(-10, 10),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-(10**40), 10**40),
)
scalars = st.one_of(floats, ints, st.booleans(), st.none(), st.text(max_size=8))
values = st.one_of(scalars, st.lists(scalars, max_size=3))
keys = st.sampled_from(["loss", "acc", "lr", "a.b", "ü", ""])
maps = st.dictionaries(keys, values, max_size=5)
steps = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(0, 100))
times = st.one_of(st.integers(0, 2**62), st.integers(NOW, NOW + 1000))
rows = st.lists(st.tuples(steps, times, maps), min_size=1, max_size=30)


def payload(row) -> bytes:
    step, time_ns, data = row
    return msgspec.msgpack.encode((step, time_ns, encodable(data)))


def bits(value):
    """Make values comparable to the bit: NaN by payload, -0.0 apart from 0.0, 1 equal to 1.0 but not to True."""
    if isinstance(value, list):
        return [bits(item) for item in value]
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53:
        return struct.pack("<d", value)  # an int among floats comes back as a float, exactly
    return (type(value), value)


def same(got, expected) -> None:
    assert len(got) == len(expected)
    for (step, time_ns, data), (step_, time_, data_) in zip(got, expected, strict=True):
        assert (step, time_ns) == (step_, time_)
        assert {key: bits(value) for key, value in data.items()} == {key: bits(value) for key, value in data_.items()}


def through_a_frame(block: Block) -> Block:
    (frame,) = scan(block.to_frame())
    return Block.from_frame(frame)


@given(rows)
@example([(0, NOW, {"loss": 0.5}), (1, NOW + 1, {"loss": 1})])
@example([(-(2**63), 0, {}), (2**63 - 1, 2**62, {})])
def test_rows_come_back_from_columns(rows):
    """Mixed types, missing keys, any steps: the rows of a block are the rows that were packed, to the bit."""
    block = Block.from_rows(7, [payload(row) for row in rows])

    same(list(block.rows()), rows)
    same(list(through_a_frame(block).rows()), rows)
    assert (block.first_seq, block.last_seq, len(block)) == (7, 6 + len(rows), len(rows))


@given(rows=rows, skip=st.integers(-3, 40))
def test_a_block_can_be_cut_at_any_row(rows, skip):
    """`after` answers the rows behind a number, under their own numbers, also through a frame."""
    block = Block.from_rows(10, [payload(row) for row in rows])
    seq = 9 + skip
    if skip >= len(rows):
        return
    rest = block.after(seq)

    same(list(rest.rows()), rows[max(0, skip) :])
    same(list(through_a_frame(rest).rows()), rows[max(0, skip) :])
    assert rest.last_seq == block.last_seq


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_presence_bits_come_back(flags):
    """Eight flags a byte, lowest bit first."""
    present = bytes(flags)
    mask = _squeeze(present)

    assert len(mask) == (len(present) + 7) // 8
    assert _unsqueeze(mask, len(present)) == present
    assert all(bool(mask[i // 8] >> (i % 8) & 1) == flag for i, flag in enumerate(flags))


def test_nested_values_are_dotted():
    """A nested dict is flattened, an empty one stays a value."""
    data = msgspec.msgpack.encode((1, 2, {"a": {"b": {"c": 1}, "d": {}}, "e": 2}))

    assert decode_row(data) == (1, 2, {"a.b.c": 1, "a.d": {}, "e": 2})


def test_float_steps_are_kept():
    """Steps that are not all whole numbers are a column of floats."""
    block = through_a_frame(Block.from_rows(1, [payload((step, NOW, {"x": 1.0})) for step in (0.5, 1, -2.25)]))

    assert block.steps == array("d", [0.5, 1.0, -2.25])


def test_columns_are_as_narrow_as_they_can_be():
    """Floats and ints are arrays, a mix of both is one of floats, and what is neither is a list."""
    data = [{"f": 0.5, "i": 1, "m": 0, "b": True, "big": 2**70}, {"f": 1.5, "i": 2, "m": 0.5, "b": False, "big": 1}]
    block = through_a_frame(Block.from_rows(1, [payload((i, NOW, row)) for i, row in enumerate(data)]))

    assert {key: column.kind for key, column in block.columns.items()} == {
        "f": "f",
        "i": "i",
        "m": "f",
        "b": "o",
        "big": "o",
    }
    assert list(block.columns["big"].values) == [2**70, 1]


BODY = {"n": 1, "steps": ["i", bytes(8)], "times": bytes(8), "columns": [["x", "f", None, bytes(8)]]}


def hostile(body, flags: int = ZSTD, records: int = 1) -> Frame:
    raw = body if isinstance(body, bytes) else msgspec.msgpack.encode(body)
    data = encode_frame(BLOCK, 1, zstd.compress(raw) if flags & ZSTD else raw, flags, records)
    (frame,) = scan(data)
    return frame


@pytest.mark.parametrize(
    "change",
    [
        {"n": 2},
        {"n": 0},
        {"n": -1},
        {"n": 2**60},
        {"n": "1"},
        {"n": None},
        {"steps": ["i", b""]},
        {"steps": ["f", bytes(16)]},
        {"steps": ["i", bytes(7)]},
        {"steps": "ab"},
        {"steps": 5},
        {"times": bytes(16)},
        {"times": "text"},
        {"columns": 7},
        {"columns": [[]]},
        {"columns": [["x", "f", None, bytes(16)]]},
        {"columns": [["x", "?", None, bytes(8)]]},
        {"columns": [["x", "f", b"\x00", bytes(8)]]},
        {"columns": [["x", "f", b"", bytes(8)]]},
        {"columns": [["x", "f", bytes(1000), bytes(8)]]},
        {"columns": [[1, "f", None, bytes(8)]]},
        {"columns": [["x", "o", None, b"\xc1"]]},
        {"columns": [["x", "o", None, b"\x92\x01\x02"]]},
        {"columns": [["x", "o", None, b"\x91" * 5000]]},
        {"columns": [["x", "o", None, b"\xdd\xff\xff\xff\xff"]]},
        {"columns": [["x", "o", None, bytes(40 << 20)]]},
    ],
    ids=lambda change: repr(change)[:50],
)
def test_a_hostile_block_raises_format_error(change):
    """Wrong counts, wrong types, bombs: each is refused by the one error, and costs no memory to speak of."""
    with pytest.raises(FormatError, match="block at seq 1"):
        Block.from_frame(hostile({**BODY, **change}))


@pytest.mark.parametrize("flags", [0, ZSTD])
@settings(max_examples=50)
@given(data=st.binary(max_size=200))
def test_a_block_of_garbage_raises_format_error(flags, data):
    """Whatever the payload, nothing else is raised."""
    (frame,) = scan(encode_frame(BLOCK, 1, data, flags, 1))
    with pytest.raises(FormatError):
        Block.from_frame(frame)


def test_a_zstd_bomb_is_refused_by_its_announcement():
    """A gigabyte in a few kilobytes is not unfolded."""
    bomb = zstd.compress(bytes(300 << 20))
    (frame,) = scan(encode_frame(BLOCK, 1, bomb, ZSTD, 1))
    with pytest.raises(FormatError, match="at most"):
        Block.from_frame(frame)


def test_a_plain_block_is_read_as_well():
    """The flag alone says whether a block is compressed."""
    block = Block.from_frame(hostile(BODY, flags=0))

    assert list(block.rows()) == [(0, 0, {"x": 0.0})]


def test_a_block_with_fields_of_the_future_is_read():
    """Fields that are not known are passed over."""
    assert len(Block.from_frame(hostile({**BODY, "tomorrow": 1}))) == 1


def test_a_packer_bounds_rows_and_bytes():
    """A block holds at most so many rows and so many bytes; a single long row goes alone."""
    packer = Packer(1)
    long = payload((1, 2, {"x": "y" * (BLOCK_BYTES - 100)}))
    packer.add(long)

    assert not packer.takes(long)
    many = Packer(1)
    for _ in range(BLOCK_ROWS):
        assert many.takes(b"x")
        many.add(b"x")
    assert not many.takes(b"x")


def test_a_packer_sets_a_row_apart_that_cannot_be_packed():
    """One row that is none costs no other: the others are packed around it."""
    packer = Packer(5)
    good = payload((1, NOW, {"x": 1.0}))
    for row in (good, b"\xc1", good, payload((1, 2**64 - 1, {})), good):
        packer.add(row)
    parts = list(packer.blocks())

    assert [part[0] for part in parts if not isinstance(part, Block)] == [6, 8]
    assert [seq for part in parts if isinstance(part, Block) for seq in range(part.first_seq, part.last_seq + 1)] == [
        5,
        7,
        9,
    ]


def test_a_column_cut_to_nothing_is_gone():
    """A key that only the rows before had is not in what comes after."""
    block = Block(1, array("q", [0, 1]), array("q", [0, 1]), {"x": Column("f", array("d", [1.0]), b"\x01\x00")})

    assert block.after(1).columns == {}
