"""Bringing the files of a version back: read in parallel, checked against their digests, whole or not at all."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from ..blobs import FolderBlobs, digest_of, new_digest
from ..errors import DamagedBlob, FormatError, StorageError, TrackerError, UsageError
from ..limits import FETCH_BLOBS, MAX_BLOB_BYTES, RESTORE_AHEAD, RESTORE_THREADS
from .manifest import Entry, Manifest, Part
from .target import Target

_PIECE_BYTES = 1 << 20
_T = TypeVar("_T")


class Blobs(Protocol):
    """Where the bytes come from."""

    def read(self, digest: str) -> bytes:
        """Answer the plain bytes, checked; FileNotFoundError or DamagedBlob where they are not at hand."""
        ...

    def fetch(self, digests: Iterable[str]) -> None:
        """Have these at hand, in parallel where that helps; what is at hand already is passed over.

        Raises:
            StorageError, TransportError: Some cannot be had; it names them.
        """
        ...


class LocalBlobs:
    """Bytes that are all in one folder, or nowhere.

    Args:
        blobs: The folder.
    """

    def __init__(self, blobs: FolderBlobs) -> None:
        self._blobs = blobs

    def read(self, digest: str) -> bytes:
        """Answer the plain bytes, checked."""
        if self._blobs.size(digest) > MAX_BLOB_BYTES:  # no manifest needs one, and this reads it into memory
            raise StorageError(f"the blob {digest} is longer than the {MAX_BLOB_BYTES} bytes that are read at once.")
        return self._blobs.read(digest)

    def fetch(self, digests: Iterable[str]) -> None:
        """Do nothing, where all are there.

        Raises:
            StorageError: Some are not.
        """
        missing = self._blobs.missing(digests)
        if missing:
            names = ", ".join(missing[:3]) + (" and others" if len(missing) > 3 else "")
            raise StorageError(f"{len(missing)} blobs are missing in {self._blobs.folder}: {names}.")


def restore(
    manifest: Manifest,
    blobs: Blobs,
    target: Path,
    paths: Iterable[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the files of a version into a folder; those that are there and the same are not written again.

    Each file has its name when it is whole. References are passed over: their bytes are not ours.

    Args:
        manifest: What to restore.
        blobs: Where the bytes are.
        target: The folder; made where it is missing.
        paths: Which files, and folders of them; None: all.
        progress: Is told the bytes that are there so far, and all of them.

    Raises:
        UsageError: There is nothing at one of the paths, or the file system cannot have all the names.
        StorageError: The folder cannot be written, or bytes cannot be had; the message names file and blob.
        TransportError: Bytes cannot be had from the server.
    """
    entries = [entry for entry in manifest.below(paths) if entry.reference is None]
    place = Target(target)
    try:
        place.check(entry.path for entry in entries)
        _Restoring(place, blobs, progress).run(entries)
    finally:
        place.close()


def checkout(
    manifest: Manifest, blobs: Blobs, target: Path, progress: Callable[[int, int], None] | None = None
) -> None:
    """Make a folder hold what a version holds and nothing else: other files, links and empty folders are removed.

    Nothing is removed before all bytes are at hand.

    Raises:
        UsageError, StorageError, TransportError: As `restore`.
    """
    blobs.fetch(manifest.blobs())
    place = Target(target)
    try:
        place.check(manifest.entries)
        _clear(place, manifest)
    finally:
        place.close()
    restore(manifest, blobs, target, progress=progress)


def verify(manifest: Manifest, target: Path) -> None:
    """Look whether a folder holds exactly what a version holds; of references, whether there is a file.

    Raises:
        StorageError: It does not; the message names the differences.
    """
    if not target.is_dir():
        raise StorageError(f"there is no folder {target}.")
    place = Target(target)
    threads = ThreadPoolExecutor(_threads(), "tracker-verify")
    try:
        found = list(_ahead(threads, lambda entry: _difference(place, entry), list(manifest.entries.values())))
        wrong = [text for text in found if text]
        wrong += [
            f"{path} is not in the version"
            for path, is_folder in place.walk()
            if not is_folder and path not in manifest.entries and not Target.is_draft(path)
        ]
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        place.close()
    if wrong:
        more = f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise StorageError(f"{target} differs from the version: {'; '.join(wrong[:10])}{more}.")


def open_file(manifest: Manifest, blobs: Blobs, path: str) -> BinaryIO:
    """Open one file of a version for reading, without writing it anywhere.

    Raises:
        UsageError: There is no such file, or it is a link or a reference.
        StorageError, TransportError: Its bytes cannot be had.
    """
    entry = manifest.entries.get(path)
    if entry is None or entry.link is not None or entry.reference is not None:
        raise UsageError(f"the artifact has no file {path!r} whose bytes are kept.")
    blobs.fetch({part.blob for part in entry.parts})
    return io.BufferedReader(_Reading(entry, blobs), _PIECE_BYTES)


