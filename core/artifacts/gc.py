"""Cleaning up: versions whose time is over, bytes that no version needs, and what dead processes have left.

Bytes are marked from the manifests of all versions, then those without a mark go, unless they were put or used lately:
a writer's bytes are there before its version is. So it is safe beside writers, on any machine.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..blobs import FolderBlobs
from ..errors import StorageError, TrackerError, UsageError
from ..limits import DRAFT_KEEP_SECONDS, GC_GRACE_SECONDS, LEFT_SNAPSHOT_KEEP_SECONDS
from ..paths import artifacts_folder, blobs_folder
from ..processes import whereabouts
from .catalogue import FolderCatalogue
from .completing import leave
from .manifest import Manifest
from .shares import Shares
from .snapshot import pending
from .version import LATEST, Actor, Version

_DAY_NS = 86_400 * 1_000_000_000


@dataclass
class Report:
    """What was, or would be, removed.

    Args:
        expired: Versions whose time is over.
        blobs, blob_bytes: Bytes that no version needs, and nobody has used lately.
        kept_blobs, kept_bytes: Those that stay.
        young_blobs: Without a version, but too young: looked at again next time.
        leftovers: Half-written files, and snapshots nobody will complete.
        waiting: Snapshots of dead processes that wait to be completed; they stay.
        troubles: Sentences for the user.
    """

    expired: list[str] = field(default_factory=list)
    blobs: int = 0
    blob_bytes: int = 0
    kept_blobs: int = 0
    kept_bytes: int = 0
    young_blobs: int = 0
    leftovers: int = 0
    waiting: int = 0
    troubles: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Answer the same for `--json`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def collect(
    root: Path,
    *,
    is_dry: bool = False,
    grace_seconds: float = GC_GRACE_SECONDS,
    cache_bytes: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Clean up the artifacts of a folder of runs.

    Args:
        root: The folder.
        is_dry: Only look what would be removed.
        grace_seconds: What was put or used within this time stays.
        cache_bytes: So much of what no version here needs may stay, the last used first: it was fetched from a server,
            and may be asked for again. Without it nothing of it stays.
        clock: Answers seconds since the epoch.
    """
    catalogue, blobs = FolderCatalogue(artifacts_folder(root)), FolderBlobs(blobs_folder(root))
    return collect_in(
        catalogue, blobs, Shares(catalogue.folder), is_dry=is_dry, grace_seconds=grace_seconds,
        cache_bytes=cache_bytes, clock=clock,
    )  # fmt: skip


def collect_server(data: Path, *, is_dry: bool = False, grace_seconds: float = GC_GRACE_SECONDS) -> Report:
    """Clean up the data folder of a server; it may go on meanwhile.

    Raises:
        UsageError: It is none.
    """
    catalogue, blobs = FolderCatalogue(data / "artifacts"), FolderBlobs(data / "blobs")
    if not catalogue.folder.is_dir() or not blobs.folder.is_dir():
        raise UsageError(
            f"{data} is no data folder of a server that has artifacts; give the one that it was started with."
        )
    return collect_in(catalogue, blobs, Shares(catalogue.folder), is_dry=is_dry, grace_seconds=grace_seconds)


def trim(blobs: FolderBlobs, most_bytes: int, clock: Callable[[], float] = time.time) -> int:
    """Keep a folder that is nothing but a cache within its bounds: what was fetched first goes first.

    Args:
        blobs: The folder.
        most_bytes: How much may stay.
        clock: Answers seconds since the epoch.

    Returns:
        The bytes removed.
    """
    found = sorted(((each.mtime, each.size, each.digest) for each in blobs.walk()), reverse=True)
    room, freed, now = most_bytes, 0, clock()
    for _, size, digest in found:
        room -= size
        if room < 0:
            freed += blobs.remove_unused(digest, now)
    return freed


