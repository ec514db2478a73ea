"""Applying the records of a stream to the tables of the metadata store, inside a transaction.

The statements are built once: a live run brings a batch four times a second, and building them costs more than
running them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from ...core.journal import Block, Entry
from ...core.paths import RunPath
from ...core.record import Control, Kind
from ...core.values import encodable
from .console import note_console
from .cursors import fresh, last_seq
from .edits import EDIT_STREAM
from .named import note_named
from .registers import Registers
from .tables import alerts, runs, streams

_encoder = msgspec.msgpack.Encoder()
_KEPT = (Kind.RUN, Kind.CONFIG, Kind.SUMMARY, Kind.METRIC)  # what `Registers` adds up
_STREAM = ("cursor", "heard_ns", "arrived_ns", "pid", "host", "is_writer", "exit", "gone_ns")

_is_run = sa.and_(
    runs.c.entity == sa.bindparam("entity"),
    runs.c.project == sa.bindparam("project"),
    runs.c.run == sa.bindparam("id"),
)
FIND_RUN = sa.select(runs.c.id).where(_is_run)
FIND_CURSOR = (
    sa.select(streams.c.cursor)
    .join(runs, runs.c.id == streams.c.run)
    .where(_is_run, streams.c.name == sa.bindparam("of"))
)
FIND_ROW = sa.select(runs).where(_is_run)
FIND_STREAMS = sa.select(streams).where(streams.c.run == sa.bindparam("in_run")).order_by(streams.c.name)
FIND_ALERTS = (
    sa.select(alerts)
    .where(alerts.c.run == sa.bindparam("in_run"))
    .order_by(alerts.c.time_ns, alerts.c.stream, alerts.c.seq)
)
_FIND_STREAM = (
    sa.select(runs.c.id, *(column for column in streams.c if column.name != "run"))
    .select_from(
        runs.outerjoin(streams, sa.and_(streams.c.run == runs.c.id, streams.c.name == sa.bindparam("of"))),
    )
    .where(_is_run)
)
_KEEP_STREAM = (
    streams.update()
    .where(streams.c.run == sa.bindparam("in_run"), streams.c.name == sa.bindparam("of"))
    .values({name: sa.bindparam(f"new_{name}") for name in _STREAM})
)
_BEGIN = (
    runs.update()
    .where(
        runs.c.id == sa.bindparam("in_run"),
        sa.or_(runs.c.has_begun.is_(False), runs.c.created_ns > sa.bindparam("at")),
    )
    .values(created_ns=sa.bindparam("at"), has_begun=True)
)
_BEGIN_EARLIER = (
    runs.update()
    .where(runs.c.id == sa.bindparam("in_run"), runs.c.has_begun.is_(False), runs.c.created_ns > sa.bindparam("at"))
    .values(created_ns=sa.bindparam("at"))
)


def apply_entries(db: sa.Connection, path: RunPath, stream: str, entries: Sequence[Entry], arrived_ns: int) -> int:
    """Apply entries of one stream; answer the cursor.

    Raises:
        GapError: They begin behind the cursor's next.
    """
    known = db.execute(_FIND_STREAM, {**path._asdict(), "of": stream}).first()
    cursor = known.cursor if known and known.cursor is not None else 0
    new = fresh(entries, cursor)
    if not new:
        return cursor
    run = known.id if known else _new_run(db, path, new)
    note_records(db, run, stream, new, known if cursor else None, arrived_ns)
    return last_seq(new[-1])


def apply_edit(db: sa.Connection, path: RunPath, bodies: Sequence[tuple[int, dict[str, Any]]], time_ns: int) -> bool:
    """Apply records of an edit to the run's `edit` stream; False where there is no such run."""
    known = db.execute(_FIND_STREAM, {**path._asdict(), "of": EDIT_STREAM}).first()
    if known is None:
        return False
    cursor = known.cursor or 0
    records = [Control(kind, seq, time_ns, body) for seq, (kind, body) in enumerate(bodies, cursor + 1)]
    if records:
        note_records(db, known.id, EDIT_STREAM, records, known if cursor else None, 0)
    return True


