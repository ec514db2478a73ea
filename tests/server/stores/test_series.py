"""Charts: every bucket tells the truth about all its points, however they were written and wherever they lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracker.core.record import Kind
from tracker.server.stores import Stores, chunks, metrics
from tracker.server.stores import buckets as bucketing

from .reference import RUN, START_NS, Row, assert_series, control, entries_of, numbers, rows_of

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

steps = st.one_of(st.integers(-50, 50), st.floats(-50, 50, allow_nan=False))
values = st.one_of(
    st.floats(-1e12, 1e12),
    st.integers(-1000, 1000),
    st.booleans(),
    st.none(),
    st.just("text"),
    st.sampled_from([math.nan, math.inf, -math.inf]),
)
rows = st.lists(
    st.tuples(steps, st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2)), min_size=1, max_size=60
).map(lambda found: rows_of([step for step, _ in found], [value for _, value in found]))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of a few rows, so that a few rows make many."""
    monkeypatch.setattr(metrics, "SLAB_ROWS", 16)
    monkeypatch.setattr(metrics, "MERGE_BATCHES", 3)
    monkeypatch.setattr(chunks, "STAT_ROWS", 4)
    monkeypatch.setattr(chunks, "FEW_VALUES", 2)
    monkeypatch.setattr("tracker.server.stores.gather.STAT_ROWS", 4)


@FEW
@given(rows=rows, size=st.integers(1, 30), buckets=st.integers(1, 40), ended=st.booleans())
def test_buckets_agree_with_the_rows(
    new_stores: Callable[[], Stores], rows: list[Row], size: int, buckets: int, ended: bool
) -> None:
    """Whatever the steps, the values and the batches, each bucket's figures are those of its points."""
    store = new_stores().metrics
    for entry in entries_of(rows, size):
        store.append(RUN, "s", [entry])
    if ended:
        store.append(RUN, "s", [control(Kind.EXIT, len(rows) + 1)])
    for key in ("a", "b"):
        series = store.series(RUN, key, buckets=buckets)
        points = numbers(rows, key)

        assert len(series.columns["x"]) <= buckets
        assert_series(series, points)
        if len({x for x, _ in points}) <= buckets:
            assert series.exact
            assert list(series.columns["x"]) == list(series.columns["x_last"]) == sorted({x for x, _ in points})


@FEW
@given(rows=rows, low=st.floats(-60, 60), width=st.floats(0, 60), buckets=st.integers(1, 40))
def test_a_range_is_cut_exactly(
    new_stores: Callable[[], Stores], rows: list[Row], low: float, width: float, buckets: int
) -> None:
    """Zooming in answers the points of the range, both ends included, and no others."""
    store = new_stores().metrics
    store.append(RUN, "s", entries_of(rows, 7))
    series = store.series(RUN, "a", low=low, high=low + width, buckets=buckets)

    assert_series(series, [point for point in numbers(rows, "a") if low <= point[0] <= low + width])


@pytest.mark.parametrize("log_x", [False, True])
@pytest.mark.parametrize("is_dense", [False, True])
def test_statistics_stand_for_the_points(stores: Stores, log_x: bool, is_dense: bool) -> None:
    """A long run is told by the statistics of its slabs, and the figures are those of all its points."""
    rng = np.random.default_rng(1)
    data: list[dict[str, Any]] = [
        {"a": float(value)} if is_dense or index % 3 else {"b": 1.0}
        for index, value in enumerate(rng.normal(size=3000))
    ]
    rows = rows_of(range(3000), data)
    stores.metrics.append(RUN, "s", entries_of(rows))
    opened = stores.metrics.series(RUN, "a", buckets=3000, log_x=log_x)
    series = stores.metrics.series(RUN, "a", buckets=20, log_x=log_x)

    assert_series(opened, numbers(rows, "a"))
    assert_series(series, numbers(rows, "a"))
    assert not series.exact
    assert len(series.columns["x"]) <= 21


