"""Small models, a loop as people write it, and optimizer hooks while a test lasts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.amp.grad_scaler
import torch.optim.optimizer

import tracker
from tracker.integrations import _own_loop, patching
from tracker.integrations import torch as ours


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """No test sees another's optimizers."""
    torch.manual_seed(0)
    yield
    ours._all.clear()
    ours._refused.clear()
    _own_loop._sessions.clear()


@pytest.fixture
def autolog() -> Iterator[None]:
    """Autologging of PyTorch, as `tracker.autolog("torch")` turns it on."""
    tracker.autolog("torch")
    yield
    tracker.autolog("torch", disable=True)
    assert not [patch for patch in patching.patched() if patch.framework == "torch"]


class Net(torch.nn.Module):
    """Four numbers in, one out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))

    def forward(self, x: Any) -> Any:
        """Answer the output."""
        return self.layers(x)


def train(model: Any, optimizer: Any, steps: int, schedule: Any = None) -> list[tuple[float, float]]:
    """Train as people do; answer loss and norm of the gradients at each step, measured in the plainest way."""
    told = []
    for _ in range(steps):
        x = torch.randn(16, 4)
        loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        squares = sum(float((p.grad.double() ** 2).sum()) for p in model.parameters() if p.grad is not None)
        told.append((loss.item(), squares**0.5))
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return told
