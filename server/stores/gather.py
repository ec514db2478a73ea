"""Gathering what a chart is drawn from: statistics where many points share a bucket, the points themselves elsewhere.

Statistics of `STAT_ROWS` neighbours go whole into the bucket of their middle where they are at most a quarter of a
bucket wide. So a bucket's border moves by up to an eighth of a bucket, and its figures are exact for the points
between its `x` and `x_last`. Groups that are wider, cut by the range, partly hidden or not in order are opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .buckets import ITEM, Points
from .chunks import STAT_ROWS, Axes, unpack_axis_records, unpack_chunk, unpack_stats
from .rewinds import hidden
from .rows import Cells, Floats, Ints
from .source import Source

if TYPE_CHECKING:
    from .metrics import RunState

Flags = NDArray[np.bool_]
_WIDEST = 0.25  # of a bucket
_POINTS = tuple[Floats, Floats, Ints]  # x, y, times


class _Chunk(NamedTuple):
    """A chunk of the key, and its slab."""

    id: int
    slab: int
    stream: int
    first_seq: int
    last_seq: int
    rows: int
    kind: str
    points: int


class _Axis(NamedTuple):
    """What stands on the x axis."""

    name: str  # _step, _time or _runtime
    start_ns: int

    def of(self, axes: Axes) -> Floats:
        """Answer the x of each row."""
        if self.name == "_step":
            return axes.steps.astype(np.float64)
        return self.of_times(axes.times)

    def of_times(self, times: Ints) -> Floats:
        return times.astype(np.float64) if self.name == "_time" else (times - self.start_ns) / 1e9

    def slab_limits(self, low: float | None, high: float | None) -> tuple[str, list[float]]:
        """Answer the condition that a slab may hold points of the range."""
        names = ("s.max_step", "s.min_step") if self.name == "_step" else ("s.max_time", "s.min_time")
        where, values = "", []
        for name, sign, limit, margin in ((names[0], ">=", low, -1e3), (names[1], "<=", high, 1e3)):
            if limit is not None and np.isfinite(limit):
                where += f" AND {name} {sign} ?"
                if self.name == "_runtime":
                    limit = limit * 1e9 + self.start_ns
                values.append(float(limit) + (0.0 if self.name == "_step" else margin))
        return where, values


def gather(
    source: Source,
    db: sqlite3.Connection,
    state: RunState,
    key: int,
    x: str,
    start_ns: int,
    low: float | None,
    high: float | None,
    buckets: int,
    log_x: bool,
) -> Points:
    """Gather the points of a key over steps or time; the range is seen to roughly here, exactly by `bucketed`."""
    axis = _Axis(x, start_ns)
    where, values = axis.slab_limits(low, high)
    chunks = [
        _Chunk(*row)
        for row in db.execute(
            "SELECT c.id, s.id, s.stream, s.first_seq, s.last_seq, s.rows, c.kind, c.points"
            " FROM chunks c CROSS JOIN slabs s ON s.id = c.slab"
            f" WHERE c.run = ? AND c.key = ?{where} ORDER BY s.stream, s.first_seq",
            (state.id, key, *values),
        )
    ]
    opened = _Opened(source, db, state, axis, chunks)
    parts = [_of_rows(tail.cells.get(state.stats.names[key]), Axes(tail.steps, tail.times, tail.seqs), stream, axis, state)
             for stream, tail in source.tails(db, state.id)]
    points = [part for part in parts if part is not None]
    if sum(chunk.points for chunk in chunks) <= STAT_ROWS * buckets:
        points = [opened.whole(index) for index in range(len(chunks))] + points
        return _joined(points, None)
    groups = _Groups(db, chunks, axis)
    groups.drop_hidden(state, chunks)
    groups.drop_outside(low, high)
    opened_points = opened.groups(groups, groups.is_open)
    lowest, highest = groups.span(points + opened_points, low, high)
    wide = groups.wide(lowest, highest, buckets, log_x)
    opened_points += opened.groups(groups, wide)
    groups.is_open |= wide
    if axis.name == "_step" and groups.may_be_exact(buckets):
        rest = groups.closed()
        opened_points += opened.groups(groups, rest)
        groups.is_open |= rest
    return _joined(opened_points + points, groups.items())


class _Groups:
    """The statistics of all groups of `STAT_ROWS` points in the chunks, side by side."""

    def __init__(self, db: sqlite3.Connection, chunks: Sequence[_Chunk], axis: _Axis) -> None:
        stats, records, owners = [], [], []
        for index, chunk in enumerate(chunks):
            (raw,) = db.execute("SELECT stats FROM chunks WHERE id = ?", (chunk.id,)).fetchone()
            found, own = unpack_stats(raw)
            if own is None:
                (raw,) = db.execute("SELECT stats FROM slabs WHERE id = ?", (chunk.slab,)).fetchone()
                own = unpack_axis_records(raw)
            stats.append(found)
            records.append(own)
            owners.append(np.full(len(found), index))
        self.stats = np.concatenate(stats)
        self.axis = np.concatenate(records)
        self.chunk = np.concatenate(owners)
        self.place = np.concatenate([np.arange(len(part)) for part in stats])
        if axis.name == "_step":
            self.x, self.x_last = self.axis["min_step"], self.axis["max_step"]
        else:
            self.x, self.x_last = axis.of_times(self.axis["min_time"]), axis.of_times(self.axis["max_time"])
        self.is_gone: Flags = np.zeros(len(self.stats), np.bool_)
        self.is_open: Flags = (self.axis["sorted"] == 0) | ~np.isfinite(self.x_last - self.x)

    def drop_hidden(self, state: RunState, chunks: Sequence[_Chunk]) -> None:
        """Leave out what rewinds hide; open what they hide a part of."""
        for rewind in state.rewinds:
            is_own = np.array([chunk.stream == rewind.stream for chunk in chunks])[self.chunk]
            ends = np.array([chunk.last_seq < rewind.seq for chunk in chunks])[self.chunk]
            begins = np.array([chunk.first_seq < rewind.seq for chunk in chunks])[self.chunk]
            all_before = np.where(is_own, ends, self.axis["max_time"] < rewind.time_ns)
            some_before = np.where(is_own, begins, self.axis["min_time"] < rewind.time_ns)
            gone = all_before & (self.axis["min_step"] > rewind.step)
            self.is_gone |= gone
            self.is_open |= some_before & (self.axis["max_step"] > rewind.step) & ~gone
        self.is_open &= ~self.is_gone

    def drop_outside(self, low: float | None, high: float | None) -> None:
        """Leave out what is outside the range; open what it cuts."""
        if low is not None:
            self.is_gone |= self.x_last < low
            self.is_open |= self.x < low
        if high is not None:
            self.is_gone |= self.x > high
            self.is_open |= self.x_last > high
        self.is_open &= ~self.is_gone

    def closed(self) -> Flags:
        """Answer which groups are told by their statistics."""
        return ~(self.is_gone | self.is_open)

    def span(self, points: Sequence[_POINTS], low: float | None, high: float | None) -> tuple[float, float]:
        """Answer where the axis begins and ends."""
        closed = self.closed()
        lows = [self.x[closed], *(part[0] for part in points)]
        highs = [self.x_last[closed], *(part[0] for part in points)]
        lowest = min((float(part.min()) for part in lows if len(part)), default=0.0)
        highest = max((float(part.max()) for part in highs if len(part)), default=0.0)
        return (
            lowest if low is None or not np.isfinite(low) else low,
            highest if high is None or not np.isfinite(high) else high,
        )

    def wide(self, lowest: float, highest: float, buckets: int, log_x: bool) -> Flags:
        """Answer which groups are too wide to go into one bucket."""
        closed = self.closed()
        if not log_x:
            return closed & (self.x_last - self.x > (highest - lowest) / buckets * _WIDEST)
        positive = closed & (self.x > 0)
        if not positive.any():
            return closed & (self.x_last > self.x)
        floor = lowest if lowest > 0 else float(self.x[positive].min())
        width = (np.log(max(highest, floor)) - np.log(floor)) / buckets
        with np.errstate(divide="ignore", invalid="ignore"):
            fits = positive & (np.log(self.x_last) - np.log(self.x) <= width * _WIDEST)
        return closed & ~fits & ~((self.x_last == self.x) | (self.x_last <= 0))

    def may_be_exact(self, buckets: int) -> bool:
        """Answer whether so few steps may be different that each has its own bucket, and nobody knows yet."""
        closed = self.closed()
        if not (closed & (self.x_last > self.x)).any():
            return False
        return int((self.axis["distinct"][closed].astype(np.int64) - 1).sum()) < buckets

    def items(self) -> np.ndarray | None:
        """Answer the groups that stay closed."""
        closed = self.closed()
        if not closed.any():
            return None
        stats, axis = self.stats[closed], self.axis[closed]
        found = np.zeros(len(stats), ITEM)
        found["x"], found["x_last"] = self.x[closed], self.x_last[closed]
        found["t_first"], found["t_last"] = axis["min_time"], axis["max_time"]
        for name in ("first", "last", "min", "max", "sum", "count", "nan", "posinf", "neginf"):
            found[name] = stats[name]
        return found


class _Opened:
    """Decodes chunks, each once."""

    def __init__(
        self, source: Source, db: sqlite3.Connection, state: RunState, axis: _Axis, chunks: Sequence[_Chunk]
    ) -> None:
        self._source, self._db, self._state, self._axis, self._chunks = source, db, state, axis, chunks
        self._known: dict[int, tuple[_POINTS, Flags | None]] = {}

    def whole(self, index: int) -> _POINTS:
        """Answer the visible points of a chunk."""
        points, gone = self._open(index)
        return points if gone is None else (points[0][~gone], points[1][~gone], points[2][~gone])

    def groups(self, groups: _Groups, which: Flags) -> list[_POINTS]:
        """Answer the visible points of these groups."""
        found: list[_POINTS] = []
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
            if gone is not None:
                mask = mask & ~gone
            found.append(points if mask.all() else (points[0][mask], points[1][mask], points[2][mask]))
        return found

    def _open(self, index: int) -> tuple[_POINTS, Flags | None]:
        if index not in self._known:
            chunk = self._chunks[index]
            (data,) = self._db.execute("SELECT data FROM chunks WHERE id = ?", (chunk.id,)).fetchone()
            axes = self._source.axes(self._db, chunk.slab)
            values, at = unpack_chunk(chunk.kind, data, chunk.points, chunk.rows).numbers()
            x, times = self._axis.of(axes), axes.times
            gone = hidden(self._state.rewinds, chunk.stream, axes.steps, times, axes.seqs)
            if at is not None:
                x, times, gone = x[at], times[at], None if gone is None else gone[at]
            self._known[index] = ((x, values, times), gone)
        return self._known[index]


def _of_rows(cells: Cells | None, axes: Axes, stream: int, axis: _Axis, state: RunState) -> _POINTS | None:
    if cells is None:
        return None
    values, at = cells.numbers()
    x, times = axis.of(axes), axes.times
    gone = hidden(state.rewinds, stream, axes.steps, times, axes.seqs)
    if at is not None:
        x, times, gone = x[at], times[at], None if gone is None else gone[at]
    return (x, values, times) if gone is None else (x[~gone], values[~gone], times[~gone])


def _joined(points: Sequence[_POINTS], items: np.ndarray | None) -> Points:
    if not points:
        return Points(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), items)
    x, y, times = (np.concatenate(parts) for parts in zip(*points, strict=True))
    return Points(x, y, times, items)


def gather_custom(source: Source, db: sqlite3.Connection, state: RunState, key: int, x: str) -> Points | None:
    """Gather the points of a key over another metric: its value in the row, else the last one before in the stream."""
    place = state.stats.place(x)
    if place is None:
        return None
    ours = _column(source, db, state, key)
    theirs = _column(source, db, state, place)
    points: list[_POINTS] = []
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


def _column(source: Source, db: sqlite3.Connection, state: RunState, key: int) -> dict[int, tuple[Ints, Floats, Ints]]:
    """Answer the visible points of a key by stream: sequence numbers, values, times."""
    found: dict[int, list[tuple[Ints, Floats, Ints]]] = {}

    def take(stream: int, axes: Axes, cells: Cells) -> None:
        values, at = cells.numbers()
        seqs, times = axes.seqs, axes.times
        gone = hidden(state.rewinds, stream, axes.steps, times, seqs)
        if at is not None:
            seqs, times, gone = seqs[at], times[at], None if gone is None else gone[at]
        if gone is not None:
            seqs, values, times = seqs[~gone], values[~gone], times[~gone]
        found.setdefault(stream, []).append((seqs, values, times))

    for slab, stream, rows, kind, points, data in db.execute(
        "SELECT s.id, s.stream, s.rows, c.kind, c.points, c.data FROM chunks c CROSS JOIN slabs s ON s.id = c.slab"
        " WHERE c.run = ? AND c.key = ? ORDER BY s.stream, s.first_seq",
        (state.id, key),
    ).fetchall():
        take(stream, source.axes(db, slab), unpack_chunk(kind, data, points, rows))
    name = state.stats.names[key]
    for stream, tail in source.tails(db, state.id):
        if name in tail.cells:
            take(stream, Axes(tail.steps, tail.times, tail.seqs), tail.cells[name])
    return {
        stream: (
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
        )
        for stream, parts in found.items()
    }
