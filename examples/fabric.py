"""A training loop of one's own with Fabric; `fabric.log` goes to tracker."""

import torch
from lightning.fabric import Fabric
from torch.utils.data import DataLoader, TensorDataset

from tracker.integrations.lightning import TrackerLogger


def main() -> None:
    """Fit a line through noisy points."""
    logger = TrackerLogger(project="lines", config={"lr": 0.1, "epochs": 5})
    fabric = Fabric(accelerator="cpu", loggers=[logger])
    fabric.seed_everything(1)

    x = torch.linspace(-1, 1, 128)[:, None]
    points = TensorDataset(x, 3 * x + 1 + 0.1 * torch.randn_like(x))
    loader = fabric.setup_dataloaders(DataLoader(points, batch_size=16, shuffle=True))
    line = torch.nn.Linear(1, 1)
    model, optimizer = fabric.setup(line, torch.optim.SGD(line.parameters(), lr=0.1))
    logger.watch(line, log="all", log_freq=8)

    step = 0
    for epoch in range(5):
        for batch, target in loader:
            loss = torch.nn.functional.mse_loss(model(batch), target)
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            fabric.log_dict({"loss": loss, "epoch": epoch}, step=step)
            step += 1
    logger.experiment.summary["slope"] = line.weight.item()
    logger.finalize("success")


if __name__ == "__main__":
    main()
