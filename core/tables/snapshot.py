"""Rows of a table on their way to the disk: what `log` takes along, and what becomes of it on the media thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..media.base import Blobs, Encodable
from ..values import Reference
from .column import Piece
from .kinds import Kind

if TYPE_CHECKING:
    from ..media.held import Held
    from .cells import MediaCell

MAX_NAMED_COLUMNS = 256  # in a reference; all of them are in the file


@dataclass
class TableSnapshot(Encodable):
    """Rows of a table, as they were when it was logged.

    Args:
        table: The table's id.
        part: How many times it was logged before.
        mode: Its `log_mode`.
        names, kinds: Of its columns.
        pieces: Of each column; nothing in them changes any more.
        rows: How many are here.
        total: How many the table has.
    """

    table: str
    part: int
    mode: str
    names: Sequence[Any]
    kinds: Sequence[Kind]
    pieces: Sequence[list[Piece]]
    rows: int
    total: int
    reference: Reference | None = field(default=None, repr=False)

    def held(self) -> Iterable[Held]:
        """Answer what the media in its cells keep in memory."""
        return (held for cell in self._cells() for held in cell.held())

    def digests(self) -> Iterable[str]:
        """Answer the blobs of the media in its cells."""
        return (digest for cell in self._cells() for digest in cell.digests())

    def _cells(self) -> Iterator[MediaCell]:
        for kind, pieces in zip(self.kinds, self.pieces, strict=True):
            if kind == "media":
                yield from (cell for piece in pieces for cell in piece.values if cell is not None)

    def encode(self, blobs: Blobs) -> Reference:
        """Write Parquet, and answer what stands for it; done once however often it is asked for."""
        if self.reference is None:
            from .parquet import write_blobs  # numpy and DuckDB: only when there is a table to write

            stored = write_blobs(self, blobs)
            found: dict[str, Any] = {"_type": "table-file", "format": "parquet"}
            if len(stored) == 1:
                found["digest"] = stored[0][0]
            else:
                found["parts"] = [list(part) for part in stored]
            found["size"] = sum(size for _, size in stored)
            found |= {"rows": self.rows, "total": self.total, "ncols": len(self.names)}
            found |= {"table": self.table, "part": self.part, "mode": self.mode}
            if len(self.names) <= MAX_NAMED_COLUMNS:
                found["columns"] = self.columns
            self.reference = Reference(found)
        return Reference(self.reference)

    @property
    def columns(self) -> list[dict[str, Any]]:
        """Name and type of each column."""
        return [{"name": name, "type": kind} for name, kind in zip(self.names, self.kinds, strict=True)]
