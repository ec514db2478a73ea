"""Reading a run back from its journals: what its streams tell together.

A run is the merge of its streams. Control records are applied in order of time; rows are ordered by step, rows of
equal step are one (for each key the value written later wins), and rows behind a REWIND are hidden.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from .journal import Block, StreamReader
from .limits import CRASHED_AFTER_SECONDS
from .names import from_folder
from .paths import RunPath, streams
from .processes import is_alive
from .record import Control, Kind

# What a row carries besides its values: step, seconds since the epoch, seconds since the run began.
STEP, TIMESTAMP, RUNTIME = "_step", "_timestamp", "_runtime"


class Row(NamedTuple):
    """A row as it was written.

    Args:
        step: Where it belongs.
        written: Sorts rows by writing across streams: nanoseconds, never going back within a stream.
        stream: Number of the stream, oldest first.
        seq: Its number in the stream.
        time_ns: When it was logged, in nanoseconds since the epoch.
        values: By key; nested dicts dotted.
    """

    step: int | float
    written: int
    stream: int
    seq: int
    time_ns: int
    values: dict[str, Any]


@dataclass
class StoredRun:
    """A run as its journals tell it.

    Args:
        path: Entity, project and id.
        folder: The run's folder.
        fields: Its own fields, later patches applied.
        config: Nested.
        by_hand: What the user set in the summary: value and time of setting by key.
        definitions: Bodies of the METRIC records, in order.
        alerts: Bodies of the ALERT records, with `time_ns`.
        exit: The body of the last EXIT that no later start has overtaken.
        created_ns, heard_ns: Times of the first and of the last record.
        lost: Records that were dropped or damaged.
        rows: Visible rows in order of writing.
    """

    path: RunPath
    folder: Path
    fields: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    by_hand: dict[str, tuple[Any, int]] = field(default_factory=dict)
    definitions: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    exit: dict[str, Any] | None = None
    created_ns: int = 0
    heard_ns: int = 0
    lost: int = 0
    rows: list[Row] = field(default_factory=list)

    @property
    def state(self) -> str:
        """How the run ended, or `running`, or `crashed` where its process is gone or silent without an end."""
        if self.exit is not None:
            return str(self.exit.get("state") or "finished")
        pid = self.fields.get("pid")
        if self.fields.get("host") == socket.gethostname() and isinstance(pid, int) and not is_alive(pid):
            return "crashed"
        return "running" if time.time_ns() - self.heard_ns < CRASHED_AFTER_SECONDS * 1e9 else "crashed"

    def history(self, keys: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Answer the rows by step, each a dict with `_step`, `_timestamp`, `_runtime` (seconds) and its values."""
        ordered = sorted(self.rows, key=itemgetter(0))  # stable: equal steps stay in order of writing
        return list(join(((row.step, row.time_ns, row.values) for row in ordered), self.created_ns, keys))

    def summary(self) -> dict[str, Any]:
        """Answer one value for each key: the last one written, or what the user set later."""
        found: dict[str, Any] = {}
        written: dict[str, int] = {}
        for row in self.rows:
            for key, value in row.values.items():
                found[key] = value
                written[key] = row.written
        for key, (value, time_ns) in self.by_hand.items():
            if time_ns >= written.get(key, time_ns):
                found[key] = value
        return found


def read_run(folder: Path) -> StoredRun:
    """Read a run's journals, whole.

    Args:
        folder: The run's folder: the one with `streams` in it.

    Raises:
        FormatError: A segment is of a newer format.
    """
    names = (folder.parent.parent.name, folder.parent.name, folder.name)
    run = StoredRun(RunPath(*map(from_folder, names)), folder)
    rows: list[Row] = []
    controls: list[tuple[int, int, Control]] = []
    for number, stream in enumerate(streams(folder)):
        written = 0
        for entry in StreamReader(stream).entries():
            if isinstance(entry, Control):
                written = max(written, entry.time_ns)
                controls.append((written, number, entry))
                continue
            for seq, (step, time_ns, values) in enumerate(entry.rows(), entry.first_seq):
                written = max(written, time_ns)
                rows.append(Row(step, written, number, seq, time_ns, values))
    rows.sort(key=itemgetter(1))
    controls.sort(key=itemgetter(0))
    times = [row.time_ns for row in rows[:1] + rows[-1:]] + [c.time_ns for _, _, c in controls if c.time_ns]
    starts = [control.time_ns for _, _, control in controls if control.kind == Kind.RUN]
    run.created_ns = min(starts or times, default=0)
    run.heard_ns = max(times, default=0)
    for _, _, control in controls:
        apply(run, control)
    run.rows = visible(rows, [(number, c) for _, number, c in controls if c.kind == Kind.REWIND])
    return run


