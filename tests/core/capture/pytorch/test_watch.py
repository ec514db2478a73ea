"""What `watch` records of a model in training, and what it leaves alone."""

from __future__ import annotations

import copy
import gc
import math
import os
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers

import tracker
from tracker.core.capture import torch_hooks
from tracker.core.capture.statistics import depth_of
from tracker.core.errors import UsageError
from tracker.core.run import Run
from tracker.testing import read_runs

Rows = Callable[[], list[dict[str, Any]]]


class Net(nn.Sequential):
    """Torch compiles no frames of its own modules in place, only those of users'."""

    def forward(self, x: Tensor) -> Tensor:
        """Answer three numbers for each row."""
        for layer in self:
            x = layer(x)
        return x


def net() -> Net:
    """A small network."""
    return Net(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def backward(model: nn.Module, seed: int = 0) -> Tensor:
    """Compute gradients on some data, and answer the loss."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 6, generator=generator)
    y = torch.randint(0, 3, (16,), generator=generator)
    loss = functional.cross_entropy(model(x), y)
    loss.backward()
    return loss


def close(value: float) -> Any:
    """Answer what equals a number of float32."""
    return pytest.approx(value, rel=1e-4)


def norm(*tensors: Tensor) -> float:
    """Answer the norm of all values together."""
    return math.sqrt(sum(float(one.detach().double().square().sum()) for one in tensors))


def plain(tensor: Tensor, bins: list[float]) -> list[int]:
    """Answer how many values lie in each bin, counted one by one."""
    counts = [0] * (len(bins) - 1)
    for value in tensor.detach().reshape(-1).tolist():
        place = int((value - bins[0]) / (bins[-1] - bins[0]) * len(counts))
        counts[min(max(place, 0), len(counts) - 1)] += 1
    return counts


# --- what is recorded ----------------------------------------------------------------------


def test_a_step_is_recorded_as_it_was(run: Run, rows: Rows) -> None:
    """Histograms, norms, the ratio of the update and dead units are those of the tensors at the step."""
    model = net()
    model[0].weight.data[2] = -1e3  # with the bias below: a unit that never fires, and gets no gradient
    model[0].bias.data[2] = -1e6
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    run.watch(model, log="all", log_freq=1)
    backward(model)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    gradients = {name: one.grad.clone() for name, one in model.named_parameters()}
    optimizer.step()
    run.log({"loss": 1.0})

    (row,) = rows()
    assert row["loss"] == 1.0
    for name, weight in before.items():
        gradient = gradients[name]
        assert row[f"grad_norm/{name}"] == close(norm(gradient))
        assert row[f"param_norm/{name}"] == close(norm(weight))
        assert row[f"update_ratio/{name}"] == close(0.5 * norm(gradient) / norm(weight))
        for key, tensor in ((f"gradients/{name}", gradient), (f"parameters/{name}", weight)):
            drawn = row[key]
            assert drawn["_type"] == "histogram"
            assert len(drawn["values"]) == 64 and len(drawn["bins"]) == 65
            assert sum(drawn["values"]) == drawn["counted"] == drawn["size"] == tensor.numel()
            assert (drawn["bins"][0], drawn["bins"][-1]) == (close(float(tensor.min())), close(float(tensor.max())))
            off = sum(abs(a - b) for a, b in zip(drawn["values"], plain(tensor, drawn["bins"]), strict=True))
            assert off <= 4  # values at the edge of a bin
    assert row["dead_units/0.weight"] == row["dead_units/0.bias"] == 1 / 8
    assert row["dead_units/2.weight"] == 0
    assert row["grad_norm/total"] == close(norm(*gradients.values()))
    assert row["param_norm/total"] == close(norm(*before.values()))
    assert (row["grad_nan/total"], row["grad_inf/total"], row["param_nan/total"]) == (0, 0, 0)
    assert "grad_nan/0.weight" not in row


@pytest.mark.parametrize(
    ("log", "sections"),
    [
        ("gradients", {"gradients", "grad_norm", "grad_nan", "grad_inf", "dead_units", "update_ratio"}),
        ("parameters", {"parameters", "param_norm", "param_nan", "param_inf", "update_ratio"}),
    ],
)
def test_what_is_logged_can_be_chosen(run: Run, rows: Rows, log: Any, sections: set[str]) -> None:
    model = net()
    run.watch(model, log=log, log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    backward(model)
    optimizer.step()

    (row,) = rows()
    assert {key.split("/")[0] for key in row if not key.startswith("_")} == sections


def test_a_model_can_be_recorded_by_its_modules(run: Run, rows: Rows) -> None:
    """As many modules as may be, each with what its parameters come to together; no histograms."""

    class Block(nn.Sequential):
        """Its inputs, and something more: else gradients would vanish."""

        def forward(self, x: Tensor) -> Tensor:
            return x + super().forward(x) / 10

    blocks = [Block(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)) for _ in range(40)]
    model = nn.Sequential(*blocks, nn.Linear(6, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    run.watch(model, log="all", log_freq=1, by="module")
    backward(model)
    model[3][0].weight.grad[0, 0] = math.nan
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    gradients = {name: one.grad.clone() for name, one in model.named_parameters()}
    optimizer.step()
    run.log({"loss": 1.0})

    def inside(tensors: dict[str, Tensor], module: str) -> list[Tensor]:
        return [one for name, one in tensors.items() if name.startswith(f"{module}.")]

    (row,) = rows()
    assert {key.partition("/")[2] for key in row if "/" in key} == {*map(str, range(41)), "total"}
    assert not any(key.startswith(("gradients/", "parameters/")) for key in row)
    for module in ("0", "39", "40"):
        assert row[f"grad_norm/{module}"] == close(norm(*inside(gradients, module)))
        assert row[f"param_norm/{module}"] == close(norm(*inside(before, module)))
        ratio = 0.5 * norm(*inside(gradients, module)) / norm(*inside(before, module))
        assert row[f"update_ratio/{module}"] == close(ratio)
        assert row[f"dead_units/{module}"] == pytest.approx(
            sum(float((one.reshape(len(one), -1) == 0).all(1).sum()) for one in inside(gradients, module))
            / sum(len(one) for one in inside(gradients, module))
        )
    assert row["param_norm/total"] == close(norm(*before.values()))
    assert (row["grad_nan/3"], row["grad_nan/total"]) == (1, 1)


@pytest.mark.parametrize(
    ("names", "depth"),
    [
        ([f"layer.{layer}.{part}.weight" for layer in range(30) for part in "ab"], 4),
        ([f"layer.{layer}.{part}.weight" for layer in range(40) for part in "ab"], 2),
        ([f"layer.{layer}.weight" for layer in range(70)], 1),
        ([f"weight_{number}" for number in range(70)], 0),
        (["weight"], 1),
        ([], 0),
    ],
)
def test_modules_are_as_small_as_their_number_allows(names: list[str], depth: int) -> None:
    assert depth_of(names) == depth


def test_of_parameters_side_by_side_only_the_total_is_recorded(run: Run, rows: Rows) -> None:
    model = nn.Module()
    for number in range(70):
        model.register_parameter(f"weight_{number}", nn.Parameter(torch.ones(2)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    run.watch(model, log_freq=1, by="module")
    sum(one.sum() for one in model.parameters()).backward()
    optimizer.step()
    run.log({"loss": 1.0})

    (row,) = rows()
    assert row["grad_norm/total"] == close(math.sqrt(140))
    assert {key.partition("/")[2] for key in row if "/" in key} == {"total"}


def test_nan_and_infinity_are_counted(run: Run, rows: Rows) -> None:
    """Each value counts; histograms are of the others."""
    model = net()
    run.watch(model, log="all", log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    backward(model)
    gradient = model[0].weight.grad
    gradient[0, :3] = math.nan
    gradient[1, 0], gradient[1, 1] = math.inf, -math.inf
    model[2].bias.data[1] = math.nan
    optimizer.step()

    (row,) = rows()
    assert (row["grad_nan/0.weight"], row["grad_inf/0.weight"]) == (3, 2)
    assert (row["grad_nan/total"], row["grad_inf/total"], row["param_nan/total"]) == (3, 2, 1)
    assert row["param_nan/2.bias"] == 1
    assert row["gradients/0.weight"]["counted"] == 48 - 5
    assert all(math.isfinite(edge) for edge in row["gradients/0.weight"]["bins"])


def test_steps_of_the_optimizer_are_counted_not_passes(run: Run, rows: Rows) -> None:
    """Gradients are accumulated over three passes; the 1st, 3rd and 5th step are due."""
    model = net()
    run.watch(model, log_freq=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = []
    for step in range(5):
        optimizer.zero_grad()
        for part in range(3):
            backward(model, seed=part)
        expected.append(norm(*(one.grad for one in model.parameters())))
        optimizer.step()
        run.log({"step": step})

    got = {row["_step"]: row["grad_norm/total"] for row in rows() if "grad_norm/total" in row}
    assert got == {step: close(expected[step]) for step in (0, 2, 4)}


def test_clipped_gradients_are_recorded_as_the_optimizer_takes_them(run: Run, rows: Rows) -> None:
    model = net()
    run.watch(model, log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    backward(model)
    nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()

    assert rows()[0]["grad_norm/total"] == close(0.01)


@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients_are_recorded_unscaled(run: Run, rows: Rows, fused: bool) -> None:
    """GradScaler unscales before the step, or has a fused optimizer do so within: the same is recorded."""
    model = net()
    run.watch(model, log_freq=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    x, y = torch.randn(16, 6), torch.randint(0, 3, (16,))
    functional.cross_entropy(model(x), y).backward()
    expected = norm(*(one.grad for one in model.parameters()))
    low = float(model[0].weight.grad.min())
    optimizer.zero_grad()
    scaler.scale(functional.cross_entropy(model(x), y)).backward()
    scaler.step(optimizer)
    scaler.update()

    (row,) = rows()
    assert row["grad_norm/total"] == close(expected)
    assert row["gradients/0.weight"]["bins"][0] == close(low)
    assert row["update_ratio/0.weight"] > 0


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_overflowed_is_no_update(run: Run, rows: Rows, fused: bool) -> None:
    """A plain optimizer is not called at all then; a fused one is, and changes nothing."""
    model = net()
    run.watch(model, log_freq=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(2):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(torch.randn(16, 6)), torch.randint(0, 3, (16,)))
        scaler.scale(loss).backward()
        if step == 0:
            model[0].weight.grad[0, 0] = math.inf
        scaler.step(optimizer)
        scaler.update()
        run.log({"at": step})

    found = rows()
    assert [any(key.startswith("update_ratio/") for key in row) for row in found] == [False, True]
    assert ("grad_norm/total" in found[0]) is fused
    if fused:
        assert found[0]["grad_inf/0.weight"] == 1


def test_a_step_with_a_closure_is_looked_at_when_it_has_its_gradients(run: Run, rows: Rows) -> None:
    """LBFGS computes gradients within its step."""
    model = net()
    run.watch(model, log_freq=1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure() -> Tensor:
        optimizer.zero_grad()
        return backward(model)

    optimizer.step(closure)
    expected = norm(*(one.grad for one in model.parameters()))

    assert rows()[0]["grad_norm/total"] == close(expected)


def test_shared_and_frozen_parameters(run: Run, rows: Rows) -> None:
    """A shared one is recorded once, a frozen one not at all."""
    model = net()
    model.again = model[0]  # type: ignore[assignment]
    model[2].bias.requires_grad_(False)
    run.watch(model, log="all", log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 6)
    (model[2](torch.relu(model[0](x))) + model.again(x)[:, :3]).sum().backward()
    optimizer.step()

    keys = {key for key in rows()[0] if key.startswith(("gradients/", "parameters/"))}
    names = ("0.weight", "0.bias", "2.weight")
    assert keys == {f"{section}/{name}" for section in ("gradients", "parameters") for name in names}


def test_a_parameter_without_a_gradient_has_none_recorded(run: Run, rows: Rows) -> None:
    model = net()
    run.watch(model, log="all", log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model[0](torch.randn(4, 6)).sum().backward()
    optimizer.step()

    (row,) = rows()
    assert "gradients/0.weight" in row and "gradients/2.weight" not in row and "parameters/2.weight" in row
    assert row["update_ratio/2.weight"] == 0


def test_sparse_gradients(run: Run, rows: Rows) -> None:
    """Rows that occur twice are summed; rows that do not occur are dead."""
    model = nn.Embedding(10, 4, sparse=True)
    run.watch(model, log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    (model(torch.tensor([1, 1, 7])) * torch.tensor([1.0, 2.0, 5.0]).unsqueeze(1)).sum().backward()
    expected = norm(model.weight.grad.to_dense())
    optimizer.step()

    (row,) = rows()
    assert row["grad_norm/weight"] == close(expected)
    assert row["dead_units/weight"] == 0.8
    assert (row["gradients/weight"]["size"], row["gradients/weight"]["counted"]) == (40, 8)


def test_the_sum_of_sparse_rows_needs_no_coalescing() -> None:
    """On a device coalescing waits; the way around it has the same values, and zeros."""
    gradient = torch.sparse_coo_tensor(
        torch.tensor([[5, 1, 5, 3, 1]]), torch.arange(10.0).reshape(5, 2), (8, 2), is_coalesced=False
    )

    class OnDevice:
        """The gradient, as if it lay on a device."""

        device = torch.device("cuda")

        def __getattr__(self, name: str) -> Any:
            return getattr(gradient, name)

    got = torch_hooks._summed(OnDevice())  # type: ignore[arg-type]

    expected = gradient.coalesce().values()
    assert got.shape == (5, 2)
    assert torch.equal(got[:3], expected) and not got[3:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_other_types_of_numbers(run: Run, rows: Rows, dtype: torch.dtype) -> None:
    """Norms are computed in float32 at least: 70,000 would overflow in half precision."""
    weight = nn.Parameter(torch.full((4, 4), 2.0).to(dtype))
    model = nn.ParameterList([weight])
    run.watch(model, log="all", log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    weight.grad = torch.full((4, 4), 30_000.0).to(dtype)
    optimizer.step()

    (row,) = rows()
    assert row["grad_norm/total"] == pytest.approx(120_000, rel=1e-2)
    assert row["param_norm/total"] == 8
    assert row["update_ratio/0"] == 0
    assert row["gradients/0"]["counted"] == (32 if dtype.is_complex else 16)


def test_tensors_that_lie_otherwise_in_memory(run: Run, rows: Rows) -> None:
    """Channels last, transposed, of no dimension, empty: the statistics are of the values."""
    model = nn.Module()
    model.image = nn.Parameter(torch.randn(5, 4, 3, 3).to(memory_format=torch.channels_last))
    model.turned = nn.Parameter(torch.randn(6, 7).t())
    model.apart = nn.Parameter(torch.randn(6, 14)[:, ::2])
    model.scalar = nn.Parameter(torch.tensor(3.0))
    model.empty = nn.Parameter(torch.zeros(0, 3))
    for one in model.parameters():
        one.grad = torch.randn_like(one)
    model.image.grad[1] = 0
    run.watch(model, log="all", log_freq=1)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    expected = {f"grad_norm/{name}": norm(one.grad) for name, one in model.named_parameters() if one.numel()}

    (row,) = rows()
    assert {key: row[key] for key in expected} == {key: close(value) for key, value in expected.items()}
    assert row["dead_units/image"] == 1 / 5
    assert row["gradients/turned"]["counted"] == 42
    assert row["gradients/scalar"]["counted"] == 1
    assert "grad_norm/empty" not in row


def test_large_tensors_are_sampled_over_all_of_them(run: Run, rows: Rows) -> None:
    """At most 16,384 values, or 1,024 a step; from every row and column. Norms are of all values."""
    weight = nn.Parameter(torch.zeros(512, 1024))
    weight.grad = torch.arange(1024.0).repeat(512, 1)  # a value for each column
    model = nn.ParameterList([weight])
    often, seldom = torch.optim.SGD([weight], lr=0.0), torch.optim.SGD([weight], lr=0.0)
    run.watch(model, log_freq=1)
    often.step()
    run.log({"at": 0})
    run.watch(model, log_freq=100)
    seldom.step()

    first, second = rows()
    for row, most in ((first, 16_384), (second, 102_400)):
        drawn = row["gradients/0"]
        assert drawn["size"] == 512 * 1024
        assert most / 2 <= drawn["counted"] == sum(drawn["values"]) <= most
        assert min(drawn["values"]) > 0.9 * max(drawn["values"])
        assert (drawn["bins"][0], drawn["bins"][-1]) == (0, 1023)
        assert row["grad_norm/0"] == close(norm(weight.grad))


# --- models, optimizers, runs --------------------------------------------------------------


def test_each_optimizer_counts_its_own_steps_and_logs_its_own_parameters(run: Run, rows: Rows) -> None:
    model = net()
    run.watch(model, log_freq=2)
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    second = torch.optim.Adam(model[2].parameters(), lr=0.1)
    stranger = torch.optim.SGD(net().parameters(), lr=0.1)
    for step in range(3):
        backward(model)
        first.step()
        if step == 1:
            second.step()
        stranger.step()
        run.log({"at": step})

    found = [{key for key in row if key.startswith("gradients/")} for row in rows()]
    own = {"gradients/0.weight", "gradients/0.bias"}
    assert found == [own, {"gradients/2.weight", "gradients/2.bias"}, own]


def test_several_models_have_names_of_their_own(run: Run, rows: Rows) -> None:
    """The first without a prefix, the others numbered, a criterion under its own name."""
    one, two, three = net(), net(), net()
    run.watch([one, two], criterion=nn.Bilinear(2, 2, 1), log_freq=1)
    run.watch(three, log_freq=1, idx=7)
    run.watch(two, log_freq=1)  # again: it keeps its number
    for model in (one, two, three):
        backward(model)
        torch.optim.SGD(model.parameters(), lr=0.1).step()

    (row,) = rows()
    keys = {key for key in row if key.startswith("gradients/") and key.endswith("0.weight")}
    assert keys == {"gradients/0.weight", "gradients/graph_1/0.weight", "gradients/graph_7/0.weight"}
    assert "grad_norm/graph_7/total" in row


def test_a_criterion_with_parameters_is_watched_too(run: Run, rows: Rows) -> None:
    model, criterion = net(), nn.Linear(3, 1)
    run.watch(model, criterion, log_freq=1)
    criterion(model(torch.randn(4, 6))).sum().backward()
    torch.optim.SGD([*model.parameters(), *criterion.parameters()], lr=0.1).step()

    assert "gradients/criterion.weight" in rows()[0]


def test_two_runs_watch_the_same_model(run: Run, rows: Rows, tmp_path: Path) -> None:
    other = tracker.init(dir=tmp_path / "other", reinit="create_new", settings={"silent": True})
    model = net()
    run.watch(model, log_freq=1)
    tracker.watch(model, log="parameters", log_freq=1)  # the current run is the other one
    backward(model)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    other.finish()
    backward(model)
    torch.optim.SGD(model.parameters(), lr=0.1).step()

    (kept,) = read_runs(tmp_path / "other")
    assert "parameters/0.weight" in kept["history"][0] and "gradients/0.weight" not in kept["history"][0]
    assert "gradients/0.weight" in rows()[0]


def test_parameters_that_were_replaced_are_found(run: Run, rows: Rows) -> None:
    """A new head after watch(), a group added to the optimizer, a model moved to another type."""
    model = net()
    run.watch(model, log_freq=1)
    optimizer = torch.optim.SGD(model[0].parameters(), lr=0.1)
    model[2] = nn.Linear(8, 3)
    optimizer.add_param_group({"params": list(model[2].parameters())})
    model.double()
    model(torch.randn(4, 6).double()).sum().backward()
    optimizer.step()

    assert {"gradients/0.weight", "gradients/2.weight"} <= set(rows()[0])


@pytest.mark.parametrize("which", ["model", "step", "in place"])
def test_compiled_training(run: Run, rows: Rows, which: str) -> None:
    """Names are those of the model, nothing of ours is compiled, and the model's graph is whole."""
    torch._dynamo.reset()
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trained: Any = model
    step = optimizer.step
    if which == "model":
        trained = torch.compile(model, backend="eager", fullgraph=True)
    elif which == "in place":
        model.compile(backend="eager", fullgraph=True)
    else:
        step = torch.compile(lambda: optimizer.step(), backend="eager")
    run.watch(trained, log_freq=1)
    expected = []
    for number in range(3):
        optimizer.zero_grad()
        backward(trained)
        expected.append(norm(*(one.grad for one in model.parameters())))
        step()
        run.log({"at": number})
    torch._dynamo.reset()

    found = rows()
    assert [row["grad_norm/total"] for row in found] == [close(value) for value in expected]
    assert "gradients/0.weight" in found[0]


def test_a_step_of_the_run_is_not_used_up(run: Run, rows: Rows) -> None:
    """What is watched joins the open row: one that was logged with a step of its own stays open, as in W&B."""
    model = net()
    run.watch(model, log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in (10, 11):
        backward(model)
        optimizer.step()
        run.log({"loss": 0.5}, step=step)

    assert [(row["_step"], "grad_norm/total" in row, row.get("loss")) for row in rows()] == [
        (0, True, None),
        (10, True, 0.5),
        (11, False, 0.5),
    ]


# --- what is left alone --------------------------------------------------------------------


def hooks_of(model: nn.Module) -> list[Any]:
    """Answer every hook that modules, parameters and optimizers have."""
    found: list[Any] = [*optimizers._global_optimizer_pre_hooks, *optimizers._global_optimizer_post_hooks]
    found += list(modules._global_forward_hooks)
    for inner in model.modules():
        for name, value in vars(inner).items():
            if "hooks" in name:
                found += list(value or ())
    for one in model.parameters():
        found += list(one._backward_hooks or ()) + list(one._post_accumulate_grad_hooks or ())
    return found


@pytest.mark.parametrize("end", ["unwatch", "unwatch the model", "finish", "forget"])
def test_nothing_is_left_behind(run: Run, rows: Rows, end: str) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run.watch(model, log="all", log_freq=1, log_graph=True)
    backward(model)
    optimizer.step()
    ends: dict[str, Callable[[], Any]] = {
        "unwatch": tracker.unwatch,
        "unwatch the model": lambda: run.unwatch([model]),
        "finish": run.finish,
        "forget": lambda: None,
    }
    ends[end]()
    if end == "forget":
        del model, optimizer
        gc.collect()
        model = net()
        assert torch_hooks._watched == []
        run.finish()  # torch may be going through its hooks when a model dies

    assert hooks_of(model) == []
    assert torch_hooks._watched == []
    assert len(rows()) == 1


def test_a_model_may_die_while_torch_goes_through_its_hooks(run: Run) -> None:
    """Hooks of others come before and behind ours; taking ours away then would have torch raise."""
    held = [net()]
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1)

    def drop(*_: Any) -> None:
        held.clear()
        gc.collect()

    run.watch(held[0], log_freq=1)
    first = optimizers.register_optimizer_step_pre_hook(drop)
    second = optimizers.register_optimizer_step_pre_hook(lambda *_: None)
    optimizer.step()
    first.remove()
    second.remove()

    assert torch_hooks._watched == []
    run.unwatch()
    assert hooks_of(net()) == []


def test_the_model_is_not_kept_alive(run: Run) -> None:
    """Nor are its optimizer, its parameters and their gradients, once the row is written."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    run.watch(model, log="all", log_freq=1)
    backward(model)
    optimizer.step()
    run.flush()
    dead = [weakref.ref(one) for one in (model, optimizer, model[0].weight, model[0].weight.grad)]
    del model, optimizer
    gc.collect()

    assert [one() for one in dead] == [None] * 4


def test_a_watched_model_is_the_same_model(run: Run) -> None:
    """Pickled, copied and asked for its state as if nobody watched; the optimizer as well."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    pickled, keys = pickle.dumps(model), list(model.state_dict())
    state = pickle.dumps(optimizer)
    run.watch(model, log="all", log_freq=1, log_graph=True)

    assert pickle.dumps(model) == pickled
    assert pickle.dumps(optimizer) == state
    assert list(copy.deepcopy(model).state_dict()) == keys
    assert hooks_of(copy.deepcopy(model)) == hooks_of(model) != []  # those around all optimizers
    assert [vars(module).keys() for module in model.modules()] == [vars(module).keys() for module in net().modules()]


def test_training_comes_to_the_same(run: Run) -> None:
    """Bit for bit, random numbers included."""

    def train(is_watched: bool) -> list[Tensor]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(), nn.Linear(8, 3))
        optimizer = torch.optim.AdamW(model.parameters())
        if is_watched:
            run.watch(model, log="all", log_freq=1)
        for seed in range(5):
            optimizer.zero_grad()
            backward(model, seed)
            optimizer.step()
        return [*model.parameters(), torch.rand(3)]

    assert all(torch.equal(one, other) for one, other in zip(train(False), train(True), strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_records_nothing(run: Run, rows: Rows) -> None:
    model = net()
    run.watch(model, log_freq=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    backward(model)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            optimizer.step()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    assert rows() == []


# --- faults --------------------------------------------------------------------------------


def test_a_fault_of_ours_does_not_reach_training(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said; after three in a row the model is let be."""
    monkeypatch.setattr(torch_hooks, "measure", lambda *_, **__: 1 / 0)
    with tracker.init(dir=root) as run:
        model = net()
        run.watch(model, log_freq=1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        other = optimizers.register_optimizer_step_pre_hook(lambda *_: None)
        for _ in range(4):
            backward(model)
            optimizer.step()
        other.remove()
        assert torch_hooks._watched == []
    assert hooks_of(model) == []

    said = caplog.text
    assert said.count("a step of a watched model was not recorded (ZeroDivisionError: division by zero).") == 1
    assert said.count("the model is not watched any longer: it has failed too often.") == 1


def test_a_fault_of_ours_raises_under_strictness(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_hooks, "measure", lambda *_, **__: 1 / 0)
    model = net()
    run.watch(model, log_freq=1)
    backward(model)
    with pytest.raises(ZeroDivisionError):
        torch.optim.SGD(model.parameters(), lr=0.1).step()


def test_an_optimizer_that_fails_leaves_nothing_open(run: Run, rows: Rows) -> None:
    """A step that raised is not recorded, and the next one is."""

    class Failing(torch.optim.SGD):
        fails = True

        def step(self, closure: Any = None) -> Any:
            if self.fails:
                raise OSError("the user's own")
            return super().step(closure)

    model = net()
    run.watch(model, log_freq=1)
    optimizer = Failing(model.parameters(), lr=0.1)
    backward(model)
    with pytest.raises(OSError, match="own"):
        optimizer.step()
    optimizer.fails = False
    optimizer.step()

    assert len(rows()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"models": "net"}, r"takes a torch.nn.Module, or several in a list; got a builtins.str"),
        ({"models": [None]}, r"got a builtins.NoneType"),
        ({"log": "gradient"}, r"log='gradient'; it can be 'gradients', 'parameters', 'all' or None"),
        ({"log_freq": 0}, r"log_freq=0; it is a number of optimizer steps, 1 or more"),
        ({"idx": -1}, r"idx=-1"),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused(run: Run, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        run.watch(**{"models": net(), **arguments})


def test_a_run_that_has_ended_watches_nothing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tracker.init(dir=root) as run:
        pass
    model = net()
    run.watch(model, log_freq=1, log_graph=True)

    assert hooks_of(model) == []
    assert "has ended, what is logged now is not kept" in caplog.text


def test_a_model_given_twice_is_watched_once(run: Run, rows: Rows) -> None:
    model = net()
    run.watch([model, model], log_freq=1)
    backward(model)
    torch.optim.SGD(model.parameters(), lr=0.1).step()

    assert len(torch_hooks._watched) == 1
    assert not [key for key in rows()[0] if "graph_1" in key]


def test_without_a_run_it_is_said_how_to_get_one() -> None:
    with pytest.raises(UsageError, match=r"tracker\.watch needs a run.*tracker\.init"):
        tracker.watch(net())


def test_a_disabled_run_watches_nothing() -> None:
    run = tracker.init(mode="disabled")
    model = net()
    run.watch(model, log="all", log_freq=1)
    tracker.unwatch(model)
    run.finish()

    assert hooks_of(model) == []


def test_a_model_that_no_optimizer_stepped_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with tracker.init(dir=root) as run:
        model = net()
        run.watch(model, log_freq=1)
        torch.optim.SGD(net().parameters(), lr=0.1).step()

    assert "no torch.optim optimizer has stepped a parameter of the model" in caplog.text
