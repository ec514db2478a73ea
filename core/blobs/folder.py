"""A folder of blobs: each in a file named by its digest, plain or packed.

A file that has its name is whole: it is written under another name first. What a power cut may have taken from files
that were not synced yet is met on reading, by the digest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import DamagedBlob, FormatError, OffsetError, StorageError
from ..limits import DRAFT_KEEP_SECONDS, MAX_FRESH_BLOBS, TOUCH_INTERVAL_SECONDS, WRITE_BACK_BYTES
from ..processes import is_alive, whereabouts
from . import packing
from .digests import check_digest, digest_of, is_digest, new_digest
from .syncing import Unsynced, sync_files

_PACKED = ".zst"
_PIECE_BYTES = 1 << 20
_ANY_BYTES = 2**62
_DRAFTS = ".drafts"
_ARRIVING = ".arriving"
_DAMAGED = ".damaged"
_UNUSED = ".unused"
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)  # Windows would translate line ends
_DRAFT_NAME = re.compile(r"(?P<host>.*)-(?P<pid>\d+)-(?P<mark>[0-9a-f]+)-\d+")


class Stored(NamedTuple):
    """A blob as it lies in its folder."""

    digest: str
    path: Path
    size: int  # bytes on disk
    mtime: float  # seconds since the epoch: when it was written, or touched


class FolderBlobs:
    """Blobs in a folder. Threads may share one; so may processes, and machines.

    Args:
        folder: Where; made at the first `put`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._fresh: dict[str, None] = {}  # named, and not known to be on disk
        self._is_overfull = False  # there are more of them
        self._naming = 0  # that are being named this moment
        self._unsynced = Unsynced(folder)
        self._is_recovered = False
        self._recovering = threading.Lock()
        self._made: set[str] = set()
        self._folder = os.fspath(folder)  # names are put together as texts: a large file has ten thousand pieces
        self._pid = 0
        self._mark = ""
        self._count = 0

    # --- keeping ------------------------------------------------------------------------

    def put(
        self, source: BinaryIO | bytes | memoryview, digest: str | None = None, *, compress: bool | None = None
    ) -> str:
        """Keep bytes; answer their digest. What is there already is not written again.

        Args:
            source: The bytes, or what they are read from.
            digest: What they are announced as.
            compress: Whether to pack them; None: where it pays.

        Raises:
            StorageError: The folder cannot be written, or the bytes have another digest than the one announced.
        """
        self.recover()
        if isinstance(source, (bytes, bytearray, memoryview)):
            return self._put_bytes(source, digest, compress)
        with self._refusing():
            name, fd = self._draft()
            try:
                with os.fdopen(fd, "w+b") as file:
                    found = _copied(source, file)
                    _check(found, digest)
                    if self._is_here(found):
                        return found
                    size = file.tell()
                    is_packed = self._packed_beside(name, file, size, compress)
                self._name(f"{name}{_PACKED}" if is_packed else name, found, is_packed)
            finally:
                _remove(name)
                _remove(f"{name}{_PACKED}")
        return found

    def put_file(self, path: Path, digest: str | None = None, *, move: bool = False) -> str:
        """Keep a file's bytes; answer their digest.

        Args:
            path: The file.
            digest: What its bytes are announced as.
            move: The file is not wanted any more, and on the same disk it is renamed instead of copied.

        Raises:
            StorageError: It cannot be read, the folder cannot be written, or the digest is another one.
        """
        self.recover()
        try:
            with open(path, "rb") as source:
                if not move:
                    return self.put(source, digest)
                found = _digest_of_file(source)
                _check(found, digest)
                if not self._is_here(found):
                    with self._refusing():
                        if self._taken(path, found):
                            return found
                    source.seek(0)
                    self.put(source, found)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise _storage_error(f"{path} cannot be kept as a blob", error) from error
        _remove(path)
        return found

    def draft(self) -> Path:
        """Answer an empty file on the same disk, for `put_file(..., move=True)`; what is left of one is cleaned away.

        Raises:
            StorageError: The folder cannot be written.
        """
        with self._refusing():
            path, fd = self._draft()
            os.close(fd)
        return Path(path)

    def put_packed(self, source: BinaryIO, digest: str, most_bytes: int) -> None:
        """Keep bytes that come packed, as they come.

        Args:
            source: One zstd frame, from its beginning.
            digest: Of the plain bytes.
            most_bytes: How many those may be: what a hostile frame may unfold to.

        Raises:
            StorageError: They are no such frame, or unfold to other bytes, or to more; or they cannot be written.
        """
        self.recover()
        with self._refusing():
            name, fd = self._draft()
            try:
                with os.fdopen(fd, "w+b") as file:
                    shutil.copyfileobj(source, file, _PIECE_BYTES)
                    file.seek(0)
                    _check(packing.digest_of_packed(file, most_bytes), digest)
                if not self._is_here(digest):
                    self._name(name, digest, True)
            finally:
                _remove(name)

    def touch(self, digests: Iterable[str]) -> None:
        """Say that blobs are used again, so that they are not taken for rubbish; what is not there is passed over."""
        for digest in digests:
            with contextlib.suppress(OSError):
                self._is_here(digest)

    def sync(self) -> None:
        """Return when the disk has all that was put through this object.

        Raises:
            StorageError: It does not confirm.
        """
        with self._lock:
            fresh, self._fresh = self._fresh, {}
            is_overfull, self._is_overfull = self._is_overfull, False
        if not fresh and not is_overfull:
            return
        try:
            sync_files(self.folder, None if is_overfull else list(fresh))
            with self._lock:
                if not (self._fresh or self._is_overfull or self._naming):  # nothing was put meanwhile
                    self._unsynced.end()
        except OSError as error:
            with self._lock:
                self._fresh = {**fresh, **self._fresh}
                self._is_overfull = self._is_overfull or is_overfull
            raise _storage_error(f"the disk does not confirm what was written to {self.folder}", error) from error

    def remove(self, digest: str) -> None:
        """Remove a blob, if it is there."""
        for path in self._places(digest):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def remove_unused(self, digest: str, since: float) -> int:
        """Remove a blob that nobody has put or used since a time; answer its bytes on disk, 0 where it stays.

        Who uses it again in this very moment finds it there, or finds it missing and writes it anew.

        Args:
            digest: Which.
            since: Seconds since the epoch.
        """
        freed = 0
        for path in map(Path, self._places(digest)):
            aside = path.with_name(f".{path.name}{_UNUSED}")
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime >= since:
                    continue
                os.replace(path, aside)  # from here on it is missing, and its time stands still
                found = aside.stat()
                if found.st_mtime < since:
                    aside.unlink()
                    freed += found.st_size
                elif not path.exists():
                    os.replace(aside, path)
                else:
                    aside.unlink()
        return freed

    # --- reading ------------------------------------------------------------------------

    def has(self, digest: str) -> bool:
        """Answer whether the bytes are kept."""
        return is_digest(digest) and any(map(os.path.isfile, self._places(digest)))

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Answer those that are not kept, each once, in the order given."""
        self.recover()
        return [digest for digest in dict.fromkeys(digests) if not self.has(digest)]

    def open(self, digest: str) -> BinaryIO:
        """Open the plain bytes; they are not checked.

        Raises:
            FileNotFoundError: There are none.
        """
        path, is_packed = self.stored(digest)
        file = open(path, "rb")  # noqa: SIM115 - the caller closes it
        return packing.open_packed(file) if is_packed else file

    def read(self, digest: str) -> bytes:
        """Answer the plain bytes, checked against their digest.

        Raises:
            FileNotFoundError: There are none.
            DamagedBlob: They are others by now; the file was set aside, so that the blob is missing from now on.
        """
        path, is_packed = self.stored(digest)
        data = path.read_bytes()
        try:
            plain = packing.unpacked(data) if is_packed else data
        except FormatError:
            plain = b""
        else:
            if digest_of(plain) == digest:
                return plain
        self._set_aside(path)
        raise DamagedBlob(f"the blob {digest} in {self.folder} is damaged; it was set aside as {_DAMAGED}.", digest)

    def size(self, digest: str) -> int:
        """Answer how many the plain bytes are.

        Raises:
            FileNotFoundError: There are none.
        """
        path, is_packed = self.stored(digest)
        if not is_packed:
            return path.stat().st_size
        with open(path, "rb") as file:
            return packing.plain_size(file.read(packing.HEAD_BYTES))

    def stored(self, digest: str) -> tuple[Path, bool]:
        """Answer the file, and whether it is packed (one zstd frame), for sending it as it is.

        Raises:
            FileNotFoundError: There is none.
        """
        plain, packed = self._places(digest)
        if os.path.isfile(plain):
            return Path(plain), False
        if os.path.isfile(packed):
            return Path(packed), True
        raise FileNotFoundError(f"there is no blob {digest} in {self.folder}.")

    def walk(self) -> Iterator[Stored]:
        """Walk all blobs, in no particular order."""
        for folder in _entries(self.folder):
            if len(folder.name) != 2 or not folder.is_dir():
                continue
            for entry in _entries(Path(folder.path)):
                digest = entry.name.removesuffix(_PACKED)
                if is_digest(digest):
                    with contextlib.suppress(OSError):
                        stat = entry.stat()
                        yield Stored(digest, Path(entry.path), stat.st_size, stat.st_mtime)

    # --- arriving in pieces -------------------------------------------------------------

    def held(self, digest: str) -> int:
        """Answer how many bytes of an unfinished arrival are there."""
        try:
            return self._arriving(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def arrive(self, digest: str, offset: int, data: bytes) -> int:
        """Take the next piece; answer how many bytes are there now.

        Raises:
            OffsetError: It does not begin where the last one ended.
            StorageError: It cannot be written, or `digest` is none.
        """
        with self._refusing():
            path = self._arriving(digest)
            self._make(os.path.dirname(path))
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | _BINARY, 0o644)
            try:
                held = os.fstat(fd).st_size
                if offset != held:
                    raise OffsetError(f"a piece of {digest} begins at {offset}, {held} bytes are there.", held)
                # At its place, not at the end: two that send the same blob then write the same bytes.
                os.lseek(fd, offset, os.SEEK_SET)
                try:
                    _write(fd, data)
                except OSError:
                    os.ftruncate(fd, offset)
                    raise
                return offset + len(data)
            finally:
                os.close(fd)

    def complete(self, digest: str) -> None:
        """Check what has arrived, and give it its name.

        Raises:
            StorageError: The bytes have another digest; they are gone, so that they can be sent anew.
        """
        self.recover()
        if self._is_here(digest):
            _remove(self._arriving(digest))
            return
        with self._refusing():
            path = self._arriving(digest)
            try:
                self.put_file(path, digest, move=True)
            except OSError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    _remove(path)
                raise

    # --- after a power cut --------------------------------------------------------------

    def recover(self) -> None:
        """Check what a power cut may have damaged, and set that aside, once; whatever puts or asks does it first."""
        if not self._is_recovered:
            self._recover()

    def _recover(self) -> None:
        with self._recovering:
            if self._is_recovered:  # by another thread, meanwhile
                return
            since, marks = self._unsynced.suspect_since()
            if since is not None:
                for stored in list(self.walk()):
                    if stored.mtime >= since:
                        with contextlib.suppress(FileNotFoundError):
                            self._check_whole(stored)
                for mark in marks:
                    mark.unlink(missing_ok=True)
            self._is_recovered = True

    # --- cleaning -----------------------------------------------------------------------

    def clean(self) -> int:
        """Remove what is of no use any more; answer how many files.

        That is what processes that are gone have left half written, and arrivals and damaged blobs of a week ago.
        """
        count = 0
        host = whereabouts()
        oldest = time.time() - DRAFT_KEEP_SECONDS
        for name in (_DRAFTS, _ARRIVING, _DAMAGED):
            for entry in _entries(self.folder / name):
                match = _DRAFT_NAME.fullmatch(entry.name.removesuffix(_PACKED))
                with contextlib.suppress(OSError):
                    is_dead = match is not None and match["host"] == host and not is_alive(int(match["pid"]))
                    found = entry.stat()
                    # A damaged blob has its old time of writing; it was renamed when it was set aside.
                    if is_dead or max(found.st_mtime, found.st_ctime if name == _DAMAGED else 0.0) < oldest:
                        os.unlink(entry.path)
                        count += 1
        return count

    def put_back_unused(self) -> None:
        """Bring back what `remove_unused` had put aside when its process died; it looks at it again."""
        for folder in _entries(self.folder):
            for entry in _entries(Path(folder.path)) if len(folder.name) == 2 and folder.is_dir() else ():
                if entry.name.endswith(_UNUSED):
                    path = Path(folder.path, entry.name[1 : -len(_UNUSED)])
                    with contextlib.suppress(OSError):
                        if path.exists():
                            os.unlink(entry.path)
                        else:
                            os.replace(entry.path, path)

    # --- inside -------------------------------------------------------------------------

    def _put_bytes(self, data: bytes | bytearray | memoryview, digest: str | None, compress: bool | None) -> str:
        found = digest_of(data)
        _check(found, digest)
        with self._refusing():
            if self._is_here(found):
                return found
            packed = packing.packed(data, compress)
            name, fd = self._draft()
            try:
                try:
                    _write(fd, data if packed is None else packed)
                    _write_back(fd, len(data))
                finally:
                    os.close(fd)
                self._name(name, found, packed is not None)
            except BaseException:
                _remove(name)
                raise
        return found

    def _packed_beside(self, name: str, file: BinaryIO, size: int, compress: bool | None) -> bool:
        with open(f"{name}{_PACKED}", "xb") as target:
            return packing.pack_file(file, target, size, compress)

    def _taken(self, path: Path, digest: str) -> bool:
        """Rename a file to its blob; False where it is on another disk."""
        self._make(os.path.join(self._folder, digest[:2]))
        try:
            self._name(os.fspath(path), digest, False)
        except OSError as error:
            if isinstance(error, PermissionError) or error.errno == errno.EXDEV:
                return False
            raise
        return True

    def _name(self, draft: str, digest: str, is_packed: bool) -> None:
        target = self._places(digest)[is_packed]
        self._make(os.path.dirname(target))
        with self._lock:
            self._own()
            self._unsynced.begin()
            self._naming += 1
        try:
            os.replace(draft, target)
        except PermissionError:
            if not self.has(digest):  # Windows: another has put it, and somebody reads it just now
                raise
            _remove(draft)
        finally:
            with self._lock:
                self._naming -= 1
            self._note_fresh(target)

    def _is_here(self, digest: str) -> bool:
        """Answer whether a blob is kept; if so, note that it is used again."""
        plain, packed = self._places(digest)
        path = plain if os.path.isfile(plain) else packed
        try:
            age = time.time() - os.stat(path).st_mtime
            if age > TOUCH_INTERVAL_SECONDS:
                os.utime(path)
        except FileNotFoundError:
            return False
        if age <= TOUCH_INTERVAL_SECONDS:  # perhaps another process has put it, and not synced it yet
            self._note_fresh(path)
        return True

    def _check_whole(self, stored: Stored) -> None:
        with open(stored.path, "rb") as file:
            try:
                if stored.path.suffix == _PACKED:
                    found = packing.digest_of_packed(file, _ANY_BYTES)
                else:
                    found = _digest_of_file(file)
            except FormatError:
                found = ""
        if found != stored.digest:
            self._set_aside(stored.path)

    def _note_fresh(self, path: str) -> None:
        with self._lock:
            self._own()
            self._unsynced.begin()
            if len(self._fresh) < MAX_FRESH_BLOBS:
                self._fresh[path] = None
            else:
                self._is_overfull = self._is_overfull or path not in self._fresh

    def _own(self) -> None:
        """Begin anew in a forked child: what its parent has put is for the parent to sync."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._mark = f"{whereabouts()}-{self._pid}-{os.urandom(4).hex()}"
            self._fresh = {}
            self._is_overfull = False
            self._naming = 0
            self._unsynced.forget()

    def _set_aside(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            self._make(os.path.join(self._folder, _DAMAGED))
            os.replace(path, self.folder / _DAMAGED / path.name)

    def _places(self, digest: str) -> tuple[str, str]:
        """Answer where a blob may lie: plain, and packed."""
        plain = os.path.join(self._folder, check_digest(digest)[:2], digest)
        return plain, plain + _PACKED

    def _arriving(self, digest: str) -> Path:
        return self.folder / _ARRIVING / check_digest(digest)

    def _draft(self) -> tuple[str, int]:
        with self._lock:
            self._own()
            self._count += 1
            name = f"{self._mark}-{self._count}"
        folder = os.path.join(self._folder, _DRAFTS)
        self._make(folder)
        path = os.path.join(folder, name)
        return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o644)

    def _make(self, folder: str) -> None:
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            self._made.add(folder)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._made.clear()  # perhaps the folder was removed under us
            if isinstance(error, StorageError):
                raise
            raise _storage_error(f"a blob cannot be kept in {self.folder}", error) from error


def _storage_error(what: str, error: OSError) -> StorageError:
    found = StorageError(f"{what}: {error}.")
    found.errno = error.errno  # a full disk is told from other trouble by it
    return found


def _check(found: str, announced: str | None) -> None:
    if announced is not None and announced != found:
        raise StorageError(f"the bytes have the digest {found}, announced was {announced}; send them again.")


def _copied(source: BinaryIO, target: BinaryIO) -> str:
    digest = new_digest()
    while piece := source.read(_PIECE_BYTES):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()


def _digest_of_file(source: BinaryIO) -> str:
    digest = new_digest()
    while piece := source.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def _write(fd: int, data: bytes | bytearray | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _write_back(fd: int, size: int) -> None:
    """Have the disk begin, and wait for nothing: `sync` then waits for the last ones only."""
    if size >= WRITE_BACK_BYTES and hasattr(os, "posix_fadvise"):
        # The pages are not on disk yet, so they are written and not dropped.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _remove(path: str | Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
