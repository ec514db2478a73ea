"""The three seams of the server. Nothing else in it knows which store is in use.

Each store keeps a cursor per stream, committed in the same transaction as the data: what is told twice is kept once.
All calls may be made from any thread. Methods raise `StorageError` where the disk or a file does not serve,
`UsageError` where a question makes no sense (a filter, an order), and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np

from ...core.artifacts.catalogue import Catalogue
from ...core.blobs import Stored
from ...core.errors import StorageError
from ...core.files import NamedFile
from ...core.journal import Block, Entry
from ...core.paths import RunPath
from ...core.printed import ConsolePage
from ...core.samples import Stream

State = Literal["running", "finished", "failed", "killed", "crashed", "preempted"]


class GapError(StorageError):
    """Entries that do not follow what the store has: something between is missing.

    Args:
        cursor: The last sequence number applied; send from the next one on.
    """

    def __init__(self, cursor: int, first_seq: int) -> None:
        super().__init__(
            f"the stream is known up to record {cursor}, what came begins at {first_seq}; send from {cursor + 1}."
        )
        self.cursor = cursor


@dataclass(frozen=True)
class RunRow:
    """What lists of runs show; `docs/architecture.md` has the same fields as JSON.

    `config` and `summary` hold plain values: NaN and infinities as floats, big integers as ints.
    """

    path: RunPath
    name: str
    state: State
    created_ns: int
    updated_ns: int
    ended_ns: int | None
    group: str | None
    job_type: str | None
    tags: Sequence[str]
    notes: str | None
    host: str | None
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    last_step: int | float | None
    points: int
    fields: Mapping[str, Any] = field(default_factory=dict)  # the rest of the RUN records (pid, program, resumed, ...)
    trashed: bool = False


@dataclass(frozen=True)
class RunPage:
    """A page of a list; `total` counts all that match."""

    total: int
    runs: Sequence[RunRow]


@dataclass(frozen=True)
class StreamRow:
    """One writing process of a run.

    Args:
        is_writer: Whether it is a training process (an `edit` stream is none).
        is_child: Whether it was forked from another (`<parent>.<pid>-<hex>`): its end is not the run's.
        heard_ns: Time of its last record, heartbeats included.
        exit: The body of its EXIT record with `time_ns`, if it said goodbye.
        gone_ns: When the watcher found the process gone; None once it writes again.
    """

    id: str
    cursor: int
    started_ns: int
    heard_ns: int
    pid: int | None
    host: str | None
    is_writer: bool
    is_child: bool
    exit: Mapping[str, Any] | None
    gone_ns: int | None


@dataclass(frozen=True)
class RunDetail:
    """A run with what only its own page shows.

    Args:
        alerts: Bodies of ALERT records with `time_ns`, oldest first.
        metrics: Bodies of METRIC records, one per name, in order of first definition.
        exit: Of the latest main stream.
        lost: Records that were dropped, or could not be read.
        samples: The last sample of the machine, by key.
        environment: What it told of its machine, its packages and its code.
    """

    run: RunRow
    streams: Sequence[StreamRow]
    alerts: Sequence[Mapping[str, Any]]
    metrics: Sequence[Mapping[str, Any]]
    exit: Mapping[str, Any] | None
    lost: int
    trashed: bool
    samples: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProjectRow:
    """A project and its runs (without the trash), counted by state."""

    entity: str
    project: str
    runs: int
    states: Mapping[str, int]
    last_activity_ns: int | None


@dataclass(frozen=True)
class MetricRow:
    """A key that some run of a project has logged; `define_metric` may ask for a step metric, or to hide it."""

    key: str
    runs: int
    points: int
    numeric: bool
    last_step: int | float | None
    x: str | None
    hidden: bool


@dataclass(frozen=True)
class Series:
    """One key of one run, in buckets; arrays of equal length, float64.

    `columns` holds, in this order:
        x, x_last: Smallest and largest x of the bucket's points.
        first, last: Values in order of x (equal x: in order of writing); NaN and infinities as they are.
        min, max, mean: Of the finite values; NaN where there is none.
        count: All points, `nan`, `posinf` and `neginf` among them.

    Args:
        points: Points in the range asked for.
        exact: Whether each distinct x has its own bucket.
        min_x, max_x: Of the points in the range; NaN where there is none.
    """

    path: RunPath
    key: str
    columns: Mapping[str, np.ndarray]
    points: int
    exact: bool
    min_x: float
    max_x: float


class MetadataStore(Protocol):
    """Projects, runs, config, summary set by hand, metric definitions, alerts."""

    def apply(self, path: RunPath, stream: str, entries: Iterable[Entry], *, arrived_ns: int | None = None) -> int:
        """Take the control records of one stream in (blocks only move the cursor); answer the cursor.

        Args:
            path: The run; made where it is new.
            stream: The stream's id.
            entries: In order; what is known already changes nothing.
            arrived_ns: When they came over the network: shows that the writer lives, whatever its clock says.

        Raises:
            GapError: They begin behind the cursor's next.
        """
        ...

    def cursor(self, path: RunPath, stream: str) -> int:
        """Answer the last sequence number applied, 0 for a stream never seen."""
        ...

    def runs(
        self,
        entity: str | None = None,
        project: str | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        order: str | Sequence[str] | None = None,
        limit: int | None = 50,
        offset: int = 0,
        trash: bool = False,
        now_ns: int | None = None,
    ) -> RunPage:
        """List runs; see `filters` for what `filter` and `order` may say. Newest first where no order is given.

        Raises:
            UsageError: The filter or the order cannot be understood.
        """
        ...

    def run(self, path: RunPath, *, now_ns: int | None = None) -> RunDetail | None:
        """Answer one run, also one in the trash; None where there is none."""
        ...

    def projects(self, *, now_ns: int | None = None) -> Sequence[ProjectRow]:
        """Answer all projects that have runs, the last active first."""
        ...

    def project_metrics(self, entity: str, project: str, stream: Stream = "default") -> Sequence[MetricRow]:
        """Answer all keys that runs of the project have logged, or those of samples of the machine, sorted."""
        ...

    def edit(self, path: RunPath, changes: Mapping[str, Any], *, time_ns: int | None = None) -> bool:
        """Apply a user's edit as records of the run's `edit` stream; False where there is no such run.

        Where the run's journal is at hand, write `edits.edit_records(changes)` to it instead: they survive re-indexing.

        Args:
            path: The run.
            changes: Any of name, notes, tags, group, job_type (None takes it away), config, summary (merged in,
                nested values too).
            time_ns: When; now by default.
        """
        ...

    def set_trashed(self, path: RunPath, trashed: bool) -> bool:
        """Move a run to the trash or back; False where there is no such run."""
        ...

    def writer_gone(self, path: RunPath, stream: str, *, time_ns: int | None = None) -> None:
        """Take note that a stream's process does not exist any more; forgotten when it writes again."""
        ...

    def set_crashed(self, path: RunPath, is_crashed: bool, *, time_ns: int | None = None) -> None:
        """Take note that a run's latest training process is gone, or was heard again; its EXIT record goes before."""
        ...

    def files(self, path: RunPath) -> Sequence[NamedFile]:
        """Answer a run's named files, sorted; none where there is no such run."""
        ...

    def file(self, path: RunPath, name: str) -> NamedFile | None:
        """Answer one of them; None where there is none."""
        ...

    def console(
        self,
        path: RunPath,
        *,
        offset: int = 0,
        limit: int = 1000,
        after: int | None = None,
        search: str | None = None,
        levels: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        ranks: Sequence[int] | None = None,
        last: bool = False,
    ) -> ConsolePage | None:
        """Answer a part of what a run has printed, in order of time; None where there is no such run.

        Args:
            path: The run.
            offset: Lines passed over; without effect where `after` is given.
            limit: Lines at most.
            after: The `mark` of an earlier answer: only lines that came, or changed, since, in that order.
            search: Only lines that hold this text, whatever its case.
            levels: Only log records of these levels.
            sources: Only these.
            ranks: Only processes of these ranks.
            last: Count `offset` and `limit` from the end.
        """
        ...

    def state(self, path: RunPath, *, now_ns: int | None = None) -> State | None:
        """Answer a run's state; None where there is no such run."""
        ...

    def paths(self, *, now_ns: int | None = None) -> Sequence[tuple[RunPath, State, bool]]:
        """Answer all runs with their states, and whether they are in the trash."""
        ...

    def live(self) -> Sequence[tuple[RunPath, StreamRow]]:
        """Answer the training processes that have not said goodbye and were not found gone."""
        ...

    def forget(self, path: RunPath) -> None:
        """Remove a run for good."""
        ...

    def close(self) -> None:
        """Let the files go."""
        ...


