"""A fork waits until no thread of ours is in the middle of an import.

CPython gives a forked child the locks of modules as they are: one that a thread was just loading stays locked for good,
and the child would wait for ever when it asks for that module (a data loader's worker for psutil, say). Our threads
load what they need in the first moments of a run, so a fork in those moments waits for them, a fraction of a second at
most.
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
        os.register_at_fork(before=wait_for_imports)


def wait_for_imports() -> None:
    """Wait until no other thread of ours loads a module; never longer than `FORK_PATIENCE_SECONDS`."""
    limit = time.monotonic() + FORK_PATIENCE_SECONDS
    while _is_loading() and time.monotonic() < limit:
        time.sleep(_LOOK_SECONDS)


def _is_loading() -> bool:
    own = threading.get_ident()
    ours = {thread.ident for thread in threading.enumerate() if thread.name.startswith("tracker-")} - {own}
    frames = sys._current_frames()
    for ident in ours:
        frame = frames.get(ident)  # type: ignore[arg-type] # a thread that has not begun has no frame either
        while frame is not None:
            if frame.f_code.co_filename == _IMPORTING:
                return True
            frame = frame.f_back
    return False