@settings(FEW, max_examples=8)
@given(at=st.integers(0, 4999), buckets=st.integers(1, 50), height=st.sampled_from([25.0, -25.0, math.nan, math.inf]))
def test_a_spike_is_never_lost(new_stores: Callable[[], Stores], at: int, buckets: int, height: float) -> None:
    """One value in thousands is seen in its bucket, at any zoom."""
    data = [{"loss": 0.5} for _ in range(5000)]
    data[at] = {"loss": height}
    store = new_stores().metrics
    store.append(RUN, "s", entries_of(rows_of(range(5000), data)))
    for low, high in ((None, None), (max(0, at - 1000), at + 1000)):
        columns = store.series(RUN, "loss", low=low, high=high, buckets=buckets).columns
        (bucket,) = np.flatnonzero((columns["x"] <= at) & (columns["x_last"] >= at))
        if math.isnan(height):
            assert columns["nan"][bucket] == 1
        elif math.isinf(height):
            assert columns["posinf"][bucket] == 1
        else:
            assert height in (columns["min"][bucket], columns["max"][bucket])


def test_the_answer_does_not_depend_on_the_batches(new_stores: Callable[[], Stores]) -> None:
    """The same rows give the same picture, byte for byte, whether they came one by one or all at once."""
    rows = rows_of([*range(200), *range(100, 300)], [{"a": index * 0.1} for index in range(400)])
    pictures = set()
    for size in (1, 7, 400):
        store = new_stores().metrics
        for entry in entries_of(rows, size):
            store.append(RUN, "s", [entry])
        series = store.series(RUN, "a", buckets=25)
        pictures.add(b"".join(series.columns[name].tobytes() for name in series.columns if name != "mean"))

    assert len(pictures) == 1


def test_streams_are_drawn_together(stores: Stores) -> None:
    """Two processes that log the same metric make one series: by step, equal steps by time of writing."""
    one = [Row(seq, seq, START_NS + seq * 10, {"a": float(seq)}) for seq in range(1, 101)]
    two = [Row(seq, seq, START_NS + seq * 10 + 5, {"a": float(-seq)}) for seq in range(1, 101)]
    stores.metrics.append(RUN, "one", entries_of(one))
    stores.metrics.append(RUN, "two", entries_of(two))
    points = sorted([*one, *two], key=lambda row: (row.step, row.time_ns))
    for buckets in (3, 100):
        assert_series(stores.metrics.series(RUN, "a", buckets=buckets), [(row.step, row.values["a"]) for row in points])


def test_time_and_runtime_are_axes(stores: Stores) -> None:
    """Wall time is told in nanoseconds since the epoch, the run's own time in seconds."""
    rows = [Row(seq, 0, START_NS + seq * 500_000_000, {"a": 1.0}) for seq in range(1, 5)]
    stores.metrics.append(RUN, "s", entries_of(rows))

    assert [float(row.time_ns) for row in rows] == list(stores.metrics.series(RUN, "a", x="_time").columns["x"])
    assert list(stores.metrics.series(RUN, "a", x="_runtime").columns["x"]) == [0.0, 0.5, 1.0, 1.5]
    assert list(stores.metrics.series(RUN, "a", x="_runtime", start_ns=START_NS).columns["x"]) == [0.5, 1.0, 1.5, 2.0]


def test_any_metric_is_an_axis(stores: Stores) -> None:
    """The x of a point is the other metric's value in its row, else the last one before it in the stream."""
    data: list[dict[str, Any]] = [{"loss": 9.0}, {"epoch": 1}, {"loss": 8.0}, {"loss": 7.0, "epoch": 2}, {"loss": 6.0}]
    rows = rows_of(range(5), data)
    for entry in entries_of(rows, 2):
        stores.metrics.append(RUN, "s", [entry])
    series = stores.metrics.series(RUN, "loss", x="epoch")

    assert list(series.columns["x"]) == [1.0, 2.0]
    assert list(series.columns["first"]) == [8.0, 7.0]
    assert list(series.columns["last"]) == [8.0, 6.0]
    assert stores.metrics.series(RUN, "loss", x="missing").points == 0


