"""Going on with a run: the rules of `resume`, `resume_from` and `fork_from`, and what an earlier process left."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .errors import FormatError, RunInUse, UsageError
from .journal import Block, Entry, Journal, StreamReader
from .names import random_id, to_folder
from .paths import RunPath, run_blobs, streams
from .processes import whereabouts
from .record import Control, Kind, encode_control
from .samples import logged_steps, without_samples
from .values import encodable, encode

if TYPE_CHECKING:
    from .history import Row
    from .run import Run

_LAST = ".last-run.json"  # in the project's folder, for resume="auto"
_CHOICES = ("allow", "must", "never", "auto")
# Of the process that wrote them, not of the run.
_OF_A_PROCESS = ("host", "whereabouts", "pid", "program", "stream", "resumed")


class Previous(NamedTuple):
    """What is known of a run from its journals.

    Args:
        folder: The run's folder.
        fields: The run's own fields, without those of one process.
        config: Nested.
        by_hand: What the user set in the summary.
        definitions: Bodies of the METRIC records, in order.
        last_step: The largest one that is not hidden; -1 without rows.
        state: `running`, or how the run ended, as of now.
        pid: Of the last process, and its machine.
        host: The machine's name.
        is_elsewhere: Another process of this machine is there and writes the run. Of those of other machines nobody
            here can tell.
    """

    folder: Path
    fields: dict[str, Any]
    config: dict[str, Any]
    by_hand: dict[str, Any]
    definitions: list[dict[str, Any]]
    last_step: int | float
    state: str
    pid: int | None = None
    host: str | None = None
    is_elsewhere: bool = False

    @property
    def next_step(self) -> int:
        """The first whole step behind all rows."""
        return math.floor(self.last_step) + 1

    def hand_over(self, run: Run) -> None:
        """Give the run that goes on what the summary and `define_metric` know; the rows are read when asked for."""
        for body in self.definitions:
            run._definitions.take_body(body)
        if run.folder == self.folder:  # a fork has the rows in its own journal
            run._set_before = self.by_hand
            own = run._journal.id
            run._summary.begin_with(lambda: earlier(self.folder, own))


class Plan(NamedTuple):
    """How to begin.

    Args:
        run_id: The run's id.
        previous: What to go on from; None for a new run.
        first_step: The first step that `log` takes by itself.
        rewind_to: Rows behind this step are to be hidden.
        copy_from: The folder of the run whose rows are to be copied, up to `copy_to_step`.
        forked_from: For the record: "id?_step=N".
    """

    run_id: str
    previous: Previous | None = None
    first_step: int = 0
    rewind_to: int | float | None = None
    copy_from: Path | None = None
    copy_to_step: int | float = 0
    forked_from: str | None = None


def plan(root: Path, entity: str, project: str, chosen: Any) -> Plan:
    """Answer how to begin.

    Args:
        root: The folder of all runs.
        entity: Whose project it is.
        project: Where the run belongs.
        chosen: The settings: run_id, resume, resume_from, fork_from.

    Raises:
        UsageError: They contradict each other, or there is no such run.
        RunInUse: The run that is to be taken back is being written by another process.
        FormatError: The run was written by a newer tracker.
    """
    choice = _choice(chosen.resume)
    given = [name for name in ("resume", "resume_from", "fork_from") if getattr(chosen, name)]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} were both given; give one of them.")

    def folder_of(run_id: str) -> Path:
        return RunPath(entity, project, run_id).folder(root)

    if chosen.fork_from:
        source, step = parse_moment(chosen.fork_from, "fork_from")
        run_id = chosen.run_id or random_id()
        if run_id == source:
            raise UsageError(f"fork_from names the run {source!r} itself; give another id, or use resume_from.")
        if streams(folder_of(run_id)):
            raise UsageError(
                f"fork_from begins a new run, and {run_id!r} exists in project {project!r}; give another id."
            )
        previous = _needed(folder_of(source), source, project, "fork_from")._replace(fields={})
        return Plan(run_id, previous, math.floor(step) + 1, None, folder_of(source), step, chosen.fork_from)
    if chosen.resume_from:
        source, step = parse_moment(chosen.resume_from, "resume_from")
        if chosen.run_id not in (None, source):
            raise UsageError(f"resume_from names the run {source!r} and id={chosen.run_id!r}; give one of them.")
        previous = _needed(folder_of(source), source, project, "resume_from")
        if previous.is_elsewhere:  # its rows would be hidden as it writes them
            raise RunInUse(
                f"the run {source!r} is being written by process {previous.pid}, and cannot be taken back to step {step}. "
                f"fork_from='{source}?_step={step}' begins a run of its own from there."
            )
        return Plan(source, previous, math.floor(step) + 1, step)

    run_id = chosen.run_id
    if run_id is None:
        if choice == "must":
            raise UsageError("resume='must' needs to know which run: give its id, or set TRACKER_RUN_ID.")
        found = _unfinished(root / to_folder(entity) / to_folder(project)) if choice == "auto" else None
        return Plan(random_id()) if found is None else Plan(found[0], found[1], found[1].next_step)
    known = read_previous(folder_of(run_id))
    if known is None:
        if choice == "must":
            raise UsageError(
                f"resume='must', and there is no run {run_id!r} in project {project!r} under {root}. "
                "Use resume='allow' to begin it where it is not there."
            )
        return Plan(run_id)
    if choice == "never":
        raise UsageError(f"resume='never', and the run {run_id!r} exists in project {project!r}; give another id.")
    return Plan(run_id, known, known.next_step)


def parse_moment(text: str, argument: str) -> tuple[str, int | float]:
    """Answer run id and step of "id?_step=N".

    Raises:
        UsageError: It has another form.
    """
    run_id, found, step = str(text).strip().partition("?_step=")
    try:
        number = float(step) if "." in step or "e" in step.lower() else int(step)
        if run_id and found and "?" not in run_id and math.isfinite(number):
            return run_id, number
    except ValueError:
        pass
    raise UsageError(f"{argument} is {text!r}; it reads '<run id>?_step=<number>', for example 'ab12cd34?_step=200'.")


def read_previous(folder: Path) -> Previous | None:
    """Read what a run's journals tell of it, its rows only for the last step; None where there is no run.

    Raises:
        FormatError: It was written by a newer tracker.
    """
    found = streams(folder)
    if all("." in stream.name for stream in found):  # those of secondary processes, which were quicker
        return None
    from .history import StoredRun, apply  # only where a run is gone on with

    run = StoredRun(RunPath("", "", ""), folder)
    controls: list[Control] = []
    last: int | float = -1
    for stream in found:  # in order of their start: a rewind hides what the ones before it have written
        ending: dict[str, Any] | None = None
        is_writer = False
        for entry in _entries(stream):
            if isinstance(entry, Block):
                last = max(last, max(logged_steps(entry), default=last))
                run.heard_ns = max(run.heard_ns, entry.times[-1])
                is_writer = True
                continue
            controls.append(entry)
            run.heard_ns = max(run.heard_ns, entry.time_ns)
            if entry.kind == Kind.REWIND:
                last = min(last, entry.body.get("step", last))
            is_writer |= "pid" in entry.body
            if entry.kind == Kind.EXIT:
                ending = entry.body
        if is_writer and "." not in stream.name:  # neither an edit nor a forked child ends the run
            run.exit = ending
    for control in sorted(controls, key=lambda each: each.time_ns):
        apply(run, control)
    fields = {name: value for name, value in run.fields.items() if name not in _OF_A_PROCESS}
    if fields.get("preempting"):
        fields["preempting"] = False  # that process has been stopped; the next one is not about to be
    by_hand = {key: value for key, (value, _) in run.by_hand.items()}
    pid, host = run.fields.get("pid"), run.fields.get("host")
    state = run.state
    is_elsewhere = state == "running" and pid != os.getpid() and run.fields.get("whereabouts") == whereabouts()
    return Previous(folder, fields, run.config, by_hand, run.definitions, last, state, pid, host, is_elsewhere)


def copy_history(source: Path, step: int | float, journal: Journal) -> None:
    """Copy a run's config, definitions and visible rows up to a step into a new journal: a fork stands by itself.

    Rows keep their times and come in order of writing, also where several processes have written at once. They are
    copied a block at a time.
    """
    from heapq import merge  # only for a fork

    previous = read_previous(source)
    if previous is None:
        return
    now = journal.clock.now_ns()
    if previous.config:
        journal.append(Kind.CONFIG, encode_control(now, {"set": previous.config, "remove": []}))
    for body in previous.definitions:
        journal.append(Kind.METRIC, encode_control(now, body))
    found = streams(source)
    rewinds = _rewinds(found)
    sources = [_visible_rows(number, stream, rewinds, step) for number, stream in enumerate(found)]
    for row in merge(*sources, key=lambda each: each.written):
        values = without_samples(row.values)  # they tell of the machine that the other run had
        if values is not None:
            journal.append(Kind.ROW, encode((row.step, row.time_ns, encodable(values))))


def link_blobs(source: Path, target: Path) -> list[str]:
    """Give a fork the bytes that its rows refer to: links, where the file system has them. Answer their digests.

    Blobs are never written to again, so it does no harm that two runs share them.
    """
    digests: list[str] = []
    for folder in _subfolders(run_blobs(source)):
        place = run_blobs(target) / folder.name
        place.mkdir(parents=True, exist_ok=True)
        for entry in os.scandir(folder):
            digests.append(entry.name.partition(".")[0])
            try:
                os.link(entry.path, place / entry.name)
            except FileExistsError:
                continue
            except OSError:  # a file system without links
                import shutil

                shutil.copyfile(entry.path, place / entry.name)
    return digests


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:  # those of two letters hold blobs
            return [Path(entry.path) for entry in entries if len(entry.name) == 2 and entry.is_dir()]
    except OSError:
        return []


def earlier(folder: Path, stream_id: str) -> Iterator[Entry]:
    """Walk what a run's other streams hold, without rows that a rewind hides."""
    found = streams(folder)
    rewinds = _rewinds(found)
    for number, stream in enumerate(found):
        if stream.name == stream_id:
            continue
        if not rewinds:
            yield from _entries(stream)
            continue
        lowest = min(rewind.body.get("step", 0) for _, rewind in rewinds)
        for entry in _entries(stream):
            if isinstance(entry, Control) or max(entry.steps) <= lowest:
                yield entry
                continue
            rows = list(_visible(_rows(number, entry, 0), rewinds))
            if rows:
                payloads = [encode((row.step, row.time_ns, encodable(row.values))) for row in rows]
                yield Block.from_rows(rows[0].seq, payloads)


