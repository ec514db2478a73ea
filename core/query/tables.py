"""A logged table, read back: pages, filters, orders, groups and joins, asked of the folder or of a server alike."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ..errors import MissingFramework, UsageError
from ..paths import RunPath
from ..values import Reference
from .media import MediaFile

if TYPE_CHECKING:
    import pandas

    from ..tables import Table
    from .source import Source

_PAGE_ROWS = 1000
_SIDES = ("left", "right")


class LoggedTable:
    """A table as it was logged, or what a question makes of it. Nothing is read before it is asked for.

    `filter`, `sort`, `select`, `group` and `join` answer another such table; `rows`, iteration, `to_pandas` and the like
    read.

    Args:
        source: Where it comes from.
        query: What is asked, in the shape of `POST /tables/query`.

    Cells of media are `MediaFile`s, as `run.media` answers them.

    Example:
        wrong = run.table("predictions").filter({"guess": {"$ne": {"$column": "truth"}}}).sort("-score")
        for row in wrong:
            print(row["guess"], row["truth"])
    """

    def __init__(self, source: Source, query: Mapping[str, Any]) -> None:
        self._source = source
        self._query = dict(query)
        self._head: Mapping[str, Any] | None = None

    # --- asking --------------------------------------------------------------------------

    def filter(self, conditions: Mapping[str, Any]) -> LoggedTable:
        """Answer the rows that meet all conditions.

        Args:
            conditions: As for runs: `$eq $ne $gt $gte $lt $lte $in $nin $exists $regex`, `$and $or $nor $not`; and
                `$contains`, `$startswith`, `$endswith`. `{"$column": name}` stands for another column's value.
        """
        known = self._query.get("filter")
        return self._with(filter=dict(conditions) if known is None else {"$and": [known, dict(conditions)]})

    def sort(self, *columns: Any) -> LoggedTable:
        """Answer the rows in another order.

        Args:
            columns: Names; with "-" before one the largest come first. Missing values come last.
        """
        wanted = [
            {"column": name[1:], "descending": True}
            if isinstance(name, str) and name.startswith("-")
            else {"column": name}
            for name in columns
        ]
        return self._with(sort=wanted)

    def select(self, columns: Sequence[Any]) -> LoggedTable:
        """Answer some of the columns, in this order."""
        return self._with(columns=list(columns))

    def group(self, by: Any, aggregates: Mapping[str, Any] | None = None) -> LoggedTable:
        """Answer one row for each group of rows that are equal in some columns.

        Args:
            by: A column, or a list of them; an empty list makes one group of all.
            aggregates: By name, a function and a column: `{"n": "count", "score": ("mean", "score"),
                "p90": ("quantile", "score", 0.9)}`; the number of rows without any. There are count, count_distinct,
                sum, mean, min, max, std, median, quantile, first, last. NaN and infinities are left out of numbers.
        """
        if "group" in self._query:
            raise UsageError("the table is grouped already; group the logged one.")
        made = [_aggregate(name, wanted) for name, wanted in (aggregates or {"count": "count"}).items()]
        columns = list(by) if isinstance(by, (list, tuple)) else [by]
        return self._with(group={"by": columns, "aggregates": made}, sort=[], columns=None)

    def join(
        self, other: LoggedTable, on: Any, how: str = "inner", labels: tuple[str, str] = ("left", "right")
    ) -> LoggedTable:
        """Answer this table and another one, side by side where their keys are equal.

        The keys come first, then `_diff` ("same", "changed", "added", "removed"), then the other columns as
        "left.name" and "right.name".

        Args:
            other: The other table: of another step, another run.
            on: A column, or a list of them; a pair where it is named differently on both sides.
            how: "inner", "left" or "outer".
            labels: What stands before the names.

        Raises:
            UsageError: One of them is filtered or grouped already: do that to the joined one.
        """
        for table in (self, other):
            if table._query.keys() - {"source"}:
                raise UsageError("join logged tables as they are; filter, sort and group the joined one.")
        keys = [on] if isinstance(on, (str, int)) else [list(key) if isinstance(key, tuple) else key for key in on]
        join = {"left": self._query["source"], "right": other._query["source"], "on": keys, "how": how}
        return LoggedTable(self._source, {"join": {**join, "labels": list(labels)}})

    def _with(self, **changes: Any) -> LoggedTable:
        query = {**self._query, **changes}
        return LoggedTable(self._source, {key: value for key, value in query.items() if value is not None})

    # --- what it is ----------------------------------------------------------------------

    @property
    def columns(self) -> list[Any]:
        """The columns' names."""
        return [column["name"] for column in self._about()["columns"]]

    @property
    def types(self) -> dict[Any, str]:
        """What each column holds; see `tracker.Table.types`."""
        return {column["name"]: column["type"] for column in self._about()["columns"]}

    @property
    def step(self) -> float | None:
        """Where the table was logged."""
        return self._about()["step"]  # type: ignore[no-any-return]

    @property
    def log_mode(self) -> str | None:
        """How it was logged: "IMMUTABLE", "MUTABLE", "INCREMENTAL"."""
        return self._about()["mode"]  # type: ignore[no-any-return]

    def __len__(self) -> int:
        """Answer the number of rows."""
        return int(self._about()["total"])

    def __bool__(self) -> bool:
        return True

    def _about(self) -> Mapping[str, Any]:
        if self._head is None:
            self._head = self._source.tables({**self._query, "limit": 0})
        return self._head

    # --- reading -------------------------------------------------------------------------

    def rows(self, limit: int | None = None, offset: int = 0) -> list[dict[Any, Any]]:
        """Answer rows, each a dict by column: all of them, or a page.

        Args:
            limit: How many at most.
            offset: How many to pass over.
        """
        found: list[dict[Any, Any]] = []
        for row in self._walk(limit, offset):
            found.append(row)
        return found

    def __iter__(self) -> Iterator[dict[Any, Any]]:
        """Walk the rows, page by page."""
        return self._walk(None, 0)

    def _walk(self, limit: int | None, offset: int) -> Iterator[dict[Any, Any]]:
        left = limit
        while left is None or left > 0:
            wanted = _PAGE_ROWS if left is None else min(left, _PAGE_ROWS)
            page = self._source.tables({**self._query, "limit": wanted, "offset": offset, "total": False})
            columns = page["columns"]
            names = [column["name"] for column in columns]
            turned = [(place, turn) for place, column in enumerate(columns) if (turn := self._turn(column))]
            for row in page["rows"]:
                for place, turn in turned:
                    row[place] = None if row[place] is None else turn(row[place])
                yield dict(zip(names, row, strict=True))
            offset += len(page["rows"])
            left = None if left is None else left - len(page["rows"])
            if not page["more"]:
                return

    def _turn(self, column: Mapping[str, Any]) -> Callable[[Any], Any] | None:
        """Answer what makes cells of an answer what they were in the table; None where they are that already."""
        if column["type"] == "datetime":
            return _moment
        if column["type"] != "media":
            return None
        name, join = str(column["name"]), self._query.get("join")
        where = self._query.get("source")
        if join is not None:
            sides = [
                join[side] for side, label in zip(_SIDES, join["labels"], strict=True) if name.startswith(f"{label}.")
            ]
            where = sides[0] if sides else None
        if where is None or "run" not in where:
            return Reference
        path = RunPath(*(unquote(part) for part in where["run"].split("/")))

        def read(cell: Any) -> Any:
            several = cell if isinstance(cell, list) else [cell]
            files = [MediaFile(self._source, path, one, name) for one in several]
            return files if isinstance(cell, list) else files[0]

        return read

    def histogram(self, column: Any, bins: int = 20) -> dict[str, Any]:
        """Answer how the values of a column are spread.

        Args:
            column: Which.
            bins: How many; of texts and the like, how many of the most frequent values.

        Returns:
            `counts` with `edges` (numbers and times; one edge more than counts), or with `values`, `distinct`;
            `missing`, `nan`, `posinf`, `neginf`.
        """
        query = {**self._query, "histograms": [{"column": column, "bins": bins}], "limit": 0, "total": False}
        return dict(self._source.tables(query)["histograms"][0])

    def to_pandas(self) -> pandas.DataFrame:
        """Answer all rows as a data frame.

        Raises:
            MissingFramework: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingFramework("pandas is needed for data frames. Install it with: pip install pandas.") from error
        return pd.DataFrame(self.rows(), columns=self.columns)

    def to_table(self) -> Table:
        """Answer all rows as a `tracker.Table`, without media: those are of the run that logged them."""
        from ..tables import Table

        types = {name: kind for name, kind in self.types.items() if kind != "media"}
        table = Table(columns=list(types), dtype={name: kind for name, kind in types.items() if kind != "null"})
        for row in self.select(list(types)):
            table.add_data(*row.values())
        return table

    def __repr__(self) -> str:
        where = self._query.get("source") or self._query.get("join")
        return f"<LoggedTable {where}>"


def _aggregate(name: str, wanted: Any) -> dict[str, Any]:
    function, *rest = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    found: dict[str, Any] = {"function": function, "name": name}
    if rest:
        found["column"] = rest[0]
    if len(rest) > 1:
        found["q"] = rest[1]
    return found


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=datetime.timezone.utc)
