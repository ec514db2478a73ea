"""Questions over tables: filters, groups, joins and histograms, answered by DuckDB from the Parquet files themselves.

No text of a client becomes SQL: a request is checked against `models.Query`, names are looked up among the table's
columns, and values travel as parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ...core.errors import UsageError
from .engine import Engine
from .files import TableFiles
from .models import Query

__all__ = ["Engine", "Query", "TableFiles", "ask"]


def ask(engine: Engine, query: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a query that comes as plain data.

    Raises:
        UsageError: It has another shape than `models.Query`, or makes no sense.
    """
    try:
        return engine.answer(Query.model_validate(query))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'the query'}: {fault['msg']}" for fault in error.errors()[:3]]
        raise UsageError("; ".join(faults)) from None
