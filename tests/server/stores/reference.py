"""What the stores must answer, worked out slowly from plain rows; and ways to make entries of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tracker.core.journal import Block, Entry
from tracker.core.paths import RunPath
from tracker.core.record import Control, Kind
from tracker.core.values import encodable
from tracker.server.stores import Series

RUN = RunPath("local", "digits", "r1")
START_NS = 1_700_000_000_000_000_000


class Row(NamedTuple):
    """A row as it was logged."""

    seq: int
    step: int | float
    time_ns: int
    values: dict[str, Any]


def rows_of(steps: Sequence[int | float], values: Sequence[dict[str, Any]], first_seq: int = 1) -> list[Row]:
    """Make rows a microsecond apart."""
    return [
        Row(first_seq + index, step, START_NS + (first_seq + index) * 1000, value)
        for index, (step, value) in enumerate(zip(steps, values, strict=True))
    ]


def block_of(rows: Sequence[Row]) -> Block:
    """Pack rows as the journal would."""
    pack = msgspec.msgpack.Encoder().encode
    return Block.from_rows(rows[0].seq, [pack((row.step, row.time_ns, encodable(row.values))) for row in rows])


def entries_of(rows: Sequence[Row], size: int = 1024) -> list[Entry]:
    """Pack rows in blocks of at most `size`."""
    return [block_of(rows[low : low + size]) for low in range(0, len(rows), size)]


def control(kind: Kind, seq: int, body: dict[str, Any] | None = None, time_ns: int | None = None) -> Control:
    """Make a control record, a microsecond after the one before."""
    return Control(kind, seq, START_NS + seq * 1000 if time_ns is None else time_ns, body or {})


def numbers(rows: Iterable[Row], key: str) -> list[tuple[float, float]]:
    """Answer step and value of what can be charted, in order of step, equal steps in order of writing."""
    found = [
        (float(row.step), float(row.values[key])) for row in rows if isinstance(row.values.get(key), (bool, int, float))
    ]
    return sorted(found, key=lambda pair: pair[0])


def assert_series(series: Series, points: Sequence[tuple[float, float]]) -> None:
    """Assert that a series' buckets follow each other and hold just these points (in order of x)."""
    columns = series.columns
    assert series.points == len(points) == columns["count"].sum()
    low = 0
    for bucket in range(len(columns["x"])):
        high = low + int(columns["count"][bucket])
        part = points[low:high]
        values = np.array([y for _, y in part])
        finite = values[np.isfinite(values)]
        told = {name: column[bucket] for name, column in columns.items()}
        assert (part[0][0], part[-1][0]) == (told["x"], told["x_last"])
        assert same(part[0][1], told["first"])
        assert same(part[-1][1], told["last"])
        assert (np.isnan(values).sum(), (values == math.inf).sum(), (values == -math.inf).sum()) == (
            told["nan"],
            told["posinf"],
            told["neginf"],
        )
        if len(finite):
            assert (finite.min(), finite.max()) == (told["min"], told["max"])
            scale = max(1.0, float(np.abs(finite).max()))
            assert abs(float(finite.mean()) - told["mean"]) <= 1e-9 * scale
        else:
            assert all(math.isnan(told[name]) for name in ("min", "max", "mean"))
        low = high


def same(one: Any, other: Any) -> bool:
    """Answer whether two values are the same, NaN equal to itself."""
    return one == other or (one != one and other != other)
