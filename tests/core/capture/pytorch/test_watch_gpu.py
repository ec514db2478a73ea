"""On a real GPU: nothing waits for the device, memory is bounded, and the numbers are those of the CPU."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tracker.core.capture import torch_hooks
from tracker.core.capture.torch_statistics import Tape, measure
from tracker.core.limits import WATCH_CHUNK_VALUES
from tracker.core.run import Run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]
Rows = Callable[[], list[dict[str, Any]]]


def net() -> nn.Sequential:
    """A network with two kinds of layers."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 300), nn.Linear(300, 10))


def data(device: str = "cuda") -> tuple[Tensor, Tensor]:
    """Answer a batch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 3, 8, 8, generator=generator)
    return x.to(device), torch.randint(0, 10, (16,), generator=generator).to(device)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Have torch raise at everything that waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_means_to_prove_it_work() -> None:
    with no_waiting(), pytest.raises(RuntimeError, match="synchronizing"):
        torch.ones((), device="cuda").item()


@pytest.mark.parametrize("optimizer", ["SGD", "fused Adam", "foreach AdamW"])
def test_watching_waits_for_nothing(run: Run, rows: Rows, optimizer: str) -> None:
    """From the first step on, each of them logged; and `run.log` of device tensors beside it."""
    model = net().cuda()
    make: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "SGD": lambda: torch.optim.SGD(model.parameters(), lr=0.1),
        "fused Adam": lambda: torch.optim.Adam(model.parameters(), fused=True),
        "foreach AdamW": lambda: torch.optim.AdamW(model.parameters(), foreach=True),
    }
    stepped = make[optimizer]()
    x, y = data()
    functional.cross_entropy(model(x), y).backward()  # what is loaded or chosen at first use is, here
    run.watch(model, log="all", log_freq=1)
    with no_waiting():
        for _ in range(3):
            stepped.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            stepped.step()
            run.log({"loss": loss, "nested": {"twice": 2 * loss.detach()}, "half": loss.half()})

    found = rows()
    assert len(found) == 3
    assert all(row["grad_norm/total"] > 0 and row["update_ratio/0.weight"] > 0 and row["loss"] > 0 for row in found)
    assert [row["nested.twice"] for row in found] == [pytest.approx(2 * row["loss"]) for row in found]


def test_sparse_gradients_wait_for_nothing(run: Run, rows: Rows) -> None:
    model = nn.Embedding(10, 4, sparse=True).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    places, weights = torch.tensor([1, 1, 7]).cuda(), torch.tensor([[1.0], [2.0], [5.0]]).cuda()
    (model(places) * weights).sum().backward()
    expected = float(model.weight.grad.to_dense().norm())
    run.watch(model, log_freq=1)
    with no_waiting():
        torch_hooks._before(optimizer, (optimizer,), {})
        torch_hooks._after(optimizer, (optimizer,), {})

    (row,) = rows()
    assert row["grad_norm/weight"] == pytest.approx(expected)
    assert row["dead_units/weight"] == 0.8


def test_scaled_gradients_of_a_fused_optimizer(run: Run, rows: Rows) -> None:
    """The scale and the overflow stay on the device; a step that overflowed is no update."""
    model = net().cuda()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**10)
    x, y = data()
    functional.cross_entropy(model(x), y).backward()
    expected = math.sqrt(sum(float(one.grad.double().square().sum()) for one in model.parameters()))
    run.watch(model, log_freq=1)
    for step in range(2):
        optimizer.zero_grad()
        scaler.scale(functional.cross_entropy(model(x), y)).backward()
        if step == 1:
            model[0].weight.grad[0, 0, 0, 0] = math.inf
        scaler.step(optimizer)
        scaler.update()
        run.log({"at": step})

    fine, overflowed = rows()
    assert fine["grad_norm/total"] == pytest.approx(expected, rel=1e-3)
    assert fine["update_ratio/0.weight"] > 0
    assert overflowed["grad_inf/0.weight"] == 1
    assert not any(key.startswith("update_ratio/") for key in overflowed)


@pytest.mark.parametrize("is_deterministic", [False, True])
def test_the_numbers_are_those_of_the_cpu(run: Run, rows: Rows, is_deterministic: bool) -> None:
    """Of the same gradients, NaN and infinity among them; deterministic algorithms raise nothing."""
    here = net()
    x, y = data("cpu")
    functional.cross_entropy(here(x), y).backward()
    here[3].weight.grad[0, :5] = math.nan
    here[3].weight.grad[2, 7] = -math.inf
    there = copy.deepcopy(here).cuda()
    for one, other in zip(there.parameters(), here.parameters(), strict=True):
        one.grad = other.grad.cuda()
    run.watch([here, there], log="all", log_freq=1)
    torch.use_deterministic_algorithms(is_deterministic)
    try:
        for model in (here, there):
            torch.optim.SGD(model.parameters(), lr=0.1).step()
    finally:
        torch.use_deterministic_algorithms(False)

    (row,) = rows()
    assert (row["grad_nan/3.weight"], row["grad_inf/3.weight"]) == (5, 1)
    keys = [key for key in row if "/graph_1/" in key]
    assert len(keys) > 30
    for key in keys:
        got, expected = row[key], row[key.replace("/graph_1/", "/")]
        if isinstance(got, dict):
            assert got["bins"] == pytest.approx(expected["bins"])
            assert sum(abs(a - b) for a, b in zip(got["values"], expected["values"], strict=True)) <= 4
        else:
            assert got == pytest.approx(expected, rel=1e-4, nan_ok=True)


def test_extra_memory_is_bounded(run: Run, rows: Rows) -> None:
    """512 M values in half precision: what watching takes beside them does not grow with them."""
    weights = [torch.zeros(8192, 16384, device="cuda", dtype=torch.bfloat16) for _ in range(4)]
    model = nn.ParameterList(nn.Parameter(one) for one in weights)
    del weights
    for one in model.parameters():
        one.grad = torch.ones_like(one)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    run.watch(model, log="all", log_freq=1000)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with no_waiting():
        torch_hooks._before(optimizer, (optimizer,), {})
        torch_hooks._after(optimizer, (optimizer,), {})
    most = torch.cuda.max_memory_allocated() - before
    print(f"extra memory at most {most / 2**20:.0f} MiB beside {before / 2**20:.0f} MiB")

    assert most <= 32 * WATCH_CHUNK_VALUES
    (row,) = rows()
    assert torch.cuda.memory_allocated() <= before
    assert row["grad_norm/total"] == pytest.approx(math.sqrt(4 * 8192 * 16384), rel=1e-4)


def test_counts_of_large_tensors_are_exact() -> None:
    """Blocks and chunks put together: NaNs at the seams are counted once."""
    length = WATCH_CHUNK_VALUES + 12_345
    tensors = [torch.zeros(length, device="cuda"), torch.zeros(3, device="cuda"), torch.zeros(5000, device="cuda")]
    tensors[0][[0, 1023, 1024, WATCH_CHUNK_VALUES - 1, WATCH_CHUNK_VALUES, length - 1]] = math.nan
    tensors[2][[0, 4999]] = math.inf
    tape = Tape(tensors[0].device)
    decode = measure(tensors, tape, sample=1000, with_units=False)
    found = decode(tape.whole().tolist())

    assert [(one.nans, one.infs) for one in found] == [(6, 0), (0, 0), (0, 2)]


def test_a_compiled_model(run: Run, rows: Rows) -> None:
    pytest.importorskip("triton")
    model = net().cuda()
    trained = torch.compile(model, fullgraph=True)
    optimizer = torch.optim.Adam(model.parameters())
    step = torch.compile(lambda: optimizer.step())
    run.watch(trained, log="all", log_freq=1)
    x, y = data()
    norms = []
    for number in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(trained(x), y).backward()
        norms.append(math.sqrt(sum(float(one.grad.double().square().sum()) for one in model.parameters())))
        step()
        run.log({"at": number})

    assert [row["grad_norm/total"] for row in rows()] == [pytest.approx(value, rel=1e-4) for value in norms]


def test_a_step_captured_in_a_graph_is_let_be(run: Run, rows: Rows, caplog: pytest.LogCaptureFixture) -> None:
    """What is not due as a kernel of ours must not become part of the user's graph."""
    model = net().cuda()
    optimizer = torch.optim.Adam(model.parameters(), capturable=True)
    x, y = data()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    run.watch(model, log="all", log_freq=1)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad()
    with torch.cuda.graph(graph):
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    graph.replay()
    torch.cuda.synchronize()

    assert rows() == []
    assert "being captured in a CUDA graph" in caplog.text


def test_a_logged_step_is_cheap(run: Run, rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    """No figure decides; it is printed: the caller's time for a logged step of 300 tensors, and the device's."""
    model = nn.ModuleList([nn.Linear(1024, 1024) for _ in range(150)]).cuda()
    for one in model.parameters():
        one.grad = torch.randn_like(one)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    run.watch(model, log="all", log_freq=1)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(3):
        torch.cuda.synchronize()
        start.record()
        before = time.perf_counter()
        torch_hooks._before(optimizer, (optimizer,), {})
        torch_hooks._after(optimizer, (optimizer,), {})
        caller = time.perf_counter() - before
        end.record()
        end.synchronize()
    with capsys.disabled():
        print(
            f"\na logged step of 300 tensors, 157 M values: caller {caller * 1e3:.1f} ms, device {start.elapsed_time(end):.1f} ms"
        )

    assert len(rows()) == 1
