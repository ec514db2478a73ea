"""Runs: list, read, edit, trash, restore, and their full history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from starlette.responses import Response, StreamingResponse

from ...core.errors import UsageError
from ...core.journal import Block
from ...core.paths import RunPath
from ...core.samples import Stream
from ..gate.security import FRAMES
from ..limits import HISTORY_PIECE_BYTES, MAX_RUNS_PER_PAGE
from ..models import Run, RunDetail, RunPatch, Runs, Trashed
from ..paths import encode_path, run_path
from ..services import Services, services
from ..wire import Json, from_json
from .shapes import detail_shape, run_shape

router = APIRouter()
Our = Annotated[Services, Depends(services)]


def named_run(entity: str, project: str, id: str) -> RunPath:
    """Answer the run that the address names; what cannot be a name is as unknown as what is not there."""
    try:
        return run_path(entity, project, id)
    except UsageError:
        raise HTTPException(404, "there is no such run.") from None


Named = Annotated[RunPath, Depends(named_run)]


@router.get("/runs", response_model=Runs)
def runs(
    our: Our,
    entity: str | None = None,
    project: str | None = None,
    filter: Annotated[str | None, Query(description="A filter as MongoDB has it, in JSON.")] = None,
    order: Annotated[str | None, Query(description="Like `-created_ns` or `summary.loss`.")] = None,
    limit: Annotated[int, Query(ge=0, le=MAX_RUNS_PER_PAGE)] = 50,
    offset: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    trash: Annotated[bool, Query(description="Those in the trash instead.")] = False,
) -> Json:
    """List runs, the newest first where no order is given."""
    page = our.index.metadata.runs(
        entity, project, filter=_filter(filter), order=order, limit=limit, offset=offset, trash=trash
    )
    return Json({"total": page.total, "runs": [run_shape(row) for row in page.runs]})


def _filter(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        found = from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UsageError('the filter is no JSON; write it like {"state": "finished"}.') from error
    if not isinstance(found, dict):
        raise UsageError('the filter is no JSON object; write it like {"state": "finished"}.')
    return found


@router.get("/runs/{entity}/{project}/{id}", response_model=RunDetail)
def run(path: Named, our: Our) -> Json:
    """Read one run with all that is known of it but its rows."""
    detail = our.index.metadata.run(path)
    if detail is None:
        raise HTTPException(404, "there is no such run.")
    return Json(detail_shape(detail))


@router.patch("/runs/{entity}/{project}/{id}", response_model=RunDetail)
def edit_run(path: Named, patch: RunPatch, our: Our) -> Json:
    """Change what is given of a run; null takes name, notes, tags or group away."""
    changes = {name: from_json(getattr(patch, name)) for name in patch.model_fields_set}
    for name in ("config", "summary"):
        if changes.get(name, {}) is None:
            del changes[name]
    return Json(detail_shape(our.actions.edit(path, changes)))


@router.delete("/runs/{entity}/{project}/{id}", response_model=Trashed)
def trash_run(path: Named, our: Our) -> Json:
    """Move a run to the trash; nothing is deleted."""
    our.actions.trash(path)
    encoded = encode_path(path)
    return Json({"path": encoded, "restore": f"/api/v1/runs/{encoded}/restore"})


@router.post("/runs/{entity}/{project}/{id}/restore", response_model=Run)
def restore_run(path: Named, our: Our) -> Json:
    """Take a run out of the trash."""
    return Json(run_shape(our.actions.restore(path).run))


@router.get(
    "/runs/{entity}/{project}/{id}/history",
    response_class=Response,
    responses={200: {"content": {FRAMES: {"schema": {"type": "string", "format": "binary"}}}}},
)
def history(
    path: Named,
    our: Our,
    keys: Annotated[list[str] | None, Query(description="Only these, and only rows that have one of them.")] = None,
    min_step: float | None = None,
    max_step: float | None = None,
    stream: Annotated[Stream, Query(description="What was logged, or the samples of the machine.")] = "default",
) -> Response:
    """Read all rows, unsampled, in order of step: a stream of BLOCK frames."""
    if not our.index.has(path):
        raise HTTPException(404, "there is no such run.")
    blocks = our.index.metrics.history(path, keys, min_step, max_step, stream=stream)
    first = next(blocks, None)  # what can be refused is refused before the answer begins
    return StreamingResponse(_frames(first, blocks), media_type=FRAMES)


def _frames(first: Block | None, rest: Iterator[Block]) -> Iterator[bytes]:
    """Walk the blocks as bytes, many small ones together: each piece costs a turn of the event loop."""
    pieces = [first.to_frame()] if first is not None else []
    size = 0
    for block in rest:
        frame = block.to_frame()
        pieces.append(frame)
        size += len(frame)
        if size >= HISTORY_PIECE_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)
