"""What the watcher and the routes ask of the stores together."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.journal import Entry
from ..core.paths import RunPath
from .ingest import Ingest
from .stores.base import MetadataStore, MetricStore, Stores


class Index:
    """The stores as one.

    Args:
        stores: Which.
    """

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.metadata: MetadataStore = stores.metadata
        self.metrics: MetricStore = stores.metrics
        self._ingest = Ingest(stores)

    def apply(self, path: RunPath, stream: str, entries: Iterable[Entry], *, arrived_ns: int | None = None) -> int:
        """Take entries in; answer what all stores have of the stream."""
        return self._ingest.apply(path, stream, entries, arrived_ns=arrived_ns)

    def cursor(self, path: RunPath, stream: str) -> int:
        """Answer what all stores have of a stream."""
        return min(self.metadata.cursor(path, stream), self.metrics.cursor(path, stream))

    def has(self, path: RunPath) -> bool:
        """Answer whether a run is known."""
        return self.metadata.state(path) is not None

    def is_trashed(self, path: RunPath) -> bool | None:
        """Answer whether a run is in the trash, None where it is not known."""
        detail = self.metadata.run(path)
        return None if detail is None else detail.trashed

    def known(self) -> dict[RunPath, bool]:
        """Answer all runs, and whether each is in the trash."""
        return {path: is_trashed for path, _, is_trashed in self.metadata.paths()}

    def forget(self, path: RunPath) -> None:
        """Remove a run from all stores."""
        self.stores.run_blobs.forget(path)
        self.metrics.forget(path)
        self.metadata.forget(path)
