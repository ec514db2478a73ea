"""`GET /projects` and the metrics of a project."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException

from ...core.errors import UsageError
from ...core.names import check_name
from ...core.samples import Stream
from ..models import Metrics, Projects
from ..services import Services, services
from ..wire import Json

router = APIRouter()


@router.get("/projects", response_model=Projects)
def projects(our: Annotated[Services, Depends(services)]) -> Json:
    """List all projects, the last active first."""
    rows = our.index.metadata.projects()
    return Json(
        {
            "projects": [
                {
                    "entity": row.entity,
                    "project": row.project,
                    "runs": row.runs,
                    "states": dict(row.states),
                    "last_activity_ns": row.last_activity_ns,
                }
                for row in rows
            ]
        }
    )


@router.get("/projects/{entity}/{project}/metrics", response_model=Metrics)
def metrics(entity: str, project: str, our: Annotated[Services, Depends(services)], stream: Stream = "default") -> Json:
    """List the keys that runs of the project have logged, or with `stream=system` those of samples of the machine."""
    try:
        rows = our.index.metadata.project_metrics(check_name(entity, "entity"), check_name(project, "project"), stream)
    except UsageError:
        raise HTTPException(404, "there is no such project.") from None
    return Json(
        {
            "metrics": [
                {
                    "key": row.key,
                    "runs": row.runs,
                    "points": row.points,
                    "numeric": row.numeric,
                    "hidden": row.hidden,
                    "last_step": row.last_step,
                    "x": row.x,
                }
                for row in rows
            ]
        }
    )
