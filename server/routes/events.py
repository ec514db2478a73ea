"""`GET /events`: one stream of server-sent events for each page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from ..events import EventStream
from ..paths import decode_project
from ..services import Services, services

router = APIRouter()


@router.get(
    "/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    our: Annotated[Services, Depends(services)],
    project: Annotated[str | None, Query(description="Only this one: `entity/project`, each part encoded.")] = None,
) -> Response:
    """Tell of changes as they come: `event: run` and `event: project`."""
    wanted = decode_project(project) if project else None
    return EventStream(our.hub, our.hub.open(wanted))
