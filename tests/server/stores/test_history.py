"""The history: all rows as they were logged, in order of step."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracker.core.record import Kind
from tracker.server.stores import Stores, metrics
from tracker.server.stores import rows as row_parts

from .reference import RUN, START_NS, Row, control, entries_of, rows_of, same

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

values = st.one_of(
    st.floats(), st.integers(-(2**70), 2**70), st.booleans(), st.none(), st.text(max_size=3), st.lists(st.integers())
)
rows = st.lists(
    st.tuples(
        st.one_of(st.integers(-5, 5), st.floats(-5, 5)), st.dictionaries(st.sampled_from("abc"), values, max_size=3)
    ),
    min_size=1,
    max_size=40,
).map(lambda found: rows_of([step for step, _ in found], [value for _, value in found]))


@pytest.fixture(autouse=True, params=[1, 100], ids=["tables", "columns"])
def small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Slabs of a few rows."""
    monkeypatch.setattr(row_parts, "TABLE_KEYS", request.param)
    monkeypatch.setattr(metrics, "SLAB_ROWS", 8)
    monkeypatch.setattr(metrics, "MERGE_BATCHES", 2)


@FEW
@given(rows=rows, size=st.integers(1, 20), is_ended=st.booleans())
def test_all_rows_come_back(new_stores: Callable[[], Stores], rows: list[Row], size: int, is_ended: bool) -> None:
    """Every value of every row comes back as it was logged, by step, equal steps in order of writing."""
    store = new_stores().metrics
    for entry in entries_of(rows, size):
        store.append(RUN, "s", [entry])
    if is_ended:
        store.append(RUN, "s", [control(Kind.EXIT, len(rows) + 1)])
    blocks = list(store.history(RUN))
    found = [row for block in blocks for row in block.rows()]
    expected = sorted(rows, key=lambda row: row.step)

    assert [row.step for row in expected] == [step for step, _, _ in found]
    assert [row.time_ns for row in expected] == [time_ns for _, time_ns, _ in found]
    for row, (_, _, told) in zip(expected, found, strict=True):
        assert row.values.keys() == told.keys()
        assert all(same(row.values[key], told[key]) for key in told)
    assert [block.first_seq for block in blocks] == [1 + sum(map(len, blocks[:index])) for index in range(len(blocks))]


@FEW
@given(rows=rows, low=st.integers(-6, 6), high=st.integers(-6, 6))
def test_keys_and_range(new_stores: Callable[[], Stores], rows: list[Row], low: int, high: int) -> None:
    """Asked for some keys in a range, it answers the rows that have one of them there, with no other key."""
    store = new_stores().metrics
    store.append(RUN, "s", entries_of(rows, 5))
    found = [row for block in store.history(RUN, ["b", "c", "none"], low, high) for row in block.rows()]
    expected = [row for row in sorted(rows, key=lambda row: row.step) if low <= row.step <= high]
    expected = [row for row in expected if "b" in row.values or "c" in row.values]

    assert [row.time_ns for row in expected] == [time_ns for _, time_ns, _ in found]
    assert all("a" not in told for _, _, told in found)


def test_streams_are_merged(stores: Stores) -> None:
    """Rows of several processes come in one order: by step, then by time."""
    one = [Row(seq, seq // 2, START_NS + seq * 10, {"a": seq}) for seq in range(1, 40)]
    two = [Row(seq, seq // 2, START_NS + seq * 10 + 5, {"b": seq}) for seq in range(1, 40)]
    stores.metrics.append(RUN, "one", entries_of(one))
    stores.metrics.append(RUN, "two", entries_of(two))
    found = [row for block in stores.metrics.history(RUN) for row in block.rows()]
    expected = sorted([*one, *two], key=lambda row: (row.step, row.time_ns))

    assert [(row.step, row.time_ns, row.values) for row in expected] == found


def test_a_run_that_is_unknown_has_no_rows(stores: Stores) -> None:
    """Asking for what is not there answers nothing."""
    assert list(stores.metrics.history(RUN)) == []
    assert stores.metrics.keys(RUN) == {}
    assert stores.metrics.totals(RUN) == (0, None)
    assert stores.metrics.series(RUN, "a").points == 0


def test_a_step_that_is_no_number_is_kept(stores: Stores) -> None:
    """Rows at a step that no axis has are in the history, and harm no chart."""
    rows = rows_of([0.0, math.nan, 1.0, math.inf, -math.inf], [{"a": float(index)} for index in range(5)])
    for entry in entries_of(rows, 2):
        stores.metrics.append(RUN, "s", [entry])
    for _ in range(2):
        found = [values["a"] for block in stores.metrics.history(RUN) for _, _, values in block.rows()]
        assert sorted(found) == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert list(stores.metrics.series(RUN, "a").columns["last"]) == [0.0, 2.0]
        assert stores.metrics.totals(RUN) == (5, 1.0)
        stores.metrics.append(RUN, "s", [control(Kind.EXIT, 6)])
