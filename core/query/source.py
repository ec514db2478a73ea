"""Where runs are read from: the seam between `Api` and the local folder or a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..files import NamedFile
from ..journal import Block
from ..paths import RunPath
from ..printed import ConsolePage
from ..samples import Stream

if TYPE_CHECKING:
    from ..artifacts.place import Place


@dataclass(frozen=True)
class RunInfo:
    """What is known of a run without its rows.

    Args:
        path: Entity, project and id.
        name: For people.
        state: `running`, `finished`, `failed`, `killed`, `crashed` or `preempted`.
        created_ns, updated_ns, ended_ns: Nanoseconds since the epoch.
        group, job_type, tags, notes, host: As given by the user.
        config: Nested.
        summary: One value for each key.
        last_step: The largest step.
        points: Values logged.
        trashed: Whether it is in the trash.
        details: What only the answer for a single run holds: streams, alerts, metrics, exit, fields, lost, system_metrics,
            environment.
    """

    path: RunPath
    name: str
    state: str
    created_ns: int
    updated_ns: int
    ended_ns: int | None
    group: str | None
    job_type: str | None
    tags: list[str]
    notes: str | None
    host: str | None
    config: dict[str, Any]
    summary: dict[str, Any]
    last_step: int | float | None
    points: int
    trashed: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A part of a list of runs; `total` counts all that match."""

    total: int
    runs: list[RunInfo]


@dataclass(frozen=True)
class Project:
    """A project and its runs, counted by state.

    Args:
        entity: Whose it is.
        name: The project's name.
        runs: How many.
        states: How many in each state.
        last_activity_ns: Nanoseconds since the epoch.
    """

    entity: str
    name: str
    runs: int
    states: Mapping[str, int]
    last_activity_ns: int | None


class Source(Protocol):
    """A folder or a server."""

    def projects(self) -> list[Project]:
        """Answer all projects, the last active first."""
        ...

    def runs(
        self,
        entity: str | None,
        project: str | None,
        filters: Mapping[str, Any] | None,
        order: str | None,
        limit: int,
        offset: int,
        trash: bool,
    ) -> Page:
        """Answer a part of a list of runs."""
        ...

    def run(self, path: RunPath) -> RunInfo | None:
        """Answer one run with its details; None where there is none."""
        ...

    def metrics(self, entity: str, project: str, stream: Stream = "default") -> list[dict[str, Any]]:
        """Answer the keys that runs of the project have logged, or those of samples of the machine."""
        ...

    def history(
        self,
        path: RunPath,
        keys: Sequence[str] | None,
        low: float | None,
        high: float | None,
        stream: Stream = "default",
    ) -> Iterator[Block]:
        """Walk all rows in order of step; with `keys`, those that have any of them, else all of the stream."""
        ...

    def files(self, path: RunPath) -> list[NamedFile]:
        """Answer the run's named files, sorted."""
        ...

    def file(self, path: RunPath, file: NamedFile) -> Iterator[bytes]:
        """Walk the bytes of one of them, piece by piece; they are not checked."""
        ...

    def blob(self, path: RunPath, digest: str) -> Iterator[bytes]:
        """Walk the bytes of one of the run's own blobs, piece by piece; they are not checked."""
        ...

    def file_url(self, path: RunPath, name: str) -> str | None:
        """Answer where the server has it, where there is one."""
        ...

    def tables(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a question over tables; see `server.tables.models`."""
        ...

    def console(self, path: RunPath, wanted: Mapping[str, Any]) -> ConsolePage:
        """Answer a part of what a run has printed.

        Args:
            path: The run.
            wanted: `offset`, `limit`, `after`, `last`, `search`, `levels`, `sources`, `ranks`, as the stores take them.
        """
        ...

    def edit(self, path: RunPath, changes: Mapping[str, Any]) -> None:
        """Change name, notes, tags, group, config or summary."""
        ...

    def delete(self, path: RunPath) -> None:
        """Move a run to the trash."""
        ...

    def restore(self, path: RunPath) -> None:
        """Take a run out of the trash."""
        ...

    def url(self, path: RunPath) -> str | None:
        """Answer the run's page, where there is a server."""
        ...

    def place(self) -> Place:
        """Answer where the artifacts are; the same one each time."""
        ...

    @property
    def name(self) -> str:
        """The folder or address, for messages."""
        ...

    def close(self) -> None:
        """Let files and connections go."""
        ...
