"""A run read back: what it is, its config and summary, and its history, whole."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import quote

from ..errors import UsageError
from ..history import RUNTIME, STEP, TIMESTAMP, join_blocks
from ..journal import Block
from ..journal.block import flatten
from ..names import to_folder
from ..paths import RunPath
from ..printed import ConsoleLine
from .artifacts import ArtifactsOfRead
from .console import walk
from .files import File
from .source import RunInfo, Source
from .summary import RunSummary
from .tables import LoggedTable

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from .media import MediaFile
    from .table import Table

_OWN = (STEP, TIMESTAMP, RUNTIME)


class Run(ArtifactsOfRead):
    """A run as `Api` answers it. What it holds is as of the moment it was asked for; `load()` asks again.

    Args:
        source: Where it comes from.
        info: What is known of it.
    """

    def __init__(self, source: Source, info: RunInfo) -> None:
        self._source = source
        self._set(info)

    def _set(self, info: RunInfo) -> None:
        self._info = info
        self.name = info.name
        self.tags = list(info.tags)
        self.notes = info.notes
        self.group = info.group
        self._config: dict[str, Any] | None = None
        self._summary: RunSummary | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The hyperparameters, nested; changes are kept by `update()`."""
        if self._config is None:  # copied when it is first asked for: a list of thousands stays quick
            self._config = _copy(self._info.config)
        return self._config

    @property
    def summary(self) -> RunSummary:
        """One value per metric; changes are kept by `update()`."""
        if self._summary is None:
            self._summary = RunSummary(_copy(self._info.summary), self.update)
        return self._summary

    # --- what it is ----------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id, unique in its project."""
        return self._info.path.id

    @property
    def entity(self) -> str:
        """Whose project it is."""
        return self._info.path.entity

    @property
    def project(self) -> str:
        """The project's name."""
        return self._info.path.project

    @property
    def path(self) -> str:
        """`entity/project/id`."""
        return str(self._info.path)

    @property
    def state(self) -> str:
        """`running`, `finished`, `failed`, `killed`, `crashed` or `preempted`."""
        return self._info.state

    @property
    def job_type(self) -> str | None:
        """What the run does: "train", "eval", ..."""
        return self._info.job_type

    @property
    def host(self) -> str | None:
        """The machine it ran on."""
        return self._info.host

    @property
    def url(self) -> str | None:
        """The run's page, where there is a server."""
        return self._source.url(self._info.path)

    @property
    def created_at(self) -> str:
        """When it began: ISO 8601, UTC."""
        return _iso(self._info.created_ns)

    @property
    def heartbeat_at(self) -> str:
        """When it was last heard of: ISO 8601, UTC."""
        return _iso(self._info.updated_ns)

    @property
    def duration(self) -> float:
        """Seconds from its beginning to its end, or to its last sign of life."""
        end = self._info.ended_ns or self._info.updated_ns
        return max(0.0, (end - self._info.created_ns) / 1e9)

    @property
    def last_step(self) -> int | float | None:
        """The largest step logged."""
        return self._info.last_step

    @property
    def lastHistoryStep(self) -> int | float:  # noqa: N802 - W&B's name
        """The largest step logged, -1 where there is none, as in W&B."""
        return -1 if self._info.last_step is None else self._info.last_step

    @property
    def points(self) -> int:
        """How many values were logged."""
        return self._info.points

    @property
    def summary_metrics(self) -> dict[str, Any]:
        """The summary as a plain dict, as in W&B."""
        return dict(self.summary)

    @property
    def system_metrics(self) -> dict[str, Any]:
        """The last sample of the machine, by key (`system/cpu.percent`, ...), as in W&B."""
        return dict(self.details.get("system_metrics") or {})

    @property
    def metadata(self) -> dict[str, Any]:
        """What the run told of its machine, its packages, its code and its program, by W&B's names where it has them."""
        details = self.details
        own = {"host": self.host} if self.host else {}
        return {**(details.get("fields") or {}), **own, **(details.get("environment") or {})}

    @property
    def details(self) -> Mapping[str, Any]:
        """What only the answer for a single run holds: streams, alerts, metrics, exit, fields, lost, system_metrics, ..."""
        if not self._info.details:
            info = self._source.run(self._info.path)
            if info is not None:
                self._info = info
        return self._info.details

    # --- its files -----------------------------------------------------------------------

    def files(self, names: Sequence[str] | None = None, per_page: int = 50) -> list[File]:
        """Answer the files that were kept under a name: code, packages, what the script saved.

        Args:
            names: Only these.
            per_page: Accepted as in W&B; all are answered.
        """
        known = self._source.files(self._info.path)
        return [File(self._source, self._info.path, file) for file in known if names is None or file.name in names]

    def file(self, name: str) -> File:
        """Answer one of them.

        Raises:
            UsageError: There is none of this name.
        """
        found = {file.name: file for file in self.files()}
        if name not in found:
            near = get_close_matches(name, found, 3, 0.5)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise UsageError(f"the run {self.path} has no file {name!r}.{hint}")
        return found[name]

    def media(
        self,
        key: str | Mapping[str, Any],
        min_step: int | float | None = None,
        max_step: int | float | None = None,
    ) -> list[MediaFile]:
        """Answer media that were logged: images, sounds, figures, ...

        Args:
            key: The name they were logged under; or one of them as it stands in a row of `history()`.
            min_step: The smallest step wanted.
            max_step: The largest one.

        Returns:
            Step by step; those of a list one after the other.

        Example:
            for image in run.media("samples"):
                image.download("samples")
        """
        from .media import MediaFile, walk  # only who asks for media pays for it

        if isinstance(key, Mapping):
            return [MediaFile(self._source, self._info.path, key)]
        return list(walk(self._source, self._info.path, self._walk([key], min_step, max_step), key, STEP))

    # --- its history ---------------------------------------------------------------------

    @overload
    def history(
        self,
        samples: int | None = ...,
        keys: Sequence[str] | None = ...,
        x_axis: str = ...,
        pandas: Literal[False] = ...,
        stream: str = ...,
    ) -> list[dict[str, Any]]: ...

    @overload
    def history(
        self,
        samples: int | None = ...,
        keys: Sequence[str] | None = ...,
        x_axis: str = ...,
        pandas: bool = ...,
        stream: str = ...,
    ) -> pandas.DataFrame | list[dict[str, Any]]: ...

    def history(
        self,
        samples: int | None = None,
        keys: Sequence[str] | None = None,
        x_axis: str = STEP,
        pandas: bool = True,
        stream: str = "default",
    ) -> pandas.DataFrame | list[dict[str, Any]]:
        """Answer the rows: all of them, unless `samples` says otherwise.

        Args:
            samples: At most so many rows, evenly spaced, the first and the last among them.
            keys: Only these metrics, and only rows that have any of them.
            x_axis: Order the rows by this: `_step`, `_timestamp`, `_runtime` or a metric; rows without it are left out.
            pandas: Answer a DataFrame where pandas is installed.
            stream: "default" for what was logged, "system" for the samples of the machine, as in W&B: in order of
                time, and none of them joined. Samples named in `keys` come with the default stream, too.

        Returns:
            A DataFrame, or a list of dicts. `_step`, `_timestamp` (seconds since the epoch) and `_runtime` (seconds
            since the run began) come first. Rows of equal step are one.

        Raises:
            UsageError: There is no such stream.

        Example:
            run.history(keys=["loss"])
        """
        if stream not in ("default", "system"):
            raise UsageError(f"the stream is {stream!r}; it can be 'default' or 'system'.")
        table = self._samples(keys, x_axis) if stream == "system" else self._table(keys, x_axis)
        if samples is not None:
            table = table.sampled(samples)
        if pandas and _has("pandas"):
            return table.to_pandas()
        return table.rows()

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | float | None = None,
        max_step: int | float | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Walk all rows in flat memory; samples of the machine only where `keys` names them.

        Args:
            keys: Only these metrics, and only rows that have all of them, as in W&B.
            page_size: Accepted as in W&B; rows come in blocks of about a thousand.
            min_step: The smallest step wanted.
            max_step: The step to stop before, as in W&B.

        Yields:
            One dict a row; see `history`.
        """
        wanted = None if keys is None else _names(keys)
        for row in self._walk(keys, min_step, max_step):
            if max_step is not None and row[STEP] >= max_step:
                return
            if wanted is None or row.keys() >= set(wanted):
                yield row

    def table(self, key: str, step: float | None = None, index: int = 0) -> LoggedTable:
        """Answer a table that was logged, or the data of a plot.

        Args:
            key: What it was logged as.
            step: As it was then; the newest without it. An INCREMENTAL table holds all rows logged up to there.
            index: Which, where a list of tables was logged.

        Example:
            run.table("predictions").filter({"score": {"$gt": 0.5}}).group("truth", {"n": "count"}).rows()
        """
        source: dict[str, Any] = {"run": "/".join(quote(part, safe="") for part in self._info.path), "key": key}
        if step is not None:
            source["step"] = step
        if index:
            source["index"] = index
        return LoggedTable(self._source, {"source": source})

    def history_arrow(self, keys: Sequence[str] | None = None) -> pyarrow.Table:
        """Answer the whole history as an Arrow table; null where a row has no value.

        Raises:
            MissingFramework: pyarrow is not installed.
        """
        return self._table(keys).to_arrow()

    def download_history_exports(self, download_dir: str | Path = ".", keys: Sequence[str] | None = None) -> list[Path]:
        """Write the whole history to `<download_dir>/<id>.parquet`.

        Returns:
            The files written.

        Raises:
            MissingFramework: pyarrow is not installed.
        """
        from .table import write_parquet  # numpy: only for who asks for rows

        folder = Path(download_dir)
        table = self._table(keys)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{to_folder(self.id)}.parquet"
        write_parquet(table, target, {"tracker.run": self.path, "tracker.name": self.name})
        return [target]

    def _blocks(
        self, keys: Sequence[str] | None = None, low: float | None = None, high: float | None = None
    ) -> Iterator[Block]:
        return self._source.history(self._info.path, _logged(keys), low, high)

    def _walk(
        self, keys: Sequence[str] | None = None, low: float | None = None, high: float | None = None
    ) -> Iterator[dict[str, Any]]:
        return join_blocks(self._blocks(keys, low, high), self._info.created_ns, _logged(keys))

    def _table(self, keys: Sequence[str] | None = None, x_axis: str = STEP) -> Table:
        from .table import Table  # numpy: only for who asks for rows

        wanted = None if keys is None else [*_names(keys), x_axis]
        return Table.from_blocks(self._blocks(wanted), self._info.created_ns, _logged(wanted)).ordered_by(x_axis)

    def _samples(self, keys: Sequence[str] | None, x_axis: str) -> Table:
        from .table import Table  # numpy: only for who asks for rows

        wanted = None if keys is None else [*_names(keys), x_axis]
        logged = _logged(wanted)
        blocks = self._source.history(self._info.path, logged, None, None, "system")
        table = Table.from_blocks(blocks, self._info.created_ns, logged, is_joined=False)
        return table.ordered_by(TIMESTAMP if x_axis == STEP else x_axis)

    def console(
        self,
        search: str | None = None,
        levels: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        ranks: Sequence[int] | None = None,
    ) -> Iterator[ConsoleLine]:
        """Walk the lines that the run's programs printed, in order of time.

        Args:
            search: Only lines that hold this text, whatever its case.
            levels: Only log records of these levels: "WARNING", "ERROR", ...
            sources: Only these: "stdout", "stderr", "console".
            ranks: Only processes of these ranks.

        Example:
            for line in run.console(levels=["ERROR"]):
                print(line.text)
        """
        wanted = {"search": search, "levels": levels, "sources": sources, "ranks": ranks}
        return walk(lambda part: self._source.console(self._info.path, part), wanted)

    # --- changing it ---------------------------------------------------------------------

    def load(self, force: bool = True) -> Run:
        """Ask again what is known of the run.

        Raises:
            UsageError: The run has gone.
        """
        info = self._source.run(self._info.path)
        if info is None:
            raise UsageError(f"the run {self.path} is not in {self._source.name} any more.")
        self._set(info)
        return self

    def update(self) -> None:
        """Keep what was changed here: `name`, `notes`, `tags`, `group`, `config`, `summary`.

        Config and summary values are merged in; none is taken away.

        Example:
            run.tags.append("best")
            run.update()
        """
        info = self._info
        changes: dict[str, Any] = {}
        for field, known in (("name", info.name), ("notes", info.notes), ("group", info.group)):
            if getattr(self, field) != known:
                changes[field] = getattr(self, field)
        if list(self.tags) != list(info.tags):
            changes["tags"] = [str(tag) for tag in self.tags]
        merged: tuple[tuple[str, Mapping[str, Any]], ...] = (("config", info.config), ("summary", info.summary))
        for field, before in merged:
            now: Mapping[str, Any] = getattr(self, field)
            if new := {key: value for key, value in now.items() if not _same(value, before.get(key, _NONE))}:
                changes[field] = new if field == "config" else dict(flatten(new))  # summaries have dotted keys
        if changes:
            self._source.edit(info.path, changes)
            self.load()

    def save(self) -> None:
        """Do what `update` does, as in W&B."""
        self.update()

    def delete(self, delete_artifacts: bool = False) -> None:
        """Move the run to the trash; `restore` brings it back.

        Args:
            delete_artifacts: Delete the versions that this run has made, too; `restore` does not bring these back. One
                that another run has made or used, that a registry links, or that has an alias other than "latest" is
                kept, and named with the reason.
        """
        self._source.delete(self._info.path)
        if not delete_artifacts:
            return
        from ..artifacts.deleting import delete_made
        from ..complaints import tell

        _, kept = delete_made(self._source.place().catalogue, self.path)
        for path, why in kept:
            tell(f"{path} is kept: {why}. Delete it by itself: tracker artifact rm {path}")

    def restore(self) -> None:
        """Take the run out of the trash."""
        self._source.restore(self._info.path)

    def wait_until_finished(self, timeout: float | None = None) -> Run:
        """Wait until the run is running no more.

        Args:
            timeout: Seconds to wait at most; None for ever.

        Raises:
            TimeoutError: It still runs.
        """
        until = None if timeout is None else time.monotonic() + timeout
        wait = 0.1
        while self.load().state == "running":
            if until is not None and time.monotonic() + wait > until:
                raise TimeoutError(f"the run {self.path} still runs after {timeout} s")
            time.sleep(wait)
            wait = min(wait * 1.5, 2.0)
        return self

    def __repr__(self) -> str:
        return f"<Run {self.path} {self.name!r} {self.state}>"


_NONE: Any = object()


def make_run(source: Source) -> Any:
    """Answer what makes runs of a source."""
    return lambda info: Run(source, info)


def _same(value: Any, known: Any) -> bool:
    return value is known or value == known or (value != value and known != known)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) if isinstance(item, (Mapping, list)) else item for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _names(keys: Sequence[str]) -> list[str]:
    return [keys] if isinstance(keys, str) else list(dict.fromkeys(keys))


def _logged(keys: Sequence[str] | None) -> list[str] | None:
    """Answer the keys that are logged, not made by us; None for all."""
    return None if keys is None else [key for key in _names(keys) if key not in _OWN] or None


def _iso(time_ns: int) -> str:
    moment = datetime.datetime.fromtimestamp(time_ns / 1e9, datetime.timezone.utc)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


__all__ = ["Run", "RunPath", "RunSummary", "make_run"]
