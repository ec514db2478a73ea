"""Reading slabs and tails: what was decoded lately is kept, since charts of one run share their axes."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from .chunks import Axes, unpack_axes, unpack_chunk
from .keystats import KeyStats
from .rows import Cells, Rows


class Slab(NamedTuple):
    """What is known of a slab without opening it."""

    id: int
    stream: int
    first_seq: int
    last_seq: int
    rows: int
    min_step: float
    max_step: float


class Source:
    """Decodes slabs and tails.

    Args:
        most_bytes: Of decoded tails and axes held in memory.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[str, int], tuple[int, Rows | Axes]] = OrderedDict()

    def tail(self, db: sqlite3.Connection, tail: int) -> Rows:
        """Answer the rows of a tail."""
        held = self._recall(("tail", tail))
        if isinstance(held, Rows):
            return held
        (data,) = db.execute("SELECT data FROM tails WHERE id = ?", (tail,)).fetchone()
        rows = Rows.decode(data)
        self.remember_tail(tail, rows)
        return rows

    def remember_tail(self, tail: int, rows: Rows) -> None:
        """Keep the rows of a tail at hand."""
        self._remember(("tail", tail), rows.memory_bytes, rows)

    def axes(self, db: sqlite3.Connection, slab: int) -> Axes:
        """Answer the axes of a slab."""
        held = self._recall(("axes", slab))
        if isinstance(held, Axes):
            return held
        (data,) = db.execute("SELECT data FROM slabs WHERE id = ?", (slab,)).fetchone()
        axes = unpack_axes(data)
        self._remember(("axes", slab), 24 * len(axes.seqs), axes)
        return axes

    def clear(self) -> None:
        """Forget all: a transaction was rolled back, and its numbers will be given again."""
        with self._lock:
            self._held.clear()
            self._bytes = 0

    def tails(self, db: sqlite3.Connection, run: int) -> Iterator[tuple[int, Rows]]:
        """Walk the tails of a run with their streams, each stream's in order."""
        for tail, stream in db.execute(
            "SELECT id, stream FROM tails WHERE run = ? ORDER BY stream, first_seq", (run,)
        ).fetchall():
            yield stream, self.tail(db, tail)

    def slabs(self, db: sqlite3.Connection, run: int) -> list[Slab]:
        """Answer the slabs of a run, each stream's in order."""
        found = db.execute(
            "SELECT id, stream, first_seq, last_seq, rows, min_step, max_step FROM slabs WHERE run = ?"
            " ORDER BY stream, first_seq",
            (run,),
        )
        return [Slab(*row) for row in found]

    def cells(self, db: sqlite3.Connection, run: int, key: int, slab: int, rows: int) -> Cells | None:
        """Answer one key of a slab of `rows` rows; None where no row has it."""
        found = db.execute(
            "SELECT kind, data, points FROM chunks WHERE run = ? AND key = ? AND slab = ?", (run, key, slab)
        ).fetchone()
        return unpack_chunk(found[0], found[1], found[2], rows) if found else None

    def slab_rows(
        self, db: sqlite3.Connection, run: int, slab: Slab, stats: KeyStats, keys: list[int] | None = None
    ) -> Rows:
        """Answer the rows of a slab, with these keys (by number) or all."""
        axes = self.axes(db, slab.id)
        cells = {}
        if keys is None:
            for key, kind, points, data in db.execute(
                "SELECT key, kind, points, data FROM chunks WHERE slab = ? ORDER BY key", (slab.id,)
            ):
                cells[stats.names[key]] = unpack_chunk(kind, data, points, slab.rows)
        else:
            for key in keys:
                if (found := self.cells(db, run, key, slab.id, slab.rows)) is not None:
                    cells[stats.names[key]] = found
        return Rows(axes.seqs, axes.times, axes.steps, cells)

    def all_rows(self, db: sqlite3.Connection, run: int, stats: KeyStats) -> Iterator[tuple[int, Rows]]:
        """Walk all rows of a run with their streams, each stream's in order; hidden ones too."""
        for slab in self.slabs(db, run):
            yield slab.stream, self.slab_rows(db, run, slab, stats)
        yield from self.tails(db, run)

    def _recall(self, name: tuple[str, int]) -> Rows | Axes | None:
        with self._lock:
            held = self._held.get(name)
            if held is None:
                return None
            self._held.move_to_end(name)
            return held[1]

    def _remember(self, name: tuple[str, int], size: int, value: Rows | Axes) -> None:
        with self._lock:
            if name in self._held:
                return
            self._held[name] = (size, value)
            self._bytes += size
            while self._bytes > self._most_bytes and len(self._held) > 1:
                _, (gone, _) = self._held.popitem(last=False)
                self._bytes -= gone
