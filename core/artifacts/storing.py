"""Keeping what a snapshot holds: cut into chunks, hashed, written once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from ..blobs import FolderBlobs, digest_of
from ..errors import ChangedError, TrackerError
from ..limits import BUNDLE_BYTES, SMALL_FILE_BYTES
from .manifest import Entry, Manifest, Part
from .snapshot import Held, Snapshot

_AVERAGE_BYTES = 1 << 20


class StoppedError(TrackerError):
    """Storing was asked to stop; what was kept so far is kept."""


def store(
    snapshot: Snapshot,
    blobs: FolderBlobs,
    base: Manifest | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Manifest:
    """Keep all that a snapshot holds, and answer its manifest. The manifest itself is not kept here.

    Args:
        snapshot: What to keep.
        blobs: Where.
        base: The manifest of an earlier version, whose bundles of small files are used again.
        progress: Is told the bytes kept so far, and those to keep in all.
        stop: When set, the call ends soon, by StoppedError.

    Raises:
        ChangedError: Files were written in place meanwhile; it names them.
        StorageError: The disk is full, or does not serve.
        StoppedError: See `stop`.
    """
    entries = list(snapshot.entries)
    changed = list(snapshot.changed)
    known = {one.digest: one for one in base.entries.values() if one.parts} if base else {}
    bundle = bytearray()
    waiting: list[tuple[Held, str, int]] = []
    done = 0

    def flush() -> None:
        if not waiting:
            return
        blob = blobs.put(bytes(bundle))
        for held, digest, at in waiting:
            part = (Part(blob, at, held.size),) if held.size else ()
            entries.append(Entry(held.logical, held.size, digest, part, is_executable=held.is_executable))
        bundle.clear()
        waiting.clear()

    for held in snapshot.files:
        if stop is not None and stop.is_set():
            raise StoppedError("storing was stopped.")
        data = _read(snapshot, held)
        if data is None:
            changed.append(held.source)
            continue
        digest = digest_of(data)
        same = known.get(digest)
        if same is not None and not blobs.missing({part.blob for part in same.parts}):
            blobs.touch({part.blob for part in same.parts})
            entries.append(Entry(held.logical, held.size, digest, same.parts, is_executable=held.is_executable))
        elif held.size < SMALL_FILE_BYTES:
            waiting.append((held, digest, len(bundle)))
            bundle += data
            if len(bundle) > BUNDLE_BYTES:
                flush()
        else:
            parts = tuple(_cut(data, blobs))
            entries.append(Entry(held.logical, held.size, digest, parts, is_executable=held.is_executable))
        done += held.size
        if progress is not None:
            progress(done, snapshot.size)
    flush()
    if changed:
        raise ChangedError(f"{', '.join(changed[:5])} changed while being kept.", changed)
    blobs.sync()
    return Manifest(entries)


def _read(snapshot: Snapshot, held: Held) -> bytes | None:
    with open(snapshot.place(held), "rb") as file:
        if held.at >= 0:
            file.seek(held.at)
            return file.read(held.size)
        data = file.read()
        after = os.fstat(file.fileno())
        if held.is_linked and (after.st_mtime_ns != held.mtime_ns or len(data) != held.size):
            return None
        return data


def _cut(data: bytes, blobs: FolderBlobs) -> list[Part]:
    from pyfastcdc import FastCDC  # only where an artifact is made

    cutter = FastCDC(_AVERAGE_BYTES)
    return [Part(blobs.put(chunk.data), 0, chunk.length) for chunk in cutter.cut_buf(data)]
