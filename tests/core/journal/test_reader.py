"""Reading a stream: whole, resumed anywhere, followed while it is written and sealed, and with damage."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracker.core.clock import Clock
from tracker.core.errors import FormatError
from tracker.core.journal import Block, Journal, StreamReader, encode_frame, entries, scan
from tracker.core.journal import reader as reading
from tracker.core.journal.frame import SEGMENT, encode_segment_header
from tracker.core.journal.reader import read_entries, segment_files
from tracker.core.journal.seal import seal
from tracker.core.record import Control, Kind, encode_control

on_disk = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
numbers = itertools.count()


def row(number: int) -> bytes:
    return msgspec.msgpack.encode((number, 10**18 + number, {"x": number / 2, "n": number}))


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / f"stream-{next(numbers)}"
    folder.mkdir()
    return folder


def write(folder: Path, number: int, frames: bytes, tail: bytes = b"") -> Path:
    path = folder / f"{number:08d}.seg"
    path.write_bytes(encode_segment_header(0, 1) + frames + tail)
    return path


def rows_from(first: int, count: int) -> bytes:
    return b"".join(encode_frame(Kind.ROW, seq, row(seq)) for seq in range(first, first + count))


def seqs(found) -> list[int]:
    """The numbers that entries stand for, which must be contiguous."""
    out: list[int] = []
    for entry in found:
        if isinstance(entry, Block):
            out.extend(range(entry.first_seq, entry.last_seq + 1))
        elif entry.kind == Kind.LOST and "first_seq" in entry.body:
            out.extend(range(entry.body["first_seq"], entry.body["last_seq"] + 1))
        else:
            out.append(entry.seq)
    return out


def lost(found) -> int:
    return sum(entry.body["count"] for entry in found if isinstance(entry, Control) and entry.kind == Kind.LOST)


frames_lists = st.lists(
    st.tuples(st.sampled_from(["row", "control", "future", "gap", "twice"]), st.integers(1, 4)), max_size=15
)


@given(plan=frames_lists, after=st.integers(0, 40))
def test_entries_are_contiguous(plan, after):
    """Rows, controls, kinds of the future, gaps and repeats: the entries' numbers follow one by one from `after` on."""
    seq, data = 0, b""
    for what, count in plan:
        for _ in range(count):
            seq += 1
            if what == "gap":
                continue
            if what == "twice":
                data += encode_frame(Kind.ROW, seq, row(seq))
            if what in ("row", "twice"):
                data += encode_frame(Kind.ROW, seq, row(seq))
            elif what == "control":
                data += encode_frame(Kind.CONFIG, seq, encode_control(5, {"set": {"a": seq}}))
            elif what == "future":
                data += encode_frame(99, seq, b"\xc1")
    last = max((frame.last_seq for frame in scan(data)), default=0)

    assert seqs(entries(scan(data), after)) == list(range(after + 1, last + 1))


def test_a_frame_of_several_records_counts_as_all_of_them():
    """A kind of the future may hold many records; the next number follows its last."""
    data = encode_frame(99, 1, b"?", records=5) + encode_frame(Kind.ROW, 6, row(6))
    first, second = entries(scan(data))

    assert (first.seq, second.first_seq) == (5, 6)


def test_a_row_frame_of_several_records_is_lost_and_said():
    """A ROW that claims more than one record is none; it leaves no silent gap."""
    data = encode_frame(Kind.ROW, 1, row(1), records=3) + encode_frame(Kind.ROW, 4, row(4))
    found = list(entries(scan(data)))

    assert (seqs(found), lost(found)) == ([1, 2, 3, 4], 3)


def test_an_unreadable_row_costs_only_itself():
    """A whole frame whose payload is no row becomes a LOST record of one."""
    data = rows_from(1, 3) + encode_frame(Kind.ROW, 4, b"\xc1") + rows_from(5, 3)
    found = list(entries(scan(data)))

    assert (seqs(found), lost(found)) == (list(range(1, 8)), 1)


@on_disk
@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4), after=st.integers(0, 130), sealed=st.integers(0, 15))
def test_a_stream_is_resumed_from_any_number(tmp_path, sizes, after, sealed):
    """From each cursor, over open and sealed segments, exactly what is behind it is read."""
    folder, first = folder_of(tmp_path), 1
    for number, size in enumerate(sizes, 1):
        path = write(folder, number, rows_from(first, size), bytes(500))
        first += size
        if sealed >> number & 1:
            seal(path, lambda _: None)
    reader = StreamReader(folder, after)

    assert seqs(reader.entries()) == list(range(after + 1, first))
    assert reader.cursor == max(after, first - 1)
    assert list(reader.entries()) == []


def test_a_live_stream_is_followed(tmp_path):
    """Each call gives what came since the last one, over segments that end, are sealed, and are made ready ahead."""
    folder = folder_of(tmp_path)
    reader = StreamReader(folder)

    assert list(reader.tail()) == []
    one = write(folder, 1, rows_from(1, 3), bytes(4096))
    assert seqs(reader.tail()) == [1, 2, 3]
    write(folder, 2, b"", bytes(4096))  # made ready, not begun
    assert seqs(reader.tail()) == []
    one.write_bytes(one.read_bytes()[:-4096] + rows_from(4, 2))
    write(folder, 2, rows_from(6, 1), bytes(4096))
    assert seqs(reader.tail()) == [4, 5, 6]
    seal(one, lambda _: None)
    two = write(folder, 2, rows_from(6, 3))
    assert seqs(reader.tail()) == [7, 8]
    seal(two, lambda _: None)
    assert seqs(reader.tail()) == []
    write(folder, 3, rows_from(9, 1))
    assert seqs(reader.tail()) == [9]


def test_what_is_not_written_yet_is_waited_for(tmp_path):
    """Behind zeros in the newest segment nothing is read while it is live; a final look finds it."""
    folder = folder_of(tmp_path)
    write(folder, 1, rows_from(1, 2) + bytes(40) + rows_from(4, 1))
    live = StreamReader(folder)

    assert seqs(live.tail()) == [1, 2]
    assert seqs(live.tail()) == []
    found = list(live.entries())
    assert (seqs(found), lost(found)) == ([3, 4], 1)


def test_a_hole_in_a_finished_segment_is_lost_and_said(tmp_path):
    """Once the next segment has begun, zeros are damage: what is behind them is read, and the gap is a LOST record."""
    folder = folder_of(tmp_path)
    write(folder, 1, rows_from(1, 2) + bytes(40) + rows_from(4, 1), bytes(300))
    write(folder, 2, rows_from(5, 1))
    found = list(StreamReader(folder).tail())

    assert (seqs(found), lost(found)) == ([1, 2, 3, 4, 5], 1)


@pytest.mark.parametrize("late", [1, 3])
def test_a_segment_that_grew_after_it_was_read_loses_nothing(tmp_path, monkeypatch, late):
    """The writer fills a segment and begins the next one between two reads: that is no gap."""
    folder = folder_of(tmp_path)
    one = write(folder, 1, rows_from(1, 2), bytes(4096))
    two = write(folder, 2, b"", bytes(4096))
    original, calls = reading._frames_of, []

    def frames_of(path: Path, *arguments):
        calls.append(path)
        yield from original(path, *arguments)
        if len(calls) == 1:
            one.write_bytes(encode_segment_header(0, 1) + rows_from(1, 2 + late))
            two.write_bytes(encode_segment_header(0, 1) + rows_from(3 + late, 2))

    monkeypatch.setattr(reading, "_frames_of", frames_of)
    reader = StreamReader(folder)
    found = list(reader.entries())

    assert (seqs(found), lost(found)) == (list(range(1, 5 + late)), 0)
    assert seqs(reader.entries()) == []


def test_a_frame_torn_by_reading_while_it_was_written_is_read_again(tmp_path, monkeypatch):
    """A read that saw a later frame whole and an earlier one half looks once more before it speaks of damage."""
    folder = folder_of(tmp_path)
    path = write(folder, 1, rows_from(1, 3))
    whole = path.read_bytes()
    torn = bytearray(whole)
    torn[SEGMENT.size + 90 : SEGMENT.size + 110] = bytes(20)
    path.write_bytes(bytes(torn))
    original, looks = reading.scan, []

    def scanning(data: bytes):
        looks.append(len(data))
        path.write_bytes(whole)  # what the writer does meanwhile
        return original(data)

    monkeypatch.setattr(reading, "scan", scanning)
    found = list(StreamReader(folder).entries())

    assert (seqs(found), lost(found)) == ([1, 2, 3], 0)
    assert len(looks) >= 2


