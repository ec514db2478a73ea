"""Columns as they lie in the metric store, and the statistics beside them.

A slab is up to `SLAB_ROWS` rows of one stream: its axes (steps, times, sequence numbers) once, and a chunk per key.
Statistics are kept per `STAT_ROWS` values, so that a chart of ten million points reads some forty thousand of them.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, NamedTuple

import msgspec
import numpy as np

from ...core.values import encodable, from_extension
from .rows import Cells, Floats, Ints, Numbers, Rows

if sys.version_info >= (3, 14):  # pragma: no cover - one of the two, by version
    from compression import zstd
else:
    from backports import zstd

SLAB_ROWS = 16_384  # long enough that what SQLite leaves free behind a blob does not count
STAT_ROWS = 256
FEW_VALUES = 16  # so few are not compressed: a run may have a hundred thousand keys with one value each
_LEVEL = 3
_ZSTD, _SPARSE = 1, 2  # flags before the statistics
_WORTH_BYTES = 200  # less is not worth compressing
_LENGTH = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=from_extension)

# Per STAT_ROWS values of a chunk. `first` and `last` are in order of writing.
STAT = np.dtype(
    [
        ("first", "<f8"),
        ("last", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("sum", "<f8"),
        ("count", "<u2"),
        ("nan", "<u2"),
        ("posinf", "<u2"),
        ("neginf", "<u2"),
    ]
)
# Per STAT_ROWS rows of a slab, or values of a chunk that not all rows have.
AXIS = np.dtype(
    [
        ("min_step", "<f8"),
        ("max_step", "<f8"),
        ("min_time", "<i8"),
        ("max_time", "<i8"),
        ("distinct", "<u2"),  # at most so many different steps
        ("sorted", "<u2"),  # steps and times never fall
    ]
)


class Axes(NamedTuple):
    """The axes of a slab, one item per row."""

    steps: Numbers
    times: Ints
    seqs: Ints


class Chunk(NamedTuple):
    """A chunk as it is stored.

    Args:
        kind: "s" for floats that fit in 32 bits, "f", "i", "o"; "F" and "I" for so few that nothing is compressed.
        points: Values in it.
        stats: `STAT` records of its numbers, compressed; with `AXIS` records where not all rows have a number. Empty
            for "F" and "I".
        data: Its values, compressed, with the indices of their rows.
    """

    kind: str
    points: int
    stats: bytes
    data: bytes


def pack_axes(rows: Rows) -> tuple[bytes, bytes]:
    """Answer a slab's axes, compressed, and their `AXIS` records."""
    is_float = rows.steps.dtype == np.float64
    steps = _shuffle(rows.steps if is_float else _deltas(rows.steps))
    body = (is_float, len(rows), steps, _shuffle(_deltas(rows.times)), _shuffle(_deltas(rows.seqs)))
    return zstd.compress(_encoder.encode(body), _LEVEL), zstd.compress(
        axis_records(rows.steps, rows.times).tobytes(), 1
    )


def unpack_axes(data: bytes) -> Axes:
    """Read the axes of `pack_axes`."""
    is_float, count, steps, times, seqs = _decoder.decode(zstd.decompress(data))
    return Axes(
        _unshuffle(steps, count, "<f8") if is_float else np.cumsum(_unshuffle(steps, count, "<i8")),
        np.cumsum(_unshuffle(times, count, "<i8")),
        np.cumsum(_unshuffle(seqs, count, "<i8")),
    )


def unpack_axis_records(data: bytes) -> np.ndarray:
    """Read the `AXIS` records of `pack_axes`."""
    return np.frombuffer(zstd.decompress(data), AXIS)


def pack_chunk(cells: Cells, rows: Rows) -> Chunk:
    """Answer the chunk of one key of a slab."""
    count = len(rows)
    where = _pack_places(cells.at, count)
    if len(cells.values) <= FEW_VALUES and cells.kind != "o":
        data = _LENGTH.pack(len(where)) + where + _shuffle(cells.values)
        return Chunk(cells.kind.upper(), len(cells.values), b"", data)
    kind, payload = _pack_values(cells)
    numbers, at = cells.numbers()
    stats = stat_records(numbers).tobytes()
    if at is not None:
        stats += axis_records(rows.steps[at], rows.times[at]).tobytes()
    flags = _SPARSE if at is not None else 0
    if len(stats) > _WORTH_BYTES:
        stats = zstd.compress(stats, 1)
        flags |= _ZSTD
    data = _LENGTH.pack(len(where)) + where + payload
    return Chunk(kind, len(cells.values), bytes([flags]) + stats, data)


def unpack_chunk(kind: str, data: bytes, points: int, rows: int) -> Cells:
    """Read a chunk of a slab of `rows` rows back."""
    (length,) = _LENGTH.unpack_from(data)
    at = _unpack_places(data[4 : 4 + length], points, rows) if length else None
    packed = memoryview(data)[4 + length :]
    if kind in "FI":
        return Cells(kind.lower(), _unshuffle(packed, points, "<f8" if kind == "F" else "<i8"), at)
    raw = zstd.decompress(packed)
    if kind == "o":
        return Cells("o", _decoder.decode(raw), at)
    if kind == "s":
        return Cells("f", _unshuffle(raw, points, "<f4").astype(np.float64), at)
    return Cells(kind, _unshuffle(raw, points, "<f8" if kind == "f" else "<i8"), at)