class MetricStore(Protocol):
    """The points."""

    def append(self, path: RunPath, stream: str, entries: Iterable[Entry]) -> int:
        """Take the blocks of one stream in (REWIND hides rows, others only move the cursor); answer the cursor.

        Raises:
            GapError: They begin behind the cursor's next.
        """
        ...

    def cursor(self, path: RunPath, stream: str) -> int:
        """Answer the last sequence number applied, 0 for a stream never seen."""
        ...

    def keys(self, path: RunPath) -> Mapping[str, Mapping[str, Any]]:
        """Answer each key's statistics, hidden rows left out.

        Those of samples (`system/...`) are left out. By key: points, numeric (points that can be charted), finite, nan, posinf, neginf, min, max, mean (None where
        nothing is finite), first, last (values as logged), last_step, last_time_ns, last_seq.
        """
        ...

    def totals(self, path: RunPath) -> tuple[int, int | float | None]:
        """Answer the run's points, and the largest step among its rows; samples do not count."""
        ...

    def series(
        self,
        path: RunPath,
        key: str,
        *,
        x: str = "_step",
        low: float | None = None,
        high: float | None = None,
        buckets: int = 1000,
        log_x: bool = False,
        start_ns: int | None = None,
    ) -> Series:
        """Answer one key in buckets; its cost grows with the buckets, not with the points.

        Args:
            path: The run; one without the key answers a series of no points.
            key: The metric; booleans are charted as 0 and 1, texts are not.
            x: `_step`, `_time` (ns since the epoch), `_runtime` (seconds since `start_ns`), or a metric: its value in
                the same row, else the last one before it in the stream.
            low: Smallest x wanted, inclusive; the buckets begin here.
            high: Largest x wanted, inclusive; the buckets end here.
            buckets: How many at most; one more with `log_x`, for what is not above zero.
            log_x: Buckets of equal width on a logarithmic axis.
            start_ns: What `_runtime` counts from; the run's first row by default.
        """
        ...

    def history(
        self,
        path: RunPath,
        keys: Sequence[str] | None = None,
        low: float | None = None,
        high: float | None = None,
        *,
        with_hidden: bool = False,
        stream: Stream = "default",
    ) -> Iterator[Block]:
        """Walk all rows, unsampled, in order of step (equal steps: in order of writing).

        Args:
            path: The run.
            keys: Only these, and only rows that have one of them; None for all of the stream.
            low: Smallest step wanted, inclusive.
            high: Largest step wanted, inclusive.
            with_hidden: Also rows that a rewind has hidden.
            stream: What `keys=None` means: all that was logged, or all samples of the machine.

        Yields:
            Blocks whose `first_seq` merely counts the rows from 1 on.
        """
        ...

    def forget(self, path: RunPath) -> None:
        """Remove a run's points."""
        ...

    def close(self) -> None:
        """Let the files go."""
        ...


