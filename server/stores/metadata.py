"""The metadata store on SQLite: runs, what their control records add up to, streams, alerts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from ...core.errors import UsageError
from ...core.journal import Block, Entry
from ...core.paths import RunPath
from ...core.record import Control, Kind
from ...core.values import encodable, from_extension
from . import tables
from .base import MetricRow, ProjectRow, RunDetail, RunPage, State, StreamRow
from .cursors import fresh, last_seq
from .edits import EDIT_STREAM, edit_records
from .filters import parse_filter, parse_order, sort_key
from .metrics import RunState, SqliteMetrics
from .registers import Registers
from .states import latest_main
from .summary import definition_of
from .tables import Tables, alerts, runs, streams
from .views import Document, View

FILTER_SECONDS = 5.0  # what one filter may cost
_DEFAULT_ORDER = "-created_ns"
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ext_hook=from_extension)


class SqliteMetadata:
    """Runs in one SQLite file.

    Args:
        path: The file.
        metrics: Where the automatic summary comes from.

    Raises:
        StorageError: The file is damaged, of a newer version, or cannot be opened.
    """

    def __init__(self, path: Path, metrics: SqliteMetrics) -> None:
        self._tables = Tables(path)
        self._metrics = metrics
        self._lock = threading.Lock()
        self._documents: dict[int, Document] = {}  # by run

    # --- writing -------------------------------------------------------------------------

    def apply(self, path: RunPath, stream: str, entries: Iterable[Entry], *, arrived_ns: int | None = None) -> int:
        """Take the control records of one stream in (blocks only move the cursor); answer the cursor."""
        given = list(entries)
        if not given:
            return self.cursor(path, stream)
        with self._tables.write() as db:
            run = self._run_id(db, path)
            known = None
            if run is not None:
                known = db.execute(sa.select(streams).where(streams.c.run == run, streams.c.name == stream)).first()
            new = fresh(given, known.cursor if known else 0)
            if not new:
                return int(known.cursor) if known else 0
            if run is None:
                run = self._new_run(db, path, _first_time(new))
            self._note_stream(db, run, stream, new, known, arrived_ns or 0)
            self._note_controls(db, run, stream, [entry for entry in new if isinstance(entry, Control)])
        return last_seq(new[-1])

    def _new_run(self, db: sa.Connection, path: RunPath, created_ns: int) -> int:
        row = {"entity": path.entity, "project": path.project, "run": path.id, "created_ns": created_ns}
        found = db.execute(runs.insert().values(**row, registers=Registers().encode()))
        return int(found.inserted_primary_key[0])  # type: ignore[index]

    def _note_stream(
        self, db: sa.Connection, run: int, name: str, new: Sequence[Entry], known: Any, arrived_ns: int
    ) -> None:
        row: dict[str, Any] = {"cursor": last_seq(new[-1]), "gone_ns": None}
        times = [time_ns for entry in new if (time_ns := _time(entry))]
        heard = max(times, default=0)
        row["heard_ns"] = max(known.heard_ns, heard) if known else heard
        row["arrived_ns"] = max(known.arrived_ns if known else 0, arrived_ns)
        row["is_writer"] = bool(known and known.is_writer)
        for entry in new:
            if isinstance(entry, Block) or entry.kind == Kind.HEARTBEAT:
                row["is_writer"] = True
            elif entry.kind == Kind.RUN and "pid" in entry.body:
                row["is_writer"] = True
                pid, host = entry.body["pid"], entry.body.get("host")
                row["pid"] = pid if isinstance(pid, int) else None
                row["host"] = host if isinstance(host, str) else None
            elif entry.kind == Kind.EXIT:
                row["is_writer"] = True
                row["exit"] = _encoder.encode(encodable({**entry.body, "time_ns": entry.time_ns}))
        if known:
            db.execute(streams.update().where(streams.c.run == run, streams.c.name == name).values(**row))
        else:
            starts = _starts(new) or times
            db.execute(streams.insert().values(run=run, name=name, started_ns=min(starts, default=0), **row))
        if name != EDIT_STREAM:
            self._note_start(db, run, _starts(new), times)

    def _note_start(self, db: sa.Connection, run: int, starts: Sequence[int], times: Sequence[int]) -> None:
        """Settle when the run was created: by its first RUN record, since rows may be copies of another run's."""
        here = runs.c.id == run
        if starts:
            earlier = sa.or_(runs.c.has_begun.is_(False), runs.c.created_ns > min(starts))
            db.execute(runs.update().where(here, earlier).values(created_ns=min(starts), has_begun=True))
        elif times:
            earlier = sa.and_(runs.c.has_begun.is_(False), runs.c.created_ns > min(times))
            db.execute(runs.update().where(here, earlier).values(created_ns=min(times)))

    def _note_controls(self, db: sa.Connection, run: int, stream: str, controls: Sequence[Control]) -> None:
        told = [entry for entry in controls if entry.kind == Kind.ALERT]
        if told:
            db.execute(
                alerts.insert(),
                [
                    {
                        "run": run,
                        "stream": stream,
                        "seq": entry.seq,
                        "time_ns": entry.time_ns,
                        "body": _encoder.encode(encodable(entry.body)),
                    }
                    for entry in told
                ],
            )
        lost = sum(_count(entry) for entry in controls if entry.kind == Kind.LOST)
        if lost:
            db.execute(runs.update().where(runs.c.id == run).values(lost=runs.c.lost + lost))
        kept = [entry for entry in controls if entry.kind in (Kind.RUN, Kind.CONFIG, Kind.SUMMARY, Kind.METRIC)]
        if not kept:
            return
        row = db.execute(sa.select(runs.c.registers, runs.c.version).where(runs.c.id == run)).one()
        registers = Registers.decode(row.registers)
        changes = [registers.apply(stream, entry) for entry in kept]  # all of them, so no generator
        if any(changes):
            db.execute(
                runs.update().where(runs.c.id == run).values(registers=registers.encode(), version=row.version + 1)
            )

    def edit(self, path: RunPath, changes: Mapping[str, Any], *, time_ns: int | None = None) -> bool:
        """Apply a user's edit as records of the run's `edit` stream; False where there is no such run."""
        at = time.time_ns() if time_ns is None else time_ns
        bodies = edit_records(changes)
        with self._tables.write() as db:
            run = self._run_id(db, path)
            if run is None:
                return False
            known = db.execute(sa.select(streams).where(streams.c.run == run, streams.c.name == EDIT_STREAM)).first()
            cursor = known.cursor if known else 0
            records = [Control(kind, cursor + 1 + at_, at, body) for at_, (kind, body) in enumerate(bodies)]
            if records:
                self._note_stream(db, run, EDIT_STREAM, records, known, 0)
                self._note_controls(db, run, EDIT_STREAM, records)
        return True

    def set_trashed(self, path: RunPath, trashed: bool) -> bool:
        """Move a run to the trash or back; False where there is no such run."""
        with self._tables.write() as db:
            run = self._run_id(db, path)
            if run is None:
                return False
            db.execute(runs.update().where(runs.c.id == run).values(trashed_ns=time.time_ns() if trashed else None))
        return True

    def writer_gone(self, path: RunPath, stream: str, *, time_ns: int | None = None) -> None:
        """Take note that a stream's process does not exist any more; forgotten when it writes again."""
        with self._tables.write() as db:
            run = self._run_id(db, path)
            if run is not None:
                at = time.time_ns() if time_ns is None else time_ns
                db.execute(
                    streams.update()
                    .where(streams.c.run == run, streams.c.name == stream, streams.c.gone_ns.is_(None))
                    .values(gone_ns=at)
                )

    def set_crashed(self, path: RunPath, is_crashed: bool, *, time_ns: int | None = None) -> None:
        """Take note that a run's latest training process is gone, or was heard again; its EXIT record goes before."""
        at = time.time_ns() if time_ns is None else time_ns
        with self._tables.write() as db:
            run = self._run_id(db, path)
            main = latest_main(self._streams(db, [run])[0].get(run, [])) if run is not None else None
            if main is not None:
                values = {"gone_ns": at} if is_crashed else {"gone_ns": None, "arrived_ns": at}
                db.execute(streams.update().where(streams.c.run == run, streams.c.name == main.id).values(**values))

    def forget(self, path: RunPath) -> None:
        """Remove a run for good."""
        with self._tables.write() as db:
            run = self._run_id(db, path)
            if run is not None:
                db.execute(alerts.delete().where(alerts.c.run == run))
                db.execute(streams.delete().where(streams.c.run == run))
                db.execute(runs.delete().where(runs.c.id == run))
                self._documents.pop(run, None)

    # --- reading -------------------------------------------------------------------------

    def cursor(self, path: RunPath, stream: str) -> int:
        """Answer the last sequence number applied, 0 for a stream never seen."""
        with self._tables.read() as db:
            found = db.execute(
                sa.select(streams.c.cursor)
                .join(runs, runs.c.id == streams.c.run)
                .where(*_is(path), streams.c.name == stream)
            ).scalar()
        return int(found or 0)

    def runs(
        self,
        entity: str | None = None,
        project: str | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        order: str | Sequence[str] | None = None,
        limit: int | None = 50,
        offset: int = 0,
        trash: bool = False,
        now_ns: int | None = None,
    ) -> RunPage:
        """List runs; newest first where no order is given."""
        condition = parse_filter(filter)
        keys = parse_order(order) or parse_order(_DEFAULT_ORDER)
        found = [view for view in self._views(entity, project, now_ns) if view.trashed == trash]
        if filter:
            end = time.monotonic() + FILTER_SECONDS
            kept = []
            for view in found:
                if condition.holds(view):
                    kept.append(view)
                if time.monotonic() > end:
                    raise UsageError(f"the filter took more than {FILTER_SECONDS:.0f} s; make it simpler.")
            found = kept
        found.sort(key=lambda view: view.path)
        for key, is_falling in reversed(keys):
            ranked = [(sort_key(key.of(view)), view) for view in found]
            with_order = [item for item in ranked if item[0][0] < 9]
            with_order.sort(key=lambda item: item[0], reverse=is_falling)
            found = [view for _, view in with_order] + [view for rank, view in ranked if rank[0] == 9]
        chosen = found[offset:] if limit is None else found[offset : offset + limit]
        return RunPage(len(found), [view.row() for view in chosen])

    def run(self, path: RunPath, *, now_ns: int | None = None) -> RunDetail | None:
        """Answer one run, also one in the trash; None where there is none."""
        now = time.time_ns() if now_ns is None else now_ns
        with self._tables.read() as db:
            row = db.execute(sa.select(runs).where(*_is(path))).first()
            if row is None:
                return None
            kept, arrived = self._streams(db, [row.id])
            told = db.execute(
                sa.select(alerts)
                .where(alerts.c.run == row.id)
                .order_by(alerts.c.time_ns, alerts.c.stream, alerts.c.seq)
            ).all()
        document = self._document(row.id, row.version, row.registers)
        metrics = self._metrics.state(path)
        trashed = row.trashed_ns is not None
        streams_, arrived_ns = kept.get(row.id, []), arrived.get(row.id, 0)
        view = View(path, row.created_ns, trashed, document, streams_, arrived_ns, metrics, now)
        main = latest_main(view.streams)
        return RunDetail(
            run=view.row(),
            streams=view.streams,
            alerts=[{**_decoder.decode(alert.body), "time_ns": alert.time_ns} for alert in told],
            metrics=document.registers.metrics,
            exit=main.exit if main else None,
            lost=row.lost,
            trashed=view.trashed,
        )

    def state(self, path: RunPath, *, now_ns: int | None = None) -> State | None:
        """Answer a run's state; None where there is no such run."""
        found = self.run(path, now_ns=now_ns)
        return found.run.state if found else None

    def paths(self, *, now_ns: int | None = None) -> list[tuple[RunPath, State, bool]]:
        """Answer all runs with their states, and whether they are in the trash."""
        return [(view.path, view.ending[0], view.trashed) for view in self._views(None, None, now_ns, metrics={})]

    def projects(self, *, now_ns: int | None = None) -> list[ProjectRow]:
        """Answer all projects that have runs, the last active first."""
        found: dict[tuple[str, str], list[View]] = {}
        for view in self._views(None, None, now_ns, metrics={}):
            if not view.trashed:
                found.setdefault((view.path.entity, view.path.project), []).append(view)
        rows = []
        for (entity, project), views in found.items():
            states: dict[str, int] = {}
            for view in views:
                states[view.ending[0]] = states.get(view.ending[0], 0) + 1
            rows.append(ProjectRow(entity, project, len(views), states, max(view.updated_ns for view in views)))
        return sorted(rows, key=lambda row: (-(row.last_activity_ns or 0), row.entity, row.project))

    def project_metrics(self, entity: str, project: str) -> list[MetricRow]:
        """Answer all keys that runs of the project have logged, sorted."""
        places: dict[str, int] = {}
        runs_of = points = numeric = np.zeros(0, np.int64)
        last_step = np.zeros(0)
        asked: dict[str, str | None] = {}
        for view in sorted(self._views(entity, project, None), key=lambda view: view.created_ns):
            if view.trashed or view.metrics is None:
                continue
            names, fields = view.metrics.stats.logged()
            at = np.fromiter((places.setdefault(name, len(places)) for name in names), np.int64, len(names))
            more = len(places) - len(points)
            if more:
                runs_of, points, numeric = (np.pad(part, (0, more)) for part in (runs_of, points, numeric))
                last_step = np.pad(last_step, (0, more), constant_values=-np.inf)
            runs_of[at] += 1
            points[at] += fields["points"]
            numeric[at] += fields["numeric"]
            last_step[at] = np.maximum(last_step[at], fields["last_step"])
            axes = [body for body in view.document.registers.metrics if body.get("step_metric")]
            if axes:
                asked.update(_asked(axes, names))
        columns = (runs_of.tolist(), points.tolist(), numeric.tolist(), last_step.tolist())
        rows = sorted(zip(places, *columns, strict=True))
        return [
            MetricRow(key, of, count, charted > 0, int(step) if step.is_integer() else step, asked.get(key))
            for key, of, count, charted, step in rows
        ]

    def live(self) -> list[tuple[RunPath, StreamRow]]:
        """Answer the training processes that have not said goodbye and were not found gone."""
        with self._tables.read() as db:
            rows = db.execute(
                sa.select(streams, runs.c.entity, runs.c.project, runs.c.run.label("run_id"))
                .join(runs, runs.c.id == streams.c.run)
                .where(streams.c.is_writer, streams.c.exit.is_(None), streams.c.gone_ns.is_(None))
            ).all()
        return [(RunPath(row.entity, row.project, row.run_id), _stream_row(row)) for row in rows]

    def close(self) -> None:
        """Let the file go."""
        self._tables.close()

    # --- the parts of it -----------------------------------------------------------------

    def _views(
        self,
        entity: str | None,
        project: str | None,
        now_ns: int | None,
        metrics: Mapping[RunPath, RunState] | None = None,
    ) -> list[View]:
        now = time.time_ns() if now_ns is None else now_ns
        where = []
        if entity is not None:
            where.append(runs.c.entity == entity)
        if project is not None:
            where.append(runs.c.project == project)
        columns = (runs.c.id, runs.c.entity, runs.c.project, runs.c.run, runs.c.created_ns, runs.c.trashed_ns)
        with self._tables.read() as db:
            rows = db.execute(sa.select(*columns, runs.c.version).where(*where)).all()
            kept, arrived = self._streams(db, where)
            unknown = [row.id for row in rows if (d := self._documents.get(row.id)) is None or d.version < row.version]
            for low in range(0, len(unknown), 500):
                part = unknown[low : low + 500]
                for row in db.execute(
                    sa.select(runs.c.id, runs.c.version, runs.c.registers).where(runs.c.id.in_(part))
                ):
                    self._document(row.id, row.version, row.registers)
            if metrics is None:
                metrics = self._metrics.states(entity, project)
            documents = self._documents
            found = []
            for run, *names, created_ns, trashed_ns, _ in rows:
                path = RunPath(*names)
                known = metrics.get(path)
                trashed = trashed_ns is not None
                of_run, arrived_ns = kept.get(run, []), arrived.get(run, 0)
                found.append(View(path, created_ns, trashed, documents[run], of_run, arrived_ns, known, now))
        return found

    def _document(self, run: int, version: int, data: bytes) -> Document:
        with self._lock:
            known = self._documents.get(run)
            if known is None or known.version < version:
                known = self._documents[run] = Document(version, data)
            return known

    def _streams(self, db: sa.Connection, which: Sequence[Any]) -> tuple[dict[int, list[StreamRow]], dict[int, int]]:
        """Answer the streams by run, and when one of a run last came over the network."""
        query = sa.select(streams)
        if which and isinstance(which[0], int):
            query = query.where(streams.c.run.in_(which))
        elif which:
            query = query.join(runs, runs.c.id == streams.c.run).where(*which)
        found: dict[int, list[StreamRow]] = {}
        arrived: dict[int, int] = {}
        for row in db.execute(query.order_by(streams.c.run, streams.c.name)):
            found.setdefault(row.run, []).append(_stream_row(row))
            if row.arrived_ns:
                arrived[row.run] = max(row.arrived_ns, arrived.get(row.run, 0))
        return found, arrived

    def _run_id(self, db: sa.Connection, path: RunPath) -> int | None:
        return db.execute(sa.select(runs.c.id).where(*_is(path))).scalar()


