"""The local folder as a source: the journals, through the same index that `tracker ui` keeps, with no server running."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ...server.index import Index
from ...server.places import Places
from ...server.stores import open_stores
from ...server.stores.base import RunRow
from ...server.watching.following import FollowedRun, Signature, signature
from ...server.watching.scanning import FolderScan
from ..artifacts.place import Place, local_place
from ..errors import StorageError
from ..files import NamedFile
from ..journal import Block
from ..paths import RunPath, index_folder
from ..printed import ConsolePage
from ..progress import Progress
from ..samples import Stream
from .changes import edit, put_back, throw_away
from .source import Page, Project, RunInfo

if TYPE_CHECKING:
    from ...server.tables import Engine

_log = logging.getLogger("tracker")
_FRESH_SECONDS = 0.2  # questions asked in quick succession are answered from one look at the folder
_PIECE_BYTES = 1 << 20
_COARSE_NS = 2_500_000_000  # times on disk are that coarse: what changed so lately may change and show the same time


class _Seen(msgspec.Struct, array_like=True):
    """A run read to its end: what its folder looked like then, and what the index said of it."""

    mark: Signature
    points: int
    updated_ns: int


class LocalSource:
    """Reads a folder of runs.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        folder = index_folder(root)
        try:
            self._stores = open_stores(folder, is_index=True)
        except (StorageError, OSError) as error:  # no room in the cache, or no rights: all of it is in the journals
            _log.warning("the index in %s does not serve (%s); one is made in the temporary folder.", folder, error)
            self._temporary = tempfile.TemporaryDirectory(prefix="tracker-index-", ignore_cleanup_errors=True)
            folder = Path(self._temporary.name)
            self._stores = open_stores(folder, is_index=True)
        self._lock = threading.RLock()
        self._index = Index(self._stores)
        self._memory = folder / "read-by-api"
        self._seen: dict[RunPath, Signature] = {}
        self._live: dict[RunPath, FollowedRun] = {}
        self._scan = FolderScan(root)
        self._folders: dict[RunPath, Path] = {}
        self._looked = 0.0
        self._is_first = True

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    def projects(self) -> list[Project]:
        """Answer all projects, the last active first."""
        self._catch_up()
        return [
            Project(row.entity, row.project, row.runs, dict(row.states), row.last_activity_ns)
            for row in self._stores.metadata.projects()
        ]

    def runs(
        self,
        entity: str | None,
        project: str | None,
        filters: Mapping[str, Any] | None,
        order: str | None,
        limit: int,
        offset: int,
        trash: bool,
    ) -> Page:
        """Answer a part of a list of runs."""
        self._catch_up()
        page = self._stores.metadata.runs(
            entity, project, filter=filters, order=order, limit=limit, offset=offset, trash=trash
        )
        return Page(page.total, [_info(row) for row in page.runs])

    def run(self, path: RunPath) -> RunInfo | None:
        """Answer one run with its details; None where there is none."""
        self._catch_up_with(path)
        found = self._stores.metadata.run(path)
        if found is None:
            return None
        details = {
            "streams": [
                {"id": s.id, "acked": s.cursor, "updated_ns": s.heard_ns, "host": s.host, "pid": s.pid}
                for s in found.streams
            ],
            "alerts": [dict(alert) for alert in found.alerts],
            "metrics": [dict(body) for body in found.metrics],
            "exit": None if found.exit is None else dict(found.exit),
            "fields": dict(found.run.fields),
            "lost": found.lost,
            "system_metrics": dict(found.samples),
            "environment": dict(found.environment),
        }
        return _info(found.run, found.trashed, details)

    def metrics(self, entity: str, project: str, stream: Stream = "default") -> list[dict[str, Any]]:
        """Answer the keys that runs of the project have logged, or those of samples of the machine."""
        self._catch_up()
        return [asdict(row) for row in self._stores.metadata.project_metrics(entity, project, stream)]

    def history(
        self,
        path: RunPath,
        keys: Sequence[str] | None,
        low: float | None,
        high: float | None,
        stream: Stream = "default",
    ) -> Iterator[Block]:
        """Walk all rows in order of step."""
        self._catch_up_with(path)
        return self._stores.metrics.history(path, keys, low, high, stream=stream)

    def files(self, path: RunPath) -> list[NamedFile]:
        """Answer the run's named files, sorted."""
        self._catch_up_with(path)
        return list(self._stores.metadata.files(path))

    def file(self, path: RunPath, file: NamedFile) -> Iterator[bytes]:
        """Walk the bytes of one of them, piece by piece."""
        return self._bytes(path, file.digest, repr(file.name))

    def blob(self, path: RunPath, digest: str) -> Iterator[bytes]:
        """Walk the bytes of one of the run's own blobs, piece by piece."""
        return self._bytes(path, digest, f"the blob {digest}")

    def _bytes(self, path: RunPath, digest: str, name: str) -> Iterator[bytes]:
        blobs = Places(self._stores, self.root).run_blobs(path)
        try:
            with blobs.open(digest) as source:
                while piece := source.read(_PIECE_BYTES):
                    yield piece
        except FileNotFoundError:
            raise StorageError(
                f"the bytes of {name} are not in the folder of {path}; they may not have been sent along yet."
            ) from None

    def file_url(self, path: RunPath, name: str) -> None:
        """Answer None: there is no server."""

    def tables(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a question over tables."""
        from ...server.tables import ask  # pydantic's models of it: only for who asks

        self._catch_up()
        return ask(self._tables, query)

    @cached_property
    def _tables(self) -> Engine:
        from ...server.tables import Engine, TableFiles

        places = Places(self._stores, self.root)
        return Engine(TableFiles(self._stores.metrics, places, self._stores.folder / "tables"))

    def console(self, path: RunPath, wanted: Mapping[str, Any]) -> ConsolePage:
        """Answer a part of what a run has printed."""
        self._catch_up_with(path)
        page = self._stores.metadata.console(path, **wanted)
        return ConsolePage(0, 0, 0, []) if page is None else page

    def edit(self, path: RunPath, changes: Mapping[str, Any]) -> None:
        """Change name, notes, tags, group, config or summary: written to the run's journal, as all else."""
        edit(path.folder(self.root), changes)
        self._looked = 0.0

    def delete(self, path: RunPath) -> None:
        """Move a run to the trash."""
        throw_away(self.root, path, self._stores)
        self._forget_marks(path)

    def restore(self, path: RunPath) -> None:
        """Take a run out of the trash."""
        put_back(self.root, path, self._stores)
        self._forget_marks(path)

    def url(self, path: RunPath) -> None:
        """Answer None: there is no server."""

    def place(self) -> Place:
        """Answer where the artifacts are."""
        return local_place(self.root)

    def close(self) -> None:
        """Let the files go."""
        self._stores.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    # --- keeping the index in step -------------------------------------------------------

    def _catch_up(self) -> None:
        """Take in what the folder has gained; what was read to its end and has not changed is not opened."""
        with self._lock:
            self._catch_up_now()

    def _catch_up_now(self) -> None:
        if time.monotonic() - self._looked < _FRESH_SECONDS:
            return
        if self._is_first:
            self._remembered({row.path: row for row in self._stores.metadata.runs(limit=None).runs})
        found = self._scan.look()
        self._folders.update(found.appeared)
        for path in found.vanished:
            self._folders.pop(path, None)
        has_read = False
        with Progress("reading", "runs", len(self._folders)) as bar:
            for number, (path, folder) in enumerate(self._folders.items()):
                bar.update(number)
                has_read |= self._look_at(path, folder)
        self._find_dead()
        if self._is_first or found.vanished:
            self._tidy(found.is_trusted)
        if has_read:
            self._remember()
        self._is_first = False
        self._looked = time.monotonic()

    def _catch_up_with(self, path: RunPath) -> None:
        """Do the same for one run only."""
        with self._lock:
            if time.monotonic() - self._looked < _FRESH_SECONDS:
                return
            folder = path.folder(self.root)
            if (folder / "streams").is_dir():
                self._look_at(path, folder)
                self._find_dead()
            else:
                self._catch_up_now()  # removed, or moved to the trash

    def _look_at(self, path: RunPath, folder: Path) -> bool:
        """Read a run, if it has changed; answer whether it was read to an end that holds."""
        seen = self._seen.get(path)
        if seen is not None and seen == _mark(folder, is_over=len(seen) == 1 and not seen[0][0]):
            return False
        rough, fine = (
            _mark(folder, is_over=True),
            _mark(folder, is_over=False),
        )  # before reading: what comes later shows
        run = self._read(path, folder)
        if run is None:
            return False
        is_over = run.has_ended is True and time.time_ns() - rough[0][3] > _COARSE_NS
        self._seen[path] = rough if is_over else fine
        return path not in self._live

    def _read(self, path: RunPath, folder: Path) -> FollowedRun | None:
        run = self._live.get(path) or FollowedRun(path, folder, self._index.cursor)
        try:
            deque(run.read(self._index), maxlen=0)
            found = self._stores.metadata.run(path)
            if found is not None and found.run.state == "running":
                self._live[path] = run
                self._seen.pop(path, None)
            else:
                deque(run.read(self._index, is_final=True), maxlen=0)  # nobody writes any more: look behind zeros, too
                self._live.pop(path, None)
        except (StorageError, OSError) as error:
            self._live.pop(path, None)
            if not folder.is_dir():  # removed under us
                return None
            raise StorageError(f"the run {path} in {folder} cannot be read: {error}") from error
        return run

    def _find_dead(self) -> None:
        """Tell the index of training processes of this machine that are no more."""
        if not self._live:
            return
        from ...server.watching.liveness import HOST
        from ..processes import is_alive

        for path, stream in self._stores.metadata.live():
            if stream.host == HOST and stream.pid is not None and not is_alive(stream.pid):
                self._stores.metadata.writer_gone(path, stream.id)

    def _tidy(self, is_trusted: bool) -> None:
        """Forget runs whose folders are gone; those in the trash have been moved away on purpose."""
        if not is_trusted:  # the folder cannot be listed: not mounted, perhaps
            return
        for row in self._stores.metadata.runs(limit=None).runs:
            if row.path not in self._folders and not row.path.folder(self.root).is_dir():
                self._index.forget(row.path)
                self._live.pop(row.path, None)
                self._seen.pop(row.path, None)

    def _remembered(self, known: Mapping[RunPath, RunRow]) -> None:
        try:
            entries = msgspec.msgpack.decode(self._memory.read_bytes(), type=dict[str, _Seen])
        except (OSError, msgspec.DecodeError):
            return
        for name, seen in entries.items():
            path = RunPath(*name.split("\n"))
            row = known.get(path)
            # The index may have been begun anew since: then it tells less of the run than it did.
            if row is not None and (row.points, row.updated_ns) == (seen.points, seen.updated_ns):
                self._seen[path] = seen.mark

    def _remember(self) -> None:
        entries = {
            "\n".join(row.path): _Seen(self._seen[row.path], row.points, row.updated_ns)
            for row in self._stores.metadata.runs(limit=None).runs
            if row.path in self._seen and row.path not in self._live and row.state != "running"
        }
        draft = self._memory.with_name(f"{self._memory.name}.{os.getpid()}")
        try:
            draft.write_bytes(msgspec.msgpack.encode(entries))
            os.replace(draft, self._memory)
        except OSError:  # only costs time at the next start
            draft.unlink(missing_ok=True)

    def _forget_marks(self, path: RunPath) -> None:
        self._seen.pop(path, None)
        self._live.pop(path, None)
        self._scan.forget(path)
        self._folders.pop(path, None)
        self._looked = 0.0


def _mark(folder: Path, *, is_over: bool) -> Signature:
    """Answer what changes when a run grows; once all its processes have said goodbye, only by a new stream."""
    if not is_over:
        return signature(folder)
    try:
        return (("", 0, 0, os.stat(f"{folder}/streams").st_mtime_ns),)
    except OSError:
        return (("", 0, 0, 0),)


def _info(row: RunRow, trashed: bool = False, details: Mapping[str, Any] | None = None) -> RunInfo:
    return RunInfo(
        path=row.path,
        name=row.name,
        state=row.state,
        created_ns=row.created_ns,
        updated_ns=row.updated_ns,
        ended_ns=row.ended_ns,
        group=row.group,
        job_type=row.job_type,
        tags=list(row.tags),
        notes=row.notes,
        host=row.host,
        config=dict(row.config),
        summary=dict(row.summary),
        last_step=row.last_step,
        points=row.points,
        trashed=trashed or row.trashed,
        details=details or {},
    )
