"""A fork waits until no thread of ours is in the middle of an import, or of starting a program.

CPython gives a forked child the locks of modules as they are: one that a thread was just loading stays locked for good,
and the child would wait for ever when it asks for that module (a data loader's worker for psutil, say). Our threads
load what they need in the first moments of a run, so a fork in those moments waits for them, a fraction of a second at
most. Likewise it gives the child the pipes of a program that a thread was just starting, git for instance: who reads from
them would wait for as long as the child lives.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from .limits import FORK_PATIENCE_SECONDS

_LOOK_SECONDS = 0.001
_IMPORTING = "<frozen importlib._bootstrap>"
_is_installed = False


def install() -> None:
    """Have forks of this process wait, from now on."""
    global _is_installed
    if not _is_installed and hasattr(os, "register_at_fork"):
        _is_installed = True
        os.register_at_fork(before=wait_for_threads)


def wait_for_threads() -> None:
    """Wait until no other thread of ours loads a module or starts a program; at most `FORK_PATIENCE_SECONDS`."""
    limit = time.monotonic() + FORK_PATIENCE_SECONDS
    while _is_forbidden() and time.monotonic() < limit:
        time.sleep(_LOOK_SECONDS)


def _is_forbidden() -> bool:
    loaded = sys.modules.get("subprocess")
    starting = loaded.Popen.__init__.__code__ if loaded is not None and hasattr(loaded, "Popen") else None
    own = threading.get_ident()
    ours = {thread.ident for thread in threading.enumerate() if thread.name.startswith("tracker-")} - {own}
    frames = sys._current_frames()
    for ident in ours:
        frame = frames.get(ident)  # type: ignore[arg-type] # a thread that has not begun has no frame either
        while frame is not None:
            if frame.f_code is starting or frame.f_code.co_filename == _IMPORTING:
                return True
            frame = frame.f_back
    return False
