"""Answers over tables are those that plain Python gives."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tracker.core.errors import UsageError
from tracker.server.tables.files import MissingTableError

from .conftest import COUNT, predictions, rows_of

Ask = Callable[..., dict[str, Any]]
ROWS = rows_of(predictions(0))
OTHER = rows_of(predictions(1))


def same(found: Any, expected: Any) -> bool:
    """Answer whether values are equal; NaN is like NaN."""
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return math.isclose(found, expected, rel_tol=1e-9) or (found != found and expected != expected)
    return found == expected  # type: ignore[no-any-return]


def as_rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Answer the rows of an answer as dicts."""
    names = [column["name"] for column in answer["columns"]]
    return [dict(zip(names, row, strict=True)) for row in answer["rows"]]


def test_pages_hold_the_rows_in_order(ask: Ask) -> None:
    """Any page, its numbers, the total, and whether there is more."""
    for offset, limit in ((0, 10), (4990, 100), (1234, 1), (COUNT, 5), (10**9, 5)):
        answer = ask(offset=offset, limit=limit)

        expected = ROWS[offset : offset + limit]
        assert len(answer["rows"]) == len(expected)
        for row, wanted in zip(as_rows(answer), expected, strict=True):
            assert all(same(row[name], wanted[name]) for name in wanted), (row, wanted)
        assert answer["row_ids"] == list(range(offset, min(offset + limit, COUNT))) or not expected
        assert (answer["total"], answer["all_rows"]) == (COUNT, COUNT)
        assert answer["more"] == (offset + limit < COUNT)
    assert answer["columns"][3] == {"name": "score", "type": "float"}
    assert (answer["step"], answer["mode"]) == (0, "IMMUTABLE")


FILTERS: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
    ({"truth": "cat"}, lambda r: r["truth"] == "cat"),
    ({"guess": {"$ne": {"$column": "truth"}}}, lambda r: r["guess"] != r["truth"]),
    ({"guess": {"$column": "truth"}}, lambda r: r["guess"] == r["truth"]),
    ({"guess": None}, lambda r: r["guess"] is None),
    ({"guess": {"$exists": True}}, lambda r: r["guess"] is not None),
    ({"guess": {"$ne": "cat"}}, lambda r: r["guess"] != "cat"),
    ({"score": {"$gt": 0.5, "$lte": 0.9}}, lambda r: r["score"] is not None and 0.5 < r["score"] <= 0.9),
    ({"score": math.nan}, lambda r: r["score"] is not None and r["score"] != r["score"]),
    ({"$not": {"score": {"$lt": 0.5}}}, lambda r: r["score"] is None or not r["score"] < 0.5),
    ({"id": {"$in": [1, 5, 10**30, -3]}}, lambda r: r["id"] in (1, 5)),
    ({"guess": {"$in": ["cat", None]}}, lambda r: r["guess"] in ("cat", None)),
    ({"guess": {"$nin": ["cat", "dog"]}}, lambda r: r["guess"] not in ("cat", "dog")),
    ({"id": {"$in": []}}, lambda r: False),
    ({"truth": {"$contains": "hi"}}, lambda r: "hi" in r["truth"]),
    ({"truth": {"$startswith": "tr"}}, lambda r: r["truth"].startswith("tr")),
    ({"truth": {"$endswith": "k"}}, lambda r: r["truth"].endswith("k")),
    ({"truth": {"$regex": "^(C|S)", "$options": "i"}}, lambda r: r["truth"][0] in "cs"),
    ({"truth": {"$not": {"$regex": "c"}}}, lambda r: "c" not in r["truth"]),
    ({"$or": [{"truth": "cat"}, {"$and": [{"ok": True}, {"id": {"$lt": 100}}]}]},
     lambda r: r["truth"] == "cat" or (r["ok"] and r["id"] < 100)),
    ({"$nor": [{"truth": "cat"}, {"ok": True}]}, lambda r: not (r["truth"] == "cat" or r["ok"])),
    ({"truth": "cat", "ok": False, "id": {"$gte": 2500}}, lambda r: r["truth"] == "cat" and not r["ok"] and r["id"] >= 2500),
    ({"$column": "truth", "$eq": "dog"}, lambda r: r["truth"] == "dog"),
    ({}, lambda r: True),
]  # fmt: skip


