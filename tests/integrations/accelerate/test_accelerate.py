"""Loops that an `Accelerator` logs for."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

import tracker
from tracker.integrations import _own_loop
from tracker.integrations.accelerate import TrackerTracker


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Accelerate keeps its state for the whole process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState._reset_state()
    _own_loop._sessions.clear()


def rows(run: Any) -> list[dict[str, Any]]:
    """Answer the history without the run's own columns, `_step` apart."""
    return [
        {key: value for key, value in row.items() if key not in ("_timestamp", "_runtime") and value is not None}
        for row in run.history(pandas=False)
    ]


def test_by_name(only_run: Callable[[], Any]) -> None:
    """Project, config, steps and the end, as the Accelerator has them."""
    accelerator = Accelerator(cpu=True, log_with="tracker")
    assert tracker.run is None
    accelerator.init_trackers("digits", config={"lr": 0.1, "layers": [1, 2]})
    accelerator.log({"loss": torch.tensor(0.5), "lr": 0.1}, step=10)
    accelerator.log({"loss": 0.25}, step=5)
    assert accelerator.get_tracker("tracker", unwrap=True) is tracker.run
    accelerator.end_training()
    assert tracker.run is None

    run = only_run()
    assert (run.project, run.state, run.config) == ("digits", "finished", {"lr": 0.1, "layers": [1, 2]})
    assert rows(run) == [{"_step": 5, "loss": 0.25}, {"_step": 10, "loss": 0.5, "lr": 0.1}]


def test_all_means_us_too(only_run: Callable[[], Any], tmp_path: Any) -> None:
    accelerator = Accelerator(cpu=True, log_with="all", project_dir=tmp_path)
    accelerator.init_trackers("digits", config={"lr": 0.1})
    accelerator.log({"loss": 0.5}, step=1)
    accelerator.end_training()

    assert rows(only_run()) == [{"_step": 1, "loss": 0.5}]


def test_images_and_tables(only_run: Callable[[], Any]) -> None:
    """8.1 #23: each step's table stays."""
    accelerator = Accelerator(cpu=True, log_with="tracker")
    accelerator.init_trackers("digits")
    ours = accelerator.get_tracker("tracker")
    ours.log_images({"samples": [np.zeros((4, 6, 3), np.uint8)] * 2}, step=1, caption=["one", "two"])
    ours.log_images({"batch": np.zeros((3, 4, 6, 3), np.uint8)}, step=1)
    ours.log_table("answers", columns=["question", "score"], data=[["a", 1], ["b", 0.5]], step=1)
    ours.log_table("answers", columns=["question", "score"], data=[["c", 2]], step=2)
    accelerator.end_training()

    run = only_run()
    first = rows(run)[0]
    assert [image["caption"] for image in first["samples"]] == ["one", "two"]
    assert [(image["width"], image["height"]) for image in first["batch"]] == [(6, 4)] * 3
    assert [list(row.values()) for row in run.table("answers", step=1).rows()] == [["a", 1], ["b", 0.5]]
    assert [list(row.values()) for row in run.table("answers", step=2).rows()] == [["c", 2]]


def test_a_run_of_the_users_is_not_ended(only_run: Callable[[], Any]) -> None:
    """8.1 #9: nobody ends what somebody else has begun."""
    with tracker.init(project="own") as run:
        accelerator = Accelerator(cpu=True, log_with="tracker")
        accelerator.init_trackers("digits", config={"lr": 0.1})
        accelerator.log({"loss": 0.5}, step=1)
        accelerator.end_training()
        assert run.state == "running"
        run.log({"after": 1}, step=2)

    kept = only_run()
    assert (kept.project, kept.config["lr"]) == ("own", 0.1)
    assert rows(kept) == [{"_step": 1, "loss": 0.5}, {"_step": 2, "after": 1}]


def test_a_run_can_be_given(only_run: Callable[[], Any]) -> None:
    run = tracker.init(project="own")
    accelerator = Accelerator(cpu=True, log_with=TrackerTracker(run=run))
    accelerator.init_trackers("ignored")
    accelerator.log({"loss": 0.5}, step=1)
    accelerator.end_training()
    assert run.state == "running"
    run.finish()

    assert rows(only_run()) == [{"_step": 1, "loss": 0.5}]


