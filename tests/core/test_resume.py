"""Going on with runs: which one, from where, and what a fork takes along."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

import tracker
from tracker.core.errors import FormatError, UsageError
from tracker.core.journal import StreamReader
from tracker.core.paths import streams
from tracker.core.resume import earlier, parse_moment, read_previous, remember
from tracker.testing import read_runs

SILENT = {"silent": True}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder for runs."""
    return tmp_path / "runs"


def begin(root: Path, **arguments: Any) -> Any:
    """Begin a run in project p."""
    return tracker.init(project="p", dir=root, settings=SILENT, reinit="create_new", **arguments)


def stored(root: Path, run_id: str = "r") -> dict[str, Any]:
    """Answer a run as it is read back."""
    return next(run for run in read_runs(root) if run["id"] == run_id)


def losses(root: Path, run_id: str = "r") -> list[tuple[float, float]]:
    """Answer a run's steps and losses."""
    return [(row["_step"], row["loss"]) for row in stored(root, run_id)["history"]]


def train(root: Path, first: int = 0, last: int = 3, **arguments: Any) -> Any:
    """Log the losses of some steps, and finish."""
    with begin(root, **arguments) as run:
        for step in range(first, last):
            run.log({"loss": float(step)})
    return run


@pytest.mark.parametrize(
    ("resume", "is_there", "outcome"),
    [
        (None, False, "new"),
        (None, True, "goes on"),
        ("allow", False, "new"),
        ("allow", True, "goes on"),
        ("auto", False, "new"),
        ("auto", True, "goes on"),
        (True, True, "goes on"),
        ("must", False, "there is no run 'r'"),
        ("must", True, "goes on"),
        ("never", False, "new"),
        ("never", True, "exists"),
    ],
)
def test_the_rules_of_resume(root: Path, resume: Any, is_there: bool, outcome: str) -> None:
    """With an id; what goes on continues its steps."""
    if is_there:
        train(root, id="r")
    if outcome not in ("new", "goes on"):
        with pytest.raises(UsageError, match=outcome):
            begin(root, id="r", resume=resume)
        return
    run = train(root, id="r", resume=resume)

    assert (run.resumed, run.starting_step) == ((True, 3) if is_there else (False, 0))
    assert [step for step, _ in losses(root)] == list(range(6 if is_there else 3))
    assert stored(root)["status"] == "finished"


def test_a_run_that_goes_on_keeps_what_it_was(root: Path) -> None:
    """Name, tags, notes, group and config; what is given anew is laid over it."""
    first = train(root, id="r", name="first", tags=["a"], notes="n", group="g", config={"lr": 1, "o": {"b": 2}})
    with begin(root, id="r", resume="must", notes="new", config={"lr": 2}) as run:
        assert (run.name, run.tags, run.notes, run.group) == (first.name, ("a",), "new", "g")
        assert run.config.as_dict() == {"lr": 2, "o": {"b": 2}}

    assert stored(root)["config"] == {"lr": 2, "o": {"b": 2}}
    assert stored(root)["name"] == "first"


def test_without_an_id_must_says_how(root: Path) -> None:
    """`auto` begins a run where there is none to go on with; contradictions are told."""
    with pytest.raises(UsageError, match="TRACKER_RUN_ID"):
        begin(root, resume="must")
    with pytest.raises(UsageError, match="both"):
        begin(root, resume="allow", resume_from="r?_step=1")
    with pytest.raises(UsageError, match="both"):
        begin(root, fork_from="r?_step=1", resume_from="r?_step=1")
    with pytest.raises(UsageError, match="'allow', 'must', 'never', 'auto'"):
        begin(root, resume="perhaps")
    assert begin(root, resume="auto").finish() is None
    assert not stored(root, read_runs(root)[0]["id"])["history"]


def run_and_die(root: Path, body: str = "import os; os._exit(1)", **arguments: Any) -> None:
    """Begin run r in a process that ends by `body`."""
    code = (
        f"import tracker; run = tracker.init(project='p', dir={str(root)!r}, id='r', settings={SILENT}, **{arguments});"
    )
    code += f"[run.log({{'loss': float(step)}}) for step in range(3)]; {body}"
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60, env=os.environ, capture_output=True)


@pytest.mark.parametrize(
    ("body", "goes_on"),
    [
        ("import os; os._exit(1)", True),
        ("import sys; sys.exit(3)", True),
        ("raise ValueError", True),
        ("import os; os.kill(os.getpid(), 15)", True),
        ("run.finish()", False),
        ("pass", False),
    ],
)
def test_auto_goes_on_with_the_last_run_that_did_not_finish(root: Path, body: str, goes_on: bool) -> None:
    """However it ended."""
    run_and_die(root, body)
    run = begin(root, resume="auto")
    run.finish()

    assert (run.id == "r") == run.resumed == goes_on
    assert run.starting_step == (3 if goes_on else 0)


