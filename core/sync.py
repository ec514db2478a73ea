"""Sending what is on this machine to a server after the fact: `tracker sync`, and the next start of a run.

Any number of these may run at once, also beside the run that is still writing: the server's cursor decides what is
new, so what is told twice is kept once.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .backoff import Backoff
from .errors import FormatError, TransportError, UsageError
from .journal import scan
from .limits import CRASHED_AFTER_SECONDS, FOREIGN_SILENCE_SECONDS, SEND_INTERVAL_SECONDS, SYNC_STALL_SECONDS
from .names import from_folder
from .paths import RunPath, find_runs, host_name, streams
from .processes import is_alive, is_gone, silence
from .progress import Progress
from .record import Kind, decode_control
from .shipping import Shipper, last_seq, read_acked
from .transport import Transport

if TYPE_CHECKING:
    from .file_sync import FileSync

_PROCESS = re.compile(r"-(\d+)-[0-9a-f]+$|\.(\d+)-[0-9a-f]+$")
_FIRST_BYTES = 64 << 10


class Leftover(NamedTuple):
    """A stream that was meant for a server and has not wholly arrived.

    Args:
        path: The run.
        folder: The stream's folder.
        records: How many records the server has not acknowledged.
    """

    path: RunPath
    folder: Path
    records: int


@dataclass
class Report:
    """What a sync did.

    Args:
        runs, streams: How many were looked at.
        sent_rows, sent_bytes: What the server took from us.
        set_aside: Records that the server refused.
        sent_files: Blobs that the server took from us: media, chunks of artifacts.
        sent_file_bytes: Their bytes on the wire.
        sent_versions: Versions of artifacts that the server has now.
        sent_changes: Links, aliases and the like that were made after a version was claimed.
        left: Records that are still on this machine only.
        left_files, left_versions: The same for blobs and versions.
        live: Runs that were still being written when this ended.
        failed: Run and reason, for what could not be sent.
    """

    runs: int = 0
    streams: int = 0
    sent_rows: int = 0
    sent_bytes: int = 0
    set_aside: int = 0
    sent_files: int = 0
    sent_file_bytes: int = 0
    sent_versions: int = 0
    sent_changes: int = 0
    left: int = 0
    left_files: int = 0
    left_versions: int = 0
    live: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether the server has everything there was."""
        return not (self.failed or self.left or self.left_files or self.left_versions)

    def as_dict(self) -> dict[str, Any]:
        """Answer the same for `--json`."""
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "failed"}
        return {**kept, "failed": [{"run": run, "reason": reason} for run, reason in self.failed]}


