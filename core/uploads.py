"""What a run has for bringing its bytes and its versions to the server, and what was left over by runs before it.

What is on its way is noted on disk, in one small file each, so that a process that dies leaves word: the next start, or
`tracker sync`, goes on. A note of bytes lies with the run's blobs, one of a version with the blobs that runs share.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from .artifacts.version import Draft
from .blobs import FolderBlobs
from .connection import Connection
from .limits import FOREIGN_SILENCE_SECONDS
from .paths import RunPath, artifacts_folder, blobs_folder, find_runs, host_name, run_blobs, streams
from .processes import is_alive, is_gone, silence, started, this_process, whereabouts
from .uploading import Batch, Unsent, Uploading
from .wire import from_json, to_json

if TYPE_CHECKING:
    from .artifacts.version import Version

Scope = Literal["run", "shared"]
_NOTES = ".unsent"
_OUTBOX = ".outbox"
_NOTE = re.compile(r"(?P<where>[^~]*)~(?P<pid>\d+)~(?P<started>\d+)")
_OLD_NOTE = re.compile(r"(?P<host>.*)-(?P<pid>\d+)")  # the older form: the machine's name alone


class Noted(msgspec.Struct, frozen=True):
    """A version that was to be claimed on a server.

    Args:
        address: Of the server.
        host, pid: The process that meant to.
        token: Under which it is claimed.
        draft: The version; its metadata in JSON's types.
        where, started: What tells the process from others of that number; see `processes`. None in older notes.
    """

    address: str
    host: str
    pid: int
    token: str
    draft: Draft
    where: str | None = None
    started: str = "0"


class LeftBlobs(NamedTuple):
    """A run whose blobs have not all arrived; `notes` say so."""

    path: RunPath
    folder: Path
    notes: list[Path]


class LeftVersion(NamedTuple):
    """A version that was not claimed; `note` says so."""

    draft: Draft
    token: str
    note: Path


class Uploads:
    """Sends blobs and versions of one run while it goes on.

    Args:
        path: The run.
        folder: Its folder.
        root: The folder of all runs.
        connection: The server.
        say: Takes a sentence for the user.
        clock: Answers seconds that only go forward.
        is_silent: Draw no progress bar.

    Example:
        uploads = Uploads(path, folder, root, Connection(url, key), say=print)
        uploads.blobs("run", [digest])
        unsent = uploads.finish(stall_seconds=10)
    """

    def __init__(
        self,
        path: RunPath,
        folder: Path,
        root: Path,
        connection: Connection,
        *,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        is_silent: bool = False,
    ) -> None:
        self._path = path
        self._root = root
        self._connection = connection
        self._address = connection.address
        self._own = Batch(FolderBlobs(run_blobs(folder)), path)
        self._shared = Batch(FolderBlobs(blobs_folder(root)), None)
        self._say = say
        self._uploading = Uploading(connection, say=say, clock=clock, is_silent=is_silent)
        self._lock = threading.Lock()
        self._note: Path | None = None
        self._noted_by = 0
        self._later: Uploading | None = None
        self._make_later: Callable[[], Uploading] = lambda: Uploading(
            connection.twin(), say=say, clock=clock, threads=1, comfort="It is tried again.", is_silent=True
        )

    def blobs(self, scope: Scope, digests: Iterable[str]) -> None:
        """Send blobs, if the server lacks them. Returns at once; from any thread; never raises for the server's sake.

        Args:
            scope: "run" for the run's own, "shared" for those that all runs share.
            digests: Which; they are in their folder already.
        """
        wanted = list(digests)
        if not wanted:
            return
        if scope == "run" and self._noted_by != os.getpid():
            self._write_note()
        is_own = scope == "run"
        self._uploading.add(self._own if is_own else self._shared, wanted, are_new=is_own)

    def claim(
        self, draft: Draft, token: str, then: Callable[[Future[Version]], object] | None = None
    ) -> Future[Version]:
        """Claim a version on the server, once its blobs are there. Returns at once.

        Args:
            draft: The version; its blobs and its manifest are with those that runs share.
            token: Under which: the same token again is the same version.
            then: Called when it has an end, before word of it is taken back.

        Returns:
            The version as the server has it: the number may be another one. It fails where the server refuses the
            version for what it is, and is cancelled where the run ends before.
        """
        note = _note_version(self._root, self._address, draft, token)
        done = self._uploading.claim(self._shared, draft, token)

        def settle(claimed: Future[Version]) -> None:
            if then is not None:
                then(claimed)
            if not claimed.cancelled() and note is not None:
                _remove(note)

        done.add_done_callback(settle)
        return done

    def replay(self, draft: Draft, there: Version) -> None:
        """Tell the server what was done to a version here after it was logged: links, aliases. Never raises.

        Args:
            draft: The version as it was logged.
            there: The version as the server has it.
        """
        from .artifacts.catalogue import FolderCatalogue
        from .artifacts.remote import RemoteCatalogue
        from .artifacts.replaying import Replay

        try:
            here = FolderCatalogue(artifacts_folder(self._root))
            version = here.version(draft.entity, draft.project, draft.name, draft.digest)
            if version is not None:
                Replay(self._root, RemoteCatalogue(self._connection.twin()), self._address).tell(version, there)
        except Exception as error:  # on a thread of the uploads: the version is there all the same
            self._say(
                f"links and aliases of {there.path} have not all reached the server ({error}). Send them with: "
                "tracker sync"
            )

    def hurry(self) -> None:
        """The run is about to end: let no pause be longer than a moment."""
        if self._later is not None:
            self._later.stop(0.0)
        self._uploading.hurry()

    def finish(self, stall_seconds: float, timeout: float | None = None) -> Unsent:
        """Send the rest, and end; see `Uploading.finish`."""
        unsent = self._uploading.finish(stall_seconds, timeout)
        if self._note is not None and self._noted_by == os.getpid() and not unsent.blobs:
            _remove(self._note)
        return unsent

    def take_leftovers(self, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Send what earlier runs have left for this server, one thing at a time, behind all else.

        Args:
            is_wanted: Asked before each run that is looked at; False ends it.
        """
        for left in left_blobs(self._root, self._address, is_wanted):
            self._send_left(left)
        for version in left_versions(self._root, self._address):
            if not is_wanted():
                return
            self._claim_left(version)

    def _later_on(self) -> Uploading:
        if self._later is None:
            self._later = self._make_later()
        return self._later

    def _send_left(self, left: LeftBlobs) -> None:
        own = FolderBlobs(run_blobs(left.folder))
        self._later_on().add(
            Batch(own, left.path), (stored.digest for stored in own.walk()), lambda: _remove_all(left.notes)
        )

    def _claim_left(self, left: LeftVersion) -> None:
        done = self._later_on().claim(self._shared, left.draft, left.token)

        def settle(claimed: Future[Version]) -> None:
            if claimed.cancelled():
                return
            if claimed.exception() is None:
                self.replay(left.draft, claimed.result())
            _remove(left.note)

        done.add_done_callback(settle)

    def _write_note(self) -> None:
        """Leave word that the run has blobs that are to be sent; it is taken back when they were."""
        with self._lock:
            if self._noted_by == os.getpid():
                return
            self._noted_by = os.getpid()
            note = self._own.local.folder / _NOTES / this_process()
            with contextlib.suppress(OSError):  # `tracker sync` looks without it
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(self._address, encoding="utf-8")
                self._note = note


