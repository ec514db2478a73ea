"""Artifacts read back: types, collections, versions, registries, and who made and read them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..artifacts.artifact import Artifact
from ..artifacts.lineage import Direction, Graph, lineage
from ..artifacts.place import Place
from ..artifacts.version import REGISTRY, Actor, Collection, Draft, Event, Version, parse_name, registry_name
from ..errors import UsageError
from ..paths import DEFAULT_ENTITY

if TYPE_CHECKING:
    from .source import Source


class ArtifactCollection:
    """All versions of one name.

    Args:
        place: Where.
        info: What is known of it.
    """

    def __init__(self, place: Place, info: Collection) -> None:
        self._place = place
        self._info = info
        self.description = info.description
        self.tags = list(info.tags)

    @classmethod
    def of(cls, place: Place, entity: str, project: str, name: str) -> ArtifactCollection:
        """Find a collection.

        Raises:
            UsageError: There is none of that name.
        """
        info = place.catalogue.collection(entity, project, name)
        if info is None:
            raise UsageError(f"there is no artifact {name!r} in {entity}/{project} of {place.name}.")
        return cls(place, info)

    @property
    def name(self) -> str:
        """Its name."""
        return self._info.name

    @property
    def entity(self) -> str:
        """Whose project it is in."""
        return self._info.entity

    @property
    def project(self) -> str:
        """The project it is in; of a registry's, the registry."""
        return self._info.project

    @property
    def type(self) -> str:
        """The type of all its versions."""
        return self._info.type

    @property
    def aliases(self) -> list[str]:
        """Every alias that points at one of its versions."""
        return list(self._info.aliases)

    @property
    def created_at(self) -> str:
        """When its first version was logged, in ISO format (UTC)."""
        moment = datetime.datetime.fromtimestamp(self._info.created_ns / 1e9, datetime.timezone.utc)
        return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"

    def artifacts(self, per_page: int = 50) -> list[Artifact]:
        """Answer its versions, the newest first."""
        found = self._place.catalogue.versions(self.entity, self.project, self.name)
        return [Artifact._from_version(self._place, version) for version in reversed(found)]

    def versions(self, per_page: int = 50) -> list[Artifact]:
        """Answer its versions, the newest first."""
        return self.artifacts(per_page)

    def history(self) -> list[Event]:
        """Answer what happened to it: versions, aliases and who moved them, oldest first."""
        return self._place.catalogue.history(self.entity, self.project, self.name)

    def save(self) -> None:
        """Keep what was changed of `description` and `tags`."""
        catalogue, by = self._place.catalogue, Actor.here()
        if self.description != self._info.description:
            catalogue.describe_collection(self._info, description=self.description, actor=by)
        if list(self.tags) != list(self._info.tags):
            catalogue.describe_collection(self._info, tags=list(self.tags), actor=by)
        self._info = catalogue.collection(self.entity, self.project, self.name) or self._info

    def delete(self) -> None:
        """Delete all its versions, whatever points at them; their bytes go with the next `tracker gc`."""
        for artifact in self.artifacts():
            artifact.delete(delete_aliases=True)

    def __len__(self) -> int:
        return self._info.versions

    def __repr__(self) -> str:
        return f"<ArtifactCollection {self._info.path} ({self.type}), {self._info.versions} versions>"


class ArtifactType:
    """All collections of one type in a project.

    Args:
        place: Where.
        entity: Whose project.
        project: Which.
        name: The type.
    """

    def __init__(self, place: Place, entity: str, project: str, name: str) -> None:
        self._place = place
        self.entity = entity
        self.project = project
        self.name = name

    def collections(self, per_page: int = 50) -> list[ArtifactCollection]:
        """Answer its collections, by name."""
        found = self._place.catalogue.collections(self.entity, self.project, self.name)
        return [ArtifactCollection(self._place, info) for info in found]

    def collection(self, name: str) -> ArtifactCollection:
        """Answer one of its collections.

        Raises:
            UsageError: There is none of that name and type.
        """
        found = ArtifactCollection.of(self._place, self.entity, self.project, name)
        if found.type != self.name:
            raise UsageError(f"the artifact {name!r} is of type {found.type!r}, not {self.name!r}.")
        return found

    def __repr__(self) -> str:
        return f"<ArtifactType {self.name} of {self.entity}/{self.project}>"