def reached_by_others(folder: Path, stream_id: str) -> int:
    """Answer the largest whole step that a run's other streams have come to; -1 where they have no rows.

    Args:
        folder: The run's folder.
        stream_id: The stream that does not count.
    """
    blocks = (entry for entry in earlier(folder, stream_id) if isinstance(entry, Block))
    return math.floor(max((step for block in blocks for step in logged_steps(block)), default=-1))


def remember(project: Path, run_id: str, state: str) -> None:
    """Note the project's last run and its state, for resume="auto". The end of a run that is not the last is no news."""
    path = project / _LAST
    draft = project / f"{_LAST}.{os.getpid()}"
    try:
        if state != "running" and _last(project) not in (None, run_id):
            return
        draft.write_bytes(msgspec.json.encode({"id": run_id, "state": state}))
        os.replace(draft, path)
    except OSError:  # a full disk: only "auto" will not find it
        return


def _last(project: Path) -> str | None:
    """Answer the id of the project's last run, if it has not finished."""
    try:
        last = msgspec.json.decode((project / _LAST).read_bytes())
        return None if last["state"] == "finished" else str(last["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unfinished(project: Path) -> tuple[str, Previous] | None:
    """Answer the project's last run where it has not finished and nobody is writing it."""
    run_id = _last(project)
    if run_id is None:
        return None
    previous = read_previous(project / to_folder(run_id))
    if previous is None or previous.state in ("finished", "running"):
        return None
    return run_id, previous


def _needed(folder: Path, run_id: str, project: str, argument: str) -> Previous:
    previous = read_previous(folder)
    if previous is None:
        raise UsageError(
            f"{argument} names the run {run_id!r}, and project {project!r} has none of that id in {folder.parent}."
        )
    return previous


def _choice(resume: bool | str | None) -> str | None:
    if resume is True:
        return "auto"
    if not resume:
        return None
    if resume not in _CHOICES:
        raise UsageError(f"resume is {resume!r}; it can be {', '.join(map(repr, _CHOICES))}, True or False.")
    return str(resume)


# --- reading streams ------------------------------------------------------------------------


def _entries(stream: Path) -> Iterator[Entry]:
    """Walk a stream; a damaged block is passed over, what follows it is read.

    Raises:
        FormatError: A segment is of a newer format.
    """
    reader = StreamReader(stream)
    while True:
        before = reader.cursor
        try:
            yield from reader.entries()
        except FormatError:
            if reader.cursor == before:
                raise
        else:
            return


def _rewinds(found: list[Path]) -> list[tuple[int, Control]]:
    """Answer the REWIND records of some streams, each with the number of its stream."""
    from .record import decode_control

    rewinds = []
    for number, stream in enumerate(found):
        for frame in StreamReader(stream).frames():  # not `entries`: that would unpack every block
            if frame.kind == Kind.REWIND and (control := decode_control(frame.kind, frame.seq, frame.payload)):
                rewinds.append((number, control))
    return rewinds


def _rows(number: int, block: Block, written: int) -> Iterator[Row]:
    from .history import Row

    for seq, (step, time_ns, values) in enumerate(block.rows(), block.first_seq):
        written = max(written, time_ns)
        yield Row(step, written, number, seq, time_ns, values)


def _visible(rows: Iterable[Row], rewinds: list[tuple[int, Control]]) -> list[Row]:
    from .history import visible

    return visible(list(rows), rewinds)


def _visible_rows(number: int, stream: Path, rewinds: list[tuple[int, Control]], step: int | float) -> Iterator[Row]:
    written = 0
    for entry in _entries(stream):
        if isinstance(entry, Control):
            written = max(written, entry.time_ns)
            continue
        rows = list(_rows(number, entry, written))
        written = rows[-1].written
        yield from _visible([row for row in rows if row.step <= step], rewinds)
