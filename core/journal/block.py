"""Blocks: many rows packed in columns, for a closed segment, for the wire and for the stores.

A column of numbers is the same bytes an array of them has, with the first bytes of all values first, then the
second ones, and so on: values of one metric share signs and exponents, and floats that began as 32-bit ones share
their zeros, so zstd finds long runs. With ten metrics a row this comes to under 4 bytes a point.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, pairwise
from operator import sub
from typing import Any, NamedTuple

import msgspec

from ..errors import FormatError
from ..limits import BLOCK_BYTES, BLOCK_ROWS, MAX_BLOCK_BYTES
from ..values import encodable, from_extension, readable
from .frame import ZSTD, Frame, encode_frame

if sys.version_info >= (3, 14):  # pragma: no cover - one of the two, by version
    from compression import zstd
else:
    from backports import zstd

BLOCK = 2
_LEVEL = 3  # 3.7 bytes a point for ten metrics; 1 gives 4.0, 9 gives 3.7 at four times the cost
# What from_rows may answer to rows that no row should look like.
UNPACKABLE = (msgspec.DecodeError, OverflowError, RecursionError, ValueError)
_MAX_SHAPES = 16  # kinds of rows in a block that are packed kind by kind
_MAX_OBJECT_BYTES = 32 << 20  # of all columns of texts and lists of a block; a byte of msgpack may unfold to 64
_encoder = msgspec.msgpack.Encoder()
_values_decoder = msgspec.msgpack.Decoder(list[Any], ext_hook=from_extension)
_row_decoder = msgspec.msgpack.Decoder(tuple[int | float, int, dict[str, Any]], ext_hook=from_extension)


class _Body(msgspec.Struct):
    """The payload of a BLOCK frame, unpacked; more fields may come."""

    n: int
    steps: tuple[str, bytes]
    times: bytes
    columns: list[tuple[str, str, bytes | None, bytes]]


_body_decoder = msgspec.msgpack.Decoder(_Body)


class Column(NamedTuple):
    """The values of one key in a block.

    Args:
        kind: "f" for float64, "i" for int64, "o" for anything msgpack holds.
        values: `array('d')`, `array('q')` or a list, one item per row that has the key.
        present: One byte per row of the block (1: the row has the key), or None where all rows have it.
    """

    kind: str
    values: Sequence[Any]
    present: bytes | None = None


class Block(NamedTuple):
    """Consecutive rows of one stream, in columns.

    Args:
        first_seq: Sequence number of the first row; the others follow one by one.
        steps: `array('q')` or `array('d')`, one per row.
        times: `array('q')` of nanoseconds since the epoch, one per row.
        columns: By key, in order of first appearance.
    """

    first_seq: int
    steps: array[Any]
    times: array[int]
    columns: dict[str, Column]

    @property
    def last_seq(self) -> int:
        """The sequence number of the last row."""
        return self.first_seq + len(self.times) - 1

    def __len__(self) -> int:
        """Answer the number of rows."""
        return len(self.times)

    @classmethod
    def from_rows(cls, first_seq: int, payloads: Sequence[bytes]) -> Block:
        """Pack the payloads of consecutive ROW frames."""
        rows = [decode_row(payload) for payload in payloads]
        steps, times, maps = zip(*rows, strict=True)
        return cls(first_seq, _numbers(steps), array("q", times), _columns(maps))

    def rows(self) -> Iterator[tuple[int | float, int, dict[str, Any]]]:
        """Walk the rows as they were logged: step, time in nanoseconds, values."""
        maps: list[dict[str, Any]] = [{} for _ in self.times]
        for key, column in self.columns.items():
            if column.present is None:
                for row, value in zip(maps, column.values, strict=True):
                    row[key] = value
            else:
                values = iter(column.values)
                for row, has in zip(maps, column.present, strict=True):
                    if has:
                        row[key] = next(values)
        return zip(self.steps, self.times, maps, strict=True)

    def after(self, seq: int) -> Block:
        """Answer the rows behind `seq`: what is new to a reader that already has up to there."""
        skip = seq - self.first_seq + 1
        if skip <= 0:
            return self
        columns = {}
        for key, column in self.columns.items():
            gone = skip if column.present is None else column.present[:skip].count(1)
            if values := column.values[gone:]:
                columns[key] = column._replace(
                    values=values, present=None if column.present is None else column.present[skip:]
                )
        return Block(seq + 1, self.steps[skip:], self.times[skip:], columns)

    def to_frame(self) -> bytes:
        """Answer the block as one frame, compressed."""
        steps = self.steps
        is_float = steps.typecode == "d"
        body = {
            "n": len(self),
            "steps": ["f" if is_float else "i", _shuffle(steps if is_float else _deltas(steps))],
            "times": _shuffle(_deltas(self.times)),
            "columns": [
                [
                    key,
                    column.kind,
                    None if column.present is None else _squeeze(column.present),
                    _encoder.encode(encodable(column.values)) if column.kind == "o" else _shuffle(column.values),
                ]
                for key, column in self.columns.items()
            ],
        }
        return encode_frame(BLOCK, self.first_seq, zstd.compress(_encoder.encode(body), _LEVEL), ZSTD, len(self))

    @classmethod
    def from_frame(cls, frame: Frame) -> Block:
        """Unpack a BLOCK frame.

        Raises:
            FormatError: The payload is no block, or unfolds to more than `MAX_BLOCK_BYTES`.
        """
        try:
            body = _body_decoder.decode(_decompress(frame.payload) if frame.flags & ZSTD else frame.payload)
            if not 0 < body.n == frame.records:
                raise ValueError(f"it tells of {body.n} rows, its frame of {frame.records}")
            if sum(len(raw) for _, kind, _, raw in body.columns if kind == "o") > _MAX_OBJECT_BYTES:
                raise ValueError("its columns of texts are too large")
            kind, raw = body.steps
            steps = _unshuffle(raw, "d", body.n) if kind == "f" else _running_sum(_unshuffle(raw, "q", body.n))
            times = _running_sum(_unshuffle(body.times, "q", body.n))
            columns = {key: _column(kind, mask, raw, body.n) for key, kind, mask, raw in body.columns}
        except (zstd.ZstdError, *UNPACKABLE) as error:
            raise FormatError(f"the block at seq {frame.seq} cannot be unpacked: {error}") from error
        return cls(frame.seq, steps, times, columns)


class Packer:
    """Gathers consecutive rows into blocks that are neither too long nor too large.

    Args:
        first_seq: The number of the first row to come.
    """

    def __init__(self, first_seq: int) -> None:
        self.first_seq = first_seq
        self.rows: list[bytes] = []
        self._bytes = 0

    @property
    def next_seq(self) -> int:
        """The number that the next row must have."""
        return self.first_seq + len(self.rows)

    def takes(self, payload: bytes) -> bool:
        """Answer whether one more row fits."""
        return len(self.rows) < BLOCK_ROWS and (not self.rows or self._bytes + len(payload) <= BLOCK_BYTES)

    def add(self, payload: bytes) -> None:
        """Take a row."""
        self.rows.append(payload)
        self._bytes += len(payload)

    def blocks(self) -> Iterator[Block | tuple[int, bytes]]:
        """Walk what was gathered: one block; around a row that cannot be packed, several, and that row as it is."""
        yield from _blocks(self.first_seq, self.rows)


def _blocks(first_seq: int, rows: list[bytes]) -> Iterator[Block | tuple[int, bytes]]:
    if not rows:
        return
    try:
        yield Block.from_rows(first_seq, rows)
    except UNPACKABLE:
        if len(rows) == 1:
            yield first_seq, rows[0]
            return
        half = len(rows) // 2
        yield from _blocks(first_seq, rows[:half])
        yield from _blocks(first_seq + half, rows[half:])


def decode_row(payload: bytes) -> tuple[int | float, int, dict[str, Any]]:
    """Decode the payload of a ROW frame: step, time in nanoseconds, values with nested dicts dotted."""
    step, time_ns, data = _row_decoder.decode(payload)
    for value in data.values():
        if type(value) is dict:
            return step, time_ns, dict(flatten(data))
    return step, time_ns, data


def flatten(data: dict[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk a nested dict as dotted keys; an empty dict stays a value."""
    # No recursion: some Pythons encode deeper dicts than they can walk by calls.
    open_dicts = [(prefix, iter(data.items()))]
    while open_dicts:
        before, items = open_dicts[-1]
        for key, value in items:
            if type(value) is dict and value:
                open_dicts.append((f"{before}{key}.", iter(value.items())))
                break
            yield f"{before}{key}", value
        else:
            open_dicts.pop()


