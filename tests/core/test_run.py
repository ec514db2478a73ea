"""What a run keeps, and what it says about what it cannot keep."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker.testing import read_runs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder for runs."""
    return tmp_path / "runs"


def only(root: Path) -> dict[str, Any]:
    """Answer the one run under `root`."""
    (run,) = read_runs(root)
    return run


def rows(root: Path) -> list[dict[str, Any]]:
    """Answer the history of the one run under `root`, without times."""
    return [{key: row[key] for key in row if key not in ("_timestamp", "_runtime")} for row in only(root)["history"]]


def test_a_run_keeps_what_it_was_told(root: Path) -> None:
    """Names, config, rows and a true end come back."""
    with tracker.init(
        project="digits", dir=root, id="abc", name="first", tags=["a", "b"], notes="n", group="g", job_type="train",
        config={"lr": 0.1, "optim": {"name": "adam"}},
    ) as run:  # fmt: skip
        for step in range(3):
            run.log({"loss": 1.0 / (step + 1), "acc": step})

    kept = only(root)
    expected = {
        "id": "abc", "entity": "local", "project": "digits", "name": "first", "tags": ["a", "b"], "notes": "n",
        "group": "g", "job_type": "train", "status": "finished",
        "config": {"lr": 0.1, "optim": {"name": "adam"}},
    }  # fmt: skip
    assert {key: kept[key] for key in expected} == expected
    assert rows(root) == [
        {"_step": 0, "loss": 1.0, "acc": 0},
        {"_step": 1, "loss": 0.5, "acc": 1},
        {"_step": 2, "loss": 1.0 / 3, "acc": 2},
    ]
    assert kept["summary"]["loss"] == 1.0 / 3


def test_an_acknowledged_row_can_be_read_before_the_run_ends(root: Path) -> None:
    """What `log` has returned from is there for every reader."""
    run = tracker.init(project="p", dir=root)
    run.log({"loss": 0.25})

    assert only(root)["status"] == "running"
    assert rows(root) == [{"_step": 0, "loss": 0.25}]
    run.finish()


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1.5, 1.5),
        (7, 7),
        (True, True),
        (None, None),
        ("text", "text"),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (2**63, 2**63),
        (10**40, 10**40),
        (-(10**40), -(10**40)),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(2.5), 2.5),
        (np.array([4.0]), 4.0),
        (np.longdouble(1.25), 1.25),
        (decimal.Decimal("1.5"), 1.5),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (enum.IntEnum("Colour", "RED").RED, 1),
        ([1, 2.5, "x"], [1, 2.5, "x"]),
    ],
    ids=repr,
)
def test_a_value_is_kept_as_what_it_is(root: Path, value: Any, kept: Any) -> None:
    """Everyday values come back exactly."""
    with tracker.init(project="p", dir=root) as run:
        run.log({"x": value, "good": 1.0})

    assert rows(root) == [{"_step": 0, "x": kept, "good": 1.0}]


def test_nan_is_kept_apart_from_nothing(root: Path) -> None:
    """NaN comes back as NaN, not as null and not as a gap."""
    with tracker.init(project="p", dir=root) as run:
        run.log({"x": math.nan})
        run.log({"x": np.float32("nan")})

    assert [math.isnan(row["x"]) for row in rows(root)] == [True, True]


class _Broken:
    def __float__(self) -> float:
        raise RuntimeError("broken")

    item = __float__


