"""A chart: a table, and how it is to be drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..media.base import Blobs, Encodable, Media
from ..media.held import Held
from ..tables import Table
from ..tables.snapshot import TableSnapshot
from ..values import Reference, Unstorable


@dataclass(frozen=True)
class Drawing:
    """What a chart is made of.

    Args:
        kind: Its name: "roc_curve".
        table: The data.
        spec: How it is drawn, in Vega-Lite; None where only the viewer may know.
        title: Above it.
        fields: Which columns play which part.
    """

    kind: str
    table: Table
    spec: Mapping[str, Any] | None
    title: str
    fields: Mapping[str, Any]


class Chart(Media):
    """A chart, as the functions of `tracker.plot` make it. Log it under a name: `run.log({"roc": chart})`.

    Args:
        draw: Makes it.
    """

    _type: ClassVar[str] = "plot"

    def __init__(self, draw: Callable[[], Drawing]) -> None:
        self._drawing: Drawing | None = None

        def take() -> Encodable:
            drawing = self._drawing = draw()
            return _Snapshot(drawing.table.frame(), drawing)

        self._take(take)

    @property
    def table(self) -> Table | None:
        """The data; None where the input was broken."""
        return self._drawing.table if self._drawing else None

    @property
    def spec(self) -> Mapping[str, Any] | None:
        """How it is drawn, in Vega-Lite.

        The data is named "table": its rows, each with `run` added, the name of the run it comes from. So one
        specification draws one run, or several over each other.
        """
        return self._drawing.spec if self._drawing else None


class _Snapshot(Encodable):
    def __init__(self, rows: TableSnapshot, drawing: Drawing) -> None:
        self._rows = rows
        self._drawing = drawing

    def held(self) -> Iterable[Held]:
        return self._rows.held()

    def digests(self) -> Iterable[str]:
        return self._rows.digests()

    def encode(self, blobs: Blobs) -> Reference:
        drawing = self._drawing
        more = {"_type": "plot", "kind": drawing.kind, "title": drawing.title, "fields": dict(drawing.fields)}
        return Reference({**self._rows.encode(blobs), **more, "spec": drawing.spec})


def column_kind(table: Any, name: Any) -> str:
    """Answer what a column of a chart's table holds.

    Raises:
        Unstorable: It is no table, or has no such column.
    """
    if not isinstance(table, Table):
        raise Unstorable(f"is a chart of a {type(table).__name__}, which is no tracker.Table")
    if name not in table.types:
        raise Unstorable(f"is a chart of the column {name!r}; the table has {', '.join(map(repr, table.columns))}")
    return str(table.types[name])
