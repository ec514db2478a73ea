"""Hugging Face Accelerate: `log_with="tracker"`, and no import of tracker at all."""

import torch
from accelerate import Accelerator
from torch import nn


def waves(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Answer pieces of waves, (count, 32), and how quick each of them is, (count, 1)."""
    speed = torch.rand(count, 1) * 3 + 1
    start = torch.rand(count, 1) * 6
    return torch.sin(torch.linspace(0, 6, 32) * speed + start), speed


def picture(wave: torch.Tensor) -> torch.Tensor:
    """Answer a wave drawn in white on black: (32,) -> (24, 32)."""
    height = ((1 - wave) * 11.5).round().long()
    drawn = torch.zeros(24, 32, dtype=torch.uint8)
    drawn[height, torch.arange(32)] = 255
    return drawn


def main() -> None:
    """Train."""
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True, log_with="tracker")
    accelerator.init_trackers("accelerate-loop", config={"lr": 0.003, "batch": 64})
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*waves(6400)), batch_size=64)
    model, optimizer, data = accelerator.prepare(model, optimizer, data)
    for step, (wave, speed) in enumerate(data):
        loss = nn.functional.mse_loss(model(wave), speed)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        accelerator.log({"loss": loss}, step=step)

    wave, speed = waves(8)
    guess = model(wave)
    rows = [[truth.item(), told.item()] for truth, told in torch.cat([speed, guess], 1)]
    ours = accelerator.get_tracker("tracker")
    ours.log_table("speeds", columns=["truth", "guess"], data=rows, step=step)
    captions = [f"{truth:.2f}, guessed {told:.2f}" for truth, told in rows]
    ours.log_images({"waves": [picture(one) for one in wave]}, step=step, caption=captions)
    accelerator.end_training()


if __name__ == "__main__":
    main()
