"""Which run is the current one, where a process has several."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import tracker
from tracker.testing import read_runs


def begin(tmp_path: Path, run_id: str) -> tracker.Run:
    """Begin a run beside those that are open."""
    return tracker.init(dir=tmp_path, id=run_id, reinit="create_new", settings={"silent": True})


def test_a_run_that_is_confined_is_in_nobodys_way(tmp_path: Path) -> None:
    """It takes what is logged to it; what the user begins meanwhile neither continues nor ends it."""
    with begin(tmp_path, "outer") as outer:
        outer.confine("nowhere")
        assert tracker.run is None
        with pytest.raises(tracker.UsageError):
            tracker.log({"lost": 1})
        with tracker.init(dir=tmp_path, id="inner", reinit="finish_previous", settings={"silent": True}) as inner:
            assert tracker.run is inner
            tracker.log({"loss": 1.0})
        outer.log({"value": 2.0})
        outer.confine(None)
        assert tracker.run is outer
    kept = {run["id"]: run for run in read_runs(tmp_path)}

    assert [row["loss"] for row in kept["inner"]["history"]] == [1.0]
    assert [row["value"] for row in kept["outer"]["history"]] == [2.0]
    assert kept["outer"]["status"] == "finished"


def test_each_thread_can_have_a_run_of_its_own(tmp_path: Path) -> None:
    both = threading.Barrier(2)
    seen: dict[str, Any] = {}

    def work(name: str) -> None:
        both.wait(timeout=30)
        with tracker.confined("thread"):
            run = begin(tmp_path, name)
        with run:
            for _ in range(50):  # while the other one begins
                tracker.log({"name": name})
            seen[name] = tracker.run is run
            both.wait(timeout=30)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert seen == {"a": True, "b": True}
    names = {run["id"]: {row["name"] for row in run["history"]} for run in read_runs(tmp_path)}
    assert names == {"a": {"a"}, "b": {"b"}}
    assert tracker.run is None


def test_without_a_run_one_can_still_look_at_the_module() -> None:
    """What belongs to a run is not there, as attributes are not there; who asks for it is told how to get one."""
    assert tracker.run is None
    assert not hasattr(tracker, "summary")
    assert {"init", "log"} <= {name for name in dir(tracker) if hasattr(tracker, name)}
    with pytest.raises(tracker.NoRun, match=r"tracker\.config needs a run.*tracker\.init"):
        _ = tracker.config.lr
