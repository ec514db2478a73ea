"""Artifacts as the HTTP API has them: the shapes of requests and answers, and what the catalogue knows put into them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from ..core.artifacts.manifest import Entry
from ..core.artifacts.version import Collection as CollectionRow
from ..core.artifacts.version import Event as EventRow
from ..core.artifacts.version import Use as UseRow
from ..core.artifacts.version import Version as VersionRow
from .limits import MAX_NAMES
from .models import Digest, Values
from .wire import jsonable

Word = Annotated[str, Field(max_length=128)]
Words = Annotated[list[Word], Field(max_length=MAX_NAMES)]
Text = Annotated[str, Field(max_length=100_000)]


class Version(BaseModel):
    """A version of an artifact. Its bytes and its number never change; aliases, tags and texts may."""

    path: str = Field(description="`entity/project/name:vN`.")
    entity: str
    project: str
    name: str
    version: int
    type: str
    digest: str = Field(description="Of paths and contents: equal for the same files.")
    manifest: str = Field(description="The blob that lists the files.")
    size: int = Field(description="Bytes of all files.")
    files: int
    description: str | None
    metadata: Values
    aliases: list[str]
    tags: list[str]
    created_ns: int
    run: str | None = Field(description="The run that made it, `entity/project/id`.")
    ttl_days: float | None
    source: str | None = Field(description="Of a registry: the version it stands for.")
    token: str
    user: str | None
    host: str | None
    deleted: bool


class Collection(BaseModel):
    """All versions of one name."""

    path: str = Field(description="`entity/project/name`.")
    entity: str
    project: str
    name: str
    type: str
    versions: int
    latest: int | None
    aliases: dict[str, int] = Field(description="Every alias, and the number it points at.")
    description: str | None
    tags: list[str]
    created_ns: int
    updated_ns: int
    size: int


class Collections(BaseModel):
    """Collections, by name."""

    collections: list[Collection]


class Event(BaseModel):
    """Something that happened to a collection."""

    time_ns: int
    action: str
    version: int | None
    name: str | None
    previous: int | None = Field(description="Of an alias: the number it pointed at before.")
    user: str | None
    host: str | None
    run: str | None


class CollectionDetail(Collection):
    """A collection with its versions, oldest first, and what happened to it."""

    items: list[Version]
    total: int
    events: list[Event]


class Use(BaseModel):
    """A run that read a version."""

    run: str
    time_ns: int
    use_as: str | None
    user: str | None
    host: str | None


class VersionUses(BaseModel):
    """The runs that logged a version, the first one first, and those that read it."""

    made_by: list[str]
    uses: list[Use]


class By(BaseModel):
    """Who does it. Where the server wants keys, the user is the key's name, whatever is said here."""

    model_config = ConfigDict(extra="forbid")

    user: Word | None = None
    host: Word | None = None
    run: Annotated[str, Field(max_length=400)] | None = None


class ClaimRequest(BaseModel):
    """A version whose bytes are here."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(min_length=8, max_length=600)]
    type: Word
    digest: Digest
    manifest: Digest
    size: Annotated[int, Field(ge=0, lt=2**62)]
    files: Annotated[int, Field(ge=0, lt=2**62)]
    description: Text | None = None
    metadata: Values = {}
    aliases: Words = []
    tags: Words = []
    created_ns: Annotated[int, Field(ge=0, lt=2**63)] = 0
    run: Annotated[str, Field(max_length=400)] | None = None
    ttl_days: float | None = None
    source: Annotated[str, Field(max_length=600)] | None = Field(
        None, description="Of a registry: the version to link, `entity/project/name:vN`."
    )
    by: By = By()


class NotWhole(BaseModel):
    """Blobs that a version needs and the server has not."""

    detail: str
    missing: list[str] = Field(description="A thousand at most.")
    count: int = Field(description="How many they are in all.")


class VersionPatch(BaseModel):
    """What to change of a version; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    add_aliases: Words = []
    remove_aliases: Words = []
    add_tags: Words = []
    remove_tags: Words = []
    description: Text | None = None
    metadata: Values | None = Field(None, description="In place of what there was.")
    ttl_days: float | None = None
    by: By = By()


class CollectionPatch(BaseModel):
    """What to change of a collection; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    description: Text | None = None
    tags: Words | None = None
    by: By = By()


class UseRequest(BaseModel):
    """A run reads a version."""

    model_config = ConfigDict(extra="forbid")

    run: Annotated[str, Field(max_length=400)]
    use_as: Word | None = None
    by: By = By()


class File(BaseModel):
    """A file, a link or a reference in a version."""

    path: str
    size: int
    digest: str = Field(description="BLAKE3 of its bytes; empty where that is not known.")
    link: str | None = Field(description="What a symbolic link points to.")
    reference: str | None = Field(description="Where the bytes lie that are not kept here.")


class Folder(BaseModel):
    """A folder in a version, and all that is below it."""

    path: str
    files: int
    size: int


class Listing(BaseModel):
    """A part of what a version holds."""

    total: int = Field(description="Folders and files that match.")
    folders: list[Folder]
    files: list[File]


class Changed(BaseModel):
    """A file that is another one in the other version."""

    path: str
    size: int
    other_size: int
    digest: str
    other_digest: str


class Diff(BaseModel):
    """What the other version has more, else and less; lists are cut where they are long, counts are not."""

    added: list[File]
    changed: list[Changed]
    removed: list[File]
    counts: dict[str, int]


class Registry(BaseModel):
    """A registry and how many collections it has."""

    name: str
    collections: int


class Registries(BaseModel):
    """Registries, by name."""

    registries: list[Registry]


class Edge(BaseModel):
    """What a run made ("output") or read ("input")."""

    use: str
    artifact: str = Field(description="`entity/project/name:vN`.")
    time_ns: int
    type: str
    digest: str


class Edges(BaseModel):
    """What a run made and read."""

    edges: list[Edge]


class Node(BaseModel):
    """A run or a version in a lineage."""

    kind: str
    path: str
    type: str
    aliases: list[str]
    size: int
    depth: int
    deleted: bool
    name: str | None = Field(description="Of a run, for people.")
    state: str | None = Field(description="Of a run.")


class Link(BaseModel):
    """From what was there first to what came of it."""

    source: str
    target: str
    use: str


class Lineage(BaseModel):
    """What runs made and read, as a graph."""

    nodes: list[Node]
    edges: list[Link]
    cut: bool = Field(description="Whether there is more than was looked at.")


def version_shape(version: VersionRow) -> dict[str, Any]:
    """Answer a version as `Version` has it."""
    found: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(version, metadata={}))
    return {**found, "path": version.path, "metadata": jsonable(version.metadata)}


def collection_shape(collection: CollectionRow) -> dict[str, Any]:
    """Answer a collection as `Collection` has it."""
    return {**msgspec.to_builtins(collection), "path": collection.path}


def event_shape(event: EventRow) -> dict[str, Any]:
    """Answer what happened, as `Event` has it."""
    found: dict[str, Any] = msgspec.to_builtins(event)
    return found


def use_shape(use: UseRow) -> dict[str, Any]:
    """Answer a use as `Use` has it."""
    found: dict[str, Any] = msgspec.to_builtins(use)
    return found


def file_shape(entry: Entry) -> dict[str, Any]:
    """Answer an entry of a manifest as `File` has it."""
    return {
        "path": entry.path,
        "size": entry.size,
        "digest": entry.digest,
        "link": entry.link,
        "reference": entry.reference.uri if entry.reference else None,
    }
