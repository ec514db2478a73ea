"""Where things lie on disk: the folder of all runs, of one run, of its streams."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .names import from_folder, to_folder

DEFAULT_ENTITY = "local"


def data_root() -> Path:
    """Answer the folder that keeps the runs: `TRACKER_DIR`, else the user's data folder."""
    if chosen := os.environ.get("TRACKER_DIR"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_data_path  # only where no folder was chosen: it costs an import

    return user_data_path("tracker", appauthor=False) / "runs"


def cache_root() -> Path:
    """Answer the folder of what can be made anew (the index): `TRACKER_CACHE_DIR`, else the user's cache folder."""
    if chosen := os.environ.get("TRACKER_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("tracker", appauthor=False)


def index_folder(root: Path) -> Path:
    """Answer where the index of a folder of runs lies: in the user's cache, on local disk."""
    import hashlib  # readers only

    mark = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return cache_root() / f"index-{mark}"


class RunPath(NamedTuple):
    """The three names that tell one run from all others; `str()` of it is what users see."""

    entity: str
    project: str
    id: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"

    def folder(self, root: Path) -> Path:
        """Answer the run's folder under `root`."""
        return root / to_folder(self.entity) / to_folder(self.project) / to_folder(self.id)


def blobs_folder(root: Path) -> Path:
    """Answer where the bytes lie that all runs share: chunks of artifacts, and manifests."""
    return root / ".blobs"


def artifacts_folder(root: Path) -> Path:
    """Answer where the versions of artifacts lie."""
    return root / ".artifacts"


def run_blobs(run_folder: Path) -> Path:
    """Answer where the bytes of a run's own lie: media, parts of tables, named files."""
    return run_folder / "blobs"


def streams(run_folder: Path) -> list[Path]:
    """Answer the folders of a run's streams, oldest first."""
    try:
        with os.scandir(run_folder / "streams") as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:  # removed under us, or not a run
        return []
    return [run_folder / "streams" / name for name in names]


def find_runs(root: Path) -> Iterator[tuple[RunPath, Path]]:
    """Walk all runs under `root`, in no particular order; folders that are no runs are passed over."""
    for entity in _folders(root):
        for project in _folders(entity):
            for run in _folders(project):
                if (run / "streams").is_dir():
                    yield RunPath(from_folder(entity.name), from_folder(project.name), from_folder(run.name)), run


def _folders(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as entries:
            return [Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []


def temporary_root() -> str:
    """Answer the folder for temporary files."""
    import tempfile  # rarely asked for, and slow to load

    return tempfile.gettempdir()


def host_name() -> str:
    """Answer this machine's name."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()


def host_mark() -> str:
    """Answer this machine's name as a part of file names."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", host_name())[:60]
