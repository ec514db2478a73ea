"""From points to buckets: one row of statistics per pixel, whatever the number of points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...core.paths import RunPath
from .base import Series
from .rows import Floats, Ints

# A group of points that stand in one bucket. `t_first` and `t_last` are ns since the epoch, of the points with the
# smallest and the largest x; `min`, `max` and `sum` leave non-finite values out.
ITEM = np.dtype(
    [
        ("x", "<f8"),
        ("x_last", "<f8"),
        ("t_first", "<i8"),
        ("t_last", "<i8"),
        ("first", "<f8"),
        ("last", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("sum", "<f8"),
        ("count", "<i8"),
        ("nan", "<i8"),
        ("posinf", "<i8"),
        ("neginf", "<i8"),
    ]
)
SORTED_POINTS = 200_000  # more are not sorted by x where they come in another order
_SUMS = ("sum", "count", "nan", "posinf", "neginf")
COLUMNS = ("x", "x_last", "first", "last", "min", "max", "mean", "count", "nan", "posinf", "neginf")


class Points(NamedTuple):
    """What a series is made of: single points, and groups of points that need not be told apart.

    Args:
        x, y: Of the single points.
        times: Ns since the epoch: the order of writing among points of equal x.
        items: Groups, as `ITEM` records; None where there are none.
    """

    x: Floats
    y: Floats
    times: Ints
    items: np.ndarray | None = None


def bucketed(
    path: RunPath,
    key: str,
    points: Points | None,
    low: float | None,
    high: float | None,
    buckets: int,
    log_x: bool,
) -> Series:
    """Answer a series in at most `buckets` buckets (one more with `log_x`)."""
    table = np.zeros(0, ITEM)
    exact = True
    if points is not None:
        points = _within(points, low, high)
        if len(points.x) or points.items is not None:
            table, exact = _table(points, low, high, max(1, buckets), log_x)
    return _series(path, key, table, exact)


def interior_edges(low: float, high: float, buckets: int) -> Floats:
    """Answer the `buckets - 1` places where a bucket ends and the next begins."""
    part = np.arange(1, buckets) / buckets
    edges: Floats = low * (1 - part) + high * part  # in this form neither end overflows
    return edges


def _within(points: Points, low: float | None, high: float | None) -> Points:
    """Leave out what lies outside the range or nowhere; put the rest in order of x, then of writing, unless it is a lot."""
    x, y, times = points.x, points.y, points.times
    keep = np.isfinite(x)
    if low is not None:
        keep &= x >= low
    if high is not None:
        keep &= x <= high
    if not keep.all():
        x, y, times = x[keep], y[keep], times[keep]
    if len(x) <= SORTED_POINTS and not _is_sorted(x, times):
        order = np.argsort(x, kind="stable") if np.all(times[1:] >= times[:-1]) else np.lexsort((times, x))
        x, y, times = x[order], y[order], times[order]
    return Points(x, y, times, points.items)


def _is_sorted(x: Floats, times: Ints) -> bool:
    return not (np.any(x[1:] < x[:-1]) or np.any((x[1:] == x[:-1]) & (times[1:] < times[:-1])))


def _table(points: Points, low: float | None, high: float | None, buckets: int, log_x: bool) -> tuple[np.ndarray, bool]:
    is_sorted = len(points.x) <= SORTED_POINTS or _is_sorted(points.x, points.times)
    places = _distinct(points, buckets, is_sorted)
    if places is not None:
        edges, exact = places[1:], True
    else:
        edges, exact = _edges(points, low, high, buckets, log_x), False
    parts = []
    if len(points.x):
        parts.append(_grouped_sorted(points, edges) if is_sorted else _grouped_unsorted(points, edges))
    if points.items is not None and len(points.items):
        middle = points.items["x"] * 0.5 + points.items["x_last"] * 0.5
        parts.append((np.searchsorted(edges, middle, side="right"), points.items))
    if len(parts) == 1 and len(points.x):
        return parts[0][1], exact
    buckets_of = np.concatenate([part[0] for part in parts])
    return _merged(buckets_of, np.concatenate([part[1] for part in parts])), exact


def _distinct(points: Points, most: int, is_sorted: bool) -> Floats | None:
    """Answer the different x, rising, if there are at most so many."""
    x = points.x
    if not is_sorted:
        if len(np.unique(x[: 8 * most])) > most:
            return None
        x = np.unique(x)
    if points.items is not None and len(points.items):
        if (points.items["x"] != points.items["x_last"]).any():
            return None
        x = np.unique(np.concatenate((x, points.items["x"])))
        return x if len(x) <= most else None
    begins = np.flatnonzero(x[1:] != x[:-1]) + 1
    if len(begins) >= most:
        return None
    return x[np.concatenate((np.zeros(1, np.int64), begins))]


def _edges(points: Points, low: float | None, high: float | None, buckets: int, log_x: bool) -> Floats:
    lowest, highest = _span(points)
    low = lowest if low is None or not np.isfinite(low) else low
    high = highest if high is None or not np.isfinite(high) else high
    if not log_x:
        return interior_edges(low, high, buckets)
    if highest <= 0:
        return interior_edges(low, high, 1)
    if low <= 0:  # what is not above zero has no place on the axis: a bucket of its own, to the left
        positive = [points.x[points.x > 0]]
        if points.items is not None:
            positive.append(points.items["x"][points.items["x"] > 0])
        low = float(np.concatenate(positive).min())
        within = np.exp(interior_edges(np.log(low), np.log(max(high, low)), buckets))
        return np.concatenate(([low], within))
    return np.exp(interior_edges(np.log(low), np.log(max(high, low)), buckets))


def _span(points: Points) -> tuple[float, float]:
    lows, highs = [points.x], [points.x]
    if points.items is not None:
        lows.append(points.items["x"])
        highs.append(points.items["x_last"])
    return float(np.concatenate(lows).min()), float(np.concatenate(highs).max())


def _grouped_sorted(points: Points, edges: Floats) -> tuple[Ints, np.ndarray]:
    x, y, times, _ = points
    bounds = np.concatenate(([0], np.searchsorted(x, edges, side="left"), [len(x)]))
    bucket = np.flatnonzero(bounds[1:] > bounds[:-1])
    starts, ends = bounds[bucket], bounds[bucket + 1]
    found = np.zeros(len(starts), ITEM)
    found["x"], found["x_last"] = x[starts], x[ends - 1]
    found["t_first"], found["t_last"] = times[starts], times[ends - 1]
    found["first"], found["last"] = y[starts], y[ends - 1]
    _sum_up(found, y, starts)
    return bucket, found


def _grouped_unsorted(points: Points, edges: Floats) -> tuple[Ints, np.ndarray]:
    """Do the same with points in any order: sorted by bucket only, which is much quicker where there are millions."""
    which = np.searchsorted(edges, points.x, side="right")
    if len(edges) < 2**16:
        which = which.astype(np.uint16)  # numpy sorts these by radix
    order = np.argsort(which, kind="stable")
    which, x, y, times = which[order], points.x[order], points.y[order], points.times[order]
    starts = np.flatnonzero(np.concatenate(([True], which[1:] != which[:-1])))
    ends = np.concatenate((starts[1:], [len(x)]))
    sizes = ends - starts
    found = np.zeros(len(starts), ITEM)
    found["x"], found["x_last"] = np.minimum.reduceat(x, starts), np.maximum.reduceat(x, starts)
    at_first = np.flatnonzero(x == np.repeat(found["x"], sizes))
    at_last = np.flatnonzero(x == np.repeat(found["x_last"], sizes))
    found["t_first"] = np.minimum.reduceat(times[at_first], np.searchsorted(at_first, starts))
    found["t_last"] = np.maximum.reduceat(times[at_last], np.searchsorted(at_last, starts))
    at_first = at_first[times[at_first] == np.repeat(found["t_first"], sizes)[at_first]]
    at_last = at_last[times[at_last] == np.repeat(found["t_last"], sizes)[at_last]]
    found["first"] = y[at_first[np.searchsorted(at_first, starts)]]
    found["last"] = y[at_last[np.searchsorted(at_last, ends) - 1]]
    _sum_up(found, y, starts)
    return which[starts].astype(np.int64), found


def _sum_up(found: np.ndarray, y: Floats, starts: Ints) -> None:
    """Fill in what does not depend on the order of a bucket's points."""
    found["count"] = np.diff(starts, append=len(y))
    finite = np.isfinite(y)
    low = high = y
    if not finite.all():
        for name, which in (("nan", np.isnan(y)), ("posinf", y == np.inf), ("neginf", y == -np.inf)):
            found[name] = np.add.reduceat(which.astype(np.int64), starts)
        low, high, y = np.where(finite, y, np.inf), np.where(finite, y, -np.inf), np.where(finite, y, 0.0)
    with np.errstate(over="ignore"):
        found["sum"] = np.add.reduceat(y, starts)
    found["min"] = np.minimum.reduceat(low, starts)
    found["max"] = np.maximum.reduceat(high, starts)


