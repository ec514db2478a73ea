"""The metric store: what is told twice is kept once, and what was kept is there after a start."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracker.core.journal import Block, Entry
from tracker.core.record import Kind
from tracker.server.stores import GapError, Stores, metrics, open_stores
from tracker.server.stores import rows as row_parts
from tracker.server.stores.metrics import SqliteMetrics

from .reference import RUN, assert_series, control, entries_of, numbers, rows_of, same

FEW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)


@pytest.fixture(autouse=True, params=[1, 100], ids=["tables", "columns"])
def small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Slabs of a few rows."""
    monkeypatch.setattr(row_parts, "TABLE_KEYS", request.param)
    monkeypatch.setattr(metrics, "SLAB_ROWS", 16)
    monkeypatch.setattr(metrics, "MERGE_BATCHES", 3)


def cut(entries: list[Entry], low: int, high: int) -> list[Entry]:
    """Answer the records with the numbers `low` up to `high`."""
    found: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Block):
            rest = entry.after(low - 1) if entry.last_seq >= low else None
            if rest is not None and rest.first_seq <= high:
                found.append(_upto(rest, high))
        elif low <= entry.seq <= high:
            found.append(entry)
    return found


def _upto(block: Block, high: int) -> Block:
    rows = list(rows_of(block.steps, [values for _, _, values in block.rows()], block.first_seq))
    return entries_of([row for row in rows if row.seq <= high], 10**6)[0]  # type: ignore[return-value]


@FEW
@given(data=st.data())
def test_overlapping_batches_change_nothing(new_stores: Callable[[], Stores], data: st.DataObject) -> None:
    """Batches may overlap, repeat and come late; each record counts once."""
    store = new_stores().metrics
    count = data.draw(st.integers(1, 80))
    rows = rows_of(range(count), [{"a": float(index % 7), "b": index} for index in range(count)])
    entries: list[Entry] = [*entries_of(rows, 11), control(Kind.EXIT, count + 1)]
    cursor = 0
    while cursor < count + 1:
        low = data.draw(st.integers(max(1, cursor - 20), cursor + 1))
        high = data.draw(st.integers(low, count + 1))
        cursor = max(cursor, high)
        assert cursor == store.append(RUN, "s", cut(entries, low, high))

    assert_series(store.series(RUN, "a", buckets=9), numbers(rows, "a"))
    assert store.keys(RUN)["b"]["points"] == count
    assert store.append(RUN, "s", entries) == count + 1
    assert store.totals(RUN) == (2 * count, count - 1)


def test_a_gap_is_refused(stores: Stores) -> None:
    """Records that do not follow are refused with the cursor, and nothing of them is kept."""
    stores.metrics.append(RUN, "s", entries_of(rows_of(range(3), [{"a": 1.0}] * 3)))
    with pytest.raises(GapError) as caught:
        stores.metrics.append(RUN, "s", entries_of(rows_of([9], [{"a": 1.0}], first_seq=5)))

    assert caught.value.cursor == stores.metrics.cursor(RUN, "s") == 3
    assert stores.metrics.keys(RUN)["a"]["points"] == 3


def test_a_known_gap_is_passed_over(stores: Stores) -> None:
    """A LOST record that spans missing records moves the cursor over them."""
    stores.metrics.append(RUN, "s", entries_of(rows_of(range(3), [{"a": 1.0}] * 3)))
    lost = control(Kind.LOST, 9, {"count": 6, "first_seq": 4, "last_seq": 9})
    cursor = stores.metrics.append(RUN, "s", [lost, *entries_of(rows_of([9], [{"a": 1.0}], first_seq=10))])

    assert (cursor, 4) == (10, stores.metrics.keys(RUN)["a"]["points"])


