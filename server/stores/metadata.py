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
from ...core.files import NamedFile
from ...core.journal import Entry
from ...core.paths import RunPath
from ...core.printed import ConsolePage
from ...core.samples import Stream, is_sample
from ...core.values import from_extension
from .applying import FIND_ALERTS, FIND_CURSOR, FIND_ROW, FIND_RUN, FIND_STREAMS, apply_edit, apply_entries
from .base import MetricRow, ProjectRow, RunDetail, RunPage, State, StreamRow
from .console import console, find_console
from .edits import edit_records
from .filters import parse_filter, parse_order, sort_key
from .metrics import RunState, SqliteMetrics
from .named import facts_of, file_of, files_of
from .states import latest_main
from .summary import definition_of
from .tables import Tables, alerts, facts, files, runs, streams
from .views import Document, View, stream_row

FILTER_SECONDS = 5.0  # what one filter may cost
CACHED_BYTES = 128 << 20  # of encoded registers whose decoded forms are held in memory
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
        self._document_bytes = 0

    # --- writing -------------------------------------------------------------------------

    def apply(self, path: RunPath, stream: str, entries: Iterable[Entry], *, arrived_ns: int | None = None) -> int:
        """Take the control records of one stream in (blocks only move the cursor); answer the cursor."""
        given = list(entries)
        if not given:
            return self.cursor(path, stream)
        with self._tables.write() as db:
            return apply_entries(db, path, stream, given, arrived_ns or 0)

    def edit(self, path: RunPath, changes: Mapping[str, Any], *, time_ns: int | None = None) -> bool:
        """Apply a user's edit as records of the run's `edit` stream; False where there is no such run."""
        bodies = edit_records(changes)
        with self._tables.write() as db:
            return apply_edit(db, path, bodies, time.time_ns() if time_ns is None else time_ns)

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
            known = db.execute(FIND_STREAMS, {"in_run": run}).all()
            main = latest_main([stream_row(row) for row in known])
            if main is not None:
                values = {"gone_ns": at} if is_crashed else {"gone_ns": None, "arrived_ns": at}
                db.execute(streams.update().where(streams.c.run == run, streams.c.name == main.id).values(**values))

    def forget(self, path: RunPath) -> None:
        """Remove a run for good."""
        with self._tables.write() as db:
            run = self._run_id(db, path)
            if run is not None:
                for table in (alerts, files, facts, console):
                    db.execute(table.delete().where(table.c.run == run))
                db.execute(streams.delete().where(streams.c.run == run))
                db.execute(runs.delete().where(runs.c.id == run))
                with self._lock:
                    gone = self._documents.pop(run, None)
                    self._document_bytes -= gone.size if gone else 0

    # --- reading -------------------------------------------------------------------------

    def cursor(self, path: RunPath, stream: str) -> int:
        """Answer the last sequence number applied, 0 for a stream never seen."""
        with self._tables.read() as db:
            found = db.execute(FIND_CURSOR, {**path._asdict(), "of": stream}).scalar()
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
            row = db.execute(FIND_ROW, path._asdict()).first()
            if row is None:
                return None
            of_run = db.execute(FIND_STREAMS, {"in_run": row.id}).all()
            told = db.execute(FIND_ALERTS, {"in_run": row.id}).all()
            environment = facts_of(db, row.id)
        document = self._document(row.id, row.version, row.registers)
        metrics = self._metrics.state(path)
        trashed = row.trashed_ns is not None
        view = View(path, row.created_ns, trashed, document, of_run, metrics, now)
        main = latest_main(view.streams)
        return RunDetail(
            run=view.row(),
            streams=view.streams,
            alerts=[{**_decoder.decode(alert.body), "time_ns": alert.time_ns} for alert in told],
            metrics=document.registers.metrics,
            exit=main.exit if main else None,
            lost=row.lost,
            trashed=view.trashed,
            environment=environment,
            samples=metrics.stats.samples() if metrics else {},
        )

    def files(self, path: RunPath) -> list[NamedFile]:
        """Answer a run's named files, sorted; none where there is no such run."""
        with self._tables.read() as db:
            run = self._run_id(db, path)
            return [] if run is None else files_of(db, run)

    def file(self, path: RunPath, name: str) -> NamedFile | None:
        """Answer one of them; None where there is none."""
        with self._tables.read() as db:
            run = self._run_id(db, path)
            return None if run is None else file_of(db, run, name)

    def console(
        self,
        path: RunPath,
        *,
        offset: int = 0,
        limit: int = 1000,
        after: int | None = None,
        search: str | None = None,
        levels: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        ranks: Sequence[int] | None = None,
        last: bool = False,
    ) -> ConsolePage | None:
        """Answer a part of what a run has printed; None where there is no such run."""
        with self._tables.read() as db:
            run = self._run_id(db, path)
            if run is None:
                return None
            return find_console(
                db,
                run,
                offset=offset,
                limit=limit,
                after=after,
                search=search,
                levels=levels,
                sources=sources,
                ranks=ranks,
                last=last,
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

    def project_metrics(self, entity: str, project: str, stream: Stream = "default") -> list[MetricRow]:
        """Answer all keys that runs of the project have logged, or those of samples of the machine, sorted."""
        places: dict[str, int] = {}
        runs_of = points = numeric = np.zeros(0, np.int64)
        last_step = np.zeros(0)
        asked: dict[str, str | None] = {}
        hidden: set[str] = set()
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
            veils = [body for body in view.document.registers.metrics if body.get("hidden") is not None]
            if veils:  # the newest run that says anything of a key decides
                shown = {key: not body["hidden"] for key in names if (body := definition_of(key, veils)) is not None}
                hidden = (hidden - shown.keys()) | {key for key, is_shown in shown.items() if not is_shown}
        columns = (runs_of.tolist(), points.tolist(), numeric.tolist(), last_step.tolist())
        wants_samples = stream == "system"
        rows = sorted(row for row in zip(places, *columns, strict=True) if is_sample(row[0]) is wants_samples)
        return [
            MetricRow(
                key, of, count, charted > 0, int(step) if step.is_integer() else step, asked.get(key), key in hidden
            )
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
        return [(RunPath(row.entity, row.project, row.run_id), stream_row(row)) for row in rows]

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
            kept = self._streams(db, where)
            documents = {
                row.id: known for row in rows if (known := self._documents.get(row.id)) and known.version >= row.version
            }
            unknown = [row.id for row in rows if row.id not in documents]
            for low in range(0, len(unknown), 500):
                part = unknown[low : low + 500]
                for row in db.execute(
                    sa.select(runs.c.id, runs.c.version, runs.c.registers).where(runs.c.id.in_(part))
                ):
                    documents[row.id] = self._document(row.id, row.version, row.registers)
            if metrics is None:
                metrics = self._metrics.states(entity, project)
            found = []
            for run, *names, created_ns, trashed_ns, _ in rows:
                path = RunPath(*names)
                state = metrics.get(path)
                trashed = trashed_ns is not None
                found.append(View(path, created_ns, trashed, documents[run], kept.get(run, ()), state, now))
        return found

    def _document(self, run: int, version: int, data: bytes) -> Document:
        with self._lock:
            known = self._documents.pop(run, None)
            if known is None or known.version < version:
                self._document_bytes -= known.size if known else 0
                known = Document(version, data)
                self._document_bytes += known.size
            self._documents[run] = known  # at the end: the first one is the one longest out of use
            while self._document_bytes > CACHED_BYTES and len(self._documents) > 1:
                gone = self._documents.pop(next(iter(self._documents)))
                self._document_bytes -= gone.size
            return known

    def _streams(self, db: sa.Connection, where: Sequence[sa.ColumnElement[bool]]) -> dict[int, list[Any]]:
        """Answer rows of the table of streams by run, of the runs where these conditions hold."""
        query = sa.select(streams)
        if where:
            query = query.join(runs, runs.c.id == streams.c.run).where(*where)
        found: dict[int, list[Any]] = {}
        for row in db.execute(query.order_by(streams.c.run, streams.c.name)):
            found.setdefault(row.run, []).append(row)
        return found

    def _run_id(self, db: sa.Connection, path: RunPath) -> int | None:
        return db.execute(FIND_RUN, path._asdict()).scalar()


def _asked(axes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, str]:
    """Answer the step metric that definitions ask for, by key."""
    found = {}
    for key in names:
        body = definition_of(key, axes)
        if body is not None and body["step_metric"] != key:
            found[key] = str(body["step_metric"])
    return found
