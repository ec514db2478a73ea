"""Train a small classifier with Lightning; `logger="tracker"` is all that is said.

With the older name of the package only the import changes: `from pytorch_lightning import ...`.
"""

import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset


class Classifier(LightningModule):
    """Which of four numbers is the largest?"""

    def __init__(self, lr: float = 0.02, width: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters()  # they become the run's config
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 4))
        self.loss = torch.nn.CrossEntropyLoss()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer scores, (batch, 4)."""
        return self.layers(x)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """Answer the loss of a batch."""
        loss = self.loss(self(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Inputs, targets and predictions are kept as a table by themselves."""
        scores = self(batch[0])
        self.log("val/loss", self.loss(scores, batch[1]))
        self.log("val/accuracy", (scores.argmax(1) == batch[1]).float().mean())

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Its learning rate is logged too."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])


def main() -> None:
    """Train, and test into the same run; the checkpoint becomes a version of the run's model."""
    torch.manual_seed(0)
    x = torch.randn(512, 4)
    rows = TensorDataset(x, x.argmax(1))
    loader = DataLoader(rows, batch_size=32)
    model = Classifier()
    trainer = Trainer(logger="tracker", max_epochs=3, log_every_n_steps=4, accelerator="cpu", enable_progress_bar=False)
    trainer.fit(model, loader, loader)
    trainer.test(model, loader)


if __name__ == "__main__":
    main()
