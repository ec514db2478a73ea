"""Loops that know nothing of tracker: what comes out of their optimizers' steps."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

import tracker
from tests.integrations.torch.conftest import Net, train
from tracker.integrations import patching
from tracker.integrations import torch as ours
from tracker.integrations.base import Session

pytestmark = pytest.mark.usefixtures("autolog")


def test_an_unmodified_loop_is_logged(only_run: Callable[[], Any]) -> None:
    """Step, loss, learning rate and gradient norm: the first ten steps, and each tenth, at the number of the step."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.5)
    told = train(model, optimizer, 34, schedule)
    tracker.finish()

    run = only_run()
    rows = run.history(pandas=False)
    assert [row["_step"] for row in rows] == [*range(1, 11), 20, 30, 34]
    assert [row["optimizer/step"] for row in rows] == [row["_step"] for row in rows]
    for row in rows[:-1]:
        loss, norm = told[row["_step"] - 1]
        assert row["optimizer/loss"] == pytest.approx(loss)
        assert row["optimizer/grad_norm"] == pytest.approx(norm, rel=1e-5)
        assert row["optimizer/lr"] == pytest.approx(0.1 * 0.5 ** ((row["_step"] - 1) // 5))
    assert run.state == "finished"
    assert run.summary["optimizer/step"] == 34  # the last step is told, whichever it is


def test_the_config_says_what_is_trained(only_run: Callable[[], Any]) -> None:
    """The optimizer, the model and the script's arguments are found without a word in the script."""
    import argparse

    args = argparse.ArgumentParser()
    args.add_argument("--width", type=int, default=8)
    options = args.parse_args([])
    model = Net()
    train(model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1), 1)
    tracker.finish()

    config = only_run().config
    assert options.width == 8
    assert config["args"] == {"width": 8}
    assert config["model"] == {"class": "Net", "parameters": 49, "trainable_parameters": 49}
    assert config["optimizer"]["class"] == "AdamW"
    assert (config["optimizer"]["lr"], config["optimizer"]["weight_decay"]) == (1e-3, 0.1)
    assert (config["optimizer"]["parameters"], config["optimizer"]["groups"]) == (49, 1)


def test_nothing_of_the_loop_is_kept_alive(only_run: Callable[[], Any]) -> None:
    """8.1 #15 (wandb#2644): neither tensors nor the model stay in memory because we have looked at them."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = torch.randn(16, 4)
    loss = model(batch).pow(2).mean()
    loss.backward()
    optimizer.step()
    gone = [weakref.ref(one) for one in (batch, loss, model, optimizer)]
    del batch, loss, model, optimizer
    gc.collect()

    assert [one() for one in gone] == [None] * 4
    tracker.finish()
    assert only_run().config["model"]["class"] == "Net"


def test_several_optimizers_have_names_of_their_own(only_run: Callable[[], Any]) -> None:
    """A GAN: each optimizer has its own count, its own loss, in one run."""
    one, two = Net(), Net()
    first = torch.optim.Adam(one.parameters(), lr=0.1)
    second = torch.optim.SGD(
        [{"params": two.layers[0].parameters(), "lr": 0.2}, {"params": two.layers[2].parameters(), "lr": 0.3}]
    )
    told_one, told_two = [], []
    for _ in range(3):
        told_one += train(one, first, 2)
        told_two += train(two, second, 1)
    tracker.finish()

    rows = only_run().history(pandas=False)
    assert [row["optimizer/step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["optimizer/loss"] for row in rows] == pytest.approx([loss for loss, _ in told_one])
    assert [row.get("optimizer_2/step") for row in rows] == [1, 2, 3, None, None, None]
    assert [row["optimizer_2/loss"] for row in rows[:3]] == pytest.approx([loss for loss, _ in told_two])
    assert (rows[0]["optimizer_2/lr/0"], rows[0]["optimizer_2/lr/1"]) == (0.2, 0.3)


def test_accumulated_gradients_have_the_loss_they_are_of(only_run: Callable[[], Any]) -> None:
    """What backward() was called on between two steps is added up, as the gradients are."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    x = torch.randn(8, 4)
    for half in (x[:4], x[4:]):
        (model(half).pow(2).mean() / 2).backward()
    optimizer.step()
    tracker.finish()

    (row,) = only_run().history(pandas=False)
    assert row["optimizer/loss"] == pytest.approx(float(model(x).detach().pow(2).mean()))


def test_a_scaled_loss_is_told_unscaled(only_run: Callable[[], Any]) -> None:
    """8.1 #15 (trackio#261, #262): neither loss nor norm has the scale in it, and a step passed over is none."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    told = []
    for step in range(3):
        x = torch.randn(8, 4)
        loss = model(x).pow(2).mean() * (float("inf") if step == 1 else 1.0)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if step != 1:
            told.append(
                (
                    loss.item(),
                    sum(float((p.grad.double() / scaler.get_scale()).pow(2).sum()) for p in model.parameters()) ** 0.5,
                )
            )
        scaler.step(optimizer)
        scaler.update()
    tracker.finish()

    rows = only_run().history(pandas=False)
    assert [row["optimizer/step"] for row in rows] == [1, 2]
    assert rows[0]["optimizer/loss"] == pytest.approx(told[0][0])
    assert [row["optimizer/grad_norm"] for row in rows] == pytest.approx([norm for _, norm in told], rel=1e-4)


def test_a_compiled_model_and_a_compiled_step_are_seen(only_run: Callable[[], Any]) -> None:
    """8.1 #15 (wandb#10221): nothing of ours is in the graph, and nothing breaks it."""
    import torch._dynamo.testing  # only here: it takes seconds

    model = Net()
    counter = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(model, backend=counter)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = train(compiled, optimizer, 3)
    stepped = torch.compile(optimizer.step, backend="eager")
    model(torch.randn(2, 4)).sum().backward()
    stepped()
    tracker.finish()

    run = only_run()
    rows = run.history(pandas=False)
    assert counter.frame_count == 1
    assert [row["optimizer/step"] for row in rows] == [1, 2, 3, 4]
    assert [row["optimizer/grad_norm"] for row in rows[:3]] == pytest.approx([norm for _, norm in told], rel=1e-5)
    assert run.config["model"]["class"] == "Net"


def test_gradients_within_the_step_are_seen(only_run: Callable[[], Any]) -> None:
    """LBFGS asks for them itself, several times."""
    model = torch.nn.Linear(4, 1)
    x = torch.randn(16, 4)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    norm = sum(float(p.grad.double().pow(2).sum()) for p in model.parameters()) ** 0.5  # type: ignore[union-attr]
    tracker.finish()

    (row,) = only_run().history(pandas=False)
    assert row["optimizer/grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert "optimizer/loss" not in row


def test_the_run_that_is_open_is_logged_to_and_its_own_steps_stay(only_run: Callable[[], Any]) -> None:
    """8.1 #2 (wandb#6269): rows that the user logs without a step go on as if nothing else were logged."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with tracker.init(project="own") as run:
        for epoch in range(2):
            train(model, optimizer, 4)
            run.log({"epoch": epoch})
        assert run.state == "running"
    train(model, optimizer, 2)  # the user has finished the run: nothing more is logged

    kept = only_run()
    assert kept.project == "own"
    rows = kept.history(pandas=False)
    assert [row["epoch"] for row in rows if "epoch" in row] == [0, 1]
    assert [row["_step"] for row in rows if "epoch" in row] == [0, 1]
    assert [row["optimizer/step"] for row in rows if "optimizer/step" in row] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_trainings_one_after_another_are_runs_of_their_own(read: Callable[[], list[Any]]) -> None:
    """8.1 #20, #27: what one loop has trained is not mixed up with the next one, schedules or not."""

    def trial(rate: float) -> None:
        model = Net()
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        train(model, optimizer, 3, torch.optim.lr_scheduler.StepLR(optimizer, 100))

    trial(0.1)
    trial(0.2)
    tracker.finish()

    runs = read()
    assert [run.config["optimizer"]["lr"] for run in runs] == [0.1, 0.2]
    assert [run.state for run in runs] == ["finished", "finished"]
    assert [[row["optimizer/step"] for row in run.history(pandas=False)] for run in runs] == [[1, 2, 3]] * 2


def test_another_optimizer_for_the_same_model_goes_on_with_the_run(only_run: Callable[[], Any]) -> None:
    """The head first, then all of it: one training, and the count of steps goes on."""
    model = Net()
    optimizer = torch.optim.SGD(model.layers[2].parameters(), lr=0.1)
    train(model, optimizer, 3)
    del optimizer
    gc.collect()
    train(model, torch.optim.Adam(model.parameters(), lr=0.01), 3)
    tracker.finish()

    rows = only_run().history(pandas=False)
    assert [row["optimizer/step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["optimizer/lr"] for row in rows] == [0.1] * 3 + [0.01] * 3


def test_a_loaded_optimizer_counts_on(only_run: Callable[[], Any]) -> None:
    """8.1 #10: Adam says how many steps it has behind it."""
    model = Net()
    before = torch.optim.Adam(model.parameters(), lr=0.1)
    tracker.autolog("torch", disable=True)
    train(model, before, 5)
    tracker.autolog("torch")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    optimizer.load_state_dict(before.state_dict())
    train(model, optimizer, 2)
    tracker.finish()

    assert [row["optimizer/step"] for row in only_run().history(pandas=False)] == [6, 7]


def test_a_resumed_run_counts_on_where_the_optimizer_cannot_say(only_run: Callable[[], Any]) -> None:
    model = Net()
    for _ in range(2):
        with tracker.init(project="own", id="same", resume="allow"):
            train(model, torch.optim.SGD(model.parameters(), lr=0.1), 3)

    assert [row["optimizer/step"] for row in only_run().history(pandas=False)] == [1, 2, 3, 4, 5, 6]


def test_nothing_is_logged_inside_a_frameworks_training(only_run: Callable[[], Any]) -> None:
    """Its own integration logs; the optimizer is its part."""
    session = Session("transformers")
    run = session.begin()
    assert run is not None
    model = Net()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 3)
    session.log({"train/loss": 1.0}, step=3)
    session.end()

    assert [row for row in only_run().history(pandas=False) if "optimizer/step" in row] == []


def test_other_ranks_log_nothing(read: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """8.1 #9: N processes make one run; here is one of the others."""
    monkeypatch.setenv("RANK", "1")
    model = Net()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 2)

    assert read() == []


def test_what_is_not_logged_costs_next_to_nothing(
    read: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """8.1 #6: other ranks, and optimizers beyond the most that are told apart, are not looked at at each step."""
    looked: list[str] = []
    collect = gc.collect
    monkeypatch.setattr(gc, "collect", lambda *args: looked.append("collected") or collect(*args))
    monkeypatch.setattr(ours, "config_of", lambda _: looked.append("described") or {})
    kept = [torch.optim.SGD(Net().parameters(), lr=0.1) for _ in range(ours.MAX_OPTIMIZERS + 1)]
    for _ in range(50):
        for optimizer in kept:
            optimizer.step()
    tracker.finish()
    (run,) = read()
    assert looked.count("described") == ours.MAX_OPTIMIZERS
    assert looked.count("collected") == ours.MAX_OPTIMIZERS  # once for each but the first
    assert f"optimizer_{ours.MAX_OPTIMIZERS}/step" in run.summary

    looked.clear()
    ours._all.clear()
    monkeypatch.setenv("RANK", "1")
    other = torch.optim.SGD(Net().parameters(), lr=0.1)
    for _ in range(50):
        other.step()
    assert looked == []


def test_a_forked_childs_steps_are_not_its_parents(only_run: Callable[[], Any]) -> None:
    """8.1 #8, #9: a child that trains a copy of the model does not write into the run as if it were the loop."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer, 2)
    pid = os.fork()
    if pid == 0:
        try:
            train(model, optimizer, 3)
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    tracker.finish()

    assert [row["optimizer/step"] for row in only_run().history(pandas=False)] == [1, 2]


def test_a_fault_of_ours_does_not_reach_the_loop(
    only_run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """8.1 #7: it is said, and training goes on."""
    monkeypatch.delenv("TRACKER_STRICT")
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train(model, optimizer, 1)
    monkeypatch.setattr(torch, "_foreach_norm", None)
    before = [one.detach().clone() for one in model.parameters()]
    train(model, optimizer, 1)
    tracker.finish()

    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert [row["optimizer/step"] for row in only_run().history(pandas=False)] == [1, 2]
    assert "TypeError" in caplog.text


def test_it_is_undone(read: Callable[[], list[Any]]) -> None:
    """8.5: torch is as it was."""
    tracker.autolog("torch", disable=True)
    assert not sys.modules["torch.optim.optimizer"]._global_optimizer_pre_hooks
    assert not hasattr(torch.Tensor.backward, "__wrapped__")
    model = Net()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 2)

    assert read() == []
    assert patching.patched() == []


def test_sparse_and_missing_gradients(only_run: Callable[[], Any]) -> None:
    """Rows of an embedding that come twice count as their sum; parameters without a gradient count for nothing."""
    embedding = torch.nn.Embedding(10, 3, sparse=True)
    unused = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD([*embedding.parameters(), *unused.parameters()], lr=0.1)
    embedding(torch.tensor([1, 1, 2])).sum().backward()
    optimizer.step()
    tracker.finish()

    (row,) = only_run().history(pandas=False)
    assert row["optimizer/grad_norm"] == pytest.approx((3 * 4 + 3 * 1) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_norms_of_narrow_numbers_do_not_overflow(only_run: Callable[[], Any], dtype: torch.dtype) -> None:
    one = torch.nn.Parameter(torch.zeros(10_000, dtype=dtype))
    other = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([one, other], lr=0.0)
    one.grad, other.grad = torch.full_like(one, 1000.0), torch.ones(3)
    optimizer.step()
    tracker.finish()

    (row,) = only_run().history(pandas=False)
    assert row["optimizer/grad_norm"] == pytest.approx(100_000, rel=0.01)


def test_the_environment_asks_for_watching(only_run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKER_WATCH", "gradients")
    model = Net()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), 3)
    tracker.finish()

    keys = {key for row in only_run().history(pandas=False) for key in row}
    assert "gradients/layers.0.weight" in keys
