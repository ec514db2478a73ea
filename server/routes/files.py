"""Named files of a run: which there are, and their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import Response, StreamingResponse

from ..limits import FILE_PIECE_BYTES
from ..models import NamedFiles
from ..runblobs import blobs_of
from ..services import Services, services
from ..wire import Json
from .runs import Named
from .shapes import file_shape

router = APIRouter()
Our = Annotated[Services, Depends(services)]
_BYTES = "application/octet-stream"


@router.get("/runs/{entity}/{project}/{id}/files", response_model=NamedFiles)
def files(path: Named, our: Our) -> Json:
    """List the files that a run has kept under a name, sorted by it."""
    if not our.index.has(path):
        raise HTTPException(404, "there is no such run.")
    return Json({"files": [file_shape(file) for file in our.index.metadata.files(path)]})


@router.get(
    "/runs/{entity}/{project}/{id}/files/{name:path}",
    response_class=Response,
    responses={200: {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}}},
)
def file(path: Named, name: str, request: Request, our: Our) -> Response:
    """Read one of them. It is always an attachment of bytes: whatever is in it, no browser runs it here."""
    found = our.index.metadata.file(path, name)
    if found is None:
        raise HTTPException(404, f"the run {path} has no file {name[:200]!r}.")
    headers = {
        "ETag": f'"{found.digest}"',
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}",
        "Cache-Control": "private, no-cache",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    blobs = blobs_of(path, root=our.root, stores=our.index.stores.folder)
    try:
        headers["Content-Length"] = str(blobs.size(found.digest))
        source = blobs.open(found.digest)
    except (FileNotFoundError, ValueError):
        raise HTTPException(404, f"the bytes of {name[:200]!r} are not here (yet).") from None
    return StreamingResponse(_pieces(source), media_type=_BYTES, headers=headers)


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    with source:
        while piece := source.read(FILE_PIECE_BYTES):
            yield piece
