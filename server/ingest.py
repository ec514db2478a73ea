"""The one way into the stores: over HTTP and from the folder alike."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator

from ..core.journal import Block, Entry
from ..core.paths import RunPath
from .stores.base import Stores

_GROUP_ROWS = 32_768
_GROUP_POINTS = 1 << 20
_GROUP_ENTRIES = 4096


class Ingest:
    """Takes the records of streams into the stores. May be used from any thread.

    Each store keeps its own cursor, in one transaction with its data. A process killed between the two leaves one of
    them behind; the answer is always the lowest, so that what is missing is sent again and the other passes over it.

    Args:
        stores: Where to.
    """

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self._lock = threading.Lock()
        self._locks: weakref.WeakValueDictionary[tuple[RunPath, str], _Turn] = weakref.WeakValueDictionary()

    def apply(self, path: RunPath, stream: str, entries: Iterable[Entry], *, arrived_ns: int | None = None) -> int:
        """Take entries of one stream in; answer its cursor, the lowest of the stores.

        Repeated and overlapping entries change nothing. They are taken group by group, so that memory stays flat
        however many there are; where one group fails, those before it are kept.

        Args:
            path: The run; made where it is new.
            stream: The stream's id.
            entries: In order.
            arrived_ns: When they came over the network: shows that the writer lives, whatever its clock says.

        Raises:
            GapError: They begin behind the cursor's next; its `cursor` says where to go on.
            StorageError: A store does not serve.
        """
        with self._turn(path, stream).lock:
            acked = None
            for group in _groups(entries):
                metrics = self.stores.metrics.append(path, stream, group)
                metadata = self.stores.metadata.apply(path, stream, group, arrived_ns=arrived_ns)
                acked = min(metrics, metadata)
            return self.cursor(path, stream) if acked is None else acked

    def cursor(self, path: RunPath, stream: str) -> int:
        """Answer the highest sequence number up to which all stores have everything."""
        return min(self.stores.metrics.cursor(path, stream), self.stores.metadata.cursor(path, stream))

    def _turn(self, path: RunPath, stream: str) -> _Turn:
        with self._lock:
            turn = self._locks.get((path, stream))
            if turn is None:
                turn = self._locks[path, stream] = _Turn()
            return turn


class _Turn:
    """Whose turn it is at a stream."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def _groups(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    group: list[Entry] = []
    rows = points = 0
    for entry in entries:
        group.append(entry)
        if isinstance(entry, Block):
            rows += len(entry)
            points += sum(len(column.values) for column in entry.columns.values())
        if rows >= _GROUP_ROWS or points >= _GROUP_POINTS or len(group) >= _GROUP_ENTRIES:
            yield group
            group, rows, points = [], 0, 0
    if group:
        yield group
