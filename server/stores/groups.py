"""The statistics of a key's points, `STAT_ROWS` at a time: which of them a chart may take as they are.

Statistics go whole into the bucket of their middle where they are at most half a bucket wide. So a bucket's border
moves by up to a quarter of a bucket, and its figures are exact for the points between its `x` and `x_last`. Groups
that are wider, cut by the range, partly hidden or not in order are opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .buckets import ITEM
from .chunks import AXIS, STAT, unpack_axis_records, unpack_stats
from .rewinds import Rewind
from .rows import Floats, Ints

Flags = NDArray[np.bool_]
Piece = tuple[Floats, Floats, Ints]  # x, y, times of single points
_WIDEST = 0.5  # of a bucket


def _unknown() -> tuple[np.ndarray, np.ndarray]:
    """Answer the records of a chunk of few values, which has none: it may be anywhere, and must be opened."""
    stat, axis = np.zeros(1, STAT), np.zeros(1, AXIS)
    stat["nan"] = 1
    axis["min_step"], axis["max_step"] = -np.inf, np.inf
    axis["min_time"], axis["max_time"] = -(2**62), 2**62
    return stat, axis


_UNKNOWN = _unknown()


class ChunkRef(NamedTuple):
    """A chunk of a key, and its slab."""

    id: int
    slab: int
    stream: int
    first_seq: int
    last_seq: int
    rows: int
    kind: str
    points: int


class Groups:
    """All groups of a key, side by side.

    Args:
        stats: `STAT` records.
        axis: `AXIS` records of the same points.
        chunk: Which chunk each is in.
        place: Which of that chunk's groups it is.
        x, x_last: Smallest and largest x.
        is_open: Those that cannot be taken as they are.
    """

    def __init__(
        self, stats: np.ndarray, axis: np.ndarray, chunk: Ints, place: Ints, x: Floats, x_last: Floats, is_open: Flags
    ) -> None:
        self.stats = stats
        self.axis = axis
        self.chunk = chunk
        self.place = place
        self.x = x
        self.x_last = x_last
        with np.errstate(invalid="ignore"):
            self.is_open = is_open | ~np.isfinite(x_last - x)
        self.is_gone: Flags = np.zeros(len(stats), np.bool_)

    @classmethod
    def over_rows(
        cls, db: sqlite3.Connection, chunks: Sequence[ChunkRef], of_times: Callable[[Ints], Floats] | None
    ) -> Groups:
        """Read the groups of chunks over steps, or over what `of_times` makes of times."""
        stats, axis, chunk, place = _read(db, chunks)
        if of_times is None:
            x, x_last = axis["min_step"], axis["max_step"]
        else:
            x, x_last = of_times(axis["min_time"]), of_times(axis["max_time"])
        return cls(stats, axis, chunk, place, x, x_last, axis["sorted"] == 0)

    @classmethod
    def over_metric(cls, db: sqlite3.Connection, chunks: Sequence[ChunkRef], over: Sequence[ChunkRef]) -> Groups:
        """Read the groups of chunks over another metric, which stands in the very same rows."""
        stats, axis, chunk, place = _read(db, chunks)
        theirs, _, _, _ = _read(db, over)
        # Where the first x is the smallest and the last x the largest, the first and last y belong to them.
        is_plain = (theirs["first"] == theirs["min"]) & (theirs["last"] == theirs["max"])
        is_plain &= (theirs["nan"] == 0) & (theirs["posinf"] == 0) & (theirs["neginf"] == 0)
        return cls(stats, axis, chunk, place, theirs["min"], theirs["max"], ~is_plain)

    def drop_hidden(self, rewinds: Sequence[Rewind], chunks: Sequence[ChunkRef]) -> None:
        """Leave out what rewinds hide; open what they hide a part of."""
        for rewind in rewinds:
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
        known = np.isfinite(self.x) & np.isfinite(self.x_last)
        if low is not None:
            self.is_gone |= known & (self.x_last < low)
            self.is_open |= self.x < low
        if high is not None:
            self.is_gone |= known & (self.x > high)
            self.is_open |= self.x_last > high
        self.is_open &= ~self.is_gone

    def closed(self) -> Flags:
        """Answer which groups are told by their statistics."""
        return ~(self.is_gone | self.is_open)

    def span(self, points: Sequence[Piece], low: float | None, high: float | None) -> tuple[float, float]:
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
            fits: Flags = positive & (np.log(self.x_last) - np.log(self.x) <= width * _WIDEST)
            alike: Flags = (self.x_last == self.x) | (self.x_last <= 0)
        return closed & ~fits & ~alike

    def may_be_exact(self, buckets: int, *, over_steps: bool) -> bool:
        """Answer whether so few x may be different that each has its own bucket, and nobody knows yet."""
        closed = self.closed()
        moves = closed & (self.x_last > self.x)
        if not moves.any():
            return False
        if not over_steps:  # at least two in each group that moves, and neighbours share at most one
            return int(moves.sum()) < buckets
        return int((self.axis["distinct"][closed].astype(np.int64) - 1).sum()) < buckets

    def items(self) -> np.ndarray | None:
        """Answer the groups that stay closed, as `ITEM` records."""
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


def _read(db: sqlite3.Connection, chunks: Sequence[ChunkRef]) -> tuple[np.ndarray, np.ndarray, Ints, Ints]:
    stats, axis, owners = [], [], []
    for index, chunk in enumerate(chunks):
        (raw,) = db.execute("SELECT stats FROM chunks WHERE id = ?", (chunk.id,)).fetchone()
        found, own = unpack_stats(raw) if raw else _UNKNOWN
        if own is None:
            (raw,) = db.execute("SELECT stats FROM slabs WHERE id = ?", (chunk.slab,)).fetchone()
            own = unpack_axis_records(raw)
        stats.append(found)
        axis.append(own)
        owners.append(np.full(len(found), index))
    place = np.concatenate([np.arange(len(part)) for part in stats])
    return np.concatenate(stats), np.concatenate(axis), np.concatenate(owners), place