class Registry:
    """Collections that link versions of any project.

    Args:
        place: Where.
        name: The registry's name.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._place = place
        self.name = name

    def collections(self, filter: Any = None, per_page: int = 100) -> list[ArtifactCollection]:
        """Answer its collections, by name.

        Args:
            filter: `{"name": ...}`: only this one.
            per_page: Accepted as in W&B.
        """
        wanted = filter.get("name") if isinstance(filter, dict) else None
        found = self._place.catalogue.collections(REGISTRY, self.name)
        return [ArtifactCollection(self._place, info) for info in found if wanted in (None, info.name)]

    def collection(self, name: str) -> ArtifactCollection:
        """Answer one of its collections.

        Raises:
            UsageError: There is none of that name.
        """
        return ArtifactCollection.of(self._place, REGISTRY, self.name, name)

    def versions(self, filter: Any = None, per_page: int = 100) -> list[Artifact]:
        """Answer all versions that it links, the newest of each collection first.

        Args:
            filter: `{"alias": ...}`: only those called so.
            per_page: Accepted as in W&B.
        """
        wanted = filter.get("alias") if isinstance(filter, dict) else None
        found = [artifact for collection in self.collections() for artifact in collection.versions()]
        return [artifact for artifact in found if wanted is None or wanted in artifact.aliases]

    def __repr__(self) -> str:
        return f"<Registry {self.name}>"


class ArtifactsOfApi:
    """What `Api` has for artifacts, with W&B's names and arguments."""

    _source: Source
    default_entity: str | None
    default_project: str | None
    _place_: Place | None = None

    def artifact(self, name: str, type: str | None = None) -> Artifact:
        """Answer one version.

        Args:
            name: `entity/project/name:v3`, with an alias or a digest instead of the number; "latest" without either.
            type: What it must be.

        Raises:
            UsageError: There is none of that name, or it is of another type.
        """
        artifact = Artifact._from_version(self._place, self._version(name))
        if type is not None and artifact.type != type:
            raise UsageError(f"{artifact.qualified_name} is of type {artifact.type!r}, not {type!r}.")
        return artifact

    def artifacts(
        self,
        type_name: str | None = None,
        name: str | None = None,
        per_page: int = 50,
        tags: str | Sequence[str] | None = None,
    ) -> list[Artifact]:
        """Answer all versions of a name, the newest first.

        Args:
            type_name: What they must be.
            name: `entity/project/name`.
            per_page: Accepted as in W&B.
            tags: Only versions that bear all of these.

        Raises:
            UsageError: There is no such collection, or it is of another type.
        """
        if name is None:
            raise UsageError("artifacts() lists the versions of one name: api.artifacts('model', 'project/name').")
        wanted = {tags} if isinstance(tags, str) else set(tags or ())
        found = self.artifact_collection(type_name, name).artifacts()
        return [artifact for artifact in found if wanted <= set(artifact.tags)]

    def artifact_versions(self, type_name: str | None, name: str, per_page: int = 50) -> list[Artifact]:
        """Answer what `artifacts` answers, as in older days."""
        return self.artifacts(type_name, name, per_page)

    def artifact_types(self, project: str | None = None) -> list[ArtifactType]:
        """Answer the types of artifacts in a project, by name.

        Args:
            project: "entity/project" or "project".
        """
        entity, name = self._home(project)
        found = self._place.catalogue.collections(entity, name)
        return [ArtifactType(self._place, entity, name, type) for type in sorted({each.type for each in found})]

    def artifact_type(self, type_name: str, project: str | None = None) -> ArtifactType:
        """Answer one type of artifacts.

        Args:
            type_name: Its name.
            project: "entity/project" or "project".

        Raises:
            UsageError: There are no artifacts of this type.
        """
        known = self.artifact_types(project)
        for found in known:
            if found.name == type_name:
                return found
        names = ", ".join(each.name for each in known) or "none"
        raise UsageError(f"there are no artifacts of type {type_name!r} in this project; there are: {names}.")

    def artifact_collections(
        self, project_name: str, type_name: str | None = None, per_page: int = 50
    ) -> list[ArtifactCollection]:
        """Answer the collections of a project, by name.

        Args:
            project_name: "entity/project" or "project".
            type_name: Only those of this type.
            per_page: Accepted as in W&B.
        """
        entity, project = self._home(project_name)
        found = self._place.catalogue.collections(entity, project, type_name)
        return [ArtifactCollection(self._place, info) for info in found]

    def artifact_collection(self, type_name: str | None, name: str) -> ArtifactCollection:
        """Answer one collection.

        Args:
            type_name: What it must be; None: anything.
            name: `entity/project/name`.

        Raises:
            UsageError: There is none of that name, or it is of another type.
        """
        found = parse_name(name, self.default_entity or DEFAULT_ENTITY, self.default_project)
        collection = ArtifactCollection.of(self._place, str(found.entity), _known(found.project, name), found.name)
        if type_name is not None and collection.type != type_name:
            raise UsageError(f"the artifact {name!r} is of type {collection.type!r}, not {type_name!r}.")
        return collection

    def artifact_exists(self, name: str, type: str | None = None) -> bool:
        """Answer whether there is a version of this name; see `artifact`."""
        try:
            return type in (None, self._version(name).type)
        except UsageError:
            return False

    def artifact_collection_exists(self, name: str, type: str | None = None) -> bool:
        """Answer whether there is a collection of this name; see `artifact_collection`."""
        try:
            self.artifact_collection(type, name)
        except UsageError:
            return False
        return True

    def registries(
        self, organization: str | None = None, *, filter: Any = None, order: str | None = None, per_page: int = 100
    ) -> list[Registry]:
        """Answer all registries, by name.

        Args:
            organization: Accepted as in W&B.
            filter: `{"name": ...}`: only this one.
            order: Accepted as in W&B.
            per_page: Accepted as in W&B.
        """
        wanted = filter.get("name") if isinstance(filter, dict) else None
        names = sorted({each.project for each in self._place.catalogue.collections(REGISTRY)})
        return [Registry(self._place, name) for name in names if wanted in (None, name)]

    def registry(self, name: str, organization: str | None = None) -> Registry:
        """Answer one registry; it begins when something is linked into it.

        Args:
            name: Its name; W&B's `wandb-registry-<name>` is taken as well.
            organization: Accepted as in W&B.
        """
        return Registry(self._place, registry_name(name) or name)

    def lineage(
        self,
        run: str | None = None,
        artifact: str | None = None,
        depth: int | None = None,
        direction: Direction = "both",
    ) -> Graph:
        """Walk from a run or a version up to what it came from, and down to what came of it.

        Args:
            run: Where to begin, as `entity/project/id`; or
            artifact: where to begin, named as in `artifact`.
            depth: Steps at most; from a run to an artifact is one. None: all.
            direction: "up", "down" or "both".

        Returns:
            `nodes` (runs and artifacts) and `edges` between their paths.

        Raises:
            UsageError: Neither is given, or both, or there is no such thing.
        """
        version = None if artifact is None else self._version(artifact)
        return lineage(self._place.catalogue, run=run, artifact=version, depth=depth, direction=direction)

    @property
    def _place(self) -> Place:
        if self._place_ is None:
            self._place_ = self._source.place()
        return self._place_

    def _version(self, name: str) -> Version:
        return self._place.find(name, self.default_entity, self.default_project)

    def _home(self, project: str | None) -> tuple[str, str]:
        parts = [part for part in (project or "").strip("/").split("/") if part]
        if len(parts) > 2:
            raise UsageError(f"{project!r} names no project; write 'entity/project' or 'project'.")
        if len(parts) == 2:
            return parts[0], parts[1]
        return self.default_entity or DEFAULT_ENTITY, _known(parts[0] if parts else self.default_project, project)


