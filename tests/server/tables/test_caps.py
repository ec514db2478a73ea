"""Whatever is asked is bounded: in time, memory, rows, bytes and turns; and no file but the table's is read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker.core.blobs import FolderBlobs
from tracker.core.errors import StorageError, UsageError
from tracker.core.paths import find_runs, run_blobs
from tracker.core.query.local import LocalSource
from tracker.core.tables import Table
from tracker.server.tables import engine as engines
from tracker.server.tables.files import Found
from tracker.server.trouble import StoreTroubleError

from .conftest import QUIET

Asks = Callable[..., dict[str, Any]]


def log(home: Path, **tables: Table) -> None:
    """Log tables in a run of their own."""
    with tracker.init(project="p", id="r", settings=QUIET) as run:
        run.log(tables)


@pytest.fixture
def ask(home: Path) -> Iterator[Asks]:
    """Asks the folder."""
    sources: list[LocalSource] = []

    def answer(key: str, **query: Any) -> dict[str, Any]:
        if not sources:
            sources.append(LocalSource(home / "runs"))
        asked = {"source": {"run": "local/p/r", "key": key}, **query}
        return sources[0].tables({name: value for name, value in asked.items() if value is not None})

    yield answer
    for source in sources:
        source.close()


def test_pages_end_early_where_cells_are_huge(home: Path, ask: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer holds what fits; the next page goes on behind it, and nothing is left out."""
    monkeypatch.setattr(engines, "MAX_TABLE_ANSWER_BYTES", 1 << 20)
    texts = [str(n) * 100_000 for n in range(9)] * 4
    log(home, t=Table(columns=["text"], data=[[text] for text in texts]))

    found: list[str] = []
    while True:
        answer = ask("t", offset=len(found), limit=1000)
        assert sum(len(row[0]) for row in answer["rows"]) <= 1 << 20
        found += [row[0] for row in answer["rows"]]
        if not answer["more"]:
            break
    assert found == texts
    monkeypatch.setattr(engines, "MAX_TABLE_ANSWER_BYTES", 1000)
    with pytest.raises(UsageError, match="row 0 alone takes 100,016 bytes"):
        ask("t")


def test_a_query_that_takes_long_is_stopped(home: Path, ask: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "TABLE_QUERY_SECONDS", 0.3)
    table = Table(columns=[])
    table.add_column("k", np.zeros(200_000, int))
    log(home, t=table)
    source = {"run": "local/p/r", "key": "t"}
    ask("t", limit=1)  # the index is made

    with pytest.raises(UsageError, match=r"takes longer than 0\.3 seconds"):
        ask("t", source=None, join={"left": source, "right": source, "on": ["k"]})


def test_a_query_that_takes_much_memory_is_stopped(home: Path, ask: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "TABLE_MEMORY_BYTES", 64 << 20)
    table = Table(columns=[])
    random = np.random.default_rng(0)
    for name in "abcdefgh":
        table.add_column(name, random.random(1_000_000))
    log(home, t=table)

    with pytest.raises(UsageError, match="more than 64 MiB of memory"):
        ask("t", sort=[{"column": "a"}], limit=10_000, offset=900_000)


