"""`POST /tables/query`: rows, groups, joins and histograms of what was logged as a table."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException

from ..services import Services, services
from ..tables.files import MissingTableError
from ..tables.models import Answer, Query
from ..wire import Json, from_json, jsonable

router = APIRouter()


@router.post("/tables/query", response_model=Answer)
def query_table(query: Query, our: Annotated[Services, Depends(services)]) -> Json:
    """Ask a table, or two of them joined; bounded in time, memory, rows and bytes."""
    if query.filter is not None:
        query = query.model_copy(update={"filter": from_json(query.filter)})
    try:
        return Json(jsonable(our.tables.answer(query)))
    except MissingTableError as error:
        raise HTTPException(404, str(error)) from None
