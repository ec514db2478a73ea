"""`JoinedTable`: two tables side by side, matched by a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ..errors import UsageError
from ..media.base import Encodable, Media
from ..values import Reference
from .table import Table


class JoinedTable(Media):
    """Two tables, row by row where their key is the same; rows without a partner are kept.

    Args:
        table1: The left table.
        table2: The right one.
        join_key: The column that matches, or a list with its name on the left and on the right.

    Raises:
        UsageError: One of them is no table, or has no such column.

    Example:
        run.log({"both": tracker.JoinedTable(before, after, "id")})
    """

    _type: ClassVar[str] = "table-file"
    _is_table = True

    def __init__(self, table1: Table, table2: Table, join_key: Any) -> None:
        for table in (table1, table2):
            if not isinstance(table, Table):
                raise UsageError(f"JoinedTable takes two tables, got a {type(table).__name__}.")
        keys = list(join_key) if isinstance(join_key, (list, tuple)) else [join_key, join_key]
        if len(keys) != 2:
            raise UsageError(f"the key of a join is a column's name, or two of them; got {join_key!r}.")
        table1._named(keys[0])
        table2._named(keys[1])
        self._tables = (table1, table2)
        self._join_key = keys

    def table(self) -> Table:
        """Answer the joined rows as a table: in the order of the left one, then those only on the right.

        The key comes first, then the other columns of the left table and of the right one; those of equal name are
        marked with "1." and "2.". A row with several partners stands there once for each.
        """
        left, right = self._tables
        left_key, right_key = self._join_key
        left_names = [name for name in left.columns if name != left_key]
        right_names = [name for name in right.columns if name != right_key]
        both = set(left_names) & set(right_names) | {left_key}
        names = [left_key, *(f"1.{n}" if n in both else n for n in left_names)]
        names += [f"2.{name}" if name in both else name for name in right_names]
        found = Table(columns=names, allow_mixed_types=True)
        partners: dict[Any, list[int]] = {}
        right_rows = [dict(zip(right.columns, row, strict=True)) for _, row in right.iterrows()]
        for index, row in enumerate(right_rows):
            partners.setdefault(_key(row[right_key]), []).append(index)
        met: set[int] = set()
        for _, values in left.iterrows():
            row = dict(zip(left.columns, values, strict=True))
            matches: list[int | None] = list(partners.get(_key(row[left_key]), ())) or [None]
            for match in matches:
                other: Mapping[Any, Any] = {} if match is None else right_rows[match]
                if match is not None:
                    met.add(match)
                found.add_data(row[left_key], *(row[n] for n in left_names), *(other.get(n) for n in right_names))
        for index, row in enumerate(right_rows):
            if index not in met:
                found.add_data(row[right_key], *(None for _ in left_names), *(row[name] for name in right_names))
        return found

    def snapshot(self) -> Encodable | Reference:
        """Answer what is to be stored now: the joined rows."""
        return self.table().snapshot()

    def __repr__(self) -> str:
        return f"<JoinedTable of {self._tables[0]!r} and {self._tables[1]!r}>"


def _key(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