def _is(path: RunPath) -> tuple[sa.ColumnElement[bool], ...]:
    return runs.c.entity == path.entity, runs.c.project == path.project, runs.c.run == path.id


def _stream_row(row: Any) -> StreamRow:
    return StreamRow(
        id=row.name,
        cursor=row.cursor,
        started_ns=row.started_ns,
        heard_ns=row.heard_ns,
        pid=row.pid,
        host=row.host,
        is_writer=row.is_writer,
        is_child="." in row.name,
        exit=_decoder.decode(row.exit) if row.exit else None,
        gone_ns=row.gone_ns,
    )


def _asked(axes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, str]:
    """Answer the step metric that definitions ask for, by key."""
    found = {}
    for key in names:
        body = definition_of(key, axes)
        if body is not None and body["step_metric"] != key:
            found[key] = str(body["step_metric"])
    return found


def _time(entry: Entry) -> int:
    return max(entry.times) if isinstance(entry, Block) else entry.time_ns


def _starts(entries: Sequence[Entry]) -> list[int]:
    """Answer the times at which a training process said that it begins."""
    return [
        entry.time_ns
        for entry in entries
        if not isinstance(entry, Block) and entry.kind == Kind.RUN and "pid" in entry.body and entry.time_ns > 0
    ]


def _first_time(entries: Sequence[Entry]) -> int:
    times = [min(entry.times) if isinstance(entry, Block) else entry.time_ns for entry in entries]
    return min((time_ns for time_ns in times if time_ns > 0), default=time.time_ns())


def _count(entry: Control) -> int:
    count = entry.body.get("count")
    return count if isinstance(count, int) and 0 <= count < 2**53 else 1


__all__ = ["SqliteMetadata", "tables"]
