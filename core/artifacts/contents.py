"""What an artifact that is not logged yet holds: files held in a snapshot, which is made when the first one comes."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from ..errors import UsageError
from ..paths import blobs_folder, data_root
from .manifest import Entry, check_path
from .snapshot import Snapshot

if TYPE_CHECKING:
    from ..blobs import FolderBlobs

Policy = Literal["mutable", "immutable"]
_MODES = ("x", "xb", "w", "wb", "xt", "wt")


class Contents:
    """Collects the files of an artifact.

    Args:
        root: The folder of runs, in whose folder of blobs they are held.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.removed: set[str] = set()  # of the version before, where this one adds to it
        self._snapshot: Snapshot | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._new_files = 0

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot, begun at the first call."""
        if self._snapshot is None:
            self._snapshot = Snapshot.create(blobs_folder(self.root), f"{os.getpid():x}-{os.urandom(8).hex()}")
            # What is never logged must not stay on disk.
            self._finalizer = weakref.finalize(self, _discard, self._snapshot, os.getpid())
        return self._snapshot

    def keep(self) -> Snapshot:
        """Answer the snapshot; from now on it is for the caller to discard."""
        snapshot = self.snapshot
        if self._finalizer is not None:
            self._finalizer.detach()
        return snapshot

    @property
    def store(self) -> FolderBlobs:
        """Where the bytes will be kept."""
        from .place import local_place  # a cycle: places answer artifacts

        return local_place(self.root).store

    def add_file(self, name: str, path: Path, policy: Policy, overwrite: bool) -> Entry:
        """Hold a file as it is now."""
        self._make_room(name, overwrite)
        self.snapshot.add_file(name, path, policy)
        return self._entry(name)

    def add_dir(self, prefix: str, folder: Path, policy: Policy) -> None:
        """Hold all files below a folder."""
        self.snapshot.add_dir(prefix, folder, policy)

    def add_bytes(self, name: str, data: bytes, overwrite: bool) -> Entry:
        """Hold bytes as a file."""
        self._make_room(name, overwrite)
        self.snapshot.add_bytes(name, data)
        return self._entry(name)

    def add_entry(self, entry: Entry, overwrite: bool = False) -> Entry:
        """Hold a reference, or a file of another version as it is."""
        self._make_room(entry.path, overwrite)
        self.snapshot.add_reference(entry)
        self.store.touch(part.blob for part in entry.parts)  # kept from `gc` until it is logged
        return entry

    @contextlib.contextmanager
    def new_file(self, name: str, mode: str, encoding: str | None) -> Iterator[IO[Any]]:
        """Open a file to be written, and hold it when that is done; an exception leaves nothing behind."""
        if mode not in _MODES:
            raise UsageError(f"the mode is {mode!r}; a new file is opened with {', '.join(map(repr, _MODES[:4]))}.")
        check_path(name)
        if mode.startswith("x") and name in self.snapshot:
            raise UsageError(f"the artifact has a file {name!r} already; write it anew with mode='w'.")
        self._new_files += 1
        path = self.snapshot.folder / f"new-{self._new_files}"
        text = None if "b" in mode else encoding or "utf-8"
        try:
            with open(path, "wb" if "b" in mode else "w", encoding=text) as file:
                yield file
            # It is ours alone: a link to it is as good as a copy.
            self.add_file(name, path, "immutable", overwrite=True)
        finally:
            path.unlink(missing_ok=True)

    def entries(self) -> dict[str, Entry]:
        """Answer what is held so far; of files that are not hashed yet the digest is empty."""
        if self._snapshot is None:
            return {}
        held = {file.logical: Entry(file.logical, file.size) for file in self._snapshot.files}
        return {**held, **{entry.path: entry for entry in self._snapshot.entries}}

    @property
    def size(self) -> int:
        """Bytes held, those of references included where they are known."""
        return sum(entry.size for entry in self.entries().values())

    def remove(self, path: str) -> None:
        """Let go of a file, or of all files below a folder."""
        found = [name for name in self.entries() if name == path or name.startswith(f"{path.rstrip('/')}/")]
        for name in found:
            self.snapshot.remove(name)
        self.removed.add(path.rstrip("/"))

    def is_removed(self, path: str) -> bool:
        """Answer whether a file of the version before was taken out."""
        return any(path == gone or path.startswith(f"{gone}/") for gone in self.removed)

    def _make_room(self, name: str, overwrite: bool) -> None:
        if overwrite:
            self.snapshot.remove(name)

    def _entry(self, name: str) -> Entry:
        for file in reversed(self.snapshot.files):
            if file.logical == name:
                return Entry(file.logical, file.size, is_executable=file.is_executable)
        return Entry(name)  # written all the while: told when it is logged


def default_root() -> Path:
    """Answer the folder that artifacts go to where no run says otherwise."""
    from ..current import current
    from ..settings import resolve

    run = current()
    if run is not None and not run.disabled:
        return run.folder.parents[2]
    chosen = resolve()
    if chosen.mode == "disabled" or (run is not None and run.disabled):
        import tempfile

        return Path(tempfile.gettempdir()) / "tracker-disabled"
    return Path(chosen.dir).expanduser().absolute() if chosen.dir else data_root()


def _discard(snapshot: Snapshot, pid: int) -> None:
    if os.getpid() == pid:  # in a forked child it is the parent's
        snapshot.discard()
