"""From a snapshot to a version: its bytes are kept, its manifest is made, the catalogue gives it a number.

The process that logged it does this on a thread of its own; where that process is gone, the next one does, or
`tracker sync`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ..clock import Clock
from ..errors import ChangedError, FormatError, StorageError, TrackerError, UsageError
from ..journal import Journal
from ..paths import RunPath, blobs_folder
from ..record import Kind, encode_control
from .header import Header, edge_body
from .manifest import Manifest
from .place import Place, local_place
from .registry import link, link_token, target
from .snapshot import Snapshot, pending
from .storing import store
from .version import Draft, Version


class Completed(msgspec.Struct):
    """A version that has come of a snapshot; None where it was only a part of one."""

    version: Version | None
    manifest: Manifest
    manifest_digest: str

    def draft(self, header: Header) -> Draft:
        """Answer what is to be claimed elsewhere: as this run has logged it, were the bytes known already or not."""
        return msgspec.structs.replace(
            header.draft,
            digest=self.manifest.digest,
            manifest=self.manifest_digest,
            size=self.manifest.size,
            files=self.manifest.files,
        )


def complete(
    snapshot: Snapshot,
    place: Place,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    before: Place | None = None,
) -> Completed:
    """Keep the bytes of a snapshot and make it a version. The snapshot stays; discard it afterwards.

    Args:
        snapshot: Saved, with a `Header`.
        place: Where; its catalogue is the local one.
        progress: See `store`.
        stop: See `store`.
        before: Where the version is that an incremental one adds to; `place` by default.

    Raises:
        ChangedError, StorageError, StoppedError: See `store`.
        UsageError: The catalogue does not take it.
        TransportError: `before` is a server, and does not answer.
    """
    header = Header.load(snapshot.header)
    draft = header.draft
    base = _base(before or place, draft)
    own = store(snapshot, place.store, base, progress, stop)
    parts: list[Manifest] = []
    if header.share is not None:
        if not header.is_share_final:
            digest = _keep(place, own)
            place.shares.add(draft, header.share, snapshot.token, digest)
            return Completed(None, own, digest)
        parts = [_load(place, digest) for digest in place.shares.parts(draft, header.share)]
    # What was not stored just now: of the version before, or of others whose files were taken over.
    old = {part.blob for entry in snapshot.entries for part in entry.parts}
    while True:
        place.store.touch(old | (base.blobs() if header.incremental and base is not None else set()))
        manifest = _merged(own, parts, base if header.incremental else None, header.removed)
        digest = _keep(place, manifest)
        now = _base(before or place, draft) if header.incremental else base
        if not header.incremental or _same(now, base):
            break
        base = now  # somebody was faster: add to that one
    whole = msgspec.structs.replace(
        draft, digest=manifest.digest, manifest=digest, size=manifest.size, files=manifest.files
    )
    if before is not None:
        before.blobs.fetch(manifest.blobs())  # what it adds to may be of another machine
    missing = place.store.missing(manifest.blobs())
    if missing:  # of a version that was deleted and cleaned up while this one was made of it
        raise StorageError(f"{len(missing)} blobs of {draft.name!r} are gone, the first is {missing[0]}.")
    version = place.catalogue.claim(whole, snapshot.token, header.actor)
    if header.share is not None:
        place.shares.forget(draft, header.share)
    if header.is_input and draft.run is not None:
        place.catalogue.use(version, draft.run, header.use_as, header.actor)
    for path, aliases in header.links:
        registry, collection = target(path)
        token = link_token(snapshot.token, path)
        link(place.catalogue, version, registry, collection, aliases, header.actor, token)
    return Completed(version, manifest, digest)


def left_behind(root: Path) -> Iterator[Snapshot]:
    """Walk the artifacts that processes which are gone have logged and not completed."""
    for snapshot in pending(blobs_folder(root)):
        if snapshot.header:
            yield snapshot


def complete_left(
    root: Path,
    *,
    say: Callable[[str], object] = lambda _sentence: None,
    done: Callable[[Completed, Header, Snapshot], None] | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Complete what processes that are gone have left behind under a folder of runs.

    Args:
        root: The folder.
        say: Takes a sentence for the user, where something cannot be completed.
        done: Is told of each that was completed, before its snapshot is let go.
        stop: When set, the call ends soon.

    Returns:
        How many were completed.
    """
    place = local_place(root)
    count = 0
    for snapshot in left_behind(root):
        if stop is not None and stop.is_set():
            break
        try:
            header = Header.load(snapshot.header)
            found = complete(snapshot, place, stop=stop)
        except ChangedError as error:
            say(f"an artifact of an earlier run is lost: {error}")
            snapshot.discard()
            continue
        except (FormatError, UsageError) as error:
            say(f"an artifact of an earlier run cannot be completed ({error}); it is let go.")
            snapshot.discard()
            continue
        except (StorageError, OSError, TrackerError) as error:
            if stop is None or not stop.is_set():
                say(f"an artifact of an earlier run waits: {error}")
            leave(snapshot)
            continue
        if found.version is not None:
            _tell_run(root, header, found.version)
        if done is not None:
            done(found, header, snapshot)
        snapshot.discard()
        count += 1
    return count


def leave(snapshot: Snapshot) -> None:
    """Let another process complete it, though this one lives on."""
    with contextlib.suppress(OSError):  # else it is found once this process is gone
        snapshot.save(snapshot.header, is_left=True)


def _tell_run(root: Path, header: Header, version: Version) -> None:
    """Write the record into the journal of the run that logged it, in a stream of its own."""
    run = header.draft.run
    if run is None or run.count("/") != 2:
        return
    folder = RunPath(*run.split("/")).folder(root)
    if not (folder / "streams").is_dir():
        return
    clock = Clock()
    journal = Journal(folder / "streams", clock, is_mapped=False)
    for use in ("output", "input") if header.is_input else ("output",):
        body = edge_body(version, use, header.use_as if use == "input" else None)
        journal.append(Kind.ARTIFACT, encode_control(clock.now_ns(), body))
    journal.sync()
    journal.close()


def _base(place: Place, draft: Draft) -> Manifest | None:
    """Answer the manifest of the version before, whose bytes need not be kept again."""
    version = place.catalogue.version(draft.entity, draft.project, draft.name)
    if version is None:
        return None
    try:
        return place.manifest(version)
    except (OSError, TrackerError):  # damaged: all is kept anew
        return None


def _merged(own: Manifest, parts: list[Manifest], base: Manifest | None, removed: list[str]) -> Manifest:
    if base is None and not parts:
        return own
    entries = dict(own.entries)
    for other in reversed(parts):  # the last one first: what is there stays
        for path, entry in other.entries.items():
            entries.setdefault(path, entry)
    for path, entry in base.entries.items() if base is not None else ():
        if not any(path == gone or path.startswith(f"{gone}/") for gone in removed):
            entries.setdefault(path, entry)
    return Manifest(entries.values())


def _keep(place: Place, manifest: Manifest) -> str:
    digest = place.store.put(manifest.dump())
    place.store.sync()
    return digest


def _load(place: Place, digest: str) -> Manifest:
    place.blobs.fetch([digest])
    return Manifest.load(place.blobs.read(digest))


def _same(one: Manifest | None, other: Manifest | None) -> bool:
    return one is other or (one is not None and other is not None and one.digest == other.digest)
