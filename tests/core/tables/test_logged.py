"""Logged tables are Parquet: whole, in bounded files, and an INCREMENTAL one stores each row once."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest

import tracker
from tracker.core.media.text import Text
from tracker.core.tables import JoinedTable, Table, parquet

from .conftest import Stored

QUIET = {"silent": True}
Reads = Callable[[], Stored]


def test_values_of_every_type_are_in_the_file(stored: Reads) -> None:
    moment = datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999)
    table = Table(columns=["b", "i", "f", "s", "t", "l", "d", "none", "big", 7])
    table.add_data(True, 1, 0.5, "x'\"ö\0y", moment, [1, None], {"a": float("nan")}, None, 2**70, "seven")
    table.add_data(None, None, None, None, None, None, None, None, None, None)
    table.add_data(False, -(2**63), float("inf"), "", moment, [], {}, None, 1, "\ud800")
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"nested": {"table": table}, "loss": 1.0}, step=3)

    (reference,) = stored().references("nested.table")
    first, second, third = stored().rows(reference)
    nan = '{"a":{"$float":"nan"}}'
    assert first == (True, 1, 0.5, "x'\"ö\0y", moment, "[1,null]", nan, None, Decimal(2**70), "seven")
    assert second == (None,) * 10
    assert third == (False, -(2**63), float("inf"), "", moment, "[]", "{}", None, Decimal(1), "\\ud800")
    assert reference["_type"] == "table-file"
    assert (reference["rows"], reference["total"], reference["ncols"]) == (3, 3, 10)
    assert reference["columns"][1] == {"name": "i", "type": "int"}
    assert reference["columns"][9] == {"name": 7, "type": "str"}
    assert [values.get("loss") for values in stored().written] == [1.0, None]


def test_a_million_rows_are_logged_in_files_of_bounded_size(stored: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, however many files they take."""
    monkeypatch.setattr(parquet, "TABLE_FILE_BYTES", 4 << 20)
    count = 1_000_000
    table = Table(columns=[])
    table.add_column("n", np.arange(count))
    table.add_column("f", np.random.default_rng(1).random(count))
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"t": table})

    (reference,) = stored().references("t")
    files = stored().files(reference)
    assert len(files) == 4
    assert all(path.stat().st_size <= 4 << 20 for path in files)
    assert reference["size"] == sum(path.stat().st_size for path in files)
    assert [row[0] for row in stored().rows(reference)] == list(range(count))


def test_an_incremental_table_stores_the_new_rows(stored: Reads) -> None:
    """What each log costs does not grow with the table, neither in the journal nor in blobs."""
    table = Table(columns=["epoch", "text"], log_mode="INCREMENTAL")
    with tracker.init(project="p", settings=QUIET) as run:
        for epoch in range(50):
            for number in range(20):
                table.add_data(epoch, f"row {epoch * 20 + number}")
            run.log({"t": table}, step=epoch)
        run.log({"t": table}, step=50)

    references = stored().references("t")
    assert [reference["part"] for reference in references] == list(range(51))
    assert [reference["rows"] for reference in references] == [20] * 50 + [0]
    assert [reference["total"] for reference in references] == [20 * (n + 1) for n in range(50)] + [1000]
    assert len({reference["table"] for reference in references}) == 1
    assert references[-1]["parts"] == []
    assert references[-1]["size"] == 0
    rows = [row for reference in references[:-1] for row in stored().rows(reference)]
    assert rows == [(n // 20, f"row {n}") for n in range(1000)]
    assert len({len(json.dumps(reference)) for reference in references[10:50]}) <= 3
    assert all(reference["size"] < 1500 for reference in references)


def test_a_table_that_is_logged_again_unchanged_is_stored_once(stored: Reads) -> None:
    table = Table(columns=["x"], data=[[1]])
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"t": table}, step=0)
        run.log({"t": table, "also": table}, step=1)

    first, second = stored().references("t")
    assert first == second == stored().references("also")[0]
    assert len(list(stored().blobs.walk())) == 1


def test_what_is_added_behind_the_log_is_not_in_it(stored: Reads) -> None:
    """A MUTABLE table is stored anew each time, as it was at that moment."""
    table = Table(columns=["x"], log_mode="MUTABLE")
    with tracker.init(project="p", settings=QUIET) as run:
        for step in range(5):
            table.add_data(step)
            run.log({"t": table}, step=step)
            table.add_data(100 + step)

    found = [[row[0] for row in stored().rows(reference)] for reference in stored().references("t")]
    expected: list[list[int]] = []
    all_rows: list[int] = []
    for step in range(5):
        all_rows.append(step)
        expected.append(list(all_rows))
        all_rows.append(100 + step)
    assert found == expected


