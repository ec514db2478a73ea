"""For people who test what they build on tracker: read back what came out, without an index or a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .history import read_run
from .paths import data_root, find_runs


def read_runs(dir: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """Read all runs under a folder from their journals, also of runs still being written.

    Args:
        dir: The folder that keeps the runs, as given to `init(dir=...)`; by default `TRACKER_DIR`.

    Returns:
        One dict a run, in order of their beginning: id, entity, project, name, status (as of now: `running`,
        `finished`, `failed`, `killed`, `crashed` or `preempted`), config (nested), summary, tags, notes, group,
        job_type, host, alerts, exit (or None), lost (records dropped or damaged), created (seconds since the epoch)
        and history: the rows by step, each a dict with `_step`, `_timestamp` and `_runtime` in seconds, and its values.

    Example:
        >>> import tracker, tempfile
        >>> from tracker.testing import read_runs
        >>> folder = tempfile.mkdtemp()
        >>> with tracker.init(project="demo", dir=folder, settings={"silent": True}) as run:
        ...     run.log({"loss": 0.5})
        >>> [row["loss"] for row in read_runs(folder)[0]["history"]]
        [0.5]
    """
    root = data_root() if dir is None else Path(dir)
    runs = [read_run(folder) for _, folder in find_runs(root)]
    runs.sort(key=lambda run: (run.created_ns, run.path))
    return [
        {
            "id": run.path.id,
            "entity": run.path.entity,
            "project": run.path.project,
            "name": run.fields.get("name") or run.path.id,
            "status": run.state,
            "config": run.config,
            "summary": run.summary(),
            "tags": list(run.fields.get("tags") or ()),
            "notes": run.fields.get("notes"),
            "group": run.fields.get("group"),
            "job_type": run.fields.get("job_type"),
            "host": run.fields.get("host"),
            "alerts": run.alerts,
            "exit": run.exit,
            "lost": run.lost,
            "created": run.created_ns / 1e9,
            "history": run.history(),
        }
        for run in runs
    ]


__all__ = ["read_runs"]
