"""The run of a process, for the processes that descend from it: a small file that says which run is open here.

A program whose trainings are spawned (data parallel training, workers of joblib) would otherwise have a run for each
process. Nothing is put into the environment, which other programs inherit as well; a descendant asks its ancestors one
by one. The mark lies on this machine's own disk, in a folder of this user's, and is named after its process, so that
what a killed process has left means nothing to anybody.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from .limits import MAX_ANCESTORS, MAX_MARK_BYTES, MAX_SWEPT_MARKS
from .paths import temporary_root
from .processes import is_gone, started, whereabouts

if TYPE_CHECKING:
    from .run import Run

OPEN, TRAINING, RELEASED = b"o", b"t", b"r"
_PREFIX = "run~"
_map: mmap.mmap | None = None  # of this process's mark: its first byte changes with every training, however short
_pid = 0
_marked: Run | None = None
_chain: tuple[tuple[int, int], list[str]] | None = None  # the names of the ancestors' marks; for which process


class Mark(NamedTuple):
    """What an ancestor says of its run.

    Args:
        status: `OPEN`, `TRAINING` (one of its trainings is going on), or `RELEASED` (it is open for evaluations only).
        root: The folder of all runs.
        entity, project, id, name: Of the run.
        stream: The one that the ancestor writes.
    """

    status: bytes
    root: str
    entity: str
    project: str
    id: str
    name: str
    stream: str


def tell(run: Run) -> None:
    """Say that this run is the one open in this process. What goes wrong is no harm: nobody finds it then."""
    global _map, _pid, _marked
    facts = [str(run.folder.parents[2]), run.entity, run.project, run.id, run.name, run._journal.id]
    _map, _marked = None, None
    try:
        text = OPEN + msgspec.json.encode(facts) + b"\n"
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        fd = os.open(os.path.join(_folder(), _name(os.getpid())), flags, 0o600)
        try:
            os.write(fd, text)  # what an earlier run has left behind the line's end is not read
            _map = mmap.mmap(fd, 1)
        finally:
            os.close(fd)
        _pid, _marked = os.getpid(), run
    except (OSError, ValueError):
        return


def change(run: Run, status: bytes) -> None:
    """Say what becomes of it."""
    if run is _marked and _map is not None and _pid == os.getpid():
        _map[:1] = status


def untell(run: Run, before: Run | None) -> None:
    """Say it no longer.

    Args:
        run: The run that has ended.
        before: The one that is current now.
    """
    global _map, _marked
    if run is not _marked or _pid != os.getpid():
        return
    if before is not None and not before.disabled:
        tell(before)
        return
    _map, _marked = None, None
    try:
        os.unlink(os.path.join(_folder(), _name(_pid)))
    except OSError:
        pass
    sweep()


def ancestor() -> Mark | None:
    """Answer the mark of the nearest process above this one that has a run."""
    try:
        folder = _folder(is_made=False)
        if not any(name.startswith(_PREFIX) for name in os.listdir(folder)):
            return None
    except OSError:  # never a run here
        return None
    for name in _ancestors():
        mark = _read(os.path.join(folder, name))
        if mark is not None:
            return mark
    return None


def sweep() -> None:
    """Remove marks of processes that are no more: some at a time, at the end of a run."""
    try:
        folder = _folder(is_made=False)
        names = [name for name in os.listdir(folder) if name.startswith(_PREFIX)]
    except OSError:
        return
    for name in names[:MAX_SWEPT_MARKS]:
        _, where, pid, begun = (name.split("~") + [""] * 4)[:4]
        if pid.isdigit() and is_gone(where, int(pid), begun):
            try:
                os.unlink(os.path.join(folder, name))
            except OSError:
                continue


def _ancestors() -> list[str]:
    """Answer the names that marks of the processes above this one have, the nearest first."""
    global _chain
    parent = os.getppid()
    if _chain is None or _chain[0] != (os.getpid(), parent):
        names: list[str] = []
        pid = parent
        while pid >= 1 and len(names) < MAX_ANCESTORS:
            names.append(_name(pid))
            pid = _parent(pid)
        _chain = (os.getpid(), parent), names
    return _chain[1]


def _name(pid: int) -> str:
    return f"{_PREFIX}{whereabouts()}~{pid}~{started(pid)}"


def _read(path: str) -> Mark | None:
    try:
        with open(path, "rb") as file:
            line, end, _ = file.read(MAX_MARK_BYTES).partition(b"\n")
        facts = msgspec.json.decode(line[1:], type=list[str])
        if end and len(facts) == 6:  # else it is just being written
            return Mark(line[:1], *facts)
    except (OSError, msgspec.DecodeError):
        pass
    return None


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        pass
    if os.path.isdir("/proc/self"):
        return 0
    try:
        psutil = __import__("psutil")  # where there is no /proc
        return int(psutil.Process(pid).ppid())
    except Exception:  # whatever it says of a process that has just ended
        return 0


def _folder(*, is_made: bool = True) -> str:
    """Answer the folder of marks: this user's own.

    Raises:
        OSError: It is somebody else's, or cannot be made.
    """
    # What `tempfile` answers, without its import: this is asked at every start.
    chosen = next((value for name in ("TMPDIR", "TEMP", "TMP") if (value := os.environ.get(name))), None)
    root = chosen or ("/tmp" if os.name == "posix" else temporary_root())  # noqa: S108 - a folder of its own in it
    folder = os.path.join(root, f"tracker-{os.getuid() if hasattr(os, 'getuid') else 'user'}")
    if is_made:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and os.lstat(folder).st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder
