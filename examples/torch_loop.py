"""A loop in plain PyTorch: one line logs its steps, losses, learning rates and gradient norms.

`TRACKER_AUTOLOG=1 python train.py` does the same with no line at all, losses included.
"""

import argparse

import torch
from torch import nn

import tracker
from tracker.integrations.torch import track


def spirals(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Answer points of two spirals, and which one they are of."""
    label = torch.randint(0, 2, (count,))
    along = torch.rand(count) * 3
    angle = along * 2 + label * torch.pi
    return torch.stack([along * angle.cos(), along * angle.sin()], 1), label


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.steps)
    track(optimizer, model, watch="gradients", watch_freq=100, project="torch-loop", config=vars(args))

    for step in range(args.steps):
        points, label = spirals(64)
        loss = nn.functional.cross_entropy(model(points), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            points, label = spirals(1000)
            accuracy = (model(points).argmax(1) == label).float().mean()
            tracker.log({"validation/accuracy": accuracy}, step=step)


if __name__ == "__main__":
    main()
