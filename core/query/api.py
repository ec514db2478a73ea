"""`tracker.Api`: reading back what was tracked, from the local folder or from a server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import UsageError
from ..paths import DEFAULT_ENTITY, RunPath, data_root
from ..settings import resolve
from .artifacts import ArtifactsOfApi
from .run import Run
from .runs import Runs
from .source import Project, RunInfo, Source
from .tables import LoggedTable

_TIMEOUT_SECONDS = 30.0


class Api(ArtifactsOfApi):
    """Reads runs back; no server is needed for those of this machine.

    The folder is read unless there is a server: given here, or by `TRACKER_BASE_URL` or the settings. Both answer the
    same.

    Args:
        overrides: Defaults for `entity` and `project`, and `base_url`, as in W&B.
        timeout: Seconds to wait for a server's answer.
        api_key: The server's key; `TRACKER_API_KEY` by default.
        dir: The folder that keeps the runs; with it no server is asked.
        base_url: The server's address.

    Example:
        api = tracker.Api()
        for run in api.runs("digits", filters={"config.lr": {"$lt": 0.1}}, order="-summary.val/accuracy"):
            print(run.name, run.summary["val/accuracy"])
    """

    def __init__(
        self,
        overrides: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        api_key: str | None = None,
        dir: str | os.PathLike[str] | None = None,
        base_url: str | None = None,
    ) -> None:
        given = dict(overrides or {})
        settings = resolve()
        self.default_entity: str | None = given.get("entity") or settings.entity
        self.default_project: str | None = given.get("project")
        address = base_url or given.get("base_url") or settings.base_url
        self._source: Source
        if dir is None and address:
            from .remote import HttpSource  # requests: only where there is a server

            self._source = HttpSource(address, api_key or settings.api_key, timeout or _TIMEOUT_SECONDS)
        else:
            from .local import LocalSource  # SQLAlchemy and numpy: only for the folder

            self._source = LocalSource(Path(dir or settings.dir or data_root()).expanduser().absolute())

    @property
    def source(self) -> str:
        """The folder or the address that is read."""
        return self._source.name

    def projects(self, entity: str | None = None) -> list[Project]:
        """Answer all projects, the last active first.

        Args:
            entity: Only those of this entity.
        """
        found = self._source.projects()
        return [project for project in found if entity is None or project.entity == entity]

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str | None = "+created_at",
        per_page: int = 50,
        include_sweeps: bool = True,
        lazy: bool = True,
        *,
        trash: bool = False,
    ) -> Runs:
        """Answer the runs of a project.

        Args:
            path: "entity/project" or "project"; all projects without one.
            filters: Mongo style: `{"config.lr": {"$gte": 0.1}, "state": "finished"}`; with `$and`, `$or`, `$not`,
                `$in`, `$nin`, `$exists`, `$regex`, and the names `config.x`, `summary.x` (or `summary_metrics.x`),
                `state`, `tags`, `name`, `group`, `job_type`, `created_at`.
            order: A name with "+" or "-" before it: "-summary.loss". Oldest first by default.
            per_page: Runs fetched at once.
            include_sweeps: Accepted as in W&B.
            lazy: Accepted as in W&B; the list always is.
            trash: Those in the trash instead.

        Returns:
            A list that is fetched as it is walked.

        Raises:
            UsageError: There is no such project, or the filter cannot be understood.
        """
        entity, project = self._project(path)
        wanted = dict(filters or {})
        runs = Runs(
            lambda limit, offset: self._source.runs(entity, project, wanted, order, limit, offset, trash),
            lambda info: Run(self._source, info),
            per_page,
        )
        if project is not None and not wanted and not trash and not len(runs):
            self._complain_of_project(entity, project)
        return runs

    def run(self, path: str) -> Run:
        """Answer one run.

        Args:
            path: "entity/project/id", "project/id", or an id alone.

        Raises:
            UsageError: There is no such run, or an id alone is that of several.
        """
        parts = [part for part in str(path).strip("/").split("/") if part not in ("", ":")]
        if len(parts) == 4 and parts[2] == "runs":  # as in the address of its page
            del parts[2]
        if not 1 <= len(parts) <= 3:
            raise UsageError(f"{path!r} names no run; write 'entity/project/id', 'project/id', or an id.")
        info = self._find(parts)
        if info is None:
            raise UsageError(f"there is no run {path!r} in {self._source.name}.{self._nearest(parts)}")
        return Run(self._source, info)

    def table(self, artifact: str, name: str) -> LoggedTable:
        """Answer a table that was added to an artifact; for those that runs have logged there is `run.table`.

        Args:
            artifact: `entity/project/name:v3`, or with an alias; "latest" without either.
            name: What it was added as, or the path of any Parquet file.
        """
        base, _, which = artifact.partition(":")
        *project, title = base.strip("/").split("/")
        entity, where = self._project("/".join(project))
        parts = (entity or DEFAULT_ENTITY, where or "", title)
        text = "/".join(quote(part, safe="") for part in parts)
        return LoggedTable(self._source, {"source": {"artifact": f"{text}:{which or 'latest'}", "path": name}})

    def from_path(self, path: str) -> Run | Runs:
        """Answer the run of "entity/project/id", or the runs of "entity/project", as in W&B."""
        return self.run(path) if path.strip("/").count("/") >= 2 else self.runs(path)

    def flush(self) -> None:
        """Do nothing, as nothing is kept between calls; there for scripts that know it from W&B."""

    def close(self) -> None:
        """Let files and connections go."""
        self._source.close()

    def __enter__(self) -> Api:  # Self is not in 3.10
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- finding -------------------------------------------------------------------------

    def _project(self, path: str | None) -> tuple[str | None, str | None]:
        parts = [part for part in (path or "").strip("/").split("/") if part]
        if len(parts) > 2:
            raise UsageError(f"{path!r} names no project; write 'entity/project' or 'project'. For one run: api.run().")
        if len(parts) == 2:
            return parts[0], parts[1]
        project = parts[0] if parts else self.default_project
        if project is None:
            return self.default_entity, None
        return self.default_entity or self._entity_of(project), project

    def _entity_of(self, project: str) -> str | None:
        owners = [known.entity for known in self._source.projects() if known.name == project]
        if len(owners) > 1 and DEFAULT_ENTITY not in owners:
            choices = ", ".join(f"{owner}/{project}" for owner in owners[:5])
            raise UsageError(f"the project {project!r} is there for several entities; write one of: {choices}.")
        return DEFAULT_ENTITY if DEFAULT_ENTITY in owners or not owners else owners[0]

    def _find(self, parts: list[str]) -> RunInfo | None:
        if len(parts) == 3:
            return self._source.run(RunPath(*parts))
        if len(parts) == 2:
            return self._source.run(RunPath(self._project(parts[0])[0] or DEFAULT_ENTITY, *parts))
        if self.default_project:
            entity, project = self._project(None)
            return self._source.run(RunPath(entity or DEFAULT_ENTITY, str(project), parts[0]))
        found = self._source.runs(None, None, {"id": parts[0]}, None, 10, 0, False).runs
        if len(found) > 1:
            choices = ", ".join(str(info.path) for info in found)
            raise UsageError(f"the id {parts[0]!r} is that of several runs; write one of: {choices}.")
        return self._source.run(found[0].path) if found else None

    def _nearest(self, parts: list[str]) -> str:
        entity, project = (None, None) if len(parts) == 1 else self._project("/".join(parts[:-1]))
        if project is not None:
            self._complain_of_project(entity, project)
        known: dict[str, RunPath] = {}
        for info in self._source.runs(entity, project, None, None, 1000, 0, False).runs:
            known[info.path.id] = info.path
            known.setdefault(info.name, info.path)
        near = get_close_matches(parts[-1], known, 3, 0.5)
        if near:
            return f" Did you mean {', '.join(dict.fromkeys(f'{known[name]} ({name})' for name in near))}?"
        return " `tracker ls` shows what is there." if known else " It holds no runs."

    def _complain_of_project(self, entity: str | None, project: str) -> None:
        known = {f"{p.entity}/{p.name}": p for p in self._source.projects()}
        if any(p.name == project and entity in (None, p.entity) for p in known.values()):
            return
        names_of = {p.name: path for path, p in known.items()}
        near = [names_of[name] for name in get_close_matches(project, names_of, 3, 0.5)]
        hint = f" Did you mean {', '.join(near)}?" if near else _list(list(known))
        raise UsageError(f"there is no project {entity}/{project} in {self._source.name}.{hint}")


def _list(projects: list[str]) -> str:
    if not projects:
        return " It holds no runs."
    return f" It has {', '.join(projects[:5])}{', ...' if len(projects) > 5 else ''}."
