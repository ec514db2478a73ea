"""Sending what runs have beside their streams after the fact: blobs of their own, and versions of artifacts.

The server is asked what it lacks, so it does not matter what was sent before, by whom, or to which server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from .artifacts.catalogue import FolderCatalogue
from .artifacts.completing import complete_left
from .artifacts.remote import RemoteCatalogue
from .artifacts.replaying import Replay
from .artifacts.version import REGISTRY, Version, number_of, parse_name
from .blobs import FolderBlobs, digest_of
from .connection import Connection
from .errors import TrackerError, UsageError
from .limits import FOREVER_SECONDS
from .paths import RunPath, artifacts_folder, blobs_folder, run_blobs
from .uploading import Batch, Unsent, Uploading
from .uploads import forget_notes, left_blobs, left_versions

if TYPE_CHECKING:
    from .sync import Report


class FileSync:
    """Sends blobs and versions of runs.

    Args:
        connection: The server.
        say: Takes a sentence for the user.
        clock: Answers seconds that only go forward.
        is_silent: Draw no progress bar.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        is_silent: bool = False,
    ) -> None:
        self._connection = connection
        self._say = say
        self._clock = clock
        self._is_silent = is_silent
        self._unsent = Unsent()
        self._sent_files = self._sent_bytes = 0
        self._failed: dict[str, str] = {}
        self._seen: set[tuple[RunPath, str]] = set()
        self._told: set[tuple[str, str]] = set()
        self._claims: dict[str, Future[Version]] = {}
        self._changes = 0

    @property
    def is_stuck(self) -> bool:
        """Whether the server has not taken all, and is given up on."""
        return any(self._unsent)

    def send(self, runs: Mapping[Path, RunPath], stall_seconds: float | None) -> None:
        """Send what these runs have.

        Args:
            runs: Their folders and paths.
            stall_seconds: Give up when the server has taken nothing for so long; None: never.
        """
        uploading = Uploading(
            self._connection.twin(),
            say=self._say,
            clock=self._clock,
            comfort="It is tried again.",
            is_silent=self._is_silent,
        )
        self._failed = {}
        looked: set[tuple[RunPath, str]] = set()
        for folder, path in runs.items():
            own = FolderBlobs(run_blobs(folder))
            new = {digest for digest, *_ in own.walk() if (path, digest) not in self._seen}
            uploading.add(Batch(own, path), new)
            looked.update((path, digest) for digest in new)
        inputs: list[tuple[str, str]] = []
        here: dict[Path, dict[str, tuple[Version, str]]] = {}
        for root, names in _by_root(runs).items():
            complete_left(root, say=self._say)  # what was logged, and not stored by its own process
            shared = Batch(FolderBlobs(blobs_folder(root)), None)
            for each in _versions(root, names):
                key = f"{each.draft.entity}/{each.draft.project}/{each.draft.name} {each.token}"
                if key not in self._claims:
                    self._claims[key] = uploading.claim(shared, each.draft, each.token)
                here.setdefault(root, {}).setdefault(each.draft.path, (each.draft, key))
                if each.use == "input" and (each.run, key) not in self._told:
                    inputs.append((each.run, key))
            for left in left_versions(root, self._connection.address):
                key = f"{left.draft.entity}/{left.draft.project}/{left.draft.name} {left.token}"
                if key not in self._claims:
                    self._claims[key] = uploading.claim(shared, left.draft, left.token)
        self._unsent = uploading.finish(FOREVER_SECONDS if stall_seconds is None else stall_seconds)
        self._sent_files += uploading.sent_blobs
        self._sent_bytes += uploading.sent_bytes
        self._settle()
        if not any(self._unsent):
            self._seen |= looked
            self._tell_uses(inputs)
            for root, names in _by_root(runs).items():
                self._tell_changes(root, names, here.get(root, {}))
            self._forget(runs)

    def tell(self, report: Report) -> None:
        """Put what was done into a report."""
        report.sent_files = self._sent_files
        report.sent_file_bytes = self._sent_bytes
        report.sent_versions = len(self._claims)
        report.sent_changes = self._changes
        report.left_files = self._unsent.blobs
        report.left_versions = self._unsent.versions
        report.failed += sorted(self._failed.items())

    def _settle(self) -> None:
        """Look what became of the claims; those that came to nothing are made again by the next `send`."""
        for key, done in list(self._claims.items()):
            error = None if done.cancelled() else done.exception()
            if error is not None:
                self._failed[key.rpartition(" ")[0]] = str(error)
            if done.cancelled() or error is not None:
                del self._claims[key]

    def _tell_uses(self, inputs: list[tuple[str, str]]) -> None:
        """Have the server know which runs read which versions."""
        catalogue = RemoteCatalogue(self._connection.twin())
        for run, key in inputs:
            done = self._claims.get(key)
            if done is None:
                continue
            try:
                catalogue.use(done.result(), run)
            except TrackerError as error:
                self._failed[run] = f"the server does not take note of what it read: {error}"
            else:
                self._told.add((run, key))

    def _tell_changes(self, root: Path, runs: list[str], here: Mapping[str, tuple[Version, str]]) -> None:
        """Have the server know what was done here to versions after they were claimed: links, aliases."""
        catalogue = RemoteCatalogue(self._connection.twin())
        replay = Replay(root, catalogue, self._connection.address)
        for path, (version, key) in here.items():
            done = self._claims.get(key)
            if done is None:
                continue
            try:
                self._changes += replay.tell(version, done.result())
            except TrackerError as error:
                self._failed[path] = f"the server does not take its links and aliases: {error} Run it again."
        for link in replay.untold_links(runs):
            if str(link.source) in here:  # told of above, as far as it went
                continue
            try:
                self._changes += replay.tell_link(link, _source(catalogue, link))
            except TrackerError as error:
                self._failed[link.path.partition("/")[2]] = str(error)

    def _forget(self, runs: Mapping[Path, RunPath]) -> None:
        """Take word back that was left by processes which did not come to send it."""
        for root in _by_root(runs):
            for left in left_blobs(root, self._connection.address):
                if left.folder in runs:
                    forget_notes(left)
            for version in left_versions(root, self._connection.address):
                draft = version.draft
                if f"{draft.entity}/{draft.project}/{draft.name} {version.token}" in self._claims:
                    forget_notes(version)