@FEW
@given(
    values=st.lists(
        st.one_of(st.floats(-1e9, 1e9), st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(-9, 9)),
        min_size=1,
        max_size=50,
    ),
    size=st.integers(1, 20),
)
def test_statistics_of_a_key(new_stores: Callable[[], Stores], values: list[float], size: int) -> None:
    """Counts, extremes, mean, first and last are those of all values, also after a start."""
    stores = new_stores()
    for entry in entries_of(rows_of(range(len(values)), [{"a": value} for value in values]), size):
        stores.metrics.append(RUN, "s", [entry])
    again = SqliteMetrics(stores.folder / "metrics.db")
    finite = [value for value in values if math.isfinite(value)]
    for store in (stores.metrics, again):
        told = store.keys(RUN)["a"]
        assert (told["points"], told["numeric"], told["finite"]) == (len(values), len(values), len(finite))
        assert told["nan"] == sum(value != value for value in values)
        assert same(told["first"], values[0])
        assert same(told["last"], values[-1])
        assert told["last_step"] == len(values) - 1
        if finite:
            assert (told["min"], told["max"]) == (min(finite), max(finite))
            assert told["mean"] == pytest.approx(np.mean(finite), abs=1e-6)
        else:
            assert told["min"] is told["max"] is told["mean"] is None
    again.close()


def test_many_keys(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with a new key in every row keeps them all."""
    monkeypatch.setattr(metrics, "SLAB_ROWS", 1000)
    rows = rows_of(range(5000), [{f"key/{index}": float(index)} for index in range(5000)])
    for entry in entries_of(rows, 500):
        stores.metrics.append(RUN, "s", [entry])

    assert len(stores.metrics.keys(RUN)) == 5000
    assert list(stores.metrics.series(RUN, "key/4321").columns["last"]) == [4321.0]


def test_a_large_tail_is_cut_early(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of very many values do not wait for a slab's worth of rows."""
    monkeypatch.setattr(metrics, "SLAB_ROWS", 10_000)
    monkeypatch.setattr(metrics, "TAIL_POINTS", 300)
    rows = rows_of(range(20), [{f"k{key}": float(index) for key in range(50)} for index in range(20)])
    for entry in entries_of(rows, 1):
        stores.metrics.append(RUN, "s", [entry])

    assert stores.metrics.totals(RUN) == (1000, 19)
    assert_series(stores.metrics.series(RUN, "k7"), numbers(rows, "k7"))


def test_a_failed_batch_leaves_no_trace(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses in the midst of a batch, the batch can come again as if nothing was."""
    rows = rows_of(range(40), [{"a": float(index), f"k{index}": 1} for index in range(40)])
    stores.metrics.append(RUN, "s", entries_of(rows[:10]))
    with monkeypatch.context() as patch:
        patch.setattr(metrics, "pack_chunk", _refuse)
        with pytest.raises(OSError, match="disk"):
            stores.metrics.append(RUN, "s", entries_of(rows[10:]))
    assert stores.metrics.cursor(RUN, "s") == 10
    assert stores.metrics.keys(RUN)["a"]["points"] == 10
    stores.metrics.append(RUN, "s", entries_of(rows[10:]))

    assert_series(stores.metrics.series(RUN, "a"), numbers(rows, "a"))
    assert len(stores.metrics.keys(RUN)) == 41


def _refuse(*_: object) -> None:
    raise OSError("the disk is full")


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    """Stores opened twice see each other's writes, and neither is in the other's way."""
    one, two = open_stores(tmp_path), open_stores(tmp_path)
    rows = rows_of(range(60), [{"a": float(index), f"k{index}": 1} for index in range(60)])
    for index, entry in enumerate(entries_of(rows, 1)):
        (one if index % 2 else two).metrics.append(RUN, "s", [entry])
    for stores in (one, two):
        assert_series(stores.metrics.series(RUN, "a"), numbers(rows, "a"))
        assert len(stores.metrics.keys(RUN)) == 61
        stores.close()


def test_a_forgotten_run_can_come_again(stores: Stores) -> None:
    """Nothing is left of a run that was removed."""
    rows = rows_of(range(40), [{"a": 1.0}] * 40)
    stores.metrics.append(RUN, "s", entries_of(rows))
    stores.metrics.forget(RUN)
    assert stores.metrics.cursor(RUN, "s") == 0
    assert stores.metrics.keys(RUN) == {}
    stores.metrics.append(RUN, "s", entries_of(rows[:5]))

    assert stores.metrics.totals(RUN) == (5, 4)