@pytest.mark.parametrize("is_dense", [False, True])
@pytest.mark.parametrize("shape", ["rising", "falling", "random", "steps", "with nan"])
@pytest.mark.parametrize("sorted_points", [10, 10_000])
def test_a_metric_as_axis_agrees_with_the_rows(
    stores: Stores, shape: str, is_dense: bool, sorted_points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long run over another metric is bucketed as its points say."""
    monkeypatch.setattr(bucketing, "SORTED_POINTS", sorted_points)
    rng = np.random.default_rng(2)
    count = 2000
    x = {
        "rising": np.arange(count) * 0.5,
        "falling": -np.arange(count) * 0.5,
        "random": rng.normal(size=count),
        "steps": np.arange(count) // 400,
        "with nan": np.where(np.arange(count) == 77, np.nan, np.arange(count)),
    }[shape].astype(float)
    pairs = list(zip(x.tolist(), rng.normal(size=count).tolist(), strict=True))
    rows = rows_of(
        range(count), [{"x": a, "y": b} if is_dense or index % 3 else {} for index, (a, b) in enumerate(pairs)]
    )
    stores.metrics.append(RUN, "s", entries_of(rows))
    points = [(row.values["x"], row.values["y"]) for row in rows if row.values and row.values["x"] == row.values["x"]]
    series = stores.metrics.series(RUN, "y", x="x", buckets=10)

    assert len(series.columns["x"]) <= 10
    assert_series(series, sorted(points, key=lambda point: point[0]))


def test_what_is_not_above_zero_has_a_bucket_on_a_logarithmic_axis(stores: Stores) -> None:
    """Step 0 has no place on a logarithmic axis and is not lost either."""
    rows = rows_of([-5, 0, 1, 10, 100, 1000], [{"a": float(index)} for index in range(6)])
    stores.metrics.append(RUN, "s", entries_of(rows))
    series = stores.metrics.series(RUN, "a", buckets=3, log_x=True)

    assert list(series.columns["count"]) == [2.0, 1.0, 1.0, 2.0] or series.columns["count"].sum() == 6
    assert (series.columns["x"][0], series.columns["x_last"][0]) == (-5.0, 0.0)


def test_a_rewind_hides_what_came_before_it(stores: Stores) -> None:
    """Rows behind the rewind's step that were written before it are hidden, in its own stream and in others."""
    old = rows_of(range(100), [{"a": 1.0} for _ in range(100)])
    stores.metrics.append(RUN, "one", entries_of(old))
    new = [Row(seq, 49 + seq, START_NS + 10**9 + seq, {"a": 2.0}) for seq in range(2, 12)]
    stores.metrics.append(RUN, "two", [control(Kind.REWIND, 1, {"step": 50}, START_NS + 10**9), *entries_of(new)])
    shown = [(float(row.step), 1.0) for row in old if row.step <= 50] + [(float(row.step), 2.0) for row in new]

    assert_series(stores.metrics.series(RUN, "a", buckets=10), shown)
    assert_series(stores.metrics.series(RUN, "a", buckets=1000), shown)
    assert stores.metrics.keys(RUN)["a"]["points"] == len(shown)
    assert stores.metrics.totals(RUN) == (len(shown), 60)
    assert len(shown) == sum(len(block) for block in stores.metrics.history(RUN))
    assert sum(len(block) for block in stores.metrics.history(RUN, with_hidden=True)) == 110


@FEW
@given(data=st.data())
def test_rewinds_in_any_order_of_arrival(new_stores: Callable[[], Stores], data: st.DataObject) -> None:
    """Rows that arrive after the rewind that hides them stay hidden."""
    store = new_stores().metrics
    count = data.draw(st.integers(5, 60))
    step = data.draw(st.integers(-1, 60))
    rows = rows_of(range(count), [{"a": float(index)} for index in range(count)])
    streams = [
        ("old", entries_of(rows, data.draw(st.integers(1, 20)))),
        ("new", [control(Kind.REWIND, 1, {"step": step}, START_NS + 10**9)]),
    ]
    for name, entries in data.draw(st.permutations(streams)):
        for entry in entries:
            store.append(RUN, name, [entry])
    shown = [point for point in numbers(rows, "a") if point[0] <= step]

    assert_series(store.series(RUN, "a", buckets=data.draw(st.integers(1, 70))), shown)
    assert store.totals(RUN)[0] == len(shown)


def test_texts_are_kept_and_not_charted(stores: Stores) -> None:
    """A metric that is sometimes a text charts its numbers, and the history has all of it."""
    data = [{"a": 1.0}, {"a": "n/a"}, {"a": None}, {"a": True}, {"a": 10**30}]
    stores.metrics.append(RUN, "s", entries_of(rows_of(range(5), data)))
    (block,) = stores.metrics.history(RUN)

    assert list(stores.metrics.series(RUN, "a").columns["last"]) == [1.0, 1.0, 1e30]
    assert data == [values for _, _, values in block.rows()]
    assert stores.metrics.keys(RUN)["a"]["last"] == 10**30
