"""Bringing blobs and versions to a server on threads of their own, several at a time. Numbers never wait for them.

What is to be sent is a list of digests; the bytes stay on disk and are read while they are sent, so memory is flat
however much there is. A blob that broke off goes on where the server says. A version is claimed once all its blobs are
there. Nothing is final for the server's sake: whatever it answers, it is tried again, with the pauses of `Backoff`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .backoff import Backoff
from .blobs import FolderBlobs
from .blobs.remote import RemoteBlobs
from .connection import Connection
from .errors import DamagedBlob, StorageError, TrackerError, TransportError, UsageError
from .limits import (
    BACKOFF_FINISHING_SECONDS,
    MAX_DIGESTS,
    REFUSALS_BEFORE_SET_ASIDE,
    UPLOAD_THREADS,
)
from .paths import RunPath
from .progress import Progress

if TYPE_CHECKING:
    from .artifacts.version import Draft, Version

_POLL_SECONDS = 0.1
_MIB = 1 << 20
_LAST_WAIT_SECONDS = 0.2  # for the threads to let their connections go
_OTHER_BYTES = 422  # the server was sent what its digest does not name
_TOO_LARGE = 413
_FEW_DIGESTS = 100
_FEW_NEW = 3
_ENDED = "the run has ended; `tracker sync` sends it."


class Unsent(NamedTuple):
    """What is on this machine only.

    Args:
        blobs: How many files' worth of bytes.
        size: Their bytes, as they lie on disk.
        versions: Versions of artifacts that the server has not.
    """

    blobs: int = 0
    size: int = 0
    versions: int = 0


class Batch(NamedTuple):
    """Blobs that belong to one place on the server, and the folder where they are here.

    Args:
        local: The folder.
        path: The run whose own they are; None for those that all runs share.
    """

    local: FolderBlobs
    path: RunPath | None


@dataclass(eq=False)
class _Claim:
    place: Batch
    draft: Draft
    token: str
    done: Future[Version]
    waiting: set[str] = field(default_factory=set)  # blobs that are not there yet
    is_prepared: bool = False
    refusals: int = 0

    @property
    def collection(self) -> tuple[str, str, str]:
        """Which name it is a version of."""
        return self.draft.entity, self.draft.project, self.draft.name


@dataclass(eq=False)
class _Group:
    path: RunPath | None
    waiting: set[str]
    then: Callable[[], object]


@dataclass(eq=False)
class _Send:
    place: Batch
    digest: str
    refusals: int = 0
    is_again: bool = False


@dataclass(eq=False)
class _Ask:
    place: Batch
    digests: list[str]


_Job = _Send | _Ask | _Claim


class Uploading:
    """Sends what it is given. May be called from any thread; never raises for the server's sake.

    Args:
        connection: The server.
        say: Takes a sentence for the user.
        clock: Answers seconds that only go forward.
        threads: How many send at a time, at most; they begin when there is something to do.
        comfort: What is said behind each trouble.
        is_silent: Draw no progress bar.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        threads: int = UPLOAD_THREADS,
        comfort: str = "Training goes on, nothing is lost, it is tried again.",
        is_silent: bool = False,
    ) -> None:
        self._connection = connection
        self._say = say
        self._clock = clock
        self._most_threads = threads
        self._comfort = comfort
        self._is_silent = is_silent
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition(threading.RLock())
        self._backoff = Backoff(self._say, self._clock, comfort=self._comfort)
        self._not_before = 0.0
        self._failed_at = float("-inf")
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._busy: set[_Job] = set()
        self._queues: tuple[deque[_Send], deque[_Send]] = (deque(), deque())  # of a run's own, and shared
        self._turn = 0
        self._asks: deque[_Ask] = deque()
        self._claims: deque[_Claim] = deque()
        self._open_claims: list[_Claim] = []
        self._groups: list[_Group] = []
        self._pending: dict[tuple[RunPath | None, str], Batch] = {}
        self._progress_at = self._clock()
        self._is_finishing = False
        self._is_stopping = False
        self._set_aside = 0
        self.sent_bytes = 0
        self.sent_blobs = 0
        self.claimed = 0

    # --- what is asked of it -------------------------------------------------------------

    def add(
        self,
        place: Batch,
        digests: Iterable[str],
        then: Callable[[], object] | None = None,
        *,
        are_new: bool = False,
    ) -> None:
        """Send blobs, if the server lacks them. Returns at once.

        Args:
            place: Where they are, and where they go.
            digests: Which; what is on its way already is passed over.
            then: Called when nothing more is to be done for any of them.
            are_new: They were just made: the server surely lacks them, and a few are sent without asking first.
        """
        self._own()
        wanted = dict.fromkeys(digests)
        with self._changed:
            if self._is_stopping:
                return
            if then is not None:
                if wanted:
                    self._groups.append(_Group(place.path, set(wanted), then))
                else:
                    then()
            new = [digest for digest in wanted if (place.path, digest) not in self._pending]
            for digest in new:
                self._pending[place.path, digest] = place
            if are_new and len(new) < _FEW_NEW:
                self._queues[0].extend(_Send(place, digest) for digest in new)
            else:
                self._ask(place, new)
            self._call_threads()

    def claim(self, place: Batch, draft: Draft, token: str) -> Future[Version]:
        """Send what a version is made of, then claim it on the server. Returns at once.

        Args:
            place: Where its blobs and its manifest are.
            draft: The version.
            token: Made up by whoever logged it: claimed twice, it is one version.

        Returns:
            The version as the server has it. It fails where the server will never take it, and is cancelled where it
            was not taken before the end.
        """
        self._own()
        done: Future[Version] = Future()
        with self._changed:
            if self._is_stopping:
                done.cancel()
                return done
            claim = _Claim(place, draft, token, done)
            self._open_claims.append(claim)
            self._claims.append(claim)
            self._call_threads()
        return done

    def finish(self, stall_seconds: float, timeout: float | None = None) -> Unsent:
        """Send the rest, and end. Never raises for the server's sake, and never hangs.

        Args:
            stall_seconds: Return when the server has taken nothing for so long.
            timeout: Seconds after which to return in any case; None for no such limit.

        Returns:
            What could not be sent.
        """
        if os.getpid() != self._pid:  # a forked child that sent nothing: the threads are its parent's
            return Unsent()
        self.hurry()
        began = self._clock()
        with Progress("sending", "MiB", is_silent=self._is_silent, clock=self._clock) as bar, self._changed:
            while self._has_work():
                now = self._clock()
                rest = stall_seconds - (now - self._progress_at)
                if timeout is not None:
                    rest = min(rest, timeout - (now - began))
                if rest <= 0:
                    break
                bar.total = (self.sent_bytes + self._pending_bytes(400)) // _MIB
                bar.update(self.sent_bytes // _MIB)
                self._changed.wait(min(_POLL_SECONDS, rest))
        return self.stop()

    def hurry(self) -> None:
        """Let no pause be longer than a moment: the run is about to end."""
        self._own()
        with self._changed:
            if not self._is_finishing:
                self._is_finishing = True
                self._progress_at = self._clock()
                self._not_before = min(self._not_before, self._clock() + BACKOFF_FINISHING_SECONDS)
            self._changed.notify_all()

    def stop(self, wait_seconds: float = _LAST_WAIT_SECONDS) -> Unsent:
        """End now; answer what was not sent.

        Args:
            wait_seconds: For the threads to let their connections go.
        """
        with self._changed:
            self._is_stopping = True
            unsent = self._unsent()
            claims, self._open_claims = self._open_claims, []
            self._changed.notify_all()
        for claim in claims:
            claim.done.cancel()
        limit = self._clock() + wait_seconds
        for thread in self._threads:
            thread.join(max(0.0, limit - self._clock()))
        if self._set_aside > 1:  # one was told when it happened
            self._say(f"{self._set_aside:,} files could not be sent to {self._connection.address}.")
        return unsent

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing left to do."""
        with self._changed:
            return not self._has_work()

    # --- the queues; called with the lock ------------------------------------------------

    def _own(self) -> None:
        if os.getpid() != self._pid:  # forked: threads, lock and connection are the parent's
            self._connection = self._connection.twin()
            self._begin()

    def _ask(self, place: Batch, digests: list[str]) -> None:
        for start in range(0, len(digests), MAX_DIGESTS):
            self._asks.append(_Ask(place, digests[start : start + MAX_DIGESTS]))

    def _has_work(self) -> bool:
        return bool(self._pending or self._open_claims)

    def _unsent(self) -> Unsent:
        return Unsent(len(self._pending), self._pending_bytes(), len(self._open_claims))

    def _pending_bytes(self, most: int | None = None) -> int:
        total = 0
        for number, ((_, digest), place) in enumerate(self._pending.items()):
            if number == most:  # enough for a bar
                return total * len(self._pending) // number
            try:
                total += place.local.stored(digest)[0].stat().st_size
            except OSError:
                continue
        return total

    def _call_threads(self) -> None:
        waiting = len(self._asks) + len(self._claims) + sum(map(len, self._queues))
        while len(self._threads) < self._most_threads and self._idle < waiting:
            thread = threading.Thread(target=self._work, name=f"tracker-upload-{len(self._threads) + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending: what is left is sent by `tracker sync`
                return
            self._threads.append(thread)
            self._idle += 1
        self._changed.notify_all()

    def _take(self) -> _Job | None:
        """Take what to do next: questions first, then a run's own bytes and shared ones in turn."""
        if self._asks:
            return self._asks.popleft()
        if self._claims:
            return self._claims.popleft()
        self._turn = 1 - self._turn
        for queue in (self._queues[self._turn], self._queues[1 - self._turn]):
            if queue:
                return queue.popleft()
        return None

    def _put_back(self, job: _Job) -> None:
        if isinstance(job, _Ask):
            self._asks.appendleft(job)
        elif isinstance(job, _Claim):
            self._claims.append(job)  # behind the others: it may be the one that is refused
        else:
            self._queues[0 if job.place.path else 1].appendleft(job)

    def _settle(self, place: Batch, digests: Iterable[str]) -> None:
        """Take note that the server has blobs."""
        known = set(digests)
        self._forget(place, known)
        if place.path is None:
            for claim in self._open_claims:
                if not claim.waiting.isdisjoint(known):
                    claim.waiting -= known
                    self._post_when_ready(claim)
        self._progress_at = self._clock()

    def _post_when_ready(self, claim: _Claim) -> None:
        """Claim a version whose blobs are there, unless one that was logged before it is still on its way.

        So numbers there are in the order of numbers here.
        """
        first = next((other for other in self._open_claims if other.collection == claim.collection), claim)
        if claim.is_prepared and not claim.waiting and first is claim:
            self._claims.append(claim)
            self._call_threads()

    def _close(self, claim: _Claim) -> None:
        """Take a claim off the list, and let the next one of the same name go on."""
        if claim not in self._open_claims:
            return
        self._open_claims.remove(claim)
        after = next((other for other in self._open_claims if other.collection == claim.collection), None)
        if after is not None:
            self._post_when_ready(after)

    def _forget(self, place: Batch, digests: set[str]) -> None:
        for digest in digests:
            self._pending.pop((place.path, digest), None)
        for group in [group for group in self._groups if group.path == place.path]:
            group.waiting -= digests
            if not group.waiting:
                self._groups.remove(group)
                group.then()

    # --- the threads ---------------------------------------------------------------------

    def _work(self) -> None:
        connection = self._connection.twin()
        remotes: dict[RunPath | None, RemoteBlobs] = {}
        try:
            while (job := self._next()) is not None:
                began = self._clock()
                try:
                    self._do(job, connection, remotes)
                except TransportError as error:
                    self._failed(job, error, began)
                except (OSError, TrackerError) as error:
                    self._give_up(job, str(error))
                except Exception as error:  # the threads must live as long as the run
                    self._give_up(job, f"an unexpected fault: {type(error).__name__}: {error}")
                else:
                    with self._changed:
                        self._backoff.succeeded(connection.address)
                finally:
                    with self._changed:
                        self._busy.discard(job)
                        self._idle += 1
                        self._changed.notify_all()
                del job
        finally:
            connection.close()

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._is_stopping:
                pause = self._not_before - self._clock()
                if pause <= 0 and (job := self._take()) is not None:
                    self._idle -= 1
                    self._busy.add(job)
                    return job
                self._changed.wait(pause if pause > 0 else None)
            return None

    def _do(self, job: _Job, connection: Connection, remotes: dict[RunPath | None, RemoteBlobs]) -> None:
        if len(remotes) > 64:  # `tracker sync` goes through many runs
            remotes.clear()
        remote = remotes.setdefault(job.place.path, RemoteBlobs(connection, job.place.path, self._clock))
        if isinstance(job, _Ask):
            self._find_out(job, remote)
        elif isinstance(job, _Send):
            self._send(job, remote)
        elif not job.is_prepared:
            self._prepare(job)
        else:
            self._post(job, connection)

    def _find_out(self, job: _Ask, remote: RemoteBlobs) -> None:
        missing = remote.missing(job.digests)
        with self._changed:
            self._settle(job.place, set(job.digests).difference(missing))
            self._queues[0 if job.place.path else 1].extend(_Send(job.place, digest) for digest in missing)
            self._call_threads()

    def _send(self, job: _Send, remote: RemoteBlobs) -> None:
        is_again, job.is_again = job.is_again, True
        remote.send(job.place.local, job.digest, is_again=is_again, told=self._told)
        with self._changed:
            self.sent_blobs += 1
            self._settle(job.place, [job.digest])

    def _told(self, count: int) -> None:
        with self._changed:
            self.sent_bytes += count
            self._progress_at = self._clock()
            if self._is_stopping:
                raise TransportError(_ENDED)

    def _prepare(self, claim: _Claim) -> None:
        """Find what a version is made of, and send that first."""
        from .artifacts.manifest import Manifest

        manifest = Manifest.load(claim.place.local.read(claim.draft.manifest))
        needed = {claim.draft.manifest, *manifest.blobs()}
        with self._changed:
            claim.is_prepared = True
            claim.waiting = needed
            self._want(claim.place, needed)

    def _want(self, place: Batch, digests: Iterable[str]) -> None:
        new = [digest for digest in sorted(digests) if (place.path, digest) not in self._pending]
        for digest in new:
            self._pending[place.path, digest] = place
        self._ask(place, new)
        self._call_threads()

    def _post(self, claim: _Claim, connection: Connection) -> None:
        from .artifacts.remote import MissingBlobs, RemoteCatalogue

        try:
            version = RemoteCatalogue(connection, stall_seconds=0).claim(claim.draft, claim.token)
        except MissingBlobs as error:  # it has lost some, or cleaned up meanwhile
            with self._changed:
                claim.refusals += 1
                if claim.refusals > REFUSALS_BEFORE_SET_ASIDE:
                    raise StorageError(f"the server loses what it is sent: {error}") from error
                claim.waiting = set(error.digests)
                for digest in error.digests:
                    self._pending.pop((None, digest), None)
                self._want(claim.place, error.digests)
            return
        with self._changed:
            self._close(claim)
            self.claimed += 1
            self._progress_at = self._clock()
        with contextlib.suppress(InvalidStateError):  # nobody waits any more
            claim.done.set_result(version)

    def _failed(self, job: _Job, error: TransportError, began: float) -> None:
        if error.status == _OTHER_BYTES and isinstance(job, _Send) and self._is_hopeless(job):
            return
        if error.status == _TOO_LARGE and isinstance(job, _Ask) and len(job.digests) > _FEW_DIGESTS:
            half = len(job.digests) // 2  # a proxy on the way takes less than the server
            with self._changed:
                self._asks.extendleft((_Ask(job.place, job.digests[:half]), _Ask(job.place, job.digests[half:])))
            return
        with self._changed:
            self._put_back(job)
            if self._is_stopping or began < self._failed_at:  # the others have met the same fault
                return
            self._failed_at = self._clock()
            wait = self._backoff.failed(error, began, is_finishing=self._is_finishing)
            self._not_before = self._clock() + wait

    def _is_hopeless(self, job: _Send) -> bool:
        """Look whether the bytes that the server refuses are damaged here, or are refused again and again."""
        job.refusals += 1
        job.is_again = False
        try:
            job.place.local.read(job.digest)
        except (OSError, DamagedBlob) as error:
            self._give_up(job, str(error))
            return True
        if job.refusals >= REFUSALS_BEFORE_SET_ASIDE:
            self._give_up(job, f"{self._connection.address} refuses the bytes of {job.digest}.")
            return True
        return False

    def _give_up(self, job: _Job, why: str) -> None:
        """Let go of what cannot be sent: it is not here, is damaged, or is refused for what it is."""
        failed: list[_Claim] = []
        with self._changed:
            if isinstance(job, _Claim):
                failed = [job]
            else:
                digests = [job.digest] if isinstance(job, _Send) else job.digests
                self._forget(job.place, set(digests))
                if job.place.path is None:
                    failed = [claim for claim in self._open_claims if claim.waiting.intersection(digests)]
                if not failed:
                    self._set_aside += len(digests)
            for claim in failed:
                self._close(claim)
        for claim in failed:
            name = f"{claim.draft.entity}/{claim.draft.project}/{claim.draft.name}"
            with contextlib.suppress(InvalidStateError):
                claim.done.set_exception(UsageError(f"a version of {name} cannot be sent: {why}"))
            self._say(f"a version of {name} cannot be sent: {why}")
        if not failed and self._set_aside <= 1:
            self._say(f"a file cannot be sent: {why}")
