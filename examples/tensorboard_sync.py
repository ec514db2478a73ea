"""A program that writes for TensorBoard stays as it is: one argument brings what it writes into a run."""

import math
import tempfile

import numpy as np
from tensorboardX import SummaryWriter  # torch.utils.tensorboard and tf.summary just so

import tracker


def main() -> None:
    """Write as ever, with two writers that have counts of steps of their own."""
    folder = tempfile.mkdtemp()
    random = np.random.default_rng(0)
    with tracker.init(project="tensorboard", sync_tensorboard=True) as run:
        train = SummaryWriter(f"{folder}/train")
        validation = SummaryWriter(f"{folder}/validation")
        for step in range(200):
            train.add_scalar("loss", math.exp(-step / 60) + random.normal() / 50, step)
            if step % 20 == 0:
                validation.add_scalar("loss", math.exp(-step / 70) + 0.05, step // 20)
                train.add_histogram("noise", random.normal(0, 1 + step / 100, 500), step)
        train.add_text("notes", "A loss that falls **by itself**.")
        train.add_scalars("rates", {"slow": 0.1, "quick": 0.3}, 0)
        train.add_hparams({"half_life": 60, "noise": 0.05}, {"hparam/loss": 0.04})
        train.close()
        validation.close()
        print(f"see {run.name} with: tracker ui")


if __name__ == "__main__":
    main()
