"""Which runs a folder holds, looked up cheaply: only folders whose modification time has changed are listed again."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from ...core.names import from_folder
from ...core.paths import RunPath

# Times on disk are as coarse as two seconds: what changed so lately may change again and show the same time.
_COARSE_SECONDS = 2.5


@dataclass
class Found:
    """What changed since the last look.

    Args:
        appeared: New runs and their folders.
        vanished: Runs whose folders are gone.
        is_first: Nothing was looked at before.
        is_trusted: The folder itself could be listed. Where not (not mounted, no rights), nothing has vanished.
    """

    appeared: list[tuple[RunPath, Path]] = field(default_factory=list)
    vanished: list[RunPath] = field(default_factory=list)
    is_first: bool = False
    is_trusted: bool = True


@dataclass
class _Folder:
    mtime_ns: int = -1
    children: dict[str, _Folder] = field(default_factory=dict)


class FolderScan:
    """Remembers entity and project folders between looks.

    Args:
        root: The folder of all runs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._tree = _Folder()
        self._runs: dict[RunPath, Path] = {}
        self._is_first = True

    def forget(self, path: RunPath) -> None:
        """Take a run for one never seen, and list everything again at the next look."""
        self._runs.pop(path, None)
        self._tree = _Folder()

    def look(self, *, is_full: bool = False) -> Found:
        """Answer what appeared and vanished since the last look.

        Args:
            is_full: List all folders, whatever their times say.
        """
        if is_full:
            self._tree = _Folder()
        found = Found(is_first=self._is_first)
        runs: dict[RunPath, Path] = {}
        entities = self._children(self.root, self._tree)
        if entities is None:
            found.is_trusted = False
            return found
        self._is_first = False
        kept: set[RunPath] = set()
        for entity, entity_folder in entities.items():
            projects = self._children(self.root / entity, entity_folder)
            for project, project_folder in (projects or {}).items():
                listed = self._children(self.root / entity / project, project_folder)
                if listed is None:
                    continue
                for run in listed:
                    path = _path(entity, project, run)
                    if path is None:
                        continue
                    if path in self._runs:
                        kept.add(path)
                        continue
                    folder = self.root / entity / project / run
                    if (folder / "streams").is_dir():
                        runs[path] = folder
                    else:  # being made just now, or no run: looked at again
                        project_folder.mtime_ns = -1
        found.appeared = list(runs.items())
        if entities or not self._runs:
            found.vanished = [path for path in self._runs if path not in kept and not self._runs[path].is_dir()]
        for path in found.vanished:
            del self._runs[path]
        self._runs.update(runs)
        return found

    def _children(self, path: Path, folder: _Folder) -> dict[str, _Folder] | None:
        try:
            mtime_ns = os.stat(path).st_mtime_ns
            if mtime_ns == folder.mtime_ns:
                return folder.children
            with os.scandir(path) as entries:
                names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
        except OSError:
            return None
        folder.children = {name: folder.children.get(name) or _Folder() for name in names}
        is_settled = time.time() - mtime_ns / 1e9 > _COARSE_SECONDS
        folder.mtime_ns = mtime_ns if is_settled else -1
        return folder.children


def _path(entity: str, project: str, run: str) -> RunPath | None:
    try:
        return RunPath(from_folder(entity), from_folder(project), from_folder(run))
    except UnicodeDecodeError:  # no folder of ours
        return None
