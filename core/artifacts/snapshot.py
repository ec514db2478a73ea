"""What an artifact holds, fixed at the moment it is logged, before its bytes are hashed and kept.

Large files are not copied: they are cloned where the file system can (a later write to either does not show in the
other), and linked where it cannot. A link survives that the file is deleted, renamed or replaced. It does not survive
a write in place, so inode, size and time are noted, and looked at again around the reading. Small files are copied
into one, there and then.

A snapshot is a folder of its own: when the process dies, another one finishes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..errors import StorageError, UsageError
from ..limits import SMALL_FILE_BYTES, SNAPSHOT_COPY_BYTES
from ..paths import host_name
from ..processes import is_alive
from .manifest import Entry, check_link, check_path

_FOLDER = ".snapshots"
_LIST = "list"
_SMALL = "small"
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class Held(msgspec.Struct, array_like=True):
    """Bytes of one file in a snapshot.

    Args:
        logical: The path within the artifact.
        source: The path on disk, as the user knows it.
        size: Bytes.
        at: Where in the file of small ones; else -1, and the file is named by `number`.
        number: Names the file in the snapshot's folder.
        inode, mtime_ns: Of a linked file, to be looked at again; 0 of a copy, which nobody else can write.
        is_executable: Whether its owner may execute it.
    """

    logical: str
    source: str
    size: int
    at: int = -1
    number: int = 0
    inode: int = 0
    mtime_ns: int = 0
    is_executable: bool = False

    @property
    def is_linked(self) -> bool:
        """Whether others can still write it."""
        return self.inode != 0


class _List(msgspec.Struct):
    host: str
    pid: int
    started: str
    header: dict[str, Any]
    files: list[Held]
    entries: list[Entry]
    changed: list[str] = []


class Snapshot:
    """The files, links and references of an artifact to be; made by `create`, or found by `pending`.

    Attributes:
        token: Its name.
        files: What was held.
        entries: Links and references.
        header: What `save` was given.
        notes: Sentences for the user: what was not as cheap as it should be.
        changed: Files that were being written all the time.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self.folder = folder
        self.token = token
        self.files: list[Held] = []
        self.entries: list[Entry] = []
        self.header: dict[str, Any] = {}
        self.notes: list[str] = []
        self.changed: list[str] = []
        self._paths: set[str] = set()
        self._next_number = 0
        self._small_bytes = 0

    @classmethod
    def create(cls, blobs_folder: Path, token: str) -> Snapshot:
        """Begin a snapshot.

        Raises:
            StorageError: The folder cannot be written.
        """
        folder = blobs_folder / _FOLDER / token
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise StorageError(f"a snapshot cannot be begun in {folder.parent}: {error}.") from error
        return cls(folder, token)

    def add_file(self, logical: str, source: Path, policy: str = "mutable") -> None:
        """Hold a file as it is now. A symbolic link is followed.

        Args:
            logical: Its path within the artifact.
            source: Where it is.
            policy: `mutable`, or `immutable` where the caller promises that nobody writes it any more.

        Raises:
            UsageError: It is no file, or the path cannot be kept.
            StorageError: It cannot be read, or the disk is full.
        """
        self._claim(logical)
        try:
            found = os.stat(source)
            if not stat.S_ISREG(found.st_mode):
                raise UsageError(f"{source} is no regular file; give a file, or add_dir a folder.")
            self._hold(logical, os.fspath(source), found, policy)
        except OSError as error:
            self._paths.discard(logical)
            raise _storage_error(f"{source} cannot be kept", error) from error

    def add_dir(self, prefix: str, folder: Path) -> None:
        """Hold all files below a folder; links within it are kept as links, empty folders are not kept.

        Args:
            prefix: The path within the artifact under which they go; empty: none.
            folder: Which.

        Raises:
            UsageError: It is no folder, a link leads out of it, or a name cannot be kept.
            StorageError: Something cannot be read, or the disk is full.
        """
        root = os.path.realpath(folder)
        if not os.path.isdir(root):
            raise UsageError(f"{folder} is no folder; add_file a file.")
        self._walk(f"{prefix.strip('/')}/" if prefix.strip("/") else "", os.fspath(folder), root, root)

    def add_bytes(self, logical: str, data: bytes) -> None:
        """Hold bytes as a file.

        Raises:
            UsageError: The path cannot be kept.
            StorageError: The disk is full.
        """
        self._claim(logical)
        self._copy_small(Held(logical, logical, len(data)), data)

    def add_link(self, logical: str, target: str) -> None:
        """Hold a symbolic link.

        Raises:
            UsageError: It leads out, or a path cannot be kept.
        """
        self._claim(logical)
        self.entries.append(Entry(logical, link=check_link(logical, target)))

    def add_reference(self, entry: Entry) -> None:
        """Hold a reference to bytes elsewhere, or an entry of another version as it is.

        Raises:
            UsageError: The path cannot be kept.
        """
        self._claim(entry.path)
        self.entries.append(entry)

    def __contains__(self, logical: str) -> bool:
        return logical in self._paths

    def remove(self, logical: str) -> None:
        """Let go of one path; without it nothing happens."""
        for file in self.files:
            if file.logical == logical and file.at < 0:
                self.place(file).unlink(missing_ok=True)
        self.files = [file for file in self.files if file.logical != logical]
        self.entries = [entry for entry in self.entries if entry.path != logical]
        self._paths.discard(logical)

    def save(self, header: dict[str, Any], *, is_left: bool = False) -> None:
        """Make the snapshot one that another process can finish.

        Args:
            header: The artifact's own fields.
            is_left: This process will not finish it, though it may live on.

        Raises:
            StorageError: The disk is full.
        """
        self.header = header
        pid = 0 if is_left else os.getpid()
        body = _List(host_name(), pid, _started(pid), header, self.files, self.entries, self.changed)
        draft = self.folder / f"{_LIST}.draft"
        try:
            draft.write_bytes(msgspec.msgpack.encode(body))
            os.replace(draft, self.folder / _LIST)
        except OSError as error:
            raise _storage_error(f"a snapshot cannot be kept in {self.folder}", error) from error

    def discard(self) -> None:
        """Let go of all that is held."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(file.size for file in self.files)

    def place(self, file: Held) -> Path:
        """Answer the file in this snapshot's folder that holds the bytes."""
        return self.folder / (_SMALL if file.at >= 0 else str(file.number))

    def _claim(self, logical: str) -> None:
        check_path(logical)
        if logical in self._paths:
            raise UsageError(f"the path {logical!r} is there already; give the other file another path.")
        self._paths.add(logical)

    def _walk(self, prefix: str, shown: str, folder: str, root: str) -> None:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            logical = prefix + entry.name
            source = os.path.join(shown, entry.name)
            if entry.is_symlink():
                self.add_link(logical, _target(logical, entry.path, folder, root))
            elif entry.is_dir():
                self._walk(f"{logical}/", source, entry.path, root)
            else:
                self.add_file(logical, Path(source))

    def _hold(self, logical: str, source: str, found: os.stat_result, policy: str) -> None:
        held = Held(logical, source, found.st_size, is_executable=bool(found.st_mode & stat.S_IXUSR))
        if found.st_size < SMALL_FILE_BYTES and self._small_bytes + found.st_size <= SNAPSHOT_COPY_BYTES:
            with open(source, "rb") as file:
                data = file.read()
            held.size = len(data)
            self._copy_small(held, data)
            return
        held.number = self._next_number
        self._next_number += 1
        target = self.folder / str(held.number)
        try:
            os.link(os.path.realpath(source), target)
        except OSError:
            shutil.copyfile(source, target)
        else:
            linked = os.lstat(target)
            held.inode, held.mtime_ns, held.size = linked.st_ino, linked.st_mtime_ns, linked.st_size
        self.files.append(held)

    def _copy_small(self, held: Held, data: bytes) -> None:
        held.at = self._small_bytes
        try:
            with open(self.folder / _SMALL, "ab") as file:
                file.write(data)
        except OSError as error:
            raise _storage_error(f"{held.source} cannot be kept", error) from error
        self._small_bytes += len(data)
        self.files.append(held)


