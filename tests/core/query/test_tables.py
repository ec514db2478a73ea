"""Logged tables read back through `Api`: the folder and the server answer the same."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker import Api, Table
from tracker.core.errors import UsageError

from .conftest import QUIET, serving, wait_for

UTC = datetime.timezone.utc
MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
ROWS: list[list[Any]] = [
    [0, "cat", 0.25, MOMENT, [1, "x"], {"a": 1}, 2**70],
    [1, "dog", math.nan, MOMENT, None, None, None],
    [2, "cat", None, None, [], {}, 1],
    [3, "cow", math.inf, MOMENT, [None], {"b": [1.5]}, -5],
]
COLUMNS = ["id", "label", "score", "when", "list", "dict", "big"]


def foreign_file(folder: Path) -> Path:
    """Answer a Parquet file as other programs write them."""
    import duckdb

    path = folder / "foreign.parquet"
    duckdb.sql(
        "SELECT 1::TINYINT AS small, 1.5::FLOAT AS half, 2.25::DECIMAL(5,2) AS exact, 'x'::ENUM('x', 'y') AS choice, "
        "DATE '2026-01-02' AS day, [1, 2] AS list, {'a': 1} AS struct, 'ab'::BLOB AS bytes, MAP {'k': 2} AS map"
    ).write_parquet(str(path))
    return path


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with runs that logged tables, and a server of it."""
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKER_CONFIG_DIR", str(folder / "config"))
        root = folder / "runs"
        with tracker.init(project="a b", entity="team é%", id="one", dir=root, settings=QUIET) as run:
            run.log({"eval/t": Table(columns=COLUMNS, data=ROWS)}, step=0)
            run.log({"list": [Table(columns=["n"], data=[[n]]) for n in range(3)]}, step=0)
            run.log({"eval/t": Table(columns=COLUMNS, data=ROWS[::-1])}, step=5)
        with tracker.init(project="a b", entity="team é%", id="two", dir=root, settings=QUIET) as run:
            long = Table(columns=["id", "text"])
            for number in range(2500):
                long.add_data(number, f"row {number}")
            run.log({"long": long})
            artifact = tracker.Artifact("data 1", type="dataset")
            artifact.add(long, "evals/long")
            with artifact.new_file("note.txt") as file:
                file.write("no table")
            run.log_artifact(artifact).wait()
            foreign = tracker.Artifact("foreign", type="dataset")
            foreign.add_file(str(foreign_file(folder)))
            run.log_artifact(foreign).wait()
        with serving(root, folder / "cache") as url:
            with Api(base_url=url) as api:
                wait_for(lambda: len(api.runs(filters={"state": "finished"})) == 2)
            yield root, url


@pytest.fixture(params=["folder", "server"])
def api(request: pytest.FixtureRequest, tables: tuple[Path, str]) -> Iterator[Api]:
    """Reads the folder, or asks the server."""
    root, url = tables
    with Api(dir=root) if request.param == "folder" else Api(base_url=url) as api:
        yield api


def test_values_of_every_type_come_back(api: Api) -> None:
    table = api.run("one").table("eval/t", step=0)

    assert table.columns == COLUMNS
    assert list(table.types.values()) == ["int", "str", "float", "datetime", "list", "dict", "int"]
    assert (len(table), table.step, table.log_mode) == (4, 0, "IMMUTABLE")
    assert repr([list(row.values()) for row in table]) == repr(ROWS)
    assert repr(api.run("one").table("eval/t").rows()) == repr(
        [dict(zip(COLUMNS, row, strict=True)) for row in ROWS[::-1]]
    )
    assert repr(table.to_table().data) == repr(ROWS)
    assert repr(table.to_pandas()["label"].tolist()) == "['cat', 'dog', 'cat', 'cow']"


def test_all_pages_are_walked(api: Api) -> None:
    table = api.run("two").table("long")

    assert [row["id"] for row in table] == list(range(2500))
    assert [row["id"] for row in table.rows(limit=1500, offset=900)] == list(range(900, 2400))
    assert [row["id"] for row in table.sort("-id").rows(2)] == [2499, 2498]
    assert table.rows(0) == []