def _source(catalogue: RemoteCatalogue, link: Version) -> Version:
    """Find on the server what a link stands for; it is not among what is sent."""
    name = parse_name(str(link.source))
    # By its bytes: numbers may be others there.
    found = catalogue.version(str(name.entity), str(name.project), name.name, link.digest)
    if found is None:
        mine = link.path.partition("/")[2]
        raise UsageError(
            f"the link cannot be made on the server, which has no {link.source} of these bytes. Send the run that logged "
            f"it (tracker sync), or, where it is deleted, take the link away: tracker registry unlink {mine}"
        )
    return found


def _by_root(runs: Mapping[Path, RunPath]) -> dict[Path, list[str]]:
    found: dict[Path, list[str]] = {}
    for folder, path in runs.items():
        found.setdefault(folder.parents[2], []).append(str(path))
    return found


class _Found(NamedTuple):
    run: str
    use: str
    draft: Version
    token: str


def _versions(root: Path, runs: list[str]) -> list[_Found]:
    """Answer the versions that runs made or read, in the order of their numbers, with the run and which of the two."""
    catalogue = FolderCatalogue(artifacts_folder(root))
    found = []
    for run in runs:
        for edge in catalogue.edges(run):
            name = parse_name(edge.artifact)
            if name.entity in (None, REGISTRY) or name.project is None or number_of(name.which) is None:
                continue
            version = catalogue.version(str(name.entity), name.project, name.name, name.which)
            if version is None:
                continue
            token = version.token
            if edge.use == "output" and version.run not in (None, run):  # the same bytes, logged by another run as well
                version, token = (
                    msgspec.structs.replace(version, run=run),
                    f"{token[:40]}-{digest_of(run.encode())[:16]}",
                )
            found.append(_Found(run, edge.use, version, token))
    return sorted(found, key=lambda each: (each.draft.entity, each.draft.project, each.draft.name, each.draft.version))
