"""Taking records in, from the folder or over HTTP: what a store cannot hold is counted as lost, the rest goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ...core.journal import Block, Entry
from ...core.paths import RunPath
from ...core.record import Kind
from ..records import last_seq, lost
from ..stores.base import GapError
from ..trouble import store_trouble

_log = logging.getLogger("tracker.server")
_BATCH_ENTRIES = 256
_BATCH_POINTS = 1_000_000

# What an entry changes of a run, as events tell it. Kinds that are missing here change nothing that is shown.
_PARTS = {
    Kind.RUN: "info",
    Kind.CONFIG: "config",
    Kind.SUMMARY: "summary",
    Kind.METRIC: "metrics",
    Kind.ALERT: "alerts",
    Kind.EXIT: "state",
    Kind.REWIND: "rows",
    Kind.LOST: "lost",
    Kind.CONSOLE: "console",
    Kind.FILE: "files",
    Kind.ENVIRONMENT: "info",
}


class Applies(Protocol):
    """What takes entries into the stores; `Ingest` does."""

    def apply(self, path: RunPath, stream: str, entries: Iterable[Entry], *, arrived_ns: int | None = None) -> int:
        """Take the entries in; answer the cursor, the lowest of the stores."""
        ...


@dataclass
class Taken:
    """What became of a batch.

    Args:
        acked: The stream's cursor.
        parts: What changed of the run, as events tell it.
        is_sign_of_life: Whether the run's own process wrote any of it (an edit made elsewhere is none).
        has_ended: Whether it holds the run's end.
    """

    acked: int = 0
    parts: set[str] = field(default_factory=set)
    is_sign_of_life: bool = False
    has_ended: bool = False

    def note(self, entry: Entry) -> None:
        """Add what an entry tells."""
        if isinstance(entry, Block):
            self.parts.add("rows")
            self.is_sign_of_life = True
            return
        part = _PARTS.get(entry.kind)  # type: ignore[call-overload]
        if part:
            self.parts.add(part)
        if entry.kind == Kind.RUN and isinstance(entry.body.get("pid"), int):
            self.is_sign_of_life = True
        elif entry.kind == Kind.EXIT:
            self.has_ended = True
        elif entry.kind not in (Kind.RUN, Kind.CONFIG, Kind.SUMMARY, Kind.LOST, Kind.CONSOLE):
            self.is_sign_of_life = True


def take(ingest: Applies, path: RunPath, stream: str, entries: list[Entry], *, arrived_ns: int | None = None) -> Taken:
    """Take a batch in.

    Args:
        ingest: What takes it.
        path: The run.
        stream: The stream's id.
        entries: In order.
        arrived_ns: When they came over the network, if they did.

    Raises:
        GapError: They do not follow what the stores have.
        StoreTroubleError: The store does not serve now; nothing is lost, and the batch may come again.
    """
    taken = Taken()
    try:
        taken.acked = ingest.apply(path, stream, entries, arrived_ns=arrived_ns)
    except GapError:
        raise
    except Exception as error:
        if trouble := store_trouble(error):
            raise trouble from error
        _log.warning("a record of run %s cannot be stored and is set aside (%s: %s)", path, type(error).__name__, error)
        entries = _one_by_one(ingest, path, stream, entries, taken, arrived_ns)
    for entry in entries:
        taken.note(entry)
    return taken


def _one_by_one(
    ingest: Applies, path: RunPath, stream: str, entries: list[Entry], taken: Taken, arrived_ns: int | None
) -> list[Entry]:
    kept: list[Entry] = []
    for entry in entries:
        try:
            taken.acked = ingest.apply(path, stream, [entry], arrived_ns=arrived_ns)
            kept.append(entry)
        except Exception as error:
            if trouble := store_trouble(error):
                raise trouble from error
            first = entry.first_seq if isinstance(entry, Block) else entry.seq
            stand_in = lost(first, last_seq(entry), f"the server cannot store it ({type(error).__name__})")
            taken.acked = ingest.apply(path, stream, [stand_in], arrived_ns=arrived_ns)
            kept.append(stand_in)
    return kept


def batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Group entries so that a batch is one transaction of bounded size."""
    batch: list[Entry] = []
    points = 0
    for entry in entries:
        batch.append(entry)
        if isinstance(entry, Block):
            points += len(entry) * len(entry.columns)
        if len(batch) >= _BATCH_ENTRIES or points >= _BATCH_POINTS:
            yield batch
            batch, points = [], 0
    if batch:
        yield batch