def note_records(db: sa.Connection, run: int, stream: str, new: Sequence[Entry], known: Any, arrived_ns: int) -> None:
    """Write down what new entries of a stream tell; `known` is the stream's row."""
    _note_stream(db, run, stream, new, known, arrived_ns)
    controls = [entry for entry in new if isinstance(entry, Control)]
    told = [
        {
            "run": run,
            "stream": stream,
            "seq": entry.seq,
            "time_ns": entry.time_ns,
            "body": _encoder.encode(encodable(entry.body)),
        }
        for entry in controls
        if entry.kind == Kind.ALERT
    ]
    if told:
        db.execute(alerts.insert(), told)
    note_console(db, run, stream, controls)
    lost = sum(_count(entry) for entry in controls if entry.kind == Kind.LOST)
    if lost:
        db.execute(runs.update().where(runs.c.id == run).values(lost=runs.c.lost + lost))
    note_named(db, run, stream, controls)
    kept = [entry for entry in controls if entry.kind in _KEPT]
    if kept:
        row = db.execute(sa.select(runs.c.registers, runs.c.version).where(runs.c.id == run)).one()
        registers = Registers.decode(row.registers)
        for entry in kept:
            registers.apply(stream, entry)
        db.execute(runs.update().where(runs.c.id == run).values(registers=registers.encode(), version=row.version + 1))


def _new_run(db: sa.Connection, path: RunPath, new: Sequence[Entry]) -> int:
    times = [min(entry.times) if isinstance(entry, Block) else entry.time_ns for entry in new]
    created_ns = min((time_ns for time_ns in times if time_ns > 0), default=time.time_ns())
    row = {"entity": path.entity, "project": path.project, "run": path.id, "created_ns": created_ns}
    found = db.execute(runs.insert().values(**row, registers=Registers().encode()))
    assert found.inserted_primary_key is not None
    return int(found.inserted_primary_key[0])


def _note_stream(db: sa.Connection, run: int, name: str, new: Sequence[Entry], known: Any, arrived_ns: int) -> None:
    row = {column: getattr(known, column, None) for column in _STREAM}
    times = [time_ns for entry in new if (time_ns := _time(entry)) > 0]
    row["cursor"] = last_seq(new[-1])
    row["heard_ns"] = max(row["heard_ns"] or 0, max(times, default=0))
    row["arrived_ns"] = max(row["arrived_ns"] or 0, arrived_ns)
    row["is_writer"] = bool(row["is_writer"])
    row["gone_ns"] = None
    starts = []
    for entry in new:
        if isinstance(entry, Block) or entry.kind == Kind.HEARTBEAT:
            row["is_writer"] = True
        elif entry.kind == Kind.RUN and "pid" in entry.body:
            pid, host = entry.body["pid"], entry.body.get("host")
            row["pid"] = pid if isinstance(pid, int) and abs(pid) < 2**62 else None
            row["host"] = host if isinstance(host, str) else None
            row["is_writer"] = True
            starts += [entry.time_ns] if entry.time_ns > 0 else []
        elif entry.kind == Kind.EXIT:
            row["exit"] = _encoder.encode(encodable({**entry.body, "time_ns": entry.time_ns}))
            row["is_writer"] = True
    if known is None:
        db.execute(streams.insert(), {"run": run, "name": name, "started_ns": min(starts or times, default=0), **row})
    else:
        values = {f"new_{column}": value for column, value in row.items()}
        db.execute(_KEEP_STREAM, {"in_run": run, "of": name, **values})
    # By its first RUN record, since rows may be copies of another run's; streams may come in any order.
    if starts:
        db.execute(_BEGIN, {"in_run": run, "at": min(starts)})
    elif known is None and times and name != EDIT_STREAM:
        db.execute(_BEGIN_EARLIER, {"in_run": run, "at": min(times)})


def _time(entry: Entry) -> int:
    return max(entry.times) if isinstance(entry, Block) else entry.time_ns


def _count(entry: Control) -> int:
    count = entry.body.get("count")
    return count if isinstance(count, int) and 0 <= count < 2**53 else 1
