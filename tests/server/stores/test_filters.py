"""Filters and orders of runs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tracker.core.errors import UsageError
from tracker.core.journal import Entry
from tracker.core.paths import RunPath
from tracker.core.record import Control, Kind
from tracker.server.stores import Stores
from tracker.server.stores.filters import parse_filter

from .reference import START_NS, control, entries_of, rows_of

SECOND = 10**9
NOW = START_NS + 10 * SECOND
CONFIGS: list[dict[str, Any]] = [
    {"lr": 0.1, "opt": {"name": "adam"}, "a.b": 1},
    {"lr": 0.01, "opt": {"name": "sgd"}, "flag": True},
    {"lr": "auto", "layers": [1, 2]},
    {"lr": math.nan},
    {},
]


@pytest.fixture
def runs(stores: Stores) -> Stores:
    """Five runs, r0 to r4."""
    for number, config in enumerate(CONFIGS):
        path = RunPath("local", "digits", f"r{number}")
        fields = {"pid": 1, "name": f"run {number}", "tags": ["odd" if number % 2 else "even", "all"], "group": "g"}
        entries: list[Entry] = [
            Control(Kind.RUN, 1, START_NS + number * SECOND, fields),
            Control(Kind.CONFIG, 2, START_NS + number * SECOND, {"set": config, "remove": []}),
            *entries_of(rows_of([0], [{"loss": [3.0, 1.0, 2.0, math.nan, 5][number]}], 3)),
        ]
        if number == 4:
            entries.append(control(Kind.EXIT, 4, {"state": "failed"}))
        stores.metrics.append(path, "s", entries)
        stores.metadata.apply(path, "s", entries)
    return stores


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, "01234"),
        ({"config.lr": 0.1}, "0"),
        ({"config.lr": {"$gt": 0.01}}, "0"),
        ({"config.lr": {"$gte": 0.01, "$lt": 1}}, "01"),
        ({"config.lr": {"$ne": 0.1}}, "1234"),
        ({"config.lr": "auto"}, "2"),
        ({"config.lr": math.nan}, "3"),
        ({"config.lr": None}, "4"),
        ({"config.lr": {"$exists": False}}, "4"),
        ({"config.lr": {"$exists": True}}, "0123"),
        ({"config.lr.value": 0.1}, "0"),
        ({"config.opt.name": "sgd"}, "1"),
        ({"config.a.b": 1}, "0"),
        ({"config.flag": True}, "1"),
        ({"config.flag": 1}, ""),
        ({"config.layers": 2}, "2"),
        ({"summary_metrics.loss": {"$lt": 3}}, "12"),
        ({"summary.loss": {"$lte": 3}}, "012"),
        ({"state": "failed"}, "4"),
        ({"state": {"$in": ["running", "failed"]}}, "01234"),
        ({"state": {"$nin": ["running"]}}, "4"),
        ({"tags": "odd"}, "13"),
        ({"tags": {"$in": ["odd", "none"]}}, "13"),
        ({"tags": {"$all": ["all", "even"]}}, "024"),
        ({"tags": {"$ne": "odd"}}, "024"),
        ({"tags": {"$nin": ["odd"]}}, "024"),
        ({"display_name": {"$regex": "^run [0-2]$"}}, "012"),
        ({"name": {"$regex": "RUN 3", "$options": "i"}}, "3"),
        ({"name": {"$not": {"$regex": "[0-3]"}}}, "4"),
        ({"$or": [{"config.lr": 0.1}, {"state": "failed"}]}, "04"),
        ({"$and": [{"tags": "even"}, {"$not": {"config.lr": 0.1}}]}, "24"),
        ({"$nor": [{"tags": "odd"}, {"config.lr": 0.1}]}, "24"),
        ({"created_at": {"$gte": "2023-11-14T22:13:22Z"}}, "234"),
        ({"created_at": {"$lt": START_NS // SECOND + 1}}, "0"),
        ({"created_ns": {"$gt": START_NS + SECOND}}, "234"),
        ({"group": "g", "id": "r2"}, "2"),
        ({"fields.pid": 1}, "01234"),
    ],
)  # fmt: skip
def test_a_filter_chooses(runs: Stores, filter: dict[str, Any], expected: str) -> None:
    """Each operator chooses as MongoDB's would."""
    page = runs.metadata.runs(filter=filter, order="+created_at", now_ns=NOW)

    assert expected == "".join(run.path.id[1:] for run in page.runs)
    assert page.total == len(expected)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (None, "43210"),
        ("+created_at", "01234"),
        ("-created_at", "43210"),
        ("summary.loss", "12043"),
        ("-summary_metrics.loss", "40213"),
        ("config.lr", "10234"),
        ("state,-created_at", "43210"),
        (["-tags", "+name"], "13024"),
    ],
)
def test_an_order_sorts(runs: Stores, order: Any, expected: str) -> None:
    """Numbers before texts, and runs without a value (or with NaN) at the end, whichever the direction."""
    assert expected == "".join(run.path.id[1:] for run in runs.metadata.runs(order=order, now_ns=NOW).runs)


def test_pages(runs: Stores) -> None:
    """A page has its part of the list, and the total of all that match."""
    page = runs.metadata.runs("local", "digits", order="+created_at", limit=2, offset=3, now_ns=NOW)

    assert (page.total, ["r3", "r4"]) == (5, [run.path.id for run in page.runs])
    assert runs.metadata.runs("local", "other").total == 0
    assert runs.metadata.runs(limit=None).total == len(runs.metadata.runs(limit=None).runs)


@pytest.mark.parametrize(
    "filter",
    [
        {"nothing": 1},
        {"$where": "1"},
        {"$and": {}},
        {"$or": []},
        {"config.lr": {"$near": 1}},
        {"config.lr": {"$gt": [1]}},
        {"config.lr": {"$in": 3}},
        {"created_at": {"$gt": "yesterday"}},
        {"name": {"$regex": "("}},
        {"name": {"$regex": "x" * 300}},
        {"name": {"$regex": "(a+)+$"}},
        {"name": {"$regex": "(a|aa)+$"}},
        {"name": {"$regex": "(a*)*b"}},
        {"name": {"$regex": ".*.*.*.*x"}},
        {"name": {"$regex": "a?" * 30}},
        {"name": {"$regex": r"(a)\1"}},
        {"$and": [[]]},
    ],
)
def test_what_makes_no_sense_is_refused(filter: dict[str, Any]) -> None:
    """An unknown key or operator, a wrong value or a dangerous pattern is told, not guessed at."""
    with pytest.raises(UsageError):
        parse_filter(filter)


def test_a_filter_has_bounds() -> None:
    """Very deep and very long filters are refused."""
    deep: dict[str, Any] = {"state": "x"}
    for _ in range(100):
        deep = {"$not": deep}
    with pytest.raises(UsageError, match="nested"):
        parse_filter(deep)
    with pytest.raises(UsageError, match="conditions"):
        parse_filter({"$or": [{"state": "x"} for _ in range(1000)]})