@pytest.mark.parametrize(("filter", "holds"), FILTERS)
def test_filters(ask: Ask, filter: dict[str, Any], holds: Callable[[dict[str, Any]], bool]) -> None:
    """Missing values match nothing but null, so that $ne and $not mean what they say."""
    answer = ask(filter=filter, limit=10_000, columns=["id"])

    expected = [row["id"] for row in ROWS if holds(row)]
    assert [row[0] for row in answer["rows"]] == expected == answer["row_ids"]
    assert answer["total"] == len(expected)


def test_orders(ask: Ask) -> None:
    """Several columns, either way; missing values last, equal rows as they lie."""
    answer = ask(sort=[{"column": "truth", "descending": True}, {"column": "guess"}], limit=10_000, columns=["id"])

    expected = sorted(ROWS, key=lambda r: (r["guess"] is None, r["guess"] or ""))
    expected.sort(key=lambda r: r["truth"], reverse=True)
    assert [row[0] for row in answer["rows"]] == [row["id"] for row in expected]
    second = ask(
        sort=[{"column": "truth", "descending": True}, {"column": "guess"}], limit=7, offset=33, columns=["id"]
    )
    assert second["rows"] == answer["rows"][33:40]


def test_groups(ask: Ask) -> None:
    """Every function, with NaN, infinities and missing values left out."""
    names = ["count", "count_distinct", "sum", "mean", "min", "max", "std", "median", "first", "last"]
    aggregates = [{"function": name, "column": "score", "name": name} for name in names]
    aggregates += [
        {"function": "count"},
        {"function": "quantile", "column": "score", "q": 0.9},
        {"function": "mean", "column": "ok"},
        {"function": "sum", "column": "id"},
        {"function": "min", "column": "guess"},
    ]
    answer = ask(group={"by": ["truth"], "aggregates": aggregates[1:]}, limit=100)

    found = {row["truth"]: row for row in as_rows(answer)}
    assert list(found) == ["cat", "dog", "ship", "truck"]
    assert answer["total"] == 4
    for truth, row in found.items():
        members = [r for r in ROWS if r["truth"] == truth]
        there = [r["score"] for r in members if r["score"] is not None]
        finite = [value for value in there if math.isfinite(value)]
        assert row["count"] == len(members)
        assert row["sum"] == pytest.approx(math.fsum(finite))
        assert row["mean"] == pytest.approx(statistics.fmean(finite))
        assert (row["min"], row["max"]) == (min(finite), max(finite))
        assert row["std"] == pytest.approx(statistics.stdev(finite))
        assert row["median"] == pytest.approx(statistics.median(finite))
        assert row["quantile(score, 0.9)"] == pytest.approx(float(np.quantile(finite, 0.9)))
        assert same(row["first"], there[0])
        assert same(row["last"], there[-1])
        assert row["count_distinct"] == len({str(value) for value in there})
        assert row["mean(ok)"] == pytest.approx(statistics.fmean(r["ok"] for r in members))
        assert row["sum(id)"] == sum(r["id"] for r in members)
        assert row["min(guess)"] == min(r["guess"] for r in members if r["guess"] is not None)