def _columns(maps: Sequence[dict[str, Any]]) -> dict[str, Column]:
    first = maps[0]
    keys = first.keys()
    if all(row.keys() == keys for row in maps):
        order = list(first)
        if all(list(row) == order for row in maps):  # the usual case, at the speed of zip
            return {
                key: _packed(values)
                for key, values in zip(order, zip(*[row.values() for row in maps], strict=True), strict=True)
            }
        return {key: _packed([row[key] for row in maps]) for key in order}
    if (found := _columns_of_shapes(maps)) is not None:
        return found
    values: dict[str, list[Any]] = {}
    places: dict[str, bytearray] = {}
    count = len(maps)
    for index, row in enumerate(maps):
        for key, value in row.items():
            if key not in values:
                values[key] = []
                places[key] = bytearray(count)
            values[key].append(value)
            places[key][index] = 1
    return {
        key: _packed(column, None if len(column) == count else bytes(places[key])) for key, column in values.items()
    }


def _columns_of_shapes(maps: Sequence[dict[str, Any]]) -> dict[str, Column] | None:
    """Pack rows of a few kinds that share no key: a training's rows, and the samples of its machine among them."""
    shapes: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(maps):
        shape = tuple(row)
        at = shapes.get(shape)
        if at is None:
            if len(shapes) == _MAX_SHAPES:
                return None
            at = shapes[shape] = []
        at.append(index)
    if sum(map(len, shapes)) != len(set(chain.from_iterable(shapes))):
        return None
    found: dict[str, Column] = {}
    for shape, at in shapes.items():
        mask = bytearray(len(maps))
        for index in at:
            mask[index] = 1
        present = bytes(mask)
        for key, values in zip(shape, zip(*[maps[index].values() for index in at], strict=True), strict=True):
            found[key] = _packed(values, present)
    return found


