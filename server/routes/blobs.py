"""Bytes by their digest: those shared by all runs, and each run's own. They come in pieces and go out in ranges."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from starlette.responses import Response

from ...core.blobs import is_digest
from ...core.errors import DamagedBlob
from ...core.limits import MAX_BLOB_BYTES
from ..arriving import arrive
from ..gate.security import BYTES
from ..models import Digests, Error, Held, Missing
from ..sending import blob_response
from ..services import Services, services
from ..stores.base import BlobStore
from ..wire import Json
from .runs import Named

HELD = "tracker-held"
router = APIRouter()
Our = Annotated[Services, Depends(services)]
Digest = Annotated[str, Path(description="BLAKE3 of the bytes, 64 hexadecimal digits.")]
Offset = Annotated[int, Query(ge=0, le=MAX_BLOB_BYTES, description="Where in the blob the body begins.")]
Size = Annotated[int, Query(ge=0, le=2**53, description="How many bytes the whole blob has.")]
Check = Annotated[bool, Query(description="Compare the bytes with their digest first.")]
Format = Annotated[
    str | None, Query(max_length=20, description="What they are, as file names end; sets the type, from a list.")
]
SENT: dict[int | str, dict[str, Any]] = {200: {"content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}}
_TAKEN: dict[int | str, dict[str, Any]] = {
    409: {"model": Held, "description": "The piece begins elsewhere."},
    503: {"model": Error},
    507: {"model": Error},
}
_BODY = {"requestBody": {"required": True, "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}}


@router.post("/blobs/missing", response_model=Missing)
def missing_blobs(wanted: Digests, our: Our) -> Json:
    """Say which of these are not kept."""
    missing = our.places.blobs.missing(wanted.digests)
    our.places.blobs.touch(set(wanted.digests).difference(missing))  # the asker counts on them
    return Json({"missing": missing})


@router.get("/blobs/{digest}", response_class=Response, responses=SENT)
def blob(digest: Digest, our: Our, request: Request, check: Check = False) -> Response:
    """Read bytes shared by all runs; packed with zstd where they are kept so and the client takes it."""
    return sent(our.places.blobs, digest, request, check=check)


@router.head("/blobs/{digest}", response_class=Response)
def blob_head(digest: Digest, our: Our, request: Request) -> Response:
    """Say how long they are; where they are not whole yet, 404 with how many bytes are held (`Tracker-Held`)."""
    return sent(our.places.blobs, digest, request)


@router.put("/blobs/{digest}", response_model=Held, responses=_TAKEN, openapi_extra=_BODY)
async def put_blob(digest: Digest, our: Our, request: Request, size: Size, offset: Offset = 0) -> Response:
    """Take in the next piece of a blob that all runs share."""
    # Its bytes are synced when a version is claimed that needs them.
    return await _taken(our, our.places.blobs, digest, request, offset, size, syncs=False)


@router.post("/runs/{entity}/{project}/{id}/blobs/missing", response_model=Missing)
def missing_run_blobs(path: Named, wanted: Digests, our: Our) -> Json:
    """Say which of these the run has not."""
    return Json({"missing": our.places.run_blobs(path).missing(wanted.digests)})


@router.get("/runs/{entity}/{project}/{id}/blobs/{digest}", response_class=Response, responses=SENT)
def run_blob(
    path: Named, digest: Digest, our: Our, request: Request, format: Format = None, check: Check = False
) -> Response:
    """Read a run's own bytes: media, parts of tables, named files."""
    return sent(our.places.run_blobs(path), digest, request, format, check=check)


@router.head("/runs/{entity}/{project}/{id}/blobs/{digest}", response_class=Response)
def run_blob_head(path: Named, digest: Digest, our: Our, request: Request, format: Format = None) -> Response:
    """Say how long they are; where they are not whole yet, 404 with how many bytes are held (`Tracker-Held`)."""
    return sent(our.places.run_blobs(path), digest, request, format)


@router.put("/runs/{entity}/{project}/{id}/blobs/{digest}", response_model=Held, responses=_TAKEN, openapi_extra=_BODY)
async def put_run_blob(
    path: Named, digest: Digest, our: Our, request: Request, size: Size, offset: Offset = 0
) -> Response:
    """Take in the next piece of a run's own blob."""
    return await _taken(our, our.places.run_blobs(path), digest, request, offset, size, syncs=True)


def sent(
    blobs: BlobStore,
    digest: str,
    request: Request,
    format: str | None = None,
    name: str | None = None,
    *,
    check: bool = False,
) -> Response:
    """Answer the bytes of a blob, or that it is not there.

    Args:
        blobs: Where it is.
        digest: Which.
        request: Who asks.
        format: What it is, as file names end.
        name: The file that it is of; its address may name other bytes tomorrow.
        check: Compare the bytes with their digest first.
    """
    if not is_digest(digest):
        raise HTTPException(404, "this is no digest: 64 digits of 0-9 and a-f are.")
    try:
        if check:
            blobs.read(digest)
        return blob_response(request, blobs, digest, format, name)
    except FileNotFoundError:
        detail = "there are no such bytes." if name is None else f"the bytes of {name[:200]!r} are not here (yet)."
        raise HTTPException(404, detail, {HELD: str(blobs.held(digest))}) from None
    except DamagedBlob:
        detail = f"the bytes of {digest} were damaged on the server's disk; they were set aside, send them again."
        raise HTTPException(404, detail, {HELD: "0"}) from None


async def _taken(
    our: Services, blobs: BlobStore, digest: str, request: Request, offset: int, size: int, *, syncs: bool
) -> Response:
    if our.mode == "ui":
        raise HTTPException(403, "this is `tracker ui`, which reads a folder; send bytes to a `tracker server`.")
    if not is_digest(digest):
        raise HTTPException(422, "this is no digest: 64 digits of 0-9 and a-f are.")
    found = await arrive(blobs, digest, request, offset, size, syncs=syncs)
    return Json({"held": found.held, "complete": found.is_complete}, 200 if found.is_expected else 409)