def test_groups_are_filtered_sorted_and_paged(ask: Ask) -> None:
    group = {"by": ["truth", "guess"], "aggregates": [{"function": "count", "name": "n"}]}
    answer = ask(group=group, filter={"ok": True}, sort=[{"column": "n", "descending": True}], limit=3, offset=2)

    counts = Counter((r["truth"], r["guess"]) for r in ROWS if r["ok"])
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] is None, item[0][1] or ""))
    assert [tuple(row) for row in answer["rows"]] == [(*key, n) for key, n in expected[2:5]]
    assert answer["total"] == len(counts)
    assert answer["row_ids"] is None
    assert answer["more"]
    (whole,) = ask(group={"by": [], "aggregates": []})["rows"]
    assert whole == [COUNT]


@pytest.mark.parametrize("how", ["inner", "left", "outer"])
def test_joins_mark_what_changed(root: Any, ask: Ask, how: str) -> None:
    """Two runs on a key: same, changed, added, removed."""
    source = ask.__closure__[0].cell_contents  # type: ignore[union-attr]
    sides = {
        side: {"run": f"local/p/{run}", "key": key}
        for side, run, key in (("left", "one", "pred"), ("right", "two", "pred"))
    }
    answer = source.tables(
        {
            "join": {**sides, "on": ["id"], "how": how, "labels": ["a", "b"]},
            "filter": {"id": {"$lt": 200}},
            "columns": ["id", "_diff", "a.truth", "b.truth", "a.score", "b.score"],
            "limit": 1000,
        }
    )

    assert [column["name"] for column in answer["all_columns"]] == [
        "id", "_diff", *(f"{side}.{name}" for side in "ab" for name in ("truth", "guess", "score", "ok"))
    ]  # fmt: skip
    assert answer["total"] == 200
    assert answer["row_ids"] == [[n, n] for n in range(200)]
    for number, row in enumerate(as_rows(answer)):
        ours, theirs = ROWS[number], OTHER[number]
        is_same = all(same(ours[name], theirs[name]) for name in ("truth", "guess", "score", "ok"))
        assert row["_diff"] == ("same" if is_same else "changed")
        assert (row["a.truth"], row["b.truth"]) == (ours["truth"], theirs["truth"])


def test_joins_of_tables_that_do_not_cover_each_other(ask: Ask) -> None:
    source = ask.__closure__[0].cell_contents  # type: ignore[union-attr]
    left = {"run": "local/p/one", "key": "growing", "step": 0}
    right = {"run": "local/p/two", "key": "pred"}

    def joined(how: str, **more: Any) -> dict[str, Any]:
        return source.tables({"join": {"left": left, "right": right, "on": [["value", "id"]], "how": how}, **more})  # type: ignore[no-any-return]

    assert joined("inner")["total"] == 100
    assert joined("left", filter={"_diff": "removed"})["total"] == 0
    outer = joined("outer", limit=3, offset=100)
    assert outer["total"] == COUNT
    assert as_rows(outer)[0]["_diff"] == "added"
    assert as_rows(outer)[0]["value"] == 100
    assert outer["row_ids"] == [[None, 100], [None, 101], [None, 102]]


