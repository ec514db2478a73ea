"""Reading a run back from its journals: what its streams tell together.

A run is the merge of its streams. Control records are applied in order of time; rows are ordered by step, rows of
equal step are one (for each key the value written later wins), and rows behind a REWIND are hidden.
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from .journal import Block, StreamReader
from .journal.block import flatten
from .limits import CRASHED_AFTER_SECONDS
from .metrics import Definitions, summarise
from .names import from_folder
from .paths import RunPath, streams
from .processes import is_alive, is_gone
from .record import Control, Kind
from .samples import is_sample, without_samples

# What a row carries besides its values: step, seconds since the epoch, seconds since the run began.
STEP, TIMESTAMP, RUNTIME = "_step", "_timestamp", "_runtime"
# Written also by who edits a run later on; any other kind shows that a stream is of a training process.
_EDITS = (Kind.RUN, Kind.CONFIG, Kind.SUMMARY, Kind.LOST)


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
        taken_away: What the user took out of the summary, and when.
        definitions: Bodies of the METRIC records, in order.
        alerts: Bodies of the ALERT records, with `time_ns`.
        exit: The body of the EXIT of the latest training process, if it said goodbye.
        created_ns, heard_ns: Times of the first and of the last record.
        lost: Records that were dropped or damaged.
        rows: Visible rows in order of writing, without samples of the machine.
        samples: The samples, in order of writing.
    """

    path: RunPath
    folder: Path
    fields: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    by_hand: dict[str, tuple[Any, int]] = field(default_factory=dict)
    taken_away: dict[str, int] = field(default_factory=dict)
    definitions: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    exit: dict[str, Any] | None = None
    created_ns: int = 0
    heard_ns: int = 0
    lost: int = 0
    rows: list[Row] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)

    @property
    def state(self) -> str:
        """How the run ended, or `running`, or `crashed` where its process is gone or silent without an end."""
        if self.exit is not None:
            return str(self.exit.get("state") or "finished")
        pid = self.fields.get("pid")
        where = self.fields.get("whereabouts")
        if not isinstance(pid, int):
            has_gone = False
        elif isinstance(where, str):
            has_gone = bool(is_gone(where, pid, "0"))
        else:  # of before it was written down
            has_gone = self.fields.get("host") == socket.gethostname() and not is_alive(pid)
        if not has_gone and time.time_ns() - self.heard_ns < CRASHED_AFTER_SECONDS * 1e9:
            return "running"
        return "preempted" if self.fields.get("preempting") else "crashed"

    def history(self, keys: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Answer the rows by step, each a dict with `_step`, `_timestamp`, `_runtime` (seconds) and its values."""
        ordered = sorted(self.rows, key=itemgetter(0))  # stable: equal steps stay in order of writing
        return list(join(((row.step, row.time_ns, row.values) for row in ordered), self.created_ns, keys))

    def summary(self) -> dict[str, Any]:
        """Answer one value for each key: the last one written, what `define_metric` asked for, or what was set later."""
        definitions = Definitions()
        for body in self.definitions:
            definitions.take_body(body)
        values: dict[str, list[Any]] = {}
        written: dict[str, int] = {}
        for row in self.rows:
            for key, value in row.values.items():
                values.setdefault(key, []).append(value)
                written[key] = row.written
        found: dict[str, Any] = {}
        for key, logged in values.items():
            for name, value in summarise(definitions.match(key), statistics(logged), key).items():
                found[name] = value
                written[name] = written[key]
        for key, (value, time_ns) in self.by_hand.items():
            if time_ns >= written.get(key, time_ns):
                found[key] = value
        for key, time_ns in self.taken_away.items():
            if time_ns >= written.get(key, time_ns):
                found.pop(key, None)
        return found


def statistics(values: Sequence[Any]) -> dict[str, Any]:
    """Answer first and last of some values; min, max and mean of those that are finite numbers, if there are any."""
    found: dict[str, Any] = {"first": values[0], "last": values[-1]}
    numbers = [value for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
    if numbers:
        found.update(min=min(numbers), max=max(numbers), mean=math.fsum(numbers) / len(numbers))
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
        is_writer = False
        last: dict[str, Any] | None = None
        for entry in StreamReader(stream).entries():
            if isinstance(entry, Control):
                written = max(written, entry.time_ns)
                controls.append((written, number, entry))
                is_writer |= entry.kind not in _EDITS or "pid" in entry.body
                if entry.kind == Kind.EXIT:
                    last = {"time_ns": entry.time_ns, **entry.body}
                continue
            is_writer = True
            for seq, (step, time_ns, values) in enumerate(entry.rows(), entry.first_seq):
                written = max(written, time_ns)
                rows.append(Row(step, written, number, seq, time_ns, values))
        # Streams come in order of their start. A forked child (`<parent>.<pid>-<hex>`) does not end the run.
        if is_writer and "." not in stream.name:
            run.exit = last
    rows.sort(key=itemgetter(1))
    controls.sort(key=itemgetter(0))
    times = [row.time_ns for row in rows[:1] + rows[-1:]] + [c.time_ns for _, _, c in controls if c.time_ns]
    starts = [control.time_ns for _, _, control in controls if control.kind == Kind.RUN]
    run.created_ns = min(starts or times, default=0)
    run.heard_ns = max(times, default=0)
    for _, _, control in controls:
        apply(run, control)
    for row in visible(rows, [(number, c) for _, number, c in controls if c.kind == Kind.REWIND]):
        logged = without_samples(row.values)
        if logged is row.values:
            run.rows.append(row)
            continue
        run.samples.append(row._replace(values={key: row.values[key] for key in filter(is_sample, row.values)}))
        if logged is not None:
            run.rows.append(row._replace(values=logged))
    return run


def apply(run: StoredRun, control: Control) -> None:
    """Take one control record in; they come in order of time."""
    body = control.body
    if control.kind == Kind.RUN:
        run.fields.update(body)
    elif control.kind == Kind.CONFIG:
        patch(run.config, body)
    elif control.kind == Kind.SUMMARY:
        for key, value in flatten(body.get("set") or {}):
            run.by_hand[key] = (value, control.time_ns)
            run.taken_away.pop(key, None)
        for path in body.get("remove") or ():
            key = ".".join(map(str, path)) if isinstance(path, list) else str(path)
            run.by_hand.pop(key, None)
            run.taken_away[key] = control.time_ns
    elif control.kind == Kind.METRIC:
        run.definitions.append(body)
    elif control.kind == Kind.ALERT:
        run.alerts.append({"time_ns": control.time_ns, **body})
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
            if row.step <= step or (row.seq > rewind.seq if row.stream == number else row.written > rewind.time_ns)
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