def test_going_on_with_a_run(only_run: Callable[[], Any]) -> None:
    """8.1 #10: its id is said in init_kwargs."""
    for step in (1, 2):
        accelerator = Accelerator(cpu=True, log_with="tracker")
        arguments = {"id": "same", "resume": "allow", "name": "first", "tags": ["a"]}
        accelerator.init_trackers("digits", init_kwargs={"tracker": arguments})
        accelerator.log({"loss": step / 2}, step=step)
        accelerator.end_training()
        AcceleratorState._reset_state(reset_partial_state=True)

    run = only_run()
    assert (run.id, run.name, run.state) == ("same", "first", "finished")
    assert rows(run) == [{"_step": 1, "loss": 0.5}, {"_step": 2, "loss": 1.0}]


def test_making_it_has_no_effect() -> None:
    """Deferred: before `start` processes do not know of each other yet. It pickles and copies."""
    made = TrackerTracker("digits", tags=["a"])

    assert tracker.run is None
    assert not PartialState._shared_state
    assert made.tracker is None
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert type(again) is TrackerTracker
        assert (again.run_name, again.session.arguments) == ("digits", {"project": "digits", "tags": ["a"]})


def test_a_fault_of_ours_does_not_reach_the_loop(
    only_run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7."""
    monkeypatch.delenv("TRACKER_STRICT")
    accelerator = Accelerator(cpu=True, log_with="tracker")
    accelerator.init_trackers("digits")
    accelerator.get_tracker("tracker").log_images({"picture": 5}, step=1)
    accelerator.log({"loss": 0.5}, step=1)
    accelerator.end_training()

    assert rows(only_run()) == [{"_step": 1, "loss": 0.5}]
    assert "TypeError" in caplog.text


LOOP = """
import os
import torch
from accelerate import Accelerator

accelerator = Accelerator(cpu=True{log_with})
accelerator.init_trackers("digits", config={{"lr": 0.1}})
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = torch.utils.data.DataLoader(torch.randn(32, 4), batch_size=4)
model, optimizer, data = accelerator.prepare(model, optimizer, data)
for step, batch in enumerate(data, 1):
    loss = model(batch).pow(2).mean()
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    accelerator.log({{"loss": loss.item()}}, step=step)
accelerator.end_training()
"""


def test_a_script_needs_no_import_of_ours(script: Any, only_run: Callable[[], Any]) -> None:
    script(LOOP.format(log_with=', log_with="tracker"'))

    run = only_run()
    assert (run.project, run.state, run.config) == ("digits", "finished", {"lr": 0.1})
    assert [row["_step"] for row in rows(run)] == [*range(1, 9)]
    assert all("loss" in row for row in rows(run))


def test_a_script_needs_nothing_but_the_variable(script: Any, only_run: Callable[[], Any]) -> None:
    """It logs for nobody; with the variable its values come to a run, and what its optimizer did with them."""
    script(LOOP.format(log_with=""), TRACKER_AUTOLOG="1")

    run = only_run()
    kept = rows(run)
    assert (run.project, run.state, run.config["lr"]) == ("digits", "finished", 0.1)
    assert [row["loss"] for row in kept] == pytest.approx([row["optimizer/loss"] for row in kept])
    assert [row["optimizer/step"] for row in kept] == [*range(1, 9)]


def test_a_script_that_did_not_ask_has_no_run(script: Any, read: Callable[[], list[Any]]) -> None:
    """8.1 #22."""
    script(LOOP.format(log_with=""))

    assert read() == []


def test_two_processes_make_one_run(script: Any, only_run: Callable[[], Any]) -> None:
    """8.1 #9: no empty run beside it, no value twice."""
    script(
        LOOP.format(log_with=', log_with="tracker"'),
        launcher=("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    )

    run = only_run()
    assert run.state == "finished"
    assert [row["_step"] for row in rows(run)] == [*range(1, 5)]
