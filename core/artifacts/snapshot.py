"""What an artifact holds, fixed at the moment it is logged, before its bytes are hashed and kept.

Large files are not copied: they are cloned where the file system can (a later write to either does not show in the
other), and linked where it cannot. A link survives that the file is deleted, renamed or replaced. It does not survive
a write in place, so size and time are noted, and looked at again around the reading; a path that is seen to be written
in place is copied from then on. Small files are copied into one, there and then.

A snapshot is a folder of its own, named by who works on it: when that process dies, another one takes it over.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..errors import StorageError, UsageError
from ..limits import (
    CLONE_AT_ONCE_AGE_SECONDS,
    CLONE_AT_ONCE_BYTES,
    FOREIGN_SNAPSHOT_SECONDS,
    SETTLE_SECONDS,
    SMALL_FILE_BYTES,
    SNAPSHOT_COPY_BYTES,
    TOLD_COPY_SECONDS,
)
from ..processes import is_alive, started, this_process, whereabouts
from .holding import CLONES, WRITTEN, Mark, copy_steadily, mark_of, open_regular, read_steadily
from .manifest import Entry, check_link, check_path

_FOLDER = ".snapshots"
_LIST = "list"
_SMALL = "small"
_PIECE_BYTES = 1 << 20
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_IN_PLACE = "it is written in place each time; save to a new name and rename it, and a link will do"
_ATTEMPTS = 5  # to link a file that is being written
_FUTURE_NS = 10**9  # a time so far ahead was set by somebody, and a write will bring back the present one
_STEP_SECONDS = 0.001


class Held(msgspec.Struct, array_like=True):
    """Bytes of one file in a snapshot.

    Args:
        logical: The path within the artifact.
        source: The path on disk, as the user knows it.
        size: Bytes.
        at: Where in the file of small ones; -1: the bytes are a file of their own.
        number: Names that file in the snapshot's folder; -1: it stays where it is, `source`, which is absolute then.
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

    def is_same(self, found: os.stat_result) -> bool:
        """Answer whether nobody has written the bytes since, by what `fstat` says of them."""
        if not self.is_linked:
            return True
        if found.st_ino != self.inode:
            return self.number >= 0  # a clone that was made of the link; of the user's own file, another one
        return self._mark == (found.st_size, found.st_mtime_ns)

    @property
    def _mark(self) -> tuple[int, int]:
        return self.size, self.mtime_ns


class _Copies(msgspec.Struct):
    """What was copied for one reason."""

    first: str
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0


class _List(msgspec.Struct):
    header: dict[str, Any]
    files: list[Held]
    entries: list[Entry]
    changed: list[str]