class ArtifactsOfRead:
    """What a run that is read back has for artifacts."""

    _source: Source

    def logged_artifacts(self, per_page: int = 100) -> list[Artifact]:
        """Answer the versions this run has logged and that are still there."""
        return self._artifacts_of("output")

    def used_artifacts(self, per_page: int = 100) -> list[Artifact]:
        """Answer the versions this run has used and that are still there."""
        return self._artifacts_of("input")

    def use_artifact(self, artifact: Artifact, use_as: str | None = None) -> Artifact:
        """Take note that the run has read an artifact; for runs that have ended already.

        Raises:
            UsageError: The artifact is not logged.
        """
        place, run = self._source.place(), self._run_path
        place.catalogue.use(artifact._settled("use_artifact"), run, use_as, Actor.here(run))
        return artifact

    def log_artifact(
        self, artifact: Artifact, aliases: Iterable[str] | None = None, tags: Iterable[str] | None = None
    ) -> Artifact:
        """Take note that the run has made an artifact that is logged already; for runs that have ended.

        Raises:
            UsageError: The artifact is not logged.
        """
        place, run = self._source.place(), self._run_path
        version = artifact._settled("log_artifact")
        facts = {name: getattr(version, name) for name in Draft.__struct_fields__}
        facts.update(aliases=tuple(aliases or ()), tags=tuple(tags or ()), run=run)
        found = place.catalogue.claim(Draft(**facts), f"{version.token}+{run}", Actor.here(run))
        return Artifact._from_version(place, found)

    def _artifacts_of(self, use: str) -> list[Artifact]:
        place = self._source.place()
        found = []
        for edge in place.catalogue.edges(self._run_path):
            if edge.use == use:
                name = parse_name(edge.artifact)
                version = place.catalogue.version(str(name.entity), str(name.project), name.name, name.which)
                if version is not None:
                    found.append(Artifact._from_version(place, version))
        return found

    @property
    def _run_path(self) -> str:
        return str(getattr(self, "path"))  # noqa: B009 - a property of the class this is mixed into


def _known(project: str | None, text: str | None) -> str:
    if project is None:
        raise UsageError(f"{text!r} names no project; write 'project/name' or 'entity/project/name'.")
    return project