def _packed(values: Sequence[Any], present: bytes | None = None) -> Column:
    types = set(map(type, values))
    try:
        if types == {float}:
            return Column("f", array("d", values), present)
        if types == {int}:
            return Column("i", array("q", values), present)
        # 0, 0.5, 1: a metric whose first value was written as an int. Exact up to 2**53.
        if types == {int, float} and all(-(2**53) <= v <= 2**53 for v in values if type(v) is int):
            return Column("f", array("d", values), present)
    except OverflowError:  # beyond 64 bits
        pass
    return Column("o", [readable(value) for value in values], present)


def _numbers(values: Sequence[Any]) -> array[Any]:
    try:
        return array("q", values)
    except (TypeError, OverflowError):
        return array("d", values)


def _column(kind: str, mask: bytes | None, raw: bytes, count: int) -> Column:
    present = None if mask is None else _unsqueeze(mask, count)
    held = count if present is None else present.count(1)
    if typecode := _TYPECODES.get(kind):
        return Column(kind, _unshuffle(raw, typecode, held), present)
    if kind != "o":
        raise ValueError(f"a column of the unknown kind {kind!r}")
    values = _values_decoder.decode(raw)
    if len(values) != held:
        raise ValueError(f"a column of {len(values)} values where {held} were announced")
    return Column(kind, values, present)


def _shuffle(values: Sequence[Any]) -> bytes:
    raw = _little(values).tobytes()
    return b"".join([raw[byte::8] for byte in range(8)])


def _unshuffle(raw: bytes, typecode: str, count: int) -> array[Any]:
    if len(raw) != 8 * count:
        raise ValueError(f"a column of {len(raw)} bytes where {count} numbers were announced")
    plain = bytearray(len(raw))
    for byte in range(8):
        plain[byte::8] = raw[byte * count : (byte + 1) * count]
    return _little(array(typecode, bytes(plain)))


def _little(values: Sequence[Any]) -> array[Any]:
    numbers = values if isinstance(values, array) else array("q", values)
    if sys.byteorder == "big":  # pragma: no cover - no such machine at hand
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers


def _deltas(values: array[int]) -> array[int]:
    try:
        return array("q", [values[0], *map(sub, values[1:], values)])
    except OverflowError:  # steps at both ends of 64 bits: the differences wrap, and so do the sums
        wrapped = [values[0], *((b - a + 2**63) % 2**64 - 2**63 for a, b in pairwise(values))]
        return array("q", wrapped)


def _running_sum(deltas: array[int]) -> array[int]:
    try:
        return array("q", accumulate(deltas))
    except OverflowError:
        return array("q", accumulate(deltas, lambda a, b: (a + b + 2**63) % 2**64 - 2**63))


def _squeeze(present: bytes) -> bytes:
    # Eight flags a byte, lowest bit first. As one big number: int() reads binary text at C speed.
    return int(present[::-1].translate(_TO_DIGITS), 2).to_bytes((len(present) + 7) // 8, "little")


def _unsqueeze(mask: bytes, count: int) -> bytes:
    if len(mask) != (count + 7) // 8:
        raise ValueError(f"a mask of {len(mask)} bytes for {count} rows")
    return f"{int.from_bytes(mask, 'little'):0{count}b}"[::-1][:count].encode().translate(_FROM_DIGITS)


_TYPECODES = {"f": "d", "i": "q"}
_TO_DIGITS = bytes([48, 49]) + bytes(254)
_FROM_DIGITS = bytes(49) + b"\x01" + bytes(206)


def _decompress(data: bytes) -> bytes:
    size = zstd.get_frame_info(data).decompressed_size
    if size is None or size > MAX_BLOCK_BYTES:
        raise ValueError(f"it unfolds to {size} bytes, at most {MAX_BLOCK_BYTES} are taken")
    unpacked: bytes = zstd.ZstdDecompressor().decompress(data, max_length=size)
    return unpacked