def test_a_changed_immutable_table_is_complained_about_and_kept(
    stored: Reads, caplog: pytest.LogCaptureFixture
) -> None:
    """W&B would drop the change without a word; here nothing is lost, and it is said."""
    table = Table(columns=["x"], data=[[1]])
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"t": table}, step=0)
        table.add_data(2)
        run.log({"t": table}, step=1)

    assert [stored().rows(reference) for reference in stored().references("t")] == [[(1,)], [(1,), (2,)]]
    assert "an IMMUTABLE table was changed after it was logged" in caplog.text


def test_columns_cannot_change_once_increments_are_logged() -> None:
    table = Table(columns=["x"], data=[[1]], log_mode="INCREMENTAL")
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"t": table})
        with pytest.raises(tracker.UsageError, match="INCREMENTAL"):
            table.add_column("y", [1])
        with pytest.raises(tracker.UsageError, match="INCREMENTAL"):
            table.cast("x", float)


def test_names_that_files_cannot_tell_apart(stored: Reads) -> None:
    """Case, emptiness and the reader's own names; the true ones are in the file's metadata."""
    import duckdb

    names = ["Loss", "loss", "", "filename", 'a"b', "it's", "x\0y"]
    table = Table(columns=names, data=[[1, 2, 3, 4, 5, 6, 7]])
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"t": table})

    (reference,) = stored().references("t")
    assert stored().rows(reference) == [(1, 2, 3, 4, 5, 6, 7)]
    (path,) = stored().files(reference)
    ((_, _, note),) = duckdb.connect().execute("SELECT * FROM parquet_kv_metadata(?)", [str(path)]).fetchall()
    described = json.loads(note)["columns"]
    assert [column["name"] for column in described] == names
    assert [column["field"] for column in described] == [
        "Loss",
        "loss_1",
        "column_2",
        "filename_1",
        'a"b',
        "it's",
        "xy",
    ]


def test_nan_is_a_number_and_none_is_missing(stored: Reads) -> None:
    """Also in arrays that are taken as they are."""
    table = Table(columns=[])
    table.add_column("a", np.array([np.nan, np.inf, 1.0]))
    table.add_column("b", [None, float("nan"), 2.0], optional=True)
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"t": table})

    rows = stored().rows(stored().references("t")[0])
    assert repr(rows) == "[(nan, None), (inf, nan), (1.0, 2.0)]"


def test_an_empty_table_is_one(stored: Reads) -> None:
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"t": Table(columns=["a", "b"], dtype=[int, str])})
        run.log({"j": JoinedTable(Table(columns=["k"], data=[[1]]), Table(columns=["k", "v"], data=[[1, 2]]), "k")})

    (reference,) = stored().references("t")
    assert stored().rows(reference) == []
    assert [column["type"] for column in reference["columns"]] == ["int", "str"]
    assert stored().rows(stored().references("j")[0]) == [(1, 2)]


def test_media_in_cells_are_stored_once_and_referred_to(stored: Reads) -> None:
    """A cell holds the reference; the same medium in many tables is encoded once."""
    text = Text("word " * 10_000)
    table = Table(columns=["page", "n"], log_mode="MUTABLE")
    table.add_data(text, 1)
    table.add_data(None, 2)
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"t": table}, step=0)
        table.add_data(text, 3)
        run.log({"t": table}, step=1)

    assert table.get_column("page") == [text, None, text]
    _, second = stored().references("t")
    assert second["columns"][0] == {"name": "page", "type": "media"}
    cells = [json.loads(row[0]) if row[0] else None for row in stored().rows(second)]
    assert cells[0] == cells[2]
    assert cells[1] is None
    assert cells[0]["_type"] == "text"
    assert stored().blobs.read(cells[0]["digest"]) == b"word " * 10_000


def test_a_broken_medium_leaves_its_cell_empty(stored: Reads, caplog: pytest.LogCaptureFixture) -> None:
    from tracker.core.media.histogram import Histogram

    table = Table(columns=["h", "n"])
    table.add_data(Histogram([1, 2, 3]), 1)
    for _ in range(2):
        table.add_data(Histogram(np_histogram=([1, 2], [0, 1])), 2)
    with tracker.init(project="p", settings=QUIET) as run:
        run.log({"t": table})

    first, *others = stored().rows(stored().references("t")[0])
    assert json.loads(first[0])["_type"] == "histogram"
    assert others == [(None, 2), (None, 2)]
    assert caplog.text.count("a cell in the column 'h' of a table") == 1


def test_tables_that_a_program_logs_last_are_written_at_its_exit(stored: Reads) -> None:
    """DuckDB closes itself down at exit; loaded while the run is open, it would do so before the run has ended."""
    program = """
import tracker
run = tracker.init(project="p")
run.log({"first": tracker.Table(columns=["a"], data=[[0]])})
run.flush()
for number in range(20):
    run.log({f"t{number}": tracker.Table(columns=["a"], data=[[number]])})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "could not" not in done.stderr
    assert [stored().rows(stored().references(f"t{number}")[0]) for number in range(20)] == [[(n,)] for n in range(20)]
