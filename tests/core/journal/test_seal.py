"""Sealing: the same records under the same numbers, in far fewer bytes, whatever the segment holds."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracker.core.journal import Block, StreamReader, encode_frame, scan
from tracker.core.journal.frame import encode_segment_header
from tracker.core.journal.seal import seal
from tracker.core.record import Kind, encode_control


def row(number: int, size: int = 0) -> bytes:
    return msgspec.msgpack.encode((number, 10**18 + number, {"x": number / 2, "t": "y" * size}))


def records(path: Path) -> list[tuple]:
    out: list[tuple] = []
    for frame in scan(path.read_bytes(), 32):
        if frame.kind == Kind.BLOCK:
            block = Block.from_frame(frame)
            out += [(seq, *row) for seq, row in enumerate(block.rows(), block.first_seq)]
        elif frame.kind == Kind.ROW:
            try:
                out.append((frame.seq, *msgspec.msgpack.decode(frame.payload)))
            except msgspec.DecodeError:
                out.append((frame.seq, frame.payload))
        else:
            out.append((frame.seq, frame.kind, frame.flags, frame.records, frame.payload))
    return out


def plain(record: tuple) -> tuple:
    return tuple(list(part) if isinstance(part, tuple) else part for part in record)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    plan=st.lists(st.sampled_from(["row", "rows", "config", "future", "bad", "gap", "block"]), max_size=12),
    tail=st.integers(0, 300),
)
def test_sealing_keeps_every_record(tmp_path_factory, plan, tail):
    """Rows, controls, kinds of the future, rows that are none, blocks and gaps: all come back under their numbers."""
    path = tmp_path_factory.mktemp("seal") / "00000001.seg"
    seq, data = 1, encode_segment_header(1, 5)
    for what in plan:
        if what == "rows":
            for _ in range(20):
                data += encode_frame(Kind.ROW, seq, row(seq))
                seq += 1
            continue
        if what == "row":
            data += encode_frame(Kind.ROW, seq, row(seq))
        elif what == "config":
            data += encode_frame(Kind.CONFIG, seq, encode_control(1, {"set": {"a": 1}}))
        elif what == "future":
            data += encode_frame(77, seq, b"\xc1x", flags=64, records=2)
            seq += 1
        elif what == "bad":
            data += encode_frame(Kind.ROW, seq, b"\xc1")
        elif what == "block":
            data += Block.from_rows(seq, [row(seq), row(seq + 1)]).to_frame()
            seq += 1
        seq += 1
    path.write_bytes(data + bytes(tail))
    before = records(path)

    sealed = seal(path, lambda _: None)

    assert sealed == path.with_suffix(".blk")
    assert not path.exists()
    assert list(map(plain, records(sealed))) == list(map(plain, before))
    assert [file.name for file in sealed.parent.iterdir()] == [sealed.name]


def test_long_rows_make_short_blocks(tmp_path):
    """Rows of a megabyte each are packed a few at a time, so that no block is too large to be read."""
    path = tmp_path / "00000001.seg"
    frames = [encode_frame(Kind.ROW, seq, row(seq, 1 << 20)) for seq in range(1, 11)]
    path.write_bytes(encode_segment_header(1, 5) + b"".join(frames))
    sealed = seal(path, lambda _: None)

    assert [frame.records for frame in scan(sealed.read_bytes(), 32)] == [3, 3, 3, 1]
    assert sum(len(entry) for entry in StreamReader(tmp_path).entries()) == 10


def test_damage_is_left_behind(tmp_path):
    """Whole frames around a damaged one are sealed, and the gap stays a gap."""
    path = tmp_path / "00000001.seg"
    frames = [encode_frame(Kind.ROW, seq, row(seq)) for seq in range(1, 6)]
    frames[2] = frames[2][:-1] + b"?"
    path.write_bytes(encode_segment_header(1, 5) + b"".join(frames))
    sealed = seal(path, lambda _: None)

    assert [record[0] for record in records(sealed)] == [1, 2, 4, 5]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_segment_as_it_is(tmp_path, monkeypatch, step):
    """Whatever fails on the way, the open form stays, and no draft is left."""
    path = tmp_path / "00000001.seg"
    path.write_bytes(encode_segment_header(1, 5) + encode_frame(Kind.ROW, 1, row(1)))
    before = path.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(OSError, match="full"):
        seal(path, lambda _: None)

    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_training_thread_gets_its_turn(tmp_path):
    """Between slices of rows the sealing thread waits a moment."""
    path, waits = tmp_path / "00000001.seg", []
    path.write_bytes(
        encode_segment_header(1, 5) + b"".join(encode_frame(Kind.ROW, seq, row(seq)) for seq in range(1, 2001))
    )
    seal(path, waits.append)

    assert len(waits) == 2000 // 256
    assert all(0 < wait < 0.01 for wait in waits)
