"""Tables: typed columns in memory, Parquet once they are logged."""

from __future__ import annotations

from .joined import JoinedTable
from .kinds import ColumnTypeError
from .table import Table

__all__ = ["ColumnTypeError", "JoinedTable", "Table"]
