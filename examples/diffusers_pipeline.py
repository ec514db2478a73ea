"""Diffusers: pipelines log what they generate, by themselves; here one is trained for a moment to draw discs."""

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

import tracker


def discs(count: int) -> torch.Tensor:
    """Answer pictures of white discs on black: (count, 1, 16, 16), from -1 to 1."""
    axis = torch.arange(16.0)
    x, y = (5 + 6 * torch.rand(2, count, 1, 1)).unbind()
    distance = (axis[None, None, :] - x) ** 2 + (axis[None, :, None] - y) ** 2
    return (2.0 * (distance < 16) - 1)[:, None]


def main() -> None:
    """Train, and generate."""
    torch.manual_seed(0)
    tracker.autolog("diffusers")
    unet = UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    scheduler = DDPMScheduler(num_train_timesteps=100)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-3)
    with tracker.init(project="diffusers") as run:
        for step in range(60):
            clean = discs(32)
            noise = torch.randn_like(clean)
            when = torch.randint(0, 100, (32,))
            loss = (unet(scheduler.add_noise(clean, noise, when), when).sample - noise).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log({"loss": loss}, step=step)
            if step % 30 == 29:
                pipeline = DDPMPipeline(unet=unet, scheduler=scheduler)
                pipeline(batch_size=4, num_inference_steps=20, generator=torch.Generator().manual_seed(1))


if __name__ == "__main__":
    main()