def apply(run: StoredRun, control: Control) -> None:
    """Take one control record in; they come in order of time."""
    body = control.body
    if control.kind == Kind.RUN:
        run.fields.update(body)
        if "pid" in body:  # a process has begun, or gone on with the run
            run.exit = None
    elif control.kind == Kind.CONFIG:
        patch(run.config, body)
    elif control.kind == Kind.SUMMARY:
        for key, value in (body.get("set") or {}).items():
            run.by_hand[key] = (value, control.time_ns)
        for path in body.get("remove") or ():
            run.by_hand.pop(".".join(map(str, path)) if isinstance(path, list) else path, None)
    elif control.kind == Kind.METRIC:
        run.definitions.append(body)
    elif control.kind == Kind.ALERT:
        run.alerts.append({"time_ns": control.time_ns, **body})
    elif control.kind == Kind.EXIT:
        run.exit = {"time_ns": control.time_ns, **body}
    elif control.kind == Kind.LOST:
        run.lost += int(body.get("count") or 0)


def patch(target: dict[str, Any], body: Mapping[str, Any]) -> None:
    """Apply a CONFIG record: nested dicts are merged, what is removed is named by its path."""
    _merge(target, body.get("set") or {})
    for path in body.get("remove") or ():
        *parents, last = path if isinstance(path, list) else [path]
        place: Any = target
        for name in parents:
            place = place.get(name) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)


def _merge(target: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        known = target.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value)
        else:
            target[key] = value


def visible(rows: Sequence[Row], rewinds: Sequence[tuple[int, Control]]) -> list[Row]:
    """Answer the rows that no REWIND hides: those it hides were written before it and lie behind its step.

    Args:
        rows: In any order; the order is kept.
        rewinds: Each with the number of its stream. In its own stream "before" is told by the sequence number, in
            others by time.
    """
    kept = list(rows)
    for number, rewind in rewinds:
        step = rewind.body.get("step", 0)
        kept = [
            row
            for row in kept
            if row.step <= step
            or (row.seq > rewind.seq if row.stream == number else row.written > rewind.time_ns)
        ]
    return kept


def join(
    rows: Iterable[tuple[int | float, int, Mapping[str, Any]]], start_ns: int, keys: Iterable[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Make rows as users see them of rows ordered by step: those of equal step become one.

    Args:
        rows: Step, time in nanoseconds, values; ordered by step, equal steps in order of writing.
        start_ns: When the run began: `_runtime` counts from there.
        keys: Values to keep; rows that have none of them are left out. All by default.
    """
    wanted = None if keys is None else set(keys)
    last: dict[str, Any] | None = None
    for step, time_ns, values in rows:
        if wanted is not None and not wanted.issuperset(values):
            values = {key: value for key, value in values.items() if key in wanted}
        if wanted is not None and not values:
            continue
        if last is None or last[STEP] != step:
            if last is not None:
                yield last
            last = {STEP: step, TIMESTAMP: 0.0, RUNTIME: 0.0}
        last.update(values)
        last[TIMESTAMP] = time_ns / 1e9
        last[RUNTIME] = (time_ns - start_ns) / 1e9
    if last is not None:
        yield last


def join_blocks(blocks: Iterable[Block], start_ns: int, keys: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
    """Do the same with blocks, as the stores and the server give them."""
    return join((row for block in blocks for row in block.rows()), start_ns, keys)
