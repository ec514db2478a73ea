"""`track` and `TrackerHook`, for who wants them by hand."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

import tracker
from tests.integrations.torch.conftest import Net, train
from tracker.integrations.torch import TrackerHook, track


def test_one_line_logs_a_loop(only_run: Callable[[], Any]) -> None:
    """The run begins at the first step; the model's facts and histograms of its gradients come along."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hook = track(optimizer, model, watch="gradients", watch_freq=2, project="by-hand", config={"seed": 3})
    assert tracker.run is None
    told = train(model, optimizer, 12)
    assert tracker.run is not None
    hook.remove()
    train(model, optimizer, 5)
    tracker.finish()

    run = only_run()
    assert (run.project, run.state, run.config["seed"]) == ("by-hand", "finished", 3)
    assert run.config["model"] == {"class": "Net", "parameters": 49, "trainable_parameters": 49}
    rows = [row for row in run.history(pandas=False) if "optimizer/step" in row]
    assert [row["optimizer/step"] for row in rows] == [*range(1, 11), 12]
    assert [row["optimizer/grad_norm"] for row in rows[:10]] == pytest.approx([norm for _, norm in told[:10]], rel=1e-5)
    assert len([row for row in run.history(pandas=False) if "gradients/layers.0.weight" in row]) >= 1


def test_a_run_that_is_given_stays_open(only_run: Callable[[], Any]) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with tracker.init(project="own") as run:
        with_name = TrackerHook(optimizer, run=run, every=5, name="generator")
        train(model, optimizer, 21)
        with_name.remove()
        assert run.state == "running"
        run.log({"after": 1})

    rows = only_run().history(pandas=False)
    assert [row["generator/step"] for row in rows if "generator/step" in row] == [*range(1, 11), 15, 20, 21]
    assert rows[0]["after"] == 1


def test_by_hand_and_by_itself_are_not_twice(only_run: Callable[[], Any], autolog: None) -> None:
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    track(optimizer, model, name="mine")
    train(model, optimizer, 2)
    tracker.finish()

    keys = {key for row in only_run().history(pandas=False) for key in row}
    assert "mine/step" in keys
    assert "optimizer/step" not in keys


def test_nothing_is_attached_that_would_not_pickle() -> None:
    """8.1 #15: models and optimizers are saved and copied as ever."""
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    track(optimizer, model, watch="all", mode="offline")
    train(model, optimizer, 1)
    again = pickle.loads(pickle.dumps(optimizer.state_dict()))
    copied = copy.deepcopy(model)

    assert again["param_groups"] == optimizer.state_dict()["param_groups"]
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), copied.parameters(), strict=True))
    assert not [name for name in vars(model) if "tracker" in name]


def test_watching_breaks_no_graph(only_run: Callable[[], Any]) -> None:
    """8.1 #15 (wandb#10221, makani#150): a watched model compiles into one graph, and its gradients are recorded."""
    import torch._dynamo.testing  # only here: it takes seconds

    model = Net()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    track(optimizer, compiled, watch="all", watch_freq=1)
    train(compiled, optimizer, 3)
    tracker.finish()

    assert counter.frame_count == 1
    run = only_run()
    rows = [row for row in run.history(pandas=False) if "gradients/layers.0.weight" in row]
    assert rows
    assert rows[0]["gradients/layers.0.weight"]["_type"] == "histogram"
    assert run.config["model"]["class"] == "Net"
