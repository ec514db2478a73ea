"""`GET /runs/.../console`: what the run's programs have printed."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Query

from ..limits import MAX_CONSOLE_LINES
from ..models import Console
from ..services import Services, services
from ..wire import Json
from .runs import Named

router = APIRouter()


@router.get("/runs/{entity}/{project}/{id}/console", response_model=Console)
def console(
    path: Named,
    our: Annotated[Services, Depends(services)],
    offset: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    limit: Annotated[int, Query(ge=0, le=MAX_CONSOLE_LINES)] = 1000,
    after: Annotated[
        int | None, Query(ge=0, lt=2**53, description="A `mark`: only lines that came, or changed, since.")
    ] = None,
    last: Annotated[bool, Query(description="Count `offset` and `limit` from the end.")] = False,
    search: Annotated[str | None, Query(max_length=1000, description="Only lines that hold this text.")] = None,
    level: Annotated[list[str] | None, Query(description="Only log records of these levels.")] = None,
    source: Annotated[list[Literal["stdout", "stderr", "console"]] | None, Query()] = None,
    rank: Annotated[list[int] | None, Query(description="Only processes of these ranks.")] = None,
) -> Json:
    """Read a part of what was printed, in order of time."""
    page = our.index.metadata.console(
        path,
        offset=offset,
        limit=limit,
        after=after,
        search=search,
        levels=level,
        sources=source,
        ranks=[number for number in rank if abs(number) < 2**53] if rank else None,
        last=last,
    )
    if page is None:
        raise HTTPException(404, "there is no such run.")
    return Json(
        {
            "total": page.total,
            "left_out": page.left_out,
            "mark": page.mark,
            "lines": [
                {
                    "stream": line.stream,
                    "number": line.number,
                    "time_ns": line.time_ns,
                    "source": line.source,
                    "text": line.text,
                    "level": line.level,
                    "logger": line.logger,
                    "rank": line.rank,
                }
                for line in page.lines
            ],
        }
    )