def test_auto_leaves_a_run_alone_that_is_being_written(root: Path) -> None:
    """Two processes of one project, both with auto, are two runs."""
    first = begin(root, id="r")
    second = begin(root, resume="auto")
    assert second.id != "r"
    second.finish()
    first.log({"loss": 1})
    first.finish(exit_code=1)

    third = begin(root, resume="auto")
    third.finish()
    assert third.id == "r"


def test_the_note_of_the_last_run_is_no_run(root: Path) -> None:
    """It survives nonsense, and a folder that cannot be written."""
    project = train(root, id="r").folder.parent
    (project / ".last-run.json").write_text("{")
    assert len(read_runs(root)) == 1
    run = begin(root, resume="auto")
    run.finish()
    assert not run.resumed
    remember(project / "nowhere", "r", "running")
    (project / ".last-run.json").write_text('{"id": "gone", "state": "failed"}')
    run = begin(root, resume="auto")
    run.finish()
    assert not run.resumed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r?_step=3", ("r", 3)),
        ("a b?_step=-1", ("a b", -1)),
        ("r?_step=2.5", ("r", 2.5)),
        (" r?_step=0 ", ("r", 0)),
    ],
)
def test_a_moment(text: str, expected: tuple[str, float]) -> None:
    """An id and a step."""
    assert parse_moment(text, "fork_from") == expected


@pytest.mark.parametrize(
    "text", ["r", "r?_step=", "?_step=3", "r?_step=x", "r?loss=3", "r?_step=1?_step=2", "r?_step=nan", 3]
)
def test_what_is_no_moment_is_told(text: Any) -> None:
    """With an example."""
    with pytest.raises(UsageError, match="for example 'ab12cd34"):
        parse_moment(text, "fork_from")


def test_resume_from_hides_what_lies_behind(root: Path) -> None:
    """Also twice, and rows logged afterwards count."""
    train(root, 0, 6, id="r")
    with begin(root, resume_from="r?_step=3") as run:
        assert (run.id, run.step, run.resumed) == ("r", 4, True)
        run.log({"loss": 40.0})
        run.log({"loss": 50.0})
    assert losses(root) == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0)]
    with begin(root, id="r", resume_from="r?_step=4") as run:
        run.log({"loss": 500.0})

    assert losses(root) == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 500.0)]
    previous = read_previous(run.folder)
    assert previous is not None and previous.last_step == 5
    with pytest.raises(UsageError, match="give one of them"):
        begin(root, id="other", resume_from="r?_step=3")
    with pytest.raises(UsageError, match="has none of that id"):
        begin(root, resume_from="nothing?_step=3")


def test_the_last_step_leaves_hidden_rows_out(root: Path) -> None:
    """A run rewound and then gone on with continues behind what is seen."""
    train(root, 0, 6, id="r")
    begin(root, resume_from="r?_step=2").finish()
    run = train(root, 30, 31, id="r", resume="must")

    assert run.starting_step == 3
    assert losses(root) == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0)]


def test_steps_of_any_kind_are_gone_on_from(root: Path) -> None:
    """Floats: the next whole step; negative ones and late ones do not count backwards."""
    with begin(root, id="r") as run:
        for step in (7.5, -3, 2):
            run.log({"loss": 1.0}, step=step)
    with begin(root, id="r") as run:
        assert run.starting_step == 8
    empty = begin(root, id="empty")
    empty.finish()

    with begin(root, id="empty") as run:
        assert (run.starting_step, run.resumed) == (0, True)


def test_a_fork_stands_by_itself(root: Path) -> None:
    """Rows up to the step with their times, config and definitions; the source can be removed."""
    import shutil

    with begin(root, id="r", config={"lr": 1, "o": {"b": 2}}, name="source", tags=["x"]) as source:
        source.define_metric("loss", summary="min")
        for step in range(6):
            source.log({"loss": 6.0 - step, "text": "a", "big": 10**30, "n": {"x": step}})
    before = {row["_step"]: row["_timestamp"] for row in stored(root)["history"]}
    with begin(root, id="f", fork_from="r?_step=3", config={"lr": 2}) as run:
        assert (run.id, run.step, run.resumed, run.tags) == ("f", 4, False, ())
        assert run.name != "source"
        assert run.config.as_dict() == {"lr": 2, "o": {"b": 2}}
        run.log({"loss": 10.0})
    shutil.rmtree(source.folder)
    fork = stored(root, "f")

    assert [(row["_step"], row["loss"]) for row in fork["history"]] == [
        (0, 6.0),
        (1, 5.0),
        (2, 4.0),
        (3, 3.0),
        (4, 10.0),
    ]
    assert [row["big"] for row in fork["history"][:4]] == [10**30] * 4
    assert {row["_step"]: row["_timestamp"] for row in fork["history"][:4]} == {s: before[s] for s in range(4)}
    assert fork["config"] == {"lr": 2, "o": {"b": 2}}
    assert fork["summary"]["loss.min"] == 3.0
    assert fork["status"] == "finished"