def pending(blobs_folder: Path) -> Iterator[Snapshot]:
    """Walk the snapshots of processes that are gone, and remove those that were never saved."""
    with contextlib.suppress(OSError):
        for folder in sorted((blobs_folder / _FOLDER).iterdir()):
            found = _load(folder)
            if found is not None:
                yield found


def _load(folder: Path) -> Snapshot | None:
    try:
        body = msgspec.msgpack.decode((folder / _LIST).read_bytes(), type=_List)
    except (OSError, msgspec.MsgspecError):
        return None
    if body.host != host_name() or (is_alive(body.pid) and _started(body.pid) == body.started):
        return None
    found = Snapshot(folder, folder.name)
    found.files, found.entries, found.header, found.changed = body.files, body.entries, body.header, body.changed
    return found


def _target(logical: str, path: str, folder: str, root: str) -> str:
    target = os.readlink(path)
    leads = os.path.realpath(path)
    if leads != root and not leads.startswith(root.rstrip(os.sep) + os.sep):
        raise UsageError(f"{path} is a link that leads out of the folder, to {target}; add_file the file itself.")
    try:
        return check_link(logical, target.replace(os.sep, "/"))
    except UsageError:  # absolute, or by way of another link
        return os.path.relpath(leads, folder).replace(os.sep, "/")


def _started(pid: int) -> str:
    """When a process began, where the system says so: ids are given again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def _storage_error(what: str, error: OSError) -> OSError:
    if isinstance(error, (StorageError, UsageError)):
        return error
    found = StorageError(f"{what}: {error}.")
    found.errno = error.errno
    return found
