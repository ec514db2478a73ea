"""What a run makes and reads: logged in milliseconds, stored by a thread of its own, in order.

What only storing and looking up need is imported there: the training thread must not wait for it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..complaints import is_strict
from ..errors import ChangedError, TrackerError, TransportError, UsageError
from ..limits import CATALOGUE_STALL_SECONDS, FINISH_STALL_SECONDS, FINISH_SYNC_STALLS
from ..progress import Progress
from ..record import Kind
from .artifact import Artifact, names_of, plain_metadata
from .contents import Contents
from .header import Header, edge_body
from .pending import Pending
from .snapshot import Snapshot
from .version import LATEST, Actor, Draft, Name, Version, parse_name

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ..run import Run
    from .completing import Completed
    from .place import Place

_POLL_SECONDS = 0.05


class _Job:
    """An artifact that waits for its bytes to be kept."""

    def __init__(self, artifact: Artifact, snapshot: Snapshot, header: Header, pending: Pending) -> None:
        self.artifact = artifact
        self.snapshot = snapshot
        self.header = header
        self.pending = pending
        self.done_bytes = 0


class RunArtifacts:
    """The artifacts of a run.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._pid = os.getpid()
        self._root = run.folder.parents[2]
        self._queue: deque[_Job] = deque()
        self._changed = threading.Condition(threading.RLock())  # a signal handler may log, too
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed = 0
        self._is_over = False
        self._remote: Place | None = None
        self._last: dict[str, Pending] = {}  # by name, what was logged last
        self._following = 0  # versions that the server has been asked to take, and has not answered

    @property
    def place(self) -> Place:
        """The folder of runs."""
        from .place import local_place

        return local_place(self._root)

    # --- logging -------------------------------------------------------------------------

    def log(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: Sequence[str] | str | None = None,
        tags: Sequence[str] | str | None = None,
        **header: Any,
    ) -> Artifact:
        """Log an artifact, or a file, a folder or an address as one. Nothing waits for its bytes.

        Returns:
            The artifact. Where it cannot be kept that is said, and its `wait()` raises.

        Raises:
            UsageError: Only under `TRACKER_STRICT=1`.
        """
        try:
            artifact = self._artifact(artifact_or_path, name, type)
            return self._log(artifact, names_of(aliases), _texts(tags), header)
        except Exception as error:  # whatever it is: training goes on
            if is_strict():
                raise
            self._failed += 1
            self._run._complaints.say(f"an artifact is not logged: {error}")
            if isinstance(artifact_or_path, Artifact) and not artifact_or_path.is_draft():
                return artifact_or_path
            failed = artifact_or_path if isinstance(artifact_or_path, Artifact) else Artifact("failed", "unspecified")
            failed._pending = Pending()
            failed._pending.fail(error)
            return failed

    def _artifact(self, given: Any, name: str | None, type: str | None) -> Artifact:
        if isinstance(given, Artifact):
            return given
        if not isinstance(given, (str, os.PathLike)):
            raise UsageError(f"log_artifact takes an Artifact or a path, got a {given.__class__.__name__}.")
        text = os.fspath(given)
        base = Path(text.rstrip("/")).name or "files"
        artifact = Artifact(name or f"run-{self._run.id}-{_plain(base)}", type or "unspecified")
        artifact._contents = Contents(self._root)
        if "://" in text:
            artifact.add_reference(text)
        elif os.path.isdir(text):
            artifact.add_dir(text)
        else:
            artifact.add_file(text)
        return artifact

    def _log(self, artifact: Artifact, aliases: list[str], tags: list[str], more: dict[str, Any]) -> Artifact:
        if self._is_over or (self._run._state is not None and not self._run._is_ending):
            raise UsageError(f"the run {self._run.name!r} has ended; begin another: tracker.init().")
        if artifact._failure is not None:
            raise artifact._failure
        if not artifact.is_draft():
            return self._again(artifact, aliases, tags, more)
        contents = artifact._contents or Contents(self._root)
        artifact._contents = contents
        by = Actor.here(self._run.path)
        wanted = dict.fromkeys((*artifact.aliases, *aliases))
        header = Header(
            draft=Draft(
                entity=self._run.entity,
                project=self._run.project,
                name=artifact._base_name,
                type=artifact.type,
                digest="",
                manifest="",
                description=artifact.description,
                metadata=plain_metadata(artifact.metadata),  # it may hold anything by now
                aliases=tuple(alias for alias in wanted if alias != LATEST),
                tags=tuple(dict.fromkeys((*artifact.tags, *tags))),
                created_ns=self._run._clock.now_ns(),
                run=self._run.path,
                ttl_days=artifact._ttl_days,
            ),
            incremental=artifact.incremental,
            removed=sorted(contents.removed) if artifact.incremental else [],
            server=self._run._base_url,
            user=by.user,
            host=by.host,
            **more,
        )
        snapshot = contents.keep()
        snapshot.save(header.dump())
        pending = Pending()
        artifact._pending, artifact._logged_by = pending, self._run
        self._last[artifact._base_name] = pending
        job = _Job(artifact, snapshot, header, pending)
        has_thread = self._has_thread()  # begun before it has work: else its imports would come first
        with self._changed:
            self._queue.append(job)
            self._changed.notify_all()
        if not has_thread:
            self._work_off()
        return artifact

    def _again(self, artifact: Artifact, aliases: list[str], tags: list[str], more: dict[str, Any]) -> Artifact:
        """Log an artifact that is logged already: its version takes the aliases, and has one more maker."""
        version = artifact._settled("logging it again")
        origin = artifact._origin() if version.source is not None else version
        draft = Draft(
            **{
                name: getattr(origin, name)
                for name in Draft.__struct_fields__
                if name not in ("aliases", "tags", "run")
            },
            aliases=tuple(alias for alias in aliases if alias != LATEST),
            tags=tuple(tags),
            run=self._run.path,
        )
        place = artifact._of_place()
        found = place.catalogue.claim(draft, os.urandom(8).hex(), Actor.here(self._run.path))
        self._record(found, "output")
        for path, names in more.get("links", ()):
            self._link(found, path, names)
        artifact._take(found)
        return artifact

    # --- using ---------------------------------------------------------------------------

    def use(
        self,
        artifact_or_name: Any,
        type: str | None = None,
        aliases: Sequence[str] | str | None = None,
        use_as: str | None = None,
    ) -> Artifact:
        """Take note that the run reads a version, and answer it.

        Raises:
            UsageError: There is no such version, it is of another type, or it is revoked.
            StorageError, TransportError: It cannot be looked up.
        """
        if isinstance(artifact_or_name, Artifact):
            if artifact_or_name.is_draft():
                return self.log(artifact_or_name, aliases=aliases, is_input=True, use_as=use_as)
            artifact = artifact_or_name
            version = artifact._settled("use_artifact")
        else:
            found_in, version = self._find(artifact_or_name)
            artifact = Artifact._from_version(found_in, version, self._run)
        if type is not None and version.type != type:
            raise UsageError(f"{version.path} is of type {version.type!r}, not {type!r}.")
        place = artifact._of_place()
        self._check_revoked(place, version)
        by = Actor.here(self._run.path)
        for alias in names_of(aliases):
            if alias not in version.aliases:
                place.catalogue.alias(version, alias, by)
        self._record(version, "input", use_as)
        try:
            place.catalogue.use(version, self._run.path, use_as, by)
            artifact._reload(version)
        except TransportError as error:  # it is used all the same
            self._run._complaints.say(f"the server takes no note that the run reads {version.path}: {error}")
        return artifact

    def _find(self, name: str) -> tuple[Place, Version]:
        """Find a version: online on the server first, then among those that are only here."""
        where = (self._run.entity, self._run.project)
        self._wait_for(parse_name(name, *where))
        remote = self._server()
        if remote is None:
            return self.place, self.place.find(name, *where)
        try:
            return remote, remote.find(name, *where)
        except (UsageError, TransportError) as error:
            try:
                found = self.place.find(name, *where)
            except UsageError:
                raise error from None
            self._run._complaints.say(f"{name!r} is taken from this machine: {error}")
            return self.place, found

    def _wait_for(self, name: Name) -> None:
        """Wait for what this run itself has logged under a name, and is on its way."""
        pending = self._last.get(name.name)
        if pending is None or (name.entity, name.project) != (self._run.entity, self._run.project):
            return
        with self._changed:
            while any(job.pending is pending for job in self._queue) and self._thread is not threading.current_thread():
                self._changed.wait()
        with contextlib.suppress(TrackerError, TimeoutError):  # it is looked for all the same
            pending.wait(CATALOGUE_STALL_SECONDS)

    def _server(self) -> Place | None:
        """Answer the server's place; None where the run sends nothing."""
        if self._run._delivery is None or self._run._base_url is None:
            return None
        if self._remote is None:
            key = getattr(self._run.settings, "api_key", None)
            from .place import remote_place

            self._remote = remote_place(self._run._base_url, key, self._root)
        return self._remote

    def _check_revoked(self, place: Place, version: Version) -> None:
        versions = [version] if version.source is None else [version, place.find(version.source)]
        for each in versions:
            if each.is_revoked:
                raise UsageError(
                    f"{each.path} is revoked and must not be used. Use another version, or take the alias away: "
                    f"tracker artifact alias {each.path} --remove revoked"
                )

    # --- linking -------------------------------------------------------------------------

    def link(self, artifact: Artifact, target_path: str, aliases: Sequence[str] | str | None = None) -> Artifact:
        """Link a version into a registry; one that is not stored yet is linked once it is.

        Raises:
            UsageError: The target names no collection, or an alias cannot be one.
        """
        from .registry import target

        target(target_path)
        names = names_of(aliases)
        if artifact.is_draft():
            return self.log(artifact, links=[(target_path, names)])
        if artifact.state == "PENDING":
            with self._changed:  # the worker looks at the header under the same lock
                job = next((each for each in self._queue if each.artifact is artifact), None)
                if job is not None and job is not self._queue[0]:
                    job.header.links.append((target_path, names))
                    job.snapshot.save(job.header.dump())
                    return artifact
        return self._link(artifact._settled("link_artifact"), target_path, names)

    def _link(self, version: Version, path: str, aliases: Sequence[str]) -> Artifact:
        from .registry import link, target

        registry, collection = target(path)
        by = Actor.here(self._run.path)
        place = self._server() or self.place
        try:
            linked = link(place.catalogue, version, registry, collection, aliases, by)
        except TransportError as error:
            found = self.place.catalogue.version(version.entity, version.project, version.name, version.digest)
            if found is None:
                raise
            place = self.place
            linked = link(place.catalogue, found, registry, collection, aliases, by)
            self._run._complaints.say(
                f"{version.path} is linked to {path!r} on this machine only: {error} Send it with: tracker sync"
            )
        return Artifact._from_version(place, linked, self._run)

    def _record(self, version: Version, use: str, use_as: str | None = None) -> None:
        self._run._record(Kind.ARTIFACT, edge_body(version, use, use_as))

    # --- the thread ----------------------------------------------------------------------

    def _has_thread(self) -> bool:
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="tracker-artifacts", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is ending, or there are too many threads
                    return False
                self._thread = thread
            return self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._is_over:
                    self._changed.wait()
                if not self._queue:
                    return
                job = self._queue[0]
            self._do(job)
            with self._changed:
                self._queue.popleft()
                self._changed.notify_all()

    def _work_off(self) -> None:
        """Without a thread: do it here."""
        while self._queue:
            self._do(self._queue[0])
            self._queue.popleft()

    def _do(self, job: _Job) -> None:
        from .completing import complete
        from .storing import StoppedError

        if self._stop.is_set():
            self._leave(job)
            return

        def progress(done: int, _total: int) -> None:
            job.done_bytes = done

        try:
            before = self._server() if job.header.incremental else None
            found = complete(job.snapshot, self.place, progress, self._stop, before)
        except StoppedError:
            self._leave(job)
        except Exception as error:  # whatever a disk has in store; the next artifact is another matter
            self._fail(job, error)
        else:
            self._completed(job, found)

    def _completed(self, job: _Job, found: Completed) -> None:
        for note in job.snapshot.notes:
            self._run._complaints.once(f"artifact note: {note[:60]}", note)
        if found.version is None:  # a part; the version is made by who says that all are there
            job.snapshot.discard()
            job.pending.succeed(None)
            return
        self._record(found.version, "output")
        if job.header.is_input:
            self._record(found.version, "input", job.header.use_as)
        job.artifact._place = self.place
        remote, uploads = self._server(), self._run._uploads
        if remote is None or uploads is None:
            job.snapshot.discard()
            job.pending.succeed(found.version)
            return
        with self._changed:
            self._following += 1
        # Word of it is taken back once its links are made, too.
        uploads.claim(found.draft(job.header), job.snapshot.token, lambda done: self._claimed(job, remote, done))
        job.snapshot.discard()  # from here on, word of it is with the uploads

    def _claimed(self, job: _Job, remote: Place, done: Future[Version]) -> None:
        """The server has answered, or will not any more."""
        try:
            if done.cancelled():
                job.pending.fail(TransportError("the server has not taken it yet. Send it with: tracker sync"))
            elif (error := done.exception()) is not None:
                job.pending.fail(error)
            else:
                version = done.result()
                self._follow(job, remote, version)
                job.artifact._place = remote
                job.pending.succeed(version)
        finally:
            with self._changed:
                self._following -= 1
                self._changed.notify_all()

    def _follow(self, job: _Job, remote: Place, version: Version) -> None:
        """Do on the server what a version is to have beside itself."""
        from .registry import link, link_token, target

        by = job.header.actor
        try:
            if job.header.is_input:
                remote.catalogue.use(version, self._run.path, job.header.use_as, by)
            tokens = []
            for path, aliases in job.header.links:
                registry, collection = target(path)
                tokens.append(link_token(job.snapshot.token, path))
                link(remote.catalogue, version, registry, collection, aliases, by, tokens[-1])
            if tokens:
                from .replaying import Replay

                Replay(self._root, remote.catalogue, remote.name).note(tokens)
        except Exception as error:  # on a thread of the uploads: the version is there all the same
            self._run._complaints.say(
                f"{version.path} is not linked, or not noted as used, on the server: {error} "
                "Links are made by: tracker sync"
            )

    def _fail(self, job: _Job, error: Exception) -> None:
        self._failed += 1
        name = job.artifact._base_name
        if isinstance(error, (ChangedError, UsageError)):
            self._run._complaints.say(f"the artifact {name!r} is not kept: {error}")
            job.snapshot.discard()
        else:
            self._run._complaints.say(
                f"the artifact {name!r} is not stored yet: {error} What it holds is safe; "
                "the next run, or `tracker sync`, completes it."
            )
            self._leave(job, error)
            return
        job.pending.fail(error)

    def _leave(self, job: _Job, error: Exception | None = None) -> None:
        """Let another process complete it."""
        from .completing import leave

        leave(job.snapshot)
        job.pending.fail(
            error or TrackerError("the run has ended before it was stored; the next run, or `tracker sync`, does it.")
        )

    # --- the end -------------------------------------------------------------------------

    def finish(self, stall_seconds: float | None = None, timeout: float | None = None) -> None:
        """Wait until all is stored, as long as there is progress; what is left is for the next process.

        Args:
            stall_seconds: Give up when nothing was stored for so long; 0 waits for nothing.
            timeout: Give up after so many seconds in any case.
        """
        if os.getpid() != self._pid:
            return
        stall = FINISH_STALL_SECONDS if stall_seconds is None else stall_seconds
        if stall > 0:
            self._wait(stall, timeout)
        self._is_over = True
        self._stop.set()
        left = len(self._queue)
        if stall > 0:  # else the process is dying, perhaps within a handler that must not wait for a lock
            with self._changed:
                left = len(self._queue)
                self._changed.notify_all()
        if left:
            self._run._complaints.say(
                f"{left} artifacts are not stored yet. The next run on this machine completes them, or: tracker sync"
            )
        if self._failed:
            self._run._complaints.say(f"{self._failed} artifacts could not be logged; see above.")

    def settle(self, stall_seconds: float) -> None:
        """Wait until what follows the server's answers is done; the uploads have ended by then.

        Args:
            stall_seconds: How long at most.
        """
        limit = time.monotonic() + stall_seconds
        with self._changed:
            while self._following and (rest := limit - time.monotonic()) > 0:
                self._changed.wait(rest)

    def _wait(self, stall: float, timeout: float | None) -> None:
        end = None if timeout is None else time.monotonic() + timeout
        before: tuple[int, int] | None = None
        limit = 0.0
        with Progress("storing", "bytes", is_silent=self._run._complaints.is_silent) as bar, self._changed:
            while self._queue and self._thread is not None and self._thread.is_alive():
                if (mark := self._mark()) != before:
                    before, limit = mark, time.monotonic() + stall * (FINISH_SYNC_STALLS if self._is_read() else 1)
                now = time.monotonic()
                if now > limit or (end is not None and now > end):
                    return
                self._changed.wait(_POLL_SECONDS)
                doing = ", waiting for the disk" if self._is_read() else ""
                bar.total = sum(job.snapshot.size for job in self._queue)
                bar.update(sum(job.done_bytes for job in self._queue), f"{len(self._queue)} artifacts{doing}")

    def _is_read(self) -> bool:
        """Answer whether all bytes of the first one are read: what is left is that the disk has them."""
        return bool(self._queue) and self._queue[0].done_bytes >= self._queue[0].snapshot.size

    def _mark(self) -> tuple[int, int]:
        return len(self._queue), sum(job.done_bytes for job in list(self._queue))


def _texts(values: Sequence[str] | str | None) -> list[str]:
    return [values] if isinstance(values, str) else [str(value) for value in values or ()]


def _plain(name: str) -> str:
    return "".join("-" if char in '/\\:?#"<>|*' or ord(char) < 32 else char for char in name)