class BlobStore(Protocol):
    """Bytes named by their digest; `core.blobs.FolderBlobs` is the embedded one, and says more of each method."""

    def put(
        self, source: BinaryIO | bytes | memoryview, digest: str | None = None, *, compress: bool | None = None
    ) -> str:
        """Keep the bytes; answer their digest (BLAKE3, hex).

        Raises:
            StorageError: The bytes have another digest than the one announced.
        """
        ...

    def open(self, digest: str) -> BinaryIO:
        """Open the plain bytes; FileNotFoundError where there are none."""
        ...

    def read(self, digest: str) -> bytes:
        """Answer the plain bytes, checked; DamagedBlob where they are others by now."""
        ...

    def size(self, digest: str) -> int:
        """Answer how many the plain bytes are."""
        ...

    def stored(self, digest: str) -> tuple[Path, bool]:
        """Answer the file, and whether it is packed (zstd)."""
        ...

    def has(self, digest: str) -> bool:
        """Answer whether the bytes are kept."""
        ...

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Answer those that are not kept."""
        ...

    def remove(self, digest: str) -> None:
        """Remove a blob, if it is there."""
        ...

    def walk(self) -> Iterator[Stored]:
        """Walk all blobs."""
        ...

    def touch(self, digests: Iterable[str]) -> None:
        """Say that blobs are used again."""
        ...

    def sync(self) -> None:
        """Return when the disk has what was put."""
        ...

    def held(self, digest: str) -> int:
        """Answer how many bytes of an unfinished arrival are there."""
        ...

    def arrive(self, digest: str, offset: int, data: bytes) -> int:
        """Take the next piece; answer how many bytes are there now; OffsetError where it is another one."""
        ...

    def complete(self, digest: str) -> None:
        """Check what has arrived, and give it its name; StorageError where the bytes are others."""
        ...

    def put_packed(self, source: BinaryIO, digest: str, most_bytes: int) -> None:
        """Keep bytes that come packed; StorageError where they unfold to others, or to more than so many."""
        ...


class RunBlobs(Protocol):
    """Bytes of the runs' own."""

    def of(self, path: RunPath) -> BlobStore:
        """Answer the blobs of a run; there need be none."""
        ...

    def forget(self, path: RunPath) -> None:
        """Remove all blobs of a run."""
        ...


@dataclass(frozen=True)
class Stores:
    """Those in use, and the folder they may be in; made by `open_stores`, in `server.stores`.

    Args:
        metadata: Runs and what belongs to them.
        metrics: Points.
        blobs: Bytes shared by all runs: chunks of artifacts, manifests.
        run_blobs: Bytes of each run's own.
        catalogue: Versions of artifacts.
        folder: Where they are.
    """

    metadata: MetadataStore
    metrics: MetricStore
    blobs: BlobStore
    run_blobs: RunBlobs
    catalogue: Catalogue
    folder: Path

    def close(self) -> None:
        """Let the files go."""
        self.metadata.close()
        self.metrics.close()
