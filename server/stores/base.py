"""The three seams of the server. Nothing else in it knows which store is in use.

Each store keeps a cursor per stream, committed in the same transaction as the data: what is told twice is kept once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np

from ...core.journal import Block, Entry
from ...core.paths import RunPath

State = Literal["running", "finished", "failed", "killed", "crashed", "preempted"]


@dataclass(frozen=True)
class RunRow:
    """What lists of runs show; `docs/architecture.md` has the same fields as JSON."""

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


@dataclass(frozen=True)
class Series:
    """One key of one run, in buckets; arrays of equal length, float64.

    Args:
        x, x_last: Smallest and largest x of the bucket's points.
        first, last: Values in order of x (equal x: in order of writing).
        min, max, mean: Of the finite values; NaN where there is none.
        count: All points, `nan`, `posinf` and `neginf` among them.
        points: Points in the range asked for.
        exact: Whether each distinct x has its own bucket.
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

    def apply(self, path: RunPath, stream: str, entries: Iterable[Entry]) -> int:
        """Take the control records of one stream in (blocks only move the cursor); answer the cursor."""
        ...

    def cursor(self, path: RunPath, stream: str) -> int:
        """Answer the last sequence number applied, 0 for a stream never seen."""
        ...


class MetricStore(Protocol):
    """The points."""

    def append(self, path: RunPath, stream: str, entries: Iterable[Entry]) -> int:
        """Take the blocks of one stream in (REWIND hides rows, others only move the cursor); answer the cursor."""
        ...

    def cursor(self, path: RunPath, stream: str) -> int:
        """Answer the last sequence number applied, 0 for a stream never seen."""
        ...

    def keys(self, path: RunPath) -> Mapping[str, Mapping[str, Any]]:
        """Answer each key's statistics: points, numeric, last, last_seq, last_time_ns, last_step, min, max, mean, first, ..."""
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
        start_ns: int = 0,
    ) -> Series:
        """Answer one key in buckets; its cost grows with the buckets, not with the points."""
        ...

    def history(
        self, path: RunPath, keys: Sequence[str] | None, low: float | None, high: float | None
    ) -> Iterator[Block]:
        """Walk all rows, unsampled, in order of step (equal steps: in order of writing)."""
        ...

    def forget(self, path: RunPath) -> None:
        """Remove a run's points."""
        ...


class BlobStore(Protocol):
    """Bytes named by their digest."""

    def put(self, source: BinaryIO) -> str:
        """Keep the bytes; answer their digest (sha256, hex)."""
        ...

    def open(self, digest: str) -> BinaryIO:
        """Open the bytes; FileNotFoundError where there are none."""
        ...

    def has(self, digest: str) -> bool:
        """Answer whether the bytes are kept."""
        ...


@dataclass(frozen=True)
class Stores:
    """The three in use, and the folder they may be in."""

    metadata: MetadataStore
    metrics: MetricStore
    blobs: BlobStore
    folder: Path
