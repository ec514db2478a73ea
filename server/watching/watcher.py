"""The watcher of `tracker ui`: finds the runs in the folder, follows the live ones, and keeps the index in step.

It reads only. Folders are looked at through their modification times, which also network file systems keep; all are
looked through once a minute for those that do not. Each run is read by itself: one that is broken waits longer and
longer before it is tried again, and never holds up the others.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path

from ...core.errors import StorageError
from ...core.paths import RunPath
from ..index import Index
from ..limits import (
    FOLLOW_SECONDS,
    IDLE_SECONDS,
    LIVENESS_SECONDS,
    MAX_FOLLOW_BACKOFF_SECONDS,
    RESCAN_SECONDS,
    SCAN_SECONDS,
)
from ..trash import trashed_folders
from ..trouble import StoreTroubleError, store_trouble
from .following import FollowedRun, Signature, signature
from .liveness import Liveness, Tells
from .scanning import FolderScan
from .taking import Taken
from .watched import WatchedMemory

_log = logging.getLogger("tracker.server")
_SLICE_SECONDS = 0.2  # of work on one pile before the others have their turn
_LOOK_SECONDS = 0.02  # of looking at quiet runs, each round
_SETTLE_SECONDS = 5.0  # a run that ended is followed so much longer: another process may have a last word
_SILENT_SECONDS = 2.0  # between looks at a run that fell silent
_GIVE_UP_SECONDS = 3600.0  # a silent run rests after this long, and is looked at once a minute only


class _Watch:
    """What the watcher remembers of a run; small, since there may be thousands."""

    __slots__ = ("due", "failures", "folder", "grown", "is_waiting", "looked", "path", "run", "seen", "streams_mtime")

    def __init__(self, path: RunPath, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.run: FollowedRun | None = None  # only while it is read
        self.is_waiting = False  # in the backlog
        self.seen: Signature = ()
        self.streams_mtime = 0
        self.looked = 0.0
        self.grown = 0.0  # when it last gained anything
        self.due = 0.0  # when it is read next, while it is live
        self.failures = 0


class Watcher:
    """Keeps the index in step with a folder of runs, on a thread of its own.

    Args:
        root: The folder of all runs.
        index: Takes the records in, and answers what it has already.
        liveness: Finds dead processes.
        tell: Is told which parts of a run changed.
        memory: Keeps what was read completely over a restart.
        now: A clock in seconds that only goes forward.
    """

    def __init__(
        self,
        root: Path,
        index: Index,
        liveness: Liveness,
        tell: Tells,
        memory: WatchedMemory,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.root = root
        self.is_behind = True  # the first pass over the folder is not done yet
        self._index = index
        self._liveness = liveness
        self._tell = tell
        self._memory = memory
        self._now = now
        self._scan = FolderScan(root)
        self._watches: dict[RunPath, _Watch] = {}
        self._live: dict[RunPath, _Watch] = {}
        self._backlog: deque[_Watch] = deque()  # newest last
        self._readings: dict[RunPath, Generator[Taken, None, None]] = {}  # long ones, interrupted
        self._thrown_away: deque[tuple[RunPath, Path]] = deque()
        self._circle: deque[RunPath] = deque()  # quiet runs, in the order they are looked at
        self._next_scan = self._next_full = self._next_liveness = 0.0
        self._stop = threading.Event()
        self._poked = threading.Event()
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._work, name="tracker-watcher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """End; what was read completely is remembered."""
        self._stop.set()
        self._poked.set()
        self._thread.join(timeout)
        self._memory.save()

    def poke(self) -> None:
        """Look again now."""
        self._next_scan = 0.0
        self._poked.set()

    def hold(self) -> threading.RLock:
        """Answer a lock that keeps the watcher still while a request moves a run's folder."""
        return self._lock

    def drop(self, path: RunPath) -> None:
        """Forget a run whose folder was moved away; the index keeps it. Called while holding."""
        self._watches.pop(path, None)
        self._live.pop(path, None)
        self._readings.pop(path, None)
        self._memory.forget(path)
        self._scan.forget(path)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                with self._lock:
                    wait = self.round()
            except Exception as error:  # never the end of watching; the next round tries again
                if trouble := store_trouble(error):
                    _log.warning("the watcher waits: %s", trouble)
                else:
                    _log.error("the watcher met a fault and goes on", exc_info=error)
                wait = IDLE_SECONDS
            self._poked.wait(wait)
            self._poked.clear()

    def round(self) -> float:
        """Do one round of all there is to do; answer how many seconds to wait before the next."""
        now = self._now()
        if now >= self._next_scan:
            self._next_scan = now + SCAN_SECONDS
            is_full = now >= self._next_full
            if is_full:
                self._next_full = now + RESCAN_SECONDS
            self._look_for_runs(is_full)
        self._follow_live()
        self._work_off_backlog()
        self._look_at_quiet()
        if self._thrown_away and not self._backlog:
            self._look_at_trash()
        if now >= self._next_liveness:
            self._next_liveness = now + LIVENESS_SECONDS
            self._liveness.sweep()
            self._memory.save_if_due()
        if self._backlog or self._thrown_away or self._readings:
            return 0.002  # the lock is free for a moment: requests that wait for it get their turn
        self.is_behind = False
        return FOLLOW_SECONDS if self._live else IDLE_SECONDS

    # --- which runs there are ------------------------------------------------------------

    def _look_for_runs(self, is_full: bool) -> None:
        found = self._scan.look(is_full=is_full)
        known = self._index.known() if found.is_first or len(found.appeared) > 10 else None
        thrown_away: dict[RunPath, Path] = {}
        if is_full or found.vanished or found.appeared:
            thrown_away = dict(trashed_folders(self.root))
        if found.is_first and known is not None:
            there = {path for path, _ in found.appeared}
            found.vanished += [path for path in known if path not in there]
        waiting: list[tuple[int, _Watch]] = []
        for path, folder in found.appeared:
            if path in self._watches:
                continue
            watch = self._watches[path] = _Watch(path, folder)
            self._circle.append(path)
            state = known.get(path) if known is not None else self._index.is_trashed(path)
            if state and path in thrown_away:  # a new run of the name of one that was thrown away
                self._index.forget(path)
            elif state:  # brought back by somebody else
                self._index.metadata.set_trashed(path, False)
                self._tell(path, {"trash"}, True)
            mark = signature(folder)
            if state is False and self._memory.has(path, mark, self._index.cursor):
                watch.seen, watch.streams_mtime, watch.looked = mark, _mtime(folder), self._now()
                continue
            watch.is_waiting = True
            waiting.append((max((item[3] for item in mark), default=0), watch))
        waiting.sort(key=lambda item: item[0])
        self._backlog.extend(watch for _, watch in waiting)
        for path in found.vanished:
            self._watches.pop(path, None)
            self._live.pop(path, None)
            self._readings.pop(path, None)
            self._memory.forget(path)
            if path not in thrown_away:
                self._index.forget(path)
                self._tell(path, {"removed"}, True)
        self._thrown_away.extend(item for item in thrown_away.items() if item[0] not in self._watches)

    def _look_at_trash(self) -> None:
        """Have what others moved to the trash, or an index made anew does not know, listed there."""
        until = self._now() + _SLICE_SECONDS
        while self._thrown_away and self._now() < until and not self._stop.is_set():
            path, folder = self._thrown_away.popleft()
            if path in self._watches or (is_trashed := self._index.is_trashed(path)):
                continue
            try:
                if is_trashed is None:
                    deque(FollowedRun(path, folder, self._index.cursor).read(self._index, is_final=True), maxlen=0)
                if self._index.metadata.set_trashed(path, True):
                    self._tell(path, {"trash"}, True)
            except (StoreTroubleError, StorageError, OSError) as error:
                _log.warning("run %s in the trash cannot be read (%s)", path, error)

    # --- reading them --------------------------------------------------------------------

    def _follow_live(self) -> None:
        now = self._now()
        for watch in list(self._live.values()):
            if self._stop.is_set():
                return
            if now >= watch.due:
                self._read(watch, self._now() + _SLICE_SECONDS)

    def _work_off_backlog(self) -> None:
        until = self._now() + _SLICE_SECONDS
        while self._backlog and self._now() < until and not self._stop.is_set():
            watch = self._backlog[-1]
            if self._watches.get(watch.path) is watch and not self._read(watch, until):
                return  # a long one: it goes on in the next round
            watch.is_waiting = False
            self._backlog.pop()

    def _read(self, watch: _Watch, until: float) -> bool:
        """Read what a run has gained; False where there is more than fits before `until`."""
        is_new = watch.run is None and not watch.seen and not self._index.has(watch.path)
        if watch.run is None:
            watch.run = FollowedRun(watch.path, watch.folder, self._index.cursor)
        mark, mtime = signature(watch.folder), _mtime(watch.folder)
        reading = self._readings.pop(watch.path, None) or watch.run.read(self._index)
        parts: set[str] = set()
        try:
            for taken in reading:
                parts |= taken.parts
                if self._now() >= until or self._stop.is_set():
                    self._readings[watch.path] = reading
                    self._say(watch, parts, is_new)
                    return False
            self._say(watch, parts, is_new)
            watch.failures = 0
            watch.seen, watch.streams_mtime, watch.looked = mark, mtime, self._now()
            if parts or not watch.grown:
                watch.grown = self._now()
            self._settle(watch)
        except Exception as error:
            self._put_off(watch, error)
        return True

    def _say(self, watch: _Watch, parts: set[str], is_new: bool) -> None:
        if parts or is_new:
            self._tell(watch.path, parts, is_new or "state" in parts)

    def _settle(self, watch: _Watch) -> None:
        """Decide whether, and when, a run that was read to its present end is read again."""
        assert watch.run is not None
        now = self._now()
        quiet = now - watch.grown
        if watch.run.has_ended:
            if watch.is_waiting or quiet > _SETTLE_SECONDS:
                self._rest(watch, is_over=True)
            else:
                self._follow(watch, FOLLOW_SECONDS)
            return
        if quiet < LIVENESS_SECONDS and not watch.is_waiting:
            self._follow(watch, 0.0)
            return
        detail = self._index.metadata.run(watch.path)
        if detail is None:  # nothing readable in it yet
            self._follow(watch, _SILENT_SECONDS)
            return
        writers = [stream for stream in detail.streams if stream.is_writer]
        if all(s.exit or s.gone_ns or self._liveness.is_gone(watch.path, s) for s in writers):
            self._rest(watch, is_over=True)
        elif detail.run.state == "running":
            self._follow(watch, 0.0)
        elif quiet > _GIVE_UP_SECONDS:
            self._rest(watch, is_over=False)
        else:
            self._follow(watch, _SILENT_SECONDS)

    def _follow(self, watch: _Watch, wait: float) -> None:
        watch.due = self._now() + wait
        self._live[watch.path] = watch

    def _rest(self, watch: _Watch, *, is_over: bool) -> None:
        """Stop following: nothing is written any more, as far as can be seen."""
        assert watch.run is not None
        if is_over:  # its last moments may have left a damaged place; what lies behind it counts
            for taken in watch.run.read(self._index, is_final=True):
                self._say(watch, taken.parts, False)
            self._memory.put(watch.path, watch.seen, watch.run.cursors)
        self._live.pop(watch.path, None)
        watch.run = None
        watch.grown = 0.0

    def _put_off(self, watch: _Watch, error: Exception) -> None:
        known = isinstance(error, (StoreTroubleError, StorageError, OSError))
        watch.failures += 1
        watch.run = None  # begin anew: what the index has is what counts
        self._follow(watch, min(FOLLOW_SECONDS * 2**watch.failures, MAX_FOLLOW_BACKOFF_SECONDS))
        if watch.failures in (1, 10):
            _log.warning(
                "run %s cannot be read now and is tried again (%s)",
                watch.path,
                error,
                exc_info=None if known else error,
            )

    def _look_at_quiet(self) -> None:
        """Look for new streams and growth in runs that rest, as many of them as a moment allows."""
        until = time.monotonic() + _LOOK_SECONDS
        now = self._now()
        for _ in range(len(self._circle)):
            path = self._circle.popleft()
            watch = self._watches.get(path)
            if watch is None:
                continue
            self._circle.append(path)
            if watch.is_waiting or path in self._live:
                continue
            mtime = _mtime(watch.folder)
            is_stale = now - watch.looked > RESCAN_SECONDS
            if mtime != watch.streams_mtime or (is_stale and signature(watch.folder) != watch.seen):
                self._follow(watch, 0.0)
            elif is_stale:
                watch.looked = now
            if time.monotonic() > until:
                return


def _mtime(folder: Path) -> int:
    try:
        return os.stat(folder / "streams").st_mtime_ns
    except OSError:
        return 0