def places_of(data: bytes) -> bytes:
    """Answer what tells the rows of a chunk: the same bytes for the same rows, if it has as many values."""
    (length,) = _LENGTH.unpack_from(data)
    return data[4 : 4 + length]


def unpack_stats(stats: bytes) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a chunk's `STAT` records, and its own `AXIS` records where it has some."""
    raw = zstd.decompress(memoryview(stats)[1:]) if stats[0] & _ZSTD else stats[1:]
    if not stats[0] & _SPARSE:
        return np.frombuffer(raw, STAT), None
    count = len(raw) // (STAT.itemsize + AXIS.itemsize)
    return np.frombuffer(raw, STAT, count), np.frombuffer(raw, AXIS, count, count * STAT.itemsize)


def stat_records(values: Floats) -> np.ndarray:
    """Sum up each `STAT_ROWS` values: `STAT` records."""
    starts = np.arange(0, len(values), STAT_ROWS)
    found = np.zeros(len(starts), STAT)
    if not len(starts):
        return found
    ends = np.minimum(starts + STAT_ROWS, len(values))
    found["first"] = values[starts]
    found["last"] = values[ends - 1]
    found["count"] = ends - starts
    finite = np.isfinite(values)
    if finite.all():
        found["min"] = np.minimum.reduceat(values, starts)
        found["max"] = np.maximum.reduceat(values, starts)
        found["sum"] = np.add.reduceat(values, starts)
        return found
    for name, which in (("nan", np.isnan(values)), ("posinf", values == np.inf), ("neginf", values == -np.inf)):
        found[name] = np.add.reduceat(which.astype(np.int64), starts)
    found["min"] = np.minimum.reduceat(np.where(finite, values, np.inf), starts)
    found["max"] = np.maximum.reduceat(np.where(finite, values, -np.inf), starts)
    found["sum"] = np.add.reduceat(np.where(finite, values, 0.0), starts)
    return found


def axis_records(steps: Numbers, times: Ints) -> np.ndarray:
    """Sum up each `STAT_ROWS` rows: `AXIS` records."""
    starts = np.arange(0, len(steps), STAT_ROWS)
    found = np.zeros(len(starts), AXIS)
    if not len(starts):
        return found
    found["min_step"] = np.minimum.reduceat(steps, starts)
    found["max_step"] = np.maximum.reduceat(steps, starts)
    found["min_time"] = np.minimum.reduceat(times, starts)
    found["max_time"] = np.maximum.reduceat(times, starts)
    falls = np.zeros(len(steps), np.int64)
    falls[1:] = (steps[1:] < steps[:-1]) | (times[1:] < times[:-1])
    moves = np.ones(len(steps), np.int64)
    moves[1:] = steps[1:] != steps[:-1]
    falls[starts] = 0
    moves[starts] = 1
    found["sorted"] = np.add.reduceat(falls, starts) == 0
    found["distinct"] = np.add.reduceat(moves, starts)
    return found


def _pack_values(cells: Cells) -> tuple[str, bytes]:
    if cells.kind == "o":
        return "o", zstd.compress(_encoder.encode(encodable(list(cells.values))), _LEVEL)
    values = cells.values
    kind = cells.kind
    if kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            short = values.astype(np.float32)
        if np.array_equal(short.astype(np.float64).view(np.int64), np.ascontiguousarray(values).view(np.int64)):
            kind, values = "s", short  # began as 32-bit floats: the other half is zeros
    return kind, zstd.compress(_shuffle(values), _LEVEL)


def _pack_places(at: Ints | None, rows: int) -> bytes:
    if at is None:
        return b""
    if len(at) * 16 < rows:
        return at.astype("<u2").tobytes()
    mask = np.zeros(rows, np.uint8)
    mask[at] = 1
    return zstd.compress(np.packbits(mask).tobytes(), 1)


def _unpack_places(data: bytes, points: int, rows: int) -> Ints:
    if points * 16 < rows:
        return np.frombuffer(data, "<u2").astype(np.int64)
    mask = np.unpackbits(np.frombuffer(zstd.decompress(data), np.uint8), count=rows)
    return np.flatnonzero(mask)


def _deltas(values: Ints) -> Ints:
    return np.diff(values, prepend=np.int64(0))  # wraps at both ends of 64 bits, and so does the sum


def _shuffle(values: Numbers) -> bytes:
    """First bytes of all values, then the second ones, ...: values of one metric share signs and exponents."""
    size = values.dtype.itemsize
    plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return bytes(plain.view(np.uint8).reshape(-1, size).T.tobytes())


def _unshuffle(data: bytes | memoryview, count: int, kind: str) -> Any:
    size = int(kind[2])
    return np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(size, count).T).view(kind).reshape(count)
