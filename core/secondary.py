"""A run that another process has begun, written to from this one as well: a stream beside that one's.

The other process, the primary one, says what the run is and how it ends; this one adds rows, config and artifacts. As
in W&B's shared mode: `Settings(x_primary=False)`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from . import capture, exits, family, forks
from .clock import Clock
from .complaints import Complaints
from .config import Config
from .current import enter, leave, open_runs
from .errors import UsageError
from .journal import Journal
from .names import check_name, stream_id
from .paths import DEFAULT_ENTITY, RunPath, data_root
from .record import Kind, encode_control
from .run import Run
from .settings import Resolved, resolve


def begin(chosen: Resolved, values: dict[str, Any], default_project: str, complaints: Complaints) -> Run:
    """Begin to write to the run that the settings name, or else to that of the process that has started this one.

    Args:
        chosen: The settings in force.
        values: Config that `init` was given.
        default_project: Where the run is looked for without a project.
        complaints: What this process has to say.

    Raises:
        UsageError: No run is named, and no process above this one has one.
    """
    mark = family.ancestor()
    if chosen.run_id is None and mark is None:
        raise UsageError(
            "x_primary=False writes to a run that another process has begun; give its id, init(id=...), or set "
            "TRACKER_RUN_ID. No process above this one has a run open."
        )
    if mark is not None and chosen.run_id in (None, mark.id):
        return attach_to(mark, chosen, complaints, values)
    entity = check_name(chosen.entity or DEFAULT_ENTITY, "entity")
    project = check_name(chosen.project or default_project, "project")
    path = RunPath(entity, project, check_name(str(chosen.run_id), "run id"))
    root = Path(chosen.dir).expanduser().absolute() if chosen.dir else data_root()
    run = write_to(path, root, chosen, complaints, parts=("sampler",))
    enter(run)
    run.config.update(values, allow_val_change=True)
    return run


def attach(run_id: str | None = None, *, anywhere: bool = True) -> Run | None:
    """Answer a run that writes into the one that a process above this one has open; None where there is none.

    For what trains in a spawned process: the rows go to the run that is there, and no other is begun. That process
    says how it ends. The second call answers the same run.

    Args:
        run_id: Only this one.
        anywhere: Also in a program of its own, started by `subprocess` say; False means in processes of
            `multiprocessing`, which are parts of the program that has the run.
    """
    mark = family.ancestor() if anywhere or _is_spawned() else None
    if mark is None or mark.status == family.RELEASED or run_id not in (None, mark.id):
        return None
    for run in open_runs():
        if not run.disabled and run.path_ == RunPath(mark.entity, mark.project, mark.id):
            return run
    chosen = resolve({})
    if chosen.mode == "disabled":
        return None
    return attach_to(mark, chosen, Complaints(is_silent=bool(chosen.silent)))


def is_worker() -> bool:
    """Answer whether this is a process of `multiprocessing` that works for a training which goes on above it."""
    mark = family.ancestor() if _is_spawned() else None
    return mark is not None and mark.status == family.TRAINING


def _is_spawned() -> bool:
    parent = getattr(sys.modules.get("multiprocessing.process"), "parent_process", None)
    return parent is not None and parent() is not None


def attach_to(mark: family.Mark, chosen: Resolved, complaints: Complaints, values: dict[str, Any] | None = None) -> Run:
    """Write to the run of an ancestor, and make it this process's current one."""
    path = RunPath(mark.entity, mark.project, mark.id)
    run = write_to(path, Path(mark.root), chosen, complaints, beside=mark.stream, name=mark.name)
    enter(run)
    if values:
        run.config.update(values, allow_val_change=True)
    return run


def write_to(
    path: RunPath,
    root: Path,
    chosen: Resolved,
    complaints: Complaints,
    *,
    beside: str | None = None,
    name: str | None = None,
    parts: tuple[str, ...] = (),
) -> Run:
    """Open a stream of a run, beside that of its primary process; no record says anything of the run itself.

    Args:
        path: The run.
        root: The folder of all runs.
        chosen: The settings in force.
        complaints: What this process has to say.
        beside: The stream of the primary process, where it is known.
        name: The run's, where it is known.
        parts: Of `capture`.

    Raises:
        OSError: The stream cannot be made.
    """
    from .init import config_recorder, start_sender  # which imports us

    clock = Clock()
    folder = path.folder(root)
    wake: list[Any] = []
    journal = Journal(
        folder / "streams", clock, say=complaints.say, on_roll=lambda: wake[0]() if wake else None,
        parent=beside or stream_id(clock.now_ns()),
    )  # fmt: skip
    (folder / "files").mkdir(exist_ok=True)

    def record(kind: Kind, body: dict[str, Any]) -> None:
        journal.append(kind, encode_control(clock.now_ns(), body))

    run = Run(
        path,
        folder,
        {"id": path.id, "name": name, "pid": os.getpid()},
        journal,
        clock,
        complaints,
        Config(config_recorder(record, chosen, complaints), True),
        settings=chosen,
        base_url=chosen.base_url if chosen.mode == "online" else None,
        is_primary=False,
    )
    wake.append(run._keeper.wake)
    run._on_end += [leave, exits.forget]
    run._keeper.start()
    start_sender(run, chosen, root, complaints)
    exits.watch(run)
    forks.install()
    capture.begin(run, chosen, parts)
    return run
