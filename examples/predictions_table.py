"""A table of predictions with their images, asked for the mistakes: written as for W&B, with the import changed."""

from __future__ import annotations

import numpy as np

import tracker as wandb

CLASSES = ["circle", "square"]


def picture(name: str, noise: np.random.Generator) -> np.ndarray:
    """Draw a shape, (32, 32, 3)."""
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    inside = x**2 + y**2 < 0.5 if name == "circle" else np.maximum(abs(x), abs(y)) < 0.6
    return (np.where(inside, 200, 30)[..., None] + noise.normal(0, 20, (32, 32, 3))).clip(0, 255).astype(np.uint8)


def main() -> None:
    noise = np.random.default_rng(0)
    wandb.init(project="predictions", config={"classes": CLASSES})
    table = wandb.Table(columns=["Image", "Ground Truth", "Prediction", "Score"])
    truth, guesses = [], []
    for number in range(40):
        true = number % 2
        image = picture(CLASSES[true], noise)
        is_square = image[7, 7].mean() > 100  # inside a square's corner, and outside of a circle
        guess, score = int(is_square) if noise.random() > 0.2 else 1 - true, 0.5 + noise.random() / 2
        table.add_data(wandb.Image(image), CLASSES[true], CLASSES[guess], score)
        truth.append(true)
        guesses.append(guess)
    matrix = wandb.plot.confusion_matrix(y_true=truth, preds=guesses, class_names=CLASSES)
    wandb.log({"predictions_table": table, "confusion": matrix, "accuracy": np.mean(np.equal(truth, guesses))})
    path = wandb.run.path
    wandb.finish()

    logged = wandb.Api().run(path).table("predictions_table")
    mistakes = logged.filter({"Prediction": {"$ne": {"$column": "Ground Truth"}}}).sort("-Score")
    print(f"{len(mistakes)} mistakes of {len(logged)}")
    for row in mistakes.rows(3):
        print(row["Ground Truth"], "taken for", row["Prediction"], row["Image"])
    print(logged.group("Ground Truth", {"n": "count", "score": ("mean", "Score")}).rows())


if __name__ == "__main__":
    main()