def test_questions_are_chained(api: Api) -> None:
    table = api.run("one").table("eval/t")

    chosen = table.filter({"label": {"$in": ["cat", "cow"]}}).filter({"id": {"$gt": 0}}).sort("-id")
    assert [row["id"] for row in chosen.select(["id"])] == [3, 2]
    assert len(chosen) == 2
    assert table.filter({"when": {"$gte": "2026-01-02T03:04:05Z"}}).sort("id").rows()[0]["when"] == MOMENT
    assert len(table.filter({"score": math.nan})) == 1
    groups = table.group("label", {"n": "count", "best": ("max", "score"), "id": ("first", "id")}).sort("-n", "label")
    assert groups.rows() == [
        {"label": "cat", "n": 2, "best": 0.25, "id": 2}, {"label": "cow", "n": 1, "best": None, "id": 3},
        {"label": "dog", "n": 1, "best": None, "id": 1},
    ]  # fmt: skip
    assert groups.columns == ["label", "n", "best", "id"]
    assert table.histogram("id", bins=2) == {
        "column": "id", "type": "int", "edges": [0.0, 1.5, 3.0], "counts": [2, 2],
        "missing": 0, "nan": 0, "posinf": 0, "neginf": 0,
    }  # fmt: skip
    with pytest.raises(UsageError, match="grouped already"):
        groups.group("n")


def test_tables_of_two_steps_and_of_two_runs_are_joined(api: Api) -> None:
    run = api.run("one")
    both = run.table("eval/t", step=0).join(run.table("eval/t"), "id", labels=("old", "new"))

    assert {row["_diff"] for row in both} == {"same"}
    assert both.columns[:4] == ["id", "_diff", "old.label", "old.score"]
    other = run.table("list", index=2).join(api.run("two").table("long"), on=[("n", "id")], how="outer")
    assert other.sort("n").rows(3)[2] == {"n": 2, "_diff": "same", "right.text": "row 2"}
    with pytest.raises(UsageError, match="as they are"):
        both.join(run.table("eval/t"), "id")


def test_what_is_wrong_is_said_alike(api: Api) -> None:
    run = api.run("one")
    with pytest.raises(UsageError, match="logged no table 'absent'"):
        run.table("absent").rows()
    with pytest.raises(UsageError, match="logged no table 'eval/t' up to step -1"):
        run.table("eval/t", step=-1).rows()
    with pytest.raises(UsageError, match="no column 'colour'"):
        run.table("eval/t").filter({"colour": 1}).rows()
    with pytest.raises(UsageError, match="function"):
        run.table("eval/t").group("id", {"x": ("drop", "id")}).rows()


def test_tables_in_artifacts_are_asked_alike(api: Api) -> None:
    """By alias or version, also joined with one that a run has logged, and Parquet of others."""
    table = api.table("team é%/a b/data 1:latest", "evals/long")

    assert len(table) == 2500
    assert table.filter({"text": "row 7"}).rows() == [{"id": 7, "text": "row 7"}]
    again = api.table("team é%/a b/data 1:v0", "evals/long")
    assert again.sort("-id").rows(1) == [{"id": 2499, "text": "row 2499"}]
    both = table.join(api.run("two").table("long"), "id", how="outer")
    assert both.group("_diff", {"n": "count"}).rows() == [{"_diff": "same", "n": 2500}]
    foreign = api.table("team é%/a b/foreign:v0", "foreign.parquet")
    assert foreign.rows() == [
        {
            "small": 1, "half": 1.5, "exact": 2.25, "choice": "x", "day": datetime.datetime(2026, 1, 2, tzinfo=UTC),
            "list": [1, 2], "struct": {"a": 1}, "bytes": "ab", "map": {"k": 2},
        }
    ]  # fmt: skip
    assert list(foreign.types.values()) == ["int", "float", "float", "str", "datetime", "list", "dict", "str", "dict"]
    with pytest.raises(UsageError, match="holds no table 'absent'"):
        api.table("team é%/a b/data 1:latest", "absent").rows()
    with pytest.raises(UsageError):
        api.table("team é%/a b/data 1:latest", "note.txt").rows()
    with pytest.raises(UsageError, match="there is no artifact"):
        api.table("team é%/a b/absent", "x").rows()
