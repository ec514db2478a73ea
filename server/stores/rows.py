"""Rows of one stream in columns, as numpy arrays: what comes in, what waits in a tail, what is cut into slabs."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...core.journal import Block, Column
from ...core.samples import is_sample
from ...core.values import encodable, from_extension

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Numbers = NDArray[Any]  # int64 or float64

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=from_extension)
_EXACT = 2**53
TABLE_KEYS = 8  # from so many keys on, floats that all rows have are kept in one array


class Cells(NamedTuple):
    """The values of one key.

    Args:
        kind: "f" for float64, "i" for int64, "o" for anything msgpack holds.
        values: An array of that type, or a list for "o"; one item per row that has the key.
        at: Indices (int64) of the rows that have the key, rising; None where all rows have it.
    """

    kind: str
    values: Any
    at: Ints | None = None

    def numbers(self) -> tuple[Floats, Ints | None]:
        """Answer what can be charted as float64 (booleans as 0 and 1), and which rows it stands in."""
        if self.kind != "o":
            return self.values.astype(np.float64, copy=False), self.at
        places = [index for index, value in enumerate(self.values) if isinstance(value, (bool, int, float))]
        floats = np.fromiter((_float(self.values[index]) for index in places), np.float64, len(places))
        if len(places) == len(self.values):
            return floats, self.at
        chosen = np.array(places, np.int64)
        return floats, chosen if self.at is None else self.at[chosen]

    def take(self, low: int, high: int, rows: int) -> Cells | None:
        """Answer what stands in rows `low` up to `high` of `rows`; None where that is nothing."""
        if self.at is None:
            return self if low == 0 and high == rows else self._replace(values=self.values[low:high])
        first, last = np.searchsorted(self.at, (low, high))
        if first == last:
            return None
        at = self.at[first:last] - low
        return Cells(self.kind, self.values[first:last], None if len(at) == high - low else at)

    def pick(self, keep: Ints, rows: int) -> Cells | None:
        """Answer what stands in the rows of these indices (in their order); None where that is nothing."""
        if self.at is None:
            return Cells(self.kind, _picked(self.values, keep))
        place = np.full(rows, -1, np.int64)
        place[self.at] = np.arange(len(self.at))
        found = place[keep]
        at = np.flatnonzero(found >= 0)
        if not len(at):
            return None
        return Cells(self.kind, _picked(self.values, found[at]), None if len(at) == len(keep) else at)


class Table(Mapping[str, Cells]):
    """Cells of many keys that all rows have, all of them floats: one array, so that ten thousand keys cost little.

    Args:
        names: The keys.
        numbers: Their values, (keys, rows).
    """

    def __init__(self, names: Sequence[str], numbers: Floats) -> None:
        self.names = names
        self.numbers = numbers

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def __getitem__(self, key: str) -> Cells:
        """Answer the values of a key."""
        return Cells("f", self.numbers[self._places[key]])

    def __contains__(self, key: object) -> bool:
        """Answer whether there is such a key."""
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        """Walk the keys."""
        return iter(self.names)

    def __len__(self) -> int:
        """Answer the number of keys."""
        return len(self.names)


@dataclass(frozen=True)
class Rows:
    """Rows of one stream, in order of writing.

    Args:
        seqs: Sequence numbers, rising; gaps are records that are no rows.
        times: Nanoseconds since the epoch.
        steps: int64, or float64 where one of them is no whole number.
        cells: By key, in order of first appearance.
    """

    seqs: Ints
    times: Ints
    steps: Numbers
    cells: Mapping[str, Cells]

    def __len__(self) -> int:
        """Answer the number of rows."""
        return len(self.seqs)

    @property
    def points(self) -> int:
        """How many values the rows hold."""
        if isinstance(self.cells, Table):
            return self.cells.numbers.size
        return sum(len(cells.values) for cells in self.cells.values())

    @property
    def memory_bytes(self) -> int:
        """About how much memory they take."""
        if isinstance(self.cells, Table):
            return 24 * len(self) + 80 * len(self.cells) + self.cells.numbers.nbytes
        return (
            24 * len(self)
            + 300 * len(self.cells)
            + sum(
                len(cells.values) * (64 if cells.kind == "o" else 8 if cells.at is None else 16)
                for cells in self.cells.values()
            )
        )

    @classmethod
    def from_block(cls, block: Block) -> Rows:
        """See a block as arrays; numbers are not copied."""
        count = len(block.times)
        steps = np.frombuffer(block.steps, np.int64 if block.steps.typecode == "q" else np.float64)
        seqs = np.arange(block.first_seq, block.first_seq + count, dtype=np.int64)
        times = np.frombuffer(block.times, np.int64)
        columns = block.columns.values()
        if len(columns) >= TABLE_KEYS and all(column.kind == "f" and column.present is None for column in columns):
            joined: Any = b"".join([column.values for column in columns])  # type: ignore[misc] # arrays are buffers
            return cls(seqs, times, steps, Table(list(block.columns), np.frombuffer(joined).reshape(-1, count)))
        cells = {}
        for key, column in block.columns.items():
            values: Any = column.values
            if column.kind != "o":
                values = np.frombuffer(values, _dtype(column.kind))
            at = None if column.present is None else np.flatnonzero(np.frombuffer(column.present, np.uint8))
            cells[key] = Cells(column.kind, values, at)
        return cls(seqs, times, steps, cells)

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Rows:
        """Put rows behind each other."""
        if len(parts) == 1:
            return parts[0]
        tables = [part.cells for part in parts if isinstance(part.cells, Table)]
        if len(tables) == len(parts) and all(table.names == tables[0].names for table in tables):
            return cls(
                np.concatenate([part.seqs for part in parts]),
                np.concatenate([part.times for part in parts]),
                np.concatenate([part.steps for part in parts]),
                Table(tables[0].names, np.concatenate([table.numbers for table in tables], axis=1)),
            )
        found: dict[str, list[tuple[int, int, Cells]]] = {}
        base = 0
        for part in parts:
            for key, cells in part.cells.items():
                found.setdefault(key, []).append((base, len(part), cells))
            base += len(part)
        return cls(
            np.concatenate([part.seqs for part in parts]),
            np.concatenate([part.times for part in parts]),
            np.concatenate([part.steps for part in parts]),
            {key: _joined(pieces, base) for key, pieces in found.items()},
        )

    def take(self, low: int, high: int) -> Rows:
        """Answer the rows from index `low` up to `high`."""
        axes = (self.seqs[low:high], self.times[low:high], self.steps[low:high])
        if isinstance(self.cells, Table):
            return Rows(*axes, Table(self.cells.names, self.cells.numbers[:, low:high]))
        count = len(self)
        cells = {}
        for key, column in self.cells.items():
            if (taken := column.take(low, high, count)) is not None:
                cells[key] = taken
        return Rows(*axes, cells)

    def pick(self, keep: Ints) -> Rows:
        """Answer the rows of these indices, in their order."""
        axes = (self.seqs[keep], self.times[keep], self.steps[keep])
        if isinstance(self.cells, Table):
            return Rows(*axes, Table(self.cells.names, self.cells.numbers[:, keep]))
        count = len(self)
        cells = {}
        for key, column in self.cells.items():
            if (taken := column.pick(keep, count)) is not None:
                cells[key] = taken
        return Rows(*axes, cells)

    def only(self, keys: Sequence[str]) -> Rows:
        """Answer the rows that have one of these keys, and nothing but those keys."""
        cells = {key: self.cells[key] for key in keys if key in self.cells}
        if any(column.at is None for column in cells.values()):
            return replace(self, cells=cells)
        has = np.zeros(len(self), np.bool_)
        for column in cells.values():
            has[column.at] = True
        return replace(self, cells=cells).pick(np.flatnonzero(has))

    def logged(self) -> Rows:
        """Answer the rows without samples of the machine, and without the rows that are nothing else."""
        logged = {key: column for key, column in self.cells.items() if not is_sample(key)}
        if len(logged) == len(self.cells):
            return self
        return replace(self, cells=logged).pick(self.logged_at())

    def logged_at(self) -> Ints:
        """Answer the indices of the rows that are not samples alone."""
        found = np.zeros((2, len(self)), np.bool_)
        for key, column in self.cells.items():
            found[int(is_sample(key)), slice(None) if column.at is None else column.at] = True
        logged, sampled = found
        return np.flatnonzero(logged | ~sampled)

    def blocks(self, first_seq: int, size: int) -> Iterator[Block]:
        """Cut the rows into blocks of at most `size` rows, numbered from `first_seq` on."""
        for low in range(0, len(self), size):
            part = self.take(low, min(low + size, len(self)))
            count = len(part)
            columns = {}
            for key, column in part.cells.items():
                values = column.values
                if column.kind != "o":
                    values = array("d" if column.kind == "f" else "q", np.ascontiguousarray(values).tobytes())
                present = None
                if column.at is not None:
                    mask = np.zeros(count, np.uint8)
                    mask[column.at] = 1
                    present = mask.tobytes()
                columns[key] = Column(column.kind, values, present)
            steps = array("q" if part.steps.dtype == np.int64 else "d", np.ascontiguousarray(part.steps).tobytes())
            yield Block(first_seq + low, steps, array("q", np.ascontiguousarray(part.times).tobytes()), columns)

    def encode(self) -> bytes:
        """Answer the rows as bytes: quickly, not tightly; they wait only until there are enough for a slab."""
        axes = (_raw(self.seqs), _raw(self.times), self.steps.dtype == np.float64, _raw(self.steps))
        if isinstance(self.cells, Table):
            return _encoder.encode((*axes, list(self.cells.names), _raw(self.cells.numbers)))
        columns = [
            (
                key,
                cells.kind,
                None if cells.at is None else cells.at.astype("<i4").tobytes(),
                _encoder.encode(encodable(list(cells.values))) if cells.kind == "o" else _raw(cells.values),
            )
            for key, cells in self.cells.items()
        ]
        return _encoder.encode((*axes, columns, None))

    @classmethod
    def decode(cls, data: bytes) -> Rows:
        """Read `encode`'s bytes."""
        seqs, times, is_float, steps, columns, table = _decoder.decode(data)
        cells: Any = {}
        if table is not None:
            cells = Table(columns, np.frombuffer(table, "<f8").reshape(len(columns), len(seqs) // 8))
            columns = []
        for key, kind, at, raw in columns:
            values = _decoder.decode(raw) if kind == "o" else np.frombuffer(raw, "<f8" if kind == "f" else "<i8")
            cells[key] = Cells(kind, values, None if at is None else np.frombuffer(at, "<i4").astype(np.int64))
        return cls(
            np.frombuffer(seqs, "<i8"),
            np.frombuffer(times, "<i8"),
            np.frombuffer(steps, "<f8" if is_float else "<i8"),
            cells,
        )


def span(steps: Numbers) -> tuple[float, float]:
    """Answer the smallest and the largest step; without bounds where one is no number at all."""
    low, high = float(steps.min()), float(steps.max())
    return (low, high) if low <= high else (-np.inf, np.inf)


def _dtype(kind: str) -> Any:
    return np.float64 if kind == "f" else np.int64


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond 1.8e308
        return float("inf") if value > 0 else float("-inf")


def _picked(values: Any, keep: Ints) -> Any:
    return [values[index] for index in keep] if isinstance(values, list) else values[keep]


def _raw(values: Numbers) -> bytes:
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def _joined(pieces: Sequence[tuple[int, int, Cells]], rows: int) -> Cells:
    kinds = {cells.kind for _, _, cells in pieces}
    kind = kinds.pop() if len(kinds) == 1 else _common(kinds, pieces)
    values: Any
    if kind == "o":
        values = [value for _, _, cells in pieces for value in _listed(cells)]
    else:
        values = np.concatenate([cells.values for _, _, cells in pieces]).astype(_dtype(kind), copy=False)
    if len(values) == rows:
        return Cells(kind, values)
    at = [base + (np.arange(count, dtype=np.int64) if cells.at is None else cells.at) for base, count, cells in pieces]
    return Cells(kind, values, np.concatenate(at))


def _common(kinds: set[str], pieces: Sequence[tuple[int, int, Cells]]) -> str:
    if "o" in kinds:
        return "o"
    # 0, 0.5, 1: a metric whose first value was written as an int; floats hold those up to 2**53.
    for _, _, cells in pieces:
        if cells.kind == "i" and (cells.values.min() < -_EXACT or cells.values.max() > _EXACT):
            return "o"
    return "f"


def _listed(cells: Cells) -> list[Any]:
    return list(cells.values) if cells.kind == "o" else cells.values.tolist()


__all__ = ["Cells", "Floats", "Ints", "Numbers", "Rows", "Table", "span"]