class Snapshot:
    """The files, links and references of an artifact to be; made by `create`, or found by `pending`.

    Attributes:
        token: Its name.
        files: What is held.
        entries: Links and references.
        header: What `save` was given.
        changed: Files, by their paths on disk, that were written while they were copied, each time it was tried.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self.folder = folder
        self.token = token
        self.files: list[Held] = []
        self.entries: list[Entry] = []
        self.header: dict[str, Any] = {}
        self.changed: list[str] = []
        self._paths: set[str] = set()
        self._copies: dict[str, _Copies] = {}
        self._left_out: list[str] = []
        self._next = 0  # names the next file
        self._small: BinaryIO | None = None
        self._small_bytes = 0  # in that file
        self._copied_bytes = 0  # of small files of the user's
        self._device = -1
        self._clock_ns = 0  # what the file system's clock has said last

    @classmethod
    def create(cls, blobs_folder: Path, token: str) -> Snapshot:
        """Begin a snapshot.

        Args:
            blobs_folder: Where the bytes will be kept; on the same disk as the files, so that these can be linked.
            token: Its name: letters, digits, dots, dashes.

        Raises:
            StorageError: The folder cannot be written.
        """
        if not _TOKEN.fullmatch(token):
            raise UsageError(f"the token {token!r} cannot name a folder; use letters, digits, dots and dashes.")
        folder = blobs_folder / _FOLDER / f"{token}~{this_process()}"
        try:
            folder.mkdir(parents=True)
            made = cls(folder, token)
            made._device = os.stat(folder).st_dev
        except OSError as error:
            raise _storage_error(f"a snapshot cannot be begun in {folder.parent}", error) from error
        return made

    # --- holding ------------------------------------------------------------------------

    def add_file(self, logical: str, source: Path, policy: str = "mutable") -> None:
        """Hold a file as it is now. A symbolic link is followed.

        Args:
            logical: Its path within the artifact.
            source: Where it is.
            policy: `mutable`, or `immutable` where the caller promises that nobody writes or removes it until it is
                stored: where it cannot be linked it is read from where it is then, and not copied at once.

        Raises:
            UsageError: It is no file, the path cannot be kept, or there is no such policy.
            StorageError: It cannot be read, or the disk is full.
        """
        if policy not in ("mutable", "immutable"):
            raise UsageError(f"the policy {policy!r} is unknown; give 'mutable' or 'immutable'.")
        with contextlib.suppress(OSError):  # which `open` will meet as well
            mode = os.stat(source).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a device may do something
                raise UsageError(f"{source} is no regular file; leave it out.")
        self._add(logical, os.fspath(source), policy)

    def add_dir(self, prefix: str, folder: Path, policy: str = "mutable") -> None:
        """Hold all files below a folder; links within it are kept as links, empty folders are not kept.

        The folder of runs, should it lie below, is left out: it holds this snapshot, and changes all the time.

        Args:
            prefix: The path within the artifact under which they go; empty: none.
            folder: Which.
            policy: See `add_file`.

        Raises:
            UsageError: It is no folder, a link leads out of it, something in it is neither file nor folder, or a name
                cannot be kept.
            StorageError: Something cannot be read, or the disk is full.
        """
        root = os.path.realpath(folder)
        if not os.path.isdir(root):
            raise UsageError(f"{folder} is no folder; use add_file for a file.")
        prefix = prefix.strip("/")
        files, entries = len(self.files), len(self.entries)
        try:
            self._walk(f"{prefix}/" if prefix else "", os.fspath(folder), root, policy)
        except BaseException:  # all of it or nothing
            self._let_go(self.files[files:], self.entries[entries:])
            del self.files[files:], self.entries[entries:]
            raise

    def add_bytes(self, logical: str, data: bytes) -> None:
        """Hold bytes as a file.

        Raises:
            UsageError: The path cannot be kept.
            StorageError: The disk is full.
        """
        self._claim(logical)
        try:
            self._copy_small(Held(logical, logical, len(data)), data)
        except OSError as error:
            self._paths.discard(logical)
            raise _storage_error(f"{logical} cannot be kept", error) from error

    def add_link(self, logical: str, target: str) -> None:
        """Hold a symbolic link.

        Raises:
            UsageError: It leads out, or a path cannot be kept.
        """
        check_link(logical, target)
        self._claim(logical)
        self.entries.append(Entry(logical, link=target))

    def add_reference(self, entry: Entry) -> None:
        """Hold a reference to bytes elsewhere, or an entry of another version as it is.

        Raises:
            UsageError: The path cannot be kept.
        """
        self._claim(entry.path)
        self.entries.append(entry)

    def __contains__(self, logical: str) -> bool:
        """Answer whether something is held under a path."""
        return logical in self._paths

    def remove(self, logical: str) -> None:
        """Let go of one path; without it nothing happens."""
        self._let_go(
            [held for held in self.files if held.logical == logical],
            [entry for entry in self.entries if entry.path == logical],
        )
        self.files = [held for held in self.files if held.logical != logical]
        self.entries = [entry for entry in self.entries if entry.path != logical]

    # --- keeping, ending ----------------------------------------------------------------

    def save(self, header: dict[str, Any], *, is_left: bool = False) -> None:
        """Make the snapshot one that another process can finish.

        Args:
            header: The artifact's own fields.
            is_left: This process will not finish it, though it may live on.

        Raises:
            StorageError: The disk is full.
        """
        self.header = header
        self.settle()
        body = _List(header, self.files, self.entries, self.changed)
        draft = self.folder / f"{_LIST}.draft"
        try:
            draft.write_bytes(msgspec.msgpack.encode(body))
            os.replace(draft, self.folder / _LIST)
            if is_left:
                left = self.folder.with_name(f"{self.token}~{whereabouts()}~0~0")
                os.rename(self.folder, left)
                self.folder = left
        except OSError as error:
            raise _storage_error(f"a snapshot cannot be kept in {self.folder}", error) from error

    def settle(self) -> None:
        """Have all that was copied in its file.

        Raises:
            StorageError: The disk is full.
        """
        if self._small is not None:
            try:
                self._small.close()
                self._small = None
            except OSError as error:
                raise _storage_error(f"a snapshot cannot be kept in {self.folder}", error) from error

    def clone_linked(self) -> None:
        """Turn links into clones, where the file system makes them; this waits until the disk has the files."""
        for held in self.files:
            if held.is_linked and held.number >= 0 and CLONES.can(self._device, self._device):
                self._clone_linked(held)

    def touch(self) -> None:
        """Say that this is being worked on."""
        with contextlib.suppress(OSError):  # not saved, in a test
            os.utime(self.folder / _LIST)

    def discard(self) -> None:
        """Let go of all that is held."""
        if self._small is not None:
            self._small.close()
            self._small = None
        # First of all the list: should we be killed meanwhile, what is left is rubbish to whoever finds it.
        with contextlib.suppress(OSError):
            os.unlink(self.folder / _LIST)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(held.size for held in self.files)

    @property
    def notes(self) -> list[str]:
        """Sentences for the user: what was not as cheap as it should be, and what to do about it."""
        return [
            f"{copies.first}{f' and {copies.files - 1} more files' if copies.files > 1 else ''}"
            f" had to be copied at once ({copies.bytes / 1e6:,.1f} MB, {copies.seconds:.2f} s): {why}."
            for why, copies in self._copies.items()
            if copies.seconds >= TOLD_COPY_SECONDS
        ] + [f"{path} is the folder of runs, and is left out of the artifact." for path in self._left_out]

    def place(self, held: Held) -> Path:
        """Answer the file in this snapshot's folder that has the bytes."""
        if held.at >= 0:
            return self.folder / _SMALL
        return self.folder / str(held.number) if held.number >= 0 else Path(held.source)

    # --- inside -------------------------------------------------------------------------

    def _claim(self, logical: str) -> None:
        check_path(logical)
        if logical in self._paths:
            raise UsageError(
                f"the path {logical!r} is there already, with other bytes; give the other file another path, or replace "
                "what is there: add_file(..., overwrite=True)."
            )
        self._paths.add(logical)

    def _let_go(self, files: list[Held], entries: list[Entry]) -> None:
        for held in files:
            self._paths.discard(held.logical)
            if held.at < 0 <= held.number:
                self.place(held).unlink(missing_ok=True)
        for entry in entries:
            self._paths.discard(entry.path)

    def _walk(self, prefix: str, shown: str, root: str, policy: str) -> None:
        folders = [(prefix, shown, root)]
        blobs = os.path.realpath(self.folder.parent.parent)
        own = {blobs, os.path.dirname(blobs)}
        while folders:
            prefix, shown, folder = folders.pop()
            try:
                with os.scandir(folder) as found:
                    entries = list(found)
            except OSError as error:
                raise _storage_error(f"{shown} cannot be read", error) from error
            for entry in entries:
                logical = prefix + entry.name
                source = os.path.join(shown, entry.name)
                if entry.is_symlink():
                    self.add_link(logical, _target(logical, entry.path, folder, root))
                elif entry.is_dir(follow_symlinks=False):
                    if entry.path in own:
                        self._left_out.append(source)
                        continue
                    folders.append((f"{check_path(logical)}/", source, entry.path))
                elif entry.is_file(follow_symlinks=False):
                    self._add(logical, source, policy, entry.path)
                else:  # opening a device may do something
                    raise UsageError(f"{source} is no regular file; leave it out.")

    def _add(self, logical: str, source: str, policy: str, real: str | None = None) -> None:
        """Hold a file; `real` is its path without symbolic links, where it is known."""
        if logical in self._paths and self._has_same(logical, source):
            return
        self._claim(logical)
        try:
            fd, found = open_regular(source)
            try:
                held = Held(logical, source, found.st_size, is_executable=bool(found.st_mode & stat.S_IXUSR))
                if found.st_size < SMALL_FILE_BYTES and self._copied_bytes < SNAPSHOT_COPY_BYTES:
                    self._hold_small(held, fd, mark_of(found))
                else:
                    self._hold_large(held, fd, mark_of(found), policy, real or os.path.realpath(source))
            finally:
                os.close(fd)
        except OSError as error:
            self._paths.discard(logical)
            raise _storage_error(f"{source} cannot be kept", error) from error
        except UsageError:
            self._paths.discard(logical)
            raise

    def _has_same(self, logical: str, source: str) -> bool:
        """Answer whether a path is held with the bytes that a file has now: it may be added twice, as in W&B."""
        held = next((each for each in self.files if each.logical == logical), None)
        place = None if held is None else self.place(held)
        try:
            if held is None or place is None or os.stat(source).st_size != held.size:
                return False
            if held.at < 0 and os.path.samefile(place, source):
                return True
            if self._small is not None:
                self._small.flush()
            with open(place, "rb") as mine, open(source, "rb") as other:
                mine.seek(max(0, held.at))
                left = held.size
                while left:
                    piece = mine.read(min(_PIECE_BYTES, left))
                    if not piece or piece != other.read(len(piece)):
                        return False
                    left -= len(piece)
        except OSError:  # which `open_regular` will meet as well
            return False
        return True

    def _hold_small(self, held: Held, fd: int, mark: Mark) -> None:
        data = read_steadily(fd, mark)
        if data is None:
            self.changed.append(held.source)
            return
        held.size = len(data)
        self._copied_bytes += len(data)
        self._copy_small(held, data)

    def _copy_small(self, held: Held, data: bytes) -> None:
        if self._small is None:
            self._small = open(self.folder / _SMALL, "ab", 1 << 20)  # noqa: SIM115 - closed by `settle`
        held.at = self._small_bytes
        self._small.write(data)
        self._small_bytes += len(data)
        self.files.append(held)

    def _hold_large(self, held: Held, fd: int, mark: Mark, policy: str, real: str) -> None:
        target = self._new_place(held)
        is_in_place = policy == "mutable" and WRITTEN.saw(held.source, fd, mark)
        is_quick = mark.size <= CLONE_AT_ONCE_BYTES or time.time() - mark.mtime_ns / 1e9 > CLONE_AT_ONCE_AGE_SECONDS
        if (is_in_place or is_quick) and CLONES.can(mark.device, self._device) and CLONES.make(fd, target):
            held.size = os.stat(target).st_size
        elif is_in_place:
            if not self._copy(held, fd, _IN_PLACE):
                return
        else:
            refusal = self._link(held, real, target)
            if refusal and policy == "immutable":  # who promises that does not want a terabyte copied
                held.number = -1
                held.source = real
                held.inode, held.mtime_ns, held.size = mark.inode, mark.mtime_ns, mark.size
            elif refusal and not self._copy(held, fd, refusal):
                return
        self.files.append(held)

    def _link(self, held: Held, real: str, target: str) -> str | None:
        """Link a file; answer why not."""
        try:
            os.link(real, target)  # link(2) would link a symbolic link, and not the file
        except OSError as error:
            where = self.folder.parent.parent.parent
            return f"it cannot be linked into {where} ({error.strerror}); have both on one disk (TRACKER_DIR), or add it with policy='immutable'"
        found = os.lstat(target)
        if not stat.S_ISREG(found.st_mode):  # put in its place this very moment
            os.unlink(target)
            return "it was replaced while it was linked"
        held.inode, held.mtime_ns, held.size = found.st_ino, found.st_mtime_ns, found.st_size
        return self._settle(held, target)

    def _settle(self, held: Held, target: str) -> str | None:
        """Make sure that from now on a write to a linked file shows in its time; answer why that cannot be.

        File systems give times in ticks of some milliseconds. A file written within the present one could be written
        once more without its time changing, so the tick is waited out.
        """
        for _ in range(_ATTEMPTS):
            if held.mtime_ns < self._clock_ns:
                return None
            if not self._wait_past(held.mtime_ns):
                os.unlink(target)
                return "it is so new that a write to it would not show in its time on this file system"
            found = os.lstat(target)
            if (found.st_size, found.st_mtime_ns) == (held.size, held.mtime_ns):
                return None
            # What was written while we waited belongs to the moment.
            held.size, held.mtime_ns = found.st_size, found.st_mtime_ns
        os.unlink(target)
        return "it is being written"

    def _copy(self, held: Held, fd: int, why: str) -> bool:
        """Copy a file; False where it was written all the time."""
        self._wait_past(os.fstat(fd).st_mtime_ns)
        begin = time.monotonic()
        copied = copy_steadily(fd, mark_of(os.fstat(fd)), os.fspath(self.place(held)))
        held.inode = 0
        if copied is None:
            self.changed.append(held.source)
            return False
        held.size = copied.size
        copies = self._copies.setdefault(why, _Copies(held.source))
        copies.files += 1
        copies.bytes += copied.size
        copies.seconds += time.monotonic() - begin
        return True

    def _new_place(self, held: Held) -> str:
        held.number = self._next
        self._next += 1
        return os.path.join(self.folder, str(held.number))

    def _wait_past(self, mtime_ns: int) -> bool:
        """Wait until the file system's clock is past a time; answer whether it is."""
        probe = os.open(self.folder / "clock", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            limit = time.monotonic() + SETTLE_SECONDS
            while True:
                os.write(probe, b"\0")
                self._clock_ns = os.fstat(probe).st_mtime_ns
                if self._clock_ns > mtime_ns or mtime_ns - self._clock_ns > _FUTURE_NS:
                    return True
                if time.monotonic() > limit:
                    return False
                time.sleep(_STEP_SECONDS)
        finally:
            os.close(probe)

    def _clone_linked(self, held: Held) -> None:
        place = os.fspath(self.place(held))
        fd, _ = open_regular(place)
        try:
            if CLONES.make(fd, f"{place}.clone"):
                if held.is_same(os.fstat(fd)):
                    os.replace(f"{place}.clone", place)
                else:
                    os.unlink(f"{place}.clone")
        finally:
            os.close(fd)


def pending(blobs_folder: Path) -> Iterator[Snapshot]:
    """Take over the snapshots of processes that are gone, one by one; those that were never saved are removed."""
    try:
        names = sorted(os.listdir(blobs_folder / _FOLDER))
    except OSError:
        return
    for name in names:
        found = _taken_over(blobs_folder / _FOLDER / name)
        if found is not None:
            yield found


def _taken_over(folder: Path) -> Snapshot | None:
    token, *owner = folder.name.split("~")
    if len(owner) != 3 or not _is_left(folder, *owner):
        return None
    mine = folder.with_name(f"{token}~{this_process()}")
    try:
        os.rename(folder, mine)  # of two who try, one can
    except OSError:
        return None
    found = Snapshot(mine, token)
    try:
        body = msgspec.msgpack.decode((mine / _LIST).read_bytes(), type=_List)
        found._device = os.stat(mine).st_dev
    except (OSError, msgspec.MsgspecError):
        found.discard()
        return None
    found.files, found.entries, found.header, found.changed = body.files, body.entries, body.header, body.changed
    return found


def _is_left(folder: Path, where: str, pid: str, begun: str) -> bool:
    if pid == "0":  # see `save`
        return True
    if where == whereabouts():
        return not (pid.isdigit() and is_alive(int(pid)) and started(int(pid)) == begun)
    # Of a process on another machine, or in another container, only its silence tells; `store` touches the list. What
    # was not saved yet may be filled for long.
    with contextlib.suppress(OSError):
        return time.time() - os.stat(folder / _LIST).st_mtime > FOREIGN_SNAPSHOT_SECONDS
    return False


def _target(logical: str, path: str, folder: str, root: str) -> str:
    target = os.readlink(path)
    leads = os.path.realpath(path)
    if leads != root and not leads.startswith(root.rstrip(os.sep) + os.sep):
        raise UsageError(
            f"{path} is a link that leads out of the folder, to {target}; use add_file for the file itself."
        )
    try:
        return check_link(logical, target.replace(os.sep, "/"))
    except UsageError:  # absolute, or by way of another link
        return os.path.relpath(leads, folder).replace(os.sep, "/")


def _storage_error(what: str, error: OSError) -> OSError:
    if isinstance(error, (StorageError, UsageError)):
        return error
    found = StorageError(f"{what}: {error}.")
    found.errno = error.errno
    return found
