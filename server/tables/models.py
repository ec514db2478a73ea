"""The shapes of `POST /tables/query`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..limits import (
    MAX_TABLE_AGGREGATES,
    MAX_TABLE_BINS,
    MAX_TABLE_COLUMNS,
    MAX_TABLE_GROUPINGS,
    MAX_TABLE_HISTOGRAMS,
    MAX_TABLE_ROWS,
    MAX_TABLE_SORTS,
)

ColumnType = Literal["null", "bool", "int", "float", "str", "datetime", "list", "dict", "media", "any"]
Function = Literal["count", "count_distinct", "sum", "mean", "min", "max", "std", "median", "quantile", "first", "last"]
ColumnName = str | int


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RunTable(_Shape):
    """A table that a run has logged, or the data of one of its plots."""

    run: str = Field(description="The run's path: `entity/project/id`, each part percent-encoded.")
    key: str = Field(max_length=4096)
    step: float | None = Field(None, description="As it was then: the last one logged up to it. The newest without it.")
    index: int = Field(0, ge=0, description="Which, where a list of tables was logged.")


class ArtifactTable(_Shape):
    """A Parquet file in an artifact."""

    artifact: str = Field(description="`entity/project/name:version`, or with an alias.")
    path: str = Field(max_length=4096)


Source = RunTable | ArtifactTable


class Join(_Shape):
    """Two tables, matched by their keys."""

    left: Source
    right: Source
    on: list[ColumnName | tuple[ColumnName, ColumnName]] = Field(
        min_length=1, max_length=8, description="Columns: one name for both sides, or one for each."
    )
    how: Literal["inner", "left", "outer"] = "inner"
    labels: tuple[str, str] = Field(
        ("left", "right"), description="What stands before the names of columns that are no key: `left.score`."
    )


class Sort(_Shape):
    """An order; missing values come last."""

    column: ColumnName
    descending: bool = False


class Aggregate(_Shape):
    """A number, or a value, for each group."""

    function: Function
    column: ColumnName | None = Field(None, description="None only for `count`: of rows.")
    name: str | None = Field(None, max_length=1000, description="Of the column in the answer.")
    q: float = Field(0.5, ge=0, le=1, description="For `quantile`.")


class Group(_Shape):
    """Rows made one where they are equal in some columns."""

    by: list[ColumnName] = Field(default_factory=list, max_length=MAX_TABLE_GROUPINGS)
    aggregates: list[Aggregate] = Field(default_factory=list, max_length=MAX_TABLE_AGGREGATES)


class HistogramOf(_Shape):
    """Of one column, over all rows that the filter leaves."""

    column: ColumnName
    bins: int = Field(20, ge=1, le=MAX_TABLE_BINS)


class Query(_Shape):
    """What is asked of a table. Either `source` or `join` says which."""

    source: Source | None = None
    join: Join | None = None
    columns: list[ColumnName] | None = Field(None, max_length=MAX_TABLE_COLUMNS)
    filter: dict[str, Any] | None = Field(
        None, description='As for runs: `{"score": {"$gt": 0.5}, "guess": {"$ne": {"$column": "truth"}}}`.'
    )
    sort: list[Sort] = Field(default_factory=list, max_length=MAX_TABLE_SORTS)
    group: Group | None = None
    histograms: list[HistogramOf] = Field(default_factory=list, max_length=MAX_TABLE_HISTOGRAMS)
    offset: int = Field(0, ge=0, lt=2**53)
    limit: int = Field(100, ge=0, le=MAX_TABLE_ROWS)
    total: bool = Field(True, description="Whether to count all rows that match.")


class Column(BaseModel):
    """A column of the answer."""

    name: str | int
    type: ColumnType


class Histogram(BaseModel):
    """How the values of a column are spread.

    Numbers and times have `edges`, one more than `counts`; what else there is has its most frequent `values`.
    """

    column: str | int
    type: ColumnType
    counts: list[int]
    edges: list[Any] | None = None
    values: list[Any] | None = None
    distinct: int | None = None
    missing: int
    nan: int = 0
    posinf: int = 0
    neginf: int = 0


class Answer(BaseModel):
    """Rows of a table. A page may hold fewer rows than asked for; `more` says whether there are others behind it."""

    columns: list[Column]
    rows: list[list[Any]]
    row_ids: list[Any] | None = Field(
        None, description="Numbers of the rows in their table; `[left, right]` for a join; null for groups."
    )
    offset: int
    total: int | None
    more: bool
    histograms: list[Histogram]
    all_columns: list[Column] = Field(description="What the table (or the join) has, whatever was asked for.")
    all_rows: int = Field(description="Rows of the table, or of the left one of a join.")
    step: float | None = Field(None, description="Where the table was logged.")
    mode: str | None = None
