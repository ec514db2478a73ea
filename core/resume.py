"""Going on with a run: the rules of `resume`, `resume_from` and `fork_from`, and what an earlier process left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .errors import UsageError
from .journal import Block, Journal, StreamReader
from .names import random_id, to_folder
from .paths import RunPath, streams
from .record import Control, Kind
from .values import encodable, encode

_LAST = ".last-run.json"  # in the project's folder, for resume="auto"
_CHOICES = ("allow", "must", "never", "auto")


class Previous(NamedTuple):
    """What is known of a run from its journals."""

    fields: dict[str, Any]
    config: dict[str, Any]
    by_hand: dict[str, Any]
    definitions: list[dict[str, Any]]
    last_step: int


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
    rewind_to: int | None = None
    copy_from: Path | None = None
    copy_to_step: int = 0
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
    """
    choice = _choice(chosen.resume)
    given = [name for name in ("resume", "resume_from", "fork_from") if getattr(chosen, name)]
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} were both given; give one of them.")

    def folder_of(run_id: str) -> Path:
        return RunPath(entity, project, run_id).folder(root)

    if chosen.fork_from:
        source, step = parse_moment(chosen.fork_from, "fork_from")
        previous = _needed(folder_of(source), source, project, "fork_from")
        run_id = chosen.run_id or random_id()
        if run_id == source:
            raise UsageError(f"fork_from names the run {source!r} itself; give another id, or use resume_from.")
        fresh = previous._replace(fields={})
        return Plan(run_id, fresh, step + 1, None, folder_of(source), step, chosen.fork_from)
    if chosen.resume_from:
        source, step = parse_moment(chosen.resume_from, "resume_from")
        if chosen.run_id not in (None, source):
            raise UsageError(f"resume_from names the run {source!r} and id={chosen.run_id!r}; give one of them.")
        return Plan(source, _needed(folder_of(source), source, project, "resume_from"), step + 1, step)

    run_id = chosen.run_id
    if choice == "auto" and run_id is None:
        run_id = _unfinished(root / to_folder(entity) / to_folder(project))
    if run_id is None:
        if choice == "must":
            raise UsageError("resume='must' needs to know which run: give its id, or set TRACKER_RUN_ID.")
        return Plan(random_id())
    previous_run = read_previous(folder_of(run_id))
    if previous_run is None:
        if choice == "must":
            raise UsageError(f"resume='must', and there is no run {run_id!r} in project {project!r} under {root}.")
        return Plan(run_id)
    if choice == "never":
        raise UsageError(f"resume='never', and the run {run_id!r} exists in project {project!r}; give another id.")
    return Plan(run_id, previous_run, previous_run.last_step + 1)


def parse_moment(text: str, argument: str) -> tuple[str, int]:
    """Answer run id and step of "id?_step=N".

    Raises:
        UsageError: It has another form.
    """
    run_id, found, step = str(text).partition("?_step=")
    try:
        if run_id and found:
            return run_id, int(step)
    except ValueError:
        pass
    raise UsageError(f"{argument} is {text!r}; it reads 'run_id?_step=N', for example 'ab12cd34?_step=200'.")


def read_previous(folder: Path) -> Previous | None:
    """Read what a run's journals tell of it, its rows only for the last step; None where there is no run."""
    found = streams(folder)
    if not found:
        return None
    from .history import StoredRun, apply  # only where a run is gone on with

    run = StoredRun(RunPath("", "", ""), folder)
    controls: list[Control] = []
    last = -1
    for stream in found:
        for entry in StreamReader(stream).entries():
            if isinstance(entry, Block):
                last = max(last, int(max(entry.steps)))
            else:
                controls.append(entry)
                if entry.kind == Kind.REWIND:
                    last = min(last, int(entry.body.get("step", last)))
    for control in sorted(controls, key=lambda each: each.time_ns):
        apply(run, control)
    by_hand = {key: value for key, (value, _) in run.by_hand.items()}
    return Previous(run.fields, run.config, by_hand, run.definitions, last)


def copy_history(source: Path, step: int, journal: Journal) -> None:
    """Copy a run's visible rows up to a step into a new journal, a block at a time."""
    from .history import Row, visible

    found = streams(source)
    rewinds = [
        (number, entry)
        for number, stream in enumerate(found)
        for entry in StreamReader(stream).entries()
        if isinstance(entry, Control) and entry.kind == Kind.REWIND
    ]
    for number, stream in enumerate(found):
        written = 0
        for entry in StreamReader(stream).entries():
            if not isinstance(entry, Block):
                continue
            rows = []
            for seq, (at, time_ns, values) in enumerate(entry.rows(), entry.first_seq):
                written = max(written, time_ns)
                if at <= step:
                    rows.append(Row(at, written, number, seq, time_ns, values))
            for row in visible(rows, rewinds):
                journal.append(Kind.ROW, encode((row.step, row.time_ns, encodable(row.values))))


def remember(project: Path, run_id: str, state: str) -> None:
    """Note the project's last run and its state, for resume="auto"."""
    path = project / _LAST
    draft = project / f"{_LAST}.{os.getpid()}"
    try:
        draft.write_text(msgspec.json.encode({"id": run_id, "state": state}).decode())
        os.replace(draft, path)
    except OSError:  # a full disk: only "auto" will not find it
        return


def _unfinished(project: Path) -> str | None:
    try:
        last = msgspec.json.decode((project / _LAST).read_bytes())
        return None if last["state"] == "finished" else str(last["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _needed(folder: Path, run_id: str, project: str, argument: str) -> Previous:
    previous = read_previous(folder)
    if previous is None:
        raise UsageError(f"{argument} names the run {run_id!r}, and project {project!r} has none in {folder.parent}.")
    return previous


def _choice(resume: bool | str | None) -> str | None:
    if resume is True:
        return "auto"
    if not resume:
        return None
    if resume not in _CHOICES:
        raise UsageError(f"resume is {resume!r}; it can be {', '.join(map(repr, _CHOICES))}, True or False.")
    return str(resume)