def _merged(bucket: Ints, items: np.ndarray) -> np.ndarray:
    order = np.lexsort((items["t_first"], items["x"], bucket))
    bucket, items = bucket[order], items[order]
    starts = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
    found: np.ndarray = items[starts].copy()
    for name in _SUMS:
        with np.errstate(over="ignore", invalid="ignore"):
            found[name] = np.add.reduceat(items[name], starts)
    found["min"] = np.minimum.reduceat(items["min"], starts)
    found["max"] = np.maximum.reduceat(items["max"], starts)
    order = np.lexsort((items["t_last"], items["x_last"], bucket))
    lasts = order[np.concatenate((starts[1:], [len(items)])) - 1]
    for name in ("x_last", "t_last", "last"):
        found[name] = items[name][lasts]
    return found


def _series(path: RunPath, key: str, table: np.ndarray, exact: bool) -> Series:
    finite = table["count"] - table["nan"] - table["posinf"] - table["neginf"]
    has = finite > 0
    columns = {name: table[name].astype(np.float64) for name in COLUMNS if name != "mean"}
    columns["mean"] = np.divide(table["sum"], finite, out=np.full(len(table), np.nan), where=has)
    columns["min"][~has] = np.nan
    columns["max"][~has] = np.nan
    return Series(
        path,
        key,
        {name: columns[name] for name in COLUMNS},
        int(table["count"].sum()),
        exact,
        float(table["x"].min()) if len(table) else float("nan"),
        float(table["x_last"].max()) if len(table) else float("nan"),
    )
