"""Keeping what a snapshot holds: large files in pieces, small ones several to a blob, each byte written once."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from ..blobs import FolderBlobs, digest_of
from ..errors import ChangedError, StorageError, TrackerError
from ..limits import BUNDLE_BYTES, FILES_PER_TURN, REUSED_BUNDLE_SHARE, SMALL_FILE_BYTES, SNAPSHOT_TOUCH_SECONDS
from .cutting import Cut, Cutting
from .holding import READING, WRITTEN
from .manifest import Entry, Manifest, Part
from .snapshot import Held, Snapshot


class StoppedError(TrackerError):
    """Storing was asked to stop; what was kept so far is kept, and need not be kept again."""


def store(
    snapshot: Snapshot,
    blobs: FolderBlobs,
    base: Manifest | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Manifest:
    """Keep all that a snapshot holds, and answer its manifest. The manifest itself is not kept here.

    Args:
        snapshot: What to keep; it is not discarded here.
        blobs: Where.
        base: The manifest of an earlier version, whose bundles of small files are used again.
        progress: Is told the bytes read so far, and those to read in all.
        stop: When set, the call ends soon, by StoppedError.

    Raises:
        ChangedError: Files were written in place meanwhile; it names them. Nothing can see what was kept of them.
        StorageError: The disk is full, or does not serve.
        StoppedError: See `stop`.
    """
    return _Storing(snapshot, blobs, base, progress, stop).run()


class _Storing:
    def __init__(
        self,
        snapshot: Snapshot,
        blobs: FolderBlobs,
        base: Manifest | None,
        progress: Callable[[int, int], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self._snapshot = snapshot
        self._blobs = blobs
        self._progress = progress
        self._stop = stop
        self._done = 0
        self._next_touch = 0.0
        self._total = snapshot.size
        self._cutting = Cutting(blobs, self._read)
        self._small = _Bundles(self._cutting, blobs, base)
        self._large: list[tuple[Held, Cut]] = []
        self._changed = list(snapshot.changed)

    def run(self) -> Manifest:
        try:
            self._blobs.recover()
            self._snapshot.settle()
            self._snapshot.clone_linked()
            for held in self._snapshot.files:
                if self._changed:  # what follows could not be used; which else changed is still found out
                    self._look(held)
                elif held.at < 0:
                    self._keep(held)
            if not self._changed:
                self._keep_copied()
                self._small.flush()
                self._raise_changed()
                self._cutting.finish()
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            found = StorageError(f"the snapshot in {self._snapshot.folder} cannot be read: {error}.")
            found.errno = error.errno
            raise found from error
        finally:
            self._cutting.give_up()
        self._raise_changed()
        self._blobs.sync()
        return Manifest([*self._snapshot.entries, *self._small.entries(), *self._entries()])

    def _keep(self, held: Held) -> None:
        try:
            fd = os.open(self._snapshot.place(held), READING)
        except FileNotFoundError:
            if held.number >= 0:
                raise
            self._note_changed(held)  # the user's own, removed in spite of the promise
            return
        try:
            if held.is_same(os.fstat(fd)):
                if held.size < SMALL_FILE_BYTES:
                    data = os.read(fd, held.size + 1)
                    is_whole = len(data) == held.size
                    self._read(len(data))
                    if is_whole and held.is_same(os.fstat(fd)):
                        self._small.add(held, data)
                        return
                else:
                    cut = self._cutting.cut(fd, held.size)
                    if sum(cut.lengths) == held.size and held.is_same(os.fstat(fd)):
                        self._large.append((held, cut))
                        return
        finally:
            os.close(fd)
        self._note_changed(held)

    def _keep_copied(self) -> None:
        """Keep the small files that were copied into one, in the order in which they lie there."""
        copied = [held for held in self._snapshot.files if held.at >= 0]
        if not any(held.size for held in copied):
            for held in copied:
                self._small.add(held, b"")
            return
        at = 0
        with open(self._snapshot.place(copied[0]), "rb", 1 << 20) as file:
            for number, held in enumerate(copied):
                if at != held.at:  # what lay between was let go again
                    file.seek(held.at)
                at = held.at + held.size
                data = file.read(held.size)
                if len(data) != held.size:
                    raise StorageError(f"the snapshot in {self._snapshot.folder} is cut short; log the artifact again.")
                self._read(held.size)
                self._small.add(held, data)
                if number % FILES_PER_TURN == 0:
                    time.sleep(0)  # let the training thread have its turn; to do so costs as much as keeping two files

    def _look(self, held: Held) -> None:
        try:
            if held.is_linked and not held.is_same(os.stat(self._snapshot.place(held))):
                self._note_changed(held)
        except FileNotFoundError:
            self._note_changed(held)

    def _note_changed(self, held: Held) -> None:
        WRITTEN.changed(held.source)
        self._changed.append(held.source)

    def _raise_changed(self) -> None:
        if self._changed:
            names = ", ".join(self._changed[:5]) + (" and others" if len(self._changed) > 5 else "")
            raise ChangedError(
                f"{names} changed after being logged and before being kept, so this version cannot be kept as it was. "
                "Save to a new name and rename it; what is written in place is copied at once from now on.",
                self._changed,
            )

    def _entries(self) -> Iterator[Entry]:
        for held, cut in self._large:
            digest = cut.whole[0] if cut.whole else cut.digests[0]
            yield Entry(held.logical, held.size, digest, cut.parts(), is_executable=held.is_executable)

    def _read(self, count: int) -> None:
        if self._stop is not None and self._stop.is_set():
            raise StoppedError("keeping an artifact was stopped; what is missing is kept when it is taken up again.")
        self._done += count
        if time.monotonic() > self._next_touch:
            self._next_touch = time.monotonic() + SNAPSHOT_TOUCH_SECONDS
            self._snapshot.touch()
        if self._progress is not None:
            self._progress(self._done, self._total)


class _Bundles:
    """Small files, several to a blob; those that are known already stay where they are."""

    def __init__(self, cutting: Cutting, blobs: FolderBlobs, base: Manifest | None) -> None:
        self._cutting = cutting
        self._blobs = blobs
        self._known = _small_entries(base) if base is not None else {}
        self._used = _used_bytes(base) if base is not None else Counter[str]()
        self._is_there: dict[str, bool] = {}
        self._kept: list[tuple[Held, str, _Bundle | None, int]] = []
        self._places: dict[str, tuple[_Bundle, int]] = {}
        self._bundle = _Bundle()

    def add(self, held: Held, data: bytes) -> None:
        digest = digest_of(data)
        if not data or self._old(digest):
            self._kept.append((held, digest, None, 0))
            return
        place = self._places.get(digest)
        if place is None:
            place = self._places[digest] = self._bundle, len(self._bundle.data)
            self._bundle.data += data
        self._kept.append((held, digest, *place))
        if len(self._bundle.data) >= BUNDLE_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._bundle.data:
            self._cutting.put(self._bundle.data, self._bundle.blob)
            self._bundle.data = bytearray()  # the thread has the other one
            self._bundle = _Bundle()

    def entries(self) -> Iterator[Entry]:
        for held, digest, bundle, at in self._kept:
            if bundle is not None:
                parts: tuple[Part, ...] = (Part(bundle.blob[0], at, held.size),)
            else:
                parts = self._known[digest].parts if held.size else ()
            yield Entry(held.logical, held.size, digest, parts, is_executable=held.is_executable)

    def _old(self, digest: str) -> bool:
        entry = self._known.get(digest)
        return entry is not None and all(self._has(part.blob) for part in entry.parts)

    def _has(self, blob: str) -> bool:
        found = self._is_there.get(blob)
        if found is None:
            try:
                # An old bundle of which little is in use would be kept for ever for the sake of that little.
                found = self._used[blob] >= self._blobs.size(blob) * REUSED_BUNDLE_SHARE
            except (FileNotFoundError, StorageError):
                found = False
            self._is_there[blob] = found
            if found:
                self._blobs.touch([blob])
        return found


class _Bundle:
    def __init__(self) -> None:
        self.data = bytearray()
        self.blob: list[str] = []  # its digest, once it is kept


def _small_entries(base: Manifest) -> dict[str, Entry]:
    return {one.digest: one for one in base.entries.values() if one.parts and one.size < SMALL_FILE_BYTES}


def _used_bytes(base: Manifest) -> Counter[str]:
    """Answer how many bytes of each blob the manifest points to, the same bytes counted once."""
    used: Counter[str] = Counter()
    for part in {part for entry in base.entries.values() for part in entry.parts}:
        used[part.blob] += part.length
    return used
