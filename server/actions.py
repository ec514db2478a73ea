"""What users change about runs: edits, and the trash. Where the run's folder is at hand, it is changed there first."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from ..core.clock import Clock
from ..core.errors import UsageError
from ..core.journal import Journal
from ..core.paths import RunPath
from ..core.record import encode_control
from .index import Index
from .stores.base import RunDetail
from .stores.edits import edit_records
from .trash import restore_folder, trash_folder
from .watching.following import FollowedRun
from .watching.liveness import Tells
from .watching.watcher import Watcher


class Actions:
    """Edits runs, and moves them to the trash and back.

    Args:
        index: The stores.
        tell: Is told what changed.
        root: The folder of all runs; None on a server that has none.
        watcher: Who watches that folder.
    """

    def __init__(self, index: Index, tell: Tells, root: Path | None, watcher: Watcher | None) -> None:
        self._index = index
        self._tell = tell
        self._root = root
        self._watcher = watcher
        self._lock = threading.RLock()

    def edit(self, path: RunPath, changes: Mapping[str, Any]) -> RunDetail:
        """Change a run; answer it as it is now.

        The edit goes to the run's own journal, as a small stream, so that it survives the index and every reader
        sees it.
        """
        detail = self._needed(path)
        if detail.trashed:
            raise HTTPException(409, f"the run {path} is in the trash; restore it first.")
        parts = {"info"} if set(changes) - {"config", "summary"} else set()
        parts |= {"config", "summary"} & set(changes)
        if not changes:
            return detail
        folder = self._folder(path)
        if folder is None:
            self._index.metadata.edit(path, changes)
        else:
            self._write(path, folder, changes)
        self._tell(path, parts)
        return self._needed(path)

    def _write(self, path: RunPath, folder: Path, changes: Mapping[str, Any]) -> None:
        records = edit_records(changes)
        with self._still():
            try:
                journal = Journal(folder / "streams", Clock(), is_mapped=False)
            except OSError as error:
                raise HTTPException(409, f"the run's folder cannot be written ({error.strerror}).") from error
            try:
                for kind, body in records:
                    journal.append(kind, encode_control(time.time_ns(), body))
                journal.sync()
            except OSError as error:
                raise HTTPException(507, f"the run's folder cannot be written now ({error}).") from error
            finally:
                journal.close()
            for _ in FollowedRun(path, folder, self._index.cursor).read(self._index):
                pass

    def trash(self, path: RunPath) -> None:
        """Move a run to the trash."""
        detail = self._needed(path)
        if detail.trashed:
            return
        if detail.run.state == "running":
            raise HTTPException(409, f"the run {path} is still running; end it first.")
        folder = self._folder(path)
        with self._still():
            if folder is not None and self._root is not None:
                trash_folder(self._root, path)
                if self._watcher:
                    self._watcher.drop(path)
            self._index.metadata.set_trashed(path, True)
        self._tell(path, {"trash"}, True)

    def restore(self, path: RunPath) -> RunDetail:
        """Take a run out of the trash; answer it."""
        detail = self._needed(path)
        if not detail.trashed:
            return detail
        with self._still():
            if self._root is not None:
                try:
                    restore_folder(self._root, path)
                except UsageError as error:
                    raise HTTPException(409, str(error)) from error
            self._index.metadata.set_trashed(path, False)
        if self._watcher:
            self._watcher.poke()
        self._tell(path, {"trash"}, True)
        return self._needed(path)

    def _needed(self, path: RunPath) -> RunDetail:
        detail = self._index.metadata.run(path)
        if detail is None:
            raise HTTPException(404, f"there is no run {path}.")
        return detail

    def _folder(self, path: RunPath) -> Path | None:
        if self._root is None:
            return None
        folder = path.folder(self._root)
        return folder if (folder / "streams").is_dir() else None

    def _still(self) -> AbstractContextManager[Any]:
        return self._watcher.hold() if self._watcher else self._lock
