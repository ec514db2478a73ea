"""Gathering what a chart is drawn from: statistics where many points share a bucket, the points themselves elsewhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .buckets import Points
from .chunks import STAT_ROWS, Axes, places_of, unpack_chunk
from .groups import ChunkRef, Flags, Groups, Piece
from .rewinds import hidden
from .rows import Cells, Floats, Ints
from .source import Source

if TYPE_CHECKING:
    from .metrics import RunState

_REFS = (  # `where` is one of our own conditions, its values are parameters
    "SELECT c.id, s.id, s.stream, s.first_seq, s.last_seq, s.rows, c.kind, c.points"
    " FROM chunks c CROSS JOIN slabs s ON s.id = c.slab"
    " WHERE c.run = ? AND c.key = ?{where} ORDER BY s.stream, s.first_seq"
)
_Column = tuple[Ints, Floats, Ints]  # sequence numbers, values, times


class Gathering:
    """One question for the points of a key.

    Args:
        source: Where slabs and tails are opened.
        db: A connection that sees one state of the file.
        state: The run.
        key: The key's number.
        x: `_step`, `_time`, `_runtime`, or a metric.
        start_ns: What `_runtime` counts from.
    """

    def __init__(
        self, source: Source, db: sqlite3.Connection, state: RunState, key: int, x: str, start_ns: int
    ) -> None:
        self._source = source
        self._db = db
        self._state = state
        self._key = key
        self._x = x
        self._start_ns = start_ns
        self._over = None if x.startswith("_") and x in ("_step", "_time", "_runtime") else state.stats.place(x)
        self._chunks: list[ChunkRef] = []
        self._over_chunks: list[ChunkRef] = []
        self._known: dict[int, tuple[Piece, Flags | None]] = {}

    def points(self, low: float | None, high: float | None, buckets: int, log_x: bool) -> Points:
        """Gather; the range is seen to roughly here, exactly by `bucketed`."""
        if self._x in ("_step", "_time", "_runtime"):
            self._chunks = self._refs(self._key, *self._slab_limits(low, high))
            tails = self._tails()
        elif self._over is None:
            return _joined([], None)
        else:
            self._chunks = self._refs(self._key)
            found = self._tails_over_metric() if self._is_many(buckets) else None
            if found is None or not self._is_aligned():
                return self._all_over_metric()
            tails = found
        if not self._is_many(buckets):
            return _joined([self._whole(index) for index in range(len(self._chunks))] + tails, None)
        groups = (
            Groups.over_metric(self._db, self._chunks, self._over_chunks)
            if self._over is not None
            else Groups.over_rows(self._db, self._chunks, None if self._x == "_step" else self._of_times)
        )
        groups.drop_hidden(self._state.rewinds, self._chunks)
        groups.drop_outside(low, high)
        lowest, highest = groups.span(tails + self._opened(groups, groups.is_open), low, high)
        groups.is_open |= groups.wide(lowest, highest, buckets, log_x)
        if groups.may_be_exact(buckets, over_steps=self._x == "_step"):
            groups.is_open |= groups.closed()
        # All at once: each stream's points in order of writing, which decides among those of equal x and time.
        return _joined(self._opened(groups, groups.is_open) + tails, groups.items())

    def _is_many(self, buckets: int) -> bool:
        return sum(chunk.points for chunk in self._chunks) > STAT_ROWS * buckets

    # --- over steps and time -------------------------------------------------------------

    def _refs(self, key: int, where: str = "", values: Sequence[float] = ()) -> list[ChunkRef]:
        sql = _REFS.format(where=where)
        return [ChunkRef(*row) for row in self._db.execute(sql, (self._state.id, key, *values))]

    def _slab_limits(self, low: float | None, high: float | None) -> tuple[str, list[float]]:
        """Answer the condition that a slab may hold points of the range."""
        names = ("s.max_step", "s.min_step") if self._x == "_step" else ("s.max_time", "s.min_time")
        where, values = "", []
        for name, sign, limit, margin in ((names[0], ">=", low, -1e3), (names[1], "<=", high, 1e3)):
            if limit is not None and np.isfinite(limit):
                where += f" AND {name} {sign} ?"
                if self._x == "_runtime":
                    limit = limit * 1e9 + self._start_ns
                values.append(float(limit) + (0.0 if self._x == "_step" else margin))
        return where, values

    def _of_times(self, times: Ints) -> Floats:
        return times.astype(np.float64) if self._x == "_time" else (times - self._start_ns) / 1e9

    def _x_of(self, axes: Axes) -> Floats:
        return axes.steps.astype(np.float64) if self._x == "_step" else self._of_times(axes.times)

    def _piece(self, stream: int, axes: Axes, cells: Cells) -> tuple[Piece, Flags | None]:
        """Answer the points of a column of rows, and which of them are hidden."""
        values, at = cells.numbers()
        x, times = self._x_of(axes), axes.times
        gone = hidden(self._state.rewinds, stream, axes.steps, times, axes.seqs)
        if at is not None:
            x, times, gone = x[at], times[at], None if gone is None else gone[at]
        return (x, values, times), gone

    def _tails(self) -> list[Piece]:
        name = self._state.stats.names[self._key]
        return [
            _shown(*self._piece(stream, Axes(tail.steps, tail.times, tail.seqs), tail.cells[name]))
            for stream, tail in self._source.tails(self._db, self._state.id)
            if name in tail.cells
        ]

    def _whole(self, index: int) -> Piece:
        return _shown(*self._open(index))

    def _opened(self, groups: Groups, which: Flags) -> list[Piece]:
        """Answer the visible points of these groups."""
        found: list[Piece] = []
        chosen = np.flatnonzero(which)
        if not len(chosen):
            return found
        owners, starts = np.unique(groups.chunk[chosen], return_index=True)
        for index, places in zip(owners.tolist(), np.split(groups.place[chosen], starts[1:]), strict=True):
            points, gone = self._open(index)
            count = len(points[0])
            keep = np.zeros(-(-count // STAT_ROWS) * STAT_ROWS, np.bool_).reshape(-1, STAT_ROWS)
            keep[places] = True
            mask = keep.reshape(-1)[:count]
            if self._over is not None:
                mask = mask & np.isfinite(points[0])  # what has no place on the axis is not drawn
            found.append(_shown(points, ~mask if gone is None else ~mask | gone))
        return found

    def _open(self, index: int) -> tuple[Piece, Flags | None]:
        if index not in self._known:
            chunk = self._chunks[index]
            axes = self._source.axes(self._db, chunk.slab)
            (x, values, times), gone = self._piece(chunk.stream, axes, self._cells(chunk))
            if self._over is not None:
                x, _ = self._cells(self._over_chunks[index]).numbers()
            self._known[index] = ((x, values, times), gone)
        return self._known[index]

    def _cells(self, chunk: ChunkRef) -> Cells:
        (data,) = self._db.execute("SELECT data FROM chunks WHERE id = ?", (chunk.id,)).fetchone()
        return unpack_chunk(chunk.kind, data, chunk.points, chunk.rows)

    # --- over another metric -------------------------------------------------------------

    def _is_aligned(self) -> bool:
        """Answer whether the other metric stands in the very rows of the key, in all slabs that have it."""
        over = {chunk.slab: chunk for chunk in self._refs(self._over or 0)}
        for chunk in self._chunks:
            other = over.get(chunk.slab)
            if other is None or other.points != chunk.points or "o" in (chunk.kind, other.kind):
                return False
            if chunk.points != chunk.rows and self._places(chunk) != self._places(other):
                return False
            self._over_chunks.append(other)
        return True

    def _places(self, chunk: ChunkRef) -> bytes:
        (data,) = self._db.execute("SELECT data FROM chunks WHERE id = ?", (chunk.id,)).fetchone()
        return places_of(data)

    def _tails_over_metric(self) -> list[Piece] | None:
        """Answer the points in tails; None where the x of some of them is further back."""
        key, over = self._state.stats.names[self._key], self._x
        found: list[Piece] = []
        for stream, tail in self._source.tails(self._db, self._state.id):
            ours, theirs = tail.cells.get(key), tail.cells.get(over)
            if ours is None:
                continue
            if theirs is None or not _same_rows(ours, theirs):
                return None
            (_, values, times), gone = self._piece(stream, Axes(tail.steps, tail.times, tail.seqs), ours)
            x, _ = theirs.numbers()
            out = ~np.isfinite(x)
            found.append(_shown((x, values, times), out if gone is None else out | gone))
        return found

    def _all_over_metric(self) -> Points:
        """Gather all points: for each its row's x, else the last one before it in the stream."""
        ours = self._column(self._key)
        theirs = self._column(self._over or 0)
        points: list[Piece] = []
        for stream, (seqs, values, times) in ours.items():
            if stream not in theirs:
                continue
            x_seqs, x_values, _ = theirs[stream]
            if len(seqs) == len(x_seqs) and np.array_equal(seqs, x_seqs):
                points.append((x_values, values, times))
                continue
            before = np.searchsorted(x_seqs, seqs, side="right") - 1
            has = before >= 0
            points.append((x_values[before[has]], values[has], times[has]))
        return _joined(points, None)

    def _column(self, key: int) -> dict[int, _Column]:
        """Answer the visible points of a key by stream."""
        found: dict[int, list[_Column]] = {}

        def take(stream: int, axes: Axes, cells: Cells) -> None:
            values, at = cells.numbers()
            seqs, times = axes.seqs, axes.times
            gone = hidden(self._state.rewinds, stream, axes.steps, times, seqs)
            if at is not None:
                seqs, times, gone = seqs[at], times[at], None if gone is None else gone[at]
            if gone is not None:
                seqs, values, times = seqs[~gone], values[~gone], times[~gone]
            found.setdefault(stream, []).append((seqs, values, times))

        for chunk in self._refs(key):
            take(chunk.stream, self._source.axes(self._db, chunk.slab), self._cells(chunk))
        name = self._state.stats.names[key]
        for stream, tail in self._source.tails(self._db, self._state.id):
            if name in tail.cells:
                take(stream, Axes(tail.steps, tail.times, tail.seqs), tail.cells[name])
        columns = {}
        for stream, parts in found.items():
            seqs, values, times = zip(*parts, strict=True)
            columns[stream] = (np.concatenate(seqs), np.concatenate(values), np.concatenate(times))
        return columns


def _shown(points: Piece, gone: Flags | None) -> Piece:
    if gone is None or not gone.any():
        return points
    keep = ~gone
    return points[0][keep], points[1][keep], points[2][keep]


def _same_rows(one: Cells, other: Cells) -> bool:
    if "o" in (one.kind, other.kind) or len(one.values) != len(other.values):
        return False
    if one.at is None or other.at is None:
        return one.at is other.at
    return np.array_equal(one.at, other.at)


def _joined(points: Sequence[Piece], items: np.ndarray | None) -> Points:
    if not points:
        return Points(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), items)
    x, y, times = (np.concatenate(parts) for parts in zip(*points, strict=True))
    return Points(x, y, times, items)
