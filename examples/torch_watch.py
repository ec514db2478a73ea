"""What happens inside a network while it learns: gradients, parameters, updates and dead units of each layer."""

import torch
from torch import nn

import tracker


class Network(nn.Module):
    """Two hidden layers; a learning rate this large kills some of their units."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 64)
        self.second = nn.Linear(64, 64)
        self.head = nn.Linear(64, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer two scores for each point: (batch, 2) -> (batch, 2)."""
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


def rings(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Answer points of two rings, one within the other, and which ring they are of."""
    label = torch.randint(0, 2, (count,))
    angle = 2 * torch.pi * torch.rand(count)
    radius = 1 + label + 0.2 * torch.randn(count)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), label


def main() -> None:
    """Train, and watch."""
    torch.manual_seed(0)
    model = Network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    with tracker.init(project="torch-watch", config={"lr": 0.5, "steps": 300}) as run:
        run.watch(model, log="all", log_freq=10, log_graph=True)
        for _ in range(run.config.steps):
            x, label = rings(128)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), label)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            run.log({"loss": loss})
        run.summary["accuracy"] = (model(x).argmax(1) == label).float().mean()


if __name__ == "__main__":
    main()
