"""One sampler for each node: which process it is, and what its node is called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..limits import ELECTION_INTERVAL_SECONDS, RANK_GRACE_SECONDS
from ..paths import temporary_root

# A process's number on its node, as launchers tell it: torchrun, Slurm, Open MPI, MVAPICH, Intel MPI, Flux.
_LOCAL_RANKS = (
    "LOCAL_RANK",
    "SLURM_LOCALID",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "MV2_COMM_WORLD_LOCAL_RANK",
    "MPI_LOCALRANKID",
    "FLUX_TASK_LOCAL_ID",
)
_LOCAL_SIZES = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
_NODES = ("GROUP_RANK", "SLURM_NODEID", "NODE_RANK")
# What processes that were launched together have in common, and others have not.
_JOB = (
    "TORCHELASTIC_RUN_ID",
    "MASTER_ADDR",
    "MASTER_PORT",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "PMIX_NAMESPACE",
    "OMPI_MCA_orte_ess_jobid",
    "PMI_ID_STRING",
    "FLUX_JOB_ID",
)

_held: set[str] = set()  # elections that this process has won


def local_rank(environ: Mapping[str, str]) -> int:
    """Answer the process's number on its node; 0 where nobody has launched several."""
    return number(environ, *_LOCAL_RANKS) or 0


def local_size(environ: Mapping[str, str]) -> int:
    """Answer how many processes the launcher has started on this node; 1 where that is not known."""
    size = number(environ, *_LOCAL_SIZES)
    if size is None:  # Slurm: "4", or "4(x2),3"; all nodes of a step have about as many
        text = environ.get("SLURM_STEP_TASKS_PER_NODE", "")
        size = max((int(n) for part in text.split(",") if (n := part.partition("(")[0]).isdigit()), default=None)
    return size or 1


def world_size(environ: Mapping[str, str]) -> int:
    """Answer how many processes were launched together, on all nodes; 1 where that is not known."""
    return number(environ, *_SIZES) or 1


def node_number(environ: Mapping[str, str]) -> int | None:
    """Answer the number of this node among those of the launch; None where that is not known."""
    known = number(environ, *_NODES)
    if known is None:
        rank = number(environ, "RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMI_RANK")
        known = None if rank is None else rank // local_size(environ)
    return known


def node_label(environ: Mapping[str, str], chosen: str | None = None) -> str:
    """Answer what stands before a node's samples: nothing on a single one, else `node0` and so on.

    Args:
        environ: The environment variables.
        chosen: What the user has set (`x_label`).
    """
    if chosen:
        return str(chosen).replace("/", "-")
    nodes = number(environ, "SLURM_STEP_NUM_NODES", "SLURM_NNODES", "NNODES")
    size = number(environ, *_SIZES)
    if size is not None and any(name in environ for name in _LOCAL_SIZES):
        nodes = -(-size // local_size(environ))
    if nodes is None or nodes < 2:
        return ""
    own = node_number(environ)
    return f"node{own}" if own is not None else f"node-{os.uname().nodename if hasattr(os, 'uname') else 'x'}"


def election_key(environ: Mapping[str, str], run_folder: str) -> str:
    """Answer what the processes have in common of which one is to sample.

    Those that a launcher has started together are one job, whether they write one run or one each. Any others have at
    most the run in common: processes that go on with it, each for itself.
    """
    if local_size(environ) > 1:
        job = [environ[name] for name in _JOB if environ.get(name)]
        if job:
            return "\n".join(job)
    return run_folder


class Election:
    """Who samples on this machine: whoever has the lock of a file on its own disk, which ends with its process.

    Args:
        key: See `election_key`.
        rank: The process's number on its node: others than 0 wait a moment, so that it is 0 where 0 has a run.
        begun: Seconds of a clock that only goes forward: now.
    """

    def __init__(self, key: str, rank: int, begun: float) -> None:
        self._key = key
        self._next = begun + (RANK_GRACE_SECONDS if rank else 0.0)
        self._fd: int | None = None
        self.is_won = False

    def holds(self, now: float) -> bool:
        """Answer whether this process is the one; each few seconds it is tried again."""
        if self.is_won or now < self._next:
            return self.is_won
        self._next = now + ELECTION_INTERVAL_SECONDS
        if self._key not in _held:
            self.is_won = self._try()
            if self.is_won:
                _held.add(self._key)
        return self.is_won

    def resign(self) -> None:
        """Let somebody else be it."""
        fd, self._fd = self._fd, None
        if self.is_won:
            self.is_won = False
            _held.discard(self._key)
            if fd is not None:
                try:
                    os.unlink(_lock_file(self._key))
                except OSError:  # somebody cleans up that folder
                    pass
        if fd is not None:
            os.close(fd)

    def _try(self) -> bool:
        try:
            import fcntl
        except ImportError:  # Windows: launchers of several processes are rare, and none is elected
            return True
        locking: Any = fcntl
        try:
            path = _lock_file(self._key)
            if self._fd is None:
                self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # A lock of the process, not of the open file: a forked child does not keep it alive.
            locking.lockf(self._fd, locking.LOCK_EX | locking.LOCK_NB)
            if not os.path.exists(path) or os.fstat(self._fd).st_ino != os.stat(path).st_ino:
                fd, self._fd = self._fd, None  # that of a process that has just resigned
                os.close(fd)
                self._next = 0.0
                return False
        except BlockingIOError:
            return False
        except OSError:  # no lock to be had here: better twice than not at all
            return True
        return True


def _lock_file(key: str) -> str:
    """Answer the file of an election, in a folder of this user's on this machine.

    Raises:
        OSError: The folder is somebody else's, or cannot be made.
    """
    import hashlib  # in the sampler's thread

    folder = os.path.join(temporary_root(), f"tracker-{os.getuid() if hasattr(os, 'getuid') else 'user'}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and os.lstat(folder).st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    mark = hashlib.sha256(key.encode(errors="replace")).hexdigest()[:24]
    return os.path.join(folder, f"sampler-{mark}.lock")


def number(environ: Mapping[str, str], *names: str) -> int | None:
    """Answer the first of some variables that is a whole number."""
    for name in names:
        if environ.get(name, "").strip().isdigit():
            return int(environ[name])
    return None