class _Restoring:
    def __init__(self, target: Target, blobs: Blobs, progress: Callable[[int, int], None] | None) -> None:
        self._target = target
        self._blobs = blobs
        self._progress = progress
        self._done = self._total = 0
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_threads(), "tracker-restore")

    def run(self, entries: list[Entry]) -> None:
        self._total = sum(entry.size for entry in entries)
        try:
            files = self._other([entry for entry in entries if entry.link is None])
            bundled: dict[str, list[Entry]] = {"": []}
            for entry in files:
                if len(entry.parts) < 2:
                    bundled.setdefault(entry.parts[0].blob if entry.parts else "", []).append(entry)
            cut = [entry for entry in files if len(entry.parts) > 1]
            order = [*bundled, *(part.blob for entry in cut for part in entry.parts)]
            fetching = _Fetching(self._blobs, [blob for blob in dict.fromkeys(order) if blob])
            try:
                for _ in _ahead(self._threads, self._write_bundled, self._fetched(bundled, fetching)):
                    pass
                for entry in cut:
                    self._write_cut(entry, fetching)
            finally:
                fetching.close()
            # Last, so that no link is on the way of a file.
            for entry in entries:
                if entry.link is not None and not self._is_linked(entry):
                    self._target.link(entry.path, entry.link)
        finally:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def _other(self, files: list[Entry]) -> list[Entry]:
        """Answer the files that are not there, or not the same."""
        if not self._target.was_there:
            return files
        are_same = _ahead(self._threads, self._is_there, files)
        return [entry for entry, is_same in zip(files, are_same, strict=True) if not is_same]

    def _is_there(self, entry: Entry) -> bool:
        found = self._target.look(entry.path)
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
            return False
        if _digest(self._target, entry.path) != entry.digest:
            return False
        if bool(found.st_mode & stat.S_IXUSR) != entry.is_executable:
            self._target.make_executable(entry.path, found, entry.is_executable)
        self._tell(entry.size)
        return True

    def _is_linked(self, entry: Entry) -> bool:
        found = self._target.look(entry.path)
        return found is not None and stat.S_ISLNK(found.st_mode) and self._target.read_link(entry.path) == entry.link

    def _fetched(self, bundled: dict[str, list[Entry]], fetching: _Fetching) -> Iterator[tuple[str, list[Entry]]]:
        for blob, entries in bundled.items():
            if blob:
                fetching.wait(blob, entries[0].path)
            yield blob, entries

    def _write_bundled(self, group: tuple[str, list[Entry]]) -> None:
        """Write all files that lie in one blob, which is read once."""
        blob, entries = group
        data = _read(self._blobs, blob, entries[0].path) if blob else b""
        for entry in entries:
            piece = _piece(data, entry.parts[0], entry.path) if entry.parts else memoryview(b"")
            _check(entry, blob if len(piece) == len(data) and blob else digest_of(piece))
            with self._target.writing(entry.path, is_executable=entry.is_executable) as fd:
                _write(fd, piece)
            self._tell(entry.size)

    def _write_cut(self, entry: Entry, fetching: _Fetching) -> None:
        """Write a large file: pieces are read and checked in parallel, and written in order."""

        def parts() -> Iterator[Part]:
            for part in entry.parts:
                fetching.wait(part.blob, entry.path)
                yield part

        def read(part: Part) -> memoryview:
            return _piece(_read(self._blobs, part.blob, entry.path), part, entry.path)

        whole = new_digest()
        with self._target.writing(entry.path, is_executable=entry.is_executable) as fd:
            for piece in _ahead(self._threads, read, parts()):
                whole.update(piece)
                if _is_zero(piece):
                    os.lseek(fd, len(piece), os.SEEK_CUR)  # a hole: as good as zeros, and takes no disk
                else:
                    _write(fd, piece)
                self._tell(len(piece))
            os.ftruncate(fd, entry.size)
            _check(entry, whole.hexdigest())

    def _tell(self, count: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._done += count
                self._progress(self._done, self._total)


class _Fetching:
    """Has blobs fetched, some hundred at once and the next ones ahead, in the order in which they are needed."""

    def __init__(self, blobs: Blobs, order: list[str]) -> None:
        self._blobs = blobs
        self._order = order
        self._places = {blob: number for number, blob in enumerate(order)}
        self._batches: dict[int, Future[None]] = {}
        self._thread = ThreadPoolExecutor(1, "tracker-fetch")

    def wait(self, blob: str, path: str) -> None:
        """Return when a blob is at hand; `path` is the file that needs it."""
        batch = self._places[blob] // FETCH_BLOBS
        for number in (batch, batch + 1):
            first = number * FETCH_BLOBS
            if number not in self._batches and first < len(self._order):
                wanted = self._order[first : first + FETCH_BLOBS]
                self._batches[number] = self._thread.submit(self._blobs.fetch, wanted)
        try:
            self._batches[batch].result()
        except StorageError as error:
            raise _unavailable(path, error) from error

    def close(self) -> None:
        """Stop fetching."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class _Reading(io.RawIOBase):
    """The bytes of one file, blob by blob."""

    def __init__(self, entry: Entry, blobs: Blobs) -> None:
        self._entry = entry
        self._blobs = blobs
        self._at = 0
        self._ends: list[int] = []
        for part in entry.parts:
            self._ends.append((self._ends[-1] if self._ends else 0) + part.length)
        self._held = -1
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._entry.size}[whence]
        if base + offset < 0:
            raise ValueError(f"there is nothing before the beginning of {self._entry.path}.")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base says: any buffer
        if self._at >= self._entry.size:
            return 0
        from bisect import bisect_right

        number = bisect_right(self._ends, self._at)
        if number != self._held:
            part = self._entry.parts[number]
            self._piece = _piece(_read(self._blobs, part.blob, self._entry.path), part, self._entry.path)
            self._held = number
        begin = self._at - (self._ends[number] - len(self._piece))
        count = min(len(buffer), len(self._piece) - begin)
        buffer[:count] = self._piece[begin : begin + count]
        self._at += count
        return count


def _ahead(threads: ThreadPoolExecutor, work: Callable[..., _T], items: Iterable[object]) -> Iterator[_T]:
    """Do work on threads, and answer in order; a few are under way or waiting, never all."""
    waiting: deque[Future[_T]] = deque()
    try:
        for item in items:
            waiting.append(threads.submit(work, item))
            if len(waiting) >= RESTORE_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _read(blobs: Blobs, blob: str, path: str) -> bytes:
    """Read a blob; one that is damaged or gone is fetched again."""
    try:
        return blobs.read(blob)
    except (DamagedBlob, FileNotFoundError) as error:
        first = error
    try:
        blobs.fetch([blob])
        return blobs.read(blob)
    except (TrackerError, OSError) as error:
        what = "damaged" if isinstance(first, DamagedBlob) else "missing"
        raise StorageError(
            f"{path} cannot be had: its blob {blob} is {what}, and not to be had again: {error}"
        ) from error


def _unavailable(path: str, error: StorageError) -> StorageError:
    found = StorageError(f"{path} cannot be had: {error}")
    found.errno = error.errno
    return found


def _piece(data: bytes, part: Part, path: str) -> memoryview:
    piece = memoryview(data)[part.offset : part.offset + part.length]
    if len(piece) != part.length:
        raise FormatError(f"the manifest says of {path} what cannot be: the blob {part.blob} has {len(data)} bytes.")
    return piece


def _check(entry: Entry, digest: str) -> None:
    if digest != entry.digest:
        raise FormatError(f"the bytes of {entry.path} have the digest {digest}, the manifest says {entry.digest}.")


def _digest(target: Target, path: str) -> str:
    digest = new_digest()
    with target.open(path) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _difference(target: Target, entry: Entry) -> str:
    """Answer how the folder differs from an entry; empty where it does not."""
    found = target.look(entry.path)
    if found is None:
        return f"{entry.path} is missing"
    if entry.link is not None:
        is_same = stat.S_ISLNK(found.st_mode) and target.read_link(entry.path) == entry.link
        return "" if is_same else f"{entry.path} is no link to {entry.link}"
    if not stat.S_ISREG(found.st_mode):
        return f"{entry.path} is no file"
    if not entry.digest:
        return ""
    if found.st_size != entry.size:
        return f"{entry.path} has {found.st_size} bytes instead of {entry.size}"
    return "" if _digest(target, entry.path) == entry.digest else f"{entry.path} has other bytes"


def _clear(target: Target, manifest: Manifest) -> None:
    """Remove what the manifest has not, or has as something else."""
    folders = []
    for path, is_folder in list(target.walk()):
        if is_folder:
            folders.append(path)
        elif path not in manifest.entries:
            target.remove(path)
    for path in reversed(folders):  # the inner ones first
        target.remove(path, is_folder=True)


def _write(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _is_zero(piece: memoryview) -> bool:
    # Comparing memory views goes byte by byte; most pieces are told by their first ones.
    return piece[:64] == bytes(64)[: len(piece)] and piece.tobytes() == bytes(len(piece))


def _threads() -> int:
    return min(RESTORE_THREADS, os.cpu_count() or 1)