def collect_in(
    catalogue: FolderCatalogue,
    blobs: FolderBlobs,
    shares: Shares,
    *,
    is_dry: bool = False,
    grace_seconds: float = GC_GRACE_SECONDS,
    cache_bytes: int | None = None,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Do the same for a catalogue and a folder of blobs, such as a server's; see `collect`."""
    report = Report()
    now = clock()
    if not is_dry:
        blobs.put_back_unused()
    # The old ones first: what comes while we look is younger than the grace.
    since = now - grace_seconds
    gone = _expire(catalogue, now, report, is_dry)
    _tidy(catalogue, blobs, shares, now, report, is_dry)
    damaged = catalogue.damaged()
    if damaged:
        report.troubles.append(
            f"{damaged[0]} cannot be read{f', and {len(damaged) - 1} more' if len(damaged) > 1 else ''}: what it needs "
            "is not known, so no bytes are removed. Put it back from a backup, or delete it to give it up."
        )
        return report
    marked = _marked(catalogue, blobs, shares, gone, report)
    _sweep(blobs, marked, since, cache_bytes, report, is_dry)
    return report


def _expire(catalogue: FolderCatalogue, now: float, report: Report, is_dry: bool) -> set[str]:
    """Delete versions whose time is over; one that has an alias of its own, or is linked by a registry, stays."""
    versions = list(catalogue.walk())
    linked = {version.source for version in versions if version.source is not None}
    gone = set()
    for version in versions:
        if not _is_over(version, now) or version.path in linked or any(a != LATEST for a in version.aliases):
            continue
        report.expired.append(version.path)
        gone.add(version.path)
        if not is_dry:
            try:
                catalogue.delete(version, actor=Actor.here())
            except (StorageError, TrackerError) as error:
                report.troubles.append(f"{version.path} cannot be deleted: {error}")
                gone.discard(version.path)
    return gone


def _is_over(version: Version, now: float) -> bool:
    return version.ttl_days is not None and version.created_ns + version.ttl_days * _DAY_NS < now * 1e9


def _marked(
    catalogue: FolderCatalogue, blobs: FolderBlobs, shares: Shares, gone: set[str], report: Report
) -> set[bytes]:
    """Answer the digests of all bytes that something needs; as bytes, half the size of texts."""
    marked: set[bytes] = set()
    manifests: dict[str, str] = {v.manifest: v.path for v in catalogue.walk() if v.path not in gone}
    for folder, parts in shares.every():
        manifests.update(dict.fromkeys(parts, str(folder)))
    for digest, path in manifests.items():
        marked.add(bytes.fromhex(digest))
        try:
            needed: Iterable[str] = Manifest.load(blobs.read(digest)).blobs()
        except (OSError, TrackerError) as error:  # without it nobody can read those bytes
            report.troubles.append(f"the list of files of {path} is lost ({error}); it cannot be downloaded any more.")
            continue
        marked.update(bytes.fromhex(blob) for blob in needed)
    return marked


def _sweep(
    blobs: FolderBlobs, marked: set[bytes], since: float, cache_bytes: int | None, report: Report, is_dry: bool
) -> None:
    unused: list[tuple[float, str, int]] = []
    for stored in blobs.walk():
        if bytes.fromhex(stored.digest) in marked:
            report.kept_blobs += 1
            report.kept_bytes += stored.size
        elif stored.mtime >= since:
            report.young_blobs += 1
        else:
            unused.append((stored.mtime, stored.digest, stored.size))
    room = cache_bytes or 0
    for _, digest, size in sorted(unused, reverse=True):
        if size <= room:
            room -= size
            report.kept_blobs += 1
            report.kept_bytes += size
            continue
        freed = size if is_dry else blobs.remove_unused(digest, since)
        if freed:
            report.blobs += 1
            report.blob_bytes += freed


def _tidy(
    catalogue: FolderCatalogue, blobs: FolderBlobs, shares: Shares, now: float, report: Report, is_dry: bool
) -> None:
    """Remove what is half written and whose writer is gone."""
    oldest = now - DRAFT_KEEP_SECONDS
    for path in catalogue.folder.glob("*/*/*/.draft-*"):
        if _is_older(path, oldest):
            report.leftovers += 1
            if not is_dry:
                path.unlink(missing_ok=True)
    for folder, _ in shares.every():
        if _is_older(folder, now - LEFT_SNAPSHOT_KEEP_SECONDS):
            report.leftovers += 1
            if not is_dry:
                shutil.rmtree(folder, ignore_errors=True)
    snapshots = blobs.folder / ".snapshots"
    for folder in sorted(snapshots.iterdir()) if snapshots.is_dir() else ():
        is_ours = folder.name.split("~")[1:2] == [whereabouts()]  # else of a machine that never came back
        if not is_ours and _is_older(folder, now - LEFT_SNAPSHOT_KEEP_SECONDS):
            report.leftovers += 1
            if not is_dry:
                shutil.rmtree(folder, ignore_errors=True)
    if is_dry:
        return
    for snapshot in pending(blobs.folder):  # removes those that were never logged
        report.waiting += 1
        leave(snapshot)
    report.leftovers += blobs.clean()


def _is_older(path: Path, than: float) -> bool:
    try:
        return os.stat(path).st_mtime < than
    except OSError:
        return False
