"""Processes that were launched together: the id of the run that they share, known to each of them before any opens it.

torchrun, Slurm and MPI start a process for each rank. Rank 0 opens the run; where the launch has a name that all ranks
know, the run's id follows from it. So a rank 0 that is started again after a fault (elastic training, a job that is
requeued) goes on with its run, and the first process of each other node can add the samples of its machine.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .capture.nodes import local_rank, local_size, node_number, number, world_size
from .complaints import Complaints
from .limits import JOIN_PATIENCE_SECONDS, JOIN_POLL_SECONDS
from .names import to_folder
from .paths import DEFAULT_ENTITY, RunPath, data_root, host_name
from .processes import is_alive, started, whereabouts
from .ranks import rank
from .resume import read_previous

if TYPE_CHECKING:
    from .resume import Previous
    from .run import Run
    from .settings import Resolved

_RESTARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

_trainings = 0  # of this process, each with a run: all ranks count the same
_samples: Run | None = None  # what this process adds to the run of rank 0


def next_id(project: Path) -> str | None:
    """Answer the id of the next run of this launch; None for a process that was launched alone, or in no known way.

    A launch whose name has been used before begins a new run; one that was started again goes on with its last.

    Args:
        project: The folder of the project's runs.
    """
    global _trainings
    launch = identity(os.environ)
    if launch is None:
        return None
    training, _trainings = _trainings, _trainings + 1
    is_restarted = any(number(os.environ, name) for name in _RESTARTS)
    last: tuple[str, Previous] | None = None
    for attempt in range(1000):
        run_id = _digest(f"{launch}\n{training}\n{attempt}")
        previous = read_previous(project / to_folder(run_id))
        if previous is None:
            break
        last = run_id, previous
    if last is not None and (
        (is_restarted and not _is_at_work(last[1])) or (rank() != 0 and last[1].state == "running")
    ):
        return last[0]
    return run_id


def identity(environ: Mapping[str, str]) -> str | None:
    """Answer what tells this launch from all others, and is the same in all its processes.

    Args:
        environ: The environment variables.
    """
    size = world_size(environ)
    if size < 2 and "TORCHELASTIC_RESTART_COUNT" not in environ:  # torchrun starts a single process again as well
        return None
    name = environ.get("TORCHELASTIC_RUN_ID")
    if name and name != "none":
        return f"torchelastic {name}"
    job, step = environ.get("SLURM_JOB_ID"), environ.get("SLURM_STEP_ID")
    if job and step and "TORCHELASTIC_RESTART_COUNT" not in environ and environ.get("SLURM_PROCID"):
        return f"slurm {environ.get('SLURM_CLUSTER_NAME')} {job}.{step}"
    if local_size(environ) == size:  # all on this machine, children of one process
        return f"agent {whereabouts()} {os.getppid()} {started(os.getppid())}"
    return None


def launched_id(entity: str | None = None, project: str | None = None) -> str | None:
    """Answer the id of the next run of this launch, the same on all its ranks; None where `init` makes one up.

    Args:
        entity: Whose project it is.
        project: The project that the run will be opened in.
    """
    from .settings import resolve

    path, root = _place(resolve({"entity": entity, "project": project}))
    return next_id(root / to_folder(path.entity) / to_folder(path.project))


def sample_node(id: str | None = None, entity: str | None = None, project: str | None = None, **ignored: Any) -> None:
    """Have this node's machine sampled into the run that rank 0 has on another node, if that is to be found.

    For integrations, on ranks other than 0; it returns at once, and does something on the first process of a node only.
    The run is looked for in the folder of runs that the nodes share; with `TRACKER_RUN_ID` there is no need for one.

    Args:
        id: The run's id, where it is known.
        entity: Whose project it is.
        project: The project that rank 0 will open its run in.
        ignored: Other arguments of `init`.
    """
    if rank() == 0 or local_rank(os.environ) != 0 or node_number(os.environ) in (None, 0):
        return
    from .settings import resolve

    chosen = resolve({"entity": entity, "project": project})
    if chosen.mode == "disabled" or chosen.x_disable_stats:
        return
    path, root = _place(chosen)
    run_id = chosen.run_id or id or next_id(root / to_folder(path.entity) / to_folder(path.project))
    if run_id is None or (_samples is not None and _samples.id == run_id and _samples.state == "running"):
        return
    arguments = (path._replace(id=run_id), root, chosen)
    threading.Thread(target=_join, args=arguments, name="tracker-node", daemon=True).start()


def _place(chosen: Resolved) -> tuple[RunPath, Path]:
    from .init import DEFAULT_PROJECT  # which imports us

    root = Path(chosen.dir).expanduser().absolute() if chosen.dir else data_root()
    return RunPath(chosen.entity or DEFAULT_ENTITY, chosen.project or DEFAULT_PROJECT, ""), root


def _join(path: RunPath, root: Path, chosen: Resolved) -> None:
    global _samples
    from .secondary import write_to

    complaints = Complaints(is_silent=bool(chosen.silent))
    try:
        limit = time.monotonic() + JOIN_PATIENCE_SECONDS
        while chosen.run_id is None and not (path.folder(root) / "streams").is_dir():
            if time.monotonic() > limit:  # rank 0 has a run of another id, or another folder
                return
            time.sleep(JOIN_POLL_SECONDS)
        before, _samples = _samples, write_to(path, root, chosen, complaints, parts=("sampler",))
        if before is not None:
            before.finish(quiet=True)
    except Exception as error:  # whatever a shared folder has in store: training goes on
        complaints.say(f"this node's machine is not sampled ({type(error).__name__}: {error}).")


def _is_at_work(previous: Previous) -> bool:
    """Answer whether another process of this machine writes that run: this one was started by it, say."""
    return previous.host == host_name() and previous.pid not in (None, os.getpid()) and is_alive(previous.pid or 0)


def _digest(text: str) -> str:
    return "".join(_ALPHABET[byte % 36] for byte in hashlib.sha256(text.encode(errors="replace")).digest()[:8])
