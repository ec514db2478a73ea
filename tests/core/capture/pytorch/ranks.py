"""One rank of a group that trains a model together; a script, run by `test_watch_ranks.py`.

Prints, as JSON, what is true of the whole model in each scenario.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import tracker

STEPS = 3


def main(rank: int, world: int, meeting: str, root: str, scenarios: list[str]) -> None:
    """Train once for each scenario."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    truths = {scenario: train(scenario, rank, world, f"{root}/{scenario}") for scenario in scenarios}
    dist.barrier()
    dist.destroy_process_group()
    print(json.dumps(truths))


def train(scenario: str, rank: int, world: int, root: str) -> list[dict[str, float]]:
    """Train, watched as the scenario has it, and answer what is true of each step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 2))
    # Of three ranks the last one has nothing of the second layer.
    model[0].weight.data[1], model[0].bias.data[1] = 0, -1e6  # a dead unit
    trained: Any = spread(model, scenario, world)
    if rank == 0 or scenario == "every rank has a run":
        tracker.init(project="ranks", dir=root, id=f"rank{rank}", settings={"silent": True})
    elif scenario == "disabled elsewhere":
        tracker.init(mode="disabled")
    is_watching = rank == 0 or scenario not in ("ddp", "alone")
    if is_watching:
        tracker.watch(trained, log="all", log_freq=1)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    truth = []
    for step in range(STEPS):
        optimizer.zero_grad()
        trained(torch.randn(4, 6, generator=torch.Generator().manual_seed(10 * step + rank))).square().sum().backward()
        gradients = {name: whole(one.grad) for name, one in model.named_parameters()}
        weights = {name: whole(one).clone() for name, one in model.named_parameters()}
        optimizer.step()
        changes = {name: whole(one) - weights[name] for name, one in model.named_parameters()}
        truth.append(
            {
                "grad_norm/total": float(torch.cat([one.reshape(-1) for one in gradients.values()]).norm()),
                "grad_norm/0.weight": float(gradients["0.weight"].norm()),
                "param_norm/0.weight": float(weights["0.weight"].norm()),
                "update_ratio/0.weight": float(changes["0.weight"].norm() / weights["0.weight"].norm()),
                "grad_norm/2.weight": float(gradients["2.weight"].norm()),
                "update_ratio/2.weight": float(changes["2.weight"].norm() / weights["2.weight"].norm()),
                "dead_units/0.weight": float((gradients["0.weight"] == 0).all(1).double().mean()),
            }
        )
        if tracker.run:
            tracker.run.log({"at": step})
    if is_watching:
        tracker.unwatch()
    if tracker.run:
        tracker.run.finish()
    return truth


def spread(model: nn.Module, scenario: str, world: int) -> nn.Module:
    """Spread a model over the ranks."""
    if scenario == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if scenario == "copies":
        mesh = init_device_mesh("cpu", (world, 1), mesh_dim_names=("replicate", "shard"))
    else:
        mesh = init_device_mesh("cpu", (world,))
    fully_shard(model[0], mesh=mesh)  # type: ignore[index]
    return fully_shard(model, mesh=mesh)


def whole(tensor: Any) -> torch.Tensor:
    """Answer all of a tensor; every rank must ask."""
    full = getattr(tensor, "full_tensor", None)
    return (tensor if full is None else full()).detach()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
