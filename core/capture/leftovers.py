"""Artifacts that earlier processes have logged and not completed: this one does, on a thread of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..paths import blobs_folder

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..artifacts.completing import Completed
    from ..artifacts.header import Header
    from ..artifacts.snapshot import Snapshot
    from ..artifacts.version import Version
    from ..run import Run


def begin(run: Run, _settings: Any) -> Callable[[], None] | None:
    """Look whether something is left behind, and begin to complete it; answer what ends that."""
    root = run.folder.parents[2]
    try:
        if not os.listdir(blobs_folder(root) / ".snapshots"):
            return None
    except OSError:  # never an artifact here
        return None
    stop = threading.Event()
    threading.Thread(target=_work, args=(run, root, stop), name="tracker-leftovers", daemon=True).start()
    return stop.set


def _work(run: Run, root: Path, stop: threading.Event) -> None:
    from ..artifacts.completing import complete_left  # BLAKE3 and all: only where there is something to do

    def send(found: Completed, header: Header, snapshot: Snapshot) -> None:
        uploads = run._uploads
        if found.version is not None and header.server == run._base_url and uploads is not None:
            draft = found.draft(header)

            def follow(claimed: Future[Version]) -> None:
                if not claimed.cancelled() and claimed.exception() is None:
                    uploads.replay(draft, claimed.result())

            uploads.claim(draft, snapshot.token, follow)

    try:
        complete_left(root, say=run._complaints.say, done=send, stop=stop)
    except Exception as error:  # whatever a disk has in store: the run goes on
        run._complaints.say(f"artifacts of earlier runs are not completed ({type(error).__name__}: {error}).")