class Said:
    """What was said to the user, wherever it went."""

    def __init__(self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
        self._capfd, self._caplog = capfd, caplog

    def __call__(self) -> str:
        return self._capfd.readouterr().err + self._caplog.text


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Said:
    """Answers what was said until now."""
    return Said(capfd, caplog)


def _cycle() -> dict[str, Any]:
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    return cycle


@pytest.mark.parametrize(
    "bad",
    [object(), _Broken(), _cycle(), "x" * 10_000_000, np.zeros(8), 1 + 2j],
    ids=["object", "broken", "cycle", "10 MB", "array", "complex"],
)
def test_a_bad_value_harms_only_itself(root: Path, bad: Any, said: Said) -> None:
    """The rest of its row and the next row are kept, and one warning names the key."""
    with tracker.init(project="p", dir=root) as run:
        for _ in range(3):
            run.log({"good": 1.0, "bad/key": bad})
        run.log({"good": 2.0})

    assert [row["good"] for row in rows(root)] == [1.0, 1.0, 1.0, 2.0]
    assert all("bad/key" not in row for row in rows(root))
    assert said().count("'bad/key'") == 1


def test_a_key_that_is_no_text_is_said_once_and_kept(root: Path, said: Said) -> None:
    """Its text form is the key."""
    with tracker.init(project="p", dir=root) as run:
        run.log({3: 1.0, "good": 2.0})  # type: ignore[dict-item]

    assert rows(root) == [{"_step": 0, "3": 1.0, "good": 2.0}]
    assert "the int 3" in said()


def test_what_is_no_dict_is_said(root: Path, said: Said) -> None:
    """A list is not kept, and not raised about."""
    with tracker.init(project="p", dir=root) as run:
        run.log([1.0])  # type: ignore[arg-type]

    assert rows(root) == []
    assert "takes a dict" in said()


def test_strict_raises_instead(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under TRACKER_STRICT=1 a bad value is an error."""
    monkeypatch.setenv("TRACKER_STRICT", "1")
    with tracker.init(project="p", dir=root) as run, pytest.raises(tracker.UsageError, match="'bad' is a"):
        run.log({"bad": object()})


def test_nested_values_become_dotted(root: Path) -> None:
    """A dict in a row is its leaves."""
    with tracker.init(project="p", dir=root) as run:
        run.log({"train": {"loss": 1.0, "acc": {"top1": 0.5}}})

    assert rows(root) == [{"_step": 0, "train.loss": 1.0, "train.acc.top1": 0.5}]


def test_a_row_of_many_keys_is_kept_whole(root: Path) -> None:
    """100,000 keys in one call come back as one row."""
    values = {f"layer/{index}/weight_norm": float(index) for index in range(100_000)}
    with tracker.init(project="p", dir=root) as run:
        run.log(values)

    assert rows(root) == [{"_step": 0, **values}]


def test_steps_may_come_in_any_order(root: Path) -> None:
    """Late, repeated, backwards, negative and float steps are all kept; equal steps merge per key."""
    with tracker.init(project="p", dir=root) as run:
        for step, value in [(5, 1.0), (2, 2.0), (-3, 3.0), (2.5, 4.0), (5, 5.0)]:
            run.log({"x": value}, step=step)
        run.log({"y": 6.0}, step=2)

    assert rows(root) == [
        {"_step": -3, "x": 3.0},
        {"_step": 2, "x": 2.0, "y": 6.0},
        {"_step": 2.5, "x": 4.0},
        {"_step": 5, "x": 5.0},
    ]


def test_commit_false_keeps_the_row_open(root: Path) -> None:
    """The next call goes to the same row; what was logged is safe all the same."""
    with tracker.init(project="p", dir=root) as run:
        run.log({"a": 1}, commit=False)
        run.log({"b": 2})
        run.log({"c": 3})
        run.log({"d": 4}, step=10)
        run.log({"e": 5})
        run.log({"f": 6})

    assert rows(root) == [
        {"_step": 0, "a": 1, "b": 2},
        {"_step": 1, "c": 3},
        {"_step": 10, "d": 4, "e": 5},
        {"_step": 11, "f": 6},
    ]


@pytest.mark.parametrize("step", ["3", math.nan, object()], ids=["text", "nan", "object"])
def test_a_bad_step_costs_no_value(root: Path, step: Any, said: Said) -> None:
    """The row goes to the next free step, and that is said."""
    with tracker.init(project="p", dir=root) as run:
        run.log({"x": 1.0}, step=step)

    assert rows(root) == [{"_step": 0, "x": 1.0}]
    assert "the next free step is used" in said()


def test_threads_share_a_run(root: Path) -> None:
    """Eight threads lose nothing: each row has a step of its own."""
    with tracker.init(project="p", dir=root) as run:

        def work(number: int) -> None:
            for index in range(250):
                run.log({f"t{number}": index})

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = rows(root)
    assert [row["_step"] for row in found] == list(range(2000))
    for number in range(8):
        assert [row[f"t{number}"] for row in found if f"t{number}" in row] == list(range(250))


def test_several_runs_at_once(root: Path) -> None:
    """`reinit="create_new"` opens a second run; each keeps its own rows."""
    first = tracker.init(project="p", dir=root, id="one")
    second = tracker.init(project="p", dir=root, id="two", reinit="create_new")
    first.log({"x": 1})
    second.log({"x": 2})
    assert tracker.run is second
    second.finish()
    assert tracker.run is first
    first.finish()

    assert {run["id"]: run["history"][0]["x"] for run in read_runs(root)} == {"one": 1, "two": 2}
    assert tracker.run is None


def test_module_functions_are_the_current_runs(root: Path) -> None:
    """`tracker.log` and its like go to the run that is open, and say so when there is none."""
    with pytest.raises(tracker.UsageError, match=r"tracker\.init"):
        tracker.log({"x": 1})
    tracker.init(project="p", dir=root, config={"lr": 1})
    tracker.log({"x": 1})
    tracker.config["epochs"] = 3
    tracker.finish()

    assert rows(root) == [{"_step": 0, "x": 1}]
    assert only(root)["config"] == {"lr": 1, "epochs": 3}


def test_a_disabled_run_does_nothing_all_the_way_down(root: Path) -> None:
    """Every attribute, call and item of it is inert, and nothing is written."""
    run = tracker.init(project="p", dir=root, mode="disabled", config={"lr": 0.1})
    run.log({"x": 1})
    run.anything.you.like(1)["x"].more()  # type: ignore[attr-defined]

    assert run.config.lr == 0.1
    assert not root.exists()
    run.finish()
    assert tracker.run is None


def test_an_exception_marks_the_run_failed_and_keeps_the_traceback(root: Path) -> None:
    """The exception passes on."""
    with pytest.raises(ZeroDivisionError), tracker.init(project="p", dir=root):
        _ = 1 / 0

    kept = only(root)
    assert kept["status"] == "failed"
    assert "ZeroDivisionError" in kept["exit"]["traceback"]


def test_logging_after_the_end_is_said(root: Path, said: Said) -> None:
    """It neither raises nor changes the run."""
    run = tracker.init(project="p", dir=root)
    run.finish()
    run.log({"x": 1})

    assert rows(root) == []
    assert "has ended" in said()


def test_a_handler_of_the_user_may_leave_a_call(root: Path) -> None:
    """An exception that a signal handler raises in mid-call is the user's, and passes."""

    class Slow:
        def item(self) -> float:
            signal.raise_signal(signal.SIGUSR1)
            return 1.0

    def give_up(number: int, frame: Any) -> None:
        raise TimeoutError("too long")

    before = signal.signal(signal.SIGUSR1, give_up)
    try:
        with tracker.init(project="p", dir=root) as run:
            with pytest.raises(TimeoutError):
                run.log({"x": Slow()})
            run.log({"x": 2.0})
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert [row["x"] for row in rows(root)] == [2.0]


def test_a_folder_that_cannot_be_written_is_said_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    """Training goes on: the run is kept in the temporary folder."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with tracker.init(project="p", dir=blocked) as run:
        run.log({"x": 1})

    text = said()
    spare = tmp_path / f"tracker-{os.getuid()}"
    assert "cannot be written" in text
    assert str(spare) in text
    assert rows(spare) == [{"_step": 0, "x": 1}]


def test_a_disabled_run_is_current_until_its_block_ends() -> None:
    """Else it would be the current run of all that comes behind it."""
    with tracker.init(mode="disabled") as run:
        assert tracker.run is run

    assert tracker.run is None
