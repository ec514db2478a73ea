"""What the journals of a run tell together, and the tools that people test with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.core.journal import Journal
from tracker.core.paths import RunPath
from tracker.core.record import Kind, encode_control
from tracker.core.values import encode
from tracker.testing import MemoryTransport, read_runs

SECOND = 10**9
pytest_plugins = ["pytester"]


class Ticks:
    """A clock that tells a new second each time."""

    def __init__(self, start: int = 1_700_000_000) -> None:
        self.seconds = start

    def now_ns(self) -> int:
        self.seconds += 1
        return self.seconds * SECOND


class Writer:
    """Writes a stream, a record a second."""

    def __init__(self, root: Path, clock: Ticks, run: str = "r") -> None:
        self.clock = clock
        folder = RunPath("local", "p", run).folder(root) / "streams"
        self.journal = Journal(folder, clock, is_mapped=False)  # type: ignore[arg-type]

    def row(self, step: float, **values: Any) -> None:
        self.journal.append(Kind.ROW, encode((step, self.clock.now_ns(), values)))

    def tell(self, kind: Kind, **body: Any) -> None:
        self.journal.append(kind, encode_control(self.clock.now_ns(), body))

    def begin(self) -> Writer:
        self.tell(Kind.RUN, pid=os.getpid(), host="elsewhere", name="n")
        return self


def only(root: Path) -> dict[str, Any]:
    (run,) = read_runs(root)
    return run


def values(root: Path) -> list[tuple[float, dict[str, Any]]]:
    """Answer step and values of each row."""
    return [
        (row["_step"], {key: value for key, value in row.items() if not key.startswith("_")})
        for row in only(root)["history"]
    ]


def test_rows_of_all_streams_are_one_history(tmp_path: Path) -> None:
    """Ordered by step; for each key the later value wins, whichever stream wrote it."""
    clock = Ticks()
    one, other = Writer(tmp_path, clock).begin(), Writer(tmp_path, clock).begin()
    one.row(1, a="old", b=1)
    other.row(1, a="new")
    other.row(0.5, c=1)
    one.row(0, d=1)

    assert values(tmp_path) == [(0, {"d": 1}), (0.5, {"c": 1}), (1, {"a": "new", "b": 1})]


def test_runtime_counts_from_the_beginning(tmp_path: Path) -> None:
    clock = Ticks(100)
    writer = Writer(tmp_path, clock)
    clock.seconds = 200
    writer.begin()
    writer.row(0, a=1)

    (row,) = only(tmp_path)["history"]
    assert (row["_timestamp"], row["_runtime"]) == (202.0, 1.0)


def test_a_rewind_hides_what_was_written_before_it(tmp_path: Path) -> None:
    """In its own stream and in others; what comes after it counts."""
    clock = Ticks()
    one = Writer(tmp_path, clock).begin()
    for step in range(5):
        one.row(step, a=step)
    other = Writer(tmp_path, clock).begin()
    other.tell(Kind.REWIND, step=2)
    other.row(3, a="again")

    assert values(tmp_path) == [(0, {"a": 0}), (1, {"a": 1}), (2, {"a": 2}), (3, {"a": "again"})]
    assert only(tmp_path)["summary"] == {"a": "again"}


def test_the_latest_process_decides_the_state(tmp_path: Path) -> None:
    """Not a forked child, and not somebody who edits the run afterwards."""
    clock = Ticks(4_000_000_000)  # in the future: nobody is silent yet
    one = Writer(tmp_path, clock).begin()
    one.tell(Kind.EXIT, state="failed", exit_code=1)
    assert only(tmp_path)["status"] == "failed"

    other = Writer(tmp_path, clock).begin()
    assert only(tmp_path)["status"] == "running"
    other.tell(Kind.EXIT, state="finished", exit_code=0)
    child = other.journal.folder.with_name(f"{other.journal.id}.1-ab")
    os.rename(Writer(tmp_path, clock).begin().journal.folder, child)
    Writer(tmp_path, clock).tell(Kind.RUN, name="renamed")

    found = only(tmp_path)
    assert (found["status"], found["name"], found["exit"]["exit_code"]) == ("finished", "renamed", 0)


def test_silence_is_a_crash_and_an_announced_end_a_preemption(tmp_path: Path) -> None:
    clock = Ticks()
    writer = Writer(tmp_path, clock).begin()
    assert only(tmp_path)["status"] == "crashed"

    writer.tell(Kind.RUN, preempting=True)
    assert only(tmp_path)["status"] == "preempted"


def test_the_summary_is_the_last_word(tmp_path: Path) -> None:
    """Logged, asked for by `define_metric`, or set by hand; whichever is later."""
    clock = Ticks()
    writer = Writer(tmp_path, clock).begin()
    writer.tell(Kind.METRIC, name="a", summary=["min", "mean"], goal=None)
    writer.tell(Kind.SUMMARY, set={"a": "early", "nested": {"x": 1}, "gone": 1}, remove=[])
    writer.row(0, a=3)
    writer.row(1, a=1, b=1)
    writer.tell(Kind.SUMMARY, set={"b": "late"}, remove=[["gone"]])

    assert only(tmp_path)["summary"] == {"a": 1, "a.min": 1, "a.mean": 2.0, "b": "late", "nested.x": 1}


def test_what_is_damaged_is_counted(tmp_path: Path) -> None:
    clock = Ticks()
    writer = Writer(tmp_path, clock).begin()
    for step in range(10):
        writer.row(step, a=step)
    (segment,) = writer.journal.folder.iterdir()
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)

    found = only(tmp_path)
    assert found["lost"] == 1
    assert len(found["history"]) == 9


def test_no_index_and_no_numpy_are_needed(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, tracker\nfrom tracker.testing import read_runs\n"
        "with tracker.init(settings={'silent': True}) as run: run.log({'a': 1})\n"
        "assert len(read_runs()) == 1\n"
        "print([name for name in ('numpy', 'sqlalchemy', 'requests', 'pytest') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_fixtures_are_there_for_everybody(pytester: pytest.Pytester) -> None:
    """`pytest_plugins = ["tracker.testing"]` is all it takes."""
    pytester.makeconftest('pytest_plugins = ["tracker.testing"]')
    pytester.makepyfile(
        """
        import tracker

        def test_one(store):
            with tracker.init(project="p", settings={"silent": True}) as run:
                run.log({"loss": 0.5})
            assert [row["loss"] for row in store.run()["history"]] == [0.5]
            assert store.api().run(run.id).summary["loss"] == 0.5

        def test_left_open(tracker_dir):
            tracker.init(settings={"silent": True})
            assert tracker_dir.is_dir()

        def test_another(store):
            assert store.runs() == []
            assert tracker.run is None
        """
    )
    # A process of its own: the test's own fixtures replace environment variables, too.
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)


def test_memory_transport_is_public() -> None:
    assert MemoryTransport().rows() == []
    assert "MemoryTransport" in tracker.testing.__all__


def test_a_summary_is_read_nested_and_dotted() -> None:
    """And a number stays one, also when it is copied."""
    import pickle

    from tracker.core.query.summary import RunSummary

    summary = RunSummary({"a": 1, "a.min": 0, "b.c.d": 2, "t": "x", "t.y": 1})

    assert summary["a"] == 1
    assert summary["a"]["min"] == 0
    assert summary["a"].get("max") is None
    assert summary["b"]["c"]["d"] == summary["b.c.d"] == 2
    assert summary["t"] == "x"
    assert pickle.loads(pickle.dumps(summary["a"])) == 1
    summary["b.e"] = 3
    assert summary["b"] == {"c.d": 2, "e": 3}
    del summary["b.e"], summary["b.c.d"]
    with pytest.raises(KeyError):
        summary["b"]
    assert dict(summary) == summary._json_dict == {"a": 1, "a.min": 0, "t": "x", "t.y": 1}


def test_the_index_tells_the_same_as_the_journals(tmp_path: Path) -> None:
    """Of streams that overlap, rewinds, edits and definitions."""
    clock = Ticks()
    one, other = Writer(tmp_path, clock).begin(), Writer(tmp_path, clock).begin()
    one.tell(Kind.METRIC, name="a", summary=["min", "max", "mean"], goal=None)
    for step in range(8):
        one.row(step, a=step, b="x")
        other.row(step, a=-step, c=step / 2)
        if step % 3 == 0:
            one.row(step, a=100 + step)
    third = Writer(tmp_path, clock).begin()
    third.tell(Kind.REWIND, step=4)
    other.row(7, late=1)
    third.row(5, a="again")
    third.tell(Kind.SUMMARY, set={"by.hand": 1, "b": "y"}, remove=[["c"]])
    third.tell(Kind.EXIT, state="failed", exit_code=3)
    third.row(6, a=float("inf"))

    kept = only(tmp_path)
    with tracker.Api(dir=tmp_path) as api:
        run = api.run("r")
        assert run.history(pandas=False) == kept["history"]
        assert dict(run.summary) == kept["summary"]
        assert (run.state, run.name, run.config) == (kept["status"], kept["name"], kept["config"])


def test_resuming_and_forking_read_the_same_everywhere(home: Path) -> None:
    """Through `init` itself: a rewound run, and a fork of it."""
    quiet = {"silent": True}
    with tracker.init(project="p", id="one", config={"lr": 1}, settings=quiet) as run:
        for step in range(6):
            run.log({"a": step})
    with tracker.init(project="p", resume_from="one?_step=2", settings=quiet) as run:
        run.log({"a": "again"})
    with tracker.init(project="p", id="two", fork_from="one?_step=3", settings=quiet) as run:
        run.log({"b": 1})

    kept = {found["id"]: found for found in read_runs()}
    assert [row["a"] for row in kept["one"]["history"]] == [0, 1, 2, "again"]
    assert [(row["_step"], row.get("a"), row.get("b")) for row in kept["two"]["history"]] == [
        (0, 0, None), (1, 1, None), (2, 2, None), (3, "again", None), (4, None, 1),
    ]  # fmt: skip
    with tracker.Api() as api:
        for run_id, found in kept.items():
            assert api.run(run_id).history(pandas=False) == found["history"]
            assert dict(api.run(run_id).summary) == found["summary"]
