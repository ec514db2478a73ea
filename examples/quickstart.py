"""The whole of it: begin a run, log to it, and the block ends it. Look at the curves with: tracker ui."""

import math
import random

import tracker


def main() -> None:
    """Fit a straight line to noisy points by gradient descent."""
    noise = random.Random(0)
    points = [(x / 50, 3 * x / 50 + 1 + noise.gauss(0, 0.1)) for x in range(50)]
    with tracker.init(project="quickstart", config={"lr": 0.1, "epochs": 100}) as run:
        slope = offset = 0.0
        for epoch in range(run.config.epochs):
            errors = [slope * x + offset - y for x, y in points]
            slope -= run.config.lr * sum(2 * e * x for e, (x, _) in zip(errors, points, strict=True)) / len(points)
            offset -= run.config.lr * sum(2 * e for e in errors) / len(points)
            loss = sum(e * e for e in errors) / len(points)
            run.log({"epoch": epoch, "loss": loss, "rmse": math.sqrt(loss), "slope": slope, "offset": offset})


if __name__ == "__main__":
    main()
