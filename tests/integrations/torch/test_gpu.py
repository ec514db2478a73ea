"""A loop on a real GPU, logged without a word in it: nothing waits for the device, and the numbers are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import tracker
from tests.integrations.torch.conftest import Net

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    pytest.mark.usefixtures("autolog"),
]
MAKES: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
    "fused AdamW": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, fused=True),
    "foreach Adam": lambda model: torch.optim.Adam(model.parameters(), lr=0.01, foreach=True),
}


@pytest.mark.parametrize("name", MAKES)
def test_no_step_waits_for_the_device(name: str, only_run: Callable[[], Any]) -> None:
    """From the step that opens the run on; torch raises at everything that waits."""
    model = Net().cuda()
    optimizer = MAKES[name](model)
    batches = [torch.randn(16, 4).cuda() for _ in range(25)]
    told = []
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for x in batches:
            with torch.autocast("cuda", torch.bfloat16):
                loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
            told.append((loss.detach().clone(), norm))
            optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    tracker.finish()

    rows = only_run().history(pandas=False)
    assert [row["_step"] for row in rows] == [*range(1, 11), 20, 25]
    for row in rows[:-1]:
        loss, norm = told[row["_step"] - 1]
        assert row["optimizer/loss"] == pytest.approx(loss.item())
        assert row["optimizer/grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_a_scaled_loss_is_told_unscaled(only_run: Callable[[], Any]) -> None:
    """float16 with a GradScaler, which waits for the device by itself at each step."""
    model = Net().cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cuda", init_scale=256.0)
    told = []
    for _ in range(5):
        x = torch.randn(16, 4).cuda()
        with torch.autocast("cuda", torch.float16):
            loss = ((model(x) - x.sum(1, keepdim=True)) ** 2).mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        told.append((loss.item(), torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item()))
        scaler.step(optimizer)
        scaler.update()
    tracker.finish()

    rows = only_run().history(pandas=False)
    assert [row["optimizer/loss"] for row in rows] == pytest.approx([loss for loss, _ in told])
    assert [row["optimizer/grad_norm"] for row in rows] == pytest.approx([norm for _, norm in told], rel=1e-4)
