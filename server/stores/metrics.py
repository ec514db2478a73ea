"""The metric store on SQLite: batches wait in a tail, and are cut into slabs of compressed columns.

A live run's batches are small. Each is kept as one row (the tail) and cut into slabs once there are enough rows, or
the stream has ended. Statistics of each key are kept in memory and written with every slab; after a start they are
read back and the tail is taken in again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from ...core.journal import Block, Entry
from ...core.paths import RunPath
from ...core.record import Control, Kind
from ...core.samples import Stream
from .base import Series
from .buckets import bucketed
from .chunks import SLAB_ROWS, pack_axes, pack_chunk
from .cursors import fresh, last_seq
from .database import Database
from .gather import Gathering
from .history import walk
from .keystats import KeyStats
from .rewinds import Rewind, visible
from .rows import Rows, span
from .source import Source

VERSION = 1
_SCHEMA = (
    "CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, project TEXT NOT NULL,"
    " run TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 0, covered BLOB, stats BLOB,"
    " UNIQUE (entity, project, run))",
    "CREATE TABLE streams (id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, name TEXT NOT NULL,"
    " cursor INTEGER NOT NULL DEFAULT 0, UNIQUE (run, name))",
    "CREATE TABLE rewinds (run INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " time_ns INTEGER NOT NULL, step REAL NOT NULL, PRIMARY KEY (run, stream, seq)) WITHOUT ROWID",
    "CREATE TABLE tails (id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, stream INTEGER NOT NULL,"
    " first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, rows INTEGER NOT NULL, points INTEGER NOT NULL,"
    " merged INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE INDEX tails_of_run ON tails (run, stream, first_seq)",
    "CREATE TABLE slabs (id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL, stream INTEGER NOT NULL,"
    " first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, rows INTEGER NOT NULL, min_step REAL NOT NULL,"
    " max_step REAL NOT NULL, min_time INTEGER NOT NULL, max_time INTEGER NOT NULL, stats BLOB NOT NULL,"
    " data BLOB NOT NULL)",
    "CREATE INDEX slabs_of_run ON slabs (run, stream, first_seq)",
    "CREATE TABLE chunks (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, key INTEGER NOT NULL, slab INTEGER NOT NULL,"
    " kind TEXT NOT NULL, points INTEGER NOT NULL, stats BLOB NOT NULL, data BLOB NOT NULL)",
    "CREATE INDEX chunks_of_key ON chunks (run, key, slab)",
    "CREATE INDEX chunks_of_slab ON chunks (slab)",
)

_FORGET = (
    "DELETE FROM chunks WHERE run = ?",
    "DELETE FROM slabs WHERE run = ?",
    "DELETE FROM tails WHERE run = ?",
    "DELETE FROM rewinds WHERE run = ?",
    "DELETE FROM streams WHERE run = ?",
    "DELETE FROM runs WHERE id = ?",
)

TAIL_POINTS = 1 << 20  # a tail of very many keys is cut into slabs before it has SLAB_ROWS rows
TAIL_BYTES = 32 << 20  # and so is one of long texts
MERGE_BATCHES = 64  # small batches are put together, so that reading a live run opens few of them
CACHED_KEYS = 2_000_000  # of all runs whose statistics are held in memory together
CACHED_BYTES = 96 << 20  # of decoded tails and axes
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[int, int])


class RunState:
    """What is held in memory of one run; never changed once published.

    Args:
        id: Its number in the store.
        version: Grows with every batch that holds rows or a rewind.
    """

    def __init__(self, id: int, version: int, stats: KeyStats, rewinds: Sequence[Rewind]) -> None:
        self.id = id
        self.version = version
        self.stats = stats
        self.rewinds = rewinds

    @cached_property
    def keys(self) -> Mapping[str, Mapping[str, Any]]:
        """Statistics of each key that was logged."""
        return dict(self.stats.items())


class SqliteMetrics:
    """Points in one SQLite file.

    Args:
        path: The file.

    Raises:
        StorageError: The file is damaged, of a newer version, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._db = Database(path, VERSION, _SCHEMA)
        self._lock = threading.Lock()
        self._states: OrderedDict[RunPath, RunState] = OrderedDict()
        self._cached_keys = 0
        self._source = Source(CACHED_BYTES)

    # --- writing -------------------------------------------------------------------------

    def append(self, path: RunPath, stream: str, entries: Iterable[Entry]) -> int:
        """Take the blocks of one stream in; answer the cursor."""
        given = list(entries)
        if not given:
            return self.cursor(path, stream)
        try:
            with self._db.write() as db:
                state = self._state(db, path) or self._new_run(db, path)
                stream_id, cursor = self._stream(db, state.id, stream)
                new = fresh(given, cursor)
                if not new:
                    return cursor
                cursor = last_seq(new[-1])
                changed = self._take(db, state, stream_id, new)
                db.execute("UPDATE streams SET cursor = ? WHERE id = ?", (cursor, stream_id))
        except BaseException:
            self._source.clear()  # it may hold what was rolled back
            raise
        if changed:
            self._publish(path, changed)
        return cursor

    def _take(self, db: sqlite3.Connection, state: RunState, stream: int, new: list[Entry]) -> RunState | None:
        blocks = [Rows.from_block(entry) for entry in new if isinstance(entry, Block)]
        controls = [entry for entry in new if isinstance(entry, Control)]
        rewinds = [found for entry in controls if (found := _rewind(entry, stream))]
        is_final = any(entry.kind == Kind.EXIT for entry in controls)
        if not blocks and not rewinds and not is_final:
            return None
        rows = Rows.join(blocks) if blocks else None
        stats = state.stats.copy()
        known = tuple(state.rewinds)
        if rewinds:
            db.executemany("INSERT INTO rewinds VALUES (?, ?, ?, ?, ?)", [(state.id, *rewind) for rewind in rewinds])
            known += tuple(rewinds)
        if rows is not None:
            stats.add(rows.cells)
        has_cut = self._keep(db, state.id, stream, rows, is_final, stats)
        if rewinds:
            stats = self._summed_up(db, state.id, stats, known)
        elif rows is not None:
            stats.absorb(visible(known, stream, rows))
        version = state.version + 1
        db.execute("UPDATE runs SET version = ? WHERE id = ?", (version, state.id))
        if has_cut or rewinds:
            covered = dict(
                db.execute("SELECT stream, max(last_seq) FROM tails WHERE run = ? GROUP BY stream", (state.id,))
            )
            db.execute(
                "UPDATE runs SET stats = ?, covered = ? WHERE id = ?",
                (stats.encode(), _encoder.encode(covered), state.id),
            )
        return RunState(state.id, version, stats, known)

    def _keep(
        self, db: sqlite3.Connection, run: int, stream: int, rows: Rows | None, is_final: bool, stats: KeyStats
    ) -> bool:
        """Put rows into the tail, or cut the tail and them into slabs; answer whether that was so."""
        pending = db.execute(
            "SELECT id, rows, points, length(data), merged FROM tails WHERE run = ? AND stream = ? ORDER BY first_seq",
            (run, stream),
        ).fetchall()
        count = sum(tail[1] for tail in pending) + (len(rows) if rows is not None else 0)
        points = sum(tail[2] for tail in pending) + (rows.points if rows is not None else 0)
        size = sum(tail[3] for tail in pending)
        is_large = points >= TAIL_POINTS or size >= TAIL_BYTES
        if count and (is_final or is_large or count >= SLAB_ROWS):
            parts = [self._source.tail(db, tail[0]) for tail in pending]
            whole = Rows.join(parts if rows is None else [*parts, rows])
            db.executemany("DELETE FROM tails WHERE id = ?", [(tail[0],) for tail in pending])
            low = 0
            while low < count and (is_final or is_large or count - low >= SLAB_ROWS):
                high = min(low + SLAB_ROWS, count)
                self._cut(db, run, stream, whole.take(low, high), stats)
                low = high
            if low < count:
                self._wait(db, run, stream, whole.take(low, count), True)
            return True
        if rows is not None:
            self._wait(db, run, stream, rows, False)
            small = [tail for tail in pending if not tail[4]]
            if len(small) >= MERGE_BATCHES:
                whole = Rows.join([self._source.tail(db, tail[0]) for tail in small])
                db.executemany("DELETE FROM tails WHERE id = ?", [(tail[0],) for tail in small])
                self._wait(db, run, stream, whole, True)
        return False

    def _wait(self, db: sqlite3.Connection, run: int, stream: int, rows: Rows, is_merged: bool) -> None:
        cursor = db.execute(
            "INSERT INTO tails (run, stream, first_seq, last_seq, rows, points, merged, data) VALUES (?,?,?,?,?,?,?,?)",
            (run, stream, int(rows.seqs[0]), int(rows.seqs[-1]), len(rows), rows.points, is_merged, rows.encode()),
        )
        self._source.remember_tail(cursor.lastrowid or 0, rows)

    def _cut(self, db: sqlite3.Connection, run: int, stream: int, rows: Rows, stats: KeyStats) -> None:
        axes, records = pack_axes(rows)
        low, high = span(rows.steps)
        cursor = db.execute(
            "INSERT INTO slabs (run, stream, first_seq, last_seq, rows, min_step, max_step, min_time, max_time, stats,"
            " data) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                run,
                stream,
                int(rows.seqs[0]),
                int(rows.seqs[-1]),
                len(rows),
                low,
                high,
                int(rows.times.min()),
                int(rows.times.max()),
                records,
                axes,
            ),
        )
        slab = cursor.lastrowid
        places = stats.add(rows.cells).tolist()
        db.executemany(
            "INSERT INTO chunks (run, key, slab, kind, points, stats, data) VALUES (?,?,?,?,?,?,?)",
            (
                (run, place, slab, chunk.kind, chunk.points, chunk.stats, chunk.data)
                for place, cells in zip(places, rows.cells.values(), strict=True)
                for chunk in (pack_chunk(cells, rows),)
            ),
        )

    def _summed_up(self, db: sqlite3.Connection, run: int, stats: KeyStats, rewinds: Sequence[Rewind]) -> KeyStats:
        """Answer the statistics of all rows that are visible, computed anew."""
        found = stats.cleared()
        for stream, rows in self._source.all_rows(db, run, stats):
            found.absorb(visible(rewinds, stream, rows))
        return found

    def _new_run(self, db: sqlite3.Connection, path: RunPath) -> RunState:
        cursor = db.execute("INSERT INTO runs (entity, project, run) VALUES (?, ?, ?)", path)
        return RunState(cursor.lastrowid or 0, 0, KeyStats(), ())

    def _stream(self, db: sqlite3.Connection, run: int, name: str) -> tuple[int, int]:
        row = db.execute("SELECT id, cursor FROM streams WHERE run = ? AND name = ?", (run, name)).fetchone()
        if row:
            return int(row[0]), int(row[1])
        return db.execute("INSERT INTO streams (run, name) VALUES (?, ?)", (run, name)).lastrowid or 0, 0

    def forget(self, path: RunPath) -> None:
        """Remove a run's points."""
        with self._db.write() as db:
            row = db.execute("SELECT id FROM runs WHERE entity = ? AND project = ? AND run = ?", path).fetchone()
            if row:
                for statement in _FORGET:
                    db.execute(statement, row)
        with self._lock:
            if gone := self._states.pop(path, None):
                self._cached_keys -= gone.stats.count

    # --- reading -------------------------------------------------------------------------

    def cursor(self, path: RunPath, stream: str) -> int:
        """Answer the last sequence number applied, 0 for a stream never seen."""
        with self._db.read() as db:
            row = db.execute(
                "SELECT s.cursor FROM streams s JOIN runs r ON r.id = s.run"
                " WHERE r.entity = ? AND r.project = ? AND r.run = ? AND s.name = ?",
                (*path, stream),
            ).fetchone()
        return int(row[0]) if row else 0

    def keys(self, path: RunPath) -> Mapping[str, Mapping[str, Any]]:
        """Answer each key's statistics, hidden rows left out."""
        with self._db.read() as db:
            state = self._state(db, path)
        return state.keys if state else {}

    def totals(self, path: RunPath) -> tuple[int, int | float | None]:
        """Answer the run's points, and the largest step among its rows."""
        with self._db.read() as db:
            state = self._state(db, path)
        return (state.stats.points, state.stats.max_step) if state else (0, None)

    def state(self, path: RunPath) -> RunState | None:
        """Answer what is held of a run; None where no stream of it was seen."""
        with self._db.read() as db:
            return self._state(db, path)

    def states(self, entity: str | None = None, project: str | None = None) -> dict[RunPath, RunState]:
        """Answer what is held of all runs (of a project): statistics of many runs at the price of few reads."""
        found: dict[RunPath, RunState] = {}
        with self._db.read() as db:
            rows = db.execute(
                "SELECT entity, project, run, id, version FROM runs"
                " WHERE (? IS NULL OR entity = ?) AND (? IS NULL OR project = ?)",
                (entity, entity, project, project),
            ).fetchall()
            known = self._states
            for *names, run, version in rows:
                path = RunPath(*names)
                state = known.get(path)
                if state is None or state.id != run or state.version < version:
                    state = self._state(db, path)
                if state is not None:
                    found[path] = state
        return found

    def series(
        self,
        path: RunPath,
        key: str,
        *,
        x: str = "_step",
        low: float | None = None,
        high: float | None = None,
        buckets: int = 1000,
        log_x: bool = False,
        start_ns: int | None = None,
    ) -> Series:
        """Answer one key in buckets."""
        with self._db.read() as db:
            state = self._state(db, path)
            place = state.stats.place(key) if state else None
            if state is None or place is None:
                return bucketed(path, key, None, low, high, buckets, log_x)
            start = (state.stats.first_time or 0) if start_ns is None else start_ns
            gathering = Gathering(self._source, db, state, place, x, start)
            points = gathering.points(low, high, max(1, buckets), log_x)
        return bucketed(path, key, points, low, high, buckets, log_x)

    def history(
        self,
        path: RunPath,
        keys: Sequence[str] | None = None,
        low: float | None = None,
        high: float | None = None,
        *,
        with_hidden: bool = False,
        stream: Stream = "default",
    ) -> Iterator[Block]:
        """Walk all rows, unsampled, in order of step (equal steps: in order of writing)."""
        with self._db.read() as db:
            state = self._state(db, path)
            if state is not None:
                yield from walk(self._source, db, state, keys, low, high, with_hidden, stream)

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    # --- what is held in memory ----------------------------------------------------------

    def _state(self, db: sqlite3.Connection, path: RunPath) -> RunState | None:
        row = db.execute("SELECT id, version FROM runs WHERE entity = ? AND project = ? AND run = ?", path).fetchone()
        if row is None:
            return None
        known = self._states.get(path)
        if known is not None and known.id == row[0] and known.version >= row[1]:
            return known
        run, version = row
        blob, covered_blob = db.execute("SELECT stats, covered FROM runs WHERE id = ?", (run,)).fetchone()
        stats = KeyStats.decode(blob) if blob else KeyStats()
        covered = _decoder.decode(covered_blob) if covered_blob else {}
        rewinds = [
            Rewind(*found)
            for found in db.execute("SELECT stream, seq, time_ns, step FROM rewinds WHERE run = ?", (run,))
        ]
        for tail, stream, last in db.execute(
            "SELECT id, stream, last_seq FROM tails WHERE run = ? ORDER BY id", (run,)
        ).fetchall():
            if last > covered.get(stream, 0):
                rows = self._source.tail(db, tail)
                known_rows = int((rows.seqs <= covered.get(stream, 0)).sum())
                rows = rows.take(known_rows, len(rows))
                stats.add(rows.cells)
                stats.absorb(visible(rewinds, stream, rows))
        state = RunState(run, version, stats, rewinds)
        self._publish(path, state)
        return state

    def _publish(self, path: RunPath, state: RunState) -> None:
        with self._lock:
            known = self._states.get(path)
            if known is not None:
                if known.id == state.id and known.version > state.version:
                    return
                self._cached_keys -= known.stats.count
            self._states[path] = state
            self._states.move_to_end(path)
            self._cached_keys += state.stats.count
            while self._cached_keys > CACHED_KEYS and len(self._states) > 1:
                _, gone = self._states.popitem(last=False)
                self._cached_keys -= gone.stats.count


def _rewind(entry: Control, stream: int) -> Rewind | None:
    step = entry.body.get("step")
    if entry.kind != Kind.REWIND or not isinstance(step, (int, float)):
        return None
    return Rewind(stream, entry.seq, entry.time_ns, float(step))
