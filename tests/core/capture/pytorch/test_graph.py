"""`watch(log_graph=True)`: the tree of a model's modules, as a file of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as modules

import tracker
from tracker.core.capture import torch_graph
from tracker.core.run import Run


class Block(nn.Module):
    """A layer that takes and gives more than one thing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.back = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.head = nn.Linear(2 * 16 * 16, 5)

    def forward(self, x: Tensor, scale: float = 1.0) -> dict[str, Any]:
        """Answer numbers and what they were made from."""
        y = self.back(torch.relu(self.conv(x)))
        return {"logits": self.head(y.flatten(1)) * scale, "parts": (y, scale)}


def graph(root: Path, run: Run, name: str = "graph/model.json") -> dict[str, Any]:
    """Answer the tree that a run has kept, read as anybody would."""
    run.finish()
    kept: dict[str, Any] = json.loads(tracker.Api(dir=root).run(run.path).file(name).read())
    return kept


def test_the_tree_has_shapes_parameters_and_operations(run: Run, root: Path) -> None:
    """Of the first forward pass; operations of linear layers and convolutions, two for each multiplication."""
    model = Block()
    model.head.bias.requires_grad_(False)
    run.watch(model, log=None, log_graph=True)
    model(torch.randn(2, 3, 8, 8))
    model(torch.randn(9, 3, 8, 8))

    assert list(modules._global_forward_hooks) == []
    tree = graph(root, run)
    whole, conv, back, head = tree["modules"]
    numbers = 3 * 4 * 9 + 4, 4 * 2 * 4 + 2, 512 * 5 + 5
    assert (tree["parameters"], tree["trainable"], tree["bytes"]) == (sum(numbers), sum(numbers) - 5, 4 * sum(numbers))
    assert [one["name"] for one in tree["modules"]] == ["", "conv", "back", "head"]
    assert [one["parameters"] for one in tree["modules"]] == [sum(numbers), *numbers]
    assert (conv["type"], conv["detail"][:19]) == ("torch.nn.modules.conv.Conv2d", "3, 4, kernel_size=(")
    assert head["tensors"]["bias"] == {"shape": [5], "dtype": "float32", "trainable": False}
    assert (conv["input"], conv["output"]) == ([[2, 3, 8, 8]], [2, 4, 8, 8])
    assert whole["output"] == {"logits": [2, 5], "parts": [[2, 2, 16, 16], "float"]}
    flops = [2 * 2 * 4 * 64 * 27, 2 * (2 * 4 * 64) * 2 * 4, 2 * 2 * 5 * 512]
    assert [conv["flops"], back["flops"], head["flops"]] == flops
    assert tree["flops"] == sum(flops)


def test_without_a_pass_the_tree_has_no_shapes(run: Run, root: Path) -> None:
    """A step of an optimizer ends the waiting; the second model has a file of its own."""
    first, second = Block(), nn.Linear(2, 2)
    run.watch([first, second], log=None, log_graph=True)
    torch.optim.SGD(second.parameters(), lr=0.1).step()
    assert list(modules._global_forward_hooks) == []

    tree = graph(root, run, "graph/model_1.json")
    assert tree["parameters"] == 6
    assert "output" not in tree["modules"][0]


@pytest.mark.parametrize("is_compiled_before", [True, False])
def test_a_compiled_model_stays_whole(run: Run, root: Path, is_compiled_before: bool) -> None:
    """Hooks neither break its graph nor raise; it is compiled once."""
    torch._dynamo.reset()
    model = Block()
    compiled = []

    def backend(graph: Any, _inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    trained: Any = torch.compile(model, backend=backend, fullgraph=True) if is_compiled_before else model
    run.watch(trained, log="gradients", log_freq=1, log_graph=True)
    if not is_compiled_before:
        trained = torch.compile(model, backend=backend, fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        trained(torch.randn(2, 3, 8, 8))["logits"].sum().backward()
        optimizer.step()
    torch._dynamo.reset()

    assert len(compiled) <= (1 if is_compiled_before else 2)
    assert graph(root, run)["parameters"] > 0


def test_lazy_modules_and_odd_outputs(run: Run, root: Path) -> None:
    """Parameters that are not made yet are left out; anything may be put out."""

    class Odd(nn.Module):
        def extra_repr(self) -> str:
            raise ValueError("the user's own")

        def forward(self, x: Any) -> Any:
            return {"a": [None, {1: x}], 2: {3}}

    model = nn.Sequential(nn.LazyLinear(3), Odd())
    run.watch(model, log=None, log_graph=True)
    model(torch.randn(4, 2))

    tree = graph(root, run)
    assert tree["modules"][2]["output"] == {"a": ["NoneType", {"1": [4, 3]}], "2": "set"}
    assert tree["modules"][2]["detail"] == ""


def test_a_model_that_is_gone_is_waited_for_no_longer(run: Run) -> None:
    model = nn.Linear(2, 2)
    run.watch(model, log=None, log_graph=True)
    del model
    nn.Linear(2, 2)(torch.ones(1, 2))

    assert list(modules._global_forward_hooks) == []
    run.finish()
    assert torch_graph._graphs == []
