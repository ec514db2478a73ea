"""Ingest: records of a stream, in the journal's own frames. What was committed is acknowledged, nothing else."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from starlette.responses import Response

from ...core.errors import UsageError
from ...core.journal import Frame, scan
from ...core.journal.frame import OVERHEAD_BYTES
from ...core.paths import RunPath
from ..gate.security import FRAMES
from ..limits import INGEST_WAIT_SECONDS, INGESTS_AT_ONCE, RETRY_AFTER_SECONDS
from ..models import Acked, Error
from ..paths import check_stream, run_path
from ..records import records
from ..services import Services, services
from ..stores.base import GapError
from ..watching.taking import batches, take
from ..wire import Json

router = APIRouter()
Our = Annotated[Services, Depends(services)]
# Threads of its own: while the store is locked by somebody, requests that only read go on.
_pool = ThreadPoolExecutor(INGESTS_AT_ONCE, thread_name_prefix="tracker-ingest")
_busy: set[asyncio.Future[tuple[int, int]]] = set()


def named_stream(entity: str, project: str, id: str, stream_id: str) -> tuple[RunPath, str]:
    """Answer the stream that the address names."""
    return run_path(entity, project, id), check_stream(stream_id)


Named = Annotated[tuple[RunPath, str], Depends(named_stream)]


@router.get("/streams/{entity}/{project}/{id}/{stream_id}")
def acked(named: Named, our: Our) -> Acked:
    """Say up to which record a stream is stored; 0 for one never seen."""
    return Acked(acked=our.index.cursor(*named))


@router.post(
    "/streams/{entity}/{project}/{id}/{stream_id}",
    response_model=Acked,
    responses={409: {"model": Acked, "description": "`after` is beyond what is stored."}, 503: {"model": Error}},
    openapi_extra={
        "requestBody": {"required": True, "content": {FRAMES: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def ingest(
    named: Named,
    our: Our,
    request: Request,
    after: Annotated[int, Query(ge=0, lt=2**62, description="The last record before those sent.")],
) -> Response:
    """Take records in. Repeats and overlaps change nothing."""
    if our.mode == "ui":
        raise HTTPException(403, "this is `tracker ui`, which reads a folder; send runs to a `tracker server`.")
    if len(_busy) >= INGESTS_AT_ONCE * 2:
        return _later("the server is busy taking records in.")
    body = await request.body()
    path, stream = named
    future = asyncio.get_running_loop().run_in_executor(_pool, _take, our, path, stream, after, body)
    _busy.add(future)
    future.add_done_callback(_busy.discard)
    done, _ = await asyncio.wait({future}, timeout=INGEST_WAIT_SECONDS)
    if not done:
        # It goes on behind our back, and may yet be stored: the client sends again, which changes nothing.
        future.add_done_callback(lambda ended: ended.exception())
        return _later("the store is locked by another program.")
    status, cursor = future.result()
    return Json({"acked": cursor}, status)


def _take(our: Services, path: RunPath, stream: str, after: int, body: bytes) -> tuple[int, int]:
    """Answer a status and the cursor."""
    frames = whole_frames(body)
    cursor = our.index.cursor(path, stream)
    if after > cursor:
        return 409, cursor
    parts: set[str] = set()
    is_new = not our.index.has(path)
    arrived_ns = time.time_ns()
    try:
        for batch in batches(records(frames, after)):
            taken = take(our.index, path, stream, batch, arrived_ns=arrived_ns)
            cursor = taken.acked
            parts |= taken.parts
    except GapError as gap:
        return 409, gap.cursor
    if parts or is_new:
        our.tell(path, parts, is_new or "state" in parts)
    return 200, cursor


def whole_frames(body: bytes) -> list[Frame]:
    """Answer the frames of a body.

    Raises:
        UsageError: It holds anything else: it was cut or damaged on its way, and comes again.
    """
    frames: list[Frame] = []
    end = 0
    for frame in scan(body):
        # The bytes between two frames belong to none: scan passes over damage, which has no place on the wire.
        if frame.end - end != len(frame.payload) + OVERHEAD_BYTES or not frame.records > 0 or frame.last_seq >= 2**62:
            raise UsageError("the body holds bytes that are no whole frame; send it again.")
        end = frame.end
        frames.append(frame)
    if end != len(body):
        raise UsageError("the body holds bytes that are no whole frame; send it again.")
    return frames


def _later(reason: str) -> Json:
    return Json({"detail": reason}, 503, {"retry-after": str(RETRY_AFTER_SECONDS)})