def has_left(root: Path, is_wanted: Callable[[], bool] = lambda: True) -> bool:
    """Answer whether any process has left word of bytes or versions that were to be sent."""
    return any(True for _ in left_versions(root)) or any(True for _ in left_blobs(root, None, is_wanted))


def left_blobs(
    root: Path, address: str | None = None, is_wanted: Callable[[], bool] = lambda: True
) -> Iterator[LeftBlobs]:
    """Walk the runs whose blobs have not all arrived on a server, as far as somebody left word of it.

    Args:
        root: The folder of all runs.
        address: Only those meant for this server.
        is_wanted: Asked before each run; False ends the walk.
    """
    for path, folder in find_runs(root):
        if not is_wanted():
            return
        notes = [note for note in _entries(run_blobs(folder) / _NOTES) if _is_left(note, address, folder)]
        if notes:
            yield LeftBlobs(path, folder, notes)


def left_versions(root: Path, address: str | None = None) -> Iterator[LeftVersion]:
    """Walk the versions that were to be claimed on a server by processes that are gone."""
    for note in _entries(blobs_folder(root) / _OUTBOX):
        try:
            noted = msgspec.json.decode(note.read_bytes(), type=Noted)
        except OSError:
            continue
        except msgspec.MsgspecError:  # cut
            _remove(note)
            continue
        if (address is None or noted.address == address) and _is_left_version(root, noted, note):
            draft = msgspec.structs.replace(noted.draft, metadata=from_json(noted.draft.metadata))
            yield LeftVersion(draft, noted.token, note)


def forget_notes(left: LeftBlobs | LeftVersion) -> None:
    """Take word back: all of it has arrived."""
    if isinstance(left, LeftBlobs):
        _remove_all(left.notes)
    else:
        _remove(left.note)


def _note_version(root: Path, address: str, draft: Draft, token: str) -> Path | None:
    plain = Draft(**{name: getattr(draft, name) for name in Draft.__struct_fields__ if name != "metadata"})
    plain = msgspec.structs.replace(plain, metadata=to_json(draft.metadata))
    noted = Noted(address, host_name(), os.getpid(), token, plain, whereabouts(), started(os.getpid()))
    note = blobs_folder(root) / _OUTBOX / f"{re.sub('[^A-Za-z0-9]+', '_', token)[:64]}"
    half = note.with_name(f".{note.name}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(msgspec.json.encode(noted))
        os.replace(half, note)
    except OSError:  # `tracker sync` looks at what the runs have made
        return None
    return note


def _is_left(note: Path, address: str | None, folder: Path) -> bool:
    try:
        if address is not None and note.read_text(encoding="utf-8") != address:
            return False
    except (OSError, UnicodeDecodeError):
        return False
    if match := _NOTE.fullmatch(note.name):
        gone = is_gone(match["where"], int(match["pid"]), match["started"])
    elif match := _OLD_NOTE.fullmatch(note.name):
        gone = _is_old_gone(match["host"], int(match["pid"]))
    else:
        return False
    return _is_silent(folder, note) if gone is None else gone


def _is_left_version(root: Path, noted: Noted, note: Path) -> bool:
    if noted.where is None:
        gone = _is_old_gone(noted.host, noted.pid)
    else:
        gone = is_gone(noted.where, noted.pid, noted.started)
    if gone is None:
        run = (noted.draft.run or "").split("/")
        return _is_silent(RunPath(*run).folder(root) if len(run) == 3 else None, note)
    return gone


def _is_old_gone(host: str, pid: int) -> bool | None:
    return not is_alive(pid) if host == host_name() else None


def _is_silent(run: Path | None, note: Path) -> bool:
    # Of a process elsewhere only its silence tells: while it lives its run's streams grow.
    folders = [] if run is None else streams(run)
    return silence(note, *(each for folder in folders for each in _entries(folder))) > FOREIGN_SILENCE_SECONDS


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder) if not name.startswith("."))
    except OSError:
        return []


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        _remove(path)
