"""Named files of a run: which there are, and their bytes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import Response

from ..models import NamedFiles
from ..services import Services, services
from ..wire import Json
from .blobs import SENT, sent
from .runs import Named
from .shapes import file_shape

router = APIRouter()
Our = Annotated[Services, Depends(services)]


@router.get("/runs/{entity}/{project}/{id}/files", response_model=NamedFiles)
def files(path: Named, our: Our) -> Json:
    """List the files that a run has kept under a name, sorted by it."""
    if not our.index.has(path):
        raise HTTPException(404, "there is no such run.")
    return Json({"files": [file_shape(file) for file in our.index.metadata.files(path)]})


@router.get(
    "/runs/{entity}/{project}/{id}/files/{name:path}",
    response_class=Response,
    responses=SENT,
)
def file(path: Named, name: str, request: Request, our: Our) -> Response:
    """Read one of them. It is always an attachment of bytes: whatever is in it, no browser runs it here."""
    found = our.index.metadata.file(path, name)
    if found is None:
        raise HTTPException(404, f"the run {path} has no file {name[:200]!r}.")
    return sent(our.places.run_blobs(path), found.digest, request, name=name)
