"""A run as lists, filters and orders see it; what it is asked for is worked out only then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from ...core.paths import RunPath
from ...core.values import from_extension
from .base import RunRow, State, StreamRow
from .metrics import RunState
from .registers import Registers
from .states import run_state
from .summary import merged_summary

_decoder = msgspec.msgpack.Decoder(ext_hook=from_extension)
_OWN = ("name", "group", "job_type", "tags", "notes", "host")  # RUN fields that have a place of their own


class Document:
    """What the control records of a run add up to, unpacked when first asked for; shared between lists.

    Args:
        version: Of the run in the metadata store.
        data: `Registers.encode`'s bytes.
    """

    def __init__(self, version: int, data: bytes) -> None:
        self.version = version
        self.size = len(data)
        self._data = data
        self._summary: tuple[RunState | None, Mapping[str, Any]] | None = None

    @cached_property
    def registers(self) -> Registers:
        """The registers, to read."""
        return Registers.decode(self._data)

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """The run's own fields."""
        return self.registers.fields

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The config, nested."""
        return self.registers.config

    def summary(self, metrics: RunState | None) -> Mapping[str, Any]:
        """Answer the summary, with what the rows add to it."""
        known = self._summary
        if known is None or known[0] is not metrics:
            keys = metrics.keys if metrics else {}
            known = (metrics, merged_summary(keys, self.registers.by_hand, self.registers.metrics))
            self._summary = known
        return known[1]


class View:
    """One run at one moment; a `Subject` of filters."""

    def __init__(
        self,
        path: RunPath,
        created_ns: int,
        trashed: bool,
        document: Document,
        streams: Sequence[Any],
        metrics: RunState | None,
        now_ns: int,
    ) -> None:
        self.path = path
        self.created_ns = created_ns
        self.trashed = trashed
        self.document = document
        self.metrics = metrics
        self._streams = streams  # rows of the table
        self._now_ns = now_ns

    @cached_property
    def streams(self) -> list[StreamRow]:
        """The run's streams."""
        return [stream_row(row) for row in self._streams]

    @cached_property
    def ending(self) -> tuple[State, int | None]:
        """State and, where it has ended, when."""
        # Records that come in over the network show that the writer lives, even if its clock is behind ours.
        now = self._now_ns
        if arrived := max((row.arrived_ns for row in self._streams), default=0):
            now -= max(0, arrived - self.updated_ns)
        return run_state(self.streams, self.document.fields, now)

    @property
    def updated_ns(self) -> int:
        """When the last record was written."""
        return max((row.heard_ns for row in self._streams), default=self.created_ns)

    @property
    def name(self) -> str:
        """The name people read."""
        return str(self.document.fields.get("name") or self.path.id)

    @property
    def tags(self) -> list[str]:
        """The labels."""
        tags = self.document.fields.get("tags")
        return [str(tag) for tag in tags] if isinstance(tags, list) else []

    def value(self, name: str, path: str | None) -> Any:
        """Answer what filters and orders ask for."""
        if path is not None:
            if name == "config":
                return _below(self.document.config, path)
            if name == "summary":
                return _below(self.document.summary(self.metrics), path)
            return _below(self.document.fields, path)
        if name in ("id", "entity", "project"):
            return getattr(self.path, name)
        if name in ("name", "tags", "created_ns", "updated_ns"):
            return getattr(self, name)
        if name == "state":
            return self.ending[0]
        if name == "ended_ns":
            return self.ending[1]
        if name == "duration_s":
            return ((self.ending[1] or self._now_ns) - self.created_ns) / 1e9
        if name == "last_step":
            return self.metrics.stats.max_step if self.metrics else None
        if name == "points":
            return self.metrics.stats.points if self.metrics else 0
        return self.document.fields.get(name)

    def row(self) -> RunRow:
        """Answer the run as lists show it."""
        fields = self.document.fields
        state, ended_ns = self.ending
        return RunRow(
            path=self.path,
            name=self.name,
            state=state,
            created_ns=self.created_ns,
            updated_ns=self.updated_ns,
            ended_ns=ended_ns,
            group=_text(fields.get("group")),
            job_type=_text(fields.get("job_type")),
            tags=self.tags,
            notes=_text(fields.get("notes")),
            host=_text(fields.get("host")),
            config=self.document.config,
            summary=self.document.summary(self.metrics),
            last_step=self.value("last_step", None),
            points=self.value("points", None),
            fields={name: value for name, value in fields.items() if name not in _OWN},
            trashed=self.trashed,
        )


def stream_row(row: Any) -> StreamRow:
    """Answer a row of the table of streams as others see it."""
    return StreamRow(
        id=row.name,
        cursor=row.cursor,
        started_ns=row.started_ns,
        heard_ns=row.heard_ns,
        pid=row.pid,
        host=row.host,
        is_writer=row.is_writer,
        is_child="." in row.name,
        exit=_decoder.decode(row.exit) if row.exit else None,
        gone_ns=row.gone_ns,
    )


def _below(values: Mapping[str, Any], path: str) -> Any:
    """Answer the value at a dotted path; names that hold dots themselves are found too."""
    found = _walk(values, path)
    if found is None and path.endswith(".value"):  # as W&B's filters write it
        return _walk(values, path[: -len(".value")])
    return found


def _walk(values: Any, path: str) -> Any:
    if not isinstance(values, dict):
        return None
    if path in values:
        return values[path]
    at = path.find(".")
    while at > 0:
        if path[:at] in values and (found := _walk(values[path[:at]], path[at + 1 :])) is not None:
            return found
        at = path.find(".", at + 1)
    return None


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
