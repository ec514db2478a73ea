"""Whether a process of this machine is there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from .paths import host_mark


def is_alive(pid: int) -> bool:
    """Answer whether a process of this machine is there. One that is dead and not yet waited for is not."""
    if pid <= 0:
        return False
    if sys.platform == "win32":  # pragma: no cover - os.kill would end it there
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x100000, False, pid)  # SYNCHRONIZE
        if not handle:
            return False
        is_there = ctypes.windll.kernel32.WaitForSingleObject(handle, 0) == 0x102  # WAIT_TIMEOUT
        ctypes.windll.kernel32.CloseHandle(handle)
        return bool(is_there)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's: it is there
        return True
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):  # no /proc here
        return True


def started(pid: int) -> str:
    """Answer when a process began, in ticks since the machine did; "0" where the system does not say.

    Numbers of processes are given again: a process is the same only if this is, too.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return "0"


def whereabouts() -> str:
    """Answer, as a part of file names, where the number of a process means what it means here.

    That is this machine, and on Linux the namespace: containers may share a machine's name and a folder, and each has a
    process 1.
    """
    try:
        return f"{host_mark()}.{os.stat('/proc/self/ns/pid').st_ino:x}"
    except OSError:
        return host_mark()


def this_process() -> str:
    """Answer, as a part of file names, what tells this process from all others, of other machines and containers too."""
    return f"{whereabouts()}~{os.getpid()}~{started(os.getpid())}"


def is_gone(where: str, pid: int, begun: str) -> bool | None:
    """Answer whether a process is no more; None where nobody here can tell.

    Args:
        where: Its `whereabouts()`.
        pid: Its number.
        begun: What `started` said of it; "0" where that is not known.
    """
    if where != whereabouts():
        return None
    return not is_alive(pid) or begun not in ("0", started(pid))


def silence(*files: Path) -> float:
    """Answer for how many seconds none of some files was written; 0 where none of them is there."""
    times = []
    for file in files:
        try:
            times.append(file.stat().st_mtime)
        except OSError:
            continue
    return max(0.0, time.time() - max(times)) if times else 0.0