def test_a_segment_sealed_while_it_is_read_is_read_once(tmp_path):
    """Sealing between two steps of one iteration neither loses nor repeats a row."""
    folder = folder_of(tmp_path)
    paths = [write(folder, number, rows_from(1 + 10 * (number - 1), 10)) for number in (1, 2, 3)]
    found = []
    for frame in StreamReader(folder).frames():
        if frame.seq == 5:
            for path in paths:
                seal(path, lambda _: None)
        found.append(frame)

    assert seqs(entries(iter(found))) == list(range(1, 31))


def test_a_vanished_stream_is_empty(tmp_path):
    """A folder that is not there, or no more, holds nothing."""
    folder = folder_of(tmp_path)
    write(folder, 1, rows_from(1, 3))
    reader = StreamReader(folder)
    next(reader.frames())
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()

    assert list(reader.entries()) == []


def test_strange_files_are_passed_over(tmp_path):
    """Drafts, names that are no numbers, an empty segment left by a kill, and a dangling link hold no records."""
    folder = folder_of(tmp_path)
    write(folder, 1, rows_from(1, 3))
    write(folder, 2, b"", bytes(5000))
    for name in ("00000001.tmp", "acked", "x.seg", "00000003.seg.bak", ".seg"):
        (folder / name).write_bytes(rows_from(90, 3))
    (folder / "00000004.seg").write_bytes(b"")
    (folder / "00000005.seg").symlink_to(folder / "nowhere")

    assert [file.number for file in segment_files(folder)] == [1, 2, 4, 5]
    (folder / "00000005.seg").unlink()
    assert seqs(read_entries(folder)) == [1, 2, 3]


def test_a_newer_segment_is_refused_and_left_alone(tmp_path):
    """What came before it is read, then FormatError; nobody touches the file, sealing neither."""
    from .test_frame import newer_header

    folder = folder_of(tmp_path)
    write(folder, 1, rows_from(1, 3))
    newer = folder / "00000002.seg"
    newer.write_bytes(newer_header() + rows_from(4, 3))
    before = newer.read_bytes()
    reader = StreamReader(folder)
    with pytest.raises(FormatError, match="Update tracker"):
        list(reader.frames())

    assert reader.cursor == 3
    with pytest.raises(FormatError):
        seal(newer, lambda _: None)
    assert newer.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["00000001.seg", "00000002.seg"]


def test_frames_longer_than_a_window_are_read(tmp_path):
    """A frame of several megabytes, behind and before small ones, and behind damage."""
    folder = folder_of(tmp_path)
    long = encode_frame(Kind.CONFIG, 2, encode_control(1, {"set": {"x": "y" * (3 << 20)}}))
    write(folder, 1, rows_from(1, 1) + long + rows_from(3, 1) + b"\xff" * (5 << 20) + rows_from(4, 2), bytes(2 << 20))

    assert seqs(StreamReader(folder).entries()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("is_mapped", [True, False])
def test_following_a_writer_on_another_thread_misses_nothing(tmp_path, is_mapped):
    """While a journal is written, rolled, synced and sealed, a follower sees each row once and no damage."""
    journal = Journal(tmp_path, Clock(), is_mapped=is_mapped)
    total, done = 12_000, threading.Event()
    blob = "y" * 300

    def work() -> None:
        for number in range(1, total + 1):
            journal.append(Kind.ROW, msgspec.msgpack.encode((number, number, {"x": blob})))
            if number % 500 == 0:
                journal.prepare()
                journal.sync()
                while journal.closed_segments:
                    seal(journal.closed_segments.popleft(), lambda _: None)
        journal.close()
        done.set()

    threading.Thread(target=work).start()
    reader, found = StreamReader(journal.folder), []
    while True:
        was_done = done.is_set()
        found.extend(reader.tail())
        if was_done:
            break

    assert (seqs(found), lost(found)) == (list(range(1, total + 1)), 0)


@pytest.mark.parametrize("first", [0, 3])
def test_a_piece_in_the_wrong_place_finds_its_own(tmp_path, first):
    """Frames of a later page that lie among earlier ones cost only what they overwrote, also when read in two steps."""
    folder = folder_of(tmp_path)
    frames = [encode_frame(Kind.ROW, seq, row(seq)) for seq in range(1, 201)]
    moved = frames[:20] + frames[150:160] + frames[30:150] + frames[160:]
    write(folder, 1, b"".join(moved))
    reader = StreamReader(folder)
    found = list(itertools.islice(reader.frames(), 25 + first))
    rest = list(reader.frames())

    assert [frame.seq for frame in found + rest] == [*range(1, 21), *range(31, 201)]
    assert lost(entries(iter(found + rest))) == 10