def test_an_incremental_table_is_one_that_grows(ask: Ask) -> None:
    """Its parts are one table, also where a column changed its type on the way; a step shows it as it was."""
    source = ask.__closure__[0].cell_contents  # type: ignore[union-attr]
    whole = ask("growing", limit=10_000)

    assert whole["total"] == 1000
    assert whole["columns"] == [{"name": "epoch", "type": "int"}, {"name": "value", "type": "float"}]
    assert whole["rows"] == [[n // 100, n % 100 + (0.5 if n >= 500 else 0)] for n in range(1000)]
    assert whole["row_ids"] == list(range(1000))
    assert (whole["step"], whole["mode"]) == (9, "INCREMENTAL")
    before = source.tables({"source": {"run": "local/p/one", "key": "growing", "step": 3.5}, "offset": 350, "limit": 5})
    assert before["total"] == 400
    assert before["rows"] == [[3, 50 + n] for n in range(5)]
    assert before["columns"][1]["type"] == "int"
    page = ask("growing", offset=498, limit=4, filter={"value": {"$gte": 0}})
    assert page["row_ids"] == [498, 499, 500, 501]


def test_histograms(ask: Ask) -> None:
    """Of numbers: those of numpy; of texts: the most frequent."""
    query = {"filter": {"id": {"$lt": 3000}}, "limit": 0}
    score, truth, ok = ask(
        histograms=[{"column": "score", "bins": 13}, {"column": "guess", "bins": 2}, {"column": "ok"}], **query
    )["histograms"]

    members = [row for row in ROWS if row["id"] < 3000]
    there = [row["score"] for row in members if row["score"] is not None]
    counts, edges = np.histogram([value for value in there if math.isfinite(value)], 13)
    assert score["counts"] == counts.tolist()
    assert score["edges"] == pytest.approx(edges.tolist())
    assert (score["nan"], score["posinf"], score["neginf"]) == (
        sum(value != value for value in there), sum(value == math.inf for value in there), 0,
    )  # fmt: skip
    assert score["missing"] == len(members) - len(there)
    frequent = Counter(row["guess"] for row in members if row["guess"] is not None).most_common(2)
    assert list(zip(truth["values"], truth["counts"], strict=True)) == frequent
    assert (truth["distinct"], truth["missing"]) == (4, sum(row["guess"] is None for row in members))
    assert sum(ok["counts"]) == 3000


def test_what_is_not_there(ask: Ask) -> None:
    with pytest.raises(MissingTableError, match="logged no table 'absent'"):
        ask("absent")
    with pytest.raises(MissingTableError):
        ask(run="absent")
    with pytest.raises(UsageError, match="no column 'colour'"):
        ask(filter={"colour": "red"})
    with pytest.raises(UsageError, match="no column 'colour'"):
        ask(columns=["colour"])


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"filter": {"score": {"$gt": "high"}}}, "'score' holds float"),
        ({"filter": {"truth": 1}}, "'truth' holds str"),
        ({"filter": {"ok": 1}}, "'ok' holds bool"),
        ({"filter": {"score": {"$contains": "1"}}}, "looks into texts"),
        ({"filter": {"$where": "1=1"}}, "no operator"),
        ({"filter": {"truth": {"$like": "%"}}}, "no operator"),
        ({"filter": {"$and": []}}, "takes a list of filters"),
        ({"filter": {"truth": {"$regex": "((("}}}, "cannot be answered"),
        ({"filter": {"truth": {"$regex": "x" * 1001}}}, "at most 1000 characters"),
        ({"filter": {"id": {"$in": list(range(10_001))}}}, "at most 10,000 values"),
        ({"filter": {"$or": [{"id": n} for n in range(1001)]}}, "more than 1000 conditions"),
        ({"group": {"by": ["truth"], "aggregates": [{"function": "mean", "column": "guess"}]}}, "needs numbers"),
        ({"group": {"aggregates": [{"function": "mean"}]}}, "needs a column"),
        ({"group": {"by": ["truth"], "aggregates": [{"function": "drop", "column": "id"}]}}, "group.aggregates.0"),
        ({"limit": 10_001}, "limit"),
        ({"offset": -1}, "offset"),
        ({"sql": "DROP TABLE"}, "sql"),
        (
            {"join": {"left": {"run": "a/b/c", "key": "k"}, "right": {"run": "a/b/c", "key": "k"}, "on": ["x"]}},
            "either",
        ),
    ],
)
def test_what_makes_no_sense_is_said(ask: Ask, query: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ask(**query)


def test_a_deep_filter_is_refused(ask: Ask) -> None:
    filter: dict[str, Any] = {"id": 1}
    for _ in range(40):
        filter = {"$not": filter}
    with pytest.raises(UsageError, match="levels deep"):
        ask(filter=filter)
    operand: dict[str, Any] = {"$eq": 1}
    for _ in range(40):
        operand = {"$not": operand}
    with pytest.raises(UsageError, match="levels deep"):
        ask(filter={"id": operand})
