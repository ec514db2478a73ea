"""Columns tell the same as rows."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.core.history import join_blocks
from tracker.core.journal import Block
from tracker.core.query.table import Table
from tracker.core.values import encode

START_NS = 1_700_000_000 * 10**9
VALUES = st.one_of(
    st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none(), st.text(max_size=3),
    st.lists(st.integers(0, 9), max_size=2),
)  # fmt: skip
STEPS = st.one_of(st.integers(-3, 10), st.sampled_from([0.5, 1.0, 2.5]))
ROWS = st.lists(st.tuples(STEPS, st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)), max_size=30)


def blocks(rows: list[tuple[Any, dict[str, Any]]], size: int) -> list[Block]:
    """Answer blocks as a store gives them: ordered by step."""
    ordered = sorted(rows, key=lambda row: row[0])
    times = range(START_NS, START_NS + len(rows))
    packed = [encode((step, time_ns, data)) for (step, data), time_ns in zip(ordered, times, strict=True)]
    return [Block.from_rows(low + 1, packed[low : low + size]) for low in range(0, len(packed), size)]


def row(step: float, **values: Any) -> tuple[float, dict[str, Any]]:
    return step, values


@given(ROWS, st.integers(1, 7), st.sampled_from([None, ["a"], ["a", "c"], ["z"]]))
def test_columns_join_as_rows_do(rows: list[Any], size: int, keys: list[str] | None) -> None:
    """Rows of equal step become one, the later value wins, and the order is that of steps."""
    found = blocks(rows, size)

    assert Table.from_blocks(found, START_NS, keys).rows() == list(join_blocks(found, START_NS, keys))


def test_dense_arrays_have_nan_where_nothing_was_logged() -> None:
    table = Table.from_blocks(blocks([row(0, a=1), row(1, b="x"), row(1, a=2), row(2, b=None)], 2), START_NS)
    dense = table.dense()

    assert dense["_step"].tolist() == [0, 1, 2]
    assert dense["a"].tolist()[:2] == [1, 2]
    assert math.isnan(dense["a"][2])
    assert dense["b"].tolist() == [None, "x", None]


def test_a_sample_is_even_and_the_same_each_time() -> None:
    table = Table.from_blocks(blocks([row(step, a=step) for step in range(100)], 10), START_NS)

    assert table.sampled(5).steps.tolist() == [0, 25, 50, 74, 99]
    assert table.sampled(5).columns["a"].values.tolist() == [0, 25, 50, 74, 99]
    assert len(table.sampled(1)) == 1
    assert table.sampled(1000) is table


def test_another_axis_orders_and_leaves_out_what_lacks_it() -> None:
    rows = [row(0, x=3.0, a=1), row(1, a=2), row(2, x=1.0, a=3), row(3, x=float("nan"), a=4), row(4, x="text", a=5)]
    table = Table.from_blocks(blocks(rows, 3), START_NS).ordered_by("x")

    assert [found["a"] for found in table.rows()] == [3, 1]
    assert len(Table.from_blocks(blocks(rows, 3), START_NS).ordered_by("nothing")) == 0


def test_an_empty_history_is_empty() -> None:
    table = Table.from_blocks([], START_NS, ["a"])

    assert (len(table), table.rows(), len(table.dense()["_step"])) == (0, [], 0)


ODD = [row(0, f=1.5, i=1, b=True, t="x", m=1, n=[1, 2]), row(1, i=2**62, m="text"), row(2, f=float("inf"), n=None)]


def test_pandas_gets_a_column_a_key() -> None:
    pytest.importorskip("pandas")
    frame = Table.from_blocks(blocks(ODD, 10), START_NS).to_pandas()

    assert list(frame.columns) == ["_step", "_timestamp", "_runtime", "f", "i", "b", "t", "m", "n"]
    assert frame["f"].tolist()[::2] == [1.5, math.inf]
    assert math.isnan(frame["f"][1])
    assert frame["n"].tolist() == [[1, 2], None, None]


def test_arrow_has_one_type_a_column() -> None:
    pytest.importorskip("pyarrow")
    table = Table.from_blocks(blocks(ODD, 10), START_NS).to_arrow()

    assert table.column("f").to_pylist() == [1.5, None, math.inf]
    assert table.column("i").to_pylist() == [1, 2**62, None]
    assert table.column("b").to_pylist() == [True, None, None]
    assert table.column("m").to_pylist() == ["1", "text", None]
    assert table.column("n").to_pylist() == ["[1, 2]", None, None]
