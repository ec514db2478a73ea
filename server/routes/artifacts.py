"""Artifacts: collections, their versions, what those hold, who made and who read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from starlette.responses import Response

from ...core.artifacts import registry
from ...core.artifacts.manifest import Entry, Manifest
from ...core.artifacts.version import REGISTRY, Actor, Collection, Draft, Version, parse_name
from ...core.errors import DamagedBlob, FormatError, UsageError
from ...core.names import check_name
from .. import versions as shapes
from ..claiming import MissingError, check_whole
from ..gate.auth import caller
from ..limits import MAX_FILES_PER_PAGE, MAX_MISSING, MAX_VERSIONS_PER_PAGE
from ..sending import ranged
from ..services import Services, services
from ..stores.base import BlobStore
from ..versions import version_shape
from ..wire import Json, from_json
from .blobs import SENT, Format

router = APIRouter()
Our = Annotated[Services, Depends(services)]
Offset = Annotated[int, Query(ge=0, lt=2**53)]


def named_collection(entity: str, project: str, name: str) -> tuple[str, str, str]:
    """Answer the collection that the address names; what cannot be a name is as unknown as what is not there."""
    try:
        if entity != REGISTRY:
            check_name(entity, "entity")
        return entity, check_name(project, "project"), check_name(name, "artifact's name")
    except UsageError:
        raise HTTPException(404, "there is no such artifact.") from None


Named = Annotated[tuple[str, str, str], Depends(named_collection)]


def named_version(named: Named, which: str, our: Our) -> Version:
    """Answer the version that the address names."""
    found = our.places.catalogue.version(*named, which)
    if found is None:
        raise HTTPException(404, f"there is no artifact {'/'.join(named)}:{which[:200]}.")
    return found


NamedVersion = Annotated[Version, Depends(named_version)]


def actor(our: Services, request: Request, by: shapes.By) -> Actor:
    """Answer who asks: by the name of the key, where there are keys."""
    key = caller(our.keys, dict(request.headers)) if our.keys is not None else None
    return Actor(key.name if key is not None else by.user, by.host, by.run)


# --- reading -----------------------------------------------------------------------------


@router.get("/artifacts", response_model=shapes.Collections)
def collections(our: Our, entity: str | None = None, project: str | None = None, type: str | None = None) -> Json:
    """List the collections, by name; those of registries are under `/registries`."""
    return _collections(our.places.catalogue.collections(entity, project, type))


def _collections(found: list[Collection]) -> Json:
    return Json({"collections": [shapes.collection_shape(each) for each in found]})


@router.get("/artifacts/{entity}/{project}/{name}", response_model=shapes.CollectionDetail)
def collection(
    named: Named,
    our: Our,
    limit: Annotated[int, Query(ge=0, le=MAX_VERSIONS_PER_PAGE)] = MAX_VERSIONS_PER_PAGE,
    offset: Offset = 0,
    history: Annotated[bool, Query(description="Also what happened to it.")] = False,
) -> Json:
    """Read one collection with its versions, oldest first."""
    catalogue = our.places.catalogue
    found = catalogue.collection(*named)
    if found is None:
        raise HTTPException(404, f"there is no artifact {'/'.join(named)}.")
    versions = catalogue.versions(*named)
    return Json(
        {
            **shapes.collection_shape(found),
            "items": [version_shape(each) for each in versions[offset : offset + limit]],
            "total": len(versions),
            "events": [shapes.event_shape(event) for event in catalogue.history(*named)] if history else [],
        }
    )


@router.get("/artifacts/{entity}/{project}/{name}/{which}", response_model=shapes.Version)
def version(found: NamedVersion) -> Json:
    """Read one version, by its number ("v3"), an alias, or the beginning of its digest."""
    return Json(version_shape(found))


@router.get("/artifacts/{entity}/{project}/{name}/{which}/uses", response_model=shapes.VersionUses)
def uses(found: NamedVersion, our: Our) -> Json:
    """List the runs that logged a version, and those that ever read it."""
    catalogue = our.places.catalogue
    readers = [shapes.use_shape(use) for use in catalogue.uses(found)]
    return Json({"made_by": catalogue.made_by(found), "uses": readers})


@router.get("/artifacts/{entity}/{project}/{name}/{which}/manifest", response_model=shapes.Listing)
def manifest(
    found: NamedVersion,
    our: Our,
    prefix: Annotated[str, Query(description="Only what is below this folder.")] = "",
    flat: Annotated[bool, Query(description="All files below, not the next level alone.")] = False,
    limit: Annotated[int, Query(ge=0, le=MAX_FILES_PER_PAGE)] = 1000,
    offset: Offset = 0,
) -> Json:
    """List what a version holds: a level with its folders summed up, or all files in order of their paths."""
    start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    folders: dict[str, dict[str, Any]] = {}
    files: list[Entry] = []
    for path, entry in _manifest(our, found).entries.items():
        if not path.startswith(start):
            continue
        name, is_below, _ = path[len(start) :].partition("/")
        if flat or not is_below:
            files.append(entry)
            continue
        folder = folders.setdefault(name, {"path": f"{start}{name}", "files": 0, "size": 0})
        folder["files"] += 1
        folder["size"] += entry.size
    first = list(folders.values())[offset : offset + limit]
    begin = max(0, offset - len(folders))
    return Json(
        {
            "total": len(folders) + len(files),
            "folders": first,
            "files": [shapes.file_shape(entry) for entry in files[begin : begin + limit - len(first)]],
        }
    )


@router.get("/artifacts/{entity}/{project}/{name}/{which}/diff/{other}", response_model=shapes.Diff)
def diff(found: NamedVersion, named: Named, other: str, our: Our) -> Json:
    """Compare a version with another one of the same name: what the other has more, else and less."""
    mine, theirs = _manifest(our, found), _manifest(our, named_version(named, other, our))
    told = mine.diff(theirs)
    changed = [
        {
            "path": path,
            "size": mine.entries[path].size,
            "other_size": theirs.entries[path].size,
            "digest": mine.entries[path].digest,
            "other_digest": theirs.entries[path].digest,
        }
        for path in told.changed[:MAX_FILES_PER_PAGE]
    ]
    return Json(
        {
            "added": [shapes.file_shape(theirs.entries[path]) for path in told.added[:MAX_FILES_PER_PAGE]],
            "changed": changed,
            "removed": [shapes.file_shape(mine.entries[path]) for path in told.removed[:MAX_FILES_PER_PAGE]],
            "counts": {name: len(paths) for name, paths in told._asdict().items()},
        }
    )


@router.get("/artifacts/{entity}/{project}/{name}/{which}/file/{path:path}", response_class=Response, responses=SENT)
def artifact_file(found: NamedVersion, path: str, request: Request, our: Our, format: Format = None) -> Response:
    """Read one file of a version, whole or a range of it. What lies elsewhere is never fetched from there."""
    entry = _manifest(our, found).entries.get(path)
    if entry is None:
        raise HTTPException(404, f"{found.path} has no file {path[:500]!r}.")
    if entry.reference is not None:
        raise HTTPException(404, f"the bytes of {path[:500]!r} are not kept here; they are at {entry.reference.uri}.")
    if entry.link is not None:
        raise HTTPException(404, f"{path[:500]!r} is a link to {entry.link}.")
    blobs = our.places.blobs
    if missing := blobs.missing(part.blob for part in entry.parts):
        raise HTTPException(404, f"the bytes of {path[:500]!r} are not here: {len(missing)} blobs are missing.")

    def pieces(start: int, end: int) -> Iterator[bytes]:
        return _pieces(blobs, entry, start, end)

    return ranged(request, entry.digest, entry.size, pieces, format, path)


def _pieces(blobs: BlobStore, entry: Entry, start: int, end: int) -> Iterator[bytes]:
    at = 0
    for part in entry.parts:
        low, high = max(start - at, 0), min(end - at, part.length)
        if low < high:  # each blob is checked against its digest: a damaged file ends, and is never wrong
            yield blobs.read(part.blob)[part.offset + low : part.offset + high]
        at += part.length


def _manifest(our: Services, found: Version) -> Manifest:
    try:
        return our.places.manifests.load(found.manifest)
    except (FileNotFoundError, DamagedBlob, FormatError):
        raise HTTPException(404, f"the list of files of {found.path} is not here, or damaged.") from None


# --- changing ----------------------------------------------------------------------------


@router.post(
    "/artifacts/{entity}/{project}/{name}/versions",
    response_model=shapes.Version,
    responses={409: {"model": shapes.NotWhole, "description": "Blobs of it are not here."}},
)
def claim(named: Named, wanted: shapes.ClaimRequest, request: Request, our: Our) -> Json:
    """Make the next version. The same token again answers the same version; so do the same bytes."""
    _takes(our)
    by = actor(our, request, wanted.by)
    if (named[0] == REGISTRY) != (wanted.source is not None):
        raise UsageError("versions of a registry are links, and have a `source`; all others have none.")
    if wanted.source is not None:
        return Json(version_shape(_link(our, named, wanted.source, wanted.aliases, by)))
    given = wanted.model_dump(exclude={"token", "by"})
    given.update(aliases=tuple(wanted.aliases), tags=tuple(wanted.tags), metadata=from_json(wanted.metadata))
    entity, project, name = named
    draft = Draft(entity=entity, project=project, name=name, **given)
    try:
        check_whole(draft, our.places.blobs, our.places.manifests)
    except MissingError as error:
        digests = error.digests
        answer = {"detail": str(error), "missing": digests[:MAX_MISSING], "count": len(digests)}
        return Json(answer, 409)
    return Json(version_shape(our.places.catalogue.claim(draft, wanted.token, by)))


def _link(our: Services, named: tuple[str, str, str], source: str, aliases: list[str], by: Actor) -> Version:
    at = parse_name(source)
    if at.entity is None or at.project is None:
        raise UsageError(f"{source!r} names no version; write 'entity/project/name:v3'.")
    found = our.places.catalogue.version(at.entity, at.project, at.name, at.which)
    if found is None:
        raise UsageError(f"there is no artifact {source!r} to link.")
    return registry.link(our.places.catalogue, found, named[1], named[2], aliases, by)


@router.patch("/artifacts/{entity}/{project}/{name}", response_model=shapes.Collection)
def edit_collection(named: Named, patch: shapes.CollectionPatch, request: Request, our: Our) -> Json:
    """Change what is given of a collection."""
    catalogue = our.places.catalogue
    found = catalogue.collection(*named)
    if found is None:
        raise HTTPException(404, f"there is no artifact {'/'.join(named)}.")
    given = {name: getattr(patch, name) for name in ("description", "tags") if name in patch.model_fields_set}
    if given.get("tags", ()) is None:
        given["tags"] = []
    catalogue.describe_collection(found, actor=actor(our, request, patch.by), **given)
    return Json(shapes.collection_shape(catalogue.collection(*named) or found))


@router.patch("/artifacts/{entity}/{project}/{name}/{which}", response_model=shapes.Version)
def edit_version(found: NamedVersion, patch: shapes.VersionPatch, request: Request, our: Our) -> Json:
    """Change what is given of a version. An alias that another version has moves here."""
    catalogue = our.places.catalogue
    by = actor(our, request, patch.by)
    given = {
        name: from_json(getattr(patch, name)) for name in ("description", "metadata") if name in patch.model_fields_set
    }
    if given:
        catalogue.describe(found, actor=by, **given)
    if "ttl_days" in patch.model_fields_set:
        catalogue.ttl(found, patch.ttl_days, by)
    for alias in patch.add_aliases:
        catalogue.alias(found, alias, by)
    for alias in patch.remove_aliases:
        catalogue.unalias(found, alias, by)
    for tag in patch.add_tags:
        catalogue.tag(found, tag, by)
    for tag in patch.remove_tags:
        catalogue.untag(found, tag, by)
    now = catalogue.version(found.entity, found.project, found.name, f"v{found.version}")
    return Json(version_shape(now or found))


@router.delete("/artifacts/{entity}/{project}/{name}/{which}", response_model=shapes.Version)
def delete_version(
    found: NamedVersion,
    request: Request,
    our: Our,
    delete_aliases: Annotated[bool, Query(description="Also where an alias other than latest points at it.")] = False,
    user: str | None = None,
    host: str | None = None,
) -> Json:
    """Remove a version: its number stays taken, its bytes go when they are next cleaned up."""
    by = actor(our, request, shapes.By(user=(user or "")[:128] or None, host=(host or "")[:128] or None))
    our.places.catalogue.delete(found, delete_aliases, by)
    return Json({**version_shape(found), "deleted": True})


@router.post("/artifacts/{entity}/{project}/{name}/{which}/uses", response_model=shapes.VersionUses)
def use(found: NamedVersion, wanted: shapes.UseRequest, request: Request, our: Our) -> Json:
    """Take note that a run reads a version."""
    _takes(our)
    our.places.catalogue.use(found, wanted.run, wanted.use_as, actor(our, request, wanted.by))
    return uses(found, our)


def _takes(our: Services) -> None:
    if our.mode == "ui":
        raise HTTPException(403, "this is `tracker ui`, which reads a folder; send artifacts to a `tracker server`.")
