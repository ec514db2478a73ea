"""The golden files, read by a reader of its own, written from `docs/journal-format.md` and from nothing else.

The reader shares no code with `tracker`: a change of the format that the page does not tell shows here.
"""

from __future__ import annotations

import importlib.util
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tracker.core.errors import FormatError
from tracker.core.journal import Block, StreamReader, scan
from tracker.core.journal.seal import seal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GOLDEN = Path(__file__).parent / "golden"

# --- the reader --------------------------------------------------------------------------

MAGIC = bytes.fromhex("F5544B4A")


def read_segment(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """Walk (number, kind, content) of a segment; rows are (step, time, values)."""
    at = first_frame(data)
    seen = 0
    while at < len(data):
        frame = frame_at(data, at)
        if frame is None:
            at = data.find(MAGIC, at + 1)
            if at < 0:
                return
            continue
        kind, flags, records, seq, payload, at = frame
        if seq + records - 1 <= seen:
            continue
        if kind == 2:
            for number, row in enumerate(block_rows(payload, flags, records), seq):
                if number > seen:
                    yield number, 1, row
        elif kind == 1:
            step, time, values = unpack(payload)
            yield seq, 1, (step, time, dict(dotted(values)))
        else:
            try:
                yield seq, kind, unpack(payload)
            except msgspec.DecodeError:
                yield seq, kind, payload
        seen = seq + records - 1


def first_frame(data: bytes) -> int:
    magic, version, start, crc = struct.unpack_from("<8sHHI", data)
    if magic != b"\x89TKJ\r\n\x1a\n" or crc != zlib.crc32(data[:12] + bytes(4) + data[16:32]):
        return 0
    assert version == 1
    return start


def frame_at(data: bytes, at: int) -> tuple[int, int, int, int, bytes, int] | None:
    if len(data) - at < 24 or data[at : at + 4] != MAGIC:
        return None
    kind, flags, records, length, seq = struct.unpack_from("<BBHIQ", data, at + 4)
    end = at + 20 + length
    if records == 0 or length > 67_108_864 or not 1 <= seq <= 2**63 - 65_537 or end + 4 > len(data):
        return None
    payload = data[at + 20 : end]
    if zlib.crc32(payload + data[at : at + 20]) != int.from_bytes(data[end : end + 4], "little"):
        return None
    return kind, flags, records, seq, payload, end + 4


def block_rows(payload: bytes, flags: int, records: int) -> list[tuple[Any, int, dict[str, Any]]]:
    content = unpack(zstd.decompress(payload) if flags & 1 else payload)
    n = content["n"]
    assert n == records
    kind, raw = content["steps"]
    steps = numbers(raw, n, "d") if kind == "f" else running_sum(numbers(raw, n, "q"))
    rows: list[tuple[Any, int, dict[str, Any]]] = [
        (step, time, {}) for step, time in zip(steps, running_sum(numbers(content["times"], n, "q")), strict=True)
    ]
    for key, kind, mask, raw in content["columns"]:
        having = [i for i in range(n) if mask is None or mask[i // 8] >> (i % 8) & 1]
        values = unpack(raw) if kind == "o" else numbers(raw, len(having), {"f": "d", "i": "q"}[kind])
        for i, value in zip(having, values, strict=True):
            rows[i][2][key] = value
    return rows


def numbers(raw: bytes, n: int, code: str) -> list[Any]:
    assert len(raw) == 8 * n
    return [struct.unpack("<" + code, bytes(raw[byte * n + i] for byte in range(8)))[0] for i in range(n)]


def running_sum(deltas: list[int]) -> list[int]:
    total, out = 0, []
    for delta in deltas:
        total = (total + delta + 2**63) % 2**64 - 2**63
        out.append(total)
    return out


def dotted(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{before}{key}.")
        else:
            yield before + key, value


def extension(code: int, data: memoryview) -> Any:
    return int.from_bytes(data, "big", signed=True) if code == 1 else ("unknown", code, bytes(data))


def unpack(data: bytes) -> Any:
    return msgspec.msgpack.decode(data, ext_hook=extension)


# --- what it must find -------------------------------------------------------------------


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = load("make.py")


def exact(value: Any) -> Any:
    """Make values comparable to the bit."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [exact(item) for item in value]
    if isinstance(value, float):
        return struct.pack("<d", value)
    return (type(value).__name__, value)


def rows_of(name: str) -> list[Any]:
    return [row for _, kind, row in read_segment((GOLDEN / name).read_bytes()) if kind == 1]


NESTED = (9, make.BEGIN_NS + 94_000_000, {"gen.d.loss": 0.75, "n": 1})
ROWS = [*make.ROWS, NESTED, *make.FLOAT_STEPS]


def test_the_crc_is_the_one_the_page_names():
    """The check value of the page."""
    assert zlib.crc32(b"123456789") == 0xCBF43926


def test_the_open_segment_is_read_by_the_page_alone():
    """Every row to the bit, every control record, the kind of the future; the torn tail is passed over."""
    assert exact(rows_of("open-1.seg")) == exact(ROWS)
    found = list(read_segment((GOLDEN / "open-1.seg").read_bytes()))
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    assert [kind for _, kind, _ in found if kind != 1] == [16, 17, 18, 19, 20, 21, 23, 24, 200, 22]
    assert found[0][2][1]["name"] == "quiet-heron-1"
    assert found[-2][2] == b"a kind of the future"


def test_the_sealed_segment_holds_the_same():
    """Sealing changes neither values nor numbers; integers among floats are floats, that is all."""
    open_ones = list(read_segment((GOLDEN / "open-1.seg").read_bytes()))
    sealed = list(read_segment((GOLDEN / "sealed-1.blk").read_bytes()))

    assert [entry[:2] for entry in sealed] == [entry[:2] for entry in open_ones]
    for (_, kind, got), (_, _, expected) in zip(sealed, open_ones, strict=True):
        if kind == 1:
            assert got[:2] == expected[:2]
            assert got[2].keys() == expected[2].keys()
            for key, value in got[2].items():
                other = expected[2][key]
                assert exact(value) == exact(float(other) if isinstance(value, float) else other)
        else:
            assert got == expected


def test_the_damaged_segment_costs_one_record():
    """With a wrong header, a flipped bit and bytes put in, all but one record are there."""
    found = [number for number, _, _ in read_segment((GOLDEN / "damaged-1.seg").read_bytes())]

    assert found == [number for number in range(1, len(make.frames()) + 1) if number != 3]


@pytest.mark.parametrize("name", ["open-1.seg", "sealed-1.blk", "damaged-1.seg"])
def test_tracker_reads_what_the_page_tells(tmp_path, name):
    """Our reader and the page's find the same, number by number and bit by bit."""
    (tmp_path / f"00000001{name[-4:]}").write_bytes((GOLDEN / name).read_bytes())
    got: dict[int, Any] = {}
    for entry in StreamReader(tmp_path).entries():
        if isinstance(entry, Block):
            got.update(dict(enumerate(entry.rows(), entry.first_seq)))
        elif entry.time_ns:
            got[entry.seq] = [entry.time_ns, entry.body]
    expected = {
        number: content
        for number, _, content in read_segment((GOLDEN / name).read_bytes())
        if not isinstance(content, bytes)
    }

    assert got.keys() == expected.keys()
    for number, content in expected.items():
        values, others = got[number], content
        if len(content) == 3:  # a row: in a block of mixed numbers an integer has become a float
            keys = content[2].keys()
            values = [*values[:2], {key: as_number(values[2][key]) for key in keys}]
            others = [*content[:2], {key: as_number(content[2][key]) for key in keys}]
            values[0], others[0] = float(values[0]), float(others[0])
        assert exact(values) == exact(others)


def as_number(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53 else value


def test_tracker_writes_the_same_bytes(tmp_path):
    """What is written today is, byte by byte, what the golden files hold; blocks are compared unpacked."""
    assert make.open_segment() == (GOLDEN / "open-1.seg").read_bytes()
    assert make.damaged_segment() == (GOLDEN / "damaged-1.seg").read_bytes()
    path = tmp_path / "00000001.seg"
    path.write_bytes(make.open_segment())
    today, then = seal(path, lambda _: None).read_bytes(), (GOLDEN / "sealed-1.blk").read_bytes()

    assert today[:32] == then[:32]
    assert unpacked(today) == unpacked(then)


def unpacked(data: bytes) -> list[Any]:
    # zstd's output may differ from version to version; what it unfolds to may not.
    return [
        frame._replace(payload=zstd.decompress(frame.payload) if frame.flags else frame.payload, end=0)
        for frame in scan(data, 32)
    ]


def test_a_newer_file_is_refused():
    """The golden segment with its version raised (and its CRC right) is read by nobody of today."""
    data = bytearray((GOLDEN / "open-1.seg").read_bytes())
    data[8:10] = (2).to_bytes(2, "little")
    data[12:16] = zlib.crc32(bytes(data[:12]) + bytes(4) + bytes(data[16:32])).to_bytes(4, "little")
    from tracker.core.journal.frame import segment_start

    with pytest.raises(FormatError, match="format 2"):
        segment_start(bytes(data))
