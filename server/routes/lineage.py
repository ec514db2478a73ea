"""What runs made and read: `GET /edges` of one run, `GET /lineage` from a run or a version on, up and down."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Query

from ...core.artifacts.lineage import Direction, lineage
from ...core.artifacts.version import parse_name
from ...core.errors import UsageError
from ...core.limits import MAX_LINEAGE_NODES
from .. import versions as shapes
from ..limits import MAX_NAMED_RUNS
from ..paths import decode_path, run_path
from ..services import Services, services
from ..wire import Json

router = APIRouter()


@router.get("/lineage", response_model=shapes.Lineage)
def lineage_of(
    our: Annotated[Services, Depends(services)],
    run: Annotated[str | None, Query(description="Where to begin: `entity/project/id`, each part encoded.")] = None,
    artifact: Annotated[str | None, Query(description="Where to begin: `entity/project/name:v3`.")] = None,
    depth: Annotated[int | None, Query(ge=0, le=1000, description="Steps; a run to its artifact is one.")] = None,
    direction: Direction = "both",
    limit: Annotated[int, Query(ge=1, le=MAX_LINEAGE_NODES, description="Nodes at most.")] = 1000,
) -> Json:
    """Walk to all that it came from, and all that came of it."""
    start = None
    if artifact is not None:
        name = parse_name(artifact)
        if name.entity is None or name.project is None:
            raise UsageError(f"{artifact[:200]!r} names no version; write 'entity/project/name:v3'.")
        start = our.places.catalogue.version(name.entity, name.project, name.name, name.which)
        if start is None:
            raise HTTPException(404, f"there is no artifact {artifact[:200]}.")
    path = None if run is None else str(decode_path(run))
    found = lineage(our.places.catalogue, run=path, artifact=start, depth=depth, direction=direction, limit=limit)
    named = 0
    nodes = []
    for node in found.nodes:
        shape: dict[str, Any] = {**msgspec.to_builtins(node), "name": None, "state": None}
        if node.kind == "run" and named < MAX_NAMED_RUNS:
            named += 1
            shape.update(_run(our, node.path))
        nodes.append(shape)
    return Json({"nodes": nodes, "edges": msgspec.to_builtins(found.edges), "cut": found.is_cut})


@router.get("/edges", response_model=shapes.Edges)
def edges(
    our: Annotated[Services, Depends(services)],
    run: Annotated[str, Query(description="`entity/project/id`, each part encoded.")],
) -> Json:
    """List what a run made and read."""
    found = our.places.catalogue.edges(str(decode_path(run)))
    return Json({"edges": msgspec.to_builtins(found)})


def _run(our: Services, path: str) -> dict[str, Any]:
    parts = path.split("/")
    try:
        detail = our.index.metadata.run(run_path(*parts)) if len(parts) == 3 else None
    except UsageError:  # a name of another machine's
        detail = None
    return {} if detail is None else {"name": detail.run.name, "state": detail.run.state}