def test_a_fork_needs_a_new_id_and_a_source(root: Path) -> None:
    """Neither the source's own id nor one that is taken."""
    train(root, id="r")
    train(root, id="taken")
    for arguments, said in (
        ({"id": "r"}, "itself"),
        ({"id": "taken"}, "exists"),
        ({"fork_from": "gone?_step=1"}, "none of that id"),
    ):
        with pytest.raises(UsageError, match=said):
            begin(root, **{"fork_from": "r?_step=1", **arguments})


def test_a_fork_of_a_rewound_run_has_what_is_seen_of_it(root: Path) -> None:
    """Hidden rows stay behind; so do those of a fork's own rewinds."""
    train(root, 0, 6, id="r")
    train(root, 40, 42, resume_from="r?_step=3")
    begin(root, id="f", fork_from="r?_step=4").finish()

    assert losses(root, "f") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]
    train(root, 7, 8, resume_from="f?_step=1")
    assert losses(root, "f") == [(0, 0.0), (1, 1.0), (2, 7.0)]


def test_a_fork_of_many_rows_is_copied_whole(root: Path) -> None:
    """Sealed segments and open ones."""
    with begin(root, id="r") as run:
        for step in range(20_000):
            run.log({"loss": float(step), "text": f"a longer text that fills segments {step}" * 3})
    begin(root, id="f", fork_from="r?_step=14999").finish()

    assert losses(root, "f") == [(step, float(step)) for step in range(15_000)]


def test_what_belongs_to_a_process_is_not_gone_on_with(root: Path) -> None:
    """A run that was preempted goes on as one that is not, and fails as one that fails."""
    run_and_die(root, "run.mark_preempting(); import os; os.kill(os.getpid(), 15)")
    assert stored(root)["status"] == "preempted"
    previous = read_previous(begin(root, id="x").folder.parent / "r")
    tracker.finish()
    assert previous is not None and previous.state == "preempted"
    run_and_die(root, "run.finish(exit_code=1)")

    assert stored(root)["status"] == "failed"


def test_a_damaged_block_is_no_reason_not_to_go_on(root: Path) -> None:
    """What follows it is read; only a newer format is."""
    run = train(root, 0, 5000, id="r")
    (folder,) = streams(run.folder)
    (segment,) = folder.iterdir() if len(list(folder.iterdir())) == 1 else sorted(folder.iterdir())[:1]
    data = bytearray(segment.read_bytes())
    data[200:210] = bytes(10)
    segment.write_bytes(data)
    previous = read_previous(run.folder)
    assert previous is not None and previous.last_step == 4999
    assert sum(len(entry) for entry in earlier(run.folder, "none") if hasattr(entry, "columns")) > 0

    data[4:8] = b"\xff\xff\xff\xff"  # the segment's version
    segment.write_bytes(data)
    try:
        list(StreamReader(folder).entries())
    except FormatError:
        with pytest.raises(FormatError):
            begin(root, id="r")


def test_a_run_that_another_process_writes_is_not_taken_back(root: Path) -> None:
    """Two processes: the first one's rows stay seen, and the second is told what it may do."""
    code = (
        f"import tracker; run = tracker.init(project='p', dir={str(root)!r}, id='r', settings={SILENT})\n"
        "for step in range(6): run.log({'loss': float(step)})\n"
        "print('written', flush=True); input()\n"
        "run.log({'loss': 6.0}); run.finish()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True) as first:
        assert first.stdin is not None and first.stdout is not None
        assert first.stdout.readline() == "written\n"
        with pytest.raises(tracker.RunInUse, match=f"process {first.pid}.*fork_from='r\\?_step=2'"):
            begin(root, resume_from="r?_step=2")
        train(root, 10, 12, fork_from="r?_step=2", id="f")
        first.communicate("\n", timeout=60)

    assert losses(root) == [(float(step), float(step)) for step in range(7)]
    assert losses(root, "f") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 10.0), (4, 11.0)]

    train(root, 20, 21, resume_from="r?_step=2")  # it is over: now it may be
    assert losses(root)[2:] == [(2, 2.0), (3, 20.0)]