def sync(
    roots_or_runs: Path | Iterable[Path],
    transport_factory: Callable[[], Transport],
    *,
    follow: bool = False,
    progress: bool = True,
    say: Callable[[str], object] = lambda _sentence: None,
    stall_seconds: float = SYNC_STALL_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Report:
    """Send every stream of every run under some folders.

    Args:
        roots_or_runs: Folders of all runs, of an entity, of a project, or of one run.
        transport_factory: Makes the transport; it is closed at the end.
        follow: Go on until all runs have ended, and never give up on the server.
        progress: Draw a bar where stderr is a terminal.
        say: Takes a sentence for the user.
        stall_seconds: Without `follow`: give up when the server has taken nothing for so long.
        clock: Answers seconds that only go forward.
        sleep: Waits.

    Returns:
        What was done, and what is left. A run that cannot be read is told there and stops no other.
    """
    roots = [roots_or_runs] if isinstance(roots_or_runs, Path) else list(roots_or_runs)
    transport = transport_factory()
    work = _Work(roots, transport, say, clock, sleep, None if follow else stall_seconds)
    try:
        with Progress("sending", "records", is_silent=not progress, clock=clock) as bar:
            while True:
                work.look()
                work.send_all(bar)
                work.send_files(progress)
                if not follow or work.is_stuck or not work.live():
                    return work.report()
                sleep(SEND_INTERVAL_SECONDS)
    finally:
        transport.close()


def leftovers(
    root: Path, address: str | None = None, is_wanted: Callable[[], bool] = lambda: True
) -> Iterator[Leftover]:
    """Walk the streams that were meant for a server and have not wholly arrived there.

    Streams of offline runs are none: whoever chose that sends them with `tracker sync`. Nor are streams whose process
    is still there: they have their own sender.

    Args:
        root: The folder of all runs.
        address: Only those meant for this server.
        is_wanted: Asked before each run; False ends the walk.
    """
    for path, run in find_runs(root):
        if not is_wanted():
            return
        for folder in streams(run):
            acked = read_acked(folder)
            if acked is None or acked.is_whole or (address is not None and acked.address != address):
                continue
            if _may_write(folder):
                continue
            try:
                end = last_seq(folder)
            except OSError:
                continue
            if end > acked.seq:
                yield Leftover(path, folder, end - acked.seq)


def ship_leftovers(root: Path, transport: Transport, *, say: Callable[[str], object] = lambda _sentence: None) -> int:
    """Send what earlier runs have left for this server; answer how many records that were.

    Raises:
        TransportError: The server does not take it now; what was acknowledged so far stays so.
    """
    count = 0
    for left in leftovers(root, transport.address):
        shipper = Shipper(left.folder, left.path, transport, say=say)
        before = shipper.acked
        try:
            while shipper.step(is_final=True):
                pass
        except FormatError:
            continue
        count += shipper.acked - before
    return count


class _Work:
    """One sync under way."""

    def __init__(
        self,
        roots: list[Path],
        transport: Transport,
        say: Callable[[str], object],
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        stall_seconds: float | None,
    ) -> None:
        self._roots = roots
        self._transport = transport
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._stall = stall_seconds
        self._backoff = Backoff(say, clock, comfort="It is tried again.")
        self._shippers: dict[Path, Shipper] = {}
        self._runs: dict[Path, RunPath] = {}
        self._ends: dict[Path, int] = {}
        self._grown_at: dict[Path, float] = {}
        self._failed: dict[Path, str] = {}
        self._files: FileSync | None = None
        self.is_stuck = False

    def look(self) -> None:
        """Find the runs and streams there are now."""
        for path, run in _runs_under(self._roots):
            self._runs[run] = path
            for folder in streams(run):
                if folder not in self._shippers:
                    self._shippers[folder] = Shipper(
                        folder, path, self._transport, say=self._say, clock=self._clock, is_asking=True
                    )
                try:
                    end = last_seq(folder)
                except OSError as error:
                    self._failed[folder] = f"cannot be read: {error}"
                    continue
                if end != self._ends.get(folder):
                    self._grown_at[folder] = self._clock()
                self._ends[folder] = end

    def send_all(self, bar: Progress) -> None:
        """Send what the streams hold, one after the other."""
        for folder, shipper in self._shippers.items():
            self._failed.pop(folder, None)
            try:
                self._send(shipper, bar)
            except TransportError as error:
                self._failed[folder] = str(error)
                self.is_stuck = True
                return
            except (OSError, FormatError) as error:
                self._failed[folder] = f"cannot be read: {error}"
                self._say(f"{folder} cannot be read ({error}); the other streams go on.")

    def send_files(self, draws: bool) -> None:
        """Send what the runs have beside their streams: blobs of their own, and versions of artifacts."""
        connection = getattr(self._transport, "connection", None)
        if connection is None or self.is_stuck:
            return
        if self._files is None:
            from .file_sync import FileSync

            self._files = FileSync(connection, say=self._say, clock=self._clock, is_silent=not draws)
        self._files.send(self._runs, self._stall)
        self.is_stuck = self._files.is_stuck

    def _send(self, shipper: Shipper, bar: Progress) -> None:
        # Last of all what lies behind a stretch that looks unwritten: only where nobody can write it any more.
        for is_final in (False, True) if not _may_write(shipper.folder) else (False,):
            last_taken = self._clock()
            while True:
                bar.total = sum(self._ends.values())
                bar.update(sum(each.acked for each in self._shippers.values()), str(shipper.path))
                began = self._clock()
                before = shipper.acked
                try:
                    has_sent = shipper.step(is_final=is_final)
                except TransportError as error:
                    wait = self._backoff.failed(error, began)
                    if self._stall is not None and self._clock() + wait - last_taken > self._stall:
                        raise
                    self._sleep(wait)
                    continue
                if not has_sent:
                    break
                self._backoff.succeeded(self._transport.address)
                if shipper.acked != before:
                    last_taken = self._clock()

    def live(self) -> list[Path]:
        """Answer the runs of which more may come."""
        now = self._clock()
        found = []
        for run in self._runs:
            for folder in streams(run):
                shipper = self._shippers.get(folder)
                has_ended = shipper is not None and shipper.has_ended
                is_quiet = now - self._grown_at.get(folder, now) > CRASHED_AFTER_SECONDS
                if not has_ended and not is_quiet and _may_write(folder):
                    found.append(run)
                    break
        return found

    def report(self) -> Report:
        """Sum up."""
        report = Report(runs=len(self._runs), streams=len(self._shippers), live=len(self.live()))
        for folder, shipper in self._shippers.items():
            report.sent_rows += shipper.sent_rows
            report.sent_bytes += shipper.sent_bytes
            report.set_aside += shipper.set_aside
            report.left += max(0, self._ends.get(folder, 0) - shipper.acked)
        report.failed = [(str(self._shippers[folder].path), reason) for folder, reason in self._failed.items()
                         if folder in self._shippers]  # fmt: skip
        if self._files is not None:
            self._files.tell(report)
        return report


def _runs_under(roots: Iterable[Path]) -> Iterator[tuple[RunPath, Path]]:
    for given in roots:
        root = given.absolute()
        if not root.is_dir():
            raise UsageError(f"{given} is no folder; give the folder of runs, or of one run.")
        if (root / "streams").is_dir():
            yield _path_of(root), root
            continue
        # The folder of all runs, or of one entity or project: a run lies three folders deep, or less.
        for pattern in ("*/*/*/streams", "*/*/streams", "*/streams"):
            found = sorted(path.parent for path in root.glob(pattern) if path.is_dir())
            if found:
                yield from ((_path_of(run), run) for run in found)
                break


def _path_of(run: Path) -> RunPath:
    return RunPath(from_folder(run.parent.parent.name), from_folder(run.parent.name), from_folder(run.name))


def _may_write(stream: Path) -> bool:
    """Answer whether the process that writes a stream may still be there."""
    found = _PROCESS.search(stream.name)
    if found is None:
        return False  # edits, written in one go
    pid = int(found[1] or found[2])
    fields = _fields(stream)
    if not fields and found[2]:  # of a child: where its parent is, it is
        fields = _fields(stream.with_name(stream.name[: found.start()]))
    if isinstance(where := fields.get("whereabouts"), str):
        gone = is_gone(where, pid, "0")
    elif fields.get("host") in (None, host_name()):
        gone = not is_alive(pid)
    else:
        gone = None
    if gone is None:  # another machine's or container's, on a shared disk: only its silence tells
        return silence(*stream.glob("*")) <= FOREIGN_SILENCE_SECONDS
    return not gone


def _fields(stream: Path) -> dict[str, Any]:
    """Answer what the stream's first records tell of its run and its process; nothing where they tell nothing."""
    try:
        first = next(iter(sorted(name for name in os.listdir(stream) if name.endswith((".seg", ".blk")))))
        with open(stream / first, "rb") as file:
            data = file.read(_FIRST_BYTES)
    except (OSError, StopIteration):
        return {}
    for frame in scan(data):
        if frame.kind == Kind.RUN:
            record = decode_control(frame.kind, frame.seq, frame.payload)
            return record.body if record else {}
    return {}