def test_queries_take_turns(home: Path, ask: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once; eight wait, more are told to come again."""
    log(home, t=Table(columns=["x"], data=[[1]]))
    source = LocalSource(home / "runs")
    query = {"source": {"run": "local/p/r", "key": "t"}}
    assert source.tables(query)["total"] == 1
    begun, go_on = threading.Semaphore(0), threading.Event()
    find = engines.TableFiles.find

    def slow(self: Any, wanted: Any) -> Found:
        begun.release()
        go_on.wait(20)
        return find(self, wanted)

    monkeypatch.setattr(engines.TableFiles, "find", slow)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(source.tables(query)["total"])) for _ in range(10)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 20
    while source._tables._places._value and time.monotonic() < until:
        time.sleep(0.01)
    assert begun.acquire(timeout=20)
    assert begun.acquire(timeout=20)
    with pytest.raises(StoreTroubleError, match="ask again") as raised:
        source.tables(query)
    assert raised.value.status == 503
    assert not begun.acquire(blocking=False)
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert answers == [1] * 10
    source.close()


def test_only_the_files_of_the_table_can_be_read(home: Path, ask: Asks) -> None:
    """Even what would slip through as SQL finds a DuckDB that reads nothing else."""
    log(home, t=Table(columns=["x"], data=[[1]]))
    ((_, folder),) = find_runs(home / "runs")
    (blob,) = FolderBlobs(run_blobs(folder)).walk()
    other = home / "other.parquet"
    other.write_bytes(blob.path.read_bytes())

    with engines._duckdb([blob.path]) as connection:
        assert connection.execute("SELECT count(*) FROM read_parquet(?)", [[str(blob.path)]]).fetchall() == [(1,)]
    for sql in (
        f"SELECT * FROM read_parquet('{other}')",
        "SELECT * FROM read_csv('/etc/passwd')",
        f"COPY (SELECT 1) TO '{home / 'written.csv'}'",
        f"ATTACH '{home / 'database'}'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with pytest.raises((UsageError, StorageError)), engines._duckdb([blob.path]) as connection:
            connection.execute(sql)
    assert not (home / "written.csv").exists()


def test_names_and_values_are_no_sql(home: Path, ask: Asks) -> None:
    """Quotes, comments, NUL, marks: as names of columns, as values, as names of answers."""
    names = ['"; DROP TABLE t; --', "a'b", "?", "$1", "c0", "ord", "*", "é\n", "$and"]
    table = Table(columns=names, data=[[f"v{n}" for n in range(len(names))], names])
    log(home, t=table)

    assert [column["name"] for column in ask("t")["columns"]] == names
    assert [column["name"] for column in ask("t", columns=names[::-1])["columns"]] == names[::-1]
    for number, name in enumerate(names):
        assert ask("t", filter={"$column": name, "$eq": name})["row_ids"] == [1]
        assert ask("t", filter={"$column": name, "$contains": f"v{number}"})["row_ids"] == [0]
        group = {"by": [name], "aggregates": [{"function": "max", "column": name, "name": 'x"; --'}]}
        assert ask("t", group=group, sort=[{"column": 'x"; --', "descending": True}])["total"] == 2
    assert ask("t", filter={"?": "' OR 1=1 --"})["total"] == 0
    assert ask("t", filter={"?": {"$regex": "\0"}})["total"] == 0


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|aa)+$", "(.*)(.*)(.*)(.*)x" * 20, "a{1,1000}" * 5])
def test_patterns_that_explode_elsewhere_do_not_here(home: Path, ask: Asks, pattern: str) -> None:
    """RE2 takes time by the length of the text alone, or refuses."""
    log(home, t=Table(columns=["s"], data=[["a" * 50_000]] * 20))

    try:
        assert ask("t", filter={"s": {"$regex": pattern}})["total"] in (0, 20)
    except UsageError as error:
        assert "longer than" not in str(error)


def test_damaged_and_absent_bytes_are_said(home: Path, ask: Asks) -> None:
    log(home, t=Table(columns=["x"], data=[[1]]))
    ((_, folder),) = find_runs(home / "runs")
    (blob,) = FolderBlobs(run_blobs(folder)).walk()
    blob.path.write_bytes(b"PAR1 is not enough")
    with pytest.raises((UsageError, StorageError), match=r"cannot be (read|answered)"):
        ask("t")
    blob.path.unlink()
    with pytest.raises(UsageError, match="still be on their way"):
        ask("t")


def test_packed_blobs_are_unpacked_beside(home: Path, ask: Asks) -> None:
    """A server may hold them so."""
    log(home, t=Table(columns=["x"], data=[[n] for n in range(100)]))
    ((_, folder),) = find_runs(home / "runs")
    blobs = FolderBlobs(run_blobs(folder))
    (blob,) = blobs.walk()
    data = blobs.read(blob.digest)
    blobs.remove(blob.digest)
    assert blobs.put(data, compress=True) == blob.digest
    assert blobs.stored(blob.digest)[1]

    assert ask("t", limit=1000)["rows"] == [[n] for n in range(100)]
    assert ask("t", limit=1, offset=50)["rows"] == [[50]]
